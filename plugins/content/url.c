#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "url.h"


static bool cnt_clean(const char *text)
{
    for (; *text; text++) {
        if ((unsigned char) *text <= ' ' || *text == 0x7f) {
            return false;
        }
    }

    return true;
}


static int cnt_url_host(const char *url, const char *rest, cnt_url_t *u, gp_err_t *err)
{
    size_t n = strcspn(rest, "/?#"), i;

    if (memchr(rest, '@', n)) {
        return gp_err(
            err, GP_INVALID_ARGUMENT,
            "git.remote_uri carries credentials, which would be kept on the workspace's disk: leave them out of the URL and add a token "
            "for its host in Settings, Git tokens");
    }
    if (n == 0 || n >= sizeof(u->host) || strspn(rest, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-_:[]") < n) {
        return gp_err(err, GP_INVALID_ARGUMENT, "git.remote_uri: '%.200s' names no host", url);
    }
    for (i = 0; i < n; i++) {
        u->host[i] = (char) tolower((unsigned char) rest[i]);
    }
    u->host[n] = '\0';

    return 0;
}


int cnt_url_parse(const char *url, bool allow_file, cnt_url_t *ret_url, gp_err_t *err)
{
    cnt_url_t u = {"", ""};
    const char *sep = strstr(url, "://");
    int rc = 0;

    if (strlen(url) > GP_CONTEXT_URL_MAX || !cnt_clean(url)) {
        return gp_err(err, GP_INVALID_ARGUMENT, "git.remote_uri must be a URL of at most %d characters without spaces", GP_CONTEXT_URL_MAX);
    }
    if (!sep || sep == url || (size_t) (sep - url) >= sizeof(u.protocol)) {
        return gp_err(err, GP_INVALID_ARGUMENT, "git.remote_uri: '%.200s' is not a URL that starts with https:// or http://", url);
    }
    (void) snprintf(u.protocol, sizeof(u.protocol), "%.*s", (int) (sep - url), url);
    if (strcmp(u.protocol, "http") == 0 || strcmp(u.protocol, "https") == 0) {
        rc = cnt_url_host(url, sep + 3, &u, err);
    } else if (strcmp(u.protocol, "file") != 0) {
        rc = gp_err(err, GP_INVALID_ARGUMENT, "git.remote_uri: '%s://' is not supported; use the https:// address of the repository",
                    u.protocol);
    } else if (!allow_file) {
        rc = gp_err(
            err, GP_PERMISSION_DENIED,
            "git.remote_uri: repositories of this machine (file://) are off; the operator allows them with GITPOD_ALLOW_FILE_URLS=on");
    } else if (sep[3] != '/') {
        rc = gp_err(err, GP_INVALID_ARGUMENT, "git.remote_uri: '%.200s' must be file:///absolute/path", url);
    }
    if (rc == 0) {
        *ret_url = u;
    }

    return rc;
}


int cnt_checkout_check(const char *path, gp_err_t *err)
{
    const char *p = path;
    size_t n;

    if (!*path || strlen(path) > CNT_CHECKOUT_MAX) {
        return gp_err(err, GP_INVALID_ARGUMENT, "git.checkout_location must have 1 to %d bytes", CNT_CHECKOUT_MAX);
    }
    for (;;) {
        n = strcspn(p, "/");
        if (n == 0 || (n == 1 && *p == '.') || (n == 2 && p[0] == '.' && p[1] == '.') || (n == 4 && strncasecmp(p, ".git", 4) == 0)) {
            return gp_err(err, GP_INVALID_ARGUMENT, "git.checkout_location: '%s' must be a relative path below " GP_DIR_WORKSPACE, path);
        }
        if (!p[n]) {
            break;
        }
        p += n + 1;
    }
    for (p = path; *p; p++) {
        if ((unsigned char) *p < ' ' || *p == 0x7f) {
            return gp_err(err, GP_INVALID_ARGUMENT, "git.checkout_location must not have control characters");
        }
    }

    return 0;
}


/* The rules of git-check-ref-format(1) that matter to a command line. */
int cnt_ref_check(const char *ref, gp_err_t *err)
{
    size_t n = strlen(ref);

    if (n == 0 || n > CNT_REF_MAX || *ref == '-' || *ref == '/' || ref[n - 1] == '/' || !cnt_clean(ref) || strpbrk(ref, "~^:?*[\\") ||
        strstr(ref, "..") || strstr(ref, "@{") || strstr(ref, "//")) {
        return gp_err(err, GP_INVALID_ARGUMENT, "git.clone_target: '%.200s' cannot be the name of a branch, tag or commit", ref);
    }

    return 0;
}


bool cnt_commit_like(const char *text)
{
    size_t n = strlen(text);

    return n >= 7 && n <= 64 && strspn(text, "0123456789abcdefABCDEF") == n;
}


bool cnt_commit_full(const char *text)
{
    size_t n = strlen(text);

    return cnt_commit_like(text) && (n == 40 || n == 64);
}


/* Whether a line's ref is prefix + the first len bytes of target. */
static bool cnt_ref_named(const char *lines, const char *prefix, const char *target, size_t len)
{
    const char *line = lines, *ref, *end;
    size_t n = strlen(prefix);

    while (*line) {
        end = line + strcspn(line, "\n");
        ref = memchr(line, '\t', (size_t) (end - line));
        if (ref && (size_t) (end - ref - 1) == n + len && strncmp(ref + 1, prefix, n) == 0 && strncmp(ref + 1 + n, target, len) == 0) {
            return true;
        }
        line = *end ? end + 1 : end;
    }

    return false;
}


int cnt_ref_longest(const char *target, const char *lines, size_t *ret_len)
{
    size_t len = strlen(target);

    while (len > 0) {
        if (cnt_ref_named(lines, "refs/heads/", target, len) || cnt_ref_named(lines, "refs/tags/", target, len)) {
            *ret_len = len;
            return 0;
        }
        while (len > 0 && target[len - 1] != '/') {
            len--;
        }
        len -= len > 0;
    }

    return -GP_NOT_FOUND;
}
