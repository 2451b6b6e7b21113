/* ROUNDS THREADS: each thread starts true(1) that often by vfork(2) and execve(2), with a large environment without the
 * session's variables; then prints by how much the mappings of the process have grown. */
#include "common.h"
#include <pthread.h>
#include <sys/wait.h>

static char *environment[2001];
static int rounds;

/* The size of all mappings, in KiB. */
static int mappings(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    int size = -1;

    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "VmSize: %d kB", &size) == 1)
            break;
    fclose(file);
    return size;
}

static int starts(int count)
{
    char *const arguments[] = {"true", NULL};

    for (volatile int i = 0; i < count; i++) {
        int status;
        pid_t child = vfork();

        if (child == 0) {
            execve("/bin/true", arguments, environment);
            _exit(9);
        }
        if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
            return -1;
    }
    return 0;
}

static pthread_barrier_t started, done, seen;

static void *storm(void *unused)
{
    (void)unused;
    if (starts(1) != 0)
        return "the first child failed";
    pthread_barrier_wait(&started);
    if (starts(rounds) != 0)
        return "a child failed";
    pthread_barrier_wait(&done);
    pthread_barrier_wait(&seen);
    return NULL;
}

int main(int argc, char **argv)
{
    int threads = argc > 2 ? atoi(argv[2]) : 1, before, after;
    pthread_t thread[64];
    void *fault;

    if (threads < 1 || threads > 64)
        return 2;
    rounds = atoi(argv[1]);
    for (int i = 0; i < 2000; i++)
        environment[i] = "FILL=x";
    pthread_barrier_init(&started, NULL, threads + 1);
    pthread_barrier_init(&done, NULL, threads + 1);
    pthread_barrier_init(&seen, NULL, threads + 1);
    for (int i = 0; i < threads; i++)
        pthread_create(&thread[i], NULL, storm, NULL);
    pthread_barrier_wait(&started);
    before = mappings();
    pthread_barrier_wait(&done);
    after = mappings();
    printf("grew by %d KiB\n", after - before > 0 ? after - before : 0);
    pthread_barrier_wait(&seen);
    for (int i = 0; i < threads; i++) {
        pthread_join(thread[i], &fault);
        if (fault != NULL) {
            printf("%s\n", (char *)fault);
            return 1;
        }
    }
    return 0;
}
