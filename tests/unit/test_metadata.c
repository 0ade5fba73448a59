/* Metadata on the server's side: what a handler is shown, what it may send,
 * and what happens when the memory for it is full.
 *
 *   cc -std=c99 -I. -Iport tests/unit/test_metadata.c -o t && ./t
 */
#define CGRPC_IMPLEMENTATION
#define CGRPC_NANOPB 0
#define CGRPC_HUFFMAN_ENCODE 0
#include "cgrpc_memory.h"
#include "wire.h"
#include "test.h"
#include "server_rig.h"
#include "wire_insert.h"

CGRPC_SERVER_DEFINE(normal, 2, 4, 256, 512, RIG_SCRATCH);
CGRPC_SERVER_DEFINE(narrow, 2, 4, 256, 128, RIG_SCRATCH);
CGRPC_SERVER_DEFINE(single, 2, 1, 256, 512, RIG_SCRATCH);

#define OVER_LIMIT(id) "H" #id ". :status=200 " \
    "content-type=application/grpc grpc-status=8 " \
    "grpc-message=metadata over the server's limit\n"
#define ECHOED(id) REPLY_HEAD(id) "D" #id " \\00\\00\\00\\00\\02hi\n" \
    REPLY_END(id)

/* ---- what a handler sees ---- */

static char seen[1024]; /* by walk(), as key=value; and so on */

static void see(const char *key, const void *value, size_t len)
{
    const unsigned char *at = (const unsigned char *)value;
    size_t used = strlen(seen);
    used += (size_t)sprintf(seen + used, "%s=", key);
    for (; len--; at++)
        used += (size_t)sprintf(seen + used,
                                *at > 32 && *at < 127 ? "%c" : "\\%02x", *at);
    strcpy(seen + used, ";");
}

static cgrpc_status walk(cgrpc_call *call, const cgrpc_bytes *in,
                         cgrpc_bytes *out)
{
    cgrpc_metadata m;
    size_t at = 0;
    seen[0] = 0;
    while (cgrpc_metadata_next(call, CGRPC_INITIAL, &at, &m))
        see(m.key, m.value, m.len);
    *out = *in;
    return CGRPC_OK;
}

static void call_unary(uint32_t id, const char *fields)
{
    request(id, "Unary", fields);
    say(id, END_STREAM, "hi");
}

#define SEEN(text) CHECK(rig_seen(text))

static bool rig_seen(const char *expected)
{
    bool same = strcmp(seen, expected) == 0;
    if (!same) printf("  expected %s\n  but saw  %s\n", expected, seen);
    seen[0] = 0;
    return same;
}

TEST(metadata__shows_registered_keys_only_and_in_order)
{
    start(&normal);
    on_call[UNARY] = walk;
    call_unary(1, "x-a: 1\nx-z: 9\nx-b: 2\nuser-agent: me\nx-a: 3\n"
               "x-a: \nx-aa: 4\n");
    SEEN("x-a=1;x-b=2;x-a=3;x-a=;");
    SAYS(ECHOED(1));
}

static cgrpc_status find_some(cgrpc_call *call, const cgrpc_bytes *in,
                              cgrpc_bytes *out)
{
    static const struct { const char *key; int which; size_t nth; } table[] = {
        { "x-a", CGRPC_INITIAL, 0 }, { "x-a", CGRPC_INITIAL, 1 },
        { "x-a", CGRPC_INITIAL, 2 }, { "x-b", CGRPC_INITIAL, 0 },
        { "x-c-bin", CGRPC_INITIAL, 0 }, { "x-z", CGRPC_INITIAL, 0 },
        { "x-a", CGRPC_TRAILING, 0 }, { "", CGRPC_INITIAL, 0 },
        { "X-A", CGRPC_INITIAL, 0 }
    };
    size_t i, len;
    seen[0] = 0;
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        const char *value = cgrpc_metadata_find(call, table[i].which,
                                                table[i].key, table[i].nth,
                                                &len);
        if (value) see("", value, len);
        else strcat(seen, "-;");
        CHECK(!value || value[len] == 0);
        CHECK(value || len == 0);
    }
    *out = *in;
    return CGRPC_OK;
}

