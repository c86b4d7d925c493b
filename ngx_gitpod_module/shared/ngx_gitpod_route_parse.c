
/*
 * The text of a route record: docs/contracts/route.schema.json describes it.
 */


#include "ngx_gitpod_zone.h"
#include "ngx_gitpod_json.h"
#include "core/id.h"


static ngx_int_t ngx_gitpod_route_parse_json(json_t *json, ngx_str_t *id,
    ngx_gitpod_route_t *route, ngx_array_t *cidrs, const char **why);
static ngx_int_t ngx_gitpod_route_parse_head(json_t *json, ngx_str_t *id,
    ngx_gitpod_route_t *route, const char **why);
static ngx_int_t ngx_gitpod_route_parse_address(json_t *json,
    ngx_gitpod_route_t *route, ngx_array_t *cidrs, const char **why);
static ngx_int_t ngx_gitpod_route_parse_digest(json_t *json,
    ngx_gitpod_route_t *route, const char **why);
static ngx_int_t ngx_gitpod_route_parse_ports(json_t *json,
    ngx_gitpod_route_t *route, const char **why);
static ngx_int_t ngx_gitpod_route_parse_listener(json_t *json,
    uint16_t *listener, const char **why);
static ngx_int_t ngx_gitpod_route_parse_port(json_t *json,
    ngx_gitpod_route_port_t *port, const char **why);
static ngx_int_t ngx_gitpod_route_parse_text(json_t *json, const char *name,
    u_char *data, u_char *len, size_t max, const char **why);
static ngx_int_t ngx_gitpod_route_parse_enum(json_t *json, const char *name,
    const char **names, ngx_uint_t n, u_char *value, const char **why);


/* in the order of ngx_gitpod_phase_e */

static const char  *ngx_gitpod_route_phases[] = {
    "unknown", "preparing", "building", "pending", "creating",
    "initializing", "running", "stopping", "stopped"
};


static const char  *ngx_gitpod_route_admissions[] = {
    "owner", "everyone"
};


ngx_int_t
ngx_gitpod_route_parse(ngx_str_t *text, ngx_str_t *id,
    ngx_gitpod_route_t *route, ngx_array_t *cidrs, const char **why)
{
    json_t        *json;
    ngx_int_t      rc;
    json_error_t   error;

    if (text->len > GP_ROUTE_RECORD_MAX) {
        *why = "longer than a record may be";
        return NGX_ERROR;
    }

    json = json_loadb((char *) text->data, text->len, JSON_REJECT_DUPLICATES,
                      &error);
    if (json == NULL) {
        *why = "not JSON";
        return NGX_ERROR;
    }

    rc = ngx_gitpod_route_parse_json(json, id, route, cidrs, why);

    json_decref(json);

    return rc;
}


