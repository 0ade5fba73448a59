/* The client of gRPC's interop tests: the cases that
 * doc/interop-test-descriptions.md of gRPC describes, against anybody's server.
 *
 *     interop_client --server_host 127.0.0.1 --server_port 10000 \
 *                    --test_case large_unary [--use_tls=false]
 *
 * One line says that the case passed, or what differed from the description;
 * the exit code is then 1. `--help` names the options, --test_case=? the cases.
 *
 * Beyond what the description asks, every payload is looked at (nothing but
 * zeros), and after a cancellation or a timeout the same connection must still
 * carry a call.
 */
#define CGRPC_METADATA_BYTES 1024
#define CGRPC_LOG(level, ...) fprintf(stderr, __VA_ARGS__)
#define _POSIX_C_SOURCE 200809L /* for the port: <stdio.h> comes before it */
#include <stdio.h>
#define CGRPC_IMPLEMENTATION
#include "cgrpc_posix.h"
#include "grpc/testing/test.cgrpc.h"
#include "interop.h"
#include <stdarg.h>

CGRPC_POSIX_DEFINE(posix, 4);
/* With little to send from, 10 MiB would be encoded a thousand times. */
CGRPC_CHANNEL_DEFINE(channel, INTEROP_MAX_RESPONSE, 65536);
CGRPC_CALL_DEFINE(call, INTEROP_MAX_RESPONSE);

/* No case takes so long against a server that answers. */
static const cgrpc_options patient = { .timeout_ms = 20000 };

/* ---- options ---- */

static const char *server_host = "localhost", *server_port = "",
                  *host_override, *test_case = "";
static bool use_tls, use_test_ca;
static long soak_iterations = 10, soak_max_failures,
            soak_max_latency_ms = 1000, soak_timeout_s = 10,
            soak_request_size = 271828, soak_response_size = 314159,
            soak_pause_ms, soak_threads = 1;
static const interop_option options[] = {
    { "server_host", "(localhost)", &server_host, NULL, NULL },
    { "server_port", "must be given", &server_port, NULL, NULL },
    { "server_host_override", "the :authority to claim (host:port)",
      &host_override, NULL, NULL },
    { "test_case", "(--test_case=? names them all)", &test_case, NULL, NULL },
    { "use_tls", "(false)", NULL, NULL, &use_tls },
    { "use_test_ca", "means nothing without TLS", NULL, NULL, &use_test_ca },
    { "soak_iterations", "(10)", NULL, &soak_iterations, NULL },
    { "soak_max_failures", "so many may fail or be late (0)", NULL,
      &soak_max_failures, NULL },
    { "soak_per_iteration_max_acceptable_latency_ms",
      "what takes longer is late (1000)", NULL, &soak_max_latency_ms, NULL },
    { "soak_overall_timeout_seconds", "for all iterations (10)", NULL,
      &soak_timeout_s, NULL },
    { "soak_request_size", "bytes of payload (271828)", NULL,
      &soak_request_size, NULL },
    { "soak_response_size", "bytes of payload (314159)", NULL,
      &soak_response_size, NULL },
    { "soak_min_time_ms_between_rpcs", "from start to start (0)", NULL,
      &soak_pause_ms, NULL },
    { "soak_num_threads", "1: a loop has no threads", NULL, &soak_threads,
      NULL },
    { NULL, NULL, NULL, NULL, NULL }
};

/* ---- what differed ---- */

static char difference[600]; /* the first one: what follows is a consequence */

static bool check(bool good, const char *format, ...)
{
    va_list values;
    char *at;
    if (!good && !difference[0]) {
        va_start(values, format);
        vsnprintf(difference, sizeof difference, format, values);
        va_end(values);
        for (at = difference; *at; at++) /* it shall stay one line */
            if ((unsigned char)*at < ' ')
                *at = ' ';
    }
    return good;
}

static bool check_status(const char *what, cgrpc_status wanted)
{
    cgrpc_status status = cgrpc_call_status(&call);
    return check(status == wanted, "%s: the status is %s (%d) \"%s\" %s, not "
                 "%s (%d)", what, cgrpc_status_text(status), (int)status,
                 cgrpc_call_message(&call), cgrpc_posix_error(&posix),
                 cgrpc_status_text(wanted), (int)wanted);
}

