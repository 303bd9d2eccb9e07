/* lanes.h - drives many scattered messages through the kernels.
 *
 *   messages  m0 m1 m2 m3 ...        (a queue; any lengths, any cuts)
 *   lanes     |  |  |  |             each walks the parts of its message in runs of whole blocks
 *   kernel    ==========  step       all advance by the shortest run; a lane that ends is refilled
 *
 * Whenever lanes end, the plan says which kernel suits the number of messages
 * that are left, and the others go on with that one where they are.
 *
 * A hash here has 64-byte blocks, up to eight 32-bit big-endian words of state
 * and the padding of FIPS 180-4, 5.1.1: SHA-1 and SHA-256.
 */
#ifndef SP_IO_LANES_H
#define SP_IO_LANES_H

#include "io/hash/hash.h"
#include "io/hash/sha1_kernels.h"

/* One way to hash. */
struct sp_lane_kind {
    const char *name;
    sp_lane_kernel *run; /* NULL: whole messages, one after the other, by OpenSSL */
    uint32_t width;      /* lanes; 1 for OpenSSL */
    bool is_here;        /* the CPU has what it takes */
};

enum { SP_LANE_KINDS_MAX = 8 };

struct sp_lane_plan {
    uint32_t words;                         /* of state */
    uint32_t start[8];                      /* state of a message not begun */
    void (*whole)(struct sp_hash_msg *msg); /* by OpenSSL */
    /* For as many messages under way or waiting (16: or more), from 1 on. */
    const struct sp_lane_kind *best[SP_LANES_MAX + 1];
    /* The same among those with a kernel, for messages begun; NULL when best has none. */
    const struct sp_lane_kind *begun[SP_LANES_MAX + 1];
    uint32_t batch; /* how many messages it takes to be fast */
};

/* Where messages come from: a list, or else an array. */
struct sp_lane_queue {
    struct sp_hash_msg *const *list;
    struct sp_hash_msg *array;
    uint32_t count; /* not yet taken; list or array are at the next one */
};

void sp_lanes_run(const struct sp_lane_plan *plan, struct sp_lane_queue queue);

/* All kinds of SHA-1; the last is OpenSSL. */
void sp_sha1_kinds(struct sp_lane_kind ret_kinds[SP_LANE_KINDS_MAX], uint32_t *ret_count);
/* What this CPU does best, measured at the first call. */
const struct sp_lane_plan *sp_sha1_plan(void);
/* One kind for everything, as tests and benchmarks need it. */
struct sp_lane_plan sp_sha1_plan_of(const struct sp_lane_kind *kind);

#endif
