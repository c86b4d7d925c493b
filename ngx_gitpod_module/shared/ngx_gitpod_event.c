
#include "ngx_gitpod_event.h"
#include "ngx_gitpod_zone.h"


#define NGX_GITPOD_EVENTS_RETRIES  1000 /* a change takes < 1 us */
#define NGX_GITPOD_EVENTS_WALKS    8    /* one may meet what goes meanwhile */


static void ngx_gitpod_events_set(ngx_gitpod_events_t *events,
    ngx_gitpod_events_state_t *state);
static void ngx_gitpod_events_free(ngx_gitpod_events_t *events,
    ngx_gitpod_events_state_t *state, size_t size);
static void ngx_gitpod_events_copy_out(ngx_gitpod_events_t *events,
    uint64_t position, void *to, size_t len);
static void ngx_gitpod_events_copy_in(ngx_gitpod_events_t *events,
    uint64_t position, const void *from, size_t len);
static ngx_int_t ngx_gitpod_events_walk(ngx_gitpod_events_t *events,
    uint64_t id, uint64_t *position);


void
ngx_gitpod_events_init(ngx_gitpod_events_t *events, u_char *memory,
    size_t size)
{
    events->bytes = memory;
    events->size = size;
}


void
ngx_gitpod_events_state(ngx_gitpod_events_t *events,
    ngx_gitpod_events_state_t *state)
{
    uint64_t    sequence;
    ngx_uint_t  tries;

    for (tries = 0; tries < NGX_GITPOD_EVENTS_RETRIES; tries++) {

        sequence = __atomic_load_n(&events->sequence, __ATOMIC_ACQUIRE);

        *state = events->state[sequence & 1];

        __atomic_thread_fence(__ATOMIC_ACQUIRE);

        if (__atomic_load_n(&events->sequence, __ATOMIC_RELAXED) == sequence) {
            break;
        }
    }
}


static void
ngx_gitpod_events_set(ngx_gitpod_events_t *events,
    ngx_gitpod_events_state_t *state)
{
    uint64_t  sequence;

    sequence = events->sequence + 1;

    __atomic_thread_fence(__ATOMIC_SEQ_CST);

    events->state[sequence & 1] = *state;

    __atomic_store_n(&events->sequence, sequence, __ATOMIC_RELEASE);
}


ngx_int_t
ngx_gitpod_events_read(ngx_gitpod_events_t *events, uint64_t *position,
    ngx_gitpod_event_t *event, u_char *data)
{
    size_t                     len;
    ngx_gitpod_events_state_t  state;

    ngx_gitpod_events_state(events, &state);

    if (*position == state.head) {
        return NGX_DONE;
    }

    if (*position < state.tail || *position > state.head) {
        return NGX_DECLINED;
    }

    ngx_gitpod_events_copy_out(events, *position, event,
                               sizeof(ngx_gitpod_event_t));

    /* lengths that were torn are still less than the bounds of data */

    len = ngx_min(event->data_len, GP_EVENT_RECORD_MAX);

    if (data) {
        ngx_gitpod_events_copy_out(events,
                                   *position + sizeof(ngx_gitpod_event_t),
                                   data, len);
    }

    __atomic_thread_fence(__ATOMIC_ACQUIRE);

    ngx_gitpod_events_state(events, &state);

    if (*position < state.tail) {
        return NGX_DECLINED;
    }

    *position += sizeof(ngx_gitpod_event_t) + len;

    return NGX_OK;
}


ngx_int_t
ngx_gitpod_events_find(ngx_gitpod_events_t *events, uint64_t id,
    uint64_t *position)
{
    ngx_uint_t                 tries;
    ngx_gitpod_events_state_t  state;

    /* entries may go while this walks over them */

    for (tries = 0; tries < NGX_GITPOD_EVENTS_WALKS; tries++) {

        ngx_gitpod_events_state(events, &state);

        if (id < state.floor || id > state.last) {
            return NGX_DECLINED;
        }

        if (id == state.last) {
            *position = state.head;
            return NGX_OK;
        }

        *position = state.tail;

        if (ngx_gitpod_events_walk(events, id, position) == NGX_OK) {
            return NGX_OK;
        }
    }

    return NGX_DECLINED;
}


