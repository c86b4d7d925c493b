
/*
 * A table of fixed-size records in shared memory: a key, a value, found by
 * hash through an index of record numbers (open addressing).  See ngx_gitpod.h
 * for how readers and writers meet.
 *
 * A reader that finds its sequence unchanged after the copy cannot have seen a
 * half-written slot: the writer of the next value uses the other slot, and the
 * writer of the one after that has raised the sequence first.
 *
 * Order of writes, so that a writer may be killed between any two of them:
 * a new record gets into the index before its slot becomes live, and leaves
 * it after its slot is dead.  So whatever is live can be found, and what else
 * a killed writer leaves is a leak that ngx_gitpod_table_repair() collects.
 */


#ifndef _NGX_GITPOD_TABLE_H_INCLUDED_
#define _NGX_GITPOD_TABLE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>


typedef struct {
    uint32_t     records_max;
    uint32_t     index_size;            /* a power of two */
    uint32_t     key_max;
    uint32_t     value_size;
    uint32_t     slot_size;
    uint32_t     record_size;
    uint32_t     number_mask;           /* of an entry of the index */

    uint32_t    *index[2];
    u_char      *records;

    uint64_t     active;                /* its lowest bit: the index in use */
    uint64_t     structure;             /* moves when a reader could miss */
    uint64_t     sequence;              /* moves with every change */

    uint32_t     high;                  /* records ever used */
    uint32_t     free;                  /* first free record + 1, or 0 */
    uint32_t     live;
    uint32_t     markers;               /* dead places in the index */
    uint32_t     hand;                  /* of the clock that evicts */
    uint32_t     generation;            /* of the sweep */
} ngx_gitpod_table_t;


/* Bytes that a table of so many records takes; keys of at most 255. */
size_t ngx_gitpod_table_size(uint32_t records_max, uint32_t key_max,
    uint32_t value_size);

/* Uses memory that is all zero; returns the first byte behind the table. */
u_char *ngx_gitpod_table_init(ngx_gitpod_table_t *table, u_char *memory,
    uint32_t records_max, uint32_t key_max, uint32_t value_size);

/* Any worker, no lock: NGX_OK and a copy of the value, or NGX_DECLINED. */
ngx_int_t ngx_gitpod_table_get(ngx_gitpod_table_t *table, u_char *key,
    size_t len, void *value);


/* The rest wants the lock. */

/* The value of a key in place, or NULL. */
void *ngx_gitpod_table_find(ngx_gitpod_table_t *table, u_char *key,
    size_t len);

/* NGX_OK, or NGX_BUSY: the table is full. */
ngx_int_t ngx_gitpod_table_set(ngx_gitpod_table_t *table, u_char *key,
    size_t len, const void *value);

void ngx_gitpod_table_remove(ngx_gitpod_table_t *table, u_char *key,
    size_t len);

/* The current sweep shall leave this one. */
void ngx_gitpod_table_touch(ngx_gitpod_table_t *table, u_char *key,
    size_t len);

/* Drops one record that was not read lately. */
void ngx_gitpod_table_evict(ngx_gitpod_table_t *table);

/*
 * The next live record at or after *n, its number in *n; NULL at the end.  The
 * record may be removed with ngx_gitpod_table_drop(n) while walking.
 */
void *ngx_gitpod_table_walk(ngx_gitpod_table_t *table, uint32_t *n,
    ngx_str_t *key);
void ngx_gitpod_table_drop(ngx_gitpod_table_t *table, uint32_t n);
ngx_uint_t ngx_gitpod_table_touched(ngx_gitpod_table_t *table, uint32_t n);

/* Makes index and free list anew from what is live. */
void ngx_gitpod_table_repair(ngx_gitpod_table_t *table);


#endif /* _NGX_GITPOD_TABLE_H_INCLUDED_ */
