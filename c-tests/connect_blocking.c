/* HOST PORT: connects a blocking socket; prints the result, the peer and what it sent. */
#include "common.h"

int main(int argc, char **argv)
{
    struct sockaddr_storage address;
    socklen_t length;
    int fd, result;

    if (argc != 3)
        return 2;
    length = address_of(argv[1], argv[2], &address);
    fd = socket(address.ss_family, SOCK_STREAM, 0);
    if (fd < 0)
        die("socket");
    errno = 4711;
    result = connect(fd, (struct sockaddr *)&address, length);
    printf("connect: %s\n", outcome(result));
    if (result == 0)
        printf("errno kept: %s\n", errno == 4711 ? "yes" : strerrorname_np(errno));
    printf("SO_ERROR: %s\n", error_name(socket_error(fd)));
    print_peer(fd);
    if (result == 0) {
        print_data(fd);
        printf("connect again: %s\n", outcome(connect(fd, (struct sockaddr *)&address, length)));
    }
    return 0;
}
