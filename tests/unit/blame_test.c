#include "core/picker/blame.h"

#include "check.h"
#include "torture.h"

static const struct sp_hash_key key = {1, 2};

struct fix {
    struct torture torture;
    struct sp_mem mem;
    struct sp_blame b;
};

static void up(struct fix *f)
{
    *f = (struct fix){.torture = {.until_failure = -1}};
    f->mem = (struct sp_mem){torture_alloc, torture_free, &f->torture};
    sp_blame_init(&f->b, &f->mem, key);
}

static void down(struct fix *f)
{
    sp_blame_done(&f->b);
    sp_blame_done(&f->b);
    CHECK_EQ(f->torture.live, 0);
}

TEST(blame_one_sender_is_guilty_at_once)
{
    struct fix f;
    const uint64_t prints[] = {1, 2, 3}, from[] = {77, 77, 77};
    uint64_t guilty = 5;

    up(&f);
    CHECK(sp_blame_failed(&f.b, 9, prints, from, 3, &guilty));
    CHECK_EQ(guilty, 77);
    CHECK(!sp_blame_remembers(&f.b, 9));
    guilty = 5;
    CHECK(!sp_blame_failed(&f.b, 9, prints, from, 0, &guilty));
    CHECK_EQ(guilty, 5);
    down(&f);
}

TEST(blame_the_block_that_differs)
{
    struct fix f;
    const uint64_t bad[] = {1, 2, 30, 40}, bad2[] = {10, 2, 3, 4}, good[] = {1, 2, 3, 4};
    const uint64_t from[] = {100, 101, 102, 102}, from2[] = {104, 101, 100, 100};
    const uint64_t from3[] = {101, 101, 101, 101};
    uint64_t guilty[8] = {0};

    up(&f);
    CHECK(!sp_blame_failed(&f.b, 9, bad, from, 4, guilty));
    CHECK(!sp_blame_failed(&f.b, 8, bad, from, 4, guilty));
    CHECK(!sp_blame_failed(&f.b, 9, bad2, from2, 4, guilty));
    CHECK(sp_blame_remembers(&f.b, 9));
    CHECK_EQ(sp_blame_passed(&f.b, 7, good, from3, 4, guilty, 8), 0);
    CHECK_EQ(sp_blame_passed(&f.b, 9, good, from3, 4, guilty, 8), 2);
    CHECK_EQ(guilty[0], 102); /* twice wrong, named once */
    CHECK_EQ(guilty[1], 104);
    CHECK(!sp_blame_remembers(&f.b, 9) && sp_blame_remembers(&f.b, 8));
    CHECK_EQ(sp_blame_passed(&f.b, 9, good, from3, 4, guilty, 8), 0);
    CHECK_EQ(sp_blame_passed(&f.b, 8, good, from3, 4, guilty, 0), 0); /* no room to name */
    CHECK(!sp_blame_failed(&f.b, 8, bad, from, 4, guilty));
    sp_blame_forget(&f.b, 8);
    CHECK(!sp_blame_remembers(&f.b, 8));
    CHECK_EQ(f.b.block_count, 0);
    down(&f);
}

TEST(blame_trust_falls_and_comes_back)
{
    struct fix f;
    const uint64_t prints[] = {1, 2, 3}, from[] = {1, 2, 1}, good[] = {2, 2, 2};
    uint64_t guilty[2];

    up(&f);
    for (uint32_t i = 0; i < 3; i++)
        CHECK(!sp_blame_failed(&f.b, i, prints, from, 3, guilty));
    CHECK_EQ(sp_blame_trust(&f.b, 1), -6);
    CHECK(!sp_blame_suspect(&f.b, 1));
    CHECK(!sp_blame_failed(&f.b, 3, prints, from, 3, guilty));
    CHECK(sp_blame_suspect(&f.b, 1) && sp_blame_suspect(&f.b, 2) && !sp_blame_suspect(&f.b, 3));
    for (uint32_t i = 0; i < 8; i++)
        CHECK_EQ(sp_blame_passed(&f.b, 50, NULL, good, 3, guilty, 2), 0);
    CHECK_EQ(sp_blame_trust(&f.b, 2), 0);
    CHECK_EQ(f.b.peer_count, 1);
    for (uint32_t i = 0; i < 200; i++)
        CHECK(!sp_blame_failed(&f.b, i, prints, from, 3, guilty));
    CHECK_EQ(sp_blame_trust(&f.b, 1), -128);
    down(&f);
}

/* Goal: strangers cannot make it grow.
 * Method: more failures and peers than it keeps; the oldest goes. */
TEST(blame_memory_is_bounded)
{
    struct fix f;
    static uint64_t prints[SP_BLAME_BLOCKS_MAX + 1], from[SP_BLAME_BLOCKS_MAX + 1];
    uint64_t guilty;

    up(&f);
    for (uint32_t i = 0; i < 3 * SP_BLAME_PIECES_MAX; i++) {
        from[0] = 2 * i + 1;
        from[1] = 2 * i + 2;
        CHECK(!sp_blame_failed(&f.b, i, prints, from, 2, &guilty));
    }
    CHECK_EQ(f.b.piece_count, SP_BLAME_PIECES_MAX);
    CHECK(!sp_blame_remembers(&f.b, 2 * SP_BLAME_PIECES_MAX - 1));
    CHECK(sp_blame_remembers(&f.b, 2 * SP_BLAME_PIECES_MAX));
    for (uint32_t i = 0; i < 2 * SP_BLAME_PEERS_MAX; i++) {
        from[0] = 100000 + i;
        CHECK(!sp_blame_failed(&f.b, 5, prints, from, 2, &guilty));
        CHECK(f.b.peer_count <= SP_BLAME_PEERS_MAX);
    }
    CHECK_EQ(f.b.peer_count, SP_BLAME_PEERS_MAX);
    CHECK_EQ(sp_blame_trust(&f.b, 100000), 0);
    CHECK_EQ(sp_blame_trust(&f.b, from[0]), -2);

    from[0] = 1;
    CHECK(!sp_blame_failed(&f.b, 6, prints, from, SP_BLAME_BLOCKS_MAX, &guilty));
    CHECK_EQ(f.b.piece_count, 1);
    CHECK(!sp_blame_failed(&f.b, 7, prints, from, SP_BLAME_BLOCKS_MAX + 1, &guilty));
    CHECK(!sp_blame_remembers(&f.b, 7));
    CHECK(!sp_blame_failed(&f.b, 8, prints, from, 2, &guilty));
    CHECK(sp_blame_remembers(&f.b, 8) && !sp_blame_remembers(&f.b, 6));
    down(&f);
}

TEST(blame_survives_each_failing_allocation)
{
    const uint64_t prints[] = {1, 2}, from[] = {1, 2}, good[] = {1, 3};
    int tries = 0;
    bool failed = true;

    for (; failed && tries < 50; tries++) {
        struct fix f;
        uint64_t guilty[2];
        up(&f);
        f.torture.until_failure = tries;
        CHECK(!sp_blame_failed(&f.b, 1, prints, from, 2, guilty));
        uint32_t count = sp_blame_passed(&f.b, 1, good, from, 2, guilty, 2);
        failed = f.torture.until_failure < 0;
        CHECK(count == 1 ? guilty[0] == 2 : failed);
        down(&f);
    }
    CHECK_EQ(tries, 4); /* peers, their map, the piece; then none fails */
}

int main(void)
{
    return check_run();
}
