/* A small client of etcd: a server that did not expect it, and that is
 * restarted under it.
 *
 *     etcd_client --port 2379
 *
 * Commands come on stdin, one a line; each is answered by one line:
 *
 *     put KEY VALUE          put REVISION
 *     fill KEY SIZE CHAR     put REVISION          SIZE times that character
 *     lput KEY VALUE         put REVISION          under the lease
 *     get KEY                got VALUE REVISION  or  nothing
 *     range PREFIX LIMIT     range COUNT BYTES CHECK PAGES   LIMIT a page; 0: all
 *     delete PREFIX          deleted COUNT
 *     swap KEY OLD NEW       swapped  or  kept
 *     watch PREFIX REVISION  watching              and events from then on
 *     lease TTL              lease ID
 *     revoke                 revoked
 *     quit
 *
 * or by "STATUS: text" if the call failed. Besides there come
 *
 *     event put KEY VALUE REVISION
 *     event delete KEY - REVISION
 *     watch from REVISION    the server has accepted it
 *     watch lost STATUS      it will be started again after the last event
 *     watch compacted REVISION
 *     alive TTL              an answer of the lease's stream
 *     alive lost STATUS
 *
 * The watch and the lease's stream share the connection with the commands. A
 * value that is longer than 32 bytes is shown as #LENGTH.
 */
#define CGRPC_IMPLEMENTATION
#include "cgrpc_posix.h"
#include "etcd.cgrpc.h"
#include "../../examples/address.h"
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <unistd.h>

enum { RX = 16384, AGAIN_MS = 100 };

CGRPC_POSIX_DEFINE(posix, 2);
CGRPC_CHANNEL_DEFINE(channel, RX, 512);
CGRPC_CALL_DEFINE(watch_call, RX);
CGRPC_CALL_DEFINE(lease_call, RX);

static const cgrpc_options patient = { .timeout_ms = 5000 };
static const cgrpc_options standing = { .wait_for_ready = true };

static void say(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    vprintf(format, values);
    va_end(values);
    putchar('\n');
    fflush(stdout);
}

static uint32_t now(void)
{
    cgrpc_port *port = cgrpc_posix_port(&posix);
    return port->now(port->context);
}

/* Says why a call of a command failed; true: it did not. */
static bool succeeded(cgrpc_status status)
{
    if (status != CGRPC_OK)
        say("%s: %s", cgrpc_status_text(status),
            cgrpc_channel_message(&channel));
    return status == CGRPC_OK;
}

/* ---- bytes ---- */

/* The size of any nanopb bytes field stands before its bytes. */
#define SET(field, text)                                                  \
    ((field).size = (pb_size_t)set((field).bytes, sizeof((field).bytes), text))

static size_t set(pb_byte_t *out, size_t cap, const char *text)
{
    size_t len = strlen(text);
    if (len > cap)
        len = cap;
    memcpy(out, text, len);
    return len;
}

/* The end of the range of all keys that begin so: its last byte plus one. */
#define SET_END(field, prefix)                                            \
    (SET(field, prefix), (field).size                                     \
         ? (void)(field).bytes[(field).size - 1]++ : (void)0)

static const char *shown(const etcdserverpb_KeyValue *kv)
{
    static char text[40];
    if (kv->value.size > 32)
        snprintf(text, sizeof text, "#%u", (unsigned)kv->value.size);
    else
        snprintf(text, sizeof text, "%.*s", (int)kv->value.size,
                 (const char *)kv->value.bytes);
    return text;
}

/* ---- what a Range finds ---- */

typedef struct listing {
    unsigned count;
    unsigned long bytes;
    uint32_t check; /* FNV-1a of all keys and values */
    etcdserverpb_KeyValue last;
} listing;

static void add_check(uint32_t *check, const pb_byte_t *in, size_t len)
{
    while (len--)
        *check = (*check ^ *in++) * 16777619u;
}

/* One KeyValue at a time, so that a reply needs no room for all of them. */
static bool read_found(pb_istream_t *stream, const pb_field_t *field,
                       void **arg)
{
    listing *found = (listing *)*arg;
    etcdserverpb_KeyValue *kv = &found->last;
    (void)field;
    if (!pb_decode(stream, etcdserverpb_KeyValue_fields, kv))
        return false;
    found->count++;
    found->bytes += kv->key.size + kv->value.size;
    add_check(&found->check, kv->key.bytes, kv->key.size);
    add_check(&found->check, kv->value.bytes, kv->value.size);
    return true;
}

