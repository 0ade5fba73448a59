/* The life of a channel and of its calls: connecting, waiting, failing,
 * going away, ending; and what a server may not do.
 *
 *   cc -std=c99 -I. -Iport tests/unit/test_channel.c -o t && ./t
 */
#define CGRPC_IMPLEMENTATION
#define CGRPC_NANOPB 0
#define CGRPC_HUFFMAN_ENCODE 0
#include "cgrpc_memory.h"
#include "wire.h"
#include "test.h"
#include "client_rig.h"

CGRPC_CHANNEL_DEFINE(normal, 256, 512);
CGRPC_CHANNEL_DEFINE(narrow, 256, 128);
CGRPC_CHANNEL_DEFINE(too_narrow, 256, 127);
CGRPC_CALL_DEFINE(small_call, 255);
CGRPC_CALL_DEFINE(large_call, 1000);

static cgrpc_options patient(void)
{
    cgrpc_options options = { 0 };
    options.wait_for_ready = true;
    return options;
}

/* ---- connecting ---- */

TEST(channel__connects_when_a_call_wants_it_and_not_before)
{
    start_desk(&normal);
    run();
    CHECK(dials == 0);
    CHECK(cgrpc_channel_get_state(channel) == CGRPC_CHANNEL_IDLE);
    begin(&one, UNARY, NULL);
    run();
    CHECK(dials == 1);
    CHECK(cgrpc_channel_get_state(channel) == CGRPC_CHANNEL_CONNECTING);
    DID_NOT_SAY("H");
    greet();
    CHECK(cgrpc_channel_get_state(channel) == CGRPC_CHANNEL_READY);
    SAID("H1 ");
}

TEST(channel__fails_a_call_at_once_that_does_not_want_to_wait)
{
    start_desk(&normal);
    refuse = 1;
    dones = 0;
    begin(&one, UNARY, NULL);
    run();
    ENDED(CGRPC_UNAVAILABLE);
    CHECK(cgrpc_channel_get_state(channel) == CGRPC_CHANNEL_BACKOFF);
    begin(&one, UNARY, NULL); /* in the time of backing off */
    run();
    ENDED(CGRPC_UNAVAILABLE);
    CHECK(dials == 1);
}

TEST(channel__keeps_a_call_that_waits_until_it_is_connected)
{
    cgrpc_options options = patient();
    start_desk(&normal);
    refuse = 3;
    dones = 0;
    begin(&one, UNARY, &options);
    run();
    CHECK(dials == 1);
    wait_ms(2000);
    wait_ms(4000);
    CHECK(dones == 0);
    wait_ms(8000);
    CHECK(dials == 4);
    greet();
    reply(1, "hello");
    ENDED(CGRPC_OK);
}

/* Each pause is 1.6 times the one before, a fifth more or less, from one
 * second up to two minutes. */
TEST(channel__waits_longer_after_each_failure_up_to_two_minutes)
{
    cgrpc_options options = patient();
    uint32_t expected = 1000, round;
    int distinct = 0;
    start_desk(&normal);
    refuse = 1000;
    begin(&one, UNARY, &options);
    run();
    for (round = 0; round < 20; round++) {
        uint32_t pause = cgrpc_channel_poll(channel);
        CHECK(pause >= expected - expected / 5 - 1);
        CHECK(pause <= expected + expected / 5 + 1);
        distinct += pause != expected;
        CHECK(dials == (int)round + 1);
        wait_ms(pause - 1);
        CHECK(dials == (int)round + 1);
        wait_ms(1);
        CHECK(dials == (int)round + 2);
        expected = expected / 5 * 8;
        if (expected > 120000) expected = 120000;
    }
    CHECK(distinct > 10);
    refuse = 0;
    wait_ms(150000);
    greet();
    reply(1, "hello");
    hang_up();
    refuse = 1;
    begin(&one, UNARY, &options);
    run();
    CHECK(cgrpc_channel_poll(channel) <= 1200); /* it begins anew */
}

TEST(channel__gives_up_on_a_server_that_never_greets)
{
    start_desk(&normal);
    dones = 0;
    begin(&one, UNARY, NULL);
    run();
    CHECK(cgrpc_channel_poll(channel) <= 20000);
    wait_ms(20000);
    wait_ms(1000);
    ENDED(CGRPC_UNAVAILABLE);
}

