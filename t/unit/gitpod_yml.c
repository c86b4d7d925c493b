#include <stdlib.h>
#include <string.h>

#include "base/gitpod_yml.h"
#include "tap.h"

static gp_yml_t *yml;
static gp_err_t err;


static int parse(const char *text)
{
    yml = gp_yml_free(yml);
    memset(&err, 0, sizeof(err));

    return gp_yml_parse(text, strlen(text), &yml, &err);
}


static int warned(const char *text)
{
    size_t i;

    for (i = 0; i < yml->n_warnings; i++) {
        if (strstr(yml->warnings[i], text)) {
            return 1;
        }
        printf("# %s\n", yml->warnings[i]);
    }

    return 0;
}


static void honoured(void)
{
    ok(parse("tasks:\n  - name: Build\n    before: a\n    init: |\n      b\n      c\n    command: d\n    env:\n      A: 1\n      B: x y\n"
             "ports:\n  - port: 3000\n    name: web\n    description: the page\n    onOpen: open-preview\n    visibility: private\n"
             "    protocol: http\n  - port: 4000-4010\n    onOpen: ignore\n") == 0,
       "a usual file is read");
    is_int(yml->n_tasks, 1, "its task is there");
    is_str(yml->tasks[0].name, "Build", "with its name");
    is_str(yml->tasks[0].init, "b\nc\n", "and a command of several lines");
    is_int(yml->tasks[0].n_env, 2, "and its variables");
    is_str(yml->tasks[0].env[0].value, "1", "a number stays its text");
    is_int(yml->n_ports, 2, "its ports are there");
    is_int(yml->ports[1].last, 4010, "ranges too");
    is_str(gp_yml_on_open_name(yml->ports[0].on_open), "open_preview", "with what to do when they open");
    is_int(yml->n_warnings, 0, "nothing is warned about");
}


static void ports(void)
{
    ok(parse("ports:\n  - port: 3000\n    visibility: public\n  - port: 8443\n    protocol: https\n  - port: 50051\n    protocol: grpc\n"
             "    visibility: private\n  - port: 80\n") == 0,
       "ports that are not as others are");
    is_int(yml->n_warnings, 0, "nothing is warned about");
    ok(yml->ports[0].visible && yml->ports[0].protocol == GP_YML_HTTP, "public");
    ok(!yml->ports[1].visible && yml->ports[1].protocol == GP_YML_HTTPS, "https");
    is_str(gp_yml_protocol_name(yml->ports[2].protocol), "grpc", "grpc");
    ok(!yml->ports[2].visible && !yml->ports[3].visible && yml->ports[3].protocol == GP_YML_HTTP, "private and http otherwise");
    ok(parse("ports:\n  - port: 3000\n    visibility: Public\n    protocol: ftp\n  - port: 3001\n    visibility: public\n    visibility: "
             "[a]\n"
             "  - port: 4000-4010\n    visibility: public\n    protocol: https\n") == 0,
       "what nobody understands is no fault");
    ok(warned("line 3: `ports[0].visibility` must be private or public; private is used"), "an unknown visibility is told");
    ok(warned("line 4: `ports[0].protocol` must be http, https, h2c or grpc; http is used"), "and an unknown protocol");
    ok(!yml->ports[0].visible && yml->ports[0].protocol == GP_YML_HTTP && !yml->ports[1].visible, "neither opens anything");
    ok(warned("`ports[2].visibility` and `protocol` have no effect on a range"), "nor does a range");
    ok(!yml->ports[2].visible && yml->ports[2].protocol == GP_YML_HTTP && yml->ports[2].last == 4010, "which stays a range");
}


static void warnings(void)
{
    ok(parse(
           "image: x\ntasks:\n  - init: a\n    prebuild: b\n    openMode: tab-after\n  - just text\nports:\n  - port: 99999\n  - port: 80\n"
           "    visibility: public\n    onOpen: explode\nvscode:\n  extensions: [a]\ntaskz: []\n") == 0,
       "a file with more is read");
    ok(warned("line 1: `image: x` is not supported yet"), "a key of later is named with its line");
    ok(warned("line 4: `tasks[0].prebuild: b`"), "in a task too");
    ok(warned("`vscode` is not supported yet"), "a mapping is named by its key");
    ok(warned("`taskz` is not a known key"), "a key nobody knows is told from one of later");
    ok(warned("line 6: `tasks[1]` must be a mapping"), "a task that is text is left out");
    ok(warned("`ports[0].port` must be a number"), "a port out of range is left out");
    ok(warned("`ports[1].onOpen` must be one of"), "an unknown action is told");
    is_int(yml->n_ports, 1, "the other port stays");
    is_int(yml->ports[0].first, 80, "with its number");
}


static void refused(void)
{
    char *big = malloc(GP_YML_SIZE_MAX + 2);
    size_t i;

    ok(parse("a: [1, 2\nb: 3\n") == -GP_INVALID_ARGUMENT && strstr(err.text, "line"), "what is not YAML names the line");
    ok(parse("- a\n- b\n") == -GP_INVALID_ARGUMENT, "a list at the top is refused");
    memset(big, ' ', GP_YML_SIZE_MAX + 1);
    big[GP_YML_SIZE_MAX + 1] = '\0';
    ok(gp_yml_parse(big, GP_YML_SIZE_MAX, &yml, &err) == 0, "the largest file is taken");
    ok(gp_yml_parse(big, GP_YML_SIZE_MAX + 1, &yml, &err) == -GP_RESOURCE_EXHAUSTED, "one byte more is refused");
    memset(big, '[', 200);
    ok(gp_yml_parse(big, 200, &yml, &err) == -GP_INVALID_ARGUMENT, "200 levels are refused");
    for (i = 0; i + 3 < GP_YML_SIZE_MAX; i += 3) {
        memcpy(big + i, "- \n", 3);
    }
    ok(gp_yml_parse(big, i, &yml, &err) == -GP_INVALID_ARGUMENT && strstr(err.text, "entries"), "20,000 entries are refused");
    ok(parse("a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\ntasks: *c\n") == 0, "aliases do not multiply");
    ok(parse("a: &a\n  b: *a\ntasks:\n  - *a\n") <= 0, "nor turn in a circle");
    ok(parse("") == 0 && yml->n_tasks == 0, "an empty file is an empty configuration");
    ok(parse("# nothing\n") == 0, "so is a comment");
    ok(parse("~\n") == 0, "and null");
    free(big);
}


static void bounds(void)
{
    char text[8192] = "tasks:\n";
    int i;

    for (i = 0; i < GP_YML_TASKS_MAX + 1; i++) {
        strncat(text, "  - init: x\n", sizeof(text) - strlen(text) - 1);
    }
    ok(parse(text) == 0 && yml->n_tasks == GP_YML_TASKS_MAX && warned("more than 16 entries"), "the 17th task is left out and told");
    text[0] = '\0';
    for (i = 0; i < 100; i++) {
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "k%d: 1\n", i);
    }
    ok(parse(text) == 0 && yml->n_warnings == GP_YML_WARNINGS_MAX && warned("More warnings"), "warnings have an end");
    ok(parse("image: \"a\\nb\\x01c\"\n") == 0 && warned("a b c"), "a warning is one printable line");
}


int main(void)
{
    honoured();
    ports();
    warnings();
    refused();
    bounds();
    yml = gp_yml_free(yml);

    return tap_done();
}
