/* All four kinds of RPC, from the side that asks. Prints what was said.
 *
 *     route_guide_client [--host HOST] [--port PORT]     127.0.0.1 and 50051
 *
 * Runs against route_guide_server, or any other RouteGuide.
 */
#define CGRPC_IMPLEMENTATION
#include "cgrpc_posix.h"
#include "route_guide.cgrpc.h"
#include "features.h"
#include "../address.h"
#include <inttypes.h>

CGRPC_POSIX_DEFINE(posix, 1);
CGRPC_CHANNEL_DEFINE(channel, routeguide_RouteGuide_MAX_REPLY, 1024);
CGRPC_CALL_DEFINE(call, routeguide_RouteGuide_MAX_REPLY);

static const cgrpc_options options = { .timeout_ms = 10000 };

static bool succeeded(const char *what, cgrpc_status status,
                      const char *message)
{
    if (status != CGRPC_OK)
        fprintf(stderr, "%s: %s: %s %s\n", what, cgrpc_status_text(status),
                message, cgrpc_posix_error(&posix));
    return status == CGRPC_OK;
}

static bool ended_well(const char *what)
{
    return succeeded(what, cgrpc_call_status(&call), cgrpc_call_message(&call));
}

static void print_point(const routeguide_Point *point)
{
    printf("(%.7f, %.7f)", point->latitude / 1e7, point->longitude / 1e7);
}

static void print_feature(const routeguide_Feature *feature)
{
    printf("  ");
    print_point(&feature->location);
    printf(" %s\n", feature->name[0] ? feature->name : "nothing known here");
}

/* ---- unary: one question, one answer ---- */

static bool get_feature(int32_t latitude, int32_t longitude)
{
    routeguide_Point point = { latitude, longitude };
    routeguide_Feature feature = routeguide_Feature_init_zero;
    cgrpc_status status = routeguide_RouteGuide_GetFeature(
        &channel, &point, &feature, &options);
    if (!succeeded("GetFeature", status, ""))
        return false;
    print_feature(&feature);
    return true;
}

/* ---- server streaming: one question, many answers ---- */

static bool list_features(void)
{
    routeguide_Rectangle area = { true, { 464600000, 89700000 },
                                  true, { 465200000, 90600000 } };
    routeguide_Feature feature;
    int count = 0;
    printf("ListFeatures from ");
    print_point(&area.lo);
    printf(" to ");
    print_point(&area.hi);
    printf("\n");
    routeguide_RouteGuide_ListFeatures_start(&channel, &call, &area, &options);
    do {
        while (routeguide_RouteGuide_ListFeatures_recv(&call, &feature) ==
               CGRPC_GOT) {
            print_feature(&feature);
            count++;
        }
    } while (cgrpc_wait(&call, 1000));
    printf("  %d features\n", count);
    return ended_well("ListFeatures");
}

/* ---- client streaming: many questions, one answer ---- */

static bool record_route(void)
{
    routeguide_RouteSummary summary = routeguide_RouteSummary_init_zero;
    int i;
    routeguide_RouteGuide_RecordRoute_start(&channel, &call, &options);
    for (i = 0; i < 12; i++) { /* every fourth point is off the path */
        const feature *f = &features[(size_t)i * 5 % feature_count];
        routeguide_Point point = { f->latitude + (i % 4 == 3), f->longitude };
        while (!routeguide_RouteGuide_RecordRoute_send(&call, &point))
            if (!cgrpc_wait(&call, 1000))
                return ended_well("RecordRoute");
    }
    cgrpc_send_end(&call);
    do
        routeguide_RouteGuide_RecordRoute_recv(&call, &summary);
    while (cgrpc_wait(&call, 1000));
    printf("RecordRoute\n  %" PRId32 " points, %" PRId32 " features passed, "
           "%" PRId32 " metres, %" PRId32 " seconds\n",
           summary.point_count, summary.feature_count, summary.distance,
           summary.elapsed_time);
    return ended_well("RecordRoute");
}

/* ---- bidirectional streaming: both at once ---- */

static void print_note(const char *verb, const routeguide_RouteNote *note)
{
    printf("  %s \"%s\" at ", verb, note->message);
    print_point(&note->location);
    printf("\n");
}

static bool route_chat(void)
{
    static const routeguide_RouteNote mine[] = {
        { true, { 0, 1 }, "First message" },
        { true, { 0, 2 }, "Second message" },
        { true, { 0, 3 }, "Third message" },
        { true, { 0, 1 }, "Fourth message" },
        { true, { 0, 2 }, "Fifth message" },
        { true, { 0, 3 }, "Sixth message" },
    };
    enum { COUNT = sizeof(mine) / sizeof(mine[0]) };
    routeguide_RouteNote note;
    int sent = 0;
    printf("RouteChat\n");
    routeguide_RouteGuide_RouteChat_start(&channel, &call, &options);
    do {
        while (sent < COUNT &&
               routeguide_RouteGuide_RouteChat_send(&call, &mine[sent])) {
            print_note("said", &mine[sent]);
            if (++sent == COUNT)
                cgrpc_send_end(&call);
        }
        while (routeguide_RouteGuide_RouteChat_recv(&call, &note) == CGRPC_GOT)
            print_note("heard", &note);
    } while (cgrpc_wait(&call, 1000));
    return ended_well("RouteChat");
}

int main(int argc, char **argv)
{
    cgrpc_channel_desc desc = { .port = cgrpc_posix_port(&posix),
                                .target = example_address(argc, argv) };
    bool good;
    if (cgrpc_posix_init(&posix) || cgrpc_channel_init(&channel, &desc)) {
        fprintf(stderr, "%s\n", cgrpc_posix_error(&posix));
        return 1;
    }
    printf("GetFeature\n");
    good = get_feature(features[0].latitude, features[0].longitude) &&
           get_feature(1, 2) && list_features() && record_route() &&
           route_chat();
    cgrpc_channel_close(&channel);
    return good ? 0 : 1;
}
