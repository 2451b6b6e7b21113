/* WORD...: prints its words; linked statically it is a program into which no library can be preloaded. */
#include <stdio.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
    int i;

    for (i = 1; i < argc; i++)
        printf("%s\n", argv[i]);
    return argc == 0 && socket(AF_INET, SOCK_STREAM, 0) < 0;
}
