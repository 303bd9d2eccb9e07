/* torrent.h - what the session may do with a torrent; see state.h for how it
 * stands and session.h for what the functions mean to the shell. */
#ifndef SP_TORRENT_TORRENT_H
#define SP_TORRENT_TORRENT_H

#include "core/torrent/state.h"

/* Borrows add's metainfo, or the one it learns, until free.  SP_ENOMEM, SP_ELIMIT (more pieces than
 * can be) */
SP_MUST_USE enum sp_err sp_torrent_new(struct sp_hub *h, sp_torrent_id id,
                                       const struct sp_session_add *add, sp_time_ns now,
                                       struct sp_torrent **ret_torrent);
/* Connections have been dropped, jobs have come back.  Takes NULL. */
void sp_torrent_free(struct sp_torrent *t);

/* It was added by its info-hash; on failure nothing has changed. */
SP_MUST_USE enum sp_err sp_torrent_know(struct sp_torrent *t, const struct sp_metainfo *mi,
                                        const uint8_t *priorities, sp_time_ns now);
void sp_torrent_begin(struct sp_torrent *t, const struct sp_bits *have, sp_time_ns now);
void sp_torrent_recheck_from(struct sp_torrent *t, sp_time_ns now);
void sp_torrent_set_paused(struct sp_torrent *t, bool paused, sp_time_ns now);
/* Ends the network side: connections, announces, stuck and open pieces. */
void sp_torrent_shut(struct sp_torrent *t, sp_time_ns now);
enum sp_err sp_torrent_select(struct sp_torrent *t, const uint8_t *priorities, sp_time_ns now);
void sp_torrent_fill_stats(struct sp_torrent *t, sp_time_ns now, struct sp_torrent_stats *ret);
uint32_t sp_torrent_fill_peers(struct sp_torrent *t, sp_time_ns now, struct sp_peer_info *ret,
                               uint32_t cap);

/* Memory of one piece: its length in whole blocks. */
static inline uint32_t sp_torrent_piece_room(const struct sp_metainfo *mi)
{
    uint64_t blocks = ((uint64_t)mi->piece_length + SP_BLOCK_LEN - 1) / SP_BLOCK_LEN;
    return (uint32_t)(blocks * SP_BLOCK_LEN);
}

#endif