static bool check_message(const char *what, const char *wanted)
{
    return check(strcmp(cgrpc_call_message(&call), wanted) == 0,
                 "%s: the status message is \"%s\", not \"%s\"", what,
                 cgrpc_call_message(&call), wanted);
}

static bool check_payload(const char *what, bool present,
                          const grpc_testing_Payload *payload,
                          const interop_body *body, size_t wanted)
{
    return check(present || wanted == 0, "%s: the response has no payload",
                 what) &&
           check(body->size == wanted, "%s: the response's payload has %lu "
                 "bytes, not %lu", what, (unsigned long)body->size,
                 (unsigned long)wanted) &&
           check(!body->other, "%s: the response's payload is not all zeros",
                 what) &&
           check(payload->type == grpc_testing_PayloadType_COMPRESSABLE,
                 "%s: the response's payload is of type %d, not COMPRESSABLE",
                 what, (int)payload->type);
}

/* ---- calls; each ends by its deadline at the latest ---- */

static uint32_t now(void)
{
    cgrpc_port *port = cgrpc_posix_port(&posix);
    return port->now(port->context);
}

static void pass_time(uint32_t ms)
{
    uint32_t start = now();
    while (now() - start < ms) {
        uint32_t due = cgrpc_channel_poll(&channel);
        uint32_t left = ms - (now() - start);
        cgrpc_posix_step(&posix, due < left ? due : left);
    }
}

static bool started(const char *what, cgrpc_result result)
{
    return check(result == CGRPC_SUCCESS, "%s: cannot be started: %s", what,
                 cgrpc_result_text(result));
}

static void wait_for_end(void)
{
    while (cgrpc_wait(&call, 1000))
        ;
}

static bool run_empty(const char *what, const cgrpc_method *method,
                      cgrpc_status wanted)
{
    grpc_testing_Empty request = grpc_testing_Empty_init_zero;
    grpc_testing_Empty response = grpc_testing_Empty_init_zero;
    if (!started(what, cgrpc_start(&channel, &call, method, &request,
                                   &response, NULL, &patient)))
        return false;
    wait_for_end();
    return check_status(what, wanted);
}

/* The connection is there (before a case that would be over before it), or
 * still there (after one). */
static bool connection_works(const char *when)
{
    return run_empty(when, &grpc_testing_TestService_EmptyCall_method,
                     CGRPC_OK);
}

/* A unary call with a payload each way, and nothing else wanted. */
static bool run_large(const char *what, long request_size, long response_size,
                      const cgrpc_options *with)
{
    grpc_testing_SimpleRequest request =
        grpc_testing_SimpleRequest_init_zero;
    grpc_testing_SimpleResponse response =
        grpc_testing_SimpleResponse_init_zero;
    interop_body sent = { 0, false }, got;
    sent.size = (size_t)request_size;
    request.response_size = (int32_t)response_size;
    request.has_payload = true;
    interop_set_body(&request.payload, &sent);
    interop_expect_body(&response.payload, &got);
    if (!started(what, grpc_testing_TestService_UnaryCall_start(
                           &channel, &call, &request, &response, NULL, with)))
        return false;
    wait_for_end();
    return check_status(what, CGRPC_OK) &&
           check_payload(what, response.has_payload, &response.payload, &got,
                         (size_t)response_size);
}

/* One message of a stream that is sent. false: the call has ended. */
static bool send_message(const void *message)
{
    while (!cgrpc_send(&call, message))
        if (!cgrpc_wait(&call, 1000))
            return false;
    return true;
}

/* Asks on a FullDuplexCall for one response of `wanted` bytes (below 0: for
 * none) with a payload of `size`. */
static bool ask(long wanted, size_t size)
{
    grpc_testing_StreamingOutputCallRequest request =
        grpc_testing_StreamingOutputCallRequest_init_zero;
    interop_body sent = { 0, false };
    sent.size = size;
    request.has_payload = true;
    interop_set_body(&request.payload, &sent);
    if (wanted >= 0) {
        request.response_parameters_count = 1;
        request.response_parameters[0].size = (int32_t)wanted;
    }
    return send_message(&request);
}

