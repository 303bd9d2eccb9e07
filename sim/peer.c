/* Scripted peers: they speak the wire as it is, and use it badly. */
#include "core/base/out.h"
#include "sim/world.h"

enum { REQS_MAX = 4096, OUT_ENOUGH = 256 * 1024, TALKS_MAX = 2000 };

struct req {
    uint32_t piece, off, len;
};

/* One connection; stays until the end of the run, because events name it. */
struct sim_talk {
    struct sim_peer *p;
    struct sim_talk *next;
    struct sim_link *link;
    int side;
    struct sp_wire wire;
    struct sp_buf out;
    struct sp_queue reqs; /* of the node, to be answered */
    struct sp_bits theirs;
    bool dead, greeted, choking, choked, interested, stalled;
    uint32_t waiting; /* requests that got no answer yet */
    uint32_t cancels;
    uint32_t asked; /* of ours */
    uint32_t served, told, acts;
    sp_time_ns period_ns;
};

static bool is(const struct sim_talk *t, enum sim_trait trait)
{
    return t->p->plan->traits & (uint32_t)trait;
}

static struct sim *sim_of(const struct sim_talk *t)
{
    return t->p->sim;
}

static uint32_t other(const struct sim_talk *t)
{
    return t->link->side[1 - t->side].host;
}

/* ---- bytes out ---- */

static void flush(struct sim_talk *t)
{
    struct sim *sim = sim_of(t);
    struct sp_slice out = sp_buf_slice(&t->out);

    if (t->dead || t->stalled || out.len == 0)
        return;
    size_t room = sim_link_room(t->link, t->side);
    if (is(t, SIM_TRICKLES) && room > 1)
        room = 1;
    if (is(t, SIM_STALLS) && t->served > 4 && out.len > 20000) {
        t->stalled = true;
        room = room < 10000 ? room : 10000;
    }
    if (room < out.len)
        sim_link_wait(t->link, t->side);
    else
        room = out.len;
    (void)sim;
    sim_link_push(t->link, t->side, out.ptr, room);
    sp_buf_consume(&t->out, room);
}

static void reject(struct sim_talk *t, const struct req *r)
{
    if (!t->wire.fast || is(t, SIM_REFUSES))
        return;
    (void)sp_wire_put_reject(&t->out, r->piece, r->off, r->len);
    t->waiting--;
}

static void put_block(struct sim_talk *t, const struct req *r)
{
    struct sim *sim = sim_of(t);
    uint8_t *room;
    uint64_t at = (uint64_t)r->piece * sim->plan->piece_len + r->off;

    if (sp_buf_reserve(&t->out, SP_WIRE_PIECE_HEAD_LEN + r->len, &room) != SP_OK)
        return;
    sp_wire_piece_head(room, r->piece, r->off, r->len);
    memcpy(room + SP_WIRE_PIECE_HEAD_LEN, sim->truth + at, r->len);
    if (is(t, SIM_LIES) && sim_is_node(sim, other(t)) &&
        sim_chance(sim, t->p->plan->lie_permille)) {
        room[SP_WIRE_PIECE_HEAD_LEN + sim_below(sim, r->len)] ^= 1 + (uint8_t)sim_below(sim, 255);
        struct sim_node *n = &sim->nodes[other(t)];
        n->liars[sim_block_ix(sim, r->piece, r->off)] |= UINT64_C(1) << t->p->index;
        sim->result->lies++;
    }
    t->out.len += SP_WIRE_PIECE_HEAD_LEN + r->len;
}

static struct req any_block(struct sim_talk *t)
{
    struct sim *sim = sim_of(t);
    struct req r = {.piece = (uint32_t)sim_below(sim, sim->piece_count)};
    uint32_t len = sp_metainfo_piece_len(sim->mi, r.piece);
    r.off = (uint32_t)sim_below(sim, (len + SP_BLOCK_LEN - 1) / SP_BLOCK_LEN) * SP_BLOCK_LEN;
    r.len = len - r.off < SP_BLOCK_LEN ? len - r.off : SP_BLOCK_LEN;
    return r;
}

