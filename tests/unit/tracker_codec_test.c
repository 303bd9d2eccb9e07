#include "check.h"
#include "core/tracker/http.h"
#include "core/tracker/udp_codec.h"
#include "core/tracker/url.h"
#include "edge.h"
#include "torture.h"

static struct torture plain = {.until_failure = -1};
static const struct sp_mem MEM = {torture_alloc, torture_free, &plain};

static struct sp_slice str(const char *s)
{
    return (struct sp_slice){(const uint8_t *)s, strlen(s)};
}

static bool is(struct sp_slice s, const char *want)
{
    return s.len == strlen(want) && (s.len == 0 || memcmp(s.ptr, want, s.len) == 0);
}

/* -- URLs -- */

static const struct {
    const char *text;
    int scheme; /* -1: refused */
    const char *host;
    uint16_t port;
    const char *target;
} urls[] = {
    {"http://t.example/announce", SP_URL_HTTP, "t.example", 80, "/announce"},
    {"HTTP://T.example:6969/announce?k=1#f", SP_URL_HTTP, "T.example", 6969, "/announce?k=1"},
    {"https://u:p@t.example/a", SP_URL_HTTPS, "t.example", 443, "/a"},
    {"http://a@b@c/x", SP_URL_HTTP, "c", 80, "/x"},
    {"udp://tracker.example.com:80/dir?a=b&c=d", SP_URL_UDP, "tracker.example.com", 80,
     "/dir?a=b&c=d"},
    {"udp://t.example:1337", SP_URL_UDP, "t.example", 1337, ""},
    {"udp://[2001:db8::1]:80/announce", SP_URL_UDP, "2001:db8::1", 80, "/announce"},
    {"http://[::1]/announce", SP_URL_HTTP, "::1", 80, "/announce"},
    {"http://h?x", SP_URL_HTTP, "h", 80, "?x"},
    {"wss://t.example:443/", SP_URL_OTHER, "t.example", 443, "/"},
    {"udp://t.example/announce", -1, NULL, 0, NULL}, /* no port */
    {"udp://t.example:0/announce", -1, NULL, 0, NULL},
    {"udp://t.example:65536/", -1, NULL, 0, NULL},
    {"udp://t.example:8x/", -1, NULL, 0, NULL},
    {"http://", -1, NULL, 0, NULL},
    {"http:///announce", -1, NULL, 0, NULL},
    {"http:/t.example", -1, NULL, 0, NULL},
    {"://t.example", -1, NULL, 0, NULL},
    {"t.example/announce", -1, NULL, 0, NULL},
    {"http://[::1/announce", -1, NULL, 0, NULL},
    {"http://[1.2.3.4]/announce", -1, NULL, 0, NULL},
    {"http://[::1]x/announce", -1, NULL, 0, NULL},
    {"http://a b/announce", -1, NULL, 0, NULL},
    {"http://a%20b/announce", -1, NULL, 0, NULL},
    {"http://a/ann\nounce", -1, NULL, 0, NULL},
    {"", -1, NULL, 0, NULL},
};

TEST(url_is_taken_apart)
{
    for (size_t i = 0; i < SP_COUNT(urls); i++) {
        struct sp_url u = {0};
        const char *why;
        enum sp_err err = sp_url_parse(edge(urls[i].text, strlen(urls[i].text)), &u, &why);
        CHECK_EQ(err, urls[i].scheme < 0 ? SP_EDATA : SP_OK);
        if (err != SP_OK || urls[i].scheme < 0) {
            if (err == SP_OK)
                printf("# taken: %s\n", urls[i].text);
            continue;
        }
        CHECK_EQ(u.scheme, urls[i].scheme);
        CHECK(is(u.host, urls[i].host));
        CHECK_EQ(u.port, urls[i].port);
        CHECK(is(u.target, urls[i].target));
        for (size_t len = 0; len < strlen(urls[i].text); len++)
            (void)!sp_url_parse(edge(urls[i].text, len), &u, &why);
    }
}

static struct sp_announce announce(void)
{
    struct sp_announce a = {.key = 0x0badcafe,
                            .numwant = 50,
                            .port = 6881,
                            .event = SP_EVENT_STARTED,
                            .stats = {.uploaded = 1, .downloaded = 2, .left = 3, .corrupt = 4}};
    memcpy(a.info_hash, "\x00\x12~aZ-._ /%\xff+&?=#\x7f!q", 20);
    memcpy(a.peer_id, "-SP0001-abcdefghijkl", 20);
    return a;
}

