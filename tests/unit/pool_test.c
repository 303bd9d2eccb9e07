#include "core/base/rng.h"
#include "core/pieces/pool.h"

#include "check.h"
#include "torture.h"

static const struct sp_mem *mem_of(struct torture *t)
{
    static struct sp_mem mem;
    mem = (struct sp_mem){torture_alloc, torture_free, t};
    return &mem;
}

static const struct {
    uint64_t bytes;
    enum sp_err err;
    uint32_t blocks, slabs;
} budgets[] = {
    {0, SP_EINVAL, 0, 0},
    {SP_BLOCK_LEN - 1, SP_EINVAL, 0, 0},
    {SP_BLOCK_LEN, SP_OK, 1, 1},
    {1 << 20, SP_OK, 64, 1},
    {SP_SLAB_LEN - SP_BLOCK_LEN, SP_OK, 127, 1},
    {SP_SLAB_LEN, SP_OK, 127, 1}, /* the header is paid for */
    {2 * SP_SLAB_LEN - 1, SP_OK, 127, 1},
    {2 * SP_SLAB_LEN, SP_OK, 254, 2},
    {UINT64_C(1) << 26, SP_OK, 32 * 127, 32},
    {(uint64_t)UINT32_MAX * SP_BLOCK_LEN, SP_EINVAL, 0, 0},
    {UINT64_MAX, SP_EINVAL, 0, 0},
};

TEST(pool_budgets)
{
    for (size_t i = 0; i < SP_COUNT(budgets); i++) {
        struct torture t = {.until_failure = -1};
        struct sp_pool pool = {0};
        CHECK_EQ(sp_pool_init(&pool, mem_of(&t), budgets[i].bytes), budgets[i].err);
        CHECK_EQ(pool.block_max, budgets[i].blocks);
        CHECK_EQ(pool.slab_max, budgets[i].slabs);
        sp_pool_done(&pool);
        CHECK_EQ(t.live, 0);
    }
}

TEST(pool_blocks_are_aligned_apart_and_last_in_first_out)
{
    enum { COUNT = 254 };
    struct torture t = {.until_failure = -1};
    struct sp_pool pool;
    uint8_t *block[COUNT];

    CHECK_EQ(sp_pool_init(&pool, mem_of(&t), 2 * SP_SLAB_LEN), SP_OK);
    for (int i = 0; i < COUNT; i++) {
        block[i] = sp_pool_get(&pool);
        CHECK(block[i] && (uintptr_t)block[i] % 4096 == 0);
        memset(block[i], i, SP_BLOCK_LEN);
        CHECK(i % 127 == 0 || block[i] == block[i - 1] + SP_BLOCK_LEN);
    }
    CHECK(!sp_pool_get(&pool));
    CHECK_EQ(pool.refusals, 1);
    CHECK_EQ(pool.used_peak, COUNT);
    for (int i = 0; i < COUNT; i++)
        CHECK(block[i][0] == (uint8_t)i && block[i][SP_BLOCK_LEN - 1] == (uint8_t)i);

    sp_pool_put(&pool, block[7]);
    sp_pool_put(&pool, block[200]);
    CHECK(sp_pool_get(&pool) == block[200]);
    CHECK(sp_pool_get(&pool) == block[7]);
    for (int i = 0; i < COUNT; i++)
        sp_pool_put(&pool, block[i]);
    sp_pool_put(&pool, NULL);
    CHECK_EQ(pool.used, 0);
    CHECK_EQ(sp_pool_trim(&pool), 2);
    CHECK_EQ(pool.free_count, 0);
    CHECK_EQ(t.live, 1); /* the table */
    sp_pool_done(&pool);
    CHECK_EQ(t.live, 0);
}

