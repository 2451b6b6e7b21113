/* NAME[/TYPE]...: queries each name by every function of the res_* family. Prints lengths, codes and records of the answers. */
#include "common.h"
#include <arpa/nameser.h>
#include <resolv.h>

/* Two bytes of a message. */
static unsigned number(const unsigned char *bytes)
{
    return bytes[0] * 256u + bytes[1];
}

static void print_answer(const char *call, const char *name, const unsigned char *answer, int size, int length)
{
    int i, at = 12, count, readable = length < size ? length : size;

    printf("%s %s: ", call, name);
    if (length < 0) {
        printf("h_errno %d state %d\n", h_errno, _res.res_h_errno);
        return;
    }
    printf("length %d of %d", length, size);
    if (readable >= 12)
        printf(" tc %d rcode %d", (answer[2] >> 1) & 1, answer[3] & 15);
    count = length <= size ? (int)number(answer + 6) : 0;
    if (count > 0)
        at += dn_skipname(answer + at, answer + length) + 4;
    printf(" answers %d", count);
    for (i = 0; i < count && i < 3; i++) {
        char owner[1024];
        int used = dn_expand(answer, answer + length, answer + at, owner, sizeof owner);

        if (used < 0)
            break;
        at += used;
        printf(" [%s type %u %u bytes]", owner, number(answer + at), number(answer + at + 8));
        at += 10 + (int)number(answer + at + 8);
    }
    printf("\n");
}

static void ask(const char *name, int type)
{
    static const int sizes[] = {12, 40, 100, 300, 512, 600, 4096, 65535};
    static unsigned char answer[65535];
    unsigned char question[512];
    char text[1200];
    size_t i;
    int length;
    struct __res_state state;

    snprintf(text, sizeof text, "%s/%d", name, type);
    for (i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        length = res_query(name, ns_c_in, type, answer, sizes[i]);
        print_answer("res_query", text, answer, sizes[i], length);
    }
    length = res_search(name, ns_c_in, type, answer, sizeof answer);
    print_answer("res_search", text, answer, sizeof answer, length);
    length = res_querydomain(name, "default.svc.cluster.local", ns_c_in, type, answer, sizeof answer);
    print_answer("res_querydomain", text, answer, sizeof answer, length);
    length = res_querydomain(name, NULL, ns_c_in, type, answer, sizeof answer);
    print_answer("res_querydomain null", text, answer, sizeof answer, length);

    memset(&state, 0, sizeof state);
    if (res_ninit(&state) != 0)
        die("res_ninit");
    length = res_nquery(&state, name, ns_c_in, type, answer, sizeof answer);
    print_answer("res_nquery", text, answer, sizeof answer, length);
    printf("its state: %d\n", length < 0 ? state.res_h_errno : 0);
    length = res_nsearch(&state, name, ns_c_in, type, answer, sizeof answer);
    print_answer("res_nsearch", text, answer, sizeof answer, length);
    state.options &= ~(unsigned long)RES_DNSRCH;
    length = res_nsearch(&state, name, ns_c_in, type, answer, sizeof answer);
    print_answer("res_nsearch one domain", text, answer, sizeof answer, length);
    state.options &= ~(unsigned long)RES_DEFNAMES;
    length = res_nsearch(&state, name, ns_c_in, type, answer, sizeof answer);
    print_answer("res_nsearch no domain", text, answer, sizeof answer, length);
    length = res_nquerydomain(&state, name, "", ns_c_in, type, answer, sizeof answer);
    print_answer("res_nquerydomain empty", text, answer, sizeof answer, length);
    state.options |= RES_USEVC;
    length = res_nquery(&state, name, ns_c_in, type, answer, 100);
    print_answer("res_nquery over TCP", text, answer, 100, length);
    state.options = (state.options & ~(unsigned long)RES_USEVC) | RES_IGNTC;
    length = res_nquery(&state, name, ns_c_in, type, answer, sizeof answer);
    print_answer("res_nquery cut", text, answer, sizeof answer, length);
    state.options = (state.options & ~(unsigned long)RES_IGNTC) | RES_USE_EDNS0 | RES_USE_DNSSEC;
    length = res_nquery(&state, name, ns_c_in, type, answer, sizeof answer);
    print_answer("res_nquery with EDNS", text, answer, sizeof answer, length);

    length = res_nmkquery(&state, ns_o_query, name, ns_c_in, type, NULL, 0, NULL, question, sizeof question);
    if (length > 0) {
        int question_size = length, got;

        errno = 0;
        got = res_send(question, question_size, answer, sizeof answer);
        printf("errno %s id %d ", got < 0 ? error_name(errno) : "0", got > 0 && memcmp(question, answer, 2) == 0);
        print_answer("res_send", text, answer, sizeof answer, got);
        errno = 0;
        got = res_nsend(&state, question, question_size, answer, 11);
        printf("res_nsend too small: %d %s\n", got, error_name(errno));
        state.nscount = 0;
        errno = 0;
        got = res_nsend(&state, question, question_size, answer, sizeof answer);
        printf("res_nsend without servers: %d %s\n", got, error_name(errno));
    }
    res_nclose(&state);
}

int main(int argc, char **argv)
{
    int i;

    for (i = 1; i < argc; i++) {
        char *colon = strrchr(argv[i], '/');
        int type = ns_t_a;

        if (colon != NULL) {
            *colon = 0;
            type = atoi(colon + 1);
        }
        ask(argv[i], type);
    }
    return 0;
}
