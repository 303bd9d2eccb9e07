/* Super-seeding, message by message: core/torrent/super.c, through the session's door. */
#include "core/session/session.h"

#include "check.h"
#include "core/session/state.h"
#include "core/torrent/torrent.h"
#include "spate/mem.h"

#define S SP_SECOND_NS

static void *heap_alloc(void *ctx, size_t size)
{
    (void)ctx;
    return calloc(1, size);
}

static void heap_free(void *ctx, void *ptr)
{
    (void)ctx;
    free(ptr);
}

static const struct sp_mem HEAP = {.alloc = heap_alloc, .free = heap_free};

#define TEN "0123456789"

struct lab {
    struct sp_session *s;
    struct sp_metainfo *mi;
    sp_time_ns now;
};

static void begin(struct lab *l)
{
    static const char TORRENT[] =
        "d4:infod6:lengthi131072e4:name1:a12:piece lengthi16384e6:pieces160:" TEN TEN TEN TEN TEN
            TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN "ee";
    struct sp_session_cfg cfg = {.mem = &HEAP,
                                 .seed = 1,
                                 .client_name = "test",
                                 .memory_bytes = 8 << 20,
                                 .conn_max = 100,
                                 .torrent_conn_max = 50,
                                 .half_open_max = 8};
    struct sp_session_add add = {.super_seed = true};
    struct sp_bits have;

    *l = (struct lab){.now = 100 * S};
    CHECK_EQ(sp_metainfo_parse(&HEAP, (struct sp_slice){(const uint8_t *)TORRENT, strlen(TORRENT)},
                               NULL, &l->mi, NULL),
             SP_OK);
    add.metainfo = l->mi;
    CHECK_EQ(sp_session_new(&cfg, l->now, &l->s), SP_OK);
    CHECK_EQ(sp_session_add(l->s, 1, &add, l->now), SP_OK);
    CHECK_EQ(sp_bits_init(&have, &HEAP, 8), SP_OK);
    sp_bits_fill(&have, true);
    sp_torrent_checked(l->s, 1, &have, l->now);
    sp_bits_done(&have, &HEAP);
}

static void drain(struct lab *l)
{
    struct sp_effect fx;
    while (sp_session_next(l->s, &fx, l->now))
        ;
}

static void finish(struct lab *l)
{
    drain(l);
    CHECK(sp_session_broken(l->s) == NULL);
    sp_session_free(l->s);
    sp_metainfo_free(l->mi);
}

static struct sp_addr v4(uint8_t a, uint8_t d, uint16_t port)
{
    const uint8_t ip[4] = {a, 2, 3, d};
    return sp_addr_v4(ip, port);
}

static struct sp_conn *come(struct lab *l, struct sp_addr from)
{
    return sp_session_accept(l->s, 1, &from, NULL, l->now);
}

/* Its handshake, and whatever messages; from is one that came. */
static void say(struct lab *l, struct sp_conn *c, uint8_t id, const char *messages, size_t len)
{
    uint8_t head[SP_HANDSHAKE_LEN] = "\x13"
                                     "BitTorrent protocol";
    if (!c)
        return;
    head[25] = 0x10; /* extensions */
    memcpy(head + 28, l->mi->info_hash_v1, SP_SHA1_LEN);
    memset(head + 48, id, SP_PEER_ID_LEN);
    sp_conn_received_bytes(c, (struct sp_slice){head, sizeof(head)}, l->now);
    sp_conn_received_bytes(c, (struct sp_slice){(const uint8_t *)messages, len}, l->now);
}

