#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/log.h"
#include "content.h"
#include "core/contract.h"
#include "loop.h"

#define SUP_CONTENT_POLL_MS 20 /* only where the directory may not be listed */

static sup_content_t sup_content_v;
static sup_watch_t sup_content_watch = {.fd = -1};
static sup_timer_t sup_content_timer;
static void (*sup_content_fn)(void);


const sup_content_t *sup_content(void)
{
    return &sup_content_v;
}


int sup_content_parse(const char *text, size_t len, sup_content_t *ret_content, gp_err_t *err)
{
    gp_auto_json json_t *doc = json_loadb(text, len, 0, NULL);
    const char *source = json_string_value(json_object_get(doc, "source"));
    const char *location = json_string_value(json_object_get(doc, "location"));

    if (!source || !location || (strcmp(source, "from-other") != 0 && strcmp(source, "from-backup") != 0)) {
        return gp_err(err, GP_INVALID_ARGUMENT, GP_FILE_READY " must have source (from-other or from-backup) and location");
    }
    if (strncmp(location, GP_DIR_WORKSPACE, strlen(GP_DIR_WORKSPACE)) != 0 || strlen(location) >= SUP_LOCATION_MAX) {
        return gp_err(err, GP_INVALID_ARGUMENT, GP_FILE_READY ": location must be below " GP_DIR_WORKSPACE);
    }
    ret_content->from_backup = strcmp(source, "from-backup") == 0;
    (void) snprintf(ret_content->location, sizeof(ret_content->location), "%s", location);
    ret_content->available = 1;

    return 0;
}


static void sup_content_look(void)
{
    gp_err_t err = GP_ERR_INIT;
    gp_auto_fd int fd = -1;
    gp_auto_fd int watch_fd = -1;
    char text[SUP_READY_MAX];
    ssize_t n;

    fd = open(GP_FILE_READY, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, text, sizeof(text));
    if (n <= 0) {
        return;
    }
    if (sup_content_parse(text, (size_t) n, &sup_content_v, &err) < 0) {
        gp_log(GP_LOG_ERROR, err.text, NULL);
        return;
    }
    if (sup_content_watch.fd >= 0) {
        watch_fd = sup_content_watch.fd;
        sup_watch_clear(&sup_content_watch);
    }
    sup_timer_clear(&sup_content_timer);
    sup_content_fn();
}


static void sup_content_event(sup_watch_t *watch, uint32_t events)
{
    char buf[4096] __attribute__((aligned(__alignof__(struct inotify_event))));

    (void) events;
    while (read(watch->fd, buf, sizeof(buf)) > 0) {
        /* which file it was does not matter: the look decides */
    }
    sup_content_look();
}


static void sup_content_poll(sup_timer_t *timer)
{
    sup_timer_set(timer, SUP_CONTENT_POLL_MS, sup_content_poll, NULL);
    sup_content_look();
}


int sup_content_wait(void (*fn)(void), gp_err_t *err)
{
    gp_auto_fd int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    int rc;

    sup_content_fn = fn;
    if (fd < 0) {
        return gp_err_errno(err, errno, "waiting for content: inotify");
    }
    if (inotify_add_watch(fd, GP_DIR_INSTANCE, IN_MOVED_TO | IN_CLOSE_WRITE) < 0) {
        if (errno != EACCES) {
            return gp_err_errno(err, errno, "waiting for content: " GP_DIR_INSTANCE " is not there");
        }
        gp_log(GP_LOG_WARN, GP_DIR_INSTANCE " may not be listed: looking for the go signal by name", NULL);
        sup_timer_set(&sup_content_timer, 0, sup_content_poll, NULL);
        return 0;
    }
    rc = sup_watch_set(&sup_content_watch, gp_steal_fd(&fd), EPOLLIN, sup_content_event, NULL, err);
    if (rc == 0) {
        sup_content_look(); /* it may have come before the watch */
    }

    return rc;
}
