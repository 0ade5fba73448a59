/* The server of gRPC's interop tests: grpc.testing.TestService, as
 * doc/interop-test-descriptions.md of gRPC describes it, for anybody's client.
 *
 *     interop_server --port 10000 [--use_tls=false] [--host 127.0.0.1]
 *
 * It has all that the cases without TLS and compression ask for. What it does
 * not serve answers UNIMPLEMENTED: CacheableUnaryCall (HTTP GET, which is no
 * gRPC) and UnimplementedCall (on purpose).
 */
#define CGRPC_STATE_BYTES 192
#define CGRPC_METADATA_BYTES 1024
#define CGRPC_LOG(level, ...) fprintf(stderr, __VA_ARGS__)
#define _POSIX_C_SOURCE 200809L /* for the port: <stdio.h> comes before it */
#include <stdio.h>
#define CGRPC_IMPLEMENTATION
#include "cgrpc_posix.h"
#include "grpc/testing/test.cgrpc.h"
#include "interop.h"

/* grpc-go keeps every channel of a channel_soak open until its end. */
enum { CONNS = 256, CALLS = 64 };
/* Responses that a HalfDuplexCall may ask for: they are remembered. */
enum { HALF_DUPLEX_MOST = 32 };

/* 10 MiB a call, of which the system gives what is touched. */
CGRPC_POSIX_DEFINE(posix, CONNS);
CGRPC_SERVER_DEFINE(server, CONNS, CALLS, INTEROP_MAX_REQUEST, 16384,
                    grpc_testing_TestService_SCRATCH);

/* What a call remembers. */
typedef struct progress {
    interop_body in;     /* of the message that is handled */
    uint32_t received;   /* StreamingInputCall: bytes of the ones before */
    uint32_t next;       /* of the responses that this message asks for */
    uint32_t until;      /* the time of that response ... */
    bool slept;          /* ... which is known */
    bool echoed;
    uint8_t stored;      /* HalfDuplexCall: what was asked for */
    int32_t sizes[HALF_DUPLEX_MOST];
} progress;
typedef char progress_fits[sizeof(progress) <= CGRPC_STATE_BYTES ? 1 : -1];

/* ---- sleeping: a handler never blocks, the loop wakes it ---- */

static cgrpc_call *sleepers[CALLS]; /* wait until their progress.until */

static void forget_sleeper(cgrpc_call *call, cgrpc_status status)
{
    size_t i;
    (void)status;
    for (i = 0; i < CALLS; i++)
        if (sleepers[i] == call)
            sleepers[i] = NULL;
}

static void add_sleeper(cgrpc_call *call)
{
    size_t i = 0;
    forget_sleeper(call, CGRPC_OK); /* it may have been woken for another */
    while (sleepers[i])             /* reason; places are as many as calls */
        i++;
    sleepers[i] = call;
    cgrpc_call_on_end(call, forget_sleeper);
    cgrpc_posix_wake(&posix); /* the loop waits for too long otherwise */
}

/* Milliseconds from now on; 0 if the time has passed. */
static uint32_t time_to(const cgrpc_call *call, uint32_t until)
{
    uint32_t left = until - cgrpc_call_now(call);
    return left < 0x80000000u ? left : 0;
}

/* Wakes whose time has come. Returns the milliseconds until the next one. */
static uint32_t wake_sleepers(void)
{
    uint32_t soonest = UINT32_MAX;
    size_t i;
    for (i = 0; i < CALLS; i++) {
        progress *p;
        uint32_t left;
        if (!sleepers[i])
            continue;
        p = (progress *)cgrpc_call_state(sleepers[i]);
        left = time_to(sleepers[i], p->until);
        if (left < soonest)
            soonest = left;
        if (left == 0) {
            cgrpc_call_wake(sleepers[i]);
            sleepers[i] = NULL;
        }
    }
    return soonest;
}

/* The `us` that stand before a response are over. false: not yet. */
static bool has_slept(cgrpc_call *call, int32_t us)
{
    progress *p = (progress *)cgrpc_call_state(call);
    if (us <= 0)
        return true;
    if (!p->slept) {
        p->slept = true;
        p->until = cgrpc_call_now(call) + ((uint32_t)us + 999) / 1000;
        add_sleeper(call);
    }
    return time_to(call, p->until) == 0;
}

/* ---- what the features of the description ask for ---- */

static void echo(cgrpc_call *call, int which, const char *key)
{
    const char *value;
    size_t i, len;
    for (i = 0; (value = cgrpc_metadata_find(call, CGRPC_INITIAL, key, i,
                                             &len)) != NULL; i++)
        cgrpc_metadata_add(call, which, key, value, len);
}

/* Echo Metadata: once a call, before its first response. */
static void echo_metadata(cgrpc_call *call)
{
    progress *p = (progress *)cgrpc_call_state(call);
    if (p->echoed)
        return;
    p->echoed = true;
    echo(call, CGRPC_INITIAL, INTEROP_ECHO_INITIAL);
    echo(call, CGRPC_TRAILING, INTEROP_ECHO_TRAILING);
}

