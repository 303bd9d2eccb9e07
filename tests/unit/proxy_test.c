/* The talk with a proxy: each answer, each cut of it, each refusal, and
 * datagrams as they are wrapped. */
#include "core/proxy/proxy.h"

#include "check.h"
#include "edge.h"

static const struct sp_proxy_url SOCKS = {.kind = SP_PROXY_SOCKS5, .host = "p", .port = 1080};
static const struct sp_proxy_url SOCKS_USER = {.kind = SP_PROXY_SOCKS5,
                                               .host = "p",
                                               .port = 1080,
                                               .has_user = true,
                                               .user = "me",
                                               .password = "secret"};
static const struct sp_proxy_url HTTP = {.kind = SP_PROXY_HTTP, .host = "p", .port = 8080};
static const struct sp_proxy_url HTTP_USER = {.kind = SP_PROXY_HTTP,
                                              .host = "p",
                                              .port = 8080,
                                              .has_user = true,
                                              .user = "Aladdin",
                                              .password = "open sesame"};

static struct sp_proxy_target v4(void)
{
    return (struct sp_proxy_target){.addr = sp_addr_v4((const uint8_t[]){1, 2, 3, 4}, 6881)};
}

static struct sp_proxy_target v6(void)
{
    static const uint8_t ip[16] = {0x20, 1, [15] = 9};
    return (struct sp_proxy_target){.addr = sp_addr_v6(ip, 6881)};
}

static struct sp_proxy_target name(const char *host)
{
    return (struct sp_proxy_target){.addr.port = 80, .host = host};
}

/* ---- where it is ---- */

static bool parse(const char *text, struct sp_proxy_url *u)
{
    const char *why = NULL;
    bool good = sp_proxy_parse(edge(text, strlen(text)), u, &why) == SP_OK;
    CHECK(good || why);
    return good;
}

TEST(urls_that_are_good)
{
    static const struct {
        const char *text;
        enum sp_proxy_kind kind;
        const char *host;
        uint16_t port;
        const char *user, *password;
    } t[] = {
        {"socks5://10.0.0.1", SP_PROXY_SOCKS5, "10.0.0.1", 1080, NULL, NULL},
        {"socks5h://proxy.example:9050/", SP_PROXY_SOCKS5, "proxy.example", 9050, NULL, NULL},
        {"http://[::1]:3128", SP_PROXY_HTTP, "::1", 3128, NULL, NULL},
        {"http://p", SP_PROXY_HTTP, "p", 8080, NULL, NULL},
        {"socks5://me:pass@p", SP_PROXY_SOCKS5, "p", 1080, "me", "pass"},
        {"socks5://me@p", SP_PROXY_SOCKS5, "p", 1080, "me", ""},
        {"socks5://a%20b:x@y%3a@p:1", SP_PROXY_SOCKS5, "p", 1, "a b", "x@y:"},
        {"http://a:b:c@p", SP_PROXY_HTTP, "p", 8080, "a", "b:c"},
    };
    for (size_t i = 0; i < SP_COUNT(t); i++) {
        struct sp_proxy_url u;
        CHECK(parse(t[i].text, &u));
        CHECK_EQ(u.kind, t[i].kind);
        CHECK(strcmp(u.host, t[i].host) == 0);
        CHECK_EQ(u.port, t[i].port);
        CHECK_EQ(u.has_user, t[i].user != NULL);
        CHECK(strcmp(u.user, t[i].user ? t[i].user : "") == 0);
        CHECK(strcmp(u.password, t[i].password ? t[i].password : "") == 0);
    }
}

TEST(urls_that_are_not)
{
    static const char *const bad[] = {
        "",
        "socks5",
        "socks5://",
        "socks4://p",
        "https://p",
        "p:1080",
        "http:///",
        "socks5://p:0",
        "socks5://p:",
        "socks5://p:65536",
        "http://::1",
        "http://[::1",
        "http://[1.2.3.4]",
        "http://p:1x",
        "http://p/path",
        "http://@p",
        "http://:x@p",
        "http://a%3ab:c@p",
        "http://a%zz@p",
        "http://a%2@p",
        "http://a%00b@p",
        "http://p q",
        "http://-p",
        "http://.p",
        "http://p:123456",
        "http://p\r\nX: y",
    };
    struct sp_proxy_url u = {.kind = SP_PROXY_HTTP};
    for (size_t i = 0; i < SP_COUNT(bad); i++)
        CHECK(!parse(bad[i], &u));
    CHECK_EQ(u.port, 0); /* untouched */
    char text[400];
    for (int n = 250; n < 260; n++) {
        memcpy(text, "http://", 7);
        memset(text + 7, 'u', (size_t)n);
        memcpy(text + 7 + n, "@p", 3);
        CHECK_EQ(parse(text, &u), n <= 255);
        memset(text + 7, 'h', (size_t)n);
        text[7 + n] = '\0';
        CHECK_EQ(parse(text, &u), n <= 253);
    }
}

