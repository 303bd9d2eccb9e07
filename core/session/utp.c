#include "core/session/utp.h"

#include "core/session/door.h"
#include "core/wire/ut_pex.h"

enum { SEND_LIST = 32 };

/* How long uTP has to answer before TCP is tried. */
#define UTP_ONLY_NS (SP_SECOND_NS * 5 / 2)
#define NAME_NS     (15 * SP_SECOND_NS)

/* What is behind sp_conn.stream. */
struct sp_stream {
    struct sp_link link; /* s->streams, or s->utp_waiting */
    struct sp_utp_conn *u;
    struct sp_conn *c;    /* NULL: accepted, its torrent is not known yet */
    bool waiting;         /* being dialled, or not named */
    bool blocked;         /* SP_UTP_WRITABLE is awaited */
    struct sp_door *door; /* until it has a name */
    sp_time_ns since;
};

enum sp_err sp_session_utp_init(struct sp_session *s)
{
    const struct sp_session_cfg *cfg = &s->cfg;
    uint64_t budget = cfg->memory_bytes;
    uint64_t share = budget / 8 > 4 << 20 ? 4 << 20 : budget / 8;
    struct sp_utp_cfg uc = {
        .mem = cfg->mem,
        .seed = sp_rng_u64(&s->hub.rng),
        .secret = s->hub.key,
        .conn_max = cfg->conn_max + SP_UTP_DOORS_MAX,
        .recv_window_max = (uint32_t)(share < 256 << 10 ? 256 << 10 : share),
        .recv_bytes_max = budget / 4,
        .send_window_max = 8 << 20,
        .send_bytes_max = budget / 2,
        .id_modulo = cfg->utp_id_modulo,
        .id_of = cfg->utp_id_of,
    };
    sp_list_init(&s->streams);
    sp_list_init(&s->utp_waiting);
    return cfg->utp ? sp_utp_new(&uc, &s->utp) : SP_OK;
}

static struct sp_list *list_of(struct sp_session *s, const struct sp_stream *st)
{
    return st->waiting ? &s->utp_waiting : &s->streams;
}

static void move(struct sp_session *s, struct sp_stream *st, bool waiting)
{
    sp_list_del(list_of(s, st), &st->link);
    st->waiting = waiting;
    sp_list_add(list_of(s, st), &st->link);
}

static void free_stream(struct sp_session *s, struct sp_stream *st)
{
    if (st->c)
        st->c->stream = NULL;
    s->utp_doors -= st->door != NULL;
    sp_mem_free(s->cfg.mem, st->door);
    sp_list_del(list_of(s, st), &st->link);
    sp_mem_free(s->cfg.mem, st);
}

void sp_session_utp_done(struct sp_session *s)
{
    while (s->streams.ends.next && s->streams.count)
        free_stream(s, SP_CONTAINER(s->streams.ends.next, struct sp_stream, link));
    while (s->utp_waiting.ends.next && s->utp_waiting.count)
        free_stream(s, SP_CONTAINER(s->utp_waiting.ends.next, struct sp_stream, link));
    sp_utp_free(s->utp);
    s->utp = NULL;
}

static struct sp_stream *new_stream(struct sp_session *s, struct sp_utp_conn *u, sp_time_ns now)
{
    struct sp_stream *st = SP_NEW(s->cfg.mem, struct sp_stream);
    if (!st)
        return NULL;
    st->u = u;
    st->since = now;
    st->waiting = true;
    sp_list_add(&s->utp_waiting, &st->link);
    sp_utp_set_user(u, st);
    return st;
}

void sp_session_utp_close(struct sp_session *s, struct sp_stream *st, sp_time_ns now)
{
    sp_utp_close(s->utp, st->u, now);
    free_stream(s, st);
}

/* ---- which way to dial ---- */

/* What worked last, else what is said of the peer.  Else over the open net
 * uTP, which gives way to whatever else the line is used for; on the local
 * network there is nothing to give way to, and TCP costs less. */
