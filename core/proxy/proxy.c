/* The talk with a proxy: SOCKS5 here, CONNECT in connect.c. */
#include "core/proxy/proxy.h"

#include <string.h>

#include "core/base/cur.h"
#include "core/base/out.h"
#include "core/proxy/talk.h"

enum step { METHOD, LOGIN, REPLY };
enum { VERSION = 5, LOGIN_VERSION = 1 };
enum { AUTH_NONE = 0, AUTH_USER = 2, AUTH_REFUSED = 0xff };
enum { CMD_CONNECT = 1, CMD_ASSOCIATE = 3 };
enum { ATYP_V4 = 1, ATYP_NAME = 3, ATYP_V6 = 4 };

void sp_proxy_fail(struct sp_proxy *p, const char *why, bool target_is_wrong)
{
    p->state = SP_PROXY_FAILED;
    p->why = why;
    p->target_is_wrong = target_is_wrong;
    p->out_len = p->out_at = 0;
}

/* ---- addresses, in requests and before datagrams ---- */

static void put_target(struct sp_out *o, const struct sp_proxy_target *t)
{
    size_t n = t->host ? strlen(t->host) : 0;
    if (t->host) {
        sp_out_u8(o, ATYP_NAME);
        sp_out_u8(o, (uint8_t)n);
        sp_out_bytes(o, t->host, n);
    } else {
        sp_out_u8(o, t->addr.family == SP_V4 ? ATYP_V4 : ATYP_V6);
        sp_out_bytes(o, t->addr.ip, sp_addr_ip_len(&t->addr));
    }
    sp_out_u16(o, t->addr.port);
}

bool sp_proxy_can_tell(const struct sp_proxy_target *t)
{
    if (!t->host)
        return t->addr.family == SP_V4 || t->addr.family == SP_V6;
    size_t n = strlen(t->host);
    return n > 0 && n <= SP_PROXY_NAME_MAX;
}

/* ATYP, address, port.  A name says nothing that we could use: family NONE. */
static struct sp_addr take_address(struct sp_cur *c)
{
    struct sp_addr a = {0};
    struct sp_slice ip;

    switch (sp_cur_u8(c)) {
    case ATYP_V4:
        ip = sp_cur_take(c, 4);
        if (ip.len)
            a = sp_addr_v4(ip.ptr, 0);
        break;
    case ATYP_V6:
        ip = sp_cur_take(c, 16);
        if (ip.len)
            a = sp_addr_v6(ip.ptr, 0);
        break;
    case ATYP_NAME:
        (void)sp_cur_take(c, sp_cur_u8(c));
        break;
    default:
        sp_cur_fail(c, SP_EDATA);
    }
    a.port = sp_cur_u16(c);
    return a;
}

/* ---- the talk ---- */

static void say_methods(struct sp_proxy *p)
{
    struct sp_out o = sp_out_of(p->out, sizeof(p->out));
    sp_out_u8(&o, VERSION);
    sp_out_u8(&o, p->url->has_user ? 2 : 1);
    sp_out_u8(&o, AUTH_NONE);
    if (p->url->has_user)
        sp_out_u8(&o, AUTH_USER);
    sp_proxy_queue(p, &o);
    p->step = METHOD;
}

static void say_login(struct sp_proxy *p)
{
    struct sp_out o = sp_out_of(p->out, sizeof(p->out));
    sp_out_u8(&o, LOGIN_VERSION);
    sp_out_u8(&o, (uint8_t)strlen(p->url->user));
    sp_out_str(&o, p->url->user);
    sp_out_u8(&o, (uint8_t)strlen(p->url->password));
    sp_out_str(&o, p->url->password);
    sp_proxy_queue(p, &o);
    p->step = LOGIN;
}

