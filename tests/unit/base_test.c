#include "check.h"
#include "core/base/addr.h"
#include "core/base/bits.h"
#include "core/base/buf.h"
#include "core/base/crc32c.h"
#include "core/base/hash.h"
#include "core/base/hex.h"
#include "core/base/map.h"
#include "core/base/rate.h"
#include "core/base/rng.h"
#include "core/base/sha1.h"
#include "core/base/timers.h"
#include "torture.h"

static struct torture plain = {.until_failure = -1};
static const struct sp_mem MEM = {torture_alloc, torture_free, &plain};

static const struct {
    const char *text;
    bool port;
    const char *back; /* NULL: refused */
} addrs[] = {
    {"1.2.3.4:80", true, "1.2.3.4:80"},
    {"1.2.3.4", false, "1.2.3.4"},
    {"[::1]:6881", true, "[::1]:6881"},
    {"::", false, "::"},
    {"::1", false, "::1"},
    {"1::", false, "1::"},
    {"2001:db8::1:0:0:1", false, "2001:db8::1:0:0:1"},
    {"1:0:0:2:0:0:0:3", false, "1:0:0:2::3"},
    {"1:2:3:4:5:6:7:8", false, "1:2:3:4:5:6:7:8"},
    {"0:1:2:3:4:5:6:7", false, "0:1:2:3:4:5:6:7"},
    {"[::ffff:9.8.7.6]:5", true, "9.8.7.6:5"},
    {"64:ff9b::1.2.3.4", false, "64:ff9b::102:304"},
    {"1.2.3.4:0", true, NULL},
    {"1.2.3.4:65536", true, NULL},
    {"1.2.3.4:", true, NULL},
    {"1.2.3.4:080", true, NULL},
    {"1.2.3", false, NULL},
    {"1.2.3.256", false, NULL},
    {"01.2.3.4", false, NULL},
    {"1.2.3.4 ", false, NULL},
    {"[::1:6881", true, NULL},
    {"1::2::3", false, NULL},
    {"1:2:3:4:5:6:7", false, NULL},
    {"1:2:3:4:5:6:7:8:9", false, NULL},
    {"1:2:3:4:5:6:7:8::", false, NULL},
    {":1", false, NULL},
    {"1:", false, NULL},
    {"12345::", false, NULL},
    {"", false, NULL},
};

TEST(addr_reads_and_writes)
{
    for (size_t i = 0; i < SP_COUNT(addrs); i++) {
        struct sp_addr a = {0};
        char text[SP_ADDR_TEXT_LEN];
        struct sp_slice in = {(const uint8_t *)addrs[i].text, strlen(addrs[i].text)};
        enum sp_err err = sp_addr_parse(in, addrs[i].port, &a);
        CHECK_EQ(err, addrs[i].back ? SP_OK : SP_EDATA);
        if (err == SP_OK && addrs[i].back && strcmp(sp_addr_text(&a, text), addrs[i].back) != 0) {
            printf("# %s became %s\n", addrs[i].text, text);
            CHECK(false);
        }
    }
}

TEST(addr_scopes)
{
    static const struct {
        const char *text;
        enum sp_scope scope;
    } cases[] = {
        {"8.8.8.8", SP_SCOPE_GLOBAL},
        {"127.0.0.1", SP_SCOPE_LOOPBACK},
        {"::1", SP_SCOPE_LOOPBACK},
        {"10.0.0.1", SP_SCOPE_PRIVATE},
        {"172.31.0.1", SP_SCOPE_PRIVATE},
        {"172.32.0.1", SP_SCOPE_GLOBAL},
        {"100.64.0.1", SP_SCOPE_PRIVATE},
        {"169.254.1.1", SP_SCOPE_LINK},
        {"fe80::1", SP_SCOPE_LINK},
        {"fd00::1", SP_SCOPE_PRIVATE},
        {"0.0.0.0", SP_SCOPE_NONE},
        {"224.0.0.1", SP_SCOPE_NONE},
        {"::", SP_SCOPE_NONE},
        {"ff02::1", SP_SCOPE_NONE},
        {"2a00::1", SP_SCOPE_GLOBAL},
        {"::ffff:127.0.0.1", SP_SCOPE_LOOPBACK},
        {"64:ff9b::127.0.0.1", SP_SCOPE_LOOPBACK},
        {"64:ff9b::192.168.0.1", SP_SCOPE_PRIVATE},
        {"64:ff9b::8.8.8.8", SP_SCOPE_GLOBAL},
        {"64:ff9b:1::8.8.8.8", SP_SCOPE_PRIVATE},
        {"2002:7f00:1::", SP_SCOPE_LOOPBACK},
        {"2002:a9fe:a9fe::1", SP_SCOPE_LINK},
        {"2002:808:808::1", SP_SCOPE_GLOBAL},
        {"2001::f5ff:fffe", SP_SCOPE_PRIVATE}, /* Teredo of 10.0.0.1 */
        {"::10.0.0.1", SP_SCOPE_PRIVATE},
        {"100::1", SP_SCOPE_NONE},
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        struct sp_addr a = {0};
        struct sp_slice in = {(const uint8_t *)cases[i].text, strlen(cases[i].text)};
        CHECK_EQ(sp_addr_parse(in, false, &a), SP_OK);
        CHECK_EQ(sp_addr_scope(&a), cases[i].scope);
    }
}

