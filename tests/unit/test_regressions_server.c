/* The server's mistakes of the past: each was made once, and is not to be
 * made again.
 *
 *   cc -std=c99 -I. -Iport tests/unit/test_regressions_server.c -o t && ./t
 */
#define CGRPC_IMPLEMENTATION
#define CGRPC_NANOPB 0
#define CGRPC_HUFFMAN_ENCODE 0
#include "cgrpc_memory.h"
#include "wire.h"
#include "test.h"
#include "server_rig.h"

enum { MANY = 24, FRAME_HEAD = 9, PREFIX = 5, DEAD_MS = 250,
       MINUTE_MS = 60000, HOUR_MS = 3600000 };

CGRPC_SERVER_DEFINE(big, 1, 2, 100000, 512, RIG_SCRATCH);
CGRPC_SERVER_DEFINE(many, 1, MANY, 64, 128, RIG_SCRATCH);
CGRPC_SERVER_DEFINE(three, 1, 3, 256, 128, RIG_SCRATCH);
CGRPC_SERVER_DEFINE(two, 1, 2, 256, 128, RIG_SCRATCH);
CGRPC_SERVER_DEFINE(small, 1, 1, 256, 128, RIG_SCRATCH);

/* What is put from here on arrives at once, when it is sent. */
static void record(void)
{
    session.len = 0;
    recording = true;
}

/* ... and that without running the server. */
static void send_record(void)
{
    recording = false;
    CHECK(cgrpc_memory_write(mine(peer), session.data, session.len) ==
          session.len);
}

/* Polls as often as the server asks for it, and no more: run() would hide
 * that it does not ask. */
static void run_as_told(void)
{
    int polls = 0;
    while (cgrpc_server_poll(server) == 0 && ++polls < 100) listen_to(peer);
    listen_to(peer);
    CHECK(polls < 100);
}

static cgrpc_status hold(cgrpc_call *call, const cgrpc_bytes *in,
                         cgrpc_bytes *out)
{
    (void)call;
    (void)in;
    (void)out;
    return CGRPC_PENDING;
}

/* ---- credit ---- */

/* The 65,535 bytes that hold until then become 100,005 with the ACK. Credit
 * that filled them up before came on top of that. */
TEST(flow__gives_no_credit_beyond_the_buffer_before_the_ack)
{
    start_silent(&big, 0);
    put(PREFACE, sizeof(PREFACE) - 1);
    settings(0);
    SAID("S 3=2 4=100005\n");
    wire_forget(&peer->reader);
    request(1, "Chat", "");
    QUIET();
    frame(SETTINGS, ACK, 0, NULL, 0);
    QUIET();
}

/* There is room for the credit of 9 streams at a time. */
TEST(poll__says_when_owed_credit_can_go)
{
    static char text[64];
    uint32_t id;
    memset(text, 'a', sizeof(text));
    start(&many);
    on_call[CHAT] = collect;
    for (id = 1; id < 2 * MANY; id += 2) request(id, "Chat", "");
    wire_forget(&peer->reader);
    record();
    for (id = 1; id < 2 * MANY; id += 2) message(id, 0, text, sizeof(text));
    send_record();
    run_as_told();
    for (id = 1; id < 2 * MANY; id += 2) {
        char line[32];
        sprintf(line, "W%u 69\n", (unsigned)id);
        SAID(line);
    }
}

/* ---- ends of calls ---- */

static cgrpc_status echo_with_large_trailers(cgrpc_call *call,
                                             const cgrpc_bytes *in,
                                             cgrpc_bytes *out)
{
    static uint8_t value[90]; /* 120 in base64 */
    memset(value, 'x', sizeof(value));
    CHECK(cgrpc_metadata_add(call, CGRPC_TRAILING, "x-c-bin", value,
                             sizeof(value)) == CGRPC_SUCCESS);
    *out = *in;
    return CGRPC_OK;
}

/* They will never fit: there is nothing to wait for. */
TEST(reply__with_trailers_too_large_ends_at_once)
{
    start(&small);
    on_call[UNARY] = echo_with_large_trailers;
    request(1, "Unary", "");
    wire_forget(&peer->reader);
    record();
    say(1, END_STREAM, "hi");
    send_record();
    run_as_told();
    SAID("D1 \\00\\00\\00\\00\\02hi\n");
    SAID("H1. grpc-status=8");
}