static void say_request(struct sp_proxy *p)
{
    /* RFC 1928 7: where we send from is not known yet: "the client MUST use a port
     * number and address of all zeros". */
    static const struct sp_proxy_target nowhere = {.addr = {.family = SP_V4}};
    bool relay = p->want == SP_PROXY_RELAY;
    struct sp_out o = sp_out_of(p->out, sizeof(p->out));
    sp_out_u8(&o, VERSION);
    sp_out_u8(&o, relay ? CMD_ASSOCIATE : CMD_CONNECT);
    sp_out_u8(&o, 0);
    put_target(&o, relay ? &nowhere : &p->target);
    sp_proxy_queue(p, &o);
    p->step = REPLY;
}

static void heard_method(struct sp_proxy *p)
{
    if (p->in[0] != VERSION)
        sp_proxy_fail(p, "the proxy does not speak SOCKS5", false);
    else if (p->in[1] == AUTH_NONE)
        say_request(p);
    else if (p->in[1] == AUTH_USER && p->url->has_user)
        say_login(p);
    else if (p->in[1] == AUTH_REFUSED)
        sp_proxy_fail(p,
                      p->url->has_user ? "the proxy takes no user and password"
                                       : "the proxy wants a user and password",
                      false);
    else
        sp_proxy_fail(p, "the proxy chose a way to log in that it was not offered", false);
}

/* RFC 1929: "A STATUS field of X'00' indicates success"; its version is sent as
 * 1, and as 5 by some. */
static void heard_login(struct sp_proxy *p)
{
    if (p->in[1] == 0)
        say_request(p);
    else
        sp_proxy_fail(p, "the proxy refuses the user or password", false);
}

/* RFC 1928 6.  Codes 3 to 6 are about whom we asked for. */
static void heard_refusal(struct sp_proxy *p, uint8_t code)
{
    static const struct {
        char why[48];
        bool target_is_wrong;
    } codes[] = {
        {"", false},
        {"the proxy failed", false},
        {"the proxy's rules forbid it", true},
        {"the proxy cannot reach that network", true},
        {"the proxy cannot reach that host", true},
        {"connection refused, says the proxy", true},
        {"no answer, says the proxy", true},
        {"the proxy does not do that", false},
        {"the proxy does not know that kind of address", true},
    };
    if (code == 7 && p->want == SP_PROXY_RELAY)
        sp_proxy_fail(p, "the proxy relays no UDP", false);
    else if (code > 0 && code < SP_COUNT(codes)) /* a relay has no target that could be wrong */
        sp_proxy_fail(p, codes[code].why,
                      codes[code].target_is_wrong && p->want == SP_PROXY_STREAM);
    else
        sp_proxy_fail(p, "the proxy refuses, for a reason that is not known", false);
}

static void heard_reply(struct sp_proxy *p)
{
    struct sp_cur c = sp_cur_of((struct sp_slice){p->in, p->in_len});
    (void)sp_cur_take(&c, 3);
    p->bound = take_address(&c);
    p->state = SP_PROXY_DONE;
}

/* How long the answer that is being gathered is, as far as can be told. */
static size_t need(const struct sp_proxy *p)
{
    if (p->step != REPLY)
        return 2;
    if (p->in_len < 5)
        return 5;
    switch (p->in[3]) {
    case ATYP_V4:
        return 4 + 4 + 2;
    case ATYP_V6:
        return 4 + 16 + 2;
    default:
        return 4 + 1 + (size_t)p->in[4] + 2;
    }
}

/* Some proxies end a refusal after its code: so it is read as soon as it is there. */
static bool is_refusal(struct sp_proxy *p)
{
    bool name = false;

    if (p->step != REPLY)
        return false;
    if (p->in_len >= 1 && p->in[0] != VERSION)
        sp_proxy_fail(p, "the proxy does not speak SOCKS5", false);
    else if (p->in_len >= 2 && p->in[1] != 0)
        heard_refusal(p, p->in[1]);
    else if (p->in_len >= 4)
        name = p->in[3] == ATYP_NAME;
    if (p->in_len >= 4 && p->state == SP_PROXY_TALKING && !name && p->in[3] != ATYP_V4 &&
        p->in[3] != ATYP_V6)
        sp_proxy_fail(p, "the proxy's answer has an address of no known kind", false);
    return p->state == SP_PROXY_FAILED;
}

