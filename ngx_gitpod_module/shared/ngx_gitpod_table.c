
#include "ngx_gitpod_record.h"


#define NGX_GITPOD_TABLE_RETRIES  1000  /* a writer needs < 1 us a turn */
#define NGX_GITPOD_TABLE_LINE     64    /* bytes of a cache line */
#define NGX_GITPOD_TABLE_PREFETCH 512   /* bytes: more asks for too much */
#define NGX_GITPOD_TABLE_FILLED   6     /* places of a group, when full */


static uint32_t ngx_gitpod_table_groups(uint32_t records_max);
static uint32_t ngx_gitpod_table_head(uint32_t record, uint32_t key_max,
    uint32_t head);
static ngx_inline void ngx_gitpod_table_prefetch(ngx_gitpod_table_t *table,
    ngx_gitpod_record_t *rec);
static ngx_int_t ngx_gitpod_table_match(ngx_gitpod_table_t *table, uint32_t n,
    uint32_t tag, u_char *key, size_t len, void *value);
static ngx_inline void ngx_gitpod_table_copy(ngx_gitpod_table_t *table,
    uint32_t n, size_t offset, u_char *value, size_t size);
static void *ngx_gitpod_table_value(ngx_gitpod_table_t *table, uint32_t n);


/* A quarter of the places stays free: few have to pass a group. */

static uint32_t
ngx_gitpod_table_groups(uint32_t records_max)
{
    return records_max / NGX_GITPOD_TABLE_FILLED + 1;
}


static uint32_t
ngx_gitpod_table_head(uint32_t record, uint32_t key_max, uint32_t head)
{
    if (head == 0 || record <= head || record > NGX_GITPOD_TABLE_SPLIT
        || head < ngx_gitpod_table_offset(key_max))
    {
        return record;
    }

    return head & ~(uint32_t) 7;
}


size_t
ngx_gitpod_table_size(uint32_t records_max, uint32_t key_max,
    uint32_t value_size, uint32_t head)
{
    size_t    groups;
    uint32_t  record;

    record = ngx_gitpod_table_offset(key_max)
             + ngx_gitpod_table_align(value_size);
    groups = ngx_gitpod_table_groups(records_max);

    return NGX_GITPOD_TABLE_LINE
           + groups * (sizeof(uint64_t)
                       + NGX_GITPOD_TABLE_GROUP * (sizeof(uint32_t) + record))
           + ngx_align(groups, 8);
}


u_char *
ngx_gitpod_table_init(ngx_gitpod_table_t *table, u_char *memory,
    uint32_t records_max, uint32_t key_max, uint32_t value_size,
    uint32_t head)
{
    size_t    places;
    u_char   *last;
    uint32_t  record;

    ngx_memzero(table, sizeof(ngx_gitpod_table_t));

    record = ngx_gitpod_table_offset(key_max)
             + ngx_gitpod_table_align(value_size);

    table->records_max = records_max;
    table->groups_n = ngx_gitpod_table_groups(records_max);
    table->key_max = key_max;
    table->value_size = value_size;
    table->head_size = ngx_gitpod_table_head(record, key_max, head);
    table->tail_size = record - table->head_size;

    places = (size_t) ngx_gitpod_table_places(table);
    last = memory + ngx_gitpod_table_size(records_max, key_max, value_size,
                                          head);

    table->heads = ngx_align_ptr(memory, NGX_GITPOD_TABLE_LINE);
    table->words = (uint64_t *) (void *) (table->heads
                                          + places * table->head_size);
    table->touched = (uint32_t *) (void *) (table->words + table->groups_n);
    table->tails = (u_char *) (table->touched + places);
    table->passed = table->tails + places * table->tail_size;

    return last;
}


