#include "core/breaker.h"

#include <stddef.h>

#define GP_BREAKER_ROUNDS_MAX 32 /* 2^32 times the base is above any cap */
#define GP_BREAKER_SHARE_FIRST 100 /* of 1000: what passes when recovering begins */


static uint64_t gp_breaker_closed_since(const gp_breaker_t *b)
{
    return b->phase == GP_BREAKER_RECOVERING ? b->until_ms : b->since_ms;
}


static bool gp_breaker_window_over(const gp_breaker_t *b, const gp_breaker_policy_t *policy, uint64_t now_ms)
{
    return b->window_n == 0 || now_ms >= b->window_ms + policy->window_ms;
}


/* The whole time doubles, so jitter shortens it: no two gateways, and no two breakers, try in step. */
static uint64_t gp_breaker_open_ms(const gp_breaker_policy_t *policy, uint32_t round, uint32_t random)
{
    uint64_t ms;

    ms = (uint64_t) policy->base_ms << (round - 1);
    if (ms > policy->cap_ms) {
        ms = policy->cap_ms;
    }

    return ms - random % (ms / 4 + 1);
}


static void gp_breaker_clear_counts(gp_breaker_t *b)
{
    size_t i;

    b->failures = 0;
    b->window_n = 0;
    b->window_failed = 0;
    b->passed = 0;
    for (i = 0; i < GP_BREAKER_PROBES_MAX; i++) {
        b->probes[i] = (gp_breaker_probe_t){0};
    }
}


static void gp_breaker_open_it(gp_breaker_t *b, const gp_breaker_policy_t *policy, enum gp_breaker_reason reason, uint64_t now_ms,
                               uint32_t random)
{
    bool quiet;

    quiet = b->phase != GP_BREAKER_HALF_OPEN && now_ms >= gp_breaker_closed_since(b) + policy->window_ms;
    b->round = quiet ? 1 : b->round + 1;
    if (b->round > GP_BREAKER_ROUNDS_MAX) {
        b->round = GP_BREAKER_ROUNDS_MAX;
    }

    gp_breaker_clear_counts(b);
    b->phase = GP_BREAKER_OPEN;
    b->reason = (uint8_t) reason;
    b->since_ms = now_ms;
    b->until_ms = now_ms + gp_breaker_open_ms(policy, b->round, random);
    b->era++;
}


static void gp_breaker_close_it(gp_breaker_t *b, const gp_breaker_policy_t *policy, uint64_t now_ms)
{
    gp_breaker_clear_counts(b);
    b->phase = policy->ramp_ms ? GP_BREAKER_RECOVERING : GP_BREAKER_CLOSED;
    b->since_ms = now_ms;
    b->until_ms = now_ms + policy->ramp_ms;
}


enum gp_breaker_phase gp_breaker_phase(const gp_breaker_t *b, uint64_t now_ms)
{
    if (b->phase == GP_BREAKER_OPEN && now_ms >= b->until_ms) {
        return GP_BREAKER_HALF_OPEN;
    }
    if (b->phase == GP_BREAKER_RECOVERING && now_ms >= b->until_ms) {
        return GP_BREAKER_CLOSED;
    }

    return (enum gp_breaker_phase) b->phase;
}


/* A place is free, or whoever has one is late and gp_breaker_admit() must see to it. */
static bool gp_breaker_probe_wanted(const gp_breaker_t *b, const gp_breaker_policy_t *policy, uint64_t now_ms)
{
    uint32_t taken;
    size_t i;

    if (b->phase == GP_BREAKER_OPEN) {
        return true;
    }

    taken = b->passed;
    for (i = 0; i < GP_BREAKER_PROBES_MAX; i++) {
        if (b->probes[i].pid != 0 && now_ms >= b->probes[i].until_ms) {
            return true;
        }
        taken += b->probes[i].pid != 0;
    }

    return taken < policy->half_open;
}


static bool gp_breaker_ramp_admits(const gp_breaker_t *b, uint64_t now_ms, uint32_t random)
{
    uint64_t whole, gone;

    whole = b->until_ms - b->since_ms;
    gone = now_ms > b->since_ms ? now_ms - b->since_ms : 0;

    return random % 1000 < GP_BREAKER_SHARE_FIRST + (1000 - GP_BREAKER_SHARE_FIRST) * gone / whole;
}


