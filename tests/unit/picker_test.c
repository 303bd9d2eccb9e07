#include "core/picker/picker.h"

#include "check.h"
#include "torture.h"

enum { PIECE = 4 * SP_BLOCK_LEN };
#define NO_LIMIT UINT64_MAX

struct fix {
    struct torture torture;
    struct sp_mem mem;
    struct sp_rng rng;
    struct sp_picker *p;
};

static void up(struct fix *f, uint32_t pieces, uint64_t total, uint64_t seed)
{
    *f = (struct fix){.torture = {.until_failure = -1}, .rng = sp_rng_of(seed)};
    f->mem = (struct sp_mem){torture_alloc, torture_free, &f->torture};
    struct sp_picker_cfg cfg = {&f->mem, &f->rng, pieces, PIECE, total, NULL, NULL};
    CHECK_EQ(sp_picker_new(&cfg, &f->p), SP_OK);
}

static void up_whole(struct fix *f, uint32_t pieces, uint64_t seed)
{
    up(f, pieces, (uint64_t)pieces * PIECE, seed);
}

static void down(struct fix *f)
{
    sp_picker_free(f->p);
    CHECK_EQ(f->torture.live, 0);
}

static struct sp_bits bits_of(struct fix *f, uint32_t count, const char *which)
{
    struct sp_bits b;
    CHECK_EQ(sp_bits_init(&b, &f->mem, count), SP_OK);
    for (uint32_t i = 0; which[i]; i++)
        if (which[i] == '1')
            sp_bits_add(&b, i);
    return b;
}

static uint32_t pick(struct fix *f, uint32_t peer, const struct sp_bits *have, uint32_t count,
                     bool fast, struct sp_block_ref *out)
{
    struct sp_pick ask = {
        .peer = peer, .have = have, .count = count, .open_max_bytes = NO_LIMIT, .fast = fast};
    return sp_picker_pick(f->p, &ask, out);
}

static uint8_t some_data[1];

static void get_all(struct fix *f, uint32_t peer, const struct sp_block_ref *refs, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        sp_picker_got(f->p, refs[i], peer, some_data);
}

/* Past the random first pieces: the last SP_PICKER_RANDOM_FIRST are had. */
static void have_some(struct fix *f)
{
    for (uint32_t i = 0; i < SP_PICKER_RANDOM_FIRST; i++)
        sp_picker_set_have(f->p, sp_picker_piece_count(f->p) - 1 - i, true);
}

static const struct {
    uint32_t pieces, piece_len;
    uint64_t total;
    enum sp_err err;
    uint32_t last_len, last_blocks, last_block_len;
} shapes[] = {
    {1, 1, 1, SP_OK, 1, 1, 1},
    {1, 16384, 16384, SP_OK, 16384, 1, 16384},
    {2, 16384, 16385, SP_OK, 1, 1, 1},
    {3, 65536, 3 * 65536, SP_OK, 65536, 4, 16384},
    {3, 65536, 2 * 65536 + 20000, SP_OK, 20000, 2, 3616},
    {2, 20000, 40000, SP_OK, 20000, 2, 3616},
    {0, 16384, 0, SP_EINVAL, 0, 0, 0},
    {0, 16384, 1, SP_EINVAL, 0, 0, 0},
    {1, 16384, 0, SP_EINVAL, 0, 0, 0},
    {1, 0, 1, SP_EINVAL, 0, 0, 0},
    {1, 16384, 16385, SP_EINVAL, 0, 0, 0},
    {2, 16384, 16384, SP_EINVAL, 0, 0, 0},
    {3, 65536, UINT64_MAX, SP_EINVAL, 0, 0, 0},
    {SP_PICKER_PIECE_MAX + 1, 1, SP_PICKER_PIECE_MAX + 1, SP_EINVAL, 0, 0, 0},
    {1, SP_PICKER_PIECE_LEN_MAX + 1u, 1, SP_EINVAL, 0, 0, 0},
};

