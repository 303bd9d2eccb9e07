#include "core/tracker/udp.h"

#include <assert.h>

/* BEP-0015: "A client can use a connection ID until one minute after it has received it." */
#define ID_LIFE_NS (60 * SP_SECOND_NS)

enum conn_state {
    CONN_NEW,        /* no id, none asked for */
    CONN_CONNECTING, /* a connect is sent, or queued to be sent */
    CONN_READY,      /* id may be used until timer.at */
};

/* One address of a tracker. */
struct sp_udp_conn {
    struct sp_addr addr;
    enum conn_state state;
    uint64_t id;
    uint32_t transaction, slot, addr_slot, tries;
    uint32_t asks; /* that point here */
    struct sp_udp_ask *wait_head, *wait_tail;
    struct sp_udp_send send;
    struct sp_timer timer;
};

/* -- slots: what a transaction or an address stands for -- */

static bool grow_slots(struct sp_udp *u)
{
    uint32_t cap = u->slot_cap ? u->slot_cap * 2 : 16;
    struct sp_udp_slot *slots =
        sp_mem_grow(u->mem, u->slots, u->slot_cap, cap, sizeof(struct sp_udp_slot));
    if (!slots)
        return false;
    for (uint32_t i = cap; i > u->slot_cap; i--) {
        slots[i - 1].next_free = u->slot_free;
        u->slot_free = i;
    }
    u->slots = slots;
    u->slot_cap = cap;
    return true;
}

static bool take_slot(struct sp_udp *u, uint32_t *ret_slot)
{
    if (u->slot_free == 0 && !grow_slots(u))
        return false;
    *ret_slot = u->slot_free - 1;
    u->slot_free = u->slots[*ret_slot].next_free;
    u->slots[*ret_slot] = (struct sp_udp_slot){0};
    return true;
}

static void give_slot(struct sp_udp *u, uint32_t slot)
{
    u->slots[slot] = (struct sp_udp_slot){.next_free = u->slot_free};
    u->slot_free = slot + 1;
}

static bool is_transaction(const void *owner, uint32_t ix, const void *key)
{
    const struct sp_udp *u = owner;
    return u->slots[ix].transaction == *(const uint32_t *)key;
}

static bool is_addr(const void *owner, uint32_t ix, const void *key)
{
    const struct sp_udp *u = owner;
    return u->slots[ix].conn && sp_addr_eq(&u->slots[ix].conn->addr, key);
}

static uint64_t hash_transaction(const struct sp_udp *u, uint32_t transaction)
{
    return sp_hash_bytes(&u->key, &transaction, sizeof(transaction));
}

static uint32_t find_transaction(const struct sp_udp *u, uint32_t transaction)
{
    return sp_map_find(&u->by_transaction, hash_transaction(u, transaction), &transaction,
                       is_transaction, u);
}

/* A slot with a fresh transaction; the caller puts its pointer in. */
static bool open_transaction(struct sp_udp *u, uint32_t *ret_slot, uint32_t *ret_transaction)
{
    uint32_t slot, transaction;
    do
        transaction = (uint32_t)sp_rng_u64(u->rng);
    while (find_transaction(u, transaction) != SP_MAP_NONE);
    if (!take_slot(u, &slot))
        return false;
    u->slots[slot].transaction = transaction;
    if (sp_map_put(&u->by_transaction, hash_transaction(u, transaction), slot) != SP_OK) {
        give_slot(u, slot);
        return false;
    }
    *ret_slot = slot;
    *ret_transaction = transaction;
    return true;
}

static void close_transaction(struct sp_udp *u, uint32_t slot)
{
    sp_map_del(&u->by_transaction, hash_transaction(u, u->slots[slot].transaction), slot);
    give_slot(u, slot);
}

/* -- lists -- */

static void queue_send(struct sp_udp *u, struct sp_udp_send *s)
{
    if (s->is_queued)
        return;
    s->is_queued = true;
    s->next = NULL;
    if (u->send_tail)
        u->send_tail->next = s;
    else
        u->send_head = s;
    u->send_tail = s;
}