TEST(pool_references)
{
    struct torture t = {.until_failure = -1};
    struct sp_pool pool;

    CHECK_EQ(sp_pool_init(&pool, mem_of(&t), SP_BLOCK_LEN), SP_OK);
    uint8_t *block = sp_pool_get(&pool);
    sp_pool_ref(&pool, block);
    CHECK_EQ(sp_pool_refs(&pool, block), 2);
    sp_pool_put(&pool, block);
    CHECK_EQ(pool.used, 1);
    CHECK(!sp_pool_get(&pool));
    sp_pool_put(&pool, block);
    CHECK_EQ(pool.used, 0);
    CHECK(sp_pool_get(&pool) == block);
    CHECK_EQ(sp_pool_refs(&pool, block), 1);
    sp_pool_put(&pool, block);
    sp_pool_done(&pool);
}

TEST(pool_reservations_are_kept)
{
    struct torture t = {.until_failure = -1};
    struct sp_pool pool;

    CHECK_EQ(sp_pool_init(&pool, mem_of(&t), 4 * SP_BLOCK_LEN), SP_OK);
    CHECK(sp_pool_reserve(&pool, 0));
    CHECK(sp_pool_reserve(&pool, 1)); /* a whole block */
    CHECK(sp_pool_reserve(&pool, SP_BLOCK_LEN + 1));
    CHECK_EQ(pool.reserved, 3);
    CHECK_EQ(sp_pool_room(&pool), SP_BLOCK_LEN);
    CHECK(!sp_pool_reserve(&pool, SP_BLOCK_LEN + 1));
    CHECK(!sp_pool_reserve(&pool, UINT64_MAX));
    CHECK_EQ(pool.reserved, 3);

    uint8_t *a = sp_pool_get(&pool);
    CHECK(a && !sp_pool_get(&pool)); /* the rest is promised */
    uint8_t *b = sp_pool_get_reserved(&pool);
    CHECK(b != NULL);
    CHECK_EQ(pool.reserved, 2);
    sp_pool_unreserve(&pool, SP_BLOCK_LEN + 1);
    CHECK_EQ(pool.reserved, 0);
    CHECK_EQ(sp_pool_reserved_bytes(&pool), 0);
    CHECK_EQ(sp_pool_used_bytes(&pool), 2 * SP_BLOCK_LEN);
    CHECK_EQ(sp_pool_budget_bytes(&pool), 4 * SP_BLOCK_LEN);
    sp_pool_put(&pool, a);
    sp_pool_put(&pool, b);
    sp_pool_done(&pool);
}

/* Goal: a budget that changes under way breaks no promise.
 * Method: cut it below what is used and reserved, then grow it. */
TEST(pool_resize)
{
    struct torture t = {.until_failure = -1};
    struct sp_pool pool;
    uint8_t *block[300];

    CHECK_EQ(sp_pool_init(&pool, mem_of(&t), 3 * SP_SLAB_LEN), SP_OK);
    for (int i = 0; i < 200; i++)
        block[i] = sp_pool_get(&pool);
    CHECK(sp_pool_reserve(&pool, 100 * SP_BLOCK_LEN));
    CHECK_EQ(sp_pool_resize(&pool, 0), SP_EINVAL);
    CHECK_EQ(sp_pool_resize(&pool, SP_SLAB_LEN), SP_OK);
    CHECK_EQ(sp_pool_room(&pool), 0);
    CHECK(!sp_pool_get(&pool) && !sp_pool_reserve(&pool, 1));
    for (int i = 200; i < 300; i++)
        CHECK((block[i] = sp_pool_get_reserved(&pool)) != NULL);
    for (int i = 0; i < 300; i++)
        sp_pool_put(&pool, block[i]);
    CHECK_EQ(sp_pool_room(&pool), 127 * SP_BLOCK_LEN);
    t.until_failure = 0;
    CHECK_EQ(sp_pool_resize(&pool, 9 * SP_SLAB_LEN), SP_ENOMEM);
    CHECK_EQ(pool.block_max, 127);
    t.until_failure = -1;
    CHECK_EQ(sp_pool_resize(&pool, 9 * SP_SLAB_LEN), SP_OK);
    CHECK_EQ(sp_pool_room(&pool), 9 * 127 * SP_BLOCK_LEN);
    sp_pool_done(&pool);
    CHECK_EQ(t.live, 0);
}

