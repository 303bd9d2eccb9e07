/* Whole networks of nodes in virtual time, and single nodes beside scripted ones. */
#include "check.h"
#include "core/base/out.h"
#include "core/dht/dht.h"
#include "torture.h"

enum { NODES_MAX = 300, FLIGHT_MAX = 20000 };

static struct torture plain = {.until_failure = -1};
static const struct sp_mem MEM = {torture_alloc, torture_free, &plain};

struct flight {
    sp_time_ns at;
    uint32_t to;
    struct sp_addr from;
    uint32_t len;
    uint8_t bytes[SP_KRPC_REPLY_MAX];
};

struct net {
    struct sp_rng rng;
    sp_time_ns now;
    struct sp_dht *nodes[NODES_MAX];
    bool dead[NODES_MAX];
    uint32_t count;
    struct flight *flights;
    uint32_t flight_count;
    uint64_t packets;
};

static struct sp_addr addr_of(uint32_t ix)
{
    uint8_t ip[4] = {84, (uint8_t)(ix / 200), (uint8_t)(1 + ix % 200), 7};
    return sp_addr_v4(ip, 6881);
}

/* Stands for ed25519: the signature is the keyed hash of what it covers. */
static void sign(const uint8_t *key, struct sp_slice msg, uint8_t sig[SP_KRPC_SIG_LEN])
{
    struct sp_hash_key k = {key[0], 1};
    uint64_t h = sp_hash_bytes(&k, msg.ptr, msg.len);
    for (int i = 0; i < 8; i++)
        memcpy(sig + 8 * i, &h, 8);
}

static uint32_t verified;

static bool verify(void *ctx, const uint8_t key[SP_KRPC_KEY_LEN],
                   const uint8_t sig[SP_KRPC_SIG_LEN], struct sp_slice msg)
{
    uint8_t want[SP_KRPC_SIG_LEN];
    (void)ctx;
    verified++;
    sign(key, msg, want);
    return memcmp(want, sig, sizeof(want)) == 0;
}

static struct sp_dht *node(struct sp_rng *rng, uint32_t ix, sp_time_ns now)
{
    struct sp_addr addr = addr_of(ix);
    struct sp_dht_id id = sp_dht_id_for(&addr, rng);
    struct sp_dht_cfg cfg = {.mem = &MEM,
                             .seed = sp_rng_u64(rng),
                             .family = SP_V4,
                             .id = &id,
                             .version = {'S', 'P'},
                             .verify = verify};
    struct sp_dht *d = NULL;
    sp_rng_bytes(rng, cfg.secret, sizeof(cfg.secret));
    CHECK_EQ(sp_dht_new(&cfg, now, &d), SP_OK);
    return d;
}

/* What node ix has to say goes on its way. */
static void drain(struct net *n, uint32_t ix)
{
    struct sp_dht_packet p;
    while (sp_dht_send(n->nodes[ix], &p, n->now)) {
        uint32_t to = p.to.ip[1] * 200u + p.to.ip[2] - 1;
        n->packets++;
        if (p.to.ip[0] != 84 || to >= n->count || n->dead[to] || n->dead[ix] ||
            n->flight_count == FLIGHT_MAX)
            continue;
        struct flight *f = &n->flights[n->flight_count++];
        f->at = n->now + (20 + sp_rng_below(&n->rng, 80)) * SP_MS_NS;
        f->to = to;
        f->from = addr_of(ix);
        f->len = p.len;
        memcpy(f->bytes, p.bytes, p.len);
    }
}

static void begin_net(struct net *n, uint32_t count, uint64_t seed)
{
    *n = (struct net){.rng = sp_rng_of(seed), .count = count};
    n->flights = calloc(FLIGHT_MAX, sizeof(*n->flights));
    for (uint32_t i = 0; i < count; i++) {
        n->nodes[i] = node(&n->rng, i, 0);
        struct sp_addr first = addr_of(i ? (uint32_t)sp_rng_below(&n->rng, i) : 0);
        if (i)
            sp_dht_add_addr(n->nodes[i], &first, 0);
        drain(n, i);
    }
}

static void end_net(struct net *n)
{
    for (uint32_t i = 0; i < n->count; i++)
        sp_dht_free(n->nodes[i]);
    free(n->flights);
    CHECK_EQ(plain.live, 0);
}