static void unqueue_send(struct sp_udp *u, struct sp_udp_send *s)
{
    struct sp_udp_send **at = &u->send_head, *before = NULL;
    if (!s->is_queued)
        return;
    while (*at != s) {
        before = *at;
        at = &(*at)->next;
    }
    *at = s->next;
    if (u->send_tail == s)
        u->send_tail = before;
    s->is_queued = false;
}

static void list_add(struct sp_udp_ask **head, struct sp_udp_ask **tail, struct sp_udp_ask *ask)
{
    ask->prev = *tail;
    ask->next = NULL;
    if (*tail)
        (*tail)->next = ask;
    else
        *head = ask;
    *tail = ask;
}

static void list_del(struct sp_udp_ask **head, struct sp_udp_ask **tail, struct sp_udp_ask *ask)
{
    *(ask->prev ? &ask->prev->next : head) = ask->next;
    *(ask->next ? &ask->next->prev : tail) = ask->prev;
    ask->prev = ask->next = NULL;
}

/* -- connections -- */

static struct sp_udp_conn *find_conn(const struct sp_udp *u, const struct sp_addr *addr)
{
    uint32_t slot = sp_map_find(&u->by_addr, sp_addr_hash(&u->key, addr), addr, is_addr, u);
    return slot == SP_MAP_NONE ? NULL : u->slots[slot].conn;
}

/* With its transaction at once, so that nothing can fail later. */
static struct sp_udp_conn *make_conn(struct sp_udp *u, const struct sp_addr *addr)
{
    struct sp_udp_conn *c = SP_NEW(u->mem, struct sp_udp_conn);
    if (!c)
        return NULL;
    c->addr = *addr;
    c->send.is_conn = true;
    if (!take_slot(u, &c->addr_slot))
        goto fail;
    u->slots[c->addr_slot].conn = c;
    if (!open_transaction(u, &c->slot, &c->transaction))
        goto fail_slot;
    u->slots[c->slot].conn = c;
    if (sp_map_put(&u->by_addr, sp_addr_hash(&u->key, addr), c->addr_slot) == SP_OK)
        return c;
    close_transaction(u, c->slot);
fail_slot:
    give_slot(u, c->addr_slot);
fail:
    sp_mem_free(u->mem, c);
    return NULL;
}

static void free_conn(struct sp_udp *u, struct sp_udp_conn *c)
{
    sp_timers_clear(&u->conn_timers, &c->timer);
    unqueue_send(u, &c->send);
    sp_map_del(&u->by_addr, sp_addr_hash(&u->key, &c->addr), c->addr_slot);
    give_slot(u, c->addr_slot);
    close_transaction(u, c->slot);
    sp_mem_free(u->mem, c);
}

static void free_conn_unless_used(struct sp_udp *u, struct sp_udp_conn *c)
{
    if (c->asks == 0 && c->state != CONN_READY)
        free_conn(u, c);
}

static void forget_id(struct sp_udp *u, struct sp_udp_conn *c)
{
    if (c->state != CONN_READY)
        return;
    sp_timers_clear(&u->conn_timers, &c->timer);
    c->state = CONN_NEW;
}

/* n: how many times the one who asks has sent already. */
static void need_id(struct sp_udp *u, struct sp_udp_conn *c, uint32_t n)
{
    if (c->state != CONN_NEW)
        return;
    /* BEP-0015: "Choose a random transaction ID."  What was just given back is enough for
     * it, so this cannot fail. */
    close_transaction(u, c->slot);
    bool opened = open_transaction(u, &c->slot, &c->transaction);
    assert(opened);
    u->slots[c->slot].conn = c;
    c->state = CONN_CONNECTING;
    c->tries = n;
    queue_send(u, &c->send);
}

/* -- asks -- */

static void wait_for_id(struct sp_udp *u, struct sp_udp_ask *ask)
{
    ask->state = SP_UDP_WAIT_ID;
    list_add(&ask->conn->wait_head, &ask->conn->wait_tail, ask);
    need_id(u, ask->conn, ask->tries);
}

static void send_or_connect(struct sp_udp *u, struct sp_udp_ask *ask, sp_time_ns now)
{
    struct sp_udp_conn *c = ask->conn;
    if (c->state == CONN_READY && c->timer.at <= now)
        forget_id(u, c);
    if (c->state != CONN_READY) {
        wait_for_id(u, ask);
        return;
    }
    ask->state = SP_UDP_WAIT_ANSWER;
    ask->used_id = c->id;
    queue_send(u, &ask->send);
}

