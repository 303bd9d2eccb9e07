#include "core/dht/krpc.h"

#include "core/base/out.h"
#include "spate/bencode.h"

enum { VALUES_READ_MAX = 700, DEPTH_MAX = 12, LEN_MIN = 20 };

static const char names[][20] = {
    [SP_KRPC_PING] = "ping",
    [SP_KRPC_FIND_NODE] = "find_node",
    [SP_KRPC_GET_PEERS] = "get_peers",
    [SP_KRPC_ANNOUNCE_PEER] = "announce_peer",
    [SP_KRPC_GET] = "get",
    [SP_KRPC_PUT] = "put",
    [SP_KRPC_SAMPLE] = "sample_infohashes",
    [SP_KRPC_UNKNOWN] = "?",
};

const char *sp_krpc_method_name(enum sp_krpc_method method)
{
    return names[method];
}

/* ---- reading ---- */

/* The string of key, when it is min .. max bytes long. */
static bool str(const struct sp_ben *b, uint32_t dict, const char *key, size_t min, size_t max,
                struct sp_slice *ret)
{
    struct sp_slice s;
    if (!sp_ben_str(b, sp_ben_find(b, dict, key), &s) || s.len < min || s.len > max)
        return false;
    *ret = s;
    return true;
}

static bool id(const struct sp_ben *b, uint32_t dict, const char *key, struct sp_dht_id *ret)
{
    struct sp_slice s;
    if (!str(b, dict, key, SP_DHT_ID_LEN, SP_DHT_ID_LEN, &s))
        return false;
    memcpy(ret->b, s.ptr, SP_DHT_ID_LEN);
    return true;
}

static bool flag(const struct sp_ben *b, uint32_t dict, const char *key)
{
    int64_t v;
    return sp_ben_int(b, sp_ben_find(b, dict, key), INT64_MIN, INT64_MAX, &v) && v != 0;
}

/* A string that is a list of entries of `each` bytes. */
static void list(const struct sp_ben *b, uint32_t dict, const char *key, size_t each,
                 struct sp_slice *ret)
{
    struct sp_slice s;
    if (str(b, dict, key, 0, SP_KRPC_LEN_MAX, &s) && s.len % each == 0)
        *ret = s;
}

static void read_values(const struct sp_ben *b, uint32_t dict, struct sp_krpc *m)
{
    uint32_t values = sp_ben_find(b, dict, "values");
    if (!sp_ben_is(b, values, SP_BEN_LIST))
        return;
    for (uint32_t i = sp_ben_first(b, values);
         i != SP_BEN_NONE && m->value_count < SP_KRPC_VALUES_MAX; i = sp_ben_next(b, values, i)) {
        struct sp_slice s;
        if (sp_ben_str(b, i, &s) && (s.len == SP_COMPACT4_LEN || s.len == SP_COMPACT6_LEN))
            m->values[m->value_count++] = s;
    }
}

static void read_want(const struct sp_ben *b, uint32_t dict, struct sp_krpc *m)
{
    uint32_t want = sp_ben_find(b, dict, "want");
    if (!sp_ben_is(b, want, SP_BEN_LIST))
        return;
    for (uint32_t i = sp_ben_first(b, want); i != SP_BEN_NONE; i = sp_ben_next(b, want, i)) {
        m->want |= sp_ben_str_is(b, i, "n4") ? SP_KRPC_WANT_4 : 0;
        m->want |= sp_ben_str_is(b, i, "n6") ? SP_KRPC_WANT_6 : 0;
    }
}

/* The encoded bytes of any value. */
static struct sp_slice raw(const struct sp_ben *b, uint32_t ix)
{
    struct sp_slice s = {0};
    if (sp_ben_raw(b, ix, &s))
        return s;
    const struct sp_ben_tok *t = &b->toks[ix];
    s = (struct sp_slice){b->in.ptr + t->off, t->len};
    if (t->kind == SP_BEN_INT) /* i...e around the digits */
        return (struct sp_slice){s.ptr - 1, s.len + 2};
    size_t head = 2; /* "N:" before the bytes */
    for (size_t n = t->len; n >= 10; n /= 10)
        head++;
    return (struct sp_slice){s.ptr - head, s.len + head};
}

/* BEP-0044: "If the value in a put request contains invalid bencoding (e.g. a
 * dictionary with unsorted keys), the storing node MUST reject the request" */
