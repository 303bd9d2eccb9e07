/* Bytes in.
 *
 * Payload is received where it belongs.  A peer answers requests in order
 * (BEP-0003 does not say so, all clients do), so the next bytes are predicted:
 * the rest of the current block, then head, block, head, block ... in the order
 * of asking.  What the wire then finds decides: a prediction that was right
 * costs no copy; after a wrong one everything not yet parsed is first moved
 * out of the blocks' memory, and then copied to where it belongs.
 */
#include "core/torrent/state.h"

enum { TAIL_LEN = 16 * 1024 };

static void add_room(struct sp_hub *h, uint8_t *ptr, size_t len, size_t *total)
{
    h->room[h->room_count++] = (struct sp_iov){.ptr = ptr, .len = len};
    *total += len;
}

/* Room for the blocks asked for next, each behind its head. */
static void predict(struct sp_conn *c, size_t limit, size_t *total)
{
    struct sp_hub *h = c->h;
    uint32_t gathered = sp_wire_block_left(&c->wire) ? 0 : c->msg_bytes;

    if (gathered >= SP_WIRE_PIECE_HEAD_LEN)
        return;
    for (uint32_t ix = 0; ix < c->asks.count && *total < limit; ix++) {
        struct sp_ask *a = sp_queue_at(&c->asks, ix);
        struct sp_block_ref ref = {a->piece, a->block};
        if (h->room_count + 3 > SP_CONN_IOV_MAX || a->released)
            return;
        if (!a->data && !(a->data = sp_hub_block(h)))
            return;
        add_room(h, h->heads + 16 * h->room_count, SP_WIRE_PIECE_HEAD_LEN - gathered, total);
        add_room(h, a->data, sp_picker_block_len(c->t->picker, ref), total);
        gathered = 0;
    }
}

void sp_recv_sleep(struct sp_conn *c, sp_time_ns at)
{
    struct sp_hub *h = c->h;
    sp_list_add(&h->down_waiting, &c->down_link);
    if (h->throttle_timer.pos == 0 || h->throttle_timer.at > at)
        sp_timers_set(&h->timers, &h->throttle_timer, at);
}

uint64_t sp_recv_allowed(struct sp_conn *c, sp_time_ns now)
{
    struct sp_hub *h = c->h;
    struct sp_bucket *all = &h->down, *own = &c->t->down;
    uint64_t of_all = sp_bucket_portion(all, now), of_own = sp_bucket_portion(own, now);
    uint64_t room = of_all < of_own ? of_all : of_own;

    if (room == 0) {
        const struct sp_bucket *empty = of_all ? own : all;
        sp_recv_sleep(c, sp_bucket_ready_at(empty, sp_bucket_least(empty)));
    }
    return room;
}

uint32_t sp_conn_recv_room(struct sp_conn *c, struct sp_iov iov[SP_CONN_IOV_MAX], sp_time_ns now)
{
    struct sp_hub *h = c->h;
    size_t total = 0;

    h->room_count = 0;
    h->room_conn = c;
    if (c->state != CONN_HANDSHAKE && c->state != CONN_OPEN)
        return 0;
    uint64_t limit = sp_recv_allowed(c, now);
    if (limit == 0)
        return 0;
    if (limit > SP_CONN_RECV_MAX)
        limit = SP_CONN_RECV_MAX;

    uint32_t left = sp_wire_block_left(&c->wire);
    if (c->crypt && c->crypt->mse) {
        add_room(h, h->scratch, SP_HUB_SCRATCH_LEN, &total);
    } else if (left && !c->has_cur) {
        add_room(h, h->scratch, left < SP_HUB_SCRATCH_LEN ? left : SP_HUB_SCRATCH_LEN, &total);
    } else {
        if (left) {
            uint32_t len = sp_picker_block_len(c->t->picker,
                                               (struct sp_block_ref){c->cur.piece, c->cur.block});
            add_room(h, c->cur.data + (len - left), left, &total);
        }
        predict(c, limit, &total);
        add_room(h, h->scratch, h->room_count ? TAIL_LEN : SP_HUB_SCRATCH_LEN, &total);
    }
    /* Under a rate limit the list is cut short, at the least one block. */
    for (uint32_t i = 0; i < h->room_count; i++) {
        if (h->room[i].len >= limit) {
            h->room[i].len = limit;
            h->room_count = i + 1;
            break;
        }
        limit -= h->room[i].len;
    }
    memcpy(iov, h->room, h->room_count * sizeof(*iov));
    return h->room_count;
}

/* What of the bytes received lies behind the slice at hand. */
struct rest {
    uint32_t next; /* in h->room */
    size_t len;    /* bytes, over all following entries */
    bool spilled;  /* the slice at hand is in spill, nothing is behind it */
};

