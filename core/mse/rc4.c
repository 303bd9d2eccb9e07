#include "core/mse/rc4.h"

enum { RUN_LEN = 8 };

void sp_rc4_init(struct sp_rc4 *r, const uint8_t *key, size_t key_len)
{
    uint8_t j = 0;

    for (unsigned i = 0; i < 256; i++)
        r->s[i] = (uint8_t)i;
    for (unsigned i = 0; i < 256; i++) {
        uint8_t t = r->s[i];
        j = (uint8_t)(j + t + key[i % key_len]);
        r->s[i] = r->s[j];
        r->s[j] = t;
    }
    r->i = r->j = 0;
}

/* One step; i is where it stands and *a = s[i].  The next a is read before
 * this step's swap is stored, so that no step waits for the one before. */
static inline uint8_t step(uint8_t *s, uint8_t *i, uint8_t *j, uint8_t *a)
{
    uint8_t now = *a, next_i = (uint8_t)(*i + 1);

    *j = (uint8_t)(*j + now);
    uint8_t b = s[*j], next = s[next_i];
    s[*j] = now;
    s[*i] = b;
    *a = next_i == *j ? now : next;
    *i = next_i;
    return s[(uint8_t)(now + b)];
}

/* Eight steps' bytes make one word, lowest first. */
static inline uint64_t run_of(uint8_t *s, uint8_t *i, uint8_t *j, uint8_t *a)
{
    uint64_t word = 0;
#pragma GCC unroll 8
    for (int k = 0; k < RUN_LEN; k++)
        word |= (uint64_t)step(s, i, j, a) << (8 * k);
    return word;
}

static inline uint64_t load(const uint8_t *p)
{
    return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24 |
           (uint64_t)p[4] << 32 | (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48 |
           (uint64_t)p[7] << 56;
}

static inline void store(uint8_t *p, uint64_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
    p[2] = (uint8_t)(v >> 16);
    p[3] = (uint8_t)(v >> 24);
    p[4] = (uint8_t)(v >> 32);
    p[5] = (uint8_t)(v >> 40);
    p[6] = (uint8_t)(v >> 48);
    p[7] = (uint8_t)(v >> 56);
}

void sp_rc4_run(struct sp_rc4 *r, const uint8_t *in, uint8_t *out, size_t len)
{
    uint8_t *s = r->s, i = (uint8_t)(r->i + 1), j = r->j, a = s[i];
    size_t at = 0;

    for (; len - at >= RUN_LEN; at += RUN_LEN)
        store(out + at, load(in + at) ^ run_of(s, &i, &j, &a));
    for (; at < len; at++)
        out[at] = in[at] ^ step(s, &i, &j, &a);
    r->i = (uint8_t)(i - 1);
    r->j = j;
}

void sp_rc4_skip(struct sp_rc4 *r, size_t len)
{
    uint8_t waste[64] = {0};
    for (size_t n; len > 0; len -= n) {
        n = len < sizeof(waste) ? len : sizeof(waste);
        sp_rc4_run(r, waste, waste, n);
    }
}
