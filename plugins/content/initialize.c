#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <gitpod/internal/v1/auth.pb-c.h>
#include <gitpod/internal/v1/content.pb-c.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/gitpod_yml.h"
#include "base/log.h"
#include "clone.h"
#include "content.h"
#include "core/id.h"
#include "credential.h"
#include "job.h"
#include "rpc/utf8.h"

/*
 * InitializeWorkspace: directories at once, then a thread that clones, or finds
 * that the person's work is there. The order of a clone: into .clone, renamed
 * into workspace/, noted as handed out, told. A crash between any two leaves
 * either nothing that is visible, or a whole checkout that the next call hands
 * out as fresh.
 */
#define CNT_JOB_WAIT_MS 15000 /* for an earlier call on the same workspace to end */
#define CNT_PROGRESS_MS 100 /* between two messages of one step */
#define CNT_WAITING_MS 2000 /* between two messages while other clones have all slots */
#define CNT_TOKEN_TIMEOUT_MS 10000

#define CNT_RESPONSE Gitpod__Internal__V1__InitializeWorkspaceResponse
#define CNT_RESPONSE_INIT GITPOD__INTERNAL__V1__INITIALIZE_WORKSPACE_RESPONSE__INIT
#define CNT_STEP(name) GITPOD__INTERNAL__V1__INITIALIZE_WORKSPACE_RESPONSE__STEP__STEP_##name

typedef struct {
    gp_call_t *call;
    gp_stream_t *stream;
    const Gitpod__Internal__V1__InitializeWorkspaceRequest *req;
    cnt_t *content;
    cnt_job_t *job;
    cnt_place_t place;
    cnt_url_t url;
    int secret;
    int step;
    uint64_t told_ms;
    bool reader_gone;
    bool waiting; /* for a slot, and told so */
} cnt_init_t;


static bool cnt_init_cancelled(void *data)
{
    const cnt_init_t *init = data;

    return init->reader_gone || atomic_load(&init->job->cancelled) || gp_call_cancelled(init->call);
}


/* proto3 texts are not const in C, and are UTF-8, which names of git need not be. */
static char *cnt_text(gp_arena_t *arena, const char *text)
{
    return gp_arena_strdup(arena, gp_utf8_repair(arena, text));
}


static void cnt_init_tell(const cnt_progress_t *progress, void *data)
{
    CNT_RESPONSE message = CNT_RESPONSE_INIT;
    char detail[CNT_DETAIL_MAX];
    cnt_init_t *init = data;
    uint64_t now = gp_clock_ms();

    if (init->step == progress->step && now - init->told_ms < CNT_PROGRESS_MS) {
        return;
    }
    init->step = progress->step;
    init->told_ms = now;
    (void) snprintf(detail, sizeof(detail), "%s", progress->detail);
    message.step = (Gitpod__Internal__V1__InitializeWorkspaceResponse__Step) progress->step;
    message.percent = progress->percent;
    message.detail = detail;
    if (gp_stream_send(init->stream, &message.base) < 0) {
        init->reader_gone = true;
    }
}


/* Polled while other clones have all slots: who waits sees why. */
static bool cnt_init_waits(void *data)
{
    static const cnt_progress_t waiting = {CNT_STEP(CONNECTING), -1, "Waiting for other clones to end"};
    cnt_init_t *init = data;

    if (gp_clock_ms() - init->told_ms > (init->waiting ? CNT_WAITING_MS : CNT_PROGRESS_MS)) {
        init->waiting = true;
        cnt_init_tell(&waiting, init);
    }

    return cnt_init_cancelled(init);
}


/* The person's token for the host. None is no fault: the clone is tried without. */
static int cnt_init_token(cnt_init_t *init, gp_err_t *err)
{
    Gitpod__Internal__V1__GetGitTokenRequest req = GITPOD__INTERNAL__V1__GET_GIT_TOKEN_REQUEST__INIT;
    const Gitpod__Internal__V1__GetGitTokenResponse *token;
    gp_auto_arena gp_arena_t *arena = NULL;
    ProtobufCMessage *res = NULL;
    int rc;

    if (!*init->url.host || !*init->req->user_id) {
        return 0;
    }
    arena = gp_arena_new(1048576);
    req.user_id = cnt_text(arena, init->req->user_id);
    req.host = cnt_text(arena, init->url.host);
    rc = gp_rpc_unary(init->content->service, &gitpod__internal__v1__auth_service__descriptor, "GetGitToken", &req.base, arena, &res,
                      CNT_TOKEN_TIMEOUT_MS, err);
    if (rc == -GP_NOT_FOUND) {
        return 0;
    }
    if (rc < 0) {
        return gp_err_prefix(err, "asking for the Git access token of %s", init->url.host);
    }
    token = (const Gitpod__Internal__V1__GetGitTokenResponse *) res;
    rc = cnt_credential_new(&init->url, token->username, token->value, &init->secret, err);
    explicit_bzero(token->value, strlen(token->value));

    return rc;
}


