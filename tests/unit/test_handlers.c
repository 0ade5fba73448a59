/* The contract of handlers: when they are run, with what, and what their
 * returns mean; and on_end, once in every way a call can end.
 *
 *   cc -std=c99 -I. -Iport tests/unit/test_handlers.c -o t && ./t
 */
#define CGRPC_IMPLEMENTATION
#define CGRPC_NANOPB 0
#define CGRPC_HUFFMAN_ENCODE 0
#include "cgrpc_memory.h"
#include "wire.h"
#include "test.h"
#include "server_rig.h"

CGRPC_SERVER_DEFINE(normal, 2, 4, 256, 512, RIG_SCRATCH);
CGRPC_SERVER_DEFINE(single, 1, 1, 256, 512, RIG_SCRATCH);
CGRPC_SERVER_DEFINE(cramped, 1, 1, 256, 512, RIG_SCRATCH - 1);

static const char *const names[] = { "Unary", "Collect", "List", "Chat" };

/* ---- a handler that does as it is told ---- */

static cgrpc_call *held;
static char log_text[512]; /* each run: the message, or "null", or "end" */
static const int *plan;    /* what to return, one for each run; ends in -1 */

static cgrpc_status follow(cgrpc_call *call, const cgrpc_bytes *in,
                           cgrpc_bytes *out)
{
    int status = *plan;
    held = call;
    if (plan[1] >= 0) plan++;
    if (in)
        strncat(log_text, (const char *)in->data, in->len);
    else
        strcat(log_text, cgrpc_recv_ended(call) ? "end" : "null");
    strcat(log_text, " ");
    if (status == CGRPC_OK && out && in) *out = *in;
    return (cgrpc_status)status;
}

static void start_with(int method, const int *statuses)
{
    start(&normal);
    on_call[method] = follow;
    plan = statuses;
    log_text[0] = 0;
    request(1, names[method], "");
}

static void wake(void)
{
    cgrpc_call_wake(held);
    run();
}

#define LOGGED(text) CHECK(rig_logged(text))

static bool rig_logged(const char *expected)
{
    bool same = strcmp(log_text, expected) == 0;
    if (!same) printf("  expected %s\n  but ran  %s\n", expected, log_text);
    return same;
}

#define PLAN(...) static const int statuses[] = { __VA_ARGS__, -1 }

TEST(handlers__run_when_the_request_is_whole_and_not_before)
{
    static const int methods[] = { UNARY, LIST };
    PLAN(CGRPC_OK);
    size_t i;
    for (i = 0; i < 2; i++) {
        start_with(methods[i], statuses);
        say(1, 0, "hi");
        wait_ms(1);
        LOGGED("");
        data(1, END_STREAM, "", 0);
        LOGGED("hi ");
    }
}

TEST(handlers__are_run_again_with_the_same_message_after_pending)
{
    int method;
    for (method = UNARY; method <= CHAT; method++) {
        PLAN(CGRPC_PENDING, CGRPC_PENDING, CGRPC_OK);
        start_with(method, statuses);
        say(1, END_STREAM, "hi");
        LOGGED("hi ");
        wait_ms(1000);
        LOGGED("hi ");
        wake();
        LOGGED("hi hi ");
        wake();
        LOGGED("hi hi hi ");
        SAID("H1");
    }
}

TEST(handlers__are_not_run_by_a_message_while_they_pend)
{
    PLAN(CGRPC_PENDING, CGRPC_NEXT, CGRPC_NEXT, CGRPC_OK);
    start_with(CHAT, statuses);
    say(1, 0, "a");
    say(1, 0, "b");
    LOGGED("a ");
    wake();
    LOGGED("a a b ");
    data(1, END_STREAM, "", 0);
    LOGGED("a a b end ");
}

TEST(handlers__that_stream_in_see_each_message_and_then_the_end)
{
    static const int methods[] = { COLLECT, CHAT };
    PLAN(CGRPC_NEXT, CGRPC_NEXT, CGRPC_OK);
    size_t i;
    for (i = 0; i < 2; i++) {
        start_with(methods[i], statuses);
        say(1, 0, "a");
        LOGGED("a ");
        say(1, END_STREAM, "b");
        LOGGED("a b end ");
        SAID("H1");
    }
}

