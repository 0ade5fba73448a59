/* The memory port: its bytes, its faults, and calls through it. */
#define CGRPC_IMPLEMENTATION
#include "cgrpc_memory.h"
#include "hello.cgrpc.h"
#include "route_guide.cgrpc.h"
#include "test.h"

enum { PIPES = 3, BYTES = 256 };

CGRPC_MEMORY_DEFINE(memory, PIPES, BYTES);
CGRPC_SERVER_DEFINE(server, PIPES, 4, hello_Greeter_RX_BYTES, 256,
                    CGRPC_MAX(hello_Greeter_SCRATCH,
                              routeguide_RouteGuide_SCRATCH));
CGRPC_CHANNEL_DEFINE(channel, hello_Greeter_MAX_REPLY, 256);
CGRPC_CALL_DEFINE(call, routeguide_RouteGuide_MAX_REPLY);

/* ---- a pipe by itself ---- */

static cgrpc_memory_pipe lone;
static uint8_t lone_bytes[32]; /* 16 each way */
static cgrpc_memory_end *here = &lone.ends[0], *there = &lone.ends[1];
static cgrpc_io io;

static void begin_pipe(void)
{
    cgrpc_memory_pipe_init(&lone, lone_bytes, sizeof(lone_bytes));
    io = cgrpc_memory_io(there);
}

static int peek(const uint8_t **data)
{
    return io.ops->peek(io.context, data);
}

static int send(const char *text)
{
    return io.ops->send(io.context, (const uint8_t *)text, strlen(text));
}

TEST(pipe__shows_bytes_until_they_are_taken)
{
    const uint8_t *data;
    begin_pipe();
    CHECK(peek(&data) == 0);
    CHECK(cgrpc_memory_write(here, "abc", 3) == 3);
    CHECK(peek(&data) == 3 && memcmp(data, "abc", 3) == 0);
    io.ops->take(io.context, 1);
    CHECK(peek(&data) == 2 && memcmp(data, "bc", 2) == 0);
    io.ops->take(io.context, 2);
    CHECK(peek(&data) == 0);
}

TEST(pipe__takes_what_it_has_room_for)
{
    char text[20];
    begin_pipe();
    CHECK(send("0123456789") == 10);
    CHECK(send("abcdefghij") == 6);
    CHECK(send("x") == 0);
    CHECK(cgrpc_memory_read(here, text, sizeof(text)) == 16);
    CHECK(memcmp(text, "0123456789abcdef", 16) == 0);
    CHECK(send("x") == 1);
}

TEST(pipe__carries_bytes_round_its_end)
{
    int round, wrong = 0;
    char text[8];
    begin_pipe();
    for (round = 0; round < 50; round++) {
        wrong += send("1234567") != 7;
        wrong += cgrpc_memory_read(here, text, 8) != 7;
        wrong += memcmp(text, "1234567", 7) != 0;
    }
    CHECK(wrong == 0);
}

TEST(pipe__shows_the_end_after_all_bytes)
{
    const uint8_t *data;
    begin_pipe();
    CHECK(cgrpc_memory_write(here, "abc", 3) == 3);
    cgrpc_memory_close(here);
    CHECK(peek(&data) == 3);
    io.ops->take(io.context, 3);
    CHECK(peek(&data) == CGRPC_E_CLOSED);
    CHECK(send("x") == CGRPC_E_IO);
}

TEST(pipe__tells_a_test_that_the_other_side_has_closed)
{
    char text[4];
    begin_pipe();
    CHECK(send("bye") == 3);
    io.ops->close(io.context);
    CHECK(!cgrpc_memory_ended(here));
    CHECK(cgrpc_memory_read(here, text, 4) == 3);
    CHECK(cgrpc_memory_ended(here));
}

