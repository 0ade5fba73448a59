/* HPACK and metadata: RFC 7541 with its examples, the field rules of
 * RFC 9113, what gRPC's own fields mean, and everything that runs out.
 * Every block is decoded whole, byte by byte, and at every split point.
 *
 *   cc -std=c99 -I. tests/unit/test_hpack.c -o test_hpack && ./test_hpack
 */
#define CGRPC_IMPLEMENTATION
#define CGRPC_NANOPB 0
#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wunused-function"
#endif
#include "cgrpc.h"

#include <stdarg.h>
#include <stdlib.h>
#include "hpack_walk.h"
#include "test.h"

/* ---- what the tests decode with ---- */

enum { CG_NAME_SERVER = 45 };

static const char *const keys[] = {
    "custom-key", "cache-control", "date", "location", "set-cookie",
    "password", "x-token", "x-data-bin", "accept-encoding", "authorization",
    ":authority"
};
enum { KEYS = sizeof(keys) / sizeof(keys[0]) };

static const cgrpc_method greeter_methods[] = {
    { "/hello.Greeter/SayHello", NULL, NULL, 0, 0, CGRPC_UNARY },
    { "/hello.Greeter/SayHelloAgain", NULL, NULL, 0, 0, CGRPC_UNARY },
    { "/hello.Greeter/Say", NULL, NULL, 0, 0, CGRPC_UNARY }
};
static const cgrpc_method clock_methods[] = {
    { "/time.Clock/Now", NULL, NULL, 0, 0, CGRPC_UNARY }
};
static const cgrpc_service greeter = { 1, "hello.Greeter", greeter_methods,
                                       3, NULL, NULL };
static const cgrpc_service clock_service = { 1, "time.Clock", clock_methods,
                                             1, NULL, NULL };
static const cgrpc_serving services[] = { { &greeter, NULL },
                                          { &clock_service, NULL } };

static cgrpc_vocabulary vocabulary;
static cgrpc_hpack_decoder decoder;
static cgrpc_hpack_encoder encoder;
static cgrpc_arena arena;
static uint8_t arena_memory[4096], store[4096], wire[8192];
static size_t arena_cap, store_cap, limit;

static char said[65536]; /* all that was decoded, as text */
static size_t said_len;

static void say(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    said_len += (size_t)vsnprintf(said + said_len, sizeof(said) - said_len,
                                  format, list);
    va_end(list);
}

static void say_record(const cg_record *r)
{
    size_t at;
    say("{");
    for (at = 0; at < r->value_len; ++at) {
        unsigned c = (uint8_t)r->value[at];
        say(c < 0x20 || c > 0x7E ? "\\%02x" : "%c", c);
    }
    say("}");
}

/* `name=value`, then `!flags`, then the records that it left in {}. */
static size_t arena_said;
static void on_field(uint8_t name, uint32_t value, unsigned flags)
{
    cg_record r;
    if (value == CG_VALUE_MALFORMED) say("%u=bad", name);
    else say("%u=%lu", name, (unsigned long)value);
    if (flags != 0) say("!%u", flags);
    for (; arena_said < arena.len;
         arena_said += cg_record_size(arena.base + arena_said)) {
        cg_record_read(arena.base + arena_said, &r);
        CHECK(r.name == name && r.which == decoder.which);
        CHECK(r.value[r.value_len] == 0);
        say_record(&r);
    }
    say(" ");
}

static void nothing(uint8_t name, uint32_t value, unsigned flags)
{
    (void)name, (void)value, (void)flags;
}

static bool eat(const void *in, size_t len)
{
    return hpack_walk(&decoder, (const uint8_t *)in, len, on_field);
}

static bool eat_silently(const uint8_t *in, size_t len)
{
    return hpack_walk(&decoder, in, len, nothing);
}

static void begin(void)
{
    CHECK(cg_vocabulary_init(&vocabulary, keys, KEYS));
    vocabulary.services = services;
    vocabulary.service_count = 2;
    memset(&decoder, 0xA5, sizeof(decoder));
    memset(store, 0xA5, sizeof(store));
    memset(arena_memory, 0xA5, sizeof(arena_memory));
    cg_hpack_init(&decoder, &vocabulary, store, store_cap);
    if (limit != 4096) cg_hpack_limit(&decoder, limit);
    said_len = 0;
    said[0] = 0;
}

static void usual(void)
{
    arena_cap = sizeof(arena_memory);
    store_cap = sizeof(store);
    limit = 4096;
}

static int digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Hex, spaces ignored; 'text' stands for itself. */
static size_t bytes_of(const char *text, uint8_t *out)
{
    size_t len = 0;
    while (*text != 0) {
        if (*text == '\'') {
            for (++text; *text != '\''; ++text) out[len++] = (uint8_t)*text;
            ++text;
        } else if (*text == ' ') {
            ++text;
        } else {
            int high = digit(text[0]), low = digit(text[1]);
            if (high < 0 || low < 0) printf("not hex: %s\n", text);
            out[len++] = (uint8_t)((unsigned)high << 4 | (unsigned)low);
            text += 2;
        }
    }
    return len;
}

static void decode(const char *text, size_t first, size_t step)
{
    size_t len = bytes_of(text, wire), at = 0, part = first;
    bool good = true;
    arena.base = arena_memory;
    arena.len = 0;
    arena.cap = (uint16_t)arena_cap;
    arena_said = 0;
    cg_hpack_begin(&decoder, arena_cap == 0 ? NULL : &arena, CG_IN_INITIAL);
    while (good && at < len) {
        /* an exact copy, so that a sanitizer sees a read too far */
        size_t n = len - at < part ? len - at : part;
        uint8_t *copy = (uint8_t *)malloc(n == 0 ? 1 : n);
        memcpy(copy, wire + at, n);
        good = eat(copy, n);
        free(copy);
        at += n;
        part = step;
    }
    if (!good) CHECK(!eat(wire, len)); /* sticky */
    if (!cg_hpack_end(&decoder)) good = false;
    say(good ? "| " : "ERROR ");
}

/* Decodes blocks, up to a NULL, in every way; each must say the same. */
static void check_blocks(const char *const *blocks, const char *expected)
{
    size_t longest = 0, split, at;
    for (at = 0; blocks[at] != NULL; ++at) {
        size_t len = bytes_of(blocks[at], wire);
        if (len > longest) longest = len;
    }
    for (split = 0; split <= longest; ++split) {
        begin();
        for (at = 0; blocks[at] != NULL; ++at)
            decode(blocks[at], split == 0 ? 1 : split,
                   split == 0 ? 1 : sizeof(wire));
        while (said_len != 0 && said[said_len - 1] == ' ')
            said[--said_len] = 0;
        if (strcmp(said, expected) == 0) continue;
        printf("split at %u\n  said     %s\n  expected %s\n",
               (unsigned)split, said, expected);
        CHECK(!"the same");
        return;
    }
}

static void check_block(const char *block, const char *expected)
{
    const char *blocks[2];
    blocks[0] = block;
    blocks[1] = NULL;
    check_blocks(blocks, expected);
}

static void check_two(const char *first, const char *second,
                      const char *expected)
{
    const char *blocks[3];
    blocks[0] = first;
    blocks[1] = second;
    blocks[2] = NULL;
    check_blocks(blocks, expected);
}

/* A literal without indexing, name and value plain. */
static const char *literal(const char *name, const char *value)
{
    static char text[4][2048];
    static int turn;
    char *out = text[turn++ & 3];
    sprintf(out, "00 %02x '%s' %02x '%s'", (unsigned)strlen(name), name,
            (unsigned)strlen(value), value);
    return out;
}

static void check_value(const char *name, const char *value,
                        const char *expected)
{
    char whole[256];
    sprintf(whole, "%s |", expected);
    check_block(literal(name, value), whole);
}

/* The table, newest first: name:size ... */
static void check_table(const char *expected, unsigned used)
{
    char text[512] = "";
    size_t at;
    for (at = 0; at < decoder.count; ++at) {
        const cgrpc_hpack_entry *e =
            &decoder.table[cg_table_place(&decoder, (unsigned)at)];
        sprintf(text + strlen(text), "%s%u:%u", at == 0 ? "" : " ",
                (unsigned)(e->what >> 24), e->size & 0x7FFFu);
    }
    if (strcmp(text, expected) != 0)
        printf("  table    %s\n  expected %s\n", text, expected);
    CHECK(strcmp(text, expected) == 0);
    CHECK(decoder.used == used);
}

/* ---- RFC 7541, appendix C ---- */

static void check_int(unsigned mask, const char *hex, size_t value)
{
    uint8_t expected[8];
    size_t len = bytes_of(hex, expected), at;
    cg_writer w;
    w.out = wire;
    w.len = 0;
    w.cap = sizeof(wire);
    w.full = false;
    cg_hpack_put_int(&w, 0, mask, value);
    CHECK(w.len == len && memcmp(wire, expected, len) == 0);
    usual();
    begin();
    if (!cg_hpack_begin_int(&decoder, expected[0], mask))
        for (at = 1; !cg_hpack_continue_int(&decoder, expected[at]);) ++at;
    CHECK(decoder.number == value);
}

TEST(appendix_c_1_1__ten_in_five_bits) { check_int(31, "0a", 10); }
TEST(appendix_c_1_2__1337_in_five_bits) { check_int(31, "1f9a0a", 1337); }
TEST(appendix_c_1_3__42_at_an_octet_boundary) { check_int(255, "2a", 42); }

