#include "core/reflection.h"

#include <stdbool.h>
#include <string.h>

#include "core/code.h"
#include "core/grpc.h"

#define DEPTH_MAX 16 /* messages inside messages */
#define VARINT_MAX 10
#define WIRE_VARINT 0
#define WIRE_FIXED64 1
#define WIRE_BYTES 2
#define WIRE_FIXED32 5

/* google/protobuf/descriptor.proto */
enum { SET_FILE = 1 };
enum { FILE_NAME = 1, FILE_PACKAGE = 2, FILE_MESSAGE = 4, FILE_ENUM = 5, FILE_SERVICE = 6 };
enum { ANY_NAME = 1, MESSAGE_FIELD = 2, MESSAGE_NESTED = 3, MESSAGE_ENUM = 4, SERVICE_METHOD = 2 };

/* grpc/reflection/v1/reflection.proto */
enum { ASK_FILE = 3, ASK_SYMBOL = 4, ASK_EXTENSION = 5, ASK_EXTENSIONS = 6, ASK_SERVICES = 7 };
enum { SAY_REQUEST = 2, SAY_FILE = 4, SAY_SERVICES = 6, SAY_ERROR = 7 };

struct field {
    uint32_t number;
    uint32_t wire;
    gp_span_t bytes; /* of WIRE_BYTES */
};

struct out {
    uint8_t *at;
    uint8_t *end;
    bool full;
};


/* ---- reading ---- */

static bool take_varint(gp_span_t *in, uint64_t *ret)
{
    unsigned shift;

    *ret = 0;
    for (shift = 0; in->len > 0 && shift < 7 * VARINT_MAX; shift += 7) {
        uint8_t byte = (uint8_t) *in->ptr;

        in->ptr++;
        in->len--;
        *ret |= (uint64_t) (byte & 0x7f) << (shift < 63 ? shift : 63);
        if ((byte & 0x80) == 0) {
            return true;
        }
    }

    return false;
}


static bool skip(gp_span_t *in, uint64_t n)
{
    if (n > in->len) {
        return false;
    }
    in->ptr += n;
    in->len -= n;

    return true;
}


/* 1 and a field; 0 at the end; -1: that is no message. */
static int take_field(gp_span_t *in, struct field *ret)
{
    uint64_t tag, value;

    if (in->len == 0) {
        return 0;
    }
    if (!take_varint(in, &tag) || tag >> 3 == 0 || tag >> 3 > UINT32_MAX) {
        return -1;
    }
    ret->number = (uint32_t) (tag >> 3);
    ret->wire = (uint32_t) (tag & 7);
    ret->bytes.ptr = in->ptr;
    ret->bytes.len = 0;

    switch (ret->wire) {
    case WIRE_VARINT:
        return take_varint(in, &value) ? 1 : -1;
    case WIRE_FIXED64:
        return skip(in, 8) ? 1 : -1;
    case WIRE_FIXED32:
        return skip(in, 4) ? 1 : -1;
    case WIRE_BYTES:
        if (!take_varint(in, &value)) {
            return -1;
        }
        ret->bytes.ptr = in->ptr;
        ret->bytes.len = (size_t) value;
        return skip(in, value) ? 1 : -1;
    default:
        return -1;
    }
}


/* The next field of this number and of bytes. */
static bool next_of(gp_span_t *in, uint32_t number, gp_span_t *ret)
{
    struct field f;

    while (take_field(in, &f) == 1) {
        if (f.number == number && f.wire == WIRE_BYTES) {
            *ret = f.bytes;
            return true;
        }
    }

    return false;
}


static gp_span_t string_of(gp_span_t message, uint32_t number)
{
    gp_span_t found = {"", 0};

    (void) next_of(&message, number, &found);

    return found;
}


static bool same(gp_span_t a, gp_span_t b)
{
    return a.len == b.len && memcmp(a.ptr, b.ptr, a.len) == 0;
}


