/* The picker against an oracle that looks at every piece each time, and
 * against sizes that would show anything looking at every piece each time. */
#include <time.h>

#include "core/picker/picker.h"

#include "check.h"
#include "torture.h"

enum { PIECES = 150, BLOCKS = 3, PEERS = 12, PIECE = 2 * SP_BLOCK_LEN + 100, LAST = 77 };

struct model_block {
    enum sp_open_state state;
    bool asked[PEERS];
    uint8_t *data;
};

struct model {
    struct torture torture;
    struct sp_mem mem;
    struct sp_rng rng, dice;
    struct sp_picker *p;
    bool have[PIECES], open[PIECES];
    uint8_t prio[PIECES], failures[PIECES];
    struct model_block blocks[PIECES][BLOCKS];
    bool here[PEERS], seed[PEERS];
    struct sp_bits bits[PEERS];
    bool sequential;
    uint64_t picked, opened, duplicates;
};

static struct model m;

static uint32_t dice(uint32_t below)
{
    return (uint32_t)sp_rng_below(&m.dice, below);
}

static uint32_t blocks_of(uint32_t piece)
{
    return piece + 1 < PIECES ? BLOCKS : 1;
}

static uint32_t len_of(uint32_t piece)
{
    return piece + 1 < PIECES ? PIECE : LAST;
}

static bool peer_has(uint32_t peer, uint32_t piece)
{
    return m.seed[peer] || sp_bits_get(&m.bits[peer], piece);
}

static uint32_t avail(uint32_t piece)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < PEERS; i++)
        n += m.here[i] && peer_has(i, piece);
    return n;
}

static uint32_t askers(const struct model_block *b)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < PEERS; i++)
        n += b->asked[i];
    return n;
}

static uint32_t count_in(uint32_t piece, enum sp_open_state state)
{
    uint32_t n = 0;
    for (uint32_t b = 0; b < blocks_of(piece); b++)
        n += m.blocks[piece][b].state == state;
    return n;
}

static void close_piece(uint32_t piece)
{
    m.open[piece] = false;
    m.failures[piece] = 0;
    memset(m.blocks[piece], 0, sizeof(m.blocks[piece]));
}

static bool idle(uint32_t piece)
{
    return !m.have[piece] && !m.open[piece] && m.prio[piece] > 0;
}

/* ---- what a pick may and must do ---- */

static void check_opening(const struct sp_pick *ask, uint32_t piece, uint32_t have_count,
                          uint64_t room)
{
    CHECK(idle(piece));
    for (uint32_t i = 0; i < PIECES && !ask->only && !ask->first; i++) {
        if (!idle(i) || !peer_has(ask->peer, i) || i == piece)
            continue;
        CHECK(m.prio[i] <= m.prio[piece] || room < PIECE);
        if (m.prio[i] != m.prio[piece])
            continue;
        if (m.sequential)
            CHECK(i > piece);
        else if (have_count >= SP_PICKER_RANDOM_FIRST)
            CHECK(avail(i) >= avail(piece));
    }
}

static bool may_ask(const struct sp_pick *ask, uint32_t piece, uint64_t room)
{
    if (m.have[piece] || m.prio[piece] == 0 || !peer_has(ask->peer, piece))
        return false;
    if (!m.open[piece])
        return room >= PIECE; /* with less, the one that it likes best may not fit */
    /* A piece that failed waits for the peer that has begun it. */
    return count_in(piece, SP_BLOCK_FREE) > 0 && m.failures[piece] == 0;
}