static void cnt_init_ports(cnt_init_t *init, const gp_yml_t *yml, Gitpod__Internal__V1__ContentResult *result)
{
    gp_arena_t *arena = init->call->arena;
    size_t i;

    result->ports = gp_arena_alloc(arena, (yml->n_ports + 1) * sizeof(*result->ports));
    for (i = 0; i < yml->n_ports; i++) {
        const gp_yml_port_t *said = &yml->ports[i];
        Gitpod__Internal__V1__ContentPort *port;

        if (!said->visible && said->protocol == GP_YML_HTTP) {
            continue;
        }
        port = gp_arena_alloc(arena, sizeof(*port));
        gitpod__internal__v1__content_port__init(port);
        port->port = said->first;
        port->visible = said->visible;
        port->protocol = cnt_text(arena, gp_yml_protocol_name(said->protocol));
        result->ports[result->n_ports++] = port;
    }
}


/* What .gitpod.yml says of ports, and what it says that has no effect yet. Never a fault. */
static void cnt_init_yml(cnt_init_t *init, cnt_clone_t *clone, Gitpod__Internal__V1__ContentResult *result)
{
    gp_auto_free char *text = malloc(GP_YML_SIZE_MAX + 1);
    gp_err_t err = GP_ERR_INIT;
    char path[CNT_CHECKOUT_MAX + sizeof("/" GP_YML_NAME)];
    gp_yml_t *yml = NULL;
    size_t len, i;

    (void) snprintf(path, sizeof(path), "%s/" GP_YML_NAME, init->req->git->checkout_location);
    if (!text || cnt_place_read(&init->place, path, text, GP_YML_SIZE_MAX + 1, &len, &err) < 0) {
        if (err.code == GP_OUT_OF_RANGE) {
            cnt_clone_warn(clone, GP_YML_NAME " is larger than %d bytes and is ignored", GP_YML_SIZE_MAX);
        }
        return;
    }
    if (gp_yml_parse(text, len, &yml, &err) < 0) {
        cnt_clone_warn(clone, "%s. The file is ignored", err.text);
        return;
    }
    for (i = 0; i < yml->n_warnings; i++) {
        cnt_clone_warn(clone, "%s", yml->warnings[i]);
    }
    cnt_init_ports(init, yml, result);
    (void) gp_yml_free(yml);
}


static int cnt_init_done(cnt_init_t *init, cnt_clone_t *clone, const char *source, gp_err_t *err)
{
    Gitpod__Internal__V1__ContentResult result = GITPOD__INTERNAL__V1__CONTENT_RESULT__INIT;
    CNT_RESPONSE message = CNT_RESPONSE_INIT;
    gp_arena_t *arena = init->call->arena;
    char branch[CNT_REF_MAX], commit[CNT_REF_MAX];
    size_t i;

    cnt_init_yml(init, clone, &result);
    if (!clone->commit) {
        cnt_place_head(&init->place, init->req->git->checkout_location, branch, commit, sizeof(branch));
        clone->commit = commit;
        clone->branch = branch;
    }
    result.source = cnt_text(arena, source);
    result.location = gp_arena_printf(arena, GP_DIR_WORKSPACE "/%s", init->req->git->checkout_location);
    result.commit = cnt_text(arena, clone->commit);
    result.branch = cnt_text(arena, clone->branch);
    for (i = 0; i < clone->n_warnings; i++) {
        clone->warnings[i] = cnt_text(arena, clone->warnings[i]);
    }
    result.warnings = clone->warnings;
    result.n_warnings = clone->n_warnings;
    message.step = CNT_STEP(DONE);
    message.percent = 100;
    message.detail = cnt_text(arena, strcmp(source, "from-backup") == 0 ? "Your work is there" : "Cloned");
    message.result = &result;

    return gp_stream_send(init->stream, &message.base) < 0 ? gp_err(err, GP_CANCELED, "nobody waits any more") : 0;
}


static int cnt_init_clone(cnt_init_t *init, cnt_clone_t *clone, gp_err_t *err)
{
    const cnt_t *content = init->content;
    gp_arena_t *arena = init->call->arena;
    uint64_t limit;
    int rc;

    rc = cnt_slot_take(cnt_init_waits, init, err);
    if (rc < 0) {
        return rc;
    }
    limit = gp_clock_ms() + (uint64_t) content->conf->clone_timeout * 1000;
    gp_metric_add(content->clones_running, 1);
    rc = cnt_init_token(init, err);
    if (rc == 0) {
        clone->source = init->req->git;
        clone->url = init->url;
        clone->place = &init->place;
        clone->home = gp_arena_printf(arena, "%s/%s/.clone", content->root_path, init->req->workspace_id);
        clone->helper = content->helper;
        clone->secret = init->secret;
        clone->allow_file = content->conf->allow_file_urls;
        clone->free_bytes = cnt_place_free_bytes(content->root);
        clone->deadline_ms = init->call->deadline_ms && init->call->deadline_ms < limit ? init->call->deadline_ms : limit;
        clone->answer_ms = (uint64_t) content->conf->answer_timeout * 1000;
        clone->quiet_ms = (uint64_t) content->conf->quiet_timeout * 1000;
        clone->cancelled = cnt_init_cancelled;
        clone->progress = cnt_init_tell;
        clone->data = init;
        rc = cnt_clone_run(clone, err);
    }
    if (rc == 0) {
        rc = cnt_place_publish(&init->place, init->req->git->checkout_location, err);
    }
    cnt_place_drop_clone(&init->place);
    gp_metric_add(content->clones_running, -1);
    gp_metric_add(rc == 0 ? content->clones_ok : content->clones_failed, 1);
    cnt_slot_give();

    return rc;
}


