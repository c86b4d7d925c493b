#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <sqlite3.h>

#include "base/cleanup.h"
#include "base/die.h"
#include "store/db.h"

/*
 * SQLite behind gp_db_t. One connection, one recursive lock: services write
 * little, and a reader that waits for a writer of a millisecond is simpler
 * than a pool of connections. WAL with synchronous=FULL: a commit that
 * returned survives a power cut.
 *
 * The number of migrations done is PRAGMA user_version, set in the transaction
 * of the migration itself.
 */
#define GP_DB_BUSY_MS 5000 /* another process (a backup, a shell) holds the file */
#define GP_DB_NESTING_MAX 8 /* transactions within transactions */
#define GP_DB_SQL_SHOWN 120 /* bytes of SQL in an error */

struct gp_db {
    sqlite3 *sql;
    pthread_mutex_t lock;
    int nesting;
    char *path;
};

struct gp_row {
    sqlite3_stmt *stmt;
};


static void gp_db_finalize(sqlite3_stmt **stmt)
{
    (void) sqlite3_finalize(*stmt); /* repeats the error of the step, known already */
    *stmt = NULL;
}


#define gp_auto_stmt gp_cleanup(gp_db_finalize)


static void gp_db_lock(gp_db_t *db)
{
    gp_assert(pthread_mutex_lock(&db->lock) == 0);
}


static void gp_db_unlock(gp_db_t *db)
{
    gp_assert(pthread_mutex_unlock(&db->lock) == 0);
}


static int gp_db_fault(gp_db_t *db, const char *sql, gp_err_t *err)
{
    int extended = sqlite3_extended_errcode(db->sql);
    const char *text = sqlite3_errmsg(db->sql);

    switch (extended & 0xff) {
    case SQLITE_CONSTRAINT:
        if (extended == SQLITE_CONSTRAINT_UNIQUE || extended == SQLITE_CONSTRAINT_PRIMARYKEY || extended == SQLITE_CONSTRAINT_ROWID) {
            return gp_err(err, GP_ALREADY_EXISTS, "it exists already (%s)", text);
        }
        return gp_err(err, GP_FAILED_PRECONDITION, "the database refuses it: %s", text);

    case SQLITE_FULL:
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "no space left for the database %s; free some on that disk", db->path);

    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return gp_err(err, GP_UNAVAILABLE, "the database %s is held by another process for %d s", db->path, GP_DB_BUSY_MS / 1000);

    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return gp_err(err, GP_DATA_LOSS, "the database %s is damaged (%s); restore it from a backup", db->path, text);

    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
        return gp_err(err, GP_UNAVAILABLE, "cannot read or write the database %s: %s", db->path, text);

    case SQLITE_NOMEM:
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "out of memory in the database %s", db->path);

    default:
        return gp_err(err, GP_INTERNAL, "database %s: %s in \"%.*s\"", db->path, text, GP_DB_SQL_SHOWN, sql);
    }
}


/* The values of a call; a struct, because a va_list handed on as such cannot be advanced by the callee. */
typedef struct {
    va_list ap;
} gp_db_values_t;


/* The next value, of one letter of the format, to parameter n. */
static int gp_db_bind_one(sqlite3_stmt *stmt, int n, char kind, gp_db_values_t *values)
{
    const char *text;
    const void *blob;
    size_t len;

    switch (kind) {
    case 's':
        text = va_arg(values->ap, const char *);
        if (text == NULL) {
            return sqlite3_bind_null(stmt, n);
        }
        return sqlite3_bind_text64(stmt, n, text, strlen(text), SQLITE_STATIC, SQLITE_UTF8);

    case 'i':
        return sqlite3_bind_int64(stmt, n, va_arg(values->ap, int64_t));

    case 'b':
        blob = va_arg(values->ap, const void *);
        len = va_arg(values->ap, size_t);
        return sqlite3_bind_blob64(stmt, n, blob ? blob : "", len, SQLITE_STATIC);

    default:
        return SQLITE_MISUSE;
    }
}


static int gp_db_prepare(gp_db_t *db, const char *sql, const char *format, gp_db_values_t *values, sqlite3_stmt **ret_stmt, gp_err_t *err)
{
    gp_auto_stmt sqlite3_stmt *stmt = NULL;
    const char *tail = "";
    int i, rc = SQLITE_OK;

    if (sqlite3_prepare_v2(db->sql, sql, -1, &stmt, &tail) != SQLITE_OK) {
        return gp_db_fault(db, sql, err);
    }
    format = format ? format : "";
    if (stmt == NULL || tail[strspn(tail, " \t\r\n;")] != '\0' || sqlite3_bind_parameter_count(stmt) != (int) strlen(format)) {
        return gp_err(err, GP_INTERNAL, "database %s: \"%.*s\" is not one statement with the values \"%s\"", db->path, GP_DB_SQL_SHOWN, sql,
                      format);
    }

    for (i = 0; rc == SQLITE_OK && format[i]; i++) {
        rc = gp_db_bind_one(stmt, i + 1, format[i], values);
    }
    if (rc != SQLITE_OK) {
        return gp_err(err, GP_INTERNAL, "database %s: value %d (\"%s\") of \"%.*s\" cannot be bound", db->path, i, format, GP_DB_SQL_SHOWN,
                      sql);
    }
    *ret_stmt = gp_steal(&stmt);

    return 0;
}


