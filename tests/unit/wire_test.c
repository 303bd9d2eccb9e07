#include "check.h"
#include "core/base/out.h"
#include "core/base/rng.h"
#include "edge.h"
#include "torture.h"
#include "wire_fold.h"

static struct torture plain = {.until_failure = -1};
static const struct sp_mem MEM = {torture_alloc, torture_free, &plain};

/* 21 pieces of 32 KiB, the last of 5,000 bytes. */
enum { PIECES = 21, PIECE_LEN = 32768, LAST_LEN = 5000 };
static const uint64_t TOTAL = (uint64_t)(PIECES - 1) * PIECE_LEN + LAST_LEN;

enum { FAST = 1, EXT = 2, DHT = 4, ALL = 7 };

static struct sp_handshake handshake_of(int bits)
{
    struct sp_handshake hs = {.info_hash = "the info-hash 012345",
                              .peer_id = "-SP0100-abcdefghijk"};
    hs.peer_id[19] = 'l';
    if (bits & FAST)
        sp_handshake_set_fast(hs.reserved);
    if (bits & EXT)
        sp_handshake_set_ext(hs.reserved);
    if (bits & DHT)
        sp_handshake_set_dht(hs.reserved);
    return hs;
}

static struct sp_wire_cfg cfg_of(int bits)
{
    return (struct sp_wire_cfg){
        .mem = &MEM,
        .own = handshake_of(bits),
        .piece_count = PIECES,
        .piece_len = PIECE_LEN,
        .total_len = TOTAL,
        .block_len_max = SP_BLOCK_LEN,
        .ext_len_max = 4096,
    };
}

/* A wire past the handshake, with what both have in force. */
static struct sp_wire open_wire(const struct sp_wire_cfg *cfg, int bits)
{
    struct sp_wire w;
    struct sp_handshake peer = handshake_of(bits);
    struct sp_wire_event ev;
    uint8_t hs[SP_HANDSHAKE_LEN];
    size_t used;
    sp_handshake_write(&peer, hs);
    sp_wire_init(&w, cfg);
    CHECK_EQ(sp_wire_recv(&w, (struct sp_slice){hs, sizeof(hs)}, &used, &ev), SP_OK);
    CHECK_EQ(ev.kind, SP_WIRE_HANDSHAKE);
    CHECK_EQ(used, SP_HANDSHAKE_LEN);
    return w;
}

/* The first event of bytes, as one input that ends at a dead page. */
static enum sp_err first(struct sp_wire *w, struct sp_slice in, struct sp_wire_event *ev)
{
    size_t used = 0;
    enum sp_err err = sp_wire_recv(w, edge(in.ptr, in.len), &used, ev);
    if (err == SP_OK)
        CHECK_EQ(used, in.len);
    return err;
}

#define LIT(s)                                                                                     \
    {                                                                                              \
        (const uint8_t *)(s), sizeof(s) - 1                                                        \
    }

/* --- every message, both ways ---------------------------------------------- */

static struct sp_buf out_of(void)
{
    return sp_buf_of(&MEM, 1 << 20);
}

/* Checks that what was just written is these bytes, and gives it to a wire. */
static struct sp_wire_event through(struct sp_buf *out, const char *bytes, size_t len)
{
    struct sp_wire_cfg cfg = cfg_of(ALL);
    struct sp_wire w = open_wire(&cfg, ALL);
    struct sp_wire_event ev = {.kind = SP_WIRE_NONE};
    struct sp_slice made = sp_buf_slice(out);
    CHECK_EQ(made.len, len);
    CHECK(made.len == len && memcmp(made.ptr, bytes, len) == 0);
    CHECK_EQ(first(&w, made, &ev), SP_OK);
    sp_buf_consume(out, made.len);
    sp_wire_done(&w);
    return ev;
}

#define THROUGH(out, lit) through((out), (lit), sizeof(lit) - 1)

TEST(plain_messages_both_ways)
{
    struct sp_buf out = out_of();
    CHECK_EQ(sp_wire_put_keepalive(&out), SP_OK);
    CHECK_EQ(THROUGH(&out, "\0\0\0\0").kind, SP_WIRE_KEEPALIVE);
    CHECK_EQ(sp_wire_put_choke(&out, true), SP_OK);
    CHECK_EQ(THROUGH(&out, "\0\0\0\1\0").kind, SP_WIRE_CHOKE);
    CHECK_EQ(sp_wire_put_choke(&out, false), SP_OK);
    CHECK_EQ(THROUGH(&out, "\0\0\0\1\1").kind, SP_WIRE_UNCHOKE);
    CHECK_EQ(sp_wire_put_interested(&out, true), SP_OK);
    CHECK_EQ(THROUGH(&out, "\0\0\0\1\2").kind, SP_WIRE_INTERESTED);
    CHECK_EQ(sp_wire_put_interested(&out, false), SP_OK);
    CHECK_EQ(THROUGH(&out, "\0\0\0\1\3").kind, SP_WIRE_NOT_INTERESTED);
    CHECK_EQ(sp_wire_put_have_all(&out), SP_OK);
    CHECK_EQ(THROUGH(&out, "\0\0\0\1\x0e").kind, SP_WIRE_HAVE_ALL);
    CHECK_EQ(sp_wire_put_have_none(&out), SP_OK);
    CHECK_EQ(THROUGH(&out, "\0\0\0\1\x0f").kind, SP_WIRE_HAVE_NONE);
    sp_buf_done(&out);
}

