#include "core/utp/impl.h"

enum { SYN_ACKS_MAX = 256 };

/* ---- look-up ---- */

struct key {
    struct sp_addr addr;
    uint16_t recv_id;
};

static uint64_t hash_key(const struct sp_utp *u, const struct sp_addr *addr, uint16_t recv_id)
{
    uint64_t h = sp_addr_hash(&u->cfg.secret, addr) ^ (uint64_t)recv_id << 32;
    return sp_mix64(&h);
}

static bool has_key(const void *owner, uint32_t ix, const void *key)
{
    const struct sp_utp_conn *c = ((const struct sp_utp *)owner)->conns[ix];
    const struct key *k = key;
    return c->recv_id == k->recv_id && sp_addr_eq(&c->addr, &k->addr);
}

struct sp_utp_conn *sp_utp_find(struct sp_utp *u, const struct sp_addr *addr, uint16_t recv_id)
{
    struct key k = {*addr, recv_id};
    struct sp_utp_conn *c = u->last;

    if (c && c->recv_id == recv_id && sp_addr_eq(&c->addr, addr))
        return c;
    uint32_t ix = sp_map_find(&u->by_key, hash_key(u, addr, recv_id), &k, has_key, u);
    if (ix == SP_MAP_NONE)
        return NULL;
    u->last = u->conns[ix];
    return u->last;
}

/* ---- the endpoint ---- */

enum sp_err sp_utp_new(const struct sp_utp_cfg *cfg, struct sp_utp **ret_utp)
{
    struct sp_utp *u = SP_NEW(cfg->mem, struct sp_utp);
    if (!u)
        return SP_ENOMEM;
    u->cfg = *cfg;
    if (u->cfg.id_modulo == 0)
        u->cfg.id_modulo = 1;
    u->rng = sp_rng_of(cfg->seed);
    u->timers = sp_timers_of(cfg->mem);
    u->by_key = sp_map_of(cfg->mem);
    u->resets = sp_queue_of(sizeof(struct sp_reset), RESETS_MAX);
    u->syn_acks = sp_queue_of(sizeof(struct sp_syn_ack), SYN_ACKS_MAX);
    sp_list_init(&u->events);
    sp_list_init(&u->out);
    *ret_utp = u;
    return SP_OK;
}

static void free_spare(struct sp_utp *u)
{
    for (struct sp_chunk_mem *k = u->spare, *next; k; k = next) {
        next = k->next;
        sp_mem_free(u->cfg.mem, k);
    }
}

void sp_utp_free(struct sp_utp *u)
{
    if (!u)
        return;
    sp_utp_drop_slices(u);
    for (uint32_t i = 0; i < u->conn_cap; i++) {
        if (u->conns[i])
            sp_utp_conn_free(u->conns[i]);
    }
    free_spare(u);
    sp_queue_done(&u->resets, u->cfg.mem);
    sp_queue_done(&u->syn_acks, u->cfg.mem);
    sp_map_done(&u->by_key);
    sp_timers_done(&u->timers);
    sp_mem_free(u->cfg.mem, u->half);
    sp_mem_free(u->cfg.mem, u->conns);
    sp_mem_free(u->cfg.mem, u);
}

/* ---- a connection's life ---- */

static bool find_slot(struct sp_utp *u, uint32_t *ret_slot)
{
    while (u->free_slot < u->conn_cap && u->conns[u->free_slot])
        u->free_slot++;
    if (u->free_slot == u->conn_cap) {
        uint32_t cap = u->conn_cap ? u->conn_cap * 2 : 8;
        struct sp_utp_conn **conns =
            sp_mem_grow(u->cfg.mem, u->conns, u->conn_cap, cap, sizeof(struct sp_utp_conn *));
        if (!conns)
            return false;
        u->conns = conns;
        u->conn_cap = cap;
    }
    *ret_slot = u->free_slot;
    return true;
}

