/* The port mapping machine before gateways of every kind, in virtual time. */
#include "check.h"
#include "core/base/cur.h"
#include "core/portmap/codec.h"
#include "core/portmap/portmap.h"

#define S SP_SECOND_NS

enum kind { GW_SILENT, GW_PCP, GW_NATPMP, GW_PCP_ONLY };

/* A gateway: what it speaks, what it has mapped, and how it answers. */
struct gateway {
    enum kind kind;
    struct sp_addr addr;
    uint8_t result; /* of MAP requests */
    uint16_t shift; /* external port = internal + shift */
    uint32_t lifetime_s, error_lifetime_s;
    sp_time_ns booted_at;
    uint8_t outer[4];
    uint16_t ports[2]; /* mapped now: TCP, UDP; external */
    uint8_t nonces[2][12];
    unsigned maps, deletes, externals, announces, asked;
    uint16_t suggested;
    uint32_t asked_lifetime_s;
};

struct lab {
    struct sp_portmap pm;
    struct gateway gw;
    struct sp_addr local;
    sp_time_ns now;
    unsigned mapped, lost, failed;
    struct sp_portmap_action last[4]; /* by kind */
    sp_time_ns sent_at[64];
    unsigned sent;
    sp_time_ns tcp_at, gap_min; /* of PCP MAP requests for TCP */
    bool drop;                  /* the gateway's answers */
};

static struct sp_addr v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d, uint16_t port)
{
    const uint8_t ip[4] = {a, b, c, d};
    return sp_addr_v4(ip, port);
}

static void put_epoch(const struct lab *l, uint8_t *p)
{
    sp_put_be32(p, (uint32_t)((l->now - l->gw.booted_at) / S));
}

static size_t answer_pcp(struct lab *l, const uint8_t *q, size_t len, uint8_t *r)
{
    struct gateway *g = &l->gw;
    memcpy(r, q, len);
    memset(r + 8, 0, 16);
    put_epoch(l, r + 8);
    r[1] = (uint8_t)(q[1] | 0x80);
    r[2] = r[3] = 0;
    if (q[1] == SP_PCP_ANNOUNCE) {
        g->announces++;
        return 24;
    }
    CHECK_EQ(q[1], SP_PCP_MAP);
    CHECK_EQ(len, 60);
    unsigned udp = q[36] == 17;
    uint16_t in = sp_be16(q + 40);
    g->maps++;
    g->suggested = sp_be16(q + 42);
    g->asked_lifetime_s = sp_be32(q + 4);
    r[3] = g->result;
    if (g->result) {
        sp_put_be32(r + 4, g->error_lifetime_s);
        return len;
    }
    if (sp_be32(q + 4) == 0) {
        g->deletes++;
        CHECK(memcmp(g->nonces[udp], q + 24, 12) == 0);
        CHECK_EQ(g->suggested, 0);
        g->ports[udp] = 0;
        sp_put_be32(r + 4, 0);
        return len;
    }
    if (g->ports[udp])
        CHECK(memcmp(g->nonces[udp], q + 24, 12) == 0);
    memcpy(g->nonces[udp], q + 24, 12);
    g->ports[udp] = (uint16_t)(in + g->shift);
    sp_put_be32(r + 4, g->lifetime_s);
    r[42] = (uint8_t)(g->ports[udp] >> 8);
    r[43] = (uint8_t)g->ports[udp];
    memset(r + 44, 0, 10);
    r[54] = r[55] = 0xff;
    memcpy(r + 56, g->outer, 4);
    return len;
}

static size_t answer_natpmp(struct lab *l, const uint8_t *q, size_t len, uint8_t *r)
{
    struct gateway *g = &l->gw;
    memset(r, 0, 16);
    r[1] = (uint8_t)(q[1] | 0x80);
    put_epoch(l, r + 4);
    if (q[0] != 0) {
        r[3] = SP_NATPMP_UNSUPP_VERSION;
        return 8;
    }
    if (q[1] == 0) {
        CHECK_EQ(len, 2);
        g->externals++;
        memcpy(r + 8, g->outer, 4);
        return 12;
    }
    CHECK_EQ(len, 12);
    unsigned udp = q[1] == 1;
    g->maps++;
    g->suggested = sp_be16(q + 6);
    g->asked_lifetime_s = sp_be32(q + 8);
    memcpy(r + 8, q + 4, 2);
    r[3] = g->result;
    if (g->result)
        return 16;
    if (sp_be32(q + 8) == 0) {
        g->deletes++;
        CHECK_EQ(g->suggested, 0);
        g->ports[udp] = 0;
        return 16;
    }
    g->ports[udp] = (uint16_t)(sp_be16(q + 4) + g->shift);
    r[10] = (uint8_t)(g->ports[udp] >> 8);
    r[11] = (uint8_t)g->ports[udp];
    sp_put_be32(r + 12, g->lifetime_s);
    return 16;
}

