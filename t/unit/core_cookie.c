#include <string.h>

#include "core/cookie.h"
#include "tap.h"

/* Names of applications' cookies in mode port; t/http/mode_port_keeps_cookies_apart.t has the rest. */
#define ID "amber-fox-1"
#define P "gp." ID "."

typedef struct {
    const char *set;
    const char *browser; /* NULL: it must not see it */
} out_t;

static const out_t outs[] = {
    {"a=1", P "a=1"},
    {"a=1; Domain=x; Path=/", P "a=1; Path=/"},
    {"a=1;domain;b", P "a=1;b"},
    {"a=1; domain ", P "a=1"},
    {"a=1;", P "a=1;"},
    {"a=1;;", P "a=1;;"},
    {"\t a\t=1", P "a\t=1"},
    {"__Secure-a=1", "__Secure-" P "a=1"},
    {"__HOST-=1", "__HOST-" P "=1"},
    {"__Host=1", P "__Host=1"},
    {"gp_session=1", NULL},
    {"GP_WORKSPACE_10000=1", NULL},
    {"__Host-gp_nonce_1=1", NULL},
    {"gp_origin=", NULL},
    {"gp_session_=1", P "gp_session_=1"},
    {"gp_session_123456=1", P "gp_session_123456=1"},
    {"gp_session_1x=1", P "gp_session_1x=1"},
    {"", NULL},
    {"a", NULL},
    {"=1", NULL},
    {" =1", NULL},
    {"a;b=1", NULL},
    {";a=1", NULL},
};

static const out_t ins[] = {
    /* as it was set, as the browser sends it */
    {"a=1", P "a=1"},
    {"a=1", " \t" P "a=1"},
    {"a =1", P "a =1"},
    {"=1", P "=1"},
    {"__Host-a=1", "__Host-" P "a=1"},
    {"__host-__Host-a=1", "__host-" P "__Host-a=1"},
    {NULL, P "__Host-a=1"},
    {NULL, P "gp_session=1"},
    {NULL, "__Host-" P "gp_workspace_1=1"},
    {NULL, P "a"},
    {NULL, "gp." ID "a=1"},
    {NULL, "gp." ID "=1"},
    {NULL, "gp." ID "0.a=1"},
    {NULL, "GP." ID ".a=1"},
    {NULL, "a=1"},
    {NULL, ""},
    {NULL, "="},
    {NULL, "x" P "a=1"},
    {NULL, "__Host-a=" P "b=1"},
};


static int same(const char *got, size_t len, const char *want)
{
    return want == NULL ? len == 0 : len == strlen(want) && memcmp(got, want, len) == 0;
}


int main(void)
{
    char got[256];
    size_t i, len;

    for (i = 0; i < sizeof(outs) / sizeof(outs[0]); i++) {
        len = gp_cookie_out(outs[i].set, strlen(outs[i].set), ID, strlen(ID), got);
        ok(same(got, len, outs[i].browser), "out: \"%s\"", outs[i].set);
        if (outs[i].browser != NULL && strchr(outs[i].browser, ';') == NULL) {
            len = gp_cookie_in(outs[i].browser, strlen(outs[i].browser), "amber-fox-2", strlen(ID), got);
            ok(len == 0, "and nobody else gets it back");
        }
    }

    for (i = 0; i < sizeof(ins) / sizeof(ins[0]); i++) {
        len = gp_cookie_in(ins[i].browser, strlen(ins[i].browser), ID, strlen(ID), got);
        ok(same(got, len, ins[i].set), "in: \"%s\"", ins[i].browser);
    }

    ok(gp_cookie_in("gp..a=1", 7, "", 0, got) == 0, "without a workspace nothing comes in");

    return tap_done();
}
