#include "bentext.h"
#include "check.h"
#include "core/base/hex.h"
#include "edge.h"
#include "spate/magnet.h"
#include "torture.h"

static struct torture counter = {.until_failure = -1};
static const struct sp_mem mem = {torture_alloc, torture_free, &counter};

#define HEX   "0123456789abcdef0123456789abcdef01234567"
#define HEX_B "1123456789abcdef0123456789abcdef01234567"
#define V2    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define XT    "magnet:?xt=urn:btih:" HEX

static enum sp_err parse(const char *text, struct sp_magnet **ret, struct sp_diag *diag)
{
    return sp_magnet_parse(&mem, edge(text, strlen(text)), ret, diag);
}

static bool same(const char *got, const char *want)
{
    bool ok = got && want ? strcmp(got, want) == 0 : got == want;
    if (!ok)
        printf("# got \"%s\", not \"%s\"\n", got ? got : "(none)", want ? want : "(none)");
    return ok;
}

/* What a link becomes when it is read and written. */
static const struct {
    const char *text, *again;
} good[] = {
    {XT, XT},
    {"MAGNET:?XT=URN:BTIH:0123456789ABCDEF0123456789ABCDEF01234567", XT},
    {"magnet:?xt=urn:btih:AERUKZ4JVPG66AJDIVTYTK6N54ASGRLH", XT},
    {"magnet:?xt=urn:btih:aerukz4jvpg66ajdivtytk6n54asgrlh", XT},
    {"magnet:?xt=urn%3Abtih%3A" HEX, XT},
    {"magnet:?xt.1=urn:btih:" HEX "&xt.2=urn:btmh:1220" V2, XT "&xt=urn:btmh:1220" V2},
    {"magnet:?xt=urn:btmh:1220" V2, "magnet:?xt=urn:btmh:1220" V2},
    {"magnet:?xt=urn:ed2k:abc&xt=urn:btih:" HEX, XT},
    {XT "&xt=urn:btih:" HEX, XT},
    {XT "&dn=a+b%20c%2Bd&dn=second", XT "&dn=a%20b%20c%2Bd"},
    {XT "&dn=", XT},
    {XT "&dn=x%0ay%1b%ff", XT "&dn=x_y__"},
    {XT "&dn=100%&amp;tr=udp%3a%2F%2Fh%3A1", XT "&dn=100%25&tr=udp%3A%2F%2Fh%3A1"},
    {XT "&dn=%zz%4", XT "&dn=%25zz%254"},
    {XT "&tr=http://a/x?y=1&tr.1=http://b&tr=http://a/x?y=1",
     XT "&tr=http%3A%2F%2Fa%2Fx%3Fy%3D1&tr=http%3A%2F%2Fb"},
    {XT "&tr=a%20b&tr=&tr=%00&tr=a%0d%0ab", XT},
    {XT "&tr=a+b", XT "&tr=a%2Bb"},
    {XT "&ws=http://w&xs=http://x&as=http://y",
     XT "&ws=http%3A%2F%2Fw&xs=http%3A%2F%2Fx&as=http%3A%2F%2Fy"},
    {XT "&x.pe=1.2.3.4:5&x.pe=[::1]:65535&x.pe=host.example:1",
     XT "&x.pe=1.2.3.4:5&x.pe=[::1]:65535&x.pe=host.example:1"},
    {XT "&x.pe=%5B::1%5D%3A7", XT "&x.pe=[::1]:7"},
    {XT "&x.pe=1.2.3.4&x.pe=:5&x.pe=h:0&x.pe=h:65536&x.pe=::1:5&x.pe=[h]:5&x.pe=h:&x.pe=a%20b:1",
     XT},
    {XT "&x.pe=h%2F:1&x.pe=[::1:5&x.pe=h:1x&x.pe=h:-1", XT},
    {XT "&so=0,2,4-6", XT "&so=0,2,4-6"},
    {XT "&so=4-6,0,2", XT "&so=0,2,4-6"},
    {XT "&so=1,2,3", XT "&so=1-3"},
    {XT "&so=1-5,3-9,20,10", XT "&so=1-10,20"},
    {XT "&so=7-7,1-2,0-9", XT "&so=0-9"},
    {XT "&so=4294967294", XT "&so=4294967294"},
    {XT "&so=1&so=3", XT "&so=1,3"},
    {XT "&xl=123", XT "&xl=123"},
    {XT "&xl=x&xl=-1&xl=99999999999999999999", XT},
    {XT "&unknown=1&&=&x&kt=a", XT},
    {XT "#fragment&tr=http://no", XT},
};

