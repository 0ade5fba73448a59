/* Whole sessions of a server, however their bytes are cut; long streams; and
 * messages that are larger than what is there to send them with.
 *
 *   cc -std=c99 -I. -Iport tests/unit/test_call.c -o t && ./t
 *
 * test_call_spare.c runs it all again without CGRPC_REPLAY and texts. */
#define CGRPC_IMPLEMENTATION
#define CGRPC_NANOPB 0
#define CGRPC_HUFFMAN_ENCODE 0
#include "cgrpc_memory.h"
#include "wire.h"
#include "test.h"
#include "server_rig.h"
#include "wire_insert.h"

CGRPC_SERVER_DEFINE(normal, 2, 4, 256, 512, RIG_SCRATCH);
CGRPC_SERVER_DEFINE(narrow, 2, 4, 1024, 128, RIG_SCRATCH);

/* ---- sessions in pieces ---- */

static cgrpc_status show_key(cgrpc_call *call, const cgrpc_bytes *in,
                             cgrpc_bytes *out)
{
    const char *value = cgrpc_metadata_find(call, CGRPC_INITIAL, "x-a", 0,
                                            NULL);
    if (value) cgrpc_metadata_add(call, CGRPC_TRAILING, "x-b", value, 0);
    *out = *in;
    return CGRPC_OK;
}

/* Something of everything, on four streams and beside them. */
static void record_session(void)
{
    session.len = 0;
    recording = true;
    greet();
    insert_begin(REQUEST_FIELDS("Unary"));
    insert_field("x-a", "value");
    insert_send(1, 0);
    data(1, 0, "\0\0\0\0\5he", 7);
    ping("12345678");
    data(1, 0, "llo", 3);
    data(1, END_STREAM | PADDED, "\2\0\0", 3);
    request(3, "Collect", "grpc-timeout: 5S\n");
    message(3, 0, "abc", 3);
    request(5, "Chat", "");
    data(5, 0, "\0\0\0\0\1a\0\0\0\0\1b\0\0\0", 15);
    frame(77, 255, 0, "unknown", 7);
    data(5, END_STREAM, "\0\2cd", 4);
    credit(0, 1000);
    data(3, PADDED, "\1\0\0\0\0\2xy\0", 9);
    headers(3, END_STREAM, "x-trailer: 1\n");
    insert_begin(REQUEST_FIELDS("List"));
    insert_index(62);
    insert_frame(7, 0);
    insert_bytes[4] = 0; /* no END_HEADERS: the rest is to come */
    put(insert_bytes, insert_len);
    frame(CONTINUATION, END_HEADERS, 7, "\276", 1); /* x-a once more */
    say(7, END_STREAM, "xyz");
    recording = false;
}

/* What was said on one stream, in order; the credit for it apart. */
static void say_stream(char *out, unsigned id)
{
    const char *line = peer->reader.text;
    char mark[16];
    size_t len = (size_t)sprintf(mark, "%u", id);
    while (*line) {
        const char *end = strchr(line, '\n') + 1;
        bool its = strncmp(line + 1, mark, len) == 0 &&
                   (line[1 + len] == ' ' || line[1 + len] == '.');
        if (its && *line != 'W')
            strncat(out, line, (size_t)(end - line));
        line = end;
    }
}

static void results(char *out)
{
    unsigned id;
    out[0] = 0;
    for (id = 1; id < 9; id += 2) say_stream(out, id);
    sprintf(out + strlen(out), "PA %d G %d\n",
            (int)wire_count(&peer->reader, "PA 3132333435363738"),
            (int)wire_count(&peer->reader, "G"));
    CHECK(!peer->reader.failed);
}

static void play(const uint8_t *in, size_t len, size_t cut, char *out)
{
    start_silent(&normal, 0);
    on_call[UNARY] = show_key;
    wire_forget(&peer->reader);
    if (cut == len) pieces = 1;
    else if (cut) put(in, cut);
    put(in + (cut == len ? 0 : cut), cut == len ? len : len - cut);
    results(out);
}

