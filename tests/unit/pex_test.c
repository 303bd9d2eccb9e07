/* Peer exchange as peers see it: a session in whose torrent scripted peers
 * come, talk and go, in a time of our own. */
#include "core/session/session.h"

#include "check.h"
#include "core/torrent/pex.h"
#include "core/wire/ut_holepunch.h"
#include "core/wire/ut_pex.h"
#include "core/wire/wire.h"
#include "torture.h"

enum { PEERS = 80, ID = 5 };

struct peer {
    struct sp_conn *conn;
    struct sp_addr addr;
    struct sp_wire wire;
    bool closed;
    uint32_t messages;
    struct sp_pex_msg last;
    sp_time_ns last_at, gap; /* least time between two messages */
    struct sp_holepunch_msg punch;
    uint32_t punches;
    uint32_t knows; /* told of, and not of their end */
    struct sp_addr known[PEERS + 8];
};

static struct torture torture;
static struct sp_mem mem;
static struct sp_metainfo *mi;
static struct sp_session *s;
static sp_time_ns now;
static struct peer peers[PEERS];
static struct sp_addr dialed[512];
static uint32_t dialed_count;

static struct sp_addr addr_of(const char *text)
{
    struct sp_addr a = {0};
    CHECK_EQ(sp_addr_parse((struct sp_slice){(const uint8_t *)text, strlen(text)}, true, &a),
             SP_OK);
    return a;
}

static struct sp_addr numbered(uint32_t i)
{
    const uint8_t ip[4] = {5, (uint8_t)(i >> 8), (uint8_t)i, 1};
    return sp_addr_v4(ip, 7000);
}

/* ---- the session ---- */

static void make_torrent(bool is_private)
{
    static uint8_t hash[SP_SHA1_LEN], bytes[512];
    struct sp_metainfo_spec_file file = {.path = SP_LIT("f"), .length = 16384};
    struct sp_metainfo_spec spec = {.name = SP_LIT("f"),
                                    .files = &file,
                                    .file_count = 1,
                                    .single_file = true,
                                    .piece_length = 16384,
                                    .pieces = {hash, sizeof(hash)},
                                    .creation_date = -1,
                                    .is_private = is_private};
    size_t len = 0;
    CHECK_EQ(sp_metainfo_write(&spec, bytes, sizeof(bytes), &len, NULL), SP_OK);
    CHECK_EQ(sp_metainfo_parse(&mem, (struct sp_slice){bytes, len}, NULL, &mi, NULL), SP_OK);
}

struct setting {
    bool no_pex, is_private;
    uint32_t half_open_max;
};

static void up(struct setting set)
{
    torture = (struct torture){.until_failure = -1};
    mem = (struct sp_mem){torture_alloc, torture_free, &torture};
    make_torrent(set.is_private);
    struct sp_session_cfg cfg = {.mem = &mem,
                                 .seed = 1,
                                 .client_name = "t",
                                 .listen_port = 6881,
                                 .memory_bytes = 4 << 20,
                                 .conn_max = 1000,
                                 .torrent_conn_max = 1000,
                                 .half_open_max = set.half_open_max ? set.half_open_max : 400,
                                 .no_pex = set.no_pex};
    memcpy(cfg.peer_id, "-SP0001-000000000000", 20);
    struct sp_session_add add = {.metainfo = mi};
    now = SP_SECOND_NS;
    dialed_count = 0;
    memset(peers, 0, sizeof(peers));
    CHECK_EQ(sp_session_new(&cfg, now, &s), SP_OK);
    CHECK_EQ(sp_session_add(s, ID, &add, now), SP_OK);
    sp_torrent_checked(s, ID, NULL, now);
}

static void down(void)
{
    CHECK(!sp_session_broken(s));
    for (uint32_t i = 0; i < PEERS; i++)
        sp_wire_done(&peers[i].wire);
    sp_session_free(s);
    sp_metainfo_free(mi);
    CHECK_EQ(torture.live, 0);
}

