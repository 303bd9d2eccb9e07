/* What is written becomes packets, whose memory lies together; what is to be
 * sent now is given as runs of it. */
#include "core/base/out.h"
#include "core/utp/impl.h"

enum { CHUNK_LEN = SP_UTP_BATCH_MAX, CHUNK_SMALL = 2048 };

static uint32_t on_way(const struct sp_tx *t)
{
    return (uint32_t)t->len + SP_UTP_HEAD_LEN;
}

/* ---- memory ---- */

static struct sp_chunk_mem *new_chunk(struct sp_utp *u, uint32_t cap)
{
    struct sp_chunk_mem *k = cap == CHUNK_LEN ? u->spare : NULL;
    if (k) {
        u->spare = k->next;
        u->spare_count--;
    } else {
        k = sp_mem_alloc(u->cfg.mem, 1, sizeof(*k) + cap);
        if (!k)
            return NULL;
        k->cap = cap;
    }
    k->used = k->live = 0;
    u->unacked_bytes += k->cap;
    return k;
}

static void free_chunk(struct sp_utp *u, struct sp_chunk_mem *k)
{
    u->unacked_bytes -= k->cap;
    if (k->cap != CHUNK_LEN || u->spare_count >= SPARE_MAX) {
        sp_mem_free(u->cfg.mem, k);
        return;
    }
    k->next = u->spare;
    u->spare = k;
    u->spare_count++;
}

void sp_utp_free_tx(struct sp_utp_conn *c, struct sp_tx *t)
{
    struct sp_chunk_mem *k = t->chunk;
    c->unacked_bytes -= t->len;
    t->chunk = NULL;
    t->ptr = NULL;
    if (--k->live > 0)
        return;
    if (c->filling == k)
        c->filling = NULL;
    free_chunk(c->u, k);
}

void sp_utp_drop_tx(struct sp_utp_conn *c)
{
    for (; c->tx && c->una != c->end; c->una++)
        sp_utp_free_tx(c, tx_at(c, c->una));
    sp_mem_free(c->u->cfg.mem, c->tx);
    c->tx = NULL;
    c->tx_cap = 0;
}

static bool grow_tx(struct sp_utp_conn *c)
{
    uint32_t cap = c->tx_cap ? c->tx_cap * 2 : 16;
    struct sp_tx *tx = SP_NEW_ARRAY(c->u->cfg.mem, struct sp_tx, cap);
    if (!tx)
        return false;
    for (uint16_t seq = c->una; seq != c->end; seq++)
        tx[seq & (cap - 1)] = *tx_at(c, seq);
    sp_mem_free(c->u->cfg.mem, c->tx);
    c->tx = tx;
    c->tx_cap = cap;
    return true;
}

/* A packet with room for len bytes, left of what may follow at once. */
static struct sp_tx *new_tx(struct sp_utp_conn *c, uint32_t len, size_t left)
{
    struct sp_utp *u = c->u;
    uint32_t need = len + SP_UTP_HEAD_LEN;

    if ((uint16_t)(c->end - c->una) >= c->tx_cap && !grow_tx(c))
        return NULL;
    if (!c->filling || c->filling->cap - c->filling->used < need) {
        struct sp_chunk_mem *k =
            new_chunk(u, left > CHUNK_SMALL - SP_UTP_HEAD_LEN ? CHUNK_LEN : CHUNK_SMALL);
        if (!k)
            return NULL;
        c->filling = k;
    }
    struct sp_tx *t = tx_at(c, c->end);
    *t = (struct sp_tx){
        .chunk = c->filling, .ptr = c->filling->bytes + c->filling->used, .len = (uint16_t)len};
    c->filling->used += need;
    c->filling->live++;
    c->end++;
    c->unacked_bytes += len;
    c->flight_bytes += need;
    return t;
}

/* ---- writing ---- */

/* BEP-0029: "A socket may only send a packet if cur_window + packet_size is
 * less than or equal to min(max_window, wnd_size)." */
