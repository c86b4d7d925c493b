/*
 * Readers and a writer that is killed over and over share one ring of events.
 * Built and run by event_ring_survives_killed_writers.t.
 *
 * Claims: a reader never sees an event that was not written as a whole, never
 * one twice or out of order, and none is missing between two that it read one
 * after the other; who asks for what followed an id gets just that, or is told
 * that it is gone. After each kill the ring works on.
 */

#include "ngx_gitpod_zone.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RING_BYTES 65536
#define DATA_MAX 900
#define READERS_N 4 /* of each kind two */
#define BURST_N 40

typedef struct {
    ngx_gitpod_zone_t zone;
    ngx_slab_pool_t pool;
    uint64_t writes;
    uint64_t reads;
    uint64_t finds;
    uint64_t gone;
    uint64_t edges;
    uint64_t torn;
    uint64_t twice;
    uint64_t missed;
    uint32_t stop;
} shared_t;

static shared_t *shared;

/* There is one writer at a time, and the kernel wakes nobody. */
void ngx_shmtx_lock(ngx_shmtx_t *mutex) {}
void ngx_shmtx_unlock(ngx_shmtx_t *mutex) {}

static void count(uint64_t *counter, uint64_t n)
{
    __atomic_add_fetch(counter, n, __ATOMIC_RELAXED);
}

static size_t length_of(uint64_t id)
{
    return 2 + id * 7919 % DATA_MAX;
}
static u_char byte_of(uint64_t id, size_t i)
{
    return (u_char) ('a' + (id + i / 64) % 26);
}

static void writer(unsigned seed)
{
    static char data[DATA_MAX + 2];
    ngx_gitpod_events_state_t state;
    gp_event_t event = {.kind = {"workspace", 9}, .user = {"11111111-1111-4111-8111-111111111111", GP_USER_ID_LEN}};

    for (;;) {
        for (unsigned n = 0; n < BURST_N; n++) {
            ngx_gitpod_events_state(&shared->zone.events, &state);
            event.id = state.last + 1;
            event.data.ptr = data;
            event.data.len = length_of(event.id);
            for (size_t i = 0; i < event.data.len; i++) {
                data[i] = (char) byte_of(event.id, i);
            }
            if (ngx_gitpod_events_push(&shared->zone, &event) != NGX_OK || ngx_gitpod_events_push(&shared->zone, &event) == NGX_OK) {
                _exit(3);
            }
            shared->writes++;
        }
        nanosleep(&(struct timespec){0, 1000 * (long) (seed % 300)}, NULL);
    }
}

static int is_whole(const ngx_gitpod_event_t *event, const u_char *data)
{
    if (event->data_len != length_of(event->id) || event->kind_len != 9 || memcmp(event->kind, "workspace", 9) != 0) {
        return 0;
    }
    for (size_t i = 0; i < event->data_len; i++) {
        if (data[i] != byte_of(event->id, i)) {
            return 0;
        }
    }
    return 1;
}

/* Goes on after an id that it knows, as a client does that comes back; 0: it is gone. */
static uint64_t find(uint64_t *position, uint64_t id)
{
    ngx_gitpod_events_state_t state;

    count(&shared->finds, 1);
    if (ngx_gitpod_events_find(&shared->zone.events, id, position) == NGX_OK) {
        return id;
    }
    count(&shared->gone, 1);
    ngx_gitpod_events_state(&shared->zone.events, &state);
    *position = state.head;
    return state.last;
}

/* The oldest entry goes the moment that it is read: it is whole, and the right one, or gone. */
static void edge_reader(unsigned seed)
{
    static u_char data[GP_EVENT_RECORD_MAX];
    ngx_gitpod_events_state_t state;
    ngx_gitpod_event_t event;
    uint64_t position;

    while (!__atomic_load_n(&shared->stop, __ATOMIC_ACQUIRE)) {
        ngx_gitpod_events_state(&shared->zone.events, &state);
        position = state.tail;
        if (seed % 2 && ngx_gitpod_events_find(&shared->zone.events, state.floor, &position) != NGX_OK) {
            continue;
        }
        if (ngx_gitpod_events_read(&shared->zone.events, &position, &event, data) == NGX_OK) {
            count(&shared->edges, 1);
            count(&shared->torn, !is_whole(&event, data));
            count(&shared->missed, event.id != state.floor + 1);
        }
    }
}

static void reader(unsigned seed)
{
    static u_char data[GP_EVENT_RECORD_MAX];
    ngx_gitpod_event_t event;
    uint64_t position = 0, last = 0, n = 0;

    while (!__atomic_load_n(&shared->stop, __ATOMIC_ACQUIRE)) {
        ngx_int_t rc = ngx_gitpod_events_read(&shared->zone.events, &position, &event, data);

        if (rc == NGX_DECLINED || (rc == NGX_OK && ++n % 97 == seed)) {
            last = find(&position, last);
            continue;
        }
        if (rc != NGX_OK) {
            continue;
        }
        count(&shared->reads, 1);
        count(&shared->torn, !is_whole(&event, data));
        count(&shared->twice, event.id <= last);
        count(&shared->missed, event.id > last + 1);
        last = event.id;
    }
}

static pid_t start(void (*code)(unsigned), unsigned seed)
{
    pid_t pid = fork();

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        code(seed);
        _exit(0);
    }
    return pid;
}

/* What the test wants to have happened, also where readers seldom get a processor. */
static int enough(void)
{
    return __atomic_load_n(&shared->writes, __ATOMIC_RELAXED) > 10000 && __atomic_load_n(&shared->reads, __ATOMIC_RELAXED) > 10000 &&
           __atomic_load_n(&shared->edges, __ATOMIC_RELAXED) > 10000 &&
           __atomic_load_n(&shared->finds, __ATOMIC_RELAXED) > __atomic_load_n(&shared->gone, __ATOMIC_RELAXED) + 100;
}

int main(int argc, char **argv)
{
    unsigned kills_min = argc > 1 ? (unsigned) strtoul(argv[1], NULL, 10) : 300, kills;
    u_char *memory = mmap(NULL, sizeof(shared_t) + RING_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANON, -1, 0);
    pid_t readers[READERS_N];
    int lost = 0;

    if (memory == MAP_FAILED) {
        return 2;
    }
    shared = (shared_t *) (void *) memory;
    shared->zone.shpool = &shared->pool;
    ngx_gitpod_events_init(&shared->zone.events, memory + sizeof(shared_t), RING_BYTES);
    for (unsigned i = 0; i < READERS_N; i++) {
        readers[i] = start(i < READERS_N / 2 ? reader : edge_reader, 7 + i);
    }
    for (kills = 0; kills < kills_min || (!enough() && kills < 10 * kills_min); kills++) {
        int status;
        pid_t pid = start(writer, kills);
        nanosleep(&(struct timespec){0, 1000 * (200 + (long) kills * 7919 % 5000)}, NULL);
        kill(pid, SIGKILL);
        waitpid(pid, &status, 0);
        lost += WIFEXITED(status);
    }
    __atomic_store_n(&shared->stop, 1, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < READERS_N; i++) {
        int status;
        waitpid(readers[i], &status, 0);
        lost += !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    }
    printf("kills=%u writes=%lu reads=%lu finds=%lu gone=%lu edges=%lu torn=%lu twice=%lu missed=%lu lost=%d\n", kills,
           (unsigned long) shared->writes, (unsigned long) shared->reads, (unsigned long) shared->finds, (unsigned long) shared->gone,
           (unsigned long) shared->edges, (unsigned long) shared->torn, (unsigned long) shared->twice, (unsigned long) shared->missed,
           lost);
    return 0;
}
