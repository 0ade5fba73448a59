/* The client, through the bytes that it writes and reads: RFC 9113 from the
 * client's side, gRPC's mapping of all that can end a call, and the life of
 * a channel.
 *
 *   cc -std=c99 -I. -Iport tests/unit/test_client.c -o t && ./t
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

#define ASK_HI(id) "H" id " :method=POST :scheme=http :path=/t.T/Unary " \
    ":authority=desk te=trailers content-type=application/grpc " \
    "user-agent=cgrpc/0.1.0\nD" id ". \\00\\00\\00\\00\\02hi\n"

TEST(client__makes_a_unary_call)
{
    start(&normal);
    begin(&one, UNARY, NULL);
    run();
    SAYS(ASK_HI("1"));
    reply(1, "hello");
    ENDED(CGRPC_OK);
    CHECK(strcmp(done_text, "hello") == 0);
    QUIET();
}

TEST(client__opens_streams_in_the_order_of_their_ids)
{
    start(&normal);
    begin(&one, UNARY, NULL);
    begin(&two, UNARY, NULL);
    begin(&three, UNARY, NULL);
    run();
    SAYS(ASK_HI("1") ASK_HI("3") ASK_HI("5"));
}

TEST(client__sends_the_message_again_when_a_call_was_refused_unprocessed)
{
    start(&normal);
    begin(&one, UNARY, NULL);
    run();
    wire_forget(&reader);
    reset(1, REFUSED_STREAM);
    SAYS(ASK_HI("3"));
    reply(3, "hello");
    ENDED(CGRPC_OK);
}

TEST(client__drops_a_unary_answer_that_an_error_follows)
{
    start(&normal);
    begin(&one, UNARY, NULL);
    run();
    answer(1);
    say(1, 0, "hello");
    trailers(1, CGRPC_NOT_FOUND);
    ENDED(CGRPC_NOT_FOUND);
    CHECK(done_text[0] == 0);
}

TEST(client__drops_a_unary_answer_that_a_reset_follows)
{
    start(&normal);
    begin(&one, UNARY, NULL);
    run();
    answer(1);
    say(1, 0, "hello");
    reset(1, NO_ERROR);
    ENDED(CGRPC_INTERNAL);
}

TEST(client__ends_at_the_deadline_though_the_answer_is_half_there)
{
    cgrpc_options options = { 0 };
    options.timeout_ms = 100;
    start(&normal);
    begin(&one, UNARY, &options);
    run();
    answer(1);
    say(1, 0, "hello");
    wire_forget(&reader);
    wait_ms(101);
    ENDED(CGRPC_DEADLINE_EXCEEDED);
    SAYS("R1 8\n");
}

/* Its HEADERS never went out, so for the server the stream does not exist. */
TEST(client__does_not_reset_a_stream_that_it_never_opened)
{
    static char text[121];
    cgrpc_metadata more = { "x-a", NULL, 0 };
    cgrpc_options options = { 0 };
    memset(text, 'a', 110);
    more.value = text;
    options.metadata = &more;
    options.metadata_count = 1;
    start(&narrow);
    begin(&one, UNARY, &options);
    run();
    ENDED(CGRPC_RESOURCE_EXHAUSTED);
    QUIET();
    begin(&one, UNARY, NULL);
    run();
    CHECK(wire_count(&reader, "H") == 1);
    DID_NOT_SAY("R");
}

/* Two calls have ids; the first one's block must wait for room. */
TEST(client__keeps_the_order_of_ids_when_an_earlier_block_finds_no_room)
{
    static char text[101];
    cgrpc_metadata more = { "x-a", NULL, 0 };
    cgrpc_options options = { 0 };
    int i;
    memset(text, 'a', 100);
    more.value = text;
    options.metadata = &more;
    options.metadata_count = 1;
    start_desk(&normal);
    rig_lane = 64;
    begin(&three, UNARY, NULL);
    run();
    greet();
    reply(1, "warm");
    dones = 0;
    wire_forget(&reader);
    deaf = true;
    for (i = 0; i < 29; i++) ping("12345678"); /* 83 bytes are left */
    begin(&one, CHAT, &options);
    begin(&two, CHAT, NULL);
    run();
    deaf = false;
    run();
    CHECK(wire_count(&reader, "H") == 2);
    CHECK(wire_line(&reader, "H3 ") < wire_line(&reader, "H5 "));
}

static int step;

