#include <errno.h>
#include <malloc.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/die.h"
#include "base/log.h"
#include "core/code.h"
#include "core/contract.h"
#include "net/pool.h"
#include "net/unix_listen.h"
#include "rpc/internal.h"

/*
 * The main program of every plugin: options, log, the service's own start, the
 * socket, the responder, and all of it backwards.
 */
#define GP_SERVICE_OPTIONS_MAX 128
#define GP_SERVICE_MALLOC_ARENAS 2 /* one for the loop, one for the handlers: each costs memory of its own */

static const gp_option_t gp_service_options[] = {
    {"run", GP_OPT_STRING, offsetof(gp_service_conf_t, run_dir), "", "/run/gitpod", 0, 0, "Directory of the sockets."},
    {"state", GP_OPT_STRING, offsetof(gp_service_conf_t, state_dir), "", "/var/lib/gitpod", 0, 0, "Directory of everything that is kept."},
    {"domain", GP_OPT_STRING, offsetof(gp_service_conf_t, domain), "", "gitpod.localhost", 0, 0, "Main domain."},
    {"workspace-domain", GP_OPT_STRING, offsetof(gp_service_conf_t, workspace_domain), "", "", 0, 0,
     "Domain that workspaces are below; empty: ws-<domain>."},
    {"port", GP_OPT_INT, offsetof(gp_service_conf_t, port), "", "8080", 1, 65535, "Public port of the gateway."},
    {"listener-first", GP_OPT_INT, offsetof(gp_service_conf_t, listener_first), "", "0", 0, 65535,
     "Mode port: the first of the gateway's listeners of workspaces; 0: mode host."},
    {"listener-last", GP_OPT_INT, offsetof(gp_service_conf_t, listener_last), "", "0", 0, 65535, "Mode port: the last one."},
    {"listen", GP_OPT_STRING, offsetof(gp_service_conf_t, listen), "", "", 0, 0, "FastCGI socket; empty: <run>/<service>/fcgi.sock."},
    {"threads", GP_OPT_INT, offsetof(gp_service_conf_t, threads), "", "8", 1, GP_POOL_THREADS_MAX, "Threads that run handlers."},
    {"log-level", GP_OPT_STRING, offsetof(gp_service_conf_t, log_level), "", "info", 0, 0, "debug, info, warn or error."},
    {"external-scheme", GP_OPT_STRING, offsetof(gp_service_conf_t, external_scheme), "", "http", 0, 0,
     "Scheme of the public URLs: http or https."},
};

#define GP_SERVICE_COMMON_N (sizeof(gp_service_options) / sizeof(gp_service_options[0]))


const gp_service_conf_t *gp_service_conf(const gp_service_t *service)
{
    return service->conf;
}


bool gp_service_stopping(const gp_service_t *service)
{
    return service->server != NULL && gp_fcgi_server_stopping(service->server);
}


/* "text <first> <second>" of the heap; options live as long as the process. */
static char *gp_service_format(const char *fmt, const char *first, const char *second)
{
    char *text;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    if (asprintf(&text, fmt, first, second) < 0) {
        gp_die("out of memory: options");
    }
#pragma GCC diagnostic pop

    return text;
}


static int gp_service_check_conf(const gp_service_def_t *def, gp_service_conf_t *conf, enum gp_log_level *ret_level, gp_err_t *err)
{
    static const char *const levels[] = {"debug", "info", "warn", "error"};

    int i;

    for (i = 0; i < 4 && strcmp(conf->log_level, levels[i]) != 0; i++) {
    }
    if (i == 4) {
        return gp_err(err, GP_INVALID_ARGUMENT, "option log-level: \"%s\" is none of debug, info, warn, error", conf->log_level);
    }
    *ret_level = (enum gp_log_level) i;

    if (strcmp(conf->external_scheme, "http") != 0 && strcmp(conf->external_scheme, "https") != 0) {
        return gp_err(err, GP_INVALID_ARGUMENT, "option external-scheme: \"%s\" is neither http nor https", conf->external_scheme);
    }

    if (conf->listener_first != 0 && (conf->listener_first < GP_LISTENER_MIN || conf->listener_last < conf->listener_first ||
                                      conf->listener_last - conf->listener_first >= GP_LISTENERS_MAX)) {
        return gp_err(err, GP_INVALID_ARGUMENT, "option listener-last: %lld to %lld is no range of at most %d ports from %d on",
                      (long long) conf->listener_first, (long long) conf->listener_last, GP_LISTENERS_MAX, GP_LISTENER_MIN);
    }

    if (conf->workspace_domain[0] == '\0') {
        free(conf->workspace_domain);
        conf->workspace_domain = gp_service_format("ws-%s%s", conf->domain, "");
    }
    if (conf->listen[0] == '\0') {
        free(conf->listen);
        conf->listen = gp_service_format(GP_SOCKET_SERVICE_FMT, conf->run_dir, def->name);
    }

    return 0;
}


