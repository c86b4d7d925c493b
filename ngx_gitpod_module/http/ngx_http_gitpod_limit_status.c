
/*
 * What limits did: for the status page and for Prometheus.
 */


#include "ngx_http_gitpod_limit.h"
#include "ngx_http_gitpod_status.h"


void
ngx_http_gitpod_limit_status(ngx_http_gitpod_status_t *s)
{
    ngx_uint_t                           i;
    ngx_http_gitpod_limit_t            **limit;
    ngx_http_gitpod_limit_main_conf_t   *lmcf;

    static const char  *columns[] = { "name", "allows", "refused", "dry_run",
                                      "uncounted", NULL };

    lmcf = ngx_http_get_module_main_conf(s->request,
                                         ngx_http_gitpod_limit_module);
    limit = lmcf->limits.elts;

    ngx_http_gitpod_status_section(s, "limits", columns);

    for (i = 0; i < lmcf->limits.nelts; i++) {

        if (ngx_http_gitpod_status_row(s) != NGX_OK) {
            break;
        }

        ngx_http_gitpod_status_str(s, &limit[i]->name);
        ngx_http_gitpod_status_str(s, &limit[i]->text);
        ngx_http_gitpod_status_number(s, limit[i]->slot->refused);
        ngx_http_gitpod_status_number(s, limit[i]->slot->dry);
        ngx_http_gitpod_status_number(s, limit[i]->slot->untold);
    }

    ngx_http_gitpod_status_end(s);
}


u_char *
ngx_http_gitpod_limit_metrics(ngx_http_request_t *r, u_char *p, u_char *last,
    ngx_gitpod_zone_t *zone)
{
    ngx_uint_t                           i;
    ngx_gitpod_limits_t                 *limits;
    ngx_http_gitpod_limit_t            **limit;
    ngx_http_gitpod_limit_main_conf_t   *lmcf;

    lmcf = ngx_http_get_module_main_conf(r, ngx_http_gitpod_limit_module);
    limit = lmcf->limits.elts;
    limits = &zone->limits;

    if (lmcf->limits.nelts == 0) {
        return p;
    }

    p = ngx_slprintf(p, last,
                     "# HELP gitpod_limit_refused_total Requests over a "
                     "limit.\n"
                     "# TYPE gitpod_limit_refused_total counter\n");

    for (i = 0; i < lmcf->limits.nelts; i++) {
        p = ngx_slprintf(p, last,
                         "gitpod_limit_refused_total{limit=\"%V\","
                         "mode=\"enforced\"} %uA\n"
                         "gitpod_limit_refused_total{limit=\"%V\","
                         "mode=\"dry_run\"} %uA\n",
                         &limit[i]->name, limit[i]->slot->refused,
                         &limit[i]->name, limit[i]->slot->dry);
    }

    p = ngx_slprintf(p, last,
                     "# HELP gitpod_limit_uncounted_total Requests that the "
                     "table had no room to count.\n"
                     "# TYPE gitpod_limit_uncounted_total counter\n");

    for (i = 0; i < lmcf->limits.nelts; i++) {
        p = ngx_slprintf(p, last,
                         "gitpod_limit_uncounted_total{limit=\"%V\"} %uA\n",
                         &limit[i]->name, limit[i]->slot->untold);
    }

    return ngx_slprintf(p, last,
                        "# HELP gitpod_limit_buckets Buckets that are not "
                        "full.\n"
                        "# TYPE gitpod_limit_buckets gauge\n"
                        "gitpod_limit_buckets %ui\n"
                        "# HELP gitpod_limit_buckets_max Buckets there is "
                        "room for.\n"
                        "# TYPE gitpod_limit_buckets_max gauge\n"
                        "gitpod_limit_buckets_max %ui\n"
                        "# HELP gitpod_limit_messages_total Messages among "
                        "gateways that share limits.\n"
                        "# TYPE gitpod_limit_messages_total counter\n"
                        "gitpod_limit_messages_total{way=\"sent\"} %uA\n"
                        "gitpod_limit_messages_total{way=\"taken\"} %uA\n",
                        ngx_gitpod_pairs_live(&limits->rates,
                                              ngx_gitpod_limit_now()),
                        ngx_gitpod_pairs_max(&limits->rates), limits->told,
                        limits->heard);
}
