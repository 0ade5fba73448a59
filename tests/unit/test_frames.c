/* Frames and header blocks, legal and illegal, as a server reads them: RFC
 * 9113, sections 3.4, 4, 5.1, 6 and 8, and everything that floods.
 *
 *   cc -std=c99 -I. -Iport tests/unit/test_frames.c -o t && ./t
 */
#define CGRPC_IMPLEMENTATION
#define CGRPC_NANOPB 0
#define CGRPC_HUFFMAN_ENCODE 0
#include "cgrpc_memory.h"
#include "wire.h"
#include "test.h"
#include "server_rig.h"

CGRPC_SERVER_DEFINE(normal, 2, 4, 256, 512, RIG_SCRATCH);
CGRPC_SERVER_DEFINE(broad, 2, 16, 256, 512, RIG_SCRATCH);

#define REPLY_HI(id) REPLY_HEAD(id) "D" #id " \\00\\00\\00\\00\\02hi\n" \
    REPLY_END(id)

/* ---- each frame by itself ---- */

typedef struct one_frame {
    const char *what;
    int type, flags;
    uint32_t id;
    const char *payload; /* NULL: zeros */
    size_t len;
    const char *answer;
} one_frame;

/* Stream 1 is open and has got half a message, 3 has ended on both sides, 5
 * is idle. */
static void three_streams(void)
{
    start(&normal);
    request(1, "Chat", "");
    data(1, 0, "\0\0\0\0\4", 5);
    request(3, "Unary", "");
    say(3, END_STREAM, "hi");
    wire_forget(&peer->reader);
}

#define GONE(code) "G 3 " code "\n"

