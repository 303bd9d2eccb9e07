/* lsd.h - local service discovery (BEP-0014): peers on one network call out
 * which torrents they have.
 *
 *   BT-SEARCH * HTTP/1.1
 *   Host: 239.192.152.143:6771
 *   Port: 6881
 *   Infohash: 40 hexadecimal digits; again for each torrent
 *   cookie: by which we know our own
 *
 * The codec, and the pace: what is sent when, how much of what is heard is
 * looked at.  The shell sends and receives (io/reactor/lsd.c).
 */
#ifndef SP_LSD_LSD_H
#define SP_LSD_LSD_H

#include "core/base/addr.h"
#include "core/base/rng.h"

enum {
    SP_LSD_PORT = 6771,
    SP_LSD_HASHES_MAX = 24, /* of a message of ours: it stays below 1400 bytes */
    SP_LSD_HEAR_MAX = 32,   /* of one that is heard; the others are passed over */
    SP_LSD_LEN_MAX = 1400,  /* BEP-0014: "should not exceed 1400 bytes" */
    SP_LSD_HEAR_LEN_MAX = 2048,
    SP_LSD_COOKIE_MAX = 64,
    SP_LSD_HEARD_BURST = 200, /* messages looked at; then SP_LSD_HEARD_RATE a second */
    SP_LSD_HEARD_RATE = 20,
};
#define SP_LSD_EVERY_NS  (300 * SP_SECOND_NS)
#define SP_LSD_APART_NS  (60 * SP_SECOND_NS)
#define SP_LSD_SPREAD_NS (3 * SP_SECOND_NS)

struct sp_lsd_msg {
    uint16_t port; /* where the sender listens */
    uint32_t hash_count;
    uint8_t hashes[SP_LSD_HEAR_MAX][SP_SHA1_LEN];
    uint8_t cookie_len;
    uint8_t cookie[SP_LSD_COOKIE_MAX]; /* as it stands there */
};

/* The group's address and port. */
struct sp_addr sp_lsd_group(enum sp_family family);

/* SP_EPROTO  not such a message, no port, no info-hash, a line that is no
 *            header, or longer than SP_LSD_HEAR_LEN_MAX */
SP_MUST_USE enum sp_err sp_lsd_read(struct sp_slice bytes, struct sp_lsd_msg *ret_msg);
/* SP_ELIMIT  cap is too small; SP_LSD_LEN_MAX holds SP_LSD_HASHES_MAX
 * SP_EINVAL  no info-hash, or too many */
SP_MUST_USE enum sp_err sp_lsd_write(const struct sp_lsd_msg *msg, enum sp_family family,
                                     uint8_t *buf, size_t cap, size_t *ret_len);

/* The pace of one client. */
struct sp_lsd {
    struct sp_rng rng;
    uint8_t cookie[8];
    uint16_t port;
    bool has_sent;
    sp_time_ns sent_at, next_at; /* next_at: SP_TIME_NEVER while no torrent takes part */
    uint32_t torrents;           /* that took part when last counted */
    sp_time_ns heard_at;
    uint32_t tokens;
};

void sp_lsd_init(struct sp_lsd *l, uint64_t seed, uint16_t port, sp_time_ns now);
/* How many torrents take part now: new ones are called out soon. */
void sp_lsd_count(struct sp_lsd *l, uint32_t torrents, sp_time_ns now);
static inline bool sp_lsd_is_due(const struct sp_lsd *l, sp_time_ns now)
{
    return now >= l->next_at;
}
/* A message to go out, its hashes filled in by the caller: port and cookie. */
void sp_lsd_sign(const struct sp_lsd *l, struct sp_lsd_msg *msg);
void sp_lsd_sent(struct sp_lsd *l, sp_time_ns now);
/* Reads what came.  SP_EPROTO as sp_lsd_read; SP_ELIMIT: too much comes, or it
 * is our own: pass it over. */
SP_MUST_USE enum sp_err sp_lsd_hear(struct sp_lsd *l, struct sp_slice bytes, sp_time_ns now,
                                    struct sp_lsd_msg *ret_msg);

#endif