static size_t room(const struct sp_utp_conn *c, sp_time_ns now)
{
    uint32_t window = sp_window_bytes(&c->window, now);
    uint32_t owed = c->lost_count * (uint32_t)(c->mss + SP_UTP_HEAD_LEN);
    uint64_t busy = (uint64_t)c->flight_bytes + owed;
    uint32_t packet = (uint32_t)c->mss + SP_UTP_HEAD_LEN;
    uint32_t there = (uint16_t)(c->end - c->una);
    size_t most = c->peer_window > c->unacked_bytes ? c->peer_window - c->unacked_bytes : 0;

    if (there >= PACKETS_MAX || (c->u->unacked_bytes >= c->u->cfg.send_bytes_max && there > 1))
        return 0;
    if (most == 0)
        return c->persist && there == 0 ? 1 : 0;
    uint64_t count = window > busy ? (window - busy) / packet : 0;
    if (count == 0 && busy == 0)
        count = 1;
    if (count > PACKETS_MAX - there)
        count = PACKETS_MAX - there;
    if (most > c->mss && count * c->mss > most)
        most = most / c->mss * c->mss; /* whole packets */
    return count * c->mss < most ? (size_t)(count * c->mss) : most;
}

size_t sp_utp_room(struct sp_utp *u, struct sp_utp_conn *c, sp_time_ns now)
{
    (void)u;
    return c->state == CONN_OPEN ? room(c, now) : 0;
}

/* A list of slices, read from front to back. */
struct source {
    const struct sp_slice *list;
    uint32_t count;
    size_t off, left; /* of the first; in all */
};

static void copy_from(struct source *s, uint8_t *to, size_t len)
{
    s->left -= len;
    while (len > 0) {
        size_t n = s->list->len - s->off;
        if (n > len)
            n = len;
        memcpy(to, s->list->ptr + s->off, n);
        to += n;
        len -= n;
        s->off += n;
        if (s->off == s->list->len) {
            s->list++;
            s->count--;
            s->off = 0;
        }
    }
}

static struct source source_of(const struct sp_slice *list, uint32_t count)
{
    struct source s = {.list = list, .count = count};
    for (uint32_t i = 0; i < count; i++)
        s.left += list[i].len;
    while (s.count && s.list->len == 0) {
        s.list++;
        s.count--;
    }
    return s;
}

size_t sp_utp_write(struct sp_utp *u, struct sp_utp_conn *c, const struct sp_slice *list,
                    uint32_t count, sp_time_ns now)
{
    struct source s = source_of(list, count);
    size_t may = sp_utp_room(u, c, now), want = s.left, done = 0;

    if (want == 0 || c->state == CONN_DEAD)
        return 0;
    if (want < may)
        may = want;
    while (done < may) {
        size_t len = may - done < c->mss ? may - done : c->mss;
        struct sp_tx *t = new_tx(c, (uint32_t)len, may - done);
        if (!t)
            break;
        copy_from(&s, t->ptr + SP_UTP_HEAD_LEN, len);
        done += len;
    }
    c->sent_bytes += done;
    c->persist = false;
    c->full = done < want;
    if (done < want) {
        c->wants_room = true;
        if (c->una == c->next && c->next == c->end) /* the other end takes nothing */
            c->rto_at = now + c->rto_ns;
        sp_utp_arm(c, now);
    }
    if (done > 0)
        sp_utp_queue(c);
    return done;
}

void sp_utp_write_fin(struct sp_utp_conn *c, sp_time_ns now)
{
    struct sp_tx *t = c->fin_written ? NULL : new_tx(c, 0, 0);
    if (t)
        t->flags |= TX_FIN;
    else if (!c->fin_written)
        c->close_at = now; /* no memory for an orderly end */
    c->fin_written = true;
}

/* ---- how long packets may be ---- */

static uint32_t ip_heads(const struct sp_utp_conn *c)
{
    return c->addr.family == SP_V4 ? 28 : 48;
}

uint16_t sp_utp_datagram_max(const struct sp_utp_conn *c)
{
    return (uint16_t)(1500 - ip_heads(c));
}

/* One longer than any that came, padded: what is lost is sent again as it is
 * without, since packets cannot be cut anew. */
static uint16_t want_probe(struct sp_utp_conn *c, const struct sp_tx *t, sp_time_ns now)
{
    if (c->probe_len || now < c->probe_at || t->sends || t->len != c->mss || (t->flags & TX_FIN))
        return 0;
    if (c->probe_ceil < c->probe_floor + 16) {
        if (c->probe_floor != sp_utp_datagram_max(c))
            return 0;
        c->probe_ceil = (uint16_t)(9000 - ip_heads(c)); /* jumbo frames, or nothing */
        return c->probe_ceil;
    }
    /* The length of Ethernet first: mostly it is that. */
    bool first = c->probe_fails < 2;
    uint32_t middle = ((uint32_t)c->probe_floor + c->probe_ceil + 1) / 2;
    return first ? c->probe_ceil : (uint16_t)middle;
}

