/* The hole punching message. */
#include "core/wire/ut_holepunch.h"

#include "check.h"
#include "edge.h"

static const struct {
    const char *bytes;
    size_t len;
    bool ok;
    const char *addr;
    uint32_t error;
} cases[] = {
    {"\0\0\1\2\3\4\x1a\xe1\0\0\0\0", 12, true, "1.2.3.4:6881", 0},
    {"\1\0\1\2\3\4\0\1\0\0\0\0", 12, true, "1.2.3.4:1", 0},
    {"\2\0\1\2\3\4\0\1\0\0\0\4", 12, true, "1.2.3.4:1", 4},
    {"\2\0\1\2\3\4\0\1\xff\0\0\4", 12, true, "1.2.3.4:1", 0xff000004},
    {"\0\1\x20\1\x48\x60\0\0\0\0\0\0\0\0\0\0\0\1\0\5\0\0\0\0", 24, true, "[2001:4860::1]:5", 0},
    {"\0\1\0\0\0\0\0\0\0\0\0\0\xff\xff\1\2\3\4\0\5\0\0\0\0", 24, true, "1.2.3.4:5", 0},
    {"\3\0\1\2\3\4\0\1\0\0\0\0", 12, false, "", 0},   /* a kind of no name */
    {"\0\2\1\2\3\4\0\1\0\0\0\0", 12, false, "", 0},   /* a family of none */
    {"\0\1\1\2\3\4\0\1\0\0\0\0", 12, false, "", 0},   /* too short for IPv6 */
    {"\0\0\1\2\3\4\0\1\0\0\0\0\0", 13, false, "", 0}, /* too long */
    {"\0\0\1\2\3\4\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24, false, "", 0},
};

TEST(reads_or_refuses)
{
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        struct sp_holepunch_msg m = {.error = 99};
        char text[SP_ADDR_TEXT_LEN];
        enum sp_err err = sp_holepunch_read(edge(cases[i].bytes, cases[i].len), &m);
        CHECK_EQ(err, cases[i].ok ? SP_OK : SP_EPROTO);
        CHECK_EQ(m.error, cases[i].ok ? cases[i].error : 99);
        if (err == SP_OK)
            CHECK(strcmp(sp_addr_text(&m.addr, text), cases[i].addr) == 0);
        for (size_t len = 0; len < cases[i].len && cases[i].ok; len++)
            CHECK_EQ(sp_holepunch_read(edge(cases[i].bytes, len), &m), SP_EPROTO);
    }
}

TEST(writes_what_it_reads)
{
    for (size_t i = 0; i < 5; i++) { /* mapped ones change their family */
        struct sp_holepunch_msg m;
        uint8_t buf[SP_HOLEPUNCH_LEN_MAX];
        CHECK_EQ(sp_holepunch_read(edge(cases[i].bytes, cases[i].len), &m), SP_OK);
        CHECK_EQ(sp_holepunch_write(&m, buf), cases[i].len);
        CHECK(memcmp(buf, cases[i].bytes, cases[i].len) == 0);
    }
}

int main(void)
{
    return check_run();
}
