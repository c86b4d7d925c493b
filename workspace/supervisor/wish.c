#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "core/contract.h"
#include "wish.h"

static const char *const sup_wish_words[] = {"private", "public", "http", "https", "h2c", "grpc"};
static const uint16_t sup_wish_reserved[] = {GP_PORT_SUPERVISOR, GP_PORT_IDE,       GP_PORT_SSH,        GP_PORT_DEBUG_SUPERVISOR,
                                             GP_PORT_DEBUG_IDE,  GP_PORT_DEBUG_SSH, GP_PORT_DEBUG_PROXY};

static struct {
    sup_wish_t wish;
    int64_t seq;
    uint64_t said_ms;
} sup_wishes[SUP_WISHES_MAX];
static int64_t sup_wish_seq; /* over restarts too: begins with the clock */


int sup_wish_parse(const char *text, sup_wish_t *ret_wish, gp_err_t *err)
{
    unsigned long port = 0;
    char *end = NULL;
    size_t i;

    if (*text >= '1' && *text <= '9') {
        port = strtoul(text, &end, 10);
    }
    if (port < 1 || port > 65535 || *end != '/') {
        return gp_err(err, GP_INVALID_ARGUMENT, "the port must be a number from 1 to 65535");
    }
    for (i = 0; i < sizeof(sup_wish_reserved) / sizeof(sup_wish_reserved[0]); i++) {
        if (port == sup_wish_reserved[i]) {
            return gp_err(err, GP_INVALID_ARGUMENT, "port %lu is the workspace's own; choose another one", port);
        }
    }
    for (i = 0; i < sizeof(sup_wish_words) / sizeof(sup_wish_words[0]); i++) {
        if (strcmp(end + 1, sup_wish_words[i]) == 0) {
            ret_wish->port = (uint16_t) port;
            ret_wish->set = sup_wish_words[i];
            return 0;
        }
    }

    return gp_err(err, GP_INVALID_ARGUMENT, "a port is private or public, and speaks http, https, h2c or grpc");
}


int sup_wish_add(const char *text, gp_err_t *err)
{
    uint64_t now = gp_clock_ms();
    sup_wish_t wish;
    size_t i;
    int rc = sup_wish_parse(text, &wish, err);

    if (rc < 0) {
        return rc;
    }
    for (i = 0; i < SUP_WISHES_MAX && sup_wishes[i].seq != 0 && now - sup_wishes[i].said_ms < SUP_WISH_MS; i++) {
    }
    if (i == SUP_WISHES_MAX) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "too many changes of ports at once; try again in %d s", SUP_WISH_MS / 1000);
    }
    if (sup_wish_seq == 0) {
        sup_wish_seq = gp_clock_epoch_ms();
    }
    sup_wishes[i].wish = wish;
    sup_wishes[i].seq = ++sup_wish_seq;
    sup_wishes[i].said_ms = now;

    return 0;
}


json_t *sup_wish_list(void)
{
    gp_auto_json json_t *list = json_array();
    uint64_t now = gp_clock_ms();
    size_t i;

    for (i = 0; i < SUP_WISHES_MAX; i++) {
        if (sup_wishes[i].seq != 0 && now - sup_wishes[i].said_ms < SUP_WISH_MS &&
            json_array_append_new(list, json_pack("{s:I, s:i, s:s}", "seq", (json_int_t) sup_wishes[i].seq, "port",
                                                  (int) sup_wishes[i].wish.port, "set", sup_wishes[i].wish.set)) < 0) {
            return NULL;
        }
    }

    return gp_steal(&list);
}