TEST(metadata__finds_the_nth_value_of_a_key)
{
    start(&normal);
    on_call[UNARY] = find_some;
    call_unary(1, "x-a: one\nx-z: no\nx-c-bin: AAE\nx-a: two words\n");
    SEEN("=one;=two\\20words;-;-;=\\00\\01;-;-;-;-;");
}

/* Values as they come, and what the handler is shown; NULL: it is not run. */
TEST(metadata__decodes_each_binary_value)
{
    static const struct { const char *came, *shown; } table[] = {
        { "aGk", "x-c-bin=hi;" }, { "aGk=", "x-c-bin=hi;" },
        { "aA", "x-c-bin=h;" }, { "aA==", "x-c-bin=h;" },
        { "aGkh", "x-c-bin=hi!;" }, { "", "x-c-bin=;" },
        { "AP//", "x-c-bin=\\00\\ff\\ff;" },
        { "aGk,aGs", "x-c-bin=hi;x-c-bin=hk;" },
        { "aGk=,aGs=", "x-c-bin=hi;x-c-bin=hk;" },
        { "aGk=, aGs", "x-c-bin=hi;x-c-bin=hk;" },
        { "aGk,,aGs", "x-c-bin=hi;x-c-bin=;x-c-bin=hk;" },
        { "a", NULL }, { "a===", NULL }, { "aA=", NULL }, { "aGk==", NULL },
        { "=", NULL }, { "aGk=x", NULL }, { "aGk*", NULL },
        { "aGk,a", NULL }, { "a,aGk", NULL }, { "aG-k", NULL }
    };
    size_t i;
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        char field[64];
        bool good;
        start(&normal);
        on_call[UNARY] = walk;
        seen[0] = 0;
        sprintf(field, "x-c-bin: %s\n", table[i].came);
        call_unary(1, field);
        good = table[i].shown ? rig_seen(table[i].shown)
                              : runs[UNARY] == 0;
        if (!good) printf("  (of \"%s\")\n", table[i].came);
        CHECK(good);
        if (!table[i].shown)
            SAYS("H1. :status=200 content-type=application/grpc "
                 "grpc-status=3 grpc-message=a -bin value is not base64\n");
    }
}

static char authority[128], address[128];

static cgrpc_status who(cgrpc_call *call, const cgrpc_bytes *in,
                        cgrpc_bytes *out)
{
    strcpy(authority, cgrpc_call_authority(call));
    strcpy(address, cgrpc_call_peer(call));
    CHECK(cgrpc_call_method(call) == &rig_methods[UNARY]);
    *out = *in;
    return CGRPC_OK;
}

TEST(metadata__tells_authority_if_it_is_registered_and_peer)
{
    start(&normal);
    on_call[UNARY] = who;
    call_unary(1, "");
    CHECK(strcmp(authority, "") == 0);
    CHECK(strcmp(address, "desk") == 0);
    rig_key_count = 4;
    start(&normal);
    rig_key_count = 3;
    on_call[UNARY] = who;
    call_unary(1, "");
    CHECK(strcmp(authority, "desk") == 0);
    headers(3, 0, ":method: POST\n:scheme: http\n:path: /t.T/Unary\n"
            "content-type: application/grpc\n");
    say(3, END_STREAM, "hi");
    CHECK(runs[UNARY] == 2);
    CHECK(authority[0] == 0);
}

TEST(metadata__hides_what_the_wire_itself_means)
{
    start(&normal);
    on_call[UNARY] = walk;
    call_unary(1, "grpc-timeout: 5S\ngrpc-encoding: identity\n"
               "grpc-accept-encoding: gzip\nx-a: 1\n");
    SEEN("x-a=1;");
}

/* ---- too much ---- */

static void long_field(char *out, const char *key, size_t len)
{
    size_t at = (size_t)sprintf(out, "%s: ", key);
    memset(out + at, 'v', len);
    strcpy(out + at + len, "\n");
}