TEST(appendix_c_2_1__literal_with_indexing)
{
    usual();
    check_block("400a637573746f6d2d6b65790d637573746f6d2d686561646572",
                "64=0{custom-header} |");
    check_table("64:55", 55);
}

TEST(appendix_c_2_2__literal_without_indexing)
{
    usual();
    check_block("040c2f73616d706c652f70617468", "3=0 |");
    check_table("", 0);
}

TEST(appendix_c_2_3__literal_never_indexed)
{
    usual();
    check_block("100870617373776f726406736563726574", "69=0{secret} |");
    check_table("", 0);
}

TEST(appendix_c_2_4__indexed_field)
{
    usual();
    check_block("82", "2=2 |");
    check_table("", 0);
}

static const char *const requests_plain[] = {
    "828684410f7777772e6578616d706c652e636f6d",
    "828684be58086e6f2d6361636865",
    "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565", NULL
};
static const char *const requests_huffman[] = {
    "828684418cf1e3c2e5f23a6ba0ab90f4ff", "828684be5886a8eb10649cbf",
    "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf", NULL
};
static const char *const requests_said[] = {
    "2=2 4=1 3=0 1=0{www.example.com} |",
    " 2=2 4=1 3=0 1=0{www.example.com} 15=0{no-cache} |",
    " 2=2 4=2 3=0 1=0{www.example.com} 64=0{custom-value} |"
};
static const char *const requests_table[] = { "1:57", "15:53 1:57",
                                              "64:54 15:53 1:57" };
static const unsigned requests_used[] = { 57, 110, 164 };

static const char *const responses_plain[] = {
    "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a"
    "31333a323120474d546e1768747470733a2f2f7777772e6578616d706c652e636f6d",
    "4803333037c1c0bf",
    "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04"
    "677a69707738666f6f3d4153444a4b48514b425a584f5157454f50495541585157454f49"
    "553b206d61782d6167653d333630303b2076657273696f6e3d31", NULL
};
static const char *const responses_huffman[] = {
    "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e"
    "919d29ad171863c78f0b97c8e9ae82ae43d3",
    "4883640effc1c0bf",
    "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7"
    "821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed"
    "4ee5b1063d5007", NULL
};
#define DATE_21 "24=0{Mon, 21 Oct 2013 20:13:21 GMT}"
#define DATE_22 "24=0{Mon, 21 Oct 2013 20:13:22 GMT}"
#define LOCATION "37=0{https://www.example.com}"
static const char *const responses_said[] = {
    "5=302 15=0{private} " DATE_21 " " LOCATION " |",
    " 5=307 15=0{private} " DATE_21 " " LOCATION " |",
    " 5=200 15=0{private} " DATE_22 " " LOCATION " 17=0 46=0{foo=ASDJKHQKBZXO"
    "QWEOPIUAXQWEOIU; max-age=3600; version=1} |"
};
static const char *const responses_table[] = {
    "37:63 24:65 15:52 5:42", "5:42 37:63 24:65 15:52", "46:98 17:52 24:65"
};
static const unsigned responses_used[] = { 222, 222, 215 };

/* The first `count` blocks; a table of `table` bytes. */
static void check_example(const char *const *blocks, size_t count,
                          const char *const *said_parts, size_t table)
{
    const char *some[4] = { NULL, NULL, NULL, NULL };
    char expected[1024] = "", sized[512];
    size_t at;
    usual();
    for (at = 0; at < count; ++at) {
        some[at] = blocks[at];
        strcat(expected, said_parts[at]);
    }
    if (table == 256) { /* the examples' table, set by an update */
        sprintf(sized, "3fe101 %s", blocks[0]);
        some[0] = sized;
    }
    check_blocks(some, expected);
}

static void check_request(const char *const *blocks, size_t count)
{
    check_example(blocks, count, requests_said, 4096);
    check_table(requests_table[count - 1], requests_used[count - 1]);
}

static void check_response(const char *const *blocks, size_t count)
{
    check_example(blocks, count, responses_said, 256);
    check_table(responses_table[count - 1], responses_used[count - 1]);
}

TEST(appendix_c_3_1__first_request) { check_request(requests_plain, 1); }
TEST(appendix_c_3_2__second_request) { check_request(requests_plain, 2); }
TEST(appendix_c_3_3__third_request) { check_request(requests_plain, 3); }
TEST(appendix_c_4_1__first_request_huffman)
{
    check_request(requests_huffman, 1);
}
TEST(appendix_c_4_2__second_request_huffman)
{
    check_request(requests_huffman, 2);
}
TEST(appendix_c_4_3__third_request_huffman)
{
    check_request(requests_huffman, 3);
}
TEST(appendix_c_5_1__first_response) { check_response(responses_plain, 1); }
TEST(appendix_c_5_2__second_response) { check_response(responses_plain, 2); }
TEST(appendix_c_5_3__third_response) { check_response(responses_plain, 3); }
TEST(appendix_c_6_1__first_response_huffman)
{
    check_response(responses_huffman, 1);
}
TEST(appendix_c_6_2__second_response_huffman)
{
    check_response(responses_huffman, 2);
}
TEST(appendix_c_6_3__third_response_huffman)
{
    check_response(responses_huffman, 3);
}

/* ---- integers and indexes ---- */

TEST(hpack_int__rejects_an_overlong_value)
{
    usual();
    check_block("ffffffffffff0f", "ERROR");
    check_block("0085ffffffff0f", "ERROR");
    check_block("007fffffffffff0f", "ERROR");
}

TEST(hpack_int__rejects_too_many_continuation_bytes)
{
    usual();
    check_block("ff808080808000", "ERROR");
    check_block("007f808080808000", "ERROR");
}

TEST(hpack_int__takes_padding_of_up_to_four_bytes)
{
    usual();
    check_block("3f8080808000", "ERROR");
    check_block("0001'a'7f80808000", "ERROR"); /* 127 bytes do not follow */
    check_block("3fe1ff8000 82", "ERROR");     /* over the limit */
    check_block("3fe19f8000 82", "2=2 |");     /* 4096 */
}

TEST(hpack_index__zero_is_an_error)
{
    usual();
    check_block("80", "ERROR");
}

TEST(hpack_index__beyond_the_table_is_an_error)
{
    usual();
    check_block("be", "ERROR");
    check_block("ff00", "ERROR");
    check_block("7f00 01'a'", "ERROR");
    check_block("7e01'a'", "ERROR");
    check_two("4001'a'01'b'", "bebf", "0=0 | 0=0 ERROR");
}

TEST(hpack_index__every_static_name_has_its_id)
{
    size_t index;
    usual();
    for (index = 1; index <= 61; ++index) {
        unsigned name = cg_name_of_index((unsigned)index);
        const char *text = cg_name_text(&vocabulary, name);
        begin();
        CHECK(cg_name_find(&vocabulary, text) == name);
        CHECK(cg_name_to_index(name) <= index);
        CHECK(cg_name_of_index(cg_name_to_index(name)) == name);
    }
    CHECK(cg_name_to_index(CG_NAME_TE) == 0);
    CHECK(cg_name_of_index(61) == CG_NAME_STATIC);
    CHECK(cg_name_of_index(31) == CG_NAME_CONTENT_TYPE);
    CHECK(cg_name_of_index(28) == CG_NAME_CONTENT_LENGTH);
    CHECK(cg_name_of_index(57) == CG_NAME_TRANSFER_ENCODING);
}

TEST(hpack_index__static_values_mean_what_literals_mean)
{
    usual();
    check_block("82 83 84 85 86 87", "2=2 2=1 3=0 3=0 4=1 4=2 |");
    check_block("88 89 8a 8b 8c 8d 8e",
                "5=200 5=204 5=206 5=304 5=400 5=404 5=500 |");
    check_block("81 8f 90 9c 9f bd",
                "1=0{} 6=0 7=0{gzip, deflate} 19=bad!1 22=0 52=0 |");
}

TEST(hpack_block__may_not_end_within_a_field)
{
    static const char *const parts[] = {
        "40", "4001", "4001'a'", "4001'a'01", "ff", "41", "3f", "007f"
    };
    size_t at;
    usual();
    for (at = 0; at < sizeof(parts) / sizeof(parts[0]); ++at)
        check_block(parts[at], "ERROR");
    check_block("4001'a'02'b'", "ERROR");
    check_block("", "|");
    check_block("20", "|");
}

TEST(hpack_block__fails_for_good)
{
    usual();
    check_two("80", "82", "ERROR ERROR");
}

/* ---- Huffman ---- */

TEST(hpack_huffman__rejects_eos)
{
    usual();
    check_block("00 01'a' 84ffffffff", "ERROR");
    check_block("00 01'a' 851fffffffff", "ERROR");
}

TEST(hpack_huffman__rejects_padding_of_a_byte_or_more)
{
    usual();
    check_block("00 01'a' 821fff", "ERROR"); /* a, 11 ones */
    check_block("00 01'a' 81ff", "ERROR");
    check_block("00 01'a' 811f", "0=0 |");   /* a, 3 ones */
    check_block("00 01'a' 80", "0=0 |");
}

TEST(hpack_huffman__rejects_padding_that_is_not_ones)
{
    usual();
    check_block("00 01'a' 8118", "ERROR");
    check_block("00 01'a' 811e", "ERROR");
}