static bool prefers_utp(struct sp_session *s, const struct sp_conn *c)
{
    const struct sp_candidate *a = sp_swarm_find(c->t, &c->listen);
    if (!s->utp || (c->tried & SP_BY_UTP))
        return false;
    if (s->cfg.no_tcp || (c->tried & SP_BY_TCP))
        return true;
    if (a && a->by)
        return (a->by == SP_BY_UTP) == (a->fails % 2 == 0);
    if (a && (a->pex_flags & SP_PEX_UTP))
        return a->fails % 2 == 0;
    return (sp_addr_scope(&c->addr) == SP_SCOPE_GLOBAL) == (!a || a->fails % 2 == 0);
}

bool sp_session_utp_dial(struct sp_session *s, struct sp_conn *c, sp_time_ns now)
{
    struct sp_utp_conn *u;

    if (!prefers_utp(s, c))
        return false;
    c->tried |= SP_BY_UTP;
    if (sp_utp_dial(s->utp, &c->addr, now, &u) != SP_OK)
        return false;
    struct sp_stream *st = new_stream(s, u, now);
    if (!st) {
        sp_utp_close(s->utp, u, now);
        return false;
    }
    st->c = c;
    c->stream = st;
    return true;
}

/* uTP did not answer: the connection is dialled over TCP, unless that was
 * tried before it, or must not be. */
static void other_way(struct sp_session *s, struct sp_stream *st, const char *why, sp_time_ns now)
{
    struct sp_conn *c = st->c;

    free_stream(s, st);
    if (s->cfg.no_tcp || (c->tried & SP_BY_TCP)) {
        sp_conn_closed(c, why, now);
        return;
    }
    sp_list_add(&s->hub.dialing, &c->effect_link);
}

/* ---- accepted: which torrent is it about? ---- */

/* The door's own words go out; there is always room for them. */
static void answer(struct sp_session *s, struct sp_stream *st, sp_time_ns now)
{
    struct sp_slice out = sp_door_out(st->door);
    if (out.len)
        sp_door_sent(st->door, sp_utp_write(s->utp, st->u, &out, 1, now));
}

static bool enter(struct sp_session *s, struct sp_stream *st, sp_time_ns now)
{
    struct sp_door *door = st->door;
    struct sp_conn *c = sp_session_enter(s, door, sp_utp_addr(st->u), NULL, now);

    if (!c)
        return false;
    c->stream = st;
    c->tried = SP_BY_UTP;
    st->c = c;
    st->door = NULL;
    s->utp_doors--;
    sp_mem_free(s->cfg.mem, door);
    move(s, st, false);
    return true;
}

/* What the door came to; false: it is not wanted. */
static bool after_door(struct sp_session *s, struct sp_stream *st, enum sp_door_state state,
                       sp_time_ns now)
{
    if (state == SP_DOOR_FAILED)
        return false;
    answer(s, st, now);
    return state == SP_DOOR_ASKING || enter(s, st, now);
}

static bool open_door(struct sp_session *s, struct sp_utp_conn *u, sp_time_ns now)
{
    struct sp_mse_dice dice;
    struct sp_stream *st = s->utp_doors < SP_UTP_DOORS_MAX ? new_stream(s, u, now) : NULL;
    if (!st)
        return false;
    st->door = SP_NEW(s->cfg.mem, struct sp_door);
    if (!st->door) {
        free_stream(s, st);
        return false;
    }
    s->utp_doors++;
    sp_session_dice(s, &dice);
    sp_door_init(st->door, s->cfg.encryption, &dice, s->cfg.find_skey, s->cfg.find_ctx);
    return true;
}

/* ---- bytes in ---- */

/* A place in a list of slices. */
struct at {
    const struct sp_slice *list;
    uint32_t count, ix;
    size_t off;
};