TEST(channel__ends_a_queued_call_at_its_deadline)
{
    cgrpc_options options = patient();
    options.timeout_ms = 500;
    start_desk(&normal);
    refuse = 100;
    dones = 0;
    begin(&one, UNARY, &options);
    run();
    CHECK(cgrpc_channel_poll(channel) == 500);
    wait_ms(499);
    CHECK(dones == 0);
    wait_ms(1);
    ENDED(CGRPC_DEADLINE_EXCEEDED);
    CHECK(cgrpc_channel_poll(channel) == UINT32_MAX); /* nobody waits */
}

/* ---- how many streams ---- */

TEST(channel__opens_no_more_streams_than_the_server_wants)
{
    int i;
    start_desk(&normal);
    begin(&one, UNARY, NULL);
    run();
    settings(1, MAX_CONCURRENT_STREAMS, 2u);
    for (i = 1; i < 6; i++) begin(&rig_calls[i], UNARY, NULL);
    run();
    CHECK(wire_count(&reader, "H") == 2);
    dones = 0;
    reply(1, "hello"); /* one goes, one comes */
    CHECK(dones == 1);
    CHECK(wire_count(&reader, "H") == 3);
    settings(1, MAX_CONCURRENT_STREAMS, 4u);
    CHECK(wire_count(&reader, "H") == 5);
    settings(1, MAX_CONCURRENT_STREAMS, 0u);
    for (i = 3; i < 11; i += 2) reply((uint32_t)i, "hello");
    CHECK(wire_count(&reader, "H") == 5);
    CHECK(dones == 5);
    settings(1, MAX_CONCURRENT_STREAMS, 1u);
    CHECK(wire_count(&reader, "H") == 6);
    reply(11, "hello");
    CHECK(dones == 6);
}

/* ---- going away ---- */

TEST(channel__finishes_what_a_leaving_server_has_begun)
{
    cgrpc_options options = patient();
    start(&normal);
    begin(&one, UNARY, NULL);
    begin(&two, UNARY, NULL);
    run();
    goaway(1, NO_ERROR);
    begin(&three, UNARY, &options);
    run();
    CHECK(dials == 1);
    CHECK(dones == 0);
    reply(1, "hello");
    ENDED(CGRPC_OK); /* and the others go to the next connection */
    CHECK(dials == 2);
    greet();
    CHECK(wire_count(&reader, "H") == 2);
    reply(1, "again");
    reply(3, "new");
    CHECK(dones == 2 && done_status == CGRPC_OK);
}

TEST(channel__tells_a_stream_that_was_not_processed)
{
    start(&normal);
    begin(&one, CHAT, NULL);
    run();
    goaway(0, NO_ERROR);
    ENDED(CGRPC_UNAVAILABLE);
}

TEST(channel__tells_calls_whose_connection_was_lost)
{
    start(&normal);
    begin(&one, UNARY, NULL);
    run();
    hang_up();
    ENDED(CGRPC_UNAVAILABLE);
    begin(&one, UNARY, NULL);
    run();
    CHECK(dials == 2);
    greet();
    reply(1, "hello");
    ENDED(CGRPC_OK);
}

/* ---- ending ---- */

static void cancel_now(void)
{
    cgrpc_call_cancel(&one);
    CHECK(dones == 1 && done_status == CGRPC_CANCELLED);
    cgrpc_call_cancel(&one); /* once more is harmless */
    CHECK(dones == 1);
    dones = 0;
}

TEST(channel__cancels_a_call_at_each_stage)
{
    start_desk(&normal);
    dones = 0;
    begin(&one, UNARY, NULL);
    cancel_now(); /* before anything */
    begin(&one, UNARY, NULL);
    run();
    cancel_now(); /* before the greeting */
    CHECK(dials == 1);
    greet();
    DID_NOT_SAY("H");
    begin(&one, CHAT, NULL);
    run();
    cancel_now();
    run();
    SAID("R1 8");
    begin(&one, UNARY, NULL);
    run();
    answer(3);
    cancel_now();
    run();
    SAID("R3 8");
    begin(&one, UNARY, NULL);
    run();
    posting = true;
    reply(5, "hello");
    posting = false;
    cancel_now();
    run();
    SAID("R5 8");
    begin(&one, UNARY, NULL);
    run();
    reply(7, "hello");
    ENDED(CGRPC_OK);
}

