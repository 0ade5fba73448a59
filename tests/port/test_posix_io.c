/* The POSIX port as a carrier of bytes. The server here is not gRPC: it
 * sends back what it gets, through the same four functions that the port
 * calls, so that each test says what the port does and nothing else. */
#include "cgrpc_posix.h"
#define CGRPC_IMPLEMENTATION
#include "cgrpc_posix.h"

#include "test.h"
#include "unix_at.h"
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>

enum { CLIENTS = 300 };

CGRPC_POSIX_DEFINE(posix, 2 * CLIENTS); /* both sides of each stream */
CGRPC_POSIX_DEFINE(small, 2);
static cgrpc_posix *port_of_test = &posix;
static cgrpc_server server;

/* ---- a server that sends back ---- */

static struct echo {
    cgrpc_io io;
    bool open, deaf; /* deaf: does nothing, the test does */
} echoes[CLIENTS];
static size_t echo_room = CLIENTS;
static bool draining;
static char last_peer[64];

cgrpc_result cgrpc_server_accept(cgrpc_server *to, const cgrpc_io *io,
                                 const char *peer)
{
    size_t i;
    (void)to;
    for (i = 0; i < echo_room; i++)
        if (!echoes[i].open) {
            echoes[i].io = *io;
            echoes[i].open = true;
            echoes[i].deaf = false;
            snprintf(last_peer, sizeof(last_peer), "%s", peer);
            return CGRPC_SUCCESS;
        }
    return CGRPC_E_BUSY;
}

static void echo_close(struct echo *echo)
{
    echo->open = false;
    echo->io.ops->close(echo->io.context);
}

static void echo_run(struct echo *echo)
{
    const uint8_t *data;
    int got, sent;
    while ((got = echo->io.ops->peek(echo->io.context, &data)) > 0) {
        sent = echo->io.ops->send(echo->io.context, data, (size_t)got);
        if (sent < 0)
            got = sent;
        if (sent <= 0)
            break;
        echo->io.ops->take(echo->io.context, (size_t)sent);
    }
    if (got < 0 || (draining && got == 0))
        echo_close(echo);
}

uint32_t cgrpc_server_poll(cgrpc_server *of)
{
    size_t i;
    (void)of;
    for (i = 0; i < CLIENTS; i++)
        if (echoes[i].open && !echoes[i].deaf)
            echo_run(&echoes[i]);
    return UINT32_MAX;
}

void cgrpc_server_drain(cgrpc_server *of)
{
    (void)of;
    draining = true;
}

static size_t echo_count(void)
{
    size_t i, count = 0;
    for (i = 0; i < CLIENTS; i++)
        count += echoes[i].open;
    return count;
}

bool cgrpc_server_idle(const cgrpc_server *of)
{
    (void)of;
    return echo_count() == 0;
}

void cgrpc_server_stop(cgrpc_server *of)
{
    size_t i;
    (void)of;
    for (i = 0; i < CLIENTS; i++)
        if (echoes[i].open)
            echo_close(&echoes[i]);
}

/* ---- the client's side ---- */

static bool begin_with(cgrpc_posix *port, const char *address)
{
    memset(echoes, 0, sizeof(echoes));
    echo_room = CLIENTS;
    draining = false;
    port_of_test = port;
    return cgrpc_posix_init(port) == CGRPC_SUCCESS &&
           cgrpc_posix_listen(port, &server, address) == CGRPC_SUCCESS;
}

static bool begin(const char *address)
{
    return begin_with(&posix, address);
}

static void end(void)
{
    cgrpc_server_stop(&server);
    cgrpc_posix_close(port_of_test);
}

static bool connect_to(const char *target, cgrpc_io *io)
{
    const cgrpc_port *port = cgrpc_posix_port(port_of_test);
    return port->connect(port->context, target, io) == CGRPC_SUCCESS;
}

static bool connect_here(cgrpc_io *io)
{
    return connect_to(cgrpc_posix_address(port_of_test, 0), io);
}

static void close_io(cgrpc_io *io)
{
    io->ops->close(io->context);
}

static uint32_t clock_ms(void)
{
    const cgrpc_port *port = cgrpc_posix_port(port_of_test);
    return port->now(port->context);
}

