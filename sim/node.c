/* A session, driven as the reactor drives it; and its user, who pauses, checks
 * again, selects, pulls the plug. */
#include "core/base/out.h"
#include "sim/world.h"

#define TORRENT_ID 7u

enum { TOLD_MAX = 50 };

static void send_some(struct sim_node *n, struct sim_sock *k);
static void recv_next(struct sim_node *n, struct sim_sock *k);

/* ---- waking ---- */

static void on_wake(struct sim *sim, void *ctx, uint64_t life)
{
    struct sim_node *n = ctx;
    if (!n->session || n->life != life)
        return;
    n->wake_at = SP_TIME_NEVER;
    if (sp_session_deadline(n->session) <= sim->now)
        sp_session_tick(n->session, sim->now);
    sim_node_pump(n);
}

static void plan_wake(struct sim_node *n)
{
    sp_time_ns at = sp_session_deadline(n->session);
    if (at >= n->wake_at)
        return;
    if (at < n->sim->now)
        at = n->sim->now;
    n->wake_at = at;
    sim_at(n->sim, at, on_wake, n, n->life);
}

/* ---- the tracker ---- */

/* Where peers have to tell of each other, everybody is told of one alone. */
static bool is_told(const struct sim_node *n, uint32_t host)
{
    return !n->sim->plan->by_pex || host + 1 == n->host || (n->host == 0 && host == 0);
}

static void http_body(struct sim_node *n, struct sp_out *o)
{
    struct sim *sim = n->sim;
    uint8_t peers[TOLD_MAX * SP_COMPACT6_LEN];
    size_t len = 0;
    uint32_t count = sim_host_count(sim), told = count < TOLD_MAX ? count : TOLD_MAX;

    /* Of a large swarm some, by chance, as trackers do. */
    for (uint32_t i = 0; i < told; i++) {
        uint32_t host = count > TOLD_MAX ? (uint32_t)sim_below(sim, count) : i;
        struct sp_addr addr = sim_addr(host);
        if (is_told(n, host) && !sim_trouble(sim, 300))
            len += sp_addr_compact(&addr, peers + len);
    }
    sp_out_str(o, "d8:intervali90e5:peers");
    sp_out_dec(o, len);
    sp_out_str(o, ":");
    sp_out_bytes(o, peers, len);
    sp_out_str(o, "e");
}

static void on_http(struct sim *sim, void *ctx, uint64_t arg)
{
    struct sim_node *n = ctx;
    uint8_t text[1024];
    struct sp_out o = sp_out_of(text, sizeof(text));

    if (!n->session || n->life != arg >> 32)
        return;
    struct sp_trackers *trackers = sp_session_trackers(n->session);
    if (sim_trouble(sim, 200)) {
        sp_trackers_http_failed(trackers, (uint32_t)arg, "connection refused", sim->now);
    } else {
        http_body(n, &o);
        sp_trackers_http_reply(trackers, (uint32_t)arg, 200, (struct sp_slice){text, o.len},
                               sim->now);
    }
    sim_node_pump(n);
}

/* ---- effects ---- */

static void forget_sock(struct sim_node *n, struct sim_sock *k)
{
    struct sim_sock **at = &n->socks;
    while (*at != k)
        at = &(*at)->next;
    *at = k->next;
    sp_mem_free(n->sim->mem, k->door);
    sp_mem_free(n->sim->mem, k);
}

static struct sim_sock *new_sock(struct sim_node *n)
{
    struct sim_sock *k = sim_alloc(n->sim, 1, sizeof(*k));
    k->next = n->socks;
    n->socks = k;
    return k;
}

static void fx_dial(struct sim_node *n, const struct sp_effect *fx)
{
    struct sim_sock *k = new_sock(n);
    k->conn = fx->conn;
    sp_conn_set_user(fx->conn, k);
    k->link = sim_dial(n->sim, n->host, &fx->addr, k);
    sim_note(n->sim, n->host, "dials", sim_host_of(n->sim, &fx->addr), k->link->id);
}

