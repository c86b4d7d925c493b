#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "netlink.h"
#include "network.h"

#define NETWORK_RULES_MAX 4096
#define NETWORK_NFT_TEXT_MAX 300
#define NETWORK_PORTS_MAX 4096
#define NETWORK_PREFIX_MIN 16
#define NETWORK_PREFIX_MAX 24

extern char **environ;

static void bridge_mac(const char *bridge, uint8_t ret[6])
{
    uint32_t hash = 2166136261u;

    for (; *bridge; bridge++) {
        hash = (hash ^ (uint8_t) *bridge) * 16777619u;
    }
    ret[0] = 0x02; /* locally administered */
    ret[1] = 0x67;
    memcpy(ret + 2, &hash, sizeof(hash));
}

int wsm_network_init(wsm_network_t *net, const char *table, const char *bridge, const char *subnet, int port, gp_err_t *err)
{
    char text[64];
    struct in_addr addr;
    char *slash, *end = NULL;
    long prefix;

    memset(net, 0, sizeof(*net));
    (void) snprintf(text, sizeof(text), "%s", subnet);
    slash = strchr(text, '/');
    if (slash) {
        *slash = '\0';
    }
    prefix = slash ? strtol(slash + 1, &end, 10) : 0;
    if (!slash || *end != '\0' || prefix < NETWORK_PREFIX_MIN || prefix > NETWORK_PREFIX_MAX || inet_pton(AF_INET, text, &addr) != 1) {
        return gp_err(err, GP_INVALID_ARGUMENT, "--subnet %s is not an IPv4 range of /%d to /%d; for example 10.88.0.0/20", subnet,
                      NETWORK_PREFIX_MIN, NETWORK_PREFIX_MAX);
    }
    addr.s_addr = htonl((ntohl(addr.s_addr) & (uint32_t) (0xffffffffu << (32 - prefix))) + 1);
    (void) inet_ntop(AF_INET, &addr, net->gateway, sizeof(net->gateway));
    net->address = addr.s_addr;
    net->prefix = (int) prefix;
    bridge_mac(bridge, net->mac);
    net->table = table;
    net->bridge = bridge;
    net->subnet = subnet;
    net->port = port;
    (void) pthread_mutex_init(&net->lock, NULL);
    return 0;
}

/* One transaction: the old table goes and the new one comes. */
static int network_rules(const wsm_network_t *net, char *text, size_t size)
{
    const char *t = net->table, *b = net->bridge, *g = net->gateway;

    return snprintf(text, size,
                    "table inet %s { }\n"
                    "delete table inet %s\n"
                    "table inet %s {\n"
                    " chain input {\n"
                    "  type filter hook input priority -10; policy accept;\n"
                    "  iifname != \"%s\" accept\n"
                    "  ct state established,related accept\n"
                    "  ip daddr %s udp dport 53 accept\n"
                    "  ip daddr %s tcp dport { 53, %d%s } accept\n"
                    "  drop\n"
                    " }\n"
                    " chain forward {\n"
                    "  type filter hook forward priority -10; policy accept;\n"
                    "  oifname \"%s\" ct state established,related iifname != \"gp-*\" accept\n"
                    "  oifname \"%s\" drop\n" /* the gateway alone begins: not other machines that route through this one */
                    "  iifname != \"%s\" accept\n"
                    "  ip daddr 169.254.0.0/16 drop\n"
                    "  oifname \"gp-*\" drop\n"
                    "  ip saddr != %s drop\n"
                    "  meta nfproto ipv6 drop\n"
                    " }\n"
                    "}\n",
                    t, t, t, b, g, g, net->port, net->listeners, b, b, b, net->subnet);
}

static int nft_wait(pid_t pid, int from, gp_err_t *err)
{
    char text[NETWORK_NFT_TEXT_MAX + 1];
    size_t n = 0;
    ssize_t got;
    int status = 0;

    while (n < NETWORK_NFT_TEXT_MAX && (got = read(from, text + n, NETWORK_NFT_TEXT_MAX - n)) > 0) {
        n += (size_t) got;
    }
    text[n] = '\0';
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        return gp_err(err, GP_FAILED_PRECONDITION, "nft refused the firewall rules of workspaces: %s", n ? text : "no reason given");
    }
    return 0;
}