TEST(call__of_a_server_does_not_depend_on_how_its_bytes_are_cut)
{
    static char whole[4096], cut_up[4096];
    size_t cut;
    record_session();
    play(session.data, session.len, 0, whole);
    CHECK(strstr(whole, "grpc-status=0 x-b=value") != NULL);
    CHECK(strstr(whole, "D3 \\00\\00\\00\\00\\015") != NULL);
    CHECK(strstr(whole, "PA 1 G 0\n") != NULL);
    for (cut = 1; cut <= session.len && !test_failures; cut++) {
        play(session.data, session.len, cut, cut_up);
        if (strcmp(whole, cut_up) != 0)
            printf("  cut at %lu of %lu:\n%sinstead of:\n%s",
                   (unsigned long)cut, (unsigned long)session.len, cut_up,
                   whole);
        CHECK(strcmp(whole, cut_up) == 0);
    }
}

/* ---- long streams, as grpc-go treats them ---- */

TEST(call__of_a_server_bears_with_100000_messages_of_a_stream)
{
    int i;
    start(&normal);
    request(1, "Chat", "");
    wire_forget(&peer->reader);
    for (i = 0; i < 100000 && !test_failures; i++) {
        recording = true;
        session.len = 0;
        say(1, 0, "hello");
        ping("\2\4\20\20\11\16\7\7");
        credit(0, 10);
        credit(1, 10);
        recording = false;
        put(session.data, session.len);
        SAID("D1 \\00\\00\\00\\00\\05hello");
        SAID("PA ");
        DID_NOT_SAY("G");
        wire_forget(&peer->reader);
    }
    CHECK(runs[CHAT] == 100000);
    data(1, END_STREAM, "", 0);
    SAYS(REPLY_END(1));
}

static cgrpc_status send_when_woken(cgrpc_call *call, const cgrpc_bytes *in,
                                    cgrpc_bytes *out)
{
    cgrpc_call **self = (cgrpc_call **)cgrpc_call_user(call);
    (void)out;
    if (self) CHECK(cgrpc_send(call, in));
    else cgrpc_call_set_user(call, &session);
    return CGRPC_PENDING;
}

static cgrpc_call *first_call(void)
{
    return &server->memory->calls[0];
}

TEST(call__of_a_server_sends_100000_messages_of_a_stream)
{
    int i;
    start(&normal);
    on_call[LIST] = send_when_woken;
    request(1, "List", "");
    say(1, END_STREAM, "hello");
    for (i = 0; i < 100000 && !test_failures; i++) {
        cgrpc_call_wake(first_call());
        run();
        SAID(i ? "D1 \\00\\00\\00\\00\\05hello" : "H1 ");
        recording = true;
        session.len = 0;
        ping("\2\4\20\20\11\16\7\7");
        credit(0, 10);
        credit(1, 10);
        recording = false;
        put(session.data, session.len);
        DID_NOT_SAY("G");
        wire_forget(&peer->reader);
    }
}

/* ---- header blocks that are not whole ---- */

static int walked;

static void walk_at_end(cgrpc_call *call, cgrpc_status status)
{
    cgrpc_metadata m;
    size_t at = 0;
    (void)status;
    walked++;
    while (cgrpc_metadata_next(call, CGRPC_INITIAL, &at, &m))
        CHECK(strcmp(m.key, "x-b") == 0);
}

static cgrpc_status chat_and_walk(cgrpc_call *call, const cgrpc_bytes *in,
                                  cgrpc_bytes *out)
{
    (void)in;
    (void)out;
    cgrpc_call_on_end(call, walk_at_end);
    return CGRPC_NEXT;
}

TEST(call__of_a_server_survives_trailers_that_end_within_a_field)
{
    size_t cut;
    for (cut = 1; cut < 18; cut++) {
        walked = 0;
        start(&normal);
        on_call[CHAT] = chat_and_walk;
        request(1, "Chat", "x-b: 1\n");
        say(1, 0, "hi");
        wire_forget(&peer->reader);
        insert_begin("");
        insert_field("x-a", "a long value");
        insert_block_len -= cut;
        insert_send(1, END_STREAM);
        CHECK(walked == 1);
        SAID("G 1 9");
    }
}