TEST(numbered_messages_both_ways)
{
    struct sp_buf out = out_of();
    struct sp_wire_event ev;
    CHECK_EQ(sp_wire_put_have(&out, 20), SP_OK);
    ev = THROUGH(&out, "\0\0\0\5\4\0\0\0\x14");
    CHECK(ev.kind == SP_WIRE_HAVE && ev.piece == 20);
    CHECK_EQ(sp_wire_put_suggest(&out, 19), SP_OK);
    ev = THROUGH(&out, "\0\0\0\5\x0d\0\0\0\x13");
    CHECK(ev.kind == SP_WIRE_SUGGEST && ev.piece == 19);
    CHECK_EQ(sp_wire_put_allowed_fast(&out, 18), SP_OK);
    ev = THROUGH(&out, "\0\0\0\5\x11\0\0\0\x12");
    CHECK(ev.kind == SP_WIRE_ALLOWED_FAST && ev.piece == 18);
    CHECK_EQ(sp_wire_put_donthave(&out, SP_EXT_LT_DONTHAVE, 17), SP_OK);
    ev = THROUGH(&out, "\0\0\0\6\x14\5\0\0\0\x11");
    CHECK(ev.kind == SP_WIRE_DONTHAVE && ev.piece == 17);
    CHECK_EQ(sp_wire_put_port(&out, 6881), SP_OK);
    ev = THROUGH(&out, "\0\0\0\3\x09\x1a\xe1");
    CHECK(ev.kind == SP_WIRE_PORT && ev.port == 6881);
    sp_buf_done(&out);
}

TEST(block_messages_both_ways)
{
    struct sp_buf out = out_of();
    struct sp_wire_event ev;
    CHECK_EQ(sp_wire_put_request(&out, 19, 16384, 16384), SP_OK);
    ev = THROUGH(&out, "\0\0\0\x0d\6\0\0\0\x13\0\0\x40\0\0\0\x40\0");
    CHECK(ev.kind == SP_WIRE_REQUEST && ev.piece == 19 && ev.off == 16384 && ev.len == 16384);
    CHECK_EQ(sp_wire_put_cancel(&out, 1, 2, 3), SP_OK);
    ev = THROUGH(&out, "\0\0\0\x0d\x08\0\0\0\1\0\0\0\2\0\0\0\3");
    CHECK(ev.kind == SP_WIRE_CANCEL && ev.piece == 1 && ev.off == 2 && ev.len == 3);
    CHECK_EQ(sp_wire_put_reject(&out, 1, 2, 3), SP_OK);
    ev = THROUGH(&out, "\0\0\0\x0d\x10\0\0\0\1\0\0\0\2\0\0\0\3");
    CHECK(ev.kind == SP_WIRE_REJECT && ev.piece == 1 && ev.off == 2 && ev.len == 3);
    sp_buf_done(&out);
}

TEST(bitfield_and_extended_both_ways)
{
    struct sp_buf out = out_of();
    struct sp_bits bits;
    struct sp_wire_event ev;
    CHECK_EQ(sp_bits_init(&bits, &MEM, PIECES), SP_OK);
    (void)sp_bits_add(&bits, 0);
    (void)sp_bits_add(&bits, 20);
    CHECK_EQ(sp_wire_put_bitfield(&out, &bits), SP_OK);
    ev = THROUGH(&out, "\0\0\0\4\5\x80\0\x08");
    CHECK(ev.kind == SP_WIRE_BITFIELD && ev.bits.len == 3 && ev.bits.ptr[2] == 8);
    sp_bits_done(&bits, &MEM);

    CHECK_EQ(sp_wire_put_extended(&out, SP_EXT_UT_PEX, SP_LIT("de")), SP_OK);
    ev = THROUGH(&out, "\0\0\0\4\x14\1de");
    CHECK(ev.kind == SP_WIRE_EXTENDED && ev.id == SP_EXT_UT_PEX && ev.payload.len == 2);
    CHECK(memcmp(ev.payload.ptr, "de", 2) == 0);
    CHECK_EQ(sp_wire_put_extended(&out, SP_EXT_UT_METADATA, (struct sp_slice){0}), SP_OK);
    ev = THROUGH(&out, "\0\0\0\2\x14\2");
    CHECK(ev.kind == SP_WIRE_EXTENDED && ev.id == SP_EXT_UT_METADATA && ev.payload.len == 0);

    struct sp_ext_handshake hs = {.has_reqq = true, .reqq = 500};
    sp_ext_offer(&hs, SP_EXT_UT_PEX);
    CHECK_EQ(sp_wire_put_ext_handshake(&out, &hs), SP_OK);
    ev = THROUGH(&out, "\0\0\0\x1f\x14\0d1:md6:ut_pexi1ee4:reqqi500ee");
    CHECK(ev.kind == SP_WIRE_EXT_HANDSHAKE && ev.ext_hs.has_reqq && ev.ext_hs.reqq == 500);
    sp_buf_done(&out);
}

