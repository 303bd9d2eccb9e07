/* What others ask of us.
 *
 * Anybody can write any address on a datagram, so an answer may go to a victim:
 * to who has not proved that it is where it says, no more than AMPLIFY_MAX times
 * the bytes of the question are sent.  Proof is an answer to a question of ours
 * (it is in the table), or a token that we sent there.  Where less would be of no
 * use, an item that is too long, the question is held and its sender pinged.
 */
#include "core/dht/state.h"

enum { AMPLIFY_MAX = 3, GUARD_BURST = 30, VALUES_FULL = 50, FEW = 4, ITEM_FRAME = 130 };

#define GUARD_SPAN_NS (5 * SP_SECOND_NS)

/* ---- who may ask ---- */

/* Asks more than GUARD_BURST times in GUARD_SPAN_NS.  A table of few places:
 * who shares one with a flood is held up for a while. */
static bool is_flood(struct sp_dht *d, const struct sp_addr *from, sp_time_ns now)
{
    if (sp_addr_scope(from) != SP_SCOPE_GLOBAL)
        return false;
    if (!d->guards && !(d->guards = SP_NEW_ARRAY(d->mem, struct guard, GUARDS)))
        return false;
    uint64_t who = sp_hash_bytes(&d->key, from->ip, sp_addr_ip_len(from));
    struct guard *g = &d->guards[who % GUARDS];
    if (g->who != who || now - g->since > GUARD_SPAN_NS)
        *g = (struct guard){.who = who, .since = now};
    return ++g->count > GUARD_BURST;
}

/* ---- tokens ---- */

/* BEP-0005: "The BitTorrent implementation uses the SHA1 hash of the IP address
 * concatenated onto a secret that changes every five minutes and tokens up to
 * ten minutes old are accepted."  Ours also holds for one key alone. */
static uint64_t token_of(const struct sp_dht *d, const struct sp_addr *from,
                         const struct sp_dht_id *hash, uint64_t epoch)
{
    uint8_t in[16 + SP_DHT_ID_LEN + 8];
    memcpy(in, from->ip, 16);
    memcpy(in + 16, hash->b, SP_DHT_ID_LEN);
    memcpy(in + 16 + SP_DHT_ID_LEN, &epoch, sizeof(epoch));
    return sp_hash_bytes(&d->key, in, sizeof(in));
}

static bool is_token(const struct sp_dht *d, const struct sp_addr *from,
                     const struct sp_dht_id *hash, struct sp_slice token, sp_time_ns now)
{
    uint64_t got, epoch = now / EPOCH_NS + 1;
    if (token.len != TOKEN_LEN)
        return false;
    memcpy(&got, token.ptr, sizeof(got));
    return got == token_of(d, from, hash, epoch) || got == token_of(d, from, hash, epoch - 1);
}

/* ---- replies ---- */

static struct sp_krpc reply_to(const struct sp_dht *d, const struct sp_addr *from,
                               const struct sp_krpc *msg)
{
    return (struct sp_krpc){
        .kind = SP_KRPC_REPLY,
        .txn = msg->txn,
        .version = {d->version, sizeof(d->version)},
        /* BEP-0042: "all DHT responses SHOULD include a top-level field called
         * ip, containing a compact binary representation of the requestor's IP
         * and port" */
        .ip = *from,
        .has_id = true,
        .id = d->table.self,
    };
}

/* Writes m with as much as fits.  Scrape filters go first, then peers and nodes
 * down to a few: peers are what is looked for, but a lookup whose every answer
 * lacks the nodes nearest to its key never ends. */
static void send_fitting(struct sp_dht *d, const struct sp_addr *to, struct sp_krpc *m, size_t max)
{
    size_t each = SP_DHT_ID_LEN + (d->table.family == SP_V4 ? SP_COMPACT4_LEN : SP_COMPACT6_LEN);
    struct sp_slice *nodes = d->table.family == SP_V4 ? &m->nodes : &m->nodes6;

    while (!sp_dht_put_packet(d, to, m, max)) {
        if (m->bloom_seeds.len)
            m->bloom_seeds.len = m->bloom_peers.len = 0;
        else if (m->value_count > FEW)
            m->value_count = m->value_count / 2 > FEW ? m->value_count / 2 : FEW;
        else if (nodes->len > FEW * each)
            nodes->len -= each;
        else if (m->value_count)
            m->value_count--;
        else if (m->v.len) /* its number stays */
            m->v.len = m->key.len = m->sig.len = 0;
        else if (nodes->len)
            nodes->len -= each;
        else
            return; /* the queue is full, or the question was tiny */
    }
    const struct sp_dht_packet *p = sp_queue_at(&d->out, d->out.count - 1);
    sp_bucket_take(&d->up, p->len);
    d->stats.replies_out++;
}