TEST(channel__lets_a_call_object_be_used_again_and_not_at_once_twice)
{
    int i;
    start(&normal);
    for (i = 0; i < 20; i++) {
        begin(&one, UNARY, NULL);
        CHECK(cgrpc_start(channel, &one, &rig_methods[UNARY], &rig_request,
                          &rig_response, done, NULL) == CGRPC_E_STATE);
        run();
        CHECK(cgrpc_start(channel, &one, &rig_methods[UNARY], &rig_request,
                          &rig_response, done, NULL) == CGRPC_E_STATE);
        reply(1 + 2 * (uint32_t)i, "hello");
        ENDED(CGRPC_OK);
    }
}

/* Its user has seen the end: the object is free. */
TEST(channel__lets_a_stream_be_used_again_as_soon_as_its_end_was_seen)
{
    cgrpc_bytes got;
    start(&normal);
    begin(&one, LIST, NULL);
    run();
    answer(1);
    say(1, 0, "a");
    trailers(1, 0);
    CHECK(cgrpc_recv(&one, &got) == CGRPC_GOT);
    CHECK(cgrpc_recv(&one, &got) == CGRPC_END);
    CHECK(cgrpc_call_ended(&one));
    CHECK(cgrpc_start(channel, &one, &rig_methods[UNARY], &rig_request,
                      &rig_response, done, NULL) == CGRPC_SUCCESS);
    CHECK(dones == 1); /* of the first */
}

TEST(channel__ends_all_when_it_is_closed_and_can_be_used_again)
{
    cgrpc_options options = patient();
    start(&normal);
    begin(&one, CHAT, NULL);
    run();
    begin(&two, UNARY, &options);
    cgrpc_channel_close(channel);
    CHECK(dones == 2 && done_status == CGRPC_CANCELLED);
    CHECK(cgrpc_channel_get_state(channel) == CGRPC_CHANNEL_IDLE);
    cgrpc_channel_close(channel);
    CHECK(dones == 2);
    dones = 0;
    begin(&one, UNARY, NULL);
    run();
    greet();
    reply(1, "hello");
    ENDED(CGRPC_OK);
}

static cgrpc_status inner_status;
static bool inner_waited;

static void block_inside(cgrpc_call *call, cgrpc_status status)
{
    inner_status = cgrpc_unary(channel, &rig_methods[UNARY], &rig_request,
                               &rig_response, NULL);
    inner_waited = cgrpc_wait(&two, 10);
    done(call, status);
}

TEST(channel__refuses_to_block_inside_a_hook)
{
    start(&normal);
    inner_status = CGRPC_OK;
    inner_waited = true;
    begin(&two, CHAT, NULL);
    CHECK(cgrpc_start(channel, &one, &rig_methods[UNARY], &rig_request,
                      &rig_response, block_inside, NULL) == CGRPC_SUCCESS);
    run();
    reply(3, "hello");
    ENDED(CGRPC_OK);
    CHECK(inner_status == CGRPC_FAILED_PRECONDITION);
    CHECK(!inner_waited);
}

/* ---- sizes ---- */

TEST(channel__is_refused_when_it_was_defined_wrongly)
{
    cgrpc_channel_desc good = { 0 }, desc;
    cgrpc_port lame = rig_port;
    static const char *const bad_keys[] = { "Upper" };
    good.port = &rig_port;
    good.target = "desk";
    CHECK(cgrpc_channel_init(&normal, &good) == CGRPC_SUCCESS);
    CHECK(cgrpc_channel_init(&too_narrow, &good) == CGRPC_E_CONFIG);
    CHECK(cgrpc_channel_init_(&normal, &good, CGRPC_LAYOUT + 1) ==
          CGRPC_E_LAYOUT);
    CHECK(cgrpc_channel_init(&normal, NULL) == CGRPC_E_ARGUMENT);
    desc = good;
    desc.target = NULL;
    CHECK(cgrpc_channel_init(&normal, &desc) == CGRPC_E_ARGUMENT);
    desc = good;
    desc.port = NULL;
    CHECK(cgrpc_channel_init(&normal, &desc) == CGRPC_E_ARGUMENT);
    lame.connect = NULL;
    desc.port = &lame;
    CHECK(cgrpc_channel_init(&normal, &desc) == CGRPC_E_ARGUMENT);
    desc = good;
    desc.keys = bad_keys;
    desc.key_count = 1;
    CHECK(cgrpc_channel_init(&normal, &desc) == CGRPC_E_ARGUMENT);
}