/* Runs the port until peek says something, for 5 seconds at most. */
static int peek_soon(cgrpc_io *io, const uint8_t **data)
{
    uint32_t start = clock_ms();
    int got = 0;
    while (!got && clock_ms() - start < 5000) {
        got = io->ops->peek(io->context, data);
        if (!got)
            cgrpc_posix_step(port_of_test, 20);
    }
    return got;
}

static bool send_soon(cgrpc_io *io, const char *text)
{
    uint32_t start = clock_ms();
    size_t len = strlen(text);
    while (len && clock_ms() - start < 5000) {
        int sent = io->ops->send(io->context, (const uint8_t *)text, len);
        if (sent < 0)
            return false;
        text += sent;
        len -= (size_t)sent;
        if (!sent)
            cgrpc_posix_step(port_of_test, 20);
    }
    return len == 0;
}

static bool hears(cgrpc_io *io, const char *text)
{
    size_t len = strlen(text);
    const uint8_t *data;
    while (len) {
        int got = peek_soon(io, &data);
        size_t part = got > 0 && (size_t)got < len ? (size_t)got : len;
        if (got <= 0 || memcmp(data, text, part) != 0)
            return false;
        io->ops->take(io->context, part);
        text += part;
        len -= part;
    }
    return true;
}

static bool step_until_echoes(size_t count)
{
    uint32_t start = clock_ms();
    while (echo_count() != count && clock_ms() - start < 5000)
        cgrpc_posix_step(port_of_test, 20);
    return echo_count() == count;
}

/* A client that knows nothing of the port. */
static int plain_socket(void)
{
    const char *colon = strrchr(cgrpc_posix_address(port_of_test, 0), ':');
    struct sockaddr_in to;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    memset(&to, 0, sizeof(to));
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons((uint16_t)atoi(colon + 1));
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0)
        return -1;
    return fd;
}

/* ---- families and addresses ---- */

static void carries_bytes(const char *address, const char *starts)
{
    cgrpc_io io;
    CHECK(begin(address));
    CHECK(strncmp(cgrpc_posix_address(&posix, 0), starts, strlen(starts)) == 0);
    CHECK(strstr(cgrpc_posix_address(&posix, 0), ":0") == NULL);
    CHECK(connect_here(&io));
    CHECK(send_soon(&io, "hello"));
    CHECK(hears(&io, "hello"));
    CHECK(strncmp(last_peer, starts, 5) == 0);
    close_io(&io);
    CHECK(step_until_echoes(0));
    end();
}

TEST(posix__carries_bytes_over_ipv4)
{
    carries_bytes("127.0.0.1:0", "127.0.0.1:");
}

TEST(posix__carries_bytes_over_ipv6)
{
    carries_bytes("[::1]:0", "[::1]:");
}

TEST(posix__carries_bytes_over_a_unix_socket)
{
    carries_bytes(unix_at("test"), unix_at("test"));
    CHECK(access(unix_at("test") + 5, F_OK) != 0);
}

TEST(posix__listens_everywhere_in_both_families)
{
    cgrpc_io io;
    char target[32];
    CHECK(begin(":0"));
    snprintf(target, sizeof(target), "127.0.0.1%s",
             strrchr(cgrpc_posix_address(&posix, 0), ':'));
    CHECK(connect_to(target, &io));
    CHECK(send_soon(&io, "four") && hears(&io, "four"));
    close_io(&io);
    snprintf(target, sizeof(target), "[::1]%s",
             strrchr(cgrpc_posix_address(&posix, 0), ':'));
    CHECK(connect_to(target, &io));
    CHECK(send_soon(&io, "six") && hears(&io, "six"));
    close_io(&io);
    end();
}

TEST(posix__tries_the_next_address_of_a_name)
{
    cgrpc_io io;
    char target[32];
    CHECK(begin("127.0.0.1:0")); /* while localhost may be ::1 first */
    snprintf(target, sizeof(target), "localhost%s",
             strrchr(cgrpc_posix_address(&posix, 0), ':'));
    CHECK(connect_to(target, &io));
    CHECK(send_soon(&io, "by name") && hears(&io, "by name"));
    close_io(&io);
    end();
}