/* Takes it out of everything. */
static void end(struct sp_udp *u, struct sp_udp_ask *ask)
{
    struct sp_udp_conn *c = ask->conn;
    assert(c);
    if (ask->state == SP_UDP_WAIT_ID)
        list_del(&c->wait_head, &c->wait_tail, ask);
    unqueue_send(u, &ask->send);
    sp_timers_clear(&u->ask_timers, &ask->timer);
    close_transaction(u, ask->slot);
    ask->state = SP_UDP_ENDED;
    ask->conn = NULL;
    c->asks--;
}

static void fail(struct sp_udp *u, struct sp_udp_ask *ask)
{
    end(u, ask);
    ask->state = SP_UDP_FAILED;
    list_add(&u->failed_head, &u->failed_tail, ask);
}

enum sp_err sp_udp_begin(struct sp_udp *u, struct sp_udp_ask *ask, sp_time_ns now)
{
    struct sp_udp_conn *c = find_conn(u, &ask->to);
    uint32_t timers = u->by_transaction.count + 2; /* each has a transaction */
    if (sp_timers_reserve(&u->conn_timers, timers) != SP_OK ||
        sp_timers_reserve(&u->ask_timers, timers) != SP_OK)
        return SP_ENOMEM;
    if (!c)
        c = make_conn(u, &ask->to);
    if (!c)
        return SP_ENOMEM;
    if (!open_transaction(u, &ask->slot, &ask->transaction)) {
        free_conn_unless_used(u, c);
        return SP_ENOMEM;
    }
    u->slots[ask->slot].ask = ask;
    ask->conn = c;
    ask->tries = 0;
    ask->was_sent = ask->reconnected = false;
    ask->id_is_old = c->state == CONN_READY;
    ask->message[0] = '\0';
    ask->send = (struct sp_udp_send){0};
    ask->timer = (struct sp_timer){0};
    c->asks++;
    send_or_connect(u, ask, now);
    return SP_OK;
}

void sp_udp_cancel(struct sp_udp *u, struct sp_udp_ask *ask)
{
    if (ask->state == SP_UDP_ENDED)
        return;
    if (ask->state == SP_UDP_FAILED) {
        list_del(&u->failed_head, &u->failed_tail, ask);
        ask->state = SP_UDP_ENDED;
        return;
    }
    struct sp_udp_conn *c = ask->conn;
    end(u, ask);
    free_conn_unless_used(u, c);
}

/* -- what comes -- */

static void release_waiting(struct sp_udp *u, struct sp_udp_conn *c, sp_time_ns now)
{
    while (c->wait_head) {
        struct sp_udp_ask *ask = c->wait_head;
        list_del(&c->wait_head, &c->wait_tail, ask);
        ask->id_is_old = false;
        send_or_connect(u, ask, now);
    }
}

static void fail_waiting(struct sp_udp *u, struct sp_udp_conn *c, struct sp_slice message)
{
    while (c->wait_head) {
        struct sp_udp_ask *ask = c->wait_head;
        size_t len = message.len < sizeof(ask->message) ? message.len : sizeof(ask->message) - 1;
        memset(ask->message, 0, sizeof(ask->message));
        if (len > 0)
            memcpy(ask->message, message.ptr, len);
        fail(u, ask);
    }
    sp_timers_clear(&u->conn_timers, &c->timer);
    unqueue_send(u, &c->send);
    c->state = CONN_NEW;
    free_conn_unless_used(u, c);
}

static void recv_connect(struct sp_udp *u, struct sp_udp_conn *c, struct sp_slice packet,
                         sp_time_ns now)
{
    uint32_t action = sp_be32(packet.ptr);
    if (c->state != CONN_CONNECTING)
        return;
    if (action == SP_UDP_ERROR) {
        fail_waiting(u, c, sp_udp_read_error(packet));
        return;
    }
    /* BEP-0015: "Check whether the action is connect." */
    if (action != SP_UDP_CONNECT || sp_udp_read_connect(packet, &c->id) != SP_OK)
        return;
    unqueue_send(u, &c->send);
    c->state = CONN_READY;
    sp_timers_set(&u->conn_timers, &c->timer, now + ID_LIFE_NS);
    release_waiting(u, c, now);
}

