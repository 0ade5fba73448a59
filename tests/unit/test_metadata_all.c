/* CGRPC_METADATA_ALL 1: a handler sees every field but those that the wire
 * itself means, registered or not.
 *
 *   cc -std=c99 -I. -Iport tests/unit/test_metadata_all.c -o t && ./t
 */
#define CGRPC_IMPLEMENTATION
#define CGRPC_NANOPB 0
#define CGRPC_HUFFMAN_ENCODE 0
#define CGRPC_METADATA_ALL 1
#define CGRPC_METADATA_BYTES 512
#include "cgrpc_memory.h"
#include "wire.h"
#include "test.h"
#include "server_rig.h"
#include "wire_insert.h"

CGRPC_SERVER_DEFINE(normal, 2, 4, 256, 512, 512);
CGRPC_SERVER_DEFINE(narrow, 2, 4, 256, 128, 512);

static char seen[2048];

static cgrpc_status walk(cgrpc_call *call, const cgrpc_bytes *in,
                         cgrpc_bytes *out)
{
    cgrpc_metadata m;
    size_t at = 0, nth = 0, len;
    seen[0] = 0;
    while (cgrpc_metadata_next(call, CGRPC_INITIAL, &at, &m)) {
        const char *first = cgrpc_metadata_find(call, CGRPC_INITIAL, m.key, 0,
                                                &len);
        CHECK(first != NULL);
        CHECK(strlen((const char *)m.value) == m.len);
        sprintf(seen + strlen(seen), "%s=%s;", m.key, (const char *)m.value);
        nth++;
    }
    CHECK(nth < 20);
    if (out) *out = *in;
    return CGRPC_OK;
}

static void call_with(uint32_t id, const char *fields)
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

TEST(metadata_all__shows_every_field_but_those_of_the_wire)
{
    start(&normal);
    on_call[UNARY] = walk;
    call_with(1, "x-z: 1\nx-a: 2\nuser-agent: me\ngrpc-timeout: 1S\n"
              "x-z: 3\nz-bin: aGk,aGs\naccept: */*\n");
    SEEN("x-z=1;x-a=2;user-agent=me;x-z=3;z-bin=hi;z-bin=hk;accept=*/*;");
    SAID("H1. grpc-status=0");
}

TEST(metadata_all__shows_a_field_again_that_the_peer_only_refers_to)
{
    start(&normal);
    on_call[UNARY] = walk;
    insert_begin(REQUEST_FIELDS("Unary"));
    insert_field("x-z", "value");
    insert_send(1, 0);
    say(1, END_STREAM, "hi");
    SEEN("x-z=value;");
    insert_begin(REQUEST_FIELDS("Unary"));
    insert_index(62);
    insert_send(3, 0);
    say(3, END_STREAM, "hi");
    SEEN("x-z=value;");
}

TEST(metadata_all__fails_the_call_alone_when_it_does_not_fit)
{
    char fields[700];
    size_t at = (size_t)sprintf(fields, "x-z: ");
    memset(fields + at, 'v', 600);
    strcpy(fields + at + 600, "\n");
    start(&normal);
    on_call[UNARY] = walk;
    call_with(1, fields);
    CHECK(runs[UNARY] == 0);
    SAID("H1. :status=200 content-type=application/grpc grpc-status=8");
    call_with(3, "x-z: 1\n");
    SEEN("x-z=1;");
}

/* ---- blocks of several hundred bytes through 128 ---- */

static int where;

static cgrpc_status large_block(cgrpc_call *call, const cgrpc_bytes *in,
                                cgrpc_bytes *out)
{
    static char text[301];
    memset(text, 'L', 300);
    if (!*(char *)cgrpc_call_state(call))
        CHECK(cgrpc_metadata_add(call, where, "x-l", text, 0) == 0);
    *(char *)cgrpc_call_state(call) = 1;
    if (!out) return cgrpc_send(call, in) ? CGRPC_OK : CGRPC_PENDING;
    *out = *in;
    return CGRPC_OK;
}

TEST(metadata_all__fails_a_call_whose_block_no_buffer_holds)
{
    static const struct { int method, where; } table[] = {
        { UNARY, CGRPC_INITIAL }, { UNARY, CGRPC_TRAILING },
        { LIST, CGRPC_INITIAL }, { LIST, CGRPC_TRAILING }
    };
    size_t i;
    for (i = 0; i < 4; i++) {
        bool told;
        start(&narrow);
        on_call[table[i].method] = large_block;
        where = table[i].where;
        request(1, table[i].method == UNARY ? "Unary" : "List", "");
        say(1, END_STREAM, "hi");
        wait_ms(1);
        told = strstr(peer->reader.text, "grpc-status=8") != NULL;
        if (!told) printf("  (row %d: %s)\n", (int)i, peer->reader.text);
        CHECK(told);
        CHECK(!peer->reader.failed);
        on_call[UNARY] = echo;
        call_with(3, "");
        SAID("H3. grpc-status=0");
    }
}

TESTS = {
    RUN(metadata_all__shows_every_field_but_those_of_the_wire),
    RUN(metadata_all__shows_a_field_again_that_the_peer_only_refers_to),
    RUN(metadata_all__fails_the_call_alone_when_it_does_not_fit),
    RUN(metadata_all__fails_a_call_whose_block_no_buffer_holds),
    TESTS_END
};