/* Echo Status. CGRPC_OK: none was asked for. */
static cgrpc_status echo_status(cgrpc_call *call, bool wanted,
                                const grpc_testing_EchoStatus *status)
{
    if (!wanted || status->code == 0)
        return CGRPC_OK;
    if (status->code < 0 || status->code > CGRPC_UNAUTHENTICATED)
        return cgrpc_fail(call, CGRPC_UNKNOWN, status->message);
    return cgrpc_fail(call, (cgrpc_status)status->code, status->message);
}

/* CompressedRequest: what came was plain, as everything is here. */
static cgrpc_status check_request(cgrpc_call *call, bool present,
                                  const grpc_testing_BoolValue *compressed)
{
    if (present && compressed->value)
        return cgrpc_fail(call, CGRPC_INVALID_ARGUMENT,
                          "the request should have been compressed");
    return CGRPC_OK;
}

/* CompressedResponse: rather an error than a plain answer in its place. */
static cgrpc_status check_response(cgrpc_call *call, bool present,
                                   const grpc_testing_BoolValue *compressed)
{
    if (present && compressed->value)
        return cgrpc_fail(call, CGRPC_UNIMPLEMENTED,
                          "this server compresses no responses");
    return CGRPC_OK;
}

static cgrpc_status check_payload(cgrpc_call *call,
                                  grpc_testing_PayloadType type, int32_t size)
{
    if (type != grpc_testing_PayloadType_COMPRESSABLE)
        return cgrpc_fail(call, CGRPC_INVALID_ARGUMENT,
                          "only COMPRESSABLE payloads are made here");
    if (size < 0)
        return cgrpc_fail(call, CGRPC_INVALID_ARGUMENT,
                          "a payload's size is negative");
    return CGRPC_OK;
}

/* ---- the methods ---- */

static cgrpc_status empty_call(cgrpc_call *call, const grpc_testing_Empty *in,
                               grpc_testing_Empty *out)
{
    (void)in;
    (void)out;
    echo_metadata(call);
    return CGRPC_OK;
}

static void unary_arm(cgrpc_call *call, grpc_testing_SimpleRequest *in)
{
    progress *p = (progress *)cgrpc_call_state(call);
    interop_expect_body(&in->payload, &p->in);
}

static cgrpc_status check_unary(cgrpc_call *call,
                                const grpc_testing_SimpleRequest *in)
{
    cgrpc_status status = check_request(call, in->has_expect_compressed,
                                        &in->expect_compressed);
    if (status == CGRPC_OK)
        status = check_response(call, in->has_response_compressed,
                                &in->response_compressed);
    if (status == CGRPC_OK)
        status = check_payload(call, in->response_type, in->response_size);
    if (status == CGRPC_OK)
        status = echo_status(call, in->has_response_status,
                             &in->response_status);
    return status;
}

static cgrpc_status unary_call(cgrpc_call *call,
                               const grpc_testing_SimpleRequest *in,
                               grpc_testing_SimpleResponse *out)
{
    progress *p = (progress *)cgrpc_call_state(call);
    cgrpc_status status;
    echo_metadata(call);
    status = check_unary(call, in);
    if (status != CGRPC_OK)
        return status;
    /* The request's payload was counted and is done with: the place is free
     * for the answer's, which must live until that is written. */
    p->in.size = (size_t)in->response_size;
    out->has_payload = true;
    interop_set_body(&out->payload, &p->in);
    if (in->fill_server_id)
        snprintf(out->server_id, sizeof out->server_id, "cgrpc-%ld",
                 (long)getpid());
    return CGRPC_OK;
}

static bool send_payload(cgrpc_call *call, int32_t size)
{
    grpc_testing_StreamingOutputCallResponse out =
        grpc_testing_StreamingOutputCallResponse_init_zero;
    interop_body body = { 0, false };
    body.size = (size_t)size;
    out.has_payload = true;
    interop_set_body(&out.payload, &body);
    return cgrpc_send(call, &out);
}

/* The responses that one message asks for, from where they were left.
 * CGRPC_OK: all were sent. */
static cgrpc_status respond(cgrpc_call *call,
                            const grpc_testing_StreamingOutputCallRequest *in)
{
    progress *p = (progress *)cgrpc_call_state(call);
    for (; p->next < in->response_parameters_count; p->next++) {
        const grpc_testing_ResponseParameters *want =
            &in->response_parameters[p->next];
        cgrpc_status status = check_response(call, want->has_compressed,
                                             &want->compressed);
        if (status == CGRPC_OK)
            status = check_payload(call, in->response_type, want->size);
        if (status != CGRPC_OK)
            return status;
        if (!has_slept(call, want->interval_us) ||
            !send_payload(call, want->size))
            return CGRPC_PENDING;
        p->slept = false;
    }
    return CGRPC_OK;
}

static void output_arm(cgrpc_call *call,
                       grpc_testing_StreamingOutputCallRequest *in)
{
    progress *p = (progress *)cgrpc_call_state(call);
    interop_expect_body(&in->payload, &p->in);
}