TEST(metadata__fails_the_call_alone_when_it_does_not_fit)
{
    char fields[400];
    size_t len, fitted = 0;
    for (len = 1; len < 200; len++) {
        start(&normal);
        long_field(fields, "x-a", len);
        call_unary(1, fields);
        if (runs[UNARY]) {
            CHECK(fitted == len - 1);
            fitted = len;
            SAYS(ECHOED(1));
        } else {
            SAYS(OVER_LIMIT(1));
        }
        call_unary(3, "");
        SAID("H3. grpc-status=0");
    }
    CHECK(fitted > 90 && fitted < CGRPC_METADATA_BYTES);
}

TEST(metadata__does_not_count_what_nobody_asked_for)
{
    static char fields[8192];
    long_field(fields, "x-z", 8000);
    start(&normal);
    call_unary(1, fields);
    SAYS(ECHOED(1));
}

TEST(metadata__fails_the_call_alone_when_a_binary_value_does_not_fit)
{
    char fields[400];
    size_t at = (size_t)sprintf(fields, "x-c-bin: ");
    memset(fields + at, 'A', 240);
    strcpy(fields + at + 240, "\n");
    start(&normal);
    call_unary(1, fields);
    SAYS(OVER_LIMIT(1));
    call_unary(3, "x-c-bin: AAAA\n");
    SAID("H3. grpc-status=0");
}

/* ---- the peer's table ---- */

TEST(metadata__shows_a_value_again_that_the_peer_only_refers_to)
{
    start(&normal);
    on_call[UNARY] = walk;
    insert_begin(REQUEST_FIELDS("Unary"));
    insert_field("x-a", "token");
    insert_send(1, 0);
    say(1, END_STREAM, "hi");
    SEEN("x-a=token;");
    insert_begin(REQUEST_FIELDS("Unary"));
    insert_index(62);
    insert_send(3, 0);
    say(3, END_STREAM, "hi");
    SEEN("x-a=token;");
}

/* The one slot is taken: a call is refused whose block enters the table. */
static void refuse_with(const char *value)
{
    request(1, "Chat", "");
    insert_begin(REQUEST_FIELDS("Unary"));
    insert_field("x-a", value);
    insert_send(3, 0);
    SAID("R3 7");
    reset(1, CANCEL);
    wire_forget(&peer->reader);
}

static void refer(uint32_t id)
{
    insert_begin(REQUEST_FIELDS("Unary"));
    insert_index(62);
    insert_send(id, 0);
    say(id, END_STREAM, "hi");
}

TEST(metadata__remembers_a_key_that_came_with_a_refused_call)
{
    start(&single);
    on_call[UNARY] = walk;
    refuse_with("token");
    refer(5);
    SEEN("x-a=token;");
}

TEST(metadata__remembers_a_key_of_a_refused_call_as_long_as_fits_a_call)
{
    static const char token[] = "a token of 60 characters, as long as many "
                                "in the real world";
    start(&single);
    on_call[UNARY] = walk;
    refuse_with(token);
    refer(5);
    CHECK(runs[UNARY] == 1);
    CHECK(strstr(seen, "world") != NULL);
}

/* The one call is held, and another is refused in two pieces. */
static cgrpc_call *held;

static cgrpc_status hold(cgrpc_call *call, const cgrpc_bytes *in,
                         cgrpc_bytes *out)
{
    (void)in;
    (void)out;
    held = call;
    return CGRPC_PENDING;
}

static uint8_t split[512];
static size_t split_len;

/* The frame of a call that inserts "a token", without its last bytes. */
static void refuse_half(size_t cut)
{
    start(&single);
    on_call[UNARY] = walk;
    on_call[CHAT] = hold;
    request(1, "Chat", "");
    say(1, 0, "0123456789");
    insert_begin(REQUEST_FIELDS("Unary"));
    insert_field("x-a", "a token");
    insert_frame(3, 0);
    memcpy(split, insert_bytes, split_len = insert_len);
    put(split, split_len - cut);
}

/* ... and the rest of it; then a call that refers to what came. What was
 * between the pieces may have cost the text, and then this call is refused
 * unprocessed; but nobody is shown anything else, and the next is served. */
