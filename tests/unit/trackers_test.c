#include "check.h"
#include "core/base/cur.h"
#include "core/base/out.h"
#include "core/tracker/set.h"
#include "torture.h"

#define S SP_SECOND_NS

/* A session and its shell: what was asked for, and the answers to it. */
struct lab {
    struct torture torture;
    struct sp_mem mem;
    struct sp_rng rng;
    struct sp_trackers *t;
    sp_time_ns now;
    uint64_t left;
    /* The last of each kind since clear(). */
    struct sp_tracker_action http[64], resolve[8], cancel[64];
    char urls[64][1024];
    uint32_t https, resolves, cancels, datagrams, peers, statuses, externals;
    uint8_t packet[200];
    struct sp_addr to;
    struct sp_addr first_peer, external;
    bool switched;
};

static void stats(void *ctx, uint32_t torrent, struct sp_announce_stats *ret)
{
    const struct lab *l = ctx;
    *ret = (struct sp_announce_stats){.uploaded = torrent, .left = l->left};
}

static void begin_with(struct lab *l, struct sp_trackers_cfg cfg, int until_failure)
{
    memset(l, 0, sizeof(*l));
    l->torture.until_failure = until_failure;
    l->mem = (struct sp_mem){torture_alloc, torture_free, &l->torture};
    l->rng = sp_rng_of(11);
    l->now = 100 * S;
    l->left = 1000;
    cfg.mem = &l->mem;
    cfg.rng = &l->rng;
    cfg.stats = stats;
    cfg.ctx = l;
    memcpy(cfg.peer_id, "-SP0001-abcdefghijkl", 20);
    if (sp_trackers_new(&cfg, &l->t) != SP_OK)
        l->t = NULL;
}

static void begin(struct lab *l)
{
    begin_with(l, (struct sp_trackers_cfg){.listen_port = 6881}, -1);
}

static void finish(struct lab *l)
{
    sp_trackers_free(l->t);
    CHECK_EQ(l->torture.live, 0);
}

static void add(struct lab *l, uint32_t torrent, const char *url)
{
    uint8_t hash[20] = {(uint8_t)torrent, (uint8_t)(torrent >> 8)};
    struct sp_tracker_url u = {.url = {(const uint8_t *)url, strlen(url)}};
    CHECK_EQ(sp_trackers_add(l->t, torrent, hash, false, &u, url[0] != '\0'), SP_OK);
}

static void pull(struct lab *l)
{
    struct sp_tracker_action a;
    l->https = l->resolves = l->cancels = l->datagrams = l->peers = l->statuses = 0;
    while (sp_trackers_next(l->t, &a)) {
        if (a.kind == SP_TRACKER_HTTP && l->https < 64) {
            size_t len = strlen(a.u.http.url);
            CHECK(len < sizeof(l->urls[0]));
            memcpy(l->urls[l->https], a.u.http.url, len < 1023 ? len + 1 : 0);
            l->http[l->https++] = a;
        } else if (a.kind == SP_TRACKER_RESOLVE && l->resolves < 8) {
            l->resolve[l->resolves++] = a;
        } else if (a.kind == SP_TRACKER_CANCEL && l->cancels < 64) {
            l->cancel[l->cancels++] = a;
        } else if (a.kind == SP_TRACKER_DATAGRAM) {
            size_t n = a.u.datagram.len < 200 ? a.u.datagram.len : 200;
            memcpy(l->packet, a.u.datagram.bytes, n);
            l->to = a.u.datagram.to;
            l->datagrams++;
        } else if (a.kind == SP_TRACKER_PEERS) {
            l->peers += a.u.peers.count;
            l->first_peer = a.u.peers.addrs[0];
            l->switched = a.u.peers.switched;
        } else if (a.kind == SP_TRACKER_EXTERNAL_IP) {
            l->externals++;
            l->external = a.u.external_ip;
        } else if (a.kind == SP_TRACKER_STATUS) {
            l->statuses++;
        }
    }
}

static void reply(struct lab *l, uint32_t req, const char *body)
{
    sp_trackers_http_reply(l->t, req, 200, (struct sp_slice){(const uint8_t *)body, strlen(body)},
                           l->now);
    pull(l);
}

