/* The client that connectrpc/conformance tests. Its runner, connectconformance,
 * writes a ClientCompatRequest to its input for each call that it shall make,
 * several at a time, and reads what came of each from its output; see
 * connect.py.
 *
 * Calls to one server share a connection. Requests are sent and responses
 * handed back byte for byte, so messages are raw here.
 */
#define CGRPC_METADATA_ALL 1
#define CGRPC_METADATA_BYTES 8192
#define CGRPC_IMPLEMENTATION
#include "cgrpc_posix.h"
#include "connectrpc/conformance/v1/client_compat.pb.h"
#include "connectrpc/conformance/v1/service.cgrpc.h"
#include "conformance.h"

/* The runner lets four servers run at a time, and asks for messages of up to
 * 1 MiB. */
enum { CALLS = 16, RX_BYTES = 1024 * 1024, TX_BYTES = 2 * 1024 };

CGRPC_POSIX_DEFINE(posix, 16);
CGRPC_CHANNEL_DEFINE(channel_0, RX_BYTES, TX_BYTES);
CGRPC_CHANNEL_DEFINE(channel_1, RX_BYTES, TX_BYTES);
CGRPC_CHANNEL_DEFINE(channel_2, RX_BYTES, TX_BYTES);
CGRPC_CHANNEL_DEFINE(channel_3, RX_BYTES, TX_BYTES);
CGRPC_CHANNEL_DEFINE(channel_4, RX_BYTES, TX_BYTES);
CGRPC_CHANNEL_DEFINE(channel_5, RX_BYTES, TX_BYTES);

/* ---- servers ---- */

typedef struct server {
    cgrpc_channel *channel;
    char target[160]; /* "": nobody was there yet */
    unsigned calls;   /* that run */
} server;

static server servers[] = {
    { &channel_0, "", 0 }, { &channel_1, "", 0 }, { &channel_2, "", 0 },
    { &channel_3, "", 0 }, { &channel_4, "", 0 }, { &channel_5, "", 0 }
};
enum { SERVERS = sizeof(servers) / sizeof(servers[0]) };

static void server_begin(server *one, const char *target)
{
    cgrpc_channel_desc desc = { .port = cgrpc_posix_port(&posix),
                                .target = one->target };
    if (one->target[0])
        cgrpc_channel_close(one->channel);
    strcpy(one->target, target);
    if (cgrpc_channel_init(one->channel, &desc) != CGRPC_SUCCESS)
        die("a channel cannot be initialised");
}

/* Where `target` is connected to, or will be: in the place of a server that
 * nobody calls at present. */
static server *server_at(const char *host, unsigned port)
{
    char target[sizeof(servers[0].target)];
    server *one, *spare = NULL;
    snprintf(target, sizeof(target), "%s:%u", host, port);
    for (one = servers; one < servers + SERVERS; one++) {
        if (strcmp(one->target, target) == 0)
            return one;
        if (!one->calls && (!spare || spare->target[0]))
            spare = one;
    }
    if (!spare)
        die("more than %d servers at a time", SERVERS);
    server_begin(spare, target);
    return spare;
}

/* ---- calls ---- */

enum { MOST_METADATA = 64, MOST_REQUESTS = 32, MOST_RESPONSES = 64 };

typedef struct rpc {
    bool busy;
    bool send_ended, cancelled, timed;
    bool awaiting;          /* full duplex: a response, before more is sent */
    bool malformed;         /* a response was */
    uint32_t send_at;       /* the next message; if `timed` */
    uint32_t send_ended_at;
    server *server;
    const cgrpc_method *method;
    ClientCompatRequest request;
    cgrpc_metadata metadata[MOST_METADATA];
    size_t metadata_count;
    cgrpc_bytes requests[MOST_REQUESTS];
    size_t request_count, request_next;
    room texts;             /* both lie here */
    cgrpc_bytes payloads[MOST_RESPONSES];
    size_t payload_count;
    room payload_room;      /* they lie here */
    cgrpc_call call;
    uint8_t memory[CGRPC_CALL_BYTES(RX_BYTES)];
    uint8_t text_bytes[RX_BYTES], payload_bytes[RX_BYTES];
} rpc;

static rpc rpcs[CALLS];

static uint32_t now(void)
{
    cgrpc_port *port = cgrpc_posix_port(&posix);
    return port->now(port->context);
}

/* Until `at`; 0: it is past. */
static uint32_t until(uint32_t at)
{
    uint32_t left = at - now();
    return (int32_t)left > 0 ? left : 0;
}

/* ---- reading what shall be done ---- */

