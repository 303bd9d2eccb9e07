/* The message: a request line and headers, as HTTP has them. */
#include <string.h>

#include "core/base/hex.h"
#include "core/base/out.h"
#include "core/lsd/lsd.h"

static const char FIRST[] = "BT-SEARCH * HTTP/1.1";
/* BEP-0014: "multicast groups: A) 239.192.152.143:6771 (org-local) and B)
 * [ff15::efc0:988f]:6771 (site-local)" */
static const uint8_t GROUP4[4] = {239, 192, 152, 143};
static const uint8_t GROUP6[16] = {0xff, 0x15, 0, 0, 0,    0,    0,    0,
                                   0,    0,    0, 0, 0xef, 0xc0, 0x98, 0x8f};

struct sp_addr sp_lsd_group(enum sp_family family)
{
    return family == SP_V4 ? sp_addr_v4(GROUP4, SP_LSD_PORT) : sp_addr_v6(GROUP6, SP_LSD_PORT);
}

/* ---- reading ---- */

/* Up to the next line feed, without it and a carriage return before it. */
static bool next_line(struct sp_slice *in, struct sp_slice *ret_line)
{
    const uint8_t *end = in->len ? memchr(in->ptr, '\n', in->len) : NULL;
    if (!end)
        return false;
    size_t len = (size_t)(end - in->ptr);
    *ret_line = (struct sp_slice){in->ptr, len > 0 && end[-1] == '\r' ? len - 1 : len};
    *in = (struct sp_slice){end + 1, in->len - len - 1};
    return true;
}

static bool is_name(struct sp_slice s, const char *name)
{
    if (s.len != strlen(name))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.ptr[i];
        c = c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
        if (c != (uint8_t)name[i])
            return false;
    }
    return true;
}

static struct sp_slice trim(struct sp_slice s)
{
    while (s.len && (s.ptr[0] == ' ' || s.ptr[0] == '\t'))
        s = (struct sp_slice){s.ptr + 1, s.len - 1};
    while (s.len && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

static bool read_port(struct sp_slice s, uint16_t *ret)
{
    uint32_t v = 0;
    if (s.len == 0 || s.len > 5)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
        v = v * 10 + (uint32_t)(s.ptr[i] - '0');
    }
    *ret = (uint16_t)v;
    return v > 0 && v <= UINT16_MAX;
}

static bool read_hash(struct sp_slice s, uint8_t hash[SP_SHA1_LEN])
{
    return s.len == (size_t)2 * SP_SHA1_LEN && sp_hex_parse(s, hash, SP_SHA1_LEN);
}

/* False when a header that we know says nonsense. */
static bool read_header(struct sp_slice name, struct sp_slice value, struct sp_lsd_msg *m)
{
    uint8_t hash[SP_SHA1_LEN];

    if (is_name(name, "port"))
        return read_port(value, &m->port);
    /* BEP-0014: "An announce may contain multiple, consecutive Infohash headers" */
    if (is_name(name, "infohash")) {
        if (!read_hash(value, hash))
            return false;
        if (m->hash_count < SP_LSD_HEAR_MAX)
            memcpy(m->hashes[m->hash_count++], hash, sizeof(hash));
        return true;
    }
    if (is_name(name, "cookie") && value.len <= SP_LSD_COOKIE_MAX) {
        m->cookie_len = (uint8_t)value.len;
        if (value.len)
            memcpy(m->cookie, value.ptr, value.len);
    }
    /* BEP-0014: "any additional headers that not understood by a client should
     * be ignored." */
    return true;
}

enum sp_err sp_lsd_read(struct sp_slice bytes, struct sp_lsd_msg *ret_msg)
{
    struct sp_lsd_msg m = {0};
    struct sp_slice line;

    if (bytes.len > SP_LSD_HEAR_LEN_MAX || !next_line(&bytes, &line) ||
        line.len != sizeof(FIRST) - 1 || memcmp(line.ptr, FIRST, line.len) != 0)
        return SP_EPROTO;
    for (;;) {
        if (!next_line(&bytes, &line))
            return SP_EPROTO; /* cut off */
        if (line.len == 0)
            break;
        const uint8_t *colon = memchr(line.ptr, ':', line.len);
        if (!colon)
            return SP_EPROTO;
        struct sp_slice name = {line.ptr, (size_t)(colon - line.ptr)};
        struct sp_slice value = {colon + 1, line.len - name.len - 1};
        if (!read_header(name, trim(value), &m))
            return SP_EPROTO;
    }
    if (m.port == 0 || m.hash_count == 0)
        return SP_EPROTO;
    *ret_msg = m;
    return SP_OK;
}

/* ---- writing ---- */

static void put_hash(struct sp_out *o, const uint8_t hash[SP_SHA1_LEN])
{
    static const char digits[] = "0123456789abcdef";
    sp_out_str(o, "Infohash: ");
    for (size_t i = 0; i < SP_SHA1_LEN; i++) {
        sp_out_u8(o, (uint8_t)digits[hash[i] >> 4]);
        sp_out_u8(o, (uint8_t)digits[hash[i] & 15]);
    }
    sp_out_str(o, "\r\n");
}

enum sp_err sp_lsd_write(const struct sp_lsd_msg *msg, enum sp_family family, uint8_t *buf,
                         size_t cap, size_t *ret_len)
{
    char host[SP_ADDR_TEXT_LEN];
    struct sp_addr group = sp_lsd_group(family);
    struct sp_out o = sp_out_of(buf, cap);

    if (msg->hash_count == 0 || msg->hash_count > SP_LSD_HASHES_MAX)
        return SP_EINVAL;
    sp_out_str(&o, FIRST);
    sp_out_str(&o, "\r\nHost: ");
    sp_out_str(&o, sp_addr_text(&group, host));
    sp_out_str(&o, "\r\nPort: ");
    sp_out_dec(&o, msg->port);
    sp_out_str(&o, "\r\n");
    for (uint32_t i = 0; i < msg->hash_count; i++)
        put_hash(&o, msg->hashes[i]);
    if (msg->cookie_len) {
        sp_out_str(&o, "cookie: ");
        sp_out_bytes(&o, msg->cookie, msg->cookie_len);
        sp_out_str(&o, "\r\n");
    }
    sp_out_str(&o, "\r\n\r\n");
    if (sp_out_err(&o) != SP_OK)
        return SP_ELIMIT;
    *ret_len = o.len;
    return SP_OK;
}
