
#include "ngx_gitpod_zone.h"


/* the slot of this process */
static ngx_gitpod_worker_t  *ngx_gitpod_worker;


static u_char *ngx_gitpod_zone_table(ngx_gitpod_table_t *table, u_char *p,
    size_t size, uint32_t max, uint32_t key_max, uint32_t value_size,
    uint32_t head);
static void ngx_gitpod_zone_tables(ngx_gitpod_zone_t *zone, u_char *p,
    u_char *last);


ngx_gitpod_zone_t *
ngx_gitpod_zone_create(ngx_slab_pool_t *shpool, size_t events)
{
    size_t              size, part;
    u_char             *p, *last;
    ngx_uint_t          i;
    ngx_gitpod_zone_t  *zone;

    /* everything in one piece: nothing is allocated later */

    size = shpool->pfree * ngx_pagesize;

    if (size < sizeof(ngx_gitpod_zone_t) + 2 * GP_JOSE_KEY_SET_MAX
               + 2 * NGX_GITPOD_FETCHED_MAX + events
               + NGX_GITPOD_ZONE_MIN / 4)
    {
        return NULL;
    }

    p = ngx_slab_alloc(shpool, size);
    if (p == NULL) {
        return NULL;
    }

    /* fresh shared memory is zero, and pages never touched cost nothing */

    zone = (ngx_gitpod_zone_t *) (void *) p;

    p += (sizeof(ngx_gitpod_zone_t) + 63) & ~(size_t) 63;
    size -= (sizeof(ngx_gitpod_zone_t) + 63) & ~(size_t) 63;

    zone->shpool = shpool;

    zone->keys[NGX_GITPOD_KEYS_FED].max = GP_JOSE_KEY_SET_MAX;
    zone->keys[NGX_GITPOD_KEYS_FETCHED].max = NGX_GITPOD_FETCHED_MAX;

    for (i = 0; i < NGX_GITPOD_KEY_SETS; i++) {
        part = zone->keys[i].max;

        zone->keys[i].text[0] = p;
        zone->keys[i].text[1] = p + part;

        p += 2 * part;
        size -= 2 * part;
    }

    ngx_gitpod_events_init(&zone->events, p, events);

    p += events;
    size -= events;

    last = p + size;
    p = ngx_gitpod_limits_init(&zone->limits, p, size * 2 / 100);

    if (p == NULL) {
        return NULL;
    }

    ngx_gitpod_zone_tables(zone, p, last);

    zone->feed.current_ms = ngx_gitpod_now_ms();

    zone->magic = NGX_GITPOD_MAGIC;
    zone->layout = NGX_GITPOD_LAYOUT;
    zone->size = sizeof(ngx_gitpod_zone_t);

    return zone;
}


/* Of what is left; most of it is for routes. */

static void
ngx_gitpod_zone_tables(ngx_gitpod_zone_t *zone, u_char *p, u_char *last)
{
    size_t  part;

    p = ngx_gitpod_zone_table(&zone->flags, p, (last - p) / 50,
                              GP_FLAGS_MAX, GP_FLAG_NAME_MAX,
                              sizeof(gp_flag_t), 0);

    part = (size_t) (last - p) * 14 / 100;

    p = ngx_gitpod_zone_table(&zone->credentials, p, part,
                              NGX_GITPOD_CREDENTIALS_MAX,
                              NGX_GITPOD_DIGEST_LEN,
                              sizeof(ngx_gitpod_credential_t), 0);

    p = ngx_gitpod_zone_table(&zone->activity, p, (last - p) / 100,
                              NGX_GITPOD_ACTIVITY_MAX, GP_WORKSPACE_ID_MAX,
                              sizeof(uint64_t), 0);

    /* the key of a revocation is its kind and its id */

    p = ngx_gitpod_zone_table(&zone->revocations, p, part,
                              NGX_GITPOD_REVOCATIONS_MAX,
                              NGX_GITPOD_ID_MAX + 1, sizeof(uint64_t), 0);

    p = ngx_gitpod_zone_table(&zone->breaker_routes, p, part / 8,
                              NGX_GITPOD_BREAKER_ROUTES_MAX,
                              NGX_GITPOD_BREAKER_KEY_MAX,
                              sizeof(gp_breaker_t), 0);

    p = ngx_gitpod_zone_table(&zone->listeners, p, (last - p) / 64,
                              NGX_GITPOD_LISTENERS_MAX, sizeof(uint16_t),
                              sizeof(ngx_gitpod_listener_t), 0);

    (void) ngx_gitpod_zone_table(&zone->routes, p, last - p,
                                 NGX_MAX_UINT32_VALUE / 4,
                                 GP_WORKSPACE_ID_MAX,
                                 sizeof(ngx_gitpod_route_record_t),
                                 NGX_GITPOD_ROUTE_HEAD);
}


