#include "core/ipfilter/ipfilter.h"

#include <string.h>

#include "core/base/out.h"
#include "core/ipfilter/set.h"

enum { LEVEL_BLOCKED = 127 }; /* eMule blocks up to it */

struct sp_ipfilter {
    const struct sp_mem *mem;
    struct sp_ipset v4, v6;
};

struct range {
    struct sp_addr first, last;
};

enum sp_err sp_ipfilter_new(const struct sp_mem *mem, struct sp_ipfilter **ret_filter)
{
    struct sp_ipfilter *f = SP_NEW(mem, struct sp_ipfilter);
    if (!f)
        return SP_ENOMEM;
    f->mem = mem;
    f->v4.key_len = 4;
    f->v6.key_len = 16;
    *ret_filter = f;
    return SP_OK;
}

void sp_ipfilter_free(struct sp_ipfilter *f)
{
    if (!f)
        return;
    sp_mem_free(f->mem, f->v4.ranges);
    sp_mem_free(f->mem, f->v6.ranges);
    sp_mem_free(f->mem, f);
}

/* ---- a line ---- */

static struct sp_slice trim(struct sp_slice s)
{
    while (s.len > 0 && s.ptr[s.len - 1] <= ' ')
        s.len--;
    while (s.len > 0 && s.ptr[0] <= ' ') {
        s.ptr++;
        s.len--;
    }
    return s;
}

static struct sp_slice part(struct sp_slice s, size_t from, size_t to)
{
    return trim((struct sp_slice){s.ptr + from, to - from});
}

static size_t find(struct sp_slice s, uint8_t c)
{
    const uint8_t *at = s.len ? memchr(s.ptr, c, s.len) : NULL;
    return at ? (size_t)(at - s.ptr) : s.len;
}

/* len: there is none */
static size_t find_last(struct sp_slice s, uint8_t c)
{
    for (size_t i = s.len; i > 0; i--) {
        if (s.ptr[i - 1] == c)
            return i - 1;
    }
    return s.len;
}

/* Up to three digits; leading zeros are fine, as .dat files have them. */
static bool read_number(struct sp_slice s, size_t *at, uint32_t max, uint32_t *ret)
{
    uint32_t v = 0;
    size_t from = *at;
    while (*at < s.len && *at - from < 3 && s.ptr[*at] >= '0' && s.ptr[*at] <= '9')
        v = v * 10 + (uint32_t)(s.ptr[(*at)++] - '0');
    *ret = v;
    return *at > from && v <= max;
}

static bool read_all(struct sp_slice s, uint32_t max, uint32_t *ret)
{
    size_t at = 0;
    return read_number(s, &at, max, ret) && at == s.len;
}

static bool read_v4(struct sp_slice s, struct sp_addr *ret)
{
    uint8_t ip[4];
    size_t at = 0;
    for (int i = 0; i < 4; i++) {
        uint32_t v;
        if ((i > 0 && (at >= s.len || s.ptr[at++] != '.')) || !read_number(s, &at, 255, &v))
            return false;
        ip[i] = (uint8_t)v;
    }
    *ret = sp_addr_v4(ip, 0);
    return at == s.len;
}

static bool read_addr(struct sp_slice s, struct sp_addr *ret)
{
    return read_v4(s, ret) ||
           (find(s, ':') < s.len && sp_addr_parse(s, false, ret) == SP_OK && ret->port == 0);
}

static bool is_range(const struct range *r)
{
    return r->first.family == r->last.family &&
           memcmp(r->first.ip, r->last.ip, sizeof(r->first.ip)) <= 0;
}

/* "1.2.3.4-1.2.3.9", blanks around the dash. */
static bool read_pair(struct sp_slice s, struct range *r)
{
    size_t dash = find(s, '-');
    return dash < s.len && read_addr(part(s, 0, dash), &r->first) &&
           read_addr(part(s, dash + 1, s.len), &r->last) && is_range(r);
}

/* "NAME:1.2.3.4-1.2.3.9"; the name may have anything, colons and dashes too. */
static bool read_p2p(struct sp_slice s, struct range *r)
{
    size_t dash = find_last(s, '-'), colon;
    if (dash == s.len || !read_addr(part(s, dash + 1, s.len), &r->last))
        return false;
    struct sp_slice left = part(s, 0, dash);
    if (r->last.family == SP_V4) {
        colon = find_last(left, ':');
        return colon < left.len && read_addr(part(left, colon + 1, left.len), &r->first) &&
               is_range(r);
    }
    /* The longest end of it that is an address. */
    for (colon = 0; colon < left.len; colon++) {
        if (left.ptr[colon] == ':' && left.len - colon <= SP_ADDR_TEXT_LEN &&
            read_addr(part(left, colon + 1, left.len), &r->first) && is_range(r))
            return true;
    }
    return false;
}

