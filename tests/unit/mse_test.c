#include "core/mse/mse.h"

#include "check.h"
#include "core/base/hex.h"
#include "core/base/out.h"
#include "core/base/sha1.h"
#include "edge.h"
#include "mse_vectors.h"

enum { IA_LEN = 68, BYTES_MAX = 70000 };

static const uint8_t payload[7] = "payload";

/* ---- powers and streams ---- */

TEST(powers_are_those_that_python_computes)
{
    uint8_t y[SP_DH_LEN], s[SP_DH_LEN];
    sp_dh_public(secret_a, y);
    CHECK(memcmp(y, public_a, SP_DH_LEN) == 0);
    sp_dh_public(secret_b, y);
    CHECK(memcmp(y, public_b, SP_DH_LEN) == 0);
    CHECK(sp_dh_shared(secret_a, public_b, s) && memcmp(s, shared_ab, SP_DH_LEN) == 0);
    CHECK(sp_dh_shared(secret_b, public_a, s) && memcmp(s, shared_ab, SP_DH_LEN) == 0);
}

TEST(a_chain_of_powers_ends_where_python_ends)
{
    uint8_t y[SP_DH_LEN], secret[SP_DH_SECRET_LEN];
    memcpy(y, public_a, sizeof(y));
    for (int i = 0; i < 300; i++) {
        sp_sha1_of(y, sizeof(y), secret);
        CHECK(sp_dh_shared(secret, y, y));
    }
    CHECK(memcmp(y, chain_end, sizeof(y)) == 0);
}

TEST(both_ends_get_the_same_secret)
{
    struct sp_rng rng = sp_rng_of(4);
    for (int i = 0; i < 200; i++) {
        uint8_t a[SP_DH_SECRET_LEN], b[SP_DH_SECRET_LEN], ya[SP_DH_LEN], yb[SP_DH_LEN];
        uint8_t sa[SP_DH_LEN], sb[SP_DH_LEN];
        sp_rng_bytes(&rng, a, sizeof(a));
        sp_rng_bytes(&rng, b, sizeof(b));
        if (i % 4 == 0) /* short ones too */
            memset(a, 0, sp_rng_below(&rng, sizeof(a)));
        sp_dh_public(a, ya);
        sp_dh_public(b, yb);
        CHECK(sp_dh_shared(a, yb, sa) && sp_dh_shared(b, ya, sb));
        CHECK(memcmp(sa, sb, sizeof(sa)) == 0);
    }
}

/* p + by, in bytes. */
static void near_prime(int by, uint8_t y[SP_DH_LEN])
{
    struct sp_slice text = {(const uint8_t *)"FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD1"
                                             "29024E088A67CC74020BBEA63B139B22514A08798E3404DD"
                                             "EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245"
                                             "E485B576625E7EC6F44C42E9A63A36210000000000090563",
                            2 * SP_DH_LEN};
    CHECK(sp_hex_parse(text, y, SP_DH_LEN));
    y[SP_DH_LEN - 1] = (uint8_t)(y[SP_DH_LEN - 1] + by);
}

TEST(degenerate_keys_are_refused)
{
    uint8_t y[SP_DH_LEN] = {0}, s[SP_DH_LEN];
    CHECK(!sp_dh_shared(secret_a, y, s));
    y[SP_DH_LEN - 1] = 1;
    CHECK(!sp_dh_shared(secret_a, y, s));
    y[SP_DH_LEN - 1] = 2;
    CHECK(sp_dh_shared(secret_a, y, s) && memcmp(s, public_a, sizeof(s)) == 0);
    for (int by = -1; by < 3; by++) {
        near_prime(by, y);
        CHECK(!sp_dh_shared(secret_a, y, s));
    }
    memset(y, 0xff, sizeof(y));
    CHECK(!sp_dh_shared(secret_a, y, s));
    near_prime(-2, y); /* (p - 2)^x is 2^x or its negative; x is even here */
    CHECK(sp_dh_shared(secret_a, y, s) && memcmp(s, public_a, sizeof(s)) == 0);
}

