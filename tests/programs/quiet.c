/* Connects to nothing. */
#include <stdio.h>

int main(void)
{
    puts("linked statically");
    return 7;
}
