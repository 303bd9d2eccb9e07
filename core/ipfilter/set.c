#include "core/ipfilter/set.h"

#include <string.h>

static size_t size(const struct sp_ipset *s)
{
    return 2 * (size_t)s->key_len;
}

static uint8_t *at(const struct sp_ipset *s, uint32_t ix)
{
    return s->ranges + ix * size(s);
}

enum sp_err sp_ipset_add(struct sp_ipset *s, const struct sp_mem *mem, const uint8_t *first,
                         const uint8_t *last)
{
    if (s->count == s->cap) {
        uint32_t cap = s->cap ? s->cap * 2 : 64;
        if (s->count == SP_IPFILTER_RANGES_MAX)
            return SP_ELIMIT;
        uint8_t *ranges = sp_mem_grow(mem, s->ranges, s->count, cap, size(s));
        if (!ranges)
            return SP_ENOMEM;
        s->ranges = ranges;
        s->cap = cap;
    }
    memcpy(at(s, s->count), first, s->key_len);
    memcpy(at(s, s->count) + s->key_len, last, s->key_len);
    s->count++;
    return SP_OK;
}

/* By one byte of each, stable, from s to other; false: all have the same there. */
static bool order_by(const struct sp_ipset *s, size_t byte, uint8_t *other)
{
    uint32_t start[257] = {0};
    size_t n = size(s);

    for (uint32_t i = 0; i < s->count; i++)
        start[s->ranges[i * n + byte] + 1]++;
    for (int i = 1; i <= 256; i++) {
        if (start[i] == s->count)
            return false;
        start[i] += start[i - 1];
    }
    for (uint32_t i = 0; i < s->count; i++) {
        const uint8_t *r = s->ranges + i * n;
        uint8_t *to = other + start[r[byte]]++ * n;
        if (n == 8)
            memcpy(to, r, 8); /* of a size that the compiler knows */
        else
            memcpy(to, r, n);
    }
    return true;
}

/* a + 1 == b */
static bool follows(const uint8_t *a, const uint8_t *b, uint8_t len)
{
    uint8_t next[16];
    memcpy(next, a, len);
    for (int i = len - 1; i >= 0 && ++next[i] == 0; i--)
        ;
    return memcmp(next, b, len) == 0;
}

/* Those that touch become one, so that a search finds the only one there can be. */
static void join(struct sp_ipset *s)
{
    uint32_t n = 0;
    for (uint32_t i = 1; i < s->count; i++) {
        uint8_t *top = at(s, n), *top_last = top + s->key_len, *r = at(s, i);
        if (memcmp(r, top_last, s->key_len) <= 0 || follows(top_last, r, s->key_len)) {
            if (memcmp(r + s->key_len, top_last, s->key_len) > 0)
                memcpy(top_last, r + s->key_len, s->key_len);
        } else {
            n++;
            memmove(at(s, n), r, size(s));
        }
    }
    s->count = s->count ? n + 1 : 0;
}

static bool is_sorted(const struct sp_ipset *s)
{
    for (uint32_t i = 1; i < s->count; i++) {
        if (memcmp(at(s, i - 1), at(s, i), size(s)) > 0)
            return false;
    }
    return true;
}

enum sp_err sp_ipset_sort(struct sp_ipset *s, const struct sp_mem *mem)
{
    if (!is_sorted(s)) {
        uint8_t *other = sp_mem_alloc(mem, s->cap, size(s));
        if (!other)
            return SP_ENOMEM;
        for (size_t byte = size(s); byte-- > 0;) {
            if (!order_by(s, byte, other))
                continue;
            uint8_t *was = s->ranges;
            s->ranges = other;
            other = was;
        }
        sp_mem_free(mem, other);
    }
    join(s);
    return SP_OK;
}

bool sp_ipset_has(const struct sp_ipset *s, const uint8_t *key)
{
    uint32_t low = 0, high = s->count; /* the first range that begins after key */
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (memcmp(at(s, mid), key, s->key_len) <= 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low > 0 && memcmp(key, at(s, low - 1) + s->key_len, s->key_len) <= 0;
}
