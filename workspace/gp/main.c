#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "../control.h"
#include "../port_url.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/json.h"
#include "core/contract.h"

/* gp: the workspace's command line. It asks the supervisor over a unix socket that only this workspace has. */
#define GP_CLI_ANSWER_MAX 1048576 /* bytes of an answer */
#define GP_CLI_URL_MAX 512

static int gp_cli_fail(const gp_err_t *err)
{
    fprintf(stderr, "gp: %s\n", err->text);

    return 1;
}


/* A connection with the request sent on it. */
static int gp_cli_connect(const char *method, const char *path, gp_err_t *err)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = GP_CONTROL_SOCKET};
    gp_auto_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char text[512];
    int n;

    if (fd < 0 || connect(fd, (struct sockaddr *) &un, sizeof(un)) < 0) {
        return gp_err_errno(err, errno, "the workspace's supervisor does not answer (%s); gp works inside a running workspace, as its user",
                            GP_CONTROL_SOCKET);
    }
    n = snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\nHost: workspace\r\n\r\n", method, path);
    if (n < 0 || (size_t) n >= sizeof(text) || send(fd, text, (size_t) n, MSG_NOSIGNAL) != n) {
        return gp_err(err, GP_UNAVAILABLE, "the workspace's supervisor took no request");
    }

    return gp_steal_fd(&fd);
}


static int gp_cli_read(int fd, gp_buf_t *buf, gp_err_t *err)
{
    char *room;
    ssize_t n;

    do {
        if (gp_buf_reserve(buf, 16384, &room) < 0) {
            return gp_err(err, GP_RESOURCE_EXHAUSTED, "the supervisor's answer is too large");
        }
        n = read(fd, room, 16384);
        if (n > 0) {
            gp_buf_commit(buf, (size_t) n);
        }
    } while (n > 0 || (n < 0 && errno == EINTR));

    return gp_buf_append(buf, "", 1) < 0 || n < 0 ? gp_err(err, GP_UNAVAILABLE, "the supervisor's answer broke off") : 0;
}


/* The JSON of a 200, else an error with the message it gave. */
static int gp_cli_call(const char *method, const char *path, json_t **ret_doc, gp_err_t *err)
{
    gp_auto_buf gp_buf_t buf;
    gp_auto_fd int fd = -1;
    gp_auto_json json_t *doc = NULL;
    const char *body, *message;
    int rc;

    gp_buf_init(&buf, GP_CLI_ANSWER_MAX);
    fd = gp_cli_connect(method, path, err);
    if (fd < 0) {
        return fd;
    }
    rc = gp_cli_read(fd, &buf, err);
    if (rc < 0) {
        return rc;
    }
    body = strstr(buf.data, "\r\n\r\n");
    doc = body ? json_loads(body + 4, 0, NULL) : NULL;
    if (!doc) {
        return gp_err(err, GP_UNAVAILABLE, "the supervisor's answer is not readable");
    }
    if (strncmp(buf.data, "HTTP/1.1 200 ", 13) != 0) {
        message = json_string_value(json_object_get(doc, "message"));
        return gp_err(err, GP_INTERNAL, "%s", message ? message : "the supervisor refused");
    }
    *ret_doc = gp_steal(&doc);

    return 0;
}


static const char *gp_cli_env(const char *name)
{
    const char *value = getenv(name);

    return value ? value : "";
}


static int gp_cli_is_json(const char *arg)
{
    return strcmp(arg, "-j") == 0 || strcmp(arg, "--json") == 0;
}


static int gp_cli_print_json(const json_t *doc)
{
    gp_auto_free char *text = json_dumps(doc, JSON_INDENT(2) | JSON_PRESERVE_ORDER);

    if (!text) {
        fprintf(stderr, "gp: the supervisor's answer is not readable\n");
        return 1;
    }
    printf("%s\n", text);

    return 0;
}