static bool read_net(struct sp_slice s, struct range *r)
{
    size_t slash = find(s, '/');
    uint32_t bits;
    if (slash == s.len || !read_addr(part(s, 0, slash), &r->first))
        return false;
    size_t len = sp_addr_ip_len(&r->first);
    if (!read_all(part(s, slash + 1, s.len), (uint32_t)len * 8, &bits))
        return false;
    r->last = r->first;
    for (size_t i = 0; i < len; i++) {
        uint32_t left = bits > i * 8 ? bits - (uint32_t)i * 8 : 0;
        unsigned host = left >= 8 ? 0 : 0xffu >> left;
        r->first.ip[i] = (uint8_t)(r->first.ip[i] & ~host);
        r->last.ip[i] = (uint8_t)(r->last.ip[i] | host);
    }
    return true;
}

/* "1.2.3.4 - 1.2.3.9 , 100 , NAME"; ret_blocked: its level says so. */
static bool read_dat(struct sp_slice s, struct range *r, bool *ret_blocked)
{
    size_t comma = find(s, ',');
    uint32_t level;
    if (comma == s.len || !read_pair(part(s, 0, comma), r))
        return false;
    struct sp_slice rest = part(s, comma + 1, s.len);
    if (!read_all(part(rest, 0, find(rest, ',')), 999, &level))
        return false;
    *ret_blocked = level <= LEVEL_BLOCKED;
    return true;
}

static bool is_comment(struct sp_slice s)
{
    return s.len == 0 || s.ptr[0] == '#' || s.ptr[0] == ';' ||
           (s.len > 1 && s.ptr[0] == '/' && s.ptr[1] == '/');
}

static bool read_line(struct sp_slice s, struct range *r, bool *ret_blocked)
{
    *ret_blocked = true;
    if (read_dat(s, r, ret_blocked) || read_pair(s, r) || read_net(s, r) || read_p2p(s, r))
        return true;
    *ret_blocked = true;
    if (!read_addr(s, &r->first))
        return false;
    r->last = r->first;
    return true;
}

/* ---- a text ---- */

static enum sp_err fail(struct sp_diag *diag, enum sp_err err, uint32_t line, size_t off,
                        const char *what)
{
    char text[sizeof(diag->text)];
    struct sp_out o = sp_out_of((uint8_t *)text, sizeof(text) - 1);
    sp_out_str(&o, "line ");
    sp_out_dec(&o, line);
    sp_out_str(&o, ": ");
    sp_out_str(&o, what);
    text[o.len] = '\0'; /* the parts are short */
    return sp_diag_set(diag, err, off, text);
}

static enum sp_err add(struct sp_ipfilter *f, const struct range *r)
{
    struct sp_ipset *s = r->first.family == SP_V4 ? &f->v4 : &f->v6;
    return sp_ipset_add(s, f->mem, r->first.ip, r->last.ip);
}

enum sp_err sp_ipfilter_read(struct sp_ipfilter *f, struct sp_slice text, struct sp_diag *diag)
{
    size_t at = 0;
    for (uint32_t number = 1; at < text.len; number++) {
        struct sp_slice rest = {text.ptr + at, text.len - at};
        size_t len = find(rest, '\n');
        struct sp_slice line = trim((struct sp_slice){rest.ptr, len});
        struct range r;
        bool blocked;

        if (!is_comment(line)) {
            if (!read_line(line, &r, &blocked))
                return fail(diag, SP_EDATA, number, at, "is no range of addresses");
            enum sp_err err = blocked ? add(f, &r) : SP_OK;
            if (err != SP_OK)
                return fail(diag, err, number, at,
                            err == SP_ELIMIT ? "too many ranges" : "out of memory");
        }
        at += len + 1;
    }
    return SP_OK;
}

enum sp_err sp_ipfilter_seal(struct sp_ipfilter *f)
{
    enum sp_err err = sp_ipset_sort(&f->v4, f->mem);
    return err == SP_OK ? sp_ipset_sort(&f->v6, f->mem) : err;
}

bool sp_ipfilter_blocks(const struct sp_ipfilter *f, const struct sp_addr *a)
{
    if (!f || (a->family != SP_V4 && a->family != SP_V6))
        return false;
    return sp_ipset_has(a->family == SP_V4 ? &f->v4 : &f->v6, a->ip);
}

uint32_t sp_ipfilter_count(const struct sp_ipfilter *f)
{
    return f->v4.count + f->v6.count;
}