static void init_conn(struct sp_utp_conn *c, const struct sp_addr *addr, uint16_t recv_id,
                      sp_time_ns now)
{
    const struct sp_utp_cfg *cfg = &c->u->cfg;
    c->addr = *addr;
    c->recv_id = recv_id;
    c->probe_floor = DATAGRAM_LEAST;
    c->probe_ceil = sp_utp_datagram_max(c);
    c->mss = DATAGRAM_LEAST - SP_UTP_HEAD_LEN;
    c->rto_ns = RTO_FIRST_NS;
    c->peer_window = c->mss;
    c->sent_at = now;
    c->again = sp_queue_of(sizeof(struct sp_again), UINT32_MAX);
    c->unread = sp_buf_of(cfg->mem, (size_t)cfg->recv_window_max + UINT16_MAX);
    sp_window_init(&c->window, c->mss, cfg->send_window_max);
}

struct sp_utp_conn *sp_utp_conn_new(struct sp_utp *u, const struct sp_addr *addr, uint16_t recv_id,
                                    sp_time_ns now)
{
    uint32_t slot;

    if (u->conn_count >= u->cfg.conn_max || !find_slot(u, &slot) ||
        sp_timers_reserve(&u->timers, u->conn_count + 1) != SP_OK)
        return NULL;
    struct sp_utp_conn *c = SP_NEW(u->cfg.mem, struct sp_utp_conn);
    if (!c || sp_map_put(&u->by_key, hash_key(u, addr, recv_id), slot) != SP_OK) {
        sp_mem_free(u->cfg.mem, c);
        return NULL;
    }
    c->u = u;
    c->slot = slot;
    init_conn(c, addr, recv_id, now);
    u->conns[slot] = c;
    u->conn_count++;
    return c;
}

/* Whatever its state: nothing of it is left. */
void sp_utp_conn_free(struct sp_utp_conn *c)
{
    struct sp_utp *u = c->u;

    if (u->data_conn == c)
        sp_utp_drop_slices(u);
    sp_utp_drop_early(c);
    sp_utp_drop_tx(c);
    u->kept_bytes -= sp_buf_slice(&c->unread).len;
    sp_buf_done(&c->unread);
    sp_queue_done(&c->again, u->cfg.mem);
    sp_list_del(&u->events, &c->event_link);
    sp_list_del(&u->out, &c->out_link);
    sp_timers_clear(&u->timers, &c->timer);
    sp_map_del(&u->by_key, hash_key(u, &c->addr, c->recv_id), c->slot);
    if (u->last == c)
        u->last = NULL;
    if (u->pulled_conn == c) {
        u->pulled_conn = NULL;
        u->pulled = PULLED_NOTHING;
    }
    u->conns[c->slot] = NULL;
    u->conn_count--;
    if (c->slot < u->free_slot)
        u->free_slot = c->slot;
    sp_mem_free(u->cfg.mem, c);
}

/* Numbers that strangers must not guess: keyed by the secret, so that what one
 * endpoint draws tells nothing of what it draws next. */
static uint16_t secret_number(struct sp_utp *u)
{
    uint64_t drawn = sp_rng_u64(&u->rng);
    return (uint16_t)sp_hash_bytes(&u->cfg.secret, &drawn, sizeof(drawn));
}

/* BEP-0029: "The connection ID is initialized to a random number." */
static bool draw_id(struct sp_utp *u, const struct sp_addr *to, uint16_t *ret_id)
{
    uint32_t modulo = u->cfg.id_modulo;
    for (int i = 0; i < 64; i++) {
        uint32_t id = secret_number(u) / modulo * modulo + u->cfg.id_of;
        /* A resetting peer names either id: neighbours are kept apart. */
        if (id < UINT16_MAX && !sp_utp_find(u, to, (uint16_t)id) &&
            !sp_utp_find(u, to, (uint16_t)(id + 1)) && !sp_utp_find(u, to, (uint16_t)(id - 1))) {
            *ret_id = (uint16_t)id;
            return true;
        }
    }
    return false;
}

/* BEP-0029, not followed: "The sequence number is initialized to 1."  Who has
 * not seen the SYN should not know it either; libtorrent does the same. */
enum sp_err sp_utp_dial(struct sp_utp *u, const struct sp_addr *to, sp_time_ns now,
                        struct sp_utp_conn **ret_conn)
{
    uint16_t id;