ngx_int_t
ngx_gitpod_table_get(ngx_gitpod_table_t *table, u_char *key, size_t len,
    void *value)
{
    uint32_t    group, hash, i, tag;
    uint64_t    lanes, structure;
    ngx_int_t   rc;
    ngx_uint_t  tries;

    if (len == 0 || len > table->key_max) {
        return NGX_DECLINED;
    }

    hash = ngx_murmur_hash2(key, len);
    tag = ngx_gitpod_table_tag(hash);

    for (tries = 0; tries < NGX_GITPOD_TABLE_RETRIES; tries++) {

        structure = __atomic_load_n(&table->structure, __ATOMIC_ACQUIRE);
        group = ngx_gitpod_table_home(table, hash);
        rc = NGX_DECLINED;

        for (i = 0; i < table->groups_n; i++) {

            lanes = ngx_gitpod_table_lanes(
                        __atomic_load_n(&table->words[group],
                                        __ATOMIC_ACQUIRE), tag);

            for ( /* void */ ; lanes; lanes &= lanes - 1) {
                rc = ngx_gitpod_table_match(table,
                                            group * NGX_GITPOD_TABLE_GROUP
                                            + __builtin_ctzll(lanes) / 8,
                                            tag, key, len, value);

                if (rc == NGX_OK) {
                    return NGX_OK;
                }

                if (rc == NGX_AGAIN) {
                    break;
                }
            }

            if (rc == NGX_AGAIN
                || __atomic_load_n(&table->passed[group], __ATOMIC_ACQUIRE)
                   == 0)
            {
                break;
            }

            group = ngx_gitpod_table_next(table, group);
        }

        __atomic_thread_fence(__ATOMIC_ACQUIRE);

        if (rc != NGX_AGAIN
            && __atomic_load_n(&table->structure, __ATOMIC_RELAXED)
               == structure)
        {
            break;
        }
    }

    return NGX_DECLINED;
}


/*
 * A record of a large table is in no cache: all lines of its head are asked
 * for at once, so that a reader waits for memory once.
 */

static ngx_inline void
ngx_gitpod_table_prefetch(ngx_gitpod_table_t *table, ngx_gitpod_record_t *rec)
{
    u_char  *p, *last;

    p = (u_char *) rec;
    last = p + ngx_min(table->head_size, NGX_GITPOD_TABLE_PREFETCH);

    for ( /* void */ ; p < last; p += NGX_GITPOD_TABLE_LINE) {
        __builtin_prefetch(p);
    }
}


/* NGX_DECLINED: another key; NGX_AGAIN: a writer takes, or took, the place. */

static ngx_int_t
ngx_gitpod_table_match(ngx_gitpod_table_t *table, uint32_t n, uint32_t tag,
    u_char *key, size_t len, void *value)
{
    size_t                size;
    uint32_t              seq;
    uint64_t              word;
    ngx_gitpod_record_t  *rec;

    rec = ngx_gitpod_table_record(table, n);
    ngx_gitpod_table_prefetch(table, rec);

    seq = __atomic_load_n(&rec->seq, __ATOMIC_ACQUIRE);
    size = rec->size;

    if (seq & 1 || size > table->value_size) {
        return NGX_AGAIN;
    }

    if (rec->key_len != len
        || ngx_memcmp(ngx_gitpod_table_key(rec), key, len) != 0)
    {
        __atomic_thread_fence(__ATOMIC_ACQUIRE);

        return (__atomic_load_n(&rec->seq, __ATOMIC_RELAXED) == seq)
               ? NGX_DECLINED : NGX_AGAIN;
    }

    ngx_gitpod_table_copy(table, n, ngx_gitpod_table_offset(len), value, size);

    /* first the tag, then the sequence: they are of one and the same record */

    __atomic_thread_fence(__ATOMIC_ACQUIRE);

    word = __atomic_load_n(&table->words[ngx_gitpod_table_group(n)],
                           __ATOMIC_ACQUIRE);

    if ((word >> ngx_gitpod_table_shift(n) & 0xff) != tag
        || __atomic_load_n(&rec->seq, __ATOMIC_RELAXED) != seq)
    {
        return NGX_AGAIN;
    }

    if (!rec->referenced) {
        __atomic_store_n(&rec->referenced, 1, __ATOMIC_RELAXED);
    }

    return NGX_OK;
}