TEST(writers_write_whole_messages_or_nothing)
{
    struct sp_buf out = sp_buf_of(&MEM, 20);
    CHECK_EQ(sp_wire_put_request(&out, 1, 2, 3), SP_OK);
    CHECK_EQ(sp_wire_put_request(&out, 1, 2, 3), SP_ELIMIT);
    CHECK_EQ(sp_wire_put_keepalive(&out), SP_ELIMIT);
    CHECK_EQ(sp_wire_put_have(&out, 1), SP_ELIMIT);
    CHECK_EQ(sp_buf_slice(&out).len, 17);
    sp_buf_done(&out);
}

/* --- blocks are not copied -------------------------------------------------- */

TEST(block_is_handed_back_in_place)
{
    struct sp_wire_cfg cfg = cfg_of(ALL);
    struct sp_wire w = open_wire(&cfg, ALL);
    struct sp_wire_event ev;
    uint8_t head[SP_WIRE_PIECE_HEAD_LEN];
    static uint8_t block[SP_BLOCK_LEN];
    size_t used;

    sp_wire_piece_head(head, 3, 16384, sizeof(block));
    CHECK(memcmp(head, "\0\0\x40\x09\7\0\0\0\3\0\0\x40\0", sizeof(head)) == 0);
    CHECK(sp_wire_at_boundary(&w));
    CHECK_EQ(first(&w, (struct sp_slice){head, sizeof(head)}, &ev), SP_OK);
    CHECK(ev.kind == SP_WIRE_BLOCK && ev.piece == 3 && ev.off == 16384 && ev.len == 16384);
    CHECK_EQ(sp_wire_block_left(&w), 16384);
    CHECK(!sp_wire_at_boundary(&w));

    CHECK_EQ(sp_wire_recv(&w, (struct sp_slice){block, 10000}, &used, &ev), SP_OK);
    CHECK(ev.kind == SP_WIRE_BLOCK_DATA && ev.data.ptr == block && ev.data.len == 10000);
    CHECK(ev.block_off == 0 && ev.piece == 3 && ev.off == 16384 && ev.len == 16384);
    CHECK_EQ(used, 10000);
    CHECK_EQ(sp_wire_block_left(&w), 6384);

    CHECK_EQ(sp_wire_recv(&w, (struct sp_slice){0}, &used, &ev), SP_OK);
    CHECK(ev.kind == SP_WIRE_NONE && used == 0);

    /* The rest and more: only the rest is taken. */
    CHECK_EQ(sp_wire_recv(&w, (struct sp_slice){block, 7000}, &used, &ev), SP_OK);
    CHECK(ev.kind == SP_WIRE_BLOCK_DATA && ev.data.ptr == block && ev.data.len == 6384);
    CHECK(ev.block_off == 10000 && used == 6384);
    CHECK_EQ(sp_wire_block_left(&w), 0);
    CHECK(!sp_wire_at_boundary(&w));

    CHECK_EQ(sp_wire_recv(&w, (struct sp_slice){0}, &used, &ev), SP_OK);
    CHECK(ev.kind == SP_WIRE_BLOCK_END && ev.piece == 3 && ev.off == 16384 && ev.len == 16384);
    CHECK(sp_wire_at_boundary(&w));
    CHECK_EQ(sp_wire_recv(&w, (struct sp_slice){0}, &used, &ev), SP_OK);
    CHECK_EQ(ev.kind, SP_WIRE_NONE);
    CHECK_EQ(plain.live, 0);
    sp_wire_done(&w);
}

/* --- cuts and prefixes ------------------------------------------------------ */

static void put_block(struct sp_buf *out, uint32_t piece, uint32_t off, uint32_t len)
{
    uint8_t head[SP_WIRE_PIECE_HEAD_LEN];
    sp_wire_piece_head(head, piece, off, len);
    CHECK_EQ(sp_buf_append(out, head, sizeof(head)), SP_OK);
    for (uint32_t i = 0; i < len; i++)
        CHECK_EQ(sp_buf_append(out, &(uint8_t){(uint8_t)(i * 7 + off)}, 1), SP_OK);
}

enum { TALK_EVENTS = 33 };

/* At least one of each message, and what is passed over. */
static struct sp_buf talk(void)
{
    struct sp_buf out = out_of();
    struct sp_handshake hs = handshake_of(ALL);
    struct sp_ext_handshake ext = {.has_reqq = true, .reqq = 2000, .port = 6881, .v = "Spate 0.1"};
    struct sp_bits bits;
    static uint8_t junk[1000];