TEST(pool_survives_failing_allocations)
{
    struct torture t = {.until_failure = 0};
    struct sp_pool pool = {0};

    CHECK_EQ(sp_pool_init(&pool, mem_of(&t), SP_SLAB_LEN), SP_ENOMEM);
    sp_pool_done(&pool);
    t.until_failure = 1;
    CHECK_EQ(sp_pool_init(&pool, mem_of(&t), SP_SLAB_LEN), SP_OK);
    CHECK(sp_pool_reserve(&pool, SP_BLOCK_LEN));
    CHECK(!sp_pool_get_reserved(&pool));
    CHECK_EQ(pool.reserved, 1);
    CHECK_EQ(pool.failures, 1);
    uint8_t *block = sp_pool_get_reserved(&pool);
    CHECK(block != NULL);
    sp_pool_put(&pool, block);
    sp_pool_done(&pool);
    CHECK_EQ(t.live, 0);
}

/* Goal: counts, lists and slabs agree after any history.
 * Method: random gets, refs, puts, reserves and trims against plain arrays. */
TEST(pool_model)
{
    enum { MAX = 700 };
    static uint8_t *held[MAX];
    static uint32_t refs[MAX];
    struct torture t = {.until_failure = -1};
    struct sp_rng rng = sp_rng_of(11);
    struct sp_pool pool;
    uint32_t count = 0, reserved = 0;

    CHECK_EQ(sp_pool_init(&pool, mem_of(&t), 5 * SP_SLAB_LEN), SP_OK);
    for (int step = 0; step < 120000; step++) {
        bool growing = step / 10000 % 2 == 0;
        uint64_t what = sp_rng_below(&rng, 10);
        bool full = count + reserved == pool.block_max;
        if (what < (growing ? 5 : 2)) {
            uint8_t *block = sp_pool_get(&pool);
            CHECK((block == NULL) == full);
            if (block) {
                held[count] = block;
                refs[count++] = 1;
                block[0] = block[SP_BLOCK_LEN - 1] = 1;
            }
        } else if (what < 7 && count > 0) {
            uint32_t i = (uint32_t)sp_rng_below(&rng, count);
            CHECK_EQ(sp_pool_refs(&pool, held[i]), refs[i]);
            sp_pool_put(&pool, held[i]);
            if (--refs[i] == 0) {
                held[i] = held[--count];
                refs[i] = refs[count];
            }
        } else if (what == 7 && count > 0) {
            uint32_t i = (uint32_t)sp_rng_below(&rng, count);
            sp_pool_ref(&pool, held[i]);
            refs[i]++;
        } else if (what == 8) {
            CHECK_EQ(sp_pool_reserve(&pool, 1), !full);
            reserved += !full;
        } else if (reserved > 0) {
            reserved--;
            if (sp_rng_below(&rng, 2)) {
                held[count] = sp_pool_get_reserved(&pool);
                refs[count++] = 1;
            } else {
                sp_pool_unreserve(&pool, 1);
            }
        }
        if (sp_rng_below(&rng, 500) == 0)
            sp_pool_trim(&pool);
        CHECK_EQ(pool.used, count);
        CHECK_EQ(pool.reserved, reserved);
        CHECK(pool.used + pool.reserved <= pool.block_max && pool.slab_count <= pool.slab_max);
        CHECK_EQ(pool.used + pool.free_count, pool.slab_count * SP_SLAB_BLOCKS);
        CHECK_EQ(t.live, 1 + (int)pool.slab_count);
    }
    while (count > 0) {
        sp_pool_put(&pool, held[count - 1]);
        count -= --refs[count - 1] == 0;
    }
    sp_pool_done(&pool);
    CHECK_EQ(t.live, 0);
}

int main(void)
{
    return check_run();
}