static void pass(struct lab *l, const struct sp_portmap_action *a)
{
    uint8_t r[64];
    size_t n = 0;
    struct sp_addr from = l->gw.addr;
    from.port = SP_PORTMAP_SERVER_PORT;
    l->gw.asked++;
    if (l->sent < SP_COUNT(l->sent_at))
        l->sent_at[l->sent++] = l->now;
    bool pcp = a->bytes[0] == 2;
    if (pcp && a->len == 60 && a->want_ix == 0) {
        if (l->tcp_at && l->now - l->tcp_at < l->gap_min)
            l->gap_min = l->now - l->tcp_at;
        l->tcp_at = l->now;
    }
    if (l->gw.kind == GW_PCP || (l->gw.kind == GW_PCP_ONLY && pcp))
        n = pcp ? answer_pcp(l, a->bytes, a->len, r) : answer_natpmp(l, a->bytes, a->len, r);
    else if (l->gw.kind == GW_PCP_ONLY) { /* NAT-PMP is an unknown version to it */
        memset(r, 0, 24);
        r[0] = 2;
        r[1] = 0x80;
        r[3] = SP_PCP_UNSUPP_VERSION;
        n = 24;
    } else if (l->gw.kind == GW_NATPMP)
        n = answer_natpmp(l, a->bytes, a->len, r);
    if (n && !l->drop)
        sp_portmap_datagram(&l->pm, a->path_ix, &from, (struct sp_slice){r, n}, l->now);
}

static void pull(struct lab *l)
{
    struct sp_portmap_action a;
    for (int n = 0; sp_portmap_next(&l->pm, &a, l->now); n++) {
        CHECK(n < 100);
        const char *broken = sp_portmap_broken(&l->pm);
        CHECK(!broken);
        if (broken)
            printf("# %s\n", broken);
        if (a.kind == SP_PORTMAP_SEND) {
            pass(l, &a);
            continue;
        }
        l->last[a.kind] = a;
        l->mapped += a.kind == SP_PORTMAP_MAPPED;
        l->lost += a.kind == SP_PORTMAP_LOST;
        l->failed += a.kind == SP_PORTMAP_FAILED;
    }
}

static void run_to(struct lab *l, sp_time_ns until)
{
    for (int n = 0; n < 100000; n++) {
        sp_portmap_tick(&l->pm, l->now);
        pull(l);
        sp_time_ns at = sp_portmap_deadline(&l->pm);
        if (at > until)
            break;
        if (at > l->now)
            l->now = at;
        CHECK(n < 99999);
    }
    l->now = until;
}

static void begin(struct lab *l, enum kind kind)
{
    struct sp_portmap_cfg cfg = {
        .seed = 1,
        .secret = {7, 9},
        .wants = {{SP_PORTMAP_TCP, 6881}, {SP_PORTMAP_UDP, 6881}},
        .want_count = 2,
    };
    memset(l, 0, sizeof(*l));
    l->now = 1000 * S;
    l->local = v4(192, 168, 1, 2, 0);
    l->gw = (struct gateway){.kind = kind,
                             .addr = v4(192, 168, 1, 1, 0),
                             .lifetime_s = 3600,
                             .outer = {5, 6, 7, 8},
                             .shift = 10};
    sp_portmap_init(&l->pm, &cfg);
    sp_portmap_path(&l->pm, 0, &l->gw.addr, &l->local, l->now);
}

static bool grants(struct lab *l, enum sp_portmap_method method, uint16_t port)
{
    struct sp_portmap_grant g;
    for (uint32_t i = 0; i < 2; i++) {
        if (!sp_portmap_granted(&l->pm, 0, i, &g) || g.method != method ||
            g.external.port != port || g.external.ip[0] != 5)
            return false;
    }
    return true;
}

