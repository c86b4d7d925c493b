#include <errno.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "rpc/message.h"
#include "rpc/message_codec.h"

/*
 * proto3 JSON to struct. jansson makes the tree; before that one pass over the
 * text bounds its depth and its number of values, so that hostile input costs
 * no more memory than its length allows. The walk then follows the
 * descriptor: every error names the path to the field as the sender wrote it.
 */
#define GP_JSON_DEPTH_MAX (2 * GP_RPC_DEPTH_MAX) /* a message in a list is two levels of JSON */

typedef struct {
    gp_arena_t *arena;
    gp_err_t *err;
    bool ignore_unknown;
} gp_json_in_t;

static int gp_in_message(const gp_json_in_t *in, const ProtobufCMessageDescriptor *descriptor, json_t *json, int depth,
                         const gp_codec_path_t *path, ProtobufCMessage **ret_msg);


static const char *gp_json_kind(const json_t *json)
{
    static const char *const kinds[] = {"an object", "a list", "a string", "a whole number", "a number", "true", "false", "null"};

    return kinds[json_typeof(json)];
}


static int gp_in_unexpected(const gp_json_in_t *in, const gp_codec_path_t *path, const char *want, const json_t *got)
{
    return gp_codec_err(in->err, GP_INVALID_ARGUMENT, path, "expected %s, not %s", want, gp_json_kind(got));
}


/* Decimal text to a magnitude and a sign. */
static bool gp_in_decimal(const char *text, bool *ret_negative, uint64_t *ret_value)
{
    uint64_t value = 0;

    *ret_negative = *text == '-';
    text += *ret_negative;
    if (*text == '\0') {
        return false;
    }
    for (; *text; text++) {
        if (*text < '0' || *text > '9' || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t) (*text - '0'), &value)) {
            return false;
        }
    }
    *ret_value = value;

    return true;
}


/* Sign and magnitude of a number or a string of digits; 1e3 counts, 1.5 does not. */
static bool gp_in_integer(const json_t *json, bool *ret_negative, uint64_t *ret_value)
{
    json_int_t n;
    double real;

    if (json_is_string(json)) {
        return gp_in_decimal(json_string_value(json), ret_negative, ret_value);
    }
    if (json_is_integer(json)) {
        n = json_integer_value(json);
        *ret_negative = n < 0;
        *ret_value = n < 0 ? (uint64_t) 0 - (uint64_t) n : (uint64_t) n;
        return true;
    }

    real = json_real_value(json);
    *ret_negative = real < 0;
    real = fabs(real);
    if (floor(real) < real || real >= 18446744073709551616.0) {
        return false;
    }
    *ret_value = (uint64_t) real;

    return true;
}


static int gp_in_number(const gp_json_in_t *in, json_t *json, bool is_signed, int bits, const gp_codec_path_t *path, void *dst)
{
    uint64_t value = 0, max;
    uint32_t narrow;
    bool negative = false;

    if (!json_is_number(json) && !json_is_string(json)) {
        return gp_in_unexpected(in, path, bits == 64 ? "a whole number, best as a string" : "a whole number", json);
    }
    if (!gp_in_integer(json, &negative, &value)) {
        return gp_codec_err(in->err, GP_INVALID_ARGUMENT, path, "expected a whole number of %d bits", bits);
    }

    max = is_signed ? (UINT64_C(1) << (bits - 1)) - 1 + negative : bits == 64 ? UINT64_MAX : UINT32_MAX;
    if (value > max || (negative && !is_signed && value > 0)) {
        return gp_codec_err(in->err, GP_INVALID_ARGUMENT, path, "%s%" PRIu64 " is out of range: %s%d bits", negative ? "-" : "", value,
                            is_signed ? "" : "not negative, ", bits);
    }

    value = negative ? (uint64_t) 0 - value : value;
    if (bits == 64) {
        memcpy(dst, &value, sizeof(value));
    } else {
        narrow = (uint32_t) value;
        memcpy(dst, &narrow, sizeof(narrow));
    }

    return 0;
}