/* Code lengths of 5 to 30 bits, at every alignment. */
TEST(hpack_huffman__decodes_every_symbol)
{
    uint64_t code = 0;
    unsigned rank = 0, len, at;
    usual();
    for (len = 5; len <= 30; ++len, code <<= 1) {
        for (at = 0; at < CG_HUFFMAN_COUNTS[len - 5]; ++at, ++code, ++rank) {
            uint64_t bits = code;
            unsigned n = len, pad;
            uint8_t block[32];
            size_t i;
            if (rank == 256) break;
            for (pad = 0; pad < 5; ++pad) { /* '0' to '4' bits before */
                bits = code;
                n = len + 5 * pad; /* '0's are five zero bits */
                for (i = 0; i < (n + 7) / 8; ++i) {
                    int shift = (int)n - 8 * (int)(i + 1);
                    block[i] = (uint8_t)(shift >= 0
                        ? (shift < 64 ? bits >> shift : 0)
                        : bits << -shift | (0xFFu >> (8 + shift)));
                }
                begin();
                decoder.number = 1; /* a string begins */
                decoder.in_value = true;
                cg_hpack_begin_text(&decoder, NULL);
                cg_hpack_begin_string(&decoder);
                for (i = 0; i < (n + 7) / 8; ++i)
                    cg_huffman_text(&decoder, block + i, 1);
                CHECK(decoder.len == pad + 1);
                CHECK(decoder.last == CG_HUFFMAN_SYMBOLS[rank]);
                CHECK(cg_huffman_ended(&decoder));
            }
        }
    }
}

TEST(hpack_huffman__encodes_what_it_decodes)
{
    char text[96], expected[256];
    size_t at;
    cg_writer w;
    static uint8_t out[256];
    usual();
    for (at = 0; at < 95; ++at) {
        text[0] = (char)(0x20 + at);
        memset(text + 1, 'a', 12);
        w.out = out;
        w.len = 0;
        w.cap = sizeof(out);
        w.full = false;
        cg_hpack_put_string(&w, CG_AS_TEXT, text, 13);
        CHECK(out[0] > 0x80 && w.len < 14);
        begin();
        CHECK(eat("\0\7x-token", 9));
        arena.base = arena_memory;
        arena.len = 0;
        arena.cap = 100;
        arena_said = 0;
        begin();
        cg_hpack_begin(&decoder, &arena, 0);
        CHECK(eat("\0\7x-token", 9));
        CHECK(eat(out, w.len));
        sprintf(expected, at == 0 ? "70=bad!1 " : "70=0{%.13s} ", text);
        CHECK(strcmp(said, expected) == 0);
    }
}

TEST(hpack_huffman__is_not_used_where_it_gets_longer)
{
    cg_writer w;
    w.out = wire;
    w.len = 0;
    w.cap = 64;
    w.full = false;
    cg_hpack_put_string(&w, CG_AS_TEXT, "{}{}", 4);
    CHECK(w.len == 5 && memcmp(wire, "\4{}{}", 5) == 0);
    w.len = 0;
    cg_hpack_put_string(&w, CG_AS_TEXT, "a\377", 2);
    CHECK(w.len == 3 && memcmp(wire, "\2a\377", 3) == 0);
    w.len = 0;
    cg_hpack_put_string(&w, CG_AS_TEXT, "", 0);
    CHECK(w.len == 1 && wire[0] == 0);
}

/* ---- table size ---- */

TEST(hpack_size__updates_are_legal_at_the_start_only)
{
    usual();
    check_block("20 82", "2=2 |");
    check_block("20 3fe11f 82", "2=2 |");
    check_block("82 20", "2=2 ERROR");
    check_block("4001'a'01'b' 20", "0=0 ERROR");
    check_two("82", "20 82", "2=2 | 2=2 |");
}

TEST(hpack_size__over_the_limit_is_an_error)
{
    usual();
    check_block("3fe21f", "ERROR"); /* 4097 */
    check_block("3fe11f", "|");
    limit = 100;
    check_block("3f45 82", "2=2 |"); /* 100 */
    check_block("3f46 82", "ERROR"); /* 101 */
    limit = 0;
    check_block("20 82", "2=2 |");
    check_block("21 82", "ERROR");
}

TEST(hpack_size__a_peer_need_not_follow_a_lower_limit)
{
    usual();
    limit = 0;
    check_two("4001'a'01'b'", "be", "0=0 | 0=0 |");
}

TEST(hpack_size__zero_empties_the_table)
{
    usual();
    check_two("4001'a'01'b'", "20 3fe11f be", "0=0 | ERROR");
    check_table("", 0);
}

TEST(hpack_size__shrinking_evicts_the_oldest)
{
    usual();
    check_two("4001'a'01'b' 4001'c'01'd'", "3f03 be", "0=0 0=0 | 0=0 |");
    check_table("0:34", 34);
    check_two("4001'a'01'b' 4001'c'01'd'", "3f03 bf", "0=0 0=0 | ERROR");
    check_two("4001'a'01'b' 4001'c'01'd'", "3f02 be", "0=0 0=0 | ERROR");
}

TEST(hpack_table__a_field_that_fits_exactly_stays)
{
    usual();
    check_block("3f03 4001'a'01'b' be", "0=0 0=0 |");
    check_block("3f02 4001'a'01'b' be", "0=0 ERROR");
}

TEST(hpack_table__a_field_larger_than_it_empties_it)
{
    usual();
    check_block("3f09 4001'a'01'b' 4001'a'08'12345678' be", "0=0 0=0 ERROR");
    check_table("", 0);
}

TEST(hpack_table__an_evicted_name_is_still_known)
{
    usual();
    /* 44 bytes: the name x-token is of the entry that it drives out */
    check_block("3f0f 40 07'x-token' 01'a' 7e 03'new' be",
                "70=0{a} 70=0{new} 70=0{new} |");
    check_table("70:42", 42);
}

TEST(hpack_table__holds_128_of_the_smallest_fields)
{
    static char block[8192];
    static char expected[8192];
    int at;
    usual();
    block[0] = expected[0] = 0;
    for (at = 0; at < 200; ++at) {
        strcat(block, "40 00 00 "); /* malformed, but 32 bytes */
        strcat(expected, "255=0!1 ");
    }
    strcat(block, "ff3e"); /* index 189, the 128th */
    strcat(expected, "255=0!1 |");
    check_block(block, expected);
    CHECK(decoder.count == 128 && decoder.used == 4096);
    strcat(block, "ff3f");
    begin();
    decode(block, sizeof(wire), 1);
    CHECK(strstr(said, "ERROR") != NULL);
}

TEST(hpack_table__lengths_saturate)
{
    size_t at;
    usual();
    begin();
    cg_hpack_begin(&decoder, NULL, 0);
    memset(wire, 'a', 8000);
    CHECK(eat("\x40\x7f\xf1\xad\x04",
                          5)); /* 71,536: over 64 Ki */
    for (at = 0; at < 9; ++at)
        CHECK(eat(wire, at == 8 ? 7536u : 8000u));
    CHECK(decoder.name_len == 0xFFFF);
    CHECK(eat("\1b", 2));
    CHECK(strcmp(said, "0=0 ") == 0 && decoder.count == 0);
    CHECK(cg_hpack_end(&decoder));
}

/* ---- names ---- */

TEST(hpack_name__upper_case_is_malformed)
{
    usual();
    check_value("X-Token", "a", "255=0!1");
    check_value("x-tokeN", "a", "255=0!1");
}

TEST(hpack_name__must_be_visible_ascii)
{
    static const char *const bad[] = { "00", "01", "09", "0a", "0d", "1f",
                                       "20", "7f", "80", "ff" };
    char block[64];
    size_t at;
    usual();
    for (at = 0; at < sizeof(bad) / sizeof(bad[0]); ++at) {
        sprintf(block, "00 03'a'%s'b' 01'c'", bad[at]);
        check_block(block, "255=0!1 |");
        sprintf(block, "00 01%s 01'c'", bad[at]);
        check_block(block, "255=0!1 |");
        sprintf(block, "00 03'te'%s 01'c'", bad[at]);
        check_block(block, "255=0!1 |");
    }
}

TEST(hpack_name__a_colon_is_for_pseudo_headers)
{
    usual();
    check_value("a:b", "c", "255=0!1");
    check_value("te:", "c", "255=0!1");
    check_value(":", "c", "255=0!1");
    check_value(":unknown", "c", "255=0!1");
    check_value(":pat", "c", "255=0!1");
    check_value(":path:", "c", "255=0!1");
    check_value(":method", "POST", "2=1");
}

TEST(hpack_name__may_not_be_empty)
{
    usual();
    check_value("", "a", "255=0!1");
}

TEST(hpack_name__malformed_is_inherited)
{
    usual();
    check_block("40 01'A' 01'b' be 7e 01'c'", "255=0!1 255=0!1 255=0!1 |");
    check_table("255:34 255:34", 68);
}

TEST(hpack_name__is_matched_whole)
{
    usual();
    check_value("t", "trailers", "0=0");
    check_value("te", "trailers", "53=1");
    check_value("tea", "trailers", "0=0");
    check_value("accept", "a", "10=0");
    check_value("accept-", "a", "0=0");
    check_value("grpc-status", "0", "57=0");
    check_value("grpc-statu", "0", "0=0");
    check_value("grpc-status-details-bin", "", "59=0{}");
    check_value("grpc-status-details", "", "0=0");
    check_value("x-toke", "a", "0=0");
    check_value("x-token", "a", "70=0{a}");
    check_value("x-tokens", "a", "0=0");
    check_value("upgrade", "a", "63=0");
    check_value("zzz", "a", "0=0");
}