static const one_frame frames[] = {
    { "DATA on the connection", DATA, 0, 0, "x", 1, GONE("1") },
    { "DATA on an idle stream", DATA, 0, 5, "x", 1, GONE("1") },
    { "DATA on a stream of the server's", DATA, 0, 2, "x", 1, GONE("1") },
    { "DATA on an ended stream", DATA, 0, 3, "x", 1, "R3 5\n" },
    { "DATA that is empty", DATA, 0, 1, "", 0, "" },
    { "DATA that is all padding", DATA, PADDED, 1, "\3\0\0\0", 4, "" },
    { "DATA with no room for its pad length", DATA, PADDED, 1, "", 0,
      GONE("6") },
    { "DATA whose padding is as long as all of it", DATA, PADDED, 1,
      "\4\0\0\0", 4, GONE("1") },
    { "DATA whose padding is longer than that", DATA, PADDED, 1, "\377\0", 2,
      GONE("1") },
    { "DATA with unknown flags", DATA, 0xF6, 1, "", 0, "" },
    { "HEADERS on the connection", HEADERS, END_HEADERS, 0, "", 0,
      GONE("1") },
    { "HEADERS on a stream of the server's", HEADERS, END_HEADERS, 2, "", 0,
      GONE("1") },
    { "HEADERS on an ended stream", HEADERS, END_HEADERS, 3, "", 0,
      GONE("5") },
    { "HEADERS that say nothing", HEADERS, END_HEADERS, 5, "", 0,
      "R5 1\n" },
    { "HEADERS that depend on themselves", HEADERS,
      END_HEADERS | WITH_PRIORITY, 5, "\0\0\0\5\1", 5, "G 5 1\n" },
    { "HEADERS that depend on themselves alone", HEADERS,
      END_HEADERS | WITH_PRIORITY, 5, "\200\0\0\5\1", 5, "G 5 1\n" },
    { "HEADERS with no room for their priority", HEADERS,
      END_HEADERS | WITH_PRIORITY, 5, NULL, 4, GONE("6") },
    { "HEADERS whose padding is too long", HEADERS, END_HEADERS | PADDED, 5,
      "\4\0\0\0", 4, "G 5 1\n" },
    { "HEADERS with an index that no table has", HEADERS, END_HEADERS, 5,
      "\377\177", 2, "G 5 9\n" },
    { "HEADERS cut inside of a field", HEADERS, END_HEADERS, 5, "\0\5a", 3,
      "G 5 9\n" },
    { "PRIORITY", PRIORITY, 0, 1, "\0\0\0\3\1", 5, "" },
    { "PRIORITY of an idle stream", PRIORITY, 0, 77, "\0\0\0\3\1", 5, "" },
    { "PRIORITY of an ended stream", PRIORITY, 0, 3, "\0\0\0\1\1", 5, "" },
    { "PRIORITY of the connection", PRIORITY, 0, 0, NULL, 5, GONE("1") },
    { "PRIORITY of 4 bytes", PRIORITY, 0, 1, NULL, 4, GONE("6") },
    { "PRIORITY of 6 bytes", PRIORITY, 0, 1, NULL, 6, GONE("6") },
    { "PRIORITY over itself", PRIORITY, 0, 1, "\0\0\0\1\1", 5, GONE("1") },
    { "RST_STREAM", RST_STREAM, 0, 1, "\0\0\0\10", 4, "" },
    { "RST_STREAM with a code nobody knows", RST_STREAM, 0, 1,
      "\377\377\377\377", 4, "" },
    { "RST_STREAM of an ended stream", RST_STREAM, 0, 3, NULL, 4, "" },
    { "RST_STREAM of an idle stream", RST_STREAM, 0, 5, NULL, 4, GONE("1") },
    { "RST_STREAM of the connection", RST_STREAM, 0, 0, NULL, 4, GONE("1") },
    { "RST_STREAM of 3 bytes", RST_STREAM, 0, 1, NULL, 3, GONE("6") },
    { "RST_STREAM of 5 bytes", RST_STREAM, 0, 1, NULL, 5, GONE("6") },
    { "SETTINGS", SETTINGS, 0, 0, "", 0, "SA\n" },
    { "SETTINGS nobody knows", SETTINGS, 0xFE, 0, "\0\377\1\2\3\4", 6,
      "SA\n" },
    { "SETTINGS of a stream", SETTINGS, 0, 1, "", 0, GONE("1") },
    { "SETTINGS of 5 bytes", SETTINGS, 0, 0, NULL, 5, GONE("6") },
    { "SETTINGS of 7 bytes", SETTINGS, 0, 0, NULL, 7, GONE("6") },
    { "SETTINGS of one too many bytes behind good ones", SETTINGS, 0, 0,
      "\0\3\0\0\0\1\0\4\0\0\0\7\0", 13, GONE("6") },
    { "SETTINGS of one too few", SETTINGS, 0, 0,
      "\0\3\0\0\0\1\0\4\0\0\0", 11, GONE("6") },
    { "SETTINGS acknowledged with a payload", SETTINGS, ACK, 0, NULL, 6,
      GONE("6") },
    { "SETTINGS acknowledged once more", SETTINGS, ACK, 0, "", 0, "" },
    { "HEADER_TABLE_SIZE of 4 GB", SETTINGS, 0, 0, "\0\1\377\377\377\377", 6,
      "SA\n" },
    { "ENABLE_PUSH of 0", SETTINGS, 0, 0, "\0\2\0\0\0\0", 6, "SA\n" },
    { "ENABLE_PUSH of 1", SETTINGS, 0, 0, "\0\2\0\0\0\1", 6, "SA\n" },
    { "ENABLE_PUSH of 2", SETTINGS, 0, 0, "\0\2\0\0\0\2", 6, GONE("1") },
    { "MAX_CONCURRENT_STREAMS of 0", SETTINGS, 0, 0, "\0\3\0\0\0\0", 6,
      "SA\n" },
    { "INITIAL_WINDOW_SIZE of 2^31 - 1", SETTINGS, 0, 0,
      "\0\4\177\377\377\377", 6, "SA\n" },
    { "INITIAL_WINDOW_SIZE of 2^31", SETTINGS, 0, 0, "\0\4\200\0\0\0", 6,
      GONE("3") },
    { "MAX_FRAME_SIZE of 16383", SETTINGS, 0, 0, "\0\5\0\0\77\377", 6,
      GONE("1") },
    { "MAX_FRAME_SIZE of 16384", SETTINGS, 0, 0, "\0\5\0\0\100\0", 6,
      "SA\n" },
    { "MAX_FRAME_SIZE of 2^24 - 1", SETTINGS, 0, 0, "\0\5\0\377\377\377", 6,
      "SA\n" },
    { "MAX_FRAME_SIZE of 2^24", SETTINGS, 0, 0, "\0\5\1\0\0\0", 6,
      GONE("1") },
    { "MAX_HEADER_LIST_SIZE of 0", SETTINGS, 0, 0, "\0\6\0\0\0\0", 6,
      "SA\n" },
    { "a bad value behind a good one", SETTINGS, 0, 0,
      "\0\3\0\0\0\1\0\2\0\0\0\7", 12, GONE("1") },
    { "PUSH_PROMISE", PUSH_PROMISE, END_HEADERS, 1, "\0\0\0\2", 4,
      GONE("1") },
    { "PING", PING, 0, 0, "\1\2\3\4\5\6\7\10", 8,
      "PA 0102030405060708\n" },
    { "PING that acknowledges", PING, ACK, 0, "\1\2\3\4\5\6\7\10", 8, "" },
    { "PING with unknown flags", PING, 0xFE, 0, NULL, 8,
      "PA 0000000000000000\n" },
    { "PING of a stream", PING, 0, 1, NULL, 8, GONE("1") },
    { "PING of 7 bytes", PING, 0, 0, NULL, 7, GONE("6") },
    { "PING of 9 bytes", PING, 0, 0, NULL, 9, GONE("6") },
    { "PING that acknowledges, of no byte", PING, ACK, 0, "", 0,
      GONE("6") },
    { "GOAWAY", GOAWAY, 0, 0, NULL, 8, "" },
    { "GOAWAY that explains", GOAWAY, 0, 0, NULL, 100, "" },
    { "GOAWAY of a stream", GOAWAY, 0, 1, NULL, 8, GONE("1") },
    { "GOAWAY of 7 bytes", GOAWAY, 0, 0, NULL, 7, GONE("6") },
    { "WINDOW_UPDATE", WINDOW_UPDATE, 0, 0, "\0\0\0\1", 4, "" },
    { "WINDOW_UPDATE with the reserved bit", WINDOW_UPDATE, 0, 0,
      "\200\0\0\1", 4, "" },
    { "WINDOW_UPDATE of 0", WINDOW_UPDATE, 0, 0, "\0\0\0\0", 4, GONE("1") },
    { "WINDOW_UPDATE of 0 and the reserved bit", WINDOW_UPDATE, 0, 0,
      "\200\0\0\0", 4, GONE("1") },
    { "WINDOW_UPDATE past 2^31 - 1", WINDOW_UPDATE, 0, 0,
      "\177\377\377\377", 4, GONE("3") },
    { "WINDOW_UPDATE of a stream", WINDOW_UPDATE, 0, 1, "\0\0\0\1", 4, "" },
    { "WINDOW_UPDATE of 0 for a stream", WINDOW_UPDATE, 0, 1, "\0\0\0\0", 4,
      "R1 1\n" },
    { "WINDOW_UPDATE past 2^31 - 1 for a stream", WINDOW_UPDATE, 0, 1,
      "\177\377\377\377", 4, "R1 3\n" },
    { "WINDOW_UPDATE of an ended stream", WINDOW_UPDATE, 0, 3, "\0\0\0\1", 4,
      "" },
    { "WINDOW_UPDATE of an idle stream", WINDOW_UPDATE, 0, 5, "\0\0\0\1", 4,
      GONE("1") },
    { "WINDOW_UPDATE of a stream of the server's", WINDOW_UPDATE, 0, 2,
      "\0\0\0\1", 4, GONE("1") },
    { "WINDOW_UPDATE of 3 bytes", WINDOW_UPDATE, 0, 1, NULL, 3, GONE("6") },
    { "WINDOW_UPDATE of 5 bytes", WINDOW_UPDATE, 0, 0, NULL, 5, GONE("6") },
    { "CONTINUATION of nothing", CONTINUATION, END_HEADERS, 1, "", 0,
      GONE("1") },
    { "CONTINUATION on the connection", CONTINUATION, 0, 0, "", 0,
      GONE("1") },
    { "a frame nobody knows", 10, 0xFF, 0, "anything", 8, "" },
    { "a frame nobody knows, of an idle stream", 0xFF, 0, 99, NULL, 16384,
      "" },
    { "a frame nobody knows, too large", 10, 0, 0, NULL, 16385, GONE("6") },
    { "DATA that is too large", DATA, 0, 1, NULL, 16385, GONE("6") }
};

