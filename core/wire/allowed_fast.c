#include "core/wire/allowed_fast.h"

#include "core/base/cur.h"
#include "core/base/sha1.h"

/* Enough to draw all of 64 pieces with any likelihood; ends the loop in any case. */
enum { ROUNDS_MAX = 1024 };

static bool has(const uint32_t *pieces, uint32_t count, uint32_t piece)
{
    for (uint32_t i = 0; i < count; i++)
        if (pieces[i] == piece)
            return true;
    return false;
}

uint32_t sp_allowed_fast(const uint8_t ip[4], const uint8_t info_hash[20], uint32_t piece_count,
                         uint32_t k, uint32_t *ret_pieces)
{
    /* BEP-0006: "x = 0xFFFFFF00 & ip", "x.append(infohash)" */
    uint8_t first[4 + SP_SHA1_LEN] = {ip[0], ip[1], ip[2], 0};
    uint8_t x[SP_SHA1_LEN];
    uint32_t count = 0;

    for (size_t i = 0; i < SP_SHA1_LEN; i++)
        first[4 + i] = info_hash[i];
    if (k > SP_ALLOWED_FAST_K_MAX)
        k = SP_ALLOWED_FAST_K_MAX;
    if (k > piece_count)
        k = piece_count;

    for (int round = 0; round < ROUNDS_MAX && count < k; round++) {
        if (round == 0)
            sp_sha1_of(first, sizeof(first), x);
        else
            sp_sha1_of(x, sizeof(x), x);
        for (size_t i = 0; i < SP_SHA1_LEN && count < k; i += 4) {
            /* BEP-0006: "index = y % sz" */
            uint32_t piece = sp_be32(x + i) % piece_count;
            if (!has(ret_pieces, count, piece))
                ret_pieces[count++] = piece;
        }
    }
    return count;
}
