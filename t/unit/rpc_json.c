#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/contract.h"
#include "gitpod/test/v1/every.pb-c.h"
#include "gitpod/v1/workspace.pb-c.h"
#include "rpc/message.h"
#include "rpc/utf8.h"
#include "tap.h"

/* The JSON half of the codec: every type, presence, names, errors with paths. */

#define ARENA_BYTES (64u << 20)

static gp_arena_t *arena;
static gp_err_t err;


static Gitpod__Test__V1__Every *parse_as(const ProtobufCMessageDescriptor *descriptor, const char *json, bool ignore_unknown)
{
    ProtobufCMessage *msg = NULL;

    memset(&err, 0, sizeof(err));
    if (gp_message_from_json(descriptor, json, strlen(json), ignore_unknown, arena, &msg, &err) != 0) {
        return NULL;
    }

    return (Gitpod__Test__V1__Every *) (void *) msg;
}


static Gitpod__Test__V1__Every *parse(const char *json)
{
    return parse_as(&gitpod__test__v1__every__descriptor, json, false);
}


static const char *print(const void *msg)
{
    char *json = NULL;
    size_t len;

    memset(&err, 0, sizeof(err));
    if (gp_message_to_json((const ProtobufCMessage *) msg, arena, &json, &len, &err) != 0) {
        return err.text;
    }

    return json;
}


/* What goes in, what comes out again. */
static void is_round(const char *in, const char *want, const char *text)
{
    Gitpod__Test__V1__Every *msg = parse(in);

    is_str(msg ? print(msg) : err.text, want, text);
}


/* Refused with this code and exactly this text. */
static void is_refused(const char *in, int code, const char *want, const char *text)
{
    ok(parse(in) == NULL && err.code == code, "%s: refused", text);
    is_str(err.text, want, text);
}


static void test_numbers(void)
{
    Gitpod__Test__V1__Every *msg;

    is_round("{\"anInt32\":-2147483648,\"aUint32\":4294967295,\"aSint32\":2147483647}",
             "{\"anInt32\":-2147483648,\"aSint32\":2147483647,\"aUint32\":4294967295}", "32-bit integers keep both ends of their range");
    is_round("{\"anInt64\":\"-9223372036854775808\",\"aUint64\":\"18446744073709551615\"}",
             "{\"anInt64\":\"-9223372036854775808\",\"aUint64\":\"18446744073709551615\"}", "64-bit integers travel as strings");
    is_round("{\"anInt64\":9007199254740993,\"aFixed64\":7}", "{\"anInt64\":\"9007199254740993\",\"aFixed64\":\"7\"}",
             "64-bit integers may come as numbers, without rounding");
    is_round("{\"aDouble\":\"-0\",\"aFloat\":-0.0}", "{\"aFloat\":-0.0,\"aDouble\":-0.0}",
             "a negative zero is written so that it is read as one");
    is_round("{\"anInt32\":1e3,\"aUint32\":2.0,\"anSfixed32\":\"-5\"}", "{\"anInt32\":1000,\"anSfixed32\":-5,\"aUint32\":2}",
             "1e3, 2.0 and \"-5\" are whole numbers");
    is_round("{\"aDouble\":0.1,\"aFloat\":0.1}", "{\"aFloat\":0.1,\"aDouble\":0.1}", "doubles and floats print in their shortest form");
    is_round("{\"aDouble\":\"NaN\",\"aFloat\":\"-Infinity\"}", "{\"aFloat\":\"-Infinity\",\"aDouble\":\"NaN\"}",
             "NaN and infinities are strings");
    is_round("{\"aDouble\":\"1.5e300\"}", "{\"aDouble\":1.5e+300}", "a double may come as a string");

    is_refused("{\"anInt32\":2147483648}", GP_INVALID_ARGUMENT, "anInt32: 2147483648 is out of range: 32 bits", "2^31 in int32");
    is_refused("{\"aUint64\":\"-1\"}", GP_INVALID_ARGUMENT, "aUint64: -1 is out of range: not negative, 64 bits", "-1 in uint64");
    is_refused("{\"anInt64\":\"9223372036854775808\"}", GP_INVALID_ARGUMENT, "anInt64: 9223372036854775808 is out of range: 64 bits",
               "2^63 in int64");
    is_refused("{\"anInt32\":1.5}", GP_INVALID_ARGUMENT, "anInt32: expected a whole number of 32 bits", "1.5 in int32");
    is_refused("{\"anInt32\":\"\"}", GP_INVALID_ARGUMENT, "anInt32: expected a whole number of 32 bits", "an empty string in int32");
    is_refused("{\"anInt32\":\" 1\"}", GP_INVALID_ARGUMENT, "anInt32: expected a whole number of 32 bits", "a blank in int32");
    is_refused("{\"aUint64\":\"18446744073709551616\"}", GP_INVALID_ARGUMENT, "aUint64: expected a whole number of 64 bits",
               "2^64 in uint64");
    is_refused("{\"aFloat\":1e39}", GP_INVALID_ARGUMENT, "aFloat: out of range: a 32-bit floating point number", "1e39 in float");
    is_refused("{\"aDouble\":\"0x10\"}", GP_INVALID_ARGUMENT, "aDouble: expected a number, \"NaN\", \"Infinity\" or \"-Infinity\"",
               "hexadecimal in double");
    is_refused("{\"aBool\":1}", GP_INVALID_ARGUMENT, "aBool: expected true or false, not a whole number", "1 in bool");

    msg = parse("{\"anInt32\":\"-0\"}");
    ok(msg != NULL && msg->an_int32 == 0, "\"-0\" is 0");
}