/* Waits for the next response of a stream; false: there is none any more. */
static bool next_response(grpc_testing_StreamingOutputCallResponse *response,
                          interop_body *body)
{
    cgrpc_recv_result got;
    memset(response, 0, sizeof *response);
    interop_expect_body(&response->payload, body);
    while ((got = cgrpc_recv(&call, response)) == CGRPC_WAIT)
        if (!cgrpc_wait(&call, 1000))
            return cgrpc_recv(&call, response) == CGRPC_GOT;
    return got == CGRPC_GOT;
}

static bool check_response(const char *what, size_t wanted)
{
    grpc_testing_StreamingOutputCallResponse response;
    interop_body body;
    if (!next_response(&response, &body))
        return check(false, "%s: the call ended with %s (%d) \"%s\" before a "
                     "response of %lu bytes", what,
                     cgrpc_status_text(cgrpc_call_status(&call)),
                     (int)cgrpc_call_status(&call), cgrpc_call_message(&call),
                     (unsigned long)wanted);
    return check_payload(what, response.has_payload, &response.payload, &body,
                         wanted);
}

/* No response comes any more, and the call ends so. */
static bool check_end(const char *what, cgrpc_status wanted)
{
    grpc_testing_StreamingOutputCallResponse response;
    interop_body body;
    if (!check(!next_response(&response, &body),
               "%s: one more response than were asked for", what))
        return false;
    wait_for_end();
    return check_status(what, wanted);
}

static bool start_duplex(const cgrpc_options *with)
{
    return started("FullDuplexCall",
                   grpc_testing_TestService_FullDuplexCall_start(
                       &channel, &call, with));
}

/* ---- the cases ---- */

static bool empty_unary(void)
{
    return run_empty("EmptyCall", &grpc_testing_TestService_EmptyCall_method,
                     CGRPC_OK);
}

static bool large_unary(void)
{
    return run_large("UnaryCall", 271828, 314159, &patient);
}

/* In Java only: forty times what a buffer for it would be allowed to cost. */
static bool very_large_request(void)
{
    return run_large("UnaryCall", 10 * 1024 * 1024, 10, &patient);
}

static bool client_streaming(void)
{
    static const size_t sizes[] = { 27182, 8, 1828, 45904 };
    grpc_testing_StreamingInputCallResponse response =
        grpc_testing_StreamingInputCallResponse_init_zero;
    cgrpc_recv_result got;
    bool answered = false;
    size_t i;
    if (!started("StreamingInputCall",
                 grpc_testing_TestService_StreamingInputCall_start(
                     &channel, &call, &patient)))
        return false;
    for (i = 0; i < 4; i++) {
        grpc_testing_StreamingInputCallRequest request =
            grpc_testing_StreamingInputCallRequest_init_zero;
        interop_body body = { 0, false };
        body.size = sizes[i];
        request.has_payload = true;
        interop_set_body(&request.payload, &body);
        if (!send_message(&request))
            return check_status("sending", CGRPC_OK) &&
                   check(false, "the call ended before message %lu",
                         (unsigned long)i + 1);
    }
    cgrpc_send_end(&call);
    do
        while ((got = cgrpc_recv(&call, &response)) == CGRPC_GOT)
            answered = true;
    while (cgrpc_wait(&call, 1000));
    return check_status("StreamingInputCall", CGRPC_OK) &&
           check(answered, "there is no response") &&
           check(response.aggregated_payload_size == 74922,
                 "aggregated_payload_size is %ld, not 74922",
                 (long)response.aggregated_payload_size);
}

static const size_t response_sizes[] = { 31415, 9, 2653, 58979 };

static bool server_streaming(void)
{
    grpc_testing_StreamingOutputCallRequest request =
        grpc_testing_StreamingOutputCallRequest_init_zero;
    bool good = true;
    size_t i;
    request.response_parameters_count = 4;
    for (i = 0; i < 4; i++)
        request.response_parameters[i].size = (int32_t)response_sizes[i];
    if (!started("StreamingOutputCall",
                 grpc_testing_TestService_StreamingOutputCall_start(
                     &channel, &call, &request, &patient)))
        return false;
    for (i = 0; i < 4 && good; i++)
        good = check_response("StreamingOutputCall", response_sizes[i]);
    return good && check_end("StreamingOutputCall", CGRPC_OK);
}

