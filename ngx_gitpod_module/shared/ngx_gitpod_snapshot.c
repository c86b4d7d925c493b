
/*
 * Snapshot files: what a start without Redis knows.  The services write them
 * (docs/contracts/redis.md), that of a URL's keys a helper process of nginx;
 * the master reads them before there are workers, and at each reload; no
 * worker touches a file.
 *
 * A file is JSON, one value a line, each what a message of Redis would be.
 * The first line tells what the file is, when it was written and how many
 * lines follow: a file that was cut is known as such.
 */


#include "ngx_gitpod_zone.h"
#include "ngx_gitpod_json.h"


#define NGX_GITPOD_SNAPSHOT_BUFFER  65536               /* bytes */
#define NGX_GITPOD_SNAPSHOT_MAX     (1024 * 1024 * 1024) /* bytes of a file */
#define NGX_GITPOD_SNAPSHOT_AHEAD   60      /* s: clocks differ, not more */
#define NGX_GITPOD_SNAPSHOT_TELL    16      /* refused lines in the log */


typedef struct {
    ngx_gitpod_zone_t   *zone;
    ngx_str_t           *path;
    ngx_array_t         *cidrs;
    ngx_log_t           *log;
    ngx_log_t            quiet;         /* the same, but for errors */
    const char          *kind;          /* "routes", "revocations", "keys" */
    const char          *from;          /* where else they come from */
    time_t               max_age;
    unsigned             routes:1;
    unsigned             keys:1;
    unsigned             head:1;        /* its first line is a good one */
    unsigned             cut:1;         /* its last line has no end */
    time_t               written;
    uint64_t             promised;
    uint64_t             lines;         /* after the first */
    uint64_t             refused;
} ngx_gitpod_snapshot_t;


static ngx_uint_t ngx_gitpod_snapshot_current(ngx_gitpod_snapshot_t *snapshot);
static ngx_int_t ngx_gitpod_snapshot_read(ngx_gitpod_snapshot_t *snapshot);
static ngx_fd_t ngx_gitpod_snapshot_open(ngx_gitpod_snapshot_t *snapshot);
static ngx_int_t ngx_gitpod_snapshot_lines(ngx_gitpod_snapshot_t *snapshot,
    ngx_fd_t fd, u_char *buffer);
static u_char *ngx_gitpod_snapshot_split(ngx_gitpod_snapshot_t *snapshot,
    u_char *p, u_char *last);
static void ngx_gitpod_snapshot_line(ngx_gitpod_snapshot_t *snapshot,
    ngx_str_t *line);
static ngx_int_t ngx_gitpod_snapshot_key_set(ngx_gitpod_snapshot_t *snapshot,
    ngx_str_t *line);
static ngx_int_t ngx_gitpod_snapshot_head(ngx_gitpod_snapshot_t *snapshot,
    ngx_str_t *line);


void
ngx_gitpod_snapshot_routes(ngx_gitpod_zone_t *zone, ngx_str_t *path,
    ngx_array_t *cidrs, ngx_uint_t whole, ngx_log_t *log)
{
    uint32_t               n, generation;
    ngx_uint_t             swept;
    ngx_gitpod_snapshot_t  snapshot;

    ngx_memzero(&snapshot, sizeof(ngx_gitpod_snapshot_t));

    snapshot.zone = zone;
    snapshot.path = path;
    snapshot.cidrs = cidrs;
    snapshot.log = log;
    snapshot.kind = "routes";
    snapshot.from = "Redis";
    snapshot.routes = 1;

    /* with Redis its next complete reading sweeps */

    n = 0;
    swept = 0;
    generation = whole ? ngx_gitpod_sweep_begin(zone, &zone->routes) : 0;

    if (ngx_gitpod_snapshot_read(&snapshot) != NGX_OK) {
        return;
    }

    if (whole) {
        (void) ngx_gitpod_sweep(zone, &zone->routes, generation, NULL, &n,
                                (uint64_t) -1, &swept);
    }

    __atomic_store_n(&zone->feed.routes_synced, 1, __ATOMIC_RELEASE);

    ngx_log_error(NGX_LOG_NOTICE, log, 0,
                  "gitpod: %uL routes read from \"%V\", %uL refused, "
                  "%ui dropped", snapshot.lines, path, snapshot.refused,
                  swept);
}


