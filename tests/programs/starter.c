/* LINE: has a shell run it. */
#include <stdlib.h>

int main(int argc, char **argv)
{
    return argc == 2 ? system(argv[1]) : 2;
}
