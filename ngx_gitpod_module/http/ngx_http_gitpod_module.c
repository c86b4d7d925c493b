
/*
 * The zone, what feeds it, and the tick of every worker.
 */


#include <malloc.h>
#include <sys/prctl.h>

#include "ngx_http_gitpod.h"
#include "ngx_gitpod_feed.h"


#define NGX_HTTP_GITPOD_SNAPSHOT_MAX_AGE  86400     /* s */
#define NGX_HTTP_GITPOD_STAND_BACK_MS     1000      /* others tick faster */
#define NGX_HTTP_GITPOD_CONF_MMAP         NGX_CYCLE_POOL_SIZE  /* bytes */
#define NGX_HTTP_GITPOD_WORKER_MMAP       131072    /* bytes, as glibc's own */


static void ngx_http_gitpod_tidy_heap(int threshold);
static void *ngx_http_gitpod_create_main_conf(ngx_conf_t *cf);
static char *ngx_http_gitpod_init_main_conf(ngx_conf_t *cf, void *conf);
static char *ngx_http_gitpod_conf_zone(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_gitpod_conf_zone_events(ngx_conf_t *cf,
    ngx_str_t *value, ssize_t zone, ngx_http_gitpod_main_conf_t *mcf);
static ngx_int_t ngx_http_gitpod_init_zone(ngx_shm_zone_t *shm_zone,
    void *data);
static ngx_gitpod_zone_t *ngx_http_gitpod_old_zone(void);
static void ngx_http_gitpod_read_snapshots(ngx_http_gitpod_main_conf_t *mcf,
    ngx_log_t *log);
static ngx_int_t ngx_http_gitpod_init_process(ngx_cycle_t *cycle);
static void ngx_http_gitpod_exit_process(ngx_cycle_t *cycle);
static ngx_int_t ngx_http_gitpod_follow_master(ngx_cycle_t *cycle);
static ngx_uint_t ngx_http_gitpod_stands_back(void);
static void ngx_http_gitpod_tick(ngx_event_t *ev);


static ngx_command_t  ngx_http_gitpod_commands[] = {

    { ngx_string("gitpod_zone"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE23,
      ngx_http_gitpod_conf_zone,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gitpod_redis"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE123,
      ngx_http_gitpod_conf_redis,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gitpod_key_set_file"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_gitpod_conf_key_set,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("gitpod_route_file"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_gitpod_main_conf_t, route_file),
      NULL },

    { ngx_string("gitpod_revocation_file"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_str_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_gitpod_main_conf_t, revocation_file),
      NULL },

    { ngx_string("gitpod_snapshot_max_age"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_sec_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_gitpod_main_conf_t, snapshot_max_age),
      NULL },

    { ngx_string("gitpod_route_cidr"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_1MORE,
      ngx_http_gitpod_conf_cidr,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_gitpod_module_ctx = {
    NULL,                                  /* preconfiguration */
    NULL,                                  /* postconfiguration */

    ngx_http_gitpod_create_main_conf,      /* create main configuration */
    ngx_http_gitpod_init_main_conf,        /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_gitpod_module = {
    NGX_MODULE_V1,
    &ngx_http_gitpod_module_ctx,           /* module context */
    ngx_http_gitpod_commands,              /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_http_gitpod_init_process,          /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_gitpod_exit_process,          /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


/* of this worker */

static ngx_event_t        ngx_http_gitpod_ticker;
static ngx_gitpod_feed_t  ngx_http_gitpod_feed;


/*
 * A reload parses the new configuration beside the old one and frees that
 * afterwards: as much heap again, in pieces that glibc keeps and workers
 * inherit, and of which each later reload leaves some more.  So blocks of
 * pools are mapped, and go when they are freed, while a configuration is read
 * (threshold: their size), and free pages are given back.
 */

static void
ngx_http_gitpod_tidy_heap(int threshold)
{
#if (defined __GLIBC__)
    (void) mallopt(M_MMAP_THRESHOLD, threshold);
    (void) malloc_trim(0);
#endif
}


static void *
ngx_http_gitpod_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_gitpod_main_conf_t  *mcf;

    ngx_http_gitpod_tidy_heap(NGX_HTTP_GITPOD_CONF_MMAP);

    mcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_gitpod_main_conf_t));
    if (mcf == NULL) {
        return NULL;
    }

    mcf->snapshot_max_age = NGX_CONF_UNSET;

    return mcf;
}


static char *
ngx_http_gitpod_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_http_gitpod_main_conf_t *mcf = conf;

    if (mcf->shm_zone == NULL
        && (mcf->redis.sockaddr || mcf->cidrs || mcf->key_set_file.len
            || mcf->route_file.len || mcf->revocation_file.len))
    {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"gitpod_redis\", \"gitpod_route_cidr\", "
                      "\"gitpod_key_set_file\", \"gitpod_route_file\" and "
                      "\"gitpod_revocation_file\" need \"gitpod_zone\"");
        return NGX_CONF_ERROR;
    }

    if ((mcf->route_file.len
         && ngx_conf_full_name(cf->cycle, &mcf->route_file, 1) != NGX_OK)
        || (mcf->revocation_file.len
            && ngx_conf_full_name(cf->cycle, &mcf->revocation_file, 1)
               != NGX_OK))
    {
        return NGX_CONF_ERROR;
    }

    ngx_conf_init_value(mcf->snapshot_max_age,
                        NGX_HTTP_GITPOD_SNAPSHOT_MAX_AGE);

    /* a session ends before such a snapshot could be of use */

    if (mcf->snapshot_max_age < 1
        || mcf->snapshot_max_age > GP_SESSION_TTL_S)
    {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"gitpod_snapshot_max_age\" must be 1s to %ds",
                      GP_SESSION_TTL_S);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_gitpod_conf_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gitpod_main_conf_t *mcf = conf;

    ssize_t     size;
    ngx_str_t  *value;

    if (mcf->shm_zone) {
        return "is duplicate";
    }

    value = cf->args->elts;

    size = ngx_parse_size(&value[2]);

    if (size == NGX_ERROR || value[1].len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid zone \"%V\" of size \"%V\"", &value[1],
                           &value[2]);
        return NGX_CONF_ERROR;
    }

    if (size < NGX_GITPOD_ZONE_MIN) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "zone \"%V\" is too small: at least 1m, "
                           "and 80m for 100,000 routes", &value[1]);
        return NGX_CONF_ERROR;
    }

    mcf->events = ngx_min(size / 16, NGX_GITPOD_EVENTS_SIZE);

    if (cf->args->nelts == 4
        && ngx_http_gitpod_conf_zone_events(cf, &value[3], size, mcf)
           != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    mcf->events &= ~(size_t) 63;

    mcf->shm_zone = ngx_shared_memory_add(cf, &value[1], size,
                                          &ngx_http_gitpod_module);
    if (mcf->shm_zone == NULL) {
        return NGX_CONF_ERROR;
    }

    mcf->shm_zone->init = ngx_http_gitpod_init_zone;
    mcf->shm_zone->data = mcf;

    return NGX_CONF_OK;
}


