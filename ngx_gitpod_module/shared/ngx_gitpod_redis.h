
/*
 * One connection to Redis on nginx's sockets and events; hiredis formats
 * commands and parses replies, no more.  RESP2.
 */


#ifndef _NGX_GITPOD_REDIS_H_INCLUDED_
#define _NGX_GITPOD_REDIS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_connect.h>

#include <hiredis/hiredis.h>


#define NGX_GITPOD_REDIS_OUT_MAX    4096        /* bytes of unsent commands */
#define NGX_GITPOD_REDIS_REPLY_MAX  8388608     /* bytes of one reply */
#define NGX_GITPOD_REDIS_ARRAY_MAX  65536       /* elements of one array */
#define NGX_GITPOD_REDIS_SLICE_US   1000        /* a turn takes no longer */


typedef struct ngx_gitpod_redis_s  ngx_gitpod_redis_t;


/*
 * Takes the reply (freeReplyObject).  NGX_AGAIN: no more for now, call
 * ngx_gitpod_redis_resume(); NGX_ERROR: the connection is closed already.
 */
typedef ngx_int_t (*ngx_gitpod_redis_reply_pt)(ngx_gitpod_redis_t *redis,
    redisReply *reply);

/* The connection is gone, or never came; the text says why. */
typedef void (*ngx_gitpod_redis_lost_pt)(ngx_gitpod_redis_t *redis,
    const char *why);


struct ngx_gitpod_redis_s {
    ngx_peer_connection_t       peer;
    ngx_str_t                   name;
    ngx_gitpod_redis_reply_pt   reply;
    ngx_gitpod_redis_lost_pt    lost;
    void                       *data;
    ngx_log_t                  *log;

    /* a socket that is not there is no news after the first time */
    ngx_log_t                   quiet;

    redisReader                *reader;
    size_t                      fed;        /* bytes since the last reply */
    size_t                      out_len;
    size_t                      out_sent;

    unsigned                    connected:1;
    unsigned                    paused:1;

    u_char                      out[NGX_GITPOD_REDIS_OUT_MAX];
};


/* NGX_OK: it will call back; NGX_ERROR: it has called "lost". */
ngx_int_t ngx_gitpod_redis_connect(ngx_gitpod_redis_t *redis,
    ngx_addr_t *addr);

void ngx_gitpod_redis_close(ngx_gitpod_redis_t *redis);

/* NGX_ERROR: it has called "lost". */
ngx_int_t ngx_gitpod_redis_send(ngx_gitpod_redis_t *redis, int argc,
    const char **argv, const size_t *lens);

/* After NGX_AGAIN from the reply handler. */
void ngx_gitpod_redis_resume(ngx_gitpod_redis_t *redis);


#endif /* _NGX_GITPOD_REDIS_H_INCLUDED_ */
