/* HTTP/2 by hand, for tests of what the core reads and writes. Knows nothing
 * of the core: its HPACK is a second one, plain (define CGRPC_HUFFMAN_ENCODE
 * as 0), and it judges nothing that it does not have to.
 *
 * What is read becomes a transcript, a line a frame:
 *
 *     S 3=4 4=261      SETTINGS        SA            its acknowledgement
 *     H1 a=b c=d       HEADERS         H1. a=b       ... with END_STREAM
 *     D1 \00\00hi      DATA            D1.           ... with END_STREAM
 *     R1 8             RST_STREAM      W1 100        WINDOW_UPDATE
 *     P 0102..08       PING            PA 0102..08   its acknowledgement
 *     G 7 11           GOAWAY: last stream, code
 */
#ifndef WIRE_H
#define WIRE_H

#if defined(__GNUC__)
#pragma GCC diagnostic ignored "-Wunused-function"
#endif

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING,
       GOAWAY, WINDOW_UPDATE, CONTINUATION };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4, PADDED = 8,
       WITH_PRIORITY = 32 };
enum { NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR,
       SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM,
       CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM };
enum { HEADER_TABLE_SIZE = 1, ENABLE_PUSH, MAX_CONCURRENT_STREAMS,
       INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE };

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

/* ---- bytes in the making ---- */

typedef struct wire_bytes {
    uint8_t data[1 << 18];
    size_t len;
} wire_bytes;

/* No data: zeros. */
static void wire_put(wire_bytes *out, const void *data, size_t len)
{
    if (out->len + len > sizeof(out->data)) {
        puts("wire_bytes is too small for this test");
        exit(1);
    }
    if (data && len) memcpy(out->data + out->len, data, len);
    else if (len) memset(out->data + out->len, 0, len);
    out->len += len;
}

static void wire_number(uint8_t *out, int bytes, uint32_t value)
{
    while (bytes-- > 0) {
        out[bytes] = (uint8_t)value;
        value >>= 8;
    }
}

static uint32_t wire_value(const uint8_t *in, int bytes)
{
    uint32_t value = 0;
    while (bytes-- > 0) value = value << 8 | *in++;
    return value;
}

static void wire_frame(wire_bytes *out, int type, int flags, uint32_t id,
                       const void *payload, size_t len)
{
    uint8_t head[9];
    wire_number(head, 3, (uint32_t)len);
    head[3] = (uint8_t)type;
    head[4] = (uint8_t)flags;
    wire_number(head + 5, 4, id);
    wire_put(out, head, 9);
    wire_put(out, payload, len);
}

/* One field, literal, never indexed in a table, not Huffman-coded. */
static size_t wire_field(uint8_t *out, const char *name, const void *value,
                         size_t len)
{
    size_t at = 0, name_len = strlen(name), rest;
    out[at++] = 0;
    if (name_len > 126) abort();
    out[at++] = (uint8_t)name_len;
    memcpy(out + at, name, name_len);
    at += name_len;
    out[at++] = (uint8_t)(len < 127 ? len : 127);
    if (len >= 127) {
        for (rest = len - 127; rest >= 128; rest >>= 7)
            out[at++] = (uint8_t)(rest | 128);
        out[at++] = (uint8_t)rest;
    }
    memcpy(out + at, value, len);
    return at + len;
}

/* Fields as a text: "name: value" on each line. Returns the block's length. */
static size_t wire_block(uint8_t *out, const char *fields)
{
    size_t at = 0;
    char name[128];
    while (*fields) {
        const char *end = strchr(fields, '\n');
        const char *colon = strstr(fields + 1, ": ");
        if (!end || !colon) abort();
        memcpy(name, fields, (size_t)(colon - fields));
        name[colon - fields] = 0;
        at += wire_field(out + at, name, colon + 2,
                         (size_t)(end - colon - 2));
        fields = end + 1;
    }
    return at;
}

/* ---- HPACK, the reading side ---- */

