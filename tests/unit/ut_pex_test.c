/* The peer exchange message: what is read, kept and refused; what is written. */
#include "core/wire/ut_pex.h"

#include "check.h"
#include "edge.h"

static enum sp_err read(const void *bytes, size_t len, struct sp_pex_msg *m)
{
    return sp_pex_read(edge(bytes, len), m);
}

#define READ(lit, m) read((lit), sizeof(lit) - 1, (m))

static struct sp_addr addr_of(const char *text)
{
    struct sp_addr a = {0};
    CHECK_EQ(sp_addr_parse((struct sp_slice){(const uint8_t *)text, strlen(text)}, true, &a),
             SP_OK);
    return a;
}

static bool is(const struct sp_addr *a, const char *text)
{
    char buf[SP_ADDR_TEXT_LEN];
    return strcmp(sp_addr_text(a, buf), text) == 0;
}

TEST(reads_all_six_keys)
{
    static const char text[] = "d5:added12:\x08\x08\x08\x08\x1a\xe1\x09\x09\x09\x09\0\x50"
                               "7:added.f2:\x13\xe4"
                               "6:added618:\x20\1\x48\x60\0\0\0\0\0\0\0\0\0\0\0\1\x1a\xe2"
                               "8:added6.f1:\x0c"
                               "7:dropped6:\1\1\1\1\x1a\xe1"
                               "8:dropped618:\x20\1\x48\x60\0\0\0\0\0\0\0\0\0\0\0\2\x1a\xe3"
                               "3:newi5ee";
    struct sp_pex_msg m;
    CHECK_EQ(READ(text, &m), SP_OK);
    CHECK_EQ(m.added_count, 3);
    CHECK_EQ(m.dropped_count, 2);
    CHECK_EQ(m.added_told, 3);
    CHECK_EQ(m.dropped_told, 2);
    CHECK(!m.contradicts);
    CHECK(is(&m.added[0].addr, "8.8.8.8:6881"));
    CHECK_EQ(m.added[0].flags, SP_PEX_ENCRYPTION | SP_PEX_SEED | SP_PEX_REACHABLE);
    CHECK(is(&m.added[1].addr, "9.9.9.9:80"));
    CHECK_EQ(m.added[1].flags, SP_PEX_UTP); /* reserved bits do not come through */
    CHECK(is(&m.added[2].addr, "[2001:4860::1]:6882"));
    CHECK_EQ(m.added[2].flags, SP_PEX_UTP | SP_PEX_HOLEPUNCH);
    CHECK(is(&m.dropped[0], "1.1.1.1:6881"));
    CHECK(is(&m.dropped[1], "[2001:4860::2]:6883"));
    for (size_t len = 0; len < sizeof(text) - 1; len++)
        CHECK_EQ(read(text, len, &m), SP_EPROTO);
}

static const struct {
    const char *what, *bytes;
    enum sp_err want;
} cases[] = {
    {"nothing of use", "de", SP_EPROTO},
    {"flags alone", "d7:added.f0:e", SP_EPROTO},
    {"unknown keys alone", "d3:fooi1ee", SP_EPROTO},
    {"an empty list is a list", "d5:added0:e", SP_OK},
    {"empty, with its flags", "d5:added0:7:added.f0:e", SP_OK},
    {"no flags", "d5:added6:aaaabbe", SP_OK},
    {"a list one byte short", "d5:added5:aaaabe", SP_EPROTO},
    {"a list one byte long", "d5:added7:aaaabbce", SP_EPROTO},
    {"v4 in the v6 list", "d6:added66:aaaabbe", SP_EPROTO},
    {"v6 in the v4 list reads as three", "d5:added18:aaaabbccccddeeeeffe", SP_OK},
    {"v6 one byte short", "d6:added617:aaaaaaaaaaaaaaaabe", SP_EPROTO},
    {"too few flags", "d5:added6:aaaabb7:added.f0:e", SP_EPROTO},
    {"too many flags", "d5:added6:aaaabb7:added.f2:xxe", SP_EPROTO},
    {"flags of nothing", "d7:added.f1:x7:dropped6:aaaabbe", SP_EPROTO},
    {"v6 flags of nothing", "d5:added6:aaaabb8:added6.f1:xe", SP_EPROTO},
    {"a number for a list", "d5:addedi6ee", SP_EPROTO},
    {"a list of lists", "d5:addedl6:aaaabbee", SP_EPROTO},
    {"a number for flags", "d5:added6:aaaabb7:added.fi1ee", SP_EPROTO},
    {"dropped of odd length", "d7:dropped5:aaaabe", SP_EPROTO},
    {"dropped as in the text of the BEP", "d7:dropped18:aaaabbccccddeeeeffe", SP_OK},
    {"dropped6 of odd length", "d8:dropped66:aaaabbe", SP_EPROTO},
    {"no dictionary", "l5:added6:aaaabbe", SP_EPROTO},
    {"a string", "5:added", SP_EPROTO},
    {"unsorted", "d7:dropped0:5:added0:e", SP_OK},
    {"too deep", "d1:alllleeee5:added0:e", SP_EPROTO},
};

TEST(reads_or_refuses)
{
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        struct sp_pex_msg m = {.added_count = 77};
        enum sp_err err = read(cases[i].bytes, strlen(cases[i].bytes), &m);
        if (err != cases[i].want)
            printf("# %s\n", cases[i].what);
        CHECK_EQ(err, cases[i].want);
        if (err != SP_OK)
            CHECK_EQ(m.added_count, 77); /* untouched */
    }
}

