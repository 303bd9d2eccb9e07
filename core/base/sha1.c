#include "core/base/sha1.h"

#include <string.h>

#include "core/base/cur.h"
#include "core/base/out.h"

static inline uint32_t rotl(uint32_t v, int n)
{
    return v << n | v >> (32 - n);
}

/* FIPS 180-4, 6.1.2 */
static void block(uint32_t h[5], const uint8_t *p)
{
    uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];

    for (int t = 0; t < 16; t++)
        w[t] = sp_be32(p + 4 * t);
    for (int t = 16; t < 80; t++)
        w[t] = rotl(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
    for (int t = 0; t < 80; t++) {
        uint32_t f, k;
        if (t < 20) {
            f = (b & c) | (~b & d);
            k = 0x5a827999;
        } else if (t < 40) {
            f = b ^ c ^ d;
            k = 0x6ed9eba1;
        } else if (t < 60) {
            f = (b & c) | (b & d) | (c & d);
            k = 0x8f1bbcdc;
        } else {
            f = b ^ c ^ d;
            k = 0xca62c1d6;
        }
        uint32_t x = rotl(a, 5) + f + e + k + w[t];
        e = d;
        d = c;
        c = rotl(b, 30);
        b = a;
        a = x;
    }
    h[0] += a;
    h[1] += b;
    h[2] += c;
    h[3] += d;
    h[4] += e;
}

void sp_sha1_init(struct sp_sha1 *s)
{
    *s = (struct sp_sha1){.h = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0}};
}

void sp_sha1_add(struct sp_sha1 *s, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    size_t have = s->len % 64;

    if (len == 0)
        return; /* bytes may be NULL */
    s->len += len;
    if (have) {
        size_t n = len < 64 - have ? len : 64 - have;
        memcpy(s->rest + have, p, n);
        p += n;
        len -= n;
        if (have + n < 64)
            return;
        block(s->h, s->rest);
    }
    for (; len >= 64; p += 64, len -= 64)
        block(s->h, p);
    if (len)
        memcpy(s->rest, p, len);
}

void sp_sha1_end(struct sp_sha1 *s, uint8_t ret_digest[SP_SHA1_LEN])
{
    static const uint8_t pad[64] = {0x80};
    uint8_t bits[8];
    uint64_t len_bits = s->len * 8;

    sp_put_be32(bits, (uint32_t)(len_bits >> 32));
    sp_put_be32(bits + 4, (uint32_t)len_bits);
    sp_sha1_add(s, pad, 1 + (119 - s->len % 64) % 64);
    sp_sha1_add(s, bits, 8);
    for (int i = 0; i < 5; i++)
        sp_put_be32(ret_digest + 4 * i, s->h[i]);
}
