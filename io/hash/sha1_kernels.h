/* sha1_kernels.h - the inner loops: whole 64-byte blocks of independent SHA-1
 * streams, as many side by side as a kernel has lanes.
 *
 * Word w of lane l's chaining value is state[w][l] (a vector kernel loads a
 * row at a time), in rows of SP_LANES_MAX whatever the kernel's width, so
 * that a driver can go from one kernel to another in the middle of messages.
 * Kernels of SHA-256 have the same shape with 8 rows.
 */
#ifndef SP_IO_SHA1_KERNELS_H
#define SP_IO_SHA1_KERNELS_H

#include "spate/types.h"

enum { SP_LANES_MAX = 16 };

typedef uint32_t sp_lane_row[SP_LANES_MAX]; /* one word of each lane; 64-byte aligned */

/* Lane l goes on over the block_count * 64 bytes at data[l], for every l below
 * the kernel's width; data need not be aligned.  An idle lane is given any
 * readable run of that length. */
typedef void sp_lane_kernel(sp_lane_row *state, const uint8_t *const *data, size_t block_count);

#if defined(__x86_64__)
/* gcc 12 makes a chain of the sums that were written as a tree and moves
 * instructions apart that belong together: a quarter of the speed of the
 * narrow kernels. */
#if defined(__clang__)
#define SP_LANE_KERNEL(cpu) __attribute__((target(cpu)))
#else
#define SP_LANE_KERNEL(cpu)                                                                        \
    __attribute__((target(cpu), optimize("no-tree-reassoc", "no-schedule-insns2")))
#endif

sp_lane_kernel sp_sha1_avx512x16; /* 16 lanes: AVX-512 F, BW, VL */
sp_lane_kernel sp_sha1_avx512x8;
sp_lane_kernel sp_sha1_avx512x4;
sp_lane_kernel sp_sha1_avx2x8;
sp_lane_kernel sp_sha1_ni; /* 1 lane: SHA, SSSE3, SSE4.1 */
sp_lane_kernel sp_sha1_ni2;
#endif

#endif
