
/*
 * What is told about breakers: on the status page, and in metrics.  Those of
 * workspaces are counted, never named.
 */


#include "ngx_http_gitpod_breaker.h"
#include "ngx_http_gitpod_status.h"


#define NGX_HTTP_GITPOD_BREAKER_LINE  192       /* bytes of a sample */


static u_char *ngx_http_gitpod_breaker_family(u_char *p, u_char *last,
    const char *name, const char *type, const char *help);
static u_char *ngx_http_gitpod_breaker_states(u_char *p, u_char *last,
    ngx_gitpod_breaker_info_t *info, ngx_uint_t n);
static u_char *ngx_http_gitpod_breaker_reasons(u_char *p, u_char *last,
    ngx_gitpod_breaker_info_t *info, ngx_uint_t n);
static u_char *ngx_http_gitpod_breaker_retries(u_char *p, u_char *last,
    ngx_gitpod_breaker_info_t *info, ngx_uint_t n);
static u_char *ngx_http_gitpod_breaker_routes(u_char *p, u_char *last,
    ngx_gitpod_breaker_info_t *info, ngx_uint_t n);
static u_char *ngx_http_gitpod_breaker_counters(u_char *p, u_char *last,
    ngx_gitpod_breaker_info_t *info, ngx_uint_t n, const char *name,
    size_t offset, const char *help);


void
ngx_http_gitpod_breaker_status(ngx_http_gitpod_status_t *s)
{
    ngx_uint_t                 i, n;
    ngx_gitpod_breaker_info_t  info[NGX_GITPOD_BREAKERS_MAX];

    static const char  *columns[] = { "name", "state", "reason", "since_ms",
                                      "next_probe_ms", "open", "half_open",
                                      "recovering", "opened", "refused",
                                      "failed", NULL };

    n = ngx_gitpod_breaker_list(s->zone, info, NGX_GITPOD_BREAKERS_MAX);

    ngx_http_gitpod_status_section(s, "breakers", columns);

    for (i = 0; i < n; i++) {

        if (ngx_http_gitpod_status_row(s) != NGX_OK) {
            break;
        }

        ngx_http_gitpod_status_text(s, info[i].name);
        ngx_http_gitpod_status_text(s,
            gp_breaker_phase_name((enum gp_breaker_phase) info[i].phase));
        ngx_http_gitpod_status_text(s,
            gp_breaker_reason_name((enum gp_breaker_reason) info[i].reason));
        ngx_http_gitpod_status_number(s, info[i].since_ms);
        ngx_http_gitpod_status_number(s, info[i].retry_ms);
        ngx_http_gitpod_status_number(s, info[i].phases[GP_BREAKER_OPEN]);
        ngx_http_gitpod_status_number(s, info[i].phases[GP_BREAKER_HALF_OPEN]);
        ngx_http_gitpod_status_number(s,
                                     info[i].phases[GP_BREAKER_RECOVERING]);
        ngx_http_gitpod_status_number(s, info[i].opened);
        ngx_http_gitpod_status_number(s, info[i].refused);
        ngx_http_gitpod_status_number(s, info[i].failed);
    }

    ngx_http_gitpod_status_end(s);
}


size_t
ngx_http_gitpod_breaker_metrics_size(void)
{
    /* the headers, and for each its phases, reason, time and counters */

    return NGX_HTTP_GITPOD_BREAKER_LINE
           * (2 * 7 + NGX_GITPOD_BREAKERS_MAX * (GP_BREAKER_PHASES_N + 5));
}


u_char *
ngx_http_gitpod_breaker_metrics(u_char *p, u_char *last,
    ngx_gitpod_zone_t *zone)
{
    ngx_uint_t                 n;
    ngx_gitpod_breaker_info_t  info[NGX_GITPOD_BREAKERS_MAX];

    n = ngx_gitpod_breaker_list(zone, info, NGX_GITPOD_BREAKERS_MAX);

    if (n == 0) {
        return p;
    }

    p = ngx_http_gitpod_breaker_states(p, last, info, n);
    p = ngx_http_gitpod_breaker_reasons(p, last, info, n);
    p = ngx_http_gitpod_breaker_routes(p, last, info, n);

    p = ngx_http_gitpod_breaker_retries(p, last, info, n);

    p = ngx_http_gitpod_breaker_counters(p, last, info, n,
                  "gitpod_breaker_opened_total",
                  offsetof(ngx_gitpod_breaker_info_t, opened),
                  "Times that it opened.");
    p = ngx_http_gitpod_breaker_counters(p, last, info, n,
                  "gitpod_breaker_refused_total",
                  offsetof(ngx_gitpod_breaker_info_t, refused),
                  "Requests that it refused.");

    return ngx_http_gitpod_breaker_counters(p, last, info, n,
                  "gitpod_breaker_failed_total",
                  offsetof(ngx_gitpod_breaker_info_t, failed),
                  "Requests that it counted as failed.");
}


