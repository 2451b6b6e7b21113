/* Programs that start others, or lose everything that they inherited: is the session still there?
 *
 * usage: escapes METHOD PROGRAM [ARGUMENT...]
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void join(char *line, size_t size, char **words)
{
    line[0] = 0;
    for (; *words; words++) {
        strncat(line, "'", size - strlen(line) - 1);
        strncat(line, *words, size - strlen(line) - 1);
        strncat(line, "' ", size - strlen(line) - 1);
    }
}

static int spawned(char **program, char *const environment[], int in_path)
{
    pid_t pid;
    int error = in_path ? posix_spawnp(&pid, program[0], NULL, NULL, program, environment)
                        : posix_spawn(&pid, program[0], NULL, NULL, program, environment);
    if (error) {
        printf("posix_spawn: %s\n", strerrorname_np(error));
        return 1;
    }
    int status;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 99;
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    const char *method = argv[1];
    char **program = argv + 2;
    char *const nothing[] = { NULL };
    char *const little[] = { "ONLY=this", NULL };
    char line[4096];
    setvbuf(stdout, NULL, _IONBF, 0);

    if (!strcmp(method, "execve"))
        execve(program[0], program, nothing);
    else if (!strcmp(method, "execve-without"))
        execve(program[0], program, NULL);
    else if (!strcmp(method, "execv")) {
        clearenv();
        execv(program[0], program);
    } else if (!strcmp(method, "execvp"))
        execvp(program[0], program);
    else if (!strcmp(method, "execvpe"))
        execvpe(program[0], program, little);
    else if (!strcmp(method, "execl"))
        execl(program[0], program[0], program[1], program[1] ? program[2] : NULL,
              program[1] && program[2] ? program[3] : NULL, NULL);
    else if (!strcmp(method, "execle"))
        execle(program[0], program[0], program[1], program[1] ? program[2] : NULL,
               program[1] && program[2] ? program[3] : NULL, NULL, nothing);
    else if (!strcmp(method, "execlp"))
        execlp(program[0], program[0], program[1], program[1] ? program[2] : NULL,
               program[1] && program[2] ? program[3] : NULL, NULL);
    else if (!strcmp(method, "fexecve"))
        fexecve(open(program[0], O_RDONLY | O_CLOEXEC), program, nothing);
    else if (!strcmp(method, "execveat"))
        execveat(AT_FDCWD, program[0], program, nothing, 0);
    else if (!strcmp(method, "posix_spawn"))
        return spawned(program, nothing, 0);
    else if (!strcmp(method, "posix_spawnp"))
        return spawned(program, little, 1);
    else if (!strcmp(method, "vfork")) {
        pid_t pid = vfork();
        if (pid == 0) {
            execve(program[0], program, nothing);
            _exit(98);
        }
        int status;
        waitpid(pid, &status, 0);
        return WEXITSTATUS(status);
    } else if (!strcmp(method, "cleared-system")) {
        join(line, sizeof line, program);
        clearenv();
        return WEXITSTATUS(system(line));
    } else if (!strcmp(method, "cleared-popen")) {
        join(line, sizeof line, program);
        clearenv();
        FILE *child = popen(line, "r");
        while (child && fgets(line, sizeof line, child))
            fputs(line, stdout);
        return child ? WEXITSTATUS(pclose(child)) : 97;
    } else if (!strcmp(method, "close_range")) {
        close_range(3, ~0U, 0);
        execv(program[0], program);
    } else if (!strcmp(method, "system")) {
        join(line, sizeof line, program);
        return WEXITSTATUS(system(line));
    } else if (!strcmp(method, "popen")) {
        join(line, sizeof line, program);
        FILE *child = popen(line, "r");
        while (child && fgets(line, sizeof line, child))
            fputs(line, stdout);
        return child ? WEXITSTATUS(pclose(child)) : 97;
    } else if (!strcmp(method, "unset")) {
        unsetenv("LD_PRELOAD");
        unsetenv("KINJECT_SOCKET");
        execvp(program[0], program);
    } else if (!strcmp(method, "closed")) {
        /* all of them, also those that nobody knows of */
        int kept = dup2(1, 200);
        for (int fd = 0; fd < 200; fd++)
            close(fd);
        dup2(kept, 1);
        execv(program[0], program);
    } else if (!strcmp(method, "daemon")) {
        pid_t first = fork();
        if (first) {
            waitpid(first, NULL, 0);
            return 0;
        }
        setsid();
        if (fork())
            _exit(0);
        execv(program[0], program);
    } else
        return 2;
    printf("%s: %s\n", method, strerrorname_np(errno));
    return 96;
}