TEST(portmap_speaks_pcp)
{
    struct lab l;
    begin(&l, GW_PCP);
    run_to(&l, l.now + S / 10);
    CHECK(grants(&l, SP_PORTMAP_PCP, 6891));
    CHECK_EQ(l.mapped, 2);
    CHECK_EQ(l.failed, 0);
    CHECK_EQ(l.gw.maps, 2);
    CHECK_EQ(l.gw.externals, 0);
    CHECK_EQ(l.gw.suggested, 6891); /* UDP would like what TCP got */
    CHECK_EQ(l.gw.asked_lifetime_s, 3600);
    CHECK_EQ(l.last[SP_PORTMAP_MAPPED].lifetime_s, 3600);
    run_to(&l, l.now + 3 * S);
    CHECK_EQ(l.gw.asked, 2);
}

TEST(portmap_falls_back_to_natpmp)
{
    struct lab l;
    begin(&l, GW_NATPMP);
    run_to(&l, l.now + S / 10);
    CHECK(grants(&l, SP_PORTMAP_NATPMP, 6891));
    CHECK_EQ(l.mapped, 2);
    CHECK_EQ(l.gw.externals, 1);
}

TEST(portmap_learns_of_pcp_by_natpmps_probe)
{
    struct lab l;
    begin(&l, GW_PCP_ONLY);
    l.drop = true; /* the first request's answer is lost */
    run_to(&l, l.now + S / 10);
    l.drop = false;
    run_to(&l, l.now + S);
    CHECK(grants(&l, SP_PORTMAP_PCP, 6891));
    run_to(&l, l.now + 3000 * S);
    CHECK_EQ(l.lost, 0);
    CHECK_EQ(l.failed, 0);
}

/* PCP at 0, NAT-PMP 250, 750 and 1750 ms later, then both, ever more seldom. */
TEST(portmap_probes_in_vain)
{
    struct lab l;
    begin(&l, GW_SILENT);
    sp_time_ns start = l.now;
    run_to(&l, start + 1900 * SP_MS_NS);
    CHECK_EQ(l.sent, 4);
    for (unsigned i = 1; i < l.sent; i++) {
        sp_time_ns ideal = 250 * SP_MS_NS * ((1U << i) - 1), at = l.sent_at[i] - start;
        CHECK(at >= ideal - ideal / 10 && at <= ideal + ideal / 10);
    }
    CHECK_EQ(l.failed, 0);
    run_to(&l, start + 2 * S);
    CHECK_EQ(l.failed, 2); /* TCP and UDP */
    CHECK_EQ(l.last[SP_PORTMAP_FAILED].method, SP_PORTMAP_NONE);
    run_to(&l, start + 86400 * S);
    CHECK_EQ(l.failed, 2); /* said once */
    CHECK(l.gw.asked < 24 + 2 * 86400 / 900);
    CHECK(l.gw.asked > 2 * 86400 / 1200);
    l.gw.kind = GW_NATPMP;
    run_to(&l, l.now + 1200 * S);
    CHECK(grants(&l, SP_PORTMAP_NATPMP, 6891));
}

TEST(portmap_hears_that_nobody_listens)
{
    struct lab l;
    begin(&l, GW_SILENT);
    sp_portmap_tick(&l.pm, l.now);
    pull(&l);
    sp_portmap_refused(&l.pm, 0, l.now);
    pull(&l);
    CHECK_EQ(l.failed, 2);
    unsigned asked = l.gw.asked;
    run_to(&l, l.now + 29 * S);
    CHECK_EQ(l.gw.asked, asked);
    CHECK_EQ(l.failed, 2);
    run_to(&l, l.now + 2 * S);
    CHECK(l.gw.asked > asked);
}

/* Half the lifetime, and up to an eighth later; no event when nothing changed. */
TEST(portmap_renews)
{
    static const enum kind kinds[] = {GW_PCP, GW_NATPMP};
    for (size_t k = 0; k < 2; k++) {
        struct lab l;
        begin(&l, kinds[k]);
        sp_time_ns start = l.now;
        run_to(&l, start + 1799 * S);
        CHECK_EQ(l.gw.maps, 2);
        CHECK(l.gw.announces + l.gw.externals >= 4); /* it was looked after meanwhile */
        run_to(&l, start + 2251 * S);
        CHECK_EQ(l.gw.maps, 4);
        run_to(&l, start + 100000 * S);
        CHECK(l.gw.maps > 2 * 100000 / 2250 - 2 && l.gw.maps <= 2 * 100000 / 1800 + 2);
        CHECK_EQ(l.mapped, 2);
        CHECK_EQ(l.lost, 0);
        CHECK_EQ(l.gw.suggested, 6891);
    }
}