TEST(handlers__that_stream_in_see_the_end_of_an_empty_stream)
{
    static const int methods[] = { COLLECT, CHAT };
    PLAN(CGRPC_OK);
    size_t i;
    for (i = 0; i < 2; i++) {
        start(&normal);
        on_call[methods[i]] = follow;
        plan = statuses;
        log_text[0] = 0;
        headers(1, END_STREAM, i ? ":method: POST\n:scheme: http\n"
                ":path: /t.T/Chat\ncontent-type: application/grpc\n"
                : ":method: POST\n:scheme: http\n"
                ":path: /t.T/Collect\ncontent-type: application/grpc\n");
        LOGGED("end ");
    }
}

TEST(handlers__of_bidi_calls_are_run_without_a_message_when_woken)
{
    PLAN(CGRPC_NEXT, CGRPC_NEXT, CGRPC_NEXT, CGRPC_NEXT, CGRPC_NEXT,
         CGRPC_OK);
    start_with(CHAT, statuses);
    say(1, 0, "a");
    wake();
    wake();
    say(1, 0, "b");
    LOGGED("a null null b ");
    data(1, END_STREAM, "", 0);
    LOGGED("a null null b end ");
    wait_ms(1000);
    LOGGED("a null null b end "); /* told once */
    wake();
    LOGGED("a null null b end end ");
    SAID("H1");
}

TEST(handlers__of_client_streams_are_not_run_without_cause)
{
    PLAN(CGRPC_NEXT, CGRPC_OK);
    start_with(COLLECT, statuses);
    say(1, 0, "a");
    wake();
    LOGGED("a ");
    data(1, END_STREAM, "", 0);
    LOGGED("a end ");
}

TEST(handlers__pend_without_a_message_too)
{
    PLAN(CGRPC_NEXT, CGRPC_PENDING, CGRPC_NEXT, CGRPC_NEXT, CGRPC_OK);
    start_with(CHAT, statuses);
    say(1, 0, "a");
    wake();
    say(1, 0, "b");
    LOGGED("a null ");
    wake();
    LOGGED("a null null b ");
}

/* Nobody waits for ever on a handler of a client stream that goes on after
 * the end: nothing can come. */
TEST(handlers__of_client_streams_cannot_go_on_after_the_end)
{
    PLAN(CGRPC_NEXT, CGRPC_NEXT, CGRPC_OK);
    start_with(COLLECT, statuses);
    say(1, END_STREAM, "a");
    wake();
    CHECK(strstr(peer->reader.text, "grpc-status=") != NULL);
}

static void woken_early(cgrpc_call *call)
{
    cgrpc_call_wake(call);
}

static cgrpc_status wake_itself(cgrpc_call *call, const cgrpc_bytes *in,
                                cgrpc_bytes *out)
{
    int *count = (int *)cgrpc_call_state(call);
    woken_early(call);
    if (++*count < 50) return CGRPC_PENDING;
    *out = *in;
    return CGRPC_OK;
}

TEST(handlers__that_wake_themselves_are_run_again_though_nothing_moves)
{
    start(&normal);
    on_call[UNARY] = wake_itself;
    request(1, "Unary", "");
    say(1, END_STREAM, "hi");
    CHECK(runs[UNARY] == 50);
    SAID("H1. grpc-status=0");
}

/* ---- what a handler may not return ---- */

TEST(handlers__that_return_what_is_no_status_end_their_call_as_internal)
{
    static const struct { int method, status; } table[] = {
        { UNARY, CGRPC_NEXT }, { LIST, CGRPC_NEXT }, { UNARY, 17 },
        { CHAT, 99 }, { COLLECT, 1000 }, { UNARY, 255 }, { LIST, 256 }
    };
    size_t i;
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        int statuses[2];
        statuses[0] = table[i].status;
        statuses[1] = -1;
        start_with(table[i].method, statuses);
        say(1, END_STREAM, "hi");
        SAYS("H1. :status=200 content-type=application/grpc "
             "grpc-status=13\n");
        request(3, "Unary", "");
    }
}

/* ---- state ---- */

static cgrpc_status scribble(cgrpc_call *call, const cgrpc_bytes *in,
                             cgrpc_bytes *out)
{
    uint8_t *state = (uint8_t *)cgrpc_call_state(call);
    size_t i;
    for (i = 0; i < CGRPC_STATE_BYTES; i++) CHECK(state[i] == 0);
    CHECK(((size_t)state & (sizeof(void *) - 1)) == 0);
    CHECK(cgrpc_call_user(call) == NULL);
    cgrpc_call_set_user(call, state);
    memset(state, 0xA5, CGRPC_STATE_BYTES);
    *out = *in;
    return CGRPC_OK;
}

