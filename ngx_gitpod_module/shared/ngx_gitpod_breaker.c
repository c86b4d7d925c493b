
#include "ngx_gitpod_zone.h"


#define NGX_GITPOD_BREAKER_RETRIES  1000    /* a writer needs < 1 us a turn */
#define NGX_GITPOD_BREAKER_SLICE    64      /* routes looked at in one lock */


typedef enum {
    NGX_GITPOD_BREAKER_ADMIT = 0,
    NGX_GITPOD_BREAKER_JUDGE,
    NGX_GITPOD_BREAKER_ABANDON,
    NGX_GITPOD_BREAKER_TRIP,
    NGX_GITPOD_BREAKER_RESTORE
} ngx_gitpod_breaker_event_e;


static ngx_gitpod_breaker_t *ngx_gitpod_breaker_place(ngx_gitpod_zone_t *zone,
    ngx_str_t *name);
static void ngx_gitpod_breaker_read(ngx_gitpod_breaker_use_t *use,
    gp_breaker_t *copy);
static void ngx_gitpod_breaker_write(ngx_gitpod_breaker_use_t *use,
    gp_breaker_t *value, uint64_t now);
static ngx_uint_t ngx_gitpod_breaker_orphans(gp_breaker_t *value,
    ngx_uint_t forget);
static ngx_int_t ngx_gitpod_breaker_change(ngx_gitpod_breaker_use_t *use,
    ngx_gitpod_breaker_event_e event, ngx_uint_t reason, uint64_t now);
static ngx_int_t ngx_gitpod_breaker_apply(ngx_gitpod_breaker_use_t *use,
    gp_breaker_t *value, ngx_gitpod_breaker_event_e event, ngx_uint_t reason,
    uint64_t now, ngx_uint_t *changed);
static void ngx_gitpod_breaker_note(ngx_gitpod_breaker_use_t *use,
    gp_breaker_t *value, uint64_t now);
static void ngx_gitpod_breaker_routes(ngx_gitpod_zone_t *zone,
    ngx_gitpod_breaker_info_t **by_number, uint64_t now);
static void ngx_gitpod_breaker_sum(ngx_gitpod_breaker_info_t *info,
    gp_breaker_t *value, uint64_t now);


void
ngx_gitpod_breaker_begin(ngx_gitpod_zone_t *zone)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_GITPOD_BREAKERS_MAX; i++) {
        zone->breakers[i].configured = 0;
    }
}


ngx_gitpod_breaker_t *
ngx_gitpod_breaker_enter(ngx_gitpod_zone_t *zone, ngx_str_t *name,
    ngx_uint_t routes)
{
    ngx_gitpod_breaker_t  *breaker;

    ngx_gitpod_zone_lock(zone);

    breaker = ngx_gitpod_breaker_place(zone, name);

    if (breaker->name[0] == '\0') {
        ngx_memzero(breaker, sizeof(ngx_gitpod_breaker_t));
        ngx_memcpy(breaker->name, name->data,
                   ngx_min(name->len, NGX_GITPOD_BREAKER_NAME_MAX));
    }

    breaker->routes = (uint32_t) routes;
    breaker->configured = 1;

    ngx_gitpod_zone_unlock(zone);

    return breaker;
}


/* That of the name, else a free one, else one that is not used any more. */

static ngx_gitpod_breaker_t *
ngx_gitpod_breaker_place(ngx_gitpod_zone_t *zone, ngx_str_t *name)
{
    ngx_uint_t             i;
    ngx_gitpod_breaker_t  *breaker, *found;

    found = NULL;

    for (i = 0; i < NGX_GITPOD_BREAKERS_MAX; i++) {
        breaker = &zone->breakers[i];

        if (ngx_strlen(breaker->name) == name->len
            && ngx_strncmp(breaker->name, name->data, name->len) == 0)
        {
            return breaker;
        }

        if (breaker->name[0] == '\0'
            ? (found == NULL || found->name[0] != '\0')
            : (found == NULL && !breaker->configured))
        {
            found = breaker;
        }
    }

    found->name[0] = '\0';

    return found;
}


void
ngx_gitpod_breaker_key(ngx_gitpod_breaker_use_t *use, u_char *instance,
    size_t len, in_port_t port)
{
    len = ngx_min(len, GP_INSTANCE_ID_LEN);

    use->key[0] = (u_char) (use->breaker - use->zone->breakers);
    use->key[1] = (u_char) (port >> 8);
    use->key[2] = (u_char) port;
    ngx_memcpy(use->key + 3, instance, len);

    use->key_len = 3 + len;
}


