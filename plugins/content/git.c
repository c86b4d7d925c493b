#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "git.h"

#define CNT_GIT_POLL_MS 50 /* how soon a cancel is noticed */
#define CNT_GIT_TERM_MS 2000 /* from TERM to KILL */
#define CNT_GIT_READ 16384
#define CNT_GIT_LINE_MAX 1024 /* longer lines are passed on in pieces */
#define CNT_GIT_PATH "/usr/bin/git"

typedef struct {
    const cnt_git_t *git;
    pid_t pid;
    struct pollfd fds[2]; /* stdout, stderr */
    gp_buf_t *out;
    gp_buf_t *errors;
    char line[CNT_GIT_LINE_MAX];
    size_t line_len;
} cnt_git_run_t;


/* Async-signal-safe from here to execve: we are a fork of a process with threads. */
static int cnt_git_drop(uid_t uid)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}};
    struct rlimit no_core = {0, 0};

    if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0) {
        return -1;
    }
    (void) prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); /* an old kernel has none */
    if (syscall(SYS_capset, &header, none) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        return -1;
    }
    (void) prctl(PR_SET_PDEATHSIG, SIGKILL); /* after the change of uid, which clears it */

    return setrlimit(RLIMIT_CORE, &no_core);
}


static _Noreturn void cnt_git_become(const cnt_git_t *git, char *const *argv, int out, int errors)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigset_t none;
    int null, s;

    for (s = 1; s < NSIG; s++) {
        (void) sigaction(s, &action, NULL);
    }
    sigemptyset(&none);
    (void) sigprocmask(SIG_SETMASK, &none, NULL);
    null = open("/dev/null", O_RDONLY);
    if (setsid() < 0 || fchdir(git->cwd) < 0 || cnt_git_drop(git->uid) < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 ||
        dup2(errors, 2) < 0 || (git->secret >= 0 && (dup2(git->secret, 3) < 0 || fcntl(3, F_SETFD, 0) < 0))) {
        _exit(126);
    }
    (void) close_range(git->secret >= 0 ? 4 : 3, ~0U, 0);
    (void) umask(022);
    (void) execve(CNT_GIT_PATH, argv, git->env);
    _exit(127);
}


static void cnt_git_kill(const cnt_git_run_t *run, int signal)
{
    (void) kill(-run->pid, signal); /* gone already is fine */
}


static void cnt_git_flush_line(cnt_git_run_t *run)
{
    if (run->line_len > 0 && run->git->on_line) {
        run->git->on_line(run->line, run->line_len, run->git->data);
    }
    run->line_len = 0;
}


/* stderr: each piece that ends in \r or \n goes to on_line; those that end in \n are kept, the last ones. */
static int cnt_git_take_errors(cnt_git_run_t *run, const char *data, size_t len)
{
    size_t i;

    for (i = 0; i < len; i++) {
        if (data[i] == '\r' || data[i] == '\n') {
            if (data[i] == '\n' && run->line_len > 0) {
                if (run->errors->len + run->line_len + 2 > CNT_GIT_ERRORS_MAX) {
                    gp_buf_consume(run->errors, run->errors->len / 2);
                }
                if (gp_buf_append(run->errors, run->line, run->line_len) < 0 || gp_buf_append(run->errors, "\n", 1) < 0) {
                    return -1;
                }
            }
            cnt_git_flush_line(run);
            continue;
        }
        if (run->line_len == sizeof(run->line)) {
            cnt_git_flush_line(run);
        }
        run->line[run->line_len++] = data[i] ? data[i] : '?';
    }

    return 0;
}


static int cnt_git_read(cnt_git_run_t *run, int which)
{
    char buf[CNT_GIT_READ];
    ssize_t n = read(run->fds[which].fd, buf, sizeof(buf));

    if (n <= 0) {
        run->fds[which].fd = -1; /* poll() skips it */
        return 0;
    }
    if (which == 1) {
        return cnt_git_take_errors(run, buf, (size_t) n);
    }

    return run->out ? gp_buf_append(run->out, buf, (size_t) n) : 0;
}


/* 0 go on, else the fault. */
static int cnt_git_over(const cnt_git_run_t *run, gp_err_t *err)
{
    if (run->git->deadline_ms && gp_clock_ms() >= run->git->deadline_ms) {
        return gp_err(err, GP_DEADLINE_EXCEEDED, "the time for it is over");
    }
    if (run->git->cancelled && run->git->cancelled(run->git->data)) {
        return gp_err(err, GP_CANCELED, "cancelled");
    }

    return 0;
}


