/* rng.h - the core's only randomness: a generator the caller seeds.
 *
 * xoshiro256** (Blackman, Vigna): fast, well spread, not for secrets.  What
 * must not be guessed (tokens, connection ids) is keyed by bytes that the
 * shell hands in.
 */
#ifndef SP_BASE_RNG_H
#define SP_BASE_RNG_H

#include <assert.h>

#include "spate/types.h"

struct sp_rng {
    uint64_t s[4];
};

static inline uint64_t sp_mix64(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static inline struct sp_rng sp_rng_of(uint64_t seed)
{
    struct sp_rng r;
    for (int i = 0; i < 4; i++)
        r.s[i] = sp_mix64(&seed);
    return r;
}

static inline uint64_t sp_rng_u64(struct sp_rng *r)
{
    uint64_t *s = r->s, x = s[1] * 5, t = s[1] << 17;
    uint64_t result = (x << 7 | x >> 57) * 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = s[3] << 45 | s[3] >> 19;
    return result;
}

/* 0 .. below-1; below > 0. */
static inline uint64_t sp_rng_below(struct sp_rng *r, uint64_t below)
{
    assert(below > 0);
    return (uint64_t)(((unsigned __int128)sp_rng_u64(r) * below) >> 64);
}

static inline void sp_rng_bytes(struct sp_rng *r, uint8_t *ptr, size_t len)
{
    uint64_t v = 0;
    for (size_t i = 0; i < len; i++, v >>= 8) {
        if (i % 8 == 0)
            v = sp_rng_u64(r);
        ptr[i] = (uint8_t)v;
    }
}

#endif
