/* nghttp2_echo.h - the echo of bench.h on libnghttp2, gRPC by hand
 *
 * As lean as its API lets it be: header fields are not copied on the way out,
 * messages are decoded and encoded in place, and one slot a stream holds what
 * must be kept.
 */
#ifndef NGHTTP2_ECHO_H
#define NGHTTP2_ECHO_H

#include "bench.h"

#include <nghttp2/nghttp2.h>
#include <string.h>

typedef struct echo_slot {
    int32_t stream;
    bool good_path, good_type, answered;
    uint8_t body[64];
    size_t body_len;
    struct echo_slot *next; /* in the free list */
} echo_slot;

#define ECHO_SLOTS 2048 /* streams at a time, over all sessions */

#define ECHO_FIELD(name, value)                                              \
    {                                                                        \
        (uint8_t *)name, (uint8_t *)value, sizeof(name) - 1,                 \
            sizeof(value) - 1,                                               \
            NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE     \
    }
#define ECHO_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define ECHO_IS(text, len, what) echo_is(text, len, what, sizeof(what) - 1)

/* A session that serves; its first SETTINGS are submitted. */
nghttp2_session *echo_server_new(void);

/* Moves what the session has to say into `out`: how many bytes. */
size_t echo_drain(nghttp2_session *session, uint8_t *out, size_t cap);

/* ---- BENCH_TEXT as a gRPC message ---- */

static inline size_t echo_message_write(uint8_t *out)
{
    static const uint8_t head[] = { 0, 0, 0, 0, BENCH_MESSAGE_LEN,
                                    0x0a, BENCH_TEXT_LEN };
    memcpy(out, head, sizeof(head));
    memcpy(out + sizeof(head), BENCH_TEXT, BENCH_TEXT_LEN);
    return sizeof(head) + BENCH_TEXT_LEN;
}

static inline bool echo_message_check(const uint8_t *in, size_t len)
{
    return len == 5 + BENCH_MESSAGE_LEN && in[0] == 0 &&
           in[4] == BENCH_MESSAGE_LEN && in[5] == 0x0a &&
           in[6] == BENCH_TEXT_LEN &&
           memcmp(in + 7, BENCH_TEXT, BENCH_TEXT_LEN) == 0;
}

static inline void echo_body_append(echo_slot *slot, const uint8_t *data,
                                    size_t len)
{
    if (len > sizeof(slot->body) - slot->body_len)
        len = sizeof(slot->body) - slot->body_len;
    memcpy(slot->body + slot->body_len, data, len);
    slot->body_len += len;
}

static inline bool echo_is(const uint8_t *text, size_t len, const char *what,
                           size_t what_len)
{
    return len == what_len && memcmp(text, what, len) == 0;
}

#endif
