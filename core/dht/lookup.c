/* Who is nearest to a key.
 *
 * Candidates stand in order of distance.  ALPHA requests are under way to the
 * nearest of them; one that takes longer than nine of ten did is late, and no
 * longer counts, so that a dead node costs a stall time and not a time-out.
 * It ends when the K nearest that are not late and have not failed have answered.
 *
 * What others name is not believed: a candidate counts when it has answered
 * under the id it was named by; one for an address, one for a /24 or /64.
 */
#include "core/dht/state.h"

struct lookup *sp_dht_lookup_find(const struct sp_dht *d, sp_dht_lookup_id id)
{
    for (struct sp_link *k = d->lookups.ends.next; id && k != &d->lookups.ends; k = k->next) {
        struct lookup *l = SP_CONTAINER(k, struct lookup, link);
        if (l->id == id)
            return l;
    }
    return NULL;
}

void sp_dht_lookup_free(struct lookup *l)
{
    struct sp_dht *d = l->d;
    sp_list_del(&d->lookups, &l->link);
    sp_mem_free(d->mem, l->item);
    sp_mem_free(d->mem, l->cands);
    sp_mem_free(d->mem, l);
}

static struct cand *find(struct lookup *l, const struct sp_addr *addr)
{
    for (uint32_t i = 0; i < l->count; i++) {
        if (sp_addr_eq(&l->cands[i].contact.addr, addr))
            return &l->cands[i];
    }
    return NULL;
}

/* ---- candidates ---- */

static bool is_crowded(const struct lookup *l, const struct sp_addr *a)
{
    bool local = sp_addr_scope(a) != SP_SCOPE_GLOBAL;
    size_t net = a->family == SP_V4 ? 3 : 8;
    for (uint32_t i = 0; i < l->count; i++) {
        const struct sp_addr *b = &l->cands[i].contact.addr;
        if (local ? sp_addr_eq(a, b) : memcmp(a->ip, b->ip, net) == 0)
            return true;
    }
    return false;
}

/* Local nodes are named to us by local ones alone: a stranger must not make us
 * knock at doors that only we can reach. */
static bool may_ask(const struct sp_addr *a, const struct sp_addr *named_by)
{
    if (a->port == 0)
        return false;
    switch (sp_addr_scope(a)) {
    case SP_SCOPE_GLOBAL:
        return true;
    case SP_SCOPE_PRIVATE:
    case SP_SCOPE_LOOPBACK:
    case SP_SCOPE_LINK:
        return !named_by || sp_addr_scope(named_by) == sp_addr_scope(a);
    case SP_SCOPE_NONE:
        break;
    }
    return false;
}

static struct cand *insert(struct lookup *l, const struct sp_dht_contact *c, uint32_t hops)
{
    uint32_t to = l->count;
    if (sp_dht_id_eq(&c->id, &l->d->table.self) || is_crowded(l, &c->addr))
        return NULL;
    while (to > 0 && sp_dht_id_cmp(&c->id, &l->cands[to - 1].contact.id, &l->target) < 0)
        to--;
    if (l->count == CANDS_MAX) {
        if (to == CANDS_MAX || l->cands[CANDS_MAX - 1].state == CAND_ASKED)
            return NULL;
        l->count--;
    }
    memmove(&l->cands[to + 1], &l->cands[to], (l->count - to) * sizeof(*l->cands));
    l->cands[to] = (struct cand){.contact = *c, .hops = (uint8_t)(hops < 255 ? hops : 255)};
    l->count++;
    return &l->cands[to];
}

static void take_nodes(struct lookup *l, struct sp_slice nodes, const struct cand *named_by)
{
    enum sp_family family = (enum sp_family)l->d->table.family;
    size_t each = SP_DHT_ID_LEN + (family == SP_V4 ? SP_COMPACT4_LEN : SP_COMPACT6_LEN);
    struct sp_addr who = named_by->contact.addr; /* named_by moves with what is inserted */
    uint32_t hops = named_by->hops + 1u;

    for (size_t off = 0; off + each <= nodes.len && off < 2 * SP_DHT_K * each; off += each) {
        struct sp_dht_contact c;
        memcpy(c.id.b, nodes.ptr + off, SP_DHT_ID_LEN);
        c.addr = sp_addr_of_compact(nodes.ptr + off + SP_DHT_ID_LEN, family);
        if (may_ask(&c.addr, &who))
            (void)insert(l, &c, hops);
    }
}

/* ---- the end ---- */

