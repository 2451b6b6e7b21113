/* HOST PORT: connects, over and over, while a signal handler does the same. */
#include "common.h"
#include <signal.h>
#include <sys/time.h>

static struct sockaddr_storage address;
static socklen_t length;
static volatile sig_atomic_t in_handler, failed_in_handler;

static int try(void)
{
    struct sockaddr_storage peer;
    socklen_t peer_length = sizeof peer;
    int fd = socket(address.ss_family, SOCK_STREAM, 0);
    int result = connect(fd, (struct sockaddr *)&address, length);

    if (result == 0)
        result = getpeername(fd, (struct sockaddr *)&peer, &peer_length) != 0 || memcmp(&peer, &address, length) != 0;
    close(fd);
    return result;
}

static void handle(int signal)
{
    int before = errno;

    (void)signal;
    if (try() != 0)
        failed_in_handler = failed_in_handler + 1;
    in_handler = in_handler + 1;
    errno = before;
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART};
    struct itimerval often = {.it_interval = {.tv_usec = 700}, .it_value = {.tv_usec = 700}};
    int failed = 0, made = 0;

    if (argc != 3)
        return 2;
    length = address_of(argv[1], argv[2], &address);
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    while (in_handler < 200 || made < 200) {
        int result = try();

        /* a blocking connect may be interrupted */
        if (result != 0 && errno != EINTR && errno != EALREADY && errno != EISCONN)
            failed++;
        made++;
    }
    often.it_interval.tv_usec = often.it_value.tv_usec = 0;
    setitimer(ITIMER_REAL, &often, NULL);
    printf("failed: %d, in the handler: %d\n", failed, (int)failed_in_handler);
    return 0;
}
