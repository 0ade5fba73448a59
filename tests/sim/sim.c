/* sim.c - a server, a few clients and bad luck, from one number
 *
 *     sim                      a few hundred runs
 *     sim --seeds N            so many
 *     sim --seed S             only that one, with its trace
 *     sim --seeds N --seed S   N runs from S on
 *     sim --verbose            every run with its trace
 *
 * One seed is one run: sizes, splits, delays, stalls, cuts, the order in which
 * the sides are polled, what the calls carry and when they give up all come
 * from it, so a failure can be run again and again. What is held:
 *
 * - a call ends exactly once on each side that knows of it;
 * - messages arrive in order and unchanged, and all of them if it ended OK;
 * - no status and no connection error comes that nothing explains;
 * - a side that is polled only when it asked to be, or when bytes can move,
 *   never hangs; and none asks to be polled at once for nothing, for ever;
 * - once the bad luck ends everything comes to an end, in bounded time, with
 *   all credit back where it belongs and all slots free;
 * - nothing is written outside of the memory that was given.
 *
 * It ends with the line `N passed, N failed` and exits with 1 if one failed. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void sim_log(int level, const char *format, ...);
#define CGRPC_NANOPB 0
#define CGRPC_LOG(level, ...) sim_log(level, __VA_ARGS__)
#define CGRPC_IMPLEMENTATION
#include "cgrpc_memory.h"

/* ---- chance ------------------------------------------------------------- */

typedef struct chance {
    uint64_t state;
} chance;

static uint32_t draw(chance *from)
{
    uint64_t z = from->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ z >> 31) >> 16);
}

/* `least` to `most`, both included. */
static uint32_t between(chance *from, uint32_t least, uint32_t most)
{
    return least + draw(from) % (most - least + 1);
}

static bool percent(chance *from, uint32_t likely)
{
    return draw(from) % 100 < likely;
}

static uint32_t pick(chance *from, const uint32_t *some, size_t count)
{
    return some[draw(from) % count];
}
#define PICK(from, ...)                                                    \
    pick(from, (const uint32_t[]){ __VA_ARGS__ },                          \
         sizeof((const uint32_t[]){ __VA_ARGS__ }) / sizeof(uint32_t))

/* ---- the world ---------------------------------------------------------- */

enum {
    CHANNELS = 3,
    SLOTS = 8,       /* call objects of a channel */
    RECORDS = 64,    /* calls of a run */
    WAKES = 64,
    PIPES = 24,
    MOST = 8192,     /* bytes of a message */
    UNSERVED = 4,    /* a method that the server does not know */
    NEVER = -1       /* UINT32_MAX as a time */
};

/* One call from both points of view: what is to happen, and what did. */
typedef struct record {
    uint32_t uid;
    /* the plan */
    uint8_t method;
    uint8_t kind;
    uint32_t in_count, out_count;
    uint32_t in_most, out_most;  /* sizes */
    uint32_t ends_after; /* server: requests, then it ends the call */
    uint32_t pendings;   /* server: returns PENDING for no reason */
    uint32_t breaks_off; /* server: cancels at that step; 0: never */
    uint32_t lingers;    /* bidi: NEXT after the end, so many times */
    uint32_t gives_up;   /* client: cancels after so many ms; NEVER */
    uint32_t timeout;
    uint32_t pace;       /* client: percent of the chances that it takes */
    cgrpc_status answer; /* server: what it returns */
    bool text, echo, response, wait_ready, late_end, extra, own_initial;
    bool changes_in, changes_out; /* a message that changes under way */
    bool oversize;       /* some message is over its receiver's limit */
    /* the client */
    struct client *client;
    struct slot *slot;
    uint32_t started;    /* when */
    uint32_t sent, got;
    uint32_t offers;
    bool end_said, cancelled, changed;
    bool over;
    cgrpc_status status;
    cgrpc_bytes last;    /* the raw message that recv gave */
    uint32_t last_seq;
    /* the server */
    cgrpc_call *serving;
    uint32_t seen, replied, steps, reply_offers;
    bool ran, ended, returned, broke_off, offering, half;
    bool waits, waits_null; /* returned PENDING, for a message or NULL */
    cgrpc_status end_status;
} record;

typedef struct slot {
    cgrpc_call call;
    record *of;           /* NULL: free */
    size_t rx;
    cgrpc_bytes response;
    cgrpc_bytes request;
    uint8_t *request_bytes;
    bool blocking;
} slot;

typedef struct party { /* somebody who is polled */
    uint32_t due;      /* when; if `timed` */
    bool timed, kicked;
    uint32_t stalled_until;
    bool stalled;
    uint32_t idle_zeros; /* polls that asked for another and did nothing */
} party;

typedef struct client {
    party turn;
    cgrpc_channel *channel;
    cgrpc_channel_memory memory;
    slot slots[SLOTS];
    size_t slot_count;
    slot own;            /* stands for the channel's own call */
    char name[8];
} client;

typedef struct wake {
    uint32_t at;
    cgrpc_call *call;
} wake;

typedef struct luck { /* what may go wrong in this run */
    bool cuts, refuses, jumps, stalls, drains, stops, closes;
    bool cancels, deadlines, breaks, oversize, changes, early;
    bool eager, blocking, clean, crowded;
    uint32_t split, delay;
} luck;

typedef struct world {
    chance chance;
    uint64_t seed;
    luck luck;
    cgrpc_memory memory;
    cgrpc_memory_store store;
    cgrpc_server *server;
    cgrpc_server_memory server_memory;
    party server_turn;
    size_t rx, tx;        /* of the server */
    client clients[CHANNELS];
    size_t client_count;
    record records[RECORDS];
    size_t planned, started;
    wake wakes[WAKES];
    size_t wake_count;
    bool healed, in_wait;
    uint32_t progress;    /* grows when the application got on */
    uint32_t seen_moves, seen_progress, idle_rounds;
    uint64_t rounds;
} world;

static world w;
static uint8_t scratch[MOST];

/* ---- trace and failure -------------------------------------------------- */

enum { LINES = 120, LINE = 160 };
static char lines[LINES][LINE];
static size_t line_count;
static bool tracing, verbose;
static char failure[400];
static jmp_buf out_of_run;

static void trace_line(const char *format, va_list args)
{
    char *at = lines[line_count++ % LINES];
    int len = snprintf(at, LINE, "%8lu ", (unsigned long)w.memory.now);
    vsnprintf(at + len, (size_t)(LINE - len), format, args);
    at[LINE - 1] = 0;
    if (strchr(at, '\n'))
        *strchr(at, '\n') = 0;
    if (verbose)
        puts(at);
}

static void trace(const char *format, ...)
{
    va_list args;
    if (!tracing)
        return;
    va_start(args, format);
    trace_line(format, args);
    va_end(args);
}

static void fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(failure, sizeof(failure), format, args);
    va_end(args);
    longjmp(out_of_run, 1);
}

/* No run sends a wrong byte, so no connection may end for cause. */
static void sim_log(int level, const char *format, ...)
{
    char text[300];
    va_list args;
    unsigned code;
    const char *error;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    trace("log %d: %s", level, text);
    error = strstr(text, "connection error ");
    if (error && sscanf(error, "connection error %u", &code) == 1 && code)
        fail("a connection error with no wrong byte: %s", text);
}

/* ---- memory with canaries ----------------------------------------------- */

enum { GUARD = 32, BLOCKS = 128 };
typedef struct block {
    uint8_t *at;
    size_t len;
} block;
static block blocks[BLOCKS];
static size_t block_count;
static const uint8_t canary = 0xc5;

