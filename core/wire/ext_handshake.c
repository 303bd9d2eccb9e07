#include "core/wire/ext_handshake.h"

#include <string.h>
#include <utf8proc.h>

#include "spate/bencode.h"

enum {
    TOK_MAX = 128,
    DEPTH_MAX = 8, /* known ones are two deep; unknown keys may hold more */
    NAME_CAP = 13, /* the longest name below and its NUL */
};

/* In the order in which bencode wants keys. */
static const struct {
    char name[NAME_CAP];
    uint8_t ext;
} names[] = {
    {"lt_donthave", SP_EXT_LT_DONTHAVE},
    {"upload_only", SP_EXT_UPLOAD_ONLY},
    {"ut_holepunch", SP_EXT_UT_HOLEPUNCH},
    {"ut_metadata", SP_EXT_UT_METADATA},
    {"ut_pex", SP_EXT_UT_PEX},
};

/* BEP-0010: "The client should ignore any extension names it doesn't
 * recognize." */
static void read_m(const struct sp_ben *doc, uint32_t m, struct sp_ext_handshake *hs)
{
    for (size_t i = 0; i < SP_COUNT(names); i++) {
        int64_t id;
        if (!sp_ben_int(doc, sp_ben_find(doc, m, names[i].name), 0, UINT8_MAX, &id))
            continue;
        hs->ids[names[i].ext] = (uint8_t)id;
        hs->in_m[names[i].ext] = true;
    }
}

static bool read_u32(const struct sp_ben *doc, const char *key, int64_t min, uint32_t *ret_v)
{
    int64_t v;
    if (!sp_ben_int(doc, sp_ben_find(doc, 0, key), min, UINT32_MAX, &v))
        return false;
    *ret_v = (uint32_t)v;
    return true;
}

/* BEP-0010: "This may be either an IPv4 (4 bytes) or an IPv6 (16 bytes)
 * address."  family SP_FAMILY_NONE: either. */
static void read_ip(const struct sp_ben *doc, const char *key, enum sp_family family,
                    struct sp_addr *ret_addr)
{
    struct sp_slice ip;
    if (!sp_ben_str(doc, sp_ben_find(doc, 0, key), &ip))
        return;
    if (ip.len == 4 && family != SP_V6)
        *ret_addr = sp_addr_v4(ip.ptr, 0);
    else if (ip.len == 16 && family != SP_V4)
        *ret_addr = sp_addr_v6(ip.ptr, 0);
}

/* May a name show it?  Not what moves a cursor, turns the direction of text or
 * is no character. */
static bool is_shown(utf8proc_int32_t cp)
{
    const uint32_t hidden = 1u << UTF8PROC_CATEGORY_CC | 1u << UTF8PROC_CATEGORY_CF |
                            1u << UTF8PROC_CATEGORY_CS | 1u << UTF8PROC_CATEGORY_CO |
                            1u << UTF8PROC_CATEGORY_CN | 1u << UTF8PROC_CATEGORY_ZL |
                            1u << UTF8PROC_CATEGORY_ZP;
    return !(hidden >> utf8proc_category(cp) & 1);
}

static void read_v(const struct sp_ben *doc, char v[SP_EXT_V_CAP])
{
    struct sp_slice text;
    size_t at = 0, len = 0;
    if (!sp_ben_str(doc, sp_ben_find(doc, 0, "v"), &text))
        return;
    while (at < text.len) {
        utf8proc_int32_t cp;
        size_t left = text.len - at;
        utf8proc_ssize_t n =
            utf8proc_iterate(text.ptr + at, left < 4 ? (utf8proc_ssize_t)left : 4, &cp);
        if (n <= 0) {
            at++;
            continue;
        }
        if (is_shown(cp)) {
            if (len + (size_t)n >= SP_EXT_V_CAP)
                break;
            memcpy(v + len, text.ptr + at, (size_t)n);
            len += (size_t)n;
        }
        at += (size_t)n;
    }
    v[len] = '\0';
}

