/* Receives with room for less than an address, at places that cannot be written, or not to their end; and looks whether a length
 * that another thread watches ever holds anything else while there is nothing to receive. */
#include "common.h"
#include <pthread.h>
#include <sys/mman.h>

enum { PAGE = 4096, ROUNDS = 200000 };

static int receiver, sender;
static struct sockaddr_in here;

static void send_one(void)
{
    if (sendto(sender, "x", 1, 0, (struct sockaddr *)&here, sizeof here) != 1)
        die("sendto");
}

static void receive(const char *where, char *place, socklen_t room)
{
    char byte;
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_name = place, .msg_namelen = room, .msg_iov = &part, .msg_iovlen = 1};
    socklen_t length = room;

    send_one();
    printf("%s, room %u: recvfrom %s", where, room, outcome(recvfrom(receiver, &byte, 1, MSG_DONTWAIT, (void *)place, &length)));
    send_one();
    printf(", recvmsg %s", outcome(recvmsg(receiver, &message, MSG_DONTWAIT)));
    /* what could not be handed over is gone all the same */
    printf(", then %s\n", outcome(recv(receiver, &byte, 1, MSG_DONTWAIT)));
}

static void lengths(char *read_only)
{
    char byte;
    struct sockaddr_in address;
    struct msghdr *message = (struct msghdr *)(read_only + 64);

    send_one();
    printf("a length that cannot be written: %s",
           outcome(recvfrom(receiver, &byte, 1, MSG_DONTWAIT, (void *)&address, (socklen_t *)read_only)));
    printf(", then %s\n", outcome(recv(receiver, &byte, 1, MSG_DONTWAIT)));
    send_one();
    printf("a header that cannot be written: %s", outcome(recvmsg(receiver, message, MSG_DONTWAIT)));
    printf(", then %s\n", outcome(recv(receiver, &byte, 1, MSG_DONTWAIT)));
}

static volatile socklen_t watched = 7;
static volatile int is_over;

static void *watch(void *unused)
{
    long others = 0;

    (void)unused;
    while (!is_over)
        others += watched != 7;
    return (void *)others;
}

static void nothing_comes(void)
{
    char byte;
    struct sockaddr_in address;
    pthread_t thread;
    void *others;

    pthread_create(&thread, NULL, watch, NULL);
    for (int i = 0; i < ROUNDS; i++)
        if (recvfrom(receiver, &byte, 1, MSG_DONTWAIT, (void *)&address, (socklen_t *)&watched) != -1)
            exit(3);
    is_over = 1;
    pthread_join(thread, &others);
    printf("other lengths that were seen: %s\n", others == NULL ? "none" : "some");
}

int main(void)
{
    static char byte;
    static struct sockaddr_in name;
    static struct iovec part = {&byte, 1};
    socklen_t length = sizeof here;
    char *pages = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    /* readable, writable, neither */
    *(socklen_t *)pages = 7;
    *(struct msghdr *)(pages + 64) = (struct msghdr){.msg_name = &name, .msg_namelen = 7, .msg_iov = &part, .msg_iovlen = 1};
    if (mprotect(pages, PAGE, PROT_READ) != 0 || mprotect(pages + 2 * PAGE, PAGE, PROT_NONE) != 0)
        die("mprotect");
    receiver = socket(AF_INET, SOCK_DGRAM, 0);
    sender = socket(AF_INET, SOCK_DGRAM, 0);
    here.sin_family = AF_INET;
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(receiver, (struct sockaddr *)&here, length) != 0 || getsockname(receiver, (struct sockaddr *)&here, &length) != 0)
        die("bind");
    for (socklen_t room = 0; room <= 16; room++) {
        receive("read-only", pages + 16, room);
        receive("nowhere", (char *)8, room);
        receive("to the end of what is mapped", pages + 2 * PAGE - room, room);
        receive("two bytes further", pages + 2 * PAGE - room + 2, room);
        receive("from the read-only page on", pages + PAGE - 2, room);
    }
    lengths(pages);
    nothing_comes();
    return 0;
}
