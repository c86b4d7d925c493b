#include <string.h>
#include <strings.h>

#include "core/contract.h"
#include "core/hex.h"
#include "rpc/utf8.h"
#include "context_shape.h"

/*
 * Shapes after `https://<host>/`, told apart by the word behind the
 * repository; a self-hosted GitLab or Gitea has any host name. A repository's
 * path ends before "-" (GitLab), at a part that ends in ".git", or before the
 * first such word that follows at least two parts.
 */
#define PUB_COMMIT_MIN 7 /* digits of a short commit id, as git and the hosts show it */
#define PUB_COMMIT_MAX 64 /* SHA-256 repositories */

enum pub_host { PUB_HOST_OTHER, PUB_HOST_GITHUB, PUB_HOST_GITLAB, PUB_HOST_BITBUCKET };

/* Words behind a repository that begin a page of it. */
static const char *const pub_words[] = {
    "tree",   "blob", "raw", "blame", "edit", "commits",        "commit",        "pull",    "pulls",    "issues",
    "branch", "tags", "src", "-",     "tag",  "merge_requests", "pull-requests", "compare", "releases",
};


static bool pub_in(const char *word, const char *const *list, size_t n)
{
    size_t i;

    for (i = 0; i < n; i++) {
        if (strcmp(word, list[i]) == 0) {
            return true;
        }
    }

    return false;
}


#define PUB_IN(word, ...) pub_in((word), (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))


static char *pub_decode(const char *text, size_t len, gp_arena_t *arena)
{
    char *out = gp_arena_alloc(arena, len + 1);
    unsigned char byte;
    size_t i, n = 0;

    for (i = 0; i < len; i++) {
        byte = (unsigned char) text[i];
        if (text[i] == '%') {
            if (len - i < 3 || gp_hex_decode(text + i + 1, 2, &byte) != 0) {
                return NULL;
            }
            i += 2;
        }
        if (byte < 0x20 || byte == 0x7f) {
            return NULL;
        }
        out[n++] = (char) byte;
    }

    return gp_utf8_valid(out, n) ? out : NULL;
}


int pub_path_split(const char *path, size_t len, gp_arena_t *arena, pub_path_t *ret_path, gp_err_t *err)
{
    const char *end = path + len, *stop;
    char *decoded;

    ret_path->n = 0;
    for (; path < end; path = stop + 1) {
        stop = memchr(path, '/', (size_t) (end - path));
        stop = stop == NULL ? end : stop;
        if (stop == path) {
            continue;
        }
        if (ret_path->n == PUB_SEGMENTS_MAX) {
            return gp_err(err, GP_INVALID_ARGUMENT, "context_url: the path has more than %d parts", PUB_SEGMENTS_MAX);
        }
        decoded = pub_decode(path, (size_t) (stop - path), arena);
        if (decoded == NULL) {
            return gp_err(err, GP_INVALID_ARGUMENT, "context_url: \"%.*s\" has a broken or forbidden %%-escape", (int) (stop - path), path);
        }
        if (strcmp(decoded, ".") == 0 || strcmp(decoded, "..") == 0) {
            return gp_err(err, GP_INVALID_ARGUMENT,
                          "context_url: \"%s\" in the path leads elsewhere; write the path of the repository itself", decoded);
        }
        ret_path->segments[ret_path->n] = gp_arena_strndup(arena, path, (size_t) (stop - path));
        ret_path->decoded[ret_path->n++] = decoded;
    }

    return 0;
}


static enum pub_host pub_host_kind(const char *host)
{
    if (strcmp(host, "github.com") == 0) {
        return PUB_HOST_GITHUB;
    }
    if (strcmp(host, "gitlab.com") == 0) {
        return PUB_HOST_GITLAB;
    }

    return strcmp(host, "bitbucket.org") == 0 ? PUB_HOST_BITBUCKET : PUB_HOST_OTHER;
}


static bool pub_ends_in_git(const char *text)
{
    size_t len = strlen(text);

    return len > 4 && strcmp(text + len - 4, ".git") == 0;
}


