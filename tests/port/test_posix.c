/* gRPC through the POSIX port: a server in a thread of its own, clients in
 * another. What the port does with bytes alone is in test_posix_io.c. */
#define CGRPC_IMPLEMENTATION
#include "cgrpc_posix.h"
#include "hello.cgrpc.h"
#include "route_guide.cgrpc.h"
#include "test.h"
#include "unix_at.h"
#include <pthread.h>

enum { CLIENTS = 300 };

CGRPC_POSIX_DEFINE(at_server, CLIENTS);
CGRPC_POSIX_DEFINE(at_client, CLIENTS);
CGRPC_SERVER_DEFINE(server, CLIENTS, CLIENTS, hello_Greeter_RX_BYTES, 512,
                    CGRPC_MAX(hello_Greeter_SCRATCH,
                              routeguide_RouteGuide_SCRATCH));
CGRPC_CHANNEL_DEFINE(channel, hello_Greeter_MAX_REPLY, 512);
CGRPC_CALL_DEFINE(call, routeguide_RouteGuide_MAX_REPLY);

/* ---- the service ---- */

static cgrpc_call *volatile sleeper; /* a call that waits for a wake */
static volatile bool awake;

static cgrpc_status say_hello(cgrpc_call *from, const hello_HelloRequest *in,
                              hello_HelloReply *out)
{
    if (strcmp(in->name, "sleeper") == 0 && !awake) {
        sleeper = from;
        return CGRPC_PENDING;
    }
    snprintf(out->message, sizeof(out->message), "Hello, %s!", in->name);
    return CGRPC_OK;
}

static cgrpc_status list_features(cgrpc_call *from,
                                  const routeguide_Rectangle *in)
{
    routeguide_Feature feature = routeguide_Feature_init_zero;
    int *at = (int *)cgrpc_call_state(from);
    for (; *at < in->lo.latitude; ++*at) {
        snprintf(feature.name, sizeof(feature.name), "feature %d", *at);
        if (!routeguide_RouteGuide_ListFeatures_reply(from, &feature))
            return CGRPC_PENDING;
    }
    return CGRPC_OK;
}

static const hello_Greeter_handlers greeter = { say_hello };
static const routeguide_RouteGuide_handlers guide = { NULL, list_features,
                                                      NULL, NULL };
static const cgrpc_serving services[] = {
    hello_Greeter_SERVING(&greeter), routeguide_RouteGuide_SERVING(&guide)
};

/* ---- the server's thread ---- */

static pthread_t thread;
static char address[128];

static void *serve(void *unused)
{
    (void)unused;
    cgrpc_posix_serve(&at_server);
    return NULL;
}

static void init_server(const char *at)
{
    cgrpc_server_desc desc;
    memset(&desc, 0, sizeof(desc));
    desc.port = cgrpc_posix_port(&at_server);
    desc.services = services;
    desc.service_count = 2;
    awake = false;
    sleeper = NULL;
    CHECK(cgrpc_posix_init(&at_server) == CGRPC_SUCCESS);
    CHECK(cgrpc_server_init(&server, &desc) == CGRPC_SUCCESS);
    CHECK(cgrpc_posix_listen(&at_server, &server, at) == CGRPC_SUCCESS);
    snprintf(address, sizeof(address), "%s",
             cgrpc_posix_address(&at_server, 0));
}

static void start_server(const char *at)
{
    init_server(at);
    pthread_create(&thread, NULL, serve, NULL);
}

static void join_server(void)
{
    pthread_join(thread, NULL);
    cgrpc_posix_close(&at_server);
}

static void kill_server(void)
{
    cgrpc_posix_stop(&at_server);
    cgrpc_posix_stop(&at_server);
    join_server();
}

static void init_channel(cgrpc_posix *posix)
{
    cgrpc_channel_desc desc;
    memset(&desc, 0, sizeof(desc));
    desc.port = cgrpc_posix_port(posix);
    desc.target = address;
    CHECK(cgrpc_channel_init(&channel, &desc) == CGRPC_SUCCESS);
}

static void begin(const char *at)
{
    start_server(at);
    CHECK(cgrpc_posix_init(&at_client) == CGRPC_SUCCESS);
    init_channel(&at_client);
}

static void end(void)
{
    cgrpc_channel_close(&channel);
    cgrpc_posix_stop(&at_server);
    join_server();
    cgrpc_posix_close(&at_client);
}

static void pause_ms(long ms)
{
    struct timespec pause = { 0, 0 };
    pause.tv_nsec = ms * 1000000;
    nanosleep(&pause, NULL);
}

/* ---- the client ---- */

