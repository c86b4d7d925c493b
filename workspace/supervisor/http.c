#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../control.h"
#include "api.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "core/contract.h"
#include "http.h"
#include "loop.h"
#include "task.h"
#include "user.h"

/*
 * HTTP/1.1, one request per connection. A connection reads its head, is
 * answered at once or waits for a change, writes, closes.
 */
#define SUP_HTTP_CONNECTIONS_MAX 64
#define SUP_HTTP_HEAD_MS 10000 /* a head must be here by then, an answer taken by then */
#define SUP_HTTP_WAIT_MS 60000 /* longest wait=true */
#define SUP_HTTP_ANSWER_MAX 262144

typedef struct sup_conn sup_conn_t;

struct sup_conn {
    sup_watch_t watch;
    sup_timer_t timer;
    int local;
    int waiting;
    sup_request_t request;
    char in[SUP_REQUEST_MAX];
    size_t in_len;
    gp_buf_t out;
    sup_conn_t *next;
};

static sup_watch_t sup_http_tcp = {.fd = -1};
static sup_watch_t sup_http_unix = {.fd = -1};
static sup_conn_t *sup_conns;
static unsigned sup_conns_n;


static void sup_conn_end(sup_conn_t *conn)
{
    sup_conn_t **p;
    int fd = conn->watch.fd;

    for (p = &sup_conns; *p != conn; p = &(*p)->next) {
    }
    *p = conn->next;
    sup_timer_clear(&conn->timer);
    sup_watch_clear(&conn->watch);
    if (fd >= 0) {
        (void) close(fd);
    }
    gp_buf_done(&conn->out);
    free(conn);
    sup_conns_n--;
}


static void sup_conn_timeout(sup_timer_t *timer)
{
    sup_conn_end(timer->data);
}


static void sup_conn_write(sup_watch_t *watch, uint32_t events)
{
    sup_conn_t *conn = watch->data;
    ssize_t n = send(watch->fd, conn->out.data, conn->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);

    (void) events;
    if (n < 0 && errno == EAGAIN) {
        return;
    }
    if (n > 0) {
        gp_buf_consume(&conn->out, (size_t) n);
        if (conn->out.len > 0) {
            return;
        }
        (void) shutdown(watch->fd, SHUT_WR);
    }
    sup_conn_end(conn);
}


static const char *sup_http_reason(int status)
{
    return status == 200 ? "OK" : status < 500 ? "Refused" : "Failed";
}


/* Takes the body. */
static void sup_conn_reply(sup_conn_t *conn, sup_reply_t *reply)
{
    gp_auto_json json_t *body = reply->body;
    gp_auto_free char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    gp_err_t err = GP_ERR_INIT;

    conn->waiting = 0;
    if (!text ||
        gp_buf_printf(&conn->out,
                      "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                      "Cache-Control: no-store\r\nConnection: close\r\n\r\n%s",
                      reply->status, sup_http_reason(reply->status), strlen(text), text) < 0 ||
        sup_watch_set(&conn->watch, conn->watch.fd, EPOLLOUT, sup_conn_write, conn, &err) < 0) {
        sup_conn_end(conn);
        return;
    }
    sup_timer_set(&conn->timer, SUP_HTTP_HEAD_MS, sup_conn_timeout, conn);
    sup_conn_write(&conn->watch, EPOLLOUT); /* mostly it fits at once */
}


static void sup_conn_attach(sup_conn_t *conn, const char *task)
{
    static const char switching[] = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: terminal\r\n\r\n";
    sup_reply_t reply = {0};
    gp_err_t err = GP_ERR_INIT;
    int fd = dup(conn->watch.fd);

    if (fd < 0 || send(fd, switching, sizeof(switching) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t) sizeof(switching) - 1) {
        gp_close_fd(&fd);
        sup_conn_end(conn);
        return;
    }
    if (sup_task_attach(task, conn->request.rows, conn->request.columns, fd, &err) < 0) {
        (void) !send(conn->watch.fd, err.text, strlen(err.text), MSG_NOSIGNAL | MSG_DONTWAIT); /* the person reads it in the terminal */
    }
    (void) reply;
    sup_conn_end(conn);
}


static void sup_conn_decide(sup_conn_t *conn, int last)
{
    sup_reply_t reply = {0};

    switch (sup_api_answer(&conn->request, conn->local, last, &reply)) {
    case SUP_API_WAIT:
        conn->waiting = 1;
        break;
    case SUP_API_ATTACH:
        sup_conn_attach(conn, reply.task);
        break;
    default:
        sup_conn_reply(conn, &reply);
    }
}