    if (u->conn_count >= u->cfg.conn_max || !draw_id(u, to, &id))
        return SP_ELIMIT;
    struct sp_utp_conn *c = sp_utp_conn_new(u, to, id, now);
    if (!c)
        return SP_ENOMEM;
    c->state = CONN_SYN_SENT;
    c->dialled = true;
    c->send_id = (uint16_t)(id + 1);
    c->una = c->next = c->end = secret_number(u);
    c->judged = c->lost_from = c->recover = c->una;
    c->need_syn = true;
    c->rto_at = now + c->rto_ns;
    sp_utp_queue(c);
    sp_utp_arm(c, now);
    *ret_conn = c;
    return SP_OK;
}

void sp_utp_fail(struct sp_utp_conn *c, const char *why)
{
    struct sp_utp *u = c->u;

    if (c->state == CONN_DEAD)
        return;
    bool deserted = c->state == CONN_CLOSING;
    c->state = CONN_DEAD;
    c->why = why;
    sp_timers_clear(&u->timers, &c->timer);
    sp_list_del(&u->out, &c->out_link);
    if (deserted) { /* nobody is told: it goes when its deadline is looked at */
        sp_timers_set(&u->timers, &c->timer, 0);
        return;
    }
    c->events &= EV_CONNECTED | EV_ACCEPTED | EV_DATA;
    if (u->data_conn != c)
        c->events &= (uint8_t)~EV_DATA;
    sp_utp_raise(c, EV_CLOSED);
}

/* The caller has no more to do with it. */
static void desert(struct sp_utp_conn *c, sp_time_ns now)
{
    struct sp_utp *u = c->u;

    if (u->data_conn == c)
        sp_utp_drop_slices(u);
    sp_utp_drop_early(c);
    u->kept_bytes -= sp_buf_slice(&c->unread).len;
    sp_buf_done(&c->unread);
    sp_list_del(&u->events, &c->event_link);
    c->events = 0;
    c->user = NULL;
    c->stopped = false;
    c->state = CONN_CLOSING;
    c->close_at = now + CLOSE_NS;
    sp_utp_write_fin(c, now);
    sp_utp_queue(c);
    sp_utp_arm(c, now);
}

void sp_utp_close(struct sp_utp *u, struct sp_utp_conn *c, sp_time_ns now)
{
    assert(c->state != CONN_CLOSING && c->u == u);
    if (c->state == CONN_OPEN)
        desert(c, now);
    else
        sp_utp_conn_free(c);
}

void sp_utp_set_user(struct sp_utp_conn *c, void *user)
{
    c->user = user;
}

void *sp_utp_user(const struct sp_utp_conn *c)
{
    return c->user;
}

const struct sp_addr *sp_utp_addr(const struct sp_utp_conn *c)
{
    return &c->addr;
}

uint32_t sp_utp_conn_count(const struct sp_utp *u)
{
    return u->conn_count;
}

/* ---- events ---- */

void sp_utp_raise(struct sp_utp_conn *c, uint8_t event)
{
    if (c->state == CONN_CLOSING)
        return;
    c->events |= event;
    sp_list_add(&c->u->events, &c->event_link);
}

static bool take_event(struct sp_utp_conn *c, uint8_t bit, enum sp_utp_event_kind kind,
                       struct sp_utp_event *ret)
{
    if (!(c->events & bit))
        return false;
    c->events &= (uint8_t)~bit;
    *ret = (struct sp_utp_event){.kind = kind, .conn = c};
    return true;
}

/* CLOSED ends the caller's side; an orderly end still says FIN. */
static void give_closed(struct sp_utp_conn *c, struct sp_utp_event *ret)
{
    ret->why = c->why;
    ret->user = c->user;
    if (c->state == CONN_DEAD)
        sp_utp_conn_free(c);
    else
        desert(c, c->close_at);
}

