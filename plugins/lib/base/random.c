#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/random.h"
#include "base/die.h"
#include "core/id.h"


void gp_random_bytes(void *dst, size_t len)
{
    unsigned char *p = dst;
    ssize_t n;

    while (len > 0) {
        n = getrandom(p, len, 0);
        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            gp_die("getrandom: %s", strerror(errno));
        }
        p += n;
        len -= (size_t) n;
    }
}


void gp_random_uuid(char ret_text[GP_INSTANCE_ID_LEN + 1])
{
    uint8_t bytes[16];

    gp_random_bytes(bytes, sizeof(bytes));
    gp_id_uuid_format(bytes, ret_text);
}


void gp_random_text(const char *alphabet, char *dst, size_t len)
{
    unsigned char bytes[64];
    size_t n, limit, have, i;

    n = strlen(alphabet);
    gp_assert(n > 0 && n <= 256);
    limit = 256 - 256 % n; /* bytes above it would favour the first letters */

    have = 0;
    while (have < len) {
        gp_random_bytes(bytes, sizeof(bytes));
        for (i = 0; i < sizeof(bytes) && have < len; i++) {
            if (bytes[i] < limit) {
                dst[have++] = alphabet[bytes[i] % n];
            }
        }
    }
    dst[len] = '\0';
}