/* ---- a peer ---- */

static uint32_t find(const struct peer *p, const struct sp_addr *addr)
{
    uint32_t i = 0;
    while (i < p->knows && !sp_addr_eq(&p->known[i], addr))
        i++;
    return i;
}

static bool knows(const struct peer *p, const struct sp_addr *addr)
{
    return find(p, addr) < p->knows;
}

static void got_pex(struct peer *p, struct sp_slice payload)
{
    CHECK_EQ(sp_pex_read(payload, &p->last), SP_OK);
    CHECK(p->last.added_told <= SP_PEX_SEND_MAX && p->last.dropped_told <= SP_PEX_SEND_MAX);
    CHECK(!p->last.contradicts);
    if (p->messages++ && (!p->gap || now - p->last_at < p->gap))
        p->gap = now - p->last_at;
    p->last_at = now;
    for (uint32_t i = 0; i < p->last.added_count; i++) {
        CHECK(!knows(p, &p->last.added[i].addr));
        p->known[p->knows++] = p->last.added[i].addr;
    }
    for (uint32_t i = 0; i < p->last.dropped_count; i++) {
        uint32_t ix = find(p, &p->last.dropped[i]);
        CHECK(ix < p->knows); /* only what was added before */
        if (ix < p->knows)
            p->known[ix] = p->known[--p->knows];
    }
}

static void read_all(struct peer *p, struct sp_slice in)
{
    struct sp_wire_event ev;
    do {
        size_t used = 0;
        CHECK_EQ(sp_wire_recv(&p->wire, in, &used, &ev), SP_OK);
        in = (struct sp_slice){in.ptr + used, in.len - used};
        /* Ours arrive under the id that the wire knows for it. */
        if (ev.kind == SP_WIRE_EXTENDED && ev.id == SP_EXT_UT_PEX)
            got_pex(p, ev.payload);
        if (ev.kind == SP_WIRE_EXTENDED && ev.id == SP_EXT_UT_HOLEPUNCH) {
            CHECK_EQ(sp_holepunch_read(ev.payload, &p->punch), SP_OK);
            p->punches++;
        }
    } while (ev.kind != SP_WIRE_NONE);
}

static void pump(void)
{
    struct sp_effect fx;
    while (sp_session_next(s, &fx, now)) {
        struct peer *p = fx.user;
        struct sp_slice list[8];
        if (fx.kind == SP_FX_CLOSE && p)
            p->closed = true;
        if (fx.kind == SP_FX_DIAL && dialed_count < SP_COUNT(dialed))
            dialed[dialed_count++] = fx.addr;
        if (fx.kind != SP_FX_SEND || !p)
            continue;
        uint32_t n = sp_conn_send_list(fx.conn, list, SP_COUNT(list), now);
        size_t sum = 0;
        for (uint32_t i = 0; i < n; i++) {
            read_all(p, list[i]);
            sum += list[i].len;
        }
        if (n)
            sp_conn_sent(fx.conn, sum, now);
    }
}

static void feed(struct peer *p, struct sp_buf *out)
{
    sp_conn_received_bytes(p->conn, sp_buf_slice(out), now);
    sp_buf_done(out);
    pump();
}

static void keep_alive(void)
{
    for (uint32_t i = 0; i < PEERS; i++) {
        struct sp_buf out = sp_buf_of(&mem, 64);
        if (!peers[i].conn || peers[i].closed)
            continue;
        CHECK_EQ(sp_wire_put_keepalive(&out), SP_OK);
        feed(&peers[i], &out);
    }
}

static void run(uint32_t seconds)
{
    if (seconds >= 30)
        keep_alive();
    for (sp_time_ns end = now + seconds * SP_SECOND_NS; now < end;) {
        now += SP_SECOND_NS / 4;
        sp_session_tick(s, now);
        pump();
    }
    const char *why = sp_session_broken(s);
    if (why)
        printf("# %s\n", why);
    CHECK(!why);
}