/* The search is over: it begins anew after some time, the way may change. */
static void rest_probing(struct sp_utp_conn *c, sp_time_ns now)
{
    uint16_t most = sp_utp_datagram_max(c);
    c->probe_at = now + PROBE_EVERY_NS;
    c->probe_ceil = c->probe_floor > most ? c->probe_floor : most;
    c->probe_fails = 0;
}

void sp_utp_probe_done(struct sp_utp_conn *c, bool came, sp_time_ns now)
{
    uint16_t len = c->probe_len, most = sp_utp_datagram_max(c);

    c->probe_len = 0;
    if (came) {
        c->probe_floor = len;
        c->mss = (uint16_t)(len - SP_UTP_HEAD_LEN);
    } else if (len <= most && ++c->probe_fails != 1) {
        c->probe_ceil = (uint16_t)(len - 1);
    } /* the first one may have been lost by chance */
    bool narrow = c->probe_ceil < c->probe_floor + 16;
    if (len > most || (narrow && c->probe_floor != most))
        rest_probing(c, now);
}

/* ---- sending ---- */

/* Everything of ours that a head says, as of now. */
static struct sp_utp_packet head_of(struct sp_utp_conn *c, sp_time_ns now)
{
    c->told_window = sp_utp_recv_window(c);
    return (struct sp_utp_packet){
        .type = SP_UTP_ST_STATE,
        .id = c->send_id,
        .time_us = us_of(now),
        .delay_us = c->reply_us,
        .window_bytes = c->told_window,
        .seq = c->next,
        .ack = c->ack,
    };
}

/* BEP-0029: "The selective ACK is only sent when at least one sequence number
 * was skipped in the received stream." */
static size_t put_sack(const struct sp_utp_conn *c, uint8_t *ptr)
{
    uint32_t span = (uint16_t)(c->rx_high - c->ack - 1), len = (span + 31) / 32 * 4;

    if (c->rx_count == 0)
        return 0;
    if (len > SP_UTP_SACK_MAX)
        len = SP_UTP_SACK_MAX;
    ptr[0] = 0;
    ptr[1] = (uint8_t)len;
    memset(ptr + 2, 0, len);
    for (uint32_t i = 0; i < len * 8 && i < span; i++) {
        uint16_t seq = (uint16_t)(c->ack + 2 + i);
        if (c->rx[seq & (c->rx_cap - 1)].ptr)
            ptr[2 + i / 8] |= (uint8_t)(1 << i % 8);
    }
    return len + 2;
}

static void give(struct sp_utp *u, const struct sp_addr *to, size_t len, struct sp_utp_batch *ret)
{
    *ret =
        (struct sp_utp_batch){.to = *to, .ptr = u->scratch, .len = len, .seg_len = (uint32_t)len};
}

static bool pull_reset(struct sp_utp *u, sp_time_ns now, struct sp_utp_batch *ret)
{
    if (u->resets.count == 0)
        return false;
    const struct sp_reset *r = sp_queue_at(&u->resets, 0);
    struct sp_utp_packet p = {
        .type = SP_UTP_ST_RESET, .id = r->id, .time_us = us_of(now), .ack = r->ack};
    sp_utp_put_head(u->scratch, &p, 0);
    give(u, &r->to, SP_UTP_HEAD_LEN, ret);
    u->pulled = PULLED_RESET;
    return true;
}

static bool pull_syn_ack(struct sp_utp *u, sp_time_ns now, struct sp_utp_batch *ret)
{
    if (u->syn_acks.count == 0)
        return false;
    const struct sp_syn_ack *a = sp_queue_at(&u->syn_acks, 0);
    struct sp_utp_packet p = {
        .type = SP_UTP_ST_STATE,
        .id = a->id,
        .time_us = us_of(now),
        .delay_us = a->delay_us,
        .window_bytes = u->cfg.recv_window_max,
        .seq = a->seq,
        .ack = a->ack,
    };
    sp_utp_put_head(u->scratch, &p, 0);
    give(u, &a->to, SP_UTP_HEAD_LEN, ret);
    u->pulled = PULLED_SYN_ACK;
    return true;
}