static ngx_int_t
ngx_gitpod_route_parse_json(json_t *json, ngx_str_t *id,
    ngx_gitpod_route_t *route, ngx_array_t *cidrs, const char **why)
{
    if (ngx_gitpod_route_parse_head(json, id, route, why) != NGX_OK) {
        return NGX_ERROR;
    }

    if (route->deleted) {
        return NGX_OK;
    }

    if (ngx_gitpod_route_parse_text(json, "instance", route->instance,
                                    &route->instance_len, GP_INSTANCE_ID_LEN,
                                    why)
        != NGX_OK
        || ngx_gitpod_route_parse_text(json, "owner", route->owner,
                                       &route->owner_len, GP_USER_ID_LEN, why)
           != NGX_OK
        || ngx_gitpod_route_parse_enum(json, "phase", ngx_gitpod_route_phases,
                                       NGX_GITPOD_PHASE_STOPPED + 1,
                                       &route->phase, why)
           != NGX_OK
        || ngx_gitpod_route_parse_enum(json, "admission",
                                       ngx_gitpod_route_admissions,
                                       NGX_GITPOD_ADMIT_EVERYONE + 1,
                                       &route->admission, why)
           != NGX_OK
        || ngx_gitpod_route_parse_digest(json, route, why) != NGX_OK
        || ngx_gitpod_route_parse_listener(json, &route->listener, why)
           != NGX_OK
        || ngx_gitpod_route_parse_ports(json, route, why) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_gitpod_route_parse_address(json, route, cidrs, why);
}


static ngx_int_t
ngx_gitpod_route_parse_head(json_t *json, ngx_str_t *id,
    ngx_gitpod_route_t *route, const char **why)
{
    size_t       len;
    json_t      *value;
    const char  *text;

    if (!json_is_object(json)) {
        *why = "not a JSON object";
        return NGX_ERROR;
    }

    value = json_object_get(json, "id");
    text = json_string_value(value);
    len = json_string_length(value);

    if (text == NULL
        || !gp_id_workspace_valid(text, len)
        || (id && (id->len != len || ngx_memcmp(id->data, text, len) != 0)))
    {
        *why = "\"id\" is not a workspace id, or not that of its field";
        return NGX_ERROR;
    }

    value = json_object_get(json, "version");

    if (!json_is_integer(value) || json_integer_value(value) <= 0) {
        *why = "\"version\" is not a positive integer";
        return NGX_ERROR;
    }

    ngx_memcpy(route->id, text, len);
    route->id_len = (u_char) len;
    route->version = (uint64_t) json_integer_value(value);

    value = json_object_get(json, "deleted");

    if (value && !json_is_boolean(value)) {
        *why = "\"deleted\" is not true or false";
        return NGX_ERROR;
    }

    route->deleted = json_is_true(value);

    return NGX_OK;
}


static ngx_int_t
ngx_gitpod_route_parse_text(json_t *json, const char *name, u_char *data,
    u_char *len, size_t max, const char **why)
{
    size_t       n;
    json_t      *value;
    const char  *text;

    value = json_object_get(json, name);

    if (value == NULL || json_is_null(value)) {
        return NGX_OK;
    }

    text = json_string_value(value);
    n = json_string_length(value);

    if (text == NULL || n > max || !gp_id_uuid_valid(text, n)) {
        *why = "\"instance\" or \"owner\" is not a UUID";
        return NGX_ERROR;
    }

    ngx_memcpy(data, text, n);
    *len = (u_char) n;

    return NGX_OK;
}


static ngx_int_t
ngx_gitpod_route_parse_enum(json_t *json, const char *name,
    const char **names, ngx_uint_t n, u_char *value, const char **why)
{
    json_t      *member;
    ngx_uint_t   i;
    const char  *text;

    member = json_object_get(json, name);

    if (member == NULL || json_is_null(member)) {
        return NGX_OK;
    }

    text = json_string_value(member);

    if (text) {
        for (i = 0; i < n; i++) {
            if (ngx_strcmp(text, names[i]) == 0) {
                *value = (u_char) i;
                return NGX_OK;
            }
        }
    }

    *why = "\"phase\" or \"admission\" has an unknown value";
    return NGX_ERROR;
}


static ngx_int_t
ngx_gitpod_route_parse_digest(json_t *json, ngx_gitpod_route_t *route,
    const char **why)
{
    json_t      *value;
    ngx_int_t    n;
    ngx_str_t    text;
    ngx_uint_t   i;

    value = json_object_get(json, "owner_token_sha256");

    if (value == NULL || json_is_null(value)) {
        return NGX_OK;
    }

    *why = "\"owner_token_sha256\" is not 64 hexadecimal digits";

    text = ngx_gitpod_json_text(value);

    if (text.data == NULL || text.len != 2 * NGX_GITPOD_DIGEST_LEN) {
        return NGX_ERROR;
    }

    for (i = 0; i < NGX_GITPOD_DIGEST_LEN; i++) {
        n = ngx_hextoi(text.data + 2 * i, 2);

        if (n == NGX_ERROR) {
            return NGX_ERROR;
        }

        route->digest[i] = (u_char) n;
    }

    route->owner_token = 1;

    return NGX_OK;
}


static ngx_int_t
ngx_gitpod_route_parse_ports(json_t *json, ngx_gitpod_route_t *route,
    const char **why)
{
    json_t  *value;
    size_t   i, n;

    value = json_object_get(json, "ports");

    if (value == NULL || json_is_null(value)) {
        return NGX_OK;
    }

    n = json_array_size(value);

    if (!json_is_array(value) || n > GP_ROUTE_PORTS_MAX) {
        *why = "\"ports\" is not an array of at most 16";
        return NGX_ERROR;
    }

    for (i = 0; i < n; i++) {
        if (ngx_gitpod_route_parse_port(json_array_get(value, i),
                                        &route->ports[i], why)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    route->ports_n = (u_char) n;

    return NGX_OK;
}


/* Of the editor or of a port, in mode port. */

static ngx_int_t
ngx_gitpod_route_parse_listener(json_t *json, uint16_t *listener,
    const char **why)
{
    json_t      *value;
    json_int_t   n;

    value = json_object_get(json, "listen");

    if (value == NULL || json_is_null(value)) {
        return NGX_OK;
    }

    n = json_integer_value(value);

    if (!json_is_integer(value) || n < GP_LISTENER_MIN || n > 65535) {
        *why = "\"listen\" is not the number of a listener, 1024 to 65535";
        return NGX_ERROR;
    }

    *listener = (uint16_t) n;

    return NGX_OK;
}


static ngx_int_t
ngx_gitpod_route_parse_port(json_t *json, ngx_gitpod_route_port_t *port,
    const char **why)
{
    u_char               visible, protocol;
    json_t              *value;
    json_int_t           n;

    static const char  *visibilities[] = { "private", "public" };
    static const char  *protocols[] = { "http", "https", "h2c", "grpc" };

    visible = 0;
    protocol = 0;

    value = json_object_get(json, "port");
    n = json_integer_value(value);

    *why = "a member of \"ports\" is not a port";

    if (!json_is_integer(value) || n < 1 || n > 65535
        || ngx_gitpod_route_parse_enum(json, "visibility", visibilities, 2,
                                       &visible, why)
           != NGX_OK
        || ngx_gitpod_route_parse_enum(json, "protocol", protocols,
                                       NGX_GITPOD_PROTOCOL_GRPC + 1,
                                       &protocol, why)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ngx_gitpod_route_parse_listener(json, &port->listener, why)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    port->port = (uint16_t) n;
    port->visible = visible & 1;
    port->protocol = protocol & 3;

    return NGX_OK;
}


static ngx_int_t
ngx_gitpod_route_parse_address(json_t *json, ngx_gitpod_route_t *route,
    ngx_array_t *cidrs, const char **why)
{
    json_t           *value;
    ngx_str_t         text;
    struct in6_addr   addr6;
    in_addr_t         addr;

    value = json_object_get(json, "address");

    if (value == NULL || json_is_null(value)
        || (json_is_string(value) && json_string_length(value) == 0))
    {
        return NGX_OK;
    }

    text = ngx_gitpod_json_text(value);

    *why = "\"address\" is not an IPv4 or IPv6 address";

    if (text.data == NULL) {
        return NGX_ERROR;
    }

    addr = ngx_inet_addr(text.data, text.len);

    if (addr != INADDR_NONE) {
        route->u.sin.sin_family = AF_INET;
        route->u.sin.sin_addr.s_addr = addr;
        route->socklen = sizeof(struct sockaddr_in);

    } else if (ngx_inet6_addr(text.data, text.len, addr6.s6_addr) == NGX_OK) {
        route->u.sin6.sin6_family = AF_INET6;
        route->u.sin6.sin6_addr = addr6;
        route->socklen = sizeof(struct sockaddr_in6);

    } else {
        return NGX_ERROR;
    }

    if (cidrs == NULL
        || ngx_cidr_match(&route->u.sockaddr, cidrs) != NGX_OK)
    {
        *why = "\"address\" is outside of gitpod_route_cidr";
        return NGX_ERROR;
    }

    return NGX_OK;
}
