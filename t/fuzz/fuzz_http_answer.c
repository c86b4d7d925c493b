#include <stdint.h>
#include <stdlib.h>

#include "core/http_answer.h"

/* Any bytes as the answer of a server with keys. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *) data;
    gp_http_answer_t answer = {0};

    if (gp_http_answer_parse(text, size, &answer) == 0) {
        if (answer.status < 100 || answer.status > 999 || answer.body.ptr < text || answer.body.ptr + answer.body.len != text + size) {
            abort();
        }
    }

    return 0;
}
