/* [-s SERVICE] NAME...: looks each name up with getaddrinfo under many hints, and prints every element of the
 * lists. With "-" for a name, the node is null. */
#include "common.h"

static const struct {
    const char *text;
    int flags, family, type, protocol;
} hints_of[] = {
    {"any", 0, AF_UNSPEC, 0, 0},
    {"stream", 0, AF_UNSPEC, SOCK_STREAM, 0},
    {"v4 stream", 0, AF_INET, SOCK_STREAM, 0},
    {"v6 stream", 0, AF_INET6, SOCK_STREAM, 0},
    {"v4 udp", 0, AF_INET, SOCK_DGRAM, IPPROTO_UDP},
    {"mapped", AI_V4MAPPED, AF_INET6, SOCK_STREAM, 0},
    {"all mapped", AI_V4MAPPED | AI_ALL, AF_INET6, SOCK_STREAM, 0},
    {"canonical", AI_CANONNAME, AF_UNSPEC, SOCK_STREAM, 0},
    {"configured", AI_ADDRCONFIG, AF_UNSPEC, SOCK_STREAM, 0},
    {"passive", AI_PASSIVE, AF_UNSPEC, SOCK_STREAM, 0},
    {"numeric host", AI_NUMERICHOST, AF_UNSPEC, SOCK_STREAM, 0},
    {"numeric service", AI_NUMERICSERV, AF_UNSPEC, SOCK_STREAM, 0},
    {"canonical v4", AI_CANONNAME, AF_INET, SOCK_STREAM, 0},
    {"bad flags", 0x10000, AF_UNSPEC, SOCK_STREAM, 0},
    {"bad family", 0, AF_APPLETALK, SOCK_STREAM, 0},
    {"bad type", 0, AF_UNSPEC, 77, 0},
    {"bad protocol", 0, AF_INET, SOCK_STREAM, IPPROTO_UDP},
};

static void look_up(const char *node, const char *service, const char *text, const struct addrinfo *hints)
{
    struct addrinfo *list = (void *)-1, *element;
    int code, before = 4711;

    errno = before;
    code = getaddrinfo(node, service, hints, &list);
    printf("%s %s [%s]: %d", node ? node : "-", service ? service : "-", text, code);
    if (code == EAI_SYSTEM)
        printf(" %s", strerrorname_np(errno));
    printf("\n");
    if (code != 0)
        return;
    for (element = list; element != NULL; element = element->ai_next)
        printf("  %s type %d protocol %d length %u%s%s\n", address_text(element->ai_addr), element->ai_socktype,
               element->ai_protocol, element->ai_addrlen, element->ai_canonname ? " " : "",
               element->ai_canonname ? element->ai_canonname : "");
    freeaddrinfo(list);
}

int main(int argc, char **argv)
{
    const char *service = NULL;
    int i = 1;
    size_t j;

    if (argc > 2 && strcmp(argv[1], "-s") == 0) {
        service = argv[2];
        i = 3;
    }
    for (; i < argc; i++) {
        const char *node = strcmp(argv[i], "-") == 0 ? NULL : argv[i];

        look_up(node, service, "none", NULL);
        for (j = 0; j < sizeof hints_of / sizeof *hints_of; j++) {
            struct addrinfo hints = {.ai_flags = hints_of[j].flags,
                                     .ai_family = hints_of[j].family,
                                     .ai_socktype = hints_of[j].type,
                                     .ai_protocol = hints_of[j].protocol};

            look_up(node, service, hints_of[j].text, &hints);
        }
    }
    return 0;
}
