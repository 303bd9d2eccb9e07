#include "core/choker/leech.h"

#include "check.h"

enum { MIB = 1 << 20 };

static const struct {
    const char *what;
    uint64_t given_bytes;
    uint32_t have_first, have_most, have_count, piece_count, piece_len, reconnects;
    bool super_seeding;
    enum sp_leech want;
} cases[] = {
    {"new", 0, 0, 0, 0, 1000, MIB, 0, false, SP_LEECH_OK},
    {"honest, from us alone", UINT64_C(500) * MIB, 0, 495, 495, 1000, MIB, 0, false, SP_LEECH_OK},
    {"honest, from many", UINT64_C(100) * MIB, 200, 600, 600, 1000, MIB, 0, false, SP_LEECH_OK},
    {"many pieces begun", UINT64_C(30) * MIB, 0, 0, 0, 1000, MIB, 0, false, SP_LEECH_OK},
    {"slack used up", UINT64_C(42) * MIB, 0, 0, 0, 1000, MIB, 0, false, SP_LEECH_OK},
    {"just above", UINT64_C(44) * MIB, 0, 0, 0, 1000, MIB, 0, false, SP_LEECH_SUSPECT},
    {"never grows", UINT64_C(500) * MIB, 0, 0, 0, 1000, MIB, 0, false, SP_LEECH_CHEAT},
    {"never grows from 300", UINT64_C(500) * MIB, 300, 300, 300, 1000, MIB, 0, false,
     SP_LEECH_CHEAT},
    {"grows by half", UINT64_C(500) * MIB, 0, 250, 250, 1000, MIB, 0, false, SP_LEECH_SUSPECT},
    {"always new", UINT64_C(900) * MIB, 0, 20, 3, 1000, MIB, 9, false, SP_LEECH_CHEAT},
    {"came back with all of it", UINT64_C(500) * MIB, 0, 500, 500, 1000, MIB, 1, false,
     SP_LEECH_OK},
    {"came back, claim was of ours", UINT64_C(500) * MIB, 490, 510, 510, 1000, MIB, 2, false,
     SP_LEECH_OK},
    {"lost its data once", UINT64_C(500) * MIB, 0, 500, 0, 1000, MIB, 1, false, SP_LEECH_SUSPECT},
    {"loses its data again and again", UINT64_C(2000) * MIB, 0, 500, 0, 1000, MIB, 4, false,
     SP_LEECH_CHEAT},
    {"took the torrent three times", UINT64_C(3000) * MIB, 0, 900, 900, 1000, MIB, 0, false,
     SP_LEECH_SUSPECT},
    {"took it six times, no more to show", UINT64_C(6000) * MIB, 0, 100, 100, 1000, MIB, 0, false,
     SP_LEECH_CHEAT},
    {"complete", UINT64_C(5000) * MIB, 0, 1000, 1000, 1000, MIB, 0, false, SP_LEECH_OK},
    {"super-seeded", UINT64_C(500) * MIB, 0, 0, 0, 1000, MIB, 0, true, SP_LEECH_OK},
    {"large pieces", UINT64_C(15) * 16 * MIB, 0, 0, 0, 1000, 16 * MIB, 0, false, SP_LEECH_OK},
    {"no shape", UINT64_C(500) * MIB, 0, 0, 0, 1000, 0, 0, false, SP_LEECH_OK},
    {"largest numbers", UINT64_MAX, UINT32_MAX, UINT32_MAX, 0, UINT32_MAX, 1, UINT32_MAX, false,
     SP_LEECH_CHEAT},
};

TEST(leech_verdicts)
{
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        const struct sp_leech_facts f = {
            .given_bytes = cases[i].given_bytes,
            .have_first = cases[i].have_first,
            .have_most = cases[i].have_most,
            .have_count = cases[i].have_count,
            .piece_count = cases[i].piece_count,
            .piece_len = cases[i].piece_len,
            .reconnects = cases[i].reconnects,
            .super_seeding = cases[i].super_seeding,
        };
        if (sp_leech_judge(NULL, &f) != cases[i].want)
            printf("# case: %s\n", cases[i].what);
        CHECK_EQ(sp_leech_judge(NULL, &f), cases[i].want);
    }
}

TEST(leech_thresholds_are_settable)
{
    const struct sp_leech_cfg strict = {.slack_pieces = 1, .slack_bytes = 1};
    const struct sp_leech_facts f = {.given_bytes = 2 * MIB, .piece_count = 10, .piece_len = MIB};

    CHECK_EQ(sp_leech_judge(NULL, &f), SP_LEECH_OK);
    CHECK_EQ(sp_leech_judge(&strict, &f), SP_LEECH_SUSPECT);
}

int main(void)
{
    return check_run();
}