static const char *built(const char *url, const struct sp_announce *a)
{
    static char buf[4096];
    struct sp_out o = sp_out_of((uint8_t *)buf, sizeof(buf) - 1);
    sp_http_announce_url(&o, str(url), a);
    buf[o.len] = '\0';
    return buf;
}

#define QUERY                                                                                      \
    "info_hash=%00%12~aZ-._%20%2F%25%FF%2B%26%3F%3D%23%7F%21q&peer_id=-SP0001-abcdefghijkl"        \
    "&port=6881&uploaded=1&downloaded=2&left=3&corrupt=4&key=0badcafe"

TEST(announce_url_is_built)
{
    struct sp_announce a = announce();
    CHECK(strcmp(built("http://t/announce", &a),
                 "http://t/announce?" QUERY
                 "&event=started&numwant=50&compact=1&no_peer_id=1") == 0);
    a.event = SP_EVENT_NONE;
    a.support_crypto = true;
    a.tracker_id = str("i d");
    a.announce_ip = sp_addr_v6((const uint8_t *)"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1", 9);
    CHECK(strcmp(built("http://t/a?passkey=x y#f", &a),
                 "http://t/a?passkey=x%20y&" QUERY "&numwant=50&compact=1&no_peer_id=1"
                 "&supportcrypto=1&ip=2001%3Adb8%3A%3A1&trackerid=i%20d") == 0);
    CHECK(strncmp(built("http://t/a?p&", &a), "http://t/a?p&info_hash=", 23) == 0);
    CHECK(strncmp(built("http://t/a?", &a), "http://t/a?info_hash=", 21) == 0);
    a.event = SP_EVENT_PAUSED;
    CHECK(strstr(built("http://t/a", &a), "&event=paused&") != NULL);
    a.event = SP_EVENT_STOPPED;
    a.stats.left = UINT64_MAX;
    CHECK(strstr(built("http://t/a", &a), "&left=16384&") != NULL);
}

static const struct {
    const char *url, *scrape; /* NULL: there is none */
} scrapes[] = {
    {"http://example.com/announce", "http://example.com/scrape?"},
    {"http://example.com/x/announce", "http://example.com/x/scrape?"},
    {"http://example.com/announce.php", "http://example.com/scrape.php?"},
    {"http://example.com/a", NULL},
    {"http://example.com/announce?x2%0644", "http://example.com/scrape?x2%0644&"},
    {"http://example.com/announce?x=2/4", "http://example.com/scrape?x=2/4&"},
    {"http://example.com/x%064announce", NULL},
    {"http://example.com/announce/x", NULL},
    {"http://announce", NULL},
    {"http://example.com/?/announce", NULL},
    {"http://example.com/announc", NULL},
};

TEST(scrape_url_follows_the_rule)
{
    static const uint8_t hashes[41] = "xxxxxxxxxxxxxxxxxxxxyyyyyyyyyyyyyyyyyyyy";
    for (size_t i = 0; i < SP_COUNT(scrapes); i++) {
        char buf[256], want[256];
        struct sp_out o = sp_out_of((uint8_t *)buf, sizeof(buf));
        CHECK_EQ(sp_http_can_scrape(edge(scrapes[i].url, strlen(scrapes[i].url))),
                 scrapes[i].scrape != NULL);
        sp_http_scrape_url(&o, str(scrapes[i].url), hashes, 2);
        int n = scrapes[i].scrape
                    ? snprintf(want, sizeof(want), "%sinfo_hash=%.20s&info_hash=%.20s",
                               scrapes[i].scrape, (const char *)hashes, (const char *)hashes + 20)
                    : 0;
        CHECK_EQ(o.len, n);
        CHECK(memcmp(buf, want, (size_t)n) == 0);
    }
}

/* -- HTTP replies -- */

static struct sp_addr peers[SP_TRACKER_PEERS_MAX];

static struct sp_announce_reply read_reply(const void *bytes, size_t len, uint32_t cap)
{
    struct sp_announce_reply r = {0};
    CHECK_EQ(sp_http_announce_parse(&MEM, edge(bytes, len), peers, cap, &r), SP_OK);
    return r;
}

#define READ(lit) read_reply(lit, sizeof(lit) - 1, SP_TRACKER_PEERS_MAX)

