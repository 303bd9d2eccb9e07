/* HTTP downloads on a loop, against a server of our own. */
#include "io/http/http.h"

#include <signal.h>

#include "check.h"
#include "web.h"

enum { MIB = 1 << 20 };

struct ended {
    uint32_t id, count;
    int status;
    size_t len;
    char why[200], body[64];
    uint64_t sum; /* of the body's bytes */
};

static uv_loop_t loop;
static struct sp_http *http;
static bool is_freed;

static void on_freed(void *ctx)
{
    *(bool *)ctx = true;
}

static void open_with(const struct sp_http_cfg *cfg)
{
    is_freed = false;
    CHECK_EQ(uv_loop_init(&loop), 0);
    CHECK_EQ(sp_http_new(&loop, cfg, &http), SP_OK);
}

static void open_http(void)
{
    open_with(&(struct sp_http_cfg){.user_agent = "Spate/test"});
}

/* The loop must come to its end by itself: nothing is left behind. */
static void close_http(void)
{
    sp_http_free(http, on_freed, &is_freed);
    CHECK_EQ(uv_run(&loop, UV_RUN_DEFAULT), 0);
    CHECK(is_freed);
    CHECK_EQ(uv_loop_close(&loop), 0);
}

static void on_done(void *ctx, uint32_t id, const struct sp_http_result *result)
{
    struct ended *e = ctx;

    e->id = id;
    e->count++;
    e->status = result->status;
    e->len = result->body.len;
    snprintf(e->why, sizeof(e->why), "%s", result->why);
    snprintf(e->body, sizeof(e->body), "%.*s", (int)(e->len < 60 ? e->len : 60),
             result->body.len ? (const char *)result->body.ptr : "");
    for (size_t i = 0; i < e->len; i++)
        e->sum += result->body.ptr[i];
}

static uint32_t start(struct ended *e, const char *url, bool allow_local, uint32_t timeout_ms)
{
    uint32_t id = 0;
    const struct sp_http_get get = {.url = url,
                                    .timeout_ms = timeout_ms,
                                    .body_max = MIB,
                                    .allow_local = allow_local,
                                    .done = on_done,
                                    .ctx = e};
    CHECK_EQ(sp_http_start(http, &get, &id), SP_OK);
    CHECK(id != 0);
    return id;
}

static void wait_for(const struct ended *e, uint32_t count, double seconds)
{
    double end = web_now() + seconds;
    while (e->count < count && web_now() < end) {
        uv_run(&loop, UV_RUN_NOWAIT);
        web_sleep(1);
    }
    CHECK_EQ(e->count, count);
}

static struct ended get(const char *url, bool allow_local, uint32_t timeout_ms)
{
    struct ended e = {0};
    uint32_t id = start(&e, url, allow_local, timeout_ms);
    wait_for(&e, 1, 20);
    CHECK_EQ(e.id, id);
    return e;
}

static void expect(struct ended e, int status, size_t len, const char *why)
{
    CHECK_EQ(e.status, status);
    CHECK_EQ(e.len, len);
    if (why[0] ? !strstr(e.why, why) : e.why[0] != '\0') {
        CHECK(false && "reason");
        printf("# got \"%s\", not \"%s\"\n", e.why, why);
    }
}

TEST(answers_of_all_kinds)
{
    static const struct {
        const char *path;
        int status;
        size_t len;
    } CASES[] = {
        {"/ok", 200, 5},
        {"/empty", 200, 0},
        {"/404", 404, 2},
        {"/chunks/100000", 200, 100000},
        {"/chunks/1048576", 200, MIB},
        {"/gzip/100000", 200, 100000},
        {"/gzip/1048576", 200, MIB},
        {"/hops/5", 200, 5},
        {"/away/endless", 200, 5},
    };

    open_http();
    for (size_t i = 0; i < SP_COUNT(CASES); i++)
        expect(get(web_url("127.0.0.1", CASES[i].path), true, 5000), CASES[i].status, CASES[i].len,
               "");
    struct ended e = get(web_url("127.0.0.1", "/chunks/1000"), true, 5000);
    CHECK_EQ(e.sum, 1000 * 'c');
    CHECK(strstr(web_last_request, "User-Agent: Spate/test\r\n") != NULL);
    CHECK(strstr(web_last_request, "Accept-Encoding: gzip\r\n") != NULL);
    close_http();
}

