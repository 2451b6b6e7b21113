/* new|own LIBRARY: opens a library in a new namespace, or in its own one. */
#include "common.h"
#include <dlfcn.h>

int main(int argc, char **argv)
{
    Lmid_t place;

    if (argc != 3)
        return 2;
    place = strcmp(argv[1], "new") == 0 ? LM_ID_NEWLM : LM_ID_BASE;
    printf("%s\n", dlmopen(place, argv[2], RTLD_NOW) != NULL ? "opened" : dlerror());
    return 0;
}
