/* A node driven by the input: packets as they are, answers to what it asked
 * last, time, lookups.  What it promises is asserted after each step: its
 * invariants, and that strangers get no more than three times what they sent. */
#include <stdlib.h>

#include "core/base/cur.h"
#include "core/dht/dht.h"

static int64_t live;

static void *get(void *ctx, size_t size)
{
    (void)ctx;
    live++;
    return calloc(1, size);
}

static void put(void *ctx, void *ptr)
{
    (void)ctx;
    live -= ptr != NULL;
    free(ptr);
}

static const struct sp_mem MEM = {get, put, NULL};

static void require(bool claim)
{
    if (!claim)
        abort();
}

static bool verify(void *ctx, const uint8_t key[SP_KRPC_KEY_LEN],
                   const uint8_t sig[SP_KRPC_SIG_LEN], struct sp_slice msg)
{
    (void)ctx;
    return key[0] == sig[0] && msg.len > 0;
}

struct run {
    struct sp_dht *d;
    struct sp_cur in;
    sp_time_ns now;
    struct sp_dht_packet asked[8]; /* its last questions */
    uint32_t asked_at;
    uint8_t token[SP_KRPC_TOKEN_MAX];
    size_t token_len;
};

/* Strangers are at 99.x and never answer; nodes are at 84.x. */
static struct sp_addr addr(uint8_t first, uint8_t n)
{
    uint8_t ip[4] = {first, n, (uint8_t)(n * 3), 5};
    return sp_addr_v4(ip, 6881);
}

/* A node's id follows from its address, so that it can be who it was named. */
static struct sp_dht_id id_of(uint8_t n)
{
    struct sp_dht_id id = {{(uint8_t)(n * 37), n}};
    return id;
}

static void name(struct run *r, uint32_t count, uint8_t *nodes, struct sp_slice *ret)
{
    for (uint32_t i = 0; i < count; i++) {
        uint8_t n = sp_cur_u8(&r->in), compact[SP_COMPACT6_LEN];
        struct sp_dht_id id = id_of(n);
        struct sp_addr a = addr(84, n);
        memcpy(nodes + 26 * i, id.b, 20);
        memcpy(nodes + 26 * i + 20, compact, sp_addr_compact(&a, compact));
    }
    *ret = (struct sp_slice){nodes, 26 * (size_t)count};
}

/* Takes what it sends; bytes of answers to `to`. */
static size_t drain(struct run *r, const struct sp_addr *to)
{
    struct sp_dht_packet p;
    size_t sum = 0;
    for (int n = 0; sp_dht_send(r->d, &p, r->now); n++) {
        struct sp_krpc m;
        require(n < 5000 && p.len <= SP_KRPC_REPLY_MAX);
        require(sp_krpc_read((struct sp_slice){p.bytes, p.len}, &m) == SP_OK);
        if (m.kind == SP_KRPC_QUERY) {
            r->asked[r->asked_at++ % 8] = p;
            continue;
        }
        if (m.token.len) {
            memcpy(r->token, m.token.ptr, m.token.len);
            r->token_len = m.token.len;
        }
        sum += to && sp_addr_eq(&p.to, to) ? p.len : 0;
    }
    return sum;
}

static void raw(struct run *r)
{
    uint8_t n = sp_cur_u8(&r->in);
    struct sp_addr from = addr(99, n);
    size_t len = sp_cur_u16(&r->in) % 600;
    if (len > sp_cur_left(&r->in))
        len = sp_cur_left(&r->in);
    struct sp_slice bytes = sp_cur_take(&r->in, len);
    (void)drain(r, NULL);
    (void)sp_dht_recv(r->d, &from, bytes, r->now);
    require(drain(r, &from) <= 3 * bytes.len);
}

