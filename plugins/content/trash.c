#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/random.h"
#include "trash.h"

#define CNT_TRASH_DEPTH_MAX 100 /* deeper trees are lifted to the top first: descriptors and stack are bounded */
#define CNT_TRASH_RETRY_S 60 /* what could not be removed is tried again */

static struct {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    int root;
    bool running, stop, wake;
} cnt_trash = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};

static int cnt_trash_remove_at(int top, int parent, const char *name, int depth);


/* A tree too deep: its lower part is put beside the top and removed from there. */
static int cnt_trash_lift(int top, int parent, const char *name)
{
    char aside[32] = ".deep-";

    gp_random_text(GP_ALPHABET_ID, aside + 6, 16);
    if (renameat(parent, name, top, aside) < 0) {
        return -1;
    }

    return cnt_trash_remove_at(top, top, aside, 1);
}


static int cnt_trash_empty(int top, int dir, int depth)
{
    gp_auto_dir DIR *list = NULL;
    struct dirent *entry;
    int copy = fcntl(dir, F_DUPFD_CLOEXEC, 0), rc = 0;

    list = copy < 0 ? NULL : fdopendir(copy);
    if (!list) {
        gp_close_fd(&copy);
        return -1;
    }
    while ((entry = readdir(list)) && !cnt_trash.stop) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        rc |= cnt_trash_remove_at(top, dir, entry->d_name, depth + 1);
    }

    return rc;
}


static int cnt_trash_remove_at(int top, int parent, const char *name, int depth)
{
    gp_auto_fd int dir = -1;

    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT) {
        return 0;
    }
    if (errno != EISDIR && errno != EPERM) {
        return -1;
    }
    if (unlinkat(parent, name, AT_REMOVEDIR) == 0) {
        return 0;
    }
    if (depth > CNT_TRASH_DEPTH_MAX) {
        return cnt_trash_lift(top, parent, name);
    }
    dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0) {
        return -1;
    }
    if (cnt_trash_empty(top, dir, depth) < 0) {
        return -1;
    }

    return unlinkat(parent, name, AT_REMOVEDIR);
}


int cnt_trash_remove_tree(int parent, const char *name, gp_err_t *err)
{
    if (cnt_trash_remove_at(parent, parent, name, 0) < 0) {
        return gp_err_errno(err, errno, "removing %s", name);
    }

    return 0;
}


int cnt_trash_put(int root, const char *id, gp_err_t *err)
{
    char name[sizeof(CNT_TRASH_DIR) + 1 + 64 + 1 + 16 + 1];
    int n;

    n = snprintf(name, sizeof(name), CNT_TRASH_DIR "/%.64s-", id);
    gp_random_text(GP_ALPHABET_ID, name + n, 16);
    if (renameat(root, id, root, name) < 0 && errno != ENOENT) {
        return gp_err_errno(err, errno, "moving the content of workspace %s aside", id);
    }

    return 0;
}


/* 0: nothing is left. */
static int cnt_trash_pass(int root)
{
    gp_auto_fd int dir = openat(root, CNT_TRASH_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int rc;

    rc = dir < 0 ? -1 : cnt_trash_empty(dir, dir, 0);
    if (rc < 0 && !cnt_trash.stop) {
        gp_log(GP_LOG_WARN, "some deleted content could not be removed yet; it is tried again", "error", strerror(errno), NULL);
    }

    return rc;
}


static void *cnt_trash_loop(void *data)
{
    struct timespec until;
    int rc;

    (void) data;
    (void) pthread_mutex_lock(&cnt_trash.lock);
    while (!cnt_trash.stop) {
        cnt_trash.wake = false;
        (void) pthread_mutex_unlock(&cnt_trash.lock);
        rc = cnt_trash_pass(cnt_trash.root);
        (void) pthread_mutex_lock(&cnt_trash.lock);
        (void) clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += CNT_TRASH_RETRY_S;
        while (!cnt_trash.stop && !cnt_trash.wake) {
            if (rc == 0) {
                (void) pthread_cond_wait(&cnt_trash.cond, &cnt_trash.lock);
            } else if (pthread_cond_timedwait(&cnt_trash.cond, &cnt_trash.lock, &until) == ETIMEDOUT) {
                break;
            }
        }
    }
    (void) pthread_mutex_unlock(&cnt_trash.lock);

    return NULL;
}


int cnt_trash_start(int root, gp_err_t *err)
{
    int rc;

    cnt_trash.root = root;
    rc = pthread_create(&cnt_trash.thread, NULL, cnt_trash_loop, NULL);
    if (rc != 0) {
        return gp_err_errno(err, rc, "starting the thread that removes content");
    }
    cnt_trash.running = true;

    return 0;
}


void cnt_trash_wake(void)
{
    (void) pthread_mutex_lock(&cnt_trash.lock);
    cnt_trash.wake = true;
    (void) pthread_cond_signal(&cnt_trash.cond);
    (void) pthread_mutex_unlock(&cnt_trash.lock);
}


void cnt_trash_stop(void)
{
    if (!cnt_trash.running) {
        return;
    }
    (void) pthread_mutex_lock(&cnt_trash.lock);
    cnt_trash.stop = true;
    (void) pthread_cond_signal(&cnt_trash.cond);
    (void) pthread_mutex_unlock(&cnt_trash.lock);
    (void) pthread_join(cnt_trash.thread, NULL);
    cnt_trash.running = false;
}
