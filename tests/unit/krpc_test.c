#include "check.h"
#include "core/base/sha1.h"
#include "core/dht/krpc.h"
#include "edge.h"

static struct sp_slice text(const char *s)
{
    return (struct sp_slice){(const uint8_t *)s, strlen(s)};
}

static bool is(struct sp_slice s, const char *want)
{
    return s.len == strlen(want) && memcmp(s.ptr, want, s.len) == 0;
}

static struct sp_addr v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
    uint8_t ip[4] = {a, b, c, d};
    return sp_addr_v4(ip, 6881);
}

/* ---- ids ---- */

TEST(distance_is_the_xor_read_as_a_number)
{
    struct sp_dht_id zero = {{0}}, one = {{0}}, far = {{0x80}};
    one.b[19] = 1;
    CHECK_EQ(sp_dht_id_common(&zero, &zero), 160);
    CHECK_EQ(sp_dht_id_common(&zero, &one), 159);
    CHECK_EQ(sp_dht_id_common(&zero, &far), 0);
    CHECK(sp_dht_id_cmp(&zero, &one, &zero) < 0);
    CHECK(sp_dht_id_cmp(&zero, &one, &one) > 0);
    CHECK(sp_dht_id_cmp(&far, &one, &zero) > 0);
    CHECK_EQ(sp_dht_id_cmp(&far, &far, &one), 0);
}

TEST(an_id_near_another_shares_just_so_many_bits)
{
    struct sp_rng rng = sp_rng_of(1);
    struct sp_dht_id base = sp_dht_id_random(&rng);
    for (uint32_t bits = 0; bits < SP_DHT_ID_BITS; bits++) {
        struct sp_dht_id near = sp_dht_id_near(&base, bits, &rng);
        CHECK_EQ(sp_dht_id_common(&base, &near), bits);
    }
}

/* BEP-0042 "test vectors" */
TEST(ids_follow_from_addresses)
{
    static const struct {
        uint8_t ip[4], rand, id[3];
    } rows[] = {
        {{124, 31, 75, 21}, 1, {0x5f, 0xbf, 0xbf}},  {{21, 75, 31, 124}, 86, {0x5a, 0x3c, 0xe9}},
        {{65, 23, 51, 170}, 22, {0xa5, 0xd4, 0x32}}, {{84, 124, 73, 14}, 65, {0x1b, 0x03, 0x21}},
        {{43, 213, 53, 83}, 90, {0xe5, 0x6f, 0x6c}},
    };
    for (size_t i = 0; i < SP_COUNT(rows); i++) {
        struct sp_addr a = sp_addr_v4(rows[i].ip, 1);
        struct sp_dht_id id = {{0}};
        memcpy(id.b, rows[i].id, 3);
        id.b[19] = rows[i].rand;
        CHECK(sp_dht_id_fits(&id, &a));
        id.b[2] ^= 7; /* the low three bits are free */
        CHECK(sp_dht_id_fits(&id, &a));
        id.b[2] ^= 8;
        CHECK(!sp_dht_id_fits(&id, &a));
        id.b[2] ^= 8;
        id.b[19] ^= 1;
        CHECK(!sp_dht_id_fits(&id, &a));
    }
}

TEST(made_ids_fit_and_local_addresses_may_have_any)
{
    struct sp_rng rng = sp_rng_of(2);
    uint8_t ip6[16] = {0x20, 0x01, 0x41, 0xd0, 1, 2, 3, 4, 5};
    struct sp_addr some[] = {v4(84, 1, 2, 3), v4(200, 9, 9, 9), sp_addr_v6(ip6, 1)};
    struct sp_addr local = v4(10, 0, 0, 1);
    for (int i = 0; i < 100; i++) {
        struct sp_dht_id any = sp_dht_id_random(&rng);
        CHECK(sp_dht_id_fits(&any, &local));
        for (size_t k = 0; k < SP_COUNT(some); k++) {
            struct sp_dht_id id = sp_dht_id_for(&some[k], &rng);
            CHECK(sp_dht_id_fits(&id, &some[k]));
        }
    }
}

/* ---- reading: the packets of BEP-0005 ---- */