static void answer_one(struct sim_talk *t)
{
    struct sim *sim = sim_of(t);
    uint32_t ix = is(t, SIM_SHUFFLES) ? (uint32_t)sim_below(sim, t->reqs.count) : 0;
    struct req r = *(struct req *)sp_queue_at(&t->reqs, ix);
    sp_queue_remove(&t->reqs, ix);

    if (is(t, SIM_REJECTS) && t->wire.fast) {
        reject(t, &r);
        return;
    }
    if (is(t, SIM_UNASKED) && sim_chance(sim, 300)) {
        struct req q = any_block(t);
        put_block(t, &q);
    }
    put_block(t, &r);
    t->waiting--;
    t->served++;
    t->p->served++;
    if (is(t, SIM_TWICE) && sim_chance(sim, 300))
        put_block(t, &r);
    for (uint64_t i = is(t, SIM_HAVES) ? sim_below(sim, 4) : 0; i > 0; i--) {
        uint32_t piece = (uint32_t)sim_below(sim, sim->piece_count);
        if (sp_bits_get(&t->p->claims, piece))
            (void)sp_wire_put_have(&t->out, piece);
    }
}

static void answer(struct sim_talk *t)
{
    struct sim *sim = sim_of(t);
    uint64_t many = 1 + sim_below(sim, 32);

    if (is(t, SIM_REFUSES) || (is(t, SIM_SNUBS) && t->served > 5))
        return;
    while (many-- > 0 && t->reqs.count > 0 && sp_buf_slice(&t->out).len < OUT_ENOUGH)
        answer_one(t);
}

static void set_choking(struct sim_talk *t, bool choking)
{
    if (t->choking == choking)
        return;
    t->choking = choking;
    (void)sp_wire_put_choke(&t->out, choking);
    while (choking && t->reqs.count) {
        struct req r = *(struct req *)sp_queue_at(&t->reqs, 0);
        sp_queue_pop(&t->reqs);
        reject(t, &r);
    }
    if (choking && !t->wire.fast)
        t->waiting = 0; /* BEP-0003: a choke drops them */
}

/* ---- what it does of its own ---- */

static void break_something(struct sim_talk *t)
{
    struct sim *sim = sim_of(t);
    struct sp_bits wrong = {0};
    uint8_t bytes[64];

    switch (sim_below(sim, 7)) {
    case 0:
        (void)sp_wire_put_have(&t->out, sim->piece_count + (uint32_t)sim_below(sim, 1000));
        break;
    case 1:
        if (sp_bits_init(&wrong, sim->mem, sim->piece_count + 64) != SP_OK)
            return;
        sp_bits_fill(&wrong, true);
        (void)sp_wire_put_bitfield(&t->out, &wrong);
        sp_bits_done(&wrong, sim->mem);
        break;
    case 2:
        (void)sp_wire_put_request(&t->out, 0, UINT32_MAX - 5, SP_BLOCK_LEN);
        break;
    case 3:
        (void)sp_buf_append(&t->out, "\xff\xff\xff\xff\x07", 5);
        break;
    case 4: /* no break: an unknown message is passed over */
        (void)sp_buf_append(&t->out, "\0\0\0\x05\x63good", 9);
        break;
    case 5:
        (void)sp_wire_put_request(&t->out, 0, 0, UINT32_MAX);
        break;
    default:
        sp_rng_bytes(&sim->rng, bytes, sizeof(bytes));
        (void)sp_buf_append(&t->out, bytes, sizeof(bytes));
        break;
    }
}

static void dribble(struct sim_talk *t)
{
    for (int i = 0; i < 3 && t->told < t->p->claims.count; t->told++) {
        if (!sp_bits_get(&t->p->claims, t->told))
            continue;
        (void)sp_wire_put_have(&t->out, t->told);
        i++;
    }
}

static void take_back(struct sim_talk *t)
{
    struct sim *sim = sim_of(t);
    uint8_t id = t->wire.ext_ids[SP_EXT_LT_DONTHAVE];
    uint32_t piece = (uint32_t)sim_below(sim, sim->piece_count);
    if (id && sim_chance(sim, 500))
        (void)sp_wire_put_donthave(&t->out, id, piece);
    else
        (void)sp_wire_put_have(&t->out, piece);
}

static void ask(struct sim_talk *t)
{
    struct sim *sim = sim_of(t);
    if (t->choked || !t->theirs.set || t->asked > 20)
        return;
    for (int i = 0; i < 5; i++) {
        uint32_t piece = (uint32_t)sim_below(sim, sim->piece_count);
        if (!sp_bits_get(&t->theirs, piece))
            continue;
        uint32_t all = sp_metainfo_piece_len(sim->mi, piece);
        uint32_t off = (uint32_t)sim_below(sim, all), len = all - off;
        uint32_t most = 1 + (uint32_t)sim_below(sim, 40000);
        (void)sp_wire_put_request(&t->out, piece, off, len < most ? len : most);
        t->asked++;
        if (sim_chance(sim, 100))
            (void)sp_wire_put_cancel(&t->out, piece, off, len < most ? len : most);
    }
}

