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

static enum sp_err enter(struct sp_client *c, struct sp_held *h, sp_torrent_id *ret_torrent)
{
    for (uint32_t i = 0; i < c->held_count; i++) {
        if (c->held[i] && memcmp(c->hashes[i], h->mi->info_hash_v1, SP_SHA1_LEN) == 0)
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
    *ret_torrent = c->held_count;
    c->held[c->held_count] = h;
    memcpy(c->hashes[c->held_count], h->mi->info_hash_v1, SP_SHA1_LEN);
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
    if (torrent < c->held_count)
        c->held[torrent] = NULL;
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