    sp_ext_offer(&ext, SP_EXT_UT_METADATA);
    CHECK_EQ(sp_bits_init(&bits, &MEM, PIECES), SP_OK);
    (void)sp_bits_add(&bits, 5);
    CHECK_EQ(sp_wire_put_handshake(&out, &hs), SP_OK);
    (void)sp_wire_put_ext_handshake(&out, &ext);
    (void)sp_wire_put_bitfield(&out, &bits);
    sp_bits_done(&bits, &MEM);
    (void)sp_wire_put_port(&out, 6881);
    for (uint32_t i = 0; i < 3; i++)
        (void)sp_wire_put_allowed_fast(&out, i);
    (void)sp_wire_put_keepalive(&out);
    (void)sp_wire_put_keepalive(&out);
    (void)sp_wire_put_choke(&out, true);
    (void)sp_wire_put_choke(&out, false);
    (void)sp_wire_put_interested(&out, true);
    for (uint32_t i = 0; i < 4; i++)
        (void)sp_wire_put_request(&out, i, i * 1000, 1000);
    put_block(&out, 2, 0, 1);
    put_block(&out, 2, 1, 300);
    (void)sp_wire_put_have(&out, 7);
    put_block(&out, 20, 4990, 10);
    (void)sp_wire_put_extended(&out, SP_EXT_UT_METADATA, (struct sp_slice){junk, 700});
    (void)sp_wire_put_extended(&out, 99, (struct sp_slice){junk, 40});
    (void)sp_wire_put_extended(&out, SP_EXT_UT_PEX, (struct sp_slice){0});
    (void)sp_buf_append(&out, "\0\0\0\5\x15zzzz\0\0\0\1\xff", 14);
    (void)sp_wire_put_suggest(&out, 20);
    (void)sp_wire_put_reject(&out, 1, 2, 3);
    (void)sp_wire_put_donthave(&out, SP_EXT_LT_DONTHAVE, 5);
    (void)sp_wire_put_cancel(&out, 1, 2, 3);
    (void)sp_wire_put_interested(&out, false);
    (void)sp_wire_put_ext_handshake(&out, &ext);
    (void)sp_wire_put_have(&out, 8);
    (void)sp_wire_put_keepalive(&out);
    return out;
}

/* One run over bytes, cut where at says so; the last cut is the end. */
static struct fold run_cut(struct sp_slice bytes, const size_t *at, size_t count)
{
    struct sp_wire_cfg cfg = cfg_of(ALL);
    struct fold f = {0};
    struct sp_wire w;
    size_t from = 0;
    sp_wire_init(&w, &cfg);
    for (size_t i = 0; i <= count && f.err == SP_OK; i++) {
        size_t to = i < count ? at[i] : bytes.len;
        (void)fold_feed(&f, &w, (struct sp_slice){bytes.ptr + from, to - from});
        if (f.err == SP_OK && sp_wire_at_boundary(&w))
            CHECK(w.big == NULL);
        from = to;
    }
    sp_wire_done(&w);
    return f;
}

TEST(every_cut_of_a_conversation_gives_the_same)
{
    struct sp_buf out = talk();
    struct sp_slice bytes = sp_buf_slice(&out);
    struct fold whole = run_cut(bytes, NULL, 0);
    int differ = 0, live = plain.live;
    CHECK_EQ(whole.err, SP_OK);
    CHECK_EQ(whole.events, TALK_EVENTS);

    for (size_t i = 0; i <= bytes.len; i++) {
        struct fold f = run_cut(bytes, &i, 1);
        differ += !fold_eq(&f, &whole);
        fold_done(&f);
    }
    CHECK_EQ(differ, 0);

    static size_t at[4096];
    CHECK(bytes.len < SP_COUNT(at));
    for (size_t i = 0; i < bytes.len; i++)
        at[i] = i;
    struct fold f = run_cut(bytes, at, bytes.len);
    CHECK(fold_eq(&f, &whole));
    fold_done(&f);
    CHECK_EQ(plain.live, live);
    fold_done(&whole);
    sp_buf_done(&out);
}

TEST(random_cuts_give_the_same)
{
    struct sp_buf out = talk();
    struct sp_slice bytes = sp_buf_slice(&out);
    struct fold whole = run_cut(bytes, NULL, 0);
    struct sp_rng rng = sp_rng_of(7);
    static size_t at[4096];
    int differ = 0;

    for (int round = 0; round < 500; round++) {
        size_t count = 0, step = 1 + sp_rng_below(&rng, 200);
        for (size_t p = 0; (p += 1 + sp_rng_below(&rng, step)) < bytes.len;)
            at[count++] = p;
        struct fold f = run_cut(bytes, at, count);
        differ += !fold_eq(&f, &whole);
        fold_done(&f);
    }
    CHECK_EQ(differ, 0);
    fold_done(&whole);
    sp_buf_done(&out);
}

TEST(every_prefix_gives_the_beginning)
{
    struct sp_buf out = talk();
    struct sp_slice bytes = sp_buf_slice(&out);
    struct fold whole = run_cut(bytes, NULL, 0);
    size_t last = 0;
    for (size_t len = 0; len < bytes.len; len++) {
        struct fold f = run_cut((struct sp_slice){bytes.ptr, len}, NULL, 0);
        CHECK_EQ(f.err, SP_OK);
        CHECK(f.len >= last && f.len <= whole.len);
        CHECK(f.len == 0 || memcmp(f.bytes, whole.bytes, f.len) == 0);
        last = f.len;
        fold_done(&f);
    }
    fold_done(&whole);
    sp_buf_done(&out);
}

/* --- what is refused, and the nearest that is not --------------------------- */

enum { MAGNET = 8 };

