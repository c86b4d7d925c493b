#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/gitpod_yml.h"
#include "base/log.h"
#include "child.h"
#include "content.h"
#include "core/contract.h"
#include "env.h"
#include "gitconfig.h"
#include "http.h"
#include "ide.h"
#include "loop.h"
#include "port.h"
#include "task.h"
#include "user.h"

/*
 * PID 1 of a workspace. It answers at once on 22999, prepares the user, waits
 * for the go signal, then starts editor, tasks and the look for ports. What
 * cannot go on is told in the status instead of ending the container, so that
 * the person reads it.
 *
 * Stop (SIGTERM): editor and tasks first, then everything, within the grace.
 */
#define SUP_GRACE_MS 25000 /* from SIGTERM to our end, at most */
#define SUP_OTHERS_MS 5000 /* for processes that are left after editor and tasks */
#define SUP_FAREWELL_MS 500 /* for who was told that it ends, to tell the person */
#define SUP_FAREWELL_STEP_MS 100 /* then, while somebody has not said that it is done */
#define SUP_FAREWELL_STEPS_MAX 45
#define SUP_TASKS_DELAY_MS 1000 /* tasks wait this long for the editor, which starts faster alone */

static sup_watch_t sup_main_signals = {.fd = -1};
static sup_timer_t sup_main_tasks;
static sup_timer_t sup_main_deadline;
static sup_timer_t sup_main_farewell;
static int sup_main_farewell_steps;
static int sup_main_farewell_heard;
static sup_env_t sup_main_env;
static gp_yml_t *sup_main_yml;
static int sup_main_tasks_started;
static enum { SUP_MAIN_RUN, SUP_MAIN_STOP, SUP_MAIN_OTHERS } sup_main_phase;


static void sup_main_kill_all(sup_timer_t *timer)
{
    (void) timer;
    (void) kill(-1, SIGKILL);
    sup_loop_end();
}


/* After editor and tasks: everybody else. */
static void sup_main_others(void)
{
    sup_main_phase = SUP_MAIN_OTHERS;
    if (kill(-1, SIGTERM) < 0 && errno == ESRCH) {
        sup_loop_end();
        return;
    }
    (void) kill(-1, SIGHUP); /* interactive shells ignore TERM */
    (void) kill(-1, SIGCONT);
    sup_timer_set(&sup_main_deadline, SUP_OTHERS_MS, sup_main_kill_all, NULL);
}


static void sup_main_stop_children(void)
{
    sup_timer_clear(&sup_main_farewell);
    sup_ide_stop();
    sup_task_stop();
}


/* Each who heard asks once more when the person knows. */
static void sup_main_farewell_over(sup_timer_t *timer)
{
    if (sup_api_ends_told() < 2 * sup_main_farewell_heard && sup_main_farewell_steps++ < SUP_FAREWELL_STEPS_MAX) {
        sup_timer_set(timer, SUP_FAREWELL_STEP_MS, sup_main_farewell_over, NULL);
        return;
    }
    sup_main_stop_children();
}


static void sup_main_stop(void)
{
    if (sup_main_phase != SUP_MAIN_RUN) {
        return;
    }
    gp_log(GP_LOG_INFO, "stopping", NULL);
    sup_main_phase = SUP_MAIN_STOP;
    sup_timer_clear(&sup_main_tasks);
    sup_timer_set(&sup_main_deadline, SUP_GRACE_MS - SUP_OTHERS_MS, sup_main_kill_all, NULL);
    if (sup_api_set_ends()) {
        sup_http_wake();
        sup_main_farewell_heard = sup_api_ends_told();
        sup_timer_set(&sup_main_farewell, SUP_FAREWELL_MS, sup_main_farewell_over, NULL);
    } else {
        sup_main_stop_children();
    }
}


static void sup_main_reaped(int nobody_left)
{
    if (sup_main_phase == SUP_MAIN_STOP && !sup_ide_running() && !sup_task_running()) {
        sup_main_others();
    }
    if (sup_main_phase == SUP_MAIN_OTHERS && nobody_left) {
        sup_loop_end();
    }
}


static void sup_main_signal(sup_watch_t *watch, uint32_t events)
{
    struct signalfd_siginfo info;

    (void) events;
    while (read(watch->fd, &info, sizeof(info)) == (ssize_t) sizeof(info)) {
        if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT) {
            sup_main_stop();
        }
    }
    sup_main_reaped(sup_child_reap());
}


static int sup_main_watch_signals(gp_err_t *err)
{
    sigset_t set;
    int fd;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    (void) sigprocmask(SIG_BLOCK, &set, NULL);
    fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0) {
        return gp_err_errno(err, errno, "signalfd");
    }

    return sup_watch_set(&sup_main_signals, fd, EPOLLIN, sup_main_signal, NULL, err);
}


