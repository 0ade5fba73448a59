/* What both servers share: the handlers that do not depend on the version, and
 * main(). */
#ifndef SERVER_H
#define SERVER_H

#define CGRPC_IMPLEMENTATION
#include "cgrpc_posix.h"
#include "device.cgrpc.h"
#include "../../../examples/address.h"

CGRPC_POSIX_DEFINE(posix, 4);

static cgrpc_status report(cgrpc_call *call, const evolution_Reading *in,
                           evolution_Summary *out)
{
    evolution_Summary *so_far = cgrpc_call_state(call);
    if (in) {
        so_far->count++;
        so_far->sum += in->value;
        return CGRPC_NEXT;
    }
    *out = *so_far;
    return CGRPC_OK;
}

static cgrpc_status chat(cgrpc_call *call, const evolution_Reading *in)
{
    if (!in)
        return cgrpc_recv_ended(call) ? CGRPC_OK : CGRPC_NEXT;
    return evolution_Device_Chat_reply(call, in) ? CGRPC_NEXT : CGRPC_PENDING;
}

static cgrpc_status echo(cgrpc_call *call, const evolution_Reading *in,
                         evolution_Reading *out)
{
    (void)call;
    *out = *in;
    return CGRPC_OK;
}

static int server_main(int argc, char **argv, cgrpc_server *server,
                       const cgrpc_serving *services, size_t count)
{
    cgrpc_server_desc desc = { .port = cgrpc_posix_port(&posix),
                               .services = services,
                               .service_count = count };
    if (cgrpc_posix_init(&posix) || cgrpc_server_init(server, &desc) ||
        cgrpc_posix_listen(&posix, server, example_address(argc, argv))) {
        fprintf(stderr, "%s\n", cgrpc_posix_error(&posix));
        return 1;
    }
    printf("listening on %s\n", cgrpc_posix_address(&posix, 0));
    fflush(stdout);
    cgrpc_posix_serve(&posix);
    return 0;
}

#endif
