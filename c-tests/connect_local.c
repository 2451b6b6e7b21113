/* HOST PORT: makes HOST an address of this machine, in a network namespace of its own, listens there and connects to
 * it. Prints whether the connection was made to that address. */
#include "common.h"
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>

static void own_network(const struct sockaddr_in *address)
{
    struct ifreq request = {.ifr_name = "lo"};
    int fd;

    if (unshare(CLONE_NEWNET) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
        die("unshare");
    fd = socket(AF_INET, SOCK_DGRAM, 0);
    request.ifr_flags = IFF_UP;
    if (ioctl(fd, SIOCSIFFLAGS, &request) != 0)
        die("loopback");
    strcpy(request.ifr_name, "lo:1");
    memcpy(&request.ifr_addr, address, sizeof *address);
    if (ioctl(fd, SIOCSIFADDR, &request) != 0)
        die("address");
    close(fd);
}

int main(int argc, char **argv)
{
    struct sockaddr_storage address, accepted;
    socklen_t length;
    int listener, fd, other;

    if (argc != 3)
        return 2;
    length = address_of(argv[1], argv[2], &address);
    own_network((struct sockaddr_in *)&address);
    listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, length) != 0 || listen(listener, 1) != 0)
        die("listen");
    fd = socket(AF_INET, SOCK_STREAM, 0);
    printf("connect: %s\n", outcome(connect(fd, (struct sockaddr *)&address, length)));
    print_peer(fd);
    other = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    printf("accept: %s\n", other >= 0 ? "0" : strerrorname_np(errno));
    length = sizeof accepted;
    getsockname(other, (struct sockaddr *)&accepted, &length);
    printf("accepted at: %s\n", address_text((struct sockaddr *)&accepted));
    return 0;
}
