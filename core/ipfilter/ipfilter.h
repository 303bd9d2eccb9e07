/* ipfilter.h - addresses that are not to be talked to: sorted ranges, read
 * from the lists that people share.
 *
 *   new, read (any number of texts), seal; then blocks, from any thread
 *
 * A line is one of
 *   NAME:1.2.3.4-1.2.3.9                   .p2p of PeerGuardian
 *   1.2.3.4 - 1.2.3.9 , 100 , NAME         .dat of eMule: blocked below level 128
 *   1.2.3.4-1.2.3.9   1.2.3.0/24   1.2.3.4   2001:db8::/32
 * or empty, or a comment that begins with # ; or //.  See docs/core/ipfilter.md.
 */
#ifndef SP_IPFILTER_IPFILTER_H
#define SP_IPFILTER_IPFILTER_H

#include "core/base/addr.h"
#include "core/base/mem.h"

enum { SP_IPFILTER_RANGES_MAX = 1 << 23 }; /* of each family */

struct sp_ipfilter;

/* SP_ENOMEM */
SP_MUST_USE enum sp_err sp_ipfilter_new(const struct sp_mem *mem, struct sp_ipfilter **ret_filter);
/* Takes NULL. */
void sp_ipfilter_free(struct sp_ipfilter *f);
/* Adds what a text says; all of it or an error, which names the line and has its
 * offset.  After an error the filter is only good for free.
 * SP_EDATA   SP_ELIMIT too many ranges   SP_ENOMEM */
SP_MUST_USE enum sp_err sp_ipfilter_read(struct sp_ipfilter *f, struct sp_slice text,
                                         struct sp_diag *diag);
/* Sorts and joins; nothing is added after it.   SP_ENOMEM */
SP_MUST_USE enum sp_err sp_ipfilter_seal(struct sp_ipfilter *f);
/* O(log ranges).  The port does not matter.  NULL blocks nobody. */
bool sp_ipfilter_blocks(const struct sp_ipfilter *f, const struct sp_addr *a);
/* How many ranges there are, of both families. */
uint32_t sp_ipfilter_count(const struct sp_ipfilter *f);

#endif