TEST(slot__is_not_pinned_by_a_zero_window_and_a_long_timeout)
{
    start(&small);
    settings(1, INITIAL_WINDOW_SIZE, 0u);
    request(1, "Unary", "grpc-timeout: 99999999H\n");
    say(1, END_STREAM, "hi");
    wait_ms(HOUR_MS);
    SAID("R1 ");
    wire_forget(&peer->reader);
    request(3, "Unary", "");
    say(3, END_STREAM, "hi");
    SAYS(REPLY_HEAD(3));
}

static cgrpc_call *victim;

static cgrpc_status hold_and_be_victim(cgrpc_call *call, const cgrpc_bytes *in,
                                       cgrpc_bytes *out)
{
    (void)in;
    (void)out;
    victim = call;
    return CGRPC_PENDING;
}

static cgrpc_status cancel_victim(cgrpc_call *call, const cgrpc_bytes *in,
                                  cgrpc_bytes *out)
{
    (void)call;
    (void)in;
    (void)out;
    cgrpc_call_cancel(victim);
    return CGRPC_PENDING;
}

/* The client has read the reset and counts the stream as closed. Which of
 * the two calls has its turn first differs from poll to poll. */
TEST(slot__of_a_cancelled_call_is_free_for_the_next_stream)
{
    int polls_before;
    for (polls_before = 0; polls_before < 2; polls_before++) {
        start(&two);
        on_call[CHAT] = hold_and_be_victim;
        on_call[UNARY] = cancel_victim;
        request(1, "Chat", "");
        say(1, 0, "hi");
        request(3, "Unary", "");
        wire_forget(&peer->reader);
        if (polls_before) cgrpc_server_poll(server);
        record();
        say(3, END_STREAM, "x");
        send_record();
        cgrpc_server_poll(server);
        listen_to(peer);
        SAYS("R1 8\n");
        request(5, "Chat", "");
        DID_NOT_SAY("R5");
    }
}

/* An upload that is refused, by a client that would go on: its window is
 * spent, and its slot was held for the five seconds of a linger. */
TEST(slot__is_not_held_for_an_upload_that_cannot_end)
{
    static char text[261]; /* the window: RX_BYTES + 5 */
    start(&small);
    request(1, "Nothing", "");
    SAID("H1. :status=200 content-type=application/grpc grpc-status=12");
    wire_forget(&peer->reader);
    frame(DATA, 0, 1, text, 260);
    QUIET();
    frame(DATA, 0, 1, text, 1);
    SAYS("R1 0\n");
    request(3, "Unary", "");
    say(3, END_STREAM, "hi");
    SAID("H3 :status=200");
}

/* Half a frame and its end: the last one. */
TEST(slot__is_not_reset_before_the_frame_that_ends_it_is_read)
{
    static char text[261];
    start(&small);
    request(1, "Nothing", "");
    wire_forget(&peer->reader);
    pieces = 1;
    frame(DATA, END_STREAM, 1, text, sizeof(text));
    pieces = 0;
    QUIET();
}

/* ---- sleeping with work left ---- */

static uint8_t filling_bytes[128 - FRAME_HEAD - PREFIX];
static cgrpc_call *heard; /* a chat that others speak to */
static bool spoken;

static cgrpc_status be_heard(cgrpc_call *call, const cgrpc_bytes *in,
                             cgrpc_bytes *out)
{
    (void)in;
    (void)out;
    heard = call;
    return cgrpc_recv_ended(call) ? CGRPC_OK : CGRPC_NEXT;
}

/* A handler that fills up the buffer, and finds no room for a message to the
 * other call, whose turn has been. */
static cgrpc_status speak_to_it(cgrpc_call *call, const cgrpc_bytes *in,
                                cgrpc_bytes *out)
{
    cgrpc_bytes filling;
    (void)call;
    (void)in;
    (void)out;
    filling.data = filling_bytes;
    filling.len = sizeof(filling_bytes);
    while (cgrpc_send(heard, &filling))
        ;
    spoken = true;
    return CGRPC_OK;
}

TEST(poll__says_when_there_is_room_for_a_message_that_another_call_sends)
{
    int shift;
    for (shift = 0; shift < 2; shift++) { /* the one or the other goes first */
        start(&two);
        heard = NULL;
        spoken = false;
        on_call[CHAT] = be_heard;
        on_call[LIST] = speak_to_it;
        request(1, "Chat", "");
        say(1, 0, "hello");
        CHECK(heard != NULL);
        request(3, "List", "");
        if (shift) cgrpc_server_poll(server);
        runs[CHAT] = 0;
        record();
        say(3, END_STREAM, "go");
        send_record();
        run_as_told();
        CHECK(spoken);
        CHECK(runs[CHAT] == 1); /* there is room: it was told so */
    }
}

