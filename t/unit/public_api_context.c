/* Context URLs: what people paste and what becomes of it. */
#include <stdio.h>
#include <string.h>

#include "core/contract.h"
#include "public_api/context_url.h"
#include "tap.h"

typedef struct {
    const char *url;
    const char *remote;
    const char *mode;
    const char *target;
    const char *name; /* owner/repository */
} good_t;

static const char *const modes[] = {"head", "commit", "branch", "ref"};

#define SHA "0123456789abcdef0123456789abcdef01234567"

static const good_t good[] = {
    /* any Git URL */
    {"https://git.example.com/app.git", "https://git.example.com/app.git", "head", "", "git/app"},
    {"http://127.0.0.1:8080/acme/app.git", "http://127.0.0.1:8080/acme/app.git", "head", "", "acme/app"},
    {"http://127.0.0.1:8080/private/acme/app.git", "http://127.0.0.1:8080/private/acme/app.git", "head", "", "acme/app"},
    {"  https://git.example.com/a/b/c/d \n", "https://git.example.com/a/b/c/d", "head", "", "c/d"},
    {"https://git.example.com/team/src/thing.git", "https://git.example.com/team/src/thing.git", "head", "", "src/thing"},
    {"https://GIT.Example.COM/A/B", "https://git.example.com/A/B", "head", "", "A/B"},
    {"git.example.com/a/b", "https://git.example.com/a/b", "head", "", "a/b"},
    {"git@github.com:owner/repo.git", "https://github.com/owner/repo.git", "head", "", "owner/repo"},
    {"git@git.example.com:group/sub/repo", "https://git.example.com/group/sub/repo", "head", "", "sub/repo"},
    {"ssh://git@git.example.com:2222/owner/repo.git", "https://git.example.com/owner/repo.git", "head", "", "owner/repo"},
    {"https://user@bitbucket.org/owner/repo.git", "https://bitbucket.org/owner/repo.git", "head", "", "owner/repo"},
    {"http://127.0.0.1:1/acme/app/tree/feature/x", "http://127.0.0.1:1/acme/app.git", "ref", "feature/x", "acme/app"},
    {"http://127.0.0.1:1/acme/app.git/tree/main", "http://127.0.0.1:1/acme/app.git", "ref", "main", "acme/app"},
    {"http://127.0.0.1:1/app/tree/main", "http://127.0.0.1:1/app.git", "ref", "main", "/app"},
    {"http://127.0.0.1:1234/none.git", "http://127.0.0.1:1234/none.git", "head", "", "/none"},
    {"https://10.20.30.40/none", "https://10.20.30.40/none", "head", "", "/none"},
    {"https://10.example.com/app.git", "https://10.example.com/app.git", "head", "", "10/app"},
    {"https://10.20.30.40/acme/none", "https://10.20.30.40/acme/none", "head", "", "acme/none"},
    {"http://127.0.0.1:1/acme/app/commit/" SHA, "http://127.0.0.1:1/acme/app.git", "commit", SHA, "acme/app"},
    {"http://127.0.0.1:1/acme/app/blob/main/src/a.txt", "http://127.0.0.1:1/acme/app.git", "ref", "main/src/a.txt", "acme/app"},
    /* GitHub */
    {"https://github.com/o/r", "https://github.com/o/r.git", "head", "", "o/r"},
    {"https://www.github.com/o/r/", "https://github.com/o/r.git", "head", "", "o/r"},
    {"https://github.com/o/r.git", "https://github.com/o/r.git", "head", "", "o/r"},
    {"github.com/o/r?tab=readme#top", "https://github.com/o/r.git", "head", "", "o/r"},
    {"https://github.com/o/.github", "https://github.com/o/.github.git", "head", "", "o/.github"},
    {"https://github.com/o/tree/tree/main", "https://github.com/o/tree.git", "ref", "main", "o/tree"},
    {"https://github.com/o/r/tree/feature%2Fx", "https://github.com/o/r.git", "ref", "feature/x", "o/r"},
    {"https://github.com/o/r/tree/feature/x/src", "https://github.com/o/r.git", "ref", "feature/x/src", "o/r"},
    {"https://github.com/o/r/tree/" SHA "/src", "https://github.com/o/r.git", "commit", SHA, "o/r"},
    {"https://github.com/o/r/blob/v1.0/a%20b.txt#L3", "https://github.com/o/r.git", "ref", "v1.0/a b.txt", "o/r"},
    {"https://github.com/o/r/commits/main", "https://github.com/o/r.git", "ref", "main", "o/r"},
    {"https://github.com/o/r/commit/abcdef1", "https://github.com/o/r.git", "commit", "abcdef1", "o/r"},
    {"https://github.com/o/r/pull/42", "https://github.com/o/r.git", "ref", "refs/pull/42/head", "o/r"},
    {"https://github.com/o/r/pull/42/files", "https://github.com/o/r.git", "ref", "refs/pull/42/head", "o/r"},
    {"https://github.com/o/r/pulls", "https://github.com/o/r.git", "head", "", "o/r"},
    {"https://github.com/o/r/releases/tag/v1.2", "https://github.com/o/r.git", "branch", "v1.2", "o/r"},
    {"https://github.com/o/r/issues/7", "https://github.com/o/r.git", "head", "", "o/r"},
    {"https://github.com/o/r/actions", "https://github.com/o/r.git", "head", "", "o/r"},
    /* GitLab */
    {"https://gitlab.com/g/s/t/r", "https://gitlab.com/g/s/t/r.git", "head", "", "t/r"},
    {"https://gitlab.com/g/s/r/-/tree/main/src", "https://gitlab.com/g/s/r.git", "ref", "main/src", "s/r"},
    {"https://gitlab.com/g/r/-/blob/main/README.md?ref_type=heads", "https://gitlab.com/g/r.git", "ref", "main/README.md", "g/r"},
    {"https://gitlab.com/g/r/-/commit/" SHA, "https://gitlab.com/g/r.git", "commit", SHA, "g/r"},
    {"https://gitlab.com/g/r/-/merge_requests/3/diffs", "https://gitlab.com/g/r.git", "ref", "refs/merge-requests/3/head", "g/r"},
    {"https://gitlab.com/g/r/-/tags/v2", "https://gitlab.com/g/r.git", "branch", "v2", "g/r"},
    {"https://gitlab.com/g/r/-/issues/3", "https://gitlab.com/g/r.git", "head", "", "g/r"},
    {"https://git.example.com/g/s/r/-/tree/main", "https://git.example.com/g/s/r.git", "ref", "main", "s/r"},
    {"https://gitlab.com/g/r/tree/main", "https://gitlab.com/g/r.git", "ref", "main", "g/r"},
    /* Bitbucket */
    {"https://bitbucket.org/o/r", "https://bitbucket.org/o/r.git", "head", "", "o/r"},
    {"https://bitbucket.org/o/r/src/main/src/a.c", "https://bitbucket.org/o/r.git", "ref", "main/src/a.c", "o/r"},
    {"https://bitbucket.org/o/r/src/" SHA "/?at=main", "https://bitbucket.org/o/r.git", "commit", SHA, "o/r"},
    {"https://bitbucket.org/o/r/branch/feature/x", "https://bitbucket.org/o/r.git", "branch", "feature/x", "o/r"},
    {"https://bitbucket.org/o/r/commits/abcdef1", "https://bitbucket.org/o/r.git", "commit", "abcdef1", "o/r"},
    {"https://bitbucket.org/o/r/commits/tag/v1", "https://bitbucket.org/o/r.git", "branch", "v1", "o/r"},
    {"https://bb.example.com/projects/P/repos/r/browse?at=refs%2Fheads%2Fx", "https://bb.example.com/scm/P/r.git", "branch", "x", "P/r"},
    {"https://bb.example.com/users/u/repos/r/browse", "https://bb.example.com/scm/~u/r.git", "head", "", "u/r"},
    {"https://bb.example.com/projects/P/repos/r/pull-requests/5/overview", "https://bb.example.com/scm/P/r.git", "ref",
     "refs/pull-requests/5/from", "P/r"},
    /* Gitea */
    {"https://gitea.example.com/o/r/src/branch/main/a.c", "https://gitea.example.com/o/r.git", "ref", "main/a.c", "o/r"},
    {"https://gitea.example.com/o/r/src/commit/" SHA "/a.c", "https://gitea.example.com/o/r.git", "commit", SHA, "o/r"},
    {"https://gitea.example.com/o/r/pulls/9", "https://gitea.example.com/o/r.git", "ref", "refs/pull/9/head", "o/r"},
};

