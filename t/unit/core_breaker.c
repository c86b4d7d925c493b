#include "core/breaker.h"
#include "tap.h"

#define NONE GP_BREAKER_NONE
#define T0 1000000

static const gp_breaker_policy_t usual = {
    .failures = 5, .ratio = 50, .min = 20, .window_ms = 10000, .base_ms = 1000, .cap_ms = 30000, .half_open = 1, .probe_ms = 10000};

static gp_breaker_pass_t pass;


static void say(gp_breaker_t *b, const gp_breaker_policy_t *policy, enum gp_breaker_reason reason, unsigned times, uint64_t now)
{
    while (times--) {
        (void) gp_breaker_admit(b, policy, now, 0, 7, &pass);
        (void) gp_breaker_judge(b, policy, pass, reason, now, 0);
    }
}


static void test_failures_in_a_row(void)
{
    gp_breaker_t b = {0};

    say(&b, &usual, GP_BREAKER_CONNECT, 4, T0);
    is_int(gp_breaker_phase(&b, T0), GP_BREAKER_CLOSED, "four failures leave it closed");
    say(&b, &usual, NONE, 1, T0);
    say(&b, &usual, GP_BREAKER_CONNECT, 4, T0);
    is_int(gp_breaker_phase(&b, T0), GP_BREAKER_CLOSED, "a good one between them begins the row anew");
    say(&b, &usual, GP_BREAKER_TIMEOUT, 1, T0);
    is_int(gp_breaker_phase(&b, T0), GP_BREAKER_OPEN, "the fifth in a row opens it");
    is_int(b.reason, GP_BREAKER_TIMEOUT, "with the reason of the last");
    is_int(gp_breaker_look(&b, &usual, T0 + 999, 0), GP_BREAKER_REFUSE, "nothing passes before its time is over");
    is_int(gp_breaker_retry_ms(&b, T0 + 400), 600, "it says when that is");
    is_int(gp_breaker_look(&b, &usual, T0 + 1000, 0), GP_BREAKER_ASK, "then somebody has to ask");
}


static void test_share(void)
{
    gp_breaker_policy_t policy = usual;
    gp_breaker_t b = {0};

    policy.failures = 0;
    say(&b, &policy, GP_BREAKER_ERROR, 1, T0);
    say(&b, &policy, NONE, 8, T0 + 1);
    say(&b, &policy, GP_BREAKER_ERROR, 8, T0 + 2);
    is_int(b.window_n, 17, "the window counts from its first failure");
    say(&b, &policy, GP_BREAKER_ERROR, 2, T0 + 3);
    is_int(gp_breaker_phase(&b, T0 + 3), GP_BREAKER_CLOSED, "below the minimum no share says anything");
    say(&b, &policy, GP_BREAKER_ERROR, 1, T0 + 4);
    is_int(gp_breaker_phase(&b, T0 + 4), GP_BREAKER_OPEN, "at the minimum the share opens it");

    b = (gp_breaker_t){0};
    say(&b, &policy, GP_BREAKER_ERROR, 19, T0);
    say(&b, &policy, GP_BREAKER_ERROR, 19, T0 + 10000);
    is_int(b.window_n, 19, "a window that is over counts no more");
    is_int(gp_breaker_phase(&b, T0 + 10000), GP_BREAKER_CLOSED, "and what was in it opens nothing");

    b = (gp_breaker_t){0};
    say(&b, &policy, GP_BREAKER_ERROR, 1, T0);
    say(&b, &policy, NONE, 1, T0 + 10000);
    ok(!gp_breaker_judge(&b, &policy, pass, NONE, T0 + 10000, 0), "after it good requests change nothing any more");
    ok(gp_breaker_idle(&b, &policy, T0 + 10000), "and the breaker is as good as new");
}


/* One that just opened for the n-th time in a row. */
static uint64_t opened(gp_breaker_t *b, unsigned n, uint32_t random)
{
    uint64_t now = T0;

    *b = (gp_breaker_t){0};
    (void) gp_breaker_trip(b, &usual, GP_BREAKER_CONNECT, now, random);
    while (--n) {
        now = b->until_ms;
        (void) gp_breaker_admit(b, &usual, now, 0, 7, &pass);
        (void) gp_breaker_judge(b, &usual, pass, GP_BREAKER_CONNECT, now, random);
    }
    return b->until_ms - b->since_ms;
}