/* A copy; of a route that has no record, the one that knows nothing. */

static void
ngx_gitpod_breaker_read(ngx_gitpod_breaker_use_t *use, gp_breaker_t *copy)
{
    uint64_t               seq;
    ngx_uint_t             tries;
    ngx_gitpod_table_t    *table;
    ngx_gitpod_breaker_t  *breaker;

    if (use->key_len) {
        table = &use->zone->breaker_routes;

        /* not "live": a killed writer may have left it too low */

        if (table->used == 0
            || ngx_gitpod_table_get(table, use->key, use->key_len, copy)
               != NGX_OK)
        {
            ngx_memzero(copy, sizeof(gp_breaker_t));
        }

        return;
    }

    breaker = use->breaker;

    for (tries = 0; tries < NGX_GITPOD_BREAKER_RETRIES; tries++) {
        seq = __atomic_load_n(&breaker->seq, __ATOMIC_ACQUIRE);

        *copy = breaker->slots[seq & 1];

        __atomic_thread_fence(__ATOMIC_ACQUIRE);

        if (__atomic_load_n(&breaker->seq, __ATOMIC_RELAXED) == seq) {
            break;
        }
    }
}


/* Under the lock. */

static void
ngx_gitpod_breaker_write(ngx_gitpod_breaker_use_t *use, gp_breaker_t *value,
    uint64_t now)
{
    uint64_t               seq;
    ngx_gitpod_table_t    *table;
    ngx_gitpod_breaker_t  *breaker;

    if (use->key_len) {
        table = &use->zone->breaker_routes;

        if (gp_breaker_idle(value, use->policy, now)) {
            ngx_gitpod_table_remove(table, use->key, use->key_len);
            return;
        }

        /* a route that is forgotten is a closed one: no harm in that */

        if (ngx_gitpod_table_set(table, use->key, use->key_len, value)
            == NGX_BUSY)
        {
            ngx_gitpod_table_evict(table);
            (void) ngx_gitpod_table_set(table, use->key, use->key_len, value);
        }

        return;
    }

    breaker = use->breaker;
    seq = breaker->seq + 1;

    /* no write to this slot before the sequence that made it idle */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);

    breaker->slots[seq & 1] = *value;

    __atomic_store_n(&breaker->seq, seq, __ATOMIC_RELEASE);
}


/* Probes of processes that are gone: are there any?  They are forgotten. */

static ngx_uint_t
ngx_gitpod_breaker_orphans(gp_breaker_t *value, ngx_uint_t forget)
{
    int32_t     pid;
    ngx_uint_t  i, n;

    n = 0;

    for (i = 0; i < GP_BREAKER_PROBES_MAX; i++) {
        pid = value->probes[i].pid;

        if (pid == 0 || ngx_gitpod_process_alive((ngx_pid_t) pid)) {
            continue;
        }

        n++;

        if (forget) {
            (void) gp_breaker_forget(value, pid);
        }
    }

    return n;
}


ngx_int_t
ngx_gitpod_breaker_admit(ngx_gitpod_breaker_use_t *use)
{
    uint64_t                now;
    ngx_int_t               rc;
    gp_breaker_t            value;
    enum gp_breaker_answer  answer;

    ngx_gitpod_breaker_read(use, &value);

    use->changed = 0;
    use->pass.era = value.era;
    use->pass.serial = 0;

    if (value.phase == GP_BREAKER_CLOSED) {
        use->phase = GP_BREAKER_CLOSED;
        use->reason = GP_BREAKER_NONE;
        use->retry_ms = 0;

        return NGX_OK;
    }

    now = ngx_gitpod_now_ms();

    answer = gp_breaker_look(&value, use->policy, now,
                             (uint32_t) ngx_random());

    if (answer == GP_BREAKER_ASK
        || (answer == GP_BREAKER_REFUSE
            && value.phase == GP_BREAKER_HALF_OPEN
            && ngx_gitpod_breaker_orphans(&value, 0)))
    {
        rc = ngx_gitpod_breaker_change(use, NGX_GITPOD_BREAKER_ADMIT, 0, now);

    } else {
        ngx_gitpod_breaker_note(use, &value, now);
        rc = (answer == GP_BREAKER_ADMIT) ? NGX_OK : NGX_BUSY;
    }

    if (rc != NGX_OK) {
        (void) ngx_atomic_fetch_add(&use->breaker->refused, 1);
    }

    return rc;
}


