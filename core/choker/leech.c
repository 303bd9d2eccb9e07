#include "core/choker/leech.h"

enum {
    SLACK_PIECES = 16,
    SLACK_BYTES = 32 << 20,
    SURE = 3,   /* times the slack */
    LOSSES = 3, /* reconnects after which losing data is no excuse */
};

/* Pieces that may be missing without meaning anything: those being fetched
 * from many peers at once, lost to failed hashes, not yet announced; and a
 * quarter of what it got, for waste. */
static uint64_t allowance(const struct sp_leech_cfg *cfg, const struct sp_leech_facts *f,
                          uint64_t given_pieces)
{
    uint64_t pieces = cfg && cfg->slack_pieces ? cfg->slack_pieces : SLACK_PIECES;
    uint64_t bytes = cfg && cfg->slack_bytes ? cfg->slack_bytes : SLACK_BYTES;

    if (pieces < bytes / f->piece_len)
        pieces = bytes / f->piece_len;
    return pieces + given_pieces / 4;
}

enum sp_leech sp_leech_judge(const struct sp_leech_cfg *cfg, const struct sp_leech_facts *f)
{
    if (f->super_seeding || f->piece_len == 0 || f->have_count >= f->piece_count)
        return SP_LEECH_OK;

    uint64_t given = f->given_bytes / f->piece_len, slack = allowance(cfg, f, given);
    /* It has what it had and what we gave it.  When it came back, its first
     * claim may have been of pieces that we gave. */
    uint64_t due = f->reconnects ? given : f->have_first + given;
    uint64_t missing = due > f->have_count ? due - f->have_count : 0;
    /* It claimed them once: an honest peer loses its data, though not often. */
    bool lost = (uint64_t)f->have_most + slack >= due && f->reconnects < LOSSES;

    if (missing > SURE * slack && !lost)
        return SP_LEECH_CHEAT;
    return missing > slack ? SP_LEECH_SUSPECT : SP_LEECH_OK;
}
