/* The echo of bench.h as a server on TCP: cgrpc.h with its POSIX port, sized
 * as a program on a host would.
 *
 *     load_cgrpc --port PORT
 */
#define CGRPC_POSIX_RX_BYTES 65536
#define CGRPC_IMPLEMENTATION
#include "cgrpc_posix.h"
#include "echo.cgrpc.h"

#include <stdio.h>

static cgrpc_status unary(cgrpc_call *call, const perf_Msg *in, perf_Msg *out)
{
    (void)call;
    *out = *in;
    return CGRPC_OK;
}

static const perf_Echo_handlers handlers = { unary };
static const cgrpc_serving services[] = { perf_Echo_SERVING(&handlers) };

CGRPC_POSIX_DEFINE(posix, 64);
CGRPC_SERVER_DEFINE(server, 64, 2048, perf_Echo_RX_BYTES, 65536,
                    perf_Echo_SCRATCH);

int main(int argc, char **argv)
{
    cgrpc_server_desc desc = { cgrpc_posix_port(&posix), services, 1, NULL,
                               0 };
    char at[32];
    if (argc != 3)
        return 2;
    snprintf(at, sizeof(at), "127.0.0.1:%s", argv[2]);
    if (cgrpc_posix_init(&posix) || cgrpc_server_init(&server, &desc) ||
        cgrpc_posix_listen(&posix, &server, at)) {
        fprintf(stderr, "%s\n", cgrpc_posix_error(&posix));
        return 1;
    }
    printf("listening on %s\n", at);
    fflush(stdout);
    cgrpc_posix_serve(&posix);
    return 0;
}
