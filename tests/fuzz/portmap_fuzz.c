/* Gateways that answer anything, at any time: each step is one byte that picks
 * what happens.  Answers are made of the last requests, so that they match now
 * and then.  What the machine promises is asserted after each step. */
#include <stdlib.h>
#include <string.h>

#include "core/base/cur.h"
#include "core/portmap/portmap.h"

enum { PATHS = 3 };

struct run {
    struct sp_portmap pm;
    struct sp_cur in;
    sp_time_ns now;
    uint8_t asked[PATHS][SP_PORTMAP_REQUEST_MAX];
    size_t asked_len[PATHS];
    bool mapped[PATHS][2];
    bool used[PATHS];
};

static void require(bool claim)
{
    if (!claim)
        abort();
}

static struct sp_addr gateway(uint32_t path, uint8_t last)
{
    uint8_t ip[16] = {10, 0, (uint8_t)path, last};
    if (path < 2)
        return sp_addr_v4(ip, SP_PORTMAP_SERVER_PORT);
    ip[0] = 0xfe;
    ip[1] = 0x80;
    return sp_addr_v6(ip, SP_PORTMAP_SERVER_PORT);
}

static void pull(struct run *r)
{
    struct sp_portmap_action a;
    for (int n = 0; sp_portmap_next(&r->pm, &a, r->now); n++) {
        require(n < 100);
        require(a.path_ix < PATHS && a.want_ix < 2);
        switch (a.kind) {
        case SP_PORTMAP_SEND:
            require(r->used[a.path_ix]);
            require(a.len == 2 || a.len == 12 || a.len == 24 || a.len == 60);
            require(a.path_ix < 2 || a.bytes[0] == 2);
            memcpy(r->asked[a.path_ix], a.bytes, a.len);
            r->asked_len[a.path_ix] = a.len;
            break;
        case SP_PORTMAP_MAPPED:
            require(a.external.port != 0 && a.method != SP_PORTMAP_NONE);
            r->mapped[a.path_ix][a.want_ix] = true;
            break;
        case SP_PORTMAP_LOST:
            r->mapped[a.path_ix][a.want_ix] = false;
            break;
        case SP_PORTMAP_FAILED:
            require(a.why != NULL);
            break;
        }
    }
    for (uint32_t p = 0; p < PATHS; p++) {
        for (uint32_t w = 0; w < 2; w++) {
            struct sp_portmap_grant g;
            bool is = sp_portmap_granted(&r->pm, p, w, &g);
            require(r->pm.stopping || is == r->mapped[p][w]); /* events tell the truth */
        }
    }
    require(sp_portmap_broken(&r->pm) == NULL);
}

static void wait_ns(struct run *r, sp_time_ns ns)
{
    sp_time_ns until = r->now + ns;
    for (int n = 0; sp_portmap_deadline(&r->pm) <= until && n < 500; n++) {
        sp_time_ns at = sp_portmap_deadline(&r->pm);
        r->now = at > r->now ? at : r->now;
        sp_portmap_tick(&r->pm, r->now);
        pull(r);
    }
    r->now = until > r->now ? until : r->now;
    sp_portmap_tick(&r->pm, r->now);
    pull(r);
    /* Once told the time, it does not want to be told again at once. */
    for (int n = 0; sp_portmap_deadline(&r->pm) <= r->now; n++) {
        require(n < 10);
        sp_portmap_tick(&r->pm, r->now);
        pull(r);
    }
}

/* A reply to the last request of a path: 1 + how many bytes are changed. */
static void reply(struct run *r, uint32_t path)
{
    uint8_t bytes[SP_PORTMAP_REQUEST_MAX] = {0};
    size_t len = r->asked_len[path];
    const uint8_t *q = r->asked[path];
    struct sp_addr from = gateway(path, 1);
    if (len == 0)
        return;
    memcpy(bytes, q, len);
    bytes[1] |= 0x80;
    if (q[0] == 0) {
        len = len == 2 ? 12 : 16;
        if (len == 16) {
            memcpy(bytes + 8, q + 4, 4);
            memcpy(bytes + 12, q + 8, 4);
        }
        memset(bytes + 2, 0, 6);
    } else {
        memset(bytes + 8, 0, 16);
    }
    uint32_t epoch = sp_cur_u16(&r->in);
    for (int i = 0; i < 4; i++)
        bytes[(q[0] == 0 ? 4 : 8) + i] = (uint8_t)(epoch >> (24 - 8 * i));
    for (uint8_t n = sp_cur_u8(&r->in) & 3; n; n--) {
        uint8_t at = sp_cur_u8(&r->in);
        bytes[at % len] = sp_cur_u8(&r->in);
    }
    sp_portmap_datagram(&r->pm, path, &from, (struct sp_slice){bytes, len}, r->now);
}

static void step(struct run *r, uint8_t op)
{
    uint32_t path = (op >> 4) % PATHS;
    struct sp_addr from = gateway(path, 1), local = gateway(path, 2);
    switch (op & 15) {
    case 0:
    case 1:
    case 2:
    case 3:
        reply(r, path);
        break;
    case 4:
        wait_ns(r, sp_cur_u8(&r->in) * 10 * SP_MS_NS);
        break;
    case 5:
        wait_ns(r, sp_cur_u16(&r->in) * SP_SECOND_NS);
        break;
    case 6: {
        size_t left = sp_cur_left(&r->in), n = sp_cur_u8(&r->in);
        n = n < left ? n : left ? left - 1 : 0;
        sp_portmap_datagram(&r->pm, path, &from, sp_cur_take(&r->in, n), r->now);
        break;
    }
    case 7: {
        size_t left = sp_cur_left(&r->in);
        sp_portmap_heard(&r->pm, &from, sp_cur_take(&r->in, left < 24 ? left : 24), r->now);
        break;
    }
    case 8:
        sp_portmap_refused(&r->pm, path, r->now);
        break;
    case 9:
        sp_portmap_path_gone(&r->pm, path);
        r->used[path] = false;
        break;
    case 10:
        sp_portmap_path_gone(&r->pm, path);
        pull(r);
        sp_portmap_path(&r->pm, path, &from, &local, r->now);
        r->used[path] = !r->pm.stopping;
        break;
    case 11:
        if (sp_cur_u8(&r->in) == 7)
            sp_portmap_stop(&r->pm, r->now);
        break;
    case 12: /* somebody else */
        from.ip[3] = 77;
        sp_portmap_datagram(&r->pm, path, &from,
                            (struct sp_slice){r->asked[path], r->asked_len[path]}, r->now);
        break;
    default:
        wait_ns(r, 0);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct run r = {.in = sp_cur_of((struct sp_slice){data, len}), .now = 5000 * SP_SECOND_NS};
    struct sp_portmap_cfg cfg = {
        .seed = 3,
        .wants = {{SP_PORTMAP_TCP, 6881}, {SP_PORTMAP_UDP, 6881}},
        .want_count = 2,
    };
    sp_portmap_init(&r.pm, &cfg);
    for (uint32_t p = 0; p < PATHS; p++) {
        struct sp_addr gw = gateway(p, 1), local = gateway(p, 2);
        sp_portmap_path(&r.pm, p, &gw, &local, r.now);
        r.used[p] = true;
    }
    for (int n = 0; sp_cur_left(&r.in) && n < 400; n++) {
        step(&r, sp_cur_u8(&r.in));
        pull(&r);
    }
    sp_portmap_stop(&r.pm, r.now);
    wait_ns(&r, 2 * SP_SECOND_NS);
    require(sp_portmap_idle(&r.pm)); /* the end comes, whatever they do */
    return 0;
}
