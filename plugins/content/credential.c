#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "credential.h"

#define CNT_CREDENTIAL_FD 3
#define CNT_REQUEST_MAX 4096


int cnt_credential_new(const cnt_url_t *url, const char *username, const char *value, int *ret_fd, gp_err_t *err)
{
    gp_auto_fd int fd = memfd_create("credential", MFD_CLOEXEC);
    char text[CNT_SECRET_MAX];
    int n;

    if (strpbrk(username, "\r\n") || strpbrk(value, "\r\n")) {
        return gp_err(err, GP_FAILED_PRECONDITION, "the Git access token for %s has a line break in it: enter it again", url->host);
    }
    n = snprintf(text, sizeof(text), "protocol=%s\nhost=%s\nusername=%s\npassword=%s\n", url->protocol, url->host,
                 *username ? username : "oauth2", value);
    if (n < 0 || (size_t) n >= sizeof(text)) {
        return gp_err(err, GP_RESOURCE_EXHAUSTED, "the Git access token for %s is too long", url->host);
    }
    if (fd < 0 || write(fd, text, (size_t) n) != n) {
        n = errno;
        explicit_bzero(text, sizeof(text));
        return gp_err_errno(err, n, "keeping the Git access token");
    }
    explicit_bzero(text, sizeof(text));
    *ret_fd = gp_steal_fd(&fd);

    return 0;
}


/* The value of "key=" in lines; its length, or -1. */
static int cnt_credential_field(const char *lines, const char *key, const char **ret_value)
{
    size_t n = strlen(key);

    while (*lines) {
        if (strncmp(lines, key, n) == 0 && lines[n] == '=') {
            *ret_value = lines + n + 1;
            return (int) strcspn(*ret_value, "\n");
        }
        lines += strcspn(lines, "\n");
        lines += *lines == '\n';
    }

    return -1;
}


int cnt_credential_matches(const char *request, const char *secret)
{
    static const char *const keys[] = {"protocol", "host"};
    const char *asked, *kept;
    size_t i;
    int n, m;

    for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        n = cnt_credential_field(request, keys[i], &asked);
        m = cnt_credential_field(secret, keys[i], &kept);
        if (n < 0 || n != m || strncasecmp(asked, kept, (size_t) n) != 0) {
            return 0;
        }
    }

    return 1;
}


int cnt_credential_main(int argc, char **argv)
{
    char request[CNT_REQUEST_MAX + 1], secret[CNT_SECRET_MAX + 1];
    size_t n;
    ssize_t m;

    if (argc < 3 || strcmp(argv[2], "get") != 0) {
        return 0; /* "store" and "erase": nothing is kept here */
    }
    n = fread(request, 1, CNT_REQUEST_MAX, stdin);
    request[n] = '\0';
    m = pread(CNT_CREDENTIAL_FD, secret, CNT_SECRET_MAX, 0);
    if (m <= 0) {
        return 0;
    }
    secret[m] = '\0';
    if (cnt_credential_matches(request, secret)) {
        (void) fputs(secret, stdout);
    }
    explicit_bzero(secret, sizeof(secret));

    return 0;
}
