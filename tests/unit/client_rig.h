/* A channel on a desk: raw methods, a server made of bytes, a clock that
 * stands still. Included once by a test program, after cgrpc_memory.h, wire.h
 * and test.h.
 *
 * What the client writes is in the transcript; SAYS() compares with it and
 * clears it. `dials` counts the connections that were begun. */
#ifndef CLIENT_RIG_H
#define CLIENT_RIG_H

enum { UNARY, COLLECT, LIST, CHAT };

static const cgrpc_method rig_methods[] = {
    { "/t.T/Unary", NULL, NULL, sizeof(cgrpc_bytes), sizeof(cgrpc_bytes),
      CGRPC_UNARY },
    { "/t.T/Collect", NULL, NULL, sizeof(cgrpc_bytes), sizeof(cgrpc_bytes),
      CGRPC_CLIENT_STREAM },
    { "/t.T/List", NULL, NULL, sizeof(cgrpc_bytes), sizeof(cgrpc_bytes),
      CGRPC_SERVER_STREAM },
    { "/t.T/Chat", NULL, NULL, sizeof(cgrpc_bytes), sizeof(cgrpc_bytes),
      CGRPC_BIDI }
};
static const char *const rig_keys[] = { "x-a", "x-b", "x-c-bin" };

/* ---- the platform ---- */

static uint32_t now_ms;
static cgrpc_memory_pipe rig_pipe; /* the client has end 0 */
static uint8_t rig_bytes[1 << 19];
static size_t rig_lane; /* bytes that are on the way to the server at most */
static wire_reader reader;
static bool deaf;                  /* the server reads nothing */
static int dials, refuse;          /* connects: so far; that will fail */
static void (*on_wait)(uint32_t ms);
static cgrpc_channel *channel;

static uint32_t rig_now(void *context)
{
    (void)context;
    return now_ms;
}

static void listen_to_client(void)
{
    uint8_t some[4096];
    size_t len;
    while (!deaf && (len = cgrpc_memory_read(&rig_pipe.ends[1], some,
                                             sizeof(some))))
        wire_read(&reader, some, len);
}

static cgrpc_result rig_connect(void *context, const char *target,
                                cgrpc_io *io)
{
    (void)context;
    (void)target;
    dials++;
    if (refuse) {
        refuse--;
        return CGRPC_E_IO;
    }
    cgrpc_memory_pipe_init(&rig_pipe, rig_bytes,
                           sizeof(rig_bytes));
    if (rig_lane) rig_pipe.lanes[0].capacity = (uint32_t)rig_lane;
    wire_reader_init(&reader, true);
    *io = cgrpc_memory_io(&rig_pipe.ends[0]);
    return CGRPC_SUCCESS;
}

/* A blocking call waits: the test's turn. Time moves when there is none. */
static void rig_wait(void *context, uint32_t ms)
{
    (void)context;
    listen_to_client();
    if (on_wait) on_wait(ms);
    else now_ms += ms < 1000 ? ms : 1000;
}

static cgrpc_port rig_port = { rig_now, rig_wait, rig_connect, NULL, false };

/* ---- running ---- */

static wire_bytes session; /* what would have been sent, while recording */
static bool recording;
static size_t pieces;      /* send so many bytes at a time; 0: all */

/* Runs the channel until it has nothing more to do by itself. */
static void run(void)
{
    int quiet = 0, spins = 0;
    while (quiet < 3 && spins < 100) {
        uint32_t moves = rig_pipe.moves, due = cgrpc_channel_poll(channel);
        listen_to_client();
        spins = due == 0 && moves == rig_pipe.moves ? spins + 1 : 0;
        quiet = due != 0 && moves == rig_pipe.moves ? quiet + 1 : 0;
    }
    CHECK(spins < 100); /* it says "at once", but there is nothing to do */
}

static void wait_ms(uint32_t ms)
{
    now_ms += ms;
    run();
}

