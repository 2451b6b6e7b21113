/* LIBRARY NAME...: looks each name up by a handle of LIBRARY ("-" is the program itself), and prints whether it is the
 * function to which the program's own reference would be bound, in the form "NAME: same|other|none", with dlerror(3). */
#include "common.h"
#include <dlfcn.h>

static void print_result(const char *how, const char *name, const void *found)
{
    const char *error = dlerror();
    const void *bound = dlsym(RTLD_DEFAULT, name);

    dlerror();
    printf("%s %s: %s%s\n", how, name, found == NULL ? "none" : found == bound ? "same" : "other",
           error == NULL ? "" : ", with an error");
}

int main(int argc, char **argv)
{
    void *handle = dlopen(strcmp(argv[1], "-") == 0 ? NULL : argv[1], RTLD_NOW);

    if (handle == NULL) {
        printf("%s\n", dlerror());
        return 1;
    }
    for (int i = 2; i < argc; i++) {
        const char *name = argv[i];

        print_result("dlsym", name, dlsym(handle, name));
        print_result("dlvsym", name, dlvsym(handle, name, "GLIBC_2.2.5"));
        print_result("dlvsym of no version", name, dlvsym(handle, name, "GLIBC_0.0"));
        print_result("next", name, dlsym(RTLD_NEXT, name));
    }
    return 0;
}