static void say_pex(struct peer *p, const void *payload, size_t len)
{
    struct sp_buf out = sp_buf_of(&mem, 1 << 20);
    if (p->closed)
        return;
    CHECK_EQ(sp_wire_put_extended(&out, SP_EXT_UT_PEX, (struct sp_slice){payload, len}), SP_OK);
    feed(p, &out);
}

static void say_contacts(struct peer *p, const struct sp_addr *addrs, uint32_t count)
{
    char text[8192];
    size_t len = (size_t)snprintf(text, 32, "d5:added%u:", count * 6);
    for (uint32_t i = 0; i < count; i++)
        len += sp_addr_compact(&addrs[i], (uint8_t *)text + len);
    text[len++] = 'e';
    say_pex(p, text, len);
}

/* Comes from addr and says that it listens there. */
static struct peer *join(uint32_t i, struct sp_addr addr, bool offers_pex)
{
    struct peer *p = &peers[i];
    struct sp_buf out = sp_buf_of(&mem, 1 << 20);
    struct sp_handshake hs = {0};
    struct sp_ext_handshake ext = {.port = addr.port};

    memcpy(hs.info_hash, mi->info_hash_v1, SP_SHA1_LEN);
    sp_handshake_set_ext(hs.reserved);
    snprintf((char *)hs.peer_id, sizeof(hs.peer_id), "-XX0000-%08u", i);
    struct sp_wire_cfg cfg = {.mem = &mem,
                              .own = hs,
                              .piece_count = 1,
                              .piece_len = 16384,
                              .total_len = 16384,
                              .block_len_max = SP_BLOCK_LEN,
                              .ext_len_max = 65536};
    sp_wire_init(&p->wire, &cfg);
    if (offers_pex) {
        ext.in_m[SP_EXT_UT_PEX] = true;
        ext.ids[SP_EXT_UT_PEX] = SP_EXT_UT_PEX; /* so that the wire tells it as ours */
        ext.in_m[SP_EXT_UT_HOLEPUNCH] = true;
        ext.ids[SP_EXT_UT_HOLEPUNCH] = SP_EXT_UT_HOLEPUNCH;
    }
    CHECK_EQ(sp_wire_put_handshake(&out, &hs), SP_OK);
    CHECK_EQ(sp_wire_put_ext_handshake(&out, &ext), SP_OK);
    p->addr = addr;
    p->conn = sp_session_accept(s, ID, &addr, p, now);
    CHECK(p->conn);
    if (p->conn)
        feed(p, &out);
    return p;
}

static void leave(struct peer *p)
{
    if (!p->closed)
        sp_conn_closed(p->conn, "left", now);
    p->closed = true;
    pump();
}

/* ---- what we tell ---- */

TEST(peers_hear_of_each_other_and_of_the_end)
{
    up((struct setting){0});
    struct peer *a = join(0, numbered(0), true), *b = join(1, numbered(1), true);
    struct peer *c = join(2, numbered(2), false);
    run(10);
    CHECK_EQ(a->messages, 1);
    CHECK(knows(a, &b->addr) && knows(a, &c->addr) && !knows(a, &a->addr));
    CHECK_EQ(a->last.added[0].flags & SP_PEX_REACHABLE, 0); /* they came to us */
    CHECK_EQ(c->messages, 0);                               /* it did not ask for it */
    leave(b);
    run(30);
    CHECK_EQ(a->messages, 1); /* not before its minute */
    run(40);
    CHECK_EQ(a->messages, 2);
    CHECK(!knows(a, &b->addr) && knows(a, &c->addr));
    run(200);
    CHECK_EQ(a->messages, 2); /* nothing new: nothing said */
    down();
}

TEST(comings_and_goings_between_messages_are_not_told)
{
    up((struct setting){0});
    struct peer *a = join(0, numbered(0), true), *b = join(1, numbered(1), true);
    run(10);
    leave(b);
    join(2, numbered(2), false);
    run(5);
    leave(&peers[2]);           /* never told */
    join(3, numbered(1), true); /* b again */
    run(200);
    CHECK_EQ(a->messages, 1);
    CHECK(knows(a, &b->addr));
    down();
}