TEST(portmap_renews_at_three_quarters_when_a_half_was_lost)
{
    struct lab l;
    begin(&l, GW_PCP);
    sp_time_ns start = l.now;
    run_to(&l, start + S);
    l.drop = true;
    run_to(&l, start + 2300 * S);
    CHECK_EQ(l.gw.maps, 4);
    run_to(&l, start + 2699 * S);
    CHECK_EQ(l.gw.maps, 4);
    l.drop = false;
    run_to(&l, start + 2930 * S);
    CHECK_EQ(l.gw.maps, 6);
    CHECK_EQ(l.lost, 0);
}

/* However short the time that is left. */
TEST(portmap_renews_four_seconds_apart)
{
    for (uint32_t lifetime_s = 20; lifetime_s < 80; lifetime_s++) {
        struct lab l;
        begin(&l, GW_PCP);
        l.pm.cfg.want_count = 1; /* nobody to wait for */
        l.gw.lifetime_s = lifetime_s;
        l.gap_min = SP_TIME_NEVER;
        sp_time_ns start = l.now;
        run_to(&l, start + S);
        l.drop = true;
        run_to(&l, start + lifetime_s * S - 1);
        CHECK(l.gap_min >= 4 * S && l.gap_min < SP_TIME_NEVER);
    }
}

TEST(portmap_loses_and_finds_again)
{
    struct lab l;
    begin(&l, GW_PCP);
    sp_time_ns start = l.now;
    run_to(&l, start + S);
    l.drop = true;
    run_to(&l, start + 3599 * S);
    CHECK_EQ(l.lost, 0);
    run_to(&l, start + 3700 * S);
    CHECK_EQ(l.lost, 2);
    CHECK(!grants(&l, SP_PORTMAP_PCP, 6891));
    l.drop = false;
    l.gw.kind = GW_NATPMP; /* another gateway in its place */
    run_to(&l, start + 6000 * S);
    CHECK(grants(&l, SP_PORTMAP_NATPMP, 6891));
    CHECK_EQ(l.mapped, 4);
}

/* A restart is seen by the clock, at the poll: within five minutes and a bit. */
TEST(portmap_notices_a_restart)
{
    static const enum kind kinds[] = {GW_PCP, GW_NATPMP};
    for (size_t k = 0; k < 2; k++) {
        struct lab l;
        begin(&l, kinds[k]);
        l.gw.booted_at = 10 * S;
        run_to(&l, l.now + 60 * S);
        CHECK_EQ(l.gw.maps, 2);
        l.gw.booted_at = l.now;
        l.gw.ports[0] = l.gw.ports[1] = 0;
        l.gw.outer[3] = 99;
        run_to(&l, l.now + 331 * S);
        CHECK_EQ(l.gw.maps, 4);
        CHECK(l.gw.ports[0] == 6891 && l.gw.ports[1] == 6891);
        CHECK(l.mapped >= 4); /* it has another address now */
        CHECK_EQ(l.last[SP_PORTMAP_MAPPED].external.ip[3], 99);
    }
}

TEST(portmap_hears_a_restart)
{
    struct lab l;
    uint8_t said[24] = {2, 0x80};
    struct sp_addr from;
    begin(&l, GW_PCP);
    l.gw.booted_at = 10 * S;
    run_to(&l, l.now + 60 * S);
    l.gw.booted_at = l.now;
    from = v4(192, 168, 1, 66, SP_PORTMAP_SERVER_PORT); /* somebody else says so */
    sp_portmap_heard(&l.pm, &from, (struct sp_slice){said, 24}, l.now);
    run_to(&l, l.now + 6 * S);
    CHECK_EQ(l.gw.maps, 2);
    from.ip[3] = 1;
    sp_portmap_heard(&l.pm, &from, (struct sp_slice){said, 24}, l.now);
    run_to(&l, l.now + 6 * S);
    CHECK_EQ(l.gw.maps, 4);
}

