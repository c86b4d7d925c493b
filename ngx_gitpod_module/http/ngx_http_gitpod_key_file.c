
/*
 * The key set of a URL outlives nginx in a file.  Workers touch none: it is
 * written by nginx's cache manager, the process that keeps the directories of
 * caches, from what they fetched; the master reads it (ngx_gitpod_snapshot.c).
 * Its name has the hash of the URL: gateways may share the directory.
 */


#include "ngx_gitpod_zone.h"
#include "ngx_http_gitpod_key_url.h"


#define NGX_HTTP_GITPOD_KEY_FILE_NAME    "%V/key_set-%016xL.json%s%Z"
#define NGX_HTTP_GITPOD_KEY_FILE_NEW     ".new"
#define NGX_HTTP_GITPOD_KEY_FILE_HEAD    128    /* bytes of its first line */
#define NGX_HTTP_GITPOD_KEY_FILE_LOOK    1000   /* ms */


static ngx_int_t ngx_http_gitpod_key_file_name(ngx_conf_t *cf, ngx_str_t *dir,
    uint64_t source, char *end, ngx_str_t *file);
static ngx_msec_t ngx_http_gitpod_key_file_manager(void *data);
static void ngx_http_gitpod_key_file_keep(ngx_gitpod_zone_t *zone,
    ngx_http_gitpod_key_url_conf_t *kcf, u_char *buffer);
static ngx_int_t ngx_http_gitpod_key_file_write(
    ngx_http_gitpod_key_url_conf_t *kcf, time_t fetched, u_char *text,
    size_t len);
static char *ngx_http_gitpod_key_file_put(ngx_http_gitpod_key_url_conf_t *kcf,
    ngx_fd_t fd, time_t fetched, u_char *text, size_t len);
static ngx_int_t ngx_http_gitpod_key_file_lock(
    ngx_http_gitpod_key_url_conf_t *kcf, ngx_fd_t fd);
static ngx_uint_t ngx_http_gitpod_key_file_older(
    ngx_http_gitpod_key_url_conf_t *kcf, time_t fetched);


/* of the cache manager: what the file has */

static time_t      ngx_http_gitpod_key_file_fetched;
static uint64_t    ngx_http_gitpod_key_file_seq;
static ngx_uint_t  ngx_http_gitpod_key_file_failed;


