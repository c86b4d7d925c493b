/*
 * Docker-compatible API v1.41 on a unix socket: Podman's or Docker's. A call is
 * one request; an HTTP status becomes a code and the engine's own words.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "core/code.h"
#include "engine.h"
#include "engine_docker.h"
#include "net/http_client.h"

#define DOCKER_URL "http://engine/v1.41"
#define DOCKER_REMOVE_TRIES 10
#define DOCKER_REMOVE_PAUSE_US 50000
#define DOCKER_EVENT_LINE_MAX 65536
#define DOCKER_CALL_ARENA (16u << 20)
#define DOCKER_LOG_TEXT_MAX 300

static int docker_call(wsm_engine_t *engine, gp_arena_t *arena, const char *method, const char *path, const char *body, uint32_t timeout_ms,
                       gp_http_response_t *ret_res, gp_err_t *err)
{
    gp_http_request_t req = {
        .method = method,
        .unix_socket = engine->conf.socket,
        .url = gp_arena_printf(arena, DOCKER_URL "%s", path),
        .content_type = body ? "application/json" : NULL,
        .body = body,
        .body_len = body ? strlen(body) : 0,
        .timeout_ms = timeout_ms,
        .connect_timeout_ms = 5000,
        .response_limit = 8u << 20,
        .cancelled = engine->cancelled,
        .data = engine->data,
    };
    int rc = gp_http_client_do(&req, arena, ret_res, err);

    if (rc == -GP_UNAVAILABLE) {
        gp_err_t why = *err;

        return gp_err(
            err, GP_UNAVAILABLE,
            "The container engine does not answer. Start the workspace again when it is back; ./build.sh status says what runs. (%.300s)",
            why.text);
    }
    return rc < 0 ? gp_err_prefix(err, "The container engine") : 0;
}

/* The engine's own words, in a code of ours. */
static int docker_fault(const gp_http_response_t *res, const char *what, gp_err_t *err)
{
    gp_auto_json json_t *doc = json_loadb(res->body, res->body_len, 0, NULL);
    const char *text = json_string_value(json_object_get(doc, "message"));
    int code = GP_INTERNAL;

    if (!text) {
        text = res->body_len ? res->body : "no reason given";
    }
    if (res->status == 404 || strstr(text, "network not found")) { /* Podman 4.3 says 500 for a network that a container is to join */
        code = GP_NOT_FOUND;
    } else if (res->status == 409 || strstr(text, "already in use")) {
        code = GP_ALREADY_EXISTS;
    } else if (strstr(text, "no space left on device")) {
        code = GP_RESOURCE_EXHAUSTED;
    }
    return gp_err(err, code, "The container engine refused to %s (%d): %.300s", what, res->status, text);
}

static int docker_prepare(wsm_engine_t *engine, gp_err_t *err)
{
    gp_arena_t *arena __attribute__((cleanup(wsm_docker_arena_done))) = gp_arena_new(DOCKER_CALL_ARENA);
    gp_http_response_t res;
    int rc = docker_call(engine, arena, "GET", gp_arena_printf(arena, "/networks/%s", engine->conf.network), NULL, WSM_ENGINE_CALL_MS, &res,
                         err);

    if (rc < 0 || res.status == 200) {
        return rc;
    }
    rc = docker_call(engine, arena, "POST", "/networks/create", wsm_docker_network_json(&engine->conf, arena), WSM_ENGINE_CALL_MS, &res,
                     err);
    if (rc < 0 || res.status == 201 || res.status == 409) {
        return rc;
    }
    return docker_fault(&res, "create the network", err);
}

static int docker_create(wsm_engine_t *engine, const wsm_container_spec_t *spec, char ret_id[WSM_CONTAINER_ID_MAX + 1], gp_err_t *err)
{
    gp_arena_t *arena __attribute__((cleanup(wsm_docker_arena_done))) = gp_arena_new(DOCKER_CALL_ARENA);
    gp_auto_json json_t *doc = NULL;
    gp_http_response_t res;
    const char *body = wsm_docker_container_json(&engine->conf, spec, arena);
    int rc = docker_call(engine, arena, "POST", gp_arena_printf(arena, "/containers/create?name=%s", spec->name), body, WSM_ENGINE_CALL_MS,
                         &res, err);

    if (rc < 0) {
        return rc;
    }
    if (res.status != 201) {
        return docker_fault(&res, "create the container", err);
    }
    doc = json_loadb(res.body, res.body_len, 0, NULL);
    const char *id = json_string_value(json_object_get(doc, "Id"));
    if (!id || strlen(id) > WSM_CONTAINER_ID_MAX) {
        return gp_err(err, GP_INTERNAL, "The container engine answered the creation without an id");
    }
    (void) snprintf(ret_id, WSM_CONTAINER_ID_MAX + 1, "%s", id);
    return 0;
}

