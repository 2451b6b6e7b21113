/* UDP in one of the modes that programs use; prints each step as a line.
 *
 * usage: datagrams MODE ADDRESS PORT [ADDRESS PORT]
 *
 * The addresses are those of echo services; for "refused", of a closed port. Nothing that depends on timing or on the
 * socket's own address is printed, so two runs against the same peers print the same.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "report.h"

enum { MOST = 8 };

static const char *outcome(ssize_t result)
{
    static char text[4][24];
    static int next;
    char *buffer = text[next++ % 4];
    if (result < 0)
        return strerrorname_np(errno);
    snprintf(buffer, sizeof text[0], "%zd", result);
    return buffer;
}

/* The first address of HOST and PORT; mapped for sockets of IPv6. */
static socklen_t find(const char *host, const char *port, int family, struct sockaddr_storage *address)
{
    struct addrinfo hints = { .ai_family = family, .ai_socktype = SOCK_DGRAM, .ai_flags = AI_V4MAPPED }, *found;
    int code = getaddrinfo(host, port, &hints, &found);
    if (code) {
        say("getaddrinfo: %s", gai_strerror(code));
        exit(1);
    }
    socklen_t length = found->ai_addrlen;
    memcpy(address, found->ai_addr, length);
    freeaddrinfo(found);
    return length;
}

static const char *text_of(const void *address, socklen_t length)
{
    static char text[2][160];
    static int next;
    char *buffer = text[next++ % 2], host[INET6_ADDRSTRLEN], port[8];
    int flags = NI_NUMERICHOST | NI_NUMERICSERV;
    if (getnameinfo(address, length, host, sizeof host, port, sizeof port, flags))
        snprintf(buffer, sizeof text[0], "no address, %d bytes", (int)length);
    else
        snprintf(buffer, sizeof text[0], "%s %s, %d bytes", host, port, (int)length);
    return buffer;
}

static int open_socket(int family)
{
    int fd = socket(family, SOCK_DGRAM, 0);
    struct timeval patience = { .tv_sec = 5 };
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience))
        exit(2);
    return fd;
}

static void receive(int fd, size_t size, int flags)
{
    static char data[70000];
    struct sockaddr_storage from;
    socklen_t length = sizeof from;
    memset(data, '.', sizeof data);
    ssize_t count = recvfrom(fd, data, size, flags, (struct sockaddr *)&from, &length);
    if (count < 0)
        say("recvfrom: %s", outcome(count));
    else
        say("recvfrom: %zd bytes `%.*s` from %s", count, (int)(size < 16 ? size : 16), data, text_of(&from, length));
}

static void peer(int fd)
{
    struct sockaddr_storage there;
    socklen_t length = sizeof there;
    if (getpeername(fd, (struct sockaddr *)&there, &length))
        say("getpeername: %s", outcome(-1));
    else
        say("getpeername: %s", text_of(&there, length));
}

/* Without the port, which varies. */
static void own(int fd)
{
    struct sockaddr_storage here;
    socklen_t length = sizeof here;
    if (getsockname(fd, (struct sockaddr *)&here, &length)) {
        say("getsockname: %s", outcome(-1));
        return;
    }
    ((struct sockaddr_in *)&here)->sin_port = 0;
    say("getsockname: %s", text_of(&here, length));
}

/* In the kernel's order, the sources of two echoes are not. */
static int by_text(const void *one, const void *other)
{
    return strcmp(one, other);
}

static void several(int fd, struct sockaddr_storage *targets, socklen_t length, int count)
{
    struct mmsghdr messages[MOST] = { 0 };
    struct iovec parts[MOST];
    char data[MOST][16], lines[MOST][200];
    struct sockaddr_storage from[MOST];
    for (int i = 0; i < MOST; i++) {
        snprintf(data[i], sizeof data[i], "number %d", i);
        parts[i] = (struct iovec){ data[i], strlen(data[i]) };
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
        messages[i].msg_hdr.msg_name = &targets[i % count];
        messages[i].msg_hdr.msg_namelen = length;
    }
    say("sendmmsg: %s", outcome(sendmmsg(fd, messages, MOST, 0)));
    for (int i = 0; i < MOST; i++)
        if (messages[i].msg_len != strlen(data[i]))
            say("message %d has length %u", i, messages[i].msg_len);
    memset(data, 0, sizeof data);
    for (int received = 0; received < MOST;) {
        for (int i = 0; i < MOST; i++) {
            parts[i] = (struct iovec){ data[i], sizeof data[i] };
            messages[i].msg_hdr.msg_name = &from[i];
            messages[i].msg_hdr.msg_namelen = sizeof from[i];
        }
        int got = recvmmsg(fd, messages, MOST - received, MSG_WAITFORONE, NULL);
        if (got < 0) {
            say("recvmmsg: %s", outcome(got));
            return;
        }
        for (int i = 0; i < got; i++)
            snprintf(lines[received++], sizeof lines[0], "%.*s from %s", (int)messages[i].msg_len, data[i],
                     text_of(&from[i], messages[i].msg_hdr.msg_namelen));
    }
    qsort(lines, MOST, sizeof lines[0], by_text);
    for (int i = 0; i < MOST; i++)
        say("%s", lines[i]);
}