TEST(no_more_than_fifty_a_message_and_one_a_minute)
{
    up((struct setting){0});
    for (uint32_t i = 0; i < PEERS; i++)
        join(i, numbered(i), true);
    run(2);
    CHECK_EQ(peers[0].last.added_count, SP_PEX_SEND_MAX);
    run(200);
    for (uint32_t i = 0; i < PEERS; i++) {
        CHECK_EQ(peers[i].knows, PEERS - 1);
        CHECK(peers[i].gap >= 60 * SP_SECOND_NS);
    }
    for (uint32_t i = 10; i < PEERS; i++)
        leave(&peers[i]);
    run(150);
    CHECK_EQ(peers[0].knows, 9);
    CHECK(peers[0].gap >= 60 * SP_SECOND_NS);
    down();
}

TEST(what_is_near_is_told_to_who_is_near)
{
    up((struct setting){0});
    struct peer *far = join(0, numbered(0), true);
    struct peer *near = join(1, addr_of("192.168.1.5:1000"), true);
    struct peer *other = join(2, addr_of("10.0.0.7:1000"), true);
    struct peer *own = join(3, addr_of("127.0.0.1:1000"), true);
    struct peer *six = join(4, addr_of("[2001:4860::1]:1000"), true);
    struct peer *link = join(5, addr_of("[fe80::1]:1000"), true);
    run(10);
    CHECK_EQ(far->knows, 1);
    CHECK(knows(far, &six->addr));
    CHECK(knows(near, &other->addr) && knows(near, &far->addr) && !knows(near, &own->addr));
    CHECK(knows(own, &near->addr) && !knows(own, &link->addr));
    down();
}

TEST(nothing_of_a_private_torrent)
{
    static const struct setting off[] = {{.is_private = true}, {.no_pex = true}};
    for (size_t i = 0; i < SP_COUNT(off); i++) {
        struct sp_addr far = numbered(50);
        up(off[i]);
        struct peer *a = join(0, numbered(0), true);
        join(1, numbered(1), true);
        CHECK_EQ(a->wire.ext_ids[SP_EXT_UT_PEX], 0); /* not offered */
        run(100);
        say_contacts(a, &far, 1);
        run(20);
        CHECK_EQ(a->messages, 0);
        CHECK_EQ(dialed_count, 0);
        CHECK(!a->closed);
        down();
    }
}

/* ---- what we are told ---- */

static bool was_dialed(const struct sp_addr *addr)
{
    for (uint32_t i = 0; i < dialed_count; i++) {
        if (sp_addr_eq(&dialed[i], addr))
            return true;
    }
    return false;
}

static struct sp_torrent_stats stats(void)
{
    struct sp_torrent_stats st = {0};
    CHECK_EQ(sp_torrent_stats(s, ID, now, &st), SP_OK);
    return st;
}

TEST(who_is_told_of_is_dialled_and_counted)
{
    struct sp_addr far = numbered(50);
    up((struct setting){0});
    say_contacts(join(0, numbered(0), true), &far, 1);
    run(1);
    CHECK(was_dialed(&far));
    CHECK_EQ(stats().known_by[3], 1); /* SP_PEER_PEX */
    CHECK_EQ(stats().known_by[2], 1); /* SP_PEER_INCOMING */
    CHECK_EQ(stats().peers_known, 2);
    down();
}

