#include <stdlib.h>
#include <string.h>

#include "core/event.h"
#include "core/scope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What Redis tells and what clients send as Last-Event-ID. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gp_span_t text = {(const char *) data, size};
    char id_text[GP_EVENT_ID_TEXT_MAX];
    gp_event_t event;
    uint64_t id;
    size_t len;

    if (gp_event_id_parse(text, &id)) {
        len = gp_event_id_format(id, id_text);
        if (len != size || memcmp(id_text, data, size) != 0) {
            abort(); /* an id has one text */
        }
    }
    if (gp_event_message_parse(text, &event) || gp_event_record_parse(text, &event)) {
        if (event.kind.len == 0 || event.kind.len > GP_EVENT_KIND_MAX || event.user.len != GP_USER_ID_LEN ||
            event.data.len > GP_EVENT_RECORD_MAX || event.data.ptr + event.data.len != text.ptr + size) {
            abort();
        }
        if (memchr(event.data.ptr, '\n', event.data.len) || memchr(event.data.ptr, '\r', event.data.len)) {
            abort(); /* it must stay one line of the stream */
        }
    }
    (void) gp_scope_all(text);

    return 0;
}
