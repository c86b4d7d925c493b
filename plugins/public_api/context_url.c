#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "core/contract.h"
#include "core/host.h"
#include "context_shape.h"

/* Scheme, user name, host; the path is context_shape.c's. */

#define PUB_FORMS "give the URL of a Git repository, for example https://github.com/owner/repository or its /tree/<branch> page"
#define PUB_SCHEME_MAX 32 /* bytes of a scheme's name */

typedef struct {
    gp_arena_t *arena;
    char *text; /* trimmed */
    const char *scheme; /* http, https, file */
    char *authority; /* user@host:port, as written */
    const char *path; /* begins with '/', or is empty */
    size_t path_len;
    const char *query;
    bool rewritten; /* the scheme is ours, not the person's */
} pub_url_t;


static int pub_url_trim(const char *url, size_t len, gp_arena_t *arena, pub_url_t *u, gp_err_t *err)
{
    size_t i;

    while (len > 0 && isspace((unsigned char) url[0])) {
        url++;
        len--;
    }
    while (len > 0 && isspace((unsigned char) url[len - 1])) {
        len--;
    }
    if (len == 0) {
        return gp_err(err, GP_INVALID_ARGUMENT, "context_url: empty; " PUB_FORMS);
    }
    if (len > GP_CONTEXT_URL_MAX) {
        return gp_err(err, GP_INVALID_ARGUMENT, "context_url: longer than %d bytes", GP_CONTEXT_URL_MAX);
    }
    for (i = 0; i < len; i++) {
        if ((unsigned char) url[i] < 0x20 || url[i] == 0x7f) {
            return gp_err(err, GP_INVALID_ARGUMENT, "context_url: has a control character (byte %zu); paste the URL alone", i);
        }
        if (url[i] == ' ' || url[i] == '\\' || url[i] == '"' || url[i] == '<' || url[i] == '>') {
            return gp_err(err, GP_INVALID_ARGUMENT, "context_url: '%c' does not belong into a URL; " PUB_FORMS, url[i]);
        }
    }
    u->arena = arena;
    u->text = gp_arena_strndup(arena, url, len);

    return 0;
}


/* scheme://rest; *ret_rest NULL: there is none. */
static int pub_url_scheme(pub_url_t *u, bool allow_file, const char **ret_rest, gp_err_t *err)
{
    const char *mark = strstr(u->text, "://");
    size_t len = mark == NULL ? 0 : (size_t) (mark - u->text);

    *ret_rest = NULL;
    if (mark == NULL) {
        return 0;
    }
    if (memchr(u->text, '/', len) != NULL) {
        return gp_err(err, GP_INVALID_ARGUMENT, "context_url: \"%.*s\" before the URL: prefixes are not supported; paste the URL alone",
                      (int) strcspn(u->text, "/"), u->text);
    }
    if (len == 5 && strncasecmp(u->text, "https", len) == 0) {
        u->scheme = "https";
    } else if (len == 4 && strncasecmp(u->text, "http", len) == 0) {
        u->scheme = "http";
    } else if (len == 3 && strncasecmp(u->text, "ssh", len) == 0) {
        u->scheme = "https";
        u->rewritten = true;
    } else if (len == 4 && strncasecmp(u->text, "file", len) == 0) {
        u->scheme = "file";
    } else {
        return gp_err(err, GP_INVALID_ARGUMENT, "context_url: %.*s:// is not supported, http:// and https:// are",
                      len > PUB_SCHEME_MAX ? PUB_SCHEME_MAX : (int) len, u->text);
    }
    if (u->scheme[0] == 'f' && !allow_file) {
        return gp_err(err, GP_INVALID_ARGUMENT,
                      "context_url: file:// repositories of this machine are off; its operator can allow them (GITPOD_ALLOW_FILE_URLS=on)");
    }
    *ret_rest = mark + 3;

    return 0;
}


/* git@host:owner/repository: a colon before any slash, a user before it. */
static bool pub_url_scp(pub_url_t *u)
{
    size_t colon = strcspn(u->text, ":/");
    const char *user = memchr(u->text, '@', colon);

    if (u->text[colon] != ':' || user == NULL || user == u->text || u->text[colon + 1] == '\0') {
        return false;
    }
    u->scheme = "https";
    u->rewritten = true;
    u->authority = gp_arena_strndup(u->arena, u->text, colon);
    u->path = gp_arena_printf(u->arena, "/%s", u->text + colon + 1);

    return true;
}


/* host/path without a scheme: the first part must look like a host. */
static int pub_url_bare(pub_url_t *u, const char **ret_rest, gp_err_t *err)
{
    size_t len = strcspn(u->text, "/");

    if (u->text[len] != '/' ||
        (memchr(u->text, '.', len) == NULL && memchr(u->text, ':', len) == NULL && strncmp(u->text, "localhost/", 10) != 0)) {
        return gp_err(err, GP_INVALID_ARGUMENT, "context_url: \"%.100s\" is not a URL; " PUB_FORMS, u->text);
    }
    u->scheme = "https";
    *ret_rest = u->text;

    return 0;
}


static void pub_url_split(pub_url_t *u, const char *rest)
{
    size_t len = strcspn(rest, "/?#");

    u->authority = gp_arena_strndup(u->arena, rest, len);
    u->path = rest + len;
}