TEST(handlers__find_their_state_zeroed_for_each_call)
{
    uint32_t id;
    start(&normal);
    on_call[UNARY] = scribble;
    for (id = 1; id < 40; id += 2) {
        request(id, "Unary", "");
        say(id, END_STREAM, "hi");
    }
    CHECK(runs[UNARY] == 20);
}

static cgrpc_status keep_own(cgrpc_call *call, const cgrpc_bytes *in,
                             cgrpc_bytes *out)
{
    char *state = (char *)cgrpc_call_state(call);
    (void)out;
    if (!in) return CGRPC_OK;
    CHECK(*state == 0 || *state == (char)in->data[0]);
    *state = (char)in->data[0];
    return CGRPC_NEXT;
}

TEST(handlers__of_calls_at_once_have_a_state_each)
{
    int turn;
    uint32_t i;
    start(&normal);
    on_call[CHAT] = keep_own;
    for (i = 0; i < 4; i++) request(1 + 2 * i, "Chat", "");
    for (turn = 0; turn < 3; turn++)
        for (i = 0; i < 4; i++) {
            char text[2] = { 0, 0 };
            text[0] = (char)('a' + i);
            say(1 + 2 * i, 0, text);
        }
    CHECK(runs[CHAT] == 12);
}

/* ---- on_end ---- */

static int ends;
static cgrpc_status end_status;
static cgrpc_call *end_call;

static void note_end(cgrpc_call *call, cgrpc_status status)
{
    CHECK(!ends || call != end_call);
    CHECK(rig_port.in_handler);
    CHECK(cgrpc_call_status(call) == status);
    CHECK(cgrpc_call_ended(call));
    CHECK(*(int *)cgrpc_call_state(call) == 42); /* is still its own */
    ends++;
    end_status = status;
    end_call = call;
}

static cgrpc_status end_with; /* what on_end_handler returns */
static bool end_cancels;

static cgrpc_status on_end_handler(cgrpc_call *call, const cgrpc_bytes *in,
                                   cgrpc_bytes *out)
{
    *(int *)cgrpc_call_state(call) = 42;
    held = call;
    cgrpc_call_on_end(call, note_end);
    if (end_cancels) cgrpc_call_cancel(call);
    if (in && out && end_with == CGRPC_OK) *out = *in;
    return end_with;
}

static void cancel_by_peer(void) { reset(1, CANCEL); }
static void cancel_here(void) { cgrpc_call_cancel(held); run(); }
static void pass_deadline(void) { wait_ms(100); }
static void break_stream(void) { data(1, 0, "\1", 1); }
static void stop(void) { cgrpc_server_stop(server); }

static void lose(void)
{
    cgrpc_memory_close(mine(peer));
    run();
}

static void go_wrong(void) { frame(DATA, 0, 0, "x", 1); }

static void drain_then_cancel(void)
{
    cgrpc_server_drain(server);
    run();
    frame(PING, ACK, 0, "cgdrain", 8);
    CHECK(ends == 0); /* calls in flight may finish */
    reset(1, CANCEL);
}

static void stay(void) { wait_ms(1); }

