#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/websocket.h"

/*
 * Any bytes as what a client sends, whole and in pieces whose size the first
 * byte says: both ways must see the same frames.
 */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


/* Folds the frames of one reading into a number. */
static uint64_t fold(const uint8_t *data, size_t size, size_t piece)
{
    gp_websocket_t reader = {0};
    gp_websocket_frame_t frame;
    uint64_t sum = 14695981039346656037u;
    size_t at, len, frames = 0;
    int rc = 0;

    for (at = 0; at < size && rc >= 0; at += piece) {
        const uint8_t *p = data + at;

        len = size - at < piece ? size - at : piece;
        while ((rc = gp_websocket_read(&reader, &p, &len, &frame)) == 1) {
            if (frame.opcode > GP_WEBSOCKET_PONG || frame.len >> 63 || ++frames > size) {
                abort();
            }
            sum = (sum ^ frame.opcode ^ frame.len << 8 ^ (uint64_t) frame.final << 7) * 1099511628211u;
        }
        if (rc == 0 && len != 0) {
            abort();
        }
    }

    return sum ^ (uint64_t) (rc < 0);
}


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy;

    if (size < 2) {
        return 0;
    }
    /* A copy of its own: a byte read too far is seen. */
    copy = malloc(size - 1);
    if (!copy) {
        abort();
    }
    memcpy(copy, data + 1, size - 1);
    if (fold(copy, size - 1, size) != fold(copy, size - 1, (size_t) data[0] % 16 + 1)) {
        abort();
    }
    free(copy);

    return 0;
}
