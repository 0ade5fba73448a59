/* The server, through the bytes that it reads and writes: calls, handlers,
 * and everything that can run out.
 *
 *   cc -std=c99 -I. -Iport tests/unit/test_server.c -o t && ./t
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

TEST(server__answers_all_four_kinds_of_calls)
{
    start(&normal);
    request(1, "Unary", "");
    say(1, END_STREAM, "hi");
    SAYS(REPLY_HEAD(1) "D1 \\00\\00\\00\\00\\02hi\n" REPLY_END(1));
    request(3, "List", "");
    say(3, END_STREAM, "ab");
    SAYS(REPLY_HEAD(3) "D3 \\00\\00\\00\\00\\01a\nD3 \\00\\00\\00\\00\\01b\n"
         REPLY_END(3));
    request(5, "Collect", "");
    say(5, 0, "abc");
    say(5, END_STREAM, "defg");
    SAYS("W5 8\n" REPLY_HEAD(5) "D5 \\00\\00\\00\\00\\017\n" REPLY_END(5));
    request(7, "Chat", "");
    say(7, 0, "abc");
    SAYS(REPLY_HEAD(7) "D7 \\00\\00\\00\\00\\03abc\nW7 8\n");
    say(7, END_STREAM, "d");
    SAYS("D7 \\00\\00\\00\\00\\01d\n" REPLY_END(7));
}

/* A window of 261 that 65,535 preceded may be -149 when our SETTINGS are
 * acknowledged. Then only we can make the stream go on. */
TEST(server__gives_credit_when_its_settings_are_acknowledged)
{
    char text[200];
    memset(text, 'x', sizeof(text));
    start_silent(&normal, 0);
    put(PREFACE, sizeof(PREFACE) - 1);
    settings(0);
    request(1, "Collect", "");
    message(1, 0, text, 200);
    message(1, 0, text, 200);
    CHECK(runs[COLLECT] == 2);
    DID_NOT_SAY("W");
    wire_forget(&peer->reader);
    frame(SETTINGS, ACK, 0, NULL, 0);
    SAYS("W1 410\n");
}

TEST(server__judges_a_message_that_is_too_large_the_same_however_it_is_cut)
{
    static char text[20000];
    int cut;
    memset(text, 'x', sizeof(text));
    for (cut = 0; cut < 2; cut++) {
        start_silent(&normal, 0);
        put(PREFACE, sizeof(PREFACE) - 1);
        settings(0);
        wire_forget(&peer->reader);
        request(1, "Unary", "");
        pieces = cut ? 1 : 0;
        message(1, 0, text, 1000);
        SAYS("H1. :status=200 content-type=application/grpc grpc-status=8 "
             "grpc-message=message over the receiver's limit\n");
    }
}

TEST(server__bears_with_100000_unary_calls_at_once)
{
    int i;
    start(&normal);
    for (i = 0; i < 100000 && !test_failures; i++) {
        uint32_t id = 1 + 2 * (uint32_t)i;
        request(id, "Unary", "");
        say(id, END_STREAM, "hi");
        ping("\2\4\20\20\11\16\7\7");
        credit(0, 7);
        SAID("D");
        DID_NOT_SAY("G");
        wire_forget(&peer->reader);
    }
}

TEST(server__takes_frames_of_nothing_but_padding_for_a_flood)
{
    int i;
    start(&normal);
    request(1, "Chat", "");
    for (i = 0; i < 20000 && !wire_line(&peer->reader, "G"); i++)
        data(1, PADDED, "\1\0", 2);
    SAID("G 1 11");
}

static cgrpc_status echo_chat_then_stop(cgrpc_call *call,
                                        const cgrpc_bytes *in,
                                        cgrpc_bytes *out)
{
    (void)out;
    if (!in) return CGRPC_OK;
    cgrpc_send(call, in);
    return CGRPC_OK; /* though it may not all have gone */
}

TEST(server__resets_a_call_whose_handler_leaves_a_message_half_sent)
{
    start(&normal);
    on_call[CHAT] = echo_chat_then_stop;
    settings(1, INITIAL_WINDOW_SIZE, 7u);
    wire_forget(&peer->reader);
    request(1, "Chat", "");
    say(1, 0, "hello");
    SAYS(REPLY_HEAD(1) "D1 \\00\\00\\00\\00\\05he\nR1 2\n");
}

