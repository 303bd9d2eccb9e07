/* A session with UDP and HTTP trackers, driven by the input: each step is one
 * byte that picks what happens, and datagrams whose transaction is right now
 * and then.  What the session promises is asserted after each step. */
#include <stdlib.h>

#include "core/base/cur.h"
#include "core/base/out.h"
#include "core/tracker/set.h"

enum { TORRENTS = 4 };

static int64_t live;

static void *get(void *ctx, size_t size)
{
    (void)ctx;
    live++;
    return calloc(1, size);
}

static void put(void *ctx, void *ptr)
{
    (void)ctx;
    live -= ptr != NULL;
    free(ptr);
}

static const struct sp_mem MEM = {get, put, NULL};

struct run {
    struct sp_trackers *t;
    struct sp_cur in;
    sp_time_ns now;
    uint32_t reqs[8], req_at; /* the last ones handed out */
    uint8_t heads[8][16];     /* of the last datagrams */
    struct sp_addr tos[8];
    uint32_t datagram_at;
};

static void require(bool claim)
{
    if (!claim)
        abort();
}

static void stats(void *ctx, uint32_t torrent, struct sp_announce_stats *ret)
{
    (void)ctx;
    *ret = (struct sp_announce_stats){.left = torrent};
}

static void pull(struct run *r)
{
    struct sp_tracker_action a;
    for (int n = 0; sp_trackers_next(r->t, &a); n++) {
        require(n < 10000);
        if (a.kind == SP_TRACKER_HTTP || a.kind == SP_TRACKER_RESOLVE) {
            require(a.req != 0);
            r->reqs[r->req_at++ % 8] = a.req;
        }
        if (a.kind == SP_TRACKER_DATAGRAM) {
            require(a.u.datagram.len >= 16 && a.u.datagram.to.port != 0);
            memcpy(r->heads[r->datagram_at % 8], a.u.datagram.bytes, 16);
            r->tos[r->datagram_at++ % 8] = a.u.datagram.to;
        }
        if (a.kind == SP_TRACKER_PEERS)
            require(a.u.peers.count > 0 && a.u.peers.count <= SP_TRACKER_PEERS_MAX);
    }
}

static void datagram(struct run *r, uint8_t arg)
{
    uint8_t packet[96] = {0};
    size_t len = sp_cur_u8(&r->in) % 64;
    struct sp_slice rest = sp_cur_take(&r->in, len);
    sp_put_be32(packet, arg >> 4 & 3);
    memcpy(packet + 4, r->heads[arg % 8] + 12, 4);
    if (rest.len > 0)
        memcpy(packet + 8, rest.ptr, rest.len);
    struct sp_addr from = r->tos[arg % 8];
    if (arg & 0x80)
        from.port ^= 1;
    bool taken = sp_trackers_datagram(r->t, &from, (struct sp_slice){packet, 8 + rest.len}, r->now);
    require(!taken || !(arg & 0x80));
}

static void resolved(struct run *r, uint8_t arg)
{
    struct sp_addr addrs[3];
    for (uint8_t i = 0; i < 3; i++) {
        uint8_t ip[16] = {0x20, 1, i};
        addrs[i] = i == 1 ? sp_addr_v6(ip, 80) : sp_addr_v4(ip, 80);
    }
    sp_trackers_resolved(r->t, r->reqs[arg % 8], addrs, arg >> 4 & 3, NULL, r->now);
}

static void add(struct run *r, uint32_t torrent)
{
    static const struct sp_tracker_url urls[] = {
        {.url = SP_LIT("udp://a:80/x")},
        {.url = SP_LIT("udp://b:80"), .tier = 1},
        {.url = SP_LIT("http://a/announce"), .tier = 1, .named_by_user = true},
        {.url = SP_LIT("wss://c/"), .tier = 2},
    };
    uint8_t hash[20] = {(uint8_t)torrent};
    (void)!sp_trackers_add(r->t, torrent, hash, torrent == 2, urls, 1 + torrent);
}

static void step(struct run *r, uint8_t what, uint8_t arg)
{
    static const uint8_t body[] = "d8:intervali60e5:peers6:abcdefe";
    uint32_t torrent = arg % TORRENTS;
    switch (what % 12) {
    case 0:
        add(r, torrent);
        break;
    case 1:
        sp_trackers_start(r->t, torrent, r->now);
        break;
    case 2:
        sp_trackers_stop(r->t, torrent, r->now);
        break;
    case 3:
        sp_trackers_completed(r->t, torrent, r->now);
        break;
    case 4:
        sp_trackers_reannounce(r->t, torrent, r->now);
        break;
    case 5:
        sp_trackers_scrape(r->t, torrent, r->now);
        break;
    case 6:
        sp_trackers_remove(r->t, torrent);
        break;
    case 7:
    case 8:
        datagram(r, arg);
        break;
    case 9:
        resolved(r, arg);
        break;
    case 10:
        sp_trackers_http_reply(r->t, r->reqs[arg % 8], 200,
                               (struct sp_slice){body, arg & 64 ? sizeof(body) - 1 : 5}, r->now);
        break;
    default:
        if (arg & 1 && sp_trackers_deadline(r->t) != SP_TIME_NEVER &&
            sp_trackers_deadline(r->t) > r->now)
            r->now = sp_trackers_deadline(r->t);
        else
            r->now += arg * SP_SECOND_NS / 4;
        sp_trackers_tick(r->t, r->now);
        require(sp_trackers_deadline(r->t) > r->now);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct sp_rng rng = sp_rng_of(1);
    struct run r = {.in = sp_cur_of((struct sp_slice){data, len}), .now = SP_SECOND_NS};
    uint8_t options = sp_cur_u8(&r.in);
    struct sp_trackers_cfg cfg = {.mem = &MEM,
                                  .rng = &rng,
                                  .stats = stats,
                                  .tiers = options % 3,
                                  .dual_stack = options & 4,
                                  .udp_max = options & 8 ? 1 : 0,
                                  .http_max = 2};
    live = 0;
    require(sp_trackers_new(&cfg, &r.t) == SP_OK);
    while (r.in.err == SP_OK && sp_cur_left(&r.in) > 0) {
        uint8_t what = sp_cur_u8(&r.in);
        step(&r, what, sp_cur_u8(&r.in));
        pull(&r);
    }
    /* Stopped and left alone, it comes to rest. */
    for (uint32_t i = 0; i < TORRENTS; i++)
        sp_trackers_stop(r.t, i, r.now);
    pull(&r);
    for (int i = 0; !sp_trackers_idle(r.t); i++) {
        require(i < 2000 && sp_trackers_deadline(r.t) != SP_TIME_NEVER);
        r.now = sp_trackers_deadline(r.t) > r.now ? sp_trackers_deadline(r.t) : r.now;
        sp_trackers_tick(r.t, r.now);
        pull(&r);
    }
    sp_trackers_free(r.t);
    require(live == 0);
    return 0;
}
