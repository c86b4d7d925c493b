
#include "ngx_gitpod_table.h"


#define NGX_GITPOD_TABLE_DEAD     0xffffffff
#define NGX_GITPOD_TABLE_RETRIES  1000  /* a writer needs < 1 us a turn */
#define NGX_GITPOD_TABLE_LINE     64    /* bytes of a cache line */
#define NGX_GITPOD_TABLE_PREFETCH 512   /* bytes: more asks for too much */


/*
 * The key and two values follow.  A key is written only while the current slot
 * is dead, so whoever found it live and then compares, or copies, must look
 * whether the sequence moved.
 */

typedef struct {
    uint64_t    seq;                    /* slot seq & 1 is the current one */
    uint32_t    hash;
    uint32_t    touched;
    uint32_t    next;                   /* free record + 1 */
    u_char      live[2];                /* of the slots */
    u_char      key_len;
    u_char      referenced;             /* read since the hand came by */
} ngx_gitpod_record_t;


#define ngx_gitpod_table_align(n)  (((n) + 7) & ~(uint32_t) 7)

/*
 * An entry of the index: the number of a record + 1 in its low bits, what is
 * left of them the top of the hash, so that a reader touches no record but its
 * own.  0: never used.
 */

#define ngx_gitpod_table_number(t, entry)  ((entry) & (t)->number_mask)

#define ngx_gitpod_table_entry(t, n, hash)                                    \
    (((n) + 1) | ((hash) & ~(t)->number_mask))

/* the record of a place that has one */

#define ngx_gitpod_table_at(t, place)                                         \
    (ngx_gitpod_table_number(t, (t)->index[(t)->active & 1][place]) - 1)

#define ngx_gitpod_table_record(t, n)                                         \
    ((ngx_gitpod_record_t *)                                                  \
     (void *) ((t)->records + (size_t) (n) * (t)->record_size))

#define ngx_gitpod_table_key(rec)                                             \
    ((u_char *) (rec) + sizeof(ngx_gitpod_record_t))

#define ngx_gitpod_table_value(t, rec, seq)                                   \
    (ngx_gitpod_table_key(rec) + ngx_gitpod_table_align((t)->key_max)         \
     + (size_t) ((seq) & 1) * (t)->slot_size)

#define ngx_gitpod_table_live(rec)  ((rec)->live[(rec)->seq & 1])


static uint32_t ngx_gitpod_table_index_size(uint32_t records_max);
static uint32_t ngx_gitpod_table_place(ngx_gitpod_table_t *table, u_char *key,
    size_t len, uint32_t hash);
static void ngx_gitpod_table_name(ngx_gitpod_table_t *table, uint32_t n,
    u_char *key, size_t len);
static void ngx_gitpod_table_write(ngx_gitpod_table_t *table, uint32_t n,
    const void *value);
static uint32_t ngx_gitpod_table_alloc(ngx_gitpod_table_t *table);
static void ngx_gitpod_table_enter(ngx_gitpod_table_t *table, uint32_t n,
    uint32_t hash);
static void ngx_gitpod_table_leave(ngx_gitpod_table_t *table, uint32_t place);
static ngx_inline void ngx_gitpod_table_prefetch(ngx_gitpod_table_t *table,
    ngx_gitpod_record_t *rec);
static ngx_int_t ngx_gitpod_table_match(ngx_gitpod_table_t *table,
    ngx_gitpod_record_t *rec, u_char *key, size_t len, void *value);


static uint32_t
ngx_gitpod_table_index_size(uint32_t records_max)
{
    uint32_t  size;

    for (size = 16; size < records_max * 2; size <<= 1) { /* void */ }

    return size;
}


size_t
ngx_gitpod_table_size(uint32_t records_max, uint32_t key_max,
    uint32_t value_size)
{
    size_t  record;

    record = sizeof(ngx_gitpod_record_t)
             + ngx_gitpod_table_align(key_max)
             + 2 * (size_t) ngx_gitpod_table_align(value_size);

    return record * records_max
           + 2 * sizeof(uint32_t) * ngx_gitpod_table_index_size(records_max);
}


u_char *
ngx_gitpod_table_init(ngx_gitpod_table_t *table, u_char *memory,
    uint32_t records_max, uint32_t key_max, uint32_t value_size)
{
    size_t  index;

    ngx_memzero(table, sizeof(ngx_gitpod_table_t));

    table->records_max = records_max;
    table->index_size = ngx_gitpod_table_index_size(records_max);

    /* all ones is the number of no record: NGX_GITPOD_TABLE_DEAD */

    for (table->number_mask = 1; table->number_mask <= records_max; ) {
        table->number_mask = table->number_mask * 2 + 1;
    }

    table->key_max = key_max;
    table->value_size = value_size;
    table->slot_size = ngx_gitpod_table_align(value_size);
    table->record_size = sizeof(ngx_gitpod_record_t)
                         + ngx_gitpod_table_align(key_max)
                         + 2 * table->slot_size;

    index = sizeof(uint32_t) * table->index_size;

    table->index[0] = (uint32_t *) (void *) memory;
    table->index[1] = (uint32_t *) (void *) (memory + index);
    table->records = memory + 2 * index;

    return table->records + (size_t) records_max * table->record_size;
}