/* Path without query and fragment. */
static void pub_url_query(pub_url_t *u)
{
    const char *query;

    u->path_len = strcspn(u->path, "?#");
    query = u->path + u->path_len;
    u->query = *query == '?' ? gp_arena_strndup(u->arena, query + 1, strcspn(query + 1, "#")) : "";
}


static int pub_url_user(pub_url_t *u, gp_err_t *err)
{
    char *at = strrchr(u->authority, '@');

    if (at == NULL) {
        return 0;
    }
    /* Never quoted: it may be a secret. */
    if (memchr(u->authority, ':', (size_t) (at - u->authority)) != NULL || (at - u->authority > 39 && !u->rewritten)) {
        return gp_err(
            err, GP_INVALID_ARGUMENT,
            "context_url: holds a password or token, which would be seen by many; take it out, and store it under Git tokens instead");
    }
    u->authority = at + 1;

    return 0;
}


/* Labels of letters, digits, '-' and '_'. */
static bool pub_host_valid(const char *host, size_t len)
{
    size_t i, label = 0;

    for (i = 0; i < len; i++) {
        if (host[i] == '.') {
            if (label == 0 || host[i - 1] == '-') {
                return false;
            }
            label = 0;
            continue;
        }
        if (!isalnum((unsigned char) host[i]) && host[i] != '_' && (host[i] != '-' || label == 0)) {
            return false;
        }
        label++;
    }

    return label > 0 && len <= GP_HOST_MAX;
}


static int pub_url_host(pub_url_t *u, pub_context_t *context, gp_err_t *err)
{
    size_t len = strlen(u->authority), name_len = 0, i;
    char *host;

    if (len == 0 || gp_host_strip_port(u->authority, len, &name_len) < 0 || !pub_host_valid(u->authority, name_len)) {
        return gp_err(err, GP_INVALID_ARGUMENT, "context_url: \"%.100s\" is not a host name; " PUB_FORMS, u->authority);
    }
    /* The port of ssh is not that of https. */
    host = gp_arena_strndup(u->arena, u->authority, u->rewritten ? name_len : len);
    for (i = 0; host[i] != '\0'; i++) {
        host[i] = (char) tolower((unsigned char) host[i]);
    }
    if (strcmp(host, "www.github.com") == 0 || strcmp(host, "www.gitlab.com") == 0 || strcmp(host, "www.bitbucket.org") == 0) {
        host += 4;
    }
    context->host = host;

    return 0;
}


static int pub_url_file(const pub_url_t *u, const pub_path_t *path, pub_context_t *context, gp_err_t *err)
{
    size_t i;

    if (u->authority[0] != '\0' && strcmp(u->authority, "localhost") != 0) {
        return gp_err(err, GP_INVALID_ARGUMENT, "context_url: file:// names a path of this machine: file:///srv/git/repository.git");
    }
    if (path->n == 0) {
        return gp_err(err, GP_INVALID_ARGUMENT, "context_url: file:// without a path");
    }
    context->host = gp_arena_strdup(u->arena, "");
    context->remote_uri = gp_arena_strdup(u->arena, "file://");
    for (i = 0; i < path->n; i++) {
        context->remote_uri = gp_arena_printf(u->arena, "%s/%s", context->remote_uri, path->segments[i]);
    }
    pub_shape_names(path, path->n, context);
    if (context->owner[0] == '\0') {
        context->owner = gp_arena_strdup(u->arena, "local");
    }

    return 0;
}


static int pub_url_locate(pub_url_t *u, bool allow_file, gp_err_t *err)
{
    const char *rest = NULL;
    int rc;

    rc = pub_url_scheme(u, allow_file, &rest, err);
    if (rc == 0 && rest == NULL && !pub_url_scp(u)) {
        rc = pub_url_bare(u, &rest, err);
    }
    if (rc < 0) {
        return rc;
    }
    if (rest != NULL) {
        pub_url_split(u, rest);
    }
    pub_url_query(u);

    return pub_url_user(u, err);
}


int pub_context_parse(const char *url, size_t len, bool allow_file, gp_arena_t *arena, pub_context_t *ret_context, gp_err_t *err)
{
    pub_context_t context = {.target_mode = PUB_TARGET_HEAD, .target = gp_arena_strdup(arena, "")};
    pub_path_t path = {.arena = arena};
    pub_url_t u = {.arena = arena};
    int rc;

    if ((rc = pub_url_trim(url, len, arena, &u, err)) < 0 || (rc = pub_url_locate(&u, allow_file, err)) < 0 ||
        (rc = pub_path_split(u.path, u.path_len, arena, &path, err)) < 0) {
        return rc;
    }

    if (u.scheme[0] == 'f') {
        rc = pub_url_file(&u, &path, &context, err);
    } else if ((rc = pub_url_host(&u, &context, err)) == 0) {
        path.base = gp_arena_printf(arena, "%s://%s", u.scheme, context.host);
        path.query = u.query;
        rc = pub_shape_parse(&path, &context, err);
    }
    if (rc < 0) {
        return rc;
    }
    context.url = strchr(u.text, '@') == NULL ? u.text : gp_arena_printf(arena, "%s://%s%s", u.scheme, context.host, u.path);
    *ret_context = context;

    return 0;
}
