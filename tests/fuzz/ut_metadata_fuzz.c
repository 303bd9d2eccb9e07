/* ut_metadata: the codec on the raw input, and the machine driven by it: each
 * step is one byte that picks a peer and what it does.  What comes out whole is
 * what the hash names; nobody is called a liar who only sent what is right. */
#include <stdlib.h>

#include "core/base/cur.h"
#include "core/base/sha1.h"
#include "core/metadata/metadata.h"

enum { PEERS = 6, HONEST = 3, SIZE_MAX_HERE = 6 * SP_METADATA_PIECE_LEN };

static int64_t live;
static uint8_t truth[SIZE_MAX_HERE + SP_METADATA_PIECE_LEN];
static uint8_t whole[SIZE_MAX_HERE + SP_METADATA_PIECE_LEN];

static void *get(void *ctx, size_t size)
{
    (void)ctx;
    live++;
    return calloc(1, size);
}

static void put(void *ctx, void *ptr)
{
    (void)ctx;
    live -= ptr != NULL;
    free(ptr);
}

static const struct sp_mem MEM = {get, put, NULL};

static void require(bool claim)
{
    if (!claim)
        abort();
}

static void codec(struct sp_slice in)
{
    uint8_t buf[SP_UT_METADATA_LEN_MAX];
    struct sp_ut_metadata msg, again;
    size_t len = 0;

    if (sp_ut_metadata_read(in, &msg) != SP_OK || msg.kind == SP_UT_METADATA_OTHER)
        return;
    require(sp_ut_metadata_write(&msg, buf, sizeof(buf), &len) == SP_OK);
    if (msg.kind == SP_UT_METADATA_DATA && msg.total_size == 0)
        return; /* writers always tell it */
    require(sp_ut_metadata_read((struct sp_slice){buf, len}, &again) == SP_OK);
    require(again.kind == msg.kind && again.piece == msg.piece &&
            again.total_size == msg.total_size && again.data.len == msg.data.len);
}

struct run {
    struct sp_metadata *m;
    struct sp_metadata_peer *peers[PEERS]; /* those below HONEST lie about nothing */
    uint32_t asked[PEERS];                 /* the last piece asked for */
    uint32_t size;
    sp_time_ns now;
};

/* Both may free the peer: NULL then. */
static void leave(struct run *r, uint32_t i)
{
    sp_metadata_leave(r->m, r->peers[i]);
    r->peers[i] = NULL;
}

static void answer(struct run *r, uint32_t i, uint8_t how)
{
    uint8_t bytes[SP_METADATA_PIECE_LEN];
    uint32_t piece = r->asked[i], size = r->size, count = sp_metadata_piece_count(size);
    if (piece >= count)
        return; /* only a liar about the size is asked for that */
    size_t len = sp_metadata_piece_len(size, piece);
    memcpy(bytes, truth + (size_t)piece * SP_METADATA_PIECE_LEN, len);
    if (i >= HONEST && how & 1)
        bytes[how % len] ^= 0x40;
    if (i >= HONEST && how & 2)
        len = how;
    if (len == 0)
        return;
    enum sp_err err = sp_metadata_got(r->m, r->peers[i], piece, i >= HONEST && how & 4 ? how : size,
                                      (struct sp_slice){bytes, len}, r->now);
    require(err == SP_OK || (err == SP_EPROTO && i >= HONEST));
    if (err != SP_OK)
        leave(r, i);
}

static void step(struct run *r, uint8_t what, uint8_t how)
{
    uint32_t i = what % PEERS, size = i < HONEST ? r->size : how & 8 ? r->size : how * 997u;
    uint64_t who;

    switch (what / PEERS % 6) {
    case 0:
        if (sp_metadata_join(r->m, 100 + i, size, r->now, &r->peers[i]) == SP_ELIMIT && r->peers[i])
            leave(r, i);
        break;
    case 1:
        if (r->peers[i])
            (void)sp_metadata_ask(r->m, r->peers[i], r->now, &r->asked[i]);
        break;
    case 2:
        if (r->peers[i])
            answer(r, i, how);
        break;
    case 3:
        if (r->peers[i])
            sp_metadata_rejected(r->m, r->peers[i], r->asked[i], r->now);
        break;
    case 4:
        leave(r, i);
        break;
    case 5:
        r->now += how * SP_SECOND_NS / 4;
        sp_metadata_tick(r->m, r->now);
        break;
    }
    require(sp_metadata_broken(r->m) == NULL);
    while (sp_metadata_liar(r->m, &who)) {
        require(who >= 100 + HONEST && who < 100 + PEERS);
        if (r->peers[who - 100])
            leave(r, (uint32_t)who - 100);
    }
}

static void machine(struct sp_slice in)
{
    struct sp_metadata_cfg cfg = {.mem = &MEM, .key = {3, 4}};
    struct run r = {.now = SP_SECOND_NS};
    uint32_t have = 0;

    if (in.len < 3)
        return;
    r.size = 1 + (uint32_t)(in.ptr[0] << 8 | in.ptr[1]) * 3 / 2 % (SIZE_MAX_HERE - 1);
    for (uint32_t i = 0; i < sizeof(truth); i++)
        truth[i] = (uint8_t)(i * 5 + i / 253);
    sp_sha1_of(truth, r.size, cfg.info_hash);
    require(sp_metadata_new(&cfg, &r.m) == SP_OK);
    for (size_t at = 2; at + 1 < in.len && at < 4000; at += 2)
        step(&r, in.ptr[at], in.ptr[at + 1]);
    /* Whatever came before: an honest peer that stays brings it to an end. */
    for (int turn = 0; turn < 2000 && !sp_metadata_is_whole(r.m); turn++) {
        step(&r, 0, 0);
        step(&r, PEERS, 0);
        step(&r, 2 * PEERS, 0);
        step(&r, 5 * PEERS, 8);
    }
    require(sp_metadata_is_whole(r.m));
    require(sp_metadata_size(r.m, &have) == r.size && have == r.size);
    sp_metadata_copy(r.m, whole);
    require(memcmp(whole, truth, r.size) == 0);
    sp_metadata_free(r.m);
    require(live == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    codec((struct sp_slice){data, len});
    machine((struct sp_slice){data, len});
    return 0;
}