/* The next thing that happens, or the end of the run. */
static bool step(struct net *n, sp_time_ns until)
{
    sp_time_ns at = SP_TIME_NEVER;
    uint32_t flight = n->flight_count, who = n->count;
    for (uint32_t i = 0; i < n->flight_count; i++) {
        if (n->flights[i].at < at) {
            at = n->flights[i].at;
            flight = i;
        }
    }
    for (uint32_t i = 0; i < n->count; i++) {
        sp_time_ns d = n->dead[i] ? SP_TIME_NEVER : sp_dht_deadline(n->nodes[i]);
        if (d < at) {
            at = d;
            who = i;
        }
    }
    if (at > until) {
        n->now = until;
        return false;
    }
    if (at > n->now)
        n->now = at;
    if (who < n->count) {
        sp_dht_tick(n->nodes[who], n->now);
    } else {
        struct flight f = n->flights[flight];
        n->flights[flight] = n->flights[--n->flight_count];
        who = f.to;
        if (!n->dead[who])
            CHECK(sp_dht_recv(n->nodes[who], &f.from, (struct sp_slice){f.bytes, f.len}, n->now));
    }
    drain(n, who);
    return true;
}

static void run(struct net *n, sp_time_ns span)
{
    sp_time_ns until = n->now + span;
    uint32_t steps = 0;
    while (step(n, until) && steps < 4000000)
        steps++;
}

/* Drops what nobody looks at. */
static void hush(struct net *n)
{
    struct sp_dht_event ev;
    for (uint32_t i = 0; i < n->count; i++) {
        while (sp_dht_next(n->nodes[i], &ev))
            ;
    }
}

struct found {
    bool done;
    uint32_t peers, items;
    struct sp_dht_item item;
    sp_time_ns first_ns, done_ns;
    struct sp_dht_event end;
};

static struct found wait_for(struct net *n, uint32_t ix, sp_dht_lookup_id id)
{
    struct found f = {0};
    struct sp_dht_event ev;
    sp_time_ns began = n->now;
    while (!f.done && n->now - began < 60 * SP_SECOND_NS) {
        (void)step(n, n->now + SP_SECOND_NS);
        while (sp_dht_next(n->nodes[ix], &ev)) {
            if (ev.lookup != id || ev.kind == SP_DHT_EXTERNAL)
                continue;
            if (ev.kind == SP_DHT_PEERS) {
                f.first_ns = f.peers ? f.first_ns : n->now - began;
                f.peers += ev.count;
                continue;
            }
            if (ev.kind == SP_DHT_ITEM) {
                f.items++;
                f.item = ev.item;
                continue;
            }
            f.done = true;
            f.done_ns = n->now - began;
            f.end = ev;
        }
    }
    return f;
}

/* How many of the k nearest living nodes the lookup named. */
static uint32_t right_ones(const struct net *n, const struct sp_dht_event *end, uint32_t self)
{
    uint32_t right = 0;
    for (uint32_t r = 0; r < end->count; r++) {
        uint32_t nearer = 0;
        for (uint32_t i = 0; i < n->count; i++) {
            nearer += !n->dead[i] && i != self &&
                      sp_dht_id_cmp(sp_dht_id(n->nodes[i]), &end->nodes[r].id, &end->target) < 0;
        }
        right += nearer < SP_DHT_K;
    }
    return right;
}

TEST(nodes_that_know_one_each_become_a_network)
{
    struct net n;
    struct sp_dht_stats stats;
    begin_net(&n, 200, 1);
    run(&n, 120 * SP_SECOND_NS);
    for (uint32_t i = 0; i < n.count; i++) {
        sp_dht_stats(n.nodes[i], n.now, &stats);
        CHECK(stats.good_nodes >= 20);
        CHECK(stats.bad_packets == 0);
        CHECK(stats.network_size > stats.good_nodes && stats.network_size < 600);
    }
    end_net(&n);
}

