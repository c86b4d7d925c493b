#pragma once

/*
 * One JSON object a line on stderr: {"time","level","service","message",...}.
 * Fields are pairs of const char * key and value, ended by NULL; never secrets.
 *
 *     gp_log(GP_LOG_INFO, "workspace is running", "workspace", id, "instance", inst, NULL);
 */
enum gp_log_level { GP_LOG_DEBUG, GP_LOG_INFO, GP_LOG_WARN, GP_LOG_ERROR };

void gp_log_init(const char *service, enum gp_log_level level);
void gp_log(enum gp_log_level level, const char *message, ...) __attribute__((sentinel));
void gp_log_set_trace(const char *request_id); /* per thread; NULL clears */