int gp_reflection_check(gp_span_t set)
{
    struct field f;
    int rc, files = 0;

    while ((rc = take_field(&set, &f)) == 1) {
        gp_span_t file = f.bytes;
        struct field inner;
        int in;

        if (f.number != SET_FILE || f.wire != WIRE_BYTES || string_of(file, FILE_NAME).len == 0) {
            return -GP_INVALID_ARGUMENT;
        }
        while ((in = take_field(&file, &inner)) == 1) {
        }
        if (in < 0) {
            return -GP_INVALID_ARGUMENT;
        }
        files++;
    }

    return rc == 0 && files > 0 ? 0 : -GP_INVALID_ARGUMENT;
}


/* ---- symbols ---- */

/* True when name is the symbol, or its begin up to a dot; then symbol is what follows. */
static bool strip(gp_span_t *symbol, gp_span_t name)
{
    if (name.len == 0 || name.len > symbol->len || memcmp(symbol->ptr, name.ptr, name.len) != 0) {
        return false;
    }
    if (name.len == symbol->len) {
        symbol->len = 0;
        return true;
    }
    if (symbol->ptr[name.len] != '.') {
        return false;
    }
    symbol->ptr += name.len + 1;
    symbol->len -= name.len + 1;

    return symbol->len > 0;
}


/* Is the symbol the name of one of these, with nothing behind it? */
static bool names(gp_span_t in, uint32_t number, gp_span_t symbol)
{
    gp_span_t found;

    while (next_of(&in, number, &found)) {
        if (same(string_of(found, ANY_NAME), symbol)) {
            return true;
        }
    }

    return false;
}


static bool message_defines(gp_span_t in, uint32_t number, gp_span_t symbol, unsigned depth) // NOLINT(misc-no-recursion): DEPTH_MAX
{
    gp_span_t message, rest;

    while (depth < DEPTH_MAX && next_of(&in, number, &message)) {
        rest = symbol;
        if (strip(&rest, string_of(message, ANY_NAME)) &&
            (rest.len == 0 || names(message, MESSAGE_FIELD, rest) || names(message, MESSAGE_ENUM, rest) ||
             message_defines(message, MESSAGE_NESTED, rest, depth + 1))) {
            return true;
        }
    }

    return false;
}


static bool service_defines(gp_span_t file, gp_span_t symbol)
{
    gp_span_t service, rest;

    while (next_of(&file, FILE_SERVICE, &service)) {
        rest = symbol;
        if (strip(&rest, string_of(service, ANY_NAME)) && (rest.len == 0 || names(service, SERVICE_METHOD, rest))) {
            return true;
        }
    }

    return false;
}


static bool file_defines(gp_span_t file, gp_span_t symbol)
{
    gp_span_t package = string_of(file, FILE_PACKAGE);

    if (package.len > 0 && (!strip(&symbol, package) || symbol.len == 0)) {
        return false;
    }

    return symbol.len > 0 &&
           (service_defines(file, symbol) || message_defines(file, FILE_MESSAGE, symbol, 0) || names(file, FILE_ENUM, symbol));
}


static bool find_file(gp_span_t set, uint32_t by, gp_span_t what, gp_span_t *ret)
{
    while (next_of(&set, SET_FILE, ret)) {
        if (by == ASK_FILE ? same(string_of(*ret, FILE_NAME), what) : file_defines(*ret, what)) {
            return true;
        }
    }

    return false;
}


/* ---- writing ---- */

static void put(struct out *out, const void *bytes, size_t len)
{
    if (len > (size_t) (out->end - out->at)) {
        out->full = true;
        return;
    }
    memcpy(out->at, bytes, len);
    out->at += len;
}