/* Puts bytes on their way without running the channel. */
static void post(const void *bytes, size_t len)
{
    CHECK(cgrpc_memory_write(&rig_pipe.ends[1], bytes, len) == len);
}

static bool posting; /* frames go out without the channel's running */

static void put(const void *bytes, size_t len)
{
    size_t at = 0, part = len;
    if (recording) {
        wire_put(&session, bytes, len);
        return;
    }
    while (at < len) {
        if (pieces) part = pieces < len - at ? pieces : len - at;
        post((const uint8_t *)bytes + at, part);
        at += part;
        if (!posting) run();
    }
    if (!posting) run();
}

/* The server's end closes. */
static void hang_up(void)
{
    cgrpc_memory_close(&rig_pipe.ends[1]);
    run();
}

/* Calls for the tests: one to three of them by name, more by number. */
enum { RIG_CALLS = 16, RIG_RX = 256 };
static cgrpc_call rig_calls[RIG_CALLS];
static uint8_t rig_memory[RIG_CALLS][CGRPC_CALL_BYTES(RIG_RX)];
#define one rig_calls[0]
#define two rig_calls[1]
#define three rig_calls[2]

static void start_desk(cgrpc_channel *which)
{
    size_t i;
    cgrpc_channel_desc desc;
    memset(&desc, 0, sizeof(desc));
    desc.port = &rig_port;
    desc.target = "desk";
    desc.keys = rig_keys;
    desc.key_count = 3;
    channel = which;
    now_ms = 1000;
    rig_lane = 0;
    pieces = 0;
    recording = posting = false;
    deaf = false;
    dials = refuse = 0;
    on_wait = NULL;
    rig_port.in_handler = false;
    memset(&rig_pipe, 0, sizeof(rig_pipe));
    cgrpc_memory_pipe_init(&rig_pipe, rig_bytes, 2);
    for (i = 0; i < RIG_CALLS; i++)
        cgrpc_call_init(&rig_calls[i], rig_memory[i], sizeof(rig_memory[i]));
    CHECK(cgrpc_channel_init(channel, &desc) == CGRPC_SUCCESS);
}

/* ---- words of a server ---- */

static void frame(int type, int flags, uint32_t id, const void *payload,
                  size_t len)
{
    static wire_bytes out;
    out.len = 0;
    wire_frame(&out, type, flags, id, payload, len);
    put(out.data, out.len);
}

static void settings(int count, ...)
{
    uint8_t payload[256];
    va_list values;
    int i;
    va_start(values, count);
    for (i = 0; i < count; i++) {
        wire_number(payload + 6 * i, 2, (uint32_t)va_arg(values, int));
        wire_number(payload + 6 * i + 2, 4, va_arg(values, unsigned));
    }
    va_end(values);
    frame(SETTINGS, 0, 0, payload, 6 * (size_t)count);
}

static void greet(void)
{
    settings(0);
    frame(SETTINGS, ACK, 0, NULL, 0);
}

static void credit(uint32_t id, uint32_t bytes)
{
    uint8_t payload[4];
    wire_number(payload, 4, bytes);
    frame(WINDOW_UPDATE, 0, id, payload, 4);
}

static void reset(uint32_t id, uint32_t code)
{
    uint8_t payload[4];
    wire_number(payload, 4, code);
    frame(RST_STREAM, 0, id, payload, 4);
}

static void ping(const char *eight)
{
    frame(PING, 0, 0, eight, 8);
}

static void goaway(uint32_t last, uint32_t code)
{
    uint8_t payload[8];
    wire_number(payload, 4, last);
    wire_number(payload + 4, 4, code);
    frame(GOAWAY, 0, 0, payload, 8);
}

static void headers(uint32_t id, int flags, const char *fields)
{
    uint8_t block[16384];
    frame(HEADERS, flags | END_HEADERS, id, block, wire_block(block, fields));
}