static char *
ngx_http_gitpod_conf_zone_events(ngx_conf_t *cf, ngx_str_t *value,
    ssize_t zone, ngx_http_gitpod_main_conf_t *mcf)
{
    ssize_t    size;
    ngx_str_t  text;

    if (value->len > 7 && ngx_strncmp(value->data, "events=", 7) == 0) {
        text.data = value->data + 7;
        text.len = value->len - 7;
        size = ngx_parse_size(&text);

        if (size >= NGX_GITPOD_EVENTS_MIN && size <= zone / 4) {
            mcf->events = size;
            return NGX_CONF_OK;
        }
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid parameter \"%V\": \"events=size\" is the room "
                       "for the last events, from 64k to a quarter of the "
                       "zone", value);

    return NGX_CONF_ERROR;
}


static ngx_int_t
ngx_http_gitpod_init_zone(ngx_shm_zone_t *shm_zone, void *data)
{
    ngx_http_gitpod_main_conf_t *old = data;

    ngx_gitpod_zone_t            *from;
    ngx_http_gitpod_main_conf_t  *mcf;

    mcf = shm_zone->data;

    if (old) {
        if (ngx_gitpod_zone_check(old->zone) != NGX_OK) {
            ngx_log_error(NGX_LOG_EMERG, shm_zone->shm.log, 0,
                          "gitpod_zone \"%V\" was laid out by another "
                          "version of the module: restart nginx",
                          &shm_zone->shm.name);
            return NGX_ERROR;
        }

        mcf->zone = old->zone;

        if (mcf->zone->events.size != mcf->events) {
            ngx_log_error(NGX_LOG_WARN, shm_zone->shm.log, 0,
                          "gitpod_zone \"%V\" keeps %uz bytes for events "
                          "until nginx is restarted",
                          &shm_zone->shm.name, mcf->zone->events.size);
        }

    } else {
        mcf->zone = ngx_gitpod_zone_create(
                                (ngx_slab_pool_t *) shm_zone->shm.addr,
                                mcf->events);
        if (mcf->zone == NULL) {
            ngx_log_error(NGX_LOG_EMERG, shm_zone->shm.log, 0,
                          "gitpod_zone \"%V\" is too small",
                          &shm_zone->shm.name);
            return NGX_ERROR;
        }

        from = ngx_http_gitpod_old_zone();

        if (from) {
            ngx_gitpod_zone_copy(from, mcf->zone, shm_zone->shm.log);
        }
    }

    ngx_http_gitpod_read_snapshots(mcf, shm_zone->shm.log);

    return NGX_OK;
}


