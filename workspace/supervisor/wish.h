#pragma once

#include <stdint.h>

#include "base/err.h"
#include "base/json.h"

/*
 * What a person inside wants of a port (gp ports visibility, gp ports protocol).
 * The supervisor has no right of its own: it keeps the wish for ws_manager, which
 * asks every few seconds for what is new.
 */
#define SUP_WISHES_MAX 16
#define SUP_WISH_MS 15000 /* then nobody waits for it any more */

typedef struct {
    uint16_t port;
    const char *set; /* one of the words a port can be set to; static */
} sup_wish_t;

/* Pure: "3000/public", or private, http, https, h2c, grpc. Errors: INVALID_ARGUMENT. */
int sup_wish_parse(const char *text, sup_wish_t *ret_wish, gp_err_t *err);
/* Errors: INVALID_ARGUMENT, RESOURCE_EXHAUSTED. */
int sup_wish_add(const char *text, gp_err_t *err);
/* Those that are not too old, each with a number that grows: [{"seq":N,"port":3000,"set":"public"}]; NULL: out of memory. */
json_t *sup_wish_list(void);
