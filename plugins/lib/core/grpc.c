#include <string.h>
#include <strings.h>

#include "core/code.h"
#include "core/grpc.h"

#define GP_GRPC_TIMEOUT_DIGITS 8 /* the protocol's bound */


/* What follows the name up to parameters, or NULL when the type has another name. */
static const char *gp_grpc_suffix(const char *type, size_t len, const char *name, size_t *ret_len)
{
    size_t name_len, n;

    name_len = strlen(name);
    if (len < name_len || strncasecmp(type, name, name_len) != 0) {
        return NULL;
    }

    for (n = name_len; n < len && type[n] != ';' && type[n] != ' ' && type[n] != '\t'; n++) {
    }
    *ret_len = n - name_len;

    return type + name_len;
}


static int gp_grpc_is(const char *type, size_t len, const char *name)
{
    const char *suffix;
    size_t n;

    suffix = gp_grpc_suffix(type, len, name, &n);

    return suffix != NULL &&
           (n == 0 || (n == 6 && strncasecmp(suffix, "+proto", 6) == 0) || (n == 5 && strncasecmp(suffix, "+json", 5) == 0));
}


int gp_grpc_is_native(const char *type, size_t len)
{
    return gp_grpc_is(type, len, GP_GRPC_TYPE);
}


int gp_grpc_is_web(const char *type, size_t len)
{
    return gp_grpc_is(type, len, GP_GRPC_WEB_TYPE);
}


int gp_grpc_timeout_parse(const char *text, uint64_t *ret_ms)
{
    static const struct {
        char unit;
        uint64_t multiply, divide; /* to milliseconds */
    } units[] = {{'H', 3600000, 1}, {'M', 60000, 1}, {'S', 1000, 1}, {'m', 1, 1}, {'u', 1, 1000}, {'n', 1, 1000000}};

    uint64_t value;
    size_t i;
    int n;

    value = 0;
    for (n = 0; text[n] >= '0' && text[n] <= '9'; n++) {
        if (n == GP_GRPC_TIMEOUT_DIGITS) {
            return -GP_INVALID_ARGUMENT;
        }
        value = value * 10 + (uint64_t) (text[n] - '0');
    }

    if (n == 0 || text[n] == '\0' || text[n + 1] != '\0') {
        return -GP_INVALID_ARGUMENT;
    }

    for (i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (units[i].unit == text[n]) {
            *ret_ms = (value * units[i].multiply + units[i].divide - 1) / units[i].divide;
            return 0;
        }
    }

    return -GP_INVALID_ARGUMENT;
}


size_t gp_grpc_message_escape(const char *text, size_t len, char *out)
{
    static const char hex[] = "0123456789ABCDEF";

    unsigned char c;
    size_t i, n;

    n = 0;
    for (i = 0; i < len; i++) {
        c = (unsigned char) text[i];
        if (c >= 0x20 && c <= 0x7e && c != '%') {
            out[n++] = (char) c;
            continue;
        }
        out[n++] = '%';
        out[n++] = hex[c >> 4];
        out[n++] = hex[c & 15];
    }

    return n;
}


int gp_grpc_code_from_http(unsigned status)
{
    switch (status) {
    case 400:
        return GP_INTERNAL;
    case 401:
        return GP_UNAUTHENTICATED;
    case 403:
        return GP_PERMISSION_DENIED;
    case 404:
        return GP_UNIMPLEMENTED;
    case 413:
    case 429:
        return GP_RESOURCE_EXHAUSTED;
    case 502:
    case 503:
    case 504:
        return GP_UNAVAILABLE;
    default:
        return GP_UNKNOWN;
    }
}


int gp_grpc_health_service(const uint8_t *body, size_t len, gp_span_t *ret_name)
{
    const size_t head = GP_GRPC_HEADER_LEN + 2; /* tag and length of field 1, a string below 128 bytes */

    ret_name->ptr = "";
    ret_name->len = 0;
    if (len < GP_GRPC_HEADER_LEN || body[0] != 0 || body[1] != 0 || body[2] != 0 || body[3] != 0 || body[4] != len - GP_GRPC_HEADER_LEN) {
        return -GP_INVALID_ARGUMENT;
    }
    if (len == GP_GRPC_HEADER_LEN) {
        return 0;
    }
    if (len < head || body[GP_GRPC_HEADER_LEN] != 0x0a || body[GP_GRPC_HEADER_LEN + 1] != len - head || len - head > 127) {
        return -GP_INVALID_ARGUMENT;
    }

    ret_name->ptr = (const char *) body + head;
    ret_name->len = len - head;

    return 0;
}