static void tick_to(struct lab *l, sp_time_ns at)
{
    l->now = at;
    sp_trackers_tick(l->t, at);
    pull(l);
}

static struct sp_tracker_info info(struct lab *l, uint32_t torrent, uint32_t ix)
{
    struct sp_tracker_info i = {0};
    CHECK(sp_trackers_info_at(l->t, torrent, ix, &i));
    return i;
}

#define OK_REPLY "d8:completei3e10:incompletei4e8:intervali1800e5:peers6:abcdefe"

TEST(life_over_http)
{
    struct lab l;
    begin(&l);
    add(&l, 7, "http://t/announce");
    CHECK_EQ(info(&l, 7, 0).state, SP_TRACKER_IDLE);
    sp_trackers_start(l.t, 7, l.now);
    sp_trackers_start(l.t, 7, l.now);
    pull(&l);
    CHECK_EQ(l.https, 1);
    CHECK(strstr(l.urls[0], "&uploaded=7&") && strstr(l.urls[0], "&event=started&numwant=200&"));
    CHECK_EQ(l.http[0].torrent, 7);
    CHECK_EQ(l.http[0].u.http.timeout_at, l.now + 30 * S);
    CHECK_EQ(l.http[0].u.http.family, SP_FAMILY_NONE);
    CHECK(!l.http[0].u.http.stopping && !sp_trackers_idle(l.t));
    CHECK_EQ(info(&l, 7, 0).state, SP_TRACKER_ANNOUNCING);
    l.now += S;
    reply(&l, l.http[0].req, OK_REPLY);
    CHECK_EQ(l.peers, 1);
    CHECK_EQ(l.first_peer.port, 'e' << 8 | 'f');
    CHECK(sp_trackers_idle(l.t));
    struct sp_tracker_info i = info(&l, 7, 0);
    CHECK_EQ(i.state, SP_TRACKER_OK);
    CHECK(i.seeds == 3 && i.leechers == 4 && i.peers_got == 1);
    CHECK(i.next_announce_at >= l.now + 1800 * S && i.last_announce_at == l.now);
    CHECK_EQ(sp_trackers_deadline(l.t), i.next_announce_at);
    reply(&l, l.http[0].req, OK_REPLY); /* twice: ignored */
    CHECK_EQ(l.peers, 0);
    l.left = 0;
    sp_trackers_completed(l.t, 7, l.now);
    pull(&l);
    CHECK(l.https == 1 && strstr(l.urls[0], "&event=completed&numwant=50&"));
    reply(&l, l.http[0].req, OK_REPLY);
    tick_to(&l, sp_trackers_deadline(l.t));
    CHECK(l.https == 1 && !strstr(l.urls[0], "&event="));
    sp_trackers_stop(l.t, 7, l.now);
    pull(&l);
    CHECK_EQ(l.cancels, 1);
    CHECK(l.https == 1 && strstr(l.urls[0], "&event=stopped&numwant=0&"));
    CHECK(l.http[0].u.http.stopping);
    CHECK_EQ(l.http[0].u.http.timeout_at, l.now + 5 * S);
    reply(&l, l.http[0].req, "d8:intervali1ee");
    CHECK(sp_trackers_idle(l.t));
    CHECK_EQ(sp_trackers_deadline(l.t), SP_TIME_NEVER);
    finish(&l);
}

TEST(stop_tells_only_who_was_told_of_start)
{
    struct lab l;
    begin(&l);
    add(&l, 1, "http://t/announce");
    sp_trackers_start(l.t, 1, l.now);
    sp_trackers_stop(l.t, 1, l.now); /* nothing was handed out */
    pull(&l);
    CHECK_EQ(l.https, 0);
    CHECK(sp_trackers_idle(l.t));
    sp_trackers_start(l.t, 1, l.now);
    pull(&l);
    sp_trackers_stop(l.t, 1, l.now); /* it may have arrived */
    pull(&l);
    CHECK(l.https == 1 && l.cancels == 1 && l.http[0].u.http.stopping);
    tick_to(&l, l.now + 5 * S); /* dead: the exit waits no longer */
    CHECK(sp_trackers_idle(l.t));
    CHECK_EQ(l.cancels, 1);
    finish(&l);
}