static int cnt_git_pump(cnt_git_run_t *run, gp_err_t *err)
{
    int rc, i;

    while (run->fds[0].fd >= 0 || run->fds[1].fd >= 0) {
        rc = cnt_git_over(run, err);
        if (rc < 0) {
            return rc;
        }
        if (poll(run->fds, 2, CNT_GIT_POLL_MS) <= 0) {
            continue;
        }
        for (i = 0; i < 2; i++) {
            if (run->fds[i].fd >= 0 && (run->fds[i].revents & (POLLIN | POLLHUP | POLLERR)) && cnt_git_read(run, i) < 0) {
                return gp_err(err, GP_RESOURCE_EXHAUSTED, "git wrote more than is kept");
            }
        }
    }

    return 0;
}


/* TERM, then KILL, until the child is gone. */
static void cnt_git_end(const cnt_git_run_t *run)
{
    uint64_t end = gp_clock_ms() + CNT_GIT_TERM_MS;

    cnt_git_kill(run, SIGTERM);
    while (gp_clock_ms() < end) {
        if (waitpid(run->pid, NULL, WNOHANG) != 0) {
            cnt_git_kill(run, SIGKILL); /* what it started */
            return;
        }
        (void) poll(NULL, 0, 10);
    }
    cnt_git_kill(run, SIGKILL);
    (void) waitpid(run->pid, NULL, 0);
}


static int cnt_git_status(const cnt_git_run_t *run, gp_err_t *err)
{
    int status;

    while (waitpid(run->pid, &status, 0) < 0) {
        if (errno != EINTR) {
            return gp_err_errno(err, errno, "waiting for git");
        }
    }
    if (WIFEXITED(status) && (WEXITSTATUS(status) == 126 || WEXITSTATUS(status) == 127)) {
        return gp_err(err, GP_UNAVAILABLE, "%s",
                      WEXITSTATUS(status) == 127 ? CNT_GIT_PATH " could not be run; the operator installs git"
                                                 : "git could not be run as the workspace's user: content lacks a capability");
    }

    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : 1;
}


static int cnt_git_start(cnt_git_run_t *run, int *ret_out, int *ret_errors, gp_err_t *err)
{
    const char *argv[CNT_GIT_ARGS_MAX + 2] = {"git"};
    gp_auto_fd int out_write = -1;
    gp_auto_fd int errors_write = -1;
    int out[2], errors[2];
    size_t n;

    for (n = 0; n < CNT_GIT_ARGS_MAX && run->git->args[n]; n++) {
        argv[n + 1] = run->git->args[n];
    }
    if (pipe2(out, O_CLOEXEC) < 0) {
        return gp_err_errno(err, errno, "running git");
    }
    *ret_out = out[0];
    out_write = out[1];
    if (pipe2(errors, O_CLOEXEC) < 0) {
        return gp_err_errno(err, errno, "running git");
    }
    *ret_errors = errors[0];
    errors_write = errors[1];
    run->pid = fork();
    if (run->pid < 0) {
        return gp_err_errno(err, errno, "running git");
    }
    if (run->pid == 0) {
        cnt_git_become(run->git, (char *const *) (uintptr_t) argv, out_write, errors_write);
    }

    return 0;
}


int cnt_git_run(const cnt_git_t *git, gp_buf_t *out, gp_buf_t *errors, gp_err_t *err)
{
    cnt_git_run_t run = {.git = git, .out = out, .errors = errors};
    gp_auto_fd int out_fd = -1;
    gp_auto_fd int errors_fd = -1;
    int rc;

    gp_buf_clear(errors);
    if (gp_buf_append(errors, "", 0) < 0) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "out of memory");
    }
    rc = cnt_git_start(&run, &out_fd, &errors_fd, err);
    if (rc < 0) {
        return rc;
    }
    run.fds[0] = (struct pollfd){.fd = out_fd, .events = POLLIN};
    run.fds[1] = (struct pollfd){.fd = errors_fd, .events = POLLIN};
    rc = cnt_git_pump(&run, err);
    if (rc < 0) {
        cnt_git_end(&run);
        return rc;
    }
    (void) cnt_git_take_errors(&run, "\n", 1); /* a last line without an end; without memory it is lost */

    return cnt_git_status(&run, err);
}
