/*
 * A lookup in the real table: ngx_gitpod_table.c and ngx_gitpod_route.c as the
 * module has them, fed with the text of N routes, read in an order that no cache
 * likes. Built and run by routes.pl; prints nanoseconds and bytes. read_ns is
 * what this machine takes for one read at a random place of as much shared
 * memory that depends on the one before: a lookup that no cache helps has one
 * of them, the record.
 *
 * What the two files want of nginx's binary stands here; ngx_murmur_hash2() is
 * nginx's algorithm, since the lookup pays for it.
 */
#include "ngx_gitpod_zone.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#define ROUNDS_N 15
#define HOT_N 1000 /* workspaces that people are in at the moment */

volatile ngx_time_t *ngx_cached_time;
ngx_pid_t ngx_pid;

uint32_t ngx_murmur_hash2(u_char *data, size_t len)
{
    uint32_t h = 0 ^ (uint32_t) len, k;

    for (; len >= 4; data += 4, len -= 4) {
        k = data[0] | (uint32_t) data[1] << 8 | (uint32_t) data[2] << 16 | (uint32_t) data[3] << 24;
        k *= 0x5bd1e995;
        k ^= k >> 24;
        k *= 0x5bd1e995;
        h *= 0x5bd1e995;
        h ^= k;
    }
    switch (len) {
    case 3:
        h ^= (uint32_t) data[2] << 16; /* fall through */
    case 2:
        h ^= (uint32_t) data[1] << 8; /* fall through */
    case 1:
        h ^= data[0];
        h *= 0x5bd1e995;
    }
    h ^= h >> 13;
    h *= 0x5bd1e995;
    return h ^ h >> 15;
}

ngx_int_t ngx_hextoi(u_char *line, size_t n)
{
    char text[17] = "";

    memcpy(text, line, n < 16 ? n : 16);
    return (ngx_int_t) strtol(text, NULL, 16);
}

in_addr_t ngx_inet_addr(u_char *text, size_t len)
{
    struct in_addr addr;
    char copy[64] = "";

    memcpy(copy, text, len < 63 ? len : 63);
    return inet_pton(AF_INET, copy, &addr) == 1 ? addr.s_addr : INADDR_NONE;
}

ngx_int_t ngx_inet6_addr(u_char *p, size_t len, u_char *addr)
{
    return NGX_ERROR;
}
ngx_int_t ngx_cidr_match(struct sockaddr *sa, ngx_array_t *cidrs)
{
    return NGX_OK;
}
void ngx_shmtx_lock(ngx_shmtx_t *mtx) {}
void ngx_shmtx_unlock(ngx_shmtx_t *mtx) {}
void ngx_gitpod_count(ngx_gitpod_zone_t *zone, ngx_gitpod_counter_e counter) {}

void ngx_log_error_core(ngx_uint_t level, ngx_log_t *log, ngx_err_t err, const char *fmt, ...)
{
    fprintf(stderr, "%s\n", fmt);
    exit(1);
}

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts); /* a busy machine is no slow table */
    return (double) ts.tv_sec * 1e9 + (double) ts.tv_nsec;
}

static size_t id_of(u_char *id, unsigned n)
{
    return (size_t) snprintf((char *) id, 52, "acme-site-%08x", n * 2654435761u);
}

static void fill(ngx_gitpod_zone_t *zone, unsigned n, ngx_log_t *log)
{
    ngx_array_t cidrs = {0};
    char text[2048];
    u_char id[52];
    ngx_str_t str;

    for (unsigned i = 0; i < n; i++) {
        id_of(id, i);
        str.len = (size_t) snprintf(
            text, sizeof(text),
            "{\"version\":1,\"id\":\"%s\",\"phase\":\"running\",\"address\":\"10.%u.%u.%u\",\"admission\":\"owner\","
            "\"owner\":\"11111111-1111-4111-8111-%012x\",\"instance\":\"22222222-2222-4222-8222-%012x\",\"owner_token_sha256\":"
            "\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\",\"ports\":[{\"port\":3000,\"visibility\":\"public\"}]}",
            (char *) id, i >> 16 & 255, i >> 8 & 255, i & 255, i, i);
        str.data = (u_char *) text;
        if (ngx_gitpod_route_feed(zone, NULL, &str, &cidrs, log) != NGX_OK) {
            exit(1);
        }
    }
}

