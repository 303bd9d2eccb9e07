/* SHA-1 over 16 lanes: AVX-512, the whole of a block in registers. */
#include "io/hash/sha1_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "io/hash/sha1_rounds.h"

#define ADD(a, b)        _mm512_add_epi32(a, b)
#define ROL(a, n)        _mm512_rol_epi32(a, n)
#define SET1(v)          _mm512_set1_epi32(v)
#define CH(b, c, d)      _mm512_ternarylogic_epi32(b, c, d, 0xca)
#define MAJ(b, c, d)     _mm512_ternarylogic_epi32(b, c, d, 0xe8)
#define XOR3(b, c, d)    _mm512_ternarylogic_epi32(b, c, d, 0x96)
#define XOR4(a, b, c, d) _mm512_xor_si512(XOR3(a, b, c), d)
#define GET(word)        _mm512_load_si512(state[word])
#define PUT(word, v)     _mm512_store_si512(state[word], v)
#define LOAD(l, o)       _mm512_shuffle_epi8(_mm512_loadu_si512(data[l] + off + (o)), swap)

/* x and y become their low and their high halves, interleaved. */
#define PAIR(how, x, y)                                                                            \
    {                                                                                              \
        const __m512i low = _mm512_unpacklo_##how(x, y);                                           \
        y = _mm512_unpackhi_##how(x, y);                                                           \
        x = low;                                                                                   \
    }
/* Four lanes' 16 bytes from o on in each quarter of a register: afterwards j0
 * holds word 0 of the four in each quarter, j1 word 1, ... */
#define LOAD4(l, o, j0, j1, j2, j3)                                                                \
    j0 = LOAD(l, o);                                                                               \
    j2 = LOAD(l + 1, o);                                                                           \
    j1 = LOAD(l + 2, o);                                                                           \
    j3 = LOAD(l + 3, o);                                                                           \
    PAIR(epi32, j0, j2)                                                                            \
    PAIR(epi32, j1, j3)                                                                            \
    PAIR(epi64, j0, j1)                                                                            \
    PAIR(epi64, j2, j3)
/* Their even and their odd quarters; twice, that turns a 4 by 4 of quarters. */
#define QUARTERS(x, y)                                                                             \
    {                                                                                              \
        const __m512i even = _mm512_shuffle_i32x4(x, y, 0x88);                                     \
        y = _mm512_shuffle_i32x4(x, y, 0xdd);                                                      \
        x = even;                                                                                  \
    }
#define TURN(x, y, z, u) QUARTERS(x, y) QUARTERS(z, u) QUARTERS(x, z) QUARTERS(y, u)

SP_LANE_KERNEL("avx512f,avx512bw,avx512vl")
void sp_sha1_avx512x16(sp_lane_row *state, const uint8_t *const *data, size_t block_count)
{
    const size_t end = block_count * 64;
    const __m512i swap =
        _mm512_broadcast_i32x4(_mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3));
    __m512i a = GET(0), b = GET(1), c = GET(2), d = GET(3), e = GET(4);

    for (size_t off = 0; off < end; off += 64) {
        __m512i WORDS, k;

        PREFETCH4(0);
        PREFETCH4(4);
        PREFETCH4(8);
        PREFETCH4(12);
        LOAD4(0, 0, w0, w1, w2, w3)
        LOAD4(4, 0, w4, w5, w6, w7)
        LOAD4(8, 0, w8, w9, w10, w11)
        LOAD4(12, 0, w12, w13, w14, w15)
        TURN(w0, w4, w8, w12)
        TURN(w1, w5, w9, w13)
        TURN(w2, w6, w10, w14)
        TURN(w3, w7, w11, w15)
        SHA1_ROUNDS;
        a = ADD(a, GET(0));
        b = ADD(b, GET(1));
        c = ADD(c, GET(2));
        d = ADD(d, GET(3));
        e = ADD(e, GET(4));
        PUT(0, a);
        PUT(1, b);
        PUT(2, c);
        PUT(3, d);
        PUT(4, e);
    }
}
#endif