/* A number as JSON writes it; strtod alone takes hexadecimal, "inf" and blanks too. */
static bool gp_in_real_text(const char *text, double *ret_value)
{
    char *end;

    if (strcmp(text, "NaN") == 0) {
        *ret_value = NAN;
        return true;
    }
    if (strcmp(text, "Infinity") == 0 || strcmp(text, "-Infinity") == 0) {
        *ret_value = text[0] == '-' ? -INFINITY : INFINITY;
        return true;
    }
    if (text[0] == '\0' || text[strspn(text, "0123456789+-.eE")] != '\0' || text[0] == '+' || text[0] == '.') {
        return false;
    }

    *ret_value = strtod(text, &end);

    return *end == '\0' && isfinite(*ret_value);
}


static int gp_in_real(const gp_json_in_t *in, json_t *json, bool is_float, const gp_codec_path_t *path, void *dst)
{
    double value = 0;
    float narrow;

    if (json_is_number(json)) {
        value = json_number_value(json);
    } else if (!json_is_string(json)) {
        return gp_in_unexpected(in, path, "a number", json);
    } else if (!gp_in_real_text(json_string_value(json), &value)) {
        return gp_codec_err(in->err, GP_INVALID_ARGUMENT, path, "expected a number, \"NaN\", \"Infinity\" or \"-Infinity\"");
    }

    if (!is_float) {
        memcpy(dst, &value, sizeof(value));
        return 0;
    }
    if (isfinite(value) && fabs(value) > (double) FLT_MAX) {
        return gp_codec_err(in->err, GP_INVALID_ARGUMENT, path, "out of range: a 32-bit floating point number");
    }
    narrow = (float) value;
    memcpy(dst, &narrow, sizeof(narrow));

    return 0;
}


static int gp_in_bool(const gp_json_in_t *in, json_t *json, const gp_codec_path_t *path, void *dst)
{
    protobuf_c_boolean value = json_is_true(json);

    if (!json_is_boolean(json)) {
        return gp_in_unexpected(in, path, "true or false", json);
    }
    memcpy(dst, &value, sizeof(value));

    return 0;
}


static int gp_in_enum(const gp_json_in_t *in, const ProtobufCEnumDescriptor *descriptor, json_t *json, const gp_codec_path_t *path,
                      void *dst)
{
    const ProtobufCEnumValue *value;
    int number;

    if (!json_is_string(json)) {
        if (!json_is_number(json)) {
            return gp_in_unexpected(in, path, "the name of a value", json);
        }
        return gp_in_number(in, json, true, 32, path, dst);
    }

    value = protobuf_c_enum_descriptor_get_value_by_name(descriptor, json_string_value(json));
    if (value == NULL) {
        return gp_codec_err(in->err, GP_INVALID_ARGUMENT, path, "\"%.80s\" is not a value of %s", json_string_value(json),
                            descriptor->name);
    }
    number = value->value;
    memcpy(dst, &number, sizeof(number));

    return 0;
}


static int gp_in_string(const gp_json_in_t *in, json_t *json, const gp_codec_path_t *path, void *dst)
{
    size_t len = json_string_length(json);
    char *text;
    int rc;

    if (!json_is_string(json)) {
        return gp_in_unexpected(in, path, "a string", json);
    }
    rc = gp_codec_alloc(in->arena, len + 1, 1, &text, in->err);
    if (rc < 0) {
        return rc;
    }
    memcpy(text, json_string_value(json), len);
    memcpy(dst, &text, sizeof(text));

    return 0;
}


static int gp_base64_value(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }

    return c == '+' || c == '-' ? 62 : c == '/' || c == '_' ? 63 : -1;
}


/* Standard or URL alphabet, with or without padding. dst has room for len * 3 / 4. */
static bool gp_base64_decode(const char *text, size_t len, uint8_t *dst, size_t *ret_len)
{
    uint32_t bits = 0;
    size_t i, n = 0, padded = len;
    int have = 0, value;

    while (len > 0 && padded - len < 2 && text[len - 1] == '=') {
        len--;
    }
    if (len % 4 == 1 || (padded != len && padded % 4 != 0)) {
        return false;
    }

    for (i = 0; i < len; i++) {
        value = gp_base64_value(text[i]);
        if (value < 0) {
            return false;
        }
        bits = (bits << 6 | (uint32_t) value) & 0xffffff;
        have += 6;
        if (have >= 8) {
            have -= 8;
            dst[n++] = (uint8_t) (bits >> have);
        }
    }
    *ret_len = n;

    return true;
}


