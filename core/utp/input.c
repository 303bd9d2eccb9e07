/* A packet comes.
 *
 * Data in order is given to the caller where it lies in the datagram; what
 * comes early is kept until the gap before it is filled.
 */
#include "core/base/cur.h"
#include "core/utp/impl.h"

bool sp_utp_is_packet(struct sp_slice datagram)
{
    return datagram.len >= SP_UTP_HEAD_LEN && (datagram.ptr[0] & 15) == 1 &&
           datagram.ptr[0] >> 4 <= SP_UTP_ST_SYN;
}

uint16_t sp_utp_owner(struct sp_slice datagram, uint16_t modulo)
{
    uint16_t id = sp_be16(datagram.ptr + 2);
    if (datagram.ptr[0] >> 4 == SP_UTP_ST_SYN)
        id++;
    return id % modulo;
}

/* ---- memory of what is kept ---- */

static struct sp_rx *rx_at(const struct sp_utp_conn *c, uint16_t seq)
{
    return &c->rx[seq & (c->rx_cap - 1)];
}

void sp_utp_drop_early(struct sp_utp_conn *c)
{
    for (uint32_t i = 0; i < c->rx_cap; i++)
        sp_mem_free(c->u->cfg.mem, c->rx[i].ptr);
    sp_mem_free(c->u->cfg.mem, c->rx);
    c->u->kept_bytes -= c->rx_bytes;
    c->rx = NULL;
    c->rx_cap = c->rx_count = c->rx_bytes = 0;
}

void sp_utp_drop_slices(struct sp_utp *u)
{
    for (uint32_t i = 0; i < u->slice_count; i++)
        sp_mem_free(u->cfg.mem, u->spent[i]);
    u->slice_count = 0;
    u->data_conn = NULL;
}

/* BEP-0029: "this should be set to the number of bytes left in the socket's
 * receive buffer."  What comes early lies within it already. */
uint32_t sp_utp_recv_window(const struct sp_utp_conn *c)
{
    const struct sp_utp_cfg *cfg = &c->u->cfg;
    uint64_t unread = sp_buf_slice(&c->unread).len, kept = c->u->kept_bytes;
    uint64_t own = unread < cfg->recv_window_max ? cfg->recv_window_max - unread : 0;
    uint64_t all = kept < cfg->recv_bytes_max ? (cfg->recv_bytes_max - kept) / 4 : 0;

    if (c->state == CONN_CLOSING)
        return cfg->recv_window_max;
    if (all < own)
        own = c->stopped || all > 2u * DATAGRAM_MAX ? all : 2u * DATAGRAM_MAX;
    return (uint32_t)own;
}

static bool grow_rx(struct sp_utp_conn *c, uint32_t need)
{
    uint32_t cap = c->rx_cap ? c->rx_cap : 32;
    while (cap < need)
        cap *= 2;
    struct sp_rx *rx = SP_NEW_ARRAY(c->u->cfg.mem, struct sp_rx, cap);
    if (!rx)
        return false;
    for (uint32_t i = 0; i < c->rx_cap; i++) {
        uint16_t seq = (uint16_t)(c->ack + 1 + i);
        rx[seq & (cap - 1)] = *rx_at(c, seq);
    }
    sp_mem_free(c->u->cfg.mem, c->rx);
    c->rx = rx;
    c->rx_cap = cap;
    return true;
}

/* Copies a packet that is ahead places behind the next one in order.  What
 * there is no room for is as if lost. */
static void keep_early(struct sp_utp_conn *c, const struct sp_utp_packet *p, uint32_t ahead)
{
    struct sp_utp *u = c->u;
    size_t len = p->payload.len;

    if (u->kept_bytes + len > u->cfg.recv_bytes_max || c->rx_bytes + len > u->cfg.recv_window_max)
        return;
    if (ahead >= c->rx_cap && !grow_rx(c, ahead + 1))
        return;
    struct sp_rx *r = rx_at(c, p->seq);
    if (r->ptr)
        return;
    r->ptr = sp_mem_alloc(u->cfg.mem, len + 1, 1);
    if (!r->ptr)
        return;
    if (len)
        memcpy(r->ptr, p->payload.ptr, len);
    r->len = (uint16_t)len;
    r->fin = p->type == SP_UTP_ST_FIN;
    if (c->rx_count == 0 || seq_before(c->rx_high, p->seq))
        c->rx_high = p->seq;
    c->rx_count++;
    c->rx_bytes += (uint32_t)len;
    u->kept_bytes += len;
}

