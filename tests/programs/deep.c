/* Opens a library so that it prefers its own functions and libc's, and has it talk to an echo service.
 *
 * usage: deep LIBRARY ADDRESS PORT
 */
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    if (dlopen("/nonexistent/library.so", RTLD_NOW | RTLD_DEEPBIND))
        return 3;
    printf("a library that is not there: %s\n", dlerror());
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_DEEPBIND);
    if (!library) {
        printf("%s\n", dlerror());
        return 1;
    }
    int (*speak)(const char *, const char *) = (int (*)(const char *, const char *))dlsym(library, "speak");
    return speak ? speak(argv[2], argv[3]) : 4;
}
