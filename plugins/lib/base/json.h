#pragma once

#include <jansson.h>

/* Cleanup for jansson values: gp_auto_json json_t *doc = NULL; */
static inline void gp_json_decref_ptr(json_t **json)
{
    json_decref(*json);
    *json = NULL;
}

#define gp_auto_json __attribute__((cleanup(gp_json_decref_ptr)))