static ngx_int_t
ngx_gitpod_events_walk(ngx_gitpod_events_t *events, uint64_t id,
    uint64_t *position)
{
    uint64_t            next;
    ngx_int_t           rc;
    ngx_gitpod_event_t  event;

    for ( ;; ) {
        next = *position;

        rc = ngx_gitpod_events_read(events, &next, &event, NULL);

        if (rc == NGX_DECLINED) {
            return NGX_DECLINED;
        }

        if (rc == NGX_DONE || event.id > id) {
            return NGX_OK;
        }

        *position = next;
    }
}


ngx_int_t
ngx_gitpod_events_push(ngx_gitpod_zone_t *zone, gp_event_t *event)
{
    size_t                      size;
    ngx_gitpod_event_t          entry;
    ngx_gitpod_events_t        *events;
    ngx_gitpod_events_state_t   state;

    events = &zone->events;

    ngx_memzero(&entry, sizeof(ngx_gitpod_event_t));

    entry.id = event->id;
    entry.data_len = (uint16_t) event->data.len;
    entry.user_len = (u_char) event->user.len;
    entry.kind_len = (u_char) event->kind.len;
    ngx_memcpy(entry.user, event->user.ptr, event->user.len);
    ngx_memcpy(entry.kind, event->kind.ptr, event->kind.len);

    size = sizeof(ngx_gitpod_event_t) + event->data.len;

    ngx_gitpod_zone_lock(zone);

    ngx_gitpod_events_state(events, &state);

    if (event->id <= state.last) {
        ngx_gitpod_zone_unlock(zone);
        return NGX_DECLINED;
    }

    ngx_gitpod_events_free(events, &state, size);

    ngx_gitpod_events_copy_in(events, state.head, &entry,
                              sizeof(ngx_gitpod_event_t));
    ngx_gitpod_events_copy_in(events, state.head + sizeof(ngx_gitpod_event_t),
                              event->data.ptr, event->data.len);

    state.head += size;
    state.last = event->id;

    ngx_gitpod_events_set(events, &state);

    ngx_gitpod_zone_unlock(zone);

    return NGX_OK;
}


/* The oldest entries go until so many bytes are free. */

static void
ngx_gitpod_events_free(ngx_gitpod_events_t *events,
    ngx_gitpod_events_state_t *state, size_t size)
{
    ngx_gitpod_event_t  entry;

    if (state->head + size - state->tail <= events->size) {
        return;
    }

    do {
        ngx_gitpod_events_copy_out(events, state->tail, &entry,
                                   sizeof(ngx_gitpod_event_t));

        state->tail += sizeof(ngx_gitpod_event_t) + entry.data_len;
        state->floor = entry.id;

    } while (state->head + size - state->tail > events->size);

    ngx_gitpod_events_set(events, state);

    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}


void
ngx_gitpod_events_restart(ngx_gitpod_zone_t *zone, uint64_t floor)
{
    ngx_gitpod_events_state_t  state;

    ngx_gitpod_zone_lock(zone);

    ngx_gitpod_events_state(&zone->events, &state);

    /* a byte that nobody reads: also who had read everything is behind now */

    state.head++;
    state.tail = state.head;
    state.floor = floor;
    state.last = 0;

    ngx_gitpod_events_set(&zone->events, &state);

    ngx_gitpod_zone_unlock(zone);
}


static void
ngx_gitpod_events_copy_out(ngx_gitpod_events_t *events, uint64_t position,
    void *to, size_t len)
{
    size_t  at, part;

    at = (size_t) (position % events->size);
    part = ngx_min(len, events->size - at);

    ngx_memcpy(to, events->bytes + at, part);
    ngx_memcpy((u_char *) to + part, events->bytes, len - part);
}


static void
ngx_gitpod_events_copy_in(ngx_gitpod_events_t *events, uint64_t position,
    const void *from, size_t len)
{
    size_t  at, part;

    at = (size_t) (position % events->size);
    part = ngx_min(len, events->size - at);

    ngx_memcpy(events->bytes + at, from, part);
    ngx_memcpy(events->bytes, (const u_char *) from + part, len - part);
}
