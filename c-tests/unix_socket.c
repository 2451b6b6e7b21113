/* PATH: binds a Unix socket at a path, and connects to it by the path and by its name in the folder. */
#include "common.h"
#include <libgen.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static struct sockaddr_un unix_address(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(address.sun_path, sizeof address.sun_path, "%.100s", path);
    return address;
}

static void show(const char *what, int result)
{
    printf("%s: %s\n", what, result < 0 ? strerrorname_np(errno) : "done");
}

static void connect_to(const char *what, const char *path)
{
    struct sockaddr_un address = unix_address(path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    show(what, connect(fd, (struct sockaddr *)&address, sizeof address));
    close(fd);
}

int main(int argc, char **argv)
{
    struct sockaddr_un address;
    char folder[100];
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);

    if (argc != 2)
        return 2;
    address = unix_address(argv[1]);
    connect_to("connect to none", argv[1]);
    show("bind", bind(listener, (struct sockaddr *)&address, sizeof address));
    show("listen", listen(listener, 8));
    connect_to("connect", argv[1]);
    snprintf(folder, sizeof folder, "%s", argv[1]);
    show("chdir", chdir(dirname(folder)));
    connect_to("connect by its name", basename(argv[1]));
    show("chmod", chmod(argv[1], 0600));
    close(listener);
    connect_to("connect to a closed one", argv[1]);
    show("unlink", unlink(argv[1]));
    connect_to("connect to a removed one", argv[1]);
    return 0;
}