static const char *const wire_static[62][2] = {
    { "", "" }, { ":authority", "" }, { ":method", "GET" },
    { ":method", "POST" }, { ":path", "/" }, { ":path", "/index.html" },
    { ":scheme", "http" }, { ":scheme", "https" }, { ":status", "200" },
    { ":status", "204" }, { ":status", "206" }, { ":status", "304" },
    { ":status", "400" }, { ":status", "404" }, { ":status", "500" },
    { "accept-charset", "" }, { "accept-encoding", "gzip, deflate" },
    { "accept-language", "" }, { "accept-ranges", "" }, { "accept", "" },
    { "access-control-allow-origin", "" }, { "age", "" }, { "allow", "" },
    { "authorization", "" }, { "cache-control", "" },
    { "content-disposition", "" }, { "content-encoding", "" },
    { "content-language", "" }, { "content-length", "" },
    { "content-location", "" }, { "content-range", "" },
    { "content-type", "" }, { "cookie", "" }, { "date", "" }, { "etag", "" },
    { "expect", "" }, { "expires", "" }, { "from", "" }, { "host", "" },
    { "if-match", "" }, { "if-modified-since", "" }, { "if-none-match", "" },
    { "if-range", "" }, { "if-unmodified-since", "" },
    { "last-modified", "" }, { "link", "" }, { "location", "" },
    { "max-forwards", "" }, { "proxy-authenticate", "" },
    { "proxy-authorization", "" }, { "range", "" }, { "referer", "" },
    { "refresh", "" }, { "retry-after", "" }, { "server", "" },
    { "set-cookie", "" }, { "strict-transport-security", "" },
    { "transfer-encoding", "" }, { "user-agent", "" }, { "vary", "" },
    { "via", "" }, { "www-authenticate", "" }
};

typedef struct wire_entry {
    char name[256], value[2048];
} wire_entry;

typedef struct wire_reader {
    wire_entry table[128]; /* [0] is the newest */
    size_t count, used, max;
    wire_bytes in;         /* a frame that is not whole yet */
    size_t skip;           /* of the preface */
    char text[1 << 18];    /* the transcript */
    size_t text_len;
    bool failed;           /* the bytes make no sense */
    size_t inserts;        /* dynamic table entries made, ever */
    uint8_t block[1 << 16];
    size_t block_len;
} wire_reader;

static void wire_say(wire_reader *r, const char *format, ...)
{
    va_list list;
    size_t room = sizeof(r->text) - r->text_len;
    int len;
    va_start(list, format);
    len = vsnprintf(r->text + r->text_len, room, format, list);
    va_end(list);
    if (len < 0 || (size_t)len >= room) {
        puts("a transcript is too long");
        exit(1);
    }
    r->text_len += (size_t)len;
}

static void wire_say_bytes(wire_reader *r, const uint8_t *in, size_t len)
{
    for (; len--; in++)
        wire_say(r, *in > 32 && *in < 127 && *in != '\\' ? "%c" : "\\%02x",
                 *in);
}

static uint32_t wire_int(wire_reader *r, const uint8_t *in, size_t len,
                         size_t *at, int bits)
{
    uint32_t mask = (1u << bits) - 1, value = in[(*at)++] & mask;
    int shift = 0;
    if (value < mask) return value;
    for (;;) {
        if (*at >= len || shift > 21) {
            r->failed = true;
            return 0;
        }
        value += (uint32_t)(in[*at] & 127) << shift;
        shift += 7;
        if (!(in[(*at)++] & 128)) return value;
    }
}

static void wire_string(wire_reader *r, const uint8_t *in, size_t len,
                        size_t *at, char *out, size_t cap)
{
    uint32_t size;
    out[0] = 0;
    if (*at >= len) {
        r->failed = true;
        return;
    }
    if (in[*at] & 128) {
        puts("Huffman: define CGRPC_HUFFMAN_ENCODE as 0 in this test");
        r->failed = true;
        return;
    }
    size = wire_int(r, in, len, at, 7);
    if (size > len - *at || size >= cap) {
        r->failed = true;
        return;
    }
    memcpy(out, in + *at, size);
    out[size] = 0;
    *at += size;
}

static void wire_evict(wire_reader *r, size_t max)
{
    while (r->used > max) {
        const wire_entry *last = &r->table[--r->count];
        r->used -= strlen(last->name) + strlen(last->value) + 32;
    }
}

static void wire_lookup(wire_reader *r, uint32_t index, wire_entry *out)
{
    memset(out, 0, sizeof(*out));
    if (index == 0 || index > 61 + r->count) {
        r->failed = true;
    } else if (index <= 61) {
        strcpy(out->name, wire_static[index][0]);
        strcpy(out->value, wire_static[index][1]);
    } else {
        *out = r->table[index - 62];
    }
}

static void wire_insert(wire_reader *r, const wire_entry *field)
{
    size_t size = strlen(field->name) + strlen(field->value) + 32;
    r->inserts++;
    wire_evict(r, size > r->max ? 0 : r->max - size);
    if (size > r->max) return;
    memmove(r->table + 1, r->table, r->count * sizeof(r->table[0]));
    r->table[0] = *field;
    r->count++;
    r->used += size;
}