TEST(picker_shapes)
{
    for (size_t i = 0; i < SP_COUNT(shapes); i++) {
        struct fix f = {.torture = {.until_failure = -1}};
        f.mem = (struct sp_mem){torture_alloc, torture_free, &f.torture};
        struct sp_picker_cfg cfg = {
            &f.mem, &f.rng, shapes[i].pieces, shapes[i].piece_len, shapes[i].total, NULL, NULL};
        enum sp_err err = sp_picker_new(&cfg, &f.p);
        CHECK_EQ(err, shapes[i].err);
        if (err == SP_OK) {
            uint32_t last = shapes[i].pieces - 1, block = shapes[i].last_blocks - 1;
            CHECK_EQ(sp_picker_piece_len(f.p, last), shapes[i].last_len);
            CHECK_EQ(sp_picker_block_count(f.p, last), shapes[i].last_blocks);
            CHECK_EQ(sp_picker_block_len(f.p, (struct sp_block_ref){last, block}),
                     shapes[i].last_block_len);
            CHECK(sp_picker_has_block(f.p, (struct sp_block_ref){last, block}));
            CHECK(!sp_picker_has_block(f.p, (struct sp_block_ref){last, block + 1}));
            CHECK(!sp_picker_has_block(f.p, (struct sp_block_ref){last + 1, 0}));
            CHECK_EQ(sp_picker_counts(f.p).wanted_left_bytes, shapes[i].total);
        }
        sp_picker_free(f.p);
        CHECK_EQ(f.torture.live, 0);
    }
}

static uint32_t by_file(const void *ctx, uint32_t piece)
{
    return ((const uint32_t *)ctx)[piece];
}

TEST(picker_short_pieces_in_the_middle)
{
    static const uint32_t lens[] = {PIECE, 1, SP_BLOCK_LEN + 1, PIECE, 77};
    struct fix f = {.torture = {.until_failure = -1}, .rng = sp_rng_of(1)};
    struct sp_block_ref out[16];
    f.mem = (struct sp_mem){torture_alloc, torture_free, &f.torture};
    struct sp_picker_cfg cfg = {.mem = &f.mem,
                                .rng = &f.rng,
                                .piece_count = 5,
                                .piece_len = PIECE,
                                .len_of = by_file,
                                .len_ctx = lens};
    CHECK_EQ(sp_picker_new(&cfg, &f.p), SP_OK);
    CHECK_EQ(sp_picker_counts(f.p).wanted_left_bytes, 2 * PIECE + 1 + SP_BLOCK_LEN + 1 + 77);
    CHECK_EQ(sp_picker_block_count(f.p, 2), 2);
    CHECK_EQ(sp_picker_block_len(f.p, (struct sp_block_ref){2, 1}), 1);
    CHECK(!sp_picker_has_block(f.p, (struct sp_block_ref){1, 1}));
    CHECK_EQ(pick(&f, 1, NULL, 16, true, out), 4 + 1 + 2 + 4 + 1);
    get_all(&f, 1, out, 12);
    CHECK_EQ(sp_picker_counts(f.p).got_bytes, sp_picker_counts(f.p).open_bytes);
    sp_picker_set_have(f.p, 2, true);
    sp_picker_set_have(f.p, 4, true);
    CHECK_EQ(sp_picker_counts(f.p).have_bytes, SP_BLOCK_LEN + 1 + 77);
    CHECK_EQ(sp_picker_counts(f.p).wanted_left_bytes, 2 * PIECE + 1);
    down(&f);
}