static int nft_apply(const char *rules, size_t len, gp_err_t *err)
{
    char arg0[] = "nft", arg1[] = "-f", arg2[] = "-";
    char *argv[] = {arg0, arg1, arg2, NULL};
    int in[2] = {-1, -1}, out[2] = {-1, -1};
    posix_spawn_file_actions_t actions;
    pid_t pid = 0;

    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0) {
        return gp_err_errno(err, errno, "Cannot start nft");
    }
    gp_auto_fd int in_read = in[0], in_write = in[1], out_read = out[0], out_write = out[1];
    (void) posix_spawn_file_actions_init(&actions);
    (void) posix_spawn_file_actions_adddup2(&actions, in_read, 0);
    (void) posix_spawn_file_actions_adddup2(&actions, out_write, 1);
    (void) posix_spawn_file_actions_adddup2(&actions, out_write, 2);
    int rc = posix_spawnp(&pid, "nft", &actions, NULL, argv, environ);
    (void) posix_spawn_file_actions_destroy(&actions);
    if (rc != 0) {
        return gp_err_errno(err, rc, "Cannot start nft (install the package nftables)");
    }
    gp_close_fd(&in_read);
    gp_close_fd(&out_write);
    if (write(in_write, rules, len) != (ssize_t) len) { /* less than a pipe's buffer: all or an error nft will tell */
        gp_log(GP_LOG_WARN, "nft did not take its rules", NULL);
    }
    gp_close_fd(&in_write);
    return nft_wait(pid, out_read, err);
}

static int network_apply(wsm_network_t *net, gp_err_t *err)
{
    char rules[NETWORK_RULES_MAX];
    int len = network_rules(net, rules, sizeof(rules));
    uint64_t digest = 0;
    int n = 0, rc;

    if (len < 0 || (size_t) len >= sizeof(rules)) {
        return gp_err(err, GP_INTERNAL, "The firewall rules are longer than %d bytes", NETWORK_RULES_MAX);
    }
    rc = nft_apply(rules, (size_t) len, err);
    if (rc == 0) {
        rc = wsm_netlink_rules(net->table, &digest, &n, err);
    }
    if (rc < 0) {
        return rc;
    }
    if (n == 0) {
        return gp_err(err, GP_INTERNAL, "The kernel shows no rule in table inet %s after nft applied them", net->table);
    }
    net->digest = digest;
    net->n_rules = n;
    return 0;
}

int wsm_network_secure(wsm_network_t *net, gp_err_t *err)
{
    uint64_t digest = 0;
    int n = 0, rc;

    (void) pthread_mutex_lock(&net->lock);
    rc = wsm_netlink_rules(net->table, &digest, &n, err);
    if (rc == 0 && (net->n_rules == 0 || n != net->n_rules || digest != net->digest)) {
        if (net->n_rules != 0) {
            gp_log(GP_LOG_WARN, "somebody changed our firewall rules; they are put back", "table", net->table, NULL);
        }
        rc = network_apply(net, err);
    }
    (void) pthread_mutex_unlock(&net->lock);
    return rc;
}

/* addr_assign_type 3: set on purpose, so it stays. */
static bool bridge_is_ours(const char *bridge)
{
    char path[128], value = 0;

    (void) snprintf(path, sizeof(path), "/sys/class/net/%s/addr_assign_type", bridge);
    gp_auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 && read(fd, &value, 1) == 1 && value == '3';
}

int wsm_network_bridge(wsm_network_t *net, gp_err_t *err)
{
    int rc = 0;

    (void) pthread_mutex_lock(&net->lock);
    if (!bridge_is_ours(net->bridge)) {
        rc = wsm_netlink_bridge(net->bridge, net->mac, net->address, net->prefix, err);
    }
    (void) pthread_mutex_unlock(&net->lock);
    return rc;
}

static int port_is_isolated(const char *bridge, const char *port)
{
    char path[128], value = '0';

    (void) snprintf(path, sizeof(path), "/sys/class/net/%s/brif/%s/isolated", bridge, port);
    gp_auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? 1 : 0;
    }
    return read(fd, &value, 1) == 1 && value == '1';
}

int wsm_network_isolate(wsm_network_t *net, int *ret_n, gp_err_t *err)
{
    char path[128];
    const struct dirent *entry;
    int n = 0;

    (void) snprintf(path, sizeof(path), "/sys/class/net/%s/brif", net->bridge);
    gp_auto_dir DIR *dir = opendir(path);
    while (dir && n < NETWORK_PORTS_MAX && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.') {
            continue;
        }
        n++;
        if (port_is_isolated(net->bridge, entry->d_name)) {
            continue;
        }
        int rc = wsm_netlink_isolate_port(entry->d_name, err);
        if (rc < 0) {
            return rc;
        }
        if (!port_is_isolated(net->bridge, entry->d_name)) {
            return gp_err(err, GP_INTERNAL, "The bridge port %s of %s stays open to other workspaces", entry->d_name, net->bridge);
        }
    }
    if (ret_n) {
        *ret_n = n;
    }
    return 0;
}