static int gp_in_bytes(const gp_json_in_t *in, json_t *json, const gp_codec_path_t *path, void *dst)
{
    ProtobufCBinaryData data = {0, NULL};
    size_t len = json_string_length(json);
    int rc;

    if (!json_is_string(json)) {
        return gp_in_unexpected(in, path, "a string in base64", json);
    }
    rc = gp_codec_alloc(in->arena, len, 1, &data.data, in->err);
    if (rc < 0) {
        return rc;
    }
    if (!gp_base64_decode(json_string_value(json), len, data.data, &data.len)) {
        return gp_codec_err(in->err, GP_INVALID_ARGUMENT, path, "not base64");
    }
    memcpy(dst, &data, sizeof(data));

    return 0;
}


/* One value of the field's type to dst. */
static int gp_in_value(const gp_json_in_t *in, const ProtobufCFieldDescriptor *field, json_t *json, int depth, const gp_codec_path_t *path,
                       void *dst)
{
    ProtobufCMessage *msg;
    int rc;

    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        return gp_in_number(in, json, true, 32, path, dst);

    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return gp_in_number(in, json, true, 64, path, dst);

    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return gp_in_number(in, json, false, 32, path, dst);

    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return gp_in_number(in, json, false, 64, path, dst);

    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
        return gp_in_real(in, json, field->type == PROTOBUF_C_TYPE_FLOAT, path, dst);

    case PROTOBUF_C_TYPE_BOOL:
        return gp_in_bool(in, json, path, dst);

    case PROTOBUF_C_TYPE_ENUM:
        return gp_in_enum(in, (const ProtobufCEnumDescriptor *) field->descriptor, json, path, dst);

    case PROTOBUF_C_TYPE_STRING:
        return gp_in_string(in, json, path, dst);

    case PROTOBUF_C_TYPE_BYTES:
        return gp_in_bytes(in, json, path, dst);

    case PROTOBUF_C_TYPE_MESSAGE:
        rc = gp_in_message(in, gp_codec_sub(field), json, depth + 1, path, &msg);
        if (rc == 0) {
            memcpy(dst, &msg, sizeof(msg));
        }
        return rc;
    }

    return gp_codec_err(in->err, GP_INTERNAL, path, "unknown type %d", (int) field->type);
}


static int gp_in_list(const gp_json_in_t *in, const ProtobufCFieldDescriptor *field, json_t *json, int depth, const gp_codec_path_t *path,
                      ProtobufCMessage *msg)
{
    gp_codec_path_t here = {path, NULL, 0, false};
    size_t size = gp_codec_type_size(field->type), n = json_array_size(json);
    char *base = (char *) msg, *items;
    int rc;

    if (!json_is_array(json)) {
        return gp_in_unexpected(in, path, "a list", json);
    }
    if (n == 0) {
        return 0;
    }
    rc = gp_codec_alloc(in->arena, n, size, &items, in->err);
    if (rc < 0) {
        return rc;
    }

    for (here.index = 0; here.index < n; here.index++) {
        json_t *item = json_array_get(json, here.index);

        if (json_is_null(item)) {
            return gp_in_unexpected(in, &here, "a value", item);
        }
        rc = gp_in_value(in, field, item, depth, &here, items + here.index * size);
        if (rc < 0) {
            return rc;
        }
    }

    memcpy(base + field->offset, &items, sizeof(items));
    memcpy(base + field->quantifier_offset, &n, sizeof(n));

    return 0;
}


/* Keys of a JSON object are strings, whatever the type of the map's key. */
static int gp_in_map_key(const gp_json_in_t *in, const ProtobufCFieldDescriptor *key, const char *text, const gp_codec_path_t *path,
                         void *dst)
{
    gp_auto_json json_t *json = NULL;

    if (key->type == PROTOBUF_C_TYPE_BOOL) {
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0) {
            return gp_codec_err(in->err, GP_INVALID_ARGUMENT, path, "expected the key \"true\" or \"false\"");
        }
        json = json_boolean(text[0] == 't');
    } else {
        json = json_string_nocheck(text);
    }
    if (json == NULL) {
        return gp_err(in->err, GP_RESOURCE_EXHAUSTED, "out of memory");
    }

    return gp_in_value(in, key, json, 0, path, dst);
}


