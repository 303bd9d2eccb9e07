#include "core/torrent/hub.h"

enum { EVENTS_KEPT = 1024 };

static void copy_text(char *to, size_t cap, const char *text)
{
    size_t n = text ? strlen(text) : 0;
    if (n > cap - 1)
        n = cap - 1;
    if (n)
        memcpy(to, text, n);
    to[n] = '\0';
}

void sp_hub_event(struct sp_hub *h, enum sp_client_event_kind kind, sp_torrent_id torrent,
                  enum sp_err err, const char *text)
{
    if (h->events.count == EVENTS_KEPT)
        sp_queue_pop(&h->events);
    struct sp_client_event *ev = sp_queue_push(&h->events, h->mem);
    if (!ev)
        return; /* out of memory: snapshots still tell the state */
    ev->kind = kind;
    ev->torrent = torrent;
    ev->err = err;
    copy_text(ev->text, sizeof(ev->text), text);
}

uint8_t *sp_hub_block(struct sp_hub *h)
{
    uint8_t *block = sp_pool_get(&h->pool);
    while (!block && sp_cache_evict(&h->cache))
        block = sp_pool_get(&h->pool);
    return block;
}

bool sp_hub_room(const struct sp_hub *h, uint64_t len)
{
    /* A lone piece always has room: else one larger than the share could
     * never be fetched. */
    return h->committed_bytes == 0 || h->committed_bytes + len <= h->open_max_bytes;
}