ngx_int_t
ngx_gitpod_table_get(ngx_gitpod_table_t *table, u_char *key, size_t len,
    void *value)
{
    uint32_t              entry, hash, i, mask, n, *index;
    uint64_t              structure;
    ngx_uint_t            tries;
    ngx_gitpod_record_t  *rec;

    if (len == 0 || len > table->key_max) {
        return NGX_DECLINED;
    }

    hash = ngx_murmur_hash2(key, len);
    mask = table->index_size - 1;

    for (tries = 0; tries < NGX_GITPOD_TABLE_RETRIES; tries++) {

        structure = __atomic_load_n(&table->structure, __ATOMIC_ACQUIRE);
        index = table->index[__atomic_load_n(&table->active,
                                             __ATOMIC_ACQUIRE) & 1];

        for (i = 0; i <= mask; i++) {
            entry = __atomic_load_n(&index[(hash + i) & mask],
                                    __ATOMIC_ACQUIRE);

            if (entry == 0) {
                break;
            }

            n = ngx_gitpod_table_number(table, entry);

            if (n > table->records_max
                || entry != ngx_gitpod_table_entry(table, n - 1, hash))
            {
                continue;
            }

            rec = ngx_gitpod_table_record(table, n - 1);
            ngx_gitpod_table_prefetch(table, rec);

            if (__atomic_load_n(&rec->hash, __ATOMIC_RELAXED) == hash
                && ngx_gitpod_table_match(table, rec, key, len, value)
                   == NGX_OK)
            {
                return NGX_OK;
            }
        }

        __atomic_thread_fence(__ATOMIC_ACQUIRE);

        if (__atomic_load_n(&table->structure, __ATOMIC_RELAXED)
            == structure)
        {
            break;
        }
    }

    return NGX_DECLINED;
}


/*
 * A record of a large table is in no cache, and which of its slots is current
 * stands in it: all its lines are asked for at once, so that a reader waits
 * for memory once and not three times.
 */

static ngx_inline void
ngx_gitpod_table_prefetch(ngx_gitpod_table_t *table, ngx_gitpod_record_t *rec)
{
    u_char  *p, *last;

    p = (u_char *) rec;
    last = p + ngx_min(table->record_size, NGX_GITPOD_TABLE_PREFETCH);

    for ( /* void */ ; p < last; p += NGX_GITPOD_TABLE_LINE) {
        __builtin_prefetch(p);
    }
}


static ngx_int_t
ngx_gitpod_table_match(ngx_gitpod_table_t *table, ngx_gitpod_record_t *rec,
    u_char *key, size_t len, void *value)
{
    uint64_t    seq;
    ngx_uint_t  tries;

    for (tries = 0; tries < NGX_GITPOD_TABLE_RETRIES; tries++) {

        seq = __atomic_load_n(&rec->seq, __ATOMIC_ACQUIRE);

        if (rec->live[seq & 1] && rec->key_len == len
            && ngx_memcmp(ngx_gitpod_table_key(rec), key, len) == 0)
        {
            ngx_memcpy(value, ngx_gitpod_table_value(table, rec, seq),
                       table->value_size);

            __atomic_thread_fence(__ATOMIC_ACQUIRE);

            if (__atomic_load_n(&rec->seq, __ATOMIC_RELAXED) != seq) {
                continue;
            }

            if (!rec->referenced) {
                __atomic_store_n(&rec->referenced, 1, __ATOMIC_RELAXED);
            }

            return NGX_OK;
        }

        __atomic_thread_fence(__ATOMIC_ACQUIRE);

        if (__atomic_load_n(&rec->seq, __ATOMIC_RELAXED) == seq) {
            break;
        }
    }

    return NGX_DECLINED;
}


/* The place in the index of a live key, or DEAD. */

