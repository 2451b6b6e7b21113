/* HOST PORT REFUSING: calls functions of libc by their second names in libc. Connects to HOST at PORT, whose peer sends
 * something; connects three times to HOST at REFUSING, without blocking, and then reads, writes or sends; reads
 * /etc/resolv.conf; prints the session's variable in a shell, after it has cleared its environment. */
#include "common.h"
#include <fcntl.h>
#include <poll.h>

int __connect(int, const struct sockaddr *, socklen_t);
int __open(const char *, int, ...);
int __open64(const char *, int, ...);
ssize_t __read(int, void *, size_t);
ssize_t __write(int, const void *, size_t);
ssize_t __send(int, const void *, size_t, int);
FILE *_IO_fopen(const char *, const char *);
FILE *_IO_popen(const char *, const char *);

static void print_file(const char *call, int fd)
{
    char data[1024] = "";

    if (fd >= 0 && __read(fd, data, sizeof data - 1) < 0)
        die("read");
    printf("%s: %s\n", call, fd < 0 ? strerrorname_np(errno) : strtok(data, "\n"));
    close(fd);
}

static void print_line(const char *call, FILE *stream)
{
    char line[1024] = "";

    printf("%s: %s", call, stream != NULL && fgets(line, sizeof line, stream) ? line : "nothing\n");
}

int main(int argc, char **argv)
{
    static const char *const calls[] = {"__read", "__write", "__send"};
    struct sockaddr_storage address;
    socklen_t length;
    size_t i;
    int fd;

    if (argc != 4)
        return 2;
    length = address_of(argv[1], argv[2], &address);
    fd = socket(address.ss_family, SOCK_STREAM, 0);
    printf("__connect: %s\n", outcome(__connect(fd, (struct sockaddr *)&address, length)));
    print_peer(fd);
    print_file("__read", fd);
    length = address_of(argv[1], argv[3], &address);
    for (i = 0; i < sizeof calls / sizeof *calls; i++) {
        struct pollfd ready = {.events = POLLOUT};
        char byte[1];
        int result;

        ready.fd = fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
        printf("__connect: %s", outcome(__connect(fd, (struct sockaddr *)&address, length)));
        if (poll(&ready, 1, 10000) != 1)
            die("poll");
        if (i == 0)
            result = (int)__read(fd, byte, 1);
        else if (i == 1)
            result = (int)__write(fd, "x", 1);
        else
            result = (int)__send(fd, "x", 1, MSG_NOSIGNAL);
        printf(", %s: %s\n", calls[i], outcome(result));
        close(fd);
    }
    print_file("__open", __open("/etc/resolv.conf", O_RDONLY));
    print_file("__open64", __open64("/etc/resolv.conf", O_RDONLY));
    print_line("_IO_fopen", _IO_fopen("/etc/resolv.conf", "r"));
    clearenv();
    print_line("_IO_popen", _IO_popen("echo $KINJECT_SESSION", "r"));
    return 0;
}
