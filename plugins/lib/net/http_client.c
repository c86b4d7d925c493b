#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/die.h"
#include "core/code.h"
#include "net/http_client.h"

/*
 * Each thread has one multi handle, which keeps its connections, and one easy
 * handle. The multi interface is used only because it lets us wait in slices
 * of GP_HTTP_POLL_MS and ask whether the caller still wants the answer.
 */
#define GP_HTTP_POLL_MS 100
#define GP_HTTP_RESPONSE_LIMIT 4194304 /* bytes, when the caller says nothing */
#define GP_HTTP_HEADERS_MAX 32
#define GP_HTTP_CONNECTIONS_KEPT 4L /* per thread */

typedef struct {
    CURLM *multi;
    CURL *easy;
    bool busy; /* a callback of the exchange may start another one */
} gp_http_handles_t;

typedef struct {
    const gp_http_request_t *req;
    CURL *easy;
    gp_buf_t body;
    gp_err_t *err;
    int rc; /* of on_body or of the limit */
} gp_http_exchange_t;

static pthread_once_t gp_http_once = PTHREAD_ONCE_INIT;
static pthread_key_t gp_http_key;


static void gp_http_handles_free(void *data)
{
    gp_http_handles_t *handles = data;

    curl_easy_cleanup(handles->easy);
    (void) curl_multi_cleanup(handles->multi); /* nothing to do about it */
    free(handles);
}


static gp_http_handles_t *gp_http_handles_new(void)
{
    gp_http_handles_t *handles;

    handles = calloc(1, sizeof(gp_http_handles_t));
    if (handles == NULL) {
        gp_die("out of memory: an HTTP client");
    }

    handles->multi = curl_multi_init();
    handles->easy = curl_easy_init();
    if (handles->multi == NULL || handles->easy == NULL) {
        gp_die("out of memory: an HTTP client");
    }
    (void) curl_multi_setopt(handles->multi, CURLMOPT_MAXCONNECTS, GP_HTTP_CONNECTIONS_KEPT);

    return handles;
}


static void gp_http_init(void)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK || pthread_key_create(&gp_http_key, gp_http_handles_free) != 0) {
        gp_die("cannot initialise libcurl");
    }
}


/* The thread's handles; others, when those are in use. */
static gp_http_handles_t *gp_http_handles_take(void)
{
    gp_http_handles_t *handles;

    (void) pthread_once(&gp_http_once, gp_http_init);

    handles = pthread_getspecific(gp_http_key);
    if (handles == NULL) {
        handles = gp_http_handles_new();
        if (pthread_setspecific(gp_http_key, handles) != 0) {
            gp_die("out of memory: an HTTP client");
        }
    }

    if (handles->busy) {
        handles = gp_http_handles_new();
    }
    handles->busy = true;

    return handles;
}


static void gp_http_handles_give_back(gp_http_handles_t *handles)
{
    handles->busy = false;
    if (handles != pthread_getspecific(gp_http_key)) {
        gp_http_handles_free(handles);
    }
}


/* The URL without its query, which may hold what does not belong in a message. */
static int gp_http_url_len(const char *url)
{
    return (int) strcspn(url, "?#");
}


static size_t gp_http_on_data(char *chunk, size_t size, size_t n, void *data)
{
    gp_http_exchange_t *exchange = data;
    const gp_http_request_t *req = exchange->req;
    long status = 0;

    n *= size;
    (void) curl_easy_getinfo(exchange->easy, CURLINFO_RESPONSE_CODE, &status);

    if (req->on_body != NULL && status >= 200 && status < 300) {
        exchange->rc = req->on_body(chunk, n, req->data, exchange->err);
        return exchange->rc == 0 ? n : 0;
    }

    if (gp_buf_append(&exchange->body, chunk, n) != 0) {
        exchange->rc = gp_err(exchange->err, GP_RESOURCE_EXHAUSTED, "%s %.*s: the answer is longer than %zu bytes", req->method,
                              gp_http_url_len(req->url), req->url, exchange->body.limit);
        return 0;
    }

    return n;
}


static struct curl_slist *gp_http_headers(const gp_http_request_t *req)
{
    struct curl_slist *list, *grown;
    char line[256];
    int i;

    /* no waiting for 100-continue: the peers are local and the bodies small */
    list = curl_slist_append(NULL, "Expect:");
    (void) snprintf(line, sizeof(line), "Content-Type:%s%s", req->content_type ? " " : "", req->content_type ? req->content_type : "");
    grown = list ? curl_slist_append(list, line) : NULL;

    for (i = 0; grown != NULL && req->headers != NULL && req->headers[i] != NULL; i++) {
        gp_assert(i < GP_HTTP_HEADERS_MAX);
        grown = curl_slist_append(grown, req->headers[i]);
    }
    if (grown == NULL) {
        gp_die("out of memory: request headers");
    }

    return grown;
}