typedef struct {
    const char *url;
    const char *says;
} bad_t;

static const bad_t bad[] = {
    {"", "URL"},
    {" \t\n", "URL"},
    {"not a url", "URL"},
    {"nonsense", "URL"},
    {"javascript:alert(1)", "URL"},
    {"ftp://example.com/a/b", "http"},
    {"file:///etc", "file://"},
    {"http://example.com/a\nb", "control"},
    {"http://example.com/a\x7f", "control"},
    {"http://u:p@example.com/a/b", "Git tokens"},
    {"http://ghp_0123456789012345678901234567890123456789@example.com/a/b", "Git tokens"},
    {"https://github.com", "repository"},
    {"https://github.com/owner", "repository"},
    {"https:///a/b", "host"},
    {"https://-x.example.com/a/b", "host"},
    {"https://a..b/c/d", "host"},
    {"https://example.com:99999/a/b", "host"},
    {"https://ex\xc3\xa4mple.com/a/b", "host"},
    {"https://github.com/o/r/tree/--upload-pack=x", "begins with"},
    {"https://github.com/o/r/tree/%2d%2dx", "begins with"},
    {"https://github.com/o/r/tree/a~b", "name of a branch"},
    {"https://github.com/o/r/tree/a%20b", "name of a branch"},
    {"https://github.com/o/r/commit/xyz", "commit id"},
    {"https://github.com/o/r/commit/", "commit id"},
    {"https://github.com/../r", "elsewhere"},
    {"https://github.com/o/%2e%2e/r", "elsewhere"},
    {"https://github.com/o/r/tree/%0a", "%-escape"},
    {"https://github.com/o/r/tree/%00", "%-escape"},
    {"https://github.com/o/r/tree/%zz", "%-escape"},
    {"https://github.com/o/r/tree/%ff", "%-escape"},
    {"https://bitbucket.org/o/r/pull-requests/3", "branch"},
    {"https://bb.example.com/projects/P/repos/r/browse?at=refs%2Fheads%2F", "name of a branch"},
    {"referrer:jetbrains/https://github.com/o/r", "prefixes"},
    {"imagebuild/https://github.com/o/r", "prefixes"},
    {"git@:owner/repo", "host"},
};


