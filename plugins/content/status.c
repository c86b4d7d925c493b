#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gitpod/internal/v1/content.pb-c.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "content.h"
#include "git.h"
#include "job.h"
#include "place.h"
#include "rpc/utf8.h"
#include "status.h"
#include "trash.h"
#include "url.h"

/*
 * The state of a repository that the person controls, read on the host. Its
 * configuration can name programs (filters, fsmonitor, hooks), so git never
 * sees it: a directory of ours stands in for .git, with an empty configuration
 * and links to the person's refs; index and objects are read in place.
 */
#define CNT_STATUS_SCRATCH ".status"
#define CNT_STATUS_WAIT_MS 5000
#define CNT_STATUS_TIMEOUT_MS 30000

typedef struct {
    gp_call_t *call;
    cnt_place_t place;
    cnt_job_t *job;
    int checkout;
    int scratch;
    char *env[12];
    gp_buf_t errors;
} cnt_look_t;


static bool cnt_look_cancelled(void *data)
{
    const cnt_look_t *look = data;

    return atomic_load(&look->job->cancelled) || gp_call_cancelled(look->call);
}


static int cnt_look_git(cnt_look_t *look, const char *const *args, gp_buf_t *out, gp_err_t *err)
{
    cnt_git_t git = {.uid = look->place.owner,
                     .cwd = look->checkout,
                     .args = args,
                     .env = look->env,
                     .secret = -1,
                     .deadline_ms = gp_clock_ms() + CNT_STATUS_TIMEOUT_MS,
                     .cancelled = cnt_look_cancelled,
                     .data = look};

    return cnt_git_run(&git, out, &look->errors, err);
}


static int cnt_look_write(cnt_look_t *look, const char *name, const char *text, gp_err_t *err)
{
    gp_auto_fd int fd = openat(look->scratch, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);

    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t) strlen(text) || fchmod(fd, 0644) < 0) {
        return gp_err_errno(err, errno, "preparing to read the state of the repository");
    }

    return 0;
}


static int cnt_look_scratch(cnt_look_t *look, const char *checkout_path, const char *head, gp_err_t *err)
{
    static const char *const links[] = {"refs", "packed-refs", "shallow"};
    gp_arena_t *arena = look->call->arena;
    size_t i;
    int rc;

    rc = cnt_place_scratch(&look->place, CNT_STATUS_SCRATCH, &look->scratch, err);
    if (rc == 0) {
        rc = cnt_look_write(look, "HEAD", gp_arena_printf(arena, "%s\n", head), err);
    }
    if (rc == 0) {
        rc = cnt_look_write(look, "config", "[core]\n\trepositoryformatversion = 0\n\tbare = false\n", err);
    }
    for (i = 0; i < sizeof(links) / sizeof(links[0]) && rc == 0; i++) {
        if (symlinkat(gp_arena_printf(arena, "%s/.git/%s", checkout_path, links[i]), look->scratch, links[i]) < 0) {
            rc = gp_err_errno(err, errno, "preparing to read the state of the repository");
        }
    }
    if (rc == 0 && mkdirat(look->scratch, "objects", 0755) < 0) {
        rc = gp_err_errno(err, errno, "preparing to read the state of the repository");
    }

    return rc;
}


static void cnt_look_environment(cnt_look_t *look, const char *scratch_path)
{
    gp_arena_t *arena = look->call->arena;
    size_t n = 0;

    look->env[n++] = gp_arena_strdup(arena, "PATH=/usr/bin:/bin");
    look->env[n++] = gp_arena_strdup(arena, "LC_ALL=C");
    look->env[n++] = gp_arena_printf(arena, "HOME=%s", scratch_path);
    look->env[n++] = gp_arena_strdup(arena, "GIT_CONFIG_GLOBAL=/dev/null");
    look->env[n++] = gp_arena_strdup(arena, "GIT_CONFIG_NOSYSTEM=1");
    look->env[n++] = gp_arena_strdup(arena, "GIT_OPTIONAL_LOCKS=0");
    look->env[n++] = gp_arena_strdup(arena, "GIT_ALLOW_PROTOCOL=none");
    look->env[n++] = gp_arena_printf(arena, "GIT_DIR=%s", scratch_path);
    look->env[n++] = gp_arena_strdup(arena, "GIT_WORK_TREE=.");
    look->env[n++] = gp_arena_strdup(arena, "GIT_INDEX_FILE=.git/index");
    look->env[n++] = gp_arena_strdup(arena, "GIT_OBJECT_DIRECTORY=.git/objects");
}


static char **cnt_look_texts(gp_arena_t *arena, const char *const *list, size_t n)
{
    char **texts = gp_arena_alloc(arena, (n + 1) * sizeof(*texts));
    size_t i;

    for (i = 0; i < n; i++) {
        texts[i] = gp_arena_strdup(arena, gp_utf8_repair(arena, list[i])); /* names of files are bytes */
    }

    return texts;
}


static int cnt_look_fault(const cnt_look_t *look, gp_err_t *err)
{
    return gp_err(err, GP_FAILED_PRECONDITION, "the state of the repository cannot be read: %.200s",
                  look->errors.data && look->errors.len ? look->errors.data : "git gave no reason");
}


