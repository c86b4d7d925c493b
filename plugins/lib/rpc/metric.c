#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/die.h"
#include "core/code.h"
#include "rpc/internal.h"

#define GP_METRICS_TEXT_MAX 1048576 /* bytes of one scrape */


static gp_metric_t *gp_metric_new(gp_service_t *service, const char *name, const char *labels, const char *help, bool gauge)
{
    gp_metric_t *metric;
    unsigned n;

    pthread_mutex_lock(&service->metrics_lock);
    n = atomic_load(&service->metrics_n);
    gp_assert(n < GP_SERVICE_METRICS_MAX);
    metric = &service->metrics[n];
    metric->name = name;
    metric->labels = labels;
    metric->help = help;
    metric->gauge = gauge;
    atomic_store(&service->metrics_n, n + 1);
    pthread_mutex_unlock(&service->metrics_lock);

    return metric;
}


gp_metric_t *gp_metric_counter(gp_service_t *service, const char *name, const char *labels, const char *help)
{
    return gp_metric_new(service, name, labels, help, false);
}


gp_metric_t *gp_metric_gauge(gp_service_t *service, const char *name, const char *labels, const char *help)
{
    return gp_metric_new(service, name, labels, help, true);
}


void gp_metric_add(gp_metric_t *metric, int64_t n)
{
    atomic_fetch_add_explicit(&metric->value, n, memory_order_relaxed);
}


void gp_metric_set(gp_metric_t *metric, int64_t n)
{
    atomic_store_explicit(&metric->value, n, memory_order_relaxed);
}


static int gp_metric_head(gp_buf_t *buf, const char *name, const char *help, bool gauge)
{
    return gp_buf_printf(buf, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, gauge ? "gauge" : "counter");
}


/* The service's own; HELP once per name, wherever its labels differ. */
static int gp_metric_text_own(gp_service_t *service, gp_buf_t *buf)
{
    const gp_metric_t *metric;
    unsigned i, j, n;
    int rc;

    rc = 0;
    n = atomic_load(&service->metrics_n);
    for (i = 0; i < n && rc == 0; i++) {
        metric = &service->metrics[i];
        for (j = 0; j < i && strcmp(service->metrics[j].name, metric->name) != 0; j++) {
        }
        if (j < i) {
            continue;
        }

        rc = gp_metric_head(buf, metric->name, metric->help, metric->gauge);
        for (j = i; j < n && rc == 0; j++) {
            if (strcmp(service->metrics[j].name, metric->name) == 0) {
                const gp_metric_t *same = &service->metrics[j];

                rc = gp_buf_printf(buf, "%s%s%s%s %lld\n", same->name, same->labels[0] ? "{" : "", same->labels, same->labels[0] ? "}" : "",
                                   (long long) atomic_load(&same->value));
            }
        }
    }

    return rc;
}


static int gp_metric_text_calls(gp_service_t *service, gp_buf_t *buf)
{
    gp_method_state_t *state;
    size_t i;
    int code, rc;

    rc = gp_metric_head(buf, "gitpod_service_calls_total", "Calls by method and result.", false);
    for (i = 0; i < service->def->n_methods && rc == 0; i++) {
        state = &service->methods[i];
        for (code = 0; code <= GP_UNAUTHENTICATED && rc == 0; code++) {
            unsigned long long value = atomic_load(&state->by_code[code]);

            if (value != 0) {
                rc = gp_buf_printf(buf, "gitpod_service_calls_total{method=\"%s\",code=\"%s\"} %llu\n", state->path + 1, gp_code_name(code),
                                   value);
            }
        }
    }

    rc = rc ? rc
            : gp_metric_head(buf, "gitpod_service_call_seconds_total", "Time from the end of the request to the handler's result.", false);
    for (i = 0; i < service->def->n_methods && rc == 0; i++) {
        state = &service->methods[i];
        rc = gp_buf_printf(buf, "gitpod_service_call_seconds_total{method=\"%s\"} %.3f\n", state->path + 1,
                           (double) atomic_load(&state->duration_ms) / 1000);
    }

    return rc;
}


static int gp_metric_one(gp_buf_t *buf, const char *name, const char *help, bool gauge, double value)
{
    int rc;

    rc = gp_metric_head(buf, name, help, gauge);

    return rc ? rc : gp_buf_printf(buf, "%s %.15g\n", name, value);
}


static int gp_metric_text_process(gp_service_t *service, gp_buf_t *buf)
{
    gp_fcgi_stats_t stats;
    struct rusage usage;
    char statm[64] = "";
    long pages = 0;
    double cpu;
    FILE *file;
    int rc;

    gp_fcgi_server_stats(service->server, &stats);
    (void) getrusage(RUSAGE_SELF, &usage); /* cannot fail with these arguments */
    cpu = (double) (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + (double) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;

    file = fopen("/proc/self/statm", "re");
    if (file != NULL) {
        if (fgets(statm, sizeof(statm), file) != NULL && strchr(statm, ' ') != NULL) {
            pages = strtol(strchr(statm, ' '), NULL, 10);
        }
        (void) fclose(file);
    }

    rc = gp_metric_one(buf, "gitpod_service_connections_total", "FastCGI connections accepted.", false, (double) stats.connections);
    rc = rc ? rc : gp_metric_one(buf, "gitpod_service_connections", "FastCGI connections open.", true, (double) stats.connections_now);
    rc = rc ? rc : gp_metric_one(buf, "gitpod_service_requests_total", "FastCGI requests begun.", false, (double) stats.requests);
    rc = rc ? rc
            : gp_metric_one(buf, "gitpod_service_requests", "FastCGI requests that live, streams included.", true,
                            (double) stats.requests_now);
    rc = rc ? rc
            : gp_metric_one(buf, "gitpod_service_refused_total", "Requests refused because the queue was full.", false,
                            (double) stats.refused);
    rc = rc ? rc : gp_metric_one(buf, "process_cpu_seconds_total", "User and system time.", false, cpu);
    rc =
        rc ? rc
           : gp_metric_one(buf, "process_resident_memory_bytes", "Resident memory.", true, (double) pages * (double) sysconf(_SC_PAGESIZE));

    return rc ? rc
              : gp_metric_one(buf, "process_start_time_seconds", "Start, seconds since 1970.", true, (double) service->started_epoch_s);
}


void gp_metric_reply(gp_service_t *service, gp_fcgi_request_t *req)
{
    gp_auto_buf gp_buf_t buf = {.limit = GP_METRICS_TEXT_MAX};
    gp_err_t err = GP_ERR_INIT;

    if (gp_metric_text_process(service, &buf) != 0 || gp_metric_text_calls(service, &buf) != 0 || gp_metric_text_own(service, &buf) != 0) {
        (void) gp_err(&err, GP_RESOURCE_EXHAUSTED, "the metrics are longer than %d bytes", GP_METRICS_TEXT_MAX);
        gp_reply_error(req, &err, 0);
        return;
    }

    gp_reply_bytes(req, 200, "text/plain; version=0.0.4", NULL, buf.data, buf.len);
}
