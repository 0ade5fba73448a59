/* cgrpc_memory.h - a client and a server joined by memory, for tests
 *
 * Lets a service be tested in one program, with no network, no threads and no
 * real time: every test takes microseconds and does the same each time.
 *
 *     CGRPC_MEMORY_DEFINE(memory, 1, 1024);
 *     CGRPC_SERVER_DEFINE(server, 1, 4, 256, 512, Greeter_SCRATCH);
 *     CGRPC_CHANNEL_DEFINE(channel, 256, 512);
 *
 *     cgrpc_memory_init(&memory, &server);
 *     server_desc.port = cgrpc_memory_port(&memory);
 *     channel_desc.port = cgrpc_memory_port(&memory);
 *     ... cgrpc_server_init(), cgrpc_channel_init(): the target is any text
 *     assert(Greeter_SayHello(&channel, &in, &out, NULL) == CGRPC_OK);
 *
 * A blocking call works with no thread: while the client waits, the port runs
 * the server, and the clock moves when nothing else can; to connect takes one
 * millisecond. The clock is the test's: read and write memory.now, or call
 * cgrpc_memory_advance().
 *
 * Faults: memory.to_server and memory.to_client say how the bytes of streams
 * that begin from now on are split, delayed and cut; memory.refuse makes
 * connecting fail. The same seed gives the same run.
 *
 * Raw bytes: cgrpc_memory_dial() gives a test the client's end of a stream to
 * the server. With no server (NULL), cgrpc_memory_accept() gives it the
 * server's end of a stream that a channel began. cgrpc_memory_pipe alone is a
 * cgrpc_io over two buffers.
 *
 * RAM: PIPES * (sizeof(cgrpc_memory_pipe) + 2 * BYTES) + sizeof(cgrpc_memory)
 */
#ifndef CGRPC_MEMORY_H
#define CGRPC_MEMORY_H

#if !defined(CGRPC_H) || \
    (defined(CGRPC_IMPLEMENTATION) && !defined(CGRPC_IMPLEMENTED))
#include "cgrpc.h"
#endif

/* Delayed pieces under way at a time, each direction of a stream. More than
 * so many travel together, with the last of them. */
#ifndef CGRPC_MEMORY_PIECES
#define CGRPC_MEMORY_PIECES 8
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* What happens to the bytes of one direction. All zero: nothing. */
typedef struct cgrpc_memory_faults {
    uint32_t split;     /* bytes that one peek shows or one send takes, at
                           most; 0: any number */
    uint32_t delay_ms;  /* each piece arrives so much later */
    uint32_t cut_after; /* the stream breaks once so many bytes went this
                           way, and they still arrive; 0: never */
    uint32_t seed;      /* not 0: `split` and `delay_ms` are the most of a
                           random number from 0 up */
} cgrpc_memory_faults;

/* One direction: a ring of bytes. */
typedef struct cgrpc_memory_lane {
    cgrpc_memory_faults faults; /* may be changed at any time */
    uint32_t total;             /* bytes that went in since it began */
    uint8_t *bytes;
    uint32_t capacity, start, len;
    uint32_t arrived; /* of len: those that the reader may see */
    uint32_t piece_count;
    uint32_t piece_len[CGRPC_MEMORY_PIECES];
    uint32_t piece_due[CGRPC_MEMORY_PIECES];
    uint32_t random;
    bool ended;   /* the writer has closed */
    bool blocked; /* the last send was not taken whole */
} cgrpc_memory_lane;

/* One side of a stream. */
typedef struct cgrpc_memory_end {
    struct cgrpc_memory_pipe *pipe;
    uint32_t shown; /* bytes that the last peek showed */
    uint8_t side;
    bool open;
} cgrpc_memory_end;

/* A stream: end 0 is the client's, end 1 the server's. Lane 0 leads to the
 * server, lane 1 to the client. */