/* RFC 6229 */
TEST(rc4_vectors)
{
    static const struct {
        const char *key;
        size_t skip;
        const char *stream;
    } v[] = {
        {"0102030405", 0, "b2396305f03dc027ccc3524a0a1118a8"},
        {"0102030405", 1024, "30abbcc7c20b01609f23ee2d5f6bb7df"},
        {"0102030405", 4096, "ff25b58995996707e51fbdf08b34d875"},
        {"0102030405060708090a0b0c0d0e0f10", 0, "9ac7cc9a609d1ef7b2932899cde41b97"},
        {"0102030405060708090a0b0c0d0e0f10", 1536, "ffa0b514647ec04f6306b892ae661181"},
    };
    for (size_t i = 0; i < SP_COUNT(v); i++) {
        uint8_t key[16], got[16] = {0}, want[16];
        size_t key_len = strlen(v[i].key) / 2;
        struct sp_rc4 r;
        CHECK(
            sp_hex_parse((struct sp_slice){(const uint8_t *)v[i].key, 2 * key_len}, key, key_len));
        CHECK(sp_hex_parse((struct sp_slice){(const uint8_t *)v[i].stream, 32}, want, 16));
        sp_rc4_init(&r, key, key_len);
        sp_rc4_skip(&r, v[i].skip);
        sp_rc4_run(&r, got, got, sizeof(got));
        CHECK(memcmp(got, want, sizeof(got)) == 0);
    }
}

TEST(rc4_in_any_cuts_is_the_same)
{
    static uint8_t whole[5000], parts[5000];
    struct sp_rng rng = sp_rng_of(9);
    struct sp_rc4 a, b;
    sp_rc4_init(&a, skey, sizeof(skey));
    b = a;
    sp_rc4_run(&a, whole, whole, sizeof(whole));
    for (size_t at = 0, n; at < sizeof(parts); at += n) {
        n = 1 + (size_t)sp_rng_below(&rng, 40);
        n = n < sizeof(parts) - at ? n : sizeof(parts) - at;
        sp_rc4_run(&b, whole + at, parts + at, n); /* of the same stream: zeros again */
    }
    CHECK(memcmp(&a, &b, sizeof(a)) == 0);
    for (size_t i = 0; i < sizeof(parts); i++)
        CHECK(parts[i] == 0);
}

TEST(dice_do_not_repeat)
{
    struct sp_mse_dice a, b, c;
    uint8_t key[16] = {1};
    sp_mse_dice_of(key, 1, &a);
    sp_mse_dice_of(key, 2, &b);
    CHECK(memcmp(a.secret, b.secret, sizeof(a.secret)) != 0 && a.pads != b.pads);
    sp_mse_dice_of(key, 1, &c);
    CHECK(memcmp(a.secret, c.secret, sizeof(a.secret)) == 0 && a.pads == c.pads);
    key[0]++;
    sp_mse_dice_of(key, 1, &c);
    CHECK(memcmp(a.secret, c.secret, sizeof(a.secret)) != 0 && a.pads != c.pads);
}

/* ---- one end against what was recorded ---- */

static bool find_skey(void *ctx, const uint8_t hash[SP_SHA1_LEN], uint8_t ret[SP_SHA1_LEN])
{
    int *asked = ctx;
    if (asked)
        (*asked)++;
    if (memcmp(hash, req2, sizeof(req2)) != 0)
        return false;
    memcpy(ret, skey, sizeof(skey));
    return true;
}

static struct sp_mse new_b(uint8_t allow, bool prefers_rc4)
{
    struct sp_mse_dice dice = {.pads = 5};
    struct sp_mse m;
    memcpy(dice.secret, secret_b, sizeof(secret_b));
    sp_mse_answer(&m, &dice, allow, prefers_rc4, find_skey, NULL);
    return m;
}

