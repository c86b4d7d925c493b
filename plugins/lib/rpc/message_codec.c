#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/die.h"
#include "rpc/message_codec.h"
#include "rpc/utf8.h"

/*
 * Names, paths and memory: what both directions of the JSON codec and the
 * binary codec need to know about a descriptor.
 */


/* Root first, so recursion; depth is bounded by GP_RPC_DEPTH_MAX. */
static size_t gp_codec_path_format(const gp_codec_path_t *path, char *dst, size_t size)
{
    size_t used;
    int n;

    if (path == NULL || path->parent == NULL) {
        return 0;
    }

    used = gp_codec_path_format(path->parent, dst, size);
    if (path->name == NULL) {
        n = snprintf(dst + used, size - used, "[%zu]", path->index);
    } else if (path->quoted) {
        n = snprintf(dst + used, size - used, "[\"%s\"]", path->name);
    } else {
        n = snprintf(dst + used, size - used, "%s%s", used > 0 ? "." : "", path->name);
    }
    if (n < 0) {
        return used;
    }

    return (size_t) n < size - used ? used + (size_t) n : size - 1;
}


int gp_codec_err(gp_err_t *err, int code, const gp_codec_path_t *path, const char *fmt, ...)
{
    char where[GP_CODEC_PATH_MAX] = "", text[GP_ERR_TEXT_MAX];
    va_list ap;

    (void) gp_codec_path_format(path, where, sizeof(where));
    va_start(ap, fmt);
    (void) vsnprintf(text, sizeof(text), fmt, ap); /* cut is fine */
    va_end(ap);

    return gp_err(err, code, "%s%s%s", where, where[0] ? ": " : "", text);
}


int gp_codec_alloc(gp_arena_t *arena, size_t n, size_t size, void *ret_ptr, gp_err_t *err)
{
    size_t bytes;
    void *ptr;

    if (__builtin_mul_overflow(n, size, &bytes) || bytes > SIZE_MAX - 64 || bytes + 64 > gp_arena_left(arena)) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "the message needs more memory than one request may have; send less at once");
    }

    ptr = gp_arena_alloc(arena, bytes);
    memcpy(ret_ptr, &ptr, sizeof(ptr));

    return 0;
}


size_t gp_codec_type_size(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return sizeof(uint32_t);

    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return sizeof(uint64_t);

    case PROTOBUF_C_TYPE_FLOAT:
        return sizeof(float);

    case PROTOBUF_C_TYPE_DOUBLE:
        return sizeof(double);

    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);

    case PROTOBUF_C_TYPE_ENUM:
        return sizeof(int);

    case PROTOBUF_C_TYPE_STRING:
        return sizeof(char *);

    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);

    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(ProtobufCMessage *);
    }

    gp_die("protobuf type %d", (int) type);
}


/* custom_config of gitpod.v1.GitInitializer.GitConfig: gitpod.v1.GitInitializer.GitConfig.CustomConfigEntry */
bool gp_codec_is_map(const ProtobufCMessageDescriptor *owner, const ProtobufCFieldDescriptor *field)
{
    const ProtobufCMessageDescriptor *entry;
    const char *name, *p;
    size_t len = strlen(owner->name);
    bool upper = true;

    if (field->label != PROTOBUF_C_LABEL_REPEATED || field->type != PROTOBUF_C_TYPE_MESSAGE) {
        return false;
    }

    entry = gp_codec_sub(field);
    if (entry->n_fields != 2 || entry->fields[0].id != 1 || entry->fields[1].id != 2 || strcmp(entry->fields[0].name, "key") != 0 ||
        strcmp(entry->fields[1].name, "value") != 0 || strncmp(entry->name, owner->name, len) != 0 || entry->name[len] != '.') {
        return false;
    }

    name = entry->name + len + 1;
    for (p = field->name; *p; p++) {
        if (*p == '_') {
            upper = true;
            continue;
        }
        if (*name++ != (upper && *p >= 'a' && *p <= 'z' ? *p - 'a' + 'A' : *p)) {
            return false;
        }
        upper = false;
    }

    return strcmp(name, "Entry") == 0;
}


bool gp_codec_name_equal(const char *proto_name, const char *key)
{
    const char *p;
    bool upper = false;

    if (strcmp(proto_name, key) == 0) {
        return true;
    }

    for (p = proto_name; *p; p++) {
        if (*p == '_') {
            upper = true;
            continue;
        }
        if (*key++ != (upper && *p >= 'a' && *p <= 'z' ? *p - 'a' + 'A' : *p)) {
            return false;
        }
        upper = false;
    }

    return *key == '\0';
}


int gp_codec_append_json_name(gp_buf_t *buf, const char *proto_name)
{
    char c;
    const char *p;
    bool upper = false;
    int rc;

    for (p = proto_name; *p; p++) {
        if (*p == '_') {
            upper = true;
            continue;
        }
        c = upper && *p >= 'a' && *p <= 'z' ? (char) (*p - 'a' + 'A') : *p;
        upper = false;
        rc = gp_buf_append(buf, &c, 1);
        if (rc < 0) {
            return rc;
        }
    }

    return 0;
}


int gp_codec_check_text(const char *text, const gp_codec_path_t *path, gp_err_t *err)
{
    if (gp_utf8_valid(text, strlen(text))) {
        return 0;
    }

    return gp_codec_err(err, GP_INTERNAL, path, "not UTF-8: the service must repair what it puts here (gp_utf8_repair)");
}
