#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>
#include <protobuf-c/protobuf-c.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "core/contract.h"

/* What the files of the codec share; nobody else includes this. */

#define GP_CODEC_VALUES_MAX 200000 /* JSON values, or wire fields, of one message: bounds memory at some 30 MB */
#define GP_CODEC_PATH_MAX 160 /* bytes of a field path in an error */
#define GP_CODEC_OUTPUT_MAX (4 * GP_RPC_BODY_MAX)

/* Where we are, for errors: "spec.ports[2].port". Frames of the C stack. */
typedef struct gp_codec_path gp_codec_path_t;

struct gp_codec_path {
    const gp_codec_path_t *parent;
    const char *name; /* NULL: an element, by index */
    size_t index;
    bool quoted; /* a map key */
};

/* gp_err() with "path: " before the text; the root has no path and no prefix. */
int gp_codec_err(gp_err_t *err, int code, const gp_codec_path_t *path, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* Arena memory, or -GP_RESOURCE_EXHAUSTED when it would pass the cap: input must not kill the service. */
int gp_codec_alloc(gp_arena_t *arena, size_t n, size_t size, void *ret_ptr, gp_err_t *err);

/* Bytes of one value of a type in a struct. */
size_t gp_codec_type_size(ProtobufCType type);

static inline bool gp_codec_is_oneof(const ProtobufCFieldDescriptor *field)
{
    return (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;
}

/* A repeated entry message that the proto compiler made of map<K, V>. */
bool gp_codec_is_map(const ProtobufCMessageDescriptor *owner, const ProtobufCFieldDescriptor *field);

static inline const ProtobufCMessageDescriptor *gp_codec_sub(const ProtobufCFieldDescriptor *field)
{
    return (const ProtobufCMessageDescriptor *) field->descriptor;
}

/* workspace_id and workspaceId: the field's name or its JSON name. */
bool gp_codec_name_equal(const char *proto_name, const char *key);
int gp_codec_append_json_name(gp_buf_t *buf, const char *proto_name);

/* Messages with a JSON form of their own. */
enum gp_codec_known { GP_KNOWN_NONE, GP_KNOWN_TIMESTAMP, GP_KNOWN_DURATION, GP_KNOWN_FIELD_MASK };

enum gp_codec_known gp_codec_known(const ProtobufCMessageDescriptor *descriptor);
int gp_codec_known_parse(enum gp_codec_known known, const char *text, ProtobufCMessage *msg, gp_arena_t *arena, const gp_codec_path_t *path,
                         gp_err_t *err);
int gp_codec_known_format(enum gp_codec_known known, const ProtobufCMessage *msg, gp_buf_t *buf, const gp_codec_path_t *path,
                          gp_err_t *err);

/* Strings of an outgoing message: no invalid UTF-8 leaves us. */
int gp_codec_check_text(const char *text, const gp_codec_path_t *path, gp_err_t *err);

/* A JSON string with quotes and escapes. */
int gp_codec_append_string(gp_buf_t *buf, const char *text, size_t len);