static const char *const examples[] = {
    "d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe",
    "d1:rd2:id20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re",
    "d1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e1:q9:find_node1:t2:aa1:y1:qe",
    "d1:ad2:id20:abcdefghij01234567899:info_hash20:mnopqrstuvwxyz123456e1:q9:get_peers1:t2:aa1:y1:"
    "qe",
    "d1:rd2:id20:abcdefghij01234567895:token8:aoeusnth6:valuesl6:axje.u6:idhtnmee1:t2:aa1:y1:re",
    "d1:ad2:id20:abcdefghij012345678912:implied_porti1e9:info_hash20:mnopqrstuvwxyz1234564:porti"
    "6881e5:token8:aoeusnthe1:q13:announce_peer1:t2:aa1:y1:qe",
    "d1:eli201e23:A Generic Error Ocurrede1:t2:aa1:y1:ee",
};

TEST(examples_are_read_and_written_back_the_same)
{
    for (size_t i = 0; i < SP_COUNT(examples); i++) {
        struct sp_krpc m;
        uint8_t out[512];
        size_t len;
        CHECK_EQ(sp_krpc_read(text(examples[i]), &m), SP_OK);
        CHECK_EQ(sp_krpc_write(&m, out, sizeof(out), &len), SP_OK);
        CHECK(is((struct sp_slice){out, len}, examples[i]));
        CHECK_EQ(sp_krpc_write(&m, out, len - 1, &len), SP_ELIMIT);
    }
}

TEST(examples_hold_what_they_should)
{
    struct sp_krpc m;
    CHECK_EQ(sp_krpc_read(text(examples[4]), &m), SP_OK);
    CHECK_EQ(m.kind, SP_KRPC_REPLY);
    CHECK_EQ(m.value_count, 2);
    CHECK(is(m.values[1], "idhtnm") && is(m.token, "aoeusnth") && is(m.txn, "aa"));
    CHECK_EQ(sp_krpc_read(text(examples[5]), &m), SP_OK);
    CHECK(m.method == SP_KRPC_ANNOUNCE_PEER && m.implied_port && m.port == 6881);
    CHECK(memcmp(m.target.b, "mnopqrstuvwxyz123456", 20) == 0);
    CHECK_EQ(sp_krpc_read(text(examples[6]), &m), SP_OK);
    CHECK(m.kind == SP_KRPC_ERROR && m.error == 201 && is(m.error_text, "A Generic Error Ocurred"));
}

TEST(every_prefix_is_refused_and_no_byte_behind_it_read)
{
    for (size_t i = 0; i < SP_COUNT(examples); i++) {
        size_t len = strlen(examples[i]);
        for (size_t n = 0; n < len; n++) {
            struct sp_krpc m;
            CHECK_EQ(sp_krpc_read(edge(examples[i], n), &m), SP_EDATA);
        }
    }
}

TEST(what_is_no_message_is_refused)
{
    static const char *const bad[] = {
        "d1:ad2:id19:abcdefghij012345678e1:q4:ping1:t2:aa1:y1:qe",   /* short id */
        "d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t0:1:y1:qe",    /* no transaction */
        "d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:y1:qe",         /* none at all */
        "d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:xe",  /* unknown kind */
        "d1:ali1ee1:q4:ping1:t2:aa1:y1:qe0000000000000000000000000", /* a is a list */
        "d1:ad2:id20:abcdefghij0123456789e1:qi4e1:t2:aa1:y1:qe",     /* q is a number */
        "d1:rd2:xx20:mnopqrstuvwxyz123456e1:t2:aa1:y1:re",           /* reply without id */
        "d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qee", /* a byte too many */
        "d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t17:aaaaaaaaaaaaaaaaa1:y1:qe",
    };
    for (size_t i = 0; i < SP_COUNT(bad); i++) {
        struct sp_krpc m;
        CHECK_EQ(sp_krpc_read(text(bad[i]), &m), SP_EDATA);
    }
}

TEST(an_ill_typed_argument_is_an_absent_one)
{
    struct sp_krpc m;
    CHECK_EQ(sp_krpc_read(text("d1:rd2:id20:abcdefghij01234567895:nodes27:"
                               "abcdefghijklmnopqrstuvwxyz05:token0:6:valuesl3:abci5e6:axje.uee1:t"
                               "2:aa1:y1:re"),
                          &m),
             SP_OK);
    CHECK_EQ(m.nodes.len, 0);
    CHECK_EQ(m.token.len, 0);
    CHECK_EQ(m.value_count, 1);
    CHECK(is(m.values[0], "axje.u"));
}

/* ---- BEP-0044 ---- */

