/* All that a client of version 2 can do, a line a case:
 * evolution_client_v2 --port 50051 */
#include "../client.h"

static evolution_Query query_of(uint32_t id)
{
    evolution_Query query = { .id = id, .language = "en" };
    return query;
}

static void get(const char *name, uint32_t id)
{
    evolution_Query query = query_of(id);
    evolution_Reading reading = evolution_Reading_init_zero;
    say_reading(name, evolution_Device_Get(&channel, &query, &reading,
                                           &options), &reading);
}

static void widen(const char *name, uint32_t id)
{
    evolution_Query query = query_of(id);
    evolution_Device_Widen_start(&channel, &call, &query, &options);
    say_stream(name, evolution_Device_Widen_recv);
}

static evolution_Reading mine(void)
{
    evolution_Reading out = evolution_Reading_init_zero;
    out.id = 9;
    out.value = -5;
    out.state = evolution_State_STATE_UPDATING;
    out.which_place = evolution_Reading_fix_tag;
    out.place.fix.latitude = 1.5;
    out.place.fix.longitude = 2.5;
    out.place.fix.satellites_count = 2;
    out.samples_count = 2;
    out.samples[0] = 1;
    out.samples[1] = -1;
    snprintf(out.note, sizeof out.note, "short");
    out.exact = 2.25;
    out.has_battery = true;
    out.battery = 50;
    out.labels_count = 1;
    snprintf(out.labels[0].key, sizeof out.labels[0].key, "a");
    snprintf(out.labels[0].value, sizeof out.labels[0].value, "b");
    out.blob.size = 3;
    out.serial = 7;
    return out;
}

static void gather(const char *name, int count)
{
    evolution_Reading sent = mine();
    evolution_Device_Gather_start(&channel, &call, &options);
    send_readings(evolution_Device_Gather_send, &sent, count);
    say_summary(name, evolution_Device_Gather_recv);
}

static void echo_more(void)
{
    evolution_Reading sent = mine();
    int i;
    memset(sent.note, 'n', 100);
    echo("echo-long-note", &sent);
    sent = mine();
    sent.samples_count = 6;
    for (i = 0; i < 6; i++)
        sent.samples[i] = i;
    echo("echo-more-samples", &sent);
    sent = mine();
    sent.value = 10000000000;
    echo("echo-large-value", &sent);
    sent = mine();
    sent.blob.size = 700;
    echo("echo-large-blob", &sent);
}

static void run(void)
{
    evolution_Reading sent = mine(), got = evolution_Reading_init_zero;
    evolution_Query three = query_of(3);
    evolution_Code code = { 42 }, recoded = { 0 };
    cgrpc_status status;
    char text[60];

    run_common(get, &three, &sent);
    echo_more();
    status = evolution_Device_Recode(&channel, &code, &recoded, &options);
    snprintf(text, sizeof text, "%" PRId32, recoded.code);
    say("recode", status, text);
    widen("widen-0", 0);
    widen("widen-1", 1);
    widen("widen-3", 3);
    gather("gather-0", 0);
    gather("gather-1", 1);
    gather("gather-2", 2);
    status = evolution_Device_Calibrate(&channel, &three, &got, &options);
    say_reading("calibrate", status, &got);
}

int main(int argc, char **argv) { return client_main(argc, argv, run); }
