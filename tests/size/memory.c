/* The objects of one configuration, for tools/size to read their sizes from
 * the compiled file. CONNS, CALLS, RX and TX come from the command line.
 * Decoded messages (SCRATCH) are left out: they are the user's.
 */
#include "cgrpc.h"

CGRPC_SERVER_DEFINE(server, CONNS, CALLS, RX, TX, 0);
CGRPC_CHANNEL_DEFINE(channel, RX, TX);
CGRPC_CALL_DEFINE(call, RX);

const char size_of_call[sizeof(cgrpc_call)] = { 1 };
const char size_of_conn[sizeof(cgrpc_conn)] = { 1 };
const char size_of_server[sizeof(cgrpc_server)] = { 1 };
const char size_of_channel[sizeof(cgrpc_channel)] = { 1 };

/* So that none of them is dropped. */
const void *const objects[] = { &server, &channel, &call };
