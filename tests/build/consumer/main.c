/* What a project that uses cgrpc might begin with: a service, and a test of
 * it in the same program. */
#define CGRPC_IMPLEMENTATION
#include "cgrpc_memory.h"
#include "hello.cgrpc.h"
#include <stdio.h>

static cgrpc_status say_hello(cgrpc_call *call, const hello_HelloRequest *in,
                              hello_HelloReply *out)
{
    (void)call;
    snprintf(out->message, sizeof(out->message), "Hello, %s!", in->name);
    return CGRPC_OK;
}

static const hello_Greeter_handlers handlers = { say_hello };
static const cgrpc_serving services[] = { hello_Greeter_SERVING(&handlers) };

CGRPC_MEMORY_DEFINE(memory, 1, 1024);
CGRPC_SERVER_DEFINE(server, 1, 2, hello_Greeter_RX_BYTES, 256,
                    hello_Greeter_SCRATCH);
CGRPC_CHANNEL_DEFINE(channel, hello_Greeter_MAX_REPLY, 256);

int main(void)
{
    cgrpc_server_desc of_server = { .port = cgrpc_memory_port(&memory),
                                    .services = services,
                                    .service_count = 1 };
    cgrpc_channel_desc of_channel = { .port = cgrpc_memory_port(&memory),
                                      .target = "memory" };
    hello_HelloRequest in = { .name = "consumer" };
    hello_HelloReply out = { .message = "" };

    cgrpc_memory_init(&memory, &server);
    if (cgrpc_server_init(&server, &of_server) ||
        cgrpc_channel_init(&channel, &of_channel))
        return 1;
    if (hello_Greeter_SayHello(&channel, &in, &out, NULL) != CGRPC_OK)
        return 1;
    printf("%s\n", out.message);
    return 0;
}