TEST(hpack_name__each_known_one_is_found)
{
    unsigned name;
    char expected[32], text[64];
    usual();
    begin();
    for (name = 6; name <= 255u - 192u + KEYS; ++name) {
        const char *known = cg_name_text(&vocabulary, name);
        memcpy(text, known, cg_word_len(known));
        text[cg_word_len(known)] = 0;
        if (name < 64) CHECK(cg_name_find(&vocabulary, text) == name);
        begin();
        decode(literal(text, "1"), 1, 1);
        sprintf(expected, "%u=", cg_name_find(&vocabulary, text));
        CHECK(strncmp(said, expected, strlen(expected)) == 0);
    }
}

/* ---- values ---- */

TEST(hpack_value__may_not_hold_control_characters)
{
    usual();
    check_block("00 01'a' 03'b'00'c'", "0=bad!1 |");
    check_block("00 01'a' 03'b'0d'c'", "0=bad!1 |");
    check_block("00 01'a' 03'b'0a'c'", "0=bad!1 |");
    check_block("00 01'a' 0100", "0=bad!1 |");
    check_block("00 07'x-token' 03'b'00'c'", "70=bad!1 |");
    check_block("00 01'a' 03'b'01'c'", "0=bad!1 |");
    check_block("00 01'a' 03'b'09'c'", "0=0 |");
    check_block("00 01'a' 03'b'ff'c'", "0=0 |");
}

TEST(hpack_value__may_not_begin_or_end_with_space)
{
    usual();
    check_value("a", " b", "0=bad!1");
    check_value("a", "b ", "0=bad!1");
    check_value("a", " ", "0=bad!1");
    check_value("a", "b c", "0=0");
    check_block("00 01'a' 0209'b'", "0=bad!1 |");
    check_block("00 01'a' 02'b'09", "0=bad!1 |");
}

TEST(hpack_value__malformed_is_kept_in_the_table)
{
    usual();
    check_block("40 07'x-token' 02' b' be", "70=bad!1 70=bad!1 |");
    CHECK(!decoder.text_lost);
}

TEST(hpack_value__methods_and_schemes)
{
    usual();
    check_value(":method", "POST", "2=1");
    check_value(":method", "GET", "2=2");
    check_value(":method", "POS", "2=0");
    check_value(":method", "POSTS", "2=0");
    check_value(":method", "", "2=0");
    check_value(":method", "post", "2=0");
    check_value(":scheme", "http", "4=1");
    check_value(":scheme", "https", "4=2");
    check_value(":scheme", "httpx", "4=0");
    check_value(":scheme", "htt", "4=0");
    check_block("00 07':scheme' 05'http'05", "4=bad!1 |");
}

TEST(hpack_value__paths_are_methods)
{
    usual();
    check_value(":path", "/hello.Greeter/SayHello", "3=1");
    check_value(":path", "/hello.Greeter/SayHelloAgain", "3=2");
    check_value(":path", "/hello.Greeter/Say", "3=3");
    check_value(":path", "/time.Clock/Now", "3=4");
    check_value(":path", "/hello.Greeter/SayHell", "3=0");
    check_value(":path", "/hello.Greeter/SayHelloAgains", "3=0");
    check_value(":path", "/time.Clock/Nowhere", "3=0");
    check_value(":path", "/", "3=0");
    check_value(":path", "", "3=bad!1");
}

TEST(hpack_value__a_side_without_services_knows_no_path)
{
    usual();
    begin();
    vocabulary.service_count = 0;
    decode("04 02'/a' 04 00", 1, 1);
    CHECK(strcmp(said, "3=0 3=bad!1 | ") == 0);
}

TEST(hpack_value__te_and_encodings)
{
    usual();
    check_value("te", "trailers", "53=1");
    check_value("te", "trailer", "53=0");
    check_value("te", "trailers, deflate", "53=0");
    check_value("te", "", "53=0");
    check_value("grpc-encoding", "identity", "55=1");
    check_value("grpc-encoding", "gzip", "55=2");
    check_value("grpc-encoding", "deflate", "55=3");
    check_value("grpc-encoding", "snappy", "55=0");
}

TEST(hpack_value__content_types)
{
    usual();
    check_value("content-type", "application/grpc", "22=1");
    check_value("content-type", "application/grpc+proto", "22=1");
    check_value("content-type", "Application/GRPC", "22=1");
    check_value("content-type", "application/grpc;charset=utf-8", "22=1");
    check_value("content-type", "application/grpc+proto; a=b", "22=1");
    check_value("content-type", "application/grpc ; a", "22=1");
    check_value("content-type", "application/grpc+json", "22=2");
    check_value("content-type", "application/grpc+pro", "22=2");
    check_value("content-type", "application/grpc+protobuf", "22=2");
    check_value("content-type", "application/grpc+", "22=2");
    check_value("content-type", "application/grpc-web", "22=0");
    check_value("content-type", "application/grpcx", "22=0");
    check_value("content-type", "application/grp", "22=0");
    check_value("content-type", "image/jpeg", "22=0");
    check_value("content-type", "", "22=0");
}

TEST(hpack_value__numbers)
{
    usual();
    check_value(":status", "200", "5=200");
    check_value(":status", "099", "5=99");
    check_value(":status", "20", "5=bad!1");
    check_value(":status", "2000", "5=bad!1");
    check_value(":status", "2x0", "5=bad!1");
    check_value(":status", "", "5=bad!1");
    check_value("grpc-status", "0", "57=0");
    check_value("grpc-status", "16", "57=16");
    check_value("grpc-status", "4294967296", "57=16777214");
    check_value("grpc-status", "", "57=bad!1");
    check_value("grpc-status", "-1", "57=bad!1");
    check_value("grpc-status", "1/", "57=bad!1");
    check_value("grpc-status", "1:", "57=bad!1");
    check_value("content-length", "16777209", "19=16777209");
    check_value("content-length", "16777215", "19=16777214");
    check_value("content-length", "99999999999999999999", "19=16777214");
    check_value("content-length", "99999999999999999999x", "19=bad!1");
}

static uint32_t timeout_of(const char *text)
{
    unsigned long value = 0;
    begin();
    decode(literal("grpc-timeout", text), 1, 1);
    if (strcmp(said, "54=bad!1 | ") == 0) return 0xFFFFFFFF;
    CHECK(sscanf(said, "54=%lu", &value) == 1);
    return cg_timeout_ms((uint32_t)value);
}

TEST(hpack_timeout__in_all_units)
{
    usual();
    CHECK(timeout_of("1H") == 3600000);
    CHECK(timeout_of("2M") == 120000);
    CHECK(timeout_of("3S") == 3000);
    CHECK(timeout_of("4m") == 4);
    CHECK(timeout_of("5000u") == 5);
    CHECK(timeout_of("6000000n") == 6);
    CHECK(timeout_of("4996705u") == 4997);
    CHECK(timeout_of("10100m") == 10100);
    CHECK(timeout_of("1048575m") == 1048575);
}

TEST(hpack_timeout__short_is_never_endless)
{
    usual();
    CHECK(timeout_of("0n") == 0);
    CHECK(timeout_of("0H") == 0);
    CHECK(timeout_of("1n") == 1);
    CHECK(timeout_of("999u") == 1);
    CHECK(timeout_of("1001u") == 2);
}

/* Long ones lose a millionth: 20 bits are kept. */
enum { LONGEST = 0x7FFFF800 };
TEST(hpack_timeout__long_saturates)
{
    usual();
    CHECK(timeout_of("99999999H") == LONGEST);
    CHECK(timeout_of("99999999M") == LONGEST);
    CHECK(timeout_of("99999999S") == LONGEST);
    CHECK(timeout_of("99999999m") == 99999872);
    CHECK(timeout_of("99999999u") == 100000);
    CHECK(timeout_of("99999999n") == 100);
    CHECK(timeout_of("596H") == 2145599488);
    CHECK(timeout_of("597H") == LONGEST);
    CHECK(timeout_of("1H") == 3600000);
    CHECK(timeout_of("24H") == 86400000);
}

TEST(hpack_timeout__malformed)
{
    static const char *const bad[] = { "", "1", "S", "1s", "1Sx", "-1S",
                                       "123456789S", "1 S", "1S1", "1SS",
                                       "12345678", "1.5S" };
    size_t at;
    usual();
    for (at = 0; at < sizeof(bad) / sizeof(bad[0]); ++at) {
        CHECK(timeout_of(bad[at]) == 0xFFFFFFFF);
        check_block(literal("grpc-timeout", bad[at]), "54=bad!1 |");
    }
}

/* ---- texts ---- */

TEST(hpack_text__unwanted_fields_take_no_memory)
{
    usual();
    check_block("40 05'other' 03'abc' be", "0=0 0=0 |");
    CHECK(arena.len == 0 && decoder.store.len == 0);
}

TEST(hpack_text__a_field_that_fits_exactly)
{
    usual();
    arena_cap = CG_RECORD_HEAD + 3 + 1;
    check_value("x-token", "abc", "70=0{abc}");
    --arena_cap;
    check_value("x-token", "abc", "70=0!4");
    CHECK(arena.len == 0);
    for (; arena_cap > 1; --arena_cap)
        check_value("x-token", "abc", "70=0!4");
}

TEST(hpack_text__overflow_keeps_what_came_before)
{
    usual();
    arena_cap = 20;
    check_block("00 07'x-token' 03'abc' 00 08'password' 09'123456789'"
                "00 07'x-token' 03'def'",
                "70=0{abc} 69=0!4 70=0{def} |");
}

