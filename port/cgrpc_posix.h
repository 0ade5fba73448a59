/* cgrpc_posix.h - TCP and unix sockets on Linux, macOS and the BSDs
 *
 * One thread, hundreds of connections, nothing allocated: epoll on Linux,
 * poll elsewhere.
 *
 *     CGRPC_POSIX_DEFINE(posix, 16);                 16 connections at a time
 *
 *     cgrpc_posix_init(&posix);
 *     server_desc.port = cgrpc_posix_port(&posix);   a server, or
 *     channel_desc.port = cgrpc_posix_port(&posix);  a channel, or both
 *     ...
 *     if (cgrpc_posix_listen(&posix, &server, "[::1]:50051"))
 *         puts(cgrpc_posix_error(&posix));
 *     cgrpc_posix_serve(&posix);         until SIGINT or SIGTERM has drained it
 *
 * A program with more to do calls cgrpc_posix_step() instead:
 *
 *     while (cgrpc_posix_step(&posix, 10))
 *         other_work();
 *
 * Blocking calls and cgrpc_wait() run the port by themselves. With callbacks
 * it is step, and each channel polled, that move things:
 *
 *     do
 *         due = cgrpc_channel_poll(&channel);
 *     while (!cgrpc_call_ended(&call) && cgrpc_posix_step(&posix, due));
 *
 * Addresses: "127.0.0.1:50051", "[::1]:50051", "name:50051", "unix:/path", and
 * to listen also ":50051" (everywhere, both families) and port 0 (any free
 * one; cgrpc_posix_address() tells which). A name is looked up by
 * getaddrinfo(), which blocks; numbers do not. A name with several addresses
 * is tried from the first to the last.
 *
 * When all connections are taken, clients wait in the kernel's queue and get
 * theirs when one ends. A closed stream lingers, for CGRPC_POSIX_LINGER_MS at
 * most, until the peer has closed too, so that our last bytes arrive; it makes
 * room at once when a new one needs it.
 *
 * Threads: all of a cgrpc_posix, its servers and channels belong to one thread.
 * Only cgrpc_posix_wake() and cgrpc_posix_stop() may be called from others,
 * and from signal handlers.
 *
 * RAM: CONNS * sizeof(cgrpc_posix_conn): CGRPC_POSIX_RX_BYTES and about 130
 * bytes each, and 12 more where poll is used.
 */
#ifndef CGRPC_POSIX_H
#define CGRPC_POSIX_H

/* With -std=c99, glibc hides POSIX unless this comes before its headers. */
#if defined(__linux__) && !defined(_POSIX_C_SOURCE)
#define _POSIX_C_SOURCE 200809L
#endif

#if !defined(CGRPC_H) || \
    (defined(CGRPC_IMPLEMENTATION) && !defined(CGRPC_IMPLEMENTED))
#include "cgrpc.h"
#endif
#include <poll.h> /* struct pollfd */
#include <signal.h>

/* 1: poll() even where there is epoll. */
#ifndef CGRPC_POSIX_POLL
#ifdef __linux__
#define CGRPC_POSIX_POLL 0
#else
#define CGRPC_POSIX_POLL 1
#endif
#endif

/* What one read of a socket may bring. RAM: this once a connection. */
#ifndef CGRPC_POSIX_RX_BYTES
#define CGRPC_POSIX_RX_BYTES 4096
#endif

/* Addresses that one cgrpc_posix may listen on. */
#ifndef CGRPC_POSIX_LISTENERS
#define CGRPC_POSIX_LISTENERS 4
#endif

#ifndef CGRPC_POSIX_LINGER_MS
#define CGRPC_POSIX_LINGER_MS 1000
#endif

#if CGRPC_POSIX_RX_BYTES < 64
#error "CGRPC_POSIX_RX_BYTES must be at least 64: less costs a system call for every few bytes"
#endif
#if CGRPC_POSIX_LISTENERS < 1
#error "CGRPC_POSIX_LISTENERS must be at least 1"
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cgrpc_posix_conn {
    struct cgrpc_posix *posix;
    const char *target; /* while connecting; NULL when accepted */
    uint32_t attempt;   /* which of the target's addresses */
    int fd;
    uint32_t start, len; /* bytes of rx that were not taken yet */
    uint32_t closed_at;
    uint8_t state;
    bool readable, writable; /* until the kernel says otherwise */
    bool hangup;             /* the kernel saw the peer's end */
    bool ended, failed;      /* and so did we */
    char peer[64];
    uint8_t rx[CGRPC_POSIX_RX_BYTES];
} cgrpc_posix_conn;

typedef struct cgrpc_posix_listener {
    cgrpc_server *server;     /* NULL: not in use */
    cgrpc_posix_conn *parked; /* waits for room in the server */
    int fd;                   /* -1: closed, the server drains */
    bool ready;
    char address[120];
} cgrpc_posix_listener;

/* What CGRPC_POSIX_DEFINE makes. */
typedef struct cgrpc_posix_memory {
    cgrpc_posix_conn *conns;
    cgrpc_posix_listener *listeners;
    struct pollfd *polls; /* for poll(): what is asked now */
    uint32_t *places;     /* and of whom */
    size_t conn_count;
    size_t conn_size; /* as the file with the DEFINE sees it */
} cgrpc_posix_memory;