/* ---- a talk, piece by piece ---- */

struct turn {
    const char *says; /* what we send before hearing the next; NULL: nothing more */
    size_t says_len;
    const char *hears;
    size_t hears_len;
};
#define TURN(s, h)                                                                                 \
    {                                                                                              \
        s, sizeof(s) - 1, h, sizeof(h) - 1                                                         \
    }

static bool said(struct sp_proxy *p, const char *bytes, size_t len, size_t step)
{
    for (size_t at = 0; at < len; at += step) {
        struct sp_slice s = sp_proxy_say(p);
        if (s.len != len - at || memcmp(s.ptr, bytes + at, s.len) != 0)
            return false;
        sp_proxy_said(p, step < s.len ? step : s.len);
    }
    return sp_proxy_say(p).len == 0;
}

/* Runs it, hearing step bytes at a time; what is left over after the end of the
 * talk must not be taken. */
static void talk(struct sp_proxy *p, const struct sp_proxy_url *url, enum sp_proxy_want want,
                 const struct sp_proxy_target *target, const struct turn *turns, size_t count,
                 size_t step)
{
    sp_proxy_begin(p, url, want, target);
    for (size_t i = 0; i < count; i++) {
        const struct turn *t = &turns[i];
        CHECK(said(p, t->says, t->says_len, step));
        for (size_t at = 0; at < t->hears_len;) {
            size_t n = t->hears_len - at < step ? t->hears_len - at : step;
            CHECK_EQ(p->state, SP_PROXY_TALKING);
            size_t took = sp_proxy_hear(p, edge(t->hears + at, n));
            CHECK_EQ(took, n);
            at += took ? took : n;
        }
    }
}

#define HELLO      "\5\1\0"
#define HELLO_USER "\5\2\0\2"
#define ASK4       "\5\1\0\1\1\2\3\4\x1a\xe1"

TEST(socks_connects)
{
    static const struct turn plain[] = {TURN(HELLO, "\5\0"),
                                        TURN(ASK4, "\5\0\0\1\xa\0\0\1\x12\x34")};
    static const struct turn user[] = {TURN(HELLO_USER, "\5\2"), TURN("\1\2me\6secret", "\1\0"),
                                       TURN(ASK4, "\5\0\0\3\4host\x12\x34")};
    static const struct turn free_user[] = {TURN(HELLO_USER, "\5\0"),
                                            TURN(ASK4, "\5\0\0\1\xa\0\0\1\x12\x34")};
    static const struct turn six[] = {TURN(HELLO, "\5\0"),
                                      TURN("\5\1\0\4\x20\1\0\0\0\0\0\0\0\0\0\0\0\0\0\x9\x1a\xe1",
                                           "\5\0\0\4\x20\1\0\0\0\0\0\0\0\0\0\0\0\0\0\1\x12\x34")};
    static const struct turn named[] = {TURN(HELLO, "\5\0"), TURN("\5\1\0\3\x9"
                                                                  "a.example\0\x50",
                                                                  "\5\0\0\1\0\0\0\0\0\0")};
    const struct sp_proxy_target t4 = v4(), t6 = v6(), tn = name("a.example");
    struct sp_proxy p;

    for (size_t step = 1; step < 40; step++) {
        talk(&p, &SOCKS, SP_PROXY_STREAM, &t4, plain, SP_COUNT(plain), step);
        CHECK_EQ(p.state, SP_PROXY_DONE);
        CHECK_EQ(p.bound.port, 0x1234);
        CHECK_EQ(p.bound.ip[0], 10);
        CHECK_EQ(sp_proxy_hear(&p, SP_LIT("peer")), 0); /* the stream's own */
        talk(&p, &SOCKS_USER, SP_PROXY_STREAM, &t4, user, SP_COUNT(user), step);
        CHECK_EQ(p.state, SP_PROXY_DONE);
        CHECK_EQ(p.bound.family, SP_FAMILY_NONE);
        talk(&p, &SOCKS_USER, SP_PROXY_STREAM, &t4, free_user, SP_COUNT(free_user), step);
        CHECK_EQ(p.state, SP_PROXY_DONE);
        talk(&p, &SOCKS, SP_PROXY_STREAM, &t6, six, SP_COUNT(six), step);
        CHECK_EQ(p.state, SP_PROXY_DONE);
        CHECK_EQ(p.bound.family, SP_V6);
        talk(&p, &SOCKS, SP_PROXY_STREAM, &tn, named, SP_COUNT(named), step);
        CHECK_EQ(p.state, SP_PROXY_DONE);
    }
}

