/* A library with a connect(2) of its own, which connects nowhere. */
#include <sys/socket.h>

int connect(int fd, const struct sockaddr *address, socklen_t length)
{
    (void)fd, (void)address, (void)length;
    return 4711;
}