TEST(posix__listens_on_several_addresses_at_once)
{
    cgrpc_io one, two;
    CHECK(begin("127.0.0.1:0"));
    CHECK(cgrpc_posix_listen(&posix, &server, unix_at("two")) ==
          CGRPC_SUCCESS);
    CHECK(connect_here(&one));
    CHECK(connect_to(cgrpc_posix_address(&posix, 1), &two));
    CHECK(send_soon(&one, "one") && send_soon(&two, "two"));
    CHECK(hears(&one, "one") && hears(&two, "two"));
    close_io(&one);
    close_io(&two);
    end();
}

static void refuses_address(const char *address, cgrpc_result result,
                            const char *says)
{
    CHECK(cgrpc_posix_listen(&posix, &server, address) == result);
    CHECK(strstr(cgrpc_posix_error(&posix), says) != NULL);
}

TEST(posix__says_how_to_write_an_address)
{
    CHECK(cgrpc_posix_init(&posix) == CGRPC_SUCCESS);
    refuses_address("nonsense", CGRPC_E_ARGUMENT, "host:port");
    refuses_address("::1:50051", CGRPC_E_ARGUMENT, "[v6]:port");
    refuses_address("127.0.0.1:", CGRPC_E_ARGUMENT, "host:port");
    refuses_address("unix:", CGRPC_E_ARGUMENT, "path");
    cgrpc_posix_close(&posix);
}

TEST(posix__says_what_to_do_when_a_port_is_in_use)
{
    char address[128];
    CHECK(begin("127.0.0.1:0"));
    snprintf(address, sizeof(address), "%s", cgrpc_posix_address(&posix, 0));
    refuses_address(address, CGRPC_E_IO, "take another port");
    CHECK(strstr(cgrpc_posix_error(&posix), address) != NULL);
    end();
}

TEST(posix__says_when_there_are_too_many_addresses)
{
    int i;
    CHECK(begin("127.0.0.1:0"));
    for (i = 1; i < CGRPC_POSIX_LISTENERS; i++)
        CHECK(!cgrpc_posix_listen(&posix, &server, "127.0.0.1:0"));
    refuses_address("127.0.0.1:0", CGRPC_E_ROOM, "CGRPC_POSIX_LISTENERS");
    end();
}

TEST(posix__replaces_a_socket_file_that_nobody_listens_on)
{
    struct sockaddr_un left;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    memset(&left, 0, sizeof(left));
    left.sun_family = AF_UNIX;
    strcpy(left.sun_path, unix_at("stale") + 5);
    unlink(left.sun_path);
    CHECK(bind(fd, (struct sockaddr *)&left, sizeof(left)) == 0);
    close(fd);
    CHECK(begin(unix_at("stale")));
    refuses_address(unix_at("stale"), CGRPC_E_IO, "stop what");
    end();
}

TEST(posix__finds_files_that_see_other_macros)
{
    cgrpc_posix_memory memory = posix_memory;
    cgrpc_posix other;
    other.memory = &memory;
    memory.conn_size++;
    CHECK(cgrpc_posix_init(&other) == CGRPC_E_LAYOUT);
    CHECK(strstr(cgrpc_posix_error(&other), "CGRPC_POSIX_RX_BYTES") != NULL);
}

/* ---- connecting ---- */

TEST(posix__a_refused_connection_is_a_failed_stream)
{
    cgrpc_io io;
    const uint8_t *data;
    char target[128];
    CHECK(begin("127.0.0.1:0"));
    snprintf(target, sizeof(target), "%s", cgrpc_posix_address(&posix, 0));
    end();
    CHECK(cgrpc_posix_init(&posix) == CGRPC_SUCCESS);
    CHECK(connect_to(target, &io));
    CHECK(peek_soon(&io, &data) == CGRPC_E_IO);
    CHECK(io.ops->send(io.context, data, 1) == CGRPC_E_IO);
    CHECK(strstr(cgrpc_posix_error(&posix), "is the server running") != NULL);
    close_io(&io);
    cgrpc_posix_close(&posix);
}