static bool says_connection(struct sp_slice message)
{
    static const char word[] = "onnection";
    for (size_t i = 0; i + sizeof(word) - 1 <= message.len; i++) {
        if (memcmp(message.ptr + i, word, sizeof(word) - 1) == 0)
            return true;
    }
    return false;
}

/* A tracker that was restarted does not know the id that it gave before. */
static bool should_reconnect(const struct sp_udp_ask *ask, struct sp_slice packet)
{
    return ask->id_is_old && !ask->reconnected && sp_be32(packet.ptr) == SP_UDP_ERROR &&
           says_connection(sp_udp_read_error(packet));
}

static void reconnect(struct sp_udp *u, struct sp_udp_ask *ask, sp_time_ns now)
{
    unqueue_send(u, &ask->send);
    sp_timers_clear(&u->ask_timers, &ask->timer);
    ask->reconnected = true;
    if (ask->conn->state == CONN_READY && ask->conn->id == ask->used_id)
        forget_id(u, ask->conn);
    send_or_connect(u, ask, now);
}

static bool is_answer(const struct sp_udp_ask *ask, struct sp_slice packet)
{
    uint32_t action = sp_be32(packet.ptr);
    if (ask->state != SP_UDP_WAIT_ANSWER || !ask->was_sent)
        return false;
    if (action == SP_UDP_ERROR)
        return true;
    return action == (uint32_t)ask->action && packet.len >= (action == SP_UDP_ANNOUNCE ? 20 : 8);
}

bool sp_udp_recv(struct sp_udp *u, const struct sp_addr *from, struct sp_slice packet,
                 sp_time_ns now, struct sp_udp_ask **ret_answered)
{
    *ret_answered = NULL;
    if (packet.len < 8 || sp_be32(packet.ptr) > SP_UDP_ERROR)
        return false;
    uint32_t slot = find_transaction(u, sp_be32(packet.ptr + 4));
    if (slot == SP_MAP_NONE)
        return false;

    struct sp_udp_conn *c = u->slots[slot].conn;
    struct sp_udp_ask *ask = u->slots[slot].ask;
    if (!sp_addr_eq(from, c ? &c->addr : &ask->to))
        return false;
    if (c) {
        recv_connect(u, c, packet, now);
        return true;
    }
    if (!is_answer(ask, packet))
        return true;
    if (should_reconnect(ask, packet)) {
        reconnect(u, ask, now);
        return true;
    }
    c = ask->conn;
    end(u, ask);
    free_conn_unless_used(u, c);
    *ret_answered = ask;
    return true;
}

/* -- time -- */

sp_time_ns sp_udp_deadline(const struct sp_udp *u)
{
    sp_time_ns conn = sp_timers_next(&u->conn_timers), ask = sp_timers_next(&u->ask_timers);
    return conn < ask ? conn : ask;
}

static void conn_is_due(struct sp_udp *u, struct sp_udp_conn *c)
{
    if (c->state == CONN_READY) {
        c->state = CONN_NEW;
        free_conn_unless_used(u, c);
    } else if (c->asks == 0 || c->tries >= u->tries_max) {
        fail_waiting(u, c, (struct sp_slice){0});
    } else {
        queue_send(u, &c->send);
    }
}

static void ask_is_due(struct sp_udp *u, struct sp_udp_ask *ask, sp_time_ns now)
{
    struct sp_udp_conn *c = ask->conn;
    if (ask->tries >= u->tries_max) {
        fail(u, ask);
        free_conn_unless_used(u, c);
    } else if (ask->id_is_old && !ask->reconnected) {
        /* Custom: trackers that drop unknown ids silently (aquatic): ask for a new one
         * before the old one is tried again. */
        reconnect(u, ask, now);
    } else {
        /* BEP-0015: "it is necessary to rerequest a connection ID when it has expired." */
        send_or_connect(u, ask, now);
    }
}