TEST(who_leaves_tells_so_and_is_forgotten)
{
    struct lab l;
    begin(&l);
    add(&l, 7, "http://t/announce");
    sp_trackers_start(l.t, 7, l.now);
    pull(&l);
    reply(&l, l.http[0].req, OK_REPLY);
    l.left = 55;
    sp_trackers_leave(l.t, 7, l.now);
    l.left = 99; /* of nobody any more */
    pull(&l);
    CHECK(l.https == 1 && strstr(l.urls[0], "&left=55&") && strstr(l.urls[0], "&event=stopped&"));
    CHECK(!sp_trackers_idle(l.t));
    struct sp_tracker_info i;
    CHECK(!sp_trackers_info_at(l.t, 7, 0, &i));
    CHECK_EQ(l.t->torrents.count, 1);
    reply(&l, l.http[0].req, OK_REPLY);
    CHECK_EQ(l.peers, 0);
    CHECK(sp_trackers_idle(l.t));
    CHECK_EQ(l.t->torrents.count, 0);
    CHECK_EQ(l.t->urls.count, 0);
    finish(&l);
}

TEST(who_leaves_waits_for_a_dead_tracker_no_longer_than_others)
{
    struct lab l;
    begin(&l);
    add(&l, 7, "http://t/announce");
    sp_trackers_start(l.t, 7, l.now);
    pull(&l);
    sp_trackers_leave(l.t, 7, l.now); /* "started" may have arrived */
    pull(&l);
    CHECK(l.cancels == 1 && l.https == 1 && strstr(l.urls[0], "&event=stopped&"));
    tick_to(&l, l.now + 5 * S);
    CHECK_EQ(l.t->torrents.count, 0);
    add(&l, 7, "http://t/announce"); /* never started: nothing to tell */
    sp_trackers_leave(l.t, 7, l.now);
    CHECK_EQ(l.t->torrents.count, 0);
    finish(&l);
}

TEST(who_comes_back_is_not_signed_off)
{
    struct lab l;
    begin(&l);
    add(&l, 7, "http://t/announce");
    sp_trackers_start(l.t, 7, l.now);
    pull(&l);
    reply(&l, l.http[0].req, OK_REPLY);
    sp_trackers_leave(l.t, 7, l.now);
    pull(&l);
    CHECK_EQ(l.https, 1);
    add(&l, 7, "http://t/announce");
    pull(&l);
    CHECK_EQ(l.cancels, 1);
    sp_trackers_start(l.t, 7, l.now);
    pull(&l);
    CHECK(l.https == 1 && strstr(l.urls[0], "&event=started&"));
    CHECK_EQ(l.t->torrents.count, 1);
    sp_trackers_leave(l.t, 7, l.now); /* and the set may go at any time */
    finish(&l);
}

TEST(failures_are_shown)
{
    static const struct {
        int status;
        const char *body, *message;
        int state;
    } cases[] = {
        {404, "<html>", "answered HTTP 404", SP_TRACKER_FAILING},
        {200, "<html>", "answered with HTML instead of a tracker reply", SP_TRACKER_FAILING},
        {403, "d14:failure reason6:go\naway\x01e", "", SP_TRACKER_FAILING},
        {400, "d14:failure reason7:go\naway8:retry in5:nevere", "go away", SP_TRACKER_DISABLED},
        {200,
         "d14:failure reason3:\xff\xc3\xa9"
         "e",
         "?\xc3\xa9", SP_TRACKER_FAILING},
        {200,
         "d8:intervali9e5:peers0:15:warning message3:slow"
         "e",
         "", SP_TRACKER_FAILING},
        {200, "d8:intervali9e5:peers0:15:warning message4:slowe", "slow", SP_TRACKER_OK},
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        struct lab l;
        begin(&l);
        add(&l, 1, "http://t/announce");
        sp_trackers_start(l.t, 1, l.now);
        pull(&l);
        sp_trackers_http_reply(
            l.t, l.http[0].req, cases[i].status,
            (struct sp_slice){(const uint8_t *)cases[i].body, strlen(cases[i].body)}, l.now);
        CHECK_EQ(info(&l, 1, 0).state, cases[i].state);
        if (cases[i].message[0])
            CHECK(strcmp(info(&l, 1, 0).message, cases[i].message) == 0);
        pull(&l);
        CHECK(l.statuses == 1);
        finish(&l);
    }
}

