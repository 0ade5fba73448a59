/* The options that all examples share: --host HOST --port PORT, or --at
 * ADDRESS for any other kind, such as unix:/tmp/socket. */
#ifndef EXAMPLES_ADDRESS_H
#define EXAMPLES_ADDRESS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *example_address(int argc, char **argv)
{
    static char address[300];
    const char *host = "127.0.0.1", *port = "50051";
    int i;
    for (i = 1; i + 1 < argc; i += 2)
        if (strcmp(argv[i], "--host") == 0)
            host = argv[i + 1];
        else if (strcmp(argv[i], "--port") == 0)
            port = argv[i + 1];
        else if (strcmp(argv[i], "--at") == 0)
            return argv[i + 1];
        else
            break;
    if (i < argc) {
        fprintf(stderr, "usage: %s [--host HOST] [--port PORT | --at ADDRESS]\n",
                argv[0]);
        exit(2);
    }
    snprintf(address, sizeof(address), strchr(host, ':') ? "[%s]:%s" : "%s:%s",
             host, port);
    return address;
}

#endif
