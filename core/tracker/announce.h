/* announce.h - what is told to a tracker and what it tells, whatever the
 * protocol that carries it. */
#ifndef SP_TRACKER_ANNOUNCE_H
#define SP_TRACKER_ANNOUNCE_H

#include "core/base/addr.h"
#include "core/tracker/tracker.h"

/* The first four are BEP-0015's numbers. */
enum sp_announce_event {
    SP_EVENT_NONE = 0,
    SP_EVENT_COMPLETED = 1,
    SP_EVENT_STARTED = 2,
    SP_EVENT_STOPPED = 3,
    SP_EVENT_PAUSED = 4, /* BEP-0021, HTTP only */
};

struct sp_announce {
    uint8_t info_hash[SP_SHA1_LEN];
    uint8_t peer_id[20];
    uint32_t key; /* the same for all announces of a torrent */
    uint32_t numwant;
    uint16_t port;
    enum sp_announce_event event;
    struct sp_announce_stats stats;
    struct sp_addr announce_ip; /* SP_FAMILY_NONE: not told */
    struct sp_slice tracker_id; /* empty: none; HTTP only */
    bool support_crypto;        /* HTTP only */
};

/* Custom: seen in libtorrent-rasterbar: with the size unknown something is
 * still left, so that trackers do not count us as a seed. */
static inline uint64_t sp_announce_left(const struct sp_announce *a)
{
    return a->stats.left == UINT64_MAX ? SP_BLOCK_LEN : a->stats.left;
}

#define SP_SWARM_UNKNOWN UINT32_MAX

struct sp_swarm_size {
    uint32_t seeds, leechers, downloaded; /* SP_SWARM_UNKNOWN where not told */
};

enum sp_retry {
    SP_RETRY_LATER, /* nothing was said */
    SP_RETRY_IN,    /* after retry_in_s */
    SP_RETRY_NEVER,
};

/* Slices lie in the reply's bytes. */
struct sp_announce_reply {
    bool failed;             /* failure says why; retry when again */
    struct sp_slice failure; /* unclean bytes */
    struct sp_slice warning;
    enum sp_retry retry;
    uint32_t retry_in_s;
    uint32_t interval_s;     /* 0: not told */
    uint32_t min_interval_s; /* 0: not told */
    struct sp_swarm_size swarm;
    struct sp_slice tracker_id;
    struct sp_addr external_ip; /* SP_FAMILY_NONE: not told */
    uint32_t peer_count;        /* put into the caller's array */
};

#endif
