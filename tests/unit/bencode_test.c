#include "check.h"
#include "edge.h"
#include "spate/bencode.h"

enum { CAP = 64 };

static const struct sp_ben_limits lax = {.depth_max = 32, .tok_max = CAP};
static const struct sp_ben_limits strict = {.depth_max = 32, .tok_max = CAP, .strict = true};

static const struct {
    const char *text;
    enum sp_err err;
    uint32_t count;
} cases[] = {
    {"i0e", SP_OK, 1},
    {"i-42e", SP_OK, 1},
    {"i9223372036854775808e", SP_OK, 1}, /* BEP-0003: no size limitation */
    {"0:", SP_OK, 1},
    {"10:0123456789", SP_OK, 1},
    {"le", SP_OK, 1},
    {"de", SP_OK, 1},
    {"d3:fooli1ei2eee", SP_OK, 5},
    {"d1:ad1:bleee", SP_OK, 5},
    {"d0:i1e1:ai2ee", SP_OK, 5},
    {"d1:ai1e2:aai2ee", SP_OK, 5},
    {"lllleee1:xe", SP_OK, 5},
    {"i0ejunk", SP_OK, 1}, /* what follows is the caller's business */
    /* The negative space: each is one edit away from a valid value. */
    {"", SP_AGAIN, 0},
    {"i00e", SP_EDATA, 0},
    {"i01e", SP_EDATA, 0},
    {"i-0e", SP_EDATA, 0},
    {"i-01e", SP_EDATA, 0},
    {"i--1e", SP_EDATA, 0},
    {"i+1e", SP_EDATA, 0},
    {"i-e", SP_EDATA, 0},
    {"ie", SP_EDATA, 0},
    {"i1.5e", SP_EDATA, 0},
    {"i 1e", SP_EDATA, 0},
    {"01:a", SP_EDATA, 0},
    {"00:", SP_EDATA, 0},
    {"-1:a", SP_EDATA, 0},
    {"1;a", SP_EDATA, 0},
    {"e", SP_EDATA, 0},
    {"x", SP_EDATA, 0},
    {"d3:fooe", SP_EDATA, 0},
    {"di1e3:fooe", SP_EDATA, 0},
    {"dlei1ee", SP_EDATA, 0},
    {"4294967296:", SP_ELIMIT, 0},
    {"99999999999999999999999999:", SP_ELIMIT, 0},
    {"5:abcd", SP_AGAIN, 0},
    {"2147483648:a", SP_AGAIN, 0},
};

static enum sp_err read_text(const char *text, size_t len, const struct sp_ben_limits *limits,
                             struct sp_ben_tok *toks, struct sp_ben *ret_ben)
{
    return sp_ben_read(edge(text, len), limits, toks, ret_ben, NULL);
}

TEST(ben_reads_the_table)
{
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        struct sp_ben_tok toks[CAP];
        struct sp_ben ben = {.count = 77}, counted = {.count = 78};
        size_t len = strlen(cases[i].text);

        CHECK_EQ(read_text(cases[i].text, len, &strict, toks, &ben), cases[i].err);
        CHECK_EQ(read_text(cases[i].text, len, &strict, NULL, &counted), cases[i].err);
        CHECK_EQ(ben.count, cases[i].err == SP_OK ? cases[i].count : 77); /* untouched on error */
        if (cases[i].err == SP_OK) {
            CHECK_EQ(counted.count, ben.count);
            CHECK_EQ(counted.end, ben.end);
            CHECK_EQ(toks[0].next, ben.count);
        }
    }
}

/* Goal: a value that arrives in parts is never mistaken for a bad one.
 * Method: every proper prefix of every good case has to ask for more. */
TEST(ben_every_prefix_asks_for_more)
{
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        struct sp_ben_tok toks[CAP];
        struct sp_ben ben;
        size_t len = strlen(cases[i].text);
        if (cases[i].err != SP_OK || read_text(cases[i].text, len, &strict, toks, &ben) != SP_OK)
            continue;
        for (size_t cut = 0; cut < ben.end; cut++) {
            struct sp_ben none = {.count = 7};
            CHECK_EQ(read_text(cases[i].text, cut, &strict, toks, &none), SP_AGAIN);
            CHECK_EQ(none.count, 7);
        }
    }
}