TEST(posix__a_missing_unix_socket_is_told_at_once)
{
    cgrpc_io io;
    CHECK(cgrpc_posix_init(&posix) == CGRPC_SUCCESS);
    port_of_test = &posix;
    CHECK(!connect_to(unix_at("no_such"), &io));
    CHECK(strstr(cgrpc_posix_error(&posix), "is the server running") != NULL);
    cgrpc_posix_close(&posix);
}

TEST(posix__a_stream_that_still_connects_takes_nothing)
{
    cgrpc_io io;
    const uint8_t *data;
    CHECK(begin("127.0.0.1:0"));
    CHECK(connect_here(&io));
    CHECK(io.ops->send(io.context, (const uint8_t *)"x", 1) == 0);
    CHECK(io.ops->peek(io.context, &data) == 0);
    close_io(&io);
    end();
}

/* ---- streams ---- */

static uint8_t pattern(size_t at)
{
    return (uint8_t)(at * 7 + at / 251);
}

static void carries_megabytes(const char *address)
{
    enum { TOTAL = 4 << 20 };
    uint8_t out[10000];
    const uint8_t *data;
    size_t sent = 0, heard = 0, i;
    int partial = 0, wrong = 0, got;
    cgrpc_io io;
    CHECK(begin(address));
    CHECK(connect_here(&io));
    while (heard < TOTAL) {
        size_t len = TOTAL - sent < sizeof(out) ? TOTAL - sent : sizeof(out);
        for (i = 0; i < len; i++)
            out[i] = pattern(sent + i);
        got = io.ops->send(io.context, out, len);
        partial += got < (int)len;
        sent += got > 0 ? (size_t)got : 0;
        got = io.ops->peek(io.context, &data);
        for (i = 0; got > 0 && i < (size_t)got; i++)
            wrong += data[i] != pattern(heard + i);
        if (got > 1)
            got--; /* one byte stays and is shown again */
        if (got > 0)
            io.ops->take(io.context, (size_t)got);
        heard += got > 0 ? (size_t)got : 0;
        cgrpc_posix_step(&posix, got > 0 ? 0 : 20);
        if (got < 0)
            break;
    }
    CHECK(heard == TOTAL);
    CHECK(wrong == 0);
    CHECK(partial > 0);
    close_io(&io);
    end();
}

TEST(posix__carries_megabytes_through_partial_writes_over_tcp)
{
    carries_megabytes("127.0.0.1:0");
}

TEST(posix__carries_megabytes_through_partial_writes_over_a_unix_socket)
{
    carries_megabytes(unix_at("large"));
}

/* The server's end of a plain client's stream, left to the test. */
static struct echo *deaf_echo(int fd)
{
    CHECK(fd >= 0);
    CHECK(step_until_echoes(1));
    echoes[0].deaf = true;
    return &echoes[0];
}

TEST(posix__shows_the_end_after_all_bytes_and_can_still_send)
{
    const uint8_t *data;
    char answer[8] = "";
    struct echo *echo;
    int fd;
    CHECK(begin("127.0.0.1:0"));
    fd = plain_socket();
    echo = deaf_echo(fd);
    CHECK(send(fd, "last", 4, 0) == 4);
    CHECK(shutdown(fd, SHUT_WR) == 0);
    CHECK(hears(&echo->io, "last"));
    CHECK(peek_soon(&echo->io, &data) == CGRPC_E_CLOSED);
    CHECK(echo->io.ops->peek(echo->io.context, &data) == CGRPC_E_CLOSED);
    CHECK(send_soon(&echo->io, "answer"));
    CHECK(recv(fd, answer, sizeof(answer), 0) == 6);
    echo_close(echo);
    CHECK(recv(fd, answer, sizeof(answer), 0) == 0);
    close(fd);
    end();
}

TEST(posix__shows_a_reset_as_a_failure)
{
    struct linger hard = { 1, 0 };
    const uint8_t *data;
    struct echo *echo;
    int fd;
    CHECK(begin("127.0.0.1:0"));
    fd = plain_socket();
    echo = deaf_echo(fd);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(fd);
    CHECK(peek_soon(&echo->io, &data) == CGRPC_E_IO);
    end();
}

