#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fault.h"

enum cnt_fault_kind {
    CNT_FAULT_SPACE,
    CNT_FAULT_HOST,
    CNT_FAULT_CONNECT,
    CNT_FAULT_TLS,
    CNT_FAULT_CREDENTIALS,
    CNT_FAULT_REFUSED,
    CNT_FAULT_TARGET,
    CNT_FAULT_REPOSITORY,
    CNT_FAULT_PROTOCOL,
    CNT_FAULT_BROKEN,
    CNT_FAULT_OTHER
};

/* Words of git, curl and index-pack; the first that is found decides. */
static const struct {
    const char *words;
    enum cnt_fault_kind kind;
} cnt_faults[] = {
    {"No space left on device", CNT_FAULT_SPACE},
    {"Disk quota exceeded", CNT_FAULT_SPACE},
    {"Out of diskspace", CNT_FAULT_SPACE},
    {"Could not resolve host", CNT_FAULT_HOST},
    {"Could not resolve proxy", CNT_FAULT_HOST},
    {"Failed to connect to", CNT_FAULT_CONNECT},
    {"Couldn't connect to server", CNT_FAULT_CONNECT},
    {"Connection refused", CNT_FAULT_CONNECT},
    {"Network is unreachable", CNT_FAULT_CONNECT},
    {"No route to host", CNT_FAULT_CONNECT},
    {"Connection timed out", CNT_FAULT_CONNECT},
    {"Operation timed out", CNT_FAULT_CONNECT},
    {"Operation too slow", CNT_FAULT_CONNECT},
    {"SSL certificate problem", CNT_FAULT_TLS},
    {"certificate verif", CNT_FAULT_TLS},
    {"could not read Username", CNT_FAULT_CREDENTIALS},
    {"could not read Password", CNT_FAULT_CREDENTIALS},
    {"terminal prompts disabled", CNT_FAULT_CREDENTIALS},
    {"Authentication failed", CNT_FAULT_CREDENTIALS},
    {"returned error: 401", CNT_FAULT_CREDENTIALS},
    {"returned error: 403", CNT_FAULT_REFUSED},
    {"Remote branch", CNT_FAULT_TARGET},
    {"couldn't find remote ref", CNT_FAULT_TARGET},
    {"not our ref", CNT_FAULT_TARGET},
    {"unadvertised object", CNT_FAULT_TARGET},
    {"did not match any file", CNT_FAULT_TARGET},
    {"not a tree", CNT_FAULT_TARGET},
    {"unknown revision", CNT_FAULT_TARGET},
    {"not a commit", CNT_FAULT_TARGET},
    {"unable to read tree", CNT_FAULT_TARGET},
    {"returned error: 404", CNT_FAULT_REPOSITORY},
    {"' not found", CNT_FAULT_REPOSITORY},
    {"does not appear to be a git repository", CNT_FAULT_REPOSITORY},
    {"' does not exist", CNT_FAULT_REPOSITORY},
    {"Repository not found", CNT_FAULT_REPOSITORY},
    {"not valid: is this a git repository", CNT_FAULT_REPOSITORY},
    {"' not allowed", CNT_FAULT_PROTOCOL},
    {"returned error: 5", CNT_FAULT_BROKEN},
    {"early EOF", CNT_FAULT_BROKEN},
    {"unexpected disconnect", CNT_FAULT_BROKEN},
    {"hung up unexpectedly", CNT_FAULT_BROKEN},
    {"Connection reset", CNT_FAULT_BROKEN},
    {"Empty reply from server", CNT_FAULT_BROKEN},
    {"RPC failed", CNT_FAULT_BROKEN},
};


bool cnt_fault_wants_full(const char *output)
{
    return strstr(output, "does not support shallow") || strstr(output, "does not support --depth") || strstr(output, "not our ref") ||
           strstr(output, "unadvertised object") || strstr(output, "Server does not support") || strstr(output, "no such remote ref");
}


/* The last line that starts with "fatal:" or "error:", printable, into dst. */
static void cnt_fault_line(const char *output, char *dst, size_t size)
{
    const char *line = output, *found = "", *end;
    size_t i, n;

    while (*line) {
        end = line + strcspn(line, "\n");
        if (strncmp(line, "fatal:", 6) == 0 || strncmp(line, "error:", 6) == 0) {
            found = line + 6;
        }
        line = *end ? end + 1 : end;
    }
    found += strspn(found, " ");
    n = strcspn(found, "\n");
    n = n < size - 1 ? n : size - 1;
    for (i = 0; i < n; i++) {
        dst[i] = (unsigned char) found[i] < ' ' || (unsigned char) found[i] >= 0x7f ? '?' : found[i];
    }
    dst[n] = '\0';
}