static int gp_cli_info(int argc, char **argv)
{
    static const struct {
        const char *key, *label, *env;
    } rows[] = {{"workspace_id", "Workspace ID", "GITPOD_WORKSPACE_ID"},
                {"instance_id", "Instance ID", "GITPOD_INSTANCE_ID"},
                {"workspace_class", "Workspace class", "GITPOD_WORKSPACE_CLASS"},
                {"workspace_url", "Workspace URL", "GITPOD_WORKSPACE_URL"},
                {"workspace_context_url", "Workspace Context URL", "GITPOD_WORKSPACE_CONTEXT_URL"},
                {"cluster_host", "Cluster host", "GITPOD_WORKSPACE_CLUSTER_HOST"},
                {"checkout_location", "Checkout location", "GITPOD_REPO_ROOT"}};
    gp_auto_json json_t *doc = NULL;
    size_t i;

    if (argc > 1 || (argc == 1 && !gp_cli_is_json(argv[0]))) {
        fprintf(stderr, "usage: gp info [-j]\n");
        return 2;
    }
    if (!*gp_cli_env("GITPOD_WORKSPACE_ID")) {
        fprintf(stderr, "gp: GITPOD_WORKSPACE_ID is not set; gp works inside a running workspace\n");
        return 1;
    }
    doc = json_object();
    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        (void) json_object_set_new(doc, rows[i].key, json_string(gp_cli_env(rows[i].env)));
        if (argc == 0) {
            printf("%-22s %s\n", rows[i].label, gp_cli_env(rows[i].env));
        }
    }

    return argc == 1 ? gp_cli_print_json(doc) : 0;
}


static int gp_cli_url(int argc, char **argv)
{
    const char *workspace = getenv("GITPOD_WORKSPACE_URL");
    char url[GP_CLI_URL_MAX];
    unsigned long port;
    char *end;

    if (!workspace || !*workspace) {
        fprintf(stderr, "gp: GITPOD_WORKSPACE_URL is not set; gp works inside a running workspace\n");
        return 1;
    }
    if (argc == 0) {
        printf("%s\n", workspace);
        return 0;
    }
    port = strtoul(argv[0], &end, 10);
    if (argc > 1 || *end || end == argv[0] || port < 1 || port > 65535) {
        fprintf(stderr, "gp: '%s' is not a port; give a number from 1 to 65535\n", argv[0]);
        return 2;
    }
    if (gp_port_url((unsigned) port, url, sizeof(url)) < 0) {
        fprintf(
            stderr,
            "gp: port %lu has no address: GITPOD_HOST, GITPOD_WORKSPACE_ID or GITPOD_WORKSPACE_URL is not what it was in this workspace\n",
            port);
        return 1;
    }
    printf("%s\n", url);

    return 0;
}


static const char *gp_cli_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "";
}


static int gp_cli_ports_list(int argc, char **argv)
{
    gp_auto_json json_t *doc = NULL;
    gp_err_t err = GP_ERR_INIT;
    json_t *port, *exposed;
    size_t i;

    (void) argc;
    (void) argv;
    if (gp_cli_call("GET", GP_PATH_STATUS "ports", &doc, &err) < 0) {
        return gp_cli_fail(&err);
    }
    if (json_array_size(json_object_get(doc, "ports")) == 0) {
        printf("No program listens on a port, and .gitpod.yml names none.\n");
        return 0;
    }
    printf("%-6s %-10s %-10s %-50s %s\n", "PORT", "STATUS", "ACCESS", "URL", "NAME & DESCRIPTION");
    json_array_foreach(json_object_get(doc, "ports"), i, port)
    {
        exposed = json_object_get(port, "exposed");
        printf("%-6d %-10s %-10s %-50s %s%s%s\n", (int) json_integer_value(json_object_get(port, "localPort")),
               json_is_true(json_object_get(port, "served")) ? "open" : "not served", gp_cli_text(exposed, "visibility"),
               gp_cli_text(exposed, "url"), gp_cli_text(port, "name"),
               *gp_cli_text(port, "name") && *gp_cli_text(port, "description") ? ": " : "", gp_cli_text(port, "description"));
    }

    return 0;
}


#define GP_CLI_PORT_WAIT_MS 20000 /* ws_manager asks the supervisor every 5 s */
#define GP_CLI_PORT_LOOK_MS 200

