/* The server that connectrpc/conformance tests. Its runner, connectconformance,
 * starts it, writes one ServerCompatRequest to its input and reads from its
 * output where it listens; see connect.py.
 *
 * A request says what its answer shall be: metadata, data, an error, delays.
 * The answer carries back what was received, byte for byte, so messages are
 * raw here and nanopb looks into them.
 */
#define CGRPC_METADATA_ALL 1
#define CGRPC_METADATA_BYTES 8192
#define CGRPC_IMPLEMENTATION
#include "cgrpc_posix.h"
#include "connectrpc/conformance/v1/server_compat.pb.h"
#include "connectrpc/conformance/v1/service.cgrpc.h"
#include "conformance.h"

/* The runner's grpc-go client opens a connection a case and closes none. */
enum { CONNS = 256, CALLS = 64 };
/* Two requests of 200 KiB come back in one message, in parts through a small
 * buffer. That is more than the runner lets us receive, so the limit on requests
 * is looked at here. */
enum { RX_BYTES = 512 * 1024, TX_BYTES = 2 * 1024 };
static uint32_t receive_limit;

CGRPC_POSIX_DEFINE(posix, CONNS);
CGRPC_SERVER_DEFINE(server, CONNS, CALLS, RX_BYTES, TX_BYTES,
                    connectrpc_conformance_v1_ConformanceService_SCRATCH);

/* ---- a call, and the answer that it asks for ---- */

enum { MOST_REQUESTS = 32, MOST_DATA = 32 };

typedef struct rpc {
    cgrpc_call *call;       /* NULL: this one is free */
    char type[160];         /* of its requests, as an Any names it */
    bool has_timeout;
    uint32_t timeout_ms;
    bool begun;             /* the first request is here: it says */
    bool defined, full_duplex, has_error;
    uint32_t delay_ms;
    Error error;
    room details;
    cgrpc_bytes data[MOST_DATA];
    size_t data_count, data_next;
    room texts;             /* data and metadata lie here */
    /* where the answer is */
    bool timed, resting;    /* the delay before the next response runs */
    uint32_t wake_at;
    bool holding;           /* the message at hand is in `requests` */
    /* what the next message gives back */
    cgrpc_bytes requests[MOST_REQUESTS];
    size_t request_count;
    room bytes;             /* they lie here */
    uint8_t details_bytes[16 * 1024], texts_bytes[64 * 1024];
    uint8_t request_bytes[RX_BYTES];
} rpc;

static rpc rpcs[CALLS];

static void release(cgrpc_call *call, cgrpc_status status)
{
    rpc *one = (rpc *)cgrpc_call_user(call);
    (void)status;
    one->call = NULL;
}

static void rpc_begin(rpc *one, cgrpc_call *call)
{
    memset(one, 0, offsetof(rpc, details_bytes));
    one->call = call;
    snprintf(one->type, sizeof(one->type), TYPE_PREFIX "%sRequest",
             strrchr(cgrpc_call_method(call)->path, '/') + 1);
    one->timeout_ms = cgrpc_call_time_left(call);
    one->has_timeout = one->timeout_ms != UINT32_MAX;
    one->details.bytes = one->details_bytes;
    one->details.cap = sizeof(one->details_bytes);
    one->texts.bytes = one->texts_bytes;
    one->texts.cap = sizeof(one->texts_bytes);
    one->bytes.bytes = one->request_bytes;
    one->bytes.cap = sizeof(one->request_bytes);
}

/* There are as many as calls, so one is free. */
static rpc *rpc_of(cgrpc_call *call)
{
    rpc *one = (rpc *)cgrpc_call_user(call);
    if (one)
        return one;
    for (one = rpcs; one->call; one++)
        continue;
    rpc_begin(one, call);
    cgrpc_call_set_user(call, one);
    cgrpc_call_on_end(call, release);
    return one;
}

/* ---- reading a request ---- */

