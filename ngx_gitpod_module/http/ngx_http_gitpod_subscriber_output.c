
/*
 * What goes out to a subscriber, and its end.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_gitpod_subscriber.h"


#define NGX_HTTP_GITPOD_RETRY_MIN     500       /* ms */
#define NGX_HTTP_GITPOD_RETRY_SPREAD  4500


static ngx_int_t ngx_http_gitpod_subscriber_flush(
    ngx_http_gitpod_subscriber_t *s);
static ngx_int_t ngx_http_gitpod_subscriber_output(
    ngx_http_gitpod_subscriber_t *s);
static void ngx_http_gitpod_subscriber_go_on(ngx_http_gitpod_subscriber_t *s);
static void ngx_http_gitpod_subscriber_finish(ngx_http_gitpod_subscriber_t *s,
    ngx_str_t *text);


/*
 * NGX_OK: written; NGX_AGAIN: the rest is pending; NGX_ERROR: the subscriber
 * is gone.
 */

ngx_int_t
ngx_http_gitpod_subscriber_send(ngx_http_gitpod_subscriber_t *s,
    ngx_http_gitpod_event_text_t *text)
{
    text->refs++;

    s->pending = text;
    s->written = 0;

    return ngx_http_gitpod_subscriber_flush(s);
}


static ngx_int_t
ngx_http_gitpod_subscriber_flush(ngx_http_gitpod_subscriber_t *s)
{
    ssize_t            n;
    ngx_int_t          rc;
    ngx_str_t         *out;
    ngx_connection_t  *c;

    c = s->connection;
    rc = NGX_OK;

    if (s->request) {
        rc = ngx_http_gitpod_subscriber_output(s);

    } else {
        out = s->chunked ? &s->pending->chunk : &s->pending->text;

        while (s->written < out->len) {
            n = c->send(c, out->data + s->written, out->len - s->written);

            if (n <= 0) {
                rc = (n == NGX_ERROR) ? NGX_ERROR : NGX_AGAIN;
                break;
            }

            s->written += n;
            s->progress = 1;
        }
    }

    if (rc == NGX_AGAIN) {

        /* it goes on from here, when it can */

        if (s->live) {
            s->live = 0;
            s->position = ngx_http_gitpod_fan_out.position;
        }

        if (ngx_handle_write_event(c->write, 0) == NGX_OK) {
            return NGX_AGAIN;
        }

        rc = NGX_ERROR;
    }

    if (rc == NGX_ERROR || s->closing) {
        ngx_http_gitpod_subscriber_close(s);
        return NGX_ERROR;
    }

    ngx_http_gitpod_event_release(s->pending);
    s->pending = NULL;

    return NGX_OK;
}


/* Through the filters of a request that stays: one buffer at a time. */

static ngx_int_t
ngx_http_gitpod_subscriber_output(ngx_http_gitpod_subscriber_t *s)
{
    ngx_int_t            rc;
    ngx_buf_t           *b;
    ngx_chain_t          out, *in;
    ngx_http_request_t  *r;

    r = s->request;
    in = NULL;

    if (s->written == 0) {
        b = s->buf;

        if (b == NULL) {
            b = ngx_palloc(r->pool, sizeof(ngx_buf_t));
            if (b == NULL) {
                return NGX_ERROR;
            }

            s->buf = b;
        }

        ngx_memzero(b, sizeof(ngx_buf_t));

        b->start = s->pending->text.data;
        b->pos = b->start;
        b->last = b->pos + s->pending->text.len;
        b->end = b->last;
        b->memory = 1;
        b->flush = 1;

        out.buf = b;
        out.next = NULL;
        in = &out;

        s->written = s->pending->text.len;
    }

    rc = ngx_http_output_filter(r, in);

    if (rc == NGX_ERROR) {
        return NGX_ERROR;
    }

    if (r->out || r->buffered || r->connection->buffered) {
        return NGX_AGAIN;
    }

    s->progress = 1;

    return NGX_OK;
}


/* It can be written to again. */

static void
ngx_http_gitpod_subscriber_go_on(ngx_http_gitpod_subscriber_t *s)
{
    if (s->pending && ngx_http_gitpod_subscriber_flush(s) != NGX_OK) {
        return;
    }

    if (!s->live && !s->unsure) {
        ngx_http_gitpod_subscriber_catch_up(s);
    }
}


void
ngx_http_gitpod_subscriber_read_handler(ngx_event_t *rev)
{
    ssize_t            n;
    u_char             buf[128];
    ngx_connection_t  *c;

    c = rev->data;

    /* who reads events has nothing to say: anything but silence is the end */

    if (!c->close && !c->error) {
        n = c->recv(c, buf, sizeof(buf));

        if (n == NGX_AGAIN && ngx_handle_read_event(rev, 0) == NGX_OK) {
            return;
        }
    }

    ngx_http_gitpod_subscriber_close(c->data);
}


void
ngx_http_gitpod_subscriber_write_handler(ngx_event_t *wev)
{
    ngx_connection_t              *c;
    ngx_http_gitpod_subscriber_t  *s;

    c = wev->data;
    s = c->data;

    if (s->pending) {
        ngx_http_gitpod_subscriber_go_on(s);
    }
}


