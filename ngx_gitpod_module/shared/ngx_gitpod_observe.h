
/*
 * How long requests took and how they ended, by class.  Classes are names of
 * the configuration, so their number is bounded; what a request is called
 * never decides about a label.
 *
 * Counters are sharded by worker: an atomic add on a cache line that other
 * workers rarely touch.  A scrape sums the shards.
 */


#ifndef _NGX_GITPOD_OBSERVE_H_INCLUDED_
#define _NGX_GITPOD_OBSERVE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


#define NGX_GITPOD_CLASSES_MAX      12
#define NGX_GITPOD_CLASS_NAME_MAX   16      /* bytes, with the null */
#define NGX_GITPOD_BUCKETS_N        15      /* the last: all that is longer */
#define NGX_GITPOD_SHARDS_N         8
#define NGX_GITPOD_TRACE_LEN        32      /* hex digits */
#define NGX_GITPOD_NO_CLASS         NGX_GITPOD_CLASSES_MAX


typedef struct {
    ngx_atomic_t               buckets[NGX_GITPOD_BUCKETS_N];
    ngx_atomic_t               sum_ms;
} ngx_gitpod_histogram_t;


typedef struct {
    ngx_atomic_t               status[5];   /* 1xx to 5xx */
    ngx_gitpod_histogram_t     request;
    ngx_gitpod_histogram_t     upstream;    /* to the first byte */
} ngx_gitpod_class_t;


/* the last request of a bucket whose trace somebody may want to see */

typedef struct {
    uint64_t                   epoch_ms;    /* 0: none */
    uint64_t                   took_ms;
    u_char                     trace[NGX_GITPOD_TRACE_LEN];
} ngx_gitpod_exemplar_t;


typedef struct {
    char                       names[NGX_GITPOD_CLASSES_MAX]
                                    [NGX_GITPOD_CLASS_NAME_MAX];
    ngx_gitpod_class_t         shards[NGX_GITPOD_SHARDS_N]
                                     [NGX_GITPOD_CLASSES_MAX];
    ngx_gitpod_exemplar_t      exemplars[NGX_GITPOD_CLASSES_MAX]
                                        [NGX_GITPOD_BUCKETS_N];
} ngx_gitpod_observe_t;


/* The upper bounds of the buckets but the last, milliseconds. */
extern const uint32_t
    ngx_gitpod_bounds_ms[NGX_GITPOD_BUCKETS_N - 1];


/* The bucket of a duration. */
ngx_uint_t ngx_gitpod_bucket(uint64_t took_ms);

void ngx_gitpod_histogram_add(ngx_gitpod_histogram_t *histogram,
    uint64_t took_ms);


#endif /* _NGX_GITPOD_OBSERVE_H_INCLUDED_ */