void
ngx_gitpod_breaker_judge(ngx_gitpod_breaker_use_t *use, ngx_uint_t reason)
{
    gp_breaker_t  value;

    use->changed = 0;

    if (reason == GP_BREAKER_NONE && use->pass.serial == 0) {
        ngx_gitpod_breaker_read(use, &value);

        if (value.failures == 0 && value.window_n == 0) {
            return;
        }
    }

    if (reason != GP_BREAKER_NONE) {
        (void) ngx_atomic_fetch_add(&use->breaker->failed, 1);
    }

    (void) ngx_gitpod_breaker_change(use, NGX_GITPOD_BREAKER_JUDGE, reason,
                                     ngx_gitpod_now_ms());
}


void
ngx_gitpod_breaker_abandon(ngx_gitpod_breaker_use_t *use)
{
    use->changed = 0;

    if (use->pass.serial) {
        (void) ngx_gitpod_breaker_change(use, NGX_GITPOD_BREAKER_ABANDON, 0,
                                         ngx_gitpod_now_ms());
    }
}


void
ngx_gitpod_breaker_check(ngx_gitpod_breaker_use_t *use, ngx_uint_t passes)
{
    (void) ngx_gitpod_breaker_change(use, passes ? NGX_GITPOD_BREAKER_RESTORE
                                                 : NGX_GITPOD_BREAKER_TRIP,
                                     0, ngx_gitpod_now_ms());
}


/* Reads, decides and writes under the lock. */

static ngx_int_t
ngx_gitpod_breaker_change(ngx_gitpod_breaker_use_t *use,
    ngx_gitpod_breaker_event_e event, ngx_uint_t reason, uint64_t now)
{
    uint32_t      era;
    ngx_int_t     rc;
    ngx_uint_t    was, changed;
    gp_breaker_t  value;

    ngx_gitpod_zone_lock(use->zone);

    ngx_gitpod_breaker_read(use, &value);

    era = value.era;
    was = gp_breaker_phase(&value, now);
    changed = 0;

    rc = ngx_gitpod_breaker_apply(use, &value, event, reason, now, &changed);

    if (changed) {
        ngx_gitpod_breaker_write(use, &value, now);
    }

    ngx_gitpod_zone_unlock(use->zone);

    if (value.era != era) {
        (void) ngx_atomic_fetch_add(&use->breaker->opened, 1);
    }

    ngx_gitpod_breaker_note(use, &value, now);

    use->changed = (use->phase != was);

    return rc;
}


static ngx_int_t
ngx_gitpod_breaker_apply(ngx_gitpod_breaker_use_t *use, gp_breaker_t *value,
    ngx_gitpod_breaker_event_e event, ngx_uint_t reason, uint64_t now,
    ngx_uint_t *changed)
{
    uint32_t                era, chance;
    enum gp_breaker_answer  answer;

    chance = (uint32_t) ngx_random();

    switch (event) {

    case NGX_GITPOD_BREAKER_ADMIT:
        era = value->era;
        *changed = ngx_gitpod_breaker_orphans(value, 1);

        answer = gp_breaker_admit(value, use->policy, now, chance,
                                  (int32_t) ngx_pid, &use->pass);

        *changed |= (use->pass.serial != 0 || value->era != era);

        return (answer == GP_BREAKER_ADMIT) ? NGX_OK : NGX_BUSY;

    case NGX_GITPOD_BREAKER_JUDGE:
        *changed = gp_breaker_judge(value, use->policy, use->pass,
                                    (enum gp_breaker_reason) reason, now,
                                    chance);
        break;

    case NGX_GITPOD_BREAKER_ABANDON:
        *changed = gp_breaker_abandon(value, use->pass);
        break;

    case NGX_GITPOD_BREAKER_TRIP:
        *changed = gp_breaker_trip(value, use->policy, GP_BREAKER_CHECK, now,
                                   chance);
        break;

    case NGX_GITPOD_BREAKER_RESTORE:
        *changed = gp_breaker_restore(value, use->policy, now);
        break;
    }

    return NGX_OK;
}


static void
ngx_gitpod_breaker_note(ngx_gitpod_breaker_use_t *use, gp_breaker_t *value,
    uint64_t now)
{
    use->phase = gp_breaker_phase(value, now);
    use->reason = (use->phase == GP_BREAKER_CLOSED) ? GP_BREAKER_NONE
                                                    : value->reason;
    use->retry_ms = gp_breaker_retry_ms(value, now);
}