static void gp_http_set_up(gp_http_exchange_t *exchange, struct curl_slist *headers)
{
    const gp_http_request_t *req = exchange->req;
    CURL *easy = exchange->easy;
    long timeout, connect_timeout;

    timeout = (long) req->timeout_ms;
    connect_timeout = (long) (req->connect_timeout_ms ? req->connect_timeout_ms : req->timeout_ms);

    /* setopt fails only for options libcurl was built without, or out of memory, which perform reports */
    curl_easy_reset(easy);
    (void) curl_easy_setopt(easy, CURLOPT_URL, req->url);
    (void) curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    (void) curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
    (void) curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    (void) curl_easy_setopt(easy, CURLOPT_PROXY, "");
    (void) curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, timeout);
    (void) curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, connect_timeout);
    (void) curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    (void) curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, gp_http_on_data);
    (void) curl_easy_setopt(easy, CURLOPT_WRITEDATA, exchange);
    if (req->unix_socket != NULL) {
        (void) curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, req->unix_socket);
    }

    if (req->body != NULL || strcmp(req->method, "POST") == 0) {
        (void) curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) req->body_len);
        (void) curl_easy_setopt(easy, CURLOPT_POSTFIELDS, req->body ? req->body : "");
    } else if (strcmp(req->method, "HEAD") == 0) {
        (void) curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    }
    (void) curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, req->method);
}


/* Runs the transfer; CURLE_ABORTED_BY_CALLBACK: the caller has cancelled. */
static CURLcode gp_http_perform(CURLM *multi, const gp_http_exchange_t *exchange)
{
    const gp_http_request_t *req = exchange->req;
    CURLMsg *msg;
    CURLMcode rc;
    CURLcode result;
    int running, left;

    if (curl_multi_add_handle(multi, exchange->easy) != CURLM_OK) {
        return CURLE_FAILED_INIT;
    }

    result = CURLE_OK;
    do {
        rc = curl_multi_perform(multi, &running);
        if (rc == CURLM_OK && running) {
            rc = curl_multi_poll(multi, NULL, 0, GP_HTTP_POLL_MS, NULL);
        }
        if (rc != CURLM_OK) {
            result = CURLE_FAILED_INIT;
        } else if (running && req->cancelled != NULL && req->cancelled(req->data)) {
            result = CURLE_ABORTED_BY_CALLBACK;
        }
    } while (running && result == CURLE_OK);

    for (msg = curl_multi_info_read(multi, &left); msg != NULL; msg = curl_multi_info_read(multi, &left)) {
        if (msg->msg == CURLMSG_DONE && msg->easy_handle == exchange->easy && result == CURLE_OK) {
            result = msg->data.result;
        }
    }
    (void) curl_multi_remove_handle(multi, exchange->easy); /* it was added above */

    return result;
}


static int gp_http_failed(const gp_http_exchange_t *exchange, CURLcode result)
{
    const gp_http_request_t *req = exchange->req;
    const char *via;
    int code, len, rc;

    if (exchange->rc != 0) {
        return exchange->rc;
    }

    len = gp_http_url_len(req->url);
    via = req->unix_socket ? req->unix_socket : "";

    switch ((int) result) { /* only these have a meaning of their own */
    case CURLE_OPERATION_TIMEDOUT:
        return gp_err(exchange->err, GP_DEADLINE_EXCEEDED, "%s %.*s: no answer within %u ms", req->method, len, req->url, req->timeout_ms);
    case CURLE_ABORTED_BY_CALLBACK:
        return gp_err(exchange->err, GP_CANCELED, "%s %.*s: given up by the caller", req->method, len, req->url);
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        code = GP_INVALID_ARGUMENT;
        break;
    case CURLE_OUT_OF_MEMORY:
        code = GP_RESOURCE_EXHAUSTED;
        break;
    default:
        code = GP_UNAVAILABLE;
    }

    rc = gp_err(exchange->err, code, "%s %.*s%s%s: %s", req->method, len, req->url, via[0] ? " on " : "", via, curl_easy_strerror(result));
    if (exchange->err != NULL && result == CURLE_COULDNT_CONNECT) {
        exchange->err->errnum = ECONNREFUSED;
    }

    return rc;
}


static int gp_http_response(const gp_http_exchange_t *exchange, gp_arena_t *arena, gp_http_response_t *ret_res)
{
    const char *type = NULL;
    long status = 0;

    if (gp_arena_left(arena) < exchange->body.len + 4096) {
        return gp_err(exchange->err, GP_RESOURCE_EXHAUSTED, "%s %.*s: the answer of %zu bytes does not fit the arena",
                      exchange->req->method, gp_http_url_len(exchange->req->url), exchange->req->url, exchange->body.len);
    }

    (void) curl_easy_getinfo(exchange->easy, CURLINFO_RESPONSE_CODE, &status);
    (void) curl_easy_getinfo(exchange->easy, CURLINFO_CONTENT_TYPE, &type);
    ret_res->status = (int) status;
    ret_res->body = gp_arena_strndup(arena, exchange->body.data, exchange->body.len);
    ret_res->body_len = exchange->body.len;
    ret_res->content_type = gp_arena_strdup(arena, type ? type : "");

    return 0;
}


int gp_http_client_do(const gp_http_request_t *req, gp_arena_t *arena, gp_http_response_t *ret_res, gp_err_t *err)
{
    gp_http_handles_t *handles;
    gp_http_exchange_t exchange;
    struct curl_slist *headers;
    CURLcode result;
    int rc;

    handles = gp_http_handles_take();
    exchange = (gp_http_exchange_t){.req = req, .easy = handles->easy, .err = err};
    gp_buf_init(&exchange.body, req->response_limit ? req->response_limit : GP_HTTP_RESPONSE_LIMIT);

    headers = gp_http_headers(req);
    gp_http_set_up(&exchange, headers);
    result = gp_http_perform(handles->multi, &exchange);

    rc = result == CURLE_OK ? gp_http_response(&exchange, arena, ret_res) : gp_http_failed(&exchange, result);
    (void) curl_easy_setopt(handles->easy, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all(headers);
    gp_buf_done(&exchange.body);
    gp_http_handles_give_back(handles);

    return rc;
}
