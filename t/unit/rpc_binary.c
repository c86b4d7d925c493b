#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/contract.h"
#include "gitpod/test/v1/every.pb-c.h"
#include "rpc/message.h"
#include "tap.h"

/* The binary half of the codec: vectors of the encoding, what both halves make of one message, and hostile bytes. */

#define ARENA_BYTES (64u << 20)

static gp_arena_t *arena;
static gp_err_t err;

#define BYTES(text) (text), sizeof(text) - 1


static Gitpod__Test__V1__Every *decode(const char *data, size_t len)
{
    ProtobufCMessage *msg = NULL;

    memset(&err, 0, sizeof(err));
    if (gp_message_from_binary(&gitpod__test__v1__every__descriptor, data, len, arena, &msg, &err) != 0) {
        return NULL;
    }

    return (Gitpod__Test__V1__Every *) (void *) msg;
}


static const char *print(const void *msg)
{
    char *json = NULL;
    size_t len;

    if (msg == NULL || gp_message_to_json((const ProtobufCMessage *) msg, arena, &json, &len, &err) != 0) {
        return err.text;
    }

    return json;
}


/* Bytes another implementation writes, and what they mean. */
static void is_decoded(const char *data, size_t len, const char *want, const char *text)
{
    is_str(print(decode(data, len)), want, text);
}


static void is_refused(const char *data, size_t len, int code, const char *want, const char *text)
{
    ok(decode(data, len) == NULL && err.code == code, "%s: refused", text);
    is_str(err.text, want, text);
}


/* JSON to struct to bytes to struct to JSON: nothing is lost. */
static void is_same(const char *json, const char *text)
{
    ProtobufCMessage *msg = NULL, *again = NULL;
    void *data = NULL;
    size_t len = 0;

    if (ok(gp_message_from_json(&gitpod__test__v1__every__descriptor, json, strlen(json), false, arena, &msg, &err) == 0 &&
               gp_message_to_binary(msg, arena, &data, &len, &err) == 0 &&
               gp_message_from_binary(&gitpod__test__v1__every__descriptor, data, len, arena, &again, &err) == 0,
           "%s: there and back", text)) {
        is_str(print(again), json, text);
    }
}


static void test_vectors(void)
{
    is_decoded(BYTES(""), "{}", "no bytes are an empty message");
    is_decoded(BYTES("\x08\x96\x01"), "{\"anInt32\":150}", "a varint");
    is_decoded(BYTES("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x10\x03"), "{\"anInt32\":-1,\"aSint32\":-2}",
               "negative numbers, both forms");
    is_decoded(BYTES("\x7a\x07testing"), "{\"text\":\"testing\"}", "a string");
    is_decoded(BYTES("\x92\x01\x06\x03\x8e\x02\x9e\xa7\x05"), "{\"numbers\":[3,270,86942]}", "a packed list");
    is_decoded(BYTES("\x90\x01\x03\x90\x01\x8e\x02"), "{\"numbers\":[3,270]}", "the same, not packed");
    is_refused(BYTES("\x8a\x01\x02\x08\x01\x8a\x01\x03\x7a\x01x"), GP_INVALID_ARGUMENT, "child: given twice", "a message in two pieces");
    is_decoded(BYTES("\xe2\x01\x02\x08\x01\xe2\x01\x02\x08\x02"), "{\"chosenChild\":{\"anInt32\":2}}",
               "a member of a oneof twice: the last counts");
    is_decoded(BYTES("\xba\x01\x06\n\x01k\x12\x01v"), "{\"labels\":{\"k\":\"v\"}}", "a map");
    is_decoded(BYTES("\xba\x01\x00"), "{\"labels\":{\"\":\"\"}}", "a map entry at its defaults");
    is_decoded(BYTES("\xd2\x01\x01x\xd8\x01\x05"), "{\"chosenNumber\":5}", "the last member of a oneof counts");
    is_decoded(BYTES("\xea\x01\x00"), "{\"maybeText\":\"\"}", "presence");
    is_decoded(BYTES("\xa2\x06\x03"
                     "xyz\x08\x01"),
               "{\"anInt32\":1}", "an unknown field is passed over");
    is_refused(BYTES("\x59\0\0\0\0\0\0\xf0\x3f"), GP_INVALID_ARGUMENT, "a_float: wire type 1, not 5: sent as another type",
               "a double where a float belongs");
}