static void fx_close(struct sim_node *n, struct sim_sock *k)
{
    sim_note(n->sim, n->host, "closes", k->link->side[1 - k->side].host, k->link->id);
    sim_link_close(k->link, k->side);
    forget_sock(n, k);
}

static void fx_event(struct sim_node *n, const struct sp_client_event *ev)
{
    static const char names[][10] = {
        [SP_EV_CHECKED] = "checked",    [SP_EV_COMPLETE] = "complete",
        [SP_EV_ERROR] = "error",        [SP_EV_RECOVERED] = "recovered",
        [SP_EV_PEER_BANNED] = "banned", [SP_EV_TRACKER] = "tracker",
        [SP_EV_LISTENING] = "?",        [SP_EV_STOPPED] = "?",
        [SP_EV_PORTMAP] = "?",          [SP_EV_NETWORK] = "?",
        [SP_EV_METADATA] = "metadata",  [SP_EV_WARNING] = "warning",
    };
    uint32_t host = 0;

    sim_note_text(n->sim, n->host, ev->kind < SP_COUNT(names) ? names[ev->kind] : "event",
                  ev->text);
    if (ev->kind != SP_EV_PEER_BANNED)
        return;
    for (const char *c = ev->text + 2; *c >= '0' && *c <= '9'; c++)
        host = host * 10 + (uint32_t)(*c - '0');
    host--;
    n->sim->result->bans++;
    if (host < n->sim->plan->node_count ||
        !(n->sim->plan->peers[host - n->sim->plan->node_count].traits & SIM_LIES)) {
        sim_break(n->sim, n->host, "an honest peer was banned");
        return;
    }
    n->banned |= UINT64_C(1) << (host - n->sim->plan->node_count);
}

static void effect(struct sim_node *n, struct sp_effect *fx)
{
    switch (fx->kind) {
    case SP_FX_DIAL:
        fx_dial(n, fx);
        break;
    case SP_FX_CLOSE:
        fx_close(n, fx->user);
        break;
    case SP_FX_SEND:
        send_some(n, fx->user);
        break;
    case SP_FX_RECV:
        recv_next(n, fx->user);
        break;
    case SP_FX_WEB:
        sim_web_do(n, fx);
        break;
    case SP_FX_JOB:
        sim_disk_job(n, fx->job);
        break;
    case SP_FX_TRACKER:
        if (fx->tracker.kind == SP_TRACKER_HTTP)
            sim_at(n->sim, n->sim->now + sim_below(n->sim, SP_SECOND_NS), on_http, n,
                   (uint64_t)n->life << 32 | fx->tracker.req);
        break;
    case SP_FX_EVENT:
        fx_event(n, &fx->event);
        break;
    case SP_FX_METADATA:
    case SP_FX_NONE:
        break;
    }
}

void sim_node_pump(struct sim_node *n)
{
    struct sp_effect fx;
    uint32_t count = 0;

    if (!n->session)
        return;
    while (sp_session_next(n->session, &fx, n->sim->now)) {
        effect(n, &fx);
        if (++count > 1000000) {
            sim_break(n->sim, n->host, "effects without end");
            return;
        }
    }
    sim_verify_had(n);
    sim_verify_complete(n);
    if (n->sim->result->steps % n->sim->plan->check_every == 0)
        sim_verify(n);
    plan_wake(n);
}

/* ---- bytes ---- */

/* The session gives a list; the link takes a part of it. */
static void send_some(struct sim_node *n, struct sim_sock *k)
{
    struct sim *sim = n->sim;
    struct sp_slice list[32];

    if (!k->conn || !k->link->side[k->side].open)
        return;
    size_t room = sim_link_room(k->link, k->side), sent = 0;
    if (room == 0) {
        sim_link_wait(k->link, k->side);
        return;
    }
    uint32_t cap = 1 + (uint32_t)sim_below(sim, SP_COUNT(list));
    uint32_t count = sp_conn_send_list(k->conn, list, cap, sim->now);
    if (count == 0)
        return;
    if (sim_chance(sim, 200))
        room = 1 + sim_below(sim, room);
    for (uint32_t i = 0; i < count && sent < room; i++) {
        size_t len = list[i].len < room - sent ? list[i].len : room - sent;
        sim_link_push(k->link, k->side, list[i].ptr, len);
        sent += len;
    }
    sp_conn_sent(k->conn, sent, sim->now);
}