TEST(picker_a_piece_from_idle_to_have)
{
    struct fix f;
    struct sp_block_ref out[8];

    up(&f, 3, 2 * PIECE + 5, 1);
    sp_picker_seeds(f.p, 1);
    CHECK_EQ(sp_picker_set_priority(f.p, 0, 0), SP_OK);
    CHECK_EQ(sp_picker_set_priority(f.p, 1, 0), SP_OK);
    CHECK_EQ(sp_picker_counts(f.p).wanted_left_bytes, 5);
    CHECK_EQ(sp_picker_state(f.p, 2), SP_PIECE_IDLE);
    CHECK_EQ(pick(&f, 7, NULL, 8, true, out), 1);
    CHECK(out[0].piece == 2 && out[0].block == 0);
    CHECK_EQ(sp_picker_state(f.p, 2), SP_PIECE_OPEN);
    CHECK_EQ(sp_picker_counts(f.p).asked, 1);
    CHECK_EQ(sp_picker_counts(f.p).open_bytes, 5);
    CHECK_EQ(sp_picker_got(f.p, (struct sp_block_ref){1, 0}, 7, some_data), SP_GOT_UNWANTED);
    CHECK_EQ(sp_picker_would_get(f.p, out[0]), SP_GOT_PIECE_FULL);
    CHECK_EQ(sp_picker_got(f.p, out[0], 7, some_data), SP_GOT_PIECE_FULL);
    CHECK_EQ(sp_picker_got(f.p, out[0], 7, NULL), SP_GOT_DUPLICATE);
    CHECK_EQ(sp_picker_state(f.p, 2), SP_PIECE_FULL);
    CHECK_EQ(sp_picker_counts(f.p).got_bytes, 5);
    struct sp_open_piece *o = sp_picker_open(f.p, 2);
    CHECK(o && o->owner == 7 && o->blocks[0].data == some_data && o->blocks[0].from == 7);
    CHECK(sp_picker_open_first(f.p) == o && !sp_picker_open_next(o));
    sp_picker_set_have(f.p, 2, true);
    CHECK_EQ(sp_picker_state(f.p, 2), SP_PIECE_HAVE);
    CHECK_EQ(sp_picker_counts(f.p).have_bytes, 5);
    CHECK_EQ(sp_picker_counts(f.p).open_bytes, 0);
    CHECK_EQ(sp_picker_counts(f.p).wanted_left, 0);
    CHECK_EQ(sp_picker_got(f.p, out[0], 7, some_data), SP_GOT_UNWANTED);
    CHECK_EQ(pick(&f, 7, NULL, 8, true, out), 0);
    sp_picker_set_have(f.p, 2, false);
    CHECK_EQ(pick(&f, 7, NULL, 8, true, out), 1);
    down(&f);
}

/* Goal: the documented memory, to the array.
 * Method: count live allocations in each phase. */
TEST(picker_rests_with_its_bitfields)
{
    struct fix f;
    struct sp_block_ref out[4];

    up_whole(&f, 100, 1);
    CHECK_EQ(f.torture.live, 3);
    struct sp_bits some = bits_of(&f, 100, "0101");
    sp_picker_peer_bits(f.p, &some, 1);
    CHECK_EQ(f.torture.live, 3 + 1 + 1); /* some; availability */
    CHECK_EQ(pick(&f, 1, &some, 4, false, out), 4);
    get_all(&f, 1, out, 4);
    for (uint32_t i = 0; i < 100; i++)
        sp_picker_set_have(f.p, i, true);
    CHECK_EQ(f.torture.live, 5);
    sp_picker_peer_bits(f.p, &some, -1);
    sp_bits_done(&some, &f.mem);
    CHECK_EQ(f.torture.live, 3);
    down(&f);
}

TEST(picker_rarest_first)
{
    struct fix f;
    struct sp_block_ref out[4];

    for (uint64_t seed = 0; seed < 20; seed++) {
        up_whole(&f, 12, seed);
        have_some(&f);
        struct sp_bits a = bits_of(&f, 12, "11111111"), b = bits_of(&f, 12, "11101111"),
                       c = bits_of(&f, 12, "11101101");
        sp_picker_peer_bits(f.p, &a, 1);
        sp_picker_peer_bits(f.p, &b, 1);
        sp_picker_peer_bits(f.p, &c, 1);
        CHECK_EQ(sp_picker_avail(f.p, 3), 1);
        CHECK_EQ(sp_picker_avail(f.p, 6), 2);
        CHECK_EQ(sp_picker_avail(f.p, 0), 3);
        CHECK_EQ(pick(&f, 0, &c, 4, true, out), 4);
        CHECK(out[0].piece != 3 && out[0].piece != 6); /* it has neither */
        CHECK_EQ(pick(&f, 1, &a, 4, true, out), 4);
        CHECK_EQ(out[0].piece, 3);
        CHECK_EQ(pick(&f, 1, &a, 4, true, out), 4);
        CHECK_EQ(out[0].piece, 6);
        sp_picker_avail_add(f.p, 1, -1);
        sp_picker_avail_add(f.p, 1, -1);
        if (sp_picker_state(f.p, 1) == SP_PIECE_IDLE) {
            CHECK_EQ(pick(&f, 2, &a, 4, true, out), 4);
            CHECK_EQ(out[0].piece, 1);
        }
        sp_bits_done(&a, &f.mem);
        sp_bits_done(&b, &f.mem);
        sp_bits_done(&c, &f.mem);
        down(&f);
    }
}

