/* announcer.h - which tracker of one torrent is announced to, when, with
 * which event.
 *
 * Trackers lie in lanes: a lane is a tier, or all of them, or one tracker
 * (enum sp_tracker_tiers).  In a lane one tracker holds: it is announced to at
 * its interval, and the others rest until it fails.
 *
 *   sp_announcer_pick until false -> announce -> sp_announcer_ok or _failed
 *
 * Source: BEP-0003, BEP-0012, BEP-0027, BEP-0031.
 */
#ifndef SP_TRACKER_ANNOUNCER_H
#define SP_TRACKER_ANNOUNCER_H

#include "core/base/mem.h"
#include "core/base/rng.h"
#include "core/tracker/announce.h"

#define SP_INTERVAL_DEFAULT_NS (1800 * SP_SECOND_NS)
#define SP_INTERVAL_MAX_NS     (86400 * SP_SECOND_NS)
#define SP_REANNOUNCE_MIN_NS   (30 * SP_SECOND_NS) /* where there is no min interval */
#define SP_BACKOFF_MAX_NS      (3600 * SP_SECOND_NS)

/* One tracker as one torrent sees it.  Zeroed, then tier and usable set. */
struct sp_announcer_tracker {
    sp_time_ns next_at; /* not before this, by interval or after failure */
    sp_time_ns min_at;  /* not before this, even when the user asks */
    sp_time_ns last_at; /* answered or failed; 0: never */
    uint16_t fails;     /* in a row */
    uint8_t tier;
    uint8_t event;      /* enum sp_announce_event; while busy */
    bool usable;        /* its URL is one we speak */
    bool never;         /* BEP-0031: "never send this query again" */
    bool busy;          /* picked, and neither ok nor failed yet */
    bool ok;            /* the last announce was answered */
    bool holds;         /* its lane's */
    bool has_min;       /* it gave a min interval */
    bool urgent;        /* the user asked */
    bool started;       /* took "started", or may have */
    bool completed_due; /* has to be told */
    bool stop_due;      /* has to be told */
};

struct sp_announcer {
    struct sp_announcer_tracker **trackers; /* count of them; index is the tracker's name */
    uint16_t *order;                        /* indices by tier, then in BEP-0012's order */
    uint16_t count, cap;
    uint8_t tiers; /* enum sp_tracker_tiers */
    bool running;
    bool hungry;
    uint16_t last_ok; /* 1-based index of the tracker that answered last; 0: none */
};

void sp_announcer_done(struct sp_announcer *a, const struct sp_mem *mem);
/* Borrows the tracker until done.  It gets a random place in its tier.
 * SP_ELIMIT SP_TRACKERS_PER_TORRENT_MAX, SP_ENOMEM */
SP_MUST_USE enum sp_err sp_announcer_add(struct sp_announcer *a, const struct sp_mem *mem,
                                         struct sp_rng *rng, struct sp_announcer_tracker *tk);

void sp_announcer_start(struct sp_announcer *a, sp_time_ns now);
void sp_announcer_completed(struct sp_announcer *a);
/* Busy trackers whose event is neither completed nor stopped must be canceled
 * before. */
void sp_announcer_stop(struct sp_announcer *a);
void sp_announcer_reannounce(struct sp_announcer *a, sp_time_ns now);

/* The next to announce to now; it is busy with ret_event then. */
bool sp_announcer_pick(struct sp_announcer *a, sp_time_ns now, uint32_t *ret_ix,
                       enum sp_announce_event *ret_event);
/* When to pick again; SP_TIME_NEVER. */
sp_time_ns sp_announcer_deadline(const struct sp_announcer *a);

struct sp_announcer_answer {
    uint32_t interval_s, min_interval_s; /* 0: not told */
};

/* BEP-0027 asks for other peers when this tracker answers: the torrent is
 * strict and another one answered the last time. */
bool sp_announcer_switches(const struct sp_announcer *a, uint32_t ix);
void sp_announcer_ok(struct sp_announcer *a, uint32_t ix, const struct sp_announcer_answer *answer,
                     sp_time_ns interval_min_ns, struct sp_rng *rng, sp_time_ns now);
void sp_announcer_failed(struct sp_announcer *a, uint32_t ix, enum sp_retry retry,
                         uint32_t retry_in_s, struct sp_rng *rng, sp_time_ns now);
/* The announce was dropped; was_sent: the tracker may have got it. */
void sp_announcer_canceled(struct sp_announcer *a, uint32_t ix, bool was_sent);

#endif