TEST(unusable_urls_are_shown)
{
    struct lab l;
    begin(&l);
    add(&l, 1, "wss://t/");
    add(&l, 2, "udp://t/announce");
    add(&l, 3, "");
    sp_trackers_start(l.t, 1, l.now);
    sp_trackers_start(l.t, 2, l.now);
    sp_trackers_scrape(l.t, 1, l.now);
    pull(&l);
    CHECK_EQ(l.https + l.resolves, 0);
    CHECK_EQ(info(&l, 1, 0).state, SP_TRACKER_UNSUPPORTED);
    CHECK(strcmp(info(&l, 2, 0).message, "the address has no valid port") == 0);
    struct sp_tracker_info i;
    CHECK(!sp_trackers_info_at(l.t, 3, 0, &i) && !sp_trackers_info_at(l.t, 9, 0, &i));
    static char longest[SP_TRACKER_URL_MAX + 2] = "http://t/";
    memset(longest + 9, 'a', sizeof(longest) - 10);
    struct sp_tracker_url u = {.url = {(uint8_t *)longest, SP_TRACKER_URL_MAX + 1}};
    CHECK_EQ(sp_trackers_add_url(l.t, 3, &u, l.now), SP_EDATA);
    u.url.len--;
    CHECK_EQ(sp_trackers_add_url(l.t, 3, &u, l.now), SP_OK);
    CHECK_EQ(sp_trackers_add_url(l.t, 3, &u, l.now), SP_EEXIST);
    CHECK_EQ(sp_trackers_add_url(l.t, 4, &u, l.now), SP_ENOENT);
    CHECK_EQ(sp_trackers_add(l.t, 3, (const uint8_t *)longest, false, NULL, 0), SP_EEXIST);
    finish(&l);
}

static void resolve_with(struct lab *l, bool v6)
{
    struct sp_addr a[2] = {sp_addr_v4((const uint8_t *)"\x0a\0\0\1", 80)};
    a[1] = sp_addr_v6((const uint8_t *)"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1", 80);
    sp_trackers_resolved(l->t, l->resolve[0].req, a, v6 ? 2 : 1, NULL, l->now);
    pull(l);
}

static void udp_answer(struct lab *l, uint32_t action, const void *rest, size_t len)
{
    uint8_t p[200];
    sp_put_be32(p, action);
    memcpy(p + 4, l->packet + 12, 4);
    memcpy(p + 8, rest, len);
    CHECK(sp_trackers_datagram(l->t, &l->to, (struct sp_slice){p, 8 + len}, l->now));
    pull(l);
}

TEST(life_over_udp)
{
    struct lab l;
    begin(&l);
    add(&l, 1, "udp://Tracker.example:80/a?k=1");
    add(&l, 2, "udp://tracker.example:80/b");
    sp_trackers_start(l.t, 1, l.now);
    sp_trackers_start(l.t, 2, l.now);
    pull(&l);
    CHECK_EQ(l.resolves, 1); /* once for both */
    CHECK(strcmp(l.resolve[0].u.resolve.host, "tracker.example") == 0);
    resolve_with(&l, false);
    CHECK_EQ(l.datagrams, 1); /* one connect for both */
    CHECK_EQ(sp_be32(l.packet + 8), 0);
    udp_answer(&l, 0, "idididid", 8);
    CHECK_EQ(l.datagrams, 2);
    CHECK_EQ(sp_be32(l.packet + 80), 2);
    CHECK(memcmp(l.packet + 98, "\2\2/b\0", 5) == 0);
    udp_answer(&l, 1, "\0\0\7\x08\0\0\0\1\0\0\0\2\1\2\3\4\0\5", 18);
    CHECK_EQ(l.peers, 1);
    CHECK_EQ(info(&l, 2, 0).state, SP_TRACKER_OK);
    CHECK_EQ(info(&l, 2, 0).seeds, 2);
    CHECK_EQ(info(&l, 1, 0).state, SP_TRACKER_ANNOUNCING);
    for (int i = 0; i < 4 && info(&l, 1, 0).state == SP_TRACKER_ANNOUNCING; i++)
        tick_to(&l, sp_trackers_deadline(l.t));
    CHECK_EQ(info(&l, 1, 0).state, SP_TRACKER_FAILING);
    CHECK(strcmp(info(&l, 1, 0).message, "no answer") == 0);
    sp_trackers_scrape(l.t, 1, l.now);
    sp_trackers_scrape(l.t, 2, l.now);
    sp_trackers_scrape(l.t, 2, l.now);
    pull(&l);
    finish(&l);
}

