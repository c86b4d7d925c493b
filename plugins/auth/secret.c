#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/random.h"
#include "core/base64url.h"
#include "jose/digest.h"
#include "auth.h"


int auth_digest(gp_arena_t *arena, const char *secret, char **ret_digest, gp_err_t *err)
{
    char *digest = gp_arena_alloc(arena, GP_SHA256_HEX_LEN + 1);

    if (gp_sha256_hex(secret, strlen(secret), digest) < 0) {
        return gp_err(err, GP_INTERNAL, "SHA-256 failed in OpenSSL");
    }
    *ret_digest = digest;

    return 0;
}


int auth_secret_new(gp_arena_t *arena, char **ret_secret, char **ret_digest, gp_err_t *err)
{
    char *secret = gp_arena_alloc(arena, AUTH_SECRET_LEN + 1);
    uint8_t bytes[AUTH_KEY_LEN];
    int rc;

    gp_random_bytes(bytes, sizeof(bytes));
    (void) gp_base64url_encode(bytes, sizeof(bytes), secret); /* exactly AUTH_SECRET_LEN characters */
    rc = auth_digest(arena, secret, ret_digest, err);
    if (rc == 0) {
        *ret_secret = secret;
    }

    return rc;
}


/* 0, -GP_NOT_FOUND without a text when there is no file, or the fault. */
static int auth_key_read(const char *path, uint8_t ret_key[AUTH_KEY_LEN], gp_err_t *err)
{
    gp_auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    uint8_t more;
    struct stat st;

    if (fd < 0) {
        return errno == ENOENT ? -GP_NOT_FOUND : gp_err_errno(err, errno, "key file %s", path);
    }
    if (fstat(fd, &st) != 0 || (st.st_mode & 077) != 0) {
        return gp_err(err, GP_FAILED_PRECONDITION, "key file %s: others may read it; chmod 600, and treat what it protects as known", path);
    }
    if (read(fd, ret_key, AUTH_KEY_LEN) != AUTH_KEY_LEN || read(fd, &more, 1) != 0) {
        return gp_err(err, GP_DATA_LOSS, "key file %s: not %d bytes; restore it from a backup", path, AUTH_KEY_LEN);
    }

    return 0;
}


static int auth_key_make(const char *path, gp_err_t *err)
{
    gp_auto_free char *tmp = NULL;
    gp_auto_fd int fd = -1;
    uint8_t key[AUTH_KEY_LEN];

    if (asprintf(&tmp, "%s.new", path) < 0) {
        tmp = NULL;
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "out of memory");
    }
    (void) unlink(tmp); /* what a killed process left */
    fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return gp_err_errno(err, errno, "key file %s", tmp);
    }

    gp_random_bytes(key, sizeof(key));
    if (write(fd, key, sizeof(key)) != (ssize_t) sizeof(key) || fsync(fd) != 0 || rename(tmp, path) != 0) {
        return gp_err_errno(err, errno, "key file %s", path);
    }

    return 0;
}


int auth_key_file(const char *path, uint8_t ret_key[AUTH_KEY_LEN], gp_err_t *err)
{
    int rc = auth_key_read(path, ret_key, err);

    if (rc == -GP_NOT_FOUND) {
        rc = auth_key_make(path, err);
        if (rc == 0) {
            rc = auth_key_read(path, ret_key, err);
        }
    }

    return rc;
}


bool auth_text_valid(const char *text, size_t max)
{
    size_t i;

    for (i = 0; text[i] != '\0'; i++) {
        if (i >= max || (unsigned char) text[i] < 0x20 || text[i] == 0x7f) {
            return false;
        }
    }

    return true;
}


bool auth_path_valid(const char *path)
{
    return path[0] == '/' && path[1] != '/' && strchr(path, '\\') == NULL && auth_text_valid(path, GP_PATH_MAX);
}
