/* A node's life: birth, maintenance, time. */
#include "core/dht/dht.h"

#include "core/dht/state.h"

enum { NODES_ENOUGH = 8 };

#define SELF_FIRST_NS (2 * SP_SECOND_NS)

enum sp_err sp_dht_new(const struct sp_dht_cfg *cfg, sp_time_ns now, struct sp_dht **ret_dht)
{
    struct sp_dht *d = SP_NEW(cfg->mem, struct sp_dht);
    if (!d)
        return SP_ENOMEM;
    d->mem = cfg->mem;
    d->rng = sp_rng_of(cfg->seed);
    memcpy(&d->key, cfg->secret, sizeof(d->key));
    d->read_only = cfg->read_only;
    memcpy(d->version, cfg->version, sizeof(d->version));
    struct sp_dht_id id = cfg->id ? *cfg->id : sp_dht_id_random(&d->rng);
    sp_dht_table_init(&d->table, d->mem, &id, cfg->family);
    sp_dht_peers_init(&d->store, d->mem, &d->rng, &d->key, cfg->family);
    sp_dht_items_init(&d->items, d->mem, &d->rng, &d->key);
    d->verify = cfg->verify;
    d->verify_ctx = cfg->verify_ctx;
    sp_list_init(&d->lookups);
    d->out = sp_queue_of(sizeof(struct sp_dht_packet), OUT_MAX);
    d->events = sp_queue_of(sizeof(struct sp_dht_event), EVENTS_MAX);
    sp_bucket_init(&d->up, cfg->up_Bps, now);
    d->self_wait_ns = SELF_FIRST_NS;
    /* Nodes that were started together must not work together for ever. */
    d->ping_at = now + sp_rng_below(&d->rng, PING_PERIOD_NS);
    d->self_at = now + SELF_FIRST_NS / 8;
    d->housekeeping_at = now + HOUSEKEEPING_NS + sp_rng_below(&d->rng, HOUSEKEEPING_NS);
    *ret_dht = d;
    return SP_OK;
}

void sp_dht_free(struct sp_dht *d)
{
    if (!d)
        return;
    while (d->lookups.count)
        sp_dht_lookup_free(SP_CONTAINER(d->lookups.ends.next, struct lookup, link));
    sp_dht_table_done(&d->table);
    sp_dht_peers_done(&d->store);
    sp_dht_items_done(&d->items);
    sp_queue_done(&d->out, d->mem);
    sp_queue_done(&d->events, d->mem);
    sp_mem_free(d->mem, d->rpcs);
    sp_mem_free(d->mem, d->guards);
    sp_mem_free(d->mem, d->held);
    sp_mem_free(d->mem, d);
}

/* ---- whom to begin with ---- */

void sp_dht_add_addr(struct sp_dht *d, const struct sp_addr *addr, sp_time_ns now)
{
    struct sp_dht_contact c = {.addr = *addr};
    struct sp_krpc m = {.method = SP_KRPC_FIND_NODE, .has_target = true, .target = d->table.self};

    if (addr->family != d->table.family || addr->port == 0)
        return;
    /* Its answer names nodes near us; a lookup goes on from them. */
    sp_dht_lookup_id lookup = 0;
    if (d->table.count < NODES_ENOUGH) {
        struct sp_link *k = d->lookups.ends.next;
        lookup = k != &d->lookups.ends && SP_CONTAINER(k, struct lookup, link)->silent
                     ? SP_CONTAINER(k, struct lookup, link)->id
                     : 0;
    }
    (void)sp_dht_ask(d, &c, false, lookup, &m, now);
    d->self_wait_ns = SELF_FIRST_NS;
    if (d->self_at > now + SELF_FIRST_NS / 4)
        d->self_at = now + SELF_FIRST_NS / 4;
}

void sp_dht_add_saved(struct sp_dht *d, const struct sp_dht_contact *c, sp_time_ns now)
{
    (void)sp_dht_table_answered(&d->table, c, 0, now);
}

void sp_dht_set_external(struct sp_dht *d, const struct sp_addr *addr, sp_time_ns now)
{
    if (addr->family != d->table.family || sp_dht_id_fits(&d->table.self, addr))
        return;
    struct sp_dht_id id = sp_dht_id_for(addr, &d->rng);
    sp_dht_table_set_self(&d->table, &id);
    d->self_wait_ns = SELF_FIRST_NS;
    d->self_at = now;
}

