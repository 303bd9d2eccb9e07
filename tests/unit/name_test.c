#include "check.h"
#include "core/metainfo/name.h"
#include "edge.h"

static struct sp_slice str(const char *s)
{
    return edge(s, strlen(s));
}

TEST(name_refuses_what_leads_elsewhere)
{
    static const struct {
        const char *raw, *why;
    } cases[] = {
        {"", "is empty"},
        {".", "is \".\""},
        {"..", "is \"..\""},
        {"/", "is an absolute path"},
        {"/etc/passwd", "is an absolute path"},
        {"...", NULL},
        {".a", NULL},
        {"..a", NULL},
        {"a/b", NULL},
        {"\\etc", NULL},
        {" ", NULL},
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        const char *why = sp_name_refusal(str(cases[i].raw));
        CHECK(cases[i].why ? why && strcmp(why, cases[i].why) == 0 : !why);
    }
}

TEST(name_cleans_the_table)
{
    static const struct {
        const char *raw, *clean;
    } cases[] = {
        {"file.txt", "file.txt"},
        {"a", "a"},
        {".hidden", ".hidden"},
        {"Caf\xc3\xa9", "Caf\xc3\xa9"},
        {"\xe6\x97\xa5\xe6\x9c\xac", "\xe6\x97\xa5\xe6\x9c\xac"},
        {"\xf0\x9f\x98\x80.png", "\xf0\x9f\x98\x80.png"},
        {"a:b?c*d", "a:b?c*d"}, /* usable here: other clients keep these, too */
        /* separators */
        {"a/b", "a_b"},
        {"a\\b", "a_b"},
        {"..\\..\\x", ".._.._x"},
        {"../../x", ".._.._x"},
        {"\\etc", "_etc"},
        {"a/", "a_"},
        /* control characters */
        {"a\nb", "a_b"},
        {"a\x1b[31mb", "a_[31mb"},
        {"a\x7f"
         "b",
         "a_b"},
        {"a\xc2\x85"
         "b",
         "a_b"},
        {"a\xe2\x80\xa8"
         "b",
         "a_b"},
        /* bidirectional ones */
        {"x\xe2\x80\xae"
         "gpj.exe",
         "x_gpj.exe"},
        {"x\xe2\x80\x8e\xe2\x80\x8fy", "x__y"},
        {"x\xe2\x81\xa6\xe2\x81\xa9y", "x__y"},
        {"x\xe2\x81\xaay", "x\xe2\x81\xaay"}, /* U+206A: a near miss */
        {"x\xe2\x80\x90y", "x\xe2\x80\x90y"}, /* U+2010: a hyphen */
        /* invalid UTF-8: stray, cut, overlong, surrogate, too large */
        {"a\xff", "a_"},
        {"a\x80"
         "b",
         "a_b"},
        {"a\xe6\x97", "a__"},
        {"a\xc0\xaf"
         "b",
         "a__b"},
        {"a\xc0\xae\xc0\xae", "a____"},
        {"a\xed\xa0\x80", "a___"},
        {"a\xf4\x90\x80\x80", "a____"},
        /* ends */
        {"a.", "a"},
        {"a. . ", "a"},
        {"a ", "a"},
        {" a", " a"},
        {"...", "_"},
        {". ", "_"},
        {".. ", "_"},
        {" ", "_"},
        {"a.\xff", "a._"},
        /* reserved on Windows */
        {"CON", "_CON"},
        {"con", "_con"},
        {"con.txt", "_con.txt"},
        {"Nul.tar.gz", "_Nul.tar.gz"},
        {"NUL .txt", "_NUL .txt"},
        {"COM1", "_COM1"},
        {"lpt9.x", "_lpt9.x"},
        {"COM\xc2\xb9", "_COM\xc2\xb9"},
        {"CONIN$", "_CONIN$"},
        {"CON.", "_CON"},
        {"aux ", "_aux"},
        {"CONS", "CONS"},
        {"COM", "COM"},
        {"COM10", "COM10"},
        {"xCON", "xCON"},
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        struct sp_name name, again;
        sp_name_clean(str(cases[i].raw), &name);
        CHECK(strcmp(name.text, cases[i].clean) == 0);
        if (strcmp(name.text, cases[i].clean) != 0)
            printf("# case %zu: got \"%s\"\n", i, name.text);
        CHECK_EQ(name.len, strlen(name.text));
        sp_name_clean(str(name.text), &again); /* clean names stay */
        CHECK(strcmp(again.text, name.text) == 0);
    }
    struct sp_name name;
    sp_name_clean(SP_LIT("a\0b"), &name);
    CHECK(strcmp(name.text, "a_b") == 0);
}

static void fill(char *buf, const char *unit, size_t count, const char *tail)
{
    size_t len = strlen(unit);
    for (size_t i = 0; i < count; i++)
        memcpy(buf + i * len, unit, len);
    memcpy(buf + count * len, tail, strlen(tail) + 1);
}