static bool decode_metadata(pb_istream_t *stream, const pb_field_t *field,
                            void **arg)
{
    static Header header;
    rpc *one = (rpc *)*arg;
    size_t i;
    (void)field;
    if (!pb_decode(stream, Header_fields, &header))
        return false;
    for (i = 0; i < header.value_count; i++) {
        if (one->metadata_count == MOST_METADATA)
            die("more than %d headers", MOST_METADATA);
        one->metadata[one->metadata_count++] =
            metadata_from(&header, i, &one->texts);
    }
    return true;
}

static bool decode_value(pb_istream_t *stream, const pb_field_t *field,
                         void **arg)
{
    rpc *one = (rpc *)*arg;
    (void)field;
    one->requests[one->request_count - 1] = room_read(&one->texts, stream);
    return true;
}

/* The bytes of the message that an Any holds. */
static bool decode_request(pb_istream_t *stream, const pb_field_t *field,
                           void **arg)
{
    static Any any;
    rpc *one = (rpc *)*arg;
    cgrpc_bytes none = { one->text_bytes, 0 };
    (void)field;
    if (one->request_count == MOST_REQUESTS)
        die("more than %d requests", MOST_REQUESTS);
    one->requests[one->request_count++] = none;
    any.value.funcs.decode = decode_value;
    any.value.arg = one;
    return pb_decode(stream, Any_fields, &any);
}

static void decode(rpc *one, const uint8_t *bytes, size_t len)
{
    pb_istream_t stream = pb_istream_from_buffer(bytes, len);
    memset(one, 0, offsetof(rpc, call));
    one->texts.bytes = one->text_bytes;
    one->texts.cap = sizeof(one->text_bytes);
    one->payload_room.bytes = one->payload_bytes;
    one->payload_room.cap = sizeof(one->payload_bytes);
    one->request.request_headers.funcs.decode = decode_metadata;
    one->request.request_headers.arg = one;
    one->request.request_messages.funcs.decode = decode_request;
    one->request.request_messages.arg = one;
    if (!pb_decode(&stream, ClientCompatRequest_fields, &one->request))
        die("ClientCompatRequest: %s", PB_GET_ERROR(&stream));
}

static const cgrpc_method *find_method(const ClientCompatRequest *request)
{
    const cgrpc_method *method =
        connectrpc_conformance_v1_ConformanceService_methods;
    const cgrpc_method *end =
        method + sizeof(connectrpc_conformance_v1_ConformanceService_methods) /
                     sizeof(*method);
    char path[256];
    snprintf(path, sizeof(path), "/%s/%s", request->service, request->method);
    while (method < end && strcmp(method->path, path) != 0)
        method++;
    return method < end ? method : NULL;
}

/* ---- writing what came of it ---- */

static uint8_t answer_bytes[4 * RX_BYTES];

static bool encode_payloads(pb_ostream_t *stream, const pb_field_t *field,
                            void *const *arg)
{
    const rpc *one = (const rpc *)*arg;
    size_t i;
    for (i = 0; i < one->payload_count; i++)
        if (!pb_encode_tag_for_field(stream, field) ||
            !pb_encode_string(stream, one->payloads[i].data,
                              one->payloads[i].len))
            return false;
    return true;
}

/* The details of google.rpc.Status, with the status that the call ended with:
 * the runner compares the two. */
static void describe_error(Error *error, const rpc *one, room *details)
{
    static Error status;
    cgrpc_bytes bytes = cgrpc_call_details(&one->call);
    pb_istream_t stream = pb_istream_from_buffer(bytes.data, bytes.len);
    details->len = 0;
    status.details.funcs.decode = decode_details;
    status.details.arg = details;
    if (bytes.len && !pb_decode(&stream, Error_fields, &status))
        die("%s: grpc-status-details-bin: %s", one->request.test_name,
            PB_GET_ERROR(&stream));
    error->code = one->malformed ? Code_CODE_INTERNAL
                                 : (Code)cgrpc_call_status(&one->call);
    error->has_message = true;
    snprintf(error->message, sizeof(error->message), "%s",
             cgrpc_call_message(&one->call));
    error->details.funcs.encode = encode_details;
    error->details.arg = details;
}

