#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "rpc/form.h"

/*
 * A query or a form: the value of a field is no longer than the text and has
 * no NUL; the same field, encoded byte by byte, gives the same value.
 */
#define MAX 4096
#define PREFIX "x&text="

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void again(gp_arena_t *arena, const char *value)
{
    static const char digits[] = "0123456789abcdefABCDEF";
    char text[sizeof(PREFIX) + 3 * MAX], *p = text + sizeof(PREFIX) - 1;
    const char *got;
    size_t i;

    memcpy(text, PREFIX, sizeof(PREFIX) - 1);
    for (i = 0; value[i] != '\0'; i++) {
        *p++ = '%';
        *p++ = digits[(uint8_t) value[i] >> 4];
        *p++ = digits[value[i] & 15];
    }
    got = gp_form_find(arena, text, (size_t) (p - text), "text");
    if (got == NULL || strcmp(got, value) != 0) {
        abort();
    }
}


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gp_arena_t *arena;
    const char *value;

    if (size > MAX) {
        return 0;
    }

    arena = gp_arena_new(64 * 1024);
    value = gp_form_find(arena, (const char *) data, size, "text");
    if (value != NULL && strlen(value) > size) {
        abort();
    }
    if (value != NULL) {
        again(arena, value);
    }
    arena = gp_arena_free(arena);

    return 0;
}