static cgrpc_status look(const etcdserverpb_RangeRequest *request,
                         listing *found, bool *more)
{
    etcdserverpb_RangeResponse response =
        etcdserverpb_RangeResponse_init_zero;
    cgrpc_status status;
    response.kvs.funcs.decode = read_found;
    response.kvs.arg = found;
    status = etcdserverpb_KV_Range(&channel, request, &response, &patient);
    *more = response.more;
    return status;
}

static void get(const char *key)
{
    etcdserverpb_RangeRequest request = etcdserverpb_RangeRequest_init_zero;
    listing found = { 0 };
    bool more;
    SET(request.key, key);
    if (!succeeded(look(&request, &found, &more)))
        return;
    if (found.count)
        say("got %s %" PRId64, shown(&found.last), found.last.mod_revision);
    else
        say("nothing");
}

static void range(const char *prefix, long limit)
{
    etcdserverpb_RangeRequest request = etcdserverpb_RangeRequest_init_zero;
    listing found = { .check = 2166136261u };
    unsigned pages = 0;
    bool more = true;
    SET(request.key, prefix);
    SET_END(request.range_end, prefix);
    request.limit = limit;
    while (more) {
        if (!succeeded(look(&request, &found, &more)))
            return;
        pages++;
        memcpy(request.key.bytes, found.last.key.bytes, found.last.key.size);
        request.key.size = found.last.key.size;
        request.key.bytes[request.key.size++] = 0; /* the next one */
    }
    say("range %u %lu %08" PRIx32 " %u", found.count, found.bytes,
        found.check, pages);
}

/* ---- what changes keys ---- */

static int64_t lease_id;

static void put(const char *key, const char *value, size_t repeat,
                int64_t lease)
{
    static etcdserverpb_PutRequest request; /* 4 KB */
    etcdserverpb_PutResponse response = etcdserverpb_PutResponse_init_zero;
    SET(request.key, key);
    if (repeat) {
        request.value.size = (pb_size_t)(repeat < sizeof request.value.bytes
            ? repeat : sizeof request.value.bytes);
        memset(request.value.bytes, value[0], request.value.size);
    } else {
        SET(request.value, value);
    }
    request.lease = lease;
    if (succeeded(etcdserverpb_KV_Put(&channel, &request, &response,
                                      &patient)))
        say("put %" PRId64, response.header.revision);
}

static void delete_all(const char *prefix)
{
    etcdserverpb_DeleteRangeRequest request =
        etcdserverpb_DeleteRangeRequest_init_zero;
    etcdserverpb_DeleteRangeResponse response;
    SET(request.key, prefix);
    SET_END(request.range_end, prefix);
    if (succeeded(etcdserverpb_KV_DeleteRange(&channel, &request, &response,
                                              &patient)))
        say("deleted %" PRId64, response.deleted);
}

/* If KEY is OLD it becomes NEW; else it is looked at, of which the answer is
 * a field that we have not declared. */
static void swap(const char *key, const char *old, const char *new)
{
    static etcdserverpb_TxnRequest request;
    etcdserverpb_TxnResponse response;
    etcdserverpb_Compare *compare = &request.compare[0];
    request.compare_count = request.success_count = request.failure_count = 1;
    compare->result = etcdserverpb_Compare_CompareResult_EQUAL;
    compare->target = etcdserverpb_Compare_CompareTarget_VALUE;
    SET(compare->key, key);
    compare->which_target_union = etcdserverpb_Compare_value_tag;
    SET(compare->target_union.value, old);
    request.success[0].which_request = etcdserverpb_RequestOp_request_put_tag;
    SET(request.success[0].request.request_put.key, key);
    SET(request.success[0].request.request_put.value, new);
    request.failure[0].which_request =
        etcdserverpb_RequestOp_request_range_tag;
    SET(request.failure[0].request.request_range.key, key);
    if (succeeded(etcdserverpb_KV_Txn(&channel, &request, &response,
                                      &patient)))
        say(response.succeeded ? "swapped" : "kept");
}