static void test_text(void)
{
    Gitpod__Test__V1__Every *msg;

    is_round("{\"text\":\"a\\u00e9\\ud83d\\ude00\\\"\\\\\\n\\u0001\"}", "{\"text\":\"a\xc3\xa9\xf0\x9f\x98\x80\\\"\\\\\\n\\u0001\"}",
             "escapes are resolved and only the needed ones written");
    is_round("{\"data\":\"AAEC/w==\"}", "{\"data\":\"AAEC/w==\"}", "bytes are base64");
    is_round("{\"data\":\"_-8\"}", "{\"data\":\"/+8=\"}", "base64url without padding is taken");
    is_round("{\"blobs\":[\"\",\"QQ==\",\"QUI=\",\"QUJD\"]}", "{\"blobs\":[\"\",\"QQ==\",\"QUI=\",\"QUJD\"]}",
             "bytes of every length modulo 3");
    is_refused("{\"data\":\"A\"}", GP_INVALID_ARGUMENT, "data: not base64", "one character of base64");
    is_refused("{\"data\":\"A=B=\"}", GP_INVALID_ARGUMENT, "data: not base64", "padding in the middle");
    is_refused("{\"data\":5}", GP_INVALID_ARGUMENT, "data: expected a string in base64, not a whole number", "a number in bytes");
    is_refused("{\"text\":[]}", GP_INVALID_ARGUMENT, "text: expected a string, not a list", "a list in string");
    ok(parse("{\"text\":\"\xff\"}") == NULL && err.code == GP_INVALID_ARGUMENT, "bytes that are not UTF-8 are refused");
    ok(parse("{\"text\":\"a\\u0000b\"}") == NULL && err.code == GP_INVALID_ARGUMENT, "a NUL in a string is refused, not cut");
    ok(parse("{\"text\":\"\\ud800\"}") == NULL && err.code == GP_INVALID_ARGUMENT, "half a surrogate pair is refused");

    msg = parse("{}");
    ok(msg != NULL && msg->text != NULL && msg->text[0] == '\0', "an absent string is empty, not NULL");
    msg = parse("{\"text\":\"x\"}");
    if (ok(msg != NULL, "a message to spoil")) {
        msg->text = gp_arena_strdup(arena, "a\xff");
        is_str(print(msg), "text: not UTF-8: the service must repair what it puts here (gp_utf8_repair)", "no invalid UTF-8 leaves us");
        is_str(gp_utf8_repair(arena, msg->text), "a\xef\xbf\xbd", "gp_utf8_repair puts U+FFFD");
    }
    ok(!gp_utf8_valid("\xed\xa0\x80", 3) && !gp_utf8_valid("\xc0\x80", 2) && !gp_utf8_valid("\xf4\x90\x80\x80", 4) &&
           !gp_utf8_valid("\xe2\x82", 2) && gp_utf8_valid("\xf4\x8f\xbf\xbf", 4),
       "UTF-8 has no surrogates, no overlong forms, nothing above U+10FFFF, no half characters");
}


