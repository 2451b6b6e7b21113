/* Calls about a workload's files whose number or order matters; the first argument says which. */
#include "common.h"
#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <sys/wait.h>

static int open_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    int count = 0;

    if (folder == NULL)
        die("opendir");
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

/* Opens a file as a stream many times by each function; prints its first line, and how many descriptors that left. */
static int open_streams(const char *path)
{
    int i, before = open_descriptors();
    char line[256] = "";
    FILE *stream;

    for (i = 0; i < 100; i++) {
        stream = fopen(path, "r");
        if (stream == NULL)
            die("fopen");
        stream = freopen(path, "r", stream);
        if (stream == NULL)
            die("freopen");
        if (fgets(line, sizeof line, stream) == NULL)
            die("fgets");
        fclose(stream);
    }
    printf("%s%d left open\n", line, open_descriptors() - before);
    return 0;
}

/* Locks a file in a folder and opens it once more; prints whether another process finds the lock. */
static int open_locked(const char *folder, const char *name)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int fd, second;

    if (chdir(folder) != 0)
        die("chdir");
    fd = open(name, O_RDWR | O_CREAT, 0600);
    if (fd < 0 || fcntl(fd, F_SETLK, &lock) != 0)
        die("fcntl");
    second = open(name, O_RDONLY);
    if (second < 0)
        die("open");
    if (fork() == 0) {
        if (fcntl(second, F_GETLK, &lock) != 0)
            _exit(2);
        _exit(lock.l_type == F_UNLCK ? 1 : 0);
    }
    if (wait(&second) < 0)
        die("wait");
    printf("%s\n", WEXITSTATUS(second) == 0 ? "locked" : WEXITSTATUS(second) == 1 ? "not locked" : "failed");
    return 0;
}

static glob_t found;

static int print_opener(const char *path, int error)
{
    printf("%s: %s, %s\n", path, error_name(error), found.gl_opendir == NULL ? "libc opens" : "another opens");
    return 0;
}

/* Makes no other call with a path before. */
static int search(const char *pattern)
{
    int code = glob(pattern, 0, print_opener, &found);

    printf("found %d\n", code == 0 ? (int)found.gl_pathc : code);
    errno = 0;
    code = glob(pattern, 0, NULL, NULL);
    printf("without results: %d, %s\n", code, error_name(errno));
    return 0;
}

static int print_walked(const char *path, const struct stat *status, int type, struct FTW *at)
{
    (void)status, (void)type, (void)at;
    printf("%s\n", path);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "streams") == 0)
        return open_streams(argv[2]);
    if (argc == 4 && strcmp(argv[1], "lock") == 0)
        return open_locked(argv[2], argv[3]);
    if (argc == 3 && strcmp(argv[1], "glob") == 0)
        return search(argv[2]);
    if (argc == 3 && strcmp(argv[1], "walk") == 0) {
        printf("nftw: %d\n", nftw(argv[2], print_walked, 4, FTW_PHYS));
        return 0;
    }
    return 2;
}