/* Metadata to send is handed on as it is decoded. */
static void add_metadata(rpc *one, int which, const Header *header)
{
    size_t i;
    for (i = 0; i < header->value_count; i++) {
        cgrpc_metadata item = metadata_from(header, i, &one->texts);
        cgrpc_result result = cgrpc_metadata_add(one->call, which, item.key,
                                                 item.value, item.len);
        if (result != CGRPC_SUCCESS)
            die("metadata %s: %s", item.key, cgrpc_result_text(result));
    }
}

static bool decode_metadata(pb_istream_t *stream, int which, rpc *one)
{
    static Header header;
    if (!pb_decode(stream, Header_fields, &header))
        return false;
    add_metadata(one, which, &header);
    return true;
}

static bool decode_headers(pb_istream_t *stream, const pb_field_t *field,
                           void **arg)
{
    (void)field;
    return decode_metadata(stream, CGRPC_INITIAL, (rpc *)*arg);
}

static bool decode_trailers(pb_istream_t *stream, const pb_field_t *field,
                            void **arg)
{
    (void)field;
    return decode_metadata(stream, CGRPC_TRAILING, (rpc *)*arg);
}

static bool decode_data(pb_istream_t *stream, const pb_field_t *field,
                        void **arg)
{
    rpc *one = (rpc *)*arg;
    (void)field;
    if (one->data_count == MOST_DATA)
        die("more than %d response_data", MOST_DATA);
    one->data[one->data_count++] = room_read(&one->texts, stream);
    return true;
}

static pb_callback_t decoder(bool (*function)(pb_istream_t *,
                                              const pb_field_t *, void **),
                             void *arg)
{
    pb_callback_t out;
    out.funcs.decode = function;
    out.arg = arg;
    return out;
}

/* UnaryRequest and ClientStreamRequest look the same. */
static bool define_one(rpc *one, pb_istream_t *stream)
{
    static UnaryRequest in;
    UnaryResponseDefinition *wanted = &in.response_definition;
    wanted->response_headers = decoder(decode_headers, one);
    wanted->response_trailers = decoder(decode_trailers, one);
    wanted->response_data = decoder(decode_data, one);
    wanted->error.details = decoder(decode_details, &one->details);
    if (!pb_decode(stream, UnaryRequest_fields, &in))
        return false;
    one->defined = in.has_response_definition;
    one->delay_ms = wanted->response_delay_ms;
    one->has_error = wanted->has_error;
    one->error = wanted->error;
    return true;
}

static bool define_stream(rpc *one, pb_istream_t *stream,
                          const pb_msgdesc_t *type, void *in,
                          StreamResponseDefinition *wanted)
{
    wanted->response_headers = decoder(decode_headers, one);
    wanted->response_trailers = decoder(decode_trailers, one);
    wanted->response_data = decoder(decode_data, one);
    wanted->error.details = decoder(decode_details, &one->details);
    if (!pb_decode(stream, type, in))
        return false;
    one->delay_ms = wanted->response_delay_ms;
    one->has_error = wanted->has_error;
    one->error = wanted->error;
    return true;
}

static bool define_server_stream(rpc *one, pb_istream_t *stream)
{
    static ServerStreamRequest in;
    bool good = define_stream(one, stream, ServerStreamRequest_fields, &in,
                              &in.response_definition);
    one->defined = in.has_response_definition;
    return good;
}

static bool define_bidi_stream(rpc *one, pb_istream_t *stream)
{
    static BidiStreamRequest in;
    bool good = define_stream(one, stream, BidiStreamRequest_fields, &in,
                              &in.response_definition);
    one->defined = in.has_response_definition;
    one->full_duplex = in.full_duplex;
    return good;
}

static bool define(rpc *one, pb_istream_t *stream)
{
    switch (cgrpc_call_method(one->call)->kind) {
    case CGRPC_SERVER_STREAM:
        return define_server_stream(one, stream);
    case CGRPC_BIDI:
        return define_bidi_stream(one, stream);
    default:
        return define_one(one, stream);
    }
}

/* Keeps a request, and obeys it if it is the first. CGRPC_OK, or how the call
 * fails. */
