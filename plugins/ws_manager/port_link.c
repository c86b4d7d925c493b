/*
 * D/api/ports/<workspace>/<port>/: leads the owner to a port. In mode port no
 * pattern tells where that is, so what knows only the number, like the editor's
 * view of ports, links here; a port that has no listener yet is given one.
 */
#include <stdlib.h>
#include <string.h>

#include "core/contract.h"
#include "core/id.h"
#include "ports.h"
#include "wsm.h"

#define PORT_LINK_DIGITS 5

static int check(const gp_call_t *call, const char *id, const char *port, gp_err_t *err)
{
    if (strcmp(call->credential, "session") != 0 || !*call->user) {
        return gp_err(err, GP_UNAUTHENTICATED, "this needs a session: sign in");
    }
    if (!id || !gp_id_workspace_valid(id, strlen(id))) {
        return gp_err(err, GP_INVALID_ARGUMENT, "workspace: not the id of a workspace");
    }
    if (!port || strlen(port) > PORT_LINK_DIGITS || strspn(port, "0123456789") != strlen(port)) {
        return gp_err(err, GP_INVALID_ARGUMENT, "port: must be 1 to 65535");
    }
    return wsm_ports_check((int) strtol(port, NULL, 10), err);
}

int wsm_port_link(gp_call_t *call, gp_http_reply_t *reply, gp_err_t *err)
{
    const char *id = gp_call_param(call, GP_PARAM_WORKSPACE), *text = gp_call_param(call, GP_PARAM_PORT), *url;
    wsm_t *m = call->data;
    wsm_workspace_t ws;
    int port, rc = check(call, id, text, err);

    rc = rc < 0 ? rc : wsm_store_get(m->db, id, call->arena, &ws, err);
    if (rc < 0) {
        return rc;
    }
    if (ws.deleted != WSM_KEPT || strcmp(ws.owner, call->user) != 0) {
        return gp_err(err, GP_NOT_FOUND, "There is no workspace %s", id);
    }
    port = (int) strtol(text, NULL, 10);
    if (ws.phase == WSM_PHASE_RUNNING) {
        rc = wsm_listener_give(m, &ws, port, call->arena, err);
        url = wsm_url(m, &ws, port, call->arena);
    } else {
        url = gp_arena_printf(call->arena, "%s/start/#%s", m->gateway_url, id);
    }
    if (rc < 0) {
        return rc;
    }
    reply->status = 303;
    gp_http_reply_header(call, reply, "Location", url);
    gp_http_reply_header(call, reply, "Cache-Control", "no-store");
    return 0;
}
