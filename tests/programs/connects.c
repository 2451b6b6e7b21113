/* connect(2) in one of the modes that programs use; prints each step as a line.
 *
 * usage: connects MODE ADDRESS PORT [ADDRESS PORT]
 *
 * Nothing that depends on timing is printed, so two runs against the same peer print the same.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "report.h"

static void blocking(const struct sockaddr_in *target)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int error = try_connect(fd, target);
    say("connect: %s", name_of(error));
    say("SO_ERROR: %s", name_of(so_error(fd)));
    if (error == 0)
        tell_connected(fd);
    else
        tell_peer(fd);
    close(fd);
}

/* The socket's own address, while connected and after the far end has closed. */
static void own(const struct sockaddr_in *target)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    say("connect: %s", name_of(try_connect(fd, target)));
    tell_own(fd);
    tell_what_comes(fd);
    tell_own(fd);
    close(fd);
}

/* Only the result, blocking and not. Where a router refuses, the intermediate states depend on timing. */
static void outcome(const struct sockaddr_in *target)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    say("connect: %s", name_of(try_connect(fd, target)));
    close(fd);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int error = try_connect(fd, target);
    struct pollfd writable = { .fd = fd, .events = POLLOUT };
    if (error == EINPROGRESS)
        error = poll(&writable, 1, 10000) == 1 ? so_error(fd) : ETIME;
    say("without blocking: %s", name_of(error));
    close(fd);
}

/* Edge-triggered, and registered before connect, as by mio, libuv and event loops like asyncio's. */
static void epoll_edge(const struct sockaddr_in *target)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event wanted = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.fd = fd };
    epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &wanted);
    struct epoll_event event;
    if (epoll_wait(epoll, &event, 1, 0) == 1)
        say_events("before", event.events);
    if (begin(fd, target) != 0)
        return;
    int count = epoll_wait(epoll, &event, 1, PATIENCE_MS);
    if (count == 0) {
        still_pending(fd, target);
    } else {
        /* data may arrive together with the end of the handshake */
        say_events("event", event.events & (EPOLLOUT | EPOLLERR | EPOLLHUP));
        conclude(fd);
    }
    close(fd);
}

static void by_poll(const struct sockaddr_in *target)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (begin(fd, target) != 0)
        return;
    struct pollfd writable = { .fd = fd, .events = POLLOUT };
    if (poll(&writable, 1, PATIENCE_MS) == 0) {
        still_pending(fd, target);
    } else {
        say_events("event", writable.revents);
        conclude(fd);
    }
    close(fd);
}

static void by_select(const struct sockaddr_in *target)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    if (begin(fd, target) != 0)
        return;
    fd_set writable;
    FD_ZERO(&writable);
    FD_SET(fd, &writable);
    struct timeval limit = { .tv_usec = PATIENCE_MS * 1000 };
    if (select(fd + 1, NULL, &writable, NULL, &limit) == 0) {
        still_pending(fd, target);
    } else {
        conclude(fd);
    }
    close(fd);
}

/* SO_SNDTIMEO bounds connect, too (socket(7)). */
static void send_timeout(const struct sockaddr_in *target)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval limit = { .tv_usec = PATIENCE_MS * 1000 };
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    int error = try_connect(fd, target);
    say("connect: %s", name_of(error));
    if (error == 0)
        tell_connected(fd);
    else
        say("SO_ERROR: %s", name_of(so_error(fd)));
    close(fd);
}

static void on_alarm(int signal)
{
    (void)signal;
}

/* A signal interrupts a connect that blocks; the connect itself goes on. */
static void interrupted(const struct sockaddr_in *target)
{
    struct sigaction action = { .sa_handler = on_alarm };
    sigaction(SIGALRM, &action, NULL);
    struct itimerval soon = { .it_value.tv_usec = 300000 };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setitimer(ITIMER_REAL, &soon, NULL);
    int error = try_connect(fd, target);
    say("connect: %s", name_of(error));
    if (error == EINTR) {
        struct pollfd writable = { .fd = fd, .events = POLLOUT };
        say("poll: %d", poll(&writable, 1, 200));
        setitimer(ITIMER_REAL, &soon, NULL);
        say("connect again: %s", name_of(try_connect(fd, target)));
        fcntl(fd, F_SETFL, O_NONBLOCK);
        say("connect without blocking: %s", name_of(try_connect(fd, target)));
    } else if (error == 0) {
        tell_connected(fd);
    }
    close(fd);
}

