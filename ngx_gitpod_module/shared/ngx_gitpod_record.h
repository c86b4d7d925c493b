
/*
 * A record of a table and its place: for the two files of the table only.
 */


#ifndef _NGX_GITPOD_RECORD_H_INCLUDED_
#define _NGX_GITPOD_RECORD_H_INCLUDED_


#include "ngx_gitpod_table.h"


#define NGX_GITPOD_TABLE_NONE     0xffffffff


/*
 * The key follows, then the value, both at a multiple of eight.  What does not
 * fit into the head is in the tail of the same place.
 */

typedef struct {
    uint32_t    seq;                    /* odd: being written */
    uint16_t    size;                   /* of the value */
    u_char      key_len;
    u_char      referenced;             /* read since the hand came by */
} ngx_gitpod_record_t;


#define ngx_gitpod_table_align(n)  (((n) + 7) & ~(uint32_t) 7)

#define ngx_gitpod_table_record(t, n)                                         \
    ((ngx_gitpod_record_t *)                                                  \
     (void *) ((t)->heads + (size_t) (n) * (t)->head_size))

#define ngx_gitpod_table_tail(t, n)                                           \
    ((t)->tails + (size_t) (n) * (t)->tail_size)

#define ngx_gitpod_table_key(rec)                                             \
    ((u_char *) (rec) + sizeof(ngx_gitpod_record_t))

/* where its value begins */

#define ngx_gitpod_table_offset(len)                                          \
    (sizeof(ngx_gitpod_record_t) + ngx_gitpod_table_align(len))


/* the group a hash is at home in, and the tag: other bits, never 0 */

#define ngx_gitpod_table_home(t, hash)                                        \
    ((uint32_t) ((uint64_t) (hash) * (t)->groups_n >> 32))

#define ngx_gitpod_table_tag(hash)                                            \
    ((hash) & 0xff ? (hash) & 0xff : 1)

#define ngx_gitpod_table_next(t, group)                                       \
    ((group) + 1 == (t)->groups_n ? 0 : (group) + 1)

#define ngx_gitpod_table_group(n)  ((n) / NGX_GITPOD_TABLE_GROUP)
#define ngx_gitpod_table_shift(n)  ((n) % NGX_GITPOD_TABLE_GROUP * 8)

#define ngx_gitpod_table_live(t, n)                                           \
    ((t)->words[ngx_gitpod_table_group(n)] >> ngx_gitpod_table_shift(n) & 0xff)

#define ngx_gitpod_table_places(t)                                            \
    ((t)->groups_n * NGX_GITPOD_TABLE_GROUP)


/* The highest bit of each byte that is the tag. */

static ngx_inline uint64_t
ngx_gitpod_table_lanes(uint64_t word, uint64_t tag)
{
    word ^= tag * 0x0101010101010101;

    return ~(((word & 0x7f7f7f7f7f7f7f7f) + 0x7f7f7f7f7f7f7f7f)
             | word | 0x7f7f7f7f7f7f7f7f);
}


/* The place of a live key, or NONE. */
uint32_t ngx_gitpod_table_place(ngx_gitpod_table_t *table, u_char *key,
    size_t len, uint32_t hash);

/* Ends a move between groups, the own one or that of a killed writer. */
void ngx_gitpod_table_settle(ngx_gitpod_table_t *table);


#endif /* _NGX_GITPOD_RECORD_H_INCLUDED_ */
