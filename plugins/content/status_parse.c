#include <string.h>

#include "status.h"


static void cnt_status_add(const char *name, const char **list, size_t *n, size_t *total)
{
    if (*n < CNT_STATUS_FILES_MAX) {
        list[(*n)++] = name;
    }
    (*total)++;
}


/* "XY name\0"; a rename or copy is followed by "old name\0". */
void cnt_status_parse(const char *text, size_t len, cnt_status_t *ret_status)
{
    const char *p = text, *end = text + len, *next;

    memset(ret_status, 0, sizeof(*ret_status));
    while (p < end) {
        next = memchr(p, '\0', (size_t) (end - p));
        if (!next) {
            return;
        }
        if (next - p > 3 && p[2] == ' ') {
            if (p[0] == '?') {
                cnt_status_add(p + 3, ret_status->untracked, &ret_status->n_untracked, &ret_status->total_untracked);
            } else if (p[0] != '!') {
                cnt_status_add(p + 3, ret_status->uncommitted, &ret_status->n_uncommitted, &ret_status->total_uncommitted);
            }
            if (p[0] == 'R' || p[0] == 'C') {
                next = next + 1 < end ? memchr(next + 1, '\0', (size_t) (end - next - 1)) : NULL;
                if (!next) {
                    return;
                }
            }
        }
        p = next + 1;
    }
}
