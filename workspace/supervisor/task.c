#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/random.h"
#include "child.h"
#include "loop.h"
#include "task.h"
#include "user.h"

#define SUP_TASK_BACKLOG_MAX 262144 /* bytes of output kept */
#define SUP_TASK_BACKLOG_DROP 65536 /* dropped at once when it is full */
#define SUP_TASK_TYPE_MAX 262144 /* bytes waiting to be typed */
#define SUP_TASK_READ 4096
#define SUP_TASK_PROMPT_MS 1000 /* the shell may stay silent this long before we type */
#define SUP_TASK_CLIENTS_MAX 4 /* attached to one task */
#define SUP_TASK_CLIENT_MAX 524288 /* bytes queued for a client that does not read; then it is dropped */
#define SUP_TASK_NAME_MAX 64
#define SUP_TASK_LAST_READS 64 /* of what a shell left behind when it ended */

typedef struct sup_task sup_task_t;

typedef struct {
    sup_task_t *task;
    sup_watch_t watch;
    gp_buf_t out;
} sup_task_client_t;

struct sup_task {
    char id[24];
    char name[SUP_TASK_NAME_MAX];
    char alias[GP_INSTANCE_ID_LEN + 1];
    sup_child_t child;
    sup_watch_t pty;
    uint32_t pty_events;
    sup_timer_t prompt;
    int typing; /* the shell has shown itself: what waits may be typed */
    gp_buf_t backlog;
    gp_buf_t type;
    sup_env_t env;
    sup_task_client_t *clients[SUP_TASK_CLIENTS_MAX];
};

static sup_task_t *sup_tasks;
static size_t sup_tasks_n;
static int64_t sup_task_input_s;

static void sup_task_pty_event(sup_watch_t *watch, uint32_t events);
static void sup_task_client_event(sup_watch_t *watch, uint32_t events);


int sup_task_compose(const gp_yml_task_t *task, int from_backup, gp_buf_t *buf)
{
    const char *const commands[] = {task->before, from_backup ? NULL : task->init, task->command};
    const char *join = "";
    size_t i;
    int rc = 0;

    for (i = 0; i < sizeof(commands) / sizeof(commands[0]) && rc == 0; i++) {
        if (!commands[i] || !commands[i][strspn(commands[i], " \t\r\n")]) {
            continue;
        }
        rc = gp_buf_printf(buf, "%s{\n%s%s}", join, commands[i], commands[i][strlen(commands[i]) - 1] == '\n' ? "" : "\n");
        join = " && ";
    }
    if (rc == 0 && *join) {
        rc = gp_buf_append(buf, "\n", 1);
    }

    return rc;
}


int64_t sup_task_input_epoch_s(void)
{
    return sup_task_input_s;
}


static void sup_task_client_end(sup_task_client_t *client)
{
    sup_task_t *task = client->task;
    int fd = client->watch.fd;
    size_t i;

    sup_watch_clear(&client->watch);
    if (fd >= 0) {
        (void) close(fd);
    }
    for (i = 0; i < SUP_TASK_CLIENTS_MAX; i++) {
        if (task->clients[i] == client) {
            task->clients[i] = NULL;
        }
    }
    gp_buf_done(&client->out);
    free(client);
}


static void sup_task_client_send(sup_task_client_t *client)
{
    gp_err_t err = GP_ERR_INIT;
    ssize_t n;

    while (client->out.len > 0) {
        n = send(client->watch.fd, client->out.data, client->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n <= 0) {
            break;
        }
        gp_buf_consume(&client->out, (size_t) n);
    }
    if ((client->out.len > 0 && errno != EAGAIN) || (client->out.len == 0 && client->task->pty.fd < 0) ||
        sup_watch_set(&client->watch, client->watch.fd, client->out.len ? EPOLLIN | EPOLLOUT : EPOLLIN, sup_task_client_event, client,
                      &err) < 0) {
        sup_task_client_end(client);
    }
}


