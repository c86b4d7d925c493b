#include "core/code.h"
#include "core/host.h"
#include "core/id.h"
#include "tap.h"

#define W "ws-gitpod.localhost"
#define ID51 "abcdefghij-abcdefghij-abcdefghij-abcdefghij-abcdefg"

typedef struct {
    const char *host;
    int rc;
    const char *id;
    int port;
    int debug;
} case_t;

static const case_t cases[] = {
    {"amber-fox-1." W, 0, "amber-fox-1", 0, 0},
    {"amber-fox-1." W ":8080", 0, "amber-fox-1", 0, 0},
    {"AMBER-fox-1.WS-GitPod.LocalHost", 0, "amber-fox-1", 0, 0},
    {"3000-amber." W, 0, "amber", 3000, 0},
    {"1-amber." W, 0, "amber", 1, 0},
    {"65535-debug-" ID51 "." W, 0, ID51, 65535, 1},
    {"debug-amber." W, 0, "amber", 0, 1},
    {"3000-debug-amber." W ":80", 0, "amber", 3000, 1},
    {"a." W, 0, "a", 0, 0},
    {"1234abcd." W, 0, "1234abcd", 0, 0},
    {"debug." W, 0, "debug", 0, 0},
    {W, -GP_NOT_FOUND, NULL, 0, 0},
    {"gitpod.localhost", -GP_NOT_FOUND, NULL, 0, 0},
    {"amber.ws-gitpod.localhost.evil.example", -GP_NOT_FOUND, NULL, 0, 0},
    {"amber.xws-gitpod.localhost", -GP_NOT_FOUND, NULL, 0, 0},
    {"amberws-gitpod.localhost", -GP_NOT_FOUND, NULL, 0, 0},
    {"a.b." W, -GP_INVALID_ARGUMENT, NULL, 0, 0},
    {"." W, -GP_INVALID_ARGUMENT, NULL, 0, 0},
    {"amber." W ".", -GP_INVALID_ARGUMENT, NULL, 0, 0},
    {"amber." W ":", -GP_INVALID_ARGUMENT, NULL, 0, 0},
    {"amber." W ":0", -GP_INVALID_ARGUMENT, NULL, 0, 0},
    {"amber." W ":080", -GP_INVALID_ARGUMENT, NULL, 0, 0},
    {"amber." W ":65536", -GP_INVALID_ARGUMENT, NULL, 0, 0},
    {"amber." W ":80x", -GP_INVALID_ARGUMENT, NULL, 0, 0},
    {"amber." W ":80:80", -GP_INVALID_ARGUMENT, NULL, 0, 0},
    {"0-amber." W, -GP_INVALID_ARGUMENT, NULL, 0, 0},
    {"03000-amber." W, -GP_INVALID_ARGUMENT, NULL, 0, 0},
    {"65536-amber." W, -GP_INVALID_ARGUMENT, NULL, 0, 0},
    {"3000-3000-amber." W, -GP_INVALID_ARGUMENT, NULL, 0, 0},
    {"debug-3000-amber." W, -GP_INVALID_ARGUMENT, NULL, 0, 0},
    {"debug-debug-amber." W, -GP_INVALID_ARGUMENT, NULL, 0, 0},
    {"3000-." W, -GP_INVALID_ARGUMENT, NULL, 0, 0},
    {"debug-." W, -GP_INVALID_ARGUMENT, NULL, 0, 0},
    {"-amber." W, -GP_INVALID_ARGUMENT, NULL, 0, 0},
    {"amber-." W, -GP_INVALID_ARGUMENT, NULL, 0, 0},
    {"am_ber." W, -GP_INVALID_ARGUMENT, NULL, 0, 0},
    {"x" ID51 "." W, -GP_INVALID_ARGUMENT, NULL, 0, 0},
    {"", -GP_INVALID_ARGUMENT, NULL, 0, 0},
};


int main(void)
{
    char longest[400];
    gp_host_t host;
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const case_t *c = &cases[i];
        int rc = gp_host_parse(c->host, strlen(c->host), W, sizeof(W) - 1, &host);

        ok(rc == c->rc &&
               (rc != 0 || (strcmp(host.id, c->id) == 0 && host.id_len == strlen(c->id) && host.port == c->port && host.debug == c->debug)),
           "\"%.60s\": result %d", c->host, c->rc);
    }

    memset(longest, 'a', sizeof(longest));
    memcpy(longest + 300 - sizeof(W), "." W, sizeof(W));
    is_int(gp_host_parse(longest, 300, W, sizeof(W) - 1, &host), -GP_INVALID_ARGUMENT, "a host of 300 bytes is refused");
    is_int(gp_host_parse("amber\0." W, sizeof("amber\0." W) - 1, W, sizeof(W) - 1, &host), -GP_INVALID_ARGUMENT, "a NUL is refused");

    ok(gp_id_workspace_valid(ID51, 51), "an id of 51 bytes is valid");
    ok(!gp_id_workspace_valid("x" ID51, 52), "one of 52 is not");
    ok(!gp_id_workspace_valid("3000-amber", 10), "nor is one that reads as a port host");
    ok(!gp_id_workspace_valid("debug-amber", 11), "or as a debug host");
    ok(!gp_id_workspace_valid("Amber", 5), "or has upper case");
    ok(gp_id_uuid_valid("6f1c1a34-7c57-4a0b-9a0c-0f2f9a0b1c2d", 36), "a UUID is valid");
    ok(!gp_id_uuid_valid("6F1c1a34-7c57-4a0b-9a0c-0f2f9a0b1c2d", 36), "not in upper case");
    ok(!gp_id_uuid_valid("6f1c1a34x7c57-4a0b-9a0c-0f2f9a0b1c2d", 36), "nor without its dashes");

    return tap_done();
}