enum { FRAMES = sizeof(frames) / sizeof(frames[0]) };

/* With the reserved bit of the stream's id, where `id` has it. */
static void put_frame(const one_frame *f, uint32_t bit)
{
    static uint8_t payload[16385];
    memset(payload, 0, sizeof(payload));
    if (f->payload && f->len) memcpy(payload, f->payload, f->len);
    frame(f->type, f->flags, f->id | bit, payload, f->len);
}

static void judge_frames(size_t cut, uint32_t bit)
{
    size_t i;
    for (i = 0; i < FRAMES; i++) {
        bool same;
        three_streams();
        pieces = cut;
        put_frame(&frames[i], bit);
        pieces = 0;
        same = rig_says(frames[i].answer);
        if (!same) printf("  (to %s)\n", frames[i].what);
        CHECK(same);
        if (frames[i].answer[0] == 'G') continue;
        request(7, "Unary", ""); /* it must still live */
        say(7, END_STREAM, "hi");
        same = rig_says(REPLY_HI(7));
        if (!same) printf("  (after %s)\n", frames[i].what);
        CHECK(same);
    }
}

TEST(frame__each_one_gets_the_answer_that_it_deserves)
{
    judge_frames(0, 0);
}

TEST(frame__each_one_gets_it_though_it_comes_byte_by_byte)
{
    judge_frames(1, 0);
}

TEST(frame__the_reserved_bit_of_a_stream_id_means_nothing)
{
    judge_frames(0, 0x80000000u);
}

/* Nothing that follows a GOAWAY is read, answered or run. */
TEST(frame__a_dead_connection_discards_what_still_comes_and_closes)
{
    three_streams();
    frame(PING, 0, 1, "12345678", 8);
    SAYS(GONE("1"));
    request(7, "Unary", "");
    say(7, END_STREAM, "hi");
    ping("12345678");
    frame(GOAWAY, 0, 1, NULL, 8);
    QUIET();
    CHECK(runs[UNARY] == 1);
    wait_ms(300);
    CHECK(cgrpc_server_idle(server));
}

/* ---- the preface ---- */

TEST(preface__any_wrong_byte_ends_the_connection)
{
    size_t i;
    for (i = 0; i < sizeof(PREFACE) - 1; i++) {
        char text[sizeof(PREFACE)];
        memcpy(text, PREFACE, sizeof(text));
        text[i] ^= 1;
        start_silent(&normal, 0);
        pieces = i & 1;
        put(text, sizeof(PREFACE) - 1);
        SAYS("S 3=4 4=261\nG 0 1\n");
        if (test_failures) return;
    }
}

