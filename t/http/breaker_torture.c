/*
 * Workers that are killed over and over, anywhere, the lock included, share
 * breakers of ngx_gitpod_module/shared. Built and run by
 * breaker_survives_killed_workers.t.
 *
 * Claims: no reader sees a breaker that was not written as a whole; no era goes
 * back; half open never has more probes under way than it shall; and whatever
 * was killed, each breaker can be closed again at the end, and no place of the
 * table is lost.
 */

#include "ngx_gitpod_zone.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WORKERS_N 6
#define ROUTES_N 24
#define RECORDS_N 16 /* fewer than routes: some are evicted */
#define TARGETS_N (ROUTES_N + 1) /* the last is a service */
#define HALF_OPEN 2
#define PENDING_N 8

typedef struct {
    ngx_gitpod_zone_t zone;
    ngx_slab_pool_t shpool;
    ngx_gitpod_breaker_t *breaker;
    uint64_t lock; /* pid of the holder */
    uint64_t now_ms;
    uint64_t admitted;
    uint64_t refused;
    uint64_t probes;
    uint64_t broken; /* values that cannot be */
    uint64_t back; /* eras that went back */
    uint64_t crowded; /* more probes than there shall be */
    uint64_t stolen; /* locks of killed workers */
    int32_t probers[TARGETS_N][HALF_OPEN + 4];
} shared_t;

static shared_t *shared;

static gp_breaker_policy_t policy = {.failures = 3,
                                     .ratio = 60,
                                     .min = 6,
                                     .window_ms = 50,
                                     .base_ms = 20,
                                     .cap_ms = 160,
                                     .half_open = HALF_OPEN,
                                     .probe_ms = 3600000,
                                     .ramp_ms = 5};

/* ---- what nginx gives the module ---- */

ngx_pid_t ngx_pid;

uint32_t ngx_murmur_hash2(u_char *data, size_t len)
{
    uint32_t hash = 2166136261u;

    while (len--) {
        hash = (hash ^ *data++) * 16777619u;
    }
    return hash;
}