static void report(rpc *one)
{
    static ClientCompatResponse out;
    static uint8_t detail_bytes[16 * 1024];
    room details = { detail_bytes, 0, sizeof(detail_bytes) };
    metadata_of headers = { &one->call, CGRPC_INITIAL };
    metadata_of trailers = { &one->call, CGRPC_TRAILING };
    ClientResponseResult *result = &out.response;
    memset(&out, 0, sizeof(out));
    strcpy(out.test_name, one->request.test_name);
    out.has_response = true;
    result->response_headers.funcs.encode = encode_headers;
    result->response_headers.arg = &headers;
    result->response_trailers.funcs.encode = encode_headers;
    result->response_trailers.arg = &trailers;
    result->payloads.funcs.encode = encode_payloads;
    result->payloads.arg = one;
    result->num_unsent_requests =
        (int32_t)(one->request_count - one->request_next);
    result->has_error = one->malformed ||
                        cgrpc_call_status(&one->call) != CGRPC_OK;
    if (result->has_error)
        describe_error(&result->error, one, &details);
    write_frame(ClientCompatResponse_fields, &out, answer_bytes,
                sizeof(answer_bytes));
    one->server->calls--;
    one->busy = false;
}

/* The call could not even be tried. */
static void refuse(rpc *one, const char *why)
{
    static ClientCompatResponse out;
    memset(&out, 0, sizeof(out));
    strcpy(out.test_name, one->request.test_name);
    out.has_error = true;
    snprintf(out.error.message, sizeof(out.error.message), "%s", why);
    write_frame(ClientCompatResponse_fields, &out, answer_bytes,
                sizeof(answer_bytes));
}

/* ---- a call's course ---- */

static void start(rpc *one)
{
    cgrpc_options options = { .timeout_ms = one->request.timeout_ms,
                              .metadata = one->metadata,
                              .metadata_count = one->metadata_count };
    bool streams = (one->method->kind & CGRPC_CLIENT_STREAM) != 0;
    cgrpc_result result;
    one->server = server_at(one->request.host, one->request.port);
    cgrpc_call_init(&one->call, one->memory, sizeof(one->memory));
    result = cgrpc_start(one->server->channel, &one->call, one->method,
                         streams ? NULL : &one->requests[0], NULL, NULL,
                         &options);
    if (result != CGRPC_SUCCESS) {
        refuse(one, cgrpc_result_text(result));
        return;
    }
    one->request_next = streams ? 0 : 1;
    one->server->calls++;
    one->busy = true;
}

static void obey(rpc *one, const uint8_t *bytes, size_t len)
{
    decode(one, bytes, len);
    one->method = find_method(&one->request);
    if (one->request.protocol != Protocol_PROTOCOL_GRPC ||
        one->request.http_version != HTTPVersion_HTTP_VERSION_2)
        refuse(one, "cgrpc speaks gRPC over plain HTTP/2 only");
    else if (!one->method)
        refuse(one, "no such method");
    else if (!(one->method->kind & CGRPC_CLIENT_STREAM) &&
             one->request_count != 1)
        refuse(one, "this method takes one request");
    else
        start(one);
}

static void cancel(rpc *one)
{
    if (one->cancelled)
        return;
    one->cancelled = true;
    cgrpc_call_cancel(&one->call);
}

static bool cancels(const rpc *one, pb_size_t when)
{
    return one->request.has_cancel &&
           one->request.cancel.which_cancel_timing == when;
}

/* An empty Cancel is one as soon as all is sent. */
static bool cancels_after_sending(const rpc *one)
{
    return cancels(one, 0) ||
           cancels(one, ClientCompatRequest_Cancel_after_close_send_ms_tag);
}

/* Sends the next message, if it is time. Returns whether it went. */
static bool send_next(rpc *one, uint32_t *due)
{
    uint32_t left;
    if (!one->timed)
        one->send_at = now() + one->request.request_delay_ms;
    one->timed = true;
    left = until(one->send_at);
    if (left) {
        *due = left < *due ? left : *due;
        return false;
    }
    if (!cgrpc_send(&one->call, &one->requests[one->request_next]))
        return false;
    one->timed = false;
    one->request_next++;
    one->awaiting = one->request.stream_type ==
                    StreamType_STREAM_TYPE_FULL_DUPLEX_BIDI_STREAM;
    return true;
}

/* All messages are on their way: says so, or cancels instead. */
static bool end_sending(rpc *one)
{
    bool streams = (one->method->kind & CGRPC_CLIENT_STREAM) != 0;
    if (!streams && cgrpc_channel_get_state(one->server->channel) !=
                        CGRPC_CHANNEL_READY)
        return false; /* the one request waits for a connection */
    if (cancels(one, ClientCompatRequest_Cancel_before_close_send_tag))
        cancel(one);
    else if (streams)
        cgrpc_send_end(&one->call);
    one->send_ended = true;
    one->send_ended_at = now();
    return true;
}

static bool send_some(rpc *one, uint32_t *due)
{
    if (one->send_ended || one->awaiting || cgrpc_call_ended(&one->call))
        return false;
    return one->request_next < one->request_count ? send_next(one, due)
                                                  : end_sending(one);
}