TEST(http_reply_compact)
{
    /* BEP-0007's example. */
    struct sp_announce_reply r =
        READ("d8:intervali1800e5:peers6:iiiipp6:peers618:iiiiiiiiiiiiiiiippe");
    CHECK(!r.failed);
    CHECK_EQ(r.interval_s, 1800);
    CHECK_EQ(r.min_interval_s, 0);
    CHECK_EQ(r.peer_count, 2);
    CHECK_EQ(peers[0].family, SP_V4);
    CHECK_EQ(peers[0].port, 'p' << 8 | 'p');
    CHECK_EQ(peers[1].family, SP_V6);
    CHECK_EQ(r.swarm.seeds, SP_SWARM_UNKNOWN);

    r = READ("d8:completei5e10:downloadedi7e11:external ip4:\x08\x08\x04\x04"
             "10:incompletei6e8:intervali900e12:min intervali300e5:peers7:\1\2\3\4\0\5x"
             "10:tracker id3:abc15:warning message4:slowe");
    CHECK(!r.failed);
    CHECK_EQ(r.swarm.seeds, 5);
    CHECK_EQ(r.swarm.leechers, 6);
    CHECK_EQ(r.swarm.downloaded, 7);
    CHECK_EQ(r.min_interval_s, 300);
    CHECK_EQ(r.peer_count, 1);
    CHECK_EQ(r.external_ip.family, SP_V4);
    CHECK_EQ(r.external_ip.ip[3], 4);
    CHECK(is(r.tracker_id, "abc"));
    CHECK(is(r.warning, "slow"));
}

TEST(http_reply_dictionaries_and_bad_peers)
{
    struct sp_announce_reply r = READ("d8:intervali60e5:peersl"
                                      "d2:ip7:1.2.3.47:peer id20:aaaaaaaaaaaaaaaaaaaa4:porti6881ee"
                                      "d2:ip3:::14:porti1ee"
                                      "d2:ip9:localhost4:porti1ee"
                                      "d2:ip7:1.2.3.44:porti0ee"
                                      "d2:ip7:1.2.3.44:porti65536ee"
                                      "d2:ip7:1.2.3.4ei7e0:"
                                      "ee");
    CHECK(!r.failed);
    CHECK_EQ(r.peer_count, 2);
    CHECK_EQ(peers[0].port, 6881);
    CHECK_EQ(peers[1].family, SP_V6);
    /* port 0 and more than asked for */
    r = read_reply("d5:peers18:\1\1\1\1\0\0\2\2\2\2\0\2\3\3\3\3\0\3e", 30, 1);
    CHECK_EQ(r.peer_count, 1);
    CHECK_EQ(peers[0].port, 2);
}

static const struct {
    const char *body, *failure;
    int retry;
    uint32_t retry_s;
} failures[] = {
    {"d14:failure reason10:Overloaded8:retry in1:5e", "Overloaded", SP_RETRY_IN, 300},
    {"d14:failure reason10:Overloaded8:retry ini5ee", "Overloaded", SP_RETRY_IN, 300},
    {"d14:failure reason13:Not a tracker8:retry in5:nevere", "Not a tracker", SP_RETRY_NEVER, 0},
    {"d14:failure reason1:x8:retry in5:Nevere", "x", SP_RETRY_LATER, 0},
    {"d14:failure reason1:x8:retry in1:0e", "x", SP_RETRY_LATER, 0},
    {"d14:failure reason1:x8:retry ini-5ee", "x", SP_RETRY_LATER, 0},
    {"d14:failure reason1:x8:retry in0:e", "x", SP_RETRY_LATER, 0},
    {"d14:failure reason1:x8:retry in24:999999999999999999999999e", "x", SP_RETRY_IN, 2592000},
    {"d14:failure reason1:x8:intervali5e5:peers6:\1\1\1\1\1\1e", "x", SP_RETRY_LATER, 0},
    {"<html><body>hello</body></html>", "answered with HTML instead of a tracker reply", 0, 0},
    {"\xef\xbb\xbf\r\n <!DOCTYPE html>", "answered with HTML instead of a tracker reply", 0, 0},
    {"", "answered with nothing", 0, 0},
    {"404", "answered with something that is no tracker reply", 0, 0},
    {"le", "answered with something that is no tracker reply", 0, 0},
    {"de", "answered with neither peers nor a reason", 0, 0},
    {"d8:intervali18", "answered with a reply that ends early", 0, 0},
    {"d1:alllllllllllllllllllleeeeeeeeeeeeeeeeeeeee", "answered with a reply that is too large", 0,
     0},
};

