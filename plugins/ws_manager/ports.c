#include <string.h>

#include "base/cleanup.h"
#include "core/contract.h"
#include "ports.h"

#define PORTS_USER "user"
#define PORTS_FILE "file"

/* As ngx_gitpod_protocol_e of the gateway. */
static const char *const protocols[] = {"http", "https", "h2c", "grpc"};

/* Ours in every workspace: nobody's program is there. */
static const int reserved[] = {GP_PORT_SUPERVISOR, GP_PORT_IDE,       GP_PORT_SSH,        GP_PORT_DEBUG_SUPERVISOR,
                               GP_PORT_DEBUG_IDE,  GP_PORT_DEBUG_SSH, GP_PORT_DEBUG_PROXY};

int wsm_ports_check(int port, gp_err_t *err)
{
    if (port < 1 || port > 65535) {
        return gp_err(err, GP_INVALID_ARGUMENT, "port: must be 1 to 65535");
    }
    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
        if (port == reserved[i]) {
            return gp_err(err, GP_INVALID_ARGUMENT, "port: %d is the workspace's own; choose another one", port);
        }
    }
    return 0;
}

static int check_protocol(const char *protocol, gp_err_t *err)
{
    for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++) {
        if (strcmp(protocol, protocols[i]) == 0) {
            return 0;
        }
    }
    return gp_err(err, GP_INVALID_ARGUMENT, "protocol: \"%.16s\" is none of http, https, h2c, grpc", protocol);
}

static const char *member(const json_t *entry, const char *name, const char *otherwise)
{
    const char *text = json_string_value(json_object_get(entry, name));

    return text ? text : otherwise;
}

static const char *visibility_of(const json_t *entry)
{
    return member(entry, "visibility", "private");
}

static const char *protocol_of(const json_t *entry)
{
    return member(entry, "protocol", "http");
}

/* As a port without an entry is. */
static bool plain(const char *visibility, const char *protocol)
{
    return strcmp(visibility, "private") == 0 && strcmp(protocol, "http") == 0;
}

static int port_of(const json_t *entry)
{
    json_int_t port = json_integer_value(json_object_get(entry, "port"));

    return port < 1 || port > 65535 ? 0 : (int) port;
}

/* The place of a port in a list; its size: none. */
static size_t find(const json_t *list, int port)
{
    size_t i = 0;

    while (i < json_array_size(list) && port_of(json_array_get(list, i)) != port) {
        i++;
    }
    return i;
}

static json_t *entry_new(int port, const char *visibility, const char *protocol)
{
    return json_pack("{s:i, s:s, s:s}", "port", port, "visibility", visibility, "protocol", protocol);
}

/* Owner's choices and what the file says, borrowed, both arrays. */
static int load(const char *text, json_t **ret_doc, json_t **ret_user, json_t **ret_file, gp_err_t *err)
{
    gp_auto_json json_t *doc = json_loads(text, JSON_REJECT_DUPLICATES, NULL);

    if (!json_is_object(doc)) {
        return gp_err(err, GP_INTERNAL, "the ports of the workspace are not readable");
    }
    for (int i = 0; i < 2; i++) {
        const char *name = i == 0 ? PORTS_USER : PORTS_FILE;

        if (!json_is_array(json_object_get(doc, name)) && json_object_set_new(doc, name, json_array()) < 0) {
            return gp_err(err, GP_RESOURCE_EXHAUSTED, "out of memory");
        }
    }
    *ret_user = json_object_get(doc, PORTS_USER);
    *ret_file = json_object_get(doc, PORTS_FILE);
    *ret_doc = gp_steal(&doc);
    return 0;
}

static int dump(const json_t *doc, gp_arena_t *arena, const char **ret_text, gp_err_t *err)
{
    gp_auto_free char *text = json_dumps(doc, JSON_COMPACT);

    if (!text) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "out of memory");
    }
    *ret_text = gp_arena_strdup(arena, text);
    return 0;
}

static json_t *effective(const json_t *user, const json_t *file)
{
    gp_auto_json json_t *all = json_array();
    const json_t *lists[] = {user, file};

    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; i < json_array_size(lists[k]); i++) {
            json_t *entry = json_array_get(lists[k], i);

            if ((k == 1 && find(user, port_of(entry)) < json_array_size(user)) || plain(visibility_of(entry), protocol_of(entry))) {
                continue;
            }
            if (json_array_append(all, entry) < 0) {
                return NULL;
            }
        }
    }
    return gp_steal(&all);
}