TEST(picker_ties_and_first_pieces_are_random)
{
    struct fix f;
    struct sp_block_ref out[4];
    uint32_t seen[2][64] = {0};

    for (uint32_t mode = 0; mode < 4; mode++) {
        for (uint64_t seed = 0; seed < 640; seed++) {
            up_whole(&f, 64, seed);
            struct sp_bits all = bits_of(&f, 64, "");
            sp_bits_fill(&all, true);
            if (mode & 1)
                sp_picker_peer_bits(f.p, &all, 1);
            if (mode & 2)
                have_some(&f);
            pick(&f, 1, mode & 1 ? &all : NULL, 4, true, out);
            seen[mode >> 1][out[0].piece]++;
            sp_bits_done(&all, &f.mem);
            down(&f);
        }
    }
    for (uint32_t i = 0; i < 64; i++) {
        CHECK(seen[0][i] >= 3 && seen[0][i] <= 60); /* 20 each */
        CHECK(i >= 60 ? seen[1][i] == 0 : seen[1][i] >= 3 && seen[1][i] <= 60);
    }
}

/* Goal: until something is had the rarest is not rushed at.
 * Method: one piece is rarer; it is taken at once only when four are had. */
TEST(picker_first_pieces_are_not_the_rarest)
{
    struct fix f;
    struct sp_block_ref out[4];
    uint32_t rarest[2] = {0};

    for (uint32_t seed = 0; seed < 200; seed++) {
        up_whole(&f, 64, seed);
        struct sp_bits all = bits_of(&f, 64, ""), less = bits_of(&f, 64, "");
        sp_bits_fill(&all, true);
        sp_bits_fill(&less, true);
        sp_bits_del(&less, 9);
        sp_picker_peer_bits(f.p, &all, 1);
        sp_picker_peer_bits(f.p, &less, 1);
        if (seed & 1)
            have_some(&f);
        pick(&f, 1, &all, 4, true, out);
        rarest[seed & 1] += out[0].piece == 9;
        sp_bits_done(&all, &f.mem);
        sp_bits_done(&less, &f.mem);
        down(&f);
    }
    CHECK_EQ(rarest[1], 100);
    CHECK(rarest[0] < 12);
}

/* Goal: with many pieces and peers the order lags by a share of the peers only.
 * Method: bitfields make one piece the rarest; it is taken once more than a
 * sixteenth of the peers have come since the order was made. */
TEST(picker_order_is_not_stale_for_long)
{
    enum { PIECES = 6000, MANY = 48, LATER = MANY / 16 + 2 };
    struct fix f;
    struct sp_block_ref out[4];

    up_whole(&f, PIECES, 1);
    have_some(&f);
    struct sp_bits all = bits_of(&f, PIECES, ""), less = bits_of(&f, PIECES, "");
    sp_bits_fill(&all, true);
    sp_bits_fill(&less, true);
    sp_bits_del(&less, 3000);
    for (int i = 0; i < MANY; i++)
        sp_picker_peer_bits(f.p, &all, 1);
    CHECK_EQ(pick(&f, 1, &all, 4, true, out), 4);
    CHECK(out[0].piece != 3000);
    for (int i = 0; i < LATER; i++)
        sp_picker_peer_bits(f.p, &less, 1);
    CHECK_EQ(pick(&f, 1, &all, 4, true, out), 4);
    CHECK_EQ(out[0].piece, 3000);
    sp_bits_done(&all, &f.mem);
    sp_bits_done(&less, &f.mem);
    down(&f);
}

