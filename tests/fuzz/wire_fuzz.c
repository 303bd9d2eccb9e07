/* Properties: however the stream is cut, the events, the data and the error
 * are the same; memory follows what has arrived, and none is held between
 * messages; an error sticks (fold_feed checks each event on its own).
 *
 *   byte 0  bits of our handshake, of the peer's, and of what is known
 *   byte 1  piece count
 *   byte 2  seed of the cuts, and how long the parts are
 *   then    the stream, as it follows the peer's handshake; with bit 7 of
 *           byte 0 the handshake is the stream's own
 */
#include "core/base/rng.h"
#include "tests/unit/wire_fold.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { EXT_LEN_MAX = 2048, PIECE_LEN = 32768 };

static struct sp_handshake handshake_of(unsigned bits)
{
    struct sp_handshake hs = {.info_hash = "0123456789abcdefghi"};
    if (bits & 1)
        sp_handshake_set_fast(hs.reserved);
    if (bits & 2)
        sp_handshake_set_ext(hs.reserved);
    if (bits & 4)
        sp_handshake_set_dht(hs.reserved);
    return hs;
}

static struct sp_wire_cfg cfg_of(const uint8_t *data, const struct sp_mem *mem)
{
    uint32_t count = data[0] & 64 ? 0 : 1u + data[1];
    return (struct sp_wire_cfg){
        .mem = mem,
        .own = handshake_of(data[0]),
        .piece_count = count,
        .piece_len = PIECE_LEN,
        .total_len = count ? (uint64_t)(count - 1) * PIECE_LEN + 1000 : 0,
        .block_len_max = SP_BLOCK_LEN,
        .ext_len_max = EXT_LEN_MAX,
    };
}

/* parts: the longest part of a cut, 0: no cuts. */
static struct fold run(const uint8_t *data, struct sp_slice stream, size_t parts)
{
    struct fold_heap heap = {0};
    struct sp_mem mem = {fold_alloc, fold_free, &heap};
    struct sp_wire_cfg cfg = cfg_of(data, &mem);
    struct sp_rng rng = sp_rng_of(data[2]);
    struct fold f = {0};
    struct sp_wire w;

    sp_wire_init(&w, &cfg);
    if (!(data[0] & 128)) {
        struct sp_handshake peer = handshake_of(data[0] >> 3);
        uint8_t hs[SP_HANDSHAKE_LEN];
        sp_handshake_write(&peer, hs);
        FOLD_MUST(fold_feed(&f, &w, (struct sp_slice){hs, sizeof(hs)}) == SP_OK);
    }
    for (size_t at = 0, n; at < stream.len && f.err == SP_OK; at += n) {
        size_t left = stream.len - at;
        n = parts ? (size_t)sp_rng_below(&rng, parts + 1) : left;
        n = n < left ? n : left;
        (void)fold_feed(&f, &w, (struct sp_slice){stream.ptr + at, n});
        FOLD_MUST(heap.live <= 256 + 2 * (at + n) && heap.peak <= 512 + 3 * (at + n));
        FOLD_MUST(heap.live <= (cfg.piece_count ? EXT_LEN_MAX : SP_WIRE_BITFIELD_LEN_MAX));
        if (f.err != SP_OK || sp_wire_at_boundary(&w))
            FOLD_MUST(heap.live == 0);
    }
    sp_wire_done(&w);
    FOLD_MUST(heap.live == 0);
    return f;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < 3)
        return 0;
    struct sp_slice stream = {data + 3, len - 3};
    static const size_t parts[] = {1, 7, 40, 3000};

    struct fold whole = run(data, stream, 0);
    for (size_t i = 0; i < SP_COUNT(parts); i++) {
        struct fold f = run(data, stream, parts[i]);
        FOLD_MUST(fold_eq(&f, &whole));
        fold_done(&f);
    }
    fold_done(&whole);
    return 0;
}