/* A query that is well formed, from a stranger or, by chance, with a token. */
static void query(struct run *r)
{
    uint8_t how = sp_cur_u8(&r->in), out[SP_KRPC_REPLY_MAX];
    struct sp_krpc m = {.kind = SP_KRPC_QUERY, .has_id = true, .has_target = how & 8};
    struct sp_addr from = addr(99, how);
    struct sp_slice v = sp_cur_take(&r->in, how & 16 ? 20 : 0);
    size_t len;
    m.method = how % 8 < SP_KRPC_UNKNOWN ? (enum sp_krpc_method)(how % 8) : SP_KRPC_PING;
    m.txn = (struct sp_slice){(const uint8_t *)"tt", 2};
    m.id.b[0] = sp_cur_u8(&r->in);
    m.target.b[0] = sp_cur_u8(&r->in);
    m.port = how;
    m.scrape = how & 32;
    if (how & 64)
        m.token = (struct sp_slice){r->token, r->token_len};
    if (v.len == 20) {
        m.v = (struct sp_slice){(const uint8_t *)"4:spam", 6};
        m.salt = v;
    }
    if (sp_krpc_write(&m, out, sizeof(out), &len) != SP_OK)
        return;
    (void)drain(r, NULL);
    require(sp_dht_recv(r->d, &from, (struct sp_slice){out, len}, r->now));
    require(m.token.len || drain(r, &from) <= 3 * len);
}

static void answer(struct run *r)
{
    uint8_t how = sp_cur_u8(&r->in), out[SP_KRPC_REPLY_MAX];
    const struct sp_dht_packet *q = &r->asked[how % 8];
    uint8_t nodes[16 * 26];
    struct sp_krpc ask, m = {.kind = how & 8 ? SP_KRPC_ERROR : SP_KRPC_REPLY, .has_id = true};
    size_t len;
    if (sp_krpc_read((struct sp_slice){q->bytes, q->len}, &ask) != SP_OK)
        return;
    m.txn = ask.txn;
    m.error = 201;
    m.id = id_of(q->to.ip[1]);
    m.id.b[5] = sp_cur_u8(&r->in) == 255; /* now and then somebody else */
    name(r, how >> 4, nodes, &m.nodes);
    m.token = (struct sp_slice){(const uint8_t *)"token", how & 1 ? 5 : 0};
    m.values[0] = (struct sp_slice){(const uint8_t *)"abcdef", 6};
    m.value_count = how & 2 ? 1 : 0;
    m.v = (struct sp_slice){(const uint8_t *)"4:spam", how & 4 ? 6 : 0};
    if (sp_krpc_write(&m, out, sizeof(out), &len) == SP_OK)
        require(sp_dht_recv(r->d, &q->to, (struct sp_slice){out, len}, r->now));
}

static void look_up(struct run *r)
{
    uint8_t how = sp_cur_u8(&r->in);
    struct sp_dht_id target = {{sp_cur_u8(&r->in)}};
    struct sp_dht_announce as = {.port = how};
    struct sp_dht_item item = {.v_len = 6, .v = "4:spam"};
    struct sp_addr a = addr(84, sp_cur_u8(&r->in));
    switch (how % 8) {
    case 0:
        (void)sp_dht_find_node(r->d, &target, r->now);
        break;
    case 1:
        (void)sp_dht_get_peers(r->d, &target, &as, r->now);
        break;
    case 2:
        (void)sp_dht_get(r->d, &target, (struct sp_slice){0}, r->now);
        break;
    case 3:
        (void)sp_dht_put(r->d, &item, how & 8, 3, r->now);
        break;
    case 4:
        sp_dht_cancel(r->d, how >> 3);
        break;
    case 5:
        sp_dht_set_external(r->d, &a, r->now);
        break;
    default:
        sp_dht_add_addr(r->d, &a, r->now);
    }
}

static void step(struct run *r)
{
    struct sp_dht_event ev;
    switch (sp_cur_u8(&r->in) % 6) {
    case 0:
        raw(r);
        break;
    case 1:
        query(r);
        break;
    case 2:
    case 3:
        answer(r);
        break;
    case 4:
        r->now += sp_cur_u8(&r->in) * 100 * SP_MS_NS;
        sp_dht_tick(r->d, r->now);
        require(sp_dht_deadline(r->d) > r->now);
        break;
    default:
        look_up(r);
    }
    (void)drain(r, NULL);
    while (sp_dht_next(r->d, &ev))
        require(ev.kind != SP_DHT_PEERS || ev.count <= SP_DHT_EVENT_PEERS_MAX);
    require(sp_dht_broken(r->d) == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct run r = {.in = sp_cur_of((struct sp_slice){data, len}), .now = SP_SECOND_NS};
    struct sp_dht_cfg cfg = {.mem = &MEM, .seed = 7, .family = SP_V4, .verify = verify};
    live = 0;
    require(sp_dht_new(&cfg, r.now, &r.d) == SP_OK);
    for (int n = 0; n < 400 && sp_cur_left(&r.in) > 0; n++)
        step(&r);
    sp_dht_free(r.d);
    require(live == 0);
    return 0;
}
