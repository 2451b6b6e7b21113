/* A library that another one is preloaded before: its connect is libc's, which it looks up in libc itself or, if it is compiled
 * so, calls by libc's second name for it. */
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
