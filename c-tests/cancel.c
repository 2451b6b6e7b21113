/* HOST PORT: cancels a thread that sleeps in a blocking connect. Prints whether it was cancelled and ran its
 * handlers, and whether the process goes on. */
#include "common.h"
#include <dirent.h>
#include <pthread.h>
#include <semaphore.h>

static struct sockaddr_storage address;
static socklen_t length;
static int fd, is_cleaned;

static void clean(void *unused)
{
    (void)unused;
    is_cleaned = 1;
}

static void *sleeper(void *unused)
{
    (void)unused;
    pthread_cleanup_push(clean, NULL);
    connect(fd, (struct sockaddr *)&address, length);
    /* a connect that could not be cancelled ends here, since the cancellation is still to come */
    pause();
    pthread_cleanup_pop(0);
    return NULL;
}

static int is_connecting(void)
{
    unsigned char state = 0;

    getsockopt(fd, IPPROTO_TCP, TCP_INFO, &state, &(socklen_t){sizeof state});
    return state == TCP_SYN_SENT;
}

static int open_descriptors(void)
{
    DIR *folder = opendir("/proc/self/fd");
    int count = 0;

    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

int main(int argc, char **argv)
{
    pthread_t thread;
    void *result;
    int before, i;

    if (argc != 3)
        return 2;
    length = address_of(argv[1], argv[2], &address);
    fd = socket(address.ss_family, SOCK_STREAM, 0);
    before = open_descriptors();
    pthread_create(&thread, NULL, sleeper, NULL);
    for (i = 0; i < 10000 && !is_connecting(); i++)
        usleep(1000);
    printf("connecting: %s\n", is_connecting() ? "yes" : "no");
    pthread_cancel(thread);
    pthread_join(thread, &result);
    printf("cancelled: %s\ncleaned: %s\nleaked: %d\n", result == PTHREAD_CANCELED ? "yes" : "no",
           is_cleaned ? "yes" : "no", open_descriptors() - before);
    return 0;
}
