/* What holds between calls, for tests. */
#include "core/utp/impl.h"

struct count {
    uint32_t flight, lost, unacked;
};

static const char *check_packets(const struct sp_utp_conn *c)
{
    struct count n = {0};
    if (seq_before(c->next, c->una) || seq_before(c->end, c->next))
        return "sequence numbers are out of order";
    if (c->una != c->end && (uint16_t)(c->end - c->una) > c->tx_cap)
        return "more packets than places";
    for (uint16_t seq = c->una; seq != c->end; seq++) {
        const struct sp_tx *t = tx_at(c, seq);
        bool sent = seq_before(seq, c->next);
        if (!t->chunk || t->ptr < t->chunk->bytes ||
            t->ptr + SP_UTP_HEAD_LEN + t->len > t->chunk->bytes + t->chunk->used)
            return "a packet lies outside of its memory";
        if (sent != (t->sends > 0))
            return "a packet was sent and was not";
        if ((t->flags & TX_LOST) && (t->flags & TX_SACKED))
            return "a packet is lost and came";
        if ((t->flags & TX_LOST) && seq_before(seq, c->lost_from))
            return "a lost packet is forgotten";
        n.unacked += t->len;
        n.lost += (t->flags & TX_LOST) != 0;
        if (!(t->flags & (TX_LOST | TX_SACKED)))
            n.flight += (uint32_t)t->len + SP_UTP_HEAD_LEN;
    }
    if (n.flight != c->flight_bytes)
        return "bytes on their way are counted wrong";
    if (n.lost != c->lost_count)
        return "lost packets are counted wrong";
    if (n.unacked != c->unacked_bytes)
        return "unacknowledged bytes are counted wrong";
    return NULL;
}

static const char *check_early(const struct sp_utp_conn *c)
{
    uint32_t count = 0, bytes = 0;
    for (uint32_t i = 0; i < c->rx_cap; i++) {
        count += c->rx[i].ptr != NULL;
        bytes += c->rx[i].len;
    }
    if (count != c->rx_count || bytes != c->rx_bytes)
        return "early packets are counted wrong";
    if (c->rx_bytes > c->u->cfg.recv_window_max)
        return "more is kept early than the window allows";
    return NULL;
}

const char *sp_utp_broken(const struct sp_utp *u)
{
    uint64_t kept = 0;
    uint32_t count = 0;

    for (uint32_t i = 0; i < u->conn_cap; i++) {
        const struct sp_utp_conn *c = u->conns[i];
        if (!c)
            continue;
        count++;
        kept += c->rx_bytes + sp_buf_slice(&c->unread).len;
        const char *why = check_packets(c);
        if (!why)
            why = check_early(c);
        if (why)
            return why;
        bool waits = c->state != CONN_DEAD || sp_link_in(&c->event_link);
        if (c->timer.pos == 0 && (!waits || c->state != CONN_DEAD))
            return "a connection has no deadline";
    }
    if (count != u->conn_count || count > u->cfg.conn_max)
        return "connections are counted wrong";
    if (kept != u->kept_bytes)
        return "kept bytes are counted wrong";
    if (kept > u->cfg.recv_bytes_max + UINT16_MAX + SLICES_MAX * DATAGRAM_MAX)
        return "more is kept than may be";
    return NULL;
}

void sp_utp_conn_stats(const struct sp_utp_conn *c, struct sp_utp_stats *ret)
{
    *ret = (struct sp_utp_stats){
        .window_bytes = (uint32_t)(c->window.size_256 / 256),
        .flight_bytes = c->flight_bytes,
        .peer_window_bytes = c->peer_window,
        .mss_bytes = c->mss,
        .rtt_ns = c->rtt_ns,
        .rto_ns = c->rto_ns,
        .queue_ns = (uint64_t)sp_delay_queue_us(&c->ours) * 1000,
        .sent_bytes = c->sent_bytes,
        .received_bytes = c->received_bytes,
        .sent_packets = c->sent_packets,
        .resent_packets = c->resent_packets,
        .lost_packets = c->lost_packets,
        .timeouts = c->timeouts_ever,
        .unread_bytes = sp_buf_slice(&c->unread).len,
        .early_bytes = c->rx_bytes,
        .slow_start = c->window.slow_start,
    };
}