enum gp_breaker_answer gp_breaker_look(const gp_breaker_t *b, const gp_breaker_policy_t *policy, uint64_t now_ms, uint32_t random)
{
    switch (gp_breaker_phase(b, now_ms)) {
    case GP_BREAKER_OPEN:
        return GP_BREAKER_REFUSE;
    case GP_BREAKER_HALF_OPEN:
        return gp_breaker_probe_wanted(b, policy, now_ms) ? GP_BREAKER_ASK : GP_BREAKER_REFUSE;
    case GP_BREAKER_RECOVERING:
        return gp_breaker_ramp_admits(b, now_ms, random) ? GP_BREAKER_ADMIT : GP_BREAKER_REFUSE;
    case GP_BREAKER_CLOSED:
    case GP_BREAKER_PHASES_N:
    default:
        return GP_BREAKER_ADMIT;
    }
}


static bool gp_breaker_probe_is_late(const gp_breaker_t *b, uint64_t now_ms)
{
    size_t i;

    for (i = 0; i < GP_BREAKER_PROBES_MAX; i++) {
        if (b->probes[i].pid != 0 && now_ms >= b->probes[i].until_ms) {
            return true;
        }
    }

    return false;
}


static uint32_t gp_breaker_probe_take(gp_breaker_t *b, const gp_breaker_policy_t *policy, uint64_t now_ms, int32_t pid)
{
    size_t i;

    for (i = 0; i < GP_BREAKER_PROBES_MAX; i++) {
        if (b->probes[i].pid == 0) {
            b->serial += b->serial == UINT32_MAX ? 2 : 1; /* never 0 */
            b->probes[i] = (gp_breaker_probe_t){now_ms + policy->probe_ms, pid, b->serial};
            return b->serial;
        }
    }

    return 0;
}


enum gp_breaker_answer gp_breaker_admit(gp_breaker_t *b, const gp_breaker_policy_t *policy, uint64_t now_ms, uint32_t random, int32_t pid,
                                        gp_breaker_pass_t *ret_pass)
{
    enum gp_breaker_answer answer;

    if (b->phase == GP_BREAKER_HALF_OPEN && gp_breaker_probe_is_late(b, now_ms)) {
        gp_breaker_open_it(b, policy, GP_BREAKER_TIMEOUT, now_ms, random);
    }

    answer = gp_breaker_look(b, policy, now_ms, random);
    if (answer == GP_BREAKER_ASK) {
        if (b->phase == GP_BREAKER_OPEN) {
            b->phase = GP_BREAKER_HALF_OPEN;
            b->since_ms = now_ms;
        }
        *ret_pass = (gp_breaker_pass_t){b->era, gp_breaker_probe_take(b, policy, now_ms, pid)};
        return ret_pass->serial != 0 ? GP_BREAKER_ADMIT : GP_BREAKER_REFUSE;
    }

    *ret_pass = (gp_breaker_pass_t){b->era, 0};
    return answer;
}


static bool gp_breaker_count_good(gp_breaker_t *b, const gp_breaker_policy_t *policy, uint64_t now_ms)
{
    if (b->failures == 0 && b->window_n == 0) {
        return false;
    }

    b->failures = 0;
    if (gp_breaker_window_over(b, policy, now_ms)) {
        b->window_n = 0;
    } else if (b->window_n < UINT32_MAX) {
        b->window_n++;
    }

    return true;
}


static bool gp_breaker_count_bad(gp_breaker_t *b, const gp_breaker_policy_t *policy, enum gp_breaker_reason reason, uint64_t now_ms,
                                 uint32_t random)
{
    bool in_a_row, share;

    if (gp_breaker_window_over(b, policy, now_ms)) {
        b->window_ms = now_ms;
        b->window_n = 0;
        b->window_failed = 0;
    }
    b->window_n += b->window_n < UINT32_MAX;
    b->window_failed += b->window_failed < UINT32_MAX;
    b->failures += b->failures < UINT32_MAX;

    in_a_row = policy->failures != 0 && b->failures >= policy->failures;
    share = policy->ratio != 0 && b->window_n >= policy->min && (uint64_t) b->window_failed * 100 >= (uint64_t) b->window_n * policy->ratio;
    if (in_a_row || share) {
        gp_breaker_open_it(b, policy, reason, now_ms, random);
    }

    return true;
}