static cgrpc_status hello(const char *name, uint32_t timeout_ms)
{
    cgrpc_options options;
    hello_HelloRequest in = hello_HelloRequest_init_zero;
    hello_HelloReply out = hello_HelloReply_init_zero;
    char expected[64];
    cgrpc_status status;
    memset(&options, 0, sizeof(options));
    options.timeout_ms = timeout_ms;
    strcpy(in.name, name);
    status = hello_Greeter_SayHello(&channel, &in, &out, &options);
    snprintf(expected, sizeof(expected), "Hello, %s!", name);
    if (status == CGRPC_OK)
        CHECK(strcmp(out.message, expected) == 0);
    return status;
}

static int list(int count)
{
    routeguide_Rectangle area = routeguide_Rectangle_init_zero;
    routeguide_Feature feature;
    char expected[20];
    int seen = 0;
    area.has_lo = true;
    area.lo.latitude = count;
    CHECK(!routeguide_RouteGuide_ListFeatures_start(&channel, &call, &area,
                                                    NULL));
    do {
        while (routeguide_RouteGuide_ListFeatures_recv(&call, &feature) ==
               CGRPC_GOT) {
            snprintf(expected, sizeof(expected), "feature %d", seen++);
            CHECK(strcmp(feature.name, expected) == 0);
        }
    } while (cgrpc_wait(&call, 1000));
    return seen;
}

static void carries_calls(const char *at)
{
    int i, good = 0;
    begin(at);
    for (i = 0; i < 100; i++)
        good += hello("world", 5000) == CGRPC_OK;
    CHECK(good == 100);
    CHECK(list(5000) == 5000);
    CHECK(cgrpc_call_status(&call) == CGRPC_OK);
    end();
}

TEST(posix__carries_calls_over_ipv4)
{
    carries_calls("127.0.0.1:0");
}

TEST(posix__carries_calls_over_ipv6)
{
    carries_calls("[::1]:0");
}

TEST(posix__carries_calls_over_a_unix_socket)
{
    carries_calls(unix_at("test_calls"));
}

TEST(posix__a_server_and_a_channel_share_one_port_and_one_thread)
{
    hello_HelloRequest in = hello_HelloRequest_init_zero;
    hello_HelloReply out = hello_HelloReply_init_zero;
    int turns = 0;
    init_server("127.0.0.1:0");
    init_channel(&at_server);
    CHECK(!hello_Greeter_SayHello_start(&channel, &call, &in, &out, NULL,
                                        NULL));
    while (turns++ < 1000) {
        uint32_t due = cgrpc_channel_poll(&channel);
        if (cgrpc_call_ended(&call))
            break;
        cgrpc_posix_step(&at_server, due);
    }
    CHECK(cgrpc_call_status(&call) == CGRPC_OK);
    CHECK(strcmp(out.message, "Hello, !") == 0);
    cgrpc_channel_close(&channel);
    cgrpc_server_stop(&server);
    cgrpc_posix_close(&at_server);
}

/* ---- many ---- */

static cgrpc_channel channels[CLIENTS];
static cgrpc_channel_memory memories[CLIENTS];
static cgrpc_conn conns[CLIENTS];
static cgrpc_call own_calls[CLIENTS], calls[CLIENTS];
static uint8_t conn_bytes[CLIENTS][CGRPC_CONN_BYTES(256)];
static uint8_t own_call_bytes[CLIENTS][CGRPC_CALL_BYTES(64)];
static uint8_t call_bytes[CLIENTS][CGRPC_CALL_BYTES(64)];
static hello_HelloReply replies[CLIENTS];
static int done_count;

static void count_done(cgrpc_call *of, cgrpc_status status)
{
    (void)of;
    done_count += status == CGRPC_OK;
}

static void open_channel(int i)
{
    cgrpc_channel_desc desc;
    memset(&desc, 0, sizeof(desc));
    desc.port = cgrpc_posix_port(&at_client);
    desc.target = address;
    memories[i].conn = &conns[i];
    memories[i].call = &own_calls[i];
    memories[i].conn_bytes = conn_bytes[i];
    memories[i].call_bytes = own_call_bytes[i];
    memories[i].conn_size = sizeof(conn_bytes[i]);
    memories[i].call_size = sizeof(own_call_bytes[i]);
    channels[i].memory = &memories[i];
    CHECK(cgrpc_channel_init(&channels[i], &desc) == CGRPC_SUCCESS);
    cgrpc_call_init(&calls[i], call_bytes[i], sizeof(call_bytes[i]));
}

