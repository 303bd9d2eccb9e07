/* An info dictionary put together from peers that are honest, silent, of
 * another opinion, or lie; and the messages they do it with. */
#include "core/metadata/metadata.h"

#include "check.h"
#include "core/base/sha1.h"
#include "torture.h"

enum { PEERS = 12, SIZE = 5 * SP_METADATA_PIECE_LEN + 100, PIECES = 6 };

static struct torture torture;
static struct sp_mem mem;
static struct sp_metadata *m;
static struct sp_metadata_peer *peers[PEERS];
static uint8_t truth[SIZE], wrong[SIZE];
static sp_time_ns now;
static uint64_t liars[PEERS];
static uint32_t liar_count;

static void begin(void)
{
    struct sp_metadata_cfg cfg = {.mem = &mem, .key = {1, 2}};
    torture = (struct torture){.until_failure = -1};
    mem = (struct sp_mem){torture_alloc, torture_free, &torture};
    for (uint32_t i = 0; i < SIZE; i++) {
        truth[i] = (uint8_t)(i * 7 + i / 251);
        wrong[i] = (uint8_t)(truth[i] ^ 1);
    }
    sp_sha1_of(truth, SIZE, cfg.info_hash);
    memset(peers, 0, sizeof(peers));
    now = SP_SECOND_NS;
    liar_count = 0;
    CHECK_EQ(sp_metadata_new(&cfg, &m), SP_OK);
}

static void join(uint32_t i, uint32_t size)
{
    CHECK_EQ(sp_metadata_join(m, 100 + i, size, now, &peers[i]), SP_OK);
}

/* As the caller of the machine does: a ban. */
static void look(void)
{
    uint64_t who;
    CHECK(sp_metadata_broken(m) == NULL);
    while (sp_metadata_liar(m, &who)) {
        liars[liar_count++] = who;
        sp_metadata_leave(m, peers[who - 100]);
        peers[who - 100] = NULL;
    }
}

static enum sp_err answer(uint32_t i, uint32_t piece, const uint8_t *from, uint32_t size)
{
    struct sp_slice data = {from + (size_t)piece * SP_METADATA_PIECE_LEN,
                            sp_metadata_piece_len(size, piece)};
    enum sp_err err = sp_metadata_got(m, peers[i], piece, size, data, now);
    look();
    return err;
}

/* Each in turn is asked for one piece and answers: those below liars_below lie. */
static void run(uint32_t count, uint32_t liars_below)
{
    for (int turn = 0; turn < 400 && !sp_metadata_is_whole(m); turn++) {
        for (uint32_t i = 0; i < count; i++) {
            uint32_t piece;
            if (!peers[i] || !sp_metadata_ask(m, peers[i], now, &piece))
                continue;
            enum sp_err err = answer(i, piece, i < liars_below ? wrong : truth, SIZE);
            CHECK(err == SP_OK || err == SP_ENOMEM);
        }
        now += SP_SECOND_NS;
        sp_metadata_tick(m, now);
        look();
    }
}

static void end(void)
{
    sp_metadata_free(m);
    CHECK_EQ(torture.live, 0);
}

static void check_whole(void)
{
    static uint8_t out[SIZE];
    uint32_t have = 0;
    CHECK(sp_metadata_is_whole(m));
    CHECK_EQ(sp_metadata_size(m, &have), SIZE);
    CHECK_EQ(have, SIZE);
    if (sp_metadata_is_whole(m))
        sp_metadata_copy(m, out);
    CHECK(memcmp(out, truth, SIZE) == 0);
}

TEST(messages_there_and_back)
{
    uint8_t buf[SP_UT_METADATA_LEN_MAX];
    size_t len = 0;
    struct sp_ut_metadata msg = {
        .kind = SP_UT_METADATA_DATA, .piece = 3, .total_size = SIZE, .data = SP_LIT("xyz")};
    struct sp_ut_metadata got;
    CHECK_EQ(sp_ut_metadata_write(&msg, buf, sizeof(buf), &len), SP_OK);
    CHECK(len > 3 && memcmp(buf, "d8:msg_typei1e5:piecei3e10:total_sizei82020eexyz", len) == 0);
    for (size_t n = 0; n < len - 3; n++) /* every prefix but those that cut the data alone */
        CHECK_EQ(sp_ut_metadata_read((struct sp_slice){buf, n}, &got), SP_EPROTO);
    CHECK_EQ(sp_ut_metadata_read((struct sp_slice){buf, len}, &got), SP_OK);
    CHECK(got.kind == SP_UT_METADATA_DATA && got.piece == 3 && got.total_size == SIZE);
    CHECK(got.data.len == 3 && memcmp(got.data.ptr, "xyz", 3) == 0);
    CHECK_EQ(sp_ut_metadata_write(&msg, buf, len - 1, &len), SP_ELIMIT);
    CHECK_EQ(sp_ut_metadata_read(SP_LIT("d8:msg_typei9e5:piecei0ee"), &got), SP_OK);
    CHECK_EQ(got.kind, SP_UT_METADATA_OTHER);
}