typedef struct cgrpc_memory_pipe {
    cgrpc_memory_lane lanes[2];
    cgrpc_memory_end ends[2];
    const uint32_t *now; /* NULL: no delays */
    uint32_t moves;      /* grows whenever anything changed */
    bool broken;
    bool waiting; /* for cgrpc_memory_accept() */
} cgrpc_memory_pipe;

/* What CGRPC_MEMORY_DEFINE makes. */
typedef struct cgrpc_memory_store {
    cgrpc_memory_pipe *pipes;
    size_t pipe_count;
    uint8_t *bytes;
    size_t lane_bytes;
} cgrpc_memory_store;

typedef struct cgrpc_memory {
    const cgrpc_memory_store *memory;
    cgrpc_memory_pipe *pipes;
    size_t pipe_count;
    uint32_t now;                  /* the clock, in milliseconds */
    cgrpc_memory_faults to_server; /* for streams that begin from now on */
    cgrpc_memory_faults to_client;
    uint32_t refuse; /* so many of the next connects fail */

    cgrpc_server *server;
    cgrpc_port port;
    uint32_t seen_moves;
    uint32_t rounds; /* since the clock moved */
    bool running; /* the server is being polled */
} cgrpc_memory;

/* Declares, static: PIPES streams at a time, BYTES on the way in each of a
 * stream's directions. */
#define CGRPC_MEMORY_DEFINE(name, PIPES, BYTES)                             \
    static uint8_t name##_bytes[(PIPES) * 2 * (BYTES)];                     \
    static cgrpc_memory_pipe name##_pipes[PIPES];                           \
    static const cgrpc_memory_store name##_store = {                        \
        name##_pipes, PIPES, name##_bytes, BYTES };                         \
    static cgrpc_memory name = CGRPC_INIT(cgrpc_memory, &name##_store)

/* Forgets all streams, faults and time. `server` gets the streams that
 * channels begin; NULL leaves them to cgrpc_memory_accept(). */
void cgrpc_memory_init(cgrpc_memory *memory, cgrpc_server *server);

/* For the desc of the server and of each channel. */
cgrpc_port *cgrpc_memory_port(cgrpc_memory *memory);

/* Moves the clock, running the server each time that it is due. */
void cgrpc_memory_advance(cgrpc_memory *memory, uint32_t ms);

/* Breaks every stream now, as a reset would: what is still on its way is
 * lost, what has arrived can be read. */
void cgrpc_memory_cut(cgrpc_memory *memory);

/* Begins a stream to the server; the client's end is the caller's. NULL: no
 * pipe, or no connection of the server, is free. */
cgrpc_memory_end *cgrpc_memory_dial(cgrpc_memory *memory);

/* The server's end of a stream that a channel began, or NULL. Only without
 * a server. */
cgrpc_memory_end *cgrpc_memory_accept(cgrpc_memory *memory);

/* A stream with no clock, over `size` bytes: half for each direction. */
void cgrpc_memory_pipe_init(cgrpc_memory_pipe *pipe, uint8_t *bytes,
                            size_t size);

/* An end as a byte stream, for whoever wants a cgrpc_io. */
cgrpc_io cgrpc_memory_io(cgrpc_memory_end *end);

/* An end by hand. Not subject to `split`. write takes what there is room for
 * and read gives what has arrived: both return how many bytes. */
size_t cgrpc_memory_write(cgrpc_memory_end *end, const void *data, size_t len);
size_t cgrpc_memory_read(cgrpc_memory_end *end, void *out, size_t cap);
void cgrpc_memory_close(cgrpc_memory_end *end);
/* Nothing more will come: the other side closed and all was read, or the
 * stream broke. */
bool cgrpc_memory_ended(cgrpc_memory_end *end);

#ifdef __cplusplus
}
#endif
#endif /* CGRPC_MEMORY_H */

#if defined(CGRPC_IMPLEMENTATION) && !defined(CGRPC_MEMORY_IMPLEMENTED)
#define CGRPC_MEMORY_IMPLEMENTED