TEST(addr_compact_round_trip)
{
    static const char *const texts[] = {"1.2.3.4:5", "[2a00::7]:65535"};
    for (size_t i = 0; i < SP_COUNT(texts); i++) {
        struct sp_addr a = {0}, b;
        uint8_t raw[SP_COMPACT6_LEN];
        CHECK_EQ(
            sp_addr_parse((struct sp_slice){(const uint8_t *)texts[i], strlen(texts[i])}, true, &a),
            SP_OK);
        CHECK_EQ(sp_addr_compact(&a, raw), i ? 18 : 6);
        b = sp_addr_of_compact(raw, i ? SP_V6 : SP_V4);
        CHECK(sp_addr_eq(&a, &b));
    }
}

/* FIPS 180 examples, and every way to cut the input. */
TEST(sha1_vectors)
{
    uint8_t digest[SP_SHA1_LEN], again[SP_SHA1_LEN];
    char hex[41];
    sp_sha1_of("abc", 3, digest);
    CHECK(strcmp(sp_hex(digest, 20, hex), "a9993e364706816aba3e25717850c26c9cd0d89d") == 0);
    sp_sha1_of("", 0, digest);
    CHECK(strcmp(sp_hex(digest, 20, hex), "da39a3ee5e6b4b0d3255bfef95601890afd80709") == 0);

    uint8_t text[200];
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (uint8_t)(i * 7);
    for (size_t len = 0; len <= sizeof(text); len++) {
        sp_sha1_of(text, len, digest);
        for (size_t cut = 0; cut <= len; cut += 13) {
            struct sp_sha1 s;
            sp_sha1_init(&s);
            sp_sha1_add(&s, text, cut);
            sp_sha1_add(&s, text + cut, len - cut);
            sp_sha1_end(&s, again);
            CHECK(memcmp(digest, again, 20) == 0);
        }
    }
}

/* Goal: the bitfield agrees with a plain array of bools.  Method: random
 * changes, each count and search compared. */
TEST(bits_agree_with_bools)
{
    struct sp_rng rng = sp_rng_of(1);
    for (uint32_t count = 1; count < 200; count += 7) {
        struct sp_bits a, b;
        bool model[200] = {false};
        CHECK_EQ(sp_bits_init(&a, &MEM, count), SP_OK);
        CHECK_EQ(sp_bits_init(&b, &MEM, count), SP_OK);
        for (int step = 0; step < 300; step++) {
            uint32_t ix = (uint32_t)sp_rng_below(&rng, count);
            bool on = sp_rng_below(&rng, 2);
            bool changed = on ? sp_bits_add(&a, ix) : sp_bits_del(&a, ix);
            CHECK_EQ(changed, model[ix] != on);
            model[ix] = on;
            uint32_t from = (uint32_t)sp_rng_below(&rng, count + 1), want = from, set = 0;
            while (want < count && !model[want])
                want++;
            for (uint32_t i = 0; i < count; i++)
                set += model[i];
            CHECK_EQ(sp_bits_next(&a, from), want < count ? want : SP_BITS_NONE);
            CHECK_EQ(a.set, set);
            CHECK_EQ(sp_bits_count_diff(&a, &b), set);
        }
        CHECK_EQ(sp_bits_load(&b, (struct sp_slice){a.bytes, sp_bits_wire_len(count)}), SP_OK);
        CHECK_EQ(sp_bits_count_diff(&a, &b), 0);
        CHECK_EQ(b.set, a.set);
        sp_bits_fill(&b, true);
        CHECK(sp_bits_all(&b));
        CHECK_EQ(sp_bits_next_diff(&b, &a, 0) == SP_BITS_NONE, sp_bits_all(&a));
        sp_bits_done(&a, &MEM);
        sp_bits_done(&b, &MEM);
    }
    CHECK_EQ(plain.live, 0);
}