static const struct {
    const char *what;
    int bits; /* in force; MAGNET: nothing known of the torrent */
    struct sp_slice bytes;
    bool refused;
} rules[] = {
#define M(s)                                                                                       \
    {                                                                                              \
        (const uint8_t *)(s), sizeof(s) - 1                                                        \
    }
    {"choke with a body", ALL, M("\0\0\0\2\0\0"), true},
    {"interested with a body", ALL, M("\0\0\0\2\2\0"), true},
    {"have, short", ALL, M("\0\0\0\4\4\0\0\0"), true},
    {"have, long", ALL, M("\0\0\0\6\4\0\0\0\0\0"), true},
    {"have of the last piece", ALL, M("\0\0\0\5\4\0\0\0\x14"), false},
    {"have of one more", ALL, M("\0\0\0\5\4\0\0\0\x15"), true},
    {"have of a negative one", ALL, M("\0\0\0\5\4\xff\xff\xff\xff"), true},
    {"have of any, magnet", ALL | MAGNET, M("\0\0\0\5\4\xff\xff\xff\xff"), false},
    {"bitfield", ALL, M("\0\0\0\4\5\xff\xff\xf8"), false},
    {"bitfield, short", ALL, M("\0\0\0\3\5\xff\xff"), true},
    {"bitfield, long", ALL, M("\0\0\0\5\5\xff\xff\xf8\0"), true},
    {"bitfield, empty", ALL, M("\0\0\0\1\5"), true},
    {"bitfield, empty, magnet", ALL | MAGNET, M("\0\0\0\1\5"), true},
    {"bitfield of any length, magnet", ALL | MAGNET, M("\0\0\0\2\5\xff"), false},
    {"bitfield at the cap, magnet", ALL | MAGNET, M("\0\4\0\1\5"), false},
    {"bitfield over the cap, magnet", ALL | MAGNET, M("\0\4\0\2\5"), true},
    {"bitfield with a spare bit", ALL, M("\0\0\0\4\5\xff\xff\xfc"), true},
    {"bitfield with the last spare bit", ALL, M("\0\0\0\4\5\0\0\1"), true},
    {"two bitfields", ALL, M("\0\0\0\4\5\0\0\0\0\0\0\4\5\0\0\0"), false},
    {"bitfield after have-none", ALL, M("\0\0\0\1\x0f\0\0\0\4\5\0\0\0"), false},
    {"bitfield after have", ALL, M("\0\0\0\5\4\0\0\0\0\0\0\0\4\5\0\0\0"), false},
    {"bitfield after request", ALL, M("\0\0\0\x0d\6\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\4\5\0\0\0"),
     false},
    {"bitfield after cancel", ALL, M("\0\0\0\x0d\x08\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\4\5\0\0\0"),
     false},
    {"bitfield after piece", ALL, M("\0\0\0\x0a\7\0\0\0\0\0\0\0\0z\0\0\0\4\5\0\0\0"), false},
    {"bitfield after extended, port, unchoke, allowed-fast, reject", ALL,
     M("\0\0\0\4\x14\0de\0\0\0\3\x09\0\1\0\0\0\0\0\0\0\1\1\0\0\0\5\x11\0\0\0\0"
       "\0\0\0\x0d\x10\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0\4\5\0\0\0"),
     false},
    {"have-all", ALL, M("\0\0\0\1\x0e"), false},
    {"have-all with a body", ALL, M("\0\0\0\2\x0e\0"), true},
    {"have-all, not agreed on", EXT | DHT, M("\0\0\0\1\x0e"), true},
    {"have-none, not agreed on", EXT | DHT, M("\0\0\0\1\x0f"), true},
    {"have-all after have-all", ALL, M("\0\0\0\1\x0e\0\0\0\1\x0e"), false},
    {"have-none after bitfield", ALL, M("\0\0\0\4\5\0\0\0\0\0\0\1\x0f"), false},
    {"have-all after have", ALL, M("\0\0\0\5\4\0\0\0\0\0\0\0\1\x0e"), false},
    {"suggest, not agreed on", 0, M("\0\0\0\5\x0d\0\0\0\0"), true},
    {"suggest beyond the end", ALL, M("\0\0\0\5\x0d\0\0\0\x15"), true},
    {"reject, not agreed on", 0, M("\0\0\0\x0d\x10\0\0\0\0\0\0\0\0\0\0\0\1"), true},
    {"allowed-fast, not agreed on", 0, M("\0\0\0\5\x11\0\0\0\0"), true},
    {"allowed-fast beyond the end", ALL, M("\0\0\0\5\x11\0\0\0\x15"), true},
    {"allowed-fast, short", ALL, M("\0\0\0\4\x11\0\0\0"), true},
    {"request, short", ALL, M("\0\0\0\x0c\6\0\0\0\0\0\0\0\0\0\0\0"), true},
    {"request, long", ALL, M("\0\0\0\x0e\6\0\0\0\0\0\0\0\0\0\0\0\1\0"), true},
    {"request of no bytes", ALL, M("\0\0\0\x0d\6\0\0\0\0\0\0\0\0\0\0\0\0"), true},
    {"request of no bytes, magnet", ALL | MAGNET, M("\0\0\0\x0d\6\0\0\0\0\0\0\0\0\0\0\0\0"), true},
    {"request of the whole piece", ALL, M("\0\0\0\x0d\6\0\0\0\0\0\0\0\0\0\0\x80\0"), false},
    {"request of one byte more", ALL, M("\0\0\0\x0d\6\0\0\0\0\0\0\0\0\0\0\x80\1"), true},
    {"request one byte further", ALL, M("\0\0\0\x0d\6\0\0\0\0\0\0\0\1\0\0\x80\0"), true},
    {"request whose end overflows", ALL, M("\0\0\0\x0d\6\0\0\0\0\xff\xff\xff\xff\0\0\0\2"), true},
    {"request to the end of the last piece", ALL, M("\0\0\0\x0d\6\0\0\0\x14\0\0\0\x88\0\0\x13\0"),
     false},
    {"request beyond the last piece", ALL, M("\0\0\0\x0d\6\0\0\0\x14\0\0\0\x89\0\0\x13\0"), true},
    {"request of no such piece", ALL, M("\0\0\0\x0d\6\0\0\0\x15\0\0\0\0\0\0\0\1"), true},
    {"request of 128 KiB, magnet", ALL | MAGNET, M("\0\0\0\x0d\6\0\0\0\0\0\0\0\0\0\2\0\0"), false},
    {"request over 128 KiB, magnet", ALL | MAGNET, M("\0\0\0\x0d\6\0\0\0\0\0\0\0\0\0\2\0\1"), true},
    {"cancel beyond the piece", ALL, M("\0\0\0\x0d\x08\0\0\0\0\0\0\x80\0\0\0\0\1"), true},
    {"reject beyond the piece", ALL, M("\0\0\0\x0d\x10\0\0\0\0\0\0\x80\0\0\0\0\1"), true},
    {"piece without an offset", ALL, M("\0\0\0\x08\7\0\0\0\0\0\0\0"), true},
    {"piece of no bytes", ALL, M("\0\0\0\x09\7\0\0\0\0\0\0\0\0"), true},
    {"piece of one byte", ALL, M("\0\0\0\x0a\7\0\0\0\0\0\0\x7f\xffz"), false},
    {"piece one byte further", ALL, M("\0\0\0\x0a\7\0\0\0\0\0\0\x80\0z"), true},
    {"piece of 16 KiB", ALL, M("\0\0\x40\x09\7\0\0\0\0\0\0\0\0"), false},
    {"piece of 16 KiB and a byte", ALL, M("\0\0\x40\x0a\7"), true},
    {"piece of no such piece", ALL, M("\0\0\0\x0a\7\0\0\0\x15\0\0\0\0"), true},
    {"piece, magnet", ALL | MAGNET, M("\0\0\0\x0a\7\0\0\0\0\0\0\0\0"), true},
    {"port, short", ALL, M("\0\0\0\2\x09\1"), true},
    {"port, long", ALL, M("\0\0\0\4\x09\1\1\1"), true},
    {"port, without the bit", 0, M("\0\0\0\3\x09\1\1"), false},
    {"extended, not agreed on", FAST | DHT, M("\0\0\0\4\x14\0de"), true},
    {"extended without an id", ALL, M("\0\0\0\1\x14"), true},
    {"extended at the cap", ALL, M("\0\0\x10\2\x14\2"), false},
    {"extended over the cap", ALL, M("\0\0\x10\3\x14\2"), true},
    {"unknown extended over the cap", ALL, M("\0\0\x10\3\x14\x63"), true},
    {"donthave, short", ALL, M("\0\0\0\5\x14\5\0\0\0"), true},
    {"donthave, long", ALL, M("\0\0\0\7\x14\5\0\0\0\0\0"), true},
    {"donthave of no such piece", ALL, M("\0\0\0\6\x14\5\0\0\0\x15"), true},
    {"extension handshake, no dictionary", ALL, M("\0\0\0\4\x14\0le"), true},
    {"extension handshake, cut short", ALL, M("\0\0\0\4\x14\0d1"), true},
    {"extension handshake, empty", ALL, M("\0\0\0\2\x14\0"), true},
    {"unknown at the cap", ALL, M("\0\1\0\1\x0a"), false},
    {"unknown over the cap", ALL, M("\0\1\0\2\x0a"), true},
    {"unknown, empty", ALL, M("\0\0\0\1\x12"), false},
    {"longer than anything", ALL, M("\0\1\0\2"), true},
    {"longer than memory", ALL, M("\xff\xff\xff\xff"), true},
#undef M
};