static int cnt_look_files(cnt_look_t *look, Gitpod__Internal__V1__GetGitStatusResponse *res, gp_err_t *err)
{
    static const char *const args[] = {"status", "--porcelain=v1", "-z", "--untracked-files=normal", "--ignore-submodules=all", NULL};
    gp_auto_buf gp_buf_t out;
    cnt_status_t status;
    int rc;

    gp_buf_init(&out, CNT_GIT_OUTPUT_MAX);
    rc = cnt_look_git(look, args, &out, err);
    if (rc != 0) {
        return rc < 0 ? rc : cnt_look_fault(look, err);
    }
    cnt_status_parse(out.data ? out.data : "", out.len, &status);
    res->uncommited_files = cnt_look_texts(look->call->arena, status.uncommitted, status.n_uncommitted);
    res->n_uncommited_files = status.n_uncommitted;
    res->total_uncommited_files = (int32_t) status.total_uncommitted;
    res->untracked_files = cnt_look_texts(look->call->arena, status.untracked, status.n_untracked);
    res->n_untracked_files = status.n_untracked;
    res->total_untracked_files = (int32_t) status.total_untracked;

    return 0;
}


/* Commits that no remote branch has; none in a repository without one. */
static int cnt_look_commits(cnt_look_t *look, Gitpod__Internal__V1__GetGitStatusResponse *res, gp_err_t *err)
{
    static const char *const args[] = {"log", "--format=%h: %s", "--max-count=10000", "HEAD", "--not", "--remotes", "--", NULL};
    const char *list[CNT_STATUS_FILES_MAX];
    gp_auto_buf gp_buf_t out;
    size_t n = 0, total = 0;
    char *line, *end;
    int rc;

    gp_buf_init(&out, CNT_GIT_OUTPUT_MAX);
    rc = cnt_look_git(look, args, &out, err);
    if (rc != 0) {
        return rc < 0 ? rc : 0; /* no commit yet */
    }
    for (line = out.data; line && *line; line = end + 1) {
        end = strchr(line, '\n');
        if (!end) {
            break;
        }
        *end = '\0';
        if (n < CNT_STATUS_FILES_MAX) {
            list[n++] = line;
        }
        total++;
    }
    res->unpushed_commits = cnt_look_texts(look->call->arena, list, n);
    res->n_unpushed_commits = n;
    res->total_unpushed_commits = (int32_t) total;

    return 0;
}


static int cnt_look_all(cnt_look_t *look, const char *id, const char *checkout, Gitpod__Internal__V1__GetGitStatusResponse *res,
                        gp_err_t *err)
{
    const cnt_t *content = look->call->data;
    gp_arena_t *arena = look->call->arena;
    char branch[CNT_REF_MAX], commit[CNT_REF_MAX];
    char *place_path = gp_arena_printf(arena, "%s/%s", content->root_path, id);
    int rc;

    rc = cnt_place_open_checkout(&look->place, checkout, &look->checkout, err);
    if (rc < 0) {
        return rc;
    }
    cnt_place_head(&look->place, checkout, branch, commit, sizeof(branch));
    if (!*branch && !*commit) {
        return gp_err(err, GP_FAILED_PRECONDITION, GP_DIR_WORKSPACE "/%s is not a Git repository whose HEAD can be read", checkout);
    }
    res->branch = gp_arena_strdup(arena, gp_utf8_repair(arena, branch));
    res->latest_commit = gp_arena_strdup(arena, commit);
    rc = cnt_look_scratch(look, gp_arena_printf(arena, "%s/workspace/%s", place_path, checkout),
                          *branch ? gp_arena_printf(arena, "ref: refs/heads/%s", branch) : commit, err);
    if (rc < 0) {
        return rc;
    }
    cnt_look_environment(look, gp_arena_printf(arena, "%s/" CNT_STATUS_SCRATCH, place_path));
    rc = cnt_look_files(look, res, err);

    return rc < 0 ? rc : cnt_look_commits(look, res, err);
}


int cnt_git_status(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err)
{
    const Gitpod__Internal__V1__GetGitStatusRequest *in = (const Gitpod__Internal__V1__GetGitStatusRequest *) req;
    const cnt_t *content = call->data;
    cnt_look_t look = {.call = call, .place = {-1, -1, 0}, .checkout = -1, .scratch = -1};
    gp_err_t ignored = GP_ERR_INIT;
    int rc;

    rc = cnt_checkout_check(in->checkout_location, err);
    if (rc == 0) {
        rc = cnt_place_open(content->root, in->workspace_id, in->uid_base, &look.place, err);
    }
    if (rc == 0) {
        rc = cnt_job_begin(in->workspace_id, false, CNT_STATUS_WAIT_MS, &look.job, err);
    }
    if (rc == 0) {
        gp_buf_init(&look.errors, 2 * CNT_GIT_ERRORS_MAX);
        rc = cnt_place_pass(&look.place, true, err);
        if (rc == 0) {
            rc = cnt_look_all(&look, in->workspace_id, in->checkout_location, (Gitpod__Internal__V1__GetGitStatusResponse *) res, err);
        }
        (void) !cnt_trash_remove_tree(look.place.dir, CNT_STATUS_SCRATCH, &ignored); /* removed at the next look */
        (void) !cnt_place_pass(&look.place, false, &ignored);
        gp_buf_done(&look.errors);
        cnt_job_end(look.job);
    }
    gp_close_fd(&look.scratch);
    gp_close_fd(&look.checkout);
    cnt_place_done(&look.place);

    return rc;
}