TEST(preface__may_be_cut_anywhere)
{
    size_t i;
    for (i = 1; i < sizeof(PREFACE) - 1; i++) {
        start_silent(&normal, 0);
        put(PREFACE, i);
        put(PREFACE + i, sizeof(PREFACE) - 1 - i);
        settings(0);
        SAYS("S 3=4 4=261\nSA\n");
    }
}

TEST(preface__settings_must_follow)
{
    static const int others[] = { DATA, HEADERS, PRIORITY, RST_STREAM, PING,
                                  GOAWAY, WINDOW_UPDATE, CONTINUATION, 10 };
    size_t i;
    for (i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        start_silent(&normal, 0);
        put(PREFACE, sizeof(PREFACE) - 1);
        frame(others[i], 0, 1, "\0\0\0\0\0\0\0\0", 8);
        SAID("G 0 1");
    }
    start_silent(&normal, 0);
    put(PREFACE, sizeof(PREFACE) - 1);
    frame(SETTINGS, ACK, 0, NULL, 0);
    SAID("G 0 1");
}

TEST(preface__is_waited_for_ten_seconds)
{
    start_silent(&normal, 0);
    put(PREFACE, 10);
    wait_ms(9999);
    CHECK(!cgrpc_server_idle(server));
    wait_ms(1);
    CHECK(cgrpc_server_idle(server));
}

/* ---- header blocks ---- */

#define HEAD ":method: POST\n:scheme: http\n:path: /t.T/Unary\n"
#define GRPC "content-type: application/grpc\nte: trailers\n"

typedef struct one_block {
    const char *what, *fields;
    bool good;
} one_block;

static const one_block blocks[] = {
    { "a request", HEAD ":authority: x\n" GRPC, true },
    { "no :authority", HEAD GRPC, true },
    { "no te", HEAD "content-type: application/grpc\n", true },
    { "pseudo-fields in another order",
      ":path: /t.T/Unary\n:scheme: https\n:method: POST\n" GRPC, true },
    { "an unknown scheme",
      ":method: POST\n:scheme: coap\n:path: /t.T/Unary\n" GRPC, true },
    { "an empty value", HEAD GRPC "x-y: \n", true },
    { "a host", HEAD GRPC "host: there\n", true },
    { "no :method", ":scheme: http\n:path: /t.T/Unary\n" GRPC, false },
    { "no :scheme", ":method: POST\n:path: /t.T/Unary\n" GRPC, false },
    { "no :path", ":method: POST\n:scheme: http\n" GRPC, false },
    { "an empty :path", ":method: POST\n:scheme: http\n:path: \n" GRPC,
      false },
    { "two :method", ":method: POST\n" HEAD GRPC, false },
    { "two :scheme", ":scheme: http\n" HEAD GRPC, false },
    { "two :path", ":path: /\n" HEAD GRPC, false },
    { "two :authority", ":authority: a\n:authority: a\n" HEAD GRPC, false },
    { "a :status", HEAD ":status: 200\n" GRPC, false },
    { "an unknown pseudo-field", HEAD ":protocol: x\n" GRPC, false },
    { "a pseudo-field behind others", HEAD GRPC ":authority: x\n", false },
    { "a pseudo-field in their midst",
      ":method: POST\nx-y: z\n:scheme: http\n:path: /t.T/Unary\n" GRPC,
      false },
    { "an upper case name", HEAD GRPC "X-y: z\n", false },
    { "an upper case letter in a name", HEAD GRPC "x-Y: z\n", false },
    { "a space in a name", HEAD GRPC "x y: z\n", false },
    { "a colon in a name", HEAD GRPC "x:y: z\n", false },
    { "a control character in a name", HEAD GRPC "x\1y: z\n", false },
    { "a byte over 127 in a name", HEAD GRPC "x\351y: z\n", false },
    { "a carriage return in a value", HEAD GRPC "x-y: a\rb\n", false },
    { "a space before a value", HEAD GRPC "x-y:  z\n", false },
    { "a space behind a value", HEAD GRPC "x-y: z \n", false },
    { "connection", HEAD GRPC "connection: close\n", false },
    { "keep-alive", HEAD GRPC "keep-alive: 5\n", false },
    { "proxy-connection", HEAD GRPC "proxy-connection: x\n", false },
    { "transfer-encoding", HEAD GRPC "transfer-encoding: chunked\n", false },
    { "upgrade", HEAD GRPC "upgrade: h2c\n", false },
    { "another te", HEAD "content-type: application/grpc\nte: gzip\n",
      false },
    { "te of two things",
      HEAD "content-type: application/grpc\nte: trailers, deflate\n", false },
    { "content-length that fits", HEAD GRPC "content-length: 7\n", true },
    { "content-length twice, the same",
      HEAD GRPC "content-length: 7\ncontent-length: 7\n", true },
    { "content-length twice, not the same",
      HEAD GRPC "content-length: 7\ncontent-length: 8\n", false },
    { "content-length that is no number",
      HEAD GRPC "content-length: 7x\n", false },
    { "content-length below zero", HEAD GRPC "content-length: -7\n", false },
    { "content-length with a sign", HEAD GRPC "content-length: +7\n", false },
    { "content-length that is empty", HEAD GRPC "content-length: \n", false },
    { "content-length that is too small",
      HEAD GRPC "content-length: 6\n", false },
    { "content-length that is too large",
      HEAD GRPC "content-length: 8\n", false },
    { "content-length of zero", HEAD GRPC "content-length: 0\n", false }
};

