#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "probe.h"


int sup_probe_init(sup_probe_t *probe, const char *url, void *data, gp_err_t *err)
{
    const char *p = url, *path;
    unsigned long port;
    char *end;

    if (strncmp(p, "http://", 7) != 0) {
        return gp_err(err, GP_INVALID_ARGUMENT, "the editor's probe '%s' must be http://localhost:<port>/<path>", url);
    }
    p += 7;
    p += strcspn(p, ":/");
    port = *p == ':' ? strtoul(p + 1, &end, 10) : 0;
    path = *p == ':' ? end : p;
    if (port < 1 || port > 65535 || *path != '/' || strlen(path) >= SUP_PROBE_PATH_MAX || path[strcspn(path, " \r\n")]) {
        return gp_err(err, GP_INVALID_ARGUMENT, "the editor's probe '%s' must be http://localhost:<port>/<path>", url);
    }
    probe->port = (uint16_t) port;
    (void) snprintf(probe->path, sizeof(probe->path), "%s", path);
    probe->watch.fd = -1;
    probe->data = data;

    return 0;
}


int sup_probe_status(const char *answer, size_t len)
{
    if (len < 13 || memcmp(answer, "HTTP/1.", 7) != 0 || answer[8] != ' ') {
        return 0;
    }
    for (size_t i = 9; i < 12; i++) {
        if (answer[i] < '0' || answer[i] > '9') {
            return 0;
        }
    }

    return (answer[9] - '0') * 100 + (answer[10] - '0') * 10 + (answer[11] - '0');
}


void sup_probe_cancel(sup_probe_t *probe)
{
    int fd = probe->watch.fd;

    sup_timer_clear(&probe->timer);
    sup_watch_clear(&probe->watch);
    if (fd >= 0) {
        (void) close(fd);
    }
}


static void sup_probe_end(sup_probe_t *probe)
{
    int status = sup_probe_status(probe->answer, probe->len);
    const char *body;

    sup_probe_cancel(probe);
    probe->answer[probe->len] = '\0';
    body = strstr(probe->answer, "\r\n\r\n");
    probe->fn(probe, status, body ? body + 4 : "");
}


static void sup_probe_timeout(sup_timer_t *timer)
{
    sup_probe_end(timer->data);
}


static int sup_probe_send(sup_probe_t *probe)
{
    char text[SUP_PROBE_PATH_MAX + 128];
    int n;

    n = snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: localhost:%u\r\nConnection: close\r\n\r\n", probe->path, probe->port);
    probe->sent = 1;

    return send(probe->watch.fd, text, (size_t) n, MSG_NOSIGNAL) == n ? 0 : -1;
}


static void sup_probe_event(sup_watch_t *watch, uint32_t events)
{
    sup_probe_t *probe = watch->data;
    gp_err_t err = GP_ERR_INIT;
    ssize_t n;

    if (!probe->sent) {
        if ((events & (EPOLLERR | EPOLLHUP)) || sup_probe_send(probe) < 0 ||
            sup_watch_set(watch, watch->fd, EPOLLIN, sup_probe_event, probe, &err) < 0) {
            sup_probe_end(probe);
        }
        return;
    }
    n = recv(watch->fd, probe->answer + probe->len, sizeof(probe->answer) - 1 - probe->len, 0);
    if (n < 0 && errno == EAGAIN) {
        return;
    }
    if (n > 0) {
        probe->len += (size_t) n;
        if (probe->len < sizeof(probe->answer) - 1) {
            return; /* "Connection: close": the end comes */
        }
    }
    sup_probe_end(probe);
}


void sup_probe_start(sup_probe_t *probe, uint64_t timeout_ms, void (*fn)(sup_probe_t *, int, const char *))
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(probe->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    gp_err_t err = GP_ERR_INIT;
    int fd;

    sup_probe_cancel(probe);
    probe->fn = fn;
    probe->len = 0;
    probe->sent = 0;
    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        sup_probe_end(probe);
        return;
    }
    if ((connect(fd, (struct sockaddr *) &addr, sizeof(addr)) < 0 && errno != EINPROGRESS) ||
        sup_watch_set(&probe->watch, fd, EPOLLOUT, sup_probe_event, probe, &err) < 0) {
        (void) close(fd);
        sup_probe_end(probe);
        return;
    }
    sup_timer_set(&probe->timer, timeout_ms, sup_probe_timeout, probe);
}
