#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <protobuf-c/protobuf-c.h>

#include "base/arena.h"
#include "base/err.h"

/*
 * proto3 JSON <-> struct <-> binary, driven by protobuf-c descriptors.
 *
 * In C, `optional` scalars and enums are single-field oneofs (the build rewrites
 * them): presence is the oneof case, msg->_name_case. An `optional` message is a
 * plain pointer, NULL when absent. Maps are repeated entry messages. Strings of a
 * decoded message are never NULL (empty: ""), sub-messages are NULL when absent.
 */

/*
 * Input is bounded before it is decoded: GP_RPC_DEPTH_MAX messages deep, 200,000
 * values, and what the arena has left (RESOURCE_EXHAUSTED). Output must be UTF-8:
 * INTERNAL names the field that is not; repair such text with gp_utf8_repair()
 * of rpc/utf8.h. Binary input with a message field given twice is refused.
 */

/* A message of the arena, initialised. */
#define GP_MESSAGE_NEW(arena, type, init)                                                                                                  \
    __extension__({                                                                                                                        \
        type *gp_m = gp_arena_alloc((arena), sizeof(type));                                                                                \
        init(gp_m);                                                                                                                        \
        gp_m;                                                                                                                              \
    })

/* JSON to message. Errors: INVALID_ARGUMENT naming the field path ("metadata.name: expected a string"). Unknown fields are ignored (ignore_unknown) or named. */
int gp_message_from_json(const ProtobufCMessageDescriptor *descriptor, const char *json, size_t len, bool ignore_unknown, gp_arena_t *arena,
                         ProtobufCMessage **ret_msg, gp_err_t *err) __attribute__((warn_unused_result));
/* NUL-terminated, in the arena. */
int gp_message_to_json(const ProtobufCMessage *msg, gp_arena_t *arena, char **ret_json, size_t *ret_len, gp_err_t *err)
    __attribute__((warn_unused_result));
int gp_message_from_binary(const ProtobufCMessageDescriptor *descriptor, const void *data, size_t len, gp_arena_t *arena,
                           ProtobufCMessage **ret_msg, gp_err_t *err) __attribute__((warn_unused_result));
int gp_message_to_binary(const ProtobufCMessage *msg, gp_arena_t *arena, void **ret_data, size_t *ret_len, gp_err_t *err)
    __attribute__((warn_unused_result));