TEST(posix__sending_to_a_peer_that_is_gone_is_an_error_and_no_signal)
{
    struct echo *echo;
    int fd, i, sent = 0;
    CHECK(begin("127.0.0.1:0"));
    fd = plain_socket();
    echo = deaf_echo(fd);
    close(fd);
    for (i = 0; i < 200 && sent >= 0; i++) {
        sent = echo->io.ops->send(echo->io.context, (const uint8_t *)"x", 1);
        cgrpc_posix_step(&posix, 5);
    }
    CHECK(sent == CGRPC_E_IO);
    end();
}

TEST(posix__last_bytes_arrive_though_the_peer_still_sends)
{
    static char noise[100000];
    char heard[8] = "";
    struct echo *echo;
    int fd;
    CHECK(begin("127.0.0.1:0"));
    fd = plain_socket();
    echo = deaf_echo(fd);
    CHECK(send(fd, noise, sizeof(noise), 0) == sizeof(noise));
    cgrpc_posix_step(&posix, 50);
    CHECK(send_soon(&echo->io, "goodbye"));
    echo_close(echo);
    cgrpc_posix_step(&posix, 0);
    CHECK(send(fd, noise, 1000, MSG_NOSIGNAL) == 1000);
    cgrpc_posix_step(&posix, 50);
    CHECK(recv(fd, heard, sizeof(heard), 0) == 7);
    CHECK(strncmp(heard, "goodbye", 7) == 0);
    CHECK(posix.lingering == 1);
    close(fd);
    cgrpc_posix_step(&posix, 100);
    CHECK(posix.lingering == 0);
    end();
}

TEST(posix__a_closed_stream_does_not_linger_for_ever)
{
    uint32_t start;
    int fd;
    CHECK(begin("127.0.0.1:0"));
    fd = plain_socket();
    echo_close(deaf_echo(fd));
    start = clock_ms();
    while (posix.lingering && clock_ms() - start < 5000)
        cgrpc_posix_step(&posix, UINT32_MAX);
    CHECK(clock_ms() - start < CGRPC_POSIX_LINGER_MS + 500);
    close(fd);
    end();
}

/* ---- many ---- */

TEST(posix__serves_300_connections_in_one_thread)
{
    static cgrpc_io ios[CLIENTS];
    char text[32];
    int i, round, wrong = 0;
    CHECK(begin("127.0.0.1:0"));
    for (i = 0; i < CLIENTS; i++)
        CHECK(connect_here(&ios[i]));
    CHECK(step_until_echoes(CLIENTS));
    for (round = 0; round < 3; round++) {
        for (i = 0; i < CLIENTS; i++) {
            snprintf(text, sizeof(text), "client %d round %d", i, round);
            wrong += !send_soon(&ios[i], text);
        }
        for (i = 0; i < CLIENTS; i++) {
            snprintf(text, sizeof(text), "client %d round %d", i, round);
            wrong += !hears(&ios[i], text);
        }
    }
    CHECK(wrong == 0);
    for (i = 0; i < CLIENTS; i++)
        close_io(&ios[i]);
    CHECK(step_until_echoes(0));
    end();
}

TEST(posix__says_when_all_connections_are_taken_by_us)
{
    cgrpc_io io[3];
    CHECK(begin_with(&small, "127.0.0.1:0"));
    CHECK(connect_here(&io[0]) && connect_here(&io[1]));
    CHECK(!connect_here(&io[2]));
    CHECK(strstr(cgrpc_posix_error(&small), "CGRPC_POSIX_DEFINE") != NULL);
    close_io(&io[0]);
    close_io(&io[1]);
    end();
}

TEST(posix__a_client_waits_until_a_connection_is_free)
{
    int fds[3], i;
    char heard[4] = "";
    CHECK(begin_with(&small, "127.0.0.1:0"));
    for (i = 0; i < 3; i++)
        fds[i] = plain_socket();
    CHECK(step_until_echoes(2));
    cgrpc_posix_step(&small, 20);
    CHECK(echo_count() == 2);
    CHECK(send(fds[2], "abc", 3, 0) == 3);
    close(fds[0]);
    cgrpc_posix_step(&small, 100);
    cgrpc_posix_step(&small, 100);
    cgrpc_posix_step(&small, 100);
    CHECK(echo_count() == 2);
    CHECK(recv(fds[2], heard, 3, MSG_DONTWAIT) == 3);
    close(fds[1]);
    close(fds[2]);
    end();
}

