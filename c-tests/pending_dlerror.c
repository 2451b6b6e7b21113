/* ADDRESS NAME: looks up internationalised names with a pending error of dlopen(3), then without one. Prints the result of each
 * lookup, and that of dlerror(3) after it. */
#include "common.h"
#include <dlfcn.h>
#include <locale.h>

static char host[1025];
static const char *address, *name;

static int reverse(void)
{
    struct sockaddr_in peer = {.sin_family = AF_INET};

    inet_pton(AF_INET, address, &peer.sin_addr);
    return getnameinfo((struct sockaddr *)&peer, sizeof peer, host, sizeof host, NULL, 0, NI_IDN);
}

static int look_up(const char *asked, int flags)
{
    struct addrinfo hints = {.ai_family = AF_INET, .ai_flags = AI_CANONNAME | flags}, *found;
    int code = getaddrinfo(asked, NULL, &hints, &found);

    strcpy(host, "");
    if (code == 0) {
        snprintf(host, sizeof host, "%s", found->ai_canonname);
        freeaddrinfo(found);
    }
    return code;
}

static int canonical(void)
{
    return look_up(name, AI_CANONIDN);
}

static int encoded(void)
{
    return look_up("b\303\274cher.test", AI_IDN);
}

static void print_lookup(const char *call, int (*lookup)(void), int has_error)
{
    const char *error;
    int code;

    if (has_error && dlopen("/nonexistent/library.so", RTLD_NOW) != NULL)
        exit(2);
    code = lookup();
    error = dlerror();
    printf("%s: %d %s, %s\n", call, code, host, error == NULL ? "no error" : error);
}

int main(int argc, char **argv)
{
    int has_error;

    if (argc != 3)
        return 2;
    setlocale(LC_ALL, "");
    address = argv[1];
    name = argv[2];
    for (has_error = 1; has_error >= 0; has_error--) {
        print_lookup("getnameinfo", reverse, has_error);
        print_lookup("canonical", canonical, has_error);
        print_lookup("encoded", encoded, has_error);
    }
    return 0;
}
