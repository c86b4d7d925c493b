/*
 * Both ends for bench/websocket.sh.
 *
 *   websocket serve ADDRESS PORT          takes every Upgrade, then echoes bytes
 *   websocket load PORT HOST COOKIE       commands by lines on stdin:
 *
 *     open N            N connections more; "open TOTAL"
 *     talk N SECONDS    the first N send a message each, and the next one when it
 *                       is back; "talked MESSAGES"
 *     check             one message on every connection; "checked GOOD OF TOTAL"
 *
 * A message is one masked frame of 64 bytes with a number; what comes back must
 * be the same bytes, else, or when a connection ends, the program says so and
 * exits with 1.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FDS_MAX 20000
#define PAYLOAD 64
#define FRAME (2 + 4 + PAYLOAD)
#define HEAD_MAX 2048
#define OPENING_MAX 64 /* so that the listen queue holds them */
#define ANSWER_S 10

struct peer {
    bool upgraded;
    bool waits;
    uint64_t number;
    size_t len; /* of what came of the head, or of the frame */
    char in[HEAD_MAX];
};

static struct peer *peers[FDS_MAX];
static int all[FDS_MAX];
static size_t n_all, n_upgraded, n_waiting;
static uint64_t n_messages;
static int ep;

static void die(const char *what)
{
    fprintf(stderr, "websocket: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t) t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void add(int fd)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};

    if (fd < 0 || fd >= FDS_MAX || (peers[fd] = calloc(1, sizeof(struct peer))) == NULL || epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) != 0) {
        die("a connection too many");
    }
}

/* True when the head is complete; *rest is what follows it. */
static bool head(struct peer *p, const char *buf, size_t n, size_t *rest)
{
    char *end;
    size_t take = n < HEAD_MAX - 1 - p->len ? n : HEAD_MAX - 1 - p->len, before = p->len;

    memcpy(p->in + p->len, buf, take);
    p->len += take;
    p->in[p->len] = '\0';
    if ((end = strstr(p->in, "\r\n\r\n")) == NULL) {
        if (p->len == HEAD_MAX - 1) {
            die("a head that does not end");
        }
        return false;
    }
    *rest = n - ((size_t) (end + 4 - p->in) - before);
    p->len = 0;
    return true;
}

/* ---- serve ---- */

static void echo(int fd)
{
    static char buf[65536];
    static const char answer[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    struct peer *p = peers[fd];
    ssize_t n = read(fd, buf, sizeof(buf));
    size_t rest = (size_t) n;

    if (n <= 0) {
        close(fd);
        free(p);
        peers[fd] = NULL;
        return;
    }
    if (!p->upgraded) {
        if (!head(p, buf, (size_t) n, &rest)) {
            return;
        }
        p->upgraded = true;
        if (write(fd, answer, sizeof(answer) - 1) < 0) {
            die("write");
        }
    }
    if (rest > 0 && write(fd, buf + n - rest, rest) != (ssize_t) rest) {
        die("write");
    }
}

static _Noreturn void serve(const char *address, const char *port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t) atoi(port))};
    struct epoll_event events[512];
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1, i, n, fd;

    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (inet_pton(AF_INET, address, &addr.sin_addr) != 1 || bind(listener, (struct sockaddr *) &addr, sizeof(addr)) != 0 ||
        listen(listener, 1024) != 0) {
        die("listen");
    }
    add(listener);
    for (;;) {
        n = epoll_wait(ep, events, 512, -1);
        for (i = 0; i < n; i++) {
            if (events[i].data.fd != listener) {
                echo(events[i].data.fd);
            } else {
                while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
                    add(fd);
                }
            }
        }
    }
}

/* ---- load ---- */

static void frame(const struct peer *p, int fd, char *out)
{
    static const unsigned char start[6] = {0x82, 0x80 | PAYLOAD, 1, 2, 3, 4};

    memcpy(out, start, sizeof(start));
    memset(out + sizeof(start), 'a' + fd % 26, PAYLOAD);
    memcpy(out + sizeof(start), &p->number, sizeof(p->number));
}

static void say(int fd)
{
    char out[FRAME];
    struct peer *p = peers[fd];

    p->number++;
    p->waits = true;
    n_waiting++;
    frame(p, fd, out);
    if (write(fd, out, FRAME) != FRAME) {
        die("write");
    }
}