void
ngx_gitpod_snapshot_revocations(ngx_gitpod_zone_t *zone, ngx_str_t *path,
    time_t max_age, ngx_log_t *log)
{
    ngx_gitpod_snapshot_t  snapshot;

    ngx_memzero(&snapshot, sizeof(ngx_gitpod_snapshot_t));

    snapshot.zone = zone;
    snapshot.path = path;
    snapshot.log = log;
    snapshot.kind = "revocations";
    snapshot.from = "Redis";
    snapshot.max_age = max_age;

    if (ngx_gitpod_snapshot_read(&snapshot) != NGX_OK) {
        return;
    }

    /* what it has counts in any case, what it lacks must not */

    if (!snapshot.head || snapshot.refused) {
        ngx_log_error(NGX_LOG_ERR, log, 0,
                      "gitpod: \"%V\" is no snapshot of revocations: its "
                      "first line or %uL others are not understood; until "
                      "Redis told all revocations no session is accepted",
                      path, snapshot.refused);
        return;
    }

    if (!ngx_gitpod_snapshot_current(&snapshot)) {
        ngx_log_error(NGX_LOG_WARN, log, 0,
                      "gitpod: \"%V\" was written %T s ago, and "
                      "gitpod_snapshot_max_age is %T s: until Redis told "
                      "all revocations no session is accepted",
                      path, ngx_time() - snapshot.written, max_age);
        return;
    }

    __atomic_store_n(&zone->feed.revocations_synced, 1, __ATOMIC_RELEASE);

    ngx_log_error(NGX_LOG_NOTICE, log, 0,
                  "gitpod: %uL revocations read from \"%V\", written %T s ago",
                  snapshot.lines, path, ngx_time() - snapshot.written);
}


void
ngx_gitpod_snapshot_keys(ngx_gitpod_zone_t *zone, ngx_str_t *path,
    uint64_t source, time_t max_age, ngx_log_t *log)
{
    ngx_int_t              rc;
    ngx_gitpod_snapshot_t  snapshot;

    ngx_memzero(&snapshot, sizeof(ngx_gitpod_snapshot_t));

    snapshot.zone = zone;
    snapshot.path = path;
    snapshot.log = log;
    snapshot.kind = "keys";
    snapshot.from = "their URL";
    snapshot.keys = 1;
    snapshot.max_age = max_age;

    rc = ngx_gitpod_snapshot_read(&snapshot);

    if (rc == NGX_OK && snapshot.head && snapshot.lines == 1
        && snapshot.refused == 0)
    {
        zone->key_url.source = source;
        zone->key_url.fetched = snapshot.written;

        ngx_log_error(NGX_LOG_NOTICE, log, 0,
                      "gitpod: a key set read from \"%V\", fetched %T s ago; "
                      "it counts for %T s more unless it is fetched again",
                      path, ngx_time() - snapshot.written,
                      snapshot.written + max_age - ngx_time());
        return;
    }

    /* a set without a time would count for ever */

    ngx_gitpod_keys_drop(zone, NGX_GITPOD_KEYS_FETCHED);

    if (rc != NGX_OK) {
        return;
    }

    if (!snapshot.head) {
        ngx_log_error(NGX_LOG_ERR, log, 0,
                      "gitpod: \"%V\" is no snapshot of keys: until they are "
                      "fetched their tokens are refused with 503", path);

    } else if (!ngx_gitpod_snapshot_current(&snapshot)) {
        ngx_log_error(NGX_LOG_WARN, log, 0,
                      "gitpod: \"%V\" was fetched %T s ago, and stale= of "
                      "gitpod_key_set_url is %T s: until it is fetched again "
                      "its tokens are refused with 503",
                      path, ngx_time() - snapshot.written, max_age);

    } else {
        ngx_log_error(NGX_LOG_ERR, log, 0,
                      "gitpod: \"%V\" has no usable key set: until it is "
                      "fetched its tokens are refused with 503", path);
    }
}


