#include "core/portmap/codec.h"

#include "core/base/cur.h"

enum { REPLY = 0x80, NATPMP_OP_EXTERNAL = 0, NATPMP_OP_UDP = 1, NATPMP_OP_TCP = 2 };
enum { PROTOCOL_TCP = 6, PROTOCOL_UDP = 17 };

/* ---- requests ---- */

/* RFC 6887 5: a v4 address travels as ::ffff:a.b.c.d, also when it is 0. */
static void put_ip(struct sp_out *o, const struct sp_addr *a)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    if (a->family == SP_V4)
        sp_out_bytes(o, mapped, sizeof(mapped));
    sp_out_bytes(o, a->ip, a->family == SP_V4 ? 4 : 16);
}

static void put_head(struct sp_out *o, enum sp_pcp_opcode op, uint32_t lifetime_s,
                     const struct sp_addr *client)
{
    sp_out_u8(o, SP_PCP_VERSION);
    sp_out_u8(o, (uint8_t)op);
    sp_out_u16(o, 0);
    sp_out_u32(o, lifetime_s);
    put_ip(o, client);
}

void sp_pcp_put_map(struct sp_out *o, const struct sp_addr *client, uint32_t lifetime_s,
                    const struct sp_pcp_map *map)
{
    static const uint8_t reserved[3];
    put_head(o, SP_PCP_MAP, lifetime_s, client);
    sp_out_bytes(o, map->nonce, sizeof(map->nonce));
    sp_out_u8(o, map->protocol);
    sp_out_bytes(o, reserved, sizeof(reserved));
    sp_out_u16(o, map->internal_port);
    sp_out_u16(o, map->external.port);
    put_ip(o, &map->external);
}

void sp_pcp_put_announce(struct sp_out *o, const struct sp_addr *client)
{
    put_head(o, SP_PCP_ANNOUNCE, 0, client);
}

void sp_natpmp_put_external(struct sp_out *o)
{
    sp_out_u8(o, SP_NATPMP_VERSION);
    sp_out_u8(o, NATPMP_OP_EXTERNAL);
}

void sp_natpmp_put_map(struct sp_out *o, uint8_t protocol, uint16_t internal_port,
                       uint16_t external_port, uint32_t lifetime_s)
{
    sp_out_u8(o, SP_NATPMP_VERSION);
    sp_out_u8(o, protocol == PROTOCOL_TCP ? NATPMP_OP_TCP : NATPMP_OP_UDP);
    sp_out_u16(o, 0);
    sp_out_u16(o, internal_port);
    sp_out_u16(o, external_port);
    sp_out_u32(o, lifetime_s);
}

/* ---- replies ---- */

static enum sp_err parse_pcp(struct sp_cur *c, size_t len, uint8_t op, struct sp_portmap_reply *r)
{
    sp_cur_u8(c); /* reserved */
    r->result = sp_cur_u8(c);
    r->lifetime_s = sp_cur_u32(c);
    r->epoch_s = sp_cur_u32(c);
    sp_cur_take(c, 12);
    r->has_epoch = c->err == SP_OK;
    if (r->result == SP_PCP_UNSUPP_VERSION && len >= 4) {
        r->kind = SP_REPLY_PCP_VERSION; /* what follows may be of another layout */
        return SP_OK;
    }
    if (op == SP_PCP_ANNOUNCE) {
        r->kind = SP_REPLY_PCP_ANNOUNCE;
        return c->err;
    }
    if (op != SP_PCP_MAP)
        return SP_EPROTO;
    r->kind = SP_REPLY_PCP_MAP;
    struct sp_slice nonce = sp_cur_take(c, SP_PCP_NONCE_LEN);
    r->map.protocol = sp_cur_u8(c);
    sp_cur_take(c, 3);
    r->map.internal_port = sp_cur_u16(c);
    uint16_t port = sp_cur_u16(c);
    struct sp_slice ip = sp_cur_take(c, 16);
    if (c->err != SP_OK)
        return c->err;
    memcpy(r->map.nonce, nonce.ptr, nonce.len);
    r->map.external = sp_addr_v6(ip.ptr, port); /* a mapped one becomes v4 */
    return SP_OK;
}

static enum sp_err parse_natpmp_map(struct sp_cur *c, uint8_t op, struct sp_portmap_reply *r)
{
    r->kind = SP_REPLY_NATPMP_MAP;
    r->map.protocol = op == NATPMP_OP_TCP ? PROTOCOL_TCP : PROTOCOL_UDP;
    r->map.internal_port = sp_cur_u16(c);
    r->map.external.port = sp_cur_u16(c);
    r->lifetime_s = sp_cur_u32(c);
    r->is_short = c->err != SP_OK;
    return r->is_short && r->result == SP_NATPMP_SUCCESS ? c->err : SP_OK;
}

