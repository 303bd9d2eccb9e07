/* Trackers (BEP-0003, 0012), web seeds (0017, 0019) and DHT nodes (0005). */
#include "core/metainfo/parse.h"

enum { URL_LEN_MAX = 2048 };

static bool is_space(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

struct sp_slice sp_mi_url(struct sp_slice s)
{
    /* Custom: line ends and spaces around URLs are seen in the wild. */
    while (s.len > 0 && is_space(s.ptr[0]))
        s = (struct sp_slice){.ptr = s.ptr + 1, .len = s.len - 1};
    while (s.len > 0 && is_space(s.ptr[s.len - 1]))
        s.len--;
    if (s.len > URL_LEN_MAX)
        return (struct sp_slice){0};
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] <= ' ' || s.ptr[i] == 0x7f)
            return (struct sp_slice){0};
    return s;
}

/* Lists are filled in order into one array sized by counting first. */
struct urls {
    struct sp_mi_parse *p;
    struct sp_metainfo_tracker *trackers;
    struct sp_metainfo_web_seed *web_seeds;
    uint32_t tracker_count, tracker_max;
    uint32_t web_seed_count, web_seed_max;
};

static enum sp_err no_memory(struct sp_mi_parse *p)
{
    return sp_mi_fail(p, SP_ENOMEM, SP_BEN_NONE, "out of memory", 0, 0);
}

static bool same_text(const char *text, struct sp_slice s)
{
    return strlen(text) == s.len && memcmp(text, s.ptr, s.len) == 0;
}

static enum sp_err add_tracker(struct urls *u, uint32_t tok, uint32_t tier)
{
    struct sp_slice s;
    if (!sp_ben_str(&u->p->ben, tok, &s))
        return sp_mi_fail(u->p, SP_EDATA, tok, "announce-list: holds what is no string", 0, 0);
    s = sp_mi_url(s);
    for (uint32_t i = 0; i < u->tracker_count; i++)
        if (same_text(u->trackers[i].url, s))
            return SP_OK;
    if (s.len == 0 || u->tracker_count == u->tracker_max)
        return SP_OK; /* full: only "announce" beside a list, which is not wanted */
    char *url = sp_arena_text(u->p->arena, s);
    if (!url)
        return no_memory(u->p);
    u->trackers[u->tracker_count++] = (struct sp_metainfo_tracker){.url = url, .tier = tier};
    return SP_OK;
}

/* How many values lie below list_ix, those in lists among them counted; at
 * least 1 so that there is something to allocate. */
static uint32_t count_strings(const struct sp_ben *b, uint32_t list_ix)
{
    return sp_ben_is(b, list_ix, SP_BEN_LIST) ? b->toks[list_ix].next - list_ix : 1;
}

static enum sp_err read_tier(struct urls *u, uint32_t tier_ix, uint32_t tier)
{
    const struct sp_ben *b = &u->p->ben;
    enum sp_err err = SP_OK;

    if (!sp_ben_is(b, tier_ix, SP_BEN_LIST))
        return add_tracker(u, tier_ix, tier); /* Custom: flat lists are seen in the wild */
    for (uint32_t at = sp_ben_first(b, tier_ix); err == SP_OK && at != SP_BEN_NONE;
         at = sp_ben_next(b, tier_ix, at))
        err = add_tracker(u, at, tier);
    return err;
}

/* BEP-0012: "if the announce-list key is present, the client will ignore the
 * announce key and only use the URLs in announce-list."
 * BEP-0012, not followed: a list without a usable URL does not hide "announce". */
static enum sp_err read_trackers(struct urls *u)
{
    const struct sp_ben *b = &u->p->ben;
    uint32_t list = sp_ben_find(b, 0, "announce-list"), one = sp_ben_find(b, 0, "announce");
    uint32_t tier = 0;
    enum sp_err err = SP_OK;

    if (one != SP_BEN_NONE && !sp_ben_is(b, one, SP_BEN_STR))
        return sp_mi_fail(u->p, SP_EDATA, one, "announce: is no string", 0, 0);
    if (list != SP_BEN_NONE && !sp_ben_is(b, list, SP_BEN_LIST))
        return sp_mi_fail(u->p, SP_EDATA, list, "announce-list: is no list", 0, 0);
    u->tracker_max = count_strings(b, list);
    if (u->tracker_max > u->p->limits->url_max)
        return sp_mi_fail(u->p, SP_ELIMIT, list, "announce-list: has more than % entries",
                          u->p->limits->url_max, 0);
    u->trackers = SP_ARENA_ARRAY(u->p->arena, struct sp_metainfo_tracker, u->tracker_max);
    if (!u->trackers)
        return no_memory(u->p);

    for (uint32_t at = sp_ben_first(b, list); err == SP_OK && at != SP_BEN_NONE;
         at = sp_ben_next(b, list, at)) {
        uint32_t before = u->tracker_count;
        err = read_tier(u, at, tier);
        tier += u->tracker_count > before; /* tiers that came out empty do not count */
    }
    if (err == SP_OK && u->tracker_count == 0 && one != SP_BEN_NONE)
        err = add_tracker(u, one, 0);
    return err;
}