/* With SA_RESTART the kernel starts connect again by itself. */
static void restarted(const struct sockaddr_in *target)
{
    struct sigaction action = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
    sigaction(SIGALRM, &action, NULL);
    struct itimerval twice = { .it_value.tv_usec = 100000, .it_interval.tv_usec = 100000 };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct timeval limit = { .tv_usec = PATIENCE_MS * 1000 };
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    setitimer(ITIMER_REAL, &twice, NULL);
    int error = try_connect(fd, target);
    struct itimerval never = { 0 };
    setitimer(ITIMER_REAL, &never, NULL);
    /* A time-out makes the kernel forgo the restart (signal(7)). */
    say("connect: %s", name_of(error));
    if (error == 0)
        tell_connected(fd);
    close(fd);
}

/* The same socket, first to a peer that fails, then to one that does not. */
static void reconnect(const struct sockaddr_in *target, const struct sockaddr_in *other)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    say("connect: %s", name_of(try_connect(fd, target)));
    say("connect to the other: %s", name_of(try_connect(fd, other)));
    tell_connected(fd);
    close(fd);
}

static void reconnect_polled(const struct sockaddr_in *target, const struct sockaddr_in *other)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct pollfd writable = { .fd = fd, .events = POLLOUT };
    begin(fd, target);
    poll(&writable, 1, 5000);
    say("SO_ERROR: %s", name_of(so_error(fd)));
    int error = try_connect(fd, other);
    say("connect to the other: %s", name_of(error));
    if (error == ECONNABORTED)
        say("once more: %s", name_of(try_connect(fd, other)));
    poll(&writable, 1, 5000);
    conclude(fd);
    close(fd);
}

/* Some call connect again for the result (hiredis does), and that must not dial again. */
static void second_call(const struct sockaddr_in *target)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (begin(fd, target) != 0)
        return;
    struct pollfd writable = { .fd = fd, .events = POLLOUT };
    if (poll(&writable, 1, PATIENCE_MS) == 0) {
        still_pending(fd, target);
        close(fd);
        return;
    }
    int error = try_connect(fd, target);
    say("second connect: %s", name_of(error));
    say("SO_ERROR: %s", name_of(so_error(fd)));
    if (error == 0 || error == EISCONN) {
        say("third connect: %s", name_of(try_connect(fd, target)));
        tell_connected(fd);
    }
    close(fd);
}

/* An IPv6 socket and an IPv4 address, as Java uses them. */
static void mapped(const struct sockaddr_in *target, int only_v6)
{
    struct sockaddr_in6 wide = { .sin6_family = AF_INET6, .sin6_port = target->sin_port };
    wide.sin6_addr.s6_addr[10] = wide.sin6_addr.s6_addr[11] = 0xff;
    memcpy(&wide.sin6_addr.s6_addr[12], &target->sin_addr, 4);
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    if (fd < 0) {
        say("socket: %s", name_of(errno));
        return;
    }
    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only_v6, sizeof only_v6);
    int result = connect(fd, (struct sockaddr *)&wide, sizeof wide);
    say("connect: %s", result == 0 ? "0" : name_of(errno));
    if (result == 0) {
        tell_own(fd);
        tell_connected(fd);
    } else {
        say("SO_ERROR: %s", name_of(so_error(fd)));
    }
    close(fd);
}

/* A child connects its parent's socket, and the parent checks the result. */
static void across_fork(const struct sockaddr_in *target)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    pid_t child = fork();
    if (child == 0)
        _exit(begin(fd, target));
    waitpid(child, NULL, 0);
    int twin = dup(fd);
    close(fd);
    struct pollfd writable = { .fd = twin, .events = POLLOUT };
    poll(&writable, 1, 5000);
    conclude(twin);
    close(twin);
}