TEST(malformed_messages)
{
    static const struct sp_slice bad[] = {
        SP_LIT(""),
        SP_LIT("le"),
        SP_LIT("de"),
        SP_LIT("d8:msg_typei0ee"),
        SP_LIT("d8:msg_typei-1e5:piecei0ee"),
        SP_LIT("d8:msg_typei0e5:piecei-1ee"),
        SP_LIT("d8:msg_typei0e5:piecei4294967296ee"),
        SP_LIT("d8:msg_type1:05:piecei0ee"),
        SP_LIT("d8:msg_typei1e5:piecei0e10:total_sizei1ee"), /* no data */
    };
    static uint8_t large[SP_METADATA_PIECE_LEN + 64] = "d8:msg_typei1e5:piecei0ee";
    struct sp_ut_metadata got;
    for (size_t i = 0; i < SP_COUNT(bad); i++)
        CHECK_EQ(sp_ut_metadata_read(bad[i], &got), SP_EPROTO);
    CHECK_EQ(sp_ut_metadata_read((struct sp_slice){large, 25 + SP_METADATA_PIECE_LEN}, &got),
             SP_OK);
    CHECK_EQ(sp_ut_metadata_read((struct sp_slice){large, 26 + SP_METADATA_PIECE_LEN}, &got),
             SP_EPROTO);
}

TEST(one_honest_peer)
{
    begin();
    join(0, SIZE);
    run(1, 0);
    check_whole();
    CHECK_EQ(liar_count, 0);
    end();
}

TEST(pieces_are_asked_of_many_and_of_each_once)
{
    uint32_t piece, asked = 0, seen = 0;
    begin();
    for (uint32_t i = 0; i < 3; i++)
        join(i, SIZE);
    for (uint32_t round = 0; round < 2; round++)
        for (uint32_t i = 0; i < 3; i++)
            if (sp_metadata_ask(m, peers[i], now, &piece)) {
                asked++;
                seen |= 1u << piece;
            }
    CHECK_EQ(asked, PIECES);
    CHECK_EQ(seen, (1u << PIECES) - 1);
    end();
}

TEST(a_lone_liar_is_named_at_once)
{
    begin();
    join(0, SIZE);
    run(1, 1);
    CHECK(!sp_metadata_is_whole(m));
    CHECK_EQ(liar_count, 1);
    join(1, SIZE);
    run(2, 0);
    check_whole();
    end();
}

TEST(liars_among_honest_peers_are_found_and_no_others)
{
    begin();
    for (uint32_t i = 0; i < 8; i++)
        join(i, SIZE);
    run(8, 3);
    check_whole();
    CHECK(liar_count > 0 && liar_count <= 3);
    for (uint32_t i = 0; i < liar_count; i++)
        CHECK(liars[i] < 103);
    end();
}

TEST(sizes_that_differ_are_each_tried)
{
    uint32_t piece;
    begin();
    join(0, SIZE + SP_METADATA_PIECE_LEN);
    join(1, 7);
    join(2, SIZE);
    CHECK(sp_metadata_ask(m, peers[1], now, &piece)); /* and never answers */
    for (int i = 0; i < 4; i++)
        CHECK(sp_metadata_ask(m, peers[0], now, &piece));
    for (uint32_t n = 0; n < PIECES; n++)
        if (sp_metadata_ask(m, peers[2], now, &piece))
            CHECK_EQ(answer(2, piece, truth, SIZE), SP_OK);
    check_whole();
    end();
}

TEST(what_cannot_be)
{
    uint32_t piece;
    struct sp_metadata_peer *p = NULL;
    begin();
    CHECK_EQ(sp_metadata_join(m, 1, 0, now, &p), SP_ELIMIT);
    CHECK_EQ(sp_metadata_join(m, 1, SP_METADATA_LEN_MAX + 1, now, &p), SP_ELIMIT);
    CHECK(p == NULL);
    join(0, SIZE);
    CHECK(sp_metadata_ask(m, peers[0], now, &piece));
    CHECK_EQ(answer(0, piece + 1, truth, SIZE), SP_OK); /* not asked: passed over */
    CHECK_EQ(sp_metadata_got(m, peers[0], piece, SIZE + 1, (struct sp_slice){truth, 16384}, now),
             SP_EPROTO);
    CHECK_EQ(sp_metadata_got(m, peers[0], piece, SIZE, (struct sp_slice){truth, 16383}, now),
             SP_EPROTO);
    for (uint32_t n = 1; n < 3; n++)
        CHECK_EQ(sp_metadata_join(m, 100, SIZE + n, now, &peers[0]), SP_OK);
    CHECK_EQ(sp_metadata_join(m, 100, SIZE, now, &peers[0]), SP_ELIMIT); /* changes its mind */
    end();
}

TEST(memory_does_not_follow_what_is_announced)
{
    uint32_t piece;
    begin();
    int before = torture.made;
    join(0, SP_METADATA_LEN_MAX);
    for (int i = 0; i < 4; i++)
        CHECK(sp_metadata_ask(m, peers[0], now, &piece));
    CHECK(!sp_metadata_ask(m, peers[0], now, &piece));
    CHECK(piece < 8);
    CHECK(torture.made - before <= 4);
    end();
}

TEST(refused_and_unanswered_requests_go_to_others)
{
    uint32_t piece, other;
    begin();
    join(0, 100);
    join(1, 100);
    CHECK(sp_metadata_ask(m, peers[0], now, &piece));
    sp_metadata_rejected(m, peers[0], piece, now);
    CHECK(!sp_metadata_ask(m, peers[0], now, &piece)); /* rests */
    CHECK(sp_metadata_ask(m, peers[1], now, &piece));
    for (int i = 0; i < 21; i++) {
        now += SP_SECOND_NS;
        sp_metadata_tick(m, now);
        look();
    }
    CHECK(!sp_metadata_ask(m, peers[1], now, &other));
    CHECK(sp_metadata_ask(m, peers[0], now, &other));
    CHECK_EQ(other, piece);
    end();
}

TEST(each_allocation_may_fail)
{
    for (int n = 1; n < 40; n++) {
        begin();
        for (uint32_t i = 0; i < 4; i++)
            join(i, SIZE);
        torture.until_failure = n;
        run(4, 1);
        check_whole();
        end();
    }
}

int main(void)
{
    return check_run();
}