/* What is there of a frame's header; its first byte says what the frame is. */
static size_t gp_grpc_scan_header(gp_grpc_scan_t *scan, const uint8_t *bytes, size_t len)
{
    size_t n;

    for (n = 0; n < len && scan->header_len < GP_GRPC_HEADER_LEN; n++, scan->header_len++) {
        if (scan->header_len == 0) {
            scan->trailer = (bytes[n] & GP_GRPC_TRAILER_FLAG) != 0;
        } else {
            scan->left = scan->left << 8 | bytes[n];
        }
    }

    if (scan->header_len == GP_GRPC_HEADER_LEN) {
        scan->header_len = 0;
        scan->done = scan->trailer && scan->left == 0;
    }

    return n;
}


size_t gp_grpc_scan(gp_grpc_scan_t *scan, const uint8_t *bytes, size_t len, enum gp_grpc_run *ret_run)
{
    size_t n;

    if (scan->done) {
        *ret_run = GP_GRPC_RUN_AFTER;
        return len;
    }

    if (gp_grpc_scan_between(scan) || scan->header_len > 0) {
        n = gp_grpc_scan_header(scan, bytes, len);
        *ret_run = scan->trailer ? GP_GRPC_RUN_HEADER : GP_GRPC_RUN_MESSAGE;
        return n;
    }

    n = len < scan->left ? len : scan->left;
    scan->left -= (uint32_t) n;
    scan->done = scan->trailer && scan->left == 0;
    *ret_run = scan->trailer ? GP_GRPC_RUN_TRAILER : GP_GRPC_RUN_MESSAGE;

    return n;
}


int gp_grpc_scan_between(const gp_grpc_scan_t *scan)
{
    return scan->header_len == 0 && scan->left == 0;
}


static int gp_grpc_trailer_name_valid(gp_span_t name)
{
    size_t i;
    char c;

    for (i = 0; i < name.len; i++) {
        c = name.ptr[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.')) {
            return 0;
        }
    }

    return name.len > 0;
}


static int gp_grpc_trailer_value_valid(gp_span_t value)
{
    size_t i;

    for (i = 0; i < value.len; i++) {
        if (value.ptr[i] < 0x20 || value.ptr[i] > 0x7e) {
            return 0;
        }
    }

    return 1;
}


static gp_span_t gp_grpc_trim(gp_span_t span)
{
    while (span.len > 0 && span.ptr[0] == ' ') {
        span.ptr++;
        span.len--;
    }
    while (span.len > 0 && span.ptr[span.len - 1] == ' ') {
        span.len--;
    }

    return span;
}


int gp_grpc_trailer_next(gp_span_t *text, gp_span_t *ret_name, gp_span_t *ret_value)
{
    const char *end, *colon;
    size_t len;

    if (text->len == 0) {
        return 0;
    }

    end = memchr(text->ptr, '\n', text->len);
    len = end ? (size_t) (end - text->ptr) : text->len;
    colon = memchr(text->ptr, ':', len);
    if (colon == NULL) {
        return -GP_INVALID_ARGUMENT;
    }

    ret_name->ptr = text->ptr;
    ret_name->len = (size_t) (colon - text->ptr);
    ret_value->ptr = colon + 1;
    ret_value->len = len - ret_name->len - 1;
    if (ret_value->len > 0 && ret_value->ptr[ret_value->len - 1] == '\r') {
        ret_value->len--;
    }
    *ret_value = gp_grpc_trim(*ret_value);

    if (!gp_grpc_trailer_name_valid(*ret_name) || !gp_grpc_trailer_value_valid(*ret_value)) {
        return -GP_INVALID_ARGUMENT;
    }

    len = end ? len + 1 : len;
    text->ptr += len;
    text->len -= len;

    return 1;
}
