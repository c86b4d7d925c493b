#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/die.h"
#include "base/log.h"

/*
 * A line is built in a buffer of the stack and leaves in one write(2), so that
 * lines of threads never mix and logging needs no lock and no heap. What does
 * not fit is cut, the line stays valid JSON.
 */
#define GP_LOG_LINE_MAX 8192 /* bytes; a pipe takes up to 4096 atomically, longer lines are rare */
#define GP_LOG_TRACE_MAX 128 /* bytes of a request id */

typedef struct {
    char text[GP_LOG_LINE_MAX];
    size_t len;
} gp_log_line_t;

static const char *gp_log_service = "";
static enum gp_log_level gp_log_level_min = GP_LOG_INFO;
static _Thread_local char gp_log_trace[GP_LOG_TRACE_MAX];


void gp_log_init(const char *service, enum gp_log_level level)
{
    gp_log_service = service;
    gp_log_level_min = level;
}


void gp_log_set_trace(const char *request_id)
{
    (void) snprintf(gp_log_trace, sizeof(gp_log_trace), "%s", request_id ? request_id : "");
}


/* Room kept for the closing quote, brace and newline. */
static int gp_log_put(gp_log_line_t *line, const char *text, size_t len)
{
    if (len > sizeof(line->text) - 8 - line->len) {
        return -1;
    }

    memcpy(line->text + line->len, text, len);
    line->len += len;

    return 0;
}


static void gp_log_put_string(gp_log_line_t *line, const char *value)
{
    const unsigned char *p;
    char esc[8];
    int rc;

    rc = gp_log_put(line, "\"", 1);
    for (p = (const unsigned char *) value; rc == 0 && *p != '\0'; p++) {
        if (*p == '"' || *p == '\\') {
            esc[0] = '\\';
            esc[1] = (char) *p;
            rc = gp_log_put(line, esc, 2);

        } else if (*p < 0x20 || *p == 0x7f) {
            (void) snprintf(esc, sizeof(esc), "\\u%04x", *p);
            rc = gp_log_put(line, esc, 6);

        } else {
            rc = gp_log_put(line, (const char *) p, 1);
        }
    }

    line->text[line->len++] = '"';
}


static void gp_log_put_field(gp_log_line_t *line, const char *key, const char *value)
{
    if (line->len + strlen(key) + 16 > sizeof(line->text) - 8) {
        return;
    }

    if (line->len > 1) {
        line->text[line->len++] = ',';
    }
    gp_log_put_string(line, key);
    line->text[line->len++] = ':';
    gp_log_put_string(line, value ? value : "");
}


static void gp_log_begin(gp_log_line_t *line, enum gp_log_level level, const char *message)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};

    struct timespec ts;
    struct tm tm;
    char text[48];
    size_t n;

    line->len = 0;
    line->text[line->len++] = '{';

    (void) clock_gettime(CLOCK_REALTIME, &ts);
    (void) gmtime_r(&ts.tv_sec, &tm);
    n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    (void) snprintf(text + n, sizeof(text) - n, ".%03dZ", (int) (ts.tv_nsec / 1000000));

    gp_log_put_field(line, "time", text);
    gp_log_put_field(line, "level", names[level]);
    gp_log_put_field(line, "service", gp_log_service);
    gp_log_put_field(line, "message", message);
    if (gp_log_trace[0] != '\0') {
        gp_log_put_field(line, "request_id", gp_log_trace);
    }
}


static void gp_log_end(gp_log_line_t *line)
{
    ssize_t n;

    line->text[line->len++] = '}';
    line->text[line->len++] = '\n';

    /* nobody to tell when stderr is gone */
    n = write(STDERR_FILENO, line->text, line->len);
    (void) n;
}


void gp_log(enum gp_log_level level, const char *message, ...)
{
    gp_log_line_t line;
    const char *key, *value;
    va_list ap;

    if (level < gp_log_level_min) {
        return;
    }

    gp_log_begin(&line, level, message);

    va_start(ap, message);
    for (;;) {
        key = va_arg(ap, const char *);
        if (key == NULL) {
            break;
        }
        value = va_arg(ap, const char *);
        gp_log_put_field(&line, key, value);
    }
    va_end(ap);

    gp_log_end(&line);
}


_Noreturn void gp_die(const char *fmt, ...)
{
    char text[512];
    va_list ap;

    va_start(ap, fmt);
    (void) vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);

    gp_log(GP_LOG_ERROR, "the process ends", "reason", text, NULL);
    abort();
}
