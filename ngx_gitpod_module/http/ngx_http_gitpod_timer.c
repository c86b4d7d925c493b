
/*
 * Timers of a worker.  nginx names a timer in its debug log by the connection
 * it belongs to; these belong to none, and share one that stands for that.
 */


#include "ngx_http_gitpod.h"


static ngx_connection_t  ngx_http_gitpod_timer_dummy;


void
ngx_http_gitpod_timer_start(ngx_event_t *ev, ngx_event_handler_pt handler,
    ngx_msec_t ms)
{
    ngx_http_gitpod_timer_dummy.fd = (ngx_socket_t) -1;

    ev->handler = handler;
    ev->data = &ngx_http_gitpod_timer_dummy;
    ev->log = ngx_cycle->log;
    ev->cancelable = 1;

    ngx_add_timer(ev, ms);
}