static void do_pick(uint32_t peer)
{
    struct sp_block_ref out[64];
    uint32_t named[5], have_count = sp_picker_counts(m.p).have, prio = 8;
    struct sp_pick ask = {
        .peer = peer,
        .have = m.seed[peer] ? NULL : &m.bits[peer],
        .count = 1 + dice(12),
        .open_max_bytes = dice(4) ? UINT64_MAX : dice(4 * PIECE),
        .fast = dice(2),
        .endgame = dice(6) == 0,
    };
    uint64_t room = ask.open_max_bytes;

    for (uint32_t i = 0; i < 5; i++)
        named[i] = dice(PIECES + 3);
    if (dice(8) == 0) {
        ask.only = named;
        ask.only_count = 5;
    } else if (dice(8) == 0) {
        ask.first = named;
        ask.first_count = 5;
    }
    uint32_t n = sp_picker_pick(m.p, &ask, out);
    CHECK(n <= ask.count);
    bool duplicates = false;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t piece = out[i].piece;
        CHECK(sp_picker_has_block(m.p, out[i]) && peer_has(peer, piece));
        CHECK(!m.have[piece] && m.prio[piece] > 0);
        if (!m.open[piece]) {
            check_opening(&ask, piece, have_count, room);
            CHECK(len_of(piece) <= room);
            room -= room == UINT64_MAX ? 0 : len_of(piece);
            m.open[piece] = true;
            m.opened++;
        }
        struct model_block *b = &m.blocks[piece][out[i].block];
        CHECK(!b->asked[peer]);
        if (b->state == SP_BLOCK_ASKED) {
            CHECK(ask.endgame && askers(b) < SP_PICKER_ASKERS_MAX);
            duplicates = true;
            m.duplicates++;
        } else {
            CHECK(b->state == SP_BLOCK_FREE && !duplicates); /* only when nothing else is left */
            if (!ask.only) {
                CHECK(m.prio[piece] <= prio);
                prio = m.prio[piece];
            }
            CHECK(i == 0 || out[i - 1].piece != piece || out[i - 1].block < out[i].block);
        }
        b->state = SP_BLOCK_ASKED;
        b->asked[peer] = true;
    }
    m.picked += n;
    if (n < ask.count && !ask.only) /* nothing that it could have been asked is left */
        for (uint32_t i = 0; i < PIECES; i++)
            CHECK(!may_ask(&ask, i, room));
    if (n == ask.count && room == UINT64_MAX && !ask.only && n > 0 && !duplicates)
        for (uint32_t i = 0; i < PIECES; i++)
            CHECK(m.prio[i] <= prio || !may_ask(&ask, i, room));
}

/* ---- what may come ---- */

static void do_got(uint32_t piece, uint32_t block, uint32_t peer)
{
    struct sp_block_ref ref = {piece, block};
    struct model_block *b = &m.blocks[piece][block];
    static uint8_t cells[PIECES][BLOCKS];
    enum sp_got want = SP_GOT_NEW;

    if (!m.open[piece])
        want = SP_GOT_UNWANTED;
    else if (b->state == SP_BLOCK_GOT)
        want = SP_GOT_DUPLICATE;
    else if (count_in(piece, SP_BLOCK_GOT) + 1 == blocks_of(piece))
        want = SP_GOT_PIECE_FULL;
    CHECK_EQ(sp_picker_would_get(m.p, ref), want);
    CHECK_EQ(sp_picker_got(m.p, ref, peer, &cells[piece][block]), want);
    if (want == SP_GOT_UNWANTED)
        return;
    b->asked[peer] = false;
    b->state = SP_BLOCK_GOT;
    b->data = &cells[piece][block];
}

static void do_unask(uint32_t piece, uint32_t block, uint32_t peer)
{
    struct model_block *b = &m.blocks[piece][block];

    sp_picker_unask(m.p, (struct sp_block_ref){piece, block}, peer);
    b->asked[peer] = false;
    if (b->state == SP_BLOCK_ASKED && askers(b) == 0)
        b->state = SP_BLOCK_FREE;
}

static void join(uint32_t peer)
{
    uint32_t density = dice(5);

    m.here[peer] = true;
    m.seed[peer] = density == 0;
    if (m.seed[peer]) {
        sp_picker_seeds(m.p, 1);
        return;
    }
    sp_bits_fill(&m.bits[peer], false);
    for (uint32_t i = 0; i < PIECES; i++)
        if (dice(100) < (density == 1 ? 3 : density * 24))
            sp_bits_add(&m.bits[peer], i);
    sp_picker_peer_bits(m.p, &m.bits[peer], 1);
}

static void leave(uint32_t peer)
{
    m.here[peer] = false;
    for (uint32_t i = 0; i < PIECES; i++)
        for (uint32_t b = 0; b < blocks_of(i); b++)
            if (m.blocks[i][b].asked[peer])
                do_unask(i, b, peer);
    sp_picker_disown(m.p, peer);
    if (m.seed[peer])
        sp_picker_seeds(m.p, -1);
    else
        sp_picker_peer_bits(m.p, &m.bits[peer], -1);
}

static void finish(uint32_t piece)
{
    if (dice(8) == 0) {
        sp_picker_failed(m.p, piece, dice(2));
        uint8_t failures = m.failures[piece];
        close_piece(piece);
        m.open[piece] = true;
        m.failures[piece] = (uint8_t)(failures + 1);
        return;
    }
    sp_picker_set_have(m.p, piece, true);
    close_piece(piece);
    m.have[piece] = true;
}

