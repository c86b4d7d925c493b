/*
 * A table of ngx_gitpod_module/shared, full to its last record, emptied and
 * filled again for many rounds, against a plain list of what must be in it.
 * Built and run by table_fills_to_its_last_record.t.
 *
 * "spread": keys are at home all over it. "crowded": all of them in one group,
 * so that nearly all pass others, more than a group can count.
 */

#include "ngx_gitpod_table.h"

#include <stdio.h>
#include <stdlib.h>

#define RECORDS_N 3000
#define KEYS_N 4000 /* so many know it, RECORDS_N of them at a time */
#define CROWD_N 400 /* the same, when crowded: each is looked for behind all others */
#define ROUNDS_N 40
#define HEAD 72
#define VALUE_MAX 160

typedef struct {
    uint32_t version; /* 0: it is not there */
    uint32_t size;
} known_t;

static ngx_gitpod_table_t table;
static known_t known[KEYS_N];
static unsigned crowded, records_n, keys_n, live_n, faults;

/* A mixing one, so that homes and tags are as random as those of nginx. */
uint32_t ngx_murmur_hash2(u_char *data, size_t len)
{
    uint32_t hash = 2166136261u;

    while (len--) {
        hash = (hash ^ *data++) * 16777619u;
    }
    hash = (hash ^ hash >> 16) * 0x7feb352du;
    hash = (hash ^ hash >> 15) * 0x846ca68bu;
    hash ^= hash >> 16;
    return crowded ? hash & 0xff : hash;
}

static void expect(int right, const char *what)
{
    if (!right && faults++ < 8) {
        printf("fault: %s\n", what);
    }
}

/* Of 6 to 40 bytes, so that values begin all over the head. */
static size_t key_of(u_char *key, unsigned n)
{
    return (size_t) snprintf((char *) key, 41, "%.*s-%u", (int) (n % 35), "abcdefghijklmnopqrstuvwxyzabcdefghi", n);
}

static void write_value(unsigned n, uint32_t version)
{
    u_char key[41], value[VALUE_MAX];
    uint32_t size = (n * 7 + version * 13) % (VALUE_MAX + 1);
    ngx_int_t rc;

    memset(value, (int) (n + version), sizeof(value));
    rc = ngx_gitpod_table_put(&table, key, key_of(key, n), value, size);
    if (known[n].version == 0 && live_n == records_n) {
        expect(rc == NGX_BUSY, "a full table takes one more");
        return;
    }
    expect(rc == NGX_OK, "there is room, and it says that there is none");
    live_n += known[n].version == 0;
    known[n] = (known_t){version, size};
}

static void remove_value(unsigned n)
{
    u_char key[41];

    ngx_gitpod_table_remove(&table, key, key_of(key, n));
    live_n -= known[n].version != 0;
    known[n].version = 0;
}

static int same(const u_char *value, unsigned n)
{
    for (unsigned i = 0; i < known[n].size; i++) {
        if (value[i] != (u_char) (n + known[n].version)) {
            return 0;
        }
    }
    return 1;
}

static void compare(void)
{
    u_char key[41], value[VALUE_MAX + 1], *found;
    uint32_t walked = 0;
    ngx_str_t name;

    for (unsigned n = 0; n < keys_n; n++) {
        size_t len = key_of(key, n);

        value[known[n].size] = 0xa5;
        if (known[n].version == 0) {
            expect(ngx_gitpod_table_get(&table, key, len, value) == NGX_DECLINED, "one that was removed is found");
            expect(ngx_gitpod_table_find(&table, key, len) == NULL, "one that was removed is found by a writer");
            continue;
        }
        expect(ngx_gitpod_table_get(&table, key, len, value) == NGX_OK && same(value, n), "one is not found, or not as it was put");
        expect(value[known[n].size] == 0xa5, "more was copied than was put");
        found = ngx_gitpod_table_find(&table, key, len);
        expect(found != NULL && same(found, n), "one is not found by a writer, or not as it was put");
    }
    for (uint32_t n = 0; (found = ngx_gitpod_table_walk(&table, &n, &name)) != NULL; n++, walked++) {
        unsigned k = (unsigned) strtoul(strrchr((char *) memcpy(memset(key, 0, sizeof(key)), name.data, name.len), '-') + 1, NULL, 10);

        expect(k < keys_n && known[k].version != 0 && same(found, k), "the walk finds what is not there");
        expect(ngx_gitpod_table_bytes(&table, n) == known[k].size, "the walk tells another length");
    }
    expect(walked == live_n && table.live == live_n, "the walk finds more or fewer than there are");
}