/* Moves in and all that is behind it together into spill. */
static void spill(struct sp_hub *h, struct sp_slice *in, struct rest *rest)
{
    uint8_t *to = h->spill;

    if (rest->spilled)
        return;
    if (in->len)
        memcpy(to, in->ptr, in->len);
    to += in->len;
    *in = (struct sp_slice){.ptr = h->spill, .len = in->len + rest->len};
    while (rest->len > 0) {
        const struct sp_iov *v = &h->room[rest->next++];
        size_t n = v->len < rest->len ? v->len : rest->len;
        memcpy(to, v->ptr, n);
        to += n;
        rest->len -= n;
    }
    rest->spilled = true;
}

static void take_data(struct sp_conn *c, struct sp_wire_event *ev, struct sp_slice *in,
                      struct rest *rest)
{
    if (!c->has_cur)
        return;
    uint8_t *to = c->cur.data + ev->block_off;
    if (ev->data.ptr == to)
        return;
    size_t len = ev->data.len;
    struct sp_slice all = {.ptr = ev->data.ptr, .len = len + in->len}; /* in follows data */
    spill(c->h, &all, rest);
    memcpy(to, all.ptr, len);
    *in = (struct sp_slice){.ptr = all.ptr + len, .len = all.len - len};
}

/* These give the memory of blocks back that bytes behind them may lie in. */
static bool drops_asks(const struct sp_wire_event *ev)
{
    return ev->kind == SP_WIRE_CHOKE || ev->kind == SP_WIRE_REJECT;
}

/* Runs the wire over in, and over what spill appends to it. */
static void feed(struct sp_conn *c, struct sp_slice in, struct rest *rest, sp_time_ns now)
{
    for (;;) {
        struct sp_wire_event ev;
        size_t used = 0;
        enum sp_err err = sp_wire_recv(&c->wire, in, &used, &ev);
        if (err != SP_OK) {
            sp_conn_end(c, sp_wire_why(&c->wire), now);
            return;
        }
        in.ptr += used;
        in.len -= used;
        if (ev.kind == SP_WIRE_NONE) {
            c->msg_bytes += (uint32_t)used;
            return;
        }
        c->msg_bytes = 0;
        if (drops_asks(&ev))
            spill(c->h, &in, rest);
        if (ev.kind == SP_WIRE_BLOCK_DATA)
            take_data(c, &ev, &in, rest);
        else
            sp_conn_event(c, &ev, now);
        if (c->state == CONN_DEAD)
            return;
    }
}

void sp_recv_count(struct sp_conn *c, size_t len, sp_time_ns now)
{
    sp_bucket_take(&c->h->down, len);
    sp_bucket_take(&c->t->down, len);
    c->last_recv_at = now;
}

/* Enciphered bytes that lie in scratch. */
static void take_scratch(struct sp_conn *c, size_t len, sp_time_ns now)
{
    struct rest rest = {.spilled = true};
    struct sp_slice in = sp_crypt_received(c, c->h->scratch, len, now);

    if (in.len > 0)
        feed(c, in, &rest, now);
}

/* The len bytes that came where sp_conn_recv_room said. */
static void decipher_room(struct sp_conn *c, size_t len)
{
    const struct sp_hub *h = c->h;
    for (uint32_t i = 0; len > 0 && i < h->room_count; i++) {
        size_t n = h->room[i].len < len ? h->room[i].len : len;
        sp_crypt_decipher(c->crypt, h->room[i].ptr, n);
        len -= n;
    }
}

void sp_conn_received(struct sp_conn *c, size_t len, sp_time_ns now)
{
    struct sp_hub *h = c->h;

    if (c->state == CONN_DEAD)
        return;
    assert(h->room_conn == c);
    sp_recv_count(c, len, now);
    if (c->crypt && c->crypt->mse) {
        take_scratch(c, len, now);
        len = 0;
    } else if (c->crypt) {
        decipher_room(c, len);
    }
    struct rest rest = {.len = len};
    while (rest.len > 0 && c->state != CONN_DEAD) {
        assert(rest.next < h->room_count);
        const struct sp_iov *v = &h->room[rest.next++];
        size_t n = v->len < rest.len ? v->len : rest.len;
        rest.len -= n;
        feed(c, (struct sp_slice){v->ptr, n}, &rest, now);
    }
    if (c->state == CONN_OPEN)
        sp_ask_more(c, now);
}

void sp_conn_received_bytes(struct sp_conn *c, struct sp_slice bytes, sp_time_ns now)
{
    struct rest rest = {.spilled = true};

    if (c->state == CONN_DEAD)
        return;
    sp_recv_count(c, bytes.len, now);
    if (!c->crypt)
        feed(c, bytes, &rest, now);
    for (size_t n; c->crypt && bytes.len > 0; bytes.ptr += n, bytes.len -= n) {
        n = bytes.len < SP_HUB_SCRATCH_LEN ? bytes.len : SP_HUB_SCRATCH_LEN;
        memcpy(c->h->scratch, bytes.ptr, n);
        take_scratch(c, n, now);
    }
    if (c->state == CONN_OPEN)
        sp_ask_more(c, now);
}