TEST(rules_and_near_misses)
{
    for (size_t i = 0; i < SP_COUNT(rules); i++) {
        struct sp_wire_cfg cfg = cfg_of(rules[i].bits);
        if (rules[i].bits & MAGNET)
            cfg.piece_count = 0;
        struct sp_wire whole = open_wire(&cfg, ALL), cut = open_wire(&cfg, ALL);
        struct fold a = {0}, b = {0};
        (void)fold_feed(&a, &whole, rules[i].bytes);
        for (size_t k = 0; k < rules[i].bytes.len && b.err == SP_OK; k++)
            (void)fold_feed(&b, &cut, (struct sp_slice){rules[i].bytes.ptr + k, 1});
        if (a.err != (rules[i].refused ? SP_EPROTO : SP_OK) || !fold_eq(&a, &b)) {
            printf("# %s: %s, %s\n", rules[i].what, sp_err_name(a.err), sp_err_name(b.err));
            CHECK(false);
        }
        sp_wire_done(&whole);
        sp_wire_done(&cut);
        fold_done(&a);
        fold_done(&b);
    }
    CHECK_EQ(plain.live, 0);
}

TEST(extension_ids_are_merged_and_unknown_ones_passed_over)
{
    struct sp_wire_cfg cfg = cfg_of(ALL);
    struct sp_wire_event ev;
    struct sp_wire w = open_wire(&cfg, ALL);
    CHECK_EQ(first(&w, SP_LIT("\0\0\0\x14\x14\0d1:md6:ut_pexi9eee"), &ev), SP_OK);
    CHECK_EQ(w.ext_ids[SP_EXT_UT_PEX], 9);
    CHECK_EQ(first(&w, SP_LIT("\0\0\0\4\x14\5xx"), &ev), SP_EPROTO);
    sp_wire_done(&w);

    w = open_wire(&cfg, ALL);
    for (uint8_t id = 1; id < SP_EXT_LT_DONTHAVE; id++) {
        uint8_t msg[8] = {0, 0, 0, 4, 20, id, 'x', 'x'};
        CHECK_EQ(first(&w, (struct sp_slice){msg, 8}, &ev), SP_OK);
        CHECK(ev.kind == SP_WIRE_EXTENDED && ev.id == id);
        msg[5] = (uint8_t)(SP_EXT_COUNT + id - 1);
        CHECK_EQ(first(&w, (struct sp_slice){msg, 8}, &ev), SP_OK);
        CHECK_EQ(ev.kind, SP_WIRE_NONE);
        CHECK(sp_wire_at_boundary(&w));
    }
    sp_wire_done(&w);
}

