/* SYNs, and what cannot be answered otherwise.
 *
 * A SYN may come from an address that its sender does not have.  It is
 * answered by as many bytes as it has, and remembered in 32 bytes of a table
 * that does not grow; a connection is made by the third packet alone, which
 * names the sequence number that only the owner of the address has seen.
 */
#include "core/base/out.h"
#include "core/utp/impl.h"

static uint64_t hash_half(const struct sp_utp *u, const struct sp_addr *from, uint16_t id)
{
    uint8_t bytes[20];
    memcpy(bytes, from->ip, 16);
    sp_put_be32(bytes + 16, (uint32_t)from->port << 16 | id);
    return sp_hash_bytes(&u->cfg.secret, bytes, sizeof(bytes));
}

/* Our first sequence number: the address' secret. */
static uint16_t first_seq(uint64_t hash)
{
    return (uint16_t)(hash >> 48);
}

static struct sp_half *set_of(struct sp_utp *u, uint64_t hash)
{
    return &u->half[(hash % HALF_SETS) * HALF_WAYS];
}

static struct sp_half *find_half(struct sp_utp *u, uint64_t hash, const struct sp_addr *from,
                                 uint16_t id)
{
    struct sp_half *set = u->half ? set_of(u, hash) : NULL;
    for (int i = 0; set && i < HALF_WAYS; i++) {
        if (set[i].id == id && sp_addr_eq(&set[i].addr, from))
            return &set[i];
    }
    return NULL;
}

/* Its own place, or the oldest one's. */
static struct sp_half *place_half(struct sp_utp *u, uint64_t hash, const struct sp_addr *from,
                                  uint16_t id)
{
    struct sp_half *h = find_half(u, hash, from, id), *set = set_of(u, hash);
    for (int i = 0; !h && i < HALF_WAYS; i++) {
        if (set[i].addr.family == SP_FAMILY_NONE)
            h = &set[i];
    }
    if (h)
        return h;
    h = set;
    for (int i = 1; i < HALF_WAYS; i++)
        h = set[i].at < h->at ? &set[i] : h;
    return h;
}

static bool remember(struct sp_utp *u, const struct sp_addr *from, uint16_t id, uint16_t syn_seq,
                     sp_time_ns now)
{
    if (!u->half)
        u->half = SP_NEW_ARRAY(u->cfg.mem, struct sp_half, HALF_SETS * HALF_WAYS);
    if (!u->half)
        return false;
    *place_half(u, hash_half(u, from, id), from, id) =
        (struct sp_half){.addr = *from, .id = id, .syn_seq = syn_seq, .at = now};
    return true;
}

void sp_utp_got_syn(struct sp_utp *u, const struct sp_addr *from, const struct sp_utp_packet *p,
                    sp_time_ns now)
{
    uint64_t hash = hash_half(u, from, p->id);
    struct sp_utp_conn *c = sp_utp_find(u, from, (uint16_t)(p->id + 1));

    /* BEP-0029: "the ST_SYN packet will be unexpected in the existing stream,
     * and ignored" */
    if (c || u->conn_count >= u->cfg.conn_max)
        return;
    if (!remember(u, from, p->id, p->seq, now))
        return;
    struct sp_syn_ack *a = sp_queue_push(&u->syn_acks, u->cfg.mem);
    if (a)
        *a = (struct sp_syn_ack){.to = *from,
                                 .id = p->id,
                                 .seq = first_seq(hash),
                                 .ack = p->seq,
                                 .delay_us = us_of(now) - p->time_us};
}

/* Who is remembered, and names what was answered to him. */
static struct sp_half *proven(struct sp_utp *u, const struct sp_addr *from,
                              const struct sp_utp_packet *p, sp_time_ns now)
{
    uint16_t syn_id = (uint16_t)(p->id - 1);
    uint64_t hash = hash_half(u, from, syn_id);
    struct sp_half *h = find_half(u, hash, from, syn_id);
    uint16_t ahead = (uint16_t)(p->ack + 1 - first_seq(hash));
    bool is_data = p->type == SP_UTP_ST_DATA && p->payload.len > 0;
    return h && now - h->at <= HALF_NS && is_data && ahead <= 1 ? h : NULL;
}

bool sp_utp_knocks(struct sp_utp *u, const struct sp_addr *from, struct sp_slice datagram,
                   sp_time_ns now, struct sp_utp_knock *ret_knock)
{
    struct sp_utp_packet p;
    struct sp_half *h;
    if (sp_utp_parse(datagram, &p) != SP_OK || p.type != SP_UTP_ST_DATA ||
        sp_utp_find(u, from, p.id) || !(h = proven(u, from, &p, now)))
        return false;
    *ret_knock = (struct sp_utp_knock){
        .from = *from, .id = h->id, .syn_seq = h->syn_seq, .payload = p.payload};
    return true;
}

void sp_utp_vouch(struct sp_utp *u, const struct sp_utp_knock *k, sp_time_ns now)
{
    (void)remember(u, &k->from, k->id, k->syn_seq, now);
}

/* BEP-0029, not followed: "seq_nr=c.seq_nr++" of the answer to a SYN.  libutp
 * and libtorrent name the number that the first data will have, and take what
 * they get for that; who follows the BEP acknowledges one more. */
struct sp_utp_conn *sp_utp_accept(struct sp_utp *u, const struct sp_addr *from,
                                  const struct sp_utp_packet *p, sp_time_ns now)
{
    struct sp_half *h = proven(u, from, p, now);

    if (!h)
        return NULL;
    struct sp_utp_conn *c = sp_utp_conn_new(u, from, p->id, now);
    if (!c)
        return NULL;
    c->state = CONN_OPEN;
    c->send_id = h->id;
    c->una = c->next = c->end = (uint16_t)(p->ack + 1);
    c->judged = c->lost_from = c->recover = c->una;
    c->ack = h->syn_seq;
    h->addr.family = SP_FAMILY_NONE;
    sp_utp_raise(c, EV_ACCEPTED);
    sp_utp_arm(c, now);
    return c;
}

/* BEP-0029: "The remote host does not have any state for this connection. It
 * is stale and should be terminated."  Never longer than what it answers. */
void sp_utp_reset(struct sp_utp *u, const struct sp_addr *from, const struct sp_utp_packet *p)
{
    struct sp_reset *r = sp_queue_push(&u->resets, u->cfg.mem);
    if (r)
        *r = (struct sp_reset){.to = *from, .id = p->id, .ack = p->seq};
}