static bool is_strict(struct sp_slice v)
{
    struct sp_ben_limits limits = {
        .depth_max = DEPTH_MAX, .tok_max = SP_KRPC_ITEM_MAX, .strict = true};
    struct sp_ben b;
    return sp_ben_read(v, &limits, NULL, &b, NULL) == SP_OK && b.end == v.len;
}

static void read_item(const struct sp_ben *b, uint32_t dict, struct sp_krpc *m)
{
    uint32_t v = sp_ben_find(b, dict, "v");
    struct sp_slice s;

    if (v != SP_BEN_NONE) {
        s = raw(b, v);
        m->v_too_big = s.len > SP_KRPC_ITEM_MAX;
        if (!m->v_too_big && is_strict(s))
            m->v = s;
    }
    (void)str(b, dict, "k", SP_KRPC_KEY_LEN, SP_KRPC_KEY_LEN, &m->key);
    (void)str(b, dict, "sig", SP_KRPC_SIG_LEN, SP_KRPC_SIG_LEN, &m->sig);
    if (str(b, dict, "salt", 0, SP_KRPC_LEN_MAX, &s)) {
        m->salt_too_big = s.len > SP_KRPC_SALT_MAX;
        if (!m->salt_too_big)
            m->salt = s;
    }
    /* BEP-0044: "A client MAY also reject any message with a negative sequence
     * number." */
    m->has_seq = sp_ben_int(b, sp_ben_find(b, dict, "seq"), 0, INT64_MAX, &m->seq);
    m->has_cas = sp_ben_int(b, sp_ben_find(b, dict, "cas"), 0, INT64_MAX, &m->cas);
}

static void read_body(const struct sp_ben *b, uint32_t dict, struct sp_krpc *m)
{
    int64_t port;

    m->has_id = id(b, dict, "id", &m->id);
    m->has_target = id(b, dict, "target", &m->target) || id(b, dict, "info_hash", &m->target);
    read_want(b, dict, m);
    (void)str(b, dict, "token", 1, SP_KRPC_TOKEN_MAX, &m->token);
    list(b, dict, "nodes", SP_DHT_ID_LEN + SP_COMPACT4_LEN, &m->nodes);
    list(b, dict, "nodes6", SP_DHT_ID_LEN + SP_COMPACT6_LEN, &m->nodes6);
    read_values(b, dict, m);
    if (sp_ben_int(b, sp_ben_find(b, dict, "port"), 1, 65535, &port))
        m->port = (uint16_t)port;
    m->implied_port = flag(b, dict, "implied_port");
    m->seed = flag(b, dict, "seed");
    m->no_seed = flag(b, dict, "noseed");
    m->scrape = flag(b, dict, "scrape");
    (void)str(b, dict, "BFsd", SP_KRPC_BLOOM_LEN, SP_KRPC_BLOOM_LEN, &m->bloom_seeds);
    (void)str(b, dict, "BFpe", SP_KRPC_BLOOM_LEN, SP_KRPC_BLOOM_LEN, &m->bloom_peers);
    read_item(b, dict, m);
    m->has_samples = sp_ben_is(b, sp_ben_find(b, dict, "samples"), SP_BEN_STR);
    list(b, dict, "samples", SP_DHT_ID_LEN, &m->samples);
    (void)sp_ben_int(b, sp_ben_find(b, dict, "num"), 0, INT32_MAX, &m->num);
    (void)sp_ben_int(b, sp_ben_find(b, dict, "interval"), 0, INT32_MAX, &m->interval);
}

static void read_ip(const struct sp_ben *b, struct sp_krpc *m)
{
    struct sp_slice s;
    if (str(b, 0, "ip", SP_COMPACT4_LEN, SP_COMPACT4_LEN, &s))
        m->ip = sp_addr_of_compact(s.ptr, SP_V4);
    else if (str(b, 0, "ip", SP_COMPACT6_LEN, SP_COMPACT6_LEN, &s))
        m->ip = sp_addr_of_compact(s.ptr, SP_V6);
    else if (str(b, 0, "ip", 4, 4, &s)) /* Custom: seen in older libtorrent: no port */
        m->ip = sp_addr_v4(s.ptr, 0);
    else if (str(b, 0, "ip", 16, 16, &s))
        m->ip = sp_addr_v6(s.ptr, 0);
}

