/* HOST PORT: connects a socket of multipath TCP. */
#include "common.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

int main(int argc, char **argv)
{
    struct sockaddr_storage address;
    socklen_t length;
    int fd;

    if (argc != 3)
        return 2;
    length = address_of(argv[1], argv[2], &address);
    fd = socket(address.ss_family, SOCK_STREAM, IPPROTO_MPTCP);
    if (fd < 0) {
        printf("no multipath\n");
        return 0;
    }
    printf("connect: %s\n", outcome(connect(fd, (struct sockaddr *)&address, length)));
    print_peer(fd);
    return 0;
}
