/* Says its first argument. Never, but for all that its file shows, it opens a socket. */
#include <stdio.h>
#include <sys/socket.h>

int main(int argc, char **argv)
{
    puts(argc > 1 ? argv[1] : "");
    return argc == 0 && socket(AF_INET, SOCK_STREAM, 0) < 0;
}