/* Into the very places that the session named, or copied from elsewhere. */
static void recv_some(struct sim_node *n, struct sim_sock *k, struct sp_iov *iov, uint32_t count,
                      size_t len)
{
    struct sim *sim = n->sim;

    if (sim_chance(sim, 300)) {
        sim_link_read(k->link, k->side, sim->bytes, len);
        sp_conn_received_bytes(k->conn, (struct sp_slice){sim->bytes, len}, sim->now);
        return;
    }
    size_t left = len;
    for (uint32_t i = 0; i < count && left > 0; i++) {
        size_t part = iov[i].len < left ? iov[i].len : left;
        sim_link_read(k->link, k->side, iov[i].ptr, part);
        left -= part;
    }
    sp_conn_received(k->conn, len, sim->now);
}

static void recv_next(struct sim_node *n, struct sim_sock *k)
{
    struct sim *sim = n->sim;
    struct sp_iov iov[SP_CONN_IOV_MAX];
    struct sim_link *l = k->link;
    size_t room = 0, len = sim_link_readable(l, k->side);

    if (!k->conn || !l->side[k->side].open)
        return;
    if (len > 0) {
        uint32_t count = sp_conn_recv_room(k->conn, iov, sim->now);
        for (uint32_t i = 0; i < count; i++) {
            if (iov[i].len == 0)
                sim_break(sim, n->host, "room without bytes");
            room += iov[i].len;
        }
        if (room > SIM_BYTES_LEN)
            sim_break(sim, n->host, "room is too large");
        if (room == 0 || sim->failed)
            return;
        len = len < room ? len : room;
        if (sim_chance(sim, 250))
            len = 1 + sim_below(sim, len);
        recv_some(n, k, iov, count, len);
        if (sim_link_readable(l, k->side) > 0 || sim_link_at_end(l, k->side))
            sim_link_again(l, k->side);
        return;
    }
    if (sim_link_at_end(l, k->side)) {
        l->side[k->side].open = false;
        sim_node_lost(n, l, k->side);
    }
}

/* ---- an accepted stream says which torrent it is about first ---- */

static bool find_skey(void *ctx, const uint8_t req2[SP_SHA1_LEN], uint8_t ret[SP_SHA1_LEN])
{
    const struct sim *sim = ctx;
    uint8_t ours[SP_SHA1_LEN];

    sp_mse_req2(sim->mi->info_hash_v1, ours);
    memcpy(ret, sim->mi->info_hash_v1, SP_SHA1_LEN);
    return memcmp(ours, req2, sizeof(ours)) == 0;
}

static void say_at_door(struct sim_sock *k)
{
    struct sp_slice out = sp_door_out(k->door);
    size_t room = sim_link_room(k->link, k->side), len = out.len < room ? out.len : room;

    if (len > 0)
        sim_link_push(k->link, k->side, out.ptr, len);
    if (len < out.len)
        sim_link_wait(k->link, k->side);
    sp_door_sent(k->door, len);
}

static void after_door(struct sim_node *n, struct sim_sock *k, enum sp_door_state state)
{
    if (state == SP_DOOR_FAILED) {
        fx_close(n, k);
        return;
    }
    say_at_door(k);
    if (state != SP_DOOR_NAMED)
        return;
    k->conn = sp_session_enter(n->session, k->door, &k->link->addr.from, k, n->sim->now);
    sp_mem_free(n->sim->mem, k->door);
    k->door = NULL;
    if (k->conn)
        recv_next(n, k);
    else
        fx_close(n, k);
}

