/* bench.h - one unary echo after another, in memory
 *
 * bench_main.c does the call; a peer_*.c has both ends of it on one library.
 * No socket, no clock: what is counted is the protocol and nothing else.
 *
 * The call: /perf.Echo/Unary, Msg { string payload = 1; } with 16 characters
 * each way, eight header fields in the request:
 *     :method :scheme :path :authority te content-type user-agent
 *     grpc-accept-encoding
 *
 * Each function of a peer moves what it makes into `out` and returns how many
 * bytes that is. Bytes that arrive come in one piece.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_TEXT "0123456789abcdef"
#define BENCH_TEXT_LEN 16
#define BENCH_MESSAGE_LEN (BENCH_TEXT_LEN + 2) /* as Protobuf */

typedef struct bench_peer {
    /* Both ends, not connected: the first bytes come from `idle`. */
    void (*init)(void);
    /* Client: eats `in`, sends what is due besides calls (preface, SETTINGS,
     * acks). */
    size_t (*idle)(const uint8_t *in, size_t in_len, uint8_t *out,
                   size_t out_cap);
    /* Client: begins a call with BENCH_TEXT. */
    size_t (*begin)(uint8_t *out, size_t out_cap);
    /* Client: eats the answer; true: the call ended well, with BENCH_TEXT. */
    bool (*end)(const uint8_t *in, size_t in_len);
    /* Server: eats `in`, answers. */
    size_t (*serve)(const uint8_t *in, size_t in_len, uint8_t *out,
                    size_t out_cap);
} bench_peer;

extern const bench_peer bench_cgrpc, bench_nghttp2;

#endif