static cgrpc_status take(rpc *one, const cgrpc_bytes *in)
{
    bool first = !one->begun;
    pb_istream_t stream = pb_istream_from_buffer(in->data, in->len);
    cgrpc_bytes *kept = &one->requests[one->request_count];
    if (in->len > receive_limit)
        return cgrpc_fail(one->call, CGRPC_RESOURCE_EXHAUSTED,
                          "message over the receiver's limit");
    if (one->request_count == MOST_REQUESTS)
        die("more than %d requests", MOST_REQUESTS);
    kept->len = in->len;
    kept->data = memcpy(room_take(&one->bytes, in->len), in->data, in->len);
    one->request_count++;
    one->begun = true;
    if (first && !define(one, &stream))
        return cgrpc_fail(one->call, CGRPC_INTERNAL, PB_GET_ERROR(&stream));
    return CGRPC_OK;
}

/* ---- writing an answer ---- */

/* A field of bytes is encoded from a cgrpc_bytes. */
static bool encode_bytes(pb_ostream_t *stream, const pb_field_t *field,
                         void *const *arg)
{
    const cgrpc_bytes *bytes = (const cgrpc_bytes *)*arg;
    return bytes->len == 0 ||
           (pb_encode_tag_for_field(stream, field) &&
            pb_encode_string(stream, bytes->data, bytes->len));
}

static bool encode_request(pb_ostream_t *stream, const pb_field_t *field,
                           void *const *arg)
{
    static Any any;
    const rpc *one = (const rpc *)*arg;
    size_t i;
    snprintf(any.type_url, sizeof(any.type_url), "%s", one->type);
    any.value.funcs.encode = encode_bytes;
    for (i = 0; i < one->request_count; i++) {
        any.value.arg = (void *)&one->requests[i];
        if (!pb_encode_tag_for_field(stream, field) ||
            !pb_encode_submessage(stream, Any_fields, &any))
            return false;
    }
    return true;
}

/* What was received: all of it in the first answer, later the requests. */
static ConformancePayload_RequestInfo request_info(rpc *one)
{
    static metadata_of headers;
    ConformancePayload_RequestInfo info =
        ConformancePayload_RequestInfo_init_zero;
    info.requests.funcs.encode = encode_request;
    info.requests.arg = one;
    if (one->data_next)
        return info;
    headers.call = one->call;
    headers.which = CGRPC_INITIAL;
    info.request_headers.funcs.encode = encode_headers;
    info.request_headers.arg = &headers;
    info.has_timeout_ms = one->has_timeout;
    info.timeout_ms = one->timeout_ms;
    return info;
}

static bool encode_payload(pb_ostream_t *stream, const pb_field_t *field,
                           void *const *arg)
{
    return pb_encode_tag_for_field(stream, field) &&
           pb_encode_submessage(stream, ConformancePayload_fields, *arg);
}

/* The next response, encoded; all four kinds look the same. It may have to be
 * offered several times, and is the same each time. */
static cgrpc_bytes response(rpc *one)
{
    static uint8_t buffer[2 * RX_BYTES];
    pb_ostream_t stream = pb_ostream_from_buffer(buffer, sizeof(buffer));
    ConformancePayload payload = ConformancePayload_init_zero;
    UnaryResponse message = UnaryResponse_init_zero;
    cgrpc_bytes out;
    if (one->data_next < one->data_count) {
        payload.data.funcs.encode = encode_bytes;
        payload.data.arg = &one->data[one->data_next];
    }
    payload.request_info = request_info(one);
    payload.has_request_info = one->data_next == 0 || one->full_duplex;
    message.payload.funcs.encode = encode_payload;
    message.payload.arg = &payload;
    if (!pb_encode(&stream, UnaryResponse_fields, &message))
        die("a response: %s", PB_GET_ERROR(&stream));
    out.data = buffer;
    out.len = stream.bytes_written;
    return out;
}

static bool encode_info(pb_ostream_t *stream, const pb_field_t *field,
                        void *const *arg)
{
    return pb_encode_tag_for_field(stream, field) &&
           pb_encode_submessage(stream, ConformancePayload_RequestInfo_fields,
                                *arg);
}

