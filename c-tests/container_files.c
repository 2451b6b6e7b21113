/* READ_ONLY WRITABLE: makes every call that takes a path in two folders, of which the first is read-only: it has the
 * names of a mounted config map. Prints results and errors, and no number that depends on the file system. */
#include "common.h"
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <limits.h>
#include <linux/openat2.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <utime.h>
#include <sys/time.h>

int __xmknod(int, const char *, mode_t, dev_t *);
int __xmknodat(int, int, const char *, mode_t, dev_t *);
int __open_2(const char *, int);
int __openat64_2(int, const char *, int);
ssize_t __readlink_chk(const char *, char *, size_t, size_t);
ssize_t __readlinkat_chk(int, const char *, char *, size_t, size_t);
char *__realpath_chk(const char *, char *, size_t);
char *__getcwd_chk(char *, size_t, size_t);
char *__getwd_chk(char *, size_t);

static const char *label;

#define SHOW(call) (errno = 0, print_result(#call, (long)(call)))
#define SHOW_TEXT(call) (errno = 0, print_text(#call, (call)))

static void print_result(const char *call, long result)
{
    const char *end = strchr(call, '(');

    printf("%s %.*s: %s\n", label, (int)(end - call), call, result < 0 ? strerrorname_np(errno) : "done");
}

static void print_text(const char *call, const char *result)
{
    const char *end = strchr(call, '(');

    printf("%s %.*s: %s\n", label, (int)(end - call), call, result == NULL ? strerrorname_np(errno) : result);
}

/* Closes a descriptor; gives the result of the open. */
static int opened(int fd)
{
    if (fd >= 0)
        close(fd);
    return fd;
}

static int opened_stream(FILE *stream)
{
    if (stream != NULL)
        fclose(stream);
    return stream == NULL ? -1 : 0;
}

static void print_status(const char *path, int result, const struct stat *status)
{
    if (result == 0)
        printf("%s status of %s: mode %o, %lld bytes, %lu links\n", label, path, status->st_mode,
               S_ISDIR(status->st_mode) ? 0LL : (long long)status->st_size,
               S_ISDIR(status->st_mode) ? 0UL : (unsigned long)status->st_nlink);
    else
        printf("%s status of %s: %s\n", label, path, strerrorname_np(errno));
}

static void print_content(const char *path, int fd)
{
    char data[256];
    ssize_t length;

    if (fd < 0) {
        printf("%s content of %s: %s\n", label, path, strerrorname_np(errno));
        return;
    }
    length = read(fd, data, sizeof data);
    if (length < 0)
        printf("%s content of %s: %s\n", label, path, strerrorname_np(errno));
    else
        printf("%s content of %s: %.*s\n", label, path, (int)length, data);
    close(fd);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void print_names(const char *path)
{
    struct dirent **names;
    int i, count = scandir(path, &names, NULL, by_name);
    DIR *folder = opendir(path);

    printf("%s opendir: %s\n", label, folder == NULL ? strerrorname_np(errno) : "done");
    if (folder != NULL)
        closedir(folder);
    if (count < 0) {
        printf("%s scandir: %s\n", label, strerrorname_np(errno));
        return;
    }
    for (i = 0; i < count; i++) {
        printf("%s names: %s\n", label, names[i]->d_name);
        free(names[i]);
    }
    free(names);
}

static void read_path(const char *path)
{
    struct stat status;
    struct statx statusx;
    struct statfs fs;
    struct statvfs vfs;
    char target[PATH_MAX] = "", *resolved;
    struct open_how how = {.flags = O_RDONLY};
    ssize_t length;

    label = path;
    print_status("stat", stat(path, &status), &status);
    print_status("lstat", lstat(path, &status), &status);
    print_status("fstatat", fstatat(AT_FDCWD, path, &status, AT_SYMLINK_NOFOLLOW), &status);
    SHOW(statx(AT_FDCWD, path, 0, STATX_SIZE, &statusx));
    SHOW(access(path, R_OK));
    SHOW(access(path, W_OK));
    SHOW(access(path, X_OK));
    SHOW(eaccess(path, W_OK));
    SHOW(euidaccess(path, R_OK));
    SHOW(faccessat(AT_FDCWD, path, W_OK, AT_EACCESS));
    length = readlink(path, target, sizeof target - 1);
    printf("%s readlink: %s\n", path, length < 0 ? strerrorname_np(errno) : target);
    memset(target, 0, sizeof target);
    length = __readlink_chk(path, target, 3, sizeof target);
    printf("%s short readlink: %s\n", path, length < 0 ? strerrorname_np(errno) : target);
    length = syscall(SYS_readlinkat, AT_FDCWD, path, target, sizeof target - 1);
    printf("%s readlinkat: %s\n", path, length < 0 ? strerrorname_np(errno) : "done");
    SHOW_TEXT(realpath(path, target));
    SHOW_TEXT(__realpath_chk(path, target, sizeof target));
    SHOW_TEXT(resolved = realpath(path, NULL));
    free(resolved);
    SHOW_TEXT(resolved = canonicalize_file_name(path));
    free(resolved);
    SHOW(statfs(path, &fs));
    SHOW(statvfs(path, &vfs));
    SHOW(pathconf(path, _PC_NAME_MAX));
    SHOW(getxattr(path, "user.none", target, sizeof target));
    SHOW(lgetxattr(path, "user.none", target, sizeof target));
    SHOW(listxattr(path, target, sizeof target));
    SHOW(llistxattr(path, target, sizeof target));
    print_content("open", open(path, O_RDONLY));
    print_content("__open_2", __open_2(path, O_RDONLY | O_CLOEXEC));
    print_content("openat", openat(AT_FDCWD, path, O_RDONLY));
    print_content("openat2", syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how));
    SHOW(opened(open(path, O_RDONLY | O_DIRECTORY)));
    SHOW(opened(open(path, O_RDONLY | O_NOFOLLOW)));
    SHOW(opened(open(path, O_PATH | O_RDWR)));
    SHOW(opened_stream(fopen(path, "r")));
    SHOW(opened_stream(freopen(path, "r", fopen("/dev/null", "r"))));
    print_names(path);
}