/* ---- the watch: a stream that stays open, and is opened again ---- */

static struct {
    char prefix[64];
    int64_t from;     /* the revision of the next event */
    bool wanted, open, asked;
    uint32_t again;   /* not before */
} watch;

static bool read_event(pb_istream_t *stream, const pb_field_t *field,
                       void **arg)
{
    etcdserverpb_Event event = etcdserverpb_Event_init_zero;
    (void)field;
    (void)arg;
    if (!pb_decode(stream, etcdserverpb_Event_fields, &event))
        return false;
    if (event.type == etcdserverpb_Event_EventType_DELETE)
        say("event delete %.*s - %" PRId64, (int)event.kv.key.size,
            (const char *)event.kv.key.bytes, event.kv.mod_revision);
    else
        say("event put %.*s %s %" PRId64, (int)event.kv.key.size,
            (const char *)event.kv.key.bytes, shown(&event.kv),
            event.kv.mod_revision);
    watch.from = event.kv.mod_revision + 1;
    return true;
}

static void watch_ask(void)
{
    etcdserverpb_WatchRequest request = etcdserverpb_WatchRequest_init_zero;
    etcdserverpb_WatchCreateRequest *create =
        &request.request_union.create_request;
    request.which_request_union =
        etcdserverpb_WatchRequest_create_request_tag;
    SET(create->key, watch.prefix);
    SET_END(create->range_end, watch.prefix);
    create->start_revision = watch.from;
    watch.asked = etcdserverpb_Watch_Watch_send(&watch_call, &request);
}

static void watch_hear(const etcdserverpb_WatchResponse *response)
{
    if (response->created) {
        say("watch from %" PRId64, watch.from);
        if (watch.from == 0) /* lost before its first event, it misses none */
            watch.from = response->header.revision + 1;
    }
    if (response->canceled) {
        say("watch compacted %" PRId64, response->compact_revision);
        watch.wanted = false;
        cgrpc_call_cancel(&watch_call);
    }
}

static void watch_turn(void)
{
    etcdserverpb_WatchResponse response =
        etcdserverpb_WatchResponse_init_zero;
    if (!watch.open) {
        if (!watch.wanted || (int32_t)(now() - watch.again) < 0)
            return;
        watch.open = etcdserverpb_Watch_Watch_start(
                         &channel, &watch_call, &standing) == CGRPC_SUCCESS;
        watch.asked = false;
    }
    if (!watch.asked)
        watch_ask();
    response.events.funcs.decode = read_event;
    while (etcdserverpb_Watch_Watch_recv(&watch_call, &response) == CGRPC_GOT)
        watch_hear(&response);
    if (!cgrpc_call_ended(&watch_call))
        return;
    if (watch.wanted)
        say("watch lost %s: %s",
            cgrpc_status_text(cgrpc_call_status(&watch_call)),
            cgrpc_call_message(&watch_call));
    watch.open = false;
    watch.again = now() + AGAIN_MS;
}

static void watch_start(const char *prefix, int64_t from)
{
    if (watch.open)
        cgrpc_call_cancel(&watch_call);
    snprintf(watch.prefix, sizeof watch.prefix, "%s", prefix);
    watch.from = from;
    watch.wanted = true;
    watch.open = false;
    watch.again = now();
    say("watching");
}

/* ---- the lease: a question every third of its time ---- */

static struct {
    int64_t ttl;
    bool open;
    uint32_t next; /* question, or attempt */
} alive;

static void lease_grant(int64_t ttl)
{
    etcdserverpb_LeaseGrantRequest request = { ttl };
    etcdserverpb_LeaseGrantResponse response;
    if (!succeeded(etcdserverpb_Lease_LeaseGrant(&channel, &request,
                                                 &response, &patient)))
        return;
    lease_id = response.ID;
    alive.ttl = response.TTL;
    alive.next = now();
    say("lease %" PRIx64, (uint64_t)lease_id);
}

