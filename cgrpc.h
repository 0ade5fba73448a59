/* cgrpc.h - a gRPC server and client for microcontrollers, in one C99 header
 *
 * WHAT IT IS
 *   All four kinds of RPC, on both sides, over real HTTP/2 (RFC 9113) with
 *   real HPACK (RFC 7541): deadlines, cancellation, metadata, flow control,
 *   status details. Messages are nanopb structs or raw bytes. It is made to
 *   talk to every other gRPC implementation as that one is: the tests run
 *   gRPC's interop cases with eight of them, in both directions.
 *   No heap, no threads, no mutable globals. The core does no I/O: it eats
 *   bytes, makes bytes and asks for the time; port/ joins it to sockets.
 *   All RAM stands in objects that you define, so sizeof and the linker's
 *   map tell the whole truth.
 *
 * WHAT IT IS NOT
 *   No TLS of its own (a port wraps any stream), no HTTP/1.1, no
 *   compression of messages, no load balancing, no name resolution. No
 *   protobuf: nanopb does that, and protoc-gen-cgrpc makes typed functions
 *   and tables from the services of a .proto.
 *
 * IN A BUILD
 *   In exactly one source file (nanopb's pb_encode.c, pb_decode.c and
 *   pb_common.c are compiled beside it):
 *
 *       #define CGRPC_IMPLEMENTATION
 *       #include "cgrpc.h"
 *
 *   and in all others that use it just the #include. Or CMake's
 *   find_package(cgrpc) or FetchContent, and the target cgrpc::cgrpc. Code
 *   of a service:
 *
 *       protoc --nanopb_out=. --cgrpc_out=. \
 *              --plugin=cgrpc/tools/protoc-gen-cgrpc hello.proto
 *
 *   Strings, bytes and repeated fields want a size in hello.options
 *   ("hello.HelloRequest.name max_size:32"), or nanopb makes callbacks of
 *   them.
 *
 * A SERVER
 *
 *     #define CGRPC_IMPLEMENTATION
 *     #include "cgrpc_posix.h"
 *     #include "hello.cgrpc.h"
 *
 *     static cgrpc_status say_hello(cgrpc_call *call,
 *                                   const hello_HelloRequest *in,
 *                                   hello_HelloReply *out)
 *     {
 *         (void)call;
 *         snprintf(out->message, sizeof out->message, "Hello, %s", in->name);
 *         return CGRPC_OK;
 *     }
 *
 *     static const hello_Greeter_handlers handlers = { say_hello };
 *     static const cgrpc_serving services[] = {
 *         hello_Greeter_SERVING(&handlers) };
 *     CGRPC_SERVER_DEFINE(server, 2, 4, hello_Greeter_RX_BYTES, 256,
 *                         hello_Greeter_SCRATCH);
 *     CGRPC_POSIX_DEFINE(posix, 2);
 *
 *     int main(void)
 *     {
 *         cgrpc_server_desc desc = { 0 };
 *         desc.port = cgrpc_posix_port(&posix);
 *         desc.services = services;
 *         desc.service_count = 1;
 *         if (cgrpc_posix_init(&posix) || cgrpc_server_init(&server, &desc) ||
 *             cgrpc_posix_listen(&posix, &server, "127.0.0.1:50051"))
 *             return 1;  CGRPC_LOG and cgrpc_posix_error(&posix) say why
 *         cgrpc_posix_serve(&posix);
 *         return 0;
 *     }
 *
 * A CLIENT
 *
 *     CGRPC_CHANNEL_DEFINE(channel, hello_Greeter_MAX_REPLY, 256);
 *     ...                                          with `posix` as above
 *     cgrpc_channel_desc desc = { 0 };
 *     desc.port = cgrpc_posix_port(&posix);
 *     desc.target = "127.0.0.1:50051";
 *     cgrpc_channel_init(&channel, &desc);
 *     hello_HelloRequest in = { "world" };
 *     hello_HelloReply out;
 *     cgrpc_options options = { 0 };
 *     options.timeout_ms = 1000;
 *     if (hello_Greeter_SayHello(&channel, &in, &out, &options) == CGRPC_OK)
 *         puts(out.message);
 *     else
 *         puts(cgrpc_channel_message(&channel));
 *
 *   Without blocking: hello_Greeter_SayHello_start() with a CGRPC_CALL_DEFINE
 *   of your own and a `done` hook, and cgrpc_channel_poll() in your loop.
 *
 * HANDLERS CAN BE CALLED AGAIN
 *   A handler is a plain function that does what it can and says how it
 *   left: a status (the call ends), CGRPC_PENDING (cannot go on: call me
 *   again with the same arguments) or, where messages stream in, CGRPC_NEXT
 *   (done with this one). The loop calls it when a message has come, when
 *   room has opened for a reply that found none, or when cgrpc_call_wake()
 *   was called. So no stack is kept per call, and a loop still looks like a
 *   loop:
 *
 *     static cgrpc_status list(cgrpc_call *call, const Rectangle *area)
 *     {
 *         size_t *at = cgrpc_call_state(call);    zeroed as the call began
 *         for (; *at < count; ++*at)
 *             if (inside(&all[*at], area) && !List_reply(call, &all[*at]))
 *                 return CGRPC_PENDING;           no room: go on from here
 *         return CGRPC_OK;
 *     }
 *
 *   - Unary and server-streaming handlers start when the request is whole.
 *   - `in` is decoded anew each time, `out` is zeroed each time; what must
 *     outlive a return belongs into cgrpc_call_state().
 *   - in == NULL: client streaming: the peer has ended, fill `out`; bidi:
 *     woken, or ended (cgrpc_recv_ended()).
 *   - A message is sent whole or not at all. One that no buffer or window
 *     holds whole goes out in parts, each part by encoding it again: about
 *     size / room encodings. Offer the same message until true; one that
 *     changed meanwhile resets its stream.
 *   - A cancelled call's handler is not called again; its cgrpc_call_on_end
 *     hook runs exactly once. Never block in a handler: blocking calls
 *     refuse with FAILED_PRECONDITION there.
 *   - Callback fields of nanopb are set by the generated `arm` hooks, before
 *     each decoding, and must be repeatable.
 *
 * RAM (bytes, 32-bit; `tools/size` prints the exact ones)
 *   a server       CONNS * (sizeof(cgrpc_conn) + TX_BYTES + 64 + METADATA)
 *                + CALLS * (sizeof(cgrpc_call) + RX_BYTES + 5 + METADATA
 *                           + STATE) + SCRATCH + sizeof(cgrpc_server)
 *   a channel      sizeof(cgrpc_channel) + sizeof(cgrpc_conn) + TX_BYTES
 *                + 64 + METADATA + one client call
 *   a client call  sizeof(cgrpc_call) + RX_BYTES + 5 + METADATA
 *   CGRPC_METADATA_BYTES   METADATA above: once a call, once a connection
 *   CGRPC_STATE_BYTES      STATE above: once a server's call
 *   CGRPC_HPACK_TABLE_BYTES  a quarter of it once a connection
 *   CGRPC_HPACK_CACHE      a pointer and a byte each, once a connection
 *   Every other macro changes flash or behaviour only: see >>config.
 *
 * THREADS
 *   One loop (a task, a super-loop, a thread) owns a port with its servers
 *   and channels, and calls every function. Only cgrpc_call_wake() may be
 *   called from elsewhere, an ISR included: it writes two bytes. Wake the
 *   loop itself by the port's own means.
 *
 * TIME
 *   cgrpc_server_poll() and cgrpc_channel_poll() return the milliseconds
 *   after which they must run again though no byte has moved, so that a
 *   tickless device can sleep.
 *
 * ERRORS
 *   Two kinds, never mixed: cgrpc_result is what happened here (negative),
 *   cgrpc_status (0 to 16) is what travels. CGRPC_LOG receives a line for
 *   what somebody must mend (a size too small, a handler's mistake), with
 *   the remedy, and for connections and calls that were refused.
 *
 * WHAT IS TRUSTED
 *   The peer is not: whatever arrives is answered by a correct protocol
 *   error, in bounded time and memory. The caller is: pointers, and the rule
 *   that an object belongs to one loop, are not checked. Decoding is as safe
 *   as nanopb's; bound your fields (max_size) rather than using callbacks.
 *
 * THE FILE
 *   >>config       macros: features, defaults, their cost
 *   >>types        status, result, method and service tables
 *   >>port         what a platform gives: cgrpc_io, cgrpc_port
 *   >>call_api     the verbs that both sides share; metadata
 *   >>client_api   cgrpc_channel
 *   >>server_api   cgrpc_server
 *   >>objects      what the structs hold
 *   then, where CGRPC_IMPLEMENTATION is defined, each calling only what
 *   stands above it:
 *   >>base >>hpack >>metadata   bytes, header compression, metadata
 *   >>frame >>flow >>stream >>conn   HTTP/2
 *   >>grpc >>call >>client >>server  gRPC
 *
 * LICENSE: MIT, see the end of the file.
 */
#ifndef CGRPC_H
#define CGRPC_H

#define CGRPC_VERSION_MAJOR 0
#define CGRPC_VERSION_MINOR 1
#define CGRPC_VERSION_PATCH 0
/* Generated code and header must agree on this number. */
#define CGRPC_GENERATED_VERSION 1

#ifdef CGRPC_CONFIG_H
#include CGRPC_CONFIG_H
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ======================================================================
 * >>config
 *
 * Macros choose features and defaults; the sizes of one server, channel or
 * call are chosen where it is defined. Set any of these before the header,
 * on the command line, or in the file that CGRPC_CONFIG_H names.
 * ====================================================================== */

/* The two roles. One that is off costs no flash. */
#ifndef CGRPC_SERVER
#define CGRPC_SERVER 1
#endif
#ifndef CGRPC_CLIENT
#define CGRPC_CLIENT 1
#endif

/* nanopb messages. Off: every method carries raw bytes (cgrpc_bytes). */
#ifndef CGRPC_NANOPB
#define CGRPC_NANOPB 1
#endif

/* Texts of cgrpc_result_text and cgrpc_status_text, and the reasons that
 * travel in grpc-message. About 2.1 KB of flash. */
#ifndef CGRPC_ERROR_TEXTS
#define CGRPC_ERROR_TEXTS 1
#endif

/* 1: keep the text of all metadata, not of registered keys only. About 0.3 KB
 * of flash, and a larger CGRPC_METADATA_BYTES: a request of grpc-go brings
 * about 60 bytes. (2 keeps every field as it came, for tests of the
 * decoder.) */
#ifndef CGRPC_METADATA_ALL
#define CGRPC_METADATA_ALL 0
#endif

/* Huffman-code the texts that are sent where that is shorter. About 0.2 KB of
 * flash. */
#ifndef CGRPC_HUFFMAN_ENCODE
#define CGRPC_HUFFMAN_ENCODE 1
#endif

/* Send messages that no buffer or window holds whole, by encoding them
 * several times. Off, such a message is refused with RESOURCE_EXHAUSTED.
 * About 0.1 KB of flash. */
#ifndef CGRPC_REPLAY
#define CGRPC_REPLAY 1
#endif

/* The HPACK table that a peer may use on us: 8 bytes of RAM a connection for
 * every 32 of it. 4096 is what every peer may assume from its first byte. */
#ifndef CGRPC_HPACK_TABLE_BYTES
#define CGRPC_HPACK_TABLE_BYTES 4096
#endif

/* Header fields that our side keeps in the peer's table: a pointer and a byte
 * of RAM a connection each. */
#ifndef CGRPC_HPACK_CACHE
#define CGRPC_HPACK_CACHE 8
#endif

/* Bytes of metadata a call may hold, both directions, and of metadata text
 * a connection remembers. RAM: this once a call and once a connection. */
#ifndef CGRPC_METADATA_BYTES
#define CGRPC_METADATA_BYTES 128
#endif

/* Bytes that a server keeps a call for the handler: cgrpc_call_state(). */
#ifndef CGRPC_STATE_BYTES
#define CGRPC_STATE_BYTES 32
#endif

/* A peer that takes nothing for so long while something waits is dropped. */
#ifndef CGRPC_STALL_MS
#define CGRPC_STALL_MS 60000
#endif

/* Cheap frames (pings, resets, empty DATA ...) a peer may send in a burst;
 * each message refills, and so does time: this many again every 30 seconds. */
#ifndef CGRPC_ABUSE_BURST
#define CGRPC_ABUSE_BURST 4000
#endif

/* CGRPC_LOG(level, ...): the one log hook, printf-style, e.g.
 *   #define CGRPC_LOG(level, ...) my_log(level, __VA_ARGS__)
 * level 0: an error that someone must mend, 1: a refusal. Texts end in "\n".
 * Not defined: no text reaches the flash. */
#ifndef CGRPC_LOG
#define CGRPC_LOG(level, ...) ((void)0)
#endif

#if CGRPC_HPACK_TABLE_BYTES < 4096 || CGRPC_HPACK_TABLE_BYTES > 16384
#error "CGRPC_HPACK_TABLE_BYTES must be 4096 to 16384: peers begin with 4096"
#endif
#if CGRPC_HPACK_CACHE < 4 || CGRPC_HPACK_CACHE > 64
#error "CGRPC_HPACK_CACHE must be 4 to 64"
#endif
#if CGRPC_METADATA_BYTES < 32 || CGRPC_METADATA_BYTES > 32768
#error "CGRPC_METADATA_BYTES must be 32 to 32768"
#endif
#if CGRPC_STATE_BYTES < 8 || CGRPC_STATE_BYTES > 65536
#error "CGRPC_STATE_BYTES must be 8 to 65536"
#endif
#if CGRPC_ABUSE_BURST < 100
#error "CGRPC_ABUSE_BURST must be at least 100: honest peers ping a lot"
#endif
#if !CGRPC_SERVER && !CGRPC_CLIENT
#error "CGRPC_SERVER and CGRPC_CLIENT are both 0: leave at least one of them on"
#endif

/* ======================================================================
 * >>types
 * ====================================================================== */