/* An empty purse is full again a moment later. */
static void read_door(struct sim_node *n, struct sim_sock *k)
{
    struct sim *sim = n->sim;
    struct sp_iov room = sp_door_room(k->door);
    size_t len = sim_link_readable(k->link, k->side);

    if (len == 0 && sim_link_at_end(k->link, k->side)) {
        k->link->side[k->side].open = false;
        sim_node_lost(n, k->link, k->side);
        return;
    }
    len = len < room.len ? len : room.len;
    if (len > 1 && sim_chance(sim, 250))
        len = 1 + sim_below(sim, len);
    sim_link_read(k->link, k->side, room.ptr, len);
    enum sp_door_state state = sp_door_received(k->door, len, &n->purse, sim->now);
    if (state == SP_DOOR_ASKING &&
        (sim_link_readable(k->link, k->side) > 0 || sim_link_at_end(k->link, k->side)))
        sim_link_again(k->link, k->side);
    after_door(n, k, state);
}

/* ---- what the net tells ---- */

void sim_node_opened(struct sim_node *n, struct sim_link *l)
{
    struct sim_sock *k = l->side[0].user;
    sp_conn_opened(k->conn, n->sim->now);
    sim_node_pump(n);
}

void sim_node_refused(struct sim_node *n, struct sim_link *l)
{
    struct sim_sock *k = l->side[0].user;
    sim_note(n->sim, n->host, "refused", l->side[1].host, l->id);
    sp_conn_closed(k->conn, "refused", n->sim->now);
    forget_sock(n, k);
    sim_node_pump(n);
}

void sim_node_accepted(struct sim_node *n, struct sim_link *l)
{
    struct sim_sock *k = new_sock(n);
    struct sp_mse_dice dice;
    k->link = l;
    k->side = 1;
    k->door = sim_alloc(n->sim, 1, sizeof(*k->door));
    sp_session_dice(n->session, &dice);
    sp_door_init(k->door, n->plan->encryption, &dice, find_skey, n->sim);
    l->side[1].user = k;
    sim_note(n->sim, n->host, "accepts", l->side[0].host, l->id);
}

void sim_node_readable(struct sim_node *n, struct sim_link *l, int side)
{
    struct sim_sock *k = l->side[side].user;
    if (k->door)
        read_door(n, k);
    else
        recv_next(n, k);
    sim_node_pump(n);
}

void sim_node_writable(struct sim_node *n, struct sim_link *l, int side)
{
    struct sim_sock *k = l->side[side].user;
    if (k->door)
        say_at_door(k);
    else
        send_some(n, k);
    sim_node_pump(n);
}

void sim_node_lost(struct sim_node *n, struct sim_link *l, int side)
{
    struct sim_sock *k = l->side[side].user;
    sim_note(n->sim, n->host, "lost", l->side[1 - side].host, l->id);
    if (k->conn)
        sp_conn_closed(k->conn, "reset", n->sim->now);
    forget_sock(n, k);
    sim_node_pump(n);
}

/* ---- life ---- */

static struct sp_bits on_disk(struct sim_node *n)
{
    struct sim *sim = n->sim;
    struct sp_bits have;

    if (sp_bits_init(&have, sim->mem, sim->piece_count) != SP_OK)
        assert(false && "the simulator has no memory");
    for (uint32_t p = 0; p < sim->piece_count; p++) {
        uint64_t off = (uint64_t)p * sim->plan->piece_len;
        if (memcmp(n->disk + off, sim->truth + off, sp_metainfo_piece_len(sim->mi, p)) == 0)
            sp_bits_add(&have, p);
    }
    return have;
}