json_t *wsm_ports_effective(const char *text)
{
    gp_auto_json json_t *doc = NULL;
    json_t *user, *file;
    gp_err_t err = GP_ERR_INIT;

    return load(text, &doc, &user, &file, &err) < 0 ? NULL : effective(user, file);
}

static bool fits(const json_t *user, const json_t *file)
{
    gp_auto_json json_t *all = effective(user, file);

    return all && json_array_size(all) <= GP_ROUTE_PORTS_MAX;
}

/* The owner's choice is kept where it says something: a plain port only against the file. */
static int choose(json_t *user, const json_t *file, int port, const char *visibility, const char *protocol, gp_err_t *err)
{
    size_t at = find(user, port);

    (void) json_array_remove(user, at); /* when there is none nothing happens */
    if (plain(visibility, protocol) && find(file, port) == json_array_size(file)) {
        return 0;
    }
    if (json_array_append_new(user, entry_new(port, visibility, protocol)) < 0) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "out of memory");
    }
    return fits(user, file) ? 0
                            : gp_err(err, GP_RESOURCE_EXHAUSTED,
                                     "port: %d ports are set, which is the limit; make one of them private and http", GP_ROUTE_PORTS_MAX);
}

int wsm_ports_change(const char *text, const wsm_port_change_t *change, gp_arena_t *arena, const char **ret_text, gp_err_t *err)
{
    gp_auto_json json_t *doc = NULL;
    const char *visibility, *protocol;
    const json_t *old;
    json_t *user, *file;
    int rc = wsm_ports_check(change->port, err);

    rc = rc < 0 || !*change->protocol ? rc : check_protocol(change->protocol, err);
    rc = rc < 0 ? rc : load(text, &doc, &user, &file, err);
    if (rc < 0) {
        return rc;
    }
    old = json_array_get(user, find(user, change->port));
    old = old ? old : json_array_get(file, find(file, change->port));
    visibility = change->visible ? (*change->visible ? "public" : "private") : visibility_of(old);
    protocol = *change->protocol ? change->protocol : protocol_of(old);
    if (strcmp(visibility, visibility_of(old)) == 0 && strcmp(protocol, protocol_of(old)) == 0) {
        return 1;
    }
    visibility = gp_arena_strdup(arena, visibility); /* the old entry goes */
    protocol = gp_arena_strdup(arena, protocol);
    rc = choose(user, file, change->port, visibility, protocol, err);
    return rc < 0 ? rc : dump(doc, arena, ret_text, err);
}

static bool entry_good(const json_t *entry)
{
    gp_err_t err = GP_ERR_INIT;

    return wsm_ports_check(port_of(entry), &err) == 0 && check_protocol(protocol_of(entry), &err) == 0 &&
           (strcmp(visibility_of(entry), "public") == 0 || strcmp(visibility_of(entry), "private") == 0);
}

int wsm_ports_configure(const char *text, const char *file_text, gp_arena_t *arena, const char **ret_text, size_t *ret_left_out,
                        gp_err_t *err)
{
    gp_auto_json json_t *doc = NULL;
    gp_auto_json json_t *said = json_loads(file_text, 0, NULL);
    json_t *user, *file;
    int rc = load(text, &doc, &user, &file, err);

    if (rc < 0 || !json_is_array(said)) {
        return rc < 0 ? rc : gp_err(err, GP_INTERNAL, "the ports of .gitpod.yml are not readable");
    }
    (void) json_array_clear(file);
    *ret_left_out = 0;
    for (size_t i = 0; i < json_array_size(said); i++) {
        const json_t *entry = json_array_get(said, i);
        int port = port_of(entry);

        if (find(file, port) < json_array_size(file)) {
            continue; /* the first entry of a port counts, as in the supervisor */
        }
        if (!entry_good(entry) || json_array_size(file) >= GP_ROUTE_PORTS_MAX) {
            *ret_left_out += 1;
            continue;
        }
        if (json_array_append_new(file, entry_new(port, visibility_of(entry), protocol_of(entry))) < 0) {
            return gp_err(err, GP_RESOURCE_EXHAUSTED, "out of memory");
        }
        if (!fits(user, file)) {
            (void) json_array_remove(file, json_array_size(file) - 1);
            *ret_left_out += 1;
        }
    }
    return dump(doc, arena, ret_text, err);
}
