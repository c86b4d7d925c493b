#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "child.h"
#include "core/contract.h"
#include "ide.h"
#include "loop.h"
#include "probe.h"
#include "user.h"

#define SUP_IDE_ARGV_MAX 64
#define SUP_IDE_LOG_MAX 4096 /* last bytes of the editor's output that are kept */
#define SUP_IDE_ERROR_MAX 2048 /* bytes of the error text */
#define SUP_IDE_PASS_MAX 65536 /* bytes a minute of its output that go to the container's log */
#define SUP_IDE_PROBE_TIMEOUT_MS 1000 /* one attempt */
#define SUP_IDE_PROBE_FAST_MS 10 /* between attempts, while it starts */
#define SUP_IDE_PROBE_FAST_FOR_MS 5000 /* then the pause doubles up to the next */
#define SUP_IDE_PROBE_SLOW_MS 250
#define SUP_IDE_CRASHES 5 /* ends ... */
#define SUP_IDE_CRASH_WINDOW_MS 60000 /* ... within this time are a loop */
#define SUP_IDE_RESTART_MS 250 /* first pause before a restart, doubles */
#define SUP_IDE_RESTART_MAX_MS 5000
#define SUP_IDE_CRASHED_RETRY_MS 30000
#define SUP_IDE_STOP_MS 15000
#define SUP_IDE_ASK_MS 20000 /* between questions for its heartbeat */

static struct {
    char **argv;
    const sup_env_t *env;
    const char *location;
    void (*on_change)(void);
    sup_child_t child;
    sup_watch_t output;
    sup_probe_t probe;
    sup_timer_t timer; /* next probe */
    sup_timer_t restart;
    sup_timer_t kill;
    uint64_t started_ms;
    uint64_t ends_ms[SUP_IDE_CRASHES]; /* ring */
    unsigned n_ends;
    unsigned pause_ms;
    int ready;
    int stopping;
    int asking; /* the probe asks for the heartbeat, not for readiness */
    uint64_t asked_ms;
    int64_t heartbeat_epoch_s;
    char log[SUP_IDE_LOG_MAX];
    size_t log_len;
    size_t passed;
    uint64_t passed_since_ms;
    char error[SUP_IDE_ERROR_MAX];
} sup_ide = {.output.fd = -1, .probe.watch.fd = -1};

static void sup_ide_launch(sup_timer_t *timer);


int sup_ide_ready(void)
{
    return sup_ide.ready;
}


const char *sup_ide_error(void)
{
    return *sup_ide.error ? sup_ide.error : NULL;
}


unsigned sup_ide_restarts(void)
{
    return sup_ide.n_ends;
}


int sup_ide_running(void)
{
    return sup_ide.child.pid > 0;
}


/* Text for people: the last lines of output, printable. */
static void sup_ide_fail(const char *what)
{
    size_t n, i, keep = sizeof(sup_ide.error) - 256;
    const char *tail = sup_ide.log;

    if (sup_ide.log_len > keep) {
        tail += sup_ide.log_len - keep;
    }
    n = (size_t) snprintf(sup_ide.error, 256, "%s", what);
    n = n < 256 ? n : 255;
    if (sup_ide.log_len > 0) {
        n += (size_t) snprintf(sup_ide.error + n, sizeof(sup_ide.error) - n, " Its last output:\n%.*s",
                               (int) (sup_ide.log_len - (size_t) (tail - sup_ide.log)), tail);
    }
    for (i = 0; sup_ide.error[i]; i++) {
        if ((unsigned char) sup_ide.error[i] < ' ' && sup_ide.error[i] != '\n') {
            sup_ide.error[i] = ' ';
        } else if ((unsigned char) sup_ide.error[i] >= 0x7f) {
            sup_ide.error[i] = '?';
        }
    }
    sup_ide.on_change();
}


static void sup_ide_probe_again(sup_timer_t *timer);


static void sup_ide_probed(sup_probe_t *probe, int status, const char *body)
{
    uint64_t age = gp_clock_ms() - sup_ide.started_ms;
    uint64_t pause = SUP_IDE_PROBE_FAST_MS;
    gp_auto_json json_t *doc = NULL;
    char ms[32];

    (void) probe;
    if (sup_ide.asking) {
        doc = json_loads(body, 0, NULL);
        if (json_is_integer(json_object_get(doc, "lastHeartbeat"))) {
            sup_ide.heartbeat_epoch_s = json_integer_value(json_object_get(doc, "lastHeartbeat")) / 1000;
        }
        return;
    }
    if (status == 200) {
        sup_ide.ready = 1;
        sup_ide.asking = 1;
        sup_ide.error[0] = '\0';
        sup_ide.pause_ms = SUP_IDE_RESTART_MS;
        (void) snprintf(ms, sizeof(ms), "%llu", (unsigned long long) age);
        gp_log(GP_LOG_INFO, "the editor answers", "after_ms", ms, NULL);
        sup_ide.on_change();
        return;
    }
    if (age > SUP_IDE_PROBE_FAST_FOR_MS) {
        pause = age / 50 < SUP_IDE_PROBE_SLOW_MS ? age / 50 : SUP_IDE_PROBE_SLOW_MS;
    }
    sup_timer_set(&sup_ide.timer, pause, sup_ide_probe_again, NULL);
}


