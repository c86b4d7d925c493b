#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/message.h"
#include "rpc/message_codec.h"

/*
 * Struct to proto3 JSON: lowerCamelCase names, fields at their default left
 * out unless they have presence, 64-bit integers as strings.
 */
typedef struct {
    gp_buf_t *buf;
    gp_err_t *err;
} gp_json_out_t;

static int gp_out_message(const gp_json_out_t *out, const ProtobufCMessage *msg, int depth, const gp_codec_path_t *path);


static int gp_out_text(const gp_json_out_t *out, const char *text)
{
    return gp_buf_append(out->buf, text, strlen(text));
}


int gp_codec_append_string(gp_buf_t *buf, const char *text, size_t len)
{
    static const char plain[] = "\"\\\b\f\n\r\t", letter[] = "\"\\bfnrt";
    size_t i, from = 0;
    const char *at;
    int rc;

    rc = gp_buf_append(buf, "\"", 1);
    for (i = 0; rc == 0 && i < len; i++) {
        if ((unsigned char) text[i] >= 0x20 && text[i] != '"' && text[i] != '\\' && text[i] != 0x7f) {
            continue;
        }
        rc = gp_buf_append(buf, text + from, i - from);
        from = i + 1;
        at = text[i] == '\0' ? NULL : strchr(plain, text[i]);
        if (rc == 0) {
            rc = at ? gp_buf_printf(buf, "\\%c", letter[at - plain]) : gp_buf_printf(buf, "\\u%04x", (unsigned) (unsigned char) text[i]);
        }
    }
    if (rc == 0) {
        rc = gp_buf_append(buf, text + from, len - from);
    }

    return rc == 0 ? gp_buf_append(buf, "\"", 1) : rc;
}


/* The shortest decimal form that reads back as the same value. */
static int gp_out_real(const gp_json_out_t *out, double value, bool is_float)
{
    char text[40];
    int digits, last = is_float ? 9 : 17;

    if (isnan(value)) {
        return gp_out_text(out, "\"NaN\"");
    }
    if (isinf(value)) {
        return gp_out_text(out, value < 0 ? "\"-Infinity\"" : "\"Infinity\"");
    }
    if (signbit(value) && !(value < 0)) {
        return gp_out_text(out, "-0.0"); /* "-0" is a whole number, of which readers of JSON keep no sign */
    }

    for (digits = is_float ? 6 : 15; digits <= last; digits++) {
        (void) snprintf(text, sizeof(text), "%.*g", digits, value); /* 24 characters at most */
        if (is_float ? !(strtof(text, NULL) < (float) value || strtof(text, NULL) > (float) value)
                     : !(strtod(text, NULL) < value || strtod(text, NULL) > value)) {
            break;
        }
    }

    return gp_out_text(out, text);
}


static int gp_out_enum(const gp_json_out_t *out, const ProtobufCEnumDescriptor *descriptor, int number)
{
    const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(descriptor, number);

    return value ? gp_buf_printf(out->buf, "\"%s\"", value->name) : gp_buf_printf(out->buf, "%d", number);
}


static int gp_out_bytes(const gp_json_out_t *out, const ProtobufCBinaryData *data)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t bits;
    char quad[4];
    size_t i, n;
    int rc;

    rc = gp_buf_append(out->buf, "\"", 1);
    for (i = 0; rc == 0 && i < data->len; i += 3) {
        n = data->len - i;
        bits = (uint32_t) data->data[i] << 16;
        bits |= n > 1 ? (uint32_t) data->data[i + 1] << 8 : 0;
        bits |= n > 2 ? (uint32_t) data->data[i + 2] : 0;
        quad[0] = alphabet[bits >> 18];
        quad[1] = alphabet[bits >> 12 & 63];
        quad[2] = n > 1 ? alphabet[bits >> 6 & 63] : '=';
        quad[3] = n > 2 ? alphabet[bits & 63] : '=';
        rc = gp_buf_append(out->buf, quad, 4);
    }

    return rc == 0 ? gp_buf_append(out->buf, "\"", 1) : rc;
}


static int gp_out_string(const gp_json_out_t *out, const char *text, const gp_codec_path_t *path)
{
    int rc;

    text = text ? text : "";
    rc = gp_codec_check_text(text, path, out->err);

    return rc == 0 ? gp_codec_append_string(out->buf, text, strlen(text)) : rc;
}


