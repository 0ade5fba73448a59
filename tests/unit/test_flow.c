/* Flow control, RFC 9113, 5.2 and 6.9: windows of every size in both
 * directions, credit that is a real buffer, and messages that go out in
 * parts.
 *
 *   cc -std=c99 -I. -Iport tests/unit/test_flow.c -o t && ./t
 */
#define CGRPC_IMPLEMENTATION
#define CGRPC_NANOPB 0
#define CGRPC_HUFFMAN_ENCODE 0
#include "cgrpc_memory.h"
#include "wire.h"
#include "test.h"
#include "server_rig.h"

CGRPC_SERVER_DEFINE(normal, 2, 4, 256, 512, RIG_SCRATCH);
CGRPC_SERVER_DEFINE(tiny, 1, 2, 64, 128, RIG_SCRATCH);
CGRPC_SERVER_DEFINE(large, 1, 2, 40000, 65536, RIG_SCRATCH);

/* The bytes of DATA that the server has sent on a stream so far, without
 * their frames; `text` gets them. */
static uint8_t got[1 << 18];
static size_t got_len;

static void gather(const wire_reader *r, uint32_t id)
{
    char start[16];
    const char *line = r->text;
    size_t len = (size_t)sprintf(start, "D%u", (unsigned)id);
    got_len = 0;
    while (line && *line) {
        if (strncmp(line, start, len) == 0 &&
            (line[len] == ' ' || line[len] == '.')) {
            const char *at = line + len + (line[len] == '.') + 1;
            for (; *at != '\n'; at++) {
                unsigned byte = (unsigned char)*at;
                if (byte == '\\') {
                    sscanf(at + 1, "%2x", &byte);
                    at += 2;
                }
                got[got_len++] = (uint8_t)byte;
            }
        }
        line = strchr(line, '\n');
        if (line) line++;
    }
}

/* ---- what the server sends ---- */

/* All four kinds answer right, though the window opens by so little. */
static void dribble(const char *method, int kind, uint32_t first,
                    uint32_t step)
{
    static const char *const expected[] = {
        "\0\0\0\0\21seventeen bytes..", "\0\0\0\0\2" "17",
        NULL, "\0\0\0\0\21seventeen bytes.."
    };
    static const size_t sizes[] = { 22, 7, 17 * 6, 22 };
    const char *text = "seventeen bytes..";
    int i;
    start(&normal);
    settings(1, INITIAL_WINDOW_SIZE, first);
    wire_forget(&peer->reader);
    request(1, method, "");
    say(1, END_STREAM, text);
    for (i = 0; i < 200 && !wire_line(&peer->reader, "H1."); i++) {
        gather(&peer->reader, 1);
        CHECK(got_len == first + (uint32_t)i * step);
        credit(1, step);
    }
    SAID("H1. grpc-status=0");
    gather(&peer->reader, 1);
    CHECK(got_len == sizes[kind]);
    if (expected[kind]) CHECK(memcmp(got, expected[kind], got_len) == 0);
    for (i = 0; kind == LIST && i < 17; i++)
        CHECK(memcmp(got + 6 * i, "\0\0\0\0\1", 5) == 0 &&
              got[6 * i + 5] == text[i]);
}

TEST(flow__windows_of_1_to_20_bytes_carry_all_four_kinds)
{
    uint32_t first, step;
    for (step = 1; step <= 20; step++)
        for (first = 0; first <= 6; first++) {
            dribble("Unary", UNARY, first, step);
            dribble("Collect", COLLECT, first, step);
            dribble("List", LIST, first, step);
            dribble("Chat", CHAT, first, step);
            if (test_failures) {
                printf("  (at %u, then %u each)\n", (unsigned)first,
                       (unsigned)step);
                return;
            }
        }
}

TEST(flow__a_window_that_shrinks_goes_negative_and_recovers)
{
    start(&normal);
    request(1, "Chat", "");
    say(1, 0, "0123456789");
    gather(&peer->reader, 1);
    CHECK(got_len == 15);
    settings(1, INITIAL_WINDOW_SIZE, 0u); /* the stream's is -15 now */
    wire_forget(&peer->reader);
    say(1, 0, "ab");
    credit(1, 15);
    DID_NOT_SAY("D");
    credit(1, 3);
    gather(&peer->reader, 1);
    CHECK(got_len == 3);
    settings(1, INITIAL_WINDOW_SIZE, 4u);
    gather(&peer->reader, 1);
    CHECK(got_len == 7);
    CHECK(memcmp(got, "\0\0\0\0\2ab", 7) == 0);
}