static void test_backoff(void)
{
    gp_breaker_t b;
    unsigned n, inside = 0, shortest = 30000;

    is_int(opened(&b, 1, 0), 1000, "the first time is the base");
    is_int(opened(&b, 2, 0), 2000, "the second is twice that");
    is_int(opened(&b, 5, 0), 16000, "the fifth sixteen times");
    is_int(opened(&b, 6, 0), 30000, "none is above the cap");
    is_int(opened(&b, 200, 0), 30000, "however often it opens");
    for (n = 0; n < 10000; n++) {
        uint64_t ms = opened(&b, 6, n * 2654435761u);
        inside += ms <= 30000 && ms >= 22500;
        if (ms < shortest) {
            shortest = (unsigned) ms;
        }
    }
    is_int(inside, 10000, "jitter shortens it by at most a quarter");
    ok(shortest < 22600, "and uses all of that quarter");
}


static void test_round_ends(void)
{
    gp_breaker_t b;
    uint64_t now;

    (void) opened(&b, 3, 0);
    now = b.until_ms;
    say(&b, &usual, NONE, 1, now);
    is_int(gp_breaker_phase(&b, now), GP_BREAKER_CLOSED, "a good probe closes it");
    say(&b, &usual, GP_BREAKER_CONNECT, 5, now + 9999);
    is_int(b.until_ms - b.since_ms, 8000, "opening again within a window goes on doubling");
    now = b.until_ms;
    say(&b, &usual, NONE, 1, now);
    say(&b, &usual, GP_BREAKER_CONNECT, 5, now + 10000);
    is_int(b.until_ms - b.since_ms, 1000, "after a quiet window it begins with the base");
}


static void test_half_open(void)
{
    gp_breaker_policy_t policy = usual;
    gp_breaker_pass_t probes[3], one, late;
    gp_breaker_t b = {0};
    unsigned n, admitted = 0;

    policy.half_open = 3;
    (void) gp_breaker_admit(&b, &policy, T0, 0, 7, &late);
    say(&b, &policy, GP_BREAKER_CONNECT, 5, T0);
    for (n = 0; n < 100; n++) {
        if (gp_breaker_admit(&b, &policy, T0 + 1000, 0, 7, &one) == GP_BREAKER_ADMIT && admitted++ < 3) {
            probes[admitted - 1] = one;
        }
    }
    is_int(admitted, 3, "half open admits as many as it shall");
    is_int(gp_breaker_look(&b, &policy, T0 + 1001, 0), GP_BREAKER_REFUSE, "and refuses others without a change");
    ok(!gp_breaker_judge(&b, &policy, late, NONE, T0 + 1001, 0), "a good answer of an earlier era is no probe");
    ok(gp_breaker_judge(&b, &policy, probes[0], NONE, T0 + 1001, 0), "a good probe counts");
    ok(!gp_breaker_judge(&b, &policy, probes[0], NONE, T0 + 1001, 0), "once");
    is_int(gp_breaker_look(&b, &policy, T0 + 1001, 0), GP_BREAKER_REFUSE, "and makes no room");
    ok(gp_breaker_abandon(&b, probes[1]), "an abandoned one");
    is_int(gp_breaker_admit(&b, &policy, T0 + 1002, 0, 7, &probes[1]), GP_BREAKER_ADMIT, "does");
    (void) gp_breaker_judge(&b, &policy, probes[1], NONE, T0 + 1003, 0);
    is_int(gp_breaker_phase(&b, T0 + 1003), GP_BREAKER_HALF_OPEN, "two of three are not enough");
    (void) gp_breaker_judge(&b, &policy, probes[2], NONE, T0 + 1003, 0);
    is_int(gp_breaker_phase(&b, T0 + 1003), GP_BREAKER_CLOSED, "all three are");
    ok(!gp_breaker_judge(&b, &policy, late, GP_BREAKER_ERROR, T0 + 1004, 0), "failures of an earlier era are not counted");
    is_int(b.failures, 0, "really not");
}