/* Control data comes and goes as the program asks. */
static void message(int fd, struct sockaddr_storage *target, socklen_t length)
{
    char data[64] = "with control data", space[256];
    struct iovec part = { data, strlen(data) };
    struct msghdr header = { .msg_name = target, .msg_namelen = length, .msg_iov = &part, .msg_iovlen = 1 };
    struct sockaddr_storage from;
    int on = 1;
    setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on);
    setsockopt(fd, IPPROTO_IP, IP_RECVTOS, &on, sizeof on);
    say("sendmsg: %s", outcome(sendmsg(fd, &header, 0)));
    header = (struct msghdr){ .msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &part, .msg_iovlen = 1,
                              .msg_control = space, .msg_controllen = sizeof space };
    part.iov_len = 4;
    ssize_t count = recvmsg(fd, &header, 0);
    say("recvmsg: %s from %s%s", outcome(count), text_of(&from, header.msg_namelen),
        header.msg_flags & MSG_TRUNC ? ", cut" : "");
    struct in_pktinfo info = { 0 };
    for (struct cmsghdr *each = CMSG_FIRSTHDR(&header); each; each = CMSG_NXTHDR(&header, each)) {
        say("control data %d %d, %d bytes", each->cmsg_level, each->cmsg_type, (int)each->cmsg_len);
        if (each->cmsg_level == IPPROTO_IP && each->cmsg_type == IP_PKTINFO)
            memcpy(&info, CMSG_DATA(each), sizeof info);
    }
    /* answers from the address that the datagram was sent to, as servers do */
    struct {
        struct cmsghdr header;
        struct in_pktinfo info;
    } answer = { { .cmsg_len = CMSG_LEN(sizeof info), .cmsg_level = IPPROTO_IP, .cmsg_type = IP_PKTINFO }, info };
    answer.info.ipi_spec_dst = info.ipi_addr;
    part = (struct iovec){ "answered", 8 };
    header = (struct msghdr){ .msg_name = target, .msg_namelen = length, .msg_iov = &part, .msg_iovlen = 1,
                              .msg_control = &answer, .msg_controllen = sizeof answer };
    say("sendmsg: %s", outcome(sendmsg(fd, &header, 0)));
    receive(fd, 64, 0);
}

/* Addresses that do not fit are truncated. */
static void short_addresses(int fd, struct sockaddr_storage *target, socklen_t length)
{
    for (socklen_t room = 0; room <= 32; room += room < 8 ? 3 : 8) {
        unsigned char buffer[40];
        char data[16];
        struct sockaddr_storage whole = { 0 };
        socklen_t returned = room;
        memset(buffer, 0xee, sizeof buffer);
        sendto(fd, "short", 5, 0, (struct sockaddr *)target, length);
        ssize_t count = recvfrom(fd, data, sizeof data, 0, (struct sockaddr *)buffer, &returned);
        say("room for %u: %s, length %u", room, outcome(count), returned);
        memcpy(&whole, target, length);
        for (socklen_t i = 0; i < sizeof buffer; i++)
            if (buffer[i] != (i < room && i < returned ? ((unsigned char *)&whole)[i] : 0xee))
                say("byte %u is %02x", i, buffer[i]);
        struct iovec part = { data, sizeof data };
        struct msghdr header = { .msg_name = buffer, .msg_namelen = room, .msg_iov = &part, .msg_iovlen = 1 };
        memset(buffer, 0xee, sizeof buffer);
        sendto(fd, "short", 5, 0, (struct sockaddr *)target, length);
        count = recvmsg(fd, &header, 0);
        say("and in a header: %s, length %u", outcome(count), header.msg_namelen);
        for (socklen_t i = 0; i < sizeof buffer; i++)
            if (buffer[i] != (i < room && i < returned ? ((unsigned char *)&whole)[i] : 0xee))
                say("byte %u is %02x", i, buffer[i]);
    }
    char data[16];
    sendto(fd, "no place", 8, 0, (struct sockaddr *)target, length);
    say("without a place: %s", outcome(recvfrom(fd, data, sizeof data, 0, NULL, NULL)));
    sendto(fd, "bad place", 9, 0, (struct sockaddr *)target, length);
    socklen_t room = sizeof(struct sockaddr_in);
    ssize_t count = recvfrom(fd, data, sizeof data, 0, (struct sockaddr *)8, &room);
    say("at a bad place: %s", outcome(count));
}

