/* Local service discovery: what is read and written, and how often. */
#include "core/lsd/lsd.h"

#include "check.h"
#include "edge.h"

#define H1    "0123456789abcdef0123456789ABCDEF01234567"
#define HEAD  "BT-SEARCH * HTTP/1.1\r\n"
#define WHOLE HEAD "Host: 239.192.152.143:6771\r\nPort: 6881\r\nInfohash: " H1 "\r\n\r\n\r\n"

static enum sp_err read(const char *text, size_t len, struct sp_lsd_msg *m)
{
    return sp_lsd_read(edge(text, len), m);
}

static const struct {
    const char *text;
    bool ok;
    uint16_t port;
    uint32_t hashes;
} cases[] = {
    {WHOLE, true, 6881, 1},
    {HEAD "Port: 1\r\nInfohash: " H1 "\r\n\r\n", true, 1, 1}, /* one empty line will do */
    {HEAD "port:65535\r\nINFOHASH:\t" H1 " \r\n\r\n", true, 65535, 1},
    {"BT-SEARCH * HTTP/1.1\nPort: 1\nInfohash: " H1 "\n\n", true, 1, 1},
    {HEAD "Port: 1\r\nInfohash: " H1 "\r\nInfohash: " H1 "\r\nX-Other: y\r\n\r\n", true, 1, 2},
    {HEAD "Port: 0\r\nInfohash: " H1 "\r\n\r\n", false, 0, 0},
    {HEAD "Port: 65536\r\nInfohash: " H1 "\r\n\r\n", false, 0, 0},
    {HEAD "Port: 99999999999\r\nInfohash: " H1 "\r\n\r\n", false, 0, 0},
    {HEAD "Port: -1\r\nInfohash: " H1 "\r\n\r\n", false, 0, 0},
    {HEAD "Port: 1x\r\nInfohash: " H1 "\r\n\r\n", false, 0, 0},
    {HEAD "Port:\r\nInfohash: " H1 "\r\n\r\n", false, 0, 0},
    {HEAD "Infohash: " H1 "\r\n\r\n", false, 0, 0},
    {HEAD "Port: 1\r\n\r\n", false, 0, 0},
    {HEAD "Port: 1\r\nInfohash: " H1 "0\r\n\r\n", false, 0, 0},
    {HEAD "Port: 1\r\nInfohash: g123456789abcdef0123456789abcdef01234567\r\n\r\n", false, 0, 0},
    {HEAD "Port: 1\r\nInfohash: " H1 "\r\nnonsense\r\n\r\n", false, 0, 0},
    {"BT-SEARCH * HTTP/1.0\r\nPort: 1\r\nInfohash: " H1 "\r\n\r\n", false, 0, 0},
    {"M-SEARCH * HTTP/1.1\r\nPort: 1\r\nInfohash: " H1 "\r\n\r\n", false, 0, 0},
    {"", false, 0, 0},
};

TEST(reads_or_refuses)
{
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        struct sp_lsd_msg m = {.port = 7};
        enum sp_err err = read(cases[i].text, strlen(cases[i].text), &m);
        bool ok = (err == SP_OK) == cases[i].ok;
        if (!ok)
            printf("# %s\n", cases[i].text);
        CHECK(ok);
        if (err != SP_OK)
            CHECK_EQ(m.port, 7); /* untouched */
        else if (cases[i].ok)
            CHECK(m.port == cases[i].port && m.hash_count == cases[i].hashes);
    }
}

TEST(every_prefix_is_refused)
{
    struct sp_lsd_msg m;
    size_t end = sizeof(WHOLE) - 1 - 2; /* the second empty line is more than is needed */
    for (size_t len = 0; len < end; len++)
        CHECK_EQ(read(WHOLE, len, &m), SP_EPROTO);
    CHECK_EQ(read(WHOLE, end, &m), SP_OK);
    CHECK_EQ(m.hashes[0][0], 1);
    CHECK_EQ(m.hashes[0][15], 0xef);
}

TEST(many_hashes_are_cut_and_long_messages_refused)
{
    static char text[8192];
    struct sp_lsd_msg m;
    for (int count = 30; count < 60; count++) {
        size_t len = (size_t)snprintf(text, sizeof(text), HEAD "Port: 1\r\n");
        for (int i = 0; i < count; i++)
            len += (size_t)snprintf(text + len, sizeof(text) - len, "Infohash: " H1 "\r\n");
        len += (size_t)snprintf(text + len, sizeof(text) - len, "\r\n\r\n");
        enum sp_err err = read(text, len, &m);
        CHECK_EQ(err, len <= SP_LSD_HEAR_LEN_MAX ? SP_OK : SP_EPROTO);
        if (err == SP_OK)
            CHECK_EQ(m.hash_count, count < SP_LSD_HEAR_MAX ? count : SP_LSD_HEAR_MAX);
    }
}

