#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/code.h"
#include "core/contract.h"
#include "store.h"
#include "tap.h"

/* What is kept of workspaces: a row each, the last instance, one uid range that nobody else has. */

static gp_err_t err;

static wsm_workspace_t workspace(const char *id, const char *key)
{
    wsm_workspace_t ws = {.id = id,
                          .owner = "11111111-1111-4111-8111-111111111111",
                          .name = "n",
                          .context_url = "",
                          .git_uri = "http://git.test/a/b.git",
                          .git_target = "",
                          .git_location = "b",
                          .class_id = "default",
                          .editor = "",
                          .editor_version = "",
                          .warnings = "[]",
                          .git_user_name = "",
                          .git_user_email = "",
                          .owner_token = "t",
                          .request_key = key,
                          .created_ms = 1,
                          .version = 7,
                          .commit = "",
                          .branch = "",
                          .ports = "{}",
                          .instance = "",
                          .container = "",
                          .address = "",
                          .instance_editor = "",
                          .failed = "",
                          .timeout = ""};

    return ws;
}

static void test_slots(gp_db_t *db, gp_arena_t *arena)
{
    wsm_workspace_t a = workspace("aa-aa-00000000", "k"), b = workspace("bb-bb-00000000", ""), c = workspace("cc-cc-00000000", ""), got;

    ok(wsm_store_insert(db, &a, 3, &err) == 0 && a.uid_slot == 0, "the first workspace has the first uid range");
    ok(wsm_store_insert(db, &b, 3, &err) == 0 && b.uid_slot == 1, "the second has the next");
    ok(wsm_store_insert(db, &c, 3, &err) == 0 && c.uid_slot == 2, "the third too");
    b.deleted = WSM_DELETING;
    is_int(wsm_store_save(db, &b, &err), 0, "a workspace that is being deleted is saved");
    wsm_workspace_t d = workspace("dd-dd-00000000", "");
    is_int(wsm_store_insert(db, &d, 3, &err), -GP_RESOURCE_EXHAUSTED, "it keeps its uid range until its content is gone");
    ok(strstr(err.text, "delete one") != NULL, "the limit says the way out");
    b.deleted = WSM_DELETED;
    b.uid_slot = -1;
    is_int(wsm_store_save(db, &b, &err), 0, "a deleted workspace is saved");
    ok(wsm_store_insert(db, &d, 3, &err) == 0 && d.uid_slot == 1, "its uid range is free");
    ok(wsm_store_get(db, "bb-bb-00000000", arena, &got, &err) == 0 && got.deleted == WSM_DELETED && got.uid_slot == -1,
       "its tombstone stays");
    is_int(wsm_store_purge(db, "bb-bb-00000000", &err), 0, "a tombstone can be taken away");
    is_int(wsm_store_get(db, "bb-bb-00000000", arena, &got, &err), -GP_NOT_FOUND, "then it is not there");
}

static void test_request_key(gp_db_t *db, gp_arena_t *arena)
{
    wsm_workspace_t again = workspace("ee-ee-00000000", "k"), got;

    is_int(wsm_store_insert(db, &again, 9, &err), -GP_ALREADY_EXISTS, "one owner's request key makes one workspace");
    ok(wsm_store_find_request(db, again.owner, "k", arena, &got, &err) == 0 && strcmp(got.id, "aa-aa-00000000") == 0,
       "which is found by it");
    ok(wsm_store_find_request(db, again.owner, "other", arena, &got, &err) > 0, "another key finds nothing");
    got.request_key = "";
    ok(wsm_store_save(db, &got, &err) == 0 && wsm_store_insert(db, &again, 9, &err) == 0, "a key that was given up can be used again");
}

static void listener(wsm_workspace_t *ws, int port, int number)
{
    ws->listeners.items[ws->listeners.n++] = (wsm_listener_t){.port = port, .number = number};
    ws->new_listeners = true;
}