TEST(lookups_find_the_nearest_and_few_requests_do)
{
    struct net n;
    uint32_t right = 0, wanted = 0, asked = 0;
    begin_net(&n, 200, 2);
    run(&n, 120 * SP_SECOND_NS);
    hush(&n);
    for (uint32_t i = 0; i < 50; i++) {
        struct sp_dht_id target = sp_dht_id_random(&n.rng);
        uint32_t who = (uint32_t)sp_rng_below(&n.rng, n.count);
        struct found f = wait_for(&n, who, sp_dht_find_node(n.nodes[who], &target, n.now));
        CHECK(f.done && f.end.count == SP_DHT_K);
        right += right_ones(&n, &f.end, who);
        wanted += SP_DHT_K;
        asked += f.end.asked;
    }
    printf("# %u of %u right, %u requests a lookup\n", right, wanted, asked / 50);
    CHECK(right * 100 >= wanted * 99);
    CHECK(asked / 50 < 40);
    end_net(&n);
}

TEST(what_one_announces_another_finds_fast_even_where_a_third_is_dead)
{
    struct net n;
    uint32_t found = 0, rounds = 30;
    sp_time_ns worst = 0;
    begin_net(&n, 240, 3);
    run(&n, 120 * SP_SECOND_NS);
    for (uint32_t i = 0; i < n.count; i += 3)
        n.dead[i] = true;
    hush(&n);
    for (uint32_t i = 0; i < rounds; i++) {
        struct sp_dht_id hash = sp_dht_id_random(&n.rng);
        struct sp_dht_announce as = {.port = 51413};
        uint32_t from = (uint32_t)(1 + 3 * sp_rng_below(&n.rng, 80));
        uint32_t to = (uint32_t)(2 + 3 * sp_rng_below(&n.rng, 79));
        struct found put = wait_for(&n, from, sp_dht_get_peers(n.nodes[from], &hash, &as, n.now));
        CHECK(put.done && put.end.announced > 0);
        run(&n, SP_SECOND_NS);
        struct found got = wait_for(&n, to, sp_dht_get_peers(n.nodes[to], &hash, NULL, n.now));
        CHECK(got.done);
        found += got.peers > 0;
        if (got.peers && got.first_ns > worst)
            worst = got.first_ns;
    }
    printf("# %u of %u, the first peer after at most %u ms\n", found, rounds,
           (unsigned)(worst / SP_MS_NS));
    CHECK(found >= rounds - 1);
    CHECK(worst < 4 * SP_SECOND_NS);
    end_net(&n);
}

static struct sp_dht_item item_of(uint8_t key, const char *salt, int64_t seq, uint16_t len)
{
    struct sp_dht_item it = {.is_mutable = key != 0, .seq = seq};
    char head[16];
    int n = snprintf(head, sizeof(head), "%u:", (unsigned)len);
    memcpy(it.v, head, (size_t)n);
    memset(it.v + n, (int)('a' + seq % 26), len);
    it.v_len = (uint16_t)(n + len);
    memset(it.key, key, sizeof(it.key));
    it.salt_len = (uint8_t)strlen(salt);
    memcpy(it.salt, salt, it.salt_len);
    uint8_t text[SP_KRPC_SIGNED_MAX];
    size_t text_len = sp_krpc_signed((struct sp_slice){it.salt, it.salt_len}, seq,
                                     (struct sp_slice){it.v, it.v_len}, text);
    sign(it.key, (struct sp_slice){text, text_len}, it.sig);
    return it;
}

TEST(items_are_put_and_got_long_ones_too)
{
    struct net n;
    begin_net(&n, 120, 9);
    run(&n, 90 * SP_SECOND_NS);
    hush(&n);
    for (uint16_t len = 1; len < 990; len += 123) {
        for (uint8_t key = 0; key < 2; key++) {
            struct sp_dht_item it = item_of(key, key ? "salt" : "", key ? len : 0, len);
            struct sp_dht_id target = sp_dht_item_target(&it);
            struct found put = wait_for(&n, 5, sp_dht_put(n.nodes[5], &it, false, 0, n.now));
            CHECK(put.done && put.end.announced >= 6);
            run(&n, SP_SECOND_NS);
            struct sp_slice salt = {(const uint8_t *)"salt", key ? 4 : 0};
            struct found got = wait_for(&n, 77, sp_dht_get(n.nodes[77], &target, salt, n.now));
            CHECK(got.items >= 1); /* an older one may be met first */
            CHECK(got.item.v_len == it.v_len && memcmp(got.item.v, it.v, it.v_len) == 0);
            CHECK(got.item.is_mutable == it.is_mutable && got.item.seq == it.seq);
        }
    }
    end_net(&n);
}

