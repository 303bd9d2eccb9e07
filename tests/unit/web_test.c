/* Web seeds: addresses and answers. */
#include "core/web/answer.h"
#include "core/web/url.h"

#include "check.h"
#include "edge.h"

static struct sp_slice str(const char *s)
{
    return (struct sp_slice){(const uint8_t *)s, strlen(s)};
}

/* ---- addresses ---- */

static void *get(void *ctx, size_t size)
{
    (void)ctx;
    return calloc(1, size);
}

static void put(void *ctx, void *ptr)
{
    (void)ctx;
    free(ptr);
}

static const struct sp_mem MEM = {get, put, NULL};

#define HASH "aaaaaaaaaaaaaaaaaaaa"

/* One piece of 20 bytes hashes: lengths sum up to 5 bytes. */
static const char ONE[] = "d4:infod6:lengthi5e4:name6:a b%c\xc3"
                          "12:piece lengthi16384e6:pieces20:" HASH "ee";
static const char MANY[] = "d4:infod5:filesld6:lengthi5e4:pathl3:d e4:f?#/eee4:name4:na/m"
                           "12:piece lengthi16384e6:pieces20:" HASH "ee";

static struct sp_metainfo *parse(const char *text)
{
    struct sp_metainfo *mi = NULL;
    struct sp_diag diag = {0};
    if (sp_metainfo_parse(&MEM, str(text), NULL, &mi, &diag) != SP_OK)
        printf("# %s\n", diag.text);
    return mi;
}

static const struct {
    bool many;
    const char *base, *want;
} files[] = {
    {false, "http://h/x.iso", "http://h/x.iso"},
    {false, "http://h/d/", "http://h/d/a%20b%25c%C3"},
    {false, "http://h/%20d/", "http://h/%20d/a%20b%25c%C3"},
    {false, "http://h/\xc3\xa4", "http://h/%C3%A4"},
    {true, "http://h/d/", "http://h/d/na%2Fm/d%20e/f%3F%23%2F"},
    {true, "http://h/d", "http://h/d/na%2Fm/d%20e/f%3F%23%2F"},
    {true, "http://h", "http://h/na%2Fm/d%20e/f%3F%23%2F"},
};

TEST(file_addresses)
{
    struct sp_metainfo *mi[2] = {parse(ONE), parse(MANY)};
    for (size_t i = 0; i < SP_COUNT(files); i++) {
        uint8_t buf[256];
        struct sp_out o = sp_out_of(buf, sizeof(buf) - 1), size = sp_out_of(NULL, 0);
        const struct sp_metainfo *m = mi[files[i].many];
        if (!m)
            continue;
        sp_web_file_url(&o, files[i].base, m, &m->files[0]);
        sp_web_file_url(&size, files[i].base, m, &m->files[0]);
        buf[o.len] = 0;
        CHECK_EQ(size.len, o.len);
        CHECK(strcmp((char *)buf, files[i].want) == 0);
        if (strcmp((char *)buf, files[i].want) != 0)
            printf("# %s\n", (char *)buf);
    }
    CHECK(mi[0] && mi[1]);
    sp_metainfo_free(mi[0]);
    sp_metainfo_free(mi[1]);
}

TEST(piece_addresses)
{
    struct sp_metainfo *mi = parse(ONE);
    uint8_t buf[256];
    CHECK(mi != NULL);
    for (int i = 0; mi && i < 2; i++) {
        struct sp_out o = sp_out_of(buf, sizeof(buf) - 1);
        sp_web_piece_url(&o, i ? "http://h/s?k=1" : "http://h/s", mi, 0, i ? 1 : 0, i ? 3 : 5);
        buf[o.len] = 0;
        const char *text = (char *)buf;
        CHECK(strncmp(text,
                      i ? "http://h/s?k=1&info_hash=" : "http://h/s?info_hash=", i ? 25 : 21) == 0);
        CHECK(strstr(text, i ? "&piece=0&ranges=1-2" : "&piece=0") != NULL);
        CHECK_EQ(strstr(text, "ranges") != NULL, i);
    }
    sp_metainfo_free(mi);
}

