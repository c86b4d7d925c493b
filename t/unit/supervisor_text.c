#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "content.h"
#include "env.h"
#include "gitconfig.h"
#include "port.h"
#include "../port_url.h"
#include "probe.h"
#include "request.h"
#include "task.h"
#include "tap.h"
#include "wish.h"


static void requests(void)
{
    char big[SUP_REQUEST_MAX + 1];
    sup_request_t r;
    const char *text = "GET /_supervisor/v1/status/ide/wait/true HTTP/1.1\r\nHost: x\r\n\r\n";

    ok(sup_request_parse(text, strlen(text), &r) == 1, "a request is read");
    is_str(r.path, "/_supervisor/v1/status/ide", "the original's suffix is taken off");
    ok(r.wait, "and means wait");
    ok(sup_request_parse(text, strlen(text) - 1, &r) == 0, "half a head needs more");
    text = "POST /a?x=1&wait=true&rows=40&columns=99999 HTTP/1.0\r\n\r\n";
    ok(sup_request_parse(text, strlen(text), &r) == 1 && r.wait && r.rows == 40 && r.columns == 1000,
       "fields of the query are read and bounded");
    is_str(r.path, "/a", "the query is no part of the path");
    is_str(r.method, "POST", "the method is read");
    ok(sup_request_parse("GET x HTTP/1.1\r\n\r\n", 18, &r) < 0, "a target that is no path is refused");
    ok(sup_request_parse("PRI * HTTP/2.0\r\n\r\n", 18, &r) < 0, "HTTP/2 is refused");
    ok(sup_request_parse("G\0T / HTTP/1.1\r\n\r\n", 18, &r) < 0, "control characters are refused");
    memset(big, 'a', sizeof(big));
    ok(sup_request_parse(big, SUP_REQUEST_MAX, &r) < 0, "a head without end is refused");
    memcpy(big, "GET /", 5);
    memcpy(big + 2000, " HTTP/1.1\r\n\r\n", 13);
    ok(sup_request_parse(big, 2013, &r) < 0, "a path over its limit is refused");
}


static void ports(void)
{
    sup_listener_t l;
    char url[64];

    ok(sup_port_parse_line("   0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000", 0, &l) == 1, "a listener is read");
    is_int(l.port, 3000, "its port");
    is_int(l.where, SUP_PORT_LOOPBACK4, "it is on loopback");
    ok(sup_port_parse_line("   0: 0100007F:0BB8 00000000:0000 01 00000000", 0, &l) == 0, "a connection is none");
    ok(sup_port_parse_line("   1: 00000000:1F90 00000000:0000 0A 0", 0, &l) == 1 && l.where == SUP_PORT_ANY, "0.0.0.0 is every address");
    ok(sup_port_parse_line("   1: 00000000000000000000000001000000:1F90 00000000000000000000000000000000:0000 0A 0", 1, &l) == 1 &&
           l.where == SUP_PORT_LOOPBACK6,
       "::1 is loopback");
    ok(sup_port_parse_line("   1: 0000000000000000FFFF00000100007F:1F90 00000000000000000000000000000000:0000 0A 0", 1, &l) == 1 &&
           l.where == SUP_PORT_LOOPBACK4,
       "::ffff:127.0.0.1 too");
    ok(sup_port_parse_line("  sl  local_address rem_address   st", 0, &l) == 0, "the heading is none");
    ok(sup_port_parse_line("   0: 0100", 0, &l) == 0, "half a line is none");
    ok(gp_port_url_join("http://a.b:8080", 3000, url, sizeof(url)) == 0, "an URL of a port");
    is_str(url, "http://3000-a.b:8080", "has the port before the host");
    ok(gp_port_url_join("a.b", 3000, url, sizeof(url)) < 0, "what is no URL gives none");
    ok(gp_port_url_join("http://a-name-that-is-too-long-for-the-buffer-of-sixty-four-bytes", 3000, url, sizeof(url)) < 0,
       "nor what is too long");
}


static void tasks(void)
{
    gp_yml_task_t t = {.before = (char[]){"a"}, .init = (char[]){"b\n"}, .command = (char[]){"c"}};
    gp_buf_t buf;

    gp_buf_init(&buf, 1024);
    ok(sup_task_compose(&t, 0, &buf) == 0, "commands are joined");
    is_str(buf.data, "{\na\n} && {\nb\n} && {\nc\n}\n", "all three for a fresh clone");
    gp_buf_clear(&buf);
    ok(sup_task_compose(&t, 1, &buf) == 0 && strcmp(buf.data, "{\na\n} && {\nc\n}\n") == 0, "without init for a workspace that was there");
    gp_buf_clear(&buf);
    t = (gp_yml_task_t){.before = (char[]){" \n"}};
    ok(sup_task_compose(&t, 0, &buf) == 0 && buf.len == 0, "blank commands are none");
    gp_buf_done(&buf);
}