static struct sp_mse new_a(uint8_t allow)
{
    struct sp_mse_dice dice = {.pads = 6};
    struct sp_mse m;
    memcpy(dice.secret, secret_a, sizeof(secret_a));
    sp_mse_dial(&m, &dice, allow, skey, (struct sp_slice){from_a, IA_LEN});
    return m;
}

/* Hands in bytes in runs of at most cut, giving powers as they are wanted;
 * *ret_used: bytes that belong to the handshake. */
static enum sp_err feed(struct sp_mse *m, const uint8_t *bytes, size_t len, size_t cut,
                        size_t *ret_used)
{
    enum sp_err err = SP_AGAIN;
    size_t at = 0;

    for (size_t end = 0; err == SP_AGAIN && end < len;) {
        end = len - end < cut ? len : end + cut;
        size_t used = 1;
        while (err == SP_AGAIN && (used > 0 || sp_mse_wants_power(m))) {
            sp_mse_power(m);
            err = sp_mse_recv(m, edge(bytes + at, end - at), &used);
            at += used;
        }
    }
    *ret_used = at;
    return err;
}

static struct sp_mse_dice dice_of(uint64_t nth)
{
    static const uint8_t key[16] = "a key for tests";
    struct sp_mse_dice dice;
    sp_mse_dice_of(key, nth, &dice);
    return dice;
}

TEST(b_understands_a_in_every_cut)
{
    const size_t tail = IA_LEN + sizeof(payload), hello = sizeof(from_a) - tail;
    for (size_t cut = 1; cut <= sizeof(from_a); cut++) {
        struct sp_mse m = new_b(SP_MSE_BOTH, true);
        uint8_t rest[IA_LEN + sizeof(payload)];
        size_t used;
        CHECK_EQ(feed(&m, from_a, sizeof(from_a), cut, &used), SP_OK);
        CHECK_EQ(used, hello);
        CHECK_EQ(m.method, SP_MSE_RC4);
        CHECK_EQ(m.ia_len, IA_LEN);
        CHECK(memcmp(m.skey, skey, sizeof(skey)) == 0);
        sp_rc4_run(&m.rx, from_a + used, rest, tail);
        CHECK(memcmp(rest,
                     "\x13"
                     "BitTorrent protocol",
                     20) == 0);
        CHECK(memcmp(rest + IA_LEN, payload, sizeof(payload)) == 0);
        CHECK(memcmp(sp_mse_out(&m).ptr, public_b, sizeof(public_b)) == 0);
    }
}

TEST(a_understands_b_in_every_cut)
{
    for (size_t cut = 1; cut <= sizeof(from_b); cut++) {
        struct sp_mse m = new_a(SP_MSE_BOTH);
        uint8_t rest[sizeof(payload)];
        size_t used, hello = sp_mse_out(&m).len;
        CHECK(memcmp(sp_mse_out(&m).ptr, public_a, sizeof(public_a)) == 0);
        CHECK_EQ(feed(&m, from_b, sizeof(from_b), cut, &used), SP_OK);
        CHECK_EQ(used, sizeof(from_b) - sizeof(payload));
        CHECK_EQ(m.method, SP_MSE_RC4);
        sp_rc4_run(&m.rx, from_b + used, rest, sizeof(rest));
        CHECK(memcmp(rest, payload, sizeof(payload)) == 0);
        struct sp_slice out = sp_mse_out(&m);
        CHECK(out.len > hello + sizeof(ask_head));
        /* Of step 3 what does not depend on the pad's length. */
        CHECK(memcmp(out.ptr + hello, ask_head, sizeof(ask_head)) == 0);
    }
}