TEST(channel__takes_calls_with_larger_buffers_than_its_own_and_no_smaller)
{
    static char text[1001];
    cgrpc_bytes got;
    memset(text, 'x', 1000);
    start(&normal);
    CHECK(cgrpc_start(channel, &small_call, &rig_methods[UNARY],
                      &rig_request, &rig_response, done, NULL) ==
          CGRPC_E_ROOM);
    begin(&large_call, LIST, NULL);
    run();
    answer(1);
    message(1, 0, text, 200);
    CHECK(cgrpc_recv(&large_call, &got) == CGRPC_GOT && got.len == 200);
    CHECK(cgrpc_recv(&large_call, &got) == CGRPC_WAIT);
    run();
    SAID("W1 "); /* it has room for 1005 */
    message(1, 0, text, 1000);
    CHECK(cgrpc_recv(&large_call, &got) == CGRPC_GOT && got.len == 1000);
    trailers(1, 0);
    CHECK(cgrpc_recv(&large_call, &got) == CGRPC_END);
    run();
    ENDED(CGRPC_OK);
}

/* A server that trusts our window alone must be able to send a message that
 * the call has room for, though the channel's own is smaller. */
TEST(channel__gives_a_call_with_a_larger_buffer_the_credit_for_it)
{
    start(&normal);
    begin(&large_call, LIST, NULL);
    run();
    answer(1);
    run();
    SAID("W1 744"); /* 1005 of which 261 were announced */
}

/* A request of any size gets through any buffer and any window, in order. */
TEST(channel__sends_a_large_request_through_little_room)
{
    static const uint32_t windows[] = { 1, 4, 5, 6, 20, 100, 1000 };
    static uint8_t large[3000];
    size_t i, w;
    for (i = 0; i < sizeof(large); i++) large[i] = (uint8_t)('a' + i % 26);
    for (w = 0; w < sizeof(windows) / sizeof(windows[0]); w++) {
        cgrpc_bytes request_bytes = { large, sizeof(large) };
        size_t got = 0;
        int turns;
        start_desk(&narrow);
        begin(&three, CHAT, NULL);
        run();
        settings(1, INITIAL_WINDOW_SIZE, (unsigned)windows[w]);
        frame(SETTINGS, ACK, 0, NULL, 0);
        cgrpc_call_cancel(&three);
        run();
        dones = 0;
        wire_forget(&reader);
        rig_response.len = 0;
        CHECK(cgrpc_start(channel, &one, &rig_methods[UNARY], &request_bytes,
                          &rig_response, done, NULL) == CGRPC_SUCCESS);
        run();
        for (turns = 0; turns < 3100 && !wire_line(&reader, "D3. "); turns++)
            credit(3, windows[w]);
        SAID("D3. ");
        for (i = 0; reader.text[i]; i++) {
            if (i && reader.text[i - 1] != '\n') continue;
            if (reader.text[i] == 'D') {
                const char *at = strchr(reader.text + i, ' ') + 1;
                for (; *at != '\n'; at += *at == '\\' ? 3 : 1)
                    if (got++ >= 5 && *at != large[got - 6]) {
                        CHECK(!"the bytes are out of order");
                        return;
                    }
            }
        }
        CHECK(got == sizeof(large) + 5);
        reply(3, "hello");
        ENDED(CGRPC_OK);
    }
}

TEST(channel__notices_a_request_that_changes_while_it_is_sent)
{
    static uint8_t large[300];
    cgrpc_bytes request_bytes = { large, sizeof(large) };
    start(&normal);
    settings(1, INITIAL_WINDOW_SIZE, 50u);
    rig_response.len = 0;
    CHECK(cgrpc_start(channel, &one, &rig_methods[UNARY], &request_bytes,
                      &rig_response, done, NULL) == CGRPC_SUCCESS);
    run();
    large[3] = 1; /* already on the wire */
    wire_forget(&reader);
    credit(1, 1000);
    ENDED(CGRPC_INTERNAL);
    CHECK(wire_count(&reader, "R1 ") == 1);
    DID_NOT_SAY("D");
}