TEST(a_newer_item_replaces_an_older_one_and_never_the_other_way)
{
    struct net n;
    begin_net(&n, 60, 10);
    run(&n, 60 * SP_SECOND_NS);
    hush(&n);
    static const int64_t seqs[] = {5, 7, 6, 7};
    static const int64_t want[] = {5, 7, 7, 7};
    struct sp_dht_item it = item_of(4, "", 0, 100);
    struct sp_dht_id target = sp_dht_item_target(&it);
    for (size_t i = 0; i < SP_COUNT(seqs); i++) {
        it = item_of(4, "", seqs[i], 100);
        CHECK(wait_for(&n, 3, sp_dht_put(n.nodes[3], &it, false, 0, n.now)).done);
        run(&n, SP_SECOND_NS);
        struct found got =
            wait_for(&n, 40, sp_dht_get(n.nodes[40], &target, (struct sp_slice){0}, n.now));
        CHECK_EQ(got.item.seq, want[i]);
    }
    /* Only who knows the last one may replace it, when it says so. */
    it = item_of(4, "", 9, 100);
    CHECK(wait_for(&n, 3, sp_dht_put(n.nodes[3], &it, true, 6, n.now)).done);
    run(&n, SP_SECOND_NS);
    CHECK_EQ(
        wait_for(&n, 40, sp_dht_get(n.nodes[40], &target, (struct sp_slice){0}, n.now)).item.seq,
        7);
    CHECK(wait_for(&n, 3, sp_dht_put(n.nodes[3], &it, true, 7, n.now)).done);
    run(&n, SP_SECOND_NS);
    CHECK_EQ(
        wait_for(&n, 40, sp_dht_get(n.nodes[40], &target, (struct sp_slice){0}, n.now)).item.seq,
        9);
    end_net(&n);
}

TEST(the_same_seed_gives_the_same_run)
{
    uint64_t packets[2];
    for (int i = 0; i < 2; i++) {
        struct net n;
        begin_net(&n, 60, 4);
        run(&n, 30 * SP_SECOND_NS);
        packets[i] = n.packets;
        end_net(&n);
    }
    CHECK_EQ(packets[0], packets[1]);
}

/* ---- one node, and what is said to it ---- */

static struct sp_slice text(const char *s)
{
    return (struct sp_slice){(const uint8_t *)s, strlen(s)};
}

/* One answer to a query from a stranger; its length, 0: none. */
static uint32_t say(struct sp_dht *d, const struct sp_addr *from, struct sp_krpc *m,
                    struct sp_krpc *ret, struct sp_dht_packet *buf, size_t *ret_asked,
                    sp_time_ns now)
{
    uint8_t out[1400];
    struct sp_dht_packet p;
    uint32_t len = 0;
    m->kind = SP_KRPC_QUERY;
    m->has_id = true;
    memset(m->id.b, 7, sizeof(m->id.b));
    m->txn = text("tx");
    CHECK_EQ(sp_krpc_write(m, out, sizeof(out), ret_asked), SP_OK);
    CHECK(sp_dht_recv(d, from, (struct sp_slice){out, *ret_asked}, now));
    while (sp_dht_send(d, &p, now)) {
        struct sp_krpc got;
        CHECK_EQ(sp_krpc_read((struct sp_slice){p.bytes, p.len}, &got), SP_OK);
        if (got.kind == SP_KRPC_QUERY)
            continue; /* it asks whether we are there */
        *buf = p;
        len = p.len;
        CHECK_EQ(sp_krpc_read((struct sp_slice){buf->bytes, buf->len}, ret), SP_OK);
        CHECK(sp_addr_eq(&p.to, from));
    }
    return len;
}

