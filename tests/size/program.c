/* What tools/size links to see what a server, a client or both bring along:
 * a program that uses every public function of its role, so that the linker
 * drops nothing that somebody could want. It is never run.
 *
 * The core comes from tests/build/core.c, compiled with the same macros.
 */
#include "route_guide.cgrpc.h"

/* Whatever the verbs return goes here, so that none is optimized out. */
volatile uintptr_t seen;
#define SEE(what) (seen = (uintptr_t)(what))

static uint32_t port_now(void *context)
{
    (void)context;
    return (uint32_t)seen;
}

static int io_peek(void *io, const uint8_t **data)
{
    *data = io;
    return (int)seen;
}

static void io_take(void *io, size_t len)
{
    (void)io;
    SEE(len);
}

static int io_send(void *io, const uint8_t *data, size_t len)
{
    (void)io;
    SEE(data);
    return (int)len;
}

static void io_close(void *io)
{
    SEE(io);
}

static const cgrpc_io_ops io_ops = { io_peek, io_take, io_send, io_close };
static const cgrpc_io io = { &io_ops, NULL };
static const char *const keys[] = { "authorization" };

/* ---- verbs of both roles ---- */

static void ended(cgrpc_call *call, cgrpc_status status)
{
    SEE(cgrpc_call_user(call));
    SEE(cgrpc_status_text(status));
}

static void look(cgrpc_call *call)
{
    cgrpc_metadata item;
    size_t at = 0, len;
    SEE(cgrpc_metadata_find(call, CGRPC_INITIAL, keys[0], 0, &len));
    while (cgrpc_metadata_next(call, CGRPC_TRAILING, &at, &item))
        SEE(item.value);
    SEE(cgrpc_call_method(call));
    SEE(cgrpc_call_peer(call));
    SEE(cgrpc_call_time_left(call) + cgrpc_call_now(call));
    SEE(cgrpc_call_status(call));
    SEE(cgrpc_call_ended(call));
    cgrpc_call_on_end(call, ended);
    cgrpc_call_set_user(call, &at);
    SEE(cgrpc_metadata_add(call, CGRPC_TRAILING, "at", "1", 1));
    SEE(cgrpc_recv_ended(call));
    SEE(cgrpc_send(call, &at));
    cgrpc_send_end(call);
    cgrpc_call_wake(call);
    cgrpc_call_cancel(call);
}

/* ---- server ---- */

#if CGRPC_SERVER

static cgrpc_status get_feature(cgrpc_call *call, const routeguide_Point *in,
                                routeguide_Feature *out)
{
    out->location = *in;
    look(call);
    SEE(cgrpc_call_authority(call));
    cgrpc_fail_details(call, "\10\5", 2);
    return cgrpc_fail(call, CGRPC_NOT_FOUND, "no such feature");
}

static cgrpc_status list_features(cgrpc_call *call,
                                  const routeguide_Rectangle *in)
{
    SEE(in);
    return cgrpc_send_initial(call) && cgrpc_send(call, in) ? CGRPC_OK
                                                            : CGRPC_PENDING;
}

static cgrpc_status record_route(cgrpc_call *call, const routeguide_Point *in,
                                 routeguide_RouteSummary *out)
{
    SEE(cgrpc_call_state(call));
    out->point_count++;
    return in ? CGRPC_NEXT : CGRPC_OK;
}

static cgrpc_status route_chat(cgrpc_call *call,
                               const routeguide_RouteNote *in)
{
    return cgrpc_send(call, in) ? CGRPC_NEXT : CGRPC_PENDING;
}

static const routeguide_RouteGuide_handlers handlers = {
    get_feature, list_features, record_route, route_chat
};
static const cgrpc_serving services[] = {
    routeguide_RouteGuide_SERVING(&handlers)
};
static cgrpc_port server_port = { port_now, NULL, NULL, NULL, false };
CGRPC_SERVER_DEFINE(server, 1, 4, 512, 512, routeguide_RouteGuide_SCRATCH);

static void serve(void)
{
    cgrpc_server_desc desc = { &server_port, services, 1, keys, 1 };
    SEE(cgrpc_result_text(cgrpc_server_init(&server, &desc)));
    cgrpc_server_accept(&server, &io, "peer");
    while (!cgrpc_server_idle(&server))
        SEE(cgrpc_server_poll(&server));
    cgrpc_server_drain(&server);
    cgrpc_server_stop(&server);
}

#endif

/* ---- client ---- */

#if CGRPC_CLIENT

static void port_wait(void *context, uint32_t ms)
{
    (void)context;
    SEE(ms);
}

static cgrpc_result port_connect(void *context, const char *target,
                                 cgrpc_io *out)
{
    (void)context;
    SEE(target);
    *out = io;
    return CGRPC_SUCCESS;
}

static cgrpc_port client_port = { port_now, port_wait, port_connect, NULL,
                                  false };
CGRPC_CHANNEL_DEFINE(channel, 512, 512);
CGRPC_CALL_DEFINE(call, 512);
static uint8_t more_memory[CGRPC_CALL_BYTES(64)];
static cgrpc_call more;

static void call_all(void)
{
    static const routeguide_Point point;
    static routeguide_Feature feature;
    static routeguide_RouteNote note;
    cgrpc_channel_desc desc = { &client_port, "target", NULL, NULL, false,
                                keys, 1 };
    SEE(cgrpc_result_text(cgrpc_channel_init(&channel, &desc)));
    cgrpc_call_init(&more, more_memory, sizeof(more_memory));
    SEE(routeguide_RouteGuide_GetFeature(&channel, &point, &feature, NULL));
    SEE(cgrpc_start(&channel, &more, NULL, &point, &feature, ended, NULL));
    SEE(routeguide_RouteGuide_RouteChat_start(&channel, &call, NULL));
    while (cgrpc_wait(&call, 100)) {
        SEE(cgrpc_send(&call, &note));
        SEE(cgrpc_recv(&call, &note));
    }
    look(&call);
    SEE(cgrpc_call_message(&call));
    SEE(cgrpc_channel_message(&channel));
    SEE(cgrpc_call_details(&call).data);
    SEE(cgrpc_channel_poll(&channel));
    SEE(cgrpc_channel_get_state(&channel));
    cgrpc_channel_close(&channel);
}

#endif

int main(void)
{
#if CGRPC_SERVER
    serve();
#endif
#if CGRPC_CLIENT
    call_all();
#endif
    return 0;
}