static size_t scatter(struct at *at, const struct sp_iov *iov, uint32_t n)
{
    size_t total = 0;
    for (uint32_t k = 0; k < n; k++) {
        for (size_t done = 0; done < iov[k].len;) {
            if (at->ix == at->count)
                return total;
            const struct sp_slice *s = &at->list[at->ix];
            size_t len = s->len - at->off;
            if (len > iov[k].len - done)
                len = iov[k].len - done;
            memcpy(iov[k].ptr + done, s->ptr + at->off, len);
            done += len;
            total += len;
            at->off += len;
            if (at->off == s->len) {
                at->ix++;
                at->off = 0;
            }
        }
    }
    return total;
}

/* As the shell reads from a socket; what the rate limit leaves stays with uTP. */
static size_t feed(struct sp_conn *c, struct at at, sp_time_ns now)
{
    struct sp_iov iov[SP_CONN_IOV_MAX];
    size_t total = 0;

    while (at.ix < at.count) {
        uint32_t n = sp_conn_recv_room(c, iov, now);
        size_t len = n ? scatter(&at, iov, n) : 0;
        if (len == 0)
            break;
        total += len;
        sp_conn_received(c, len, now);
    }
    return total;
}

/* As much as the door wants; false: it is not wanted. */
static bool feed_door(struct sp_session *s, struct sp_stream *st, struct at *at, size_t *ret_used,
                      sp_time_ns now)
{
    while (st->door && at->ix < at->count) {
        struct sp_iov room = sp_door_room(st->door);
        size_t len = room.len ? scatter(at, &room, 1) : 0;
        if (len == 0)
            return true;
        *ret_used += len;
        if (!after_door(s, st, sp_door_received(st->door, len, &s->utp_purse, now), now))
            return false;
    }
    return true;
}

static void got_data(struct sp_session *s, struct sp_stream *st, const struct sp_utp_event *ev,
                     sp_time_ns now)
{
    struct at at = {.list = ev->slices, .count = ev->slice_count};
    size_t used = 0;

    if (!feed_door(s, st, &at, &used, now)) {
        sp_session_utp_close(s, st, now);
        return;
    }
    if (st->c)
        used += feed(st->c, at, now);
    sp_utp_took(s->utp, st->u, used, now);
}

/* ---- bytes out ---- */

void sp_session_utp_send(struct sp_session *s, struct sp_conn *c, sp_time_ns now)
{
    struct sp_stream *st = c->stream;
    struct sp_slice list[SEND_LIST];
    size_t total = 0;

    if (st->blocked)
        return;
    uint32_t n = sp_conn_send_list(c, list, SEND_LIST, now);
    for (uint32_t i = 0; i < n; i++)
        total += list[i].len;
    if (n == 0)
        return;
    size_t took = sp_utp_write(s->utp, st->u, list, n, now);
    if (took > 0)
        sp_conn_sent(c, took, now);
    st->blocked = took < total;
}

/* ---- events ---- */

static void opened(struct sp_session *s, struct sp_stream *st, sp_time_ns now)
{
    move(s, st, false);
    if (st->c)
        sp_conn_opened(st->c, now);
}

static void closed(struct sp_session *s, struct sp_stream *st, const char *why, sp_time_ns now)
{
    struct sp_conn *c = st->c;
    if (c && st->waiting) {
        other_way(s, st, why, now);
        return;
    }
    free_stream(s, st);
    if (c)
        sp_conn_closed(c, why, now);
}

static void pull(struct sp_session *s, sp_time_ns now)
{
    struct sp_utp_event ev;

    while (sp_utp_next(s->utp, &ev)) {
        struct sp_stream *st = ev.kind == SP_UTP_CLOSED ? ev.user : sp_utp_user(ev.conn);
        switch (ev.kind) {
        case SP_UTP_CONNECTED:
            opened(s, st, now);
            break;
        case SP_UTP_ACCEPTED:
            if (!open_door(s, ev.conn, now))
                sp_utp_close(s->utp, ev.conn, now);
            break;
        case SP_UTP_DATA:
            got_data(s, st, &ev, now);
            break;
        case SP_UTP_WRITABLE:
            st->blocked = false;
            if (st->c)
                sp_conn_wants_send(st->c);
            else if (st->door)
                answer(s, st, now);
            break;
        case SP_UTP_CLOSED:
            if (st)
                closed(s, st, ev.why, now);
            break;
        }
    }
}

