/* Receives without a datagram, with address buffers of every size: prints the caller's lengths and headers after a call that
 * failed, and after one that never returned. */
#include "common.h"
#include <linux/netlink.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/time.h>

static const socklen_t capacities[] = {0, 2, 8, 12, 15, 16, 20, 28, 128};

static void try_socket(const char *what, int domain, int type, int protocol)
{
    int fd = socket(domain, type, protocol);
    size_t i;

    if (fd < 0)
        die(what);
    for (i = 0; i < sizeof capacities / sizeof *capacities; i++) {
        char address[128], byte;
        socklen_t length = capacities[i];
        struct iovec part = {&byte, 1};
        struct mmsghdr many = {.msg_hdr = {.msg_name = address, .msg_namelen = capacities[i], .msg_iov = &part, .msg_iovlen = 1}};
        struct msghdr message = many.msg_hdr;
        const char *result;

        message.msg_flags = many.msg_hdr.msg_flags = 4711;
        result = outcome((int)recvfrom(fd, &byte, 1, MSG_DONTWAIT, (struct sockaddr *)address, &length));
        printf("%s %u: recvfrom %s length %u", what, capacities[i], result, length);
        result = outcome((int)recvmsg(fd, &message, MSG_DONTWAIT));
        printf(", recvmsg %s length %u name %s flags %d", result, message.msg_namelen,
               message.msg_name == address ? "kept" : "changed", message.msg_flags);
        many.msg_len = 4711;
        result = outcome(recvmmsg(fd, &many, 1, MSG_DONTWAIT, NULL));
        printf(", recvmmsg %s length %u told %u\n", result, many.msg_hdr.msg_namelen, many.msg_len);
    }
    close(fd);
}

static struct msghdr header;
static char name[8];
static char byte;
static struct iovec part = {&byte, 1};
static sigjmp_buf before;

static void reset(void)
{
    memset(&header, 0, sizeof header);
    header.msg_name = name;
    header.msg_namelen = sizeof name;
    header.msg_iov = &part;
    header.msg_iovlen = 1;
}

static void print_header(const char *what)
{
    printf("%s: name %s length %u\n", what, header.msg_name == name ? "kept" : "changed", header.msg_namelen);
}

static void *receive(void *fd)
{
    recvmsg(*(int *)fd, &header, 0);
    return NULL;
}

static void jump(int number)
{
    (void)number;
    siglongjmp(before, 1);
}

int main(void)
{
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    pthread_t thread;

    try_socket("udp", AF_INET, SOCK_DGRAM, 0);
    try_socket("udp6", AF_INET6, SOCK_DGRAM, 0);
    try_socket("tcp", AF_INET, SOCK_STREAM, 0);
    try_socket("unix", AF_UNIX, SOCK_DGRAM, 0);
    try_socket("netlink", AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);

    if (bind(fd, (struct sockaddr *)&own, sizeof own) != 0)
        die("bind");
    reset();
    pthread_create(&thread, NULL, receive, &fd);
    pthread_cancel(thread);
    pthread_join(thread, NULL);
    print_header("cancelled");

    reset();
    signal(SIGALRM, jump);
    if (sigsetjmp(before, 1) == 0) {
        struct itimerval timer = {.it_value.tv_usec = 20000};
        setitimer(ITIMER_REAL, &timer, NULL);
        recvmsg(fd, &header, 0);
        puts("something came");
    }
    print_header("jumped out of");
    return 0;
}