/* The message comes, and much later the trailers. */
static void answer_slowly(uint32_t ms)
{
    now_ms += ms < 10 ? ms : 10;
    posting = true;
    switch (step++) {
    case 0:
        greet();
        break;
    case 3:
        answer(1);
        say(1, 0, "slow");
        break;
    case 6:
        trailers(1, 0);
        break;
    case 50:
        CHECK(!"the call waits for ever");
        exit(1);
    default:
        break;
    }
}

static int polls;

static uint32_t count_polls(void *context)
{
    (void)context;
    if (++polls > 100000) {
        CHECK(!"a blocking call runs the channel without waiting");
        exit(1);
    }
    return now_ms;
}

TEST(client__waits_for_the_trailers_of_a_blocking_call)
{
    start_desk(&normal);
    on_wait = answer_slowly;
    step = 0;
    polls = 0;
    rig_port.now = count_polls;
    CHECK(cgrpc_unary(channel, &rig_methods[UNARY], &rig_request,
                      &rig_response, NULL) == CGRPC_OK);
    CHECK(rig_response.len == 4);
    CHECK(polls < 200);
    rig_port.now = rig_now;
}

TEST(client__gives_credit_as_a_raw_stream_is_received)
{
    cgrpc_bytes got;
    char text[64];
    int i;
    memset(text, 'x', sizeof(text));
    start(&normal);
    begin(&one, LIST, NULL);
    run();
    wire_forget(&reader);
    answer(1);
    message(1, 0, text, 59); /* 4 * 64 of 261 bytes */
    message(1, 0, text, 59);
    message(1, 0, text, 59);
    message(1, 0, text, 59);
    QUIET();
    for (i = 0; i < 4; i++) CHECK(cgrpc_recv(&one, &got) == CGRPC_GOT);
    CHECK(cgrpc_recv(&one, &got) == CGRPC_WAIT);
    run();
    SAYS("W1 256\n");
}

TEST(client__fails_a_stream_whose_last_message_is_cut_short)
{
    cgrpc_bytes got;
    start(&normal);
    begin(&one, LIST, NULL);
    run();
    answer(1);
    posting = true;
    say(1, 0, "whole");
    data(1, 0, "\0\0\0\0\5hal", 8);
    trailers(1, 0);
    posting = false;
    run();
    CHECK(cgrpc_recv(&one, &got) == CGRPC_GOT);
    CHECK(cgrpc_recv(&one, &got) == CGRPC_END);
    run();
    ENDED(CGRPC_INTERNAL);
}

TEST(client__never_hands_out_a_message_that_claims_to_be_compressed)
{
    cgrpc_bytes got;
    start(&normal);
    begin(&one, LIST, NULL);
    run();
    answer(1);
    wire_forget(&reader);
    data(1, 0, "\1\0\0\0\2xx", 7);
    CHECK(cgrpc_recv(&one, &got) == CGRPC_END);
    run();
    ENDED(CGRPC_INTERNAL);
    SAYS("R1 8\n");
}

TEST(client__fails_the_second_message_of_a_stream_when_it_is_compressed)
{
    cgrpc_bytes got;
    start(&normal);
    begin(&one, LIST, NULL);
    run();
    posting = true;
    answer(1);
    say(1, 0, "whole");
    data(1, 0, "\1\0\0\0\2xx", 7);
    posting = false;
    run();
    CHECK(cgrpc_recv(&one, &got) == CGRPC_GOT);
    CHECK(cgrpc_recv(&one, &got) == CGRPC_END);
    run();
    ENDED(CGRPC_INTERNAL);
}

TEST(client__refuses_a_later_message_that_is_too_large)
{
    cgrpc_bytes got;
    start(&normal);
    begin(&one, LIST, NULL);
    run();
    posting = true;
    answer(1);
    say(1, 0, "whole");
    data(1, 0, "\0\0\0\1\1xx", 7);
    posting = false;
    run();
    CHECK(cgrpc_recv(&one, &got) == CGRPC_GOT);
    CHECK(cgrpc_recv(&one, &got) == CGRPC_END);
    run();
    ENDED(CGRPC_RESOURCE_EXHAUSTED);
}

/* What a grpc-go server sends besides a unary answer. */
TEST(client__bears_with_the_pings_and_credits_of_100000_unary_calls)
{
    int i;
    start(&normal);
    for (i = 0; i < 100000 && !test_failures; i++) {
        uint32_t id = 1 + 2 * (uint32_t)i;
        begin(&one, UNARY, NULL);
        posting = true;
        cgrpc_channel_poll(channel);
        cgrpc_channel_poll(channel);
        credit(0, 7);
        ping("\2\4\20\20\11\16\7\7");
        reply(id, "hello");
        posting = false;
        cgrpc_channel_poll(channel);
        cgrpc_channel_poll(channel);
        listen_to_client();
        ENDED(CGRPC_OK);
        DID_NOT_SAY("G");
        wire_forget(&reader);
    }
}