TEST(writes_what_it_reads)
{
    static const enum sp_family families[] = {SP_V4, SP_V6};
    static const char *const hosts[] = {"Host: 239.192.152.143:6771\r\n",
                                        "Host: [ff15::efc0:988f]:6771\r\n"};
    for (size_t f = 0; f < 2; f++) {
        struct sp_lsd_msg m = {.port = 65535, .hash_count = SP_LSD_HASHES_MAX}, back;
        char buf[SP_LSD_LEN_MAX + 1] = "";
        struct sp_lsd l;
        size_t len = 0;
        sp_lsd_init(&l, 5, 65535, 0);
        for (uint32_t i = 0; i < SP_LSD_HASHES_MAX; i++)
            memset(m.hashes[i], (int)i + 1, SP_SHA1_LEN);
        sp_lsd_sign(&l, &m);
        CHECK_EQ(sp_lsd_write(&m, families[f], (uint8_t *)buf, SP_LSD_LEN_MAX, &len), SP_OK);
        CHECK(strstr(buf, hosts[f]));
        CHECK(len > 4 && memcmp(buf + len - 4, "\r\n\r\n", 4) == 0);
        CHECK_EQ(read(buf, len, &back), SP_OK);
        CHECK_EQ(back.port, 65535);
        CHECK_EQ(back.hash_count, SP_LSD_HASHES_MAX);
        CHECK(memcmp(back.hashes, m.hashes, sizeof(m.hashes)) == 0);
        CHECK(back.cookie_len == 8 && memcmp(back.cookie, l.cookie, 8) == 0);
        for (size_t cap = 0; cap < len; cap++)
            CHECK_EQ(sp_lsd_write(&m, families[f], (uint8_t *)buf, cap, &len), SP_ELIMIT);
        m.hash_count++;
        CHECK_EQ(sp_lsd_write(&m, families[f], (uint8_t *)buf, sizeof(buf), &len), SP_EINVAL);
        m.hash_count = 0;
        CHECK_EQ(sp_lsd_write(&m, families[f], (uint8_t *)buf, sizeof(buf), &len), SP_EINVAL);
    }
}

/* Runs the pace over an hour; gives how many messages went. */
static uint32_t an_hour(uint32_t torrents, sp_time_ns *ret_gap)
{
    struct sp_lsd l;
    sp_time_ns last = 0, gap = SP_TIME_NEVER;
    uint32_t sent = 0;
    sp_lsd_init(&l, 9, 6881, 0);
    for (sp_time_ns now = 0; now < 3600 * SP_SECOND_NS; now += SP_SECOND_NS / 4) {
        sp_lsd_count(&l, torrents, now);
        if (!sp_lsd_is_due(&l, now))
            continue;
        if (sent++ && now - last < gap)
            gap = now - last;
        last = now;
        sp_lsd_sent(&l, now);
    }
    *ret_gap = gap;
    return sent;
}

TEST(every_five_minutes_and_never_twice_a_minute)
{
    sp_time_ns gap;
    CHECK_EQ(an_hour(0, &gap), 0);
    CHECK_EQ(an_hour(1, &gap), 12);
    CHECK(gap >= SP_LSD_EVERY_NS);
    CHECK_EQ(an_hour(SP_LSD_HASHES_MAX, &gap), 12);
    uint32_t n = an_hour(SP_LSD_HASHES_MAX + 1, &gap);
    CHECK(n >= 23 && n <= 24); /* two messages hold them */
    n = an_hour(10000, &gap);
    CHECK(n >= 57 && n <= 60);
    CHECK(gap >= SP_LSD_APART_NS);
}

TEST(a_new_torrent_is_called_out_soon)
{
    struct sp_lsd l;
    sp_time_ns now = 0;
    sp_lsd_init(&l, 9, 6881, now);
    sp_lsd_count(&l, 1, now);
    CHECK(l.next_at <= SP_LSD_SPREAD_NS);
    now = l.next_at;
    sp_lsd_sent(&l, now);
    sp_lsd_count(&l, 1, now);
    CHECK(l.next_at >= now + SP_LSD_EVERY_NS);
    sp_lsd_count(&l, 2, now + SP_SECOND_NS);
    CHECK_EQ(l.next_at, now + SP_LSD_APART_NS);
    sp_lsd_count(&l, 0, now);
    CHECK(!sp_lsd_is_due(&l, now + 3600 * SP_SECOND_NS));
}

TEST(hears_so_much_and_not_itself)
{
    struct sp_lsd l;
    struct sp_lsd_msg m;
    struct sp_slice whole = SP_LIT(WHOLE);
    sp_lsd_init(&l, 9, 6881, 0);
    uint32_t heard = 0;
    for (int i = 0; i < 1000; i++)
        heard += sp_lsd_hear(&l, whole, 0, &m) == SP_OK;
    CHECK_EQ(heard, SP_LSD_HEARD_BURST);
    heard = 0;
    for (sp_time_ns now = 0; now < 10 * SP_SECOND_NS; now += SP_MS_NS)
        heard += sp_lsd_hear(&l, whole, now, &m) == SP_OK;
    CHECK(heard >= 10 * SP_LSD_HEARD_RATE - 1 && heard <= 10 * SP_LSD_HEARD_RATE);

    uint8_t buf[SP_LSD_LEN_MAX];
    size_t len = 0;
    m.hash_count = 1;
    sp_lsd_sign(&l, &m);
    CHECK_EQ(sp_lsd_write(&m, SP_V4, buf, sizeof(buf), &len), SP_OK);
    CHECK_EQ(sp_lsd_hear(&l, (struct sp_slice){buf, len}, 60 * SP_SECOND_NS, &m), SP_ELIMIT);
    struct sp_lsd other;
    sp_lsd_init(&other, 10, 6881, 0);
    CHECK_EQ(sp_lsd_hear(&other, (struct sp_slice){buf, len}, 0, &m), SP_OK);
}

int main(void)
{
    return check_run();
}