static void flood(struct sim_talk *t)
{
    if (sp_buf_slice(&t->out).len > OUT_ENOUGH)
        return;
    for (int i = 0; i < 100; i++) {
        struct req r = any_block(t);
        (void)sp_wire_put_request(&t->out, r.piece, r.off, r.len);
    }
}

static void end_talk(struct sim_talk *t)
{
    struct sim *sim = sim_of(t);
    if (t->dead)
        return;
    t->dead = true;
    sp_wire_done(&t->wire);
    sp_buf_done(&t->out);
    sp_queue_done(&t->reqs, sim->mem);
    sp_bits_done(&t->theirs, sim->mem);
}

static void act(struct sim_talk *t)
{
    struct sim *sim = sim_of(t);

    t->acts++;
    if (!t->greeted)
        return;
    if (is(t, SIM_DRIBBLES))
        dribble(t);
    if (is(t, SIM_FLAPS) && sim_chance(sim, 200))
        set_choking(t, !t->choking);
    else if (t->interested && t->choking && !is(t, SIM_FLAPS))
        set_choking(t, false);
    answer(t);
    if (is(t, SIM_UNHAVES) && t->acts > 3)
        take_back(t);
    if (is(t, SIM_TAKES))
        ask(t);
    if (is(t, SIM_FLOODS))
        flood(t);
    if (is(t, SIM_BREAKS) && sim_chance(sim, 30))
        break_something(t);
}

static void on_act(struct sim *sim, void *ctx, uint64_t arg)
{
    struct sim_talk *t = ctx;
    (void)arg;
    if (t->dead)
        return;
    act(t);
    flush(t);
    if (is(t, SIM_CLOSES) && t->served > 3 && sim_chance(sim, 300)) {
        sim_link_close(t->link, t->side);
        end_talk(t);
        return;
    }
    sim_at(sim, sim->now + t->period_ns, on_act, t, 0);
}

/* ---- bytes in ---- */

static void greet(struct sim_talk *t)
{
    struct sim *sim = sim_of(t);
    const struct sp_bits *claims = &t->p->claims;
    struct sp_ext_handshake hs = {.has_reqq = t->p->plan->reqq > 0, .reqq = t->p->plan->reqq};

    t->greeted = true;
    if (t->wire.ext) {
        sp_ext_offer(&hs, SP_EXT_LT_DONTHAVE);
        hs.port = sim_addr(t->p->host).port;
        (void)sp_wire_put_ext_handshake(&t->out, &hs);
    }
    if (is(t, SIM_DRIBBLES)) {
        if (t->wire.fast)
            (void)sp_wire_put_have_none(&t->out);
    } else if (t->wire.fast && sp_bits_all(claims) && sim_chance(sim, 500)) {
        (void)sp_wire_put_have_all(&t->out);
    } else if (claims->set > 0) {
        (void)sp_wire_put_bitfield(&t->out, claims);
    }
    if (t->wire.fast && sim_chance(sim, 300)) {
        (void)sp_wire_put_allowed_fast(&t->out, (uint32_t)sim_below(sim, sim->piece_count));
        (void)sp_wire_put_suggest(&t->out, (uint32_t)sim_below(sim, sim->piece_count));
    }
    if (is(t, SIM_TAKES) || is(t, SIM_FLOODS))
        (void)sp_wire_put_interested(&t->out, true);
}

static void got_request(struct sim_talk *t, const struct sp_wire_event *ev)
{
    struct sim *sim = sim_of(t);
    struct req r = {ev->piece, ev->off, ev->len};
    uint32_t reqq = t->wire.ext ? t->p->plan->reqq : 0;

    if (!sim_is_node(sim, other(t)))
        return;
    if (t->choking && !t->wire.fast)
        return; /* it crossed our choke */
    t->waiting++;
    /* A block that crossed its CANCEL counts for a request that follows. */
    bool exact = !is(t, SIM_UNASKED) && !is(t, SIM_TWICE);
    if (reqq && exact && t->waiting > reqq + t->cancels)
        sim_break(sim, other(t), "asks for more than the peer's reqq");
    if (!sp_bits_get(&t->p->claims, r.piece) && !is(t, SIM_UNHAVES))
        sim_break(sim, other(t), "asks for a piece that the peer does not have");
    if (r.off % SP_BLOCK_LEN || r.len > SP_BLOCK_LEN)
        sim_break(sim, other(t), "asks for something odd");
    if (t->choking) {
        reject(t, &r);
        return;
    }
    struct req *place = sp_queue_push(&t->reqs, sim->mem);
    if (place)
        *place = r;
}

