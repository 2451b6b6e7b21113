/* NAME PORT [overflow|leak|race|shift]: what NAME:PORT says, for builds with a sanitizer; then a fault for it to find, if one is asked for. */
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int shared;

static void *count(void *unused)
{
    (void)unused;
    for (int i = 0; i < 1000; i++)
        shared++;
    return NULL;
}

int main(int argc, char **argv)
{
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *list;
    int code = getaddrinfo(argv[1], argv[2], &hints, &list);
    int stream = socket(AF_INET, SOCK_STREAM, 0);
    char text[64] = "";

    if (code != 0) {
        printf("getaddrinfo: %s\n", gai_strerror(code));
        return 1;
    }
    if (connect(stream, list->ai_addr, list->ai_addrlen) != 0) {
        perror("connect");
        return 1;
    }
    freeaddrinfo(list);
    if (recv(stream, text, sizeof text - 1, MSG_WAITALL) > 0)
        printf("%s", text);
    fflush(stdout);
    if (argc > 3 && strcmp(argv[3], "overflow") == 0) {
        /* a call with a hook writes behind the buffer */
        int pair[2];
        char *room = malloc(8);

        if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0 || write(pair[0], "0123456789abcdef", 16) != 16)
            return 1;
        printf("%zd bytes for 8\n", recv(pair[1], room, (size_t)atoi("16"), 0));
        free(room);
    }
    if (argc > 3 && strcmp(argv[3], "leak") == 0) {
        static void *volatile lost;

        lost = malloc(77);
        lost = lost == NULL ? (void *)1 : NULL;
    }
    if (argc > 3 && strcmp(argv[3], "race") == 0) {
        pthread_t thread;

        if (pthread_create(&thread, NULL, count, NULL) != 0)
            return 1;
        count(NULL);
        pthread_join(thread, NULL);
    }
    if (argc > 3 && strcmp(argv[3], "shift") == 0)
        shared = 1 << atoi("40");
    close(stream);
    return 0;
}
