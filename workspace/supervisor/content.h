#pragma once

#include "base/err.h"

#define SUP_LOCATION_MAX 1024 /* bytes of the checkout's path */
#define SUP_READY_MAX 4096 /* bytes of ready.json */

/* What ready.json says, once it is there. */
typedef struct {
    int available;
    int from_backup;
    char location[SUP_LOCATION_MAX];
} sup_content_t;

const sup_content_t *sup_content(void);
/* Watches for the go signal; fn runs once, also at once when it is there already. Errors: the directory is missing. */
int sup_content_wait(void (*fn)(void), gp_err_t *err) __attribute__((warn_unused_result));
/* Pure: the text of ready.json. Errors: INVALID_ARGUMENT. */
int sup_content_parse(const char *text, size_t len, sup_content_t *ret_content, gp_err_t *err) __attribute__((warn_unused_result));
