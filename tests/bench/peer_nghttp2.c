/* Both ends of bench.h on libnghttp2. The server is in nghttp2_echo.c. */
#include "nghttp2_echo.h"

static nghttp2_session *client, *server;
static echo_slot call;

static const nghttp2_nv request_fields[] = {
    ECHO_FIELD(":method", "POST"),
    ECHO_FIELD(":scheme", "http"),
    ECHO_FIELD(":path", "/perf.Echo/Unary"),
    ECHO_FIELD(":authority", "localhost:50051"),
    ECHO_FIELD("te", "trailers"),
    ECHO_FIELD("content-type", "application/grpc"),
    ECHO_FIELD("user-agent", "grpc-c-nghttp2/1.0"),
    ECHO_FIELD("grpc-accept-encoding", "identity"),
};

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
    return (ssize_t)echo_message_write(out);
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
    if (ECHO_IS(name, name_len, "content-type"))
        call.good_type = ECHO_IS(value, value_len, "application/grpc");
    else if (ECHO_IS(name, name_len, "grpc-status"))
        call.answered = ECHO_IS(value, value_len, "0");
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
        echo_body_append(&call, data, len);
    return 0;
}

static int client_close(nghttp2_session *session, int32_t stream,
                        uint32_t code, void *user)
{
    (void)session;
    (void)user;
    if (stream == call.stream)
        call.answered = call.answered && call.good_type && code == 0 &&
                        echo_message_check(call.body, call.body_len);
    return 0;
}

/* ---- the peer ---- */

static void peer_init(void)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    server = echo_server_new();
    nghttp2_option_new(&option);
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, client_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks,
                                                              client_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks,
                                                           client_close);
    nghttp2_session_client_new2(&client, callbacks, NULL, option);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);
    nghttp2_submit_settings(client, NGHTTP2_FLAG_NONE, NULL, 0);
}

static size_t peer_idle(const uint8_t *in, size_t in_len, uint8_t *out,
                        size_t out_cap)
{
    if (in_len && nghttp2_session_mem_recv(client, in, in_len) < 0)
        return 0;
    return echo_drain(client, out, out_cap);
}

static size_t peer_begin(uint8_t *out, size_t out_cap)
{
    nghttp2_data_provider provider;
    memset(&call, 0, sizeof(call));
    provider.source.ptr = NULL;
    provider.read_callback = read_request;
    call.stream = nghttp2_submit_request(client, NULL, request_fields,
                                         ECHO_COUNT(request_fields), &provider,
                                         NULL);
    return echo_drain(client, out, out_cap);
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
    return echo_drain(server, out, out_cap);
}

const bench_peer bench_nghttp2 = { peer_init, peer_idle, peer_begin,
                                   peer_end, peer_serve };
