/* HOST PORT NAME descriptors|sandbox: connects and looks up without a descriptor to spare, or under a filter that
 * forbids Unix sockets. */
#include "common.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static void forbid_unix_sockets(int error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_UNIX, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        die("seccomp");
}

int main(int argc, char **argv)
{
    struct sockaddr_storage address;
    struct addrinfo *list;
    struct hostent *entry;
    socklen_t length;
    int fd, code;

    if (argc != 5)
        return 2;
    length = address_of(argv[1], argv[2], &address);
    fd = socket(address.ss_family, SOCK_STREAM, 0);
    if (strcmp(argv[4], "descriptors") == 0) {
        struct rlimit limit = {.rlim_cur = (rlim_t)fd + 1, .rlim_max = 1024};

        setrlimit(RLIMIT_NOFILE, &limit);
    } else {
        forbid_unix_sockets(atoi(argv[4]));
    }
    printf("connect: %s\n", outcome(connect(fd, (struct sockaddr *)&address, length)));
    code = getaddrinfo(argv[3], NULL, NULL, &list);
    printf("getaddrinfo: %d%s%s\n", code, code == EAI_SYSTEM ? " " : "",
           code == EAI_SYSTEM ? strerrorname_np(errno) : "");
    entry = gethostbyname(argv[3]);
    printf("gethostbyname: %s, h_errno %d\n", entry ? "found" : "none", h_errno);
    return 0;
}
