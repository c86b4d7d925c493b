#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/db.h"
#include "tap.h"

/* The SQL interface on SQLite: migrations, values, errors by code, transactions, threads. */

#define THREADS 4
#define PER_THREAD 50

static const char *const migrations[] = {
    "CREATE TABLE item (id TEXT PRIMARY KEY, n INTEGER NOT NULL, data BLOB) STRICT; CREATE INDEX item_n ON item (n)",
    "ALTER TABLE item ADD COLUMN note TEXT",
    "CREATE TABLE part (id INTEGER PRIMARY KEY, item TEXT NOT NULL REFERENCES item (id)) STRICT",
};
static const char *const broken[] = {"CREATE TABLE half (id TEXT) STRICT; CREATE TABLE half (id TEXT) STRICT"};

static gp_err_t err;


static int one_int(const gp_row_t *row, void *data, gp_err_t *row_err)
{
    *(int64_t *) data = gp_row_int(row, 0);

    return 0;
}


static int64_t count(gp_db_t *db)
{
    int64_t n = -1;

    return gp_db_query(db, one_int, &n, 1, &err, "SELECT count(*) FROM item", "") == 0 ? n : -1;
}


static int add(gp_db_t *db, const char *id, int64_t n)
{
    return gp_db_exec(db, NULL, &err, "INSERT INTO item (id, n) VALUES (?, ?)", "si", id, n);
}


static int check_row(const gp_row_t *row, void *data, gp_err_t *row_err)
{
    size_t len;
    const char *blob = gp_row_blob(row, 2, &len);

    *(int *) data += strcmp(gp_row_text(row, 0), "a'; DROP TABLE item; --") == 0 && gp_row_int(row, 1) == INT64_MIN && len == 3 &&
                     memcmp(blob, "x\0y", 3) == 0 && gp_row_text(row, 3)[0] == '\0';

    return 0;
}


static int stop_at_second(const gp_row_t *row, void *data, gp_err_t *row_err)
{
    return ++*(int *) data == 2 ? 7 : 0;
}


static void test_values(gp_db_t *db)
{
    int64_t changes = -1;
    int seen = 0;

    ok(gp_db_exec(db, &changes, &err, "INSERT INTO item (id, n, data, note) VALUES (?, ?, ?, ?)", "sibs", "a'; DROP TABLE item; --",
                  INT64_MIN, "x\0y", (size_t) 3, NULL) == 0 &&
           changes == 1,
       "a row with every kind of value is written");
    ok(gp_db_query(db, check_row, &seen, 10, &err, "SELECT id, n, data, note FROM item WHERE n = ?", "i", INT64_MIN) == 0 && seen == 1,
       "and read back, NULL as an empty text");
    is_int(add(db, "a'; DROP TABLE item; --", 1), -GP_ALREADY_EXISTS, "a second row of the same key is ALREADY_EXISTS");
    is_int(gp_db_exec(db, NULL, &err, "INSERT INTO item (id, n) VALUES (?, ?)", "ss", "b", "no number"), -GP_FAILED_PRECONDITION,
           "a text where STRICT wants a number is refused");
    is_int(gp_db_exec(db, NULL, &err, "INSERT INTO part (item) VALUES (?)", "s", "nobody"), -GP_FAILED_PRECONDITION, "foreign keys are on");
    is_int(gp_db_exec(db, NULL, &err, "INSERT INTO item (id, n) VALUES (?, ?)", "s", "c"), -GP_INTERNAL, "a value too few is a fault");
    is_int(gp_db_exec(db, NULL, &err, "DELETE FROM item; DELETE FROM item", ""), -GP_INTERNAL, "two statements at once are a fault");
    is_int(gp_db_exec(db, NULL, &err, "SELEKT", ""), -GP_INTERNAL, "what is no SQL is a fault");
    ok(strstr(err.text, "SELEKT") != NULL, "that shows the SQL");

    ok(add(db, "r1", 1) == 0 && add(db, "r2", 2) == 0 && count(db) == 4, "two rows more");
    is_int(gp_db_query(db, one_int, &changes, 2, &err, "SELECT n FROM item", ""), -GP_OUT_OF_RANGE,
           "more rows than the limit are OUT_OF_RANGE");
    seen = 0;
    is_int(gp_db_query(db, stop_at_second, &seen, 10, &err, "SELECT n FROM item", ""), 7, "a callback that stops is believed");
    is_int(seen, 2, "and not called again");
    ok(gp_db_exec(db, &changes, &err, "DELETE FROM item WHERE n > ?", "i", (int64_t) 0) == 0 && changes == 3, "changes are counted");
}


static int nested_fail(gp_db_t *db, void *data, gp_err_t *fn_err)
{
    return add(db, "inner", 1) == 0 ? 5 : -GP_INTERNAL;
}


static int outer(gp_db_t *db, void *data, gp_err_t *fn_err)
{
    int rc = add(db, "outer", 1);

    if (rc == 0 && gp_db_transaction(db, nested_fail, NULL, fn_err) != 5) {
        return -GP_INTERNAL;
    }

    return rc == 0 ? *(int *) data : rc;
}