TEST(pipe__splits_what_is_sent_and_what_is_shown)
{
    const uint8_t *data;
    begin_pipe();
    lone.lanes[0].faults.split = 2;
    lone.lanes[1].faults.split = 3;
    CHECK(cgrpc_memory_write(here, "abcde", 5) == 5);
    CHECK(peek(&data) == 2);
    io.ops->take(io.context, 2);
    CHECK(peek(&data) == 2 && data[0] == 'c');
    CHECK(send("abcde") == 3);
}

TEST(pipe__splits_the_same_way_for_the_same_seed)
{
    int sizes[2][40], round, i, zeros = 0;
    const uint8_t *data;
    for (round = 0; round < 2; round++) {
        begin_pipe();
        lone.lanes[0].faults.split = 4;
        lone.lanes[0].faults.seed = 12345;
        CHECK(cgrpc_memory_write(here, "0123456789abcdef", 16) == 16);
        for (i = 0; i < 40; i++)
            sizes[round][i] = peek(&data);
    }
    CHECK(memcmp(sizes[0], sizes[1], sizeof(sizes[0])) == 0);
    for (i = 0; i < 40; i++)
        zeros += sizes[0][i] == 0;
    CHECK(zeros > 0 && zeros < 40);
}

TEST(pipe__breaks_after_so_many_bytes_which_still_arrive)
{
    const uint8_t *data;
    begin_pipe();
    lone.lanes[0].faults.cut_after = 5;
    CHECK(cgrpc_memory_write(here, "abc", 3) == 3);
    CHECK(cgrpc_memory_write(here, "defg", 4) == 2);
    CHECK(cgrpc_memory_write(here, "x", 1) == 0);
    CHECK(send("x") == CGRPC_E_IO);
    CHECK(peek(&data) == 5 && memcmp(data, "abcde", 5) == 0);
    io.ops->take(io.context, 5);
    CHECK(peek(&data) == CGRPC_E_IO);
}

TEST(pipe__delays_pieces_and_keeps_their_order)
{
    const uint8_t *data;
    uint32_t now = UINT32_MAX - 5; /* about to wrap */
    begin_pipe();
    lone.now = &now;
    lone.lanes[0].faults.delay_ms = 10;
    CHECK(cgrpc_memory_write(here, "ab", 2) == 2);
    now += 4;
    lone.lanes[0].faults.delay_ms = 0;
    CHECK(cgrpc_memory_write(here, "cd", 2) == 2);
    cgrpc_memory_close(here);
    CHECK(peek(&data) == 0);
    now += 5;
    CHECK(peek(&data) == 0);
    now += 1;
    CHECK(peek(&data) == 4 && memcmp(data, "abcd", 4) == 0);
    io.ops->take(io.context, 4);
    CHECK(peek(&data) == CGRPC_E_CLOSED);
}

TEST(pipe__lets_late_pieces_travel_together_when_there_are_many)
{
    const uint8_t *data;
    uint32_t now = 0;
    int i;
    begin_pipe();
    lone.now = &now;
    lone.lanes[0].faults.delay_ms = 100;
    for (i = 0; i < 12; i++, now++)
        CHECK(cgrpc_memory_write(here, "x", 1) == 1);
    now = 100;
    CHECK(peek(&data) == 1);
    now = 106;
    CHECK(peek(&data) == 7);
    now = 110;
    CHECK(peek(&data) == 7);
    now = 111;
    CHECK(peek(&data) == 12);
}

/* ---- calls ---- */

static cgrpc_status say_hello(cgrpc_call *from, const hello_HelloRequest *in,
                              hello_HelloReply *out)
{
    if (strcmp(in->name, "late") == 0)
        return CGRPC_PENDING;
    if (strcmp(in->name, "nobody") == 0)
        return cgrpc_fail(from, CGRPC_NOT_FOUND, "nobody is here");
    snprintf(out->message, sizeof(out->message), "Hello, %s!", in->name);
    return CGRPC_OK;
}

