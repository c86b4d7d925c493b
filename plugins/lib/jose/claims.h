#pragma once

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#include "core/span.h"
#include "jose/jws.h"

/* What the payload of a token says: for jws.c, and for tests. */

/* base64url JSON object to a tree (json_decref() it); NULL for anything else, or when it has more than max bytes. */
json_t *gp_jose_decode_object(gp_span_t part, size_t max) __attribute__((warn_unused_result));

/*
 * gp_jose_claims_read() - a payload, still base64url, to claims but for kid
 *
 * 0: clear *ret_claims; GP_JOSE_NO: no object, or a claim of a wrong type;
 * -GP_RESOURCE_EXHAUSTED. *ret_claims is written only on 0.
 */
int gp_jose_claims_read(gp_span_t part, gp_jose_claims_t *ret_claims) __attribute__((warn_unused_result));

/*
 * gp_jose_claims_flat() - claims of JSON that is as plain as what we issue
 *
 * No blanks, no escapes, ASCII, strings and whole positive numbers, each name
 * known and there once. True: *ret_claims is what a JSON parser would have
 * read, its spans point into text. False: ask one; *ret_claims is untouched.
 */
bool gp_jose_claims_flat(const char *text, size_t len, gp_jose_claims_t *ret_claims) __attribute__((warn_unused_result));

/* The same from a tree, whose strings it borrows. False: a claim is of a wrong type. */
bool gp_jose_claims_tree(const json_t *payload, gp_jose_claims_t *ret_claims) __attribute__((warn_unused_result));
