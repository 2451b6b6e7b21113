/* HOST PORT: connects after each change that programs make to their environment. */
#include "common.h"

extern char **environ;

static struct sockaddr_storage address;
static socklen_t length;

static void try(const char *what)
{
    int fd = socket(address.ss_family, SOCK_STREAM, 0);

    printf("%s: %s\n", what, outcome(connect(fd, (struct sockaddr *)&address, length)));
    close(fd);
}

int main(int argc, char **argv)
{
    char *socket_path, **entry;

    if (argc != 3)
        return 2;
    length = address_of(argv[1], argv[2], &address);
    socket_path = strdup(getenv("KINJECT_SOCKET"));
    try("as started");
    unsetenv("KINJECT_SOCKET");
    try("unset");
    setenv("KINJECT_SOCKET", "/nonexistent", 1);
    try("set to another");
    setenv("KINJECT_SOCKET", "", 1);
    try("set to nothing");
    setenv("KINJECT_SOCKET", socket_path, 1);
    try("set again");
    clearenv();
    try("cleared");
    environ = NULL;
    try("null");
    /* a program that changes its title overwrites the memory of its first environment */
    for (entry = argv + argc + 1; *entry != NULL; entry++)
        memset(*entry, 'x', strlen(*entry));
    try("overwritten");
    /* setenv in another thread may free the array, so hooks may not read it */
    environ = (char **)8;
    try("gone");
    return 0;
}