void sp_dht_set_read_only(struct sp_dht *d, bool read_only)
{
    d->read_only = read_only;
}

const struct sp_dht_id *sp_dht_id(const struct sp_dht *d)
{
    return &d->table.self;
}

uint32_t sp_dht_good_nodes(const struct sp_dht *d, struct sp_dht_contact *ret, uint32_t max,
                           sp_time_ns now)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < d->table.count && n < max; i++) {
        struct sp_dht_known k = sp_dht_table_at(&d->table, i, now);
        if (k.fails == 0 && k.rtt_ms && k.silent_ns <= SP_DHT_GOOD_NS)
            ret[n++] = k.contact;
    }
    return n;
}

/* ---- lookups ---- */

sp_dht_lookup_id sp_dht_find_node(struct sp_dht *d, const struct sp_dht_id *target, sp_time_ns now)
{
    struct lookup *l = sp_dht_lookup_new(d, target, SP_KRPC_FIND_NODE);
    return l ? sp_dht_lookup_start(l, now) : 0;
}

sp_dht_lookup_id sp_dht_get_peers(struct sp_dht *d, const struct sp_dht_id *hash,
                                  const struct sp_dht_announce *announce, sp_time_ns now)
{
    struct lookup *l = sp_dht_lookup_new(d, hash, SP_KRPC_GET_PEERS);
    if (!l)
        return 0;
    if (announce)
        l->announce = *announce;
    return sp_dht_lookup_start(l, now);
}

sp_dht_lookup_id sp_dht_get(struct sp_dht *d, const struct sp_dht_id *target, struct sp_slice salt,
                            sp_time_ns now)
{
    struct lookup *l = sp_dht_lookup_new(d, target, SP_KRPC_GET);
    if (!l)
        return 0;
    assert(salt.len <= sizeof(l->salt));
    l->salt_len = (uint8_t)salt.len;
    if (salt.len)
        memcpy(l->salt, salt.ptr, salt.len);
    return sp_dht_lookup_start(l, now);
}

sp_dht_lookup_id sp_dht_put(struct sp_dht *d, const struct sp_dht_item *item, bool has_cas,
                            int64_t cas, sp_time_ns now)
{
    struct sp_dht_id target = sp_dht_item_target(item);
    struct lookup *l = sp_dht_lookup_new(d, &target, SP_KRPC_GET);
    if (!l)
        return 0;
    if (!(l->item = SP_NEW(d->mem, struct sp_dht_item))) {
        sp_dht_lookup_free(l);
        return 0;
    }
    *l->item = *item;
    l->puts = true;
    l->has_cas = has_cas;
    l->cas = cas;
    return sp_dht_lookup_start(l, now);
}

void sp_dht_cancel(struct sp_dht *d, sp_dht_lookup_id lookup)
{
    struct lookup *l = sp_dht_lookup_find(d, lookup);
    if (l)
        sp_dht_lookup_free(l);
}

/* ---- datagrams, events ---- */

bool sp_dht_recv(struct sp_dht *d, const struct sp_addr *from, struct sp_slice bytes,
                 sp_time_ns now)
{
    struct sp_krpc msg;
    if (from->family != d->table.family || from->port == 0 || sp_krpc_read(bytes, &msg) != SP_OK) {
        d->stats.bad_packets++;
        return false;
    }
    if (msg.kind == SP_KRPC_QUERY)
        sp_dht_serve(d, from, &msg, bytes, now);
    else
        sp_dht_answer(d, from, &msg, now);
    return true;
}

bool sp_dht_send(struct sp_dht *d, struct sp_dht_packet *ret_packet, sp_time_ns now)
{
    (void)now;
    if (d->out.count == 0) {
        if (d->out.cap) /* an idle node is small */
            sp_queue_done(&d->out, d->mem);
        return false;
    }
    const struct sp_dht_packet *p = sp_queue_at(&d->out, 0);
    ret_packet->to = p->to;
    ret_packet->len = p->len;
    memcpy(ret_packet->bytes, p->bytes, p->len);
    sp_queue_pop(&d->out);
    return true;
}

