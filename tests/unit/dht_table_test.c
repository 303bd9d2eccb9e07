#include "check.h"
#include "core/dht/table.h"
#include "torture.h"

static struct torture plain = {.until_failure = -1};
static const struct sp_mem MEM = {torture_alloc, torture_free, &plain};

static struct sp_dht_contact stranger(struct sp_rng *rng, enum sp_family family)
{
    struct sp_dht_contact c = {.id = sp_dht_id_random(rng)};
    uint8_t ip[16] = {0x20, 0x01};
    sp_rng_bytes(rng, ip + 2, 14);
    ip[0] = family == SP_V4 ? 84 : 0x20;
    c.addr = family == SP_V4 ? sp_addr_v4(ip, 6881) : sp_addr_v6(ip, 6881);
    if (family == SP_V4) {
        c.addr.ip[1] = ip[5];
        c.addr.ip[2] = ip[6];
        c.addr.ip[3] = ip[7];
    }
    return c;
}

static void fill(struct sp_dht_table *t, struct sp_rng *rng, int count)
{
    for (int i = 0; i < count; i++) {
        struct sp_dht_contact c = stranger(rng, (enum sp_family)t->family);
        (void)sp_dht_table_answered(t, &c, 50 + (uint32_t)sp_rng_below(rng, 300),
                                    (sp_time_ns)i * SP_SECOND_NS);
        if (sp_rng_below(rng, 4) == 0) {
            struct sp_dht_known k =
                sp_dht_table_at(t, (uint32_t)sp_rng_below(rng, t->count), (sp_time_ns)i);
            sp_dht_table_failed(t, &k.contact);
        }
        const char *why = i % 16 ? NULL : sp_dht_table_broken(t);
        if (why) {
            printf("# after %d: %s\n", i, why);
            CHECK(false);
            return;
        }
    }
}

TEST(a_table_stays_in_order_and_small)
{
    for (int family = SP_V4; family <= SP_V6; family += 2) {
        for (uint64_t seed = 0; seed < 5; seed++) {
            struct sp_rng rng = sp_rng_of(seed);
            struct sp_dht_id self = sp_dht_id_random(&rng);
            struct sp_dht_table t;
            sp_dht_table_init(&t, &MEM, &self, (enum sp_family)family);
            fill(&t, &rng, 5000);
            CHECK(t.count > 150 && t.count < 240);
            CHECK(t.depth >= 7 && t.depth <= 14);
            CHECK(t.cap * (family == SP_V4 ? 32u : 44u) <= (family == SP_V4 ? 8192u : 11264u));
            sp_dht_table_done(&t);
        }
    }
    CHECK_EQ(plain.live, 0);
}

TEST(the_closest_are_those_that_a_search_through_all_finds)
{
    struct sp_rng rng = sp_rng_of(11);
    struct sp_dht_id self = sp_dht_id_random(&rng);
    struct sp_dht_known got[8];
    struct sp_dht_table t;
    sp_dht_table_init(&t, &MEM, &self, SP_V4);
    fill(&t, &rng, 3000);
    for (int i = 0; i < 200; i++) {
        struct sp_dht_id target = sp_dht_id_random(&rng);
        uint32_t n = sp_dht_table_closest(&t, &target, got, 8, 0);
        CHECK_EQ(n, 8);
        for (uint32_t k = 1; k < n; k++)
            CHECK(sp_dht_id_cmp(&got[k - 1].contact.id, &got[k].contact.id, &target) < 0);
        uint32_t nearer = 0;
        for (uint32_t k = 0; k < t.count; k++) {
            struct sp_dht_known o = sp_dht_table_at(&t, k, 0);
            nearer += !o.fails && sp_dht_id_cmp(&o.contact.id, &got[n - 1].contact.id, &target) < 0;
        }
        CHECK_EQ(nearer, n - 1);
    }
    sp_dht_table_done(&t);
}

static struct sp_dht_table fresh(struct sp_rng *rng)
{
    struct sp_dht_id self = sp_dht_id_random(rng);
    struct sp_dht_table t;
    sp_dht_table_init(&t, &MEM, &self, SP_V4);
    return t;
}