static bool ping_pong(void)
{
    static const size_t sizes[] = { 27182, 8, 1828, 45904 };
    bool good = start_duplex(&patient);
    size_t i;
    for (i = 0; i < 4 && good; i++) {
        ask((long)response_sizes[i], sizes[i]);
        good = check_response("FullDuplexCall", response_sizes[i]);
    }
    cgrpc_send_end(&call);
    return good && check_end("FullDuplexCall", CGRPC_OK);
}

static bool empty_stream(void)
{
    if (!start_duplex(&patient))
        return false;
    cgrpc_send_end(&call);
    return check_end("FullDuplexCall", CGRPC_OK);
}

static bool timeout_on_sleeping_server(void)
{
    static const cgrpc_options hasty = { .timeout_ms = 1 };
    if (!connection_works("EmptyCall before it") || !start_duplex(&hasty))
        return false;
    ask(-1, 27182);
    return check_end("FullDuplexCall", CGRPC_DEADLINE_EXCEEDED) &&
           connection_works("EmptyCall after it");
}

/* The headers have gone out, no message has. */
static bool cancel_after_begin(void)
{
    if (!connection_works("EmptyCall before it") ||
        !started("StreamingInputCall",
                 grpc_testing_TestService_StreamingInputCall_start(
                     &channel, &call, &patient)))
        return false;
    cgrpc_channel_poll(&channel);
    cgrpc_call_cancel(&call);
    return check_status("StreamingInputCall", CGRPC_CANCELLED) &&
           connection_works("EmptyCall after it");
}

static bool cancel_after_first_response(void)
{
    if (!start_duplex(&patient))
        return false;
    ask(31415, 27182);
    if (!check_response("FullDuplexCall", 31415))
        return false;
    cgrpc_call_cancel(&call);
    return check_status("FullDuplexCall", CGRPC_CANCELLED) &&
           connection_works("EmptyCall after it");
}

/* In C++ only: all requests, then all responses. */
static bool half_duplex(void)
{
    bool good;
    size_t i;
    if (!started("HalfDuplexCall",
                 grpc_testing_TestService_HalfDuplexCall_start(
                     &channel, &call, &patient)))
        return false;
    for (i = 0; i < 4; i++)
        ask((long)response_sizes[i], 0);
    cgrpc_send_end(&call);
    for (i = 0, good = true; i < 4 && good; i++)
        good = check_response("HalfDuplexCall", response_sizes[i]);
    return good && check_end("HalfDuplexCall", CGRPC_OK);
}

/* ---- status ---- */

static bool unary_status(const char *message)
{
    grpc_testing_SimpleRequest request =
        grpc_testing_SimpleRequest_init_zero;
    grpc_testing_SimpleResponse response =
        grpc_testing_SimpleResponse_init_zero;
    request.has_response_status = true;
    request.response_status.code = CGRPC_UNKNOWN;
    snprintf(request.response_status.message,
             sizeof request.response_status.message, "%s", message);
    if (!started("UnaryCall",
                 grpc_testing_TestService_UnaryCall_start(
                     &channel, &call, &request, &response, NULL, &patient)))
        return false;
    wait_for_end();
    return check_status("UnaryCall", CGRPC_UNKNOWN) &&
           check_message("UnaryCall", message);
}

static bool duplex_status(const char *message)
{
    grpc_testing_StreamingOutputCallRequest request =
        grpc_testing_StreamingOutputCallRequest_init_zero;
    request.has_response_status = true;
    request.response_status.code = CGRPC_UNKNOWN;
    snprintf(request.response_status.message,
             sizeof request.response_status.message, "%s", message);
    if (!start_duplex(&patient))
        return false;
    send_message(&request);
    cgrpc_send_end(&call);
    return check_end("FullDuplexCall", CGRPC_UNKNOWN) &&
           check_message("FullDuplexCall", message);
}

static bool status_code_and_message(void)
{
    return unary_status("test status message") &&
           duplex_status("test status message");
}

static bool special_status_message(void)
{
    return unary_status("\t\ntest with whitespace\r\nand Unicode BMP "
                        "\xE2\x98\xBA and non-BMP \xF0\x9F\x98\x88\t\n");
}