static void on_checked(struct sim *sim, void *ctx, uint64_t life)
{
    struct sim_node *n = ctx;
    if (!n->session || n->life != life)
        return;
    for (struct sim_job *j = n->jobs; j; j = j->next) {
        if (j->job->kind == SP_JOB_WRITE) { /* a disk does them in order */
            sim_at(sim, sim->now + 10 * SP_MS_NS, on_checked, n, life);
            return;
        }
    }
    struct sp_bits have = on_disk(n);
    sp_torrent_checked(n->session, TORRENT_ID, &have, sim->now);
    sp_bits_done(&have, sim->mem);
    sim_node_pump(n);
}

static void tell_peers(struct sim_node *n)
{
    struct sim *sim = n->sim;
    struct sp_addr addrs[SIM_HOSTS_MAX];
    uint32_t count = 0;

    for (uint32_t host = 0; host < sim_host_count(sim); host++) {
        if (!is_told(n, host))
            continue;
        if (host != n->host || sim_chance(sim, 100)) /* now and then our own address */
            addrs[count++] = sim_addr(host);
    }
    sp_torrent_add_peers(n->session, TORRENT_ID, addrs, count, SP_PEER_USER, sim->now);
}

void sim_node_start(struct sim_node *n)
{
    struct sim *sim = n->sim;
    const struct sim_node_plan *plan = n->plan;
    struct sp_session_cfg cfg = {.mem = &n->mem.mem,
                                 .seed = sp_rng_u64(&sim->rng),
                                 .client_name = "Spate sim",
                                 .listen_port = sim_addr(n->host).port,
                                 .memory_bytes = plan->memory_bytes,
                                 .up_Bps = plan->up_Bps,
                                 .down_Bps = plan->down_Bps,
                                 .conn_max = plan->conn_max,
                                 .torrent_conn_max = plan->conn_max,
                                 .half_open_max = 8,
                                 .upload_slots_max = plan->slots_max,
                                 .encryption = plan->encryption};
    struct sp_tracker_url url = {.url = SP_LIT("http://tracker.example/announce")};
    struct sp_session_add add = {.metainfo = sim->mi,
                                 .sequential = plan->sequential,
                                 .super_seed = plan->super_seed,
                                 .trackers = &url,
                                 .tracker_count = sim->plan->by_tracker};

    struct sp_session_web web = {.url = SIM_WEB_URL};
    add.webs = &web;
    add.web_count = sim->plan->web_Bps > 0;
    sp_rng_bytes(&sim->rng, cfg.secret, sizeof(cfg.secret));
    memcpy(cfg.mse_key, cfg.secret, sizeof(cfg.mse_key));
    memcpy(cfg.peer_id, "-SP0001-", 8);
    sp_rng_bytes(&sim->rng, cfg.peer_id + 8, 12);
    n->mem.flaky = false;
    n->wake_at = SP_TIME_NEVER;
    n->born_at = sim->now;
    n->limit_up_Bps = plan->up_Bps;
    n->limit_down_Bps = plan->down_Bps;
    n->paused = false;
    n->all_wanted = true;
    if (sp_session_new(&cfg, sim->now, &n->session) != SP_OK ||
        sp_session_add(n->session, TORRENT_ID, &add, sim->now) != SP_OK) {
        sim_break(sim, n->host, "the session does not start");
        return;
    }
    n->mem.flaky = true;
    sim_note(sim, n->host, "starts", n->life, 0);
    sim_at(sim, sim->now + sim_below(sim, SP_SECOND_NS), on_checked, n, n->life);
    if (!sim->plan->by_tracker)
        tell_peers(n);
    sim_node_pump(n);
}

static void end_session(struct sim_node *n)
{
    struct sp_client_totals totals;
    struct sp_torrent_stats stats = {0};

    sp_session_totals(n->session, n->sim->now, &totals);
    (void)sp_torrent_stats(n->session, TORRENT_ID, n->sim->now, &stats);
    n->payload_in += totals.downloaded_bytes;
    n->payload_out += totals.uploaded_bytes;
    n->wasted += stats.wasted_bytes;
    sim_disk_drop(n);
    sp_session_free(n->session);
    n->session = NULL;
    if (n->mem.live != 0)
        sim_break(n->sim, n->host, "a freed session left memory behind");
    sim_web_drop(n);
    while (n->socks) {
        struct sim_sock *k = n->socks;
        k->link->side[k->side].open = false;
        sim_link_close(k->link, k->side);
        forget_sock(n, k);
    }
}

