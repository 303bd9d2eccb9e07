/* sha1_rounds.h - the 80 rounds of SHA-1 over vectors, each element one lane's.
 *
 * Included by a kernel that defined, for its vectors: ADD, ROL, SET1, the round
 * functions CH, MAJ, XOR3, and XOR4; and that has the variables a to e (the
 * state), w0 to w15 (the block's words) and k.  Names rotate instead of
 * values and word t + 16 takes the place of word t, so that everything stays
 * in registers where there are 32 of them.  The compilers keep an array of
 * words in memory, which costs a quarter of the speed.
 */

/* FIPS 180-4, 6.1.2; a to e are the names that round t has for the state. */
#define ROUND(f, a, b, c, d, e, t)                                                                 \
    e = ADD(ADD(ADD(e, k), ADD(w##t, f(b, c, d))), ROL(a, 5));                                     \
    b = ROL(b, 30)

/* Word t + 16 (in its place, that of word t) from words t, t + 2, t + 8, t + 13. */
#define NEXT(t, t2, t8, t13) w##t = ROL(XOR4(w##t, w##t2, w##t8, w##t13), 1)
#define NEXT_0               NEXT(0, 2, 8, 13)
#define NEXT_1               NEXT(1, 3, 9, 14)
#define NEXT_2               NEXT(2, 4, 10, 15)
#define NEXT_3               NEXT(3, 5, 11, 0)
#define NEXT_4               NEXT(4, 6, 12, 1)
#define NEXT_5               NEXT(5, 7, 13, 2)
#define NEXT_6               NEXT(6, 8, 14, 3)
#define NEXT_7               NEXT(7, 9, 15, 4)
#define NEXT_8               NEXT(8, 10, 0, 5)
#define NEXT_9               NEXT(9, 11, 1, 6)
#define NEXT_10              NEXT(10, 12, 2, 7)
#define NEXT_11              NEXT(11, 13, 3, 8)
#define NEXT_12              NEXT(12, 14, 4, 9)
#define NEXT_13              NEXT(13, 15, 5, 10)
#define NEXT_14              NEXT(14, 0, 6, 11)
#define NEXT_15              NEXT(15, 1, 7, 12)

#define NEXT_ROUND(f, a, b, c, d, e, t)                                                            \
    NEXT_##t;                                                                                      \
    ROUND(f, a, b, c, d, e, t)
#define FIVE(HOW, f, t0, t1, t2, t3, t4)                                                           \
    HOW(f, a, b, c, d, e, t0);                                                                     \
    HOW(f, e, a, b, c, d, t1);                                                                     \
    HOW(f, d, e, a, b, c, t2);                                                                     \
    HOW(f, c, d, e, a, b, t3);                                                                     \
    HOW(f, b, c, d, e, a, t4)

#define SHA1_ROUNDS                                                                                \
    k = SET1(0x5a827999);                                                                          \
    FIVE(ROUND, CH, 0, 1, 2, 3, 4);                                                                \
    FIVE(ROUND, CH, 5, 6, 7, 8, 9);                                                                \
    FIVE(ROUND, CH, 10, 11, 12, 13, 14);                                                           \
    ROUND(CH, a, b, c, d, e, 15);                                                                  \
    NEXT_ROUND(CH, e, a, b, c, d, 0);                                                              \
    NEXT_ROUND(CH, d, e, a, b, c, 1);                                                              \
    NEXT_ROUND(CH, c, d, e, a, b, 2);                                                              \
    NEXT_ROUND(CH, b, c, d, e, a, 3);                                                              \
    k = SET1(0x6ed9eba1);                                                                          \
    FIVE(NEXT_ROUND, XOR3, 4, 5, 6, 7, 8);                                                         \
    FIVE(NEXT_ROUND, XOR3, 9, 10, 11, 12, 13);                                                     \
    FIVE(NEXT_ROUND, XOR3, 14, 15, 0, 1, 2);                                                       \
    FIVE(NEXT_ROUND, XOR3, 3, 4, 5, 6, 7);                                                         \
    k = SET1((int)0x8f1bbcdc);                                                                     \
    FIVE(NEXT_ROUND, MAJ, 8, 9, 10, 11, 12);                                                       \
    FIVE(NEXT_ROUND, MAJ, 13, 14, 15, 0, 1);                                                       \
    FIVE(NEXT_ROUND, MAJ, 2, 3, 4, 5, 6);                                                          \
    FIVE(NEXT_ROUND, MAJ, 7, 8, 9, 10, 11);                                                        \
    k = SET1((int)0xca62c1d6);                                                                     \
    FIVE(NEXT_ROUND, XOR3, 12, 13, 14, 15, 0);                                                     \
    FIVE(NEXT_ROUND, XOR3, 1, 2, 3, 4, 5);                                                         \
    FIVE(NEXT_ROUND, XOR3, 6, 7, 8, 9, 10);                                                        \
    FIVE(NEXT_ROUND, XOR3, 11, 12, 13, 14, 15)

#define WORDS w0, w1, w2, w3, w4, w5, w6, w7, w8, w9, w10, w11, w12, w13, w14, w15

/* On to block off / 64: what lies AHEAD bytes further, in the same run, is
 * fetched early.  Many streams are more than the prefetchers of most CPUs
 * follow: 10 % of the speed when the data is not in the caches. */
#define AHEAD 512
#define PREFETCH(l)                                                                                \
    _mm_prefetch((const char *)data[l] + (off + AHEAD < end ? off + AHEAD : off), _MM_HINT_T0)
#define PREFETCH4(l) PREFETCH(l), PREFETCH(l + 1), PREFETCH(l + 2), PREFETCH(l + 3)
