/* HOST PORT: closes every descriptor but the one it prints to, standard streams too, then connects. Prints how many descriptors
 * are open afterwards. */
#include "common.h"
#include <fcntl.h>

int main(int argc, char **argv)
{
    struct sockaddr_storage address;
    socklen_t length;
    int report = 200, fd, result, i, open_count = 0;

    if (argc != 3)
        return 2;
    length = address_of(argv[1], argv[2], &address);
    if (dup2(STDOUT_FILENO, report) != report)
        die("dup2");
    for (i = 0; i < 1024; i++)
        if (i != report)
            close(i);
    fd = socket(address.ss_family, SOCK_STREAM, 0);
    result = connect(fd, (struct sockaddr *)&address, length);
    dprintf(report, "socket: %d\nconnect: %s\n", fd, outcome(result));
    for (i = 0; i < 1024; i++)
        open_count += fcntl(i, F_GETFD) >= 0;
    dprintf(report, "open: %d\n", open_count);
    return 0;
}