static bool unimplemented_method(void)
{
    return run_empty("TestService/UnimplementedCall",
                     &grpc_testing_TestService_UnimplementedCall_method,
                     CGRPC_UNIMPLEMENTED);
}

static bool unimplemented_service(void)
{
    return run_empty(
        "UnimplementedService/UnimplementedCall",
        &grpc_testing_UnimplementedService_UnimplementedCall_method,
        CGRPC_UNIMPLEMENTED);
}

/* ---- metadata ---- */

static const char initial_value[] = "test_initial_metadata_value";
static const uint8_t trailing_value[] = { 0xAB, 0xAB, 0xAB };

static bool check_value(const char *what, int which, const char *key,
                        const void *wanted, size_t wanted_len)
{
    size_t len = 0;
    const char *value = cgrpc_metadata_find(&call, which, key, 0, &len);
    return check(value != NULL, "%s: %s is not in the %s metadata", what, key,
                 which == CGRPC_INITIAL ? "initial" : "trailing") &&
           check(len == wanted_len && memcmp(value, wanted, len) == 0,
                 "%s: %s has another value than was sent (%lu bytes)", what,
                 key, (unsigned long)len);
}

static bool check_echo(const char *what)
{
    return check_value(what, CGRPC_INITIAL, INTEROP_ECHO_INITIAL,
                       initial_value, sizeof initial_value - 1) &&
           check_value(what, CGRPC_TRAILING, INTEROP_ECHO_TRAILING,
                       trailing_value, sizeof trailing_value);
}

static bool custom_metadata(void)
{
    static const cgrpc_metadata items[] = {
        { INTEROP_ECHO_INITIAL, initial_value, 0 },
        { INTEROP_ECHO_TRAILING, trailing_value, sizeof trailing_value },
    };
    static const cgrpc_options with = { .timeout_ms = 20000,
                                        .metadata = items,
                                        .metadata_count = 2 };
    if (!run_large("UnaryCall", 271828, 314159, &with) ||
        !check_echo("UnaryCall") || !start_duplex(&with))
        return false;
    ask(314159, 271828);
    cgrpc_send_end(&call);
    return check_response("FullDuplexCall", 314159) &&
           check_end("FullDuplexCall", CGRPC_OK) &&
           check_echo("FullDuplexCall");
}

/* ---- one server of several, which says who it is ---- */

static bool pick_first_unary(void)
{
    grpc_testing_SimpleRequest request =
        grpc_testing_SimpleRequest_init_zero;
    char first[sizeof(((grpc_testing_SimpleResponse *)0)->server_id)] = "";
    int i;
    request.response_size = 1;
    request.fill_server_id = true;
    for (i = 0; i < 100; i++) {
        grpc_testing_SimpleResponse response =
            grpc_testing_SimpleResponse_init_zero;
        if (!started("UnaryCall",
                     grpc_testing_TestService_UnaryCall_start(
                         &channel, &call, &request, &response, NULL,
                         &patient)))
            return false;
        wait_for_end();
        if (!check_status("UnaryCall", CGRPC_OK) ||
            !check(response.server_id[0], "the response has no server_id"))
            return false;
        if (i == 0)
            memcpy(first, response.server_id, sizeof first);
        if (!check(strcmp(first, response.server_id) == 0, "server %s "
                   "answered after %s", response.server_id, first))
            return false;
    }
    return true;
}

/* ---- soak: the same call again and again ---- */

enum { SOAK_MOST = 100000 };
static uint32_t latencies[SOAK_MOST];