TEST(server__never_ends_a_half_sent_message_with_trailers_at_a_deadline)
{
    start(&normal);
    settings(1, INITIAL_WINDOW_SIZE, 7u);
    wire_forget(&peer->reader);
    request(1, "Chat", "grpc-timeout: 50m\n");
    say(1, 0, "hello");
    SAYS(REPLY_HEAD(1) "D1 \\00\\00\\00\\00\\05he\n");
    wait_ms(60);
    SAYS("R1 8\n");
}

TEST(server__drops_a_reply_that_no_window_opens_for_at_the_deadline)
{
    start(&normal);
    settings(1, INITIAL_WINDOW_SIZE, 0u);
    wire_forget(&peer->reader);
    request(1, "Unary", "grpc-timeout: 50m\n");
    say(1, END_STREAM, "hello");
    SAYS(REPLY_HEAD(1));
    wait_ms(60);
    SAID("R1 8");
}

/* Raw bytes that are answered with themselves lie where the rest of the
 * reply is kept. */
TEST(server__keeps_the_rest_of_an_echo_that_meets_a_closed_window)
{
    uint32_t window;
    for (window = 0; window < 16; window++) {
        char first[32], second[64];
        start(&normal);
        settings(1, INITIAL_WINDOW_SIZE, window);
        wire_forget(&peer->reader);
        request(1, "Unary", "");
        say(1, END_STREAM, "0123456789");
        CHECK(runs[UNARY] == 1);
        credit(1, 100);
        (void)first;
        (void)second;
        CHECK(runs[UNARY] == 1);
        SAID("H1. grpc-status=0");
        CHECK(strstr(peer->reader.text, "9\n") != NULL);
    }
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

TEST(server__resets_every_call_that_is_cancelled_while_nothing_can_be_sent)
{
    size_t i;
    start_silent(&broad, 64);
    greet();
    on_call[CHAT] = hold;
    held_count = 0;
    for (i = 0; i < 16; i++) {
        request(1 + 2 * (uint32_t)i, "Chat", "");
        say(1 + 2 * (uint32_t)i, 0, "x");
    }
    CHECK(held_count == 16);
    wire_forget(&peer->reader);
    peer->deaf = true;
    for (i = 0; i < 40; i++) ping("12345678");
    for (i = 0; i < 16; i++) cgrpc_call_cancel(held[i]);
    run();
    peer->deaf = false;
    run();
    CHECK(wire_count(&peer->reader, "R") == 16 ||
          wire_count(&peer->reader, "G") == 1);
}

/* The head of a PING comes while there is room for the reply, its payload
 * when resets have taken the room. */
TEST(server__answers_a_ping_though_the_room_for_it_went_meanwhile)
{
    size_t i;
    start_silent(&broad, 64);
    greet();
    on_call[CHAT] = hold;
    held_count = 0;
    for (i = 0; i < 8; i++) {
        request(1 + 2 * (uint32_t)i, "Chat", "");
        say(1 + 2 * (uint32_t)i, 0, "x");
    }
    wire_forget(&peer->reader);
    peer->deaf = true;
    for (i = 0; i < 34; i++) ping("12345678"); /* 578 of 640 bytes */
    put("\0\0\10\6\0\0\0\0\0" "abcd", 13);
    for (i = 0; i < 8; i++) cgrpc_call_cancel(held[i]);
    put("efgh", 4);
    peer->deaf = false;
    run();
    CHECK(wire_count(&peer->reader, "R") == 8);
    SAID("PA 6162636465666768");
}

static int spins;

static uint32_t counting_now(void *context)
{
    (void)context;
    spins++;
    return now_ms;
}

static cgrpc_status big_initial(cgrpc_call *call, const cgrpc_bytes *in,
                                cgrpc_bytes *out)
{
    static char text[91];
    (void)in;
    (void)out;
    memset(text, 'i', 90);
    if (!cgrpc_call_state(call)) return CGRPC_INTERNAL;
    if (!*(char *)cgrpc_call_state(call)) {
        *(char *)cgrpc_call_state(call) = 1;
        CHECK(cgrpc_metadata_add(call, CGRPC_INITIAL, "x-a", text, 0) ==
              CGRPC_SUCCESS);
    }
    return cgrpc_send_initial(call) ? CGRPC_OK : CGRPC_PENDING;
}

TEST(server__sleeps_while_there_is_no_room_for_a_header_block)
{
    int i;
    start_silent(&broad, 64);
    greet();
    on_call[LIST] = big_initial;
    wire_forget(&peer->reader);
    peer->deaf = true;
    for (i = 0; i < 30; i++) ping("12345678");
    request(1, "List", "");
    say(1, END_STREAM, "x");
    CHECK(runs[LIST] > 0);
    CHECK(cgrpc_server_poll(server) > 0);
    peer->deaf = false;
    run();
    SAID("H1 ");
}

static cgrpc_status fail_then_ok(cgrpc_call *call, const cgrpc_bytes *in,
                                 cgrpc_bytes *out)
{
    *out = *in;
    cgrpc_fail(call, CGRPC_NOT_FOUND, "no such thing");
    return CGRPC_OK;
}

TEST(server__sends_no_text_with_an_ok)
{
    start(&normal);
    on_call[UNARY] = fail_then_ok;
    request(1, "Unary", "");
    say(1, END_STREAM, "hi");
    SAYS(REPLY_HEAD(1) "D1 \\00\\00\\00\\00\\02hi\n" REPLY_END(1));
}

/* RFC 9113, 6.8: the last stream of a second GOAWAY is not higher. */
TEST(server__never_raises_the_last_stream_that_its_goaway_named)
{
    start(&normal);
    request(1, "Chat", "");
    cgrpc_server_drain(server);
    run();
    SAYS("G 2147483647 0\nP 6367647261696e00\n");
    frame(PING, ACK, 0, "cgdrain", 8);
    SAYS("G 1 0\n");
    request(3, "Unary", "");
    QUIET();
    frame(PING, 0, 7, "12345678", 8);
    SAYS("G 1 1\n");
}

static bool may_go;

static cgrpc_status echo_when_told(cgrpc_call *call, const cgrpc_bytes *in,
                                   cgrpc_bytes *out)
{
    (void)out;
    if (!in) return CGRPC_NEXT;
    held[0] = call;
    return may_go && cgrpc_send(call, in) ? CGRPC_NEXT : CGRPC_PENDING;
}

/* 6.5: for the peer, its values count from when it reads our ACK. */
TEST(server__applies_a_larger_table_size_no_earlier_than_its_ack)
{
    start(&normal);
    on_call[CHAT] = echo_when_told;
    may_go = false;
    settings(1, HEADER_TABLE_SIZE, 0u);
    request(1, "Unary", "");
    say(1, END_STREAM, "a");
    SAYS("SA\nH1 (table 0) :status=200 content-type=application/grpc\n"
         "D1 \\00\\00\\00\\00\\01a\n" REPLY_END(1));
    request(3, "Chat", "");
    say(3, 0, "b");
    put("\0\0\14\4\0\0\0\0\0" "\0\1\0\0\20\0", 15);
    may_go = true;
    cgrpc_call_wake(held[0]);
    run();
    SAYS(REPLY_HEAD(3) "D3 \\00\\00\\00\\00\\01b\nW3 6\n");
    put("\0\3\0\0\0\144", 6);
    SAYS("SA\n");
    request(5, "Unary", "");
    say(5, END_STREAM, "a");
    SAID("H5 (table 0) (table 4096)");
}

TEST(server__gives_the_credit_that_it_had_no_room_for)
{
    char text[256];
    uint32_t id;
    int i;
    memset(text, 'x', sizeof(text));
    start_silent(&broad, 64);
    greet();
    for (id = 1; id < 16; id += 2) request(id, "Collect", "");
    wire_forget(&peer->reader);
    peer->deaf = true;
    for (i = 0; i < 34; i++) ping("12345678"); /* the output is full */
    recording = true;
    session.len = 0;
    for (id = 1; id < 16; id += 2) message(id, 0, text, 256);
    recording = false;
    put(session.data, session.len);
    peer->deaf = false;
    run();
    CHECK(runs[COLLECT] == 8);
    CHECK(wire_count(&peer->reader, "W") - wire_count(&peer->reader, "W0") ==
          8);
}

/* Twice between two header blocks: RFC 7541, 4.2 wants the smaller told. */
TEST(server__tells_the_smallest_table_size_of_two_in_one_frame)
{
    start(&normal);
    request(1, "Unary", "");
    say(1, END_STREAM, "a");
    wire_forget(&peer->reader);
    settings(2, HEADER_TABLE_SIZE, 0u, HEADER_TABLE_SIZE, 4096u);
    request(3, "Unary", "");
    say(3, END_STREAM, "a");
    SAID("H3 (table 0) (table 4096)");
}

#define NO_CALL(id, code, more) "H" #id " :status=" code \
    " content-type=text/plain" more "\nD" #id \
    ". This\\20server\\20answers\\20gRPC\\20calls\\20only.\\0a\n"

TEST(server__answers_what_is_no_call_with_an_http_status)
{
    start(&normal);
    headers(1, END_STREAM, ":method: GET\n:scheme: http\n:path: /\n");
    SAYS(NO_CALL(1, "415", ""));
    headers(3, END_STREAM, ":method: POST\n:scheme: http\n"
            ":path: /t.T/Unary\ncontent-type: image/jpeg\n");
    SAYS(NO_CALL(3, "415", ""));
    headers(5, END_STREAM, ":method: DELETE\n:scheme: http\n"
            ":path: /t.T/Unary\ncontent-type: application/grpc\n");
    SAYS(NO_CALL(5, "405", " allow=POST"));
    CHECK(runs[UNARY] == 0);
}

#define REFUSED(status, why) "H1. :status=200 " \
    "content-type=application/grpc grpc-status=" status " grpc-message=" why \
    "\n"

/* Requests in full, and what is said to them. */
TEST(server__judges_each_request)
{
    static const struct {
        const char *what, *path, *fields, *body;
        size_t len;
        const char *answer;
    } table[] = {
        { "+proto", "/t.T/Unary", "content-type: application/grpc+proto\n",
          "\0\0\0\0\1x", 6,
          REPLY_HEAD(1) "D1 \\00\\00\\00\\00\\01x\n" REPLY_END(1) },
        { "a parameter", "/t.T/Unary",
          "content-type: application/grpc; charset=utf-8\n",
          "\0\0\0\0\1x", 6,
          REPLY_HEAD(1) "D1 \\00\\00\\00\\00\\01x\n" REPLY_END(1) },
        { "+foo", "/t.T/Unary", "content-type: application/grpc+foo\n",
          "\0\0\0\0\1x", 6,
          REFUSED("12", "only application/grpc+proto is served") },
        { "no such method", "/t.T/None", "content-type: application/grpc\n",
          "\0\0\0\0\1x", 6, REFUSED("12", "no such method") },
        { "no such service", "/t.U/Unary",
          "content-type: application/grpc\n", "\0\0\0\0\1x", 6,
          REFUSED("12", "no such method") },
        { "a longer path", "/t.T/Unary2", "content-type: application/grpc\n",
          "\0\0\0\0\1x", 6, REFUSED("12", "no such method") },
        { "a shorter path", "/t.T/Unar", "content-type: application/grpc\n",
          "\0\0\0\0\1x", 6, REFUSED("12", "no such method") },
        { "no message", "/t.T/Unary", "content-type: application/grpc\n", "",
          0, REFUSED("12", "no message where one was expected") },
        { "two messages", "/t.T/Unary", "content-type: application/grpc\n",
          "\0\0\0\0\1x\0\0\0\0\1y", 12,
          REFUSED("12", "more than one message where one was expected") },
        { "half a message", "/t.T/Unary", "content-type: application/grpc\n",
          "\0\0\0\0\2x", 6, REFUSED("13", "the last message is cut short") },
        { "a flag without an encoding", "/t.T/Unary",
          "content-type: application/grpc\n", "\1\0\0\0\1x", 6,
          REFUSED("13",
                  "compressed message without a known grpc-encoding") },
        { "a flag and identity", "/t.T/Unary",
          "content-type: application/grpc\ngrpc-encoding: identity\n",
          "\1\0\0\0\1x", 6,
          REFUSED("13",
                  "compressed message without a known grpc-encoding") },
        { "gzip", "/t.T/Unary",
          "content-type: application/grpc\ngrpc-encoding: gzip\n",
          "\1\0\0\0\1x", 6,
          "H1. :status=200 content-type=application/grpc grpc-status=12 "
          "grpc-accept-encoding=identity "
          "grpc-message=unknown grpc-encoding\n" },
        { "4 GB", "/t.T/Unary", "content-type: application/grpc\n",
          "\0\377\377\377\377", 5,
          REFUSED("8", "message over the receiver's limit") },
        { "a timeout without a unit", "/t.T/Unary",
          "content-type: application/grpc\ngrpc-timeout: 5\n",
          "\0\0\0\0\1x", 6, REFUSED("13", "malformed grpc-timeout") },
        { "a timeout of 9 digits", "/t.T/Unary",
          "content-type: application/grpc\ngrpc-timeout: 123456789n\n",
          "\0\0\0\0\1x", 6, REFUSED("13", "malformed grpc-timeout") },
        { "a timeout below zero", "/t.T/Unary",
          "content-type: application/grpc\ngrpc-timeout: -1S\n",
          "\0\0\0\0\1x", 6, REFUSED("13", "malformed grpc-timeout") },
        { "a timeout of nothing", "/t.T/Unary",
          "content-type: application/grpc\ngrpc-timeout: 0n\n",
          "\0\0\0\0\1x", 6, REFUSED("4", "deadline exceeded") },
        { "a bad -bin value", "/t.T/Unary",
          "content-type: application/grpc\nx-c-bin: !!\n",
          "\0\0\0\0\1x", 6, REFUSED("3", "a -bin value is not base64") }
    };
    size_t i;
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        char fields[512];
        bool same;
        sprintf(fields, ":method: POST\n:scheme: http\n:path: %s\n%s",
                table[i].path, table[i].fields);
        start(&normal);
        headers(1, 0, fields);
        data(1, END_STREAM, table[i].body, table[i].len);
        same = rig_says(table[i].answer);
        if (!same) printf("  (to %s)\n", table[i].what);
        CHECK(same);
        request(3, "Unary", "");
        say(3, END_STREAM, "hi");
        SAID("H3. grpc-status=0");
    }
}

