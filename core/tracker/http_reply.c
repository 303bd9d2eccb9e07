#include "core/tracker/http.h"
#include "spate/bencode.h"

/* 2,000 peers in the dictionary form take 14,000 values. */
enum { TOK_MAX = 65536, DEPTH_MAX = 16, RETRY_MINUTES_MAX = 43200 };

static struct sp_ben_tok *read_body(const struct sp_mem *mem, struct sp_slice body,
                                    struct sp_ben *ret_doc, enum sp_err *ret_err)
{
    struct sp_ben_limits limits = {.depth_max = DEPTH_MAX, .tok_max = TOK_MAX};
    struct sp_ben counted;

    *ret_err = body.len > SP_TRACKER_BODY_MAX ? SP_ELIMIT
                                              : sp_ben_read(body, &limits, NULL, &counted, NULL);
    if (*ret_err != SP_OK)
        return NULL;
    struct sp_ben_tok *toks = SP_NEW_ARRAY(mem, struct sp_ben_tok, counted.count);
    if (!toks) {
        *ret_err = SP_ENOMEM;
        return NULL;
    }
    limits.tok_max = counted.count;
    *ret_err = sp_ben_read(body, &limits, toks, ret_doc, NULL);
    return toks;
}

static bool looks_like_html(struct sp_slice body)
{
    size_t at = 0;
    while (at < body.len && (body.ptr[at] <= ' ' || body.ptr[at] >= 0x80))
        at++; /* white space and a byte order mark */
    return at < body.len && body.ptr[at] == '<';
}

static struct sp_slice why_not(struct sp_slice body, enum sp_err err)
{
    if (body.len == 0)
        return SP_LIT("answered with nothing");
    if (looks_like_html(body))
        return SP_LIT("answered with HTML instead of a tracker reply");
    if (body.ptr[0] == 'd' && err == SP_ELIMIT)
        return SP_LIT("answered with a reply that is too large");
    if (body.ptr[0] == 'd' && err == SP_AGAIN)
        return SP_LIT("answered with a reply that ends early");
    return SP_LIT("answered with something that is no tracker reply");
}

static uint32_t get_u32(const struct sp_ben *doc, uint32_t dict, const char *key,
                        uint32_t otherwise)
{
    int64_t v;
    if (!sp_ben_int(doc, sp_ben_find(doc, dict, key), 0, UINT32_MAX - 1, &v))
        return otherwise;
    return (uint32_t)v;
}

static struct sp_slice get_str(const struct sp_ben *doc, const char *key)
{
    struct sp_slice s = {0};
    (void)sp_ben_str(doc, sp_ben_find(doc, 0, key), &s);
    return s;
}

/* BEP-0031: "the number of minutes in which a retry can be done [...] either a positive
 * integer or the value never"; its example sends the number as a string. */
static void read_retry(const struct sp_ben *doc, struct sp_announce_reply *r)
{
    uint32_t at = sp_ben_find(doc, 0, "retry in");
    struct sp_slice s;
    int64_t minutes = 0;

    if (sp_ben_str_is(doc, at, "never")) {
        r->retry = SP_RETRY_NEVER;
        return;
    }
    if (sp_ben_str(doc, at, &s)) {
        for (size_t i = 0; i < s.len; i++) {
            if (s.ptr[i] < '0' || s.ptr[i] > '9')
                return;
            minutes = minutes > RETRY_MINUTES_MAX ? minutes : minutes * 10 + (s.ptr[i] - '0');
        }
    } else if (!sp_ben_int(doc, at, 1, INT64_MAX, &minutes)) {
        return;
    }
    if (minutes == 0)
        return;
    r->retry = SP_RETRY_IN;
    r->retry_in_s = (uint32_t)(minutes < RETRY_MINUTES_MAX ? minutes : RETRY_MINUTES_MAX) * 60;
}

struct peer_list {
    struct sp_addr *peers;
    uint32_t count, cap;
};

static void add_peer(struct peer_list *l, struct sp_addr peer)
{
    if (l->count < l->cap && peer.port != 0 && peer.family != SP_FAMILY_NONE)
        l->peers[l->count++] = peer;
}

/* BEP-0023, BEP-0007: 6 or 18 bytes a peer; a rest is left out. */
static void read_compact(struct peer_list *l, struct sp_slice s, enum sp_family family)
{
    size_t stride = family == SP_V4 ? SP_COMPACT4_LEN : SP_COMPACT6_LEN;
    for (size_t at = 0; s.len - at >= stride; at += stride)
        add_peer(l, sp_addr_of_compact(s.ptr + at, family));
}

/* BEP-0023: "clients MUST continue to support both." */
static void read_dicts(struct peer_list *l, const struct sp_ben *doc, uint32_t list)
{
    for (uint32_t i = sp_ben_first(doc, list); i != SP_BEN_NONE; i = sp_ben_next(doc, list, i)) {
        struct sp_slice ip;
        struct sp_addr peer;
        int64_t port;
        /* BEP-0003, not followed: a peer given by DNS name is left out; it would let a
         * tracker make us look up any name. */
        if (!sp_ben_str(doc, sp_ben_find(doc, i, "ip"), &ip) ||
            sp_addr_parse(ip, false, &peer) != SP_OK ||
            !sp_ben_int(doc, sp_ben_find(doc, i, "port"), 1, UINT16_MAX, &port))
            continue;
        peer.port = (uint16_t)port;
        add_peer(l, peer);
    }
}

static void read_peers(struct peer_list *l, const struct sp_ben *doc)
{
    uint32_t at = sp_ben_find(doc, 0, "peers");
    struct sp_slice s;
    if (sp_ben_str(doc, at, &s))
        read_compact(l, s, SP_V4);
    else if (sp_ben_is(doc, at, SP_BEN_LIST))
        read_dicts(l, doc, at);
    if (sp_ben_str(doc, sp_ben_find(doc, 0, "peers6"), &s))
        read_compact(l, s, SP_V6);
}