static void got_cancel(struct sim_talk *t, const struct sp_wire_event *ev)
{
    t->cancels++;
    for (uint32_t ix = 0; ix < t->reqs.count; ix++) {
        struct req r = *(struct req *)sp_queue_at(&t->reqs, ix);
        if (r.piece != ev->piece || r.off != ev->off || r.len != ev->len)
            continue;
        sp_queue_remove(&t->reqs, ix);
        if (t->wire.fast && !is(t, SIM_REFUSES))
            reject(t, &r);
        else
            t->waiting--; /* it counts it as gone */
        return;
    }
    if (is(t, SIM_REFUSES) && t->waiting > 0)
        t->waiting--; /* it came while we choked, and was passed over */
}

static void got_data(struct sim_talk *t, const struct sp_wire_event *ev)
{
    struct sim *sim = sim_of(t);
    uint64_t at = (uint64_t)ev->piece * sim->plan->piece_len + ev->off + ev->block_off;
    if (sim_is_node(sim, other(t)) && memcmp(ev->data.ptr, sim->truth + at, ev->data.len) != 0)
        sim_break(sim, other(t), "sends wrong bytes");
}

static void event(struct sim_talk *t, const struct sp_wire_event *ev)
{
    switch (ev->kind) {
    case SP_WIRE_HANDSHAKE:
        greet(t);
        break;
    case SP_WIRE_CHOKE:
        t->choked = true;
        t->asked = 0;
        break;
    case SP_WIRE_UNCHOKE:
        t->choked = false;
        break;
    case SP_WIRE_INTERESTED:
        t->interested = true;
        break;
    case SP_WIRE_NOT_INTERESTED:
        t->interested = false;
        break;
    case SP_WIRE_HAVE:
        sp_bits_add(&t->theirs, ev->piece);
        break;
    case SP_WIRE_HAVE_ALL:
        sp_bits_fill(&t->theirs, true);
        break;
    case SP_WIRE_BITFIELD:
        if (sp_bits_load(&t->theirs, ev->bits) != SP_OK)
            sim_break(sim_of(t), other(t), "sends a malformed bitfield");
        break;
    case SP_WIRE_REQUEST:
        got_request(t, ev);
        break;
    case SP_WIRE_CANCEL:
        got_cancel(t, ev);
        break;
    case SP_WIRE_BLOCK_DATA:
        got_data(t, ev);
        break;
    case SP_WIRE_BLOCK_END:
    case SP_WIRE_REJECT:
        t->asked -= t->asked > 0;
        break;
    case SP_WIRE_NONE:
    case SP_WIRE_KEEPALIVE:
    case SP_WIRE_HAVE_NONE:
    case SP_WIRE_SUGGEST:
    case SP_WIRE_ALLOWED_FAST:
    case SP_WIRE_PORT:
    case SP_WIRE_BLOCK:
    case SP_WIRE_EXT_HANDSHAKE:
    case SP_WIRE_EXTENDED:
    case SP_WIRE_DONTHAVE:
        break;
    }
}

/* They do not know it, and hang up as other clients do that have none. */
static bool begins_with_mse(const struct sim_talk *t)
{
    const struct sim *sim = sim_of(t);
    return !t->greeted && t->side == 1 && sim_is_node(sim, other(t)) &&
           sim->nodes[other(t)].plan->encryption != SP_ENCRYPT_OFF;
}

static void hang_up(struct sim_talk *t)
{
    sim_link_close(t->link, t->side);
    end_talk(t);
}

static void feed(struct sim_talk *t, struct sp_slice in)
{
    struct sp_wire_event ev;
    size_t used;

    do {
        used = 0;
        if (sp_wire_recv(&t->wire, in, &used, &ev) != SP_OK) {
            if (begins_with_mse(t))
                hang_up(t);
            else if (sim_is_node(sim_of(t), other(t)) && !sim_of(t)->plan->alloc_fails)
                sim_break(sim_of(t), other(t), sp_wire_why(&t->wire));
            return;
        }
        in.ptr += used;
        in.len -= used;
        event(t, &ev);
    } while (ev.kind != SP_WIRE_NONE);
}

/* ---- connections ---- */

static struct sim_talk *new_talk(struct sim_peer *p, struct sim_link *l, int side)
{
    struct sim *sim = p->sim;
    struct sim_talk *t = sim_alloc(sim, 1, sizeof(*t));
    struct sp_wire_cfg cfg = {.mem = sim->mem,
                              .piece_count = sim->piece_count,
                              .piece_len = sim->plan->piece_len,
                              .total_len = sim->plan->total_len,
                              .block_len_max = SP_WIRE_REQUEST_LEN_MAX,
                              .ext_len_max = 16 * 1024};