/* Gateways that speak both announce it by PCP alone. */
TEST(portmap_hears_a_restart_in_other_words)
{
    struct lab l;
    const uint8_t said[24] = {2, 0x80};
    begin(&l, GW_NATPMP);
    l.gw.booted_at = 10 * S;
    run_to(&l, l.now + 60 * S);
    CHECK_EQ(l.gw.maps, 2);
    l.gw.booted_at = l.now;
    struct sp_addr from = v4(192, 168, 1, 1, SP_PORTMAP_SERVER_PORT);
    sp_portmap_heard(&l.pm, &from, (struct sp_slice){said, 24}, l.now);
    run_to(&l, l.now + 6 * S);
    CHECK_EQ(l.gw.maps, 4);
}

/* Within its first second, back to 0: a second back is forgiven, six behind are not. */
TEST(portmap_young_gateway_restarts)
{
    struct lab l;
    begin(&l, GW_PCP);
    l.gw.booted_at = l.now - S;
    run_to(&l, l.now + 6 * S);
    uint8_t said[24] = {2, 0x80};
    struct sp_addr from = v4(192, 168, 1, 1, SP_PORTMAP_SERVER_PORT);
    sp_portmap_heard(&l.pm, &from, (struct sp_slice){said, 24}, l.now);
    run_to(&l, l.now + 6 * S);
    CHECK_EQ(l.gw.maps, 4);
}

TEST(portmap_is_patient_with_clocks)
{
    struct lab l;
    uint8_t said[24] = {2, 0x80};
    begin(&l, GW_PCP);
    l.gw.booted_at = 0;
    run_to(&l, l.now + S);
    struct sp_addr from = l.gw.addr;
    from.port = SP_PORTMAP_SERVER_PORT;
    static const struct {
        int epoch;
        bool holds;
    } table[] = {{1000, true}, {999, true},  {1003, false},
                 {1002, true}, {997, false}, {1400, false}};
    for (size_t i = 0; i < SP_COUNT(table); i++) {
        begin(&l, GW_PCP);
        l.gw.booted_at = 0;
        run_to(&l, l.now + S / 2);
        unsigned maps = l.gw.maps;
        sp_put_be32(said + 8, (uint32_t)table[i].epoch);
        sp_portmap_datagram(&l.pm, 0, &from, (struct sp_slice){said, 24}, l.now);
        run_to(&l, l.now + 8 * S);
        CHECK_EQ(l.gw.maps > maps, !table[i].holds);
    }
}

/* Refused: told once, tried again after the time the gateway names, within limits. */
TEST(portmap_is_refused)
{
    static const struct {
        uint8_t result;
        uint32_t lifetime_s, again_s;
    } table[] = {
        {SP_PCP_NOT_AUTHORIZED, 0, 1800},        {SP_PCP_NO_RESOURCES, 0, 30},
        {SP_PCP_NETWORK_FAILURE, 120, 120},      {SP_PCP_USER_EX_QUOTA, UINT32_MAX, 86400},
        {SP_PCP_ADDRESS_MISMATCH, 5000, 5000},   {200, 1, 1800},
        {SP_PCP_CANNOT_PROVIDE_EXTERNAL, 0, 30},
    };
    for (size_t i = 0; i < SP_COUNT(table); i++) {
        struct lab l;
        begin(&l, GW_PCP);
        l.gw.result = table[i].result;
        l.gw.error_lifetime_s = table[i].lifetime_s;
        sp_time_ns start = l.now;
        run_to(&l, start + (table[i].again_s - 1) * S);
        CHECK_EQ(l.gw.maps, 2);
        CHECK_EQ(l.failed, 2);
        CHECK(strcmp(l.last[SP_PORTMAP_FAILED].why, sp_pcp_result_text(table[i].result)) == 0);
        run_to(&l, start + (table[i].again_s + 1) * S);
        CHECK_EQ(l.gw.maps, 4);
        CHECK_EQ(l.failed, 2);
        l.gw.result = 0;
        run_to(&l, l.now + 90000 * S);
        CHECK(grants(&l, SP_PORTMAP_PCP, 6891));
    }
    struct lab l;
    begin(&l, GW_NATPMP);
    l.gw.result = SP_NATPMP_REFUSED;
    run_to(&l, l.now + 1700 * S);
    CHECK_EQ(l.gw.maps, 2);
    CHECK_EQ(l.failed, 2);
}

