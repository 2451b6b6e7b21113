/* Calls connect, getpeername, getsockopt, sendto and sendmsg with arguments that the kernel refuses, and with addresses of this
 * machine, and prints the results. No line depends on a session. */
#include "common.h"
#include <stddef.h>
#include <sys/mman.h>
#include <sys/un.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static char *guarded; /* the end of a page, followed by one that cannot be read */

static void try_connect(const char *what, int fd, const void *address, socklen_t length)
{
    printf("connect %s: %s\n", what, outcome(connect(fd, address, length)));
}

/* Puts the first `length` bytes of an address right before the guard. */
static void *at_guard(const void *address, size_t length)
{
    return memcpy(guarded - length, address, length);
}

int main(void)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(0x0a000001)};
    struct sockaddr_in local = {.sin_family = AF_INET, .sin_port = htons(1), .sin_addr.s_addr = htonl(0x7f000001)};
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(1)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(9)};
    struct sockaddr_in6 local6 = {.sin6_family = AF_INET6, .sin6_port = htons(1), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr_un path = {.sun_family = AF_UNIX, .sun_path = "/nonexistent/socket"};
    struct sockaddr unspecified = {.sa_family = AF_UNSPEC};
    char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int tcp = socket(AF_INET, SOCK_STREAM, 0), tcp6 = socket(AF_INET6, SOCK_STREAM, 0);
    int local_stream = socket(AF_UNIX, SOCK_STREAM, 0), udp = socket(AF_INET, SOCK_DGRAM, 0);
    int multi = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP), file = fileno(stderr);
    void *wild[] = {NULL, (void *)1, (void *)-1, (void *)0x7fffffffffff};
    socklen_t length;
    int error;
    size_t i;

    if (pages == MAP_FAILED || mprotect(pages + 4096, 4096, PROT_NONE) != 0)
        die("mmap");
    guarded = pages + 4096;
    inet_pton(AF_INET6, "2001:db8::1", &v6.sin6_addr);

    for (i = 0; i < sizeof wild / sizeof *wild; i++) {
        try_connect("wild", tcp, wild[i], sizeof v4);
        try_connect("wild v6", tcp6, wild[i], sizeof v6);
        try_connect("wild local", local_stream, wild[i], sizeof path);
        if (multi >= 0)
            try_connect("wild multipath", multi, wild[i], sizeof v4);
        printf("getpeername wild: %s\n", outcome(getpeername(tcp, wild[i], wild[i])));
        length = sizeof error;
        printf("getsockopt wild: %s\n", outcome(getsockopt(tcp, SOL_SOCKET, SO_ERROR, wild[i], &length)));
        printf("getsockopt wild length: %s\n", outcome(getsockopt(tcp, SOL_SOCKET, SO_ERROR, &error, wild[i])));
        printf("sendto wild: %s\n", outcome((int)sendto(udp, "x", 1, 0, wild[i], wild[i] ? sizeof v4 : 0)));
        printf("sendmsg wild: %s\n", outcome((int)sendmsg(udp, wild[i], 0)));
        printf("sendmmsg wild: %s\n", outcome(sendmmsg(udp, wild[i], 1, 0)));
    }
    for (i = 0; i < sizeof v4; i++)
        try_connect("cut", tcp, at_guard(&v4, i), sizeof v4);
    for (i = 0; i < offsetof(struct sockaddr_in6, sin6_scope_id); i++)
        try_connect("cut v6", tcp6, at_guard(&v6, i), sizeof v6);
    for (i = 0; i < sizeof v4; i++)
        try_connect("short", tcp, at_guard(&v4, i), (socklen_t)i);
    for (i = 0; i < offsetof(struct sockaddr_in6, sin6_scope_id); i++)
        try_connect("short v6", tcp6, at_guard(&v6, i), (socklen_t)i);
    try_connect("long", tcp, &v4, 129);
    try_connect("negative", tcp, &v4, (socklen_t)-1);
    try_connect("v4 on v6", tcp6, &v4, sizeof v4);
    try_connect("v6 on v4", tcp, &v6, sizeof v6);
    try_connect("internet on local", local_stream, &v4, sizeof v4);
    try_connect("local on internet", tcp, &path, sizeof path);
    try_connect("local", local_stream, &path, sizeof path);
    try_connect("unspecified", tcp, &unspecified, sizeof unspecified);
    try_connect("closed descriptor", 999, &v4, sizeof v4);
    try_connect("no socket", file, &v4, sizeof v4);
    try_connect("loopback", tcp, &local, sizeof local);
    try_connect("loopback at guard", tcp, at_guard(&local, sizeof local), sizeof local);
    try_connect("any", tcp, &any, sizeof any);
    try_connect("loopback v6", tcp6, &local6, sizeof local6);
    inet_pton(AF_INET6, "::ffff:127.0.0.1", &local6.sin6_addr);
    try_connect("mapped loopback", tcp6, &local6, sizeof local6);
    inet_pton(AF_INET6, "::ffff:0.0.0.0", &local6.sin6_addr);
    try_connect("mapped any", tcp6, &local6, sizeof local6);
    inet_pton(AF_INET6, "::ffff:10.0.0.1", &local6.sin6_addr);
    setsockopt(tcp6, IPPROTO_IPV6, IPV6_V6ONLY, &(int){1}, sizeof(int));
    try_connect("mapped on a v6-only socket", tcp6, &local6, sizeof local6);
    if (listen(tcp, 1) != 0)
        die("listen");
    try_connect("listening", tcp, &v4, sizeof v4);
    return 0;
}