TEST(each_prefix_wants_more)
{
    for (size_t len = 0; len < sizeof(from_a) - IA_LEN - sizeof(payload); len++) {
        struct sp_mse m = new_b(SP_MSE_BOTH, false);
        size_t used;
        CHECK_EQ(feed(&m, from_a, len, 1000, &used), SP_AGAIN);
        CHECK_EQ(used, len);
    }
    for (size_t len = 0; len < sizeof(from_b) - sizeof(payload); len++) {
        struct sp_mse m = new_a(SP_MSE_RC4);
        size_t used;
        CHECK_EQ(feed(&m, from_b, len, 1000, &used), SP_AGAIN);
        CHECK_EQ(used, len);
    }
}

TEST(b_takes_nothing_before_it_has_its_powers)
{
    struct sp_mse m = new_b(SP_MSE_BOTH, true);
    struct sp_slice in = {from_a, sizeof(from_a)};
    size_t used;
    CHECK(!sp_mse_wants_power(&m));
    CHECK_EQ(sp_mse_recv(&m, in, &used), SP_AGAIN);
    CHECK_EQ(used, SP_DH_LEN);
    CHECK(sp_mse_wants_power(&m) && sp_mse_out(&m).len == 0);
    in.ptr += used;
    in.len -= used;
    CHECK_EQ(sp_mse_recv(&m, in, &used), SP_AGAIN);
    CHECK_EQ(used, 0);
    sp_mse_power(&m);
    CHECK(sp_mse_wants_power(&m) && sp_mse_out(&m).len >= SP_DH_LEN);
    CHECK_EQ(sp_mse_recv(&m, in, &used), SP_AGAIN);
    CHECK_EQ(used, 0);
    sp_mse_power(&m);
    CHECK(!sp_mse_wants_power(&m));
    CHECK_EQ(sp_mse_recv(&m, in, &used), SP_OK);
}

/* ---- two ends with each other ---- */

/* Moves what one says to the other, in random parts. */
static enum sp_err pass(struct sp_mse *from, struct sp_mse *to, struct sp_rng *rng,
                        size_t *ret_used)
{
    struct sp_slice out = sp_mse_out(from);
    *ret_used = 0;
    if (out.len == 0)
        return SP_AGAIN;
    size_t n = 1 + (size_t)sp_rng_below(rng, out.len), used = 1;
    enum sp_err err = SP_AGAIN;
    while (err == SP_AGAIN && *ret_used < n && (used || sp_mse_wants_power(to))) {
        sp_mse_power(to);
        err = sp_mse_recv(to, edge(out.ptr + *ret_used, n - *ret_used), &used);
        *ret_used += used;
    }
    sp_mse_sent(from, *ret_used);
    return err;
}

static void check_streams(struct sp_mse *a, struct sp_mse *b)
{
    uint8_t text[20];
    sp_rc4_run(&a->tx, payload, text, sizeof(payload));
    sp_rc4_run(&b->rx, text, text, sizeof(payload));
    CHECK(memcmp(text, payload, sizeof(payload)) == 0);
    sp_rc4_run(&b->tx, payload, text, sizeof(payload));
    sp_rc4_run(&a->rx, text, text, sizeof(payload));
    CHECK(memcmp(text, payload, sizeof(payload)) == 0);
}