/* Pieces that c is told of from now on, as bits; others: what else is said. */
static uint32_t told(struct lab *l, struct sp_conn *c)
{
    uint8_t bytes[4096];
    struct sp_slice list[16];
    size_t total = 0;
    uint32_t pieces = 0;
    sp_super_tick(sp_session_torrent(l->s, 1), l->now);
    uint32_t n = sp_conn_send_list(c, list, 16, l->now);
    for (uint32_t i = 0; i < n && total + list[i].len <= sizeof(bytes); i++) {
        memcpy(bytes + total, list[i].ptr, list[i].len);
        total += list[i].len;
    }
    if (total)
        sp_conn_sent(c, total, l->now);
    for (size_t at = total >= 68 && bytes[0] == 19 ? 68 : 0; at + 5 <= total;
         at += 4 + bytes[at + 3]) {
        CHECK(bytes[at + 4] != 5 && bytes[at + 4] != 14); /* no BITFIELD, no HAVE_ALL */
        if (bytes[at + 4] == 4)
            pieces |= 1u << bytes[at + 8];
    }
    return pieces;
}

static void has(struct lab *l, struct sp_conn *c, uint32_t piece)
{
    const uint8_t have[9] = {0, 0, 0, 5, 4, 0, 0, 0, (uint8_t)piece};
    sp_conn_received_bytes(c, (struct sp_slice){have, sizeof(have)}, l->now);
}

static uint32_t lowest(uint32_t bits)
{
    return (uint32_t)__builtin_ctz(bits);
}

static uint32_t count(uint32_t bits)
{
    return (uint32_t)__builtin_popcount(bits);
}

/* BEP-0016: the next piece only once the last one is seen elsewhere. */
TEST(a_piece_has_to_go_on_before_the_next_is_shown)
{
    struct lab l;
    begin(&l);
    struct sp_conn *a = come(&l, v4(5, 1, 1)), *b = come(&l, v4(5, 2, 1));
    say(&l, a, 1, "", 0);
    say(&l, b, 2, "", 0);
    uint32_t to_a = told(&l, a), to_b = told(&l, b);
    CHECK(count(to_a) == 2 && count(to_b) == 2);
    CHECK_EQ(to_a & to_b, 0); /* to each other ones */
    uint32_t p = lowest(to_a);
    has(&l, a, p);
    CHECK_EQ(told(&l, a), 0); /* b lacks it */
    has(&l, b, p);
    uint32_t next = told(&l, a);
    CHECK_EQ(count(next), 1);
    CHECK_EQ(next & (to_a | to_b), 0);
    finish(&l);
}

TEST(one_alone_is_shown_all)
{
    struct lab l;
    uint32_t all = 0;
    begin(&l);
    struct sp_conn *a = come(&l, v4(5, 1, 1));
    say(&l, a, 1, "", 0);
    for (uint32_t i = 0; i < 7; i++) {
        uint32_t now = told(&l, a);
        all |= now;
        for (; now; now &= now - 1)
            has(&l, a, lowest(now));
    }
    CHECK_EQ(count(all), 8);
    finish(&l);
}

TEST(what_does_not_move_is_given_up)
{
    struct lab l;
    begin(&l);
    struct sp_conn *a = come(&l, v4(5, 1, 1)), *b = come(&l, v4(5, 2, 1));
    say(&l, a, 1, "", 0);
    say(&l, b, 2, "", 0);
    uint32_t first = told(&l, a);
    l.now += 29 * S;
    CHECK_EQ(told(&l, a), 0);
    l.now += 2 * S;
    uint32_t more = told(&l, a);
    CHECK(count(more) == 2 && (more & first) == 0);
    finish(&l);
}

TEST(another_seed_ends_it)
{
    static const char ALL[] = "\0\0\0\2\5\xff";
    struct lab l;
    begin(&l);
    struct sp_conn *a = come(&l, v4(5, 1, 1)), *b = come(&l, v4(5, 2, 1));
    say(&l, a, 1, "", 0);
    uint32_t before = told(&l, a);
    say(&l, b, 2, ALL, 6);
    CHECK(!sp_super_is_on(sp_session_torrent(l.s, 1)));
    CHECK_EQ(told(&l, a) | before, 0xff);
    finish(&l);
}

int main(void)
{
    return check_run();
}