static const struct {
    const char *from, *named;
    bool want;
} rules[] = {
    {"5.1.1.1:7000", "6.1.1.1:7000", true},          {"5.1.1.1:7000", "6.1.1.1:1024", true},
    {"5.1.1.1:7000", "6.1.1.1:1023", false}, /* a service */
    {"5.1.1.1:7000", "6.1.1.1:53", false},           {"5.1.1.1:7000", "127.0.0.1:7000", false},
    {"5.1.1.1:7000", "192.168.0.1:7000", false},     {"5.1.1.1:7000", "169.254.1.1:7000", false},
    {"5.1.1.1:7000", "224.0.0.1:7000", false},       {"192.168.0.9:7000", "192.168.0.1:7000", true},
    {"192.168.0.9:7000", "10.1.1.1:80", true},       {"192.168.0.9:7000", "127.0.0.1:7000", false},
    {"192.168.0.9:7000", "169.254.1.1:7000", false}, {"127.0.0.1:7000", "127.0.0.1:7001", true},
    {"127.0.0.1:7000", "6.1.1.1:7000", true},
};

TEST(addresses_are_held_to_the_rules)
{
    for (size_t i = 0; i < SP_COUNT(rules); i++) {
        struct sp_addr named = addr_of(rules[i].named);
        up((struct setting){0});
        say_contacts(join(0, addr_of(rules[i].from), true), &named, 1);
        run(1);
        if (was_dialed(&named) != rules[i].want)
            printf("# %s names %s\n", rules[i].from, rules[i].named);
        CHECK_EQ(was_dialed(&named), rules[i].want);
        down();
    }
}

TEST(a_peer_fills_no_more_than_its_share)
{
    struct sp_addr addrs[100];
    up((struct setting){.half_open_max = 40});
    struct peer *a = join(0, numbered(0), true);
    for (uint32_t round = 0; round < 6; round++) {
        for (uint32_t i = 0; i < 50; i++)
            addrs[i] = numbered(1000 + round * 50 + i);
        say_contacts(a, addrs, 50);
        run(1);
        CHECK(dialed_count <= 10); /* a quarter of what may be half open */
        run(59);
        dialed_count = 0;
    }
    CHECK_EQ(stats().known_by[3], HEARSAY_PER_TELLER);
    CHECK(!a->closed);
    /* It comes again, under another port: no new share. */
    leave(a);
    struct sp_addr again = numbered(0);
    again.port = 9;
    a = join(1, again, true);
    for (uint32_t i = 0; i < 50; i++)
        addrs[i] = numbered(5000 + i);
    say_contacts(a, addrs, 50);
    CHECK_EQ(stats().known_by[3], HEARSAY_PER_TELLER);
    /* Somebody else has his own. */
    say_contacts(join(2, numbered(2), true), addrs, 50);
    CHECK_EQ(stats().known_by[3], HEARSAY_PER_TELLER + 50);
    down();
}

TEST(one_port_of_a_host)
{
    struct sp_addr a = addr_of("6.1.1.1:7000"), b = addr_of("6.1.1.1:7001");
    up((struct setting){0});
    say_contacts(join(0, numbered(0), true), &a, 1);
    say_contacts(join(1, numbered(1), true), &b, 1);
    CHECK_EQ(stats().known_by[3], 1);
    down();
}

TEST(what_its_teller_drops_is_forgotten)
{
    struct sp_addr far = addr_of("6.1.1.1:7000");
    up((struct setting){.half_open_max = 1});
    struct peer *a = join(0, numbered(0), true), *b = join(1, numbered(1), true);
    struct sp_addr two[2] = {addr_of("7.1.1.1:7000"), far};
    say_contacts(a, two, 2);
    run(60);
    CHECK_EQ(stats().known_by[3], 2);
    say_pex(b,
            "d7:dropped6:\6\1\1\1\x1b\x58"
            "e",
            20);
    CHECK_EQ(stats().known_by[3], 2); /* it was not b's */
    uint32_t left = 2;
    for (int i = 0; i < 6 && left == 2; i++) { /* while it is dialled it stays */
        say_pex(a,
                "d7:dropped6:\6\1\1\1\x1b\x58"
                "e",
                20);
        left = stats().known_by[3];
        run(60);
    }
    CHECK_EQ(left, 1);
    down();
}

