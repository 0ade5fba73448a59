/* One of two files that are compiled apart: this one has the instances. */
#include "cgrpc.h"
#include <stdio.h>

static uint32_t now(void *context)
{
    (void)context;
    return 0;
}

static cgrpc_result no_connect(void *context, const char *target, cgrpc_io *io)
{
    (void)context, (void)target, (void)io;
    return CGRPC_E_IO;
}

static cgrpc_status run(const void *handlers, size_t method, cgrpc_call *call,
                        const void *in, void *out)
{
    (void)handlers, (void)method, (void)call, (void)in, (void)out;
    return CGRPC_UNIMPLEMENTED;
}

static const cgrpc_method method = { "/a.B/C", NULL, NULL, sizeof(cgrpc_bytes),
                                     sizeof(cgrpc_bytes), CGRPC_UNARY };
static const cgrpc_service service = { CGRPC_GENERATED_VERSION, "a.B", &method,
                                       1, run, NULL };
static const cgrpc_serving services[] = { { &service, NULL } };

CGRPC_SERVER_DEFINE(server, 1, 1, 64, 256, 64);
CGRPC_CHANNEL_DEFINE(channel, 64, 256);

int main(void)
{
    static cgrpc_port port;
    cgrpc_server_desc of_server = { 0 };
    cgrpc_channel_desc of_channel = { 0 };
    port.now = now;
    port.connect = no_connect;
    of_server.port = &port;
    of_server.services = services;
    of_server.service_count = 1;
    of_channel.port = &port;
    of_channel.target = "nowhere";
    printf("%d %d\n", cgrpc_server_init(&server, &of_server),
           cgrpc_channel_init(&channel, &of_channel));
    return 0;
}