TEST(an_address_has_one_place)
{
    struct sp_rng rng = sp_rng_of(3);
    struct sp_dht_table t = fresh(&rng);
    struct sp_dht_contact a = stranger(&rng, SP_V4), b = a, c = a;
    CHECK(sp_dht_table_answered(&t, &a, 10, 0));
    CHECK(sp_dht_table_answered(&t, &a, 10, 0));
    CHECK_EQ(t.count, 1);
    b.id = sp_dht_id_random(&rng); /* another id: the old one is out */
    CHECK(sp_dht_table_answered(&t, &b, 10, 0));
    CHECK_EQ(t.count, 1);
    c.addr.port = 7;
    CHECK(!sp_dht_table_answered(&t, &c, 10, 0));
    sp_dht_table_failed(&t, &b);
    CHECK(sp_dht_table_answered(&t, &c, 10, 0));
    CHECK_EQ(t.count, 1);
    sp_dht_table_done(&t);
}

TEST(a_network_has_one_place_in_a_bucket_but_not_where_it_is_local)
{
    struct sp_rng rng = sp_rng_of(4);
    struct sp_dht_table t = fresh(&rng);
    struct sp_dht_contact a = stranger(&rng, SP_V4);
    CHECK(sp_dht_table_answered(&t, &a, 10, 0));
    for (int i = 0; i < 20; i++) {
        a.id = sp_dht_id_near(&t.self, 0, &rng);
        a.addr.ip[3]++;
        (void)sp_dht_table_answered(&t, &a, 10, 0);
    }
    CHECK(t.count <= 2);
    for (int i = 0; i < 8; i++) {
        struct sp_dht_contact local = {sp_dht_id_random(&rng), {.family = SP_V4, .port = 1}};
        local.addr.ip[0] = 127;
        local.addr.port = (uint16_t)(100 + i);
        CHECK(sp_dht_table_answered(&t, &local, 10, 0));
    }
    CHECK_EQ(sp_dht_table_broken(&t) != NULL, 0);
    sp_dht_table_done(&t);
}

TEST(who_fails_is_not_named_and_goes_in_the_end)
{
    struct sp_rng rng = sp_rng_of(5);
    struct sp_dht_table t = fresh(&rng);
    struct sp_dht_contact a = stranger(&rng, SP_V4), saved = stranger(&rng, SP_V4);
    struct sp_dht_known k[2];
    CHECK(sp_dht_table_answered(&t, &a, 10, 0));
    CHECK(sp_dht_table_answered(&t, &saved, 0, 0)); /* of an earlier run: one try */
    sp_dht_table_failed(&t, &saved);
    CHECK_EQ(t.count, 1);
    sp_dht_table_failed(&t, &a);
    CHECK_EQ(sp_dht_table_closest(&t, &a.id, k, 2, 0), 0);
    CHECK(sp_dht_table_answered(&t, &a, 10, 0));
    CHECK_EQ(sp_dht_table_closest(&t, &a.id, k, 2, 0), 1);
    for (int i = 0; i < SP_DHT_FAILS_MAX - 1; i++)
        sp_dht_table_failed(&t, &a);
    CHECK_EQ(t.count, 1);
    sp_dht_table_failed(&t, &a);
    CHECK_EQ(t.count, 0);
    sp_dht_table_done(&t);
}

TEST(goodness_ends_after_fifteen_minutes)
{
    struct sp_rng rng = sp_rng_of(6);
    struct sp_dht_table t = fresh(&rng);
    struct sp_dht_contact a = stranger(&rng, SP_V4);
    CHECK(sp_dht_table_answered(&t, &a, 10, 0));
    CHECK_EQ(sp_dht_table_good(&t, SP_DHT_GOOD_NS), 1);
    CHECK_EQ(sp_dht_table_good(&t, SP_DHT_GOOD_NS + 8 * SP_SECOND_NS), 0);
    sp_dht_table_heard(&t, &a, SP_DHT_GOOD_NS);
    CHECK_EQ(sp_dht_table_good(&t, SP_DHT_GOOD_NS + 8 * SP_SECOND_NS), 1);
    sp_dht_table_done(&t);
}

