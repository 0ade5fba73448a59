/* A Reading of version 2 as a line; ../peer.py prints the same. */
#ifndef PRINT_H
#define PRINT_H

#include "device.cgrpc.h"
#include <inttypes.h>
#include <stdio.h>

static const char *reading_text(const evolution_Reading *r)
{
    static char text[800];
    size_t i;
    int at = snprintf(text, sizeof text, "id=%" PRIu32 " value=%" PRId64
                      " state=%d place=", r->id, r->value, (int)r->state);
    if (r->which_place == evolution_Reading_room_tag)
        at += snprintf(text + at, sizeof text - (size_t)at, "%s",
                       r->place.room);
    else if (r->which_place == evolution_Reading_point_tag)
        at += snprintf(text + at, sizeof text - (size_t)at,
                       "(%" PRId32 ",%" PRId32 ",%" PRId32 ")",
                       r->place.point.x, r->place.point.y, r->place.point.z);
    else if (r->which_place == evolution_Reading_fix_tag)
        at += snprintf(text + at, sizeof text - (size_t)at, "<%.2f,%.2f,%u>",
                       r->place.fix.latitude, r->place.fix.longitude,
                       (unsigned)r->place.fix.satellites_count);
    at += snprintf(text + at, sizeof text - (size_t)at, " samples=");
    for (i = 0; i < r->samples_count; i++)
        at += snprintf(text + at, sizeof text - (size_t)at, "%" PRId32 ",",
                       r->samples[i]);
    at += snprintf(text + at, sizeof text - (size_t)at,
                   " note=%s exact=%.2f battery=", r->note, r->exact);
    at += r->has_battery ? snprintf(text + at, sizeof text - (size_t)at,
                                    "%" PRIu32, r->battery)
                         : snprintf(text + at, sizeof text - (size_t)at, "-");
    at += snprintf(text + at, sizeof text - (size_t)at, " labels=");
    for (i = 0; i < r->labels_count; i++)
        at += snprintf(text + at, sizeof text - (size_t)at, "%s:%s,",
                       r->labels[i].key, r->labels[i].value);
    snprintf(text + at, sizeof text - (size_t)at,
             " blob=%u serial=%" PRIx64, (unsigned)r->blob.size, r->serial);
    return text;
}

#endif
