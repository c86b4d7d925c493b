
/*
 * The status page: what the zone itself tells.
 */


#include "ngx_http_gitpod_status.h"


void
ngx_http_gitpod_status_checks(ngx_http_gitpod_status_t *s)
{
    uint64_t                            now;
    ngx_uint_t                          i, passed;
    const char                         *why;
    ngx_gitpod_check_state_t            state;
    ngx_http_gitpod_check_t            *check;
    ngx_http_gitpod_probe_main_conf_t  *pmcf;

    static const char  *columns[] = { "name", "passes", "required", "why",
                                      "age_ms", "since_ms", "took_ms", NULL };

    pmcf = ngx_http_get_module_main_conf(s->request,
                                         ngx_http_gitpod_probe_module);
    now = ngx_gitpod_now_ms();

    ngx_http_gitpod_status_section(s, "checks", columns);

    check = pmcf->checks.elts;

    for (i = 0; i < pmcf->checks.nelts; i++) {

        if (ngx_http_gitpod_status_row(s) != NGX_OK) {
            break;
        }

        passed = ngx_http_gitpod_check_passed(&check[i], s->zone, &state,
                                              &why);

        ngx_http_gitpod_status_str(s, &check[i].name);
        ngx_http_gitpod_status_truth(s, passed);
        ngx_http_gitpod_status_text(s, check[i].required ? "required"
                                                         : "optional");
        ngx_http_gitpod_status_text(s, why);
        ngx_http_gitpod_status_number(s, state.known ? now - state.ran_ms
                                                     : 0);
        ngx_http_gitpod_status_number(s, state.known ? now - state.changed_ms
                                                     : 0);
        ngx_http_gitpod_status_number(s, state.took_ms);
    }

    ngx_http_gitpod_status_end(s);
}


void
ngx_http_gitpod_status_redis(ngx_http_gitpod_status_t *s)
{
    uint64_t                  now;
    ngx_gitpod_feed_state_t  *feed;

    static const char  *columns[] = { "subscribed", "lease", "heard_age_ms",
                                      "resync_age_ms", "routes_synced",
                                      "revocations_synced", NULL };

    now = ngx_gitpod_now_ms();
    feed = &s->zone->feed;

    ngx_http_gitpod_status_section(s, "redis", columns);

    if (ngx_http_gitpod_status_row(s) == NGX_OK) {
        ngx_http_gitpod_status_truth(s, feed->subscribed);
        ngx_http_gitpod_status_number(s, s->zone->lease.pid);
        ngx_http_gitpod_status_number(s, feed->heard_ms
                                         ? now - feed->heard_ms : 0);
        ngx_http_gitpod_status_number(s, feed->synced_ms
                                         ? now - feed->synced_ms : 0);
        ngx_http_gitpod_status_truth(s, ngx_gitpod_routes_synced(s->zone));
        ngx_http_gitpod_status_truth(s,
                                 ngx_gitpod_revocations_synced(s->zone));
    }

    ngx_http_gitpod_status_end(s);
}


void
ngx_http_gitpod_status_tables(ngx_http_gitpod_status_t *s)
{
    ngx_uint_t           i;
    ngx_gitpod_table_t  *table[4];

    static const char   *columns[] = { "name", "records", "room", NULL };
    static const char   *names[] = { "routes", "revocations", "credentials",
                                     "flags" };

    table[0] = &s->zone->routes;
    table[1] = &s->zone->revocations;
    table[2] = &s->zone->credentials;
    table[3] = &s->zone->flags;

    ngx_http_gitpod_status_section(s, "tables", columns);

    for (i = 0; i < 4; i++) {

        if (ngx_http_gitpod_status_row(s) != NGX_OK) {
            break;
        }

        ngx_http_gitpod_status_text(s, names[i]);
        ngx_http_gitpod_status_number(s, table[i]->live);
        ngx_http_gitpod_status_number(s, table[i]->records_max);
    }

    ngx_http_gitpod_status_end(s);
}


void
ngx_http_gitpod_status_workers(ngx_http_gitpod_status_t *s)
{
    uint64_t              now;
    ngx_pid_t             pid;
    ngx_uint_t            i;
    ngx_gitpod_worker_t  *worker;

    static const char  *columns[] = { "pid", "task", "age_ms", "lag_ms",
                                      "connections", "websockets", NULL };

    now = ngx_gitpod_now_ms();

    ngx_http_gitpod_status_section(s, "workers", columns);

    for (i = 0; i < NGX_GITPOD_WORKERS_MAX; i++) {
        worker = &s->zone->workers[i];
        pid = (ngx_pid_t) worker->pid;

        if (pid == 0 || !ngx_gitpod_process_alive(pid)) {
            continue;
        }

        if (ngx_http_gitpod_status_row(s) != NGX_OK) {
            break;
        }

        ngx_http_gitpod_status_number(s, pid);
        ngx_http_gitpod_status_text(s, ((ngx_pid_t) s->zone->lease.pid == pid)
                                       ? "feeds" : "serves");
        ngx_http_gitpod_status_number(s, now - ngx_min(worker->heartbeat_ms,
                                                       now));
        ngx_http_gitpod_status_number(s, worker->lag_ms);
        ngx_http_gitpod_status_number(s, worker->connections);
        ngx_http_gitpod_status_number(s, worker->websockets);
    }

    ngx_http_gitpod_status_end(s);
}


/* Flags that somebody has set; how many users, not which. */

void
ngx_http_gitpod_status_flags(ngx_http_gitpod_status_t *s)
{
    uint32_t    n;
    gp_flag_t  *found, flag;
    ngx_str_t   key;

    static const char  *columns[] = { "name", "state", "percent", "users",
                                      "version", NULL };

    ngx_http_gitpod_status_section(s, "flags", columns);

    for (n = 0; /* void */ ; n++) {

        ngx_gitpod_zone_lock(s->zone);

        found = ngx_gitpod_table_walk(&s->zone->flags, &n, &key);

        if (found) {
            flag = *found;
        }

        ngx_gitpod_zone_unlock(s->zone);

        if (found == NULL) {
            break;
        }

        if (flag.deleted) {
            continue;
        }

        if (ngx_http_gitpod_status_row(s) != NGX_OK) {
            break;
        }

        key.data = (u_char *) flag.name;
        key.len = flag.name_len;

        ngx_http_gitpod_status_str(s, &key);
        ngx_http_gitpod_status_text(s, flag.on ? "on" : "off");
        ngx_http_gitpod_status_number(s, flag.percent);
        ngx_http_gitpod_status_number(s, flag.users_n);
        ngx_http_gitpod_status_number(s, flag.version);
    }

    ngx_http_gitpod_status_end(s);
}
