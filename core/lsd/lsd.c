/* The pace: how often we call, how much we listen to. */
#include "core/lsd/lsd.h"

#include <string.h>

void sp_lsd_init(struct sp_lsd *l, uint64_t seed, uint16_t port, sp_time_ns now)
{
    static const char digits[] = "0123456789abcdef";

    *l = (struct sp_lsd){.rng = sp_rng_of(seed),
                         .port = port,
                         .next_at = SP_TIME_NEVER,
                         .heard_at = now,
                         .tokens = SP_LSD_HEARD_BURST};
    for (size_t i = 0; i < sizeof(l->cookie); i++)
        l->cookie[i] = (uint8_t)digits[sp_rng_below(&l->rng, 16)];
}

/* BEP-0014: "a client should send no more than 1 announce per minute." */
static sp_time_ns not_before(const struct sp_lsd *l, sp_time_ns at)
{
    sp_time_ns least = l->has_sent ? l->sent_at + SP_LSD_APART_NS : 0;
    return at < least ? least : at;
}

void sp_lsd_count(struct sp_lsd *l, uint32_t torrents, sp_time_ns now)
{
    bool more = torrents > l->torrents;

    l->torrents = torrents;
    if (torrents == 0) {
        l->next_at = SP_TIME_NEVER;
        return;
    }
    if (!more && l->next_at != SP_TIME_NEVER)
        return;
    sp_time_ns soon = not_before(l, now + sp_rng_below(&l->rng, SP_LSD_SPREAD_NS));
    if (soon < l->next_at)
        l->next_at = soon;
}

void sp_lsd_sign(const struct sp_lsd *l, struct sp_lsd_msg *msg)
{
    msg->port = l->port;
    msg->cookie_len = sizeof(l->cookie);
    memcpy(msg->cookie, l->cookie, sizeof(l->cookie));
}

/* BEP-0014: "If more than 5 torrents are active a client may either round-robin
 * announce the active torrents or include multiple infohashes per announce."
 * Both: as many messages in turn as hold them all. */
void sp_lsd_sent(struct sp_lsd *l, sp_time_ns now)
{
    uint32_t messages = (l->torrents + SP_LSD_HASHES_MAX - 1) / SP_LSD_HASHES_MAX;

    l->has_sent = true;
    l->sent_at = now;
    /* BEP-0014: "it should send a LSD announce every 5 minutes" */
    sp_time_ns wait = SP_LSD_EVERY_NS / (messages ? messages : 1);
    l->next_at = not_before(l, now + wait) + sp_rng_below(&l->rng, SP_LSD_SPREAD_NS);
}

static bool take_token(struct sp_lsd *l, sp_time_ns now)
{
    uint64_t more = (now - l->heard_at) / (SP_SECOND_NS / SP_LSD_HEARD_RATE);

    l->heard_at += more * (SP_SECOND_NS / SP_LSD_HEARD_RATE);
    more += l->tokens;
    l->tokens = more < SP_LSD_HEARD_BURST ? (uint32_t)more : SP_LSD_HEARD_BURST;
    if (l->tokens == 0)
        return false;
    l->tokens--;
    return true;
}

enum sp_err sp_lsd_hear(struct sp_lsd *l, struct sp_slice bytes, sp_time_ns now,
                        struct sp_lsd_msg *ret_msg)
{
    struct sp_lsd_msg m;

    if (!take_token(l, now))
        return SP_ELIMIT;
    enum sp_err err = sp_lsd_read(bytes, &m);
    if (err != SP_OK)
        return err;
    /* BEP-0014: "allowing the sending client to filter out its own announces if
     * it receives them via multicast loopback" */
    if (m.cookie_len == sizeof(l->cookie) && memcmp(m.cookie, l->cookie, sizeof(l->cookie)) == 0)
        return SP_ELIMIT;
    *ret_msg = m;
    return SP_OK;
}
