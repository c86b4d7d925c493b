#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../control.h"
#include "api.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "content.h"
#include "ide.h"
#include "port.h"
#include "task.h"
#include "wish.h"

static char sup_api_fatal[GP_ERR_TEXT_MAX];
static int64_t sup_api_active_s; /* start, heartbeats of people's programs */
static int sup_api_stop;
static int sup_api_ends; /* the workspace stops */
static int sup_api_watched; /* somebody waits, or waited, to hear that */
static int sup_api_told; /* how often it was answered so */


void sup_api_set_fatal(const char *text)
{
    (void) snprintf(sup_api_fatal, sizeof(sup_api_fatal), "%s", text);
    gp_log(GP_LOG_ERROR, text, NULL);
}


void sup_api_started(void)
{
    sup_api_active_s = gp_clock_epoch_s();
}


int sup_api_set_ends(void)
{
    sup_api_ends = 1;

    return sup_api_watched;
}


int sup_api_ends_told(void)
{
    return sup_api_told;
}


int sup_api_stop_requested(void)
{
    return sup_api_stop;
}


static int sup_api_error(sup_reply_t *reply, int code, const char *text)
{
    reply->status = gp_code_http_status(code);
    reply->body = json_pack("{s:i, s:s}", "code", code, "message", text);

    return SUP_API_ANSWER;
}


static int sup_api_ok(sup_reply_t *reply, json_t *body)
{
    if (!body) {
        return sup_api_error(reply, GP_RESOURCE_EXHAUSTED, "out of memory");
    }
    reply->status = 200;
    reply->body = body;

    return SUP_API_ANSWER;
}


static int sup_api_supervisor(const sup_request_t *request, int last, sup_reply_t *reply)
{
    (void) request;
    (void) last;
    if (*sup_api_fatal) {
        return sup_api_ok(reply, json_pack("{s:b, s:s}", "ok", 0, "error", sup_api_fatal));
    }

    return sup_api_ok(reply, json_pack("{s:b}", "ok", 1));
}


/* Waits for the end of the workspace: true when it comes. */
static int sup_api_will_shutdown(const sup_request_t *request, int last, sup_reply_t *reply)
{
    (void) request;
    if (!sup_api_ends && !last) {
        sup_api_watched = 1;
        return SUP_API_WAIT;
    }
    sup_api_told += sup_api_ends;

    return sup_api_ok(reply, json_pack("{s:b}", "ok", sup_api_ends));
}


static int sup_api_ide(const sup_request_t *request, int last, sup_reply_t *reply)
{
    const char *alias = getenv("GITPOD_IDE_ALIAS");
    const char *error = *sup_api_fatal ? sup_api_fatal : sup_ide_error();

    alias = alias && *alias ? alias : "code";
    if (sup_ide_ready()) {
        return sup_api_ok(reply, json_pack("{s:b, s:s}", "ok", 1, "alias", alias));
    }
    if (error) {
        return sup_api_ok(reply, json_pack("{s:b, s:s, s:s}", "ok", 0, "alias", alias, "error", error));
    }

    return request->wait && !last ? SUP_API_WAIT : sup_api_ok(reply, json_pack("{s:b, s:s}", "ok", 0, "alias", alias));
}


static int sup_api_content(const sup_request_t *request, int last, sup_reply_t *reply)
{
    const sup_content_t *content = sup_content();

    if (!content->available) {
        return request->wait && !last && !*sup_api_fatal ? SUP_API_WAIT : sup_api_ok(reply, json_pack("{s:b}", "available", 0));
    }

    return sup_api_ok(reply, json_pack("{s:b, s:s}", "available", 1, "source", content->from_backup ? "from-backup" : "from-other"));
}


static int sup_api_ports(const sup_request_t *request, int last, sup_reply_t *reply)
{
    (void) request;
    (void) last;

    return sup_api_ok(reply, sup_port_status());
}


static int sup_api_tasks(const sup_request_t *request, int last, sup_reply_t *reply)
{
    (void) request;
    (void) last;

    return sup_api_ok(reply, sup_task_status());
}