static void test_enums(void)
{
    is_round("{\"colour\":\"COLOUR_BLUE\"}", "{\"colour\":\"COLOUR_BLUE\"}", "enums are names");
    is_round("{\"colour\":5,\"colours\":[-3,\"COLOUR_RED\",77]}",
             "{\"colour\":\"COLOUR_BLUE\",\"colours\":[\"COLOUR_NEGATIVE\",\"COLOUR_RED\",77]}", "numbers are taken, unknown ones kept");
    is_refused("{\"colours\":[\"COLOUR_RED\",\"COLOUR_GREEN\"]}", GP_INVALID_ARGUMENT,
               "colours[1]: \"COLOUR_GREEN\" is not a value of gitpod.test.v1.Colour", "an unknown name");
    is_refused("{\"colour\":true}", GP_INVALID_ARGUMENT, "colour: expected the name of a value, not true", "true as enum");
}


static void test_presence(void)
{
    Gitpod__Test__V1__Every *msg;

    is_round("{\"anInt32\":0,\"text\":\"\",\"aBool\":false,\"colour\":0,\"data\":\"\",\"numbers\":[],\"labels\":{}}", "{}",
             "defaults are left out");
    is_round("{\"maybeText\":\"\",\"maybeNumber\":0,\"maybeBool\":false,\"maybeColour\":0}",
             "{\"maybeText\":\"\",\"maybeNumber\":0,\"maybeBool\":false,\"maybeColour\":\"COLOUR_UNSPECIFIED\"}",
             "optional fields at their default are written: they were given");
    is_round("{\"maybeText\":null,\"anInt32\":null,\"child\":null,\"numbers\":null,\"labels\":null,\"time\":null}", "{}", "null is absent");
    is_round("{\"child\":{},\"maybeChild\":{},\"nothing\":{}}", "{\"child\":{},\"maybeChild\":{},\"nothing\":{}}",
             "an empty message is present");
    msg = parse("{\"maybeNumber\":0}");
    ok(msg != NULL && msg->_maybe_number_case == GITPOD__TEST__V1__EVERY___MAYBE_NUMBER_MAYBE_NUMBER &&
           msg->_maybe_text_case == GITPOD__TEST__V1__EVERY___MAYBE_TEXT__NOT_SET,
       "presence is the case of the oneof");
    is_round("{\"chosenNumber\":0}", "{\"chosenNumber\":0}", "a member of a oneof has presence");
    is_round("{\"chosenNumber\":null,\"chosenText\":\"x\"}", "{\"chosenText\":\"x\"}", "null does not choose");
    is_refused("{\"chosenNumber\":1,\"chosenText\":\"x\"}", GP_INVALID_ARGUMENT,
               "chosenText: \"chosen_number\" is set too; only one of them may be", "two of a oneof");
    is_refused("{\"numbers\":[1,null]}", GP_INVALID_ARGUMENT, "numbers[1]: expected a value, not null", "null in a list");
    is_refused("{\"labels\":{\"a\":null}}", GP_INVALID_ARGUMENT, "labels[\"a\"]: expected a value, not null", "null in a map");
}


static void test_names(void)
{
    is_round("{\"an_int32\":1,\"aUint32\":2}", "{\"anInt32\":1,\"aUint32\":2}", "both forms of a name are taken");
    is_refused("{\"an_int32\":1,\"anInt32\":2}", GP_INVALID_ARGUMENT, "anInt32: given twice, as \"an_int32\" too", "both forms at once");
    ok(parse("{\"text\":\"a\",\"text\":\"b\"}") == NULL && err.code == GP_INVALID_ARGUMENT, "a key given twice is refused");
    is_refused("{\"child\":{\"colour_\":1}}", GP_INVALID_ARGUMENT, "child.colour_: gitpod.test.v1.Every has no such field",
               "an unknown field");
    is_str(print(parse_as(&gitpod__test__v1__every__descriptor, "{\"child\":{\"x\":[{\"y\":1}]},\"anInt32\":3}", true)),
           "{\"anInt32\":3,\"child\":{}}", "unknown fields can be passed over");
    is_refused("{\"children\":[{},{\"child\":{\"numbers\":[1,2,\"x\"]}}]}", GP_INVALID_ARGUMENT,
               "children[1].child.numbers[2]: expected a whole number of 32 bits", "a path through lists and messages");
}