/* The master unlocks what a dead worker holds; here whoever waits does. */
void ngx_shmtx_lock(ngx_shmtx_t *mtx)
{
    for (;;) {
        uint64_t holder = 0;

        if (__atomic_compare_exchange_n(&shared->lock, &holder, (uint64_t) ngx_pid, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
            return;
        }
        if (!ngx_gitpod_process_alive((ngx_pid_t) holder) &&
            __atomic_compare_exchange_n(&shared->lock, &holder, (uint64_t) ngx_pid, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
            __atomic_add_fetch(&shared->stolen, 1, __ATOMIC_RELAXED);
            return;
        }
        (void) sched_yield();
    }
}

void ngx_shmtx_unlock(ngx_shmtx_t *mtx)
{
    __atomic_store_n(&shared->lock, 0, __ATOMIC_SEQ_CST);
}

ngx_uint_t ngx_gitpod_process_alive(ngx_pid_t pid)
{
    return kill(pid, 0) == 0;
}

uint64_t ngx_gitpod_now_ms(void)
{
    return __atomic_load_n(&shared->now_ms, __ATOMIC_SEQ_CST);
}

/* ---- */

static void use_of(ngx_gitpod_breaker_use_t *use, unsigned target)
{
    u_char instance[GP_INSTANCE_ID_LEN];

    memset(use, 0, sizeof(*use));
    use->zone = &shared->zone;
    use->breaker = shared->breaker;
    use->policy = &policy;
    if (target < ROUTES_N) {
        memset(instance, 'a' + (int) target, sizeof(instance));
        ngx_gitpod_breaker_key(use, instance, sizeof(instance), 3000);
    }
}

static void count(uint64_t *counter, unsigned yes)
{
    if (yes) {
        __atomic_add_fetch(counter, 1, __ATOMIC_RELAXED);
    }
}

/* Of what the service's record says, read as any reader does. */
static void look(uint32_t *newest)
{
    gp_breaker_t b;
    uint64_t seq, open;
    unsigned live = 0;

    do {
        seq = __atomic_load_n(&shared->breaker->seq, __ATOMIC_ACQUIRE);
        b = shared->breaker->slots[seq & 1];
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
    } while (__atomic_load_n(&shared->breaker->seq, __ATOMIC_RELAXED) != seq);

    for (unsigned i = 0; i < GP_BREAKER_PROBES_MAX; i++) {
        live += b.probes[i].pid != 0;
    }
    open = b.until_ms - b.since_ms;
    count(&shared->broken, b.phase >= GP_BREAKER_PHASES_N || live + b.passed > HALF_OPEN || (live && b.phase != GP_BREAKER_HALF_OPEN) ||
                               (b.phase == GP_BREAKER_OPEN && (open > policy.cap_ms || open < policy.base_ms - policy.base_ms / 4)) ||
                               (b.phase == GP_BREAKER_RECOVERING && open != policy.ramp_ms));
    count(&shared->back, b.era < *newest);
    *newest = b.era;
}

/* Enters this process among the probers of a target; how many live there then? */
static unsigned crowd(unsigned target, int enter)
{
    unsigned n = 0, done = !enter;
    int32_t *places = shared->probers[target];

    for (unsigned i = 0; i < HALF_OPEN + 4; i++) {
        int32_t pid = __atomic_load_n(&places[i], __ATOMIC_SEQ_CST);

        if (pid == (int32_t) ngx_pid && !enter) {
            __atomic_store_n(&places[i], 0, __ATOMIC_SEQ_CST);
            return 0;
        }
        if (!done && (pid == 0 || !ngx_gitpod_process_alive(pid)) &&
            __atomic_compare_exchange_n(&places[i], &pid, (int32_t) ngx_pid, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
            done = 1;
            n++;
            continue;
        }
        n += pid != 0 && ngx_gitpod_process_alive(pid);
    }
    return n;
}

static unsigned next_random(unsigned *state)
{
    *state = *state * 1103515245 + 12345;
    return *state >> 8;
}

static void finish(ngx_gitpod_breaker_use_t *use, unsigned target, unsigned random)
{
    if (use->pass.serial) {
        (void) crowd(target, 0);
    }
    if (random % 10 == 0) {
        ngx_gitpod_breaker_abandon(use);
    } else {
        ngx_gitpod_breaker_judge(use, random % 3 ? GP_BREAKER_NONE : GP_BREAKER_CONNECT);
    }
}

/* One probe at a time in a process, so that a process counts once. */
static void worker(unsigned seed)
{
    ngx_gitpod_breaker_use_t pending[PENDING_N];
    unsigned targets[PENDING_N], n = 0, probing = 0;
    uint32_t newest = 0;

    ngx_pid = getpid();
    srandom(seed);
    for (;;) {
        unsigned random = next_random(&seed), which;

        look(&newest);
        if (random % 4 == 0) {
            __atomic_add_fetch(&shared->now_ms, 1, __ATOMIC_SEQ_CST);
        }
        if (n == PENDING_N || (n && random % 3 == 0) || probing) {
            which = probing ? n - 1 : next_random(&seed) % n;
            finish(&pending[which], targets[which], next_random(&seed));
            probing = 0;
            pending[which] = pending[--n];
            targets[which] = targets[n];
            continue;
        }
        targets[n] = next_random(&seed) % TARGETS_N;
        use_of(&pending[n], targets[n]);
        if (ngx_gitpod_breaker_admit(&pending[n]) != NGX_OK) {
            count(&shared->refused, 1);
            continue;
        }
        count(&shared->admitted, 1);
        if (pending[n].pass.serial) {
            count(&shared->probes, 1);
            probing = 1;
            /* that of an evicted route is forgotten, so two may meet there */
            count(&shared->crowded, crowd(targets[n], 1) > HALF_OPEN && targets[n] == ROUTES_N);
        }
        n++;
    }
}

static pid_t start(unsigned seed)
{
    pid_t pid = fork();

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        worker(seed);
        _exit(0);
    }
    return pid;
}

/* Whatever the dead have left: good requests close each of them, soon. */
static unsigned closable(void)
{
    ngx_gitpod_breaker_use_t use;
    unsigned closed = 0;

    for (unsigned target = 0; target < TARGETS_N; target++) {
        for (unsigned i = 0; i < 10; i++) {
            use_of(&use, target);
            shared->now_ms += policy.cap_ms;
            if (ngx_gitpod_breaker_admit(&use) == NGX_OK) {
                ngx_gitpod_breaker_judge(&use, GP_BREAKER_NONE);
            }
        }
        use_of(&use, target);
        shared->now_ms += policy.cap_ms;
        closed += ngx_gitpod_breaker_admit(&use) == NGX_OK && use.phase == GP_BREAKER_CLOSED;
    }
    return closed;
}

/* The list drops what nobody asked for in a long time: then there is room for all again. */
static int no_place_lost(void)
{
    ngx_gitpod_breaker_info_t info;
    ngx_gitpod_table_t *table = &shared->zone.breaker_routes;
    gp_breaker_t value = {0};

    ngx_gitpod_table_repair(table);
    shared->now_ms += 2 * NGX_GITPOD_BREAKER_FORGET_MS;
    if (ngx_gitpod_breaker_list(&shared->zone, &info, 1) != 1 || table->live != 0) {
        return 0;
    }
    for (unsigned n = 0; n < RECORDS_N; n++) {
        u_char key = (u_char) n;
        if (ngx_gitpod_table_set(table, &key, 1, &value) != NGX_OK) {
            return 0;
        }
    }
    return ngx_gitpod_table_set(table, (u_char *) "one-more", 8, &value) == NGX_BUSY;
}

static void lay_out(u_char *memory)
{
    ngx_str_t name = ngx_string("service");

    shared->zone.shpool = &shared->shpool;
    ngx_gitpod_table_init(&shared->zone.breaker_routes, memory, RECORDS_N, NGX_GITPOD_BREAKER_KEY_MAX, sizeof(gp_breaker_t), 0);
    shared->now_ms = 1000000;
    ngx_gitpod_breaker_begin(&shared->zone);
    shared->breaker = ngx_gitpod_breaker_enter(&shared->zone, &name, 1);
}

int main(int argc, char **argv)
{
    unsigned kills = argc > 1 ? (unsigned) strtoul(argv[1], NULL, 10) : 300;
    size_t head = (sizeof(shared_t) + 63) & ~(size_t) 63;
    size_t size = ngx_gitpod_table_size(RECORDS_N, NGX_GITPOD_BREAKER_KEY_MAX, sizeof(gp_breaker_t), 0);
    pid_t workers[WORKERS_N];
    int lost = 0, status;

    shared = mmap(NULL, head + size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANON, -1, 0);
    if (shared == MAP_FAILED) {
        return 2;
    }
    ngx_pid = getpid();
    lay_out((u_char *) shared + head);
    for (unsigned i = 0; i < WORKERS_N; i++) {
        workers[i] = start(i + 1);
    }
    for (unsigned i = 0; i < kills + WORKERS_N; i++) {
        pid_t *victim = &workers[i % WORKERS_N];

        nanosleep(&(struct timespec){0, 1000 * (200 + (long) i * 7919 % 5000)}, NULL);
        kill(*victim, SIGKILL);
        waitpid(*victim, &status, 0);
        lost += WIFEXITED(status);
        *victim = i < kills ? start(1000 + i) : 0;
    }
    printf("kills=%u admitted=%lu refused=%lu probes=%lu opened=%lu stolen=%lu broken=%lu back=%lu crowded=%lu lost=%d\n", kills,
           (unsigned long) shared->admitted, (unsigned long) shared->refused, (unsigned long) shared->probes,
           (unsigned long) shared->breaker->opened, (unsigned long) shared->stolen, (unsigned long) shared->broken,
           (unsigned long) shared->back, (unsigned long) shared->crowded, lost);
    printf("closable=%u of=%u\n", closable(), TARGETS_N);
    printf("places=%d\n", no_place_lost());
    return 0;
}
