#include <stdio.h>
#include <string.h>

#include <gitpod/internal/v1/content.pb-c.h>

#include "progress.h"

#define CNT_STEP(name) GITPOD__INTERNAL__V1__INITIALIZE_WORKSPACE_RESPONSE__STEP__STEP_##name

static const struct {
    const char *prefix;
    int step;
    const char *text;
} cnt_progress_kinds[] = {
    {"Receiving objects:", CNT_STEP(RECEIVING), "Receiving objects"},
    {"Unpacking objects:", CNT_STEP(RECEIVING), "Unpacking objects"},
    {"Resolving deltas:", CNT_STEP(RESOLVING), "Resolving deltas"},
    {"Updating files:", CNT_STEP(CHECKING_OUT), "Writing files"},
    {"Filtering content:", CNT_STEP(CHECKING_OUT), "Writing files"},
    {"remote: Enumerating objects:", CNT_STEP(CONNECTING), "The server lists objects"},
    {"remote: Counting objects:", CNT_STEP(CONNECTING), "The server counts objects"},
    {"remote: Compressing objects:", CNT_STEP(CONNECTING), "The server compresses objects"},
};


/* The number before '%', or -1. */
static int cnt_progress_percent(const char *text)
{
    int n = 0, digits = 0;

    text += strspn(text, " ");
    for (; *text >= '0' && *text <= '9' && digits < 4; text++, digits++) {
        n = n * 10 + (*text - '0');
    }

    return digits > 0 && *text == '%' && n <= 100 ? n : -1;
}


/* "1.20 MiB" of "  43% (430/1000), 1.20 MiB | 2.00 MiB/s"; length 0: not said. */
static size_t cnt_progress_size(const char *text, const char **ret_size)
{
    const char *p = strstr(text, "), ");
    size_t n;

    if (!p) {
        return 0;
    }
    p += 3;
    n = strcspn(p, "|,");
    while (n > 0 && p[n - 1] == ' ') {
        n--;
    }
    *ret_size = p;

    return n > 3 && n < 24 && p[n - 1] == 'B' ? n : n > 5 && n < 24 && memcmp(p + n - 5, "bytes", 5) == 0 ? n : 0;
}


int cnt_progress_parse(const char *line, size_t len, cnt_progress_t *ret_progress)
{
    char text[256];
    const char *rest, *size = "";
    size_t i, n, m;

    if (len >= sizeof(text)) {
        return 0;
    }
    for (i = 0; i < len; i++) {
        text[i] = (unsigned char) line[i] >= ' ' && (unsigned char) line[i] < 0x7f ? line[i] : '?';
    }
    text[len] = '\0';
    for (i = 0; i < sizeof(cnt_progress_kinds) / sizeof(cnt_progress_kinds[0]); i++) {
        n = strlen(cnt_progress_kinds[i].prefix);
        if (strncmp(text, cnt_progress_kinds[i].prefix, n) != 0) {
            continue;
        }
        rest = text + n;
        ret_progress->step = cnt_progress_kinds[i].step;
        ret_progress->percent = cnt_progress_percent(rest);
        m = cnt_progress_size(rest, &size);
        if (ret_progress->percent < 0) {
            (void) snprintf(ret_progress->detail, sizeof(ret_progress->detail), "%s", cnt_progress_kinds[i].text);
        } else if (m > 0) {
            (void) snprintf(ret_progress->detail, sizeof(ret_progress->detail), "%s: %d %% (%.*s)", cnt_progress_kinds[i].text,
                            ret_progress->percent, (int) m, size);
        } else {
            (void) snprintf(ret_progress->detail, sizeof(ret_progress->detail), "%s: %d %%", cnt_progress_kinds[i].text,
                            ret_progress->percent);
        }
        return 1;
    }

    return 0;
}