TEST(portmap_lives_with_any_lifetime)
{
    static const struct {
        uint32_t lifetime_s;
        unsigned least, most; /* requests in 10,000 s for each port */
    } table[] = {{1, 1900, 2501}, {10, 1500, 2001},   {60, 260, 340},
                 {86400, 1, 1},   {UINT32_MAX, 1, 1}, {INT32_MAX, 1, 1}};
    for (size_t i = 0; i < SP_COUNT(table); i++) {
        struct lab l;
        begin(&l, GW_PCP);
        l.gw.lifetime_s = table[i].lifetime_s;
        run_to(&l, l.now + 10000 * S);
        CHECK(l.gw.maps >= 2 * table[i].least && l.gw.maps <= 2 * table[i].most);
        CHECK_EQ(l.mapped, 2);
        CHECK_EQ(l.lost, 0);
    }
}

TEST(portmap_removes_at_the_end)
{
    static const enum kind kinds[] = {GW_PCP, GW_NATPMP};
    for (size_t k = 0; k < 2; k++) {
        struct lab l;
        begin(&l, kinds[k]);
        run_to(&l, l.now + S);
        sp_portmap_stop(&l.pm, l.now);
        pull(&l);
        CHECK(sp_portmap_idle(&l.pm));
        CHECK_EQ(l.gw.deletes, 2);
        CHECK_EQ(l.gw.ports[0] + l.gw.ports[1], 0);
        CHECK_EQ(l.lost, 0);
        CHECK_EQ(sp_portmap_deadline(&l.pm), SP_TIME_NEVER);

        begin(&l, kinds[k]);
        run_to(&l, l.now + S);
        l.drop = true;
        sp_time_ns start = l.now;
        l.sent = 0;
        sp_portmap_stop(&l.pm, l.now);
        run_to(&l, start + 1749 * SP_MS_NS);
        CHECK_EQ(l.sent, 6);
        CHECK(!sp_portmap_idle(&l.pm));
        run_to(&l, start + 1751 * SP_MS_NS);
        CHECK(sp_portmap_idle(&l.pm));
        CHECK_EQ(l.sent, 6);
    }
    struct lab l;
    begin(&l, GW_SILENT);
    run_to(&l, l.now + S);
    sp_portmap_stop(&l.pm, l.now);
    CHECK(sp_portmap_idle(&l.pm));
}

TEST(portmap_path_is_gone)
{
    struct lab l;
    begin(&l, GW_PCP);
    run_to(&l, l.now + S);
    sp_portmap_path_gone(&l.pm, 0);
    pull(&l);
    CHECK_EQ(l.lost, 2);
    CHECK_EQ(l.last[SP_PORTMAP_LOST].external.port, 6891);
    CHECK_EQ(sp_portmap_deadline(&l.pm), SP_TIME_NEVER);
    CHECK_EQ(l.gw.deletes, 0);
    sp_portmap_path(&l.pm, 0, &l.gw.addr, &l.local, l.now);
    run_to(&l, l.now + S);
    CHECK(grants(&l, SP_PORTMAP_PCP, 6891)); /* its nonce is the same: the gateway agreed */
}

/* Only the gateway, only from its port, only what was asked. */
TEST(portmap_believes_its_gateway_alone)
{
    struct lab l;
    begin(&l, GW_SILENT);
    sp_portmap_tick(&l.pm, l.now);
    struct sp_portmap_action a;
    CHECK(sp_portmap_next(&l.pm, &a, l.now));
    uint8_t r[64];
    size_t n = answer_pcp(&l, a.bytes, a.len, r);
    struct sp_addr good = v4(192, 168, 1, 1, SP_PORTMAP_SERVER_PORT), from = good;
    struct sp_portmap_grant g;
    from.ip[3] = 3;
    sp_portmap_datagram(&l.pm, 0, &from, (struct sp_slice){r, n}, l.now);
    from = good;
    from.port = 5352;
    sp_portmap_datagram(&l.pm, 0, &from, (struct sp_slice){r, n}, l.now);
    for (size_t i = 0; i < n; i++) { /* every prefix */
        sp_portmap_datagram(&l.pm, 0, &good, (struct sp_slice){r, i}, l.now);
        CHECK(!sp_portmap_granted(&l.pm, 0, 0, &g));
    }
    static const uint8_t at[] = {0, 1, 24, 30, 35, 36, 40, 41}; /* version .. internal port */
    for (size_t i = 0; i < SP_COUNT(at); i++) {
        r[at[i]] ^= 0x20;
        if (at[i]) /* another version is told by UNSUPP_VERSION alone */
            sp_portmap_datagram(&l.pm, 0, &good, (struct sp_slice){r, n}, l.now);
        r[at[i]] ^= 0x20;
        CHECK(!sp_portmap_granted(&l.pm, 0, 0, &g));
    }
    sp_portmap_datagram(&l.pm, 0, &good, (struct sp_slice){r, n}, l.now);
    CHECK(sp_portmap_granted(&l.pm, 0, 0, &g));
    CHECK_EQ(g.external.port, 6891);
}

