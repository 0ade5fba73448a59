/* Calls generated code with a cgrpc that only notes what it was told.
 * C99 and C++11; run by run.py. */

#include <stdio.h>
#include <string.h>

#include "all_kinds.cgrpc.h"
#include "callbacks.cgrpc.h"

static int failures;

static void check(bool ok, const char *name)
{
    printf("%s %s\n", ok ? "ok  " : "FAIL", name);
    failures += !ok;
}

/* --- what the library was told --- */

static struct {
    const char *verb;
    const cgrpc_channel *channel;
    const cgrpc_call *call;
    const cgrpc_method *method;
    const void *request;
    const void *response;
    cgrpc_done done;
    const cgrpc_options *options;
} told;

cgrpc_status cgrpc_unary(cgrpc_channel *channel, const cgrpc_method *method,
                         const void *request, void *response,
                         const cgrpc_options *options)
{
    memset(&told, 0, sizeof told);
    told.verb = "unary";
    told.channel = channel;
    told.method = method;
    told.request = request;
    told.response = response;
    told.options = options;
    return CGRPC_DATA_LOSS;
}

cgrpc_result cgrpc_start(cgrpc_channel *channel, cgrpc_call *call,
                         const cgrpc_method *method, const void *request,
                         void *response, cgrpc_done done,
                         const cgrpc_options *options)
{
    cgrpc_unary(channel, method, request, response, options);
    told.verb = "start";
    told.call = call;
    told.done = done;
    return CGRPC_E_BUSY;
}

bool cgrpc_send(cgrpc_call *call, const void *message)
{
    memset(&told, 0, sizeof told);
    told.verb = "send";
    told.call = call;
    told.request = message;
    return true;
}

cgrpc_recv_result cgrpc_recv(cgrpc_call *call, void *message)
{
    memset(&told, 0, sizeof told);
    told.verb = "recv";
    told.call = call;
    told.response = message;
    return CGRPC_GOT;
}

/* --- handlers --- */

static const char *ran;

static cgrpc_status unary(cgrpc_call *call, const kinds_v1_Ask *in,
                          kinds_v1_Answer *out)
{
    (void)call;
    ran = "unary";
    out->number = in->number + 1;
    return CGRPC_OK;
}

static cgrpc_status server_stream(cgrpc_call *call, const kinds_v1_Ask *in)
{
    (void)call;
    ran = in->number == 7 ? "server_stream" : "?";
    return CGRPC_PENDING;
}

static cgrpc_status client_stream(cgrpc_call *call, const kinds_v1_Ask *in,
                                  kinds_v1_Answer *out)
{
    (void)call;
    ran = in ? "client_stream" : "client_stream, ended";
    out->number = 5;
    return in ? CGRPC_NEXT : CGRPC_OK;
}

static cgrpc_status bidi(cgrpc_call *call, const kinds_v1_Ask *in)
{
    (void)call;
    ran = in ? "bidi" : "bidi, woken";
    return CGRPC_NEXT;
}

static void arm_direct(cgrpc_call *call, hooks_Chunk *in)
{
    (void)call;
    ran = "arm";
    in->number = 3;
}

static cgrpc_channel *const channel = (cgrpc_channel *)&told;
static cgrpc_call *const call = (cgrpc_call *)&told;
static const cgrpc_options options = { 0, NULL, 0, false, NULL };
static kinds_v1_Ask ask;
static kinds_v1_Answer answer;

static void done(cgrpc_call *ended, cgrpc_status status)
{
    (void)ended;
    (void)status;
}

static bool path_is(const char *path)
{
    return told.method && strcmp(told.method->path, path) == 0;
}

static bool verb_is(const char *verb)
{
    return told.verb && strcmp(told.verb, verb) == 0;
}

