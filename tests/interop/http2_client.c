/* The client of gRPC's negative HTTP/2 tests: what the application sees when a
 * server misbehaves. negative_peer.py is such a server; the descriptions are
 * gRPC's doc/negative-http2-interop-test-descriptions.md.
 *
 *     http2_client --server_host 127.0.0.1 --server_port 10000 \
 *                  --test_case rst_after_header
 *
 * One line says that the case passed, or what differed; the exit code is then
 * 1. Two cases are our own, and judge nothing: the server knows what should have
 * come of them. "calls" makes --calls unary calls, each when the one before has
 * ended, and prints how each ended. "stream" sends --calls messages on a
 * FullDuplexCall, awaiting a response to each if --ping_pong, and prints how it
 * ended and how many responses came.
 */
#define CGRPC_METADATA_BYTES 1024
#define CGRPC_LOG(level, ...) fprintf(stderr, __VA_ARGS__)
#define _POSIX_C_SOURCE 200809L /* for the port: <stdio.h> comes before it */
#include <stdio.h>
#define CGRPC_IMPLEMENTATION
#include "cgrpc_posix.h"
#include "grpc/testing/test.cgrpc.h"
#include "interop.h"
#include <limits.h>

enum { LARGE_REQUEST = 271828, LARGE_RESPONSE = 314159, AT_ONCE = 15 };

static const char *const kept[] = { "x-test" };
static const cgrpc_metadata sent[] = { { "x-sent-bin", "\0\1\2", 3 } };

CGRPC_POSIX_DEFINE(posix, 4);
CGRPC_CHANNEL_DEFINE(channel, INTEROP_MAX_RESPONSE, 16384);

/* ---- options ---- */

static const char *server_host = "localhost", *server_port = "",
                  *test_case = "";
static bool use_tls, wait_for_ready, ping_pong;
static long calls = 1, request_size = LARGE_REQUEST,
            response_size = LARGE_RESPONSE, deadline_ms = 10000, pause_ms;
static const interop_option options[] = {
    { "server_host", "(localhost)", &server_host, NULL, NULL },
    { "server_port", "must be given", &server_port, NULL, NULL },
    { "test_case", "as gRPC names them; calls; stream", &test_case, NULL,
      NULL },
    { "use_tls", "(false)", NULL, NULL, &use_tls },
    { "calls", "of calls; messages of stream (1)", NULL, &calls, NULL },
    { "request_size", "bytes of payload (271828)", NULL, &request_size,
      NULL },
    { "response_size", "bytes of payload (314159)", NULL, &response_size,
      NULL },
    { "deadline_ms", "of each call (10000)", NULL, &deadline_ms, NULL },
    { "pause_ms", "between two calls; before the first response is taken (0)",
      NULL, &pause_ms, NULL },
    { "ping_pong", "take a response before the next message (false)", NULL,
      NULL, &ping_pong },
    { "wait_for_ready", "wait for a connection (false)", NULL, NULL,
      &wait_for_ready },
    { NULL, NULL, NULL, NULL, NULL }
};

/* ---- calls ---- */

typedef struct unary {
    grpc_testing_SimpleRequest request;
    grpc_testing_SimpleResponse response;
    interop_body sent, got;
    cgrpc_call call;
    uint8_t memory[CGRPC_CALL_BYTES(INTEROP_MAX_RESPONSE)];
} unary;

static unary unaries[AT_ONCE];

static void begin(unary *one)
{
    cgrpc_options with = { .timeout_ms = (uint32_t)deadline_ms,
                           .metadata = sent, .metadata_count = 1,
                           .wait_for_ready = wait_for_ready };
    cgrpc_result result;
    memset(one, 0, offsetof(unary, call));
    cgrpc_call_init(&one->call, one->memory, sizeof(one->memory));
    one->sent.size = (size_t)request_size;
    one->request.response_size = (int32_t)response_size;
    one->request.has_payload = true;
    interop_set_body(&one->request.payload, &one->sent);
    interop_expect_body(&one->response.payload, &one->got);
    result = grpc_testing_TestService_UnaryCall_start(
        &channel, &one->call, &one->request, &one->response, NULL, &with);
    if (result != CGRPC_SUCCESS) {
        fprintf(stderr, "a call cannot be started: %s\n",
                cgrpc_result_text(result));
        exit(1);
    }
}

