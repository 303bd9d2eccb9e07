/* state.h - how a session stands; private to this room.
 *
 *   session.c   torrents, connections, time
 *   effects.c   what is to be done, in its order
 *   utp.c       connections over datagrams
 *   check.c     invariants
 */
#ifndef SP_SESSION_STATE_H
#define SP_SESSION_STATE_H

#include "core/session/door.h"
#include "core/session/session.h"
#include "core/torrent/torrent.h"

struct sp_session {
    struct sp_hub hub; /* what the torrents see of us */
    struct sp_session_cfg cfg;
    char client_name[64];
    struct sp_torrent **torrents; /* by slot; NULL: free */
    uint32_t torrent_cap, torrent_count;
    struct sp_map by_id, by_hash;
    struct sp_torrent *leaving; /* removed, jobs still out; linked by .next_leaving */
    uint64_t large_bytes;       /* least budget that the torrents' pieces fit into */
    bool stopping;

    struct sp_utp *utp;         /* NULL: TCP alone (utp.c) */
    struct sp_list streams;     /* struct sp_stream.link: open ones */
    struct sp_list utp_waiting; /* being dialled, or not named; in the order of beginning */
    struct sp_purse utp_purse;
    uint32_t utp_doors; /* of those, not named */
};

/* NULL: unknown. */
struct sp_torrent *sp_session_torrent(const struct sp_session *s, sp_torrent_id id);

#endif
