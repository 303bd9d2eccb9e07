/* The bytes are a life of a picker: peers come, tell, go; blocks are picked,
 * come, fail; the user changes his mind.  Properties: a block is asked only of
 * who has it, only if it is wanted, never twice of one peer, of several only in
 * the end game; counts are those of the records; at the end one seed can
 * finish what is left. */
#include <stdlib.h>
#include <string.h>

#include "core/picker/picker.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { PIECES = 70, PEERS = 4, PIECE = 3 * SP_BLOCK_LEN, OUT = 32 };

static void expect(bool ok)
{
    if (!ok)
        abort();
}

static void *mem_alloc(void *ctx, size_t size)
{
    (void)ctx;
    return calloc(1, size);
}

static void mem_free(void *ctx, void *ptr)
{
    (void)ctx;
    free(ptr);
}

struct life {
    const uint8_t *at, *end;
    struct sp_picker *p;
    struct sp_bits bits[PEERS];
    bool here[PEERS], seed[PEERS];
};

static uint32_t next(struct life *l)
{
    return l->at < l->end ? *l->at++ : 0;
}

static uint32_t len_of(const void *ctx, uint32_t piece)
{
    return ((const uint8_t *)ctx)[0] % 2 && piece % 5 == 0 ? 1 + piece * 300 : PIECE;
}

static void pick(struct life *l, uint32_t peer, bool all)
{
    struct sp_block_ref out[OUT];
    uint32_t how = all ? 0xfe : next(l), named[3] = {next(l), next(l), how};
    struct sp_pick ask = {
        .peer = peer,
        .have = l->seed[peer] ? NULL : &l->bits[peer],
        .count = all ? OUT : how % OUT,
        .open_max_bytes = how & 2 ? UINT64_MAX : next(l) * UINT64_C(1000),
        .fast = how & 4,
        .endgame = !(how & 8),
        .only = how & 16 ? NULL : named,
        .only_count = how & 16 ? 0 : 3,
        .first = how & 32 ? NULL : named,
        .first_count = how & 32 ? 0 : 3,
    };
    uint32_t asked = sp_picker_counts(l->p).asked;
    uint32_t n = sp_picker_pick(l->p, &ask, out), twice = 0;

    expect(n <= ask.count);
    for (uint32_t i = 0; i < n; i++) {
        expect(sp_picker_has_block(l->p, out[i]) && sp_picker_wants(l->p, out[i].piece));
        expect(!ask.have || sp_bits_get(ask.have, out[i].piece));
        const struct sp_open_piece *o = sp_picker_open(l->p, out[i].piece);
        expect(o && o->blocks[out[i].block].state == SP_BLOCK_ASKED);
        uint32_t times = 0, askers = o->blocks[out[i].block].asked;
        for (uint32_t j = 0; j < askers; j++)
            times += o->blocks[out[i].block].askers[j] == peer;
        expect(times == 1 && (askers == 1 || ask.endgame));
        twice += askers > 1;
    }
    expect(sp_picker_counts(l->p).asked == asked + n - twice);
}

static void finish_full(struct life *l)
{
    for (struct sp_open_piece *o = sp_picker_open_first(l->p), *after; o; o = after) {
        after = sp_picker_open_next(o);
        if (o->state == SP_PIECE_FULL)
            sp_picker_set_have(l->p, o->piece, true);
    }
}

static void peer_turn(struct life *l, uint32_t peer)
{
    uint32_t kind = next(l);

    if (l->here[peer]) {
        for (uint32_t i = 0; i < PIECES * 3; i++)
            if (sp_picker_has_block(l->p, (struct sp_block_ref){i / 3, i % 3}))
                sp_picker_unask(l->p, (struct sp_block_ref){i / 3, i % 3}, peer);
        sp_picker_disown(l->p, peer);
        if (l->seed[peer])
            sp_picker_seeds(l->p, -1);
        else
            sp_picker_peer_bits(l->p, &l->bits[peer], -1);
    } else if (kind % 4 == 0) {
        sp_picker_seeds(l->p, 1);
    } else {
        sp_bits_fill(&l->bits[peer], false);
        for (uint32_t i = kind % 7; i < PIECES; i += 1 + kind / 4 % 40)
            sp_bits_add(&l->bits[peer], i);
        sp_picker_peer_bits(l->p, &l->bits[peer], 1);
    }
    l->here[peer] = !l->here[peer];
    l->seed[peer] = l->here[peer] && kind % 4 == 0;
}