static cgrpc_status list_features(cgrpc_call *from,
                                  const routeguide_Rectangle *in)
{
    routeguide_Feature feature = routeguide_Feature_init_zero;
    int *at = (int *)cgrpc_call_state(from);
    (void)in;
    for (; *at < 100; ++*at) {
        snprintf(feature.name, sizeof(feature.name), "feature %d", *at);
        if (!routeguide_RouteGuide_ListFeatures_reply(from, &feature))
            return CGRPC_PENDING;
    }
    return CGRPC_OK;
}

static const hello_Greeter_handlers greeter = { say_hello };
static const routeguide_RouteGuide_handlers guide = { NULL, list_features,
                                                      NULL, NULL };
static const cgrpc_serving services[] = {
    hello_Greeter_SERVING(&greeter), routeguide_RouteGuide_SERVING(&guide)
};

static void begin(void)
{
    cgrpc_server_desc of_server;
    cgrpc_channel_desc of_channel;
    memset(&of_server, 0, sizeof(of_server));
    memset(&of_channel, 0, sizeof(of_channel));
    cgrpc_memory_init(&memory, &server);
    of_server.port = cgrpc_memory_port(&memory);
    of_server.services = services;
    of_server.service_count = 2;
    of_channel.port = cgrpc_memory_port(&memory);
    of_channel.target = "memory";
    CHECK(cgrpc_server_init(&server, &of_server) == CGRPC_SUCCESS);
    CHECK(cgrpc_channel_init(&channel, &of_channel) == CGRPC_SUCCESS);
}

static cgrpc_status hello(const char *name, uint32_t timeout_ms)
{
    cgrpc_options options;
    hello_HelloRequest in = hello_HelloRequest_init_zero;
    hello_HelloReply out = hello_HelloReply_init_zero;
    char expected[64];
    cgrpc_status status;
    memset(&options, 0, sizeof(options));
    options.timeout_ms = timeout_ms;
    strcpy(in.name, name);
    status = hello_Greeter_SayHello(&channel, &in, &out, &options);
    snprintf(expected, sizeof(expected), "Hello, %s!", name);
    if (status == CGRPC_OK)
        CHECK(strcmp(out.message, expected) == 0);
    return status;
}

static int list(void)
{
    routeguide_Rectangle area = routeguide_Rectangle_init_zero;
    routeguide_Feature feature;
    char expected[20];
    int count = 0;
    CHECK(!routeguide_RouteGuide_ListFeatures_start(&channel, &call, &area,
                                                    NULL));
    do {
        while (routeguide_RouteGuide_ListFeatures_recv(&call, &feature) ==
               CGRPC_GOT) {
            snprintf(expected, sizeof(expected), "feature %d", count++);
            CHECK(strcmp(feature.name, expected) == 0);
        }
    } while (cgrpc_wait(&call, 1000));
    return count;
}

TEST(memory__answers_a_blocking_call_without_a_thread_or_time)
{
    begin();
    CHECK(hello("world", 1000) == CGRPC_OK);
    CHECK(hello("again", 1000) == CGRPC_OK);
    CHECK(memory.now == 1); /* to connect */
    cgrpc_channel_close(&channel);
}

TEST(memory__carries_a_status)
{
    begin();
    CHECK(hello("nobody", 1000) == CGRPC_NOT_FOUND);
    cgrpc_channel_close(&channel);
}

TEST(memory__moves_the_clock_to_a_deadline)
{
    begin();
    CHECK(hello("late", 700) == CGRPC_DEADLINE_EXCEEDED);
    CHECK(memory.now >= 700 && memory.now < 800);
    cgrpc_channel_close(&channel);
}

TEST(memory__carries_a_stream_through_small_pipes)
{
    begin();
    CHECK(list() == 100);
    CHECK(cgrpc_call_status(&call) == CGRPC_OK);
    cgrpc_channel_close(&channel);
}

TEST(memory__works_with_every_split)
{
    uint32_t split, good = 0;
    for (split = 1; split <= 40; split++) {
        begin();
        memory.to_server.split = split;
        memory.to_client.split = split;
        good += hello("split", 1000) == CGRPC_OK && list() == 100;
        cgrpc_channel_close(&channel);
    }
    CHECK(good == 40);
}