static bool read_query(const struct sp_ben *b, struct sp_krpc *m)
{
    uint32_t q = sp_ben_find(b, 0, "q"), a = sp_ben_find(b, 0, "a");
    if (!sp_ben_is(b, q, SP_BEN_STR) || !sp_ben_is(b, a, SP_BEN_DICT))
        return false;
    m->kind = SP_KRPC_QUERY;
    m->method = SP_KRPC_PING;
    while (m->method < SP_KRPC_UNKNOWN && !sp_ben_str_is(b, q, names[m->method]))
        m->method++;
    read_body(b, a, m);
    return m->has_id;
}

static bool read_error(const struct sp_ben *b, struct sp_krpc *m)
{
    uint32_t e = sp_ben_find(b, 0, "e"), at;
    m->kind = SP_KRPC_ERROR;
    if (!sp_ben_is(b, e, SP_BEN_LIST))
        return true;
    at = sp_ben_first(b, e);
    (void)sp_ben_int(b, at, 0, INT32_MAX, &m->error);
    if (at != SP_BEN_NONE)
        (void)sp_ben_str(b, sp_ben_next(b, e, at), &m->error_text);
    return true;
}

enum sp_err sp_krpc_read(struct sp_slice packet, struct sp_krpc *ret_msg)
{
    struct sp_ben_tok toks[VALUES_READ_MAX];
    struct sp_ben_limits limits = {.depth_max = DEPTH_MAX, .tok_max = VALUES_READ_MAX};
    struct sp_krpc m = {0};
    struct sp_ben b;
    bool good = false;

    /* Cheap looks first: most of what strangers send is no bencode at all. */
    if (packet.len < LEN_MIN || packet.len > SP_KRPC_LEN_MAX || packet.ptr[0] != 'd' ||
        packet.ptr[packet.len - 1] != 'e' ||
        sp_ben_read(packet, &limits, toks, &b, NULL) != SP_OK || b.end != packet.len)
        return SP_EDATA;
    uint32_t y = sp_ben_find(&b, 0, "y");
    if (!str(&b, 0, "t", 1, SP_KRPC_TXN_MAX, &m.txn))
        return SP_EDATA;
    (void)str(&b, 0, "v", 0, 16, &m.version);
    m.read_only = flag(&b, 0, "ro");
    read_ip(&b, &m);
    if (sp_ben_str_is(&b, y, "q")) {
        good = read_query(&b, &m);
    } else if (sp_ben_str_is(&b, y, "r")) {
        uint32_t r = sp_ben_find(&b, 0, "r");
        m.kind = SP_KRPC_REPLY;
        if (sp_ben_is(&b, r, SP_BEN_DICT))
            read_body(&b, r, &m);
        good = m.has_id;
    } else if (sp_ben_str_is(&b, y, "e")) {
        good = read_error(&b, &m);
    }
    if (!good)
        return SP_EDATA;
    *ret_msg = m;
    return SP_OK;
}

/* ---- writing ---- */

static void put_str(struct sp_ben_writer *w, const char *key, struct sp_slice s)
{
    if (s.len == 0)
        return;
    sp_ben_put_key(w, key);
    sp_ben_put_str(w, s);
}

static void put_int(struct sp_ben_writer *w, const char *key, bool is, int64_t v)
{
    if (!is)
        return;
    sp_ben_put_key(w, key);
    sp_ben_put_int(w, v);
}

static void put_want(struct sp_ben_writer *w, uint8_t want)
{
    if (!want)
        return;
    sp_ben_put_key(w, "want");
    sp_ben_put_list(w);
    if (want & SP_KRPC_WANT_4)
        sp_ben_put_text(w, "n4");
    if (want & SP_KRPC_WANT_6)
        sp_ben_put_text(w, "n6");
    sp_ben_put_end(w);
}

static void put_values(struct sp_ben_writer *w, const struct sp_krpc *m)
{
    if (!m->value_count)
        return;
    sp_ben_put_key(w, "values");
    sp_ben_put_list(w);
    for (uint32_t i = 0; i < m->value_count; i++)
        sp_ben_put_str(w, m->values[i]);
    sp_ben_put_end(w);
}

static struct sp_slice id_slice(bool is, const struct sp_dht_id *i)
{
    return (struct sp_slice){i->b, is ? SP_DHT_ID_LEN : 0};
}