static uint32_t
ngx_gitpod_table_place(ngx_gitpod_table_t *table, u_char *key, size_t len,
    uint32_t hash)
{
    uint32_t              entry, i, mask, n, *index;
    ngx_gitpod_record_t  *rec;

    index = table->index[table->active & 1];
    mask = table->index_size - 1;

    for (i = 0; i <= mask; i++) {
        entry = index[(hash + i) & mask];

        if (entry == 0) {
            break;
        }

        n = ngx_gitpod_table_number(table, entry);

        if (n > table->records_max
            || entry != ngx_gitpod_table_entry(table, n - 1, hash))
        {
            continue;
        }

        rec = ngx_gitpod_table_record(table, n - 1);

        if (rec->hash == hash
            && ngx_gitpod_table_live(rec) && rec->key_len == len
            && ngx_memcmp(ngx_gitpod_table_key(rec), key, len) == 0)
        {
            return (hash + i) & mask;
        }
    }

    return NGX_GITPOD_TABLE_DEAD;
}


void *
ngx_gitpod_table_find(ngx_gitpod_table_t *table, u_char *key, size_t len)
{
    uint32_t              place;
    ngx_gitpod_record_t  *rec;

    place = ngx_gitpod_table_place(table, key, len,
                                   ngx_murmur_hash2(key, len));

    if (place == NGX_GITPOD_TABLE_DEAD) {
        return NULL;
    }

    rec = ngx_gitpod_table_record(table,
                                  ngx_gitpod_table_at(table, place));

    return ngx_gitpod_table_value(table, rec, rec->seq);
}


ngx_int_t
ngx_gitpod_table_set(ngx_gitpod_table_t *table, u_char *key, size_t len,
    const void *value)
{
    uint32_t              hash, n, place;
    ngx_gitpod_record_t  *rec;

    if (len == 0 || len > table->key_max) {
        return NGX_DECLINED;
    }

    hash = ngx_murmur_hash2(key, len);
    place = ngx_gitpod_table_place(table, key, len, hash);

    if (place != NGX_GITPOD_TABLE_DEAD) {
        n = ngx_gitpod_table_at(table, place);

    } else {
        n = ngx_gitpod_table_alloc(table);

        if (n == NGX_GITPOD_TABLE_DEAD) {
            return NGX_BUSY;
        }

        ngx_gitpod_table_name(table, n, key, len);
        ngx_gitpod_table_enter(table, n, hash);
        table->live++;
    }

    ngx_gitpod_table_write(table, n, value);

    rec = ngx_gitpod_table_record(table, n);
    rec->touched = table->generation;

    __atomic_add_fetch(&table->sequence, 1, __ATOMIC_RELEASE);

    return NGX_OK;
}


/* The key of a record that is dead. */

static void
ngx_gitpod_table_name(ngx_gitpod_table_t *table, uint32_t n, u_char *key,
    size_t len)
{
    ngx_gitpod_record_t  *rec;

    rec = ngx_gitpod_table_record(table, n);

    /* not before the sequence that made it dead */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);

    rec->key_len = (u_char) len;
    ngx_memcpy(ngx_gitpod_table_key(rec), key, len);
}


static void
ngx_gitpod_table_write(ngx_gitpod_table_t *table, uint32_t n,
    const void *value)
{
    uint64_t              seq;
    ngx_gitpod_record_t  *rec;

    rec = ngx_gitpod_table_record(table, n);
    seq = rec->seq + 1;

    /* no write to this slot before the sequence that made it idle */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);

    rec->live[seq & 1] = (value != NULL);

    if (value) {
        ngx_memcpy(ngx_gitpod_table_value(table, rec, seq), value,
                   table->value_size);
    }

    __atomic_store_n(&rec->seq, seq, __ATOMIC_RELEASE);
}


static uint32_t
ngx_gitpod_table_alloc(ngx_gitpod_table_t *table)
{
    uint32_t              n;
    ngx_gitpod_record_t  *rec;

    n = table->free;

    if (n) {
        rec = ngx_gitpod_table_record(table, n - 1);
        table->free = rec->next;
        return n - 1;
    }

    if (table->high < table->records_max) {
        return table->high++;
    }

    return NGX_GITPOD_TABLE_DEAD;
}


static void
ngx_gitpod_table_enter(ngx_gitpod_table_t *table, uint32_t n, uint32_t hash)
{
    uint32_t              i, mask, *place;
    ngx_gitpod_record_t  *rec;

    rec = ngx_gitpod_table_record(table, n);
    rec->hash = hash;

    mask = table->index_size - 1;

    /* half of the places are free: records_max is at most half of them */

    for (i = 0; i <= mask; i++) {
        place = &table->index[table->active & 1][(hash + i) & mask];

        if (*place == 0 || *place == NGX_GITPOD_TABLE_DEAD) {

            if (*place == NGX_GITPOD_TABLE_DEAD) {
                table->markers--;
            }

            __atomic_store_n(place, ngx_gitpod_table_entry(table, n, hash),
                             __ATOMIC_RELEASE);
            return;
        }
    }
}


