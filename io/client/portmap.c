/* The ports we listen on, made reachable: io/portmap beside the reactors. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "io/client/impl.h"

static void on_portmap_event(void *ctx, enum sp_err err, const char *text)
{
    struct sp_client_event ev = {.kind = SP_EV_PORTMAP, .torrent = SP_TORRENT_NONE, .err = err};
    snprintf(ev.text, sizeof(ev.text), "%s", text);
    sp_client_push_event(ctx, &ev);
}

/* Told to each reactor: one of the two. */
struct outer_post {
    struct sp_post post;
    uint16_t port;
    struct sp_addr addr;
};

static void run_outer(struct sp_reactor *r, struct sp_post *post)
{
    struct outer_post *p = SP_CONTAINER(post, struct outer_post, post);
    if (p->addr.family != SP_FAMILY_NONE)
        sp_session_external_vote(r->session, SP_EXTERNAL_PORTMAP, &p->addr);
    else
        sp_session_set_port(r->session, p->port, sp_reactor_now(r));
    free(p);
}

static void tell_reactors(struct sp_client *c, uint16_t port, const struct sp_addr *addr)
{
    for (uint32_t i = 0; i < c->reactor_count; i++) {
        struct outer_post *p = calloc(1, sizeof(*p));
        if (!p)
            return; /* peers are told the port that we listen on */
        p->post.run = run_outer;
        p->port = port;
        if (addr)
            p->addr = *addr;
        sp_reactor_post(c->reactors[i], &p->post);
    }
}

static void on_outer_port(void *ctx, uint16_t port)
{
    struct sp_client *c = ctx;
    tell_reactors(c, port ? port : c->port, NULL);
}

static void on_outer_address(void *ctx, const struct sp_addr *addr)
{
    tell_reactors(ctx, 0, addr);
}

static void on_portmap_stopped(void *ctx)
{
    sp_client_one_stopped(ctx);
}

void sp_client_start_portmap(struct sp_client *c)
{
    struct sp_portmapper_cfg cfg = {
        .interface = c->cfg.interface,
        .listens = c->listened,
        .listen_count = c->listened_count,
        .seed = c->cfg.seed,
        .event = on_portmap_event,
        .outer_port = on_outer_port,
        .outer_address = on_outer_address,
        .stopped = on_portmap_stopped,
        .ctx = c,
    };
    if (c->cfg.no_portmap || c->listened_count == 0 || c->env.proxy.kind != SP_PROXY_NONE)
        return;
    if (!cfg.seed && getrandom(&cfg.seed, sizeof(cfg.seed), 0) < 0)
        cfg.seed = c->port; /* of jitter alone */
    enum sp_err err = sp_portmapper_start(&cfg, &c->portmapper);
    if (err != SP_OK && err != SP_ENOENT)
        sp_client_warn(c, err, "ports are not mapped: no thread for it");
}

void sp_client_stop_portmap(struct sp_client *c)
{
    if (c->portmapper)
        sp_portmapper_stop(c->portmapper);
}

uint32_t sp_client_mappings(const struct sp_client *c, struct sp_client_mapping *ret_mappings,
                            uint32_t cap)
{
    return c->portmapper ? sp_portmapper_list(c->portmapper, ret_mappings, cap) : 0;
}