TEST(headers__each_block_is_taken_or_resets_its_stream)
{
    size_t i;
    for (i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) {
        bool same;
        start(&normal);
        recording = true; /* all of it at once */
        session.len = 0;
        headers(1, 0, blocks[i].fields);
        say(1, END_STREAM, "hi");
        recording = false;
        put(session.data, session.len);
        same = rig_says(blocks[i].good ? REPLY_HI(1) : "R1 1\n");
        if (!same) printf("  (to %s)\n", blocks[i].what);
        CHECK(same);
        request(3, "Unary", "");
        say(3, END_STREAM, "hi");
        SAYS(REPLY_HI(3));
    }
}

TEST(headers__trailers_of_a_request_must_end_it_and_hold_no_pseudo_field)
{
    start(&normal);
    request(1, "Unary", "");
    say(1, 0, "hi");
    headers(1, END_STREAM, "x-y: z\n");
    SAYS(REPLY_HI(1));
    request(3, "Unary", "");
    say(3, 0, "hi");
    headers(3, 0, "x-y: z\n");
    SAYS("R3 1\n");
    request(5, "Unary", "");
    say(5, 0, "hi");
    headers(5, END_STREAM, ":path: /\n");
    SAYS("R5 1\n");
    request(7, "Unary", "");
    say(7, 0, "hi");
    headers(7, END_STREAM, "connection: close\n");
    SAYS("R7 1\n");
}

/* HEADERS of nothing but the first `cut` bytes, the others behind it. */
static void split_request(uint32_t id, size_t cut, size_t part)
{
    uint8_t block[1024];
    size_t len = wire_block(block, HEAD GRPC "x-a: some value\n");
    recording = true;
    session.len = 0;
    frame(HEADERS, 0, id, block, cut);
    while (cut < len) {
        size_t some = part && part < len - cut ? part : len - cut;
        frame(CONTINUATION, 0, id, block + cut, some);
        cut += some;
    }
    frame(CONTINUATION, END_HEADERS, id, NULL, 0);
    say(id, END_STREAM, "hi");
    recording = false;
    put(session.data, session.len);
}

TEST(continuation__a_block_may_be_cut_at_every_byte)
{
    uint8_t block[1024];
    size_t cut, len = wire_block(block, HEAD GRPC "x-a: some value\n");
    for (cut = 0; cut <= len; cut++) {
        start(&normal);
        split_request(1, cut, 0);
        SAYS(REPLY_HI(1));
        start(&normal);
        pieces = 1;
        split_request(1, cut, 1);
        SAYS(REPLY_HI(1));
    }
}

TEST(continuation__nothing_else_may_come_in_between)
{
    int type;
    for (type = 0; type < 12; type++) {
        start(&normal);
        frame(HEADERS, 0, 1, "\203", 1);
        if (type == CONTINUATION)
            frame(type, END_HEADERS, 3, NULL, 0); /* of another stream */
        else
            frame(type, 0, type == SETTINGS || type == PING ? 0 : 1,
                  "\0\0\0\1\0\0\0\0", type == SETTINGS ? 0 : 8);
        SAYS("G 1 1\n");
    }
}

TEST(continuation__end_stream_of_the_headers_counts_behind_the_last_one)
{
    uint8_t block[256];
    size_t len = wire_block(block, HEAD GRPC);
    start(&normal);
    frame(HEADERS, END_STREAM, 1, block, 3);
    frame(CONTINUATION, END_HEADERS, 1, block + 3, len - 3);
    SAYS("H1. :status=200 content-type=application/grpc grpc-status=12 "
         "grpc-message=no message where one was expected\n");
}

TEST(continuation__a_block_that_is_never_finished_ends_after_ten_seconds)
{
    start(&normal);
    frame(HEADERS, 0, 1, "\203", 1);
    wait_ms(9999);
    CHECK(!cgrpc_server_idle(server));
    wait_ms(1);
    CHECK(cgrpc_server_idle(server));
}

TEST(headers__padding_and_priority_are_passed_over)
{
    uint8_t payload[512];
    size_t len;
    memset(payload, 0, sizeof(payload));
    payload[0] = 9;
    memcpy(payload + 1, "\200\0\0\0\20", 5);
    len = 6 + wire_block(payload + 6, HEAD GRPC);
    start(&normal);
    pieces = 1;
    frame(HEADERS, END_HEADERS | PADDED | WITH_PRIORITY, 1, payload,
          len + 9);
    say(1, END_STREAM, "hi");
    SAYS(REPLY_HI(1));
}

