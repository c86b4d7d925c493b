#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "netlink.h"

#define NETLINK_BUFFER 65536
#define NETLINK_TIMEOUT_S 2
#define NETLINK_MESSAGES_MAX 256
#define FNV_OFFSET 14695981039346656037ull
#define FNV_PRIME 1099511628211ull

typedef struct {
    struct nlmsghdr head;
    char body[256];
} netlink_request_t;

static int netlink_open(int protocol, gp_err_t *err)
{
    struct timeval timeout = {.tv_sec = NETLINK_TIMEOUT_S};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);

    if (fd < 0) {
        return gp_err_errno(err, errno, "Cannot talk to the kernel's network (netlink)");
    }
    (void) setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    return fd;
}

static void *netlink_put(netlink_request_t *req, const void *data, size_t len)
{
    size_t at = NLMSG_ALIGN(req->head.nlmsg_len);
    char *dst = (char *) req + at;

    memcpy(dst, data, len);
    req->head.nlmsg_len = (uint32_t) (at + len);
    return dst;
}

static void *netlink_attribute(netlink_request_t *req, uint16_t type, const void *data, size_t len)
{
    struct nlattr attr = {.nla_len = (uint16_t) (sizeof(struct nlattr) + len), .nla_type = type};
    void *at = netlink_put(req, &attr, sizeof(attr));

    (void) netlink_put(req, data, len);
    return at;
}

/* One request, one acknowledgement. 0, or the kernel's errno. */
static int netlink_talk(netlink_request_t *req, gp_err_t *err)
{
    union {
        struct nlmsghdr head;
        char bytes[4096];
    } answer;

    gp_auto_fd int fd = netlink_open(NETLINK_ROUTE, err);
    if (fd < 0) {
        return fd;
    }
    req->head.nlmsg_len = NLMSG_ALIGN(req->head.nlmsg_len);
    if (send(fd, req, req->head.nlmsg_len, 0) < 0) {
        return errno;
    }
    ssize_t n = recv(fd, &answer, sizeof(answer), 0);
    if (n < (ssize_t) NLMSG_LENGTH(sizeof(struct nlmsgerr)) || answer.head.nlmsg_type != NLMSG_ERROR) {
        return n < 0 ? errno : EPROTO;
    }
    return -((const struct nlmsgerr *) NLMSG_DATA(&answer.head))->error;
}

/* The length of a nested attribute that began at `at`, now that its content is there. */
static void netlink_nest_end(netlink_request_t *req, void *at)
{
    uint16_t len = (uint16_t) ((size_t) NLMSG_ALIGN(req->head.nlmsg_len) - (size_t) ((char *) at - (char *) req));

    req->head.nlmsg_len = NLMSG_ALIGN(req->head.nlmsg_len);
    memcpy(at, &len, sizeof(len));
}

int wsm_netlink_isolate_port(const char *port, gp_err_t *err)
{
    netlink_request_t req = {.head = {.nlmsg_len = NLMSG_HDRLEN, .nlmsg_type = RTM_SETLINK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK}};
    struct ifinfomsg info = {.ifi_family = PF_BRIDGE, .ifi_index = (int) if_nametoindex(port)};
    uint8_t on = 1;
    int rc;

    if (info.ifi_index == 0) {
        return 0; /* gone with its container */
    }
    (void) netlink_put(&req, &info, sizeof(info));
    void *nested = netlink_attribute(&req, IFLA_PROTINFO | NLA_F_NESTED, "", 0);
    (void) netlink_attribute(&req, IFLA_BRPORT_ISOLATED, &on, sizeof(on));
    netlink_nest_end(&req, nested);
    rc = netlink_talk(&req, err);
    if (rc > 0 && rc != ENODEV) {
        return gp_err_errno(err, rc, "Cannot isolate the bridge port %s (ws_manager needs CAP_NET_ADMIN)", port);
    }
    return rc < 0 ? rc : 0;
}