#define ANSWER ":status: 200\ncontent-type: application/grpc\n"

static void answer(uint32_t id)
{
    headers(id, 0, ANSWER);
}

static void data(uint32_t id, int flags, const void *bytes, size_t len)
{
    frame(DATA, flags, id, bytes, len);
}

static void message(uint32_t id, int flags, const char *text, size_t len)
{
    static uint8_t payload[1 << 17];
    payload[0] = 0;
    wire_number(payload + 1, 4, (uint32_t)len);
    memcpy(payload + 5, text, len);
    data(id, flags, payload, len + 5);
}

static void say(uint32_t id, int flags, const char *text)
{
    message(id, flags, text, strlen(text));
}

static void trailers(uint32_t id, int status)
{
    char fields[64];
    snprintf(fields, sizeof(fields), "grpc-status: %d\n", status);
    headers(id, END_STREAM, fields);
}

/* A whole unary answer. */
static void reply(uint32_t id, const char *text)
{
    answer(id);
    say(id, 0, text);
    trailers(id, 0);
}

/* ---- calls ---- */

static int dones;           /* how often a done hook has run */
static cgrpc_status done_status;
static char done_text[256]; /* the raw answer of the last unary call */
static cgrpc_bytes rig_response;

static void done(cgrpc_call *call, cgrpc_status status)
{
    size_t len = rig_response.len < 255 ? rig_response.len : 255;
    (void)call;
    dones++;
    done_status = status;
    memcpy(done_text, rig_response.data ? rig_response.data
                                        : (const uint8_t *)"", len);
    done_text[len] = 0;
}

static cgrpc_bytes text_bytes(const char *text)
{
    cgrpc_bytes bytes;
    bytes.data = (const uint8_t *)text;
    bytes.len = strlen(text);
    return bytes;
}

static cgrpc_bytes rig_request = { (const uint8_t *)"hi", 2 };

static void begin(cgrpc_call *call, int method, const cgrpc_options *options)
{
    bool one_in = method == UNARY || method == LIST;
    bool one_out = method == UNARY || method == COLLECT;
    rig_response.data = NULL;
    rig_response.len = 0;
    CHECK(cgrpc_start(channel, call, &rig_methods[method],
                      one_in ? &rig_request : NULL,
                      one_out ? &rig_response : NULL, done, options) ==
          CGRPC_SUCCESS);
}

/* A desk with a server that has greeted; the transcript is empty. */
static void start(cgrpc_channel *which)
{
    start_desk(which);
    begin(&one, UNARY, NULL);
    run();
    cgrpc_call_cancel(&one); /* the connection stays */
    greet();
    wire_forget(&reader);
    dones = 0;
}

/* ---- what the client said ---- */

static bool rig_says(const char *expected)
{
    bool same = strcmp(reader.text, expected) == 0;
    if (!same && test_failures < 4)
        printf("  expected:\n%s  but it said:\n%s", expected, reader.text);
    if (reader.failed) printf("  (and that makes no sense)\n");
    wire_forget(&reader);
    return same && !reader.failed;
}

#define SAYS(text) CHECK(rig_says(text))

static bool rig_said(const char *start)
{
    bool found = wire_line(&reader, start) != NULL;
    if (!found) printf("  no line \"%s...\" in:\n%s", start, reader.text);
    return found && !reader.failed;
}

#define SAID(line_start) CHECK(rig_said(line_start))
#define DID_NOT_SAY(line_start) \
    CHECK(wire_line(&reader, line_start) == NULL)
#define QUIET() SAYS("")

/* The call ended with that status, and its hook ran once. */
static bool rig_ended(cgrpc_status status)
{
    bool good = dones == 1 && done_status == status;
    if (!good)
        printf("  hooks run: %d, status %d\n", dones, (int)done_status);
    dones = 0;
    return good;
}

#define ENDED(status) CHECK(rig_ended(status))

#endif
