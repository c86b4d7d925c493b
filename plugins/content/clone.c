#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "clone.h"
#include "fault.h"
#include "git.h"

/*
 * git's commands for each kind of target. Shallow where that gives what was
 * asked for; a server that cannot (dumb HTTP, no unadvertised commits) gets one
 * more try with the whole history.
 */
#define CNT_ENV_MAX 24
#define CNT_MODE(name) GITPOD__INTERNAL__V1__GIT_SOURCE__TARGET_MODE__TARGET_MODE_##name
#define CNT_COMMIT_DEPTH "--depth=20" /* as the original: some history to look at */

typedef struct {
    cnt_clone_t *clone;
    char *env[CNT_ENV_MAX + 1];
    size_t n_env;
    int dir; /* the checkout's */
    gp_buf_t errors;
    const char *target;
    uint64_t heard_ms; /* git's last line */
    bool answered; /* the server has said something */
    bool silent; /* ended for being silent */
} cnt_work_t;


void cnt_clone_warn(cnt_clone_t *clone, const char *fmt, ...)
{
    va_list ap;

    if (clone->n_warnings == CNT_WARNINGS_MAX) {
        return;
    }
    va_start(ap, fmt);
    clone->warnings[clone->n_warnings++] = gp_arena_vprintf(clone->arena, fmt, ap);
    va_end(ap);
}


int cnt_clone_check(const Gitpod__Internal__V1__GitSource *source, bool allow_file, cnt_url_t *ret_url, gp_err_t *err)
{
    bool needs_target;
    int rc;

    if (!source) {
        return gp_err(err, GP_INVALID_ARGUMENT, "git is required: there is no other source of content yet");
    }
    rc = cnt_url_parse(source->remote_uri, allow_file, ret_url, err);
    if (rc == 0) {
        rc = cnt_checkout_check(source->checkout_location, err);
    }
    if (rc < 0) {
        return rc;
    }
    needs_target = source->target_mode != CNT_MODE(UNSPECIFIED) && source->target_mode != CNT_MODE(REMOTE_HEAD);
    if (needs_target) {
        rc = cnt_ref_check(source->clone_target, err);
    }
    if (rc == 0 && source->target_mode == CNT_MODE(REMOTE_COMMIT) && !cnt_commit_like(source->clone_target)) {
        rc = gp_err(err, GP_INVALID_ARGUMENT, "git.clone_target: '%.80s' is not a commit (7 to 64 hex digits)", source->clone_target);
    }

    return rc;
}


/* ---- running git ---- */

static void cnt_work_line(const char *line, size_t len, void *data)
{
    cnt_work_t *work = data;
    cnt_progress_t progress;

    work->heard_ms = gp_clock_ms();
    if (cnt_progress_parse(line, len, &progress)) {
        work->answered = true;
        work->clone->progress(&progress, work->clone->data);
    }
}


static bool cnt_work_cancelled(void *data)
{
    cnt_work_t *work = data;

    if (gp_clock_ms() - work->heard_ms > (work->answered ? work->clone->quiet_ms : work->clone->answer_ms)) {
        work->silent = true;
    }

    return work->silent || work->clone->cancelled(work->clone->data);
}


static int cnt_work_git(cnt_work_t *work, const char *const *args, gp_buf_t *out, gp_err_t *err)
{
    cnt_git_t git = {.uid = work->clone->place->owner,
                     .cwd = work->dir,
                     .args = args,
                     .env = work->env,
                     .secret = work->clone->secret,
                     .deadline_ms = work->clone->deadline_ms,
                     .cancelled = cnt_work_cancelled,
                     .on_line = cnt_work_line,
                     .data = work};
    int rc;

    work->heard_ms = gp_clock_ms();
    rc = cnt_git_run(&git, out, &work->errors, err);
    if (rc < 0 && work->silent) {
        return gp_err(err, GP_UNAVAILABLE, "%s has said nothing for %u s: check the URL, or try again later",
                      *work->clone->url.host ? work->clone->url.host : "git",
                      (unsigned) ((work->answered ? work->clone->quiet_ms : work->clone->answer_ms) / 1000));
    }
    if (rc < 0 && (err->code == GP_DEADLINE_EXCEEDED || err->code == GP_CANCELED)) {
        return gp_err(err, err->code,
                      err->code == GP_CANCELED
                          ? "the clone of %.200s was cancelled"
                          : "the clone of %.200s took longer than allowed: try again, or ask the operator for a longer clone-timeout",
                      work->clone->source->remote_uri);
    }

    return rc;
}