TEST(bits_refuse_spare_bits_and_wrong_length)
{
    struct sp_bits b;
    CHECK_EQ(sp_bits_init(&b, &MEM, 9), SP_OK);
    CHECK_EQ(sp_bits_load(&b, (struct sp_slice){(const uint8_t *)"\xff\x80", 2}), SP_OK);
    CHECK_EQ(b.set, 9);
    CHECK_EQ(sp_bits_load(&b, (struct sp_slice){(const uint8_t *)"\xff\xc0", 2}), SP_EPROTO);
    CHECK_EQ(sp_bits_load(&b, (struct sp_slice){(const uint8_t *)"\xff", 1}), SP_EPROTO);
    CHECK_EQ(sp_bits_load(&b, (struct sp_slice){(const uint8_t *)"\xff\x80\x00", 3}), SP_EPROTO);
    sp_bits_done(&b, &MEM);
}

static bool is_key(const void *owner, uint32_t ix, const void *key)
{
    return ((const uint64_t *)owner)[ix] == *(const uint64_t *)key;
}

TEST(map_finds_what_was_put_and_not_deleted)
{
    enum { N = 500 };
    uint64_t keys[N];
    bool in[N] = {false};
    struct sp_hash_key seed = {1, 2};
    struct sp_rng rng = sp_rng_of(3);
    struct sp_map m = sp_map_of(&MEM);

    for (int i = 0; i < N; i++)
        keys[i] = (uint64_t)i * 3;
    for (int step = 0; step < 20000; step++) {
        uint32_t ix = (uint32_t)sp_rng_below(&rng, N);
        /* A poor hash on purpose: long probe runs are what deletion gets wrong. */
        uint64_t hash = sp_hash_bytes(&seed, &keys[ix], 8) % 97;
        uint32_t found = sp_map_find(&m, hash, &keys[ix], is_key, keys);
        CHECK_EQ(found, in[ix] ? ix : SP_MAP_NONE);
        if (in[ix])
            sp_map_del(&m, hash, ix);
        else
            CHECK_EQ(sp_map_put(&m, hash, ix), SP_OK);
        in[ix] = !in[ix];
    }
    sp_map_done(&m);
    CHECK_EQ(plain.live, 0);
}

TEST(timers_fire_in_order)
{
    enum { N = 200 };
    struct sp_timer t[N] = {{0}};
    struct sp_timers ts = sp_timers_of(&MEM);
    struct sp_rng rng = sp_rng_of(4);
    uint32_t set = 0;

    CHECK_EQ(sp_timers_reserve(&ts, N), SP_OK);
    for (int step = 0; step < 5000; step++) {
        struct sp_timer *x = &t[sp_rng_below(&rng, N)];
        set -= x->pos != 0;
        if (sp_rng_below(&rng, 3)) {
            sp_timers_set(&ts, x, sp_rng_below(&rng, 50));
            set++;
        } else {
            sp_timers_clear(&ts, x);
        }
        CHECK_EQ(ts.count, set);
    }
    sp_time_ns at = 0;
    uint64_t seq = 0;
    for (struct sp_timer *x; (x = sp_timers_pop(&ts, 49)) != NULL; set--) {
        CHECK(x->at > at || (x->at == at && x->seq >= seq));
        at = x->at;
        seq = x->seq;
    }
    CHECK_EQ(set, 0);
    CHECK_EQ(sp_timers_next(&ts), SP_TIME_NEVER);
    sp_timers_done(&ts);
}

TEST(buf_keeps_its_limit)
{
    struct sp_buf b = sp_buf_of(&MEM, 1000);
    uint8_t bytes[600] = {1, 2, 3};
    uint8_t *room;
    CHECK_EQ(sp_buf_append(&b, bytes, 600), SP_OK);
    CHECK_EQ(sp_buf_append(&b, bytes, 600), SP_ELIMIT);
    CHECK_EQ(sp_buf_slice(&b).len, 600);
    sp_buf_consume(&b, 500);
    CHECK_EQ(sp_buf_append(&b, bytes, 600), SP_OK);
    CHECK_EQ(sp_buf_slice(&b).len, 700);
    CHECK_EQ(sp_buf_slice(&b).ptr[101], 2);
    CHECK_EQ(sp_buf_reserve(&b, SIZE_MAX, &room), SP_ELIMIT);
    sp_buf_consume(&b, 700);
    sp_buf_trim(&b);
    CHECK_EQ(plain.live, 0);
}