    *t = (struct sim_talk){.p = p, .link = l, .side = side, .choking = true, .choked = true};
    t->next = p->talks;
    p->talks = t;
    t->out = sp_buf_of(sim->mem, 64u << 20);
    t->reqs = sp_queue_of(sizeof(struct req), REQS_MAX);
    t->period_ns = (10 + sim_below(sim, 150)) * SP_MS_NS;
    if (sp_bits_init(&t->theirs, sim->mem, sim->piece_count) != SP_OK)
        assert(false && "the simulator has no memory");
    if (!is(t, SIM_OLD)) {
        sp_handshake_set_fast(cfg.own.reserved);
        sp_handshake_set_ext(cfg.own.reserved);
    }
    memcpy(cfg.own.info_hash, sim->mi->info_hash_v1, SP_SHA1_LEN);
    memcpy(cfg.own.peer_id, "-XX0000-", 8);
    sp_put_be32(cfg.own.peer_id + 8, p->host);
    sp_wire_init(&t->wire, &cfg);
    (void)sp_wire_put_handshake(&t->out, &cfg.own);
    l->side[side].user = t;
    return t;
}

void sim_peer_opened(struct sim_peer *p, struct sim_link *l)
{
    struct sim_talk *t = new_talk(p, l, 0);
    flush(t);
    sim_at(p->sim, p->sim->now + t->period_ns, on_act, t, 0);
}

void sim_peer_accepted(struct sim_peer *p, struct sim_link *l)
{
    struct sim_talk *t = new_talk(p, l, 1);
    sim_at(p->sim, p->sim->now + t->period_ns, on_act, t, 0);
}

void sim_peer_refused(struct sim_peer *p, struct sim_link *l)
{
    (void)p;
    (void)l;
}

void sim_peer_readable(struct sim_peer *p, struct sim_link *l, int side)
{
    struct sim_talk *t = l->side[side].user;
    struct sim *sim = p->sim;

    if (is(t, SIM_TRICKLES) && sim_chance(sim, 900))
        return; /* reads as slowly as it writes */
    size_t len = sim_link_readable(l, side);
    len = len < SIM_BYTES_LEN ? len : SIM_BYTES_LEN;
    sim_link_read(l, side, sim->bytes, len);
    feed(t, (struct sp_slice){sim->bytes, len});
    flush(t);
}

void sim_peer_writable(struct sim_peer *p, struct sim_link *l, int side)
{
    struct sim_talk *t = l->side[side].user;
    (void)p;
    if (!is(t, SIM_TRICKLES))
        flush(t);
}

void sim_peer_lost(struct sim_peer *p, struct sim_link *l, int side)
{
    (void)p;
    if (l->side[side].user) /* not so while it is dialled */
        end_talk(l->side[side].user);
}

/* ---- life ---- */

static void on_dial(struct sim *sim, void *ctx, uint64_t count)
{
    struct sim_peer *p = ctx;
    uint32_t host = (uint32_t)sim_below(sim, sim->plan->node_count);
    struct sp_addr to = sim_addr(host);

    sim_dial(sim, p->host, &to, NULL);
    if (count < 20)
        sim_at(sim, sim->now + sim_below(sim, 8 * SP_SECOND_NS), on_dial, p, count + 1);
}

void sim_peer_start(struct sim_peer *p)
{
    struct sim *sim = p->sim;

    if (sp_bits_init(&p->claims, sim->mem, sim->piece_count) != SP_OK)
        assert(false && "the simulator has no memory");
    sp_bits_fill(&p->claims, true);
    for (uint32_t i = 0; p->plan->traits & SIM_PARTIAL && i < sim->piece_count; i++) {
        if (sim_chance(sim, 500))
            sp_bits_del(&p->claims, i);
    }
    if (p->plan->traits & SIM_DIALS)
        sim_at(sim, sim->now + sim_below(sim, SP_SECOND_NS), on_dial, p, 0);
}

void sim_peer_free(struct sim_peer *p)
{
    struct sim *sim = p->sim;
    if (!sim)
        return;
    for (struct sim_talk *t = p->talks, *next; t; t = next) {
        next = t->next;
        end_talk(t);
        sp_mem_free(sim->mem, t);
    }
    if (p->claims.bytes)
        sp_bits_done(&p->claims, sim->mem);
}
