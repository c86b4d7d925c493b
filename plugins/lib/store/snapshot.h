#pragma once

#include <stdint.h>

#include "base/err.h"

/*
 * A snapshot file for the gateway (docs/contracts/redis.md): what it reads when
 * it starts and Redis is away. A thread of its own writes it, a moment after
 * each change, at most once a second, by rename: mode 0600, complete or as it
 * was before.
 */
typedef struct gp_snapshot gp_snapshot_t;
typedef struct gp_snapshot_file gp_snapshot_file_t;

/* Adds every record with gp_snapshot_add(); called by the writer's thread. */
typedef int (*gp_snapshot_fill_pt)(gp_snapshot_file_t *file, void *data, gp_err_t *err);

/* One record, JSON of one line. */
int gp_snapshot_add(gp_snapshot_file_t *file, const char *json, gp_err_t *err) __attribute__((warn_unused_result));

/*
 * kind: "routes" or "revocations". Writes at once, then after each wake and,
 * unless 0, every refresh_s, so that its age tells that the writer lived.
 */
int gp_snapshot_start(const char *path, const char *kind, int64_t refresh_s, gp_snapshot_fill_pt fill, void *data,
                      gp_snapshot_t **ret_snapshot, gp_err_t *err) __attribute__((warn_unused_result));
/* Something changed; any thread. NULL: nothing happens. */
void gp_snapshot_wake(gp_snapshot_t *snapshot);
/* Writes what is still to be written, and ends. NULL is fine; returns NULL. */
gp_snapshot_t *gp_snapshot_stop(gp_snapshot_t *snapshot);