static void test_table(void)
{
    const cgrpc_service *s = &kinds_v1_AllKinds_service;
    const cgrpc_method *m = s->methods;
    check(s->version == CGRPC_GENERATED_VERSION, "service__has_the_version");
    check(strcmp(s->name, "kinds.v1.AllKinds") == 0, "service__has_its_name");
    check(s->method_count == 4, "service__counts_its_methods");
    check(!s->arm, "arm__is_null_where_nothing_is_to_be_armed");
    check(m[0].kind == CGRPC_UNARY && m[1].kind == CGRPC_SERVER_STREAM &&
          m[2].kind == CGRPC_CLIENT_STREAM && m[3].kind == CGRPC_BIDI,
          "table__has_the_kinds");
    check(m[1].in == &kinds_v1_Ask_msg && m[1].out == &kinds_v1_Answer_msg,
          "table__has_the_descriptors");
    check(m[1].in_size == sizeof(kinds_v1_Ask) &&
          m[1].out_size == sizeof(kinds_v1_Answer), "table__has_the_sizes");
    check(strcmp(m[kinds_v1_AllKinds_Bidi_index].path,
                 "/kinds.v1.AllKinds/Bidi") == 0, "table__is_in_index_order");
}

static cgrpc_status run(const kinds_v1_AllKinds_handlers *handlers,
                        size_t method, bool with_in)
{
    ran = "nothing";
    ask.number = 7;
    memset(&answer, 0, sizeof answer);
    return kinds_v1_AllKinds_service.run(handlers, method, call,
                                         with_in ? &ask : NULL, &answer);
}

static void test_run(void)
{
    kinds_v1_AllKinds_handlers none, all;
    size_t i;
    bool unimplemented = true;
    memset(&none, 0, sizeof none);
    memset(&all, 0, sizeof all);
    all.Unary = unary;
    all.ServerStream = server_stream;
    all.ClientStream = client_stream;
    all.Bidi = bidi;
    for (i = 0; i < 6; i++)
        unimplemented = unimplemented &&
                        run(&none, i, true) == CGRPC_UNIMPLEMENTED;
    check(unimplemented, "run__without_a_handler_is_unimplemented");
    check(run(&all, 4, true) == CGRPC_UNIMPLEMENTED,
          "run__of_a_method_that_is_not_there_is_unimplemented");
    check(run(&all, 0, true) == CGRPC_OK && answer.number == 8,
          "run__passes_request_and_reply");
    check(run(&all, 1, true) == CGRPC_PENDING &&
          strcmp(ran, "server_stream") == 0, "run__reaches_a_server_stream");
    check(run(&all, 2, true) == CGRPC_NEXT &&
          strcmp(ran, "client_stream") == 0, "run__reaches_a_client_stream");
    check(run(&all, 2, false) == CGRPC_OK && answer.number == 5,
          "run__passes_null_at_a_client_streams_end");
    check(run(&all, 3, false) == CGRPC_NEXT &&
          strcmp(ran, "bidi, woken") == 0, "run__passes_null_to_bidi");
}

static void test_arm(void)
{
    hooks_Upload_handlers handlers;
    hooks_Chunk chunk;
    memset(&handlers, 0, sizeof handlers);
    memset(&chunk, 0, sizeof chunk);
    hooks_Upload_service.arm(&handlers, hooks_Upload_Direct_index, call,
                             &chunk);
    check(chunk.number == 0, "arm__without_a_hook_does_nothing");
    handlers.Direct_arm = arm_direct;
    hooks_Upload_service.arm(&handlers, hooks_Upload_Direct_index, call,
                             &chunk);
    check(chunk.number == 3, "arm__reaches_its_hook");
    chunk.number = 0;
    hooks_Upload_service.arm(&handlers, hooks_Upload_None_index, call, &chunk);
    check(chunk.number == 0, "arm__of_a_plain_method_does_nothing");
    check(!hooks_NoHooks_service.arm, "arm__is_null_for_plain_services");
}