static void say_goodbye(cgrpc_call *call, cgrpc_status status)
{
    cgrpc_bytes bye = { (const uint8_t *)"bye", 3 };
    (void)call;
    (void)status;
    CHECK(cgrpc_send(heard, &bye));
}

static cgrpc_status leave_with_a_word(cgrpc_call *call, const cgrpc_bytes *in,
                                      cgrpc_bytes *out)
{
    (void)in;
    (void)out;
    victim = call;
    cgrpc_call_on_end(call, say_goodbye);
    return CGRPC_PENDING;
}

/* The hook runs when all was written, for the call has ended after its
 * turn. */
TEST(poll__sends_what_the_hook_of_a_call_says_that_another_one_has_ended)
{
    int shift;
    for (shift = 0; shift < 3; shift++) { /* each of them may go first */
        start(&three);
        victim = heard = NULL;
        on_call[CHAT] = be_heard;
        on_call[LIST] = leave_with_a_word;
        on_call[UNARY] = cancel_victim;
        request(1, "Chat", "");
        say(1, 0, "hello");
        request(3, "List", "");
        say(3, END_STREAM, "me too");
        request(5, "Unary", "");
        wire_forget(&peer->reader);
        if (shift) cgrpc_server_poll(server);
        if (shift > 1) cgrpc_server_poll(server);
        record();
        say(5, END_STREAM, "hi");
        send_record();
        run_as_told();
        SAID("D1 \\00\\00\\00\\00\\03bye");
    }
}

static cgrpc_status send_initial(cgrpc_call *call, const cgrpc_bytes *in,
                                 cgrpc_bytes *out)
{
    (void)in;
    (void)out;
    return cgrpc_send_initial(call) ? CGRPC_NEXT : CGRPC_PENDING;
}

/* A client that opens no window before it has the headers. */
TEST(send_initial__waits_for_room_but_for_no_window)
{
    int i;
    start(&two);
    settings(1, INITIAL_WINDOW_SIZE, 0u);
    on_call[CHAT] = send_initial;
    request(1, "Chat", "");
    wire_forget(&peer->reader);
    record();
    for (i = 0; i < 7; i++) ping("12345678"); /* their answers fill it */
    say(1, 0, "hello");
    send_record();
    run_as_told();
    SAID("H1 ");
    CHECK(runs[CHAT] == 2);
}

/* ---- the end of a server ---- */

static void stop_in_hook(cgrpc_call *call, cgrpc_status status)
{
    (void)call;
    (void)status;
    cgrpc_server_stop(server);
}

static cgrpc_status end_with_a_stop(cgrpc_call *call, const cgrpc_bytes *in,
                                    cgrpc_bytes *out)
{
    *out = *in;
    cgrpc_call_on_end(call, stop_in_hook);
    return CGRPC_PENDING;
}

/* It also ended the calls that were ending. */
TEST(stop__may_come_from_a_hook)
{
    start(&two);
    on_call[LIST] = end_with_a_stop;
    request(1, "List", "");
    say(1, END_STREAM, "hi");
    reset(1, CANCEL);
    CHECK(cgrpc_server_poll(server) != 0);
    CHECK(cgrpc_server_idle(server));
    dial(peer, 0);
    greet();
    request(1, "Unary", "");
    say(1, END_STREAM, "hi");
    SAID("D1 ");
    CHECK(cgrpc_server_poll(server) != 0);
    on_call[LIST] = end_with_a_stop;
    request(3, "List", "");
    say(3, END_STREAM, "hi");
    cgrpc_server_stop(server); /* which runs the hook */
    CHECK(cgrpc_server_idle(server));
    CHECK(cgrpc_server_poll(server) != 0);
}

static cgrpc_status fill_and_stop(cgrpc_call *call, const cgrpc_bytes *in,
                                  cgrpc_bytes *out)
{
    cgrpc_bytes filling;
    (void)in;
    (void)out;
    filling.data = filling_bytes;
    filling.len = sizeof(filling_bytes);
    while (cgrpc_send(call, &filling))
        ;
    cgrpc_server_stop(server);
    return CGRPC_PENDING;
}

TEST(stop__may_come_from_a_handler)
{
    start(&two);
    on_call[LIST] = fill_and_stop;
    request(1, "List", "");
    say(1, END_STREAM, "hi");
    CHECK(cgrpc_server_idle(server));
    CHECK(cgrpc_server_poll(server) != 0);
}

