/* All four kinds of RPC, as the RouteGuide of every gRPC tutorial has them.
 *
 *     route_guide_server [--host HOST] [--port PORT]     127.0.0.1 and 50051
 *
 * Then, in another terminal: route_guide_client, or any other RouteGuide
 * client. Ctrl-C lets the calls in flight finish.
 */
#define CGRPC_STATE_BYTES 96 /* what a call remembers: a walk, a chat */
#define CGRPC_IMPLEMENTATION
#include "cgrpc_posix.h"
#include "route_guide.cgrpc.h"
#include "features.h"
#include "../address.h"
#include <math.h>

CGRPC_POSIX_DEFINE(posix, 16);

static const feature *find_feature(const routeguide_Point *at)
{
    size_t i;
    for (i = 0; i < feature_count; i++)
        if (features[i].latitude == at->latitude &&
            features[i].longitude == at->longitude)
            return &features[i];
    return NULL;
}

static routeguide_Feature feature_message(const char *name, int32_t latitude,
                                          int32_t longitude)
{
    routeguide_Feature out = { .has_location = true,
                               .location = { latitude, longitude } };
    snprintf(out.name, sizeof(out.name), "%s", name);
    return out;
}

/* ---- unary: one question, one answer ---- */

static cgrpc_status get_feature(cgrpc_call *call, const routeguide_Point *in,
                                routeguide_Feature *out)
{
    const feature *found = find_feature(in);
    (void)call;
    *out = feature_message(found ? found->name : "", in->latitude,
                           in->longitude);
    return CGRPC_OK;
}

/* ---- server streaming: one question, many answers ---- */

static bool between(int32_t x, int32_t a, int32_t b)
{
    return a < b ? a <= x && x <= b : b <= x && x <= a;
}

static cgrpc_status list_features(cgrpc_call *call,
                                  const routeguide_Rectangle *area)
{
    size_t *at = cgrpc_call_state(call); /* zeroed when the call began */
    for (; *at < feature_count; ++*at) {
        const feature *f = &features[*at];
        routeguide_Feature out;
        if (!between(f->latitude, area->lo.latitude, area->hi.latitude) ||
            !between(f->longitude, area->lo.longitude, area->hi.longitude))
            continue;
        out = feature_message(f->name, f->latitude, f->longitude);
        if (!routeguide_RouteGuide_ListFeatures_reply(call, &out))
            return CGRPC_PENDING; /* no room now: continue from here */
    }
    return CGRPC_OK;
}

/* ---- client streaming: many questions, one answer ---- */

typedef struct walk {
    int32_t points, passed;
    float metres;
    uint32_t began;
    routeguide_Point last;
} walk;
typedef char walk_fits[sizeof(walk) <= CGRPC_STATE_BYTES ? 1 : -1];

static double radians(int32_t e7)
{
    return e7 * (3.14159265358979323846 / 180e7);
}

/* Along the surface of a round earth (haversine). */
static double distance(const routeguide_Point *a, const routeguide_Point *b)
{
    double up = sin((radians(b->latitude) - radians(a->latitude)) / 2);
    double along = sin((radians(b->longitude) - radians(a->longitude)) / 2);
    double h = up * up + cos(radians(a->latitude)) * cos(radians(b->latitude)) *
                             along * along;
    return 2 * 6371000 * asin(sqrt(h < 1 ? h : 1));
}

static cgrpc_status record_route(cgrpc_call *call, const routeguide_Point *in,
                                 routeguide_RouteSummary *out)
{
    walk *so_far = cgrpc_call_state(call);
    uint32_t now = cgrpc_call_now(call);
    if (!so_far->points)
        so_far->began = now;
    if (in) {
        if (so_far->points++)
            so_far->metres += (float)distance(&so_far->last, in);
        so_far->passed += find_feature(in) != NULL;
        so_far->last = *in;
        return CGRPC_NEXT;
    }
    out->point_count = so_far->points;
    out->feature_count = so_far->passed;
    out->distance = (int32_t)so_far->metres;
    out->elapsed_time = (int32_t)((now - so_far->began) / 1000);
    return CGRPC_OK;
}

/* ---- bidirectional streaming: both at once ---- */

enum { NOTES = 64 };
static routeguide_RouteNote notes[NOTES]; /* the latest of note_count */
static uint32_t note_count;

typedef struct chat {
    uint32_t next;             /* the note to look at */
    routeguide_RouteNote note; /* a copy: while it waits for room, others may
                                  talk so much that it is forgotten */
    bool waiting;
} chat;
typedef char chat_fits[sizeof(chat) <= CGRPC_STATE_BYTES ? 1 : -1];

static bool next_note(chat *chat, const routeguide_Point *place)
{
    if (note_count - chat->next > NOTES)
        chat->next = note_count - NOTES;
    while (chat->next < note_count) {
        chat->note = notes[chat->next++ % NOTES];
        if (chat->note.location.latitude == place->latitude &&
            chat->note.location.longitude == place->longitude)
            return true;
    }
    return false;
}

static cgrpc_status route_chat(cgrpc_call *call,
                               const routeguide_RouteNote *in)
{
    chat *chat = cgrpc_call_state(call);
    if (!in)
        return cgrpc_recv_ended(call) ? CGRPC_OK : CGRPC_NEXT;
    while (chat->waiting || next_note(chat, &in->location)) {
        chat->waiting = !routeguide_RouteGuide_RouteChat_reply(call,
                                                               &chat->note);
        if (chat->waiting)
            return CGRPC_PENDING; /* called again with the same `in` */
    }
    notes[note_count++ % NOTES] = *in;
    chat->next = 0;
    return CGRPC_NEXT;
}

/* ---- */

static const routeguide_RouteGuide_handlers handlers = {
    .GetFeature = get_feature,
    .ListFeatures = list_features,
    .RecordRoute = record_route,
    .RouteChat = route_chat,
};
static const cgrpc_serving services[] = {
    routeguide_RouteGuide_SERVING(&handlers)
};

/* 16 connections, 32 calls in flight, 1024 bytes to send from. */
CGRPC_SERVER_DEFINE(server, 16, 32, routeguide_RouteGuide_RX_BYTES, 1024,
                    routeguide_RouteGuide_SCRATCH);

int main(int argc, char **argv)
{
    cgrpc_server_desc desc = { .port = cgrpc_posix_port(&posix),
                               .services = services,
                               .service_count = 1 };
    if (cgrpc_posix_init(&posix) ||
        cgrpc_server_init(&server, &desc) ||
        cgrpc_posix_listen(&posix, &server, example_address(argc, argv))) {
        fprintf(stderr, "%s\n", cgrpc_posix_error(&posix));
        return 1;
    }
    printf("listening on %s\n", cgrpc_posix_address(&posix, 0));
    fflush(stdout);
    cgrpc_posix_serve(&posix);
    return 0;
}
