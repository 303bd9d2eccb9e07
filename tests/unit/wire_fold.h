/* wire_fold.h - what a wire reports, as one string of bytes that does not
 * depend on how its input was cut; the promises about each event are checked
 * on the way. */
#ifndef SP_TEST_WIRE_FOLD_H
#define SP_TEST_WIRE_FOLD_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/wire/wire.h"

/* Stays on with NDEBUG, and in the fuzz target. */
#define FOLD_MUST(cond)                                                                            \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                             \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* An allocator that knows how many bytes it has lent. */
struct fold_heap {
    size_t live, peak;
};

static void *fold_alloc(void *ctx, size_t size)
{
    struct fold_heap *h = ctx;
    size_t *block = calloc(1, sizeof(size_t) * 2 + size);
    FOLD_MUST(block);
    block[0] = size;
    h->live += size;
    if (h->live > h->peak)
        h->peak = h->live;
    return block + 2;
}

static void fold_free(void *ctx, void *ptr)
{
    struct fold_heap *h = ctx;
    size_t *block = ptr;
    if (!ptr)
        return;
    h->live -= block[-2];
    free(block - 2);
}

struct fold {
    uint8_t *bytes;
    size_t len, cap;
    size_t events;
    enum sp_err err; /* of the last call */
    uint32_t block_got, block_len;
    bool in_block;
};

static void fold_put(struct fold *f, const void *bytes, size_t len)
{
    if (f->cap - f->len < len) {
        f->cap = (f->cap + len) * 2;
        f->bytes = realloc(f->bytes, f->cap);
        FOLD_MUST(f->bytes);
    }
    if (len)
        memcpy(f->bytes + f->len, bytes, len);
    f->len += len;
}

static void fold_put_slice(struct fold *f, struct sp_slice s)
{
    fold_put(f, &s.len, sizeof(s.len));
    fold_put(f, s.ptr, s.len);
}

static void fold_block(struct fold *f, const struct sp_wire *w, struct sp_slice in,
                       const struct sp_wire_event *ev)
{
    FOLD_MUST(f->in_block && ev->len == f->block_len && ev->block_off == f->block_got);
    FOLD_MUST(ev->data.ptr == in.ptr && ev->data.len > 0);
    size_t left = f->block_len - f->block_got;
    FOLD_MUST(ev->data.len == (in.len < left ? in.len : left));
    f->block_got += (uint32_t)ev->data.len;
    FOLD_MUST(sp_wire_block_left(w) == f->block_len - f->block_got);
    fold_put(f, ev->data.ptr, ev->data.len);
}

static void fold_numbers(struct fold *f, const struct sp_wire_event *ev, bool has_range)
{
    fold_put(f, &ev->piece, sizeof(ev->piece));
    if (has_range) {
        fold_put(f, &ev->off, sizeof(ev->off));
        fold_put(f, &ev->len, sizeof(ev->len));
    }
}