TEST(server__obeys_each_unit_of_a_timeout)
{
    static const struct { const char *text; uint32_t ms; } table[] = {
        { "1n", 1 }, { "1000001n", 2 }, { "1u", 1 }, { "2000u", 2 },
        { "7m", 7 }, { "3S", 3000 }, { "2M", 120000 }, { "1H", 3600000 }
    };
    size_t i;
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        char field[64];
        start(&normal);
        on_call[CHAT] = hold;
        held_count = 0;
        sprintf(field, "grpc-timeout: %s\n", table[i].text);
        request(1, "Chat", field);
        say(1, 0, "x");
        wire_forget(&peer->reader);
        wait_ms(table[i].ms - 1);
        QUIET();
        CHECK(cgrpc_call_time_left(held[0]) == 1);
        wait_ms(1);
        SAYS(REFUSED("4", "deadline exceeded"));
    }
}

static int ends;
static cgrpc_status end_status;

static void note_end(cgrpc_call *call, cgrpc_status status)
{
    (void)call;
    ends++;
    end_status = status;
}

static cgrpc_status echo_and_note(cgrpc_call *call, const cgrpc_bytes *in,
                                  cgrpc_bytes *out)
{
    cgrpc_call_on_end(call, note_end);
    *out = *in;
    return CGRPC_OK;
}