/* A walk through all records of a like piece of memory in random order. */
static double read_one(const unsigned *order, unsigned n, size_t record)
{
    u_char *memory = mmap(NULL, n * record, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    double best = 1e18, from, took;
    volatile unsigned at = order[0];

    if (memory == MAP_FAILED) {
        exit(1);
    }
    for (unsigned i = 0; i < n; i++) {
        memcpy(memory + order[i] * record, &order[(i + 1) % n], sizeof(unsigned));
    }
    for (int round = 0; round < ROUNDS_N; round++) {
        from = now();
        for (unsigned i = 0, next; i < n; i++) {
            memcpy(&next, memory + at * record, sizeof(next));
            at = next;
        }
        took = (now() - from) / n;
        best = took < best ? took : best;
    }
    (void) munmap(memory, n * record);
    return best;
}

int main(int argc, char **argv)
{
    unsigned n = argc > 1 ? (unsigned) atoi(argv[1]) : 100000, *order = malloc(n * sizeof(*order));
    static ngx_gitpod_zone_t zone;
    static ngx_slab_pool_t pool;
    static ngx_time_t clock_s;
    ngx_log_t log = {0};
    size_t size = ngx_gitpod_table_size(n, GP_WORKSPACE_ID_MAX, sizeof(ngx_gitpod_route_record_t), NGX_GITPOD_ROUTE_HEAD);
    u_char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    u_char *ids = malloc((size_t) n * 64);
    double best = 1e18, missed = 1e18, hot = 1e18, empty = 1e18;
    volatile uint64_t sum = 0;

    if (!order || !ids || memory == MAP_FAILED) {
        return 1;
    }
    ngx_cached_time = &clock_s;
    log.log_level = NGX_LOG_ERR;
    zone.shpool = &pool;
    ngx_gitpod_table_init(&zone.routes, memory, n, GP_WORKSPACE_ID_MAX, sizeof(ngx_gitpod_route_record_t), NGX_GITPOD_ROUTE_HEAD);
    fill(&zone, n, &log);
    for (unsigned i = 0; i < n; i++) {
        order[i] = i;
    }
    for (unsigned i = n - 1; i > 0; i--) {
        unsigned j = (unsigned) (random() % (i + 1)), swap = order[i];

        order[i] = order[j];
        order[j] = swap;
    }
    for (unsigned i = 0; i < n; i++) {
        id_of(ids + (size_t) i * 64, order[i]);
    }
    for (int round = 0; round < ROUNDS_N; round++) {
        ngx_gitpod_route_t route;
        ngx_str_t id;
        double from = now(), took;

        for (unsigned i = 0; i < n; i++) { /* what the loop itself costs */
            id.data = ids + (size_t) i * 64;
            id.len = strlen((char *) id.data);
            sum += id.data[id.len - 1];
        }
        took = (now() - from) / n;
        empty = took < empty ? took : empty;

        from = now();
        for (unsigned i = 0; i < n; i++) {
            id.data = ids + (size_t) i * 64;
            id.len = strlen((char *) id.data);
            if (ngx_gitpod_route_get(&zone, &id, &route) != NGX_OK) {
                return 1;
            }
            sum += route.owner[35];
        }
        took = (now() - from) / n;
        best = took < best ? took : best;

        from = now();
        for (unsigned i = 0; i < n; i++) {
            id.data = ids + (size_t) (i % HOT_N) * 64;
            id.len = strlen((char *) id.data);
            if (ngx_gitpod_route_get(&zone, &id, &route) != NGX_OK) {
                return 1;
            }
            sum += route.owner[35];
        }
        took = (now() - from) / n;
        hot = took < hot ? took : hot;

        from = now();
        for (unsigned i = 0; i < n; i++) {
            id.data = ids + (size_t) i * 64;
            id.len = strlen((char *) id.data) - 1; /* nobody's */
            if (ngx_gitpod_route_get(&zone, &id, &route) == NGX_OK) {
                return 1;
            }
        }
        took = (now() - from) / n;
        missed = took < missed ? took : missed;
    }
    printf("hot_ns=%.0f cold_ns=%.0f miss_ns=%.0f read_ns=%.0f bytes=%.0f\n", hot - empty, best - empty, missed - empty,
           read_one(order, n, (size_t) zone.routes.groups_n * NGX_GITPOD_TABLE_GROUP * zone.routes.head_size / n & ~(size_t) 7),
           (double) size / n);
    return 0;
}