static void step(void)
{
    uint32_t piece = dice(PIECES), block = dice(blocks_of(piece)), peer = dice(PEERS);
    const struct model_block *b = &m.blocks[piece][block];

    switch (dice(40)) {
    case 0:
        (m.here[peer] ? leave : join)(peer);
        return;
    case 1:
    case 2:
        if (m.here[peer] && !m.seed[peer] && sp_bits_add(&m.bits[peer], piece))
            sp_picker_avail_add(m.p, piece, 1);
        return;
    case 3:
        if (dice(3) == 0) {
            m.prio[piece] = (uint8_t)dice(8);
            CHECK_EQ(sp_picker_set_priority(m.p, piece, m.prio[piece]), SP_OK);
        }
        return;
    case 4:
        if (m.have[piece] && dice(4) == 0) {
            sp_picker_set_have(m.p, piece, false);
            m.have[piece] = false;
        }
        return;
    case 5:
        if (dice(6) == 0) {
            sp_picker_abandon(m.p, piece);
            if (m.open[piece])
                close_piece(piece);
        }
        return;
    case 6:
        if (dice(60) == 0) {
            m.sequential = !m.sequential;
            sp_picker_set_sequential(m.p, m.sequential);
        }
        return;
    case 7:
        do_got(piece, block, peer); /* asked or not */
        return;
    case 8:
    case 9:
        do_unask(piece, block, peer);
        return;
    case 10:
    case 11:
    case 12:
        if (m.here[peer])
            do_pick(peer);
        return;
    default:
        for (uint32_t i = 0; i < PEERS; i++)
            if (b->asked[i]) {
                do_got(piece, block, i);
                break;
            }
        if (m.open[piece] && count_in(piece, SP_BLOCK_GOT) == blocks_of(piece) && dice(3) == 0)
            finish(piece);
    }
}

/* ---- the whole state ---- */

static void check_piece(uint32_t piece)
{
    const struct sp_open_piece *o = sp_picker_open(m.p, piece);
    uint32_t got = count_in(piece, SP_BLOCK_GOT), count = blocks_of(piece);
    enum sp_piece_state state = m.have[piece] ? SP_PIECE_HAVE : SP_PIECE_IDLE;

    if (m.open[piece])
        state = got == count ? SP_PIECE_FULL : SP_PIECE_OPEN;
    CHECK_EQ(sp_picker_state(m.p, piece), state);
    CHECK_EQ(sp_picker_avail(m.p, piece), avail(piece));
    CHECK_EQ(sp_picker_wants(m.p, piece), !m.have[piece] && m.prio[piece] > 0);
    CHECK((o != NULL) == m.open[piece]);
    if (!o)
        return;
    CHECK(o->piece == piece && o->block_count == count && o->failures == m.failures[piece]);
    CHECK_EQ(o->got_count, got);
    CHECK_EQ(o->asked_count, count_in(piece, SP_BLOCK_ASKED));
    for (uint32_t b = 0; b < count; b++) {
        const struct model_block *want = &m.blocks[piece][b];
        CHECK_EQ(o->blocks[b].state, want->state);
        CHECK_EQ(o->blocks[b].asked, askers(want));
        CHECK(want->state != SP_BLOCK_GOT || o->blocks[b].data == want->data);
        for (uint32_t i = 0; i < o->blocks[b].asked; i++)
            CHECK(want->asked[o->blocks[b].askers[i]]);
    }
}

static void check_all(void)
{
    struct sp_picker_counts c = sp_picker_counts(m.p), want = {0};
    uint32_t listed = 0, idle_to_be_had = 0, free_to_be_had = 0;

    for (uint32_t i = 0; i < PIECES; i++) {
        uint32_t got = count_in(i, SP_BLOCK_GOT), asked = count_in(i, SP_BLOCK_ASKED);
        check_piece(i);
        want.have += m.have[i];
        want.have_bytes += m.have[i] ? len_of(i) : 0;
        want.wanted_left += !m.have[i] && m.prio[i] > 0;
        want.wanted_left_bytes += !m.have[i] && m.prio[i] > 0 ? len_of(i) : 0;
        want.open += m.open[i];
        want.full += got == blocks_of(i);
        want.open_bytes += m.open[i] ? len_of(i) : 0;
        want.asked += asked;
        for (uint32_t b = 0; b < blocks_of(i); b++)
            if (m.blocks[i][b].state == SP_BLOCK_GOT)
                want.got_bytes += sp_picker_block_len(m.p, (struct sp_block_ref){i, b});
        if (avail(i) == 0 || m.have[i] || m.prio[i] == 0)
            continue;
        idle_to_be_had += !m.open[i];
        free_to_be_had += m.open[i] && got + asked < blocks_of(i);
    }
    for (const struct sp_open_piece *o = sp_picker_open_first(m.p); o; o = sp_picker_open_next(o))
        listed++;
    CHECK_EQ(listed, want.open);
    CHECK(c.have == want.have && c.have_bytes == want.have_bytes);
    CHECK(c.wanted_left == want.wanted_left && c.wanted_left_bytes == want.wanted_left_bytes);
    CHECK(c.open == want.open && c.full == want.full && c.open_bytes == want.open_bytes);
    CHECK(c.asked == want.asked && c.got_bytes == want.got_bytes);
    if (sp_picker_endgame_ready(m.p))
        CHECK(want.asked > 0 && idle_to_be_had == 0 && free_to_be_had == 0);
}