enum sp_err sp_ext_handshake_read(struct sp_slice payload, struct sp_ext_handshake *ret_hs)
{
    struct sp_ben_tok toks[TOK_MAX];
    struct sp_ben_limits limits = {.depth_max = DEPTH_MAX, .tok_max = TOK_MAX};
    struct sp_ben doc;
    struct sp_ext_handshake hs = {0};
    int64_t v;

    if (sp_ben_read(payload, &limits, toks, &doc, NULL) != SP_OK ||
        !sp_ben_is(&doc, 0, SP_BEN_DICT))
        return SP_EPROTO;

    read_m(&doc, sp_ben_find(&doc, 0, "m"), &hs);
    hs.has_reqq = read_u32(&doc, "reqq", 0, &hs.reqq);
    hs.has_metadata_size = read_u32(&doc, "metadata_size", 1, &hs.metadata_size);
    /* BEP-0021: "Setting the value of this key to 1 indicates that this peer is
     * not interested in downloading anything." */
    hs.has_upload_only = sp_ben_int(&doc, sp_ben_find(&doc, 0, "upload_only"), 0, INT64_MAX, &v);
    hs.upload_only = hs.has_upload_only && v != 0;
    hs.prefers_encryption = sp_ben_int(&doc, sp_ben_find(&doc, 0, "e"), 0, INT64_MAX, &v) && v != 0;
    if (sp_ben_int(&doc, sp_ben_find(&doc, 0, "p"), 1, UINT16_MAX, &v))
        hs.port = (uint16_t)v;
    read_ip(&doc, "yourip", SP_FAMILY_NONE, &hs.yourip);
    read_ip(&doc, "ipv4", SP_V4, &hs.ipv4);
    read_ip(&doc, "ipv6", SP_V6, &hs.ipv6);
    read_v(&doc, hs.v);
    *ret_hs = hs;
    return SP_OK;
}

static void put_int(struct sp_ben_writer *w, const char *key, uint32_t v)
{
    sp_ben_put_key(w, key);
    sp_ben_put_int(w, v);
}

static void put_ip(struct sp_ben_writer *w, const char *key, const struct sp_addr *a)
{
    if (a->family == SP_FAMILY_NONE)
        return;
    sp_ben_put_key(w, key);
    sp_ben_put_str(w, (struct sp_slice){a->ip, sp_addr_ip_len(a)});
}

static void put_m(struct sp_ben_writer *w, const struct sp_ext_handshake *hs)
{
    sp_ben_put_key(w, "m");
    sp_ben_put_dict(w);
    for (size_t i = 0; i < SP_COUNT(names); i++)
        if (hs->in_m[names[i].ext])
            put_int(w, names[i].name, hs->ids[names[i].ext]);
    sp_ben_put_end(w);
}

enum sp_err sp_ext_handshake_write(const struct sp_ext_handshake *hs, uint8_t *buf, size_t cap,
                                   size_t *ret_len)
{
    struct sp_ben_writer w = sp_ben_writer_of(buf, cap);
    size_t len;

    sp_ben_put_dict(&w);
    put_ip(&w, "ipv4", &hs->ipv4);
    put_ip(&w, "ipv6", &hs->ipv6);
    put_m(&w, hs);
    if (hs->has_metadata_size)
        put_int(&w, "metadata_size", hs->metadata_size);
    if (hs->port)
        put_int(&w, "p", hs->port);
    if (hs->has_reqq)
        put_int(&w, "reqq", hs->reqq);
    if (hs->has_upload_only)
        put_int(&w, "upload_only", hs->upload_only);
    if (hs->v[0]) {
        sp_ben_put_key(&w, "v");
        sp_ben_put_text(&w, hs->v);
    }
    put_ip(&w, "yourip", &hs->yourip);
    sp_ben_put_end(&w);

    enum sp_err err = sp_ben_writer_end(&w, &len);
    if (err == SP_OK)
        *ret_len = len;
    return err;
}

void sp_ext_handshake_merge(const struct sp_ext_handshake *hs, uint8_t ids[SP_EXT_COUNT])
{
    for (size_t i = 0; i < SP_EXT_COUNT; i++)
        if (hs->in_m[i])
            ids[i] = hs->ids[i];
}
