#include "check.h"
#include "core/tracker/udp.h"
#include "torture.h"

static struct torture plain = {.until_failure = -1};
static const struct sp_mem MEM = {torture_alloc, torture_free, &plain};
static const struct sp_hash_key KEY = {1, 2};
static const uint8_t HASH[20] = "aaaaaaaaaaaaaaaaaaa";

#define S SP_SECOND_NS

struct lab {
    struct sp_udp udp;
    struct sp_rng rng;
    struct sp_announce announce;
    sp_time_ns now;
    struct sp_addr to;
    uint8_t bytes[200];
    size_t len;
};

static void begin_lab(struct lab *l, const struct sp_mem *mem, sp_time_ns base, uint32_t tries)
{
    *l = (struct lab){.rng = sp_rng_of(7)};
    sp_udp_init(&l->udp, mem, &l->rng, &KEY, base, tries);
}

static struct sp_addr addr(uint8_t last)
{
    uint8_t ip[4] = {10, 0, 0, last};
    return sp_addr_v4(ip, 80);
}

static struct sp_udp_ask ask_of(struct lab *l, uint8_t last)
{
    return (struct sp_udp_ask){
        .to = addr(last), .action = SP_UDP_ANNOUNCE, .announce = &l->announce};
}

/* The next datagram's action, -1: none. */
static int sent(struct lab *l)
{
    struct sp_slice s;
    if (!sp_udp_next_datagram(&l->udp, l->now, &l->to, &s))
        return -1;
    l->len = s.len < sizeof(l->bytes) ? s.len : sizeof(l->bytes);
    memcpy(l->bytes, s.ptr, l->len);
    return (int)sp_be32(l->bytes + 8);
}

/* Answers what was sent last; the number of bytes is what is cut to. */
static struct sp_udp_ask *answer(struct lab *l, uint32_t action, const void *rest, size_t rest_len)
{
    uint8_t packet[200];
    struct sp_udp_ask *ask;
    sp_put_be32(packet, action);
    memcpy(packet + 4, l->bytes + 12, 4);
    memcpy(packet + 8, rest, rest_len);
    CHECK(sp_udp_recv(&l->udp, &l->to, (struct sp_slice){packet, 8 + rest_len}, l->now, &ask));
    return ask;
}

static void run_to(struct lab *l, sp_time_ns at)
{
    l->now = at;
    sp_udp_tick(&l->udp, at);
}

/* BEP-0015, "Announce times out": 0 connect, 1 response, 2 announce (here sent at once), 17, 47,
 * 107 connect as the id has expired, 227 connect. */
TEST(udp_repeats_as_the_bep_says)
{
    static const struct {
        unsigned at, action;
    } script[] = {{16, 1}, {46, 1}, {106, 0}, {226, 0}, {466, 0}};
    struct lab l;
    begin_lab(&l, &MEM, 15 * S, 9);
    struct sp_udp_ask ask = ask_of(&l, 1);
    CHECK_EQ(sp_udp_begin(&l.udp, &ask, 0), SP_OK);
    CHECK_EQ(sent(&l), 0);
    CHECK_EQ(sent(&l), -1);
    CHECK_EQ(sp_udp_deadline(&l.udp), 15 * S);
    l.now = 1 * S;
    CHECK(answer(&l, 0, "idididid", 8) == NULL);
    CHECK(!ask.was_sent);
    CHECK_EQ(sent(&l), 1);
    CHECK(ask.was_sent && memcmp(l.bytes, "idididid", 8) == 0);
    for (size_t i = 0; i < SP_COUNT(script); i++) {
        if (script[i].at == 106)
            run_to(&l, 61 * S); /* the id dies here */
        CHECK_EQ(sp_udp_deadline(&l.udp) <= script[i].at * S, 1);
        run_to(&l, script[i].at * S - 1);
        CHECK_EQ(sent(&l), -1);
        run_to(&l, script[i].at * S);
        CHECK_EQ(sent(&l), script[i].action);
    }
    struct sp_udp_ask *ended = answer(&l, 0, "ABABABAB", 8);
    CHECK(ended == NULL);
    CHECK_EQ(sent(&l), 1);
    ended = answer(&l, 1, "\0\0\7\x08\0\0\0\1\0\0\0\2", 12);
    CHECK(ended == &ask);
    CHECK_EQ(ask.state, SP_UDP_ENDED);
    sp_udp_done(&l.udp);
    CHECK_EQ(plain.live, 0);
}