/* What may be typed now goes to the terminal; the rest when it takes more. */
static void sup_task_type(sup_task_t *task)
{
    gp_err_t err = GP_ERR_INIT;
    uint32_t events;
    ssize_t n;

    if (task->pty.fd < 0) {
        return;
    }
    while (task->typing && task->type.len > 0) {
        n = write(task->pty.fd, task->type.data, task->type.len);
        if (n <= 0) {
            break;
        }
        gp_buf_consume(&task->type, (size_t) n);
    }
    events = task->typing && task->type.len > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN;
    if (events != task->pty_events && sup_watch_set(&task->pty, task->pty.fd, events, sup_task_pty_event, task, &err) == 0) {
        task->pty_events = events;
    }
}


static void sup_task_client_event(sup_watch_t *watch, uint32_t events)
{
    sup_task_client_t *client = watch->data;
    sup_task_t *task = client->task;
    char buf[SUP_TASK_READ];
    ssize_t n;

    if (events & EPOLLIN) {
        n = recv(watch->fd, buf, sizeof(buf), MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN) || (n > 0 && gp_buf_append(&task->type, buf, (size_t) n) < 0)) {
            sup_task_client_end(client);
            return;
        }
        if (n > 0) {
            sup_task_input_s = gp_clock_epoch_s();
            sup_task_type(task);
        }
    } else if (events & (EPOLLERR | EPOLLHUP)) {
        sup_task_client_end(client);
        return;
    }
    if (events & EPOLLOUT) {
        sup_task_client_send(client);
    }
}


static void sup_task_output(sup_task_t *task, const char *data, size_t len)
{
    size_t i;

    if (task->backlog.len + len > SUP_TASK_BACKLOG_MAX) {
        gp_buf_consume(&task->backlog, SUP_TASK_BACKLOG_DROP);
    }
    (void) !gp_buf_append(&task->backlog, data, len); /* without memory the replay is shorter, nothing else */
    for (i = 0; i < SUP_TASK_CLIENTS_MAX; i++) {
        if (!task->clients[i]) {
            continue;
        }
        if (gp_buf_append(&task->clients[i]->out, data, len) < 0) {
            sup_task_client_end(task->clients[i]);
        } else {
            sup_task_client_send(task->clients[i]);
        }
    }
}


static void sup_task_prompted(sup_timer_t *timer)
{
    sup_task_t *task = timer->data;

    sup_timer_clear(timer);
    task->typing = 1;
    sup_task_type(task);
}


static void sup_task_close_pty(sup_task_t *task)
{
    int fd = task->pty.fd;

    sup_timer_clear(&task->prompt);
    sup_watch_clear(&task->pty);
    if (fd >= 0) {
        (void) close(fd);
    }
}


static void sup_task_pty_event(sup_watch_t *watch, uint32_t events)
{
    sup_task_t *task = watch->data;
    char buf[SUP_TASK_READ];
    ssize_t n;

    if (events & (EPOLLIN | EPOLLHUP)) {
        n = read(watch->fd, buf, sizeof(buf));
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            sup_task_close_pty(task); /* EIO: nobody holds the other end any more */
            return;
        }
        if (n > 0) {
            sup_task_output(task, buf, (size_t) n);
            if (!task->typing) {
                sup_task_prompted(&task->prompt);
            }
        }
    }
    if (events & EPOLLOUT) {
        sup_task_type(task);
    }
}


static void sup_task_ended(sup_child_t *child, int status)
{
    sup_task_t *task = child->data;
    char buf[SUP_TASK_READ];
    char text[16];
    ssize_t n;
    size_t i;

    (void) snprintf(text, sizeof(text), "%d", status);
    gp_log(GP_LOG_INFO, "a task's shell ended", "task", task->id, "wait_status", text, NULL);
    for (i = 0; i < SUP_TASK_LAST_READS && task->pty.fd >= 0 && (n = read(task->pty.fd, buf, sizeof(buf))) > 0; i++) {
        sup_task_output(task, buf, (size_t) n);
    }
    sup_task_close_pty(task);
    for (i = 0; i < SUP_TASK_CLIENTS_MAX; i++) {
        if (task->clients[i]) {
            sup_task_client_send(task->clients[i]); /* closes it once it has heard all */
        }
    }
}


