#include "check.h"
#include "core/tracker/announcer.h"
#include "torture.h"

#define S SP_SECOND_NS

static struct torture plain = {.until_failure = -1};
static const struct sp_mem MEM = {torture_alloc, torture_free, &plain};

struct lab {
    struct sp_announcer a;
    struct sp_announcer_tracker trackers[8];
    struct sp_rng rng;
    sp_time_ns now;
};

/* One tracker for each digit: its tier.  Order inside a tier is undone to that of adding. */
static void begin(struct lab *l, enum sp_tracker_tiers tiers, const char *digits)
{
    *l = (struct lab){.rng = sp_rng_of(5), .now = 1000 * S};
    l->a.tiers = (uint8_t)tiers;
    for (uint16_t i = 0; digits[i]; i++) {
        l->trackers[i].tier = (uint8_t)(digits[i] - '0');
        l->trackers[i].usable = true;
        CHECK_EQ(sp_announcer_add(&l->a, &MEM, &l->rng, &l->trackers[i]), SP_OK);
    }
    for (uint16_t i = 0, n = 0; i < 10; i++) {
        for (uint16_t k = 0; k < l->a.count; k++) {
            if (l->trackers[k].tier == i)
                l->a.order[n++] = k;
        }
    }
    sp_announcer_start(&l->a, l->now);
}

static void finish(struct lab *l)
{
    sp_announcer_done(&l->a, &MEM);
    CHECK_EQ(plain.live, 0);
}

/* "0s 2-": what is picked until nothing is, with s c x - for started, completed, stopped, none. */
static const char *picked(struct lab *l)
{
    static char text[64];
    size_t n = 0;
    uint32_t ix;
    enum sp_announce_event event;
    while (sp_announcer_pick(&l->a, l->now, &ix, &event)) {
        text[n++] = (char)('0' + ix);
        text[n++] = "-csx"[event];
        text[n++] = ' ';
    }
    text[n ? n - 1 : 0] = '\0';
    return text;
}

#define PICKS(l, want)                                                                             \
    do {                                                                                           \
        const char *got_ = picked(l);                                                              \
        CHECK(strcmp(got_, want) == 0);                                                            \
        if (strcmp(got_, want) != 0)                                                               \
            printf("# picked '%s', not '%s'\n", got_, want);                                       \
    } while (0)

static void ok(struct lab *l, uint32_t ix, uint32_t interval, uint32_t min)
{
    struct sp_announcer_answer answer = {interval, min};
    sp_announcer_ok(&l->a, ix, &answer, 60 * S, &l->rng, l->now);
}

static void bad(struct lab *l, uint32_t ix)
{
    sp_announcer_failed(&l->a, ix, SP_RETRY_LATER, 0, &l->rng, l->now);
}

static void wait_for_it(struct lab *l)
{
    l->now = sp_announcer_deadline(&l->a);
    CHECK(l->now != SP_TIME_NEVER);
}

TEST(tiers_each_uses_one_of_each_tier)
{
    struct lab l;
    begin(&l, SP_TIERS_EACH, "0012");
    PICKS(&l, "0s 2s 3s");
    CHECK_EQ(sp_announcer_deadline(&l.a), SP_TIME_NEVER);
    bad(&l, 0);
    PICKS(&l, "1s"); /* the next of the tier at once */
    ok(&l, 1, 1800, 0);
    PICKS(&l, "");
    CHECK_EQ(l.a.order[0], 1); /* moved to the front */
    ok(&l, 2, 600, 0);
    ok(&l, 3, 1800, 0);
    wait_for_it(&l);
    CHECK(l.now >= 1600 * S && l.now <= 1630 * S);
    PICKS(&l, "2-");
    finish(&l);
}

TEST(tiers_all_uses_everyone)
{
    struct lab l;
    begin(&l, SP_TIERS_ALL, "0012");
    PICKS(&l, "0s 1s 2s 3s");
    finish(&l);
}

TEST(tiers_strict_goes_on_only_when_a_tier_failed)
{
    struct lab l;
    begin(&l, SP_TIERS_STRICT, "001");
    PICKS(&l, "0s");
    bad(&l, 0);
    PICKS(&l, "1s");
    bad(&l, 1);
    PICKS(&l, "2s");
    CHECK(!sp_announcer_switches(&l.a, 2));
    ok(&l, 2, 1800, 0);
    PICKS(&l, "");
    /* The first tier is asked again, but not before the backup's interval. */
    wait_for_it(&l);
    CHECK(l.now >= 2800 * S);
    PICKS(&l, "0s");
    CHECK(sp_announcer_switches(&l.a, 0));
    ok(&l, 0, 1800, 0);
    CHECK(!sp_announcer_switches(&l.a, 0));
    PICKS(&l, "");
    wait_for_it(&l);
    PICKS(&l, "0-");
    finish(&l);
}