TEST(memory__works_with_random_splits_and_delays)
{
    uint32_t seed, good = 0;
    for (seed = 1; seed <= 200; seed++) {
        begin();
        memory.to_server.split = memory.to_client.split = 1 + seed % 50;
        memory.to_server.delay_ms = memory.to_client.delay_ms = seed % 7;
        memory.to_server.seed = seed;
        memory.to_client.seed = seed * 31;
        good += hello("chance", 0) == CGRPC_OK && list() == 100;
        cgrpc_channel_close(&channel);
    }
    CHECK(good == 200);
}

TEST(memory__delays_a_call_by_both_ways)
{
    begin();
    memory.to_server.delay_ms = 30;
    memory.to_client.delay_ms = 50;
    CHECK(hello("slow", 1000) == CGRPC_OK);
    CHECK(memory.now >= 80 && memory.now < 500);
    cgrpc_channel_close(&channel);
}

TEST(memory__connects_anew_after_a_cut)
{
    int round;
    begin();
    for (round = 0; round < 10; round++) {
        CHECK(hello("before", 1000) == CGRPC_OK);
        cgrpc_memory_cut(&memory);
        cgrpc_channel_poll(&channel); /* it notices */
        cgrpc_memory_advance(&memory, 10000);
    }
    CHECK(hello("after", 1000) == CGRPC_OK);
    cgrpc_channel_close(&channel);
}

TEST(memory__cuts_at_every_byte_and_every_call_ends)
{
    uint32_t cut, ok = 0, failed = 0, other = 0;
    for (cut = 1; cut <= 300; cut++) {
        cgrpc_status status;
        begin();
        memory.to_server.cut_after = cut % 2 ? cut / 2 + 1 : 0;
        memory.to_client.cut_after = cut % 2 ? 0 : cut / 2;
        status = hello("cut", 5000);
        ok += status == CGRPC_OK;
        failed += status == CGRPC_UNAVAILABLE ||
                  status == CGRPC_DEADLINE_EXCEEDED;
        other += status != CGRPC_OK && status != CGRPC_UNAVAILABLE &&
                 status != CGRPC_DEADLINE_EXCEEDED;
        cgrpc_channel_close(&channel);
    }
    CHECK(ok > 0 && failed > 0);
    CHECK(other == 0);
}

TEST(memory__refuses_as_many_connections_as_it_is_told)
{
    begin();
    memory.refuse = 1;
    CHECK(hello("refused", 1000) == CGRPC_UNAVAILABLE);
    cgrpc_memory_advance(&memory, 10000);
    CHECK(hello("then not", 1000) == CGRPC_OK);
    cgrpc_channel_close(&channel);
}

/* ---- bytes by hand ---- */

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
static const uint8_t empty_settings[9] = { 0, 0, 0, 4, 0, 0, 0, 0, 0 };

TEST(memory__lets_a_test_play_the_client)
{
    cgrpc_memory_end *client;
    uint8_t answer[BYTES];
    size_t len;
    begin();
    client = cgrpc_memory_dial(&memory);
    CHECK(client != NULL);
    CHECK(cgrpc_memory_write(client, preface, 24) == 24);
    CHECK(cgrpc_memory_write(client, empty_settings, 9) == 9);
    cgrpc_memory_advance(&memory, 0);
    len = cgrpc_memory_read(client, answer, sizeof(answer));
    CHECK(len > 9 + 9);
    CHECK(answer[3] == 4 && answer[4] == 0); /* SETTINGS */
    CHECK(memcmp(answer + len - 9, "\0\0\0\4\1\0\0\0\0", 9) == 0); /* ACK */
    cgrpc_memory_close(client);
    cgrpc_memory_advance(&memory, 0);
    CHECK(cgrpc_server_idle(&server));
    CHECK(cgrpc_memory_ended(client));
}