static void test_same(void)
{
    is_same("{\"anInt32\":-5,\"aSint32\":-6,\"anSfixed32\":-7,\"anInt64\":\"-8\",\"aSint64\":\"-9\",\"anSfixed64\":\"-10\",\"aUint32\":11,"
            "\"aFixed32\":12,\"aUint64\":\"13\",\"aFixed64\":\"14\",\"aFloat\":1.5,\"aDouble\":-2.25,\"aBool\":true,\"colour\":\"COLOUR_"
            "NEGATIVE\","
            "\"text\":\"\xc3\xa9\",\"data\":\"AP8=\"}",
            "every scalar");
    is_same("{\"numbers\":[1,-2],\"texts\":[\"a\",\"\"],\"children\":[{},{\"text\":\"x\"}],\"colours\":[\"COLOUR_RED\",9],\"blobs\":[\"\","
            "\"QQ==\"],"
            "\"labels\":{\"a\":\"1\",\"b\":\"\"},\"byNumber\":{\"-7\":{\"anInt32\":1}},\"byTruth\":{\"true\":\"t\"},\"times\":[\"1970-01-"
            "01T00:00:01Z\"],"
            "\"bySize\":{\"5\":\"-1\"},\"packed\":[\"1\",\"2\"]}",
            "lists and maps");
    is_same("{\"chosenChild\":{\"chosenText\":\"\"},\"maybeText\":\"\",\"maybeNumber\":0,\"maybeBool\":false,\"maybeColour\":\"COLOUR_"
            "UNSPECIFIED\","
            "\"maybeChild\":{},\"time\":\"2024-02-29T10:00:00.250Z\",\"duration\":\"-1.500s\",\"mask\":\"aB.c\",\"nothing\":{}}",
            "presence and the well-known types");
}


static void test_garbage(void)
{
    is_refused(BYTES("\xff"), GP_INVALID_ARGUMENT, "not a protobuf message of type gitpod.test.v1.Every", "half a tag");
    is_refused(BYTES("\x08"), GP_INVALID_ARGUMENT, "not a protobuf message of type gitpod.test.v1.Every", "a tag without a value");
    is_refused(BYTES("\x7a\x05"
                     "abc"),
               GP_INVALID_ARGUMENT, "not a protobuf message of type gitpod.test.v1.Every", "a string longer than the message");
    is_refused(BYTES("\x7a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
                     "abc"),
               GP_INVALID_ARGUMENT, "not a protobuf message of type gitpod.test.v1.Every", "a string of 2^64 - 1 bytes");
    is_refused(BYTES("\x0b\x0c"), GP_INVALID_ARGUMENT, "not a protobuf message of type gitpod.test.v1.Every", "a group");
    is_refused(BYTES("\x00\x01"), GP_INVALID_ARGUMENT, "not a protobuf message of type gitpod.test.v1.Every", "field 0");
    is_refused(BYTES("\x8a\x01\x02\x7a\x05"), GP_INVALID_ARGUMENT, "child: not a protobuf message of type gitpod.test.v1.Every",
               "garbage in a child");
    is_refused(BYTES("\x7a\x02\xc3\x28"), GP_INVALID_ARGUMENT, "text: a string must be UTF-8 without NUL", "a string that is not UTF-8");
    is_refused(BYTES("\x7a\x03"
                     "a\0b"),
               GP_INVALID_ARGUMENT, "text: a string must be UTF-8 without NUL", "a NUL in a string");
    is_refused(BYTES("\x78\x05"), GP_INVALID_ARGUMENT, "text: wire type 0, not 2: sent as another type", "a number where a string belongs");
    is_refused(BYTES("\x92\x01\x01\xff"), GP_INVALID_ARGUMENT, "numbers: not protobuf: a packed list that ends within a value",
               "a cut packed list");
    is_refused(BYTES("\xba\x01\x03\n\x01\xff"), GP_INVALID_ARGUMENT, "labels.key: a string must be UTF-8 without NUL",
               "a map key that is not UTF-8");
}


/* `levels` children, each in the one before. */
static size_t nested(int levels, char *dst, size_t size)
{
    size_t at = size, len;
    int i;

    for (i = 0; i < levels; i++) {
        len = size - at;
        if (len >= 0x80) {
            dst[--at] = (char) (len >> 7);
            dst[--at] = (char) ((len & 0x7f) | 0x80);
        } else {
            dst[--at] = (char) len;
        }
        dst[--at] = 0x01;
        dst[--at] = (char) 0x8a;
    }
    len = size - at;
    memmove(dst, dst + at, len);

    return len;
}


