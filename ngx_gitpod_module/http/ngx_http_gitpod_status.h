
/*
 * The status page is written once and comes out as HTML or as JSON: sections
 * of rows, whose columns have names.  A part of the module that has something
 * to show adds a function to the table in ngx_http_gitpod_status.c.
 */


#ifndef _NGX_HTTP_GITPOD_STATUS_H_INCLUDED_
#define _NGX_HTTP_GITPOD_STATUS_H_INCLUDED_


#include "ngx_http_gitpod_probe.h"
#include "ngx_gitpod_zone.h"


typedef struct {
    u_char               *p;
    u_char               *last;
    ngx_http_request_t   *request;
    ngx_gitpod_zone_t    *zone;
    const char          **column;           /* of the next cell */
    const char          **columns;
    ngx_uint_t            sections;
    ngx_uint_t            rows;             /* of this section */
    unsigned              html:1;
    unsigned              full:1;           /* there is no room for more */
} ngx_http_gitpod_status_t;


/* title: lower case, it is the member's name too; columns: up to a NULL. */
void ngx_http_gitpod_status_section(ngx_http_gitpod_status_t *s,
    const char *title, const char **columns);
void ngx_http_gitpod_status_end(ngx_http_gitpod_status_t *s);

/* NGX_DECLINED: the page is full; go to the end of the section. */
ngx_int_t ngx_http_gitpod_status_row(ngx_http_gitpod_status_t *s);

/* The cells of a row, one for each column. */
void ngx_http_gitpod_status_text(ngx_http_gitpod_status_t *s,
    const char *text);
void ngx_http_gitpod_status_str(ngx_http_gitpod_status_t *s,
    ngx_str_t *text);
void ngx_http_gitpod_status_number(ngx_http_gitpod_status_t *s,
    uint64_t number);
void ngx_http_gitpod_status_truth(ngx_http_gitpod_status_t *s,
    ngx_uint_t truth);


/* Sections of other files. */
void ngx_http_gitpod_status_checks(ngx_http_gitpod_status_t *s);
void ngx_http_gitpod_status_redis(ngx_http_gitpod_status_t *s);
void ngx_http_gitpod_status_tables(ngx_http_gitpod_status_t *s);
void ngx_http_gitpod_status_workers(ngx_http_gitpod_status_t *s);
void ngx_http_gitpod_status_flags(ngx_http_gitpod_status_t *s);
void ngx_http_gitpod_breaker_status(ngx_http_gitpod_status_t *s);
void ngx_http_gitpod_limit_status(ngx_http_gitpod_status_t *s);


#endif /* _NGX_HTTP_GITPOD_STATUS_H_INCLUDED_ */
