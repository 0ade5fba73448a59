/* The smallest client: one call, one line.
 *
 *     hello_client [--host HOST] [--port PORT]       127.0.0.1 and 50051
 */
#define CGRPC_IMPLEMENTATION
#include "cgrpc_posix.h"
#include "hello.cgrpc.h"
#include "../address.h"

CGRPC_CHANNEL_DEFINE(channel, hello_Greeter_MAX_REPLY, 512);
CGRPC_POSIX_DEFINE(posix, 1);

int main(int argc, char **argv)
{
    cgrpc_channel_desc desc = { .port = cgrpc_posix_port(&posix),
                                .target = example_address(argc, argv) };
    cgrpc_options options = { .timeout_ms = 5000 };
    hello_HelloRequest request = { .name = "world" };
    hello_HelloReply reply;
    cgrpc_status status;
    cgrpc_result result = cgrpc_posix_init(&posix);

    if (!result)
        result = cgrpc_channel_init(&channel, &desc);
    if (result) {
        fprintf(stderr, "%s\n", cgrpc_result_text(result));
        return 1;
    }
    status = hello_Greeter_SayHello(&channel, &request, &reply, &options);
    if (status == CGRPC_OK)
        printf("%s\n", reply.message);
    else
        fprintf(stderr, "%s: %s. %s\n", cgrpc_status_text(status),
                cgrpc_channel_message(&channel), cgrpc_posix_error(&posix));
    cgrpc_channel_close(&channel);
    return status != CGRPC_OK;
}
