/* Copies of an info dictionary in the making, and the verdict on them. */
#include "core/metadata/internal.h"

static bool has_failed(const struct sp_metadata *m, uint32_t size)
{
    for (uint32_t i = 0; i < FAILED_MAX; i++) {
        if (m->failed[i].size == size)
            return true;
    }
    return false;
}

static struct copy *find_shared(const struct sp_metadata *m, uint32_t size)
{
    for (struct sp_link *k = m->copies.ends.next; k != &m->copies.ends; k = k->next) {
        struct copy *c = SP_CONTAINER(k, struct copy, link);
        if (!c->solo && c->size == size)
            return c;
    }
    return NULL;
}

static struct copy *new_copy(struct sp_metadata *m, uint32_t size, struct sp_metadata_peer *solo,
                             sp_time_ns now)
{
    struct copy *c = SP_NEW(m->cfg.mem, struct copy);
    if (!c)
        return NULL;
    c->size = size;
    c->count = sp_metadata_piece_count(size);
    c->solo = solo;
    c->progress_at = now;
    sp_sha1_init(&c->sha);
    m->solo_count += solo != NULL;
    sp_list_add(&m->copies, &c->link);
    return c;
}

struct copy *sp_metadata_copy_of(struct sp_metadata *m, struct sp_metadata_peer *p, sp_time_ns now)
{
    struct copy *c = p->copy;
    if (c)
        return c;
    bool solo = has_failed(m, p->size);
    if (solo && m->solo_count >= SOLO_MAX)
        return NULL;
    c = solo ? NULL : find_shared(m, p->size);
    if (!c)
        c = new_copy(m, p->size, solo ? p : NULL, now);
    if (!c)
        return NULL;
    p->copy = c;
    c->peers++;
    return c;
}

void sp_metadata_let_go(struct sp_metadata *m, struct sp_metadata_peer *p)
{
    struct copy *c = p->copy;
    if (!c)
        return;
    sp_metadata_unask_all(p);
    p->copy = NULL;
    c->peers--;
    if (c->solo && c != m->whole)
        sp_metadata_drop_copy(m, c);
}

void sp_metadata_drop_copy(struct sp_metadata *m, struct copy *c)
{
    const struct sp_mem *mem = m->cfg.mem;
    for (struct sp_link *k = m->peers.ends.next; k != &m->peers.ends; k = k->next) {
        struct sp_metadata_peer *p = SP_CONTAINER(k, struct sp_metadata_peer, link);
        if (p->copy != c)
            continue;
        sp_metadata_unask_all(p);
        p->copy = NULL;
    }
    for (uint32_t i = 0; i < c->cap; i++)
        sp_mem_free(mem, c->parts[i].data);
    m->bytes -= c->bytes;
    m->solo_count -= c->solo != NULL;
    sp_list_del(&m->copies, &c->link);
    sp_mem_free(mem, c->parts);
    sp_mem_free(mem, c);
}

bool sp_metadata_reach(struct sp_metadata *m, struct copy *c, uint32_t ix)
{
    uint32_t cap = c->cap ? c->cap : 8;
    if (ix < c->cap)
        return true;
    while (cap <= ix)
        cap *= 2;
    struct part *parts = sp_mem_grow(m->cfg.mem, c->parts, c->cap, cap, sizeof(*parts));
    if (!parts)
        return false;
    c->parts = parts;
    c->cap = cap;
    return true;
}

/* The copy that has waited longest for anything. */
static struct copy *stalest(const struct sp_metadata *m, const struct copy *but)
{
    struct copy *old = NULL;
    for (struct sp_link *k = m->copies.ends.next; k != &m->copies.ends; k = k->next) {
        struct copy *c = SP_CONTAINER(k, struct copy, link);
        if (c != but && c->bytes > 0 && (!old || c->progress_at < old->progress_at))
            old = c;
    }
    return old;
}

