/* FUNCTION ENVIRONMENT: starts this program again by that function, with that environment; the child prints the session's
 * variables in its environment. Environments: own, cleared, empty, null, other, preload, left, large, wild. */
#include "common.h"
#include <fcntl.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>

extern char **environ;

static volatile int failure;

static int show(int argc, char **argv)
{
    static const char *const names[] = {"LD_PRELOAD", "KINJECT_SOCKET", "KINJECT_CONTROL", "KINJECT_LIBRARY",
                                        "KINJECT_SESSION", "KINJECT_TARGET", "OTHER"};
    size_t i;
    int entries = 0;

    printf("arguments:");
    for (int j = 2; j < argc; j++)
        printf(" %s", argv[j]);
    printf("\n");
    for (i = 0; i < sizeof names / sizeof *names; i++)
        if (getenv(names[i]) != NULL)
            printf("%s=%s\n", names[i], getenv(names[i]));
    for (char **entry = environ; *entry != NULL; entry++)
        entries++;
    printf("entries: %d\n", entries);
    return 0;
}

static char **environment_of(const char *kind)
{
    static char *empty[] = {NULL}, *other[] = {"OTHER=1", NULL};
    static char *preload[] = {"OTHER=1", "LD_PRELOAD=libm.so.6", NULL};
    static char *left[] = {"KINJECT_SOCKET=", NULL};
    static char *large[5001];

    if (strcmp(kind, "empty") == 0)
        return empty;
    if (strcmp(kind, "other") == 0)
        return other;
    if (strcmp(kind, "preload") == 0)
        return preload;
    if (strcmp(kind, "left") == 0)
        return left;
    if (strcmp(kind, "null") == 0)
        return NULL;
    if (strcmp(kind, "wild") == 0)
        return (char **)1;
    if (strcmp(kind, "large") == 0) {
        for (int i = 0; i < 5000; i++)
            large[i] = "FILL=x";
        return large;
    }
    if (strcmp(kind, "cleared") == 0)
        clearenv();
    return environ;
}

static int start(const char *function, const char *path, const char *base, char **envp)
{
    char *argv[] = {(char *)base, "show", "one", "two", "three", NULL};
    pid_t child;
    int result, status;

    if (strncmp(function, "posix_spawn", 11) == 0) {
        result = function[11] ? posix_spawnp(&child, base, NULL, NULL, argv, envp)
                              : posix_spawn(&child, path, NULL, NULL, argv, envp);
        if (result != 0) {
            printf("%s: %s\n", function, strerrorname_np(result));
            return 0;
        }
        waitpid(child, &status, 0);
        return WEXITSTATUS(status);
    }
    if (strcmp(function, "system") == 0 || strcmp(function, "popen") == 0) {
        char line[8192];

        snprintf(line, sizeof line, "exec '%s' show one two three", path);
        if (function[0] == 's')
            return WEXITSTATUS(system(line));
        FILE *output = popen(line, "r");
        while (output != NULL && fgets(line, sizeof line, output) != NULL)
            fputs(line, stdout);
        return output == NULL ? 99 : WEXITSTATUS(pclose(output));
    }
    if (strcmp(function, "vfork") == 0) {
        child = vfork();
        if (child == 0) {
            execve(path, argv, envp);
            /* the child of vfork(2) writes to its parent's memory */
            failure = errno;
            _exit(0);
        }
        waitpid(child, &status, 0);
        if (failure != 0)
            printf("vfork: %s\n", strerrorname_np(failure));
        return WEXITSTATUS(status);
    }
    if (strcmp(function, "execve") == 0)
        execve(path, argv, envp);
    else if (strcmp(function, "execv") == 0)
        execv(path, argv);
    else if (strcmp(function, "execvp") == 0)
        execvp(base, argv);
    else if (strcmp(function, "execvpe") == 0)
        execvpe(base, argv, envp);
    else if (strcmp(function, "execl") == 0)
        execl(path, base, "show", "one", "two", "three", (char *)NULL);
    else if (strcmp(function, "execlp") == 0)
        execlp(base, base, "show", "one", "two", "three", (char *)NULL);
    else if (strcmp(function, "execle") == 0)
        execle(path, base, "show", "one", "two", "three", (char *)NULL, envp);
    else if (strcmp(function, "fexecve") == 0)
        fexecve(open(path, O_RDONLY | O_CLOEXEC), argv, envp);
    else if (strcmp(function, "execveat") == 0)
        execveat(AT_FDCWD, path, argv, envp, 0);
    printf("%s: %s\n", function, strerrorname_np(errno));
    return 0;
}

int main(int argc, char **argv)
{
    char path[4096], *base;
    ssize_t length;
    char **envp;

    if (argc > 1 && strcmp(argv[1], "show") == 0)
        return show(argc, argv);
    if (argc != 3)
        return 2;
    length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length < 0)
        die("readlink");
    path[length] = 0;
    base = strdup(strrchr(path, '/') + 1);
    *strrchr(path, '/') = 0;
    setenv("PATH", path, 1);
    path[strlen(path)] = '/';
    envp = environment_of(argv[2]);
    if (envp == environ && strcmp(argv[2], "cleared") == 0 && strchr(argv[1], 'p') != NULL) {
        /* functions that search PATH need it in the cleared environment */
        path[strlen(path) - strlen(base) - 1] = 0;
        setenv("PATH", path, 1);
        path[strlen(path)] = '/';
        envp = environ;
    }
    fflush(stdout);
    return start(argv[1], path, base, envp);
}
