/* FUNCTION: starts what stands at no address. */
#include "common.h"
#include <fcntl.h>
#include <spawn.h>

extern char **environ;

int main(int argc, char **argv)
{
    char *words[] = {"wild", NULL};
    /* volatile keeps the compiler from seeing what it is */
    const char *volatile wild = (const char *)1;
    pid_t child;

    if (argc != 2)
        return 2;
    errno = 0;
    if (strcmp(argv[1], "execve") == 0)
        execve(wild, words, environ);
    else if (strcmp(argv[1], "execv") == 0)
        execv(wild, words);
    else if (strcmp(argv[1], "execveat") == 0)
        execveat(AT_FDCWD, wild, words, environ, AT_EMPTY_PATH);
    else
        errno = posix_spawn(&child, wild, NULL, NULL, words, environ);
    printf("%s: %s\n", argv[1], strerrorname_np(errno));
    return 0;
}
