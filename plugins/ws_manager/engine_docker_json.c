/*
 * The words of the Docker API: what a container of ours looks like (user
 * namespace of its own, short capability list, bounded logs, our network), and
 * what the engine tells about one.
 */
#include <stdlib.h>
#include <string.h>

#include "base/die.h"
#include "base/json.h"
#include "core/contract.h"
#include "engine_docker.h"

#define NANO 1000000000

static const char *const capabilities[] = {"CHOWN",  "DAC_OVERRIDE", "FOWNER",  "FSETID",           "KILL",
                                           "SETGID", "SETUID",       "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT"};

static const char *json_text(json_t *doc, gp_arena_t *arena)
{
    char *text = doc ? json_dumps(doc, JSON_COMPACT) : NULL;

    if (!text) {
        gp_die("out of memory or invalid UTF-8 in a request to the container engine");
    }
    const char *copy = gp_arena_strdup(arena, text);
    free(text);
    return copy;
}

const char *wsm_docker_network_json(const wsm_engine_conf_t *conf, gp_arena_t *arena)
{
    gp_auto_json json_t *doc =
        json_pack("{s:s, s:b, s:s, s:{s:s, s:[{s:s, s:s}]}, s:{s:s}, s:{s:s}}", "Name", conf->network, "CheckDuplicate", 1, "Driver",
                  "bridge", "IPAM", "Driver", "default", "Config", "Subnet", conf->subnet, "Gateway", conf->gateway, "Options",
                  "com.docker.network.bridge.name", conf->bridge, "Labels", "gitpod.installation", conf->installation);

    return json_text(doc, arena);
}

static json_t *host_config(const wsm_engine_conf_t *conf, const wsm_container_spec_t *spec, gp_arena_t *arena)
{
    json_t *binds = json_array(), *add = json_array();
    const char *userns = gp_arena_printf(arena, "auto:uidmapping=0:%u:%d,gidmapping=0:%u:%d,size=%d", spec->uid_base, GP_UID_RANGE,
                                         spec->uid_base, GP_UID_RANGE, GP_UID_RANGE);

    for (int i = 0; i < spec->n_mounts; i++) {
        const wsm_mount_t *mount = &spec->mounts[i];
        json_array_append_new(binds, json_string(gp_arena_printf(arena, "%s:%s:%s", mount->source, mount->target, mount->options)));
    }
    for (size_t i = 0; i < sizeof(capabilities) / sizeof(capabilities[0]); i++) {
        json_array_append_new(add, json_string(capabilities[i]));
    }
    return json_pack("{s:s, s:o, s:[s], s:o, s:[{s:s,s:i,s:i},{s:s,s:i,s:i}], s:I, s:I, s:I, s:I, s:s, s:[s], s:{s:s}, s:{s:s,s:{s:s}}}",
                     "UsernsMode", userns, "Binds", binds, "CapDrop", "ALL", "CapAdd", add, "Ulimits", "Name", "nofile", "Soft", 20000,
                     "Hard", 20000, "Name", "nproc", "Soft", 32768, "Hard", 32768, "Memory", (json_int_t) spec->memory_bytes, "MemorySwap",
                     (json_int_t) spec->memory_bytes, "NanoCpus", (json_int_t) spec->cpus * NANO, "PidsLimit", (json_int_t) spec->pids,
                     "NetworkMode", conf->network, "ExtraHosts", gp_arena_printf(arena, "%s:%s", spec->host_name, conf->gateway),
                     "RestartPolicy", "Name", "no", "LogConfig", "Type", "k8s-file", "Config", "max-size", "1m");
}

const char *wsm_docker_container_json(const wsm_engine_conf_t *conf, const wsm_container_spec_t *spec, gp_arena_t *arena)
{
    gp_auto_json json_t *doc = NULL;
    json_t *env = json_array();

    for (int i = 0; i < WSM_ENGINE_ENV_MAX && spec->env[i]; i++) {
        json_array_append_new(env, json_string(spec->env[i]));
    }
    doc = json_pack("{s:s, s:s, s:s, s:[s], s:[], s:s, s:o, s:{s:s,s:s,s:s,s:s}, s:o, s:{s:{s:{}}}}", "Image", spec->image, "Hostname",
                    spec->hostname, "User", "0", "Entrypoint", spec->command, "Cmd", "WorkingDir", "/", "Env", env, "Labels",
                    "gitpod.installation", conf->installation, "gitpod.workspace", spec->workspace, "gitpod.instance", spec->instance,
                    "gitpod.owner", spec->owner, "HostConfig", host_config(conf, spec, arena), "NetworkingConfig", "EndpointsConfig",
                    conf->network);
    return json_text(doc, arena);
}

static void read_labels(const json_t *labels, gp_arena_t *arena, wsm_container_t *ret)
{
    const char *workspace = json_string_value(json_object_get(labels, "gitpod.workspace"));
    const char *instance = json_string_value(json_object_get(labels, "gitpod.instance"));

    ret->workspace = gp_arena_strdup(arena, workspace ? workspace : "");
    ret->instance = gp_arena_strdup(arena, instance ? instance : "");
}

static void read_address(const wsm_engine_conf_t *conf, const json_t *settings, wsm_container_t *ret)
{
    const char *address =
        json_string_value(json_object_get(json_object_get(json_object_get(settings, "Networks"), conf->network), "IPAddress"));

    (void) snprintf(ret->address, sizeof(ret->address), "%s", address && ret->running ? address : "");
}

void wsm_docker_read_inspect(const wsm_engine_conf_t *conf, const json_t *doc, gp_arena_t *arena, wsm_container_t *ret)
{
    const json_t *state = json_object_get(doc, "State");
    const char *id = json_string_value(json_object_get(doc, "Id"));

    memset(ret, 0, sizeof(*ret));
    (void) snprintf(ret->id, sizeof(ret->id), "%s", id ? id : "");
    ret->running = json_is_true(json_object_get(state, "Running"));
    ret->oom_killed = json_is_true(json_object_get(state, "OOMKilled"));
    ret->exit_code = (int) json_integer_value(json_object_get(state, "ExitCode"));
    ret->pid = ret->running ? json_integer_value(json_object_get(state, "Pid")) : 0;
    read_labels(json_object_get(json_object_get(doc, "Config"), "Labels"), arena, ret);
    read_address(conf, json_object_get(doc, "NetworkSettings"), ret);
}

void wsm_docker_read_summary(const wsm_engine_conf_t *conf, const json_t *doc, gp_arena_t *arena, wsm_container_t *ret)
{
    const char *id = json_string_value(json_object_get(doc, "Id"));
    const char *state = json_string_value(json_object_get(doc, "State"));

    memset(ret, 0, sizeof(*ret));
    (void) snprintf(ret->id, sizeof(ret->id), "%s", id ? id : "");
    ret->running = state && strcmp(state, "running") == 0;
    read_labels(json_object_get(doc, "Labels"), arena, ret);
    read_address(conf, json_object_get(doc, "NetworkSettings"), ret);
}
