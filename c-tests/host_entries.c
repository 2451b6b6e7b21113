/* NAME...: looks each name up with the four functions of the gethostbyname family. */
#include "common.h"
#include <pthread.h>

static void print_entry(const char *what, const struct hostent *entry, int error)
{
    char ip[INET6_ADDRSTRLEN];
    char **place;

    printf("%s: ", what);
    if (entry == NULL) {
        printf("none, h_errno %d\n", error);
        return;
    }
    printf("%s family %d length %d", entry->h_name, entry->h_addrtype, entry->h_length);
    for (place = entry->h_addr_list; *place != NULL; place++)
        printf(" %s", inet_ntop(entry->h_addrtype, *place, ip, sizeof ip));
    for (place = entry->h_aliases; *place != NULL; place++)
        printf(" alias %s", *place);
    printf("%s\n", (uintptr_t)entry->h_addr_list % sizeof(char *) ? " unaligned" : "");
}

static void print_found(const char *what, const struct hostent *entry)
{
    print_entry(what, entry, h_errno);
}

/* Grows an unaligned buffer from a few bytes until the entry fits. */
static void with_growing_buffer(const char *name, int family)
{
    struct hostent entry, *result = (void *)-1;
    size_t size;
    int code, error = 4711, small = 0;

    for (size = 1; size < 1 << 20; size += size < 256 ? 1 : size) {
        char *buffer = malloc(size + 2);

        /* the bytes around the buffer have to stay as they are */
        buffer[0] = buffer[size + 1] = 'x';
        result = (void *)-1;
        errno = 4711;
        code = family == 0 ? gethostbyname_r(name, &entry, buffer + 1, size, &result, &error)
                           : gethostbyname2_r(name, family, &entry, buffer + 1, size, &result, &error);
        if (buffer[0] != 'x' || buffer[size + 1] != 'x')
            printf("overrun at %zu bytes\n", size);
        if (code == ERANGE) {
            if (result != NULL || error != NETDB_INTERNAL || errno != ERANGE)
                printf("ERANGE is told badly: %p %d %s\n", (void *)result, error, strerrorname_np(errno));
            small++;
            free(buffer);
            continue;
        }
        printf("code %s, %s, ", error_name(code), small > 0 ? "after ERANGE" : "at once");
        print_entry(family == 0 ? "gethostbyname_r" : "gethostbyname2_r", result, error);
        free(buffer);
        return;
    }
}

static void *in_thread(void *argument)
{
    char **argv = argument;

    print_found("in a thread", gethostbyname(argv[1]));
    return NULL;
}

int main(int argc, char **argv)
{
    struct hostent *first;
    pthread_t thread;
    int i;

    for (i = 1; i < argc; i++) {
        errno = 4711;
        print_found("gethostbyname", gethostbyname(argv[i]));
        print_found("gethostbyname2 v4", gethostbyname2(argv[i], AF_INET));
        print_found("gethostbyname2 v6", gethostbyname2(argv[i], AF_INET6));
        with_growing_buffer(argv[i], 0);
        with_growing_buffer(argv[i], AF_INET);
        with_growing_buffer(argv[i], AF_INET6);
    }
    if (argc > 1 && (first = gethostbyname(argv[1])) != NULL) {
        pthread_create(&thread, NULL, in_thread, argv);
        pthread_join(thread, NULL);
        print_entry("after the thread", first, 0);
    }
    return 0;
}
