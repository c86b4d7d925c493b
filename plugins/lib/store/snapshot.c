#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/die.h"
#include "base/log.h"
#include "store/snapshot.h"

#define GP_SNAPSHOT_DEBOUNCE_MS 100 /* changes come in groups */
#define GP_SNAPSHOT_INTERVAL_MS 1000 /* from one to the next */
#define GP_SNAPSHOT_RETRY_MS 2000 /* a disk that was full */
#define GP_SNAPSHOT_HEAD_FMT "{\"snapshot\":\"%s\",\"written\":%" PRId64 ",\"records\":%10" PRIu64 "}\n"

struct gp_snapshot_file {
    const char *path; /* for texts */
    FILE *stream;
    uint64_t records;
};

struct gp_snapshot {
    char *path, *path_new;
    const char *kind;
    int64_t refresh_ms;
    gp_snapshot_fill_pt fill;
    void *data;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop, dirty;
};


int gp_snapshot_add(gp_snapshot_file_t *file, const char *json, gp_err_t *err)
{
    if (fputs(json, file->stream) < 0 || fputc('\n', file->stream) < 0) {
        return gp_err_errno(err, errno, "the snapshot %s cannot be written", file->path);
    }
    file->records++;

    return 0;
}


/* The head is written last, over its place: it counts the records, so it has a fixed length. */
static int gp_snapshot_write_stream(gp_snapshot_t *snapshot, gp_snapshot_file_t *file, gp_err_t *err)
{
    int64_t now = gp_clock_epoch_s(); /* before anything is read */
    int rc;

    if (fprintf(file->stream, GP_SNAPSHOT_HEAD_FMT, snapshot->kind, now, (uint64_t) 0) < 0) {
        return gp_err_errno(err, errno, "the snapshot %s cannot be written", snapshot->path);
    }
    rc = snapshot->fill(file, snapshot->data, err);
    if (rc < 0) {
        return rc;
    }
    if (fseek(file->stream, 0, SEEK_SET) != 0 || fprintf(file->stream, GP_SNAPSHOT_HEAD_FMT, snapshot->kind, now, file->records) < 0 ||
        fflush(file->stream) != 0 || fsync(fileno(file->stream)) != 0) {
        return gp_err_errno(err, errno, "the snapshot %s cannot be written", snapshot->path);
    }

    return 0;
}


