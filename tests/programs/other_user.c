/* Sends a message to a session's socket, as this user or as nobody, and prints the answer.
 *
 * usage: other_user nobody|self SOCKET HEXADECIMAL
 */
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    if (!strcmp(argv[1], "nobody") && (setgroups(0, NULL) || setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534)))
        return 3;
    unsigned char message[512], answer[40000];
    size_t length = strlen(argv[3]) / 2;
    for (size_t i = 0; i < length && i < sizeof message; i++)
        sscanf(argv[3] + 2 * i, "%2hhx", &message[i]);
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    strncpy(address.sun_path, argv[2], sizeof address.sun_path - 1);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) {
        printf("connect: %s\n", strerrorname_np(errno));
        return 0;
    }
    if (send(fd, message, length, MSG_NOSIGNAL) < 0)
        printf("send: %s\n", strerrorname_np(errno));
    ssize_t got = recv(fd, answer, sizeof answer, 0);
    if (got > 0)
        puts("an answer");
    else
        printf("no answer: %s\n", got ? strerrorname_np(errno) : "the end");
    return 0;
}
