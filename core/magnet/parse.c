#include <assert.h>

#include "core/base/arena.h"
#include "core/base/cur.h"
#include "core/base/hex.h"
#include "core/metainfo/name.h"
#include "spate/magnet.h"

enum { URL_LEN_MAX = 2048, HOST_LEN_MAX = 253 };

struct impl {
    struct sp_magnet pub; /* first: what callers hold */
    struct sp_arena arena;
};

/* A list that grows while parsing and is cut to SP_MAGNET_LIST_MAX. */
struct texts {
    const char **list;
    uint32_t count;
};

struct parse {
    struct sp_arena *arena;
    struct sp_magnet *m;
    struct sp_diag *diag;
    struct sp_slice in;
    struct sp_metainfo_tracker *trackers;
    struct sp_metainfo_node *peers;
    struct texts web_seeds, exact_sources, sources;
    struct sp_file_range *ranges;
    uint32_t range_count;
};

static enum sp_err fail(struct parse *p, enum sp_err err, struct sp_slice at, const char *text)
{
    return sp_diag_set(p->diag, err, at.ptr ? (uint64_t)(at.ptr - p->in.ptr) : 0, text);
}

static bool same_letters(struct sp_slice s, const char *lower)
{
    if (s.len != strlen(lower))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.ptr[i] >= 'A' && s.ptr[i] <= 'Z' ? (uint8_t)(s.ptr[i] + 32) : s.ptr[i];
        if (c != (uint8_t)lower[i])
            return false;
    }
    return true;
}

static struct sp_slice cut(struct sp_slice s, size_t from)
{
    return (struct sp_slice){.ptr = s.ptr + from, .len = s.len - from};
}

/* s begins with prefix, any case: what follows it, into ret_rest. */
static bool starts(struct sp_slice s, const char *prefix, struct sp_slice *ret_rest)
{
    size_t len = strlen(prefix);
    if (s.len < len || !same_letters((struct sp_slice){s.ptr, len}, prefix))
        return false;
    *ret_rest = cut(s, len);
    return true;
}

/* The part of *rest before c, taken off with c. */
static struct sp_slice take_until(struct sp_slice *rest, uint8_t c)
{
    const uint8_t *at = rest->len ? memchr(rest->ptr, c, rest->len) : NULL;
    size_t len = at ? (size_t)(at - rest->ptr) : rest->len;
    struct sp_slice part = {.ptr = rest->ptr, .len = len};
    *rest = cut(*rest, at ? len + 1 : len);
    return part;
}

/* Percent-encoding undone, '+' as a space where plus says so; a '%' that begins no
 * encoding stays.  Gives arena memory, NUL-terminated; NULL: none left. */
static char *decode(struct parse *p, struct sp_slice s, bool plus, size_t *ret_len)
{
    char *text = SP_ARENA_ARRAY(p->arena, char, s.len + 1);
    size_t len = 0;

    for (size_t i = 0; text && i < s.len; i++) {
        int hi = -1, lo = -1;
        if (s.ptr[i] == '%' && s.len - i > 2) {
            hi = sp_hex_digit(s.ptr[i + 1]);
            lo = sp_hex_digit(s.ptr[i + 2]);
        }
        if (hi >= 0 && lo >= 0) {
            text[len++] = (char)(hi << 4 | lo);
            i += 2;
        } else {
            text[len++] = s.ptr[i] == '+' && plus ? ' ' : (char)s.ptr[i];
        }
    }
    *ret_len = len;
    return text;
}

/* --- the parameters --------------------------------------------------------------- */

/* RFC 4648: 32 characters of 5 bits each. */
static bool base32(struct sp_slice s, uint8_t out[SP_SHA1_LEN])
{
    uint64_t bits = 0;
    if (s.len != 32)
        return false;
    for (size_t i = 0; i < 32; i++) {
        uint8_t c = s.ptr[i];
        if (c >= '2' && c <= '7')
            bits = bits << 5 | (uint64_t)(c - '2' + 26);
        else if ((c | 32) >= 'a' && (c | 32) <= 'z')
            bits = bits << 5 | (uint64_t)((c | 32) - 'a');
        else
            return false;
        if (i % 8 == 7) /* 40 bits are 5 bytes */
            for (size_t k = 0; k < 5; k++)
                out[i / 8 * 5 + k] = (uint8_t)(bits >> (32 - 8 * k));
    }
    return true;
}