/* ---- what a server may not do ---- */

static void bad_push(void) { frame(PUSH_PROMISE, 4, 1, "\0\0\0\2", 4); }
static void bad_push_setting(void) { settings(1, ENABLE_PUSH, 1u); }
static void bad_stream(void) { headers(2, 0, ANSWER); }
static void bad_idle_headers(void) { headers(99, 0, ANSWER); }
static void bad_idle_data(void) { data(99, 0, "x", 1); }
static void bad_idle_reset(void) { reset(99, 8); }
static void bad_idle_credit(void) { credit(99, 1); }
static void bad_data_0(void) { data(0, 0, "x", 1); }
static void bad_headers_0(void) { headers(0, 0, ANSWER); }
static void bad_credit_0(void) { credit(0, 0); }
static void bad_credit_large(void) { credit(0, 0x7fffffff); }
static void bad_window(void) { settings(1, INITIAL_WINDOW_SIZE, 0x80000000u); }
static void bad_frame_size(void) { settings(1, MAX_FRAME_SIZE, 100u); }
static void bad_ping(void) { frame(PING, 0, 0, "1234567", 7); }
static void bad_ping_stream(void) { frame(PING, 0, 1, "12345678", 8); }
static void bad_settings_ack(void) { frame(SETTINGS, ACK, 0, "123456", 6); }
static void bad_settings_len(void) { frame(SETTINGS, 0, 0, "12345", 5); }
static void bad_goaway(void) { frame(GOAWAY, 0, 0, "1234567", 7); }
static void bad_goaway_stream(void) { frame(GOAWAY, 0, 1, NULL, 8); }
static void bad_reset_len(void) { frame(RST_STREAM, 0, 1, "123", 3); }
static void bad_continuation(void) { frame(CONTINUATION, 4, 1, "", 0); }
static void bad_hpack(void) { frame(HEADERS, 4, 1, "\377\377\377\377", 4); }
static void bad_padding(void) { frame(DATA, PADDED, 1, "\5x", 2); }

static void bad_interleaved(void)
{
    frame(HEADERS, 0, 1, "\210", 1);
    ping("12345678");
}

static void bad_length(void)
{
    put("\1\0\0\0\0\0\0\0\1", 9); /* 65,536 of DATA */
}

TEST(channel__ends_a_connection_that_breaks_the_rules_of_http_2)
{
    static const struct {
        const char *what;
        void (*happens)(void);
        int code;
    } table[] = {
        { "PUSH_PROMISE", bad_push, PROTOCOL_ERROR },
        { "ENABLE_PUSH", bad_push_setting, PROTOCOL_ERROR },
        { "a stream of the server's", bad_stream, PROTOCOL_ERROR },
        { "HEADERS, idle", bad_idle_headers, PROTOCOL_ERROR },
        { "DATA, idle", bad_idle_data, PROTOCOL_ERROR },
        { "RST_STREAM, idle", bad_idle_reset, PROTOCOL_ERROR },
        { "WINDOW_UPDATE, idle", bad_idle_credit, PROTOCOL_ERROR },
        { "DATA on 0", bad_data_0, PROTOCOL_ERROR },
        { "HEADERS on 0", bad_headers_0, PROTOCOL_ERROR },
        { "credit of 0", bad_credit_0, PROTOCOL_ERROR },
        { "too much credit", bad_credit_large, FLOW_CONTROL_ERROR },
        { "too large a window", bad_window, FLOW_CONTROL_ERROR },
        { "too small a frame size", bad_frame_size, PROTOCOL_ERROR },
        { "PING of 7", bad_ping, FRAME_SIZE_ERROR },
        { "PING on 1", bad_ping_stream, PROTOCOL_ERROR },
        { "ACK of 6", bad_settings_ack, FRAME_SIZE_ERROR },
        { "SETTINGS of 5", bad_settings_len, FRAME_SIZE_ERROR },
        { "GOAWAY of 7", bad_goaway, FRAME_SIZE_ERROR },
        { "GOAWAY on 1", bad_goaway_stream, PROTOCOL_ERROR },
        { "RST_STREAM of 3", bad_reset_len, FRAME_SIZE_ERROR },
        { "CONTINUATION alone", bad_continuation, PROTOCOL_ERROR },
        { "bad HPACK", bad_hpack, COMPRESSION_ERROR },
        { "padding over the end", bad_padding, PROTOCOL_ERROR },
        { "a PING in a block", bad_interleaved, PROTOCOL_ERROR },
        { "a frame of 64 KB", bad_length, FRAME_SIZE_ERROR }
    };
    size_t i;
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        char line[32];
        start(&normal);
        begin(&one, CHAT, NULL);
        run();
        wire_forget(&reader);
        table[i].happens();
        sprintf(line, "G 0 %d\n", table[i].code);
        if (!rig_said(line)) {
            printf("  (of %s)\n", table[i].what);
            CHECK(!"that GOAWAY");
        }
        ENDED(CGRPC_UNAVAILABLE);
        begin(&two, UNARY, NULL);
        wait_ms(1000);
        CHECK(dials == 2);
        greet();
        reply(1, "hello");
        ENDED(CGRPC_OK);
    }
}

