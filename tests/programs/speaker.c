/* A library that speaks with an echo service over TCP and UDP. */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int echo(int type, const struct sockaddr_in *target)
{
    char data[16] = { 0 };
    int fd = socket(AF_INET, type, 0);
    if (connect(fd, (const struct sockaddr *)target, sizeof *target) || send(fd, "echo", 4, 0) != 4
        || recv(fd, data, sizeof data - 1, 0) != 4) {
        perror("echo");
        return 1;
    }
    printf("%s\n", data);
    close(fd);
    return 0;
}

int speak(const char *address, const char *port)
{
    struct sockaddr_in target = { .sin_family = AF_INET, .sin_port = htons(atoi(port)) };
    inet_pton(AF_INET, address, &target.sin_addr);
    return echo(SOCK_STREAM, &target) || echo(SOCK_DGRAM, &target);
}