static cgrpc_status
streaming_output_call(cgrpc_call *call,
                      const grpc_testing_StreamingOutputCallRequest *in)
{
    cgrpc_status status;
    echo_metadata(call);
    status = echo_status(call, in->has_response_status, &in->response_status);
    return status == CGRPC_OK ? respond(call, in) : status;
}

static void input_arm(cgrpc_call *call,
                      grpc_testing_StreamingInputCallRequest *in)
{
    progress *p = (progress *)cgrpc_call_state(call);
    interop_expect_body(&in->payload, &p->in);
}

static cgrpc_status
streaming_input_call(cgrpc_call *call,
                     const grpc_testing_StreamingInputCallRequest *in,
                     grpc_testing_StreamingInputCallResponse *out)
{
    progress *p = (progress *)cgrpc_call_state(call);
    cgrpc_status status;
    echo_metadata(call);
    if (!in) {
        out->aggregated_payload_size = (int32_t)p->received;
        return CGRPC_OK;
    }
    status = check_request(call, in->has_expect_compressed,
                           &in->expect_compressed);
    if (status != CGRPC_OK)
        return status;
    p->received += (uint32_t)p->in.size;
    return CGRPC_NEXT;
}

static cgrpc_status
full_duplex_call(cgrpc_call *call,
                 const grpc_testing_StreamingOutputCallRequest *in)
{
    progress *p = (progress *)cgrpc_call_state(call);
    cgrpc_status status;
    echo_metadata(call);
    if (!cgrpc_send_initial(call))
        return CGRPC_PENDING;
    if (!in)
        return cgrpc_recv_ended(call) ? CGRPC_OK : CGRPC_NEXT;
    status = echo_status(call, in->has_response_status, &in->response_status);
    if (status == CGRPC_OK)
        status = respond(call, in);
    if (status != CGRPC_OK)
        return status;
    p->next = 0;
    return CGRPC_NEXT;
}

/* The requests are remembered; the responses follow when they have ended. */
static cgrpc_status
half_duplex_call(cgrpc_call *call,
                 const grpc_testing_StreamingOutputCallRequest *in)
{
    progress *p = (progress *)cgrpc_call_state(call);
    size_t i;
    echo_metadata(call);
    for (i = 0; in && i < in->response_parameters_count; i++) {
        if (p->stored == HALF_DUPLEX_MOST)
            return cgrpc_fail(call, CGRPC_RESOURCE_EXHAUSTED,
                              "more than 32 responses");
        p->sizes[p->stored++] = in->response_parameters[i].size;
    }
    if (in || !cgrpc_recv_ended(call))
        return CGRPC_NEXT;
    for (; p->next < p->stored; p->next++)
        if (!send_payload(call, p->sizes[p->next]))
            return CGRPC_PENDING;
    return CGRPC_OK;
}

/* ---- */

static const grpc_testing_TestService_handlers handlers = {
    .EmptyCall = empty_call,
    .UnaryCall = unary_call,
    .UnaryCall_arm = unary_arm,
    .StreamingOutputCall = streaming_output_call,
    .StreamingOutputCall_arm = output_arm,
    .StreamingInputCall = streaming_input_call,
    .StreamingInputCall_arm = input_arm,
    .FullDuplexCall = full_duplex_call,
    .FullDuplexCall_arm = output_arm,
    .HalfDuplexCall = half_duplex_call,
    .HalfDuplexCall_arm = output_arm,
};
static const cgrpc_serving services[] = {
    grpc_testing_TestService_SERVING(&handlers)
};
static const char *const keys[] = { INTEROP_ECHO_INITIAL,
                                    INTEROP_ECHO_TRAILING };

static const char *host = "127.0.0.1", *port = "10000";
static bool use_tls;
static const interop_option options[] = {
    { "port", "to listen on (10000; 0: any that is free)", &port, NULL, NULL },
    { "host", "whose address to listen on (127.0.0.1)", &host, NULL, NULL },
    { "use_tls", "(false)", NULL, NULL, &use_tls },
    { NULL, NULL, NULL, NULL, NULL }
};

int main(int argc, char **argv)
{
    cgrpc_server_desc desc = { .port = cgrpc_posix_port(&posix),
                               .services = services,
                               .service_count = 1,
                               .keys = keys,
                               .key_count = 2 };
    char address[300];
    (void)argc;
    interop_parse(argv, options);
    interop_refuse_tls(argv[0], use_tls);
    snprintf(address, sizeof address, strchr(host, ':') ? "[%s]:%s" : "%s:%s",
             host, port);
    if (cgrpc_posix_init(&posix) || cgrpc_server_init(&server, &desc) ||
        cgrpc_posix_listen(&posix, &server, address)) {
        fprintf(stderr, "%s\n", cgrpc_posix_error(&posix));
        return 1;
    }
    printf("listening on %s\n", cgrpc_posix_address(&posix, 0));
    fflush(stdout);
    cgrpc_posix_catch_signals(&posix);
    while (cgrpc_posix_step(&posix, wake_sleepers()))
        ;
    cgrpc_posix_close(&posix);
    return 0;
}
