/* HOST PORT [restart] [storm] [leave] [tell PIPE]: a blocking connect that a signal interrupts after 100 ms. Prints the
 * results of connect and of the connection.
 *   restart  installs the handler with SA_RESTART
 *   storm    sends more signals, every 2 ms
 *   again    waits for the connection in connect once more
 *   leave    ends the program without waiting for the connection
 *   tell     opens and closes a named pipe in the handler, so that another process knows of the signal */
#include "common.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/time.h>

static volatile sig_atomic_t signals;
static const char *pipe_path;

static void handle(int number)
{
    int error = errno;

    (void)number;
    if (signals++ == 0 && pipe_path != NULL)
        close(open(pipe_path, O_WRONLY));
    errno = error;
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = handle};
    struct itimerval timer = {.it_value = {.tv_usec = 100000}};
    struct sockaddr_storage address;
    socklen_t length;
    int fd, i, result, is_leaving = 0, waits_again = 0, is_interrupted;

    if (argc < 3)
        return 2;
    for (i = 3; i < argc; i++) {
        if (strcmp(argv[i], "restart") == 0)
            action.sa_flags = SA_RESTART;
        else if (strcmp(argv[i], "storm") == 0)
            timer.it_interval.tv_usec = 2000;
        else if (strcmp(argv[i], "leave") == 0)
            is_leaving = 1;
        else if (strcmp(argv[i], "again") == 0)
            waits_again = 1;
        else if (strcmp(argv[i], "tell") == 0)
            ;
        else
            pipe_path = argv[i];
    }
    length = address_of(argv[1], argv[2], &address);
    fd = socket(address.ss_family, SOCK_STREAM, 0);
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
    result = connect(fd, (struct sockaddr *)&address, length);
    is_interrupted = result != 0 && errno == EINTR;
    printf("connect: %s\n", outcome(result));
    setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
    printf("signals: %s\n", signals > 0 ? "some" : "none");
    if (is_interrupted && waits_again) {
        printf("connect again: %s\n", outcome(connect(fd, (struct sockaddr *)&address, length)));
        printf("SO_ERROR: %s\n", error_name(socket_error(fd)));
        print_peer(fd);
    } else if (is_interrupted && !is_leaving) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};

        while (poll(&poll_fd, 1, 10000) < 0 && errno == EINTR)
            ;
        printf("writable: %s\n", poll_fd.revents & POLLOUT ? "yes" : "no");
        printf("SO_ERROR: %s\n", error_name(socket_error(fd)));
        print_peer(fd);
    }
    return 0;
}