TEST(posix__serves_300_clients_in_one_thread_each)
{
    static const hello_HelloRequest in = { "many" };
    uint32_t start;
    int i, round;
    begin("127.0.0.1:0");
    for (i = 0; i < CLIENTS; i++)
        open_channel(i);
    for (round = 0; round < 3; round++) {
        done_count = 0;
        for (i = 0; i < CLIENTS; i++)
            CHECK(!hello_Greeter_SayHello_start(&channels[i], &calls[i], &in,
                                                &replies[i], count_done,
                                                NULL));
        start = at_client.port.now(at_client.port.context);
        while (done_count < CLIENTS &&
               at_client.port.now(at_client.port.context) - start < 10000) {
            for (i = 0; i < CLIENTS; i++)
                cgrpc_channel_poll(&channels[i]);
            at_client.port.wait(at_client.port.context, 10);
        }
        CHECK(done_count == CLIENTS);
    }
    for (i = 0; i < CLIENTS; i++)
        CHECK(strcmp(replies[i].message, "Hello, many!") == 0);
    for (i = 0; i < CLIENTS; i++)
        cgrpc_channel_close(&channels[i]);
    end();
}

/* ---- waking and stopping ---- */

static void *wake_sleeper(void *unused)
{
    (void)unused;
    while (!sleeper)
        pause_ms(1);
    pause_ms(50);
    awake = true;
    cgrpc_call_wake(sleeper);
    cgrpc_posix_wake(&at_server);
    return NULL;
}

TEST(posix__a_thread_wakes_a_call_that_waits)
{
    pthread_t waker;
    uint32_t start;
    begin("127.0.0.1:0");
    CHECK(hello("connect", 5000) == CGRPC_OK);
    pthread_create(&waker, NULL, wake_sleeper, NULL);
    start = at_client.port.now(at_client.port.context);
    CHECK(hello("sleeper", 5000) == CGRPC_OK);
    CHECK(at_client.port.now(at_client.port.context) - start < 3000);
    pthread_join(waker, NULL);
    end();
}

static void *signal_then_wake(void *unused)
{
    while (!sleeper)
        pause_ms(1);
    kill(getpid(), SIGTERM);
    pause_ms(100);
    return wake_sleeper(unused);
}

TEST(posix__a_call_in_flight_ends_well_after_a_signal)
{
    pthread_t waker;
    begin("127.0.0.1:0");
    CHECK(hello("connect", 5000) == CGRPC_OK);
    pthread_create(&waker, NULL, signal_then_wake, NULL);
    CHECK(hello("sleeper", 5000) == CGRPC_OK);
    pthread_join(waker, NULL);
    join_server(); /* by the signal alone */
    CHECK(hello("too late", 500) == CGRPC_UNAVAILABLE);
    cgrpc_channel_close(&channel);
    cgrpc_posix_close(&at_client);
}

static void *signal_twice(void *unused)
{
    (void)unused;
    while (!sleeper)
        pause_ms(1);
    kill(getpid(), SIGTERM);
    pause_ms(50);
    kill(getpid(), SIGTERM);
    return NULL;
}

TEST(posix__a_call_in_flight_is_ended_by_a_second_signal)
{
    pthread_t killer;
    begin("127.0.0.1:0");
    pthread_create(&killer, NULL, signal_twice, NULL);
    CHECK(hello("sleeper", 5000) != CGRPC_OK);
    pthread_join(killer, NULL);
    join_server();
    cgrpc_channel_close(&channel);
    cgrpc_posix_close(&at_client);
}

/* ---- trouble ---- */

TEST(posix__no_server_is_unavailable_and_says_why)
{
    begin("127.0.0.1:0");
    kill_server();
    CHECK(hello("nobody", 2000) == CGRPC_UNAVAILABLE);
    CHECK(strstr(cgrpc_posix_error(&at_client), "is the server running"));
    cgrpc_channel_close(&channel);
    cgrpc_posix_close(&at_client);
}

TEST(posix__a_channel_finds_its_server_again)
{
    int tries;
    begin("127.0.0.1:0");
    CHECK(hello("before", 5000) == CGRPC_OK);
    kill_server();
    CHECK(hello("meanwhile", 500) == CGRPC_UNAVAILABLE);
    start_server(address);
    for (tries = 0; tries < 50; tries++) {
        if (hello("after", 1000) == CGRPC_OK)
            break;
        pause_ms(100);
    }
    CHECK(tries < 50);
    end();
}

TESTS = {
    RUN(posix__carries_calls_over_ipv4),
    RUN(posix__carries_calls_over_ipv6),
    RUN(posix__carries_calls_over_a_unix_socket),
    RUN(posix__a_server_and_a_channel_share_one_port_and_one_thread),
    RUN(posix__serves_300_clients_in_one_thread_each),
    RUN(posix__a_thread_wakes_a_call_that_waits),
    RUN(posix__a_call_in_flight_ends_well_after_a_signal),
    RUN(posix__a_call_in_flight_is_ended_by_a_second_signal),
    RUN(posix__no_server_is_unavailable_and_says_why),
    RUN(posix__a_channel_finds_its_server_again),
    TESTS_END
};