typedef struct cgrpc_posix {
    const cgrpc_posix_memory *memory;
    cgrpc_posix_conn *conns;
    cgrpc_posix_listener *listeners;
    size_t conn_count;
    cgrpc_port port;
    int epoll_fd, wake_fd, waker_fd;
    size_t lingering;
    bool freed;   /* a connection ended during this turn */
    bool starved; /* the process has no descriptor for a client */
    bool draining;
    volatile sig_atomic_t stops;
    char error[200];
} cgrpc_posix;

/* Declares, static: CONNS connections at a time, accepted and connected ones
 * together. */
#define CGRPC_POSIX_POLLS(CONNS)                                            \
    (CGRPC_POSIX_POLL ? (CONNS) + CGRPC_POSIX_LISTENERS + 1 : 1)
#define CGRPC_POSIX_DEFINE(name, CONNS)                                     \
    static cgrpc_posix_conn name##_conns[CONNS];                            \
    static cgrpc_posix_listener name##_listeners[CGRPC_POSIX_LISTENERS];    \
    static struct pollfd name##_polls[CGRPC_POSIX_POLLS(CONNS)];            \
    static uint32_t name##_places[CGRPC_POSIX_POLLS(CONNS)];                \
    static const cgrpc_posix_memory name##_memory = {                       \
        name##_conns, name##_listeners, name##_polls, name##_places, CONNS, \
        sizeof(cgrpc_posix_conn) };                                         \
    static cgrpc_posix name = CGRPC_INIT(cgrpc_posix, &name##_memory)

/* Once, before all else. CGRPC_E_LAYOUT: two files see this header with
 * different macros. */
cgrpc_result cgrpc_posix_init(cgrpc_posix *posix);

/* For the desc of servers and channels. */
cgrpc_port *cgrpc_posix_port(cgrpc_posix *posix);

/* Clients of `address` are served by `server`. Several addresses, and several
 * servers, may share one cgrpc_posix. CGRPC_E_ARGUMENT, CGRPC_E_IO,
 * CGRPC_E_ROOM (see CGRPC_POSIX_LISTENERS): see cgrpc_posix_error(). */
cgrpc_result cgrpc_posix_listen(cgrpc_posix *posix, cgrpc_server *server,
                                const char *address);

/* The `nth` address that is listened on, with its real port. "" if none. */
const char *cgrpc_posix_address(const cgrpc_posix *posix, size_t nth);

/* Serves until SIGINT or SIGTERM: then takes no more clients, lets calls in
 * flight finish, and returns. A second signal ends them at once. */
void cgrpc_posix_serve(cgrpc_posix *posix);

/* One turn: serves what is there, waits `timeout_ms` at most, serves what came.
 * false: a stop was asked for, and all servers have ended. Channels on this
 * port are polled by their owner. */
bool cgrpc_posix_step(cgrpc_posix *posix, uint32_t timeout_ms);

/* SIGINT and SIGTERM become cgrpc_posix_stop(posix); NULL: what they were by
 * default. The one pointer that this keeps is the only global of this port. */
void cgrpc_posix_catch_signals(cgrpc_posix *posix);

/* From any thread or signal handler. wake: the current wait ends at once, as
 * is needed after cgrpc_call_wake(). stop: as a signal does to serve. */
void cgrpc_posix_wake(cgrpc_posix *posix);
void cgrpc_posix_stop(cgrpc_posix *posix);

/* Closes every descriptor. Servers and channels must have ended. */
void cgrpc_posix_close(cgrpc_posix *posix);

/* What went wrong last, and what to do. "" if nothing did. */
const char *cgrpc_posix_error(const cgrpc_posix *posix);

#ifdef __cplusplus
}
#endif
#endif /* CGRPC_POSIX_H */

#if defined(CGRPC_IMPLEMENTATION) && !defined(CGRPC_POSIX_IMPLEMENTED)
#define CGRPC_POSIX_IMPLEMENTED

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#if !CGRPC_POSIX_POLL
#include <sys/epoll.h>
#include <sys/eventfd.h>
#endif

#ifndef CLOCK_MONOTONIC
#error "POSIX is hidden: in the file with CGRPC_IMPLEMENTATION include cgrpc_posix.h before all system headers, or compile with -std=gnu99"
#endif

#ifdef MSG_NOSIGNAL
#define CG_POSIX_NOSIGNAL MSG_NOSIGNAL
#else
#define CG_POSIX_NOSIGNAL 0
#endif

enum { CG_POSIX_FREE, CG_POSIX_CONNECTING, CG_POSIX_OPEN, CG_POSIX_LINGERING };

typedef struct cg_posix_name {
    struct sockaddr_storage address;
    socklen_t len;
} cg_posix_name;

/* ---- errors ----------------------------------------------------------- */

static const char *cg_posix_remedy(int error)
{
    switch (error) {
    case EADDRINUSE:
        return ": stop what listens there, or take another port (0: any)";
    case EADDRNOTAVAIL:
        return ": this machine has no such address";
    case EACCES:
        return ": not allowed; ports under 1024 need privileges";
    case ECONNREFUSED:
    case ENOENT:
        return ": is the server running there?";
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ETIMEDOUT:
        return ": is the address right, and the network up?";
    case EMFILE:
    case ENFILE:
        return ": raise the limit of open files (ulimit -n)";
    default:
        return "";
    }
}