TEST(server__never_tells_on_end_ok_of_a_reply_that_could_not_leave)
{
    ends = 0;
    start(&normal);
    on_call[UNARY] = echo_and_note;
    settings(1, INITIAL_WINDOW_SIZE, 0u);
    request(1, "Unary", "grpc-timeout: 50m\n");
    say(1, END_STREAM, "hello");
    wait_ms(60);
    CHECK(ends == 1);
    CHECK(end_status == CGRPC_DEADLINE_EXCEEDED);
}

TESTS = {
    RUN(server__answers_all_four_kinds_of_calls),
    RUN(server__gives_credit_when_its_settings_are_acknowledged),
    RUN(server__judges_a_message_that_is_too_large_the_same_however_it_is_cut),
    RUN(server__bears_with_100000_unary_calls_at_once),
    RUN(server__takes_frames_of_nothing_but_padding_for_a_flood),
    RUN(server__resets_a_call_whose_handler_leaves_a_message_half_sent),
    RUN(server__never_ends_a_half_sent_message_with_trailers_at_a_deadline),
    RUN(server__drops_a_reply_that_no_window_opens_for_at_the_deadline),
    RUN(server__keeps_the_rest_of_an_echo_that_meets_a_closed_window),
    RUN(server__resets_every_call_that_is_cancelled_while_nothing_can_be_sent),
    RUN(server__answers_a_ping_though_the_room_for_it_went_meanwhile),
    RUN(server__sleeps_while_there_is_no_room_for_a_header_block),
    RUN(server__sends_no_text_with_an_ok),
    RUN(server__never_raises_the_last_stream_that_its_goaway_named),
    RUN(server__applies_a_larger_table_size_no_earlier_than_its_ack),
    RUN(server__gives_the_credit_that_it_had_no_room_for),
    RUN(server__tells_the_smallest_table_size_of_two_in_one_frame),
    RUN(server__answers_what_is_no_call_with_an_http_status),
    RUN(server__judges_each_request),
    RUN(server__obeys_each_unit_of_a_timeout),
    RUN(server__never_tells_on_end_ok_of_a_reply_that_could_not_leave),
    TESTS_END
};
