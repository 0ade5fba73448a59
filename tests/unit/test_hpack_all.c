/* CGRPC_METADATA_ALL 1: every field that a user may see keeps its text, the
 * name included.
 *
 *   cc -std=c99 -I. tests/unit/test_hpack_all.c -o test_hpack_all
 */
#define CGRPC_IMPLEMENTATION
#define CGRPC_NANOPB 0
#define CGRPC_METADATA_ALL 1
#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wunused-function"
#endif
#include "cgrpc.h"

#include <stdlib.h>
#include "hpack_walk.h"
#include "test.h"

static cgrpc_vocabulary vocabulary;
static cgrpc_hpack_decoder decoder;
static cgrpc_arena arena;
static uint8_t memory[512], store[512];
static unsigned seen; /* flags of all fields */

static void on_field(uint8_t name, uint32_t value, unsigned flags)
{
    (void)name, (void)value;
    seen |= flags;
}

static void begin(size_t arena_cap, size_t store_cap)
{
    static const char *const keys[] = { "x-token", "cookie" };
    CHECK(cg_vocabulary_init(&vocabulary, keys, 2));
    memset(memory, 0xA5, sizeof(memory));
    cg_hpack_init(&decoder, &vocabulary, store, store_cap);
    arena.base = memory;
    arena.cap = (uint16_t)arena_cap;
}

static int digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c - 'a' + 10;
}

static void decode(const char *text, size_t step)
{
    uint8_t wire[512];
    size_t len = 0, at;
    for (; *text != 0; ++text) {
        if (*text == ' ') continue;
        if (*text == '\'') {
            for (++text; *text != '\''; ++text) wire[len++] = (uint8_t)*text;
        } else {
            wire[len++] = (uint8_t)(digit(text[0]) * 16 + digit(text[1]));
            ++text;
        }
    }
    seen = 0;
    arena.len = 0;
    cg_hpack_begin(&decoder, &arena, CG_IN_INITIAL);
    for (at = 0; at < len; at += step)
        CHECK(hpack_walk(&decoder, wire + at, cg_min(step, len - at),
                         on_field));
    CHECK(cg_hpack_end(&decoder));
}

/* All that a user sees, as `key=value;` */
static void check_user(const char *expected)
{
    char text[512] = "";
    size_t at = 0;
    cgrpc_metadata m;
    while (cg_metadata_next(&arena, &vocabulary, CG_IN_INITIAL, &at, &m)) {
        CHECK(((const char *)m.value)[m.len] == 0);
        sprintf(text + strlen(text), "%s=%s;", m.key,
                (const char *)m.value);
    }
    if (strcmp(text, expected) != 0)
        printf("  saw      %s\n  expected %s\n", text, expected);
    CHECK(strcmp(text, expected) == 0);
}

/* Two blocks, at every split point; what the second leaves. */
static void check_two(const char *first, const char *second,
                      const char *expected)
{
    size_t step;
    for (step = 1; step < 100 && test_failures == 0; ++step) {
        begin(sizeof(memory), sizeof(store));
        decode(first, step);
        decode(second, step);
        check_user(expected);
    }
}

TEST(metadata_all__keeps_names_nobody_registered)
{
    check_two("", "00 05'other' 01'a' 00 07'x-token' 01'b' 0f1101'c'",
              "other=a;x-token=b;cookie=c;");
}

TEST(metadata_all__hides_what_the_wire_means)
{
    check_two("", "83 86 04 02'/a' 41 01'h' 5f 10'application/grpc' 00 02'te'"
              "08'trailers' 00 0c'grpc-timeout' 02'1S' 00 0d'grpc-encoding'"
              "04'gzip' 0f2b 02'ua'", "user-agent=ua;");
}

TEST(metadata_all__an_indexed_name_is_known)
{
    check_two("40 05'other' 01'a'", "be 7e 01'b' 0f2f 01'c' 0f30 01'd'",
              "other=a;other=b;other=c;other=d;");
}

TEST(metadata_all__an_evicted_name_is_still_known)
{
    check_two("3f0a 40 05'other' 01'a'", "7e 03'new' be",
              "other=new;other=new;");
}

TEST(metadata_all__a_name_that_is_lost_says_so)
{
    begin(sizeof(memory), 0);
    decode("40 05'other' 01'a' 7e 01'b'", 1);
    CHECK(seen == CG_FIELD_LOST && decoder.text_lost);
    check_user("other=a;");
}

TEST(metadata_all__overflow_anywhere_leaves_nothing)
{
    size_t cap;
    for (cap = 0; cap < 5 + 6 + 2; ++cap) {
        begin(cap, sizeof(store));
        decode("40 05'other' 01'a'", 1);
        CHECK(seen == CG_FIELD_OVERFLOW && arena.len == 0);
    }
    begin(cap, sizeof(store));
    decode("40 05'other' 01'a'", 1);
    CHECK(seen == 0);
    check_user("other=a;");
    CHECK(memory[cap] == 0xA5);
}

TEST(metadata_all__binary_is_decoded)
{
    check_two("", "00 05'o-bin' 06'YQ,YWI' 00 04'-bin' 02'YQ'",
              "o-bin=a;o-bin=ab;-bin=YQ;");
    begin(sizeof(memory), sizeof(store));
    decode("00 05'o-bin' 01'Y'", 1);
    CHECK(seen == CG_FIELD_NO_BASE64 && arena.len == 0);
}

TEST(metadata_all__static_fields_have_texts)
{
    check_two("", "90 9e 95", "accept-encoding=gzip, deflate;"
              "content-range=;age=;");
}

TEST(metadata_all__malformed_fields_leave_nothing)
{
    check_two("40 01'A' 01'b'", "be 7e 01'c' 00 01'a' 01 00", "");
    CHECK(!decoder.text_lost);
}

TEST(metadata_all__finds_by_any_name)
{
    size_t len;
    const char *value;
    begin(sizeof(memory), sizeof(store));
    decode("00 05'other' 01'a' 00 05'other' 02'bc' 00 05'othes' 01'd'", 3);
    value = cg_metadata_find(&arena, &vocabulary, CG_IN_INITIAL, "other", 1,
                             &len);
    CHECK(value != NULL && strcmp(value, "bc") == 0 && len == 2);
    CHECK(cg_metadata_find(&arena, &vocabulary, CG_IN_INITIAL, "other", 2,
                           &len) == NULL);
}

TESTS = {
    RUN(metadata_all__keeps_names_nobody_registered),
    RUN(metadata_all__hides_what_the_wire_means),
    RUN(metadata_all__an_indexed_name_is_known),
    RUN(metadata_all__an_evicted_name_is_still_known),
    RUN(metadata_all__a_name_that_is_lost_says_so),
    RUN(metadata_all__overflow_anywhere_leaves_nothing),
    RUN(metadata_all__binary_is_decoded),
    RUN(metadata_all__static_fields_have_texts),
    RUN(metadata_all__malformed_fields_leave_nothing),
    RUN(metadata_all__finds_by_any_name),
    TESTS_END
};
