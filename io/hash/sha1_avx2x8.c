/* SHA-1 over 8 lanes: AVX2. */
#include "io/hash/sha1_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "io/hash/sha1_rounds.h"

#define ADD(a, b)        _mm256_add_epi32(a, b)
#define XOR(a, b)        _mm256_xor_si256(a, b)
#define AND(a, b)        _mm256_and_si256(a, b)
#define ROL(a, n)        _mm256_or_si256(_mm256_slli_epi32(a, n), _mm256_srli_epi32(a, 32 - n))
#define SET1(v)          _mm256_set1_epi32(v)
#define CH(b, c, d)      XOR(d, AND(b, XOR(c, d)))
#define MAJ(b, c, d)     XOR(AND(b, c), AND(d, XOR(b, c)))
#define XOR3(b, c, d)    XOR(b, XOR(c, d))
#define XOR4(a, b, c, d) XOR(XOR(a, b), XOR(c, d))
#define GET(word)        _mm256_load_si256((const __m256i *)(const void *)state[word])
#define PUT(word, v)     _mm256_store_si256((__m256i *)(void *)state[word], v)
#define LOAD(l, o)                                                                                 \
    _mm256_shuffle_epi8(_mm256_loadu_si256((const __m256i *)(const void *)(data[l] + off + (o))),  \
                        swap)

/* x and y become their low and their high halves, interleaved. */
#define PAIR(how, x, y)                                                                            \
    {                                                                                              \
        const __m256i low = _mm256_unpacklo_##how(x, y);                                           \
        y = _mm256_unpackhi_##how(x, y);                                                           \
        x = low;                                                                                   \
    }
/* Four lanes' 16 bytes from o on in each half of a register: afterwards j0
 * holds word 0 of the four in each half, j1 word 1, ... */
#define LOAD4(l, o, j0, j1, j2, j3)                                                                \
    j0 = LOAD(l, o);                                                                               \
    j2 = LOAD(l + 1, o);                                                                           \
    j1 = LOAD(l + 2, o);                                                                           \
    j3 = LOAD(l + 3, o);                                                                           \
    PAIR(epi32, j0, j2)                                                                            \
    PAIR(epi32, j1, j3)                                                                            \
    PAIR(epi64, j0, j1)                                                                            \
    PAIR(epi64, j2, j3)
#define HALVES(x, y)                                                                               \
    {                                                                                              \
        const __m256i low = _mm256_permute2x128_si256(x, y, 0x20);                                 \
        y = _mm256_permute2x128_si256(x, y, 0x31);                                                 \
        x = low;                                                                                   \
    }
#define LOAD8(o, j0, j1, j2, j3, j4, j5, j6, j7)                                                   \
    LOAD4(0, o, j0, j1, j2, j3)                                                                    \
    LOAD4(4, o, j4, j5, j6, j7)                                                                    \
    HALVES(j0, j4)                                                                                 \
    HALVES(j1, j5)                                                                                 \
    HALVES(j2, j6)                                                                                 \
    HALVES(j3, j7)

SP_LANE_KERNEL("avx2")
void sp_sha1_avx2x8(sp_lane_row *state, const uint8_t *const *data, size_t block_count)
{
    const size_t end = block_count * 64;
    const __m256i swap = _mm256_broadcastsi128_si256(
        _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3));
    __m256i a = GET(0), b = GET(1), c = GET(2), d = GET(3), e = GET(4);

    for (size_t off = 0; off < end; off += 64) {
        __m256i WORDS, k;

        PREFETCH4(0);
        PREFETCH4(4);
        LOAD8(0, w0, w1, w2, w3, w4, w5, w6, w7)
        LOAD8(32, w8, w9, w10, w11, w12, w13, w14, w15)
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