static void run(uint64_t seed, int steps)
{
    m = (struct model){.torture = {.until_failure = -1}};
    m.rng = sp_rng_of(seed);
    m.dice = sp_rng_of(~seed);
    m.mem = (struct sp_mem){torture_alloc, torture_free, &m.torture};
    struct sp_picker_cfg cfg = {&m.mem, &m.rng, PIECES, PIECE, (PIECES - 1) * PIECE + LAST,
                                NULL,   NULL};
    CHECK_EQ(sp_picker_new(&cfg, &m.p), SP_OK);
    memset(m.prio, SP_PICKER_PRIO_DEFAULT, sizeof(m.prio));
    for (uint32_t i = 0; i < PEERS; i++)
        CHECK_EQ(sp_bits_init(&m.bits[i], &m.mem, PIECES), SP_OK);
    for (int i = 0; i < steps && !check_failed; i++) {
        step();
        if (i % 64 == 0)
            check_all();
    }

    /* Then all goes well, and all that is wanted has to come. */
    for (uint32_t i = 0; i < PEERS; i++)
        if (m.here[i])
            leave(i);
    m.here[0] = m.seed[0] = true;
    sp_picker_seeds(m.p, 1);
    for (int i = 0; i < 3000 && sp_picker_counts(m.p).wanted_left > 0; i++) {
        do_pick(0);
        for (uint32_t j = 0; j < PIECES; j++) {
            for (uint32_t b = 0; b < blocks_of(j); b++)
                if (m.blocks[j][b].asked[0])
                    do_got(j, b, 0);
            if (m.open[j] && count_in(j, SP_BLOCK_GOT) == blocks_of(j))
                finish(j);
        }
    }
    check_all();
    CHECK_EQ(sp_picker_counts(m.p).wanted_left, 0);
    for (uint32_t i = 0; i < PEERS; i++)
        sp_bits_done(&m.bits[i], &m.mem);
    sp_picker_free(m.p);
    CHECK_EQ(m.torture.live, 0);
    if (check_failed)
        printf("# seed %" PRIu64 "\n", seed);
}

/* Goal: whatever happens, in whatever order, the picker asks for what it may,
 * all that it may, the best first, and counts right.
 * Method: an oracle that looks at every piece, over random histories. */
TEST(picker_model)
{
    uint64_t picked = 0, opened = 0, duplicates = 0;

    for (uint64_t seed = 1; seed <= 300 && !check_failed; seed++) {
        run(seed, 6000);
        picked += m.picked;
        opened += m.opened;
        duplicates += m.duplicates;
    }
    printf("# picked %" PRIu64 " blocks, opened %" PRIu64 " pieces, %" PRIu64 " duplicates\n",
           picked, opened, duplicates);
    CHECK(picked > 100000 && opened > 30000 && duplicates > 1000);
}

/* ---- a million pieces, two thousand peers ---- */

enum { MANY = 1000000, SWARM = 2000, KINDS = 8, HAVES = 100000, PICKS = 50000 };

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double tell(const char *what, double since, uint32_t times)
{
    double now = seconds();
    printf("# %s: %.2f us\n", what, (now - since) * 1e6 / times);
    return seconds();
}

/* Goal: no call costs a look at every piece each time, but those that say so.
 * Method: a swarm's life at full size.  The bound is generous (sanitizers,
 * shared machines); with one look at all pieces per HAVE or per pick it would
 * be missed a hundred times over. */