static ngx_uint_t
ngx_gitpod_snapshot_current(ngx_gitpod_snapshot_t *snapshot)
{
    time_t  now;

    now = ngx_time();

    return now - snapshot->written <= snapshot->max_age
           && snapshot->written - now <= NGX_GITPOD_SNAPSHOT_AHEAD;
}


/* NGX_OK: all of it; else not, and what could be read was taken. */

static ngx_int_t
ngx_gitpod_snapshot_read(ngx_gitpod_snapshot_t *snapshot)
{
    u_char     *buffer;
    ngx_fd_t    fd;
    ngx_int_t   rc;

    snapshot->quiet = *snapshot->log;
    snapshot->quiet.log_level = ngx_min(snapshot->log->log_level,
                                        NGX_LOG_CRIT);

    fd = ngx_gitpod_snapshot_open(snapshot);

    if (fd == NGX_INVALID_FILE) {
        return NGX_DECLINED;
    }

    rc = NGX_ERROR;
    buffer = ngx_alloc(NGX_GITPOD_SNAPSHOT_BUFFER, snapshot->log);

    if (buffer) {
        rc = ngx_gitpod_snapshot_lines(snapshot, fd, buffer);
        ngx_free(buffer);
    }

    if (ngx_close_file(fd) == NGX_FILE_ERROR) {
        ngx_log_error(NGX_LOG_ALERT, snapshot->log, ngx_errno,
                      ngx_close_file_n " \"%V\" failed", snapshot->path);
    }

    if (rc != NGX_OK) {
        return rc;
    }

    if (snapshot->cut
        || (snapshot->head && snapshot->lines != snapshot->promised))
    {
        ngx_log_error(NGX_LOG_ERR, snapshot->log, 0,
                      "gitpod: \"%V\" was cut: it has %uL of %uL %s; the "
                      "rest must come from %s", snapshot->path,
                      snapshot->lines, snapshot->promised, snapshot->kind,
                      snapshot->from);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_fd_t
ngx_gitpod_snapshot_open(ngx_gitpod_snapshot_t *snapshot)
{
    ngx_fd_t         fd;
    ngx_err_t        err;
    ngx_uint_t       level;
    ngx_file_info_t  info;

    /* non-blocking: the master must not wait for the writer of a pipe */

    fd = ngx_open_file(snapshot->path->data,
                       NGX_FILE_RDONLY|NGX_FILE_NONBLOCK, NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        err = ngx_errno;
        level = (err == NGX_ENOENT) ? NGX_LOG_NOTICE : NGX_LOG_ERR;

        ngx_log_error(level, snapshot->log, err,
                      "gitpod: \"%V\" cannot be opened: %s must come "
                      "from %s", snapshot->path, snapshot->kind,
                      snapshot->from);
        return NGX_INVALID_FILE;
    }

    if (ngx_fd_info(fd, &info) == NGX_FILE_ERROR
        || !ngx_is_file(&info)
        || ngx_file_size(&info) > NGX_GITPOD_SNAPSHOT_MAX)
    {
        ngx_log_error(NGX_LOG_ERR, snapshot->log, 0,
                      "gitpod: \"%V\" is no file of at most %d bytes: %s "
                      "must come from %s", snapshot->path,
                      NGX_GITPOD_SNAPSHOT_MAX, snapshot->kind,
                      snapshot->from);

        (void) ngx_close_file(fd);

        return NGX_INVALID_FILE;
    }

    return fd;
}


static ngx_int_t
ngx_gitpod_snapshot_lines(ngx_gitpod_snapshot_t *snapshot, ngx_fd_t fd,
    u_char *buffer)
{
    off_t    sum;
    size_t   rest;
    u_char  *p;
    ssize_t  n;

    rest = 0;

    for (sum = 0; sum <= NGX_GITPOD_SNAPSHOT_MAX; sum += n) {

        n = ngx_read_fd(fd, buffer + rest, NGX_GITPOD_SNAPSHOT_BUFFER - rest);

        if (n == -1) {
            ngx_log_error(NGX_LOG_ERR, snapshot->log, ngx_errno,
                          "gitpod: \"%V\" cannot be read: %s must come "
                          "from %s", snapshot->path, snapshot->kind,
                          snapshot->from);
            return NGX_ERROR;
        }

        if (n == 0) {
            break;
        }

        p = ngx_gitpod_snapshot_split(snapshot, buffer, buffer + rest + n);

        rest = buffer + rest + n - p;

        if (rest == NGX_GITPOD_SNAPSHOT_BUFFER) {
            ngx_log_error(NGX_LOG_ERR, snapshot->log, 0,
                          "gitpod: \"%V\" has a line of more than %d bytes: "
                          "it is no snapshot", snapshot->path,
                          NGX_GITPOD_SNAPSHOT_BUFFER);
            return NGX_ERROR;
        }

        ngx_memmove(buffer, p, rest);
    }

    snapshot->cut = (rest != 0);

    return NGX_OK;
}


/* Takes whole lines; returns the begin of one that goes on. */

static u_char *
ngx_gitpod_snapshot_split(ngx_gitpod_snapshot_t *snapshot, u_char *p,
    u_char *last)
{
    u_char     *end;
    ngx_str_t   line;

    for ( ;; ) {
        end = ngx_strlchr(p, last, LF);

        if (end == NULL) {
            return p;
        }

        line.data = p;
        line.len = end - p;

        if (line.len) {
            ngx_gitpod_snapshot_line(snapshot, &line);
        }

        p = end + 1;
    }
}


static void
ngx_gitpod_snapshot_line(ngx_gitpod_snapshot_t *snapshot, ngx_str_t *line)
{
    ngx_int_t   rc;
    ngx_log_t  *log;

    if (!snapshot->head && snapshot->lines == 0
        && ngx_gitpod_snapshot_head(snapshot, line) == NGX_OK)
    {
        snapshot->head = 1;
        return;
    }

    snapshot->lines++;

    log = (snapshot->refused < NGX_GITPOD_SNAPSHOT_TELL) ? snapshot->log
                                                         : &snapshot->quiet;

    if (snapshot->routes) {
        rc = ngx_gitpod_route_feed(snapshot->zone, NULL, line,
                                   snapshot->cidrs, log);
    } else if (snapshot->keys) {
        rc = ngx_gitpod_snapshot_key_set(snapshot, line);

    } else {
        rc = ngx_gitpod_revocation_message(snapshot->zone, line, log);
    }

    if (rc != NGX_OK) {
        snapshot->refused++;
    }
}


/* One, not too old: of anything else nothing is used. */

static ngx_int_t
ngx_gitpod_snapshot_key_set(ngx_gitpod_snapshot_t *snapshot, ngx_str_t *line)
{
    if (!snapshot->head || snapshot->lines != 1
        || !ngx_gitpod_snapshot_current(snapshot))
    {
        return NGX_DECLINED;
    }

    return ngx_gitpod_keys_feed(snapshot->zone, NGX_GITPOD_KEYS_FETCHED, line,
                                snapshot->log);
}


/* {"snapshot":"routes","written":1700000000,"records":2} */

static ngx_int_t
ngx_gitpod_snapshot_head(ngx_gitpod_snapshot_t *snapshot, ngx_str_t *line)
{
    json_t        *json, *written, *records;
    ngx_int_t      rc;
    const char    *kind;
    json_error_t   error;

    rc = NGX_DECLINED;
    json = NULL;

    if (line->len <= GP_ROUTE_RECORD_MAX) {
        json = json_loadb((char *) line->data, line->len,
                          JSON_REJECT_DUPLICATES, &error);
    }

    kind = json_string_value(json_object_get(json, "snapshot"));
    written = json_object_get(json, "written");
    records = json_object_get(json, "records");

    if (kind && ngx_strcmp(kind, snapshot->kind) == 0
        && json_is_integer(written) && json_integer_value(written) > 0
        && json_is_integer(records) && json_integer_value(records) >= 0)
    {
        snapshot->written = (time_t) json_integer_value(written);
        snapshot->promised = (uint64_t) json_integer_value(records);
        rc = NGX_OK;
    }

    json_decref(json);

    return rc;
}