/* ---- giving it to the caller ---- */

static bool slices_full(const struct sp_utp_conn *c)
{
    return c->u->slice_count == SLICES_MAX || (c->u->data_conn && c->u->data_conn != c);
}

/* spent: memory that goes when it was taken, or NULL. */
static void give(struct sp_utp_conn *c, struct sp_slice bytes, uint8_t *spent)
{
    struct sp_utp *u = c->u;
    c->received_bytes += bytes.len;
    if (c->state != CONN_OPEN || bytes.len == 0) {
        sp_mem_free(u->cfg.mem, spent);
        return;
    }
    u->data_conn = c;
    u->spent[u->slice_count] = spent;
    u->slices[u->slice_count++] = bytes;
    sp_utp_raise(c, EV_DATA);
}

/* Its window has room for it even while nothing is taken. */
static bool keep_unread(struct sp_utp_conn *c, struct sp_slice bytes)
{
    struct sp_utp *u = c->u;
    if (u->kept_bytes + bytes.len > u->cfg.recv_bytes_max + DATAGRAM_MAX ||
        sp_buf_append(&c->unread, bytes.ptr, bytes.len) != SP_OK)
        return false;
    u->kept_bytes += bytes.len;
    c->received_bytes += bytes.len;
    return true;
}

/* The next one in order; false: there is no room for it, it is not had. */
static bool take_next(struct sp_utp_conn *c, struct sp_slice bytes, uint8_t *spent)
{
    if (c->state == CONN_OPEN && c->stopped) {
        if (bytes.len && !keep_unread(c, bytes))
            return false;
        sp_mem_free(c->u->cfg.mem, spent);
        return true;
    }
    if (slices_full(c))
        return false;
    give(c, bytes, spent);
    return true;
}

static void end_of_stream(struct sp_utp_conn *c, sp_time_ns now)
{
    c->at_eof = true;
    if (c->state == CONN_CLOSING) { /* both have said so: it lingers for the last acks */
        if (c->close_at > now + LINGER_NS)
            c->close_at = now + LINGER_NS;
        return;
    }
    if (c->stopped && sp_buf_slice(&c->unread).len)
        return; /* told once that is taken */
    c->why = "closed the connection";
    c->close_at = now;
    sp_utp_raise(c, EV_CLOSED);
}

/* Early packets whose turn has come. */
static void take_early(struct sp_utp_conn *c, sp_time_ns now)
{
    while (c->rx_count) {
        struct sp_rx *r = rx_at(c, (uint16_t)(c->ack + 1));
        struct sp_rx got = *r;
        if (!got.ptr || !take_next(c, (struct sp_slice){got.ptr, got.len}, got.ptr))
            return;
        *r = (struct sp_rx){0};
        c->rx_count--;
        c->rx_bytes -= got.len;
        c->u->kept_bytes -= got.len;
        c->ack++;
        c->need_ack = true;
        if (got.fin) {
            end_of_stream(c, now);
            return;
        }
    }
}

static void got_data(struct sp_utp_conn *c, const struct sp_utp_packet *p, sp_time_ns now)
{
    uint16_t ahead = (uint16_t)(p->seq - c->ack - 1);

    c->need_ack = true;
    sp_utp_queue(c);
    if (ahead >= PACKETS_MAX || c->at_eof)
        return; /* had already, or beyond all windows */
    /* BEP-0029: "This connection will never have a sequence number greater than
     * the sequence number in this packet." */
    if (c->has_eof && seq_before(c->eof, p->seq))
        return;
    if (p->type == SP_UTP_ST_FIN && !c->has_eof) {
        c->has_eof = true;
        c->eof = p->seq;
    }
    if (ahead > 0) {
        keep_early(c, p, ahead);
        return;
    }
    if (!take_next(c, p->payload, NULL))
        return;
    c->ack++;
    if (p->type == SP_UTP_ST_FIN)
        end_of_stream(c, now);
    else
        take_early(c, now);
}

