#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gitpod/test/v1/every.pb-c.h"
#include "rpc/message.h"

/* Any bytes as binary protobuf: a message or an error; a message packed is read again, and packs to the same bytes. */

#define ARENA_BYTES (32u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void again(const ProtobufCMessage *msg, gp_arena_t *arena)
{
    gp_err_t err = GP_ERR_INIT;
    ProtobufCMessage *copy = NULL;
    void *one = NULL, *two = NULL;
    size_t one_len = 0, two_len = 0;

    if (gp_message_to_binary(msg, arena, &one, &one_len, &err) != 0) {
        abort();
    }
    if (gp_message_from_binary(&gitpod__test__v1__every__descriptor, one, one_len, arena, &copy, &err) != 0 ||
        gp_message_to_binary(copy, arena, &two, &two_len, &err) != 0 || one_len != two_len || memcmp(one, two, one_len) != 0) {
        abort();
    }
}


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gp_arena_t *arena = gp_arena_new(ARENA_BYTES);
    gp_err_t err = GP_ERR_INIT;
    ProtobufCMessage *msg = NULL;
    char *json = NULL;
    size_t len = 0;

    if (gp_message_from_binary(&gitpod__test__v1__every__descriptor, data, size, arena, &msg, &err) == 0) {
        again(msg, arena);
        (void) gp_message_to_json(msg, arena, &json, &len, &err); /* a time beyond year 9999 has no JSON form */
    } else if (err.code == 0 || err.text[0] == '\0') {
        abort();
    }
    arena = gp_arena_free(arena);

    return 0;
}
