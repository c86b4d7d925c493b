#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/err.h"

/*
 * What ws_manager needs of something that runs containers. One driver talks to
 * a Docker-compatible API over a unix socket; what it knows of Docker stays in
 * engine_docker*.c. Calls block and are bounded; names are ours and unique.
 */
#define WSM_CONTAINER_ID_MAX 64
#define WSM_ADDRESS_MAX 45
#define WSM_CONTAINERS_MAX 4096 /* of one installation in one list */
#define WSM_ENGINE_CALL_MS 60000 /* longest single call */
#define WSM_ENGINE_ENV_MAX 32
#define WSM_ENGINE_MOUNTS_MAX 8

typedef struct {
    const char *source;
    const char *target;
    const char *options; /* "ro", "rw,nosuid,nodev" */
} wsm_mount_t;

typedef struct {
    const char *name;
    const char *hostname;
    const char *image;
    const char *command;
    const char *workspace; /* labels */
    const char *instance;
    const char *owner;
    const char *env[WSM_ENGINE_ENV_MAX]; /* "NAME=value", NULL-terminated */
    wsm_mount_t mounts[WSM_ENGINE_MOUNTS_MAX];
    int n_mounts;
    const char *host_name; /* resolves to the bridge's gateway inside */
    uint32_t uid_base;
    int64_t memory_bytes;
    int64_t cpus;
    int64_t pids;
} wsm_container_spec_t;

typedef struct {
    char id[WSM_CONTAINER_ID_MAX + 1];
    const char *workspace; /* labels, "" when absent; arena or borrowed for the call */
    const char *instance;
    bool running;
    bool oom_killed;
    int exit_code;
    int64_t pid; /* 0 unless it runs */
    char address[WSM_ADDRESS_MAX + 1]; /* "" unless it runs */
} wsm_container_t;

typedef struct {
    const char *socket;
    const char *installation;
    const char *network;
    const char *bridge;
    const char *subnet;
    const char *gateway;
} wsm_engine_conf_t;

typedef struct wsm_engine wsm_engine_t;

struct wsm_engine {
    wsm_engine_conf_t conf;
    bool (*cancelled)(void *data); /* ends a stop that takes its time; it is asked for again later */
    void *data;
    /* Network of the installation; does nothing when it is there. */
    int (*prepare)(wsm_engine_t *engine, gp_err_t *err);
    /* Errors: NOT_FOUND the image is not there, ALREADY_EXISTS the name is taken. */
    int (*create)(wsm_engine_t *engine, const wsm_container_spec_t *spec, char ret_id[WSM_CONTAINER_ID_MAX + 1], gp_err_t *err);
    int (*start)(wsm_engine_t *engine, const char *id, gp_err_t *err);
    /* TERM, after grace_s KILL. Not running or gone is fine. */
    int (*stop)(wsm_engine_t *engine, const char *id, int grace_s, gp_err_t *err);
    /* By force; by id or name. Gone is fine. */
    int (*remove)(wsm_engine_t *engine, const char *id, gp_err_t *err);
    /* NOT_FOUND when gone. */
    int (*inspect)(wsm_engine_t *engine, const char *id, gp_arena_t *arena, wsm_container_t *ret, gp_err_t *err);
    int (*list)(wsm_engine_t *engine, gp_arena_t *arena, wsm_container_t **ret, int *ret_n, gp_err_t *err);
    /* Calls fn for each container of ours that ends, until cancelled or the connection breaks. */
    int (*watch)(wsm_engine_t *engine, void (*fn)(const wsm_container_t *ended, void *data), bool (*cancelled)(void *data), void *data,
                 gp_err_t *err);
    /* The last lines a container wrote; "" when there are none. */
    const char *(*logs)(wsm_engine_t *engine, const char *id, gp_arena_t *arena);
};

/* Never fails; the texts of conf are borrowed for the life of the process. */
void wsm_engine_docker_init(wsm_engine_t *engine, const wsm_engine_conf_t *conf, bool (*cancelled)(void *data), void *data);
