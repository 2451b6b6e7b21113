/* Prints lines, among them the state of sockets, and connects without blocking in two steps. */
#ifndef REPORT_H
#define REPORT_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATIENCE_MS = 700 };

static inline const char *name_of(int error)
{
    const char *name = error ? strerrorname_np(error) : "0";
    return name ? name : "unknown";
}

static inline void say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
}

static inline struct sockaddr_in ipv4(const char *address, const char *port)
{
    struct sockaddr_in target = { .sin_family = AF_INET, .sin_port = htons(atoi(port)) };
    if (inet_pton(AF_INET, address, &target.sin_addr) != 1)
        exit(2);
    return target;
}

static inline int try_connect(int fd, const struct sockaddr_in *target)
{
    errno = 0;
    int result = connect(fd, (const struct sockaddr *)target, sizeof *target);
    return result == 0 ? 0 : errno;
}

static inline int so_error(int fd)
{
    int error = -1;
    socklen_t length = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
    return error;
}

static inline void tell_peer(int fd)
{
    struct sockaddr_storage peer = { 0 };
    socklen_t length = sizeof peer;
    char text[INET6_ADDRSTRLEN] = "";
    if (getpeername(fd, (struct sockaddr *)&peer, &length) != 0) {
        say("getpeername: %s", name_of(errno));
    } else if (peer.ss_family == AF_INET) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)&peer;
        inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
        say("getpeername: %s %d, %d bytes", text, ntohs(v4->sin_port), (int)length);
    } else {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&peer;
        inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
        say("getpeername: %s %d, %d bytes", text, ntohs(v6->sin6_port), (int)length);
    }
}

/* Without the port, which is another one each time. */
static inline void tell_own(int fd)
{
    struct sockaddr_storage own = { 0 };
    socklen_t length = sizeof own;
    char text[INET6_ADDRSTRLEN] = "";
    if (getsockname(fd, (struct sockaddr *)&own, &length) != 0) {
        say("getsockname: %s", name_of(errno));
        return;
    }
    const void *ip = own.ss_family == AF_INET ? (void *)&((struct sockaddr_in *)&own)->sin_addr
                                              : (void *)&((struct sockaddr_in6 *)&own)->sin6_addr;
    inet_ntop(own.ss_family, ip, text, sizeof text);
    say("getsockname: %s, %d bytes", text, (int)length);
}

/* Reads to the end in whatever way the socket is set to block. */
static inline void tell_what_comes(int fd)
{
    char buffer[256];
    size_t have = 0;
    for (;;) {
        struct pollfd readable = { .fd = fd, .events = POLLIN };
        if (poll(&readable, 1, 10000) != 1) {
            say("nothing comes");
            return;
        }
        ssize_t got = recv(fd, buffer + have, sizeof buffer - 1 - have, 0);
        if (got < 0) {
            say("recv: %s", name_of(errno));
            return;
        }
        if (got == 0)
            break;
        have += got;
    }
    buffer[have] = 0;
    buffer[strcspn(buffer, "\n")] = 0;
    say("received: %s", buffer);
}

static inline void tell_connected(int fd)
{
    tell_peer(fd);
    tell_what_comes(fd);
}

static inline void say_events(const char *how, unsigned events)
{
    static const struct { unsigned bit; const char *name; } names[] = {
        { POLLIN, "IN" }, { POLLOUT, "OUT" }, { POLLERR, "ERR" }, { POLLHUP, "HUP" }, { POLLRDHUP, "RDHUP" },
    };
    char text[64] = "";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (events & names[i].bit) {
            strcat(text, " ");
            strcat(text, names[i].name);
        }
    say("%s:%s", how, text);
}

/* A failure may come at once or later: a route of the machine's own refuses at once what a router refuses later. */
static inline int begin(int fd, const struct sockaddr_in *target)
{
    int error = try_connect(fd, target);
    if (error == EINPROGRESS)
        return 0;
    if (error == 0) {
        say("connected at once");
        return -1;
    }
    say("failed: %s", name_of(error));
    say("SO_ERROR again: %s", name_of(so_error(fd)));
    tell_peer(fd);
    return error;
}

static inline void conclude(int fd)
{
    int error = so_error(fd);
    if (error)
        say("failed: %s", name_of(error));
    else
        say("connected");
    say("SO_ERROR again: %s", name_of(so_error(fd)));
    if (error == 0)
        tell_connected(fd);
    else
        tell_peer(fd);
}

static inline void still_pending(int fd, const struct sockaddr_in *target)
{
    say("nothing happens");
    say("SO_ERROR: %s", name_of(so_error(fd)));
    tell_peer(fd);
    say("connect again: %s", name_of(try_connect(fd, target)));
    char byte;
    say("recv: %s", recv(fd, &byte, 1, 0) < 0 ? name_of(errno) : "something");
    say("send: %s", send(fd, "x", 1, MSG_NOSIGNAL) < 0 ? name_of(errno) : "something");
}

#endif