static u_char *
ngx_http_gitpod_breaker_family(u_char *p, u_char *last, const char *name,
    const char *type, const char *help)
{
    return ngx_slprintf(p, last, "# HELP %s %s\n# TYPE %s %s\n", name, help,
                        name, type);
}


static u_char *
ngx_http_gitpod_breaker_states(u_char *p, u_char *last,
    ngx_gitpod_breaker_info_t *info, ngx_uint_t n)
{
    ngx_uint_t   i, phase;
    const char  *name;

    p = ngx_http_gitpod_breaker_family(p, last, "gitpod_breaker_state",
                  "gauge", "1 for the state that the breaker is in.");

    for (i = 0; i < n; i++) {
        for (phase = 0; !info[i].routes && phase < GP_BREAKER_PHASES_N;
             phase++)
        {
            name = gp_breaker_phase_name((enum gp_breaker_phase) phase);

            p = ngx_slprintf(p, last, "gitpod_breaker_state{name=\"%s\","
                             "state=\"%s\"} %d\n", info[i].name, name,
                             phase == info[i].phase);
        }
    }

    return p;
}


static u_char *
ngx_http_gitpod_breaker_reasons(u_char *p, u_char *last,
    ngx_gitpod_breaker_info_t *info, ngx_uint_t n)
{
    ngx_uint_t   i;
    const char  *name;

    p = ngx_http_gitpod_breaker_family(p, last, "gitpod_breaker_reason",
                  "gauge", "1 for the reason why it is not closed.");

    for (i = 0; i < n; i++) {

        if (info[i].reason == GP_BREAKER_NONE) {
            continue;
        }

        name = gp_breaker_reason_name((enum gp_breaker_reason) info[i].reason);

        p = ngx_slprintf(p, last, "gitpod_breaker_reason{name=\"%s\","
                         "reason=\"%s\"} 1\n", info[i].name, name);
    }

    return p;
}


static u_char *
ngx_http_gitpod_breaker_retries(u_char *p, u_char *last,
    ngx_gitpod_breaker_info_t *info, ngx_uint_t n)
{
    ngx_uint_t  i;

    p = ngx_http_gitpod_breaker_family(p, last, "gitpod_breaker_retry_seconds",
                  "gauge", "Seconds until the next try.");

    for (i = 0; i < n; i++) {

        if (!info[i].routes) {
            p = ngx_slprintf(p, last, "gitpod_breaker_retry_seconds"
                             "{name=\"%s\"} %uL.%03uL\n", info[i].name,
                             info[i].retry_ms / 1000, info[i].retry_ms % 1000);
        }
    }

    return p;
}


/* Totals only: a label for each route would be one that users make. */

static u_char *
ngx_http_gitpod_breaker_routes(u_char *p, u_char *last,
    ngx_gitpod_breaker_info_t *info, ngx_uint_t n)
{
    ngx_uint_t   i, phase;
    const char  *name;

    p = ngx_http_gitpod_breaker_family(p, last, "gitpod_breaker_routes",
                  "gauge", "Routes that are not closed, by state.");

    for (i = 0; i < n; i++) {
        for (phase = GP_BREAKER_CLOSED + 1;
             info[i].routes && phase < GP_BREAKER_PHASES_N;
             phase++)
        {
            name = gp_breaker_phase_name((enum gp_breaker_phase) phase);

            p = ngx_slprintf(p, last, "gitpod_breaker_routes{name=\"%s\","
                             "state=\"%s\"} %ui\n", info[i].name, name,
                             info[i].phases[phase]);
        }
    }

    return p;
}


static u_char *
ngx_http_gitpod_breaker_counters(u_char *p, u_char *last,
    ngx_gitpod_breaker_info_t *info, ngx_uint_t n, const char *name,
    size_t offset, const char *help)
{
    uint64_t    *value;
    ngx_uint_t   i;

    p = ngx_http_gitpod_breaker_family(p, last, name, "counter", help);

    for (i = 0; i < n; i++) {
        value = (uint64_t *) (void *) ((u_char *) &info[i] + offset);

        p = ngx_slprintf(p, last, "%s{name=\"%s\"} %uL\n", name,
                         info[i].name, *value);
    }

    return p;
}