/* How many parts are the repository. */
static size_t pub_repository_parts(const pub_path_t *path, enum pub_host host)
{
    size_t i;

    if (host == PUB_HOST_GITHUB || host == PUB_HOST_BITBUCKET) {
        return path->n < 2 ? path->n : 2;
    }
    for (i = 0; i < path->n; i++) {
        if (pub_ends_in_git(path->segments[i])) {
            return i + 1;
        }
    }
    for (i = 0; i + 1 < path->n; i++) {
        if (i >= 2 && PUB_IN(path->segments[i], "-") && pub_in(path->segments[i + 1], pub_words, sizeof(pub_words) / sizeof(char *))) {
            return i;
        }
    }
    for (i = 2; i + 1 < path->n; i++) {
        if (pub_in(path->segments[i], pub_words, sizeof(pub_words) / sizeof(char *))) {
            return i;
        }
    }
    if (path->n >= 3 && PUB_IN(path->segments[1], "tree", "blob", "commit")) {
        return 1; /* a host whose repositories lie at the top */
    }

    return path->n;
}


static bool pub_is_hex(const char *text, size_t min, size_t max)
{
    size_t len = strlen(text);

    return len >= min && len <= max && strspn(text, "0123456789abcdefABCDEF") == len;
}


static bool pub_is_number(const char *text)
{
    size_t len = strlen(text);

    return len > 0 && len <= 10 && strspn(text, "0123456789") == len;
}


/* A ref as git takes it (git-check-ref-format), as far as that protects: a path may follow it, so only its first part is looked at closely. */
static int pub_ref_check(const char *ref, gp_err_t *err)
{
    size_t first = strcspn(ref, "/");

    if (ref[0] == '-') {
        return gp_err(err, GP_INVALID_ARGUMENT,
                      "context_url: \"%.100s\" cannot be the name of a branch, tag or commit: it begins with \"-\"", ref);
    }
    if (first == 0 || strcspn(ref, " ~^:?*[\\") < first || strstr(ref, "..") != NULL || strstr(ref, "@{") != NULL ||
        strstr(ref, "//") != NULL) {
        return gp_err(err, GP_INVALID_ARGUMENT, "context_url: \"%.100s\" cannot be the name of a branch, tag or commit", ref);
    }

    return 0;
}


/* The decoded parts from `from` on, joined by '/'. */
static char *pub_join(const pub_path_t *path, size_t from)
{
    char *text = gp_arena_strdup(path->arena, "");
    size_t i;

    for (i = from; i < path->n; i++) {
        text = gp_arena_printf(path->arena, "%s%s%s", text, i == from ? "" : "/", path->decoded[i]);
    }

    return text;
}


static int pub_set(pub_context_t *context, enum pub_target mode, char *target, gp_err_t *err)
{
    int rc = pub_ref_check(target, err);

    if (rc == 0) {
        context->target_mode = mode;
        context->target = target;
    }

    return rc;
}


/* /tree/<ref>[/path] and its like: a whole commit id is one, all else is for the content service to look up. */
static int pub_shape_ref(const pub_path_t *path, size_t at, pub_context_t *context, gp_err_t *err)
{
    if (at >= path->n) {
        return 0;
    }
    if (pub_is_hex(path->decoded[at], 40, 40) || pub_is_hex(path->decoded[at], 64, 64)) {
        return pub_set(context, PUB_TARGET_COMMIT, path->decoded[at], err);
    }

    return pub_set(context, PUB_TARGET_REF, pub_join(path, at), err);
}


static int pub_shape_commit(const pub_path_t *path, size_t at, pub_context_t *context, gp_err_t *err)
{
    if (at >= path->n || !pub_is_hex(path->decoded[at], PUB_COMMIT_MIN, PUB_COMMIT_MAX)) {
        return gp_err(err, GP_INVALID_ARGUMENT, "context_url: \"%.100s\" is not a commit id (%d to %d hexadecimal digits)",
                      at < path->n ? path->decoded[at] : "", PUB_COMMIT_MIN, PUB_COMMIT_MAX);
    }

    return pub_set(context, PUB_TARGET_COMMIT, path->decoded[at], err);
}


/* A request for review: the ref under which the host publishes it. */
static int pub_shape_request(const pub_path_t *path, size_t at, const char *refs, const char *last, pub_context_t *context, gp_err_t *err)
{
    if (at >= path->n || !pub_is_number(path->decoded[at])) {
        return 0; /* the list of them: the repository itself */
    }

    return pub_set(context, PUB_TARGET_REF, gp_arena_printf(path->arena, "%s/%s/%s", refs, path->decoded[at], last), err);
}


static int pub_shape_branch(const pub_path_t *path, size_t at, pub_context_t *context, gp_err_t *err)
{
    return at >= path->n ? 0 : pub_set(context, PUB_TARGET_BRANCH, pub_join(path, at), err);
}


