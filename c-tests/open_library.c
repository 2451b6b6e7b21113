/* LIBRARY: opens a library by dlopen and dlmopen, and prints whether it was opened or what the error says. */
#include "common.h"
#include <dlfcn.h>

static void print_library(const char *call, void *library)
{
    const char *error = library == NULL ? dlerror() : NULL;

    printf("%s: %s\n", call, error == NULL ? "opened" : strstr(error, "cannot open") != NULL ? "cannot open" : error);
    if (library != NULL)
        dlclose(library);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    print_library("dlopen", dlopen(argv[1], RTLD_NOW));
    print_library("dlmopen", dlmopen(LM_ID_BASE, argv[1], RTLD_NOW));
    print_library("program", dlopen(NULL, RTLD_NOW));
    return 0;
}