TEST(socks_takes_no_byte_of_the_stream)
{
    const struct sp_proxy_target t4 = v4();
    struct sp_proxy p;

    sp_proxy_begin(&p, &SOCKS, SP_PROXY_STREAM, &t4);
    sp_proxy_said(&p, sp_proxy_say(&p).len);
    CHECK_EQ(sp_proxy_hear(&p, SP_LIT("\5\0")), 2);
    sp_proxy_said(&p, sp_proxy_say(&p).len);
    CHECK_EQ(sp_proxy_hear(&p, SP_LIT("\5\0\0\1\0\0\0\0\0\0\x13"
                                      "BitTorrent")),
             10);
    CHECK_EQ(p.state, SP_PROXY_DONE);
}

TEST(socks_relays)
{
    static const struct turn turns[] = {TURN(HELLO, "\5\0"),
                                        TURN("\5\3\0\1\0\0\0\0\0\0", "\5\0\0\1\0\0\0\0\x12\x34")};
    static const struct turn none[] = {TURN(HELLO, "\5\0"), TURN("\5\3\0\1\0\0\0\0\0\0", "\5\7")};
    struct sp_proxy p;

    talk(&p, &SOCKS, SP_PROXY_RELAY, NULL, turns, SP_COUNT(turns), 3);
    CHECK_EQ(p.state, SP_PROXY_DONE);
    CHECK_EQ(p.bound.port, 0x1234);
    talk(&p, &SOCKS, SP_PROXY_RELAY, NULL, none, SP_COUNT(none), 3);
    CHECK_EQ(p.state, SP_PROXY_FAILED);
    CHECK(strstr(p.why, "UDP"));
    sp_proxy_begin(&p, &HTTP, SP_PROXY_RELAY, NULL);
    CHECK_EQ(p.state, SP_PROXY_FAILED);
    CHECK(strstr(p.why, "UDP"));
    CHECK_EQ(sp_proxy_say(&p).len, 0);
}

/* Each refusal is read as soon as it can be, and says who is at fault. */
TEST(socks_refusals)
{
    static const struct {
        const char *method, *reply;
        size_t len;
        const char *why;
        bool target;
    } t[] = {
        {"\4\0", NULL, 0, "does not speak SOCKS5", false},
        {"HT", NULL, 0, "does not speak SOCKS5", false},
        {"\5\xff", NULL, 0, "wants a user", false},
        {"\5\2", NULL, 0, "not offered", false},
        {"\5\1", NULL, 0, "not offered", false},
        {"\5\0", "\5\1", 2, "failed", false},
        {"\5\0", "\5\2", 2, "forbid", true},
        {"\5\0", "\5\3", 2, "network", true},
        {"\5\0", "\5\4", 2, "that host", true},
        {"\5\0", "\5\5", 2, "refused", true},
        {"\5\0", "\5\6", 2, "no answer", true},
        {"\5\0", "\5\7", 2, "does not do that", false},
        {"\5\0", "\5\x8", 2, "kind of address", true},
        {"\5\0", "\5\x9", 2, "not known", false},
        {"\5\0", "\5\xff", 2, "not known", false},
        {"\5\0", "\4", 1, "does not speak SOCKS5", false},
        {"\5\0", "\5\0\0\2", 4, "no known kind", false},
        {"\5\0", "\5\0\0\0", 4, "no known kind", false},
    };
    const struct sp_proxy_target t4 = v4();
    for (size_t i = 0; i < SP_COUNT(t); i++) {
        struct sp_proxy p;
        sp_proxy_begin(&p, &SOCKS, SP_PROXY_STREAM, &t4);
        CHECK_EQ(sp_proxy_hear(&p, edge(t[i].method, 2)), 2);
        if (t[i].reply)
            CHECK_EQ(sp_proxy_hear(&p, edge(t[i].reply, t[i].len)), t[i].len);
        CHECK_EQ(p.state, SP_PROXY_FAILED);
        CHECK(p.why && strstr(p.why, t[i].why));
        CHECK_EQ(p.target_is_wrong, t[i].target);
        CHECK_EQ(sp_proxy_say(&p).len, 0);
        CHECK_EQ(sp_proxy_hear(&p, SP_LIT("x")), 0);
    }
}