/* ---- larger than the transmit buffer ---- */

static size_t large_len;
static uint8_t large_bytes[1024];

static cgrpc_status send_large(cgrpc_call *call, const cgrpc_bytes *in,
                               cgrpc_bytes *out)
{
    cgrpc_bytes m;
    (void)in;
    m.data = large_bytes;
    m.len = large_len;
    if (out && cgrpc_call_method(call) == &rig_methods[UNARY]) {
        *out = m;
        return CGRPC_OK;
    }
    return cgrpc_send(call, &m) ? CGRPC_OK : CGRPC_PENDING;
}

static void start_large(int method, size_t len)
{
    size_t i;
    for (i = 0; i < sizeof(large_bytes); i++)
        large_bytes[i] = (uint8_t)('a' + i % 26);
    large_len = len;
    start(&narrow);
    on_call[method] = send_large;
    request(1, method == UNARY ? "Unary" : "List", "");
    say(1, END_STREAM, "hi");
    run();
}

static size_t count_data(void)
{
    const char *line = peer->reader.text;
    size_t count = 0;
    while (*line) {
        const char *end = strchr(line, '\n');
        const char *at = strchr(line, ' ') + 1;
        if (*line == 'D')
            for (; at < end; at += *at == '\\' ? 3 : 1) count++;
        line = end + 1;
    }
    return count;
}

/* A unary reply has its call's buffer to wait in, with replay or without. */
TEST(call__of_a_server_sends_a_reply_larger_than_its_transmit_buffer)
{
    size_t len;
    for (len = 0; len <= 1024; len += 64) {
        start_large(UNARY, len);
        CHECK(runs[UNARY] == 1);
        SAID("H1. grpc-status=0");
        CHECK(count_data() == len + 5);
    }
}

TEST(call__of_a_server_sends_a_streamed_message_of_any_size_or_says_why_not)
{
    size_t len;
    for (len = 0; len <= 1024; len += 64) {
        bool fits = len + 14 <= 128;
        start_large(LIST, len);
        if (CGRPC_REPLAY || fits) {
            SAID("H1. grpc-status=0");
            CHECK(count_data() == len + 5);
        } else {
            CHECK(strstr(peer->reader.text, " grpc-status=8") != NULL);
            CHECK(count_data() == 0);
        }
    }
}

/* ---- texts ---- */

TEST(call__of_a_server_says_why_it_was_refused_if_texts_are_there)
{
    start(&normal);
    headers(1, 0, ":method: POST\n:scheme: http\n:path: /no\n"
            "content-type: application/grpc\n");
    if (CGRPC_ERROR_TEXTS)
        SAYS("H1. :status=200 content-type=application/grpc grpc-status=12 "
             "grpc-message=no such method\n");
    else
        SAYS("H1. :status=200 content-type=application/grpc "
             "grpc-status=12\n");
    CHECK((cgrpc_status_text(CGRPC_ABORTED)[0] != 0) == CGRPC_ERROR_TEXTS);
    CHECK((cgrpc_result_text(CGRPC_E_ROOM)[0] != 0) == CGRPC_ERROR_TEXTS);
    CHECK(cgrpc_status_text((cgrpc_status)99) != NULL);
    CHECK(cgrpc_result_text((cgrpc_result)-99) != NULL);
    CHECK(cgrpc_result_text((cgrpc_result)1) != NULL);
}

TESTS = {
    RUN(call__of_a_server_does_not_depend_on_how_its_bytes_are_cut),
    RUN(call__of_a_server_bears_with_100000_messages_of_a_stream),
    RUN(call__of_a_server_sends_100000_messages_of_a_stream),
    RUN(call__of_a_server_survives_trailers_that_end_within_a_field),
    RUN(call__of_a_server_sends_a_reply_larger_than_its_transmit_buffer),
    RUN(call__of_a_server_sends_a_streamed_message_of_any_size_or_says_why_not),
    RUN(call__of_a_server_says_why_it_was_refused_if_texts_are_there),
    TESTS_END
};
