/* Our own address by vote, and the order of peers that needs it (BEP 40). */
#include "core/session/external.h"

#include "check.h"
#include "core/base/rng.h"
#include "core/torrent/priority.h"

static const struct sp_hash_key key = {3, 4};

static struct sp_addr addr_of(const char *text)
{
    struct sp_addr a = {0};
    bool port = text[0] == '[' || strchr(text, ':') == strrchr(text, ':');
    port = port && strchr(text, ':');
    CHECK_EQ(sp_addr_parse((struct sp_slice){(const uint8_t *)text, strlen(text)}, port, &a),
             SP_OK);
    return a;
}

static void vote(struct sp_external *e, const char *voter, const char *addr)
{
    struct sp_addr v = addr_of(voter), a = addr_of(addr);
    sp_external_vote(e, &key, SP_EXTERNAL_PEER, &v, &a);
}

static bool is(const struct sp_addr *a, const char *text)
{
    char buf[SP_ADDR_TEXT_LEN];
    return strcmp(sp_addr_text(a, buf), text) == 0;
}

TEST(enough_voters_of_different_networks)
{
    struct sp_external e = {0};
    vote(&e, "1.1.1.1", "9.9.9.9");
    vote(&e, "1.1.1.2", "9.9.9.9"); /* the same network */
    vote(&e, "1.1.1.3", "9.9.9.9");
    vote(&e, "1.1.1.4", "9.9.9.9");
    vote(&e, "1.1.2.1", "9.9.9.9");
    vote(&e, "1.1.3.1", "9.9.9.9");
    CHECK_EQ(e.best[0].family, SP_FAMILY_NONE);
    vote(&e, "1.1.4.1", "9.9.9.9:77");
    CHECK(is(&e.best[0], "9.9.9.9"));
    CHECK_EQ(e.best[1].family, SP_FAMILY_NONE);
    CHECK_EQ(e.changes, 1);
}

TEST(both_families_apart)
{
    struct sp_external e = {0};
    static const char *const voters[] = {"2001:4860:1::1", "2001:4860:2::1", "1.2.3.4",
                                         "2001:4860:3::1"};
    for (size_t i = 0; i < SP_COUNT(voters); i++)
        vote(&e, voters[i], "2001:4861::5");
    CHECK(is(&e.best[1], "2001:4861::5"));
    CHECK_EQ(e.best[0].family, SP_FAMILY_NONE);
}

TEST(liars_have_to_be_the_majority)
{
    struct sp_external e = {0};
    char voter[32];
    for (int i = 0; i < 12; i++) { /* every one names another */
        char lie[32];
        snprintf(voter, sizeof(voter), "4.4.%d.1", i);
        snprintf(lie, sizeof(lie), "6.6.%d.1", i);
        vote(&e, voter, lie);
    }
    for (int i = 0; i < 12; i++) {
        snprintf(voter, sizeof(voter), "5.5.%d.1", i);
        vote(&e, voter, "9.9.9.9");
        CHECK_EQ(e.best[0].family, SP_FAMILY_NONE);
    }
    vote(&e, "7.7.7.7", "9.9.9.9");
    CHECK(is(&e.best[0], "9.9.9.9"));
    for (int i = 0; i < 20; i++) { /* liars who agree, not the majority yet */
        snprintf(voter, sizeof(voter), "8.8.%d.1", i);
        vote(&e, voter, "6.6.6.6");
    }
    CHECK(is(&e.best[0], "9.9.9.9"));
}

TEST(a_new_address_takes_over)
{
    struct sp_external e = {0};
    char voter[32];
    for (int i = 0; i < 40; i++) {
        snprintf(voter, sizeof(voter), "5.5.%d.1", i);
        vote(&e, voter, "9.9.9.9");
    }
    for (int i = 0; i < 20; i++) { /* the same voters see another one now */
        snprintf(voter, sizeof(voter), "5.5.%d.1", i);
        vote(&e, voter, "9.9.9.10");
    }
    CHECK(is(&e.best[0], "9.9.9.9"));
    vote(&e, "5.5.20.1", "9.9.9.10");
    CHECK(is(&e.best[0], "9.9.9.10"));
    CHECK_EQ(e.changes, 2);
}

TEST(local_addresses_are_nobodys_and_local_voters_see_another_network)
{
    struct sp_external e = {0};
    for (int i = 0; i < 9; i++) {
        char voter[32];
        snprintf(voter, sizeof(voter), "5.5.%d.1", i);
        vote(&e, voter, "192.168.1.1");
        snprintf(voter, sizeof(voter), "10.5.%d.1", i);
        vote(&e, voter, "9.9.9.9");
    }
    CHECK_EQ(e.best[0].family, SP_FAMILY_NONE);
}