/* Keys in the order of their bytes; those of queries and replies together. */
static void put_body(struct sp_ben_writer *w, const struct sp_krpc *m)
{
    bool query = m->kind == SP_KRPC_QUERY;
    bool by_hash = m->method == SP_KRPC_GET_PEERS || m->method == SP_KRPC_ANNOUNCE_PEER;

    sp_ben_put_dict(w);
    put_str(w, "BFpe", m->bloom_peers);
    put_str(w, "BFsd", m->bloom_seeds);
    put_int(w, "cas", m->has_cas, m->cas);
    put_str(w, "id", id_slice(m->has_id, &m->id));
    put_int(w, "implied_port", m->implied_port, 1);
    put_str(w, "info_hash", id_slice(query && by_hash && m->has_target, &m->target));
    put_int(w, "interval", m->has_samples, m->interval);
    put_str(w, "k", m->key);
    put_str(w, "nodes", m->nodes);
    put_str(w, "nodes6", m->nodes6);
    put_int(w, "noseed", m->no_seed, 1);
    put_int(w, "num", m->has_samples, m->num);
    put_int(w, "port", m->port != 0, m->port);
    put_str(w, "salt", m->salt);
    if (m->has_samples) { /* BEP-0051: "always include the samples field" */
        sp_ben_put_key(w, "samples");
        sp_ben_put_str(w, m->samples);
    }
    put_int(w, "scrape", m->scrape, 1);
    put_int(w, "seed", m->seed, 1);
    put_int(w, "seq", m->has_seq, m->seq);
    put_str(w, "sig", m->sig);
    put_str(w, "target", id_slice(query && !by_hash && m->has_target, &m->target));
    put_str(w, "token", m->token);
    if (m->v.len) {
        sp_ben_put_key(w, "v");
        sp_ben_put_raw(w, m->v);
    }
    put_values(w, m);
    put_want(w, m->want);
    sp_ben_put_end(w);
}

static void put_error(struct sp_ben_writer *w, const struct sp_krpc *m)
{
    sp_ben_put_key(w, "e");
    sp_ben_put_list(w);
    sp_ben_put_int(w, m->error);
    sp_ben_put_str(w, m->error_text);
    sp_ben_put_end(w);
}

enum sp_err sp_krpc_write(const struct sp_krpc *m, uint8_t *buf, size_t cap, size_t *ret_len)
{
    static const char kinds[][2] = {
        [SP_KRPC_QUERY] = "q", [SP_KRPC_REPLY] = "r", [SP_KRPC_ERROR] = "e"};
    struct sp_ben_writer w = sp_ben_writer_of(buf, cap);
    uint8_t ip[SP_COMPACT6_LEN];
    struct sp_slice ip_s = {0};

    if (m->ip.family != SP_FAMILY_NONE)
        ip_s = (struct sp_slice){ip, sp_addr_compact(&m->ip, ip)};
    sp_ben_put_dict(&w);
    if (m->kind == SP_KRPC_QUERY) {
        sp_ben_put_key(&w, "a");
        put_body(&w, m);
    } else if (m->kind == SP_KRPC_ERROR) {
        put_error(&w, m);
    }
    put_str(&w, "ip", ip_s);
    if (m->kind == SP_KRPC_QUERY) {
        sp_ben_put_key(&w, "q");
        sp_ben_put_text(&w, names[m->method]);
    } else if (m->kind == SP_KRPC_REPLY) {
        sp_ben_put_key(&w, "r");
        put_body(&w, m);
    }
    put_int(&w, "ro", m->read_only, 1);
    put_str(&w, "t", m->txn);
    put_str(&w, "v", m->version);
    sp_ben_put_key(&w, "y");
    sp_ben_put_text(&w, kinds[m->kind]);
    sp_ben_put_end(&w);
    return sp_ben_writer_end(&w, ret_len);
}

size_t sp_krpc_signed(struct sp_slice salt, int64_t seq, struct sp_slice v,
                      uint8_t buf[SP_KRPC_SIGNED_MAX])
{
    struct sp_out o = sp_out_of(buf, SP_KRPC_SIGNED_MAX);
    if (salt.len) {
        sp_out_str(&o, "4:salt");
        sp_out_dec(&o, salt.len);
        sp_out_str(&o, ":");
        sp_out_bytes(&o, salt.ptr, salt.len);
    }
    sp_out_str(&o, "3:seqi");
    sp_out_dec(&o, (uint64_t)seq);
    sp_out_str(&o, "e1:v");
    sp_out_bytes(&o, v.ptr, v.len);
    return o.len;
}