TEST(picker_scales)
{
    struct torture torture = {.until_failure = -1};
    struct sp_mem mem = {torture_alloc, torture_free, &torture};
    struct sp_rng rng = sp_rng_of(1), chance = sp_rng_of(2);
    struct sp_picker_cfg cfg = {&mem, &rng, MANY, 1 << 18, (uint64_t)MANY << 18, NULL, NULL};
    struct sp_bits bits[KINDS], few;
    struct sp_block_ref out[32];
    static uint32_t next_peer;
    double begin = seconds(), at;

    CHECK_EQ(sp_picker_new(&cfg, &m.p), SP_OK);
    for (uint32_t kind = 0; kind < KINDS; kind++) {
        CHECK_EQ(sp_bits_init(&bits[kind], &mem, MANY), SP_OK);
        for (size_t w = 0; w < MANY / 64; w++) {
            uint64_t word = sp_rng_u64(&chance);
            memcpy(bits[kind].bytes + 8 * w, &word, 8);
            bits[kind].set += (uint32_t)__builtin_popcountll(word);
        }
    }
    CHECK_EQ(sp_bits_init(&few, &mem, MANY), SP_OK);
    for (uint32_t i = 0; i < 20; i++)
        sp_bits_add(&few, (uint32_t)sp_rng_below(&chance, MANY));

    at = seconds();
    for (uint32_t i = 0; i < SWARM; i++) {
        struct sp_pick ask = {.peer = i,
                              .have = &bits[i % KINDS],
                              .count = 1,
                              .fast = true,
                              .open_max_bytes = UINT64_MAX};
        sp_picker_peer_bits(m.p, ask.have, 1);
        CHECK_EQ(sp_picker_pick(m.p, &ask, out), 1);
    }
    at = tell("a peer with half of the pieces joins and is asked", at, SWARM);
    for (uint32_t i = 0; i < HAVES; i++)
        sp_picker_avail_add(m.p, (uint32_t)sp_rng_below(&chance, MANY), 1);
    at = tell("a HAVE", at, HAVES);
    for (uint32_t i = 0; i < PICKS; i++) {
        struct sp_pick ask = {
            .peer = next_peer++ % SWARM, .count = 4, .fast = true, .open_max_bytes = UINT64_MAX};
        ask.have = &bits[ask.peer % KINDS];
        uint32_t n = sp_picker_pick(m.p, &ask, out);
        CHECK_EQ(n, 4);
        for (uint32_t j = 0; j < n; j++)
            if (sp_picker_got(m.p, out[j], ask.peer, NULL) == SP_GOT_PIECE_FULL)
                sp_picker_set_have(m.p, out[j].piece, true);
    }
    at = tell("a pick of 4 blocks, fast peers, and their arrival", at, PICKS);
    printf("# open: %u pieces\n", sp_picker_counts(m.p).open);
    for (uint32_t i = 0; i < PICKS; i++) {
        struct sp_pick ask = {.peer = SWARM + i % 9,
                              .have = &bits[i % KINDS],
                              .count = 4,
                              .open_max_bytes = UINT64_MAX};
        uint32_t n = sp_picker_pick(m.p, &ask, out);
        CHECK_EQ(n, 4);
        for (uint32_t j = 0; j < n; j++)
            if (sp_picker_got(m.p, out[j], ask.peer, NULL) == SP_GOT_PIECE_FULL)
                sp_picker_set_have(m.p, out[j].piece, true);
    }
    at = tell("the same, slow peers", at, PICKS);
    for (uint32_t i = 0; i < 2000; i++) {
        struct sp_pick ask = {
            .peer = 5000, .have = &few, .count = 400, .open_max_bytes = UINT64_MAX};
        sp_picker_pick(m.p, &ask, (struct sp_block_ref[400]){0});
    }
    at = tell("a pick for a peer with 20 pieces, all asked", at, 2000);
    for (uint32_t i = 0; i < 1000; i++)
        CHECK(sp_picker_interesting(m.p, &bits[i % KINDS]) > 0);
    at = tell("how many are interesting", at, 1000);
    for (uint32_t i = 0; i < SWARM; i++)
        sp_picker_disown(m.p, i);
    at = tell("a peer is disowned", at, SWARM);
    for (uint32_t i = 0; i < 50000; i++)
        CHECK_EQ(sp_picker_set_priority(m.p, i, 1), SP_OK);
    at = tell("a priority", at, 50000);
    printf("# in all: %.2f s\n", at - begin);
    CHECK(at - begin < 60);

    for (uint32_t kind = 0; kind < KINDS; kind++)
        sp_bits_done(&bits[kind], &mem);
    sp_bits_done(&few, &mem);
    sp_picker_free(m.p);
    CHECK_EQ(torture.live, 0);
}

int main(void)
{
    return check_run();
}