/* A reply of NAT-PMP that nobody asked for changes nothing. */
TEST(portmap_natpmp_needs_a_question)
{
    struct lab l;
    begin(&l, GW_NATPMP);
    run_to(&l, l.now + S);
    struct sp_addr from = v4(192, 168, 1, 1, SP_PORTMAP_SERVER_PORT);
    uint8_t r[16] = {0, 0x82, 0, 0, 0, 0, 3, 0xe9, 0x1a, 0xe1, 0, 80, 0, 0, 1, 0};
    struct sp_portmap_grant g;
    sp_portmap_datagram(&l.pm, 0, &from, (struct sp_slice){r, 16}, l.now);
    CHECK(sp_portmap_granted(&l.pm, 0, 0, &g));
    CHECK_EQ(g.external.port, 6891);
}

TEST(portmap_opens_pinholes)
{
    struct lab l;
    static const uint8_t lan[16] = {0x20, 1, [15] = 2}, router[16] = {0xfe, 0x80, [15] = 1};
    begin(&l, GW_PCP);
    l.local = sp_addr_v6(lan, 0);
    l.gw.addr = sp_addr_v6(router, 0);
    l.gw.shift = 0;
    l.drop = true;
    sp_portmap_path(&l.pm, 0, &l.gw.addr, &l.local, l.now);
    sp_portmap_tick(&l.pm, l.now);
    struct sp_portmap_action a;
    CHECK(sp_portmap_next(&l.pm, &a, l.now));
    CHECK(memcmp(a.bytes + 8, lan, 16) == 0); /* the address that peers connect to */
    CHECK_EQ(a.bytes[0], 2);
    run_to(&l, l.now + 60 * S);
    CHECK_EQ(l.gw.externals, 0); /* no NAT-PMP over IPv6 */
    CHECK(l.gw.maps >= 3);
    l.drop = false;
    run_to(&l, l.now + 120 * S);
    struct sp_portmap_grant g;
    CHECK(sp_portmap_granted(&l.pm, 0, 1, &g));
    CHECK_EQ(g.external.port, 6881);
}

TEST(portmap_reply_every_prefix)
{
    struct sp_portmap_reply r;
    uint8_t bytes[1101] = {0};
    static const struct {
        uint8_t version, op;
        size_t whole;
    } kinds[] = {{2, 0x81, 60}, {2, 0x80, 24}, {0, 0x80, 12}, {0, 0x81, 16}, {0, 0x82, 16}};
    for (size_t k = 0; k < SP_COUNT(kinds); k++) {
        bytes[0] = kinds[k].version;
        bytes[1] = kinds[k].op;
        for (size_t n = 0; n <= kinds[k].whole; n++)
            CHECK_EQ(sp_portmap_reply_parse((struct sp_slice){bytes, n}, &r),
                     n < kinds[k].whole ? SP_AGAIN : SP_OK);
        CHECK_EQ(sp_portmap_reply_parse((struct sp_slice){bytes, 1100}, &r), SP_OK);
        CHECK_EQ(sp_portmap_reply_parse((struct sp_slice){bytes, 1101}, &r), SP_EPROTO);
        bytes[1] &= 0x7f; /* a request */
        CHECK_EQ(sp_portmap_reply_parse((struct sp_slice){bytes, 60}, &r), SP_EPROTO);
        bytes[1] = 0x85; /* of something else */
        CHECK_EQ(sp_portmap_reply_parse((struct sp_slice){bytes, 60}, &r), SP_EPROTO);
    }
    bytes[0] = 1;
    bytes[1] = 0x81;
    CHECK_EQ(sp_portmap_reply_parse((struct sp_slice){bytes, 60}, &r), SP_EPROTO);
    bytes[3] = SP_PCP_UNSUPP_VERSION;
    CHECK_EQ(sp_portmap_reply_parse((struct sp_slice){bytes, 4}, &r), SP_OK);
    CHECK_EQ(r.kind, SP_REPLY_PCP_VERSION);
}

int main(void)
{
    return check_run();
}