/* How it ended; ends by its deadline at the latest. */
static cgrpc_status end(unary *one)
{
    while (cgrpc_wait(&one->call, 1000))
        ;
    return cgrpc_call_status(&one->call);
}

/* The payload is what was asked for: so many zeros. */
static bool answered(const unary *one)
{
    return one->got.size == (size_t)response_size && !one->got.other;
}

static bool ended_well(unary *one)
{
    cgrpc_status status = end(one);
    if (status != CGRPC_OK)
        printf("%s: the status is %s: %s\n", test_case,
               cgrpc_status_text(status), cgrpc_call_message(&one->call));
    else if (!answered(one))
        printf("%s: %lu bytes came, not %ld zeros\n", test_case,
               (unsigned long)one->got.size, response_size);
    return status == CGRPC_OK && answered(one);
}

static void pass_time(uint32_t ms)
{
    cgrpc_port *port = cgrpc_posix_port(&posix);
    uint32_t start = port->now(port->context), passed = 0;
    while (passed < ms) {
        uint32_t due = cgrpc_channel_poll(&channel);
        cgrpc_posix_step(&posix, due < ms - passed ? due : ms - passed);
        passed = port->now(port->context) - start;
    }
}

/* ---- the cases ---- */

static bool one_succeeds(void)
{
    begin(&unaries[0]);
    return ended_well(&unaries[0]);
}

/* The server goes away in between. */
static bool two_succeed(void)
{
    if (!one_succeeds())
        return false;
    pass_time(1000);
    return one_succeeds();
}

/* RST_STREAM with NO_ERROR is INTERNAL wherever it comes, says the table of
 * errors in gRPC over HTTP2; not an OK, and no half answer either. */
static bool one_fails(void)
{
    cgrpc_status status;
    begin(&unaries[0]);
    status = end(&unaries[0]);
    if (unaries[0].got.size)
        printf("%s: there is a response\n", test_case);
    if (status != CGRPC_INTERNAL)
        printf("%s: the status is %s, not INTERNAL\n", test_case,
               cgrpc_status_text(status));
    return status == CGRPC_INTERNAL && !unaries[0].got.size;
}

/* The first learns of the limit, the others keep it. */
static bool many_succeed(void)
{
    bool good = one_succeeds();
    size_t i;
    for (i = 0; good && i < AT_ONCE; i++)
        begin(&unaries[i]);
    for (i = 0; good && i < AT_ONCE; i++)
        good = ended_well(&unaries[i]);
    return good;
}

static bool make_calls(void)
{
    unary *one = &unaries[0];
    long i;
    for (i = 0; i < calls; i++) {
        cgrpc_status status;
        const char *initial, *trailing;
        if (i)
            pass_time((uint32_t)pause_ms);
        begin(one);
        status = end(one);
        initial = cgrpc_metadata_find(&one->call, CGRPC_INITIAL, "x-test", 0,
                                      NULL);
        trailing = cgrpc_metadata_find(&one->call, CGRPC_TRAILING, "x-test",
                                       0, NULL);
        printf("%s%s: %s", cgrpc_status_text(status),
               status == CGRPC_OK && !answered(one) ? " BUT NOT THE ANSWER"
                                                    : "",
               cgrpc_call_message(&one->call));
        if (initial)
            printf(" initial=%s", initial);
        if (trailing)
            printf(" trailing=%s", trailing);
        printf("\n");
    }
    return true;
}

