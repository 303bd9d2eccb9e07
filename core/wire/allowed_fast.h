/* allowed_fast.h - the pieces that a peer gets even while it is choked.
 *
 * Source: BEP-0006 "Allowed Fast Set Generation".  Every client computes the
 * same set for one address, so that asking many peers gains nothing.
 */
#ifndef SP_WIRE_ALLOWED_FAST_H
#define SP_WIRE_ALLOWED_FAST_H

#include "spate/types.h"

enum {
    SP_ALLOWED_FAST_K = 10, /* BEP-0006: "We currently set k to 10" */
    SP_ALLOWED_FAST_K_MAX = 64,
};

/* The first k pieces of the set of the peer at ip, in the order of generation;
 * gives how many: k, or piece_count where that is less.  BEP-0006: "We
 * currently have no provisions for IPv6": such peers get none.
 *   k           <= SP_ALLOWED_FAST_K_MAX, more is taken as that
 *   ret_pieces  room for k */
uint32_t sp_allowed_fast(const uint8_t ip[4], const uint8_t info_hash[20], uint32_t piece_count,
                         uint32_t k, uint32_t *ret_pieces);

#endif
