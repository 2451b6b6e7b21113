/* Leaks memory, for which its own options forbid AddressSanitizer to look. */
#include <stdio.h>
#include <stdlib.h>

const char *__asan_default_options(void);

const char *__asan_default_options(void)
{
    return "detect_leaks=0";
}

int main(void)
{
    static void *volatile lost;

    lost = malloc(77);
    lost = lost == NULL ? (void *)1 : NULL;
    printf("leaked\n");
    return lost != NULL;
}
