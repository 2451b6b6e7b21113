/* HOST PORT: sends datagrams to HOST by every function, and some to this machine itself. */
#include "common.h"

static struct mmsghdr message_to(void *address, socklen_t length)
{
    static struct iovec part = {.iov_base = "x", .iov_len = 1};
    struct mmsghdr message = {0};

    message.msg_hdr.msg_name = address;
    message.msg_hdr.msg_namelen = length;
    message.msg_hdr.msg_iov = &part;
    message.msg_hdr.msg_iovlen = 1;
    return message;
}

int main(int argc, char **argv)
{
    struct sockaddr_storage far;
    struct sockaddr_in near = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 other = {.sin6_family = AF_INET6, .sin6_port = htons(53)};
    struct mmsghdr messages[2];
    socklen_t length;
    int fd = socket(AF_INET, SOCK_DGRAM, 0), fd6 = socket(AF_INET6, SOCK_DGRAM, 0);
    int receiver = socket(AF_INET, SOCK_DGRAM, 0), connected = socket(AF_INET, SOCK_DGRAM, 0);

    if (argc != 3)
        return 2;
    length = sizeof near;
    if (bind(receiver, (struct sockaddr *)&near, length) != 0)
        die("bind");
    getsockname(receiver, (struct sockaddr *)&near, &length);
    length = address_of(argv[1], argv[2], &far);
    printf("connect: %s\n", outcome(connect(fd, (struct sockaddr *)&far, length)));
    printf("sendto: %s\n", outcome((int)sendto(fd, "x", 1, 0, (struct sockaddr *)&far, length)));
    messages[0] = message_to(&far, length);
    messages[1] = message_to(&far, length);
    printf("sendmsg: %s\n", outcome((int)sendmsg(fd, &messages[0].msg_hdr, 0)));
    printf("sendmmsg: %s\n", outcome(sendmmsg(fd, messages, 2, 0)));
    messages[0] = message_to(&near, sizeof near);
    printf("sendmmsg after a local one: %s\n", outcome(sendmmsg(fd, messages, 2, 0)));
    printf("local sendto: %s\n", outcome((int)sendto(fd, "x", 1, 0, (struct sockaddr *)&near, sizeof near)));
    printf("local sendmsg: %s\n", outcome((int)sendmsg(fd, &messages[0].msg_hdr, 0)));
    printf("local connect: %s\n", outcome(connect(connected, (struct sockaddr *)&near, sizeof near)));
    printf("connected send: %s\n", outcome((int)sendto(connected, "x", 1, 0, NULL, 0)));
    near.sin_addr.s_addr = htonl(0xeffffffa);
    printf("multicast: %s\n", outcome((int)sendto(fd, "x", 1, 0, (struct sockaddr *)&near, sizeof near)));
    inet_pton(AF_INET6, "fd00::1", &other.sin6_addr);
    printf("v6: %s\n", outcome((int)sendto(fd6, "x", 1, 0, (struct sockaddr *)&other, sizeof other)));
    inet_pton(AF_INET6, "::ffff:10.0.0.1", &other.sin6_addr);
    printf("mapped: %s\n", outcome((int)sendto(fd6, "x", 1, 0, (struct sockaddr *)&other, sizeof other)));
    return 0;
}
