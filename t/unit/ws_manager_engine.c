#include <jansson.h>
#include <string.h>

#include "base/json.h"
#include "engine_docker.h"
#include "tap.h"

/* The words of the Docker API: what a container is asked to be, and what is read of one. */

static const wsm_engine_conf_t conf = {
    .socket = "/s", .installation = "i1", .network = "net", .bridge = "gp-i1", .subnet = "10.1.0.0/20", .gateway = "10.1.0.1"};

static const char *at(json_t *doc, const char *a, const char *b, int i)
{
    json_t *value = json_object_get(json_object_get(doc, a), b);

    return json_string_value(json_is_array(value) ? json_array_get(value, (size_t) i) : value);
}

static void test_create(gp_arena_t *arena)
{
    wsm_container_spec_t spec = {.name = "gitpod-x",
                                 .hostname = "w",
                                 .image = "img",
                                 .command = "/.supervisor/supervisor",
                                 .workspace = "w",
                                 .instance = "x",
                                 .owner = "o",
                                 .env = {"A=\"quoted\" \\ and \n more", NULL},
                                 .mounts = {{"/a", "/workspace", "rw,nosuid,nodev"}, {"/b", "/ide", "ro"}},
                                 .n_mounts = 2,
                                 .host_name = "gitpod.test",
                                 .uid_base = 4160749568u,
                                 .memory_bytes = 1 << 30,
                                 .cpus = 2,
                                 .pids = 100};
    gp_auto_json json_t *doc = json_loads(wsm_docker_container_json(&conf, &spec, arena), 0, NULL);
    json_t *host = json_object_get(doc, "HostConfig");

    ok(doc != NULL, "the creation is JSON");
    is_str(json_string_value(json_array_get(json_object_get(doc, "Env"), 0)), spec.env[0], "an environment value goes through as it is");
    is_str(at(doc, "HostConfig", "UsernsMode", 0), "auto:uidmapping=0:4160749568:65536,gidmapping=0:4160749568:65536,size=65536",
           "the whole uid range of the workspace, and no other");
    is_str(at(doc, "HostConfig", "Binds", 0), "/a:/workspace:rw,nosuid,nodev", "the work is nosuid, nodev");
    is_str(at(doc, "HostConfig", "Binds", 1), "/b:/ide:ro", "the editor is read-only");
    is_str(at(doc, "HostConfig", "CapDrop", 0), "ALL", "all capabilities go");
    is_int((long long) json_array_size(json_object_get(host, "CapAdd")), 10, "ten come back");
    is_str(at(doc, "HostConfig", "NetworkMode", 0), "net", "it is on our network");
    is_str(at(doc, "HostConfig", "ExtraHosts", 0), "gitpod.test:10.1.0.1", "the main domain is the gateway of the bridge");
    is_int(json_integer_value(json_object_get(host, "NanoCpus")), 2000000000, "its CPUs are limited");
    is_int(json_integer_value(json_object_get(host, "MemorySwap")), 1 << 30, "its memory too, swap included");
    is_int(json_integer_value(json_object_get(host, "PidsLimit")), 100, "and its processes");
    ok(!json_is_true(json_object_get(host, "Privileged")), "it is not privileged");
    is_str(at(doc, "Labels", "gitpod.installation", 0), "i1", "it is labelled as ours");
}

static void test_read(gp_arena_t *arena)
{
    gp_auto_json json_t *doc =
        json_loads("{\"Id\":\"abc\",\"State\":{\"Running\":true,\"Pid\":42,\"ExitCode\":0},\"Config\":{\"Labels\":{\"gitpod.workspace\":"
                   "\"w\",\"gitpod.instance\":\"x\"}},\"NetworkSettings\":{\"Networks\":{\"net\":{\"IPAddress\":\"10.1.0.9\"}}}}",
                   0, NULL);
    gp_auto_json json_t *ended =
        json_loads("{\"Id\":\"abc\",\"State\":{\"Running\":false,\"Pid\":42,\"ExitCode\":137,\"OOMKilled\":true},\"NetworkSettings\":"
                   "{\"Networks\":{\"net\":{\"IPAddress\":\"10.1.0.9\"}}}}",
                   0, NULL);
    gp_auto_json json_t *odd = json_loads("{\"Id\":7,\"State\":\"running\",\"Labels\":[],\"NetworkSettings\":null}", 0, NULL);
    wsm_container_t c;

    wsm_docker_read_inspect(&conf, doc, arena, &c);
    ok(c.running && c.pid == 42, "a running container is told");
    is_str(c.address, "10.1.0.9", "with its address on our network");
    is_str(c.instance, "x", "and its instance");
    wsm_docker_read_inspect(&conf, ended, arena, &c);
    ok(!c.running && c.oom_killed && c.exit_code == 137 && c.pid == 0, "an ended one with the reason");
    is_str(c.address, "", "and without an address");
    is_str(c.workspace, "", "no labels are no workspace");
    wsm_docker_read_summary(&conf, odd, arena, &c);
    ok(c.running && !*c.id && !*c.instance && !*c.address, "odd values are empty ones");
}

int main(void)
{
    gp_arena_t *arena = gp_arena_new(1u << 20);

    test_create(arena);
    test_read(arena);
    (void) gp_arena_free(arena);
    return tap_done();
}
