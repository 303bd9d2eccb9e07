/* http.h - announce and scrape over HTTP: the URL that asks, the body that
 * answers.
 *
 * Source: BEP-0003 "trackers", BEP-0007, -0021, -0023, -0024, -0031, -0048.
 */
#ifndef SP_TRACKER_HTTP_H
#define SP_TRACKER_HTTP_H

#include "core/base/out.h"
#include "core/tracker/announce.h"

/* Room that any announce URL fits in, NUL included. */
enum { SP_HTTP_URL_CAP = 3 * SP_TRACKER_URL_MAX + 4096, SP_TRACKER_ID_MAX = 512 };

/* The announce as a URL, from the tracker's URL (its own query is kept).
 * Overflow sticks in o. */
void sp_http_announce_url(struct sp_out *o, struct sp_slice url, const struct sp_announce *a);

/* Can this tracker be scraped?  BEP-0048: the last element of its path has to
 * begin with "announce". */
bool sp_http_can_scrape(struct sp_slice url);
/* hashes: count of 20 bytes each. */
void sp_http_scrape_url(struct sp_out *o, struct sp_slice url, const uint8_t *hashes,
                        uint32_t count);

/* Reads a whole body.  Peers go to peers (cap of them, the rest is left out);
 * those with port 0 and those named by host name are left out.  When it is no
 * tracker's reply, failed is set and failure says so.
 * SP_ENOMEM */
SP_MUST_USE enum sp_err sp_http_announce_parse(const struct sp_mem *mem, struct sp_slice body,
                                               struct sp_addr *peers, uint32_t cap,
                                               struct sp_announce_reply *ret_reply);

struct sp_scrape_reply {
    bool failed;
    struct sp_slice failure;
    uint32_t min_request_interval_s; /* 0: not told */
    uint32_t found;                  /* of the hashes asked for */
};

/* sizes: one for each hash, unknown where the reply lacks it.
 * SP_ENOMEM */
SP_MUST_USE enum sp_err sp_http_scrape_parse(const struct sp_mem *mem, struct sp_slice body,
                                             const uint8_t *hashes, uint32_t count,
                                             struct sp_swarm_size *sizes,
                                             struct sp_scrape_reply *ret_reply);

#endif
