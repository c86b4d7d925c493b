#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "core/contract.h"

#define CNT_HOST_MAX 270 /* bytes of host[:port] */
#define CNT_CHECKOUT_MAX 255 /* bytes of a checkout location */
#define CNT_REF_MAX 1024 /* bytes of a branch, tag, ref or commit */
#define CNT_REF_PARTS_MAX 16 /* components of a ref that are tried */

/* A repository's URL, checked. Pure functions. */
typedef struct {
    char protocol[8]; /* http, https, file */
    char host[CNT_HOST_MAX]; /* host[:port], lower case; "" for file */
} cnt_url_t;

/* Errors: INVALID_ARGUMENT naming the field (scheme, no host, control characters, credentials in it), PERMISSION_DENIED for file. */
int cnt_url_parse(const char *url, bool allow_file, cnt_url_t *ret_url, gp_err_t *err) __attribute__((warn_unused_result));
/* A relative path below /workspace, no ".", "..", ".git" or empty components. */
int cnt_checkout_check(const char *path, gp_err_t *err) __attribute__((warn_unused_result));
/* What git accepts as the name of a branch or tag, and no option. */
int cnt_ref_check(const char *ref, gp_err_t *err) __attribute__((warn_unused_result));
/* 40 or 64 hex digits. */
bool cnt_commit_full(const char *text);
/* 7 or more hex digits. */
bool cnt_commit_like(const char *text);
/* The longest of "a", "a/b", "a/b/c" (for a/b/c) that lines ("<sha>\t<full ref>\n") name; branches before tags. 0: length in *ret_len, -GP_NOT_FOUND: none. */
int cnt_ref_longest(const char *target, const char *lines, size_t *ret_len);