static void test_listeners(gp_db_t *db, gp_arena_t *arena)
{
    wsm_workspace_t a, b, got;
    wsm_listener_t item;
    const char *id = NULL;
    int number = 0;

    ok(wsm_store_get(db, "aa-aa-00000000", arena, &a, &err) == 0 && wsm_store_get(db, "dd-dd-00000000", arena, &b, &err) == 0 &&
           a.listeners.n == 0,
       "a workspace begins without listeners");
    ok(wsm_store_free_listener(db, 10000, 10002, &number, &err) == 0 && number == 10000, "the first of the range is free");
    listener(&a, 0, 10000);
    listener(&a, 3000, 10001);
    ok(wsm_store_save(db, &a, &err) == 0 && wsm_store_get(db, a.id, arena, &got, &err) == 0 && got.listeners.n == 2 &&
           wsm_listeners_find(&got.listeners, 0) == 10000 && wsm_listeners_find(&got.listeners, 3000) == 10001,
       "listeners are kept");
    got.new_listeners = false;
    got.listeners.n = 0;
    ok(wsm_store_save(db, &got, &err) == 0 && wsm_store_get(db, a.id, arena, &got, &err) == 0 && got.listeners.n == 2,
       "other changes leave them alone");
    listener(&b, 0, 10001);
    b.name = "changed";
    is_int(wsm_store_save(db, &b, &err), -GP_ABORTED, "two workspaces never have one listener");
    ok(wsm_store_get(db, b.id, arena, &got, &err) == 0 && got.listeners.n == 0 && strcmp(got.name, "n") == 0,
       "and nothing else of such a change is kept");
    b.listeners.n = 0;
    listener(&b, 0, 10002);
    is_int(wsm_store_save(db, &b, &err), 0, "the third of the range");
    ok(wsm_store_free_listener(db, 10000, 10002, &number, &err) == 0 && number == 0, "then none is free");
    ok(wsm_store_idle_listener(db, 10000, 10002, b.id, arena, &id, &item, &err) == 0 && strcmp(id, a.id) == 0 && item.port == 3000 &&
           item.number == 10001,
       "a stopped workspace gives one, of a port before its editor's");
    ok(wsm_store_idle_listener(db, 10002, 10002, b.id, arena, &id, &item, &err) > 0, "not the one that asks, and none of another range");
    ok(wsm_store_count_ports(db, 10000, 10002, &number, &err) == 0 && number == 0, "ports of stopped workspaces do not count");
    a.instance = "11111111-aaaa-4111-8111-111111111111";
    a.phase = WSM_PHASE_RUNNING;
    a.new_instance = true;
    ok(wsm_store_save(db, &a, &err) == 0 && wsm_store_count_ports(db, 10000, 10002, &number, &err) == 0 && number == 1,
       "those of running ones do, their editors do not");
    ok(wsm_store_idle_listener(db, 10000, 10002, b.id, arena, &id, &item, &err) > 0, "nor does one that runs give any");
    a.phase = WSM_PHASE_STOPPED;
    a.new_instance = false;
    wsm_listeners_remove(&a.listeners, 3000);
    wsm_listeners_remove(&a.listeners, 4000);
    is_int(a.listeners.n, 1, "a port is taken out");
    ok(wsm_store_save(db, &a, &err) == 0 && wsm_store_free_listener(db, 10000, 10003, &number, &err) == 0 && number == 10003,
       "one that was never used is taken before one that was");
    ok(wsm_store_free_listener(db, 10000, 10002, &number, &err) == 0 && number == 10001, "else the one that is free longest");
    listener(&b, 3000, 10001);
    is_int(wsm_store_save(db, &b, &err), 0, "it becomes another's");
    is_int(wsm_store_purge(db, b.id, &err), 0, "who is forgotten");
    ok(wsm_store_free_listener(db, 10002, 10002, &number, &err) == 0 && number == 10002, "gives all of them back");
    ok(wsm_store_insert(db, &b, 9, &err) == 0, "and can come again");
}

static void test_instances(gp_db_t *db, gp_arena_t *arena)
{
    wsm_workspace_t ws, got;
    char id[40];

    is_int(wsm_store_get(db, "cc-cc-00000000", arena, &ws, &err), 0, "a workspace is loaded");
    is_str(ws.instance, "", "that was never started");
    is_int((long long) ws.version, 7, "with its version");
    for (int i = 0; i < 30; i++) {
        (void) snprintf(id, sizeof(id), "instance-%d", i);
        ws.instance = id;
        ws.new_instance = true;
        ws.phase = WSM_PHASE_PREPARING;
        ws.started_ms = i + 1;
        ws.version++;
        if (wsm_store_save(db, &ws, &err) != 0) {
            ok(0, "instance %d is saved: %s", i, err.text);
        }
    }
    ws.new_instance = false;
    ws.phase = WSM_PHASE_RUNNING;
    ws.address = "10.0.0.2";
    ws.failed = "it's \"so\"";
    is_int(wsm_store_save(db, &ws, &err), 0, "an instance changes");
    ok(wsm_store_get(db, "cc-cc-00000000", arena, &got, &err) == 0 && got.phase == WSM_PHASE_RUNNING, "its phase is kept");
    is_str(got.instance, "instance-29", "the last instance is current");
    is_str(got.address, "10.0.0.2", "its address is kept");
    is_str(got.failed, "it's \"so\"", "a failure's text is kept as it is");
    is_int((long long) got.version, 37, "the version too");
}

int main(void)
{
    char dir[] = "/tmp/gp-wsm-store-XXXXXX", path[64];
    gp_arena_t *arena = gp_arena_new(16u << 20);
    gp_db_t *db = NULL;
    wsm_workspace_list_t list;
    int n = 0;

    if (!mkdtemp(dir)) {
        return 1;
    }
    (void) snprintf(path, sizeof(path), "%s/db", dir);
    is_int(wsm_store_open(path, &db, &err), 0, "the database opens");
    test_slots(db, arena);
    test_request_key(db, arena);
    test_listeners(db, arena);
    test_instances(db, arena);
    db = gp_db_close(db);
    is_int(wsm_store_open(path, &db, &err), 0, "and opens again");
    ok(wsm_store_list(db, false, arena, &list, &err) == 0 && list.n == 4, "with all workspaces");
    ok(wsm_store_list(db, true, arena, &list, &err) == 0 && list.n == 1 && strcmp(list.items[0].id, "cc-cc-00000000") == 0,
       "one of them is active");
    ok(wsm_store_count_stopped(db, &n, &err) == 0 && n == 3, "three are not");
    (void) gp_db_close(db);
    (void) gp_arena_free(arena);
    for (const char *const *s = (const char *const[]){"", "-wal", "-shm", NULL}; *s; s++) {
        (void) snprintf(path, sizeof(path), "%s/db%s", dir, *s);
        (void) unlink(path);
    }
    (void) rmdir(dir);
    return tap_done();
}
