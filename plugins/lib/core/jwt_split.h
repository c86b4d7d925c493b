#pragma once

#include "core/span.h"

/* The three parts of a compact JWS (RFC 7515 7.1), still base64url, and the bytes that were signed. */
typedef struct {
    gp_span_t header;
    gp_span_t payload;
    gp_span_t signature;
    gp_span_t signed_part; /* "header.payload" */
} gp_jwt_parts_t;

/*
 * gp_jwt_split() - find the parts of a compact token, borrowing its bytes
 *
 * Exactly two dots, no part empty, only base64url characters, at most
 * GP_CREDENTIAL_MAX bytes. 0, or -GP_INVALID_ARGUMENT.
 */
int gp_jwt_split(const char *token, size_t len, gp_jwt_parts_t *ret_parts);