static void *guarded(size_t len)
{
    block *made = &blocks[block_count++];
#ifdef __SANITIZE_ADDRESS__
    enum { AROUND = 0 }; /* it watches better */
#else
    enum { AROUND = GUARD };
#endif
    if (block_count > BLOCKS)
        abort();
    made->at = (uint8_t *)malloc(len + 2 * AROUND);
    if (!made->at)
        abort();
    made->len = AROUND ? len : 0;
    memset(made->at, canary, len + 2 * AROUND);
    memset(made->at + AROUND, 0, len);
    return made->at + AROUND;
}

static void check_canaries(void)
{
    size_t i, j;
    for (i = 0; i < block_count; i++)
        for (j = 0; blocks[i].len && j < GUARD; j++)
            if (blocks[i].at[j] != canary ||
                blocks[i].at[GUARD + blocks[i].len + j] != canary)
                fail("memory was written outside of block %lu (%lu bytes)",
                     (unsigned long)i, (unsigned long)blocks[i].len);
}

static void free_all(void)
{
    while (block_count)
        free(blocks[--block_count].at);
}

/* ---- messages that say what they are ------------------------------------ */

enum { TO_SERVER, TO_CLIENT };

static chance message_chance(const record *r, int way, uint32_t seq)
{
    chance made;
    made.state = w.seed * 1000003u + r->uid * 7919u + (uint32_t)way * 104729u +
                 seq * 15485863u;
    return made;
}

static uint32_t message_len(const record *r, int way, uint32_t seq)
{
    chance of = message_chance(r, way, seq);
    uint32_t most = way == TO_SERVER ? r->in_most : r->out_most;
    switch (draw(&of) % 8) {
    case 0:
        return 0;
    case 1:
        return most;
    case 2:
    case 3:
        return between(&of, 0, most < 12 ? most : 12);
    default:
        return between(&of, 0, most);
    }
}

static cgrpc_bytes message_make(const record *r, int way, uint32_t seq,
                                uint8_t *into)
{
    chance of = message_chance(r, way, seq);
    cgrpc_bytes made;
    uint32_t i;
    made.len = message_len(r, way, seq);
    made.data = into;
    for (i = 0; i < made.len; i++)
        into[i] = (uint8_t)(i < 2 ? r->uid >> 8 * i
                            : i < 4 ? seq >> 8 * (i - 2)
                                    : draw(&of));
    return made;
}

static void message_check(const record *r, int way, uint32_t seq,
                          cgrpc_bytes got)
{
    static uint8_t want[MOST];
    cgrpc_bytes wanted = message_make(r, way, seq, want);
    size_t i = 0;
    if ((way == TO_SERVER ? r->changes_in : r->changes_out) &&
        got.len == wanted.len)
        return;
    while (i < got.len && i < wanted.len && got.data[i] == want[i])
        i++;
    if (got.len == wanted.len && i == got.len)
        return;
    fail("call %u, message %u to the %s: %lu bytes, wanted %lu; differs at "
         "%lu; says it is call %d message %d",
         r->uid, seq, way == TO_SERVER ? "server" : "client",
         (unsigned long)got.len, (unsigned long)wanted.len, (unsigned long)i,
         got.len < 2 ? -1 : got.data[0] + 256 * got.data[1],
         got.len < 4 ? -1 : got.data[2] + 256 * got.data[3]);
}

/* ---- plans -------------------------------------------------------------- */

static const cgrpc_method methods[] = {
    { "/s.S/One", NULL, NULL, sizeof(cgrpc_bytes), sizeof(cgrpc_bytes),
      CGRPC_UNARY },
    { "/s.S/Up", NULL, NULL, sizeof(cgrpc_bytes), sizeof(cgrpc_bytes),
      CGRPC_CLIENT_STREAM },
    { "/s.S/Down", NULL, NULL, sizeof(cgrpc_bytes), sizeof(cgrpc_bytes),
      CGRPC_SERVER_STREAM },
    { "/s.S/Both", NULL, NULL, sizeof(cgrpc_bytes), sizeof(cgrpc_bytes),
      CGRPC_BIDI },
    { "/s.S/None", NULL, NULL, sizeof(cgrpc_bytes), sizeof(cgrpc_bytes),
      CGRPC_UNARY }
};
static const char *const keys[] = { "x-uid", "x-a", "x-b-bin", "x-i", "x-t" };
enum { KEYS = 5 };

static bool streams_in(const record *r)
{
    return (r->kind & CGRPC_CLIENT_STREAM) != 0;
}

static bool streams_out(const record *r)
{
    return (r->kind & CGRPC_SERVER_STREAM) != 0;
}

static void plan_server(record *r, chance *from)
{
    const luck *bad = &w.luck;
    r->answer = percent(from, 75) ? CGRPC_OK
                                  : (cgrpc_status)between(from, 1, 16);
    r->text = percent(from, 50);
    r->pendings = percent(from, 50) ? between(from, 0, 4) : 0;
    r->lingers = percent(from, 30) ? between(from, 1, 3) : 0;
    r->ends_after = bad->early && percent(from, 20) ? between(from, 0, 4)
                                                    : UINT32_MAX;
    r->breaks_off = bad->breaks && percent(from, 25) ? between(from, 1, 5) : 0;
    r->own_initial = percent(from, 20);
    r->changes_out = bad->changes && streams_out(r) && percent(from, 15);
}

static void plan_client(record *r, chance *from)
{
    const luck *bad = &w.luck;
    r->gives_up = bad->cancels && percent(from, 40)
                      ? between(from, 0, percent(from, 50) ? 10 : 2000)
                      : UINT32_MAX;
    r->timeout = bad->deadlines && percent(from, 60)
                     ? between(from, 1, PICK(from, 5, 100, 3000, 100000))
                     : 0;
    r->pace = PICK(from, 5, 30, 100, 100);
    r->wait_ready = percent(from, 50);
    r->late_end = percent(from, 30);
    r->extra = percent(from, 40);
    r->changes_in = bad->changes && percent(from, 15);
    r->response = !streams_out(r) && percent(from, 60);
}

static uint32_t plan_size(chance *from, size_t limit)
{
    if (w.luck.oversize && percent(from, 10))
        return between(from, (uint32_t)limit, (uint32_t)limit * 4);
    return percent(from, 50) ? (uint32_t)limit
                             : between(from, 0, (uint32_t)limit);
}

static void plan(record *r, size_t client_rx)
{
    chance from = { w.seed * 31 + r->uid };
    size_t reply = client_rx;
    uint32_t i, most = PICK(&from, 1, 4, 20);
    r->method = percent(&from, 3) ? UNSERVED : (uint8_t)(draw(&from) % 4);
    r->kind = methods[r->method].kind;
    if (!streams_out(r) && reply > w.rx)
        reply = w.rx; /* its rest waits in the server's receive buffer */
    r->in_count = streams_in(r) ? between(&from, 0, most) : 1;
    r->out_count = streams_out(r) ? between(&from, 0, most) : 1;
    r->in_most = plan_size(&from, w.rx);
    r->out_most = plan_size(&from, reply);
    plan_server(r, &from);
    plan_client(r, &from);
    r->echo = !streams_out(r) && !streams_in(r) && r->in_most <= reply &&
              percent(&from, 30);
    for (i = 0; i < r->in_count; i++)
        r->oversize |= message_len(r, TO_SERVER, i) > w.rx;
    for (i = 0; i < r->out_count; i++)
        r->oversize |= message_len(r, TO_CLIENT, i) > reply;
}

/* ---- wakes -------------------------------------------------------------- */

static void wake_later(cgrpc_call *call)
{
    if (w.wake_count == WAKES || percent(&w.chance, 30)) {
        cgrpc_call_wake(call); /* at once, from within */
        return;
    }
    w.wakes[w.wake_count].at = w.memory.now + between(&w.chance, 0, 300);
    w.wakes[w.wake_count++].call = call;
}

