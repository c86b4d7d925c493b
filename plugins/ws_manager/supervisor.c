/*
 * The supervisor's status over HTTP. What it says is a workspace's word: read
 * with bounds, never trusted further than its own workspace.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "core/contract.h"
#include "net/http_client.h"
#include "wsm.h"

#define SUPERVISOR_WAIT_MS 65000
#define SUPERVISOR_ASK_MS 2000
#define SUPERVISOR_ANSWER_MAX 16384

static int supervisor_get(const char *address, const char *path, uint32_t timeout_ms, bool (*cancelled)(void *), void *data,
                          gp_arena_t *arena, json_t **ret, gp_err_t *err)
{
    gp_http_response_t res;
    gp_http_request_t req = {
        .method = "GET",
        .url = gp_arena_printf(arena,
                               strchr(address, ':') ? "http://[%s]:%d/_supervisor/v1/status/%s" : "http://%s:%d/_supervisor/v1/status/%s",
                               address, GP_PORT_SUPERVISOR, path),
        .timeout_ms = timeout_ms,
        .connect_timeout_ms = SUPERVISOR_ASK_MS,
        .response_limit = SUPERVISOR_ANSWER_MAX,
        .cancelled = cancelled,
        .data = data,
    };
    int rc = gp_http_client_do(&req, arena, &res, err);

    if (rc < 0) {
        return rc;
    }
    *ret = json_loadb(res.body, res.body_len, 0, NULL);
    if (!json_is_object(*ret)) {
        json_decref(*ret);
        *ret = NULL;
        return gp_err(err, GP_INTERNAL, "The supervisor answered %s with status %d and no JSON object", path, res.status);
    }
    return 0;
}

int wsm_supervisor_ide(const char *address, bool wait, bool (*cancelled)(void *), void *data, gp_arena_t *arena, gp_err_t *err)
{
    json_t *doc = NULL;
    int rc = supervisor_get(address, wait ? "ide?wait=true" : "ide", wait ? SUPERVISOR_WAIT_MS : SUPERVISOR_ASK_MS, cancelled, data, arena,
                            &doc, err);
    gp_auto_json json_t *owned = doc;
    const char *error = json_string_value(json_object_get(doc, "error"));

    if (rc < 0 || json_is_true(json_object_get(owned, "ok"))) {
        return rc;
    }
    if (error && *error) {
        return gp_err(err, GP_FAILED_PRECONDITION, "The editor does not start: %.300s", error);
    }
    return 1;
}

int wsm_supervisor_ports(const char *address, int *ports, int max, gp_arena_t *arena, gp_err_t *err)
{
    json_t *doc = NULL;
    int n = 0, rc = supervisor_get(address, "ports", SUPERVISOR_ASK_MS, NULL, NULL, arena, &doc, err);
    gp_auto_json json_t *owned = doc;
    const json_t *list = json_object_get(owned, "ports");

    for (size_t i = 0; rc == 0 && n < max && i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        json_int_t port = json_integer_value(json_object_get(entry, "localPort"));
        const char *on_open = json_string_value(json_object_get(entry, "onOpen"));

        if (port >= 1 && port <= 65535 && on_open && strcmp(on_open, "ignore") != 0) {
            ports[n++] = (int) port;
        }
    }
    return rc < 0 ? rc : n;
}

static void activity_wishes(const json_t *list, gp_arena_t *arena, wsm_activity_t *ret)
{
    for (size_t i = 0; i < json_array_size(list) && ret->n_wishes < WSM_WISHES_MAX; i++) {
        const json_t *entry = json_array_get(list, i);
        const char *set = json_string_value(json_object_get(entry, "set"));
        json_int_t port = json_integer_value(json_object_get(entry, "port"));

        if (set && port > 0 && port <= 65535) {
            ret->wishes[ret->n_wishes++] = (wsm_wish_t){
                .seq = json_integer_value(json_object_get(entry, "seq")), .port = (int) port, .set = gp_arena_strdup(arena, set)};
        }
    }
}

int wsm_supervisor_activity(const char *address, gp_arena_t *arena, wsm_activity_t *ret, gp_err_t *err)
{
    json_t *doc = NULL;
    int rc = supervisor_get(address, "activity", SUPERVISOR_ASK_MS, NULL, NULL, arena, &doc, err);
    gp_auto_json json_t *owned = doc;

    if (rc < 0) {
        return rc;
    }
    ret->last_activity_s = json_integer_value(json_object_get(owned, "lastActivityEpochS"));
    ret->editor_s = json_integer_value(json_object_get(owned, "editorEpochS"));
    ret->stop_requested = json_is_true(json_object_get(owned, "stopRequested"));
    activity_wishes(json_object_get(owned, "portWishes"), arena, ret);
    ret->ide_restarts = (int) json_integer_value(json_object_get(owned, "ideRestarts"));
    return 0;
}
