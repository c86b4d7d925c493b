#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "core/contract.h"
#include "core/span.h"

/*
 * Records of gitpod:events (docs/contracts/redis.md). A record is
 * "<kind> <user> <data>", a message of the channel "<id> <record>".
 */

#define GP_EVENT_ID_SEQUENCE_BITS 20 /* of an id as a number: more than a million events in a millisecond have no id */
#define GP_EVENT_ID_TEXT_MAX 23 /* bytes: 14 digits, '-', 7 digits, NUL */

/* The spans point into the text that was parsed. */
typedef struct {
    uint64_t id; /* 0: a record, which has none in its text */
    gp_span_t kind;
    gp_span_t user;
    gp_span_t data;
} gp_event_t;

/* "<ms>-<sequence>" as a number that sorts as the ids do. */
bool gp_event_id_parse(gp_span_t text, uint64_t *ret_id);
/* Writes the text and NUL; returns its length. */
size_t gp_event_id_format(uint64_t id, char ret_text[GP_EVENT_ID_TEXT_MAX]);
/*
 * data is one line of an object: nothing more is looked at, since nobody here
 * reads it. False: not a record, or longer than GP_EVENT_RECORD_MAX.
 */
bool gp_event_record_parse(gp_span_t text, gp_event_t *ret_event);
bool gp_event_message_parse(gp_span_t text, gp_event_t *ret_event);