TEST(hpack_text__an_indexed_one_may_overflow)
{
    usual();
    arena_cap = 20;
    check_block("40 07'x-token' 08'abcdefgh' be", "70=0{abcdefgh} 70=0!4 |");
    CHECK(!decoder.text_lost);
}

TEST(hpack_text__what_overflowed_is_lost_to_later_calls)
{
    usual();
    arena_cap = 10;
    check_two("40 07'x-token' 08'abcdefgh'", "be", "70=0!4 | 70=0!2 |");
    CHECK(decoder.text_lost);
}

TEST(hpack_text__without_an_arena_the_store_alone_keeps_it)
{
    usual();
    arena_cap = 0;
    check_block("40 07'x-token' 08'abcdefgh' be", "70=0 70=0 |");
    check_table("70:47", 47);
}

/* A handler adds metadata while trailers are on their way in pieces. */
TEST(hpack_text__is_dropped_where_the_arena_changes_meanwhile)
{
    size_t at, split;
    cgrpc_metadata m, added;
    added.key = "other";
    added.value = "12345678901234567890";
    added.len = 0;
    for (split = 10; split < 20; ++split) {
        size_t len = bytes_of("40 07'x-token' 0a'abcdefghij' 00 07'x-token'"
                              "01'k'", wire);
        usual();
        begin();
        arena.base = arena_memory;
        arena.len = 0;
        arena.cap = 100;
        arena_said = 0;
        cg_hpack_begin(&decoder, &arena, CG_IN_TRAILING);
        CHECK(eat_silently(wire, split));
        CHECK(cg_metadata_add(&arena, &vocabulary, CG_OUT_TRAILING,
                              &added) == CGRPC_SUCCESS);
        CHECK(eat_silently(wire + split, len - split));
        CHECK(cg_hpack_end(&decoder));
        at = 0;
        CHECK(cg_metadata_next(&arena, &vocabulary, CG_OUT_TRAILING, &at,
                               &m));
        CHECK(strcmp((const char *)m.value, (const char *)added.value) == 0);
        at = 0;
        CHECK(cg_metadata_next(&arena, &vocabulary, CG_IN_TRAILING, &at,
                               &m));
        CHECK(strcmp((const char *)m.value, "k") == 0);
        CHECK(!cg_metadata_next(&arena, &vocabulary, CG_IN_TRAILING, &at,
                                &m));
    }
}

TEST(hpack_text__a_reference_brings_it_back)
{
    usual();
    check_two("40 07'x-token' 03'abc' 41 04'host'", "be bf be",
              "70=0{abc} 1=0{host} | 1=0{host} 70=0{abc} 1=0{host} |");
}

TEST(hpack_text__eviction_forgets_it)
{
    usual();
    check_two("40 07'x-token' 03'abc'", "3f01 40 01'a' 00",
              "70=0{abc} | 0=0 |");
    CHECK(decoder.store.len == 0);
}

/* Three texts of 3 bytes, 9 each in the store; room for two. */
static const char *const three =
    "40 07'x-token' 03'abc' 40 08'password' 03'def'";

TEST(hpack_store__drops_the_least_recently_referenced)
{
    const char *blocks[4];
    usual();
    store_cap = 18;
    blocks[0] = three;
    blocks[1] = "bf"; /* x-token again: now password is the oldest */
    blocks[2] = "40 0a'custom-key' 03'ghi' c0 be bf";
    blocks[3] = NULL;
    check_blocks(blocks, "70=0{abc} 69=0{def} | 70=0{abc} | "
                         "64=0{ghi} 70=0{abc} 64=0{ghi} 69=0!2 |");
    CHECK(decoder.text_lost);
}

TEST(hpack_store__drops_evicted_entries_first)
{
    usual();
    store_cap = 18;
    /* 87 bytes hold two fields: the third drives x-token out */
    check_two("3f38 40 07'x-token' 03'abc' 40 08'password' 03'def'",
              "40 04'date' 03'ghi' be bf",
              "70=0{abc} 69=0{def} | 24=0{ghi} 24=0{ghi} 69=0{def} |");
    CHECK(!decoder.text_lost);
}

TEST(hpack_store__one_that_never_fits_drops_nothing)
{
    usual();
    store_cap = 18;
    check_two("40 07'x-token' 03'abc' 40 08'password' 14'12345678901234567890'",
              "bf be", "70=0{abc} 69=0{12345678901234567890} | "
                       "70=0{abc} 69=0!2 |");
}

TEST(hpack_store__works_with_no_memory)
{
    usual();
    store_cap = 0;
    check_two("40 07'x-token' 03'abc'", "be", "70=0{abc} | 70=0!2 |");
}

TEST(hpack_store__survives_65536_insertions)
{
    long at;
    usual();
    begin();
    decode("40 07'x-token' 03'abc'", sizeof(wire), 1);
    for (at = 0; at < 65535; ++at) {
        decode("40 01'a' 01'b'", sizeof(wire), 1);
        said_len = 0;
    }
    decode("40 08'password' 01'd' be", sizeof(wire), 1);
    CHECK(strcmp(said, "69=0{d} 69=0{d} | ") == 0);
    CHECK(decoder.count == 120);
}

/* ---- base64 ---- */

static void check_bin(const char *value, const char *expected)
{
    char whole[128];
    sprintf(whole, "71=%s", expected);
    check_value("x-data-bin", value, whole);
}

TEST(hpack_base64__padded_or_not)
{
    usual();
    check_bin("", "0{}");
    check_bin("YQ", "0{a}");
    check_bin("YQ==", "0{a}");
    check_bin("YWI", "0{ab}");
    check_bin("YWI=", "0{ab}");
    check_bin("YWJj", "0{abc}");
    check_bin("YWJjZA", "0{abcd}");
    check_bin("+/+/AA", "0{\\fb\\ff\\bf\\00}");
}

TEST(hpack_base64__commas_make_several_values)
{
    usual();
    check_bin("YQ,YWI", "0{a}{ab}");
    check_bin("YQ==,YWI=,YWJj", "0{a}{ab}{abc}");
    check_bin("YQ==, YWI", "0{a}{ab}");
    check_bin(",", "0{}{}");
    check_two("40 0a'x-data-bin' 06'YQ,YWI'", "be",
              "71=0{a}{ab} | 71=0{a}{ab} |");
}

TEST(hpack_base64__refuses_what_is_none)
{
    static const char *const bad[] = {
        "Y", "YWJjZ", "=", "Y=", "YQ=", "YQ===", "YWI==", "YWJj=", "YQ==YQ",
        "Y-", "Y_", "YQ,Y", "Y,YQ", "YWI=a", "====", "a b!"
    };
    size_t at;
    usual();
    for (at = 0; at < sizeof(bad) / sizeof(bad[0]); ++at)
        check_bin(bad[at], "16777213!8");
    CHECK(arena.len == 0);
    check_two("40 0a'x-data-bin' 01'Y'", "be 7e 02'YQ'",
              "71=16777213!8 | 71=16777213!8 71=0{a} |");
    CHECK(!decoder.text_lost);
}

TEST(hpack_base64__may_overflow_anywhere)
{
    size_t cap;
    usual();
    for (cap = 1; cap < 5 + 1 + 1 + 5 + 2 + 1; ++cap) {
        arena_cap = cap;
        check_bin("YQ==,YWI=", "0!4");
        CHECK(arena.len == 0);
    }
    arena_cap = cap;
    check_bin("YQ==,YWI=", "0{a}{ab}");
}

/* ---- grpc-message ---- */

static void check_message(const char *value, const char *expected)
{
    char whole[128];
    sprintf(whole, "58=0{%s}", expected);
    check_value("grpc-message", value, whole);
}

TEST(hpack_percent__decodes)
{
    usual();
    check_message("", "");
    check_message("all well", "all well");
    check_message("100%25", "100%");
    check_message("%E2%98%ba", "\\e2\\98\\ba");
    check_message("%0A%00", "\\0a\\00");
    check_message("a%2fb%2Fc", "a/b/c");
}

TEST(hpack_percent__leaves_what_is_no_escape)
{
    usual();
    check_message("%", "%");
    check_message("%4", "%4");
    check_message("%4g", "%4g");
    check_message("%%41", "%A");
    check_message("100%", "100%");
}

TEST(hpack_percent__an_indexed_message_is_decoded_once)
{
    usual();
    check_two("40 0c'grpc-message' 05'%2541'", "be",
              "58=0{%41} | 58=0{%41} |");
}

/* ---- out ---- */

static cg_writer writer;

static void out_begin(size_t cap)
{
    memset(&writer, 0, sizeof(writer));
    writer.out = wire;
    writer.cap = cap;
}

static void check_out(const char *text)
{
    uint8_t expected[512];
    size_t len = bytes_of(text, expected), at;
    bool same = writer.len == len && memcmp(wire, expected, len) == 0;
    CHECK(!writer.full && same);
    if (same) return;
    printf("  expected %s\n  wrote    ", text);
    for (at = 0; at < writer.len; ++at) printf("%02x", wire[at]);
    printf("\n");
}

static cgrpc_bytes text_of(const char *text)
{
    cgrpc_bytes bytes;
    bytes.data = (const uint8_t *)text;
    bytes.len = strlen(text);
    return bytes;
}

static const char type_grpc[] = "application/grpc";
static const char zero[] = "{0}"; /* no Huffman: it would be longer */
static const char one[] = "{1}";

