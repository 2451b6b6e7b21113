/* HOST PORT: connects by sending with MSG_FASTOPEN in all three ways, then by TCP_FASTOPEN_CONNECT. */
#include "common.h"

#ifndef TCP_FASTOPEN_CONNECT
#define TCP_FASTOPEN_CONNECT 30
#endif

static struct sockaddr_storage address;
static socklen_t length;

static void finish(const char *what, int fd, int result)
{
    printf("%s: %s\n", what, outcome(result));
    if (result >= 0)
        print_data(fd);
    close(fd);
}

static int fresh(void)
{
    int fd = socket(address.ss_family, SOCK_STREAM, 0);

    if (fd < 0)
        die("socket");
    return fd;
}

int main(int argc, char **argv)
{
    struct iovec part = {.iov_base = "hello", .iov_len = 5};
    struct mmsghdr message = {0};
    int fd;

    if (argc != 3)
        return 2;
    length = address_of(argv[1], argv[2], &address);
    message.msg_hdr.msg_name = &address;
    message.msg_hdr.msg_namelen = length;
    message.msg_hdr.msg_iov = &part;
    message.msg_hdr.msg_iovlen = 1;

    fd = fresh();
    finish("sendto", fd, (int)sendto(fd, "hello", 5, MSG_FASTOPEN, (struct sockaddr *)&address, length));
    fd = fresh();
    finish("sendmsg", fd, (int)sendmsg(fd, &message.msg_hdr, MSG_FASTOPEN));
    fd = fresh();
    finish("sendmmsg", fd, sendmmsg(fd, &message, 1, MSG_FASTOPEN));
    fd = fresh();
    setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &(int){1}, sizeof(int));
    finish("deferred connect", fd, connect(fd, (struct sockaddr *)&address, length));
    return 0;
}
