/*
 * Readers and a writer that is killed over and over share one table of
 * ngx_gitpod_module/shared. Built and run by table_survives_killed_writers.t.
 *
 * Claims: a reader never sees a value that was not written as a whole; never
 * an older one after a newer one; and never misses a key that was there all the
 * time. After each kill the table works on.
 *
 * "crowded": all keys are at home in one group, so that records pass others and
 * move between groups; and their values are of many lengths, in two pieces.
 */

#include "ngx_gitpod_table.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RECORDS_N 64
#define KEYS_N 56 /* so that the table is never full */
#define STABLE_N 12 /* these are never removed */
#define WORDS_N 24
#define READERS_N 2
#define HEAD 64 /* bytes of a record that lie together, when crowded */

typedef struct {
    uint64_t key;
    uint64_t version;
    uint64_t words[WORDS_N];
} value_t;

typedef struct {
    ngx_gitpod_table_t table;
    uint64_t version;
    uint64_t writes;
    uint64_t reads;
    uint64_t torn;
    uint64_t older;
    uint64_t missed;
    uint64_t moves; /* between groups, that a writer was killed in */
    uint32_t stop;
} shared_t;

static shared_t *shared;
static unsigned crowded;

/* The one of nginx is in its binary; any will do. */
uint32_t ngx_murmur_hash2(u_char *data, size_t len)
{
    uint32_t hash = 2166136261u;

    while (len--) {
        hash = (hash ^ *data++) * 16777619u;
    }
    return crowded ? hash & 3 : hash;
}

static size_t key_of(u_char *key, unsigned n)
{
    return (size_t) snprintf((char *) key, 16, "key-%u", n);
}

static unsigned next_random(unsigned *state)
{
    *state = *state * 1103515245 + 12345;
    return *state >> 8;
}

/* How many of its words a value has. */
static unsigned words_of(uint64_t version)
{
    return crowded ? (unsigned) (version % (WORDS_N + 1)) : WORDS_N;
}

static void write_value(unsigned n)
{
    value_t value;
    u_char key[16];
    size_t len = key_of(key, n);

    value.key = n;
    value.version = __atomic_add_fetch(&shared->version, 1, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; i < words_of(value.version); i++) {
        value.words[i] = value.version * 31 + n;
    }
    if (ngx_gitpod_table_put(&shared->table, key, len, &value, offsetof(value_t, words) + words_of(value.version) * sizeof(uint64_t)) !=
        NGX_OK) {
        _exit(3);
    }
    shared->writes++;
}

static void writer(unsigned seed)
{
    u_char key[16];

    shared->moves += shared->table.move != 0;
    if (seed % 2) { /* as the worker does that takes the lease, or as any other writer */
        ngx_gitpod_table_repair(&shared->table);
    }
    for (;;) {
        unsigned n = next_random(&seed) % KEYS_N;
        if (n < STABLE_N || next_random(&seed) % 3) {
            write_value(n);
        } else {
            ngx_gitpod_table_remove(&shared->table, key, key_of(key, n));
        }
    }
}

static void reader(unsigned seed)
{
    uint64_t newest[KEYS_N] = {0};
    value_t value;
    u_char key[16];

    while (!__atomic_load_n(&shared->stop, __ATOMIC_ACQUIRE)) {
        unsigned n = next_random(&seed) % KEYS_N;
        ngx_int_t rc = ngx_gitpod_table_get(&shared->table, key, key_of(key, n), &value);

        __atomic_add_fetch(&shared->reads, 1, __ATOMIC_RELAXED);
        if (rc != NGX_OK) {
            __atomic_add_fetch(&shared->missed, n < STABLE_N, __ATOMIC_RELAXED);
            continue;
        }
        unsigned whole = value.key == n;
        for (unsigned i = 0; i < words_of(value.version); i++) {
            whole &= value.words[i] == value.version * 31 + n;
        }
        __atomic_add_fetch(&shared->torn, !whole, __ATOMIC_RELAXED);
        __atomic_add_fetch(&shared->older, whole && value.version < newest[n], __ATOMIC_RELAXED);
        newest[n] = value.version;
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

/* Everything that is live is found, and nothing is there twice. */
static int consistent(void)
{
    ngx_str_t key;
    value_t value;
    uint32_t found = 0;

    ngx_gitpod_table_repair(&shared->table);
    for (uint32_t n = 0; ngx_gitpod_table_walk(&shared->table, &n, &key) != NULL; n++) {
        if (ngx_gitpod_table_get(&shared->table, key.data, key.len, &value) != NGX_OK) {
            return 0;
        }
        found++;
    }
    return found == shared->table.live && found >= STABLE_N && found <= KEYS_N;
}

/* As many keys as there is room for, again and again: nothing leaks. */
static int fills_up(void)
{
    u_char key[16];
    value_t value = {0};

    for (unsigned round = 0; round < 100; round++) {
        for (unsigned n = 0; n < RECORDS_N; n++) {
            if (ngx_gitpod_table_set(&shared->table, key, key_of(key, round * RECORDS_N + n), &value) != NGX_OK) {
                return 0;
            }
        }
        if (ngx_gitpod_table_set(&shared->table, (u_char *) "one-more", 8, &value) != NGX_BUSY) {
            return 0;
        }
        for (unsigned n = 0; n < RECORDS_N; n++) {
            ngx_gitpod_table_remove(&shared->table, key, key_of(key, round * RECORDS_N + n));
        }
    }
    return shared->table.live == 0;
}

int main(int argc, char **argv)
{
    unsigned kills = argc > 1 ? (unsigned) strtoul(argv[1], NULL, 10) : 300;
    unsigned head = argc > 2 ? HEAD : 0;
    size_t size = ngx_gitpod_table_size(RECORDS_N, 16, sizeof(value_t), head);
    u_char *memory = mmap(NULL, sizeof(shared_t) + size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANON, -1, 0);
    pid_t readers[READERS_N];
    int lost = 0;

    crowded = argc > 2;
    if (memory == MAP_FAILED) {
        return 2;
    }
    shared = (shared_t *) (void *) memory;
    ngx_gitpod_table_init(&shared->table, memory + sizeof(shared_t), RECORDS_N, 16, sizeof(value_t), head);
    for (unsigned n = 0; n < STABLE_N; n++) {
        write_value(n);
    }
    for (unsigned i = 0; i < READERS_N; i++) {
        readers[i] = start(reader, 77 + i);
    }
    for (unsigned i = 0; i < kills; i++) {
        int status;
        pid_t pid = start(writer, i);
        nanosleep(&(struct timespec){0, 1000 * (200 + (long) i * 7919 % 5000)}, NULL);
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
    printf("kills=%u moves=%lu writes=%lu reads=%lu torn=%lu older=%lu missed=%lu lost=%d consistent=%d\n", kills,
           (unsigned long) shared->moves, (unsigned long) shared->writes, (unsigned long) shared->reads, (unsigned long) shared->torn,
           (unsigned long) shared->older, (unsigned long) shared->missed, lost, consistent());
    for (unsigned n = 0; n < KEYS_N; n++) {
        u_char key[16];
        ngx_gitpod_table_remove(&shared->table, key, key_of(key, n));
    }
    printf("fills=%d\n", fills_up());
    return 0;
}
