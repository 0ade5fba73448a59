/* Runs the header's HPACK decoder by itself, for tests of it alone. */
#ifndef HPACK_WALK_H
#define HPACK_WALK_H

typedef void (*hpack_report)(uint8_t name, uint32_t value, unsigned flags);

/* Decodes some bytes and reports each field; false: COMPRESSION_ERROR. */
static bool hpack_walk(cgrpc_hpack_decoder *d, const uint8_t *in, size_t len,
                       hpack_report report)
{
    const uint8_t *end = in + len;
    while (in < end) {
        in = cg_hpack_step(d, in, end);
        if (cg_hpack_took(d))
            report((uint8_t)(d->what >> 24), d->what & 0xFFFFFF, d->flags);
    }
    return !cg_hpack_failed(d);
}

#endif