TEST(a_token_is_needed_and_good_for_its_address_and_key_alone)
{
    struct sp_rng rng = sp_rng_of(5);
    struct sp_dht *d = node(&rng, 0, 0);
    struct sp_addr a = addr_of(1), b = addr_of(2);
    struct sp_krpc get = {.method = SP_KRPC_GET_PEERS, .has_target = true}, r;
    struct sp_dht_packet buf;
    uint8_t token[SP_KRPC_TOKEN_MAX];
    size_t asked;
    get.target.b[0] = 9;
    CHECK(say(d, &a, &get, &r, &buf, &asked, 0) > 0);
    CHECK_EQ(r.token.len, 8);
    memcpy(token, r.token.ptr, 8);
    struct sp_krpc put = {.method = SP_KRPC_ANNOUNCE_PEER, .has_target = true, .port = 80};
    put.target = get.target;
    CHECK(say(d, &a, &put, &r, &buf, &asked, 0) && r.error == SP_KRPC_E_PROTOCOL);
    put.token = (struct sp_slice){token, 8};
    CHECK(say(d, &b, &put, &r, &buf, &asked, 0) && r.error == SP_KRPC_E_PROTOCOL);
    put.target.b[0] = 8;
    CHECK(say(d, &a, &put, &r, &buf, &asked, 0) && r.error == SP_KRPC_E_PROTOCOL);
    put.target.b[0] = 9;
    CHECK(say(d, &a, &put, &r, &buf, &asked, 9 * 60 * SP_SECOND_NS) && r.kind == SP_KRPC_REPLY);
    CHECK(say(d, &a, &put, &r, &buf, &asked, 11 * 60 * SP_SECOND_NS) &&
          r.error == SP_KRPC_E_PROTOCOL);
    CHECK(say(d, &b, &get, &r, &buf, &asked, 11 * 60 * SP_SECOND_NS) > 0);
    CHECK_EQ(r.value_count, 1);
    CHECK(r.values[0].len == 6 && r.values[0].ptr[3] == 7 && r.values[0].ptr[5] == 80);
    sp_dht_free(d);
}

TEST(a_put_is_refused_with_its_reason)
{
    struct sp_rng rng = sp_rng_of(11);
    struct sp_dht *d = node(&rng, 0, 0);
    struct sp_addr a = addr_of(1);
    struct sp_krpc r, get = {.method = SP_KRPC_GET, .has_target = true};
    struct sp_dht_packet buf;
    struct sp_dht_item it = item_of(4, "s", 5, 20);
    uint8_t token[8];
    size_t asked;

    get.target = sp_dht_item_target(&it);
    CHECK(say(d, &a, &get, &r, &buf, &asked, 0) > 0);
    CHECK(r.token.len == 8 && r.v.len == 0 && !r.has_seq);
    memcpy(token, r.token.ptr, 8);
    struct sp_krpc put = {.method = SP_KRPC_PUT, .token = {token, 8}, .has_seq = true, .seq = 5};
    put.v = (struct sp_slice){it.v, it.v_len};
    put.key = (struct sp_slice){it.key, 32};
    put.sig = (struct sp_slice){it.sig, 64};
    put.salt = (struct sp_slice){it.salt, 1};
    struct sp_krpc bad = put;
    bad.salt.len = 0; /* another key, for which the token is not */
    CHECK(say(d, &a, &bad, &r, &buf, &asked, 0) && r.error == SP_KRPC_E_PROTOCOL);
    bad = put;
    bad.seq = 6;
    CHECK(say(d, &a, &bad, &r, &buf, &asked, 0) && r.error == SP_KRPC_E_SIGNATURE);
    bad = put;
    bad.token.len = 7;
    uint32_t before = verified;
    CHECK(say(d, &a, &bad, &r, &buf, &asked, 0) && r.error == SP_KRPC_E_PROTOCOL);
    CHECK_EQ(verified, before);
    CHECK(say(d, &a, &put, &r, &buf, &asked, 0) && r.kind == SP_KRPC_REPLY);
    CHECK(say(d, &a, &put, &r, &buf, &asked, 0) && r.kind == SP_KRPC_REPLY);
    struct sp_dht_item older = item_of(4, "s", 4, 20);
    bad = put;
    bad.seq = 4;
    bad.v = (struct sp_slice){older.v, older.v_len};
    bad.sig = (struct sp_slice){older.sig, 64};
    CHECK(say(d, &a, &bad, &r, &buf, &asked, 0) && r.error == SP_KRPC_E_SEQ);
    bad.has_cas = true;
    bad.cas = 2;
    CHECK(say(d, &a, &bad, &r, &buf, &asked, 0) && r.error == SP_KRPC_E_CAS);
    get.has_seq = true;
    get.seq = 5;
    CHECK(say(d, &a, &get, &r, &buf, &asked, 0) > 0);
    CHECK(r.has_seq && r.seq == 5 && r.v.len == 0 && r.key.len == 0);
    get.seq = 4;
    CHECK(say(d, &a, &get, &r, &buf, &asked, 0) > 0);
    CHECK(r.seq == 5 && r.v.len == it.v_len && r.sig.len == 64);
    sp_dht_free(d);
    CHECK_EQ(plain.live, 0);
}

