/* The echo of bench.h on libnghttp2: gRPC by hand, as lean as its API lets
 * it be. Header fields are not copied on the way out, messages are decoded
 * and encoded in place, and one slot a stream holds what must be kept.
 */
#include "bench.h"

#include <nghttp2/nghttp2.h>
#include <string.h>

#define SLOTS 4

struct slot {
    int32_t stream;
    bool good_path, good_type, answered;
    uint8_t body[64];
    size_t body_len, sent;
};

static nghttp2_session *client, *server;
static struct slot server_slots[SLOTS], call;

#define FIELD(name, value)                                                   \
    {                                                                        \
        (uint8_t *)name, (uint8_t *)value, sizeof(name) - 1,                 \
            sizeof(value) - 1,                                               \
            NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE     \
    }

static const nghttp2_nv request_fields[] = {
    FIELD(":method", "POST"),
    FIELD(":scheme", "http"),
    FIELD(":path", "/perf.Echo/Unary"),
    FIELD(":authority", "localhost:50051"),
    FIELD("te", "trailers"),
    FIELD("content-type", "application/grpc"),
    FIELD("user-agent", "grpc-c-nghttp2/1.0"),
    FIELD("grpc-accept-encoding", "identity"),
};

static const nghttp2_nv response_fields[] = {
    FIELD(":status", "200"),
    FIELD("content-type", "application/grpc"),
};

static const nghttp2_nv trailer_fields[] = { FIELD("grpc-status", "0") };

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- messages ---- */

static size_t message_write(uint8_t *out)
{
    static const uint8_t head[] = { 0, 0, 0, 0, BENCH_MESSAGE_LEN,
                                    0x0a, BENCH_TEXT_LEN };
    memcpy(out, head, sizeof(head));
    memcpy(out + sizeof(head), BENCH_TEXT, BENCH_TEXT_LEN);
    return sizeof(head) + BENCH_TEXT_LEN;
}

static bool message_check(const uint8_t *in, size_t len)
{
    return len == 5 + BENCH_MESSAGE_LEN && in[0] == 0 &&
           in[4] == BENCH_MESSAGE_LEN && in[5] == 0x0a &&
           in[6] == BENCH_TEXT_LEN &&
           memcmp(in + 7, BENCH_TEXT, BENCH_TEXT_LEN) == 0;
}

static void body_append(struct slot *slot, const uint8_t *data, size_t len)
{
    if (len > sizeof(slot->body) - slot->body_len)
        len = sizeof(slot->body) - slot->body_len;
    memcpy(slot->body + slot->body_len, data, len);
    slot->body_len += len;
}

static bool is(const uint8_t *text, size_t len, const char *what,
               size_t what_len)
{
    return len == what_len && memcmp(text, what, len) == 0;
}
#define IS(text, len, what) is(text, len, what, sizeof(what) - 1)

/* ---- server ---- */

static ssize_t read_reply(nghttp2_session *session, int32_t stream,
                          uint8_t *out, size_t cap, uint32_t *flags,
                          nghttp2_data_source *source, void *user)
{
    struct slot *slot = source->ptr;
    (void)user;
    if (cap < slot->body_len)
        return NGHTTP2_ERR_DEFERRED;
    memcpy(out, slot->body, slot->body_len);
    *flags = NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    nghttp2_submit_trailer(session, stream, trailer_fields,
                           COUNT(trailer_fields));
    return (ssize_t)slot->body_len;
}

static void reply(struct slot *slot)
{
    nghttp2_data_provider provider;
    bool good = slot->good_path && slot->good_type &&
                message_check(slot->body, slot->body_len);
    if (!good) {
        nghttp2_submit_rst_stream(server, NGHTTP2_FLAG_NONE, slot->stream,
                                  NGHTTP2_INTERNAL_ERROR);
        return;
    }
    slot->body_len = message_write(slot->body);
    provider.source.ptr = slot;
    provider.read_callback = read_reply;
    nghttp2_submit_response(server, slot->stream, response_fields,
                            COUNT(response_fields), &provider);
}