TEST(hosts)
{
    static const struct {
        const char *url, *host;
        bool takes;
    } cases[] = {
        {"http://h:80/x", "h:80", true}, {"HTTPS://u:p@h/x@y", "h", true},
        {"http://h?x", "h", true},       {"http://[::1]:8/", "[::1]:8", true},
        {"ftp://h/x", "h", false},       {"http:///x", "", false},
        {"http:/x", "", false},          {"", "", false},
        {"httpx://h/", "h", false},      {"http://u@/x", "", false},
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        struct sp_slice host = sp_web_host(cases[i].url);
        CHECK_EQ(host.len, strlen(cases[i].host));
        CHECK(host.len == 0 || memcmp(host.ptr, cases[i].host, host.len) == 0);
        CHECK_EQ(sp_web_takes(cases[i].url), cases[i].takes);
    }
}

/* ---- answers ---- */

static const struct {
    const char *text;
    bool good;
    uint64_t first, last, total;
} ranges[] = {
    {"bytes 0-499/1234", true, 0, 499, 1234},
    {" Bytes  5-5/6 ", true, 5, 5, 6},
    {"BYTES 0-0/*", true, 0, 0, UINT64_MAX},
    {"bytes 0-18446744073709551613/18446744073709551614", true, 0, UINT64_MAX - 2, UINT64_MAX - 1},
    {"bytes 0-499/499", false, 0, 0, 0},
    {"bytes 5-4/10", false, 0, 0, 0},
    {"bytes */10", false, 0, 0, 0},
    {"bytes 0-4", false, 0, 0, 0},
    {"bytes 0-/9", false, 0, 0, 0},
    {"bytes -4/9", false, 0, 0, 0},
    {"bytes 0-4/9x", false, 0, 0, 0},
    {"bytes0-4/9", false, 0, 0, 0},
    {"items 0-4/9", false, 0, 0, 0},
    {"bytes 0-18446744073709551616/*", false, 0, 0, 0},
    {"bytes 0-4/18446744073709551615", false, 0, 0, 0},
    {"bytes -1-4/9", false, 0, 0, 0},
    {"", false, 0, 0, 0},
};

TEST(content_ranges)
{
    for (size_t i = 0; i < SP_COUNT(ranges); i++) {
        struct sp_web_range r = {77, 77, 77};
        enum sp_err err = sp_web_range_parse(str(ranges[i].text), &r);
        CHECK_EQ(err == SP_OK, ranges[i].good);
        if (err == SP_OK)
            CHECK(r.first == ranges[i].first && r.last == ranges[i].last &&
                  r.total == ranges[i].total);
        else
            CHECK(r.first == 77 && r.last == 77 && r.total == 77);
    }
}

TEST(content_range_cut_anywhere)
{
    const char *text = "bytes 10-20/*";
    for (size_t n = 0; n < strlen(text); n++) {
        struct sp_web_range r;
        CHECK(sp_web_range_parse(edge(text, n), &r) == SP_EDATA);
    }
}

TEST(seconds_to_wait)
{
    static const struct {
        const char *text;
        int64_t want; /* -1: refused */
    } cases[] = {{"30", 30},    {" 5\r\n", 5}, {"0", 0},  {"99999999", SP_WEB_RETRY_MAX_S},
                 {"", -1},      {"-1", -1},    {"x", -1}, {"5 min", -1},
                 {"<html", -1}, {"1.5", -1}};
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        uint32_t s = 0;
        enum sp_err err = sp_web_wait_parse(str(cases[i].text), &s);
        CHECK_EQ(err == SP_OK ? (int64_t)s : -1, cases[i].want);
    }
}

