/* FILE...: opens each file for reading by every function; prints its size and the first line. */
#include "common.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

int __open_2(const char *, int);
int __open64_2(const char *, int);
int __openat_2(int, const char *, int);
int __openat64_2(int, const char *, int);

static void print_file(const char *call, int fd, int expected)
{
    char data[8192];
    ssize_t length;

    if (fd < 0) {
        printf("%s: %s\n", call, strerrorname_np(errno));
        return;
    }
    length = read(fd, data, sizeof data - 1);
    data[length > 0 ? length : 0] = 0;
    printf("%s: %zd bytes%s, close on exec %d: %.*s\n", call, length, fd == expected ? "" : " at another number",
           fcntl(fd, F_GETFD), (int)strcspn(data, "\n"), data);
    close(fd);
}

static void print_stream(const char *call, FILE *stream)
{
    char line[1024] = "";

    if (stream == NULL) {
        printf("%s: %s\n", call, strerrorname_np(errno));
        return;
    }
    printf("%s: %s", call, fgets(line, sizeof line, stream) ? line : "nothing\n");
    fclose(stream);
}

int main(int argc, char **argv)
{
    int i, next = dup(0), before = 4711;
    char *far = (char *)8;

    close(next);
    for (i = 1; i < argc; i++) {
        const char *file = argv[i];

        errno = before;
        print_file("open", open(file, O_RDONLY), next);
        print_file("open64", open64(file, O_RDONLY | O_CLOEXEC), next);
        print_file("openat", openat(AT_FDCWD, file, O_RDONLY), next);
        print_file("openat64", openat64(AT_FDCWD, file, O_RDONLY), next);
        print_file("__open_2", __open_2(file, O_RDONLY), next);
        print_file("__open64_2", __open64_2(file, O_RDONLY), next);
        print_file("__openat_2", __openat_2(AT_FDCWD, file, O_RDONLY), next);
        print_file("__openat64_2", __openat64_2(AT_FDCWD, file, O_RDONLY | O_CLOEXEC), next);
        print_file("openat by number", syscall(SYS_openat, AT_FDCWD, file, O_RDONLY), next);
#ifdef SYS_open
        print_file("open by number", syscall(SYS_open, file, O_RDONLY | O_CLOEXEC), next);
#endif
        print_stream("fopen", fopen(file, "r"));
        print_stream("fopen64", fopen64(file, "re"));
    }
    print_file("nowhere", open(far, O_RDONLY), next);
    print_file("nowhere by number", syscall(SYS_openat, AT_FDCWD, far, O_RDONLY), next);
    print_stream("stream from nowhere", fopen(far, "r"));
    {
        char name[] = "/tmp/kinject-open-XXXXXX";
        struct stat status;
        int fd = mkstemp(name);

        close(fd);
        unlink(name);
        umask(0);
        fd = open(name, O_CREAT | O_EXCL | O_RDWR, 0642);
        fstat(fd, &status);
        printf("made with mode %o\n", status.st_mode & 0777);
        close(fd);
        unlink(name);
    }
    return 0;
}
