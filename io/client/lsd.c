/* Which torrents are called out on the local network, and who has one that was. */
#include <stdlib.h>
#include <string.h>

#include "io/client/impl.h"

/* Called on reactor 0. */
uint32_t sp_client_lsd_list(void *ctx, uint32_t *cursor, uint8_t (*ret_hashes)[SP_SHA1_LEN],
                            uint32_t cap, uint32_t *ret_total)
{
    struct sp_client *c = ctx;
    uint32_t count = 0, total = 0, next = *cursor;

    pthread_mutex_lock(&c->lock);
    for (uint32_t i = 0; i < c->held_count; i++) {
        uint32_t ix = (*cursor + i) % c->held_count;
        struct sp_held *h = c->held[ix];
        bool takes_part = false;
        if (h) {
            pthread_mutex_lock(&h->lock);
            takes_part = h->called_out;
            pthread_mutex_unlock(&h->lock);
        }
        total += takes_part;
        if (!takes_part || count == cap)
            continue;
        memcpy(ret_hashes[count++], c->hashes[ix], SP_SHA1_LEN);
        next = ix + 1;
    }
    pthread_mutex_unlock(&c->lock);
    *cursor = next;
    *ret_total = total;
    return count;
}

struct heard {
    struct sp_post post;
    sp_torrent_id torrent;
    struct sp_addr addr;
};

static void run_heard(struct sp_reactor *r, struct sp_post *post)
{
    struct heard *m = SP_CONTAINER(post, struct heard, post);
    sp_torrent_add_peers(r->session, m->torrent, &m->addr, 1, SP_PEER_LSD, sp_reactor_now(r));
    free(m);
}

void sp_client_lsd_heard(void *ctx, const uint8_t info_hash[SP_SHA1_LEN],
                         const struct sp_addr *addr)
{
    struct sp_client *c = ctx;
    sp_torrent_id id = SP_TORRENT_NONE;

    pthread_mutex_lock(&c->lock);
    for (uint32_t i = 0; i < c->held_count && id == SP_TORRENT_NONE; i++) {
        struct sp_held *h = c->held[i];
        if (!h || memcmp(c->hashes[i], info_hash, SP_SHA1_LEN) != 0)
            continue;
        pthread_mutex_lock(&h->lock);
        if (h->called_out) /* BEP-0027: never of a private one */
            id = i;
        pthread_mutex_unlock(&h->lock);
    }
    pthread_mutex_unlock(&c->lock);
    /* NULL: it was removed just now. */
    struct sp_reactor *r = id == SP_TORRENT_NONE ? NULL : sp_client_reactor_of(c, id);
    struct heard *m = r ? malloc(sizeof(*m)) : NULL;
    if (!m)
        return;
    *m = (struct heard){.post = {.run = run_heard}, .torrent = id, .addr = *addr};
    sp_reactor_post(r, &m->post);
}