/* Whether the port is so by now; the URL of what is. */
static int gp_cli_port_is(unsigned long number, const char *member, const char *word, char *url, size_t size)
{
    gp_auto_json json_t *doc = NULL;
    gp_err_t err = GP_ERR_INIT;
    json_t *port, *exposed;
    size_t i;

    *url = '\0';
    if (gp_cli_call("GET", GP_PATH_STATUS "ports", &doc, &err) < 0) {
        return 0;
    }
    json_array_foreach(json_object_get(doc, "ports"), i, port)
    {
        exposed = json_object_get(port, "exposed");
        if (json_integer_value(json_object_get(port, "localPort")) == (json_int_t) number) {
            (void) snprintf(url, size, "%s", gp_cli_text(exposed, "url"));
            return strcmp(gp_cli_text(exposed, member), word) == 0;
        }
    }

    return strcmp(word, "private") == 0 || strcmp(word, "http") == 0; /* as all that are not listed */
}


/* Mode port: it is about to have an address for everybody; until then there is only the owner's. */
static int gp_cli_port_awaits(const char *word, const char *url)
{
    return strcmp(word, "private") != 0 && strcmp(word, "http") != 0 && strstr(url, GP_PATH_PORTS) != NULL;
}


/* "3000:public" */
static int gp_cli_ports_set(int argc, char **argv, const char *member, const char *words)
{
    const char *word = argc == 1 ? strchr(argv[0], ':') : NULL;
    gp_auto_json json_t *doc = NULL;
    gp_err_t err = GP_ERR_INIT;
    char path[128], url[GP_CLI_URL_MAX];
    unsigned long port;
    char *end;
    int waited, so = 0;

    port = word ? strtoul(argv[0], &end, 10) : 0;
    if (!word || end != word || port < 1 || port > 65535 || strlen(word) > 8 || !strstr(words, word + 1)) {
        fprintf(stderr, "usage: gp ports %s <port>:<%s>\n", member, words);
        return 2;
    }
    word++;
    (void) snprintf(path, sizeof(path), GP_PATH_PORT "%lu/%s", port, word);
    if (gp_cli_call("POST", path, &doc, &err) < 0) {
        return gp_cli_fail(&err);
    }
    for (waited = 0; waited < GP_CLI_PORT_WAIT_MS; waited += GP_CLI_PORT_LOOK_MS) {
        so = gp_cli_port_is(port, member, word, url, sizeof(url));
        if (so && !gp_cli_port_awaits(word, url)) {
            break;
        }
        (void) poll(NULL, 0, GP_CLI_PORT_LOOK_MS);
    }
    if (so) {
        printf("Port %lu is %s%s%s%s\n", port, word, *url ? ": " : "", url,
               gp_cli_port_awaits(word, url)
                   ? "\nThat is for you alone: the gateway has no address left for it. End programs that listen, or ask for a larger "
                     "GITPOD_PORT_RANGE"
                   : "");
        return 0;
    }
    fprintf(stderr,
            "gp: nothing came of it within %d s. 16 ports that are not private and http are the limit of a workspace (see `gp ports "
            "list`); or nobody can be asked at the moment: try again\n",
            GP_CLI_PORT_WAIT_MS / 1000);

    return 1;
}


static int gp_cli_ports_visibility(int argc, char **argv)
{
    return gp_cli_ports_set(argc, argv, "visibility", "private|public");
}


static int gp_cli_ports_protocol(int argc, char **argv)
{
    return gp_cli_ports_set(argc, argv, "protocol", "http|https|h2c|grpc");
}


static int gp_cli_tasks_list(int argc, char **argv)
{
    gp_auto_json json_t *doc = NULL;
    gp_err_t err = GP_ERR_INIT;
    json_t *task;
    size_t i;

    if (argc > 1 || (argc == 1 && !gp_cli_is_json(argv[0]))) {
        fprintf(stderr, "usage: gp tasks list [-j]\n");
        return 2;
    }
    if (gp_cli_call("GET", GP_PATH_STATUS "tasks", &doc, &err) < 0) {
        return gp_cli_fail(&err);
    }
    if (argc == 1) {
        return gp_cli_print_json(json_object_get(doc, "tasks"));
    }
    if (json_array_size(json_object_get(doc, "tasks")) == 0) {
        printf("No tasks: .gitpod.yml names none.\n");
        return 0;
    }
    printf("%-4s %-9s %s\n", "ID", "STATE", "NAME");
    json_array_foreach(json_object_get(doc, "tasks"), i, task)
    {
        printf("%-4s %-9s %s\n", gp_cli_text(task, "id"), gp_cli_text(task, "state"),
               gp_cli_text(json_object_get(task, "presentation"), "name"));
    }

    return 0;
}


