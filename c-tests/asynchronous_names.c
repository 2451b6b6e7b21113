/* getaddrinfo_a in both modes and with every kind of notification: NAME... */
#include "common.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

#define MAX_REQUESTS 16
#define MODES 5

static atomic_int notified;

static void on_thread(union sigval value)
{
    atomic_fetch_add(&notified, value.sival_int);
}

static void on_signal(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)context;
    atomic_fetch_add(&notified, info->si_value.sival_int);
}

static void wait_until_notified(int what)
{
    struct timespec millisecond = {.tv_nsec = 1000000};
    int tries = 20000;

    while (atomic_load(&notified) != what && tries-- > 0)
        nanosleep(&millisecond, NULL);
    printf("told %d\n", atomic_load(&notified));
    atomic_store(&notified, 0);
}

/* With several requests at once glibc's gai_suspend loses those that finish while it wakes up, and their threads write to its
 * stack later. */
static void wait_for(const struct gaicb *request)
{
    while (gai_suspend(&request, 1, NULL) != EAI_ALLDONE)
        ;
}

/* A request has its result before glibc's thread releases it. */
static int cancelled(struct gaicb *request)
{
    int code;

    while ((code = gai_cancel(request)) == EAI_NOTCANCELED)
        sched_yield();
    return code;
}

static void print_requests(struct gaicb **list, int count)
{
    int i;

    for (i = 0; i < count; i++) {
        int code = gai_error(list[i]);
        const struct addrinfo *element;

        printf("  %s: %d", list[i]->ar_name, code);
        for (element = code == 0 ? list[i]->ar_result : NULL; element != NULL; element = element->ai_next)
            printf(" %s", address_text(element->ai_addr));
        printf(", cancelled %d\n", cancelled(list[i]));
        if (code == 0)
            freeaddrinfo(list[i]->ar_result);
    }
}

int main(int argc, char **argv)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_INET};
    /* glibc may still use a request after the notification, so none is used twice */
    static struct gaicb every[MODES][MAX_REQUESTS];
    struct gaicb *list[MAX_REQUESTS + 1];
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
    struct sigevent event;
    int count = argc - 1, i, mode;

    sigaction(SIGUSR1, &action, NULL);
    for (mode = 0; mode < MODES; mode++) {
        struct gaicb *requests = every[mode];

        for (i = 0; i < count; i++) {
            requests[i].ar_name = argv[i + 1];
            requests[i].ar_service = "80";
            requests[i].ar_request = &hints;
            list[i] = &requests[i];
        }
        /* null requests are allowed */
        list[count] = NULL;
        memset(&event, 0, sizeof event);
        event.sigev_value.sival_int = mode;
        switch (mode) {
        case 0:
            printf("wait: %d\n", getaddrinfo_a(GAI_WAIT, list, count + 1, NULL));
            break;
        case 1:
            printf("no wait: %d\n", getaddrinfo_a(GAI_NOWAIT, list, count + 1, NULL));
            break;
        case 2:
            event.sigev_notify = SIGEV_NONE;
            printf("none: %d\n", getaddrinfo_a(GAI_NOWAIT, list, count + 1, &event));
            break;
        case 3:
            event.sigev_notify = SIGEV_SIGNAL;
            event.sigev_signo = SIGUSR1;
            printf("signal: %d\n", getaddrinfo_a(GAI_NOWAIT, list, count + 1, &event));
            wait_until_notified(mode);
            break;
        case 4:
            event.sigev_notify = SIGEV_THREAD;
            event.sigev_notify_function = on_thread;
            printf("thread: %d\n", getaddrinfo_a(GAI_NOWAIT, list, count + 1, &event));
            wait_until_notified(mode);
            break;
        }
        for (i = 0; i < count; i++)
            wait_for(list[i]);
        print_requests(list, count);
    }
    mode = getaddrinfo_a(7, list, count, NULL);
    printf("no mode: %d %s\n", mode, error_name(errno));
    printf("nothing: %d\n", getaddrinfo_a(GAI_NOWAIT, list, 0, NULL));
    return 0;
}
