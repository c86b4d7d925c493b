#include <stdio.h>
#include <string.h>

#include "core/event.h"
#include "core/id.h"

#define EVENT_MS_MAX (UINT64_MAX >> GP_EVENT_ID_SEQUENCE_BITS)
#define EVENT_SEQUENCE_MAX ((UINT64_C(1) << GP_EVENT_ID_SEQUENCE_BITS) - 1)


/* Digits up to the end or to stop; false: none, too large, or a zero in front, so that an id has one text only. */
static bool gp_event_number(gp_span_t *text, char stop, uint64_t max, uint64_t *ret_number)
{
    uint64_t number = 0;
    size_t i;

    for (i = 0; i < text->len && text->ptr[i] != stop; i++) {
        if (text->ptr[i] < '0' || text->ptr[i] > '9' || (i == 1 && text->ptr[0] == '0')) {
            return false;
        }
        number = number * 10 + (uint64_t) (text->ptr[i] - '0');
        if (number > max) {
            return false;
        }
    }
    text->ptr += i;
    text->len -= i;
    *ret_number = number;

    return i > 0;
}


bool gp_event_id_parse(gp_span_t text, uint64_t *ret_id)
{
    uint64_t ms, sequence;

    if (!gp_event_number(&text, '-', EVENT_MS_MAX, &ms) || text.len == 0) {
        return false;
    }
    text.ptr++;
    text.len--;
    if (!gp_event_number(&text, '\0', EVENT_SEQUENCE_MAX, &sequence) || text.len > 0) {
        return false;
    }
    *ret_id = ms << GP_EVENT_ID_SEQUENCE_BITS | sequence;

    return true;
}


size_t gp_event_id_format(uint64_t id, char ret_text[GP_EVENT_ID_TEXT_MAX])
{
    int n = snprintf(ret_text, GP_EVENT_ID_TEXT_MAX, "%llu-%llu", (unsigned long long) (id >> GP_EVENT_ID_SEQUENCE_BITS),
                     (unsigned long long) (id & EVENT_SEQUENCE_MAX));

    return (size_t) n;
}


/* Up to a space, which is dropped. */
static bool gp_event_word(gp_span_t *text, gp_span_t *ret_word)
{
    const char *space = text->len == 0 ? NULL : memchr(text->ptr, ' ', text->len);

    if (space == NULL) {
        return false;
    }
    ret_word->ptr = text->ptr;
    ret_word->len = (size_t) (space - text->ptr);
    text->ptr += ret_word->len + 1;
    text->len -= ret_word->len + 1;

    return true;
}


static bool gp_event_kind_valid(gp_span_t kind)
{
    size_t i;

    for (i = 0; i < kind.len; i++) {
        if (!((kind.ptr[i] >= 'a' && kind.ptr[i] <= 'z') || kind.ptr[i] == '_')) {
            return false;
        }
    }

    return kind.len > 0 && kind.len <= GP_EVENT_KIND_MAX;
}


/* A line break, or any control character, would end the line of the stream that carries it. */
static bool gp_event_data_valid(gp_span_t data)
{
    size_t i;

    if (data.len < 2 || data.ptr[0] != '{' || data.ptr[data.len - 1] != '}') {
        return false;
    }
    for (i = 0; i < data.len; i++) {
        if ((unsigned char) data.ptr[i] < ' ') {
            return false;
        }
    }

    return true;
}


bool gp_event_record_parse(gp_span_t text, gp_event_t *ret_event)
{
    if (text.len > GP_EVENT_RECORD_MAX || !gp_event_word(&text, &ret_event->kind) || !gp_event_word(&text, &ret_event->user)) {
        return false;
    }
    ret_event->id = 0;
    ret_event->data = text;

    return gp_event_kind_valid(ret_event->kind) && gp_id_uuid_valid(ret_event->user.ptr, ret_event->user.len) &&
           gp_event_data_valid(ret_event->data);
}


bool gp_event_message_parse(gp_span_t text, gp_event_t *ret_event)
{
    gp_span_t id;
    uint64_t number;

    if (!gp_event_word(&text, &id) || !gp_event_id_parse(id, &number) || !gp_event_record_parse(text, ret_event)) {
        return false;
    }
    ret_event->id = number;

    return true;
}
