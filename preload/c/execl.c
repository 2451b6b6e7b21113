/* The variadic members of the exec family (exec(3)): Rust can call variadic functions but not define them.
 *
 * Each copies its arguments into an array on the stack, as libc does, and passes it to Rust. They are hidden; the
 * library exports `execl`, `execlp` and `execle` as jumps to them. They write to the stack alone, so all of them
 * may be called after vfork(2).
 */
#include <stdarg.h>
#include <stddef.h>

extern int kinject_execv(const char *path, char *const argv[]);
extern int kinject_execvp(const char *file, char *const argv[]);
extern int kinject_execve(const char *path, char *const argv[], char *const envp[]);

static size_t count(const char *first, va_list *rest)
{
    size_t total = 0;

    if (first == NULL)
        return 0;
    do
        total++;
    while (va_arg(*rest, const char *) != NULL);
    return total;
}

/* Writes `total` arguments and the null that ends them. */
static void gather(char **argv, size_t total, const char *first, va_list *rest)
{
    size_t i;

    argv[0] = (char *)first;
    for (i = 1; i <= total; i++)
        argv[i] = va_arg(*rest, char *);
}

/* The function with an array to which a variadic one leads. */
enum family { EXECV, EXECVP, EXECVE };

static int gathered(enum family function, const char *program, const char *first, va_list *rest)
{
    va_list ahead;
    size_t total;

    va_copy(ahead, *rest);
    total = count(first, &ahead);
    va_end(ahead);
    {
        char *argv[total + 1];

        gather(argv, total, first, rest);
        switch (function) {
        case EXECV:
            return kinject_execv(program, argv);
        case EXECVP:
            return kinject_execvp(program, argv);
        default:
            return kinject_execve(program, argv, va_arg(*rest, char **));
        }
    }
}

int kinject_execl(const char *path, const char *first, ...)
{
    va_list rest;
    int result;

    va_start(rest, first);
    result = gathered(EXECV, path, first, &rest);
    va_end(rest);
    return result;
}

int kinject_execlp(const char *file, const char *first, ...)
{
    va_list rest;
    int result;

    va_start(rest, first);
    result = gathered(EXECVP, file, first, &rest);
    va_end(rest);
    return result;
}

int kinject_execle(const char *path, const char *first, ...)
{
    va_list rest;
    int result;

    va_start(rest, first);
    result = gathered(EXECVE, path, first, &rest);
    va_end(rest);
    return result;
}