/* The call is at this stage when it happens, and on_end hears that. */
TEST(handlers__are_told_once_how_their_call_ended)
{
    static const struct {
        const char *what;
        int method;
        cgrpc_status returned;
        bool no_window;
        void (*happens)(void);
        cgrpc_status told;
    } table[] = {
        { "OK", UNARY, CGRPC_OK, false, stay, CGRPC_OK },
        { "OK of a stream", LIST, CGRPC_OK, false, stay, CGRPC_OK },
        { "OK of a chat", CHAT, CGRPC_OK, false, stay, CGRPC_OK },
        { "an error", UNARY, CGRPC_ABORTED, false, stay, CGRPC_ABORTED },
        { "an error of a chat", CHAT, CGRPC_ABORTED, false, stay,
          CGRPC_ABORTED },
        { "no status", UNARY, CGRPC_NEXT, false, stay, CGRPC_INTERNAL },
        { "reset", UNARY, CGRPC_PENDING, false, cancel_by_peer,
          CGRPC_CANCELLED },
        { "reset of a chat", CHAT, CGRPC_NEXT, false, cancel_by_peer,
          CGRPC_CANCELLED },
        { "reset before the reply", UNARY, CGRPC_OK, true, cancel_by_peer,
          CGRPC_CANCELLED },
        { "cancelled", UNARY, CGRPC_PENDING, false, cancel_here,
          CGRPC_CANCELLED },
        { "cancelled chat", CHAT, CGRPC_NEXT, false, cancel_here,
          CGRPC_CANCELLED },
        { "cancelled before the reply", UNARY, CGRPC_OK, true, cancel_here,
          CGRPC_CANCELLED },
        { "late", UNARY, CGRPC_PENDING, false, pass_deadline,
          CGRPC_DEADLINE_EXCEEDED },
        { "late chat", CHAT, CGRPC_NEXT, false, pass_deadline,
          CGRPC_DEADLINE_EXCEEDED },
        { "late before the reply", UNARY, CGRPC_OK, true, pass_deadline,
          CGRPC_DEADLINE_EXCEEDED },
        { "lost", UNARY, CGRPC_PENDING, false, lose, CGRPC_CANCELLED },
        { "lost chat", CHAT, CGRPC_NEXT, false, lose, CGRPC_CANCELLED },
        { "lost before the reply", UNARY, CGRPC_OK, true, lose,
          CGRPC_CANCELLED },
        { "a connection error", CHAT, CGRPC_NEXT, false, go_wrong,
          CGRPC_CANCELLED },
        { "a compressed message", CHAT, CGRPC_NEXT, false, break_stream,
          CGRPC_INTERNAL },
        { "stopped", UNARY, CGRPC_PENDING, false, stop, CGRPC_CANCELLED },
        { "stopped chat", CHAT, CGRPC_NEXT, false, stop, CGRPC_CANCELLED },
        { "stopped before the reply", UNARY, CGRPC_OK, true, stop,
          CGRPC_CANCELLED },
        { "drained", CHAT, CGRPC_NEXT, false, drain_then_cancel,
          CGRPC_CANCELLED }
    };
    size_t i;
    for (i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        bool whole = table[i].method == UNARY || table[i].method == LIST;
        bool good;
        start(&normal);
        on_call[table[i].method] = on_end_handler;
        end_with = table[i].returned;
        end_cancels = false;
        ends = 0;
        held = NULL;
        if (table[i].no_window) settings(1, INITIAL_WINDOW_SIZE, 0u);
        request(1, names[table[i].method], "grpc-timeout: 50m\n");
        say(1, whole ? END_STREAM : 0, "hi");
        CHECK(held != NULL);
        table[i].happens();
        good = ends == 1 && end_status == table[i].told;
        if (!good)
            printf("  %s: told %d times, status %d\n", table[i].what, ends,
                   (int)end_status);
        CHECK(good);
        wait_ms(200000);
        cgrpc_server_stop(server);
        CHECK(ends == 1);
        CHECK(cgrpc_server_idle(server));
    }
}

TEST(handlers__that_cancel_their_own_call_are_told_once)
{
    static const int returns[] = { CGRPC_OK, CGRPC_PENDING, CGRPC_NEXT,
                                   CGRPC_ABORTED };
    size_t i;
    int method;
    for (method = UNARY; method <= CHAT; method++)
        for (i = 0; i < 4; i++) {
            start(&normal);
            on_call[method] = on_end_handler;
            end_with = (cgrpc_status)returns[i];
            end_cancels = true;
            ends = 0;
            request(1, names[method], "");
            say(1, END_STREAM, "hi");
            CHECK(ends == 1);
            CHECK(end_status == CGRPC_CANCELLED);
            CHECK(runs[method] == 1);
            SAYS("R1 8\n");
        }
    end_cancels = false;
}

static void replace_hook(cgrpc_call *call, cgrpc_status status)
{
    (void)status;
    ends++;
    cgrpc_call_on_end(call, note_end); /* too late */
    cgrpc_call_cancel(call);           /* and so is this */
    cgrpc_call_wake(call);
}

static cgrpc_status with_replacing_hook(cgrpc_call *call,
                                        const cgrpc_bytes *in,
                                        cgrpc_bytes *out)
{
    cgrpc_call_on_end(call, replace_hook);
    *out = *in;
    return CGRPC_OK;
}

TEST(handlers__cannot_be_told_again_by_what_a_hook_does)
{
    start(&normal);
    on_call[UNARY] = with_replacing_hook;
    ends = 0;
    request(1, "Unary", "");
    say(1, END_STREAM, "hi");
    wait_ms(1);
    CHECK(ends == 1);
    SAYS(REPLY_HEAD(1) "D1 \\00\\00\\00\\00\\02hi\n" REPLY_END(1));
}

static char end_peer[32];