static enum sp_err set_hash(struct parse *p, struct sp_slice at, bool *has, uint8_t *hash,
                            const uint8_t *fresh, size_t len)
{
    if (*has && memcmp(hash, fresh, len) != 0)
        return fail(p, SP_EDATA, at, "xt: two different hashes");
    memcpy(hash, fresh, len);
    *has = true;
    return SP_OK;
}

/* BEP-0009: "Is the info-hash hex encoded, for a total of 40 characters. For
 * compatability with existing links in the wild, clients should also support
 * the 32 character base32 encoded info-hash." */
static enum sp_err read_xt(struct parse *p, struct sp_slice at, struct sp_slice value)
{
    struct sp_magnet *m = p->m;
    struct sp_slice rest;
    uint8_t hash[SP_SHA256_LEN];

    if (starts(value, "urn:btih:", &rest)) {
        if (!sp_hex_parse(rest, hash, SP_SHA1_LEN) && !base32(rest, hash))
            return fail(p, SP_EDATA, at, "xt: btih is neither 40 hexadecimal nor 32 base32 digits");
        return set_hash(p, at, &m->has_v1, m->info_hash_v1, hash, SP_SHA1_LEN);
    }
    /* Multihash: 0x12 is SHA-256, 0x20 its length. */
    if (starts(value, "urn:btmh:", &rest)) {
        if (!starts(rest, "1220", &rest) || !sp_hex_parse(rest, hash, SP_SHA256_LEN))
            return fail(p, SP_EDATA, at, "xt: btmh is not 1220 and 64 hexadecimal digits");
        return set_hash(p, at, &m->has_v2, m->info_hash_v2, hash, SP_SHA256_LEN);
    }
    return SP_OK; /* another network's */
}

static bool is_url(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((uint8_t)text[i] <= ' ' || text[i] == 0x7f)
            return false;
    return len > 0 && len <= URL_LEN_MAX;
}

static enum sp_err no_memory(struct parse *p)
{
    return fail(p, SP_ENOMEM, (struct sp_slice){0}, "out of memory");
}

static enum sp_err read_url(struct parse *p, struct sp_slice value, struct texts *list)
{
    size_t len;
    char *url = decode(p, value, false, &len);

    if (!url)
        return no_memory(p);
    if (!is_url(url, len) || list->count == SP_MAGNET_LIST_MAX)
        return SP_OK;
    for (uint32_t i = 0; i < list->count; i++)
        if (strlen(list->list[i]) == len && memcmp(list->list[i], url, len) == 0)
            return SP_OK;
    if (!list->list)
        list->list = SP_ARENA_ARRAY(p->arena, const char *, SP_MAGNET_LIST_MAX);
    if (!list->list)
        return no_memory(p);
    list->list[list->count++] = url;
    return SP_OK;
}

static enum sp_err read_tracker(struct parse *p, struct sp_slice value)
{
    size_t len;
    uint32_t n = p->m->tracker_count;
    char *url = decode(p, value, false, &len);

    if (!url)
        return no_memory(p);
    if (!is_url(url, len) || n == SP_MAGNET_LIST_MAX)
        return SP_OK;
    assert(n == 0 || p->trackers);
    for (uint32_t i = 0; i < n; i++)
        if (strlen(p->trackers[i].url) == len && memcmp(p->trackers[i].url, url, len) == 0)
            return SP_OK;
    if (!p->trackers)
        p->trackers = SP_ARENA_ARRAY(p->arena, struct sp_metainfo_tracker, SP_MAGNET_LIST_MAX);
    if (!p->trackers)
        return no_memory(p);
    p->trackers[n] = (struct sp_metainfo_tracker){.url = url, .tier = n};
    p->m->tracker_count++;
    return SP_OK;
}