/* Bitbucket Cloud, behind workspace/repository. */
static int pub_shape_bitbucket(const pub_path_t *path, size_t at, pub_context_t *context, gp_err_t *err)
{
    const char *word = path->decoded[at];
    const char *next = at + 1 < path->n ? path->decoded[at + 1] : "";

    if (strcmp(word, "src") == 0) {
        return pub_shape_ref(path, at + 1, context, err);
    }
    if (strcmp(word, "branch") == 0 || (strcmp(word, "commits") == 0 && PUB_IN(next, "branch", "tag"))) {
        return pub_shape_branch(path, strcmp(word, "branch") == 0 ? at + 1 : at + 2, context, err);
    }
    if (strcmp(word, "commits") == 0 && next[0] != '\0') {
        return pub_shape_commit(path, at + 1, context, err);
    }
    if (strcmp(word, "pull-requests") == 0 && next[0] != '\0') {
        return gp_err(err, GP_INVALID_ARGUMENT,
                      "context_url: Bitbucket does not publish pull requests to git; open the branch of the pull request instead");
    }

    return 0;
}


/* Gitea: /src/branch/<b>, /src/tag/<t>, /src/commit/<c>; others: /src/<ref>. */
static int pub_shape_src(const pub_path_t *path, size_t at, pub_context_t *context, gp_err_t *err)
{
    if (at + 1 < path->n && strcmp(path->decoded[at], "commit") == 0) {
        return pub_shape_commit(path, at + 1, context, err);
    }
    if (at + 1 < path->n && PUB_IN(path->decoded[at], "branch", "tag")) {
        return pub_shape_ref(path, at + 1, context, err);
    }

    return pub_shape_ref(path, at, context, err);
}


/* GitHub, GitLab, Gitea and what looks like them; a word nobody knows is the repository. */
static int pub_shape_page(const pub_path_t *path, size_t at, pub_context_t *context, gp_err_t *err)
{
    const char *word = path->decoded[at];

    if (PUB_IN(word, "tree", "blob", "raw", "blame", "edit", "commits")) {
        return pub_shape_ref(path, at + 1, context, err);
    }
    if (strcmp(word, "commit") == 0) {
        return pub_shape_commit(path, at + 1, context, err);
    }
    if (PUB_IN(word, "pull", "pulls")) {
        return pub_shape_request(path, at + 1, "refs/pull", "head", context, err);
    }
    if (strcmp(word, "merge_requests") == 0) {
        return pub_shape_request(path, at + 1, "refs/merge-requests", "head", context, err);
    }
    if (strcmp(word, "src") == 0) {
        return pub_shape_src(path, at + 1, context, err);
    }
    if (strcmp(word, "releases") == 0 && at + 1 < path->n) {
        return pub_shape_branch(path, strcmp(path->decoded[at + 1], "tag") == 0 ? at + 2 : at + 1, context, err);
    }
    if (PUB_IN(word, "tags", "tag", "branch")) {
        return pub_shape_branch(path, at + 1, context, err);
    }

    return 0;
}


/* ?at=refs/heads/x of Bitbucket Server, ?at=x of Bitbucket Cloud. */
static int pub_shape_at(const pub_path_t *path, pub_context_t *context, gp_err_t *err)
{
    const char *at = path->query;
    char *ref;

    while (strncmp(at, "at=", 3) != 0) {
        at = strchr(at, '&');
        if (at == NULL) {
            return 0;
        }
        at++;
    }
    at += 3;
    ref = pub_decode(at, strcspn(at, "&"), path->arena);
    if (ref == NULL || ref[0] == '\0') {
        return gp_err(err, GP_INVALID_ARGUMENT, "context_url: \"at=\" names no branch");
    }
    if (strncmp(ref, "refs/heads/", 11) == 0) {
        return pub_set(context, PUB_TARGET_BRANCH, ref + 11, err);
    }
    if (strncmp(ref, "refs/tags/", 10) == 0) {
        return pub_set(context, PUB_TARGET_BRANCH, ref + 10, err);
    }
    if (pub_is_hex(ref, 40, 40)) {
        return pub_set(context, PUB_TARGET_COMMIT, ref, err);
    }

    return pub_set(context, PUB_TARGET_BRANCH, ref, err);
}