static void refuse_rest(size_t cut)
{
    put(split + split_len - cut, cut);
    reset(1, CANCEL);
    wire_forget(&peer->reader);
    refer(5);
    if (runs[UNARY])
        SEEN("x-a=a\\20token;");
    else
        SAID("R5 7");
    frame(SETTINGS, ACK, 0, NULL, 0);
    frame(SETTINGS, ACK, 0, NULL, 0);
    call_unary(7, "x-a: again\n");
    SEEN("x-a=again;");
    wire_forget(&peer->reader);
}

TEST(metadata__shows_no_other_key_when_a_handler_ran_within_a_refused_block)
{
    size_t cut;
    for (cut = 1; cut < 16 && !test_failures; cut++) {
        refuse_half(cut);
        cgrpc_call_wake(held);
        run();
        CHECK(runs[CHAT] == 2);
        refuse_rest(cut);
    }
}

/* Two peers are refused at once, one in the middle of the other's block. */
static void refuse_another(const char *key)
{
    dial(peer = &peers[1], 0);
    greet();
    insert_begin(REQUEST_FIELDS("Unary"));
    insert_field(key, "b");
    insert_send(1, 0);
    SAID("R1 7");
    peer = &peers[0];
}

TEST(metadata__keeps_the_refused_keys_of_two_peers_apart)
{
    size_t cut;
    for (cut = 1; cut < 16 && !test_failures; cut++) {
        refuse_half(cut);
        refuse_another("x-a");
        refuse_rest(cut);
        peer = &peers[1];
        seen[0] = 0;
        refer(3);
        CHECK(strcmp(seen, "x-a=b;") == 0 || seen[0] == 0);
    }
}

TEST(metadata__shows_no_other_key_when_two_refused_blocks_are_mixed)
{
    size_t cut;
    for (cut = 1; cut < 16 && !test_failures; cut++) {
        refuse_half(cut);
        refuse_another("x-z");
        refuse_rest(cut);
    }
}

/* ---- what a handler sends ---- */

static cgrpc_status decorate(cgrpc_call *call, const cgrpc_bytes *in,
                             cgrpc_bytes *out)
{
    CHECK(cgrpc_metadata_add(call, CGRPC_INITIAL, "x-i", "1", 0) == 0);
    CHECK(cgrpc_metadata_add(call, CGRPC_TRAILING, "x-t", "2", 0) == 0);
    CHECK(cgrpc_metadata_add(call, CGRPC_INITIAL, "x-i", "3", 1) == 0);
    CHECK(cgrpc_metadata_add(call, CGRPC_TRAILING, "x-t-bin", "\0\1\2\3",
                             4) == 0);
    *out = *in;
    return CGRPC_OK;
}

TEST(metadata__goes_with_the_head_and_the_trailers_of_a_reply)
{
    start(&normal);
    on_call[UNARY] = decorate;
    call_unary(1, "");
    SAYS("H1 :status=200 content-type=application/grpc x-i=1 x-i=3\n"
         "D1 \\00\\00\\00\\00\\02hi\n"
         "H1. grpc-status=0 x-t=2 x-t-bin=AAECAw\n");
}

static cgrpc_status decorate_and_fail(cgrpc_call *call, const cgrpc_bytes *in,
                                      cgrpc_bytes *out)
{
    decorate(call, in, out);
    return cgrpc_fail(call, CGRPC_ABORTED, "no");
}

TEST(metadata__goes_in_one_block_with_an_error)
{
    start(&normal);
    on_call[UNARY] = decorate_and_fail;
    call_unary(1, "");
    SAYS("H1. :status=200 content-type=application/grpc x-i=1 x-i=3 "
         "grpc-status=10 x-t=2 x-t-bin=AAECAw grpc-message=no\n");
}

