#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GP_SHA256_LEN 32
#define GP_SHA256_HEX_LEN 64

/* 0, or -GP_INTERNAL when OpenSSL fails. Fit for nginx workers. */
int gp_sha256(const void *data, size_t len, uint8_t ret_digest[GP_SHA256_LEN]) __attribute__((warn_unused_result));

/* Lower-case hex, NUL-terminated. */
int gp_sha256_hex(const void *data, size_t len, char ret_hex[GP_SHA256_HEX_LEN + 1]) __attribute__((warn_unused_result));

int gp_hmac_sha256(const void *key, size_t key_len, const void *data, size_t len, uint8_t ret_mac[GP_SHA256_LEN])
    __attribute__((warn_unused_result));

/* Time depends on len only. */
bool gp_equal_constant_time(const void *a, const void *b, size_t len);

/* As above with lengths, which are not secret. */
bool gp_equal_secret(const void *a, size_t a_len, const void *b, size_t b_len);

/* len bytes of OpenSSL's generator. 0, or -GP_INTERNAL. */
int gp_jose_random_bytes(void *buf, size_t len) __attribute__((warn_unused_result));

/* n characters of [0-9A-Za-z], evenly distributed, NUL-terminated: buf has n + 1 bytes. */
int gp_jose_random_alnum(char *buf, size_t n) __attribute__((warn_unused_result));
