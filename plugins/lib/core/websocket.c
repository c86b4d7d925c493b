#include "core/websocket.h"
#include "core/code.h"

#define WEBSOCKET_FIN 0x80
#define WEBSOCKET_OPCODE 0x0f
#define WEBSOCKET_CONTROL 0x08
#define WEBSOCKET_MASKED 0x80
#define WEBSOCKET_LEN 0x7f
#define WEBSOCKET_LEN_16 126
#define WEBSOCKET_LEN_64 127
#define WEBSOCKET_MASK_BYTES 4


/* Bytes of the header that the first two announce. */
static unsigned websocket_head_len(const gp_websocket_t *reader)
{
    unsigned len;

    if (reader->have < 2) {
        return 2;
    }

    len = reader->head[1] & WEBSOCKET_LEN;

    return len == WEBSOCKET_LEN_64 ? 10 : len == WEBSOCKET_LEN_16 ? 4 : 2;
}


/* A whole header: 1 and the frame, or what is wrong with it. */
static int websocket_frame(gp_websocket_t *reader, gp_websocket_frame_t *frame)
{
    const uint8_t *head = reader->head;
    unsigned i, head_len = websocket_head_len(reader);
    uint64_t len = head[1] & WEBSOCKET_LEN;

    if (head_len > 2) {
        len = 0;
        for (i = 2; i < head_len; i++) {
            len = len << 8 | head[i];
        }
    }

    frame->opcode = head[0] & WEBSOCKET_OPCODE;
    frame->final = (head[0] & WEBSOCKET_FIN) != 0;
    frame->len = len;

    if (!(head[1] & WEBSOCKET_MASKED) || len >> 63) {
        return -GP_INVALID_ARGUMENT;
    }

    if (frame->opcode & WEBSOCKET_CONTROL) {
        if (frame->opcode > GP_WEBSOCKET_PONG || !frame->final || head_len > 2) {
            return -GP_INVALID_ARGUMENT;
        }

    } else if (frame->opcode > GP_WEBSOCKET_BINARY) {
        return -GP_INVALID_ARGUMENT;
    }

    reader->left = WEBSOCKET_MASK_BYTES + len;
    reader->have = 0;

    return 1;
}


int gp_websocket_read(gp_websocket_t *reader, const uint8_t **data, size_t *len, gp_websocket_frame_t *ret_frame)
{
    int rc;
    size_t skip;

    if (reader->broken) {
        return -GP_INVALID_ARGUMENT;
    }

    skip = reader->left < *len ? (size_t) reader->left : *len;
    reader->left -= skip;
    *data += skip;
    *len -= skip;

    while (*len > 0) {
        reader->head[reader->have++] = **data;
        (*data)++;
        (*len)--;

        if (reader->have < websocket_head_len(reader)) {
            continue;
        }

        rc = websocket_frame(reader, ret_frame);
        reader->broken = rc < 0;

        return rc;
    }

    return 0;
}
