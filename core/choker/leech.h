/* leech.h - peers that take without progress: their claims do not add up.
 *
 * What we gave a peer it has.  A peer that claims fewer pieces than what we
 * alone gave it hides its progress: to look needy, to be served by seeds
 * as a newcomer, or because it throws everything away.
 */
#ifndef SP_CHOKER_LEECH_H
#define SP_CHOKER_LEECH_H

#include "spate/types.h"

/* Of one peer over all its connections to this torrent: the caller keeps them
 * by address, so that a reconnect does not reset given_bytes.  Where several
 * peers share an address, by address and peer id, or it does not ask. */
struct sp_leech_facts {
    uint64_t given_bytes; /* payload we sent it, ever; duplicates it asked for included */
    uint32_t have_first;  /* pieces it claimed when we first met it */
    uint32_t have_most;   /* the most pieces it ever claimed */
    uint32_t have_count;  /* pieces it claims */
    uint32_t piece_count; /* of the torrent */
    uint32_t piece_len;   /* bytes */
    uint32_t reconnects;  /* connections before this one */
    bool super_seeding;   /* we show it few pieces: it is not judged */
};

struct sp_leech_cfg {
    uint32_t slack_pieces; /* in flight, failed, unannounced; 0: 16 */
    uint64_t slack_bytes;  /* and at least that many bytes; 0: 32 MiB */
};

enum sp_leech {
    SP_LEECH_OK,
    SP_LEECH_SUSPECT, /* choose others first: no optimistic slot, last in a seed's turn */
    SP_LEECH_CHEAT,   /* impossible: do not serve */
};

/* cfg may be NULL for the defaults. */
enum sp_leech sp_leech_judge(const struct sp_leech_cfg *cfg, const struct sp_leech_facts *f);

#endif
