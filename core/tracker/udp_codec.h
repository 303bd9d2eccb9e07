/* udp_codec.h - the packets of the UDP tracker protocol, as a client sends
 * and reads them.
 *
 *   connect   0 magic 8   8 action 0   12 transaction                        -> 16
 *   announce  0 connection 8   8 action 1   12 transaction   16 info-hash 20   36 peer id 20
 *             56 downloaded 8   64 left 8   72 uploaded 8   80 event   84 IP   88 key
 *             92 num want   96 port 2   98 options (BEP-0041)
 *   scrape    0 connection 8   8 action 2   12 transaction   16 + 20n info-hash
 *   answers   0 action   4 transaction   8 ...
 *
 * Source: BEP-0015, BEP-0041.
 */
#ifndef SP_TRACKER_UDP_CODEC_H
#define SP_TRACKER_UDP_CODEC_H

#include "core/base/cur.h"
#include "core/base/out.h"
#include "core/tracker/announce.h"

enum sp_udp_action {
    SP_UDP_CONNECT = 0,
    SP_UDP_ANNOUNCE = 1,
    SP_UDP_SCRAPE = 2,
    SP_UDP_ERROR = 3,
};

enum {
    SP_UDP_SCRAPE_MAX = 74, /* BEP-0015: "Up to about 74 torrents can be scraped at once." */
    SP_UDP_CONNECT_LEN = 16,
    SP_UDP_ANNOUNCE_LEN = 98,
    /* An announce with the longest URL in its options. */
    SP_UDP_PACKET_CAP = SP_UDP_ANNOUNCE_LEN + SP_TRACKER_URL_MAX + SP_TRACKER_URL_MAX / 255 * 2 + 3,
};

void sp_udp_put_connect(struct sp_out *o, uint32_t transaction);
/* target: path and query of the tracker's URL, may be empty. */
void sp_udp_put_announce(struct sp_out *o, uint64_t connection, uint32_t transaction,
                         const struct sp_announce *a, struct sp_slice target);
/* hashes: count of 20 bytes each, count <= SP_UDP_SCRAPE_MAX. */
void sp_udp_put_scrape(struct sp_out *o, uint64_t connection, uint32_t transaction,
                       const uint8_t *hashes, uint32_t count);

/* Each reads one whole packet whose action and transaction have been looked at.
 * SP_EDATA  too short for its action */
SP_MUST_USE enum sp_err sp_udp_read_connect(struct sp_slice packet, uint64_t *ret_connection);
/* The stride is that of the tracker's address family.  Peers beyond cap and
 * those with port 0 are left out. */
SP_MUST_USE enum sp_err sp_udp_read_announce(struct sp_slice packet, enum sp_family family,
                                             struct sp_addr *peers, uint32_t cap,
                                             struct sp_announce_reply *ret_reply);
/* sizes: count of them, unknown where the packet ends early. */
SP_MUST_USE enum sp_err sp_udp_read_scrape(struct sp_slice packet, struct sp_swarm_size *sizes,
                                           uint32_t count);
/* The message lies in the packet. */
struct sp_slice sp_udp_read_error(struct sp_slice packet);

#endif
