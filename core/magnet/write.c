#include "core/base/hex.h"
#include "core/base/out.h"
#include "spate/magnet.h"

static bool is_plain(uint8_t c, const char *also)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c && memchr(also, c, strlen(also)));
}

/* RFC 3986: everything but the unreserved characters is encoded, in upper case. */
static void put_encoded(struct sp_out *o, const char *text, const char *also)
{
    for (; *text; text++) {
        uint8_t c = (uint8_t)*text;
        if (is_plain(c, also)) {
            sp_out_u8(o, c);
        } else {
            sp_out_u8(o, '%');
            sp_out_u8(o, (uint8_t) "0123456789ABCDEF"[c >> 4]);
            sp_out_u8(o, (uint8_t) "0123456789ABCDEF"[c & 15]);
        }
    }
}

static void put_param(struct sp_out *o, const char *key, const char *text)
{
    sp_out_str(o, key);
    put_encoded(o, text, "-._~");
}

static void put_texts(struct sp_out *o, const char *key, const char *const *list, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        put_param(o, key, list[i]);
}

static void put_hash(struct sp_out *o, bool first, const char *urn, const uint8_t *hash, size_t len)
{
    char hex[2 * SP_SHA256_LEN + 1];
    sp_out_str(o, first ? "magnet:?xt=" : "&xt=");
    sp_out_str(o, urn);
    sp_out_str(o, sp_hex(hash, len, hex));
}

static void put_hashes(struct sp_out *o, const struct sp_magnet *m)
{
    if (m->has_v1)
        put_hash(o, true, "urn:btih:", m->info_hash_v1, SP_SHA1_LEN);
    if (m->has_v2)
        put_hash(o, !m->has_v1, "urn:btmh:1220", m->info_hash_v2, SP_SHA256_LEN);
}

static void put_peers(struct sp_out *o, const struct sp_magnet *m)
{
    for (uint32_t i = 0; i < m->peer_count; i++) {
        bool v6 = memchr(m->peers[i].host, ':', strlen(m->peers[i].host)) != NULL;
        sp_out_str(o, v6 ? "&x.pe=[" : "&x.pe=");
        put_encoded(o, m->peers[i].host, "-._~:");
        sp_out_str(o, v6 ? "]:" : ":");
        sp_out_dec(o, m->peers[i].port);
    }
}

static void put_ranges(struct sp_out *o, const struct sp_magnet *m)
{
    for (uint32_t i = 0; i < m->range_count; i++) {
        sp_out_str(o, i ? "," : "&so=");
        sp_out_dec(o, m->ranges[i].first);
        if (m->ranges[i].last == m->ranges[i].first)
            continue;
        sp_out_u8(o, '-');
        sp_out_dec(o, m->ranges[i].last);
    }
}

static enum sp_err finish(struct sp_out *o, size_t *ret_len)
{
    sp_out_u8(o, '\0');
    *ret_len = o->len - 1;
    return sp_out_err(o);
}

enum sp_err sp_magnet_write(const struct sp_magnet *m, char *buf, size_t cap, size_t *ret_len)
{
    struct sp_out o = sp_out_of((uint8_t *)buf, cap);

    if (!m->has_v1 && !m->has_v2)
        return SP_EINVAL;
    put_hashes(&o, m);
    if (m->name)
        put_param(&o, "&dn=", m->name);
    if (m->length > 0) {
        sp_out_str(&o, "&xl=");
        sp_out_dec(&o, m->length);
    }
    for (uint32_t i = 0; i < m->tracker_count; i++)
        put_param(&o, "&tr=", m->trackers[i].url);
    put_texts(&o, "&ws=", m->web_seeds, m->web_seed_count);
    put_texts(&o, "&xs=", m->exact_sources, m->exact_source_count);
    put_texts(&o, "&as=", m->sources, m->source_count);
    put_peers(&o, m);
    put_ranges(&o, m);
    return finish(&o, ret_len);
}

enum sp_err sp_magnet_of_metainfo(const struct sp_metainfo *mi, char *buf, size_t cap,
                                  size_t *ret_len)
{
    struct sp_magnet m = {
        .has_v1 = mi->has_v1,
        .has_v2 = mi->has_v2,
        .name = mi->name,
        .length = mi->total_length,
        .trackers = mi->trackers,
        .tracker_count = mi->tracker_count,
    };
    struct sp_out o = sp_out_of((uint8_t *)buf, cap);

    memcpy(m.info_hash_v1, mi->info_hash_v1, sizeof(m.info_hash_v1));
    memcpy(m.info_hash_v2, mi->info_hash_v2, sizeof(m.info_hash_v2));
    put_hashes(&o, &m);
    put_param(&o, "&dn=", m.name);
    sp_out_str(&o, "&xl=");
    sp_out_dec(&o, m.length);
    for (uint32_t i = 0; i < m.tracker_count; i++)
        put_param(&o, "&tr=", m.trackers[i].url);
    for (uint32_t i = 0; i < mi->web_seed_count; i++)
        if (mi->web_seeds[i].kind == SP_WEB_SEED_URL) /* ws is BEP-0019's */
            put_param(&o, "&ws=", mi->web_seeds[i].url);
    return finish(&o, ret_len);
}