/* All but what a file system without a read-only flag allows, too. */
static void write_path(const char *path)
{
    struct open_how how = {.flags = O_RDWR};
    struct timeval times[2] = {{1, 0}, {1, 0}};
    struct timespec precise[2] = {{1, 0}, {1, 0}};
    struct utimbuf old_times = {1, 1};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char template[PATH_MAX + 32];
    dev_t device = 0;
    int fd;

    label = path;
    SHOW(opened(open(path, O_WRONLY)));
    SHOW(opened(open(path, O_RDWR | O_NOFOLLOW)));
    SHOW(opened(open(path, O_RDONLY | O_TRUNC)));
    SHOW(opened(open(path, O_RDONLY | O_CREAT, 0600)));
    SHOW(opened(open(path, O_WRONLY | O_CREAT, 0600)));
    SHOW(opened(open(path, O_WRONLY | O_CREAT | O_EXCL, 0600)));
    SHOW(opened(open(path, O_RDWR | O_TMPFILE, 0600)));
    SHOW(opened(openat(AT_FDCWD, path, O_RDWR)));
    SHOW(opened(__openat64_2(AT_FDCWD, path, O_RDWR)));
    SHOW(opened(creat(path, 0600)));
    SHOW(opened((int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR)));
    SHOW(opened((int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how)));
    SHOW(opened_stream(fopen(path, "r+")));
    SHOW(opened_stream(fopen(path, "w")));
    SHOW(opened_stream(fopen(path, "a+")));
    SHOW(opened_stream(fopen(path, "wx")));
    SHOW(mkdir(path, 0700));
    SHOW(mkdirat(AT_FDCWD, path, 0700));
    SHOW(mknod(path, S_IFREG | 0600, 0));
    SHOW(mknodat(AT_FDCWD, path, S_IFIFO | 0600, 0));
    SHOW(__xmknod(0, path, S_IFIFO | 0600, &device));
    SHOW(__xmknodat(0, AT_FDCWD, path, S_IFIFO | 0600, &device));
    SHOW(mkfifo(path, 0600));
    SHOW(mkfifoat(AT_FDCWD, path, 0600));
    SHOW(symlink("target", path));
    SHOW(symlinkat("target", AT_FDCWD, path));
    SHOW(link("/etc/passwd", path));
    SHOW(linkat(AT_FDCWD, path, AT_FDCWD, "/tmp/kinject-container-files", 0));
    SHOW(rename(path, "/srv/kinject-container-files"));
    SHOW(rename("/srv/kinject-nowhere", path));
    SHOW(unlink(path));
    SHOW(unlinkat(AT_FDCWD, path, AT_REMOVEDIR));
    SHOW(rmdir(path));
    SHOW(remove(path));
    SHOW(truncate(path, 1));
    SHOW(chmod(path, 0600));
    SHOW(fchmodat(AT_FDCWD, path, 0600, 0));
    SHOW(chown(path, -1, -1));
    SHOW(lchown(path, -1, -1));
    SHOW(fchownat(AT_FDCWD, path, -1, -1, AT_SYMLINK_NOFOLLOW));
    SHOW(utime(path, &old_times));
    SHOW(utimes(path, times));
    SHOW(lutimes(path, times));
    SHOW(futimesat(AT_FDCWD, path, times));
    SHOW(utimensat(AT_FDCWD, path, precise, AT_SYMLINK_NOFOLLOW));
    SHOW(setxattr(path, "user.kinject", "x", 1, 0));
    SHOW(lsetxattr(path, "trusted.kinject", "x", 1, 0));
    SHOW(removexattr(path, "user.kinject"));
    SHOW(lremovexattr(path, "trusted.kinject"));
    snprintf(template, sizeof template, "%s/t-XXXXXX", path);
    SHOW(opened(mkstemp(template)));
    snprintf(template, sizeof template, "%s/t-XXXXXX", path);
    SHOW(mkdtemp(template) == NULL ? -1 : 0);
    snprintf(template, sizeof template, "%s/t-XXXXXX.txt", path);
    SHOW(opened(mkstemps(template, 4)));
    snprintf(address.sun_path, sizeof address.sun_path, "%.100s", path);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    SHOW(bind(fd, (struct sockaddr *)&address, sizeof address));
    close(fd);
}