static int gp_cli_stop(int argc, char **argv)
{
    gp_auto_json json_t *doc = NULL;
    gp_err_t err = GP_ERR_INIT;

    (void) argv;
    if (argc > 0) {
        fprintf(stderr, "usage: gp stop\n");
        return 2;
    }
    if (gp_cli_call("POST", GP_PATH_STOP, &doc, &err) < 0) {
        return gp_cli_fail(&err);
    }
    printf("The workspace stops within seconds. What is in /workspace is kept.\n");

    return 0;
}


static struct termios gp_cli_tty;

static void gp_cli_tty_restore(void)
{
    (void) tcsetattr(0, TCSANOW, &gp_cli_tty);
}


static void gp_cli_tty_raw(void)
{
    struct termios raw;

    if (tcgetattr(0, &gp_cli_tty) < 0) {
        return; /* not a terminal: bytes are passed as they are */
    }
    raw = gp_cli_tty;
    cfmakeraw(&raw);
    (void) tcsetattr(0, TCSANOW, &raw);
    (void) atexit(gp_cli_tty_restore);
}


/* One read passed on; 0 at the end. */
static int gp_cli_pass(int from, int to)
{
    char buf[4096];
    ssize_t n = read(from, buf, sizeof(buf));
    ssize_t done = 0, w;

    while (done < n) {
        w = write(to, buf + done, (size_t) (n - done));
        if (w <= 0) {
            return 0;
        }
        done += w;
    }

    return n > 0;
}


/* Skips the head of the answer. 1: attached, 0: what was refused stands in text. */
static int gp_cli_attached(int fd, char *text, size_t size)
{
    size_t n = 0;

    while (n < size - 1 && read(fd, text + n, 1) == 1) {
        n++;
        text[n] = '\0';
        if (n >= 4 && memcmp(text + n - 4, "\r\n\r\n", 4) == 0) {
            return 1;
        }
    }
    text[n] = '\0';

    return 0;
}


/* From here on a change of the window's size is read from the result; negative: the size stays what it is. */
static int gp_cli_watch_size(void)
{
    sigset_t set;

    (void) sigemptyset(&set);
    (void) sigaddset(&set, SIGWINCH);
    (void) sigprocmask(SIG_BLOCK, &set, NULL);

    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}


static void gp_cli_resize(int signals, const char *id)
{
    struct signalfd_siginfo info;
    struct winsize size = {0};
    gp_auto_json json_t *doc = NULL;
    gp_err_t err = GP_ERR_INIT;
    char path[256];

    while (read(signals, &info, sizeof(info)) == sizeof(info)) {
    }
    (void) ioctl(1, TIOCGWINSZ, &size);
    (void) snprintf(path, sizeof(path), GP_PATH_RESIZE "%s?rows=%u&columns=%u", id, size.ws_row, size.ws_col);
    (void) gp_cli_call("POST", path, &doc, &err); /* without it lines break at the wrong place, nothing else */
}


/* After the end: the output stays readable until somebody presses Enter. */
static void gp_cli_hold(void)
{
    static const char text[] = "\r\n\033[2mThis task has ended. Press Enter to close its terminal.\033[0m\r\n";
    char c = '\0';

    (void) !write(1, text, sizeof(text) - 1);
    while (c != '\r' && c != '\n' && read(0, &c, 1) == 1) {
    }
}


static int gp_cli_join(int fd, int signals, const char *id)
{
    struct pollfd fds[3] = {{.fd = 0, .events = POLLIN}, {.fd = fd, .events = POLLIN}, {.fd = signals, .events = POLLIN}};

    while (poll(fds, 3, -1) >= 0 || errno == EINTR) {
        if (fds[2].revents & POLLIN) {
            gp_cli_resize(signals, id);
        }
        if ((fds[1].revents & (POLLIN | POLLHUP)) && !gp_cli_pass(fd, 1)) {
            return 0;
        }
        if ((fds[0].revents & (POLLIN | POLLHUP)) && !gp_cli_pass(0, fd)) {
            fds[0].fd = -1; /* no more input: what the task says is still shown */
        }
    }

    return 1;
}