TEST(magnet_reads_and_writes)
{
    for (size_t i = 0; i < SP_COUNT(good); i++) {
        struct sp_magnet *m = NULL;
        struct sp_diag diag = {0};
        char buf[1024];
        size_t len = 0, again = 0;
        CHECK_EQ(parse(good[i].text, &m, &diag), SP_OK);
        CHECK(same(diag.text, ""));
        if (!m)
            continue;
        CHECK_EQ(sp_magnet_write(m, NULL, 0, &len), SP_ELIMIT);
        CHECK_EQ(sp_magnet_write(m, buf, len, &again), SP_ELIMIT);
        CHECK_EQ(sp_magnet_write(m, buf, len + 1, &again), SP_OK);
        CHECK_EQ(again, len);
        CHECK_EQ(strlen(buf), len);
        CHECK(same(buf, good[i].again));
        sp_magnet_free(m);
        CHECK_EQ(parse(buf, &m, NULL), SP_OK); /* and what was written reads the same */
        char twice[1024];
        CHECK_EQ(sp_magnet_write(m, twice, sizeof(twice), &again), SP_OK);
        CHECK(same(twice, buf));
        sp_magnet_free(m);
    }
    CHECK_EQ(counter.live, 0);
}

TEST(magnet_refuses_with_reason)
{
    static const struct {
        const char *text;
        enum sp_err err;
        const char *why;
    } bad[] = {
        {"", SP_EDATA, "is no magnet link: does not begin with \"magnet:?\""},
        {"magnet:", SP_EDATA, "is no magnet link: does not begin with \"magnet:?\""},
        {"http://a/?xt=urn:btih:" HEX, SP_EDATA,
         "is no magnet link: does not begin with \"magnet:?\""},
        {"magnet:?", SP_EDATA, "xt: there is no urn:btih or urn:btmh"},
        {"magnet:?dn=x", SP_EDATA, "xt: there is no urn:btih or urn:btmh"},
        {"magnet:?xt=urn:ed2k:abc", SP_EDATA, "xt: there is no urn:btih or urn:btmh"},
        {"magnet:?dn=xt=urn:btih:" HEX, SP_EDATA, "xt: there is no urn:btih or urn:btmh"},
        {"magnet:?xt=urn:btih:", SP_EDATA,
         "xt: btih is neither 40 hexadecimal nor 32 base32 digits"},
        {XT "8", SP_EDATA, "xt: btih is neither 40 hexadecimal nor 32 base32 digits"},
        {"magnet:?xt=urn:btih:0123456789abcdef0123456789abcdef0123456", SP_EDATA,
         "xt: btih is neither 40 hexadecimal nor 32 base32 digits"},
        {"magnet:?xt=urn:btih:0123456789abcdef0123456789abcdef0123456g", SP_EDATA,
         "xt: btih is neither 40 hexadecimal nor 32 base32 digits"},
        {"magnet:?xt=urn:btih:AERUKZ4JVPG66AJDIVTYTK6N54ASGRL1", SP_EDATA,
         "xt: btih is neither 40 hexadecimal nor 32 base32 digits"},
        {"magnet:?xt=urn:btmh:1220" HEX, SP_EDATA,
         "xt: btmh is not 1220 and 64 hexadecimal digits"},
        {"magnet:?xt=urn:btmh:1120" V2, SP_EDATA, "xt: btmh is not 1220 and 64 hexadecimal digits"},
        {XT "&xt=urn:btih:" HEX_B, SP_EDATA, "xt: two different hashes"},
        {XT "&so=", SP_EDATA, "so: is no list of file numbers and ranges"},
        {XT "&so=1,", SP_EDATA, "so: is no list of file numbers and ranges"},
        {XT "&so=,1", SP_EDATA, "so: is no list of file numbers and ranges"},
        {XT "&so=1,,2", SP_EDATA, "so: is no list of file numbers and ranges"},
        {XT "&so=1-", SP_EDATA, "so: is no list of file numbers and ranges"},
        {XT "&so=-1", SP_EDATA, "so: is no list of file numbers and ranges"},
        {XT "&so=3-2", SP_EDATA, "so: is no list of file numbers and ranges"},
        {XT "&so=1-2-3", SP_EDATA, "so: is no list of file numbers and ranges"},
        {XT "&so=a", SP_EDATA, "so: is no list of file numbers and ranges"},
        {XT "&so=4294967295", SP_EDATA, "so: is no list of file numbers and ranges"},
        {XT "&so=99999999999999999999", SP_EDATA, "so: is no list of file numbers and ranges"},
    };
    for (size_t i = 0; i < SP_COUNT(bad); i++) {
        struct sp_magnet *m = NULL;
        struct sp_diag diag = {0};
        CHECK_EQ(parse(bad[i].text, &m, &diag), bad[i].err);
        CHECK(!m);
        CHECK(same(diag.text, bad[i].why));
        CHECK(diag.off <= strlen(bad[i].text));
        sp_magnet_free(m);
    }
    CHECK_EQ(counter.live, 0);
}