/* One more detail: what was received. */
static void add_info(rpc *one)
{
    static Any any;
    ConformancePayload_RequestInfo info = request_info(one);
    room *details = &one->details;
    pb_ostream_t out = pb_ostream_from_buffer(details->bytes + details->len,
                                              details->cap - details->len);
    strcpy(any.type_url, TYPE_PREFIX "ConformancePayload.RequestInfo");
    any.value.funcs.encode = encode_info;
    any.value.arg = &info;
    if (!pb_encode_tag(&out, PB_WT_STRING, Error_details_tag) ||
        !pb_encode_submessage(&out, Any_fields, &any))
        die("the details of an error: %s", PB_GET_ERROR(&out));
    details->len += out.bytes_written;
}

/* The end that was asked for. */
static cgrpc_status finish(rpc *one)
{
    static uint8_t status[32 * 1024];
    pb_ostream_t stream = pb_ostream_from_buffer(status, sizeof(status));
    if (!one->has_error)
        return CGRPC_OK;
    if (one->data_next == 0)
        add_info(one);
    one->error.details.funcs.encode = encode_details;
    one->error.details.arg = &one->details;
    if (!pb_encode(&stream, Error_fields, &one->error))
        die("an error: %s", PB_GET_ERROR(&stream));
    if (cgrpc_fail_details(one->call, status, stream.bytes_written) !=
        CGRPC_SUCCESS)
        die("%lu bytes of details are over CGRPC_METADATA_BYTES",
            (unsigned long)stream.bytes_written);
    return cgrpc_fail(one->call, (cgrpc_status)one->error.code,
                      one->error.has_message ? one->error.message : NULL);
}

/* ---- handlers ---- */

/* Whether the delay before a response is over; main() wakes the call. */
static bool rested(rpc *one)
{
    uint32_t now = cgrpc_call_now(one->call);
    if (!one->timed)
        one->wake_at = now + one->delay_ms;
    one->timed = true;
    one->resting = (int32_t)(one->wake_at - now) > 0;
    return !one->resting;
}

/* The single response of a unary or client-streaming call. */
static cgrpc_status answer(rpc *one, cgrpc_bytes *out)
{
    if (!rested(one))
        return CGRPC_PENDING;
    if (!one->has_error)
        *out = response(one);
    return finish(one);
}

static cgrpc_status unary(cgrpc_call *call, const cgrpc_bytes *in,
                          cgrpc_bytes *out)
{
    rpc *one = rpc_of(call);
    cgrpc_status status = one->begun ? CGRPC_OK : take(one, in);
    return status == CGRPC_OK ? answer(one, out) : status;
}

static cgrpc_status client_stream(cgrpc_call *call, const cgrpc_bytes *in,
                                  cgrpc_bytes *out)
{
    rpc *one = rpc_of(call);
    cgrpc_status status;
    if (!in)
        return answer(one, out);
    status = take(one, in);
    return status == CGRPC_OK ? CGRPC_NEXT : status;
}

/* Sends the next response. false: it must rest, or finds no room. */
static bool respond(rpc *one)
{
    cgrpc_bytes message;
    if (!rested(one))
        return false;
    message = response(one);
    if (!cgrpc_send(one->call, &message))
        return false;
    one->timed = false;
    one->data_next++;
    one->request_count = 0;
    one->bytes.len = 0;
    return true;
}

/* All responses that are left, then the end. */
static cgrpc_status respond_all(rpc *one)
{
    if (one->defined && !cgrpc_send_initial(one->call))
        return CGRPC_PENDING;
    while (one->data_next < one->data_count)
        if (!respond(one))
            return CGRPC_PENDING;
    return finish(one);
}

static cgrpc_status server_stream(cgrpc_call *call, const cgrpc_bytes *in)
{
    rpc *one = rpc_of(call);
    cgrpc_status status = one->begun ? CGRPC_OK : take(one, in);
    return status == CGRPC_OK ? respond_all(one) : status;
}

/* In full duplex each message is answered by one response, and the call ends
 * when one comes for which none is left. */
