#include <string.h>

#include "core/hash.h"

/* The key: "gitpod limits v1" as two little-endian words. */
#define GP_HASH_KEY_0 UINT64_C(0x6c20646f70746967)
#define GP_HASH_KEY_1 UINT64_C(0x3176207374696d69)

typedef struct {
    uint64_t v[4];
} gp_hash_t;


static uint64_t gp_rotate(uint64_t x, unsigned bits)
{
    return (x << bits) | (x >> (64 - bits));
}


static void gp_hash_round(gp_hash_t *h, int n)
{
    uint64_t *v = h->v;

    while (n-- > 0) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = gp_rotate(v[1], 13) ^ v[0];
        v[3] = gp_rotate(v[3], 16) ^ v[2];
        v[0] = gp_rotate(v[0], 32);
        v[2] += v[1];
        v[0] += v[3];
        v[1] = gp_rotate(v[1], 17) ^ v[2];
        v[3] = gp_rotate(v[3], 21) ^ v[0];
        v[2] = gp_rotate(v[2], 32);
    }
}


static void gp_hash_word(gp_hash_t *h, uint64_t word)
{
    h->v[3] ^= word;
    gp_hash_round(h, 2);
    h->v[0] ^= word;
}


uint64_t gp_hash64(const void *data, size_t len, uint64_t salt)
{
    const uint8_t *p = data;
    gp_hash_t h;
    uint64_t word;
    size_t left;

    h.v[0] = GP_HASH_KEY_0 ^ UINT64_C(0x736f6d6570736575);
    h.v[1] = GP_HASH_KEY_1 ^ UINT64_C(0x646f72616e646f6d);
    h.v[2] = GP_HASH_KEY_0 ^ UINT64_C(0x6c7967656e657261);
    h.v[3] = GP_HASH_KEY_1 ^ UINT64_C(0x7465646279746573);

    gp_hash_word(&h, salt);
    for (left = len; left >= sizeof(word); left -= sizeof(word), p += sizeof(word)) {
        memcpy(&word, p, sizeof(word));
        gp_hash_word(&h, word);
    }

    word = 0;
    if (left > 0) {
        memcpy(&word, p, left);
    }
    gp_hash_word(&h, word | (uint64_t) (len + sizeof(salt)) << 56);

    h.v[2] ^= 0xff;
    gp_hash_round(&h, 4);

    return h.v[0] ^ h.v[1] ^ h.v[2] ^ h.v[3];
}