static void test_hostile(void)
{
    char bytes[1024];
    size_t n = 1000000, i;
    char *many = malloc(2 * n);
    gp_auto_arena gp_arena_t *small = gp_arena_new(4096);
    ProtobufCMessage *msg = NULL;

    ok(decode(bytes, nested(GP_RPC_DEPTH_MAX, bytes, sizeof(bytes))) != NULL, "%d levels are fine", GP_RPC_DEPTH_MAX);
    ok(decode(bytes, nested(GP_RPC_DEPTH_MAX + 1, bytes, sizeof(bytes))) == NULL && err.code == GP_INVALID_ARGUMENT &&
           strstr(err.text, "nested deeper") != NULL,
       "one more is refused");

    for (i = 0; i < n; i++) {
        memcpy(many + 2 * i, "\x08\x01", 2);
    }
    ok(decode(many, 2 * n) == NULL && err.code == GP_RESOURCE_EXHAUSTED, "a million fields are refused");
    memset(many, 1, 2 * n);
    memcpy(many, "\x92\x01\x80\x89\x7a", 5); /* numbers, packed, 2,000,000 bytes */
    ok(decode(many, 2 * n) == NULL, "a packed list that ends too early is refused");
    ok(decode(many, 5) == NULL, "a packed list without its bytes is refused");
    free(many);

    memset(bytes, 0, sizeof(bytes));
    for (i = 0; i + 3 <= sizeof(bytes); i += 3) {
        memcpy(bytes + i, "\xa2\x01\x00", 3); /* children: {} */
    }
    ok(gp_message_from_binary(&gitpod__test__v1__every__descriptor, bytes, i, small, &msg, &err) == -GP_RESOURCE_EXHAUSTED,
       "a message that does not fit the arena is refused, not fatal");
}


/* Cut a real message at each byte and flip each of its bits: nothing but a message or an error. Best run with sanitizers. */
static void test_mutations(void)
{
    static const char json[] =
        "{\"text\":\"ab\",\"children\":[{\"labels\":{\"a\":\"1\"}},{\"numbers\":[1,2]}],\"maybeText\":\"x\",\"chosenChild\":{\"data\":"
        "\"AAEC\"},"
        "\"child\":{\"aDouble\":1.5,\"texts\":[\"a\",\"b\"]},\"time\":\"2024-02-29T10:00:00Z\",\"byNumber\":{\"3\":{\"text\":\"y\"}}}";
    ProtobufCMessage *msg = NULL;
    void *data = NULL;
    size_t len = 0, i;
    int good = 0, bad = 0;
    char *copy;

    if (!ok(gp_message_from_json(&gitpod__test__v1__every__descriptor, json, strlen(json), false, arena, &msg, &err) == 0 &&
                gp_message_to_binary(msg, arena, &data, &len, &err) == 0,
            "a message to spoil")) {
        return;
    }

    copy = malloc(len);
    for (i = 0; i < len * 8; i++) {
        memcpy(copy, data, len);
        copy[i / 8] = (char) (copy[i / 8] ^ 1 << i % 8);
        good += decode(copy, len) != NULL;
        bad += decode(copy, i / 8) == NULL;
    }
    free(copy);
    ok(good > 0 && good < (int) len * 8 && bad > 0, "some mutations are messages, some are not (%d of %zu, %d cuts refused)", good, len * 8,
       bad);
}


static void test_out(void)
{
    Gitpod__Test__V1__Every every, child;
    Gitpod__Test__V1__Every *children[] = {&child};
    char spoilt[] = "a\xff";
    void *data;
    size_t len;

    gitpod__test__v1__every__init(&every);
    gitpod__test__v1__every__init(&child);
    child.text = spoilt;
    every.children = children;
    every.n_children = 1;
    ok(gp_message_to_binary(&every.base, arena, &data, &len, &err) == -GP_INTERNAL, "no invalid UTF-8 leaves us");
    is_str(err.text, "children[0].text: not UTF-8: the service must repair what it puts here (gp_utf8_repair)",
           "and the error says where it was");
}


int main(void)
{
    arena = gp_arena_new(ARENA_BYTES);

    test_vectors();
    test_same();
    test_garbage();
    test_hostile();
    test_mutations();
    test_out();

    arena = gp_arena_free(arena);

    return tap_done();
}