static void send_error(struct sp_dht *d, const struct sp_addr *to, const struct sp_krpc *msg,
                       enum sp_krpc_error error, const char *text, size_t max)
{
    struct sp_krpc m = {
        .kind = SP_KRPC_ERROR,
        .txn = msg->txn,
        .version = {d->version, sizeof(d->version)},
        .ip = *to,
        .error = error,
        .error_text = {(const uint8_t *)text, strlen(text)},
    };
    send_fitting(d, to, &m, max);
}

static void add_nodes(const struct sp_dht *d, struct sp_krpc *m, const struct sp_dht_id *target,
                      uint8_t buf[SP_DHT_K * 38], sp_time_ns now)
{
    struct sp_dht_known known[SP_DHT_K];
    uint32_t n = sp_dht_table_closest(&d->table, target, known, SP_DHT_K, now);
    size_t len = 0;

    for (uint32_t i = 0; i < n; i++) {
        uint8_t compact[SP_COMPACT6_LEN];
        size_t compact_len = sp_addr_compact(&known[i].contact.addr, compact);
        memcpy(buf + len, known[i].contact.id.b, SP_DHT_ID_LEN);
        memcpy(buf + len + SP_DHT_ID_LEN, compact, compact_len);
        len += SP_DHT_ID_LEN + compact_len;
    }
    *(d->table.family == SP_V4 ? &m->nodes : &m->nodes6) = (struct sp_slice){buf, len};
}

/* ---- questions that wait for proof ---- */

static bool hold(struct sp_dht *d, const struct sp_dht_contact *c, struct sp_slice bytes,
                 sp_time_ns now)
{
    struct sp_krpc ping = {.method = SP_KRPC_PING};
    if (bytes.len > HELD_LEN)
        return false;
    if (!d->held && !(d->held = SP_NEW_ARRAY(d->mem, struct held, HELD_MAX)))
        return false;
    if (!sp_dht_ask(d, c, true, 0, &ping, now))
        return false;
    struct held *h = &d->held[d->held_at++ % HELD_MAX];
    *h = (struct held){.from = c->addr, .at = now, .len = (uint32_t)bytes.len};
    memcpy(h->bytes, bytes.ptr, bytes.len);
    return true;
}

/* ---- queries ---- */

static void get_peers(struct sp_dht *d, const struct sp_addr *from, const struct sp_krpc *msg,
                      size_t max, sp_time_ns now)
{
    struct sp_krpc m = reply_to(d, from, msg);
    uint8_t nodes[SP_DHT_K * 38], seeds[SP_KRPC_BLOOM_LEN], peers[SP_KRPC_BLOOM_LEN];
    uint64_t token = token_of(d, from, &msg->target, now / EPOCH_NS + 1);

    /* BEP-0005 says values or nodes; all of today's clients take both, and with
     * both no lookup ends at a node that has a few peers. */
    add_nodes(d, &m, &msg->target, nodes, now);
    if (sp_dht_peers_may_grow(&d->store, &msg->target))
        m.token = (struct sp_slice){(const uint8_t *)&token, sizeof(token)};
    m.value_count = sp_dht_peers_get(&d->store, &msg->target, msg->no_seed, m.values, VALUES_FULL);
    if (msg->scrape && sp_dht_peers_scrape(&d->store, &msg->target, seeds, peers)) {
        m.bloom_seeds = (struct sp_slice){seeds, sizeof(seeds)};
        m.bloom_peers = (struct sp_slice){peers, sizeof(peers)};
    }
    send_fitting(d, from, &m, max);
}

