/* FOLDER NAME: opens a file by ways that give its path only indirectly, and prints what it reads. */
#include "common.h"
#include <fcntl.h>
#include <linux/openat2.h>
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

static void show_confined(const char *how, int folder, const char *path, unsigned long long resolve)
{
    struct open_how limits = {.flags = O_RDONLY, .resolve = resolve};

    show(how, (int)syscall(SYS_openat2, folder, path, &limits, sizeof limits));
}

int main(int argc, char **argv)
{
    const char *folders[] = {"/proc/self/fd/", "/dev/fd/", "/proc/thread-self/fd/"};
    char path[64];
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
    show_confined("beneath", folder, argv[2], RESOLVE_BENEATH);
    show_confined("in root", folder, argv[2], RESOLVE_IN_ROOT);
    show_confined("above", folder, "../none", RESOLVE_BENEATH);
    return 0;
}
