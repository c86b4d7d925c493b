#include <stdbool.h>
#include <string.h>
#include <strings.h>

#include "core/code.h"
#include "core/http_answer.h"

#define GP_STATUS_LINE_MIN 12 /* "HTTP/1.1 200" */
#define GP_LENGTH_DIGITS_MAX 9


static bool gp_digit(char ch)
{
    return ch >= '0' && ch <= '9';
}


/* The value of a header line of that name, without blanks around it; ptr NULL: another name. */
static gp_span_t gp_header_value(gp_span_t line, const char *name)
{
    gp_span_t value = {NULL, 0};
    size_t n = strlen(name);

    if (line.len > n && line.ptr[n] == ':' && strncasecmp(line.ptr, name, n) == 0) {
        value.ptr = line.ptr + n + 1;
        value.len = line.len - n - 1;
        while (value.len > 0 && (value.ptr[0] == ' ' || value.ptr[0] == '\t')) {
            value.ptr++;
            value.len--;
        }
        while (value.len > 0 && (value.ptr[value.len - 1] == ' ' || value.ptr[value.len - 1] == '\t')) {
            value.len--;
        }
    }

    return value;
}


static bool gp_header_fits(gp_span_t line, size_t body_len)
{
    gp_span_t value = gp_header_value(line, "Content-Length");
    size_t i, length = 0;

    if (value.ptr != NULL) {
        if (value.len == 0 || value.len > GP_LENGTH_DIGITS_MAX) {
            return false;
        }
        for (i = 0; i < value.len; i++) {
            if (!gp_digit(value.ptr[i])) {
                return false;
            }
            length = length * 10 + (size_t) (value.ptr[i] - '0');
        }
        return length == body_len;
    }

    return gp_header_value(line, "Transfer-Encoding").ptr == NULL;
}


int gp_http_answer_parse(const char *text, size_t len, gp_http_answer_t *ret_answer)
{
    const char *p, *end = memmem(text, len, "\r\n\r\n", 4), *eol;
    gp_span_t line, body;

    if (end == NULL || end - text < GP_STATUS_LINE_MIN || memcmp(text, "HTTP/1.", 7) != 0 || !gp_digit(text[7]) || text[8] != ' ' ||
        text[9] < '1' || text[9] > '9' || !gp_digit(text[10]) || !gp_digit(text[11]) || gp_digit(text[12])) {
        return -GP_INVALID_ARGUMENT;
    }
    body.ptr = end + 4;
    body.len = (size_t) (text + len - body.ptr);

    p = memmem(text, (size_t) (end + 2 - text), "\r\n", 2); /* there is one: the end's own */
    while (p < end) {
        line.ptr = p + 2;
        eol = memmem(line.ptr, (size_t) (end + 2 - line.ptr), "\r\n", 2);
        line.len = (size_t) (eol - line.ptr);
        if (!gp_header_fits(line, body.len)) {
            return -GP_INVALID_ARGUMENT;
        }
        p = eol;
    }
    ret_answer->status = (text[9] - '0') * 100 + (text[10] - '0') * 10 + (text[11] - '0');
    ret_answer->body = body;

    return 0;
}
