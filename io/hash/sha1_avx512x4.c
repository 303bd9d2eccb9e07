/* SHA-1 over 4 lanes: as sha1_avx512x8.c, 128 bits wide. */
#include "io/hash/sha1_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "io/hash/sha1_rounds.h"

#define ADD(a, b)        _mm_add_epi32(a, b)
#define ROL(a, n)        _mm_rol_epi32(a, n)
#define SET1(v)          _mm_set1_epi32(v)
#define CH(b, c, d)      _mm_ternarylogic_epi32(b, c, d, 0xca)
#define MAJ(b, c, d)     _mm_ternarylogic_epi32(b, c, d, 0xe8)
#define XOR3(b, c, d)    _mm_ternarylogic_epi32(b, c, d, 0x96)
#define XOR4(a, b, c, d) _mm_xor_si128(XOR3(a, b, c), d)
#define GET(word)        _mm_load_si128((const __m128i *)(const void *)state[word])
#define PUT(word, v)     _mm_store_si128((__m128i *)(void *)state[word], v)
#define LOAD(l, o)                                                                                 \
    _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(data[l] + off + (o))), swap)

/* x and y become their low and their high halves, interleaved. */
#define PAIR(how, x, y)                                                                            \
    {                                                                                              \
        const __m128i low = _mm_unpacklo_##how(x, y);                                              \
        y = _mm_unpackhi_##how(x, y);                                                              \
        x = low;                                                                                   \
    }
/* Four lanes' 16 bytes from o on: afterwards j0
 * holds word 0 of the four, j1 word 1, ... */
#define LOAD4(l, o, j0, j1, j2, j3)                                                                \
    j0 = LOAD(l, o);                                                                               \
    j2 = LOAD(l + 1, o);                                                                           \
    j1 = LOAD(l + 2, o);                                                                           \
    j3 = LOAD(l + 3, o);                                                                           \
    PAIR(epi32, j0, j2)                                                                            \
    PAIR(epi32, j1, j3)                                                                            \
    PAIR(epi64, j0, j1)                                                                            \
    PAIR(epi64, j2, j3)

SP_LANE_KERNEL("avx512f,avx512vl")
void sp_sha1_avx512x4(sp_lane_row *state, const uint8_t *const *data, size_t block_count)
{
    const size_t end = block_count * 64;
    const __m128i swap = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    __m128i a = GET(0), b = GET(1), c = GET(2), d = GET(3), e = GET(4);

    for (size_t off = 0; off < end; off += 64) {
        __m128i WORDS, k;

        PREFETCH4(0);
        LOAD4(0, 0, w0, w1, w2, w3)
        LOAD4(0, 16, w4, w5, w6, w7)
        LOAD4(0, 32, w8, w9, w10, w11)
        LOAD4(0, 48, w12, w13, w14, w15)
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