static bool decode_payload(pb_istream_t *stream, const pb_field_t *field,
                           void **arg)
{
    rpc *one = (rpc *)*arg;
    (void)field;
    one->payloads[one->payload_count - 1] = room_read(&one->payload_room,
                                                      stream);
    return true;
}

/* All four kinds of response look the same. */
static void take_response(rpc *one, const cgrpc_bytes *message)
{
    UnaryResponse response = UnaryResponse_init_zero;
    pb_istream_t stream = pb_istream_from_buffer(message->data, message->len);
    cgrpc_bytes none = { one->payload_bytes, 0 };
    if (one->payload_count == MOST_RESPONSES)
        die("more than %d responses", MOST_RESPONSES);
    one->payloads[one->payload_count++] = none;
    response.payload.funcs.decode = decode_payload;
    response.payload.arg = one;
    if (!pb_decode(&stream, UnaryResponse_fields, &response)) {
        one->malformed = true;
        one->payload_count--;
        cancel(one);
    }
    one->awaiting = false;
    if (cancels(one, ClientCompatRequest_Cancel_after_num_responses_tag) &&
        one->payload_count ==
            one->request.cancel.cancel_timing.after_num_responses)
        cancel(one);
}

/* Does what can be done now. Returns whether anything was. */
static bool step(rpc *one, uint32_t *due)
{
    cgrpc_bytes message;
    bool moved = send_some(one, due);
    if (one->send_ended && cancels_after_sending(one) && !one->cancelled) {
        uint32_t left = until(
            one->send_ended_at +
            (cancels(one, 0)
                 ? 0 : one->request.cancel.cancel_timing.after_close_send_ms));
        if (left == 0)
            cancel(one);
        else if (left < *due)
            *due = left;
    }
    switch (cgrpc_recv(&one->call, &message)) {
    case CGRPC_GOT:
        take_response(one, &message);
        return true;
    case CGRPC_END:
        report(one);
        return true;
    default:
        return moved;
    }
}

/* ---- the program ---- */

static bool input_ended;

static bool input_waits(void)
{
    struct pollfd input = { STDIN_FILENO, POLLIN, 0 };
    return !input_ended && poll(&input, 1, 0) > 0;
}

/* The next request of the runner, if all of it is there: its length. */
static size_t read_some(uint8_t *bytes, size_t cap)
{
    static size_t have;
    size_t want = have < 4 ? 4 : 4 + frame_length(bytes);
    ssize_t got;
    if (want > cap)
        die("a ClientCompatRequest of %lu bytes", (unsigned long)want);
    if (have < want) {
        got = read(STDIN_FILENO, bytes + have, want - have);
        if (got < 0 || (got == 0 && have))
            die("the runner breaks off");
        input_ended = got == 0;
        have += (size_t)got;
    }
    if (have < 4 || have < 4 + frame_length(bytes))
        return 0;
    want = have;
    have = 0;
    return want;
}

static rpc *idle(void)
{
    rpc *one;
    for (one = rpcs; one < rpcs + CALLS; one++)
        if (!one->busy)
            return one;
    return NULL;
}

static void accept_requests(void)
{
    static uint8_t bytes[RX_BYTES];
    while (idle() && input_waits()) {
        size_t len = read_some(bytes, sizeof(bytes));
        if (len)
            obey(idle(), bytes + 4, len - 4);
    }
}

static bool any_busy(void)
{
    rpc *one;
    for (one = rpcs; one < rpcs + CALLS; one++)
        if (one->busy)
            return true;
    return false;
}

/* Until nothing can be done: the milliseconds that this may last. */
static uint32_t run(void)
{
    for (;;) {
        uint32_t due = UINT32_MAX;
        bool moved = false;
        size_t i;
        for (i = 0; i < SERVERS; i++)
            if (servers[i].target[0]) {
                uint32_t next = cgrpc_channel_poll(servers[i].channel);
                due = next < due ? next : due;
            }
        for (i = 0; i < CALLS; i++)
            if (rpcs[i].busy && step(&rpcs[i], &due))
                moved = true;
        if (!moved)
            return due;
    }
}

int main(void)
{
    size_t i;
    if (cgrpc_posix_init(&posix) != CGRPC_SUCCESS)
        die("%s", cgrpc_posix_error(&posix));
    for (;;) {
        uint32_t due;
        accept_requests();
        due = run();
        if (input_ended && !any_busy())
            break;
        /* the port cannot wait for our input too: look at it often */
        cgrpc_posix_step(&posix, input_ended || due < 2 ? due : 2);
    }
    for (i = 0; i < SERVERS; i++)
        if (servers[i].target[0])
            cgrpc_channel_close(servers[i].channel);
    return 0;
}