static int gp_in_map_entry(const gp_json_in_t *in, const ProtobufCMessageDescriptor *descriptor, const char *key, json_t *value, int depth,
                           const gp_codec_path_t *path, ProtobufCMessage **ret_entry)
{
    ProtobufCMessage *entry;
    int rc;

    if (json_is_null(value)) {
        return gp_in_unexpected(in, path, "a value", value);
    }
    rc = gp_codec_alloc(in->arena, 1, descriptor->sizeof_message, &entry, in->err);
    if (rc < 0) {
        return rc;
    }
    protobuf_c_message_init(descriptor, entry);

    rc = gp_in_map_key(in, &descriptor->fields[0], key, path, (char *) entry + descriptor->fields[0].offset);
    if (rc == 0) {
        rc = gp_in_value(in, &descriptor->fields[1], value, depth, path, (char *) entry + descriptor->fields[1].offset);
    }
    if (rc == 0) {
        *ret_entry = entry;
    }

    return rc;
}


static int gp_in_map(const gp_json_in_t *in, const ProtobufCFieldDescriptor *field, json_t *json, int depth, const gp_codec_path_t *path,
                     ProtobufCMessage *msg)
{
    gp_codec_path_t here = {path, NULL, 0, true};
    ProtobufCMessage **entries;
    size_t n = json_object_size(json), i = 0;
    char *base = (char *) msg;
    const char *key;
    json_t *value;
    int rc;

    if (!json_is_object(json)) {
        return gp_in_unexpected(in, path, "an object", json);
    }
    if (n == 0) {
        return 0;
    }
    rc = gp_codec_alloc(in->arena, n, sizeof(ProtobufCMessage *), &entries, in->err);
    if (rc < 0) {
        return rc;
    }

    json_object_foreach(json, key, value)
    {
        here.name = key;
        rc = gp_in_map_entry(in, gp_codec_sub(field), key, value, depth, &here, &entries[i++]);
        if (rc < 0) {
            return rc;
        }
    }

    memcpy(base + field->offset, &entries, sizeof(entries));
    memcpy(base + field->quantifier_offset, &n, sizeof(n));

    return 0;
}


/* Which field of a oneof is set: its number, 0 for none. */
static uint32_t gp_in_oneof_case(const ProtobufCMessage *msg, const ProtobufCFieldDescriptor *field)
{
    uint32_t id;

    memcpy(&id, (const char *) msg + field->quantifier_offset, sizeof(id));

    return id;
}


static int gp_in_field(const gp_json_in_t *in, const ProtobufCFieldDescriptor *field, json_t *json, int depth, const gp_codec_path_t *path,
                       ProtobufCMessage *msg)
{
    const ProtobufCFieldDescriptor *other;
    uint32_t id = field->id;
    char *base = (char *) msg;
    int rc;

    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        return gp_codec_is_map(msg->descriptor, field) ? gp_in_map(in, field, json, depth, path, msg)
                                                       : gp_in_list(in, field, json, depth, path, msg);
    }

    if (gp_codec_is_oneof(field) && gp_in_oneof_case(msg, field) != 0) {
        other = protobuf_c_message_descriptor_get_field(msg->descriptor, gp_in_oneof_case(msg, field));
        return gp_codec_err(in->err, GP_INVALID_ARGUMENT, path, "\"%s\" is set too; only one of them may be", other->name);
    }

    rc = gp_in_value(in, field, json, depth, path, base + field->offset);
    if (rc == 0 && gp_codec_is_oneof(field)) {
        memcpy(base + field->quantifier_offset, &id, sizeof(id));
    }

    return rc;
}


static const ProtobufCFieldDescriptor *gp_in_find(const ProtobufCMessageDescriptor *descriptor, const char *key, unsigned *ret_index)
{
    unsigned i;

    for (i = 0; i < descriptor->n_fields; i++) {
        if (gp_codec_name_equal(descriptor->fields[i].name, key)) {
            *ret_index = i;
            return &descriptor->fields[i];
        }
    }

    return NULL;
}