static void sup_conn_last(sup_timer_t *timer)
{
    sup_conn_decide(timer->data, 1);
}


void sup_http_wake(void)
{
    sup_conn_t *conn, *next;

    for (conn = sup_conns; conn; conn = next) {
        next = conn->next;
        if (conn->waiting) {
            sup_conn_decide(conn, 0);
        }
    }
}


static void sup_conn_refuse(sup_conn_t *conn)
{
    sup_reply_t reply = {
        .status = 400, .body = json_pack("{s:i, s:s}", "code", GP_INVALID_ARGUMENT, "message", "this is not an HTTP/1.1 request we take")};

    sup_conn_reply(conn, &reply);
}


static void sup_conn_read(sup_watch_t *watch, uint32_t events)
{
    sup_conn_t *conn = watch->data;
    ssize_t n;
    int rc;

    (void) events;
    if (conn->waiting) {
        char byte[64];

        n = recv(watch->fd, byte, sizeof(byte), MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            sup_conn_end(conn); /* it gave up waiting */
        }
        return;
    }
    n = recv(watch->fd, conn->in + conn->in_len, sizeof(conn->in) - conn->in_len, MSG_DONTWAIT);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN) {
            sup_conn_end(conn);
        }
        return;
    }
    conn->in_len += (size_t) n;
    rc = sup_request_parse(conn->in, conn->in_len, &conn->request);
    if (rc == 0) {
        return;
    }
    if (rc < 0) {
        sup_conn_refuse(conn);
        return;
    }
    sup_timer_set(&conn->timer, SUP_HTTP_WAIT_MS, sup_conn_last, conn);
    sup_conn_decide(conn, 0);
}


static void sup_http_accept(sup_watch_t *watch, uint32_t events)
{
    int fd = accept4(watch->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    gp_err_t err = GP_ERR_INIT;
    sup_conn_t *conn;

    (void) events;
    if (fd < 0) {
        return;
    }
    conn = sup_conns_n < SUP_HTTP_CONNECTIONS_MAX ? calloc(1, sizeof(*conn)) : NULL;
    if (!conn) {
        (void) close(fd);
        return;
    }
    conn->watch.fd = -1;
    conn->local = watch == &sup_http_unix;
    conn->next = sup_conns;
    gp_buf_init(&conn->out, SUP_HTTP_ANSWER_MAX);
    sup_conns = conn;
    sup_conns_n++;
    if (sup_watch_set(&conn->watch, fd, EPOLLIN, sup_conn_read, conn, &err) < 0) {
        (void) close(fd);
        sup_conn_end(conn);
        return;
    }
    sup_timer_set(&conn->timer, SUP_HTTP_HEAD_MS, sup_conn_timeout, conn);
}


static int sup_http_listen(int fd, const void *addr, socklen_t len, sup_watch_t *watch, const char *name, gp_err_t *err)
{
    if (bind(fd, addr, len) < 0 || listen(fd, SUP_HTTP_CONNECTIONS_MAX) < 0) {
        return gp_err_errno(err, errno, "listening on %s", name);
    }

    return sup_watch_set(watch, fd, EPOLLIN, sup_http_accept, NULL, err);
}


int sup_http_start(gp_err_t *err)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(GP_PORT_SUPERVISOR), .sin_addr.s_addr = htonl(INADDR_ANY)};
    gp_auto_fd int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int rc, one = 1;

    if (fd < 0) {
        return gp_err_errno(err, errno, "listening");
    }
    (void) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    rc = sup_http_listen(fd, &in, sizeof(in), &sup_http_tcp, "0.0.0.0:22999", err);
    if (rc == 0) {
        fd = -1;
    }

    return rc;
}


int sup_http_start_local(gp_err_t *err)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = GP_CONTROL_SOCKET};
    gp_auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int rc;

    if (fd < 0 || (mkdir("/run", 0755) < 0 && errno != EEXIST) || (mkdir(GP_CONTROL_DIR, 0755) < 0 && errno != EEXIST)) {
        return gp_err_errno(err, errno, "making " GP_CONTROL_DIR);
    }
    (void) unlink(un.sun_path); /* of an earlier start */
    rc = sup_http_listen(fd, &un, sizeof(un), &sup_http_unix, un.sun_path, err);
    if (rc < 0) {
        return rc;
    }
    fd = -1;
    if (chmod(un.sun_path, 0660) < 0 || chown(un.sun_path, 0, sup_user()->gid) < 0) {
        return gp_err_errno(err, errno, "giving %s to the workspace user", un.sun_path);
    }

    return 0;
}