static cgrpc_status converse(rpc *one)
{
    if (one->defined && !cgrpc_send_initial(one->call))
        return CGRPC_PENDING;
    if (!one->full_duplex)
        return CGRPC_NEXT;
    if (one->data_next == one->data_count)
        return finish(one);
    return respond(one) ? CGRPC_NEXT : CGRPC_PENDING;
}

static cgrpc_status bidi_stream(cgrpc_call *call, const cgrpc_bytes *in)
{
    rpc *one = rpc_of(call);
    cgrpc_status status;
    if (!in)
        return cgrpc_recv_ended(call) ? respond_all(one) : CGRPC_NEXT;
    status = one->holding ? CGRPC_OK : take(one, in);
    if (status == CGRPC_OK)
        status = converse(one);
    one->holding = status == CGRPC_PENDING;
    return status;
}

static const connectrpc_conformance_v1_ConformanceService_handlers handlers = {
    .Unary = unary,
    .ServerStream = server_stream,
    .ClientStream = client_stream,
    .BidiStream = bidi_stream
};
static const cgrpc_serving services[] = {
    connectrpc_conformance_v1_ConformanceService_SERVING(&handlers)
};

/* ---- the program ---- */

/* Wakes the calls that have rested. The milliseconds until the next has. */
static uint32_t wake(void)
{
    uint32_t next = UINT32_MAX;
    rpc *one;
    for (one = rpcs; one < rpcs + CALLS; one++) {
        uint32_t left;
        if (!one->call || !one->resting)
            continue;
        left = one->wake_at - cgrpc_call_now(one->call);
        if ((int32_t)left <= 0) {
            cgrpc_call_wake(one->call);
            left = 0;
        }
        next = left < next ? left : next;
    }
    return next;
}

static void read_exactly(uint8_t *bytes, size_t len)
{
    while (len) {
        ssize_t got = read(STDIN_FILENO, bytes, len);
        if (got <= 0)
            die("this is for connectconformance to run: see connect.py");
        bytes += got;
        len -= (size_t)got;
    }
}

static void read_request(ServerCompatRequest *request)
{
    static uint8_t bytes[1024 * 1024];
    uint8_t head[4];
    pb_istream_t stream;
    size_t len;
    read_exactly(head, sizeof(head));
    len = frame_length(head);
    if (len > sizeof(bytes))
        die("a ServerCompatRequest of %lu bytes", (unsigned long)len);
    read_exactly(bytes, len);
    stream = pb_istream_from_buffer(bytes, len);
    if (!pb_decode(&stream, ServerCompatRequest_fields, request))
        die("ServerCompatRequest: %s", PB_GET_ERROR(&stream));
    if (request->protocol != Protocol_PROTOCOL_GRPC ||
        request->http_version != HTTPVersion_HTTP_VERSION_2 ||
        request->use_tls)
        die("cgrpc serves gRPC over plain HTTP/2 only");
}

static void write_response(void)
{
    static uint8_t buffer[1024];
    ServerCompatResponse response = ServerCompatResponse_init_zero;
    const char *address = cgrpc_posix_address(&posix, 0);
    const char *colon = strrchr(address, ':');
    snprintf(response.host, sizeof(response.host), "%.*s",
             (int)(colon - address), address);
    response.port = (uint32_t)atoi(colon + 1);
    write_frame(ServerCompatResponse_fields, &response, buffer,
                sizeof(buffer));
}

int main(void)
{
    static ServerCompatRequest request;
    cgrpc_server_desc desc = { .port = cgrpc_posix_port(&posix),
                               .services = services,
                               .service_count = 1 };
    read_request(&request);
    receive_limit = request.message_receive_limit;
    if (cgrpc_posix_init(&posix) ||
        cgrpc_server_init(&server, &desc) ||
        cgrpc_posix_listen(&posix, &server, "127.0.0.1:0"))
        die("%s", cgrpc_posix_error(&posix));
    cgrpc_posix_catch_signals(&posix);
    write_response();
    while (cgrpc_posix_step(&posix, wake()))
        continue;
    return 0;
}
