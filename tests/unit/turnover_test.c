/* Who may be connected, and who gives way: core/torrent/turnover.c, through the session's door. */
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

struct lab {
    struct sp_session *s;
    struct sp_metainfo *mi;
    sp_time_ns now;
};

static void begin(struct lab *l, uint32_t torrent_conn_max, bool has_all)
{
    static const char TORRENT[] =
        "d4:infod6:lengthi32768e4:name1:a12:piece lengthi16384e6:pieces40:"
        "0123456789012345678901234567890123456789ee";
    struct sp_session_cfg cfg = {.mem = &HEAP,
                                 .seed = 1,
                                 .client_name = "test",
                                 .memory_bytes = 8 << 20,
                                 .conn_max = 100,
                                 .torrent_conn_max = torrent_conn_max,
                                 .half_open_max = 8};
    struct sp_session_add add = {0};
    struct sp_bits have;

    *l = (struct lab){.now = 100 * S};
    CHECK_EQ(sp_metainfo_parse(&HEAP, (struct sp_slice){(const uint8_t *)TORRENT, strlen(TORRENT)},
                               NULL, &l->mi, NULL),
             SP_OK);
    add.metainfo = l->mi;
    CHECK_EQ(sp_session_new(&cfg, l->now, &l->s), SP_OK);
    CHECK_EQ(sp_session_add(l->s, 1, &add, l->now), SP_OK);
    CHECK_EQ(sp_bits_init(&have, &HEAP, 2), SP_OK);
    sp_bits_fill(&have, has_all);
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

#define INTERESTED "\0\0\0\1\2"

TEST(one_place_sends_only_so_many_strangers)
{
    struct lab l;
    begin(&l, 100, false);
    for (uint16_t i = 0; i < 8; i++)
        CHECK(come(&l, v4(5, 4, (uint16_t)(1000 + i))) != NULL);
    CHECK(come(&l, v4(5, 4, 2000)) == NULL);
    CHECK(come(&l, v4(5, 5, 2000)) != NULL);
    for (uint16_t i = 0; i < 20; i++) /* at home nobody is counted */
        CHECK(come(&l, v4(10, 4, (uint16_t)(1000 + i))) != NULL);
    /* A subscriber has a whole network of version 6. */
    for (uint8_t i = 0; i < 9; i++) {
        const uint8_t ip[16] = {0x2a, 1, 2, 3, 4, 5, 6, 7, i, i, i, i, i, i, i, 1};
        CHECK_EQ(come(&l, sp_addr_v6(ip, 1)) != NULL, i < 8);
    }
    finish(&l);
}

TEST(a_full_torrent_takes_one_for_another_that_is_of_no_use)
{
    struct lab l;
    begin(&l, 2, true);
    struct sp_conn *taker = come(&l, v4(5, 1, 1)), *idle = come(&l, v4(5, 2, 1));
    say(&l, taker, 1, INTERESTED, 5);
    say(&l, idle, 2, "", 0);
    drain(&l);
    CHECK(come(&l, v4(5, 3, 1)) == NULL); /* nobody is judged so soon */
    l.now += 61 * S;
    struct sp_conn *next = come(&l, v4(5, 3, 1));
    CHECK(next != NULL);
    say(&l, next, 3, INTERESTED, 5);
    CHECK_EQ(sp_session_torrent(l.s, 1)->conn_count, 2);
    l.now += 61 * S;
    CHECK(come(&l, v4(5, 4, 1)) == NULL); /* both want something */
    finish(&l);
}

TEST(every_five_minutes_who_moves_least_gives_way)
{
    struct lab l;
    begin(&l, 10, true);
    for (uint8_t i = 0; i < 10; i++)
        say(&l, come(&l, v4(5, i, 1)), (uint8_t)(i + 1), INTERESTED, 5);
    drain(&l);
    struct sp_torrent *t = sp_session_torrent(l.s, 1);
    sp_turnover_tick(t, l.now);
    l.now += 299 * S;
    struct sp_addr waits = v4(6, 1, 1);
    sp_swarm_add(t, &waits, SP_PEER_TRACKER, l.now);
    sp_turnover_tick(t, l.now);
    CHECK_EQ(t->conn_count, 10);
    l.now += 2 * S;
    sp_turnover_tick(t, l.now);
    CHECK_EQ(t->conn_count, 9); /* 4 % of 10, rounded up */
    sp_turnover_tick(t, l.now);
    CHECK_EQ(t->conn_count, 9);
    finish(&l);
}

TEST(nobody_gives_way_where_nobody_waits)
{
    struct lab l;
    begin(&l, 10, true);
    for (uint8_t i = 0; i < 10; i++)
        say(&l, come(&l, v4(5, i, 1)), (uint8_t)(i + 1), "", 0);
    struct sp_torrent *t = sp_session_torrent(l.s, 1);
    sp_turnover_tick(t, l.now);
    l.now += 301 * S;
    sp_turnover_tick(t, l.now);
    CHECK_EQ(t->conn_count, 10);
    finish(&l);
}

/* What the next bytes to c hold. */
static bool is_said(struct lab *l, struct sp_conn *c, const char *part, size_t len)
{
    struct sp_slice list[16];
    bool found = false;
    uint32_t n = sp_conn_send_list(c, list, 16, l->now);
    size_t total = 0;
    for (uint32_t i = 0; i < n; i++) {
        found = found || memmem(list[i].ptr, list[i].len, part, len) != NULL;
        total += list[i].len;
    }
    if (total)
        sp_conn_sent(c, total, l->now);
    return found;
}

/* BEP-0021: who wants something, then nothing, then something. */
TEST(peers_are_told_when_nothing_more_is_wanted)
{
    static const char KNOWS[] = "\0\0\0\x1d\x14\0"
                                "d1:md11:upload_onlyi3eee";
    const uint8_t none[] = {0}, all[] = {4};
    struct lab l;
    begin(&l, 10, false);
    struct sp_conn *c = come(&l, v4(5, 1, 1)), *old = come(&l, v4(5, 2, 1));
    char knows[sizeof(KNOWS)];
    memcpy(knows, KNOWS, sizeof(KNOWS));
    knows[3] = (char)(sizeof(KNOWS) - 1 - 4);
    say(&l, c, 1, knows, sizeof(KNOWS) - 1);
    say(&l, old, 2, "", 0);
    CHECK(is_said(&l, c, "11:upload_onlyi0e", 17));
    CHECK(is_said(&l, old, "11:upload_onlyi0e", 17));
    sp_torrent_set_priorities(l.s, 1, none, l.now);
    CHECK(is_said(&l, c, "\0\0\0\3\x14\3\1", 7));
    CHECK(is_said(&l, old, "11:upload_onlyi1e", 17));
    sp_torrent_set_priorities(l.s, 1, none, l.now);
    CHECK(!is_said(&l, c, "\x14\3", 2)); /* once */
    sp_torrent_set_priorities(l.s, 1, all, l.now);
    CHECK(is_said(&l, c, "\0\0\0\3\x14\3\0", 7));
    finish(&l);
}

TEST(limits_change_while_running)
{
    struct lab l;
    begin(&l, 10, true);
    CHECK(come(&l, v4(5, 1, 1)) != NULL);
    sp_session_set_conn_limits(l.s, 1, 1);
    CHECK(come(&l, v4(5, 2, 1)) == NULL);
    sp_session_set_conn_limits(l.s, 2, 1);
    CHECK(come(&l, v4(5, 2, 1)) != NULL);
    finish(&l);
}

int main(void)
{
    return check_run();
}