static void announce_peer(struct sp_dht *d, const struct sp_addr *from, const struct sp_krpc *msg,
                          size_t max, sp_time_ns now)
{
    struct sp_addr peer = *from;
    struct sp_krpc m = reply_to(d, from, msg);

    if (!is_token(d, from, &msg->target, msg->token, now)) {
        send_error(d, from, msg, SP_KRPC_E_PROTOCOL, "bad token", max);
        return;
    }
    /* BEP-0005: "If it is present and non-zero, the port argument should be
     * ignored and the source port of the UDP packet should be used" */
    if (!msg->implied_port)
        peer.port = msg->port;
    if (peer.port == 0) {
        send_error(d, from, msg, SP_KRPC_E_PROTOCOL, "no port", max);
        return;
    }
    enum sp_err err =
        sp_dht_peers_put(&d->store, &d->table.self, &msg->target, &peer, msg->seed, now);
    if (err != SP_OK)
        send_error(d, from, msg, SP_KRPC_E_SERVER, "full", max);
    else
        send_fitting(d, from, &m, max);
}

static void sample(struct sp_dht *d, const struct sp_addr *from, const struct sp_krpc *msg,
                   size_t max, sp_time_ns now)
{
    struct sp_krpc m = reply_to(d, from, msg);
    uint8_t nodes[SP_DHT_K * 38];
    const struct sp_dht_id *keys;
    uint32_t interval, n = sp_dht_peers_sample(&d->store, now, &keys, &interval);
    size_t room = max / 2 / SP_DHT_ID_LEN; /* the rest is for nodes and frame */

    add_nodes(d, &m, &msg->target, nodes, now);
    m.has_samples = true;
    m.samples = (struct sp_slice){keys[0].b, (n < room ? n : room) * SP_DHT_ID_LEN};
    m.num = d->store.count;
    m.interval = interval;
    send_fitting(d, from, &m, max);
}

/* BEP-0044: "The optional seq field specifies that an item's value should only
 * be sent if its sequence number is greater than the given value." */
static void get(struct sp_dht *d, const struct sp_addr *from, const struct sp_krpc *msg,
                struct sp_slice bytes, size_t max, sp_time_ns now)
{
    struct sp_dht_contact c = {msg->id, *from};
    struct sp_krpc m = reply_to(d, from, msg);
    uint8_t nodes[SP_DHT_K * 38];
    uint64_t token = token_of(d, from, &msg->target, now / EPOCH_NS + 1);
    const struct sp_dht_item *item = sp_dht_items_get(&d->items, &msg->target);

    add_nodes(d, &m, &msg->target, nodes, now);
    m.token = (struct sp_slice){(const uint8_t *)&token, sizeof(token)};
    if (item) {
        m.has_seq = item->is_mutable;
        m.seq = item->seq;
    }
    if (item && !(msg->has_seq && item->is_mutable && item->seq <= msg->seq)) {
        m.v = (struct sp_slice){item->v, item->v_len};
        m.key = (struct sp_slice){item->key, item->is_mutable ? sizeof(item->key) : 0};
        m.sig = (struct sp_slice){item->sig, item->is_mutable ? sizeof(item->sig) : 0};
        if (max < SP_KRPC_REPLY_MAX && m.v.len + m.key.len + m.sig.len + ITEM_FRAME > max &&
            hold(d, &c, bytes, now))
            return;
    }
    send_fitting(d, from, &m, max);
}

static const char *put_error_text(int error)
{
    switch (error) {
    case SP_KRPC_E_CAS:
        return "the sequence number is another";
    case SP_KRPC_E_SEQ:
        return "sequence number less than current";
    default:
        return "full";
    }
}

static void put(struct sp_dht *d, const struct sp_addr *from, const struct sp_krpc *msg, size_t max,
                sp_time_ns now)
{
    struct sp_krpc m = reply_to(d, from, msg);
    struct sp_dht_item item;

    if (msg->v_too_big || msg->salt_too_big) {
        send_error(d, from, msg, msg->v_too_big ? SP_KRPC_E_TOO_BIG : SP_KRPC_E_SALT,
                   msg->v_too_big ? "message too big" : "salt too big", max);
        return;
    }
    if (!sp_dht_item_of(msg, msg->salt, &item)) {
        send_error(d, from, msg, SP_KRPC_E_PROTOCOL, "no item", max);
        return;
    }
    struct sp_dht_id target = sp_dht_item_target(&item);
    if (!is_token(d, from, &target, msg->token, now)) {
        send_error(d, from, msg, SP_KRPC_E_PROTOCOL, "bad token", max);
        return;
    }
    /* Last, as it costs most; a token is needed to make us do it. */
    if (!sp_dht_item_is_signed(&item, d->verify, d->verify_ctx)) {
        send_error(d, from, msg, SP_KRPC_E_SIGNATURE, "invalid signature", max);
        return;
    }
    int error = sp_dht_items_put(&d->items, &d->table.self, &item, msg->has_cas, msg->cas, now);
    if (error)
        send_error(d, from, msg, (enum sp_krpc_error)error, put_error_text(error), max);
    else
        send_fitting(d, from, &m, max);
}