/* BEP-0024: "the IPv4 address as a 32 bit binary or [...] the IPv6 address as a 128 bit
 * binary." */
static struct sp_addr read_external_ip(const struct sp_ben *doc)
{
    struct sp_slice s = get_str(doc, "external ip");
    struct sp_addr a = {0};
    if (s.len == 4)
        a = sp_addr_v4(s.ptr, 0);
    else if (s.len == 16)
        a = sp_addr_v6(s.ptr, 0);
    return sp_addr_scope(&a) == SP_SCOPE_NONE ? (struct sp_addr){0} : a;
}

static void read_reply(const struct sp_ben *doc, struct sp_addr *peers, uint32_t cap,
                       struct sp_announce_reply *r)
{
    struct peer_list list = {.peers = peers, .cap = cap};

    r->failed = sp_ben_str(doc, sp_ben_find(doc, 0, "failure reason"), &r->failure);
    r->warning = get_str(doc, "warning message");
    if (r->failed) {
        read_retry(doc, r);
        return;
    }
    if (!sp_ben_is(doc, sp_ben_find(doc, 0, "interval"), SP_BEN_INT) &&
        sp_ben_find(doc, 0, "peers") == SP_BEN_NONE &&
        sp_ben_find(doc, 0, "peers6") == SP_BEN_NONE) {
        r->failed = true;
        r->failure = SP_LIT("answered with neither peers nor a reason");
        return;
    }
    r->interval_s = get_u32(doc, 0, "interval", 0);
    r->min_interval_s = get_u32(doc, 0, "min interval", 0);
    r->swarm.seeds = get_u32(doc, 0, "complete", SP_SWARM_UNKNOWN);
    r->swarm.leechers = get_u32(doc, 0, "incomplete", SP_SWARM_UNKNOWN);
    r->swarm.downloaded = get_u32(doc, 0, "downloaded", SP_SWARM_UNKNOWN);
    r->tracker_id = get_str(doc, "tracker id");
    r->external_ip = read_external_ip(doc);
    read_peers(&list, doc);
    r->peer_count = list.count;
}

enum sp_err sp_http_announce_parse(const struct sp_mem *mem, struct sp_slice body,
                                   struct sp_addr *peers, uint32_t cap,
                                   struct sp_announce_reply *ret_reply)
{
    struct sp_announce_reply r = {.swarm = {SP_SWARM_UNKNOWN, SP_SWARM_UNKNOWN, SP_SWARM_UNKNOWN}};
    struct sp_ben doc;
    enum sp_err err;
    struct sp_ben_tok *toks = read_body(mem, body, &doc, &err);

    if (err == SP_OK && sp_ben_is(&doc, 0, SP_BEN_DICT)) {
        read_reply(&doc, peers, cap, &r);
    } else if (err != SP_ENOMEM) {
        r.failed = true;
        r.failure = why_not(body, err);
        err = SP_OK;
    }
    sp_mem_free(mem, toks);
    if (err == SP_OK)
        *ret_reply = r;
    return err;
}

static void read_files(const struct sp_ben *doc, const uint8_t *hashes, uint32_t count,
                       struct sp_swarm_size *sizes, struct sp_scrape_reply *r)
{
    uint32_t files = sp_ben_find(doc, 0, "files");
    for (uint32_t i = sp_ben_first(doc, files); i != SP_BEN_NONE; i = sp_ben_next(doc, files, i)) {
        struct sp_slice hash;
        if (!sp_ben_str(doc, i, &hash) || hash.len != SP_SHA1_LEN)
            continue;
        for (uint32_t k = 0; k < count; k++) {
            if (memcmp(hashes + (size_t)k * SP_SHA1_LEN, hash.ptr, SP_SHA1_LEN) != 0)
                continue;
            sizes[k].seeds = get_u32(doc, i + 1, "complete", SP_SWARM_UNKNOWN);
            sizes[k].leechers = get_u32(doc, i + 1, "incomplete", SP_SWARM_UNKNOWN);
            sizes[k].downloaded = get_u32(doc, i + 1, "downloaded", SP_SWARM_UNKNOWN);
            r->found++;
            break;
        }
    }
}

enum sp_err sp_http_scrape_parse(const struct sp_mem *mem, struct sp_slice body,
                                 const uint8_t *hashes, uint32_t count, struct sp_swarm_size *sizes,
                                 struct sp_scrape_reply *ret_reply)
{
    struct sp_scrape_reply r = {0};
    struct sp_ben doc;
    enum sp_err err;
    struct sp_ben_tok *toks = read_body(mem, body, &doc, &err);

    if (err == SP_ENOMEM)
        return err;
    for (uint32_t i = 0; i < count; i++)
        sizes[i] = (struct sp_swarm_size){SP_SWARM_UNKNOWN, SP_SWARM_UNKNOWN, SP_SWARM_UNKNOWN};
    if (err != SP_OK || !sp_ben_is(&doc, 0, SP_BEN_DICT)) {
        r.failed = true;
        r.failure = why_not(body, err);
    } else if (sp_ben_str(&doc, sp_ben_find(&doc, 0, "failure reason"), &r.failure)) {
        r.failed = true;
    } else {
        r.min_request_interval_s =
            get_u32(&doc, sp_ben_find(&doc, 0, "flags"), "min_request_interval", 0);
        read_files(&doc, hashes, count, sizes, &r);
    }
    sp_mem_free(mem, toks);
    *ret_reply = r;
    return SP_OK;
}
