#include <string.h>

#include <gitpod/internal/v1/content.pb-c.h>

#include "credential.h"
#include "fault.h"
#include "progress.h"
#include "status.h"
#include "url.h"
#include "tap.h"

#define STEP(name) GITPOD__INTERNAL__V1__INITIALIZE_WORKSPACE_RESPONSE__STEP__STEP_##name


static void progress_is(const char *line, int step, int percent, const char *detail)
{
    cnt_progress_t p = {0};

    ok(cnt_progress_parse(line, strlen(line), &p) == 1, "'%s' is progress", line);
    is_int(p.step, step, "its step");
    is_int(p.percent, percent, "its percentage");
    is_str(p.detail, detail, "its text");
}


static void progress(void)
{
    cnt_progress_t p;
    char line[1000];

    progress_is("Receiving objects:  43% (430/1000), 1.20 MiB | 2.00 MiB/s", STEP(RECEIVING), 43, "Receiving objects: 43 % (1.20 MiB)");
    progress_is("Receiving objects: 100% (3/3), 512 bytes | 512.00 KiB/s, done.", STEP(RECEIVING), 100,
                "Receiving objects: 100 % (512 bytes)");
    progress_is("Resolving deltas:   7% (1/14)", STEP(RESOLVING), 7, "Resolving deltas: 7 %");
    progress_is("Updating files: 100% (9/9), done.", STEP(CHECKING_OUT), 100, "Writing files: 100 %");
    progress_is("remote: Enumerating objects: 5, done.", STEP(CONNECTING), -1, "The server lists objects");
    progress_is("Receiving objects: 999% (1/1)", STEP(RECEIVING), -1, "Receiving objects");
    ok(cnt_progress_parse("fatal: nope", 11, &p) == 0, "an error is none");
    memset(line, 'R', sizeof(line));
    ok(cnt_progress_parse(line, sizeof(line), &p) == 0, "nor a line without end");
}


static void urls(void)
{
    gp_err_t err = GP_ERR_INIT;
    cnt_url_t u;
    size_t len = 0;
    const char *refs = "a\trefs/heads/main\nb\trefs/heads/feature/x\nc\trefs/tags/feature\n";

    ok(cnt_url_parse("https://GitHub.com:8443/a/b.git", false, &u, &err) == 0, "an URL is read");
    is_str(u.host, "github.com:8443", "its host is lower case with the port");
    ok(cnt_url_parse("https://u:p@h/x", false, &u, &err) == -GP_INVALID_ARGUMENT && !strstr(err.text, "u:p"),
       "credentials are refused, not repeated");
    ok(cnt_url_parse("https:///x", false, &u, &err) < 0, "no host is refused");
    ok(cnt_url_parse("https://h h/x", false, &u, &err) < 0, "spaces are refused");
    ok(cnt_url_parse("file:///x", false, &u, &err) == -GP_PERMISSION_DENIED, "files are refused");
    ok(cnt_url_parse("file:///x", true, &u, &err) == 0 && !*u.host, "unless they are allowed");
    ok(cnt_url_parse("ext::sh", true, &u, &err) < 0, "helpers of git are refused");
    ok(cnt_checkout_check("a/b", &err) == 0, "a checkout may have levels");
    ok(cnt_checkout_check("a/../b", &err) < 0 && cnt_checkout_check("a//b", &err) < 0 && cnt_checkout_check("a/", &err) < 0 &&
           cnt_checkout_check("/a", &err) < 0 && cnt_checkout_check(".Git", &err) < 0 && cnt_checkout_check("", &err) < 0,
       "but stays below /workspace");
    ok(cnt_ref_check("feature/x-1.0", &err) == 0, "a ref is taken");
    ok(cnt_ref_check("-x", &err) < 0 && cnt_ref_check("a b", &err) < 0 && cnt_ref_check("a..b", &err) < 0 &&
           cnt_ref_check("a@{1}", &err) < 0 && cnt_ref_check("", &err) < 0,
       "what git would read otherwise is not");
    ok(cnt_ref_longest("feature/x/src/main.c", refs, &len) == 0 && len == 9, "the longest ref wins");
    ok(cnt_ref_longest("feature/y", refs, &len) == 0 && len == 7, "a tag counts");
    ok(cnt_ref_longest("nope/x", refs, &len) == -GP_NOT_FOUND, "none is none");
    ok(cnt_ref_longest("mai", refs, &len) == -GP_NOT_FOUND, "a beginning of a name is none");
}


static void fault_is(const char *output, bool token, int code, const char *text)
{
    cnt_fault_context_t c = {.url = "https://h/r", .host = "h", .target = "b", .had_token = token, .free_bytes = 5242880};
    gp_err_t err = GP_ERR_INIT;

    is_int(cnt_fault(output, &c, &err), -code, output);
    if (!ok(strstr(err.text, text) != NULL, "the text has '%s'", text)) {
        printf("# %s\n", err.text);
    }
}


static void faults(void)
{
    fault_is("fatal: write error: No space left on device\nfatal: index-pack failed\n", false, GP_RESOURCE_EXHAUSTED, "5 MiB are free");
    fault_is("fatal: unable to access 'https://h/r/': Could not resolve host: h\n", false, GP_UNAVAILABLE, "not known");
    fault_is("fatal: could not read Username for 'https://h': terminal prompts disabled\n", false, GP_PERMISSION_DENIED,
             "add a token for host h");
    fault_is("fatal: Authentication failed for 'https://h/r/'\n", true, GP_PERMISSION_DENIED, "refused the Git access token");
    fault_is("warning: Could not find remote branch b to clone.\nfatal: Remote branch b not found in upstream origin\n", false,
             GP_NOT_FOUND, "'b'");
    fault_is("fatal: repository 'https://h/r/' not found\n", false, GP_NOT_FOUND, "does not exist");
    fault_is("fatal: unable to access 'https://h/r/': The requested URL returned error: 502\n", false, GP_UNAVAILABLE, "broke off");
    fault_is("", false, GP_INTERNAL, "git gave no reason");
    fault_is("fatal: \x1b[31mred\n", false, GP_INTERNAL, "?[31mred");
    ok(cnt_fault_wants_full("fatal: dumb http transport does not support shallow capabilities\n"), "a dumb server wants a full clone");
}


static void rest(void)
{
    static const char text[] = " M a b\0?? new\0R  to\0from\0!! ignored\0";
    const char *secret = "protocol=https\nhost=h:1\nusername=u\npassword=p\n";
    cnt_status_t s;

    cnt_status_parse(text, sizeof(text) - 1, &s);
    is_int(s.total_uncommitted, 2, "changed files are counted, a rename once");
    is_str(s.uncommitted[1], "to", "by their new name");
    is_int(s.total_untracked, 1, "new ones too");
    cnt_status_parse("R  to", 5, &s);
    is_int(s.total_uncommitted, 0, "an entry without end is none");
    ok(cnt_credential_matches("protocol=https\nhost=h:1\npath=x\n", secret), "the host's question is answered");
    ok(!cnt_credential_matches("protocol=https\nhost=h\n", secret), "another port's is not");
    ok(!cnt_credential_matches("protocol=http\nhost=h:1\n", secret), "nor without TLS what was kept for TLS");
    ok(!cnt_credential_matches("host=h:1\n", secret), "nor half a question");
}


int main(void)
{
    progress();
    urls();
    faults();
    rest();

    return tap_done();
}
