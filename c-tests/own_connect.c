/* A library that defines connect(2) itself, without connecting. */
#include <sys/socket.h>

int connect(int fd, const struct sockaddr *address, socklen_t length)
{
    (void)fd, (void)address, (void)length;
    return 4711;
}
