#include "core/picker/blame.h"

#include <assert.h>

/* One failed attempt at a piece. */
struct sp_blame_piece {
    struct sp_blame_piece *next;
    uint32_t piece, n;
    struct {
        uint64_t print, from;
    } block[];
};

void sp_blame_init(struct sp_blame *b, const struct sp_mem *mem, struct sp_hash_key key)
{
    *b = (struct sp_blame){.mem = mem, .key = key, .by_key = sp_map_of(mem)};
}

/* The attempt that *link points to. */
static void drop(struct sp_blame *b, struct sp_blame_piece **link, struct sp_blame_piece *before)
{
    struct sp_blame_piece *gone = *link;

    *link = gone->next;
    if (b->newest == gone)
        b->newest = before;
    b->piece_count--;
    b->block_count -= gone->n;
    sp_mem_free(b->mem, gone);
}

void sp_blame_done(struct sp_blame *b)
{
    if (!b->mem)
        return;
    while (b->oldest)
        drop(b, &b->oldest, NULL);
    sp_mem_free(b->mem, b->peers);
    sp_map_done(&b->by_key);
    *b = (struct sp_blame){0};
}

/* ---- trust ---- */

/* Peers are numbered from 1 in the links; 0 is none. */
static struct sp_blame_peer *peer_at(const struct sp_blame *b, uint32_t number)
{
    return &b->peers[number - 1];
}

static bool is_peer(const void *owner, uint32_t ix, const void *key)
{
    const struct sp_blame *b = owner;
    return b->peers[ix].key == *(const uint64_t *)key;
}

static uint64_t hash_of(const struct sp_blame *b, uint64_t key)
{
    return sp_hash_bytes(&b->key, &key, sizeof(key));
}

static uint32_t find(const struct sp_blame *b, uint64_t key)
{
    uint32_t ix = sp_map_find(&b->by_key, hash_of(b, key), &key, is_peer, b);
    return ix == SP_MAP_NONE ? 0 : ix + 1;
}

static void forget_peer(struct sp_blame *b, uint32_t number)
{
    struct sp_blame_peer *peer = peer_at(b, number);

    sp_map_del(&b->by_key, hash_of(b, peer->key), number - 1);
    *(peer->prev ? &peer_at(b, peer->prev)->next : &b->peer_oldest) = peer->next;
    *(peer->next ? &peer_at(b, peer->next)->prev : &b->peer_newest) = peer->prev;
    *peer = (struct sp_blame_peer){.next = b->peer_free};
    b->peer_free = number;
    b->peer_count--;
}

static bool peer_room(struct sp_blame *b)
{
    if (b->peer_free)
        return true;
    if (b->peer_count == SP_BLAME_PEERS_MAX) {
        forget_peer(b, b->peer_oldest);
        return true;
    }

    uint32_t cap = b->peer_cap ? 2 * b->peer_cap : 16;
    struct sp_blame_peer *peers =
        sp_mem_grow(b->mem, b->peers, b->peer_cap, cap, sizeof(struct sp_blame_peer));
    if (!peers)
        return false;
    b->peers = peers;
    for (uint32_t ix = cap; ix-- > b->peer_cap;) {
        peers[ix].next = b->peer_free;
        b->peer_free = ix + 1;
    }
    b->peer_cap = cap;
    return true;
}

static uint32_t remember_peer(struct sp_blame *b, uint64_t key)
{
    if (!peer_room(b))
        return 0;

    uint32_t number = b->peer_free;
    if (sp_map_put(&b->by_key, hash_of(b, key), number - 1) != SP_OK)
        return 0;
    struct sp_blame_peer *peer = peer_at(b, number);
    b->peer_free = peer->next;
    *peer = (struct sp_blame_peer){.key = key, .prev = b->peer_newest};
    *(peer->prev ? &peer_at(b, peer->prev)->next : &b->peer_oldest) = number;
    b->peer_newest = number;
    b->peer_count++;
    return number;
}

static void change_trust(struct sp_blame *b, uint64_t key, int by)
{
    uint32_t number = find(b, key);

    if (!number && by < 0)
        number = remember_peer(b, key);
    if (!number)
        return;
    struct sp_blame_peer *peer = peer_at(b, number);
    int trust = peer->trust + by;
    peer->trust = (int8_t)(trust < INT8_MIN ? INT8_MIN : trust);
    if (peer->trust >= 0)
        forget_peer(b, number);
}

