#include "check.h"
#include "core/wire/ext_handshake.h"
#include "edge.h"

static enum sp_err read(const char *text, size_t len, struct sp_ext_handshake *hs)
{
    return sp_ext_handshake_read(edge(text, len), hs);
}

#define READ(lit, hs) read((lit), sizeof(lit) - 1, (hs))

TEST(reads_what_clients_send)
{
    struct sp_ext_handshake hs;
    CHECK_EQ(READ("d12:complete_agoi5e1:ei0e4:ipv44:\1\2\3\4"
                  "4:ipv616:\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\1"
                  "1:md11:lt_donthavei7e10:share_modei8e11:upload_onlyi3e12:ut_holepunchi4e"
                  "11:ut_metadatai2e6:ut_pexi1ee13:metadata_sizei31235e1:pi6881e4:reqqi2000e"
                  "11:upload_onlyi1e1:v17:qBittorrent/4.6.56:yourip4:\x7f\0\0\1"
                  "e",
                  &hs),
             SP_OK);
    CHECK_EQ(hs.ids[SP_EXT_LT_DONTHAVE], 7);
    CHECK_EQ(hs.ids[SP_EXT_UPLOAD_ONLY], 3);
    CHECK_EQ(hs.ids[SP_EXT_UT_HOLEPUNCH], 4);
    CHECK_EQ(hs.ids[SP_EXT_UT_METADATA], 2);
    CHECK_EQ(hs.ids[SP_EXT_UT_PEX], 1);
    CHECK(!hs.in_m[SP_EXT_HANDSHAKE]);
    CHECK(hs.has_metadata_size && hs.metadata_size == 31235);
    CHECK(hs.has_reqq && hs.reqq == 2000);
    CHECK(hs.has_upload_only && hs.upload_only);
    CHECK(!hs.prefers_encryption);
    CHECK_EQ(hs.port, 6881);
    CHECK(strcmp(hs.v, "qBittorrent/4.6.5") == 0);
    char text[SP_ADDR_TEXT_LEN];
    CHECK(strcmp(sp_addr_text(&hs.yourip, text), "127.0.0.1") == 0);
    CHECK(strcmp(sp_addr_text(&hs.ipv4, text), "1.2.3.4") == 0);
    CHECK(strcmp(sp_addr_text(&hs.ipv6, text), "2001:db8::1") == 0);
    CHECK_EQ(READ("d1:ei1ee", &hs), SP_OK);
    CHECK(hs.prefers_encryption);
    CHECK_EQ(READ("d1:e1:1e", &hs), SP_OK);
    CHECK(!hs.prefers_encryption);
}

/* Each is the empty handshake but for what is left of it. */
static const struct {
    const char *bytes;
    bool is_malformed;
    bool reqq, size, upload_only;
    uint16_t port;
} cases[] = {
    {"de", false, false, false, false, 0},
    {"d1:mdee", false, false, false, false, 0},
    {"d1:mi1ee", false, false, false, false, 0},
    {"d1:md6:ut_pexi256e11:ut_metadatai-1ee4:reqqi1ee", false, true, false, false, 0},
    {"d4:reqqi0ee", false, true, false, false, 0},
    {"d4:reqqi-1ee", false, false, false, false, 0},
    {"d4:reqqi4294967295ee", false, true, false, false, 0},
    {"d4:reqqi4294967296ee", false, false, false, false, 0},
    {"d4:reqq1:5e", false, false, false, false, 0},
    {"d4:reqqi99999999999999999999999ee", false, false, false, false, 0},
    {"d13:metadata_sizei1ee", false, false, true, false, 0},
    {"d13:metadata_sizei0ee", false, false, false, false, 0},
    {"d13:metadata_sizei-7ee", false, false, false, false, 0},
    {"d1:pi1ee", false, false, false, false, 1},
    {"d1:pi65535ee", false, false, false, false, 65535},
    {"d1:pi65536ee", false, false, false, false, 0},
    {"d1:pi0ee", false, false, false, false, 0},
    {"d11:upload_onlyi0ee", false, false, false, false, 0},
    {"d11:upload_onlyi1ee", false, false, false, true, 0},
    {"d1:v3:abc4:reqqi9ee", false, true, false, false, 0}, /* unsorted */
    {"d6:yourip5:abcde4:ipv416:aaaaaaaaaaaaaaaae", false, false, false, false, 0},
    {"deXX", false, false, false, false, 0}, /* what follows is not looked at, as in libtorrent */
    {"", true, false, false, false, 0},
    {"d", true, false, false, false, 0},
    {"le", true, false, false, false, 0},
    {"i1e", true, false, false, false, 0},
    {"2:de", true, false, false, false, 0},
    {"d1:m", true, false, false, false, 0},
    {"d1:me", true, false, false, false, 0},
    {"di1ei1ee", true, false, false, false, 0},
    {"d1:alllllllllleeeeeeeeeee", true, false, false, false, 0},
};

