#include "core/tracker/url.h"

#include "core/base/addr.h"

static bool is_alnum(uint8_t c)
{
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
}

static size_t find(struct sp_slice s, uint8_t c)
{
    const uint8_t *at = s.len ? memchr(s.ptr, c, s.len) : NULL;
    return at ? (size_t)(at - s.ptr) : s.len;
}

static struct sp_slice from(struct sp_slice s, size_t at)
{
    return (struct sp_slice){.ptr = s.len ? s.ptr + at : s.ptr, .len = s.len - at};
}

static struct sp_slice upto(struct sp_slice s, size_t len)
{
    return (struct sp_slice){.ptr = s.ptr, .len = len};
}

static bool is_word(struct sp_slice s, const char *word)
{
    if (s.len != strlen(word))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.ptr[i] >= 'A' && s.ptr[i] <= 'Z' ? s.ptr[i] | 32 : s.ptr[i];
        if (c != (uint8_t)word[i])
            return false;
    }
    return true;
}

struct sp_slice sp_url_trim(struct sp_slice text)
{
    while (text.len > 0 && text.ptr[text.len - 1] <= ' ')
        text.len--;
    while (text.len > 0 && text.ptr[0] <= ' ')
        text = from(text, 1);
    return text;
}

static bool scheme_of(struct sp_slice *rest, enum sp_url_scheme *ret)
{
    static const struct {
        char name[6];
        enum sp_url_scheme scheme;
    } known[] = {{"http", SP_URL_HTTP}, {"https", SP_URL_HTTPS}, {"udp", SP_URL_UDP}};
    size_t colon = find(*rest, ':');

    if (colon == 0 || rest->len - colon < 3 || rest->ptr[colon + 1] != '/' ||
        rest->ptr[colon + 2] != '/')
        return false;
    for (size_t i = 0; i < colon; i++) {
        if (!is_alnum(rest->ptr[i]) && rest->ptr[i] != '+' && rest->ptr[i] != '-')
            return false;
    }
    *ret = SP_URL_OTHER;
    for (size_t i = 0; i < SP_COUNT(known); i++) {
        if (is_word(upto(*rest, colon), known[i].name))
            *ret = known[i].scheme;
    }
    *rest = from(*rest, colon + 3);
    return true;
}

static bool host_is_fine(struct sp_slice host, bool bracketed)
{
    struct sp_addr a;
    if (bracketed)
        return sp_addr_parse(host, false, &a) == SP_OK && find(host, ':') < host.len;
    for (size_t i = 0; i < host.len; i++) {
        uint8_t c = host.ptr[i];
        if (!is_alnum(c) && c != '-' && c != '.' && c != '_')
            return false;
    }
    return host.len > 0 && host.len <= 253 && host.ptr[0] != '.';
}

/* Empty: the scheme's own. */
static bool port_of(struct sp_slice text, enum sp_url_scheme scheme, uint16_t *ret)
{
    uint32_t v = 0;
    if (text.len == 0) {
        *ret = scheme == SP_URL_HTTP ? 80 : scheme == SP_URL_HTTPS ? 443 : 0;
        return scheme != SP_URL_UDP;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        v = v * 10 + (uint32_t)(text.ptr[i] - '0');
        if (v > UINT16_MAX)
            return false;
    }
    *ret = (uint16_t)v;
    return v != 0;
}

static size_t authority_len(struct sp_slice s)
{
    size_t len = find(s, '/');
    for (const char *end = "?#"; *end; end++) {
        size_t at = find(s, (uint8_t)*end);
        len = at < len ? at : len;
    }
    return len;
}

enum sp_err sp_url_parse(struct sp_slice text, struct sp_url *ret_url, const char **ret_why)
{
    struct sp_url u = {0};
    struct sp_slice rest = text, auth, host, port;

    *ret_why = "the address has no scheme";
    if (!scheme_of(&rest, &u.scheme))
        return SP_EDATA;
    *ret_why = "the address has a control character in it";
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < ' ' || text.ptr[i] == 127)
            return SP_EDATA;
    }
    auth = upto(rest, authority_len(rest));
    u.target = from(rest, auth.len);
    u.target.len = find(u.target, '#');
    for (size_t at; (at = find(auth, '@')) < auth.len;)
        auth = from(auth, at + 1);

    bool bracketed = auth.len > 0 && auth.ptr[0] == '[';
    size_t end = bracketed ? find(auth, ']') : find(auth, ':');
    host = bracketed && end < auth.len ? upto(from(auth, 1), end - 1) : upto(auth, end);
    port = from(auth, bracketed && end < auth.len ? end + 1 : end);
    *ret_why = "the address has no valid host";
    if (!host_is_fine(host, bracketed) || (port.len > 0 && port.ptr[0] != ':'))
        return SP_EDATA;
    *ret_why = "the address has no valid port";
    if (!port_of(port.len ? from(port, 1) : port, u.scheme, &u.port))
        return SP_EDATA;
    u.host = host;
    *ret_url = u;
    return SP_OK;
}

static void put_percent(struct sp_out *o, uint8_t c)
{
    sp_out_u8(o, '%');
    sp_out_u8(o, (uint8_t) "0123456789ABCDEF"[c >> 4]);
    sp_out_u8(o, (uint8_t) "0123456789ABCDEF"[c & 15]);
}

void sp_url_encode(struct sp_out *o, struct sp_slice bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        uint8_t c = bytes.ptr[i];
        if (is_alnum(c) || c == '-' || c == '.' || c == '_' || c == '~')
            sp_out_u8(o, c);
        else
            put_percent(o, c);
    }
}

void sp_url_clean(struct sp_out *o, struct sp_slice text)
{
    for (size_t i = 0; i < text.len && text.ptr[i] != '#'; i++) {
        uint8_t c = text.ptr[i];
        if (c > ' ' && c < 127 && c != '"' && c != '<' && c != '>' && c != '\\' && c != '^' &&
            c != '`' && c != '{' && c != '|' && c != '}')
            sp_out_u8(o, c);
        else
            put_percent(o, c);
    }
}
