/* crc32c.h - CRC-32C (Castagnoli), for addresses: the order in which peers are
 * dialled (BEP-0040) and the ids that nodes may have (BEP-0042). */
#ifndef SP_BASE_CRC32C_H
#define SP_BASE_CRC32C_H

#include "spate/types.h"

/* As RFC 3720 computes it: all ones to begin with, inverted at the end. */
uint32_t sp_crc32c(const void *bytes, size_t len);

#endif