static unsigned passed_sum(void)
{
    unsigned sum = 0;

    for (uint32_t i = 0; i < table.groups_n; i++) {
        sum += table.passed[i];
    }
    return sum;
}

static void fill_up(uint32_t *version)
{
    for (unsigned n = 0, from = (unsigned) random(); n < keys_n; n++) {
        write_value((n + from) % keys_n, ++*version);
    }
    expect(live_n == records_n, "it is not full");
}

/* A full table drops one for another, never more, and what was read lately last. */
static void evict(void)
{
    u_char key[41], value[VALUE_MAX];
    uint32_t before = table.live;
    unsigned used = 0;

    while (known[used].version == 0) {
        used++;
    }
    ngx_gitpod_table_evict(&table); /* the hand has come by all of them once */
    for (unsigned i = 1; i < 10; i++) {
        size_t len = key_of(key, used);

        expect(ngx_gitpod_table_get(&table, key, len, value) == NGX_OK, "one in use was evicted");
        ngx_gitpod_table_evict(&table);
    }
    expect(table.live == before - 10, "it evicts more or fewer than one");
    for (unsigned n = 0; n < keys_n; n++) {
        if (known[n].version != 0 && ngx_gitpod_table_find(&table, key, key_of(key, n)) == NULL) {
            known[n].version = 0;
            live_n--;
        }
    }
    expect(live_n == table.live, "what was evicted is found");
}

/* What is not new since a sweep began is dropped, and nothing else. */
static void sweep(uint32_t *version)
{
    ngx_str_t name;

    table.generation++;
    for (unsigned n = 0; n < keys_n; n++) {
        u_char key[41];

        if (known[n].version == 0) {
            continue;
        }
        switch (n % 3) {
        case 0:
            write_value(n, ++*version);
            break;
        case 1:
            ngx_gitpod_table_touch(&table, key, key_of(key, n));
            break;
        default:
            known[n].version = 0;
            live_n--;
        }
    }
    for (uint32_t n = 0; ngx_gitpod_table_walk(&table, &n, &name) != NULL; n++) {
        if (!ngx_gitpod_table_touched(&table, n)) {
            ngx_gitpod_table_drop(&table, n);
        }
    }
}

static void rounds(void)
{
    uint32_t version = 0;

    for (unsigned round = 0; round < ROUNDS_N; round++) {
        fill_up(&version);
        for (unsigned n = 0; n < keys_n; n++) { /* half of the places change */
            if (random() % 4 == 0) {
                remove_value(n);
            }
            if (random() % 2 == 0) {
                write_value((unsigned) random() % keys_n, ++version);
            }
        }
        if (round % 8 == 0) {
            compare();
            fill_up(&version);
            compare();
            evict();
            sweep(&version);
            compare();
        }
        if (round % 3 == 0) {
            ngx_gitpod_table_repair(&table);
        }
    }
    compare();
    ngx_gitpod_table_repair(&table);
    compare();
}

int main(int argc, char **argv)
{
    size_t size;
    u_char *memory;

    crowded = argc > 1 && strcmp(argv[1], "crowded") == 0;
    records_n = crowded ? CROWD_N : RECORDS_N;
    keys_n = crowded ? CROWD_N + 100 : KEYS_N;
    size = ngx_gitpod_table_size(records_n, 40, VALUE_MAX, HEAD);
    memory = calloc(1, size);
    if (memory == NULL || ngx_gitpod_table_init(&table, memory, records_n, 40, VALUE_MAX, HEAD) != memory + size) {
        return 2;
    }
    rounds();
    printf("records=%u passed=%u ", table.live, passed_sum());
    for (unsigned n = 0; n < keys_n; n++) {
        remove_value(n);
    }
    compare();
    printf("left=%u ", passed_sum());
    ngx_gitpod_table_repair(&table);
    printf("repaired=%u faults=%u\n", passed_sum(), faults);
    free(memory);
    return faults != 0;
}