TEST(ben_key_order_is_checked_when_strict)
{
    static const struct {
        const char *text, *why;
        size_t off;
    } bad[] = {
        {"d1:bi1e1:ai2ee", "keys are not in order", 7},
        {"d1:ai1e1:ai2ee", "key is there twice", 7},
        {"d2:aai1e1:ai2ee", "keys are not in order", 8},
        {"d1:ai1e0:i2ee", "keys are not in order", 7},
        {"ld1:ad1:bi1e1:ai2eeee", "keys are not in order", 12},
    };
    for (size_t i = 0; i < SP_COUNT(bad); i++) {
        struct sp_ben_tok toks[CAP];
        struct sp_ben ben;
        struct sp_diag diag = {0};
        struct sp_slice in = edge(bad[i].text, strlen(bad[i].text));
        CHECK_EQ(sp_ben_read(in, &lax, toks, &ben, NULL), SP_OK);
        CHECK_EQ(sp_ben_read(in, &strict, toks, &ben, &diag), SP_EDATA);
        CHECK_EQ(diag.off, bad[i].off);
        CHECK(strcmp(diag.text, bad[i].why) == 0);
    }
}

TEST(ben_limits_are_exact)
{
    static uint8_t deep[200001];
    struct sp_ben ben;
    struct sp_ben_tok toks[CAP];
    struct sp_diag diag;

    memset(deep, 'l', 100000);
    memset(deep + 100000, 'e', 100000);
    for (int pass = 0; pass < 2; pass++) {
        struct sp_ben_limits l = {.tok_max = 300000};
        struct sp_slice in = {.ptr = deep, .len = 200000};
        CHECK_EQ(sp_ben_read(in, &l, NULL, &ben, &diag), SP_ELIMIT);
        CHECK_EQ(diag.off, SP_BEN_DEPTH_DEFAULT);
        CHECK(strcmp(diag.text, "is nested too deep") == 0);
        l.depth_max = UINT32_MAX;
        CHECK_EQ(sp_ben_read(in, &l, NULL, &ben, &diag), SP_ELIMIT);
        CHECK_EQ(diag.off, SP_BEN_DEPTH_CAP);
    }
    struct sp_ben_limits two = {.depth_max = 2, .tok_max = 3};
    CHECK_EQ(read_text("llee", 4, &two, toks, &ben), SP_OK);
    CHECK_EQ(read_text("llleee", 6, &two, toks, &ben), SP_ELIMIT);
    CHECK_EQ(read_text("lli1eee", 7, &two, toks, &ben), SP_OK);
    CHECK_EQ(read_text("lli1ei1eee", 10, &two, toks, &ben), SP_ELIMIT);
    CHECK_EQ(read_text("lli1ei1eee", 10, &two, NULL, &ben), SP_ELIMIT);
    /* Many siblings at a legal depth are no nesting. */
    CHECK_EQ(read_text("ldedededee", 10, &lax, toks, &ben), SP_OK);
}

TEST(ben_spans_are_right)
{
    struct sp_ben_tok toks[CAP];
    struct sp_ben ben;
    struct sp_slice s;

    CHECK_EQ(read_text("d3:fooli1ei-2eee...", 19, &strict, toks, &ben), SP_OK);
    static const struct sp_ben_tok want[] = {
        {0, 16, 5, SP_BEN_DICT}, {3, 3, 2, SP_BEN_STR},  {6, 9, 5, SP_BEN_LIST},
        {8, 1, 4, SP_BEN_INT},   {11, 2, 5, SP_BEN_INT},
    };
    for (size_t i = 0; i < SP_COUNT(want); i++) {
        CHECK_EQ(toks[i].off, want[i].off);
        CHECK_EQ(toks[i].len, want[i].len);
        CHECK_EQ(toks[i].next, want[i].next);
        CHECK_EQ(toks[i].kind, want[i].kind);
    }
    CHECK_EQ(ben.end, 16);
    CHECK(sp_ben_raw(&ben, 2, &s) && s.len == 9 && memcmp(s.ptr, "li1ei-2ee", 9) == 0);
    CHECK(!sp_ben_raw(&ben, 1, &s));
}