TEST(ill_typed_is_absent_and_malformed_is_refused)
{
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        struct sp_ext_handshake hs = {.port = 77};
        enum sp_err err = read(cases[i].bytes, strlen(cases[i].bytes), &hs);
        if (cases[i].is_malformed) {
            CHECK_EQ(err, SP_EPROTO);
            CHECK_EQ(hs.port, 77); /* untouched */
            continue;
        }
        if (err != SP_OK || hs.has_reqq != cases[i].reqq || hs.has_metadata_size != cases[i].size ||
            hs.upload_only != cases[i].upload_only || hs.port != cases[i].port ||
            hs.in_m[SP_EXT_UT_PEX] || hs.in_m[SP_EXT_UT_METADATA] || hs.yourip.family ||
            hs.ipv4.family) {
            printf("# %s\n", cases[i].bytes);
            CHECK(false);
        }
    }
}

TEST(more_values_than_the_cap_are_refused)
{
    char text[1200] = "d";
    struct sp_ext_handshake hs;
    size_t len = 1;
    for (int i = 0; i < 63; i++, len += 7)
        memcpy(text + len, "2:aai1e", 7);
    text[len] = 'e';
    CHECK_EQ(read(text, len + 1, &hs), SP_OK); /* 127 */
    memcpy(text + len, "2:aai1ee", 8);
    CHECK_EQ(read(text, len + 8, &hs), SP_EPROTO); /* 129 */
}

TEST(every_prefix_is_refused)
{
    static const char text[] = "d1:md6:ut_pexi1ee1:v5:abcdee";
    struct sp_ext_handshake hs;
    for (size_t len = 0; len < sizeof(text) - 1; len++)
        CHECK_EQ(read(text, len, &hs), SP_EPROTO);
    CHECK_EQ(read(text, sizeof(text) - 1, &hs), SP_OK);
}

static const struct {
    const char *sent, *shown;
} names[] = {
    {"d1:v9:Spate 1.0e", "Spate 1.0"},
    {"d1:v15:\xc2\xb5Torrent 3.5.5e", "\xc2\xb5Torrent 3.5.5"},
    {"d1:v6:a\x1b[2Jze", "a[2Jz"},
    {"d1:v4:a\r\nbe", "ab"},
    {"d1:v3:a\x7f"
     "be",
     "ab"},
    {"d1:v4:a\xc2\x9b"
     "be",
     "ab"}, /* C1: another way to say ESC [ */
    {"d1:v5:a\xe2\x80\xae"
     "be",
     "ab"}, /* turns the text around */
    {"d1:v4:a\xff\xc2"
     "be",
     "ab"}, /* broken sequences */
    {"d1:v2:\xc2\xb5"
     "e",
     "\xc2\xb5"},
    {"d1:v1:\xc2"
     "e",
     ""},
    {"d1:v65:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\xc2\xb5"
     "xe",
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},
    {"d1:vi5ee", ""},
};