static void *gp_service_read_conf(const gp_service_def_t *def, int argc, char **argv, enum gp_log_level *ret_level)
{
    gp_option_t table[GP_SERVICE_OPTIONS_MAX];
    gp_err_t err = GP_ERR_INIT;
    static void *conf; /* lives as long as the process: static, so that the leak checker sees who holds it */
    size_t n;
    int i;

    n = GP_SERVICE_COMMON_N + def->n_options;
    gp_assert(n <= GP_SERVICE_OPTIONS_MAX && def->conf_size >= sizeof(gp_service_conf_t));
    memcpy(table, gp_service_options, sizeof(gp_service_options));
    if (def->n_options > 0) {
        memcpy(table + GP_SERVICE_COMMON_N, def->options, def->n_options * sizeof(gp_option_t));
    }

    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            gp_options_help(table, n, def->name, def->text);
            exit(0);
        }
    }

    conf = calloc(1, def->conf_size);
    if (conf == NULL) {
        gp_die("out of memory: options");
    }

    if (gp_options_parse(table, n, conf, def->name, argc, argv, &err) != 0 || gp_service_check_conf(def, conf, ret_level, &err) != 0) {
        fprintf(stderr, "%s: %s\n", def->name, err.text);
        exit(2);
    }

    return conf;
}


/* Every method of the table must be one of its service: a wrong table is found at the first start. */
static void gp_service_index_methods(gp_service_t *service)
{
    const gp_method_t *method;
    size_t i;

    service->methods = calloc(service->def->n_methods + 1, sizeof(gp_method_state_t));
    if (service->methods == NULL) {
        gp_die("out of memory: methods");
    }

    for (i = 0; i < service->def->n_methods; i++) {
        method = &service->def->methods[i];
        if (protobuf_c_service_descriptor_get_method_by_name(method->service, method->name) == NULL ||
            (method->unary == NULL) == (method->stream == NULL)) {
            gp_die("method table of %s: %s/%s is not in the proto, or has not exactly one handler", service->def->name,
                   method->service->name, method->name);
        }
        service->methods[i].path = gp_service_format("/%s/%s", method->service->name, method->name);
    }
}


/* Descriptors: each waiting client is one, so the soft limit goes up to the hard one. */
static void gp_service_raise_limits(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0) {
            gp_log(GP_LOG_WARN, "cannot raise the limit of open files", "reason", strerror(errno), NULL);
        }
    }

    (void) mallopt(M_ARENA_MAX, GP_SERVICE_MALLOC_ARENAS); /* a hint */
}


static int gp_service_open(gp_service_t *service, gp_err_t *err)
{
    gp_fcgi_server_conf_t conf;
    int fd, rc;

    fd = gp_unix_listen_inherited();
    if (fd < 0) {
        rc = gp_unix_listen(service->conf->listen, &fd, err);
        if (rc != 0) {
            return rc;
        }
    }

    conf = (gp_fcgi_server_conf_t){
        .listen_fd = fd,
        .threads = (unsigned) service->conf->threads,
        .body_limit = GP_RPC_BODY_MAX + 5, /* a stream's one message has an envelope around it */
        .data = service,
        .prepare = gp_dispatch_prepare,
        .handle = gp_dispatch_handle,
        .overloaded = gp_dispatch_overloaded,
        .expired = gp_dispatch_expired,
        .stopping = gp_dispatch_stopping,
    };

    return gp_fcgi_server_new(&conf, &service->server, err);
}


static void gp_service_free(gp_service_t *service)
{
    size_t i;

    for (i = 0; i < service->def->n_methods; i++) {
        free(service->methods[i].path);
    }
    free(service->methods);
    service->server = gp_fcgi_server_free(service->server);
    pthread_mutex_destroy(&service->metrics_lock);
    free(service);
}


static int gp_service_serve(gp_service_t *service)
{
    gp_err_t err = GP_ERR_INIT;

    if (gp_service_open(service, &err) != 0) {
        gp_log(GP_LOG_ERROR, "cannot serve", "reason", err.text, NULL);
        return 1;
    }

    gp_health_start(service);
    gp_log(GP_LOG_INFO, "ready", "socket", service->conf->listen, "version", GP_VERSION, NULL);

    if (!gp_fcgi_server_run(service->server)) {
        _exit(1); /* handlers still use everything */
    }

    gp_health_stop(service);
    gp_log(GP_LOG_INFO, "stopped", NULL);

    return 0;
}


int gp_service_main(const gp_service_def_t *def, int argc, char **argv)
{
    enum gp_log_level level = GP_LOG_INFO;
    gp_err_t err = GP_ERR_INIT;
    static gp_service_t *service; /* freed after a good end only, static for the leak checker */
    void *conf;
    int rc;

    conf = gp_service_read_conf(def, argc, argv, &level);
    gp_log_init(def->name, level);
    gp_service_raise_limits();

    service = calloc(1, sizeof(gp_service_t));
    if (service == NULL) {
        gp_die("out of memory: the service");
    }
    service->def = def;
    service->conf = conf;
    service->started_epoch_s = gp_clock_epoch_s();
    pthread_mutex_init(&service->metrics_lock, NULL);
    gp_service_index_methods(service);

    if (def->start != NULL && def->start(service, conf, &service->data, &err) != 0) {
        gp_log(GP_LOG_ERROR, "cannot start", "reason", err.text, NULL);
        return 1;
    }

    rc = gp_service_serve(service);
    if (rc == 0) {
        if (def->stop != NULL) {
            def->stop(service->data);
        }
        gp_service_free(service);
    }

    return rc;
}
