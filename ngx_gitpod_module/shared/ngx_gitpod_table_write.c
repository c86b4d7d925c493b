
/*
 * The writers of a table.  Whatever one of them is killed between, the words
 * tell which record is which: see ngx_gitpod_table.h.
 */


#include "ngx_gitpod_record.h"


#define NGX_GITPOD_TABLE_PASSED   255   /* so many or more: never less */


static uint32_t ngx_gitpod_table_free(ngx_gitpod_table_t *table,
    uint32_t group, uint32_t groups_n);
static void ngx_gitpod_table_write(ngx_gitpod_table_t *table, uint32_t n,
    u_char *key, size_t len, const void *value, size_t size);
static void ngx_gitpod_table_mark(ngx_gitpod_table_t *table, uint32_t n,
    uint64_t tag);
static void ngx_gitpod_table_pass(ngx_gitpod_table_t *table, uint32_t hash,
    uint32_t n, ngx_int_t by);
static ngx_int_t ngx_gitpod_table_insert(ngx_gitpod_table_t *table,
    uint32_t hash, u_char *key, size_t len, const void *value, size_t size);
static ngx_int_t ngx_gitpod_table_replace(ngx_gitpod_table_t *table,
    uint32_t hash, uint32_t old, const void *value, size_t size);
static void ngx_gitpod_table_leave(ngx_gitpod_table_t *table, uint32_t n,
    uint32_t hash);
static u_char ngx_gitpod_table_count(ngx_gitpod_table_t *table,
    uint32_t group);


ngx_int_t
ngx_gitpod_table_set(ngx_gitpod_table_t *table, u_char *key, size_t len,
    const void *value)
{
    return ngx_gitpod_table_put(table, key, len, value, table->value_size);
}


ngx_int_t
ngx_gitpod_table_put(ngx_gitpod_table_t *table, u_char *key, size_t len,
    const void *value, size_t size)
{
    uint32_t   hash, n;
    ngx_int_t  rc;

    if (len == 0 || len > table->key_max || size > table->value_size) {
        return NGX_DECLINED;
    }

    ngx_gitpod_table_settle(table);

    hash = ngx_murmur_hash2(key, len);
    n = ngx_gitpod_table_place(table, key, len, hash);

    if (n == NGX_GITPOD_TABLE_NONE) {
        rc = ngx_gitpod_table_insert(table, hash, key, len, value, size);

    } else {
        rc = ngx_gitpod_table_replace(table, hash, n, value, size);
    }

    if (rc == NGX_OK) {
        __atomic_add_fetch(&table->sequence, 1, __ATOMIC_RELEASE);
    }

    return rc;
}


static ngx_int_t
ngx_gitpod_table_insert(ngx_gitpod_table_t *table, uint32_t hash, u_char *key,
    size_t len, const void *value, size_t size)
{
    uint32_t  n;

    if (table->live >= table->records_max) {
        return NGX_BUSY;
    }

    n = ngx_gitpod_table_free(table, ngx_gitpod_table_home(table, hash),
                              table->groups_n);

    if (n == NGX_GITPOD_TABLE_NONE) {
        return NGX_BUSY;
    }

    table->used = 1;

    ngx_gitpod_table_record(table, n)->referenced = 0;
    ngx_gitpod_table_write(table, n, key, len, value, size);

    ngx_gitpod_table_pass(table, hash, n, 1);
    ngx_gitpod_table_mark(table, n, ngx_gitpod_table_tag(hash));

    table->live++;

    return NGX_OK;
}