TEST(magnet_fields)
{
    struct sp_magnet *m;
    char hex[65];
    CHECK_EQ(parse(XT "&xt=urn:btmh:1220" V2 "&dn=a+b&tr=u1&tr=u2&x.pe=[fe80::1]:9&so=5,1-2&xl=77",
                   &m, NULL),
             SP_OK);
    CHECK(m->has_v1 && m->has_v2);
    CHECK(same(sp_hex(m->info_hash_v1, 20, hex), HEX));
    CHECK(same(sp_hex(m->info_hash_v2, 32, hex), V2));
    CHECK(same(m->name, "a b"));
    CHECK_EQ(m->length, 77);
    CHECK(m->tracker_count == 2 && same(m->trackers[1].url, "u2") && m->trackers[1].tier == 1);
    CHECK(m->peer_count == 1 && same(m->peers[0].host, "fe80::1") && m->peers[0].port == 9);
    CHECK(m->range_count == 2 && m->ranges[0].first == 1 && m->ranges[0].last == 2 &&
          m->ranges[1].first == 5 && m->ranges[1].last == 5);
    sp_magnet_free(m);
    CHECK(sp_magnet_is(SP_LIT("Magnet:?x")) && !sp_magnet_is(SP_LIT("magnet")) &&
          !sp_magnet_is((struct sp_slice){0}));
}

static void repeat(char *out, const char *head, const char *unit, size_t count)
{
    size_t len = strlen(head), unit_len = strlen(unit);
    memcpy(out, head, len);
    for (size_t i = 0; i < count; i++)
        memcpy(out + len + i * unit_len, unit, unit_len);
    out[len + count * unit_len] = '\0';
}

TEST(magnet_caps)
{
    static char text[100000];
    struct sp_magnet *m = NULL;
    struct sp_diag diag;

    repeat(text, XT "&dn=", "x", SP_MAGNET_LEN_MAX - strlen(XT "&dn="));
    CHECK_EQ(parse(text, &m, &diag), SP_OK);
    sp_magnet_free(m);
    m = NULL;
    repeat(text, XT "&dn=", "x", SP_MAGNET_LEN_MAX - strlen(XT "&dn=") + 1);
    struct sp_slice in = {(const uint8_t *)text, strlen(text)};
    CHECK_EQ(sp_magnet_parse(&mem, in, &m, &diag), SP_ELIMIT);
    CHECK(!m && same(diag.text, "is longer than 65536 bytes"));

    repeat(text, XT, "&x.pe=h:1", 1000); /* too many are left out */
    CHECK_EQ(parse(text, &m, &diag), SP_OK);
    CHECK_EQ(m->peer_count, SP_MAGNET_LIST_MAX);
    sp_magnet_free(m);
    size_t len = strlen(XT);
    memcpy(text, XT, len);
    for (int i = 0; i < 1000; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "&tr=%d&ws=%d", i, i);
    CHECK_EQ(parse(text, &m, &diag), SP_OK);
    CHECK(m->tracker_count == SP_MAGNET_LIST_MAX && m->web_seed_count == SP_MAGNET_LIST_MAX);
    sp_magnet_free(m);

    len = strlen(XT "&so=0");
    memcpy(text, XT "&so=0", len);
    for (int i = 1; i < SP_MAGNET_RANGE_MAX; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, ",%d", 2 * i);
    CHECK_EQ(parse(text, &m, &diag), SP_OK);
    CHECK_EQ(m->range_count, SP_MAGNET_RANGE_MAX);
    sp_magnet_free(m);
    for (int round = 0; round < 2; round++) { /* one more: in the list, and in a second one */
        snprintf(text + len, sizeof(text) - len, "%s", round ? "&so=99999" : ",99999");
        CHECK_EQ(parse(text, &m, &diag), SP_ELIMIT);
    }
    CHECK_EQ(counter.live, 0);
}