static void sup_ide_probe_again(sup_timer_t *timer)
{
    (void) timer;
    sup_probe_start(&sup_ide.probe, SUP_IDE_PROBE_TIMEOUT_MS, sup_ide_probed);
}


/* Into the ring of last output, and on to the container's log within its allowance. */
static void sup_ide_keep(const char *data, size_t len)
{
    uint64_t now = gp_clock_ms();
    size_t drop;

    if (now - sup_ide.passed_since_ms >= 60000) {
        sup_ide.passed_since_ms = now;
        sup_ide.passed = 0;
    }
    if (sup_ide.passed + len <= SUP_IDE_PASS_MAX) {
        sup_ide.passed += len;
        (void) !write(2, data, len); /* a log that cannot be written must not stop the editor */
    }
    if (len > sizeof(sup_ide.log)) {
        data += len - sizeof(sup_ide.log);
        len = sizeof(sup_ide.log);
    }
    if (sup_ide.log_len + len > sizeof(sup_ide.log)) {
        drop = sup_ide.log_len + len - sizeof(sup_ide.log);
        memmove(sup_ide.log, sup_ide.log + drop, sup_ide.log_len - drop);
        sup_ide.log_len -= drop;
    }
    memcpy(sup_ide.log + sup_ide.log_len, data, len);
    sup_ide.log_len += len;
}


static void sup_ide_output_end(void)
{
    int fd = sup_ide.output.fd;

    sup_watch_clear(&sup_ide.output);
    if (fd >= 0) {
        (void) close(fd);
    }
}


static void sup_ide_output(sup_watch_t *watch, uint32_t events)
{
    char buf[4096];
    ssize_t n = read(watch->fd, buf, sizeof(buf));

    (void) events;
    if (n > 0) {
        sup_ide_keep(buf, (size_t) n);
    } else if (n == 0 || errno != EAGAIN) {
        sup_ide_output_end();
    }
}


static int sup_ide_crash_loop(uint64_t now)
{
    return sup_ide.n_ends >= SUP_IDE_CRASHES && now - sup_ide.ends_ms[sup_ide.n_ends % SUP_IDE_CRASHES] <= SUP_IDE_CRASH_WINDOW_MS;
}


static void sup_ide_pass_rest(void)
{
    char buf[4096];
    ssize_t n;
    int i;

    for (i = 0; i < 16 && sup_ide.output.fd >= 0 && (n = read(sup_ide.output.fd, buf, sizeof(buf))) > 0; i++) {
        sup_ide_keep(buf, (size_t) n);
    }
    sup_ide_output_end();
}


static void sup_ide_again(const char *how)
{
    uint64_t now = gp_clock_ms(), pause = sup_ide.pause_ms;
    char text[200];

    sup_ide.ends_ms[sup_ide.n_ends++ % SUP_IDE_CRASHES] = now;
    sup_ide.pause_ms = sup_ide.pause_ms * 2 > SUP_IDE_RESTART_MAX_MS ? SUP_IDE_RESTART_MAX_MS : sup_ide.pause_ms * 2;
    gp_log(GP_LOG_WARN, "the editor ended", "how", how, NULL);
    if (sup_ide_crash_loop(now)) {
        pause = SUP_IDE_CRASHED_RETRY_MS;
        (void) snprintf(text, sizeof(text), "The editor ended %d times within a minute (last: %s). It is tried again every %d s.",
                        SUP_IDE_CRASHES, how, SUP_IDE_CRASHED_RETRY_MS / 1000);
        sup_ide_fail(text);
    } else {
        sup_ide.on_change();
    }
    sup_timer_set(&sup_ide.restart, pause, sup_ide_launch, NULL);
}


static void sup_ide_ended(sup_child_t *child, int status)
{
    char how[64];

    (void) child;
    sup_ide_pass_rest();
    sup_timer_clear(&sup_ide.timer);
    sup_timer_clear(&sup_ide.kill);
    sup_probe_cancel(&sup_ide.probe);
    sup_ide.ready = 0;
    sup_ide.asking = 0;
    if (sup_ide.stopping) {
        sup_ide.on_change();
        return;
    }
    if (WIFSIGNALED(status)) {
        (void) snprintf(how, sizeof(how), "killed by signal %d", WTERMSIG(status));
    } else {
        (void) snprintf(how, sizeof(how), "exit status %d", WEXITSTATUS(status));
    }
    sup_ide_again(how);
}