/* A file that is missing or wrong gives an empty configuration and a log line; content has told the person already. */
static gp_yml_t *sup_main_read_yml(const char *location)
{
    gp_err_t err = GP_ERR_INIT;
    gp_auto_buf gp_buf_t text;
    gp_auto_fd int fd = -1;
    char path[SUP_LOCATION_MAX + sizeof("/" GP_YML_NAME)], *room;
    gp_yml_t *yml = NULL;
    struct stat st;
    ssize_t n;

    gp_buf_init(&text, GP_YML_SIZE_MAX + 2);
    (void) snprintf(path, sizeof(path), "%s/" GP_YML_NAME, location);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        return NULL;
    }
    if (gp_buf_reserve(&text, GP_YML_SIZE_MAX + 1, &room) < 0 || (n = read(fd, room, GP_YML_SIZE_MAX + 1)) < 0) {
        gp_log(GP_LOG_ERROR, "reading " GP_YML_NAME " failed", NULL);
        return NULL;
    }
    if (gp_yml_parse(room, (size_t) n, &yml, &err) < 0) {
        gp_log(GP_LOG_WARN, err.text, NULL);
        return NULL;
    }

    return yml;
}


static void sup_main_start_tasks(sup_timer_t *timer)
{
    (void) timer;
    sup_timer_clear(&sup_main_tasks);
    if (sup_main_tasks_started || sup_main_phase != SUP_MAIN_RUN) {
        return;
    }
    sup_main_tasks_started = 1;
    if (sup_main_yml) {
        sup_task_start(sup_main_yml, &sup_main_env, sup_content()->location, sup_content()->from_backup);
    }
}


static void sup_main_ide_changed(void)
{
    if (sup_ide_ready()) {
        sup_main_start_tasks(NULL);
    }
    sup_http_wake();
}


/* Where shells keep their history. In the person's tree, so made as the person would. */
static void sup_main_private_dir(void)
{
    static const char dir[] = GP_DIR_WORKSPACE "/.gitpod";

    if (mkdir(dir, 0755) == 0) {
        (void) !lchown(dir, sup_user()->uid, sup_user()->gid); /* then there is no history, nothing else */
    }
}


static void sup_main_go(void)
{
    gp_err_t err = GP_ERR_INIT;
    const char *location = sup_content()->location;

    gp_log(GP_LOG_INFO, "content is there", "location", location, NULL);
    sup_main_private_dir();
    if (sup_env_build(location, &sup_main_env, &err) < 0 || sup_ide_start(&sup_main_env, location, sup_main_ide_changed, &err) < 0) {
        sup_api_set_fatal(err.text);
    } else {
        sup_main_yml = sup_main_read_yml(location);
        sup_timer_set(&sup_main_tasks, SUP_TASKS_DELAY_MS, sup_main_start_tasks, NULL);
        sup_port_start(sup_main_yml);
    }
    sup_http_wake();
}


static int sup_main_prepare(gp_err_t *err)
{
    int rc;

    rc = sup_user_ensure(err);
    if (rc == 0) {
        rc = sup_http_start_local(err);
    }
    if (rc == 0 && symlink(GP_DIR_SUPERVISOR "/gp", "/usr/bin/gp") < 0 && errno != EEXIST) {
        gp_log(GP_LOG_WARN, "gp is at " GP_DIR_SUPERVISOR "/gp only: /usr/bin takes no link", NULL);
    }
    if (rc == 0) {
        rc = sup_gitconfig_write(err);
    }
    if (rc == 0) {
        rc = sup_content_wait(sup_main_go, err);
    }

    return rc;
}


static int sup_main_run(void)
{
    gp_err_t err = GP_ERR_INIT;

    sup_api_started();
    if (sup_loop_init(&err) < 0 || sup_main_watch_signals(&err) < 0 || sup_http_start(&err) < 0) {
        gp_log(GP_LOG_ERROR, err.text, NULL);
        return 1;
    }
    if (sup_main_prepare(&err) < 0) {
        sup_api_set_fatal(err.text);
    }
    sup_loop_run();
    gp_log(GP_LOG_INFO, "stopped", NULL);

    return 0;
}


int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("supervisor %s\n", GP_VERSION);
        return 0;
    }
    if (argc > 1 && strcmp(argv[1], "init") != 0) {
        fprintf(stderr, "usage: supervisor [init | --version]\nIt is PID 1 of a workspace and takes its settings from the environment.\n");
        return 2;
    }
    if (getpid() != 1) {
        fprintf(stderr, "supervisor: it must be PID 1 of a workspace's container, for it ends every process it can reach when it stops\n");
        return 1;
    }
    (void) close_range(3, ~0U, 0); /* what the engine left open is not for the children */
    (void) prctl(PR_SET_DUMPABLE, 0); /* not for the person's ptrace or /proc/1/environ */
    (void) umask(022);
    gp_log_init("supervisor", GP_LOG_INFO);

    return sup_main_run();
}
