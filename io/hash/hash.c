#include "io/hash/hash.h"

#include <string.h>

#include "io/hash/lanes.h"

void sp_hash_sha1_each(struct sp_hash_msg *const *msgs, uint32_t count)
{
    sp_lanes_run(sp_sha1_plan(), (struct sp_lane_queue){.list = msgs, .count = count});
}

void sp_hash_sha1_many(struct sp_hash_msg *msgs, uint32_t count)
{
    sp_lanes_run(sp_sha1_plan(), (struct sp_lane_queue){.array = msgs, .count = count});
}

void sp_hash_sha1(struct sp_slice bytes, uint8_t ret_digest[SP_SHA1_LEN])
{
    struct sp_hash_msg msg = {.parts = &bytes, .part_count = 1};

    sp_hash_sha1_many(&msg, 1);
    memcpy(ret_digest, msg.digest, SP_SHA1_LEN);
}

uint32_t sp_hash_best_batch(void)
{
    return sp_sha1_plan()->batch;
}

const char *sp_hash_kernel_name(uint32_t count)
{
    if (count == 0)
        return "none";
    return sp_sha1_plan()->best[count < SP_LANES_MAX ? count : SP_LANES_MAX]->name;
}