/* Master and slave of a new pseudo terminal; the slave belongs to the person, so that programs may open it by name. */
static int sup_task_open_pty(int *ret_master, int *ret_slave, gp_err_t *err)
{
    struct winsize size = {.ws_row = 24, .ws_col = 80};
    gp_auto_fd int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    gp_auto_fd int slave = -1;

    if (master < 0 || unlockpt(master) < 0) {
        return gp_err_errno(err, errno, "opening a terminal");
    }
    slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0) {
        return gp_err_errno(err, errno, "opening a terminal's other end");
    }
    (void) ioctl(master, TIOCSWINSZ, &size);
    (void) !fchown(slave, sup_user()->uid, (gid_t) -1); /* without it only opening by name fails */
    *ret_master = gp_steal_fd(&master);
    *ret_slave = gp_steal_fd(&slave);

    return 0;
}


static const char *sup_task_shell(const sup_env_t *env)
{
    size_t i;

    for (i = 0; i < env->n; i++) {
        if (strncmp(env->vars[i], "SHELL=", 6) == 0 && access(env->vars[i] + 6, X_OK) == 0) {
            return env->vars[i] + 6;
        }
    }

    return access("/bin/bash", X_OK) == 0 ? "/bin/bash" : "/bin/sh";
}


static int sup_task_environment(sup_task_t *task, const gp_yml_task_t *yml, const sup_env_t *env, gp_err_t *err)
{
    size_t i;
    int rc;

    rc = sup_env_copy(env, &task->env, err);
    if (rc == 0) {
        rc = sup_env_set(&task->env, "TERM", "xterm-256color", err);
    }
    for (i = 0; i < yml->n_env && rc == 0; i++) {
        rc = sup_env_set(&task->env, yml->env[i].name, yml->env[i].value, err);
    }

    return rc;
}


static int sup_task_open(sup_task_t *task, const gp_yml_task_t *yml, const sup_env_t *env, const char *location, gp_err_t *err)
{
    sup_spawn_t spec = {.cwd = location, .output = -1};
    gp_auto_fd int master = -1;
    gp_auto_fd int slave = -1;
    char *argv[2] = {NULL, NULL};
    int rc;

    rc = sup_task_environment(task, yml, env, err);
    if (rc == 0) {
        rc = sup_task_open_pty(&master, &slave, err);
    }
    if (rc < 0) {
        return rc;
    }
    argv[0] = strdup(sup_task_shell(&task->env));
    if (!argv[0]) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "out of memory for a task");
    }
    spec.argv = argv;
    spec.env = task->env.vars;
    spec.terminal = slave;
    rc = sup_child_spawn(&task->child, &spec, sup_task_ended, task, err);
    free(argv[0]);
    if (rc == 0) {
        rc = sup_watch_set(&task->pty, master, EPOLLIN, sup_task_pty_event, task, err);
    }
    if (rc == 0) {
        master = -1; /* the watch's now */
        task->pty_events = EPOLLIN;
        sup_timer_set(&task->prompt, SUP_TASK_PROMPT_MS, sup_task_prompted, task);
    }

    return rc;
}


void sup_task_start(const gp_yml_t *yml, const sup_env_t *env, const char *location, int from_backup)
{
    gp_err_t err = GP_ERR_INIT;
    sup_task_t *task;
    size_t i;

    sup_tasks = calloc(yml->n_tasks ? yml->n_tasks : 1, sizeof(*sup_tasks));
    for (i = 0; sup_tasks && i < yml->n_tasks; i++) {
        task = &sup_tasks[sup_tasks_n++];
        (void) snprintf(task->id, sizeof(task->id), "%zu", i);
        (void) snprintf(task->name, sizeof(task->name), "Gitpod Task %zu", i + 1);
        if (yml->tasks[i].name && *yml->tasks[i].name) {
            (void) snprintf(task->name, sizeof(task->name), "%s", yml->tasks[i].name);
        }
        gp_random_uuid(task->alias);
        task->pty.fd = -1;
        gp_buf_init(&task->backlog, SUP_TASK_BACKLOG_MAX);
        gp_buf_init(&task->type, SUP_TASK_TYPE_MAX);
        if (sup_task_compose(&yml->tasks[i], from_backup, &task->type) < 0 ||
            sup_task_open(task, &yml->tasks[i], env, location, &err) < 0) {
            gp_log(GP_LOG_ERROR, "a task could not start", "task", task->name, "error", err.text, NULL);
        }
    }
}


