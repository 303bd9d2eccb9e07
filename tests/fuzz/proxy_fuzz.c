/* A proxy that says anything, a user that writes any URL, datagrams of anyone.
 *
 * The first byte chooses; the rest is heard twice, whole and cut, and must mean
 * the same. */
#include <stdlib.h>
#include <string.h>

#include "core/proxy/proxy.h"

static void require(bool claim)
{
    if (!claim)
        abort();
}

/* Hears all of it, at most step bytes at a time; gives how much was taken. */
static size_t listen_to(struct sp_proxy *p, struct sp_slice in, size_t step)
{
    size_t at = 0;
    while (at < in.len && p->state == SP_PROXY_TALKING) {
        struct sp_slice part = {in.ptr + at, in.len - at < step ? in.len - at : step};
        struct sp_slice say = sp_proxy_say(p);
        require(say.len <= sizeof(p->out));
        sp_proxy_said(p, say.len);
        size_t took = sp_proxy_hear(p, part);
        require(took <= part.len);
        require(took == part.len || p->state != SP_PROXY_TALKING);
        at += took;
    }
    return at;
}

static void talk(const struct sp_proxy_url *url, enum sp_proxy_want want,
                 const struct sp_proxy_target *target, struct sp_slice in, size_t step)
{
    static struct sp_proxy whole, cut;
    sp_proxy_begin(&whole, url, want, target);
    sp_proxy_begin(&cut, url, want, target);
    size_t a = listen_to(&whole, in, in.len ? in.len : 1), b = listen_to(&cut, in, step);
    require(a == b && whole.state == cut.state && whole.why == cut.why);
    require(whole.target_is_wrong == cut.target_is_wrong);
    require(sp_addr_eq(&whole.bound, &cut.bound));
    require((whole.state == SP_PROXY_FAILED) == (whole.why != NULL));
    require(url->kind != SP_PROXY_HTTP || a <= SP_PROXY_HEAD_MAX);
    /* What follows the end of the talk changes nothing. */
    if (whole.state == SP_PROXY_DONE) {
        sp_proxy_begin(&cut, url, want, target);
        require(listen_to(&cut, (struct sp_slice){in.ptr, a}, step) == a);
        require(cut.state == SP_PROXY_DONE);
        require(want == SP_PROXY_STREAM || url->kind == SP_PROXY_SOCKS5);
    }
    sp_proxy_closed(&whole);
    require(whole.state != SP_PROXY_TALKING);
}

static void datagram(struct sp_slice in)
{
    uint8_t head[SP_PROXY_WRAP_MAX];
    struct sp_proxy_target back = {0};
    struct sp_slice payload, again;
    struct sp_addr from;

    if (sp_proxy_unwrap(in, &back.addr, &payload) != SP_OK)
        return;
    require(payload.ptr + payload.len == in.ptr + in.len);
    if (back.addr.family == SP_FAMILY_NONE)
        return;
    size_t n = sp_proxy_wrap(&back, head);
    require(n == 6 + sp_addr_ip_len(&back.addr));
    require(sp_proxy_unwrap((struct sp_slice){head, n}, &from, &again) == SP_OK);
    require(sp_addr_eq(&from, &back.addr) && again.len == 0);
}

static void url(struct sp_slice in)
{
    static const struct sp_proxy_target target = {
        .addr = {.ip = {9, 9, 9, 9}, .port = 1, .family = SP_V4}};
    static struct sp_proxy p;
    struct sp_proxy_url u;
    const char *why = NULL;

    if (sp_proxy_parse(in, &u, &why) != SP_OK) {
        require(why != NULL);
        return;
    }
    require(u.kind != SP_PROXY_NONE && u.host[0] && u.port);
    require(strlen(u.host) < sizeof(u.host) && strlen(u.user) < sizeof(u.user));
    require(u.has_user == (u.user[0] != '\0'));
    sp_proxy_begin(&p, &u, SP_PROXY_STREAM, &target);
    require(p.state == SP_PROXY_TALKING && sp_proxy_say(&p).len > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const struct sp_proxy_url urls[] = {
        {.kind = SP_PROXY_SOCKS5, .port = 1},
        {.kind = SP_PROXY_SOCKS5, .port = 1, .has_user = true, .user = "u", .password = "p"},
        {.kind = SP_PROXY_HTTP, .port = 1},
        {.kind = SP_PROXY_HTTP, .port = 1, .has_user = true, .user = "u", .password = "p"},
    };
    struct sp_proxy_target target = {.addr = {.ip = {1, 2, 3, 4}, .port = 5, .family = SP_V4}};
    if (len == 0)
        return 0;
    struct sp_slice in = {data + 1, len - 1};
    if (data[0] & 1)
        target.host = "peer.example";
    url(in);
    datagram(in);
    talk(&urls[data[0] >> 1 & 3], data[0] & 8 ? SP_PROXY_RELAY : SP_PROXY_STREAM, &target, in,
         1 + (data[0] >> 4));
    return 0;
}
