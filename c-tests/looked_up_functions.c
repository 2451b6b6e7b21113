/* ADDRESS PORT LIBRARY: looks functions up by handles of libraries (dlsym(3)), and connects by one of them. LIBRARY defines
 * connect(2) itself. Prints of each result whether it is the function that the program calls by its name. */
#include "common.h"
#include <dlfcn.h>
#include <fcntl.h>

#ifdef __x86_64__
#define FIRST_VERSION "GLIBC_2.2.5"
#else
#define FIRST_VERSION "GLIBC_2.17"
#endif

static void *handle(const char *name)
{
    void *library = dlopen(name, RTLD_NOW);

    if (library == NULL) {
        printf("%s: %s\n", name, dlerror());
        exit(1);
    }
    return library;
}

static void print_result(const char *what, const char *name, void *found)
{
    void *called = dlsym(RTLD_DEFAULT, name);

    printf("%s %s: %s\n", what, name, found == NULL ? "none" : found == called ? "as called" : "another one");
}

/* The error of dlopen stays until dlerror returns it, whatever is called in between. */
static void print_pending_error(void)
{
    char buffer[1] = {0};
    int file;

    if (dlopen("/nonexistent/library.so", RTLD_NOW) != NULL)
        exit(2);
    file = open("/dev/null", O_RDWR);
    if (read(file, buffer, 1) != 0 || write(file, buffer, 1) != 1)
        exit(3);
    close(file);
    printf("after open, read and write: %s\n", dlerror());
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"connect", "getaddrinfo", "gethostbyname", "res_nsend", "sendto", "open",
                                        "execve", "posix_spawn", "dlsym", "getaddrinfo_a", "close", "strerror"};
    void *libc, *dependent, *own;
    int (*by_handle)(int, const struct sockaddr *, socklen_t);
    size_t i;

    if (argc != 4)
        return 2;
    print_pending_error();
    libc = handle("libc.so.6");
    dependent = handle("libm.so.6");
    own = handle(argv[3]);
    for (i = 0; i < sizeof names / sizeof *names; i++) {
        print_result("libc", names[i], dlsym(libc, names[i]));
        print_result("a library that depends on libc", names[i], dlsym(dependent, names[i]));
        print_result("the program", names[i], dlsym(handle(NULL), names[i]));
    }
    print_result("first version", "connect", dlvsym(libc, "connect", FIRST_VERSION));
    print_result("no such version", "connect", dlvsym(libc, "connect", "GLIBC_9.9"));
    print_result("the program's version", "connect", dlvsym(RTLD_DEFAULT, "connect", FIRST_VERSION));
    print_result("libc", "no_such_function", dlsym(libc, "no_such_function"));
    printf("it says: %s\n", strstr(dlerror(), "no_such_function") != NULL ? "which" : "not which");
    *(void **)&by_handle = dlsym(own, "connect");
    printf("a library's own connect: %d\n", by_handle(-1, NULL, 0));
    *(void **)&by_handle = dlsym(libc, "connect");
    struct sockaddr_storage address;
    socklen_t length = address_of(argv[1], argv[2], &address);
    int fd = socket(address.ss_family, SOCK_STREAM, 0);
    printf("connect by the handle: %s\n", outcome(by_handle(fd, (struct sockaddr *)&address, length)));
    return 0;
}
