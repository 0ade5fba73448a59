/* The core and nothing else, as a user's one file would have it. */
#define CGRPC_IMPLEMENTATION
#include "cgrpc.h"
