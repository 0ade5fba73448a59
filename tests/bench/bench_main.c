/* Runs calls from a client's begin() to its end() and prints the bytes of the
 * first two. What the regions execute is counted from outside, by callgrind
 * or from QEMU's trace: see tools/bench.
 *
 *     bench CLIENT SERVER CALLS
 *
 * CLIENT and SERVER are cgrpc or nghttp2; CALLS are counted, after a few that
 * are not.
 */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOINLINE __attribute__((noinline))
#define WARM_UP 8

static const bench_peer *client, *server;
static uint8_t up[4096], down[4096];
static size_t up_len, down_len;
static bool answered;

/* ---- the regions: all that is counted runs below one of them ---- */

NOINLINE void bench_client_region(bool begin)
{
    if (begin)
        up_len = client->begin(up, sizeof(up));
    else
        answered = client->end(down, down_len);
}

NOINLINE void bench_server_region(void)
{
    down_len = server->serve(up, up_len, down, sizeof(down));
}

/* In a trace, the sign that a region is over. */
NOINLINE void bench_region_end(void)
{
    __asm__ volatile("" ::: "memory");
}

static void counted_call(void)
{
    bench_client_region(true);
    bench_region_end();
    bench_server_region();
    bench_region_end();
    bench_client_region(false);
    bench_region_end();
}

/* ---- the rest ---- */

static void plain_call(void)
{
    up_len = client->begin(up, sizeof(up));
    down_len = server->serve(up, up_len, down, sizeof(down));
    answered = client->end(down, down_len);
}

static void fail(const char *text)
{
    printf("bench: %s\n", text);
    exit(1);
}

static const bench_peer *peer(const char *name)
{
    if (strcmp(name, "cgrpc") == 0)
        return &bench_cgrpc;
    if (strcmp(name, "nghttp2") == 0)
        return &bench_nghttp2;
    fail("the peers are cgrpc and nghttp2");
    return NULL;
}

static void connect_both(void)
{
    int turn;
    down_len = 0;
    for (turn = 0; turn < 4; turn++) {
        up_len = client->idle(down, down_len, up, sizeof(up));
        down_len = server->serve(up, up_len, down, sizeof(down));
    }
    if (down_len)
        fail("the handshake does not end");
}

int main(int argc, char **argv)
{
    int calls, i;
    if (argc != 4)
        fail("bench CLIENT SERVER CALLS");
    client = peer(argv[1]);
    server = peer(argv[2]);
    calls = atoi(argv[3]);
    client->init();
    if (server != client)
        server->init();
    connect_both();
    for (i = 1; i <= WARM_UP; i++) {
        plain_call();
        if (!answered)
            fail("no answer while warming up");
        if (i <= 2)
            printf("call %d: %u up, %u down\n", i, (unsigned)up_len,
                   (unsigned)down_len);
    }
    for (i = 0; i < calls; i++) {
        counted_call();
        if (!answered)
            fail("no answer");
    }
    printf("calls: %d\n", calls);
    return 0;
}