static int docker_post(wsm_engine_t *engine, const char *id, const char *verb, const char *what, uint32_t timeout_ms, bool gone_is_fine,
                       gp_err_t *err)
{
    gp_arena_t *arena __attribute__((cleanup(wsm_docker_arena_done))) = gp_arena_new(DOCKER_CALL_ARENA);
    gp_http_response_t res;
    int rc = docker_call(engine, arena, "POST", gp_arena_printf(arena, "/containers/%s/%s", id, verb), NULL, timeout_ms, &res, err);

    if (rc < 0) {
        return rc;
    }
    if (res.status == 204 || res.status == 304 || (gone_is_fine && res.status == 404)) {
        return 0;
    }
    return docker_fault(&res, what, err);
}

static int docker_start(wsm_engine_t *engine, const char *id, gp_err_t *err)
{
    return docker_post(engine, id, "start", "start the container", WSM_ENGINE_CALL_MS, false, err);
}

static int docker_stop(wsm_engine_t *engine, const char *id, int grace_s, gp_err_t *err)
{
    char verb[32];

    (void) snprintf(verb, sizeof(verb), "stop?t=%d", grace_s);
    return docker_post(engine, id, verb, "stop the container", (uint32_t) grace_s * 1000 + 20000, true, err);
}

/* "device or resource busy" comes and goes with mounts of other containers' name spaces. */
static int docker_remove(wsm_engine_t *engine, const char *id, gp_err_t *err)
{
    gp_arena_t *arena __attribute__((cleanup(wsm_docker_arena_done))) = gp_arena_new(DOCKER_CALL_ARENA);
    const char *path = gp_arena_printf(arena, "/containers/%s?force=true&v=true", id);
    gp_http_response_t res;

    for (int i = 0; i < DOCKER_REMOVE_TRIES; i++) {
        int rc = docker_call(engine, arena, "DELETE", path, NULL, WSM_ENGINE_CALL_MS, &res, err);

        if (rc < 0 || res.status == 204 || res.status == 200 || res.status == 404) {
            return rc;
        }
        (void) usleep(DOCKER_REMOVE_PAUSE_US);
    }
    return docker_fault(&res, "remove the container", err);
}

static int docker_inspect(wsm_engine_t *engine, const char *id, gp_arena_t *arena, wsm_container_t *ret, gp_err_t *err)
{
    gp_auto_json json_t *doc = NULL;
    gp_http_response_t res;
    int rc = docker_call(engine, arena, "GET", gp_arena_printf(arena, "/containers/%s/json", id), NULL, WSM_ENGINE_CALL_MS, &res, err);

    if (rc < 0) {
        return rc;
    }
    if (res.status != 200) {
        return docker_fault(&res, "describe the container", err);
    }
    doc = json_loadb(res.body, res.body_len, 0, NULL);
    if (!json_is_object(doc)) {
        return gp_err(err, GP_INTERNAL, "The container engine described the container in no JSON we know");
    }
    wsm_docker_read_inspect(&engine->conf, doc, arena, ret);
    return 0;
}

static int docker_list(wsm_engine_t *engine, gp_arena_t *arena, wsm_container_t **ret, int *ret_n, gp_err_t *err)
{
    gp_auto_json json_t *doc = NULL;
    gp_http_response_t res;
    const char *path =
        gp_arena_printf(arena, "/containers/json?all=true&filters=%%7B%%22label%%22%%3A%%5B%%22gitpod.installation%%3D%s%%22%%5D%%7D",
                        engine->conf.installation);
    int rc = docker_call(engine, arena, "GET", path, NULL, WSM_ENGINE_CALL_MS, &res, err);
    int n = 0;

    if (rc < 0) {
        return rc;
    }
    if (res.status != 200) {
        return docker_fault(&res, "list containers", err);
    }
    doc = json_loadb(res.body, res.body_len, 0, NULL);
    size_t count = json_array_size(doc);
    if (!json_is_array(doc) || count > WSM_CONTAINERS_MAX) {
        return gp_err(err, GP_INTERNAL, "The container engine lists %zu containers of ours, at most %d are possible", count,
                      WSM_CONTAINERS_MAX);
    }
    wsm_container_t *list = gp_arena_alloc(arena, (count + 1) * sizeof(*list));
    for (size_t i = 0; i < count; i++) {
        wsm_docker_read_summary(&engine->conf, json_array_get(doc, i), arena, &list[n++]);
    }
    *ret = list;
    *ret_n = n;
    return 0;
}

typedef struct {
    gp_buf_t line;
    void (*fn)(const wsm_container_t *ended, void *data);
    bool (*cancelled)(void *data);
    void *data;
} docker_watch_t;

