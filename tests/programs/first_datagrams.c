/* HOST PORT ROUNDS: two threads send the first datagrams from one socket to one target at once, each round with a socket
 * of its own. Prints in how many rounds not both were echoed. */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static int datagrams;
static pthread_barrier_t barrier;
static struct sockaddr_in target = {.sin_family = AF_INET};

static void *send_one(void *byte)
{
    pthread_barrier_wait(&barrier);
    sendto(datagrams, byte, 1, 0, (struct sockaddr *)&target, sizeof target);
    return NULL;
}

int main(int argc, char **argv)
{
    const struct timeval patience = {.tv_sec = 3};
    int round, lost = 0;

    if (argc != 4 || inet_pton(AF_INET, argv[1], &target.sin_addr) != 1)
        return 2;
    target.sin_port = htons((uint16_t)atoi(argv[2]));
    pthread_barrier_init(&barrier, NULL, 2);
    for (round = 0; round < atoi(argv[3]); round++) {
        pthread_t one, two;
        char byte;

        datagrams = socket(AF_INET, SOCK_DGRAM, 0);
        setsockopt(datagrams, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        pthread_create(&one, NULL, send_one, "1");
        pthread_create(&two, NULL, send_one, "2");
        pthread_join(one, NULL);
        pthread_join(two, NULL);
        if (recv(datagrams, &byte, 1, 0) != 1 || recv(datagrams, &byte, 1, 0) != 1)
            lost++;
        close(datagrams);
    }
    printf("%d rounds lost a datagram\n", lost);
    return 0;
}
