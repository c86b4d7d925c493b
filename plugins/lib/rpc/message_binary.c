#include <inttypes.h>
#include <string.h>

#include "base/die.h"
#include "rpc/message.h"
#include "rpc/message_codec.h"
#include "rpc/utf8.h"

/*
 * Binary protobuf. protobuf-c does the decoding, but it recurses as deep as
 * its input wants, cuts strings at a NUL, takes any bytes for text and says
 * only "no" in the end. So one walk over the wire format goes first: depth,
 * number of fields, wire types, lengths and text are checked there, and the
 * error names the field.
 */
enum { GP_WIRE_VARINT = 0, GP_WIRE_64 = 1, GP_WIRE_BYTES = 2, GP_WIRE_32 = 5 };

#define GP_WIRE_FIELDS_KNOWN_MAX 256 /* fields of one message type: bits of a set on the stack */

#define GP_WIRE_FIELD_MAX ((UINT32_C(1) << 29) - 1)

typedef struct {
    const uint8_t *p;
    const uint8_t *end;
} gp_wire_t;

typedef struct {
    size_t fields; /* seen so far, elements of packed lists included */
    gp_err_t *err;
} gp_wire_check_t;


static bool gp_wire_varint(gp_wire_t *wire, uint64_t *ret_value)
{
    uint64_t value = 0;
    unsigned shift;

    for (shift = 0; shift < 70 && wire->p < wire->end; shift += 7) {
        uint8_t byte = *wire->p++;

        if (shift == 63 && byte > 1) {
            return false;
        }
        value |= (uint64_t) (byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            *ret_value = value;
            return true;
        }
    }

    return false;
}


/* Moves past one value; for GP_WIRE_BYTES *ret_part is what it holds. */
static bool gp_wire_skip(gp_wire_t *wire, unsigned type, gp_wire_t *ret_part)
{
    uint64_t n;

    switch (type) {
    case GP_WIRE_VARINT:
        return gp_wire_varint(wire, &n);

    case GP_WIRE_64:
        n = 8;
        break;

    case GP_WIRE_32:
        n = 4;
        break;

    case GP_WIRE_BYTES:
        if (!gp_wire_varint(wire, &n)) {
            return false;
        }
        break;

    default:
        return false;
    }

    if (n > (uint64_t) (wire->end - wire->p)) {
        return false;
    }
    ret_part->p = wire->p;
    wire->p += n;
    ret_part->end = wire->p;

    return true;
}


static unsigned gp_wire_type_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return GP_WIRE_64;

    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return GP_WIRE_32;

    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return GP_WIRE_BYTES;

    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_BOOL:
    case PROTOBUF_C_TYPE_ENUM:
        return GP_WIRE_VARINT;
    }

    return GP_WIRE_BYTES;
}


static int gp_wire_packed(gp_wire_check_t *check, const ProtobufCFieldDescriptor *field, gp_wire_t part, const gp_codec_path_t *path)
{
    gp_wire_t unused;

    while (part.p < part.end) {
        if (!gp_wire_skip(&part, gp_wire_type_of(field->type), &unused)) {
            return gp_codec_err(check->err, GP_INVALID_ARGUMENT, path, "not protobuf: a packed list that ends within a value");
        }
        check->fields++;
    }

    return 0;
}


static int gp_wire_text(gp_wire_check_t *check, gp_wire_t part, const gp_codec_path_t *path)
{
    size_t len = (size_t) (part.end - part.p);

    if (memchr(part.p, '\0', len) != NULL || !gp_utf8_valid((const char *) part.p, len)) {
        return gp_codec_err(check->err, GP_INVALID_ARGUMENT, path, "a string must be UTF-8 without NUL");
    }

    return 0;
}


static int gp_wire_message(gp_wire_check_t *check, const ProtobufCMessageDescriptor *descriptor, gp_wire_t wire, int depth,
                           const gp_codec_path_t *path);


/* One field that the descriptor knows. */
static int gp_wire_field(gp_wire_check_t *check, const ProtobufCFieldDescriptor *field, unsigned type, gp_wire_t part, int depth,
                         const gp_codec_path_t *path)
{
    gp_codec_path_t here = {path, field->name, 0, false};
    unsigned want = gp_wire_type_of(field->type);

    if (type == GP_WIRE_BYTES && want != GP_WIRE_BYTES && field->label == PROTOBUF_C_LABEL_REPEATED) {
        return gp_wire_packed(check, field, part, &here);
    }
    if (type != want) {
        return gp_codec_err(check->err, GP_INVALID_ARGUMENT, &here, "wire type %u, not %u: sent as another type", type, want);
    }
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        return gp_wire_text(check, part, &here);
    }
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        return gp_wire_message(check, gp_codec_sub(field), part, depth + 1, &here);
    }

    return 0;
}


