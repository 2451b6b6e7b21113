/* getaddrinfo, getnameinfo, gethostbyname and their kin with arguments drawn by lot: hints, families, services, flags and
 * sizes of buffers, sensible ones and others. Prints each call and what came of it.
 *
 * usage: random_lookups SEED COUNT NAME...
 *
 * The same seed draws the same calls. How small a buffer may be is each implementation's own affair, so where ERANGE or
 * EAI_OVERFLOW come from too little room, the call is made again with more, and only the end is told, and whether all
 * was in order on the way there.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { LARGEST = 8192 };

static uint64_t state;

/* xorshift64* (Marsaglia, Vigna) */
static unsigned draw(unsigned below)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (unsigned)((state * 0x2545f4914f6cdd1dULL) >> 33) % below;
}

static int one_of(const int *values, unsigned count)
{
    return values[draw(count)];
}

#define ONE_OF(...) one_of((const int[]){ __VA_ARGS__ }, sizeof((const int[]){ __VA_ARGS__ }) / sizeof(int))

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void print_sorted(char (*texts)[128], size_t count)
{
    /* the order of equals is the server's, which may shuffle */
    qsort(texts, count, sizeof *texts, by_text);
    for (size_t i = 0; i < count; i++)
        printf(" %s", texts[i]);
}

static void address_info(const char *name)
{
    static const char *const services[] = { NULL, "80", "0", "http", "domain", "no-such-service", "70000", "", "-1" };
    const char *service = services[draw(sizeof services / sizeof *services)];
    struct addrinfo hints = {
        .ai_family = ONE_OF(AF_UNSPEC, AF_UNSPEC, AF_INET, AF_INET, AF_INET6, AF_UNIX, 999),
        .ai_socktype = ONE_OF(0, 0, SOCK_STREAM, SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET, 77),
        .ai_protocol = ONE_OF(0, 0, 0, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP, 200),
    };
    static const int flags[] = { AI_CANONNAME, AI_NUMERICHOST, AI_NUMERICSERV, AI_PASSIVE, AI_V4MAPPED, AI_ALL };
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (draw(5) == 0)
            hints.ai_flags |= flags[i];
    if (draw(40) == 0)
        hints.ai_flags |= 0x4000000;
    /* without hints AI_ADDRCONFIG counts, which for loopback and IPv6 addresses that are numbers is this machine's affair */
    const struct addrinfo *asked = draw(12) == 0 && name && !strchr(name, ':') ? NULL : &hints;
    struct addrinfo *found = NULL;

    printf("getaddrinfo %s %s %s %d/%d/%d/%x:", name ? name : "(null)", service ? service : "(null)",
           asked ? "hints" : "none", hints.ai_family, hints.ai_socktype, hints.ai_protocol, hints.ai_flags);
    errno = 0;
    int status = getaddrinfo(name, service, asked, &found);
    if (status != 0) {
        printf(" error %d\n", status);
        return;
    }
    static char texts[64][128];
    size_t count = 0;
    const char *canonical = found->ai_canonname;
    for (struct addrinfo *entry = found; entry && count < 64; entry = entry->ai_next) {
        char ip[INET6_ADDRSTRLEN] = "?";
        unsigned port = 0;
        if (entry->ai_family == AF_INET) {
            struct sockaddr_in *v4 = (void *)entry->ai_addr;
            inet_ntop(AF_INET, &v4->sin_addr, ip, sizeof ip);
            port = ntohs(v4->sin_port);
        } else if (entry->ai_family == AF_INET6) {
            struct sockaddr_in6 *v6 = (void *)entry->ai_addr;
            inet_ntop(AF_INET6, &v6->sin6_addr, ip, sizeof ip);
            port = ntohs(v6->sin6_port);
        }
        snprintf(texts[count++], sizeof *texts, "%s/%u/%d/%d/%d/%x%s", ip, port, entry->ai_socktype, entry->ai_protocol,
                 (int)entry->ai_addrlen, entry->ai_flags,
                 entry != found && entry->ai_canonname ? " a second canonical name" : "");
    }
    print_sorted(texts, count);
    printf(" canonical %s\n", canonical ? canonical : "(null)");
    freeaddrinfo(found);
}

static void print_entry(const struct hostent *entry)
{
    static char texts[64][128];
    size_t count = 0;

    printf(" %s family %d length %d", entry->h_name, entry->h_addrtype, entry->h_length);
    for (char **alias = entry->h_aliases; *alias; alias++)
        printf(" alias %s", *alias);
    for (char **address = entry->h_addr_list; *address && count < 64; address++)
        inet_ntop(entry->h_addrtype, *address, texts[count++], sizeof *texts);
    print_sorted(texts, count);
    putchar('\n');
}

/* Whether all that an entry points to lies in its buffer. */
static int is_within(const struct hostent *entry, const char *buffer, size_t size)
{
    const char *end = buffer + size;
#define INSIDE(pointer) ((const char *)(pointer) >= buffer && (const char *)(pointer) < end)
    int good = INSIDE(entry->h_name) && INSIDE(entry->h_aliases) && INSIDE(entry->h_addr_list);
    for (char **alias = entry->h_aliases; *alias; alias++)
        good &= INSIDE(*alias);
    for (char **address = entry->h_addr_list; *address; address++)
        good &= INSIDE(*address) && *address + entry->h_length <= end;
    return good;
}

struct question {
    enum { BY_NAME, BY_NAME_AND_FAMILY, BY_ADDRESS } way;
    const char *name;
    int family;
    unsigned char address[16];
    socklen_t length;
};