static ngx_int_t
ngx_gitpod_table_replace(ngx_gitpod_table_t *table, uint32_t hash,
    uint32_t old, const void *value, size_t size)
{
    uint32_t              group, n;
    uint64_t              word;
    ngx_gitpod_record_t  *rec;

    group = ngx_gitpod_table_group(old);
    n = ngx_gitpod_table_free(table, group, 1);

    if (n == NGX_GITPOD_TABLE_NONE) {
        n = ngx_gitpod_table_free(table, ngx_gitpod_table_home(table, hash),
                                  table->groups_n);
    }

    if (n == NGX_GITPOD_TABLE_NONE) {
        return NGX_BUSY;
    }

    rec = ngx_gitpod_table_record(table, old);

    ngx_gitpod_table_record(table, n)->referenced = rec->referenced;
    ngx_gitpod_table_write(table, n, ngx_gitpod_table_key(rec), rec->key_len,
                           value, size);

    if (ngx_gitpod_table_group(n) == group) {

        word = table->words[group];
        word &= ~((uint64_t) 0xff << ngx_gitpod_table_shift(old));
        word |= (uint64_t) ngx_gitpod_table_tag(hash)
                << ngx_gitpod_table_shift(n);

        __atomic_store_n(&table->words[group], word, __ATOMIC_SEQ_CST);

        /* before the old place is taken, whose record a reader may look for */

        __atomic_add_fetch(&table->structure, 1, __ATOMIC_SEQ_CST);

        return NGX_OK;
    }

    ngx_gitpod_table_pass(table, hash, n, 1);

    __atomic_store_n(&table->move, (uint64_t) (n + 1) << 32 | (old + 1),
                     __ATOMIC_SEQ_CST);

    ngx_gitpod_table_mark(table, n, ngx_gitpod_table_tag(hash));
    ngx_gitpod_table_settle(table);

    return NGX_OK;
}


void
ngx_gitpod_table_settle(ngx_gitpod_table_t *table)
{
    uint32_t              from, hash, to;
    ngx_gitpod_record_t  *rec;

    if (table->move == 0) {
        return;
    }

    to = (uint32_t) (table->move >> 32) - 1;
    from = (uint32_t) table->move - 1;

    if (ngx_gitpod_table_live(table, to) && ngx_gitpod_table_live(table, from))
    {
        rec = ngx_gitpod_table_record(table, from);
        hash = ngx_murmur_hash2(ngx_gitpod_table_key(rec), rec->key_len);

        /* who was past the new place and comes to the old one too late ... */

        __atomic_add_fetch(&table->structure, 1, __ATOMIC_SEQ_CST);
        ngx_gitpod_table_mark(table, from, 0);
        __atomic_add_fetch(&table->structure, 1, __ATOMIC_SEQ_CST);

        ngx_gitpod_table_pass(table, hash, from, -1);
    }

    __atomic_store_n(&table->move, 0, __ATOMIC_SEQ_CST);
}


/* A free place in one of so many groups, or NONE. */

static uint32_t
ngx_gitpod_table_free(ngx_gitpod_table_t *table, uint32_t group,
    uint32_t groups_n)
{
    uint64_t  lanes;

    for ( /* void */ ; groups_n; groups_n--) {

        lanes = ngx_gitpod_table_lanes(table->words[group], 0);

        if (lanes) {
            return group * NGX_GITPOD_TABLE_GROUP
                   + __builtin_ctzll(lanes) / 8;
        }

        group = ngx_gitpod_table_next(table, group);
    }

    return NGX_GITPOD_TABLE_NONE;
}


/* A place that is free, so the key is not in it. */

static void
ngx_gitpod_table_write(ngx_gitpod_table_t *table, uint32_t n, u_char *key,
    size_t len, const void *value, size_t size)
{
    size_t                offset, part;
    uint32_t              seq;
    ngx_gitpod_record_t  *rec;

    rec = ngx_gitpod_table_record(table, n);
    offset = ngx_gitpod_table_offset(len);
    part = ngx_min(size, table->head_size - offset);

    /* odd, and another than a killed writer left */

    seq = rec->seq + 1 + (rec->seq & 1);

    __atomic_store_n(&rec->seq, seq, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);

    rec->size = (uint16_t) size;
    rec->key_len = (u_char) len;

    ngx_memcpy(ngx_gitpod_table_key(rec), key, len);
    ngx_memcpy((u_char *) rec + offset, value, part);

    if (part < size) {
        ngx_memcpy(ngx_gitpod_table_tail(table, n),
                   (const u_char *) value + part, size - part);
    }

    /* here, so that the sweep never takes a record of a killed writer */

    table->touched[n] = table->generation;

    __atomic_store_n(&rec->seq, seq + 1, __ATOMIC_RELEASE);
}


static void
ngx_gitpod_table_mark(ngx_gitpod_table_t *table, uint32_t n, uint64_t tag)
{
    uint64_t  word;

    word = table->words[ngx_gitpod_table_group(n)];
    word &= ~((uint64_t) 0xff << ngx_gitpod_table_shift(n));
    word |= tag << ngx_gitpod_table_shift(n);

    __atomic_store_n(&table->words[ngx_gitpod_table_group(n)], word,
                     __ATOMIC_SEQ_CST);
}


/*
 * The groups between its home and its place have one more, or less, that had
 * to pass.  Before it is there and after it is gone: too many cost time only.
 */