/* ---- plain HTTP ---- */

/* curl -I fails with a protocol error when DATA comes. */
TEST(http__an_answer_to_head_has_no_content)
{
    start(&small);
    headers(1, END_STREAM, ":method: HEAD\n:scheme: http\n:path: /\n");
    SAYS("H1. :status=415 content-type=text/plain\n");
    headers(3, END_STREAM, ":method: HEAD\n:scheme: http\n"
            ":path: /t.T/Unary\ncontent-type: application/grpc\n");
    SAYS("H3. :status=405 content-type=text/plain allow=POST\n");
    CHECK(runs[UNARY] == 0);
}

/* RFC 9110, 15.5.6: it must. */
TEST(http__a_405_names_the_method_that_is_allowed)
{
    start(&small);
    headers(1, END_STREAM, ":method: PUT\n:scheme: http\n"
            ":path: /t.T/Unary\ncontent-type: application/grpc\n");
    SAID("H1 :status=405 content-type=text/plain allow=POST\n");
}

/* ---- ends of connections ---- */

/* Its block begins between the two GOAWAYs, or after the second. */
TEST(drain__ends_though_a_header_block_is_never_finished)
{
    int late;
    for (late = 0; late < 2; late++) {
        start(&two);
        on_call[CHAT] = hold;
        request(1, "Chat", ""); /* keeps the connection */
        cgrpc_server_drain(server);
        run();
        if (late) frame(PING, ACK, 0, "cgdrain", 8);
        CHECK(wire_count(&peer->reader, "G") == (late ? 2 : 1));
        frame(HEADERS, 0, 3, "\203", 1);
        CHECK(!cgrpc_server_idle(server));
        wait_ms(MINUTE_MS);
        wait_ms(MINUTE_MS);
        CHECK(cgrpc_server_idle(server));
    }
}

TEST(drain__that_found_no_room_begins_when_there_is)
{
    int i;
    start(&small);
    record();
    for (i = 0; i < 9; i++) ping("12345678"); /* 153 bytes for 128 */
    send_record();
    cgrpc_server_drain(server);
    run_as_told();
    SAID("G 2147483647 0\n");
}

/* A wake that comes late, or early, finds a slot that has no call: it is a
 * hint, and harmless. It followed a null pointer. */
TEST(wake__of_a_slot_without_a_call_is_harmless)
{
    start(&small);
    cgrpc_call_wake(&server->memory->calls[0]);
    request(1, "Unary", "");
    say(1, END_STREAM, "hi");
    CHECK(runs[UNARY] == 1);
}

/* HEADERS that end a connection, but not their block. */
TEST(conn__that_is_dead_keeps_its_short_timer)
{
    start(&small);
    request(1, "Unary", "");
    say(1, END_STREAM, "hi");
    wire_forget(&peer->reader);
    frame(HEADERS, 0, 1, "\210", 1);
    SAYS("G 1 5\n");
    CHECK(cgrpc_server_poll(server) <= DEAD_MS);
    wait_ms(DEAD_MS);
    dial(&peers[1], 0); /* the only place is free again */
}

TESTS = {
    RUN(flow__gives_no_credit_beyond_the_buffer_before_the_ack),
    RUN(poll__says_when_owed_credit_can_go),
    RUN(reply__with_trailers_too_large_ends_at_once),
    RUN(slot__is_not_pinned_by_a_zero_window_and_a_long_timeout),
    RUN(slot__of_a_cancelled_call_is_free_for_the_next_stream),
    RUN(slot__is_not_held_for_an_upload_that_cannot_end),
    RUN(slot__is_not_reset_before_the_frame_that_ends_it_is_read),
    RUN(poll__says_when_there_is_room_for_a_message_that_another_call_sends),
    RUN(poll__sends_what_the_hook_of_a_call_says_that_another_one_has_ended),
    RUN(send_initial__waits_for_room_but_for_no_window),
    RUN(stop__may_come_from_a_hook),
    RUN(stop__may_come_from_a_handler),
    RUN(http__an_answer_to_head_has_no_content),
    RUN(http__a_405_names_the_method_that_is_allowed),
    RUN(drain__ends_though_a_header_block_is_never_finished),
    RUN(drain__that_found_no_room_begins_when_there_is),
    RUN(conn__that_is_dead_keeps_its_short_timer),
    RUN(wake__of_a_slot_without_a_call_is_harmless),
    TESTS_END
};
