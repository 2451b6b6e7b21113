/* FILE...: asks about each file by every function; prints its size, or the error. */
#include "common.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* the names for programs that were linked before glibc 2.33 */
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
    int i, result;

    for (i = 1; i < argc; i++) {
        const char *file = strcmp(argv[i], "nowhere") == 0 ? (char *)8 : argv[i];

        result = stat(file, &status);
        print_size("stat", result, status.st_size);
        result = stat64(file, &status64);
        print_size("stat64", result, status64.st_size);
        result = lstat(file, &status);
        print_size("lstat", result, status.st_size);
        result = lstat64(file, &status64);
        print_size("lstat64", result, status64.st_size);
        result = fstatat(AT_FDCWD, file, &status, 0);
        print_size("fstatat", result, status.st_size);
        result = fstatat64(-1, file, &status64, AT_SYMLINK_NOFOLLOW);
        print_size("fstatat64", result, status64.st_size);
        result = statx(AT_FDCWD, file, 0, STATX_SIZE, &statusx);
        print_size("statx", result, statusx.stx_size);
        result = __xstat(OLD_VERSION, file, &status);
        print_size("__xstat", result, status.st_size);
        result = __xstat64(OLD_VERSION, file, &status64);
        print_size("__xstat64", result, status64.st_size);
        result = __lxstat(OLD_VERSION, file, &status);
        print_size("__lxstat", result, status.st_size);
        result = __lxstat64(OLD_VERSION, file, &status64);
        print_size("__lxstat64", result, status64.st_size);
        result = __fxstatat(OLD_VERSION, AT_FDCWD, file, &status, 0);
        print_size("__fxstatat", result, status.st_size);
        result = __fxstatat64(OLD_VERSION, AT_FDCWD, file, &status64, 0);
        print_size("__fxstatat64", result, status64.st_size);
        result = syscall(SYS_newfstatat, AT_FDCWD, file, &status, 0);
        print_size("newfstatat by number", result, status.st_size);
        result = syscall(SYS_statx, AT_FDCWD, file, 0, STATX_SIZE, &statusx);
        print_size("statx by number", result, statusx.stx_size);
#ifdef SYS_stat
        result = syscall(SYS_stat, file, &status);
        print_size("stat by number", result, status.st_size);
        result = syscall(SYS_lstat, file, &status);
        print_size("lstat by number", result, status.st_size);
        print_access("access by number", syscall(SYS_access, file, R_OK));
#endif
        print_access("access", access(file, R_OK));
        print_access("faccessat", faccessat(AT_FDCWD, file, F_OK, 0));
        print_access("faccessat by number", syscall(SYS_faccessat, AT_FDCWD, file, F_OK));
        print_access("faccessat2 by number", syscall(SYS_faccessat2, AT_FDCWD, file, F_OK, 0));
    }
    if (argc > 1) {
        char *invalid = (char *)8, *volatile none = NULL;

        print_size("no room", stat(argv[1], (struct stat *)invalid), 0);
        print_access("no such mode", access(invalid, 4711));
        print_size("no such flags", fstatat(AT_FDCWD, invalid, &status, 0x40000000), 0);
        /* without a path; before 6.11 Linux requires one */
        print_size("no path", fstatat(0, none, &status, AT_EMPTY_PATH), 0);
        print_size("no path", statx(0, none, AT_EMPTY_PATH, STATX_SIZE, &statusx), 0);
        print_size("no path", syscall(SYS_statx, 0, none, AT_EMPTY_PATH, STATX_SIZE, &statusx), 0);
    }
    return 0;
}