/* As many records as fit into so many bytes; returns what comes after it. */

static u_char *
ngx_gitpod_zone_table(ngx_gitpod_table_t *table, u_char *p, size_t size,
    uint32_t max, uint32_t key_max, uint32_t value_size, uint32_t head)
{
    uint32_t  n;

    /* a guess that is too high, then down until all of it fits */

    n = (uint32_t) ngx_min(size / (ngx_gitpod_table_size(1024, key_max,
                                                         value_size, head)
                                   / 1024),
                           max);
    n += n / 4;
    n = ngx_min(n, max);

    while (n && ngx_gitpod_table_size(n, key_max, value_size, head) > size) {
        n -= n / 64 + 1;
    }

    return ngx_gitpod_table_init(table, p, n, key_max, value_size, head);
}


ngx_int_t
ngx_gitpod_zone_check(ngx_gitpod_zone_t *zone)
{
    if (zone->magic != NGX_GITPOD_MAGIC
        || zone->layout != NGX_GITPOD_LAYOUT
        || zone->size != sizeof(ngx_gitpod_zone_t))
    {
        return NGX_DECLINED;
    }

    return NGX_OK;
}


uint64_t
ngx_gitpod_now_us(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000 + (uint64_t) ts.tv_nsec / 1000;
}


uint64_t
ngx_gitpod_now_ms(void)
{
    return ngx_gitpod_now_us() / 1000;
}


ngx_uint_t
ngx_gitpod_process_alive(ngx_pid_t pid)
{
    return kill(pid, 0) == 0 || ngx_errno != ESRCH;
}


void
ngx_gitpod_worker_enter(ngx_gitpod_zone_t *zone, ngx_log_t *log)
{
    ngx_uint_t            i;
    ngx_gitpod_worker_t  *worker;

    ngx_gitpod_workers_reap(zone);

    for (i = 0; i < NGX_GITPOD_WORKERS_MAX; i++) {
        worker = &zone->workers[i];

        if (ngx_atomic_cmp_set(&worker->pid, 0,
                               (ngx_atomic_uint_t) ngx_pid))
        {
            worker->heartbeat_ms = ngx_gitpod_now_ms();
            worker->lag_ms = 0;
            worker->subscribers = 0;
            worker->connections = 0;
            worker->websockets = 0;
            ngx_gitpod_worker = worker;
            return;
        }
    }

    ngx_log_error(NGX_LOG_ALERT, log, 0,
                  "gitpod: more than %d workers; this one is not counted",
                  NGX_GITPOD_WORKERS_MAX);
}


void
ngx_gitpod_worker_stamp(ngx_gitpod_zone_t *zone)
{
    uint64_t  now, late;

    if (ngx_gitpod_worker == NULL) {
        return;
    }

    now = ngx_gitpod_now_ms();
    late = now - ngx_gitpod_worker->heartbeat_ms;
    late = (late > NGX_GITPOD_TICK_MS) ? late - NGX_GITPOD_TICK_MS : 0;

    /* a peak stays visible for some scrapes: it halves about every 3 s */

    ngx_gitpod_worker->lag_ms -= (ngx_gitpod_worker->lag_ms + 15) / 16;

    if (late > ngx_gitpod_worker->lag_ms) {
        ngx_gitpod_worker->lag_ms = late;
    }

    ngx_gitpod_worker->heartbeat_ms = now;
    ngx_gitpod_worker->connections = ngx_cycle->connection_n
                                     - ngx_cycle->free_connection_n;
}


