/* set.h - the ranges of one family; private to core/ipfilter. */
#ifndef SP_IPFILTER_SET_H
#define SP_IPFILTER_SET_H

#include "core/base/mem.h"
#include "core/ipfilter/ipfilter.h"

/* Keys in network order, so that memcmp orders them: first, then last. */
struct sp_ipset {
    uint8_t *ranges; /* count of 2 * key_len bytes */
    uint32_t count, cap;
    uint8_t key_len; /* 4 or 16 */
};

/* SP_ELIMIT, SP_ENOMEM */
SP_MUST_USE enum sp_err sp_ipset_add(struct sp_ipset *s, const struct sp_mem *mem,
                                     const uint8_t *first, const uint8_t *last);
/* SP_ENOMEM */
SP_MUST_USE enum sp_err sp_ipset_sort(struct sp_ipset *s, const struct sp_mem *mem);
bool sp_ipset_has(const struct sp_ipset *s, const uint8_t *key);

#endif