static void lease_revoke(void)
{
    etcdserverpb_LeaseRevokeRequest request = { lease_id };
    etcdserverpb_LeaseRevokeResponse response;
    lease_id = 0;
    if (alive.open)
        cgrpc_call_cancel(&lease_call);
    alive.open = false;
    if (succeeded(etcdserverpb_Lease_LeaseRevoke(&channel, &request,
                                                 &response, &patient)))
        say("revoked");
}

static void lease_turn(void)
{
    etcdserverpb_LeaseKeepAliveRequest request = { lease_id };
    etcdserverpb_LeaseKeepAliveResponse response;
    bool due = (int32_t)(now() - alive.next) >= 0;
    if (!lease_id || (!alive.open && !due))
        return;
    if (!alive.open)
        alive.open = etcdserverpb_Lease_LeaseKeepAlive_start(
                         &channel, &lease_call, &standing) == CGRPC_SUCCESS;
    if (due && etcdserverpb_Lease_LeaseKeepAlive_send(&lease_call, &request))
        alive.next = now() + (uint32_t)(alive.ttl * 1000 / 3);
    while (etcdserverpb_Lease_LeaseKeepAlive_recv(&lease_call, &response) ==
           CGRPC_GOT)
        say("alive %" PRId64, response.TTL);
    if (!cgrpc_call_ended(&lease_call))
        return;
    say("alive lost %s: %s",
        cgrpc_status_text(cgrpc_call_status(&lease_call)),
        cgrpc_call_message(&lease_call));
    alive.open = false;
    alive.next = now() + AGAIN_MS;
}

/* ---- commands ---- */

static bool obey(char *line)
{
    const char *word[4] = { "", "", "", "" };
    char *at = strtok(line, " ");
    int count = 0;
    for (; at && count < 4; at = strtok(NULL, " "))
        word[count++] = at;
    if (strcmp(word[0], "put") == 0)
        put(word[1], word[2], 0, 0);
    else if (strcmp(word[0], "fill") == 0)
        put(word[1], word[3], (size_t)atol(word[2]), 0);
    else if (strcmp(word[0], "lput") == 0)
        put(word[1], word[2], 0, lease_id);
    else if (strcmp(word[0], "get") == 0)
        get(word[1]);
    else if (strcmp(word[0], "range") == 0)
        range(word[1], atol(word[2]));
    else if (strcmp(word[0], "delete") == 0)
        delete_all(word[1]);
    else if (strcmp(word[0], "swap") == 0)
        swap(word[1], word[2], word[3]);
    else if (strcmp(word[0], "watch") == 0)
        watch_start(word[1], atol(word[2]));
    else if (strcmp(word[0], "lease") == 0)
        lease_grant(atol(word[1]));
    else if (strcmp(word[0], "revoke") == 0)
        lease_revoke();
    else if (strcmp(word[0], "quit") == 0)
        return false;
    else
        say("no such command: %s", word[0]);
    return true;
}

/* Reads what stdin has; false: it has ended, or said so. */
static bool read_commands(void)
{
    static char buffer[8192];
    static size_t len;
    struct pollfd input = { .fd = 0, .events = POLLIN };
    char *end;
    ssize_t got;
    if (poll(&input, 1, 0) <= 0)
        return true;
    got = read(0, buffer + len, sizeof buffer - 1 - len);
    if (got <= 0)
        return got < 0 && errno == EINTR;
    len += (size_t)got;
    buffer[len] = 0;
    while ((end = strchr(buffer, '\n')) != NULL) {
        *end = 0;
        if (!obey(buffer))
            return false;
        len -= (size_t)(end + 1 - buffer);
        memmove(buffer, end + 1, len + 1);
    }
    return true;
}

int main(int argc, char **argv)
{
    cgrpc_channel_desc desc = { .port = cgrpc_posix_port(&posix),
                                .target = example_address(argc, argv) };
    uint32_t due;
    if (cgrpc_posix_init(&posix) || cgrpc_channel_init(&channel, &desc)) {
        fprintf(stderr, "%s\n", cgrpc_posix_error(&posix));
        return 1;
    }
    do {
        watch_turn();
        lease_turn();
        if (!read_commands())
            break;
        due = cgrpc_channel_poll(&channel);
    } while (cgrpc_posix_step(&posix, due < 5 ? due : 5));
    cgrpc_channel_close(&channel);
    return 0;
}
