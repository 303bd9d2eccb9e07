#include "core/base/sha256.h"

#include <string.h>

#include "core/base/cur.h"
#include "core/base/out.h"

static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static inline uint32_t rotr(uint32_t v, int n)
{
    return v >> n | v << (32 - n);
}

/* FIPS 180-4, 6.2.2 */
static void block(uint32_t h[8], const uint8_t *p)
{
    uint32_t w[64], v[8];

    for (int t = 0; t < 16; t++)
        w[t] = sp_be32(p + 4 * t);
    for (int t = 16; t < 64; t++) {
        uint32_t a = w[t - 15], b = w[t - 2];
        w[t] = w[t - 16] + w[t - 7] + (rotr(a, 7) ^ rotr(a, 18) ^ a >> 3) +
               (rotr(b, 17) ^ rotr(b, 19) ^ b >> 10);
    }
    memcpy(v, h, sizeof(v));
    for (int t = 0; t < 64; t++) {
        uint32_t a = v[0], e = v[4];
        uint32_t x = v[7] + (rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25)) + ((e & v[5]) ^ (~e & v[6])) +
                     K[t] + w[t];
        uint32_t y =
            (rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22)) + ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof(v[0]));
        v[4] += x;
        v[0] = x + y;
    }
    for (int i = 0; i < 8; i++)
        h[i] += v[i];
}

void sp_sha256_init(struct sp_sha256 *s)
{
    *s = (struct sp_sha256){.h = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f,
                                  0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
}

void sp_sha256_add(struct sp_sha256 *s, const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    size_t have = s->len % 64;

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

void sp_sha256_end(struct sp_sha256 *s, uint8_t ret_digest[SP_SHA256_LEN])
{
    static const uint8_t pad[64] = {0x80};
    uint8_t bits[8];
    uint64_t len_bits = s->len * 8;

    sp_put_be32(bits, (uint32_t)(len_bits >> 32));
    sp_put_be32(bits + 4, (uint32_t)len_bits);
    sp_sha256_add(s, pad, 1 + (119 - s->len % 64) % 64);
    sp_sha256_add(s, bits, 8);
    for (int i = 0; i < 8; i++)
        sp_put_be32(ret_digest + 4 * i, s->h[i]);
}