static int restarts;

static void start_again(cgrpc_call *call, cgrpc_status status)
{
    (void)status;
    if (++restarts > 100) {
        CHECK(!"closing never ends");
        exit(1);
    }
    cgrpc_start(channel, call, &rig_methods[UNARY], &rig_request,
                &rig_response, start_again, NULL);
}

TEST(client__closes_though_a_hook_starts_its_call_again)
{
    start(&normal);
    restarts = 0;
    cgrpc_start(channel, &one, &rig_methods[UNARY], &rig_request,
                &rig_response, start_again, NULL);
    run();
    cgrpc_channel_close(channel);
    CHECK(restarts <= 2);
}

/* 4 resets fit the reserve, 8 wait in the ring: none may be forgotten. */
TEST(client__resets_every_stream_when_many_deadlines_pass_at_once)
{
    cgrpc_options options = { 0 };
    int i;
    options.timeout_ms = 100;
    start_desk(&normal);
    rig_lane = 64;
    begin(&one, UNARY, NULL);
    run();
    cgrpc_call_cancel(&one);
    greet();
    wire_forget(&reader);
    for (i = 0; i < 16; i++) {
        begin(&rig_calls[i], CHAT, &options);
        run();
    }
    CHECK(wire_count(&reader, "H") == 16);
    deaf = true;
    for (i = 0; i < 16; i++) {
        cgrpc_bytes m = text_bytes("a message that takes a little room, and "
                                   "a little more of it, and more again..");
        cgrpc_send(&rig_calls[i], &m);
        run();
    }
    wait_ms(200);
    deaf = false;
    run();
    CHECK(wire_count(&reader, "R") == 16 || wire_count(&reader, "G") == 1);
}

TEST(client__keeps_the_status_when_its_text_is_too_long)
{
    char fields[600];
    int at = sprintf(fields, ":status: 200\ncontent-type: application/grpc\n"
                     "grpc-status: 5\ngrpc-message: ");
    memset(fields + at, 'w', 300);
    strcpy(fields + at + 300, "\n");
    start(&normal);
    begin(&one, UNARY, NULL);
    run();
    headers(1, END_STREAM, fields);
    ENDED(CGRPC_NOT_FOUND);
}

TEST(client__shows_the_text_of_a_trailers_only_answer)
{
    start(&normal);
    begin(&one, UNARY, NULL);
    run();
    headers(1, END_STREAM, ANSWER "grpc-status: 5\ngrpc-message: no%20way\n"
            "x-a: b\ngrpc-status-details-bin: aGk\n");
    ENDED(CGRPC_NOT_FOUND);
    CHECK(strcmp(cgrpc_call_message(&one), "no way") == 0);
    CHECK(cgrpc_call_details(&one).len == 2);
    CHECK(cgrpc_metadata_find(&one, CGRPC_TRAILING, "x-a", 0, NULL) != NULL);
}

TEST(client__calls_again_when_its_first_connection_goes_away_unprocessed)
{
    start_desk(&normal);
    begin(&one, UNARY, NULL);
    run();
    greet();
    goaway(0, NO_ERROR);
    CHECK(dials == 2);
    CHECK(dones == 0);
    greet();
    wire_forget(&reader);
    reply(1, "hello");
    ENDED(CGRPC_OK);
}

static cgrpc_status two_status;
static int two_ended;

static void cancel_two(cgrpc_call *call, cgrpc_status status)
{
    (void)call;
    (void)status;
    cgrpc_call_cancel(&two);
}

static void two_done(cgrpc_call *call, cgrpc_status status)
{
    (void)call;
    two_status = status;
    two_ended++;
}

/* Its answer had come, but nobody had decoded it. */
TEST(client__never_calls_an_answer_ok_that_was_cancelled_undecoded)
{
    cgrpc_bytes first = { NULL, 0 }, second = { NULL, 0 };
    start(&normal);
    two_ended = 0;
    cgrpc_start(channel, &one, &rig_methods[UNARY], &rig_request, &first,
                cancel_two, NULL);
    cgrpc_start(channel, &two, &rig_methods[UNARY], &rig_request, &second,
                two_done, NULL);
    run();
    posting = true;
    reply(1, "x");
    reply(3, "y");
    posting = false;
    run();
    CHECK(two_ended == 1);
    CHECK(two_status == CGRPC_CANCELLED || second.len == 1);
}

