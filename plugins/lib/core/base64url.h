#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * base64url of RFC 4648 5, without padding (RFC 7515). Decoding is strict: no
 * '=', no white space, no length of 4n + 1, unused bits must be zero, so that
 * one value has one text.
 */
#define GP_BASE64URL_LEN(n) (((n) *4 + 2) / 3) /* characters for n bytes */
#define GP_BASE64URL_DECODED_MAX(n) ((n) *3 / 4) /* bytes n characters can hold */

/* Writes GP_BASE64URL_LEN(len) characters to dst, no NUL; returns that number. */
size_t gp_base64url_encode(const uint8_t *src, size_t len, char *dst);

/* Writes at most GP_BASE64URL_DECODED_MAX(len) bytes. 0, or -GP_INVALID_ARGUMENT. */
int gp_base64url_decode(const char *src, size_t len, uint8_t *dst, size_t *ret_len);