static int server_begin_headers(nghttp2_session *session,
                                const nghttp2_frame *frame, void *user)
{
    int i;
    (void)user;
    for (i = 0; i < SLOTS; i++)
        if (!server_slots[i].stream) {
            memset(&server_slots[i], 0, sizeof(server_slots[i]));
            server_slots[i].stream = frame->hd.stream_id;
            nghttp2_session_set_stream_user_data(
                session, frame->hd.stream_id, &server_slots[i]);
            return 0;
        }
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int server_header(nghttp2_session *session, const nghttp2_frame *frame,
                         const uint8_t *name, size_t name_len,
                         const uint8_t *value, size_t value_len,
                         uint8_t flags, void *user)
{
    struct slot *slot =
        nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    (void)flags;
    (void)user;
    if (!slot)
        return 0;
    if (IS(name, name_len, ":path"))
        slot->good_path = IS(value, value_len, "/perf.Echo/Unary");
    else if (IS(name, name_len, "content-type"))
        slot->good_type = IS(value, value_len, "application/grpc");
    return 0;
}

static int server_data(nghttp2_session *session, uint8_t flags,
                       int32_t stream, const uint8_t *data, size_t len,
                       void *user)
{
    struct slot *slot = nghttp2_session_get_stream_user_data(session, stream);
    (void)flags;
    (void)user;
    if (slot)
        body_append(slot, data, len);
    return 0;
}

static int server_frame(nghttp2_session *session, const nghttp2_frame *frame,
                        void *user)
{
    struct slot *slot;
    (void)user;
    if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    if (frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    slot = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (slot)
        reply(slot);
    return 0;
}

static int server_close(nghttp2_session *session, int32_t stream,
                        uint32_t code, void *user)
{
    struct slot *slot = nghttp2_session_get_stream_user_data(session, stream);
    (void)code;
    (void)user;
    if (slot)
        slot->stream = 0;
    return 0;
}

/* ---- client ---- */

static ssize_t read_request(nghttp2_session *session, int32_t stream,
                            uint8_t *out, size_t cap, uint32_t *flags,
                            nghttp2_data_source *source, void *user)
{
    (void)session;
    (void)stream;
    (void)source;
    (void)user;
    if (cap < 5 + BENCH_MESSAGE_LEN)
        return NGHTTP2_ERR_DEFERRED;
    *flags = NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)message_write(out);
}

static int client_header(nghttp2_session *session, const nghttp2_frame *frame,
                         const uint8_t *name, size_t name_len,
                         const uint8_t *value, size_t value_len,
                         uint8_t flags, void *user)
{
    (void)session;
    (void)flags;
    (void)user;
    if (frame->hd.stream_id != call.stream)
        return 0;
    if (IS(name, name_len, "content-type"))
        call.good_type = IS(value, value_len, "application/grpc");
    else if (IS(name, name_len, "grpc-status"))
        call.answered = IS(value, value_len, "0");
    return 0;
}

static int client_data(nghttp2_session *session, uint8_t flags,
                       int32_t stream, const uint8_t *data, size_t len,
                       void *user)
{
    (void)session;
    (void)flags;
    (void)user;
    if (stream == call.stream)
        body_append(&call, data, len);
    return 0;
}

static int client_close(nghttp2_session *session, int32_t stream,
                        uint32_t code, void *user)
{
    (void)session;
    (void)user;
    if (stream == call.stream)
        call.answered = call.answered && call.good_type && code == 0 &&
                        message_check(call.body, call.body_len);
    return 0;
}

/* ---- the peer ---- */

static void peer_init(void)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;

    nghttp2_option_new(&option);
    nghttp2_option_set_no_closed_streams(option, 1);

    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_begin_headers_callback(
        callbacks, server_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, server_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks,
                                                              server_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks,
                                                         server_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks,
                                                           server_close);
    nghttp2_session_server_new2(&server, callbacks, NULL, option);
    nghttp2_session_callbacks_del(callbacks);

    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, client_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks,
                                                              client_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks,
                                                           client_close);
    nghttp2_session_client_new2(&client, callbacks, NULL, option);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);

    nghttp2_submit_settings(server, NGHTTP2_FLAG_NONE, NULL, 0);
    nghttp2_submit_settings(client, NGHTTP2_FLAG_NONE, NULL, 0);
}

static size_t drain(nghttp2_session *session, uint8_t *out, size_t cap)
{
    const uint8_t *data;
    size_t len = 0;
    ssize_t got;
    while ((got = nghttp2_session_mem_send(session, &data)) > 0) {
        if ((size_t)got > cap - len)
            return 0;
        memcpy(out + len, data, (size_t)got);
        len += (size_t)got;
    }
    return len;
}

static size_t peer_idle(const uint8_t *in, size_t in_len, uint8_t *out,
                        size_t out_cap)
{
    if (in_len && nghttp2_session_mem_recv(client, in, in_len) < 0)
        return 0;
    return drain(client, out, out_cap);
}

static size_t peer_begin(uint8_t *out, size_t out_cap)
{
    nghttp2_data_provider provider;
    memset(&call, 0, sizeof(call));
    provider.source.ptr = NULL;
    provider.read_callback = read_request;
    call.stream = nghttp2_submit_request(client, NULL, request_fields,
                                         COUNT(request_fields), &provider,
                                         NULL);
    return drain(client, out, out_cap);
}

static bool peer_end(const uint8_t *in, size_t in_len)
{
    if (nghttp2_session_mem_recv(client, in, in_len) != (ssize_t)in_len)
        return false;
    return call.answered;
}

static size_t peer_serve(const uint8_t *in, size_t in_len, uint8_t *out,
                   size_t out_cap)
{
    if (in_len && nghttp2_session_mem_recv(server, in, in_len) < 0)
        return 0;
    return drain(server, out, out_cap);
}

const bench_peer bench_nghttp2 = { peer_init, peer_idle, peer_begin,
                                   peer_end, peer_serve };
