#include <string.h>

#include "base/clock.h"
#include "base/die.h"
#include "rpc/internal.h"
#include "rpc/message_codec.h"
#include "rpc/utf8.h"

/*
 * Checks run on a thread of their own, never on the loop or the pool: /health
 * is answered from memory, also while every handler thread is busy. A check
 * that hangs becomes a failure by its age.
 */
#define GP_HEALTH_TEXT_MAX 65536 /* bytes of the answer */


static void gp_health_round(gp_service_t *service)
{
    gp_health_t *health = &service->health;
    const gp_check_t *check;
    gp_err_t err;
    size_t i;
    int rc;

    pthread_mutex_lock(&health->lock);
    health->begun_ms = gp_clock_ms();
    pthread_mutex_unlock(&health->lock);

    for (i = 0; i < service->def->n_checks; i++) {
        check = &service->def->checks[i];
        err = (gp_err_t) GP_ERR_INIT;
        rc = check->fn(service->data, &err);

        pthread_mutex_lock(&health->lock);
        health->rc[i] = rc;
        memcpy(health->text[i], err.text, sizeof(err.text));
        pthread_mutex_unlock(&health->lock);
    }

    pthread_mutex_lock(&health->lock);
    health->done_ms = gp_clock_ms();
    pthread_mutex_unlock(&health->lock);
}


static void *gp_health_thread(void *data)
{
    gp_service_t *service = data;
    gp_health_t *health = &service->health;

    pthread_mutex_lock(&health->lock);
    while (!health->stop) {
        if (!health->ask) {
            pthread_cond_wait(&health->wanted, &health->lock);
            continue;
        }
        pthread_mutex_unlock(&health->lock);
        gp_health_round(service);
        pthread_mutex_lock(&health->lock);
        health->ask = false;
    }
    pthread_mutex_unlock(&health->lock);

    return NULL;
}


void gp_health_start(gp_service_t *service)
{
    gp_health_t *health = &service->health;

    gp_assert(service->def->n_checks <= GP_SERVICE_CHECKS_MAX);
    pthread_mutex_init(&health->lock, NULL);
    pthread_cond_init(&health->wanted, NULL);
    gp_health_round(service);

    if (service->def->n_checks > 0) {
        if (pthread_create(&health->thread, NULL, gp_health_thread, service) != 0) {
            gp_die("cannot start the thread of the health checks");
        }
        health->started = true;
    }
}


void gp_health_stop(gp_service_t *service)
{
    gp_health_t *health = &service->health;

    if (!health->started) {
        return;
    }

    pthread_mutex_lock(&health->lock);
    health->stop = true;
    pthread_cond_signal(&health->wanted);
    pthread_mutex_unlock(&health->lock);
    (void) pthread_join(health->thread, NULL);
}


static int gp_health_check_text(gp_buf_t *body, const char *name, int failed, const char *text)
{
    gp_auto_arena gp_arena_t *arena = gp_arena_new(8192);
    const char *repaired;
    int rc;

    repaired = failed ? gp_utf8_repair(arena, text[0] ? text : "failed") : "ok";
    rc = gp_codec_append_string(body, name, strlen(name));
    rc = rc ? rc : gp_buf_append(body, ":", 1);

    return rc ? rc : gp_codec_append_string(body, repaired, strlen(repaired));
}


/* The last results, under the lock. *ret_failed: one of them is no "ok". */
static int gp_health_text(gp_service_t *service, gp_buf_t *body, bool *ret_failed)
{
    gp_health_t *health = &service->health;
    uint64_t now;
    size_t i;
    bool stuck;
    int rc;

    now = gp_clock_ms();
    stuck = health->begun_ms > health->done_ms && now - health->begun_ms > GP_HEALTH_STALE_MS;
    *ret_failed = stuck;

    rc = 0;
    for (i = 0; i < service->def->n_checks && rc == 0; i++) {
        rc = i ? gp_buf_append(body, ",", 1) : 0;
        rc = rc ? rc : gp_health_check_text(body, service->def->checks[i].name, health->rc[i] != 0, health->text[i]);
        *ret_failed = *ret_failed || health->rc[i] != 0;
    }
    if (rc == 0 && stuck) {
        rc = gp_buf_append(body, ",", 1);
        rc = rc ? rc : gp_health_check_text(body, "checks", 1, "a check has not returned for more than 30 s");
    }

    if (!health->ask && now - health->done_ms >= GP_HEALTH_INTERVAL_MS) {
        health->ask = true;
        pthread_cond_signal(&health->wanted);
    }

    return rc;
}


void gp_health_reply(gp_service_t *service, gp_fcgi_request_t *req)
{
    gp_auto_buf gp_buf_t checks = {.limit = GP_HEALTH_TEXT_MAX};
    gp_auto_buf gp_buf_t body = {.limit = GP_HEALTH_TEXT_MAX};
    const char *status;
    bool failed;
    int rc;

    pthread_mutex_lock(&service->health.lock);
    rc = gp_health_text(service, &checks, &failed);
    pthread_mutex_unlock(&service->health.lock);

    status = failed ? "unavailable" : "ok";
    if (gp_service_stopping(service)) {
        status = "stopping";
        failed = true;
    }

    rc = rc ? rc : gp_buf_printf(&body, "{\"status\":\"%s\",\"checks\":{%s}}", status, checks.data ? checks.data : "");
    if (rc != 0) {
        gp_die("out of memory: the health answer");
    }
    gp_reply_bytes(req, failed ? 503 : 200, "application/json", NULL, body.data, body.len);
}
