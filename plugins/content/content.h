#pragma once

#include <stdint.h>

#include "rpc/service.h"

/* The running service. */
typedef struct {
    gp_service_conf_t service;
    bool allow_file_urls;
    int64_t clones;
    int64_t clone_timeout;
    int64_t answer_timeout;
    int64_t quiet_timeout;
} cnt_conf_t;

typedef struct {
    const cnt_conf_t *conf;
    gp_service_t *service;
    char *root_path; /* <state>/content, absolute */
    char *helper; /* this program */
    int root;
    gp_metric_t *clones_ok;
    gp_metric_t *clones_failed;
    gp_metric_t *clones_running;
} cnt_t;

/* Handlers. */
int cnt_initialize(gp_call_t *call, const ProtobufCMessage *req, gp_stream_t *stream, gp_err_t *err);
int cnt_git_status(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err);
int cnt_delete(gp_call_t *call, const ProtobufCMessage *req, ProtobufCMessage *res, gp_err_t *err);