static const struct {
    enum sp_web_seed_kind kind;
    uint64_t from, to;
    int status;
    const char *range;
    uint64_t len;
    enum sp_web_verdict want;
    uint64_t end;
} answers[] = {
    /* of a file of 100 bytes */
    {SP_WEB_SEED_URL, 10, 20, 206, "bytes 10-19/100", 10, SP_WEB_TAKE, 20},
    {SP_WEB_SEED_URL, 10, 20, 206, "bytes 10-19/*", UINT64_MAX, SP_WEB_TAKE, 20},
    {SP_WEB_SEED_URL, 10, 20, 206, "bytes 10-14/100", 5, SP_WEB_TAKE, 15},
    {SP_WEB_SEED_URL, 10, 20, 206, "bytes 10-99/100", 90, SP_WEB_TAKE, 20},
    {SP_WEB_SEED_URL, 10, 20, 206, "bytes 11-19/100", 9, SP_WEB_USELESS, 0},
    {SP_WEB_SEED_URL, 10, 20, 206, "bytes 0-19/100", 20, SP_WEB_USELESS, 0},
    {SP_WEB_SEED_URL, 10, 20, 206, "bytes 10-19/101", 10, SP_WEB_LOST, 0},
    {SP_WEB_SEED_URL, 10, 20, 206, "bytes 10-19/100", 11, SP_WEB_USELESS, 0},
    {SP_WEB_SEED_URL, 10, 20, 206, "", 10, SP_WEB_USELESS, 0},
    {SP_WEB_SEED_URL, 0, 20, 200, "", 100, SP_WEB_TAKE, 20},
    {SP_WEB_SEED_URL, 0, 20, 200, "", UINT64_MAX, SP_WEB_TAKE, 20},
    {SP_WEB_SEED_URL, 0, 20, 200, "", 99, SP_WEB_LOST, 0},
    {SP_WEB_SEED_URL, 10, 20, 200, "", 100, SP_WEB_USELESS, 0},
    {SP_WEB_SEED_URL, 10, 20, 200, "", 10, SP_WEB_LOST, 0},
    {SP_WEB_SEED_URL, 0, 9, 404, "", 1, SP_WEB_LOST, 0},
    {SP_WEB_SEED_URL, 0, 9, 410, "", 1, SP_WEB_LOST, 0},
    {SP_WEB_SEED_URL, 0, 9, 403, "", 1, SP_WEB_LOST, 0},
    {SP_WEB_SEED_URL, 0, 9, 416, "", 1, SP_WEB_LOST, 0},
    {SP_WEB_SEED_URL, 0, 9, 429, "", 1, SP_WEB_LATER, 0},
    {SP_WEB_SEED_URL, 0, 9, 503, "", 1, SP_WEB_LATER, 0},
    {SP_WEB_SEED_URL, 0, 9, 500, "", 1, SP_WEB_FAIL, 0},
    {SP_WEB_SEED_URL, 0, 9, 400, "", 1, SP_WEB_USELESS, 0},
    {SP_WEB_SEED_URL, 0, 9, 204, "", 0, SP_WEB_USELESS, 0},
    {SP_WEB_SEED_URL, 0, 9, 304, "", 0, SP_WEB_USELESS, 0},
    {SP_WEB_SEED_HTTP, 10, 20, 200, "", 10, SP_WEB_TAKE, 20},
    {SP_WEB_SEED_HTTP, 10, 20, 200, "", UINT64_MAX, SP_WEB_TAKE, 20},
    {SP_WEB_SEED_HTTP, 10, 20, 200, "", 100, SP_WEB_FAIL, 0},
    {SP_WEB_SEED_HTTP, 10, 20, 206, "bytes 10-19/100", 10, SP_WEB_FAIL, 0},
    {SP_WEB_SEED_HTTP, 10, 20, 404, "", 1, SP_WEB_FAIL, 0},
    {SP_WEB_SEED_HTTP, 10, 20, 503, "", 2, SP_WEB_LATER, 0},
};

TEST(answers_are_judged)
{
    for (size_t i = 0; i < SP_COUNT(answers); i++) {
        struct sp_web_want want = {answers[i].kind, answers[i].from, answers[i].to, 100};
        struct sp_web_head head = {.status = answers[i].status,
                                   .content_range = str(answers[i].range),
                                   .content_len = answers[i].len};
        uint64_t to = 0;
        const char *why = NULL;
        enum sp_web_verdict got = sp_web_judge(&want, &head, &to, &why);
        if (got != answers[i].want)
            printf("# answer %zu\n", i);
        CHECK_EQ(got, answers[i].want);
        CHECK(got == SP_WEB_TAKE ? to == answers[i].end : why != NULL);
    }
}

int main(void)
{
    return check_run();
}