int sp_blame_trust(const struct sp_blame *b, uint64_t peer)
{
    uint32_t number = find(b, peer);
    return number ? peer_at(b, number)->trust : 0;
}

/* Each sender once, however many blocks it sent: runs are short work, and a
 * sender that comes back after another is looked for among those before. */
static void change_trust_of_all(struct sp_blame *b, const uint64_t *from, uint32_t n, int by)
{
    enum { SENDERS = 64 }; /* past that many senders of one piece nobody is to blame */
    uint64_t seen[SENDERS];
    uint32_t count = 0;

    for (uint32_t i = 0; i < n && count < SENDERS; i++) {
        uint32_t j = 0;
        if (i > 0 && from[i] == from[i - 1])
            continue;
        while (j < count && seen[j] != from[i])
            j++;
        if (j < count)
            continue;
        seen[count++] = from[i];
        change_trust(b, from[i], by);
    }
}

/* ---- failed pieces ---- */

static bool one_sender(const uint64_t *from, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++)
        if (from[i] != from[0])
            return false;
    return n > 0;
}

static void remember(struct sp_blame *b, uint32_t piece, const uint64_t *prints,
                     const uint64_t *from, uint32_t n)
{
    if (n == 0 || n > SP_BLAME_BLOCKS_MAX)
        return;
    while (b->piece_count >= SP_BLAME_PIECES_MAX || b->block_count > SP_BLAME_BLOCKS_MAX - n)
        drop(b, &b->oldest, NULL);

    struct sp_blame_piece *attempt =
        sp_mem_alloc(b->mem, 1, sizeof(*attempt) + (size_t)n * sizeof(attempt->block[0]));
    if (!attempt)
        return;
    attempt->piece = piece;
    attempt->n = n;
    for (uint32_t i = 0; i < n; i++) {
        attempt->block[i].print = prints[i];
        attempt->block[i].from = from[i];
    }
    *(b->newest ? &b->newest->next : &b->oldest) = attempt;
    b->newest = attempt;
    b->piece_count++;
    b->block_count += n;
}

bool sp_blame_failed(struct sp_blame *b, uint32_t piece, const uint64_t *prints,
                     const uint64_t *from, uint32_t n, uint64_t *ret_guilty)
{
    change_trust_of_all(b, from, n, SP_BLAME_FAILED);
    if (one_sender(from, n)) {
        *ret_guilty = from[0];
        return true;
    }
    remember(b, piece, prints, from, n);
    return false;
}

static void accuse(uint64_t key, uint64_t *guilty, uint32_t *count, uint32_t cap)
{
    for (uint32_t i = 0; i < *count; i++)
        if (guilty[i] == key)
            return;
    if (*count < cap)
        guilty[(*count)++] = key;
}

uint32_t sp_blame_passed(struct sp_blame *b, uint32_t piece, const uint64_t *prints,
                         const uint64_t *from, uint32_t n, uint64_t *guilty, uint32_t guilty_cap)
{
    struct sp_blame_piece *before = NULL;
    uint32_t count = 0;

    if (b->peer_count > 0)
        change_trust_of_all(b, from, n, SP_BLAME_PASSED);
    for (struct sp_blame_piece **link = &b->oldest; *link;) {
        struct sp_blame_piece *attempt = *link;
        if (attempt->piece != piece) {
            before = attempt;
            link = &attempt->next;
            continue;
        }
        for (uint32_t i = 0; prints && i < attempt->n && i < n; i++)
            if (attempt->block[i].print != prints[i])
                accuse(attempt->block[i].from, guilty, &count, guilty_cap);
        drop(b, link, before);
    }
    return count;
}

bool sp_blame_remembers(const struct sp_blame *b, uint32_t piece)
{
    for (const struct sp_blame_piece *at = b->oldest; at; at = at->next)
        if (at->piece == piece)
            return true;
    return false;
}

void sp_blame_forget(struct sp_blame *b, uint32_t piece)
{
    (void)sp_blame_passed(b, piece, NULL, NULL, 0, NULL, 0);
}