static void docker_event(docker_watch_t *watch, const char *text, size_t len)
{
    gp_auto_json json_t *doc = json_loadb(text, len, 0, NULL);
    json_t *attributes = json_object_get(json_object_get(doc, "Actor"), "Attributes");
    const char *exit_code = json_string_value(json_object_get(attributes, "containerExitCode"));
    const char *id = json_string_value(json_object_get(json_object_get(doc, "Actor"), "ID"));
    wsm_container_t ended = {.running = false};

    ended.workspace = json_string_value(json_object_get(attributes, "gitpod.workspace"));
    ended.instance = json_string_value(json_object_get(attributes, "gitpod.instance"));
    if (!ended.workspace || !ended.instance || !id) {
        return;
    }
    (void) snprintf(ended.id, sizeof(ended.id), "%s", id);
    ended.exit_code = exit_code ? (int) strtol(exit_code, NULL, 10) : 0;
    watch->fn(&ended, watch->data);
}

static int docker_on_events(const void *chunk, size_t len, void *data, gp_err_t *err)
{
    docker_watch_t *watch = data;
    char *end;

    if (gp_buf_append(&watch->line, chunk, len) != 0) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "The container engine sent an event of more than %d bytes", DOCKER_EVENT_LINE_MAX);
    }
    while ((end = memchr(watch->line.data, '\n', watch->line.len)) != NULL) {
        size_t n = (size_t) (end - watch->line.data);
        docker_event(watch, watch->line.data, n);
        gp_buf_consume(&watch->line, n + 1);
    }
    return 0;
}

static bool docker_watch_cancelled(void *data)
{
    docker_watch_t *watch = data;

    return watch->cancelled(watch->data);
}

static int docker_watch(wsm_engine_t *engine, void (*fn)(const wsm_container_t *ended, void *data), bool (*cancelled)(void *data),
                        void *data, gp_err_t *err)
{
    gp_arena_t *arena __attribute__((cleanup(wsm_docker_arena_done))) = gp_arena_new(DOCKER_CALL_ARENA);
    docker_watch_t watch = {.fn = fn, .cancelled = cancelled, .data = data};
    gp_http_response_t res;
    gp_http_request_t req = {
        .method = "GET",
        .unix_socket = engine->conf.socket,
        .url = gp_arena_printf(
            arena,
            DOCKER_URL
            "/events?filters=%%7B%%22label%%22%%3A%%5B%%22gitpod.installation%%3D%s%%22%%5D%%2C%%22event%%22%%3A%%5B%%22die%%22%%5D%%7D",
            engine->conf.installation),
        .connect_timeout_ms = 5000,
        .cancelled = docker_watch_cancelled,
        .data = &watch,
        .on_body = docker_on_events,
    };

    gp_buf_init(&watch.line, DOCKER_EVENT_LINE_MAX);
    int rc = gp_http_client_do(&req, arena, &res, err);
    gp_buf_done(&watch.line);
    if (rc == 0 && res.status != 200) {
        return docker_fault(&res, "send events", err);
    }
    return rc;
}

/* Frames of 8 bytes head and text; only printable text is kept, the end of it. */
static const char *docker_logs(wsm_engine_t *engine, const char *id, gp_arena_t *arena)
{
    gp_http_response_t res;
    gp_err_t err = GP_ERR_INIT;
    char *text;
    size_t n = 0;

    if (docker_call(engine, arena, "GET", gp_arena_printf(arena, "/containers/%s/logs?stdout=true&stderr=true&tail=5", id), NULL, 5000,
                    &res, &err) < 0 ||
        res.status != 200) {
        return "";
    }
    text = gp_arena_alloc(arena, res.body_len + 1);
    for (size_t i = 0; i + 8 <= res.body_len;) {
        const unsigned char *head = (const unsigned char *) res.body + i;
        size_t len = (size_t) head[4] << 24 | (size_t) head[5] << 16 | (size_t) head[6] << 8 | head[7];

        i += 8;
        for (size_t k = 0; k < len && i + k < res.body_len; k++) {
            char c = res.body[i + k];
            text[n++] = c >= ' ' && c != 0x7f ? c : ' ';
        }
        i += len < res.body_len ? len : res.body_len;
    }
    while (n > 0 && text[n - 1] == ' ') {
        n--;
    }
    text[n] = '\0';
    return n > DOCKER_LOG_TEXT_MAX ? text + n - DOCKER_LOG_TEXT_MAX : text;
}

void wsm_engine_docker_init(wsm_engine_t *engine, const wsm_engine_conf_t *conf, bool (*cancelled)(void *data), void *data)
{
    engine->conf = *conf;
    engine->cancelled = cancelled;
    engine->data = data;
    engine->prepare = docker_prepare;
    engine->create = docker_create;
    engine->start = docker_start;
    engine->stop = docker_stop;
    engine->remove = docker_remove;
    engine->inspect = docker_inspect;
    engine->list = docker_list;
    engine->watch = docker_watch;
    engine->logs = docker_logs;
}
