#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "forward.h"
#include "loop.h"

#define SUP_FORWARDS_MAX 64 /* forwarded ports */
#define SUP_FORWARD_PAIRS_MAX 256 /* connections over all of them */
#define SUP_FORWARD_BUF 16384 /* bytes on the way, per direction */

typedef struct {
    uint16_t port;
    int v6;
    uint32_t address;
    sup_watch_t watch;
} sup_forward_t;

/* One direction: what came from one side and the other has not taken. */
typedef struct {
    char data[SUP_FORWARD_BUF];
    size_t start, end;
    int eof; /* the side it comes from has ended; passed on when empty */
    int shut;
} sup_flow_t;

typedef struct {
    sup_watch_t side[2]; /* 0: who came, 1: the program */
    sup_flow_t flow[2]; /* flow[i] comes from side[i] */
    uint32_t events[2];
    int connected;
} sup_pair_t;

static sup_forward_t sup_forwards[SUP_FORWARDS_MAX];
static size_t sup_pairs_n;

static void sup_pair_event(sup_watch_t *watch, uint32_t events);


static uint32_t sup_forward_address(void)
{
    struct ifaddrs *list, *p;
    uint32_t address = 0;

    if (getifaddrs(&list) < 0) {
        return 0;
    }
    for (p = list; p && address == 0; p = p->ifa_next) {
        if (p->ifa_addr && p->ifa_addr->sa_family == AF_INET && (p->ifa_flags & IFF_UP) && !(p->ifa_flags & IFF_LOOPBACK)) {
            struct sockaddr_in in;

            memcpy(&in, p->ifa_addr, sizeof(in));
            address = in.sin_addr.s_addr;
        }
    }
    freeifaddrs(list);

    return address;
}


int sup_forward_is_ours(uint16_t port, uint32_t address)
{
    size_t i;

    for (i = 0; i < SUP_FORWARDS_MAX; i++) {
        if (sup_forwards[i].port == port && sup_forwards[i].address == address) {
            return 1;
        }
    }

    return 0;
}


static void sup_pair_end(sup_pair_t *pair)
{
    int i, fd;

    for (i = 0; i < 2; i++) {
        fd = pair->side[i].fd;
        sup_watch_clear(&pair->side[i]);
        if (fd >= 0) {
            (void) close(fd);
        }
    }
    free(pair);
    sup_pairs_n--;
}


/* Reads into an empty buffer, writes what is there. -1: the pair is over. */
static int sup_flow_move(sup_pair_t *pair, int from)
{
    sup_flow_t *flow = &pair->flow[from];
    int in = pair->side[from].fd, out = pair->side[!from].fd;
    ssize_t n;

    if (flow->start == flow->end && !flow->eof) {
        n = recv(in, flow->data, sizeof(flow->data), MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            return -1;
        }
        flow->eof = n == 0;
        flow->start = 0;
        flow->end = n > 0 ? (size_t) n : 0;
    }
    if (flow->start < flow->end) {
        n = send(out, flow->data + flow->start, flow->end - flow->start, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            return -1;
        }
        flow->start += n > 0 ? (size_t) n : 0;
    }
    if (flow->start == flow->end && flow->eof && !flow->shut) {
        flow->shut = 1;
        (void) shutdown(out, SHUT_WR); /* gone already: the other direction will tell */
    }

    return 0;
}


static int sup_pair_watch(sup_pair_t *pair)
{
    gp_err_t err = GP_ERR_INIT;
    uint32_t events;
    int i;

    for (i = 0; i < 2; i++) {
        events = pair->flow[i].start == pair->flow[i].end && !pair->flow[i].eof ? EPOLLIN : 0;
        events |= pair->flow[!i].start < pair->flow[!i].end ? EPOLLOUT : 0;
        if (events != pair->events[i]) {
            if (sup_watch_set(&pair->side[i], pair->side[i].fd, events, sup_pair_event, pair, &err) < 0) {
                return -1;
            }
            pair->events[i] = events;
        }
    }

    return 0;
}