TEST(data__padding_is_passed_over_and_credited)
{
    int i;
    start(&normal);
    request(1, "Chat", "");
    for (i = 0; i < 1000; i++)
        data(1, PADDED, "\40\0\0\0\0\1x" /* and 32 of padding */
             "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
             "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 39);
    CHECK(runs[CHAT] == 1000);
    DID_NOT_SAY("R");
    DID_NOT_SAY("G");
}

/* ---- ids and late frames ---- */

TEST(stream__ids_only_rise)
{
    start(&normal);
    request(5, "Unary", "");
    say(5, END_STREAM, "hi");
    SAYS(REPLY_HI(5));
    request(3, "Unary", "");
    SAYS("G 5 1\n");
}

static cgrpc_call *last_call;

static cgrpc_status remember_call(cgrpc_call *call, const cgrpc_bytes *in,
                                  cgrpc_bytes *out)
{
    (void)in;
    (void)out;
    last_call = call;
    return CGRPC_PENDING;
}

/* The last stream, 1, closes in each of the ways there are. */
enum { BOTH_ENDED, PEER_RESET, WE_RESET, WAYS };

static void close_one(int how)
{
    start(&broad);
    on_call[CHAT] = remember_call;
    request(1, "Chat", "");
    say(1, 0, "x");
    if (how == BOTH_ENDED) {
        on_call[CHAT] = chat;
        data(1, END_STREAM, NULL, 0);
        cgrpc_call_wake(last_call);
        run();
    } else if (how == PEER_RESET) {
        reset(1, CANCEL);
    } else {
        cgrpc_call_cancel(last_call);
        run();
    }
    wire_forget(&peer->reader);
}

TEST(stream__late_frames_are_judged_by_how_it_closed)
{
    static const char *const late_data[WAYS] = { "R1 5\n", "R1 5\n", "" };
    static const char *const late_headers[WAYS] = { "G 1 5\n", "G 1 5\n",
                                                    "" };
    int how;
    for (how = 0; how < WAYS; how++) {
        close_one(how);
        data(1, END_STREAM, "x", 1);
        SAYS(late_data[how]);
        close_one(how);
        headers(1, END_STREAM, "x-y: z\n");
        SAYS(late_headers[how]);
        close_one(how);
        reset(1, CANCEL);
        credit(1, 5);
        frame(PRIORITY, 0, 1, "\0\0\0\3\1", 5);
        QUIET();
    }
}

TEST(stream__eight_closed_ones_are_remembered_and_older_ones_forgotten)
{
    uint32_t id;
    close_one(WE_RESET);
    on_call[CHAT] = chat;
    for (id = 3; id < 3 + 2 * 7; id += 2) {
        request(id, "Unary", "");
        say(id, END_STREAM, "hi");
    }
    wire_forget(&peer->reader);
    data(1, 0, "x", 1);
    QUIET(); /* seven more: still known */
    request(id, "Unary", "");
    say(id, END_STREAM, "hi");
    wire_forget(&peer->reader);
    data(1, 0, "x", 1);
    SAYS("R1 5\n");
    headers(1, END_STREAM, "x-y: z\n");
    QUIET();
}

/* The table of the peer must not go out of step. */
TEST(stream__headers_that_come_too_late_are_decoded_all_the_same)
{
    uint8_t block[1024], insert[] = "\100\3x-y\1v";
    size_t len;
    close_one(WE_RESET);
    frame(HEADERS, END_HEADERS | END_STREAM, 1, insert, 7);
    len = wire_block(block, HEAD GRPC);
    block[len++] = 62 | 128;
    frame(HEADERS, END_HEADERS, 3, block, len);
    say(3, END_STREAM, "hi");
    SAYS(REPLY_HI(3));
}

TEST(stream__one_that_finds_no_call_free_is_refused_and_decoded)
{
    uint8_t block[1024];
    size_t len;
    uint32_t id;
    start(&normal);
    on_call[CHAT] = remember_call;
    for (id = 1; id < 9; id += 2) {
        request(id, "Chat", "");
        say(id, 0, "x");
    }
    wire_forget(&peer->reader);
    len = wire_block(block, HEAD GRPC);
    memcpy(block + len, "\100\3x-y\1v", 7);
    frame(HEADERS, END_HEADERS, 9, block, len + 7);
    SAYS("R9 7\n");
    say(9, END_STREAM, "hi");
    QUIET();
    reset(1, CANCEL);
    block[len++] = 62 | 128;
    frame(HEADERS, END_HEADERS, 11, block, len);
    say(11, END_STREAM, "hi");
    SAYS(REPLY_HI(11));
}

/* ---- floods ---- */

typedef void (*flood)(int i);

static void flood_ping(int i) { (void)i; ping("12345678"); }
static void flood_pong(int i)
{
    (void)i;
    frame(PING, ACK, 0, "12345678", 8);
}
static void flood_settings(int i) { (void)i; settings(0); }
static void flood_acks(int i) { (void)i; frame(SETTINGS, ACK, 0, NULL, 0); }
static void flood_empty(int i) { (void)i; data(1, 0, NULL, 0); }
static void flood_credit(int i) { (void)i; credit(1, 1); }
static void flood_priority(int i)
{
    (void)i;
    frame(PRIORITY, 0, 99, "\0\0\0\1\1", 5);
}
static void flood_unknown(int i) { (void)i; frame(77, 0, 0, NULL, 0); }
static void flood_goaway(int i)
{
    (void)i;
    frame(GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0", 8);
}
static void flood_continuation(int i)
{
    frame(i ? CONTINUATION : HEADERS, 0, 3, NULL, 0);
}
static void flood_reset(int i)
{
    request(3 + 2 * (uint32_t)i, "Unary", "");
    reset(3 + 2 * (uint32_t)i, CANCEL);
}
static void flood_bad_credit(int i)
{
    request(3 + 2 * (uint32_t)i, "Unary", "");
    credit(3 + 2 * (uint32_t)i, 0);
}
static void flood_malformed(int i)
{
    headers(3 + 2 * (uint32_t)i, END_STREAM, "Bad: one\n");
}
static void flood_closed(int i)
{
    if (i == 0) reset(1, CANCEL);
    data(1, 0, "x", 1);
}
static void flood_useless(int i)
{
    headers(3 + 2 * (uint32_t)i, END_STREAM,
            ":method: GET\n:scheme: http\n:path: /\n");
}

static const struct {
    const char *what;
    flood drop;
    int most;
} floods[] = {
    { "PING", flood_ping, 4001 }, { "PING ack", flood_pong, 4001 },
    { "SETTINGS", flood_settings, 4001 },
    { "SETTINGS ack", flood_acks, 4001 },
    { "empty DATA", flood_empty, 4001 },
    { "WINDOW_UPDATE", flood_credit, 4001 },
    { "PRIORITY", flood_priority, 4001 },
    { "unknown frames", flood_unknown, 4001 },
    { "GOAWAY", flood_goaway, 4001 },
    { "CONTINUATION", flood_continuation, 4001 },
    { "resets", flood_reset, 1001 },
    { "resets that we make", flood_bad_credit, 1001 },
    { "malformed requests", flood_malformed, 1001 },
    { "DATA on a closed stream", flood_closed, 4001 },
    { "requests that are no calls", flood_useless, 4001 }
};

TEST(flood__of_anything_cheap_ends_with_enhance_your_calm)
{
    size_t f;
    for (f = 0; f < sizeof(floods) / sizeof(floods[0]); f++) {
        int i;
        bool calm = false;
        start(&normal);
        request(1, "Chat", "");
        for (i = 0; i < floods[f].most && !calm; i++) {
            const char *line;
            wire_forget(&peer->reader);
            floods[f].drop(i);
            line = wire_line(&peer->reader, "G ");
            calm = line && strstr(line, " 11\n");
        }
        if (!calm) printf("  (a flood of %s)\n", floods[f].what);
        CHECK(calm);
    }
}

TEST(flood__of_nothing_new_is_forgiven_with_time)
{
    int i;
    start(&normal);
    for (i = 0; i < 40000; i++) {
        ping("12345678");
        if (i % 100 == 99) now_ms += 2048;
        wire_forget(&peer->reader);
    }
    ping("12345678");
    SAYS("PA 3132333435363738\n");
}

TEST(flood__of_pings_whose_replies_nobody_reads_is_not_read)
{
    int i;
    start_silent(&normal, 64);
    greet();
    wire_forget(&peer->reader);
    peer->deaf = true;
    for (i = 0; i < 1000; i++) ping("12345678");
    CHECK(peer->pipe.lanes[0].len > 900 * 17); /* it waits in the stream */
    peer->deaf = false;
    run();
    CHECK(wire_count(&peer->reader, "PA") == 1000);
}

/* ---- the graceful end ---- */

TEST(drain__tells_twice_and_closes_behind_the_last_call)
{
    start(&normal);
    request(1, "Chat", "");
    cgrpc_server_drain(server);
    run();
    SAYS("G 2147483647 0\nP 6367647261696e00\n");
    request(3, "Unary", ""); /* it was on its way */
    say(3, END_STREAM, "hi");
    SAYS(REPLY_HI(3));
    frame(PING, ACK, 0, "cgdrain", 8);
    SAYS("G 3 0\n");
    request(5, "Unary", "");
    say(5, END_STREAM, "hi");
    CHECK(runs[UNARY] == 1);
    CHECK(!cgrpc_server_idle(server));
    say(1, END_STREAM, "hi");
    SAID("H1. grpc-status=0");
    CHECK(cgrpc_server_idle(server));
}

TEST(drain__needs_no_answer_to_its_ping)
{
    start(&normal);
    cgrpc_server_drain(server);
    run();
    wire_forget(&peer->reader);
    wait_ms(5000);
    SAYS("G 0 0\n");
    CHECK(cgrpc_server_idle(server));
}

TEST(drain__needs_no_answer_though_it_began_before_the_settings)
{
    start_silent(&normal, 0);
    cgrpc_server_drain(server);
    run();
    put(PREFACE, sizeof(PREFACE) - 1);
    settings(0);
    wire_forget(&peer->reader);
    wait_ms(5000);
    SAYS("G 0 0\n");
    CHECK(cgrpc_server_idle(server));
}

TEST(drain__passes_over_streams_above_the_last)
{
    start(&normal);
    request(1, "Chat", "");
    cgrpc_server_drain(server);
    run();
    frame(PING, ACK, 0, "cgdrain", 8);
    wire_forget(&peer->reader);
    request(3, "Unary", "");
    say(3, END_STREAM, "hi");
    request(5, "Unary", "");
    headers(5, END_STREAM, "x-y: 1\n");
    QUIET();
    say(1, END_STREAM, "hi");
    SAID("H1. grpc-status=0");
}

static cgrpc_call *held[16];
static size_t held_count;

static cgrpc_status hold(cgrpc_call *call, const cgrpc_bytes *in,
                         cgrpc_bytes *out)
{
    (void)out;
    (void)in;
    if (!*(char *)cgrpc_call_state(call)) held[held_count++] = call;
    *(char *)cgrpc_call_state(call) = 1;
    return CGRPC_PENDING;
}

/* `count` streams wait, and `pings` replies fill the transmit buffer. */
static void fill(uint32_t count, int pings)
{
    uint32_t i;
    start_silent(&broad, 64);
    greet();
    on_call[CHAT] = hold;
    held_count = 0;
    for (i = 0; i < count; i++) {
        request(1 + 2 * i, "Chat", "");
        say(1 + 2 * i, 0, "x");
    }
    wire_forget(&peer->reader);
    peer->deaf = true;
    while (pings--) ping("12345678");
}

TEST(drain__sleeps_while_there_is_no_room_for_the_second_goaway)
{
    size_t i;
    fill(6, 31);
    cgrpc_server_drain(server);
    run();
    for (i = 0; i < 6; i++) cgrpc_call_cancel(held[i]);
    wait_ms(5001);
    CHECK(cgrpc_server_poll(server) > 0);
    peer->deaf = false;
    run();
    wait_ms(1000);
    CHECK(wire_count(&peer->reader, "G") == 2);
    CHECK(wire_count(&peer->reader, "R") == 6);
}

/* No byte comes that would make the parser look. */
TEST(stream__resets_that_found_no_room_go_out_when_there_is)
{
    size_t i;
    fill(8, 34);
    for (i = 0; i < 8; i++) cgrpc_call_cancel(held[i]);
    run();
    peer->deaf = false;
    run();
    CHECK(wire_count(&peer->reader, "R") == 8);
}

TEST(drain__an_answer_to_a_ping_that_nobody_sent_means_nothing)
{
    start(&normal);
    frame(PING, ACK, 0, "cgdrain", 8);
    wait_ms(20000);
    request(1, "Unary", "");
    say(1, END_STREAM, "hi");
    SAYS(REPLY_HI(1));
}

TESTS = {
    RUN(frame__each_one_gets_the_answer_that_it_deserves),
    RUN(frame__each_one_gets_it_though_it_comes_byte_by_byte),
    RUN(frame__the_reserved_bit_of_a_stream_id_means_nothing),
    RUN(frame__a_dead_connection_discards_what_still_comes_and_closes),
    RUN(preface__any_wrong_byte_ends_the_connection),
    RUN(preface__may_be_cut_anywhere),
    RUN(preface__settings_must_follow),
    RUN(preface__is_waited_for_ten_seconds),
    RUN(headers__each_block_is_taken_or_resets_its_stream),
    RUN(headers__trailers_of_a_request_must_end_it_and_hold_no_pseudo_field),
    RUN(continuation__a_block_may_be_cut_at_every_byte),
    RUN(continuation__nothing_else_may_come_in_between),
    RUN(continuation__end_stream_of_the_headers_counts_behind_the_last_one),
    RUN(continuation__a_block_that_is_never_finished_ends_after_ten_seconds),
    RUN(headers__padding_and_priority_are_passed_over),
    RUN(data__padding_is_passed_over_and_credited),
    RUN(stream__ids_only_rise),
    RUN(stream__late_frames_are_judged_by_how_it_closed),
    RUN(stream__eight_closed_ones_are_remembered_and_older_ones_forgotten),
    RUN(stream__headers_that_come_too_late_are_decoded_all_the_same),
    RUN(stream__one_that_finds_no_call_free_is_refused_and_decoded),
    RUN(flood__of_anything_cheap_ends_with_enhance_your_calm),
    RUN(flood__of_nothing_new_is_forgiven_with_time),
    RUN(flood__of_pings_whose_replies_nobody_reads_is_not_read),
    RUN(drain__tells_twice_and_closes_behind_the_last_call),
    RUN(drain__needs_no_answer_to_its_ping),
    RUN(drain__needs_no_answer_though_it_began_before_the_settings),
    RUN(drain__passes_over_streams_above_the_last),
    RUN(drain__sleeps_while_there_is_no_room_for_the_second_goaway),
    RUN(drain__an_answer_to_a_ping_that_nobody_sent_means_nothing),
    RUN(stream__resets_that_found_no_room_go_out_when_there_is),
    TESTS_END
};