TEST(flow__initial_windows_that_overflow_a_stream_end_the_connection)
{
    start(&normal);
    request(1, "Chat", "");
    settings(1, INITIAL_WINDOW_SIZE, 0u);
    credit(1, 0x7FFFFFFF);
    wire_forget(&peer->reader);
    settings(1, INITIAL_WINDOW_SIZE, 1u);
    SAYS("G 1 3\n");
}

TEST(flow__the_connection_window_stops_all_streams_and_lets_them_go_on)
{
    uint32_t id = 1, sent = 0;
    size_t i;
    char text[257];
    memset(text, 'x', 256);
    text[256] = 0;
    start(&normal);
    for (; sent + 261 <= 65535; id += 2, sent += 261) {
        request(id, "Unary", "");
        say(id, END_STREAM, text);
        wire_forget(&peer->reader);
    }
    for (i = 0; i < 4; i++, id += 2) {
        request(id, "Unary", "");
        say(id, END_STREAM, text);
    }
    CHECK(wire_count(&peer->reader, "H") == 4);
    gather(&peer->reader, id - 8);
    CHECK(got_len == 65535 - sent);
    credit(0, 10000);
    CHECK(wire_count(&peer->reader, "H") == 8);
}

TEST(flow__frames_are_as_large_as_the_peer_takes_them)
{
    static char text[40000];
    size_t i;
    for (i = 0; i < sizeof(text); i++) text[i] = (char)('a' + i % 26);
    start(&large);
    settings(2, INITIAL_WINDOW_SIZE, 1000000u, MAX_FRAME_SIZE, 100000u);
    credit(0, 1000000);
    wire_forget(&peer->reader);
    request(1, "Chat", "");
    message(1, 0, text, 16379);
    CHECK(wire_count(&peer->reader, "D") == 1);
    wire_forget(&peer->reader);
    data(1, 0, "\0\0\0\234\100", 5); /* 40000 in several frames */
    data(1, 0, text, 16384);
    data(1, 0, text + 16384, 16384);
    data(1, END_STREAM, text + 32768, 40000 - 32768);
    CHECK(wire_count(&peer->reader, "D") == 1);
    gather(&peer->reader, 1);
    CHECK(got_len == 40005 && memcmp(got + 5, text, 40000) == 0);
    start(&large);
    settings(1, INITIAL_WINDOW_SIZE, 1000000u);
    wire_forget(&peer->reader);
    request(1, "Chat", "");
    data(1, 0, "\0\0\0\234\100", 5);
    data(1, 0, text, 16384);
    data(1, 0, text + 16384, 16384);
    data(1, END_STREAM, text + 32768, 40000 - 32768);
    CHECK(wire_count(&peer->reader, "D") == 3); /* 16384 at most */
    gather(&peer->reader, 1);
    CHECK(got_len == 40005 && memcmp(got + 5, text, 40000) == 0);
}

/* ---- messages in parts ---- */

static uint8_t big[100000];
static size_t big_len;
static int change_at; /* the offer that finds another message; 0: none */

static cgrpc_status send_big(cgrpc_call *call, const cgrpc_bytes *in,
                             cgrpc_bytes *out)
{
    int *offers = (int *)cgrpc_call_state(call);
    cgrpc_bytes message;
    (void)in;
    (void)out;
    message.data = big;
    message.len = big_len;
    if (++*offers == change_at) big[0] ^= 1;
    return cgrpc_send(call, &message) ? CGRPC_OK : CGRPC_PENDING;
}

static void ask_for_big(cgrpc_server *which, size_t len)
{
    size_t i;
    big_len = len;
    for (i = 0; i < len; i++) big[i] = (uint8_t)(i * 7 + i / 251);
    start(which);
    on_call[LIST] = send_big;
}

TEST(flow__a_message_larger_than_buffer_and_window_goes_out_in_parts)
{
    static const size_t sizes[] = { 100, 127, 128, 505, 512, 513, 5000,
                                    65530, 65531, 90000 };
    size_t i, step;
    for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        for (step = 1000; step < 100000; step *= 5) {
            size_t turns = 0;
            ask_for_big(&normal, sizes[i]);
            change_at = 0;
            request(1, "List", "");
            say(1, END_STREAM, "x");
            while (!wire_line(&peer->reader, "H1.") && turns++ < 1000) {
                credit(1, (uint32_t)step);
                credit(0, (uint32_t)step);
            }
            SAID("H1. grpc-status=0");
            gather(&peer->reader, 1);
            CHECK(got_len == sizes[i] + 5);
            CHECK(wire_value(got + 1, 4) == sizes[i]);
            CHECK(memcmp(got + 5, big, sizes[i]) == 0);
        }
}