static cgrpc_status early(cgrpc_call *call, const cgrpc_bytes *in,
                          cgrpc_bytes *out)
{
    (void)out;
    if (!in) return CGRPC_NEXT;
    if (in->len == 1) {
        CHECK(cgrpc_metadata_add(call, CGRPC_INITIAL, "x-i", "1", 0) == 0);
        CHECK(cgrpc_send_initial(call));
        CHECK(cgrpc_metadata_add(call, CGRPC_INITIAL, "x-i", "2", 0) ==
              CGRPC_E_STATE);
        CHECK(cgrpc_send_initial(call)); /* once more is harmless */
        return CGRPC_NEXT;
    }
    CHECK(cgrpc_send(call, in));
    CHECK(cgrpc_metadata_add(call, CGRPC_TRAILING, "x-t", "3", 0) == 0);
    return CGRPC_OK;
}

TEST(metadata__goes_out_before_the_first_message_when_asked_to)
{
    start(&normal);
    on_call[CHAT] = early;
    request(1, "Chat", "");
    say(1, 0, "a");
    SAYS("H1 :status=200 content-type=application/grpc x-i=1\nW1 6\n");
    say(1, 0, "hi");
    SAYS("D1 \\00\\00\\00\\00\\02hi\nH1. grpc-status=0 x-t=3\n");
}

static cgrpc_status add_wrongly(cgrpc_call *call, const cgrpc_bytes *in,
                                cgrpc_bytes *out)
{
    static const struct { const char *key, *value; size_t len; } table[] = {
        { NULL, "v", 0 }, { "", "v", 0 }, { "X-a", "v", 0 },
        { "x a", "v", 0 }, { "x:a", "v", 0 }, { ":path", "/", 0 },
        { ":status", "200", 0 }, { "grpc-status", "0", 0 },
        { "grpc-message", "hi", 0 }, { "grpc-anything", "hi", 0 },
        { "grpc-status-details-bin", "hi", 2 }, { "content-type", "v", 0 },
        { "content-length", "1", 0 }, { "te", "trailers", 0 },
        { "connection", "close", 0 }, { "transfer-encoding", "v", 0 },
        { "x-a", "tab\tbed", 0 }, { "x-a", "line\n", 0 },
        { "x-a", " v", 0 }, { "x-a", "v ", 0 }, { "x-a", "\303\274", 0 },
        { "x-a", "a\0b", 3 }, { "x-a", NULL, 3 }
    };
    size_t i;
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        cgrpc_result result =
            cgrpc_metadata_add(call, CGRPC_TRAILING, table[i].key,
                               table[i].value, table[i].len);
        if (result != CGRPC_E_ARGUMENT)
            printf("  row %d: %d\n", (int)i, (int)result);
        CHECK(result == CGRPC_E_ARGUMENT);
    }
    *out = *in;
    return CGRPC_OK;
}

TEST(metadata__refuses_keys_and_values_that_may_not_be_sent)
{
    start(&normal);
    on_call[UNARY] = add_wrongly;
    call_unary(1, "");
    CHECK(runs[UNARY] == 1);
    SAYS(ECHOED(1));
}

static cgrpc_status add_until_full(cgrpc_call *call, const cgrpc_bytes *in,
                                   cgrpc_bytes *out)
{
    int added = 0;
    while (cgrpc_metadata_add(call, CGRPC_TRAILING, "x-a", "12345", 0) == 0)
        CHECK(++added < 100);
    CHECK(cgrpc_metadata_add(call, CGRPC_TRAILING, "x-a", "12345", 0) ==
          CGRPC_E_ROOM);
    CHECK(added > 5);
    *out = *in;
    return CGRPC_OK;
}

TEST(metadata__refuses_what_has_no_room_and_sends_the_rest)
{
    size_t at, count = 0;
    start(&normal);
    on_call[UNARY] = add_until_full;
    call_unary(1, "");
    for (at = 0; peer->reader.text[at]; at++)
        count += strncmp(peer->reader.text + at, "x-a=12345", 9) == 0;
    CHECK(count > 5);
    SAID("H1. grpc-status=0 x-a=12345 x-a=12345");
}

/* ---- failures ---- */

static const char *fail_text;
static size_t filled; /* bytes of trailing metadata that stand before it */

static cgrpc_status fail(cgrpc_call *call, const cgrpc_bytes *in,
                         cgrpc_bytes *out)
{
    static char text[CGRPC_METADATA_BYTES + 1];
    (void)in;
    (void)out;
    memset(text, 'f', sizeof(text));
    text[filled] = 0;
    if (filled)
        CHECK(cgrpc_metadata_add(call, CGRPC_TRAILING, "x-a", text, 0) == 0);
    return cgrpc_fail(call, CGRPC_NOT_FOUND, fail_text);
}

