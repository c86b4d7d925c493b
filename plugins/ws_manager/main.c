/*
 * ws_manager: the truth about workspaces, and the hand that starts and stops
 * their containers. Options, start and end of the process.
 */
#include <malloc.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/die.h"
#include "base/log.h"
#include "wsm.h"

#define OPT(name, type, field, unit, value, min, max, text)                                                                                \
    {                                                                                                                                      \
        name, type, offsetof(wsm_conf_t, field), unit, value, min, max, text                                                               \
    }

static const gp_option_t options[] = {
    OPT("installation", GP_OPT_STRING, installation, "", "default", 0, 0,
        "Name of this installation on the machine: labels of containers, firewall table."),
    OPT("engine-socket", GP_OPT_STRING, engine_socket, "", "", 0, 0,
        "Docker-compatible API of the container engine; empty: <run>/engine/podman.sock."),
    OPT("image", GP_OPT_STRING, image, "", "localhost/gitpod-workspace:latest", 0, 0, "Image of workspaces."),
    OPT("supervisor-dir", GP_OPT_STRING, supervisor_dir, "", "/usr/local/lib/gitpod/build/supervisor", 0, 0,
        "Directory with supervisor and gp, mounted read-only at /.supervisor."),
    OPT("network", GP_OPT_STRING, network, "", "gitpod", 0, 0, "Network of workspaces in the engine; made when it is missing."),
    OPT("bridge", GP_OPT_STRING, bridge, "", "gp-default", 0, 0, "Bridge interface of that network (at most 15 bytes)."),
    OPT("subnet", GP_OPT_STRING, subnet, "", "10.88.0.0/20", 0, 0, "IPv4 range of that network, /16 to /24."),
    OPT("uid-base", GP_OPT_INT, uid_base, "", "100000000", 65536, 4160749567, "First host uid of workspaces; each has 65,536 of them."),
    OPT("idle-timeout", GP_OPT_SECONDS, idle_timeout_s, "s", "1800", 5, 2592000, "An unused workspace stops after this long."),
    OPT("workers", GP_OPT_INT, workers, "", "8", 1, WSM_WORKERS_MAX, "Workspaces that start or stop at once; others wait their turn."),
    OPT("class-memory", GP_OPT_BYTES, class_memory_bytes, "bytes", "4294967296", 268435456, 1099511627776,
        "Memory of a workspace, swap included."),
    OPT("class-cpus", GP_OPT_INT, class_cpus, "", "4", 1, 1024, "CPUs of a workspace; never more than the machine has."),
    OPT("class-pids", GP_OPT_INT, class_pids, "", "4096", 64, 65536, "Processes and threads of a workspace."),
    OPT("content-timeout", GP_OPT_SECONDS, content_timeout_s, "s", "3600", 10, 86400, "Longest time for putting content in place."),
    OPT("content-stall", GP_OPT_SECONDS, content_stall_s, "s", "120", 5, 3600, "Content without progress for this long has failed."),
    OPT("editor-timeout", GP_OPT_SECONDS, editor_timeout_s, "s", "60", 5, 3600, "Longest time from the go signal to the editor's answer."),
    OPT("engine-timeout", GP_OPT_SECONDS, engine_timeout_s, "s", "60", 1, 3600,
        "A start or stop waits this long for an engine that is away."),
    OPT("reconcile-interval", GP_OPT_SECONDS, reconcile_s, "s", "5", 1, 600, "How often intent and engine are compared."),
    OPT("activity-interval", GP_OPT_SECONDS, activity_s, "s", "5", 1, 600, "How often running workspaces are asked whether they are used."),
    OPT("tombstone", GP_OPT_SECONDS, tombstone_s, "s", "3600", 10, 604800, "How long a deleted workspace's route record says so."),
};

static int check_database(void *data, gp_err_t *err)
{
    wsm_auto_arena arena = gp_arena_new(WSM_ARENA_BYTES);
    wsm_t *m = data;
    wsm_workspace_t ws;
    int rc = wsm_store_get(m->db, "-", arena, &ws, err);

    return rc == -GP_NOT_FOUND ? 0 : rc;
}

static const gp_check_t checks[] = {{"database", check_database}};

