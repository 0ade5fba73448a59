/* Shows what the header's own HPACK decoder reads.
 *
 * Reads lines from stdin, all for one connection:
 *   table N     our limit is N bytes now, and the peer has acknowledged it
 *   wire HEX    a header block
 * and prints `name: value` for each field, byte for byte, and an empty line
 * after each block. A compression error prints `error` and exits with 1.
 *
 *   cc -std=c99 -I. tests/unit/hpack_peek.c -o hpack_peek
 */
#define CGRPC_IMPLEMENTATION
#define CGRPC_NANOPB 0
#define CGRPC_METADATA_ALL 2
#define CGRPC_METADATA_BYTES 32768
#define CGRPC_HPACK_TABLE_BYTES 16384
#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wunused-function"
#endif
#include "cgrpc.h"

#include "hpack_walk.h"

#include <stdio.h>
#include <stdlib.h>

static uint8_t store[65535], memory[65535];
static cgrpc_arena arena = { memory, 0, 65535 };
static char line[1 << 20];
static uint8_t wire[1 << 19];

/* Each field leaves one record, which is printed and thrown away. */
static void show(uint8_t name, uint32_t value, unsigned flags)
{
    cg_record r;
    (void)name, (void)value;
    if (arena.len == 0) {
        printf("lost: flags %u\n", flags);
        return;
    }
    cg_record_read(memory, &r);
    fwrite(r.key, 1, r.key_len, stdout);
    fputs(": ", stdout);
    fwrite(r.value, 1, r.value_len, stdout);
    putchar('\n');
    arena.len = 0;
}

static int digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static size_t unhex(const char *hex)
{
    size_t len = 0;
    for (; digit(hex[0]) >= 0 && digit(hex[1]) >= 0; hex += 2)
        wire[len++] = (uint8_t)(digit(hex[0]) << 4 | digit(hex[1]));
    return len;
}

static bool block(cgrpc_hpack_decoder *d, size_t len)
{
    cg_hpack_begin(d, &arena, CG_IN_INITIAL);
    return hpack_walk(d, wire, len, show) && cg_hpack_end(d);
}

int main(void)
{
    static cgrpc_vocabulary vocabulary;
    static cgrpc_hpack_decoder decoder;
    cg_vocabulary_init(&vocabulary, NULL, 0);
    cg_hpack_init(&decoder, &vocabulary, store, sizeof(store));
    while (fgets(line, sizeof(line), stdin) != NULL) {
        if (strncmp(line, "table ", 6) == 0) {
            cg_hpack_limit(&decoder, strtoul(line + 6, NULL, 10));
        } else if (strncmp(line, "wire", 4) == 0) {
            if (!block(&decoder, unhex(line + (line[4] == ' ' ? 5 : 4)))) {
                puts("error");
                return 1;
            }
            putchar('\n');
        }
    }
    return 0;
}
