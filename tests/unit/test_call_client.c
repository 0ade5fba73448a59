/* Whole sessions of a client, however their bytes are cut; long streams; and
 * requests that are larger than what is there to send them with.
 *
 *   cc -std=c99 -I. -Iport tests/unit/test_call_client.c -o t && ./t
 *
 * test_call_client_spare.c runs it all again without CGRPC_REPLAY and texts. */
#define CGRPC_IMPLEMENTATION
#define CGRPC_NANOPB 0
#define CGRPC_HUFFMAN_ENCODE 0
#include "cgrpc_memory.h"
#include "wire.h"
#include "test.h"
#include "client_rig.h"
#include "wire_insert.h"

CGRPC_CHANNEL_DEFINE(normal, 256, 512);
CGRPC_CHANNEL_DEFINE(narrow, 256, 128);

/* ---- sessions in pieces ---- */

static char ended_text[4096]; /* what came of each call, by hooks */

static void note(cgrpc_call *call, cgrpc_status status)
{
    const char *value = cgrpc_metadata_find(call, CGRPC_INITIAL, "x-a", 0,
                                            NULL);
    size_t nth = (size_t)(call - rig_calls);
    sprintf(ended_text + strlen(ended_text), "%d: %d %.*s %s %s\n", (int)nth,
            (int)status, nth == 0 ? (int)rig_response.len : 0,
            nth == 0 && rig_response.data ? (const char *)rig_response.data
                                          : "",
            value ? value : "-", cgrpc_call_message(call));
}

static void record_session(void)
{
    session.len = 0;
    recording = true;
    greet();
    insert_begin(ANSWER);
    insert_field("x-a", "value");
    insert_send(1, 0);
    data(1, 0, "\0\0\0\0\5he", 7);
    ping("12345678");
    data(1, PADDED, "\2llo\0\0", 6);
    headers(3, 0, ":status: 103\nx-a: early\n");
    headers(3, 0, ANSWER "content-length: 13\n");
    data(3, 0, "\0\0\0\0\1a\0\0\0\0\2b", 12);
    frame(77, 255, 0, "unknown", 7);
    trailers(1, 0);
    data(3, 0, "c", 1);
    insert_begin(ANSWER "grpc-status: 5\n");
    insert_index(62);
    insert_frame(5, END_STREAM);
    insert_bytes[4] = END_STREAM; /* no END_HEADERS: the rest is to come */
    put(insert_bytes, insert_len);
    frame(CONTINUATION, 0, 5, "", 0);
    frame(CONTINUATION, END_HEADERS, 5, "\0\14grpc-message\7no%20go", 22);
    settings(1, INITIAL_WINDOW_SIZE, 1000u);
    credit(0, 1000);
    reset(7, ENHANCE_YOUR_CALM);
    headers(3, END_STREAM, "grpc-status: 0\n");
    recording = false;
}

static void play(size_t cut, char *out)
{
    static const int kinds[] = { UNARY, LIST, COLLECT, CHAT };
    cgrpc_bytes got;
    int i;
    start_desk(&normal);
    ended_text[0] = 0;
    rig_response.len = 0;
    for (i = 0; i < 4; i++)
        CHECK(cgrpc_start(channel, &rig_calls[i], &rig_methods[kinds[i]],
                          i < 2 ? &rig_request : NULL,
                          i == 0 ? &rig_response : NULL, note, NULL) ==
              CGRPC_SUCCESS);
    run();
    put(session.data, 15); /* the streams exist from the greeting on */
    if (cut == session.len) pieces = 1;
    else if (cut > 15) put(session.data + 15, cut - 15);
    if (cut < 15 || cut == session.len) cut = 15;
    put(session.data + cut, session.len - cut);
    pieces = 0;
    while (cgrpc_recv(&two, &got) == CGRPC_GOT)
        sprintf(ended_text + strlen(ended_text), "got %.*s\n", (int)got.len,
                (const char *)got.data);
    run();
    sprintf(out, "%sPA %d R %d G %d\n", ended_text,
            (int)wire_count(&reader, "PA 3132333435363738"),
            (int)wire_count(&reader, "R"), (int)wire_count(&reader, "G"));
    CHECK(!reader.failed);
}