static cgrpc_result cg_posix_fail(cgrpc_posix *posix, const char *doing,
                                  const char *address, int error)
{
    snprintf(posix->error, sizeof(posix->error), "cannot %s %.100s: %s%s",
             doing, address, strerror(error), cg_posix_remedy(error));
    CGRPC_LOG(1, "cgrpc: %s\n", posix->error);
    return CGRPC_E_IO;
}

static cgrpc_result cg_posix_refuse(cgrpc_posix *posix, cgrpc_result result,
                                    const char *address, const char *text)
{
    snprintf(posix->error, sizeof(posix->error), "%.100s: %s", address, text);
    CGRPC_LOG(0, "cgrpc: %s\n", posix->error);
    return result;
}

/* ---- addresses -------------------------------------------------------- */

static cgrpc_result cg_posix_unix(cgrpc_posix *posix, const char *text,
                                  cg_posix_name *out)
{
    struct sockaddr_un name;
    const char *path = text + strlen("unix:");
    if (strncmp(path, "//", 2) == 0)
        path += 2;
    memset(&name, 0, sizeof(name));
    name.sun_family = AF_UNIX;
    if (!*path || strlen(path) >= sizeof(name.sun_path))
        return cg_posix_refuse(posix, CGRPC_E_ARGUMENT, text,
                               "the path is empty, or too long for a socket");
    memcpy(name.sun_path, path, strlen(path));
    memcpy(&out->address, &name, sizeof(name));
    out->len = sizeof(name);
    return CGRPC_SUCCESS;
}

/* Splits "host:port" and "[v6]:port"; the host may be empty. */
static bool cg_posix_split(const char *text, char host[256], char port[8])
{
    const char *colon = strrchr(text, ':');
    size_t len;
    if (!colon || strlen(colon + 1) < 1 || strlen(colon + 1) >= 8)
        return false;
    len = (size_t)(colon - text);
    if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
        text++;
        len -= 2;
    } else if (memchr(text, ':', len)) {
        return false;
    }
    if (len >= 256)
        return false;
    memcpy(host, text, len);
    host[len] = '\0';
    strcpy(port, colon + 1);
    return true;
}

/* The `nth` address that `text` stands for. CGRPC_E_ROOM: no more of them. */
static cgrpc_result cg_posix_resolve(cgrpc_posix *posix, const char *text,
                                     uint32_t nth, cg_posix_name *out)
{
    struct addrinfo hints, *list = NULL, *at;
    char host[256], port[8];
    int error;
    if (strncmp(text, "unix:", 5) == 0)
        return nth ? CGRPC_E_ROOM : cg_posix_unix(posix, text, out);
    if (!cg_posix_split(text, host, port))
        return cg_posix_refuse(posix, CGRPC_E_ARGUMENT, text,
                               "write it as host:port, [v6]:port or unix:path");
    memset(&hints, 0, sizeof(hints));
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
    if (!host[0]) { /* everywhere: IPv6 takes both families where it is on */
        hints.ai_family = nth ? AF_INET : AF_INET6;
        nth -= nth ? 1 : 0;
    }
    error = getaddrinfo(host[0] ? host : NULL, port, &hints, &list);
    if (error)
        return cg_posix_refuse(posix, CGRPC_E_IO, text, gai_strerror(error));
    for (at = list; at && nth; nth--)
        at = at->ai_next;
    if (at) {
        memcpy(&out->address, at->ai_addr, at->ai_addrlen);
        out->len = at->ai_addrlen;
    }
    freeaddrinfo(list);
    return at ? CGRPC_SUCCESS : CGRPC_E_ROOM;
}

/* ---- sockets and events ----------------------------------------------- */

/* Flags are cleared when the kernel says so, and set by events: an event is
 * told once (edge-triggered), so that a stream which nobody reads at present
 * does not keep waking the loop. Places: connections, listeners, waker. */

static size_t cg_posix_waker(const cgrpc_posix *posix)
{
    return posix->conn_count + CGRPC_POSIX_LISTENERS;
}

static int cg_posix_prepare(int fd)
{
    int on = 1;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
#ifdef SO_NOSIGPIPE
    setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof(on));
#endif
    return fcntl(fd, F_SETFL, O_NONBLOCK);
}

static int cg_posix_watch(cgrpc_posix *posix, int fd, size_t place)
{
#if CGRPC_POSIX_POLL
    (void)posix;
    (void)fd;
    (void)place;
    return 0;
#else
    struct epoll_event event;
    memset(&event, 0, sizeof(event));
    event.events = EPOLLIN | EPOLLRDHUP | (unsigned)EPOLLET;
    if (place < posix->conn_count)
        event.events |= EPOLLOUT;
    event.data.u64 = place;
    return epoll_ctl(posix->epoll_fd, EPOLL_CTL_ADD, fd, &event);
#endif
}

static uint32_t cg_posix_now(void *context)
{
    struct timespec time;
    (void)context;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint32_t)time.tv_sec * 1000u + (uint32_t)(time.tv_nsec / 1000000);
}

static void cg_posix_release(cgrpc_posix_conn *conn)
{
    if (conn->state == CG_POSIX_LINGERING)
        conn->posix->lingering--;
    if (conn->fd >= 0)
        close(conn->fd);
    conn->fd = -1;
    conn->state = CG_POSIX_FREE;
    conn->posix->freed = true;
}