static int gp_cli_tasks_attach(int argc, char **argv)
{
    const int hold = argc > 0 && strcmp(argv[0], "--hold") == 0;
    const char *id = argc > hold ? argv[hold] : "0";
    struct winsize size = {0};
    gp_err_t err = GP_ERR_INIT;
    gp_auto_fd int fd = -1;
    gp_auto_fd int signals = -1;
    char path[256], text[512];
    int rc;

    if (argc > hold + 1 || strlen(id) > 40 || *id == '-' || id[strcspn(id, "/? \r\n")]) {
        fprintf(stderr, "usage: gp tasks attach [--hold] [id]\n");
        return 2;
    }
    signals = gp_cli_watch_size();
    (void) ioctl(1, TIOCGWINSZ, &size); /* zero when it is no terminal */
    (void) snprintf(path, sizeof(path), GP_PATH_TERMINAL "%s?rows=%u&columns=%u", id, size.ws_row, size.ws_col);
    fd = gp_cli_connect("GET", path, &err);
    if (fd < 0) {
        return gp_cli_fail(&err);
    }
    if (!gp_cli_attached(fd, text, sizeof(text))) {
        fprintf(stderr, "gp: the supervisor closed the connection\n");
        return 1;
    }
    if (strncmp(text, "HTTP/1.1 101 ", 13) != 0) {
        (void) gp_cli_pass(fd, 2);
        return 1;
    }
    gp_cli_tty_raw();
    rc = gp_cli_join(fd, signals, id);
    if (hold) {
        gp_cli_hold();
    }

    return rc;
}


typedef struct {
    const char *group, *name, *args; /* group NULL: a command of one word */
    int (*fn)(int argc, char **argv);
    const char *text;
} gp_cli_command_t;

static const gp_cli_command_t gp_cli_commands[] = {
    {NULL, "info", "[-j]", gp_cli_info, "what this workspace is"},
    {NULL, "url", "[port]", gp_cli_url, "its address, or that of a port"},
    {"ports", "list", "", gp_cli_ports_list, "ports that programs listen on or .gitpod.yml names"},
    {"ports", "visibility", "<port>:private|public", gp_cli_ports_visibility, "who reaches a port: its owner, or anybody"},
    {"ports", "protocol", "<port>:http|https|h2c|grpc", gp_cli_ports_protocol, "what its program speaks"},
    {"tasks", "list", "[-j]", gp_cli_tasks_list, "tasks of .gitpod.yml"},
    {"tasks", "attach", "[--hold] [id]", gp_cli_tasks_attach, "a task's terminal; it ends with the task's shell, or --hold with Enter"},
    {NULL, "stop", "", gp_cli_stop, "stop this workspace"},
};


static int gp_cli_usage(FILE *out, int rc)
{
    const gp_cli_command_t *c;
    size_t i;
    int n;

    fprintf(out, "gp %s: the command line of this workspace\n\nUsage:\n", GP_VERSION);
    for (i = 0; i < sizeof(gp_cli_commands) / sizeof(gp_cli_commands[0]); i++) {
        c = &gp_cli_commands[i];
        n = fprintf(out, "  gp %s%s%s %s", c->group ? c->group : "", c->group ? " " : "", c->name, c->args);
        fprintf(out, "%*s%s\n", n < 34 ? 34 - n : 1, "", c->text);
    }

    return rc;
}


int main(int argc, char **argv)
{
    const gp_cli_command_t *c;
    size_t i;
    int skip;

    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        return gp_cli_usage(stdout, 0);
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "version") == 0) {
        printf("gp %s\n", GP_VERSION);
        return 0;
    }
    (void) signal(SIGPIPE, SIG_IGN);
    for (i = 0; i < sizeof(gp_cli_commands) / sizeof(gp_cli_commands[0]); i++) {
        c = &gp_cli_commands[i];
        skip = c->group ? 3 : 2;
        if (argc >= skip && strcmp(argv[1], c->group ? c->group : c->name) == 0 && (!c->group || strcmp(argv[2], c->name) == 0)) {
            return c->fn(argc - skip, argv + skip);
        }
    }
    fprintf(stderr, "gp: there is no command '%s%s%s'. These exist:\n\n", argv[1], argc > 2 ? " " : "", argc > 2 ? argv[2] : "");

    return gp_cli_usage(stderr, 2);
}