TEST(posix__a_client_waits_until_the_server_has_room)
{
    int one, two;
    char heard[4] = "";
    CHECK(begin("127.0.0.1:0"));
    echo_room = 1;
    one = plain_socket();
    two = plain_socket();
    CHECK(send(two, "abc", 3, 0) == 3);
    cgrpc_posix_step(&posix, 20);
    cgrpc_posix_step(&posix, 20);
    CHECK(echo_count() == 1);
    close(one);
    cgrpc_posix_step(&posix, 100);
    cgrpc_posix_step(&posix, 100);
    cgrpc_posix_step(&posix, 100);
    CHECK(recv(two, heard, 3, MSG_DONTWAIT) == 3);
    close(two);
    end();
}

TEST(posix__a_stream_that_lingers_makes_room_for_a_client)
{
    int fds[3], i;
    CHECK(begin_with(&small, "127.0.0.1:0"));
    for (i = 0; i < 2; i++)
        fds[i] = plain_socket();
    CHECK(step_until_echoes(2));
    echo_close(&echoes[0]);
    CHECK(small.lingering == 1);
    fds[2] = plain_socket();
    CHECK(step_until_echoes(2));
    CHECK(small.lingering == 0);
    for (i = 0; i < 3; i++)
        close(fds[i]);
    end();
}

TEST(posix__survives_a_lack_of_descriptors)
{
    struct rlimit before, limit;
    int fd, spare;
    char heard[4] = "";
    CHECK(begin("127.0.0.1:0"));
    fd = plain_socket();
    CHECK(fd >= 0);
    spare = open("/dev/null", O_RDONLY);
    getrlimit(RLIMIT_NOFILE, &before);
    limit = before;
    limit.rlim_cur = (rlim_t)spare;
    close(spare);
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    cgrpc_posix_step(&posix, 20);
    cgrpc_posix_step(&posix, 20);
    CHECK(echo_count() == 0);
    CHECK(strstr(cgrpc_posix_error(&posix), "ulimit -n") != NULL);
    setrlimit(RLIMIT_NOFILE, &before);
    CHECK(send(fd, "abc", 3, 0) == 3);
    cgrpc_posix_step(&posix, 500); /* tries again by itself */
    cgrpc_posix_step(&posix, 500);
    cgrpc_posix_step(&posix, 500);
    CHECK(recv(fd, heard, 3, MSG_DONTWAIT) == 3);
    close(fd);
    end();
}

/* ---- waiting and stopping ---- */

static void pause_ms(long ms)
{
    struct timespec pause = { 0, ms * 1000000 };
    nanosleep(&pause, NULL);
}

static void *wake_later(void *port)
{
    pause_ms(30);
    cgrpc_posix_wake((cgrpc_posix *)port);
    return NULL;
}

static void *stop_later(void *port)
{
    pause_ms(30);
    cgrpc_posix_stop((cgrpc_posix *)port);
    return NULL;
}

TEST(posix__is_woken_by_another_thread)
{
    pthread_t thread;
    uint32_t start;
    int round;
    CHECK(begin("127.0.0.1:0"));
    for (round = 0; round < 3; round++) {
        start = clock_ms();
        pthread_create(&thread, NULL, wake_later, &posix);
        CHECK(cgrpc_posix_step(&posix, 5000));
        CHECK(clock_ms() - start >= 20 && clock_ms() - start < 2000);
        pthread_join(thread, NULL);
    }
    end();
}

TEST(posix__is_stopped_by_another_thread)
{
    pthread_t thread;
    CHECK(begin("127.0.0.1:0"));
    pthread_create(&thread, NULL, stop_later, &posix);
    cgrpc_posix_serve(&posix);
    CHECK(draining);
    pthread_join(thread, NULL);
    end();
}