static const char ALL[] = XT "&xt=urn:btmh:1220" V2 "&dn=a+%62&tr=u1&tr=u2&ws=w&xs=x&as=y"
                             "&x.pe=[::1]:9&so=5,1-2&xl=77";

/* Goal: every cut and every flipped bit is read or refused, never more. */
TEST(magnet_prefixes_and_bit_flips)
{
    char text[sizeof(ALL)];
    for (size_t i = 0; i <= strlen(ALL) * 9; i++) {
        struct sp_magnet *m = NULL;
        size_t len = strlen(ALL), bit = i - len - 1;
        memcpy(text, ALL, sizeof(ALL));
        if (i <= len)
            len = i;
        else
            text[bit / 8] = (char)(text[bit / 8] ^ (1 << bit % 8));
        enum sp_err err = sp_magnet_parse(&mem, edge(text, len), &m, NULL);
        CHECK(err == SP_OK || err == SP_EDATA);
        CHECK(i >= strlen(XT) || err == SP_EDATA);
        sp_magnet_free(m);
    }
    CHECK_EQ(counter.live, 0);
}

TEST(magnet_survives_each_failing_allocation)
{
    enum sp_err err = SP_ENOMEM;
    int tries = 0;
    for (; err == SP_ENOMEM && tries < 200; tries++) {
        struct torture t = {.until_failure = tries};
        struct sp_mem failing = {torture_alloc, torture_free, &t};
        struct sp_magnet *m = NULL;
        err = sp_magnet_parse(&failing, SP_LIT(XT "&tr=u&so=1&x.pe=h:1&ws=w&dn=n"), &m, NULL);
        CHECK((m != NULL) == (err == SP_OK));
        sp_magnet_free(m);
        CHECK_EQ(t.live, 0);
    }
    CHECK_EQ(err, SP_OK);
    CHECK(tries > 3);
}

TEST(magnet_of_a_torrent)
{
    struct sp_metainfo *mi;
    char buf[512], want[512] = "magnet:?xt=urn:btih:";
    size_t len, again;
    CHECK_EQ(sp_metainfo_parse(&mem,
                               bentext("d 'announce' 'http://a/' 'httpseeds' l 'http://h/' e 'info'"
                                       "d 'length' 5 'name' 'a b' 'piece length' 16384"
                                       "'pieces' *20 e 'url-list' 'http://w/' e"),
                               NULL, &mi, NULL),
             SP_OK);
    CHECK_EQ(sp_magnet_of_metainfo(mi, NULL, 0, &len), SP_ELIMIT);
    CHECK_EQ(sp_magnet_of_metainfo(mi, buf, len + 1, &again), SP_OK);
    sp_hex(mi->info_hash_v1, 20, want + strlen(want));
    snprintf(want + strlen(want), sizeof(want) - strlen(want), "%s",
             "&dn=a%20b&xl=5&tr=http%3A%2F%2Fa%2F&ws=http%3A%2F%2Fw%2F");
    CHECK(same(buf, want));
    CHECK_EQ(strlen(buf), len);
    sp_metainfo_free(mi);
    struct sp_magnet none = {0};
    CHECK_EQ(sp_magnet_write(&none, buf, sizeof(buf), &len), SP_EINVAL);
}

int main(void)
{
    return check_run();
}