bool sp_utp_next(struct sp_utp *u, struct sp_utp_event *ret_event)
{
    struct sp_utp_event ev;
    struct sp_link *k;

    while ((k = sp_list_pop(&u->events)) != NULL) {
        struct sp_utp_conn *c = SP_CONTAINER(k, struct sp_utp_conn, event_link);
        bool any = take_event(c, EV_CONNECTED, SP_UTP_CONNECTED, &ev) ||
                   take_event(c, EV_ACCEPTED, SP_UTP_ACCEPTED, &ev) ||
                   take_event(c, EV_DATA, SP_UTP_DATA, &ev) ||
                   take_event(c, EV_WRITABLE, SP_UTP_WRITABLE, &ev) ||
                   take_event(c, EV_CLOSED, SP_UTP_CLOSED, &ev);
        if (!any)
            continue;
        if (c->events)
            sp_list_add(&u->events, &c->event_link);
        if (ev.kind == SP_UTP_DATA) {
            assert(u->data_conn == c);
            ev.slices = u->slices;
            ev.slice_count = u->slice_count;
        }
        if (ev.kind == SP_UTP_CLOSED)
            give_closed(c, &ev);
        *ret_event = ev;
        return true;
    }
    return false;
}

/* ---- time ---- */

void sp_utp_queue(struct sp_utp_conn *c)
{
    sp_list_add(&c->u->out, &c->out_link);
}

static bool closes_window(const struct sp_utp_conn *c)
{
    return c->wants_room && c->una == c->next && c->next == c->end;
}

/* When something has to be done for it. */
static sp_time_ns due(const struct sp_utp_conn *c)
{
    sp_time_ns at = c->sent_at + KEEPALIVE_NS;

    if (c->state == CONN_SYN_SENT)
        return c->rto_at;
    if (c->una != c->next) {
        at = c->rto_at < at ? c->rto_at : at;
        if (!c->tail_probed && c->tail_at < at)
            at = c->tail_at;
    } else if (closes_window(c) && c->rto_at < at) {
        at = c->rto_at;
    }
    if (c->state == CONN_CLOSING && c->close_at < at)
        at = c->close_at;
    return at;
}

/* The heap's entry may be early, and is put right when it fires: so most
 * packets cost no change of the heap. */
void sp_utp_arm(struct sp_utp_conn *c, sp_time_ns now)
{
    sp_time_ns at = due(c);
    (void)now;
    if (c->state != CONN_DEAD && (c->timer.pos == 0 || c->timer.at > at))
        sp_timers_set(&c->u->timers, &c->timer, at);
}

static void syn_timeout(struct sp_utp_conn *c, sp_time_ns now)
{
    if (++c->timeouts >= SYN_TRIES) {
        sp_utp_fail(c, "does not answer");
        return;
    }
    c->rto_ns *= 2;
    c->rto_at = now + c->rto_ns;
    c->need_syn = true;
    sp_utp_queue(c);
}

/* Everything that is due at now; true when it is gone. */
static bool act(struct sp_utp_conn *c, sp_time_ns now)
{
    if (c->state == CONN_DEAD || (c->state == CONN_CLOSING && now >= c->close_at)) {
        sp_utp_conn_free(c);
        return true;
    }
    if (c->state == CONN_SYN_SENT) {
        if (now >= c->rto_at)
            syn_timeout(c, now);
    } else if (c->una != c->next) {
        if (now >= c->rto_at)
            sp_utp_timeout(c, now);
        else if (!c->tail_probed && now >= c->tail_at)
            sp_utp_probe_tail(c, now);
    } else if (closes_window(c) && now >= c->rto_at) {
        c->persist = true;
        c->rto_at = now + c->rto_ns;
        c->wants_room = false;
        sp_utp_raise(c, EV_WRITABLE);
    }
    if (c->state != CONN_DEAD && now - c->sent_at >= KEEPALIVE_NS) {
        c->need_ack = true;
        c->sent_at = now;
        sp_utp_queue(c);
    }
    return false;
}

sp_time_ns sp_utp_deadline(const struct sp_utp *u)
{
    return sp_timers_next(&u->timers);
}

void sp_utp_tick(struct sp_utp *u, sp_time_ns now)
{
    struct sp_timer *t;
    while ((t = sp_timers_pop(&u->timers, now)) != NULL) {
        struct sp_utp_conn *c = SP_CONTAINER(t, struct sp_utp_conn, timer);
        if (!act(c, now) && c->state != CONN_DEAD)
            sp_utp_arm(c, now);
    }
}
