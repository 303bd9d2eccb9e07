/* What the other end has: round trips, losses, time-outs. */
#include "core/utp/impl.h"

struct sp_way sp_utp_way(const struct sp_utp_conn *c, sp_time_ns now)
{
    return (struct sp_way){
        .queue_us = sp_delay_queue_us(&c->ours),
        .rtt_us = (uint32_t)(c->rtt_ns / 1000),
        .mss = c->mss,
        .now = now,
    };
}

/* BEP-0029: "rtt_var += (abs(delta) - rtt_var) / 4; rtt += (packet_rtt - rtt) / 8" */
static void measure_rtt(struct sp_utp_conn *c, sp_time_ns rtt)
{
    if (c->rtt_ns == 0) {
        c->rtt_ns = rtt ? rtt : 1;
        c->rtt_var_ns = rtt / 2;
    } else {
        sp_time_ns delta = rtt > c->rtt_ns ? rtt - c->rtt_ns : c->rtt_ns - rtt;
        c->rtt_var_ns = c->rtt_var_ns - c->rtt_var_ns / 4 + delta / 4;
        c->rtt_ns = c->rtt_ns - c->rtt_ns / 8 + rtt / 8;
    }
    if (c->rtt_least_ns == 0 || rtt < c->rtt_least_ns)
        c->rtt_least_ns = rtt ? rtt : 1;
    sp_time_ns rto = c->rtt_ns + 4 * c->rtt_var_ns;
    c->rto_ns = rto < RTO_MIN_NS ? RTO_MIN_NS : rto > RTO_MAX_NS ? RTO_MAX_NS : rto;
}

/* What one acknowledgment brought. */
struct tally {
    uint32_t bytes, packets;
    sp_time_ns sent_at; /* of the latest that was sent once; 0: none was */
};

static uint32_t on_way(const struct sp_tx *t)
{
    return (uint32_t)t->len + SP_UTP_HEAD_LEN;
}

static void came(struct sp_utp_conn *c, struct sp_tx *t, uint16_t seq, struct tally *n,
                 sp_time_ns now)
{
    if (t->flags & TX_LOST) {
        t->flags &= (uint8_t)~TX_LOST;
        c->lost_count--;
    } else {
        c->flight_bytes -= on_way(t);
    }
    /* BEP-0029: "The rtt and rtt_var is only updated for packets that were sent
     * only once." */
    if (t->sends == 1 && t->sent_at > n->sent_at)
        n->sent_at = t->sent_at;
    if (t->sent_at > c->newest_ns)
        c->newest_ns = t->sent_at;
    if (c->probe_len && seq == c->probe_seq && (t->flags & TX_PROBE))
        sp_utp_probe_done(c, true, now);
    n->bytes += on_way(t);
    n->packets++;
}

/* BEP-0029: "Every packet that is ACKed, either by falling in the range
 * (last_ack_nr, ack_nr] or by explicitly being acked by a Selective ACK" */
static void take_ack(struct sp_utp_conn *c, uint16_t ack, struct tally *n, sp_time_ns now)
{
    while (seq_before(c->una, (uint16_t)(ack + 1)) && c->una != c->next) {
        struct sp_tx *t = tx_at(c, c->una);
        if (!(t->flags & TX_SACKED))
            came(c, t, c->una, n, now);
        sp_utp_free_tx(c, t);
        c->una++;
    }
    if (seq_before(c->judged, c->una))
        c->judged = c->una;
    if (seq_before(c->lost_from, c->una))
        c->lost_from = c->una;
}

/* Gives the packet before which at least DUP_ACKS others came; una if none. */
static uint16_t take_sack(struct sp_utp_conn *c, const struct sp_utp_packet *p, struct tally *n,
                          sp_time_ns now)
{
    uint16_t sent = (uint16_t)(c->next - c->una), past[DUP_ACKS] = {0};
    uint32_t bits = (uint32_t)p->sack.len * 8, count = 0;

    /* BEP-0029: "Bits that are outside of the send window are ignored." */
    for (uint32_t i = 0; i < bits; i++) {
        if (i % 8 == 0 && p->sack.ptr[i / 8] == 0) {
            i += 7;
            continue;
        }
        uint16_t seq = (uint16_t)(p->ack + 2 + i);
        if (!sp_utp_sack_bit(p->sack, i) || (uint16_t)(seq - c->una) >= sent)
            continue;
        past[count++ % DUP_ACKS] = seq;
        struct sp_tx *t = tx_at(c, seq);
        if (t->flags & TX_SACKED)
            continue;
        came(c, t, seq, n, now);
        t->flags |= TX_SACKED;
    }
    return count < DUP_ACKS ? c->una : past[count % DUP_ACKS];
}

static void lose(struct sp_utp_conn *c, uint16_t seq, struct sp_tx *t, sp_time_ns now)
{
    struct sp_way way = sp_utp_way(c, now);

    t->flags |= TX_LOST;
    c->flight_bytes -= on_way(t);
    c->lost_count++;
    c->lost_packets++;
    if (seq_before(seq, c->lost_from))
        c->lost_from = seq;
    sp_utp_queue(c);
    if (c->probe_len && seq == c->probe_seq && (t->flags & TX_PROBE)) {
        sp_utp_probe_done(c, false, now); /* too long: no sign of anything else */
        return;
    }
    sp_window_lost(&c->window, &way, !c->recovering);
    if (!c->recovering) {
        c->recovering = true;
        c->recover = c->next;
    }
}

static bool is_out(const struct sp_tx *t)
{
    return !(t->flags & (TX_LOST | TX_SACKED));
}

