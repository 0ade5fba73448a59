/* Writes header blocks with the header's own HPACK encoder.
 *
 * Reads lines from stdin, all for one connection:
 *   limit N          the peer's SETTINGS_HEADER_TABLE_SIZE
 *   room N           the next blocks must fit N bytes
 *   constant K V     a field of the next block; K is a known name's id
 *   known K V        V is any bytes
 *   record N V       metadata of a user: name and value are bytes
 *   end              prints `wire HEX`, or `full` where it does not fit
 * with texts in hex, `-` for an empty one.
 */
#define CGRPC_IMPLEMENTATION
#define CGRPC_NANOPB 0
#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wunused-function"
#endif
#include "cgrpc.h"

#include <stdio.h>
#include <stdlib.h>

enum { CONSTANTS = 256 };
static char constants[CONSTANTS][512]; /* one address a text */
static size_t constant_count;
static char line[1 << 17], first[1 << 16], second[1 << 16];
static uint8_t wire[1 << 17];
static cgrpc_hpack_encoder encoder, before;
static cg_writer writer;
static cgrpc_vocabulary vocabulary;

static size_t unhex(const char *hex, char *out)
{
    size_t len = 0;
    unsigned byte;
    for (; sscanf(hex, "%2x", &byte) == 1; hex += 2) out[len++] = (char)byte;
    out[len] = 0;
    return len;
}

static const char *constant(const char *text)
{
    size_t at;
    for (at = 0; at < constant_count; ++at)
        if (strcmp(constants[at], text) == 0) return constants[at];
    if (constant_count == CONSTANTS) exit(2);
    strcpy(constants[at], text);
    ++constant_count;
    return constants[at];
}

static void begin(size_t room)
{
    before = encoder;
    memset(&writer, 0, sizeof(writer));
    writer.out = wire;
    writer.cap = room;
    cg_hpack_block_begin(&encoder, &writer);
}

static void end(void)
{
    size_t at;
    if (writer.full) {
        encoder = before;
        puts("full");
        return;
    }
    printf("wire ");
    for (at = 0; at < writer.len; ++at) printf("%02x", wire[at]);
    putchar('\n');
}

static void record(size_t value_len)
{
    cg_record r;
    memset(&r, 0, sizeof(r));
    r.key = first;
    r.value = second;
    r.value_len = value_len;
    r.name = (uint8_t)cg_name_find(&vocabulary, first);
    cg_hpack_put_field(&encoder, &writer, &r, NULL);
}

static void field(const char *verb, const char *a, const char *b)
{
    size_t b_len = unhex(b[0] == '-' ? "" : b, second);
    cgrpc_bytes bytes;
    bytes.data = (const uint8_t *)second;
    bytes.len = b_len;
    if (strcmp(verb, "constant") == 0)
        cg_hpack_put_constant(&encoder, &writer, (unsigned)atoi(a),
                              constant(second));
    else if (strcmp(verb, "known") == 0)
        cg_hpack_put_known(&encoder, &writer, (unsigned)atoi(a), bytes);
    else {
        unhex(a, first);
        record(b_len);
    }
}

int main(void)
{
    size_t room = sizeof(wire);
    bool open = false;
    cg_vocabulary_init(&vocabulary, NULL, 0);
    cg_hpack_encoder_init(&encoder);
    while (fgets(line, sizeof(line), stdin) != NULL) {
        char *verb = strtok(line, " \n");
        char *a = strtok(NULL, " \n");
        char *b = strtok(NULL, " \n");
        if (strcmp(verb, "limit") == 0) {
            cg_hpack_peer_limit(&encoder, (uint32_t)strtoul(a, NULL, 10));
        } else if (strcmp(verb, "room") == 0) {
            room = strtoul(a, NULL, 10);
        } else {
            if (!open) begin(room);
            open = strcmp(verb, "end") != 0;
            if (open) field(verb, a, b);
            else end();
        }
    }
    return 0;
}
