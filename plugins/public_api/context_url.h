#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/err.h"

/*
 * What a person pastes, taken apart: which repository, what of it. Pure: no
 * network, no clock; what a ref really is, the content service finds out.
 *
 * Taken: any http(s) URL of a Git repository, `host/path` without scheme,
 * `git@host:owner/repo` and ssh:// (both become https), and the pages of
 * GitHub, GitLab, Bitbucket (Cloud and Server) and Gitea for a branch, tag,
 * commit, file, pull or merge request. file:// only where it is allowed.
 */
enum pub_target {
    PUB_TARGET_HEAD, /* what the repository's HEAD names */
    PUB_TARGET_COMMIT, /* target: a commit id */
    PUB_TARGET_BRANCH, /* target: a branch or tag, nothing after it */
    PUB_TARGET_REF /* target: <ref>[/path], or a full name refs/... */
};

typedef struct {
    char *url; /* the URL, trimmed, without a user name: what is kept and shown */
    char *remote_uri; /* for git clone */
    enum pub_target target_mode;
    char *target; /* "" for PUB_TARGET_HEAD */
    char *host; /* lower case, with port; "" for file:// */
    char *owner; /* last group or user; the host's name when the path has one part, "" when that is an address */
    char *repository; /* without .git */
    char *checkout; /* directory below /workspace */
} pub_context_t;

/*
 * pub_context_parse() - context URL to what to clone
 *
 * Everything in *ret_context lives in arena; no member is NULL. The only error
 * is INVALID_ARGUMENT: it says what is wrong and which forms work.
 */
int pub_context_parse(const char *url, size_t len, bool allow_file, gp_arena_t *arena, pub_context_t *ret_context, gp_err_t *err)
    __attribute__((warn_unused_result));