TEST(failures_say_why)
{
    static const struct {
        const char *path, *why;
        uint32_t timeout_ms;
    } CASES[] = {{"/chunks/1048577", "larger than 1 MiB", 5000},
                 {"/gzip/1048577", "larger than 1 MiB", 5000},
                 {"/gzip/67108864", "larger than 1 MiB", 5000},
                 {"/endless", "larger than 1 MiB", 5000},
                 {"/gibibyte", "larger than 1 MiB", 5000},
                 {"/away/chunked", "larger than 1 MiB", 5000},
                 {"/away/sized", "larger than 1 MiB", 5000},
                 {"/heads", "too many headers", 5000},
                 {"/loop", "too many redirects", 5000},
                 {"/hops/6", "too many redirects", 5000},
                 {"/to/file:///etc/passwd", "neither http nor https", 5000},
                 {"/to/ftp://127.0.0.1/x", "neither http nor https", 5000},
                 {"/silent", "no answer within 0.3 s", 300},
                 {"/stuck", "not done within 0.3 s", 300},
                 {"/reset", "connection reset by peer", 5000},
                 {"/short", "ends early", 5000},
                 {"/nothing", "closed without an answer", 5000},
                 {"/garbage", "not HTTP", 5000},
                 {"/broken", "compression is damaged", 5000}};

    open_http();
    for (size_t i = 0; i < SP_COUNT(CASES); i++) {
        double before = web_now();
        expect(get(web_url("127.0.0.1", CASES[i].path), true, CASES[i].timeout_ms), 0, 0,
               CASES[i].why);
        if (web_now() - before > 2.5)
            printf("# %s took %.1f s\n", CASES[i].path, web_now() - before);
        CHECK(web_now() - before < 10);
    }
    expect(get("http://127.0.0.1:1/", true, 5000), 0, 0, "connection refused");
    expect(get("http://nowhere.test/", true, 5000), 0, 0, "cannot be found: nowhere.test");
    close_http();
}

TEST(local_addresses_are_refused)
{
    static const struct {
        const char *host, *why;
    } CASES[] = {{"127.0.0.1", "the address is of this machine: 127.0.0.1"},
                 {"[::1]", "the address is of this machine: [::1]"},
                 {"[::ffff:127.0.0.1]", "the address is of this machine: 127.0.0.1"},
                 {"2130706433", "the address is of this machine: 127.0.0.1"},
                 {"0x7f.1", "the address is of this machine: 127.0.0.1"},
                 {"home.test", "the address is of this machine: 127.0.0.1"},
                 {"10.0.0.1", "the address is private: 10.0.0.1"},
                 {"private.test", "the address is private: 10.1.2.3"},
                 {"mapped.test", "the address is private: 192.168.1.1"},
                 {"169.254.169.254", "the address is link-local: 169.254.169.254"},
                 {"0.0.0.0", "the address is not of a host: 0.0.0.0"},
                 {"[fd00::1]", "the address is private: [fd00::1]"}};
    int before = web.requests;

    open_http();
    for (size_t i = 0; i < SP_COUNT(CASES); i++)
        expect(get(web_url(CASES[i].host, "/ok"), false, 5000), 0, 0, CASES[i].why);
    CHECK_EQ(web.requests, before);
    close_http();
}

/* One that was allowed leaves its connection open; the next must not use it. */
TEST(a_kept_connection_is_no_way_round)
{
    open_http();
    expect(get(web_url("home.test", "/ok"), true, 5000), 200, 5, "");
    int before = web.requests;
    expect(get(web_url("home.test", "/ok"), false, 5000), 0, 0, "of this machine: 127.0.0.1");
    CHECK_EQ(web.requests, before);
    expect(get(web_url("home.test", "/ok"), true, 5000), 200, 5, "");
    close_http();
}

TEST(redirects_never_lead_nearer)
{
    char path[300];
    snprintf(path, sizeof(path), "/to/%s", web_url("127.0.0.1", "/ok"));

    if (!web.has_global) {
        printf("# skipped: no network namespace\n");
        return;
    }
    open_http();
    expect(get(web_url(WEB_GLOBAL, "/ok"), false, 5000), 200, 5, "");
    expect(get(web_url("public.test", "/ok"), false, 5000), 200, 5, "");
    int before = web.requests;
    expect(get(web_url(WEB_GLOBAL, path), false, 5000), 0, 0, "of this machine: 127.0.0.1");
    expect(get(web_url(WEB_GLOBAL, path), true, 5000), 0, 0, "of this machine: 127.0.0.1");
    CHECK_EQ(web.requests, before + 2); /* the redirects themselves */
    expect(get(web_url("127.0.0.1", path), true, 5000), 200, 5, "");
    snprintf(path, sizeof(path), "/to/%s", web_url(WEB_GLOBAL, "/ok"));
    expect(get(web_url("127.0.0.1", path), true, 5000), 200, 5, "");
    close_http();
}