/* A window that was closed, and is open again, is told of. */
static void tell_window(struct sp_utp_conn *c)
{
    uint32_t now_open = sp_utp_recv_window(c);
    if (c->told_window < c->u->cfg.recv_window_max / 4 && now_open > 2 * c->told_window) {
        c->need_ack = true;
        sp_utp_queue(c);
    }
}

/* What was not taken of the slices; false: there is no memory for it. */
static bool keep_rest(struct sp_utp_conn *c, size_t len)
{
    struct sp_utp *u = c->u;
    for (uint32_t i = 0; i < u->slice_count; i++) {
        struct sp_slice s = u->slices[i];
        size_t n = s.len < len ? s.len : len;
        len -= n;
        if (n == s.len)
            continue;
        c->stopped = true;
        if (sp_buf_append(&c->unread, s.ptr + n, s.len - n) != SP_OK)
            return false;
        u->kept_bytes += s.len - n;
    }
    return true;
}

static void took_unread(struct sp_utp_conn *c, size_t len)
{
    sp_buf_consume(&c->unread, len);
    c->u->kept_bytes -= len;
    c->from_unread = false;
    c->stopped = c->unread.len > 0;
    if (!c->stopped)
        sp_buf_trim(&c->unread);
    tell_window(c);
}

void sp_utp_took(struct sp_utp *u, struct sp_utp_conn *c, size_t len, sp_time_ns now)
{
    bool kept = true;

    if (u->data_conn != c)
        return; /* closed meanwhile */
    if (c->from_unread)
        took_unread(c, len);
    else
        kept = keep_rest(c, len);
    sp_utp_drop_slices(u);
    if (!kept) {
        sp_utp_fail(c, "out of memory");
        return;
    }
    if (c->state != CONN_OPEN)
        return;
    if (c->stopped)
        c->events &= (uint8_t)~EV_CLOSED; /* the end of the stream comes after that */
    else if (c->at_eof)
        end_of_stream(c, now);
    else
        take_early(c, now);
}

void sp_utp_resume(struct sp_utp *u, struct sp_utp_conn *c, sp_time_ns now)
{
    struct sp_slice rest = sp_buf_slice(&c->unread);

    if (c->state != CONN_OPEN || u->data_conn)
        return;
    c->stopped = false;
    tell_window(c);
    if (rest.len) {
        c->from_unread = true;
        u->data_conn = c;
        u->spent[0] = NULL;
        u->slices[0] = rest;
        u->slice_count = 1;
        sp_utp_raise(c, EV_DATA);
        return;
    }
    if (c->at_eof)
        end_of_stream(c, now);
    else
        take_early(c, now);
}

/* ---- whose it is ---- */

/* BEP-0029: "Terminate connection forcefully."  Only for who knows what we
 * have sent: libutp and libtorrent name in ack_nr the packet that they do not
 * know what to do with. */
static void got_reset(struct sp_utp *u, const struct sp_addr *from, const struct sp_utp_packet *p)
{
    struct sp_utp_conn *c = sp_utp_find(u, from, p->id);
    for (int i = -1; !c && i <= 1; i += 2) {
        c = sp_utp_find(u, from, (uint16_t)(p->id + i));
        if (c && c->send_id != p->id)
            c = NULL;
    }
    if (!c || c->state == CONN_DEAD)
        return;
    uint16_t behind = (uint16_t)(c->next - p->ack);
    if (behind > (uint16_t)(c->next - c->una) + 64u)
        return;
    sp_utp_fail(c, c->state == CONN_SYN_SENT ? "refuses uTP" : "reset the connection");
}

