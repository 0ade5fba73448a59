/* Metadata on the client's side: what goes with a request, what comes with an
 * answer, and the words of a failure.
 *
 *   cc -std=c99 -I. -Iport tests/unit/test_metadata_client.c -o t && ./t
 */
#define CGRPC_IMPLEMENTATION
#define CGRPC_NANOPB 0
#define CGRPC_HUFFMAN_ENCODE 0
#include "cgrpc_memory.h"
#include "wire.h"
#include "test.h"
#include "client_rig.h"
#include "wire_insert.h"

CGRPC_CHANNEL_DEFINE(normal, 256, 512);

/* ---- with a request ---- */

static cgrpc_options with(const cgrpc_metadata *metadata, size_t count)
{
    cgrpc_options options = { 0 };
    options.metadata = metadata;
    options.metadata_count = count;
    return options;
}

TEST(metadata__goes_with_a_request_in_order)
{
    static const cgrpc_metadata items[] = {
        { "x-b", "2", 0 }, { "x-new", "1", 0 }, { "x-b", "3", 1 },
        { "x-c-bin", "\0\377", 2 }, { "authorization", "Bearer t", 0 }
    };
    cgrpc_options options = with(items, 5);
    start(&normal);
    begin(&one, UNARY, &options);
    run();
    SAYS("H1 :method=POST :scheme=http :path=/t.T/Unary :authority=desk "
         "te=trailers content-type=application/grpc user-agent=cgrpc/0.1.0 "
         "x-b=2 x-new=1 x-b=3 x-c-bin=AP8 authorization=Bearer t\n"
         "D1. \\00\\00\\00\\00\\02hi\n");
}

/* No user's value enters the peer's table. */
TEST(metadata__is_never_put_into_the_table_of_the_peer)
{
    static const cgrpc_metadata item = { "authorization", "Bearer t", 0 };
    cgrpc_options options = with(&item, 1);
    size_t inserts;
    start(&normal);
    begin(&one, UNARY, NULL);
    run();
    inserts = reader.inserts;
    begin(&two, UNARY, &options);
    run();
    CHECK(reader.inserts == inserts);
    SAID("H3 :method=POST");
}

static cgrpc_result try_metadata(const char *key, const char *value,
                                 size_t len)
{
    cgrpc_metadata item;
    cgrpc_options options;
    item.key = key;
    item.value = value;
    item.len = len;
    options = with(&item, 1);
    return cgrpc_start(channel, &one, &rig_methods[UNARY], &rig_request,
                       &rig_response, done, &options);
}

TEST(metadata__refuses_keys_and_values_that_may_not_be_sent)
{
    static const struct { const char *key, *value; size_t len; } table[] = {
        { NULL, "v", 0 }, { "", "v", 0 }, { "X-a", "v", 0 },
        { "x a", "v", 0 }, { ":path", "/", 0 }, { ":authority", "me", 0 },
        { "grpc-timeout", "1S", 0 }, { "grpc-anything", "hi", 0 },
        { "content-type", "v", 0 }, { "content-length", "1", 0 },
        { "te", "trailers", 0 }, { "connection", "close", 0 },
        { "user-agent", "me", 0 }, { "x-a", "line\n", 0 },
        { "x-a", " v", 0 }, { "x-a", "\303\274", 0 }, { "x-a", "a\0b", 3 }
    };
    size_t i;
    start(&normal);
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        CHECK(try_metadata(table[i].key, table[i].value, table[i].len) ==
              CGRPC_E_ARGUMENT);
    run();
    QUIET();
    CHECK(dones == 0);
    begin(&one, UNARY, NULL); /* the call object is as good as new */
    run();
    reply(1, "hello");
    ENDED(CGRPC_OK);
}

TEST(metadata__refuses_what_has_no_room)
{
    static char text[300];
    size_t len;
    int last = 0;
    memset(text, 'v', sizeof(text) - 1);
    start(&normal);
    for (len = 1; len < 300; len++) {
        cgrpc_result result = try_metadata("x-a", text, len);
        CHECK(result == CGRPC_SUCCESS || result == CGRPC_E_ROOM);
        CHECK(last == CGRPC_SUCCESS || result == CGRPC_E_ROOM);
        last = (int)result;
        if (result == CGRPC_SUCCESS) cgrpc_call_cancel(&one);
    }
    CHECK(last == CGRPC_E_ROOM);
}