static bool pull_control(struct sp_utp_conn *c, sp_time_ns now, struct sp_utp_batch *ret)
{
    struct sp_utp *u = c->u;
    struct sp_utp_packet p = head_of(c, now);
    size_t sack = 0;

    if (c->state == CONN_SYN_SENT) {
        if (!c->need_syn)
            return false;
        p.type = SP_UTP_ST_SYN;
        p.id = c->recv_id;
        p.ack = 0;
        p.seq = c->una;
    } else {
        if (!c->need_ack)
            return false;
        sack = put_sack(c, u->scratch + SP_UTP_HEAD_LEN);
    }
    sp_utp_put_head(u->scratch, &p, sack ? SP_UTP_EXT_SACK : 0);
    give(u, &c->addr, SP_UTP_HEAD_LEN + sack, ret);
    u->pulled = PULLED_CONTROL;
    return true;
}

static uint32_t window_left(const struct sp_utp_conn *c, sp_time_ns now)
{
    uint32_t window = sp_window_bytes(&c->window, now);
    return window > c->flight_bytes ? window - c->flight_bytes : 0;
}

/* The first packet that is lost, or else not sent yet. */
static bool first_to_send(struct sp_utp_conn *c, sp_time_ns now, uint16_t *ret_seq)
{
    if (c->lost_count) {
        while (!(tx_at(c, c->lost_from)->flags & TX_LOST))
            c->lost_from++;
        *ret_seq = c->lost_from;
        /* While others are out the window holds for what is sent again too. */
        return c->flight_bytes == 0 || on_way(tx_at(c, c->lost_from)) <= window_left(c, now);
    }
    *ret_seq = c->next;
    return c->next != c->end;
}

static bool joins(const struct sp_utp_conn *c, uint16_t seq, const struct sp_tx *first,
                  const struct sp_tx *before)
{
    const struct sp_tx *t = tx_at(c, seq);
    bool again = first->flags & TX_LOST;
    if (seq == c->end || before->len != first->len || t->len > first->len ||
        (t->flags & TX_FIN) != (first->flags & TX_FIN))
        return false;
    if (again ? !(t->flags & TX_LOST) : t->sends > 0)
        return false;
    return t->chunk == first->chunk && before->ptr + on_way(before) == t->ptr;
}

static void stamp(struct sp_utp_packet *p, uint16_t seq, const struct sp_tx *t)
{
    p->type = t->flags & TX_FIN ? SP_UTP_ST_FIN : SP_UTP_ST_DATA;
    p->seq = seq;
    sp_utp_put_head(t->ptr, p, 0);
}

static void pull_probe(struct sp_utp_conn *c, struct sp_utp_packet *p, const struct sp_tx *t,
                       uint16_t seq, uint16_t len, struct sp_utp_batch *ret)
{
    struct sp_utp *u = c->u;
    size_t pad = (size_t)len - on_way(t);

    p->type = SP_UTP_ST_DATA;
    p->seq = seq;
    sp_utp_put_head(u->scratch, p, SP_UTP_EXT_PAD);
    sp_utp_put_pad(u->scratch + SP_UTP_HEAD_LEN, pad);
    memcpy(u->scratch + SP_UTP_HEAD_LEN + pad, t->ptr + SP_UTP_HEAD_LEN, t->len);
    give(u, &c->addr, len, ret);
    ret->probe = true;
    c->probe_len = len;
    c->probe_seq = seq;
}

static bool pull_packets(struct sp_utp_conn *c, sp_time_ns now, struct sp_utp_batch *ret)
{
    struct sp_utp *u = c->u;
    uint16_t seq;

    if (c->state == CONN_SYN_SENT || c->state == CONN_DEAD || !first_to_send(c, now, &seq))
        return false;
    struct sp_tx *first = tx_at(c, seq), *t = first;
    struct sp_utp_packet p = head_of(c, now);
    uint16_t probe = want_probe(c, first, now);
    u->pulled = PULLED_PACKETS;
    u->pulled_seq = seq;
    u->pulled_count = 1;
    if (probe > on_way(first) + 1) {
        pull_probe(c, &p, first, seq, probe, ret);
        return true;
    }
    stamp(&p, seq, first);
    size_t len = on_way(first), most = SP_UTP_BATCH_MAX;
    if (first->flags & TX_LOST) /* new ones were counted as they were written */
        most = window_left(c, now);
    for (seq++; u->pulled_count < SP_UTP_BATCH_COUNT_MAX && joins(c, seq, first, t); seq++) {
        if (len + on_way(first) > most)
            break;
        t = tx_at(c, seq);
        stamp(&p, seq, t);
        len += on_way(t);
        u->pulled_count++;
    }
    *ret = (struct sp_utp_batch){
        .to = c->addr, .ptr = first->ptr, .len = len, .seg_len = on_way(first)};
    return true;
}