TEST(http_reply_failures)
{
    for (size_t i = 0; i < SP_COUNT(failures); i++) {
        struct sp_announce_reply r =
            read_reply(failures[i].body, strlen(failures[i].body), SP_TRACKER_PEERS_MAX);
        CHECK(r.failed);
        CHECK_EQ(r.peer_count, 0);
        CHECK_EQ(r.retry, failures[i].retry);
        CHECK_EQ(r.retry_in_s, failures[i].retry_s);
        if (!is(r.failure, failures[i].failure)) {
            printf("# %s: %.*s\n", failures[i].body, (int)r.failure.len,
                   (const char *)r.failure.ptr);
            CHECK(false);
        }
    }
}

TEST(http_reply_every_prefix_fails)
{
    static const char whole[] = "d8:intervali1800e5:peers6:iiiipp6:peers618:iiiiiiiiiiiiiiiippe";
    for (size_t len = 0; len < sizeof(whole) - 1; len++)
        CHECK(read_reply(whole, len, 10).failed);
    CHECK(!READ("d8:intervali1800e5:peers0:e").failed);
}

TEST(http_reply_without_memory)
{
    struct torture t = {.until_failure = 0};
    const struct sp_mem mem = {torture_alloc, torture_free, &t};
    struct sp_announce_reply r = {.interval_s = 77};
    struct sp_scrape_reply s;
    struct sp_swarm_size size;
    CHECK_EQ(sp_http_announce_parse(&mem, str("d5:peers0:e"), peers, 1, &r), SP_ENOMEM);
    CHECK_EQ(r.interval_s, 77);
    t.until_failure = 0;
    CHECK_EQ(sp_http_scrape_parse(&mem, str("de"), peers[0].ip, 0, &size, &s), SP_ENOMEM);
    CHECK_EQ(t.live, 0);
    CHECK_EQ(plain.live, 0);
}

TEST(scrape_reply)
{
    /* BEP-0048's example, with its missing colons put in, and flags. */
    static const char body[] =
        "d5:filesd20:xxxxxxxxxxxxxxxxxxxxd8:completei11e10:downloadedi13772e10:incompletei19ee"
        "20:yyyyyyyyyyyyyyyyyyyyd8:completei21e10:downloadedi206e10:incompletei20eee"
        "5:flagsd20:min_request_intervali3600eee";
    static const uint8_t hashes[61] =
        "yyyyyyyyyyyyyyyyyyyyzzzzzzzzzzzzzzzzzzzzxxxxxxxxxxxxxxxxxxxx";
    struct sp_swarm_size sizes[3];
    struct sp_scrape_reply r;
    CHECK_EQ(sp_http_scrape_parse(&MEM, edge(body, sizeof(body) - 1), hashes, 3, sizes, &r), SP_OK);
    CHECK(!r.failed);
    CHECK_EQ(r.found, 2);
    CHECK_EQ(r.min_request_interval_s, 3600);
    CHECK_EQ(sizes[0].seeds, 21);
    CHECK_EQ(sizes[0].downloaded, 206);
    CHECK_EQ(sizes[1].seeds, SP_SWARM_UNKNOWN);
    CHECK_EQ(sizes[2].leechers, 19);
    for (size_t len = 0; len < sizeof(body) - 1; len++) {
        CHECK_EQ(sp_http_scrape_parse(&MEM, edge(body, len), hashes, 3, sizes, &r), SP_OK);
        CHECK(r.failed);
    }
    CHECK_EQ(sp_http_scrape_parse(&MEM, str("d14:failure reason2:noe"), hashes, 1, sizes, &r),
             SP_OK);
    CHECK(r.failed && is(r.failure, "no"));
}

/* -- UDP -- */

