#include "io/hash/hash.h"

/* One after the other. */
static void evp_each(struct sp_hash_msg *const *msgs, uint32_t count)
{
    struct sp_hash_stream s;

    if (sp_hash_stream_init(&s) != SP_OK) {
        s.ctx = NULL; /* no memory for a context: the plain one needs none */
        sp_sha1_init(&s.plain);
    }
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t p = 0; p < msgs[i]->part_count; p++)
            sp_hash_stream_add(&s, msgs[i]->parts[p].ptr, msgs[i]->parts[p].len);
        sp_hash_stream_end(&s, msgs[i]->digest);
    }
    sp_hash_stream_done(&s);
}

void sp_hash_sha1_each(struct sp_hash_msg *const *msgs, uint32_t count)
{
    evp_each(msgs, count);
}

void sp_hash_sha1_many(struct sp_hash_msg *msgs, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        evp_each((struct sp_hash_msg *const[]){&msgs[i]}, 1);
}

void sp_hash_sha1(struct sp_slice bytes, uint8_t ret_digest[SP_SHA1_LEN])
{
    struct sp_hash_msg msg = {.parts = &bytes, .part_count = 1};

    sp_hash_sha1_many(&msg, 1);
    __builtin_memcpy(ret_digest, msg.digest, SP_SHA1_LEN);
}

uint32_t sp_hash_best_batch(void)
{
    return 1;
}

const char *sp_hash_kernel_name(uint32_t count)
{
    (void)count;
    return "evp";
}