/* Windows of a few bytes, of the stream or of the connection, and a buffer
 * that drains by a few: each byte is sent once, in its place. */
TEST(flow__a_message_in_parts_of_any_size_arrives_byte_by_byte)
{
    static const size_t sizes[] = { 0, 1, 59, 60, 61, 123, 124, 125, 300 };
    size_t i;
    uint32_t step, lane;
    for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        for (step = 1; step <= 70 && !test_failures; step += step < 9 ? 1 : 30)
            for (lane = 0; lane <= 11; lane += 11) {
                size_t turns = 0;
                ask_for_big(&tiny, sizes[i]);
                change_at = 0;
                settings(1, INITIAL_WINDOW_SIZE, step);
                if (lane) peer->pipe.lanes[1].capacity = lane;
                request(1, "List", "");
                say(1, END_STREAM, "x");
                while (!wire_line(&peer->reader, "H1.") && turns++ < 400)
                    credit(1, step);
                SAID("H1. grpc-status=0");
                gather(&peer->reader, 1);
                CHECK(turns <= sizes[i] / step + 5);
                CHECK(got_len == sizes[i] + 5);
                CHECK(wire_value(got + 1, 4) == sizes[i]);
                CHECK(memcmp(got + 5, big, sizes[i]) == 0);
            }
}

TEST(flow__a_message_that_changes_between_its_parts_resets_the_stream)
{
    ask_for_big(&normal, 5000);
    settings(1, INITIAL_WINDOW_SIZE, 300u);
    change_at = 2;
    wire_forget(&peer->reader);
    request(1, "List", "");
    say(1, END_STREAM, "x");
    credit(1, 300);
    SAID("R1 2");
    CHECK(wire_count(&peer->reader, "D1.") == 0);
    request(3, "Unary", "");
    say(3, END_STREAM, "hi");
    SAID("H3. grpc-status=0");
}

/* ---- what the server takes ---- */

/* A peer that knows the windows and uses them to the last byte. */
static int32_t may_send, conn_may_send;
static uint32_t seed;

static uint32_t chance(uint32_t below)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % below;
}

static void count_credit(void)
{
    const char *line = peer->reader.text;
    while (line && *line) {
        unsigned id, bytes;
        if (sscanf(line, "W%u %u\n", &id, &bytes) == 2) {
            if (id == 0) conn_may_send += (int32_t)bytes;
            else if (id == 1) may_send += (int32_t)bytes;
        }
        line = strchr(line, '\n');
        if (line) line++;
    }
}

static void note_credit(void)
{
    count_credit();
    if (wire_count(&peer->reader, "R") || wire_count(&peer->reader, "G") ||
        wire_count(&peer->reader, "H1.")) {
        printf("  the server ended it:\n%s", peer->reader.text);
        CHECK(!"an honest peer was refused");
    }
    wire_forget(&peer->reader);
}

static cgrpc_status take_sometimes(cgrpc_call *call, const cgrpc_bytes *in,
                                   cgrpc_bytes *out)
{
    (void)out;
    if (!in) return CGRPC_NEXT;
    if (chance(3) == 0) {
        cgrpc_call_wake(call);
        return CGRPC_PENDING;
    }
    return CGRPC_NEXT;
}

/* What the peer may send and what lies in the buffer never pass the
 * buffer. All that was sent has been read. */
static void hold_to_credit(cgrpc_server *which, int32_t cap)
{
    cgrpc_call *call = &which->memory->calls[0];
    if (may_send + (int32_t)call->rx_len > cap) {
        printf("  %d may come, %u are there: over %d\n", (int)may_send,
               (unsigned)call->rx_len, (int)cap);
        CHECK(!"credit without room");
    }
}