static void check_good(const good_t *c)
{
    gp_auto_arena gp_arena_t *arena = gp_arena_new(1048576);
    gp_err_t err = GP_ERR_INIT;
    pub_context_t context;
    int rc;

    rc = pub_context_parse(c->url, strlen(c->url), false, arena, &context, &err);
    if (!ok(rc == 0, "%s is taken", c->url)) {
        printf("#   %s\n", err.text);
        return;
    }
    is_str(context.remote_uri, c->remote, "  remote");
    is_str(modes[context.target_mode], c->mode, "  target mode");
    is_str(context.target, c->target, "  target");
    is_str(gp_arena_printf(arena, "%s/%s", context.owner, context.repository), c->name, "  name");
    ok(context.checkout[0] != '\0' && strchr(context.checkout, '/') == NULL, "  the checkout is one directory");
    ok(strchr(context.url, '@') == NULL, "  no user name is kept");
}


static void check_bad(const bad_t *c)
{
    gp_auto_arena gp_arena_t *arena = gp_arena_new(1048576);
    gp_err_t err = GP_ERR_INIT;
    pub_context_t context;

    is_int(pub_context_parse(c->url, strlen(c->url), false, arena, &context, &err), -GP_INVALID_ARGUMENT, "a bad URL is refused");
    if (!ok(strstr(err.text, c->says) != NULL, "  the text speaks of \"%s\"", c->says)) {
        printf("#   %s\n", err.text);
    }
    ok(strstr(err.text, "ghp_") == NULL && strstr(err.text, "u:p") == NULL, "  and repeats no secret");
}


static void check_file(void)
{
    gp_auto_arena gp_arena_t *arena = gp_arena_new(1048576);
    static const char url[] = "file:///srv/git/app.git";
    gp_err_t err = GP_ERR_INIT;
    pub_context_t context;

    is_int(pub_context_parse(url, strlen(url), true, arena, &context, &err), 0, "file:// is taken when it is allowed");
    is_str(context.remote_uri, url, "  remote");
    is_str(context.checkout, "app", "  checkout");
    is_int(pub_context_parse("file://host/x", 13, true, arena, &context, &err), -GP_INVALID_ARGUMENT, "of this machine only");
    is_int(pub_context_parse("file:///a/../etc", 16, true, arena, &context, &err), -GP_INVALID_ARGUMENT, "and not upwards");
}


static void check_long(void)
{
    gp_auto_arena gp_arena_t *arena = gp_arena_new(4194304);
    char url[GP_CONTEXT_URL_MAX + 2] = "https://github.com/o/r/tree/";
    size_t len = strlen(url);
    gp_err_t err = GP_ERR_INIT;
    pub_context_t context;

    memset(url + len, 'x', sizeof(url) - len);
    is_int(pub_context_parse(url, GP_CONTEXT_URL_MAX, false, arena, &context, &err), 0, "the longest URL is taken");
    is_int(pub_context_parse(url, GP_CONTEXT_URL_MAX + 1, false, arena, &context, &err), -GP_INVALID_ARGUMENT, "one byte more is not");
    ok(strstr(err.text, "2048") != NULL, "  the text names the limit");
    memset(url, 'a', sizeof(url));
    memcpy(url, "x.y", 3);
    for (len = 3; len < GP_CONTEXT_URL_MAX; len += 2) {
        url[len] = '/';
    }
    is_int(pub_context_parse(url, GP_CONTEXT_URL_MAX, false, arena, &context, &err), -GP_INVALID_ARGUMENT, "too many parts are refused");
}


int main(void)
{
    size_t i;

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        check_good(&good[i]);
    }
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        check_bad(&bad[i]);
    }
    check_file();
    check_long();

    return tap_done();
}