static bool say(struct lookup *l, const struct cand *c, sp_time_ns now)
{
    struct sp_slice token = {c->token, c->token_len};
    const struct sp_dht_item *item = l->item;
    struct sp_krpc m = {
        .method = SP_KRPC_ANNOUNCE_PEER,
        .has_target = true,
        .target = l->target,
        .token = token,
        .port = l->announce.port,
        .implied_port = l->announce.implied_port,
        .seed = l->announce.seed,
    };
    struct sp_krpc put = {.method = SP_KRPC_PUT, .token = token};
    if (l->puts) {
        put.v = (struct sp_slice){item->v, item->v_len};
        if (item->is_mutable) {
            put.key = (struct sp_slice){item->key, sizeof(item->key)};
            put.sig = (struct sp_slice){item->sig, sizeof(item->sig)};
            put.salt = (struct sp_slice){item->salt, item->salt_len};
            put.has_seq = true;
            put.seq = item->seq;
            /* BEP-0044: "When sending a put request to a node that did not return
             * any data for the get, the cas field SHOULD NOT be included." */
            put.has_cas = l->has_cas && c->has_item;
            put.cas = l->cas;
        }
    }
    return sp_dht_ask(l->d, &c->contact, true, 0, l->puts ? &put : &m, now);
}

static uint32_t announce(struct lookup *l, sp_time_ns now)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < l->count && n < SP_DHT_K; i++) {
        const struct cand *c = &l->cands[i];
        if (c->state == CAND_ANSWERED && c->token_len)
            n += say(l, c, now);
    }
    return n;
}

static void finish(struct lookup *l, sp_time_ns now)
{
    struct sp_dht *d = l->d;
    bool tells = l->puts || l->announce.port || l->announce.implied_port;
    uint32_t announced = tells ? announce(l, now) : 0;
    struct sp_dht_event *ev = l->silent ? NULL : sp_queue_push(&d->events, d->mem);

    if (ev) {
        *ev = (struct sp_dht_event){
            .kind = SP_DHT_DONE,
            .lookup = l->id,
            .target = l->target,
            .asked = l->asked,
            .answered = l->answered,
            .late = l->late,
            .announced = announced,
        };
        for (uint32_t i = 0; i < l->count && ev->count < SP_DHT_RESULT_MAX; i++) {
            const struct cand *c = &l->cands[i];
            if (c->state != CAND_ANSWERED)
                continue;
            ev->nodes[ev->count++] = c->contact;
            if (c->hops > ev->hops)
                ev->hops = c->hops;
        }
    }
    sp_dht_lookup_free(l);
}

/* ---- asking ---- */

static bool ask(struct lookup *l, struct cand *c, sp_time_ns now)
{
    struct sp_krpc m = {
        .method = l->method,
        .has_target = true,
        .target = l->target,
    };
    if (!sp_dht_ask(l->d, &c->contact, true, l->id, &m, now))
        return false;
    c->state = CAND_ASKED;
    c->tries++;
    l->asked++;
    return true;
}

/* Late ones that are nearer than the last of the K that answered may have lost a
 * packet: they are asked once more before they are given up. */
static bool ask_late(struct lookup *l, sp_time_ns now)
{
    uint32_t answered = 0, asked = 0;
    for (uint32_t i = 0; i < l->count && answered < SP_DHT_K; i++) {
        struct cand *c = &l->cands[i];
        answered += c->state == CAND_ANSWERED;
        if (c->state == CAND_LATE && c->tries < TRIES_MAX)
            asked += ask(l, c, now);
    }
    return asked > 0;
}

/* Asks whom it is time to ask; ends the lookup when nothing is left to do. */
static void go_on(struct lookup *l, sp_time_ns now)
{
    uint32_t under_way = 0, answered = 0, late = 0, waiting = 0;

    for (uint32_t i = 0; i < l->count; i++)
        under_way += l->cands[i].state == CAND_ASKED;
    for (uint32_t i = 0; i < l->count && answered < SP_DHT_K; i++) {
        struct cand *c = &l->cands[i];
        answered += c->state == CAND_ANSWERED;
        waiting += c->state == CAND_ASKED;
        late += c->state == CAND_LATE;
        if (c->state != CAND_NEW)
            continue;
        waiting++;
        if (under_way >= ALPHA)
            return;
        if (ask(l, c, now))
            under_way++;
        else if (under_way == 0 && l->d->rpc_count == 0)
            c->state = CAND_FAILED; /* no memory, and nothing that would wake us */
    }
    /* Who is late again mostly is dead; it is waited for only where there are too few. */
    if (waiting == 0 && (late == 0 || !ask_late(l, now)) && (answered == SP_DHT_K || late == 0))
        finish(l, now);
}

static void seed(struct lookup *l, sp_time_ns now)
{
    struct sp_dht_known known[SEED_NODES];
    uint32_t n = sp_dht_table_closest(&l->d->table, &l->target, known, SEED_NODES, now);
    for (uint32_t i = 0; i < n; i++)
        (void)insert(l, &known[i].contact, 0);
}

