#include <stdint.h>
#include <stdlib.h>

#include "core/code.h"
#include "core/websocket.h"
#include "tap.h"

#define FRAMES_MAX 16

typedef struct {
    gp_websocket_frame_t frames[FRAMES_MAX];
    int n;
    int rc; /* of the last call */
} seen_t;


static void take(gp_websocket_t *reader, const uint8_t *data, size_t len, seen_t *seen)
{
    gp_websocket_frame_t frame;

    while ((seen->rc = gp_websocket_read(reader, &data, &len, &frame)) == 1 && seen->n < FRAMES_MAX) {
        seen->frames[seen->n++] = frame;
    }
}


/* A masked frame; returns its length. The payload is all 0x81: it looks like headers. */
static size_t put(uint8_t *p, uint8_t first, size_t payload)
{
    size_t at = 0;

    p[at++] = first;
    if (payload < 126) {
        p[at++] = (uint8_t) (0x80 | payload);
    } else if (payload < 65536) {
        p[at++] = 0x80 | 126;
        p[at++] = (uint8_t) (payload >> 8);
        p[at++] = (uint8_t) payload;
    } else {
        p[at++] = 0x80 | 127;
        for (int i = 7; i >= 0; i--) {
            p[at++] = (uint8_t) ((uint64_t) payload >> (8 * i));
        }
    }
    memset(p + at, 0x81, 4 + payload);

    return at + 4 + payload;
}


static const struct {
    uint8_t first;
    size_t payload;
} stream[] = {
    {0x81, 5}, {0x89, 0}, {0x82, 0}, {0xc1, 125}, {0x8a, 125}, {0x01, 126}, {0x80, 127}, {0x82, 65535}, {0x82, 65536}, {0x88, 2},
};
#define STREAM_N ((int) (sizeof(stream) / sizeof(stream[0])))


static void test_pieces(void)
{
    static const size_t pieces[] = {1, 2, 3, 7, 13, 4096, 200000};
    static uint8_t bytes[200000];
    size_t len = 0, i, at;
    int n, same;

    for (n = 0; n < STREAM_N; n++) {
        len += put(bytes + len, stream[n].first, stream[n].payload);
    }
    for (i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        gp_websocket_t reader = {0};
        seen_t seen = {0};

        for (at = 0; at < len; at += pieces[i]) {
            take(&reader, bytes + at, len - at < pieces[i] ? len - at : pieces[i], &seen);
        }
        same = seen.n == STREAM_N;
        for (n = 0; same && n < STREAM_N; n++) {
            same = seen.frames[n].opcode == (stream[n].first & 0x0f) && seen.frames[n].final == stream[n].first >> 7 &&
                   seen.frames[n].len == stream[n].payload;
        }
        ok(same, "all frames are seen in pieces of %zu bytes", pieces[i]);
        is_int(seen.rc, 0, "and nothing is left over");
    }
}


/* A frame is told once, when its header is whole, however long its payload. */
static void test_early(void)
{
    static const uint8_t head[] = {0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 0x81, 0x81};
    gp_websocket_t reader = {0};
    seen_t seen = {0};

    take(&reader, head, 9, &seen);
    is_int(seen.n, 0, "half a length is no frame");
    take(&reader, head + 9, sizeof(head) - 9, &seen);
    is_int(seen.n, 1, "a whole header is one, before its payload");
    ok(seen.frames[0].len == UINT64_MAX >> 1, "the longest length there is");
}


static void test_broken(void)
{
    static const struct {
        uint8_t bytes[10];
        const char *why;
    } cases[] = {
        {{0x81, 0x05}, "without a mask"},
        {{0x83, 0x85}, "a reserved data opcode"},
        {{0x8b, 0x80}, "a reserved control opcode"},
        {{0x09, 0x80}, "a ping in parts"},
        {{0x89, 0xfe, 0x00, 0x7e}, "a ping of 126 bytes"},
        {{0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0}, "a length with its highest bit set"},
        {{'G', 'E'}, "HTTP"},
    };
    static const uint8_t good[] = {0x81, 0x80, 0, 0, 0, 0};
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        gp_websocket_t reader = {0};
        seen_t seen = {0};

        take(&reader, cases[i].bytes, sizeof(cases[i].bytes), &seen);
        is_int(seen.rc, -GP_INVALID_ARGUMENT, cases[i].why);
        take(&reader, good, sizeof(good), &seen);
        is_int(seen.rc, -GP_INVALID_ARGUMENT, "and what follows is not believed");
        is_int(seen.n, 0, "no frame of it counts");
    }
}


int main(void)
{
    test_pieces();
    test_early();
    test_broken();

    return tap_done();
}