static gp_breaker_probe_t *gp_breaker_probe_find(gp_breaker_t *b, gp_breaker_pass_t pass)
{
    size_t i;

    if (pass.serial == 0 || pass.era != b->era) {
        return NULL;
    }

    for (i = 0; i < GP_BREAKER_PROBES_MAX; i++) {
        if (b->probes[i].pid != 0 && b->probes[i].serial == pass.serial) {
            return &b->probes[i];
        }
    }

    return NULL;
}


bool gp_breaker_judge(gp_breaker_t *b, const gp_breaker_policy_t *policy, gp_breaker_pass_t pass, enum gp_breaker_reason reason,
                      uint64_t now_ms, uint32_t random)
{
    gp_breaker_probe_t *probe;

    if (pass.era != b->era) {
        return false;
    }

    if (b->phase == GP_BREAKER_CLOSED || b->phase == GP_BREAKER_RECOVERING) {
        return reason == GP_BREAKER_NONE ? gp_breaker_count_good(b, policy, now_ms)
                                         : gp_breaker_count_bad(b, policy, reason, now_ms, random);
    }

    probe = gp_breaker_probe_find(b, pass);
    if (probe == NULL) {
        return false;
    }

    if (reason != GP_BREAKER_NONE) {
        gp_breaker_open_it(b, policy, reason, now_ms, random);
        return true;
    }

    *probe = (gp_breaker_probe_t){0};
    b->passed++;
    if (b->passed >= policy->half_open) {
        gp_breaker_close_it(b, policy, now_ms);
    }

    return true;
}


bool gp_breaker_abandon(gp_breaker_t *b, gp_breaker_pass_t pass)
{
    gp_breaker_probe_t *probe;

    probe = gp_breaker_probe_find(b, pass);
    if (probe == NULL) {
        return false;
    }
    *probe = (gp_breaker_probe_t){0};

    return true;
}


bool gp_breaker_forget(gp_breaker_t *b, int32_t pid)
{
    bool changed;
    size_t i;

    changed = false;
    for (i = 0; i < GP_BREAKER_PROBES_MAX; i++) {
        if (b->probes[i].pid != 0 && b->probes[i].pid == pid) {
            b->probes[i] = (gp_breaker_probe_t){0};
            changed = true;
        }
    }

    return changed;
}


bool gp_breaker_trip(gp_breaker_t *b, const gp_breaker_policy_t *policy, enum gp_breaker_reason reason, uint64_t now_ms, uint32_t random)
{
    if (b->phase != GP_BREAKER_CLOSED && b->phase != GP_BREAKER_RECOVERING) {
        return false;
    }
    gp_breaker_open_it(b, policy, reason, now_ms, random);

    return true;
}


bool gp_breaker_restore(gp_breaker_t *b, const gp_breaker_policy_t *policy, uint64_t now_ms)
{
    if (b->phase != GP_BREAKER_OPEN && b->phase != GP_BREAKER_HALF_OPEN) {
        return false;
    }
    gp_breaker_close_it(b, policy, now_ms);

    return true;
}


bool gp_breaker_idle(const gp_breaker_t *b, const gp_breaker_policy_t *policy, uint64_t now_ms)
{
    return gp_breaker_phase(b, now_ms) == GP_BREAKER_CLOSED && b->failures == 0 && gp_breaker_window_over(b, policy, now_ms) &&
           (b->round == 0 || now_ms >= gp_breaker_closed_since(b) + policy->window_ms);
}


uint64_t gp_breaker_retry_ms(const gp_breaker_t *b, uint64_t now_ms)
{
    enum gp_breaker_phase phase;

    phase = gp_breaker_phase(b, now_ms);

    return phase == GP_BREAKER_OPEN || phase == GP_BREAKER_RECOVERING ? b->until_ms - now_ms : 0;
}


const char *gp_breaker_phase_name(enum gp_breaker_phase phase)
{
    static const char *const names[] = {"closed", "open", "half_open", "recovering"};

    return (unsigned) phase < GP_BREAKER_PHASES_N ? names[phase] : "unknown";
}


const char *gp_breaker_reason_name(enum gp_breaker_reason reason)
{
    static const char *const names[] = {"none", "connect", "error", "timeout", "http_500", "http_502", "http_503", "http_504", "check"};

    return (unsigned) reason < GP_BREAKER_REASONS_N ? names[reason] : "unknown";
}
