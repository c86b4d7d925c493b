#pragma once

#include <stddef.h>

#include "core/contract.h"

/* From the kernel (getrandom); aborts when it has none. */
void gp_random_bytes(void *dst, size_t len);

/* A new version 4 UUID, NUL-terminated. */
void gp_random_uuid(char ret_text[GP_INSTANCE_ID_LEN + 1]);

/* len characters drawn without bias from alphabet (at most 256 characters), and a NUL: dst holds len + 1. */
void gp_random_text(const char *alphabet, char *dst, size_t len);

#define GP_ALPHABET_ALNUM "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define GP_ALPHABET_ID "0123456789abcdefghijklmnopqrstuvwxyz"
#define GP_ALPHABET_OWNER_TOKEN GP_ALPHABET_ALNUM "_.-"
