/* The echo of bench.h on cgrpc.h: one server with four calls, one channel. */
#define CGRPC_IMPLEMENTATION
#include "cgrpc.h"

#include "bench.h"
#include "echo.cgrpc.h"

/* ---- a byte stream whose two sides are arrays ---- */

typedef struct buffers {
    const uint8_t *in;
    size_t in_len;
    uint8_t *out;
    size_t out_len, out_cap;
} buffers;

static int buffers_peek(void *context, const uint8_t **data)
{
    buffers *io = context;
    *data = io->in;
    return (int)io->in_len;
}

static void buffers_take(void *context, size_t len)
{
    buffers *io = context;
    io->in += len;
    io->in_len -= len;
}

static int buffers_send(void *context, const uint8_t *data, size_t len)
{
    buffers *io = context;
    if (len > io->out_cap - io->out_len)
        len = io->out_cap - io->out_len;
    memcpy(io->out + io->out_len, data, len);
    io->out_len += len;
    return (int)len;
}

static void buffers_close(void *context)
{
    (void)context;
}

static const cgrpc_io_ops buffers_ops = { buffers_peek, buffers_take,
                                          buffers_send, buffers_close };

/* ---- both ends ---- */

static buffers client_io, server_io;

static uint32_t port_now(void *context)
{
    (void)context;
    return 0;
}

static cgrpc_result port_connect(void *context, const char *target,
                                 cgrpc_io *io)
{
    (void)context;
    (void)target;
    io->ops = &buffers_ops;
    io->context = &client_io;
    return CGRPC_SUCCESS;
}

static cgrpc_port port = { port_now, NULL, port_connect, NULL, false };

static cgrpc_status unary(cgrpc_call *call, const perf_Msg *in, perf_Msg *out)
{
    (void)call;
    *out = *in;
    return CGRPC_OK;
}

static const perf_Echo_handlers handlers = { unary };
static const cgrpc_serving services[] = { perf_Echo_SERVING(&handlers) };

CGRPC_SERVER_DEFINE(server, 1, 4, 512, 512, perf_Echo_SCRATCH);
CGRPC_CHANNEL_DEFINE(channel, 512, 512);
CGRPC_CALL_DEFINE(call, 512);

static const perf_Msg request = { BENCH_TEXT };
static perf_Msg response;

static void buffers_set(buffers *io, const uint8_t *in, size_t in_len,
                        uint8_t *out, size_t out_cap)
{
    io->in = in;
    io->in_len = in_len;
    io->out = out;
    io->out_len = 0;
    io->out_cap = out_cap;
}

/* ---- the peer ---- */

static void peer_init(void)
{
    cgrpc_server_desc server_desc = { &port, services, 1, NULL, 0 };
    cgrpc_channel_desc channel_desc = { 0 };
    cgrpc_io io = { &buffers_ops, &server_io };
    channel_desc.port = &port;
    channel_desc.target = "localhost:50051";
    cgrpc_server_init(&server, &server_desc);
    cgrpc_channel_init(&channel, &channel_desc);
    cgrpc_server_accept(&server, &io, "bench");
}

/* A channel connects with its first call: one that is cancelled again. */
static size_t peer_idle(const uint8_t *in, size_t in_len, uint8_t *out,
                        size_t out_cap)
{
    bool first = cgrpc_channel_get_state(&channel) == CGRPC_CHANNEL_IDLE;
    buffers_set(&client_io, in, in_len, out, out_cap);
    if (first)
        perf_Echo_Unary_start(&channel, &call, &request, &response, NULL,
                              NULL);
    cgrpc_channel_poll(&channel);
    if (first)
        cgrpc_call_cancel(&call);
    return client_io.out_len;
}

static size_t peer_begin(uint8_t *out, size_t out_cap)
{
    buffers_set(&client_io, NULL, 0, out, out_cap);
    perf_Echo_Unary_start(&channel, &call, &request, &response, NULL, NULL);
    cgrpc_channel_poll(&channel);
    return client_io.out_len;
}

static bool peer_end(const uint8_t *in, size_t in_len)
{
    buffers_set(&client_io, in, in_len, NULL, 0);
    cgrpc_channel_poll(&channel);
    return cgrpc_call_ended(&call) && cgrpc_call_status(&call) == CGRPC_OK &&
           memcmp(response.payload, BENCH_TEXT, BENCH_TEXT_LEN) == 0;
}

static size_t peer_serve(const uint8_t *in, size_t in_len, uint8_t *out,
                   size_t out_cap)
{
    buffers_set(&server_io, in, in_len, out, out_cap);
    cgrpc_server_poll(&server);
    return server_io.out_len;
}

const bench_peer bench_cgrpc = { peer_init, peer_idle, peer_begin,
                                 peer_end, peer_serve };