static int gp_db_run(gp_db_t *db, const char *sql, gp_err_t *err)
{
    return sqlite3_exec(db->sql, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : gp_db_fault(db, sql, err);
}


static int gp_db_exec_values(gp_db_t *db, int64_t *ret_changes, gp_err_t *err, const char *sql, const char *format, gp_db_values_t *values)
{
    gp_auto_stmt sqlite3_stmt *stmt = NULL;
    int rc;

    rc = gp_db_prepare(db, sql, format, values, &stmt, err);
    if (rc < 0) {
        return rc;
    }

    do {
        rc = sqlite3_step(stmt); /* rows of a RETURNING clause are dropped */
    } while (rc == SQLITE_ROW);
    if (rc != SQLITE_DONE) {
        return gp_db_fault(db, sql, err);
    }
    if (ret_changes != NULL) {
        *ret_changes = sqlite3_changes64(db->sql);
    }

    return 0;
}


int gp_db_exec(gp_db_t *db, int64_t *ret_changes, gp_err_t *err, const char *sql, const char *format, ...)
{
    gp_db_values_t values;
    int rc;

    gp_db_lock(db);
    va_start(values.ap, format);
    rc = gp_db_exec_values(db, ret_changes, err, sql, format, &values);
    va_end(values.ap);
    gp_db_unlock(db);

    return rc;
}


static int gp_db_rows(gp_db_t *db, sqlite3_stmt *stmt, int (*fn)(const gp_row_t *row, void *data, gp_err_t *err), void *data, int limit,
                      gp_err_t *err, const char *sql)
{
    gp_row_t row = {stmt};
    int rc, n;

    for (n = 0;; n++) {
        rc = sqlite3_step(stmt);
        if (rc == SQLITE_DONE) {
            return 0;
        }
        if (rc != SQLITE_ROW) {
            return gp_db_fault(db, sql, err);
        }
        if (n == limit) {
            return gp_err(err, GP_OUT_OF_RANGE, "more than %d rows", limit);
        }
        rc = fn(&row, data, err);
        if (rc != 0) {
            return rc;
        }
    }
}


int gp_db_query(gp_db_t *db, int (*fn)(const gp_row_t *row, void *data, gp_err_t *err), void *data, int limit, gp_err_t *err,
                const char *sql, const char *format, ...)
{
    gp_auto_stmt sqlite3_stmt *stmt = NULL;
    gp_db_values_t values;
    int rc;

    gp_db_lock(db);
    va_start(values.ap, format);
    rc = gp_db_prepare(db, sql, format, &values, &stmt, err);
    va_end(values.ap);
    if (rc == 0) {
        rc = gp_db_rows(db, stmt, fn, data, limit, err, sql);
    }
    gp_db_finalize(&stmt); /* under the lock */
    gp_db_unlock(db);

    return rc;
}


const char *gp_row_text(const gp_row_t *row, int column)
{
    const unsigned char *text = sqlite3_column_text(row->stmt, column);

    return text ? (const char *) text : "";
}


int64_t gp_row_int(const gp_row_t *row, int column)
{
    return sqlite3_column_int64(row->stmt, column);
}


const void *gp_row_blob(const gp_row_t *row, int column, size_t *ret_len)
{
    const void *blob = sqlite3_column_blob(row->stmt, column);

    *ret_len = (size_t) sqlite3_column_bytes(row->stmt, column);

    return blob ? blob : "";
}


/* The outermost is a transaction that takes the write lock at once, those within are savepoints. */
static int gp_db_begin(gp_db_t *db, gp_err_t *err)
{
    int rc;

    if (db->nesting == GP_DB_NESTING_MAX) {
        return gp_err(err, GP_INTERNAL, "database %s: transactions nested deeper than %d", db->path, GP_DB_NESTING_MAX);
    }
    rc = gp_db_run(db, db->nesting == 0 ? "BEGIN IMMEDIATE" : "SAVEPOINT nested", err);
    if (rc == 0) {
        db->nesting++;
    }

    return rc;
}


static void gp_db_rollback(gp_db_t *db)
{
    gp_err_t ignored;

    db->nesting--;
    if (db->nesting > 0) {
        (void) gp_db_run(db, "ROLLBACK TO nested", &ignored); /* the first fault is the one to tell */
        (void) gp_db_run(db, "RELEASE nested", &ignored);
        return;
    }
    if (sqlite3_get_autocommit(db->sql) == 0) { /* a full disk may have rolled back already */
        (void) gp_db_run(db, "ROLLBACK", &ignored);
    }
}


int gp_db_transaction(gp_db_t *db, int (*fn)(gp_db_t *db, void *data, gp_err_t *err), void *data, gp_err_t *err)
{
    int rc;

    gp_db_lock(db);
    rc = gp_db_begin(db, err);
    if (rc == 0) {
        rc = fn(db, data, err);
        if (rc == 0) {
            rc = gp_db_run(db, db->nesting == 1 ? "COMMIT" : "RELEASE nested", err);
        }
        if (rc == 0) {
            db->nesting--;
        } else {
            gp_db_rollback(db);
        }
    }
    gp_db_unlock(db);

    return rc;
}


typedef struct {
    const char *sql;
    int number;
} gp_db_step_t;


static int gp_db_migrate_one(gp_db_t *db, void *data, gp_err_t *err)
{
    const gp_db_step_t *step = data;
    char pragma[48];
    int rc;

    rc = gp_db_run(db, step->sql, err);
    if (rc < 0) {
        return rc;
    }
    (void) snprintf(pragma, sizeof(pragma), "PRAGMA user_version = %d", step->number); /* 35 bytes at most */

    return gp_db_run(db, pragma, err);
}


static int gp_db_version_row(const gp_row_t *row, void *data, gp_err_t *err)
{
    *(int64_t *) data = gp_row_int(row, 0);

    return 0;
}


static int gp_db_migrate(gp_db_t *db, const char *const *migrations, int n_migrations, gp_err_t *err)
{
    gp_db_step_t step;
    int64_t version = 0;
    int rc;

    rc = gp_db_query(db, gp_db_version_row, &version, 1, err, "PRAGMA user_version", "");
    if (rc < 0) {
        return rc;
    }
    if (version > n_migrations) {
        return gp_err(err, GP_FAILED_PRECONDITION,
                      "the database %s is of version %lld, this program knows %d: it was used by a newer one; install that again", db->path,
                      (long long) version, n_migrations);
    }

    for (step.number = (int) version + 1; step.number <= n_migrations; step.number++) {
        step.sql = migrations[step.number - 1];
        rc = gp_db_transaction(db, gp_db_migrate_one, &step, err);
        if (rc < 0) {
            return gp_err_prefix(err, "migration %d", step.number);
        }
    }

    return 0;
}


/* 0600 from birth; SQLite gives its -wal and -shm the same mode. */
static int gp_db_create_file(const char *path, gp_err_t *err)
{
    gp_auto_fd int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    return fd >= 0 ? 0 : gp_err_errno(err, errno, "cannot open the database %s", path);
}


static int gp_db_connect(gp_db_t *db, gp_err_t *err)
{
    int rc;

    rc = gp_db_create_file(db->path, err);
    if (rc < 0) {
        return rc;
    }
    if (sqlite3_open_v2(db->path, &db->sql, SQLITE_OPEN_READWRITE | SQLITE_OPEN_FULLMUTEX | SQLITE_OPEN_EXRESCODE, NULL) != SQLITE_OK) {
        return db->sql ? gp_db_fault(db, "open", err) : gp_err(err, GP_RESOURCE_EXHAUSTED, "out of memory");
    }
    (void) sqlite3_busy_timeout(db->sql, GP_DB_BUSY_MS); /* cannot fail on an open handle */
    (void) sqlite3_db_config(db->sql, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL); /* a hardening: fine without */

    return gp_db_run(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF",
                     err);
}


static int gp_db_init(gp_db_t *db, const char *path)
{
    pthread_mutexattr_t attr;
    int rc;

    db->path = strdup(path);
    if (db->path == NULL || pthread_mutexattr_init(&attr) != 0) {
        return -GP_RESOURCE_EXHAUSTED;
    }
    rc = pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    if (rc == 0) {
        rc = pthread_mutex_init(&db->lock, &attr);
    }
    (void) pthread_mutexattr_destroy(&attr); /* always 0 in glibc */

    return rc == 0 ? 0 : -GP_RESOURCE_EXHAUSTED;
}


gp_db_t *gp_db_close(gp_db_t *db)
{
    if (db != NULL) {
        if (db->sql != NULL) {
            (void) sqlite3_close_v2(db->sql); /* no statement outlives a call */
        }
        (void) pthread_mutex_destroy(&db->lock); /* nobody holds it: the caller's duty */
        free(db->path);
        free(db);
    }

    return NULL;
}


int gp_db_open(const char *path, const char *const *migrations, int n_migrations, gp_db_t **ret_db, gp_err_t *err)
{
    gp_db_t *db = calloc(1, sizeof(gp_db_t));
    int rc;

    if (db == NULL || gp_db_init(db, path) < 0) {
        if (db != NULL) {
            free(db->path);
        }
        free(db);
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "out of memory: the database %s", path);
    }

    rc = gp_db_connect(db, err);
    if (rc == 0) {
        rc = gp_db_migrate(db, migrations, n_migrations, err);
    }
    if (rc < 0) {
        (void) gp_db_close(db); /* NULL, always */
        return rc;
    }
    *ret_db = db;

    return 0;
}