TEST(picker_priority_goes_before_rarity_and_before_open_pieces)
{
    struct fix f;
    struct sp_block_ref out[4];

    up_whole(&f, 12, 3);
    have_some(&f);
    struct sp_bits a = bits_of(&f, 12, "11011111"), all = bits_of(&f, 12, "11111111");
    sp_picker_peer_bits(f.p, &a, 1);
    sp_picker_peer_bits(f.p, &all, 1); /* 2 is the rarest */
    CHECK_EQ(pick(&f, 1, &all, 1, false, out), 1);
    CHECK_EQ(out[0].piece, 2);
    CHECK_EQ(sp_picker_set_priority(f.p, 5, 7), SP_OK);
    CHECK_EQ(sp_picker_set_priority(f.p, 4, 1), SP_OK);
    CHECK_EQ(pick(&f, 2, &all, 4, false, out), 4);
    CHECK_EQ(out[0].piece, 5); /* although 2 is open, begun and rarer */
    CHECK_EQ(sp_picker_set_priority(f.p, 2, 0), SP_OK);
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(pick(&f, 2, &all, 4, false, out), 4);
        CHECK(out[0].piece != 2 && out[0].piece != 4);
    }
    CHECK_EQ(pick(&f, 2, &all, 4, false, out), 4);
    CHECK_EQ(out[0].piece, 4); /* lowest, last */
    CHECK_EQ(pick(&f, 2, &all, 4, false, out), 0);
    CHECK_EQ(sp_picker_got(f.p, (struct sp_block_ref){2, 0}, 1, some_data), SP_GOT_NEW);
    CHECK_EQ(sp_picker_set_priority(f.p, 2, 3), SP_OK);
    CHECK_EQ(pick(&f, 2, &all, 4, false, out), 3);
    CHECK(out[0].piece == 2 && out[0].block == 1);
    sp_bits_done(&a, &f.mem);
    sp_bits_done(&all, &f.mem);
    down(&f);
}

TEST(picker_sequential)
{
    struct fix f;
    struct sp_block_ref out[64];

    up_whole(&f, 200, 3);
    sp_picker_set_sequential(f.p, true);
    sp_picker_set_have(f.p, 1, true);
    CHECK_EQ(pick(&f, 1, NULL, 9, true, out), 9);
    CHECK(out[0].piece == 0 && out[3].block == 3 && out[4].piece == 2 && out[8].piece == 3);
    struct sp_bits b = bits_of(&f, 200, "0001");
    sp_bits_add(&b, 150);
    CHECK_EQ(pick(&f, 2, &b, 6, true, out), 6);
    CHECK(out[0].piece == 3 && out[0].block == 1); /* joins although 1 owns it */
    CHECK(out[3].piece == 150 && out[5].block == 2);
    CHECK_EQ(sp_picker_set_priority(f.p, 100, 6), SP_OK);
    CHECK_EQ(pick(&f, 1, NULL, 5, true, out), 5);
    CHECK(out[0].piece == 100 && out[4].piece == 4);
    sp_picker_unask(f.p, (struct sp_block_ref){2, 1}, 1);
    CHECK_EQ(pick(&f, 3, NULL, 3, true, out), 3);
    CHECK(out[0].piece == 2 && out[0].block == 1 && out[1].piece == 4 && out[1].block == 1);
    sp_bits_done(&b, &f.mem);
    down(&f);
}

TEST(picker_fast_peers_keep_pieces_slow_ones_share)
{
    struct fix f;
    struct sp_block_ref out[8];

    up_whole(&f, 20, 5);
    sp_picker_seeds(f.p, 9);
    CHECK_EQ(pick(&f, 1, NULL, 2, true, out), 2);
    uint32_t first = out[0].piece;
    CHECK_EQ(pick(&f, 2, NULL, 2, true, out), 2);
    uint32_t second = out[0].piece;
    CHECK(second != first);
    CHECK_EQ(pick(&f, 1, NULL, 1, true, out), 1);
    CHECK(out[0].piece == first && out[0].block == 2); /* its own before another */
    CHECK_EQ(pick(&f, 3, NULL, 1, false, out), 1);
    uint32_t shared = out[0].piece;
    CHECK(shared != first && shared != second);
    CHECK_EQ(pick(&f, 4, NULL, 2, false, out), 2);
    CHECK(out[0].piece == shared && out[0].block == 1); /* slow joins slow */
    CHECK_EQ(pick(&f, 5, NULL, 4, true, out), 4);
    CHECK(out[0].piece != shared && out[0].piece != first && out[0].piece != second);

    /* 1 goes: what it had begun is anybody's, and the first thing to finish. */
    for (uint32_t b = 0; b < 3; b++)
        sp_picker_unask(f.p, (struct sp_block_ref){first, b}, 1);
    sp_picker_disown(f.p, 1);
    CHECK_EQ(sp_picker_open(f.p, first)->owner, SP_PEER_NONE);
    CHECK_EQ(pick(&f, 6, NULL, 4, true, out), 4);
    CHECK_EQ(out[0].piece, first);
    CHECK_EQ(sp_picker_open(f.p, first)->owner, 6);

    /* 2 is snubbed: others may join at once, its requests stay. */
    sp_picker_disown(f.p, 2);
    struct sp_block_ref rest[2] = {0};
    CHECK_EQ(pick(&f, 7, NULL, 1, false, rest), 1);
    CHECK_EQ(pick(&f, 7, NULL, 2, false, out), 2);
    CHECK(rest[0].piece == shared || rest[0].piece == second);
    CHECK(out[0].piece == second && sp_picker_open(f.p, second)->asked_count == 4);
    down(&f);
}