/* Hooks may run in another order: lines are compared, not their places. */
static bool same_lines(const char *one_text, const char *two_text)
{
    const char *line = one_text;
    if (strlen(one_text) != strlen(two_text)) return false;
    while (*line) {
        char text[256];
        const char *end = strchr(line, '\n') + 1;
        memcpy(text, line, (size_t)(end - line));
        text[end - line] = 0;
        if (!strstr(two_text, text)) return false;
        line = end;
    }
    return true;
}

TEST(call__of_a_client_does_not_depend_on_how_its_bytes_are_cut)
{
    static char whole[8192], cut_up[8192];
    size_t cut;
    record_session();
    play(0, whole);
    CHECK(strstr(whole, "0: 0 hello value \n") != NULL);
    CHECK(strstr(whole, "got a\ngot bc\n") != NULL);
    CHECK(strstr(whole, "1: 0  - \n") != NULL);
    CHECK(strstr(whole, "2: 5  - no go\n") != NULL);
    CHECK(strstr(whole, "3: 8  - ") != NULL);
    CHECK(strstr(whole, "PA 1 R 1 G 0\n") != NULL);
    if (test_failures) puts(whole);
    for (cut = 16; cut <= session.len && !test_failures; cut++) {
        play(cut, cut_up);
        if (!same_lines(whole, cut_up))
            printf("  cut at %lu of %lu:\n%sinstead of:\n%s",
                   (unsigned long)cut, (unsigned long)session.len, cut_up,
                   whole);
        CHECK(same_lines(whole, cut_up));
    }
}

/* ---- header blocks that are not whole ---- */

/* Ends in the middle of a field, which the table's sizes cannot survive. */
TEST(call__of_a_client_survives_a_block_that_ends_within_a_field)
{
    size_t cut;
    for (cut = 1; cut < 18; cut++) { /* of the field's 18 bytes */
        start(&normal);
        memset(rig_memory[0], 0x40, CGRPC_METADATA_BYTES);
        begin(&one, UNARY, NULL);
        run();
        wire_forget(&reader);
        insert_begin(ANSWER);
        insert_field("x-a", "a long value");
        insert_block_len -= cut;
        insert_send(1, 0);
        ENDED(CGRPC_UNAVAILABLE);
        SAYS("G 0 9\n");
        CHECK(cgrpc_metadata_find(&one, CGRPC_INITIAL, "x-b", 0, NULL) ==
              NULL);
    }
}

/* Half of the trailers has come when the user looks. */
TEST(call__of_a_client_shows_no_field_that_is_not_whole)
{
    size_t cut;
    for (cut = 0; cut < 40; cut++) {
        cgrpc_metadata m;
        size_t at = 0, count = 0;
        start(&normal);
        memset(rig_memory[0], 0x40, CGRPC_METADATA_BYTES); /* of old */
        begin(&one, CHAT, NULL);
        run();
        headers(1, 0, ANSWER "x-b: 1\n");
        insert_begin("grpc-status: 0\n");
        insert_field("x-a", "a long value");
        insert_field("x-a", "another one");
        insert_frame(1, END_STREAM);
        put(insert_bytes, insert_len - cut);
        while (cgrpc_metadata_next(&one, CGRPC_INITIAL, &at, &m)) {
            CHECK(m.len == 1 && strcmp(m.key, "x-b") == 0);
            CHECK(++count < 10);
        }
        CHECK(count == 1);
        CHECK(cgrpc_metadata_find(&one, CGRPC_TRAILING, "x-b", 0, NULL) ==
              NULL);
        for (at = count = 0;
             cgrpc_metadata_next(&one, CGRPC_TRAILING, &at, &m); count++)
            CHECK(m.len == 12 || m.len == 11);
        CHECK(count <= 2);
        CHECK(cgrpc_call_message(&one)[0] == 0);
        put(insert_bytes + insert_len - cut, cut);
    }
}

/* ---- long streams, as grpc-go treats them ---- */

static void go_pattern(uint32_t id)
{
    ping("\2\4\20\20\11\16\7\7");
    credit(0, 10);
    if (id) credit(id, 10);
}

TEST(call__of_a_client_bears_with_100000_messages_of_a_stream)
{
    cgrpc_bytes got;
    int i;
    start(&normal);
    begin(&one, LIST, NULL);
    run();
    answer(1);
    for (i = 0; i < 100000 && !test_failures; i++) {
        recording = true;
        session.len = 0;
        say(1, 0, "hello");
        go_pattern(0);
        recording = false;
        put(session.data, session.len);
        CHECK(cgrpc_recv(&one, &got) == CGRPC_GOT && got.len == 5);
        CHECK(cgrpc_recv(&one, &got) == CGRPC_WAIT);
        run();
        DID_NOT_SAY("G");
        wire_forget(&reader);
    }
    trailers(1, 0);
    ENDED(CGRPC_OK);
}