/* in: what the call was given. */
static void fold_event(struct fold *f, const struct sp_wire *w, struct sp_slice in,
                       const struct sp_wire_event *ev)
{
    if (ev->kind == SP_WIRE_BLOCK_DATA) {
        fold_block(f, w, in, ev);
        return;
    }
    FOLD_MUST(!f->in_block || ev->kind == SP_WIRE_BLOCK_END);
    f->events++;
    fold_put(f, &(uint8_t){(uint8_t)ev->kind}, 1);
    switch (ev->kind) {
    case SP_WIRE_HANDSHAKE:
        fold_put(f, &ev->handshake, sizeof(ev->handshake));
        fold_put(f, &(uint8_t){w->fast}, 1);
        fold_put(f, &(uint8_t){w->ext}, 1);
        fold_put(f, &(uint8_t){w->dht}, 1);
        return;
    case SP_WIRE_HAVE:
    case SP_WIRE_SUGGEST:
    case SP_WIRE_ALLOWED_FAST:
    case SP_WIRE_DONTHAVE:
        fold_numbers(f, ev, false);
        return;
    case SP_WIRE_REQUEST:
    case SP_WIRE_CANCEL:
    case SP_WIRE_REJECT:
        FOLD_MUST(ev->len > 0 && ev->len <= SP_WIRE_REQUEST_LEN_MAX);
        fold_numbers(f, ev, true);
        return;
    case SP_WIRE_BLOCK:
        FOLD_MUST(ev->len > 0 && ev->len == sp_wire_block_left(w));
        f->in_block = true;
        f->block_got = 0;
        f->block_len = ev->len;
        fold_numbers(f, ev, true);
        return;
    case SP_WIRE_BLOCK_END:
        FOLD_MUST(f->in_block && f->block_got == f->block_len && ev->len == f->block_len);
        f->in_block = false;
        fold_numbers(f, ev, true);
        return;
    case SP_WIRE_BITFIELD:
        fold_put_slice(f, ev->bits);
        return;
    case SP_WIRE_PORT:
        fold_put(f, &ev->port, sizeof(ev->port));
        return;
    case SP_WIRE_EXTENDED:
        FOLD_MUST(ev->id > 0 && ev->id < SP_EXT_COUNT);
        fold_put(f, &ev->id, 1);
        fold_put_slice(f, ev->payload);
        return;
    case SP_WIRE_EXT_HANDSHAKE: {
        uint8_t dict[SP_EXT_HANDSHAKE_LEN_MAX];
        size_t len;
        FOLD_MUST(sp_ext_handshake_write(&ev->ext_hs, dict, sizeof(dict), &len) == SP_OK);
        fold_put(f, dict, len);
        fold_put(f, w->ext_ids, sizeof(w->ext_ids));
        return;
    }
    case SP_WIRE_NONE:
    case SP_WIRE_KEEPALIVE:
    case SP_WIRE_CHOKE:
    case SP_WIRE_UNCHOKE:
    case SP_WIRE_INTERESTED:
    case SP_WIRE_NOT_INTERESTED:
    case SP_WIRE_HAVE_ALL:
    case SP_WIRE_HAVE_NONE:
    case SP_WIRE_BLOCK_DATA:
        return;
    }
}

/* Hands in over, from memory of exactly its size that is gone afterwards. */
static enum sp_err fold_feed(struct fold *f, struct sp_wire *w, struct sp_slice in)
{
    uint8_t *copy = malloc(in.len ? in.len : 1);
    FOLD_MUST(copy);
    if (in.len)
        memcpy(copy, in.ptr, in.len);

    struct sp_slice rest = {copy, in.len};
    struct sp_wire_event ev = {.kind = SP_WIRE_NONE};
    do {
        size_t used = 0;
        f->err = sp_wire_recv(w, rest, &used, &ev);
        if (f->err != SP_OK)
            break;
        FOLD_MUST(used <= rest.len);
        FOLD_MUST(ev.kind != SP_WIRE_NONE || used == rest.len);
        if (ev.kind != SP_WIRE_NONE)
            fold_event(f, w, rest, &ev);
        rest = (struct sp_slice){rest.ptr + used, rest.len - used};
    } while (ev.kind != SP_WIRE_NONE);
    free(copy);

    if (f->err != SP_OK) {
        size_t used;
        FOLD_MUST(sp_wire_why(w)[0] != '\0' && w->big == NULL);
        FOLD_MUST(sp_wire_recv(w, (struct sp_slice){0}, &used, &ev) == f->err);
    }
    return f->err;
}

static void fold_done(struct fold *f)
{
    free(f->bytes);
    *f = (struct fold){0};
}

static bool fold_eq(const struct fold *a, const struct fold *b)
{
    return a->err == b->err && a->len == b->len && a->events == b->events &&
           (a->len == 0 || memcmp(a->bytes, b->bytes, a->len) == 0);
}

#endif
