/* HOST PORT [POD]: creates sockets in this network namespace ("here") and in a new one ("there"), and connects each while the
 * thread is in the other one. With POD it also prints their addresses there, and binds others to that address. */
#include "common.h"
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>

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

static void print_own(int fd)
{
    struct sockaddr_storage own;
    socklen_t size = sizeof own;

    if (getsockname(fd, (struct sockaddr *)&own, &size) != 0)
        die("getsockname");
    /* the port differs from run to run */
    ((struct sockaddr_in *)&own)->sin_port = 0;
    printf("own: %s\n", address_text((struct sockaddr *)&own));
}

static void bind_one(const char *how, int fd, const char *pod)
{
    struct sockaddr_storage own;
    socklen_t size = address_of(pod, "0", &own);
    int result = bind(fd, (struct sockaddr *)&own, size);

    printf("%s, bound: %s\n", how, outcome(result));
    if (result == 0)
        print_own(fd);
}

static void ask_there(int connected, int unbound, const char *pod)
{
    print_peer(connected);
    print_own(connected);
    bind_one("from there, a socket of here", unbound, pod);
}

/* Brings loopback up, so that its addresses can be bound. */
static void start_loopback(int fd)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};

    if (ioctl(fd, SIOCSIFFLAGS, &request) != 0)
        die("SIOCSIFFLAGS");
}

int main(int argc, char **argv)
{
    int here, stream_here, stream_there, datagrams_there, bound_here, bound_there;

    if (argc != 3 && argc != 4)
        return 2;
    length = address_of(argv[1], argv[2], &address);
    here = open("/proc/self/ns/net", O_RDONLY);
    stream_here = socket(AF_INET, SOCK_STREAM, 0);
    bound_here = socket(AF_INET, SOCK_STREAM, 0);
    if (unshare(CLONE_NEWNET) != 0)
        die("unshare");
    stream_there = socket(AF_INET, SOCK_STREAM, 0);
    datagrams_there = socket(AF_INET, SOCK_DGRAM, 0);
    bound_there = socket(AF_INET, SOCK_STREAM, 0);
    start_loopback(datagrams_there);
    printf("from there, a socket of here: %s\n", outcome(connect_one(stream_here)));
    printf("from there, a socket of there: %s\n", outcome(connect_one(stream_there)));
    if (argc == 4)
        ask_there(stream_here, bound_here, argv[3]);
    if (setns(here, CLONE_NEWNET) != 0)
        die("setns");
    printf("from here, a socket of there: %s\n", outcome(connect_one(stream_there)));
    printf("from here, datagrams of there: %s\n", outcome((int)send_one(datagrams_there)));
    if (argc == 4)
        bind_one("from here, a socket of there", bound_there, argv[3]);
    return 0;
}
