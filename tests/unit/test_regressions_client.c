/* The client's mistakes of the past: each was made once, and is not to be
 * made again.
 *
 *   cc -std=c99 -I. -Iport tests/unit/test_regressions_client.c -o t && ./t
 */
#define CGRPC_IMPLEMENTATION
#define CGRPC_NANOPB 0
#define CGRPC_HUFFMAN_ENCODE 0
#include "cgrpc_memory.h"
#include "wire.h"
#include "test.h"
#include "client_rig.h"

enum { TX = 128, FRAME_HEAD = 9, PREFIX = 5, DAY_MS = 86400000 };

CGRPC_CHANNEL_DEFINE(normal, 256, 512);
CGRPC_CHANNEL_DEFINE(narrow, 256, TX);
CGRPC_CALL_DEFINE(too_small, 128);

/* Polls as often as the channel asks for it, and no more: run() would hide
 * that it does not ask. */
static void run_as_told(void)
{
    int polls = 0;
    while (cgrpc_channel_poll(channel) == 0 && ++polls < 100)
        listen_to_client();
    listen_to_client();
    CHECK(polls < 100);
}

/* ---- raw messages ---- */

static void drop_by_an_error(void) { trailers(1, CGRPC_INTERNAL); }
static void drop_by_a_second_message(void) { say(1, 0, "again"); }
static void drop_by_a_reset(void) { reset(1, INTERNAL_ERROR); }
static void drop_by_cancelling(void) { cgrpc_call_cancel(&one); }

/* What cgrpc_recv() returns lies in the call's buffer until the next one
 * takes it out; by then an error may have emptied the buffer. */
TEST(recv__survives_a_raw_message_that_was_dropped_meanwhile)
{
    static void (*const drops[])(void) = {
        drop_by_an_error, drop_by_a_second_message, drop_by_a_reset,
        drop_by_cancelling
    };
    size_t i;
    for (i = 0; i < sizeof(drops) / sizeof(drops[0]); i++) {
        cgrpc_bytes got;
        start(&normal);
        CHECK(cgrpc_start(channel, &one, &rig_methods[COLLECT], NULL, NULL,
                          done, NULL) == CGRPC_SUCCESS);
        run();
        answer(1);
        say(1, 0, "hello");
        CHECK(cgrpc_recv(&one, &got) == CGRPC_GOT);
        CHECK(got.len == 5 && memcmp(got.data, "hello", 5) == 0);
        drops[i]();
        CHECK(cgrpc_recv(&one, &got) == CGRPC_END);
        CHECK(dones == 1 && done_status != CGRPC_OK);
    }
}

/* ---- sending ---- */

/* The only thing left to say, when the buffer is full to the last byte. */
TEST(send_end__goes_out_once_there_is_room)
{
    static uint8_t zeros[TX];
    cgrpc_bytes filling;
    filling.data = zeros;
    filling.len = TX - FRAME_HEAD - PREFIX;
    start(&narrow);
    begin(&one, COLLECT, NULL);
    run();
    wire_forget(&reader);
    CHECK(cgrpc_send(&one, &filling));
    cgrpc_send_end(&one);
    run_as_told();
    SAID("D1 ");
    SAID("D1. ");
}

/* ---- sleeping with work left ---- */

static cgrpc_call *next_call; /* begun by a hook */
static int restarts;          /* how often, at most */

static void begin_next(cgrpc_call *call, cgrpc_status status)
{
    (void)call;
    (void)status;
    if (restarts-- > 0)
        CHECK(cgrpc_start(channel, next_call, &rig_methods[UNARY],
                          &rig_request, &rig_response, begin_next, NULL) ==
              CGRPC_SUCCESS);
}

/* Another call waits for its window meanwhile, and nothing is written. */
TEST(poll__gives_a_stream_to_a_call_that_a_hook_has_begun)
{
    start(&normal);
    settings(1, INITIAL_WINDOW_SIZE, 0u);
    begin(&one, UNARY, NULL); /* its request waits */
    next_call = &three;
    restarts = 1;
    CHECK(cgrpc_start(channel, &two, &rig_methods[COLLECT], NULL,
                      &rig_response, begin_next, NULL) == CGRPC_SUCCESS);
    cgrpc_send_end(&two);
    run();
    SAID("D3. ");
    wire_forget(&reader);
    posting = true;
    headers(3, END_STREAM, ANSWER "grpc-status: 5\n");
    run_as_told();
    CHECK(restarts == 0);
    SAID("H5 ");
}

/* The first one never fits the buffer, the second one does. */
TEST(poll__gives_a_stream_to_a_call_behind_one_that_is_too_large)
{
    static const cgrpc_metadata large = {
        "x-a", "a text that is as long as the whole of the transmit buffer "
        "is, so that no header block has room for it beside the rest", 0 };
    cgrpc_options options = { 0 };
    options.metadata = &large;
    options.metadata_count = 1;
    start(&narrow);
    begin(&one, UNARY, &options);
    begin(&two, COLLECT, NULL);
    run_as_told();
    ENDED(CGRPC_RESOURCE_EXHAUSTED);
    SAID("H1 ");
}

