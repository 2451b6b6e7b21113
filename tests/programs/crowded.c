/* Sends datagrams from many sockets, each to several targets, and closes them all.
 *
 * usage: crowded SOCKETS ADDRESS PORT...
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    struct sockaddr_in target = { .sin_family = AF_INET };
    inet_pton(AF_INET, argv[2], &target.sin_addr);
    int answered = 0, sockets = atoi(argv[1]);
    for (int i = 0; i < sockets; i++) {
        int fd = socket(AF_INET, SOCK_DGRAM, 0);
        struct timeval patience = { .tv_sec = 5 };
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        for (int port = 3; port < argc; port++) {
            char data[8];
            target.sin_port = htons(atoi(argv[port]));
            sendto(fd, "one", 3, 0, (struct sockaddr *)&target, sizeof target);
            answered += recv(fd, data, sizeof data, 0) == 3;
        }
        close(fd);
    }
    printf("%d answers\n", answered);
    return 0;
}