/* A wake for a call that has ended meanwhile reaches whoever has its slot. */
static void run_wakes(void)
{
    size_t i = 0;
    while (i < w.wake_count) {
        if ((int32_t)(w.memory.now - w.wakes[i].at) < 0) {
            i++;
            continue;
        }
        cgrpc_call_wake(w.wakes[i].call);
        w.server_turn.kicked = true;
        w.wakes[i] = w.wakes[--w.wake_count];
    }
}

/* ---- the server's handler ----------------------------------------------- */

static void on_server_end(cgrpc_call *call, cgrpc_status status)
{
    record *r = (record *)cgrpc_call_user(call);
    trace("server: call %u has ended: %s", r->uid, cgrpc_status_text(status));
    if (r->serving != call)
        fail("on_end of call %u for another slot", r->uid);
    if (r->ended)
        fail("on_end ran twice for call %u", r->uid);
    if (status == CGRPC_OK && !(r->returned && r->answer == CGRPC_OK))
        fail("server: call %u ended OK, which nobody said", r->uid);
    r->ended = true;
    r->end_status = status;
    r->serving = NULL;
    w.progress++;
}

static void check_request_metadata(const record *r, const cgrpc_call *call)
{
    char text[16];
    size_t len = 0;
    const char *value = cgrpc_metadata_find(call, CGRPC_INITIAL, "x-a", 0,
                                            NULL);
    snprintf(text, sizeof(text), "v%u", r->uid);
    if ((value != NULL) != r->extra || (value && strcmp(value, text) != 0))
        fail("call %u: x-a is %s", r->uid, value ? value : "missing");
    value = cgrpc_metadata_find(call, CGRPC_INITIAL, "x-b-bin", 0, &len);
    if ((value != NULL) != r->extra ||
        (value && (len != 4 || memcmp(value, &r->uid, 4) != 0)))
        fail("call %u: x-b-bin is wrong", r->uid);
}

static record *first_run(cgrpc_call *call)
{
    record **state = (record **)cgrpc_call_state(call), *r;
    const char *uid;
    char text[16];
    if (*state)
        return *state;
    uid = cgrpc_metadata_find(call, CGRPC_INITIAL, "x-uid", 0, NULL);
    if (!uid || (size_t)atoi(uid) >= w.started)
        fail("server: a call without a sensible x-uid: %s", uid ? uid : "-");
    r = &w.records[atoi(uid)];
    *state = r;
    if (r->ran)
        fail("call %u reached a handler twice", r->uid);
    r->ran = true;
    r->serving = call;
    trace("server: call %u begins in slot %d", r->uid,
          (int)(call - w.server_memory.calls));
    cgrpc_call_set_user(call, r);
    cgrpc_call_on_end(call, on_server_end);
    check_request_metadata(r, call);
    snprintf(text, sizeof(text), "%u", r->uid);
    if (r->extra &&
        (cgrpc_metadata_add(call, CGRPC_INITIAL, "x-i", text, 0) ||
         cgrpc_metadata_add(call, CGRPC_TRAILING, "x-t", text, 0)))
        fail("call %u: no room for reply metadata", r->uid);
    return r;
}

/* `in` is what the rules promise. */
static void check_input(record *r, const cgrpc_call *call,
                        const cgrpc_bytes *in)
{
    if (r->ended || r->returned || r->broke_off)
        fail("the handler of call %u runs after its end", r->uid);
    if (r->waits && r->waits_null != !in)
        fail("call %u: after PENDING, `in` is %s", r->uid,
             in ? "a message" : "NULL");
    if (in) {
        if (r->seen >= r->sent && streams_in(r))
            fail("call %u: message %u was never sent", r->uid, r->seen);
        message_check(r, TO_SERVER, r->seen, *in);
        return;
    }
    if (!streams_in(r))
        fail("call %u: no request", r->uid);
    if (cgrpc_recv_ended(call) && !(r->end_said && r->seen == r->sent))
        fail("call %u: the end came after %u messages of %u", r->uid, r->seen,
             r->sent);
    if (!cgrpc_recv_ended(call) && r->kind != CGRPC_BIDI)
        fail("call %u: NULL, but not the end", r->uid);
}

static cgrpc_status pause_now(record *r, cgrpc_call *call, bool null)
{
    r->waits = true;
    r->waits_null = null;
    wake_later(call);
    return CGRPC_PENDING;
}

/* After a send that found no room, which wakes it when there is some. */
static cgrpc_status pause_for_room(record *r, cgrpc_call *call, bool null)
{
    if (percent(&w.chance, 20))
        return pause_now(r, call, null);
    r->waits = true;
    r->waits_null = null;
    return CGRPC_PENDING;
}

static cgrpc_status leave(record *r, cgrpc_call *call)
{
    char text[32];
    w.progress++;
    r->returned = true;
    r->half = r->offering;
    trace("server: call %u returns %s after %u in, %u out", r->uid,
          cgrpc_status_text(r->answer), r->seen, r->replied);
    snprintf(text, sizeof(text), "call %u is over", r->uid);
    return r->text ? cgrpc_fail(call, r->answer, text) : r->answer;
}

/* Sends replies up to `goal`; false: no room now. */
static bool reply_up_to(record *r, cgrpc_call *call, uint32_t goal)
{
    cgrpc_bytes reply;
    while (r->replied < goal && r->replied < r->out_count) {
        reply = message_make(r, TO_CLIENT, r->replied, scratch);
        if (r->changes_out && r->reply_offers++ % 3 == 1 && reply.len)
            scratch[draw(&w.chance) % reply.len] ^= 0x40;
        r->offering = !cgrpc_send(call, &reply);
        if (r->offering)
            return false;
        w.progress++;
        trace("server: call %u: reply %u of %lu bytes", r->uid, r->replied,
              (unsigned long)reply.len);
        r->replied++;
    }
    return true;
}

static cgrpc_status give_one_reply(record *r, cgrpc_call *call,
                                   const cgrpc_bytes *in, cgrpc_bytes *out)
{
    if (out->data || out->len)
        fail("call %u: `out` is not zeroed", r->uid);
    if (r->answer == CGRPC_OK) {
        *out = r->echo ? *in : message_make(r, TO_CLIENT, 0, scratch);
        r->replied = 1;
    }
    return leave(r, call);
}

/* How many replies a bidi call has to have sent by now. */
static uint32_t bidi_goal(const record *r, bool ended)
{
    return ended || r->in_count == 0
               ? r->out_count
               : (r->seen + 1) * r->out_count / (r->in_count + 1);
}

static cgrpc_status handle_null(record *r, cgrpc_call *call, cgrpc_bytes *out)
{
    bool ended = cgrpc_recv_ended(call);
    if (r->kind == CGRPC_CLIENT_STREAM)
        return give_one_reply(r, call, NULL, out);
    if (!reply_up_to(r, call, ended ? r->out_count : r->replied + 1))
        return pause_for_room(r, call, true);
    r->waits = false;
    if (!ended)
        return CGRPC_NEXT;
    if (r->lingers) {
        r->lingers--;
        wake_later(call);
        return CGRPC_NEXT;
    }
    return leave(r, call);
}

static cgrpc_status handle_message(record *r, cgrpc_call *call,
                                   const cgrpc_bytes *in, cgrpc_bytes *out)
{
    bool all = true;
    if (r->kind == CGRPC_UNARY)
        return give_one_reply(r, call, in, out);
    if (r->kind == CGRPC_SERVER_STREAM)
        all = reply_up_to(r, call, r->out_count);
    else if (r->kind == CGRPC_BIDI)
        all = reply_up_to(r, call, bidi_goal(r, false));
    if (r->serving != call)
        return CGRPC_PENDING; /* it changed, and that ended it */
    message_check(r, TO_SERVER, r->seen, *in); /* sending has not touched it */
    if (!all)
        return pause_for_room(r, call, false);
    if (r->kind == CGRPC_SERVER_STREAM)
        return leave(r, call);
    r->waits = false;
    r->seen++;
    w.progress++;
    if (percent(&w.chance, 20))
        wake_later(call);
    return CGRPC_NEXT;
}

