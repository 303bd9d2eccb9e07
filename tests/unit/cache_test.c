/* Blocks kept for peers: the one not asked for longest goes first; where
 * nobody asks twice, only a sample is kept. */
#include "core/torrent/cache.h"

#include "check.h"
#include "torture.h"

enum { POOL_BLOCKS = 512 };

static const struct sp_hash_key key = {1, 2};
static struct torture torture;
static struct sp_mem mem;
static struct sp_pool pool;
static struct sp_cache cache;

static void up(uint32_t max)
{
    torture = (struct torture){.until_failure = -1};
    mem = (struct sp_mem){torture_alloc, torture_free, &torture};
    CHECK_EQ(sp_pool_init(&pool, &mem, POOL_BLOCKS * SP_BLOCK_LEN), SP_OK);
    sp_cache_init(&cache, &mem, &pool, &key, max);
}

static void down(void)
{
    sp_cache_done(&cache);
    CHECK_EQ(pool.used, 0);
    sp_pool_done(&pool);
    CHECK_EQ(torture.live, 0);
}

/* As serving does: from the cache, or read and offered to it. */
static bool serve(uint32_t piece, uint32_t block)
{
    uint8_t *data = sp_cache_get(&cache, 1, piece, block);
    bool hit = data != NULL;
    if (!hit) {
        data = sp_pool_get(&pool);
        CHECK(data);
        sp_cache_put(&cache, 1, piece, block, data);
    }
    sp_pool_put(&pool, data);
    return hit;
}

TEST(cache_forgets_the_least_recently_used)
{
    up(4);
    for (uint32_t b = 0; b < 4; b++)
        CHECK(!serve(7, b));
    CHECK(serve(7, 0));
    CHECK(!serve(7, 4)); /* in place of 1 */
    CHECK(serve(7, 0) && serve(7, 2) && serve(7, 3) && serve(7, 4));
    CHECK(!serve(7, 1)); /* in place of 0 */
    CHECK(!serve(7, 0));
    CHECK(!sp_cache_get(&cache, 2, 7, 1)); /* of another torrent */
    CHECK_EQ(cache.count, 4);
    sp_cache_forget(&cache, 1);
    CHECK_EQ(cache.count, 0);
    CHECK(!sp_cache_evict(&cache));
    down();
}

TEST(cache_keeps_a_sample_of_what_nobody_asks_twice)
{
    up(256);
    uint32_t piece = 0;
    CHECK(cache.pays);
    for (; cache.pays && piece < 10000; piece++) {
        for (uint32_t b = 0; b < 16; b++)
            CHECK(!serve(piece, b));
    }
    CHECK(piece > 512 && piece < 2048); /* 1024 of the sampled pieces' blocks: about 1024 pieces */
    for (uint32_t i = 0; i < 1000; i++, piece++)
        CHECK(!serve(piece, 0));
    CHECK(!cache.pays);
    CHECK(cache.count <= 256 / SP_CACHE_SAMPLE + 1);
    down();
}

TEST(cache_keeps_all_again_when_it_pays)
{
    up(256);
    cache.pays = false;
    uint32_t rounds = 0;
    for (; !cache.pays && rounds < 10000; rounds++) {
        for (uint32_t piece = 0; piece < 128; piece++)
            (void)serve(piece, 0);
    }
    CHECK(cache.pays && rounds < 1000);
    for (uint32_t piece = 0; piece < 128; piece++)
        (void)serve(piece, 0);
    for (uint32_t piece = 0; piece < 128; piece++)
        CHECK(serve(piece, 0));
    down();
}

TEST(cache_survives_lack_of_memory)
{
    for (int fail = 0; fail < 6; fail++) {
        up(8);
        CHECK(!serve(1, 0));
        sp_cache_forget(&cache, 1);
        down();
        up(128);
        sp_pool_put(&pool, sp_pool_get(&pool)); /* its slab is not what fails */
        torture.until_failure = fail;
        for (uint32_t b = 0; b < 100; b++)
            CHECK(!serve(1, b));
        torture.until_failure = -1;
        CHECK(!serve(1, 100) && serve(1, 100));
        down();
    }
}

int main(void)
{
    return check_run();
}