TEST(picker_memory_budget_limits_what_is_opened)
{
    struct fix f;
    struct sp_block_ref out[64];
    struct sp_pick ask = {.peer = 1, .count = 64, .open_max_bytes = 2 * PIECE + PIECE - 1};

    up(&f, 9, 8 * PIECE + 1, 2);
    sp_picker_seeds(f.p, 1);
    CHECK_EQ(sp_picker_set_priority(f.p, 8, 1), SP_OK);
    CHECK_EQ(sp_picker_pick(f.p, &ask, out), 9); /* the short one fits as well */
    CHECK_EQ(sp_picker_counts(f.p).open, 3);
    CHECK_EQ(sp_picker_counts(f.p).open_bytes, 2 * PIECE + 1);
    ask.open_max_bytes = 0;
    CHECK_EQ(sp_picker_pick(f.p, &ask, out), 0);
    down(&f);
}

TEST(picker_named_pieces)
{
    struct fix f;
    struct sp_block_ref out[16];
    const uint32_t names[] = {99, 3, UINT32_MAX, 5, 2, 7};
    struct sp_bits b;

    up_whole(&f, 30, 2);
    have_some(&f);
    sp_picker_seeds(f.p, 1);
    b = bits_of(&f, 30, "1111011111");
    struct sp_pick ask = {.peer = 1,
                          .have = &b,
                          .count = 6,
                          .open_max_bytes = NO_LIMIT,
                          .only = names,
                          .only_count = 5};
    sp_picker_set_have(f.p, 3, true);
    CHECK_EQ(sp_picker_pick(f.p, &ask, out), 6);
    CHECK(out[0].piece == 5 && out[3].piece == 5 && out[4].piece == 2);
    CHECK_EQ(sp_picker_pick(f.p, &ask, out), 2);
    CHECK(out[0].piece == 2 && out[0].block == 2);
    CHECK_EQ(sp_picker_pick(f.p, &ask, out), 0); /* nothing but these */

    ask = (struct sp_pick){.peer = 2,
                           .have = &b,
                           .count = 4,
                           .open_max_bytes = NO_LIMIT,
                           .first = names,
                           .first_count = 6};
    CHECK_EQ(sp_picker_pick(f.p, &ask, out), 4);
    CHECK_EQ(out[0].piece, 7);
    CHECK_EQ(sp_picker_pick(f.p, &ask, out), 4);
    CHECK(out[0].piece != 7);
    sp_bits_done(&b, &f.mem);
    down(&f);
}