static void target_of(struct sp_slice key, struct sp_slice salt, uint8_t ret[20])
{
    struct sp_sha1 s;
    sp_sha1_init(&s);
    sp_sha1_add(&s, key.ptr, key.len);
    sp_sha1_add(&s, salt.ptr, salt.len);
    sp_sha1_end(&s, ret);
}

TEST(an_item_is_signed_as_the_text_shows)
{
    uint8_t buf[SP_KRPC_SIGNED_MAX];
    size_t n = sp_krpc_signed((struct sp_slice){0}, 1, text("12:Hello World!"), buf);
    CHECK(is((struct sp_slice){buf, n}, "3:seqi1e1:v12:Hello World!"));
    n = sp_krpc_signed(text("foobar"), 4, text("12:Hello world!"), buf);
    CHECK(is((struct sp_slice){buf, n}, "4:salt6:foobar3:seqi4e1:v12:Hello world!"));
}

TEST(targets_of_items_are_those_of_the_text)
{
    static const uint8_t key[32] = {0x77, 0xff, 0x84, 0x90, 0x5a, 0x91, 0x93, 0x63,
                                    0x67, 0xc0, 0x13, 0x60, 0x80, 0x31, 0x04, 0xf9,
                                    0x24, 0x32, 0xfc, 0xd9, 0x04, 0xa4, 0x35, 0x11,
                                    0x87, 0x6d, 0xf5, 0xcd, 0xf3, 0xe7, 0xe5, 0x48};
    static const uint8_t plain[20] = {0x4a, 0x53, 0x3d, 0x47, 0xec, 0x9c, 0x7d, 0x95, 0xb1, 0xad,
                                      0x75, 0xf5, 0x76, 0xcf, 0xfc, 0x64, 0x18, 0x53, 0xb7, 0x50};
    static const uint8_t salted[20] = {0x41, 0x1e, 0xba, 0x73, 0xb6, 0xf0, 0x87, 0xca, 0x51, 0xa3,
                                       0x79, 0x5d, 0x9c, 0x8c, 0x93, 0x8d, 0x36, 0x5e, 0x32, 0xc1};
    uint8_t got[20];
    target_of((struct sp_slice){key, 32}, (struct sp_slice){0}, got);
    CHECK(memcmp(got, plain, 20) == 0);
    target_of((struct sp_slice){key, 32}, text("foobar"), got);
    CHECK(memcmp(got, salted, 20) == 0);
}

/* v as it lies in a put, whatever it is. */
TEST(an_item_is_kept_as_it_is_encoded)
{
    static const char *const values[] = {"i42e", "i-1e",     "0:",       "3:abc", "12:Hello World!",
                                         "le",   "d1:a1:be", "li1e2:xxe"};
    for (size_t i = 0; i < SP_COUNT(values); i++) {
        char packet[256];
        struct sp_krpc m;
        snprintf(packet, sizeof(packet),
                 "d1:ad2:id20:abcdefghij01234567895:token2:aa1:v%se1:q3:put1:t2:aa1:y1:qe",
                 values[i]);
        CHECK_EQ(sp_krpc_read(text(packet), &m), SP_OK);
        CHECK_EQ(m.method, SP_KRPC_PUT);
        CHECK(is(m.v, values[i]));
    }
}

TEST(items_too_large_or_badly_encoded_are_none)
{
    char packet[SP_KRPC_LEN_MAX], v[1200];
    struct sp_krpc m;
    for (int len = 990; len <= 1010; len++) {
        memset(v, 'x', sizeof(v));
        v[len] = '\0';
        snprintf(packet, sizeof(packet),
                 "d1:ad2:id20:abcdefghij01234567895:token2:aa1:v%d:%se1:q3:put1:t2:aa1:y1:qe", len,
                 v);
        CHECK_EQ(sp_krpc_read(text(packet), &m), SP_OK);
        size_t encoded = (size_t)len + (len < 1000 ? 4 : 5);
        CHECK_EQ(m.v_too_big, encoded > 1000);
        CHECK_EQ(m.v.len, encoded > 1000 ? 0 : encoded);
    }
    CHECK_EQ(sp_krpc_read(text("d1:ad2:id20:abcdefghij01234567895:token2:aa1:vd1:b0:1:a0:ee1:q3:put"
                               "1:t2:aa1:y1:qe"),
                          &m),
             SP_OK);
    CHECK_EQ(m.v.len, 0);
}

int main(void)
{
    return check_run();
}
