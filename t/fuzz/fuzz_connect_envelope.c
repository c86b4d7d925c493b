#include <stdlib.h>
#include <string.h>

#include "wire/connect.h"

/*
 * A body of envelopes: what is parsed lies inside the input, and cut anywhere
 * before its end an envelope only asks for more. The same bytes as a timeout:
 * ten digits at most.
 */
#define LIMIT 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gp_connect_envelope_t e, part;
    uint8_t header[GP_CONNECT_HEADER_LEN];
    char text[16];
    uint64_t ms;
    size_t at;

    if (size > 0 && size < sizeof(text)) {
        memcpy(text, data, size);
        text[size] = '\0';
        if (gp_connect_timeout_parse(text, &ms) == 0 && (ms > 9999999999 || strspn(text, "0123456789") != strlen(text))) {
            abort();
        }
    }

    for (at = 0; gp_connect_envelope_parse(data + at, size - at, LIMIT, &e) == 0; at += e.total_len) {
        if (e.payload != data + at + GP_CONNECT_HEADER_LEN || e.payload_len > LIMIT || e.total_len > size - at) {
            abort();
        }
        if (gp_connect_envelope_parse(data + at, e.total_len - 1, LIMIT, &part) != GP_CONNECT_MORE) {
            abort();
        }

        gp_connect_put_header(header, e.flags, (uint32_t) e.payload_len);
        if (__builtin_memcmp(header, data + at, sizeof(header)) != 0) {
            abort();
        }
    }

    return 0;
}
