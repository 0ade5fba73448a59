/* test_call_client.c again, in the smallest build: no replay, no texts.
 *
 *   cc -std=c99 -I. -Iport tests/unit/test_call_client_spare.c -o t && ./t
 */
#define CGRPC_REPLAY 0
#define CGRPC_ERROR_TEXTS 0
#include "test_call_client.c"
