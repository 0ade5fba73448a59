/* A Reading of version 1 as a line; ../peer.py prints the same. */
#ifndef PRINT_H
#define PRINT_H

#include "device.cgrpc.h"
#include <inttypes.h>
#include <stdio.h>

static const char *reading_text(const evolution_Reading *r)
{
    static char text[400];
    size_t i;
    int at = snprintf(text, sizeof text, "id=%" PRIu32 " name=%s value=%" PRId32
                      " state=%d unit=%" PRIu32 " place=", r->id, r->name,
                      r->value, (int)r->state, r->unit);
    if (r->which_place == evolution_Reading_room_tag)
        at += snprintf(text + at, sizeof text - (size_t)at, "%s",
                       r->place.room);
    else if (r->which_place == evolution_Reading_point_tag)
        at += snprintf(text + at, sizeof text - (size_t)at,
                       "(%" PRId32 ",%" PRId32 ")", r->place.point.x,
                       r->place.point.y);
    at += snprintf(text + at, sizeof text - (size_t)at, " samples=");
    for (i = 0; i < r->samples_count; i++)
        at += snprintf(text + at, sizeof text - (size_t)at, "%" PRId32 ",",
                       r->samples[i]);
    snprintf(text + at, sizeof text - (size_t)at, " note=%s", r->note);
    return text;
}

#endif