TEST(client__forgets_the_metadata_of_an_informational_answer)
{
    const char *value;
    start(&normal);
    begin(&one, UNARY, NULL);
    run();
    headers(1, 0, ":status: 103\nx-a: early\n");
    headers(1, 0, ANSWER "x-a: real\n");
    say(1, 0, "x");
    trailers(1, 0);
    ENDED(CGRPC_OK);
    value = cgrpc_metadata_find(&one, CGRPC_INITIAL, "x-a", 0, NULL);
    CHECK(value && strcmp(value, "real") == 0);
}

TEST(client__maps_each_http_status)
{
    static const struct { int http; cgrpc_status status; } table[] = {
        { 400, CGRPC_INTERNAL }, { 401, CGRPC_UNAUTHENTICATED },
        { 403, CGRPC_PERMISSION_DENIED }, { 404, CGRPC_UNIMPLEMENTED },
        { 409, CGRPC_UNKNOWN }, { 412, CGRPC_UNKNOWN },
        { 418, CGRPC_UNKNOWN }, { 429, CGRPC_UNAVAILABLE },
        { 431, CGRPC_UNKNOWN }, { 500, CGRPC_UNKNOWN },
        { 502, CGRPC_UNAVAILABLE }, { 503, CGRPC_UNAVAILABLE },
        { 504, CGRPC_UNAVAILABLE }, { 505, CGRPC_UNKNOWN },
        { 800, CGRPC_UNKNOWN }, { 204, CGRPC_UNKNOWN }
    };
    size_t i;
    int body;
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        for (body = 0; body < 2; body++) {
            char fields[64];
            sprintf(fields, ":status: %d\ncontent-type: text/html\n",
                    table[i].http);
            start(&normal);
            begin(&one, UNARY, NULL);
            run();
            headers(1, body ? 0 : END_STREAM, fields);
            if (body) data(1, END_STREAM, "<html>", 6);
            ENDED(table[i].status);
        }
}

TEST(client__maps_each_reset)
{
    static const cgrpc_status table[] = {
        CGRPC_INTERNAL, CGRPC_INTERNAL, CGRPC_INTERNAL, CGRPC_INTERNAL,
        CGRPC_INTERNAL, CGRPC_INTERNAL, CGRPC_INTERNAL, CGRPC_UNAVAILABLE,
        CGRPC_CANCELLED, CGRPC_INTERNAL, CGRPC_INTERNAL,
        CGRPC_RESOURCE_EXHAUSTED, CGRPC_PERMISSION_DENIED, CGRPC_INTERNAL,
        CGRPC_INTERNAL
    };
    uint32_t code;
    for (code = 0; code < 15; code++) {
        start(&normal);
        begin(&one, CHAT, NULL);
        run();
        reset(1, code);
        ENDED(table[code]);
    }
}

TEST(client__ignores_a_status_that_does_not_end_the_answer)
{
    start(&normal);
    begin(&one, UNARY, NULL);
    run();
    headers(1, 0, ANSWER "grpc-status: 9\ngrpc-message: wrong\n");
    say(1, 0, "hello");
    headers(1, END_STREAM, "grpc-status: 0\n");
    ENDED(CGRPC_OK);
    CHECK(strcmp(done_text, "hello") == 0);
    CHECK(cgrpc_call_message(&one)[0] == 0);
}

