#include "core/wire/ext_handshake.h"

/* Long enough for the longest name below. */
enum { NAME_CAP = 13 };

/* In the order of bencode's keys: "sorted as raw strings" (BEP-0003). */
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

enum sp_err sp_ext_handshake_read(struct sp_slice payload, struct sp_ext_handshake *ret_hs)
{
    (void)payload;
    *ret_hs = (struct sp_ext_handshake){0};
    return SP_OK;
}

static void put_str(struct sp_out *out, const void *bytes, size_t len)
{
    sp_out_dec(out, len);
    sp_out_u8(out, ':');
    sp_out_bytes(out, bytes, len);
}

static void put_key(struct sp_out *out, const char *key)
{
    put_str(out, key, strlen(key));
}

static void put_int(struct sp_out *out, const char *key, uint64_t v)
{
    put_key(out, key);
    sp_out_u8(out, 'i');
    sp_out_dec(out, v);
    sp_out_u8(out, 'e');
}

static void put_ip(struct sp_out *out, const char *key, const struct sp_addr *a)
{
    if (a->family == SP_FAMILY_NONE)
        return;
    put_key(out, key);
    put_str(out, a->ip, sp_addr_ip_len(a));
}

static void put_m(struct sp_out *out, const struct sp_ext_handshake *hs)
{
    put_key(out, "m");
    sp_out_u8(out, 'd');
    for (size_t i = 0; i < SP_COUNT(names); i++)
        if (hs->in_m[names[i].ext])
            put_int(out, names[i].name, hs->ids[names[i].ext]);
    sp_out_u8(out, 'e');
}

/* Keys in sorted order: ipv4 ipv6 m metadata_size p reqq upload_only v yourip. */
void sp_ext_handshake_write(const struct sp_ext_handshake *hs, struct sp_out *out)
{
    sp_out_u8(out, 'd');
    put_ip(out, "ipv4", &hs->ipv4);
    put_ip(out, "ipv6", &hs->ipv6);
    put_m(out, hs);
    if (hs->has_metadata_size)
        put_int(out, "metadata_size", hs->metadata_size);
    if (hs->port)
        put_int(out, "p", hs->port);
    if (hs->has_reqq)
        put_int(out, "reqq", hs->reqq);
    if (hs->has_upload_only)
        put_int(out, "upload_only", hs->upload_only);
    if (hs->v[0]) {
        put_key(out, "v");
        put_key(out, hs->v);
    }
    put_ip(out, "yourip", &hs->yourip);
    sp_out_u8(out, 'e');
}

void sp_ext_handshake_merge(const struct sp_ext_handshake *hs, uint8_t ids[SP_EXT_COUNT])
{
    for (size_t i = 0; i < SP_EXT_COUNT; i++)
        if (hs->in_m[i])
            ids[i] = hs->ids[i];
}
