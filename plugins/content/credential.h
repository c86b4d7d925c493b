#pragma once

#include "base/err.h"
#include "url.h"

#define CNT_SECRET_MAX 8192 /* bytes of user name and token */

/*
 * The person's token for one host on its way to git: in memory that only the
 * child inherits, handed out by this program run as git's credential helper.
 * Never an argument, an environment variable or a file.
 */

/* A descriptor to inherit. Errors: RESOURCE_EXHAUSTED. */
int cnt_credential_new(const cnt_url_t *url, const char *username, const char *value, int *ret_fd, gp_err_t *err)
    __attribute__((warn_unused_result));
/* main() of "content --credential-helper <operation>": git's request on stdin, the secret on descriptor 3. */
int cnt_credential_main(int argc, char **argv);
/* Pure: whether the helper's request ("protocol=..\nhost=..\n") asks for the protocol and host that secret begins with. */
int cnt_credential_matches(const char *request, const char *secret);
