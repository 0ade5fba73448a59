/* What the RouteGuide knows: named places, as constants in flash. */
#ifndef FEATURES_H
#define FEATURES_H

#include <stddef.h>
#include <stdint.h>

typedef struct feature {
    int32_t latitude, longitude; /* degrees times ten million */
    const char *name;
} feature;

extern const feature features[];
extern const size_t feature_count;

#endif