/* Of the cycle that is replaced by this one; NULL: this is a start. */

static ngx_gitpod_zone_t *
ngx_http_gitpod_old_zone(void)
{
    ngx_uint_t                    i;
    volatile ngx_cycle_t         *old;
    ngx_http_gitpod_main_conf_t  *mcf;

    old = ngx_cycle;

    if (old == NULL || ngx_is_init_cycle(old)) {
        return NULL;
    }

    /* it may have been without this module */

    for (i = 0; old->modules[i]; i++) {

        if (old->modules[i] == &ngx_http_gitpod_module) {
            mcf = ngx_http_cycle_get_module_main_conf(old,
                                                      ngx_http_gitpod_module);
            return mcf ? mcf->zone : NULL;
        }
    }

    return NULL;
}


/* A bad file is no reason not to start: all of it comes from Redis too. */

static void
ngx_http_gitpod_read_snapshots(ngx_http_gitpod_main_conf_t *mcf,
    ngx_log_t *log)
{
    if (mcf->key_set.len) {
        (void) ngx_gitpod_keys_feed(mcf->zone, NGX_GITPOD_KEYS_FED,
                                    &mcf->key_set, log);
    }

    if (mcf->revocation_file.len) {
        ngx_gitpod_snapshot_revocations(mcf->zone, &mcf->revocation_file,
                                        mcf->snapshot_max_age, log);
    }

    if (mcf->route_file.len) {
        ngx_gitpod_snapshot_routes(mcf->zone, &mcf->route_file, mcf->cidrs,
                                   mcf->redis.sockaddr == NULL, log);
    }
}