TEST(udp_scrapes_go_together)
{
    struct lab l;
    begin_with(&l, (struct sp_trackers_cfg){.host_rate = 1}, -1);
    for (uint32_t i = 0; i < 100; i++) {
        add(&l, i, "udp://t:80");
        sp_trackers_scrape(l.t, i, l.now);
    }
    pull(&l);
    resolve_with(&l, false);
    udp_answer(&l, 0, "idididid", 8);
    CHECK_EQ(l.datagrams, 2); /* the first two, each alone */
    tick_to(&l, l.now + S);
    CHECK_EQ(l.datagrams, 1);
    CHECK_EQ(l.t->item_count, 100 - 2 - 74);
    sp_trackers_remove(l.t, 5);
    CHECK_EQ(info(&l, 6, 0).seeds, UINT32_MAX);
    uint8_t sizes[150] = {0};
    sizes[4 * 12 + 3] = 9; /* of torrent 6 */
    udp_answer(&l, 2, sizes, sizeof(sizes));
    CHECK_EQ(info(&l, 6, 0).seeds, 9);
    finish(&l);
}

TEST(both_families_are_announced_to)
{
    struct lab l;
    begin_with(&l, (struct sp_trackers_cfg){.dual_stack = true}, -1);
    add(&l, 1, "http://t/announce");
    sp_trackers_start(l.t, 1, l.now);
    pull(&l);
    CHECK_EQ(l.https, 2);
    CHECK(l.http[0].u.http.family == SP_V4 && l.http[1].u.http.family == SP_V6);
    uint32_t v6 = l.http[1].req;
    reply(&l, l.http[0].req, OK_REPLY);
    CHECK_EQ(l.peers, 1);
    CHECK_EQ(info(&l, 1, 0).state, SP_TRACKER_ANNOUNCING);
    sp_trackers_http_failed(l.t, v6, "no route", l.now);
    CHECK_EQ(info(&l, 1, 0).state, SP_TRACKER_OK);
    tick_to(&l, sp_trackers_deadline(l.t));
    CHECK_EQ(l.https, 1); /* the other one rests */
    finish(&l);

    begin_with(&l, (struct sp_trackers_cfg){.dual_stack = true}, -1);
    add(&l, 1, "udp://t:80");
    sp_trackers_start(l.t, 1, l.now);
    pull(&l);
    resolve_with(&l, true);
    CHECK_EQ(l.datagrams, 2);
    finish(&l);
}

TEST(private_torrents_change_trackers)
{
    struct lab l;
    begin(&l);
    struct sp_tracker_url urls[2] = {{.url = SP_LIT("http://a/announce")},
                                     {.url = SP_LIT("http://b/announce"), .tier = 1}};
    uint8_t hash[20] = {0};
    CHECK_EQ(sp_trackers_add(l.t, 1, hash, true, urls, 2), SP_OK);
    sp_trackers_start(l.t, 1, l.now);
    pull(&l);
    CHECK_EQ(l.https, 1);
    reply(&l, l.http[0].req, OK_REPLY);
    CHECK(!l.switched);
    tick_to(&l, sp_trackers_deadline(l.t));
    sp_trackers_http_failed(l.t, l.http[0].req, "refused", l.now);
    pull(&l);
    CHECK(l.https == 1 && strncmp(l.urls[0], "http://b/", 9) == 0);
    reply(&l, l.http[0].req, OK_REPLY);
    CHECK(l.peers == 1 && l.switched);
    finish(&l);
}

