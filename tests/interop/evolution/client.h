/* What both clients share: a channel, a call, and a line a case. */
#ifndef CLIENT_H
#define CLIENT_H

#define CGRPC_IMPLEMENTATION
#include "cgrpc_posix.h"
#include "device.cgrpc.h"
#include "print.h"
#include "../../../examples/address.h"

/* Newer peers send fields that we do not know. */
enum { RX = 1024 };

CGRPC_POSIX_DEFINE(posix, 2);
CGRPC_CHANNEL_DEFINE(channel, RX, 512);
CGRPC_CALL_DEFINE(call, RX);

static const cgrpc_options options = { .timeout_ms = 10000 };

static void say(const char *name, cgrpc_status status, const char *text)
{
    printf("%s: %s%s%s\n", name, cgrpc_status_text(status),
           status == CGRPC_OK && *text ? " " : "",
           status == CGRPC_OK ? text : "");
}

static void say_reading(const char *name, cgrpc_status status,
                        const evolution_Reading *reading)
{
    say(name, status, reading_text(reading));
}

/* Each message of a stream of replies, then how it ended. */
static void say_stream(const char *name,
                       cgrpc_recv_result (*recv)(cgrpc_call *,
                                                 evolution_Reading *))
{
    evolution_Reading reading = evolution_Reading_init_zero;
    do {
        while (recv(&call, &reading) == CGRPC_GOT)
            printf("%s: - %s\n", name, reading_text(&reading));
    } while (cgrpc_wait(&call, 1000));
    say(name, cgrpc_call_status(&call), "");
}

/* Sends `count` times one reading; false: the call has ended. */
static bool send_readings(bool (*send)(cgrpc_call *,
                                       const evolution_Reading *),
                          const evolution_Reading *reading, int count)
{
    while (count > 0) {
        if (send(&call, reading))
            count--;
        else if (!cgrpc_wait(&call, 1000))
            return false;
    }
    cgrpc_send_end(&call);
    return true;
}

static void say_summary(const char *name,
                        cgrpc_recv_result (*recv)(cgrpc_call *,
                                                  evolution_Summary *))
{
    evolution_Summary summary = evolution_Summary_init_zero;
    char text[60];
    do
        recv(&call, &summary);
    while (cgrpc_wait(&call, 1000));
    snprintf(text, sizeof text, "count=%" PRIu32 " sum=%" PRId64,
             summary.count, summary.sum);
    say(name, cgrpc_call_status(&call), text);
}

static void echo(const char *name, const evolution_Reading *sent)
{
    evolution_Reading got = evolution_Reading_init_zero;
    cgrpc_status status = evolution_Device_Echo(&channel, sent, &got,
                                                &options);
    say_reading(name, status, &got);
}

/* The cases that both versions have. */
static void run_common(void (*get)(const char *, uint32_t),
                       const evolution_Query *three,
                       const evolution_Reading *sent)
{
    get("get-1", 1);
    get("get-2", 2);
    get("get-3", 3);
    get("get-4", 4);
    get("get-5", 5);
    evolution_Device_List_start(&channel, &call, three, &options);
    say_stream("list", evolution_Device_List_recv);
    evolution_Device_Report_start(&channel, &call, &options);
    send_readings(evolution_Device_Report_send, sent, 3);
    say_summary("report", evolution_Device_Report_recv);
    evolution_Device_Chat_start(&channel, &call, &options);
    send_readings(evolution_Device_Chat_send, sent, 2);
    say_stream("chat", evolution_Device_Chat_recv);
    echo("echo", sent);
}

static int client_main(int argc, char **argv, void (*run)(void))
{
    cgrpc_channel_desc desc = { .port = cgrpc_posix_port(&posix),
                                .target = example_address(argc, argv) };
    if (cgrpc_posix_init(&posix) || cgrpc_channel_init(&channel, &desc)) {
        fprintf(stderr, "%s\n", cgrpc_posix_error(&posix));
        return 1;
    }
    run();
    cgrpc_channel_close(&channel);
    return 0;
}

#endif
