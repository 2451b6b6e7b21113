/* HOST PORT [mapped|v6only]: connects, then asks for the peer with buffers of every length. With "mapped" an IPv4
 * HOST is connected from an IPv6 socket. */
#include "common.h"
#include <sys/mman.h>

int main(int argc, char **argv)
{
    struct sockaddr_storage address;
    struct sockaddr_in6 mapped = {.sin6_family = AF_INET6};
    unsigned char peer[64];
    socklen_t length, given;
    const char *said;
    size_t i;
    int fd;

    if (argc < 3)
        return 2;
    length = address_of(argv[1], argv[2], &address);
    if (argc == 4 && strcmp(argv[3], "mapped") == 0) {
        const struct sockaddr_in *v4 = (void *)&address;

        mapped.sin6_port = v4->sin_port;
        memcpy(mapped.sin6_addr.s6_addr + 10, "\xff\xff", 2);
        memcpy(mapped.sin6_addr.s6_addr + 12, &v4->sin_addr, 4);
        memcpy(&address, &mapped, sizeof mapped);
        length = sizeof mapped;
    }
    fd = socket(address.ss_family, SOCK_STREAM, 0);
    if (argc == 4 && strcmp(argv[3], "v6only") == 0)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){1}, sizeof(int));
    printf("connect: %s\n", outcome(connect(fd, (struct sockaddr *)&address, length)));
    print_peer(fd);
    for (given = 0; given <= 32; given += given < 4 ? 1 : 4) {
        socklen_t room = given;

        memset(peer, 0xee, sizeof peer);
        /* the length is printed as the call leaves it */
        said = outcome(getpeername(fd, (struct sockaddr *)peer, &room));
        printf("%2u bytes: %s, length %u,", given, said, room);
        for (i = 0; i < 36; i++)
            printf(" %02x", peer[i]);
        printf("\n");
    }
    length = (socklen_t)-1;
    printf("negative length: %s\n", outcome(getpeername(fd, (struct sockaddr *)peer, &length)));
    printf("null length: %s\n", outcome(getpeername(fd, (struct sockaddr *)peer, NULL)));
    length = sizeof peer;
    printf("null address: %s\n", outcome(getpeername(fd, NULL, &length)));
    length = sizeof peer;
    printf("wild address: %s\n", outcome(getpeername(fd, (struct sockaddr *)1, &length)));
    {
        char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        socklen_t *constant = (socklen_t *)page;

        *constant = sizeof peer;
        mprotect(page, 4096, PROT_READ);
        printf("constant length: %s\n", outcome(getpeername(fd, (struct sockaddr *)peer, constant)));
    }
    return 0;
}