/* ---- with an answer ---- */

static char seen[1024];

static void see(cgrpc_call *call, int which)
{
    cgrpc_metadata m;
    size_t at = 0;
    seen[0] = 0;
    while (cgrpc_metadata_next(call, which, &at, &m))
        sprintf(seen + strlen(seen), "%s=%.*s;", m.key, (int)m.len,
                (const char *)m.value);
}

static char initial_seen[1024], trailing_seen[1024];

static void see_all(cgrpc_call *call, cgrpc_status status)
{
    see(call, CGRPC_INITIAL);
    strcpy(initial_seen, seen);
    see(call, CGRPC_TRAILING);
    strcpy(trailing_seen, seen);
    done(call, status);
}

static void begin_seeing(cgrpc_call *call)
{
    rig_response.len = 0;
    CHECK(cgrpc_start(channel, call, &rig_methods[UNARY], &rig_request,
                      &rig_response, see_all, NULL) == CGRPC_SUCCESS);
    run();
}

TEST(metadata__of_an_answer_is_shown_in_order_and_apart)
{
    start(&normal);
    begin_seeing(&one);
    headers(1, 0, ANSWER "x-a: 1\nx-z: 9\nx-c-bin: aGk,aGs=\nx-a: 2\n");
    say(1, 0, "hello");
    headers(1, END_STREAM, "x-a: 3\ngrpc-status: 0\nx-b: 4\n");
    ENDED(CGRPC_OK);
    CHECK(strcmp(initial_seen, "x-a=1;x-c-bin=hi;x-c-bin=hk;x-a=2;") == 0);
    CHECK(strcmp(trailing_seen, "x-a=3;x-b=4;") == 0);
}

TEST(metadata__of_a_stream_can_be_read_before_the_first_message)
{
    const char *value;
    start(&normal);
    begin(&one, CHAT, NULL);
    run();
    headers(1, 0, ANSWER "x-a: early\n");
    value = cgrpc_metadata_find(&one, CGRPC_INITIAL, "x-a", 0, NULL);
    CHECK(value && strcmp(value, "early") == 0);
    CHECK(strcmp(cgrpc_call_peer(&one), "desk") == 0);
}

static void overflow_fields(char *out, const char *before)
{
    size_t at = (size_t)sprintf(out, "%sx-a: ", before);
    memset(out + at, 'v', 200);
    strcpy(out + at + 200, "\n");
}

TEST(metadata__of_an_answer_fails_the_call_alone_when_it_does_not_fit)
{
    static const struct {
        const char *first, *last;
        cgrpc_status status;
    } table[] = {
        { ANSWER, NULL, CGRPC_RESOURCE_EXHAUSTED },
        { NULL, "grpc-status: 0\n", CGRPC_RESOURCE_EXHAUSTED },
        { NULL, "grpc-status: 5\n", CGRPC_NOT_FOUND }
    };
    size_t i;
    for (i = 0; i < 3; i++) {
        char fields[400];
        start(&normal);
        begin(&one, UNARY, NULL);
        run();
        if (table[i].first) {
            overflow_fields(fields, table[i].first);
            headers(1, 0, fields);
        } else {
            answer(1);
            say(1, 0, "hello");
            overflow_fields(fields, table[i].last);
            headers(1, END_STREAM, fields);
        }
        ENDED(table[i].status);
        begin(&two, UNARY, NULL);
        run();
        reply(3, "hello");
        ENDED(CGRPC_OK);
        CHECK(dials == 1);
    }
}

/* ---- the words of a failure ---- */

/* grpc-message as it came, and as it is shown. */
TEST(metadata__decodes_the_percent_signs_of_a_message)
{
    static const struct { const char *came, *shown; } table[] = {
        { "", "" }, { "plain", "plain" }, { "a%20b", "a b" },
        { "%C3%BC", "\303\274" }, { "%c3%bc", "\303\274" },
        { "100%25", "100%" }, { "%2525", "%25" }, { "%", "%" },
        { "%2", "%2" }, { "%2x", "%2x" }, { "%zz", "%zz" },
        { "100%", "100%" }, { "%%41", "%A" }, { "%4%41", "%4A" },
        { "%0A", "\n" }, { "a+b", "a+b" }, { "\303\274", "\303\274" }
    };
    size_t i;
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        char fields[128];
        bool same;
        start(&normal);
        begin(&one, UNARY, NULL);
        run();
        sprintf(fields, ANSWER "grpc-status: 5\ngrpc-message: %s\n",
                table[i].came);
        headers(1, END_STREAM, fields);
        ENDED(CGRPC_NOT_FOUND);
        same = strcmp(cgrpc_call_message(&one), table[i].shown) == 0;
        if (!same)
            printf("  (\"%s\" became \"%s\")\n", table[i].came,
                   cgrpc_call_message(&one));
        CHECK(same);
    }
}

