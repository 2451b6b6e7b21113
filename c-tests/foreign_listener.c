/* SOCKET [USER]: listens in the place of a session's relay, at a path or, after an @, an abstract name (unix(7)), as that user.
 * Prints "listening", then a line for each connection with what it receives, and ends at the end of its standard input. */
#include "common.h"
#include <grp.h>
#include <poll.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/un.h>

static void become(uid_t user)
{
    if (setgroups(0, NULL) != 0 || setgid(user) != 0 || setuid(user) != 0)
        die("becoming another user");
}

/* Receives one message of a connection. */
static void receive(int connection)
{
    char bytes[4096];
    char rights[CMSG_SPACE(sizeof(int))];
    struct iovec part = {bytes, sizeof bytes};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = rights, .msg_controllen = sizeof rights};
    ssize_t length = recvmsg(connection, &message, 0);
    printf("%zd bytes, %s\n", length, message.msg_controllen > 0 ? "a descriptor" : "no descriptor");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener;

    if (argc < 2 || strlen(argv[1]) >= sizeof address.sun_path)
        return 2;
    int is_name = argv[1][0] == '@';
    socklen_t length = sizeof address;
    strcpy(address.sun_path, argv[1]);
    if (is_name) {
        address.sun_path[0] = '\0';
        length = offsetof(struct sockaddr_un, sun_path) + strlen(argv[1]);
    }
    if (argc > 2)
        become((uid_t)atoi(argv[2]));
    listener = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    if (listener < 0)
        die("socket");
    if (bind(listener, (struct sockaddr *)&address, length) != 0)
        die("bind");
    if (!is_name && chmod(argv[1], 0777) != 0)
        die("chmod");
    if (listen(listener, 16) != 0)
        die("listen");
    puts("listening");
    fflush(stdout);
    struct pollfd watched[] = {{.fd = listener, .events = POLLIN}, {.fd = 0, .events = POLLIN}};
    while (poll(watched, 2, -1) > 0) {
        if (watched[0].revents != 0) {
            int connection = accept(listener, NULL, NULL);
            if (connection < 0)
                die("accept");
            receive(connection);
            close(connection);
        } else if (watched[1].revents != 0) {
            break;
        }
    }
    return 0;
}