#define FAILED(rest) "H1. :status=200 content-type=application/grpc " \
    "grpc-status=5" rest "\n"

TEST(metadata__percent_encodes_the_text_of_a_failure)
{
    static const struct { const char *text, *answer; } table[] = {
        { NULL, FAILED("") },
        { "plain", FAILED(" grpc-message=plain") },
        { "100%", FAILED(" grpc-message=100%25") },
        { "a b", FAILED(" grpc-message=a b") },
        { " a ", FAILED(" grpc-message=%20a%20") },
        { "\303\274", FAILED(" grpc-message=%C3%BC") },
        { "line\r\n", FAILED(" grpc-message=line%0D%0A") },
        { "\1\177", FAILED(" grpc-message=%01%7F") },
        { "~\"", FAILED(" grpc-message=~\"") }
    };
    size_t i;
    filled = 0;
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        start(&normal);
        on_call[UNARY] = fail;
        fail_text = table[i].text;
        call_unary(1, "");
        SAYS(table[i].answer);
    }
}

/* However full the memory is, the status arrives, and what arrives of the
 * text is a beginning of it that breaks no character. */
TEST(metadata__cuts_the_text_of_a_failure_where_the_memory_is_full)
{
    static char text[1000];
    size_t i, cut = 0;
    for (i = 0; i < sizeof(text) - 1; i += 3)
        memcpy(text + i, "\342\202\254", 3);
    for (filled = 0; filled < 100; filled++) {
        const char *field;
        size_t len = 0;
        start(&normal);
        on_call[UNARY] = fail;
        fail_text = text;
        call_unary(1, "");
        SAID("H1. :status=200 content-type=application/grpc grpc-status=5");
        field = strstr(peer->reader.text, "grpc-message=");
        if (field) len = strspn(field + 13, "%0123456789ABCDEF");
        CHECK(len % 9 == 0);
        cut += len > 0 && len < 900;
        call_unary(3, "");
        SAID("H3. ");
    }
    CHECK(cut > 50);
}

static cgrpc_status fail_twice(cgrpc_call *call, const cgrpc_bytes *in,
                               cgrpc_bytes *out)
{
    (void)in;
    (void)out;
    CHECK(cgrpc_fail_details(call, "old", 3) == CGRPC_SUCCESS);
    CHECK(cgrpc_fail_details(call, "\0new", 4) == CGRPC_SUCCESS);
    cgrpc_fail(call, CGRPC_ABORTED, "first");
    return cgrpc_fail(call, CGRPC_NOT_FOUND, "second");
}

TEST(metadata__sends_the_last_text_and_the_last_details)
{
    start(&normal);
    on_call[UNARY] = fail_twice;
    call_unary(1, "");
    SAYS(FAILED(" grpc-status-details-bin=AG5ldw grpc-message=second"));
}

static cgrpc_status details_too_large(cgrpc_call *call, const cgrpc_bytes *in,
                                      cgrpc_bytes *out)
{
    static const uint8_t large[70000] = { 0 };
    (void)in;
    (void)out;
    CHECK(cgrpc_fail_details(call, large, 200) == CGRPC_E_ROOM);
    CHECK(cgrpc_fail_details(call, large, 65536 + 3) == CGRPC_E_ROOM);
    return CGRPC_NOT_FOUND;
}

TEST(metadata__refuses_details_that_have_no_room)
{
    start(&normal);
    on_call[UNARY] = details_too_large;
    call_unary(1, "");
    SAYS(FAILED(""));
}

static cgrpc_status details_and_ok(cgrpc_call *call, const cgrpc_bytes *in,
                                   cgrpc_bytes *out)
{
    CHECK(cgrpc_fail_details(call, "d", 1) == CGRPC_SUCCESS);
    *out = *in;
    return CGRPC_OK;
}

