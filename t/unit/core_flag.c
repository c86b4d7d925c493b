#include <stdint.h>
#include <stdio.h>

#include "core/code.h"
#include "core/flag.h"
#include "tap.h"

#define ANNA "11111111-1111-4111-8111-111111111111"
#define BERT "22222222-2222-4222-8222-222222222222"


static bool on(const char *record, const char *user)
{
    const char *why = "";
    gp_flag_t flag;

    return gp_flag_parse(record, strlen(record), &flag, &why) == 0 && gp_flag_on(&flag, user, strlen(user));
}


static void test_names(void)
{
    static const char *const good[] = {"a", "server_readiness_probe", "a1_",
                                       "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl"};
    static const char *const bad[] = {"",    "1a",  "_a",  "A",
                                      "a-b", "a b", "a\n", "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklm"};
    size_t i;

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        ok(gp_flag_name_valid(good[i], strlen(good[i])), "a name: %s", good[i]);
    }
    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ok(!gp_flag_name_valid(bad[i], strlen(bad[i])), "no name: %zu", i);
    }
}


static void test_rules(void)
{
    static const struct {
        const char *record;
        bool nobody, anna, bert;
        const char *what;
    } cases[] = {
        {"{\"name\":\"x\",\"version\":1,\"on\":true}", true, true, true, "on is for everybody"},
        {"{\"name\":\"x\",\"version\":1,\"on\":false}", false, false, false, "off is for nobody"},
        {"{\"name\":\"x\",\"version\":1,\"on\":true,\"users\":[]}", true, true, true, "an empty list restricts nothing"},
        {"{\"name\":\"x\",\"version\":1,\"on\":true,\"users\":[\"" ANNA "\"]}", false, true, false, "a list is for those on it"},
        {"{\"name\":\"x\",\"version\":1,\"on\":false,\"users\":[\"" ANNA "\"]}", false, false, false, "off is stronger than the list"},
        {"{\"name\":\"x\",\"version\":1,\"on\":true,\"percent\":0}", false, false, false, "0 % is nobody"},
        {"{\"name\":\"x\",\"version\":1,\"on\":true,\"percent\":100}", true, true, true, "100 % is everybody"},
        {"{\"name\":\"x\",\"version\":1,\"on\":true,\"percent\":0,\"users\":[\"" BERT "\"]}", false, false, true, "0 % and a list"},
        {"{\"name\":\"x\",\"version\":1,\"on\":true,\"percent\":99}", false, true, true, "99 % of users, and not who has no name"},
        {"{\"name\":\"x\",\"version\":1,\"deleted\":true}", false, false, false, "a tombstone is not on"},
    };
    size_t i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        is_int(on(cases[i].record, ""), cases[i].nobody, cases[i].what);
        is_int(on(cases[i].record, ANNA), cases[i].anna, cases[i].what);
        is_int(on(cases[i].record, BERT), cases[i].bert, cases[i].what);
    }
}


static void test_refused(void)
{
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "true",
        "{}",
        "{\"name\":\"x\"}",
        "{\"version\":1}",
        "{\"name\":\"X\",\"version\":1,\"on\":true}",
        "{\"name\":\"x\",\"version\":0,\"on\":true}",
        "{\"name\":\"x\",\"version\":\"1\",\"on\":true}",
        "{\"name\":\"x\",\"version\":1.5,\"on\":true}",
        "{\"name\":\"x\",\"version\":1}",
        "{\"name\":\"x\",\"version\":1,\"on\":1}",
        "{\"name\":\"x\",\"version\":1,\"on\":null}",
        "{\"name\":\"x\",\"version\":1,\"on\":true,\"percent\":101}",
        "{\"name\":\"x\",\"version\":1,\"on\":true,\"percent\":-1}",
        "{\"name\":\"x\",\"version\":1,\"on\":true,\"percent\":2.5}",
        "{\"name\":\"x\",\"version\":1,\"on\":true,\"percent\":\"5\"}",
        "{\"name\":\"x\",\"version\":1,\"on\":true,\"users\":{}}",
        "{\"name\":\"x\",\"version\":1,\"on\":true,\"users\":[1]}",
        "{\"name\":\"x\",\"version\":1,\"on\":true,\"users\":[\"anna\"]}",
        "{\"name\":\"x\",\"version\":1,\"deleted\":1}",
        "{\"name\":\"x\",\"name\":\"x\",\"version\":1,\"on\":true}",
        "{\"name\":\"x\",\"version\":1,\"on\":true} x",
        "{\"name\":\"x\",\"version\":1,\"on\":true,\"users\":[\"11111111-1111-4111-8111-11111111111G\"]}",
    };
    static char users[GP_FLAG_RECORD_MAX + 64];
    const char *why = "";
    gp_flag_t flag;
    size_t i;
    int n, most;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        why = "";
        ok(gp_flag_parse(bad[i], strlen(bad[i]), &flag, &why) == -GP_INVALID_ARGUMENT && why[0] != '\0', "refused, and why: %s", bad[i]);
    }

    for (most = GP_FLAG_USERS_MAX; most <= GP_FLAG_USERS_MAX + 1; most++) {
        n = snprintf(users, sizeof(users), "{\"name\":\"x\",\"version\":1,\"on\":true,\"users\":[");
        for (i = 0; i < (size_t) most; i++) {
            n += snprintf(users + n, sizeof(users) - (size_t) n, "%s\"" ANNA "\"", i ? "," : "");
        }
        n += snprintf(users + n, sizeof(users) - (size_t) n, "]}");
        is_int(gp_flag_parse(users, (size_t) n, &flag, &why) == 0, most == GP_FLAG_USERS_MAX,
               "a list of 32 users fits, one of 33 does not");
    }
    n = snprintf(users, sizeof(users), "{\"name\":\"x\",\"version\":1,\"on\":true%*s}", GP_FLAG_RECORD_MAX, "");
    is_int(gp_flag_parse(users, (size_t) n, &flag, &why), -GP_INVALID_ARGUMENT, "more than 2,048 bytes are refused unread");
}


/* The figures of docs/contracts/redis.md; another language must come to the same. */
static void test_bucket(void)
{
    char user[40];
    int i, n = 0, both = 0;

    is_int(gp_flag_bucket("new_editor", 10, ANNA, 36), 87, "the first vector");
    is_int(gp_flag_bucket("new_editor", 10, BERT, 36), 89, "the second");
    is_int(gp_flag_bucket("dark_mode", 9, ANNA, 36), 24, "the third: another flag, another bucket");

    /* ids that differ in their last digits only are the hardest case */
    for (i = 0; i < 10000; i++) {
        (void) snprintf(user, sizeof(user), "11111111-1111-4111-8111-%012d", i);
        n += gp_flag_bucket("new_editor", 10, user, 36) < 30;
        both += gp_flag_bucket("new_editor", 10, user, 36) < 30 && gp_flag_bucket("dark_mode", 9, user, 36) < 30;
    }
    ok(n > 2800 && n < 3200, "30 %% of 10,000 users: %d", n);
    ok(both > 750 && both < 1050, "two flags of 30 %% meet in 9 %% of them: %d", both);
}


int main(void)
{
    test_names();
    test_rules();
    test_refused();
    test_bucket();

    return tap_done();
}
