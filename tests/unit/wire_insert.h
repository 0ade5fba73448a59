/* Header blocks that enter fields into the reader's dynamic table, or refer
 * to it. Included after a rig; insert_begin(), fields, then insert_send(). */
#ifndef WIRE_INSERT_H
#define WIRE_INSERT_H

#define REQUEST_FIELDS(method) ":method: POST\n:scheme: http\n" \
    ":path: /t.T/" method "\ncontent-type: application/grpc\n"

static uint8_t insert_block[1024];
static uint8_t insert_bytes[1024]; /* the frame */
static size_t insert_block_len, insert_len;

/* Plain fields come first: lines as wire_block() takes them. */
static void insert_begin(const char *fields)
{
    insert_block_len = wire_block(insert_block, fields);
}

static void insert_field(const char *name, const char *value)
{
    uint8_t *at = insert_block + insert_block_len;
    insert_block_len += wire_field(at, name, value, strlen(value));
    *at = 0x40;
}

/* The newest entry is 62. */
static void insert_index(unsigned index)
{
    insert_block[insert_block_len++] = (uint8_t)(0x80 | index);
}

/* The HEADERS frame into insert_bytes; what follows it is up to the test. */
static void insert_frame(uint32_t id, int flags)
{
    static wire_bytes out;
    out.len = 0;
    wire_frame(&out, HEADERS, flags | END_HEADERS, id, insert_block,
               insert_block_len);
    insert_len = out.len;
    memcpy(insert_bytes, out.data, insert_len);
}

static void insert_send(uint32_t id, int flags)
{
    insert_frame(id, flags);
    put(insert_bytes, insert_len);
}

#endif
