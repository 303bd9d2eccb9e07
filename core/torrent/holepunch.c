/* Introducing two peers to each other (BEP-0055): the relay's part. */
#include "core/torrent/state.h"
#include "core/wire/ut_holepunch.h"

enum { PUNCH_BURST = 8 };
#define PUNCH_EVERY_NS (5 * SP_SECOND_NS)

/* One rendezvous makes us send two messages: so many, then one in 5 s. */
static bool take_token(struct sp_conn *c, sp_time_ns now)
{
    sp_time_ns at = c->punch_at > now ? c->punch_at : now;
    if (at - now > (PUNCH_BURST - 1) * PUNCH_EVERY_NS)
        return false;
    c->punch_at = at + PUNCH_EVERY_NS;
    return true;
}

static void say(struct sp_conn *c, enum sp_holepunch_kind kind, const struct sp_addr *addr,
                enum sp_holepunch_error error)
{
    uint8_t bytes[SP_HOLEPUNCH_LEN_MAX];
    struct sp_holepunch_msg msg = {.kind = kind, .addr = *addr, .error = error};
    size_t len = sp_holepunch_write(&msg, bytes);
    sp_conn_said(c, sp_wire_put_extended(&c->out, c->wire.ext_ids[SP_EXT_UT_HOLEPUNCH],
                                         (struct sp_slice){bytes, len}));
    sp_conn_wants_send(c);
}

/* Where others may reach it: as peer exchange has told them. */
static const struct sp_addr *endpoint_of(const struct sp_conn *c)
{
    return c->listen.family == SP_FAMILY_NONE ? &c->addr : &c->listen;
}

static struct sp_conn *find(const struct sp_torrent *t, const struct sp_addr *addr)
{
    for (uint32_t i = 0; i < t->conn_top; i++) {
        struct sp_conn *c = t->conns[i];
        if (c && c->state == CONN_OPEN &&
            (sp_addr_eq(endpoint_of(c), addr) || sp_addr_eq(&c->addr, addr)))
            return c;
    }
    return NULL;
}

static bool is_own(const struct sp_torrent *t, const struct sp_addr *addr)
{
    const struct sp_addr *own = &t->h->external.best[addr->family == SP_V6];
    return own->family != SP_FAMILY_NONE && sp_addr_same_ip(own, addr) &&
           addr->port == t->h->cfg->listen_port;
}

static enum sp_holepunch_error judge(const struct sp_conn *c, const struct sp_addr *addr,
                                     const struct sp_conn *target)
{
    if (is_own(c->t, addr))
        return SP_HOLEPUNCH_NO_SELF;
    if (addr->port == 0 || sp_addr_scope(addr) == SP_SCOPE_NONE || target == c)
        return SP_HOLEPUNCH_NO_SUCH_PEER;
    if (!target)
        return SP_HOLEPUNCH_NOT_CONNECTED;
    if (!target->wire.ext_ids[SP_EXT_UT_HOLEPUNCH])
        return SP_HOLEPUNCH_NO_SUPPORT;
    return SP_HOLEPUNCH_OK;
}

void sp_holepunch_got(struct sp_conn *c, struct sp_slice payload, sp_time_ns now)
{
    struct sp_holepunch_msg msg;

    /* BEP-0055: "If the initiating peer does not indicate support for the
     * ut_holepunch extension in the extension protocol handshake, the relaying
     * peer MUST ignore any incoming ut_holepunch messages silently." */
    if (!sp_pex_is_on(c->t) || !c->wire.ext_ids[SP_EXT_UT_HOLEPUNCH] ||
        sp_holepunch_read(payload, &msg) != SP_OK)
        return;
    /* BEP-0055: "If the target peer does not wish to connect to the initiating
     * peer, it SHOULD ignore the connect message silently": as we do. */
    if (msg.kind != SP_HOLEPUNCH_RENDEZVOUS || !take_token(c, now))
        return;
    struct sp_conn *target = find(c->t, &msg.addr);
    enum sp_holepunch_error error = judge(c, &msg.addr, target);
    if (error != SP_HOLEPUNCH_OK) {
        /* BEP-0055: "The addr_type, addr and port fields in the error message MUST
         * be the same as in the rendezvous message." */
        say(c, SP_HOLEPUNCH_ERROR, &msg.addr, error);
        return;
    }
    /* BEP-0055: "the relaying peer sends a connect message to both the initiating
     * peer and the target peer, each containing the endpoint of the other." */
    say(c, SP_HOLEPUNCH_CONNECT, &msg.addr, SP_HOLEPUNCH_OK);
    say(target, SP_HOLEPUNCH_CONNECT, endpoint_of(c), SP_HOLEPUNCH_OK);
}
