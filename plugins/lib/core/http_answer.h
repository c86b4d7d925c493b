#pragma once

#include <stddef.h>

#include "core/span.h"

/* An answer to an HTTP/1.0 request of ours that ended with its connection. */
typedef struct {
    int status; /* 100 to 999 */
    gp_span_t body;
} gp_http_answer_t;

/*
 * gp_http_answer_parse() - status and body of an answer, borrowing its bytes
 *
 * 0, or -GP_INVALID_ARGUMENT: not HTTP/1, a head without an end, a body that
 * is coded in pieces (HTTP/1.0 has none) or not as long as Content-Length says.
 */
int gp_http_answer_parse(const char *text, size_t len, gp_http_answer_t *ret_answer) __attribute__((warn_unused_result));