static void
ngx_gitpod_table_leave(ngx_gitpod_table_t *table, uint32_t place)
{
    uint32_t              n;
    ngx_gitpod_record_t  *rec;

    n = ngx_gitpod_table_at(table, place);
    rec = ngx_gitpod_table_record(table, n);

    ngx_gitpod_table_write(table, n, NULL);

    __atomic_add_fetch(&table->structure, 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&table->index[table->active & 1][place],
                     NGX_GITPOD_TABLE_DEAD, __ATOMIC_SEQ_CST);

    rec->next = table->free;
    rec->referenced = 0;
    table->free = n + 1;

    table->live--;
    table->markers++;

    __atomic_add_fetch(&table->sequence, 1, __ATOMIC_RELEASE);

    /* long chains of dead places would make every miss slow */

    if (table->markers > table->index_size / 4) {
        ngx_gitpod_table_repair(table);
    }
}


void
ngx_gitpod_table_remove(ngx_gitpod_table_t *table, u_char *key, size_t len)
{
    uint32_t  place;

    place = ngx_gitpod_table_place(table, key, len,
                                   ngx_murmur_hash2(key, len));

    if (place != NGX_GITPOD_TABLE_DEAD) {
        ngx_gitpod_table_leave(table, place);
    }
}


void
ngx_gitpod_table_touch(ngx_gitpod_table_t *table, u_char *key, size_t len)
{
    uint32_t              place;
    ngx_gitpod_record_t  *rec;

    place = ngx_gitpod_table_place(table, key, len,
                                   ngx_murmur_hash2(key, len));

    if (place != NGX_GITPOD_TABLE_DEAD) {
        rec = ngx_gitpod_table_record(table,
                                      ngx_gitpod_table_at(table, place));
        rec->touched = table->generation;
    }
}


void
ngx_gitpod_table_evict(ngx_gitpod_table_t *table)
{
    uint32_t              i, n;
    ngx_gitpod_record_t  *rec;

    /* after one turn nothing is referenced, unless readers are very busy */

    for (i = 0; i < table->high * 2; i++) {
        n = table->hand++ % table->high;

        rec = ngx_gitpod_table_record(table, n);

        if (!ngx_gitpod_table_live(rec)) {
            continue;
        }

        if (rec->referenced && i + 1 < table->high * 2) {
            rec->referenced = 0;
            continue;
        }

        ngx_gitpod_table_drop(table, n);
        return;
    }
}


void *
ngx_gitpod_table_walk(ngx_gitpod_table_t *table, uint32_t *n, ngx_str_t *key)
{
    ngx_gitpod_record_t  *rec;

    for ( /* void */ ; *n < table->high; (*n)++) {
        rec = ngx_gitpod_table_record(table, *n);

        if (ngx_gitpod_table_live(rec)) {
            key->data = ngx_gitpod_table_key(rec);
            key->len = rec->key_len;

            return ngx_gitpod_table_value(table, rec, rec->seq);
        }
    }

    return NULL;
}


void
ngx_gitpod_table_drop(ngx_gitpod_table_t *table, uint32_t n)
{
    ngx_gitpod_record_t  *rec;

    rec = ngx_gitpod_table_record(table, n);

    ngx_gitpod_table_remove(table, ngx_gitpod_table_key(rec), rec->key_len);
}


ngx_uint_t
ngx_gitpod_table_touched(ngx_gitpod_table_t *table, uint32_t n)
{
    ngx_gitpod_record_t  *rec;

    rec = ngx_gitpod_table_record(table, n);

    return rec->touched == table->generation;
}


void
ngx_gitpod_table_repair(ngx_gitpod_table_t *table)
{
    uint32_t              i, mask, n, *index;
    ngx_gitpod_record_t  *rec;

    __atomic_add_fetch(&table->structure, 1, __ATOMIC_SEQ_CST);

    index = table->index[(table->active + 1) & 1];
    ngx_memzero(index, sizeof(uint32_t) * table->index_size);

    mask = table->index_size - 1;
    table->free = 0;
    table->live = 0;

    for (n = table->high; n-- > 0; /* void */ ) {
        rec = ngx_gitpod_table_record(table, n);

        if (!ngx_gitpod_table_live(rec)) {
            rec->next = table->free;
            table->free = n + 1;
            continue;
        }

        for (i = 0; index[(rec->hash + i) & mask] != 0; i++) { /* void */ }

        index[(rec->hash + i) & mask] = ngx_gitpod_table_entry(table, n,
                                                               rec->hash);
        table->live++;
    }

    table->markers = 0;

    __atomic_add_fetch(&table->active, 1, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&table->structure, 1, __ATOMIC_SEQ_CST);
}
