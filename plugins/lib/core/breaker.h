#pragma once
#include <stdbool.h>
#include <stdint.h>

/*
 * A circuit breaker as a value. It has no clock, no memory, no lock and no dice of its own: the caller brings the time
 * (milliseconds that never go back), 32 random bits and exclusion. All zero is a closed breaker that knows nothing.
 *
 * closed      everything passes; failures in a row, or too large a share of them, open it
 * open        nothing passes until the time is over
 * half open   a fixed number of requests passes; all of them good: on, one of them bad or lost: open again, for longer
 * recovering  a growing share passes
 *
 * Each opening begins an era. What becomes of a request of an earlier era says nothing about this one and is not counted.
 */
#define GP_BREAKER_PROBES_MAX 8

enum gp_breaker_phase { GP_BREAKER_CLOSED = 0, GP_BREAKER_OPEN, GP_BREAKER_HALF_OPEN, GP_BREAKER_RECOVERING, GP_BREAKER_PHASES_N };

/* Why a request counts as failed. */
enum gp_breaker_reason {
    GP_BREAKER_NONE = 0, /* it does not */
    GP_BREAKER_CONNECT,
    GP_BREAKER_ERROR,
    GP_BREAKER_TIMEOUT,
    GP_BREAKER_HTTP_500,
    GP_BREAKER_HTTP_502,
    GP_BREAKER_HTTP_503,
    GP_BREAKER_HTTP_504,
    GP_BREAKER_CHECK,
    GP_BREAKER_REASONS_N
};

enum gp_breaker_answer {
    GP_BREAKER_ADMIT = 0,
    GP_BREAKER_REFUSE,
    GP_BREAKER_ASK /* of gp_breaker_look(): it depends on a change of the value, so gp_breaker_admit() has to say */
};

typedef struct {
    uint32_t failures; /* in a row that open it; 0: not judged by this */
    uint32_t ratio; /* per cent of the window that open it; 0: not judged by this */
    uint32_t min; /* requests in the window, before the ratio says anything */
    uint32_t window_ms; /* begins with the first failure */
    uint32_t base_ms; /* open: base x 2^k less up to a quarter, at most the cap */
    uint32_t cap_ms;
    uint32_t half_open; /* requests that must pass: 1 .. GP_BREAKER_PROBES_MAX */
    uint32_t probe_ms; /* one of them that takes longer has failed */
    uint32_t ramp_ms; /* of recovering; 0: closed at once */
} gp_breaker_policy_t;

typedef struct {
    uint64_t until_ms;
    int32_t pid; /* 0: free */
    uint32_t serial;
} gp_breaker_probe_t;

typedef struct {
    uint64_t since_ms; /* of the phase */
    uint64_t until_ms; /* its end: open, recovering */
    uint64_t window_ms; /* when the window began */
    uint32_t window_n; /* 0: there is no window */
    uint32_t window_failed;
    uint32_t failures; /* in a row */
    uint32_t round; /* openings without a quiet window between them */
    uint32_t era;
    uint32_t serial; /* of the last probe */
    uint32_t passed; /* probes of this phase */
    uint8_t phase;
    uint8_t reason; /* of the last opening */
    gp_breaker_probe_t probes[GP_BREAKER_PROBES_MAX];
} gp_breaker_t;

/* What an admitted request keeps until it is judged. serial 0: it is no probe. */
typedef struct {
    uint32_t era;
    uint32_t serial;
} gp_breaker_pass_t;

/* The phase at this moment: that of the value, unless its time is over. */
enum gp_breaker_phase gp_breaker_phase(const gp_breaker_t *b, uint64_t now_ms);

/* May a request pass? Changes nothing. */
enum gp_breaker_answer gp_breaker_look(const gp_breaker_t *b, const gp_breaker_policy_t *policy, uint64_t now_ms, uint32_t random);

/* The same, and takes a place among the probes where one is needed: GP_BREAKER_ADMIT or GP_BREAKER_REFUSE. */
enum gp_breaker_answer gp_breaker_admit(gp_breaker_t *b, const gp_breaker_policy_t *policy, uint64_t now_ms, uint32_t random, int32_t pid,
                                        gp_breaker_pass_t *ret_pass);

/* What became of an admitted request. true: the value has changed. */
bool gp_breaker_judge(gp_breaker_t *b, const gp_breaker_policy_t *policy, gp_breaker_pass_t pass, enum gp_breaker_reason reason,
                      uint64_t now_ms, uint32_t random);

/* Nobody will know what became of it: its place is free again. true: the value has changed. */
bool gp_breaker_abandon(gp_breaker_t *b, gp_breaker_pass_t pass);

/* The same for every probe of a process that is gone. */
bool gp_breaker_forget(gp_breaker_t *b, int32_t pid);

/* Opens one that is closed or recovering. true: the value has changed. */
bool gp_breaker_trip(gp_breaker_t *b, const gp_breaker_policy_t *policy, enum gp_breaker_reason reason, uint64_t now_ms, uint32_t random);

/* Ends open and half open, as good probes do. true: the value has changed. */
bool gp_breaker_restore(gp_breaker_t *b, const gp_breaker_policy_t *policy, uint64_t now_ms);

/* As good as one that knows nothing. */
bool gp_breaker_idle(const gp_breaker_t *b, const gp_breaker_policy_t *policy, uint64_t now_ms);

/* Milliseconds until it is worth asking again; 0 when closed, or when a probe is under way. */
uint64_t gp_breaker_retry_ms(const gp_breaker_t *b, uint64_t now_ms);

/* "closed", "open", "half_open", "recovering" */
const char *gp_breaker_phase_name(enum gp_breaker_phase phase);

/* "none", "connect", "error", "timeout", "http_500", ..., "check" */
const char *gp_breaker_reason_name(enum gp_breaker_reason reason);