void
ngx_gitpod_worker_leave(ngx_gitpod_zone_t *zone)
{
    if (ngx_gitpod_worker) {
        ngx_gitpod_worker->pid = 0;
        ngx_gitpod_worker = NULL;
    }
}


void
ngx_gitpod_workers_reap(ngx_gitpod_zone_t *zone)
{
    ngx_uint_t            i;
    ngx_atomic_uint_t     pid;
    ngx_gitpod_worker_t  *worker;

    for (i = 0; i < NGX_GITPOD_WORKERS_MAX; i++) {
        worker = &zone->workers[i];
        pid = worker->pid;

        if (pid == 0 || ngx_gitpod_process_alive((ngx_pid_t) pid)) {
            continue;
        }

        if (ngx_atomic_cmp_set(&worker->pid, pid, 0)) {
            ngx_gitpod_held_forget(&zone->limits);
        }
    }
}


void
ngx_gitpod_worker_websockets(uint64_t n)
{
    if (ngx_gitpod_worker) {
        ngx_gitpod_worker->websockets = n;
    }
}


void
ngx_gitpod_worker_subscribers(uint64_t n)
{
    if (ngx_gitpod_worker) {
        ngx_gitpod_worker->subscribers = n;
    }
}


void
ngx_gitpod_count(ngx_gitpod_zone_t *zone, ngx_gitpod_counter_e counter)
{
    if (ngx_gitpod_worker) {
        (void) ngx_atomic_fetch_add(&ngx_gitpod_worker->counters[counter], 1);
    }
}


ngx_int_t
ngx_gitpod_lease_take(ngx_gitpod_zone_t *zone)
{
    ngx_int_t  rc;
    uint64_t   now;
    ngx_pid_t  pid;

    /* a look without the lock: most of the time somebody holds it */

    now = ngx_gitpod_now_ms();
    pid = (ngx_pid_t) zone->lease.pid;

    if (pid && now - zone->lease.heartbeat_ms < NGX_GITPOD_LEASE_MS
        && ngx_gitpod_process_alive(pid))
    {
        return NGX_DECLINED;
    }

    rc = NGX_DECLINED;

    ngx_gitpod_zone_lock(zone);

    if ((ngx_pid_t) zone->lease.pid == pid) {
        zone->lease.heartbeat_ms = now;
        zone->lease.pid = (ngx_atomic_uint_t) ngx_pid;

        /* the last holder may have been killed while it wrote */

        ngx_gitpod_table_repair(&zone->routes);
        ngx_gitpod_table_repair(&zone->revocations);
        ngx_gitpod_table_repair(&zone->credentials);
        ngx_gitpod_table_repair(&zone->flags);
        ngx_gitpod_table_repair(&zone->activity);
        ngx_gitpod_table_repair(&zone->breaker_routes);
        ngx_gitpod_table_repair(&zone->listeners);

        rc = NGX_OK;
    }

    ngx_gitpod_zone_unlock(zone);

    if (rc == NGX_OK) {
        ngx_gitpod_count(zone, NGX_GITPOD_N_LEASE);
    }

    return rc;
}


ngx_int_t
ngx_gitpod_lease_keep(ngx_gitpod_zone_t *zone)
{
    ngx_int_t  rc;

    rc = NGX_DECLINED;

    ngx_gitpod_zone_lock(zone);

    if ((ngx_pid_t) zone->lease.pid == ngx_pid) {
        zone->lease.heartbeat_ms = ngx_gitpod_now_ms();
        rc = NGX_OK;
    }

    ngx_gitpod_zone_unlock(zone);

    return rc;
}


void
ngx_gitpod_lease_drop(ngx_gitpod_zone_t *zone)
{
    ngx_gitpod_zone_lock(zone);

    if ((ngx_pid_t) zone->lease.pid == ngx_pid) {
        zone->lease.pid = 0;
    }

    ngx_gitpod_zone_unlock(zone);
}


uint32_t
ngx_gitpod_sweep_begin(ngx_gitpod_zone_t *zone, ngx_gitpod_table_t *table)
{
    uint32_t  generation;

    ngx_gitpod_zone_lock(zone);
    generation = ++table->generation;
    ngx_gitpod_zone_unlock(zone);

    return generation;
}


