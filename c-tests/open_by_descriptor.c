/* FOLDER NAME: opens a file by ways that give its path only indirectly, and prints what it reads. */
#include "common.h"
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static void show(const char *how, int fd)
{
    char text[64];
    ssize_t count = fd < 0 ? -1 : read(fd, text, sizeof text);

    if (count < 0)
        printf("%s: %s\n", how, strerrorname_np(errno));
    else
        printf("%s: %.*s", how, (int)count, text);
    if (fd >= 0)
        close(fd);
}

static int confined(int folder, const char *path, int flags, unsigned long long resolve)
{
    struct open_how limits = {.flags = flags, .mode = flags & O_CREAT ? 0600 : 0, .resolve = resolve};

    return (int)syscall(SYS_openat2, folder, path, &limits, sizeof limits);
}

static void show_stream(FILE *stream)
{
    char text[64];

    if (!stream || !fgets(text, sizeof text, stream))
        printf("stream: %s\n", strerrorname_np(errno));
    else
        printf("stream: %s", text);
    if (stream)
        fclose(stream);
}

int main(int argc, char **argv)
{
    const char *folders[] = {"/proc/self/fd/", "/dev/fd/", "/proc/thread-self/fd/"};
    char path[64];
    struct stat status;
    int folder, place;
    size_t i;

    if (argc != 3)
        return 2;
    folder = open(argv[1], O_PATH | O_DIRECTORY);
    for (i = 0; i < sizeof folders / sizeof *folders; i++) {
        place = openat(folder, argv[2], O_PATH);
        snprintf(path, sizeof path, "%s%d", folders[i], place);
        show(folders[i], open(path, O_RDONLY));
        close(place);
    }
    place = openat(folder, argv[2], O_PATH);
    snprintf(path, sizeof path, "/proc/self/fd/%d", place);
    show_stream(fopen(path, "r"));
    show("beneath", confined(folder, argv[2], O_RDONLY, RESOLVE_BENEATH));
    show("in root", confined(folder, argv[2], O_RDONLY, RESOLVE_IN_ROOT));
    /* so that the kernel finds it on the way */
    if (fstatat(folder, "sub", &status, 0) != 0)
        return 3;
    snprintf(path, sizeof path, "sub/../%s", argv[2]);
    show("around", confined(folder, path, O_RDONLY, RESOLVE_BENEATH));
    snprintf(path, sizeof path, "/%s", argv[2]);
    show("absolute", confined(folder, path, O_RDONLY, RESOLVE_IN_ROOT));
    show("above", confined(folder, "../none", O_RDONLY, RESOLVE_BENEATH));
    show("new", confined(folder, "sub/../new", O_WRONLY | O_CREAT, RESOLVE_BENEATH));
    show("new in root", confined(folder, "/new", O_WRONLY | O_CREAT, RESOLVE_IN_ROOT));
    snprintf(path, sizeof path, "/dev/fd/%d", place);
    show("written", open(path, O_WRONLY | O_TRUNC));
    printf("stream for writing: %s\n", fopen(path, "w") ? "opened" : strerrorname_np(errno));
    return 0;
}