static int bridge_link(const char *name, const uint8_t mac[6], gp_err_t *err)
{
    netlink_request_t req = {
        .head = {.nlmsg_len = NLMSG_HDRLEN, .nlmsg_type = RTM_NEWLINK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE}};
    struct ifinfomsg info = {.ifi_index = (int) if_nametoindex(name), .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    int rc;

    (void) netlink_put(&req, &info, sizeof(info));
    (void) netlink_attribute(&req, IFLA_IFNAME, name, strlen(name) + 1);
    (void) netlink_attribute(&req, IFLA_ADDRESS, mac, 6);
    if (info.ifi_index == 0) {
        void *nested = netlink_attribute(&req, IFLA_LINKINFO | NLA_F_NESTED, "", 0);
        (void) netlink_attribute(&req, IFLA_INFO_KIND, "bridge", sizeof("bridge"));
        netlink_nest_end(&req, nested);
    }
    rc = netlink_talk(&req, err);
    return rc > 0 ? gp_err_errno(err, rc, "Cannot make the bridge %s (ws_manager needs CAP_NET_ADMIN)", name) : rc;
}

int wsm_netlink_bridge(const char *name, const uint8_t mac[6], uint32_t address, int prefix, gp_err_t *err)
{
    netlink_request_t req = {.head = {.nlmsg_len = NLMSG_HDRLEN,
                                      .nlmsg_type = RTM_NEWADDR,
                                      .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE}};
    struct ifaddrmsg info = {.ifa_family = AF_INET, .ifa_prefixlen = (uint8_t) prefix};
    uint32_t broadcast = address | htonl((uint32_t) (0xffffffffu >> prefix));
    int rc = bridge_link(name, mac, err);

    if (rc < 0) {
        return rc;
    }
    info.ifa_index = if_nametoindex(name);
    (void) netlink_put(&req, &info, sizeof(info));
    (void) netlink_attribute(&req, IFA_LOCAL, &address, sizeof(address));
    (void) netlink_attribute(&req, IFA_ADDRESS, &address, sizeof(address));
    (void) netlink_attribute(&req, IFA_BROADCAST, &broadcast, sizeof(broadcast));
    rc = netlink_talk(&req, err);
    return rc > 0 ? gp_err_errno(err, rc, "Cannot give the bridge %s its address", name) : rc;
}

static uint64_t digest_add(uint64_t digest, const void *data, size_t len)
{
    const unsigned char *p = data;

    for (size_t i = 0; i < len; i++) {
        digest = (digest ^ p[i]) * FNV_PRIME;
    }
    return digest;
}

/* 1: the dump is complete. */
static int rules_read(const char *buffer, size_t len, uint64_t *digest, int *n, gp_err_t *err)
{
    while (len >= NLMSG_HDRLEN) {
        struct nlmsghdr head;

        memcpy(&head, buffer, sizeof(head));
        if (head.nlmsg_len < NLMSG_HDRLEN || head.nlmsg_len > len) {
            return gp_err(err, GP_INTERNAL, "The kernel's list of firewall rules is cut");
        }
        if (head.nlmsg_type == NLMSG_DONE) {
            return 1;
        }
        if (head.nlmsg_type == NLMSG_ERROR) {
            int error = 0;
            memcpy(&error, buffer + NLMSG_HDRLEN, sizeof(error));
            return error == -ENOENT || error == 0
                       ? 1
                       : gp_err_errno(err, -error, "Cannot read firewall rules (ws_manager needs CAP_NET_ADMIN)");
        }
        size_t skip = NLMSG_HDRLEN + sizeof(struct nfgenmsg); /* nfgenmsg carries a generation that changes with others' rules */
        if (head.nlmsg_len > skip) {
            *digest = digest_add(*digest, buffer + skip, head.nlmsg_len - skip);
            (*n)++;
        }
        size_t step = NLMSG_ALIGN(head.nlmsg_len);
        buffer += step < len ? step : len;
        len -= step < len ? step : len;
    }
    return 0;
}

int wsm_netlink_rules(const char *table, uint64_t *ret_digest, int *ret_n, gp_err_t *err)
{
    netlink_request_t req = {.head = {.nlmsg_len = NLMSG_HDRLEN,
                                      .nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETRULE,
                                      .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP}};
    struct nfgenmsg gen = {.nfgen_family = NFPROTO_INET, .version = NFNETLINK_V0};
    static _Thread_local char buffer[NETLINK_BUFFER];
    uint64_t digest = FNV_OFFSET;
    int n = 0;

    gp_auto_fd int fd = netlink_open(NETLINK_NETFILTER, err);
    if (fd < 0) {
        return fd;
    }
    (void) netlink_put(&req, &gen, sizeof(gen));
    (void) netlink_attribute(&req, NFTA_RULE_TABLE, table, strlen(table) + 1);
    req.head.nlmsg_len = NLMSG_ALIGN(req.head.nlmsg_len);
    if (send(fd, &req, req.head.nlmsg_len, 0) < 0) {
        return gp_err_errno(err, errno, "Cannot read firewall rules");
    }
    for (int i = 0; i < NETLINK_MESSAGES_MAX; i++) {
        ssize_t got = recv(fd, buffer, sizeof(buffer), 0);
        int rc;

        if (got < 0) {
            return gp_err_errno(err, errno, "Cannot read firewall rules");
        }
        rc = rules_read(buffer, (size_t) got, &digest, &n, err);
        if (rc != 0) {
            *ret_digest = digest;
            *ret_n = n;
            return rc < 0 ? rc : 0;
        }
    }
    return gp_err(err, GP_INTERNAL, "The kernel's list of firewall rules does not end");
}
