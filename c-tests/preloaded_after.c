/* A library that is preloaded after kinject's. Its connect calls libc's: it looks it up in libc or, with BY_SECOND_NAME,
 * calls __connect. */
#include "common.h"
#include <dlfcn.h>

int __connect(int, const struct sockaddr *, socklen_t);

int connect(int socket, const struct sockaddr *address, socklen_t length)
{
    printf("behind\n");
#ifdef BY_SECOND_NAME
    return __connect(socket, address, length);
#else
    int (*real)(int, const struct sockaddr *, socklen_t);
    void *libc = dlopen("libc.so.6", RTLD_NOW);

    *(void **)&real = dlsym(libc, "connect");
    return real(socket, address, length);
#endif
}
