#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gitpod/test/v1/every.pb-c.h"
#include "rpc/message.h"

/* Any bytes as JSON: a message or an error; a message printed and read again is the same message. */

#define ARENA_BYTES (32u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gp_arena_t *arena = gp_arena_new(ARENA_BYTES);
    gp_err_t err = GP_ERR_INIT;
    ProtobufCMessage *msg = NULL, *again = NULL;
    char *json = NULL, *second = NULL;
    size_t len = 0, second_len = 0;

    if (gp_message_from_json(&gitpod__test__v1__every__descriptor, (const char *) data, size, true, arena, &msg, &err) == 0) {
        if (gp_message_to_json(msg, arena, &json, &len, &err) != 0 ||
            gp_message_from_json(&gitpod__test__v1__every__descriptor, json, len, false, arena, &again, &err) != 0 ||
            gp_message_to_json(again, arena, &second, &second_len, &err) != 0 || strcmp(json, second) != 0) {
            abort();
        }
    } else if (err.code == 0 || err.text[0] == '\0') {
        abort();
    }
    arena = gp_arena_free(arena);

    return 0;
}