static void note_peer(cgrpc_call *call, cgrpc_status status)
{
    (void)status;
    ends++;
    strcpy(end_peer, cgrpc_call_peer(call));
    CHECK(strcmp(cgrpc_call_authority(call), "desk") == 0);
    CHECK(cgrpc_call_method(call) == &rig_methods[UNARY]);
}

static cgrpc_status tell_peer(cgrpc_call *call, const cgrpc_bytes *in,
                              cgrpc_bytes *out)
{
    cgrpc_call_on_end(call, note_peer);
    *out = *in;
    return CGRPC_OK;
}

/* ... for a log of calls, which is written when they end. */
TEST(handlers__may_ask_in_on_end_whose_call_it_was)
{
    rig_key_count = 4; /* with :authority */
    start(&normal);
    rig_key_count = 3;
    on_call[UNARY] = tell_peer;
    ends = 0;
    request(1, "Unary", "");
    say(1, END_STREAM, "hi");
    CHECK(ends == 1);
    CHECK(strcmp(end_peer, "desk") == 0);
}

/* ---- running out ---- */

TEST(handlers__of_other_calls_run_on_when_all_calls_are_taken)
{
    PLAN(CGRPC_PENDING, CGRPC_OK);
    start(&single);
    on_call[UNARY] = follow;
    plan = statuses;
    log_text[0] = 0;
    request(1, "Unary", "");
    say(1, END_STREAM, "a");
    request(3, "Unary", "");
    say(3, END_STREAM, "b");
    SAYS("R3 7\n");
    wake();
    LOGGED("a a ");
    SAID("H1. grpc-status=0");
    request(5, "Unary", "");
    say(5, END_STREAM, "c");
    SAID("H5. grpc-status=0");
}

TEST(handlers__have_a_slot_though_an_ended_call_waits_for_its_peer)
{
    start(&single);
    on_call[COLLECT] = echo;
    request(1, "Collect", "");
    say(1, 0, "a"); /* is answered, but does not end */
    SAID("H1. grpc-status=0");
    wire_forget(&peer->reader);
    request(3, "Unary", "");
    say(3, END_STREAM, "b");
    SAID("R1 0");
    SAID("H3. grpc-status=0");
}

TEST(handlers__are_out_of_reach_when_all_connections_are_taken)
{
    cgrpc_io io;
    start(&single);
    cgrpc_memory_pipe_init(&peers[1].pipe, peers[1].bytes, 1024);
    io = cgrpc_memory_io(&peers[1].pipe.ends[1]);
    CHECK(cgrpc_server_accept(server, &io, "two") == CGRPC_E_BUSY);
    request(1, "Unary", "");
    say(1, END_STREAM, "a");
    SAID("H1. grpc-status=0");
    cgrpc_memory_close(mine(peer));
    run();
    CHECK(cgrpc_server_idle(server));
    CHECK(cgrpc_server_accept(server, &io, "two") == CGRPC_SUCCESS);
}

/* ---- services ---- */

static const cgrpc_method other_methods[] = {
    { "/t.U/First", NULL, NULL, sizeof(cgrpc_bytes), sizeof(cgrpc_bytes),
      CGRPC_UNARY },
    { "/t.U/Unary", NULL, NULL, sizeof(cgrpc_bytes), sizeof(cgrpc_bytes),
      CGRPC_UNARY }
};
static char other_ran[64];

static cgrpc_status other_run(const void *handlers, size_t method,
                              cgrpc_call *call, const void *in, void *out)
{
    CHECK(cgrpc_call_method(call) == &other_methods[method]);
    sprintf(other_ran + strlen(other_ran), "%s%d ", (const char *)handlers,
            (int)method);
    *(cgrpc_bytes *)out = *(const cgrpc_bytes *)in;
    return CGRPC_OK;
}

static const cgrpc_service other_service = {
    CGRPC_GENERATED_VERSION, "t.U", other_methods, 2, other_run, NULL
};

static void call_other(uint32_t id, const char *path)
{
    char fields[200];
    sprintf(fields, ":method: POST\n:scheme: http\n:path: %s\n"
            "content-type: application/grpc\n", path);
    headers(id, 0, fields);
    say(id, END_STREAM, "x");
}

