#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../workspace/port_url.h"
#include "../../workspace/supervisor/port.h"
#include "../../workspace/supervisor/request.h"
#include "../../workspace/supervisor/wish.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Heads of requests to 22999, wishes of gp, and lines of /proc/net/tcp. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    sup_listener_t listener;
    sup_request_t request;
    gp_err_t err = GP_ERR_INIT;
    sup_wish_t wish;
    char url[64];

    if (!text) {
        return 0;
    }
    memcpy(text, data, size);
    text[size] = '\0';
    if (sup_request_parse(text, size, &request) == 1 && (request.path[0] != '/' || strlen(request.path) >= SUP_REQUEST_PATH_MAX)) {
        __builtin_trap();
    }
    if (sup_port_parse_line(text, size & 1, &listener) == 1 && listener.port == 0) {
        __builtin_trap();
    }
    if (sup_wish_parse(text, &wish, &err) == 0 && (wish.port == 0 || !*wish.set)) {
        __builtin_trap();
    }
    (void) gp_port_url_join(text, 3000, url, sizeof(url));
    free(text);

    return 0;
}