/*
 * A message field in two pieces should be merged, says the specification; no
 * encoder does that, and protobuf-c 1.4 reads outside its tables when it
 * merges messages with a oneof (int_range_lookup() of case 0). So it is refused.
 */
static int gp_wire_once(gp_wire_check_t *check, const ProtobufCFieldDescriptor *field, size_t index, uint64_t *seen,
                        const gp_codec_path_t *path)
{
    gp_codec_path_t here = {path, field->name, 0, false};
    uint64_t bit = UINT64_C(1) << index % 64;

    if (field->type != PROTOBUF_C_TYPE_MESSAGE || field->label == PROTOBUF_C_LABEL_REPEATED || gp_codec_is_oneof(field)) {
        return 0;
    }
    if (seen[index / 64] & bit) {
        return gp_codec_err(check->err, GP_INVALID_ARGUMENT, &here, "given twice");
    }
    seen[index / 64] |= bit;

    return 0;
}


static int gp_wire_message(gp_wire_check_t *check, const ProtobufCMessageDescriptor *descriptor, gp_wire_t wire, int depth,
                           const gp_codec_path_t *path)
{
    uint64_t seen[GP_WIRE_FIELDS_KNOWN_MAX / 64] = {0};
    const ProtobufCFieldDescriptor *field;
    gp_wire_t part = {NULL, NULL};
    uint64_t tag;
    int rc;

    if (depth > GP_RPC_DEPTH_MAX) {
        return gp_codec_err(check->err, GP_INVALID_ARGUMENT, path, "nested deeper than %d messages", GP_RPC_DEPTH_MAX);
    }

    gp_assert(descriptor->n_fields <= GP_WIRE_FIELDS_KNOWN_MAX);
    while (wire.p < wire.end) {
        if (!gp_wire_varint(&wire, &tag) || tag >> 3 == 0 || tag >> 3 > GP_WIRE_FIELD_MAX ||
            !gp_wire_skip(&wire, (unsigned) (tag & 7), &part)) {
            return gp_codec_err(check->err, GP_INVALID_ARGUMENT, path, "not a protobuf message of type %s", descriptor->name);
        }
        check->fields++;

        field = protobuf_c_message_descriptor_get_field(descriptor, (unsigned) (tag >> 3));
        if (field != NULL) {
            rc = gp_wire_once(check, field, (size_t) (field - descriptor->fields), seen, path);
            if (rc < 0 || (rc = gp_wire_field(check, field, (unsigned) (tag & 7), part, depth, path)) < 0) {
                return rc;
            }
        }
        if (check->fields > GP_CODEC_VALUES_MAX) {
            return gp_codec_err(check->err, GP_RESOURCE_EXHAUSTED, path, "more than %d values; send less at once", GP_CODEC_VALUES_MAX);
        }
    }

    return 0;
}


static void *gp_wire_alloc(void *data, size_t size)
{
    gp_arena_t *arena = data;
    void *ptr;

    return gp_codec_alloc(arena, 1, size, &ptr, NULL) == 0 ? ptr : NULL;
}


static void gp_wire_free(void *data, void *ptr)
{
    /* the arena goes as a whole */
}


int gp_message_from_binary(const ProtobufCMessageDescriptor *descriptor, const void *data, size_t len, gp_arena_t *arena,
                           ProtobufCMessage **ret_msg, gp_err_t *err)
{
    ProtobufCAllocator allocator = {gp_wire_alloc, gp_wire_free, arena};
    gp_codec_path_t root = {NULL, NULL, 0, false};
    gp_wire_check_t check = {0, err};
    gp_wire_t wire;
    ProtobufCMessage *msg;
    int rc;

    wire.p = len > 0 ? data : (const uint8_t *) "";
    wire.end = wire.p + len;
    rc = gp_wire_message(&check, descriptor, wire, 0, &root);
    if (rc < 0) {
        return rc;
    }

    msg = protobuf_c_message_unpack(descriptor, &allocator, len, wire.p);
    if (msg == NULL) {
        /* the form is right, so it is memory or what only protobuf-c refuses */
        if (gp_arena_left(arena) < len + descriptor->sizeof_message) {
            return gp_err(err, GP_RESOURCE_EXHAUSTED, "%s: the message needs more memory than one request may have", descriptor->name);
        }
        return gp_err(err, GP_INVALID_ARGUMENT, "not a protobuf message of type %s", descriptor->name);
    }
    *ret_msg = msg;

    return 0;
}