TEST(families)
{
    struct sp_http_get ask = {.url = web_url("127.0.0.1", "/ok"),
                              .timeout_ms = 5000,
                              .body_max = MIB,
                              .family = 6,
                              .allow_local = true,
                              .done = on_done};
    struct ended e = {0};
    uint32_t id;

    open_http();
    ask.ctx = &e;
    CHECK_EQ(sp_http_start(http, &ask, &id), SP_OK);
    wait_for(&e, 1, 5);
    expect(e, 0, 0, "no IPv6 address");
    ask.family = 4;
    CHECK_EQ(sp_http_start(http, &ask, &id), SP_OK);
    wait_for(&e, 2, 5);
    expect(e, 200, 5, "");
    close_http();
}

TEST(interfaces)
{
    static const struct {
        const char *interface, *why;
    } CASES[] = {{"lo", ""}, {"127.0.0.1", ""}, {"nosuch0", "bind"}, {"10.9.8.7", "bind"}};

    for (size_t i = 0; i < SP_COUNT(CASES); i++) {
        open_with(&(struct sp_http_cfg){.interface = CASES[i].interface});
        bool good = CASES[i].why[0] == '\0';
        expect(get(web_url("127.0.0.1", "/ok"), true, 5000), good ? 200 : 0, good ? 5 : 0,
               CASES[i].why);
        close_http();
    }
}

TEST(what_is_no_url)
{
    static const char *const URLS[] = {
        "",           "x",       "udp://127.0.0.1:1/", "file:///etc/passwd",
        "http://",    "http:/x", "ftp://127.0.0.1/",   "gopher://x/",
        "http://a b/"};
    struct ended e = {0};

    open_http();
    for (size_t i = 0; i < SP_COUNT(URLS); i++) {
        uint32_t id = 77;
        struct sp_http_get ask = {.url = URLS[i], .done = on_done, .ctx = &e};
        CHECK_EQ(sp_http_start(http, &ask, &id), SP_EDATA);
        CHECK_EQ(id, 77);
    }
    close_http();
    CHECK_EQ(e.count, 0);
}

TEST(fifty_at_once_within_the_limit)
{
    struct ended e = {0};

    web_sleep(50); /* those of the tests before are gone */
    web.open_most = 0;
    open_http();
    for (int i = 0; i < 50; i++)
        start(&e, web_url("127.0.0.1", "/soon"), true, 5000);
    CHECK_EQ(e.count, 0);
    wait_for(&e, 50, 10);
    CHECK_EQ(e.sum, 50 * ('h' + 'e' + 'l' + 'l' + 'o'));
    CHECK_EQ(web.open_most, SP_HTTP_HOST_CONN_MAX);
    close_http();
}

/* Eight that never answer hold all connections of their host, and nobody else's. */
TEST(a_dead_host_keeps_nobody_waiting)
{
    struct ended dead = {0}, alive = {0};

    open_with(&(struct sp_http_cfg){.conn_max = 10});
    for (int i = 0; i < 30; i++)
        start(&dead, web_url("127.0.0.1", "/silent"), true, 400);
    start(&alive, web_url("home.test", "/ok"), true, 5000);
    wait_for(&alive, 1, 5);
    CHECK_EQ(dead.count, 0);
    expect(alive, 200, 5, "");
    wait_for(&dead, 30, 8);
    expect(dead, 0, 0, "no answer within 0.4 s");
    close_http();
}

/* The resolver's thread sleeps; the loop does not, and neither does the end. */
TEST(resolving_blocks_nothing)
{
    struct ended slow = {0}, e = {0};
    double before = web_now();

    open_http();
    uint32_t id = start(&slow, web_url("slow.test", "/ok"), true, 10000);
    start(&slow, web_url("slow.test", "/ok"), true, 200);
    start(&e, web_url("127.0.0.1", "/ok"), true, 5000);
    wait_for(&e, 1, 2);
    CHECK(web_slow_lookups > 0);
    wait_for(&slow, 1, 2);
    expect(slow, 0, 0, "no connection within 0.2 s");
    sp_http_cancel(http, id);
    start(&slow, web_url("slow.test", "/ok"), true, 10000);
    for (int i = 0; i < 20; i++) {
        uv_run(&loop, UV_RUN_NOWAIT);
        web_sleep(5);
    }
    close_http();
    CHECK(web_now() - before < 2);
    CHECK_EQ(slow.count, 1);
    web_sleep(3200); /* the resolver's threads end, or a leak would be seen */
}