/* d5:added<6n>:... with contacts of 11.<hi>.<lo>.1:1025 */
static size_t many(char *text, uint32_t count)
{
    size_t len = (size_t)snprintf(text, 32, "d5:added%u:", count * 6);
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t c[6] = {11, (uint8_t)(i >> 8), (uint8_t)i, 1, 4, 1};
        memcpy(text + len, c, 6);
        len += 6;
    }
    text[len++] = 'e';
    return len;
}

TEST(keeps_no_more_than_the_cap_and_tells_how_many_there_were)
{
    static char text[20000];
    struct sp_pex_msg m;
    static const uint32_t counts[] = {49, 50, 51, 200, 2700};
    for (size_t i = 0; i < SP_COUNT(counts); i++) {
        CHECK_EQ(read(text, many(text, counts[i]), &m), SP_OK);
        CHECK_EQ(m.added_told, counts[i]);
        CHECK_EQ(m.added_count, counts[i] < SP_PEX_KEEP_MAX ? counts[i] : SP_PEX_KEEP_MAX);
        CHECK(!m.contradicts);
    }
}

TEST(one_contact_an_address)
{
    struct sp_pex_msg m;
    /* The same address of the internet under two ports: the first counts. */
    CHECK_EQ(READ("d5:added12:\x08\x08\x08\x08\1\1\x08\x08\x08\x08\2\2e", &m), SP_OK);
    CHECK_EQ(m.added_count, 1);
    CHECK_EQ(m.added[0].addr.port, 257);
    CHECK(!m.contradicts); /* two may share one address by NAT */
    /* In a home or on one machine they are different peers. */
    CHECK_EQ(READ("d5:added12:\x0a\0\0\1\1\1\x0a\0\0\1\2\2e", &m), SP_OK);
    CHECK_EQ(m.added_count, 2);
    CHECK(!m.contradicts);
    CHECK_EQ(READ("d5:added12:\x0a\0\0\1\1\1\x0a\0\0\1\1\1e", &m), SP_OK);
    CHECK_EQ(m.added_count, 1);
    CHECK(m.contradicts);
    CHECK_EQ(READ("d5:added6:\x08\x08\x08\x08\0\0e", &m), SP_OK); /* port 0 */
    CHECK_EQ(m.added_count, 0);
    CHECK_EQ(m.added_told, 1);
    CHECK_EQ(READ("d5:added6:\x08\x08\x08\x08\1\1"
                  "7:dropped6:\x08\x08\x08\x08\1\1e",
                  &m),
             SP_OK);
    CHECK(m.contradicts);
    CHECK_EQ(READ("d5:added6:\x08\x08\x08\x08\1\1"
                  "7:dropped6:\x08\x08\x08\x08\1\2e",
                  &m),
             SP_OK);
    CHECK(!m.contradicts);
}

TEST(writes_what_it_reads)
{
    struct sp_pex_msg m = {
        .added = {{addr_of("8.8.8.8:6881"), SP_PEX_SEED | SP_PEX_REACHABLE},
                  {addr_of("[2001:4860::1]:6882"), SP_PEX_UTP},
                  {addr_of("9.9.9.9:1"), 0}},
        .added_count = 3,
        .dropped = {addr_of("[2001:4860::2]:5"), addr_of("1.1.1.1:65535")},
        .dropped_count = 2,
    };
    uint8_t buf[SP_PEX_LEN_MAX];
    struct sp_pex_msg back;
    size_t len;
    CHECK_EQ(sp_pex_write(&m, buf, sizeof(buf), &len), SP_OK);
    static const char want[] = "d5:added12:\x08\x08\x08\x08\x1a\xe1\x09\x09\x09\x09\0\1"
                               "7:added.f2:\x12\0"
                               "6:added618:\x20\1\x48\x60\0\0\0\0\0\0\0\0\0\0\0\1\x1a\xe2"
                               "8:added6.f1:\4"
                               "7:dropped6:\1\1\1\1\xff\xff"
                               "8:dropped618:\x20\1\x48\x60\0\0\0\0\0\0\0\0\0\0\0\2\0\5e";
    CHECK_EQ(len, sizeof(want) - 1);
    CHECK(memcmp(buf, want, sizeof(want) - 1) == 0);
    for (size_t cap = 0; cap < len; cap++) {
        size_t none = 99;
        CHECK_EQ(sp_pex_write(&m, buf, cap, &none), SP_ELIMIT);
        CHECK_EQ(none, 99);
    }
    CHECK_EQ(read(want, sizeof(want) - 1, &back), SP_OK);
    CHECK_EQ(back.added_count, 3);
    CHECK_EQ(back.dropped_count, 2);
}

TEST(writes_the_largest_and_refuses_more)
{
    static struct sp_pex_msg m;
    uint8_t buf[SP_PEX_LEN_MAX];
    size_t len;
    struct sp_addr six = addr_of("[2001:4860::1]:6882");
    CHECK_EQ(sp_pex_write(&m, buf, sizeof(buf), &len), SP_EINVAL); /* nothing to tell */
    for (uint32_t i = 0; i <= SP_PEX_SEND_MAX; i++)
        m.added[i].addr = m.dropped[i] = six;
    m.added_count = m.dropped_count = SP_PEX_SEND_MAX;
    CHECK_EQ(sp_pex_write(&m, buf, sizeof(buf), &len), SP_OK);
    m.added_count++;
    CHECK_EQ(sp_pex_write(&m, buf, sizeof(buf), &len), SP_EINVAL);
    m.added_count--;
    m.dropped_count++;
    CHECK_EQ(sp_pex_write(&m, buf, sizeof(buf), &len), SP_EINVAL);
}

int main(void)
{
    return check_run();
}