/* projects/<P>/repos/<r>[/...] and users/<u>/repos/<r>[/...] of Bitbucket Server; *ret_matched false: something else. */
static int pub_shape_bitbucket_server(const pub_path_t *path, pub_context_t *context, bool *ret_matched, gp_err_t *err)
{
    const char *word = path->n > 4 ? path->decoded[4] : "";
    bool user = path->n >= 4 && strcmp(path->decoded[0], "users") == 0;
    int rc;

    *ret_matched = path->n >= 4 && (user || strcmp(path->decoded[0], "projects") == 0) && strcmp(path->decoded[2], "repos") == 0;
    if (!*ret_matched) {
        return 0;
    }
    pub_shape_names(path, 4, context);
    context->owner = path->decoded[1];
    context->remote_uri =
        gp_arena_printf(path->arena, "%s/scm/%s%s/%s.git", path->base, user ? "~" : "", path->segments[1], path->segments[3]);
    rc = pub_shape_at(path, context, err);
    if (rc == 0 && strcmp(word, "commits") == 0 && path->n > 5) {
        rc = pub_shape_commit(path, 5, context, err);
    }
    if (rc == 0 && strcmp(word, "pull-requests") == 0) {
        rc = pub_shape_request(path, 5, "refs/pull-requests", "from", context, err);
    }

    return rc;
}


/* One name of a directory: what a shell or an option parser could take for something else is replaced. */
static char *pub_directory(gp_arena_t *arena, const char *name)
{
    char *dir = gp_arena_strdup(arena, name);
    size_t i;

    for (i = 0; dir[i] != '\0'; i++) {
        if (strchr("\\/:*?\"'<>|$`;& ", dir[i]) != NULL || (i == 0 && dir[i] == '-')) {
            dir[i] = '_';
        }
    }

    return i == 0 || strcmp(dir, ".") == 0 || strcmp(dir, "..") == 0 ? gp_arena_strdup(arena, "repository") : dir;
}


/* Of a host's name its first part says whose it is; of an address none does. */
static char *pub_host_owner(const char *host, gp_arena_t *arena)
{
    const char *stop = host + strspn(host, "0123456789.");

    return *stop == '\0' || *stop == ':' ? gp_arena_strdup(arena, "") : gp_arena_strndup(arena, host, strcspn(host, ".:"));
}


void pub_shape_names(const pub_path_t *path, size_t n, pub_context_t *context)
{
    char *name = gp_arena_strdup(path->arena, path->decoded[n - 1]);

    if (pub_ends_in_git(name)) {
        name[strlen(name) - 4] = '\0';
    }
    context->repository = name;
    context->owner = n >= 2 ? path->decoded[n - 2] : pub_host_owner(context->host, path->arena);
    context->checkout = pub_directory(path->arena, name);
}


static int pub_shape_remote(const pub_path_t *path, size_t n, bool known, pub_context_t *context)
{
    char *uri = gp_arena_strdup(path->arena, path->base);
    size_t i;

    for (i = 0; i < n; i++) {
        uri = gp_arena_printf(path->arena, "%s/%s", uri, path->segments[i]);
    }
    if (known && !pub_ends_in_git(path->segments[n - 1])) {
        uri = gp_arena_printf(path->arena, "%s.git", uri);
    }
    context->remote_uri = uri;

    return 0;
}


int pub_shape_parse(const pub_path_t *path, pub_context_t *context, gp_err_t *err)
{
    enum pub_host host = pub_host_kind(context->host);
    bool matched = false;
    size_t n, at;
    int rc;

    if (path->n == 0 || (path->n == 1 && host != PUB_HOST_OTHER)) {
        return gp_err(err, GP_INVALID_ARGUMENT, "context_url: %s%s%s is not a repository; a repository is https://%s/<owner>/<repository>",
                      context->host, path->n == 0 ? "" : "/", path->n == 0 ? "" : path->segments[0], context->host);
    }
    rc = pub_shape_bitbucket_server(path, context, &matched, err);
    if (rc < 0 || matched) {
        return rc;
    }

    n = pub_repository_parts(path, host);
    pub_shape_names(path, n, context);
    if (context->repository[0] == '\0') {
        return gp_err(err, GP_INVALID_ARGUMENT, "context_url: the repository has no name");
    }
    /* A host that shows pages like these serves <repository>.git; all others are asked for what was pasted. */
    (void) pub_shape_remote(path, n, host != PUB_HOST_OTHER || n < path->n, context);
    if (n == path->n) {
        return host == PUB_HOST_BITBUCKET ? pub_shape_at(path, context, err) : 0;
    }
    if (host == PUB_HOST_BITBUCKET) {
        return pub_shape_bitbucket(path, n, context, err);
    }
    at = strcmp(path->decoded[n], "-") == 0 && n + 1 < path->n ? n + 1 : n;

    return pub_shape_page(path, at, context, err);
}
