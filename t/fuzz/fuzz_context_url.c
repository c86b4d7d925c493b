/* Any bytes as a context URL: refused with a text, or members that git and a shell survive. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/die.h"
#include "rpc/utf8.h"
#include "public_api/context_url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void fuzz_text(const char *text)
{
    size_t i;

    gp_assert(text != NULL && gp_utf8_valid(text, strlen(text)));
    for (i = 0; text[i] != '\0'; i++) {
        gp_assert((unsigned char) text[i] >= 0x20 && text[i] != 0x7f);
    }
}


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gp_auto_arena gp_arena_t *arena = gp_arena_new(4194304);
    gp_err_t err = GP_ERR_INIT;
    pub_context_t context;

    if (size == 0 || !gp_utf8_valid((const char *) data + 1, size - 1)) {
        return 0; /* strings of a message are UTF-8 */
    }
    if (pub_context_parse((const char *) data + 1, size - 1, data[0] & 1, arena, &context, &err) < 0) {
        gp_assert(err.code == GP_INVALID_ARGUMENT && err.text[0] != '\0');
        return 0;
    }
    fuzz_text(context.url);
    fuzz_text(context.remote_uri);
    fuzz_text(context.target);
    fuzz_text(context.owner);
    fuzz_text(context.repository);
    fuzz_text(context.checkout);
    gp_assert(context.target[0] != '-' && context.remote_uri[0] != '-' && context.checkout[0] != '-' && context.checkout[0] != '\0');
    gp_assert(strchr(context.checkout, '/') == NULL && strcmp(context.checkout, "..") != 0);
    gp_assert((context.target_mode == PUB_TARGET_HEAD) == (context.target[0] == '\0'));

    return 0;
}