TEST(picker_end_game)
{
    struct fix f;
    struct sp_block_ref out[16];
    struct sp_pick ask = {.peer = 2, .count = 16, .open_max_bytes = NO_LIMIT, .endgame = true};

    up_whole(&f, 2, 2);
    sp_picker_seeds(f.p, 3);
    CHECK(!sp_picker_endgame_ready(f.p));
    CHECK_EQ(pick(&f, 1, NULL, 6, true, out), 6);
    CHECK(!sp_picker_endgame_ready(f.p));
    CHECK_EQ(pick(&f, 1, NULL, 6, true, out), 2);
    CHECK(sp_picker_endgame_ready(f.p));
    CHECK_EQ(pick(&f, 2, NULL, 16, true, out), 0); /* without the flag */

    ask.count = 3;
    CHECK_EQ(sp_picker_pick(f.p, &ask, out), 3);
    struct sp_block_ref dup = out[0];
    ask.peer = 3;
    ask.count = 5;
    CHECK_EQ(sp_picker_pick(f.p, &ask, out), 5); /* those asked once go first */
    for (uint32_t i = 0; i < 5; i++)
        CHECK_EQ(sp_picker_open(f.p, out[i].piece)->blocks[out[i].block].asked, 2);
    ask.count = 16;
    CHECK_EQ(sp_picker_pick(f.p, &ask, out), 3); /* then the rest, never its own */
    CHECK_EQ(sp_picker_pick(f.p, &ask, out), 0);
    ask.peer = 4;
    CHECK_EQ(sp_picker_pick(f.p, &ask, out), 5); /* three askers at most */
    CHECK_EQ(sp_picker_pick(f.p, &ask, out), 0);

    const struct sp_open_block *blk = &sp_picker_open(f.p, dup.piece)->blocks[dup.block];
    CHECK_EQ(blk->asked, 3);
    CHECK_EQ(sp_picker_got(f.p, dup, 2, some_data), SP_GOT_NEW);
    CHECK(blk->asked == 2 && blk->askers[0] == 1 && blk->askers[1] == 3);
    CHECK_EQ(sp_picker_got(f.p, dup, 3, NULL), SP_GOT_DUPLICATE);
    CHECK_EQ(blk->asked, 1);
    sp_picker_unask(f.p, dup, 1);
    CHECK_EQ(blk->asked, 0);
    CHECK_EQ(blk->state, SP_BLOCK_GOT);
    CHECK_EQ(sp_picker_counts(f.p).asked, 7);
    CHECK_EQ(sp_picker_counts(f.p).duplicates, 1);
    down(&f);
}

/* Pieces that nobody has do not keep the end game away. */
TEST(picker_end_game_without_the_missing)
{
    struct fix f;
    struct sp_block_ref out[16];

    up_whole(&f, 300, 2);
    struct sp_bits b = bits_of(&f, 300, "1111");
    sp_picker_peer_bits(f.p, &b, 1);
    CHECK_EQ(pick(&f, 1, &b, 16, true, out), 16);
    CHECK(sp_picker_endgame_ready(f.p));
    sp_picker_avail_add(f.p, 200, 1);
    CHECK(!sp_picker_endgame_ready(f.p));
    sp_picker_avail_add(f.p, 200, -1);
    sp_picker_seeds(f.p, 1);
    CHECK(!sp_picker_endgame_ready(f.p));
    sp_bits_done(&b, &f.mem);
    down(&f);
}

TEST(picker_failed_piece_goes_to_one_peer)
{
    struct fix f;
    struct sp_block_ref out[8];

    up_whole(&f, 2, 2);
    sp_picker_seeds(f.p, 3);
    sp_picker_set_have(f.p, 0, true);
    CHECK_EQ(pick(&f, 1, NULL, 2, false, out), 2);
    CHECK_EQ(pick(&f, 2, NULL, 8, false, out + 2), 2);
    get_all(&f, 1, out, 2);
    get_all(&f, 2, out + 2, 2);
    struct sp_open_piece *o = sp_picker_open(f.p, 1);
    CHECK_EQ(o->state, SP_PIECE_FULL);
    CHECK_EQ(sp_picker_counts(f.p).full, 1);
    sp_picker_failed(f.p, 1, true);
    CHECK(o->state == SP_PIECE_OPEN && o->failures == 1 && !o->blocks[0].data);
    CHECK(o->blocks[0].from == 1 && o->blocks[3].from == 2);
    CHECK_EQ(sp_picker_counts(f.p).got_bytes, 0);
    CHECK_EQ(sp_picker_counts(f.p).full, 0);
    CHECK_EQ(pick(&f, 3, NULL, 2, false, out), 2);
    CHECK_EQ(pick(&f, 4, NULL, 2, false, out), 0); /* 3 is to do all of it */
    CHECK_EQ(pick(&f, 3, NULL, 8, false, out), 2);
    sp_picker_abandon(f.p, 1);
    CHECK_EQ(sp_picker_state(f.p, 1), SP_PIECE_IDLE);
    CHECK_EQ(sp_picker_counts(f.p).asked, 0);
    sp_picker_abandon(f.p, 1);
    CHECK_EQ(pick(&f, 4, NULL, 8, false, out), 4);
    down(&f);
}