void sp_session_utp_resume(struct sp_session *s, struct sp_conn *c, sp_time_ns now)
{
    sp_utp_resume(s->utp, c->stream->u, now);
    pull(s, now);
}

/* ---- the shell's side ---- */

void sp_session_datagrams(struct sp_session *s, const struct sp_addr *from, struct sp_slice bytes,
                          uint32_t seg_len, sp_time_ns now)
{
    while (s->utp && bytes.len > 0) {
        size_t used = sp_utp_datagrams(s->utp, from, bytes, seg_len, now);
        bytes.ptr += used;
        bytes.len -= used;
        pull(s, now);
    }
}

bool sp_session_knocks(struct sp_session *s, const struct sp_addr *from, struct sp_slice datagram,
                       struct sp_utp_knock *ret_knock, sp_time_ns now)
{
    return s->utp && sp_utp_knocks(s->utp, from, datagram, now, ret_knock);
}

void sp_session_vouch(struct sp_session *s, const struct sp_utp_knock *knock, sp_time_ns now)
{
    if (s->utp)
        sp_utp_vouch(s->utp, knock, now);
}

bool sp_session_datagram_next(struct sp_session *s, struct sp_utp_batch *ret_batch, sp_time_ns now)
{
    return s->utp && sp_utp_pull(s->utp, now, ret_batch);
}

void sp_session_datagram_sent(struct sp_session *s, sp_time_ns now)
{
    sp_utp_sent(s->utp, now);
}

void sp_session_datagram_refused(struct sp_session *s, bool too_long, sp_time_ns now)
{
    sp_utp_refused(s->utp, too_long, now);
}

/* Doors that found the purse empty. */
static void go_on(struct sp_session *s, sp_time_ns now)
{
    struct sp_link *next;
    for (struct sp_link *k = s->utp_waiting.ends.next; k != &s->utp_waiting.ends; k = next) {
        struct sp_stream *st = SP_CONTAINER(k, struct sp_stream, link);
        next = k->next;
        if (!st->door || !sp_door_waits(st->door))
            continue;
        if (after_door(s, st, sp_door_go_on(st->door, &s->utp_purse, now), now))
            sp_utp_resume(s->utp, st->u, now);
        else
            sp_session_utp_close(s, st, now);
        pull(s, now);
        return; /* the list may be another one now */
    }
}

static struct sp_stream *first_waiting(const struct sp_session *s)
{
    return s->utp_waiting.count ? SP_CONTAINER(s->utp_waiting.ends.next, struct sp_stream, link)
                                : NULL;
}

static sp_time_ns patience(const struct sp_session *s, const struct sp_stream *st)
{
    bool only = !st->c || s->cfg.no_tcp || (st->c->tried & SP_BY_TCP);
    return st->since + (only ? NAME_NS : UTP_ONLY_NS);
}

sp_time_ns sp_session_utp_deadline(const struct sp_session *s)
{
    const struct sp_stream *st = first_waiting(s);
    sp_time_ns at = s->utp ? sp_utp_deadline(s->utp) : SP_TIME_NEVER;
    sp_time_ns own = st ? patience(s, st) : SP_TIME_NEVER;
    return own < at ? own : at;
}

/* In the order they began to wait; who may wait longer goes to the end. */
static void end_waiting(struct sp_session *s, sp_time_ns now)
{
    struct sp_stream *st;
    while ((st = first_waiting(s)) != NULL && patience(s, st) <= now) {
        sp_utp_close(s->utp, st->u, now);
        if (st->c)
            other_way(s, st, "does not answer", now);
        else
            free_stream(s, st);
    }
}

void sp_session_utp_tick(struct sp_session *s, sp_time_ns now)
{
    if (!s->utp)
        return;
    sp_utp_tick(s->utp, now);
    pull(s, now);
    go_on(s, now);
    end_waiting(s, now);
}