TEST(client_name_is_fit_for_a_terminal)
{
    for (size_t i = 0; i < SP_COUNT(names); i++) {
        struct sp_ext_handshake hs;
        CHECK_EQ(read(names[i].sent, strlen(names[i].sent), &hs), SP_OK);
        if (strcmp(hs.v, names[i].shown) != 0) {
            printf("# %zu: %s\n", i, hs.v);
            CHECK(false);
        }
    }
    struct sp_ext_handshake hs;
    CHECK_EQ(READ("d1:v3:a\0be", &hs), SP_OK);
    CHECK(strcmp(hs.v, "ab") == 0);
}

TEST(what_is_written_is_read_back)
{
    struct sp_ext_handshake hs = {
        .has_reqq = true,
        .reqq = UINT32_MAX,
        .has_upload_only = true,
        .has_metadata_size = true,
        .metadata_size = UINT32_MAX,
        .port = 65535,
        .yourip = sp_addr_v4((const uint8_t *)"\1\2\3\4", 0),
        .ipv4 = sp_addr_v4((const uint8_t *)"\5\6\7\x08", 0),
        .ipv6 = sp_addr_v6((const uint8_t *)"\x20\1aaaaaaaaaaaaaa", 0),
    };
    struct sp_ext_handshake back;
    uint8_t buf[SP_EXT_HANDSHAKE_LEN_MAX];
    size_t len = 0;
    memset(hs.v, 'v', SP_EXT_V_CAP - 1);
    for (int i = 1; i < SP_EXT_COUNT; i++) {
        sp_ext_offer(&hs, (enum sp_ext)i);
        CHECK_EQ(hs.ids[i], i);
    }
    CHECK_EQ(sp_ext_handshake_write(&hs, buf, sizeof(buf), &len), SP_OK);
    CHECK_EQ(sp_ext_handshake_read(edge(buf, len), &back), SP_OK);
    CHECK(memcmp(hs.ids, back.ids, sizeof(hs.ids)) == 0);
    CHECK(memcmp(hs.in_m, back.in_m, sizeof(hs.in_m)) == 0);
    CHECK(back.has_reqq && back.reqq == hs.reqq);
    CHECK(back.has_upload_only && !back.upload_only);
    CHECK(back.has_metadata_size && back.metadata_size == hs.metadata_size);
    CHECK(back.port == hs.port && strcmp(back.v, hs.v) == 0);
    CHECK(sp_addr_eq(&hs.yourip, &back.yourip) && sp_addr_eq(&hs.ipv4, &back.ipv4) &&
          sp_addr_eq(&hs.ipv6, &back.ipv6));

    size_t none = 99;
    CHECK_EQ(sp_ext_handshake_write(&hs, buf, len - 1, &none), SP_ELIMIT);
    CHECK_EQ(none, 99);
    CHECK_EQ(sp_ext_handshake_write(&(struct sp_ext_handshake){0}, buf, sizeof(buf), &len), SP_OK);
    CHECK(len == 7 && memcmp(buf, "d1:mdee", 7) == 0);
}

TEST(m_is_additive)
{
    uint8_t ids[SP_EXT_COUNT] = {0};
    struct sp_ext_handshake hs;
    CHECK_EQ(READ("d1:md11:ut_metadatai3e6:ut_pexi9eee", &hs), SP_OK);
    sp_ext_handshake_merge(&hs, ids);
    CHECK(ids[SP_EXT_UT_METADATA] == 3 && ids[SP_EXT_UT_PEX] == 9);
    CHECK_EQ(READ("d1:md6:ut_pexi0eee", &hs), SP_OK);
    sp_ext_handshake_merge(&hs, ids);
    CHECK(ids[SP_EXT_UT_METADATA] == 3 && ids[SP_EXT_UT_PEX] == 0);
    CHECK_EQ(READ("de", &hs), SP_OK);
    sp_ext_handshake_merge(&hs, ids);
    CHECK_EQ(ids[SP_EXT_UT_METADATA], 3);
}

int main(void)
{
    return check_run();
}
