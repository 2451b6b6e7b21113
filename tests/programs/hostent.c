/* gethostbyname and its relatives for each name, and getaddrinfo for what Python cannot ask.
 *
 * usage: hostent NAME...
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void tell(const char *call, const char *name, const struct hostent *entry, int error)
{
    static const char *const errors[] = { "success", "HOST_NOT_FOUND", "TRY_AGAIN", "NO_RECOVERY", "NO_DATA" };
    printf("%s %.40s: ", call, name);
    if (!entry) {
        printf("%s\n", error >= 0 && error <= 4 ? errors[error] : "NETDB_INTERNAL");
        return;
    }
    printf("%s family %d length %d", entry->h_name, entry->h_addrtype, entry->h_length);
    for (char **alias = entry->h_aliases; *alias; alias++)
        printf(" alias %s", *alias);
    /* the order of these is the server's, which may shuffle */
    char texts[16][INET6_ADDRSTRLEN];
    size_t count = 0;
    for (char **address = entry->h_addr_list; *address && count < 16; address++)
        inet_ntop(entry->h_addrtype, *address, texts[count++], sizeof *texts);
    qsort(texts, count, sizeof *texts, by_text);
    for (size_t i = 0; i < count; i++)
        printf(" %s", texts[i]);
    putchar('\n');
}

static int with_buffer(const char *call, const char *name, int family, size_t size)
{
    struct hostent entry, *result = (void *)-1;
    char *buffer = malloc(size + 1);
    int error = -1, status;
    buffer[size] = 0x5a;
    if (family)
        status = gethostbyname2_r(name, family, &entry, buffer, size, &result, &error);
    else
        status = gethostbyname_r(name, &entry, buffer, size, &result, &error);
    if (buffer[size] != 0x5a)
        printf("written beyond the buffer\n");
    printf("status %s, ", status ? strerrorname_np(status) : "0");
    tell(call, name, result, error);
    free(buffer);
    return result != NULL;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        struct hostent *entry = gethostbyname(name);
        tell("gethostbyname", name, entry, h_errno);
        entry = gethostbyname2(name, AF_INET);
        tell("gethostbyname2 INET", name, entry, h_errno);
        entry = gethostbyname2(name, AF_INET6);
        tell("gethostbyname2 INET6", name, entry, h_errno);
        /* how much room a failure needs is glibc's own affair */
        if (with_buffer("gethostbyname_r", name, 0, 4096))
            with_buffer("gethostbyname_r with a small buffer", name, 0, 8);
        with_buffer("gethostbyname2_r", name, AF_INET, 4096);
        with_buffer("gethostbyname2_r INET6", name, AF_INET6, 4096);
        struct addrinfo hints = { .ai_family = AF_UNSPEC }, *list = NULL;
        int status = getaddrinfo(name, NULL, &hints, &list);
        printf("getaddrinfo %.40s: %s\n", name, status ? gai_strerror(status) : "found");
        if (status == 0)
            freeaddrinfo(list);
        status = getaddrinfo(name, NULL, NULL, &list);
        printf("getaddrinfo without hints %.40s: %s\n", name, status ? gai_strerror(status) : "found");
        if (status == 0)
            freeaddrinfo(list);
    }
    struct addrinfo bad = { .ai_flags = 0x40000000 }, *list = NULL;
    printf("bad flags: %s\n", gai_strerror(getaddrinfo("web", NULL, &bad, &list)));
    struct addrinfo family = { .ai_family = AF_UNIX };
    printf("bad family: %s\n", gai_strerror(getaddrinfo("web", NULL, &family, &list)));
    printf("nothing: %s\n", gai_strerror(getaddrinfo(NULL, NULL, NULL, &list)));
    return 0;
}