static const struct {
    const char *what, *bytes;
    uint32_t times, apart_s;
    bool ends;
} breaches[] = {
    {"a message a minute", "d5:added0:e", 20, 60, false},
    {"a little early", "d5:added0:e", 20, 46, false},
    {"twice as often", "d5:added0:e", 20, 30, false}, /* every other one is passed over */
    {"thrice as often", "d5:added0:e", 30, 20, true},
    {"without end", "d5:added0:e", 7, 0, true},
    {"six at once", "d5:added0:e", 6, 0, false},
    {"nonsense", "le", 3, 60, true},
    {"nonsense, twice", "le", 2, 60, false},
    {"contradictions",
     "d5:added6:\5\5\5\5\x1b\x58"
     "7:dropped6:\5\5\5\5\x1b\x58"
     "e",
     6, 60, true},
};

TEST(who_breaks_the_rules_goes)
{
    for (size_t i = 0; i < SP_COUNT(breaches); i++) {
        up((struct setting){0});
        struct peer *a = join(0, numbered(0), true);
        for (uint32_t k = 0; k < breaches[i].times; k++) {
            say_pex(a, breaches[i].bytes, strlen(breaches[i].bytes));
            run(breaches[i].apart_s);
        }
        if (a->closed != breaches[i].ends)
            printf("# %s\n", breaches[i].what);
        CHECK_EQ(a->closed, breaches[i].ends);
        down();
    }
}

TEST(too_much_is_not_believed)
{
    static struct sp_addr addrs[400];
    up((struct setting){0});
    struct peer *a = join(0, numbered(0), true);
    for (uint32_t i = 0; i < SP_COUNT(addrs); i++)
        addrs[i] = numbered(1000 + i);
    say_contacts(a, addrs, PEX_FIRST_MAX + 1);
    CHECK_EQ(stats().known_by[3], 0);
    run(60);
    say_contacts(a, addrs, PEX_TOLD_MAX + 1); /* the first one is over */
    CHECK_EQ(stats().known_by[3], 0);
    run(60);
    say_contacts(a, addrs, PEX_TOLD_MAX);
    CHECK_EQ(stats().known_by[3], SP_PEX_KEEP_MAX);
    down();
}

/* ---- introductions (BEP 55) ---- */

static void say_punch(struct peer *p, enum sp_holepunch_kind kind, struct sp_addr addr)
{
    struct sp_buf out = sp_buf_of(&mem, 64);
    uint8_t bytes[SP_HOLEPUNCH_LEN_MAX];
    struct sp_holepunch_msg m = {.kind = kind, .addr = addr};
    size_t len = sp_holepunch_write(&m, bytes);
    CHECK_EQ(sp_wire_put_extended(&out, SP_EXT_UT_HOLEPUNCH, (struct sp_slice){bytes, len}), SP_OK);
    feed(p, &out);
}

static void check_punch(const struct peer *p, enum sp_holepunch_kind kind,
                        const struct sp_addr *addr, uint32_t error)
{
    CHECK_EQ(p->punch.kind, kind);
    CHECK(sp_addr_eq(&p->punch.addr, addr));
    CHECK_EQ(p->punch.error, error);
}