/* want: the method they end with, 0: none. */
static void run_pair(uint8_t a_allows, uint8_t b_allows, bool prefers_rc4, int want, uint64_t seed)
{
    struct sp_rng rng = sp_rng_of(seed);
    struct sp_mse_dice dice_a = dice_of(2 * seed), dice_b = dice_of(2 * seed + 1);
    enum sp_err at_a = SP_AGAIN, at_b = SP_AGAIN;
    struct sp_mse a, b;
    size_t used;

    sp_mse_dial(&a, &dice_a, a_allows, skey, (struct sp_slice){from_a, IA_LEN});
    sp_mse_answer(&b, &dice_b, b_allows, prefers_rc4, find_skey, NULL);
    for (int i = 0; i < 10000 && (at_a == SP_AGAIN || at_b == SP_AGAIN); i++) {
        if (at_b == SP_AGAIN)
            at_b = pass(&a, &b, &rng, &used);
        if (at_a == SP_AGAIN)
            at_a = pass(&b, &a, &rng, &used);
        if (at_b == SP_EPROTO)
            break;
    }
    if (!want) {
        CHECK_EQ(at_b, SP_EPROTO);
        CHECK(sp_mse_why(&b)[0]);
        return;
    }
    CHECK_EQ(at_a, SP_OK);
    CHECK_EQ(at_b, SP_OK);
    CHECK_EQ(a.method, want);
    CHECK_EQ(b.method, want);
    CHECK_EQ(b.ia_len, IA_LEN);
    uint8_t ia[IA_LEN];
    CHECK_EQ(sp_mse_out(&a).len, IA_LEN);
    sp_rc4_run(&b.rx, sp_mse_out(&a).ptr, ia, IA_LEN);
    CHECK(memcmp(ia, from_a, IA_LEN) == 0);
    check_streams(&a, &b);
}

TEST(what_both_allow_is_what_they_do)
{
    for (uint8_t a = 1; a <= 3; a++) {
        for (uint8_t b = 1; b <= 3; b++) {
            for (uint64_t seed = 0; seed < 30; seed++) {
                bool rc4 = seed % 2;
                int both = a & b, want = both == SP_MSE_BOTH ? (rc4 ? 2 : 1) : both;
                run_pair(a, b, rc4, want, seed);
            }
        }
    }
}

/* ---- hostile ends ---- */

struct craft {
    uint8_t bytes[BYTES_MAX];
    struct sp_out o;
    struct sp_rc4 a, b;
};

static void craft_hash(uint8_t ret[SP_SHA1_LEN], const char *name, const void *more, size_t len)
{
    struct sp_sha1 s;
    sp_sha1_init(&s);
    sp_sha1_add(&s, name, 4);
    sp_sha1_add(&s, shared_ab, sizeof(shared_ab));
    sp_sha1_add(&s, more, len);
    sp_sha1_end(&s, ret);
}

static struct craft *craft_new(void)
{
    static struct craft c;
    uint8_t key[SP_SHA1_LEN];
    c.o = sp_out_of(c.bytes, sizeof(c.bytes));
    craft_hash(key, "keyA", skey, sizeof(skey));
    sp_rc4_init(&c.a, key, sizeof(key));
    sp_rc4_skip(&c.a, 1024);
    craft_hash(key, "keyB", skey, sizeof(skey));
    sp_rc4_init(&c.b, key, sizeof(key));
    sp_rc4_skip(&c.b, 1024);
    return &c;
}

static void craft_pad(struct craft *c, size_t len)
{
    for (size_t i = 0; i < len; i++)
        sp_out_u8(&c->o, 0x77);
}

/* VC, a word of methods, the length of a pad and the pad. */
static void craft_head(struct craft *c, struct sp_rc4 *r, uint8_t vc, uint32_t methods,
                       uint16_t pad_len)
{
    size_t at = c->o.len;
    for (int i = 0; i < 8; i++)
        sp_out_u8(&c->o, vc);
    sp_out_u32(&c->o, methods);
    sp_out_u16(&c->o, pad_len);
    craft_pad(c, pad_len); /* BitTorrent's clients send zeros; nothing depends on it */
    sp_rc4_run(r, c->bytes + at, c->bytes + at, c->o.len - at);
}

static void craft_ask(struct craft *c, uint8_t vc, uint32_t provide, uint16_t pad_len,
                      uint16_t ia_len)
{
    uint8_t digest[SP_SHA1_LEN];
    craft_hash(digest, "req1", "", 0);
    sp_out_bytes(&c->o, digest, sizeof(digest));
    craft_hash(digest, "req3", "", 0);
    for (size_t i = 0; i < sizeof(digest); i++)
        sp_out_u8(&c->o, digest[i] ^ req2[i]);
    craft_head(c, &c->a, vc, provide, pad_len);
    size_t at = c->o.len;
    sp_out_u16(&c->o, ia_len);
    sp_rc4_run(&c->a, c->bytes + at, c->bytes + at, 2);
}

