#pragma once

#include <stdint.h>

#include "loop.h"

#define SUP_PROBE_PATH_MAX 256
#define SUP_PROBE_ANSWER_MAX 4096 /* bytes of an answer that we look at */

/* One GET to a port of this container, from the loop. */
typedef struct sup_probe sup_probe_t;

struct sup_probe {
    uint16_t port;
    char path[SUP_PROBE_PATH_MAX];
    sup_watch_t watch;
    sup_timer_t timer;
    char answer[SUP_PROBE_ANSWER_MAX];
    size_t len;
    int sent;
    void (*fn)(sup_probe_t *probe, int status, const char *body);
    void *data;
};

/* http://<host>:<port>/<path>; the host is this container whatever it says. Errors: INVALID_ARGUMENT. */
int sup_probe_init(sup_probe_t *probe, const char *url, void *data, gp_err_t *err) __attribute__((warn_unused_result));
/* fn runs once, possibly at once: status 0 when there was no answer within timeout_ms. body is NUL-terminated, maybe cut. */
void sup_probe_start(sup_probe_t *probe, uint64_t timeout_ms, void (*fn)(sup_probe_t *, int, const char *));
void sup_probe_cancel(sup_probe_t *probe);
/* Pure: status of "HTTP/1.x NNN ..."; 0 when it is none. */
int sup_probe_status(const char *answer, size_t len);