static void
ngx_gitpod_table_pass(ngx_gitpod_table_t *table, uint32_t hash, uint32_t n,
    ngx_int_t by)
{
    u_char    *passed;
    uint32_t   group;

    for (group = ngx_gitpod_table_home(table, hash);
         group != ngx_gitpod_table_group(n);
         group = ngx_gitpod_table_next(table, group))
    {
        passed = &table->passed[group];

        if (*passed != NGX_GITPOD_TABLE_PASSED && (by > 0 || *passed)) {
            __atomic_store_n(passed, (u_char) (*passed + by),
                             __ATOMIC_SEQ_CST);
        }
    }
}


static void
ngx_gitpod_table_leave(ngx_gitpod_table_t *table, uint32_t n, uint32_t hash)
{
    ngx_gitpod_table_mark(table, n, 0);
    ngx_gitpod_table_pass(table, hash, n, -1);

    table->live--;

    __atomic_add_fetch(&table->sequence, 1, __ATOMIC_RELEASE);
}


void
ngx_gitpod_table_remove(ngx_gitpod_table_t *table, u_char *key, size_t len)
{
    uint32_t  hash, n;

    ngx_gitpod_table_settle(table);

    hash = ngx_murmur_hash2(key, len);
    n = ngx_gitpod_table_place(table, key, len, hash);

    if (n != NGX_GITPOD_TABLE_NONE) {
        ngx_gitpod_table_leave(table, n, hash);
    }
}


void
ngx_gitpod_table_drop(ngx_gitpod_table_t *table, uint32_t n)
{
    ngx_gitpod_record_t  *rec;

    rec = ngx_gitpod_table_record(table, n);

    ngx_gitpod_table_remove(table, ngx_gitpod_table_key(rec), rec->key_len);
}


void
ngx_gitpod_table_evict(ngx_gitpod_table_t *table)
{
    uint32_t              i, n, turns;
    ngx_gitpod_record_t  *rec;

    /* after one turn nothing is referenced, unless readers are very busy */

    turns = ngx_gitpod_table_places(table) * 2;

    for (i = 0; i < turns; i++) {
        n = table->hand++ % ngx_gitpod_table_places(table);

        if (!ngx_gitpod_table_live(table, n)) {
            continue;
        }

        rec = ngx_gitpod_table_record(table, n);

        if (rec->referenced && i < turns / 2) {
            rec->referenced = 0;
            continue;
        }

        ngx_gitpod_table_drop(table, n);
        return;
    }
}


void
ngx_gitpod_table_repair(ngx_gitpod_table_t *table)
{
    uint32_t  group, live;

    ngx_gitpod_table_settle(table);

    live = 0;

    for (group = 0; group < table->groups_n; group++) {
        live += NGX_GITPOD_TABLE_GROUP
                - __builtin_popcountll(
                      ngx_gitpod_table_lanes(table->words[group], 0));

        /* too many of a writer that was killed; never too few meanwhile */

        if (table->passed[group]) {
            __atomic_store_n(&table->passed[group],
                             ngx_gitpod_table_count(table, group),
                             __ATOMIC_SEQ_CST);
        }
    }

    table->live = live;
}


/* How many records of the groups behind had to pass this one. */

static u_char
ngx_gitpod_table_count(ngx_gitpod_table_t *table, uint32_t group)
{
    uint32_t              behind, from, home, n, next;
    ngx_uint_t            i, sum;
    ngx_gitpod_record_t  *rec;

    sum = 0;
    next = group;

    for (behind = 1; behind < table->groups_n; behind++) {

        if (table->passed[next] == 0) {
            break;
        }

        next = ngx_gitpod_table_next(table, next);

        for (i = 0; i < NGX_GITPOD_TABLE_GROUP; i++) {
            n = next * NGX_GITPOD_TABLE_GROUP + i;

            if (!ngx_gitpod_table_live(table, n)) {
                continue;
            }

            rec = ngx_gitpod_table_record(table, n);
            home = ngx_gitpod_table_home(table,
                       ngx_murmur_hash2(ngx_gitpod_table_key(rec),
                                        rec->key_len));

            from = (next >= home) ? next - home
                                  : next + table->groups_n - home;

            if (from >= behind && ++sum == NGX_GITPOD_TABLE_PASSED) {
                return NGX_GITPOD_TABLE_PASSED;
            }
        }
    }

    return (u_char) sum;
}
