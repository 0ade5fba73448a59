/* A server on a desk: raw methods whose handlers a test sets, a peer made of
 * bytes, a clock that stands still. Included once by a test program, after
 * cgrpc_memory.h, wire.h and test.h.
 *
 * One server may serve two peers (`peer` chooses). What the server writes is
 * in the transcript of the peer; SAYS() compares with it and clears it. */
#ifndef SERVER_RIG_H
#define SERVER_RIG_H

enum { UNARY, COLLECT, LIST, CHAT };

typedef cgrpc_status (*rig_handler)(cgrpc_call *call, const cgrpc_bytes *in,
                                    cgrpc_bytes *out);

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
enum { RIG_SCRATCH = 2 * sizeof(cgrpc_word) * CGRPC_WORDS(sizeof(cgrpc_bytes)) };

static rig_handler on_call[4];
static int runs[4]; /* how often each handler was run */

static cgrpc_status rig_run(const void *handlers, size_t method,
                            cgrpc_call *call, const void *in, void *out)
{
    const rig_handler *table = (const rig_handler *)handlers;
    runs[method]++;
    return table[method](call, (const cgrpc_bytes *)in, (cgrpc_bytes *)out);
}

static const cgrpc_service rig_service = { CGRPC_GENERATED_VERSION, "t.T",
                                           rig_methods, 4, rig_run, NULL };
static const cgrpc_serving rig_services[] = { { &rig_service, on_call } };
static const char *const rig_keys[] = { "x-a", "x-b", "x-c-bin",
                                        ":authority" };
static size_t rig_key_count = 3;

/* ---- the clock ---- */

static uint32_t now_ms;

static uint32_t rig_now(void *context)
{
    (void)context;
    return now_ms;
}

static cgrpc_port rig_port = { rig_now, NULL, NULL, NULL, false };

/* ---- the peers ---- */

typedef struct rig_peer {
    cgrpc_memory_pipe pipe;
    uint8_t bytes[1 << 19];
    wire_reader reader;
    wire_bytes unsent; /* what found no room on the way yet */
    size_t sent;       /* of it */
    bool deaf;         /* reads nothing */
} rig_peer;

static rig_peer peers[3];
static rig_peer *peer = &peers[0];
static cgrpc_server *server;
static wire_bytes session; /* what would have been sent, while recording */
static bool recording;
static size_t pieces;      /* send so many bytes at a time; 0: all */

static cgrpc_memory_end *mine(rig_peer *p)
{
    return &p->pipe.ends[0];
}

static void listen_to(rig_peer *p)
{
    uint8_t some[4096];
    size_t len;
    while (!p->deaf && (len = cgrpc_memory_read(mine(p), some, sizeof(some))))
        wire_read(&p->reader, some, len);
}

static void speak(rig_peer *p)
{
    size_t len = p->unsent.len - p->sent;
    if (len && pieces && pieces < len) len = pieces;
    if (len)
        p->sent += cgrpc_memory_write(mine(p), p->unsent.data + p->sent, len);
    if (p->sent == p->unsent.len) p->sent = p->unsent.len = 0;
}

/* Runs the server until it has nothing more to do by itself. */
static void run(void)
{
    int quiet = 0, spins = 0;
    while (quiet < 3 && spins < 100) {
        uint32_t moves = 0, after = 0;
        size_t i, due;
        for (i = 0; i < 3; i++) moves += peers[i].pipe.moves;
        for (i = 0; i < 3; i++) speak(&peers[i]);
        due = cgrpc_server_poll(server);
        for (i = 0; i < 3; i++) {
            listen_to(&peers[i]);
            after += peers[i].pipe.moves;
        }
        spins = due == 0 && moves == after ? spins + 1 : 0;
        quiet = due != 0 && moves == after ? quiet + 1 : 0;
    }
    CHECK(spins < 100); /* it says "at once", but there is nothing to do */
}

static void wait_ms(uint32_t ms)
{
    now_ms += ms;
    run();
}

static void put(const void *data, size_t len)
{
    if (recording) {
        wire_put(&session, data, len);
        return;
    }
    wire_put(&peer->unsent, data, len);
    run();
}

/* Begins a stream to the server that holds `lane` bytes of what it says (0:
 * plenty). */
static void dial(rig_peer *p, size_t lane)
{
    cgrpc_io io;
    memset(&p->pipe, 0, sizeof(p->pipe));
    cgrpc_memory_pipe_init(&p->pipe, p->bytes, sizeof(p->bytes));
    if (lane) p->pipe.lanes[1].capacity = (uint32_t)lane;
    wire_reader_init(&p->reader, false);
    p->deaf = false;
    p->sent = p->unsent.len = 0;
    io = cgrpc_memory_io(&p->pipe.ends[1]);
    CHECK(cgrpc_server_accept(server, &io, "desk") == CGRPC_SUCCESS);
}

/* ---- handlers that many tests use ---- */

static cgrpc_status echo(cgrpc_call *call, const cgrpc_bytes *in,
                         cgrpc_bytes *out)
{
    (void)call;
    *out = *in;
    return CGRPC_OK;
}

