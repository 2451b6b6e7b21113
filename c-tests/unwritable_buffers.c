/* Receives into address buffers that are shorter than an address, and not writable or not to their end. Then receives without a
 * datagram, and checks in another thread whether the length ever holds another value. */
#include "common.h"
#include <pthread.h>
#include <sys/mman.h>

enum { PAGE = 4096, ROUNDS = 200000 };

static int receiver, sender;
static struct sockaddr_in receiver_address;

static void send_one(void)
{
    if (sendto(sender, "x", 1, 0, (struct sockaddr *)&receiver_address, sizeof receiver_address) != 1)
        die("sendto");
}

static void receive(const char *where, char *buffer, socklen_t capacity)
{
    char byte;
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_name = buffer, .msg_namelen = capacity, .msg_iov = &part, .msg_iovlen = 1};
    socklen_t length = capacity;

    send_one();
    printf("%s, room %u: recvfrom %s", where, capacity, outcome(recvfrom(receiver, &byte, 1, MSG_DONTWAIT, (void *)buffer, &length)));
    send_one();
    printf(", recvmsg %s", outcome(recvmsg(receiver, &message, MSG_DONTWAIT)));
    /* a datagram whose address could not be written is lost all the same */
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

static void receive_nothing(void)
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
    socklen_t length = sizeof receiver_address;
    char *pages = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    /* readable, writable, neither */
    *(socklen_t *)pages = 7;
    *(struct msghdr *)(pages + 64) = (struct msghdr){.msg_name = &name, .msg_namelen = 7, .msg_iov = &part, .msg_iovlen = 1};
    if (mprotect(pages, PAGE, PROT_READ) != 0 || mprotect(pages + 2 * PAGE, PAGE, PROT_NONE) != 0)
        die("mprotect");
    receiver = socket(AF_INET, SOCK_DGRAM, 0);
    sender = socket(AF_INET, SOCK_DGRAM, 0);
    receiver_address.sin_family = AF_INET;
    receiver_address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(receiver, (struct sockaddr *)&receiver_address, length) != 0 || getsockname(receiver, (struct sockaddr *)&receiver_address, &length) != 0)
        die("bind");
    for (socklen_t capacity = 0; capacity <= 16; capacity++) {
        receive("read-only", pages + 16, capacity);
        receive("nowhere", (char *)8, capacity);
        receive("to the end of what is mapped", pages + 2 * PAGE - capacity, capacity);
        receive("two bytes further", pages + 2 * PAGE - capacity + 2, capacity);
        receive("from the read-only page on", pages + PAGE - 2, capacity);
    }
    lengths(pages);
    receive_nothing();
    return 0;
}
