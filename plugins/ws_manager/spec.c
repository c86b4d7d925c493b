/*
 * What a workspace's container looks like, and the directory that carries its
 * go signal: docs/contracts/workspace.md.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/log.h"
#include "ports.h"
#include "wsm.h"

const char *wsm_container_name(const wsm_workspace_t *ws, gp_arena_t *arena)
{
    return gp_arena_printf(arena, "gitpod-%s", ws->instance);
}

const char *wsm_checkout(const wsm_workspace_t *ws, gp_arena_t *arena)
{
    return gp_arena_printf(arena, GP_DIR_WORKSPACE "%s%s", *ws->git_location ? "/" : "", ws->git_location);
}

typedef struct {
    wsm_container_spec_t *spec;
    gp_arena_t *arena;
    int n;
} env_t;

static void env_add(env_t *env, const char *name, const char *value)
{
    if (*value && env->n < WSM_ENGINE_ENV_MAX - 1) {
        env->spec->env[env->n++] = gp_arena_printf(env->arena, "%s=%s", name, value);
        env->spec->env[env->n] = NULL;
    }
}

static void env_fill(wsm_t *m, const wsm_workspace_t *ws, const char *ide_command, const char *ide_probe, gp_arena_t *arena,
                     wsm_container_spec_t *ret)
{
    env_t env = {.spec = ret, .arena = arena};
    const char *checkout = wsm_checkout(ws, arena);

    env_add(&env, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    env_add(&env, "GITPOD_WORKSPACE_ID", ws->id);
    env_add(&env, "GITPOD_INSTANCE_ID", ws->instance);
    env_add(&env, "GITPOD_OWNER_ID", ws->owner);
    env_add(&env, "GITPOD_WORKSPACE_URL", wsm_url(m, ws, 0, arena));
    env_add(&env, "GITPOD_PORT_URLS", wsm_mode_port(m) ? GP_DIR_INSTANCE "/" GP_FILE_PORTS_NAME : "");
    env_add(&env, "GITPOD_HOST", m->gateway_url);
    env_add(&env, "GITPOD_WORKSPACE_CLUSTER_HOST", m->conf->service.workspace_domain);
    env_add(&env, "GITPOD_REPO_ROOT", checkout);
    env_add(&env, "THEIA_WORKSPACE_ROOT", checkout);
    env_add(&env, "GITPOD_THEIA_PORT", "23000");
    env_add(&env, "GITPOD_WORKSPACE_CONTEXT_URL", ws->context_url);
    env_add(&env, "GITPOD_GIT_USER_NAME", ws->git_user_name);
    env_add(&env, "GITPOD_GIT_USER_EMAIL", ws->git_user_email);
    env_add(&env, "GITPOD_WORKSPACE_CLASS", ws->class_id);
    env_add(&env, "GITPOD_INTERVAL", gp_arena_printf(arena, "%d", GP_HEARTBEAT_MS));
    env_add(&env, "GITPOD_IDE_COMMAND", ide_command);
    env_add(&env, "GITPOD_IDE_PROBE", ide_probe);
}

static void mount_add(wsm_container_spec_t *spec, const char *source, const char *target, const char *options)
{
    spec->mounts[spec->n_mounts++] = (wsm_mount_t){.source = source, .target = target, .options = options};
}

const char *wsm_instance_dir(wsm_t *m, const wsm_workspace_t *ws, gp_arena_t *arena)
{
    return gp_arena_printf(arena, "%s/instances/%s", m->conf->service.run_dir, ws->id);
}

void wsm_spec_fill(wsm_t *m, const wsm_workspace_t *ws, const char *ide_source, const char *ide_command, const char *ide_probe,
                   gp_arena_t *arena, wsm_container_spec_t *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->name = wsm_container_name(ws, arena);
    ret->hostname = ws->id;
    ret->image = m->conf->image;
    ret->command = GP_DIR_SUPERVISOR "/supervisor";
    ret->workspace = ws->id;
    ret->instance = ws->instance;
    ret->owner = ws->owner;
    ret->host_name = m->conf->service.domain;
    ret->uid_base = (uint32_t) (m->conf->uid_base + ws->uid_slot * GP_UID_RANGE);
    ret->memory_bytes = m->conf->class_memory_bytes;
    ret->cpus = m->conf->class_cpus;
    ret->pids = m->conf->class_pids;
    mount_add(ret, gp_arena_printf(arena, "%s/content/%s/workspace", m->conf->service.state_dir, ws->id), GP_DIR_WORKSPACE,
              "rw,nosuid,nodev");
    mount_add(ret, wsm_instance_dir(m, ws, arena), GP_DIR_INSTANCE, "ro");
    mount_add(ret, m->conf->supervisor_dir, GP_DIR_SUPERVISOR, "ro");
    mount_add(ret, ide_source, GP_DIR_IDE, "ro");
    env_fill(m, ws, ide_command, ide_probe, arena, ret);
}

static int dir_make(const char *path, gp_err_t *err)
{
    if (mkdir(path, 0755) < 0 && errno != EEXIST) {
        return gp_err_errno(err, errno, "Cannot make %s", path);
    }
    if (chmod(path, 0755) < 0) { /* whatever the umask: root of the workspace's name space reads it */
        return gp_err_errno(err, errno, "Cannot open %s to the workspace", path);
    }
    return 0;
}