static ngx_int_t
ngx_http_gitpod_init_process(ngx_cycle_t *cycle)
{
    ngx_gitpod_feed_t            *feed;
    ngx_http_gitpod_main_conf_t  *mcf;

    mcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_gitpod_module);

    if (mcf == NULL || mcf->zone == NULL) {
        return NGX_OK;
    }

    ngx_http_gitpod_tidy_heap(NGX_HTTP_GITPOD_WORKER_MMAP);

    if (ngx_http_gitpod_follow_master(cycle) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_process != NGX_PROCESS_WORKER
        && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    /* what a killed worker with our number may have left */

    ngx_gitpod_lease_drop(mcf->zone);

    ngx_gitpod_keys_done();
    ngx_gitpod_worker_enter(mcf->zone, cycle->log);

    feed = &ngx_http_gitpod_feed;

    ngx_memzero(feed, sizeof(ngx_gitpod_feed_t));

    feed->zone = mcf->zone;
    feed->log = cycle->log;
    feed->addr = mcf->redis;
    feed->user = mcf->redis_user;
    feed->password = mcf->redis_password;
    feed->cidrs = mcf->cidrs;

    ngx_gitpod_feed_init(feed);

    ngx_http_gitpod_timer_start(&ngx_http_gitpod_ticker, ngx_http_gitpod_tick,
                                1);

    return NGX_OK;
}


/*
 * A worker whose master was killed would keep the ports.  The credentials of
 * the process do not change any more at this point, which would undo it.
 */

static ngx_int_t
ngx_http_gitpod_follow_master(ngx_cycle_t *cycle)
{
    if (ngx_process == NGX_PROCESS_SINGLE) {
        return NGX_OK;
    }

    if (prctl(PR_SET_PDEATHSIG, SIGQUIT, 0, 0, 0) == -1) {
        ngx_log_error(NGX_LOG_ALERT, cycle->log, ngx_errno,
                      "prctl(PR_SET_PDEATHSIG) failed");
        return NGX_ERROR;
    }

    /* it may have died before that */

    if (getppid() != ngx_parent && raise(SIGQUIT) != 0) {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/*
 * A worker that ends leaves the feed to others at once.  When none takes it,
 * since they all end or have another zone (a binary upgrade, a zone of another
 * size), the connections that it still has must lose their rights in time, so
 * it goes on after a while.
 */

static ngx_uint_t
ngx_http_gitpod_stands_back(void)
{
    uint64_t         now;

    static uint64_t  since_ms;

    if (ngx_terminate) {
        return 1;
    }

    if (!ngx_exiting && !ngx_quit) {
        return 0;
    }

    now = ngx_gitpod_now_ms();

    if (since_ms == 0) {
        since_ms = now;
    }

    return now - since_ms < NGX_HTTP_GITPOD_STAND_BACK_MS;
}


static void
ngx_http_gitpod_tick(ngx_event_t *ev)
{
    ngx_gitpod_feed_t  *feed;

    feed = &ngx_http_gitpod_feed;

    ngx_gitpod_worker_stamp(feed->zone);

    if (ngx_http_gitpod_stands_back()) {
        ngx_gitpod_feed_stop(feed);
        ngx_gitpod_lease_drop(feed->zone);

    } else if (ngx_gitpod_lease_held(feed->zone)
               && ngx_gitpod_lease_keep(feed->zone) == NGX_OK)
    {
        ngx_gitpod_workers_reap(feed->zone);
        ngx_gitpod_feed_tick(feed);

    } else {
        ngx_gitpod_feed_stop(feed);

        if (ngx_gitpod_lease_take(feed->zone) == NGX_OK
            && feed->addr.sockaddr)
        {
            ngx_gitpod_feed_start(feed);
        }
    }

    ngx_add_timer(ev, NGX_GITPOD_TICK_MS);
}


static void
ngx_http_gitpod_exit_process(ngx_cycle_t *cycle)
{
    ngx_gitpod_feed_t  *feed;

    feed = &ngx_http_gitpod_feed;

    if (feed->zone == NULL) {
        return;
    }

    ngx_gitpod_feed_stop(feed);
    ngx_gitpod_lease_drop(feed->zone);
    ngx_gitpod_worker_leave(feed->zone);
    ngx_gitpod_keys_done();

    feed->zone = NULL;
}
