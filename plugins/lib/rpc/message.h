#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <protobuf-c/protobuf-c.h>

#include "base/arena.h"
#include "base/err.h"

/*
 * proto3 JSON <-> struct <-> binary, driven by protobuf-c descriptors.
 *
 * In C, `optional` scalars are single-field oneofs (the build rewrites them):
 * presence is the oneof case. Maps are repeated entry messages. Strings of a
 * decoded message are never NULL (empty: ""), sub-messages are NULL when absent.
 */

/* A message of the arena, initialised. */
#define GP_MESSAGE_NEW(arena, type, init) __extension__({ type *gp_m = gp_arena_alloc((arena), sizeof(type)); init(gp_m); gp_m; })

/* JSON to message. Errors: INVALID_ARGUMENT naming the field path ("metadata.name: expected a string"). Unknown fields are ignored (ignore_unknown) or named. */
int gp_message_from_json(const ProtobufCMessageDescriptor *descriptor, const char *json, size_t len, bool ignore_unknown,
                         gp_arena_t *arena, ProtobufCMessage **ret_msg, gp_err_t *err) __attribute__((warn_unused_result));
/* NUL-terminated, in the arena. */
int gp_message_to_json(const ProtobufCMessage *msg, gp_arena_t *arena, char **ret_json, size_t *ret_len, gp_err_t *err) __attribute__((warn_unused_result));
int gp_message_from_binary(const ProtobufCMessageDescriptor *descriptor, const void *data, size_t len,
                           gp_arena_t *arena, ProtobufCMessage **ret_msg, gp_err_t *err) __attribute__((warn_unused_result));
int gp_message_to_binary(const ProtobufCMessage *msg, gp_arena_t *arena, void **ret_data, size_t *ret_len, gp_err_t *err) __attribute__((warn_unused_result));