TEST(udp_gives_up)
{
    struct lab l;
    begin_lab(&l, &MEM, 5 * S, 3);
    struct sp_udp_ask a = ask_of(&l, 1), b = ask_of(&l, 1);
    CHECK_EQ(sp_udp_begin(&l.udp, &a, 0), SP_OK);
    CHECK_EQ(sp_udp_begin(&l.udp, &b, 0), SP_OK);
    int sends = 0;
    for (unsigned at = 0; at <= 35; at++) {
        run_to(&l, at * S);
        while (sent(&l) == 0)
            sends++;
        CHECK((sp_udp_next_failed(&l.udp) == &a) == (at == 35));
    }
    CHECK_EQ(sends, 3); /* both wait for one id */
    CHECK(sp_udp_next_failed(&l.udp) == &b);
    CHECK(sp_udp_next_failed(&l.udp) == NULL);
    CHECK_EQ(sp_udp_deadline(&l.udp), SP_TIME_NEVER);
    CHECK_EQ(l.udp.by_transaction.count, 0);
    sp_udp_done(&l.udp);
}

TEST(udp_id_is_shared_for_a_minute)
{
    struct lab l;
    begin_lab(&l, &MEM, 5 * S, 3);
    struct sp_udp_ask a = ask_of(&l, 1), b = ask_of(&l, 1), c = ask_of(&l, 1);
    CHECK_EQ(sp_udp_begin(&l.udp, &a, 0), SP_OK);
    CHECK_EQ(sent(&l), 0);
    answer(&l, 0, "idididid", 8);
    CHECK_EQ(sent(&l), 1);
    CHECK(answer(&l, 1, "\0\0\7\x08\0\0\0\1\0\0\0\2", 12) == &a);
    l.now = 60 * S - 1;
    CHECK_EQ(sp_udp_begin(&l.udp, &b, l.now), SP_OK);
    CHECK_EQ(sent(&l), 1);
    CHECK(answer(&l, 1, "\0\0\7\x08\0\0\0\1\0\0\0\2", 12) == &b);
    l.now = 60 * S; /* the very end of it, before any tick */
    CHECK_EQ(sp_udp_begin(&l.udp, &c, l.now), SP_OK);
    CHECK_EQ(sent(&l), 0);
    sp_udp_cancel(&l.udp, &c);
    CHECK_EQ(l.udp.by_transaction.count, 0);
    sp_udp_done(&l.udp);
    CHECK_EQ(plain.live, 0);
}

TEST(udp_takes_only_what_fits)
{
    struct lab l;
    struct sp_udp_ask *ended;
    begin_lab(&l, &MEM, 5 * S, 3);
    struct sp_udp_ask a = ask_of(&l, 1);
    CHECK_EQ(sp_udp_begin(&l.udp, &a, 0), SP_OK);
    CHECK_EQ(sent(&l), 0);
    uint8_t p[20] = {0};
    memcpy(p + 4, l.bytes + 12, 4);
    struct sp_addr other = addr(2), port = addr(1);
    port.port = 81;
    CHECK(!sp_udp_recv(&l.udp, &other, (struct sp_slice){p, 16}, 0, &ended));
    CHECK(!sp_udp_recv(&l.udp, &port, (struct sp_slice){p, 16}, 0, &ended));
    CHECK(!sp_udp_recv(&l.udp, &l.to, (struct sp_slice){p, 7}, 0, &ended));
    CHECK(sp_udp_recv(&l.udp, &l.to, (struct sp_slice){p, 15}, 0, &ended)); /* ours, too short */
    CHECK_EQ(sent(&l), -1);
    p[3] = 1; /* an announce where a connect is awaited */
    CHECK(sp_udp_recv(&l.udp, &l.to, (struct sp_slice){p, 20}, 0, &ended));
    CHECK_EQ(sent(&l), -1);
    p[3] = 4; /* no action: uTP or anything */
    CHECK(!sp_udp_recv(&l.udp, &l.to, (struct sp_slice){p, 16}, 0, &ended));
    p[3] = 0;
    p[7] ^= 1;
    CHECK(!sp_udp_recv(&l.udp, &l.to, (struct sp_slice){p, 16}, 0, &ended));
    p[7] ^= 1;
    CHECK(sp_udp_recv(&l.udp, &l.to, (struct sp_slice){p, 16}, 0, &ended));
    CHECK_EQ(sent(&l), 1);
    CHECK(answer(&l, 2, "\0\0\7\x08\0\0\0\1\0\0\0\2", 12) == NULL); /* wrong action */
    CHECK(answer(&l, 1, "\0\0\7\x08\0\0\0\1\0\0\0", 11) == NULL);   /* 19 bytes */
    CHECK(answer(&l, 1, "\0\0\7\x08\0\0\0\1\0\0\0\2", 12) == &a);
    sp_udp_done(&l.udp);
}

