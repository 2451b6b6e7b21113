/* COMMAND...: runs it in a Landlock domain that forbids abstract Unix sockets outside of it (landlock(7), Linux 6.12). Exits
 * with 77 if the kernel has no such scopes. */
#include "common.h"
#include <sys/prctl.h>
#include <sys/syscall.h>

#define SCOPE_ABSTRACT_UNIX_SOCKET 1

int main(int argc, char **argv)
{
    struct {
        uint64_t files, network, scope;
    } rules = {0, 0, SCOPE_ABSTRACT_UNIX_SOCKET};
    int ruleset;

    if (argc < 2)
        return 2;
    ruleset = (int)syscall(SYS_landlock_create_ruleset, &rules, sizeof rules, 0);
    if (ruleset < 0)
        return 77;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || syscall(SYS_landlock_restrict_self, ruleset, 0) != 0)
        die("landlock");
    close(ruleset);
    execv(argv[1], argv + 1);
    die(argv[1]);
}