static void test_maps(void)
{
    is_round("{\"labels\":{\"b\":\"2\",\"\":\"\"},\"byNumber\":{\"-7\":{\"anInt32\":1}},\"byTruth\":{\"true\":\"t\"},\"bySize\":{"
             "\"18446744073709551615\":\"-1\"}}",
             "{\"labels\":{\"b\":\"2\",\"\":\"\"},\"byNumber\":{\"-7\":{\"anInt32\":1}},\"byTruth\":{\"true\":\"t\"},\"bySize\":{"
             "\"18446744073709551615\":\"-1\"}}",
             "maps of every key type are objects");
    is_refused("{\"byNumber\":{\"x\":{}}}", GP_INVALID_ARGUMENT, "byNumber[\"x\"]: expected a whole number of 32 bits",
               "a key of the wrong type");
    is_refused("{\"byTruth\":{\"yes\":\"\"}}", GP_INVALID_ARGUMENT, "byTruth[\"yes\"]: expected the key \"true\" or \"false\"",
               "a key that is no bool");
    is_refused("{\"byNumber\":{\"1\":{\"text\":1}}}", GP_INVALID_ARGUMENT, "byNumber[\"1\"].text: expected a string, not a whole number",
               "a path through a map");
    is_refused("{\"labels\":[]}", GP_INVALID_ARGUMENT, "labels: expected an object, not a list", "a list in a map");
}


static void test_known(void)
{
    Gitpod__Test__V1__Every *msg;

    is_round("{\"time\":\"1970-01-01T00:00:00Z\"}", "{\"time\":\"1970-01-01T00:00:00Z\"}", "the epoch");
    is_round("{\"time\":\"2024-02-29T12:00:00.25+02:00\"}", "{\"time\":\"2024-02-29T10:00:00.250Z\"}", "offset and fraction");
    is_round("{\"time\":\"0001-01-01T00:00:00Z\"}", "{\"time\":\"0001-01-01T00:00:00Z\"}", "the first second there is");
    is_round("{\"time\":\"9999-12-31T23:59:59.999999999Z\"}", "{\"time\":\"9999-12-31T23:59:59.999999999Z\"}",
             "the last nanosecond there is");
    is_round("{\"time\":\"1969-12-31t23:59:59.000001z\"}", "{\"time\":\"1969-12-31T23:59:59.000001Z\"}", "before the epoch, lower case");
    is_refused("{\"time\":\"2023-02-29T00:00:00Z\"}", GP_INVALID_ARGUMENT, "time: expected a time like \"2026-01-31T09:30:00Z\" (RFC 3339)",
               "29 February of 2023");
    is_refused("{\"time\":\"2024-01-01T00:00:00\"}", GP_INVALID_ARGUMENT, "time: expected a time like \"2026-01-31T09:30:00Z\" (RFC 3339)",
               "no zone");
    is_refused("{\"time\":\"0001-01-01T00:00:00+01:00\"}", GP_INVALID_ARGUMENT, "time: the time must lie in the years 1 to 9999 (UTC)",
               "before year 1");
    is_refused("{\"times\":[\"1970-01-01T00:00:00Z\",7]}", GP_INVALID_ARGUMENT, "times[1]: expected a string, not a whole number",
               "a number for a time");

    is_round("{\"duration\":\"1.5s\"}", "{\"duration\":\"1.500s\"}", "1.5 s");
    is_round("{\"duration\":\"-0.000000001s\"}", "{\"duration\":\"-0.000000001s\"}", "less than nothing by a nanosecond");
    is_round("{\"duration\":\"1800s\"}", "{\"duration\":\"1800s\"}", "half an hour");
    is_refused("{\"duration\":\"30m\"}", GP_INVALID_ARGUMENT, "duration: expected a duration in seconds like \"90s\" or \"1.5s\"",
               "minutes");
    is_refused("{\"duration\":\"315576000001s\"}", GP_INVALID_ARGUMENT, "duration: the duration is longer than 10,000 years", "too long");

    is_round("{\"mask\":\"displayName,child.anInt32\"}", "{\"mask\":\"displayName,child.anInt32\"}", "a field mask");
    msg = parse("{\"mask\":\"displayName,child.anInt\"}");
    ok(msg != NULL && msg->mask->n_paths == 2 && strcmp(msg->mask->paths[0], "display_name") == 0 &&
           strcmp(msg->mask->paths[1], "child.an_int") == 0,
       "a mask holds the names of the proto");
    is_round("{\"mask\":\"\"}", "{\"mask\":\"\"}", "an empty mask is present");
    is_refused("{\"mask\":\"display_name\"}", GP_INVALID_ARGUMENT, "mask: expected names of fields in lowerCamelCase, separated by commas",
               "snake case in a mask");
}