static cgrpc_posix_conn *cg_posix_find(cgrpc_posix *posix, uint8_t state)
{
    size_t i;
    for (i = 0; i < posix->conn_count; i++)
        if (posix->conns[i].state == state)
            return &posix->conns[i];
    return NULL;
}

/* A connection to use, or NULL. */
static cgrpc_posix_conn *cg_posix_claim(cgrpc_posix *posix)
{
    cgrpc_posix_conn *conn = cg_posix_find(posix, CG_POSIX_FREE);
    if (!conn)
        conn = cg_posix_find(posix, CG_POSIX_LINGERING);
    if (!conn)
        return NULL;
    if (conn->state == CG_POSIX_LINGERING)
        cg_posix_release(conn);
    memset(conn, 0, offsetof(cgrpc_posix_conn, rx));
    conn->posix = posix;
    conn->fd = -1;
    return conn;
}

static bool cg_posix_open(cgrpc_posix_conn *conn, int fd, uint8_t state)
{
    size_t place = (size_t)(conn - conn->posix->conns);
    conn->fd = fd;
    conn->state = state;
    conn->readable = state == CG_POSIX_OPEN;
    conn->writable = state == CG_POSIX_OPEN;
    return cg_posix_watch(conn->posix, fd, place) == 0;
}

/* ---- streams ---------------------------------------------------------- */

