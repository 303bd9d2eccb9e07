/* Lists of addresses: each form of a line, what is none, and a model that knows
 * every range. */
#include "core/ipfilter/ipfilter.h"

#include <time.h>

#include "check.h"
#include "edge.h"
#include "torture.h"

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

static struct sp_addr addr(const char *text)
{
    struct sp_addr a = {0};
    CHECK_EQ(sp_addr_parse((struct sp_slice){(const uint8_t *)text, strlen(text)}, false, &a),
             SP_OK);
    return a;
}

/* NULL: refused. */
static struct sp_ipfilter *read_text(const char *text, struct sp_diag *diag)
{
    struct sp_ipfilter *f = NULL;
    CHECK_EQ(sp_ipfilter_new(&MEM, &f), SP_OK);
    if (sp_ipfilter_read(f, edge(text, strlen(text)), diag) != SP_OK ||
        sp_ipfilter_seal(f) != SP_OK) {
        sp_ipfilter_free(f);
        return NULL;
    }
    return f;
}

TEST(each_form_of_a_line)
{
    static const struct {
        const char *line, *first, *last, *before, *after;
    } t[] = {
        {"1.2.3.4", "1.2.3.4", "1.2.3.4", "1.2.3.3", "1.2.3.5"},
        {"1.2.3.4-1.2.4.9", "1.2.3.4", "1.2.4.9", "1.2.3.3", "1.2.4.10"},
        {"  1.2.3.4 -\t1.2.4.9 \r", "1.2.3.4", "1.2.4.9", "1.2.3.3", "1.2.4.10"},
        {"1.2.3.77/24", "1.2.3.0", "1.2.3.255", "1.2.2.255", "1.2.4.0"},
        {"1.2.3.4/32", "1.2.3.4", "1.2.3.4", "1.2.3.3", "1.2.3.5"},
        {"128.0.0.0/1", "128.0.0.0", "255.255.255.255", "127.255.255.255", "::1"},
        {"Some: body, Inc-2:1.2.3.4-1.2.3.9", "1.2.3.4", "1.2.3.9", "1.2.3.3", "1.2.3.10"},
        {":1.2.3.4-1.2.3.9", "1.2.3.4", "1.2.3.9", "1.2.3.3", "1.2.3.10"},
        {"001.002.003.004 - 001.002.003.009 , 000 , A-B, c", "1.2.3.4", "1.2.3.9", "1.2.3.3",
         "1.2.3.10"},
        {"1.2.3.4-1.2.3.9,127", "1.2.3.4", "1.2.3.9", "1.2.3.3", "1.2.3.10"},
        {"2001:db8::/32", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
         "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::"},
        {"2001:db8::1-2001:db8::f", "2001:db8::1", "2001:db8::f", "2001:db8::", "2001:db8::10"},
        {"some: body:2001:db8::1-2001:db8::f", "2001:db8::1", "2001:db8::f",
         "2001:db8::", "2001:db8::10"},
        {"::ffff:1.2.3.4", "1.2.3.4", "1.2.3.4", "1.2.3.3", "1.2.3.5"},
    };
    for (size_t i = 0; i < SP_COUNT(t); i++) {
        struct sp_diag diag = {0};
        struct sp_ipfilter *f = read_text(t[i].line, &diag);
        CHECK(f);
        if (!f) {
            printf("# %s\n", t[i].line);
            continue;
        }
        struct sp_addr in[] = {addr(t[i].first), addr(t[i].last)};
        struct sp_addr out[] = {addr(t[i].before), addr(t[i].after)};
        CHECK_EQ(sp_ipfilter_count(f), 1);
        CHECK(sp_ipfilter_blocks(f, &in[0]) && sp_ipfilter_blocks(f, &in[1]));
        CHECK(!sp_ipfilter_blocks(f, &out[0]) && !sp_ipfilter_blocks(f, &out[1]));
        sp_ipfilter_free(f);
    }
}

TEST(what_blocks_nobody)
{
    static const char *const t[] = {
        "", "\n\n", "# 1.2.3.4", "; x", "// 1.2.3.4", " \t", "\r\n", "1.2.3.4-1.2.3.9,128,friends"};
    const struct sp_addr a = addr("1.2.3.4"), none = {0};
    for (size_t i = 0; i < SP_COUNT(t); i++) {
        struct sp_ipfilter *f = read_text(t[i], NULL);
        CHECK(f && sp_ipfilter_count(f) == 0 && !sp_ipfilter_blocks(f, &a));
        sp_ipfilter_free(f);
    }
    CHECK(!sp_ipfilter_blocks(NULL, &a));
    struct sp_ipfilter *all = read_text("0.0.0.0/0\n::/0", NULL);
    CHECK(sp_ipfilter_blocks(all, &a) && !sp_ipfilter_blocks(all, &none));
    sp_ipfilter_free(all);
}