static cgrpc_status handle(const void *handlers, size_t method,
                           cgrpc_call *call, const void *in, void *out)
{
    record *r = first_run(call);
    (void)handlers;
    if (method != r->method)
        fail("call %u: method %d", r->uid, (int)method);
    check_input(r, call, (const cgrpc_bytes *)in);
    r->steps++;
    if (r->breaks_off && r->steps >= r->breaks_off) {
        trace("server: call %u is cancelled by its handler", r->uid);
        r->broke_off = true;
        cgrpc_call_cancel(call);
        return percent(&w.chance, 50) ? CGRPC_OK : CGRPC_PENDING;
    }
    if (r->own_initial && !cgrpc_send_initial(call))
        return pause_for_room(r, call, !in);
    r->own_initial = false;
    if (r->pendings && percent(&w.chance, 60)) {
        r->pendings--;
        return pause_now(r, call, !in);
    }
    if (streams_in(r) && r->seen >= r->ends_after) {
        if (r->kind == CGRPC_CLIENT_STREAM)
            return give_one_reply(r, call, NULL, (cgrpc_bytes *)out);
        return leave(r, call);
    }
    return in ? handle_message(r, call, (const cgrpc_bytes *)in,
                               (cgrpc_bytes *)out)
              : handle_null(r, call, (cgrpc_bytes *)out);
}

static const cgrpc_service service = { CGRPC_GENERATED_VERSION, "s.S",
                                       methods, 4, handle, NULL };
static const cgrpc_serving services[] = { { &service, NULL } };

/* ---- the clients' calls ------------------------------------------------- */

static void check_reply_metadata(const record *r, const cgrpc_call *call)
{
    char text[16];
    const char *value = cgrpc_metadata_find(call, CGRPC_TRAILING, "x-t", 0,
                                            NULL);
    snprintf(text, sizeof(text), "%u", r->uid);
    if (!r->extra || r->status != CGRPC_OK)
        return;
    if (!value || strcmp(value, text) != 0)
        fail("call %u: x-t is %s", r->uid, value ? value : "missing");
    value = cgrpc_metadata_find(call, CGRPC_INITIAL, "x-i", 0, NULL);
    if (r->got && (!value || strcmp(value, text) != 0))
        fail("call %u: x-i is %s", r->uid, value ? value : "missing");
}

static void check_ok(const record *r)
{
    if (!r->returned || r->answer != CGRPC_OK)
        fail("client: call %u is OK, which nobody said", r->uid);
    if (r->got != r->replied)
        fail("client: call %u is OK after %u messages of %u", r->uid, r->got,
             r->replied);
}

/* Did this run have anything that loses connections or refuses calls? */
static bool may_be_unavailable(void)
{
    const luck *bad = &w.luck;
    return bad->cuts || bad->refuses || bad->jumps || bad->stalls ||
           bad->drains || bad->stops || bad->closes || bad->crowded;
}

static bool explained(const record *r)
{
    uint32_t passed = w.memory.now - r->started;
    if (r->returned && r->status == r->answer)
        return true;
    switch (r->status) {
    case CGRPC_CANCELLED:
        return r->cancelled || r->broke_off || passed >= CGRPC_STALL_MS;
    case CGRPC_DEADLINE_EXCEEDED:
        return r->timeout && passed >= r->timeout;
    case CGRPC_UNAVAILABLE:
        return may_be_unavailable();
    case CGRPC_RESOURCE_EXHAUSTED:
        return r->oversize;
    case CGRPC_INTERNAL:
        return r->changes_in || r->changes_out || r->half ||
               (r->oversize && r->offering);
    case CGRPC_UNIMPLEMENTED:
        return r->method == UNSERVED;
    default:
        return false;
    }
}

static void check_answer(record *r, const cgrpc_call *call)
{
    char text[32];
    const char *message = cgrpc_call_message(call);
    if (r->status == CGRPC_OK)
        check_ok(r);
    else if (!explained(r))
        fail("client: call %u: nothing explains %s (%s)", r->uid,
             cgrpc_status_text(r->status), message);
    check_reply_metadata(r, call);
    snprintf(text, sizeof(text), "call %u is over", r->uid);
    if (w.luck.clean && r->returned && r->status != CGRPC_OK && r->text &&
        strcmp(message, text) != 0)
        fail("client: call %u: its text is '%s'", r->uid, message);
    if (w.luck.clean && r->returned && r->status != r->answer)
        fail("client: call %u: %s became %s", r->uid,
             cgrpc_status_text(r->answer), cgrpc_status_text(r->status));
}

static void took(record *r, cgrpc_bytes got)
{
    message_check(r, r->echo ? TO_SERVER : TO_CLIENT, r->got, got);
    if (r->got >= r->replied)
        fail("client: call %u: message %u was never sent", r->uid, r->got);
    trace("client: call %u: message %u of %lu bytes", r->uid, r->got,
          (unsigned long)got.len);
    r->got++;
    w.progress++;
}

static void finished(slot *at, const cgrpc_call *call, cgrpc_status status)
{
    record *r = at->of;
    r->status = status;
    r->over = true;
    w.progress++;
    trace("client: call %u is over: %s (%s)", r->uid,
          cgrpc_status_text(status), cgrpc_call_message(call));
    if (r->response && status == CGRPC_OK)
        took(r, at->response);
    check_answer(r, call);
    at->of = NULL;
}

static void start_call(client *on, slot *at);

static slot *slot_of(cgrpc_call *call)
{
    record *r = (record *)cgrpc_call_user(call);
    if (!r->slot || &r->slot->call != call)
        fail("done of call %u for another object", r->uid);
    return r->slot;
}

static void on_done(cgrpc_call *call, cgrpc_status status)
{
    slot *at = slot_of(call);
    record *r = at->of;
    client *on;
    if (!r || r != (record *)cgrpc_call_user(call) || r->over)
        fail("done ran twice for call %u",
             ((record *)cgrpc_call_user(call))->uid);
    if (!cgrpc_call_ended(call) || cgrpc_call_status(call) != status)
        fail("done of call %u, which has not ended", r->uid);
    on = r->client;
    finished(at, call, status);
    if (!on->channel->closing && percent(&w.chance, 30))
        start_call(on, at);
    if (w.luck.cancels && percent(&w.chance, 5)) {
        slot *other = &on->slots[draw(&w.chance) % on->slot_count];
        if (other->of) {
            trace("client: cancel of call %u from a hook", other->of->uid);
            other->of->cancelled = true;
            cgrpc_call_cancel(&other->call);
        }
    }
}

static record *next_record(client *on, slot *at)
{
    record *r = &w.records[w.started];
    memset(r, 0, sizeof(*r));
    r->uid = (uint32_t)w.started++;
    plan(r, at->rx);
    r->client = on;
    r->slot = at;
    r->started = w.memory.now;
    at->of = r;
    if (r->kind != CGRPC_UNARY)
        at->blocking = false;
    at->request = message_make(r, TO_SERVER, 0, at->request_bytes);
    at->response.data = NULL;
    at->response.len = 0;
    trace("client %s: call %u begins: %s, %u in, %u out, timeout %u%s",
          on->name, r->uid, methods[r->method].path, r->in_count,
          r->out_count, r->timeout, r->wait_ready ? ", waits" : "");
    return r;
}