TEST(handlers__of_several_services_are_found_and_can_be_replaced)
{
    cgrpc_serving serving[3];
    cgrpc_server_desc desc;
    rig_desc(&desc);
    serving[0] = rig_services[0];
    serving[1].service = serving[2].service = &other_service;
    serving[1].handlers = "u";
    serving[2].handlers = "never";
    start(&normal);
    cgrpc_server_stop(server);
    desc.services = serving;
    desc.service_count = 3;
    CHECK(cgrpc_server_init(server, &desc) == CGRPC_SUCCESS);
    dial(peer, 0);
    greet();
    other_ran[0] = 0;
    call_other(1, "/t.T/Unary");
    CHECK(runs[UNARY] == 1);
    call_other(3, "/t.U/Unary");
    call_other(5, "/t.U/First");
    CHECK(strcmp(other_ran, "u1 u0 ") == 0);
    serving[1].handlers = "v";
    call_other(7, "/t.U/First");
    CHECK(strcmp(other_ran, "u1 u0 v0 ") == 0);
    call_other(9, "/t.U/Second");
    SAID("H9. :status=200 content-type=application/grpc grpc-status=12");
}

/* ---- what init refuses ---- */

TEST(handlers__are_not_served_by_a_server_that_was_defined_wrongly)
{
    static const cgrpc_service old = { CGRPC_GENERATED_VERSION + 1, "t.T",
                                       rig_methods, 4, rig_run, NULL };
    static const cgrpc_serving olds[] = { { &old, on_call } };
    static const char *const bad_keys[] = { "x-a", "X-B" };
    cgrpc_port silent = { NULL, NULL, NULL, NULL, false };
    cgrpc_server_desc good, desc;
    rig_desc(&good);
    CHECK(cgrpc_server_init(&normal, &good) == CGRPC_SUCCESS);
    CHECK(cgrpc_server_init(&normal, NULL) == CGRPC_E_ARGUMENT);
    CHECK(cgrpc_server_init(&cramped, &good) == CGRPC_E_CONFIG);
    CHECK(cgrpc_server_init_(&normal, &good, CGRPC_LAYOUT + 1) ==
          CGRPC_E_LAYOUT);
    desc = good;
    desc.service_count = 0;
    CHECK(cgrpc_server_init(&normal, &desc) == CGRPC_E_ARGUMENT);
    desc = good;
    desc.port = NULL;
    CHECK(cgrpc_server_init(&normal, &desc) == CGRPC_E_ARGUMENT);
    desc = good;
    desc.port = &silent;
    CHECK(cgrpc_server_init(&normal, &desc) == CGRPC_E_ARGUMENT);
    desc = good;
    desc.services = olds;
    CHECK(cgrpc_server_init(&normal, &desc) == CGRPC_E_LAYOUT);
    desc = good;
    desc.keys = bad_keys;
    desc.key_count = 2;
    CHECK(cgrpc_server_init(&normal, &desc) == CGRPC_E_ARGUMENT);
    CHECK(cgrpc_server_init(&normal, &good) == CGRPC_SUCCESS);
}

TESTS = {
    RUN(handlers__run_when_the_request_is_whole_and_not_before),
    RUN(handlers__are_run_again_with_the_same_message_after_pending),
    RUN(handlers__are_not_run_by_a_message_while_they_pend),
    RUN(handlers__that_stream_in_see_each_message_and_then_the_end),
    RUN(handlers__that_stream_in_see_the_end_of_an_empty_stream),
    RUN(handlers__of_bidi_calls_are_run_without_a_message_when_woken),
    RUN(handlers__of_client_streams_are_not_run_without_cause),
    RUN(handlers__pend_without_a_message_too),
    RUN(handlers__of_client_streams_cannot_go_on_after_the_end),
    RUN(handlers__that_wake_themselves_are_run_again_though_nothing_moves),
    RUN(handlers__that_return_what_is_no_status_end_their_call_as_internal),
    RUN(handlers__find_their_state_zeroed_for_each_call),
    RUN(handlers__of_calls_at_once_have_a_state_each),
    RUN(handlers__are_told_once_how_their_call_ended),
    RUN(handlers__that_cancel_their_own_call_are_told_once),
    RUN(handlers__cannot_be_told_again_by_what_a_hook_does),
    RUN(handlers__may_ask_in_on_end_whose_call_it_was),
    RUN(handlers__of_other_calls_run_on_when_all_calls_are_taken),
    RUN(handlers__have_a_slot_though_an_ended_call_waits_for_its_peer),
    RUN(handlers__are_out_of_reach_when_all_connections_are_taken),
    RUN(handlers__of_several_services_are_found_and_can_be_replaced),
    RUN(handlers__are_not_served_by_a_server_that_was_defined_wrongly),
    TESTS_END
};