TEST(the_stalest_is_asked_for_what_fills_its_bucket)
{
    struct sp_rng rng = sp_rng_of(7);
    struct sp_dht_table t = fresh(&rng);
    struct sp_dht_known k;
    struct sp_dht_id target;
    CHECK(!sp_dht_table_stalest(&t, &k, &target, &rng, 0));
    fill(&t, &rng, 2000);
    for (int i = 0; i < 100; i++) {
        sp_time_ns now = (sp_time_ns)(3000 + 5 * i) * SP_SECOND_NS;
        CHECK(sp_dht_table_stalest(&t, &k, &target, &rng, now));
        uint32_t shared = sp_dht_id_common(&t.self, &k.contact.id);
        uint32_t bucket = shared < t.depth - 1 ? shared : t.depth - 1;
        CHECK(bucket == t.depth - 1 ? sp_dht_id_eq(&target, &t.self)
                                    : sp_dht_id_common(&t.self, &target) == bucket);
        CHECK(sp_dht_table_answered(&t, &k.contact, 20, now));
    }
    sp_dht_table_done(&t);
}

TEST(the_size_of_the_network_is_estimated)
{
    for (uint32_t nodes = 1000; nodes <= 16000; nodes *= 4) {
        uint64_t sum = 0;
        for (uint64_t seed = 0; seed < 8; seed++) {
            struct sp_rng rng = sp_rng_of(seed + nodes);
            struct sp_dht_table t = fresh(&rng);
            for (uint32_t i = 0; i < nodes; i++) {
                struct sp_dht_contact c = stranger(&rng, SP_V4);
                (void)sp_dht_table_answered(&t, &c, 100, 0);
            }
            sum += sp_dht_table_network_size(&t);
            sp_dht_table_done(&t);
        }
        CHECK(sum / 8 > nodes / 2 && sum / 8 < nodes * 2);
    }
}

TEST(another_id_keeps_what_it_has_room_for)
{
    struct sp_rng rng = sp_rng_of(8);
    struct sp_dht_table t = fresh(&rng);
    fill(&t, &rng, 3000);
    struct sp_dht_id id = sp_dht_id_random(&rng);
    uint32_t before = t.count;
    sp_dht_table_set_self(&t, &id);
    CHECK(sp_dht_table_broken(&t) == NULL);
    CHECK(t.count >= before / 3 && t.count <= before);
    sp_dht_table_done(&t);
    CHECK_EQ(plain.live, 0);
}

/* Forty that share one bit come while there is but one bucket, of 64; their own
 * has room for 32. */
TEST(a_split_leaves_no_bucket_too_full)
{
    struct sp_rng rng = sp_rng_of(10);
    struct sp_dht_table t = fresh(&rng);
    for (uint32_t i = 0; i < 80; i++) {
        struct sp_dht_contact c = stranger(&rng, SP_V4);
        c.id = sp_dht_id_near(&t.self, i < 40 ? 1 : i < 64 ? 0 : 2 + i % 8, &rng);
        (void)sp_dht_table_answered(&t, &c, 10, 0);
        CHECK(sp_dht_table_broken(&t) == NULL);
    }
    CHECK_EQ(t.in_bucket[1], 32);
    sp_dht_table_done(&t);
}

TEST(out_of_memory_loses_a_node_and_nothing_else)
{
    for (int n = 0; n < 6; n++) {
        struct torture fails = {.until_failure = n};
        struct sp_mem mem = {torture_alloc, torture_free, &fails};
        struct sp_rng rng = sp_rng_of(9);
        struct sp_dht_id self = sp_dht_id_random(&rng);
        struct sp_dht_table t;
        sp_dht_table_init(&t, &mem, &self, SP_V4);
        for (int i = 0; i < 200; i++) {
            struct sp_dht_contact c = stranger(&rng, SP_V4);
            (void)sp_dht_table_answered(&t, &c, 10, 0);
            CHECK(sp_dht_table_broken(&t) == NULL);
        }
        sp_dht_table_done(&t);
        CHECK_EQ(fails.live, 0);
    }
}

int main(void)
{
    return check_run();
}
