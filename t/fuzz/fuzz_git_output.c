#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "content/credential.h"
#include "content/fault.h"
#include "content/progress.h"
#include "content/status.h"
#include "content/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What git prints, which a hostile server has its words in, and what a request names. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cnt_fault_context_t context = {.url = "https://h/r", .host = "h", .target = "t", .free_bytes = -1};
    char *text = malloc(size + 1);
    gp_err_t err = GP_ERR_INIT;
    cnt_progress_t progress;
    cnt_status_t status;
    cnt_url_t url;
    size_t len;

    if (!text) {
        return 0;
    }
    memcpy(text, data, size);
    text[size] = '\0';
    (void) cnt_progress_parse(text, size, &progress);
    cnt_status_parse(text, size, &status);
    if (cnt_fault(text, &context, &err) >= 0 || !*err.text) {
        __builtin_trap(); /* a fault has a code and a text */
    }
    (void) cnt_fault_wants_full(text);
    (void) !cnt_url_parse(text, true, &url, &err);
    (void) !cnt_checkout_check(text, &err);
    (void) !cnt_ref_check(text, &err);
    if (cnt_ref_longest("feature/x/y", text, &len) == 0 && len > 11) {
        __builtin_trap();
    }
    (void) cnt_credential_matches(text, "protocol=https\nhost=h\n");
    free(text);

    return 0;
}