static int ask(const struct question *question, struct hostent *entry, char *buffer, size_t size,
               struct hostent **result, int *error)
{
    switch (question->way) {
    case BY_NAME:
        return gethostbyname_r(question->name, entry, buffer, size, result, error);
    case BY_NAME_AND_FAMILY:
        return gethostbyname2_r(question->name, question->family, entry, buffer, size, result, error);
    default:
        return gethostbyaddr_r(question->address, question->length, question->family, entry, buffer, size, result, error);
    }
}

static void host_entry(const struct question *question)
{
    static char memory[LARGEST + 64];
    size_t size = draw(2) ? draw(64) : draw(1500);
    unsigned misaligned = draw(8);

    for (;; size = size * 2 + 16) {
        struct hostent entry, *result = (void *)-1;
        char *buffer = memory + misaligned;
        int error = 4711;
        if (size > LARGEST) {
            printf(" never enough room\n");
            return;
        }
        memset(memory, 0x5a, sizeof memory);
        int status = ask(question, &entry, buffer, size, &result, &error);
        for (char *beyond = buffer + size; beyond < memory + sizeof memory; beyond++)
            if (*beyond != 0x5a) {
                printf(" written beyond the buffer\n");
                return;
            }
        if (status == ERANGE) {
            if (error != NETDB_INTERNAL || result != NULL) {
                printf(" ERANGE with h_errno %d\n", error);
                return;
            }
            continue;
        }
        if (result == NULL) {
            printf(" status %d, h_errno %d\n", status, error);
        } else if (result != &entry || !is_within(&entry, buffer, size)) {
            printf(" the entry is not in the buffer\n");
        } else {
            printf(" status %d,", status);
            print_entry(&entry);
        }
        return;
    }
}

static void draw_address(struct question *question)
{
    static const char *const addresses[] = { "10.96.10.1", "10.96.10.2", "10.96.10.99", "127.0.0.1", "203.0.113.10" };
    const char *text = addresses[draw(sizeof addresses / sizeof *addresses)];

    question->family = ONE_OF(AF_INET, AF_INET, AF_INET, AF_INET6, AF_UNIX);
    question->length = 4;
    inet_pton(AF_INET, text, question->address);
    if (question->family == AF_INET6) {
        char mapped[64];
        snprintf(mapped, sizeof mapped, "::ffff:%s", text);
        inet_pton(AF_INET6, mapped, question->address);
        question->length = 16;
    }
    /* glibc takes a longer one, and then says that the address which it returns were as long */
    if (draw(10) == 0)
        question->length = draw(question->length);
    question->name = text;
}

static void name_info(void)
{
    struct question question = { 0 };
    struct sockaddr_storage address = { 0 };
    char host[300], service[64];
    static const int all[] = { NI_NAMEREQD, NI_DGRAM, NI_NOFQDN, NI_NUMERICHOST, NI_NUMERICSERV };
    int flags = 0;

    do {
        draw_address(&question);
    } while (question.family == AF_UNIX);
    in_port_t port = htons(ONE_OF(0, 80, 53, 4711));
    socklen_t length = sizeof(struct sockaddr_in);
    address.ss_family = question.family;
    if (question.family == AF_INET) {
        struct sockaddr_in *v4 = (void *)&address;
        memcpy(&v4->sin_addr, question.address, 4);
        v4->sin_port = port;
    } else {
        struct sockaddr_in6 *v6 = (void *)&address;
        memcpy(&v6->sin6_addr, question.address, 16);
        v6->sin6_port = port;
        length = sizeof *v6;
    }
    if (draw(15) == 0)
        length = draw(40);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (draw(4) == 0)
            flags |= all[i];
    if (draw(40) == 0)
        flags |= 0x100000;
    /* names of the cluster are longer than the middle one of these, so that no size lies within a name */
    socklen_t host_room = ONE_OF(0, 4, sizeof host), service_room = ONE_OF(0, 2, sizeof service);

    memset(host, 0x5a, sizeof host);
    memset(service, 0x5a, sizeof service);
    printf("getnameinfo %s %d/%d/%x room %d %d:", question.name, question.family, (int)length, flags, (int)host_room,
           (int)service_room);
    int status = getnameinfo((struct sockaddr *)&address, length, draw(20) ? host : NULL, host_room,
                             draw(20) ? service : NULL, service_room, flags);
    int beyond = 0;
    for (socklen_t i = host_room; i < sizeof host; i++)
        beyond |= host[i] != 0x5a;
    for (socklen_t i = service_room; i < sizeof service; i++)
        beyond |= service[i] != 0x5a;
    if (beyond)
        printf(" written beyond the buffer");
    if (status != 0)
        printf(" error %d\n", status);
    else
        printf(" %s %s\n", host_room && host[0] != 0x5a ? host : "-", service_room && service[0] != 0x5a ? service : "-");
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    state = strtoull(argv[1], NULL, 10) * 2654435761U + 1;
    for (int left = atoi(argv[2]); left > 0; left--) {
        const char *name = argv[3 + draw(argc - 3)];
        struct question question = { .name = name, .family = ONE_OF(AF_INET, AF_INET, AF_INET6, AF_UNIX) };

        switch (draw(6)) {
        case 0:
        case 1:
            address_info(draw(25) ? name : NULL);
            break;
        case 2:
            name_info();
            break;
        case 3:
            question.way = BY_NAME;
            printf("gethostbyname_r %s:", name);
            host_entry(&question);
            break;
        case 4:
            question.way = BY_NAME_AND_FAMILY;
            printf("gethostbyname2_r %s %d:", name, question.family);
            host_entry(&question);
            break;
        default:
            question.way = BY_ADDRESS;
            draw_address(&question);
            printf("gethostbyaddr_r %s %d/%d:", question.name, question.family, (int)question.length);
            host_entry(&question);
        }
    }
    return 0;
}