static void move_around(const char *folder)
{
    char path[PATH_MAX], buffer[PATH_MAX] = "", *allocated;
    int watch = inotify_init1(0), fd;
    struct stat status;

    label = folder;
    SHOW(inotify_add_watch(watch, folder, IN_MOVED_TO));
    SHOW(chdir(folder));
    SHOW_TEXT(getcwd(buffer, sizeof buffer));
    SHOW_TEXT(getcwd(buffer, strlen(folder)));
    SHOW_TEXT(getcwd(buffer, strlen(folder) + 1));
    SHOW_TEXT(getcwd(buffer, 0));
    SHOW_TEXT(__getcwd_chk(buffer, sizeof buffer, sizeof buffer));
    SHOW_TEXT(allocated = getcwd(NULL, 0));
    free(allocated);
    SHOW_TEXT(allocated = getcwd(NULL, strlen(folder) + 1));
    free(allocated);
    SHOW_TEXT(allocated = get_current_dir_name());
    free(allocated);
    SHOW_TEXT(__getwd_chk(buffer, sizeof buffer));
    printf("%s getcwd by number: %ld\n", label, syscall(SYS_getcwd, buffer, sizeof buffer));
    memset(buffer, 0, sizeof buffer);
    SHOW(readlink("/proc/self/cwd", buffer, sizeof buffer));
    printf("%s cwd: %s\n", label, buffer);
    fd = open(".", O_RDONLY | O_DIRECTORY);
    memset(buffer, 0, sizeof buffer);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    SHOW(readlink(path, buffer, 4));
    printf("%s fd: %s\n", label, buffer);
    print_content("key", openat(fd, "key", O_RDONLY));
    print_content("../config/key", openat(fd, "../config/key", O_RDONLY));
    print_content("./..data/../key", open("./..data/../key", O_RDONLY));
    print_status("../../etc/passwd", stat("../../etc/passwd", &status) == 0 ? 0 : -1, &status);
    SHOW(faccessat(fd, "key", W_OK, 0));
    SHOW(opened(openat(fd, "key", O_WRONLY)));
    SHOW(mkdirat(fd, "new", 0700));
    SHOW(unlinkat(fd, "key", 0));
    SHOW(renameat(fd, "key", fd, "other"));
    SHOW(linkat(fd, "key", fd, "other", 0));
    SHOW(symlinkat("key", fd, "other"));
    SHOW(opened(open("new", O_CREAT | O_WRONLY, 0600)));
    SHOW(rmdir("."));
    SHOW(unlink("."));
    SHOW(rename(".", "other"));
    close(fd);
    SHOW(chdir(".."));
    SHOW_TEXT(getcwd(buffer, sizeof buffer));
    close(watch);
    if (chdir("/") != 0)
        die("chdir");
}

/* Gives a file without a name one. */
static void link_unnamed(const char *folder, const char *path)
{
    char open_file[64];
    int fd = open(folder, O_TMPFILE | O_RDWR, 0600);

    if (fd < 0) {
        printf("%s without a name: %s\n", label, strerrorname_np(errno));
        return;
    }
    SHOW(write(fd, "unnamed", 7));
    snprintf(open_file, sizeof open_file, "/proc/self/fd/%d", fd);
    SHOW(linkat(AT_FDCWD, open_file, AT_FDCWD, path, AT_SYMLINK_FOLLOW));
    print_content("linked", open(path, O_RDONLY));
    SHOW(unlink(path));
    SHOW(linkat(fd, "", AT_FDCWD, path, AT_EMPTY_PATH));
    SHOW(linkat(AT_FDCWD, open_file, AT_FDCWD, "/srv/config/new", AT_SYMLINK_FOLLOW));
    close(fd);
}