TEST(memory__a_drain_ends_though_the_client_answers_nothing)
{
    cgrpc_memory_end *client;
    uint32_t due;
    int turns;
    begin();
    client = cgrpc_memory_dial(&memory);
    CHECK(cgrpc_memory_write(client, preface, 24) == 24);
    CHECK(cgrpc_memory_write(client, empty_settings, 9) == 9);
    cgrpc_memory_advance(&memory, 0);
    cgrpc_server_drain(&server);
    due = cgrpc_server_poll(&server);
    CHECK(!cgrpc_server_idle(&server));
    for (turns = 0; due != UINT32_MAX && turns < 100; turns++) {
        memory.now += due;
        due = cgrpc_server_poll(&server); /* only when it is due */
    }
    CHECK(cgrpc_server_idle(&server));
    cgrpc_memory_close(client);
}

TEST(memory__lets_a_test_play_the_server)
{
    cgrpc_memory_end *played;
    hello_HelloRequest in = hello_HelloRequest_init_zero;
    hello_HelloReply out;
    uint8_t heard[BYTES];
    begin();
    memory.server = NULL;
    CHECK(cgrpc_memory_accept(&memory) == NULL);
    CHECK(!hello_Greeter_SayHello_start(&channel, &call, &in, &out, NULL,
                                        NULL));
    cgrpc_channel_poll(&channel);
    played = cgrpc_memory_accept(&memory);
    CHECK(played != NULL && cgrpc_memory_accept(&memory) == NULL);
    CHECK(cgrpc_memory_read(played, heard, sizeof(heard)) > 24);
    CHECK(memcmp(heard, preface, 24) == 0);
    cgrpc_memory_close(played);
    cgrpc_channel_poll(&channel);
    CHECK(cgrpc_call_ended(&call));
    CHECK(cgrpc_call_status(&call) == CGRPC_UNAVAILABLE);
    cgrpc_channel_close(&channel);
}

TEST(memory__says_when_no_pipe_is_free)
{
    cgrpc_memory_end *ends[PIPES];
    int i;
    begin();
    for (i = 0; i < PIPES; i++) {
        ends[i] = cgrpc_memory_dial(&memory);
        CHECK(ends[i] != NULL);
    }
    CHECK(cgrpc_memory_dial(&memory) == NULL);
    cgrpc_memory_close(ends[0]);
    cgrpc_memory_advance(&memory, 0);
    CHECK(cgrpc_memory_dial(&memory) != NULL);
}

TESTS = {
    RUN(pipe__shows_bytes_until_they_are_taken),
    RUN(pipe__takes_what_it_has_room_for),
    RUN(pipe__carries_bytes_round_its_end),
    RUN(pipe__shows_the_end_after_all_bytes),
    RUN(pipe__tells_a_test_that_the_other_side_has_closed),
    RUN(pipe__splits_what_is_sent_and_what_is_shown),
    RUN(pipe__splits_the_same_way_for_the_same_seed),
    RUN(pipe__breaks_after_so_many_bytes_which_still_arrive),
    RUN(pipe__delays_pieces_and_keeps_their_order),
    RUN(pipe__lets_late_pieces_travel_together_when_there_are_many),
    RUN(memory__answers_a_blocking_call_without_a_thread_or_time),
    RUN(memory__carries_a_status),
    RUN(memory__moves_the_clock_to_a_deadline),
    RUN(memory__carries_a_stream_through_small_pipes),
    RUN(memory__works_with_every_split),
    RUN(memory__works_with_random_splits_and_delays),
    RUN(memory__delays_a_call_by_both_ways),
    RUN(memory__connects_anew_after_a_cut),
    RUN(memory__cuts_at_every_byte_and_every_call_ends),
    RUN(memory__refuses_as_many_connections_as_it_is_told),
    RUN(memory__lets_a_test_play_the_client),
    RUN(memory__a_drain_ends_though_the_client_answers_nothing),
    RUN(memory__lets_a_test_play_the_server),
    RUN(memory__says_when_no_pipe_is_free),
    TESTS_END
};