static void cg_posix_fill(cgrpc_posix_conn *conn)
{
    ssize_t got;
    do
        got = recv(conn->fd, conn->rx, sizeof(conn->rx), 0);
    while (got < 0 && errno == EINTR);
    conn->start = 0;
    conn->len = got > 0 ? (uint32_t)got : 0;
    if (got == 0)
        conn->ended = true;
    else if (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
        conn->failed = true;
    /* A short read has emptied the socket, and an end that came later makes
     * an event of its own; one that came before would not again. */
    conn->readable = (got == (ssize_t)sizeof(conn->rx)) ||
                     (got > 0 && conn->hangup);
}

static int cg_posix_peek(void *context, const uint8_t **data)
{
    cgrpc_posix_conn *conn = (cgrpc_posix_conn *)context;
    if (!conn->len && conn->readable && !conn->failed)
        cg_posix_fill(conn);
    *data = conn->rx + conn->start;
    if (conn->len)
        return (int)conn->len;
    if (conn->failed)
        return CGRPC_E_IO;
    return conn->ended ? CGRPC_E_CLOSED : 0;
}

static void cg_posix_take(void *context, size_t len)
{
    cgrpc_posix_conn *conn = (cgrpc_posix_conn *)context;
    uint32_t taken = len < conn->len ? (uint32_t)len : conn->len;
    conn->start += taken;
    conn->len -= taken;
}

static int cg_posix_send(void *context, const uint8_t *data, size_t len)
{
    cgrpc_posix_conn *conn = (cgrpc_posix_conn *)context;
    ssize_t sent;
    if (conn->failed)
        return CGRPC_E_IO;
    if (!conn->writable)
        return 0;
    if (len > 0x7fffffff)
        len = 0x7fffffff;
    do
        sent = send(conn->fd, data, len, CG_POSIX_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    conn->writable = sent == (ssize_t)len;
    if (sent >= 0)
        return (int)sent;
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS)
        return 0;
    conn->failed = true;
    return CGRPC_E_IO;
}

/* Closing with bytes unread would send a reset, which may destroy our last
 * bytes on their way: those that come are read and forgotten instead. */
static void cg_posix_linger(cgrpc_posix_conn *conn)
{
    int reads = 16;
    do
        cg_posix_fill(conn);
    while (conn->len && --reads);
    conn->len = 0;
    conn->readable = false;
    if (conn->ended || conn->failed)
        cg_posix_release(conn);
}

static void cg_posix_close_stream(void *context)
{
    cgrpc_posix_conn *conn = (cgrpc_posix_conn *)context;
    if (conn->state == CG_POSIX_CONNECTING || conn->ended || conn->failed ||
        shutdown(conn->fd, SHUT_WR) != 0) {
        cg_posix_release(conn);
        return;
    }
    conn->state = CG_POSIX_LINGERING;
    conn->closed_at = cg_posix_now(NULL);
    conn->posix->lingering++;
    cg_posix_linger(conn);
}

static cgrpc_io cg_posix_io(cgrpc_posix_conn *conn)
{
    static const cgrpc_io_ops ops = { cg_posix_peek, cg_posix_take,
                                      cg_posix_send, cg_posix_close_stream };
    cgrpc_io io;
    io.ops = &ops;
    io.context = conn;
    return io;
}

/* ---- connecting ------------------------------------------------------- */

/* Starts towards the target's next address that does not fail at once. */
static cgrpc_result cg_posix_try(cgrpc_posix_conn *conn)
{
    cgrpc_posix *posix = conn->posix;
    cg_posix_name name;
    cgrpc_result result;
    for (;; conn->attempt++) {
        int fd;
        result = cg_posix_resolve(posix, conn->target, conn->attempt, &name);
        if (result != CGRPC_SUCCESS)
            return result == CGRPC_E_ROOM ? CGRPC_E_IO : result;
        fd = socket(name.address.ss_family, SOCK_STREAM, 0);
        if (fd >= 0 && cg_posix_prepare(fd) == 0 &&
            (connect(fd, (struct sockaddr *)&name.address, name.len) == 0 ||
             errno == EINPROGRESS || errno == EINTR) &&
            cg_posix_open(conn, fd, CG_POSIX_CONNECTING))
            return CGRPC_SUCCESS;
        cg_posix_fail(posix, "connect to", conn->target, errno);
        if (fd >= 0)
            close(fd);
        conn->fd = -1;
    }
}

/* The socket of a connecting stream has become writable. */
static void cg_posix_connected(cgrpc_posix_conn *conn)
{
    int error = 0;
    socklen_t len = sizeof(error);
    if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    conn->state = CG_POSIX_OPEN;
    if (!error)
        return;
    cg_posix_fail(conn->posix, "connect to", conn->target, error);
    close(conn->fd);
    conn->fd = -1;
    conn->attempt++;
    conn->readable = conn->writable = conn->hangup = false;
    conn->failed = cg_posix_try(conn) != CGRPC_SUCCESS;
}

static cgrpc_result cg_posix_connect(void *context, const char *target,
                                     cgrpc_io *io)
{
    cgrpc_posix *posix = (cgrpc_posix *)context;
    cgrpc_posix_conn *conn = cg_posix_claim(posix);
    cgrpc_result result;
    if (!conn)
        return cg_posix_refuse(posix, CGRPC_E_BUSY, target,
                               "all connections are taken: define more with "
                               "CGRPC_POSIX_DEFINE");
    conn->target = target;
    result = cg_posix_try(conn);
    if (result != CGRPC_SUCCESS) {
        conn->state = CG_POSIX_FREE;
        return result;
    }
    snprintf(conn->peer, sizeof(conn->peer), "%s", target);
    *io = cg_posix_io(conn);
    return CGRPC_SUCCESS;
}

/* ---- waiting ---------------------------------------------------------- */

static void cg_posix_event(cgrpc_posix *posix, size_t place, bool readable,
                           bool writable, bool hangup)
{
    cgrpc_posix_conn *conn;
    uint8_t bin[64];
    if (place == cg_posix_waker(posix)) {
        ssize_t got = read(posix->wake_fd, bin, sizeof(bin));
        (void)got;
        return;
    }
    if (place >= posix->conn_count) {
        posix->listeners[place - posix->conn_count].ready = true;
        return;
    }
    conn = &posix->conns[place];
    conn->readable = conn->readable || readable || hangup;
    conn->writable = conn->writable || writable || hangup;
    conn->hangup = conn->hangup || hangup;
    if (conn->state == CG_POSIX_LINGERING && conn->readable)
        cg_posix_linger(conn);
    if (conn->state == CG_POSIX_CONNECTING && conn->writable)
        cg_posix_connected(conn);
}

#if CGRPC_POSIX_POLL

/* What there is to ask of a place: only what is not known yet, which is as
 * edge-triggered as poll can be. */
static short cg_posix_wanted(const cgrpc_posix *posix, size_t place, int *fd)
{
    const cgrpc_posix_conn *conn = &posix->conns[place];
    const cgrpc_posix_listener *listener;
    *fd = posix->wake_fd;
    if (place == cg_posix_waker(posix))
        return POLLIN;
    if (place >= posix->conn_count) {
        listener = &posix->listeners[place - posix->conn_count];
        *fd = listener->fd;
        return listener->server && listener->fd >= 0 && !listener->ready
                   ? POLLIN
                   : 0;
    }
    *fd = conn->fd;
    if (conn->state == CG_POSIX_FREE || conn->failed)
        return 0;
    return (short)((conn->readable || conn->ended ? 0 : POLLIN) |
                   (conn->writable ? 0 : POLLOUT));
}

static int cg_posix_collect(cgrpc_posix *posix, int ms)
{
    struct pollfd *polls = posix->memory->polls;
    uint32_t *places = posix->memory->places;
    nfds_t count = 0, i;
    size_t place;
    int got;
    for (place = 0; place <= cg_posix_waker(posix); place++) {
        polls[count].events = cg_posix_wanted(posix, place, &polls[count].fd);
        places[count] = (uint32_t)place;
        count += polls[count].events != 0;
    }
    got = poll(polls, count, ms);
    for (i = 0; got > 0 && i < count; i++) {
        short events = polls[i].revents;
        if (events)
            cg_posix_event(posix, places[i], (events & POLLIN) != 0,
                           (events & POLLOUT) != 0,
                           (events & (POLLHUP | POLLERR | POLLNVAL)) != 0);
    }
    return got;
}

#else

static int cg_posix_collect(cgrpc_posix *posix, int ms)
{
    struct epoll_event events[64];
    int got = epoll_wait(posix->epoll_fd, events, 64, ms);
    int i;
    for (i = 0; i < got; i++) {
        uint32_t bits = events[i].events;
        cg_posix_event(posix, (size_t)events[i].data.u64,
                       (bits & EPOLLIN) != 0, (bits & EPOLLOUT) != 0,
                       (bits & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0);
    }
    return got;
}

#endif

/* Ends what lingered long enough, which may let a client in; returns the
 * time until the next is due. */
static uint32_t cg_posix_sweep(cgrpc_posix *posix, uint32_t ms)
{
    uint32_t now = posix->lingering ? cg_posix_now(NULL) : 0;
    size_t i;
    for (i = 0; i < posix->conn_count && posix->lingering; i++) {
        cgrpc_posix_conn *conn = &posix->conns[i];
        uint32_t age = now - conn->closed_at;
        if (conn->state != CG_POSIX_LINGERING)
            continue;
        if (age >= CGRPC_POSIX_LINGER_MS) {
            cg_posix_release(conn);
            ms = 0;
        } else if (CGRPC_POSIX_LINGER_MS - age < ms) {
            ms = CGRPC_POSIX_LINGER_MS - age;
        }
    }
    return ms;
}

/* Returns whether anything happened, a signal included. */
static bool cg_posix_sleep(cgrpc_posix *posix, uint32_t ms)
{
    ms = cg_posix_sweep(posix, ms);
    return cg_posix_collect(posix, ms == UINT32_MAX  ? -1
                                   : ms > 0x7fffffff ? 0x7fffffff
                                                     : (int)ms) != 0;
}

static void cg_posix_wait(void *context, uint32_t ms)
{
    cg_posix_sleep((cgrpc_posix *)context, ms);
}

/* ---- listening -------------------------------------------------------- */

#if CGRPC_SERVER

static void cg_posix_write_name(const cg_posix_name *name, char *out,
                                size_t cap)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    struct sockaddr_un local;
    char host[64] = "";
    if (name->address.ss_family == AF_INET) {
        memcpy(&v4, &name->address, sizeof(v4));
        inet_ntop(AF_INET, &v4.sin_addr, host, sizeof(host));
        snprintf(out, cap, "%s:%u", host, (unsigned)ntohs(v4.sin_port));
    } else if (name->address.ss_family == AF_INET6) {
        memcpy(&v6, &name->address, sizeof(v6));
        inet_ntop(AF_INET6, &v6.sin6_addr, host, sizeof(host));
        snprintf(out, cap, "[%s]:%u", host, (unsigned)ntohs(v6.sin6_port));
    } else {
        memset(&local, 0, sizeof(local));
        memcpy(&local, &name->address,
               name->len < sizeof(local) ? name->len : sizeof(local) - 1);
        snprintf(out, cap, "unix:%s", local.sun_path);
    }
}

/* A socket file that its server left behind is in the way of the next. */
static void cg_posix_unlink_stale(const cg_posix_name *name)
{
    struct sockaddr_un local;
    struct stat file;
    int fd;
    memcpy(&local, &name->address, sizeof(local));
    if (stat(local.sun_path, &file) != 0 || !S_ISSOCK(file.st_mode))
        return;
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0)
        return;
    if (connect(fd, (struct sockaddr *)&local, sizeof(local)) != 0 &&
        errno == ECONNREFUSED)
        unlink(local.sun_path);
    close(fd);
}