ngx_uint_t
ngx_gitpod_breaker_list(ngx_gitpod_zone_t *zone,
    ngx_gitpod_breaker_info_t *info, ngx_uint_t max)
{
    uint64_t                    now;
    ngx_uint_t                  i, n;
    gp_breaker_t                value;
    ngx_gitpod_breaker_t       *breaker;
    ngx_gitpod_breaker_use_t    use;
    ngx_gitpod_breaker_info_t  *by_number[NGX_GITPOD_BREAKERS_MAX];

    n = 0;
    use.zone = zone;
    use.key_len = 0;
    now = ngx_gitpod_now_ms();

    for (i = 0; i < NGX_GITPOD_BREAKERS_MAX; i++) {
        breaker = &zone->breakers[i];
        by_number[i] = NULL;

        if (!breaker->configured || n == max) {
            continue;
        }

        use.breaker = breaker;
        ngx_gitpod_breaker_read(&use, &value);
        ngx_gitpod_breaker_note(&use, &value, now);

        ngx_memzero(&info[n], sizeof(ngx_gitpod_breaker_info_t));
        ngx_memcpy(info[n].name, breaker->name, NGX_GITPOD_BREAKER_NAME_MAX);

        info[n].routes = breaker->routes;
        info[n].phase = use.phase;
        info[n].reason = use.reason;
        info[n].since_ms = value.since_ms ? now - value.since_ms : 0;
        info[n].retry_ms = use.retry_ms;
        info[n].opened = breaker->opened;
        info[n].refused = breaker->refused;
        info[n].failed = breaker->failed;
        info[n].phases[use.phase] = !breaker->routes;

        by_number[i] = &info[n++];
    }

    ngx_gitpod_breaker_routes(zone, by_number, now);

    return n;
}


/* Sums up routes; drops those that nobody asked for in a long time. */

static void
ngx_gitpod_breaker_routes(ngx_gitpod_zone_t *zone,
    ngx_gitpod_breaker_info_t **by_number, uint64_t now)
{
    uint32_t             n;
    uint64_t             last;
    ngx_str_t            key;
    ngx_uint_t           i;
    gp_breaker_t        *value;
    ngx_gitpod_table_t  *table;

    n = 0;
    table = &zone->breaker_routes;

    do {
        ngx_gitpod_zone_lock(zone);

        for (i = 0; i < NGX_GITPOD_BREAKER_SLICE; i++, n++) {

            value = ngx_gitpod_table_walk(table, &n, &key);

            if (value == NULL) {
                break;
            }

            last = ngx_max(value->since_ms, value->until_ms);
            last = ngx_max(last, value->window_ms);

            if (now > last + NGX_GITPOD_BREAKER_FORGET_MS) {
                ngx_gitpod_table_drop(table, n);

            } else if (key.data[0] < NGX_GITPOD_BREAKERS_MAX
                       && by_number[key.data[0]])
            {
                ngx_gitpod_breaker_sum(by_number[key.data[0]], value, now);
            }
        }

        ngx_gitpod_zone_unlock(zone);

    } while (i == NGX_GITPOD_BREAKER_SLICE);
}


/*
 * One route more: the worst state of all, the reason of the one that came to
 * its state last, the probe that comes first.
 */

static void
ngx_gitpod_breaker_sum(ngx_gitpod_breaker_info_t *info, gp_breaker_t *value,
    uint64_t now)
{
    uint64_t                 since, retry;
    enum gp_breaker_phase    phase;

    static const ngx_uint_t  rank[GP_BREAKER_PHASES_N] = {
        [GP_BREAKER_CLOSED] = 0,
        [GP_BREAKER_RECOVERING] = 1,
        [GP_BREAKER_HALF_OPEN] = 2,
        [GP_BREAKER_OPEN] = 3
    };

    phase = gp_breaker_phase(value, now);
    info->phases[phase]++;

    if (phase == GP_BREAKER_CLOSED) {
        return;
    }

    since = now - ngx_min(value->since_ms, now);
    retry = gp_breaker_retry_ms(value, now);

    if (info->reason == GP_BREAKER_NONE || since < info->since_ms) {
        info->reason = value->reason;
        info->since_ms = since;
    }

    if (phase == GP_BREAKER_OPEN
        && (info->phase != GP_BREAKER_OPEN || retry < info->retry_ms))
    {
        info->retry_ms = retry;
    }

    if (rank[phase] > rank[info->phase]) {
        info->phase = phase;
    }
}