json_t *sup_task_status(void)
{
    json_t *list = json_array(), *doc;
    size_t i;

    for (i = 0; i < sup_tasks_n; i++) {
        (void) json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:{s:s+}}", "id", sup_tasks[i].id, "state",
                                                     sup_tasks[i].child.pid > 0 ? "running" : "closed", "terminal", sup_tasks[i].alias,
                                                     "presentation", "name", sup_tasks[i].name, ""));
    }
    doc = json_pack("{s:o}", "tasks", list);

    return doc;
}


static sup_task_t *sup_task_find(const char *id)
{
    size_t i;

    for (i = 0; i < sup_tasks_n; i++) {
        if (strcmp(id, sup_tasks[i].id) == 0 || strcmp(id, sup_tasks[i].alias) == 0) {
            return &sup_tasks[i];
        }
    }

    return NULL;
}


static int sup_task_unknown(const char *id, gp_err_t *err)
{
    return gp_err(err, GP_NOT_FOUND, "there is no task '%s'; `gp tasks list` shows which there are", id);
}


/* Zeros are from somebody without a window: the size stays. */
static void sup_task_size(const sup_task_t *task, unsigned rows, unsigned columns)
{
    struct winsize size = {.ws_row = (unsigned short) rows, .ws_col = (unsigned short) columns};

    if (rows && columns && task->pty.fd >= 0) {
        (void) ioctl(task->pty.fd, TIOCSWINSZ, &size); /* the kernel sends SIGWINCH when it differs */
    }
}


int sup_task_attach(const char *id, unsigned rows, unsigned columns, int take_fd, gp_err_t *err)
{
    gp_auto_fd int fd = take_fd;
    sup_task_t *task = sup_task_find(id);
    sup_task_client_t *client;
    size_t i;
    int rc;

    if (!task) {
        return sup_task_unknown(id, err);
    }
    for (i = 0; i < SUP_TASK_CLIENTS_MAX && task->clients[i]; i++) {
    }
    if (i == SUP_TASK_CLIENTS_MAX) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "%d terminals are attached to task '%s' already", SUP_TASK_CLIENTS_MAX, id);
    }
    client = calloc(1, sizeof(*client));
    if (!client) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "out of memory");
    }
    client->task = task;
    client->watch.fd = -1;
    gp_buf_init(&client->out, SUP_TASK_CLIENT_MAX);
    rc = gp_buf_append(&client->out, task->backlog.data, task->backlog.len);
    if (rc == 0) {
        rc = sup_watch_set(&client->watch, fd, EPOLLIN | EPOLLOUT, sup_task_client_event, client, err);
    }
    if (rc < 0) {
        gp_buf_done(&client->out);
        free(client);
        return rc;
    }
    fd = -1;
    task->clients[i] = client;
    sup_task_size(task, rows, columns);

    return 0;
}


int sup_task_resize(const char *id, unsigned rows, unsigned columns, gp_err_t *err)
{
    sup_task_t *task = sup_task_find(id);

    if (!task) {
        return sup_task_unknown(id, err);
    }
    sup_task_size(task, rows, columns);

    return 0;
}


void sup_task_stop(void)
{
    size_t i;

    for (i = 0; i < sup_tasks_n; i++) {
        sup_child_kill(&sup_tasks[i].child, SIGTERM);
        sup_child_kill(&sup_tasks[i].child, SIGHUP); /* an interactive shell ignores TERM */
        sup_task_close_pty(&sup_tasks[i]);
    }
}


int sup_task_running(void)
{
    size_t i;

    for (i = 0; i < sup_tasks_n; i++) {
        if (sup_tasks[i].child.pid > 0) {
            return 1;
        }
    }

    return 0;
}
