#pragma once

#include <stdint.h>
#include <stdbool.h>

#include "base/arena.h"
#include "base/err.h"

/*
 * SQL behind one small interface: SQLite now, PostgreSQL later. One database
 * per service. Thread-safe: a handle is a writer connection behind a lock (WAL,
 * synchronous=FULL, foreign keys on, STRICT tables).
 *
 * Values: '?' placeholders; a format of one letter per value: s text (NULL is
 * SQL NULL), i int64_t, b blob (const void *, size_t).
 */
typedef struct gp_db gp_db_t;
typedef struct gp_row gp_row_t;

/* migrations: numbered from 1, one SQL text each, run in order, once, each in a transaction. Errors: FAILED_PRECONDITION when the database is newer than the program. */
int gp_db_open(const char *path, const char *const *migrations, int n_migrations, gp_db_t **ret_db, gp_err_t *err)
    __attribute__((warn_unused_result));
gp_db_t *gp_db_close(gp_db_t *db);

/* INSERT, UPDATE, DELETE. *ret_changes (may be NULL): rows changed. ALREADY_EXISTS on a unique violation. */
int gp_db_exec(gp_db_t *db, int64_t *ret_changes, gp_err_t *err, const char *sql, const char *format, ...)
    __attribute__((warn_unused_result));

/* Runs fn for each row; non-zero stops and is returned. At most limit rows (then OUT_OF_RANGE). */
int gp_db_query(gp_db_t *db, int (*fn)(const gp_row_t *row, void *data, gp_err_t *err), void *data, int limit, gp_err_t *err,
                const char *sql, const char *format, ...) __attribute__((warn_unused_result));

/* Columns by number from 0; text is borrowed until fn returns, "" for NULL. */
const char *gp_row_text(const gp_row_t *row, int column);
int64_t gp_row_int(const gp_row_t *row, int column);
const void *gp_row_blob(const gp_row_t *row, int column, size_t *ret_len);

/* fn inside one immediate transaction; non-zero rolls back and is returned. Inside, use the same db handle (the lock is recursive for this thread). */
int gp_db_transaction(gp_db_t *db, int (*fn)(gp_db_t *db, void *data, gp_err_t *err), void *data, gp_err_t *err)
    __attribute__((warn_unused_result));
