/* Runs a program whose code may not be changed and run: no page that was writable becomes executable (prctl(2)).
 *
 * usage: mdwe PROGRAM [ARGUMENT...]
 * exits 77 where the kernel does not know the rule
 */
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif

int main(int argc, char **argv)
{
    if (argc < 2 || prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0))
        return 77;
    execv(argv[1], argv + 1);
    perror(argv[1]);
    return 127;
}