static enum sp_err add_web_seed(struct urls *u, uint32_t tok, enum sp_web_seed_kind kind)
{
    struct sp_slice s;
    if (!sp_ben_str(&u->p->ben, tok, &s))
        return sp_mi_fail(u->p, SP_EDATA, tok,
                          kind == SP_WEB_SEED_URL ? "url-list: holds what is no string"
                                                  : "httpseeds: holds what is no string",
                          0, 0);
    s = sp_mi_url(s);
    if (s.len == 0) /* Custom: an empty url-list is what some creators write for none */
        return SP_OK;
    for (uint32_t i = 0; i < u->web_seed_count; i++)
        if (u->web_seeds[i].kind == kind && same_text(u->web_seeds[i].url, s))
            return SP_OK;
    char *url = sp_arena_text(u->p->arena, s);
    if (!url)
        return no_memory(u->p);
    u->web_seeds[u->web_seed_count++] = (struct sp_metainfo_web_seed){.url = url, .kind = kind};
    return SP_OK;
}

/* BEP-0019: "url-list" is a string or a list of strings; "httpseeds" is read alike. */
static enum sp_err read_web_seed_list(struct urls *u, uint32_t tok, enum sp_web_seed_kind kind)
{
    const struct sp_ben *b = &u->p->ben;
    enum sp_err err = SP_OK;

    if (tok == SP_BEN_NONE)
        return SP_OK;
    if (!sp_ben_is(b, tok, SP_BEN_LIST))
        return add_web_seed(u, tok, kind);
    for (uint32_t at = sp_ben_first(b, tok); err == SP_OK && at != SP_BEN_NONE;
         at = sp_ben_next(b, tok, at))
        err = add_web_seed(u, at, kind);
    return err;
}

static enum sp_err read_web_seeds(struct urls *u)
{
    const struct sp_ben *b = &u->p->ben;
    uint32_t urls = sp_ben_find(b, 0, "url-list"), http = sp_ben_find(b, 0, "httpseeds");

    if (urls == SP_BEN_NONE && http == SP_BEN_NONE)
        return SP_OK;
    uint64_t max = (uint64_t)count_strings(b, urls) + count_strings(b, http);
    if (max > u->p->limits->url_max)
        return sp_mi_fail(u->p, SP_ELIMIT, 0, "url-list and httpseeds: have more than % entries",
                          u->p->limits->url_max, 0);
    u->web_seeds = SP_ARENA_ARRAY(u->p->arena, struct sp_metainfo_web_seed, max);
    if (!u->web_seeds)
        return no_memory(u->p);
    enum sp_err err = read_web_seed_list(u, urls, SP_WEB_SEED_URL);
    return err == SP_OK ? read_web_seed_list(u, http, SP_WEB_SEED_HTTP) : err;
}

/* BEP-0005: "nodes = [["<host>", <port>], ["<host>", <port>], ...]" */
static enum sp_err read_node(struct sp_mi_parse *p, uint32_t pair_ix, uint64_t number,
                             struct sp_metainfo_node *ret_node)
{
    const struct sp_ben *b = &p->ben;
    struct sp_slice host = {0};
    int64_t port = 0;
    bool is_list = sp_ben_is(b, pair_ix, SP_BEN_LIST);
    uint32_t first = is_list ? sp_ben_first(b, pair_ix) : SP_BEN_NONE;
    uint32_t second = first == SP_BEN_NONE ? first : sp_ben_next(b, pair_ix, first);

    if (!sp_ben_str(b, first, &host) || (host = sp_mi_url(host)).len == 0 ||
        !sp_ben_int(b, second, 1, UINT16_MAX, &port))
        return sp_mi_fail(p, SP_EDATA, pair_ix, "nodes[%]: is no pair of host and port", number, 0);
    char *text = sp_arena_text(p->arena, host);
    if (!text)
        return no_memory(p);
    *ret_node = (struct sp_metainfo_node){.host = text, .port = (uint16_t)port};
    return SP_OK;
}

static enum sp_err read_nodes(struct sp_mi_parse *p)
{
    const struct sp_ben *b = &p->ben;
    uint32_t list = sp_ben_find(b, 0, "nodes"), count = 0;
    enum sp_err err = SP_OK;

    if (list == SP_BEN_NONE || (sp_ben_is(b, list, SP_BEN_LIST) && b->toks[list].len == 2))
        return SP_OK;
    if (!sp_ben_is(b, list, SP_BEN_LIST))
        return sp_mi_fail(p, SP_EDATA, list, "nodes: is no list", 0, 0);
    for (uint32_t at = sp_ben_first(b, list); at != SP_BEN_NONE; at = sp_ben_next(b, list, at))
        count++;
    if (count > p->limits->url_max)
        return sp_mi_fail(p, SP_ELIMIT, list, "nodes: has more than % entries", p->limits->url_max,
                          0);
    struct sp_metainfo_node *nodes = SP_ARENA_ARRAY(p->arena, struct sp_metainfo_node, count);
    if (!nodes)
        return no_memory(p);
    count = 0;
    for (uint32_t at = sp_ben_first(b, list); err == SP_OK && at != SP_BEN_NONE;
         at = sp_ben_next(b, list, at), count++)
        err = read_node(p, at, count, &nodes[count]);
    p->mi->nodes = nodes;
    p->mi->node_count = count;
    return err;
}

enum sp_err sp_mi_read_urls(struct sp_mi_parse *p)
{
    struct urls u = {.p = p};
    enum sp_err err = read_trackers(&u);

    if (err == SP_OK)
        err = read_web_seeds(&u);
    p->mi->trackers = u.trackers;
    p->mi->tracker_count = u.tracker_count;
    p->mi->web_seeds = u.web_seeds;
    p->mi->web_seed_count = u.web_seed_count;
    return err == SP_OK ? read_nodes(p) : err;
}
