/* What conformance_server.c and conformance_client.c share: messages between
 * them and their runner, metadata as the runner writes it, and errors.
 *
 * Room is taken from fixed buffers. What does not fit ends the program: the
 * runner then says so, where a cut message might still look right.
 */
#ifndef CONFORMANCE_H
#define CONFORMANCE_H

#include "connectrpc/conformance/v1/service.pb.h"
#include "google/protobuf/any.pb.h"
#include <pb_decode.h>
#include <pb_encode.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TYPE_PREFIX "type.googleapis.com/connectrpc.conformance.v1."

static void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

/* ---- room ---- */

/* Bytes that are collected one after the other. */
typedef struct room {
    uint8_t *bytes;
    size_t len, cap;
} room;

static uint8_t *room_take(room *room, size_t len)
{
    uint8_t *at = room->bytes + room->len;
    if (len > room->cap - room->len)
        die("%lu bytes are too many for a room of %lu: enlarge it",
            (unsigned long)len, (unsigned long)room->cap);
    room->len += len;
    return at;
}

/* What is left of a field, copied into the room. */
static cgrpc_bytes room_read(room *room, pb_istream_t *stream)
{
    cgrpc_bytes out;
    uint8_t *at;
    out.len = stream->bytes_left;
    at = room_take(room, out.len);
    out.data = at;
    if (!pb_read(stream, at, out.len))
        die("cannot read %lu bytes of a field", (unsigned long)out.len);
    return out;
}

/* ---- the runner's messages: four bytes of length, then protobuf ---- */

static size_t frame_length(const uint8_t head[4])
{
    return (size_t)head[0] << 24 | (size_t)head[1] << 16 |
           (size_t)head[2] << 8 | head[3];
}

static void write_all(const uint8_t *bytes, size_t len)
{
    while (len) {
        ssize_t written = write(STDOUT_FILENO, bytes, len);
        if (written <= 0)
            die("the runner does not listen");
        bytes += written;
        len -= (size_t)written;
    }
}

/* Writes `message` to the runner, by way of `buffer`. */
static void write_frame(const pb_msgdesc_t *type, const void *message,
                        uint8_t *buffer, size_t cap)
{
    pb_ostream_t stream = pb_ostream_from_buffer(buffer + 4, cap - 4);
    size_t len;
    if (!pb_encode(&stream, type, message))
        die("cannot tell the runner: %s", PB_GET_ERROR(&stream));
    len = stream.bytes_written;
    buffer[0] = (uint8_t)(len >> 24);
    buffer[1] = (uint8_t)(len >> 16);
    buffer[2] = (uint8_t)(len >> 8);
    buffer[3] = (uint8_t)len;
    write_all(buffer, len + 4);
}

/* ---- metadata: the runner writes the values of "-bin" keys in base64 ---- */

static const char base64[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static bool is_binary(const char *key)
{
    size_t len = strlen(key);
    return len > 4 && strcmp(key + len - 4, "-bin") == 0;
}

static void base64_encode(char *out, size_t cap, const uint8_t *in, size_t len)
{
    uint32_t bits = 0;
    size_t at, had = 0, n = 0;
    if (len * 4 / 3 + 2 > cap)
        die("a -bin value of %lu bytes is too long", (unsigned long)len);
    for (at = 0; at < len; at++) {
        bits = bits << 8 | in[at];
        for (had += 8; had >= 6; had -= 6)
            out[n++] = base64[bits >> (had - 6) & 63];
    }
    if (had)
        out[n++] = base64[bits << (6 - had) & 63];
    out[n] = '\0';
}

static cgrpc_bytes base64_decode(room *room, const char *in)
{
    cgrpc_bytes out;
    uint8_t *at = room_take(room, strlen(in));
    uint32_t bits = 0;
    size_t had = 0;
    out.data = at;
    for (; *in && *in != '='; in++) {
        const char *found = strchr(base64, *in);
        if (!found)
            die("'%c' is not base64", *in);
        bits = bits << 6 | (uint32_t)(found - base64);
        had += 6;
        if (had >= 8) {
            had -= 8;
            *at++ = (uint8_t)(bits >> had);
        }
    }
    out.len = (size_t)(at - out.data);
    return out;
}

/* One value of a Header, as cgrpc takes it: the key in lower case. The texts
 * are in `room`. */
static cgrpc_metadata metadata_from(const Header *header, size_t nth,
                                    room *room)
{
    cgrpc_metadata item;
    size_t i, key_len = strlen(header->name) + 1;
    char *key = (char *)room_take(room, key_len);
    for (i = 0; i < key_len; i++)
        key[i] = header->name[i] >= 'A' && header->name[i] <= 'Z'
                     ? (char)(header->name[i] + 32) : header->name[i];
    item.key = key;
    if (is_binary(key)) {
        cgrpc_bytes value = base64_decode(room, header->value[nth]);
        item.value = value.data;
        item.len = value.len;
    } else {
        item.len = strlen(header->value[nth]);
        item.value = memcpy(room_take(room, item.len + 1), header->value[nth],
                            item.len + 1);
    }
    return item;
}

/* A field of repeated Header is encoded from what a call has received. */
typedef struct metadata_of {
    const cgrpc_call *call;
    int which;
} metadata_of;

static void header_add(Header *header, const cgrpc_metadata *item)
{
    size_t cap = sizeof(header->value[0]);
    char *out = header->value[header->value_count];
    if (header->value_count == sizeof(header->value) / cap || item->len >= cap)
        die("%s: too many or too long values", item->key);
    if (is_binary(item->key)) {
        base64_encode(out, cap, (const uint8_t *)item->value, item->len);
    } else {
        memcpy(out, item->value, item->len);
        out[item->len] = '\0';
    }
    header->value_count++;
}

/* All values of a name go into one Header. */
static bool encode_headers(pb_ostream_t *stream, const pb_field_t *field,
                           void *const *arg)
{
    static Header header;
    const metadata_of *from = (const metadata_of *)*arg;
    cgrpc_metadata item;
    size_t at = 0, nth;
    while (cgrpc_metadata_next(from->call, from->which, &at, &item)) {
        if (cgrpc_metadata_find(from->call, from->which, item.key, 0, NULL) !=
            item.value)
            continue; /* not the first of its name */
        snprintf(header.name, sizeof(header.name), "%s", item.key);
        header.value_count = 0;
        for (nth = 0; (item.value = cgrpc_metadata_find(
                           from->call, from->which, item.key, nth,
                           &item.len)) != NULL; nth++)
            header_add(&header, &item);
        if (!pb_encode_tag_for_field(stream, field) ||
            !pb_encode_submessage(stream, Header_fields, &header))
            return false;
    }
    return true;
}

/* ---- errors: Error is, on the wire, what google.rpc.Status is ---- */

/* The details are kept as they stand on the wire, tags included. */
static bool decode_details(pb_istream_t *stream, const pb_field_t *field,
                           void **arg)
{
    room *details = (room *)*arg;
    size_t len = stream->bytes_left;
    pb_ostream_t out = pb_ostream_from_buffer(details->bytes + details->len,
                                              details->cap - details->len);
    if (!pb_encode_tag(&out, PB_WT_STRING, field->tag) ||
        !pb_encode_varint(&out, len))
        die("error details of %lu bytes are too many", (unsigned long)len);
    details->len += out.bytes_written;
    room_read(details, stream);
    return true;
}

static bool encode_details(pb_ostream_t *stream, const pb_field_t *field,
                           void *const *arg)
{
    const room *details = (const room *)*arg;
    (void)field;
    return pb_write(stream, details->bytes, details->len);
}

#endif
