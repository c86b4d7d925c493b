/*
 * A writer of a table of ngx_gitpod_module/shared goes one instruction at a
 * time, and after each of them it is judged what it has done so far: as a
 * reader sees it, and as the next writer finds it when this one was killed
 * there. Built and run by table_is_whole_at_each_step.t.
 */

#include "ngx_gitpod_table.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#define RECORDS_N 24 /* five groups of eight places */
#define STEPS_MAX 100000
#define HEAD 40 /* bytes: values lie in two pieces */
#define NEVER 1000
#define KEY "the one that changes"

typedef struct {
    uint64_t words[8];
} value_t;

typedef struct {
    ngx_gitpod_table_t table;
    u_char memory[8192];
} shared_t;

typedef struct {
    const char *name;
    unsigned others; /* keys put before */
    unsigned at; /* the one of the change is put when there are so many, or never */
    unsigned gone; /* so many of the others are removed again: their places are free */
    void (*change)(void);
} change_t;

static shared_t *shared, *saved;
static unsigned others_n, gone_n;

/* All at home in the group of the lowest hashes, two tags. */
uint32_t ngx_murmur_hash2(u_char *data, size_t len)
{
    return len & 1;
}

static size_t key_of(u_char *key, unsigned n)
{
    return (size_t) snprintf((char *) key, 16, n % 2 ? "key-%u" : "other-key-%u", n);
}

static void fill(value_t *value, uint64_t with)
{
    for (unsigned i = 0; i < 8; i++) {
        value->words[i] = with;
    }
}

static ngx_int_t put(const char *key, uint64_t with)
{
    value_t value;

    fill(&value, with);
    return ngx_gitpod_table_set(&shared->table, (u_char *) key, strlen(key), &value);
}

static void drop(const char *key)
{
    ngx_gitpod_table_remove(&shared->table, (u_char *) key, strlen(key));
}

/* What a reader finds: the number it was filled with; 0: nothing; all ones: a torn one. */
static uint64_t seen(const char *key)
{
    value_t value;

    if (ngx_gitpod_table_get(&shared->table, (u_char *) key, strlen(key), &value) != NGX_OK) {
        return 0;
    }
    for (unsigned i = 1; i < 8; i++) {
        if (value.words[i] != value.words[0]) {
            return (uint64_t) -1;
        }
    }
    return value.words[0];
}

static int others_are_there(void)
{
    char key[16];

    for (unsigned n = gone_n; n < others_n; n++) {
        (void) key_of((u_char *) key, n);
        if (seen(key) != 1000 + n) {
            return 0;
        }
    }
    return 1;
}

static void insert(void)
{
    (void) put(KEY, 2);
}

static void removal(void)
{
    drop(KEY);
}

/* The next writer, of the same key, and one that makes room for it. */
static const char *next_writer(int repair)
{
    char key[16];
    ngx_str_t name;
    uint32_t found = 0;

    if (repair) {
        ngx_gitpod_table_repair(&shared->table);
    }
    if (put(KEY, 3) != NGX_OK || seen(KEY) != 3) {
        return "the next writer's value is not seen";
    }
    for (uint32_t n = 0; ngx_gitpod_table_walk(&shared->table, &n, &name) != NULL; n++) {
        found++;
    }
    if (found != others_n - gone_n + 1) {
        return "a record is there twice, or not at all";
    }
    drop(KEY);
    if (seen(KEY) != 0) {
        return "what the next writer removes comes back";
    }
    if (!repair) {
        return others_are_there() ? NULL : "the next writer lost others";
    }
    if (shared->table.live != others_n - gone_n) {
        return "it is counted wrong";
    }
    for (unsigned n = others_n; n < RECORDS_N + gone_n; n++) {
        (void) key_of((u_char *) key, n);
        if (put(key, 1000 + n) != NGX_OK) {
            return "a place is lost";
        }
    }
    return put("one too many", 1) != NGX_BUSY ? "it takes more than it has room for" : others_are_there() ? NULL : "the repair lost others";
}

/* After one instruction; *newest: the last number a reader has seen. */
static const char *judge(uint64_t before, uint64_t after, uint64_t *newest)
{
    const char *why;
    uint64_t now = seen(KEY);

    if (now != before && now != after) {
        return "a reader sees what nobody wrote";
    }
    if (*newest == after && now != after) {
        return "a reader sees the old value after the new one";
    }
    *newest = now;
    if (!others_are_there()) {
        return "a reader misses others";
    }
    for (int repair = 0; repair < 2; repair++) {
        memcpy(saved, shared, sizeof(*shared));
        why = next_writer(repair);
        memcpy(shared, saved, sizeof(*shared));
        if (why != NULL) {
            return why;
        }
    }
    return NULL;
}

static void set_up(const change_t *change)
{
    char key[16];

    memset(shared, 0, sizeof(*shared));
    ngx_gitpod_table_init(&shared->table, shared->memory, RECORDS_N, 24, sizeof(value_t), HEAD);
    others_n = change->others;
    gone_n = change->gone;
    for (unsigned n = 0; n <= others_n; n++) {
        if (n == change->at) {
            (void) put(KEY, 1);
        }
        if (n < others_n) {
            (void) key_of((u_char *) key, n);
            (void) put(key, 1000 + n);
        }
    }
    for (unsigned n = 0; n < gone_n; n++) {
        (void) key_of((u_char *) key, n);
        drop(key);
    }
}

static int step_through(const change_t *change)
{
    const char *why = NULL;
    uint64_t before, after = change->change == removal ? 0 : 2, newest;
    unsigned steps = 0;
    int status = 0;
    pid_t pid;

    set_up(change);
    before = newest = seen(KEY);
    pid = fork();
    if (pid == 0) {
        (void) ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        (void) raise(SIGSTOP);
        change->change();
        _exit(0);
    }
    while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status) && why == NULL && steps < STEPS_MAX) {
        why = judge(before, after, &newest);
        steps++;
        if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) != 0) {
            break;
        }
    }
    if (!WIFEXITED(status)) {
        (void) kill(pid, SIGKILL);
        (void) waitpid(pid, NULL, 0);
        why = why ? why : "it does not end";
    } else if (newest != after) {
        why = "it changed nothing";
    }
    printf("%s: steps=%u %s\n", change->name, steps, why ? why : "whole");
    return why != NULL;
}

int main(void)
{
    static const change_t changes[] = {
        {"a new record", 3, NEVER, 0, insert},
        {"a new record that must pass two groups", 17, NEVER, 0, insert},
        {"a new value in the same group", 3, 3, 0, insert},
        {"a new value in a group behind", 9, 2, 0, insert},
        {"a new value in a group before", 15, 8, 1, insert},
        {"a removal", 3, 3, 0, removal},
        {"a removal of one that passed two groups", 16, 16, 0, removal},
    };
    int failed = 0;

    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    saved = mmap(NULL, sizeof(*saved), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || saved == MAP_FAILED) {
        return 2;
    }
    for (unsigned i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        failed |= step_through(&changes[i]);
    }
    return failed;
}
