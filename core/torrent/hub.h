/* hub.h - what the torrents of one session share: memory, randomness, limits,
 * timers, and the queues in which effects wait to be pulled.
 *
 * Data flows one way: session -> torrent -> hub.  A torrent never sees the
 * session or another torrent.
 */
#ifndef SP_TORRENT_HUB_H
#define SP_TORRENT_HUB_H

#include "core/base/list.h"
#include "core/base/queue.h"
#include "core/base/rate.h"
#include "core/base/rng.h"
#include "core/base/timers.h"
#include "core/pieces/pool.h"
#include "core/session/external.h"
#include "core/session/session.h"
#include "core/torrent/cache.h"

struct sp_work;

struct sp_hub {
    const struct sp_mem *mem;
    const struct sp_session_cfg *cfg;
    struct sp_rng rng;
    struct sp_hash_key key;
    uint64_t dice_count; /* made of cfg->mse_key so far */
    struct sp_pool pool;
    struct sp_cache cache; /* blocks of pieces that peers ask for */
    struct sp_timers timers;
    struct sp_trackers *trackers;
    struct sp_external external; /* our own address */

    /* Memory that open pieces may still come to hold, whether received yet or
     * not; opening one needs room for all of it (docs/core/session.md). */
    uint64_t committed_bytes;
    uint64_t open_max_bytes; /* committed_bytes stays below, but for a lone piece */

    const struct sp_ipfilter *filter; /* addresses that are not talked to; NULL: none */
    bool offline;                     /* nobody can be reached now, so nobody is dialled */
    uint32_t conn_count, half_open_count;
    uint32_t fetching_count; /* connections that have blocks asked for */
    uint32_t sending_count;  /* connections that have requests to answer */
    uint64_t ready_bytes;    /* read, or being read, for peers: the sum of conn.ready_bytes */

    struct sp_bucket down, up;
    struct sp_timer throttle_timer;          /* wakes the two lists below */
    struct sp_list down_waiting, up_waiting; /* conn.down_link, up_link: read, send again later */

    /* Effects by kind, in the order of sp_session_next. */
    struct sp_list closing; /* conn.effect_link: dead, not yet pulled */
    struct sp_queue events; /* struct sp_client_event */
    struct sp_work *jobs_first, **jobs_last;
    struct sp_list works;     /* sp_work.link: all, queued, with the shell, or stuck */
    struct sp_list learned;   /* torrent.learned_link: its info dictionary has come */
    struct sp_list dialing;   /* conn.effect_link */
    struct sp_list receiving; /* conn.effect_link */
    struct sp_list sending;   /* conn.send_link */
    struct sp_list webs;      /* web.link: connections to web seeds, of all torrents */
    struct sp_list web_fx;    /* web.fx_link */
    struct sp_list starved;   /* conn.starved_link: would ask, memory was short */

    struct sp_iov room[SP_CONN_IOV_MAX]; /* what sp_conn_recv_room last gave, for whom */
    uint32_t room_count;
    struct sp_conn *room_conn;
    uint8_t heads[16 * SP_CONN_IOV_MAX]; /* where predicted message heads are received */
    uint8_t *scratch;                    /* SCRATCH_LEN: bytes without a better place */
    uint8_t *spill; /* SP_CONN_RECV_MAX + SCRATCH_LEN: a wrong prediction's bytes */
    struct sp_rate down_rate, up_rate;
};

enum { SP_HUB_SCRATCH_LEN = 64 * 1024 };

/* Queues an event; the oldest are dropped when nobody pulls (bounded). */
void sp_hub_event(struct sp_hub *h, enum sp_client_event_kind kind, sp_torrent_id torrent,
                  enum sp_err err, const char *text);

/* A pool block for anything but an open piece: cached blocks give way.  NULL
 * when even that does not help. */
uint8_t *sp_hub_block(struct sp_hub *h);

/* May len more bytes be promised to pieces? */
bool sp_hub_room(const struct sp_hub *h, uint64_t len);

#endif
