#include "core/base/addr.h"

#include <string.h>

#include "core/base/cur.h"
#include "core/base/hex.h"

static const uint8_t V4_MAPPED[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

struct sp_addr sp_addr_v4(const uint8_t ip[4], uint16_t port)
{
    struct sp_addr a = {.port = port, .family = SP_V4};
    memcpy(a.ip, ip, 4);
    return a;
}

struct sp_addr sp_addr_v6(const uint8_t ip[16], uint16_t port)
{
    if (memcmp(ip, V4_MAPPED, sizeof(V4_MAPPED)) == 0)
        return sp_addr_v4(ip + 12, port);
    struct sp_addr a = {.port = port, .family = SP_V6};
    memcpy(a.ip, ip, 16);
    return a;
}

bool sp_addr_same_ip(const struct sp_addr *a, const struct sp_addr *b)
{
    return a->family == b->family && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

bool sp_addr_eq(const struct sp_addr *a, const struct sp_addr *b)
{
    return a->port == b->port && sp_addr_same_ip(a, b);
}

uint64_t sp_addr_hash(const struct sp_hash_key *key, const struct sp_addr *a)
{
    uint8_t bytes[19];
    memcpy(bytes, a->ip, 16);
    bytes[16] = (uint8_t)(a->port >> 8);
    bytes[17] = (uint8_t)a->port;
    bytes[18] = a->family;
    return sp_hash_bytes(key, bytes, sizeof(bytes));
}

static bool in_net(const uint8_t *ip, uint32_t net, unsigned bits)
{
    return ((sp_be32(ip) ^ net) >> (32 - bits)) == 0;
}

static enum sp_scope scope_v4(const uint8_t *ip)
{
    if (ip[0] == 127)
        return SP_SCOPE_LOOPBACK;
    if (in_net(ip, 0xa9fe0000, 16))
        return SP_SCOPE_LINK;
    if (ip[0] == 10 || in_net(ip, 0xac100000, 12) || in_net(ip, 0xc0a80000, 16) ||
        in_net(ip, 0x64400000, 10))
        return SP_SCOPE_PRIVATE;
    if (ip[0] == 0 || ip[0] >= 224 || in_net(ip, 0xc0000200, 24) || in_net(ip, 0xc6336400, 24) ||
        in_net(ip, 0xcb007100, 24))
        return SP_SCOPE_NONE;
    return SP_SCOPE_GLOBAL;
}

static const uint8_t DISCARD[8] = {0x01};                             /* 100::/64, RFC 6666 */
static const uint8_t NAT64[12] = {0x00, 0x64, 0xff, 0x9b};            /* 64:ff9b::/96, RFC 6052 */
static const uint8_t NAT64_LOCAL[6] = {0x00, 0x64, 0xff, 0x9b, 0, 1}; /* RFC 8215 */

/* An IPv4 address inside is where a translator or relay would send it: it may
 * not be used to get round the rules for that one. */
static enum sp_scope scope_inside(const uint8_t *ip)
{
    static const uint8_t zeros[12];
    if (memcmp(ip, zeros, 12) == 0 || memcmp(ip, NAT64, sizeof(NAT64)) == 0)
        return scope_v4(ip + 12);       /* ::1.2.3.4 is deprecated, and still routed by some */
    if (ip[0] == 0x20 && ip[1] == 0x02) /* 6to4, RFC 3056 */
        return scope_v4(ip + 2);
    if (sp_be32(ip) == 0x20010000) { /* Teredo, RFC 4380: the client's, inverted */
        const uint8_t v4[4] = {ip[12] ^ 0xff, ip[13] ^ 0xff, ip[14] ^ 0xff, ip[15] ^ 0xff};
        return scope_v4(v4);
    }
    return SP_SCOPE_GLOBAL;
}

static enum sp_scope scope_v6(const uint8_t *ip)
{
    static const uint8_t zeros[15];
    if (memcmp(ip, zeros, 15) == 0)
        return ip[15] == 1 ? SP_SCOPE_LOOPBACK : SP_SCOPE_NONE;
    if (ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80)
        return SP_SCOPE_LINK;
    if ((ip[0] & 0xfe) == 0xfc)
        return SP_SCOPE_PRIVATE;
    if (ip[0] == 0xff || (sp_be32(ip) == 0x20010db8) || memcmp(ip, DISCARD, sizeof(DISCARD)) == 0)
        return SP_SCOPE_NONE;
    if (memcmp(ip, NAT64_LOCAL, sizeof(NAT64_LOCAL)) == 0)
        return SP_SCOPE_PRIVATE;
    return scope_inside(ip);
}

enum sp_scope sp_addr_scope(const struct sp_addr *a)
{
    switch (a->family) {
    case SP_V4:
        return scope_v4(a->ip);
    case SP_V6:
        return scope_v6(a->ip);
    default:
        return SP_SCOPE_NONE;
    }
}

/* Digits up to max, no sign, no superfluous leading zero; false leaves *at. */
static bool read_dec(struct sp_slice s, size_t *at, uint32_t max, uint32_t *ret)
{
    size_t i = *at;
    uint32_t v = 0;
    for (; i < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '9'; i++) {
        v = v * 10 + (uint32_t)(s.ptr[i] - '0');
        if (v > max)
            return false;
    }
    if (i == *at || (s.ptr[*at] == '0' && i - *at > 1))
        return false;
    *at = i;
    *ret = v;
    return true;
}

static bool read_v4(struct sp_slice s, size_t *at, uint8_t ip[4])
{
    for (int i = 0; i < 4; i++) {
        uint32_t v;
        if (i > 0 && (*at >= s.len || s.ptr[(*at)++] != '.'))
            return false;
        if (!read_dec(s, at, 255, &v))
            return false;
        ip[i] = (uint8_t)v;
    }
    return true;
}

static bool read_group(struct sp_slice s, size_t *at, uint16_t *ret)
{
    size_t i = *at;
    uint32_t v = 0;
    for (; i < s.len && i - *at < 4 && sp_hex_digit(s.ptr[i]) >= 0; i++)
        v = v << 4 | (uint32_t)sp_hex_digit(s.ptr[i]);
    if (i == *at)
        return false;
    *at = i;
    *ret = (uint16_t)v;
    return true;
}

/* RFC 4291 2.2: groups, one "::", a dotted quad at the end. */
static bool read_v6(struct sp_slice s, uint8_t ip[16])
{
    uint16_t groups[8] = {0};
    size_t at = 0, count = 0, gap = 9;

    if (s.len >= 2 && s.ptr[0] == ':' && s.ptr[1] == ':') {
        gap = 0;
        at = 2;
    }
    while (at < s.len) {
        uint8_t quad[4];
        size_t dot = at;
        if (count <= 6 && read_v4(s, &dot, quad) && dot == s.len) {
            groups[count++] = sp_be16(quad);
            groups[count++] = sp_be16(quad + 2);
            at = dot;
            break;
        }
        if (count == 8 || !read_group(s, &at, &groups[count++]))
            return false;
        if (at == s.len)
            break;
        if (s.ptr[at++] != ':' || at == s.len)
            return false;
        if (s.ptr[at] == ':') {
            if (gap <= 8)
                return false;
            gap = count;
            at++;
        }
    }
    if (gap > 8 ? count != 8 : count > 7)
        return false;
    memset(ip, 0, 16);
    for (size_t i = 0; i < count; i++) {
        size_t to = i < gap ? i : 8 - count + i;
        ip[2 * to] = (uint8_t)(groups[i] >> 8);
        ip[2 * to + 1] = (uint8_t)groups[i];
    }
    return true;
}

enum sp_err sp_addr_parse(struct sp_slice text, bool need_port, struct sp_addr *ret_addr)
{
    struct sp_addr a;
    size_t at = 0;
    uint32_t port = 0;
    uint8_t ip[16];

    if (text.len > 0 && text.ptr[0] == '[') {
        const uint8_t *close = memchr(text.ptr, ']', text.len);
        if (!close || !read_v6((struct sp_slice){text.ptr + 1, (size_t)(close - text.ptr) - 1}, ip))
            return SP_EDATA;
        a = sp_addr_v6(ip, 0);
        at = (size_t)(close - text.ptr) + 1;
    } else if (read_v4(text, &at, ip)) {
        a = sp_addr_v4(ip, 0);
    } else if (!need_port && read_v6(text, ip)) {
        a = sp_addr_v6(ip, 0);
        at = text.len;
    } else {
        return SP_EDATA;
    }
    if (need_port && (at >= text.len || text.ptr[at++] != ':' ||
                      !read_dec(text, &at, UINT16_MAX, &port) || port == 0))
        return SP_EDATA;
    if (at != text.len)
        return SP_EDATA;
    a.port = (uint16_t)port;
    *ret_addr = a;
    return SP_OK;
}

static char *put_dec(char *to, uint32_t v)
{
    char digits[10];
    int n = 0;
    do
        digits[n++] = (char)('0' + v % 10);
    while ((v /= 10) != 0);
    while (n)
        *to++ = digits[--n];
    return to;
}

static char *put_hex(char *to, uint16_t v)
{
    bool seen = false;
    for (int shift = 12; shift >= 0; shift -= 4) {
        unsigned d = (unsigned)(v >> shift) & 15;
        seen = seen || d || shift == 0;
        if (seen)
            *to++ = "0123456789abcdef"[d];
    }
    return to;
}

/* RFC 5952: the longest run of two or more zero groups becomes "::". */
static char *put_v6(char *to, const uint8_t *ip)
{
    int best = -1, best_len = 1;
    for (int i = 0; i < 8; i++) {
        int n = 0;
        while (i + n < 8 && sp_be16(ip + 2 * (i + n)) == 0)
            n++;
        if (n > best_len) {
            best = i;
            best_len = n;
        }
    }
    for (int i = 0; i < 8; i++) {
        if (i == best) {
            *to++ = ':';
            *to++ = ':';
            i += best_len - 1;
            continue;
        }
        if (i > 0 && i != best + best_len)
            *to++ = ':';
        else if (i > 0 && best < 0)
            *to++ = ':';
        to = put_hex(to, sp_be16(ip + 2 * i));
    }
    return to;
}

const char *sp_addr_text(const struct sp_addr *a, char buf[SP_ADDR_TEXT_LEN])
{
    char *to = buf;
    if (a->family == SP_V4) {
        for (int i = 0; i < 4; i++) {
            if (i)
                *to++ = '.';
            to = put_dec(to, a->ip[i]);
        }
    } else if (a->family == SP_V6) {
        if (a->port)
            *to++ = '[';
        to = put_v6(to, a->ip);
        if (a->port)
            *to++ = ']';
    } else {
        *to++ = '-';
    }
    if (a->port && a->family != SP_FAMILY_NONE) {
        *to++ = ':';
        to = put_dec(to, a->port);
    }
    *to = '\0';
    return buf;
}

size_t sp_addr_compact(const struct sp_addr *a, uint8_t buf[SP_COMPACT6_LEN])
{
    size_t n = sp_addr_ip_len(a);
    memcpy(buf, a->ip, n);
    buf[n] = (uint8_t)(a->port >> 8);
    buf[n + 1] = (uint8_t)a->port;
    return n + 2;
}

struct sp_addr sp_addr_of_compact(const uint8_t *bytes, enum sp_family family)
{
    return family == SP_V4 ? sp_addr_v4(bytes, sp_be16(bytes + 4))
                           : sp_addr_v6(bytes, sp_be16(bytes + 16));
}