int wsm_instance_dir_prepare(wsm_t *m, const wsm_workspace_t *ws, gp_arena_t *arena, gp_err_t *err)
{
    const char *dir = wsm_instance_dir(m, ws, arena);
    const char *ready = gp_arena_printf(arena, "%s/ready.json", dir);

    if (unlink(ready) < 0 && errno != ENOENT) {
        return gp_err_errno(err, errno, "Cannot take back the go signal %s", ready);
    }
    return dir_make(dir, err);
}

int wsm_instance_write(wsm_t *m, const wsm_workspace_t *ws, const char *name, const char *text, gp_arena_t *arena, gp_err_t *err)
{
    const char *dir = wsm_instance_dir(m, ws, arena);
    const char *temporary = gp_arena_printf(arena, "%s/.%s.new", dir, name), *path = gp_arena_printf(arena, "%s/%s", dir, name);
    size_t len = strlen(text);
    gp_auto_fd int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    if (fd < 0 || write(fd, text, len) != (ssize_t) len || fchmod(fd, 0644) < 0 || rename(temporary, path) < 0) {
        return gp_err_errno(err, errno, "Cannot write %s", path);
    }
    return 0;
}

void wsm_instance_ports(wsm_t *m, const wsm_workspace_t *ws, gp_arena_t *arena)
{
    gp_auto_json json_t *ports = NULL;
    gp_auto_free char *text = NULL;
    gp_err_t err = GP_ERR_INIT;

    if (ws->phase != WSM_PHASE_RUNNING || ws->deleted != WSM_KEPT) {
        return;
    }
    ports = wsm_ports_effective(ws->ports);
    text = ports ? json_dumps(ports, JSON_COMPACT) : NULL;
    if (!text || wsm_instance_write(m, ws, GP_FILE_EXPOSED_NAME, text, arena, &err) < 0) {
        gp_log(GP_LOG_WARN, "the workspace is not told of its ports", "workspace", ws->id, "error", err.text, NULL);
    }
}

int wsm_instance_ready(wsm_t *m, const wsm_workspace_t *ws, const char *source, const char *location, gp_arena_t *arena, gp_err_t *err)
{
    gp_auto_json json_t *doc = json_pack("{s:s, s:s, s:s}", "instance", ws->instance, "source", source, "location", location);
    gp_auto_free char *text = json_dumps(doc, JSON_COMPACT);

    return text ? wsm_instance_write(m, ws, "ready.json", text, arena, err) : gp_err(err, GP_RESOURCE_EXHAUSTED, "out of memory");
}

void wsm_instance_dir_remove(wsm_t *m, const wsm_workspace_t *ws, gp_arena_t *arena)
{
    const char *dir = wsm_instance_dir(m, ws, arena);

    (void) unlink(gp_arena_printf(arena, "%s/ready.json", dir)); /* what is left is made anew at the next start */
    (void) unlink(gp_arena_printf(arena, "%s/.ready.json.new", dir));
    (void) unlink(gp_arena_printf(arena, "%s/" GP_FILE_PORTS_NAME, dir));
    (void) unlink(gp_arena_printf(arena, "%s/." GP_FILE_PORTS_NAME ".new", dir));
    (void) unlink(gp_arena_printf(arena, "%s/" GP_FILE_EXPOSED_NAME, dir));
    (void) unlink(gp_arena_printf(arena, "%s/." GP_FILE_EXPOSED_NAME ".new", dir));
    (void) rmdir(dir);
}
