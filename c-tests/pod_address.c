/* ADDRESS [V6ONLY]: binds its pod's own address, listens destination, connects and sends to it, and prints the addresses of all
 * sockets. A port is printed as "PORT" if it is the expected one. */
#include "common.h"
#include <stdbool.h>
#include <sys/syscall.h>

static struct sockaddr_storage pod;
static socklen_t pod_length;
static const char *only_v6;

static struct sockaddr *generic(struct sockaddr_storage *address)
{
    return (struct sockaddr *)address;
}

static in_port_t *port_of(struct sockaddr_storage *address)
{
    /* at the same offset in both families */
    return &((struct sockaddr_in *)address)->sin_port;
}

static int new_socket(int type)
{
    int fd = socket(pod.ss_family, type, 0);

    if (fd < 0)
        die("socket");
    if (only_v6 != NULL)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){1}, sizeof(int));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){.tv_sec = 10}, sizeof(struct timeval));
    return fd;
}

/* The address, with "PORT" for `port`, and "another" for any other. */
static void print_address(const char *what, int result, struct sockaddr_storage *address, in_port_t port)
{
    const char *port_word = *port_of(address) == port ? "PORT" : *port_of(address) == 0 ? "none" : "another";

    if (result < 0) {
        printf("%s: %s\n", what, outcome(result));
        return;
    }
    *port_of(address) = 0;
    printf("%s: %s %s\n", what, address_text(generic(address)), port_word);
}

static void print_own(const char *what, int fd, in_port_t port)
{
    struct sockaddr_storage own = {0};
    socklen_t length = sizeof own;
    int result = getsockname(fd, generic(&own), &length);

    print_address(what, result, &own, port);
}

static void print_peer_address(const char *what, int fd, in_port_t port)
{
    struct sockaddr_storage peer = {0};
    socklen_t length = sizeof peer;
    int result = getpeername(fd, generic(&peer), &length);

    print_address(what, result, &peer, port);
}

static in_port_t real_port(int fd)
{
    struct sockaddr_storage own = {0};
    socklen_t length = sizeof own;

    getsockname(fd, generic(&own), &length);
    return *port_of(&own);
}

static struct sockaddr_storage pod_at(in_port_t port)
{
    struct sockaddr_storage address = pod;

    *port_of(&address) = port;
    return address;
}

static void streams(bool by_number)
{
    struct sockaddr_storage destination = pod_at(0), peer = {0};
    socklen_t length = sizeof peer;
    int listener = new_socket(SOCK_STREAM), client = new_socket(SOCK_STREAM), accepted;
    in_port_t port, from;

    if (by_number)
        printf("bind: %s\n", outcome((int)syscall(SYS_bind, listener, &destination, pod_length)));
    else
        printf("bind: %s\n", outcome(bind(listener, generic(&destination), pod_length)));
    printf("listen: %s\n", outcome(listen(listener, 5)));
    port = real_port(listener);
    print_own("listener", listener, port);
    destination = pod_at(port);
    printf("bound twice: %s\n", outcome(bind(new_socket(SOCK_STREAM), generic(&destination), pod_length)));
    printf("connect: %s\n", outcome(connect(client, generic(&destination), pod_length)));
    from = real_port(client);
    print_own("client", client, from);
    print_peer_address("client's peer", client, port);
    accepted = by_number ? (int)syscall(SYS_accept4, listener, &peer, &length, SOCK_CLOEXEC)
                         : accept(listener, generic(&peer), &length);
    print_address("accepted from", accepted, &peer, from);
    printf("length: %u\n", length);
    print_own("accepted at", accepted, port);
    print_peer_address("accepted's peer", accepted, from);
    printf("written: %zd\n", write(client, "hello", 5));
    close(client);
    print_data(accepted);
    close(accepted);
    /* with a buffer that is too short, and without one */
    client = new_socket(SOCK_STREAM);
    connect(client, generic(&destination), pod_length);
    length = 4;
    memset(&peer, 0xee, sizeof peer);
    accepted = by_number ? (int)syscall(SYS_accept, listener, &peer, &length)
                         : accept4(listener, generic(&peer), &length, 0);
    printf("room for 4: %s, length %u, %s\n", accepted < 0 ? "no" : "yes", length,
           ((unsigned char *)&peer)[4] == 0xee ? "cut" : "more");
    client = new_socket(SOCK_STREAM);
    connect(client, generic(&destination), pod_length);
    printf("no address: %s\n", accept(listener, NULL, NULL) < 0 ? "no" : "yes");
    close(listener);
    printf("nobody listens: %s\n", outcome(connect(new_socket(SOCK_STREAM), generic(&destination), pod_length)));
}