TEST(name_shortens_to_255_bytes)
{
    static char raw[40000], other[40000];
    struct sp_name a, b;

    fill(raw, "x", 255, "");
    sp_name_clean(str(raw), &a);
    CHECK_EQ(a.len, 255);
    CHECK(strcmp(a.text, raw) == 0);
    fill(raw, "x", 256, "");
    sp_name_clean(str(raw), &a);
    CHECK_EQ(a.len, 255);
    CHECK(a.text[246] == '~' && a.text[245] == 'x');

    for (size_t n = 250; n < 700; n++) { /* every phase against the cuts */
        fill(raw, "x", n, ".tar.gz");
        sp_name_clean(str(raw), &a);
        CHECK(a.len == (n + 7 < 255 ? n + 7 : 255) && strcmp(a.text + a.len - 3, ".gz") == 0);
    }
    for (size_t n = 80; n < 400; n++) { /* 3 bytes each: cut only between them */
        fill(raw, "\xe6\x97\xa5", n, n % 2 ? ".txt" : "");
        sp_name_clean(str(raw), &a);
        CHECK(a.len <= 255 && a.len >= (n * 3 < 250 ? n * 3 : 250));
        CHECK(sp_utf8_is_valid(str(a.text)));
        CHECK(!strchr(a.text, '_'));
        CHECK(n % 2 == 0 || strcmp(a.text + a.len - 4, ".txt") == 0);
    }
    /* Alike at both ends, different in the middle: different names. */
    fill(raw, "x", 30000, ".txt");
    fill(other, "x", 30000, ".txt");
    other[15000] = 'y';
    sp_name_clean((struct sp_slice){(uint8_t *)raw, strlen(raw)}, &a);
    sp_name_clean((struct sp_slice){(uint8_t *)other, strlen(other)}, &b);
    CHECK(a.len == 255 && b.len == 255 && strcmp(a.text, b.text) != 0);
    sp_name_clean((struct sp_slice){(uint8_t *)raw, strlen(raw)}, &b);
    CHECK(strcmp(a.text, b.text) == 0);
    /* A reserved name that is long is none. */
    fill(raw, "x", 300, "");
    memcpy(raw, "con.", 4);
    sp_name_clean(str(raw), &a);
    CHECK(a.len == 255 && a.text[0] == '_');
}

TEST(name_marks_before_the_extension)
{
    static const struct {
        const char *name, *mark, *want;
    } cases[] = {
        {"a.txt", "~2", "a~2.txt"},
        {"a", "~2", "a~2"},
        {".bashrc", "~3", ".bashrc~3"},
        {"a.tar.gz", "~2", "a.tar~2.gz"},
        {"a.avery-long-extension", "~2", "a.avery-long-extension~2"},
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        struct sp_name name, marked;
        sp_name_clean(str(cases[i].name), &name);
        sp_name_mark(&name, cases[i].mark, &marked);
        CHECK(strcmp(marked.text, cases[i].want) == 0);
        CHECK_EQ(marked.len, strlen(cases[i].want));
    }
    char raw[300];
    struct sp_name name, marked;
    fill(raw, "\xc3\xa9", 125, ".mp3");
    sp_name_clean(str(raw), &name);
    sp_name_mark(&name, "~123", &marked);
    CHECK(marked.len <= 255 && marked.len >= 254 && sp_utf8_is_valid(str(marked.text)));
    CHECK(strcmp(marked.text + marked.len - 8, "~123.mp3") == 0);
}

TEST(names_that_a_file_system_may_take_for_one)
{
    static const struct {
        const char *a, *b;
        bool same;
    } cases[] = {
        {"readme", "README", true},
        {"a", "b", false},
        {"caf\xc3\xa9", "CAFE\xcc\x81", true}, /* precomposed, decomposed */
        {"\xc3\x89", "\xc3\xa9", true},        /* E and e with acute */
        {"stra\xc3\x9f"
         "e",
         "STRASSE", true},              /* sharp s folds to ss */
        {"\xe2\x84\xaa", "k", true},    /* Kelvin sign */
        {"\xce\xa3", "\xcf\x82", true}, /* sigma, final sigma */
        {"\xd0\x90", "\xd0\xb0", true}, /* Cyrillic */
        {"\xd0\xb0", "a", false},       /* looks alike, is not */
        {"\xef\xac\x81", "fi", true},   /* ligature folds */
        {"a", "a ", false},
    };
    const struct sp_hash_key key = {1, 2};
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        struct sp_slice a = {(const uint8_t *)cases[i].a, strlen(cases[i].a)};
        struct sp_slice b = {(const uint8_t *)cases[i].b, strlen(cases[i].b)};
        CHECK_EQ(sp_name_same(a, b), cases[i].same);
        CHECK_EQ(sp_name_hash(&key, 3, a) == sp_name_hash(&key, 3, b), cases[i].same);
        CHECK(sp_name_hash(&key, 3, a) != sp_name_hash(&key, 4, a));
    }
    char widest[256]; /* U+0390 folds to three code points of its two bytes */
    fill(widest, "\xce\x90", 127, "");
    CHECK(sp_name_same(str(widest), (struct sp_slice){(uint8_t *)widest, 254}));
}

TEST(text_for_people_has_no_controls)
{
    char out[64];
    size_t len = sp_text_clean(SP_LIT("a\nb\x1b[2J\t\xff"), true, out);
    CHECK(len == 9 && memcmp(out, "a\nb_[2J__", 9) == 0);
    len = sp_text_clean(SP_LIT("a\nb"), false, out);
    CHECK(len == 3 && memcmp(out, "a_b", 3) == 0);
}

int main(void)
{
    return check_run();
}