static void wire_read_block(wire_reader *r, const uint8_t *in, size_t len)
{
    size_t at = 0;
    while (at < len && !r->failed) {
        wire_entry field;
        uint8_t first = in[at];
        int bits = first & 128 ? 7 : first & 64 ? 6 : first & 32 ? 5 : 4;
        uint32_t index = wire_int(r, in, len, &at, bits);
        if (bits == 5) {
            if (index > 4096) r->failed = true;
            r->max = index;
            wire_evict(r, index);
            wire_say(r, " (table %u)", (unsigned)index);
            continue;
        }
        if (index || bits == 7) wire_lookup(r, index, &field);
        else wire_string(r, in, len, &at, field.name, sizeof(field.name));
        if (bits != 7)
            wire_string(r, in, len, &at, field.value, sizeof(field.value));
        if (r->failed) return;
        if (bits == 6) wire_insert(r, &field);
        wire_say(r, " %s=%s", field.name, field.value);
    }
}

/* ---- frames, the reading side ---- */

static void wire_read_frame(wire_reader *r, const uint8_t *in, size_t len)
{
    int type = in[3], flags = in[4];
    unsigned id = wire_value(in + 5, 4);
    size_t i;
    in += 9;
    switch (type) {
    case SETTINGS:
        wire_say(r, flags & ACK ? "SA" : "S");
        for (i = 0; i + 6 <= len; i += 6)
            wire_say(r, " %u=%u", (unsigned)wire_value(in + i, 2),
                     (unsigned)wire_value(in + i + 2, 4));
        break;
    case HEADERS:
    case CONTINUATION:
        if (type == HEADERS)
            wire_say(r, "H%u%s", id, flags & END_STREAM ? "." : "");
        else
            wire_say(r, "C%u", id);
        memcpy(r->block + r->block_len, in, len);
        r->block_len += len;
        if (!(flags & END_HEADERS)) break;
        wire_read_block(r, r->block, r->block_len);
        r->block_len = 0;
        break;
    case DATA:
        wire_say(r, "D%u%s ", id, flags & END_STREAM ? "." : "");
        wire_say_bytes(r, in, len);
        break;
    case RST_STREAM:
        wire_say(r, "R%u %u", id, (unsigned)wire_value(in, 4));
        break;
    case WINDOW_UPDATE:
        wire_say(r, "W%u %u", id, (unsigned)wire_value(in, 4));
        break;
    case PING:
        wire_say(r, flags & ACK ? "PA " : "P ");
        for (i = 0; i < len; i++) wire_say(r, "%02x", in[i]);
        break;
    case GOAWAY:
        wire_say(r, "G %u %u", (unsigned)wire_value(in, 4),
                 (unsigned)wire_value(in + 4, 4));
        break;
    default:
        wire_say(r, "?%d", type);
        break;
    }
    wire_say(r, "\n");
}

static void wire_reader_init(wire_reader *r, bool preface)
{
    r->count = r->used = r->inserts = r->text_len = r->block_len = 0;
    r->in.len = 0;
    r->max = 4096;
    r->skip = preface ? sizeof(PREFACE) - 1 : 0;
    r->failed = false;
    r->text[0] = 0;
}

static void wire_read(wire_reader *r, const uint8_t *in, size_t len)
{
    size_t at = 0, skip = len < r->skip ? len : r->skip;
    r->skip -= skip;
    wire_put(&r->in, in + skip, len - skip);
    while (r->in.len - at >= 9) {
        size_t whole = 9 + wire_value(r->in.data + at, 3);
        if (r->in.len - at < whole) break;
        wire_read_frame(r, r->in.data + at, whole - 9);
        at += whole;
    }
    memmove(r->in.data, r->in.data + at, r->in.len - at);
    r->in.len -= at;
}

/* ---- the transcript ---- */

/* The value after the first line that begins with `start`, or NULL. */
static const char *wire_line(const wire_reader *r, const char *start)
{
    const char *line = r->text;
    size_t len = strlen(start);
    while (line && *line) {
        if (strncmp(line, start, len) == 0) return line + len;
        line = strchr(line, '\n');
        if (line) line++;
    }
    return NULL;
}

static size_t wire_count(const wire_reader *r, const char *start)
{
    const char *line = r->text;
    size_t count = 0, len = strlen(start);
    while (line && *line) {
        count += strncmp(line, start, len) == 0;
        line = strchr(line, '\n');
        if (line) line++;
    }
    return count;
}

static void wire_forget(wire_reader *r)
{
    r->text_len = 0;
    r->text[0] = 0;
}

#endif