static void fill_options(record *r, cgrpc_options *options,
                         cgrpc_metadata *items, char *texts)
{
    memset(options, 0, sizeof(*options));
    memset(items, 0, 3 * sizeof(*items));
    sprintf(texts, "%06u", r->uid);
    sprintf(texts + 16, "v%u", r->uid);
    items[0].key = "x-uid";
    items[0].value = texts;
    items[1].key = "x-a";
    items[1].value = texts + 16;
    items[2].key = "x-b-bin";
    items[2].value = &r->uid;
    items[2].len = 4;
    options->metadata = items;
    options->metadata_count = r->extra ? 3 : 1;
    options->timeout_ms = r->timeout;
    options->wait_for_ready = r->wait_ready;
    options->user = r;
}

static void start_call(client *on, slot *at)
{
    cgrpc_options options;
    cgrpc_metadata items[3];
    char texts[32];
    cgrpc_result result;
    record *r;
    if (w.started == w.planned)
        return;
    r = next_record(on, at);
    fill_options(r, &options, items, texts);
    on->turn.kicked = true;
    w.progress++;
    result = cgrpc_start(on->channel, &at->call, &methods[r->method],
                         streams_in(r) ? NULL : &at->request,
                         r->response ? &at->response : NULL, on_done,
                         &options);
    memset(items, 0xee, sizeof(items)); /* it must have been copied */
    memset(texts, 0xee, sizeof(texts));
    if (result != CGRPC_SUCCESS)
        fail("call %u: cgrpc_start: %s", r->uid, cgrpc_result_text(result));
}

/* A unary call that blocks; the world goes on meanwhile. */
static void call_blocking(client *on)
{
    cgrpc_options options;
    cgrpc_metadata items[3];
    char texts[32];
    cgrpc_status status;
    slot *at = &on->own;
    record *r;
    if (w.started == w.planned || at->of)
        return;
    r = next_record(on, at);
    r->method = r->method == UNSERVED ? UNSERVED : 0;
    r->kind = CGRPC_UNARY;
    r->in_count = r->out_count = 1;
    r->changes_in = r->changes_out = false;
    r->response = true;
    if (r->out_most > w.rx) r->out_most = (uint32_t)w.rx;
    r->oversize = message_len(r, TO_SERVER, 0) > w.rx ||
                  message_len(r, TO_CLIENT, 0) > at->rx;
    if (r->echo && r->in_most > at->rx) r->echo = false;
    if (!r->timeout)
        r->timeout = 100000;
    fill_options(r, &options, items, texts);
    at->request = message_make(r, TO_SERVER, 0, at->request_bytes);
    w.in_wait = true;
    status = cgrpc_unary(on->channel, &methods[r->method], &at->request,
                         &at->response, &options);
    w.in_wait = false;
    on->turn.kicked = true;
    finished(at, on->memory.call, status);
}

static void cancel_call(slot *at, client *on)
{
    record *r = at->of;
    cgrpc_call *call = at == &on->own ? on->memory.call : &at->call;
    trace("client: cancel of call %u", r->uid);
    r->cancelled = true;
    on->turn.kicked = true;
    cgrpc_call_cancel(call);
    if (at != &on->own && !r->over)
        fail("cancel of call %u came back before its done", r->uid);
}

static void send_some(slot *at, record *r)
{
    cgrpc_bytes message;
    if (r->sent < r->in_count) {
        message = message_make(r, TO_SERVER, r->sent, scratch);
        if (r->changes_in && r->offers++ % 3 == 1 && message.len)
            scratch[draw(&w.chance) % message.len] ^= 0x40;
        r->client->turn.kicked = true;
        if (!cgrpc_send(&at->call, &message))
            return;
        trace("client: call %u: request %u of %lu bytes", r->uid, r->sent,
              (unsigned long)message.len);
        r->sent++;
        w.progress++;
    }
    if (r->sent == r->in_count && !r->end_said &&
        (w.healed || !r->late_end || percent(&w.chance, 10))) {
        r->end_said = true;
        r->client->turn.kicked = true;
        w.progress++;
        cgrpc_send_end(&at->call);
    }
}

static void recv_some(slot *at, record *r)
{
    cgrpc_bytes got;
    if (r->last.data)
        message_check(r, r->echo ? TO_SERVER : TO_CLIENT, r->last_seq,
                      r->last);
    r->last.data = NULL;
    r->client->turn.kicked |= at->call.taken;
    switch (cgrpc_recv(&at->call, &got)) {
    case CGRPC_GOT:
        r->last = got;
        r->last_seq = r->got;
        r->client->turn.kicked = true;
        took(r, got);
        break;
    case CGRPC_END:
        if (!cgrpc_call_ended(&at->call))
            fail("call %u: END, but it has not ended", r->uid);
        r->client->turn.kicked = true;
        break;
    default:
        break;
    }
}

/* A call's user does something, or not. */
static void act(client *on, slot *at)
{
    record *r = at->of;
    if (r->gives_up != UINT32_MAX &&
        w.memory.now - r->started >= r->gives_up) {
        r->gives_up = UINT32_MAX;
        cancel_call(at, on);
        return;
    }
    if (!w.healed && !percent(&w.chance, r->pace))
        return;
    if (streams_in(r))
        send_some(at, r);
    if (at->of == r && !r->response && percent(&w.chance, 70))
        recv_some(at, r);
}

/* ---- polling ------------------------------------------------------------ */

static uint32_t moves(void)
{
    return cg_memory_moves(&w.memory);
}

/* A stream's end can be read or written, as a socket would report it. */
static bool end_is_ready(cgrpc_memory_end *end)
{
    cgrpc_memory_pipe *pipe = end->pipe;
    cgrpc_memory_lane *in, *out;
    if (!end->open)
        return false;
    in = cg_memory_in(end);
    out = &pipe->lanes[end->side];
    if (in->arrived || (!in->len && (in->ended || pipe->broken)))
        return true;
    return out->blocked && (out->len < out->capacity || pipe->broken ||
                            !pipe->ends[1 - end->side].open);
}

static bool server_is_ready(void)
{
    size_t i;
    for (i = 0; i < w.memory.pipe_count; i++)
        if (w.memory.pipes[i].ends[1].pipe &&
            end_is_ready(&w.memory.pipes[i].ends[1]))
            return true;
    return false;
}

static bool client_is_ready(const client *on)
{
    const cgrpc_conn *conn = on->channel->conn;
    return conn->ops && end_is_ready((cgrpc_memory_end *)conn->io.context);
}

static bool is_due(const party *who)
{
    return who->kicked ||
           (who->timed && (int32_t)(w.memory.now - who->due) >= 0);
}

static bool is_stalled(party *who)
{
    if (who->stalled && (int32_t)(w.memory.now - who->stalled_until) >= 0)
        who->stalled = false;
    return who->stalled;
}

static void polled(party *who, uint32_t wait, uint32_t before,
                   const char *name)
{
    who->timed = wait != UINT32_MAX;
    who->due = w.memory.now + wait;
    if (wait || moves() + w.progress != before)
        who->idle_zeros = 0;
    else if (++who->idle_zeros > 300)
        fail("%s asks to be polled at once, again and again, for nothing",
             name);
}

static void poll_server(void)
{
    uint32_t before = moves() + w.progress, wait;
    w.server_turn.kicked = false;
    wait = cgrpc_server_poll(w.server);
    polled(&w.server_turn, wait, before, "the server");
}

static void check_deadlines(const client *on, uint32_t then)
{
    size_t i;
    for (i = 0; i < on->slot_count; i++) {
        const record *r = on->slots[i].of;
        if (r && r->timeout && then - r->started >= r->timeout &&
            (int32_t)(then - r->started) >= 0 &&
            on->slots[i].call.stage != CG_OVER)
            fail("call %u goes on past its deadline", r->uid);
    }
}

static void poll_client(client *on)
{
    uint32_t before = moves() + w.progress, wait, then = w.memory.now;
    on->turn.kicked = false;
    wait = cgrpc_channel_poll(on->channel);
    check_deadlines(on, then);
    polled(&on->turn, wait, before, on->name);
}