/* One value at src. */
static int gp_out_value(const gp_json_out_t *out, const ProtobufCFieldDescriptor *field, const void *src, int depth,
                        const gp_codec_path_t *path)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        return gp_buf_printf(out->buf, "%" PRId32, *(const int32_t *) src);

    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return gp_buf_printf(out->buf, "%" PRIu32, *(const uint32_t *) src);

    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return gp_buf_printf(out->buf, "\"%" PRId64 "\"", *(const int64_t *) src);

    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return gp_buf_printf(out->buf, "\"%" PRIu64 "\"", *(const uint64_t *) src);

    case PROTOBUF_C_TYPE_FLOAT:
        return gp_out_real(out, (double) *(const float *) src, true);

    case PROTOBUF_C_TYPE_DOUBLE:
        return gp_out_real(out, *(const double *) src, false);

    case PROTOBUF_C_TYPE_BOOL:
        return gp_out_text(out, *(const protobuf_c_boolean *) src ? "true" : "false");

    case PROTOBUF_C_TYPE_ENUM:
        return gp_out_enum(out, (const ProtobufCEnumDescriptor *) field->descriptor, *(const int *) src);

    case PROTOBUF_C_TYPE_STRING:
        return gp_out_string(out, *(const char *const *) src, path);

    case PROTOBUF_C_TYPE_BYTES:
        return gp_out_bytes(out, (const ProtobufCBinaryData *) src);

    case PROTOBUF_C_TYPE_MESSAGE:
        return gp_out_message(out, *(const ProtobufCMessage *const *) src, depth + 1, path);
    }

    return gp_codec_err(out->err, GP_INTERNAL, path, "unknown type %d", (int) field->type);
}


/* "key": of a map entry; JSON has strings only. */
static int gp_out_map_key(const gp_json_out_t *out, const ProtobufCFieldDescriptor *field, const void *src, const gp_codec_path_t *path)
{
    gp_codec_path_t unused = {path, NULL, 0, false};
    bool bare = field->type == PROTOBUF_C_TYPE_BOOL || gp_codec_type_size(field->type) == sizeof(uint32_t);
    int rc;

    if (field->type == PROTOBUF_C_TYPE_STRING) {
        return gp_out_string(out, *(const char *const *) src, path);
    }

    rc = bare ? gp_out_text(out, "\"") : 0;
    if (rc == 0) {
        rc = gp_out_value(out, field, src, 0, &unused);
    }

    return rc == 0 && bare ? gp_out_text(out, "\"") : rc;
}


static int gp_out_map(const gp_json_out_t *out, const ProtobufCFieldDescriptor *field, ProtobufCMessage *const *entries, size_t n,
                      int depth, const gp_codec_path_t *path)
{
    const ProtobufCFieldDescriptor *fields = gp_codec_sub(field)->fields;
    gp_codec_path_t here = {path, NULL, 0, false};
    int rc;

    rc = gp_out_text(out, "{");
    for (; rc == 0 && here.index < n; here.index++) {
        const char *entry = (const char *) entries[here.index];

        if (here.index > 0) {
            rc = gp_out_text(out, ",");
        }
        if (rc == 0) {
            rc = gp_out_map_key(out, &fields[0], entry + fields[0].offset, &here);
        }
        if (rc == 0) {
            rc = gp_out_text(out, ":");
        }
        if (rc == 0) {
            rc = gp_out_value(out, &fields[1], entry + fields[1].offset, depth, &here);
        }
    }

    return rc == 0 ? gp_out_text(out, "}") : rc;
}


static int gp_out_list(const gp_json_out_t *out, const ProtobufCFieldDescriptor *field, const char *items, size_t n, int depth,
                       const gp_codec_path_t *path)
{
    gp_codec_path_t here = {path, NULL, 0, false};
    size_t size = gp_codec_type_size(field->type);
    int rc;

    rc = gp_out_text(out, "[");
    for (; rc == 0 && here.index < n; here.index++) {
        if (here.index > 0) {
            rc = gp_out_text(out, ",");
        }
        if (rc == 0) {
            rc = gp_out_value(out, field, items + here.index * size, depth, &here);
        }
    }

    return rc == 0 ? gp_out_text(out, "]") : rc;
}