static enum sp_err parse_natpmp(struct sp_cur *c, uint8_t op, struct sp_portmap_reply *r)
{
    r->result = sp_cur_u16(c);
    if (c->err != SP_OK)
        return c->err;
    r->epoch_s = sp_cur_u32(c);
    r->has_epoch = c->err == SP_OK;
    if (r->result == SP_NATPMP_UNSUPP_VERSION) {
        r->kind = SP_REPLY_NATPMP_VERSION;
        return SP_OK;
    }
    if (op == NATPMP_OP_UDP || op == NATPMP_OP_TCP)
        return parse_natpmp_map(c, op, r);
    if (op != NATPMP_OP_EXTERNAL)
        return SP_EPROTO;
    r->kind = SP_REPLY_NATPMP_EXTERNAL;
    struct sp_slice ip = sp_cur_take(c, 4);
    if (ip.len)
        r->map.external = sp_addr_v4(ip.ptr, 0);
    return r->result == SP_NATPMP_SUCCESS ? c->err : SP_OK;
}

enum sp_err sp_portmap_reply_parse(struct sp_slice bytes, struct sp_portmap_reply *ret_reply)
{
    struct sp_portmap_reply r = {0};
    struct sp_cur c = sp_cur_of(bytes);

    if (bytes.len > SP_PCP_DATAGRAM_MAX)
        return SP_EPROTO;
    r.version = sp_cur_u8(&c);
    uint8_t op = sp_cur_u8(&c);
    if (c.err != SP_OK)
        return c.err;
    if (!(op & REPLY))
        return SP_EPROTO;
    op &= (uint8_t)~REPLY;
    enum sp_err err = SP_EPROTO;
    if (r.version == SP_NATPMP_VERSION)
        err = parse_natpmp(&c, op, &r);
    else
        err = parse_pcp(&c, bytes.len, op, &r);
    /* Another version's reply says only that: it is another. */
    if (err == SP_OK && r.version != SP_NATPMP_VERSION && r.version != SP_PCP_VERSION &&
        r.kind != SP_REPLY_PCP_VERSION)
        err = SP_EPROTO;
    if (err == SP_OK)
        *ret_reply = r;
    return err;
}

/* ---- for people ---- */

const char *sp_pcp_result_text(uint16_t result)
{
    switch (result) {
    case SP_PCP_SUCCESS:
        return "granted";
    case SP_PCP_UNSUPP_VERSION:
        return "the gateway speaks another version";
    case SP_PCP_NOT_AUTHORIZED:
        return "the gateway does not allow it";
    case SP_PCP_MALFORMED_REQUEST:
        return "the gateway did not understand the request";
    case SP_PCP_UNSUPP_OPCODE:
        return "the gateway maps no ports";
    case SP_PCP_UNSUPP_OPTION:
        return "the gateway lacks an option";
    case SP_PCP_MALFORMED_OPTION:
        return "the gateway did not understand an option";
    case SP_PCP_NETWORK_FAILURE:
        return "the gateway has no network itself";
    case SP_PCP_NO_RESOURCES:
        return "the gateway has no room for it";
    case SP_PCP_UNSUPP_PROTOCOL:
        return "the gateway does not map this protocol";
    case SP_PCP_USER_EX_QUOTA:
        return "too many ports are mapped for this host";
    case SP_PCP_CANNOT_PROVIDE_EXTERNAL:
        return "the external port is taken";
    case SP_PCP_ADDRESS_MISMATCH:
        return "there is another NAT before the gateway";
    case SP_PCP_EXCESSIVE_REMOTE_PEERS:
        return "the gateway limits remote peers";
    default:
        return "the gateway gave an unknown error";
    }
}

const char *sp_natpmp_result_text(uint16_t result)
{
    switch (result) {
    case SP_NATPMP_SUCCESS:
        return "granted";
    case SP_NATPMP_UNSUPP_VERSION:
        return "the gateway speaks another version";
    case SP_NATPMP_REFUSED:
        return "the gateway does not allow it";
    case SP_NATPMP_NETWORK_FAILURE:
        return "the gateway has no network itself";
    case SP_NATPMP_NO_RESOURCES:
        return "the gateway has no room for it";
    case SP_NATPMP_UNSUPP_OPCODE:
        return "the gateway maps no ports";
    default:
        return "the gateway gave an unknown error";
    }
}