/* Sends from one socket to another, and prints the source. */
static void send_and_print(const char *what, int from, struct sockaddr_storage *destination, int to, in_port_t source,
                          struct msghdr *message)
{
    struct sockaddr_storage sender = {0};
    socklen_t length = sizeof sender;
    char data[16] = {0};
    ssize_t count = message != NULL ? sendmsg(from, message, 0)
                                    : sendto(from, "datagram", 8, 0, destination ? generic(destination) : NULL,
                                             destination ? pod_length : 0);

    printf("%s: %s\n", what, outcome((int)count));
    if (count < 0)
        return;
    if (source == 0)
        source = real_port(from);
    count = recvfrom(to, data, sizeof data, 0, generic(&sender), &length);
    print_address(data, (int)count, &sender, source);
}

static void datagrams(void)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo))];
    } control = {0};
    struct iovec part = {.iov_base = "a source", .iov_len = 8};
    struct sockaddr_storage destination = pod_at(0), foreign;
    int server = new_socket(SOCK_DGRAM), client = new_socket(SOCK_DGRAM), bound = new_socket(SOCK_DGRAM);
    struct msghdr message = {.msg_name = &destination, .msg_namelen = pod_length, .msg_iov = &part, .msg_iovlen = 1,
                             .msg_control = &control, .msg_controllen = sizeof control};
    struct in_pktinfo *v4 = (void *)CMSG_DATA(&control.header);
    struct in6_pktinfo *v6 = (void *)CMSG_DATA(&control.header);
    in_port_t port;

    printf("bind: %s\n", outcome(bind(server, generic(&destination), pod_length)));
    port = real_port(server);
    print_own("server", server, port);
    destination = pod_at(0);
    bind(bound, generic(&destination), pod_length);
    destination = pod_at(port);
    send_and_print("from a socket with the address", bound, &destination, server, 0, NULL);
    send_and_print("from a socket without one", client, &destination, server, 0, NULL);
    print_own("it still has none", client, real_port(client));
    printf("connect: %s\n", outcome(connect(client, generic(&destination), pod_length)));
    print_peer_address("peer", client, port);
    print_own("own", client, real_port(client));
    close(client);
    client = new_socket(SOCK_DGRAM);
    printf("connect a new one: %s\n", outcome(connect(client, generic(&destination), pod_length)));
    print_own("own", client, real_port(client));
    send_and_print("connected", client, NULL, server, 0, NULL);
    /* with its source in the control data */
    close(client);
    client = new_socket(SOCK_DGRAM);
    if (pod.ss_family == AF_INET) {
        control.header = (struct cmsghdr){CMSG_LEN(sizeof *v4), IPPROTO_IP, IP_PKTINFO};
        v4->ipi_spec_dst = ((struct sockaddr_in *)&pod)->sin_addr;
        message.msg_controllen = CMSG_SPACE(sizeof *v4);
    } else {
        control.header = (struct cmsghdr){CMSG_LEN(sizeof *v6), IPPROTO_IPV6, IPV6_PKTINFO};
        v6->ipi6_addr = ((struct sockaddr_in6 *)&pod)->sin6_addr;
    }
    send_and_print("by name", client, &destination, server, 0, &message);
    message.msg_name = NULL;
    message.msg_namelen = 0;
    connect(client, generic(&destination), pod_length);
    send_and_print("by name, connected", client, NULL, server, 0, &message);
    /* an address of another machine */
    foreign = pod;
    if (pod.ss_family == AF_INET) {
        inet_pton(AF_INET, "192.0.2.7", &v4->ipi_spec_dst);
        inet_pton(AF_INET, "192.0.2.7", &((struct sockaddr_in *)&foreign)->sin_addr);
    } else {
        inet_pton(AF_INET6, "2001:db8::7", &v6->ipi6_addr);
        inet_pton(AF_INET6, "2001:db8::7", &((struct sockaddr_in6 *)&foreign)->sin6_addr);
    }
    printf("a foreign source: %s\n", sendmsg(client, &message, 0) < 0 ? "no" : "yes");
    printf("bind to a foreign address: %s\n", outcome(bind(new_socket(SOCK_DGRAM), generic(&foreign), pod_length)));
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    only_v6 = argc > 2 ? argv[2] : NULL;
    pod_length = address_of(argv[1], "0", &pod);
    setvbuf(stdout, NULL, _IOLBF, 0);
    streams(false);
    streams(true);
    datagrams();
    return 0;
}