TEST(udp_requests)
{
    uint8_t buf[1024];
    struct sp_announce a = announce();
    struct sp_out o = sp_out_of(buf, sizeof(buf));
    sp_udp_put_connect(&o, 0x01020304);
    CHECK_EQ(o.len, 16);
    CHECK(memcmp(buf, "\0\0\x04\x17\x27\x10\x19\x80\0\0\0\0\1\2\3\4", 16) == 0);

    o = sp_out_of(buf, sizeof(buf));
    sp_udp_put_announce(&o, 0x1122334455667788, 0x01020304, &a, (struct sp_slice){0});
    CHECK_EQ(o.len, 98);
    CHECK(memcmp(buf, "\x11\x22\x33\x44\x55\x66\x77\x88\0\0\0\1\1\2\3\4", 16) == 0);
    CHECK(memcmp(buf + 16, a.info_hash, 20) == 0 && memcmp(buf + 36, a.peer_id, 20) == 0);
    CHECK_EQ(sp_be64(buf + 56), 2);
    CHECK_EQ(sp_be64(buf + 64), 3);
    CHECK_EQ(sp_be64(buf + 72), 1);
    CHECK_EQ(sp_be32(buf + 80), 2);
    CHECK_EQ(sp_be32(buf + 84), 0);
    CHECK_EQ(sp_be32(buf + 88), 0x0badcafe);
    CHECK_EQ(sp_be32(buf + 92), 50);
    CHECK_EQ(sp_be16(buf + 96), 6881);

    a.event = SP_EVENT_PAUSED;
    a.announce_ip = sp_addr_v4((const uint8_t *)"\1\2\3\4", 0);
    o = sp_out_of(buf, sizeof(buf));
    sp_udp_put_announce(&o, 1, 2, &a, str("/dir?a=b&c=d"));
    CHECK_EQ(sp_be32(buf + 80), 0);
    CHECK_EQ(sp_be32(buf + 84), 0x01020304);
    CHECK_EQ(o.len, 98 + 15); /* BEP-0041's example and an EndOfOptions */
    CHECK(memcmp(buf + 98, "\x02\x0c/dir?a=b&c=d\0", 15) == 0);

    char target[301];
    memset(target, 'q', 300);
    target[300] = '\0';
    o = sp_out_of(buf, sizeof(buf));
    sp_udp_put_announce(&o, 1, 2, &a, str(target));
    CHECK_EQ(o.len, 98 + 2 + 255 + 2 + 45 + 1);
    CHECK(buf[98] == 2 && buf[99] == 255 && buf[355] == 2 && buf[356] == 45 && buf[402] == 0);

    o = sp_out_of(buf, sizeof(buf));
    sp_udp_put_scrape(&o, 7, 8, a.info_hash, 1);
    CHECK_EQ(o.len, 36);
    CHECK_EQ(sp_be32(buf + 8), 2);
}

TEST(udp_answers)
{
    static const uint8_t packet[] = "\0\0\0\1\0\0\0\x09\0\0\x07\x08\0\0\0\2\0\0\0\3"
                                    "\1\2\3\4\x1a\xe1\5\6\7\x08\0\0\5\6\7\x08\0\1\0\0\0\0\0\0";
    struct sp_announce_reply r;
    struct sp_swarm_size sizes[2];
    uint64_t id;
    for (size_t len = 0; len < 20; len++)
        CHECK_EQ(sp_udp_read_announce(edge(packet, len), SP_V4, peers, 9, &r), SP_EDATA);
    for (size_t len = 20; len < sizeof(packet) - 1; len++) {
        CHECK_EQ(sp_udp_read_announce(edge(packet, len), SP_V4, peers, 9, &r), SP_OK);
        CHECK_EQ(r.peer_count, (len >= 26) + (len >= 38)); /* the second has port 0 */
    }
    CHECK_EQ(r.interval_s, 1800);
    CHECK_EQ(r.swarm.leechers, 2);
    CHECK_EQ(r.swarm.seeds, 3);
    CHECK_EQ(peers[0].port, 6881);
    CHECK_EQ(sp_udp_read_announce(edge(packet, 38), SP_V6, peers, 9, &r), SP_OK);
    CHECK_EQ(r.peer_count, 1);
    CHECK_EQ(peers[0].family, SP_V6);
    CHECK_EQ(sp_udp_read_connect(edge(packet, 15), &id), SP_EDATA);
    CHECK_EQ(sp_udp_read_connect(edge(packet, 16), &id), SP_OK);
    CHECK_EQ(id, 0x70800000002);
    CHECK_EQ(sp_udp_read_scrape(edge(packet, 7), sizes, 2), SP_EDATA);
    CHECK_EQ(sp_udp_read_scrape(edge(packet, 31), sizes, 2), SP_OK);
    CHECK_EQ(sizes[0].downloaded, 2);
    CHECK_EQ(sizes[1].seeds, SP_SWARM_UNKNOWN);
    CHECK_EQ(sp_udp_read_error(edge(packet, 8)).len, 0);
    CHECK_EQ(sp_udp_read_error(edge(packet, 12)).len, 4);
}

int main(void)
{
    return check_run();
}
