#pragma once

#include <jansson.h>

#include "engine.h"

/* JSON of the Docker API, made and read; engine_docker.c sends it. */
const char *wsm_docker_network_json(const wsm_engine_conf_t *conf, gp_arena_t *arena);
const char *wsm_docker_container_json(const wsm_engine_conf_t *conf, const wsm_container_spec_t *spec, gp_arena_t *arena);
void wsm_docker_read_inspect(const wsm_engine_conf_t *conf, const json_t *doc, gp_arena_t *arena, wsm_container_t *ret);
void wsm_docker_read_summary(const wsm_engine_conf_t *conf, const json_t *doc, gp_arena_t *arena, wsm_container_t *ret);

static inline void wsm_docker_arena_done(gp_arena_t **arena)
{
    *arena = gp_arena_free(*arena);
}
