/* What the session wants done, pulled in an order that matters: docs/core/session.md. */
#include "core/session/utp.h"
#include "core/torrent/web.h"

static bool next_close(struct sp_session *s, struct sp_effect *fx, sp_time_ns now)
{
    struct sp_link *k;
    while ((k = sp_list_pop(&s->hub.closing)) != NULL) {
        struct sp_conn *c = SP_CONTAINER(k, struct sp_conn, effect_link);
        struct sp_stream *over = c->stream;
        fx->kind = c->web ? SP_FX_WEB : SP_FX_CLOSE;
        fx->conn = NULL;
        fx->web.kind = SP_WEB_CLOSE;
        fx->user = c->user;
        if (over)
            sp_session_utp_close(s, over, now);
        sp_conn_free(c);
        if (!over)
            return true;
    }
    return false;
}

static bool next_event(struct sp_hub *h, struct sp_effect *fx)
{
    if (h->events.count == 0)
        return false;
    fx->kind = SP_FX_EVENT;
    fx->event = *(struct sp_client_event *)sp_queue_at(&h->events, 0);
    sp_queue_pop(&h->events);
    return true;
}

static bool next_metadata(struct sp_hub *h, struct sp_effect *fx)
{
    struct sp_link *k = sp_list_pop(&h->learned);
    if (!k)
        return false;
    const struct sp_torrent *t = SP_CONTAINER(k, struct sp_torrent, learned_link);
    fx->kind = SP_FX_METADATA;
    fx->torrent = t->id;
    fx->info = (struct sp_slice){t->info, t->info_len};
    return true;
}

static bool next_job(struct sp_hub *h, struct sp_effect *fx)
{
    struct sp_work *w = h->jobs_first;
    if (!w)
        return false;
    h->jobs_first = w->next;
    if (!h->jobs_first)
        h->jobs_last = &h->jobs_first;
    w->next = NULL;
    fx->kind = SP_FX_JOB;
    fx->job = &w->job;
    return true;
}

static bool next_conn(struct sp_list *list, enum sp_effect_kind kind, size_t link_off,
                      struct sp_effect *fx)
{
    struct sp_link *k = sp_list_pop(list);
    if (!k)
        return false;
    fx->kind = kind;
    fx->conn = (struct sp_conn *)(void *)((char *)k - link_off);
    fx->user = fx->conn->user;
    fx->addr = fx->conn->addr;
    if (fx->conn->web) {
        fx->kind = SP_FX_WEB;
        fx->web.kind = SP_WEB_RESUME;
    }
    return true;
}

/* A tracker's word on a torrent, or its request handed on to the shell. */
static bool take_tracker(struct sp_session *s, const struct sp_tracker_action *a, sp_time_ns now)
{
    struct sp_torrent *t = sp_session_torrent(s, a->torrent);
    struct sp_tracker_info info;

    switch (a->kind) {
    case SP_TRACKER_PEERS:
        for (uint32_t i = 0; t && i < a->u.peers.count; i++)
            sp_swarm_add(t, &a->u.peers.addrs[i], SP_PEER_TRACKER, now);
        if (t)
            sp_swarm_dial(t, now);
        return true;
    case SP_TRACKER_STATUS:
        if (t && sp_trackers_info_at(s->hub.trackers, a->torrent, a->tracker_ix, &info)) {
            if (info.seeds != UINT32_MAX)
                t->tracker_seeds = info.seeds;
            if (info.leechers != UINT32_MAX)
                t->tracker_leechers = info.leechers;
            if (info.state == SP_TRACKER_FAILING || info.state == SP_TRACKER_DISABLED)
                sp_hub_event(&s->hub, SP_EV_TRACKER, t->id, SP_ENET, info.message);
        }
        return true;
    case SP_TRACKER_EXTERNAL_IP:
        sp_session_external_vote(s, SP_EXTERNAL_TRACKER, &a->u.external_ip);
        return true;
    case SP_TRACKER_NONE:
        return true;
    case SP_TRACKER_HTTP:
    case SP_TRACKER_RESOLVE:
    case SP_TRACKER_CANCEL:
    case SP_TRACKER_DATAGRAM:
        break;
    }
    return false;
}

static bool next_tracker(struct sp_session *s, struct sp_effect *fx, sp_time_ns now)
{
    while (sp_trackers_next(s->hub.trackers, &fx->tracker)) {
        if (take_tracker(s, &fx->tracker, now))
            continue;
        fx->kind = SP_FX_TRACKER;
        return true;
    }
    return false;
}

static bool next_dial(struct sp_session *s, struct sp_effect *fx, sp_time_ns now)
{
    struct sp_hub *h = &s->hub;
    while (next_conn(&h->dialing, SP_FX_DIAL, offsetof(struct sp_conn, effect_link), fx)) {
        if (sp_session_utp_dial(s, fx->conn, now))
            continue;
        if (s->cfg.no_tcp) {
            sp_conn_closed(fx->conn, "only uTP is allowed", now);
            continue;
        }
        fx->conn->tried |= SP_BY_TCP;
        return true;
    }
    return false;
}

/* SEND and RECV of connections over uTP are seen to here. */
static bool next_stream(struct sp_session *s, struct sp_effect *fx, sp_time_ns now)
{
    struct sp_hub *h = &s->hub;
    while (next_conn(&h->receiving, SP_FX_RECV, offsetof(struct sp_conn, effect_link), fx)) {
        if (!fx->conn->stream)
            return true;
        sp_session_utp_resume(s, fx->conn, now);
    }
    while (next_conn(&h->sending, SP_FX_SEND, offsetof(struct sp_conn, send_link), fx)) {
        if (!fx->conn->stream)
            return true;
        sp_session_utp_send(s, fx->conn, now);
    }
    return false;
}

bool sp_session_next(struct sp_session *s, struct sp_effect *fx, sp_time_ns now)
{
    struct sp_hub *h = &s->hub;
    /* Jobs before sends: a hot read done on the spot is sent in this turn. */
    return next_close(s, fx, now) || next_event(h, fx) || next_metadata(h, fx) || next_job(h, fx) ||
           next_dial(s, fx, now) || sp_web_next(h, fx) || next_tracker(s, fx, now) ||
           next_stream(s, fx, now);
}