/* BEP-0012's second example. */
TEST(responder_moves_to_the_front)
{
    struct lab l;
    begin(&l, SP_TIERS_STRICT, "000");
    PICKS(&l, "0s");
    bad(&l, 0);
    PICKS(&l, "1s");
    ok(&l, 1, 1800, 0);
    CHECK(l.a.order[0] == 1 && l.a.order[1] == 0 && l.a.order[2] == 2);
    wait_for_it(&l);
    PICKS(&l, "1-");
    bad(&l, 1);
    PICKS(&l, "0s");
    bad(&l, 0);
    PICKS(&l, "2s");
    ok(&l, 2, 1800, 0);
    CHECK(l.a.order[0] == 2 && l.a.order[1] == 1 && l.a.order[2] == 0);
    finish(&l);
}

TEST(tier_is_shuffled)
{
    int first[4] = {0};
    for (uint64_t seed = 0; seed < 400; seed++) {
        struct lab l = {.rng = sp_rng_of(seed)};
        for (int i = 0; i < 4; i++)
            CHECK_EQ(sp_announcer_add(&l.a, &MEM, &l.rng, &l.trackers[i]), SP_OK);
        first[l.a.order[0]]++;
        finish(&l);
    }
    for (int i = 0; i < 4; i++)
        CHECK(first[i] > 60 && first[i] < 140);
}

TEST(backoff_grows_to_an_hour)
{
    struct lab l;
    sp_time_ns last = 0;
    begin(&l, SP_TIERS_EACH, "0");
    for (int i = 1; i < 25; i++) {
        PICKS(&l, "0s");
        bad(&l, 0);
        PICKS(&l, "");
        sp_time_ns wait = sp_announcer_deadline(&l.a) - l.now;
        sp_time_ns base = i < 17 ? (sp_time_ns)(10 + 25 * i * i) * S / 2 : 3600 * S;
        base = base < 3600 * S ? base : 3600 * S;
        CHECK(wait >= base && wait <= base + base / 20 && wait <= base + 60 * S);
        CHECK(wait >= last || base == 3600 * S);
        last = wait;
        wait_for_it(&l);
    }
    finish(&l);
}

TEST(events_are_told_once)
{
    struct lab l;
    begin(&l, SP_TIERS_EACH, "01");
    PICKS(&l, "0s 1s");
    ok(&l, 0, 1800, 900);
    bad(&l, 1);
    sp_announcer_completed(&l.a);
    PICKS(&l, "0c"); /* min interval or not; 1 has not taken "started" */
    ok(&l, 0, 1800, 900);
    PICKS(&l, "");
    wait_for_it(&l);
    PICKS(&l, "1s");
    ok(&l, 1, 1800, 0);
    PICKS(&l, "");
    sp_announcer_stop(&l.a);
    PICKS(&l, "0x 1x");
    ok(&l, 0, 0, 0);
    bad(&l, 1); /* tried once */
    PICKS(&l, "");
    CHECK_EQ(sp_announcer_deadline(&l.a), SP_TIME_NEVER);
    sp_announcer_start(&l.a, l.now);
    PICKS(&l, "0s");
    finish(&l);
}

TEST(completed_while_started_is_under_way)
{
    struct lab l;
    begin(&l, SP_TIERS_EACH, "0");
    PICKS(&l, "0s");
    sp_announcer_completed(&l.a);
    PICKS(&l, "");
    ok(&l, 0, 1800, 0);
    PICKS(&l, "0c");
    bad(&l, 0);
    PICKS(&l, "");
    wait_for_it(&l);
    PICKS(&l, "0c"); /* until it is heard */
    ok(&l, 0, 1800, 0);
    wait_for_it(&l);
    PICKS(&l, "0-");
    finish(&l);
}

TEST(completed_then_stopped_in_order)
{
    struct lab l;
    begin(&l, SP_TIERS_EACH, "0");
    PICKS(&l, "0s");
    ok(&l, 0, 1800, 0);
    sp_announcer_completed(&l.a);
    PICKS(&l, "0c");
    sp_announcer_stop(&l.a);
    PICKS(&l, "");
    bad(&l, 0);
    PICKS(&l, "0x");
    sp_announcer_start(&l.a, l.now); /* again, before it is told */
    PICKS(&l, "");
    ok(&l, 0, 0, 0);
    PICKS(&l, "0s");
    finish(&l);
}

