/* Non-blocking connects whose outcome nobody asks for: the first call that reads or writes tells it.
 *
 * usage: unasked ADDRESS PORT
 */
#include <signal.h>
#include <sys/uio.h>

#include "report.h"

enum call { READ, READV, RECV, RECVFROM, RECVMSG, WRITE, WRITEV, SEND, SENDTO, SENDMSG, CALLS };

static const char *const names[CALLS] = {
    "read", "readv", "recv", "recvfrom", "recvmsg", "write", "writev", "send", "sendto", "sendmsg",
};

static ssize_t make(enum call call, int fd)
{
    static char byte;
    struct sockaddr_storage from;
    socklen_t length = sizeof from;
    struct iovec part = { &byte, 1 };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };

    switch (call) {
    case READ:
        return read(fd, &byte, 1);
    case READV:
        return readv(fd, &part, 1);
    case RECV:
        return recv(fd, &byte, 1, MSG_DONTWAIT);
    case RECVFROM:
        return recvfrom(fd, &byte, 1, 0, (struct sockaddr *)&from, &length);
    case RECVMSG:
        return recvmsg(fd, &message, 0);
    case WRITE:
        return write(fd, "x", 1);
    case WRITEV:
        return writev(fd, &part, 1);
    case SEND:
        return send(fd, "x", 1, MSG_NOSIGNAL);
    case SENDTO:
        return sendto(fd, "x", 1, MSG_NOSIGNAL, NULL, 0);
    default:
        return sendmsg(fd, &message, MSG_NOSIGNAL);
    }
}

static void tell(const char *name, ssize_t result)
{
    if (result < 0)
        say("%s: %s", name, name_of(errno));
    else
        say("%s: %zd", name, result);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    struct sockaddr_in target = ipv4(argv[1], argv[2]);
    signal(SIGPIPE, SIG_IGN);
    for (enum call call = 0; call < CALLS; call++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (begin(fd, &target) == 0) {
            struct pollfd writable = { .fd = fd, .events = POLLOUT };
            poll(&writable, 1, PATIENCE_MS);
            tell(names[call], make(call, fd));
            say("SO_ERROR: %s", name_of(so_error(fd)));
        }
        close(fd);
    }
    return 0;
}
