
/*
 * A key set of a URL.  The holder of the lease fetches it, now and then and
 * when somebody waits for a key; every worker has it from shared memory.
 */


#ifndef _NGX_HTTP_GITPOD_KEY_URL_H_INCLUDED_
#define _NGX_HTTP_GITPOD_KEY_URL_H_INCLUDED_


#include "ngx_http_gitpod.h"
#include "ngx_http_gitpod_fetch.h"
#include "ngx_http_gitpod_request.h"


typedef struct {
    ngx_http_gitpod_fetch_conf_t  from;         /* url.len 0: none */
    uint64_t                      source;       /* hash of its url */
    ngx_str_t                     certificate;  /* of whom to trust */
    ngx_msec_t                    interval;
    ngx_msec_t                    again;        /* between two for a key */
    time_t                        grace;        /* a key left out counts on */
    time_t                        stale;        /* a set without news counts */
    ngx_str_t                     file;         /* snapshot; len 0: none */
    ngx_str_t                     file_new;     /* renamed when it is whole */
} ngx_http_gitpod_key_url_conf_t;


/* The keys of the URL of this configuration, or NULL. */
gp_jose_keys_t *ngx_http_gitpod_key_url_keys(ngx_http_request_t *r,
    ngx_gitpod_zone_t *zone);

/*
 * A token names a key that no set has.  NGX_AGAIN: the request waits for a
 * fetch and is run again; NGX_DECLINED: there is no such key; NGX_ERROR:
 * cannot tell.
 */
ngx_int_t ngx_http_gitpod_key_wait(ngx_http_request_t *r,
    ngx_http_gitpod_ctx_t *ctx, ngx_str_t *kid);

/* The key is there after all. */
void ngx_http_gitpod_key_found(ngx_http_gitpod_ctx_t *ctx);

/* snapshot=: a directory of its own, kept by the cache manager process. */
char *ngx_http_gitpod_key_file_conf(ngx_conf_t *cf, ngx_str_t *dir,
    ngx_http_gitpod_key_url_conf_t *kcf);


extern ngx_module_t  ngx_http_gitpod_key_url_module;


#endif /* _NGX_HTTP_GITPOD_KEY_URL_H_INCLUDED_ */