TEST(strangers_get_no_more_than_three_times_what_they_sent)
{
    struct net n;
    static const enum sp_krpc_method methods[] = {
        SP_KRPC_PING, SP_KRPC_FIND_NODE, SP_KRPC_GET_PEERS,    SP_KRPC_SAMPLE,
        SP_KRPC_GET,  SP_KRPC_PUT,       SP_KRPC_ANNOUNCE_PEER};
    begin_net(&n, 60, 6);
    run(&n, 60 * SP_SECOND_NS);
    struct sp_addr victim = addr_of(280);
    for (size_t i = 0; i < SP_COUNT(methods); i++) {
        struct sp_krpc q = {.method = methods[i], .has_target = true, .scrape = true}, r;
        struct sp_dht_packet buf;
        size_t asked;
        uint32_t len = say(n.nodes[5], &victim, &q, &r, &buf, &asked, n.now);
        CHECK(len > 0 && len <= 3 * asked);
        CHECK(methods[i] != SP_KRPC_FIND_NODE || r.nodes.len >= 4 * 26u);
    }
    end_net(&n);
}

TEST(a_flood_is_passed_over_and_a_read_only_node_is_silent)
{
    struct sp_rng rng = sp_rng_of(7);
    struct sp_dht *d = node(&rng, 0, 0);
    struct sp_addr a = addr_of(1);
    struct sp_dht_packet buf;
    struct sp_krpc r;
    uint32_t answered = 0;
    size_t asked;
    for (int i = 0; i < 200; i++) {
        struct sp_krpc q = {.method = SP_KRPC_PING};
        answered += say(d, &a, &q, &r, &buf, &asked, 0) > 0;
    }
    CHECK_EQ(answered, 30);
    struct sp_krpc q = {.method = SP_KRPC_PING};
    CHECK(say(d, &a, &q, &r, &buf, &asked, 6 * SP_SECOND_NS) > 0);
    sp_dht_set_read_only(d, true);
    CHECK_EQ(say(d, &a, &q, &r, &buf, &asked, 6 * SP_SECOND_NS), 0);
    sp_dht_free(d);
    CHECK_EQ(plain.live, 0);
}

TEST(an_idle_node_is_small)
{
    struct net n;
    begin_net(&n, 120, 8);
    run(&n, 200 * SP_SECOND_NS);
    hush(&n);
    for (uint32_t i = 0; i < n.count; i++)
        drain(&n, i);
    run(&n, 20 * SP_SECOND_NS);
    hush(&n);
    /* The node, its table, and what is under way with the one being pinged. */
    CHECK(plain.live <= (int)(n.count * 8));
    end_net(&n);
}

TEST(out_of_memory_anywhere_leaves_a_node_that_works)
{
    for (int fail = 0; fail < 40; fail++) {
        struct torture t = {.until_failure = fail};
        struct sp_mem mem = {torture_alloc, torture_free, &t};
        struct sp_dht_cfg cfg = {.mem = &mem, .seed = 1, .family = SP_V4};
        struct sp_dht *d = NULL;
        if (sp_dht_new(&cfg, 0, &d) != SP_OK)
            continue;
        for (uint32_t i = 1; i < 12; i++) {
            struct sp_rng rng = sp_rng_of(i);
            struct sp_dht_contact c = {sp_dht_id_random(&rng), addr_of(i)};
            sp_dht_add_saved(d, &c, 0);
        }
        struct sp_dht_id target = {{1}};
        (void)sp_dht_get_peers(d, &target, NULL, 0);
        for (sp_time_ns now = 0; now < 60 * SP_SECOND_NS; now += SP_SECOND_NS / 4) {
            struct sp_dht_packet p;
            struct sp_dht_event ev;
            sp_dht_tick(d, now);
            while (sp_dht_send(d, &p, now))
                ;
            while (sp_dht_next(d, &ev))
                ;
        }
        struct sp_dht_stats stats;
        sp_dht_stats(d, 0, &stats);
        CHECK_EQ(stats.lookups, 0);
        sp_dht_free(d);
        CHECK_EQ(t.live, 0);
    }
}

int main(void)
{
    return check_run();
}
