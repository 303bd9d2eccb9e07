#include "core/dht/id.h"

#include <string.h>

#include "core/base/crc32c.h"

bool sp_dht_id_eq(const struct sp_dht_id *a, const struct sp_dht_id *b)
{
    return memcmp(a->b, b->b, SP_DHT_ID_LEN) == 0;
}

uint32_t sp_dht_id_common(const struct sp_dht_id *a, const struct sp_dht_id *b)
{
    uint32_t i = 0;
    while (i < SP_DHT_ID_LEN && a->b[i] == b->b[i])
        i++;
    if (i == SP_DHT_ID_LEN)
        return SP_DHT_ID_BITS;
    return i * 8 + (uint32_t)__builtin_clz((unsigned)(a->b[i] ^ b->b[i])) - 24;
}

int sp_dht_id_cmp(const struct sp_dht_id *a, const struct sp_dht_id *b,
                  const struct sp_dht_id *target)
{
    for (uint32_t i = 0; i < SP_DHT_ID_LEN; i++) {
        int x = a->b[i] ^ target->b[i], y = b->b[i] ^ target->b[i];
        if (x != y)
            return x - y;
    }
    return 0;
}

struct sp_dht_id sp_dht_id_random(struct sp_rng *rng)
{
    struct sp_dht_id id;
    sp_rng_bytes(rng, id.b, sizeof(id.b));
    return id;
}

struct sp_dht_id sp_dht_id_near(const struct sp_dht_id *base, uint32_t bits, struct sp_rng *rng)
{
    struct sp_dht_id id = sp_dht_id_random(rng);
    uint32_t byte = bits / 8, bit = bits % 8;
    uint8_t keep = (uint8_t)(0xff00 >> bit), flip = (uint8_t)(0x80 >> bit);

    memcpy(id.b, base->b, byte);
    id.b[byte] = (uint8_t)((base->b[byte] & keep) | ((base->b[byte] ^ 0xff) & flip) |
                           (id.b[byte] & ~(keep | flip)));
    return id;
}

/* ---- BEP-0042 ---- */

/* BEP-0042: "crc32c((ip & 0x030f3fff) | (r << 29))", and for IPv6
 * "crc32c((ip & 0x0103070f1f3f7fff) | (r << 61))" */
static uint32_t prefix_of(const struct sp_addr *addr, uint8_t r)
{
    static const uint8_t mask4[4] = {0x03, 0x0f, 0x3f, 0xff};
    static const uint8_t mask6[8] = {0x01, 0x03, 0x07, 0x0f, 0x1f, 0x3f, 0x7f, 0xff};
    bool v4 = addr->family == SP_V4;
    const uint8_t *mask = v4 ? mask4 : mask6;
    size_t n = v4 ? sizeof(mask4) : sizeof(mask6);
    uint8_t ip[8];

    for (size_t i = 0; i < n; i++)
        ip[i] = addr->ip[i] & mask[i];
    ip[0] |= (uint8_t)((r & 7) << 5);
    return sp_crc32c(ip, n);
}

struct sp_dht_id sp_dht_id_for(const struct sp_addr *addr, struct sp_rng *rng)
{
    struct sp_dht_id id = sp_dht_id_random(rng);
    uint32_t crc = prefix_of(addr, id.b[SP_DHT_ID_LEN - 1]);

    if (sp_addr_scope(addr) != SP_SCOPE_GLOBAL)
        return id;
    id.b[0] = (uint8_t)(crc >> 24);
    id.b[1] = (uint8_t)(crc >> 16);
    id.b[2] = (uint8_t)(((crc >> 8) & 0xf8) | (id.b[2] & 7));
    return id;
}

bool sp_dht_id_fits(const struct sp_dht_id *id, const struct sp_addr *addr)
{
    if (sp_addr_scope(addr) != SP_SCOPE_GLOBAL)
        return true;
    uint32_t crc = prefix_of(addr, id->b[SP_DHT_ID_LEN - 1]);
    /* BEP-0042: "The first (most significant) 21 bits of the node ID used in
     * the DHT MUST match the first 21 bits of the resulting hash." */
    uint32_t got = (uint32_t)id->b[0] << 24 | (uint32_t)id->b[1] << 16 | (uint32_t)id->b[2] << 8;
    return ((got ^ crc) & 0xfffff800) == 0;
}