static void poll_all(void)
{
    size_t first = draw(&w.chance) % (w.client_count + 1), i;
    for (i = 0; i <= w.client_count; i++) {
        size_t which = (first + i) % (w.client_count + 1);
        client *on = &w.clients[which];
        party *who = which == w.client_count ? &w.server_turn : &on->turn;
        bool ready = which == w.client_count ? server_is_ready()
                                             : client_is_ready(on);
        if (is_stalled(who) || !(w.luck.eager || ready || is_due(who)))
            continue;
        if (percent(&w.chance, 10))
            continue; /* somewhat later */
        if (which == w.client_count)
            poll_server();
        else
            poll_client(on);
    }
}

/* ---- bad luck ----------------------------------------------------------- */

static cgrpc_memory_faults lane_faults(void)
{
    cgrpc_memory_faults made = { 0, 0, 0, 0 };
    made.split = w.luck.split;
    made.delay_ms = w.healed ? 0 : w.luck.delay;
    made.seed = draw(&w.chance) | 1;
    if (w.luck.cuts && !w.healed && percent(&w.chance, 40))
        made.cut_after = between(&w.chance, 1, PICK(&w.chance, 30, 300, 5000));
    return made;
}

static cgrpc_result sim_connect(void *context, const char *target,
                                cgrpc_io *io)
{
    cgrpc_result result;
    w.memory.to_server = lane_faults();
    w.memory.to_client = lane_faults();
    w.memory.refuse = w.luck.refuses && !w.healed && percent(&w.chance, 40);
    result = cg_memory_connect(context, target, io);
    trace("client %s connects: %s; cuts after %u and %u", target,
          cgrpc_result_text(result), w.memory.to_server.cut_after,
          w.memory.to_client.cut_after);
    w.server_turn.kicked = true;
    w.progress++;
    return result;
}

static void all_ended(const char *when)
{
    size_t i;
    for (i = 0; i < w.started; i++)
        if (w.records[i].ran && !w.records[i].ended)
            fail("%s: on_end of call %u has not run", when, w.records[i].uid);
}

static const cgrpc_server_desc *server_desc(void)
{
    static cgrpc_server_desc desc;
    desc.port = &w.memory.port;
    desc.services = services;
    desc.service_count = 1;
    desc.keys = keys;
    desc.key_count = KEYS;
    return &desc;
}

static void restart_server(void)
{
    all_ended("the server is idle");
    trace("server: starts anew");
    w.wake_count = 0;
    if (cgrpc_server_init(w.server, server_desc()) != CGRPC_SUCCESS)
        fail("cgrpc_server_init");
}

static void close_channel(client *on)
{
    size_t i;
    trace("client %s: close", on->name);
    for (i = 0; i < on->slot_count; i++)
        if (on->slots[i].of)
            on->slots[i].of->cancelled = true;
    if (on->own.of)
        on->own.of->cancelled = true;
    on->turn.kicked = true;
    cgrpc_channel_close(on->channel);
    for (i = 0; i < on->slot_count; i++)
        if (on->slots[i].of)
            fail("call %u outlives its channel", on->slots[i].of->uid);
}

static void stall_somebody(void)
{
    size_t which = draw(&w.chance) % (w.client_count + 1);
    party *who = which == w.client_count ? &w.server_turn
                                         : &w.clients[which].turn;
    who->stalled = true;
    who->stalled_until = w.memory.now + between(&w.chance, 1,
                                                PICK(&w.chance, 20, 2000));
}

static void cut_one(void)
{
    cgrpc_memory_pipe *pipe =
        &w.memory.pipes[draw(&w.chance) % w.memory.pipe_count];
    if (!pipe->ends[0].open && !pipe->ends[1].open)
        return;
    trace("a stream is cut");
    pipe->broken = true;
    pipe->moves++;
}

static void bad_luck(void)
{
    const luck *bad = &w.luck;
    if (bad->cuts && percent(&w.chance, 1))
        cut_one();
    if (bad->stalls && percent(&w.chance, 3))
        stall_somebody();
    if (bad->jumps && draw(&w.chance) % 300 == 0)
        w.memory.now += between(&w.chance, 1,
                                PICK(&w.chance, 1000, 15000, 90000));
    if (bad->drains && draw(&w.chance) % 300 == 0) {
        trace("server: drain");
        cgrpc_server_drain(w.server);
        w.server_turn.kicked = true;
    }
    if (bad->stops && draw(&w.chance) % 300 == 0) {
        trace("server: stop");
        cgrpc_server_stop(w.server);
        w.server_turn.kicked = true;
        if (!cgrpc_server_idle(w.server))
            fail("the server was stopped and is not idle");
        all_ended("the server was stopped");
    }
    if (bad->closes && draw(&w.chance) % 200 == 0)
        close_channel(&w.clients[draw(&w.chance) % w.client_count]);
    if (bad->breaks && draw(&w.chance) % 100 == 0) {
        record *r = &w.records[draw(&w.chance) % RECORDS];
        if (r->serving && !r->returned && !r->broke_off) {
            trace("server: call %u is cancelled from the loop", r->uid);
            r->broke_off = true;
            w.server_turn.kicked = true;
            cgrpc_call_cancel(r->serving);
        }
    }
}

/* ---- time --------------------------------------------------------------- */

static uint32_t sooner(uint32_t a, uint32_t at)
{
    int32_t left = (int32_t)(at - w.memory.now);
    return left < 0 ? 0 : (uint32_t)left < a ? (uint32_t)left : a;
}

/* Until somebody has something to do. */
static uint32_t until_next(void)
{
    uint32_t wait = 1000;
    size_t i;
    for (i = 0; i < w.wake_count; i++)
        wait = sooner(wait, w.wakes[i].at);
    for (i = 0; i <= w.client_count; i++) {
        const party *who = i < w.client_count ? &w.clients[i].turn
                                              : &w.server_turn;
        if (who->timed && !who->stalled)
            wait = sooner(wait, who->due);
        if (who->stalled)
            wait = sooner(wait, who->stalled_until);
    }
    for (i = 0; i < 2 * w.memory.pipe_count; i++) {
        const cgrpc_memory_lane *lane = &w.memory.pipes[i / 2].lanes[i % 2];
        if (lane->piece_count)
            wait = sooner(wait, lane->piece_due[0]);
    }
    return wait;
}

/* The clock stands while something moves, mostly. */
static void pass_time(void)
{
    uint32_t moved = moves();
    bool idle = moved == w.seen_moves && w.progress == w.seen_progress;
    w.seen_moves = moved;
    w.seen_progress = w.progress;
    w.idle_rounds = idle ? w.idle_rounds + 1 : 0;
    if (w.idle_rounds >= 8) {
        uint32_t wait = until_next();
        w.memory.now += wait ? wait : 1;
        if (wait > 1)
            w.idle_rounds = 0;
    } else if (percent(&w.chance, 5)) {
        w.memory.now += between(&w.chance, 0, 3);
    }
}

/* ---- a run -------------------------------------------------------------- */

/* Where the server has too few connections for all, whoever has no calls
 * gives his up in the end. */
static void leave_if_idle(client *on)
{
    size_t i;
    if (!w.healed || w.client_count <= w.server_memory.conn_count ||
        w.started < w.planned || on->own.of || !on->channel->conn->ops)
        return;
    for (i = 0; i < on->slot_count; i++)
        if (on->slots[i].of)
            return;
    close_channel(on);
}

static void users(void)
{
    size_t i, j;
    for (i = 0; i < w.client_count; i++) {
        client *on = &w.clients[i];
        leave_if_idle(on);
        if (w.luck.blocking && !w.in_wait && percent(&w.chance, 5))
            call_blocking(on);
        for (j = 0; j < on->slot_count; j++) {
            slot *at = &on->slots[j];
            if (at->of)
                act(on, at);
            else if (w.healed || percent(&w.chance, 5))
                start_call(on, at);
        }
    }
}

