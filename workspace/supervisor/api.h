#pragma once

#include "base/json.h"
#include "request.h"

/* What the supervisor tells: docs/contracts/workspace.md. */
enum { SUP_API_ANSWER = 0, SUP_API_WAIT = 1, SUP_API_ATTACH = 2 };

typedef struct {
    int status; /* HTTP */
    json_t *body; /* given */
    const char *task; /* SUP_API_ATTACH: borrowed from the request */
} sup_reply_t;

/*
 * sup_api_answer() - decide one request
 *
 * @local  it came over the unix socket, from inside the workspace
 * @last   it has waited long enough: answer with what is so
 *
 * SUP_API_WAIT: ask again when something changed.
 */
int sup_api_answer(const sup_request_t *request, int local, int last, sup_reply_t *ret_reply);

/* What cannot go on, for status/ide and status/supervisor; NULL: all is well. */
void sup_api_set_fatal(const char *text);
void sup_api_started(void); /* the clock of activity starts here */
int sup_api_stop_requested(void);
/* The workspace stops. True: somebody wants to hear that (then sup_http_wake(), and a moment). */
int sup_api_set_ends(void);
/* How many were told since. Who was told asks once more when the person knows, too. */
int sup_api_ends_told(void);