TEST(what_b_takes_of_a)
{
    static const struct {
        size_t pad_a;
        uint8_t vc;
        uint32_t provide;
        uint16_t pad_c, ia_len;
        enum sp_err want;
    } v[] = {
        {0, 0, 3, 0, 0, SP_OK},
        {512, 0, 2, 512, 65535, SP_OK},
        {512, 0, 1, 0, 0, SP_OK},
        {513, 0, 3, 0, 0, SP_EPROTO},
        {0, 0, 3, 513, 0, SP_EPROTO},
        {0, 0, 3, 65535, 0, SP_EPROTO},
        {0, 1, 3, 0, 0, SP_EPROTO},
        {0, 0, 0, 0, 0, SP_EPROTO},
        {0, 0, 4, 0, 0, SP_EPROTO},
        {0, 0, 0xffffffff, 0, 0, SP_OK},
        {0, 0, 0x02000000, 0, 0, SP_EPROTO},
    };
    for (size_t i = 0; i < SP_COUNT(v); i++) {
        struct craft *c = craft_new();
        struct sp_mse m = new_b(SP_MSE_BOTH, true);
        size_t used;
        sp_out_bytes(&c->o, public_a, sizeof(public_a));
        craft_pad(c, v[i].pad_a);
        craft_ask(c, v[i].vc, v[i].provide, v[i].pad_c, v[i].ia_len);
        CHECK_EQ(feed(&m, c->bytes, c->o.len, 33, &used), v[i].want);
        CHECK(v[i].want == SP_OK || sp_mse_why(&m)[0]);
        CHECK(v[i].want != SP_OK || (used == c->o.len && m.ia_len == v[i].ia_len));
    }
}

TEST(what_a_takes_of_b)
{
    static const struct {
        size_t pad_b;
        uint8_t vc;
        uint32_t select;
        uint16_t pad_d;
        uint8_t allow;
        enum sp_err want;
    } v[] = {
        {0, 0, 2, 0, 3, SP_OK},       {512, 0, 2, 512, 2, SP_OK},   {0, 0, 1, 7, 3, SP_OK},
        {513, 0, 2, 0, 3, SP_EPROTO}, {0, 0, 2, 513, 3, SP_EPROTO}, {0, 0, 1, 0, 2, SP_EPROTO},
        {0, 0, 2, 0, 1, SP_EPROTO},   {0, 0, 0, 0, 3, SP_EPROTO},   {0, 0, 3, 0, 3, SP_EPROTO},
        {0, 0, 6, 0, 3, SP_EPROTO},
    };
    for (size_t i = 0; i < SP_COUNT(v); i++) {
        struct craft *c = craft_new();
        struct sp_mse m = new_a(v[i].allow);
        size_t used;
        sp_out_bytes(&c->o, public_b, sizeof(public_b));
        craft_pad(c, v[i].pad_b);
        craft_head(c, &c->b, v[i].vc, v[i].select, v[i].pad_d);
        CHECK_EQ(feed(&m, c->bytes, c->o.len, 33, &used), v[i].want);
        CHECK(v[i].want == SP_OK || sp_mse_why(&m)[0]);
        CHECK(v[i].want != SP_OK || (used == c->o.len && m.method == v[i].select));
    }
}

TEST(a_plain_choice_begins_as_python_has_it)
{
    struct craft *c = craft_new();
    craft_head(c, &c->b, 0, SP_MSE_PLAIN, 0);
    CHECK(memcmp(c->bytes, choice_head, sizeof(choice_head)) == 0);
}

