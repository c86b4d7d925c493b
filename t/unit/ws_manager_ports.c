#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/contract.h"
#include "ports.h"
#include "tap.h"

/* The ports of a workspace that are not as others are: what a choice of the owner and .gitpod.yml make of them. */

static gp_err_t err;
static gp_arena_t *arena;

static const char *change(const char *text, int port, const bool *visible, const char *protocol)
{
    const wsm_port_change_t c = {port, visible, protocol};
    const char *ret = "refused";
    int rc = wsm_ports_change(text, &c, arena, &ret, &err);

    return rc == 0 ? ret : rc > 0 ? "same" : "refused";
}

static const char *configure(const char *text, const char *file, size_t *left_out)
{
    const char *ret = "refused";

    return wsm_ports_configure(text, file, arena, &ret, left_out, &err) == 0 ? ret : "refused";
}

/* What the route record has. */
static const char *record(const char *text)
{
    gp_auto_json json_t *ports = wsm_ports_effective(text);
    char *dump = ports ? json_dumps(ports, JSON_COMPACT) : NULL;
    const char *copy = gp_arena_strdup(arena, dump ? dump : "none");

    free(dump);
    return copy;
}

#define ENTRY(port, visibility, protocol) "{\"port\":" #port ",\"visibility\":\"" visibility "\",\"protocol\":\"" protocol "\"}"

static void test_choices(void)
{
    static const int ours[] = {0, -1, 65536, 22999, 23000, 23001, 24999, 25000, 25001, 25003};
    const bool yes = true, no = false;
    const char *one = change("{}", 3000, &yes, "");

    is_str(record("{}"), "[]", "nothing is set");
    is_str(record(one), "[" ENTRY(3000, "public", "http") "]", "a port becomes public");
    is_str(change(one, 3000, &yes, ""), "same", "once");
    is_str(record(change(one, 3000, &no, "")), "[]", "and as others are");
    is_str(change(one, 3000, &no, ""), "{\"user\":[],\"file\":[]}", "which needs no entry");
    is_str(record(change(one, 3000, NULL, "https")), "[" ENTRY(3000, "public", "https") "]", "what is not named stays");
    is_str(change("{}", 3000, &no, "http"), "same", "no change of a port without an entry");
    is_str(record(change("{}", 8443, NULL, "grpc")), "[" ENTRY(8443, "private", "grpc") "]", "grpc");
    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
        is_str(change("{}", ours[i], &yes, ""), "refused", "a port that is none, or ours");
        is_int(err.code, GP_INVALID_ARGUMENT, "by name");
    }
    is_str(change("{}", 3000, NULL, "tcp"), "refused", "an unknown protocol");
    is_str(change("{", 3000, &yes, ""), "refused", "a text that is damaged");
    is_int(err.code, GP_INTERNAL, "is our fault");
    is_str(record("{"), "none", "and gives no record");
}

static void test_limit(void)
{
    const bool yes = true, no = false;
    const wsm_port_change_t more = {4000, &yes, ""};
    const char *text = "{}", *ret;

    for (int i = 0; i < GP_ROUTE_PORTS_MAX; i++) {
        text = change(text, 3000 + i, &yes, "");
    }
    is_int(wsm_ports_change(text, &more, arena, &ret, &err), -GP_RESOURCE_EXHAUSTED, "no more than the record has room for");
    ok(strcmp(change(text, 3001, NULL, "https"), "refused") != 0, "those that are there can be changed");
    text = change(text, 3000, &no, "");
    ok(strcmp(change(text, 4000, &yes, ""), "refused") != 0, "a place that was freed is taken");
}

static void test_file(void)
{
    const bool yes = true, no = false;
    size_t left = 99;
    const char *text = configure(
        "{}", "[" ENTRY(3000, "public", "http") "," ENTRY(3000, "private", "https") "," ENTRY(23000, "public", "http") "]", &left);

    is_str(record(text), "[" ENTRY(3000, "public", "http") "]", "the first entry of a port counts");
    is_int((long) left, 1, "the editor's is left out, and counted");
    text = change(text, 3000, &no, "");
    is_str(record(text), "[]", "the owner makes it private");
    text = configure(text, "[" ENTRY(3000, "public", "http") "]", &left);
    is_str(record(text), "[]", "and the next start does not open it");
    text = change(text, 3000, &yes, "");
    is_str(record(text), "[" ENTRY(3000, "public", "http") "]", "the owner opens it again");
    text = configure(change("{}", 4000, &yes, ""), "[" ENTRY(3000, "public", "http") "]", &left);
    text = configure(text, "[]", &left);
    is_str(record(text), "[" ENTRY(4000, "public", "http") "]", "what the file does not say any more goes, the owner's choice stays");
    is_str(configure("{}", "{}", &left), "refused", "no list");
    is_str(configure("{}", "[1," ENTRY(1, "open", "http") "," ENTRY(1, "public", "tcp") "]", &left), "{\"user\":[],\"file\":[]}",
           "entries nobody understands");
    is_int((long) left, 3, "are left out");
    text = "{}";
    for (int i = 0; i < GP_ROUTE_PORTS_MAX; i++) {
        text = change(text, 5000 + i, &yes, "");
    }
    text = configure(text, "[" ENTRY(3000, "public", "http") "," ENTRY(5000, "public", "http") "]", &left);
    is_int((long) left, 1, "the owner's choices have the places, the file what is left");
}

int main(void)
{
    arena = gp_arena_new(1 << 20);
    test_choices();
    test_limit();
    test_file();
    arena = gp_arena_free(arena);
    return tap_done();
}