static void test_lost_probes(void)
{
    gp_breaker_pass_t first, second;
    gp_breaker_t b = {0};

    say(&b, &usual, GP_BREAKER_CONNECT, 5, T0);
    (void) gp_breaker_admit(&b, &usual, T0 + 1000, 0, 41, &first);
    ok(!gp_breaker_forget(&b, 42), "another process has no probe");
    ok(gp_breaker_forget(&b, 41), "that of a dead process is forgotten");
    is_int(gp_breaker_admit(&b, &usual, T0 + 1001, 0, 42, &second), GP_BREAKER_ADMIT, "and the next takes its place");
    ok(!gp_breaker_judge(&b, &usual, first, GP_BREAKER_ERROR, T0 + 1002, 0), "what a forgotten one says is not heard");
    is_int(gp_breaker_look(&b, &usual, T0 + 11000, 0), GP_BREAKER_REFUSE, "a probe has its time");
    is_int(gp_breaker_look(&b, &usual, T0 + 11001, 0), GP_BREAKER_ASK, "then somebody has to ask");
    is_int(gp_breaker_admit(&b, &usual, T0 + 11001, 0, 42, &first), GP_BREAKER_REFUSE, "a late probe has failed");
    is_int(gp_breaker_phase(&b, T0 + 11001), GP_BREAKER_OPEN, "so it is open");
    is_int(b.reason, GP_BREAKER_TIMEOUT, "for the time it took");
    is_int(b.until_ms - b.since_ms, 2000, "for longer");
    ok(!gp_breaker_judge(&b, &usual, second, NONE, T0 + 11002, 0), "and its good answer comes too late");
}


static void test_recovering(void)
{
    gp_breaker_policy_t policy = usual;
    gp_breaker_t b = {0};
    unsigned n, early = 0, middle = 0, late = 0;

    policy.ramp_ms = 10000;
    say(&b, &policy, GP_BREAKER_CONNECT, 5, T0);
    say(&b, &policy, NONE, 1, T0 + 1000);
    is_int(gp_breaker_phase(&b, T0 + 1000), GP_BREAKER_RECOVERING, "after a good probe it recovers");
    for (n = 0; n < 1000; n++) {
        early += gp_breaker_look(&b, &policy, T0 + 1000, n) == GP_BREAKER_ADMIT;
        middle += gp_breaker_look(&b, &policy, T0 + 6000, n) == GP_BREAKER_ADMIT;
        late += gp_breaker_look(&b, &policy, T0 + 10999, n) == GP_BREAKER_ADMIT;
    }
    is_int(early, 100, "a tenth passes at the beginning");
    is_int(middle, 550, "the share grows with time");
    ok(late > 995, "to nearly all");
    is_int(gp_breaker_phase(&b, T0 + 11000), GP_BREAKER_CLOSED, "and then it is closed");
    say(&b, &policy, GP_BREAKER_CONNECT, 5, T0 + 11000);
    is_int(b.until_ms - b.since_ms, 2000, "opening at once goes on doubling");
}


static void test_check(void)
{
    gp_breaker_t b = {0};

    ok(!gp_breaker_restore(&b, &usual, T0), "a check that passes leaves a closed one alone");
    ok(gp_breaker_trip(&b, &usual, GP_BREAKER_CHECK, T0, 0), "a check that fails opens it");
    ok(!gp_breaker_trip(&b, &usual, GP_BREAKER_CHECK, T0 + 1, 0), "once");
    ok(gp_breaker_restore(&b, &usual, T0 + 10), "a check that passes closes it early");
    is_int(gp_breaker_phase(&b, T0 + 10), GP_BREAKER_CLOSED, "without a probe");
    ok(!gp_breaker_idle(&b, &usual, T0 + 10), "what is left to remember is how often it opened");
    ok(gp_breaker_idle(&b, &usual, T0 + 10010), "for a window");
}


static void test_names(void)
{
    unsigned n, named = 0;

    for (n = 0; n < GP_BREAKER_PHASES_N; n++) {
        named += strcmp(gp_breaker_phase_name((enum gp_breaker_phase) n), "unknown") != 0;
    }
    for (n = 0; n < GP_BREAKER_REASONS_N; n++) {
        named += strcmp(gp_breaker_reason_name((enum gp_breaker_reason) n), "unknown") != 0;
    }
    is_int(named, GP_BREAKER_PHASES_N + GP_BREAKER_REASONS_N, "every phase and reason has a name");
    is_str(gp_breaker_phase_name(GP_BREAKER_PHASES_N), "unknown", "and nothing else has");
    is_str(gp_breaker_reason_name(GP_BREAKER_CHECK), "check", "the right one");
}


int main(void)
{
    test_failures_in_a_row();
    test_share();
    test_backoff();
    test_round_ends();
    test_half_open();
    test_lost_probes();
    test_recovering();
    test_check();
    test_names();
    return tap_done();
}
