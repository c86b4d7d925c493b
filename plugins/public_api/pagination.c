#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "public_api.h"

/* A page token is base64 of {"offset":N}: opaque to clients, and nothing but that text is taken. */

#define PUB_TOKEN_JSON_MAX 32 /* bytes of the JSON text */
#define PUB_TOKEN_MAX 48 /* bytes of the token and its NUL */
#define PUB_TOKEN_PREFIX "{\"offset\":"


static void pub_page_token(int32_t offset, char ret_token[PUB_TOKEN_MAX])
{
    char json[PUB_TOKEN_JSON_MAX];
    int len = snprintf(json, sizeof(json), PUB_TOKEN_PREFIX "%d}", offset);

    (void) EVP_EncodeBlock((unsigned char *) ret_token, (const unsigned char *) json, len); /* 4 characters for 3 bytes: at most 44 */
}


static int pub_page_offset(const char *token, int32_t *ret_offset, gp_err_t *err)
{
    char json[PUB_TOKEN_MAX] = "", again[PUB_TOKEN_MAX];
    size_t len = strlen(token);
    long offset = -1;

    if (len < PUB_TOKEN_MAX && len % 4 == 0 && EVP_DecodeBlock((unsigned char *) json, (const unsigned char *) token, (int) len) >= 0 &&
        strncmp(json, PUB_TOKEN_PREFIX, sizeof(PUB_TOKEN_PREFIX) - 1) == 0) {
        offset = strtol(json + sizeof(PUB_TOKEN_PREFIX) - 1, NULL, 10);
    }
    if (offset >= 0 && offset <= PUB_OFFSET_MAX) {
        pub_page_token((int32_t) offset, again);
        if (strcmp(again, token) == 0) {
            *ret_offset = (int32_t) offset;
            return 0;
        }
    }

    return gp_err(err, GP_INVALID_ARGUMENT, "pagination.token: not a token of this API; take next_token of the page before, or none");
}


int pub_page_read(const Gitpod__V1__PaginationRequest *req, int32_t *ret_offset, int32_t *ret_limit, gp_err_t *err)
{
    int32_t offset = 0, limit = PUB_PAGE_DEFAULT;
    int rc;

    if (req != NULL && req->page_size < 0) {
        return gp_err(err, GP_INVALID_ARGUMENT, "pagination.page_size: must not be negative");
    }
    if (req != NULL && req->page_size > 0) {
        limit = req->page_size < PUB_PAGE_MAX ? req->page_size : PUB_PAGE_MAX;
    }
    if (req != NULL && req->token[0] != '\0') {
        rc = pub_page_offset(req->token, &offset, err);
        if (rc < 0) {
            return rc;
        }
    } else if (req != NULL && req->page > 1) {
        if (req->page - 1 > PUB_OFFSET_MAX / limit) {
            return gp_err(err, GP_INVALID_ARGUMENT, "pagination.page: %d is beyond what there can be", req->page);
        }
        offset = (req->page - 1) * limit;
    }
    *ret_offset = offset;
    *ret_limit = limit;

    return 0;
}


Gitpod__V1__PaginationResponse *pub_page_next(gp_arena_t *arena, int32_t offset, int32_t n, int32_t total)
{
    Gitpod__V1__PaginationResponse *page = GP_MESSAGE_NEW(arena, Gitpod__V1__PaginationResponse, gitpod__v1__pagination_response__init);

    page->total = total;
    if (n > 0 && total - offset > n) {
        page->next_token = gp_arena_alloc(arena, PUB_TOKEN_MAX);
        pub_page_token(offset + n, page->next_token);
    }

    return page;
}
