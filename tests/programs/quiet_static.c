/* A program that has no use for a network. */
#include <stdio.h>

int main(void)
{
    puts("no network");
    return 0;
}
