
/*
 * Where the gateway learns from: Redis, its password, a file of keys; and
 * which addresses it believes.
 */


#include "ngx_http_gitpod.h"


#define NGX_HTTP_GITPOD_PASSWORD_MAX  512           /* bytes */


static char *ngx_http_gitpod_conf_password(ngx_conf_t *cf, ngx_str_t *path,
    ngx_http_gitpod_main_conf_t *mcf);
static ngx_int_t ngx_http_gitpod_read_file(ngx_conf_t *cf, ngx_str_t *path,
    size_t max, ngx_str_t *text);


char *
ngx_http_gitpod_conf_socket(ngx_conf_t *cf, ngx_str_t *value,
    ngx_addr_t *addr)
{
    ngx_url_t  u;

    ngx_memzero(&u, sizeof(ngx_url_t));
    u.url = *value;

    if (value->len < 6 || ngx_strncmp(value->data, "unix:", 5) != 0
        || ngx_parse_url(cf->pool, &u) != NGX_OK)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" is not \"unix:\" and the path of a socket",
                           value);
        return NGX_CONF_ERROR;
    }

    *addr = u.addrs[0];

    return NGX_CONF_OK;
}


char *
ngx_http_gitpod_conf_redis(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gitpod_main_conf_t *mcf = conf;

    ngx_str_t   *value, path;
    ngx_uint_t   i;

    if (mcf->redis.sockaddr) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_http_gitpod_conf_socket(cf, &value[1], &mcf->redis)
        != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    for (i = 2; i < cf->args->nelts; i++) {

        if (ngx_strncmp(value[i].data, "user=", 5) == 0) {
            mcf->redis_user.data = value[i].data + 5;
            mcf->redis_user.len = value[i].len - 5;
            continue;
        }

        if (ngx_strncmp(value[i].data, "password_file=", 14) == 0) {
            path.data = value[i].data + 14;
            path.len = value[i].len - 14;

            if (ngx_http_gitpod_conf_password(cf, &path, mcf)
                != NGX_CONF_OK)
            {
                return NGX_CONF_ERROR;
            }

            continue;
        }

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\"", &value[i]);
        return NGX_CONF_ERROR;
    }

    if (mcf->redis_user.len && mcf->redis_password.len == 0) {
        return "has a user but no password_file";
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_gitpod_conf_password(ngx_conf_t *cf, ngx_str_t *path,
    ngx_http_gitpod_main_conf_t *mcf)
{
    ngx_int_t   rc;
    ngx_str_t  *text;

    text = &mcf->redis_password;

    rc = ngx_http_gitpod_read_file(cf, path, NGX_HTTP_GITPOD_PASSWORD_MAX,
                                   text);

    if (rc == NGX_DECLINED) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           "password file \"%V\" cannot be opened", path);
    }

    if (rc != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    while (text->len
           && (text->data[text->len - 1] == LF
               || text->data[text->len - 1] == CR))
    {
        text->len--;
    }

    if (text->len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "password file \"%V\" is empty", path);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_gitpod_conf_key_set(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gitpod_main_conf_t *mcf = conf;

    ngx_int_t   rc;
    ngx_str_t  *value;

    if (mcf->key_set_file.len) {
        return "is duplicate";
    }

    value = cf->args->elts;
    mcf->key_set_file = value[1];

    rc = ngx_http_gitpod_read_file(cf, &mcf->key_set_file,
                                   GP_JOSE_KEY_SET_MAX, &mcf->key_set);

    if (rc == NGX_DECLINED) {
        ngx_conf_log_error(NGX_LOG_NOTICE, cf, ngx_errno,
                           "key set \"%V\" cannot be opened: "
                           "keys will come from Redis", &mcf->key_set_file);
        return NGX_CONF_OK;
    }

    return (rc == NGX_OK) ? NGX_CONF_OK : NGX_CONF_ERROR;
}


/* NGX_DECLINED: it could not be opened. */

static ngx_int_t
ngx_http_gitpod_read_file(ngx_conf_t *cf, ngx_str_t *path, size_t max,
    ngx_str_t *text)
{
    size_t     size;
    ssize_t    n;
    ngx_fd_t   fd;

    if (ngx_conf_full_name(cf->cycle, path, 1) != NGX_OK) {
        return NGX_ERROR;
    }

    fd = ngx_open_file(path->data, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        return NGX_DECLINED;
    }

    text->len = 0;
    text->data = ngx_pnalloc(cf->pool, max + 1);

    if (text->data == NULL) {
        (void) ngx_close_file(fd);
        return NGX_ERROR;
    }

    for (size = 0; size <= max; size += n) {
        n = ngx_read_fd(fd, text->data + size, max + 1 - size);

        if (n <= 0) {
            break;
        }
    }

    (void) ngx_close_file(fd);

    if (n < 0 || size > max) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, (n < 0) ? ngx_errno : 0,
                           "\"%V\" cannot be read, or is longer than %uz "
                           "bytes", path, max);
        return NGX_ERROR;
    }

    text->len = size;

    return NGX_OK;
}


char *
ngx_http_gitpod_conf_cidr(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_gitpod_main_conf_t *mcf = conf;

    ngx_int_t    rc;
    ngx_str_t   *value;
    ngx_cidr_t  *cidr;
    ngx_uint_t   i;

    if (mcf->cidrs == NULL) {
        mcf->cidrs = ngx_array_create(cf->pool, 2, sizeof(ngx_cidr_t));
        if (mcf->cidrs == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        cidr = ngx_array_push(mcf->cidrs);
        if (cidr == NULL) {
            return NGX_CONF_ERROR;
        }

        rc = ngx_ptocidr(&value[i], cidr);

        if (rc == NGX_ERROR) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"%V\" is not an address range", &value[i]);
            return NGX_CONF_ERROR;
        }

        if (rc == NGX_DONE) {
            ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                               "low address bits of %V are meaningless",
                               &value[i]);
        }
    }

    return NGX_CONF_OK;
}