static void round_of_all(void)
{
    w.rounds++;
    if (w.rounds > 1000000)
        fail("it does not come to an end");
    run_wakes();
    users();
    if (!w.healed)
        bad_luck();
    if (w.server->draining && cgrpc_server_idle(w.server))
        restart_server();
    poll_all();
    pass_time();
}

static void sim_wait(void *context, uint32_t ms)
{
    (void)context;
    (void)ms;
    round_of_all();
}

static bool calls_are_open(void)
{
    size_t i;
    if (w.started < w.planned)
        return true;
    for (i = 0; i < w.started; i++)
        if (!w.records[i].over)
            return true;
    return false;
}

static void heal(void)
{
    size_t i;
    trace("the bad luck ends");
    w.healed = true;
    for (i = 0; i < 2 * w.memory.pipe_count; i++) {
        cgrpc_memory_lane *lane = &w.memory.pipes[i / 2].lanes[i % 2];
        lane->faults.delay_ms = 0;
        lane->faults.cut_after = 0;
    }
    for (i = 0; i < w.client_count; i++)
        w.clients[i].turn.stalled = false;
    w.server_turn.stalled = false;
}

static void state_of_all(char *into, size_t size)
{
    size_t i, len = 0;
    *into = 0;
    for (i = 0; i < w.started && len + 90 < size; i++) {
        const record *r = &w.records[i];
        if (!r->over || (r->ran && !r->ended))
            len += (size_t)snprintf(
                into + len, size - len,
                "\n    call %u %s: sent %u%s got %u; %s%s seen %u replied %u",
                r->uid, methods[r->method].path, r->sent,
                r->end_said ? " end" : "", r->got,
                r->ran ? "served" : "unserved", r->ended ? ", ended" : "",
                r->seen, r->replied);
    }
}

/* Runs until `done`; it must come within `ms`. */
static void run_until(bool (*done)(void), uint32_t ms, const char *what)
{
    uint32_t from = w.memory.now;
    char state[300];
    while (!done()) {
        if (w.memory.now - from > ms) {
            state_of_all(state, sizeof(state));
            fail("%s: not within %u ms%s", what, ms, state);
        }
        round_of_all();
    }
}

static bool none_is_open(void)
{
    return !calls_are_open();
}

static bool server_calls_ended(void)
{
    size_t i;
    for (i = 0; i < w.server_memory.call_count; i++)
        if (w.server_memory.calls[i].stage != CG_FREE)
            return false;
    return true;
}

static bool nothing_on_the_way(void)
{
    size_t i;
    for (i = 0; i < 2 * w.memory.pipe_count; i++)
        if (w.memory.pipes[i / 2].ends[1 - i % 2].open &&
            w.memory.pipes[i / 2].lanes[i % 2].len)
            return false;
    for (i = 0; i < w.client_count; i++)
        if (w.clients[i].channel->conn->ops &&
            w.clients[i].channel->conn->tx_end)
            return false;
    for (i = 0; i < w.server_memory.conn_count; i++)
        if (w.server_memory.conns[i].ops && w.server_memory.conns[i].tx_end)
            return false;
    return w.idle_rounds >= 7;
}

static bool server_gone(void)
{
    size_t i;
    if (!cgrpc_server_idle(w.server))
        return false;
    for (i = 0; i < w.client_count; i++)
        if (w.clients[i].channel->conn->ops)
            return false;
    return true;
}

/* With nothing on the way both ends agree on every window. */
static void check_windows(const client *on)
{
    const cgrpc_conn *mine = on->channel->conn, *theirs;
    const cgrpc_memory_end *end = (const cgrpc_memory_end *)mine->io.context;
    size_t i;
    if (!mine->ops || !cg_conn_greeted(mine))
        return;
    for (i = 0; i < w.server_memory.conn_count; i++) {
        theirs = &w.server_memory.conns[i];
        if (!theirs->ops || theirs->io.context != &end->pipe->ends[1])
            continue;
        if (mine->tx_window != theirs->rx_window ||
            mine->rx_window != theirs->tx_window)
            fail("credit was lost: to the server %d and %d, to the client %d "
                 "and %d", (int)mine->tx_window, (int)theirs->rx_window,
                 (int)theirs->tx_window, (int)mine->rx_window);
        if (mine->calls || theirs->calls || mine->opened || theirs->opened)
            fail("streams are left");
    }
}

static void check_end(void)
{
    size_t i;
    all_ended("the end");
    for (i = 0; i < w.client_count; i++) {
        if (w.clients[i].channel->calls)
            fail("a channel has calls left");
        if (w.clients[i].channel->conn->ops)
            fail("a channel has a connection left");
    }
    check_canaries();
}

static void run_world(void)
{
    size_t i;
    uint64_t most = between(&w.chance, 50, 3000);
    while (calls_are_open() && w.rounds < most)
        round_of_all();
    heal();
    run_until(none_is_open, 600000, "all calls end");
    check_canaries();
    run_until(server_calls_ended, 70000, "the server's calls end");
    all_ended("all slots are free");
    w.idle_rounds = 0;
    run_until(nothing_on_the_way, 20000, "the streams fall silent");
    for (i = 0; i < w.client_count; i++)
        check_windows(&w.clients[i]);
    trace("server: the last drain");
    cgrpc_server_drain(w.server);
    w.server_turn.kicked = true;
    while (!server_gone() && w.server->draining) {
        poll_all();
        pass_time();
        if (++w.rounds > 1100000)
            fail("the drain does not come to an end");
    }
    check_end();
}

/* ---- making a world ----------------------------------------------------- */

static void choose_luck(void)
{
    luck *bad = &w.luck;
    chance *from = &w.chance;
    uint32_t likely = PICK(from, 0, 0, 20, 50);
    bad->clean = likely == 0;
    bad->cuts = percent(from, likely);
    bad->refuses = percent(from, likely);
    bad->jumps = percent(from, likely);
    bad->stalls = percent(from, likely);
    bad->drains = percent(from, likely);
    bad->stops = percent(from, likely);
    bad->closes = percent(from, likely);
    bad->cancels = percent(from, likely);
    bad->deadlines = percent(from, likely);
    bad->breaks = percent(from, likely);
    bad->oversize = percent(from, likely);
    bad->changes = percent(from, likely / 2);
    bad->early = percent(from, 50);
    bad->eager = percent(from, 20);
    bad->blocking = percent(from, 30);
    bad->split = PICK(from, 0, 0, 1, 5, 40, 300);
    bad->delay = PICK(from, 0, 0, 3, 50, 300);
}

static void make_server(void)
{
    cgrpc_server_memory *memory = &w.server_memory;
    chance *from = &w.chance;
    w.rx = PICK(from, 16, 40, 100, 300, 600);
    w.tx = PICK(from, 128, 160, 256, 500, 1024);
    memory->conn_count = between(from, 1, 4);
    memory->call_count = between(from, 1, 8);
    memory->rx_bytes = w.rx;
    memory->tx_bytes = w.tx;
    memory->scratch_bytes = 2 * sizeof(cgrpc_bytes);
    memory->conns = (cgrpc_conn *)guarded(memory->conn_count *
                                          sizeof(cgrpc_conn));
    memory->calls = (cgrpc_call *)guarded(memory->call_count *
                                          sizeof(cgrpc_call));
    memory->word_count = CGRPC_SERVER_WORDS(
        memory->conn_count, memory->call_count, memory->rx_bytes,
        memory->tx_bytes, memory->scratch_bytes);
    memory->words = (cgrpc_word *)guarded(memory->word_count *
                                          sizeof(cgrpc_word));
    w.server = (cgrpc_server *)guarded(sizeof(cgrpc_server));
    w.server->memory = memory;
    if (cgrpc_server_init(w.server, server_desc()) != CGRPC_SUCCESS)
        fail("cgrpc_server_init");
}

