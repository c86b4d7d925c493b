#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/die.h"
#include "gitpod/v1/workspace.pb-c.h"
#include "rpc/service.h"

/*
 * A small service on the kit, for t/service/kit.t and bench/fastcgi.sh. What a
 * call does is in its workspace_id: "wait" blocks until the call is cancelled,
 * "fail" fails, "metadata" names what came in the header test-bin, "count" streams three messages, "flood" streams until the reader
 * is too slow, "idle" streams one message and stays open; all else is echoed.
 */
typedef struct {
    gp_service_conf_t common;
    char *greeting;
    int64_t page;
} echo_conf_t;

typedef struct {
    const echo_conf_t *conf;
    gp_metric_t *waits, *cancelled, *closed, *slow;
    char *page;
} echo_t;


static int echo_get(gp_call_t *call, const ProtobufCMessage *msg, ProtobufCMessage *res_msg, gp_err_t *err)
{
    const Gitpod__V1__GetWorkspaceRequest *req = (const Gitpod__V1__GetWorkspaceRequest *) msg;
    Gitpod__V1__GetWorkspaceResponse *res = (Gitpod__V1__GetWorkspaceResponse *) res_msg;
    const struct timespec nap = {.tv_nsec = 5000000};
    echo_t *echo = call->data;
    const char *binary;

    if (strcmp(req->workspace_id, "fail") == 0) {
        return gp_err(err, GP_NOT_FOUND, "workspace_id: there is no workspace \"%s\"", req->workspace_id);
    }

    if (strcmp(req->workspace_id, "wait") == 0) {
        gp_metric_add(echo->waits, 1);
        while (!gp_call_cancelled(call)) {
            (void) nanosleep(&nap, NULL);
        }
        gp_metric_add(echo->cancelled, 1);
        return gp_err(err, GP_CANCELED, "the caller went away");
    }

    res->workspace = gp_arena_alloc(call->arena, sizeof(Gitpod__V1__Workspace));
    gitpod__v1__workspace__init(res->workspace);
    res->workspace->id = req->workspace_id;
    res->workspace->metadata = gp_arena_alloc(call->arena, sizeof(Gitpod__V1__WorkspaceMetadata));
    gitpod__v1__workspace_metadata__init(res->workspace->metadata);
    res->workspace->metadata->owner_id = gp_arena_strdup(call->arena, call->user);
    res->workspace->metadata->name = gp_arena_printf(call->arena, "%s %s", echo->conf->greeting, call->caller);
    if (strcmp(req->workspace_id, "metadata") == 0) {
        binary = gp_call_param(call, "HTTP_TEST_BIN");
        res->workspace->metadata->name = gp_arena_strdup(call->arena, binary ? binary : "none");
    }

    return 0;
}


static void echo_closed(gp_stream_t *stream, void *data)
{
    echo_t *echo = data;

    gp_metric_add(echo->closed, 1);
    gp_stream_end(stream, NULL);
}


static int echo_watch(gp_call_t *call, const ProtobufCMessage *msg, gp_stream_t *stream, gp_err_t *err)
{
    const Gitpod__V1__WatchWorkspaceStatusRequest *req = (const Gitpod__V1__WatchWorkspaceStatusRequest *) msg;
    Gitpod__V1__WatchWorkspaceStatusResponse res = GITPOD__V1__WATCH_WORKSPACE_STATUS_RESPONSE__INIT;
    echo_t *echo = call->data;
    int i, rc;

    if (strcmp(req->workspace_id, "fail") == 0) {
        return gp_err(err, GP_PERMISSION_DENIED, "workspace_id: not yours");
    }

    res.workspace_id = req->workspace_id;
    if (strcmp(req->workspace_id, "idle") == 0) {
        gp_stream_on_close(stream, echo_closed, echo);
        rc = gp_stream_send(stream, &res.base);
        return rc == -GP_CANCELED ? 0 : rc; /* echo_closed ends it */
    }

    rc = 0;
    for (i = 0; rc == 0 && (i < 3 || strcmp(req->workspace_id, "flood") == 0); i++) {
        rc = gp_stream_send(stream, &res.base);
    }
    if (rc == -GP_RESOURCE_EXHAUSTED) {
        gp_metric_add(echo->slow, 1);
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "the reader is too slow");
    }
    gp_stream_end(stream, NULL);

    return 0;
}


static int echo_form(gp_call_t *call, gp_http_reply_t *reply, gp_err_t *err)
{
    const char *text;

    (void) err;
    text = gp_call_query(call, "text");
    gp_http_reply_header(call, reply, "Set-Cookie", "a=1");
    gp_http_reply_header(call, reply, "Set-Cookie", "b=2");
    gp_http_reply_header(call, reply, "X-Bad", "a\r\nX-Injected: 1");
    reply->status = 201;
    reply->content_type = "text/plain";
    reply->body = gp_arena_printf(call->arena, "text=%s", text ? text : "(none)");
    reply->body_len = strlen(reply->body);

    return 0;
}


static int echo_page(gp_call_t *call, gp_http_reply_t *reply, gp_err_t *err)
{
    echo_t *echo = call->data;

    (void) err;
    reply->content_type = "text/plain";
    reply->body = echo->page;
    reply->body_len = (size_t) echo->conf->page;

    return 0;
}