TEST(hpack_out__a_constant_is_one_byte_the_second_time)
{
    cg_hpack_encoder_init(&encoder);
    out_begin(200);
    cg_hpack_block_begin(&encoder, &writer);
    cg_hpack_put_index(&writer, 3);
    cg_hpack_put_constant(&encoder, &writer, CG_NAME_CONTENT_TYPE, zero);
    cg_hpack_put_constant(&encoder, &writer, CG_NAME_SERVER, one);
    cg_hpack_put_constant(&encoder, &writer, CG_NAME_CONTENT_TYPE, zero);
    cg_hpack_put_constant(&encoder, &writer, CG_NAME_SERVER, one);
    check_out("83 5f03'{0}' 7603'{1}' bf be");
}

TEST(hpack_out__one_text_under_two_names_is_two_constants)
{
    cg_hpack_encoder_init(&encoder);
    out_begin(200);
    cg_hpack_put_constant(&encoder, &writer, CG_NAME_CONTENT_TYPE, zero);
    cg_hpack_put_constant(&encoder, &writer, CG_NAME_SERVER, zero);
    check_out("5f03'{0}' 7603'{0}'");
}

TEST(hpack_out__a_full_cache_makes_plain_literals)
{
    static const char texts[CGRPC_HPACK_CACHE + 1][4];
    size_t at;
    cg_hpack_encoder_init(&encoder);
    for (at = 0; at <= CGRPC_HPACK_CACHE; ++at) {
        out_begin(200);
        cg_hpack_put_constant(&encoder, &writer, CG_NAME_CONTENT_TYPE,
                              texts[at]);
        check_out(at < CGRPC_HPACK_CACHE ? "5f00" : "0f1000");
    }
    out_begin(200);
    cg_hpack_put_constant(&encoder, &writer, CG_NAME_CONTENT_TYPE, texts[0]);
    check_out("c5"); /* 62 + 7 */
}

TEST(hpack_out__a_full_table_of_the_peer_makes_plain_literals)
{
    cg_hpack_encoder_init(&encoder);
    cg_hpack_peer_limit(&encoder, 12 + 3 + 32);
    out_begin(200);
    cg_hpack_block_begin(&encoder, &writer);
    cg_hpack_put_constant(&encoder, &writer, CG_NAME_CONTENT_TYPE, zero);
    cg_hpack_put_constant(&encoder, &writer, CG_NAME_CONTENT_TYPE, one);
    check_out("20 3f10 5f03'{0}' 0f1003'{1}'");
    cg_hpack_peer_limit(&encoder, 12 + 3 + 31);
    out_begin(200);
    cg_hpack_block_begin(&encoder, &writer);
    cg_hpack_put_constant(&encoder, &writer, CG_NAME_CONTENT_TYPE, zero);
    check_out("20 3f0f 0f1003'{0}'");
}

TEST(hpack_out__a_peer_with_no_table)
{
    cg_hpack_encoder_init(&encoder);
    cg_hpack_peer_limit(&encoder, 0);
    out_begin(200);
    cg_hpack_block_begin(&encoder, &writer);
    cg_hpack_put_constant(&encoder, &writer, CG_NAME_CONTENT_TYPE, zero);
    cg_hpack_block_begin(&encoder, &writer);
    cg_hpack_put_constant(&encoder, &writer, CG_NAME_CONTENT_TYPE, zero);
    check_out("20 0f1003'{0}' 0f1003'{0}'");
}

TEST(hpack_out__a_larger_limit_changes_nothing)
{
    cg_hpack_encoder_init(&encoder);
    cg_hpack_peer_limit(&encoder, 65536);
    cg_hpack_peer_limit(&encoder, 0xFFFFFFFF);
    out_begin(200);
    cg_hpack_block_begin(&encoder, &writer);
    check_out("");
}

TEST(hpack_out__a_limit_that_fell_and_rose_is_told_once)
{
    cg_hpack_encoder_init(&encoder);
    out_begin(200);
    cg_hpack_put_constant(&encoder, &writer, CG_NAME_CONTENT_TYPE, zero);
    cg_hpack_peer_limit(&encoder, 0);
    cg_hpack_peer_limit(&encoder, 4096);
    out_begin(200);
    cg_hpack_block_begin(&encoder, &writer);
    cg_hpack_put_constant(&encoder, &writer, CG_NAME_CONTENT_TYPE, zero);
    cg_hpack_block_begin(&encoder, &writer);
    cg_hpack_put_constant(&encoder, &writer, CG_NAME_CONTENT_TYPE, zero);
    check_out("20 3fe11f 5f03'{0}' be");
}

TEST(hpack_out__a_known_name_is_inserted_once)
{
    cg_hpack_encoder_init(&encoder);
    out_begin(200);
    cg_hpack_put_known(&encoder, &writer, CG_NAME_TE, text_of("{}"));
    cg_hpack_put_known(&encoder, &writer, CG_NAME_TE, text_of("{1}"));
    cg_hpack_put_known(&encoder, &writer, CG_NAME_TE, text_of("{2}"));
    check_out("40 02'te' 02'{}' 0f2f 03'{1}' 0f2f 03'{2}'");
}

TEST(hpack_out__secrets_are_never_indexed)
{
    cg_hpack_encoder_init(&encoder);
    out_begin(200);
    cg_hpack_put_known(&encoder, &writer, CG_NAME_AUTHORIZATION,
                       text_of("{}"));
    cg_hpack_put_known(&encoder, &writer, CG_NAME_CONTENT_TYPE,
                       text_of("{}"));
    check_out("1f08 02'{}' 0f10 02'{}'");
    CHECK(encoder.at.count == 0);
}

TEST(hpack_out__numbers_and_timeouts)
{
    cg_hpack_encoder_init(&encoder);
    encoder.limit = 0;
    out_begin(200);
    cg_hpack_put_number(&encoder, &writer, CG_NAME_CONTENT_LENGTH, 0);
    cg_hpack_put_number(&encoder, &writer, CG_NAME_CONTENT_LENGTH, 4294967295u);
    check_out("0f0d01'0' 0f0d88 684fb4fb8e89f6ff");
}

static void check_timeout(uint32_t ms, const char *expected)
{
    uint8_t text[64];
    size_t len = strlen(expected);
    cg_hpack_encoder_init(&encoder);
    encoder.limit = 0;
    out_begin(200);
    cg_hpack_put_timeout(&encoder, &writer, ms);
    begin();
    decoder.state = CG_AT_FIELD;
    cg_hpack_begin(&decoder, NULL, 0);
    CHECK(eat(wire, writer.len));
    (void)text, (void)len;
    sprintf((char *)text, "54=%lu ",
            (unsigned long)cg_timeout_pack(
                (uint32_t)atol(expected) *
                (expected[len - 1] == 'S' ? 1000u : 1u)));
    CHECK(strcmp(said, (char *)text) == 0);
}

TEST(hpack_out__timeouts_have_eight_digits_at_most)
{
    usual();
    check_timeout(0, "0m");
    check_timeout(1000, "1000m");
    check_timeout(99999999, "99999999m");
    check_timeout(100000000, "100000S");
    check_timeout(0x7FFFFFFF, "2147483S");
}

TEST(hpack_out__base64_is_not_padded)
{
    static const char *const texts[] = { "", "a", "ab", "abc", "abcd" };
    static const char *const coded[] = { "", "YQ", "YWI", "YWJj", "YWJjZA" };
    char expected[64];
    size_t at;
    for (at = 0; at < 5; ++at) {
        out_begin(200);
        cg_hpack_put_string(&writer, CG_AS_BASE64, texts[at],
                            strlen(texts[at]));
        sprintf(expected, "%02x '%s'", (unsigned)strlen(coded[at]),
                coded[at]);
        check_out(expected);
    }
}

TEST(hpack_out__messages_are_percent_encoded)
{
    out_begin(200);
    cg_hpack_put_string(&writer, CG_AS_PERCENT, "50% \n\xff~ x", 9);
    check_out("0f '50%25 %0A%FF~ x'");
    out_begin(200);
    cg_hpack_put_string(&writer, CG_AS_PERCENT, " a ", 3);
    check_out("07 '%20a%20'");
    out_begin(200);
    cg_hpack_put_string(&writer, CG_AS_PERCENT, " ", 1);
    check_out("03 '%20'");
    out_begin(200);
    cg_hpack_put_string(&writer, CG_AS_PERCENT, "", 0);
    check_out("00");
}

/* Whatever the room, a block is whole or `full`, and nothing is written
 * behind it. */
TEST(hpack_out__a_writer_that_is_full_says_so)
{
    size_t cap, whole = 0;
    for (cap = 300; cap + 1 > 0; --cap) {
        cg_hpack_encoder_init(&encoder);
        cg_hpack_peer_limit(&encoder, 2000);
        memset(wire, 0xEE, 400);
        out_begin(cap);
        cg_hpack_block_begin(&encoder, &writer);
        cg_hpack_put_index(&writer, 3);
        cg_hpack_put_constant(&encoder, &writer, CG_NAME_CONTENT_TYPE,
                              type_grpc);
        cg_hpack_put_known(&encoder, &writer, CG_NAME_GRPC_MESSAGE,
                           text_of("not so \n fast"));
        cg_hpack_put_known(&encoder, &writer, CG_NAME_GRPC_DETAILS,
                           text_of("abcdefg"));
        cg_hpack_put_number(&encoder, &writer, CG_NAME_GRPC_STATUS, 123);
        if (cap == 300) whole = writer.len;
        CHECK(writer.full == (cap < whole));
        CHECK((writer.full || writer.len <= cap) && wire[cap] == 0xEE);
    }
    CHECK(whole > 50);
}

