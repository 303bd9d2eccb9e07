#include "core/session/external.h"

#include <string.h>

static uint32_t weight(uint8_t source)
{
    /* Few trackers are used, and a router's word has come no further than from
     * the next room: but neither decides alone against many peers. */
    switch ((enum sp_external_source)source) {
    case SP_EXTERNAL_PORTMAP:
        return 4;
    case SP_EXTERNAL_TRACKER:
        return 2;
    case SP_EXTERNAL_PEER:
    case SP_EXTERNAL_NODE:
        break;
    }
    return 1;
}

/* Whoever owns a network could fill it with voters. */
static uint64_t id_of(const struct sp_hash_key *key, enum sp_external_source source,
                      const struct sp_addr *voter)
{
    struct sp_addr net = {0};
    if (voter) {
        net.family = voter->family;
        memcpy(net.ip, voter->ip, voter->family == SP_V4 ? 3 : 6);
    }
    /* A machine may be peer and node: still one. */
    net.port = voter ? 0 : (uint16_t)(source + 1);
    return sp_addr_hash(key, &net) | 1;
}

static uint32_t count(const struct sp_external *e, unsigned six, const struct sp_addr *addr)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < SP_EXTERNAL_VOTERS; i++) {
        const struct sp_external_ballot *b = &e->ballots[six][i];
        if (b->voter && (!addr || sp_addr_same_ip(&b->addr, addr)))
            sum += weight(b->source);
    }
    return sum;
}

static void decide(struct sp_external *e, unsigned six)
{
    const struct sp_addr *best = NULL;
    uint32_t most = 0;

    for (uint32_t i = 0; i < SP_EXTERNAL_VOTERS; i++) {
        const struct sp_external_ballot *b = &e->ballots[six][i];
        uint32_t n = b->voter ? count(e, six, &b->addr) : 0;
        if (n > most) {
            most = n;
            best = &b->addr;
        }
    }
    /* More than half: liars who agree have to be the majority of all networks
     * that we heard.  Without one the old belief stays. */
    if (!best || most < SP_EXTERNAL_ENOUGH || most * 2 <= count(e, six, NULL) ||
        sp_addr_same_ip(best, &e->best[six]))
        return;
    e->best[six] = *best;
    e->changes++;
}

void sp_external_vote(struct sp_external *e, const struct sp_hash_key *key,
                      enum sp_external_source source, const struct sp_addr *voter,
                      const struct sp_addr *addr)
{
    struct sp_addr ip = *addr;
    unsigned six = addr->family == SP_V6;
    uint32_t at = SP_EXTERNAL_VOTERS;

    if (sp_addr_scope(addr) != SP_SCOPE_GLOBAL ||
        (voter && sp_addr_scope(voter) != SP_SCOPE_GLOBAL))
        return;
    ip.port = 0;
    uint64_t id = id_of(key, source, voter);
    for (uint32_t i = 0; i < SP_EXTERNAL_VOTERS; i++) {
        if (e->ballots[six][i].voter == id)
            at = i;
    }
    if (at == SP_EXTERNAL_VOTERS)
        at = e->next[six]++ % SP_EXTERNAL_VOTERS;
    e->ballots[six][at] =
        (struct sp_external_ballot){.voter = id, .source = (uint8_t)source, .addr = ip};
    decide(e, six);
}