static int cnt_work_fault(cnt_work_t *work, gp_err_t *err)
{
    cnt_fault_context_t context = {.url = work->clone->source->remote_uri,
                                   .host = work->clone->url.host,
                                   .target = work->target,
                                   .had_token = work->clone->secret >= 0,
                                   .free_bytes = work->clone->free_bytes};

    return cnt_fault(work->errors.data ? work->errors.data : "", &context, err);
}


/* 0, or the fault of git's output. */
static int cnt_work_must(cnt_work_t *work, const char *const *args, gp_buf_t *out, gp_err_t *err)
{
    int rc = cnt_work_git(work, args, out, err);

    return rc > 0 ? cnt_work_fault(work, err) : rc;
}


/* ---- environment ---- */

__attribute__((format(printf, 2, 3))) static void cnt_work_setenv(cnt_work_t *work, const char *fmt, ...)
{
    va_list ap;

    if (work->n_env < CNT_ENV_MAX) {
        va_start(ap, fmt);
        work->env[work->n_env++] = gp_arena_vprintf(work->clone->arena, fmt, ap);
        va_end(ap);
    }
}


static void cnt_work_proxy(cnt_work_t *work)
{
    static const char *const names[] = {"http_proxy", "https_proxy", "no_proxy",       "HTTPS_PROXY",   "NO_PROXY",
                                        "all_proxy",  "ALL_PROXY",   "GIT_SSL_CAINFO", "GIT_SSL_CAPATH"};
    size_t i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (getenv(names[i])) {
            cnt_work_setenv(work, "%s=%s", names[i], getenv(names[i]));
        }
    }
}


static void cnt_work_environment(cnt_work_t *work)
{
    const char *home = work->clone->home;

    cnt_work_setenv(work, "PATH=/usr/bin:/bin");
    cnt_work_setenv(work, "LC_ALL=C");
    cnt_work_setenv(work, "HOME=%s", home);
    cnt_work_setenv(work, "XDG_CONFIG_HOME=%s", home);
    cnt_work_setenv(work, "GIT_CONFIG_GLOBAL=%s/gitconfig", home);
    cnt_work_setenv(work, "GIT_CONFIG_NOSYSTEM=1");
    cnt_work_setenv(work, "GIT_ATTR_NOSYSTEM=1");
    cnt_work_setenv(work, "GIT_TERMINAL_PROMPT=0");
    cnt_work_setenv(work, "GIT_LFS_SKIP_SMUDGE=1");
    cnt_work_setenv(work, "GIT_CEILING_DIRECTORIES=%s", home);
    cnt_work_setenv(work, "GIT_ALLOW_PROTOCOL=http:https%s", strcmp(work->clone->url.protocol, "file") == 0 ? ":file" : "");
    cnt_work_proxy(work);
}


/* git's global configuration: beside the checkout, so that it also reaches the other side of a file:// clone, which takes no other. */
static int cnt_work_config(cnt_work_t *work, gp_err_t *err)
{
    static const char text[] = "[safe]\n\tdirectory = *\n[core]\n\thooksPath = /dev/null\n\tfsmonitor = false\n"
                               "[init]\n\ttemplateDir =\n\tdefaultBranch = main\n[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n"
                               "[advice]\n\tdetachedHead = false\n[http]\n\tlowSpeedLimit = 1000\n\tlowSpeedTime = 60\n"
                               "[credential]\n\thelper =\n";
    gp_auto_buf gp_buf_t buf;
    gp_auto_fd int fd = -1;
    int rc;

    gp_buf_init(&buf, 8192);
    rc = gp_buf_append(&buf, text, sizeof(text) - 1);
    if (rc == 0 && work->clone->secret >= 0) {
        rc = strpbrk(work->clone->helper, "'\"\\\n")
                 ? -GP_INTERNAL
                 : gp_buf_printf(&buf, "\thelper = \"!'%s' --credential-helper\"\n", work->clone->helper);
    }
    if (rc < 0) {
        return gp_err(err, GP_INTERNAL, "the path of the credential helper cannot be used: %s", work->clone->helper);
    }
    fd = openat(work->dir, "../gitconfig", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, buf.data, buf.len) != (ssize_t) buf.len || fchmod(fd, 0644) < 0) {
        return gp_err_errno(err, errno, "writing git's configuration for the clone");
    }

    return 0;
}


/* ---- kinds of targets ---- */

