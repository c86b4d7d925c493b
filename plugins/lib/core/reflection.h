#pragma once

#include <stddef.h>
#include <stdint.h>

#include "core/span.h"

/*
 * grpc.reflection.v1.ServerReflection (v1alpha is the same on the wire), from a
 * google.protobuf.FileDescriptorSet as protoc writes it.
 */
#define GP_REFLECTION_REQUEST_MAX 1024 /* bytes of a ServerReflectionRequest */
#define GP_REFLECTION_HEAD_MAX 16384 /* bytes of an answer but for the descriptor */

/* 0: a set whose files have names, -GP_INVALID_ARGUMENT: none. */
int gp_reflection_check(gp_span_t set) __attribute__((warn_unused_result));

/*
 * gp_reflection_answer() - one gRPC frame with a ServerReflectionResponse
 *
 * Its begin is written to head; *ret_file, borrowed from the set, follows it and
 * may be empty. What is not there, not known or too much is answered too, as an
 * ErrorResponse. Returns the bytes of head, or -GP_INVALID_ARGUMENT: the request
 * is no message of this kind.
 */
int gp_reflection_answer(gp_span_t set, gp_span_t request, uint8_t head[GP_REFLECTION_HEAD_MAX], gp_span_t *ret_file)
    __attribute__((warn_unused_result));
