#include <stdlib.h>
#include <string.h>

#include "core/grpc.h"
#include "core/reflection.h"

/*
 * Two bytes of length, a request, a set. Whatever both are, an answer is a gRPC
 * frame as long as it says, and a file lies inside the set; only a set that was
 * checked is asked, as in the gateway, but for every third.
 */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t head[GP_REFLECTION_HEAD_MAX];
    gp_span_t request, set, file;
    size_t len;
    int n;

    if (size < 2) {
        return 0;
    }
    len = (size_t) data[0] << 8 | data[1];
    len = len > size - 2 ? size - 2 : len;
    request = (gp_span_t){(const char *) data + 2, len};
    set = (gp_span_t){(const char *) data + 2 + len, size - 2 - len};

    if (gp_reflection_check(set) != 0 && size % 3 != 0) {
        return 0;
    }
    n = gp_reflection_answer(set, request, head, &file);
    if (n < 0) {
        return 0;
    }
    len = (size_t) head[1] << 24 | (size_t) head[2] << 16 | (size_t) head[3] << 8 | head[4];
    if (n < GP_GRPC_HEADER_LEN || head[0] != 0 || len != (size_t) n - GP_GRPC_HEADER_LEN + file.len) {
        abort();
    }
    if (file.len > 0 && (file.ptr < set.ptr || file.ptr + file.len > set.ptr + set.len)) {
        abort();
    }

    return 0;
}
