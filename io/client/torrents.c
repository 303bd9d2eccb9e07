/* Torrents by number. */
#include <stdlib.h>
#include <string.h>

#include "io/client/impl.h"

struct sp_reactor *sp_client_reactor(struct sp_client *c, uint32_t ix)
{
    return c->reactors[ix];
}

uint32_t sp_client_reactor_count(const struct sp_client *c)
{
    return c->reactor_count;
}

static struct sp_reactor *owner(struct sp_client *c, const uint8_t *info_hash)
{
    return c->reactors[info_hash[SP_SHA1_LEN - 1] % c->reactor_count];
}

struct sp_reactor *sp_client_reactor_of(struct sp_client *c, sp_torrent_id torrent)
{
    struct sp_reactor *r = NULL;
    pthread_mutex_lock(&c->lock);
    if (torrent < c->held_count && c->held[torrent])
        r = owner(c, c->hashes[torrent]);
    pthread_mutex_unlock(&c->lock);
    return r;
}

/* ---- by what a stranger says who enciphers ---- */

static bool is_req2(const void *owner, uint32_t ix, const void *key)
{
    uint8_t req2[SP_SHA1_LEN];
    sp_mse_req2(((const struct sp_client *)owner)->hashes[ix], req2);
    return memcmp(req2, key, sizeof(req2)) == 0;
}

static uint64_t req2_hash(const struct sp_client *c, uint32_t ix)
{
    uint8_t req2[SP_SHA1_LEN];
    sp_mse_req2(c->hashes[ix], req2);
    return sp_hash_bytes(&c->env.print_key, req2, sizeof(req2));
}

bool sp_client_find_skey(void *ctx, const uint8_t req2[SP_SHA1_LEN],
                         uint8_t ret_info_hash[SP_SHA1_LEN])
{
    struct sp_client *c = ctx;
    uint64_t hash = sp_hash_bytes(&c->env.print_key, req2, SP_SHA1_LEN);

    pthread_mutex_lock(&c->lock);
    uint32_t ix = sp_map_find(&c->by_req2, hash, req2, is_req2, c);
    if (ix != SP_MAP_NONE)
        memcpy(ret_info_hash, c->hashes[ix], SP_SHA1_LEN);
    pthread_mutex_unlock(&c->lock);
    return ix != SP_MAP_NONE;
}

/* ---- by number ---- */

static enum sp_err enter(struct sp_client *c, struct sp_held *h, sp_torrent_id *ret_torrent)
{
    for (uint32_t i = 0; i < c->held_count; i++) {
        if (c->held[i] && memcmp(c->hashes[i], h->info_hash, SP_SHA1_LEN) == 0)
            return SP_EEXIST;
    }
    if (c->held_count == c->held_cap) {
        uint32_t cap = c->held_cap ? c->held_cap * 2 : 16;
        struct sp_held **held = realloc(c->held, cap * sizeof(*held));
        if (held)
            c->held = held;
        uint8_t(*hashes)[SP_SHA1_LEN] = held ? realloc(c->hashes, cap * sizeof(*hashes)) : NULL;
        if (!hashes)
            return SP_ENOMEM;
        c->hashes = hashes;
        c->held_cap = cap;
    }
    memcpy(c->hashes[c->held_count], h->info_hash, SP_SHA1_LEN);
    if (sp_map_put(&c->by_req2, req2_hash(c, c->held_count), c->held_count) != SP_OK)
        return SP_ENOMEM;
    *ret_torrent = c->held_count;
    c->held[c->held_count] = h;
    c->held_count++;
    return SP_OK;
}

enum sp_err sp_client_enter(struct sp_client *c, struct sp_held *h, sp_torrent_id *ret_torrent)
{
    pthread_mutex_lock(&c->lock);
    enum sp_err err = enter(c, h, ret_torrent);
    pthread_mutex_unlock(&c->lock);
    return err;
}

void sp_client_forget(struct sp_client *c, sp_torrent_id torrent)
{
    pthread_mutex_lock(&c->lock);
    if (torrent < c->held_count && c->held[torrent]) {
        c->held[torrent] = NULL;
        sp_map_del(&c->by_req2, req2_hash(c, torrent), torrent);
    }
    pthread_mutex_unlock(&c->lock);
}

struct sp_held *sp_client_lock_held(const struct sp_client *c, sp_torrent_id torrent)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&c->lock;
    pthread_mutex_lock(lock);
    struct sp_held *h = torrent < c->held_count ? c->held[torrent] : NULL;
    if (!h) {
        pthread_mutex_unlock(lock);
        return NULL;
    }
    pthread_mutex_lock(&h->lock);
    return h;
}

void sp_client_unlock_held(const struct sp_client *c, struct sp_held *h)
{
    pthread_mutex_unlock(&h->lock);
    pthread_mutex_unlock((pthread_mutex_t *)(uintptr_t)&c->lock);
}
