#pragma once

#include <stdbool.h>

#include "core/span.h"

/* Whether a credential with these scopes (space separated) may use all of gitpod.v1: GP_SCOPE_ALL, or "*". */
bool gp_scope_all(gp_span_t scopes);