static ngx_inline void
ngx_gitpod_table_copy(ngx_gitpod_table_t *table, uint32_t n, size_t offset,
    u_char *value, size_t size)
{
    size_t   part;
    u_char  *head;

    head = (u_char *) ngx_gitpod_table_record(table, n);

    if (offset + size <= table->head_size) {
        ngx_memcpy(value, head + offset, size);
        return;
    }

    part = table->head_size - offset;

    ngx_memcpy(value, head + offset, part);
    ngx_memcpy(value + part, ngx_gitpod_table_tail(table, n), size - part);
}


uint32_t
ngx_gitpod_table_place(ngx_gitpod_table_t *table, u_char *key, size_t len,
    uint32_t hash)
{
    uint32_t              group, i, n;
    uint64_t              lanes;
    ngx_gitpod_record_t  *rec;

    group = ngx_gitpod_table_home(table, hash);

    for (i = 0; i < table->groups_n; i++) {

        lanes = ngx_gitpod_table_lanes(table->words[group],
                                       ngx_gitpod_table_tag(hash));

        for ( /* void */ ; lanes; lanes &= lanes - 1) {
            n = group * NGX_GITPOD_TABLE_GROUP + __builtin_ctzll(lanes) / 8;
            rec = ngx_gitpod_table_record(table, n);

            if (rec->key_len == len
                && ngx_memcmp(ngx_gitpod_table_key(rec), key, len) == 0)
            {
                return n;
            }
        }

        if (table->passed[group] == 0) {
            break;
        }

        group = ngx_gitpod_table_next(table, group);
    }

    return NGX_GITPOD_TABLE_NONE;
}


/* In place, or put together. */

static void *
ngx_gitpod_table_value(ngx_gitpod_table_t *table, uint32_t n)
{
    size_t                offset;
    ngx_gitpod_record_t  *rec;

    static uint64_t       value[NGX_GITPOD_TABLE_SPLIT / 8];

    rec = ngx_gitpod_table_record(table, n);
    offset = ngx_gitpod_table_offset(rec->key_len);

    if (offset + rec->size <= table->head_size) {
        return (u_char *) rec + offset;
    }

    ngx_gitpod_table_copy(table, n, offset, (u_char *) value, rec->size);

    return value;
}


void *
ngx_gitpod_table_find(ngx_gitpod_table_t *table, u_char *key, size_t len)
{
    uint32_t  n;

    ngx_gitpod_table_settle(table);

    n = ngx_gitpod_table_place(table, key, len, ngx_murmur_hash2(key, len));

    if (n == NGX_GITPOD_TABLE_NONE) {
        return NULL;
    }

    return ngx_gitpod_table_value(table, n);
}


void
ngx_gitpod_table_touch(ngx_gitpod_table_t *table, u_char *key, size_t len)
{
    uint32_t  n;

    ngx_gitpod_table_settle(table);

    n = ngx_gitpod_table_place(table, key, len, ngx_murmur_hash2(key, len));

    if (n != NGX_GITPOD_TABLE_NONE) {
        table->touched[n] = table->generation;
    }
}


void *
ngx_gitpod_table_walk(ngx_gitpod_table_t *table, uint32_t *n, ngx_str_t *key)
{
    uint32_t              places;
    ngx_gitpod_record_t  *rec;

    ngx_gitpod_table_settle(table);

    places = ngx_gitpod_table_places(table);

    while (*n < places) {

        if (table->words[ngx_gitpod_table_group(*n)] == 0) {
            *n += NGX_GITPOD_TABLE_GROUP - *n % NGX_GITPOD_TABLE_GROUP;
            continue;
        }

        if (ngx_gitpod_table_live(table, *n)) {
            rec = ngx_gitpod_table_record(table, *n);

            key->data = ngx_gitpod_table_key(rec);
            key->len = rec->key_len;

            return ngx_gitpod_table_value(table, *n);
        }

        (*n)++;
    }

    return NULL;
}


ngx_uint_t
ngx_gitpod_table_touched(ngx_gitpod_table_t *table, uint32_t n)
{
    return table->touched[n] == table->generation;
}


size_t
ngx_gitpod_table_bytes(ngx_gitpod_table_t *table, uint32_t n)
{
    return ngx_gitpod_table_record(table, n)->size;
}
