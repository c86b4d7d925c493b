#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>

#include "ngx_gitpod_zone.h"

#include "core/id.h"

/*
 * A route record, as Redis, a file or a snapshot has it: what is accepted
 * keeps the bounds that the table and the proxy rely on, and no address is
 * outside of the network that the operator named (10.0.0.0/8 here).
 */

static const char *why;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


/* ---- of nginx, which is a program and no library ---- */


in_addr_t ngx_inet_addr(u_char *text, size_t len)
{
    char name[INET_ADDRSTRLEN];
    struct in_addr addr;

    if (len >= sizeof(name) || memchr(text, '\0', len) != NULL) {
        return INADDR_NONE;
    }
    memcpy(name, text, len);
    name[len] = '\0';

    return inet_pton(AF_INET, name, &addr) == 1 ? addr.s_addr : INADDR_NONE;
}


ngx_int_t ngx_inet6_addr(u_char *p, size_t len, u_char *addr)
{
    char name[INET6_ADDRSTRLEN];

    if (len >= sizeof(name) || memchr(p, '\0', len) != NULL) {
        return NGX_ERROR;
    }
    memcpy(name, p, len);
    name[len] = '\0';

    return inet_pton(AF_INET6, name, addr) == 1 ? NGX_OK : NGX_ERROR;
}


ngx_int_t ngx_hextoi(u_char *line, size_t n)
{
    ngx_int_t value = 0;

    for (; n > 0; n--, line++) {
        u_char low = (u_char) (*line | 0x20);

        if (*line >= '0' && *line <= '9') {
            value = value * 16 + *line - '0';
        } else if (low >= 'a' && low <= 'f') {
            value = value * 16 + low - 'a' + 10;
        } else {
            return NGX_ERROR;
        }
    }

    return value;
}


ngx_int_t ngx_cidr_match(struct sockaddr *sa, ngx_array_t *cidrs)
{
    (void) cidrs;

    return sa->sa_family == AF_INET && (ntohl(((struct sockaddr_in *) sa)->sin_addr.s_addr) >> 24) == 10 ? NGX_OK : NGX_DECLINED;
}


/* ---- the target ---- */


static void check_ports(const ngx_gitpod_route_t *route)
{
    unsigned i;

    if (route->ports_n > GP_ROUTE_PORTS_MAX || (route->listener != 0 && route->listener < GP_LISTENER_MIN)) {
        abort();
    }
    for (i = 0; i < route->ports_n; i++) {
        if (route->ports[i].port == 0 || (route->ports[i].listener != 0 && route->ports[i].listener < GP_LISTENER_MIN)) {
            abort();
        }
    }
}


static void check(ngx_gitpod_route_t *route, ngx_array_t *cidrs)
{
    if (route->id_len > GP_WORKSPACE_ID_MAX || !gp_id_workspace_valid((const char *) route->id, route->id_len) || route->version == 0) {
        abort();
    }
    if (route->instance_len > GP_INSTANCE_ID_LEN || route->owner_len > GP_USER_ID_LEN || route->phase > NGX_GITPOD_PHASE_STOPPED ||
        route->admission > NGX_GITPOD_ADMIT_EVERYONE) {
        abort();
    }
    if (route->socklen != 0 && ngx_cidr_match(&route->u.sockaddr, cidrs) != NGX_OK) {
        abort();
    }
    check_ports(route);
}


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ngx_gitpod_route_t route, other;
    ngx_array_t cidrs = {0};
    ngx_str_t text, id;
    u_char *copy;

    if (size > 2 * GP_ROUTE_RECORD_MAX) {
        return 0;
    }

    copy = malloc(size); /* exactly as long: jansson must not look further */
    if (size > 0) {
        memcpy(copy, data, size);
    }
    text.data = copy;
    text.len = size;
    memset(&route, 0, sizeof(route));
    memset(&other, 0, sizeof(other));
    if (ngx_gitpod_route_parse(&text, NULL, &route, &cidrs, &why) == NGX_OK) {
        check(&route, &cidrs);

        /* it is its own field's, and nobody else's */
        id.data = route.id;
        id.len = route.id_len;
        if (ngx_gitpod_route_parse(&text, &id, &other, &cidrs, &why) != NGX_OK) {
            abort();
        }
        id.len--;
        if (ngx_gitpod_route_parse(&text, &id, &other, &cidrs, &why) == NGX_OK) {
            abort();
        }
    } else if (why == NULL || *why == '\0') {
        abort();
    }
    free(copy);

    return 0;
}