static void waits(int fd, short events)
{
    struct pollfd one = { .fd = fd, .events = events };
    int ready = poll(&one, 1, 5000);
    say("poll: %d%s%s", ready, one.revents & POLLIN ? " IN" : "", one.revents & POLLERR ? " ERR" : "");
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    const char *mode = argv[1];
    int v6 = !strncmp(mode, "mapped", 6), family = v6 ? AF_INET6 : AF_INET, fd = open_socket(family);
    struct sockaddr_storage targets[2];
    socklen_t length = find(argv[2], argv[3], family, &targets[0]);
    if (argc > 5)
        find(argv[4], argv[5], family, &targets[1]);
    struct sockaddr *target = (struct sockaddr *)&targets[0], *other = (struct sockaddr *)&targets[1];

    if (!strcmp(mode, "connected") || !strcmp(mode, "mapped-connected")) {
        say("connect: %s", outcome(connect(fd, target, length)));
        peer(fd);
        own(fd);
        say("send: %s", outcome(send(fd, "hello", 5, 0)));
        waits(fd, POLLIN);
        receive(fd, 64, 0);
        say("write: %s", outcome(write(fd, "again", 5)));
        char data[16];
        say("read: %s", outcome(read(fd, data, sizeof data)));
        say("sendto with its address: %s", outcome(sendto(fd, "too", 3, 0, target, length)));
        receive(fd, 64, 0);
        say("empty: %s", outcome(send(fd, "", 0, 0)));
        receive(fd, 64, 0);
    } else if (!strcmp(mode, "unconnected") || !strcmp(mode, "mapped")) {
        say("to one: %s", outcome(sendto(fd, "first", 5, 0, target, length)));
        receive(fd, 64, 0);
        say("to the other: %s", outcome(sendto(fd, "second", 6, 0, other, length)));
        receive(fd, 64, 0);
        for (int i = 0; i < 3; i++) {
            say("once more: %s", outcome(sendto(fd, "third", 5, 0, i % 2 ? other : target, length)));
            receive(fd, 64, 0);
        }
        peer(fd);
    } else if (!strcmp(mode, "cut")) {
        sendto(fd, "0123456789", 10, 0, target, length);
        receive(fd, 4, MSG_PEEK);
        receive(fd, 4, MSG_PEEK | MSG_TRUNC);
        receive(fd, 4, MSG_TRUNC);
        receive(fd, 4, MSG_DONTWAIT);
        static char large[65508];
        memset(large, 'x', sizeof large);
        say("the largest: %s", outcome(sendto(fd, large, 65507, 0, target, length)));
        receive(fd, 70000, 0);
        say("too large: %s", outcome(sendto(fd, large, 65508, 0, target, length)));
    } else if (!strcmp(mode, "several")) {
        several(fd, targets, length, 2);
        several(fd, targets, length, 1);
    } else if (!strcmp(mode, "message")) {
        message(fd, &targets[0], length);
    } else if (!strcmp(mode, "short")) {
        short_addresses(fd, &targets[0], length);
    } else if (!strcmp(mode, "refused")) {
        say("connect: %s", outcome(connect(fd, target, length)));
        /* a kernel sends six refusals, then one a second: this program runs twice */
        say("send: %s", outcome(send(fd, "anyone?", 7, 0)));
        waits(fd, POLLIN);
        receive(fd, 64, 0);
        int error = -1;
        socklen_t size = sizeof error;
        say("send: %s", outcome(send(fd, "anyone?", 7, 0)));
        waits(fd, 0);
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
        say("SO_ERROR: %s", error ? strerrorname_np(error) : "0");
        if (argc > 5) {
            say("connect to another: %s", outcome(connect(fd, other, length)));
            say("send: %s", outcome(send(fd, "you", 3, 0)));
            receive(fd, 64, 0);
            peer(fd);
        }
        int loose = open_socket(family);
        struct timeval moment = { .tv_usec = 200000 };
        setsockopt(loose, SOL_SOCKET, SO_RCVTIMEO, &moment, sizeof moment);
        say("without connecting: %s", outcome(sendto(loose, "anyone?", 7, 0, target, length)));
        receive(loose, 64, 0);
    } else if (!strcmp(mode, "again")) {
        struct sockaddr_storage nothing = { .ss_family = AF_UNSPEC };
        say("connect: %s", outcome(connect(fd, target, length)));
        send(fd, "one", 3, 0);
        receive(fd, 64, 0);
        say("connect to the other: %s", outcome(connect(fd, other, length)));
        peer(fd);
        send(fd, "two", 3, 0);
        receive(fd, 64, 0);
        say("dissolve: %s", outcome(connect(fd, (struct sockaddr *)&nothing, length)));
        peer(fd);
        say("send: %s", outcome(send(fd, "three", 5, 0)));
        say("sendto: %s", outcome(sendto(fd, "four", 4, 0, target, length)));
        receive(fd, 64, 0);
        say("dissolve: %s", outcome(connect(fd, (struct sockaddr *)&nothing, length)));
        say("sendto: %s", outcome(sendto(fd, "five", 4, 0, target, length)));
        receive(fd, 64, 0);
    } else if (!strcmp(mode, "inherited")) {
        sendto(fd, "parent", 6, 0, target, length);
        receive(fd, 64, 0);
        if (fork() == 0) {
            sendto(fd, "child", 5, 0, target, length);
            receive(fd, 64, 0);
            sendto(fd, "child", 5, 0, other, length);
            receive(fd, 64, 0);
            _exit(0);
        }
        wait(NULL);
        sendto(fd, "parent", 6, 0, other, length);
        receive(fd, 64, 0);
        int copy = dup(fd);
        close(fd);
        sendto(copy, "copy", 4, 0, target, length);
        receive(copy, 64, 0);
    } else if (!strcmp(mode, "port")) {
        struct sockaddr_in any = { .sin_family = AF_INET };
        socklen_t size = sizeof any;
        bind(fd, (struct sockaddr *)&any, size);
        getsockname(fd, (struct sockaddr *)&any, &size);
        connect(fd, target, length);
        send(fd, "mine", 4, 0);
        receive(fd, 64, 0);
        close(fd);
        fd = open_socket(AF_INET);
        any.sin_addr.s_addr = 0;
        say("bind the same port: %s", outcome(bind(fd, (struct sockaddr *)&any, size)));
        sendto(fd, "still mine", 10, 0, target, length);
        receive(fd, 64, 0);
    } else if (!strcmp(mode, "no-port")) {
        /* as resolvers do, to learn the source address for a destination */
        ((struct sockaddr_in *)target)->sin_port = 0;
        say("connect: %s", outcome(connect(fd, target, length)));
        peer(fd);
        own(fd);
        say("sendto: %s", outcome(sendto(open_socket(AF_INET), "x", 1, 0, target, length)));
        say("connect: %s", outcome(connect(fd, other, length)));
        peer(fd);
    } else if (!strcmp(mode, "unreachable")) {
        say("connect: %s", outcome(connect(fd, target, length)));
        say("sendto: %s", outcome(sendto(fd, "x", 1, 0, target, length)));
    } else if (!strcmp(mode, "system-calls")) {
        say("connect: %s", outcome(syscall(SYS_connect, fd, target, length)));
        say("sendto: %s", outcome(syscall(SYS_sendto, fd, "raw", 3, 0, NULL, 0)));
        struct sockaddr_storage from;
        socklen_t size = sizeof from;
        char data[16];
        say("recvfrom: %s", outcome(syscall(SYS_recvfrom, fd, data, sizeof data, 0, &from, &size)));
        say("from %s", text_of(&from, size));
        size = sizeof from;
        say("getpeername: %s", outcome(syscall(SYS_getpeername, fd, &from, &size)));
        say("it is %s", text_of(&from, size));
        int loose = open_socket(family);
        say("sendto: %s", outcome(syscall(SYS_sendto, loose, "raw", 3, 0, target, length)));
        receive(loose, 16, 0);
        struct iovec part = { "message", 7 };
        struct msghdr header = { .msg_name = target, .msg_namelen = length, .msg_iov = &part, .msg_iovlen = 1 };
        say("sendmsg: %s", outcome(syscall(SYS_sendmsg, loose, &header, 0)));
        receive(loose, 16, 0);
        say("close: %s", outcome(syscall(SYS_close, loose)));
        say("close: %s", outcome(syscall(SYS_close, loose)));
    } else {
        return 2;
    }
    return 0;
}