static int cnt_init_work(cnt_init_t *init, gp_err_t *err)
{
    const char *checkout = init->req->git->checkout_location;
    cnt_clone_t clone = {.secret = -1, .arena = init->call->arena};
    char instance[GP_INSTANCE_ID_LEN + 1];
    int has, rc;

    rc = cnt_place_handed_out(&init->place, instance, err);
    if (rc < 0) {
        return rc;
    }
    has = cnt_place_has(&init->place, checkout, err);
    if (has < 0) {
        return has;
    }
    if (*instance && strcmp(instance, init->req->instance_id) != 0) {
        return cnt_init_done(init, &clone, "from-backup", err);
    }
    if (!has) {
        if (*instance) {
            return cnt_init_done(init, &clone, "from-backup", err); /* the person removed it while the start was on its way */
        }
        rc = cnt_init_clone(init, &clone, err);
        if (rc < 0) {
            return rc;
        }
    }
    rc = cnt_place_hand_out(&init->place, init->req->instance_id, err);

    return rc < 0 ? rc : cnt_init_done(init, &clone, "from-other", err);
}


static void cnt_init_free(cnt_init_t *init)
{
    gp_close_fd(&init->secret);
    cnt_place_done(&init->place);
    if (init->job) {
        cnt_job_end(init->job);
    }
    free(init);
}


static void *cnt_init_thread(void *data)
{
    cnt_init_t *init = data;
    gp_stream_t *stream = init->stream;
    gp_err_t err = GP_ERR_INIT;
    int rc;

    gp_log_set_trace(init->call->request_id);
    rc = cnt_init_work(init, &err);
    gp_log(rc < 0 ? GP_LOG_WARN : GP_LOG_INFO, rc < 0 ? "content is not in place" : "content is in place", "workspace",
           init->req->workspace_id, "error", err.text, NULL);
    cnt_init_free(init); /* before the end of the stream, which frees request and call */
    gp_stream_end(stream, rc < 0 ? &err : NULL);

    return NULL;
}


static int cnt_init_thread_start(cnt_init_t *init, gp_err_t *err)
{
    pthread_attr_t attr;
    pthread_t thread;
    int rc;

    (void) pthread_attr_init(&attr);
    (void) pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    rc = pthread_create(&thread, &attr, cnt_init_thread, init);
    (void) pthread_attr_destroy(&attr);

    return rc ? gp_err_errno(err, rc, "starting a thread for the clone") : 0;
}


static int cnt_init_check(const cnt_init_t *init, cnt_url_t *ret_url, gp_err_t *err)
{
    int rc = cnt_place_check(init->req->workspace_id, init->req->uid_base, err);

    if (rc == 0 && !gp_id_uuid_valid(init->req->instance_id, strlen(init->req->instance_id))) {
        rc = gp_err(err, GP_INVALID_ARGUMENT, "instance_id: '%.60s' is not a UUID", init->req->instance_id);
    }

    return rc < 0 ? rc : cnt_clone_check(init->req->git, init->content->conf->allow_file_urls, ret_url, err);
}


int cnt_initialize(gp_call_t *call, const ProtobufCMessage *req, gp_stream_t *stream, gp_err_t *err)
{
    static const cnt_progress_t connecting = {CNT_STEP(CONNECTING), -1, "Preparing"};
    cnt_init_t *init = calloc(1, sizeof(*init));
    int rc;

    if (!init) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "out of memory");
    }
    *init = (cnt_init_t){.call = call, .stream = stream, .content = call->data, .secret = -1, .place = {-1, -1, 0}};
    init->req = (const Gitpod__Internal__V1__InitializeWorkspaceRequest *) req;
    rc = cnt_init_check(init, &init->url, err);
    if (rc == 0) {
        rc = cnt_job_begin(init->req->workspace_id, false, CNT_JOB_WAIT_MS, &init->job, err);
    }
    if (rc == 0) {
        rc = cnt_place_make(init->content->root, init->req->workspace_id, init->req->uid_base, &init->place, err);
    }
    if (rc == 0) {
        cnt_init_tell(&connecting, init);
        rc = cnt_init_thread_start(init, err);
    }
    if (rc < 0) {
        cnt_init_free(init);
    }

    return rc;
}