TEST(hpack_out__our_decoder_reads_it)
{
    size_t len;
    usual();
    begin();
    cg_hpack_encoder_init(&encoder);
    out_begin(400);
    cg_hpack_put_index(&writer, 3);
    cg_hpack_put_constant(&encoder, &writer, CG_NAME_PATH,
                          "/time.Clock/Now");
    cg_hpack_put_constant(&encoder, &writer, CG_NAME_CONTENT_TYPE, type_grpc);
    cg_hpack_put_timeout(&encoder, &writer, 1500);
    cg_hpack_put_known(&encoder, &writer, CG_NAME_GRPC_MESSAGE,
                       text_of("100% \n"));
    cg_hpack_put_known(&encoder, &writer, CG_NAME_GRPC_DETAILS,
                       text_of("abcdefg"));
    len = writer.len;
    CHECK(!writer.full);
    arena.base = arena_memory;
    arena.len = 0;
    arena.cap = 1000;
    arena_said = 0;
    cg_hpack_begin(&decoder, &arena, 0);
    CHECK(eat(wire, len) && cg_hpack_end(&decoder));
    CHECK(strcmp(said, "2=1 3=4 22=1 54=24000 58=0{100% \\0a} "
                       "59=0{abcdefg} ") == 0);
}

/* ---- metadata ---- */

static cgrpc_result add(int which, const char *key, const char *value,
                        size_t len)
{
    cgrpc_metadata m;
    m.key = key;
    m.value = value;
    m.len = len;
    return cg_metadata_add(&arena, &vocabulary, (unsigned)which, &m);
}

static void metadata_begin(size_t cap)
{
    usual();
    begin();
    memset(arena_memory, 0xA5, sizeof(arena_memory));
    arena.base = arena_memory;
    arena.len = 0;
    arena.cap = (uint16_t)cap;
    arena_said = 0;
}

TEST(metadata_add__refuses_bad_keys)
{
    static const char *const bad[] = {
        "", "X", "a b", ":path", "a:b", "grpc-foo", "grpc-status", "te",
        "content-type", "content-length", "connection", "keep-alive",
        "proxy-connection", "transfer-encoding", "upgrade", "user-agent",
        "grpc-", "a/b", "\x7f", "\xe4"
    };
    size_t at;
    metadata_begin(1000);
    for (at = 0; at < sizeof(bad) / sizeof(bad[0]); ++at)
        CHECK(add(CG_OUT_INITIAL, bad[at], "a", 1) == CGRPC_E_ARGUMENT);
    CHECK(add(CG_OUT_INITIAL, NULL, "a", 1) == CGRPC_E_ARGUMENT);
    CHECK(arena.len == 0);
}

TEST(metadata_add__refuses_bad_values)
{
    metadata_begin(1000);
    CHECK(add(CG_OUT_INITIAL, "a", "b\n", 0) == CGRPC_E_ARGUMENT);
    CHECK(add(CG_OUT_INITIAL, "a", "b\0c", 3) == CGRPC_E_ARGUMENT);
    CHECK(add(CG_OUT_INITIAL, "a", "\x80", 0) == CGRPC_E_ARGUMENT);
    CHECK(add(CG_OUT_INITIAL, "a", " b", 0) == CGRPC_E_ARGUMENT);
    CHECK(add(CG_OUT_INITIAL, "a", "b ", 0) == CGRPC_E_ARGUMENT);
    CHECK(add(CG_OUT_INITIAL, "a", NULL, 1) == CGRPC_E_ARGUMENT);
    CHECK(arena.len == 0);
    CHECK(add(CG_OUT_INITIAL, "a", NULL, 0) == CGRPC_SUCCESS);
    CHECK(add(CG_OUT_INITIAL, "a", "", 0) == CGRPC_SUCCESS);
    CHECK(add(CG_OUT_INITIAL, "a-bin", "b\0\n", 3) == CGRPC_SUCCESS);
}

TEST(metadata_add__says_when_it_is_full)
{
    metadata_begin(5 + 4 + 4);
    CHECK(add(CG_OUT_INITIAL, "key", "abcd", 0) == CGRPC_E_ROOM);
    CHECK(add(CG_OUT_INITIAL, "key", "abc", 0) == CGRPC_SUCCESS);
    CHECK(arena.len == 13 && arena_memory[13] == 0xA5);
    CHECK(add(CG_OUT_INITIAL, "key", "", 0) == CGRPC_E_ROOM);
}

TEST(metadata_encode__writes_each_form)
{
    metadata_begin(1000);
    cg_hpack_encoder_init(&encoder);
    CHECK(add(CG_OUT_INITIAL, "a", "{1}", 0) == CGRPC_SUCCESS);
    CHECK(add(CG_OUT_TRAILING, "b", "{2}", 0) == CGRPC_SUCCESS);
    CHECK(add(CG_OUT_INITIAL, "x-token", "{3}", 0) == CGRPC_SUCCESS);
    CHECK(add(CG_OUT_INITIAL, "a-bin", "a", 1) == CGRPC_SUCCESS);
    CHECK(add(CG_OUT_INITIAL, "b-bin", "ab", 2) == CGRPC_SUCCESS);
    CHECK(add(CG_OUT_INITIAL, "authorization", "{4}", 0) == CGRPC_SUCCESS);
    CHECK(add(CG_OUT_INITIAL, "location", "{5}", 0) == CGRPC_SUCCESS);
    out_begin(400);
    cg_metadata_encode(&arena, &vocabulary, CG_OUT_INITIAL, &encoder,
                       &writer);
    check_out("00 01'a' 03'{1}' 00 86f2b24fd4b57f 03'{3}'"
              "00 841ad19aaf 02'YQ' 00 848d68cd57 03'YWI'"
              "1f08 03'{4}' 0f1f 03'{5}'");
}

TEST(metadata_find__counts_values_of_one_key)
{
    size_t len = 99, at = 0;
    cgrpc_metadata m;
    metadata_begin(1000);
    cg_hpack_begin(&decoder, &arena, CG_IN_INITIAL);
    len = bytes_of("00 07'x-token' 01'a' 81 00 0a'x-data-bin' 02'YQ' "
                   "00 07'x-token' 02'bc' 0f0803'sec'", wire);
    CHECK(eat(wire, len));
    CHECK(cg_hpack_end(&decoder));
    CHECK(strcmp(cg_metadata_find(&arena, &vocabulary, CG_IN_INITIAL,
                                  "x-token", 1, &len), "bc") == 0);
    CHECK(len == 2);
    CHECK(strcmp(cg_metadata_find(&arena, &vocabulary, CG_IN_INITIAL,
                                  "x-token", 0, NULL), "a") == 0);
    CHECK(cg_metadata_find(&arena, &vocabulary, CG_IN_INITIAL, "x-token", 2,
                           &len) == NULL);
    CHECK(len == 0);
    CHECK(cg_metadata_find(&arena, &vocabulary, CG_IN_TRAILING, "x-token", 0,
                           &len) == NULL);
    CHECK(cg_metadata_find(&arena, &vocabulary, CG_IN_INITIAL, "x-other", 0,
                           &len) == NULL);
    CHECK(strcmp(cg_metadata_find(&arena, &vocabulary, CG_IN_INITIAL,
                                  "authorization", 0, &len), "sec") == 0);
    CHECK(strcmp(cg_metadata_find(&arena, &vocabulary, CG_IN_INITIAL,
                                  ":authority", 0, &len), "") == 0);
    CHECK(cg_metadata_next(&arena, &vocabulary, CG_IN_INITIAL, &at, &m));
    CHECK(strcmp(m.key, "x-token") == 0 && m.len == 1);
    CHECK(cg_metadata_next(&arena, &vocabulary, CG_IN_INITIAL, &at, &m));
    CHECK(strcmp(m.key, ":authority") == 0 && m.len == 0);
    CHECK(cg_metadata_next(&arena, &vocabulary, CG_IN_INITIAL, &at, &m));
    CHECK(strcmp(m.key, "x-data-bin") == 0 && m.len == 1);
    CHECK(cg_metadata_next(&arena, &vocabulary, CG_IN_INITIAL, &at, &m));
    CHECK(strcmp(m.key, "x-token") == 0 && m.len == 2);
    CHECK(cg_metadata_next(&arena, &vocabulary, CG_IN_INITIAL, &at, &m));
    CHECK(strcmp(m.key, "authorization") == 0 && m.len == 3);
    CHECK(!cg_metadata_next(&arena, &vocabulary, CG_IN_INITIAL, &at, &m));
}

TEST(metadata_remove__leaves_the_others)
{
    size_t len;
    metadata_begin(1000);
    add(CG_OUT_INITIAL, "a", "1", 0);
    add(CG_OUT_TRAILING, "b", "2", 0);
    add(CG_OUT_INITIAL, "c", "3", 0);
    add(CG_OUT_TRAILING, "x-token", "4", 0);
    cg_metadata_remove(&arena, CG_OUT_INITIAL, 0);
    CHECK(arena.len == 9 + 7);
    CHECK(cg_metadata_find(&arena, &vocabulary, CG_OUT_INITIAL, "a", 0,
                           &len) == NULL);
    CHECK(strcmp(cg_metadata_find(&arena, &vocabulary, CG_OUT_TRAILING, "b",
                                  0, &len), "2") == 0);
    CHECK(strcmp(cg_metadata_find(&arena, &vocabulary, CG_OUT_TRAILING,
                                  "x-token", 0, &len), "4") == 0);
    cg_metadata_remove(&arena, CG_OUT_TRAILING, CG_NAME_TE);
    CHECK(arena.len == 16);
    cg_metadata_remove(&arena, CG_OUT_TRAILING, 0);
    CHECK(arena.len == 0);
}

