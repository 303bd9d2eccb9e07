/* Where a proxy is, as the user writes it. */
#include <string.h>

#include "core/base/hex.h"
#include "core/proxy/proxy.h"

enum { SOCKS_PORT = 1080, HTTP_PORT = 8080 };

static struct sp_slice from(struct sp_slice s, size_t at)
{
    return (struct sp_slice){.ptr = s.len ? s.ptr + at : s.ptr, .len = s.len - at};
}

static size_t find(struct sp_slice s, uint8_t c)
{
    const uint8_t *at = s.len ? memchr(s.ptr, c, s.len) : NULL;
    return at ? (size_t)(at - s.ptr) : s.len;
}

static bool take_scheme(struct sp_slice *text, struct sp_proxy_url *u)
{
    static const struct {
        char prefix[12];
        enum sp_proxy_kind kind;
    } schemes[] = {{"socks5://", SP_PROXY_SOCKS5},
                   {"socks5h://", SP_PROXY_SOCKS5},
                   {"http://", SP_PROXY_HTTP}};
    for (size_t i = 0; i < SP_COUNT(schemes); i++) {
        size_t n = strlen(schemes[i].prefix);
        if (text->len < n || memcmp(text->ptr, schemes[i].prefix, n) != 0)
            continue;
        *text = from(*text, n);
        u->kind = schemes[i].kind;
        u->port = u->kind == SP_PROXY_HTTP ? HTTP_PORT : SOCKS_PORT;
        return true;
    }
    return false;
}

/* %XX undone; no NUL, since C strings go on to others. */
static bool decode(struct sp_slice text, char out[SP_PROXY_NAME_MAX + 1])
{
    size_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        int c = text.ptr[i];
        if (c == '%') {
            int hi = i + 2 < text.len ? sp_hex_digit(text.ptr[i + 1]) : -1;
            int lo = i + 2 < text.len ? sp_hex_digit(text.ptr[i + 2]) : -1;
            if (hi < 0 || lo < 0)
                return false;
            c = hi << 4 | lo;
            i += 2;
        }
        if (c == 0 || n == SP_PROXY_NAME_MAX)
            return false;
        out[n++] = (char)c;
    }
    out[n] = '\0';
    return true;
}

static bool take_user(struct sp_slice *text, struct sp_proxy_url *u)
{
    size_t at = text->len;
    for (size_t i = 0; i < text->len; i++) /* the last one: passwords may have some */
        at = text->ptr[i] == '@' ? i : at;
    if (at == text->len)
        return true;
    struct sp_slice both = {text->ptr, at};
    size_t colon = find(both, ':');
    u->has_user = true;
    *text = from(*text, at + 1);
    /* RFC 1929: a name is at least one byte; RFC 7617: and has no colon. */
    return decode((struct sp_slice){both.ptr, colon}, u->user) && u->user[0] &&
           !memchr(u->user, ':', strlen(u->user)) &&
           (colon == both.len || decode(from(both, colon + 1), u->password));
}

static bool is_name(struct sp_slice s)
{
    if (s.len == 0 || s.len > 253)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.ptr[i], low = c | 32;
        if (!(c >= '0' && c <= '9') && !(low >= 'a' && low <= 'z') && c != '-' && c != '.' &&
            c != '_')
            return false;
    }
    return s.ptr[0] != '.' && s.ptr[0] != '-';
}

static bool take_host(struct sp_slice *text, struct sp_proxy_url *u)
{
    struct sp_slice host = *text;
    struct sp_addr a;

    if (text->len && text->ptr[0] == '[') {
        size_t end = find(*text, ']');
        if (end == text->len)
            return false;
        host = (struct sp_slice){text->ptr + 1, end - 1};
        *text = from(*text, end + 1);
        if (sp_addr_parse(host, false, &a) != SP_OK || find(host, ':') == host.len)
            return false;
    } else {
        host.len = find(*text, ':');
        *text = from(*text, host.len);
        if (!is_name(host))
            return false;
    }
    memcpy(u->host, host.ptr, host.len);
    u->host[host.len] = '\0';
    return true;
}

static bool take_port(struct sp_slice text, struct sp_proxy_url *u)
{
    uint32_t v = 0;
    if (text.len == 0)
        return true;
    if (text.ptr[0] != ':' || text.len < 2 || text.len > 6)
        return false;
    for (size_t i = 1; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        v = v * 10 + (uint32_t)(text.ptr[i] - '0');
    }
    u->port = (uint16_t)v;
    return v > 0 && v <= UINT16_MAX;
}

enum sp_err sp_proxy_parse(struct sp_slice text, struct sp_proxy_url *ret_url, const char **ret_why)
{
    struct sp_proxy_url u = {0};

    if (!take_scheme(&text, &u)) {
        *ret_why = "it begins with none of socks5:// and http://";
        return SP_EDATA;
    }
    if (text.len && text.ptr[text.len - 1] == '/')
        text.len--;
    *ret_why = "its user or password is malformed, or longer than 255 bytes";
    if (!take_user(&text, &u))
        return SP_EDATA;
    *ret_why = "it has no valid host";
    if (!take_host(&text, &u))
        return SP_EDATA;
    *ret_why = "it has no valid port";
    if (!take_port(text, &u))
        return SP_EDATA;
    *ret_url = u;
    return SP_OK;
}