TEST(udp_connect_error_fails_all_who_wait)
{
    struct lab l;
    begin_lab(&l, &MEM, 5 * S, 3);
    struct sp_udp_ask a = ask_of(&l, 1), b = ask_of(&l, 1);
    CHECK_EQ(sp_udp_begin(&l.udp, &a, 0), SP_OK);
    CHECK_EQ(sp_udp_begin(&l.udp, &b, 0), SP_OK);
    CHECK_EQ(sent(&l), 0);
    CHECK(answer(&l, 3, "go away", 7) == NULL);
    CHECK(sp_udp_next_failed(&l.udp) == &a);
    CHECK(strcmp(a.message, "go away") == 0);
    sp_udp_cancel(&l.udp, &b); /* out of the failed list */
    CHECK(sp_udp_next_failed(&l.udp) == NULL);
    sp_udp_done(&l.udp);
}

TEST(udp_old_id_is_renewed_once)
{
    for (int silent = 0; silent < 2; silent++) {
        struct lab l;
        begin_lab(&l, &MEM, 5 * S, 3);
        struct sp_udp_ask a = ask_of(&l, 1), b = ask_of(&l, 1);
        CHECK_EQ(sp_udp_begin(&l.udp, &a, 0), SP_OK);
        CHECK_EQ(sent(&l), 0);
        answer(&l, 0, "old-old-", 8);
        CHECK_EQ(sent(&l), 1);
        CHECK(answer(&l, 1, "\0\0\7\x08\0\0\0\1\0\0\0\2", 12) == &a);
        CHECK_EQ(sp_udp_begin(&l.udp, &b, 0), SP_OK);
        CHECK_EQ(sent(&l), 1);
        if (silent)
            run_to(&l, 5 * S);
        else
            CHECK(answer(&l, 3, "Connection ID missmatch.", 24) == NULL);
        CHECK_EQ(sent(&l), 0);
        answer(&l, 0, "new-new-", 8);
        CHECK_EQ(sent(&l), 1);
        CHECK(memcmp(l.bytes, "new-new-", 8) == 0);
        CHECK(answer(&l, 3, "Connection ID missmatch.", 24) == &b); /* enough */
        sp_udp_done(&l.udp);
    }
    CHECK_EQ(plain.live, 0);
}

TEST(udp_survives_each_failed_allocation)
{
    for (int n = 0; n < 12; n++) {
        struct torture t = {.until_failure = n};
        const struct sp_mem mem = {torture_alloc, torture_free, &t};
        struct lab l;
        begin_lab(&l, &mem, 5 * S, 3);
        struct sp_udp_ask a = ask_of(&l, 1);
        if (sp_udp_begin(&l.udp, &a, 0) == SP_OK) {
            CHECK_EQ(sent(&l), 0);
            sp_udp_cancel(&l.udp, &a);
        }
        CHECK_EQ(l.udp.by_transaction.count + l.udp.by_addr.count, 0);
        CHECK_EQ(sent(&l), -1);
        sp_udp_done(&l.udp);
        CHECK_EQ(t.live, 0);
    }
}

/* A tracker on a line that loses half of all datagrams. */
TEST(udp_gets_through_loss)
{
    struct lab l;
    struct sp_rng line = sp_rng_of(3);
    struct sp_udp_ask asks[50];
    int answered = 0, failed = 0;
    begin_lab(&l, &MEM, 1 * S, 9);
    for (int i = 0; i < 50; i++) {
        asks[i] = ask_of(&l, (uint8_t)(i % 5));
        if (i % 3 == 0) {
            asks[i].action = SP_UDP_SCRAPE;
            asks[i].hashes = HASH;
            asks[i].count = 1;
        }
        CHECK_EQ(sp_udp_begin(&l.udp, &asks[i], 0), SP_OK);
    }
    while (sp_udp_deadline(&l.udp) != SP_TIME_NEVER || l.udp.send_head) {
        for (int action; (action = sent(&l)) >= 0;) {
            if (sp_rng_below(&line, 4) == 0) /* both ways: 3/4 of 3/4 */
                continue;
            answered += answer(&l, (uint32_t)action, "\0\0\7\x08\0\0\0\1\0\0\0\2", 12) != NULL;
        }
        while (sp_udp_next_failed(&l.udp))
            failed++;
        if (sp_udp_deadline(&l.udp) != SP_TIME_NEVER)
            run_to(&l, sp_udp_deadline(&l.udp));
    }
    CHECK_EQ(answered, 50);
    CHECK_EQ(failed, 0);
    CHECK_EQ(l.udp.by_transaction.count, 0);
    sp_udp_done(&l.udp);
    CHECK_EQ(plain.live, 0);
}

int main(void)
{
    return check_run();
}