/* Whether a singular field is written: presence where it has one, else not the default. */
static bool gp_out_present(const ProtobufCMessage *msg, const ProtobufCFieldDescriptor *field)
{
    static const char zero[sizeof(uint64_t)];
    const char *src = (const char *) msg + field->offset, *text;
    ProtobufCBinaryData bytes;
    uint32_t id;

    if (gp_codec_is_oneof(field)) {
        memcpy(&id, (const char *) msg + field->quantifier_offset, sizeof(id));
        if (id != field->id) {
            return false;
        }
        if (field->type != PROTOBUF_C_TYPE_MESSAGE) {
            return true;
        }
    }
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        memcpy(&text, src, sizeof(text));
        return text != NULL && text[0] != '\0';
    }
    if (field->type == PROTOBUF_C_TYPE_BYTES) {
        memcpy(&bytes, src, sizeof(bytes));
        return bytes.len > 0;
    }

    return memcmp(src, zero, gp_codec_type_size(field->type)) != 0;
}


static int gp_out_field(const gp_json_out_t *out, const ProtobufCMessage *msg, const ProtobufCFieldDescriptor *field, bool first, int depth,
                        const gp_codec_path_t *path)
{
    gp_codec_path_t here = {path, field->name, 0, false};
    const char *src = (const char *) msg + field->offset;
    size_t n = 0;
    int rc;

    rc = first ? 0 : gp_out_text(out, ",");
    if (rc < 0 || (rc = gp_out_text(out, "\"")) < 0 || (rc = gp_codec_append_json_name(out->buf, field->name)) < 0 ||
        (rc = gp_out_text(out, "\":")) < 0) {
        return rc;
    }

    if (field->label != PROTOBUF_C_LABEL_REPEATED) {
        return gp_out_value(out, field, src, depth, &here);
    }

    memcpy(&n, (const char *) msg + field->quantifier_offset, sizeof(n));
    if (gp_codec_is_map(msg->descriptor, field)) {
        return gp_out_map(out, field, *(ProtobufCMessage *const *const *) (const void *) src, n, depth, &here);
    }

    return gp_out_list(out, field, *(const char *const *) (const void *) src, n, depth, &here);
}


static int gp_out_message(const gp_json_out_t *out, const ProtobufCMessage *msg, int depth, const gp_codec_path_t *path)
{
    const ProtobufCFieldDescriptor *field;
    enum gp_codec_known known;
    bool first = true;
    unsigned i;
    size_t n;
    int rc;

    if (msg == NULL) {
        return gp_out_text(out, "{}");
    }
    if (depth > GP_RPC_DEPTH_MAX) {
        return gp_codec_err(out->err, GP_INTERNAL, path, "nested deeper than %d messages", GP_RPC_DEPTH_MAX);
    }
    known = gp_codec_known(msg->descriptor);
    if (known != GP_KNOWN_NONE) {
        return gp_codec_known_format(known, msg, out->buf, path, out->err);
    }

    rc = gp_out_text(out, "{");
    for (i = 0; rc == 0 && i < msg->descriptor->n_fields; i++) {
        field = &msg->descriptor->fields[i];
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            memcpy(&n, (const char *) msg + field->quantifier_offset, sizeof(n));
            if (n == 0) {
                continue;
            }
        } else if (!gp_out_present(msg, field)) {
            continue;
        }
        rc = gp_out_field(out, msg, field, first, depth, path);
        first = false;
    }

    return rc == 0 ? gp_out_text(out, "}") : rc;
}


int gp_message_to_json(const ProtobufCMessage *msg, gp_arena_t *arena, char **ret_json, size_t *ret_len, gp_err_t *err)
{
    gp_codec_path_t root = {NULL, NULL, 0, false};
    gp_err_t local = GP_ERR_INIT;
    gp_auto_buf gp_buf_t buf;
    gp_json_out_t out = {&buf, &local};
    char *json;
    int rc;

    gp_buf_init(&buf, GP_CODEC_OUTPUT_MAX);
    rc = gp_out_message(&out, msg, 0, &root);
    if (rc < 0) {
        if (local.code == 0) {
            return gp_err(err, -rc, "%s is larger than %d bytes as JSON; ask for less at once", msg->descriptor->name, GP_CODEC_OUTPUT_MAX);
        }
        return gp_err(err, local.code, "%s", local.text);
    }

    rc = gp_codec_alloc(arena, buf.len + 1, 1, &json, err);
    if (rc < 0) {
        return rc;
    }
    memcpy(json, buf.data, buf.len);
    *ret_json = json;
    *ret_len = buf.len;

    return 0;
}