/* The cap on length prefixes follows each of the limits. */
TEST(each_limit_may_be_the_longest)
{
    static const struct {
        struct sp_slice at, over;
    } heads[] = {
        {LIT("\0\x10\0\2\x14\2"), LIT("\0\x10\0\3")}, /* extended */
        {LIT("\0\x10\0\x09\7"), LIT("\0\x10\0\x0a")}, /* piece */
        {LIT("\0\x10\0\1\5"), LIT("\0\x10\0\2")},     /* bitfield */
    };
    for (size_t i = 0; i < SP_COUNT(heads); i++) {
        struct sp_wire_cfg cfg = cfg_of(ALL);
        struct sp_wire_event ev;
        cfg.ext_len_max = i == 0 ? 1 << 20 : 0;
        cfg.block_len_max = i == 1 ? 1 << 20 : 0;
        cfg.piece_count = i == 2 ? 8 << 20 : PIECES;
        struct sp_wire w = open_wire(&cfg, ALL);
        CHECK_EQ(first(&w, heads[i].at, &ev), SP_OK);
        sp_wire_done(&w);
        w = open_wire(&cfg, ALL);
        CHECK_EQ(first(&w, heads[i].over, &ev), SP_EPROTO);
        CHECK(strcmp(sp_wire_why(&w), "sends a message that is too long") == 0);
        sp_wire_done(&w);
    }
}

/* --- handshake -------------------------------------------------------------- */

TEST(handshake_peek_tells_as_early_as_it_can)
{
    struct sp_handshake hs = handshake_of(ALL);
    uint8_t bytes[SP_HANDSHAKE_LEN], hash[20];
    sp_handshake_write(&hs, bytes);
    for (size_t len = 0; len <= SP_HANDSHAKE_LEN; len++)
        CHECK_EQ(sp_handshake_peek(edge(bytes, len), hash),
                 len < SP_HANDSHAKE_HEAD_LEN ? SP_AGAIN : SP_OK);
    CHECK(memcmp(hash, hs.info_hash, 20) == 0);
    for (size_t i = 0; i < 20; i++) {
        bytes[i] ^= 0x20;
        CHECK_EQ(sp_handshake_peek(edge(bytes, i), hash), SP_AGAIN);
        CHECK_EQ(sp_handshake_peek(edge(bytes, i + 1), hash), SP_EPROTO);
        bytes[i] ^= 0x20;
    }
}

TEST(handshake_features_need_both_sides)
{
    for (int own = 0; own <= ALL; own++)
        for (int peer = 0; peer <= ALL; peer++) {
            struct sp_wire_cfg cfg = cfg_of(own);
            struct sp_wire w = open_wire(&cfg, peer);
            CHECK_EQ(w.fast, (own & peer & FAST) != 0);
            CHECK_EQ(w.ext, (own & peer & EXT) != 0);
            CHECK_EQ(w.dht, (own & peer & DHT) != 0);
            sp_wire_done(&w);
        }
}