/* Adds up the lengths, and answers with the sum as a text. */
static cgrpc_status collect(cgrpc_call *call, const cgrpc_bytes *in,
                            cgrpc_bytes *out)
{
    size_t *sum = (size_t *)cgrpc_call_state(call);
    static char text[32];
    if (in) {
        *sum += in->len;
        return CGRPC_NEXT;
    }
    out->data = (const uint8_t *)text;
    out->len = (size_t)snprintf(text, sizeof(text), "%lu",
                                (unsigned long)*sum);
    return CGRPC_OK;
}

/* Sends each byte of the request as a message. */
static cgrpc_status list(cgrpc_call *call, const cgrpc_bytes *in,
                         cgrpc_bytes *out)
{
    size_t *at = (size_t *)cgrpc_call_state(call);
    (void)out;
    for (; *at < in->len; ++*at) {
        cgrpc_bytes one = { in->data + *at, 1 };
        if (!cgrpc_send(call, &one)) return CGRPC_PENDING;
    }
    return CGRPC_OK;
}

static cgrpc_status chat(cgrpc_call *call, const cgrpc_bytes *in,
                         cgrpc_bytes *out)
{
    (void)out;
    if (!in) return cgrpc_recv_ended(call) ? CGRPC_OK : CGRPC_NEXT;
    return cgrpc_send(call, in) ? CGRPC_NEXT : CGRPC_PENDING;
}

static void rig_desc(cgrpc_server_desc *desc)
{
    memset(desc, 0, sizeof(*desc));
    desc->port = &rig_port;
    desc->services = rig_services;
    desc->service_count = 1;
    desc->keys = rig_keys;
    desc->key_count = rig_key_count;
}

static void frame(int type, int flags, uint32_t id, const void *payload,
                  size_t len);
static void settings(int count, ...);

static void greet(void)
{
    put(PREFACE, sizeof(PREFACE) - 1);
    settings(0);
    frame(SETTINGS, ACK, 0, NULL, 0);
}

/* A server with one peer that has not said a word. */
static void start_silent(cgrpc_server *which, size_t lane)
{
    cgrpc_server_desc desc;
    size_t i;
    rig_desc(&desc);
    server = which;
    peer = &peers[0];
    pieces = 0;
    recording = false;
    now_ms = 1000;
    rig_port.in_handler = false;
    memset(runs, 0, sizeof(runs));
    for (i = 0; i < 3; i++) memset(&peers[i].pipe, 0, sizeof(peers[i].pipe));
    for (i = 0; i < 3; i++)
        cgrpc_memory_pipe_init(&peers[i].pipe, peers[i].bytes, 2);
    on_call[UNARY] = echo;
    on_call[COLLECT] = collect;
    on_call[LIST] = list;
    on_call[CHAT] = chat;
    CHECK(cgrpc_server_init(server, &desc) == CGRPC_SUCCESS);
    dial(peer, lane);
}

/* ... and one that has, and has acknowledged our settings. */
static void start(cgrpc_server *which)
{
    start_silent(which, 0);
    greet();
    wire_forget(&peer->reader);
}

/* ---- words of a peer ---- */

static void frame(int type, int flags, uint32_t id, const void *payload,
                  size_t len)
{
    static wire_bytes out;
    out.len = 0;
    wire_frame(&out, type, flags, id, payload, len);
    put(out.data, out.len);
}

/* settings(2, INITIAL_WINDOW_SIZE, 5u, MAX_FRAME_SIZE, 16384u) */
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

static void headers(uint32_t id, int flags, const char *fields)
{
    uint8_t block[16384];
    frame(HEADERS, flags | END_HEADERS, id, block, wire_block(block, fields));
}

/* HEADERS of a call; `more` are lines of further fields, or "". */
static void request(uint32_t id, const char *method, const char *more)
{
    char fields[8192];
    snprintf(fields, sizeof(fields),
             ":method: POST\n:scheme: http\n:path: /t.T/%s\n"
             ":authority: desk\nte: trailers\n"
             "content-type: application/grpc\n%s", method, more);
    headers(id, 0, fields);
}

static void data(uint32_t id, int flags, const void *bytes, size_t len)
{
    frame(DATA, flags, id, bytes, len);
}

/* A message in one DATA frame. */
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

/* ---- what the server said ---- */

static bool rig_says(const char *expected)
{
    bool same = strcmp(peer->reader.text, expected) == 0;
    if (!same && test_failures < 4)
        printf("  expected:\n%s  but it said:\n%s", expected,
               peer->reader.text);
    if (peer->reader.failed) printf("  (and that makes no sense)\n");
    wire_forget(&peer->reader);
    return same && !peer->reader.failed;
}

#define SAYS(text) CHECK(rig_says(text))

/* Some line begins so. Clears nothing. */
static bool rig_said(const char *start)
{
    bool found = wire_line(&peer->reader, start) != NULL;
    if (!found)
        printf("  no line \"%s...\" in:\n%s", start, peer->reader.text);
    return found && !peer->reader.failed;
}

#define SAID(line_start) CHECK(rig_said(line_start))
#define DID_NOT_SAY(line_start) \
    CHECK(wire_line(&peer->reader, line_start) == NULL)
#define QUIET() SAYS("")

#define REPLY_HEAD(id) "H" #id " :status=200 content-type=application/grpc\n"
#define REPLY_END(id) "H" #id ". grpc-status=0\n"

#endif
