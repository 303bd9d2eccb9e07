#include "check.h"
#include "core/dht/peers.h"
#include "torture.h"

static struct torture plain = {.until_failure = -1};
static const struct sp_mem MEM = {torture_alloc, torture_free, &plain};
static const struct sp_hash_key KEY = {3, 4};
static const struct sp_dht_id SELF = {{1}};

struct lab {
    struct sp_rng rng;
    struct sp_dht_peers p;
};

static void begin(struct lab *l, const struct sp_mem *mem)
{
    l->rng = sp_rng_of(5);
    sp_dht_peers_init(&l->p, mem, &l->rng, &KEY, SP_V4);
}

static struct sp_addr host(uint32_t n)
{
    uint8_t ip[4] = {84, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
    return sp_addr_v4(ip, 6881);
}

static struct sp_dht_id key(uint32_t n)
{
    struct sp_dht_id id = {{(uint8_t)(n >> 8), (uint8_t)n}};
    return id;
}

static enum sp_err put(struct lab *l, uint32_t k, uint32_t h, bool seed, sp_time_ns now)
{
    struct sp_dht_id id = key(k);
    struct sp_addr a = host(h);
    return sp_dht_peers_put(&l->p, &SELF, &id, &a, seed, now);
}

static uint32_t get(struct lab *l, uint32_t k, bool no_seeds, struct sp_slice *values, uint32_t max)
{
    struct sp_dht_id id = key(k);
    return sp_dht_peers_get(&l->p, &id, no_seeds, values, max);
}

TEST(what_is_put_is_got_once_for_an_address)
{
    struct lab l;
    struct sp_slice v[10];
    uint8_t want[SP_COMPACT6_LEN];
    begin(&l, &MEM);
    CHECK_EQ(get(&l, 1, false, v, 10), 0);
    CHECK_EQ(put(&l, 1, 7, false, 0), SP_OK);
    CHECK_EQ(put(&l, 1, 7, true, 0), SP_OK);
    CHECK_EQ(put(&l, 1, 8, false, 0), SP_OK);
    CHECK_EQ(get(&l, 1, false, v, 10), 2);
    CHECK_EQ(get(&l, 1, true, v, 10), 1);
    struct sp_addr a = host(8);
    CHECK_EQ(sp_addr_compact(&a, want), 6);
    CHECK(v[0].len == 6 && memcmp(v[0].ptr, want, 6) == 0);
    CHECK_EQ(get(&l, 2, false, v, 10), 0);
    sp_dht_peers_done(&l.p);
    CHECK_EQ(plain.live, 0);
}

TEST(a_reply_begins_at_random_so_that_all_are_named)
{
    struct lab l;
    struct sp_slice v[4];
    uint8_t seen[64] = {0};
    begin(&l, &MEM);
    for (uint32_t h = 0; h < 64; h++)
        CHECK_EQ(put(&l, 1, h, false, 0), SP_OK);
    for (int i = 0; i < 400; i++) {
        CHECK_EQ(get(&l, 1, false, v, 4), 4);
        for (int k = 0; k < 4; k++)
            seen[v[k].ptr[3]] = 1;
    }
    CHECK(memchr(seen, 0, sizeof(seen)) == NULL);
    sp_dht_peers_done(&l.p);
}

TEST(a_key_takes_so_many_and_tokens_run_dry_before)
{
    struct lab l;
    struct sp_dht_id id = key(1);
    uint32_t given[3] = {0}, marks[3] = {290, 400, 500};
    begin(&l, &MEM);
    for (uint32_t h = 0, m = 0; h < 600; h++) {
        if (m < 3 && h == marks[m]) {
            for (int i = 0; i < 1000; i++)
                given[m] += sp_dht_peers_may_grow(&l.p, &id);
            m++;
        }
        CHECK_EQ(put(&l, 1, h, false, 0), h < SP_DHT_KEY_PEERS_MAX ? SP_OK : SP_ELIMIT);
    }
    CHECK_EQ(given[0], 1000);
    CHECK(given[1] > 400 && given[1] < 600);
    CHECK_EQ(given[2], 0);
    CHECK_EQ(put(&l, 1, 3, false, 0), SP_OK); /* who is in may say so again */
    sp_dht_peers_done(&l.p);
}

TEST(peers_and_keys_go_when_they_are_old)
{
    struct lab l;
    struct sp_slice v[10];
    begin(&l, &MEM);
    for (uint32_t k = 0; k < 100; k++)
        CHECK_EQ(put(&l, k, 1, false, 0), SP_OK);
    CHECK_EQ(put(&l, 5, 2, false, SP_DHT_PEER_NS / 2), SP_OK);
    for (int i = 0; i < 50; i++)
        sp_dht_peers_tick(&l.p, SP_DHT_PEER_NS);
    CHECK_EQ(l.p.count, 100);
    for (int i = 0; i < 50; i++)
        sp_dht_peers_tick(&l.p, SP_DHT_PEER_NS + 8 * SP_SECOND_NS);
    CHECK_EQ(l.p.count, 1);
    CHECK_EQ(get(&l, 5, false, v, 10), 1);
    sp_dht_peers_done(&l.p);
    CHECK_EQ(plain.live, 0);
}

TEST(of_too_many_keys_the_popular_and_near_ones_stay)
{
    struct lab l;
    struct sp_slice v[2];
    uint32_t kept = 0;
    begin(&l, &MEM);
    for (uint32_t k = 0; k < 200; k++) {
        CHECK_EQ(put(&l, k, 1, false, 0), SP_OK);
        CHECK_EQ(put(&l, k, 2, false, 0), SP_OK);
    }
    for (uint32_t k = 200; k < 5000; k++)
        CHECK_EQ(put(&l, k, 1, false, 0), SP_OK);
    CHECK_EQ(l.p.count, SP_DHT_KEYS_MAX);
    for (uint32_t k = 0; k < 200; k++)
        kept += get(&l, k, false, v, 2) == 2;
    CHECK_EQ(kept, 200);
    sp_dht_peers_done(&l.p);
}

TEST(samples_stay_the_same_for_their_time)
{
    struct lab l;
    const struct sp_dht_id *keys;
    struct sp_dht_id first[SP_DHT_SAMPLES_MAX];
    uint32_t interval;
    begin(&l, &MEM);
    CHECK_EQ(sp_dht_peers_sample(&l.p, 0, &keys, &interval), 0);
    for (uint32_t k = 0; k < 10; k++)
        CHECK_EQ(put(&l, k, 1, false, 0), SP_OK);
    CHECK_EQ(sp_dht_peers_sample(&l.p, 0, &keys, &interval), 10);
    CHECK_EQ(interval, 0);
    for (uint32_t k = 0; k < 500; k++)
        CHECK_EQ(put(&l, k, 1, false, 0), SP_OK);
    sp_time_ns later = SP_DHT_SAMPLE_S * SP_SECOND_NS;
    CHECK_EQ(sp_dht_peers_sample(&l.p, later, &keys, &interval), 20);
    CHECK_EQ(interval, SP_DHT_SAMPLE_S);
    memcpy(first, keys, sizeof(first));
    CHECK_EQ(sp_dht_peers_sample(&l.p, later + 100 * SP_SECOND_NS, &keys, &interval), 20);
    CHECK(memcmp(first, keys, sizeof(first)) == 0);
    CHECK_EQ(interval, SP_DHT_SAMPLE_S - 100);
    CHECK_EQ(sp_dht_peers_sample(&l.p, 2 * later, &keys, &interval), 20);
    CHECK(memcmp(first, keys, sizeof(first)) != 0);
    sp_dht_peers_done(&l.p);
}

/* BEP-0033 "Test Vectors" */
TEST(the_bloom_filter_is_that_of_the_text)
{
    static const uint8_t start[8] = {0xf6, 0xc3, 0xf5, 0xea, 0xa0, 0x7f, 0xfd, 0x91};
    static const uint8_t end[8] = {0x9f, 0x6a, 0xef, 0xfe, 0xee, 0x76, 0xb6, 0xfd};
    uint8_t bloom[SP_KRPC_BLOOM_LEN] = {0}, empty[SP_KRPC_BLOOM_LEN] = {0};
    for (uint32_t i = 0; i < 256; i++) {
        uint8_t ip[4] = {192, 0, 2, (uint8_t)i};
        sp_dht_bloom_add(bloom, ip, 4);
    }
    for (uint32_t i = 0; i < 1000; i++) {
        uint8_t ip[16] = {0x20, 0x01, 0x0d, 0xb8, [14] = (uint8_t)(i >> 8), (uint8_t)i};
        sp_dht_bloom_add(bloom, ip, 16);
    }
    CHECK(memcmp(bloom, start, 8) == 0);
    CHECK(memcmp(bloom + 245, end, 8) == 0);
    CHECK(memcmp(bloom + 253, "\x8f\x72\xef", 3) == 0);
    /* "For the 1256 inserted values the calculated estimate should be 1224.9308" */
    uint64_t milli = sp_dht_bloom_count_milli(bloom);
    CHECK(milli >= 1224930 && milli <= 1224932);
    CHECK(sp_dht_bloom_count_milli(empty) <= 500);
}

TEST(a_scrape_counts_addresses)
{
    struct lab l;
    uint8_t seeds[SP_KRPC_BLOOM_LEN], peers[SP_KRPC_BLOOM_LEN];
    struct sp_dht_id id = key(1);
    begin(&l, &MEM);
    CHECK(!sp_dht_peers_scrape(&l.p, &id, seeds, peers));
    for (uint32_t h = 0; h < 300; h++)
        CHECK_EQ(put(&l, 1, h, h % 3 == 0, 0), SP_OK);
    CHECK(sp_dht_peers_scrape(&l.p, &id, seeds, peers));
    uint64_t s = sp_dht_bloom_count_milli(seeds), p = sp_dht_bloom_count_milli(peers);
    CHECK(s > 95000 && s < 105000);
    CHECK(p > 190000 && p < 210000);
    sp_dht_peers_done(&l.p);
}

TEST(out_of_memory_leaves_the_store_whole)
{
    for (int n = 0; n < 12; n++) {
        struct torture fails = {.until_failure = n};
        struct sp_mem mem = {torture_alloc, torture_free, &fails};
        struct lab l;
        begin(&l, &mem);
        uint32_t failed = 0;
        for (uint32_t i = 0; i < 20; i++) {
            enum sp_err err = put(&l, i % 7, i, false, 0);
            CHECK(err == SP_OK || err == SP_ENOMEM);
            failed += err == SP_ENOMEM;
        }
        CHECK_EQ(failed, 1);
        sp_dht_peers_done(&l.p);
        CHECK_EQ(fails.live, 0);
    }
}

int main(void)
{
    return check_run();
}