TEST(socks_login_refused)
{
    const struct sp_proxy_target t4 = v4();
    struct sp_proxy p;

    sp_proxy_begin(&p, &SOCKS_USER, SP_PROXY_STREAM, &t4);
    (void)sp_proxy_hear(&p, SP_LIT("\5\2\1\1"));
    CHECK_EQ(p.state, SP_PROXY_FAILED);
    CHECK(strstr(p.why, "refuses the user"));
    sp_proxy_begin(&p, &SOCKS_USER, SP_PROXY_STREAM, &t4);
    (void)sp_proxy_hear(&p, SP_LIT("\5\xff"));
    CHECK(p.state == SP_PROXY_FAILED && strstr(p.why, "takes no user"));
}

TEST(closed_at_every_prefix)
{
    static const char heard[] = "\5\0\5\0\0\1\0\0\0\0\0\0";
    static const char http[] = "HTTP/1.1 200 OK\r\nVia: x\r\n\r\n";
    const struct sp_proxy_target t4 = v4();
    struct sp_proxy p;

    for (size_t n = 0; n < sizeof(heard) - 1; n++) {
        sp_proxy_begin(&p, &SOCKS, SP_PROXY_STREAM, &t4);
        CHECK_EQ(sp_proxy_hear(&p, edge(heard, n)), n);
        sp_proxy_closed(&p);
        CHECK(p.state == SP_PROXY_FAILED && strstr(p.why, "closed"));
    }
    for (size_t n = 0; n < sizeof(http) - 1; n++) {
        sp_proxy_begin(&p, &HTTP, SP_PROXY_STREAM, &t4);
        CHECK_EQ(sp_proxy_hear(&p, edge(http, n)), n);
        sp_proxy_closed(&p);
        CHECK(p.state == SP_PROXY_FAILED && strstr(p.why, "closed"));
    }
    CHECK_EQ(sizeof(heard) - 1, 12);
}

TEST(targets_that_cannot_be_told)
{
    static char long_name[300];
    struct sp_proxy p;
    const struct sp_proxy_target nobody = {0};

    memset(long_name, 'a', 256);
    const struct sp_proxy_target too_long = name(long_name), empty = name("");
    const struct sp_proxy_target *const bad[] = {&nobody, &too_long, &empty};
    for (size_t i = 0; i < SP_COUNT(bad); i++) {
        sp_proxy_begin(&p, &SOCKS, SP_PROXY_STREAM, bad[i]);
        CHECK(p.state == SP_PROXY_FAILED && p.target_is_wrong);
        sp_proxy_begin(&p, &HTTP, SP_PROXY_STREAM, bad[i]);
        CHECK(p.state == SP_PROXY_FAILED && p.target_is_wrong);
    }
    static const char *const names[] = {"a b", "a\r\nX: y", "a:1", "u@h", "a/b", "\x80", "[::1]"};
    for (size_t i = 0; i < SP_COUNT(names); i++) {
        const struct sp_proxy_target t = name(names[i]);
        sp_proxy_begin(&p, &HTTP, SP_PROXY_STREAM, &t);
        CHECK(p.state == SP_PROXY_FAILED && p.target_is_wrong);
    }
    long_name[255] = '\0';
    const struct sp_proxy_target longest = name(long_name);
    struct sp_proxy_url both = HTTP_USER;
    memset(both.user, 'u', 255);
    memset(both.password, 'p', 255);
    sp_proxy_begin(&p, &both, SP_PROXY_STREAM, &longest);
    CHECK_EQ(p.state, SP_PROXY_TALKING);
    both.kind = SP_PROXY_SOCKS5;
    sp_proxy_begin(&p, &both, SP_PROXY_STREAM, &longest);
    sp_proxy_said(&p, sp_proxy_say(&p).len);
    CHECK_EQ(sp_proxy_hear(&p, SP_LIT("\5\2")), 2);
    CHECK_EQ(sp_proxy_say(&p).len, 3 + 255 + 255);
}

/* ---- HTTP ---- */