static void put_varint(struct out *out, uint64_t value)
{
    uint8_t byte;

    do {
        byte = (uint8_t) ((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
        put(out, &byte, 1);
        value >>= 7;
    } while (value > 0);
}


static size_t varint_len(uint64_t value)
{
    size_t n;

    for (n = 1; value > 0x7f; n++) {
        value >>= 7;
    }

    return n;
}


static void put_head(struct out *out, uint32_t number, size_t len)
{
    put_varint(out, number << 3 | WIRE_BYTES);
    put_varint(out, len);
}


static void put_bytes(struct out *out, uint32_t number, gp_span_t bytes)
{
    put_head(out, number, bytes.len);
    put(out, bytes.ptr, bytes.len);
}


/* ErrorResponse: 1 the code, 2 the text */
static void put_error(struct out *out, int code, const char *text)
{
    gp_span_t message = {text, strlen(text)};

    put_head(out, SAY_ERROR, 2 + 1 + varint_len(message.len) + message.len);
    put_varint(out, 1 << 3 | WIRE_VARINT);
    put_varint(out, (uint64_t) code);
    put_bytes(out, 2, message);
}


/* One ServiceResponse: 1 the full name. Returns its length; out may be NULL. */
static size_t put_service(struct out *out, gp_span_t package, gp_span_t name)
{
    size_t len = package.len + (package.len > 0) + name.len, message = 1 + varint_len(len) + len;

    if (out != NULL) {
        put_head(out, 1, message);
        put_head(out, 1, len);
        put(out, package.ptr, package.len);
        put(out, ".", package.len > 0);
        put(out, name.ptr, name.len);
    }

    return 1 + varint_len(message) + message;
}


static size_t put_services(struct out *out, gp_span_t set)
{
    gp_span_t file, service, rest;
    size_t len = 0;

    while (next_of(&set, SET_FILE, &file)) {
        rest = file;
        while (next_of(&rest, FILE_SERVICE, &service)) {
            len += put_service(out, string_of(file, FILE_PACKAGE), string_of(service, ANY_NAME));
        }
    }

    return len;
}


static void put_answer(struct out *out, gp_span_t set, const struct field *ask, gp_span_t *ret_file)
{
    switch (ask->number) {
    case ASK_SERVICES:
        put_head(out, SAY_SERVICES, put_services(NULL, set));
        (void) put_services(out, set);
        return;
    case ASK_FILE:
    case ASK_SYMBOL:
        if (find_file(set, ask->number, ask->bytes, ret_file)) {
            put_head(out, SAY_FILE, 1 + varint_len(ret_file->len) + ret_file->len);
            put_head(out, 1, ret_file->len);
            return;
        }
        ret_file->len = 0;
        put_error(out, GP_NOT_FOUND, ask->number == ASK_FILE ? "There is no such file" : "There is no such symbol");
        return;
    case ASK_EXTENSION:
    case ASK_EXTENSIONS:
        put_error(out, GP_NOT_FOUND, "There are no extensions");
        return;
    default:
        put_error(out, GP_UNIMPLEMENTED, "The request asks for nothing that is known here");
    }
}


/* The last of the oneof counts, as everywhere in protobuf. */
static bool read_request(gp_span_t request, struct field *ret_ask)
{
    struct field f;
    int rc;

    memset(ret_ask, 0, sizeof(*ret_ask));
    while ((rc = take_field(&request, &f)) == 1) {
        if (f.number >= ASK_FILE && f.number <= ASK_SERVICES) {
            if (f.wire != WIRE_BYTES) {
                return false;
            }
            *ret_ask = f;
        }
    }

    return rc == 0;
}


int gp_reflection_answer(gp_span_t set, gp_span_t request, uint8_t head[GP_REFLECTION_HEAD_MAX], gp_span_t *ret_file)
{
    struct out out = {head + GP_GRPC_HEADER_LEN, head + GP_REFLECTION_HEAD_MAX, false};
    struct field ask;
    size_t len;

    ret_file->ptr = "";
    ret_file->len = 0;
    if (request.len > GP_REFLECTION_REQUEST_MAX || !read_request(request, &ask)) {
        return -GP_INVALID_ARGUMENT;
    }

    put_bytes(&out, SAY_REQUEST, request);
    put_answer(&out, set, &ask, ret_file);
    if (out.full) {
        out = (struct out){head + GP_GRPC_HEADER_LEN, head + GP_REFLECTION_HEAD_MAX, false};
        ret_file->len = 0;
        put_error(&out, GP_RESOURCE_EXHAUSTED, "There is more than one answer holds");
    }

    len = (size_t) (out.at - head) - GP_GRPC_HEADER_LEN + ret_file->len;
    head[0] = 0;
    head[1] = (uint8_t) (len >> 24);
    head[2] = (uint8_t) (len >> 16);
    head[3] = (uint8_t) (len >> 8);
    head[4] = (uint8_t) len;

    return (int) (out.at - head);
}
