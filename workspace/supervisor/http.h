#pragma once

#include "base/err.h"

/* Listens on TCP 0.0.0.0:22999 and on the unix socket of gp. */
int sup_http_start(gp_err_t *err) __attribute__((warn_unused_result));
int sup_http_start_local(gp_err_t *err) __attribute__((warn_unused_result));
/* Something changed: who waits is asked again. */
void sup_http_wake(void);
