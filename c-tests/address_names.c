/* ADDRESS...: looks each address up by gethostbyaddr, gethostbyaddr_r and getnameinfo, with all flags and buffer sizes. */
#include "common.h"
#include <locale.h>

static void print_entry(const char *call, const char *asked, const struct hostent *entry, int error)
{
    char **item;

    printf("%s %s: ", call, asked);
    if (entry == NULL) {
        printf("none, h_errno %d\n", error);
        return;
    }
    printf("%s family %d length %d", entry->h_name, entry->h_addrtype, entry->h_length);
    for (item = entry->h_addr_list; *item != NULL; item++) {
        char text[INET6_ADDRSTRLEN];

        printf(" %s", inet_ntop(entry->h_addrtype, *item, text, sizeof text));
    }
    for (item = entry->h_aliases; *item != NULL; item++)
        printf(" alias %s", *item);
    printf("\n");
}

static void entries(const char *asked, int family, const void *address, socklen_t length)
{
    struct hostent entry, *result = gethostbyaddr(address, length, family);
    size_t size = 1;
    char *buffer = NULL;
    int code, error = -1;

    print_entry("gethostbyaddr", asked, result, h_errno);
    do {
        size *= 2;
        buffer = realloc(buffer, size);
        code = gethostbyaddr_r(address, length, family, &entry, buffer, size, &result, &error);
    } while (code == ERANGE && error == NETDB_INTERNAL && size < 65536);
    printf("code %s ", error_name(code));
    print_entry("gethostbyaddr_r", asked, result, error);
    free(buffer);
}

static void information(const char *asked, const struct sockaddr *address, socklen_t length)
{
    static const int flags[] = {0, NI_NAMEREQD, NI_NUMERICHOST, NI_NUMERICSERV, NI_NOFQDN, NI_DGRAM,
                                NI_NUMERICHOST | NI_NUMERICSERV, 0x4000, NI_IDN};
    static const socklen_t rooms[] = {0, 1, 5, 16, 1025};
    char host[1025], service[32];
    size_t i, j;
    int code;

    for (i = 0; i < sizeof flags / sizeof *flags; i++)
        for (j = 0; j < sizeof rooms / sizeof *rooms; j++) {
            strcpy(host, "");
            strcpy(service, "");
            code = getnameinfo(address, length, host, rooms[j], service, sizeof service, flags[i]);
            printf("getnameinfo %s flags %d room %d: %d", asked, flags[i], (int)rooms[j], code);
            if (code == 0)
                printf(" %s %s", host, service);
            printf("\n");
        }
    code = getnameinfo(address, length, host, sizeof host, NULL, 0, 0);
    printf("getnameinfo %s without service: %d %s\n", asked, code, code == 0 ? host : "");
    code = getnameinfo(address, length, host, sizeof host, service, 1, NI_NUMERICSERV);
    printf("getnameinfo %s small service: %d\n", asked, code);
    code = getnameinfo(address, length, NULL, 0, service, sizeof service, 0);
    printf("getnameinfo %s without host: %d %s\n", asked, code, code == 0 ? service : "");
    code = getnameinfo(address, length, NULL, 0, NULL, 0, 0);
    printf("getnameinfo %s without anything: %d\n", asked, code);
    code = getnameinfo(address, length - 1, host, sizeof host, NULL, 0, 0);
    printf("getnameinfo %s too short: %d\n", asked, code);
}

int main(int argc, char **argv)
{
    int i;

    setlocale(LC_CTYPE, "");
    for (i = 1; i < argc; i++) {
        struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(80)};
        struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(80)};

        if (inet_pton(AF_INET, argv[i], &v4.sin_addr) == 1) {
            entries(argv[i], AF_INET, &v4.sin_addr, sizeof v4.sin_addr);
            entries("wrong length", AF_INET, &v4.sin_addr, 3);
            entries("wrong family", AF_UNIX, &v4.sin_addr, 4);
            information(argv[i], (struct sockaddr *)&v4, sizeof v4);
        } else if (inet_pton(AF_INET6, argv[i], &v6.sin6_addr) == 1) {
            entries(argv[i], AF_INET6, &v6.sin6_addr, sizeof v6.sin6_addr);
            information(argv[i], (struct sockaddr *)&v6, sizeof v6);
        } else {
            printf("%s is no address\n", argv[i]);
            return 2;
        }
    }
    return 0;
}