void sim_node_free(struct sim_node *n)
{
    struct sim *sim = n->sim;
    if (!sim)
        return;
    if (n->session)
        end_session(n);
    if (n->mem.peak > sim->result->memory_peak)
        sim->result->memory_peak = n->mem.peak;
    sim->result->downloaded += n->payload_in;
    sim->result->uploaded[n->host] = n->payload_out;
    sim->result->downloaded_by[n->host] = n->payload_in;
    sim->result->wasted += n->wasted;
    sp_mem_free(sim->mem, n->disk);
    sp_mem_free(sim->mem, n->liars);
    sp_mem_free(sim->mem, n->failed_by);
    if (n->seen.bytes)
        sp_bits_done(&n->seen, sim->mem);
}

static void on_restart(struct sim *sim, void *ctx, uint64_t arg)
{
    struct sim_node *n = ctx;
    (void)sim;
    (void)arg;
    sim_node_start(n);
}

void sim_node_crash(struct sim_node *n)
{
    struct sim *sim = n->sim;
    if (!n->session)
        return;
    sim_note(sim, n->host, "crashes", n->life, 0);
    sim->result->crashes++;
    end_session(n);
    n->life++;
    n->banned = n->due = 0;
    memset(n->liars, 0, sim_block_ix(sim, sim->piece_count, 0) * sizeof(uint64_t));
    memset(n->failed_by, 0, sim->piece_count * sizeof(uint64_t));
    sp_bits_fill(&n->seen, false);
    sim_at(sim, sim->now + sim_below(sim, 5 * SP_SECOND_NS), on_restart, n, 0);
}

static void select_files(struct sim_node *n, bool all)
{
    struct sim *sim = n->sim;
    uint8_t prio[8];
    for (uint32_t f = 0; f < sim->plan->file_count; f++)
        prio[f] = all ? 4 : (uint8_t)sim_below(sim, 8);
    n->all_wanted = all;
    sp_torrent_set_priorities(n->session, TORRENT_ID, prio, sim->now);
}

void sim_node_command(struct sim_node *n)
{
    struct sim *sim = n->sim;
    uint64_t which = sim_below(sim, 6);

    if (!n->session)
        return;
    sim_note(sim, n->host, "command", which, 0);
    switch (which) {
    case 0:
        n->paused = true;
        sp_torrent_pause(n->session, TORRENT_ID, sim->now);
        break;
    case 1:
        n->paused = false;
        sp_torrent_resume(n->session, TORRENT_ID, sim->now);
        break;
    case 2:
        sp_torrent_recheck(n->session, TORRENT_ID, sim->now);
        sim_at(sim, sim->now + sim_below(sim, SP_SECOND_NS), on_checked, n, n->life);
        break;
    case 3:
        select_files(n, false);
        break;
    case 4:
        select_files(n, true);
        break;
    default:
        tell_peers(n);
        break;
    }
    sim_node_pump(n);
}

void sim_node_heal(struct sim_node *n)
{
    struct sim *sim = n->sim;
    n->full_until = n->slow_until = 0;
    if (!n->session)
        return;
    sp_torrent_resume(n->session, TORRENT_ID, sim->now);
    n->paused = false;
    select_files(n, true);
    if (!sim->plan->by_tracker)
        tell_peers(n);
    sim_node_pump(n);
}

bool sim_node_is_complete(const struct sim_node *n)
{
    struct sp_torrent_stats stats;
    if (!n->session || sp_torrent_stats(n->session, TORRENT_ID, n->sim->now, &stats) != SP_OK)
        return false;
    return stats.state == SP_TORRENT_SEEDING && stats.piece_have == stats.piece_count;
}