/* Labels are borrowed for the life of the process. */
static const struct {
    int phase;
    const char *labels;
} phase_labels[] = {
    {WSM_PHASE_PREPARING, "phase=\"preparing\""},       {WSM_PHASE_CREATING, "phase=\"creating\""},
    {WSM_PHASE_INITIALIZING, "phase=\"initializing\""}, {WSM_PHASE_RUNNING, "phase=\"running\""},
    {WSM_PHASE_STOPPING, "phase=\"stopping\""},         {WSM_PHASE_STOPPED, "phase=\"stopped\""},
};
static const char *const reason_labels[] = {NULL, "reason=\"content\"", NULL, "reason=\"image\"", "reason=\"unexpected\""};
static const char *const step_labels[] = {"step=\"resolve\"", "step=\"content\"", "step=\"create\"",
                                          "step=\"start\"",   "step=\"network\"", "step=\"editor\""};

static void make_metrics(wsm_t *m)
{
    for (size_t i = 0; i < sizeof(phase_labels) / sizeof(phase_labels[0]); i++) {
        m->metrics.phase[phase_labels[i].phase] =
            gp_metric_gauge(m->service, "gitpod_ws_manager_workspaces", phase_labels[i].labels, "Workspaces by phase");
    }
    for (size_t i = 0; i < sizeof(reason_labels) / sizeof(reason_labels[0]); i++) {
        if (reason_labels[i]) {
            m->metrics.failed[i] =
                gp_metric_counter(m->service, "gitpod_ws_manager_failures_total", reason_labels[i], "Instances that failed, by reason");
        }
    }
    for (size_t i = 0; i < sizeof(step_labels) / sizeof(step_labels[0]); i++) {
        m->metrics.start_ms[i] =
            gp_metric_counter(m->service, "gitpod_ws_manager_start_milliseconds_total", step_labels[i], "Time of finished starts by step");
    }
    m->metrics.starts = gp_metric_counter(m->service, "gitpod_ws_manager_starts_total", "", "Starts that ended in a running workspace");
    m->metrics.events = gp_metric_counter(m->service, "gitpod_ws_manager_events_total", "", "Events of workspaces that Redis took");
    m->metrics.events_lost = gp_metric_counter(m->service, "gitpod_ws_manager_events_lost_total", "", "Times that Redis took no event");
    m->metrics.engine_up = gp_metric_gauge(m->service, "gitpod_ws_manager_engine_up", "", "1: the container engine answers");
    m->metrics.redis_up = gp_metric_gauge(m->service, "gitpod_ws_manager_redis_up", "", "1: route records are written");
    m->metrics.gateway_reports =
        gp_metric_gauge(m->service, "gitpod_ws_manager_gateway_reports", "", "1: a gateway says what people do in workspaces");
    gp_metric_set(m->metrics.redis_up, 1);
    gp_metric_set(m->metrics.gateway_reports, 1);
}

static void init_names(wsm_t *m)
{
    const gp_service_conf_t *service = &m->conf->service;
    bool plain = service->port == (strcmp(service->external_scheme, "https") == 0 ? 443 : 80);
    char port[16] = "";

    if (!plain) {
        (void) snprintf(port, sizeof(port), ":%lld", (long long) service->port);
    }
    (void) snprintf(m->table, sizeof(m->table), "gitpod_%s", m->conf->installation);
    (void) snprintf(m->gateway_url, sizeof(m->gateway_url), "%s://%s%s", service->external_scheme, service->domain, port);
    (void) snprintf(m->host_suffix, sizeof(m->host_suffix), ".%s%s/", service->workspace_domain, port);
}

static void init_locks(wsm_t *m)
{
    pthread_condattr_t attr;

    (void) pthread_mutex_init(&m->state_lock, NULL);
    (void) pthread_mutex_init(&m->runs_lock, NULL);
    (void) pthread_mutex_init(&m->watch_lock, NULL);
    (void) pthread_mutex_init(&m->tick_lock, NULL);
    (void) pthread_mutex_init(&m->events_lock, NULL);
    (void) pthread_cond_init(&m->events_cond, NULL);
    (void) pthread_cond_init(&m->runs_cond, NULL);
    (void) pthread_condattr_init(&attr);
    (void) pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void) pthread_cond_init(&m->tick_cond, &attr);
    (void) pthread_condattr_destroy(&attr);
}