enum sp_err sp_metadata_keep(struct sp_metadata *m, struct copy *c, uint32_t piece,
                             struct sp_slice data, uint64_t who, sp_time_ns now)
{
    while (m->bytes + data.len > BYTES_MAX)
        sp_metadata_drop_copy(m, stalest(m, c));
    struct part *part = &c->parts[piece];
    part->data = SP_NEW_ARRAY(m->cfg.mem, uint8_t, data.len);
    if (!part->data)
        return SP_ENOMEM;
    memcpy(part->data, data.ptr, data.len);
    part->from = who;
    c->bytes += data.len;
    m->bytes += data.len;
    c->got++;
    c->progress_at = now;
    while (c->first < c->cap && c->parts[c->first].data)
        c->first++;
    return SP_OK;
}

/* ---- verdicts ---- */

static void add_liar(struct sp_metadata *m, uint64_t who)
{
    for (uint32_t i = 0; i < m->liar_count; i++) {
        if (m->liars[i] == who)
            return;
    }
    if (m->liar_count < LIARS_MAX)
        m->liars[m->liar_count++] = who;
    for (struct sp_link *k = m->peers.ends.next; k != &m->peers.ends; k = k->next) {
        struct sp_metadata_peer *p = SP_CONTAINER(k, struct sp_metadata_peer, link);
        if (p->who == who)
            p->rest_until = SP_TIME_NEVER;
    }
}

static uint64_t print_of(const struct sp_metadata *m, const struct copy *c, uint32_t ix)
{
    return sp_hash_bytes(&m->cfg.key, c->parts[ix].data, sp_metadata_piece_len(c->size, ix));
}

/* Who sent something else than what is right. */
static void judge(struct sp_metadata *m)
{
    const struct copy *good = m->whole;
    for (uint32_t i = 0; i < FAILED_MAX; i++) {
        const struct failed *f = &m->failed[i];
        for (uint32_t ix = 0; f->size == good->size && ix < f->count; ix++) {
            if (f->prints[ix] != print_of(m, good, ix))
                add_liar(m, f->from[ix]);
        }
    }
}

static bool is_of_one(const struct copy *c)
{
    for (uint32_t i = 1; i < c->count; i++) {
        if (c->parts[i].from != c->parts[0].from)
            return false;
    }
    return true;
}

static void free_failed(struct sp_metadata *m, struct failed *f)
{
    sp_mem_free(m->cfg.mem, f->from);
    sp_mem_free(m->cfg.mem, f->prints);
    *f = (struct failed){0};
}

/* Without memory for it nobody is suspected, and all try again together. */
static void remember(struct sp_metadata *m, const struct copy *c)
{
    struct failed *f = &m->failed[m->failed_at++ % FAILED_MAX];
    free_failed(m, f);
    f->from = SP_NEW_ARRAY(m->cfg.mem, uint64_t, c->count);
    f->prints = SP_NEW_ARRAY(m->cfg.mem, uint64_t, c->count);
    if (!f->from || !f->prints) {
        free_failed(m, f);
        return;
    }
    f->size = c->size;
    f->count = c->count;
    for (uint32_t i = 0; i < c->count; i++) {
        f->from[i] = c->parts[i].from;
        f->prints[i] = print_of(m, c, i);
    }
}

static void finish(struct sp_metadata *m, struct copy *c)
{
    uint8_t digest[SP_SHA1_LEN];
    sp_sha1_end(&c->sha, digest);
    if (memcmp(digest, m->cfg.info_hash, SP_SHA1_LEN) == 0) {
        m->whole = c;
        judge(m);
        return;
    }
    if (is_of_one(c))
        add_liar(m, c->parts[0].from);
    else
        remember(m, c);
    sp_metadata_drop_copy(m, c);
}

void sp_metadata_hash(struct sp_metadata *m, struct copy *c)
{
    for (uint32_t n = 0; n < HASH_STEP && c->hashed < c->first; n++, c->hashed++)
        sp_sha1_add(&c->sha, c->parts[c->hashed].data, sp_metadata_piece_len(c->size, c->hashed));
    if (c->hashed == c->count)
        finish(m, c);
}