/* A probe that was pulled and never sent is none. */
static void forget_pulled(struct sp_utp *u)
{
    struct sp_utp_conn *c = u->pulled_conn;
    if (c && u->pulled_probe)
        c->probe_len = 0;
    u->pulled = PULLED_NOTHING;
    u->pulled_conn = NULL;
    u->pulled_probe = false;
}

bool sp_utp_pull(struct sp_utp *u, sp_time_ns now, struct sp_utp_batch *ret_batch)
{
    forget_pulled(u);
    if (pull_syn_ack(u, now, ret_batch) || pull_reset(u, now, ret_batch))
        return true;
    while (u->out.count) {
        struct sp_utp_conn *c = SP_CONTAINER(u->out.ends.next, struct sp_utp_conn, out_link);
        /* Data acknowledges too, but has no room for what came early. */
        bool early = c->need_ack && c->rx_count;
        bool any = (early && pull_control(c, now, ret_batch)) || pull_packets(c, now, ret_batch) ||
                   pull_control(c, now, ret_batch);
        if (any) {
            u->pulled_conn = c;
            u->pulled_probe = ret_batch->probe;
            return true;
        }
        sp_list_del(&u->out, &c->out_link);
    }
    return false;
}

/* ---- what was sent ---- */

static void sent_one(struct sp_utp_conn *c, uint16_t seq, bool probe, sp_time_ns now)
{
    struct sp_tx *t = tx_at(c, seq);

    if (t->flags & TX_LOST) {
        t->flags &= (uint8_t)~TX_LOST;
        c->lost_count--;
        c->flight_bytes += on_way(t);
        c->resent_packets++;
        struct sp_again *a = sp_queue_push(&c->again, c->u->cfg.mem);
        if (a) /* without: a second loss of it waits for the time-out */
            *a = (struct sp_again){.at = now, .seq = seq};
    } else {
        c->next++;
        c->sent_packets++;
    }
    t->flags = (uint8_t)((t->flags & ~TX_PROBE) | (probe ? TX_PROBE : 0));
    t->sent_at = now;
    if (t->sends < UINT8_MAX)
        t->sends++;
}

static void sent_packets(struct sp_utp_conn *c, sp_time_ns now)
{
    struct sp_utp *u = c->u;
    bool idle = c->una == c->next;

    for (uint32_t i = 0; i < u->pulled_count; i++)
        sent_one(c, (uint16_t)(u->pulled_seq + i), u->pulled_probe, now);
    if (idle)
        c->rto_at = now + c->rto_ns;
    c->tail_at = now + 2 * c->rtt_ns + 20 * SP_MS_NS;
    if (c->rx_count == 0)
        c->need_ack = false;
}

void sp_utp_sent(struct sp_utp *u, sp_time_ns now)
{
    struct sp_utp_conn *c = u->pulled_conn;

    if (u->pulled == PULLED_RESET)
        sp_queue_pop(&u->resets);
    else if (u->pulled == PULLED_SYN_ACK)
        sp_queue_pop(&u->syn_acks);
    else if (c && u->pulled == PULLED_PACKETS)
        sent_packets(c, now);
    else if (c)
        c->need_syn = c->need_ack = false;
    if (c) {
        c->sent_at = now;
        sp_utp_arm(c, now);
        sp_list_del(&u->out, &c->out_link); /* the others' turn first */
        sp_utp_queue(c);
    }
    u->pulled_probe = false;
    forget_pulled(u);
}

void sp_utp_refused(struct sp_utp *u, bool too_long, sp_time_ns now)
{
    struct sp_utp_conn *c = u->pulled_conn;
    uint16_t seq = u->pulled_seq;

    if (c && u->pulled_probe && too_long) {
        u->pulled_probe = false;
        sp_utp_probe_done(c, false, now);
        (void)seq; /* the packet itself is still to be sent, as it is */
        return;
    }
    sp_utp_sent(u, now);
}