/* The answer to our SYN names the number of the first data to come. */
static void got_syn_ack(struct sp_utp_conn *c, const struct sp_utp_packet *p, sp_time_ns now)
{
    if (p->ack != c->una)
        return;
    c->una++;
    c->next = c->end = c->judged = c->lost_from = c->recover = c->una;
    c->ack = (uint16_t)(p->seq - 1);
    c->state = CONN_OPEN;
    if (c->timeouts == 0) {
        c->rtt_ns = now > c->sent_at ? now - c->sent_at : 1;
        c->rtt_var_ns = c->rtt_ns / 2;
    }
    c->rto_ns = RTO_FIRST_NS;
    c->timeouts = 0;
    c->need_syn = false;
    sp_utp_raise(c, EV_CONNECTED);
}

/* The difference of the stamps goes back with our next packet; where its least
 * becomes less although no queue can, the clocks drift, and what we measure
 * the other way grows by as much (libutp does it so). */
static void measure(struct sp_utp_conn *c, const struct sp_utp_packet *p, sp_time_ns now)
{
    uint32_t base = c->theirs.base_us;
    bool known = c->theirs.count > 0;

    c->reply_us = us_of(now) - p->time_us;
    c->peer_window = p->window_bytes;
    sp_delay_add(&c->theirs, c->reply_us, now);
    uint32_t less = base - c->theirs.base_us;
    if (known && sp_us_before(c->theirs.base_us, base) && less < 10000)
        sp_delay_shift(&c->ours, less);
}

static void got_packet(struct sp_utp_conn *c, const struct sp_utp_packet *p, sp_time_ns now)
{
    if (c->state == CONN_DEAD)
        return;
    if (c->state == CONN_SYN_SENT) {
        if (p->type != SP_UTP_ST_STATE)
            return; /* data that overtook the answer: it comes again */
        got_syn_ack(c, p, now);
        if (c->state != CONN_OPEN)
            return;
    }
    /* Acknowledges what was never sent, or long ago: nobody we know. */
    uint16_t behind = (uint16_t)(c->next - 1 - p->ack);
    if (behind > PACKETS_MAX)
        return;
    measure(c, p, now);
    if (c->una != c->next || c->wants_room)
        sp_utp_got_ack(c, p, now);
    if (c->state != CONN_DEAD && p->type != SP_UTP_ST_STATE)
        got_data(c, p, now);
    sp_utp_arm(c, now);
}

/* One datagram; false: it has to wait until the events are pulled. */
static bool take(struct sp_utp *u, const struct sp_addr *from, struct sp_slice datagram,
                 sp_time_ns now)
{
    struct sp_utp_packet p;

    if (sp_utp_parse(datagram, &p) != SP_OK)
        return true;
    if (p.type == SP_UTP_ST_SYN) {
        sp_utp_got_syn(u, from, &p, now);
        return true;
    }
    if (p.type == SP_UTP_ST_RESET) {
        got_reset(u, from, &p);
        return true;
    }
    struct sp_utp_conn *c = sp_utp_find(u, from, p.id);
    if (c && slices_full(c))
        return false;
    if (!c)
        c = u->data_conn ? NULL : sp_utp_accept(u, from, &p, now);
    if (!c && u->data_conn)
        return false; /* may be a new one: its data needs the slices */
    if (c)
        got_packet(c, &p, now);
    else
        sp_utp_reset(u, from, &p);
    return true;
}

size_t sp_utp_datagrams(struct sp_utp *u, const struct sp_addr *from, struct sp_slice bytes,
                        uint32_t seg_len, sp_time_ns now)
{
    size_t used = 0;

    assert(!u->data_conn && seg_len > 0);
    while (used < bytes.len) {
        size_t n = bytes.len - used < seg_len ? bytes.len - used : seg_len;
        if (!take(u, from, (struct sp_slice){bytes.ptr + used, n}, now))
            break;
        used += n;
    }
    return used;
}