static int gp_binary_check(const ProtobufCMessage *msg, int depth, const gp_codec_path_t *path, gp_err_t *err);


/* One value of a string or message field. */
static int gp_binary_check_value(const ProtobufCFieldDescriptor *field, const void *src, int depth, const gp_codec_path_t *path,
                                 gp_err_t *err)
{
    const ProtobufCMessage *sub;
    const char *text;

    if (field->type == PROTOBUF_C_TYPE_STRING) {
        memcpy(&text, src, sizeof(text));
        return text ? gp_codec_check_text(text, path, err) : 0;
    }

    memcpy(&sub, src, sizeof(sub));
    if (sub == NULL && field->label == PROTOBUF_C_LABEL_REPEATED) {
        return gp_codec_err(err, GP_INTERNAL, path, "no message there");
    }

    return sub ? gp_binary_check(sub, depth + 1, path, err) : 0;
}


static int gp_binary_check_field(const ProtobufCMessage *msg, const ProtobufCFieldDescriptor *field, int depth, const gp_codec_path_t *path,
                                 gp_err_t *err)
{
    gp_codec_path_t here = {path, field->name, 0, false}, item = {&here, NULL, 0, false};
    const char *src = (const char *) msg + field->offset, *items;
    uint32_t id;
    size_t n;
    int rc;

    if (gp_codec_is_oneof(field)) {
        memcpy(&id, (const char *) msg + field->quantifier_offset, sizeof(id));
        return id == field->id ? gp_binary_check_value(field, src, depth, &here, err) : 0;
    }
    if (field->label != PROTOBUF_C_LABEL_REPEATED) {
        return gp_binary_check_value(field, src, depth, &here, err);
    }

    memcpy(&n, (const char *) msg + field->quantifier_offset, sizeof(n));
    memcpy(&items, src, sizeof(items));
    for (; item.index < n; item.index++) {
        rc = gp_binary_check_value(field, items + item.index * sizeof(void *), depth, &item, err);
        if (rc < 0) {
            return rc;
        }
    }

    return 0;
}


/* Text is UTF-8 and nothing is deeper than a reader takes, before protobuf-c packs what it is given. */
static int gp_binary_check(const ProtobufCMessage *msg, int depth, const gp_codec_path_t *path, gp_err_t *err)
{
    const ProtobufCFieldDescriptor *field;
    unsigned i;
    int rc;

    if (depth > GP_RPC_DEPTH_MAX) {
        return gp_codec_err(err, GP_INTERNAL, path, "nested deeper than %d messages", GP_RPC_DEPTH_MAX);
    }

    for (i = 0; i < msg->descriptor->n_fields; i++) {
        field = &msg->descriptor->fields[i];
        if (field->type != PROTOBUF_C_TYPE_STRING && field->type != PROTOBUF_C_TYPE_MESSAGE) {
            continue;
        }
        rc = gp_binary_check_field(msg, field, depth, path, err);
        if (rc < 0) {
            return rc;
        }
    }

    return 0;
}


int gp_message_to_binary(const ProtobufCMessage *msg, gp_arena_t *arena, void **ret_data, size_t *ret_len, gp_err_t *err)
{
    gp_codec_path_t root = {NULL, NULL, 0, false};
    uint8_t *data;
    size_t len;
    int rc;

    rc = gp_binary_check(msg, 0, &root, err);
    if (rc < 0) {
        return rc;
    }

    len = protobuf_c_message_get_packed_size(msg);
    if (len > GP_CODEC_OUTPUT_MAX) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "%s is larger than %d bytes; ask for less at once", msg->descriptor->name,
                      GP_CODEC_OUTPUT_MAX);
    }
    rc = gp_codec_alloc(arena, len + 1, 1, &data, err);
    if (rc < 0) {
        return rc;
    }
    *ret_len = protobuf_c_message_pack(msg, data);
    *ret_data = data;

    return 0;
}
