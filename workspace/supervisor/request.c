#include <stdlib.h>
#include <string.h>

#include "core/code.h"
#include "request.h"


static unsigned sup_request_number(const char *text)
{
    unsigned long n = strtoul(text, NULL, 10);

    return n > 1000 ? 1000 : (unsigned) n; /* rows and columns of a terminal */
}


static void sup_request_field(sup_request_t *request, const char *field, size_t len)
{
    if (len >= 9 && memcmp(field, "wait=true", 9) == 0) {
        request->wait = 1;
    } else if (len > 5 && memcmp(field, "rows=", 5) == 0) {
        request->rows = sup_request_number(field + 5);
    } else if (len > 8 && memcmp(field, "columns=", 8) == 0) {
        request->columns = sup_request_number(field + 8);
    }
}


static void sup_request_query(sup_request_t *request, const char *query)
{
    size_t n;

    while (*query) {
        n = strcspn(query, "&");
        sup_request_field(request, query, n);
        query += n + (query[n] == '&');
    }
}


/* "/status/ide/wait/true" is the original's way to say "?wait=true". */
static void sup_request_suffix(sup_request_t *request)
{
    static const char suffix[] = "/wait/true";
    size_t n = strlen(request->path), m = sizeof(suffix) - 1;

    if (n > m && strcmp(request->path + n - m, suffix) == 0) {
        request->path[n - m] = '\0';
        request->wait = 1;
    }
}


static int sup_request_line(char *line, sup_request_t *request)
{
    char *target = strchr(line, ' ');
    char *version = target ? strchr(target + 1, ' ') : NULL;
    char *query;

    if (!version || strncmp(version, " HTTP/1.", 8) != 0 || target - line >= (long) sizeof(request->method) || target == line) {
        return -GP_INVALID_ARGUMENT;
    }
    *target++ = '\0';
    *version = '\0';
    query = strchr(target, '?');
    if (query) {
        *query++ = '\0';
    }
    if (*target != '/' || strlen(target) >= sizeof(request->path)) {
        return -GP_INVALID_ARGUMENT;
    }
    memcpy(request->method, line, strlen(line) + 1);
    memcpy(request->path, target, strlen(target) + 1);
    sup_request_suffix(request);
    if (query) {
        sup_request_query(request, query);
    }

    return 1;
}


int sup_request_parse(const char *data, size_t len, sup_request_t *ret_request)
{
    char line[2 * SUP_REQUEST_PATH_MAX];
    const char *end;
    size_t n, i;

    if (!memmem(data, len, "\r\n\r\n", 4)) {
        return len >= SUP_REQUEST_MAX ? -GP_INVALID_ARGUMENT : 0;
    }
    end = memmem(data, len, "\r\n", 2);
    n = (size_t) (end - data);
    if (n >= sizeof(line)) {
        return -GP_INVALID_ARGUMENT;
    }
    for (i = 0; i < n; i++) {
        if ((unsigned char) data[i] < ' ' || data[i] == 0x7f) {
            return -GP_INVALID_ARGUMENT;
        }
    }
    memcpy(line, data, n);
    line[n] = '\0';
    memset(ret_request, 0, sizeof(*ret_request));

    return sup_request_line(line, ret_request);
}
