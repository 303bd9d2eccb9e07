/* Montgomery arithmetic on numbers of twelve 64-bit limbs, lowest first.
 *
 * A number x stands as x * R mod p, with R = 2^768.  No branch and no index
 * depends on a secret: reductions subtract under a mask, and an entry of the
 * table of powers is taken by looking at all of them.
 */
#include "core/mse/dh.h"

#include <string.h>

enum { LIMBS = 12, WINDOW_BITS = 4, WINDOW_COUNT = 1 << WINDOW_BITS };

typedef unsigned __int128 u128;

struct num {
    uint64_t v[LIMBS];
};

/* "Prime P is a 768 bit safe prime" */
static const struct num prime = {{
    UINT64_C(0x0000000000090563),
    UINT64_C(0xf44c42e9a63a3621),
    UINT64_C(0xe485b576625e7ec6),
    UINT64_C(0x4fe1356d6d51c245),
    UINT64_C(0x302b0a6df25f1437),
    UINT64_C(0xef9519b3cd3a431b),
    UINT64_C(0x514a08798e3404dd),
    UINT64_C(0x020bbea63b139b22),
    UINT64_C(0x29024e088a67cc74),
    UINT64_C(0xc4c6628b80dc1cd1),
    UINT64_C(0xc90fdaa22168c234),
    UINT64_C(0xffffffffffffffff),
}};

#define PRIME_INVERSE UINT64_C(0x6d5d6e6995075bb5) /* -1 / p mod 2^64 */

static const struct num r_mod_p = {{
    /* 1 in Montgomery's form */
    UINT64_C(0xfffffffffff6fa9d),
    UINT64_C(0x0bb3bd1659c5c9de),
    UINT64_C(0x1b7a4a899da18139),
    UINT64_C(0xb01eca9292ae3dba),
    UINT64_C(0xcfd4f5920da0ebc8),
    UINT64_C(0x106ae64c32c5bce4),
    UINT64_C(0xaeb5f78671cbfb22),
    UINT64_C(0xfdf44159c4ec64dd),
    UINT64_C(0xd6fdb1f77598338b),
    UINT64_C(0x3b399d747f23e32e),
    UINT64_C(0x36f0255dde973dcb),
    0,
}};

static const struct num rr_mod_p = {{
    /* R in it: brings a number into the form */
    UINT64_C(0x95f0194046281a8e),
    UINT64_C(0xff0ca2a3d838c985),
    UINT64_C(0x6d9f175993af6d83),
    UINT64_C(0xd4c85168a99a751f),
    UINT64_C(0x3423ecee2ddc6158),
    UINT64_C(0xd515b23cd4ace6dd),
    UINT64_C(0x112ce56282e51749),
    UINT64_C(0x3361bff33a35e04b),
    UINT64_C(0xafbc083554e85ee3),
    UINT64_C(0xa95d0ecbc5679266),
    UINT64_C(0x8d001cb98c6f28c7),
    UINT64_C(0xa6130c9d54da3d53),
}};

/* a - b, and what was borrowed of the limb above. */
static uint64_t sub(struct num *ret, const uint64_t *a, const struct num *b)
{
    uint64_t borrow = 0;
    for (int i = 0; i < LIMBS; i++) {
        u128 d = (u128)a[i] - b->v[i] - borrow;
        ret->v[i] = (uint64_t)d;
        borrow = (uint64_t)(d >> 64) & 1;
    }
    return borrow;
}

/* a (with a limb above it) mod p, for a < 2p. */
static void reduce(struct num *ret, const uint64_t a[LIMBS + 1])
{
    struct num less;
    uint64_t borrow = sub(&less, a, &prime);
    uint64_t keep = 0 - (uint64_t)(borrow > a[LIMBS]); /* all bits: a was below p */
    for (int i = 0; i < LIMBS; i++)
        ret->v[i] = (a[i] & keep) | (less.v[i] & ~keep);
}