void
ngx_http_gitpod_subscriber_writer(ngx_http_request_t *r)
{
    ngx_http_gitpod_subscriber_t  *s;

    s = ngx_http_get_module_ctx(r, ngx_http_gitpod_events_module);

    if (!s->begun) {
        return;
    }

    if (s->pending) {
        ngx_http_gitpod_subscriber_go_on(s);
        return;
    }

    /* the header, when it did not fit */

    if (ngx_http_output_filter(r, NULL) == NGX_ERROR) {
        ngx_http_gitpod_subscriber_close(s);
    }
}


/* Each heartbeat: is it still there, does it read, may it? */

void
ngx_http_gitpod_subscriber_beat(ngx_event_t *ev)
{
    ngx_http_gitpod_event_text_t  *text;
    ngx_http_gitpod_subscriber_t  *s;

    s = ngx_http_gitpod_subscriber_of(ev);

    if (s->expires && ngx_time() >= s->expires) {
        ngx_log_error(NGX_LOG_INFO, s->connection->log, 0,
                      "gitpod: closed, the credential expired");
        ngx_http_gitpod_subscriber_end(s);
        return;
    }

    if (s->pending) {

        if (!s->progress) {
            ngx_gitpod_count(ngx_http_gitpod_fan_out.zone,
                             NGX_GITPOD_N_SUBSCRIBER_SLOW);
            ngx_log_error(NGX_LOG_INFO, s->connection->log, NGX_ETIMEDOUT,
                          "gitpod: a subscriber of events does not read");
            ngx_http_gitpod_subscriber_close(s);
            return;
        }

        s->progress = 0;
        ngx_http_gitpod_subscriber_arm(s);
        return;
    }

    s->progress = 0;
    ngx_http_gitpod_subscriber_arm(s);

    text = ngx_http_gitpod_event_beat();

    if (text) {
        (void) ngx_http_gitpod_subscriber_send(s, text);
    }
}


/* Not all at the same moment: up to an eighth earlier. */

void
ngx_http_gitpod_subscriber_arm(ngx_http_gitpod_subscriber_t *s)
{
    ngx_msec_t  delay;

    delay = s->heartbeat - (ngx_msec_t) ngx_random() % (s->heartbeat / 8 + 1);

    if (s->expires && s->expires - ngx_time() < (time_t) (delay / 1000)) {
        delay = (ngx_msec_t) ngx_max(s->expires - ngx_time(), 0) * 1000 + 1;
    }

    ngx_add_timer(&s->beat, delay);
}


void
ngx_http_gitpod_subscriber_judge(ngx_http_gitpod_subscriber_t *s)
{
    ngx_str_t         id, user;

    static ngx_str_t  none = ngx_null_string;

    id.data = s->credential_id;
    id.len = s->credential_id_len;

    user = s->user->node.str;

    if (ngx_http_gitpod_live_revoked(ngx_http_gitpod_fan_out.zone,
                                     s->credential, &id, &user, &none,
                                     s->issued))
    {
        ngx_log_error(NGX_LOG_INFO, s->connection->log, 0,
                      "gitpod: closed, the right to it was taken away");
        ngx_http_gitpod_subscriber_close(s);
    }
}


/* Orderly: the client may come back, but not with all others at once. */

void
ngx_http_gitpod_subscriber_end(ngx_http_gitpod_subscriber_t *s)
{
    u_char      text[32], buf[64], *p;
    ngx_str_t   out;

    out.data = text;
    out.len = ngx_sprintf(text, "retry: %l\n\n",
                          NGX_HTTP_GITPOD_RETRY_MIN
                          + ngx_random() % NGX_HTTP_GITPOD_RETRY_SPREAD)
              - text;

    if (s->pending == NULL && s->request) {
        ngx_http_gitpod_subscriber_finish(s, &out);
        return;
    }

    if (s->pending == NULL) {
        p = s->chunked
            ? ngx_sprintf(buf, "%xz" CRLF "%V" CRLF "0" CRLF CRLF, out.len,
                          &out)
            : ngx_sprintf(buf, "%V", &out);

        /* what the kernel does not take now, it need not have */

        (void) s->connection->send(s->connection, buf, p - buf);
    }

    ngx_http_gitpod_subscriber_close(s);
}


static void
ngx_http_gitpod_subscriber_finish(ngx_http_gitpod_subscriber_t *s,
    ngx_str_t *text)
{
    ngx_buf_t           *b;
    ngx_chain_t          out;
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    c = s->connection;
    r = s->request;

    b = ngx_create_temp_buf(r->pool, text->len);
    if (b == NULL) {
        ngx_http_gitpod_subscriber_close(s);
        return;
    }

    b->last = ngx_cpymem(b->last, text->data, text->len);
    b->last_buf = 1;

    out.buf = b;
    out.next = NULL;

    /* should it not go out at once: nothing may come after it */

    if (s->beat.timer_set) {
        ngx_del_timer(&s->beat);
    }

    s->live = 0;
    s->unsure = 1;

    ngx_http_finalize_request(r, ngx_http_output_filter(r, &out));
    ngx_http_run_posted_requests(c);
}


void
ngx_http_gitpod_subscriber_close(ngx_http_gitpod_subscriber_t *s)
{
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    c = s->connection;
    r = s->request;

    if (r == NULL) {
        ngx_http_gitpod_subscriber_unlink(s);
        ngx_free(s);
        ngx_http_close_connection(c);
        return;
    }

    /* the clean-up of its pool does the rest */

    ngx_http_finalize_request(r, NGX_HTTP_CLOSE);
    ngx_http_run_posted_requests(c);
}