bool sp_dht_next(struct sp_dht *d, struct sp_dht_event *ret_event)
{
    if (d->events.count == 0) {
        if (d->events.cap)
            sp_queue_done(&d->events, d->mem);
        return false;
    }
    *ret_event = *(struct sp_dht_event *)sp_queue_at(&d->events, 0);
    sp_queue_pop(&d->events);
    return true;
}

/* ---- time ---- */

/* One node at a time, the one that was silent longest, is asked for what would
 * fill its bucket: a fifth of a packet a second keeps all entries fresh. */
static void ping_stalest(struct sp_dht *d, sp_time_ns now)
{
    struct sp_dht_known k;
    struct sp_krpc m = {.method = SP_KRPC_FIND_NODE, .has_target = true};

    d->ping_at = now + PING_PERIOD_NS;
    if (sp_dht_table_stalest(&d->table, &k, &m.target, &d->rng, now))
        (void)sp_dht_ask(d, &k.contact, true, 0, &m, now);
}

/* BEP-0005: "Upon inserting the first node into its routing table and when
 * starting up thereafter, the node should attempt to find the closest nodes in
 * the DHT to itself." */
static void find_self(struct sp_dht *d, sp_time_ns now)
{
    bool young = d->table.count < NODES_ENOUGH || d->table.depth < 4;
    d->self_at = now + (young ? d->self_wait_ns : SELF_PERIOD_NS);
    if (young && d->self_wait_ns < SELF_PERIOD_NS)
        d->self_wait_ns *= 2;
    struct lookup *l =
        d->table.count ? sp_dht_lookup_new(d, &d->table.self, SP_KRPC_FIND_NODE) : NULL;
    if (!l)
        return;
    l->silent = true;
    (void)sp_dht_lookup_start(l, now);
}

void sp_dht_tick(struct sp_dht *d, sp_time_ns now)
{
    sp_dht_rpc_tick(d, now);
    if (now >= d->ping_at)
        ping_stalest(d, now);
    if (now >= d->self_at)
        find_self(d, now);
    if (now >= d->housekeeping_at) {
        d->housekeeping_at = now + HOUSEKEEPING_NS;
        sp_dht_peers_tick(&d->store, now);
        sp_dht_items_tick(&d->items, now);
    }
}

sp_time_ns sp_dht_deadline(const struct sp_dht *d)
{
    sp_time_ns first = sp_dht_rpc_deadline(d);
    if (d->ping_at < first)
        first = d->ping_at;
    if (d->self_at < first)
        first = d->self_at;
    if ((d->store.count || d->items.count) && d->housekeeping_at < first)
        first = d->housekeeping_at;
    return first;
}

void sp_dht_stats(const struct sp_dht *d, sp_time_ns now, struct sp_dht_stats *ret_stats)
{
    *ret_stats = d->stats;
    ret_stats->nodes = d->table.count;
    ret_stats->good_nodes = sp_dht_table_good(&d->table, now);
    ret_stats->depth = d->table.depth;
    ret_stats->lookups = d->lookups.count;
    ret_stats->keys = d->store.count;
    ret_stats->items = d->items.count;
    ret_stats->network_size = sp_dht_table_network_size(&d->table);
    ret_stats->stall_ms = (uint32_t)(sp_dht_stall_ns(d) / SP_MS_NS);
}

const char *sp_dht_broken(const struct sp_dht *d)
{
    uint32_t used = 0;
    for (uint32_t i = 0; i < d->rpc_cap; i++)
        used += d->rpcs[i].used;
    if (used != d->rpc_count)
        return "requests are counted wrong";
    for (struct sp_link *k = d->lookups.ends.next; k != &d->lookups.ends; k = k->next) {
        const struct lookup *l = SP_CONTAINER(k, struct lookup, link);
        uint32_t waits = 0;
        for (uint32_t i = 0; i < l->count; i++) {
            waits += l->cands[i].state != CAND_ANSWERED && l->cands[i].state != CAND_FAILED;
            if (i > 0 &&
                sp_dht_id_cmp(&l->cands[i - 1].contact.id, &l->cands[i].contact.id, &l->target) > 0)
                return "candidates are out of order";
        }
        if (waits == 0)
            return "a lookup waits for nobody";
    }
    if (d->store.count > SP_DHT_KEYS_MAX || d->items.count > SP_DHT_ITEMS_MAX)
        return "more is stored than may be";
    return sp_dht_table_broken(&d->table);
}