char *
ngx_http_gitpod_key_file_conf(ngx_conf_t *cf, ngx_str_t *dir,
    ngx_http_gitpod_key_url_conf_t *kcf)
{
    ngx_path_t  *path;

    if (dir->len == 0) {
        return "has no snapshot";
    }

    path = ngx_pcalloc(cf->pool, sizeof(ngx_path_t));
    if (path == NULL) {
        return NGX_CONF_ERROR;
    }

    path->name = *dir;

    if (path->name.data[path->name.len - 1] == '/') {
        path->name.data[--path->name.len] = '\0';
    }

    if (ngx_conf_full_name(cf->cycle, &path->name, 0) != NGX_OK
        || ngx_http_gitpod_key_file_name(cf, &path->name, kcf->source, "",
                                         &kcf->file)
           != NGX_OK
        || ngx_http_gitpod_key_file_name(cf, &path->name, kcf->source,
                                         NGX_HTTP_GITPOD_KEY_FILE_NEW,
                                         &kcf->file_new)
           != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    path->manager = ngx_http_gitpod_key_file_manager;
    path->data = kcf;
    path->conf_file = cf->conf_file->file.name.data;
    path->line = cf->conf_file->line;

    return ngx_add_path(cf, &path) == NGX_OK ? NGX_CONF_OK : NGX_CONF_ERROR;
}


static ngx_int_t
ngx_http_gitpod_key_file_name(ngx_conf_t *cf, ngx_str_t *dir, uint64_t source,
    char *end, ngx_str_t *file)
{
    u_char  *last;

    file->data = ngx_pnalloc(cf->pool, dir->len
                             + sizeof(NGX_HTTP_GITPOD_KEY_FILE_NAME)
                             + NGX_INT64_LEN + ngx_strlen(end));
    if (file->data == NULL) {
        return NGX_ERROR;
    }

    last = ngx_sprintf(file->data, NGX_HTTP_GITPOD_KEY_FILE_NAME, dir, source,
                       end);
    file->len = last - 1 - file->data;

    return NGX_OK;
}


static ngx_msec_t
ngx_http_gitpod_key_file_manager(void *data)
{
    ngx_http_gitpod_key_url_conf_t *kcf = data;

    u_char                       *buffer;
    ngx_http_gitpod_main_conf_t  *mcf;

    mcf = ngx_http_cycle_get_module_main_conf(ngx_cycle,
                                              ngx_http_gitpod_module);

    if (mcf == NULL || mcf->zone == NULL) {
        return NGX_HTTP_GITPOD_KEY_FILE_LOOK;
    }

    buffer = ngx_alloc(NGX_HTTP_GITPOD_KEY_FILE_HEAD + NGX_GITPOD_FETCHED_MAX
                       + 1, ngx_cycle->log);

    if (buffer) {
        ngx_http_gitpod_key_file_keep(mcf->zone, kcf, buffer);
        ngx_free(buffer);
    }

    return NGX_HTTP_GITPOD_KEY_FILE_LOOK;
}


static void
ngx_http_gitpod_key_file_keep(ngx_gitpod_zone_t *zone,
    ngx_http_gitpod_key_url_conf_t *kcf, u_char *buffer)
{
    size_t                  len;
    time_t                  fetched;
    u_char                 *p;
    uint64_t                seq;
    ngx_int_t               rc;
    ngx_gitpod_key_url_t   *url;
    ngx_gitpod_key_text_t  *set;

    url = ngx_gitpod_key_url(zone);
    set = &zone->keys[NGX_GITPOD_KEYS_FETCHED];
    fetched = url->fetched;

    if (fetched == 0 || url->source != kcf->source
        || (fetched == ngx_http_gitpod_key_file_fetched
            && set->seq == ngx_http_gitpod_key_file_seq))
    {
        return;
    }

    p = ngx_sprintf(buffer, "{\"snapshot\":\"keys\",\"written\":%T,"
                    "\"records\":1}\n", fetched);

    /* the time is older than the set, or of it: never newer */

    if (ngx_gitpod_keys_copy(set, p, &len, &seq) != NGX_OK || len == 0
        || url->source != kcf->source || url->fetched < fetched)
    {
        return;
    }

    p[len] = LF;

    rc = ngx_http_gitpod_key_file_write(kcf, fetched, buffer,
                                        p + len + 1 - buffer);

    if (rc == NGX_OK) {
        ngx_http_gitpod_key_file_fetched = fetched;
        ngx_http_gitpod_key_file_seq = seq;
    }
}


/* NGX_AGAIN: another process, of a gateway beside this one, is at it. */

static ngx_int_t
ngx_http_gitpod_key_file_write(ngx_http_gitpod_key_url_conf_t *kcf,
    time_t fetched, u_char *text, size_t len)
{
    char       *failed;
    ngx_fd_t    fd;
    ngx_int_t   rc;

    fd = ngx_open_file(kcf->file_new.data, O_RDWR|O_NOFOLLOW|O_CLOEXEC,
                       NGX_FILE_CREATE_OR_OPEN, 0600);

    failed = (fd == NGX_INVALID_FILE) ? ngx_open_file_n : NULL;

    if (failed == NULL) {
        rc = ngx_http_gitpod_key_file_lock(kcf, fd);

        if (rc == NGX_OK && ngx_http_gitpod_key_file_older(kcf, fetched)) {
            (void) ngx_delete_file(kcf->file_new.data);

            ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                          "gitpod: \"%V\" stays: a gateway beside this one "
                          "fetched later", &kcf->file);

        } else if (rc == NGX_OK) {
            failed = ngx_http_gitpod_key_file_put(kcf, fd, fetched, text, len);
        }

        if (ngx_close_file(fd) == NGX_FILE_ERROR && failed == NULL) {
            failed = ngx_close_file_n;
        }

        if (rc == NGX_AGAIN) {
            return NGX_AGAIN;
        }
    }

    if (failed && !ngx_http_gitpod_key_file_failed) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, ngx_errno,
                      "gitpod: %s of \"%V\" failed: a new start of nginx "
                      "will know older keys of gitpod_key_set_url, or none; "
                      "tried again each second", failed, &kcf->file_new);

    } else if (failed == NULL && ngx_http_gitpod_key_file_failed) {
        ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                      "gitpod: \"%V\" is written again", &kcf->file);
    }

    ngx_http_gitpod_key_file_failed = (failed != NULL);

    return failed ? NGX_ERROR : NGX_OK;
}


/*
 * One writer at a time: the lock of one that was killed goes with it.  Another
 * may have renamed the file between its opening and its lock.
 */

static ngx_int_t
ngx_http_gitpod_key_file_lock(ngx_http_gitpod_key_url_conf_t *kcf, ngx_fd_t fd)
{
    ngx_file_info_t  opened, named;

    if (ngx_trylock_fd(fd) != 0
        || ngx_fd_info(fd, &opened) == NGX_FILE_ERROR
        || ngx_file_info(kcf->file_new.data, &named) == NGX_FILE_ERROR
        || ngx_file_uniq(&opened) != ngx_file_uniq(&named))
    {
        return NGX_AGAIN;
    }

    return NGX_OK;
}


/* A gateway beside this one fetched later: its time is that of its file. */

static ngx_uint_t
ngx_http_gitpod_key_file_older(ngx_http_gitpod_key_url_conf_t *kcf,
    time_t fetched)
{
    ngx_file_info_t  info;

    return ngx_file_info(kcf->file.data, &info) != NGX_FILE_ERROR
           && ngx_file_mtime(&info) > fetched
           && ngx_file_mtime(&info) <= ngx_time();
}


/* NULL, or what failed, with ngx_errno. */

static char *
ngx_http_gitpod_key_file_put(ngx_http_gitpod_key_url_conf_t *kcf, ngx_fd_t fd,
    time_t fetched, u_char *text, size_t len)
{
    char       *failed;
    ngx_err_t   err;

    failed = NULL;

    if (ftruncate(fd, 0) == -1) {
        failed = "ftruncate()";

    } else if (ngx_write_fd(fd, text, len) != (ssize_t) len) {
        failed = ngx_write_fd_n;

    } else if (fsync(fd) == -1) {
        failed = "fsync()";

    } else if (ngx_set_file_time(kcf->file_new.data, fd, fetched) != NGX_OK) {
        failed = ngx_set_file_time_n;

    } else if (ngx_rename_file(kcf->file_new.data, kcf->file.data)
               == NGX_FILE_ERROR)
    {
        failed = ngx_rename_file_n;
    }

    if (failed) {
        err = ngx_errno;
        (void) ngx_delete_file(kcf->file_new.data);
        ngx_set_errno(err);
    }

    return failed;
}