TEST(ben_looks_up)
{
    const char text[] = "d1:al1:x1:yd1:qi7eee1:bi-9223372036854775808e1:cd1:di5ee"
                        "1:e19:99999999999999999991:fi9223372036854775808ee";
    struct sp_ben_tok toks[CAP];
    struct sp_ben b;
    struct sp_slice s;
    int64_t v = 0;

    CHECK_EQ(read_text(text, strlen(text), &strict, toks, &b), SP_OK);
    CHECK(sp_ben_int(&b, sp_ben_find(&b, sp_ben_find(&b, 0, "c"), "d"), 0, 9, &v));
    CHECK_EQ(v, 5);
    CHECK(!sp_ben_int(&b, sp_ben_find(&b, sp_ben_find(&b, 0, "c"), "d"), 6, 9, &v));
    CHECK(!sp_ben_int(&b, sp_ben_find(&b, sp_ben_find(&b, 0, "c"), "d"), 0, 4, &v));
    CHECK(!sp_ben_int(&b, sp_ben_find(&b, sp_ben_find(&b, 0, "zz"), "d"), 0, 9, &v));
    CHECK(!sp_ben_int(&b, sp_ben_find(&b, sp_ben_find(&b, 0, "a"), "d"), 0, 9, &v));
    CHECK(sp_ben_int(&b, sp_ben_find(&b, 0, "b"), INT64_MIN, 0, &v) && v == INT64_MIN);
    CHECK(!sp_ben_int(&b, sp_ben_find(&b, 0, "f"), INT64_MIN, INT64_MAX, &v));
    CHECK(!sp_ben_int(&b, sp_ben_find(&b, 0, "e"), INT64_MIN, INT64_MAX, &v));
    CHECK(!sp_ben_str(&b, SP_BEN_NONE, &s));
    CHECK(!sp_ben_str(&b, b.count, &s));
    CHECK_EQ(v, INT64_MIN);

    uint32_t list = sp_ben_find(&b, 0, "a"), at = sp_ben_first(&b, list);
    CHECK(sp_ben_str_is(&b, at, "x"));
    CHECK(!sp_ben_str_is(&b, at, "xy"));
    CHECK(sp_ben_str_is(&b, at = sp_ben_next(&b, list, at), "y"));
    CHECK(sp_ben_is(&b, at = sp_ben_next(&b, list, at), SP_BEN_DICT));
    CHECK_EQ(sp_ben_next(&b, list, at), SP_BEN_NONE);
    CHECK_EQ(sp_ben_first(&b, sp_ben_find(&b, 0, "b")), SP_BEN_NONE);

    char keys[8] = "";
    size_t n = 0;
    for (at = sp_ben_first(&b, 0); at != SP_BEN_NONE; at = sp_ben_next(&b, 0, at))
        if (sp_ben_str(&b, at, &s) && n < 7)
            keys[n++] = (char)s.ptr[0];
    CHECK(strcmp(keys, "abcef") == 0);
    /* A value that looks like the key is no key. */
    CHECK_EQ(read_text("d1:a1:b1:ci1ee", 14, &strict, toks, &b), SP_OK);
    CHECK_EQ(sp_ben_find(&b, 0, "b"), SP_BEN_NONE);
    CHECK_EQ(read_text("d1:bi1e1:ai2e1:bi3ee", 20, &lax, toks, &b), SP_OK);
    CHECK(sp_ben_int(&b, sp_ben_find(&b, 0, "b"), 0, 9, &v) && v == 1);
}

/* Goal: no edit makes the reader go outside or give spans that do. */
TEST(ben_bit_flips_stay_inside)
{
    const char text[] = "d1:al1:x1:yd1:qi7eee1:bi-12e4:infod6:lengthi5e4:name3:abceee";
    for (size_t bit = 0; bit < strlen(text) * 8; bit++) {
        char flipped[sizeof(text)];
        struct sp_ben_tok toks[CAP];
        struct sp_ben b;
        memcpy(flipped, text, sizeof(text));
        flipped[bit / 8] = (char)(flipped[bit / 8] ^ (1 << bit % 8));
        if (read_text(flipped, strlen(text), &lax, toks, &b) != SP_OK)
            continue;
        for (uint32_t i = 0; i < b.count; i++) {
            CHECK(toks[i].next > i && toks[i].next <= b.count);
            CHECK((size_t)toks[i].off + toks[i].len <= b.end);
        }
    }
}

static void write_sample(struct sp_ben_writer *w)
{
    sp_ben_put_dict(w);
    sp_ben_put_key(w, "a");
    sp_ben_put_list(w);
    sp_ben_put_int(w, 0);
    sp_ben_put_int(w, -42);
    sp_ben_put_int(w, INT64_MIN);
    sp_ben_put_int(w, INT64_MAX);
    sp_ben_put_text(w, "");
    sp_ben_put_end(w);
    sp_ben_put_key(w, "aa");
    sp_ben_put_str(w, SP_LIT("x\0y"));
    sp_ben_put_key(w, "b");
    sp_ben_put_raw(w, SP_LIT("de"));
    sp_ben_put_end(w);
}

