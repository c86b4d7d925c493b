
/*
 * A table of records in shared memory: a key, a value, found by hash.  See
 * ngx_gitpod.h for how readers and writers meet, docs/adr/023-index-tags.md
 * for why it looks like this.
 *
 * A group is eight places for records and one word with a byte for each: 0
 * when the place is free, else a tag, some bits of the hash.  The hash tells
 * the group a record is at home in; when that is full the next one has it, and
 * so on, and each group counts the records that had to pass it.  So all that a
 * reader looks at before the record itself is about one byte a place, which a
 * processor keeps near.
 *
 * A value is never written in place: the new one goes to a free place, and the
 * store of the word makes it the current one and the old place free.  Whoever
 * is killed before that store has changed nothing.  Only when the group has no
 * free place it takes two stores, in two groups; table->move tells the next
 * writer to go on where it ended.
 *
 * A reader that copied a record looks whether the place still has its tag, and
 * whether the sequence of the place is what it was, and even: the writer that
 * takes a place makes it odd first.  A reader that found nothing looks whether
 * any record went to another place meanwhile.
 */


#ifndef _NGX_GITPOD_TABLE_H_INCLUDED_
#define _NGX_GITPOD_TABLE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


#define NGX_GITPOD_TABLE_GROUP    8     /* places, a byte each of a word */
#define NGX_GITPOD_TABLE_SPLIT    512   /* bytes: larger ones lie together */


typedef struct {
    uint32_t     records_max;
    uint32_t     groups_n;
    uint32_t     key_max;
    uint32_t     value_size;
    uint32_t     head_size;             /* of a record, in heads */
    uint32_t     tail_size;             /* the rest, in tails */

    uint64_t    *words;                 /* the tags of a group */
    u_char      *passed;                /* records that had to, by group */
    uint32_t    *touched;               /* the sweep, by place */
    u_char      *heads;
    u_char      *tails;

    uint64_t     structure;             /* moves when a reader could miss */
    uint64_t     sequence;              /* moves with every change */
    uint64_t     move;                  /* between groups: to, from; or 0 */

    uint32_t     used;                  /* 0: it never had a record */
    uint32_t     live;
    uint32_t     hand;                  /* of the clock that evicts */
    uint32_t     generation;            /* of the sweep */
} ngx_gitpod_table_t;


/*
 * Bytes that a table of so many records takes; keys of at most 255, values of
 * at most 65535.  head: when most values are shorter than value_size, how many
 * bytes of a record lie together, so that it is in few lines of memory; else
 * 0: all of them.
 */
size_t ngx_gitpod_table_size(uint32_t records_max, uint32_t key_max,
    uint32_t value_size, uint32_t head);

/* Uses memory that is all zero; returns the first byte behind the table. */
u_char *ngx_gitpod_table_init(ngx_gitpod_table_t *table, u_char *memory,
    uint32_t records_max, uint32_t key_max, uint32_t value_size,
    uint32_t head);

/*
 * Any worker, no lock: NGX_OK and a copy of the value, as many bytes as were
 * put; or NGX_DECLINED.
 */
ngx_int_t ngx_gitpod_table_get(ngx_gitpod_table_t *table, u_char *key,
    size_t len, void *value);


/*
 * The rest wants the lock.  A value is good until the next call: it may be in
 * place, or a copy.
 */

/* The value of a key, or NULL. */
void *ngx_gitpod_table_find(ngx_gitpod_table_t *table, u_char *key,
    size_t len);

/* NGX_OK, or NGX_BUSY: the table is full. */
ngx_int_t ngx_gitpod_table_set(ngx_gitpod_table_t *table, u_char *key,
    size_t len, const void *value);

/* The same of a value of which only the first bytes say something. */
ngx_int_t ngx_gitpod_table_put(ngx_gitpod_table_t *table, u_char *key,
    size_t len, const void *value, size_t size);

void ngx_gitpod_table_remove(ngx_gitpod_table_t *table, u_char *key,
    size_t len);

/* The current sweep shall leave this one. */
void ngx_gitpod_table_touch(ngx_gitpod_table_t *table, u_char *key,
    size_t len);

/* Drops one record that was not read lately. */
void ngx_gitpod_table_evict(ngx_gitpod_table_t *table);

/*
 * The next live record at or after *n, its number in *n; NULL at the end.  The
 * record may be removed with ngx_gitpod_table_drop(n) while walking.  A change
 * moves a record, within its group if it can: who lets go of the lock only
 * between two groups, each NGX_GITPOD_TABLE_GROUP places, misses none of them.
 */
void *ngx_gitpod_table_walk(ngx_gitpod_table_t *table, uint32_t *n,
    ngx_str_t *key);
void ngx_gitpod_table_drop(ngx_gitpod_table_t *table, uint32_t n);
ngx_uint_t ngx_gitpod_table_touched(ngx_gitpod_table_t *table, uint32_t n);

/* Bytes of the value of that record. */
size_t ngx_gitpod_table_bytes(ngx_gitpod_table_t *table, uint32_t n);

/* Ends what a killed writer began, and counts anew. */
void ngx_gitpod_table_repair(ngx_gitpod_table_t *table);


#endif /* _NGX_GITPOD_TABLE_H_INCLUDED_ */
