/* A library that is preloaded already: it says so, and keeps a function for itself. */
#include <unistd.h>

__attribute__((constructor)) static void loaded(void)
{
    static const char text[] = "the other library is here\n";
    (void)!write(1, text, sizeof text - 1);
}
