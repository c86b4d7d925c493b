#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "job.h"

#define CNT_SLOT_POLL_MS 100

static pthread_mutex_t cnt_job_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cnt_job_cond = PTHREAD_COND_INITIALIZER;
static cnt_job_t cnt_jobs[CNT_JOBS_MAX];
static unsigned cnt_slots_left;


/* Waits for a change, at most until end_ms (CLOCK_MONOTONIC). Lock held. */
static void cnt_job_wait(uint64_t end_ms)
{
    uint64_t now = gp_clock_ms();
    uint64_t pause = end_ms > now ? end_ms - now : 0;
    struct timespec until;

    (void) clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t) (pause / 1000);
    until.tv_nsec += (long) (pause % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    (void) pthread_cond_timedwait(&cnt_job_cond, &cnt_job_lock, &until); /* time-out and wake-up are the same to the caller */
}


static cnt_job_t *cnt_job_find(const char *id)
{
    size_t i;

    for (i = 0; i < CNT_JOBS_MAX; i++) {
        if (cnt_jobs[i].used && strcmp(cnt_jobs[i].id, id) == 0) {
            return &cnt_jobs[i];
        }
    }

    return NULL;
}


static cnt_job_t *cnt_job_new(const char *id)
{
    size_t i;

    for (i = 0; i < CNT_JOBS_MAX; i++) {
        if (!cnt_jobs[i].used) {
            (void) snprintf(cnt_jobs[i].id, sizeof(cnt_jobs[i].id), "%s", id);
            cnt_jobs[i].used = true;
            atomic_store(&cnt_jobs[i].cancelled, false);
            return &cnt_jobs[i];
        }
    }

    return NULL;
}


int cnt_job_begin(const char *id, bool cancel_other, unsigned wait_ms, cnt_job_t **ret_job, gp_err_t *err)
{
    uint64_t end = gp_clock_ms() + wait_ms;
    cnt_job_t *other;
    int rc = 0;

    (void) pthread_mutex_lock(&cnt_job_lock);
    while ((other = cnt_job_find(id)) && gp_clock_ms() < end) {
        if (cancel_other) {
            atomic_store(&other->cancelled, true);
        }
        cnt_job_wait(end);
    }
    if (other) {
        rc = gp_err(err, GP_ABORTED, "the content of workspace %s is being worked on by another call: try again", id);
    } else {
        *ret_job = cnt_job_new(id);
        if (!*ret_job) {
            rc = gp_err(err, GP_RESOURCE_EXHAUSTED, "content of %d workspaces is being worked on already: try again in a moment",
                        CNT_JOBS_MAX);
        }
    }
    (void) pthread_mutex_unlock(&cnt_job_lock);

    return rc;
}


void cnt_job_end(cnt_job_t *job)
{
    (void) pthread_mutex_lock(&cnt_job_lock);
    job->used = false;
    (void) pthread_cond_broadcast(&cnt_job_cond);
    (void) pthread_mutex_unlock(&cnt_job_lock);
}


void cnt_slot_init(unsigned n)
{
    cnt_slots_left = n;
}


int cnt_slot_take(bool (*cancelled)(void *data), void *data, gp_err_t *err)
{
    int rc = 0;

    (void) pthread_mutex_lock(&cnt_job_lock);
    while (cnt_slots_left == 0 && rc == 0) {
        cnt_job_wait(gp_clock_ms() + CNT_SLOT_POLL_MS);
        if (cancelled(data)) {
            rc = gp_err(err, GP_CANCELED, "cancelled while it waited for other clones");
        }
    }
    if (rc == 0) {
        cnt_slots_left--;
    }
    (void) pthread_mutex_unlock(&cnt_job_lock);

    return rc;
}


void cnt_slot_give(void)
{
    (void) pthread_mutex_lock(&cnt_job_lock);
    cnt_slots_left++;
    (void) pthread_cond_broadcast(&cnt_job_cond);
    (void) pthread_mutex_unlock(&cnt_job_lock);
}