static void test_serving(void)
{
    static const kinds_v1_AllKinds_handlers handlers = {
        unary, server_stream, client_stream, bidi
    };
    static const cgrpc_serving services[] = {
        kinds_v1_AllKinds_SERVING(&handlers)
    };
    check(services[0].service == &kinds_v1_AllKinds_service &&
          services[0].handlers == &handlers,
          "serving__is_a_constant_initializer");
}

static void test_sizes(void)
{
    static uint8_t rx[kinds_v1_AllKinds_RX_BYTES];
    static uint8_t scratch[kinds_v1_AllKinds_SCRATCH];
    const cgrpc_method *m = kinds_v1_AllKinds_methods;
    size_t i, needed = 0;
    for (i = 0; i < 4; i++) {
        size_t words = CGRPC_WORDS(m[i].in_size);
        if (!(m[i].kind & CGRPC_SERVER_STREAM))
            words += CGRPC_WORDS(m[i].out_size);
        needed = CGRPC_MAX(needed, words * sizeof(cgrpc_word));
    }
    check(sizeof scratch == needed, "scratch__is_what_a_server_lays_out");
    check(sizeof rx == CGRPC_MAX(kinds_v1_Ask_size, kinds_v1_Answer_size),
          "rx_bytes__holds_a_request_or_a_reply");
    check(kinds_v1_AllKinds_MAX_REQUEST == kinds_v1_Ask_size,
          "max_request__is_the_largest_request");
    check(kinds_v1_AllKinds_MAX_REPLY == kinds_v1_Answer_size,
          "max_reply__is_the_largest_reply");
}

static void test_client_unary(void)
{
    cgrpc_status status = kinds_v1_AllKinds_Unary(channel, &ask, &answer,
                                                  &options);
    check(status == CGRPC_DATA_LOSS && verb_is("unary") &&
          path_is("/kinds.v1.AllKinds/Unary") && told.channel == channel &&
          told.request == &ask && told.response == &answer &&
          told.options == &options, "unary__passes_all_on");
    check(kinds_v1_AllKinds_Unary_start(channel, call, &ask, &answer, done,
                                        &options) == CGRPC_E_BUSY &&
          verb_is("start") && path_is("/kinds.v1.AllKinds/Unary") &&
          told.call == call && told.request == &ask &&
          told.response == &answer && told.done == done &&
          told.options == &options, "unary_start__passes_all_on");
}

static void test_client_streams(void)
{
    check(kinds_v1_AllKinds_ServerStream_start(channel, call, &ask,
                                               &options) == CGRPC_E_BUSY &&
          path_is("/kinds.v1.AllKinds/ServerStream") &&
          told.request == &ask && !told.response && !told.done &&
          told.options == &options, "server_stream_start__passes_all_on");
    check(kinds_v1_AllKinds_ClientStream_start(channel, call, &options) ==
              CGRPC_E_BUSY &&
          path_is("/kinds.v1.AllKinds/ClientStream") && !told.request &&
          !told.response && told.options == &options,
          "client_stream_start__passes_all_on");
    check(kinds_v1_AllKinds_Bidi_start(channel, call, NULL) == CGRPC_E_BUSY &&
          path_is("/kinds.v1.AllKinds/Bidi") && !told.request,
          "bidi_start__passes_all_on");
    check(kinds_v1_AllKinds_ClientStream_send(call, &ask) && verb_is("send") &&
          told.call == call && told.request == &ask,
          "client_stream_send__passes_all_on");
    check(kinds_v1_AllKinds_Bidi_recv(call, &answer) == CGRPC_GOT &&
          verb_is("recv") && told.call == call && told.response == &answer,
          "bidi_recv__passes_all_on");
}

static void test_reply(void)
{
    check(kinds_v1_AllKinds_ServerStream_reply(call, &answer) &&
          verb_is("send") && told.call == call && told.request == &answer,
          "reply__passes_all_on");
}

int main(void)
{
    test_table();
    test_run();
    test_arm();
    test_serving();
    test_sizes();
    test_client_unary();
    test_client_streams();
    test_reply();
    return failures != 0;
}