/* Noise costs what the key and a pad are long, then it is over. */
TEST(noise_ends_soon)
{
    static uint8_t noise[4000];
    struct sp_rng rng = sp_rng_of(12);
    for (int round = 0; round < 20; round++) {
        struct sp_mse a = new_a(SP_MSE_BOTH), b = new_b(SP_MSE_BOTH, false);
        size_t used;
        sp_rng_bytes(&rng, noise, sizeof(noise));
        CHECK_EQ(feed(&b, noise, sizeof(noise), 100, &used), SP_EPROTO);
        CHECK_EQ(used, SP_DH_LEN + SP_MSE_PAD_MAX + SP_SHA1_LEN);
        CHECK_EQ(feed(&a, noise, sizeof(noise), 100, &used), SP_EPROTO);
        CHECK_EQ(used, SP_DH_LEN + SP_MSE_PAD_MAX + 8);
        CHECK_EQ(sp_mse_recv(&a, (struct sp_slice){noise, 1}, &used), SP_EPROTO);
        CHECK_EQ(used, 0);
    }
}

TEST(keys_that_are_none_fail_at_both_ends)
{
    uint8_t y[SP_DH_LEN] = {0};
    size_t used;
    struct sp_mse a = new_a(SP_MSE_BOTH), b = new_b(SP_MSE_BOTH, false);
    CHECK_EQ(feed(&a, y, sizeof(y), 200, &used), SP_EPROTO);
    CHECK_EQ(feed(&b, y, sizeof(y), 200, &used), SP_EPROTO);
    near_prime(-1, y);
    a = new_a(SP_MSE_BOTH);
    b = new_b(SP_MSE_BOTH, false);
    CHECK_EQ(feed(&a, y, sizeof(y), 200, &used), SP_EPROTO);
    CHECK_EQ(feed(&b, y, sizeof(y), 200, &used), SP_EPROTO);
}

TEST(torrents_that_are_not_there_are_refused)
{
    struct sp_mse_dice dice = dice_of(1);
    struct sp_mse m;
    uint8_t other[SP_SHA1_LEN] = {1};
    size_t used;
    int asked = 0;
    memcpy(dice.secret, secret_a, sizeof(secret_a));
    sp_mse_dial(&m, &dice, SP_MSE_BOTH, other, (struct sp_slice){from_a, 3});
    CHECK_EQ(feed(&m, from_b, SP_DH_LEN, 200, &used), SP_AGAIN);
    struct sp_slice out = sp_mse_out(&m);
    struct sp_mse b = new_b(SP_MSE_BOTH, true);
    b.find_ctx = &asked;
    CHECK_EQ(feed(&b, out.ptr, out.len, 200, &used), SP_EPROTO);
    CHECK_EQ(asked, 1);
    CHECK(strstr(sp_mse_why(&b), "torrent"));
}

/* Any byte of it changed: an end, or a wait, or what is only a pad. */
TEST(changed_bytes_end_or_wait_or_do_not_matter)
{
    uint8_t bytes[sizeof(from_a)];
    for (size_t at = 0; at < sizeof(from_a); at++) {
        struct sp_mse m = new_b(SP_MSE_BOTH, true);
        size_t used;
        memcpy(bytes, from_a, sizeof(bytes));
        bytes[at] ^= 0x10;
        enum sp_err err = feed(&m, bytes, sizeof(bytes), 64, &used);
        bool pad_a = at >= 96 && at < 103, pad_c = at >= 157 && at < 457,
             ia_len = at == 457 || at == 458;
        bool other_method = at >= 151 && at < 155, pad_len = at == 155 || at == 156;
        bool after = at >= 459;
        if (pad_a || pad_c || after)
            CHECK_EQ(err, SP_OK);
        else
            CHECK(err != SP_OK || ia_len || other_method || pad_len);
    }
}

int main(void)
{
    return check_run();
}