#ifdef __cplusplus
extern "C" {
#endif

/* What travels: the gRPC status of a call. A handler may also return one of
 * the two values at the end, which never travel. */
typedef enum cgrpc_status {
    CGRPC_OK = 0,
    CGRPC_CANCELLED = 1,
    CGRPC_UNKNOWN = 2,
    CGRPC_INVALID_ARGUMENT = 3,
    CGRPC_DEADLINE_EXCEEDED = 4,
    CGRPC_NOT_FOUND = 5,
    CGRPC_ALREADY_EXISTS = 6,
    CGRPC_PERMISSION_DENIED = 7,
    CGRPC_RESOURCE_EXHAUSTED = 8,
    CGRPC_FAILED_PRECONDITION = 9,
    CGRPC_ABORTED = 10,
    CGRPC_OUT_OF_RANGE = 11,
    CGRPC_UNIMPLEMENTED = 12,
    CGRPC_INTERNAL = 13,
    CGRPC_UNAVAILABLE = 14,
    CGRPC_DATA_LOSS = 15,
    CGRPC_UNAUTHENTICATED = 16,
    CGRPC_PENDING = 100,  /* cannot go on: call me again, same arguments */
    CGRPC_NEXT = 101      /* done with this message, the call goes on */
} cgrpc_status;

/* What happened here: zero, or a negative reason. */
typedef enum cgrpc_result {
    CGRPC_SUCCESS = 0,
    CGRPC_E_ARGUMENT = -1, /* an argument makes no sense */
    CGRPC_E_CONFIG = -2,   /* an instance was defined too small or wrongly */
    CGRPC_E_LAYOUT = -3,   /* two files see cgrpc.h with different macros */
    CGRPC_E_ROOM = -4,     /* it does not fit the memory given */
    CGRPC_E_STATE = -5,    /* not now: the call is in use, or has ended */
    CGRPC_E_BUSY = -6,     /* all connections are taken */
    CGRPC_E_CLOSED = -7,   /* the peer has closed the byte stream */
    CGRPC_E_IO = -8        /* the byte stream failed */
} cgrpc_result;

typedef enum cgrpc_recv_result {
    CGRPC_WAIT = 0, /* nothing yet */
    CGRPC_GOT = 1,  /* a message */
    CGRPC_END = 2   /* no more: see cgrpc_call_status() */
} cgrpc_recv_result;

typedef struct cgrpc_bytes {
    const uint8_t *data;
    size_t len;
} cgrpc_bytes;

typedef struct cgrpc_call cgrpc_call;
typedef struct cgrpc_conn cgrpc_conn;
typedef struct cgrpc_server cgrpc_server;
typedef struct cgrpc_channel cgrpc_channel;
struct pb_msgdesc_s;

/* One method of a service; protoc-gen-cgrpc writes these. A descriptor that
 * is NULL makes that direction raw: the message is then a cgrpc_bytes. */
enum { CGRPC_UNARY = 0, CGRPC_CLIENT_STREAM = 1, CGRPC_SERVER_STREAM = 2,
       CGRPC_BIDI = 3 };
typedef struct cgrpc_method {
    const char *path; /* "/package.Service/Method" */
    const struct pb_msgdesc_s *in, *out;
    size_t in_size, out_size; /* sizeof the structs */
    uint8_t kind;
} cgrpc_method;

/* A service: its methods, and how to reach a handler of it. */
typedef struct cgrpc_service {
    unsigned version; /* CGRPC_GENERATED_VERSION when it was generated */
    const char *name; /* "package.Service" */
    const cgrpc_method *methods;
    size_t method_count;
    cgrpc_status (*run)(const void *handlers, size_t method, cgrpc_call *call,
                        const void *in, void *out);
    /* sets nanopb callbacks in `in` before each decoding; may be NULL */
    void (*arm)(const void *handlers, size_t method, cgrpc_call *call,
                void *in);
} cgrpc_service;

/* A service and the handlers that serve it. The array of these belongs to
 * the user; a test may exchange the handlers while no call is in flight. */
typedef struct cgrpc_serving {
    const cgrpc_service *service;
    const void *handlers; /* the generated struct of function pointers */
} cgrpc_serving;

#define CGRPC_MAX(a, b) ((a) > (b) ? (a) : (b))

/* Memory of any alignment. */
typedef union cgrpc_word {
    uint64_t u64;
    double real;
    void *pointer;
} cgrpc_word;
#define CGRPC_WORDS(bytes)                                                \
    (((bytes) + sizeof(cgrpc_word) - 1) / sizeof(cgrpc_word))

/* ======================================================================
 * >>port
 *
 * What a platform gives. A port is a small header of its own (port/); it
 * needs nothing but this section and cgrpc_server_accept().
 * ====================================================================== */

/* A byte stream. Every function returns at once.
 *
 * peek   points *data at bytes that have arrived and returns how many; they
 *        stay there until taken. 0: none yet. CGRPC_E_CLOSED: the peer has
 *        ended and all was taken. CGRPC_E_IO: failed.
 * take   frees the first `len` of the bytes last shown.
 * send   takes up to `len` bytes and returns how many. 0: none now.
 *        Negative: failed. A stream still connecting takes 0.
 * close  ends the stream; what was sent still goes out where that is
 *        possible. Called exactly once, after which nothing is called. */
typedef struct cgrpc_io_ops {
    int (*peek)(void *io, const uint8_t **data);
    void (*take)(void *io, size_t len);
    int (*send)(void *io, const uint8_t *data, size_t len);
    void (*close)(void *io);
} cgrpc_io_ops;

typedef struct cgrpc_io {
    const cgrpc_io_ops *ops;
    void *context;
} cgrpc_io;

/* The platform: one of these a loop, shared by its servers and channels.
 * `now` counts milliseconds and may wrap. Only channels need
 * `connect` (starts a stream to `target`, returns at once; CGRPC_SUCCESS or
 * a reason) and only blocking calls need `wait` (sleeps until a stream of
 * this port can move or `ms` have passed). */
typedef struct cgrpc_port {
    uint32_t (*now)(void *context);
    void (*wait)(void *context, uint32_t ms);
    cgrpc_result (*connect)(void *context, const char *target, cgrpc_io *io);
    void *context;
    bool in_handler; /* the core's: a blocking call is refused meanwhile */
} cgrpc_port;

/* ======================================================================
 * >>call_api    the verbs that client and server share
 * ====================================================================== */

/* Sends one message: all of it or nothing. false: not now; on a server,
 * return CGRPC_PENDING and be called again when there is room; on a client,
 * cgrpc_wait(). A message that is larger than every buffer and window goes
 * out in parts while false is returned: offer the *same* message again until
 * true, so keep a copy (in the call's state, say) of what may change
 * meanwhile. Also false, for good, once the call has ended. */
bool cgrpc_send(cgrpc_call *call, const void *message);

/* Client: no more messages from us. */
void cgrpc_send_end(cgrpc_call *call);

/* Client: takes the next message, if one is there. */
cgrpc_recv_result cgrpc_recv(cgrpc_call *call, void *message);

/* Server: the peer will send no more messages and all were handled. */
bool cgrpc_recv_ended(const cgrpc_call *call);

/* Server: `return cgrpc_fail(call, CGRPC_NOT_FOUND, "no such point");`
 * The text is copied into the call's metadata memory, cut where that is
 * full; NULL leaves it out. Returns `status`. */
cgrpc_status cgrpc_fail(cgrpc_call *call, cgrpc_status status,
                        const char *text);

/* Server: the bytes of a google.rpc.Status that go with the failure, as
 * grpc-status-details-bin. They are copied into the call's metadata memory. */
cgrpc_result cgrpc_fail_details(cgrpc_call *call, const void *details,
                                size_t len);

/* A handler that returned CGRPC_PENDING or CGRPC_NEXT is called again soon.
 * Two volatile bytes are written: safe from an ISR or another thread, which
 * must wake the loop by its port's own means. Spurious wakes are harmless. */
void cgrpc_call_wake(cgrpc_call *call);

/* Ends the call now, CANCELLED: a client's `done` runs before this returns,
 * and the call may then be used anew. */
void cgrpc_call_cancel(cgrpc_call *call);

/* Server: memory that was zeroed when the call began; CGRPC_STATE_BYTES. */
void *cgrpc_call_state(cgrpc_call *call);

/* `hook` runs exactly once when the call ends, however it ends, before the
 * slot is used anew. */
typedef void (*cgrpc_end_hook)(cgrpc_call *call, cgrpc_status status);
void cgrpc_call_on_end(cgrpc_call *call, cgrpc_end_hook hook);

/* A pointer of the user's own. */
void cgrpc_call_set_user(cgrpc_call *call, void *user);
void *cgrpc_call_user(const cgrpc_call *call);

/* The call is over (client: and nothing is left to receive). */
bool cgrpc_call_ended(const cgrpc_call *call);
cgrpc_status cgrpc_call_status(const cgrpc_call *call);
/* Milliseconds until the deadline; 0 when passed, UINT32_MAX without one. */
uint32_t cgrpc_call_time_left(const cgrpc_call *call);
/* The clock of the call's port, in milliseconds; it wraps. */
uint32_t cgrpc_call_now(const cgrpc_call *call);
const cgrpc_method *cgrpc_call_method(const cgrpc_call *call);
/* The peer's address as the port wrote it. */
const char *cgrpc_call_peer(const cgrpc_call *call);
/* Server: what the client calls this host, kept if ":authority" is among
 * the registered keys; otherwise "". */
const char *cgrpc_call_authority(const cgrpc_call *call);

/* Metadata. Keys are lower case; those ending in "-bin" carry any bytes, here
 * always decoded. Text values end in a NUL that `len` does not count.
 * What arrives is kept for registered keys only (cgrpc_server_desc.keys,
 * cgrpc_channel_desc.keys) unless CGRPC_METADATA_ALL is 1. */
enum { CGRPC_INITIAL = 1, CGRPC_TRAILING = 2 };

/* The `nth` value (from 0) that the peer sent for `key`, or NULL. */
const char *cgrpc_metadata_find(const cgrpc_call *call, int which,
                                const char *key, size_t nth, size_t *len);

/* Walks over all that the peer sent: start with *at == 0. */
typedef struct cgrpc_metadata {
    const char *key;
    const void *value;
    size_t len; /* of value; 0 with a text value when adding: up to its NUL */
} cgrpc_metadata;
bool cgrpc_metadata_next(const cgrpc_call *call, int which, size_t *at,
                         cgrpc_metadata *out);

/* Adds metadata to send. Server: CGRPC_INITIAL until the first message or
 * cgrpc_send_initial(), CGRPC_TRAILING until the handler's last return.
 * Clients use cgrpc_options. CGRPC_E_ROOM: see CGRPC_METADATA_BYTES. */
cgrpc_result cgrpc_metadata_add(cgrpc_call *call, int which,
                                const char *key, const void *value,
                                size_t len);

/* Server: sends the initial metadata now, before the first message.
 * false: no room now, as with cgrpc_send(). */
bool cgrpc_send_initial(cgrpc_call *call);

/* Client: the text of grpc-message ("" if none). */
const char *cgrpc_call_message(const cgrpc_call *call);
/* Client: grpc-status-details-bin, a google.rpc.Status (len 0 if none). */
cgrpc_bytes cgrpc_call_details(const cgrpc_call *call);

const char *cgrpc_result_text(cgrpc_result result);
const char *cgrpc_status_text(cgrpc_status status);

/* ======================================================================
 * >>client_api
 * ====================================================================== */

/* All of it may be zero. Copied where it must outlive the start. */
typedef struct cgrpc_options {
    uint32_t timeout_ms;            /* 0: no deadline */
    const cgrpc_metadata *metadata; /* sent with the request */
    size_t metadata_count;
    bool wait_for_ready; /* wait for a connection instead of UNAVAILABLE */
    void *user;          /* cgrpc_call_user() */
} cgrpc_options;

/* Runs once, when a call has ended and all of its answer was received. */
typedef cgrpc_end_hook cgrpc_done;

/* What the generated, typed functions call.
 *
 * cgrpc_start    begins a call. `request` is the one message of a unary or
 *                server-streaming call and stays the caller's, unchanged,
 *                until the call ends; otherwise NULL. `response` receives
 *                the answer of a unary call before `done` runs, or is NULL
 *                and cgrpc_recv() takes it. `done` may be NULL. A call that
 *                could not be started is over, and its status says why.
 * cgrpc_unary    begins, waits for and ends a unary call. Never inside a
 *                handler or hook of the same channel.
 * cgrpc_wait     runs the channel until `call` can go on (a message came,
 *                room opened) or `ms` have passed. false: the call ended, or
 *                this is no place to wait (CGRPC_LOG says why). */
cgrpc_result cgrpc_start(cgrpc_channel *channel, cgrpc_call *call,
                         const cgrpc_method *method, const void *request,
                         void *response, cgrpc_done done,
                         const cgrpc_options *options);
cgrpc_status cgrpc_unary(cgrpc_channel *channel, const cgrpc_method *method,
                         const void *request, void *response,
                         const cgrpc_options *options);
bool cgrpc_wait(cgrpc_call *call, uint32_t ms);

/* Why the last blocking call failed: the server's words, or ours. */
const char *cgrpc_channel_message(const cgrpc_channel *channel);

/* A client's call with the memory it receives into:
 *     CGRPC_CALL_DEFINE(watch, 512);      messages of up to 512 bytes
 *     cgrpc_result r = Svc_Watch_start(&channel, &watch, &request, NULL);
 * One call object carries one call at a time and may be used again. */
#define CGRPC_CALL_DEFINE(name, RX_BYTES)                                 \
    static uint8_t name##_memory[CGRPC_CALL_BYTES(RX_BYTES)];             \
    static cgrpc_call name = CGRPC_CALL_INIT(name##_memory)
/* The same at run time, for memory that comes from elsewhere. */
void cgrpc_call_init(cgrpc_call *call, uint8_t *memory, size_t bytes);

typedef struct cgrpc_channel_desc {
    cgrpc_port *port;
    const char *target;    /* as the port's connect understands it */
    const char *authority; /* NULL: the target */
    const char *user_agent; /* NULL: "cgrpc/VERSION" */
    bool tls;              /* the stream is encrypted: ":scheme https" */
    const char *const *keys; /* metadata to keep: answers and trailers */
    size_t key_count;
} cgrpc_channel_desc;

/* Declares a channel: RX_BYTES is the largest message that a blocking call
 * may receive, TX_BYTES the buffer that what is sent waits in. */
typedef struct cgrpc_channel_memory {
    cgrpc_conn *conn;
    cgrpc_call *call; /* carries the blocking calls */
    uint8_t *conn_bytes, *call_bytes;
    size_t conn_size, call_size;
} cgrpc_channel_memory;
#define CGRPC_CHANNEL_DEFINE(name, RX_BYTES, TX_BYTES)                    \
    static cgrpc_conn name##_conn;                                        \
    static cgrpc_call name##_call;                                        \
    static uint8_t name##_conn_bytes[CGRPC_CONN_BYTES(TX_BYTES)];         \
    static uint8_t name##_call_bytes[CGRPC_CALL_BYTES(RX_BYTES)];         \
    static const cgrpc_channel_memory name##_memory = {                   \
        &name##_conn, &name##_call, name##_conn_bytes,                    \
        name##_call_bytes, sizeof(name##_conn_bytes),                     \
        sizeof(name##_call_bytes) };                                      \
    static cgrpc_channel name = CGRPC_INIT(cgrpc_channel, &name##_memory)

/* `desc` is copied; what it points to must outlive the channel. No byte
 * moves before the first call. */
#define cgrpc_channel_init(channel, desc)                                 \
    cgrpc_channel_init_((channel), (desc), CGRPC_LAYOUT)
cgrpc_result cgrpc_channel_init_(cgrpc_channel *channel,
                                 const cgrpc_channel_desc *desc,
                                 size_t layout);

/* Moves bytes, runs `done` hooks, fires deadlines. Returns the milliseconds
 * after which it must run again though no byte has moved (UINT32_MAX:
 * never; 0: at once). A poll may itself end the call that you wait for: look
 * at cgrpc_call_ended() before you sleep. */
uint32_t cgrpc_channel_poll(cgrpc_channel *channel);

/* One connection a channel: when a server says that it is going away, calls
 * in flight finish on the old connection, and new ones wait until the last of
 * them has ended. A long stream then holds them up; end it, or give it a
 * channel of its own. */

/* Ends every call (CANCELLED) and the connection. The channel may be used
 * again: the next call connects anew. */
void cgrpc_channel_close(cgrpc_channel *channel);

typedef enum cgrpc_channel_state {
    CGRPC_CHANNEL_IDLE,       /* no connection, none wanted */
    CGRPC_CHANNEL_CONNECTING, /* waits for the peer's SETTINGS */
    CGRPC_CHANNEL_READY,
    CGRPC_CHANNEL_BACKOFF     /* the last attempt failed: waits to retry */
} cgrpc_channel_state;
cgrpc_channel_state cgrpc_channel_get_state(const cgrpc_channel *channel);

/* ======================================================================
 * >>server_api
 * ====================================================================== */

typedef struct cgrpc_server_desc {
    cgrpc_port *port; /* of its functions only `now` is called */
    const cgrpc_serving *services;
    size_t service_count;
    const char *const *keys; /* request metadata to keep; ":authority" too */
    size_t key_count;
} cgrpc_server_desc;

/* What CGRPC_SERVER_DEFINE makes: the memory of one server. */
typedef struct cgrpc_server_memory {
    cgrpc_conn *conns;
    cgrpc_call *calls;
    cgrpc_word *words;
    size_t word_count;
    size_t conn_count, call_count;
    size_t rx_bytes, tx_bytes, scratch_bytes;
} cgrpc_server_memory;

/* Declares a server, static, with all of its memory.
 *   CONNS    connections at a time
 *   CALLS    calls in flight, over all connections
 *   RX_BYTES the largest request (encoded), or reply of a unary side, which
 *            waits there when it finds no room: the generated
 *            Service_RX_BYTES, and what newer clients may add to a message
 *   TX_BYTES the buffer a connection sends from: at least 128; 256 is
 *            little, 1024 good
 *   SCRATCH  decoded request + reply: the generated Service_SCRATCH (of
 *            several services the largest: CGRPC_MAX)
 * RAM = CONNS * (sizeof(cgrpc_conn) + TX_BYTES + CGRPC_METADATA_BYTES + 64)
 *     + CALLS * (sizeof(cgrpc_call) + RX_BYTES + 5 + CGRPC_METADATA_BYTES
 *                + CGRPC_STATE_BYTES)
 *     + SCRATCH + sizeof(cgrpc_server), each rounded up to 8. */
#define CGRPC_SERVER_WORDS(CONNS, CALLS, RX_BYTES, TX_BYTES, SCRATCH)     \
    (CGRPC_WORDS(SCRATCH) + (CALLS) * CGRPC_WORDS(CGRPC_STATE_BYTES) +    \
     CGRPC_WORDS((CALLS) * CGRPC_CALL_BYTES(RX_BYTES)) +                  \
     CGRPC_WORDS((CONNS) * CGRPC_CONN_BYTES(TX_BYTES)))
#define CGRPC_SERVER_DEFINE(name, CONNS, CALLS, RX_BYTES, TX_BYTES, SCRATCH) \
    static cgrpc_conn name##_conns[CONNS];                                \
    static cgrpc_call name##_calls[CALLS];                                \
    static cgrpc_word name##_words[CGRPC_SERVER_WORDS(                    \
        CONNS, CALLS, RX_BYTES, TX_BYTES, SCRATCH)];                      \
    static const cgrpc_server_memory name##_memory = {                    \
        name##_conns, name##_calls, name##_words,                         \
        sizeof(name##_words) / sizeof(cgrpc_word), CONNS, CALLS,          \
        CGRPC_MAX(RX_BYTES, 8), TX_BYTES, SCRATCH };                      \
    static cgrpc_server name =                                            \
        CGRPC_INIT(cgrpc_server, &name##_memory)

/* `desc` is copied; what it points to must outlive the server. */
#define cgrpc_server_init(server, desc)                                   \
    cgrpc_server_init_((server), (desc), CGRPC_LAYOUT)
cgrpc_result cgrpc_server_init_(cgrpc_server *server,
                                const cgrpc_server_desc *desc,
                                size_t layout);

/* For ports: a client has connected. `peer` is its address as text, kept by
 * pointer until the stream is closed. CGRPC_E_BUSY: no connection is free;
 * CGRPC_E_STATE: its init has failed. The stream then stays the caller's. */
cgrpc_result cgrpc_server_accept(cgrpc_server *server, const cgrpc_io *io,
                                 const char *peer);

/* Moves bytes, runs handlers, fires deadlines. Returns as
 * cgrpc_channel_poll() does. */
uint32_t cgrpc_server_poll(cgrpc_server *server);

/* Graceful end: clients are told (GOAWAY, twice), calls in flight finish,
 * new connections are refused. Poll until cgrpc_server_idle(). */
void cgrpc_server_drain(cgrpc_server *server);
/* No connections, and every on_end hook has run. */
bool cgrpc_server_idle(const cgrpc_server *server);
/* Ends all at once: calls are cancelled, streams closed. */
void cgrpc_server_stop(cgrpc_server *server);

/* ======================================================================
 * >>objects    what the structs hold; all fields are private
 * ====================================================================== */

/* Room in a transmit buffer that messages never take: the replies that the
 * protocol owes (SETTINGS and PING acks, resets, credit, GOAWAY) need it. */
#define CGRPC_TX_RESERVE 64
#define CGRPC_CONN_BYTES(TX_BYTES)                                        \
    ((TX_BYTES) + CGRPC_TX_RESERVE + CGRPC_METADATA_BYTES)
#define CGRPC_CALL_BYTES(RX_BYTES)                                        \
    (CGRPC_MAX(RX_BYTES, 8) + 5 + CGRPC_METADATA_BYTES)

/* The metadata memory of one call: records, one after the other. */
typedef struct cgrpc_arena {
    uint8_t *base;
    uint16_t len, cap;
} cgrpc_arena;

/* What a side understands; constant once it is made. */
typedef struct cgrpc_vocabulary {
    const char *const *keys; /* metadata that is kept */
    const cgrpc_serving *services;
    size_t service_count;
    uint8_t key_count;
    uint8_t wanted[8]; /* a bit for each name id below 64 */
} cgrpc_vocabulary;

/* What a server or a channel is to its connections and calls; it stands
 * first in both. */
typedef struct cgrpc_side {
    cgrpc_port *port; /* NULL: its init has failed, or was not called */
    cgrpc_vocabulary words;
    volatile uint8_t woken; /* one of its calls is */
    bool running;           /* it is being polled */
} cgrpc_side;

/* A field of the peer's dynamic table: sizes and meaning, no text. */
typedef struct cgrpc_hpack_entry {
    uint16_t size; /* as RFC 7541, 4.1 counts; top bit: its name is wanted */
    uint16_t name_len;
    uint32_t what; /* name id in the top 8 bits, the value's meaning below */
} cgrpc_hpack_entry;

/* Bytes in the making. */
typedef struct cg_writer {
    uint8_t *out;
    size_t len, cap; /* `len` counts on, so that it says what is needed */
    bool full; /* something did not fit: what was written is worthless */
} cg_writer;

/* Small members first: a Cortex-M reaches them with short instructions. */
typedef struct cgrpc_hpack_decoder {
    uint8_t state, kind, shift;   /* of the parser, of the integer */
    uint8_t name, flags;          /* of this field */
    uint8_t first, last, unit;    /* bytes of the text */
    uint8_t huffman_byte;         /* the latest, with so many bits left: */
    uint8_t huffman_bits;
    uint8_t huffman_size;         /* bits of a code that is incomplete; */
    uint8_t huffman_code;         /* which it is of the longer ones; */
    uint8_t huffman_rank;         /* and how many are shorter */
    uint8_t sextets, spare;       /* of base64: bits, and how many */
    bool huffman, in_value, began, bad, keep, base64, padded;
    bool text_lost;               /* a text was asked for that is gone */
    uint16_t which;               /* tag of the records of this block */
    uint16_t limit;               /* the largest table a peer may choose */
    uint16_t max, used;           /* bytes: what it chose, what is taken */
    uint16_t count, head;         /* entries, and where the newest is */
    uint16_t name_len, len;       /* of name and text; they saturate */
    uint16_t record, mark;        /* in `text`: the record, its value */
    uint16_t matched;             /* bytes of `word` */
    uint16_t ordinal;             /* of `word` in its list, from 1 */
    uint32_t number;              /* integer; then bytes left of a string */
    uint32_t value;
    const char *word;             /* the candidate that still matches */
    cg_writer text;               /* records of this field, if `keep` */
    cgrpc_arena *arena;           /* where the texts of this block go */
    cgrpc_arena store;            /* texts that table entries refer to */
    const cgrpc_vocabulary *vocabulary;
    uint32_t what;                /* the field, once it is complete */
    cgrpc_hpack_entry table[CGRPC_HPACK_TABLE_BYTES / 32];
} cgrpc_hpack_decoder;

/* What a block changes of our side's use of the peer's table. */
typedef struct cgrpc_hpack_mark {
    uint16_t used;
    uint8_t count;
    bool resize; /* the next block begins with size updates */
} cgrpc_hpack_mark;

/* What our side put into the peer's table, oldest first; nothing is evicted.
 * A key of NULL: an entry that is only there for its name. */
typedef struct cgrpc_hpack_encoder {
    cgrpc_hpack_mark at;
    uint16_t limit; /* of the peer's table; never over 4096 */
    uint8_t names[CGRPC_HPACK_CACHE];
    const void *keys[CGRPC_HPACK_CACHE]; /* the constants' addresses */
} cgrpc_hpack_encoder;

/* Bytes stand first: small offsets make small code. Flags that are looked at
 * often are bytes too. */
struct cgrpc_call {
    uint8_t stage;        /* cg_stage */
    uint8_t status;
    volatile uint8_t woken;
    uint8_t not_grpc;     /* plain HTTP: its status less 400 */
    bool is_server;
    bool has_deadline;
    bool has_length;      /* content_left counts */
    bool headers_in, headers_out;
    bool ended_in;        /* END_STREAM came */
    bool ended_out;       /* END_STREAM was written */
    bool blocked;         /* a send found no room */
    bool waiting;         /* the handler waits for a wake */
    bool hooked;          /* the hook has run */
    unsigned replied : 1; /* one message was sent */
    unsigned told_end : 1;     /* the handler has seen the end of input */
    unsigned null_run : 1;     /* the handler was last run without `in` */
    unsigned refusing : 1;     /* names the encodings that are known */
    unsigned end_wanted : 1;   /* client: after what is written, END_STREAM */
    unsigned request_sent : 1; /* client: of a unary side */
    unsigned received : 1;     /* client: a message was taken */
    unsigned taken : 1;        /* client: a raw message is in use */
    unsigned wait_ready : 1;   /* client: no fail-fast */
    unsigned retried : 1;      /* client: refused unprocessed once */
    cgrpc_call *next;     /* on its connection's or channel's list */
    cgrpc_conn *conn;     /* NULL: has no stream (yet, or any more) */
    const cgrpc_method *method;
    cgrpc_side *side;     /* its server or channel; cg_call_clear() relies */
    const cgrpc_serving *serving; /* on their order. Server: whose handler */
    const void *request;  /* client: the one message of a unary side */
    void *response;       /* client: where a unary answer goes */
    const uint8_t *rest;  /* encoded bytes that are still to be sent */
    uint32_t rest_len;
    uint32_t id;          /* of the stream; 0: none */
    int32_t tx_window;    /* what we may send; negative after SETTINGS */
    int32_t rx_window;    /* what the peer may send */
    uint32_t rx_len;      /* bytes in the receive buffer */
    uint32_t content_left;
    uint32_t deadline;    /* if has_deadline */
    uint32_t tx_total;    /* of a message that goes out in parts */
    uint32_t tx_sent;
    uint32_t tx_check;    /* over the bytes sent of it */
    uint32_t tx_need;     /* room that a waiting message needs */
    uint32_t rx_cap;      /* the receive buffer stands behind metadata */
    cgrpc_arena metadata;
    cgrpc_end_hook hook;  /* on_end, or done */
    void *user;
};

/* What a header block said so far. */
typedef struct cgrpc_head {
    uint8_t flags;  /* of all fields together: CG_FIELD_... */
    uint16_t seen;  /* a bit a slot */
    uint32_t value[13]; /* by slot: CG_HAS_... */
} cgrpc_head;

/* The last streams that ended, so that late frames are known, and the
 * resets among them that are still to be written. */
enum { CGRPC_CLOSED_STREAMS = 8 };
typedef struct cgrpc_closed {
    uint32_t id;
    uint8_t code;
    uint8_t how; /* cg_closed_how */
} cgrpc_closed;

struct cgrpc_conn {
    uint8_t state;        /* cg_parse */
    uint8_t frame_type, frame_flags, frame_pad;
    uint8_t only;         /* type of the one frame that may come; or CG_ANY */
    uint8_t need, small_len; /* bytes looked at together; gathered */
    uint8_t closed_next;
    uint8_t draining;     /* 1: first GOAWAY sent, 2: the last */
    uint8_t error;        /* what a dead connection died of */
    bool is_server;
    bool dead;            /* discards everything */
    bool settings_acked;
    bool flushing;        /* the ACK of a table size 0 is awaited */
    bool block_ends;      /* the block in progress carries END_STREAM */
    bool goaway_in;
    bool pause;           /* no more input in this turn */
    bool credit_due;
    bool unread;          /* input waits in the stream */
    bool stalled;         /* output waits since `moved` */
    bool resets_due;      /* some of `closed` are still to be written */
    bool overrun;         /* more resets are owed than `closed` holds */
    bool goaway_due;      /* ... of a connection that died of `error` */
    bool useful;          /* a header block of a call came */
    bool wrote;           /* the last attempt moved bytes */
    bool waited_for;      /* a call waits for room */
    bool timed;           /* something must happen until `timer` */
    const struct cgrpc_conn_ops *ops; /* NULL: this slot is free */
    cgrpc_side *side;     /* its server or channel */
    cgrpc_call *calls;    /* with an open stream */
    cgrpc_call *call;     /* of the frame in progress; NULL: discard */
    uint8_t *tx;
    uint32_t tx_cap, tx_start, tx_end;
    uint32_t frame_id, frame_left;
    uint32_t last_id;     /* highest stream that the opener has used */
    uint32_t block_bytes;
    uint32_t goaway_said; /* we process no streams above it */
    uint32_t peer_frame;  /* peer's SETTINGS_MAX_FRAME_SIZE */
    uint32_t peer_streams;
    uint32_t peer_table;  /* peer's SETTINGS_HEADER_TABLE_SIZE */
    int32_t peer_window;  /* peer's SETTINGS_INITIAL_WINDOW_SIZE */
    int32_t our_window;   /* ours, announced */
    int32_t tx_window;    /* connection flow control, as in a call */
    int32_t rx_window;
    int32_t rx_top;       /* what rx_window is filled up to */
    uint32_t bucket;      /* cheap frames still tolerated */
    uint32_t bucket_time;
    uint32_t moved;       /* when bytes last went out, or came to wait */
    uint32_t timer;
    uint32_t opened;      /* streams with a call */
    cgrpc_io io;
    const char *peer;
    uint8_t small[9];     /* a frame header or small payload, gathered */
    cgrpc_head head;
    cgrpc_closed closed[CGRPC_CLOSED_STREAMS];
    cgrpc_hpack_encoder encoder;
    cgrpc_hpack_decoder decoder;
};

struct cgrpc_server {
    cgrpc_side side;
    const cgrpc_server_memory *memory;
    cgrpc_word *scratch;
    cgrpc_word *states;
    uint32_t turn;      /* the call that goes first */
    uint32_t over;      /* calls that have ended, and wait for their turn */
    bool draining;
};

struct cgrpc_channel {
    cgrpc_side side;
    const cgrpc_channel_memory *memory;
    cgrpc_conn *conn;
    cgrpc_call *calls;  /* that wait for a stream, or for their hook */
    cgrpc_channel_desc desc;
    uint32_t backoff;   /* milliseconds; 0: the last attempt succeeded */
    uint32_t retry_at;
    uint32_t random;
    bool closing;
    bool failed;        /* waits until retry_at */
};

/* Files that see different macros see different sizes: init compares. */
#define CGRPC_LAYOUT                                                      \
    (sizeof(cgrpc_server) + sizeof(cgrpc_channel) * 31u +                 \
     sizeof(cgrpc_conn) * 1009u + sizeof(cgrpc_call) * 65537u +           \
     (size_t)CGRPC_METADATA_BYTES * 7u + (size_t)CGRPC_STATE_BYTES * 3u)

#ifdef __cplusplus
} /* extern "C" */

template <class T, class A> static inline T cgrpc_init_of(A memory)
{
    T made = T();
    made.memory = memory;
    return made;
}
static inline cgrpc_call cgrpc_call_of(uint8_t *memory, size_t bytes)
{
    cgrpc_call made = cgrpc_call();
    made.metadata.base = memory;
    made.rx_cap = (uint32_t)(bytes - CGRPC_METADATA_BYTES);
    return made;
}
#define CGRPC_INIT(type, pointer) cgrpc_init_of<type>(pointer)
#define CGRPC_CALL_INIT(bytes) cgrpc_call_of(bytes, sizeof(bytes))
#else
#define CGRPC_INIT(type, pointer) { .memory = (pointer) }
#define CGRPC_CALL_INIT(bytes)                                            \
    { .metadata = { (bytes), 0, 0 },                                      \
      .rx_cap = sizeof(bytes) - CGRPC_METADATA_BYTES }
#endif

#endif /* CGRPC_H */

#ifdef CGRPC_IMPLEMENTATION
#ifndef CGRPC_IMPLEMENTED
#define CGRPC_IMPLEMENTED

#include <string.h>

#if CGRPC_NANOPB
#include <pb_decode.h>
#include <pb_encode.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ======================================================================
 * >>base
 *
 * Helpers of every section. Bytes are read and written one at a time, so
 * neither the machine's byte order nor alignment matters. Nothing here
 * can fail; a writer that is full remembers it and only counts on.
 * ====================================================================== */

/* CG_APART: rare work that stays out of its caller, for speed and for the
 * stack. CG_COMPACT: what is called once and yet makes less code by itself:
 * inlined, it would push its caller's variables onto the stack. */
#if defined(__GNUC__)
#define CG_APART __attribute__((noinline))
#else
#define CG_APART
#endif
#ifdef __OPTIMIZE_SIZE__
#define CG_COMPACT CG_APART
#else
#define CG_COMPACT
#endif

static size_t cg_min(size_t a, size_t b) { return a < b ? a : b; }
static uint32_t cg_min32(uint32_t a, uint32_t b) { return a < b ? a : b; }

static uint16_t cg_get16(const uint8_t *in)
{
    return (uint16_t)((unsigned)in[0] << 8 | in[1]);
}

static void cg_set16(uint8_t *out, size_t value)
{
    out[0] = (uint8_t)(value >> 8);
    out[1] = (uint8_t)value;
}

static uint32_t cg_get24(const uint8_t *in)
{
    return (uint32_t)in[0] << 16 | cg_get16(in + 1);
}

static void cg_set24(uint8_t *out, uint32_t value)
{
    out[0] = (uint8_t)(value >> 16);
    cg_set16(out + 1, value & 0xFFFF);
}

static uint32_t cg_get32(const uint8_t *in)
{
    return (uint32_t)cg_get16(in) << 16 | cg_get16(in + 2);
}

static void cg_set32(uint8_t *out, uint32_t value)
{
    cg_set16(out, value >> 16);
    cg_set16(out + 2, value & 0xFFFF);
}

/* Clocks wrap: right while the two are less than 24 days apart. */
static bool cg_time_reached(uint32_t now, uint32_t then)
{
    return (uint32_t)(now - then) < 0x80000000u;
}

/* Milliseconds from `now` until `then`; 0 when it has passed. */
static uint32_t cg_time_left(uint32_t then, uint32_t now)
{
    return cg_time_reached(now, then) ? 0 : then - now;
}

/* Of a C string. Bounded, and so never a call of strlen. */
static size_t cg_text_len(const char *text)
{
    size_t len = 0;
    while (len < 0xFFFF && text[len] != 0)
        ++len;
    return len;
}

static void cg_put(cg_writer *w, unsigned byte)
{
    if (w->len < w->cap)
        w->out[w->len] = (uint8_t)byte;
    else
        w->full = true;
    ++w->len;
}

static void cg_put_bytes(cg_writer *w, const void *data, size_t len)
{
    if (w->full || len > w->cap - w->len)
        w->full = true;
    else if (len != 0)
        memcpy(w->out + w->len, data, len);
    w->len += len;
}

/* ======================================================================
 * >>hpack    RFC 7541, with the field rules of RFC 9113, 8.2 and 8.3
 *
 * In: a header block is decoded byte by byte; the state is all in the
 * decoder and no block is ever held. The dynamic table keeps the sizes and
 * the meaning of each field, which is all that eviction and a server need;
 * texts are kept only for wanted names, in the call's arena and, for the
 * fields of the table, in a store beside it.
 * Out: constants, and each of gRPC's own names with its first short value,
 * are put into the peer's table until that or our cache of them is full;
 * nothing is evicted, and no metadata of the user's is put there.
 * Never: allocates, or matches a text by anything but its bytes.
 * ====================================================================== */

/* Name ids: the static table's names without repetition, in its order; the
 * further names that gRPC or HTTP/2 give a meaning; then registered keys. */
enum {
    CG_NAME_UNKNOWN = 0,
    CG_NAME_AUTHORITY = 1,
    CG_NAME_METHOD = 2,
    CG_NAME_PATH = 3,
    CG_NAME_SCHEME = 4,
    CG_NAME_STATUS = 5,
    CG_NAME_ACCEPT_ENCODING = 7,
    CG_NAME_ALLOW = 13,
    CG_NAME_AUTHORIZATION = 14,
    CG_NAME_CONTENT_LENGTH = 19,
    CG_NAME_CONTENT_TYPE = 22,
    CG_NAME_COOKIE = 23,
    CG_NAME_PROXY_AUTHORIZATION = 40,
    CG_NAME_SET_COOKIE = 46,
    CG_NAME_TRANSFER_ENCODING = 48,
    CG_NAME_USER_AGENT = 49,
    CG_NAME_STATIC = 52, /* the last one of the static table */
    CG_NAME_TE = 53,
    CG_NAME_GRPC_TIMEOUT = 54,
    CG_NAME_GRPC_ENCODING = 55,
    CG_NAME_GRPC_ACCEPT_ENCODING = 56,
    CG_NAME_GRPC_STATUS = 57,
    CG_NAME_GRPC_MESSAGE = 58,
    CG_NAME_GRPC_DETAILS = 59,
    CG_NAME_CONNECTION = 60,
    CG_NAME_KEEP_ALIVE = 61,
    CG_NAME_PROXY_CONNECTION = 62,
    CG_NAME_UPGRADE = 63,
    CG_NAME_KNOWN = 63, /* the last one that CG_NAMES holds */
    CG_NAME_MALFORMED = 255
};

/* What a value means, 24 bits, by name. Of all others it is 0.
 *   :path           1 + the method's ordinal over all services, 0 unknown
 *   :status         three digits
 *   te              1 trailers, 0 something else
 *   grpc-timeout    see cg_timeout_pack
 *   grpc-status     its number, where over 16,777,213 cut to CG_VALUE_LARGE
 *   content-length  the same */
enum {
    CG_METHOD_POST = 1,
    CG_METHOD_GET = 2,
    CG_METHOD_HEAD = 3,
    CG_SCHEME_HTTP = 1,
    CG_SCHEME_HTTPS = 2,
    CG_TE_TRAILERS = 1,
    CG_TYPE_NONE = 0,       /* none, or not gRPC's */
    CG_TYPE_GRPC = 1,       /* application/grpc, application/grpc+proto */
    CG_TYPE_GRPC_OTHER = 2, /* application/grpc+anything else */
    CG_ENCODING_IDENTITY = 1,
    CG_ENCODING_GZIP = 2,
    CG_ENCODING_DEFLATE = 3,
    CG_VALUE_NO_BASE64 = 0xFFFFFD, /* of a wanted name ending in -bin */
    CG_VALUE_LARGE = 0xFFFFFE,
    CG_VALUE_MALFORMED = 0xFFFFFF
};

/* What there is to say of a field besides. */
enum {
    CG_FIELD_MALFORMED = 1, /* RFC 9113, 8.2.1: a stream error */
    CG_FIELD_LOST = 2,      /* its text is no longer in the store */
    CG_FIELD_OVERFLOW = 4,  /* its text does not fit the arena */
    CG_FIELD_NO_BASE64 = 8  /* a -bin value that is none; text dropped */
};

/* ---- names ---- */

/* BEGIN GENERATED names (tools/make_tables.py) */
static const char CG_NAMES[] =
    "\12" ":authority" "\7" ":method" "\5" ":path" "\7" ":scheme"
    "\7" ":status" "\16" "accept-charset" "\17" "accept-encoding"
    "\17" "accept-language" "\15" "accept-ranges" "\6" "accept"
    "\33" "access-control-allow-origin" "\3" "age" "\5" "allow"
    "\15" "authorization" "\15" "cache-control" "\23" "content-disposition"
    "\20" "content-encoding" "\20" "content-language" "\16" "content-length"
    "\20" "content-location" "\15" "content-range" "\14" "content-type"
    "\6" "cookie" "\4" "date" "\4" "etag" "\6" "expect" "\7" "expires"
    "\4" "from" "\4" "host" "\10" "if-match" "\21" "if-modified-since"
    "\15" "if-none-match" "\10" "if-range" "\23" "if-unmodified-since"
    "\15" "last-modified" "\4" "link" "\10" "location" "\14" "max-forwards"
    "\22" "proxy-authenticate" "\23" "proxy-authorization" "\5" "range"
    "\7" "referer" "\7" "refresh" "\13" "retry-after" "\6" "server"
    "\12" "set-cookie" "\31" "strict-transport-security"
    "\21" "transfer-encoding" "\12" "user-agent" "\4" "vary" "\3" "via"
    "\20" "www-authenticate" "\2" "te" "\14" "grpc-timeout"
    "\15" "grpc-encoding" "\24" "grpc-accept-encoding" "\13" "grpc-status"
    "\14" "grpc-message" "\27" "grpc-status-details-bin" "\12" "connection"
    "\12" "keep-alive" "\20" "proxy-connection" "\7" "upgrade";
/* END GENERATED names */

/* A word ends before a byte below 0x20: before the length of the next one of
 * a list, or before the NUL of a C string. */
static bool cg_word_ends(const char *at) { return (uint8_t)*at < 0x20; }

static size_t cg_word_len(const char *word)
{
    size_t len = 0;
    while (!cg_word_ends(word + len))
        ++len;
    return len;
}

static bool cg_word_begins(const char *word, const char *with)
{
    for (; !cg_word_ends(with); ++word, ++with)
        if (*word != *with)
            return false;
    return true;
}

static bool cg_word_same(const char *a, const char *b)
{
    return cg_word_begins(a, b) && cg_word_begins(b, a);
}

/* The word after one of a list. */
static const char *cg_word_after(const char *word)
{
    return word + word[-1] + 1;
}

#define CG_STATIC(name, value) ((name) << 12 | (value))

/* RFC 7541, appendix A, index 1 to 61: a name id above a value of 24 bits.
 * Several share a name. Path "/" and "/index.html" are no methods. */
static uint32_t cg_static_what(unsigned index)
{
    static const uint16_t first[15] = {
        0, CG_STATIC(CG_NAME_AUTHORITY, 0),
        CG_STATIC(CG_NAME_METHOD, CG_METHOD_GET),
        CG_STATIC(CG_NAME_METHOD, CG_METHOD_POST),
        CG_STATIC(CG_NAME_PATH, 0), CG_STATIC(CG_NAME_PATH, 0),
        CG_STATIC(CG_NAME_SCHEME, CG_SCHEME_HTTP),
        CG_STATIC(CG_NAME_SCHEME, CG_SCHEME_HTTPS),
        CG_STATIC(CG_NAME_STATUS, 200), CG_STATIC(CG_NAME_STATUS, 204),
        CG_STATIC(CG_NAME_STATUS, 206), CG_STATIC(CG_NAME_STATUS, 304),
        CG_STATIC(CG_NAME_STATUS, 400), CG_STATIC(CG_NAME_STATUS, 404),
        CG_STATIC(CG_NAME_STATUS, 500)
    };
    uint32_t what = index;
    if (index < 15) {
        what = first[index];
        return what >> 12 << 24 | (what & 0xFFF);
    }
    what = (what - 9) << 24;
    return index == 28 ? what | CG_VALUE_MALFORMED : what;
}

static unsigned cg_name_of_index(unsigned index)
{
    return cg_static_what(index) >> 24;
}

/* The first index that has the name; 0: none. */
static CG_COMPACT unsigned cg_name_to_index(unsigned name)
{
    if (name > CG_NAME_STATIC)
        return 0;
    if (name > CG_NAME_STATUS)
        return name + 9;
    return name <= CG_NAME_AUTHORITY ? name : (name - 1) * 2;
}

/* The text of the name after `name`, whose own text is `text`. */
static const char *cg_name_after(const cgrpc_vocabulary *v, unsigned name,
                                 const char *text)
{
    if (name < CG_NAME_KNOWN)
        return cg_word_after(text);
    name -= CG_NAME_KNOWN;
    return name < v->key_count ? v->keys[name] : NULL;
}

/* `name` is known or registered. */
static const char *cg_name_text(const cgrpc_vocabulary *v, unsigned name)
{
    const char *text = CG_NAMES + 1;
    if (name > CG_NAME_KNOWN)
        return v->keys[name - CG_NAME_KNOWN - 1];
    while (--name != 0)
        text = cg_word_after(text);
    return text;
}

static unsigned cg_name_find(const cgrpc_vocabulary *v, const char *key)
{
    const char *text = CG_NAMES + 1;
    unsigned name;
    for (name = 1; text != NULL; text = cg_name_after(v, name++, text))
        if (cg_word_same(text, key))
            return name;
    return CG_NAME_UNKNOWN;
}

static bool cg_name_is_bin(const char *text)
{
    size_t len = cg_word_len(text);
    return len > 4 && cg_word_same(text + len - 4, "-bin");
}

/* gRPC's own rule for keys, narrower than HTTP's. */
static bool cg_name_is_key(const char *text)
{
    size_t len;
    for (len = 0; text[len] != 0; ++len) {
        char c = text[len];
        bool good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                    c == '-' || c == '_' || c == '.';
        if (!good)
            return false;
    }
    return len > 0 && len < 256;
}

/* gRPC's names, and those of HTTP/1, which the static table lacks. */
static bool cg_name_is_extra(unsigned name)
{
    return name - CG_NAME_TE <= CG_NAME_KNOWN - CG_NAME_TE;
}

/* Pseudo-headers and what HTTP/2 and gRPC themselves say with. */
static bool cg_name_is_reserved(unsigned name)
{
    return name - CG_NAME_AUTHORITY < CG_NAME_STATUS ||
           cg_name_is_extra(name) || name == CG_NAME_CONTENT_TYPE;
}

/* Is the text of such a field kept? */
static bool cg_name_is_wanted(const cgrpc_vocabulary *v, unsigned name)
{
    if (name > CG_NAME_KNOWN)
        return name != CG_NAME_MALFORMED || CGRPC_METADATA_ALL == 2;
    return (v->wanted[name / 8] >> (name % 8) & 1) != 0;
}

/* ---- vocabulary ---- */

static CG_APART void cg_vocabulary_want(cgrpc_vocabulary *v, unsigned name)
{
    v->wanted[name / 8] = (uint8_t)(v->wanted[name / 8] | 1u << (name % 8));
}

/* CGRPC_METADATA_ALL 1 wants what a user may see; 2, a test aid, all. */
static void cg_vocabulary_want_all(cgrpc_vocabulary *v)
{
    unsigned name;
    for (name = 0; name <= CG_NAME_KNOWN; ++name)
        if (CGRPC_METADATA_ALL == 2 || name == CG_NAME_AUTHORITY ||
            !cg_name_is_reserved(name))
            cg_vocabulary_want(v, name);
}

/* `keys` must outlive the vocabulary. false: a key is malformed, or there
 * are more than 191. The caller sets `services` of a server afterwards. */
static bool cg_vocabulary_init(cgrpc_vocabulary *v, const char *const *keys,
                               size_t key_count)
{
    size_t at;
    memset(v, 0, sizeof(*v));
    if (key_count > CG_NAME_MALFORMED - CG_NAME_KNOWN - 1)
        return false;
    for (at = 0; at < key_count; ++at) {
        unsigned name = cg_name_find(v, keys[at]);
        if (name != CG_NAME_AUTHORITY && !cg_name_is_key(keys[at]))
            return false;
        cg_vocabulary_want(v, name);
    }
    v->keys = keys;
    v->key_count = (uint8_t)key_count;
    v->wanted[0] &= 0xFE; /* unknown names: registered ones have own ids */
    cg_vocabulary_want(v, CG_NAME_GRPC_MESSAGE);
    cg_vocabulary_want(v, CG_NAME_GRPC_DETAILS);
    if (CGRPC_METADATA_ALL != 0)
        cg_vocabulary_want_all(v);
    return true;
}

/* The path of the method with that ordinal over all services, from 0. */
static const char *cg_vocabulary_path(const cgrpc_vocabulary *v,
                                      size_t ordinal)
{
    size_t at;
    for (at = 0; at < v->service_count; ++at) {
        const cgrpc_service *service = v->services[at].service;
        if (ordinal < service->method_count)
            return service->methods[ordinal].path;
        ordinal -= service->method_count;
    }
    return NULL;
}

/* ---- streaming match ----
 *
 * A text is compared with a list of words as it arrives. Only the first
 * word that begins with all that came so far is known; when it fails, the
 * next such word is looked for further down the list, and the word that
 * failed tells what came so far. The end of the text counts as a NUL. */

/* The word after the current one in the decoder's list. */
static const char *cg_match_next(cgrpc_hpack_decoder *d)
{
    unsigned at = d->ordinal++;
    const char *word = d->word;
    if (!d->in_value)
        return cg_name_after(d->vocabulary, at, word);
    if (d->name == CG_NAME_PATH)
        return cg_vocabulary_path(d->vocabulary, at);
    word = cg_word_after(word);
    return word[-1] == 0 ? NULL : word;
}

static bool cg_match_fits(const cgrpc_hpack_decoder *d, unsigned byte)
{
    const char *at = d->word + d->matched;
    return cg_word_ends(at) ? byte == 0 : (uint8_t)*at == byte;
}

/* One more byte of the text; a NUL is its end. */
static void cg_match_byte(cgrpc_hpack_decoder *d, unsigned byte)
{
    const char *old = d->word;
    size_t at = d->matched;
    while (at < d->matched || !cg_match_fits(d, byte)) {
        d->word = cg_match_next(d);
        if (d->word == NULL)
            return;
        for (at = 0; at < d->matched && d->word[at] == old[at];)
            ++at;
    }
    ++d->matched;
}

/* Which word it was, from 1; 0: none. */
static unsigned cg_match_end(cgrpc_hpack_decoder *d)
{
    if (d->word != NULL)
        cg_match_byte(d, 0);
    return d->word == NULL ? 0 : d->ordinal;
}

/* ---- records ----
 *
 * A field whose text is kept, in a call's arena or in the store of the
 * table: label (10 bits), length of the key (14), size of all (16); then
 * the key and a NUL, if its name needs one; the value and a NUL. */

#define CG_RECORD_HEAD 5
#define CG_RECORD_KEY_MAX 0x3FFF

/* The label in an arena: one of these and the name's id. */
enum { CG_IN_INITIAL = 0, CG_IN_TRAILING = 1, CG_OUT_INITIAL = 2,
       CG_OUT_TRAILING = 3 };
#define CG_LABEL(which, name) ((unsigned)(which) << 8 | (name))
#define CG_LABEL_WHICH 0x300u
#define CG_LABEL_ALL 0x3FFu

/* A field: one that is kept, or one that is to be sent. */
typedef struct cg_record {
    const char *key; /* NULL: its name says it */
    const char *value;
    size_t key_len, value_len;
    uint8_t which, name;
} cg_record;

static size_t cg_record_size(const uint8_t *in) { return cg_get16(in + 3); }

static void cg_record_read(const uint8_t *in, cg_record *r)
{
    r->which = (uint8_t)(in[0] >> 6);
    r->name = (uint8_t)(cg_get16(in) >> 6);
    r->key_len = cg_get16(in + 1) & CG_RECORD_KEY_MAX;
    r->key = NULL;
    r->value = (const char *)in + CG_RECORD_HEAD;
    r->value_len = cg_record_size(in) - CG_RECORD_HEAD - 1;
    if (r->key_len == 0)
        return;
    r->key = r->value;
    r->value += r->key_len + 1;
    r->value_len -= r->key_len + 1;
}

static void cg_record_head(uint8_t *out, unsigned label, size_t key_len,
                           size_t size)
{
    cg_set16(out, label << 6 | key_len >> 8);
    out[2] = (uint8_t)key_len;
    cg_set16(out + 3, size);
}

/* Writes a record behind the others; the head comes last. */
static CG_COMPACT void cg_record_begin(const cgrpc_arena *a, cg_writer *w)
{
    w->out = a->base + a->len;
    w->cap = (size_t)(a->cap - a->len);
    w->len = CG_RECORD_HEAD;
    w->full = w->len > w->cap;
}

/* The first record from `at` on whose label is the same under the mask;
 * a->len: none. */
static size_t cg_record_seek(const cgrpc_arena *a, size_t at, unsigned label,
                             unsigned mask)
{
    for (; at < a->len; at += cg_record_size(a->base + at))
        if (((cg_get16(a->base + at) >> 6 ^ label) & mask) == 0)
            break;
    return at;
}

static void cg_record_remove(cgrpc_arena *a, unsigned label, unsigned mask)
{
    size_t at = 0;
    while ((at = cg_record_seek(a, at, label, mask)) < a->len) {
        uint8_t *out = a->base + at;
        size_t size = cg_record_size(out);
        a->len = (uint16_t)(a->len - size);
        memmove(out, out + size, a->len - at);
    }
}

/* Appends records under another label; false: no room. */
static bool cg_record_copy(cgrpc_arena *a, const uint8_t *in, size_t len,
                           unsigned label)
{
    uint8_t *out = a->base + a->len, *end = out + len;
    if (len > (size_t)(a->cap - a->len))
        return false;
    if (len != 0)
        memmove(out, in, len); /* it may lie behind this arena */
    a->len = (uint16_t)(a->len + len);
    for (; out < end; out += cg_record_size(out))
        cg_set16(out, label << 6 | (out[1] & 0x3Fu));
    return true;
}

/* ---- dynamic table ----
 *
 * A ring. The texts of its wanted fields are records in the store, labelled
 * with the entry's place; the least recently referenced stands first there
 * and is the first to go. */

#define CG_TABLE_ENTRIES (CGRPC_HPACK_TABLE_BYTES / 32)
#define CG_TABLE_SPECIAL 0x8000u /* its name is wanted, or it is malformed */

/* The place of the entry `age` insertions before the newest; age < count. */
static unsigned cg_table_place(const cgrpc_hpack_decoder *d, unsigned age)
{
    return (d->head + CG_TABLE_ENTRIES - age) % CG_TABLE_ENTRIES;
}

/* RFC 7541, 4.3 and 4.4: drops the oldest until `room` more bytes fit. */
static void cg_table_evict(cgrpc_hpack_decoder *d, uint32_t room)
{
    while (d->count != 0 && d->used + room > d->max) {
        unsigned place = cg_table_place(d, --d->count);
        unsigned size = d->table[place].size;
        if ((size & CG_TABLE_SPECIAL) != 0)
            cg_record_remove(&d->store, place, CG_LABEL_ALL);
        d->used = (uint16_t)(d->used - (size & ~CG_TABLE_SPECIAL));
    }
}

/* A name id above a value of 24 bits. */
static bool cg_what_is_malformed(uint32_t what)
{
    return (what & 0xFFFFFF) == CG_VALUE_MALFORMED ||
           what >> 24 == CG_NAME_MALFORMED;
}

/* One that never fits drops nothing. */
static void cg_table_keep(cgrpc_hpack_decoder *d, unsigned place,
                          const uint8_t *text, size_t len)
{
    cgrpc_arena *store = &d->store;
    if (len > store->cap)
        return;
    while (!cg_record_copy(store, text, len, place))
        cg_record_remove(store, cg_get16(store->base) >> 6u, CG_LABEL_ALL);
}

/* Inserts the field that was just decoded. One that is larger than the
 * table only empties it. */
static void cg_table_add(cgrpc_hpack_decoder *d, uint32_t what)
{
    uint32_t size = 32u + d->name_len + d->len;
    cgrpc_hpack_entry *entry;
    cg_table_evict(d, size);
    if (size > d->max)
        return;
    d->head = (uint16_t)((d->head + 1u) % CG_TABLE_ENTRIES);
    ++d->count;
    d->used = (uint16_t)(d->used + size);
    if (cg_what_is_malformed(what) ||
        cg_name_is_wanted(d->vocabulary, d->name))
        size |= CG_TABLE_SPECIAL;
    entry = &d->table[d->head];
    entry->size = (uint16_t)size;
    entry->name_len = d->name_len;
    entry->what = what;
    if (d->keep)
        cg_table_keep(d, d->head, d->text.out, d->text.len);
}

/* Copies the texts of an entry into the arena and makes them the last to
 * go. Returns flags. */
static unsigned cg_table_recall(cgrpc_hpack_decoder *d, unsigned place,
                                unsigned name)
{
    cgrpc_arena *a = d->arena, *store = &d->store;
    size_t at = cg_record_seek(store, 0, place, CG_LABEL_ALL), start;
    size_t first = at;
    if (at == store->len) {
        d->text_lost = true;
        return CG_FIELD_LOST;
    }
    if (a == NULL)
        return 0;
    start = a->len;
    for (; at < store->len;
         at = cg_record_seek(store, at, place, CG_LABEL_ALL)) {
        size_t size = cg_record_size(store->base + at);
        if (!cg_record_copy(a, store->base + at, size,
                            CG_LABEL(d->which, name))) {
            a->len = (uint16_t)start;
            return CG_FIELD_OVERFLOW;
        }
        at += size;
    }
    if (first + (a->len - start) == store->len)
        return 0; /* it is the last already */
    cg_record_remove(store, place, CG_LABEL_ALL);
    cg_table_keep(d, place, a->base + start, a->len - start);
    return 0;
}

/* ---- text of the field in progress ----
 *
 * It is written behind the arena's records, and is one of them when the
 * field is complete. Without an arena it is written behind the store's, for
 * the field may enter the table. */

static const cgrpc_arena *cg_text_arena(const cgrpc_hpack_decoder *d)
{
    return d->arena != NULL ? d->arena : &d->store;
}

static void cg_text_drop(cgrpc_hpack_decoder *d) { d->keep = false; }

static void cg_text_put(cgrpc_hpack_decoder *d, const void *text, size_t len)
{
    if (d->keep)
        cg_put_bytes(&d->text, text, len);
}

static void cg_text_open(cgrpc_hpack_decoder *d)
{
    d->record = 0;
    d->keep = true;
    cg_record_begin(cg_text_arena(d), &d->text);
}

/* CGRPC_METADATA_ALL: opens a record with the key of an indexed name. */
static void cg_text_indexed_key(cgrpc_hpack_decoder *d, unsigned index)
{
    size_t at = d->store.len;
    cg_record r;
    if (!cg_name_is_wanted(d->vocabulary, d->name))
        return;
    cg_text_open(d);
    if (d->name != CG_NAME_UNKNOWN && d->name != CG_NAME_MALFORMED) {
        r.key = cg_name_text(d->vocabulary, d->name);
        cg_text_put(d, r.key, cg_word_len(r.key));
        return;
    }
    if (index >= 62)
        at = cg_record_seek(&d->store, 0, cg_table_place(d, index - 62),
                            CG_LABEL_ALL);
    if (at < d->store.len) {
        cg_record_read(d->store.base + at, &r);
        cg_text_put(d, r.key, r.key_len);
        return;
    }
    d->text_lost = true;
    d->flags |= CG_FIELD_LOST;
    cg_text_drop(d);
}

/* CGRPC_METADATA_ALL: the key stands in the arena, complete. */
static void cg_text_end_key(cgrpc_hpack_decoder *d)
{
    size_t len = d->text.len - CG_RECORD_HEAD;
    if (len > CG_RECORD_KEY_MAX)
        d->text.full = true;
    if (len != 0)
        cg_text_put(d, "", 1);
}

static bool cg_text_is_bin(const cgrpc_hpack_decoder *d)
{
    if (CGRPC_METADATA_ALL == 0)
        return cg_name_is_bin(cg_name_text(d->vocabulary, d->name));
    return CGRPC_METADATA_ALL == 1 &&
           !d->text.full &&
           cg_name_is_bin((const char *)d->text.out + CG_RECORD_HEAD);
}

/* A value begins. */
static void cg_text_mark(cgrpc_hpack_decoder *d)
{
    d->mark = (uint16_t)d->text.len;
    d->spare = 0;
    d->padded = false;
}

/* The name is known now: is the value's text to be kept, and how? */
static void cg_text_begin_value(cgrpc_hpack_decoder *d)
{
    bool wanted = cg_name_is_wanted(d->vocabulary, d->name);
    if (CGRPC_METADATA_ALL != 0)
        cg_text_end_key(d);
    else if (wanted)
        cg_text_open(d);
    if (!wanted)
        cg_text_drop(d);
    d->base64 = d->keep && cg_text_is_bin(d);
    cg_text_mark(d);
}

#if CGRPC_CLIENT
static unsigned cg_percent_digit(char c)
{
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0');
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10) : 16u;
}

/* In place; what is no escape stays as it is. Returns the new length. */
static size_t cg_percent_decode(char *text, size_t len)
{
    size_t in = 0, out = 0;
    while (in < len) {
        char c = text[in++];
        if (c == '%' && len - in >= 2) {
            unsigned high = cg_percent_digit(text[in]);
            unsigned low = cg_percent_digit(text[in + 1]);
            if (high < 16 && low < 16) {
                c = (char)(high << 4 | low);
                in += 2;
            }
        }
        text[out++] = c;
    }
    return out;
}
#else
/* grpc-message comes to clients only. */
static size_t cg_percent_decode(char *text, size_t len)
{
    (void)text;
    return len;
}
#endif

/* The value is complete; the record gets its head. */
static void cg_text_close(cgrpc_hpack_decoder *d)
{
    cg_writer *w = &d->text;
    size_t key_len = (size_t)(d->mark - d->record - CG_RECORD_HEAD);
    if (!d->keep)
        return;
    if (d->name == CG_NAME_GRPC_MESSAGE && CGRPC_METADATA_ALL != 2 &&
        !w->full)
        w->len = d->mark + cg_percent_decode((char *)w->out + d->mark,
                                             w->len - d->mark);
    cg_put(w, 0);
    if (w->full) {
        d->flags |= CG_FIELD_OVERFLOW;
        d->keep = false;
        return;
    }
    if (key_len != 0)
        --key_len; /* its NUL */
    cg_record_head(w->out + d->record, CG_LABEL(d->which, d->name), key_len,
                   w->len - d->record);
}

/* A user may have changed the arena since the last bytes came: then the room
 * behind its records is no longer the field's. */
static void cg_text_resume(cgrpc_hpack_decoder *d)
{
    const cgrpc_arena *a = cg_text_arena(d);
    if (!d->keep || d->text.out == a->base + a->len)
        return;
    d->flags |= CG_FIELD_OVERFLOW;
    d->keep = false;
}

/* The field is complete: what was kept of it stays in the arena. */
static void cg_text_commit(cgrpc_hpack_decoder *d)
{
    if (d->keep && d->arena != NULL)
        d->arena->len = (uint16_t)(d->arena->len + d->text.len);
    d->keep = false;
}

/* ---- base64 in ---- */

static CG_COMPACT unsigned cg_base64_digit(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A' + 0u;
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26u;
    if (c >= '0' && c <= '9')
        return c - '0' + 52u;
    return c == '+' ? 62 : c == '/' ? 63 : 64;
}

static void cg_base64_fail(cgrpc_hpack_decoder *d)
{
    d->flags |= CG_FIELD_NO_BASE64;
    d->base64 = false;
    cg_text_drop(d);
}

/* Padding may be left out, but not be wrong. */
static void cg_base64_end(cgrpc_hpack_decoder *d)
{
    if (d->padded ? d->spare != 0 : d->spare == 6)
        cg_base64_fail(d);
    cg_text_close(d);
}

/* A comma: several values in one field, as some proxies join them. */
static void cg_base64_comma(cgrpc_hpack_decoder *d)
{
    size_t head = (size_t)(d->mark - d->record); /* and key */
    const uint8_t *in = d->text.out + d->record;
    cg_base64_end(d);
    if (!d->keep)
        return;
    d->record = (uint16_t)d->text.len;
    cg_put_bytes(&d->text, in, head);
    cg_text_mark(d);
}

static void cg_base64_sextet(cgrpc_hpack_decoder *d, unsigned sextet)
{
    unsigned bits = (unsigned)d->sextets << 6 | sextet;
    d->spare = (uint8_t)(d->spare + 6);
    if (d->spare >= 8) {
        d->spare = (uint8_t)(d->spare - 8);
        cg_put(&d->text, bits >> d->spare);
    }
    d->sextets = (uint8_t)bits;
}

static void cg_base64_text(cgrpc_hpack_decoder *d, const uint8_t *in,
                           size_t len)
{
    for (; len != 0 && d->keep; --len) {
        uint8_t c = *in++;
        unsigned sextet = cg_base64_digit(c);
        if (sextet < 64 && !d->padded) {
            cg_base64_sextet(d, sextet);
        } else if (c == '=' && (d->spare == 2 || d->spare == 4)) {
            d->spare = (uint8_t)(d->spare - 2);
            d->padded = true;
        } else if (c == ',') {
            cg_base64_comma(d);
        } else if (c != ' ') {
            cg_base64_fail(d);
        }
    }
}

/* ---- timeouts ---- */

/* Milliseconds in 24 bits: 20 of them, and how far they are shifted. What
 * is longer than 17 minutes loses a millionth at most. */
static uint32_t cg_timeout_pack(uint32_t ms)
{
    unsigned shift = 0;
    for (; ms > 0xFFFFF; ms >>= 1)
        ++shift;
    return ms << 4 | shift;
}

#if CGRPC_SERVER
static uint32_t cg_timeout_ms(uint32_t value)
{
    return value >> 4 << (value & 15);
}
#endif

static uint32_t cg_timeout_times(uint32_t count, uint32_t by)
{
    return count > 0x7FFFFFFF / by ? 0x7FFFFFFF : count * by;
}

/* A count of so many units. At most 0x7FFFFFFF, so that it may be added to a
 * wrapping clock. What is shorter than a millisecond is one, but 0 is 0. */
static uint32_t cg_timeout_value(uint32_t count, unsigned unit)
{
    switch (unit) {
    case 'n': count = (count + 999) / 1000; /* fall through */
    case 'u': count = (count + 999) / 1000; break;
    case 'H': count = cg_timeout_times(count, 60); /* fall through */
    case 'M': count = cg_timeout_times(count, 60); /* fall through */
    case 'S': count = cg_timeout_times(count, 1000); break;
    case 'm': break;
    default: return CG_VALUE_MALFORMED;
    }
    return cg_timeout_pack(count);
}

/* ---- values ---- */

/* Of application/grpc+ and any subtype. */
#define CG_TYPE_PLUS 17

/* The values that mean something, by name: its id, the words, each with its
 * length in front, and a 0. The number of a word is its meaning. */
static const char CG_WORDS[] =
    "\2" "\4" "POST" "\3" "GET" "\4" "HEAD" "\0"
    "\4" "\4" "http" "\5" "https" "\0"
    "\26" "\20" "application/grpc" "\26" "application/grpc+proto" "\0"
    "\65" "\10" "trailers" "\0"
    "\67" "\10" "identity" "\4" "gzip" "\7" "deflate" "\0";

/* The first word for a value of that name, or NULL. */
static const char *cg_value_words(unsigned name)
{
    const char *at = CG_WORDS;
    for (; *at != 0; ++at) {
        bool found = (uint8_t)*at++ == name;
        if (found)
            return at + 1;
        while (*at != 0)
            at += *at + 1;
    }
    return NULL;
}

/* A byte of a value that no word begins with: one of a number or, behind
 * that, its unit; with more behind it, that becomes an unknown one. */
static void cg_value_number(cgrpc_hpack_decoder *d, unsigned c)
{
    unsigned digit = c - '0';
    if (d->unit != 0)
        d->unit = 1;
    else if (digit > 9)
        d->unit = (uint8_t)c;
    else if (d->value < 100000000)
        d->value = d->value * 10 + digit;
}

/* A good byte of a name or a value. Media types know no case and may have
 * parameters, which say nothing. */
static CG_COMPACT void cg_value_byte(cgrpc_hpack_decoder *d, unsigned c)
{
    if (d->name == CG_NAME_CONTENT_TYPE) {
        if (c == ';' || c == ' ' || c == '\t')
            d->unit = 1;
        if (d->unit != 0)
            return;
        if (c - 'A' < 26)
            c |= 0x20;
    }
    if (d->word != NULL)
        cg_match_byte(d, c);
    else
        cg_value_number(d, c);
}

/* The value is complete and well formed: what does it mean? */
static uint32_t cg_value_meaning(cgrpc_hpack_decoder *d)
{
    switch (d->name) {
    case CG_NAME_PATH:
        if (d->len == 0)
            return CG_VALUE_MALFORMED;
        break;
    case CG_NAME_CONTENT_TYPE:
        if (cg_match_end(d) != 0)
            return CG_TYPE_GRPC;
        return d->matched >= CG_TYPE_PLUS ? CG_TYPE_GRPC_OTHER : 0;
    case CG_NAME_GRPC_TIMEOUT:
        if (d->len < 2 || d->len > 9)
            return CG_VALUE_MALFORMED;
        return cg_timeout_value(d->value, d->unit);
    case CG_NAME_STATUS:
        if (d->len != 3)
            return CG_VALUE_MALFORMED; /* fall through */
    case CG_NAME_GRPC_STATUS:
    case CG_NAME_CONTENT_LENGTH:
        if (d->unit != 0 || d->len == 0)
            return CG_VALUE_MALFORMED;
        return (uint32_t)cg_min(d->value, CG_VALUE_LARGE);
    default: break;
    }
    return cg_match_end(d);
}

/* ---- fields ---- */

enum { CG_AT_FIELD, CG_AT_INDEX, CG_AT_LENGTH, CG_AT_LENGTH_MORE,
       CG_AT_STRING, CG_AT_LOOKUP, CG_AT_DONE, CG_AT_ERROR };
enum { CG_KIND_LITERAL, CG_KIND_RESIZE, CG_KIND_ADD, CG_KIND_INDEXED };

/* A field that is more than an index is complete. */
static void cg_hpack_end_field(cgrpc_hpack_decoder *d, uint32_t what)
{
    if (cg_what_is_malformed(what))
        d->flags |= CG_FIELD_MALFORMED;
    cg_text_commit(d);
    d->what = what;
    d->state = CG_AT_DONE;
}

/* A name or a value begins. It is compared with words from `word` on. */
static void cg_hpack_begin_text(cgrpc_hpack_decoder *d, const char *word)
{
    d->state = CG_AT_LENGTH;
    d->bad = false;
    d->first = d->last = 0;
    d->unit = 0;
    d->len = 0;
    d->value = 0;
    d->matched = 0;
    d->ordinal = 1;
    d->word = word;
}

/* The name is complete. */
static void cg_hpack_begin_value(cgrpc_hpack_decoder *d)
{
    const char *word = d->name == CG_NAME_PATH
                           ? cg_vocabulary_path(d->vocabulary, 0)
                           : cg_value_words(d->name);
    d->in_value = true;
    cg_hpack_begin_text(d, word);
    cg_text_begin_value(d);
}

/* RFC 9113, 8.2.1: no space at either end. */
static bool cg_value_is_space(unsigned c) { return c == ' ' || c == '\t'; }

static void cg_hpack_end_value(cgrpc_hpack_decoder *d)
{
    uint32_t what;
    if (d->bad || cg_value_is_space(d->first) || cg_value_is_space(d->last))
        what = CG_VALUE_MALFORMED;
    else
        what = cg_value_meaning(d);
    if (what == CG_VALUE_MALFORMED && CGRPC_METADATA_ALL != 2)
        cg_text_drop(d);
    if (d->base64)
        cg_base64_end(d);
    else
        cg_text_close(d);
    if ((d->flags & CG_FIELD_NO_BASE64) != 0 && what == 0)
        what = CG_VALUE_NO_BASE64;
    what |= (uint32_t)d->name << 24;
    if (d->kind == CG_KIND_ADD)
        cg_table_add(d, what);
    cg_hpack_end_field(d, what);
}

#if CGRPC_METADATA_ALL == 2
static const char *cg_static_text(unsigned index)
{
    static const char *const texts[17] = {
        "", "", "GET", "POST", "/", "/index.html", "http", "https", "200",
        "204", "206", "304", "400", "404", "500", "", "gzip, deflate"
    };
    return index < 17 ? texts[index] : "";
}
#else
static const char *cg_static_text(unsigned index)
{
    return index == 16 ? "gzip, deflate" : "";
}
#endif

/* An indexed field that is malformed or whose text is wanted. A dynamic one's
 * is in the store, unless it has none because of what it is; a static one's
 * is put together as if it had just come. */
static CG_APART void cg_hpack_recall(cgrpc_hpack_decoder *d, unsigned index,
                                     uint32_t what)
{
    const char *text;
    d->name = (uint8_t)(what >> 24);
    if (index < 62) {
        text = cg_static_text(index);
        if (CGRPC_METADATA_ALL != 0)
            cg_text_indexed_key(d, index);
        cg_text_begin_value(d);
        cg_text_put(d, text, cg_text_len(text));
        cg_text_close(d);
    } else if (CGRPC_METADATA_ALL != 2 &&
               (what & 0xFFFFFF) == CG_VALUE_NO_BASE64) {
        d->flags = CG_FIELD_NO_BASE64;
    } else if (CGRPC_METADATA_ALL == 2 || !cg_what_is_malformed(what)) {
        d->flags = (uint8_t)cg_table_recall(
            d, cg_table_place(d, index - 62), d->name);
    }
    cg_hpack_end_field(d, what);
}

/* RFC 7541, 6.1 */
static void cg_hpack_indexed(cgrpc_hpack_decoder *d, unsigned index)
{
    unsigned age = index - 62;
    uint32_t what;
    bool special;
    d->began = true;
    if (age < d->count) {
        const cgrpc_hpack_entry *entry = &d->table[cg_table_place(d, age)];
        what = entry->what;
        special = (entry->size & CG_TABLE_SPECIAL) != 0;
    } else if (index - 1 < 61) {
        what = cg_static_what(index);
        special = index == 28 ||
                  cg_name_is_wanted(d->vocabulary, what >> 24);
    } else {
        d->state = CG_AT_ERROR;
        return;
    }
    d->what = what;
    d->flags = 0;
    d->state = CG_AT_DONE;
    if (special)
        cg_hpack_recall(d, index, what);
}

/* RFC 7541, 6.3: only before the first field, and within our limit. */
static void cg_hpack_resize(cgrpc_hpack_decoder *d)
{
    if (d->began || d->number > d->limit) {
        d->state = CG_AT_ERROR;
        return;
    }
    d->max = (uint16_t)d->number;
    cg_table_evict(d, 0);
}

/* A literal whose name is that of an index. All that is needed of the entry
 * is copied here, before an insertion may evict it (RFC 7541, 4.4). */
static void cg_hpack_named(cgrpc_hpack_decoder *d, unsigned index)
{
    unsigned age = index - 62;
    if (age < d->count) {
        const cgrpc_hpack_entry *entry = &d->table[cg_table_place(d, age)];
        d->name = (uint8_t)(entry->what >> 24);
        d->name_len = entry->name_len;
    } else if (index < 62) {
        d->name = (uint8_t)cg_name_of_index(index);
        d->name_len = (uint16_t)cg_word_len(cg_name_text(NULL, d->name));
    } else {
        d->state = CG_AT_ERROR;
        return;
    }
    if (CGRPC_METADATA_ALL != 0)
        cg_text_indexed_key(d, index);
    cg_hpack_begin_value(d);
}

/* ---- strings ---- */

static void cg_hpack_begin_name(cgrpc_hpack_decoder *d)
{
    d->in_value = false;
    d->base64 = false;
    d->name = CG_NAME_UNKNOWN;
    cg_hpack_begin_text(d, CG_NAMES + 1);
    if (CGRPC_METADATA_ALL != 0)
        cg_text_open(d);
}

static void cg_hpack_end_name(cgrpc_hpack_decoder *d)
{
    unsigned name = cg_match_end(d);
    if (d->bad || d->len == 0 ||
        (name == CG_NAME_UNKNOWN && d->first == ':')) /* no pseudo-header */
        name = CG_NAME_MALFORMED;
    d->name = (uint8_t)name;
    d->name_len = d->len;
    cg_hpack_begin_value(d);
}

/* RFC 9113, 8.2.1. Names: visible ASCII, no upper case, a colon only in
 * front. Values: no NUL, CR or LF; no other control character either, which
 * RFC 9110, 5.5 leaves to us. */
static bool cg_hpack_is_bad(const cgrpc_hpack_decoder *d, unsigned c)
{
    if (d->in_value)
        return c < 0x20 && c != '\t';
    return c <= 0x20 || c >= 0x7F || c == ':' || c - 'A' < 26;
}

/* Some bytes of the name or the value; len is not 0. */
static void cg_hpack_text(cgrpc_hpack_decoder *d, const uint8_t *in,
                          size_t len)
{
    size_t at = 0;
    if (d->len == 0) {
        d->first = in[0];
        if (!d->in_value && in[0] == ':')
            cg_match_byte(d, in[at++]);
    }
    d->last = in[len - 1];
    d->len = (uint16_t)cg_min(d->len + len, 0xFFFF);
    for (; at < len; ++at) {
        if (cg_hpack_is_bad(d, in[at]))
            d->bad = true;
        if (!d->bad)
            cg_value_byte(d, in[at]);
    }
    if (d->base64)
        cg_base64_text(d, in, len);
    else
        cg_text_put(d, in, len);
}

/* BEGIN GENERATED huffman (tools/make_tables.py) */
static const uint8_t CG_HUFFMAN_COUNTS[26] = {
    10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15,
    19, 29, 0, 4
};
static const uint8_t CG_HUFFMAN_SYMBOLS[256] = {
    48, 49, 50, 97, 99, 101, 105, 111, 115, 116, 32, 37, 45, 46, 47, 51, 52,
    53, 54, 55, 56, 57, 61, 65, 95, 98, 100, 102, 103, 104, 108, 109, 110,
    112, 114, 117, 58, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79,
    80, 81, 82, 83, 84, 85, 86, 87, 89, 106, 107, 113, 118, 119, 120, 121,
    122, 38, 42, 44, 59, 88, 90, 33, 34, 40, 41, 63, 39, 43, 124, 35, 62, 0,
    36, 64, 91, 93, 126, 94, 125, 60, 96, 123, 92, 195, 208, 128, 130, 131,
    162, 184, 194, 224, 226, 153, 161, 167, 172, 176, 177, 179, 209, 216, 217,
    227, 229, 230, 129, 132, 133, 134, 136, 146, 154, 156, 160, 163, 164, 169,
    170, 173, 178, 181, 185, 186, 187, 189, 190, 196, 198, 228, 232, 233, 1,
    135, 137, 138, 139, 140, 141, 143, 147, 149, 150, 151, 152, 155, 157, 158,
    165, 166, 168, 174, 175, 180, 182, 183, 188, 191, 197, 231, 239, 9, 142,
    144, 145, 148, 159, 171, 206, 215, 225, 236, 237, 199, 207, 234, 235, 192,
    193, 200, 201, 202, 205, 210, 213, 218, 219, 238, 240, 242, 243, 255, 203,
    204, 211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251,
    252, 253, 254, 2, 3, 4, 5, 6, 7, 8, 11, 12, 14, 15, 16, 17, 18, 19, 20,
    21, 23, 24, 25, 26, 27, 28, 29, 30, 31, 127, 220, 249, 10, 13, 22
};
/* END GENERATED huffman */

/* Codes of one length follow each other, and longer ones follow shorter ones
 * (RFC 7541, appendix B), so the counts tell the codes: a code of `size` bits
 * is the next unless it is past those of that size. */
static void cg_huffman_text(cgrpc_hpack_decoder *d, const uint8_t *in,
                            size_t len)
{
    uint8_t chunk[32];
    unsigned waiting = d->huffman_byte, bits = d->huffman_bits;
    unsigned size = d->huffman_size, code = d->huffman_code;
    unsigned rank = d->huffman_rank, count;
    size_t out = 0;
    for (;;) {
        if (bits < (size == 0 ? 5u : 1u)) {
            if (len-- == 0)
                break;
            waiting = waiting << 8 | *in++;
            bits += 8;
        }
        if (size == 0) {
            bits -= 5;
            code = waiting >> bits & 31;
            rank = 0;
            size = 5;
        }
        for (; code >= (count = CG_HUFFMAN_COUNTS[size - 5]); ++size) {
            if (bits == 0)
                break;
            rank += count;
            code = (code - count) << 1 | (waiting >> --bits & 1);
        }
        if (code >= count)
            continue;
        rank += code;
        if (rank == 256) { /* EOS */
            d->state = CG_AT_ERROR;
            break;
        }
        size = 0;
        chunk[out++] = CG_HUFFMAN_SYMBOLS[rank];
        if (out < sizeof(chunk))
            continue;
        cg_hpack_text(d, chunk, out);
        out = 0;
    }
    if (out != 0)
        cg_hpack_text(d, chunk, out);
    d->huffman_byte = (uint8_t)waiting;
    d->huffman_bits = (uint8_t)bits;
    d->huffman_size = (uint8_t)size;
    d->huffman_code = (uint8_t)code;
    d->huffman_rank = (uint8_t)rank;
}

/* RFC 7541, 5.2: what is left is less than a byte, and all ones. */
static bool cg_huffman_ended(const cgrpc_hpack_decoder *d)
{
    unsigned left = d->huffman_size + (unsigned)d->huffman_bits;
    unsigned ones = (1u << left) - 1;
    return left < 8 && (d->huffman_byte & ones) == ones;
}

static void cg_hpack_end_string(cgrpc_hpack_decoder *d)
{
    if (d->huffman && !cg_huffman_ended(d))
        d->state = CG_AT_ERROR;
    else if (d->in_value)
        cg_hpack_end_value(d);
    else
        cg_hpack_end_name(d);
}

/* Takes some bytes of a string and returns how many. */
static size_t cg_hpack_string(cgrpc_hpack_decoder *d,
                              const uint8_t *in, size_t len)
{
    len = cg_min(len, d->number);
    d->number -= (uint32_t)len;
    if (d->huffman)
        cg_huffman_text(d, in, len);
    else if (len != 0)
        cg_hpack_text(d, in, len);
    if (d->number == 0 && d->state != CG_AT_ERROR)
        cg_hpack_end_string(d);
    return len;
}

/* ---- integers, RFC 7541, 5.1 ---- */

/* The bits under `mask`; true: that was all of the integer. */
static bool cg_hpack_begin_int(cgrpc_hpack_decoder *d, unsigned byte,
                               unsigned mask)
{
    d->number = byte & mask;
    d->shift = 0;
    return d->number < mask;
}

/* A continuation byte. Four hold more than any of ours may be. */
static bool cg_hpack_continue_int(cgrpc_hpack_decoder *d, unsigned byte)
{
    if (d->shift > 21) {
        d->state = CG_AT_ERROR;
        return false;
    }
    d->number += (uint32_t)(byte & 0x7F) << d->shift;
    d->shift = (uint8_t)(d->shift + 7);
    return byte < 0x80;
}

static void cg_hpack_begin_string(cgrpc_hpack_decoder *d)
{
    d->state = CG_AT_STRING;
    d->huffman_bits = 0;
    d->huffman_size = 0;
    if (d->number == 0)
        cg_hpack_end_string(d);
}

/* A literal or a size update; what is only an index, the caller looks up. */
static void cg_hpack_end_index(cgrpc_hpack_decoder *d)
{
    d->state = CG_AT_FIELD;
    if (d->kind == CG_KIND_INDEXED) {
        d->state = CG_AT_LOOKUP;
        return;
    }
    if (d->kind == CG_KIND_RESIZE) {
        cg_hpack_resize(d);
        return;
    }
    d->began = true;
    if (d->number == 0)
        cg_hpack_begin_name(d);
    else
        cg_hpack_named(d, d->number);
}

/* RFC 7541, 6: which representation begins. The first three are told by
 * their highest bit; what is left is a literal, never-indexed or not. */
static bool cg_hpack_begin_field(cgrpc_hpack_decoder *d, unsigned byte)
{
    unsigned kind = CG_KIND_INDEXED, mask = 0x7F;
    for (; kind != CG_KIND_LITERAL && byte <= mask; --kind)
        mask >>= 1;
    d->kind = (uint8_t)kind;
    d->flags = 0;
    d->state = CG_AT_INDEX;
    return cg_hpack_begin_int(d, byte, mask);
}

/* One byte of what is no string. */
static void cg_hpack_byte(cgrpc_hpack_decoder *d, unsigned byte)
{
    bool complete;
    if (d->state == CG_AT_FIELD) {
        complete = cg_hpack_begin_field(d, byte);
    } else if (d->state == CG_AT_LENGTH) {
        d->huffman = byte >= 0x80;
        d->state = CG_AT_LENGTH_MORE;
        complete = cg_hpack_begin_int(d, byte, 0x7F);
    } else {
        complete = cg_hpack_continue_int(d, byte);
    }
    if (!complete)
        return;
    if (d->state == CG_AT_INDEX)
        cg_hpack_end_index(d);
    else
        cg_hpack_begin_string(d);
}

/* Some bytes of what is more than an index of one byte. */
static CG_APART const uint8_t *cg_hpack_bytes(cgrpc_hpack_decoder *d,
                                              const uint8_t *in,
                                              const uint8_t *end)
{
    cg_text_resume(d);
    if (d->state == CG_AT_ERROR)
        return end;
    if (d->state == CG_AT_STRING)
        return in + cg_hpack_string(d, in, (size_t)(end - in));
    cg_hpack_byte(d, *in);
    return in + 1;
}

/* ---- the decoder ---- */

/* `store` holds the texts of table entries, as records. */
static void cg_hpack_init(cgrpc_hpack_decoder *d, const cgrpc_vocabulary *v,
                          uint8_t *store, size_t store_cap)
{
    memset(d, 0, offsetof(cgrpc_hpack_decoder, table));
    d->vocabulary = v;
    d->store.base = store;
    d->store.cap = (uint16_t)cg_min(store_cap, 0xFFFF);
    d->limit = 4096;
    d->max = 4096;
}

/* Our setting `bytes`, at most CGRPC_HPACK_TABLE_BYTES, was acknowledged.
 * The table itself shrinks when the peer says so, which some never do. */
static void cg_hpack_limit(cgrpc_hpack_decoder *d, size_t bytes)
{
    d->limit = (uint16_t)cg_min(bytes, CGRPC_HPACK_TABLE_BYTES);
}

/* A header block begins. Its wanted texts go to `arena` with the tag
 * `which`; NULL: to nowhere, the table alone is kept in step. */
static void cg_hpack_begin(cgrpc_hpack_decoder *d, cgrpc_arena *arena,
                           unsigned which)
{
    d->arena = arena;
    d->which = (uint16_t)which;
    d->began = false;
    d->keep = false;
}

/* Takes some bytes of it, not beyond the end of a field, and returns what is
 * left: a loop around it asks cg_hpack_took() each time. */
static const uint8_t *cg_hpack_step(cgrpc_hpack_decoder *d, const uint8_t *in,
                                    const uint8_t *end)
{
    unsigned index = *in - 0x80u;
    if (d->state == CG_AT_FIELD && index < 0x7F) {
        ++in; /* the common case */
    } else {
        in = cg_hpack_bytes(d, in, end);
        if (d->state != CG_AT_LOOKUP)
            return in;
        index = d->number;
    }
    cg_hpack_indexed(d, index);
    return in;
}

/* A field is complete: d->what and d->flags tell which. */
static bool cg_hpack_took(cgrpc_hpack_decoder *d)
{
    if (d->state != CG_AT_DONE)
        return false;
    d->state = CG_AT_FIELD;
    return true;
}

/* COMPRESSION_ERROR, for good. */
static bool cg_hpack_failed(const cgrpc_hpack_decoder *d)
{
    return d->state == CG_AT_ERROR;
}

/* The block is over. false: COMPRESSION_ERROR, it stopped within a field. */
static bool cg_hpack_end(cgrpc_hpack_decoder *d)
{
    if (d->state != CG_AT_FIELD)
        d->state = CG_AT_ERROR;
    d->arena = NULL;
    d->keep = false;
    return d->state == CG_AT_FIELD;
}

/* ---- integers and strings out ---- */

/* `bits` is the pattern of the representation, `mask` the integer's. */
static void cg_hpack_put_int(cg_writer *w, unsigned bits, unsigned mask,
                             size_t value)
{
    if (value < mask) {
        cg_put(w, bits | (unsigned)value);
        return;
    }
    cg_put(w, bits | mask);
    for (value -= mask; value >= 0x80; value >>= 7)
        cg_put(w, 0x80 | (unsigned)(value & 0x7F));
    cg_put(w, (unsigned)value);
}

/* How the bytes of a string travel. */
enum { CG_AS_TEXT, CG_AS_PERCENT, CG_AS_BASE64, CG_AS_HUFFMAN };

static unsigned cg_base64_char(unsigned sextet)
{
    if (sextet < 26)
        return 'A' + sextet;
    if (sextet < 52)
        return 'a' + sextet - 26;
    if (sextet < 62)
        return '0' + sextet - 52;
    return sextet == 62 ? '+' : '/';
}

static CG_COMPACT unsigned cg_percent_char(unsigned nibble)
{
    return nibble < 10 ? '0' + nibble : 'A' + nibble - 10;
}

/* The code of a byte; returns its length. */
static unsigned cg_huffman_code(uint8_t c, uint32_t *code)
{
    unsigned rank = 0, len;
    uint32_t first = 0;
    while (CG_HUFFMAN_SYMBOLS[rank] != c)
        ++rank;
    for (len = 0; rank >= CG_HUFFMAN_COUNTS[len]; ++len) {
        rank -= CG_HUFFMAN_COUNTS[len];
        first = (first + CG_HUFFMAN_COUNTS[len]) << 1;
    }
    *code = first + rank;
    return len + 5;
}

/* Writes units of 6 bits, base64 and unpadded as gRPC asks, or of 8, the
 * Huffman code and padded with ones. */
static void cg_put_bits(cg_writer *w, unsigned how, const uint8_t *in,
                        size_t len)
{
    bool huffman = CGRPC_HUFFMAN_ENCODE && how == CG_AS_HUFFMAN;
    unsigned width = huffman ? 8 : 6, have = 0, unit = 0;
    while (len != 0 || have != 0) {
        uint32_t code = huffman ? 0xFF : 0;
        unsigned size = width - have;
        if (len != 0) {
            size = 8;
            code = *in++;
            if (huffman)
                size = cg_huffman_code((uint8_t)code, &code);
            --len;
        }
        while (size-- != 0) {
            unit = unit << 1 | (code >> size & 1);
            if (++have != width)
                continue;
            cg_put(w, huffman ? unit & 0xFF : cg_base64_char(unit & 63));
            have = 0;
        }
    }
}

/* A space at either end would make the field malformed, so it is escaped
 * too; every decoder takes that. */
static void cg_put_percent(cg_writer *w, const uint8_t *in, size_t len)
{
    size_t at;
    for (at = 0; at < len; ++at) {
        uint8_t c = in[at];
        bool edge = c == ' ' && (at == 0 || at + 1 == len);
        if (c >= 0x20 && c <= 0x7E && c != '%' && !edge) {
            cg_put(w, c);
        } else {
            cg_put(w, '%');
            cg_put(w, cg_percent_char(c >> 4));
            cg_put(w, cg_percent_char(c & 15));
        }
    }
}

static void cg_put_coded(cg_writer *w, unsigned how, const void *in,
                         size_t len)
{
    if (how == CG_AS_TEXT)
        cg_put_bytes(w, in, len);
    else if (how == CG_AS_PERCENT)
        cg_put_percent(w, (const uint8_t *)in, len);
    else
        cg_put_bits(w, how, (const uint8_t *)in, len);
}

static size_t cg_coded_len(unsigned how, const void *in, size_t len)
{
    cg_writer nowhere;
    memset(&nowhere, 0, sizeof(nowhere));
    cg_put_coded(&nowhere, how, in, len);
    return nowhere.len;
}

static void cg_hpack_put_string(cg_writer *w, unsigned how, const void *in,
                                size_t len)
{
    size_t size = cg_coded_len(how, in, len), shorter;
    unsigned bits = 0;
    if (CGRPC_HUFFMAN_ENCODE && how == CG_AS_TEXT) {
        shorter = cg_coded_len(CG_AS_HUFFMAN, in, len);
        if (shorter < size) {
            how = CG_AS_HUFFMAN;
            size = shorter;
            bits = 0x80;
        }
    }
    cg_hpack_put_int(w, bits, 0x7F, size);
    cg_put_coded(w, how, in, len);
}

/* ---- the peer's table ---- */

static void cg_hpack_encoder_init(cgrpc_hpack_encoder *e)
{
    memset(e, 0, sizeof(*e));
    e->limit = 4096;
}

/* The peer's SETTINGS_HEADER_TABLE_SIZE, in force from our ACK on. */
static CG_COMPACT void cg_hpack_peer_limit(cgrpc_hpack_encoder *e,
                                           uint32_t bytes)
{
    uint16_t limit = (uint16_t)cg_min(bytes, 4096);
    if (limit != e->limit)
        e->at.resize = true;
    e->limit = limit;
}

/* A header block begins. The encoder and the writer are copied before and
 * put back where w->full is true at the end: a block goes out whole. A
 * changed limit empties the table first: RFC 7541, 4.2 allows two updates,
 * and the smallest limit that there was in between must not be exceeded. */
static void cg_hpack_block_begin(cgrpc_hpack_encoder *e, cg_writer *w)
{
    if (!e->at.resize)
        return;
    e->at.resize = false;
    e->at.count = 0;
    e->at.used = 0;
    cg_put(w, 0x20);
    if (e->limit != 0)
        cg_hpack_put_int(w, 0x20, 0x1F, e->limit);
}

/* The index of a constant or, without one, of any field of that name; 0: it
 * is not in the table. */
static unsigned cg_cache_find(const cgrpc_hpack_encoder *e, unsigned name,
                              const void *constant)
{
    unsigned at;
    for (at = 0; at < e->at.count; ++at)
        if (e->names[at] == name &&
            (constant == NULL || e->keys[at] == constant))
            return 61u + e->at.count - at;
    return 0;
}

static bool cg_cache_add(cgrpc_hpack_encoder *e, unsigned name,
                         const void *constant, size_t bytes)
{
    if (e->at.count == CGRPC_HPACK_CACHE || e->at.used + bytes > e->limit)
        return false;
    e->keys[e->at.count] = constant;
    e->names[e->at.count++] = (uint8_t)name;
    e->at.used = (uint16_t)(e->at.used + bytes);
    return true;
}

/* ---- fields out ---- */

/* A field of the peer's table or the static one, name and value. */
static void cg_hpack_put_index(cg_writer *w, unsigned index)
{
    cg_hpack_put_int(w, 0x80, 0x7F, index);
}

static bool cg_hpack_is_secret(unsigned name)
{
    return name == CG_NAME_AUTHORIZATION || name == CG_NAME_COOKIE ||
           name == CG_NAME_PROXY_AUTHORIZATION || name == CG_NAME_SET_COOKIE;
}

/* A field with its key. A constant is inserted where there is room; so is a
 * name of gRPC's own, with its first short value, for the name's sake. */
static void cg_hpack_put_field(cgrpc_hpack_encoder *e, cg_writer *w,
                               const cg_record *r, const void *constant)
{
    size_t key_len = cg_word_len(r->key);
    unsigned bits = 0, mask = 0x0F, how = CG_AS_TEXT;
    unsigned index = cg_name_to_index(r->name);
    if (index == 0)
        index = cg_cache_find(e, r->name, NULL);
    if (constant != NULL || (index == 0 && cg_name_is_extra(r->name) &&
                             r->value_len < 16)) {
        if (cg_cache_add(e, r->name, constant, key_len + r->value_len + 32)) {
            bits = 0x40;
            mask = 0x3F;
        }
    } else if (cg_hpack_is_secret(r->name)) {
        bits = 0x10;
    }
    cg_hpack_put_int(w, bits, mask, index);
    if (index == 0)
        cg_hpack_put_string(w, CG_AS_TEXT, r->key, key_len);
    if (constant == NULL && r->name == CG_NAME_GRPC_MESSAGE)
        how = CG_AS_PERCENT;
    else if (constant == NULL && cg_name_is_bin(r->key))
        how = CG_AS_BASE64;
    cg_hpack_put_string(w, how, r->value, r->value_len);
}

/* A known name with any value. */
static void cg_hpack_put_known(cgrpc_hpack_encoder *e, cg_writer *w,
                               unsigned name, cgrpc_bytes value)
{
    cg_record r;
    r.name = (uint8_t)name;
    r.key = cg_name_text(NULL, name);
    r.value = (const char *)value.data;
    r.value_len = value.len;
    cg_hpack_put_field(e, w, &r, NULL);
}

/* A known name with a text that never changes while the connection lives:
 * its address is its identity. */
static void cg_hpack_put_constant(cgrpc_hpack_encoder *e, cg_writer *w,
                                  unsigned name, const char *value)
{
    unsigned index = cg_cache_find(e, name, value);
    cg_record r;
    if (index != 0) {
        cg_hpack_put_index(w, index);
        return;
    }
    r.name = (uint8_t)name;
    r.key = cg_name_text(NULL, name);
    r.value = value;
    r.value_len = cg_text_len(value);
    cg_hpack_put_field(e, w, &r, value);
}

/* A known name and a number behind which there is a unit, if not 0. */
static void cg_hpack_put_count(cgrpc_hpack_encoder *e, cg_writer *w,
                               unsigned name, uint32_t number, char unit)
{
    char text[11], *at = text + 10;
    cgrpc_bytes value;
    *at = unit;
    do *--at = (char)('0' + number % 10); while ((number /= 10) != 0);
    value.data = (const uint8_t *)at;
    value.len = (size_t)(text + 10 - at) + (unit != 0);
    cg_hpack_put_known(e, w, name, value);
}

#if CGRPC_SERVER
/* A known name and a number, e.g. grpc-status. */
static void cg_hpack_put_number(cgrpc_hpack_encoder *e, cg_writer *w,
                                unsigned name, uint32_t number)
{
    cg_hpack_put_count(e, w, name, number, 0);
}
#endif

#if CGRPC_CLIENT
/* grpc-timeout: eight digits at most, and never later than it is. */
static void cg_hpack_put_timeout(cgrpc_hpack_encoder *e, cg_writer *w,
                                 uint32_t ms)
{
    if (ms > 99999999)
        cg_hpack_put_count(e, w, CG_NAME_GRPC_TIMEOUT, ms / 1000, 'S');
    else
        cg_hpack_put_count(e, w, CG_NAME_GRPC_TIMEOUT, ms, 'm');
}
#endif

/* ======================================================================
 * >>metadata
 *
 * A call's metadata: the records in its arena, what came and what goes in
 * one memory, told apart by their label. What the wire itself means is
 * hidden from the user. Pointers into the arena hold until something is
 * removed.
 * ====================================================================== */

/* The next record of that kind, with its key; start with *at == 0. */
static bool cg_metadata_step(const cgrpc_arena *a, const cgrpc_vocabulary *v,
                             unsigned which, size_t *at, cg_record *r)
{
    size_t found = cg_record_seek(a, *at, CG_LABEL(which, 0), CG_LABEL_WHICH);
    if (found >= a->len)
        return false;
    cg_record_read(a->base + found, r);
    if (r->key == NULL)
        r->key = cg_name_text(v, r->name);
    *at = found + cg_record_size(a->base + found);
    return true;
}

/* The user's own string for a name that has one. */
static const char *cg_metadata_key(const cgrpc_vocabulary *v,
                                   const char *word)
{
    size_t at;
    for (at = 0; at < v->key_count; ++at)
        if (cg_word_same(v->keys[at], word))
            return v->keys[at];
    return NULL;
}

/* As cgrpc_metadata_next(). */
static bool cg_metadata_next(const cgrpc_arena *a, const cgrpc_vocabulary *v,
                             unsigned which, size_t *at, cgrpc_metadata *out)
{
    cg_record r;
    do {
        if (!cg_metadata_step(a, v, which, at, &r))
            return false;
        out->key = r.key;
        if (r.key_len == 0 || cg_name_is_reserved(r.name))
            out->key = cg_metadata_key(v, r.key);
    } while (out->key == NULL || r.name == CG_NAME_MALFORMED);
    out->value = r.value;
    out->len = r.value_len;
    return true;
}

/* The first value of a known name, or "". */
static const char *cg_metadata_text(const cgrpc_arena *a, unsigned which,
                                    unsigned name, size_t *len)
{
    size_t at = cg_record_seek(a, 0, CG_LABEL(which, name), CG_LABEL_ALL);
    cg_record r;
    *len = 0;
    if (at >= a->len)
        return "";
    cg_record_read(a->base + at, &r);
    *len = r.value_len;
    return r.value;
}

/* As cgrpc_metadata_find(). */
static const char *cg_metadata_find(const cgrpc_arena *a,
                                    const cgrpc_vocabulary *v, unsigned which,
                                    const char *key, size_t nth, size_t *out)
{
    size_t at = 0;
    cg_record r;
    while (cg_metadata_step(a, v, which, &at, &r)) {
        if (!cg_word_same(r.key, key) || nth-- != 0)
            continue;
        if (out != NULL)
            *out = r.value_len;
        return r.value;
    }
    if (out != NULL)
        *out = 0;
    return NULL;
}

/* Appends a record; its value is copied, and its key if it has one. */
static bool cg_metadata_put(cgrpc_arena *a, const cg_record *r)
{
    cg_writer w;
    cg_record_begin(a, &w);
    if (r->key_len != 0)
        cg_put_bytes(&w, r->key, r->key_len + 1);
    cg_put_bytes(&w, r->value, r->value_len);
    cg_put(&w, 0);
    if (w.full)
        return false;
    cg_record_head(w.out, CG_LABEL(r->which, r->name), r->key_len, w.len);
    a->len = (uint16_t)(a->len + w.len);
    return true;
}

/* Names that only the library itself may send. */
static bool cg_metadata_is_ours(unsigned name, const char *key)
{
    return cg_name_is_reserved(name) || name == CG_NAME_CONTENT_LENGTH ||
           name == CG_NAME_TRANSFER_ENCODING || name == CG_NAME_USER_AGENT ||
           cg_word_begins(key, "grpc-");
}

/* gRPC allows printable ASCII; a space at an end would not arrive. */
static bool cg_metadata_is_value(const char *text, size_t len)
{
    size_t at;
    for (at = 0; at < len; ++at)
        if (text[at] < 0x20 || text[at] > 0x7E)
            return false;
    return len == 0 || (text[0] != ' ' && text[len - 1] != ' ');
}

/* As cgrpc_metadata_add(). */
static cgrpc_result cg_metadata_add(cgrpc_arena *a, const cgrpc_vocabulary *v,
                                    unsigned which, const cgrpc_metadata *m)
{
    cg_record r;
    r.key = m->key;
    if (r.key == NULL || !cg_name_is_key(r.key))
        return CGRPC_E_ARGUMENT;
    r.name = (uint8_t)cg_name_find(v, r.key);
    r.which = (uint8_t)which;
    if (cg_metadata_is_ours(r.name, r.key))
        return CGRPC_E_ARGUMENT;
    r.value = m->value == NULL ? "" : (const char *)m->value;
    r.value_len = m->len;
    if (m->value == NULL && m->len != 0)
        return CGRPC_E_ARGUMENT;
    if (!cg_name_is_bin(r.key)) {
        if (m->len == 0)
            r.value_len = cg_text_len(r.value);
        if (!cg_metadata_is_value(r.value, r.value_len))
            return CGRPC_E_ARGUMENT;
    }
    r.key_len = cg_text_len(r.key);
    if (r.name != CG_NAME_UNKNOWN)
        r.key_len = 0;
    return cg_metadata_put(a, &r) ? CGRPC_SUCCESS : CGRPC_E_ROOM;
}

/* Removes the records with that tag: of one name, or of all (`name` 0). */
static void cg_metadata_remove(cgrpc_arena *a, unsigned which, unsigned name)
{
    cg_record_remove(a, CG_LABEL(which, name),
                     name == 0 ? CG_LABEL_WHICH : CG_LABEL_ALL);
}

/* The text of a failure, cut where the arena is full, but not inside of a
 * UTF-8 character. It replaces an earlier one. */
static void cg_metadata_explain(cgrpc_arena *a, unsigned which,
                                const char *text)
{
    size_t room;
    cg_record r;
    cg_metadata_remove(a, which, CG_NAME_GRPC_MESSAGE);
    room = (size_t)(a->cap - a->len);
    if (text == NULL || room <= CG_RECORD_HEAD)
        return;
    room -= CG_RECORD_HEAD + 1;
    r.which = (uint8_t)which;
    r.name = CG_NAME_GRPC_MESSAGE;
    r.key_len = 0;
    r.value = text;
    r.value_len = cg_text_len(text);
    if (r.value_len > room) {
        r.value_len = room;
        while (r.value_len != 0 && (text[r.value_len] & 0xC0) == 0x80)
            --r.value_len;
    }
    (void)cg_metadata_put(a, &r);
}

#if CGRPC_SERVER
/* Drops text and details of a failure that did not come about: their names
 * differ in one bit. */
static void cg_metadata_excuse(cgrpc_arena *a)
{
    cg_record_remove(a, CG_LABEL(CG_OUT_TRAILING, CG_NAME_GRPC_MESSAGE),
                     CG_LABEL_ALL ^ CG_NAME_GRPC_MESSAGE ^
                         CG_NAME_GRPC_DETAILS);
}
#endif

/* Writes all records with that tag into a header block. */
static void cg_metadata_encode(const cgrpc_arena *a,
                               const cgrpc_vocabulary *v, unsigned which,
                               cgrpc_hpack_encoder *e, cg_writer *w)
{
    size_t at = 0;
    cg_record r;
    while (cg_metadata_step(a, v, which, &at, &r))
        cg_hpack_put_field(e, w, &r, NULL);
}

/* ======================================================================
 * >>frame    RFC 9113, sections 4 and 6: frames out
 *
 * The transmit buffer is linear: [tx_start, tx_end) waits for the stream.
 * Frames are written whole or not at all. Messages leave CGRPC_TX_RESERVE
 * bytes alone, so that what the protocol owes finds room.
 * ====================================================================== */

enum { CG_DATA, CG_HEADERS, CG_PRIORITY, CG_RST_STREAM, CG_SETTINGS,
       CG_PUSH_PROMISE, CG_PING, CG_GOAWAY, CG_WINDOW_UPDATE,
       CG_CONTINUATION, CG_ANY };
enum { CG_ACK = 0x1, CG_END_STREAM = 0x1, CG_END_HEADERS = 0x4,
       CG_PADDED = 0x8, CG_WITH_PRIORITY = 0x20 };
enum { CG_NO_ERROR, CG_PROTOCOL_ERROR, CG_INTERNAL_ERROR,
       CG_FLOW_CONTROL_ERROR, CG_SETTINGS_TIMEOUT, CG_STREAM_CLOSED,
       CG_FRAME_SIZE_ERROR, CG_REFUSED_STREAM, CG_CANCEL,
       CG_COMPRESSION_ERROR, CG_CONNECT_ERROR, CG_ENHANCE_YOUR_CALM,
       CG_INADEQUATE_SECURITY, CG_HTTP_1_1_REQUIRED };
enum { CG_FRAME_HEAD = 9, CG_MAX_FRAME = 16384, CG_FIRST_WINDOW = 65535 };

static uint32_t cg_tx_free(const cgrpc_conn *conn)
{
    return conn->tx_cap - (conn->tx_end - conn->tx_start);
}

/* Room beyond the reserve, for what a call wants to send. */
static uint32_t cg_tx_room(const cgrpc_conn *conn)
{
    uint32_t space = cg_tx_free(conn);
    return space > CGRPC_TX_RESERVE ? space - CGRPC_TX_RESERVE : 0;
}

/* Where the next byte goes; all free bytes lie there in one piece. */
static uint8_t *cg_tx_tail(cgrpc_conn *conn)
{
    if (conn->tx_start) {
        memmove(conn->tx, conn->tx + conn->tx_start,
                conn->tx_end - conn->tx_start);
        conn->tx_end -= conn->tx_start;
        conn->tx_start = 0;
    }
    return conn->tx + conn->tx_end;
}

static void cg_frame_head(uint8_t *out, uint32_t len, uint8_t type,
                          uint8_t flags, uint32_t id)
{
    cg_set24(out, len);
    out[3] = type;
    out[4] = flags;
    cg_set32(out + 5, id);
}

/* A small control frame; false: no room even in the reserve. */
static bool cg_frame_put(cgrpc_conn *conn, uint8_t type, uint8_t flags,
                         uint32_t id, const uint8_t *payload, uint32_t len)
{
    uint8_t *out;
    if (cg_tx_free(conn) < CG_FRAME_HEAD + len)
        return false;
    out = cg_tx_tail(conn);
    cg_frame_head(out, len, type, flags, id);
    if (len)
        memcpy(out + CG_FRAME_HEAD, payload, len);
    conn->tx_end += CG_FRAME_HEAD + len;
    return true;
}

static bool cg_frame_put32(cgrpc_conn *conn, uint8_t type, uint32_t id,
                           uint32_t value)
{
    uint8_t payload[4];
    cg_set32(payload, value);
    return cg_frame_put(conn, type, 0, id, payload, 4);
}

/* The last stream that it names may only sink from one GOAWAY to the next. */
static bool cg_frame_goaway(cgrpc_conn *conn, uint32_t last, uint32_t code)
{
    uint8_t payload[8];
    conn->goaway_said = cg_min32(conn->goaway_said, last);
    cg_set32(payload, conn->goaway_said);
    cg_set32(payload + 4, code);
    return cg_frame_put(conn, CG_GOAWAY, 0, 0, payload, 8);
}

/* ======================================================================
 * >>flow    RFC 9113, section 5.2: windows
 *
 * Credit is a real buffer. A stream's receive window plus what its buffer
 * holds never passes the buffer's size, so the credit owed needs no counter:
 * it is the difference. The connection's window only paces: its bytes are
 * returned as they are parsed, for the streams' windows guard the memory.
 * ====================================================================== */

/* Adds credit, or takes it; false: the window would pass 2^31 - 1. */
static bool cg_flow_grow(int32_t *window, int32_t credit)
{
    if (*window > 0 && credit > 0x7fffffff - *window)
        return false;
    *window += credit;
    return true;
}

enum { CG_FREE, CG_QUEUED, CG_OPEN, CG_FINISHING, CG_LINGERING,
       CG_OVER }; /* cgrpc_call.stage */

static uint8_t *cg_rx(const cgrpc_call *call)
{
    return call->metadata.base + CGRPC_METADATA_BYTES;
}

/* What the stream must be able to receive before anybody waits: the rest of
 * the message in progress; between messages, the largest one. */
static uint32_t cg_flow_need(const cgrpc_call *call)
{
    uint32_t cap = call->rx_cap, total;
    if (call->rx_len < 5)
        return cap - call->rx_len;
    total = cg_get32(cg_rx(call) + 1);
    if (total > cap - 5 || total + 5 <= call->rx_len)
        return cap - call->rx_len;
    return total + 5 - call->rx_len;
}

/* What the windows have been charged for, and is still to come. */
static int32_t cg_flow_coming(const cgrpc_conn *conn)
{
    return conn->frame_type == CG_DATA ? (int32_t)conn->frame_left : 0;
}

static void cg_flow_credit_call(cgrpc_conn *conn, cgrpc_call *call)
{
    int32_t owed = (int32_t)(call->rx_cap - call->rx_len) - call->rx_window;
    if (conn->is_server && !conn->settings_acked)
        return;
    if (call == conn->call)
        owed -= cg_flow_coming(conn);
    if (owed <= 0 || call->ended_in || call->not_grpc ||
        call->rx_window >= (int32_t)cg_flow_need(call))
        return;
    if (cg_frame_put32(conn, CG_WINDOW_UPDATE, call->id, (uint32_t)owed))
        call->rx_window += owed;
    else
        conn->credit_due = true;
}

/* Gives the credit that is due, once a turn; what finds no room is still
 * due at the next one. */
static void cg_flow_credit(cgrpc_conn *conn)
{
    int32_t owed = conn->rx_top - conn->rx_window - cg_flow_coming(conn);
    cgrpc_call *call;
    bool due = owed >= conn->rx_top / 2;
    conn->credit_due = false;
    if (due && cg_frame_put32(conn, CG_WINDOW_UPDATE, 0, (uint32_t)owed))
        conn->rx_window += owed;
    else
        conn->credit_due = due;
    for (call = conn->calls; call; call = call->next)
        if (call->stage == CG_OPEN)
            cg_flow_credit_call(conn, call);
}

/* ======================================================================
 * >>stream    RFC 9113, sections 5.1 and 8: streams and their header fields
 *
 * An open stream is a call on its connection's list. A closed one is an id
 * that is not above last_id; the last few are remembered with the reason, so
 * that late frames are judged rightly (5.1):
 *
 *   how the stream closed        late DATA or HEADERS
 *   CG_BOTH_ENDED                STREAM_CLOSED
 *   CG_PEER_RESET                STREAM_CLOSED
 *   CG_RESET_OWED, CG_RESET_SENT ignored: the peer did not know yet
 *   forgotten                    DATA: STREAM_CLOSED on the stream
 * ====================================================================== */

enum { CG_FORGOTTEN, CG_BOTH_ENDED, CG_PEER_RESET, CG_RESET_OWED,
       CG_RESET_SENT }; /* cgrpc_closed.how */

static cgrpc_call *cg_stream_find(const cgrpc_conn *conn, uint32_t id)
{
    cgrpc_call *call = conn->calls;
    while (call && call->id != id)
        call = call->next;
    return call;
}

static void cg_list_append(cgrpc_call **list, cgrpc_call *call)
{
    while (*list)
        list = &(*list)->next;
    call->next = NULL;
    *list = call;
}

/* The newest stands last: streams must be used in the order of their ids. */
static void cg_stream_attach(cgrpc_conn *conn, cgrpc_call *call, uint32_t id)
{
    call->id = id;
    call->conn = conn;
    call->tx_window = conn->peer_window;
    call->rx_window = conn->settings_acked || !conn->is_server
                          ? conn->our_window : CG_FIRST_WINDOW;
    cg_list_append(&conn->calls, call);
    conn->opened++;
}

static void cg_list_remove(cgrpc_call **list, const cgrpc_call *call)
{
    while (*list && *list != call)
        list = &(*list)->next;
    if (*list)
        *list = call->next;
}

static CG_COMPACT uint8_t cg_closed_how(const cgrpc_conn *conn, uint32_t id)
{
    size_t i;
    for (i = 0; i < CGRPC_CLOSED_STREAMS; i++)
        if (conn->closed[i].id == id)
            return conn->closed[i].how;
    return CG_FORGOTTEN;
}

/* Where eight resets are owed already, the connection must end. */
static void cg_closed_remember(cgrpc_conn *conn, uint32_t id, uint8_t how,
                               uint8_t code)
{
    size_t tries;
    for (tries = 0; how != CG_BOTH_ENDED && tries < CGRPC_CLOSED_STREAMS;
         tries++) { /* it may have closed before, and be reset now */
        cgrpc_closed *slot = &conn->closed[tries];
        if (slot->id == id && slot->how == CG_RESET_OWED)
            return;
        if (slot->id == id)
            slot->id = 0; /* what is said now counts */
    }
    for (tries = 0; tries < CGRPC_CLOSED_STREAMS; tries++) {
        cgrpc_closed *slot = &conn->closed[conn->closed_next];
        conn->closed_next =
            (uint8_t)((conn->closed_next + 1) % CGRPC_CLOSED_STREAMS);
        if (slot->how == CG_RESET_OWED)
            continue;
        slot->id = id;
        slot->how = how;
        slot->code = code;
        conn->resets_due = conn->resets_due || how == CG_RESET_OWED;
        return;
    }
    conn->overrun = true;
}

/* Writes the resets that are owed. true: none is left. */
static bool cg_closed_flush(cgrpc_conn *conn)
{
    size_t i;
    for (i = 0; conn->resets_due && i < CGRPC_CLOSED_STREAMS; i++) {
        cgrpc_closed *slot = &conn->closed[i];
        if (slot->how != CG_RESET_OWED)
            continue;
        if (!cg_frame_put32(conn, CG_RST_STREAM, slot->id, slot->code))
            return false;
        slot->how = CG_RESET_SENT;
    }
    conn->resets_due = false;
    return true;
}

/* The call whose texts the decoder gathers is gone. */
static void cg_hpack_forget(cgrpc_hpack_decoder *decoder)
{
    cg_text_drop(decoder);
    decoder->arena = NULL;
}

/* The stream is closed; the call object lives on without it. */
static void cg_stream_detach(cgrpc_call *call, uint8_t how, uint8_t code)
{
    cgrpc_conn *conn = call->conn;
    if (!conn)
        return;
    cg_list_remove(&conn->calls, call);
    cg_closed_remember(conn, call->id, how, code);
    if (conn->call == call) {
        conn->call = NULL;
        cg_hpack_forget(&conn->decoder);
    }
    conn->opened--;
    call->conn = NULL;
    call->next = NULL;
}

/* RST_STREAM, now or as soon as there is room. */
static void cg_stream_reset(cgrpc_call *call, uint8_t code)
{
    cgrpc_conn *conn = call->conn;
    if (!conn)
        return;
    cg_stream_detach(call, CG_RESET_OWED, code);
    cg_closed_flush(conn);
}

/* The fields of the header block in progress that mean something here, each
 * with a slot in cgrpc_head: RFC 9113, 8.2 and 8.3, and gRPC's own. */
enum { CG_HAS_OTHER = 0, CG_HAS_AUTHORITY = 1, CG_HAS_METHOD = 2,
       CG_HAS_PATH = 3, CG_HAS_SCHEME = 4, CG_HAS_STATUS = 5,
       CG_HAS_TYPE = 6, CG_HAS_TIMEOUT = 7, CG_HAS_ENCODING = 8,
       CG_HAS_GRPC_STATUS = 9, CG_HAS_LENGTH = 10, CG_HAS_TE = 11,
       CG_FORBIDDEN = 12 };

/* The slot of each known name, from CG_NAME_UNKNOWN on. */
static const uint8_t cg_head_slots[CG_NAME_KNOWN + 1] = {
    0, CG_HAS_AUTHORITY, CG_HAS_METHOD, CG_HAS_PATH, CG_HAS_SCHEME,
    CG_HAS_STATUS, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, CG_HAS_LENGTH, 0, 0,
    CG_HAS_TYPE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, CG_FORBIDDEN, 0, 0, 0, 0, CG_HAS_TE, CG_HAS_TIMEOUT,
    CG_HAS_ENCODING, 0, CG_HAS_GRPC_STATUS, 0, 0, CG_FORBIDDEN, CG_FORBIDDEN,
    CG_FORBIDDEN, CG_FORBIDDEN
};

#define CG_HEAD_PSEUDO 0x3Eu /* bits of CG_HAS_AUTHORITY to CG_HAS_STATUS */
#define CG_HEAD_JUDGED                                                    \
    (CG_HEAD_PSEUDO | 1u << CG_HAS_LENGTH | 1u << CG_HAS_TE |             \
     1u << CG_FORBIDDEN)
/* A malformed one is an error of gRPC's, not of HTTP's. */
#define CG_HEAD_LENIENT (1u << CG_HAS_TIMEOUT | 1u << CG_HAS_GRPC_STATUS)

static bool cg_head_has(const cgrpc_head *head, unsigned slot)
{
    return (head->seen >> slot & 1) != 0;
}

/* May that field stand there, with that value? Pseudo-fields come first and
 * once, and each only where it belongs. */
static bool cg_head_allows(const cgrpc_conn *conn, unsigned slot,
                           uint32_t value)
{
    const cgrpc_head *head = &conn->head;
    if (slot > CG_HAS_LENGTH)
        return slot == CG_HAS_TE && value == CG_TE_TRAILERS;
    if (slot == CG_HAS_LENGTH)
        return !cg_head_has(head, slot) || value == head->value[slot];
    return (head->seen & (1u << slot | ~CG_HEAD_PSEUDO)) == 0 &&
           conn->is_server == (slot != CG_HAS_STATUS);
}

/* A field that is complete. */
static void cg_head_field(cgrpc_conn *conn, uint32_t what, unsigned flags)
{
    cgrpc_head *head = &conn->head;
    unsigned name = what >> 24, slot = 0, bit;
    if (name <= CG_NAME_KNOWN)
        slot = cg_head_slots[name];
    what &= 0xFFFFFF;
    bit = 1u << slot;
    if (flags != 0 && (bit & CG_HEAD_LENIENT) != 0)
        flags &= ~(unsigned)CG_FIELD_MALFORMED;
    if ((bit & CG_HEAD_JUDGED) != 0 && !cg_head_allows(conn, slot, what))
        flags |= CG_FIELD_MALFORMED;
    if (flags != 0)
        head->flags = (uint8_t)(head->flags | flags);
    head->seen = (uint16_t)(head->seen | bit);
    head->value[slot] = what;
}

/* ======================================================================
 * >>conn    RFC 9113: one connection, both roles
 *
 * Bytes are parsed as they come, each state consuming what it can; a frame
 * is begun only if the worst reply to it fits the transmit buffer. After a
 * fatal error one state discards everything. What streams mean is asked of
 * the ops, which the gRPC layers below fill in.
 * ====================================================================== */

typedef struct cgrpc_conn_ops {
    /* a new stream; NULL refuses it (server) */
    cgrpc_call *(*open)(cgrpc_conn *conn, uint32_t id);
    /* a header block is complete */
    void (*headers)(cgrpc_call *call, const cgrpc_head *head, bool end);
    /* says how much it took; the rest is shown again after the handlers */
    uint32_t (*data)(cgrpc_call *call, const uint8_t *in, uint32_t len);
    void (*ended)(cgrpc_call *call); /* END_STREAM, after headers and data */
    void (*reset)(cgrpc_call *call, uint32_t code);
    void (*goaway)(cgrpc_conn *conn, uint32_t last);
    /* the connection is of no more use; its calls were not told */
    void (*lost)(cgrpc_conn *conn);
} cgrpc_conn_ops;

enum { CG_READ_HEAD, CG_READ_PREFIX, CG_READ_FIXED, CG_READ_BODY, CG_READ_SKIP,
       CG_READ_PREFACE }; /* cgrpc_conn.state */

enum {
    CG_WORST_REPLY = 48,      /* ACK of a PING, two credits */
    CG_LINGER_MS = 5000,      /* for a peer that must still end a stream */
    CG_GREET_MS = 10000,      /* for the peer's preface and SETTINGS */
    CG_LEAST_TX = 128,        /* TX_BYTES: a reply's constant blocks fit */
    CG_DYING_MS = 250,        /* for a GOAWAY to arrive before the close */
    CG_CHARGE_RESET = 4,
    CG_REFILL = 16            /* tokens a message is worth */
};
#define CG_BLOCK_LIMIT 0x40000ul /* bytes of one header block */

static const char cg_preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

static uint32_t cg_side_now(const cgrpc_side *side)
{
    return side->port->now(side->port->context);
}

static void cg_conn_set_timer(cgrpc_conn *conn, uint32_t ms)
{
    conn->timer = cg_side_now(conn->side) + ms;
    conn->timed = true;
}

/* Ends a connection for cause: GOAWAY, then silence until it closes. */
static void cg_conn_fail(cgrpc_conn *conn, uint8_t code)
{
    if (conn->dead)
        return;
    CGRPC_LOG(1, "cgrpc: %s: connection error %u, GOAWAY\n", conn->peer,
              (unsigned)code);
    conn->dead = 1;
    conn->error = code;
    conn->goaway_due = true;
    cg_conn_set_timer(conn, CG_DYING_MS);
    conn->ops->lost(conn);
}

/* Cheap frames cost tokens; false: the peer has used them up. */
static bool cg_conn_charge(cgrpc_conn *conn, uint32_t cost)
{
    if (conn->bucket < cost) {
        cg_conn_fail(conn, CG_ENHANCE_YOUR_CALM);
        return false;
    }
    conn->bucket -= cost;
    return true;
}

static CG_COMPACT void cg_conn_refill(cgrpc_conn *conn, uint32_t tokens)
{
    conn->bucket = cg_min32(conn->bucket + tokens, CGRPC_ABUSE_BURST);
}

/* What time gives back: all of it in half a minute. */
static void cg_conn_refill_by_time(cgrpc_conn *conn, uint32_t now)
{
    uint32_t seconds = (now - conn->bucket_time) >> 10;
    if (seconds == 0)
        return;
    conn->bucket_time = now;
    cg_conn_refill(conn, cg_min32(seconds, 30) * (CGRPC_ABUSE_BURST / 30 + 1));
}

/* A stream error on the frame in progress, whether or not a call has it. */
static void cg_conn_refuse(cgrpc_conn *conn, uint32_t id, uint8_t code)
{
    cgrpc_call *call = cg_stream_find(conn, id);
    if (!cg_conn_charge(conn, CG_CHARGE_RESET))
        return;
    if (call) {
        cg_stream_reset(call, code);
        conn->ops->reset(call, code);
        return;
    }
    cg_closed_remember(conn, id, CG_RESET_OWED, code);
    cg_closed_flush(conn);
}

/* The peer speaks of a stream that nobody has opened (5.1, idle). */
static bool cg_conn_idle(const cgrpc_conn *conn, uint32_t id)
{
    return !(id & 1) || id > conn->last_id;
}

/* --- SETTINGS, PING, GOAWAY, WINDOW_UPDATE, RST_STREAM --- */

static uint8_t *cg_setting(uint8_t *out, uint16_t key, uint32_t value)
{
    out[0] = (uint8_t)(key >> 8);
    out[1] = (uint8_t)key;
    cg_set32(out + 2, value);
    return out + 6;
}

static void cg_conn_initial_window(cgrpc_conn *conn, uint32_t value)
{
    cgrpc_call *call;
    bool fits = value <= 0x7fffffff;
    int32_t change = (int32_t)(value & 0x7fffffff) - conn->peer_window;
    for (call = conn->calls; call && fits; call = call->next)
        fits = cg_flow_grow(&call->tx_window, change);
    if (!fits)
        cg_conn_fail(conn, CG_FLOW_CONTROL_ERROR);
    conn->peer_window += change;
}

static void cg_conn_setting(cgrpc_conn *conn, uint16_t key, uint32_t value)
{
    switch (key) {
    case 1: /* HEADER_TABLE_SIZE */
        conn->peer_table = value; /* in force from our ACK on, but it may */
        if (value < conn->encoder.limit) /* have been less in between */
            cg_hpack_peer_limit(&conn->encoder, value);
        break;
    case 2: /* ENABLE_PUSH: a server may only say 0 */
        if (value > 1 || (value && !conn->is_server))
            cg_conn_fail(conn, CG_PROTOCOL_ERROR);
        break;
    case 3: /* MAX_CONCURRENT_STREAMS */
        conn->peer_streams = value;
        break;
    case 4: /* INITIAL_WINDOW_SIZE */
        cg_conn_initial_window(conn, value);
        break;
    case 5: /* MAX_FRAME_SIZE */
        if (value < CG_MAX_FRAME || value > 0xffffff)
            cg_conn_fail(conn, CG_PROTOCOL_ERROR);
        else
            conn->peer_frame = value;
        break;
    default:
        break;
    }
}

/* Our SETTINGS take effect: what the peer sends from now on keeps to them,
 * so each stream's window takes the difference and may go negative. (A
 * client's SETTINGS precede its first stream: nothing to correct there.) */
static void cg_conn_first_ack(cgrpc_conn *conn)
{
    cgrpc_call *call;
    conn->settings_acked = 1;
    for (call = conn->calls; call && conn->is_server; call = call->next)
        call->rx_window += conn->our_window - CG_FIRST_WINDOW;
    cg_hpack_limit(&conn->decoder, CGRPC_HPACK_TABLE_BYTES);
}

/* A text that a peer refers to is gone: make it send its texts anew, by a
 * table size of 0 and, once that is acknowledged, of the old size. A server
 * refuses the call unprocessed, so that its client tries again. */
static void cg_conn_flush_table(cgrpc_conn *conn)
{
    uint8_t payload[6];
    if (conn->flushing || !conn->settings_acked)
        return;
    cg_setting(payload, 1, 0);
    if (cg_frame_put(conn, CG_SETTINGS, 0, 0, payload, 6))
        conn->flushing = 1;
}

static void cg_conn_settings_ack(cgrpc_conn *conn)
{
    uint8_t payload[6];
    if (!conn->settings_acked) {
        cg_conn_first_ack(conn);
        return;
    }
    if (!conn->flushing)
        return;
    cg_setting(payload, 1, CGRPC_HPACK_TABLE_BYTES);
    cg_frame_put(conn, CG_SETTINGS, 0, 0, payload, 6);
    conn->flushing = 0;
}

static const uint8_t cg_drain_ping[8] = { 'c', 'g', 'd', 'r', 'a', 'i', 'n',
                                          0 };

#if CGRPC_SERVER
/* The graceful end of a server's connection (6.8): a GOAWAY that refuses
 * nothing, a round trip, then one that names the last stream. */
static void cg_conn_drain(cgrpc_conn *conn)
{
    if (conn->draining || conn->dead || cg_tx_free(conn) < CG_WORST_REPLY)
        return;
    cg_frame_goaway(conn, 0x7fffffff, CG_NO_ERROR);
    cg_frame_put(conn, CG_PING, 0, 0, cg_drain_ping, 8);
    conn->draining = 1;
    cg_conn_set_timer(conn, CG_LINGER_MS);
}
#endif

static void cg_conn_drain_last(cgrpc_conn *conn)
{
    if (conn->draining != 1)
        return;
    conn->timed = !cg_frame_goaway(conn, conn->last_id, CG_NO_ERROR);
    conn->draining = conn->timed ? 1 : 2;
    if (conn->draining == 2 && conn->only == CG_CONTINUATION)
        cg_conn_set_timer(conn, CG_GREET_MS);
}

static void cg_conn_ping(cgrpc_conn *conn, const uint8_t *in)
{
    if (!(conn->frame_flags & CG_ACK))
        cg_frame_put(conn, CG_PING, CG_ACK, 0, in, 8);
    else if (memcmp(in, cg_drain_ping, 8) == 0)
        cg_conn_drain_last(conn);
}

static void cg_conn_window_update(cgrpc_conn *conn, uint32_t credit)
{
    uint32_t id = conn->frame_id;
    cgrpc_call *call = id ? cg_stream_find(conn, id) : NULL;
    if (id == 0) {
        if (!credit)
            cg_conn_fail(conn, CG_PROTOCOL_ERROR);
        else if (!cg_flow_grow(&conn->tx_window, (int32_t)credit))
            cg_conn_fail(conn, CG_FLOW_CONTROL_ERROR);
        return;
    }
    if (!call)
        return;
    if (!credit)
        cg_conn_refuse(conn, id, CG_PROTOCOL_ERROR);
    else if (!cg_flow_grow(&call->tx_window, (int32_t)credit))
        cg_conn_refuse(conn, id, CG_FLOW_CONTROL_ERROR);
}

static void cg_conn_rst_stream(cgrpc_conn *conn, uint32_t code)
{
    cgrpc_call *call = cg_stream_find(conn, conn->frame_id);
    if (!call || !cg_conn_charge(conn, CG_CHARGE_RESET))
        return;
    conn->ops->reset(call, code);
    cg_stream_detach(call, CG_PEER_RESET, CG_NO_ERROR);
}

static void cg_conn_goaway(cgrpc_conn *conn, uint32_t last)
{
    conn->goaway_in = 1;
    conn->ops->goaway(conn, last);
}

/* PRIORITY is ignored, but a stream cannot depend on itself (RFC 7540). */
static void cg_conn_priority(cgrpc_conn *conn, const uint8_t *in)
{
    if ((cg_get32(in) & 0x7fffffff) == conn->frame_id)
        cg_conn_fail(conn, CG_PROTOCOL_ERROR);
}

/* A payload of fixed size, or one SETTINGS entry. */
static void cg_conn_fixed(cgrpc_conn *conn, const uint8_t *in)
{
    switch (conn->frame_type) {
    case CG_PRIORITY:
        cg_conn_priority(conn, in);
        break;
    case CG_RST_STREAM:
        cg_conn_rst_stream(conn, cg_get32(in));
        break;
    case CG_SETTINGS:
        cg_conn_setting(conn, cg_get16(in), cg_get32(in + 2));
        break;
    case CG_PING:
        cg_conn_ping(conn, in);
        break;
    case CG_GOAWAY:
        cg_conn_goaway(conn, cg_get32(in) & 0x7fffffff);
        break;
    default: /* CG_WINDOW_UPDATE */
        cg_conn_window_update(conn, cg_get32(in) & 0x7fffffff);
        break;
    }
}

/* --- header blocks --- */

static void cg_conn_block_begin(cgrpc_conn *conn, cgrpc_call *call)
{
    bool ends = (conn->frame_flags & CG_END_STREAM) != 0;
    bool trailers = call && call->headers_in;
    memset(&conn->head, 0, sizeof conn->head);
    conn->call = call;
    conn->only = CG_CONTINUATION;
    conn->block_bytes = 0;
    if (!(conn->frame_flags & CG_END_HEADERS) && conn->draining != 1 &&
        !conn->dead)
        cg_conn_set_timer(conn, CG_GREET_MS);
    conn->block_ends = ends;
    if (trailers) /* no pseudo-field may come any more */
        conn->head.seen = 1u << CG_HAS_OTHER;
    /* Trailers of a request have no reader, and its handler may be adding to
     * the arena meanwhile. */
    cg_hpack_begin(&conn->decoder,
                   call && !(conn->is_server && trailers)
                       ? &call->metadata : NULL,
                   trailers || (ends && !conn->is_server) ? CG_IN_TRAILING
                                                          : CG_IN_INITIAL);
}

static void cg_conn_block(cgrpc_conn *conn, const uint8_t *in, uint32_t len)
{
    cgrpc_hpack_decoder *decoder = &conn->decoder;
    const uint8_t *end = in + len;
    conn->block_bytes += len;
    if (conn->block_bytes > CG_BLOCK_LIMIT) {
        cg_conn_fail(conn, CG_ENHANCE_YOUR_CALM);
        return;
    }
    while (in < end) {
        in = cg_hpack_step(decoder, in, end);
        if (cg_hpack_took(decoder))
            cg_head_field(conn, decoder->what, decoder->flags);
    }
    if (cg_hpack_failed(decoder))
        cg_conn_fail(conn, CG_COMPRESSION_ERROR);
}

static void cg_conn_block_end(cgrpc_conn *conn)
{
    cgrpc_call *call = conn->call;
    conn->only = CG_ANY;
    conn->call = NULL;
    conn->timed = conn->timed && conn->draining == 1;
    conn->useful = conn->useful || call != NULL;
    if (!cg_hpack_end(&conn->decoder)) {
        cg_conn_fail(conn, CG_COMPRESSION_ERROR);
        return;
    }
    if (conn->decoder.text_lost) {
        conn->decoder.text_lost = false;
        cg_conn_flush_table(conn);
    }
    if (!cg_conn_charge(conn, 1 + conn->block_bytes / 256) || !call)
        return;
    conn->ops->headers(call, &conn->head, conn->block_ends);
}

/* Frames on a stream that the peer could not know to be closed, or that our
 * GOAWAY has refused, mean nothing. */
static bool cg_conn_passes_over(const cgrpc_conn *conn, uint8_t how)
{
    return how == CG_RESET_OWED || how == CG_RESET_SENT || !conn->is_server ||
           conn->frame_id > conn->goaway_said;
}

/* HEADERS on a stream that is not open: judged by how it closed. */
static void cg_conn_late_headers(cgrpc_conn *conn)
{
    uint8_t how = cg_closed_how(conn, conn->frame_id);
    if (cg_conn_passes_over(conn, how))
        return;
    cg_conn_fail(conn, how == CG_FORGOTTEN ? CG_PROTOCOL_ERROR
                                           : CG_STREAM_CLOSED);
}

static void cg_conn_open(cgrpc_conn *conn)
{
    uint32_t id = conn->frame_id;
    cgrpc_call *call = NULL;
    conn->last_id = id;
    if (conn->draining < 2) {
        call = conn->ops->open(conn, id);
        if (!call) {
            cg_closed_remember(conn, id, CG_RESET_OWED, CG_REFUSED_STREAM);
            cg_closed_flush(conn);
        }
    }
    cg_conn_block_begin(conn, call);
}

static void cg_conn_headers(cgrpc_conn *conn)
{
    uint32_t id = conn->frame_id;
    cgrpc_call *call = cg_stream_find(conn, id);
    if (!(id & 1) || (!conn->is_server && id > conn->last_id)) {
        cg_conn_fail(conn, CG_PROTOCOL_ERROR);
        return;
    }
    if (id > conn->last_id) {
        cg_conn_open(conn);
        return;
    }
    if (call && call->ended_in) {
        cg_conn_refuse(conn, id, CG_STREAM_CLOSED);
        call = NULL;
    } else if (!call) {
        cg_conn_late_headers(conn);
    }
    cg_conn_block_begin(conn, call);
}

/* --- DATA --- */

/* DATA on a stream that is not open. */
static void cg_conn_late_data(cgrpc_conn *conn)
{
    if (cg_conn_passes_over(conn, cg_closed_how(conn, conn->frame_id)))
        cg_conn_charge(conn, 1);
    else
        cg_conn_refuse(conn, conn->frame_id, CG_STREAM_CLOSED);
}

static void cg_conn_data(cgrpc_conn *conn)
{
    cgrpc_call *call = cg_stream_find(conn, conn->frame_id);
    int32_t len = (int32_t)conn->frame_left;
    if (len > conn->rx_window) {
        cg_conn_fail(conn, CG_FLOW_CONTROL_ERROR);
        return;
    }
    conn->rx_window -= len;
    conn->call = call;
    if (!call)
        cg_conn_late_data(conn);
    else if (call->ended_in)
        cg_conn_refuse(conn, conn->frame_id, CG_STREAM_CLOSED);
    else if (conn->is_server && call->not_grpc)
        return; /* passed over, whatever our window said */
    else if (len > 0 && len > call->rx_window)
        cg_conn_refuse(conn, conn->frame_id, CG_FLOW_CONTROL_ERROR);
    else
        call->rx_window -= len;
}

static void cg_conn_data_end(cgrpc_conn *conn)
{
    cgrpc_call *call = conn->call;
    conn->call = NULL;
    if (!call || !(conn->frame_flags & CG_END_STREAM))
        return;
    call->ended_in = 1;
    conn->ops->ended(call);
}

/* --- the frame machine --- */

/* What a frame of each type must look like: not without a stream, not with
 * one, only on a stream that was opened; and its length, or the least. */
enum { CG_ON_CONN = 0x80, CG_ON_STREAM = 0x40, CG_ON_USED = 0x20,
       CG_AT_LEAST = 0x10 };
static const uint8_t cg_frame_rules[] = {
    CG_ON_STREAM | CG_ON_USED,     /* DATA */
    CG_ON_STREAM,                  /* HEADERS */
    CG_ON_STREAM | 5,              /* PRIORITY */
    CG_ON_STREAM | CG_ON_USED | 4, /* RST_STREAM */
    CG_ON_CONN | CG_AT_LEAST,      /* SETTINGS */
    CG_ON_CONN | CG_ON_STREAM,     /* PUSH_PROMISE: never */
    CG_ON_CONN | 8,                /* PING */
    CG_ON_CONN | CG_AT_LEAST | 8,  /* GOAWAY */
    CG_ON_USED | 4,                /* WINDOW_UPDATE */
    CG_ON_STREAM                   /* CONTINUATION */
};

/* The peer's SETTINGS came, the first frame of all. */
static bool cg_conn_greeted(const cgrpc_conn *conn)
{
    return conn->only != CG_SETTINGS;
}

static bool cg_frame_is_ack(const cgrpc_conn *conn)
{
    return conn->frame_type == CG_SETTINGS && (conn->frame_flags & CG_ACK);
}

/* Checks that hold whatever a frame says; 0 or an error code. `last` is the
 * stream of the frame before. */
static CG_COMPACT uint8_t cg_frame_check(const cgrpc_conn *conn, uint32_t last)
{
    uint32_t len = conn->frame_left, id = conn->frame_id;
    uint8_t type = conn->frame_type, only = conn->only, rule, exact;
    if (only == CG_ANY ? type == CG_CONTINUATION : type != only)
        return CG_PROTOCOL_ERROR; /* 3.4: no preface, e.g. HTTP/1.1 */
    if (len > CG_MAX_FRAME)
        return CG_FRAME_SIZE_ERROR;
    if (only == CG_CONTINUATION && id != last)
        return CG_PROTOCOL_ERROR;
    if (type > CG_CONTINUATION)
        return CG_NO_ERROR;
    rule = cg_frame_rules[type];
    exact = rule & 15;
    if (rule & (id ? CG_ON_CONN : CG_ON_STREAM) ||
        (rule & CG_ON_USED && id && cg_conn_idle(conn, id)))
        return CG_PROTOCOL_ERROR;
    if (exact && (rule & CG_AT_LEAST ? len < exact : len != exact))
        return CG_FRAME_SIZE_ERROR;
    if (!cg_frame_is_ack(conn))
        return CG_NO_ERROR;
    if (only == CG_SETTINGS)
        return CG_PROTOCOL_ERROR;
    return len ? CG_FRAME_SIZE_ERROR : CG_NO_ERROR;
}

/* Pad length and priority fields in front of a body. */
static CG_COMPACT uint32_t cg_frame_prefix(const cgrpc_conn *conn)
{
    unsigned flags = conn->frame_flags & (CG_PADDED | CG_WITH_PRIORITY);
    if (conn->frame_type == CG_DATA)
        flags &= CG_PADDED;
    if (!flags || conn->frame_type > CG_HEADERS)
        return 0;
    return (flags & CG_PADDED ? 1 : 0) + (flags & CG_WITH_PRIORITY ? 5u : 0);
}

/* The next `need` bytes are looked at together. */
static void cg_conn_expect(cgrpc_conn *conn, uint8_t state, uint32_t need)
{
    conn->state = state;
    conn->need = (uint8_t)need;
}

static void cg_frame_end(cgrpc_conn *conn)
{
    cg_conn_expect(conn, CG_READ_HEAD, CG_FRAME_HEAD);
    if (conn->dead)
        return;
    switch (conn->frame_type) {
    case CG_DATA:
        cg_conn_data_end(conn);
        break;
    case CG_HEADERS:
    case CG_CONTINUATION:
        if (conn->frame_flags & CG_END_HEADERS)
            cg_conn_block_end(conn);
        break;
    case CG_SETTINGS:
        if (!cg_conn_greeted(conn) && !conn->draining)
            conn->timed = false;
        conn->only = CG_ANY;
        if (conn->frame_flags & CG_ACK) {
            cg_conn_settings_ack(conn);
            break;
        }
        cg_hpack_peer_limit(&conn->encoder, conn->peer_table);
        cg_frame_put(conn, CG_SETTINGS, CG_ACK, 0, NULL, 0);
        break;
    default:
        break;
    }
}

/* What comes after the frame's header, or after its prefix. */
static void cg_frame_body(cgrpc_conn *conn)
{
    uint32_t left = conn->frame_left, piece = 6;
    uint8_t type = conn->frame_type;
    if (type == CG_DATA && left == conn->frame_pad &&
        !(conn->frame_flags & CG_END_STREAM))
        cg_conn_charge(conn, 1); /* it says nothing */
    if (left == 0)
        cg_frame_end(conn);
    else if (left == conn->frame_pad || type > CG_CONTINUATION)
        conn->state = CG_READ_SKIP;
    else if (type <= CG_HEADERS || type == CG_CONTINUATION)
        conn->state = CG_READ_BODY;
    else {
        if (type != CG_SETTINGS)
            piece = cg_frame_rules[type] & 15;
        if (left < piece)
            cg_conn_fail(conn, CG_FRAME_SIZE_ERROR);
        cg_conn_expect(conn, CG_READ_FIXED, piece);
    }
}

/* A frame's header has come: judge it, and go where its payload leads. */
static void cg_frame_begin(cgrpc_conn *conn, const uint8_t *in)
{
    uint32_t prefix, last = conn->frame_id;
    uint8_t error;
    conn->frame_left = cg_get24(in);
    conn->frame_type = in[3];
    conn->frame_flags = in[4];
    conn->frame_id = cg_get32(in + 5) & 0x7fffffff;
    conn->frame_pad = 0;
    error = cg_frame_check(conn, last);
    prefix = cg_frame_prefix(conn);
    if (!error && prefix > conn->frame_left)
        error = CG_FRAME_SIZE_ERROR;
    if (error) {
        cg_conn_fail(conn, error);
        return;
    }
    if (conn->frame_type == CG_DATA)
        cg_conn_data(conn);
    else if (conn->frame_type == CG_HEADERS)
        cg_conn_headers(conn);
    else
        cg_conn_charge(conn, 1);
    if (prefix)
        cg_conn_expect(conn, CG_READ_PREFIX, prefix);
    else
        cg_frame_body(conn);
}

static void cg_frame_prefix_end(cgrpc_conn *conn, const uint8_t *in)
{
    if (conn->frame_flags & CG_PADDED)
        conn->frame_pad = *in++;
    if (conn->frame_pad > conn->frame_left) {
        cg_conn_fail(conn, CG_PROTOCOL_ERROR);
        return;
    }
    if (conn->need >= 5)
        cg_conn_priority(conn, in);
    cg_frame_body(conn);
}

static void cg_frame_fixed_end(cgrpc_conn *conn, const uint8_t *in)
{
    cg_conn_fixed(conn, in);
    if (conn->frame_type == CG_GOAWAY)
        conn->state = CG_READ_SKIP;
    if (conn->frame_left == 0 || conn->frame_type == CG_SETTINGS)
        cg_frame_body(conn);
}

/* Looks at `need` bytes: where they lie, or gathered if they come in parts. */
static uint32_t cg_conn_at_piece(cgrpc_conn *conn, const uint8_t *in,
                                 uint32_t len)
{
    uint32_t used = cg_min32(len, conn->need - conn->small_len);
    if (used < conn->need) {
        memcpy(conn->small + conn->small_len, in, used);
        conn->small_len = (uint8_t)(conn->small_len + used);
        if (conn->small_len < conn->need)
            return used;
        in = conn->small;
    }
    conn->small_len = 0;
    if (conn->state == CG_READ_HEAD) {
        cg_frame_begin(conn, in);
        return used;
    }
    conn->frame_left -= conn->need;
    if (conn->state == CG_READ_PREFIX)
        cg_frame_prefix_end(conn, in);
    else
        cg_frame_fixed_end(conn, in);
    return used;
}

static uint32_t cg_conn_at_body(cgrpc_conn *conn, const uint8_t *in,
                                uint32_t len)
{
    bool skip = conn->state == CG_READ_SKIP;
    uint32_t used = conn->frame_left - (skip ? 0 : conn->frame_pad);
    used = cg_min32(len, used);
    if (!skip && conn->frame_type != CG_DATA)
        cg_conn_block(conn, in, used);
    else if (!skip && conn->call)
        used = conn->ops->data(conn->call, in, used);
    conn->frame_left -= used;
    if (conn->frame_left == 0)
        cg_frame_end(conn);
    else if (conn->frame_left == conn->frame_pad)
        conn->state = CG_READ_SKIP;
    return used;
}

static uint32_t cg_conn_at_preface(cgrpc_conn *conn, const uint8_t *in,
                                   uint32_t len)
{
    uint32_t used, at = conn->small_len;
    used = cg_min32(len, (uint32_t)sizeof cg_preface - 1 - at);
    if (memcmp(cg_preface + at, in, used) != 0) {
        CGRPC_LOG(1, "cgrpc: %s does not speak HTTP/2 (call with prior "
                  "knowledge, without TLS)\n", conn->peer);
        cg_conn_fail(conn, CG_PROTOCOL_ERROR);
        return len;
    }
    conn->small_len = (uint8_t)(at + used);
    if (conn->small_len == sizeof cg_preface - 1) {
        conn->small_len = 0;
        cg_conn_expect(conn, CG_READ_HEAD, CG_FRAME_HEAD);
    }
    return used;
}

/* Takes what it can of bytes that have come; the rest must be shown again
 * once the transmit buffer has drained. */
static uint32_t cg_conn_input(cgrpc_conn *conn, const uint8_t *in,
                              uint32_t len)
{
    uint32_t at = 0;
    while (at < len && !conn->dead) {
        const uint8_t *p = in + at;
        if (cg_tx_free(conn) < CG_WORST_REPLY ||
            (conn->resets_due && !cg_closed_flush(conn)) || conn->pause)
            break; /* the worst reply to the next piece finds no room, or a
                    * call has ended: its slot must be free first */
        if (conn->state < CG_READ_BODY)
            at += cg_conn_at_piece(conn, p, len - at);
        else if (conn->state < CG_READ_PREFACE)
            at += cg_conn_at_body(conn, p, len - at);
        else
            at += cg_conn_at_preface(conn, p, len - at);
    }
    return conn->dead ? len : at;
}

/* --- the byte stream --- */

static void cg_conn_close(cgrpc_conn *conn)
{
    if (!conn->dead) {
        conn->dead = 1;
        conn->ops->lost(conn);
    }
    conn->io.ops->close(conn->io.context);
    conn->ops = NULL;
}

/* Reads until nothing comes or nothing fits; false: the stream has ended. */
static CG_COMPACT bool cg_conn_read(cgrpc_conn *conn)
{
    int rounds;
    conn->pause = false;
    conn->unread = true;
    for (rounds = 0; rounds < 4; rounds++) {
        const uint8_t *in;
        uint32_t used;
        int got = conn->io.ops->peek(conn->io.context, &in);
        if (got < 0)
            return false;
        conn->unread = got != 0;
        if (got == 0)
            break;
        used = cg_conn_input(conn, in, (uint32_t)got);
        conn->io.ops->take(conn->io.context, used);
        if (used < (uint32_t)got)
            break;
    }
    return true;
}

/* Writes what waits; false: the stream has failed. */
static bool cg_conn_write(cgrpc_conn *conn, uint32_t now)
{
    uint32_t len;
    int sent;
    if (conn->overrun)
        cg_conn_fail(conn, CG_INTERNAL_ERROR);
    if (!conn->dead)
        cg_flow_credit(conn);
    if (conn->goaway_due)
        conn->goaway_due = !cg_frame_goaway(
            conn, conn->is_server ? conn->last_id : 0, conn->error);
    cg_closed_flush(conn);
    cg_conn_refill_by_time(conn, now);
    conn->wrote = false;
    len = conn->tx_end - conn->tx_start;
    if (len == 0)
        return true;
    sent = conn->io.ops->send(conn->io.context, conn->tx + conn->tx_start,
                              len);
    conn->wrote = sent > 0;
    if (sent < 0)
        return false;
    if (conn->wrote || !conn->stalled)
        conn->moved = now;
    conn->tx_start += (uint32_t)sent;
    if (conn->tx_start == conn->tx_end)
        conn->tx_start = conn->tx_end = 0;
    conn->stalled = conn->tx_end != 0;
    return !conn->stalled ||
           cg_time_left(conn->moved + CGRPC_STALL_MS, now) > 0;
}

/* The connection has said all it had to say, or its time is up. */
static bool cg_conn_spent(cgrpc_conn *conn, uint32_t now)
{
    if (conn->timed && cg_time_left(conn->timer, now) == 0) {
        if (conn->dead || conn->draining != 1)
            return true;
        cg_conn_set_timer(conn, CG_DYING_MS); /* for another attempt */
        cg_conn_drain_last(conn);
    }
    return conn->draining == 2 && !conn->calls && conn->tx_end == 0;
}

/* Milliseconds until the connection must be looked at. */
static uint32_t cg_conn_timer(const cgrpc_conn *conn, uint32_t now)
{
    uint32_t left = UINT32_MAX;
    if ((conn->tx_end && !conn->stalled) ||
        (conn->unread && cg_tx_free(conn) >= CG_WORST_REPLY) ||
        (conn->wrote && (conn->resets_due || conn->goaway_due ||
                         conn->credit_due)))
        return 0;
    if (conn->timed)
        left = cg_time_left(conn->timer, now);
    if (conn->stalled)
        left = cg_min32(left, cg_time_left(conn->moved + CGRPC_STALL_MS, now));
    return left;
}

static void cg_conn_begin(cgrpc_conn *conn, const cgrpc_io *io,
                          uint8_t *memory, uint32_t bytes)
{
    cgrpc_side *side = conn->side;
    const cgrpc_conn_ops *ops = conn->ops;
    bool is_server = conn->is_server;
    memset(conn, 0, sizeof *conn);
    conn->side = side;
    conn->ops = ops;
    conn->is_server = is_server;
    conn->io = *io;
    cg_conn_expect(conn, is_server ? CG_READ_PREFACE : CG_READ_HEAD,
                   CG_FRAME_HEAD);
    conn->peer = "";
    conn->tx = memory + CGRPC_METADATA_BYTES;
    conn->tx_cap = bytes - CGRPC_METADATA_BYTES;
    conn->peer_window = conn->tx_window = conn->rx_window = CG_FIRST_WINDOW;
    conn->only = CG_SETTINGS;
    conn->peer_frame = CG_MAX_FRAME;
    conn->peer_streams = UINT32_MAX;
    conn->peer_table = 4096;
    conn->goaway_said = 0x7fffffff;
    conn->bucket = CGRPC_ABUSE_BURST;
    conn->bucket_time = conn->moved = cg_side_now(side);
    cg_conn_set_timer(conn, CG_GREET_MS);
    cg_hpack_init(&conn->decoder, &side->words, memory,
                  CGRPC_METADATA_BYTES);
    cg_hpack_encoder_init(&conn->encoder);
}

/* Our first words: SETTINGS, and the connection window that `window` bytes
 * on each of `streams` streams ask for. */
static void cg_conn_greet(cgrpc_conn *conn, uint32_t streams, uint32_t window)
{
    uint8_t payload[24], *at = payload;
    uint32_t most = 0x3fffffff / window;
    int32_t top = (int32_t)(cg_min32(streams, most) * window);
    conn->our_window = (int32_t)window;
    if (conn->is_server)
        at = cg_setting(at, 3, streams);
    else
        at = cg_setting(at, 2, 0);
    at = cg_setting(at, 4, window);
    if (CGRPC_HPACK_TABLE_BYTES != 4096)
        at = cg_setting(at, 1, CGRPC_HPACK_TABLE_BYTES);
    cg_frame_put(conn, CG_SETTINGS, 0, 0, payload, (uint32_t)(at - payload));
    conn->rx_top = top < CG_FIRST_WINDOW ? CG_FIRST_WINDOW : top;
    if (conn->rx_top > CG_FIRST_WINDOW &&
        cg_frame_put32(conn, CG_WINDOW_UPDATE, 0,
                       (uint32_t)(conn->rx_top - CG_FIRST_WINDOW)))
        conn->rx_window = conn->rx_top;
}

/* ======================================================================
 * >>grpc    gRPC over HTTP/2: statuses, header blocks, messages out
 *
 * A message is 5 bytes of prefix (a flag, a length) and its bytes, cut into
 * DATA frames wherever it suits. The sink below receives an encoding byte by
 * byte and lays it into the transmit buffer as such frames. It keeps no
 * state between two encodings but three numbers in the call.
 * ====================================================================== */

#if CGRPC_ERROR_TEXTS
#define CG_TEXT(text) text
#else
#define CG_TEXT(text) ((const char *)NULL) /* C++ asks for its type in ?: */
#endif

/* --- header blocks --- */

static const char cg_type_grpc[] = "application/grpc";

/* A header block in the making: a frame's room in the transmit buffer, and
 * how far the encoder was, should the block not fit. */
typedef struct cg_block {
    cg_writer out;
    uint8_t *frame;
    cgrpc_hpack_mark before;
} cg_block;

static bool cg_block_begin(cg_block *block, cgrpc_call *call)
{
    cgrpc_conn *conn = call->conn;
    uint32_t room = cg_tx_room(conn);
    if (room <= CG_FRAME_HEAD)
        return false;
    block->frame = cg_tx_tail(conn);
    block->before = conn->encoder.at;
    block->out.out = block->frame + CG_FRAME_HEAD;
    block->out.len = 0;
    block->out.cap = cg_min32(room - CG_FRAME_HEAD, CG_MAX_FRAME);
    block->out.full = false;
    cg_hpack_block_begin(&conn->encoder, &block->out);
    return true;
}

/* The user's fields of a block. */
static void cg_block_metadata(cg_block *block, const cgrpc_call *call,
                              unsigned which)
{
    if (call->metadata.len != 0)
        cg_metadata_encode(&call->metadata, &call->side->words, which,
                           &call->conn->encoder, &block->out);
}

/* true: the block is on its way. false: it did not fit, nothing happened. */
static bool cg_block_end(cg_block *block, cgrpc_call *call, uint8_t flags)
{
    cgrpc_conn *conn = call->conn;
    uint32_t len = (uint32_t)block->out.len;
    if (block->out.full) {
        conn->encoder.at = block->before; /* nothing was inserted */
        return false;
    }
    cg_frame_head(block->frame, len, CG_HEADERS,
                  (uint8_t)(flags | CG_END_HEADERS), call->id);
    conn->tx_end += CG_FRAME_HEAD + len;
    call->headers_out = 1;
    if (flags & CG_END_STREAM)
        call->ended_out = 1;
    return true;
}

/* --- messages out --- */

typedef struct cg_sink {
    uint8_t *out, *end;  /* in the transmit buffer */
    uint8_t *frame;      /* head of the frame in the making, or NULL */
    uint32_t frame_room; /* what the frame in the making may still take */
    uint32_t window, max_frame;
    uint32_t skip;       /* sent by earlier passes */
    uint32_t total, sent;
    uint32_t check, expect; /* of the bytes skipped: as they are, as sent */
    uint32_t id;
    bool replay;         /* bytes are checked as they are skipped and laid */
    bool changed;
} cg_sink;

static uint32_t cg_check(uint32_t check, const uint8_t *in, uint32_t len)
{
    while (len--)
        check = (check ^ *in++) * 16777619u;
    return check;
}

static void cg_sink_close(cg_sink *sink, uint8_t flags)
{
    uint32_t len;
    if (!sink->frame)
        return;
    len = (uint32_t)(sink->out - sink->frame) - CG_FRAME_HEAD;
    cg_frame_head(sink->frame, len, CG_DATA, flags, sink->id);
    sink->frame_room = 0;
}

/* Begins a DATA frame; false: no room for one. */
static bool cg_sink_open(cg_sink *sink)
{
    uint32_t room = (uint32_t)(sink->end - sink->out);
    cg_sink_close(sink, 0);
    sink->frame = NULL;
    if (room <= CG_FRAME_HEAD || sink->window == sink->sent)
        return false;
    sink->frame = sink->out;
    sink->out += CG_FRAME_HEAD;
    sink->frame_room = cg_min32(cg_min32(room - CG_FRAME_HEAD,
                                     sink->window - sink->sent),
                              sink->max_frame);
    return true;
}

static void cg_sink_lay(cg_sink *sink, const uint8_t *in, uint32_t len)
{
    if (CGRPC_REPLAY && sink->replay)
        sink->check = cg_check(sink->check, in, len);
    memcpy(sink->out, in, len);
    sink->out += len;
    sink->frame_room -= len;
    sink->sent += len;
}

static void cg_sink_write(cg_sink *sink, const uint8_t *in, uint32_t len)
{
    sink->total += len;
    if (len <= sink->frame_room && (!CGRPC_REPLAY || !sink->skip)) {
        cg_sink_lay(sink, in, len);
        return;
    }
    if (CGRPC_REPLAY && sink->skip) {
        uint32_t past = cg_min32(sink->skip, len);
        sink->check = cg_check(sink->check, in, past);
        sink->skip -= past;
        sink->changed = !sink->skip && sink->check != sink->expect;
        in += past;
        len -= past;
    }
    while (len && (sink->frame_room || cg_sink_open(sink))) {
        uint32_t part = cg_min32(len, sink->frame_room);
        cg_sink_lay(sink, in, part);
        in += part;
        len -= part;
    }
}

#if CGRPC_NANOPB
static bool cg_sink_pb(pb_ostream_t *stream, const pb_byte_t *in, size_t len)
{
    cg_sink_write((cg_sink *)stream->state, in, (uint32_t)len);
    return true;
}

static bool cg_pb_encode(cg_sink *sink, const pb_msgdesc_t *type,
                         const void *message)
{
    pb_ostream_t stream = PB_OSTREAM_SIZING;
    stream.callback = cg_sink_pb;
    stream.state = sink;
    stream.max_size = SIZE_MAX;
    return pb_encode(&stream, type, message);
}

/* Into one piece of memory; UINT32_MAX: it does not fit, or is no message. */
static uint32_t cg_pb_put(uint8_t *out, uint32_t room,
                          const pb_msgdesc_t *type, const void *message)
{
    pb_ostream_t stream = pb_ostream_from_buffer(out, room);
    return pb_encode(&stream, type, message)
               ? (uint32_t)stream.bytes_written : UINT32_MAX;
}

static bool cg_pb_decode(const uint8_t *in, uint32_t len,
                         const pb_msgdesc_t *type, void *message)
{
    pb_istream_t stream = pb_istream_from_buffer(in, len);
    return pb_decode(&stream, type, message);
}
#else
/* Without nanopb no method has a type. */
#define cg_pb_encode(sink, type, message) false
#define cg_pb_put(out, room, type, message) UINT32_MAX
#define cg_pb_decode(in, len, type, message) false
#endif

static bool cg_encode(cg_sink *sink, const struct pb_msgdesc_s *type,
                      const void *message)
{
    const cgrpc_bytes *raw = (const cgrpc_bytes *)message;
    if (type)
        return cg_pb_encode(sink, type, message);
    if (raw->len)
        cg_sink_write(sink, raw->data, (uint32_t)raw->len);
    return true;
}

static uint32_t cg_encode_whole(uint8_t *out, uint32_t room,
                                const struct pb_msgdesc_s *type,
                                const void *message)
{
    const cgrpc_bytes *raw = (const cgrpc_bytes *)message;
    if (type)
        return cg_pb_put(out, room, type, message);
    if (raw->len > room)
        return UINT32_MAX;
    if (raw->len)
        memmove(out, raw->data, raw->len); /* an echo lies there already */
    return (uint32_t)raw->len;
}

static bool cg_decode(const uint8_t *in, uint32_t len,
                      const struct pb_msgdesc_s *type, void *message)
{
    if (type)
        return cg_pb_decode(in, len, type, message);
    ((cgrpc_bytes *)message)->data = in;
    ((cgrpc_bytes *)message)->len = len;
    return true;
}

static void cg_prefix(uint8_t *out, uint32_t len)
{
    out[0] = 0;
    cg_set32(out + 1, len);
}

static const struct pb_msgdesc_s *cg_message_type(const cgrpc_call *call)
{
    return call->is_server ? call->method->out : call->method->in;
}

/* What may go of a call's messages now, as far as the peer is concerned. */
static uint32_t cg_message_window(const cgrpc_call *call)
{
    int32_t window = call->conn->tx_window;
    if (window > call->tx_window)
        window = call->tx_window;
    return window > 0 ? (uint32_t)window : 0;
}

/* DATA of so many bytes was laid behind the transmit buffer's end. */
static void cg_message_sent(cgrpc_call *call, uint32_t len, bool end)
{
    call->tx_window -= (int32_t)len;
    call->conn->tx_window -= (int32_t)len;
    if (end)
        call->ended_out = 1;
}

/* The short way: a message that one frame holds is encoded in its place.
 * false: this one must go the long way, which begins with its size. */
static bool cg_message_whole(cgrpc_call *call, const void *message, bool end)
{
    cgrpc_conn *conn = call->conn;
    uint32_t most = cg_min32(cg_message_window(call), conn->peer_frame), len;
    uint32_t room = cg_min32(cg_tx_room(conn), CG_FRAME_HEAD + most);
    uint8_t *frame = cg_tx_tail(conn), *prefix = frame + CG_FRAME_HEAD;
    if (room < CG_FRAME_HEAD + 5)
        return false;
    len = cg_encode_whole(prefix + 5, room - CG_FRAME_HEAD - 5,
                          cg_message_type(call), message);
    if (len == UINT32_MAX)
        return false;
    cg_prefix(prefix, len);
    len += 5;
    cg_frame_head(frame, len, CG_DATA, end ? CG_END_STREAM : 0, call->id);
    conn->tx_end += CG_FRAME_HEAD + len;
    cg_message_sent(call, len, end);
    return true;
}

static void cg_sink_init(cg_sink *sink, cgrpc_call *call)
{
    cgrpc_conn *conn = call->conn;
    memset(sink, 0, sizeof *sink);
    sink->out = cg_tx_tail(conn);
    sink->end = sink->out + cg_tx_room(conn);
    sink->window = cg_message_window(call);
    sink->max_frame = conn->peer_frame;
    sink->id = call->id;
    sink->check = 2166136261u;
}

/* What the sink laid down becomes part of the transmit buffer. */
static void cg_sink_commit(cg_sink *sink, cgrpc_call *call, bool end)
{
    cgrpc_conn *conn = call->conn;
    cg_sink_close(sink, end ? CG_END_STREAM : 0);
    conn->tx_end = (uint32_t)(sink->out - conn->tx);
    cg_message_sent(call, sink->sent, end);
}

/* One pass over a message: its prefix, of the size in call->tx_total, and its
 * encoding go into the sink. */
static bool cg_message_pass(cg_sink *sink, const cgrpc_call *call,
                            const void *message)
{
    uint8_t prefix[5];
    cg_prefix(prefix, call->tx_total - 5);
    cg_sink_write(sink, prefix, 5);
    return cg_encode(sink, cg_message_type(call), message);
}

/* How long is a message that goes the long way? */
static bool cg_message_measure(cgrpc_call *call, const void *message)
{
    cg_sink sink;
    cg_sink_init(&sink, call);
    sink.end = sink.out;
    call->tx_check = sink.check;
    if (!cg_message_pass(&sink, call, message))
        return false;
    call->tx_total = sink.total;
    return true;
}

typedef enum cg_outcome { CG_SENT_ALL, CG_SENT_WAIT, CG_SENT_BAD,
                          CG_SENT_LARGE } cg_outcome;

/* The room that a part of `left` bytes waits for: half of the buffer leaves
 * the other half to the header blocks of other calls. */
static uint32_t cg_part_need(const cgrpc_conn *conn, uint32_t left)
{
    return cg_min32(left + CG_FRAME_HEAD,
                    (conn->tx_cap - CGRPC_TX_RESERVE) / 2);
}

/* The long way of a message, or of what is left of it. What only waits for
 * the buffer to drain waits whole. What waits for the peer's window goes out
 * in parts, for a peer may return credit in batches larger than is missing. */
static cg_outcome cg_message_part(cgrpc_call *call, const void *message,
                                  bool end)
{
    cgrpc_conn *conn = call->conn;
    cg_sink sink;
    uint32_t left = call->tx_total - call->tx_sent;
    uint32_t cap = conn->tx_cap - CGRPC_TX_RESERVE;
    bool fits;
    cg_sink_init(&sink, call);
    call->tx_need = left + CG_FRAME_HEAD * (1 + left / sink.max_frame);
    fits = call->tx_need <= cap;
    if (fits && sink.window >= left && cg_tx_room(conn) < call->tx_need)
        return CG_SENT_WAIT;
    if (!CGRPC_REPLAY && (!fits || sink.window < left))
        return fits && (int32_t)left <= conn->peer_window ? CG_SENT_WAIT
                                                          : CG_SENT_LARGE;
    sink.replay = true;
    sink.skip = call->tx_sent;
    sink.expect = call->tx_check;
    if (!cg_message_pass(&sink, call, message) || sink.changed ||
        call->tx_total != sink.total)
        return CG_SENT_BAD;
    left -= sink.sent;
    if (sink.sent)
        cg_sink_commit(&sink, call, end && left == 0);
    call->tx_sent += sink.sent;
    call->tx_check = sink.check;
    call->tx_need = cg_part_need(conn, left);
    return left == 0 ? CG_SENT_ALL : CG_SENT_WAIT;
}

/* Sends a message, or what can go of it now. CG_SENT_WAIT: offer the same
 * again when cg_call_has_room(). CG_SENT_BAD: it cannot be encoded, or changed
 * between two offers. CG_SENT_LARGE: with CGRPC_REPLAY 0, no buffer or window
 * holds it. `end`: END_STREAM goes with it. */
static cg_outcome cg_message_put(cgrpc_call *call, const void *message,
                                 bool end)
{
    cg_outcome outcome;
    if (cg_message_window(call) == 0 ||
        cg_tx_room(call->conn) < call->tx_need)
        return CG_SENT_WAIT;
    if (call->tx_sent != 0 || !cg_message_whole(call, message, end)) {
        if (call->tx_sent == 0 && !cg_message_measure(call, message))
            return CG_SENT_BAD;
        outcome = cg_message_part(call, message, end);
        if (outcome != CG_SENT_ALL)
            return outcome;
    }
    call->tx_total = call->tx_sent = call->tx_need = 0;
    cg_conn_refill(call->conn, CG_REFILL); /* it will earn credit and pings */
    return CG_SENT_ALL;
}

/* ======================================================================
 * >>call    one RPC, both roles: receiving, sending, ending
 *
 * The receive buffer is a queue of bytes as they came, prefixes included;
 * the message at its front is judged as soon as its prefix is there.
 * ====================================================================== */

static uint32_t cg_call_now(const cgrpc_call *call)
{
    return cg_side_now(call->side);
}

/* The peer sends a stream of messages on this call, not just one. */
static bool cg_call_streams_in(const cgrpc_call *call)
{
    return (call->method->kind &
            (call->is_server ? CGRPC_CLIENT_STREAM : CGRPC_SERVER_STREAM)) != 0;
}

/* Prepares a call object for a new RPC; its memory stays. So does `side` of a
 * server's: an ISR may be about to wake the call that was here before. */
static void cg_call_clear(cgrpc_call *call, cgrpc_side *side, bool is_server)
{
    uint8_t *memory = call->metadata.base;
    uint32_t rx_cap = call->rx_cap;
    size_t rest = offsetof(cgrpc_call, serving);
    memset(call, 0, offsetof(cgrpc_call, side));
    memset((uint8_t *)call + rest, 0, sizeof *call - rest);
    call->rx_cap = rx_cap;
    call->side = side;
    call->is_server = is_server;
    call->metadata.base = memory;
    call->metadata.cap = CGRPC_METADATA_BYTES;
}

/* Runs the hook, once; blocking calls are refused meanwhile. */
static void cg_call_run_hook(cgrpc_call *call)
{
    cgrpc_port *port = call->side->port;
    bool outer = port->in_handler;
    if (call->hooked)
        return;
    call->hooked = 1;
    if (!call->hook)
        return;
    port->in_handler = true;
    call->hook(call, (cgrpc_status)call->status);
    port->in_handler = outer;
}

/* --- receiving --- */

/* The length of the message at the front; UINT32_MAX: not all there. */
static uint32_t cg_rx_message(const cgrpc_call *call)
{
    uint32_t len;
    if (call->rx_len < 5)
        return UINT32_MAX;
    len = cg_get32(cg_rx(call) + 1);
    return len <= call->rx_len - 5 ? len : UINT32_MAX;
}

static void cg_rx_consume(cgrpc_call *call)
{
    uint32_t whole = cg_rx_message(call);
    if (whole == UINT32_MAX)
        return;
    whole += 5;
    call->rx_len -= whole;
    if (call->rx_len)
        memmove(cg_rx(call), cg_rx(call) + whole, call->rx_len);
    if (call->conn)
        cg_conn_refill(call->conn, CG_REFILL);
}

/* What is wrong with the message at the front; CGRPC_OK: nothing so far. */
static cgrpc_status cg_rx_judge(const cgrpc_call *call, const char **why)
{
    const uint8_t *rx = cg_rx(call);
    uint32_t len;
    if (call->rx_len && rx[0]) {
        *why = CG_TEXT("compressed message without a known grpc-encoding");
        return CGRPC_INTERNAL;
    }
    if (call->rx_len < 5 && (!call->rx_len || !call->ended_in))
        return CGRPC_OK;
    len = call->rx_len < 5 ? 0 : cg_get32(rx + 1);
    if (len > call->rx_cap - 5) {
        *why = CG_TEXT("message over the receiver's limit");
        CGRPC_LOG(1, "cgrpc: %s: a message of %lu bytes is over RX_BYTES "
                  "(%lu)\n", call->method->path, (unsigned long)len,
                  (unsigned long)call->rx_cap - 5);
        return CGRPC_RESOURCE_EXHAUSTED;
    }
    if (call->ended_in && call->rx_len < len + 5) {
        *why = CG_TEXT("the last message is cut short");
        return CGRPC_INTERNAL;
    }
    if (call->rx_len > len + 5 && !cg_call_streams_in(call)) {
        *why = CG_TEXT("more than one message where one was expected");
        return CGRPC_UNIMPLEMENTED;
    }
    return CGRPC_OK;
}

/* content-length, if it was given and is not too large to be checked. */
static void cg_rx_expect(cgrpc_call *call, const cgrpc_head *head)
{
    call->content_left = head->value[CG_HAS_LENGTH];
    call->has_length = cg_head_has(head, CG_HAS_LENGTH) &&
                       call->content_left != CG_VALUE_LARGE;
}

/* content-length against DATA (RFC 9113, 8.1.1); false: they disagree. */
static bool cg_rx_count(cgrpc_call *call, uint32_t len)
{
    if (!call->has_length)
        return true;
    if (len > call->content_left)
        return false;
    call->content_left -= len;
    return true;
}

/* --- sending --- */

/* A message that waited may go now, or the headers before it, which need no
 * window. */
static bool cg_call_has_room(const cgrpc_call *call)
{
    const cgrpc_conn *conn = call->conn;
    int32_t least = call->headers_out ? 1 : INT32_MIN;
    if (!CGRPC_REPLAY && call->headers_out && call->tx_need > CG_FRAME_HEAD)
        least = (int32_t)(call->tx_need - CG_FRAME_HEAD);
    return conn && call->stage == CG_OPEN && call->tx_window >= least &&
           conn->tx_window >= least && cg_tx_room(conn) >= call->tx_need &&
           cg_tx_room(conn) > CG_FRAME_HEAD + 5;
}

/* What did not fit, and how large it is nobody knows, waits until all of the
 * buffer is free. */
static void cg_call_need_all(cgrpc_call *call)
{
    call->tx_need = call->conn->tx_cap - CGRPC_TX_RESERVE;
}

/* --- the public verbs --- */

void cgrpc_call_init(cgrpc_call *call, uint8_t *memory, size_t bytes)
{
    memset(call, 0, sizeof *call);
    call->metadata.base = memory;
    if (bytes > CGRPC_METADATA_BYTES)
        call->rx_cap = (uint32_t)(bytes - CGRPC_METADATA_BYTES);
}

void cgrpc_call_wake(cgrpc_call *call)
{
    call->woken = 1;
    if (call->side) /* or it has never carried a call */
        call->side->woken = 1;
}

void cgrpc_call_on_end(cgrpc_call *call, cgrpc_end_hook hook)
{
    call->hook = hook;
}

void cgrpc_call_set_user(cgrpc_call *call, void *user) { call->user = user; }
void *cgrpc_call_user(const cgrpc_call *call) { return call->user; }

bool cgrpc_call_ended(const cgrpc_call *call)
{
    if (call->is_server)
        return call->stage == CG_FREE || call->stage >= CG_LINGERING;
    return call->stage == CG_FREE ||
           (call->stage == CG_OVER && cg_rx_message(call) == UINT32_MAX);
}

cgrpc_status cgrpc_call_status(const cgrpc_call *call)
{
    return (cgrpc_status)call->status;
}

uint32_t cgrpc_call_time_left(const cgrpc_call *call)
{
    return call->has_deadline ? cg_time_left(call->deadline, cg_call_now(call))
                              : UINT32_MAX;
}

uint32_t cgrpc_call_now(const cgrpc_call *call) { return cg_call_now(call); }

const cgrpc_method *cgrpc_call_method(const cgrpc_call *call)
{
    return call->method;
}

const char *cgrpc_call_peer(const cgrpc_call *call)
{
    return call->conn ? call->conn->peer : "";
}

bool cgrpc_recv_ended(const cgrpc_call *call)
{
    return call->ended_in && cg_rx_message(call) == UINT32_MAX;
}

const char *cgrpc_metadata_find(const cgrpc_call *call, int which,
                                const char *key, size_t nth, size_t *len)
{
    return cg_metadata_find(&call->metadata, &call->side->words,
                            which == CGRPC_TRAILING ? CG_IN_TRAILING
                                                    : CG_IN_INITIAL,
                            key, nth, len);
}

bool cgrpc_metadata_next(const cgrpc_call *call, int which, size_t *at,
                         cgrpc_metadata *out)
{
    return cg_metadata_next(&call->metadata, &call->side->words,
                            which == CGRPC_TRAILING ? CG_IN_TRAILING
                                                    : CG_IN_INITIAL,
                            at, out);
}

cgrpc_result cgrpc_metadata_add(cgrpc_call *call, int which, const char *key,
                                const void *value, size_t len)
{
    cgrpc_metadata item;
    if (call->stage != CG_OPEN || !call->is_server ||
        (which == CGRPC_INITIAL && call->headers_out))
        return CGRPC_E_STATE;
    item.key = key;
    item.value = value;
    item.len = len;
    return cg_metadata_add(&call->metadata, &call->side->words,
                           which == CGRPC_TRAILING ? CG_OUT_TRAILING
                                                   : CG_OUT_INITIAL, &item);
}

/* ======================================================================
 * >>client    channels: one connection, calls that wait for it
 *
 *   stage          where the call is
 *   CG_QUEUED      on channel->calls, waits for a stream
 *   CG_OPEN        on its connection's list
 *   CG_OVER        its status is known; on channel->calls until the hook
 *                  has run, which waits until all messages were taken
 *
 * A connection is wanted while a call is queued. The first HEADERS wait for
 * the peer's SETTINGS, so that its limits are known.
 * ====================================================================== */

#if CGRPC_CLIENT

enum { CG_BACKOFF_FIRST = 1000, CG_BACKOFF_MOST = 120000 };
enum { CG_CHANNEL_STREAMS = 4 }; /* that the connection's window is for */

static cgrpc_channel *cg_channel_of(const cgrpc_call *call)
{
    return (cgrpc_channel *)call->side;
}

static cgrpc_status cg_status_of_http(uint32_t http)
{
    switch (http) {
    case 400:
        return CGRPC_INTERNAL;
    case 401:
        return CGRPC_UNAUTHENTICATED;
    case 403:
        return CGRPC_PERMISSION_DENIED;
    case 404:
        return CGRPC_UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504:
        return CGRPC_UNAVAILABLE;
    default:
        return CGRPC_UNKNOWN;
    }
}

static cgrpc_status cg_status_of_reset(uint32_t code)
{
    switch (code) {
    case CG_REFUSED_STREAM:
        return CGRPC_UNAVAILABLE;
    case CG_CANCEL:
        return CGRPC_CANCELLED;
    case CG_ENHANCE_YOUR_CALM:
        return CGRPC_RESOURCE_EXHAUSTED;
    case CG_INADEQUATE_SECURITY:
        return CGRPC_PERMISSION_DENIED;
    default:
        return CGRPC_INTERNAL;
    }
}

/* The status of a call is known. `reset`: how to tell a peer that still
 * believes in the stream; CG_NO_ERROR: it needs no telling. */
static void cg_client_over(cgrpc_call *call, cgrpc_status status,
                           const char *text, uint8_t reset)
{
    cgrpc_channel *channel = cg_channel_of(call);
    if (call->stage != CG_OPEN && call->stage != CG_QUEUED)
        return;
    if (call->stage == CG_QUEUED)
        cg_list_remove(&channel->calls, call);
    else if (reset != CG_NO_ERROR)
        cg_stream_reset(call, reset);
    else
        cg_stream_detach(call, CG_BOTH_ENDED, CG_NO_ERROR);
    call->stage = CG_OVER;
    call->status = (uint8_t)status;
    if (text)
        cg_metadata_explain(&call->metadata, CG_IN_TRAILING, text);
    cg_list_append(&channel->calls, call);
}

/* A call that the peer has not processed goes back to the queue, once. */
static bool cg_client_again(cgrpc_call *call)
{
    cgrpc_channel *channel = cg_channel_of(call);
    if (call->retried || call->headers_in || !call->request ||
        (call->method->kind & CGRPC_CLIENT_STREAM) || channel->closing)
        return false;
    call->retried = 1;
    call->ended_out = false;
    call->request_sent = 0;
    call->tx_total = call->tx_sent = call->tx_need = 0;
    call->stage = CG_QUEUED;
    return true;
}

/* --- what goes out --- */

static const char cg_te[] = "trailers";

static bool cg_client_put_headers(cgrpc_call *call)
{
    cgrpc_channel *channel = cg_channel_of(call);
    const cgrpc_channel_desc *desc = &channel->desc;
    cgrpc_hpack_encoder *encoder = &call->conn->encoder;
    cg_block block;
    uint32_t left = cgrpc_call_time_left(call);
    if (!cg_block_begin(&block, call))
        return false;
    cg_hpack_put_index(&block.out, 3);                 /* :method POST */
    cg_hpack_put_index(&block.out, desc->tls ? 7 : 6); /* :scheme */
    cg_hpack_put_constant(encoder, &block.out, CG_NAME_PATH,
                          call->method->path);
    cg_hpack_put_constant(encoder, &block.out, CG_NAME_AUTHORITY,
                          desc->authority);
    cg_hpack_put_constant(encoder, &block.out, CG_NAME_TE, cg_te);
    cg_hpack_put_constant(encoder, &block.out, CG_NAME_CONTENT_TYPE,
                          cg_type_grpc);
    cg_hpack_put_constant(encoder, &block.out, CG_NAME_USER_AGENT,
                          desc->user_agent);
    if (left != UINT32_MAX)
        cg_hpack_put_timeout(encoder, &block.out, left);
    cg_block_metadata(&block, call, CG_OUT_INITIAL);
    return cg_block_end(&block, call, 0);
}

static void cg_client_put_request(cgrpc_call *call)
{
    cg_outcome outcome = cg_message_put(call, call->request, true);
    call->request_sent = outcome == CG_SENT_ALL;
    if (outcome == CG_SENT_BAD)
        cg_client_over(call, CGRPC_INTERNAL,
                       CG_TEXT("request cannot be encoded, or changed"),
                       CG_CANCEL);
    if (outcome == CG_SENT_LARGE)
        cg_client_over(call, CGRPC_RESOURCE_EXHAUSTED,
                       CG_TEXT("request over TX_BYTES or the peer's window"),
                       CG_CANCEL);
}

static void cg_client_put_end(cgrpc_call *call)
{
    if (cg_tx_room(call->conn) < CG_FRAME_HEAD)
        return;
    cg_frame_put(call->conn, CG_DATA, CG_END_STREAM, call->id, NULL, 0);
    call->ended_out = 1;
}

/* Sends what an open call has to send, as far as there is room. */
static void cg_client_pump(cgrpc_call *call)
{
    if (call->request && !call->request_sent)
        cg_client_put_request(call);
    if (call->stage == CG_OPEN && call->end_wanted && !call->ended_out)
        cg_client_put_end(call);
    if (call->stage == CG_OPEN && !call->ended_out &&
        (call->request || call->end_wanted || call->blocked))
        call->conn->waited_for = true;
}

/* --- what the connection reports --- */

static cgrpc_call *cg_client_refuse(cgrpc_conn *conn, uint32_t id)
{
    (void)conn; /* servers open no streams; the frame check saw to it */
    (void)id;
    return NULL;
}

/* An answer that is not gRPC: its status is known now, its body is passed
 * over, as long as the window lasts. */
static void cg_client_judge_http(cgrpc_call *call, const cgrpc_head *head)
{
    uint32_t http = head->value[CG_HAS_STATUS];
    const char *why = CG_TEXT("HTTP status is not 200");
    if (http == 200 && head->value[CG_HAS_TYPE] != CG_TYPE_NONE)
        return;
    if (http == 200)
        why = CG_TEXT("content-type is not application/grpc");
    call->not_grpc = 1;
    call->status = (uint8_t)cg_status_of_http(http);
    if (why)
        cg_metadata_explain(&call->metadata, CG_IN_TRAILING, why);
}

/* The first header block of an answer that is not Trailers-Only. */
static void cg_client_answer(cgrpc_call *call, const cgrpc_head *head)
{
    if (head->value[CG_HAS_STATUS] < 200) { /* the real one is to come */
        cg_metadata_remove(&call->metadata, CG_IN_INITIAL, 0);
        return;
    }
    call->headers_in = 1;
    cg_rx_expect(call, head);
    cg_client_judge_http(call, head);
}

/* What can be wrong with an OK: not exactly one message. */
static cgrpc_status cg_client_count(const cgrpc_call *call, const char **why)
{
    cgrpc_status status = cg_rx_judge(call, why);
    if (status != CGRPC_OK || cg_call_streams_in(call) || call->rx_len ||
        call->received)
        return status;
    *why = CG_TEXT("OK without a message");
    return CGRPC_UNIMPLEMENTED;
}

/* END_STREAM with or without trailers. NULL: none came. */
static void cg_client_finish(cgrpc_call *call, const cgrpc_head *head)
{
    const char *why = NULL;
    cgrpc_status status = CGRPC_UNKNOWN;
    uint8_t reset = call->ended_out ? CG_NO_ERROR : CG_CANCEL;
    if (call->not_grpc) {
        status = (cgrpc_status)call->status;
    } else if (head && cg_head_has(head, CG_HAS_GRPC_STATUS)) {
        if (head->value[CG_HAS_GRPC_STATUS] <= CGRPC_UNAUTHENTICATED)
            status = (cgrpc_status)head->value[CG_HAS_GRPC_STATUS];
        if (status == CGRPC_OK)
            status = cg_client_count(call, &why);
        cg_conn_refill(call->conn, CG_REFILL);
    } else {
        why = CG_TEXT("the answer ended without grpc-status");
    }
    cg_client_over(call, status, why, reset);
}

static void cg_client_headers(cgrpc_call *call, const cgrpc_head *head,
                              bool end)
{
    bool trailers = call->headers_in;
    /* 8.1: no informational answer is the last, trailers always are. (A
     * :status that is missing counts as 0.) */
    if (head->flags & CG_FIELD_MALFORMED || (trailers && !end) ||
        (!trailers && head->value[CG_HAS_STATUS] < (end ? 200u : 100u))) {
        cg_client_over(call, CGRPC_INTERNAL,
                       CG_TEXT("malformed header block"), CG_PROTOCOL_ERROR);
        return;
    }
    if (head->flags & (CG_FIELD_OVERFLOW | CG_FIELD_LOST) &&
        !(end && head->value[CG_HAS_GRPC_STATUS])) {
        cg_client_over(call, CGRPC_RESOURCE_EXHAUSTED,
                       CG_TEXT("metadata over the client's limit"),
                       CG_CANCEL);
        return;
    }
    if (!end) {
        cg_client_answer(call, head);
        return;
    }
    call->ended_in = 1;
    if (!trailers && !cg_head_has(head, CG_HAS_GRPC_STATUS))
        cg_client_judge_http(call, head);
    if (call->has_length && call->content_left)
        cg_client_over(call, CGRPC_INTERNAL,
                       CG_TEXT("content-length does not fit the data"),
                       CG_PROTOCOL_ERROR);
    else
        cg_client_finish(call, head);
}

/* A fault at the front of what has come fails the call, though it may have
 * ended well; nothing of it is handed out. */
static void cg_client_judge(cgrpc_call *call)
{
    const char *why = NULL;
    cgrpc_status status = cg_rx_judge(call, &why);
    if (status == CGRPC_OK)
        return;
    call->rx_len = 0;
    if (call->stage == CG_OVER && call->status == CGRPC_OK) {
        call->status = (uint8_t)status;
        if (why)
            cg_metadata_explain(&call->metadata, CG_IN_TRAILING, why);
    }
    cg_client_over(call, status, why, CG_CANCEL);
}

static uint32_t cg_client_data(cgrpc_call *call, const uint8_t *in,
                               uint32_t len)
{
    if (!cg_rx_count(call, len) || !call->headers_in) {
        cg_client_over(call, CGRPC_INTERNAL,
                       CG_TEXT("DATA that its headers do not allow"),
                       CG_PROTOCOL_ERROR);
        return len;
    }
    if (call->not_grpc) {
        if (call->rx_window <= 0)
            cg_client_over(call, (cgrpc_status)call->status, NULL, CG_CANCEL);
        return len;
    }
    if (len > call->rx_cap - call->rx_len) {
        cg_client_over(call, CGRPC_RESOURCE_EXHAUSTED,
                       CG_TEXT("more data than the window allowed"),
                       CG_FLOW_CONTROL_ERROR);
        return len;
    }
    memcpy(cg_rx(call) + call->rx_len, in, len);
    call->rx_len += len;
    cg_client_judge(call);
    return len;
}

/* END_STREAM on DATA; on headers, cg_client_headers has seen to it. */
static void cg_client_ended(cgrpc_call *call)
{
    if (call->has_length && call->content_left)
        cg_client_over(call, CGRPC_INTERNAL,
                       CG_TEXT("content-length does not fit the data"),
                       CG_PROTOCOL_ERROR);
    else
        cg_client_finish(call, NULL);
}

static void cg_client_requeue(cgrpc_call *call, uint8_t how)
{
    cg_stream_detach(call, how, CG_NO_ERROR);
    cg_list_append(&cg_channel_of(call)->calls, call);
}

static void cg_client_reset(cgrpc_call *call, uint32_t code)
{
    cgrpc_status status = cg_status_of_reset(code);
    if (code == CG_REFUSED_STREAM && cg_client_again(call)) {
        cg_client_requeue(call, CG_PEER_RESET);
        return;
    }
    if (cgrpc_call_time_left(call) == 0) /* that is why, whatever it says */
        status = CGRPC_DEADLINE_EXCEEDED;
    cg_client_over(call, status, CG_TEXT("the stream was reset"),
                   CG_NO_ERROR);
}

/* Streams above `last` were not processed and will not be. */
static void cg_client_goaway(cgrpc_conn *conn, uint32_t last)
{
    cgrpc_call *call = conn->calls, *next;
    for (; call; call = next) {
        next = call->next;
        if (call->id <= last)
            continue;
        if (cg_client_again(call))
            cg_client_requeue(call, CG_PEER_RESET);
        else
            cg_client_over(call, CGRPC_UNAVAILABLE,
                           CG_TEXT("the server is going away"), CG_NO_ERROR);
    }
}

static void cg_client_lost(cgrpc_conn *conn)
{
    while (conn->calls)
        cg_client_over(conn->calls, CGRPC_UNAVAILABLE,
                       CG_TEXT("the connection was lost"), CG_NO_ERROR);
}

static const cgrpc_conn_ops cg_client_ops = {
    cg_client_refuse, cg_client_headers, cg_client_data, cg_client_ended,
    cg_client_reset, cg_client_goaway, cg_client_lost
};

/* --- the connection --- */

/* A fifth more or less, at random. */
static uint32_t cg_channel_jitter(cgrpc_channel *channel, uint32_t ms)
{
    uint32_t fifth = ms / 5 + 1;
    channel->random = channel->random * 1664525u + 1013904223u;
    return ms - fifth + (channel->random >> 8) % (2 * fifth);
}

/* The next attempt must wait. */
static void cg_channel_wait(cgrpc_channel *channel, uint32_t now)
{
    channel->backoff = channel->backoff
                           ? cg_min32(channel->backoff / 5 * 8, CG_BACKOFF_MOST)
                           : (uint32_t)CG_BACKOFF_FIRST;
    channel->retry_at = now + cg_channel_jitter(channel, channel->backoff);
    channel->failed = true;
}

/* The attempt failed: calls that do not wait for a connection are told. */
static void cg_channel_failed(cgrpc_channel *channel, uint32_t now)
{
    cgrpc_call *call = channel->calls, *next;
    cg_channel_wait(channel, now);
    for (; call; call = next) {
        next = call->next;
        if (call->stage == CG_QUEUED && !call->wait_ready)
            cg_client_over(call, CGRPC_UNAVAILABLE,
                           CG_TEXT("cannot connect"), CG_NO_ERROR);
    }
}

/* The stream has ended, or must end; a call that waits connects anew: at
 * once if the connection was of use, or the first time that it was not. */
static void cg_channel_drop(cgrpc_channel *channel, uint32_t now)
{
    bool useful = channel->conn->useful;
    bool greeted = cg_conn_greeted(channel->conn);
    cg_conn_close(channel->conn);
    if (useful)
        channel->backoff = 0;
    else if (!greeted)
        cg_channel_failed(channel, now);
    else if (channel->backoff)
        cg_channel_wait(channel, now);
    else
        channel->backoff = CG_BACKOFF_FIRST;
}

static void cg_channel_connect(cgrpc_channel *channel, uint32_t now)
{
    const cgrpc_port *port = channel->side.port;
    cgrpc_conn *conn = channel->conn;
    cgrpc_io io;
    if (channel->failed && cg_time_left(channel->retry_at, now) > 0)
        return;
    channel->failed = 0;
    if (port->connect(port->context, channel->desc.target, &io) !=
        CGRPC_SUCCESS) {
        cg_channel_failed(channel, now);
        return;
    }
    conn->ops = &cg_client_ops;
    conn->side = &channel->side;
    conn->is_server = 0;
    cg_conn_begin(conn, &io, channel->memory->conn_bytes,
                  (uint32_t)channel->memory->conn_size);
    conn->peer = channel->desc.target;
    memcpy(conn->tx, cg_preface, sizeof cg_preface - 1);
    conn->tx_end = sizeof cg_preface - 1;
    cg_conn_greet(conn, CG_CHANNEL_STREAMS, channel->memory->call->rx_cap);
}

/* The connection takes new streams. */
static bool cg_channel_ready(const cgrpc_channel *channel)
{
    const cgrpc_conn *conn = channel->conn;
    return conn->ops && cg_conn_greeted(conn) && !conn->dead &&
           !conn->goaway_in && conn->last_id < 0x7ffffff0;
}

/* A stream begins with its HEADERS. false: they find no room, and the call
 * waits on, the first of all. */
static bool cg_channel_open_one(cgrpc_channel *channel, cgrpc_call *call)
{
    cgrpc_conn *conn = channel->conn;
    cg_list_remove(&channel->calls, call);
    cg_stream_attach(conn, call, conn->last_id ? conn->last_id + 2 : 1);
    call->stage = CG_OPEN;
    if (cg_client_put_headers(call)) {
        conn->last_id = call->id;
        return true;
    }
    cg_list_remove(&conn->calls, call);
    conn->opened--;
    call->conn = NULL;
    call->stage = CG_QUEUED;
    call->next = channel->calls;
    channel->calls = call;
    if (conn->tx_start == conn->tx_end)
        cg_client_over(call, CGRPC_RESOURCE_EXHAUSTED,
                       CG_TEXT("request headers are over TX_BYTES"),
                       CG_NO_ERROR);
    return false;
}

/* Gives streams to the calls that wait for one, in their order. */
static void cg_channel_open(cgrpc_channel *channel)
{
    cgrpc_conn *conn = channel->conn;
    cgrpc_call *call = channel->calls, *next;
    for (; call && cg_channel_ready(channel); call = next) {
        next = call->next;
        if (call->stage != CG_QUEUED)
            continue;
        if (conn->opened >= conn->peer_streams)
            return;
        if (cg_channel_open_one(channel, call)) {
            cg_client_pump(call);
        } else if (call->stage == CG_QUEUED) {
            conn->waited_for = true;
            return;
        }
    }
}

/* --- the loop --- */

/* The call is over and nothing is left to take: its hook runs, and it may be
 * used again. */
static void cg_client_settle(cgrpc_call *call)
{
    cg_list_remove(&cg_channel_of(call)->calls, call);
    call->next = NULL;
    cg_call_run_hook(call);
}

/* Decodes the answer of a unary call; it had its chance to fail before. */
static void cg_client_respond(cgrpc_call *call)
{
    uint32_t len = cg_rx_message(call);
    if (call->status != CGRPC_OK && !cg_call_streams_in(call))
        call->rx_len = 0; /* half an answer is none */
    if (!call->response || call->status != CGRPC_OK || len == UINT32_MAX)
        return;
    if (!cg_decode(cg_rx(call) + 5, len, call->method->out, call->response)) {
        call->status = CGRPC_INTERNAL;
        cg_metadata_explain(&call->metadata, CG_IN_TRAILING,
                        CG_TEXT("answer cannot be decoded"));
    }
    if (call->method->out)
        cg_rx_consume(call);
    else
        call->rx_len = 0; /* raw bytes stay where they lie */
}

/* Ends a call whose time is up. Returns the milliseconds that are left. */
static uint32_t cg_client_time(cgrpc_call *call, uint32_t now)
{
    uint32_t left = UINT32_MAX;
    if (call->has_deadline)
        left = cg_time_left(call->deadline, now);
    if (left == 0)
        cg_client_over(call, CGRPC_DEADLINE_EXCEEDED,
                       CG_TEXT("deadline exceeded"), CG_CANCEL);
    return left;
}

/* Runs the hooks of calls that are over and drained. A hook may start,
 * cancel or end any call, so the search begins anew after each; but one whose
 * hook starts it again, and that ends at once, is left to the next poll.
 * true: some hook has run, and calls are left. */
static bool cg_channel_hooks(cgrpc_channel *channel)
{
    cgrpc_call *call;
    size_t most = 0, left;
    for (call = channel->calls; call; call = call->next)
        most++;
    left = most;
    for (call = channel->calls; call && left;) {
        if (call->stage == CG_OVER)
            cg_client_respond(call);
        if (call->stage != CG_OVER || !cgrpc_call_ended(call)) {
            call = call->next;
            continue;
        }
        cg_client_settle(call);
        left--;
        call = channel->calls;
    }
    return left != most && channel->calls;
}

/* What the calls have to do. Returns the milliseconds until the next deadline
 * of one with a stream. */
static uint32_t cg_channel_calls(cgrpc_channel *channel, uint32_t now)
{
    cgrpc_conn *conn = channel->conn;
    cgrpc_call *call, *next;
    uint32_t wait = UINT32_MAX;
    conn->waited_for = false;
    for (call = channel->calls; call; call = next) {
        next = call->next;
        cg_client_time(call, now);
    }
    cg_channel_open(channel);
    for (call = conn->ops ? conn->calls : NULL; call; call = next) {
        next = call->next;
        wait = cg_min32(wait, cg_client_time(call, now));
        if (call->stage == CG_OPEN)
            cg_client_pump(call);
    }
    return wait;
}

static bool cg_channel_wanted(const cgrpc_channel *channel)
{
    const cgrpc_call *call = channel->calls;
    while (call && call->stage != CG_QUEUED)
        call = call->next;
    return call != NULL;
}

/* `wait`: of the calls with a stream. */
static uint32_t cg_channel_timer(const cgrpc_channel *channel, uint32_t wait,
                                 uint32_t now)
{
    const cgrpc_conn *conn = channel->conn;
    const cgrpc_call *call;
    for (call = channel->calls; call; call = call->next)
        if (call->stage == CG_QUEUED && call->has_deadline)
            wait = cg_min32(wait, cg_time_left(call->deadline, now));
    if (conn->ops) {
        bool room = conn->waited_for ? conn->wrote
                                     : conn->opened < conn->peer_streams &&
                                           cg_channel_ready(channel) &&
                                           cg_channel_wanted(channel);
        return room ? 0 : cg_min32(wait, cg_conn_timer(conn, now));
    }
    if (!cg_channel_wanted(channel))
        return wait;
    return channel->failed
               ? cg_min32(wait, cg_time_left(channel->retry_at, now)) : 0;
}

/* A connection that takes no new streams and has none left is of no use. */
static bool cg_channel_spent(cgrpc_channel *channel, uint32_t now)
{
    cgrpc_conn *conn = channel->conn;
    return cg_conn_spent(conn, now) ||
           (cg_conn_greeted(conn) && !conn->dead &&
            !cg_channel_ready(channel) &&
            !conn->calls);
}

uint32_t cgrpc_channel_poll(cgrpc_channel *channel)
{
    uint32_t now = cg_side_now(&channel->side), wait;
    cgrpc_conn *conn = channel->conn;
    if (channel->side.running)
        return UINT32_MAX;
    channel->side.running = 1;
    if (channel->failed && cg_time_left(channel->retry_at, now) == 0)
        channel->failed = false;
    if (conn->ops && !cg_conn_read(conn))
        cg_channel_drop(channel, now);
    if (!conn->ops && cg_channel_wanted(channel))
        cg_channel_connect(channel, now);
    wait = cg_channel_calls(channel, now);
    if (conn->ops &&
        (!cg_conn_write(conn, now) || cg_channel_spent(channel, now)))
        cg_channel_drop(channel, now);
    wait = cg_channel_hooks(channel) ? 0 /* it may have begun one of them */
                                     : cg_channel_timer(channel, wait, now);
    channel->side.running = 0;
    return wait;
}

/* --- the public verbs --- */

#define CG_STRING2(x) #x
#define CG_STRING(x) CG_STRING2(x)
static const char cg_user_agent[] = "cgrpc/" CG_STRING(CGRPC_VERSION_MAJOR)
    "." CG_STRING(CGRPC_VERSION_MINOR) "." CG_STRING(CGRPC_VERSION_PATCH);

cgrpc_result cgrpc_channel_init_(cgrpc_channel *channel,
                                 const cgrpc_channel_desc *desc,
                                 size_t layout)
{
    const cgrpc_channel_memory *memory = channel->memory;
    if (layout != CGRPC_LAYOUT)
        return CGRPC_E_LAYOUT;
    if (!memory || !desc || !desc->port || !desc->port->now ||
        !desc->port->connect || !desc->target)
        return CGRPC_E_ARGUMENT;
    if (memory->conn_size < CGRPC_CONN_BYTES(CG_LEAST_TX)) {
        CGRPC_LOG(0, "cgrpc: a channel's TX_BYTES must be at least %u\n",
                  (unsigned)CG_LEAST_TX);
        return CGRPC_E_CONFIG;
    }
    memset(channel, 0, sizeof *channel);
    channel->memory = memory;
    channel->desc = *desc;
    if (!desc->authority)
        channel->desc.authority = desc->target;
    if (!desc->user_agent)
        channel->desc.user_agent = cg_user_agent;
    channel->random = desc->port->now(desc->port->context);
    channel->conn = memory->conn;
    memset(channel->conn, 0, sizeof *channel->conn);
    cgrpc_call_init(memory->call, memory->call_bytes, memory->call_size);
    if (!cg_vocabulary_init(&channel->side.words, desc->keys,
                            desc->key_count))
        return CGRPC_E_ARGUMENT;
    channel->side.port = desc->port;
    return CGRPC_SUCCESS;
}

static cgrpc_result cg_client_metadata(cgrpc_call *call,
                                       const cgrpc_options *options)
{
    size_t i;
    for (i = 0; i < options->metadata_count; i++) {
        const cgrpc_metadata *item = &options->metadata[i];
        cgrpc_result result =
            cg_metadata_add(&call->metadata, &call->side->words,
                            CG_OUT_INITIAL, item);
        if (result != CGRPC_SUCCESS)
            return result;
    }
    return CGRPC_SUCCESS;
}

static void cg_client_options(cgrpc_call *call, const cgrpc_options *options,
                              uint32_t now)
{
    call->user = options->user;
    call->wait_ready = options->wait_for_ready;
    call->has_deadline = options->timeout_ms != 0;
    call->deadline = now + cg_min32(options->timeout_ms, 0x7fffffff);
}

/* A loop around a call that could not be started finds it over, and why. */
static cgrpc_result cg_client_unstarted(cgrpc_call *call, cgrpc_result why)
{
    call->stage = CG_FREE;
    call->metadata.len = 0;
    call->status = CGRPC_INVALID_ARGUMENT;
    if (why == CGRPC_E_ROOM)
        call->status = CGRPC_RESOURCE_EXHAUSTED;
    if (why == CGRPC_E_STATE)
        call->status = CGRPC_FAILED_PRECONDITION;
    return why;
}

cgrpc_result cgrpc_start(cgrpc_channel *channel, cgrpc_call *call,
                         const cgrpc_method *method, const void *request,
                         void *response, cgrpc_done done,
                         const cgrpc_options *options)
{
    cgrpc_result result = CGRPC_SUCCESS;
    if (call->stage == CG_FREE)
        call->side = &channel->side;
    if (call->stage == CG_OVER && !call->hooked && cgrpc_call_ended(call))
        cg_client_settle(call);
    if (call->stage != CG_FREE && !(call->stage == CG_OVER && call->hooked))
        return CGRPC_E_STATE;
    if (!channel->side.port || channel->closing)
        return cg_client_unstarted(call, CGRPC_E_STATE);
    if (call->rx_cap < channel->memory->call->rx_cap) {
        CGRPC_LOG(0, "cgrpc: a call's RX_BYTES must be at least its "
                  "channel's\n");
        return cg_client_unstarted(call, CGRPC_E_ROOM);
    }
    cg_call_clear(call, &channel->side, false);
    call->method = method;
    call->request = request;
    call->response = response;
    call->hook = done;
    if (options) {
        cg_client_options(call, options, cg_call_now(call));
        result = cg_client_metadata(call, options);
    }
    if (result != CGRPC_SUCCESS)
        return cg_client_unstarted(call, result);
    call->stage = CG_QUEUED;
    cg_list_append(&channel->calls, call);
    if (channel->failed && !call->wait_ready &&
        cg_time_left(channel->retry_at, cg_call_now(call)) > 0)
        cg_client_over(call, CGRPC_UNAVAILABLE,
                       CG_TEXT("cannot connect, waiting to retry"),
                       CG_NO_ERROR);
    return CGRPC_SUCCESS;
}

/* The call can go on, or is over. */
static bool cg_client_can_go(const cgrpc_call *call)
{
    bool message = cg_rx_message(call) != UINT32_MAX && !call->response;
    return cgrpc_call_ended(call) || message ||
           (call->blocked && cg_call_has_room(call));
}

bool cgrpc_wait(cgrpc_call *call, uint32_t ms)
{
    cgrpc_channel *channel = cg_channel_of(call);
    const cgrpc_port *port;
    uint32_t start;
    if (call->stage == CG_FREE)
        return false; /* it could not be started */
    port = channel->side.port;
    start = cg_call_now(call);
    if (port->in_handler || channel->side.running || !port->wait) {
        CGRPC_LOG(0, "cgrpc: a blocking call inside a handler or hook, or on "
                  "a port that cannot wait\n");
        return false;
    }
    for (;;) {
        uint32_t next = cgrpc_channel_poll(channel), passed;
        if (cg_client_can_go(call))
            return !cgrpc_call_ended(call);
        passed = port->now(port->context) - start;
        if (passed >= ms)
            return true;
        port->wait(port->context, cg_min32(next, ms - passed));
    }
}

cgrpc_status cgrpc_unary(cgrpc_channel *channel, const cgrpc_method *method,
                         const void *request, void *response,
                         const cgrpc_options *options)
{
    cgrpc_call *call = channel->memory->call;
    const cgrpc_port *port = channel->side.port;
    cgrpc_result result;
    if (!port || port->in_handler || channel->side.running || !port->wait) {
        CGRPC_LOG(0, "cgrpc: %s: a blocking call inside a handler or hook, on "
                  "a port that cannot wait, or on a channel whose init "
                  "failed\n", method->path);
        return CGRPC_FAILED_PRECONDITION;
    }
    result = cgrpc_start(channel, call, method, request, response, NULL,
                         options);
    if (result == CGRPC_E_STATE)
        return CGRPC_FAILED_PRECONDITION;
    while (result == CGRPC_SUCCESS && cgrpc_wait(call, UINT32_MAX))
        ;
    return cgrpc_call_status(call);
}

cgrpc_recv_result cgrpc_recv(cgrpc_call *call, void *message)
{
    uint32_t len;
    if (call->taken) { /* raw bytes lay there until now */
        call->taken = 0;
        cg_rx_consume(call);
        cg_client_judge(call);
    }
    len = cg_rx_message(call);
    if (len == UINT32_MAX)
        return cgrpc_call_ended(call) ? CGRPC_END : CGRPC_WAIT;
    call->received = 1;
    if (!cg_decode(cg_rx(call) + 5, len, call->method->out, message)) {
        call->rx_len = 0;
        call->status = CGRPC_INTERNAL;
        cg_client_over(call, CGRPC_INTERNAL,
                       CG_TEXT("answer cannot be decoded"), CG_CANCEL);
        return CGRPC_END;
    }
    call->taken = !call->method->out;
    if (!call->taken) {
        cg_rx_consume(call);
        cg_client_judge(call);
    }
    return CGRPC_GOT;
}

static void cg_client_cancel(cgrpc_call *call)
{
    cg_client_over(call, CGRPC_CANCELLED, CG_TEXT("cancelled here"),
                   CG_CANCEL);
    if (call->stage != CG_OVER || call->hooked)
        return;
    if (!cgrpc_call_ended(call))
        call->status = CGRPC_CANCELLED; /* its answer was not taken */
    call->rx_len = 0;
    cg_client_settle(call);
}

const char *cgrpc_channel_message(const cgrpc_channel *channel)
{
    return cgrpc_call_message(channel->memory->call);
}

const char *cgrpc_call_message(const cgrpc_call *call)
{
    size_t len;
    return cg_metadata_text(&call->metadata, CG_IN_TRAILING,
                            CG_NAME_GRPC_MESSAGE, &len);
}

cgrpc_bytes cgrpc_call_details(const cgrpc_call *call)
{
    cgrpc_bytes out;
    out.data = (const uint8_t *)cg_metadata_text(
        &call->metadata, CG_IN_TRAILING, CG_NAME_GRPC_DETAILS, &out.len);
    return out;
}

void cgrpc_channel_close(cgrpc_channel *channel)
{
    cgrpc_conn *conn = channel->conn;
    channel->closing = 1;
    while (conn->ops && conn->calls)
        cg_client_over(conn->calls, CGRPC_CANCELLED,
                       CG_TEXT("the channel was closed"), CG_CANCEL);
    while (channel->calls)
        cg_client_cancel(channel->calls);
    if (conn->ops) {
        if (!conn->dead) /* or it has said, or will, what it died of */
            cg_frame_goaway(conn, 0, CG_NO_ERROR);
        cg_conn_write(conn, cg_side_now(&channel->side));
        cg_conn_close(conn);
    }
    channel->closing = 0;
    channel->failed = 0;
    channel->backoff = 0;
}

cgrpc_channel_state cgrpc_channel_get_state(const cgrpc_channel *channel)
{
    if (cg_channel_ready(channel))
        return CGRPC_CHANNEL_READY;
    if (channel->conn->ops)
        return CGRPC_CHANNEL_CONNECTING;
    return channel->failed ? CGRPC_CHANNEL_BACKOFF : CGRPC_CHANNEL_IDLE;
}

#endif /* CGRPC_CLIENT */

/* ======================================================================
 * >>server    calls from a pool, handlers from the top of the loop
 *
 *   stage          what it waits for
 *   CG_FREE        a stream
 *   CG_OPEN        the request, a wake, room: the handler runs
 *   CG_FINISHING   room for the rest of the reply and the trailers
 *   CG_LINGERING   the peer's END_STREAM; all was said. Reset after a
 *                  while, or as soon as the slot is wanted
 *   CG_OVER        its hook to run; then CG_FREE
 *
 * The parser only moves a call between these; handlers and hooks run in
 * cg_server_turn, one call after the other, the first in turn rotating.
 * ====================================================================== */

#if CGRPC_SERVER

static cgrpc_server *cg_server_of(const cgrpc_call *call)
{
    return (cgrpc_server *)call->side;
}

void *cgrpc_call_state(cgrpc_call *call)
{
    cgrpc_server *server = cg_server_of(call);
    size_t slot;
    if (!call->is_server)
        return NULL;
    slot = (size_t)(call - server->memory->calls);
    return server->states + slot * CGRPC_WORDS(CGRPC_STATE_BYTES);
}

const char *cgrpc_call_authority(const cgrpc_call *call)
{
    size_t len;
    return cg_metadata_text(&call->metadata, CG_IN_INITIAL, CG_NAME_AUTHORITY,
                            &len);
}

/* How long a call may take to end, where its client has set no time, or more
 * than anybody needs: it holds a slot. */
static void cg_server_hurry(cgrpc_call *call, uint32_t ms)
{
    if (cgrpc_call_time_left(call) <= ms)
        return;
    call->has_deadline = 0;
    call->deadline = cg_call_now(call) + ms;
}

/* The call is gone without a word of ours, or with all said. */
static void cg_server_over(cgrpc_call *call, cgrpc_status status)
{
    if (call->stage == CG_OVER)
        return;
    if (call->stage != CG_LINGERING)
        call->status = (uint8_t)status;
    call->stage = CG_OVER;
    cg_server_of(call)->over++;
    if (call->conn)
        call->conn->pause = true;
}

/* The call ends with `status`; trailers follow as soon as there is room.
 * After half a message they would make no sense: the stream is reset. */
static void cg_server_finish(cgrpc_call *call, cgrpc_status status,
                             const char *text)
{
    if (call->stage != CG_OPEN)
        return;
    if (call->tx_sent) {
        cg_server_over(call, status ? status : CGRPC_INTERNAL);
        cg_stream_reset(call, status == CGRPC_DEADLINE_EXCEEDED
                                  ? CG_CANCEL : CG_INTERNAL_ERROR);
        return;
    }
    call->stage = CG_FINISHING;
    call->status = (uint8_t)status;
    call->blocked = 0;
    if (status == CGRPC_DEADLINE_EXCEEDED)
        call->has_deadline = 0; /* it has said its word */
    cg_server_hurry(call, CGRPC_STALL_MS);
    if (text)
        cg_metadata_explain(&call->metadata, CG_OUT_TRAILING, text);
}

/* Everything is said: the stream ends here, or when the peer has ended. */
static void cg_server_said(cgrpc_call *call)
{
    call->stage = CG_LINGERING;
    cg_call_run_hook(call); /* while it still has its connection */
    if (call->ended_in) {
        cg_stream_detach(call, CG_BOTH_ENDED, CG_NO_ERROR);
        cg_server_over(call, CGRPC_OK);
        return;
    }
    call->has_deadline = 0;
    cg_server_hurry(call, CG_LINGER_MS);
}

/* --- replies --- */

/* Sends the one message of a reply. What finds no room now is encoded into
 * the receive buffer, which the request needs no more, and waits there as
 * call->rest. */
static cg_outcome cg_message_put_once(cgrpc_call *call, const void *message)
{
    uint8_t *rx = cg_rx(call);
    uint32_t len;
    if (call->headers_out && cg_message_whole(call, message, false))
        return CG_SENT_ALL;
    len = cg_encode_whole(rx + 5, call->rx_cap - 5, cg_message_type(call),
                          message);
    if (len == UINT32_MAX)
        return cg_message_measure(call, message) ? CG_SENT_LARGE : CG_SENT_BAD;
    cg_prefix(rx, len);
    call->rest = rx;
    call->rest_len = len + 5;
    return CG_SENT_ALL;
}

/* Sends what can go of call->rest, END_STREAM with its last byte if `end`;
 * false: nothing could. */
static bool cg_rest_put(cgrpc_call *call, bool end)
{
    cg_sink sink;
    cg_sink_init(&sink, call);
    cg_sink_write(&sink, call->rest, call->rest_len);
    call->rest += sink.sent;
    call->rest_len -= sink.sent;
    cg_sink_commit(&sink, call, end && call->rest_len == 0);
    return sink.sent != 0;
}

/* A header block that fits no buffer, not even an empty one, can only go
 * without the user's part. */
static bool cg_call_never_fits(const cgrpc_call *call)
{
    if (call->conn->tx_start != call->conn->tx_end)
        return false;
    CGRPC_LOG(0, "cgrpc: %s: metadata is too large for TX_BYTES (%lu) and "
              "is left out\n", call->method ? call->method->path : "?",
              (unsigned long)call->conn->tx_cap - CGRPC_TX_RESERVE);
    return true;
}

static const char cg_status_0[] = "0";
static const char cg_identity[] = "identity";
static const char cg_type_text[] = "text/plain";
static const char cg_post[] = "POST";

/* What the first header block of a reply says. */
static void cg_server_begin_reply(cg_block *block, cgrpc_call *call)
{
    cg_writer *out = &block->out;
    cgrpc_hpack_encoder *encoder = &call->conn->encoder;
    if (call->not_grpc)
        cg_hpack_put_number(encoder, out, CG_NAME_STATUS,
                            call->not_grpc + 400u);
    else
        cg_hpack_put_index(out, 8); /* :status 200 */
    cg_hpack_put_constant(encoder, out, CG_NAME_CONTENT_TYPE,
                          call->not_grpc ? cg_type_text : cg_type_grpc);
    if (call->not_grpc == 405 - 400) /* RFC 9110, 15.5.6 */
        cg_hpack_put_constant(encoder, out, CG_NAME_ALLOW, cg_post);
    cg_block_metadata(block, call, CG_OUT_INITIAL);
}

/* What the last header block of a reply says. */
static void cg_server_end_reply(cg_block *block, cgrpc_call *call)
{
    cg_writer *out = &block->out;
    cgrpc_hpack_encoder *encoder = &call->conn->encoder;
    if (call->not_grpc)
        return; /* an answer to HEAD ends with its only block */
    if (call->status == CGRPC_OK)
        cg_hpack_put_constant(encoder, out, CG_NAME_GRPC_STATUS, cg_status_0);
    else
        cg_hpack_put_number(encoder, out, CG_NAME_GRPC_STATUS, call->status);
    if (call->refusing)
        cg_hpack_put_constant(encoder, out, CG_NAME_GRPC_ACCEPT_ENCODING,
                              cg_identity);
    cg_block_metadata(block, call, CG_OUT_TRAILING);
}

/* The initial header block, or the trailers: both in one if the trailers
 * come first (Trailers-Only). false: there is no room for it now. */
static bool cg_server_put_block(cgrpc_call *call, bool trailers)
{
    cg_block block;
    if (!cg_block_begin(&block, call))
        return false;
    if (!call->headers_out)
        cg_server_begin_reply(&block, call);
    if (trailers)
        cg_server_end_reply(&block, call);
    if (cg_block_end(&block, call, trailers ? CG_END_STREAM : 0))
        return true;
    if (cg_call_never_fits(call)) {
        bool finishing = call->stage == CG_FINISHING;
        cg_metadata_remove(&call->metadata, CG_OUT_INITIAL, 0);
        cg_metadata_remove(&call->metadata, CG_OUT_TRAILING, 0);
        call->status = CGRPC_RESOURCE_EXHAUSTED;
        cg_server_finish(call, CGRPC_RESOURCE_EXHAUSTED,
                         CG_TEXT("metadata over the server's limit"));
        if (finishing)
            return cg_server_put_block(call, trailers);
    }
    return false;
}

static bool cg_server_put_headers(cgrpc_call *call)
{
    return call->headers_out || cg_server_put_block(call, false);
}

/* Sends what a finishing call still has to say, as far as there is room. */
static void cg_server_pump(cgrpc_call *call)
{
    if (call->rest_len) {
        if (!cg_server_put_headers(call) ||
            cg_tx_room(call->conn) < cg_part_need(call->conn, call->rest_len))
            return;
        if (cg_rest_put(call, call->not_grpc != 0))
            cg_server_hurry(call, CGRPC_STALL_MS);
        if (call->rest_len)
            return;
    }
    if (call->ended_out || cg_server_put_block(call, true))
        cg_server_said(call);
}

/* The one reply of a unary side. */
static void cg_server_reply(cgrpc_call *call, const void *out)
{
    cg_outcome outcome;
    if (call->replied)
        return;
    cg_server_put_headers(call);
    if (call->stage != CG_OPEN)
        return;
    call->rx_len = 0;
    outcome = cg_message_put_once(call, out);
    if (outcome == CG_SENT_ALL)
        return;
    CGRPC_LOG(0, "cgrpc: %s: the reply %s (RX_BYTES: %lu)\n",
              call->method->path,
              outcome == CG_SENT_BAD ? "cannot be encoded"
                                     : "is larger than RX_BYTES",
              (unsigned long)call->rx_cap - 5);
    call->status = outcome == CG_SENT_BAD ? CGRPC_INTERNAL
                                          : CGRPC_RESOURCE_EXHAUSTED;
    cg_metadata_explain(&call->metadata, CG_OUT_TRAILING,
                        outcome == CG_SENT_BAD
                            ? CG_TEXT("reply cannot be encoded")
                            : CG_TEXT("reply over the server's limit"));
}

/* --- running handlers --- */

/* Frees what nanopb allocated, in a build that lets it (PB_ENABLE_MALLOC). */
static void cg_release(const struct pb_msgdesc_s *type, void *message)
{
#if CGRPC_NANOPB
    if (type)
        pb_release(type, message);
#else
    (void)type, (void)message;
#endif
}

/* The handler fills in one reply; otherwise it sends what it likes. */
static bool cg_method_replies(const cgrpc_method *method)
{
    return !(method->kind & CGRPC_SERVER_STREAM);
}

/* What to run the handler with now. */
typedef enum cg_due { CG_NOT_DUE, CG_DUE_MESSAGE, CG_DUE_NULL } cg_due;

static cg_due cg_server_due(cgrpc_call *call)
{
    bool again = call->woken || (call->blocked && cg_call_has_room(call));
    bool message = cg_rx_message(call) != UINT32_MAX;
    if (call->waiting) /* it returned CGRPC_PENDING: the same again */
        return !again ? CG_NOT_DUE
                      : call->null_run ? CG_DUE_NULL : CG_DUE_MESSAGE;
    if (!cg_call_streams_in(call))
        return call->ended_in ? CG_DUE_MESSAGE : CG_NOT_DUE;
    if (message)
        return CG_DUE_MESSAGE;
    if (call->ended_in && !call->told_end)
        return CG_DUE_NULL;
    return again && (call->method->kind == CGRPC_BIDI) ? CG_DUE_NULL
                                                       : CG_NOT_DUE;
}

static cgrpc_status cg_server_run(cgrpc_call *call, const void *in, void *out)
{
    const cgrpc_serving *serving = call->serving;
    cgrpc_port *port = call->side->port;
    size_t method = (size_t)(call->method - serving->service->methods);
    cgrpc_status status;
    call->woken = 0;
    call->blocked = 0;
    call->null_run = !in;
    port->in_handler = true;
    status = serving->service->run(serving->handlers, method, call, in, out);
    port->in_handler = false;
    return status;
}

/* The message at the front, decoded; NULL: it cannot be. */
static void *cg_server_decode(cgrpc_call *call)
{
    cgrpc_server *server = cg_server_of(call);
    const cgrpc_serving *serving = call->serving;
    size_t method = (size_t)(call->method - serving->service->methods);
    void *in = server->scratch;
    if (serving->service->arm)
        serving->service->arm(serving->handlers, method, call, in);
    if (cg_decode(cg_rx(call) + 5, cg_rx_message(call), call->method->in, in))
        return in;
    cg_release(call->method->in, in);
    cg_server_finish(call, CGRPC_INTERNAL,
                     CG_TEXT("request message cannot be decoded"));
    return NULL;
}

/* A handler has returned. */
static void cg_server_returned(cgrpc_call *call, cgrpc_status status,
                               bool had_message, const void *out)
{
    if (call->stage != CG_OPEN)
        return;
    if (status == CGRPC_PENDING) {
        call->waiting = 1;
        return;
    }
    call->waiting = 0;
    if (status == CGRPC_NEXT && had_message && cg_call_streams_in(call)) {
        cg_rx_consume(call);
        return;
    }
    if (status == CGRPC_NEXT && call->method->kind == CGRPC_BIDI) {
        call->told_end = cgrpc_recv_ended(call);
        return;
    }
    if ((unsigned)status > CGRPC_UNAUTHENTICATED) {
        CGRPC_LOG(0, "cgrpc: %s: its handler returned %d, which is no "
                  "status\n", call->method->path, (int)status);
        status = CGRPC_INTERNAL;
    }
    call->status = (uint8_t)status;
    cg_conn_refill(call->conn, CG_REFILL);
    if (status == CGRPC_OK)
        cg_metadata_excuse(&call->metadata);
    if (status == CGRPC_OK && cg_method_replies(call->method))
        cg_server_reply(call, out);
    cg_server_finish(call, (cgrpc_status)call->status, NULL);
}

/* Runs the handler if there is something to run it for. */
static bool cg_server_dispatch(cgrpc_call *call)
{
    cg_due due = cg_server_due(call);
    const cgrpc_method *method = call->method;
    cgrpc_word *scratch = cg_server_of(call)->scratch;
    size_t in_bytes = CGRPC_WORDS(method->in_size) * sizeof(cgrpc_word);
    void *in = NULL, *out = (uint8_t *)scratch + in_bytes;
    cgrpc_status status;
    if (due == CG_NOT_DUE)
        return false;
    if (cg_method_replies(method))
        in_bytes += method->out_size;
    memset(scratch, 0, in_bytes);
    if (due == CG_DUE_MESSAGE) {
        in = cg_server_decode(call);
        if (!in)
            return true;
    }
    status = cg_server_run(call, in, out);
    cg_server_returned(call, status, in != NULL, out);
    if (in)
        cg_release(call->method->in, in);
    return call->stage != CG_OPEN || !call->waiting;
}

/* --- what the connection reports --- */

static cgrpc_server *cg_server_at(const cgrpc_conn *conn)
{
    return (cgrpc_server *)conn->side;
}

/* A free slot, or one that only waits for its peer's END_STREAM. */
static cgrpc_call *cg_server_slot(cgrpc_server *server)
{
    const cgrpc_server_memory *memory = server->memory;
    cgrpc_call *lingering = NULL;
    size_t i;
    for (i = 0; i < memory->call_count; i++) {
        cgrpc_call *call = &memory->calls[i];
        if (call->stage == CG_FREE)
            return call;
        if (call->stage == CG_LINGERING && call->hooked)
            lingering = call;
    }
    if (lingering)
        cg_stream_reset(lingering, CG_NO_ERROR);
    return lingering;
}

static cgrpc_call *cg_server_open(cgrpc_conn *conn, uint32_t id)
{
    cgrpc_server *server = cg_server_at(conn);
    cgrpc_call *call = cg_server_slot(server);
    if (!call) {
        CGRPC_LOG(1, "cgrpc: %s: all %lu calls are taken: a call is refused "
                  "(raise CALLS)\n", conn->peer,
                  (unsigned long)server->memory->call_count);
        return NULL;
    }
    cg_call_clear(call, &server->side, true);
    call->stage = CG_OPEN;
    memset(cgrpc_call_state(call), 0, CGRPC_STATE_BYTES);
    cg_stream_attach(conn, call, id);
    return call;
}

/* The method that a :path stands for; false: nobody serves it. */
static bool cg_server_find(cgrpc_call *call, uint32_t path)
{
    const cgrpc_vocabulary *words = &call->side->words;
    size_t i;
    for (i = 0; path && i < words->service_count; i++) {
        const cgrpc_service *service = words->services[i].service;
        if (path <= service->method_count) {
            call->serving = &words->services[i];
            call->method = &service->methods[path - 1];
            return true;
        }
        path -= (uint32_t)service->method_count;
    }
    return false;
}

/* Fails a call whose stream broke the rules of HTTP. */
static void cg_server_break(cgrpc_call *call, uint8_t code)
{
    cgrpc_conn *conn = call->conn;
    cg_server_over(call, CGRPC_CANCELLED);
    cg_stream_reset(call, code);
    cg_conn_charge(conn, CG_CHARGE_RESET);
}

/* It was not looked at, and its client may try again. */
static void cg_server_refuse(cgrpc_call *call)
{
    cg_server_over(call, CGRPC_CANCELLED);
    cg_stream_reset(call, CG_REFUSED_STREAM);
}

static const cgrpc_method cg_no_method = { "(unknown)", NULL, NULL, 0, 0,
                                           CGRPC_BIDI };

static const char cg_body[] = "This server answers gRPC calls only.\n";

/* A request that is no gRPC call: HTTP 415 or 405, and a few words, which
 * an answer to HEAD must not have (RFC 9110, 9.3.2). */
static void cg_server_answer_http(cgrpc_call *call, const cgrpc_head *head,
                                  unsigned http)
{
    cg_server_finish(call, CGRPC_UNKNOWN, NULL);
    call->not_grpc = (uint8_t)(http - 400);
    if (head->value[CG_HAS_METHOD] == CG_METHOD_HEAD)
        return;
    call->rest = (const uint8_t *)cg_body;
    call->rest_len = sizeof cg_body - 1;
}

/* What speaks against serving a request; CGRPC_OK: nothing does. */
static cgrpc_status cg_server_objection(cgrpc_call *call,
                                        const cgrpc_head *head,
                                        const char **why)
{
    uint32_t timeout = head->value[CG_HAS_TIMEOUT];
    *why = CG_TEXT("only application/grpc+proto is served");
    if (head->value[CG_HAS_TYPE] != CG_TYPE_GRPC)
        return CGRPC_UNIMPLEMENTED;
    *why = CG_TEXT("malformed grpc-timeout");
    if (timeout == CG_VALUE_MALFORMED)
        return CGRPC_INTERNAL;
    if (cg_head_has(head, CG_HAS_TIMEOUT)) {
        call->deadline = cg_call_now(call) + cg_timeout_ms(timeout);
        call->has_deadline = 1;
    }
    *why = CG_TEXT("no such method");
    if (!cg_server_find(call, head->value[CG_HAS_PATH]))
        return CGRPC_UNIMPLEMENTED;
    *why = CG_TEXT("unknown grpc-encoding");
    call->refusing = cg_head_has(head, CG_HAS_ENCODING) &&
                     head->value[CG_HAS_ENCODING] != CG_ENCODING_IDENTITY;
    if (call->refusing)
        return CGRPC_UNIMPLEMENTED;
    *why = CG_TEXT("metadata over the server's limit");
    if (head->flags & CG_FIELD_OVERFLOW)
        return CGRPC_RESOURCE_EXHAUSTED;
    *why = CG_TEXT("a -bin value is not base64");
    return head->flags & CG_FIELD_NO_BASE64 ? CGRPC_INVALID_ARGUMENT
                                            : CGRPC_OK;
}

/* Judges a request's header block: RFC 9113, 8.3.1, then gRPC's rules. */
static void cg_server_request(cgrpc_call *call, const cgrpc_head *head)
{
    unsigned needed = 1u << CG_HAS_METHOD | 1u << CG_HAS_SCHEME |
                      1u << CG_HAS_PATH;
    const char *why;
    cgrpc_status status;
    call->method = &cg_no_method;
    if (head->flags & CG_FIELD_MALFORMED ||
        (head->seen & needed) != needed) {
        cg_server_break(call, CG_PROTOCOL_ERROR);
        return;
    }
    if (head->flags & CG_FIELD_LOST) {
        cg_server_refuse(call);
        return;
    }
    cg_rx_expect(call, head);
    if (head->value[CG_HAS_TYPE] == CG_TYPE_NONE) {
        cg_server_answer_http(call, head, 415);
        return;
    }
    if (head->value[CG_HAS_METHOD] != CG_METHOD_POST) {
        cg_server_answer_http(call, head, 405);
        return;
    }
    status = cg_server_objection(call, head, &why);
    if (status != CGRPC_OK)
        cg_server_finish(call, status, why);
}

/* A complete look at what has come: a fault at the front ends the call. */
static void cg_server_judge(cgrpc_call *call)
{
    const char *why = NULL;
    cgrpc_status status = cg_rx_judge(call, &why);
    if (status != CGRPC_OK)
        cg_server_finish(call, status, why);
}

static void cg_server_ended(cgrpc_call *call)
{
    if (call->has_length && call->content_left) {
        cg_server_break(call, CG_PROTOCOL_ERROR);
        return;
    }
    if (call->stage == CG_LINGERING) {
        cg_server_over(call, CGRPC_OK);
        cg_stream_detach(call, CG_BOTH_ENDED, CG_NO_ERROR);
        return;
    }
    if (call->stage != CG_OPEN)
        return;
    if (call->rx_len == 0 && !cg_call_streams_in(call))
        cg_server_finish(call, CGRPC_UNIMPLEMENTED,
                         CG_TEXT("no message where one was expected"));
    else
        cg_server_judge(call);
}

static void cg_server_headers(cgrpc_call *call, const cgrpc_head *head,
                              bool end)
{
    if (call->headers_in) { /* trailers of a request end it, or are wrong */
        if (head->flags & CG_FIELD_MALFORMED || !end) {
            cg_server_break(call, CG_PROTOCOL_ERROR);
            return;
        }
    } else {
        call->headers_in = 1;
        cg_server_request(call, head);
    }
    if (end && call->stage != CG_OVER) {
        call->ended_in = 1;
        cg_server_ended(call);
    }
}

/* DATA beyond the buffer: sent before the peer knew our window. Where the
 * handler is about to take a message, the rest waits in the byte stream. */
static void cg_server_overflow(cgrpc_call *call)
{
    if (cg_server_due(call) == CG_DUE_MESSAGE)
        call->conn->pause = true;
    else
        cg_server_finish(call, CGRPC_RESOURCE_EXHAUSTED,
                         CG_TEXT("more data than the server has room for"));
}

static uint32_t cg_server_data(cgrpc_call *call, const uint8_t *in,
                               uint32_t len)
{
    uint32_t fits = len;
    if (call->stage == CG_OPEN)
        fits = cg_min32(len, call->rx_cap - call->rx_len);
    if (!cg_rx_count(call, fits)) {
        cg_server_break(call, CG_PROTOCOL_ERROR);
        return len;
    }
    if (call->stage != CG_OPEN)
        return len;
    memcpy(cg_rx(call) + call->rx_len, in, fits);
    call->rx_len += fits;
    cg_server_judge(call);
    if (fits < len && call->stage == CG_OPEN)
        cg_server_overflow(call);
    return call->stage == CG_OPEN ? fits : len;
}

static void cg_server_reset(cgrpc_call *call, uint32_t code)
{
    (void)code;
    cg_server_over(call, CGRPC_CANCELLED);
}

static void cg_server_goaway(cgrpc_conn *conn, uint32_t last)
{
    (void)conn;
    (void)last;
}

static void cg_server_lost(cgrpc_conn *conn)
{
    while (conn->calls) {
        cg_server_over(conn->calls, CGRPC_CANCELLED);
        cg_stream_detach(conn->calls, CG_PEER_RESET, CG_NO_ERROR);
    }
}

static const cgrpc_conn_ops cg_server_ops = {
    cg_server_open, cg_server_headers, cg_server_data, cg_server_ended,
    cg_server_reset, cg_server_goaway, cg_server_lost
};

/* --- the loop --- */

/* An open call: its deadline, then its handler, a few times at most. true:
 * it could go on. */
static CG_COMPACT bool cg_server_step(cgrpc_call *call, uint32_t now)
{
    int runs;
    if (call->has_deadline && cg_time_left(call->deadline, now) == 0)
        cg_server_finish(call, CGRPC_DEADLINE_EXCEEDED,
                         CG_TEXT("deadline exceeded"));
    for (runs = 0; call->stage == CG_OPEN; runs++) {
        if (runs == 8)
            return true;
        if (!cg_server_dispatch(call))
            return false;
        cg_server_judge(call);
    }
    return false;
}

/* What could not be said, or heard, in time never will be. */
static void cg_server_give_up(cgrpc_call *call)
{
    bool said = call->stage == CG_LINGERING;
    cgrpc_status status = (cgrpc_status)call->status;
    if (status == CGRPC_OK)
        status = call->has_deadline ? CGRPC_DEADLINE_EXCEEDED
                                    : CGRPC_CANCELLED;
    cg_stream_reset(call, said ? CG_NO_ERROR : CG_CANCEL);
    cg_server_over(call, status);
}

/* All was said, and the peer has spent the window that it would need to end;
 * no more credit comes. RFC 9113, 8.1: it is asked to stop. */
static bool cg_server_waits_in_vain(const cgrpc_call *call)
{
    return call->stage == CG_LINGERING && call->rx_window <= 0 &&
           (call->conn->call != call || cg_flow_coming(call->conn) == 0);
}

/* What a call has to do now. Returns the milliseconds until it must be
 * looked at again, unless something comes. */
static CG_COMPACT uint32_t cg_server_turn(cgrpc_call *call, uint32_t now)
{
    if (call->stage == CG_OPEN && call->headers_in &&
        cg_server_step(call, now))
        return 0;
    if (call->stage == CG_FINISHING)
        cg_server_pump(call);
    if ((call->stage == CG_FINISHING || call->stage == CG_LINGERING) &&
        (cg_time_left(call->deadline, now) == 0 ||
         cg_server_waits_in_vain(call)))
        cg_server_give_up(call);
    if (call->stage == CG_OVER) {
        cg_call_run_hook(call);
        call->stage = CG_FREE;
        cg_server_of(call)->over--;
        return UINT32_MAX;
    }
    if (call->stage == CG_FINISHING || call->blocked)
        call->conn->waited_for = true;
    if (call->stage == CG_OPEN && !call->has_deadline)
        return UINT32_MAX;
    return cg_time_left(call->deadline, now);
}

/* Frees the slots of calls that have ended, which a peer may fill as soon as
 * it has read what was written. */
static void cg_server_settle(cgrpc_server *server, uint32_t now)
{
    const cgrpc_server_memory *memory = server->memory;
    size_t i;
    for (i = 0; server->over != 0 && i < memory->call_count; i++)
        if (memory->calls[i].stage == CG_OVER)
            cg_server_turn(&memory->calls[i], now);
}

/* Writes what a connection has to say. Returns as cg_conn_timer() does. */
static uint32_t cg_server_serve(cgrpc_server *server, cgrpc_conn *conn,
                                uint32_t now)
{
    bool waited_for = conn->waited_for;
    conn->waited_for = false;
    if (server->draining)
        cg_conn_drain(conn);
    if (!cg_conn_write(conn, now) || cg_conn_spent(conn, now)) {
        cg_conn_close(conn);
        return UINT32_MAX;
    }
    if (conn->wrote && (waited_for || (server->draining && !conn->draining &&
                                       !conn->dead)))
        return 0; /* now there is room */
    return cg_conn_timer(conn, now);
}

uint32_t cgrpc_server_poll(cgrpc_server *server)
{
    const cgrpc_server_memory *memory = server->memory;
    cgrpc_call *call, *calls_end;
    cgrpc_conn *conn, *conns_end;
    uint32_t now, wait = UINT32_MAX;
    size_t left;
    if (server->side.running || !server->side.port)
        return UINT32_MAX;
    now = cg_side_now(&server->side);
    server->side.running = true;
    server->side.woken = 0;
    conns_end = memory->conns + memory->conn_count;
    for (conn = memory->conns; conn < conns_end; conn++)
        if (conn->ops && !cg_conn_read(conn))
            cg_conn_close(conn);
    calls_end = memory->calls + memory->call_count;
    call = memory->calls + server->turn;
    server->turn = server->turn ? server->turn - 1
                                : (uint32_t)memory->call_count - 1;
    for (left = memory->call_count; left != 0; left--) {
        if (call->stage != CG_FREE)
            wait = cg_min32(wait, cg_server_turn(call, now));
        if (++call == calls_end)
            call = memory->calls;
    }
    for (conn = memory->conns; conn < conns_end; conn++)
        if (conn->ops)
            wait = cg_min32(wait, cg_server_serve(server, conn, now));
    if (server->over) {
        cg_server_settle(server, now);
        wait = 0; /* hooks may have said or ended anything */
    }
    server->side.running = false;
    return server->side.woken ? 0 : wait;
}

/* --- the public rest --- */

/* The largest decoded request, with its reply, among all methods. */
static size_t cg_server_scratch(const cgrpc_server_desc *desc)
{
    size_t i, j, most = 0;
    for (i = 0; i < desc->service_count; i++) {
        const cgrpc_service *service = desc->services[i].service;
        for (j = 0; j < service->method_count; j++) {
            const cgrpc_method *method = &service->methods[j];
            size_t words = CGRPC_WORDS(method->in_size);
            if (cg_method_replies(method))
                words += CGRPC_WORDS(method->out_size);
            most = words > most ? words : most;
        }
    }
    return most * sizeof(cgrpc_word);
}

static cgrpc_result cg_server_check(const cgrpc_server *server,
                                    const cgrpc_server_desc *desc)
{
    const cgrpc_server_memory *memory = server->memory;
    size_t i;
    if (!memory || !memory->call_count || !memory->conn_count || !desc ||
        !desc->port || !desc->port->now || !desc->service_count)
        return CGRPC_E_ARGUMENT;
    for (i = 0; i < desc->service_count; i++)
        if (desc->services[i].service->version != CGRPC_GENERATED_VERSION)
            return CGRPC_E_LAYOUT;
    if (cg_server_scratch(desc) > memory->scratch_bytes) {
        CGRPC_LOG(0, "cgrpc: SCRATCH is %lu bytes, the services need %lu\n",
                  (unsigned long)memory->scratch_bytes,
                  (unsigned long)cg_server_scratch(desc));
        return CGRPC_E_CONFIG;
    }
    if (memory->tx_bytes < CG_LEAST_TX) {
        CGRPC_LOG(0, "cgrpc: TX_BYTES is %lu, at least %u are needed\n",
                  (unsigned long)memory->tx_bytes, (unsigned)CG_LEAST_TX);
        return CGRPC_E_CONFIG;
    }
    return CGRPC_SUCCESS;
}

cgrpc_result cgrpc_server_init_(cgrpc_server *server,
                                const cgrpc_server_desc *desc, size_t layout)
{
    const cgrpc_server_memory *memory = server->memory;
    cgrpc_result result;
    uint8_t *bytes;
    size_t i;
    if (layout != CGRPC_LAYOUT)
        return CGRPC_E_LAYOUT;
    result = cg_server_check(server, desc);
    if (result != CGRPC_SUCCESS)
        return result;
    memset(server, 0, sizeof *server);
    server->memory = memory;
    server->scratch = memory->words;
    server->states = server->scratch + CGRPC_WORDS(memory->scratch_bytes);
    bytes = (uint8_t *)(server->states +
                        memory->call_count * CGRPC_WORDS(CGRPC_STATE_BYTES));
    memset(memory->conns, 0, memory->conn_count * sizeof *memory->conns);
    for (i = 0; i < memory->call_count; i++)
        cgrpc_call_init(&memory->calls[i],
                        bytes + i * CGRPC_CALL_BYTES(memory->rx_bytes),
                        CGRPC_CALL_BYTES(memory->rx_bytes));
    if (!cg_vocabulary_init(&server->side.words, desc->keys, desc->key_count))
        return CGRPC_E_ARGUMENT;
    server->side.words.services = desc->services;
    server->side.words.service_count = desc->service_count;
    server->side.port = desc->port;
    return CGRPC_SUCCESS;
}

cgrpc_result cgrpc_server_accept(cgrpc_server *server, const cgrpc_io *io,
                                 const char *peer)
{
    const cgrpc_server_memory *memory = server->memory;
    size_t slot = 0, bytes = CGRPC_CONN_BYTES(memory->tx_bytes);
    uint8_t *conns = (uint8_t *)(memory->words + memory->word_count) -
                     memory->conn_count * bytes;
    cgrpc_conn *conn;
    while (slot < memory->conn_count && memory->conns[slot].ops)
        slot++;
    if (!server->side.port)
        return CGRPC_E_STATE; /* cgrpc_server_init() has failed */
    if (slot == memory->conn_count || server->draining)
        return CGRPC_E_BUSY;
    conn = &memory->conns[slot];
    conn->ops = &cg_server_ops;
    conn->side = &server->side;
    conn->is_server = 1;
    cg_conn_begin(conn, io, conns + slot * bytes, (uint32_t)bytes);
    conn->peer = peer ? peer : "";
    cg_conn_greet(conn, (uint32_t)memory->call_count,
                  (uint32_t)memory->rx_bytes + 5);
    return CGRPC_SUCCESS;
}

void cgrpc_server_drain(cgrpc_server *server) { server->draining = 1; }

bool cgrpc_server_idle(const cgrpc_server *server)
{
    const cgrpc_server_memory *memory = server->memory;
    size_t i;
    for (i = 0; i < memory->conn_count; i++)
        if (memory->conns[i].ops)
            return false;
    for (i = 0; i < memory->call_count; i++)
        if (memory->calls[i].stage != CG_FREE)
            return false;
    return true;
}

void cgrpc_server_stop(cgrpc_server *server)
{
    const cgrpc_server_memory *memory = server->memory;
    uint32_t now = cg_side_now(&server->side);
    bool running = server->side.running;
    size_t i;
    server->side.running = true;
    for (i = 0; i < memory->conn_count; i++) {
        cgrpc_conn *conn = &memory->conns[i];
        if (!conn->ops)
            continue;
        cg_conn_fail(conn, CG_NO_ERROR);
        cg_conn_write(conn, now);
        cg_conn_close(conn);
    }
    if (!running) /* or whoever runs it settles the call in hand, too */
        cg_server_settle(server, now);
    server->side.running = running;
}

static void cg_server_cancel(cgrpc_call *call)
{
    if (call->stage != CG_OPEN && call->stage != CG_FINISHING)
        return;
    cg_server_over(call, CGRPC_CANCELLED);
    cg_stream_reset(call, CG_CANCEL);
}

bool cgrpc_send_initial(cgrpc_call *call)
{
    if (!call->is_server || call->stage != CG_OPEN)
        return false;
    call->blocked = !cg_server_put_headers(call);
    if (call->blocked)
        cg_call_need_all(call);
    return !call->blocked;
}

cgrpc_status cgrpc_fail(cgrpc_call *call, cgrpc_status status,
                        const char *text)
{
    if (text && call->is_server && call->stage == CG_OPEN)
        cg_metadata_explain(&call->metadata, CG_OUT_TRAILING, text);
    return status;
}

cgrpc_result cgrpc_fail_details(cgrpc_call *call, const void *details,
                                size_t len)
{
    cg_record record;
    if (!call->is_server || call->stage != CG_OPEN)
        return CGRPC_E_STATE;
    cg_metadata_remove(&call->metadata, CG_OUT_TRAILING,
                       CG_NAME_GRPC_DETAILS);
    memset(&record, 0, sizeof record);
    record.name = CG_NAME_GRPC_DETAILS;
    record.which = CG_OUT_TRAILING;
    record.value = (const char *)details;
    record.value_len = len;
    return cg_metadata_put(&call->metadata, &record) ? CGRPC_SUCCESS
                                                     : CGRPC_E_ROOM;
}

#endif /* CGRPC_SERVER */

/* ======================================================================
 * The verbs of both roles, and texts
 * ====================================================================== */

void cgrpc_call_cancel(cgrpc_call *call)
{
#if CGRPC_SERVER
    if (call->is_server)
        cg_server_cancel(call);
#endif
#if CGRPC_CLIENT
    if (!call->is_server && call->side)
        cg_client_cancel(call);
#endif
}

/* The initial HEADERS, if they are still to go; false: no room. */
static bool cg_call_put_headers(cgrpc_call *call)
{
#if CGRPC_SERVER
    if (call->is_server)
        return cg_server_put_headers(call);
#endif
#if CGRPC_CLIENT
    if (!call->is_server)
        return true; /* they opened the stream */
#endif
    return false;
}

/* A message that cannot be sent, or not to its end, ends its call. */
static void cg_call_send_failed(cgrpc_call *call, cgrpc_status status)
{
    bool begun = call->tx_sent != 0;
    CGRPC_LOG(0, "cgrpc: %s: a message cannot be encoded, is larger than "
              "TX_BYTES with CGRPC_REPLAY 0, or changed while it was being "
              "sent in parts\n", call->method->path);
#if CGRPC_SERVER
    if (call->is_server && begun)
        cg_server_break(call, CG_INTERNAL_ERROR);
    else if (call->is_server)
        cg_server_finish(call, status, CG_TEXT("a message could not be sent"));
#endif
#if CGRPC_CLIENT
    if (!call->is_server)
        cg_client_over(call, status, CG_TEXT("a message could not be sent"),
                       begun ? CG_INTERNAL_ERROR : CG_CANCEL);
#endif
}

bool cgrpc_send(cgrpc_call *call, const void *message)
{
    cg_outcome put = CG_SENT_WAIT;
    bool one;
    if (call->stage != CG_OPEN && call->stage != CG_QUEUED)
        return false; /* one that never started has no method either */
    one = call->is_server ? !(call->method->kind & CGRPC_SERVER_STREAM)
                          : !(call->method->kind & CGRPC_CLIENT_STREAM);
    if ((one && call->replied) || call->end_wanted)
        return false;
    if (call->stage == CG_OPEN && cg_call_put_headers(call))
        put = cg_message_put(call, message, false);
    else if (call->stage == CG_OPEN)
        cg_call_need_all(call);
    call->blocked = put == CG_SENT_WAIT;
    if (call->blocked && call->conn) /* its turn may have been, in this poll */
        call->conn->waited_for = true;
    call->replied = put == CG_SENT_ALL;
    if (put == CG_SENT_BAD)
        cg_call_send_failed(call, CGRPC_INTERNAL);
    if (put == CG_SENT_LARGE)
        cg_call_send_failed(call, CGRPC_RESOURCE_EXHAUSTED);
    return put == CG_SENT_ALL;
}

void cgrpc_send_end(cgrpc_call *call)
{
#if CGRPC_CLIENT
    if (call->is_server)
        return;
    call->end_wanted = 1;
    if (call->tx_sent)
        cg_call_send_failed(call, CGRPC_INTERNAL);
    else if (call->stage == CG_OPEN)
        cg_client_pump(call);
#else
    (void)call;
#endif
}

#if CGRPC_ERROR_TEXTS
const char *cgrpc_status_text(cgrpc_status status)
{
    static const char *const texts[] = {
        "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
        "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
        "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL",
        "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"
    };
    return (unsigned)status <= CGRPC_UNAUTHENTICATED ? texts[status]
                                                     : "not a status";
}

const char *cgrpc_result_text(cgrpc_result result)
{
    static const char *const texts[] = {
        "success", "an argument is missing or makes no sense",
        "defined too small: CGRPC_LOG says which size",
        ("cgrpc.h was compiled with other macros, or generated code is of "
         "another version: rebuild all with one CGRPC_CONFIG_H"),
        "does not fit: raise CGRPC_METADATA_BYTES or the call's RX_BYTES",
        "not now: the call is in use or has ended",
        "all connections are taken: raise CONNS",
        "the peer has closed the connection", "the byte stream failed"
    };
    size_t at = (size_t)-(int)result;
    return at < sizeof texts / sizeof *texts ? texts[at] : "not a result";
}
#else
const char *cgrpc_status_text(cgrpc_status status)
{
    (void)status;
    return "";
}

const char *cgrpc_result_text(cgrpc_result result)
{
    (void)result;
    return "";
}
#endif

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* CGRPC_IMPLEMENTED */
#endif /* CGRPC_IMPLEMENTATION */

/* MIT License
 *
 * Copyright (c) 2026 the cgrpc authors
 *
 * Permission is hereby granted, free of charge, to any person obtaining a
 * copy of this software and associated documentation files (the "Software"),
 * to deal in the Software without restriction, including without limitation
 * the rights to use, copy, modify, merge, publish, distribute, sublicense,
 * and/or sell copies of the Software, and to permit persons to whom the
 * Software is furnished to do so, subject to the following conditions:
 *
 * The above copyright notice and this permission notice shall be included in
 * all copies or substantial portions of the Software.
 *
 * THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
 * IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
 * FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
 * AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
 * LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING
 * FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER
 * DEALINGS IN THE SOFTWARE. */