TEST(metadata__sends_no_details_with_an_ok)
{
    start(&normal);
    on_call[UNARY] = details_and_ok;
    call_unary(1, "");
    SAYS(ECHOED(1));
}

/* ---- larger than the transmit buffer ---- */

static const char *large_kind; /* where the 110 bytes go */

static cgrpc_status large_block(cgrpc_call *call, const cgrpc_bytes *in,
                                cgrpc_bytes *out)
{
    static char text[112];
    bool early_on = large_kind[0] == 'i' || large_kind[0] == 'I';
    memset(text, 'L', 111);
    if (!*(char *)cgrpc_call_state(call))
        CHECK(cgrpc_metadata_add(call, early_on ? CGRPC_INITIAL
                                                : CGRPC_TRAILING,
                                 "x-a", text, 0) == 0);
    *(char *)cgrpc_call_state(call) = 1;
    if (large_kind[0] == 'i' && !cgrpc_send_initial(call))
        return CGRPC_PENDING;
    if (out) *out = *in;
    return large_kind[0] == 'f' ? CGRPC_NOT_FOUND : CGRPC_OK;
}

/* Nothing is left out in silence: the call does not end with OK. */
TEST(metadata__fails_a_call_whose_block_no_buffer_holds)
{
    static const struct { const char *kind; int method; } table[] = {
        { "Initial, by the reply", UNARY }, { "trailing", UNARY },
        { "initial, early", LIST }, { "trailing", LIST },
        { "failing", UNARY }, { "Initial, with the trailers", LIST }
    };
    static const char *const names[] = { "Unary", "Collect", "List", "Chat" };
    size_t i;
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        bool told;
        start(&narrow);
        on_call[table[i].method] = large_block;
        large_kind = table[i].kind;
        request(1, names[table[i].method], "");
        say(1, END_STREAM, "hi");
        wait_ms(1);
        told = strstr(peer->reader.text, "grpc-status=8") != NULL;
        if (!told) printf("  (%s: %s)\n", large_kind, peer->reader.text);
        CHECK(told);
        CHECK(!peer->reader.failed);
        on_call[table[i].method] = echo;
        call_unary(3, "");
        if (table[i].method == LIST) SAID("H3. grpc-status=0");
    }
}

TESTS = {
    RUN(metadata__shows_registered_keys_only_and_in_order),
    RUN(metadata__finds_the_nth_value_of_a_key),
    RUN(metadata__decodes_each_binary_value),
    RUN(metadata__tells_authority_if_it_is_registered_and_peer),
    RUN(metadata__hides_what_the_wire_itself_means),
    RUN(metadata__fails_the_call_alone_when_it_does_not_fit),
    RUN(metadata__does_not_count_what_nobody_asked_for),
    RUN(metadata__fails_the_call_alone_when_a_binary_value_does_not_fit),
    RUN(metadata__shows_a_value_again_that_the_peer_only_refers_to),
    RUN(metadata__remembers_a_key_that_came_with_a_refused_call),
    RUN(metadata__remembers_a_key_of_a_refused_call_as_long_as_fits_a_call),
    RUN(metadata__shows_no_other_key_when_a_handler_ran_within_a_refused_block),
    RUN(metadata__keeps_the_refused_keys_of_two_peers_apart),
    RUN(metadata__shows_no_other_key_when_two_refused_blocks_are_mixed),
    RUN(metadata__goes_with_the_head_and_the_trailers_of_a_reply),
    RUN(metadata__goes_in_one_block_with_an_error),
    RUN(metadata__goes_out_before_the_first_message_when_asked_to),
    RUN(metadata__refuses_keys_and_values_that_may_not_be_sent),
    RUN(metadata__refuses_what_has_no_room_and_sends_the_rest),
    RUN(metadata__percent_encodes_the_text_of_a_failure),
    RUN(metadata__cuts_the_text_of_a_failure_where_the_memory_is_full),
    RUN(metadata__sends_the_last_text_and_the_last_details),
    RUN(metadata__refuses_details_that_have_no_room),
    RUN(metadata__sends_no_details_with_an_ok),
    RUN(metadata__fails_a_call_whose_block_no_buffer_holds),
    TESTS_END
};