static void stream_at_random(cgrpc_server *which, int32_t cap, uint32_t from)
{
    static uint8_t stream[1 << 16];
    size_t len = 0, at = 0;
    int steps;
    seed = from;
    while (len < sizeof(stream) - 600) { /* messages of random sizes */
        uint32_t size = chance(4) ? chance((uint32_t)cap - 4)
                                  : (uint32_t)cap - 5;
        stream[len] = 0;
        wire_number(stream + len + 1, 4, size);
        memset(stream + len + 5, 'x', size);
        len += 5 + size;
    }
    start(which);
    on_call[COLLECT] = take_sometimes;
    may_send = cap;
    conn_may_send = 65535;
    request(1, "Collect", "");
    wire_forget(&peer->reader);
    for (steps = 0; at < len && steps < 20000 && !test_failures; steps++) {
        int32_t room = may_send < conn_may_send ? may_send : conn_may_send;
        uint32_t some = chance(2) ? 0xFFFFFF : 1 + chance(40);
        if (room > 0) {
            if (some > (uint32_t)room) some = (uint32_t)room;
            if (some > len - at) some = (uint32_t)(len - at);
            if (some > 16384) some = 16384;
            may_send -= (int32_t)some;
            conn_may_send -= (int32_t)some;
            pieces = chance(2) ? 0 : 1 + chance(30);
            data(1, 0, stream + at, some);
            pieces = 0;
            at += some;
        }
        run();
        note_credit();
        hold_to_credit(which, cap);
    }
    CHECK(at == len);
}

TEST(flow__credit_never_passes_the_room_that_there_is)
{
    uint32_t i;
    for (i = 1; i <= 40 && !test_failures; i++) {
        stream_at_random(&normal, 261, i);
        stream_at_random(&tiny, 69, i);
    }
}

/* Half of a frame is here, and the rest on its way: that is no room. */
TEST(flow__gives_no_credit_for_bytes_of_a_frame_that_are_still_to_come)
{
    char text[256];
    memset(text, 'x', sizeof(text));
    start(&normal);
    request(1, "Collect", "");
    recording = true;
    session.len = 0;
    message(1, 0, text, 256);
    recording = false;
    put(session.data, 100);
    QUIET();
    put(session.data + 100, session.len - 100);
    SAYS("W1 261\n");
}

/* 6.9: an empty frame needs no credit. */
TEST(flow__an_empty_frame_may_end_a_stream_whose_window_is_negative)
{
    char text[200];
    memset(text, 'x', sizeof(text));
    start_silent(&normal, 0);
    put(PREFACE, sizeof(PREFACE) - 1);
    settings(0);
    request(1, "Collect", "");
    message(1, 0, text, 200);
    message(1, 0, text, 200);
    wire_forget(&peer->reader);
    recording = true;
    session.len = 0;
    frame(SETTINGS, ACK, 0, NULL, 0);
    data(1, END_STREAM, NULL, 0);
    recording = false;
    put(session.data, session.len);
    SAYS(REPLY_HEAD(1) "D1 \\00\\00\\00\\00\\03400\n" REPLY_END(1));
}

/* What a peer may send before it reads our SETTINGS: 65,535 bytes. */
static void first_flight(void)
{
    char text[256];
    int i;
    memset(text, 'x', sizeof(text));
    recording = true;
    session.len = 0;
    for (i = 0; i < 251; i++) message(1, 0, text, 256);
    data(1, 0, "\0\0\0\0", 4);
    recording = false;
    put(session.data, session.len);
}

static cgrpc_status wait_for_ever(cgrpc_call *call, const cgrpc_bytes *in,
                                  cgrpc_bytes *out)
{
    (void)call;
    (void)in;
    (void)out;
    return CGRPC_PENDING;
}

static void start_unacknowledged(void)
{
    start_silent(&normal, 0);
    put(PREFACE, sizeof(PREFACE) - 1);
    settings(0);
    wire_forget(&peer->reader);
    on_call[COLLECT] = wait_for_ever;
    request(1, "Collect", "");
}

/* nginx, Apache, Go's net/http and nghttp2 do not wait for our SETTINGS. */
TEST(flow__a_first_flight_over_the_buffer_waits_for_its_handler)
{
    start_unacknowledged();
    on_call[COLLECT] = collect;
    first_flight();
    DID_NOT_SAY("R");
    frame(SETTINGS, ACK, 0, NULL, 0);
    SAID("W1 65511"); /* 65,515 were sent, and 4 of them wait */
    data(1, END_STREAM, "\0", 1);
    SAID("D1 \\00\\00\\00\\00\\0564256"); /* 251 times 256 */
    SAID("H1. grpc-status=0");
}

/* One frame, `pad` bytes of padding behind `len` of a stream of messages. */
static void padded(uint32_t id, int flags, const uint8_t *in, size_t len,
                   size_t pad)
{
    static uint8_t payload[16384];
    payload[0] = (uint8_t)pad;
    memcpy(payload + 1, in, len);
    memset(payload + 1 + len, 0, pad);
    data(id, flags | PADDED, payload, len + 1 + pad);
    conn_may_send -= (int32_t)(len + 1 + pad);
}