/* What a whole answer may look like, and what the call ends with. */
TEST(client__judges_each_answer)
{
    static const struct {
        const char *what, *first, *body;
        size_t len;
        const char *last;
        cgrpc_status status;
    } table[] = {
        { "one message", ANSWER, "\0\0\0\0\1x", 6, "grpc-status: 0\n",
          CGRPC_OK },
        { "no message", ANSWER, "", 0, "grpc-status: 0\n",
          CGRPC_UNIMPLEMENTED },
        { "two messages", ANSWER, "\0\0\0\0\1x\0\0\0\0\1y", 12,
          "grpc-status: 0\n", CGRPC_UNIMPLEMENTED },
        { "half a message", ANSWER, "\0\0\0\0\2x", 6, "grpc-status: 0\n",
          CGRPC_INTERNAL },
        { "half a prefix", ANSWER, "\0\0", 2, "grpc-status: 0\n",
          CGRPC_INTERNAL },
        { "a compressed one", ANSWER, "\1\0\0\0\1x", 6, "grpc-status: 0\n",
          CGRPC_INTERNAL },
        { "a compressed one, and so it says", ANSWER "grpc-encoding: gzip\n",
          "\1\0\0\0\1x", 6, "grpc-status: 0\n", CGRPC_INTERNAL },
        { "no status", ANSWER, "\0\0\0\0\1x", 6, "x-y: z\n",
          CGRPC_UNKNOWN },
        { "a status of 17", ANSWER, "\0\0\0\0\1x", 6, "grpc-status: 17\n",
          CGRPC_UNKNOWN },
        { "a status that is no number", ANSWER, "\0\0\0\0\1x", 6,
          "grpc-status: OK\n", CGRPC_UNKNOWN },
        { "an empty status", ANSWER, "\0\0\0\0\1x", 6, "grpc-status: \n",
          CGRPC_UNKNOWN },
        { "an error without a message", ANSWER, "", 0, "grpc-status: 16\n",
          CGRPC_UNAUTHENTICATED },
        { "content-length that is right", ANSWER "content-length: 6\n",
          "\0\0\0\0\1x", 6, "grpc-status: 0\n", CGRPC_OK },
        { "content-length that is too small", ANSWER "content-length: 5\n",
          "\0\0\0\0\1x", 6, "grpc-status: 0\n", CGRPC_INTERNAL },
        { "content-length that is too large", ANSWER "content-length: 7\n",
          "\0\0\0\0\1x", 6, "grpc-status: 0\n", CGRPC_INTERNAL },
        { "a pseudo-field in trailers", ANSWER, "\0\0\0\0\1x", 6,
          ":status: 200\ngrpc-status: 0\n", CGRPC_INTERNAL },
        { "connection", ANSWER "connection: close\n", "\0\0\0\0\1x", 6,
          "grpc-status: 0\n", CGRPC_INTERNAL },
        { "a request's pseudo-field", ANSWER ":path: /\n", "\0\0\0\0\1x",
          6, "grpc-status: 0\n", CGRPC_INTERNAL },
        { "an upper case name", ANSWER "X-y: z\n", "\0\0\0\0\1x", 6,
          "grpc-status: 0\n", CGRPC_INTERNAL },
        { "no :status", "content-type: application/grpc\n",
          "\0\0\0\0\1x", 6, "grpc-status: 0\n", CGRPC_INTERNAL },
        { "a picture", ":status: 200\ncontent-type: image/jpeg\n", "jfif", 4,
          "x-y: z\n", CGRPC_UNKNOWN }
    };
    size_t i;
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        bool good;
        start(&normal);
        begin(&one, UNARY, NULL);
        run();
        headers(1, 0, table[i].first);
        if (table[i].len) data(1, 0, table[i].body, table[i].len);
        headers(1, END_STREAM, table[i].last);
        good = rig_ended(table[i].status);
        if (!good) printf("  (of %s)\n", table[i].what);
        CHECK(good);
        begin(&two, UNARY, NULL); /* the connection still serves */
        run();
        reply(3, "hello");
        ENDED(CGRPC_OK);
    }
}

TESTS = {
    RUN(client__makes_a_unary_call),
    RUN(client__opens_streams_in_the_order_of_their_ids),
    RUN(client__sends_the_message_again_when_a_call_was_refused_unprocessed),
    RUN(client__drops_a_unary_answer_that_an_error_follows),
    RUN(client__drops_a_unary_answer_that_a_reset_follows),
    RUN(client__ends_at_the_deadline_though_the_answer_is_half_there),
    RUN(client__does_not_reset_a_stream_that_it_never_opened),
    RUN(client__keeps_the_order_of_ids_when_an_earlier_block_finds_no_room),
    RUN(client__waits_for_the_trailers_of_a_blocking_call),
    RUN(client__gives_credit_as_a_raw_stream_is_received),
    RUN(client__fails_a_stream_whose_last_message_is_cut_short),
    RUN(client__never_hands_out_a_message_that_claims_to_be_compressed),
    RUN(client__fails_the_second_message_of_a_stream_when_it_is_compressed),
    RUN(client__refuses_a_later_message_that_is_too_large),
    RUN(client__bears_with_the_pings_and_credits_of_100000_unary_calls),
    RUN(client__closes_though_a_hook_starts_its_call_again),
    RUN(client__resets_every_stream_when_many_deadlines_pass_at_once),
    RUN(client__keeps_the_status_when_its_text_is_too_long),
    RUN(client__shows_the_text_of_a_trailers_only_answer),
    RUN(client__calls_again_when_its_first_connection_goes_away_unprocessed),
    RUN(client__never_calls_an_answer_ok_that_was_cancelled_undecoded),
    RUN(client__forgets_the_metadata_of_an_informational_answer),
    RUN(client__maps_each_http_status),
    RUN(client__maps_each_reset),
    RUN(client__ignores_a_status_that_does_not_end_the_answer),
    RUN(client__judges_each_answer),
    TESTS_END
};