TEST(no_storm_and_users_first)
{
    struct lab l;
    begin_with(&l, (struct sp_trackers_cfg){.per_host_max = 3, .host_rate = 10}, -1);
    uint32_t total = 0;
    for (uint32_t i = 0; i < 60; i++) {
        add(&l, i, "http://busy/announce");
        sp_trackers_start(l.t, i, l.now);
    }
    add(&l, 1000, "http://other/announce");
    sp_trackers_start(l.t, 1000, l.now);
    pull(&l);
    CHECK_EQ(l.https, 4); /* three and the other host's */
    sp_trackers_reannounce(l.t, 50, l.now);
    pull(&l);
    CHECK_EQ(l.https, 1);
    CHECK_EQ(l.http[0].torrent, 50);
    finish(&l);

    begin_with(&l, (struct sp_trackers_cfg){.per_host_max = 64, .host_rate = 10}, -1);
    for (uint32_t i = 0; i < 60; i++) {
        add(&l, i, "http://busy/announce");
        sp_trackers_start(l.t, i, l.now);
    }
    pull(&l);
    CHECK(l.https >= 10 && l.https <= 11); /* a second's worth at once */
    total = l.https;
    for (int i = 1; i <= 30 && total < 60; i++) {
        tick_to(&l, l.now + S / 10);
        CHECK(l.https <= 1 || total + l.https > 60);
        total += l.https;
    }
    CHECK(total >= 40);
    finish(&l);
}

TEST(total_is_bounded_and_hosts_take_turns)
{
    struct lab l;
    begin_with(&l, (struct sp_trackers_cfg){.http_max = 4}, -1);
    for (uint32_t i = 0; i < 20; i++) {
        add(&l, i, i < 15 ? "http://a/announce" : "http://b/announce");
        sp_trackers_start(l.t, i, l.now);
    }
    pull(&l);
    CHECK_EQ(l.https, 4);
    uint32_t of_b = 0;
    for (int round = 0; round < 6; round++) {
        reply(&l, l.http[0].req, OK_REPLY);
        CHECK_EQ(l.https, 1);
        of_b += strncmp(l.urls[0], "http://b/", 9) == 0;
    }
    CHECK(of_b >= 2);
    finish(&l);
}

TEST(external_ip_is_told_when_it_changes)
{
    struct lab l;
    begin(&l);
    for (uint32_t i = 0; i < 3; i++) {
        add(&l, i, "http://t/announce");
        sp_trackers_start(l.t, i, l.now);
        pull(&l);
        reply(&l, l.http[0].req,
              i < 2 ? "d11:external ip4:\x08\x08\x08\x08"
                      "8:intervali60ee"
                    : "d11:external ip4:\x08\x08\x08\x09"
                      "8:intervali60ee");
    }
    CHECK_EQ(l.externals, 2);
    CHECK_EQ(l.external.ip[3], 9);
    finish(&l);
}

TEST(tracker_id_is_given_back)
{
    struct lab l;
    begin(&l);
    add(&l, 1, "http://t/announce");
    sp_trackers_start(l.t, 1, l.now);
    pull(&l);
    reply(&l, l.http[0].req, "d8:intervali60e10:tracker id3:a/be");
    tick_to(&l, sp_trackers_deadline(l.t));
    CHECK(l.https == 1 && strstr(l.urls[0], "&trackerid=a%2Fb"));
    finish(&l);
}

TEST(scrape_over_http)
{
    struct lab l;
    begin(&l);
    add(&l, 1, "http://t/announce?k=1");
    add(&l, 2, "http://t/x");
    sp_trackers_scrape(l.t, 1, l.now);
    sp_trackers_scrape(l.t, 1, l.now);
    sp_trackers_scrape(l.t, 2, l.now);
    pull(&l);
    CHECK_EQ(l.https, 1);
    CHECK(strncmp(l.urls[0], "http://t/scrape?k=1&info_hash=%01%00", 36) == 0);
    uint8_t body[] = "d5:filesd20:____________________d8:completei9eeee";
    memset(body + 12, 0, 20);
    body[12] = 1;
    sp_trackers_http_reply(l.t, l.http[0].req, 200, (struct sp_slice){body, sizeof(body) - 1},
                           l.now);
    CHECK_EQ(info(&l, 1, 0).seeds, 9);
    CHECK_EQ(info(&l, 1, 0).state, SP_TRACKER_IDLE);
    finish(&l);
}

