/* Every way to ask about a file: FILE...; prints how large it is, or the error. */
#include "common.h"
#include <fcntl.h>
#include <sys/stat.h>

/* as programs know them that were linked before glibc 2.33 */
#if defined(__x86_64__)
#define OLD_VERSION 1
#else
#define OLD_VERSION 0
#endif
int __xstat(int, const char *, struct stat *);
int __xstat64(int, const char *, struct stat64 *);
int __lxstat(int, const char *, struct stat *);
int __lxstat64(int, const char *, struct stat64 *);
int __fxstatat(int, int, const char *, struct stat *, int);
int __fxstatat64(int, int, const char *, struct stat64 *, int);

static void print_size(const char *call, int result, long long size)
{
    if (result != 0)
        printf("%s: %d %s\n", call, result, strerrorname_np(errno));
    else
        printf("%s: %lld bytes\n", call, size);
}

static void print_access(const char *call, int result)
{
    printf("%s: %s\n", call, result == 0 ? "yes" : strerrorname_np(errno));
}

int main(int argc, char **argv)
{
    struct stat status;
    struct stat64 status64;
    struct statx statusx;
    int i, asked;

    for (i = 1; i < argc; i++) {
        const char *file = strcmp(argv[i], "nowhere") == 0 ? (char *)8 : argv[i];

        asked = stat(file, &status);
        print_size("stat", asked, status.st_size);
        asked = stat64(file, &status64);
        print_size("stat64", asked, status64.st_size);
        asked = lstat(file, &status);
        print_size("lstat", asked, status.st_size);
        asked = lstat64(file, &status64);
        print_size("lstat64", asked, status64.st_size);
        asked = fstatat(AT_FDCWD, file, &status, 0);
        print_size("fstatat", asked, status.st_size);
        asked = fstatat64(-1, file, &status64, AT_SYMLINK_NOFOLLOW);
        print_size("fstatat64", asked, status64.st_size);
        asked = statx(AT_FDCWD, file, 0, STATX_SIZE, &statusx);
        print_size("statx", asked, statusx.stx_size);
        asked = __xstat(OLD_VERSION, file, &status);
        print_size("__xstat", asked, status.st_size);
        asked = __xstat64(OLD_VERSION, file, &status64);
        print_size("__xstat64", asked, status64.st_size);
        asked = __lxstat(OLD_VERSION, file, &status);
        print_size("__lxstat", asked, status.st_size);
        asked = __lxstat64(OLD_VERSION, file, &status64);
        print_size("__lxstat64", asked, status64.st_size);
        asked = __fxstatat(OLD_VERSION, AT_FDCWD, file, &status, 0);
        print_size("__fxstatat", asked, status.st_size);
        asked = __fxstatat64(OLD_VERSION, AT_FDCWD, file, &status64, 0);
        print_size("__fxstatat64", asked, status64.st_size);
        print_access("access", access(file, R_OK));
        print_access("faccessat", faccessat(AT_FDCWD, file, F_OK, 0));
    }
    if (argc > 1) {
        char *far = (char *)8;

        print_size("no room", stat(argv[1], (struct stat *)far), 0);
        print_access("no such mode", access(far, 4711));
        print_size("no such flags", fstatat(AT_FDCWD, far, &status, 0x40000000), 0);
    }
    return 0;
}
