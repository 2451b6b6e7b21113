/* A library that another one is preloaded before: its connect is libc's, which it looks up in libc itself. */
#include "common.h"
#include <dlfcn.h>

int connect(int socket, const struct sockaddr *address, socklen_t length)
{
    int (*real)(int, const struct sockaddr *, socklen_t);
    void *libc = dlopen("libc.so.6", RTLD_NOW);

    *(void **)&real = dlsym(libc, "connect");
    printf("behind\n");
    return real(socket, address, length);
}