ngx_int_t
ngx_gitpod_sweep(ngx_gitpod_zone_t *zone, ngx_gitpod_table_t *table,
    uint32_t generation, ngx_gitpod_expired_pt expired, uint32_t *n,
    uint64_t until_us, ngx_uint_t *swept)
{
    void       *value;
    ngx_str_t   key;
    ngx_uint_t  i;

    for ( ;; ) {

        /* the lock for a few microseconds, the clock now and then */

        ngx_gitpod_zone_lock(zone);

        if (table->generation != generation) {
            ngx_gitpod_zone_unlock(zone);
            return NGX_DECLINED;
        }

        for (i = 0; i < 64; i++) {

            value = ngx_gitpod_table_walk(table, n, &key);

            if (value == NULL) {
                ngx_gitpod_zone_unlock(zone);
                return NGX_OK;
            }

            if (!ngx_gitpod_table_touched(table, *n)
                && (expired == NULL || expired(value)))
            {
                ngx_gitpod_table_drop(table, *n);
                (*swept)++;
            }

            (*n)++;
        }

        ngx_gitpod_zone_unlock(zone);

        if (ngx_gitpod_now_us() >= until_us) {
            return NGX_AGAIN;
        }
    }
}


uint64_t
ngx_gitpod_drain_since(ngx_gitpod_zone_t *zone)
{
    return __atomic_load_n(&zone->drain_ms, __ATOMIC_ACQUIRE);
}


ngx_gitpod_check_record_t *
ngx_gitpod_check_enter(ngx_gitpod_zone_t *zone, ngx_str_t *name)
{
    ngx_uint_t                  i;
    ngx_gitpod_check_record_t  *check, *found;

    found = NULL;

    ngx_gitpod_zone_lock(zone);

    for (i = 0; i < NGX_GITPOD_CHECKS_MAX; i++) {
        check = &zone->checks[i];

        if (ngx_strlen(check->name) == name->len
            && ngx_strncmp(check->name, name->data, name->len) == 0)
        {
            found = check;
            goto done;
        }
    }

    /* a free one, or that of a check which earlier configurations had */

    for (i = 0; i < NGX_GITPOD_CHECKS_MAX; i++) {
        check = &zone->checks[i];

        if (found == NULL
            || check->name[0] == '\0'
            || check->slots[check->seq & 1].ran_ms
               < found->slots[found->seq & 1].ran_ms)
        {
            found = check;
        }

        if (check->name[0] == '\0') {
            break;
        }
    }

    ngx_memzero(found, sizeof(ngx_gitpod_check_record_t));
    ngx_cpystrn((u_char *) found->name, name->data,
                ngx_min(name->len + 1, NGX_GITPOD_CHECK_NAME_MAX));

done:

    ngx_gitpod_zone_unlock(zone);

    return found;
}


void
ngx_gitpod_check_read(ngx_gitpod_check_record_t *check,
    ngx_gitpod_check_state_t *copy)
{
    uint64_t    seq;
    ngx_uint_t  tries;

    for (tries = 0; tries < 1000; tries++) {
        seq = __atomic_load_n(&check->seq, __ATOMIC_ACQUIRE);

        ngx_memcpy(copy, &check->slots[seq & 1],
                   sizeof(ngx_gitpod_check_state_t));

        __atomic_thread_fence(__ATOMIC_ACQUIRE);

        if (__atomic_load_n(&check->seq, __ATOMIC_RELAXED) == seq) {
            break;
        }
    }

    copy->text[NGX_GITPOD_CHECK_TEXT_MAX - 1] = '\0';
}


void
ngx_gitpod_check_write(ngx_gitpod_check_record_t *check,
    ngx_gitpod_check_state_t *state)
{
    uint64_t  seq;

    seq = check->seq + 1;

    __atomic_thread_fence(__ATOMIC_SEQ_CST);

    ngx_memcpy(&check->slots[seq & 1], state,
               sizeof(ngx_gitpod_check_state_t));

    __atomic_store_n(&check->seq, seq, __ATOMIC_RELEASE);
}