TEST(a_router_is_believed_until_many_say_otherwise)
{
    struct sp_external e = {0};
    struct sp_addr a = addr_of("9.9.9.9");
    sp_external_vote(&e, &key, SP_EXTERNAL_PORTMAP, NULL, &a);
    CHECK(is(&e.best[0], "9.9.9.9"));
    static const char *const voters[] = {"1.1.1.1", "1.1.2.1", "1.1.3.1", "1.1.4.1", "1.1.5.1"};
    for (size_t i = 0; i < SP_COUNT(voters); i++)
        vote(&e, voters[i], "9.9.9.8"); /* a second NAT behind it */
    CHECK(is(&e.best[0], "9.9.9.8"));
}

/* ---- BEP 40 ---- */

static const struct {
    const char *a, *b;
    uint32_t want;
} vectors[] = {
    {"123.213.32.10", "98.76.54.32", 0xec2d7224},
    {"123.213.32.10", "123.213.32.234", 0x99568189},
};

TEST(priority_vectors)
{
    for (size_t i = 0; i < SP_COUNT(vectors); i++) {
        struct sp_addr a = addr_of(vectors[i].a), b = addr_of(vectors[i].b);
        CHECK_EQ(sp_peer_priority(&a, &b), vectors[i].want);
        CHECK_EQ(sp_peer_priority(&b, &a), vectors[i].want);
    }
}

/* Which bits of b count when a is the other. */
static const struct {
    const char *a, *b, *c;
    bool same; /* b and c have the same priority to a */
} masks[] = {
    {"1.2.3.4", "5.6.7.8", "5.6.45.8", true},  /* 7 and 45 are 5 under the mask */
    {"1.2.3.4", "5.6.7.8", "5.6.6.8", false},  /* 6 is 4 */
    {"1.2.3.4", "5.6.7.8", "5.7.7.8", false},  /* the first two count whole */
    {"1.2.3.4", "1.2.7.8", "1.2.45.8", false}, /* of one /16: three */
    {"1.2.3.4", "1.2.7.8", "1.2.7.9", false},
    {"1.2.3.4", "1.2.7.8", "1.2.7.138", true},
    {"1.2.3.4", "1.2.3.8", "1.2.3.138", false}, /* of one /24: all */
    {"2001:4860::1", "2001:4861:0:1:2::1", "2001:4861:0:1:a::1", true},
    {"2001:4860::1", "2001:4861:0:1:2::1", "2001:4861:1:1:2::1", false},
    {"2001:4860::1", "2001:4860:0:100::", "2001:4860:0:300::", false}, /* one /48: byte 7 */
    {"2001:4860::1", "2001:4860:0:101::", "2001:4860:0:103::", true},
    {"2001:4860::1", "2001:4860:0:1::", "2001:4860:0:3::", false}, /* one /56: byte 8 */
};

TEST(priority_masks)
{
    for (size_t i = 0; i < SP_COUNT(masks); i++) {
        struct sp_addr a = addr_of(masks[i].a), b = addr_of(masks[i].b), c = addr_of(masks[i].c);
        bool same = sp_peer_priority(&a, &b) == sp_peer_priority(&a, &c);
        if (same != masks[i].same)
            printf("# %s: %s and %s\n", masks[i].a, masks[i].b, masks[i].c);
        CHECK_EQ(same, masks[i].same);
    }
}

TEST(one_address_goes_by_ports)
{
    struct sp_addr a = addr_of("1.2.3.4:1"), b = addr_of("1.2.3.4:2"), c = addr_of("1.2.3.4:3");
    CHECK_EQ(sp_peer_priority(&a, &b), sp_peer_priority(&b, &a));
    CHECK(sp_peer_priority(&a, &b) != sp_peer_priority(&a, &c));
    struct sp_addr six = addr_of("[2001:4860::1]:1");
    CHECK_EQ(sp_peer_priority(&a, &six), 0);
}

TEST(priority_is_the_same_from_both_ends)
{
    struct sp_rng rng = sp_rng_of(7);
    for (int i = 0; i < 2000; i++) {
        uint8_t bytes[32];
        sp_rng_bytes(&rng, bytes, sizeof(bytes));
        size_t shared = (size_t)sp_rng_below(&rng, 17);
        memcpy(bytes + 16, bytes, shared);
        bool four = i % 2;
        struct sp_addr a = four ? sp_addr_v4(bytes, 1) : sp_addr_v6(bytes, 1);
        struct sp_addr b = four ? sp_addr_v4(bytes + 16, 2) : sp_addr_v6(bytes + 16, 2);
        CHECK_EQ(sp_peer_priority(&a, &b), sp_peer_priority(&b, &a));
    }
}

int main(void)
{
    return check_run();
}
