/* A library that opens a socket. */
#include <sys/socket.h>

int speak(void)
{
    return socket(AF_INET, SOCK_STREAM, 0);
}