/* Takes responses until there are `wanted`; false: the call has ended. */
static bool take(cgrpc_call *call, long wanted, long *taken)
{
    while (*taken < wanted) {
        grpc_testing_StreamingOutputCallResponse response =
            grpc_testing_StreamingOutputCallResponse_init_zero;
        interop_body got;
        interop_expect_body(&response.payload, &got);
        switch (grpc_testing_TestService_FullDuplexCall_recv(call,
                                                             &response)) {
        case CGRPC_GOT:
            *taken += 1;
            if ((long)got.size != response_size || got.other)
                printf("NOT THE ANSWER, but %lu bytes\n",
                       (unsigned long)got.size);
            break;
        case CGRPC_END:
            return false;
        default:
            cgrpc_wait(call, 1000);
        }
    }
    return true;
}

/* false: the call has ended. */
static bool put(cgrpc_call *call)
{
    grpc_testing_StreamingOutputCallRequest request =
        grpc_testing_StreamingOutputCallRequest_init_zero;
    interop_body body = { (size_t)request_size, false };
    request.has_payload = true;
    interop_set_body(&request.payload, &body);
    request.response_parameters_count = 1;
    request.response_parameters[0].size = (int32_t)response_size;
    while (!grpc_testing_TestService_FullDuplexCall_send(call, &request))
        if (!cgrpc_wait(call, 1000))
            return false;
    return true;
}

static bool make_stream(void)
{
    cgrpc_options with = { .timeout_ms = (uint32_t)deadline_ms,
                           .metadata = sent, .metadata_count = 1 };
    cgrpc_call *call = &unaries[0].call;
    long number, taken = 0;
    bool open = true;
    cgrpc_call_init(call, unaries[0].memory, sizeof(unaries[0].memory));
    if (grpc_testing_TestService_FullDuplexCall_start(
            &channel, call, &with) != CGRPC_SUCCESS)
        return false;
    for (number = 1; number <= calls && open; number++)
        open = put(call) && (!ping_pong || take(call, number, &taken));
    cgrpc_send_end(call);
    pass_time((uint32_t)pause_ms);
    take(call, LONG_MAX, &taken);
    printf("%s: %s messages=%ld\n", cgrpc_status_text(cgrpc_call_status(call)),
           cgrpc_call_message(call), taken);
    return true;
}

static const struct {
    const char *name;
    bool (*run)(void);
} cases[] = {
    { "goaway", two_succeed },
    { "rst_after_header", one_fails },
    { "rst_during_data", one_fails },
    { "rst_after_data", one_fails },
    { "ping", one_succeeds },
    { "max_streams", many_succeed },
    { "data_frame_padding", one_succeeds },
    { "no_df_padding_sanity_test", one_succeeds },
    { "calls", make_calls },
    { "stream", make_stream }
};

static bool run(const char *name)
{
    size_t i;
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        if (strcmp(cases[i].name, name) == 0)
            return cases[i].run();
    interop_refuse("http2_client", "is no test case", name);
    return false;
}

int main(int argc, char **argv)
{
    static char target[160];
    cgrpc_channel_desc desc = { .port = cgrpc_posix_port(&posix),
                                .target = target, .keys = kept,
                                .key_count = 1 };
    bool good;
    (void)argc;
    interop_parse(argv, options);
    interop_refuse_tls(argv[0], use_tls);
    snprintf(target, sizeof(target), "%s:%s", server_host, server_port);
    if (cgrpc_posix_init(&posix) != CGRPC_SUCCESS ||
        cgrpc_channel_init(&channel, &desc) != CGRPC_SUCCESS) {
        fprintf(stderr, "%s\n", cgrpc_posix_error(&posix));
        return 1;
    }
    good = run(test_case);
    cgrpc_channel_close(&channel);
    if (good && strcmp(test_case, "calls") != 0 &&
        strcmp(test_case, "stream") != 0)
        printf("%s: passed\n", test_case);
    return !good;
}
