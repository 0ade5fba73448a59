#ifndef UNIX_AT_H
#define UNIX_AT_H

#include <stdio.h>
#include <unistd.h>

/* A socket of this process alone, for tests run beside each other. */
static const char *unix_at(const char *name)
{
    static char address[64];
    snprintf(address, sizeof(address), "unix:/tmp/cgrpc_%ld_%s.sock",
             (long)getpid(), name);
    return address;
}

#endif
