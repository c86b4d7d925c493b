#include <stdlib.h>
#include <string.h>

#include "core/breaker.h"

/*
 * The first bytes are the policy, the rest is what happens: time passes, requests come, answers come in any order or never, processes die.
 * Whatever happens: half open never lets more through than it shall, nothing passes an open one, an open time stays in its bounds.
 */
#define PENDING_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
    gp_breaker_policy_t policy;
    gp_breaker_t b;
    uint64_t now;
    gp_breaker_pass_t pending[PENDING_MAX];
    int pids[PENDING_MAX];
    unsigned n;
} world_t;


static void must(int true_thing)
{
    if (!true_thing) {
        abort();
    }
}


static void check(const world_t *w)
{
    unsigned n, live = 0;
    uint64_t open;

    must(w->b.phase < GP_BREAKER_PHASES_N && w->b.reason < GP_BREAKER_REASONS_N);
    for (n = 0; n < GP_BREAKER_PROBES_MAX; n++) {
        live += w->b.probes[n].pid != 0;
    }
    must(live == 0 || w->b.phase == GP_BREAKER_HALF_OPEN);
    must(live + w->b.passed <= w->policy.half_open);
    must(w->b.window_failed <= w->b.window_n || w->b.window_n == 0);
    if (w->b.phase == GP_BREAKER_OPEN) {
        open = w->b.until_ms - w->b.since_ms;
        must(open <= w->policy.cap_ms && open >= w->policy.base_ms - w->policy.base_ms / 4 && w->b.round >= 1);
    }
    must(gp_breaker_retry_ms(&w->b, w->now) <= (w->policy.cap_ms > w->policy.ramp_ms ? w->policy.cap_ms : w->policy.ramp_ms));
}


static void request(world_t *w, uint32_t random)
{
    enum gp_breaker_phase phase = gp_breaker_phase(&w->b, w->now);
    enum gp_breaker_answer looked = gp_breaker_look(&w->b, &w->policy, w->now, random), answer;
    gp_breaker_pass_t pass = {0};
    gp_breaker_t before = w->b;

    if (w->n == PENDING_MAX) {
        return;
    }
    answer = gp_breaker_admit(&w->b, &w->policy, w->now, random, 1 + random % 3, &pass);
    must(answer == GP_BREAKER_ADMIT || answer == GP_BREAKER_REFUSE);
    must(looked == GP_BREAKER_ASK || (looked == answer && memcmp(&before, &w->b, sizeof(before)) == 0));
    must(phase != GP_BREAKER_OPEN || answer == GP_BREAKER_REFUSE);
    must(phase != GP_BREAKER_CLOSED || answer == GP_BREAKER_ADMIT);
    must((phase == GP_BREAKER_HALF_OPEN && answer == GP_BREAKER_ADMIT) == (pass.serial != 0));
    if (answer == GP_BREAKER_ADMIT) {
        w->pids[w->n] = 1 + random % 3;
        w->pending[w->n++] = pass;
    }
}


static void answer(world_t *w, uint8_t which, uint8_t reason)
{
    uint32_t era = w->b.era;
    unsigned n;

    if (w->n == 0) {
        return;
    }
    n = which % w->n;
    if (reason == 255) {
        (void) gp_breaker_abandon(&w->b, w->pending[n]);
    } else {
        (void) gp_breaker_judge(&w->b, &w->policy, w->pending[n], (enum gp_breaker_reason)(reason % GP_BREAKER_REASONS_N), w->now, reason);
    }
    must(w->pending[n].era == era || w->b.era == era);
    w->pending[n] = w->pending[--w->n];
    w->pids[n] = w->pids[w->n];
}


static void step(world_t *w, uint8_t what, uint8_t more)
{
    gp_breaker_t before = w->b;

    switch (what % 8) {
    case 0:
        w->now += (uint64_t) more << (what / 8 % 12);
        break;
    case 1:
    case 2:
    case 3:
        request(w, more * 16777619u + what);
        break;
    case 4:
    case 5:
        answer(w, what / 8, more);
        break;
    case 6:
        (void) gp_breaker_forget(&w->b, more % 4);
        break;
    default:
        if (more & 1) {
            must(gp_breaker_trip(&w->b, &w->policy, GP_BREAKER_CHECK, w->now, more) || memcmp(&before, &w->b, sizeof(before)) == 0);
        } else {
            must(gp_breaker_restore(&w->b, &w->policy, w->now) || memcmp(&before, &w->b, sizeof(before)) == 0);
        }
    }
    check(w);
}


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    world_t w = {.now = 1000000};

    if (size < 9) {
        return 0;
    }
    w.policy = (gp_breaker_policy_t){.failures = data[0] % 6,
                                     .ratio = data[1] % 101,
                                     .min = 1 + data[2] % 8,
                                     .window_ms = 1 + data[3] * 16u,
                                     .base_ms = 10 + data[4] * 4u,
                                     .half_open = 1 + data[6] % GP_BREAKER_PROBES_MAX,
                                     .probe_ms = 1 + data[7] * 8u,
                                     .ramp_ms = data[8] * 8u};
    w.policy.cap_ms = w.policy.base_ms * (1u + data[5]);
    for (data += 9, size -= 9; size >= 2; data += 2, size -= 2) {
        step(&w, data[0], data[1]);
    }
    return 0;
}