/* A listening socket, or -1 with errno set. */
static int cg_posix_bind(const cg_posix_name *name)
{
    int on = 1, off = 0, error;
    int fd = socket(name->address.ss_family, SOCK_STREAM, 0);
    if (fd < 0)
        return -1;
    if (name->address.ss_family == AF_UNIX)
        cg_posix_unlink_stale(name);
    else
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (name->address.ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (cg_posix_prepare(fd) == 0 &&
        bind(fd, (const struct sockaddr *)&name->address, name->len) == 0 &&
        listen(fd, SOMAXCONN) == 0)
        return fd;
    error = errno;
    close(fd);
    errno = error;
    return -1;
}

static cgrpc_result cg_posix_listen_at(cgrpc_posix *posix, const char *address,
                                       cgrpc_posix_listener *listener)
{
    size_t place = posix->conn_count + (size_t)(listener - posix->listeners);
    cg_posix_name name;
    uint32_t nth;
    cgrpc_result result = CGRPC_E_IO;
    listener->fd = -1;
    for (nth = 0; listener->fd < 0; nth++) {
        cgrpc_result found = cg_posix_resolve(posix, address, nth, &name);
        if (found != CGRPC_SUCCESS)
            return found == CGRPC_E_ROOM ? result : found;
        listener->fd = cg_posix_bind(&name);
        if (listener->fd < 0)
            result = cg_posix_fail(posix, "listen on", address, errno);
    }
    name.len = sizeof(name.address);
    getsockname(listener->fd, (struct sockaddr *)&name.address, &name.len);
    cg_posix_write_name(&name, listener->address, sizeof(listener->address));
    if (cg_posix_watch(posix, listener->fd, place) == 0)
        return CGRPC_SUCCESS;
    result = cg_posix_fail(posix, "watch", address, errno);
    close(listener->fd);
    return result;
}

/* Accepts a client's socket, or returns NULL. */
static cgrpc_posix_conn *cg_posix_receive(cgrpc_posix *posix,
                                          cgrpc_posix_listener *listener)
{
    cg_posix_name name;
    cgrpc_posix_conn *conn;
    int fd;
    if (!listener->ready || listener->fd < 0)
        return NULL;
    conn = cg_posix_claim(posix);
    if (!conn) {
        cg_posix_refuse(posix, CGRPC_E_BUSY, listener->address,
                        "a client waits, all connections are taken: define "
                        "more with CGRPC_POSIX_DEFINE");
        return NULL;
    }
    name.len = sizeof(name.address);
    fd = accept(listener->fd, (struct sockaddr *)&name.address, &name.len);
    if (fd < 0) {
        posix->starved = errno != EAGAIN && errno != EWOULDBLOCK;
        listener->ready = posix->starved;
        if (posix->starved)
            cg_posix_fail(posix, "accept a client on", listener->address,
                          errno);
        return NULL;
    }
    cg_posix_write_name(&name, conn->peer, sizeof(conn->peer));
    if (cg_posix_prepare(fd) == 0 && cg_posix_open(conn, fd, CG_POSIX_OPEN))
        return conn;
    close(fd);
    conn->state = CG_POSIX_FREE;
    return NULL;
}

/* Hands one client to the server. */
static bool cg_posix_accept(cgrpc_posix *posix, cgrpc_posix_listener *listener)
{
    cgrpc_posix_conn *conn = listener->parked;
    cgrpc_result result;
    cgrpc_io io;
    if (!conn)
        conn = cg_posix_receive(posix, listener);
    if (!conn)
        return false;
    io = cg_posix_io(conn);
    result = cgrpc_server_accept(listener->server, &io, conn->peer);
    listener->parked = result == CGRPC_E_BUSY ? conn : NULL;
    if (result != CGRPC_SUCCESS && result != CGRPC_E_BUSY)
        cg_posix_release(conn);
    return result != CGRPC_E_BUSY;
}

/* Whether this listener is the first with its server. */
static bool cg_posix_leads(const cgrpc_posix *posix, size_t i)
{
    size_t before;
    for (before = 0; before < i; before++)
        if (posix->listeners[before].server == posix->listeners[i].server)
            return false;
    return posix->listeners[i].server != NULL;
}

/* Serves all that is known of. Returns the milliseconds that it may sleep. */
static uint32_t cg_posix_turn(cgrpc_posix *posix)
{
    uint32_t next = UINT32_MAX;
    size_t i;
    posix->freed = false;
    posix->starved = false;
    for (i = 0; i < CGRPC_POSIX_LISTENERS; i++)
        while (posix->listeners[i].server &&
               cg_posix_accept(posix, &posix->listeners[i]))
            continue;
    for (i = 0; i < CGRPC_POSIX_LISTENERS; i++)
        if (cg_posix_leads(posix, i)) {
            uint32_t due = cgrpc_server_poll(posix->listeners[i].server);
            next = due < next ? due : next;
        }
    for (i = 0; posix->freed && i < CGRPC_POSIX_LISTENERS; i++)
        if (posix->listeners[i].parked || posix->listeners[i].ready ||
            posix->draining)
            next = 0; /* room for a client, or the last one is gone */
    return posix->starved && next > 100 ? 100 : next;
}

static void cg_posix_unlisten(cgrpc_posix_listener *listener)
{
    if (listener->parked)
        cg_posix_release(listener->parked);
    listener->parked = NULL;
    listener->ready = false;
    if (listener->fd < 0)
        return;
    close(listener->fd);
    listener->fd = -1;
    if (strncmp(listener->address, "unix:", 5) == 0)
        unlink(listener->address + 5);
}

/* Obeys cgrpc_posix_stop(). false: all servers have ended. */
static bool cg_posix_going(cgrpc_posix *posix)
{
    bool busy = posix->lingering > 0;
    bool first = posix->stops && !posix->draining;
    size_t i;
    if (!posix->stops)
        return true;
    posix->draining = true;
    for (i = 0; i < CGRPC_POSIX_LISTENERS; i++) {
        if (!cg_posix_leads(posix, i))
            continue;
        if (first)
            cgrpc_server_drain(posix->listeners[i].server);
        if (posix->stops > 1)
            cgrpc_server_stop(posix->listeners[i].server);
        busy = busy || !cgrpc_server_idle(posix->listeners[i].server);
    }
    for (i = 0; i < CGRPC_POSIX_LISTENERS; i++)
        if (posix->listeners[i].server)
            cg_posix_unlisten(&posix->listeners[i]);
    return busy && posix->stops < 2;
}

#endif

cgrpc_result cgrpc_posix_listen(cgrpc_posix *posix, cgrpc_server *server,
                                const char *address)
{
#if CGRPC_SERVER
    cgrpc_posix_listener *listener = posix->listeners;
    cgrpc_posix_listener *end = listener + CGRPC_POSIX_LISTENERS;
    cgrpc_result result;
    while (listener < end && listener->server)
        listener++;
    if (listener == end)
        return cg_posix_refuse(posix, CGRPC_E_ROOM, address,
                               "too many addresses: raise "
                               "CGRPC_POSIX_LISTENERS");
    result = cg_posix_listen_at(posix, address, listener);
    if (result == CGRPC_SUCCESS)
        listener->server = server;
    return result;
#else
    (void)server;
    return cg_posix_refuse(posix, CGRPC_E_STATE, address,
                           "this build has no server: set CGRPC_SERVER to 1");
#endif
}

const char *cgrpc_posix_address(const cgrpc_posix *posix, size_t nth)
{
    return nth < CGRPC_POSIX_LISTENERS ? posix->listeners[nth].address : "";
}

bool cgrpc_posix_step(cgrpc_posix *posix, uint32_t timeout_ms)
{
#if CGRPC_SERVER
    uint32_t next;
    if (!cg_posix_going(posix))
        return false;
    next = cg_posix_turn(posix);
    if (cg_posix_sleep(posix, next < timeout_ms ? next : timeout_ms))
        cg_posix_turn(posix);
    return cg_posix_going(posix);
#else
    cg_posix_sleep(posix, timeout_ms);
    return !posix->stops;
#endif
}

void cgrpc_posix_serve(cgrpc_posix *posix)
{
    cgrpc_posix_catch_signals(posix);
#if CGRPC_SERVER
    while (cg_posix_going(posix))
        cg_posix_sleep(posix, cg_posix_turn(posix));
#endif
    cgrpc_posix_catch_signals(NULL);
}

/* ---- waking, stopping, beginning, ending ------------------------------ */

void cgrpc_posix_wake(cgrpc_posix *posix)
{
    static const uint64_t one = 1;
    ssize_t sent = write(posix->waker_fd, &one, sizeof(one));
    (void)sent; /* a full pipe wakes as well */
}

void cgrpc_posix_stop(cgrpc_posix *posix)
{
    posix->stops = posix->stops + 1;
    cgrpc_posix_wake(posix);
}

static cgrpc_posix *volatile cg_posix_signalled;

static void cg_posix_on_signal(int number)
{
    int error = errno;
    cgrpc_posix *posix = cg_posix_signalled;
    (void)number;
    if (posix)
        cgrpc_posix_stop(posix);
    errno = error;
}

void cgrpc_posix_catch_signals(cgrpc_posix *posix)
{
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_handler = posix ? cg_posix_on_signal : SIG_DFL;
    sigemptyset(&action.sa_mask);
    cg_posix_signalled = posix;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static int cg_posix_init_waker(cgrpc_posix *posix)
{
#if CGRPC_POSIX_POLL
    int fds[2];
    if (pipe(fds) != 0)
        return -1;
    posix->wake_fd = fds[0];
    posix->waker_fd = fds[1];
    fcntl(fds[1], F_SETFD, FD_CLOEXEC);
    fcntl(fds[1], F_SETFL, O_NONBLOCK);
    fcntl(fds[0], F_SETFD, FD_CLOEXEC);
    return fcntl(fds[0], F_SETFL, O_NONBLOCK);
#else
    posix->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (posix->epoll_fd < 0)
        return -1;
    posix->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    posix->waker_fd = posix->wake_fd;
    if (posix->wake_fd < 0)
        return -1;
    return cg_posix_watch(posix, posix->wake_fd, cg_posix_waker(posix));
#endif
}

cgrpc_result cgrpc_posix_init(cgrpc_posix *posix)
{
    size_t i;
    if (posix->memory->conn_size != sizeof(cgrpc_posix_conn))
        return cg_posix_refuse(posix, CGRPC_E_LAYOUT, "CGRPC_POSIX_RX_BYTES",
                               "two files see it with different values");
    posix->conns = posix->memory->conns;
    posix->listeners = posix->memory->listeners;
    posix->conn_count = posix->memory->conn_count;
    for (i = 0; i < posix->conn_count; i++) {
        memset(&posix->conns[i], 0, offsetof(cgrpc_posix_conn, rx));
        posix->conns[i].fd = -1;
    }
    memset(posix->listeners, 0,
           CGRPC_POSIX_LISTENERS * sizeof(*posix->listeners));
    memset(&posix->port, 0, sizeof(posix->port));
    posix->port.now = cg_posix_now;
    posix->port.wait = cg_posix_wait;
    posix->port.connect = cg_posix_connect;
    posix->port.context = posix;
    posix->epoll_fd = posix->wake_fd = posix->waker_fd = -1;
    posix->lingering = 0;
    posix->freed = posix->starved = posix->draining = false;
    posix->stops = 0;
    posix->error[0] = '\0';
    if (cg_posix_init_waker(posix) == 0)
        return CGRPC_SUCCESS;
    return cg_posix_fail(posix, "make", "an event descriptor", errno);
}

cgrpc_port *cgrpc_posix_port(cgrpc_posix *posix)
{
    return &posix->port;
}

void cgrpc_posix_close(cgrpc_posix *posix)
{
    size_t i;
#if CGRPC_SERVER
    for (i = 0; i < CGRPC_POSIX_LISTENERS; i++)
        if (posix->listeners[i].server) {
            cg_posix_unlisten(&posix->listeners[i]);
            posix->listeners[i].server = NULL;
        }
#endif
    for (i = 0; i < posix->conn_count; i++)
        if (posix->conns[i].state != CG_POSIX_FREE)
            cg_posix_release(&posix->conns[i]);
    if (posix->waker_fd >= 0 && posix->waker_fd != posix->wake_fd)
        close(posix->waker_fd);
    if (posix->wake_fd >= 0)
        close(posix->wake_fd);
    if (posix->epoll_fd >= 0)
        close(posix->epoll_fd);
    posix->epoll_fd = posix->wake_fd = posix->waker_fd = -1;
}

const char *cgrpc_posix_error(const cgrpc_posix *posix)
{
    return posix->error;
}

#endif /* CGRPC_IMPLEMENTATION */
