#include <fcgiapp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/*
 * The rival: libfcgi as it is meant to be used, eight threads in
 * FCGX_Accept_r(), each answering the page that test_echo answers on /page.
 */
#define THREADS 8
#define PAGE 512


static void *serve(void *data)
{
    FCGX_Request req;
    char page[PAGE];

    memset(page, 'x', sizeof(page));
    FCGX_InitRequest(&req, *(int *) data, 0);
    while (FCGX_Accept_r(&req) == 0) {
        FCGX_FPrintF(req.out, "Status: 200\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", PAGE);
        FCGX_PutStr(page, sizeof(page), req.out);
        FCGX_Finish_r(&req);
    }

    return NULL;
}


int main(int argc, char **argv)
{
    pthread_t threads[THREADS];
    int fd, i;

    if (argc != 2 || FCGX_Init() != 0) {
        return 2;
    }

    umask(0);
    fd = FCGX_OpenSocket(argv[1], 4096);
    if (fd < 0) {
        return 1;
    }

    for (i = 0; i < THREADS; i++) {
        if (pthread_create(&threads[i], NULL, serve, &fd) != 0) {
            return 1;
        }
    }
    for (i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }

    return 0;
}
