/* state.h - what portmap.c (time, requests) and replies.c share. */
#ifndef SP_PORTMAP_STATE_H
#define SP_PORTMAP_STATE_H

#include "core/portmap/codec.h"
#include "core/portmap/portmap.h"

enum map_state {
    MAP_OFF,
    MAP_WAIT,     /* until due, NEVER: until something else happens */
    MAP_ASKED,    /* a request is under way; while probing the probe repeats it */
    MAP_DELETING, /* the same, to remove it */
};

/* RFC 6887 11.2.1: "renewal requests MUST NOT be sent less than four seconds apart" */
#define RENEW_MIN_NS (4 * SP_SECOND_NS)

enum {
    LIFETIME_MIN_S = 8,     /* two renewals' distance; less is taken for this */
    LIFETIME_MAX_S = 86400, /* a day: longer ones are looked after as often as this */
};

/* Keyed by what the mapping is for, so that it is the same after a restart. */
void sp_portmap_nonce(const struct sp_portmap *pm, const struct sp_portmap_gateway *g,
                      uint32_t want_ix, uint8_t ret_nonce[SP_PCP_NONCE_LEN]);

static inline void sp_portmap_tell(struct sp_portmap_mapping *m, enum sp_portmap_action_kind kind)
{
    m->tell = (uint8_t)(kind + 1);
}

/* Says so unless it was said. */
void sp_portmap_fail(struct sp_portmap_mapping *m, const char *why);

/* The gateway speaks this: what is wanted is asked for in it. */
void sp_portmap_speak(struct sp_portmap *pm, struct sp_portmap_gateway *g,
                      enum sp_portmap_method method, sp_time_ns now);
void sp_portmap_probe_again(struct sp_portmap_gateway *g, sp_time_ns now);
/* Those that waited for another request of this path. */
void sp_portmap_release(struct sp_portmap *pm, struct sp_portmap_gateway *g, sp_time_ns now);
/* When to renew next; NEVER when there is no time left. */
sp_time_ns sp_portmap_renewal(struct sp_portmap *pm, const struct sp_portmap_mapping *m,
                              sp_time_ns now);

#endif