/* A hook that starts its call again, while none can connect. */
TEST(poll__returns_though_a_hook_begins_what_ends_at_once)
{
    start_desk(&normal);
    refuse = 1;
    next_call = &one;
    restarts = 1000;
    CHECK(cgrpc_start(channel, &one, &rig_methods[UNARY], &rig_request,
                      &rig_response, begin_next, NULL) == CGRPC_SUCCESS);
    CHECK(cgrpc_channel_poll(channel) == 0);
    CHECK(restarts == 999);
    CHECK(cgrpc_channel_poll(channel) == 0);
    CHECK(restarts == 998);
    restarts = 0;
    CHECK(cgrpc_channel_poll(channel) != 0);
}

/* A loop that sends what it can, polls, and sleeps for as long as told. */
TEST(poll__says_when_a_message_that_found_no_room_may_go)
{
    static uint8_t zeros[TX];
    cgrpc_bytes filling;
    filling.data = zeros;
    filling.len = TX - FRAME_HEAD - PREFIX;
    start(&narrow);
    begin(&one, COLLECT, NULL);
    run();
    CHECK(cgrpc_send(&one, &filling));
    CHECK(!cgrpc_send(&one, &filling));
    CHECK(cgrpc_channel_poll(channel) == 0);
    CHECK(cgrpc_send(&one, &filling));
}

/* ---- the clock ---- */

/* A time to retry that is 25 days old looks like one that is to come. */
TEST(channel__retries_after_the_clock_has_wrapped)
{
    int day;
    start_desk(&normal);
    refuse = 1;
    dones = 0;
    begin(&one, UNARY, NULL);
    run();
    ENDED(CGRPC_UNAVAILABLE);
    for (day = 0; day < 26; day++) {
        now_ms += DAY_MS;
        cgrpc_channel_poll(channel);
    }
    begin(&one, UNARY, NULL);
    run();
    CHECK(dials == 2);
    greet();
    reply(1, "hello");
    ENDED(CGRPC_OK);
}

/* A loop over a call whose start failed, and nobody looked: cgrpc_send() and
 * cgrpc_wait() followed null pointers. */
TEST(call__that_could_not_start_is_over)
{
    cgrpc_bytes message = { (const uint8_t *)"hello", 5 };
    start(&normal);
    CHECK(cgrpc_start(channel, &too_small, &rig_methods[COLLECT], NULL, NULL,
                      done, NULL) == CGRPC_E_ROOM);
    CHECK(!cgrpc_send(&too_small, &message));
    CHECK(!cgrpc_wait(&too_small, 1000));
    CHECK(cgrpc_recv(&too_small, &message) == CGRPC_END);
    CHECK(cgrpc_call_status(&too_small) == CGRPC_RESOURCE_EXHAUSTED);
    CHECK(cgrpc_call_message(&too_small)[0] == 0);
    cgrpc_send_end(&too_small);
    cgrpc_call_cancel(&too_small);
    CHECK(dones == 0);
}

/* ---- answers that make no sense ---- */

/* RFC 9113, 8.1: such an answer is malformed, and no HTTP status to judge by. */
TEST(client__fails_a_call_whose_informational_answer_ends_the_stream)
{
    start(&normal);
    begin(&one, UNARY, NULL);
    run();
    wire_forget(&reader);
    headers(1, END_STREAM, ":status: 100\n");
    ENDED(CGRPC_INTERNAL);
    SAYS("R1 1\n");
}

/* Its first bytes look like a large frame, but RFC 9113, 3.4 comes first. */
TEST(client__calls_a_server_of_http_1_a_protocol_error)
{
    static const char words[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
    start_desk(&normal);
    begin(&one, UNARY, NULL);
    run();
    wire_forget(&reader);
    put(words, sizeof(words) - 1);
    SAYS("G 0 1\n");
    wait_ms(1000);
    ENDED(CGRPC_UNAVAILABLE);
}

/* ---- ends ---- */

/* A GOAWAY with NO_ERROR after the one that says what was wrong denies it. */
TEST(channel_close__says_nothing_after_an_error_of_the_connection)
{
    start(&normal);
    frame(PING, 0, 1, "eight by", 8);
    SAYS("G 0 1\n");
    cgrpc_channel_close(channel);
    listen_to_client();
    QUIET();
}

/* HAProxy makes REFUSED_STREAM of a server that gives up in time. */
TEST(deadline__that_has_passed_is_the_reason_of_any_reset)
{
    static const int codes[] = { REFUSED_STREAM, INTERNAL_ERROR, CANCEL };
    size_t i;
    for (i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        cgrpc_options options = { 0 };
        options.timeout_ms = 10;
        start(&normal);
        begin(&one, COLLECT, &options);
        run();
        answer(1);
        now_ms += 10;
        reset(1, (uint32_t)codes[i]);
        ENDED(CGRPC_DEADLINE_EXCEEDED);
    }
}

TESTS = {
    RUN(deadline__that_has_passed_is_the_reason_of_any_reset),
    RUN(call__that_could_not_start_is_over),
    RUN(recv__survives_a_raw_message_that_was_dropped_meanwhile),
    RUN(send_end__goes_out_once_there_is_room),
    RUN(poll__gives_a_stream_to_a_call_that_a_hook_has_begun),
    RUN(poll__gives_a_stream_to_a_call_behind_one_that_is_too_large),
    RUN(poll__returns_though_a_hook_begins_what_ends_at_once),
    RUN(poll__says_when_a_message_that_found_no_room_may_go),
    RUN(channel__retries_after_the_clock_has_wrapped),
    RUN(client__fails_a_call_whose_informational_answer_ends_the_stream),
    RUN(channel_close__says_nothing_after_an_error_of_the_connection),
    RUN(client__calls_a_server_of_http_1_a_protocol_error),
    TESTS_END
};