TEST(what_is_no_line)
{
    static const char *const bad[] = {
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.256",
        "1.2.3.4-",
        "-1.2.3.4",
        "1.2.3.9-1.2.3.4",
        "1.2.3.4/33",
        "1.2.3.4/",
        "1.2.3.4/x",
        "2001:db8::/129",
        "1.2.3.4-::1",
        "example.com",
        "x:1.2.3.4",
        "1.2.3.4 1.2.3.5",
        "0001.2.3.4",
        "1.2.3.4-1.2.3.9,x",
        "1.2.3.4-1.2.3.9,",
        "1.2.3.4:80",
        "[::1]:5",
        "a:b-c",
        "1.2.3.4-1.2.3.9-1.2.3.10",
        "<html>",
        "1.2.3.4,1",
        "::1::",
    };
    char text[100];
    for (size_t i = 0; i < SP_COUNT(bad); i++) {
        struct sp_diag diag = {0};
        snprintf(text, sizeof(text), "# list\n10.0.0.1\n%s\n", bad[i]);
        struct sp_ipfilter *f = read_text(text, &diag);
        CHECK(!f);
        if (f)
            printf("# %s\n", bad[i]);
        CHECK(strncmp(diag.text, "line 3: ", 8) == 0);
        CHECK_EQ(diag.off, 16);
        sp_ipfilter_free(f);
    }
}

TEST(ranges_that_touch_are_one)
{
    struct sp_ipfilter *f = read_text("5.0.0.0/8\n1.0.0.9-1.0.0.20\n1.0.0.1-1.0.0.10\n1.0.0.21\n"
                                      "1.0.0.23\n1.0.0.2\n::1\n::2\n255.255.255.255\n0.0.0.0",
                                      NULL);
    const struct sp_addr hole = addr("1.0.0.22"), end = addr("255.255.255.255");
    CHECK_EQ(sp_ipfilter_count(f), 6);
    CHECK(!sp_ipfilter_blocks(f, &hole) && sp_ipfilter_blocks(f, &end));
    sp_ipfilter_free(f);
}

/* Random ranges in a small space, beside a table of all addresses in it. */
TEST(model)
{
    uint32_t x = 12345;
    for (int round = 0; round < 50; round++) {
        static char text[60000];
        bool blocked[1024] = {0};
        size_t len = 0;
        for (int i = 0; i < 1 + round * 3; i++) {
            x = x * 1664525 + 1013904223;
            uint32_t first = x >> 8 & 1023, last = first + (x >> 20 & 15);
            last = last > 1023 ? 1023 : last;
            len += (size_t)snprintf(text + len, sizeof(text) - len, "10.0.%u.%u-10.0.%u.%u\n",
                                    first >> 8, first & 255, last >> 8, last & 255);
            for (uint32_t k = first; k <= last; k++)
                blocked[k] = true;
        }
        struct sp_ipfilter *f = read_text(text, NULL);
        for (uint32_t k = 0; k < 1024; k++) {
            const struct sp_addr a =
                sp_addr_v4((const uint8_t[]){10, 0, (uint8_t)(k >> 8), (uint8_t)k}, 1);
            CHECK_EQ(sp_ipfilter_blocks(f, &a), blocked[k]);
        }
        sp_ipfilter_free(f);
    }
}

TEST(memory_runs_out)
{
    static const char text[] = "9.0.0.0/8\n1.2.3.4\n2001:db8::/32\n::1\n";
    for (int n = 0; n < 12; n++) {
        struct torture t = {.until_failure = n};
        const struct sp_mem mem = {torture_alloc, torture_free, &t};
        struct sp_ipfilter *f = NULL;
        if (sp_ipfilter_new(&mem, &f) == SP_OK) {
            if (sp_ipfilter_read(f, edge(text, sizeof(text) - 1), NULL) == SP_OK)
                (void)!sp_ipfilter_seal(f);
            sp_ipfilter_free(f);
        }
        CHECK_EQ(t.live, 0);
    }
}

/* A million lines, out of order: the time is told, its limit is for a calm
 * machine and code without sanitizers. */
TEST(a_million_ranges)
{
    enum { N = 1000000 };
    size_t cap = (size_t)N * 40, len = 0;
    char *text = malloc(cap);
    uint32_t x = 1;
    for (int i = 0; text && i < N; i++) {
        x = x * 1664525 + 1013904223;
        len += (size_t)snprintf(text + len, cap - len, "n:%u.%u.%u.0-%u.%u.%u.99\n", x >> 24,
                                x >> 16 & 255, x >> 8 & 255, x >> 24, x >> 16 & 255, x >> 8 & 255);
    }
    struct timespec a, b, c;
    struct sp_ipfilter *f = NULL;
    clock_gettime(CLOCK_MONOTONIC, &a);
    CHECK_EQ(sp_ipfilter_new(&MEM, &f), SP_OK);
    CHECK_EQ(sp_ipfilter_read(f, (struct sp_slice){(const uint8_t *)text, len}, NULL), SP_OK);
    CHECK_EQ(sp_ipfilter_seal(f), SP_OK);
    clock_gettime(CLOCK_MONOTONIC, &b);
    uint32_t hits = 0;
    for (uint32_t i = 0; i < N; i++) {
        x = x * 1664525 + 1013904223;
        const struct sp_addr who = sp_addr_v4(
            (const uint8_t[]){(uint8_t)(x >> 24), (uint8_t)(x >> 16), (uint8_t)(x >> 8), 50}, 1);
        hits += sp_ipfilter_blocks(f, &who);
    }
    clock_gettime(CLOCK_MONOTONIC, &c);
    printf("# 1 M lines: %.3f s to load, %.0f ns a question, %u ranges\n",
           (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9,
           ((double)(c.tv_sec - b.tv_sec) * 1e9 + (double)(c.tv_nsec - b.tv_nsec)) / N,
           sp_ipfilter_count(f));
    CHECK(hits > 0 && hits < N);
    sp_ipfilter_free(f);
    free(text);
}

int main(void)
{
    return check_run();
}