static int cnt_fault_space(const cnt_fault_context_t *c, gp_err_t *err)
{
    char left[48] = "";

    if (c->free_bytes >= 0) {
        (void) snprintf(left, sizeof(left), " (%" PRId64 " MiB are free)", c->free_bytes / 1048576);
    }

    return gp_err(
        err, GP_RESOURCE_EXHAUSTED,
        "%.200s does not fit on the disk of this machine%s. Delete workspaces you no longer need, or ask the operator for more space",
        c->url, left);
}


static int cnt_fault_credentials(const cnt_fault_context_t *c, gp_err_t *err)
{
    if (c->had_token) {
        return gp_err(err, GP_PERMISSION_DENIED,
                      "%s refused the Git access token for %.200s: it may have expired, or not reach this repository. Renew it under Git "
                      "access tokens",
                      c->host, c->url);
    }

    return gp_err(err, GP_PERMISSION_DENIED,
                  "%.200s does not exist or needs credentials: check the URL, or add a token for host %s in Settings, Git tokens", c->url,
                  c->host);
}


static int cnt_fault_target(const cnt_fault_context_t *c, gp_err_t *err)
{
    if (!*c->target) {
        return gp_err(err, GP_NOT_FOUND, "%.200s has no default branch", c->url);
    }

    return gp_err(err, GP_NOT_FOUND, "%.200s has no branch, tag or commit '%.160s': check its name", c->url, c->target);
}


static int cnt_fault_repository(const cnt_fault_context_t *c, gp_err_t *err)
{
    if (!*c->host) {
        return gp_err(err, GP_NOT_FOUND, "%.300s is no Git repository that can be read: check the path and its permissions", c->url);
    }

    return gp_err(err, GP_NOT_FOUND,
                  "%.200s does not exist%s: check the URL, or, when it is private, add a token for host %s in Settings, Git tokens", c->url,
                  c->had_token ? " or the token cannot see it" : "", c->host);
}


int cnt_fault(const char *output, const cnt_fault_context_t *c, gp_err_t *err)
{
    enum cnt_fault_kind kind = CNT_FAULT_OTHER;
    char line[160];
    size_t i;

    for (i = 0; i < sizeof(cnt_faults) / sizeof(cnt_faults[0]); i++) {
        if (strcasestr(output, cnt_faults[i].words)) {
            kind = cnt_faults[i].kind;
            break;
        }
    }
    cnt_fault_line(output, line, sizeof(line));
    switch (kind) {
    case CNT_FAULT_SPACE:
        return cnt_fault_space(c, err);
    case CNT_FAULT_HOST:
        return gp_err(err, GP_UNAVAILABLE, "the host %s is not known: check the URL, or the name service of this machine (%s)", c->host,
                      line);
    case CNT_FAULT_CONNECT:
        return gp_err(err, GP_UNAVAILABLE, "%s does not answer: check the URL, or try again later (%s)", c->host, line);
    case CNT_FAULT_TLS:
        return gp_err(err, GP_UNAVAILABLE,
                      "the certificate of %s cannot be verified: ask the operator to add its authority to this machine (%s)", c->host,
                      line);
    case CNT_FAULT_CREDENTIALS:
        return cnt_fault_credentials(c, err);
    case CNT_FAULT_REFUSED:
        return gp_err(err, GP_PERMISSION_DENIED, "%s refuses access to %.200s: %s", c->host, c->url,
                      c->had_token ? "the token lacks the right to read it; renew it in Settings, Git tokens"
                                   : "add a token for this host in Settings, Git tokens");
    case CNT_FAULT_TARGET:
        return cnt_fault_target(c, err);
    case CNT_FAULT_REPOSITORY:
        return cnt_fault_repository(c, err);
    case CNT_FAULT_PROTOCOL:
        return gp_err(err, GP_PERMISSION_DENIED, "%.200s uses or leads to a protocol that is not allowed here (%s)", c->url, line);
    case CNT_FAULT_BROKEN:
        return gp_err(err, GP_UNAVAILABLE, "%s broke off while sending %.200s: try again later (%s)", *c->host ? c->host : "git", c->url,
                      line);
    case CNT_FAULT_OTHER:
        break;
    }

    return gp_err(err, GP_INTERNAL, "cloning %.200s failed: %s", c->url, *line ? line : "git gave no reason");
}