/* A socket that is bound first, as with a fixed source port. */
static void bound(const struct sockaddr_in *target)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in any = { .sin_family = AF_INET };
    say("bind: %s", bind(fd, (struct sockaddr *)&any, sizeof any) == 0 ? "0" : name_of(errno));
    int error = try_connect(fd, target);
    say("connect: %s", name_of(error));
    if (error == 0)
        tell_connected(fd);
    close(fd);
}

/* AF_UNSPEC dissolves a connection, and the socket can be used again (connect(2)). */
static void dissolved(const struct sockaddr_in *target)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    say("connect: %s", name_of(try_connect(fd, target)));
    struct sockaddr nothing = { .sa_family = AF_UNSPEC };
    say("dissolve: %s", connect(fd, &nothing, sizeof nothing) == 0 ? "0" : name_of(errno));
    tell_peer(fd);
    int error = try_connect(fd, target);
    say("connect: %s", name_of(error));
    if (error == 0)
        tell_connected(fd);
    close(fd);
}

/* Abandons the connect: nothing is printed, but relay and agent must not keep it. */
static void abandoned(const struct sockaddr_in *target)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    say("connect: %s", name_of(try_connect(fd, target)));
    say("close: %s", close(fd) == 0 ? "0" : name_of(errno));
}

/* What connect(2) itself refuses. */
static void misused(const struct sockaddr_in *target)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    say("short: %s", connect(fd, (struct sockaddr *)target, 4) == 0 ? "0" : name_of(errno));
    say("no address: %s", connect(fd, NULL, sizeof *target) == 0 ? "0" : name_of(errno));
    close(fd);
    say("closed: %s", name_of(try_connect(fd, target)));
    int pipes[2];
    if (pipe(pipes) == 0)
        say("a pipe: %s", name_of(try_connect(pipes[0], target)));
    int wide = socket(AF_INET6, SOCK_STREAM, 0);
    say("wrong family: %s", name_of(try_connect(wide, target)));
    int listening = socket(AF_INET, SOCK_STREAM, 0);
    say("listen: %s", listen(listening, 1) == 0 ? "0" : name_of(errno));
    say("a listener: %s", name_of(try_connect(listening, target)));
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    const char *mode = argv[1];
    struct sockaddr_in target = ipv4(argv[2], argv[3]);
    struct sockaddr_in other = argc > 5 ? ipv4(argv[4], argv[5]) : target;
    if (!strcmp(mode, "blocking"))
        blocking(&target);
    else if (!strcmp(mode, "own"))
        own(&target);
    else if (!strcmp(mode, "outcome"))
        outcome(&target);
    else if (!strcmp(mode, "epoll"))
        epoll_edge(&target);
    else if (!strcmp(mode, "poll"))
        by_poll(&target);
    else if (!strcmp(mode, "select"))
        by_select(&target);
    else if (!strcmp(mode, "sndtimeo"))
        send_timeout(&target);
    else if (!strcmp(mode, "interrupted"))
        interrupted(&target);
    else if (!strcmp(mode, "restarted"))
        restarted(&target);
    else if (!strcmp(mode, "reconnect"))
        reconnect(&target, &other);
    else if (!strcmp(mode, "reconnect-polled"))
        reconnect_polled(&target, &other);
    else if (!strcmp(mode, "second"))
        second_call(&target);
    else if (!strcmp(mode, "mapped"))
        mapped(&target, 0);
    else if (!strcmp(mode, "v6only"))
        mapped(&target, 1);
    else if (!strcmp(mode, "fork"))
        across_fork(&target);
    else if (!strcmp(mode, "bound"))
        bound(&target);
    else if (!strcmp(mode, "dissolved"))
        dissolved(&target);
    else if (!strcmp(mode, "abandoned"))
        abandoned(&target);
    else if (!strcmp(mode, "misused"))
        misused(&target);
    else
        return 2;
    return 0;
}