TEST(remove_forgets_at_once)
{
    struct lab l;
    begin(&l);
    add(&l, 1, "http://t/announce");
    add(&l, 2, "udp://t:1");
    sp_trackers_start(l.t, 1, l.now);
    sp_trackers_start(l.t, 2, l.now);
    pull(&l);
    sp_trackers_remove(l.t, 1);
    sp_trackers_remove(l.t, 2);
    sp_trackers_remove(l.t, 2);
    uint32_t req = l.http[0].req;
    pull(&l);
    CHECK_EQ(l.cancels, 2);
    CHECK(sp_trackers_idle(l.t));
    CHECK_EQ(sp_trackers_deadline(l.t), SP_TIME_NEVER);
    reply(&l, req, OK_REPLY);
    resolve_with(&l, true);
    CHECK_EQ(l.datagrams + l.peers + l.statuses, 0);
    CHECK_EQ(l.t->hosts.count + l.t->urls.count, 0);
    finish(&l);
}

TEST(unresolved_host_is_not_asked_for_again_at_once)
{
    struct lab l;
    begin(&l);
    for (uint32_t i = 0; i < 2; i++) {
        add(&l, i, "udp://t:1");
        sp_trackers_start(l.t, i, l.now);
        pull(&l);
        CHECK_EQ(l.resolves, i == 0);
        if (i == 0)
            sp_trackers_resolved(l.t, l.resolve[0].req, NULL, 0, NULL, l.now);
        CHECK_EQ(info(&l, i, 0).state, SP_TRACKER_FAILING);
        CHECK(strcmp(info(&l, i, 0).message, "host not found") == 0);
    }
    finish(&l);
}

TEST(an_old_answer_is_not_taken_for_a_new_request)
{
    struct lab l;
    begin(&l);
    add(&l, 1, "http://t/announce");
    sp_trackers_start(l.t, 1, l.now);
    pull(&l);
    uint32_t old = l.http[0].req;
    sp_trackers_remove(l.t, 1);
    pull(&l);
    add(&l, 2, "http://t/announce");
    sp_trackers_start(l.t, 2, l.now);
    pull(&l);
    CHECK(l.https == 1 && l.http[0].req != old);
    reply(&l, old, OK_REPLY);
    CHECK_EQ(info(&l, 2, 0).state, SP_TRACKER_ANNOUNCING);
    CHECK_EQ(l.peers, 0);
    finish(&l);
}

/* Whatever allocation fails, the set goes on, and all memory comes back. */
TEST(each_allocation_fails_once)
{
    int n = 0;
    for (bool reached = true; reached; n++) {
        struct lab l;
        struct sp_tracker_url urls[3] = {{.url = SP_LIT("http://a/announce")},
                                         {.url = SP_LIT("udp://b:1/x"), .tier = 1},
                                         {.url = SP_LIT("wss://c"), .tier = 2}};
        uint8_t hash[20] = {1};
        begin_with(&l, (struct sp_trackers_cfg){.dual_stack = true}, n);
        if (l.t && sp_trackers_add(l.t, 1, hash, false, urls, 3) == SP_OK) {
            sp_trackers_start(l.t, 1, l.now);
            sp_trackers_scrape(l.t, 1, l.now);
            pull(&l);
            for (uint32_t i = 0, count = l.https; i < count; i++)
                sp_trackers_http_reply(l.t, l.http[i].req, 200,
                                       SP_LIT("d8:intervali1e5:peers6:abcdef10:tracker id1:x"
                                              "15:warning message1:we"),
                                       l.now);
            if (l.resolves)
                resolve_with(&l, true);
            if (l.datagrams)
                udp_answer(&l, 0, "idididid", 8);
            for (int i = 0; i < 20 && sp_trackers_deadline(l.t) != SP_TIME_NEVER; i++)
                tick_to(&l, sp_trackers_deadline(l.t));
            sp_trackers_stop(l.t, 1, l.now);
            pull(&l);
        }
        reached = l.torture.until_failure < 0;
        finish(&l);
    }
    CHECK(n > 20);
}

TEST(a_tracker_of_a_torrent_is_small)
{
    struct lab l;
    begin(&l);
    CHECK(sizeof(struct tracker) <= 300);
    for (uint32_t i = 0; i < 500; i++)
        add(&l, i, "http://t/announce?passkey=0123456789abcdef");
    CHECK_EQ(l.t->urls.count, 1);
    CHECK_EQ(l.t->hosts.count, 1);
    finish(&l);
}

int main(void)
{
    return check_run();
}