TEST(http_connects)
{
    static const struct turn four[] = {
        TURN("CONNECT 1.2.3.4:6881 HTTP/1.1\r\nHost: 1.2.3.4:6881\r\n\r\n",
             "HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n")};
    static const struct turn six[] = {TURN(
        "CONNECT [2001::9]:6881 HTTP/1.1\r\nHost: [2001::9]:6881\r\n\r\n", "HTTP/1.0 204\r\n\r\n")};
    static const struct turn user[] = {
        TURN("CONNECT a.example:80 HTTP/1.1\r\nHost: a.example:80\r\n"
             "Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n",
             "HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\nHTTP/1.1 200 \r\n\r\n")};
    const struct sp_proxy_target t4 = v4(), t6 = v6(), tn = name("a.example");
    struct sp_proxy p;

    for (size_t step = 1; step < 60; step++) {
        talk(&p, &HTTP, SP_PROXY_STREAM, &t4, four, 1, step);
        CHECK_EQ(p.state, SP_PROXY_DONE);
        talk(&p, &HTTP, SP_PROXY_STREAM, &t6, six, 1, step);
        CHECK_EQ(p.state, SP_PROXY_DONE);
        talk(&p, &HTTP_USER, SP_PROXY_STREAM, &tn, user, 1, step);
        CHECK_EQ(p.state, SP_PROXY_DONE);
    }
    sp_proxy_begin(&p, &HTTP, SP_PROXY_STREAM, &t4);
    CHECK_EQ(sp_proxy_hear(&p, SP_LIT("HTTP/1.1 200 OK\r\n\r\n\r\nrest")), 19);
}

TEST(http_base64_of_each_length)
{
    static const struct {
        const char *user, *password, *text;
    } t[] = {{"a", "", "YTo="}, {"a", "b", "YTpi"}, {"a", "bc", "YTpiYw=="}, {"\xff", "~", "/zp+"}};
    const struct sp_proxy_target t4 = v4();
    for (size_t i = 0; i < SP_COUNT(t); i++) {
        struct sp_proxy_url url = HTTP;
        struct sp_proxy p;
        char line[80];
        url.has_user = true;
        snprintf(url.user, sizeof(url.user), "%s", t[i].user);
        snprintf(url.password, sizeof(url.password), "%s", t[i].password);
        sp_proxy_begin(&p, &url, SP_PROXY_STREAM, &t4);
        snprintf(line, sizeof(line), "Basic %s\r\n\r\n", t[i].text);
        CHECK(memmem(p.out, p.out_len, line, strlen(line)));
    }
}

TEST(http_refusals)
{
    static const struct {
        const char *text, *why;
        bool target;
    } t[] = {
        {"HTTP/1.1 407 x\r\n\r\n", "wants a user", false},
        {"HTTP/1.1 403 x\r\n\r\n", "forbid", true},
        {"HTTP/1.1 503\r\n\r\n", "cannot reach", true},
        {"HTTP/1.1 502\r\n\r\n", "cannot reach", true},
        {"HTTP/1.1 504\r\n\r\n", "no answer", true},
        {"HTTP/1.1 405\r\n\r\n", "does not do CONNECT", false},
        {"HTTP/1.1 101 x\r\n\r\n", "not known", false},
        {"HTTP/1.1 302 x\r\nLocation: http://y/\r\n\r\n", "not known", false},
        {"HTTP/2.0 2", "does not speak", false},
        {"HTTP/1.2 ", "does not speak", false},
        {"http/1.1", "does not speak", false},
        {"HTTP/1.1  200", "does not speak", false},
        {"HTTP/1.1 2000", "does not speak", false},
        {"HTTP/1.1 20\r", "does not speak", false},
        {"HTTP/1.1 200 OK\n", "does not speak", false},
        {"HTTP/1.1 200 OK\r\r", "does not speak", false},
        {"HTTP/1.1 200 O\1", "does not speak", false},
        {"HTTP/1.1 200 OK\r\nA: b\n", "does not speak", false},
        {"HTTP/1.1 200 OK\r\nA: b\r\n\rx", "does not speak", false},
        {"HTTP/1.1 200 OK\r\n\x7f", "does not speak", false},
        {"SSH-2.0", "does not speak", false},
    };
    const struct sp_proxy_target t4 = v4();
    for (size_t i = 0; i < SP_COUNT(t); i++) {
        struct sp_proxy p;
        sp_proxy_begin(&p, &HTTP, SP_PROXY_STREAM, &t4);
        size_t took = sp_proxy_hear(&p, edge(t[i].text, strlen(t[i].text)));
        CHECK(took <= strlen(t[i].text));
        CHECK_EQ(p.state, SP_PROXY_FAILED);
        CHECK(p.why && strstr(p.why, t[i].why));
        CHECK_EQ(p.target_is_wrong, t[i].target);
    }
}