TEST(picker_interest_and_copies)
{
    struct fix f;

    up_whole(&f, 130, 2);
    struct sp_bits b = bits_of(&f, 130, "0110");
    CHECK(sp_picker_wants_from(f.p, NULL) && sp_picker_wants_from(f.p, &b));
    CHECK_EQ(sp_picker_interesting(f.p, &b), 2);
    sp_picker_set_have(f.p, 1, true);
    CHECK_EQ(sp_picker_interesting(f.p, &b), 1);
    CHECK(!sp_picker_wants(f.p, 1) && sp_picker_wants(f.p, 2));
    CHECK_EQ(sp_picker_set_priority(f.p, 2, 0), SP_OK);
    CHECK(!sp_picker_wants_from(f.p, &b));
    CHECK_EQ(sp_picker_interesting(f.p, NULL), 128);

    CHECK_EQ(sp_picker_copies_milli(f.p), 0);
    sp_picker_peer_bits(f.p, &b, 1);
    CHECK_EQ(sp_picker_copies_milli(f.p), 2000 / 130);
    sp_picker_seeds(f.p, 3);
    CHECK_EQ(sp_picker_copies_milli(f.p), 3000 + 2000 / 130);
    sp_picker_peer_bits(f.p, &b, -1);
    CHECK_EQ(sp_picker_copies_milli(f.p), 3000);
    sp_bits_done(&b, &f.mem);
    down(&f);
}

/* Goal: out of memory anywhere loses nothing and breaks nothing.
 * Method: a short life, with each allocation failing once. */
TEST(picker_survives_each_failing_allocation)
{
    int tries = 0;

    for (bool failed = true; failed && tries < 300; tries++) {
        struct fix f = {.torture = {.until_failure = tries}, .rng = sp_rng_of(1)};
        uint8_t bytes[16] = {0xf7, 0xff};
        struct sp_bits b = {bytes, 100, 15};
        struct sp_block_ref out[400];
        f.mem = (struct sp_mem){torture_alloc, torture_free, &f.torture};
        struct sp_picker_cfg cfg = {&f.mem, &f.rng, 100, PIECE, 100 * (uint64_t)PIECE, NULL, NULL};
        if (sp_picker_new(&cfg, &f.p) == SP_OK) {
            sp_picker_peer_bits(f.p, &b, 1);
            uint32_t n = pick(&f, 1, &b, 20, true, out);
            get_all(&f, 1, out, n);
            if (sp_picker_set_priority(f.p, 50, 6) == SP_OK)
                CHECK_EQ(sp_picker_priority(f.p, 50), 6);
            else
                CHECK_EQ(sp_picker_priority(f.p, 50), 4);
            n = pick(&f, 2, NULL, 360, true, out);
            get_all(&f, 2, out, n);
            sp_picker_peer_bits(f.p, &b, -1);
            sp_picker_peer_bits(f.p, &b, 1);
            CHECK_EQ(sp_picker_avail(f.p, 0) <= 1, true);
            sp_picker_peer_bits(f.p, &b, -1);
            CHECK_EQ(sp_picker_avail(f.p, 0), 0);
            if (f.torture.until_failure < 0) { /* failed: what was lost is counted again */
                sp_picker_peer_bits(f.p, &b, 1);
                CHECK_EQ(sp_picker_avail(f.p, 0), 1);
                sp_picker_peer_bits(f.p, &b, -1);
            }
            for (int i = 0; i < 2; i++) { /* memory is back: all is reachable */
                n = pick(&f, 2, NULL, 400, true, out);
                get_all(&f, 2, out, n);
            }
            CHECK_EQ(sp_picker_counts(f.p).full, 100);
        }
        failed = f.torture.until_failure < 0;
        down(&f);
    }
    CHECK(tries > 100 && tries < 140); /* 100 records and a dozen arrays */
}

int main(void)
{
    return check_run();
}
