/* FUNCTION: starts a program whose path is an invalid pointer. */
#include "common.h"
#include <fcntl.h>
#include <spawn.h>

extern char **environ;

int main(int argc, char **argv)
{
    char *words[] = {"wild", NULL};
    /* volatile hides the value from the compiler */
    const char *volatile invalid = (const char *)1;
    pid_t child;

    if (argc != 2)
        return 2;
    errno = 0;
    if (strcmp(argv[1], "execve") == 0)
        execve(invalid, words, environ);
    else if (strcmp(argv[1], "execv") == 0)
        execv(invalid, words);
    else if (strcmp(argv[1], "execveat") == 0)
        execveat(AT_FDCWD, invalid, words, environ, AT_EMPTY_PATH);
    else
        errno = posix_spawn(&child, invalid, NULL, NULL, words, environ);
    printf("%s: %s\n", argv[1], strerrorname_np(errno));
    return 0;
}
