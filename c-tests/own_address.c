/* HOST PORT [mapped|v6only|datagram]: connects, then asks for the socket's own address with buffers of every length,
 * without its port. With "mapped" an IPv4 HOST is connected from an IPv6 socket. */
#include "common.h"
#include <sys/mman.h>
#include <sys/syscall.h>

/* The text without the port, which differs from run to run. */
static void print_own(const char *how, int result, struct sockaddr_storage *own)
{
    if (result != 0) {
        printf("%s: %s\n", how, outcome(result));
        return;
    }
    printf("%s: %s a port,", how, ((struct sockaddr_in *)own)->sin_port != 0 ? "with" : "without");
    ((struct sockaddr_in *)own)->sin_port = 0;
    printf(" %s\n", address_text((struct sockaddr *)own));
}

int main(int argc, char **argv)
{
    struct sockaddr_storage address, own;
    struct sockaddr_in6 mapped = {.sin6_family = AF_INET6};
    const char *mode = argc == 4 ? argv[3] : "";
    unsigned char bytes[64];
    socklen_t length, given;
    size_t i;
    int fd;

    if (argc < 3)
        return 2;
    length = address_of(argv[1], argv[2], &address);
    if (strcmp(mode, "mapped") == 0) {
        const struct sockaddr_in *v4 = (void *)&address;

        mapped.sin6_port = v4->sin_port;
        memcpy(mapped.sin6_addr.s6_addr + 10, "\xff\xff", 2);
        memcpy(mapped.sin6_addr.s6_addr + 12, &v4->sin_addr, 4);
        memcpy(&address, &mapped, sizeof mapped);
        length = sizeof mapped;
    }
    fd = socket(address.ss_family, strcmp(mode, "datagram") == 0 ? SOCK_DGRAM : SOCK_STREAM, 0);
    if (strcmp(mode, "v6only") == 0)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){1}, sizeof(int));
    given = sizeof own;
    if (getsockname(fd, (struct sockaddr *)&own, &given) == 0)
        printf("before: %s\n", address_text((struct sockaddr *)&own));
    printf("connect: %s\n", outcome(connect(fd, (struct sockaddr *)&address, length)));
    given = sizeof own;
    print_own("own", getsockname(fd, (struct sockaddr *)&own, &given), &own);
    given = sizeof own;
    print_own("by number", (int)syscall(SYS_getsockname, fd, &own, &given), &own);
    for (given = 0; given <= 32; given += given < 4 ? 1 : 4) {
        socklen_t room = given;
        int result;

        memset(bytes, 0xee, sizeof bytes);
        result = getsockname(fd, (struct sockaddr *)bytes, &room);
        printf("%2u bytes: %s, length %u,", given, outcome(result), room);
        /* the port */
        for (i = 2; i < 4 && i < given; i++)
            bytes[i] = 0;
        for (i = 0; i < 36; i++)
            printf(" %02x", bytes[i]);
        printf("\n");
    }
    length = (socklen_t)-1;
    printf("negative length: %s\n", outcome(getsockname(fd, (struct sockaddr *)bytes, &length)));
    printf("null length: %s\n", outcome(getsockname(fd, (struct sockaddr *)bytes, NULL)));
    length = sizeof bytes;
    printf("null address: %s\n", outcome(getsockname(fd, NULL, &length)));
    length = sizeof bytes;
    printf("wild address: %s\n", outcome(getsockname(fd, (struct sockaddr *)1, &length)));
    {
        char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        socklen_t *constant = (socklen_t *)page;

        *constant = sizeof bytes;
        mprotect(page, 4096, PROT_READ);
        printf("constant length: %s\n", outcome(getsockname(fd, (struct sockaddr *)bytes, constant)));
    }
    close(fd);
    length = sizeof bytes;
    printf("closed: %s\n", outcome(getsockname(fd, (struct sockaddr *)bytes, &length)));
    return 0;
}