TEST(canceled_in_flight)
{
    static const char *const PATHS[] = {"/silent", "/stuck", "/endless", "/ok", "/heads"};
    struct ended e = {0};
    uint32_t ids[60], steps;

    for (steps = 0; steps < 12; steps++) {
        open_http();
        for (size_t i = 0; i < SP_COUNT(ids); i++)
            ids[i] = start(&e, web_url("127.0.0.1", PATHS[i % SP_COUNT(PATHS)]), true, 5000);
        for (uint32_t i = 0; i < steps; i++) {
            uv_run(&loop, UV_RUN_NOWAIT);
            web_sleep(2);
        }
        uint32_t before = e.count;
        for (size_t i = 0; i < SP_COUNT(ids); i++)
            sp_http_cancel(http, ids[i]);
        sp_http_cancel(http, ids[0]);
        sp_http_cancel(http, 12345);
        sp_http_cancel(http, 0);
        for (int i = 0; i < 5; i++)
            uv_run(&loop, UV_RUN_NOWAIT);
        CHECK_EQ(e.count, before);
        expect(get(web_url("127.0.0.1", "/ok"), true, 5000), 200, 5, ""); /* it still works */
        close_http();
    }
}

TEST(freed_with_transfers_in_flight)
{
    static const char *const PATHS[] = {"/silent", "/stuck", "/endless", "/ok"};
    struct ended e = {0};

    for (uint32_t steps = 0; steps < 12; steps++) {
        open_http();
        for (size_t i = 0; i < 40; i++)
            start(&e, web_url("127.0.0.1", PATHS[i % SP_COUNT(PATHS)]), true, 5000);
        for (uint32_t i = 0; i < steps; i++) {
            uv_run(&loop, UV_RUN_NOWAIT);
            web_sleep(2);
        }
        double before = web_now();
        close_http();
        CHECK(web_now() - before < 1);
    }
}

/* ---- done that starts, cancels, frees ---- */

struct busy {
    struct ended e;
    uint32_t other, mine;
    enum { START, CANCEL_OTHER, CANCEL_SELF, FREE } act;
};

static void on_busy(void *ctx, uint32_t id, const struct sp_http_result *result)
{
    struct busy *b = ctx;

    on_done(&b->e, id, result);
    if (b->act == START)
        b->other = start(&b->e, web_url("127.0.0.1", "/404"), true, 5000);
    else if (b->act == CANCEL_OTHER)
        sp_http_cancel(http, b->other);
    else if (b->act == CANCEL_SELF)
        sp_http_cancel(http, id);
    else
        sp_http_free(http, on_freed, &is_freed);
    expect(b->e, 200, 5, ""); /* the result outlives all that */
    CHECK_EQ(result->body.len, 5);
    CHECK(memcmp(result->body.ptr, "hello", 5) == 0);
}

TEST(done_may_do_anything)
{
    for (int act = START; act <= FREE; act++) {
        struct busy b = {.act = (typeof(b.act))act};
        struct ended other = {0};
        struct sp_http_get ask = {.url = web_url("127.0.0.1", "/ok"),
                                  .timeout_ms = 5000,
                                  .body_max = MIB,
                                  .allow_local = true,
                                  .done = on_busy,
                                  .ctx = &b};
        open_http();
        if (act != START)
            b.other = start(&other, web_url("127.0.0.1", "/silent"), true, 5000);
        CHECK_EQ(sp_http_start(http, &ask, &b.mine), SP_OK);
        wait_for(&b.e, act == START ? 2 : 1, 5);
        if (act == START)
            expect(b.e, 404, 2, "");
        CHECK_EQ(other.count, 0);
        if (act != FREE) {
            close_http();
            continue;
        }
        CHECK_EQ(uv_run(&loop, UV_RUN_DEFAULT), 0);
        CHECK(is_freed);
        CHECK_EQ(uv_loop_close(&loop), 0);
    }
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    setenv("http_proxy", "http://127.0.0.1:1/", 1); /* another program's: not ours to follow */
    web_start();
    int rc = check_run();
    web_end();
    return rc;
}