static int echo_call(gp_call_t *call, gp_http_reply_t *reply, gp_err_t *err)
{
    Gitpod__V1__GetWorkspaceRequest req = GITPOD__V1__GET_WORKSPACE_REQUEST__INIT;
    const Gitpod__V1__GetWorkspaceResponse *got;
    ProtobufCMessage *res = NULL;
    char *timeout;
    int rc;

    timeout = gp_call_query(call, "timeout");
    req.workspace_id = gp_call_query(call, "id");
    rc = gp_rpc_unary(call->service, &gitpod__v1__workspace_service__descriptor, "GetWorkspace", &req.base, call->arena, &res,
                      timeout ? (uint32_t) strtoul(timeout, NULL, 10) : 5000, err);
    if (rc != 0) {
        return rc;
    }

    got = (const Gitpod__V1__GetWorkspaceResponse *) res;
    reply->body = gp_arena_printf(call->arena, "%s|%s", got->workspace->id, got->workspace->metadata->name);
    reply->body_len = strlen(reply->body);

    return 0;
}


static int echo_heard(const ProtobufCMessage *msg, void *data, gp_err_t *err)
{
    const Gitpod__V1__WatchWorkspaceStatusResponse *res = (const Gitpod__V1__WatchWorkspaceStatusResponse *) msg;
    int *n = data;

    *n += 1;

    return strcmp(res->workspace_id, "flood") == 0 ? gp_err(err, GP_ABORTED, "enough") : 0;
}


static bool echo_had_enough(void *data)
{
    return *(int *) data > 0;
}


static int echo_listen(gp_call_t *call, gp_http_reply_t *reply, gp_err_t *err)
{
    Gitpod__V1__WatchWorkspaceStatusRequest req = GITPOD__V1__WATCH_WORKSPACE_STATUS_REQUEST__INIT;
    int n = 0, rc;

    req.workspace_id = gp_call_query(call, "id");
    rc = gp_rpc_stream(call->service, &gitpod__v1__workspace_service__descriptor, "WatchWorkspaceStatus", &req.base, echo_heard, &n,
                       strcmp(req.workspace_id, "idle") == 0 ? echo_had_enough : NULL, 0, err);
    if (rc != 0) {
        return gp_err_prefix(err, "%d heard", n);
    }

    reply->body = gp_arena_printf(call->arena, "%d heard", n);
    reply->body_len = strlen(reply->body);

    return 0;
}


static int echo_check(void *data, gp_err_t *err)
{
    return access(data ? "/" : "", F_OK) == 0 ? 0 : gp_err(err, GP_UNAVAILABLE, "no root directory");
}


static int echo_start(gp_service_t *service, const void *conf, void **ret_data, gp_err_t *err)
{
    static echo_t echo;

    echo.conf = conf;
    if (strcmp(echo.conf->greeting, "broken") == 0) {
        return gp_err(err, GP_FAILED_PRECONDITION, "the greeting is broken: choose another");
    }

    echo.page = malloc((size_t) echo.conf->page);
    gp_assert(echo.page != NULL);
    memset(echo.page, 'x', (size_t) echo.conf->page);
    echo.waits = gp_metric_counter(service, "echo_waits_total", "", "Calls that have begun to wait.");
    echo.cancelled = gp_metric_counter(service, "echo_cancelled_total", "", "Calls that saw their caller go.");
    echo.closed = gp_metric_counter(service, "echo_closed_total", "", "Streams that saw their client go.");
    echo.slow = gp_metric_counter(service, "echo_slow_total", "", "Streams whose reader was too slow.");
    *ret_data = &echo;

    return 0;
}


static void echo_stop(void *data)
{
    echo_t *echo = data;

    free(echo->page);
}


int main(int argc, char **argv)
{
    static const gp_option_t options[] = {
        {"greeting", GP_OPT_STRING, offsetof(echo_conf_t, greeting), "", "hello", 0, 0, "What a reply begins with."},
        {"page", GP_OPT_BYTES, offsetof(echo_conf_t, page), "bytes", "512", 1, 16777216, "Length of /page."},
    };
    static const gp_method_t methods[] = {
        {&gitpod__v1__workspace_service__descriptor, "GetWorkspace", echo_get, NULL},
        {&gitpod__v1__workspace_service__descriptor, "WatchWorkspaceStatus", NULL, echo_watch},
    };
    static const gp_http_route_t routes[] = {
        {"GET", "/form", echo_form}, {"POST", "/form", echo_form},    {"GET", "/page", echo_page},
        {"GET", "/call", echo_call}, {"GET", "/listen", echo_listen},
    };
    static const gp_check_t checks[] = {{"root", echo_check}};
    static const gp_service_def_t def = {
        .name = "echo",
        .text = "answers what it is asked",
        .options = options,
        .n_options = 2,
        .conf_size = sizeof(echo_conf_t),
        .methods = methods,
        .n_methods = 2,
        .routes = routes,
        .n_routes = sizeof(routes) / sizeof(routes[0]),
        .checks = checks,
        .n_checks = 1,
        .start = echo_start,
        .stop = echo_stop,
    };

    return gp_service_main(&def, argc, argv);
}