/* An answer, or interim answers, without end. */
TEST(http_limits)
{
    static const char hint[] = "HTTP/1.1 100 Continue\r\n\r\n";
    const struct sp_proxy_target t4 = v4();
    struct sp_proxy p;
    size_t n;

    sp_proxy_begin(&p, &HTTP, SP_PROXY_STREAM, &t4);
    (void)sp_proxy_hear(&p, SP_LIT("HTTP/1.1 200 "));
    for (n = 13; p.state == SP_PROXY_TALKING && n < 20000; n++)
        (void)sp_proxy_hear(&p, SP_LIT("x"));
    CHECK(p.state == SP_PROXY_FAILED && strstr(p.why, "too long"));
    CHECK_EQ(n, SP_PROXY_HEAD_MAX + 1);
    sp_proxy_begin(&p, &HTTP, SP_PROXY_STREAM, &t4);
    (void)sp_proxy_hear(&p, SP_LIT("HTTP/1.1 200 OK\r\n"));
    for (n = 0; p.state == SP_PROXY_TALKING && n < 20000; n++)
        (void)sp_proxy_hear(&p, SP_LIT("A:\r\n"));
    CHECK(p.state == SP_PROXY_FAILED && strstr(p.why, "too long"));
    CHECK_EQ(n, SP_PROXY_LINE_MAX);
    sp_proxy_begin(&p, &HTTP, SP_PROXY_STREAM, &t4);
    for (n = 0; p.state == SP_PROXY_TALKING && n < 20000; n++)
        (void)sp_proxy_hear(&p, (struct sp_slice){(const uint8_t *)hint, sizeof(hint) - 1});
    CHECK(p.state == SP_PROXY_FAILED && strstr(p.why, "too long"));
}

/* ---- datagrams ---- */

TEST(datagrams_there_and_back)
{
    uint8_t packet[SP_PROXY_WRAP_MAX + 8];
    const struct sp_proxy_target targets[] = {v4(), v6(), name("tracker.example")};
    for (size_t i = 0; i < SP_COUNT(targets); i++) {
        struct sp_addr from;
        struct sp_slice payload;
        size_t n = sp_proxy_wrap(&targets[i], packet);
        CHECK(n > 0);
        memcpy(packet + n, "payload", 7);
        CHECK_EQ(sp_proxy_unwrap(edge(packet, n + 7), &from, &payload), SP_OK);
        CHECK(payload.len == 7 && memcmp(payload.ptr, "payload", 7) == 0);
        CHECK_EQ(from.port, targets[i].addr.port);
        if (!targets[i].host)
            CHECK(sp_addr_eq(&from, &targets[i].addr));
        else
            CHECK_EQ(from.family, SP_FAMILY_NONE);
        for (size_t cut = 0; cut < n; cut++)
            CHECK_EQ(sp_proxy_unwrap(edge(packet, cut), &from, &payload), SP_EDATA);
        CHECK_EQ(sp_proxy_unwrap(edge(packet, n), &from, &payload), SP_OK);
        CHECK_EQ(payload.len, 0);
        packet[2] = 1; /* a fragment */
        CHECK_EQ(sp_proxy_unwrap(edge(packet, n + 7), &from, &payload), SP_EDATA);
        packet[2] = 0;
        packet[3] = 2;
        CHECK_EQ(sp_proxy_unwrap(edge(packet, n + 7), &from, &payload), SP_EDATA);
    }
    const struct sp_proxy_target nobody = {0};
    CHECK_EQ(sp_proxy_wrap(&nobody, packet), 0);
}

TEST(datagram_of_a_mapped_address)
{
    static const uint8_t packet[] = {0, 0, 0, 4,    0,    0, 0, 0, 0, 0,    0,
                                     0, 0, 0, 0xff, 0xff, 9, 8, 7, 6, 0x1a, 0xe1};
    struct sp_addr from;
    struct sp_slice payload;
    CHECK_EQ(sp_proxy_unwrap(edge(packet, sizeof(packet)), &from, &payload), SP_OK);
    CHECK_EQ(from.family, SP_V4);
    CHECK_EQ(from.ip[0], 9);
}

int main(void)
{
    return check_run();
}