struct lookup *sp_dht_lookup_new(struct sp_dht *d, const struct sp_dht_id *target,
                                 enum sp_krpc_method method)
{
    struct lookup *l = d->lookups.count < LOOKUPS_MAX ? SP_NEW(d->mem, struct lookup) : NULL;
    if (!l)
        return NULL;
    l->cands = SP_NEW_ARRAY(d->mem, struct cand, CANDS_MAX + 1);
    if (!l->cands) {
        sp_mem_free(d->mem, l);
        return NULL;
    }
    if (++d->last_lookup == 0)
        d->last_lookup = 1;
    l->d = d;
    l->id = d->last_lookup;
    l->target = *target;
    l->method = method;
    sp_list_add(&d->lookups, &l->link);
    return l;
}

sp_dht_lookup_id sp_dht_lookup_start(struct lookup *l, sp_time_ns now)
{
    sp_dht_lookup_id id = l->id;
    seed(l, now);
    go_on(l, now);
    return id;
}

/* ---- answers ---- */

static void tell_peers(struct lookup *l, const struct sp_krpc *msg, const struct sp_addr *from)
{
    struct sp_dht_event *ev = NULL;
    for (uint32_t i = 0; i < msg->value_count; i++) {
        enum sp_family family = msg->values[i].len == SP_COMPACT4_LEN ? SP_V4 : SP_V6;
        struct sp_addr a = sp_addr_of_compact(msg->values[i].ptr, family);
        if (!may_ask(&a, from))
            continue;
        if (!ev && !(ev = sp_queue_push(&l->d->events, l->d->mem)))
            return;
        ev->kind = SP_DHT_PEERS;
        ev->lookup = l->id;
        ev->target = l->target;
        ev->peers[ev->count++] = a;
    }
}

/* The item, when it has this key, is signed, and is better than the last. */
static void take_item(struct lookup *l, const struct sp_krpc *msg)
{
    struct sp_dht *d = l->d;
    struct sp_slice salt = {l->salt, l->salt_len};
    struct sp_dht_item item;
    struct sp_dht_event *ev;

    if (l->puts || !sp_dht_item_of(msg, salt, &item))
        return;
    /* BEP-0044: "the key they get back from a get request MUST be verified to
     * hash to the target ID the lookup was made for, as well as verifying the
     * signature" */
    struct sp_dht_id target = sp_dht_item_target(&item);
    bool better = !l->item || (item.is_mutable && item.seq > l->item->seq);
    if (!better || !sp_dht_id_eq(&target, &l->target) ||
        !sp_dht_item_is_signed(&item, d->verify, d->verify_ctx))
        return;
    if (!l->item && !(l->item = SP_NEW(d->mem, struct sp_dht_item)))
        return;
    *l->item = item;
    if (!(ev = sp_queue_push(&d->events, d->mem)))
        return;
    ev->kind = SP_DHT_ITEM;
    ev->lookup = l->id;
    ev->target = l->target;
    ev->item = item;
}

void sp_dht_lookup_joined(struct lookup *l, const struct sp_dht_contact *who, sp_time_ns now)
{
    struct cand *c = insert(l, who, 0);
    (void)now;
    if (c)
        c->state = CAND_ASKED;
}

void sp_dht_lookup_answered(struct lookup *l, const struct sp_dht_contact *from,
                            const struct sp_krpc *msg, sp_time_ns now)
{
    struct cand *c = find(l, &from->addr);
    bool v4 = l->d->table.family == SP_V4;

    if (c && (c->state == CAND_ASKED || c->state == CAND_LATE)) {
        c->state = CAND_ANSWERED;
        l->answered++;
        if (msg->token.len) {
            c->token_len = (uint8_t)msg->token.len;
            memcpy(c->token, msg->token.ptr, msg->token.len);
        }
        c->has_item = msg->has_seq || msg->v.len;
        if (l->method == SP_KRPC_GET_PEERS)
            tell_peers(l, msg, &from->addr);
        else if (l->method == SP_KRPC_GET)
            take_item(l, msg);
        take_nodes(l, v4 ? msg->nodes : msg->nodes6, c);
    }
    go_on(l, now);
}

void sp_dht_lookup_late(struct lookup *l, const struct sp_dht_contact *who, sp_time_ns now)
{
    struct cand *c = find(l, &who->addr);
    if (c && c->state == CAND_ASKED) {
        c->state = CAND_LATE;
        l->late++;
    }
    go_on(l, now);
}

void sp_dht_lookup_failed(struct lookup *l, const struct sp_dht_contact *who, sp_time_ns now)
{
    struct cand *c = find(l, &who->addr);
    if (c && (c->state == CAND_ASKED || c->state == CAND_LATE))
        c->state = CAND_FAILED;
    go_on(l, now);
}
