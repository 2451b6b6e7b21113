/* FUNCTION FOLDER FILE: starts FOLDER/FILE by that function, or FILE if the function searches PATH. */
#include "common.h"
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

int main(int argc, char **argv)
{
    char path[4096], *words[] = {NULL, "said", NULL};
    const char *function = argc > 3 ? argv[1] : "";
    pid_t child;
    int result, status;

    if (argc != 4)
        return 2;
    snprintf(path, sizeof path, "%s/%s", argv[2], argv[3]);
    setenv("PATH", "/nonexistent:", 1);
    if (chdir(argv[2]) != 0)
        die("chdir");
    words[0] = argv[3];
    if (strncmp(function, "posix_spawn", 11) == 0) {
        result = function[11] ? posix_spawnp(&child, argv[3], NULL, NULL, words, environ)
                              : posix_spawn(&child, path, NULL, NULL, words, environ);
        if (result == 0) {
            waitpid(child, &status, 0);
            return WEXITSTATUS(status);
        }
        printf("%s: %s\n", function, strerrorname_np(result));
        return 0;
    }
    if (strcmp(function, "vfork") == 0) {
        child = vfork();
        if (child == 0) {
            execve(path, words, environ);
            _exit(errno);
        }
        waitpid(child, &status, 0);
        if (WEXITSTATUS(status) != 0)
            printf("vfork: %s\n", strerrorname_np(WEXITSTATUS(status)));
        return 0;
    }
    if (strcmp(function, "execve") == 0)
        execve(path, words, environ);
    else if (strcmp(function, "execv") == 0)
        execv(path, words);
    else if (strcmp(function, "execvp") == 0)
        execvp(argv[3], words);
    else if (strcmp(function, "execvpe") == 0)
        execvpe(argv[3], words, environ);
    else if (strcmp(function, "execl") == 0)
        execl(path, words[0], words[1], (char *)NULL);
    else if (strcmp(function, "execlp") == 0)
        execlp(argv[3], words[0], words[1], (char *)NULL);
    else if (strcmp(function, "execle") == 0)
        execle(path, words[0], words[1], (char *)NULL, environ);
    else if (strcmp(function, "fexecve") == 0)
        fexecve(open(path, O_RDONLY), words, environ);
    else if (strcmp(function, "execveat") == 0)
        execveat(open(argv[2], O_PATH | O_DIRECTORY), argv[3], words, environ, 0);
    else if (strcmp(function, "execveat-empty") == 0)
        execveat(open(path, O_PATH), "", words, environ, AT_EMPTY_PATH);
    printf("%s: %s\n", function, strerrorname_np(errno));
    return 0;
}
