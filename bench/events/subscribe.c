/*
 * Subscribers for bench/events.sh: COUNT streams of GET /api/events over a unix
 * socket, the cookies of a file by turns. Prints "ready" when all stand; each
 * event's data begins {"t":<CLOCK_MONOTONIC in us>}, and the time until it was
 * read is kept. A line on stdin: the times since the last one go to OUT as
 * uint32_t, and "written N ENDED" is printed.
 *
 *   subscribe SOCKET HOST COOKIES COUNT OUT
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define COOKIES_MAX 20000
#define TIMES_MAX 8000000
#define READ_MAX 65536

static char *cookies[COOKIES_MAX];
static uint8_t *stands;
static uint32_t *times;
static size_t n_times, n_cookies, n_ready, n_ended;

static int64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t) t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void read_cookies(const char *path)
{
    FILE *file = fopen(path, "r");
    static char line[8192];

    if (!file) {
        die(path);
    }
    while (n_cookies < COOKIES_MAX && fgets(line, sizeof(line), file)) {
        line[strcspn(line, "\n")] = '\0';
        cookies[n_cookies++] = strdup(line);
    }
    fclose(file);
}

static int subscribe(const char *path, const char *host, const char *cookie)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    char request[8192];
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), n;

    (void) snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
    if (fd < 0 || connect(fd, (struct sockaddr *) &addr, sizeof(addr)) < 0) {
        die("connect");
    }
    n = snprintf(request, sizeof(request), "GET /api/events HTTP/1.1\r\nHost: %s\r\nCookie: %s\r\nAccept: text/event-stream\r\n\r\n", host,
                 cookie);
    if (write(fd, request, (size_t) n) != n) {
        die("write");
    }
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
        die("fcntl");
    }
    return fd;
}

static void take(int fd)
{
    static char buf[READ_MAX + 1];
    ssize_t n;
    char *p;

    /* A short read has read all: epoll tells of what comes later. */
    while ((n = read(fd, buf, READ_MAX)) > 0) {
        int64_t now = now_us();

        buf[n] = '\0';
        if (!stands[fd] && (p = strstr(buf, "\nid: ")) != NULL) {
            stands[fd] = 1;
            n_ready++;
        }
        for (p = buf; (p = strstr(p, "{\"t\":")) != NULL && n_times < TIMES_MAX; p++) {
            times[n_times++] = (uint32_t) (now - strtoll(p + 5, NULL, 10));
        }
        if (n < READ_MAX) {
            return;
        }
    }
    if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        n_ended++;
        close(fd);
    }
}

static void write_times(const char *path)
{
    FILE *file = fopen(path, "w");

    if (!file || fwrite(times, sizeof(*times), n_times, file) != n_times || fclose(file) != 0) {
        die(path);
    }
    printf("written %zu %zu\n", n_times, n_ended);
    fflush(stdout);
    n_times = 0;
}

int main(int argc, char **argv)
{
    struct epoll_event events[512], ev = {.events = EPOLLIN};
    size_t count, opened = 0;
    int ep = epoll_create1(EPOLL_CLOEXEC), told = 0, i, n;
    char line[64];

    if (argc != 6) {
        return 2;
    }
    read_cookies(argv[3]);
    count = strtoul(argv[4], NULL, 10);
    times = malloc(TIMES_MAX * sizeof(*times));
    stands = calloc(count + 1024, 1);
    epoll_ctl(ep, EPOLL_CTL_ADD, 0, &ev);
    for (;;) {
        /* a few at a time, so that the listen queue holds them */
        if (opened < count && opened - n_ready < 64) {
            ev.data.fd = subscribe(argv[1], argv[2], cookies[opened++ % n_cookies]);
            epoll_ctl(ep, EPOLL_CTL_ADD, ev.data.fd, &ev);
        }
        n = epoll_wait(ep, events, 512, opened < count && opened - n_ready < 64 ? 0 : 1000);
        for (i = 0; i < n; i++) {
            if (events[i].data.fd != 0) {
                take(events[i].data.fd);
            } else if (read(0, line, sizeof(line)) <= 0) {
                return 0;
            } else {
                write_times(argv[5]);
            }
        }
        if (!told && n_ready == count) {
            told = 1;
            printf("ready\n");
            fflush(stdout);
        }
    }
}
