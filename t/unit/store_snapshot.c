#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "store/snapshot.h"
#include "tap.h"

/* Snapshot files: head and records, mode, groups of changes, a disk that refuses. */

#define DEADLINE_MS 10000

static char dir[] = "/tmp/gp-snapshot-XXXXXX";
static char path[128], path_new[160];
static atomic_int records, fills;


static int fill(gp_snapshot_file_t *file, void *data, gp_err_t *err)
{
    char line[64];
    int rc = 0;

    (void) atomic_fetch_add(&fills, 1);
    if (atomic_load(&records) < 0) {
        return gp_err(err, GP_UNAVAILABLE, "the database is away");
    }
    for (int i = 0; rc == 0 && i < atomic_load(&records); i++) {
        (void) snprintf(line, sizeof(line), "{\"id\":\"ws-%d\"}", i);
        rc = gp_snapshot_add(file, line, err);
    }

    return rc;
}


static void rest(void)
{
    struct timespec pause = {0, 5000000};

    (void) nanosleep(&pause, NULL);
}


/* How many lines follow the head, which must tell the same; -1: no such file, -2: not as it should be. */
static int count(int64_t *ret_written)
{
    FILE *file = fopen(path, "r");
    char line[256];
    long long written = 0;
    int n = 0, promised = -1;

    if (file == NULL) {
        return -1;
    }
    if (fgets(line, sizeof(line), file) == NULL ||
        sscanf(line, "{\"snapshot\":\"routes\",\"written\":%lld,\"records\":%d}", &written, &promised) != 2) {
        promised = -2;
    }
    for (; fgets(line, sizeof(line), file) != NULL; n++) {
        if (strncmp(line, "{\"id\":\"ws-", 10) != 0 || line[strlen(line) - 1] != '\n') {
            promised = -2;
        }
    }
    (void) fclose(file);
    *ret_written = written;

    return n == promised ? n : -2;
}


static bool wait_count(int want)
{
    uint64_t end = gp_clock_ms() + DEADLINE_MS;
    int64_t written;
    int n;

    while ((n = count(&written)) != want && gp_clock_ms() < end) {
        if (n == -2) {
            return false; /* a reader must never see half of one */
        }
        rest();
    }

    return n == want;
}


static void test_changes(gp_snapshot_t *snapshot)
{
    int64_t written = 0;
    struct stat st;
    uint64_t begin;
    int before;

    ok(wait_count(0), "a file of no records is written at the start");
    ok(stat(path, &st) == 0 && (st.st_mode & 07777) == 0600, "mode 0600");
    (void) count(&written);
    ok(llabs(written - gp_clock_epoch_s()) <= DEADLINE_MS / 1000, "its head tells when");

    atomic_store(&records, 1000);
    gp_snapshot_wake(snapshot);
    ok(wait_count(1000), "a change is written");

    before = atomic_load(&fills);
    begin = gp_clock_ms();
    for (int i = 1; i <= 500; i++) {
        atomic_store(&records, 1000 + i);
        gp_snapshot_wake(snapshot);
        rest();
    }
    ok(wait_count(1500), "the last of many changes is written");
    is_int(atomic_load(&fills) - before <= 2 + (int) ((gp_clock_ms() - begin) / 1000), 1, "at most once a second");
}


static void test_fault(gp_snapshot_t *snapshot)
{
    uint64_t end = gp_clock_ms() + DEADLINE_MS;
    int before = atomic_load(&fills);
    int64_t written;

    atomic_store(&records, -1);
    gp_snapshot_wake(snapshot);
    while (atomic_load(&fills) == before && gp_clock_ms() < end) {
        rest();
    }
    is_int(count(&written), 1500, "while records cannot be had the old file stays");
    atomic_store(&records, 7);
    ok(wait_count(7), "and it is tried again without a change");
    ok(access(path_new, F_OK) != 0, "nothing is left of the attempt");
}


int main(void)
{
    gp_snapshot_t *snapshot = NULL;
    gp_err_t err = GP_ERR_INIT;
    int64_t written;

    if (mkdtemp(dir) == NULL) {
        return 1;
    }
    (void) snprintf(path, sizeof(path), "%s/routes.json", dir);
    (void) snprintf(path_new, sizeof(path_new), "%s.new", path);

    ok(gp_snapshot_start(path, "routes", 0, fill, NULL, &snapshot, &err) == 0, "a writer starts");
    test_changes(snapshot);
    test_fault(snapshot);

    atomic_store(&records, 3);
    gp_snapshot_wake(snapshot);
    ok(gp_snapshot_stop(snapshot) == NULL && count(&written) == 3, "what is still to be written is written at the end");
    gp_snapshot_wake(NULL);

    ok(gp_snapshot_start(path, "routes", 1, fill, NULL, &snapshot, &err) == 0, "one with a refresh");
    (void) unlink(path);
    atomic_store(&records, 4);
    ok(wait_count(4), "writes without a change");
    ok(wait_count(4) && unlink(path) == 0 && wait_count(4), "again and again");
    (void) gp_snapshot_stop(snapshot);

    (void) unlink(path);
    (void) rmdir(dir);

    return tap_done();
}