TEST(two_peers_are_introduced)
{
    up((struct setting){0});
    struct peer *a = join(0, numbered(0), true), *b = join(1, numbered(1), true);
    struct peer *old = join(2, numbered(2), false);
    say_punch(a, SP_HOLEPUNCH_RENDEZVOUS, b->addr);
    CHECK(a->punches == 1 && b->punches == 1);
    check_punch(a, SP_HOLEPUNCH_CONNECT, &b->addr, 0);
    check_punch(b, SP_HOLEPUNCH_CONNECT, &a->addr, 0);
    say_punch(a, SP_HOLEPUNCH_RENDEZVOUS, old->addr);
    check_punch(a, SP_HOLEPUNCH_ERROR, &old->addr, SP_HOLEPUNCH_NO_SUPPORT);
    struct sp_addr far = numbered(40), none = numbered(41), group = addr_of("224.0.0.1:5");
    say_punch(a, SP_HOLEPUNCH_RENDEZVOUS, far);
    check_punch(a, SP_HOLEPUNCH_ERROR, &far, SP_HOLEPUNCH_NOT_CONNECTED);
    none.port = 0;
    say_punch(a, SP_HOLEPUNCH_RENDEZVOUS, none);
    check_punch(a, SP_HOLEPUNCH_ERROR, &none, SP_HOLEPUNCH_NO_SUCH_PEER);
    say_punch(a, SP_HOLEPUNCH_RENDEZVOUS, group);
    check_punch(a, SP_HOLEPUNCH_ERROR, &group, SP_HOLEPUNCH_NO_SUCH_PEER);
    say_punch(a, SP_HOLEPUNCH_RENDEZVOUS, a->addr);
    check_punch(a, SP_HOLEPUNCH_ERROR, &a->addr, SP_HOLEPUNCH_NO_SUCH_PEER);
    struct sp_addr own = addr_of("9.9.9.9:6881");
    sp_session_external_vote(s, SP_EXTERNAL_PORTMAP, &own);
    say_punch(a, SP_HOLEPUNCH_RENDEZVOUS, own);
    check_punch(a, SP_HOLEPUNCH_ERROR, &own, SP_HOLEPUNCH_NO_SELF);
    CHECK_EQ(a->punches, 7);
    say_punch(old, SP_HOLEPUNCH_RENDEZVOUS, b->addr); /* does not speak it: no answer */
    say_punch(b, SP_HOLEPUNCH_CONNECT, far);
    say_punch(b, SP_HOLEPUNCH_ERROR, far);
    CHECK_EQ(b->punches, 1);
    CHECK_EQ(dialed_count, 0);
    down();
}

TEST(introductions_are_few)
{
    up((struct setting){0});
    struct peer *a = join(0, numbered(0), true), *b = join(1, numbered(1), true);
    run(60);
    for (int i = 0; i < 50; i++)
        say_punch(a, SP_HOLEPUNCH_RENDEZVOUS, b->addr);
    CHECK_EQ(b->punches, 8);
    run(10);
    for (int i = 0; i < 50; i++)
        say_punch(a, SP_HOLEPUNCH_RENDEZVOUS, b->addr);
    CHECK_EQ(b->punches, 10);
    down();
    up((struct setting){.is_private = true});
    a = join(0, numbered(0), true);
    b = join(1, numbered(1), true);
    say_punch(a, SP_HOLEPUNCH_RENDEZVOUS, b->addr);
    CHECK(a->punches == 0 && b->punches == 0);
    down();
}

TEST(without_memory_it_goes_on)
{
    for (int fail = 0; fail < 40; fail++) {
        struct sp_addr addrs[50];
        up((struct setting){0});
        struct peer *a = join(0, numbered(0), true);
        join(1, numbered(1), true);
        for (uint32_t i = 0; i < 50; i++)
            addrs[i] = numbered(1000 + i);
        struct sp_buf out = sp_buf_of(&mem, 1 << 20);
        char text[1024];
        size_t len = (size_t)snprintf(text, 32, "d5:added300:");
        for (uint32_t i = 0; i < 50; i++)
            len += sp_addr_compact(&addrs[i], (uint8_t *)text + len);
        text[len++] = 'e';
        CHECK_EQ(sp_wire_put_extended(&out, SP_EXT_UT_PEX, (struct sp_slice){(uint8_t *)text, len}),
                 SP_OK);
        torture.until_failure = fail;
        sp_conn_received_bytes(a->conn, sp_buf_slice(&out), now);
        for (int i = 0; i < 40; i++) {
            now += SP_SECOND_NS / 4;
            sp_session_tick(s, now);
            pump();
        }
        torture.until_failure = -1;
        sp_buf_done(&out);
        run(5);
        down();
    }
}

int main(void)
{
    return check_run();
}