static void small(void)
{
    const char *ready = "{\"instance\":\"i\",\"source\":\"from-backup\",\"location\":\"/workspace/x\"}";
    gp_err_t err = GP_ERR_INIT;
    sup_content_t c = {0};
    sup_probe_t p = {0};
    gp_buf_t buf;

    ok(sup_content_parse(ready, strlen(ready), &c, &err) == 0 && c.from_backup && strcmp(c.location, "/workspace/x") == 0,
       "the go signal is read");
    ok(sup_content_parse("{}", 2, &c, &err) < 0, "an empty one is refused");
    ready = "{\"source\":\"from-other\",\"location\":\"/etc\"}";
    ok(sup_content_parse(ready, strlen(ready), &c, &err) < 0, "a place outside /workspace is refused");
    is_int(sup_probe_status("HTTP/1.1 200 OK\r\n", 17), 200, "a status is read");
    is_int(sup_probe_status("HTTP/1.1 2x0 OK\r\n", 17), 0, "what is no number is none");
    is_int(sup_probe_status("SSH-2.0-x", 9), 0, "nor another protocol");
    ok(sup_probe_init(&p, "http://localhost:23000/healthz", NULL, &err) == 0 && p.port == 23000 && strcmp(p.path, "/healthz") == 0,
       "a probe's URL is read");
    ok(sup_probe_init(&p, "http://localhost/", NULL, &err) < 0, "one without a port is refused");
    ok(sup_probe_init(&p, "http://localhost:1/a\r\nX: y", NULL, &err) < 0, "one with a line break is refused");
    gp_buf_init(&buf, 4096);
    ok(sup_gitconfig_format("A \"B\" \\ C\n[core]", NULL, &buf) == 0, "git's defaults are written");
    ok(strstr(buf.data, "name = \"A \\\"B\\\" \\\\ C[core]\"\n") != NULL, "a name cannot end its line");
    gp_buf_done(&buf);
}


static void environment(void)
{
    gp_err_t err = GP_ERR_INIT;
    sup_env_t env = {0};
    size_t i, bad = 0, home = 0;

    setenv("GITPOD_IDE_COMMAND", "x", 1);
    setenv("THEIA_SUPERVISOR_TOKENS", "x", 1);
    setenv("KUBERNETES_SERVICE_HOST", "x", 1);
    setenv("HOME", "/elsewhere", 1);
    setenv("MINE", "1", 1);
    ok(sup_env_build("/workspace/x", &env, &err) == 0, "the environment is built");
    for (i = 0; i < env.n; i++) {
        bad += strncmp(env.vars[i], "GITPOD_IDE_", 11) == 0 && strncmp(env.vars[i], "GITPOD_IDE_ALIAS", 16) != 0;
        bad += strncmp(env.vars[i], "THEIA_SUPERVISOR_", 17) == 0 || strncmp(env.vars[i], "KUBERNETES_", 11) == 0;
        home += strcmp(env.vars[i], "HOME=/home/gitpod") == 0 || strcmp(env.vars[i], "MINE=1") == 0 ||
                strcmp(env.vars[i], "GITPOD_REPO_ROOT=/workspace/x") == 0;
    }
    is_int(bad, 0, "what only the supervisor needs is not in it");
    is_int(home, 3, "what the person needs is");
    sup_env_done(&env);
}


static void wishes(void)
{
    static const char *const bad[] = {
        "",          "3000",      "3000/",      "3000/open",  "/public",      "0/public",    "65536/public",
        "-1/public", "+1/public", "3000public", "3000/http2", "23000/public", "22999/https", "99999999999999999999/public"};
    gp_err_t err = GP_ERR_INIT;
    sup_wish_t wish;
    size_t i;

    ok(sup_wish_parse("3000/public", &wish, &err) == 0 && wish.port == 3000 && strcmp(wish.set, "public") == 0, "a wish is read");
    ok(sup_wish_parse("65535/grpc", &wish, &err) == 0 && wish.port == 65535, "of any port");
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ok(sup_wish_parse(bad[i], &wish, &err) == -GP_INVALID_ARGUMENT && *err.text, "this is none");
    }
    for (i = 0; i < SUP_WISHES_MAX; i++) {
        ok(sup_wish_add("3000/public", &err) == 0, "one more");
    }
    ok(sup_wish_add("3000/public", &err) == -GP_RESOURCE_EXHAUSTED, "they have an end");
}


int main(void)
{
    requests();
    wishes();
    ports();
    tasks();
    small();
    environment();

    return tap_done();
}