static int sup_ide_spawn(gp_err_t *err)
{
    sup_spawn_t spec = {.argv = sup_ide.argv, .env = sup_ide.env->vars, .cwd = sup_ide.location, .terminal = -1};
    gp_auto_fd int read_end = -1;
    gp_auto_fd int write_end = -1;
    int fds[2], rc;

    if (pipe2(fds, O_CLOEXEC) < 0) {
        return gp_err_errno(err, errno, "starting the editor: pipe");
    }
    read_end = fds[0];
    write_end = fds[1];
    (void) fcntl(read_end, F_SETFL, O_NONBLOCK); /* cannot fail on a pipe of ours */
    spec.output = write_end;
    rc = sup_child_spawn(&sup_ide.child, &spec, sup_ide_ended, NULL, err);
    if (rc < 0) {
        return rc;
    }
    sup_ide_output_end();
    rc = sup_watch_set(&sup_ide.output, read_end, EPOLLIN, sup_ide_output, NULL, err);
    if (rc == 0) {
        read_end = -1; /* the watch's now */
    }

    return rc;
}


static void sup_ide_launch(sup_timer_t *timer)
{
    gp_err_t err = GP_ERR_INIT;

    (void) timer;
    sup_ide.log_len = 0;
    sup_ide.started_ms = gp_clock_ms();
    if (sup_ide_spawn(&err) < 0) {
        sup_ide_again(err.text);
        return;
    }
    sup_timer_set(&sup_ide.timer, SUP_IDE_PROBE_FAST_MS, sup_ide_probe_again, NULL);
}


/* GITPOD_IDE_COMMAND: a JSON array of strings. */
static int sup_ide_command(gp_err_t *err)
{
    const char *text = getenv("GITPOD_IDE_COMMAND");
    gp_auto_json json_t *doc = json_loads(text ? text : "[\"" GP_DIR_IDE "/bin/editor\"]", 0, NULL);
    size_t i, n = json_array_size(doc);

    if (n == 0 || n > SUP_IDE_ARGV_MAX) {
        return gp_err(err, GP_INVALID_ARGUMENT, "GITPOD_IDE_COMMAND must be a JSON array of 1 to %d strings", SUP_IDE_ARGV_MAX);
    }
    sup_ide.argv = calloc(n + 1, sizeof(*sup_ide.argv));
    for (i = 0; sup_ide.argv && i < n; i++) {
        if (!json_is_string(json_array_get(doc, i))) {
            return gp_err(err, GP_INVALID_ARGUMENT, "GITPOD_IDE_COMMAND[%zu] must be a string", i);
        }
        sup_ide.argv[i] = strdup(json_string_value(json_array_get(doc, i)));
        if (!sup_ide.argv[i]) {
            break;
        }
    }
    if (!sup_ide.argv || i < n) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "out of memory for the editor's command");
    }

    return 0;
}


int sup_ide_start(const sup_env_t *env, const char *location, void (*on_change)(void), gp_err_t *err)
{
    const char *probe = getenv("GITPOD_IDE_PROBE");
    int rc;

    sup_ide.env = env;
    sup_ide.location = location;
    sup_ide.on_change = on_change;
    sup_ide.pause_ms = SUP_IDE_RESTART_MS;
    rc = sup_ide_command(err);
    if (rc == 0) {
        rc = sup_probe_init(&sup_ide.probe, probe && *probe ? probe : "http://localhost:23000/", NULL, err);
    }
    if (rc < 0) {
        return rc;
    }
    sup_ide_launch(NULL);

    return 0;
}


int64_t sup_ide_heartbeat_epoch_s(void)
{
    uint64_t now = gp_clock_ms();

    if (sup_ide.ready && now - sup_ide.asked_ms >= SUP_IDE_ASK_MS) {
        sup_ide.asked_ms = now;
        sup_probe_start(&sup_ide.probe, SUP_IDE_PROBE_TIMEOUT_MS, sup_ide_probed);
    }

    return sup_ide.heartbeat_epoch_s;
}


static void sup_ide_kill(sup_timer_t *timer)
{
    (void) timer;
    sup_child_kill(&sup_ide.child, SIGKILL);
}


void sup_ide_stop(void)
{
    sup_ide.stopping = 1;
    sup_timer_clear(&sup_ide.restart);
    sup_timer_clear(&sup_ide.timer);
    if (sup_ide_running()) {
        sup_child_kill(&sup_ide.child, SIGTERM);
        sup_timer_set(&sup_ide.kill, SUP_IDE_STOP_MS, sup_ide_kill, NULL);
    }
}