static int open_stores(wsm_t *m, gp_err_t *err)
{
    const gp_service_conf_t *service = &m->conf->service;
    wsm_auto_arena arena = gp_arena_new(WSM_ARENA_BYTES);
    const char *path = gp_arena_printf(arena, "%s/ws_manager/ws_manager.db", service->state_dir);

    (void) mkdir(gp_arena_printf(arena, "%s/instances", service->run_dir), 0711); /* there already when the set-up made it */
    m->redis = gp_redis_new(gp_arena_printf(arena, GP_SOCKET_REDIS_FMT, service->run_dir), "ws_manager",
                            gp_arena_printf(arena, "%s/secrets/redis-ws_manager", service->state_dir));
    return wsm_store_open(path, &m->db, err);
}

static int start_snapshot(wsm_t *m, gp_err_t *err)
{
    wsm_auto_arena arena = gp_arena_new(WSM_ARENA_BYTES);
    const char *path = gp_arena_printf(arena, GP_FILE_ROUTES_FMT, m->conf->service.state_dir);

    return gp_snapshot_start(path, "routes", 0, wsm_route_snapshot, m, &m->snapshot, err);
}

static bool engine_cancelled(void *data)
{
    wsm_t *m = data;

    return atomic_load(&m->stopping);
}

static int init_engine(wsm_t *m, gp_err_t *err)
{
    int rc = wsm_network_init(&m->network, m->table, m->conf->bridge, m->conf->subnet, (int) m->conf->service.port, err);

    if (rc < 0) {
        return rc;
    }
    if (wsm_mode_port(m)) {
        (void) snprintf(m->network.listeners, sizeof(m->network.listeners), ", %u-%u",
                        (unsigned) (m->conf->service.listener_first & 0xffff), (unsigned) (m->conf->service.listener_last & 0xffff));
    }
    const wsm_engine_conf_t conf = {.socket = m->conf->engine_socket,
                                    .installation = m->conf->installation,
                                    .network = m->conf->network,
                                    .bridge = m->conf->bridge,
                                    .subnet = m->conf->subnet,
                                    .gateway = m->network.gateway};
    wsm_engine_docker_init(&m->engine, &conf, engine_cancelled, m);
    return wsm_network_secure(&m->network, err);
}

static int service_start(gp_service_t *service, const void *conf, void **ret_data, gp_err_t *err)
{
    static wsm_conf_t own;
    wsm_t *m = calloc(1, sizeof(*m));
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    int rc;

    if (!m) {
        gp_die("out of memory");
    }
    (void) mallopt(M_ARENA_MAX, 2); /* many threads, little work in each */
    own = *(const wsm_conf_t *) conf;
    if (cpus > 0 && own.class_cpus > cpus) {
        own.class_cpus = cpus;
    }
    if (!*own.engine_socket && asprintf(&own.engine_socket, GP_SOCKET_ENGINE_FMT, own.service.run_dir) < 0) {
        gp_die("out of memory");
    }
    m->service = service;
    m->conf = &own;
    m->began_ms = gp_clock_ms();
    atomic_store(&m->reported_ms, m->began_ms);
    init_names(m);
    init_locks(m);
    make_metrics(m);
    *ret_data = m;
    rc = open_stores(m, err);
    rc = rc < 0 ? rc : start_snapshot(m, err);
    rc = rc < 0 ? rc : init_engine(m, err);
    return rc < 0 ? rc : wsm_manager_start(m, err);
}

static void service_stop(void *data)
{
    wsm_t *m = data;

    wsm_manager_stop(m);
    wsm_watch_stop(m);
    m->snapshot = gp_snapshot_stop(m->snapshot);
    m->redis = gp_redis_free(m->redis);
    m->db = gp_db_close(m->db);
    wsm_manager_free(m);
    free(m);
}

static const gp_http_route_t routes[] = {{"GET", "/api/ports", wsm_port_link}};

int main(int argc, char **argv)
{
    const gp_service_def_t def = {
        .name = "ws_manager",
        .text = "Workspaces: their state, their containers, their routes",
        .options = options,
        .n_options = sizeof(options) / sizeof(options[0]),
        .conf_size = sizeof(wsm_conf_t),
        .methods = wsm_methods,
        .n_methods = wsm_methods_n,
        .routes = routes,
        .n_routes = sizeof(routes) / sizeof(routes[0]),
        .checks = checks,
        .n_checks = sizeof(checks) / sizeof(checks[0]),
        .start = service_start,
        .stop = service_stop,
    };

    return gp_service_main(&def, argc, argv);
}
