/* The echo of bench.h as a server on TCP: libnghttp2, epoll, one thread, and
 * nothing else. What somebody would write by hand who wants it fast.
 *
 *     load_nghttp2 --port PORT
 */
#define _GNU_SOURCE
#include "nghttp2_echo.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define OUT_CAP 65536

typedef struct client {
    int fd;
    nghttp2_session *session;
    size_t out_start, out_len;
    uint8_t out[OUT_CAP];
} client;

static int epoll_fd;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void watch(int fd, uint32_t events, void *of, int how)
{
    struct epoll_event event = { .events = events, .data.ptr = of };
    if (epoll_ctl(epoll_fd, how, fd, &event))
        die("epoll_ctl");
}

static void accept_client(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK), one = 1;
    client *c;
    if (fd < 0)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    c = calloc(1, sizeof(*c));
    c->fd = fd;
    c->session = echo_server_new();
    watch(fd, EPOLLIN | EPOLLOUT | EPOLLET, c, EPOLL_CTL_ADD);
}

static void close_client(client *c)
{
    close(c->fd);
    nghttp2_session_del(c->session);
    free(c);
}

/* Fills `out` from the session as far as there is room. */
static void fill(client *c)
{
    const uint8_t *data;
    ssize_t got;
    if (c->out_start) {
        memmove(c->out, c->out + c->out_start, c->out_len);
        c->out_start = 0;
    }
    /* one frame of the session is at most 16 KB and its head */
    while (OUT_CAP - c->out_len > 17000 &&
           (got = nghttp2_session_mem_send(c->session, &data)) > 0) {
        memcpy(c->out + c->out_len, data, (size_t)got);
        c->out_len += (size_t)got;
    }
}

/* false: the client is gone. */
static bool send_all(client *c)
{
    for (;;) {
        ssize_t put;
        fill(c);
        if (!c->out_len)
            return true;
        put = write(c->fd, c->out, c->out_len);
        if (put < 0)
            return errno == EAGAIN;
        c->out_start = (size_t)put;
        c->out_len -= (size_t)put;
    }
}

/* false: the client is gone. */
static bool receive(client *c)
{
    static uint8_t in[65536];
    for (;;) {
        ssize_t got = read(c->fd, in, sizeof(in));
        if (got == 0 || (got < 0 && errno != EAGAIN))
            return false;
        if (got < 0)
            return true;
        if (nghttp2_session_mem_recv(c->session, in, (size_t)got) < 0)
            return false;
        if (!send_all(c))
            return false;
        if ((size_t)got < sizeof(in))
            return true;
    }
}

static int listen_on(int port)
{
    struct sockaddr_in at = { .sin_family = AF_INET,
                              .sin_port = htons((uint16_t)port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, (struct sockaddr *)&at, sizeof(at)) || listen(fd, 1024))
        die("listen");
    return fd;
}

int main(int argc, char **argv)
{
    struct epoll_event events[64];
    int listener, count, i;
    if (argc != 3)
        return 2;
    listener = listen_on(atoi(argv[2]));
    epoll_fd = epoll_create1(0);
    watch(listener, EPOLLIN, NULL, EPOLL_CTL_ADD);
    printf("listening on 127.0.0.1:%s\n", argv[2]);
    fflush(stdout);
    for (;;) {
        count = epoll_wait(epoll_fd, events, 64, -1);
        for (i = 0; i < count; i++) {
            client *c = events[i].data.ptr;
            if (!c)
                accept_client(listener);
            else if ((events[i].events & EPOLLOUT && !send_all(c)) ||
                     (events[i].events & EPOLLIN && !receive(c)))
                close_client(c);
        }
    }
}