static int sup_api_activity(const sup_request_t *request, int last, sup_reply_t *reply)
{
    int64_t active = sup_api_active_s, typed = sup_task_input_epoch_s();

    (void) request;
    (void) last;
    active = typed > active ? typed : active;

    return sup_api_ok(reply, json_pack("{s:I, s:I, s:b, s:I, s:o}", "lastActivityEpochS", (json_int_t) active, "editorEpochS",
                                       (json_int_t) sup_ide_heartbeat_epoch_s(), "stopRequested", sup_api_stop, "ideRestarts",
                                       (json_int_t) sup_ide_restarts(), "portWishes", sup_wish_list()));
}


static int sup_api_heartbeat(sup_reply_t *reply)
{
    sup_api_active_s = gp_clock_epoch_s();

    return sup_api_ok(reply, json_object());
}


static int sup_api_resize(const sup_request_t *request, sup_reply_t *reply)
{
    gp_err_t err = GP_ERR_INIT;

    if (strcmp(request->method, "POST") != 0) {
        return sup_api_error(reply, GP_UNIMPLEMENTED, "use POST");
    }
    if (sup_task_resize(request->path + strlen(GP_PATH_RESIZE), request->rows, request->columns, &err) < 0) {
        return sup_api_error(reply, err.code, err.text);
    }

    return sup_api_ok(reply, json_object());
}


static int sup_api_port(const sup_request_t *request, sup_reply_t *reply)
{
    gp_err_t err = GP_ERR_INIT;

    if (strcmp(request->method, "POST") != 0) {
        return sup_api_error(reply, GP_UNIMPLEMENTED, "use POST");
    }
    if (sup_wish_add(request->path + strlen(GP_PATH_PORT), &err) < 0) {
        return sup_api_error(reply, err.code, err.text);
    }

    return sup_api_ok(reply, json_object());
}


static int sup_api_control(const sup_request_t *request, sup_reply_t *reply)
{
    if (strncmp(request->path, GP_PATH_RESIZE, strlen(GP_PATH_RESIZE)) == 0) {
        return sup_api_resize(request, reply);
    }
    if (strncmp(request->path, GP_PATH_PORT, strlen(GP_PATH_PORT)) == 0) {
        return sup_api_port(request, reply);
    }
    if (strcmp(request->path, GP_PATH_STOP) == 0) {
        if (strcmp(request->method, "POST") != 0) {
            return sup_api_error(reply, GP_UNIMPLEMENTED, "use POST");
        }
        sup_api_stop = 1;
        gp_log(GP_LOG_INFO, "a stop was asked for from inside", NULL);
        return sup_api_ok(reply, json_object());
    }
    reply->task = request->path + strlen(GP_PATH_TERMINAL);

    return SUP_API_ATTACH;
}


int sup_api_answer(const sup_request_t *request, int local, int last, sup_reply_t *ret_reply)
{
    static const struct {
        const char *name;
        int (*fn)(const sup_request_t *, int, sup_reply_t *);
    } statuses[] = {{"supervisor", sup_api_supervisor},
                    {"supervisor/willShutdown/true", sup_api_will_shutdown},
                    {"ide", sup_api_ide},
                    {"content", sup_api_content},
                    {"ports", sup_api_ports},
                    {"tasks", sup_api_tasks},
                    {"activity", sup_api_activity}};
    const size_t prefix = strlen(GP_PATH_STATUS);
    size_t i;

    if (strcmp(request->path, GP_PATH_HEARTBEAT) == 0) {
        return sup_api_heartbeat(ret_reply);
    }
    if (local && (strcmp(request->path, GP_PATH_STOP) == 0 || strncmp(request->path, GP_PATH_TERMINAL, strlen(GP_PATH_TERMINAL)) == 0 ||
                  strncmp(request->path, GP_PATH_RESIZE, strlen(GP_PATH_RESIZE)) == 0 ||
                  strncmp(request->path, GP_PATH_PORT, strlen(GP_PATH_PORT)) == 0)) {
        return sup_api_control(request, ret_reply);
    }
    for (i = 0; strncmp(request->path, GP_PATH_STATUS, prefix) == 0 && i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        if (strcmp(request->path + prefix, statuses[i].name) == 0) {
            return strcmp(request->method, "GET") == 0 ? statuses[i].fn(request, last, ret_reply)
                                                       : sup_api_error(ret_reply, GP_UNIMPLEMENTED, "use GET");
        }
    }

    return sup_api_error(ret_reply, GP_NOT_FOUND, "there is no such endpoint");
}
