/* HOST PORT: threads connect and look names up without pause while the main thread forks; each child does both,
 * and its exit status is the result. */
#include "common.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

enum { THREADS = 8, CHILDREN = 64 };

static struct sockaddr_storage address;
static socklen_t length;
static const char *host;
static atomic_int stop, failures, rounds;

static int once(void)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
    int fd = socket(address.ss_family, SOCK_STREAM, 0);
    char byte;
    int ok = fd >= 0 && connect(fd, (struct sockaddr *)&address, length) == 0 && read(fd, &byte, 1) == 1;

    if (fd >= 0)
        close(fd);
    if (getaddrinfo(host, "80", &hints, &list) != 0)
        return 0;
    freeaddrinfo(list);
    return ok && gethostbyname(host) != NULL;
}

static void *storm(void *unused)
{
    (void)unused;
    while (!stop) {
        if (!once())
            failures++;
        rounds++;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS];
    int i, status, bad = 0;

    if (argc != 4)
        return 2;
    length = address_of(argv[1], argv[2], &address);
    host = argv[3];
    for (i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, storm, NULL);
    for (i = 0; i < CHILDREN; i++) {
        pid_t child = fork();

        if (child == 0)
            _exit(once() ? 0 : 1);
        if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
            bad++;
    }
    stop = 1;
    for (i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    printf("children that failed: %d\nthreads failed: %d\nthreads worked: %s\n", bad, failures,
           rounds > 0 ? "yes" : "no");
    return 0;
}