/* levels of "child" around {} */
static char *nested(int levels)
{
    char *json = gp_arena_alloc(arena, (size_t) levels * 10 + 3), *p = json;
    int i;

    for (i = 0; i < levels; i++, p += 9) {
        memcpy(p, "{\"child\":", 9);
    }
    memcpy(p, "{}", 2);
    memset(p + 2, '}', (size_t) levels);

    return json;
}


static void test_hostile(void)
{
    size_t n = 1000000, i;
    char *json = malloc(2 * n + 64);
    ProtobufCMessage *msg = NULL;
    gp_auto_arena gp_arena_t *small = gp_arena_new(4096);

    ok(parse(nested(GP_RPC_DEPTH_MAX)) != NULL, "%d levels are fine", GP_RPC_DEPTH_MAX);
    ok(parse(nested(GP_RPC_DEPTH_MAX + 1)) == NULL && err.code == GP_INVALID_ARGUMENT && strstr(err.text, "nested deeper") != NULL,
       "one more is refused");
    ok(parse(nested(2 * GP_RPC_DEPTH_MAX + 1)) == NULL && strstr(err.text, "JSON is nested") != NULL,
       "twice as many are refused before they are read");

    memset(json, '[', n);
    json[n] = '\0';
    ok(parse(json) == NULL && err.code == GP_INVALID_ARGUMENT, "a million brackets are refused");

    strncpy(json, "{\"numbers\":[1", 2 * n);
    for (i = 13; i < 2 * n; i += 2) {
        memcpy(json + i, ",1", 2);
    }
    memcpy(json + i, "]}", 3);
    ok(parse(json) == NULL && err.code == GP_RESOURCE_EXHAUSTED, "a million values are refused");

    memcpy(json, "{\"text\":\"", 9);
    memset(json + 9, 'x', 8000);
    memcpy(json + 8009, "\"}", 3);
    ok(gp_message_from_json(&gitpod__test__v1__every__descriptor, json, strlen(json), false, small, &msg, &err) == -GP_RESOURCE_EXHAUSTED,
       "a message that does not fit the arena is refused, not fatal");
    free(json);

    is_refused("", GP_INVALID_ARGUMENT, "the JSON body is empty; an empty message is {}", "nothing");
    is_refused("[]", GP_INVALID_ARGUMENT, "expected an object, not a list", "a list");
    is_refused("\"x\"", GP_INVALID_ARGUMENT, "expected an object, not a string", "a string");
    ok(parse("{} x") == NULL && err.code == GP_INVALID_ARGUMENT, "bytes after the message are refused");
    ok(parse("{\"text\":") == NULL && strstr(err.text, "not JSON, line 1") != NULL, "half a message says where it ends");
}


static void test_api(void)
{
    const char *json = "{\"contextUrl\":{\"url\":\"https://example.org/x/"
                       "y\",\"workspaceClass\":\"default\",\"editor\":{\"name\":\"code\",\"version\":\"latest\"}}}";

    is_str(print(parse_as(&gitpod__v1__create_and_start_workspace_request__descriptor, json, false)), json, "a request of the public API");
    ok(parse_as(&gitpod__v1__create_and_start_workspace_request__descriptor, "{\"contextUrl\":{\"url\":5}}", true) == NULL &&
           strcmp(err.text, "contextUrl.url: expected a string, not a whole number") == 0,
       "its errors name the field");
    is_str(print(parse_as(&gitpod__v1__update_workspace_request__update_workspace_metadata__descriptor, "{\"pinned\":false}", false)),
           "{\"pinned\":false}", "an update that unpins says so");
}


int main(void)
{
    arena = gp_arena_new(ARENA_BYTES);

    test_numbers();
    test_text();
    test_enums();
    test_presence();
    test_names();
    test_maps();
    test_known();
    test_hostile();
    test_api();

    arena = gp_arena_free(arena);

    return tap_done();
}