/* a * b / R mod p, limb by limb of b. */
static void mul(struct num *ret, const struct num *a, const struct num *b)
{
    uint64_t t[LIMBS + 2] = {0};
    for (int i = 0; i < LIMBS; i++) {
        uint64_t carry = 0;
        for (int j = 0; j < LIMBS; j++) {
            u128 x = (u128)a->v[j] * b->v[i] + t[j] + carry;
            t[j] = (uint64_t)x;
            carry = (uint64_t)(x >> 64);
        }
        u128 top = (u128)t[LIMBS] + carry;
        t[LIMBS] = (uint64_t)top;
        t[LIMBS + 1] = (uint64_t)(top >> 64);

        uint64_t m = t[0] * PRIME_INVERSE; /* makes the lowest limb 0 */
        carry = (uint64_t)(((u128)m * prime.v[0] + t[0]) >> 64);
        for (int j = 1; j < LIMBS; j++) {
            u128 x = (u128)m * prime.v[j] + t[j] + carry;
            t[j - 1] = (uint64_t)x;
            carry = (uint64_t)(x >> 64);
        }
        top = (u128)t[LIMBS] + carry;
        t[LIMBS - 1] = (uint64_t)top;
        t[LIMBS] = t[LIMBS + 1] + (uint64_t)(top >> 64);
    }
    reduce(ret, t);
}

/* 2a mod p when bit, a when not. */
static void double_if(struct num *a, uint64_t bit)
{
    uint64_t t[LIMBS + 1], carry = 0;
    for (int i = 0; i < LIMBS; i++) {
        uint64_t v = a->v[i];
        u128 x = (u128)v + (v & (0 - bit)) + carry;
        t[i] = (uint64_t)x;
        carry = (uint64_t)(x >> 64);
    }
    t[LIMBS] = carry;
    reduce(a, t);
}

static void load(struct num *ret, const uint8_t bytes[SP_DH_LEN])
{
    for (int i = 0; i < LIMBS; i++) {
        uint64_t v = 0;
        for (int k = 0; k < 8; k++)
            v = v << 8 | bytes[8 * (LIMBS - 1 - i) + k];
        ret->v[i] = v;
    }
}

/* Out of Montgomery's form, into bytes. */
static void store(const struct num *a, uint8_t bytes[SP_DH_LEN])
{
    static const struct num one = {{1}};
    struct num plain;
    mul(&plain, a, &one);
    for (int i = 0; i < LIMBS; i++) {
        for (int k = 0; k < 8; k++)
            bytes[8 * (LIMBS - 1 - i) + k] = (uint8_t)(plain.v[i] >> (56 - 8 * k));
    }
}

void sp_dh_public(const uint8_t secret[SP_DH_SECRET_LEN], uint8_t ret_y[SP_DH_LEN])
{
    struct num y = r_mod_p;
    for (int bit = 0; bit < 8 * SP_DH_SECRET_LEN; bit++) {
        mul(&y, &y, &y);
        double_if(&y, secret[bit / 8] >> (7 - bit % 8) & 1);
    }
    store(&y, ret_y);
}

static bool is_small(const struct num *a, uint64_t value)
{
    uint64_t rest = a->v[0] ^ value;
    for (int i = 1; i < LIMBS; i++)
        rest |= a->v[i];
    return rest == 0;
}

/* Knowing it says nothing, or all, of the secret. */
static bool is_degenerate(const struct num *y)
{
    struct num from_prime; /* p - y: 1 for p - 1 */
    return sub(&from_prime, prime.v, y) || is_small(&from_prime, 0) || is_small(&from_prime, 1) ||
           is_small(y, 0) || is_small(y, 1);
}

/* Powers 0 to 15 of y. */
static void fill_powers(struct num powers[WINDOW_COUNT], const struct num *y)
{
    powers[0] = r_mod_p;
    mul(&powers[1], y, &rr_mod_p);
    for (int i = 2; i < WINDOW_COUNT; i++)
        mul(&powers[i], &powers[i - 1], &powers[1]);
}

static void take_power(struct num *ret, const struct num powers[WINDOW_COUNT], unsigned ix)
{
    *ret = (struct num){{0}};
    for (unsigned i = 0; i < WINDOW_COUNT; i++) {
        uint64_t mask = 0 - (uint64_t)(i == ix);
        for (int k = 0; k < LIMBS; k++)
            ret->v[k] |= powers[i].v[k] & mask;
    }
}

bool sp_dh_shared(const uint8_t secret[SP_DH_SECRET_LEN], const uint8_t y[SP_DH_LEN],
                  uint8_t ret_shared[SP_DH_LEN])
{
    struct num base, x = r_mod_p, part, powers[WINDOW_COUNT];

    load(&base, y);
    if (is_degenerate(&base))
        return false;
    fill_powers(powers, &base);
    for (int i = 0; i < 2 * SP_DH_SECRET_LEN; i++) {
        for (int k = 0; k < WINDOW_BITS; k++)
            mul(&x, &x, &x);
        take_power(&part, powers, secret[i / 2] >> (i % 2 ? 0 : 4) & 15);
        mul(&x, &x, &part);
    }
    store(&x, ret_shared);
    return true;
}
