#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "child.h"
#include "core/contract.h"
#include "user.h"

static sup_child_t *sup_children;


static void sup_child_signals(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigset_t none;
    int s;

    for (s = 1; s < NSIG; s++) {
        (void) sigaction(s, &action, NULL); /* KILL and STOP refuse, as they should */
    }
    sigemptyset(&none);
    (void) sigprocmask(SIG_SETMASK, &none, NULL);
}


static int sup_child_files(const sup_spawn_t *spec)
{
    int in;

    if (spec->terminal >= 0) {
        if (ioctl(spec->terminal, TIOCSCTTY, 0) < 0) {
            return -1;
        }
        return dup2(spec->terminal, 0) < 0 || dup2(spec->terminal, 1) < 0 || dup2(spec->terminal, 2) < 0 ? -1 : 0;
    }
    in = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (in < 0 || dup2(in, 0) < 0) {
        return -1;
    }

    return spec->output >= 0 && (dup2(spec->output, 1) < 0 || dup2(spec->output, 2) < 0) ? -1 : 0;
}


static int sup_child_identity(void)
{
    const sup_user_t *user = sup_user();

    return setgroups(user->n_groups, user->groups) < 0 || setresgid(user->gid, user->gid, user->gid) < 0 ||
                   setresuid(user->uid, user->uid, user->uid) < 0
               ? -1
               : 0;
}


/* In the child; only async-signal-safe calls from here to execve. */
static _Noreturn void sup_child_become(const sup_spawn_t *spec, int report)
{
    int code;

    sup_child_signals();
    if (setsid() >= 0 && sup_child_files(spec) == 0 && sup_child_identity() == 0) {
        (void) umask(022);
        if ((!spec->cwd || chdir(spec->cwd) < 0) && chdir(sup_user()->home) < 0) {
            (void) !chdir("/"); /* always there */
        }
        (void) execvpe(spec->argv[0], spec->argv, spec->env);
    }
    code = errno;
    (void) !write(report, &code, sizeof(code)); /* a parent that is gone cannot be told */
    _exit(127);
}


int sup_child_spawn(sup_child_t *child, const sup_spawn_t *spec, void (*on_exit)(sup_child_t *, int), void *data, gp_err_t *err)
{
    gp_auto_fd int report_read = -1;
    gp_auto_fd int report_write = -1;
    int fds[2], code = 0;
    pid_t pid;
    ssize_t n;

    if (pipe2(fds, O_CLOEXEC) < 0) {
        return gp_err_errno(err, errno, "starting %s: pipe", spec->argv[0]);
    }
    report_read = fds[0];
    report_write = fds[1];
    pid = fork();
    if (pid < 0) {
        return gp_err_errno(err, errno, "starting %s", spec->argv[0]);
    }
    if (pid == 0) {
        sup_child_become(spec, report_write);
    }
    gp_close_fd(&report_write);
    do {
        n = read(report_read, &code, sizeof(code)); /* ends at execve: descriptors of the child close */
    } while (n < 0 && errno == EINTR);
    if (n == (ssize_t) sizeof(code)) {
        (void) waitpid(pid, NULL, 0);
        return gp_err_errno(err, code, "starting %s", spec->argv[0]);
    }
    child->pid = pid;
    child->on_exit = on_exit;
    child->data = data;
    child->next = sup_children;
    sup_children = child;

    return 0;
}


void sup_child_kill(const sup_child_t *child, int signal)
{
    if (child->pid > 0) {
        (void) kill(-child->pid, signal); /* gone already is fine */
    }
}


static void sup_child_ended(pid_t pid, int status)
{
    sup_child_t **p, *child;

    for (p = &sup_children; *p; p = &(*p)->next) {
        if ((*p)->pid == pid) {
            child = *p;
            *p = child->next;
            child->pid = 0;
            child->on_exit(child, status);
            return;
        }
    }
}


int sup_child_reap(void)
{
    pid_t pid;
    int status;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        sup_child_ended(pid, status);
    }

    return pid < 0 && errno == ECHILD;
}
