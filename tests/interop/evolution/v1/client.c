/* All that a client of version 1 can do, a line a case:
 * evolution_client_v1 --port 50051 */
#include "../client.h"

static void get(const char *name, uint32_t id)
{
    evolution_Query query = { id };
    evolution_Reading reading = evolution_Reading_init_zero;
    say_reading(name, evolution_Device_Get(&channel, &query, &reading,
                                           &options), &reading);
}

static void widen(const char *name, uint32_t id)
{
    evolution_Query query = { id };
    evolution_Reading reading = evolution_Reading_init_zero;
    say_reading(name, evolution_Device_Widen(&channel, &query, &reading,
                                             &options), &reading);
}

static evolution_Reading mine(void)
{
    evolution_Reading out = evolution_Reading_init_zero;
    int i;
    out.id = 9;
    snprintf(out.name, sizeof out.name, "echo");
    out.value = -5;
    out.state = evolution_State_STATE_BROKEN;
    out.unit = 6;
    out.which_place = evolution_Reading_point_tag;
    out.place.point.x = 3;
    out.place.point.y = -4;
    out.samples_count = 4;
    for (i = 0; i < 4; i++)
        out.samples[i] = i + 1;
    snprintf(out.note, sizeof out.note, "short");
    return out;
}

static void run(void)
{
    evolution_Reading sent = mine(), got = evolution_Reading_init_zero;
    evolution_Query three = { 3 };
    evolution_Summary summary = evolution_Summary_init_zero;
    evolution_Code code = { "42" }, recoded = { "" };
    cgrpc_status status;
    char text[60];

    run_common(get, &three, &sent);
    status = evolution_Device_Recode(&channel, &code, &recoded, &options);
    say("recode", status, recoded.code);
    widen("widen-0", 0);
    widen("widen-1", 1);
    widen("widen-3", 3);
    status = evolution_Device_Gather(&channel, &sent, &summary, &options);
    snprintf(text, sizeof text, "count=%" PRIu32 " sum=%" PRId64,
             summary.count, summary.sum);
    say("gather-1", status, text);
    status = evolution_Device_Legacy(&channel, &three, &got, &options);
    say_reading("legacy", status, &got);
    status = evolution_Admin_Reboot(&channel, &three, &summary, &options);
    say("reboot", status, "");
}

int main(int argc, char **argv) { return client_main(argc, argv, run); }
