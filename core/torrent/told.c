/* What peers say about pieces before we know the pieces (METADATA).
 *
 * It is kept as it came: first what the peer began with (a bitfield, all,
 * none), then one entry for each HAVE and DONTHAVE, and said again once the
 * metadata is there.  What is wrong then ends the connection, as it would have
 * at once.  A bitfield may be large and cannot be checked yet, so those of all
 * peers of a torrent share TOLD_MAX bytes; who finds no room goes, and is
 * dialled again.
 */
#include "core/torrent/state.h"

enum {
    TOLD_MAX = 8 * 1024 * 1024, /* bytes for all peers of a torrent */
    TOLD_ENTRIES_MAX = 8192,    /* HAVE and DONTHAVE of one peer */
    PIECES_MAX = 1 << 22,       /* as sp_metainfo_limits has it */
};

#define DONT UINT32_C(0x80000000)

struct sp_told {
    enum sp_wire_kind first; /* BITFIELD, HAVE_ALL, HAVE_NONE; NONE: nothing of these */
    uint8_t *bits;
    uint32_t bits_len;
    struct sp_queue entries; /* uint32_t: a piece, with DONT when it is not there any more */
};

static struct sp_told *told_of(struct sp_conn *c)
{
    if (c->told || !(c->told = SP_NEW(c->h->mem, struct sp_told)))
        return c->told;
    c->told->entries = sp_queue_of(sizeof(uint32_t), TOLD_ENTRIES_MAX);
    return c->told;
}

static uint32_t weight(const struct sp_told *told)
{
    return told->bits_len + told->entries.cap * (uint32_t)sizeof(uint32_t);
}

static void forget(struct sp_conn *c)
{
    struct sp_told *told = c->told;
    c->t->told_bytes -= weight(told);
    sp_mem_free(c->h->mem, told->bits);
    told->bits = NULL;
    told->bits_len = 0;
    told->first = SP_WIRE_NONE;
    sp_queue_done(&told->entries, c->h->mem);
}

void sp_told_drop(struct sp_conn *c)
{
    if (!c->told)
        return;
    forget(c);
    sp_mem_free(c->h->mem, c->told);
    c->told = NULL;
}

static bool keep_first(struct sp_conn *c, const struct sp_wire_event *ev)
{
    struct sp_told *told = told_of(c);
    if (!told)
        return false;
    forget(c);
    told->first = ev->kind;
    if (ev->kind != SP_WIRE_BITFIELD || ev->bits.len == 0)
        return true;
    if (ev->bits.len > TOLD_MAX - c->t->told_bytes)
        return false;
    told->bits = SP_NEW_ARRAY(c->h->mem, uint8_t, ev->bits.len);
    if (!told->bits)
        return false;
    memcpy(told->bits, ev->bits.ptr, ev->bits.len);
    told->bits_len = (uint32_t)ev->bits.len;
    c->t->told_bytes += told->bits_len;
    return true;
}

static bool keep_entry(struct sp_conn *c, uint32_t piece, uint32_t flag)
{
    struct sp_told *told = told_of(c);
    if (!told || piece >= PIECES_MAX || c->t->told_bytes > TOLD_MAX)
        return false;
    uint32_t before = weight(told);
    uint32_t *entry = sp_queue_push(&told->entries, c->h->mem);
    c->t->told_bytes += weight(told) - before;
    if (entry)
        *entry = piece | flag;
    return entry;
}

bool sp_told_take(struct sp_conn *c, const struct sp_wire_event *ev, sp_time_ns now)
{
    bool kept;

    if (ev->kind == SP_WIRE_HAVE)
        kept = keep_entry(c, ev->piece, 0);
    else if (ev->kind == SP_WIRE_DONTHAVE)
        kept = keep_entry(c, ev->piece, DONT);
    else if (ev->kind == SP_WIRE_BITFIELD || ev->kind == SP_WIRE_HAVE_ALL ||
             ev->kind == SP_WIRE_HAVE_NONE)
        kept = keep_first(c, ev);
    else
        return false;
    if (!kept)
        sp_conn_end(c, "tells more of its pieces than can be kept", now);
    return true;
}

/* ---- the pieces are known ---- */

static void say_first(struct sp_conn *c, const struct sp_told *told, sp_time_ns now)
{
    struct sp_wire_event ev = {.kind = told->first};
    if (told->first == SP_WIRE_NONE)
        return;
    if (told->first == SP_WIRE_BITFIELD)
        ev.bits = (struct sp_slice){told->bits, told->bits_len};
    sp_conn_event(c, &ev, now);
}

static void say_entries(struct sp_conn *c, const struct sp_told *told, sp_time_ns now)
{
    for (uint32_t i = 0; i < told->entries.count && c->state != CONN_DEAD; i++) {
        uint32_t entry = *(const uint32_t *)sp_queue_at(&told->entries, i);
        struct sp_wire_event ev = {
            .kind = entry & DONT ? SP_WIRE_DONTHAVE : SP_WIRE_HAVE,
            .piece = entry & ~DONT,
        };
        if (ev.piece >= c->t->mi->piece_count)
            sp_conn_end(c, "names a piece that the torrent does not have", now);
        else
            sp_conn_event(c, &ev, now);
    }
}

/* Of pieces allowed or suggested those that there are. */
static void sift(uint32_t *list, uint8_t *count, uint32_t piece_count)
{
    uint8_t n = 0;
    for (uint8_t i = 0; i < *count; i++) {
        if (list[i] < piece_count)
            list[n++] = list[i];
    }
    *count = n;
}

void sp_told_apply(struct sp_conn *c, sp_time_ns now)
{
    const struct sp_metainfo *mi = c->t->mi;
    struct sp_told *told = c->told;

    sp_wire_learn(&c->wire, mi->piece_count, sp_picker_piece_len(c->t->picker, 0),
                  mi->total_length);
    sift(c->allowed, &c->allowed_count, mi->piece_count);
    sift(c->suggested, &c->suggested_count, mi->piece_count);
    if (!told)
        return;
    c->t->told_bytes -= weight(told);
    c->told = NULL; /* the connection may end meanwhile */
    const struct sp_mem *mem = c->h->mem;
    say_first(c, told, now);
    say_entries(c, told, now);
    sp_mem_free(mem, told->bits);
    sp_queue_done(&told->entries, mem);
    sp_mem_free(mem, told);
}

/* A bitfield can only be the first message: what was found on the disk is told
 * piece by piece.  Who would not take that much hears it
 * when he is dialled again. */
void sp_told_say_have(struct sp_torrent *t, sp_time_ns now)
{
    enum { HAVE_LEN = 9 };
    const struct sp_bits *have = sp_picker_have(t->picker);

    for (uint32_t i = t->conn_top; have->set > 0 && i-- > 0;) {
        struct sp_conn *c = i < t->conn_top ? t->conns[i] : NULL;
        if (!c || c->state != CONN_OPEN)
            continue;
        if ((uint64_t)have->set * HAVE_LEN > OUT_MAX / 2) {
            sp_conn_end(c, "is to hear anew what is here", now);
            continue;
        }
        for (uint32_t p = sp_bits_next(have, 0); p != SP_BITS_NONE; p = sp_bits_next(have, p + 1))
            sp_conn_said(c, sp_wire_put_have(&c->out, p));
        sp_conn_wants_send(c);
    }
}