static size_t hear_socks(struct sp_proxy *p, struct sp_slice bytes)
{
    size_t at = 0;
    /* What comes before we have asked is no answer; it cannot be told apart, and
     * does not matter: each answer is taken in its turn. */
    while (at < bytes.len && p->state == SP_PROXY_TALKING) {
        p->in[p->in_len++] = bytes.ptr[at++];
        if (is_refusal(p) || p->in_len < need(p))
            continue;
        if (p->step == METHOD)
            heard_method(p);
        else if (p->step == LOGIN)
            heard_login(p);
        else
            heard_reply(p);
        p->in_len = 0;
    }
    return at;
}

/* ---- the door ---- */

void sp_proxy_queue(struct sp_proxy *p, const struct sp_out *o)
{
    if (sp_out_err(o) != SP_OK) { /* its parts are bounded, and fit */
        sp_proxy_fail(p, "the request to the proxy is too long", true);
        return;
    }
    p->out_len = (uint16_t)o->len;
    p->out_at = 0;
}

void sp_proxy_begin(struct sp_proxy *p, const struct sp_proxy_url *url, enum sp_proxy_want want,
                    const struct sp_proxy_target *target)
{
    memset(p, 0, offsetof(struct sp_proxy, in));
    p->url = url;
    p->want = want;
    if (target)
        p->target = *target;
    if (want == SP_PROXY_STREAM && !sp_proxy_can_tell(&p->target))
        sp_proxy_fail(p, "the proxy cannot be told whom to reach", true);
    else if (url->kind == SP_PROXY_SOCKS5)
        say_methods(p);
    else if (want == SP_PROXY_STREAM)
        sp_proxy_say_connect(p);
    else
        sp_proxy_fail(p, "an HTTP proxy relays no UDP", false);
}

struct sp_slice sp_proxy_say(const struct sp_proxy *p)
{
    return (struct sp_slice){p->out + p->out_at, (size_t)(p->out_len - p->out_at)};
}

void sp_proxy_said(struct sp_proxy *p, size_t len)
{
    p->out_at = (uint16_t)(p->out_at + len);
}

size_t sp_proxy_hear(struct sp_proxy *p, struct sp_slice bytes)
{
    if (p->state != SP_PROXY_TALKING)
        return 0;
    return p->url->kind == SP_PROXY_SOCKS5 ? hear_socks(p, bytes) : sp_proxy_hear_connect(p, bytes);
}

void sp_proxy_closed(struct sp_proxy *p)
{
    if (p->state == SP_PROXY_TALKING)
        sp_proxy_fail(p, "the proxy closed the connection", false);
}

/* ---- datagrams ---- */

size_t sp_proxy_wrap(const struct sp_proxy_target *target, uint8_t ret_head[SP_PROXY_WRAP_MAX])
{
    struct sp_out o = sp_out_of(ret_head, SP_PROXY_WRAP_MAX);
    if (!sp_proxy_can_tell(target))
        return 0;
    sp_out_u16(&o, 0); /* reserved */
    sp_out_u8(&o, 0);  /* not a fragment */
    put_target(&o, target);
    return o.len;
}

enum sp_err sp_proxy_unwrap(struct sp_slice packet, struct sp_addr *ret_from,
                            struct sp_slice *ret_payload)
{
    struct sp_cur c = sp_cur_of(packet);
    (void)sp_cur_u16(&c); /* reserved; some fill it */
    uint8_t fragment = sp_cur_u8(&c);
    struct sp_addr from = take_address(&c);
    if (c.err != SP_OK || fragment != 0)
        return SP_EDATA;
    *ret_from = from;
    *ret_payload = (struct sp_slice){c.pos, sp_cur_left(&c)};
    return SP_OK;
}
