#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>

#include "base/arena.h"
#include "base/err.h"

/*
 * Blocking HTTP/1.1 client on libcurl for pool threads: the engine's API, the
 * supervisor's endpoints. Connections are kept per thread.
 */
typedef struct {
    const char *method; /* "GET" */
    const char *unix_socket; /* NULL: TCP */
    const char *url; /* "http://engine/v1.41/containers/json" */
    const char *content_type; /* NULL: none */
    const void *body;
    size_t body_len;
    uint32_t timeout_ms; /* whole exchange; 0: none, then cancelled is needed */
    uint32_t connect_timeout_ms; /* 0: timeout_ms */
    size_t response_limit; /* bytes; 0: 4 MiB */
    bool (*cancelled)(void *data); /* may be NULL; polled every 100 ms */
    void *data;
    int (*on_body)(const void *chunk, size_t len, void *data,
                   gp_err_t *err); /* streaming: bodies of 2xx; then response.body is empty. Non-zero ends it and is returned. */
    const char *const *headers; /* NULL, or "Name: value" lines ended by NULL */
} gp_http_request_t;

typedef struct {
    int status;
    char *body; /* NUL-terminated, arena */
    size_t body_len;
    const char *content_type; /* arena; "" when none */
} gp_http_response_t;

/*
 * Errors: UNAVAILABLE (cannot connect: errnum is ECONNREFUSED; or the connection broke), DEADLINE_EXCEEDED, CANCELED, RESOURCE_EXHAUSTED
 * (response too large). An HTTP status is no error.
 */
int gp_http_client_do(const gp_http_request_t *req, gp_arena_t *arena, gp_http_response_t *ret_res, gp_err_t *err)
    __attribute__((warn_unused_result));
