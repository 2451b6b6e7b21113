/* HOST PORT [again]: connects a non-blocking socket that was registered edge-triggered before; prints the results of
 * epoll and SO_ERROR. With "again" a second connect, as in hiredis, takes the place of SO_ERROR. */
#include "common.h"
#include <sys/epoll.h>

int main(int argc, char **argv)
{
    struct sockaddr_storage address;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET};
    socklen_t length;
    int fd, epoll, result, waited, is_again = argc == 4 && strcmp(argv[3], "again") == 0;
    uint32_t events = 0;

    if (argc < 3)
        return 2;
    length = address_of(argv[1], argv[2], &address);
    fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    epoll = epoll_create1(0);
    if (fd < 0 || epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        die("socket");
    /* a socket that was never connected reports a hang-up once */
    epoll_wait(epoll, &event, 1, 0);
    result = connect(fd, (struct sockaddr *)&address, length);
    printf("connect: %s\n", outcome(result));
    if (result != 0 && errno == EINPROGRESS) {
        do {
            waited = epoll_wait(epoll, &event, 1, 10000);
            if (waited == 1)
                events |= event.events;
        } while (waited == 1 && !(events & (EPOLLOUT | EPOLLERR)));
        printf("event: %s%s\n", events & EPOLLOUT ? "out" : "none", events & EPOLLERR ? " err" : "");
        if (!is_again)
            printf("SO_ERROR: %s\n", error_name(socket_error(fd)));
        printf("second connect: %s\n", outcome(connect(fd, (struct sockaddr *)&address, length)));
        printf("SO_ERROR after it: %s\n", error_name(socket_error(fd)));
    }
    print_peer(fd);
    if (events & EPOLLOUT && !(events & EPOLLERR)) {
        /* wait for the data like an event loop */
        while (!(events & (EPOLLIN | EPOLLRDHUP)) && epoll_wait(epoll, &event, 1, 10000) == 1)
            events |= event.events;
        print_data(fd);
    }
    return 0;
}