TEST(rate_of_a_steady_stream)
{
    struct sp_rate r = {0};
    sp_time_ns now = 1000 * SP_SECOND_NS;
    CHECK_EQ(sp_rate_Bps(&r, now), 0);
    for (int i = 0; i < 1000; i++, now += 10 * SP_MS_NS)
        sp_rate_add(&r, 10000, now);
    uint64_t Bps = sp_rate_Bps(&r, now);
    CHECK(Bps > 980000 && Bps < 1020000);
    CHECK_EQ(sp_rate_Bps(&r, now + 10 * SP_SECOND_NS), 0);
    CHECK_EQ(r.total, 10000000);
    /* After a silence the meter starts from what comes then. */
    now += 100 * SP_SECOND_NS;
    sp_rate_add(&r, 500000, now);
    CHECK(sp_rate_Bps(&r, now) <= 1000000);
}

/* Goal: over any span no more passes than rate * span + burst (+ one block). */
TEST(bucket_bounds_what_passes)
{
    struct sp_bucket b;
    struct sp_rng rng = sp_rng_of(5);
    sp_time_ns now = 0;
    uint64_t passed = 0;
    sp_bucket_init(&b, 1000000, now);
    while (now < 20 * SP_SECOND_NS) {
        now += sp_rng_below(&rng, 40 * SP_MS_NS);
        if (sp_bucket_room(&b, now) > 0) {
            sp_bucket_take(&b, SP_BLOCK_LEN);
            passed += SP_BLOCK_LEN;
        } else {
            sp_time_ns at = sp_bucket_ready_at(&b, 1);
            CHECK(at > now && at < now + SP_SECOND_NS);
            CHECK(sp_bucket_room(&b, at) > 0);
            now = at;
        }
    }
    CHECK(passed <= 20 * 1000000 + b.burst_bytes + 2 * SP_BLOCK_LEN);
    sp_bucket_init(&b, 0, now);
    CHECK_EQ(sp_bucket_room(&b, now), (intmax_t)UINT64_MAX);
    CHECK_EQ(sp_bucket_portion(&b, now), (intmax_t)UINT64_MAX);
}

/* However often it is asked, what passes at once is worth sending. */
TEST(bucket_gives_portions)
{
    const uint64_t rates[] = {10, 10000, 200000, 2 << 20, 1 << 30};
    for (size_t i = 0; i < SP_COUNT(rates); i++) {
        struct sp_bucket b;
        sp_time_ns now = SP_SECOND_NS, end = 3 * SP_SECOND_NS;
        uint64_t passed = 0, times = 0;
        sp_bucket_init(&b, rates[i], now);
        for (; now < end; now += SP_MS_NS / 10) {
            uint64_t n = sp_bucket_portion(&b, now);
            if (n == 0)
                CHECK(sp_bucket_ready_at(&b, sp_bucket_least(&b)) > now);
            if (n == 0)
                continue;
            CHECK(n >= sp_bucket_least(&b));
            sp_bucket_take(&b, n);
            passed += n;
            times++;
        }
        CHECK(times <= 40 || passed / times >= SP_BLOCK_LEN);
        CHECK(passed >= rates[i] * 2 * 9 / 10 || rates[i] < 20);
        CHECK(passed <= rates[i] * 2 + 20);
    }
}

/* RFC 3720 B.4 */
TEST(crc32c_of_known_bytes)
{
    uint8_t zeros[32] = {0}, ones[32], up[32];
    memset(ones, 0xff, sizeof(ones));
    for (uint8_t i = 0; i < sizeof(up); i++)
        up[i] = i;
    CHECK_EQ(sp_crc32c("123456789", 9), 0xe3069283);
    CHECK_EQ(sp_crc32c(zeros, sizeof(zeros)), 0x8a9136aa);
    CHECK_EQ(sp_crc32c(ones, sizeof(ones)), 0x62a8ab43);
    CHECK_EQ(sp_crc32c(up, sizeof(up)), 0x46dd794e);
    CHECK_EQ(sp_crc32c("", 0), 0);
}

int main(void)
{
    return check_run();
}