TEST(handshake_refuses_as_early_as_it_can)
{
    struct sp_handshake hs = handshake_of(ALL);
    uint8_t bytes[SP_HANDSHAKE_LEN];
    sp_handshake_write(&hs, bytes);
    for (size_t i = 0; i < SP_HANDSHAKE_LEN; i++) {
        struct sp_wire_cfg cfg = cfg_of(ALL);
        struct sp_wire w;
        struct fold f = {0};
        bool is_checked = i < 20 || (i >= 28 && i < 48);
        size_t end = i < 20 ? i : 47; /* the byte that decides */
        sp_wire_init(&w, &cfg);
        bytes[i] ^= 1;
        CHECK_EQ(fold_feed(&f, &w, (struct sp_slice){bytes, end}), SP_OK);
        CHECK_EQ(fold_feed(&f, &w, (struct sp_slice){bytes + end, 1}),
                 is_checked ? SP_EPROTO : SP_OK);
        bytes[i] ^= 1;
        sp_wire_done(&w);
        fold_done(&f);
    }
}

/* --- memory ----------------------------------------------------------------- */

TEST(declared_length_allocates_nothing)
{
    struct sp_wire_cfg cfg = cfg_of(ALL);
    struct sp_wire_event ev;
    struct fold_heap heap = {0};
    struct sp_mem mem = {fold_alloc, fold_free, &heap};
    cfg.mem = &mem;
    cfg.piece_count = 8u << 20;
    struct sp_wire w = open_wire(&cfg, ALL);
    CHECK_EQ(first(&w, (struct sp_slice){(const uint8_t *)"\0\x10\0\1\5", 5}, &ev), SP_OK);
    CHECK_EQ(heap.peak, 0);
    for (size_t n = 1; n <= 3000; n++) {
        CHECK_EQ(first(&w, SP_LIT("x"), &ev), SP_OK);
        CHECK(heap.live <= 256 + 2 * n);
    }
    CHECK(heap.peak <= 3 * 3000);
    sp_wire_done(&w);
    CHECK_EQ(heap.live, 0);
}

/* A bitfield of 100 KiB in parts: every allocation fails once. */
TEST(each_allocation_fails_once)
{
    static uint8_t bytes[5 + 102400] = "\0\1\x90\1\5";
    int failures = 0;
    for (int n = 0;; n++) {
        struct torture t = {.until_failure = n};
        struct sp_mem mem = {torture_alloc, torture_free, &t};
        struct sp_wire_cfg cfg = cfg_of(ALL);
        cfg.mem = &mem;
        cfg.piece_count = 102400 * 8;
        struct sp_wire w = open_wire(&cfg, ALL);
        struct fold f = {0};
        for (size_t at = 0; at < sizeof(bytes) && f.err == SP_OK; at += 333) {
            size_t left = sizeof(bytes) - at;
            (void)fold_feed(&f, &w, (struct sp_slice){bytes + at, left < 333 ? left : 333});
        }
        CHECK_EQ(t.live, 0); /* nothing is left after an error, nor after NONE */
        bool whole = f.err == SP_OK;
        CHECK(whole ? f.events == 1 : f.err == SP_ENOMEM);
        fold_done(&f);
        sp_wire_done(&w);
        if (whole)
            break;
        failures++;
    }
    CHECK(failures >= 8);
}

TEST(whole_messages_need_no_memory)
{
    struct torture t = {.until_failure = 0};
    struct sp_mem mem = {torture_alloc, torture_free, &t};
    struct sp_wire_cfg cfg = cfg_of(ALL);
    cfg.mem = &mem;
    struct sp_wire w;
    struct sp_buf out = talk();
    struct fold f = {0};
    sp_wire_init(&w, &cfg);
    CHECK_EQ(fold_feed(&f, &w, sp_buf_slice(&out)), SP_OK);
    CHECK_EQ(f.events, TALK_EVENTS);
    CHECK_EQ(t.made, 0);
    fold_done(&f);
    sp_buf_done(&out);
    sp_wire_done(&w);
}

/* --- magnets ---------------------------------------------------------------- */

TEST(learning_the_torrent_starts_the_checks)
{
    struct sp_wire_cfg cfg = cfg_of(ALL);
    struct sp_wire_event ev;
    cfg.piece_count = 0;
    struct sp_wire w = open_wire(&cfg, ALL);
    CHECK_EQ(first(&w, SP_LIT("\0\0\0\5\4\0\0\0\x15"), &ev), SP_OK);
    sp_wire_learn(&w, PIECES, PIECE_LEN, TOTAL);
    CHECK_EQ(first(&w, SP_LIT("\0\0\0\5\4\0\0\0\x14"), &ev), SP_OK);
    CHECK_EQ(first(&w, SP_LIT("\0\0\0\5\4\0\0\0\x15"), &ev), SP_EPROTO);
    sp_wire_done(&w);

    /* A bitfield that began before is judged when it is whole. */
    w = open_wire(&cfg, ALL);
    CHECK_EQ(first(&w, SP_LIT("\0\0\0\3\5\0"), &ev), SP_OK);
    sp_wire_learn(&w, PIECES, PIECE_LEN, TOTAL);
    CHECK_EQ(first(&w, SP_LIT("\0"), &ev), SP_EPROTO);
    sp_wire_done(&w);
    CHECK_EQ(plain.live, 0);
}

int main(void)
{
    return check_run();
}
