#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/field.h"

/* What is taken for tokens goes into a header of an answer: nothing in it may end one, and a list is not less than one token. */

#define MAX 1024

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *value = (const char *) data;
    bool one = gp_field_tokens(value, size, MAX, false), list = gp_field_tokens(value, size, MAX, true);
    size_t i;

    if ((one && !list) || ((one || list) && (size == 0 || size > MAX))) {
        abort();
    }

    for (i = 0; list && i < size; i++) {
        if ((one || strchr(" ,", data[i]) == NULL) &&
            (data[i] <= ' ' || data[i] >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", data[i]) != NULL)) {
            abort();
        }
    }

    return 0;
}