static int gp_snapshot_write(gp_snapshot_t *snapshot, gp_err_t *err)
{
    gp_auto_file FILE *stream = NULL;
    gp_auto_fd int fd = -1;
    gp_snapshot_file_t file = {.path = snapshot->path};
    int rc;

    /* What a killed writer left is not trusted to have the right mode. */
    (void) unlink(snapshot->path_new);
    fd = open(snapshot->path_new, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    stream = fd < 0 ? NULL : fdopen(fd, "w");
    if (stream == NULL) {
        return gp_err_errno(err, errno, "the snapshot %s cannot be written", snapshot->path);
    }
    (void) gp_steal_fd(&fd); /* the stream's now */
    file.stream = stream;

    rc = gp_snapshot_write_stream(snapshot, &file, err);
    if (rc == 0 && rename(snapshot->path_new, snapshot->path) != 0) {
        rc = gp_err_errno(err, errno, "the snapshot %s cannot be replaced", snapshot->path);
    }
    if (rc < 0) {
        (void) unlink(snapshot->path_new);
    }

    return rc;
}


/* Sleeps until woken, or for ms; negative: for ever. Under the lock. */
static void gp_snapshot_sleep(gp_snapshot_t *snapshot, int64_t ms)
{
    struct timespec until;

    if (ms < 0) {
        (void) pthread_cond_wait(&snapshot->wake, &snapshot->lock);
        return;
    }
    (void) clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += ms % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    (void) pthread_cond_timedwait(&snapshot->wake, &snapshot->lock, &until);
}


/* Until it is time to write again; false: it ends, and nothing is left to write. */
static bool gp_snapshot_wait(gp_snapshot_t *snapshot, uint64_t last_ms, bool failed)
{
    uint64_t rest_ms = failed ? GP_SNAPSHOT_RETRY_MS : GP_SNAPSHOT_INTERVAL_MS;
    uint64_t changed_ms = 0;
    bool go = false;

    (void) pthread_mutex_lock(&snapshot->lock);
    while (!go && !snapshot->stop) {
        uint64_t now = gp_clock_ms();

        if (snapshot->dirty || failed) {
            changed_ms = changed_ms ? changed_ms : now;
            uint64_t due_ms = changed_ms + GP_SNAPSHOT_DEBOUNCE_MS;

            due_ms = due_ms > last_ms + rest_ms ? due_ms : last_ms + rest_ms;
            go = now >= due_ms;
            if (!go) {
                gp_snapshot_sleep(snapshot, (int64_t) (due_ms - now));
            }
        } else if (snapshot->refresh_ms > 0) {
            go = now >= last_ms + (uint64_t) snapshot->refresh_ms;
            if (!go) {
                gp_snapshot_sleep(snapshot, (int64_t) (last_ms + (uint64_t) snapshot->refresh_ms - now));
            }
        } else {
            gp_snapshot_sleep(snapshot, -1);
        }
    }
    go = go || snapshot->dirty;
    snapshot->dirty = false;
    (void) pthread_mutex_unlock(&snapshot->lock);

    return go;
}


static void *gp_snapshot_run(void *data)
{
    gp_snapshot_t *snapshot = data;
    uint64_t last_ms = 0;
    bool failed = false;

    while (gp_snapshot_wait(snapshot, last_ms, failed)) {
        gp_err_t err = GP_ERR_INIT;
        int rc = gp_snapshot_write(snapshot, &err);

        if (rc < 0 && !failed) {
            gp_log(GP_LOG_ERROR, "the gateway's snapshot is out of date; trying again", "error", err.text, NULL);
        } else if (rc == 0 && failed) {
            gp_log(GP_LOG_INFO, "the gateway's snapshot is written again", "path", snapshot->path, NULL);
        }
        failed = rc < 0;
        last_ms = gp_clock_ms();
    }

    return NULL;
}


static gp_snapshot_t *gp_snapshot_free(gp_snapshot_t *snapshot)
{
    (void) pthread_cond_destroy(&snapshot->wake);
    (void) pthread_mutex_destroy(&snapshot->lock);
    free(snapshot->path);
    free(snapshot->path_new);
    free(snapshot);

    return NULL;
}


int gp_snapshot_start(const char *path, const char *kind, int64_t refresh_s, gp_snapshot_fill_pt fill, void *data,
                      gp_snapshot_t **ret_snapshot, gp_err_t *err)
{
    gp_snapshot_t *snapshot = calloc(1, sizeof(*snapshot));
    pthread_condattr_t attr;
    int rc;

    if (snapshot == NULL || asprintf(&snapshot->path_new, "%s.new", path) < 0) {
        gp_die("out of memory: a snapshot");
    }
    snapshot->path = strdup(path);
    if (snapshot->path == NULL) {
        gp_die("out of memory: a snapshot");
    }
    snapshot->kind = kind;
    snapshot->refresh_ms = refresh_s * 1000;
    snapshot->fill = fill;
    snapshot->data = data;
    snapshot->dirty = true;
    (void) pthread_mutex_init(&snapshot->lock, NULL);
    (void) pthread_condattr_init(&attr);
    (void) pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void) pthread_cond_init(&snapshot->wake, &attr);
    (void) pthread_condattr_destroy(&attr);

    rc = pthread_create(&snapshot->thread, NULL, gp_snapshot_run, snapshot);
    if (rc != 0) {
        (void) gp_snapshot_free(snapshot);
        return gp_err_errno(err, rc, "the thread that writes %s cannot start", path);
    }
    *ret_snapshot = snapshot;

    return 0;
}


void gp_snapshot_wake(gp_snapshot_t *snapshot)
{
    if (snapshot != NULL) {
        (void) pthread_mutex_lock(&snapshot->lock);
        snapshot->dirty = true;
        (void) pthread_cond_signal(&snapshot->wake);
        (void) pthread_mutex_unlock(&snapshot->lock);
    }
}


gp_snapshot_t *gp_snapshot_stop(gp_snapshot_t *snapshot)
{
    if (snapshot == NULL) {
        return NULL;
    }
    (void) pthread_mutex_lock(&snapshot->lock);
    snapshot->stop = true;
    (void) pthread_cond_signal(&snapshot->wake);
    (void) pthread_mutex_unlock(&snapshot->lock);
    (void) pthread_join(snapshot->thread, NULL);

    return gp_snapshot_free(snapshot);
}