TEST(metadata__shows_the_details_of_a_failure)
{
    static const struct { const char *came, *shown; size_t len; } table[] = {
        { "AAEC", "\0\1\2", 3 }, { "AAE", "\0\1", 2 }, { "AAE=", "\0\1", 2 },
        { "", "", 0 }, { "!", "", 0 }
    };
    size_t i;
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        char fields[128];
        cgrpc_bytes details;
        start(&normal);
        begin(&one, UNARY, NULL);
        run();
        answer(1);
        sprintf(fields, "grpc-status: 5\ngrpc-status-details-bin: %s\n",
                table[i].came);
        headers(1, END_STREAM, fields);
        ENDED(CGRPC_NOT_FOUND);
        details = cgrpc_call_details(&one);
        CHECK(details.len == table[i].len);
        CHECK(details.len == 0 ||
              memcmp(details.data, table[i].shown, details.len) == 0);
    }
}

TEST(metadata__says_nothing_of_a_call_that_ended_well)
{
    start(&normal);
    begin(&one, UNARY, NULL);
    run();
    reply(1, "hello");
    ENDED(CGRPC_OK);
    CHECK(cgrpc_call_message(&one)[0] == 0);
    CHECK(cgrpc_call_details(&one).len == 0);
}

TEST(metadata__keeps_the_status_of_a_failure_when_the_memory_is_full)
{
    static char text[120];
    cgrpc_metadata item = { "x-a", NULL, 0 };
    cgrpc_options options;
    memset(text, 'v', 115);
    item.value = text;
    options = with(&item, 1);
    start(&normal);
    begin(&one, UNARY, &options);
    run();
    headers(1, END_STREAM, ANSWER "grpc-status: 5\ngrpc-message: none such\n");
    ENDED(CGRPC_NOT_FOUND);
}

/* ---- the server's table ---- */

TEST(metadata__shows_a_value_again_that_the_server_only_refers_to)
{
    start(&normal);
    begin_seeing(&one);
    insert_begin(ANSWER "grpc-status: 5\n");
    insert_field("x-a", "value");
    insert_field("grpc-message", "none%20such");
    insert_send(1, END_STREAM);
    ENDED(CGRPC_NOT_FOUND);
    CHECK(strcmp(trailing_seen, "x-a=value;") == 0);
    begin_seeing(&one);
    insert_begin(ANSWER "grpc-status: 5\n");
    insert_index(63);
    insert_index(62);
    insert_send(3, END_STREAM);
    ENDED(CGRPC_NOT_FOUND);
    CHECK(strcmp(trailing_seen, "x-a=value;") == 0);
    CHECK(strcmp(cgrpc_call_message(&one), "none such") == 0);
}

/* The answer crosses our reset, and enters fields into our table. */
TEST(metadata__remembers_a_key_that_came_with_a_cancelled_call)
{
    start(&normal);
    begin(&one, UNARY, NULL);
    run();
    cgrpc_call_cancel(&one);
    ENDED(CGRPC_CANCELLED);
    insert_begin(ANSWER);
    insert_field("x-a", "value");
    insert_send(1, 0);
    begin_seeing(&one);
    wire_forget(&reader);
    insert_begin(ANSWER);
    insert_index(62);
    insert_send(3, 0);
    say(3, 0, "hello");
    trailers(3, 0);
    ENDED(CGRPC_OK);
    CHECK(strcmp(initial_seen, "x-a=value;") == 0);
    QUIET();
}

/* The deadline passes on both sides at once, again and again. */
TEST(metadata__remembers_a_message_that_came_with_a_cancelled_call)
{
    start(&normal);
    begin(&one, UNARY, NULL);
    run();
    cgrpc_call_cancel(&one);
    ENDED(CGRPC_CANCELLED);
    insert_begin(ANSWER "grpc-status: 4\n");
    insert_field("grpc-message", "too%20late");
    insert_send(1, END_STREAM);
    begin_seeing(&one);
    insert_begin(ANSWER "grpc-status: 4\n");
    insert_index(62);
    insert_send(3, END_STREAM);
    ENDED(CGRPC_DEADLINE_EXCEEDED);
    CHECK(strcmp(cgrpc_call_message(&one), "too late") == 0);
}