/* branch NULL: the default one. */
static int cnt_work_clone(cnt_work_t *work, const char *branch, bool full, gp_err_t *err)
{
    const char *args[12] = {"clone", "--progress", "--origin=origin"};
    size_t n = 3;
    int rc;

    if (!full) {
        args[n++] = "--depth=1";
        args[n++] = "--shallow-submodules";
    }
    if (branch) {
        args[n++] = gp_arena_printf(work->clone->arena, "--branch=%s", branch);
    }
    args[n++] = "--";
    args[n++] = work->clone->source->remote_uri;
    args[n++] = ".";
    rc = cnt_work_git(work, args, NULL, err);
    if (rc > 0 && !full && cnt_fault_wants_full(work->errors.data)) {
        return cnt_work_clone(work, branch, true, err);
    }

    return rc > 0 ? cnt_work_fault(work, err) : rc;
}


/* A commit by its number: fetched alone with some history where the server allows it. */
static int cnt_work_commit(cnt_work_t *work, const char *commit, bool full, gp_err_t *err)
{
    const char *const checkout[] = {"checkout", "--progress", "--detach", commit, "--", NULL};
    const char *const init[] = {"init", "--quiet", NULL};
    const char *const remote[] = {"remote", "add", "origin", work->clone->source->remote_uri, NULL};
    const char *const fetch[] = {"fetch", "--progress", "--no-tags", CNT_COMMIT_DEPTH, "origin", commit, NULL};
    const char *const fetch_all[] = {"fetch", "--progress", "--tags", "origin", NULL};
    int rc;

    rc = cnt_work_must(work, init, NULL, err);
    if (rc == 0) {
        rc = cnt_work_must(work, remote, NULL, err);
    }
    if (rc < 0) {
        return rc;
    }
    rc = 1;
    if (!full && cnt_commit_full(commit)) {
        rc = cnt_work_git(work, fetch, NULL, err);
        if (rc > 0 && !cnt_fault_wants_full(work->errors.data)) {
            return cnt_work_fault(work, err);
        }
    }
    if (rc > 0) {
        rc = cnt_work_must(work, fetch_all, NULL, err);
    }

    return rc < 0 ? rc : cnt_work_must(work, checkout, NULL, err);
}


/* The longest existing branch or tag that the target begins with: the rest is a path in it. */
static int cnt_work_longest(cnt_work_t *work, const char *target, char **ret_ref, gp_err_t *err)
{
    const char *args[CNT_GIT_ARGS_MAX + 1] = {"ls-remote", "--", work->clone->source->remote_uri};
    gp_auto_buf gp_buf_t out;
    size_t n = 3, len;
    const char *p;
    int rc;

    gp_buf_init(&out, CNT_GIT_OUTPUT_MAX);
    for (p = target; n + 2 <= CNT_GIT_ARGS_MAX; p++) {
        if (*p == '/' || *p == '\0') {
            args[n++] = gp_arena_printf(work->clone->arena, "refs/heads/%.*s", (int) (p - target), target);
            args[n++] = gp_arena_printf(work->clone->arena, "refs/tags/%.*s", (int) (p - target), target);
        }
        if (!*p) {
            break;
        }
    }
    rc = cnt_work_must(work, args, &out, err);
    if (rc < 0) {
        return rc;
    }
    if (out.len > 0 && cnt_ref_longest(target, out.data, &len) == 0) {
        *ret_ref = gp_arena_strndup(work->clone->arena, target, len);
        return 0;
    }

    return 1;
}


static int cnt_work_ref(cnt_work_t *work, gp_err_t *err)
{
    const char *target = work->clone->source->clone_target;
    char *ref = NULL, *first;
    int rc;

    rc = cnt_work_longest(work, target, &ref, err);
    if (rc < 0) {
        return rc;
    }
    if (rc == 0) {
        return cnt_work_clone(work, ref, work->clone->source->full_clone, err);
    }
    first = gp_arena_strndup(work->clone->arena, target, strcspn(target, "/"));
    if (cnt_commit_like(first)) {
        work->target = first;
        return cnt_work_commit(work, first, work->clone->source->full_clone, err);
    }

    return gp_err(err, GP_NOT_FOUND, "%.200s has no branch, tag or commit '%.160s': check its name", work->clone->source->remote_uri,
                  target);
}


static int cnt_work_local_branch(cnt_work_t *work, gp_err_t *err)
{
    const char *const checkout[] = {"checkout", "--no-track", "-B", work->clone->source->clone_target, NULL};
    int rc = cnt_work_clone(work, NULL, work->clone->source->full_clone, err);

    return rc < 0 ? rc : cnt_work_must(work, checkout, NULL, err);
}