/* BEP-0029: "3 or more packets have been acked past it (through Selective ACK),
 * the packet is assumed to have been lost."  Each is judged so once. */
static void judge(struct sp_utp_conn *c, uint16_t before, sp_time_ns now)
{
    for (; seq_before(c->judged, before); c->judged++) {
        struct sp_tx *t = tx_at(c, c->judged);
        if (is_out(t) && t->sends == 1)
            lose(c, c->judged, t, now);
    }
}

/* What was sent again is lost again when something sent clearly later came. */
static void judge_again(struct sp_utp_conn *c, sp_time_ns now)
{
    sp_time_ns slack = c->rtt_least_ns / 4;

    while (c->again.count) {
        const struct sp_again *a = sp_queue_at(&c->again, 0);
        uint16_t seq = a->seq;
        sp_time_ns at = a->at;
        bool live = (uint16_t)(seq - c->una) < (uint16_t)(c->next - c->una);
        struct sp_tx *t = live ? tx_at(c, seq) : NULL;
        if (t && is_out(t) && t->sent_at == at) {
            if (at + slack >= c->newest_ns)
                return;
            lose(c, seq, t, now);
        }
        sp_queue_pop(&c->again);
    }
}

/* BEP-0029: "when receiving 3 duplicate acks, ack_nr + 1 is assumed to have been lost" */
static void count_dup(struct sp_utp_conn *c, const struct sp_utp_packet *p, sp_time_ns now)
{
    if (p->type != SP_UTP_ST_STATE || p->sack.len || p->ack != (uint16_t)(c->una - 1) ||
        ++c->dup_acks != DUP_ACKS)
        return;
    struct sp_tx *t = tx_at(c, c->una);
    if (is_out(t) && t->sends == 1)
        lose(c, c->una, t, now);
}

/* BEP-0029: "Every time a socket sends or receives a packet, it updates its
 * timeout counter." */
static void progress(struct sp_utp_conn *c, const struct tally *n, const struct sp_utp_packet *p,
                     sp_time_ns now)
{
    if (n->sent_at)
        measure_rtt(c, now - n->sent_at);
    else if (c->timeouts)
        measure_rtt(c, c->rtt_ns ? c->rtt_ns : RTO_FIRST_NS); /* the backoff ends */
    if (p->delay_us)
        sp_delay_add(&c->ours, p->delay_us, now);
    c->timeouts = c->dup_acks = 0;
    c->tail_probed = false;
    c->rto_at = now + c->rto_ns;
    c->tail_at = now + 2 * c->rtt_ns + 20 * SP_MS_NS;
    if (c->recovering && !seq_before(c->una, c->recover))
        c->recovering = false;
    struct sp_way way = sp_utp_way(c, now);
    sp_window_acked(&c->window, &way, n->bytes, n->packets, c->full);
}

void sp_utp_got_ack(struct sp_utp_conn *c, const struct sp_utp_packet *p, sp_time_ns now)
{
    struct tally n = {0};
    uint16_t before = c->una;

    if (!seq_before(p->ack, (uint16_t)(c->una - 1))) {
        take_ack(c, p->ack, &n, now);
        if (p->sack.len && c->una != c->next)
            before = take_sack(c, p, &n, now);
    }
    if (n.packets)
        progress(c, &n, p, now);
    else if (c->una != c->next)
        count_dup(c, p, now);
    judge(c, before, now);
    judge_again(c, now);
    if (c->lost_count)
        sp_utp_queue(c); /* the window may have room for them */
    if (c->wants_room && sp_utp_room(c->u, c, now) > 0) {
        c->wants_room = false;
        sp_utp_raise(c, EV_WRITABLE);
    }
    /* Both ends have said FIN and know it. */
    if (c->state == CONN_CLOSING && c->una == c->end && c->fin_written) {
        sp_time_ns at = c->at_eof ? now : now + LINGER_NS;
        c->close_at = at < c->close_at ? at : c->close_at;
    }
}

void sp_utp_timeout(struct sp_utp_conn *c, sp_time_ns now)
{
    struct sp_way way = sp_utp_way(c, now);

    c->timeouts_ever++;
    if (++c->timeouts >= TRIES) {
        sp_utp_fail(c, "does not answer any more");
        return;
    }
    c->recovering = true;
    c->recover = c->next;
    for (uint16_t seq = c->una; seq != c->next; seq++) {
        struct sp_tx *t = tx_at(c, seq);
        if (is_out(t))
            lose(c, seq, t, now);
    }
    if (c->timeouts == 1)
        sp_window_timeout(&c->window, &way);
    /* BEP-0029: "For every packet consecutive subsequent packet that times out,
     * the timeout is doubled." */
    c->rto_ns = c->rto_ns * 2 < RTO_MAX_NS ? c->rto_ns * 2 : RTO_MAX_NS;
    c->rto_at = now + c->rto_ns;
    c->tail_probed = true;
    sp_utp_queue(c);
}

/* Nothing comes after the last packet that could show its loss: it is sent
 * once more, well before the time-out. */
void sp_utp_probe_tail(struct sp_utp_conn *c, sp_time_ns now)
{
    /* Behind a hole the other end has told all it can: the hole itself. */
    bool hole = c->judged != c->una && is_out(tx_at(c, c->una));
    uint16_t seq = hole ? c->una : (uint16_t)(c->next - 1);
    struct sp_tx *t = tx_at(c, seq);
    (void)now;

    c->tail_probed = true;
    if (!is_out(t) || c->lost_count)
        return;
    t->flags |= TX_LOST;
    c->flight_bytes -= on_way(t);
    c->lost_count++;
    if (seq_before(seq, c->lost_from))
        c->lost_from = seq;
    sp_utp_queue(c);
}