/* Takes what came; a message that is back is compared. */
static void take(int fd)
{
    char want[FRAME], buf[4096];
    struct peer *p = peers[fd];
    ssize_t n = read(fd, buf, sizeof(buf));
    size_t rest = (size_t) n;

    if (n <= 0) {
        die("a connection ended");
    }
    if (!p->upgraded) {
        if (!head(p, buf, (size_t) n, &rest)) {
            return;
        }
        if (strncmp(p->in, "HTTP/1.1 101 ", 13) != 0) {
            fprintf(stderr, "websocket: %.60s\n", p->in);
            exit(1);
        }
        p->upgraded = true;
        n_upgraded++;
    }
    if (rest == 0) {
        return;
    }
    if (!p->waits || p->len + rest > FRAME) {
        errno = 0;
        die("bytes that nobody sent");
    }
    memcpy(p->in + p->len, buf + n - rest, rest);
    p->len += rest;
    if (p->len < FRAME) {
        return;
    }
    frame(p, fd, want);
    if (memcmp(want, p->in, FRAME) != 0) {
        errno = 0;
        die("a message came back changed");
    }
    p->len = 0;
    p->waits = false;
    n_waiting--;
    n_messages++;
}

static void dial(const char *port, const char *host, const char *cookie)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t) atoi(port)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char request[4096];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), n;

    if (fd < 0 || connect(fd, (struct sockaddr *) &addr, sizeof(addr)) != 0) {
        die("connect");
    }
    n = snprintf(
        request, sizeof(request),
        "GET /stable?reconnectionToken=%08x&reconnection=false HTTP/1.1\r\nHost: %s\r\nOrigin: http://%s:%s\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64) Chrome/120\r\nAccept-Language: en\r\nCookie: %s\r\n\r\n",
        (unsigned) fd, host, host, port, cookie);
    if (n >= (int) sizeof(request) || write(fd, request, (size_t) n) != n) {
        die("write");
    }
    add(fd);
    all[n_all++] = fd;
}

/* Until nothing is waited for; false after ANSWER_S without anything. */
static bool wait_for(size_t *count, size_t want)
{
    struct epoll_event events[512];
    int64_t end = now_ms() + ANSWER_S * 1000;
    int n, i;

    while (*count != want) {
        n = epoll_wait(ep, events, 512, 100);
        for (i = 0; i < n; i++) {
            take(events[i].data.fd);
        }
        if (n > 0) {
            end = now_ms() + ANSWER_S * 1000;
        } else if (now_ms() > end) {
            return false;
        }
    }
    return true;
}

static void open_more(size_t n, char **argv)
{
    size_t i;

    for (i = 0; i < n; i++) {
        dial(argv[2], argv[3], argv[4]);
        if ((i + 1) % OPENING_MAX == 0 && !wait_for(&n_upgraded, n_all)) {
            die("an Upgrade without an answer");
        }
    }
    if (!wait_for(&n_upgraded, n_all)) {
        die("an Upgrade without an answer");
    }
    printf("open %zu\n", n_all);
}

static void talk(size_t busy, unsigned seconds)
{
    struct epoll_event events[512];
    int64_t end = now_ms() + (int64_t) seconds * 1000;
    int n, i;
    size_t k;

    n_messages = 0;
    for (k = 0; k < busy && k < n_all; k++) {
        say(all[k]);
    }
    while (now_ms() < end) {
        n = epoll_wait(ep, events, 512, 100);
        for (i = 0; i < n; i++) {
            take(events[i].data.fd);
            if (!peers[events[i].data.fd]->waits) {
                say(events[i].data.fd);
            }
        }
    }
    if (!wait_for(&n_waiting, 0)) {
        errno = 0;
        die("messages that did not come back");
    }
    printf("talked %llu\n", (unsigned long long) n_messages);
}

static void check(void)
{
    size_t i;

    n_messages = 0;
    for (i = 0; i < n_all; i++) {
        say(all[i]);
    }
    (void) wait_for(&n_waiting, 0);
    printf("checked %llu of %zu\n", (unsigned long long) n_messages, n_all);
}

static int load(char **argv)
{
    char line[64];
    unsigned long n, seconds;

    while (fgets(line, sizeof(line), stdin)) {
        if (sscanf(line, "open %lu", &n) == 1) {
            open_more(n, argv);
        } else if (sscanf(line, "talk %lu %lu", &n, &seconds) == 2) {
            talk(n, (unsigned) seconds);
        } else if (strcmp(line, "check\n") == 0) {
            check();
        } else {
            return 2;
        }
        fflush(stdout);
    }
    return 0;
}

int main(int argc, char **argv)
{
    ep = epoll_create1(EPOLL_CLOEXEC);
    if (argc == 4 && strcmp(argv[1], "serve") == 0) {
        serve(argv[2], argv[3]);
    }
    if (argc == 5 && strcmp(argv[1], "load") == 0) {
        return load(argv);
    }
    return 2;
}