TEST(ben_writes)
{
    const char want[] =
        "d1:ali0ei-42ei-9223372036854775808ei9223372036854775807e0:e2:aa3:x\0y1:bdee";
    uint8_t buf[128];
    size_t len = 0;
    struct sp_ben_writer count = sp_ben_writer_of(NULL, 0);

    write_sample(&count);
    CHECK_EQ(sp_ben_writer_end(&count, &len), SP_ELIMIT);
    CHECK_EQ(len, sizeof(want) - 1);
    for (size_t cap = 0; cap <= sizeof(want); cap++) {
        struct sp_ben_writer w = sp_ben_writer_of(buf, cap);
        memset(buf, 0xaa, sizeof(buf));
        write_sample(&w);
        CHECK_EQ(sp_ben_writer_end(&w, &len), cap < sizeof(want) - 1 ? SP_ELIMIT : SP_OK);
        CHECK_EQ(len, sizeof(want) - 1);
        CHECK_EQ(buf[cap], 0xaa);
    }
    CHECK(memcmp(buf, want, len) == 0);
}

TEST(ben_writer_knows_misuse)
{
    /* d open dict, l open list, e end, 1 integer, a/b/z keys */
    static const struct {
        const char *calls;
        enum sp_err err;
    } scripts[] = {
        {"1", SP_OK},          {"de", SP_OK},        {"da1b1e", SP_OK},
        {"la1e", SP_EINVAL},   {"", SP_EINVAL},      {"11", SP_EINVAL},
        {"d", SP_EINVAL},      {"e", SP_EINVAL},     {"dee", SP_EINVAL},
        {"dae", SP_EINVAL},    {"d1e", SP_EINVAL},   {"db1a1e", SP_EINVAL},
        {"da1a1e", SP_EINVAL}, {"dab1e", SP_EINVAL}, {"de1", SP_EINVAL},
        {"ldeldeee", SP_OK},   {"dadb1ez1e", SP_OK}, {"dbda1ea1e", SP_EINVAL},
        {"a", SP_EINVAL},      {"db1ae", SP_EINVAL},
    };
    for (size_t i = 0; i < SP_COUNT(scripts); i++) {
        uint8_t buf[64];
        size_t len = 99;
        struct sp_ben_writer w = sp_ben_writer_of(buf, sizeof(buf));
        for (const char *c = scripts[i].calls; *c; c++) {
            const char key[2] = {*c, '\0'};
            static const char *const names[] = {"a", "b", "z"};
            switch (*c) {
            case 'd':
                sp_ben_put_dict(&w);
                break;
            case 'l':
                sp_ben_put_list(&w);
                break;
            case 'e':
                sp_ben_put_end(&w);
                break;
            case '1':
                sp_ben_put_int(&w, 1);
                break;
            default: /* keys are borrowed: name one that stays */
                for (size_t k = 0; k < SP_COUNT(names); k++)
                    if (strcmp(names[k], key) == 0)
                        sp_ben_put_key(&w, names[k]);
            }
        }
        CHECK_EQ(sp_ben_writer_end(&w, &len), scripts[i].err);
        CHECK_EQ(len == 99, scripts[i].err != SP_OK);
    }
}

TEST(ben_writer_depth_is_capped)
{
    struct sp_ben_writer w = sp_ben_writer_of(NULL, 0);
    size_t len;
    for (int i = 0; i < SP_BEN_WRITER_DEPTH; i++)
        sp_ben_put_list(&w);
    for (int i = 0; i < SP_BEN_WRITER_DEPTH; i++)
        sp_ben_put_end(&w);
    CHECK_EQ(sp_ben_writer_end(&w, &len), SP_ELIMIT);
    CHECK_EQ(len, 2 * SP_BEN_WRITER_DEPTH);

    w = sp_ben_writer_of(NULL, 0);
    for (int i = 0; i <= SP_BEN_WRITER_DEPTH; i++)
        sp_ben_put_list(&w);
    for (int i = 0; i <= SP_BEN_WRITER_DEPTH; i++)
        sp_ben_put_end(&w);
    CHECK_EQ(sp_ben_writer_end(&w, &len), SP_EINVAL);
}

int main(void)
{
    return check_run();
}
