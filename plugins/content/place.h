#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "core/contract.h"

/*
 * Where content lies: <state>/content/<workspace id>/ (0700, root of the
 * workspace's user namespace) with workspace/ (the person's), .clone/ (a clone
 * on its way; never inside workspace/) and handed-out.json, which says for which
 * instance a clone was made. Everything is reached by descriptors from the root,
 * and nothing below workspace/ is followed through a symbolic link.
 */
#define CNT_UID_BASE_MIN 65536 /* no range of a workspace begins among the machine's own users */

typedef struct {
    int dir; /* <id> */
    int workspace; /* <id>/workspace */
    uint32_t owner; /* host uid of the workspace user */
} cnt_place_t;

/* Opens <state>/content and makes .trash. */
int cnt_place_root(const char *state, int *ret_root, gp_err_t *err) __attribute__((warn_unused_result));
int cnt_place_check(const char *id, uint32_t uid_base, gp_err_t *err) __attribute__((warn_unused_result));
/* Makes what is missing. */
int cnt_place_make(int root, const char *id, uint32_t uid_base, cnt_place_t *ret_place, gp_err_t *err) __attribute__((warn_unused_result));
/* Errors: NOT_FOUND. */
int cnt_place_open(int root, const char *id, uint32_t uid_base, cnt_place_t *ret_place, gp_err_t *err) __attribute__((warn_unused_result));
void cnt_place_done(cnt_place_t *place);
/* Lets the workspace user pass through <id> while git runs; the contract's mode is put back with false. */
int cnt_place_pass(const cnt_place_t *place, bool pass, gp_err_t *err) __attribute__((warn_unused_result));
/* 1: workspace/<checkout> is there (whatever it is), 0: not. */
int cnt_place_has(const cnt_place_t *place, const char *checkout, gp_err_t *err) __attribute__((warn_unused_result));
/* The instance of handed-out.json, "" when there is none. */
int cnt_place_handed_out(const cnt_place_t *place, char ret_instance[GP_INSTANCE_ID_LEN + 1], gp_err_t *err)
    __attribute__((warn_unused_result));
int cnt_place_hand_out(const cnt_place_t *place, const char *instance, gp_err_t *err) __attribute__((warn_unused_result));
/* An empty directory <id>/<name> of the workspace user; what was there is removed. */
int cnt_place_scratch(const cnt_place_t *place, const char *name, int *ret_dir, gp_err_t *err) __attribute__((warn_unused_result));
/* A directory below workspace/, through no symbolic link. Errors: NOT_FOUND. */
int cnt_place_open_checkout(const cnt_place_t *place, const char *checkout, int *ret_dir, gp_err_t *err)
    __attribute__((warn_unused_result));
/* An empty .clone/checkout of the workspace user; what an earlier try left is removed. */
int cnt_place_clone_dir(const cnt_place_t *place, int *ret_dir, gp_err_t *err) __attribute__((warn_unused_result));
/* .clone/checkout becomes workspace/<checkout>; directories on the way are made. Errors: ALREADY_EXISTS. */
int cnt_place_publish(const cnt_place_t *place, const char *checkout, gp_err_t *err) __attribute__((warn_unused_result));
void cnt_place_drop_clone(const cnt_place_t *place);
/* A regular file below workspace/, at most limit bytes, into buf (NUL-terminated). Errors: NOT_FOUND, OUT_OF_RANGE when it is longer. */
int cnt_place_read(const cnt_place_t *place, const char *path, char *buf, size_t size, size_t *ret_len, gp_err_t *err)
    __attribute__((warn_unused_result));
/* What HEAD of workspace/<checkout> says: branch "" when detached, commit "" when it is not to be read easily. Never a fault. */
void cnt_place_head(const cnt_place_t *place, const char *checkout, char *ret_branch, char *ret_commit, size_t size);
int64_t cnt_place_free_bytes(int root); /* -1: unknown */