static int cnt_work_target(cnt_work_t *work, gp_err_t *err)
{
    const Gitpod__Internal__V1__GitSource *source = work->clone->source;
    bool full = source->full_clone;

    switch (source->target_mode) {
    case CNT_MODE(REMOTE_COMMIT):
        work->target = source->clone_target;
        return cnt_work_commit(work, source->clone_target, full, err);
    case CNT_MODE(REMOTE_BRANCH):
        work->target = source->clone_target;
        return cnt_work_clone(work, source->clone_target, full, err);
    case CNT_MODE(LOCAL_BRANCH):
        return cnt_work_local_branch(work, err);
    case CNT_MODE(REMOTE_REF):
        work->target = source->clone_target;
        return cnt_work_ref(work, err);
    case CNT_MODE(UNSPECIFIED):
    case CNT_MODE(REMOTE_HEAD):
    default:
        return cnt_work_clone(work, NULL, full, err);
    }
}


/* ---- after the clone ---- */

/* A shallow clone follows one branch only; the person wants to see and switch to all. */
static int cnt_work_finish(cnt_work_t *work, gp_err_t *err)
{
    const char *const refspec[] = {"config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*", NULL};

    return cnt_work_must(work, refspec, NULL, err);
}


static void cnt_work_submodules(cnt_work_t *work)
{
    static const char *const update[] = {"submodule", "update", "--init", "--recursive", "--depth=1", "--progress", NULL};
    cnt_progress_t progress = {GITPOD__INTERNAL__V1__INITIALIZE_WORKSPACE_RESPONSE__STEP__STEP_SUBMODULES, -1, "Fetching submodules"};
    gp_err_t err = GP_ERR_INIT;
    struct stat st;

    if (fstatat(work->dir, ".gitmodules", &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return;
    }
    work->clone->progress(&progress, work->clone->data);
    if (cnt_work_git(work, update, NULL, &err) != 0) {
        if (err.code == 0) {
            (void) cnt_work_fault(work, &err);
        }
        cnt_clone_warn(work->clone, "Submodules are not complete: %s. Run `git submodule update --init --recursive` in a terminal",
                       err.text);
    }
}


/* What is checked out: commit "" for an empty repository, branch "" when detached. */
static int cnt_work_describe(cnt_work_t *work, gp_err_t *err)
{
    static const char *const head[] = {"rev-parse", "--verify", "--quiet", "HEAD", NULL};
    static const char *const branch[] = {"symbolic-ref", "--short", "--quiet", "HEAD", NULL};
    gp_auto_buf gp_buf_t out;
    int rc;

    gp_buf_init(&out, 4096);
    work->clone->commit = "";
    work->clone->branch = "";
    rc = cnt_work_git(work, head, &out, err);
    if (rc < 0) {
        return rc;
    }
    if (rc == 0 && out.len > 0) {
        work->clone->commit = gp_arena_strndup(work->clone->arena, out.data, strcspn(out.data, "\n"));
    }
    gp_buf_clear(&out);
    rc = cnt_work_git(work, branch, &out, err);
    if (rc == 0 && out.len > 0) {
        work->clone->branch = gp_arena_strndup(work->clone->arena, out.data, strcspn(out.data, "\n"));
    }

    return rc < 0 ? rc : 0;
}


static int cnt_work_all(cnt_work_t *work, gp_err_t *err)
{
    int rc;

    rc = cnt_place_clone_dir(work->clone->place, &work->dir, err);
    if (rc == 0) {
        rc = cnt_work_config(work, err);
    }
    if (rc < 0) {
        return rc;
    }
    cnt_work_environment(work);
    rc = cnt_work_target(work, err);
    if (rc == 0) {
        rc = cnt_work_finish(work, err);
    }
    if (rc == 0) {
        cnt_work_submodules(work);
        rc = cnt_work_describe(work, err);
    }

    return rc;
}


int cnt_clone_run(cnt_clone_t *clone, gp_err_t *err)
{
    cnt_work_t work = {.clone = clone, .dir = -1, .target = ""};
    gp_err_t ignored = GP_ERR_INIT;
    int rc;

    gp_buf_init(&work.errors, 2 * CNT_GIT_ERRORS_MAX);
    rc = cnt_place_pass(clone->place, true, err);
    if (rc == 0) {
        rc = cnt_work_all(&work, err);
    }
    (void) !cnt_place_pass(clone->place, false, &ignored); /* the next operation sets the mode again */
    gp_close_fd(&work.dir);
    gp_buf_done(&work.errors);

    return rc;
}
