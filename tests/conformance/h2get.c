/* One call to the HTTP/2 server of a URL, for suites that test clients:
 *
 *     h2get http://127.0.0.1:8080/
 *
 * Any answer will do; the exit code is the gRPC status.
 */
#define CGRPC_IMPLEMENTATION
#include "cgrpc_posix.h"
#include <stdio.h>
#include <string.h>

CGRPC_POSIX_DEFINE(posix, 1);
CGRPC_CHANNEL_DEFINE(channel, 4096, 1024);

static const cgrpc_method get = { "/h2get.Any/Get", NULL, NULL,
                                  sizeof(cgrpc_bytes), sizeof(cgrpc_bytes),
                                  CGRPC_UNARY };

/* A suite may go on after its answer: react to that for half a second, and
 * let a GOAWAY arrive before the connection goes. */
static void listen_on(void)
{
    cgrpc_port *port = cgrpc_posix_port(&posix);
    uint32_t start = port->now(port->context);
    cgrpc_channel_state state;
    do {
        cgrpc_channel_poll(&channel);
        port->wait(port->context, 10);
        state = cgrpc_channel_get_state(&channel);
    } while (port->now(port->context) - start < 500 &&
             (state == CGRPC_CHANNEL_READY ||
              state == CGRPC_CHANNEL_CONNECTING));
}

int main(int argc, char **argv)
{
    char target[128];
    const char *host = argc > 1 ? strstr(argv[1], "://") : NULL;
    cgrpc_channel_desc desc = { 0 };
    cgrpc_options options = { 0 };
    cgrpc_bytes request = { (const uint8_t *)"hello", 5 }, answer;
    cgrpc_status status;
    if (!host) {
        fprintf(stderr, "usage: h2get http://HOST:PORT/\n");
        return 64;
    }
    snprintf(target, sizeof target, "%.*s", (int)strcspn(host + 3, "/"),
             host + 3);
    if (cgrpc_posix_init(&posix) != CGRPC_SUCCESS)
        return 65;
    desc.port = cgrpc_posix_port(&posix);
    desc.target = target;
    if (cgrpc_channel_init(&channel, &desc) != CGRPC_SUCCESS)
        return 66;
    options.timeout_ms = 2000;
    status = cgrpc_unary(&channel, &get, &request, &answer, &options);
    fprintf(stderr, "%s\n", cgrpc_status_text(status));
    listen_on();
    cgrpc_channel_close(&channel);
    return (int)status;
}