TEST(posix__sleeps_when_there_is_nothing_to_do)
{
    uint32_t start;
    int fd, steps = 0;
    CHECK(begin("127.0.0.1:0"));
    fd = plain_socket();
    deaf_echo(fd);
    CHECK(send(fd, "unread", 6, 0) == 6); /* by nobody */
    start = clock_ms();
    while (clock_ms() - start < 300) {
        cgrpc_posix_step(&posix, 100);
        steps++;
    }
    CHECK(steps <= 5);
    close(fd);
    end();
}

TEST(posix__drains_on_a_signal)
{
    struct echo *echo;
    char target[128];
    int fd;
    CHECK(begin("127.0.0.1:0"));
    snprintf(target, sizeof(target), "%s", cgrpc_posix_address(&posix, 0));
    cgrpc_posix_catch_signals(&posix);
    fd = plain_socket();
    echo = deaf_echo(fd);
    raise(SIGTERM);
    CHECK(cgrpc_posix_step(&posix, 5000)); /* does not sleep */
    CHECK(draining);
    CHECK(plain_socket() == -1); /* refused: others may serve them */
    CHECK(cgrpc_posix_step(&posix, 10));
    echo_close(echo); /* what the server does when its calls have ended */
    close(fd);
    while (cgrpc_posix_step(&posix, 100))
        continue;
    CHECK(posix.lingering == 0);
    cgrpc_posix_catch_signals(NULL);
    end();
}

TEST(posix__stops_on_a_second_signal)
{
    int fd;
    CHECK(begin("127.0.0.1:0"));
    cgrpc_posix_catch_signals(&posix);
    fd = plain_socket();
    deaf_echo(fd);
    raise(SIGINT);
    CHECK(cgrpc_posix_step(&posix, 5000));
    CHECK(echo_count() == 1);
    raise(SIGINT);
    CHECK(!cgrpc_posix_step(&posix, 5000));
    CHECK(echo_count() == 0);
    cgrpc_posix_catch_signals(NULL);
    close(fd);
    end();
}

TESTS = {
    RUN(posix__carries_bytes_over_ipv4),
    RUN(posix__carries_bytes_over_ipv6),
    RUN(posix__carries_bytes_over_a_unix_socket),
    RUN(posix__listens_everywhere_in_both_families),
    RUN(posix__tries_the_next_address_of_a_name),
    RUN(posix__listens_on_several_addresses_at_once),
    RUN(posix__says_how_to_write_an_address),
    RUN(posix__says_what_to_do_when_a_port_is_in_use),
    RUN(posix__says_when_there_are_too_many_addresses),
    RUN(posix__replaces_a_socket_file_that_nobody_listens_on),
    RUN(posix__finds_files_that_see_other_macros),
    RUN(posix__a_refused_connection_is_a_failed_stream),
    RUN(posix__a_missing_unix_socket_is_told_at_once),
    RUN(posix__a_stream_that_still_connects_takes_nothing),
    RUN(posix__carries_megabytes_through_partial_writes_over_tcp),
    RUN(posix__carries_megabytes_through_partial_writes_over_a_unix_socket),
    RUN(posix__shows_the_end_after_all_bytes_and_can_still_send),
    RUN(posix__shows_a_reset_as_a_failure),
    RUN(posix__sending_to_a_peer_that_is_gone_is_an_error_and_no_signal),
    RUN(posix__last_bytes_arrive_though_the_peer_still_sends),
    RUN(posix__a_closed_stream_does_not_linger_for_ever),
    RUN(posix__serves_300_connections_in_one_thread),
    RUN(posix__says_when_all_connections_are_taken_by_us),
    RUN(posix__a_client_waits_until_a_connection_is_free),
    RUN(posix__a_client_waits_until_the_server_has_room),
    RUN(posix__a_stream_that_lingers_makes_room_for_a_client),
    RUN(posix__survives_a_lack_of_descriptors),
    RUN(posix__is_woken_by_another_thread),
    RUN(posix__is_stopped_by_another_thread),
    RUN(posix__sleeps_when_there_is_nothing_to_do),
    RUN(posix__drains_on_a_signal),
    RUN(posix__stops_on_a_second_signal),
    TESTS_END
};
