/* The device of version 1: evolution_server_v1 --port 50051 */
#include "../server.h"

/* Newer peers send fields that we do not know: a message may be larger than
 * evolution_Device_RX_BYTES, which counts those that we do. */
enum { RX = 512 };

static void read_device(uint32_t id, evolution_Reading *out)
{
    int i;
    out->id = id;
    snprintf(out->name, sizeof out->name, "sensor-%u", (unsigned)id);
    out->value = (int32_t)id * 100;
    out->state = id == 4 ? evolution_State_STATE_BROKEN
                         : evolution_State_STATE_BUSY;
    out->unit = 5;
    out->which_place = id == 5 ? evolution_Reading_point_tag
                               : evolution_Reading_room_tag;
    if (id == 5) {
        out->place.point.x = -7;
        out->place.point.y = 8;
    } else {
        snprintf(out->place.room, sizeof out->place.room, "lab");
    }
    out->samples_count = 3;
    for (i = 0; i < 3; i++)
        out->samples[i] = i - 1;
    snprintf(out->note, sizeof out->note, "fine");
}

static cgrpc_status get(cgrpc_call *call, const evolution_Query *in,
                        evolution_Reading *out)
{
    (void)call;
    read_device(in->id, out);
    return CGRPC_OK;
}

static cgrpc_status list(cgrpc_call *call, const evolution_Query *in)
{
    uint32_t *sent = cgrpc_call_state(call);
    for (; *sent < in->id; ++*sent) {
        evolution_Reading out = evolution_Reading_init_zero;
        read_device(*sent + 1, &out);
        if (!evolution_Device_List_reply(call, &out))
            return CGRPC_PENDING;
    }
    return CGRPC_OK;
}

static cgrpc_status recode(cgrpc_call *call, const evolution_Code *in,
                           evolution_Code *out)
{
    (void)call;
    snprintf(out->code, sizeof out->code, "got-%.10s", in->code);
    return CGRPC_OK;
}

static cgrpc_status gather(cgrpc_call *call, const evolution_Reading *in,
                           evolution_Summary *out)
{
    (void)call;
    out->count = 1;
    out->sum = in->value;
    return CGRPC_OK;
}

static cgrpc_status reboot(cgrpc_call *call, const evolution_Query *in,
                           evolution_Summary *out)
{
    (void)call;
    out->count = in->id;
    return CGRPC_OK;
}

static const evolution_Device_handlers device = {
    .Get = get, .List = list, .Report = report, .Chat = chat, .Echo = echo,
    .Recode = recode, .Widen = get, .Gather = gather, .Legacy = get,
};
static const evolution_Admin_handlers admin = { .Reboot = reboot };
static const cgrpc_serving services[] = {
    evolution_Device_SERVING(&device), evolution_Admin_SERVING(&admin)
};

CGRPC_SERVER_DEFINE(server, 4, 8, RX, 512, evolution_Device_SCRATCH);

int main(int argc, char **argv)
{
    return server_main(argc, argv, &server, services, 2);
}