static void test_transactions(gp_db_t *db)
{
    int64_t before = count(db);
    int result = 9;

    is_int(gp_db_transaction(db, outer, &result, &err), 9, "what the function returns is returned");
    is_int(count(db), before, "and its work is rolled back");
    result = 0;
    is_int(gp_db_transaction(db, outer, &result, &err), 0, "0 commits");
    is_int(count(db), before + 1, "the outer row without that of the inner transaction, which failed");
}


typedef struct {
    gp_db_t *db;
    int number;
    int good;
} worker_t;


static int increment(gp_db_t *db, void *data, gp_err_t *fn_err)
{
    int64_t n = 0;
    int rc = gp_db_query(db, one_int, &n, 1, fn_err, "SELECT n FROM item WHERE id = 'counter'", "");

    return rc == 0 ? gp_db_exec(db, NULL, fn_err, "UPDATE item SET n = ? WHERE id = 'counter'", "i", n + 1) : rc;
}


static void *work(void *data)
{
    worker_t *worker = data;
    gp_err_t own = GP_ERR_INIT;
    int i;

    for (i = 0; i < PER_THREAD; i++) {
        worker->good += gp_db_transaction(worker->db, increment, NULL, &own) == 0;
    }

    return NULL;
}


static void test_threads(gp_db_t *db)
{
    worker_t worker[THREADS];
    pthread_t thread[THREADS];
    int64_t n = -1;
    int i, good = 0;

    ok(add(db, "counter", 0) == 0, "a counter");
    for (i = 0; i < THREADS; i++) {
        worker[i] = (worker_t){db, i, 0};
        if (pthread_create(&thread[i], NULL, work, &worker[i]) != 0) {
            abort();
        }
    }
    for (i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
        good += worker[i].good;
    }
    ok(gp_db_query(db, one_int, &n, 1, &err, "SELECT n FROM item WHERE id = 'counter'", "") == 0, "its value");
    ok(good == THREADS * PER_THREAD && n == good, "no increment of %d threads is lost (%d, %lld)", THREADS, good, (long long) n);
}


static void test_open(const char *dir)
{
    char path[4096], garbage[4096];
    gp_db_t *db = NULL;
    struct stat st;
    FILE *file;

    (void) snprintf(path, sizeof(path), "%s/test.db", dir);
    (void) snprintf(garbage, sizeof(garbage), "%s/garbage.db", dir);

    if (!ok(gp_db_open(path, migrations, 1, &db, &err) == 0 && add(db, "old", 1) == 0, "a database of version 1")) {
        return;
    }
    db = gp_db_close(db);
    ok(stat(path, &st) == 0 && (st.st_mode & 07777) == 0600, "its file is 0600");
    ok(gp_db_open(path, migrations, 3, &db, &err) == 0 && gp_db_exec(db, NULL, &err, "UPDATE item SET note = 'x'", "") == 0 &&
           count(db) == 1,
       "a newer program migrates it and keeps its rows");
    db = gp_db_close(db);
    is_int(gp_db_open(path, migrations, 2, &db, &err), -GP_FAILED_PRECONDITION, "an older program refuses it");
    ok(strstr(err.text, "newer") != NULL, "and says why");
    ok(gp_db_open(path, migrations, 3, &db, &err) == 0, "it opens again");
    if (db != NULL) {
        test_values(db);
        test_transactions(db);
        test_threads(db);
        db = gp_db_close(db);
    }

    file = fopen(garbage, "w");
    if (file != NULL) {
        int i;

        for (i = 0; i < 1000; i++) {
            (void) fputs("this is no database\n", file);
        }
        (void) fclose(file);
    }
    is_int(gp_db_open(garbage, migrations, 1, &db, &err), -GP_DATA_LOSS, "a file that is no database is DATA_LOSS");
    (void) unlink(garbage);
    is_int(gp_db_open("/nonexistent/x.db", migrations, 1, &db, &err), -GP_NOT_FOUND, "a directory that is not there is NOT_FOUND");
    ok(gp_db_open(garbage, broken, 1, &db, &err) < 0 && strstr(err.text, "migration 1") != NULL, "a migration that fails says which");
    ok(gp_db_open(garbage, migrations, 1, &db, &err) == 0, "and left nothing behind: the right one runs");
    db = gp_db_close(db);
}


int main(void)
{
    char dir[] = "/tmp/gp-db-XXXXXX", path[4096];
    static const char *const names[] = {"test.db", "test.db-wal", "test.db-shm", "garbage.db", "garbage.db-wal", "garbage.db-shm"};
    size_t i;

    if (mkdtemp(dir) == NULL) {
        return 1;
    }
    test_open(dir);
    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void) snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        (void) unlink(path);
    }
    ok(rmdir(dir) == 0, "nothing else was left in the directory");

    return tap_done();
}
