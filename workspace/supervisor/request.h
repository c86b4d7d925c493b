#pragma once

#include <stddef.h>

#define SUP_REQUEST_MAX 8192 /* bytes of a request's head */
#define SUP_REQUEST_PATH_MAX 512

/* What we read of an HTTP/1.1 request. Bodies are not read: no endpoint takes one. */
typedef struct {
    char method[8];
    char path[SUP_REQUEST_PATH_MAX]; /* without the query; "/wait/true" and such at the end are taken off */
    int wait;
    unsigned rows, columns; /* of ?rows=..&columns=.. */
} sup_request_t;

/* Pure. 1: complete, 0: more bytes are needed, -GP_INVALID_ARGUMENT: not HTTP/1 or too long. */
int sup_request_parse(const char *data, size_t len, sup_request_t *ret_request);
