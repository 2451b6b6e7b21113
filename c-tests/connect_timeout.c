/* HOST PORT MILLISECONDS: a blocking connect with SO_SNDTIMEO; prints whether it timed out in time. */
#include "common.h"
#include <time.h>

static long now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

int main(int argc, char **argv)
{
    struct sockaddr_storage address;
    socklen_t length;
    long limit, begin, taken;
    int fd;

    if (argc != 4)
        return 2;
    length = address_of(argv[1], argv[2], &address);
    limit = atol(argv[3]);
    fd = socket(address.ss_family, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO,
               &(struct timeval){.tv_sec = limit / 1000, .tv_usec = limit % 1000 * 1000}, sizeof(struct timeval));
    begin = now();
    printf("connect: %s\n", outcome(connect(fd, (struct sockaddr *)&address, length)));
    taken = now() - begin;
    printf("in time: %s\n", taken >= limit && taken < limit + 2000 ? "yes" : "no");
    printf("connect again: %s\n", outcome(connect(fd, (struct sockaddr *)&address, length)));
    return 0;
}
