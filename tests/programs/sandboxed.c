/* Forbids itself Unix sockets, by an error or on pain of death, and then connects and looks up.
 *
 * usage: sandboxed errno|kill ADDRESS PORT
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netdb.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    unsigned verdict = strcmp(argv[1], "kill") ? SECCOMP_RET_ERRNO | EACCES : SECCOMP_RET_KILL_PROCESS;
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_UNIX, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, verdict),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = sizeof code / sizeof *code, .filter = code };
    struct sockaddr_in target = { .sin_family = AF_INET, .sin_port = htons(atoi(argv[3])) };
    struct addrinfo *list;

    inet_pton(AF_INET, argv[2], &target.sin_addr);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        return 3;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int result = connect(fd, (struct sockaddr *)&target, sizeof target);
    printf("connect: %s\n", result ? strerrorname_np(errno) : "0");
    printf("getaddrinfo: %d\n", getaddrinfo("web", NULL, NULL, &list));
    puts("still here");
    return 0;
}