static void make_client(client *on, size_t number)
{
    cgrpc_channel_memory *memory = &on->memory;
    cgrpc_channel_desc desc;
    chance *from = &w.chance;
    size_t rx = PICK(from, 16, 40, 100, 300, 600), i;
    memory->conn = (cgrpc_conn *)guarded(sizeof(cgrpc_conn));
    memory->call = (cgrpc_call *)guarded(sizeof(cgrpc_call));
    memory->conn_size = CGRPC_CONN_BYTES(PICK(from, 128, 160, 256, 1024));
    memory->conn_bytes = (uint8_t *)guarded(memory->conn_size);
    memory->call_size = CGRPC_CALL_BYTES(rx);
    memory->call_bytes = (uint8_t *)guarded(memory->call_size);
    on->channel = (cgrpc_channel *)guarded(sizeof(cgrpc_channel));
    on->channel->memory = memory;
    snprintf(on->name, sizeof(on->name), "c%u", (unsigned)number);
    memset(&desc, 0, sizeof(desc));
    desc.port = &w.memory.port;
    desc.target = on->name;
    desc.keys = keys;
    desc.key_count = KEYS;
    if (cgrpc_channel_init(on->channel, &desc) != CGRPC_SUCCESS)
        fail("cgrpc_channel_init");
    on->slot_count = between(from, 1, SLOTS);
    on->own.rx = rx;
    on->own.request_bytes = (uint8_t *)guarded(4 * w.rx);
    for (i = 0; i < on->slot_count; i++) {
        slot *at = &on->slots[i];
        at->rx = percent(from, 70) ? rx : between(from, (uint32_t)rx,
                                                  (uint32_t)rx * 2);
        at->request_bytes = (uint8_t *)guarded(4 * w.rx);
        cgrpc_call_init(&at->call,
                        (uint8_t *)guarded(CGRPC_CALL_BYTES(at->rx)),
                        CGRPC_CALL_BYTES(at->rx));
    }
}

static void make_world(uint64_t seed)
{
    size_t i, slots = 0;
    memset(&w, 0, sizeof(w));
    w.seed = seed;
    w.chance.state = seed * 0x2545f4914f6cdd1du;
    choose_luck();
    w.store.pipe_count = PIPES;
    w.store.pipes = (cgrpc_memory_pipe *)guarded(PIPES *
                                                 sizeof(cgrpc_memory_pipe));
    w.store.lane_bytes = PICK(&w.chance, 16, 100, 600, 4000);
    w.store.bytes = (uint8_t *)guarded(PIPES * 2 * w.store.lane_bytes);
    w.memory.memory = &w.store;
    w.memory.port.now = cg_memory_now;
    w.memory.port.context = &w.memory;
    make_server();
    cgrpc_memory_init(&w.memory, w.server);
    w.memory.port.connect = sim_connect;
    w.memory.port.wait = sim_wait;
    w.memory.now = PICK(&w.chance, 0, 1000000, 0xffffffffu - 500,
                        0x7fffffffu - 500);
    w.client_count = between(&w.chance, 1, CHANNELS);
    for (i = 0; i < w.client_count; i++) {
        make_client(&w.clients[i], i);
        slots += w.clients[i].slot_count + w.luck.blocking;
    }
    w.luck.crowded = w.client_count > w.server_memory.conn_count ||
                     (w.client_count > 1 &&
                      slots > w.server_memory.call_count);
    w.planned = between(&w.chance, 1, w.luck.split == 1 ? 16 : RECORDS);
    trace("seed %lu: server: %lu conns, %lu calls, RX %lu, TX %lu; %lu "
          "clients, %lu calls", (unsigned long)seed,
          (unsigned long)w.server_memory.conn_count,
          (unsigned long)w.server_memory.call_count, (unsigned long)w.rx,
          (unsigned long)w.tx, (unsigned long)w.client_count,
          (unsigned long)w.planned);
    trace("luck:%s%s%s%s%s%s%s%s%s%s%s%s%s%s%s%s%s split %u delay %u",
          w.luck.cuts ? " cuts" : "", w.luck.refuses ? " refuses" : "",
          w.luck.jumps ? " jumps" : "", w.luck.stalls ? " stalls" : "",
          w.luck.drains ? " drains" : "", w.luck.stops ? " stops" : "",
          w.luck.closes ? " closes" : "", w.luck.cancels ? " cancels" : "",
          w.luck.deadlines ? " deadlines" : "",
          w.luck.breaks ? " breaks" : "", w.luck.oversize ? " oversize" : "",
          w.luck.changes ? " changes" : "", w.luck.early ? " early" : "",
          w.luck.eager ? " eager" : "", w.luck.blocking ? " blocking" : "",
          w.luck.clean ? " clean" : "", w.luck.crowded ? " crowded" : "",
          w.luck.split, w.luck.delay);
    for (i = 0; i < w.client_count; i++)
        trace("client %s: RX %lu, TX %lu, %lu slots", w.clients[i].name,
              (unsigned long)w.clients[i].own.rx,
              (unsigned long)w.clients[i].memory.conn_size -
                  CGRPC_CONN_BYTES(0),
              (unsigned long)w.clients[i].slot_count);
}

/* true: the run held all that it must. */
static bool run_seed(uint64_t seed)
{
    line_count = 0;
    *failure = 0;
    if (setjmp(out_of_run) == 0) {
        make_world(seed);
        run_world();
    }
    free_all();
    return !*failure;
}

/* ---- the program -------------------------------------------------------- */

static volatile unsigned long seed_now;

static void on_crash(int number)
{
    printf("\nseed %lu: signal %d\n", seed_now, number);
    fflush(stdout);
    signal(number, SIG_DFL);
    raise(number);
}

#ifdef __SANITIZE_ADDRESS__
void __asan_on_error(void);
void __asan_on_error(void)
{
    printf("\nseed %lu: the sanitizer objects\n", seed_now);
    fflush(stdout);
}
#endif

static void print_trace(void)
{
    size_t i = line_count > LINES ? line_count - LINES : 0;
    for (; i < line_count; i++)
        printf("%s\n", lines[i % LINES]);
}

/* Runs a seed; one that fails runs again to tell how. */
static bool run_and_tell(uint64_t seed)
{
    char first[sizeof(failure)];
    tracing = verbose;
    seed_now = (unsigned long)seed;
    if (run_seed(seed))
        return true;
    memcpy(first, failure, sizeof(first));
    if (!tracing) {
        tracing = true;
        if (run_seed(seed) || strcmp(first, failure) != 0)
            printf("seed %lu: two runs of it differ\n", seed_now);
        print_trace();
    }
    printf("FAILED seed %lu: %s\n", seed_now, first);
    return false;
}

static uint64_t number_after(int argc, char **argv, const char *name,
                             uint64_t otherwise)
{
    int i;
    for (i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return strtoull(argv[i + 1], NULL, 10);
    return otherwise;
}

int main(int argc, char **argv)
{
    uint64_t seed = number_after(argc, argv, "--seed", 0);
    uint64_t seeds = number_after(argc, argv, "--seeds", seed ? 1 : 300);
    unsigned long passed = 0, failed = 0;
    int i;
    for (i = 1; i < argc; i++)
        verbose |= strcmp(argv[i], "--verbose") == 0;
    signal(SIGSEGV, on_crash);
    signal(SIGABRT, on_crash);
    if (!seed)
        seed = 1;
    for (; seeds; seeds--, seed++) {
        if (run_and_tell(seed))
            passed++;
        else
            failed++;
        if (failed >= 20)
            break;
    }
    printf("%lu passed, %lu failed\n", passed, failed);
    return failed != 0;
}
