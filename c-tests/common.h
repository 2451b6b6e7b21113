/* Shared by all programs: names of results, and addresses from the command line. */
#ifndef KINJECT_COMMON_H
#define KINJECT_COMMON_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The result of a system call as text: the number, or the name of its error. */
static inline const char *outcome(int result)
{
    static _Thread_local char number[16];

    if (result < 0)
        return strerrorname_np(errno);
    snprintf(number, sizeof number, "%d", result);
    return number;
}

static inline const char *error_name(int error)
{
    return error == 0 ? "0" : strerrorname_np(error);
}

static inline void die(const char *what)
{
    perror(what);
    exit(2);
}

/* The first address of HOST and PORT. */
static inline socklen_t address_of(const char *host, const char *port, struct sockaddr_storage *address)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    int code = getaddrinfo(host, port, &hints, &found);
    socklen_t length;

    if (code != 0) {
        printf("getaddrinfo %s: %s\n", host, gai_strerror(code));
        exit(2);
    }
    length = found->ai_addrlen;
    memcpy(address, found->ai_addr, length);
    freeaddrinfo(found);
    return length;
}

/* An address as text, in a buffer that the next call overwrites. */
static inline const char *address_text(const struct sockaddr *address)
{
    static char text[INET6_ADDRSTRLEN + 16];
    char ip[INET6_ADDRSTRLEN];

    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)address;
        inet_ntop(AF_INET, &v4->sin_addr, ip, sizeof ip);
        snprintf(text, sizeof text, "%s:%d", ip, ntohs(v4->sin_port));
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const void *)address;
        inet_ntop(AF_INET6, &v6->sin6_addr, ip, sizeof ip);
        snprintf(text, sizeof text, "[%s]:%d", ip, ntohs(v6->sin6_port));
    } else {
        snprintf(text, sizeof text, "family %d", address->sa_family);
    }
    return text;
}

static inline void print_peer(int fd)
{
    struct sockaddr_storage peer;
    socklen_t length = sizeof peer;

    if (getpeername(fd, (struct sockaddr *)&peer, &length) != 0)
        printf("peer: %s\n", strerrorname_np(errno));
    else
        printf("peer: %s\n", address_text((struct sockaddr *)&peer));
}

static inline int socket_error(int fd)
{
    int error = -1;
    socklen_t length = sizeof error;

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0)
        die("getsockopt");
    return error;
}

/* Prints what the peer sends until it closes the connection, without newlines. */
static inline void print_data(int fd)
{
    char data[4096];
    size_t total = 0;
    ssize_t count;

    while (total < sizeof data - 1 && (count = read(fd, data + total, sizeof data - 1 - total)) > 0)
        total += (size_t)count;
    while (total > 0 && data[total - 1] == '\n')
        total--;
    data[total] = 0;
    printf("data: %s\n", data);
}

#endif
