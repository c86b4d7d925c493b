#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/die.h"
#include "core/code.h"
#include "net/pool.h"

struct gp_pool {
    pthread_mutex_t lock;
    pthread_cond_t work;
    pthread_cond_t idle;
    void (*fn)(void *job);
    void *queue[GP_POOL_QUEUE_MAX];
    unsigned first;
    atomic_uint waiting; /* changes under the lock */
    atomic_uint running; /* changes without: a thread of others that loses the processor here stops nobody */
    unsigned sleeping;
    bool waking; /* a thread has been woken and does not run yet */
    atomic_bool stop;
    unsigned threads_n;
    pthread_t threads[];
};


/* Threads of others that have entered count: what is bounded is how many run. */
static bool gp_pool_has_work(gp_pool_t *pool)
{
    return atomic_load(&pool->waiting) > 0 && atomic_load(&pool->running) < pool->threads_n;
}


/* One more runs, if it may. */
static bool gp_pool_run_one(gp_pool_t *pool)
{
    unsigned n;

    n = atomic_load(&pool->running);
    while (n < pool->threads_n) {
        if (atomic_compare_exchange_weak(&pool->running, &n, n + 1)) {
            return true;
        }
    }

    return false;
}


/*
 * Whether the caller is to wake a thread once it has let go of the lock. One at
 * a time: the woken one wakes the next while jobs wait. A signal for each job
 * has all threads runnable at once, each taking the processor from the loop
 * that feeds them, and then losing it with a job in hand.
 */
static bool gp_pool_wants_thread(gp_pool_t *pool)
{
    if (!gp_pool_has_work(pool) || pool->sleeping == 0 || pool->waking) {
        return false;
    }
    pool->waking = true;

    return true;
}


static bool gp_pool_ended(gp_pool_t *pool)
{
    return atomic_load(&pool->stop) && atomic_load(&pool->waiting) == 0;
}


/* One job less has ended what there was to wait for; under the lock. */
static void gp_pool_finished(gp_pool_t *pool)
{
    if (gp_pool_ended(pool) && atomic_load(&pool->running) == 0) {
        pthread_cond_signal(&pool->idle);
        pthread_cond_broadcast(&pool->work);
    }
}


static void *gp_pool_thread(void *data)
{
    gp_pool_t *pool = data;
    void *job;
    bool wake;

    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (!gp_pool_ended(pool) && !(atomic_load(&pool->waiting) > 0 && gp_pool_run_one(pool))) {
            pool->sleeping++;
            pthread_cond_wait(&pool->work, &pool->lock);
            pool->sleeping--;
            pool->waking = false;
        }
        if (gp_pool_ended(pool)) {
            break;
        }

        job = pool->queue[pool->first];
        pool->first = (pool->first + 1) % GP_POOL_QUEUE_MAX;
        atomic_fetch_sub(&pool->waiting, 1);
        wake = gp_pool_wants_thread(pool);
        pthread_mutex_unlock(&pool->lock);

        if (wake) {
            pthread_cond_signal(&pool->work);
        }
        pool->fn(job);

        pthread_mutex_lock(&pool->lock);
        atomic_fetch_sub(&pool->running, 1);
        gp_pool_finished(pool);
    }
    pthread_mutex_unlock(&pool->lock);

    return NULL;
}


gp_pool_t *gp_pool_new(unsigned threads, void (*fn)(void *job))
{
    pthread_condattr_t clock;
    pthread_attr_t attr;
    gp_pool_t *pool;
    unsigned i;

    gp_assert(threads > 0 && threads <= GP_POOL_THREADS_MAX);

    pool = calloc(1, sizeof(gp_pool_t) + threads * sizeof(pthread_t));
    if (pool == NULL) {
        gp_die("out of memory: handler pool");
    }

    pool->fn = fn;
    pool->threads_n = threads;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->idle, &clock);
    pthread_condattr_destroy(&clock);

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, GP_POOL_STACK);
    for (i = 0; i < threads; i++) {
        if (pthread_create(&pool->threads[i], &attr, gp_pool_thread, pool) != 0) {
            gp_die("cannot start thread %u of the handler pool: raise the limit of processes", i);
        }
    }
    pthread_attr_destroy(&attr);

    return pool;
}


int gp_pool_submit(gp_pool_t *pool, void *job)
{
    bool wake;
    int rc;

    rc = -GP_RESOURCE_EXHAUSTED;
    pthread_mutex_lock(&pool->lock);
    if (atomic_load(&pool->waiting) < GP_POOL_QUEUE_MAX && !atomic_load(&pool->stop)) {
        pool->queue[(pool->first + atomic_load(&pool->waiting)) % GP_POOL_QUEUE_MAX] = job;
        atomic_fetch_add(&pool->waiting, 1);
        rc = 0;
    }
    wake = gp_pool_wants_thread(pool);
    pthread_mutex_unlock(&pool->lock);

    if (wake) {
        pthread_cond_signal(&pool->work);
    }

    return rc;
}


bool gp_pool_enter(gp_pool_t *pool)
{
    return atomic_load(&pool->waiting) == 0 && !atomic_load(&pool->stop) && gp_pool_run_one(pool);
}


void gp_pool_leave(gp_pool_t *pool)
{
    bool wake;

    /* in this order: whoever queues a job or waits for the end looks at running after it has said so */
    atomic_fetch_sub(&pool->running, 1);
    if (atomic_load(&pool->waiting) == 0 && !atomic_load(&pool->stop)) {
        return;
    }

    pthread_mutex_lock(&pool->lock);
    gp_pool_finished(pool);
    wake = gp_pool_wants_thread(pool);
    pthread_mutex_unlock(&pool->lock);

    if (wake) {
        pthread_cond_signal(&pool->work);
    }
}


unsigned gp_pool_busy(gp_pool_t *pool)
{
    unsigned n;

    pthread_mutex_lock(&pool->lock);
    n = atomic_load(&pool->waiting) + atomic_load(&pool->running);
    pthread_mutex_unlock(&pool->lock);

    return n;
}


bool gp_pool_drain(gp_pool_t *pool, uint64_t deadline_ms)
{
    struct timespec until;
    unsigned i;
    int rc;

    until.tv_sec = (time_t) (deadline_ms / 1000);
    until.tv_nsec = (long) (deadline_ms % 1000) * 1000000;

    rc = 0;
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->stop, true);
    pthread_cond_broadcast(&pool->work);
    while (atomic_load(&pool->waiting) + atomic_load(&pool->running) > 0 && rc == 0) {
        rc = pthread_cond_timedwait(&pool->idle, &pool->lock, &until);
    }
    rc = atomic_load(&pool->waiting) + atomic_load(&pool->running) > 0;
    pthread_mutex_unlock(&pool->lock);

    if (rc != 0) {
        return false;
    }

    for (i = 0; i < pool->threads_n; i++) {
        (void) pthread_join(pool->threads[i], NULL);
    }
    pthread_mutex_destroy(&pool->lock);
    pthread_cond_destroy(&pool->work);
    pthread_cond_destroy(&pool->idle);
    free(pool);

    return true;
}