static void step(struct life *l)
{
    uint32_t what = next(l), peer = what / 16 % PEERS, piece = next(l) % PIECES;
    struct sp_block_ref ref = {piece, next(l) % 3};
    bool is_block = sp_picker_has_block(l->p, ref);
    const struct sp_open_piece *o = sp_picker_open(l->p, piece);

    switch (what % 16) {
    case 0:
        peer_turn(l, peer);
        break;
    case 1:
        if (l->here[peer] && !l->seed[peer] && sp_bits_add(&l->bits[peer], piece))
            sp_picker_avail_add(l->p, piece, 1);
        break;
    case 2:
        expect(sp_picker_set_priority(l->p, piece, (uint8_t)(what / 16 % 8)) == SP_OK);
        break;
    case 3:
        sp_picker_set_have(l->p, piece, what & 16);
        break;
    case 4:
        sp_picker_abandon(l->p, piece);
        break;
    case 5:
        sp_picker_set_sequential(l->p, what & 16);
        break;
    case 6:
        if (is_block)
            sp_picker_unask(l->p, ref, peer);
        break;
    case 7:
        if (o && o->state == SP_PIECE_FULL)
            sp_picker_failed(l->p, piece, what & 16);
        break;
    case 8:
        finish_full(l);
        break;
    case 9:
    case 10:
    case 11:
        if (is_block)
            expect(sp_picker_would_get(l->p, ref) == sp_picker_got(l->p, ref, peer, NULL));
        break;
    default:
        if (l->here[peer])
            pick(l, peer, false);
    }
}

static void check(const struct life *l)
{
    struct sp_picker_counts c = sp_picker_counts(l->p);
    uint32_t open = 0, full = 0, asked = 0;
    uint64_t left = 0;

    for (const struct sp_open_piece *o = sp_picker_open_first(l->p); o;
         o = sp_picker_open_next(o)) {
        open++;
        full += o->state == SP_PIECE_FULL;
        asked += o->asked_count;
        expect(sp_picker_open(l->p, o->piece) == o);
        expect(o->got_count + o->asked_count <= o->block_count);
    }
    for (uint32_t i = 0; i < PIECES; i++)
        left += sp_picker_wants(l->p, i) ? sp_picker_piece_len(l->p, i) : 0;
    expect(c.open == open && c.full == full && c.asked == asked && c.wanted_left_bytes == left);
    expect(c.got_bytes <= c.open_bytes);
}

/* A new seed gets all that is left, whatever the others still hold. */
static void finish(struct life *l)
{
    for (uint32_t peer = 0; peer < PEERS; peer++)
        if (l->here[peer])
            peer_turn(l, peer);
    sp_picker_seeds(l->p, 1);
    l->seed[0] = true;
    for (int round = 0; round < 100 && sp_picker_counts(l->p).wanted_left > 0; round++) {
        finish_full(l);
        pick(l, 0, true);
        for (uint32_t i = 0; i < PIECES * 3; i++) {
            struct sp_block_ref ref = {i / 3, i % 3};
            const struct sp_open_piece *o = sp_picker_open(l->p, i / 3);
            if (o && ref.block < o->block_count && o->blocks[ref.block].state == SP_BLOCK_ASKED)
                sp_picker_got(l->p, ref, 0, NULL);
        }
    }
    expect(sp_picker_counts(l->p).wanted_left == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    const struct sp_mem mem = {mem_alloc, mem_free, NULL};
    struct sp_rng rng = sp_rng_of(len);
    struct life l = {.at = data, .end = data + len};

    if (len == 0 || len > 4096)
        return 0;
    struct sp_picker_cfg cfg = {.mem = &mem,
                                .rng = &rng,
                                .piece_count = PIECES,
                                .piece_len = PIECE,
                                .len_of = len_of,
                                .len_ctx = data};
    expect(sp_picker_new(&cfg, &l.p) == SP_OK);
    for (uint32_t peer = 0; peer < PEERS; peer++)
        expect(sp_bits_init(&l.bits[peer], &mem, PIECES) == SP_OK);
    while (l.at < l.end) {
        step(&l);
        check(&l);
    }
    finish(&l);
    for (uint32_t peer = 0; peer < PEERS; peer++)
        sp_bits_done(&l.bits[peer], &mem);
    sp_picker_free(l.p);
    return 0;
}
