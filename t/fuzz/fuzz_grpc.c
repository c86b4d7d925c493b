#include <stdlib.h>
#include <string.h>

#include "core/grpc.h"

/*
 * Frames of a gRPC-web body: however it is cut, each byte is of the same kind;
 * a trailer's lines lie inside it. The same bytes as a timeout and as a message.
 */
#define MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void kinds(const uint8_t *data, size_t size, size_t step, char *out, gp_grpc_scan_t *scan)
{
    enum gp_grpc_run run;
    size_t at, n;

    memset(scan, 0, sizeof(*scan));
    for (at = 0; at < size; at += n) {
        n = size - at < step ? size - at : step;
        n = gp_grpc_scan(scan, data + at, n, &run);
        if (n == 0 || n > size - at) {
            abort();
        }
        memset(out + at, (char) run, n);
    }
}


static void lines(const char *text, size_t len)
{
    gp_span_t rest = {text, len}, name, value;
    size_t left;

    for (left = len; gp_grpc_trailer_next(&rest, &name, &value) == 1; left = rest.len) {
        if (rest.len >= left || rest.ptr + rest.len != text + len || name.len == 0 || value.ptr + value.len > text + len ||
            value.ptr < name.ptr + name.len) {
            abort();
        }
    }
}


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char whole[MAX], cut[MAX], text[3 * MAX + 1];
    gp_grpc_scan_t a, b;
    gp_span_t name;
    uint64_t ms;
    size_t n, i;

    if (size == 0 || size > MAX) {
        return 0;
    }

    kinds(data, size, size, whole, &a);
    kinds(data, size, 1 + data[0] % 7, cut, &b);
    if (memcmp(whole, cut, size) != 0 || a.done != b.done || a.left != b.left || a.header_len != b.header_len) {
        abort();
    }

    lines((const char *) data, size);
    n = gp_grpc_message_escape((const char *) data, size, text);
    for (i = 0; i < n; i++) {
        if (n > sizeof(text) - 1 || text[i] < 0x20 || text[i] > 0x7e) {
            abort();
        }
    }

    memcpy(text, data, size);
    text[size] = '\0';
    if (gp_grpc_timeout_parse(text, &ms) == 0 && ms > 359999996400000) {
        abort();
    }
    if (gp_grpc_health_service(data, size, &name) == 0 && name.len > 0 && name.ptr + name.len != (const char *) data + size) {
        abort();
    }
    (void) gp_grpc_is_native((const char *) data, size);
    (void) gp_grpc_is_web((const char *) data, size);

    return 0;
}