static bool read_dec(struct sp_slice s, uint64_t max, uint64_t *ret_value)
{
    uint64_t v = 0;
    if (s.len == 0)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        uint64_t digit = (uint64_t)s.ptr[i] - '0';
        if (digit > 9 || v > (max - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *ret_value = v;
    return true;
}

/* "host:port", "1.2.3.4:port", "[v6]:port" */
static bool split_peer(struct sp_slice s, struct sp_slice *ret_host, uint16_t *ret_port)
{
    size_t colon = s.len;
    uint64_t port;
    while (colon > 0 && s.ptr[colon - 1] != ':')
        colon--;
    if (colon < 2 || !read_dec(cut(s, colon), UINT16_MAX, &port) || port == 0)
        return false;
    struct sp_slice host = {.ptr = s.ptr, .len = colon - 1};
    bool brackets = host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']';
    if (brackets)
        host = (struct sp_slice){.ptr = host.ptr + 1, .len = host.len - 2};
    bool colons = memchr(host.ptr, ':', host.len) != NULL;
    if (colons != brackets || host.len > HOST_LEN_MAX)
        return false;
    for (size_t i = 0; i < host.len; i++)
        if (host.ptr[i] <= ' ' || host.ptr[i] >= 0x7f || host.ptr[i] == '/' || host.ptr[i] == '[' ||
            host.ptr[i] == ']')
            return false;
    *ret_host = host;
    *ret_port = (uint16_t)port;
    return true;
}

static enum sp_err read_peer(struct parse *p, struct sp_slice value)
{
    size_t len;
    struct sp_slice host;
    uint16_t port;
    char *text = decode(p, value, false, &len);

    if (!text)
        return no_memory(p);
    if (p->m->peer_count == SP_MAGNET_LIST_MAX ||
        !split_peer((struct sp_slice){(const uint8_t *)text, len}, &host, &port))
        return SP_OK;
    if (!p->peers)
        p->peers = SP_ARENA_ARRAY(p->arena, struct sp_metainfo_node, SP_MAGNET_LIST_MAX);
    char *name = sp_arena_text(p->arena, host);
    if (!p->peers || !name)
        return no_memory(p);
    p->peers[p->m->peer_count++] = (struct sp_metainfo_node){.host = name, .port = port};
    return SP_OK;
}

/* BEP-0053: "Dashes mean inclusive ranges, so 6,7, and 8 are also added." */
static bool read_range(struct sp_slice part, struct sp_file_range *ret_range)
{
    uint64_t first, last;
    bool is_range = part.len && memchr(part.ptr, '-', part.len) != NULL;
    struct sp_slice low = take_until(&part, '-');

    if (!read_dec(low, UINT32_MAX - 1, &first))
        return false;
    last = first;
    if (is_range && (!read_dec(part, UINT32_MAX - 1, &last) || last < first))
        return false;
    *ret_range = (struct sp_file_range){.first = (uint32_t)first, .last = (uint32_t)last};
    return true;
}

/* Keeps the list ascending and its ranges apart. */
static void insert_range(struct parse *p, struct sp_file_range r)
{
    uint32_t i = 0, end;
    while (i < p->range_count && p->ranges[i].last + 1 < r.first)
        i++;
    for (end = i; end < p->range_count && p->ranges[end].first <= r.last + 1; end++) {
        r.first = p->ranges[end].first < r.first ? p->ranges[end].first : r.first;
        r.last = p->ranges[end].last > r.last ? p->ranges[end].last : r.last;
    }
    memmove(&p->ranges[i + 1], &p->ranges[end], (p->range_count - end) * sizeof(r));
    p->ranges[i] = r;
    p->range_count = p->range_count - (end - i) + 1;
}

static enum sp_err read_so(struct parse *p, struct sp_slice at, struct sp_slice value)
{
    size_t len;
    uint32_t parts = 0;
    char *text = decode(p, value, false, &len);

    if (text && !p->ranges)
        p->ranges = SP_ARENA_ARRAY(p->arena, struct sp_file_range, SP_MAGNET_RANGE_MAX + 1);
    if (!text || !p->ranges)
        return no_memory(p);
    struct sp_slice rest = {(const uint8_t *)text, len};
    do {
        struct sp_file_range range;
        bool more = rest.len && memchr(rest.ptr, ',', rest.len) != NULL;
        if (++parts > SP_MAGNET_RANGE_MAX || p->range_count == SP_MAGNET_RANGE_MAX)
            return fail(p, SP_ELIMIT, at, "so: has too many parts");
        if (!read_range(take_until(&rest, ','), &range) || (more && rest.len == 0))
            return fail(p, SP_EDATA, at, "so: is no list of file numbers and ranges");
        insert_range(p, range);
    } while (rest.len > 0);
    return SP_OK;
}

static enum sp_err read_name(struct parse *p, struct sp_slice value)
{
    size_t len;
    char *raw = decode(p, value, true, &len);
    char *text = raw ? SP_ARENA_ARRAY(p->arena, char, len + 1) : NULL;

    if (!text)
        return no_memory(p);
    if (len > 0 && !p->m->name) {
        (void)sp_text_clean((struct sp_slice){(const uint8_t *)raw, len}, false, text);
        p->m->name = text;
    }
    return SP_OK;
}

/* key without what follows it in "tr.1": some creators number repetitions. */
static struct sp_slice base_key(struct sp_slice key)
{
    size_t len = key.len;
    while (len > 0 && key.ptr[len - 1] >= '0' && key.ptr[len - 1] <= '9')
        len--;
    if (len < key.len && len > 1 && key.ptr[len - 1] == '.')
        key.len = len - 1;
    return key;
}

static enum sp_err read_param(struct parse *p, struct sp_slice key, struct sp_slice value)
{
    struct sp_slice at = key;
    uint64_t length;

    key = base_key(key);
    if (same_letters(key, "xt")) {
        size_t len;
        char *text = decode(p, value, false, &len);
        return text ? read_xt(p, at, (struct sp_slice){(const uint8_t *)text, len}) : no_memory(p);
    }
    if (same_letters(key, "dn"))
        return read_name(p, value);
    if (same_letters(key, "tr"))
        return read_tracker(p, value);
    if (same_letters(key, "ws"))
        return read_url(p, value, &p->web_seeds);
    if (same_letters(key, "xs"))
        return read_url(p, value, &p->exact_sources);
    if (same_letters(key, "as"))
        return read_url(p, value, &p->sources);
    if (same_letters(key, "x.pe"))
        return read_peer(p, value);
    if (same_letters(key, "so"))
        return read_so(p, at, value);
    if (same_letters(key, "xl") && read_dec(value, INT64_MAX, &length))
        p->m->length = length;
    return SP_OK;
}

static enum sp_err read_all(struct parse *p)
{
    struct sp_slice rest;

    if (p->in.len > SP_MAGNET_LEN_MAX)
        return fail(p, SP_ELIMIT, p->in, "is longer than 65536 bytes");
    if (!starts(p->in, "magnet:?", &rest))
        return fail(p, SP_EDATA, p->in, "is no magnet link: does not begin with \"magnet:?\"");
    const uint8_t *hash = rest.len ? memchr(rest.ptr, '#', rest.len) : NULL;
    if (hash) /* a fragment is no parameter */
        rest.len = (size_t)(hash - rest.ptr);

    while (rest.len > 0) {
        struct sp_slice value = take_until(&rest, '&');
        /* Custom: links pasted out of HTML have "&amp;" between parameters. */
        (void)starts(value, "amp;", &value);
        struct sp_slice key = take_until(&value, '=');
        enum sp_err err = read_param(p, key, value);
        if (err != SP_OK)
            return err;
    }
    if (!p->m->has_v1 && !p->m->has_v2)
        return fail(p, SP_EDATA, p->in, "xt: there is no urn:btih or urn:btmh");
    return SP_OK;
}

bool sp_magnet_is(struct sp_slice text)
{
    struct sp_slice rest;
    return starts(text, "magnet:?", &rest);
}

enum sp_err sp_magnet_parse(const struct sp_mem *mem, struct sp_slice text,
                            struct sp_magnet **ret_magnet, struct sp_diag *diag)
{
    struct impl *impl = SP_NEW(mem, struct impl);
    if (!impl)
        return sp_diag_set(diag, SP_ENOMEM, 0, "out of memory");
    impl->arena = sp_arena_of(mem);

    struct parse p = {.arena = &impl->arena, .m = &impl->pub, .diag = diag, .in = text};
    enum sp_err err = read_all(&p);
    if (err != SP_OK) {
        sp_magnet_free(&impl->pub);
        return err;
    }
    impl->pub.trackers = p.trackers;
    impl->pub.peers = p.peers;
    impl->pub.web_seeds = p.web_seeds.list;
    impl->pub.web_seed_count = p.web_seeds.count;
    impl->pub.exact_sources = p.exact_sources.list;
    impl->pub.exact_source_count = p.exact_sources.count;
    impl->pub.sources = p.sources.list;
    impl->pub.source_count = p.sources.count;
    impl->pub.ranges = p.ranges;
    impl->pub.range_count = p.range_count;
    *ret_magnet = &impl->pub;
    return SP_OK;
}

void sp_magnet_free(struct sp_magnet *magnet)
{
    if (!magnet)
        return;
    struct impl *impl = SP_CONTAINER(magnet, struct impl, pub);
    const struct sp_mem *mem = impl->arena.mem;
    sp_arena_done(&impl->arena);
    sp_mem_free(mem, impl);
}