void sp_udp_tick(struct sp_udp *u, sp_time_ns now)
{
    struct sp_timer *t;
    while ((t = sp_timers_pop(&u->conn_timers, now)))
        conn_is_due(u, SP_CONTAINER(t, struct sp_udp_conn, timer));
    while ((t = sp_timers_pop(&u->ask_timers, now)))
        ask_is_due(u, SP_CONTAINER(t, struct sp_udp_ask, timer), now);
}

struct sp_udp_ask *sp_udp_next_failed(struct sp_udp *u)
{
    struct sp_udp_ask *ask = u->failed_head;
    if (ask) {
        list_del(&u->failed_head, &u->failed_tail, ask);
        ask->state = SP_UDP_ENDED;
    }
    return ask;
}

/* BEP-0015: "If a response is not received after 15 * 2 ^ n seconds, the client should
 * retransmit the request, where n starts at 0 and is increased up to 8."
 * BEP-0015, not followed: by default it starts at 5 s and ends after 3 sends, as trackers
 * answer in less than a second or not at all and the next one is waiting to be tried. */
static sp_time_ns wait_ns(const struct sp_udp *u, uint32_t tries)
{
    return u->base_ns << (tries < 8 ? tries : 8);
}

static void put_ask(struct sp_out *o, const struct sp_udp_ask *ask)
{
    if (ask->action == SP_UDP_SCRAPE)
        sp_udp_put_scrape(o, ask->used_id, ask->transaction, ask->hashes, ask->count);
    else
        sp_udp_put_announce(o, ask->used_id, ask->transaction, ask->announce, ask->target);
}

bool sp_udp_next_datagram(struct sp_udp *u, sp_time_ns now, struct sp_addr *ret_to,
                          struct sp_slice *ret_bytes)
{
    struct sp_out o = sp_out_of(u->packet, sizeof(u->packet));
    struct sp_udp_send *s = u->send_head;
    if (!s)
        return false;
    unqueue_send(u, s);
    if (s->is_conn) {
        struct sp_udp_conn *c = SP_CONTAINER(s, struct sp_udp_conn, send);
        sp_udp_put_connect(&o, c->transaction);
        sp_timers_set(&u->conn_timers, &c->timer, now + wait_ns(u, c->tries++));
        *ret_to = c->addr;
    } else {
        struct sp_udp_ask *ask = SP_CONTAINER(s, struct sp_udp_ask, send);
        put_ask(&o, ask);
        ask->was_sent = true;
        sp_timers_set(&u->ask_timers, &ask->timer, now + wait_ns(u, ask->tries++));
        *ret_to = ask->to;
    }
    assert(sp_out_err(&o) == SP_OK);
    *ret_bytes = (struct sp_slice){.ptr = u->packet, .len = o.len};
    return true;
}

void sp_udp_init(struct sp_udp *u, const struct sp_mem *mem, struct sp_rng *rng,
                 const struct sp_hash_key *key, sp_time_ns base_ns, uint32_t tries_max)
{
    *u = (struct sp_udp){
        .mem = mem, .rng = rng, .key = *key, .base_ns = base_ns, .tries_max = tries_max};
    u->conn_timers = sp_timers_of(mem);
    u->ask_timers = sp_timers_of(mem);
    u->by_addr = sp_map_of(mem);
    u->by_transaction = sp_map_of(mem);
}

void sp_udp_done(struct sp_udp *u)
{
    for (uint32_t i = 0; i < u->slot_cap; i++) {
        struct sp_udp_conn *c = u->slots[i].conn;
        if (c) {
            u->slots[c->slot].conn = u->slots[c->addr_slot].conn = NULL;
            sp_mem_free(u->mem, c);
        }
    }
    if (!u->mem)
        return;
    sp_mem_free(u->mem, u->slots);
    u->conn_timers.count = u->ask_timers.count = 0; /* what they were in is gone */
    sp_timers_done(&u->conn_timers);
    sp_timers_done(&u->ask_timers);
    sp_map_done(&u->by_addr);
    sp_map_done(&u->by_transaction);
    u->slots = NULL;
    u->slot_cap = u->slot_free = 0;
    u->send_head = u->send_tail = NULL;
    u->failed_head = u->failed_tail = NULL;
}
