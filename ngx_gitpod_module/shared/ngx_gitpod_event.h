
/*
 * The last events in shared memory: a ring of bytes that the holder of the
 * lease fills from Redis and that every worker reads at its own pace.
 *
 * A position is the number of bytes that were written before it since the
 * ring was made, so it never comes back.  What is current is one of two
 * states, as with the slots of a table.  The writer first makes the state
 * current that has given up the oldest entries, then overwrites them; so a
 * reader that finds its position still there after the copy has read nothing
 * torn, and a writer that is killed leaves a ring that is shorter, no worse.
 */


#ifndef _NGX_GITPOD_EVENT_H_INCLUDED_
#define _NGX_GITPOD_EVENT_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "core/contract.h"
#include "core/event.h"

#include "ngx_gitpod.h"


#define NGX_GITPOD_EVENTS_MIN   65536           /* bytes of the ring */
#define NGX_GITPOD_EVENTS_SIZE  1048576         /* by default, at most */


typedef struct {
    uint64_t                  tail;     /* position of the oldest entry */
    uint64_t                  head;     /* and of the next one */
    uint64_t                  floor;    /* every event after this id is here */
    uint64_t                  last;     /* id of the newest; 0: none */
} ngx_gitpod_events_state_t;


typedef struct {
    uint64_t                   sequence;
    ngx_gitpod_events_state_t  state[2];
    size_t                     size;
    u_char                    *bytes;
    uint32_t                   synced;  /* read from Redis at least once */
} ngx_gitpod_events_t;


/* The head of an entry; its data follows in the ring. */

typedef struct {
    uint64_t                  id;
    uint16_t                  data_len;
    u_char                    user_len;
    u_char                    kind_len;
    u_char                    user[GP_USER_ID_LEN];
    u_char                    kind[GP_EVENT_KIND_MAX];
} ngx_gitpod_event_t;


/* Uses size bytes of memory. */
void ngx_gitpod_events_init(ngx_gitpod_events_t *events, u_char *memory,
    size_t size);


/* any worker, no lock */

void ngx_gitpod_events_state(ngx_gitpod_events_t *events,
    ngx_gitpod_events_state_t *state);

/*
 * NGX_OK and the entry at *position, which moves behind it; data wants
 * GP_EVENT_RECORD_MAX bytes, NULL: the head alone.  NGX_DONE: there is none
 * yet.  NGX_DECLINED: what was there is gone.
 */
ngx_int_t ngx_gitpod_events_read(ngx_gitpod_events_t *events,
    uint64_t *position, ngx_gitpod_event_t *event, u_char *data);

/* NGX_OK and the position of what followed an id; NGX_DECLINED: gone. */
ngx_int_t ngx_gitpod_events_find(ngx_gitpod_events_t *events, uint64_t id,
    uint64_t *position);


/* the holder of the lease */

/* NGX_OK, or NGX_DECLINED: it is there already. */
ngx_int_t ngx_gitpod_events_push(ngx_gitpod_zone_t *zone, gp_event_t *event);

/*
 * What Redis has is no continuation: readers have lost something, and floor
 * is the oldest id that it has.
 */
void ngx_gitpod_events_restart(ngx_gitpod_zone_t *zone, uint64_t floor);


#endif /* _NGX_GITPOD_EVENT_H_INCLUDED_ */