/* Makes, changes and removes files of all kinds. */
static void use_writable(const char *folder)
{
    char path[PATH_MAX], other[PATH_MAX], target[PATH_MAX] = "";
    struct stat status;
    int fd;

    label = folder;
    snprintf(path, sizeof path, "%s/file", folder);
    snprintf(other, sizeof other, "%s/other", folder);
    fd = open(path, O_CREAT | O_EXCL | O_RDWR, 0640);
    SHOW(write(fd, "content", 7));
    close(fd);
    print_content("file", open(path, O_RDONLY));
    SHOW(access(path, W_OK));
    SHOW(chmod(path, 0600));
    SHOW(rename(path, other));
    SHOW(symlink(other, path));
    SHOW(readlink(path, target, sizeof target));
    printf("%s target: %s\n", label, target);
    print_content("link", open(path, O_RDONLY));
    SHOW(unlink(path));
    SHOW(link(other, path));
    print_status("link", lstat(path, &status), &status);
    SHOW(rename(path, "/tmp/kinject-container-files"));
    SHOW(link(path, "/tmp/kinject-container-files"));
    SHOW(unlink(path));
    link_unnamed(folder, path);
    SHOW(mkdir(path, 0700));
    SHOW(rmdir(path));
    snprintf(path, sizeof path, "%s/made-XXXXXX", folder);
    fd = mkstemp(path);
    printf("%s mkstemp: %d, in the folder %d, named %d\n", label, fd >= 0,
           strncmp(path, folder, strlen(folder)) == 0, strstr(path, "XXXXXX") == NULL);
    close(fd);
    SHOW(unlink(path));
    SHOW(remove(other));
    SHOW(truncate(other, 0));
}

static int print_walked(const char *path, const struct stat *status, int type)
{
    printf("%s walked: %s, type %d, mode %o\n", label, path, type, status->st_mode);
    return 0;
}

static int print_walked_at(const char *path, const struct stat *status, int type, struct FTW *at)
{
    if (type == FTW_D)
        return print_walked(path, status, type);
    printf("%s walked: %s, type %d, name %s, level %d\n", label, path, type, path + at->base, at->level);
    return 0;
}

/* Walks in a walk, as a program may. */
static int print_nested(const char *path, const struct stat *status, int type, struct FTW *at)
{
    if (type == FTW_D && at->level == 1)
        ftw(path, print_walked, 4);
    return print_walked_at(path, status, type, at);
}

/* The order of a folder's entries is the file system's, and the same for the same folder. */
static void walk(const char *folder, const char *relative)
{
    static const char *const patterns[] = {"*", "..d*", "*/key", "sub/*", "k?y", "none*", "[k]ey", "*/"};
    char pattern[PATH_MAX];
    glob_t found;
    size_t i, j;
    int code;

    label = folder;
    SHOW(ftw(folder, print_walked, 4));
    SHOW(nftw(folder, print_walked_at, 4, FTW_PHYS));
    SHOW(nftw(folder, print_nested, 4, FTW_PHYS | FTW_DEPTH));
    SHOW(nftw(relative, print_walked_at, 4, 0));
    snprintf(pattern, sizeof pattern, "%s//", folder);
    SHOW(nftw(pattern, print_walked_at, 1, FTW_PHYS));
    for (i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        snprintf(pattern, sizeof pattern, "%s/%s", folder, patterns[i]);
        code = glob(pattern, GLOB_MARK, NULL, &found);
        printf("%s glob %s: %d, flags %x\n", label, patterns[i], code, found.gl_flags);
        for (j = 0; code == 0 && j < found.gl_pathc; j++)
            printf("%s found: %s\n", label, found.gl_pathv[j]);
        globfree(&found);
    }
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"", "/", "/.", "/key", "/key/", "/..data", "/..data/key", "/none", "/none/",
                                        "/none/a", "/key/a", "/sub", "/sub/", "/sub/file", "//key", "/./key",
                                        "/sub/../key", "/dangling", "/sub/.", "/binary"};
    char path[PATH_MAX];
    size_t i;

    if (argc != 3)
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s%s", argv[1], names[i]);
        read_path(path);
        write_path(path);
    }
    move_around(argv[1]);
    walk(argv[1], argv[1] + 1);
    use_writable(argv[2]);
    return 0;
}