TEST(metadata_message__is_cut_between_characters)
{
    size_t len, cap;
    for (cap = 0; cap < 12; ++cap) {
        const char *text;
        metadata_begin(cap);
        cg_metadata_explain(&arena, CG_OUT_TRAILING, "a\xe2\x98\xba" "b");
        text = cg_metadata_find(&arena, &vocabulary, CG_OUT_TRAILING,
                                "grpc-message", 0, &len);
        CHECK(cap < 6 ? text == NULL : text != NULL);
        CHECK(len == (cap < 7 ? 0u : cap < 10 ? 1u : cap == 10 ? 4u : 5u));
    }
}

TEST(metadata_message__replaces_an_earlier_one)
{
    size_t len;
    metadata_begin(100);
    cg_metadata_explain(&arena, CG_OUT_TRAILING, "first");
    cg_metadata_explain(&arena, CG_OUT_TRAILING, "second");
    CHECK(arena.len == CG_RECORD_HEAD + 6 + 1);
    CHECK(strcmp(cg_metadata_find(&arena, &vocabulary, CG_OUT_TRAILING,
                                  "grpc-message", 0, &len), "second") == 0);
}

TEST(vocabulary__refuses_bad_keys)
{
    static const char *const upper[] = { "X-Token" };
    static const char *const pseudo[] = { ":path" };
    static const char *const empty[] = { "" };
    static const char *many[192];
    cgrpc_vocabulary v;
    size_t at;
    for (at = 0; at < 192; ++at) many[at] = "a";
    CHECK(!cg_vocabulary_init(&v, upper, 1));
    CHECK(!cg_vocabulary_init(&v, pseudo, 1));
    CHECK(!cg_vocabulary_init(&v, empty, 1));
    CHECK(cg_vocabulary_init(&v, many, 191));
    CHECK(!cg_vocabulary_init(&v, many, 192));
    CHECK(cg_vocabulary_init(&v, NULL, 0));
}

TEST(base__time_wraps)
{
    CHECK(cg_time_reached(5, 5) && cg_time_reached(6, 5));
    CHECK(!cg_time_reached(4, 5));
    CHECK(cg_time_reached(3, 0xFFFFFFF0u));
    CHECK(!cg_time_reached(0xFFFFFFF0u, 3));
}

TEST(base__bytes_are_big_endian)
{
    uint8_t bytes[4];
    cg_set32(bytes, 0x12345678);
    CHECK(memcmp(bytes, "\x12\x34\x56\x78", 4) == 0);
    CHECK(cg_get32(bytes) == 0x12345678 && cg_get16(bytes + 1) == 0x3456);
}

TESTS = {
    RUN(appendix_c_1_1__ten_in_five_bits),
    RUN(appendix_c_1_2__1337_in_five_bits),
    RUN(appendix_c_1_3__42_at_an_octet_boundary),
    RUN(appendix_c_2_1__literal_with_indexing),
    RUN(appendix_c_2_2__literal_without_indexing),
    RUN(appendix_c_2_3__literal_never_indexed),
    RUN(appendix_c_2_4__indexed_field),
    RUN(appendix_c_3_1__first_request),
    RUN(appendix_c_3_2__second_request),
    RUN(appendix_c_3_3__third_request),
    RUN(appendix_c_4_1__first_request_huffman),
    RUN(appendix_c_4_2__second_request_huffman),
    RUN(appendix_c_4_3__third_request_huffman),
    RUN(appendix_c_5_1__first_response),
    RUN(appendix_c_5_2__second_response),
    RUN(appendix_c_5_3__third_response),
    RUN(appendix_c_6_1__first_response_huffman),
    RUN(appendix_c_6_2__second_response_huffman),
    RUN(appendix_c_6_3__third_response_huffman),
    RUN(hpack_int__rejects_an_overlong_value),
    RUN(hpack_int__rejects_too_many_continuation_bytes),
    RUN(hpack_int__takes_padding_of_up_to_four_bytes),
    RUN(hpack_index__zero_is_an_error),
    RUN(hpack_index__beyond_the_table_is_an_error),
    RUN(hpack_index__every_static_name_has_its_id),
    RUN(hpack_index__static_values_mean_what_literals_mean),
    RUN(hpack_block__may_not_end_within_a_field),
    RUN(hpack_block__fails_for_good),
    RUN(hpack_huffman__rejects_eos),
    RUN(hpack_huffman__rejects_padding_of_a_byte_or_more),
    RUN(hpack_huffman__rejects_padding_that_is_not_ones),
    RUN(hpack_huffman__decodes_every_symbol),
    RUN(hpack_huffman__encodes_what_it_decodes),
    RUN(hpack_huffman__is_not_used_where_it_gets_longer),
    RUN(hpack_size__updates_are_legal_at_the_start_only),
    RUN(hpack_size__over_the_limit_is_an_error),
    RUN(hpack_size__a_peer_need_not_follow_a_lower_limit),
    RUN(hpack_size__zero_empties_the_table),
    RUN(hpack_size__shrinking_evicts_the_oldest),
    RUN(hpack_table__a_field_that_fits_exactly_stays),
    RUN(hpack_table__a_field_larger_than_it_empties_it),
    RUN(hpack_table__an_evicted_name_is_still_known),
    RUN(hpack_table__holds_128_of_the_smallest_fields),
    RUN(hpack_table__lengths_saturate),
    RUN(hpack_name__upper_case_is_malformed),
    RUN(hpack_name__must_be_visible_ascii),
    RUN(hpack_name__a_colon_is_for_pseudo_headers),
    RUN(hpack_name__may_not_be_empty),
    RUN(hpack_name__malformed_is_inherited),
    RUN(hpack_name__is_matched_whole),
    RUN(hpack_name__each_known_one_is_found),
    RUN(hpack_value__may_not_hold_control_characters),
    RUN(hpack_value__may_not_begin_or_end_with_space),
    RUN(hpack_value__malformed_is_kept_in_the_table),
    RUN(hpack_value__methods_and_schemes),
    RUN(hpack_value__paths_are_methods),
    RUN(hpack_value__a_side_without_services_knows_no_path),
    RUN(hpack_value__te_and_encodings),
    RUN(hpack_value__content_types),
    RUN(hpack_value__numbers),
    RUN(hpack_timeout__in_all_units),
    RUN(hpack_timeout__short_is_never_endless),
    RUN(hpack_timeout__long_saturates),
    RUN(hpack_timeout__malformed),
    RUN(hpack_text__unwanted_fields_take_no_memory),
    RUN(hpack_text__a_field_that_fits_exactly),
    RUN(hpack_text__overflow_keeps_what_came_before),
    RUN(hpack_text__an_indexed_one_may_overflow),
    RUN(hpack_text__what_overflowed_is_lost_to_later_calls),
    RUN(hpack_text__without_an_arena_the_store_alone_keeps_it),
    RUN(hpack_text__is_dropped_where_the_arena_changes_meanwhile),
    RUN(hpack_text__a_reference_brings_it_back),
    RUN(hpack_text__eviction_forgets_it),
    RUN(hpack_store__drops_the_least_recently_referenced),
    RUN(hpack_store__drops_evicted_entries_first),
    RUN(hpack_store__one_that_never_fits_drops_nothing),
    RUN(hpack_store__works_with_no_memory),
    RUN(hpack_store__survives_65536_insertions),
    RUN(hpack_base64__padded_or_not),
    RUN(hpack_base64__commas_make_several_values),
    RUN(hpack_base64__refuses_what_is_none),
    RUN(hpack_base64__may_overflow_anywhere),
    RUN(hpack_percent__decodes),
    RUN(hpack_percent__leaves_what_is_no_escape),
    RUN(hpack_percent__an_indexed_message_is_decoded_once),
    RUN(hpack_out__a_constant_is_one_byte_the_second_time),
    RUN(hpack_out__one_text_under_two_names_is_two_constants),
    RUN(hpack_out__a_full_cache_makes_plain_literals),
    RUN(hpack_out__a_full_table_of_the_peer_makes_plain_literals),
    RUN(hpack_out__a_peer_with_no_table),
    RUN(hpack_out__a_larger_limit_changes_nothing),
    RUN(hpack_out__a_limit_that_fell_and_rose_is_told_once),
    RUN(hpack_out__a_known_name_is_inserted_once),
    RUN(hpack_out__secrets_are_never_indexed),
    RUN(hpack_out__numbers_and_timeouts),
    RUN(hpack_out__timeouts_have_eight_digits_at_most),
    RUN(hpack_out__base64_is_not_padded),
    RUN(hpack_out__messages_are_percent_encoded),
    RUN(hpack_out__a_writer_that_is_full_says_so),
    RUN(hpack_out__our_decoder_reads_it),
    RUN(metadata_add__refuses_bad_keys),
    RUN(metadata_add__refuses_bad_values),
    RUN(metadata_add__says_when_it_is_full),
    RUN(metadata_encode__writes_each_form),
    RUN(metadata_find__counts_values_of_one_key),
    RUN(metadata_remove__leaves_the_others),
    RUN(metadata_message__is_cut_between_characters),
    RUN(metadata_message__replaces_an_earlier_one),
    RUN(vocabulary__refuses_bad_keys),
    RUN(base__time_wraps),
    RUN(base__bytes_are_big_endian),
    TESTS_END
};
