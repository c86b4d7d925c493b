#pragma once

/* Where gp reaches the supervisor: HTTP/1.1 on a unix socket that only root and the group of the workspace user may open. */
#define GP_CONTROL_DIR "/run/gitpod"
#define GP_CONTROL_SOCKET "/run/gitpod/supervisor.sock"
#define GP_PATH_STATUS "/_supervisor/v1/status/"
#define GP_PATH_HEARTBEAT "/_supervisor/v1/send_heartbeat"
#define GP_PATH_STOP "/_supervisor/v1/control/stop" /* POST, unix socket only */
#define GP_PATH_PORT "/_supervisor/v1/control/port/" /* POST + "3000/public", unix socket only */
#define GP_PATH_TERMINAL "/_supervisor/v1/terminal/attach/" /* GET + task id, unix socket only: 101, then raw bytes both ways */
#define GP_PATH_RESIZE "/_supervisor/v1/terminal/resize/" /* POST + task id, ?rows=N&columns=N, unix socket only */
