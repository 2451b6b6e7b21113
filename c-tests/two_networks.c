/* HOST PORT: makes sockets in this network namespace and in a new one, and connects each from the other one. */
#include "common.h"
#include <fcntl.h>
#include <sched.h>

static struct sockaddr_storage address;
static socklen_t length;

static int connect_one(int fd)
{
    return connect(fd, (struct sockaddr *)&address, length);
}

static ssize_t send_one(int fd)
{
    return sendto(fd, "", 1, 0, (struct sockaddr *)&address, length);
}

int main(int argc, char **argv)
{
    int here, stream_here, stream_there, datagrams_there;

    if (argc != 3)
        return 2;
    length = address_of(argv[1], argv[2], &address);
    here = open("/proc/self/ns/net", O_RDONLY);
    stream_here = socket(AF_INET, SOCK_STREAM, 0);
    if (unshare(CLONE_NEWNET) != 0)
        die("unshare");
    stream_there = socket(AF_INET, SOCK_STREAM, 0);
    datagrams_there = socket(AF_INET, SOCK_DGRAM, 0);
    printf("from there, a socket of here: %s\n", outcome(connect_one(stream_here)));
    printf("from there, a socket of there: %s\n", outcome(connect_one(stream_there)));
    if (setns(here, CLONE_NEWNET) != 0)
        die("setns");
    printf("from here, a socket of there: %s\n", outcome(connect_one(stream_there)));
    printf("from here, datagrams of there: %s\n", outcome((int)send_one(datagrams_there)));
    return 0;
}