static int compare_latencies(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* One iteration: it succeeded, and in time. What failed is told and counted,
 * not final. */
static bool soak_once(long i, uint32_t left_ms)
{
    cgrpc_options with = { 0 };
    uint32_t start = now();
    bool good;
    with.timeout_ms = left_ms;
    good = run_large("UnaryCall", soak_request_size, soak_response_size,
                     &with);
    latencies[i] = now() - start;
    if (good && latencies[i] > (uint32_t)soak_max_latency_ms)
        good = check(false, "it took %lu ms", (unsigned long)latencies[i]);
    if (!good)
        printf("iteration %ld: %s\n", i, difference);
    difference[0] = 0;
    return good;
}

static bool soak(bool new_channels)
{
    uint32_t began = now(), whole = (uint32_t)soak_timeout_s * 1000;
    long i, failures = 0;
    if (!check(soak_iterations > 0 && soak_iterations <= SOAK_MOST,
               "soak_iterations must be 1 to %d", SOAK_MOST))
        return false;
    for (i = 0; i < soak_iterations && now() - began < whole; i++) {
        uint32_t start = now();
        if (new_channels)
            cgrpc_channel_close(&channel);
        failures += !soak_once(i, whole - (start - began));
        if (soak_pause_ms > 0 && now() - start < (uint32_t)soak_pause_ms)
            pass_time((uint32_t)soak_pause_ms - (now() - start));
    }
    if (i > 0) {
        qsort(latencies, (size_t)i, sizeof latencies[0], compare_latencies);
        printf("%ld iterations, %ld failed; median %lu ms, most %lu ms\n", i,
               failures, (unsigned long)latencies[i / 2],
               (unsigned long)latencies[i - 1]);
    }
    return check(i == soak_iterations, "only %ld of %ld iterations were done "
                 "in %ld s", i, soak_iterations, soak_timeout_s) &&
           check(failures <= soak_max_failures, "%ld iterations failed, %ld "
                 "may", failures, soak_max_failures);
}

static bool rpc_soak(void) { return soak(false); }
static bool channel_soak(void) { return soak(true); }

/* ---- */

static const struct interop_case {
    const char *name;
    bool (*run)(void);
} cases[] = {
    { "empty_unary", empty_unary },
    { "large_unary", large_unary },
    { "very_large_request", very_large_request },
    { "client_streaming", client_streaming },
    { "server_streaming", server_streaming },
    { "ping_pong", ping_pong },
    { "empty_stream", empty_stream },
    { "timeout_on_sleeping_server", timeout_on_sleeping_server },
    { "cancel_after_begin", cancel_after_begin },
    { "cancel_after_first_response", cancel_after_first_response },
    { "status_code_and_message", status_code_and_message },
    { "special_status_message", special_status_message },
    { "custom_metadata", custom_metadata },
    { "unimplemented_method", unimplemented_method },
    { "unimplemented_service", unimplemented_service },
    { "half_duplex", half_duplex },
    { "pick_first_unary", pick_first_unary },
    { "rpc_soak", rpc_soak },
    { "channel_soak", channel_soak },
};
enum { CASES = sizeof(cases) / sizeof(cases[0]) };

static const struct interop_case *find_case(const char *program)
{
    size_t i;
    for (i = 0; i < CASES; i++)
        if (strcmp(cases[i].name, test_case) == 0)
            return &cases[i];
    fprintf(stderr, "%s: there is no --test_case \"%s\" here, but these:\n",
            program, test_case);
    for (i = 0; i < CASES; i++)
        fprintf(stderr, "  %s\n", cases[i].name);
    exit(2);
}

int main(int argc, char **argv)
{
    static const char *const keys[] = { INTEROP_ECHO_INITIAL,
                                        INTEROP_ECHO_TRAILING };
    static char target[300];
    cgrpc_channel_desc desc = { .port = cgrpc_posix_port(&posix),
                                .target = target,
                                .keys = keys,
                                .key_count = 2 };
    const struct interop_case *chosen;
    bool good;
    (void)argc;
    interop_parse(argv, options);
    interop_refuse_tls(argv[0], use_tls);
    if (soak_threads != 1)
        interop_refuse(argv[0], "must be 1", "soak_num_threads");
    chosen = find_case(argv[0]);
    snprintf(target, sizeof target,
             strchr(server_host, ':') ? "[%s]:%s" : "%s:%s", server_host,
             server_port);
    desc.authority = host_override;
    if (cgrpc_posix_init(&posix) || cgrpc_channel_init(&channel, &desc)) {
        fprintf(stderr, "%s\n", cgrpc_posix_error(&posix));
        return 1;
    }
    good = chosen->run();
    cgrpc_channel_close(&channel);
    cgrpc_posix_close(&posix);
    printf("%s %s%s%s\n", good ? "passed" : "FAILED", chosen->name,
           good ? "" : ": ", difference);
    return good ? 0 : 1;
}
