/* SHA-1 with the SHA extensions, one stream or two interleaved: where the CPU
 * could start the next instruction before it has the result of the last, the
 * second stream fills the time that one alone spends waiting.  More than two
 * do not fit the 16 registers and are slower.
 */
#include "io/hash/sha1_kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

enum { AHEAD = 1024 }; /* bytes, fetched early: the caches alone do not see a run begin */

/* A statement for each of 1 or 2 streams, whose number is its names' suffix. */
#define EACH_1(DO, ...) DO(0, __VA_ARGS__)
#define EACH_2(DO, ...) EACH_1(DO, __VA_ARGS__) DO(1, __VA_ARGS__)

/* abcd_: four words, a highest; e_: what the next group's e comes from (the
 * instructions rotate it); m0_ to m3_: the last 16 words of the schedule. */
#define NAMES(i, _)                                                                                \
    __m128i m0_##i, m1_##i, m2_##i, m3_##i;                                                        \
    __m128i abcd_##i =                                                                             \
        _mm_set_epi32((int)state[0][i], (int)state[1][i], (int)state[2][i], (int)state[3][i]);     \
    __m128i e_##i = _mm_set_epi32((int)state[4][i], 0, 0, 0);
#define BEGIN(i, _) const __m128i abcd_then_##i = abcd_##i, e_then_##i = e_##i;
#define PREFETCH(i, _)                                                                             \
    _mm_prefetch((const char *)data[i] + (off + AHEAD < end ? off + AHEAD : off), _MM_HINT_T0);
#define LOAD(i, g)                                                                                 \
    m##g##_##i = _mm_shuffle_epi8(                                                                 \
        _mm_loadu_si128((const __m128i *)(const void *)(data[i] + off + 16 * g)), swap);

/* Four rounds with the words of m; the first of all adds e as it is. */
#define ROUNDS_FIRST(i, m)                                                                         \
    {                                                                                              \
        const __m128i em = _mm_add_epi32(e_##i, m##_##i);                                          \
        e_##i = abcd_##i;                                                                          \
        abcd_##i = _mm_sha1rnds4_epu32(abcd_##i, em, 0);                                           \
    }
#define ROUNDS(i, m, f)                                                                            \
    {                                                                                              \
        const __m128i em = _mm_sha1nexte_epu32(e_##i, m##_##i);                                    \
        e_##i = abcd_##i;                                                                          \
        abcd_##i = _mm_sha1rnds4_epu32(abcd_##i, em, f);                                           \
    }
/* The schedule in three strides: a group's words come from the four before. */
#define MSG1(i, x, y) x##_##i = _mm_sha1msg1_epu32(x##_##i, y##_##i);
#define MSGX(i, x, y) x##_##i = _mm_xor_si128(x##_##i, y##_##i);
#define MSG2(i, x, y) x##_##i = _mm_sha1msg2_epu32(x##_##i, y##_##i);

/* Four rounds with the words p and their share of the schedule: q is what the
 * next group needs, r the one after, s the third. */
#define GROUP(EACH, f, p, q, r, s)                                                                 \
    EACH(MSG2, q, p)                                                                               \
    EACH(ROUNDS, p, f)                                                                             \
    EACH(MSG1, s, p)                                                                               \
    EACH(MSGX, r, p)

#define END(i, _)                                                                                  \
    e_##i = _mm_sha1nexte_epu32(e_##i, e_then_##i);                                                \
    abcd_##i = _mm_add_epi32(abcd_##i, abcd_then_##i);
#define GIVE(i, _)                                                                                 \
    state[0][i] = (uint32_t)_mm_extract_epi32(abcd_##i, 3);                                        \
    state[1][i] = (uint32_t)_mm_extract_epi32(abcd_##i, 2);                                        \
    state[2][i] = (uint32_t)_mm_extract_epi32(abcd_##i, 1);                                        \
    state[3][i] = (uint32_t)_mm_extract_epi32(abcd_##i, 0);                                        \
    state[4][i] = (uint32_t)_mm_extract_epi32(e_##i, 3);

#define KERNEL(name, EACH)                                                                         \
    SP_LANE_KERNEL("sha,ssse3,sse4.1")                                                             \
    void name(sp_lane_row *state, const uint8_t *const *data, size_t block_count)                  \
    {                                                                                              \
        const size_t end = block_count * 64;                                                       \
        const __m128i swap = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);   \
        EACH(NAMES, _)                                                                             \
                                                                                                   \
        for (size_t off = 0; off < end; off += 64) {                                               \
            EACH(PREFETCH, _)                                                                      \
            EACH(BEGIN, _)                                                                         \
            EACH(LOAD, 0)                                                                          \
            EACH(ROUNDS_FIRST, m0)                                                                 \
            EACH(LOAD, 1)                                                                          \
            EACH(ROUNDS, m1, 0)                                                                    \
            EACH(MSG1, m0, m1)                                                                     \
            EACH(LOAD, 2)                                                                          \
            EACH(ROUNDS, m2, 0)                                                                    \
            EACH(MSG1, m1, m2)                                                                     \
            EACH(MSGX, m0, m2)                                                                     \
            EACH(LOAD, 3)                                                                          \
            GROUP(EACH, 0, m3, m0, m1, m2)                                                         \
            GROUP(EACH, 0, m0, m1, m2, m3)                                                         \
            GROUP(EACH, 1, m1, m2, m3, m0)                                                         \
            GROUP(EACH, 1, m2, m3, m0, m1)                                                         \
            GROUP(EACH, 1, m3, m0, m1, m2)                                                         \
            GROUP(EACH, 1, m0, m1, m2, m3)                                                         \
            GROUP(EACH, 1, m1, m2, m3, m0)                                                         \
            GROUP(EACH, 2, m2, m3, m0, m1)                                                         \
            GROUP(EACH, 2, m3, m0, m1, m2)                                                         \
            GROUP(EACH, 2, m0, m1, m2, m3)                                                         \
            GROUP(EACH, 2, m1, m2, m3, m0)                                                         \
            GROUP(EACH, 2, m2, m3, m0, m1)                                                         \
            GROUP(EACH, 3, m3, m0, m1, m2)                                                         \
            GROUP(EACH, 3, m0, m1, m2, m3)                                                         \
            EACH(MSG2, m2, m1)                                                                     \
            EACH(ROUNDS, m1, 3)                                                                    \
            EACH(MSGX, m3, m1)                                                                     \
            EACH(MSG2, m3, m2)                                                                     \
            EACH(ROUNDS, m2, 3)                                                                    \
            EACH(ROUNDS, m3, 3)                                                                    \
            EACH(END, _)                                                                           \
        }                                                                                          \
        EACH(GIVE, _)                                                                              \
    }

KERNEL(sp_sha1_ni, EACH_1)
KERNEL(sp_sha1_ni2, EACH_2)
#endif
