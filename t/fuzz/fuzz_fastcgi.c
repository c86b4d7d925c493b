#include <stdlib.h>
#include <string.h>

#include "wire/fastcgi.h"

/*
 * The first byte is the size of the pieces. However the bytes are cut, the
 * parser must say the same; decoded parameters must be C strings that end where
 * it says.
 */
#define PARAMS_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
    uint64_t digest;
    char params[PARAMS_MAX];
    size_t params_len;
} heard_t;


static int mix(heard_t *heard, uint8_t what, const uint8_t *bytes, size_t len)
{
    size_t i;

    heard->digest = heard->digest * 1099511628211u + what;
    for (i = 0; i < len; i++) {
        heard->digest = heard->digest * 1099511628211u + bytes[i];
    }

    return 0;
}

static int on_begin(void *data, uint16_t id, bool keep)
{
    heard_t *heard = data;

    heard->params_len = 0;
    return mix(heard, keep ? 1 : 2, (uint8_t *) &id, 2);
}

static int on_params(void *data, const uint8_t *chunk, size_t len)
{
    heard_t *heard = data;

    if (len > PARAMS_MAX - heard->params_len) {
        return -8;
    }
    memcpy(heard->params + heard->params_len, chunk, len);
    heard->params_len += len;
    return 0; /* how many pieces there are depends on the cut */
}

static int on_params_end(void *data)
{
    heard_t *heard = data;
    const char *p, *end;
    size_t len;

    if (gp_fcgi_params_decode(heard->params, heard->params_len, &len) != 0) {
        return -3;
    }
    if (len > heard->params_len) {
        abort();
    }

    end = heard->params + len;
    for (p = heard->params; p < end; p += strlen(p) + 1) {
        if (*p == '\0') {
            abort(); /* an empty name */
        }
        if (gp_fcgi_params_get(heard->params, len, p) == NULL) {
            abort();
        }
        p += strlen(p) + 1;
        if (p >= end) {
            abort(); /* a name without a value */
        }
    }

    return mix(heard, 3, (uint8_t *) heard->params, len);
}

static int on_body(void *data, const uint8_t *chunk, size_t len)
{
    size_t i;

    for (i = 0; i < len; i++) {
        (void) mix(data, 4, chunk + i, 1);
    }
    return 0;
}

static int on_body_end(void *data)
{
    return mix(data, 5, NULL, 0);
}

static int on_abort(void *data)
{
    return mix(data, 6, NULL, 0);
}

static int on_reply(void *data, const uint8_t *record, size_t len)
{
    return mix(data, 7, record, len);
}


static int feed(heard_t *heard, const uint8_t *data, size_t size, size_t piece)
{
    static const gp_fcgi_events_t events = {on_begin, on_params, on_params_end, on_body, on_body_end, on_abort, on_reply};

    gp_fcgi_parser_t parser;
    size_t at, n;
    int rc;

    heard->digest = 0;
    heard->params_len = 0;
    gp_fcgi_parser_init(&parser);
    rc = 0;
    for (at = 0; at < size && rc == 0; at += n) {
        n = size - at < piece ? size - at : piece;
        rc = gp_fcgi_parser_feed(&parser, data + at, n, &events, heard);
    }

    return rc;
}


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static heard_t whole, cut;
    int rc;

    if (size < 1) {
        return 0;
    }

    rc = feed(&whole, data + 1, size - 1, size);
    if (feed(&cut, data + 1, size - 1, (size_t) data[0] + 1) != rc) {
        abort();
    }
    if (rc == 0 && (whole.digest != cut.digest || whole.params_len != cut.params_len)) {
        abort();
    }

    return 0;
}