#include <string.h>

/* ---- lanes ------------------------------------------------------------ */

static uint32_t cg_memory_min(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* 0 to `most`; `most` itself without a seed. */
static uint32_t cg_memory_draw(cgrpc_memory_lane *lane, uint32_t most)
{
    if (!lane->faults.seed)
        return most;
    if (!lane->random)
        lane->random = lane->faults.seed;
    lane->random ^= lane->random << 13;
    lane->random ^= lane->random >> 17;
    lane->random ^= lane->random << 5;
    return most == UINT32_MAX ? lane->random : lane->random % (most + 1);
}

/* What one peek or send may move of `len` bytes. */
static uint32_t cg_memory_split(cgrpc_memory_lane *lane, uint32_t len)
{
    if (!lane->faults.split)
        return len;
    return cg_memory_min(len, cg_memory_draw(lane, lane->faults.split));
}

/* Lets the pieces arrive that are due. */
static void cg_memory_deliver(cgrpc_memory_lane *lane, const uint32_t *now)
{
    uint32_t done = 0;
    while (done < lane->piece_count &&
           (!now || (int32_t)(*now - lane->piece_due[done]) >= 0))
        lane->arrived += lane->piece_len[done++];
    lane->piece_count -= done;
    memmove(lane->piece_len, lane->piece_len + done,
            lane->piece_count * sizeof(uint32_t));
    memmove(lane->piece_due, lane->piece_due + done,
            lane->piece_count * sizeof(uint32_t));
}

/* `len` bytes have just gone in. Pieces never overtake each other. */
static void cg_memory_depart(cgrpc_memory_lane *lane, uint32_t len,
                             const uint32_t *now)
{
    uint32_t count = lane->piece_count;
    uint32_t due;
    if (!now || (!lane->faults.delay_ms && !count)) {
        lane->arrived += len;
        return;
    }
    due = *now + cg_memory_draw(lane, lane->faults.delay_ms);
    if (count && (int32_t)(due - lane->piece_due[count - 1]) < 0)
        due = lane->piece_due[count - 1];
    if (count == CGRPC_MEMORY_PIECES)
        count--;
    else
        lane->piece_len[count] = 0;
    lane->piece_len[count] += len;
    lane->piece_due[count] = due;
    lane->piece_count = count + 1;
}

static uint32_t cg_memory_put(cgrpc_memory_lane *lane, const uint8_t *data,
                              uint32_t len)
{
    uint32_t at = (lane->start + lane->len) % lane->capacity;
    uint32_t first;
    len = cg_memory_min(len, lane->capacity - lane->len);
    if (lane->faults.cut_after)
        len = cg_memory_min(len, lane->faults.cut_after > lane->total
                                     ? lane->faults.cut_after - lane->total
                                     : 0);
    first = cg_memory_min(len, lane->capacity - at);
    memcpy(lane->bytes + at, data, first);
    memcpy(lane->bytes, data + first, len - first);
    lane->len += len;
    lane->total += len;
    return len;
}

static void cg_memory_drop(cgrpc_memory_lane *lane, uint32_t len)
{
    lane->start = (lane->start + len) % lane->capacity;
    lane->len -= len;
    lane->arrived -= len;
}

/* ---- ends ------------------------------------------------------------- */

static cgrpc_memory_lane *cg_memory_in(cgrpc_memory_end *end)
{
    cgrpc_memory_lane *lane = &end->pipe->lanes[1 - end->side];
    cg_memory_deliver(lane, end->pipe->now);
    return lane;
}

static uint32_t cg_memory_enter(cgrpc_memory_end *end, const uint8_t *data,
                                uint32_t len)
{
    cgrpc_memory_pipe *pipe = end->pipe;
    cgrpc_memory_lane *lane = &pipe->lanes[end->side];
    uint32_t taken = cg_memory_put(lane, data, len);
    if (taken) {
        cg_memory_depart(lane, taken, pipe->now);
        pipe->moves++;
    }
    if (lane->faults.cut_after && lane->total >= lane->faults.cut_after) {
        pipe->broken = true;
        pipe->moves++;
    }
    return taken;
}

static int cg_memory_peek(void *context, const uint8_t **data)
{
    cgrpc_memory_end *end = (cgrpc_memory_end *)context;
    cgrpc_memory_lane *lane = cg_memory_in(end);
    if (lane->arrived) {
        *data = lane->bytes + lane->start;
        end->shown = cg_memory_split(
            lane, cg_memory_min(lane->arrived, lane->capacity - lane->start));
        return (int)end->shown;
    }
    end->shown = 0;
    if (lane->len)
        return 0;
    if (end->pipe->broken)
        return CGRPC_E_IO;
    return lane->ended ? CGRPC_E_CLOSED : 0;
}

static void cg_memory_take(void *context, size_t len)
{
    cgrpc_memory_end *end = (cgrpc_memory_end *)context;
    uint32_t taken = len < end->shown ? (uint32_t)len : end->shown;
    end->shown -= taken;
    cg_memory_drop(&end->pipe->lanes[1 - end->side], taken);
    end->pipe->moves += taken > 0;
}

static int cg_memory_send(void *context, const uint8_t *data, size_t len)
{
    cgrpc_memory_end *end = (cgrpc_memory_end *)context;
    cgrpc_memory_lane *lane = &end->pipe->lanes[end->side];
    uint32_t want = len < 0x7fffffff ? (uint32_t)len : 0x7fffffff;
    uint32_t taken;
    if (end->pipe->broken || !end->pipe->ends[1 - end->side].open)
        return CGRPC_E_IO;
    taken = cg_memory_enter(end, data, cg_memory_split(lane, want));
    lane->blocked = taken < want;
    return (int)taken;
}

static void cg_memory_close(void *context)
{
    cgrpc_memory_end *end = (cgrpc_memory_end *)context;
    if (!end->open)
        return;
    end->open = false;
    end->pipe->lanes[end->side].ended = true;
    end->pipe->lanes[end->side].blocked = false;
    end->pipe->waiting = false;
    end->pipe->moves++;
}

cgrpc_io cgrpc_memory_io(cgrpc_memory_end *end)
{
    static const cgrpc_io_ops ops = { cg_memory_peek, cg_memory_take,
                                      cg_memory_send, cg_memory_close };
    cgrpc_io io;
    io.ops = &ops;
    io.context = end;
    return io;
}

size_t cgrpc_memory_write(cgrpc_memory_end *end, const void *data, size_t len)
{
    uint32_t want = len < UINT32_MAX ? (uint32_t)len : UINT32_MAX;
    if (!end->open || end->pipe->broken ||
        !end->pipe->ends[1 - end->side].open)
        return 0;
    return cg_memory_enter(end, (const uint8_t *)data, want);
}

size_t cgrpc_memory_read(cgrpc_memory_end *end, void *out, size_t cap)
{
    cgrpc_memory_lane *lane = cg_memory_in(end);
    uint8_t *to = (uint8_t *)out;
    uint32_t len = cap < lane->arrived ? (uint32_t)cap : lane->arrived;
    uint32_t first = cg_memory_min(len, lane->capacity - lane->start);
    if (!len)
        return 0;
    memcpy(to, lane->bytes + lane->start, first);
    memcpy(to + first, lane->bytes, len - first);
    cg_memory_drop(lane, len);
    end->pipe->moves++;
    return len;
}

void cgrpc_memory_close(cgrpc_memory_end *end)
{
    cg_memory_close(end);
}

bool cgrpc_memory_ended(cgrpc_memory_end *end)
{
    cgrpc_memory_lane *lane = cg_memory_in(end);
    return !lane->len && (lane->ended || end->pipe->broken);
}

void cgrpc_memory_pipe_init(cgrpc_memory_pipe *pipe, uint8_t *bytes,
                            size_t size)
{
    uint8_t side;
    uint32_t half = (uint32_t)(size / 2);
    memset(pipe, 0, sizeof(*pipe));
    for (side = 0; side < 2; side++) {
        pipe->lanes[side].bytes = bytes + side * half;
        pipe->lanes[side].capacity = half;
        pipe->ends[side].pipe = pipe;
        pipe->ends[side].side = side;
        pipe->ends[side].open = true;
    }
}

/* ---- the port --------------------------------------------------------- */

/* A fresh stream in a pipe that both sides have closed, or NULL. */
static cgrpc_memory_pipe *cg_memory_begin(cgrpc_memory *memory)
{
    const cgrpc_memory_store *store = memory->memory;
    cgrpc_memory_pipe *pipe = store->pipes;
    cgrpc_memory_pipe *end = pipe + store->pipe_count;
    uint32_t moves;
    while (pipe < end && (pipe->ends[0].open || pipe->ends[1].open))
        pipe++;
    if (pipe == end)
        return NULL;
    moves = pipe->moves;
    cgrpc_memory_pipe_init(pipe, store->bytes + (size_t)(pipe - store->pipes) *
                                                   2 * store->lane_bytes,
                           2 * store->lane_bytes);
    pipe->lanes[0].faults = memory->to_server;
    pipe->lanes[1].faults = memory->to_client;
    pipe->now = &memory->now;
    pipe->moves = moves + 1;
    return pipe;
}

static cgrpc_result cg_memory_offer(cgrpc_memory *memory,
                                    cgrpc_memory_pipe *pipe)
{
#if CGRPC_SERVER
    cgrpc_io io = cgrpc_memory_io(&pipe->ends[1]);
    if (memory->server)
        return cgrpc_server_accept(memory->server, &io, "memory");
#endif
    (void)memory;
    pipe->waiting = true;
    return CGRPC_SUCCESS;
}

static cgrpc_result cg_memory_join(cgrpc_memory *memory,
                                   cgrpc_memory_end **end)
{
    cgrpc_memory_pipe *pipe = cg_memory_begin(memory);
    cgrpc_result result;
    if (!pipe)
        return CGRPC_E_BUSY;
    result = cg_memory_offer(memory, pipe);
    if (result != CGRPC_SUCCESS) {
        cg_memory_close(&pipe->ends[0]);
        cg_memory_close(&pipe->ends[1]);
        return result;
    }
    *end = &pipe->ends[0];
    return CGRPC_SUCCESS;
}

static cgrpc_result cg_memory_connect(void *context, const char *target,
                                      cgrpc_io *io)
{
    cgrpc_memory *memory = (cgrpc_memory *)context;
    cgrpc_memory_end *end = NULL;
    cgrpc_result result;
    (void)target;
    memory->now++; /* nothing can be tried for ever in no time */
    if (memory->refuse) {
        memory->refuse--;
        return CGRPC_E_IO;
    }
    result = cg_memory_join(memory, &end);
    if (result == CGRPC_SUCCESS)
        *io = cgrpc_memory_io(end);
    return result;
}

static uint32_t cg_memory_now(void *context)
{
    return ((cgrpc_memory *)context)->now;
}

/* Returns the milliseconds until the server must run again. */
static uint32_t cg_memory_serve(cgrpc_memory *memory)
{
    uint32_t due = UINT32_MAX;
#if CGRPC_SERVER
    if (memory->server && !memory->running) {
        memory->running = true;
        due = cgrpc_server_poll(memory->server);
        memory->running = false;
    }
#else
    (void)memory;
#endif
    return due;
}

/* How long nothing happens by itself: 1 when a side has something to do that
 * chance kept from it. */
static uint32_t cg_memory_pause(const cgrpc_memory *memory, uint32_t due)
{
    const cgrpc_memory_lane *lane;
    size_t i;
    for (i = 0; i < 2 * memory->pipe_count; i++) {
        lane = &memory->pipes[i / 2].lanes[i % 2];
        if (!memory->pipes[i / 2].ends[1 - i % 2].open)
            continue;
        if (lane->arrived || (lane->blocked && lane->len < lane->capacity))
            due = 1;
        else if (lane->piece_count)
            due = cg_memory_min(due, lane->piece_due[0] - memory->now);
    }
    return due ? due : 1;
}

static uint32_t cg_memory_moves(const cgrpc_memory *memory)
{
    uint32_t moves = 0;
    size_t i;
    for (i = 0; i < memory->pipe_count; i++)
        moves += memory->pipes[i].moves;
    return moves;
}

/* The clock moves only after a whole round in which nothing else did, or a
 * thousand in which something always did: time goes on. */
static void cg_memory_wait(void *context, uint32_t ms)
{
    cgrpc_memory *memory = (cgrpc_memory *)context;
    uint32_t due = cg_memory_serve(memory);
    uint32_t moves = cg_memory_moves(memory);
    if (moves == memory->seen_moves)
        ms = cg_memory_min(ms, cg_memory_pause(memory, due));
    else
        ms = 0;
    if (ms == 0 && ++memory->rounds >= 1000)
        ms = 1;
    if (ms)
        memory->rounds = 0;
    memory->now += ms;
    memory->seen_moves = moves;
}

void cgrpc_memory_init(cgrpc_memory *memory, cgrpc_server *server)
{
    static const cgrpc_memory_faults none = { 0, 0, 0, 0 };
    size_t i;
    memory->pipes = memory->memory->pipes;
    memory->pipe_count = memory->memory->pipe_count;
    for (i = 0; i < memory->pipe_count; i++)
        memset(&memory->pipes[i], 0, sizeof(memory->pipes[i]));
    memory->now = 0;
    memory->to_server = none;
    memory->to_client = none;
    memory->refuse = 0;
    memory->server = server;
    memset(&memory->port, 0, sizeof(memory->port));
    memory->port.now = cg_memory_now;
    memory->port.wait = cg_memory_wait;
    memory->port.connect = cg_memory_connect;
    memory->port.context = memory;
    memory->seen_moves = 0;
    memory->rounds = 0;
    memory->running = false;
}

cgrpc_port *cgrpc_memory_port(cgrpc_memory *memory)
{
    return &memory->port;
}

void cgrpc_memory_advance(cgrpc_memory *memory, uint32_t ms)
{
    uint32_t due = cg_memory_serve(memory);
    while (ms) {
        uint32_t step = cg_memory_min(ms, cg_memory_pause(memory, due));
        memory->now += step;
        ms -= step;
        due = cg_memory_serve(memory);
    }
}

void cgrpc_memory_cut(cgrpc_memory *memory)
{
    cgrpc_memory_lane *lane;
    size_t i;
    for (i = 0; i < 2 * memory->pipe_count; i++) {
        lane = &memory->pipes[i / 2].lanes[i % 2];
        cg_memory_deliver(lane, &memory->now);
        lane->piece_count = 0;
        lane->len = lane->arrived;
        memory->pipes[i / 2].broken = true;
        memory->pipes[i / 2].moves++;
    }
}

cgrpc_memory_end *cgrpc_memory_dial(cgrpc_memory *memory)
{
    cgrpc_memory_end *end = NULL;
    return cg_memory_join(memory, &end) == CGRPC_SUCCESS ? end : NULL;
}

cgrpc_memory_end *cgrpc_memory_accept(cgrpc_memory *memory)
{
    size_t i;
    for (i = 0; i < memory->pipe_count; i++)
        if (memory->pipes[i].waiting) {
            memory->pipes[i].waiting = false;
            return &memory->pipes[i].ends[1];
        }
    return NULL;
}

#endif /* CGRPC_IMPLEMENTATION */