static void answer(struct sp_dht *d, const struct sp_addr *from, const struct sp_krpc *msg,
                   struct sp_slice bytes, size_t max, sp_time_ns now)
{
    struct sp_krpc m = reply_to(d, from, msg);
    uint8_t nodes[SP_DHT_K * 38];
    bool unknown = msg->method == SP_KRPC_UNKNOWN;

    if (msg->method != SP_KRPC_PING && msg->method != SP_KRPC_PUT && !msg->has_target) {
        send_error(d, from, msg, unknown ? SP_KRPC_E_METHOD : SP_KRPC_E_PROTOCOL,
                   unknown ? "unknown method" : "no target", max);
        return;
    }
    switch (msg->method) {
    case SP_KRPC_GET_PEERS:
        get_peers(d, from, msg, max, now);
        return;
    case SP_KRPC_ANNOUNCE_PEER:
        announce_peer(d, from, msg, max, now);
        return;
    case SP_KRPC_SAMPLE:
        sample(d, from, msg, max, now);
        return;
    case SP_KRPC_GET:
        get(d, from, msg, bytes, max, now);
        return;
    case SP_KRPC_PUT:
        put(d, from, msg, max, now);
        return;
    case SP_KRPC_PING:
        send_fitting(d, from, &m, max);
        return;
    /* Custom: seen in libtorrent: what has a target and is not known is answered
     * as find_node is, so that lookups of newer kinds pass through. */
    case SP_KRPC_FIND_NODE:
    case SP_KRPC_UNKNOWN:
        break;
    }
    add_nodes(d, &m, &msg->target, nodes, now);
    send_fitting(d, from, &m, max);
}

void sp_dht_serve_held(struct sp_dht *d, const struct sp_addr *from, sp_time_ns now)
{
    for (uint32_t i = 0; d->held && i < HELD_MAX; i++) {
        struct held *h = &d->held[i];
        struct sp_slice bytes = {h->bytes, h->len};
        struct sp_krpc msg;
        if (!h->len || !sp_addr_eq(&h->from, from))
            continue;
        h->len = 0;
        if (now - h->at < RPC_TIMEOUT_NS && sp_krpc_read(bytes, &msg) == SP_OK)
            answer(d, from, &msg, bytes, SP_KRPC_REPLY_MAX, now);
    }
}

void sp_dht_serve(struct sp_dht *d, const struct sp_addr *from, const struct sp_krpc *msg,
                  struct sp_slice bytes, sp_time_ns now)
{
    struct sp_dht_contact c = {msg->id, *from};
    bool proven = sp_dht_table_has(&d->table, &c) ||
                  (msg->has_target && is_token(d, from, &msg->target, msg->token, now));

    d->stats.queries_in++;
    /* BEP-0043: "It no longer responds to 'query' messages that it receives" */
    if (d->read_only || is_flood(d, from, now) || sp_bucket_room(&d->up, now) == 0) {
        d->stats.dropped++;
        return;
    }
    size_t max = proven ? SP_KRPC_REPLY_MAX : AMPLIFY_MAX * bytes.len;
    answer(d, from, msg, bytes, max < SP_KRPC_REPLY_MAX ? max : SP_KRPC_REPLY_MAX, now);
    sp_dht_table_heard(&d->table, &c, now);
    /* BEP-0043: "the node should not add the message sender to its routing
     * table"; the others are asked whether they are there. */
    if (!msg->read_only && !proven && d->rpc_count < RPCS_MAX / 4 &&
        sp_dht_table_wants(&d->table, &c)) {
        struct sp_krpc ping = {.method = SP_KRPC_PING};
        (void)sp_dht_ask(d, &c, true, 0, &ping, now);
    }
}
