/* external.h - our own address as others see it, by vote.
 *
 * Peers say it in their handshake (BEP-0010 "yourip"), trackers in a reply
 * (BEP-0024), a router when it maps a port, nodes in their answers.  Any of them may
 * lie or be wrong.  So everybody has one vote, the last one he gave; peers of
 * one network (/24, /48 with IPv6) count as one; and an address is believed when
 * enough have named it and no other comes near.
 */
#ifndef SP_SESSION_EXTERNAL_H
#define SP_SESSION_EXTERNAL_H

#include "core/base/addr.h"

enum sp_external_source {
    SP_EXTERNAL_PEER,
    SP_EXTERNAL_TRACKER,
    SP_EXTERNAL_PORTMAP, /* PCP, NAT-PMP, UPnP */
    SP_EXTERNAL_NODE,    /* of the DHT */
};

enum {
    SP_EXTERNAL_VOTERS = 48, /* of a family; the oldest give way */
    SP_EXTERNAL_ENOUGH = 4,  /* weight of votes that makes an address believed */
};

struct sp_external_ballot {
    uint64_t voter; /* 0: none */
    uint8_t source;
    struct sp_addr addr;
};

/* Zeroed is "nothing known". */
struct sp_external {
    struct sp_external_ballot ballots[2][SP_EXTERNAL_VOTERS]; /* v4, v6; rings */
    uint32_t next[2];
    struct sp_addr best[2]; /* family NONE: not known; port 0 */
    uint32_t changes;       /* of best */
};

/* voter: who says so; NULL: source is one voter.  Addresses that are not of the
 * internet are passed over, and what voters of local networks say. */
void sp_external_vote(struct sp_external *e, const struct sp_hash_key *key,
                      enum sp_external_source source, const struct sp_addr *voter,
                      const struct sp_addr *addr);

#endif