/* Padded frames that hold several messages and parts of them, cut anywhere:
 * nothing is lost, and the windows of both sides agree in the end. */
TEST(flow__a_first_flight_of_padded_frames_waits_for_its_handler_too)
{
    static uint8_t stream[40000];
    uint32_t from;
    for (from = 1; from <= 60 && !test_failures; from++) {
        size_t len = 0, at = 0, sum = 0;
        char expected[64];
        seed = from;
        while (len < 30000) {
            uint32_t size = chance(257);
            wire_number(stream + len, 5, 0);
            wire_number(stream + len + 1, 4, size);
            memset(stream + len + 5, 'x', size);
            len += 5 + size;
            sum += size;
        }
        start_unacknowledged();
        on_call[COLLECT] = collect;
        conn_may_send = 65535;
        recording = true;
        session.len = 0;
        while (at < len) {
            size_t some = 1 + chance(from % 2 ? 3000 : 300);
            if (some > len - at) some = len - at;
            padded(1, at + some == len ? END_STREAM : 0, stream + at, some,
                   chance(2) * chance(256));
            at += some;
        }
        recording = false;
        pieces = from % 3 ? 1 + chance(700) : 0;
        put(session.data, session.len);
        pieces = 0;
        count_credit();
        sprintf(expected, "D1 \\00\\00\\00\\00\\%02u%u",
                (unsigned)sprintf(expected, "%u", (unsigned)sum),
                (unsigned)sum);
        SAID(expected);
        SAID("H1. grpc-status=0");
        CHECK(conn_may_send == server->memory->conns[0].rx_window);
        CHECK(conn_may_send > 65535 / 2);
    }
}

TEST(flow__a_first_flight_over_the_buffer_ends_a_call_that_takes_nothing)
{
    start_unacknowledged();
    say(1, 0, "x");
    CHECK(runs[COLLECT] == 1);
    first_flight();
    SAID("H1. :status=200 content-type=application/grpc grpc-status=8");
    DID_NOT_SAY("G");
    frame(SETTINGS, ACK, 0, NULL, 0);
    request(3, "Unary", "");
    say(3, END_STREAM, "hi");
    SAID("H3. grpc-status=0");
}

TEST(flow__data_beyond_the_window_resets_the_stream)
{
    char text[262];
    memset(text, 0, sizeof(text));
    start(&normal);
    request(1, "Unary", "");
    data(1, 0, text, 262);
    SAYS("R1 3\n");
}

static cgrpc_status reply_at_once(cgrpc_call *call, const cgrpc_bytes *in,
                                  cgrpc_bytes *out)
{
    (void)call;
    *out = *in;
    return CGRPC_OK;
}

/* Or the peer counts our window down for ever. */
TEST(flow__a_window_holds_though_its_call_only_waits_to_reply)
{
    static char text[16384];
    start(&normal);
    settings(1, INITIAL_WINDOW_SIZE, 0u);
    on_call[COLLECT] = reply_at_once;
    request(1, "Collect", "");
    say(1, 0, "x");
    wire_forget(&peer->reader);
    data(1, 0, text, 16384);
    SAYS("R1 3\n");
}

TESTS = {
    RUN(flow__windows_of_1_to_20_bytes_carry_all_four_kinds),
    RUN(flow__a_window_that_shrinks_goes_negative_and_recovers),
    RUN(flow__initial_windows_that_overflow_a_stream_end_the_connection),
    RUN(flow__the_connection_window_stops_all_streams_and_lets_them_go_on),
    RUN(flow__frames_are_as_large_as_the_peer_takes_them),
    RUN(flow__a_message_larger_than_buffer_and_window_goes_out_in_parts),
    RUN(flow__a_message_in_parts_of_any_size_arrives_byte_by_byte),
    RUN(flow__a_message_that_changes_between_its_parts_resets_the_stream),
    RUN(flow__credit_never_passes_the_room_that_there_is),
    RUN(flow__gives_no_credit_for_bytes_of_a_frame_that_are_still_to_come),
    RUN(flow__an_empty_frame_may_end_a_stream_whose_window_is_negative),
    RUN(flow__a_first_flight_over_the_buffer_waits_for_its_handler),
    RUN(flow__a_first_flight_of_padded_frames_waits_for_its_handler_too),
    RUN(flow__a_first_flight_over_the_buffer_ends_a_call_that_takes_nothing),
    RUN(flow__data_beyond_the_window_resets_the_stream),
    RUN(flow__a_window_holds_though_its_call_only_waits_to_reply),
    TESTS_END
};