static void sup_pair_event(sup_watch_t *watch, uint32_t events)
{
    sup_pair_t *pair = watch->data;
    int over = 0;

    if (!pair->connected) {
        if (events & (EPOLLERR | EPOLLHUP)) {
            sup_pair_end(pair);
            return;
        }
        pair->connected = 1;
    }
    over = (events & EPOLLERR) != 0;
    over |= sup_flow_move(pair, 0) < 0 || sup_flow_move(pair, 1) < 0;
    over |= pair->flow[0].shut && pair->flow[1].shut;
    /* A side that hung up in both directions would wake us for ever. */
    over |= (events & EPOLLHUP) && pair->flow[0].start == pair->flow[0].end && pair->flow[1].start == pair->flow[1].end;
    if (over || sup_pair_watch(pair) < 0) {
        sup_pair_end(pair);
    }
}


static int sup_pair_connect(const sup_forward_t *forward)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(forward->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(forward->port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    gp_auto_fd int fd = socket(forward->v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int rc, one = 1;

    if (fd < 0) {
        return -1;
    }
    (void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    rc = forward->v6 ? connect(fd, (struct sockaddr *) &in6, sizeof(in6)) : connect(fd, (struct sockaddr *) &in, sizeof(in));

    return rc < 0 && errno != EINPROGRESS ? -1 : gp_steal_fd(&fd);
}


static void sup_forward_accept(sup_watch_t *watch, uint32_t events)
{
    gp_auto_fd int came = accept4(watch->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    gp_auto_fd int program = -1;
    gp_err_t err = GP_ERR_INIT;
    sup_pair_t *pair;
    int one = 1;

    (void) events;
    if (came < 0 || sup_pairs_n >= SUP_FORWARD_PAIRS_MAX) {
        return;
    }
    program = sup_pair_connect(watch->data);
    pair = program < 0 ? NULL : calloc(1, sizeof(*pair));
    if (!pair) {
        return;
    }
    (void) setsockopt(came, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    sup_pairs_n++;
    pair->side[0].fd = -1;
    pair->side[1].fd = -1;
    pair->events[1] = EPOLLIN | EPOLLOUT;
    if (sup_watch_set(&pair->side[1], program, pair->events[1], sup_pair_event, pair, &err) < 0) {
        sup_pair_end(pair);
        return;
    }
    program = -1;
    if (sup_watch_set(&pair->side[0], came, 0, sup_pair_event, pair, &err) < 0) {
        sup_pair_end(pair);
        return;
    }
    came = -1;
}


static int sup_forward_listen(sup_forward_t *forward)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(forward->port), .sin_addr.s_addr = forward->address};
    gp_auto_fd int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    gp_err_t err = GP_ERR_INIT;
    int one = 1;

    if (fd < 0) {
        return -1;
    }
    (void) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *) &in, sizeof(in)) < 0 || listen(fd, 64) < 0 ||
        sup_watch_set(&forward->watch, fd, EPOLLIN, sup_forward_accept, forward, &err) < 0) {
        return -1;
    }
    fd = -1;

    return 0;
}


void sup_forward_open(uint16_t port, int v6)
{
    sup_forward_t *forward = NULL;
    size_t i;

    for (i = 0; i < SUP_FORWARDS_MAX; i++) {
        if (sup_forwards[i].port == port) {
            sup_forwards[i].v6 = v6;
            return;
        }
        if (sup_forwards[i].port == 0 && !forward) {
            forward = &sup_forwards[i];
        }
    }
    if (!forward) {
        return;
    }
    forward->address = sup_forward_address();
    forward->port = port;
    forward->v6 = v6;
    forward->watch.fd = -1;
    if (forward->address == 0 || sup_forward_listen(forward) < 0) {
        forward->port = 0; /* the next look tries again */
    }
}


void sup_forward_keep(int (*wanted)(uint16_t port))
{
    sup_forward_t *forward;
    size_t i;
    int fd;

    for (i = 0; i < SUP_FORWARDS_MAX; i++) {
        forward = &sup_forwards[i];
        if (forward->port == 0 || wanted(forward->port)) {
            continue;
        }
        fd = forward->watch.fd;
        sup_watch_clear(&forward->watch);
        (void) close(fd);
        forward->port = 0;
    }
}
