/* The smallest server: it says hello to whoever asks.
 *
 *     hello_server [--host HOST] [--port PORT]       127.0.0.1 and 50051
 *
 * Then, in another terminal: hello_client, or any other gRPC client.
 */
#define CGRPC_IMPLEMENTATION
#include "cgrpc_posix.h"
#include "hello.cgrpc.h"
#include "../address.h"

static cgrpc_status say_hello(cgrpc_call *call, const hello_HelloRequest *in,
                              hello_HelloReply *out)
{
    (void)call;
    snprintf(out->message, sizeof(out->message), "Hello, %s!", in->name);
    return CGRPC_OK;
}

static const hello_Greeter_handlers handlers = { .SayHello = say_hello };
static const cgrpc_serving services[] = { hello_Greeter_SERVING(&handlers) };

/* 4 connections, 8 calls in flight, 512 bytes to send from. */
CGRPC_SERVER_DEFINE(server, 4, 8, hello_Greeter_RX_BYTES, 512,
                    hello_Greeter_SCRATCH);
CGRPC_POSIX_DEFINE(posix, 4);

int main(int argc, char **argv)
{
    cgrpc_server_desc desc = { .port = cgrpc_posix_port(&posix),
                               .services = services,
                               .service_count = 1 };
    cgrpc_result result = cgrpc_posix_init(&posix);
    if (!result)
        result = cgrpc_server_init(&server, &desc);
    if (!result)
        result = cgrpc_posix_listen(&posix, &server,
                                    example_address(argc, argv));
    if (result) {
        fprintf(stderr, "%s. %s\n", cgrpc_result_text(result),
                cgrpc_posix_error(&posix));
        return 1;
    }
    printf("listening on %s\n", cgrpc_posix_address(&posix, 0));
    fflush(stdout);
    cgrpc_posix_serve(&posix);
    return 0;
}