static void flood_ping(void) { ping("12345678"); }
static void flood_settings(void) { settings(0); }
static void flood_empty(void) { data(1, 0, "", 0); }
static void flood_padding(void) { data(1, PADDED, "\1\0", 2); }
static void flood_unknown(void) { frame(77, 0, 0, "x", 1); }
static void flood_priority(void) { frame(PRIORITY, 0, 1, "\0\0\0\0\0", 5); }
static void flood_credit(void) { credit(0, 1); }
static void flood_1xx(void) { headers(1, 0, ":status: 103\n"); }

TEST(channel__ends_a_connection_that_floods_it)
{
    static void (*const floods[])(void) = {
        flood_ping, flood_settings, flood_empty, flood_padding,
        flood_unknown, flood_priority, flood_credit, flood_1xx
    };
    size_t i;
    for (i = 0; i < sizeof(floods) / sizeof(floods[0]); i++) {
        int count;
        start(&normal);
        begin(&one, CHAT, NULL);
        run();
        if (floods[i] != flood_1xx) answer(1);
        wire_forget(&reader);
        for (count = 0; count < 20000 && !wire_line(&reader, "G"); count++) {
            floods[i]();
            if (reader.text_len > 60000) wire_forget(&reader);
        }
        if (!rig_said("G 0 11")) printf("  (flood %d)\n", (int)i);
        CHECK(count < 20000);
        ENDED(CGRPC_UNAVAILABLE);
    }
}

TESTS = {
    RUN(channel__connects_when_a_call_wants_it_and_not_before),
    RUN(channel__fails_a_call_at_once_that_does_not_want_to_wait),
    RUN(channel__keeps_a_call_that_waits_until_it_is_connected),
    RUN(channel__waits_longer_after_each_failure_up_to_two_minutes),
    RUN(channel__gives_up_on_a_server_that_never_greets),
    RUN(channel__ends_a_queued_call_at_its_deadline),
    RUN(channel__opens_no_more_streams_than_the_server_wants),
    RUN(channel__finishes_what_a_leaving_server_has_begun),
    RUN(channel__tells_a_stream_that_was_not_processed),
    RUN(channel__tells_calls_whose_connection_was_lost),
    RUN(channel__cancels_a_call_at_each_stage),
    RUN(channel__lets_a_call_object_be_used_again_and_not_at_once_twice),
    RUN(channel__lets_a_stream_be_used_again_as_soon_as_its_end_was_seen),
    RUN(channel__ends_all_when_it_is_closed_and_can_be_used_again),
    RUN(channel__refuses_to_block_inside_a_hook),
    RUN(channel__is_refused_when_it_was_defined_wrongly),
    RUN(channel__takes_calls_with_larger_buffers_than_its_own_and_no_smaller),
    RUN(channel__gives_a_call_with_a_larger_buffer_the_credit_for_it),
    RUN(channel__sends_a_large_request_through_little_room),
    RUN(channel__notices_a_request_that_changes_while_it_is_sent),
    RUN(channel__ends_a_connection_that_breaks_the_rules_of_http_2),
    RUN(channel__ends_a_connection_that_floods_it),
    TESTS_END
};