/* Its memory is the user's again, so the text may be lost, and then the next
 * call fails; but it is shown nothing else, and the one after it is served. */
TEST(metadata__shows_no_other_key_when_a_call_ended_in_the_middle_of_it)
{
    size_t cut;
    for (cut = 1; cut < 16 && !test_failures; cut++) {
        start(&normal);
        begin(&one, UNARY, NULL);
        run();
        insert_begin(ANSWER);
        insert_field("x-a", "value");
        insert_frame(1, 0);
        put(insert_bytes, insert_len - cut);
        cgrpc_call_cancel(&one);
        ENDED(CGRPC_CANCELLED);
        memset(rig_memory[0], 'm', CGRPC_METADATA_BYTES);
        put(insert_bytes + insert_len - cut, cut);
        begin_seeing(&one);
        insert_begin(ANSWER);
        insert_index(62);
        insert_send(3, 0);
        say(3, 0, "hello");
        trailers(3, 0);
        if (done_status == CGRPC_OK)
            CHECK(strcmp(initial_seen, "x-a=value;") == 0);
        ENDED(done_status == CGRPC_OK ? CGRPC_OK : CGRPC_RESOURCE_EXHAUSTED);
        frame(SETTINGS, ACK, 0, NULL, 0);
        frame(SETTINGS, ACK, 0, NULL, 0);
        begin_seeing(&one);
        reply(5, "hello");
        ENDED(CGRPC_OK);
        CHECK(initial_seen[0] == 0);
    }
}

/* Whatever was lost, the calls after it work again. */
TEST(metadata__heals_after_a_reference_to_a_text_that_is_gone)
{
    char value[128];
    int i;
    start(&normal);
    memset(value, 'v', 80);
    value[80] = 0;
    for (i = 0; i < 3; i++) { /* the store holds one of these */
        value[0] = (char)('a' + i);
        begin(&one, UNARY, NULL);
        run();
        insert_begin(ANSWER "grpc-status: 5\n");
        insert_field("x-a", value);
        insert_send(1 + 2 * (uint32_t)i, END_STREAM);
        ENDED(CGRPC_NOT_FOUND);
    }
    begin(&one, UNARY, NULL);
    run();
    wire_forget(&reader);
    insert_begin(ANSWER);
    insert_index(64);
    insert_send(7, 0);
    ENDED(CGRPC_RESOURCE_EXHAUSTED);
    SAID("S 1=0");
    frame(SETTINGS, ACK, 0, NULL, 0);
    SAID("S 1=4096");
    frame(SETTINGS, ACK, 0, NULL, 0);
    begin(&one, UNARY, NULL);
    run();
    headers(9, 0, ANSWER);
    say(9, 0, "hello");
    trailers(9, 0);
    ENDED(CGRPC_OK);
}

TESTS = {
    RUN(metadata__goes_with_a_request_in_order),
    RUN(metadata__is_never_put_into_the_table_of_the_peer),
    RUN(metadata__refuses_keys_and_values_that_may_not_be_sent),
    RUN(metadata__refuses_what_has_no_room),
    RUN(metadata__of_an_answer_is_shown_in_order_and_apart),
    RUN(metadata__of_a_stream_can_be_read_before_the_first_message),
    RUN(metadata__of_an_answer_fails_the_call_alone_when_it_does_not_fit),
    RUN(metadata__decodes_the_percent_signs_of_a_message),
    RUN(metadata__shows_the_details_of_a_failure),
    RUN(metadata__says_nothing_of_a_call_that_ended_well),
    RUN(metadata__keeps_the_status_of_a_failure_when_the_memory_is_full),
    RUN(metadata__shows_a_value_again_that_the_server_only_refers_to),
    RUN(metadata__remembers_a_key_that_came_with_a_cancelled_call),
    RUN(metadata__remembers_a_message_that_came_with_a_cancelled_call),
    RUN(metadata__shows_no_other_key_when_a_call_ended_in_the_middle_of_it),
    RUN(metadata__heals_after_a_reference_to_a_text_that_is_gone),
    TESTS_END
};
