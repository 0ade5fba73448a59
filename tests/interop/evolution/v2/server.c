/* The device of version 2: evolution_server_v2 --port 50051 */
#include "../server.h"

static void read_device(uint32_t id, evolution_Reading *out)
{
    static const evolution_State states[] = {
        evolution_State_STATE_BUSY, evolution_State_STATE_BUSY,
        evolution_State_STATE_BUSY, evolution_State_STATE_UPDATING,
        evolution_State_STATE_ASLEEP
    };
    int i;
    out->id = id;
    out->value = id == 2 ? 10000000000 : (int64_t)id * 100;
    out->state = id < 5 ? states[id] : evolution_State_STATE_IDLE;
    if (id == 5) {
        out->which_place = evolution_Reading_fix_tag;
        out->place.fix.latitude = 46.5;
        out->place.fix.longitude = 9.25;
        out->place.fix.satellites_count = 3;
    } else {
        out->which_place = evolution_Reading_room_tag;
        snprintf(out->place.room, sizeof out->place.room, "lab");
    }
    out->samples_count = 3;
    for (i = 0; i < 3; i++)
        out->samples[i] = i - 1;
    snprintf(out->note, sizeof out->note, "fine");
    out->exact = 1.5;
    out->has_battery = true;
    out->labels_count = 1;
    snprintf(out->labels[0].key, sizeof out->labels[0].key, "floor");
    snprintf(out->labels[0].value, sizeof out->labels[0].value, "two");
    out->blob.size = 20;
    out->serial = 0xC0FFEE;
}

static cgrpc_status get(cgrpc_call *call, const evolution_Query *in,
                        evolution_Reading *out)
{
    (void)call;
    read_device(in->id, out);
    return CGRPC_OK;
}

static cgrpc_status readings(cgrpc_call *call, uint32_t count,
                             bool (*reply)(cgrpc_call *,
                                           const evolution_Reading *))
{
    uint32_t *sent = cgrpc_call_state(call);
    for (; *sent < count; ++*sent) {
        evolution_Reading out = evolution_Reading_init_zero;
        /* the second one has a value that old clients cannot hold */
        read_device(*sent ? *sent + 2 : 1, &out);
        if (!reply(call, &out))
            return CGRPC_PENDING;
    }
    return CGRPC_OK;
}

static cgrpc_status list(cgrpc_call *call, const evolution_Query *in)
{
    return readings(call, in->id, evolution_Device_List_reply);
}

static cgrpc_status widen(cgrpc_call *call, const evolution_Query *in)
{
    return readings(call, in->id, evolution_Device_Widen_reply);
}

static cgrpc_status report_mean(cgrpc_call *call, const evolution_Reading *in,
                                evolution_Summary *out)
{
    cgrpc_status status = report(call, in, out);
    if (!in && out->count)
        out->mean = (double)out->sum / out->count;
    return status;
}

static cgrpc_status recode(cgrpc_call *call, const evolution_Code *in,
                           evolution_Code *out)
{
    (void)call;
    out->code = in->code + 1000;
    return CGRPC_OK;
}

static const evolution_Device_handlers device = {
    .Get = get, .List = list, .Report = report_mean, .Chat = chat, .Echo = echo,
    .Recode = recode, .Widen = widen, .Gather = report_mean, .Calibrate = get,
};
static const cgrpc_serving services[] = { evolution_Device_SERVING(&device) };

CGRPC_SERVER_DEFINE(server, 4, 8, evolution_Device_RX_BYTES, 512,
                    evolution_Device_SCRATCH);

int main(int argc, char **argv)
{
    return server_main(argc, argv, &server, services, 1);
}