static int gp_in_fields(const gp_json_in_t *in, json_t *json, int depth, const gp_codec_path_t *path, ProtobufCMessage *msg)
{
    const ProtobufCFieldDescriptor *field;
    gp_codec_path_t here = {path, NULL, 0, false};
    unsigned i = 0;
    const char *key;
    json_t *value;
    int rc;

    json_object_foreach(json, key, value)
    {
        here.name = key;
        field = gp_in_find(msg->descriptor, key, &i);
        if (field == NULL) {
            if (in->ignore_unknown) {
                continue;
            }
            return gp_codec_err(in->err, GP_INVALID_ARGUMENT, &here, "%s has no such field", msg->descriptor->name);
        }

        /* workspaceId and workspace_id are one field; jansson sees two keys */
        if (strcmp(key, field->name) != 0 && json_object_get(json, field->name) != NULL) {
            return gp_codec_err(in->err, GP_INVALID_ARGUMENT, &here, "given twice, as \"%s\" too", field->name);
        }
        if (json_is_null(value)) {
            continue;
        }
        rc = gp_in_field(in, field, value, depth, &here, msg);
        if (rc < 0) {
            return rc;
        }
    }

    return 0;
}


static int gp_in_message(const gp_json_in_t *in, const ProtobufCMessageDescriptor *descriptor, json_t *json, int depth,
                         const gp_codec_path_t *path, ProtobufCMessage **ret_msg)
{
    enum gp_codec_known known = gp_codec_known(descriptor);
    ProtobufCMessage *msg;
    int rc;

    if (depth > GP_RPC_DEPTH_MAX) {
        return gp_codec_err(in->err, GP_INVALID_ARGUMENT, path, "nested deeper than %d messages", GP_RPC_DEPTH_MAX);
    }
    if (known != GP_KNOWN_NONE ? !json_is_string(json) : !json_is_object(json)) {
        return gp_in_unexpected(in, path, known != GP_KNOWN_NONE ? "a string" : "an object", json);
    }

    rc = gp_codec_alloc(in->arena, 1, descriptor->sizeof_message, &msg, in->err);
    if (rc < 0) {
        return rc;
    }
    protobuf_c_message_init(descriptor, msg);

    rc = known != GP_KNOWN_NONE ? gp_codec_known_parse(known, json_string_value(json), msg, in->arena, path, in->err)
                                : gp_in_fields(in, json, depth, path, msg);
    if (rc == 0) {
        *ret_msg = msg;
    }

    return rc;
}


/* Bounds what jansson will build: levels and values. Whether it is JSON at all, jansson says. */
static int gp_in_measure(const char *json, size_t len, gp_err_t *err)
{
    size_t i, values = 1;
    bool quoted = false;
    int depth = 0;

    for (i = 0; i < len; i++) {
        switch (json[i]) {
        case '\\':
            i += quoted;
            break;

        case '"':
            quoted = !quoted;
            break;

        case '[':
        case '{':
            values += !quoted;
            depth += !quoted;
            break;

        case ']':
        case '}':
            depth -= !quoted;
            break;

        case ',':
            values += !quoted;
            break;
        }

        if (depth > GP_JSON_DEPTH_MAX) {
            return gp_err(err, GP_INVALID_ARGUMENT, "the JSON is nested deeper than %d levels", GP_JSON_DEPTH_MAX);
        }
    }

    if (values > GP_CODEC_VALUES_MAX) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "the JSON has more than %d values; send less at once", GP_CODEC_VALUES_MAX);
    }

    return 0;
}


int gp_message_from_json(const ProtobufCMessageDescriptor *descriptor, const char *json, size_t len, bool ignore_unknown, gp_arena_t *arena,
                         ProtobufCMessage **ret_msg, gp_err_t *err)
{
    gp_json_in_t in = {arena, err, ignore_unknown};
    gp_codec_path_t root = {NULL, NULL, 0, false};
    gp_auto_json json_t *doc = NULL;
    json_error_t error;
    int rc;

    if (len == 0) {
        return gp_err(err, GP_INVALID_ARGUMENT, "the JSON body is empty; an empty message is {}");
    }
    rc = gp_in_measure(json, len, err);
    if (rc < 0) {
        return rc;
    }

    doc = json_loadb(json, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (doc == NULL) {
        return gp_err(err, GP_INVALID_ARGUMENT, "not JSON, line %d, column %d: %s", error.line, error.column, error.text);
    }

    return gp_in_message(&in, descriptor, doc, 0, &root, ret_msg);
}