TEST(call__of_a_client_sends_100000_messages_of_a_stream)
{
    int i;
    start(&normal);
    begin(&one, CHAT, NULL);
    run();
    for (i = 0; i < 100000 && !test_failures; i++) {
        cgrpc_bytes m = text_bytes("hello");
        CHECK(cgrpc_send(&one, &m));
        run();
        recording = true;
        session.len = 0;
        go_pattern(1);
        recording = false;
        put(session.data, session.len);
        SAID("D1 \\00\\00\\00\\00\\05hello");
        DID_NOT_SAY("G");
        wire_forget(&reader);
    }
    cgrpc_send_end(&one);
    run();
    SAYS("D1. \n");
    headers(1, END_STREAM, ANSWER "grpc-status: 0\n");
    ENDED(CGRPC_OK);
}

/* ---- larger than the transmit buffer ---- */

TEST(call__of_a_client_sends_a_request_of_any_size_or_says_why_not)
{
    static uint8_t large[1024];
    size_t len;
    for (len = 0; len <= 1024; len += 64) {
        cgrpc_bytes m;
        m.data = large;
        m.len = len;
        start(&narrow);
        rig_response.len = 0;
        CHECK(cgrpc_start(channel, &one, &rig_methods[UNARY], &m,
                          &rig_response, done, NULL) == CGRPC_SUCCESS);
        run();
        if (CGRPC_REPLAY || len + 14 <= 128) {
            SAID("D1. ");
            reply(1, "hello");
            ENDED(CGRPC_OK);
        } else {
            DID_NOT_SAY("D");
            SAID("R1 8");
            ENDED(CGRPC_RESOURCE_EXHAUSTED);
        }
    }
}

TEST(call__of_a_client_sends_a_streamed_message_of_any_size_or_says_why_not)
{
    static uint8_t large[1024];
    size_t len;
    for (len = 0; len <= 1024; len += 64) {
        cgrpc_bytes m;
        int tries = 0;
        bool sent = false;
        m.data = large;
        m.len = len;
        start(&narrow);
        begin(&one, CHAT, NULL);
        run();
        while (!dones && !sent && tries++ < 100) {
            sent = cgrpc_send(&one, &m);
            run();
        }
        CHECK(sent == (CGRPC_REPLAY || len + 14 <= 128));
        if (sent) SAID("D1 ");
        else ENDED(CGRPC_RESOURCE_EXHAUSTED);
    }
}

/* ---- texts ---- */

TEST(call__of_a_client_says_why_it_ended_if_texts_are_there)
{
    start(&normal);
    begin(&one, UNARY, NULL);
    run();
    hang_up();
    ENDED(CGRPC_UNAVAILABLE);
    CHECK((cgrpc_call_message(&one)[0] != 0) == CGRPC_ERROR_TEXTS);
}

TEST(call__of_a_client_shows_the_server_s_text_with_texts_or_without)
{
    start(&normal);
    begin(&one, UNARY, NULL);
    run();
    headers(1, END_STREAM, ANSWER "grpc-status: 5\ngrpc-message: none\n");
    ENDED(CGRPC_NOT_FOUND);
    CHECK(strcmp(cgrpc_call_message(&one), "none") == 0);
}

TESTS = {
    RUN(call__of_a_client_does_not_depend_on_how_its_bytes_are_cut),
    RUN(call__of_a_client_survives_a_block_that_ends_within_a_field),
    RUN(call__of_a_client_shows_no_field_that_is_not_whole),
    RUN(call__of_a_client_bears_with_100000_messages_of_a_stream),
    RUN(call__of_a_client_sends_100000_messages_of_a_stream),
    RUN(call__of_a_client_sends_a_request_of_any_size_or_says_why_not),
    RUN(call__of_a_client_sends_a_streamed_message_of_any_size_or_says_why_not),
    RUN(call__of_a_client_says_why_it_ended_if_texts_are_there),
    RUN(call__of_a_client_shows_the_server_s_text_with_texts_or_without),
    TESTS_END
};