TEST(canceled_started_counts_when_it_was_sent)
{
    for (int sent = 0; sent < 2; sent++) {
        struct lab l;
        begin(&l, SP_TIERS_EACH, "0");
        PICKS(&l, "0s");
        sp_announcer_canceled(&l.a, 0, sent);
        sp_announcer_stop(&l.a);
        PICKS(&l, sent ? "0x" : "");
        finish(&l);
    }
}

TEST(retry_in_and_never_are_obeyed)
{
    struct lab l;
    begin(&l, SP_TIERS_EACH, "01");
    PICKS(&l, "0s 1s");
    sp_announcer_failed(&l.a, 0, SP_RETRY_IN, 300, &l.rng, l.now);
    sp_announcer_failed(&l.a, 1, SP_RETRY_NEVER, 0, &l.rng, l.now);
    CHECK_EQ(sp_announcer_deadline(&l.a), l.now + 300 * S);
    sp_announcer_reannounce(&l.a, l.now); /* nor can the user */
    sp_announcer_stop(&l.a);
    sp_announcer_start(&l.a, l.now);
    PICKS(&l, "");
    CHECK_EQ(sp_announcer_deadline(&l.a), l.now + 300 * S);
    wait_for_it(&l);
    PICKS(&l, "0s");
    finish(&l);
}

TEST(intervals_are_bounded)
{
    static const struct {
        uint32_t interval, min, from, to;
    } cases[] = {
        {0, 0, 1800, 1860},   {1800, 0, 1800, 1860},
        {1, 0, 60, 63},       {UINT32_MAX, 0, 86400, 86460},
        {600, 900, 900, 945}, {600, UINT32_MAX, 86400, 86460},
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        struct lab l;
        begin(&l, SP_TIERS_EACH, "0");
        PICKS(&l, "0s");
        ok(&l, 0, cases[i].interval, cases[i].min);
        sp_time_ns wait = (sp_announcer_deadline(&l.a) - l.now) / S;
        CHECK(wait >= cases[i].from && wait <= cases[i].to);
        finish(&l);
    }
}

TEST(user_may_ask_again_at_the_min_interval)
{
    struct lab l;
    begin(&l, SP_TIERS_EACH, "0");
    PICKS(&l, "0s");
    ok(&l, 0, 1800, 200);
    sp_announcer_reannounce(&l.a, l.now);
    PICKS(&l, "");
    CHECK_EQ(sp_announcer_deadline(&l.a), l.now + 200 * S);
    wait_for_it(&l);
    CHECK(l.trackers[0].urgent);
    PICKS(&l, "0-");
    ok(&l, 0, 1800, 0);
    CHECK(!l.trackers[0].urgent);
    sp_announcer_reannounce(&l.a, l.now);
    CHECK_EQ(sp_announcer_deadline(&l.a), l.now + 30 * S);
    wait_for_it(&l);
    PICKS(&l, "0-");
    bad(&l, 0);
    sp_announcer_reannounce(&l.a, l.now);
    CHECK_EQ(sp_announcer_deadline(&l.a), l.now + 5 * S);
    finish(&l);
}

TEST(hungry_uses_the_min_interval)
{
    struct lab l;
    begin(&l, SP_TIERS_EACH, "0");
    l.a.hungry = true;
    PICKS(&l, "0s");
    ok(&l, 0, 1800, 300);
    CHECK_EQ(sp_announcer_deadline(&l.a), l.now + 300 * S);
    wait_for_it(&l);
    PICKS(&l, "0-");
    ok(&l, 0, 1800, 0); /* none given: the interval counts */
    CHECK(sp_announcer_deadline(&l.a) >= l.now + 1800 * S);
    finish(&l);
}

TEST(adding_is_bounded_and_survives_no_memory)
{
    static struct sp_announcer_tracker many[SP_TRACKERS_PER_TORRENT_MAX + 1];
    struct sp_announcer a = {0};
    struct sp_rng rng = sp_rng_of(1);
    for (int i = 0; i < SP_TRACKERS_PER_TORRENT_MAX; i++)
        CHECK_EQ(sp_announcer_add(&a, &MEM, &rng, &many[i]), SP_OK);
    CHECK_EQ(sp_announcer_add(&a, &MEM, &rng, &many[SP_TRACKERS_PER_TORRENT_MAX]), SP_ELIMIT);
    sp_announcer_done(&a, &MEM);
    for (int n = 0; n < 2; n++) {
        struct torture t = {.until_failure = n};
        const struct sp_mem mem = {torture_alloc, torture_free, &t};
        CHECK_EQ(sp_announcer_add(&a, &mem, &rng, &many[0]), SP_ENOMEM);
        CHECK_EQ(a.count, 0);
        sp_announcer_done(&a, &mem);
        CHECK_EQ(t.live, 0);
    }
}

int main(void)
{
    return check_run();
}
