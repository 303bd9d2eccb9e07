#include "core/tracker/set.h"

struct host_key {
    struct sp_slice name;
    uint16_t port;
    bool is_udp, named_by_user;
};

struct url_key {
    struct sp_slice text;
    bool named_by_user;
};

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 32) : c;
}

static uint64_t hash_host(const struct sp_trackers *t, const struct host_key *k)
{
    uint8_t bytes[260] = {(uint8_t)(k->port >> 8), (uint8_t)k->port, k->is_udp, k->named_by_user};
    size_t n = 4;
    for (size_t i = 0; i < k->name.len && n < sizeof(bytes); i++)
        bytes[n++] = lower(k->name.ptr[i]);
    return sp_hash_bytes(&t->key, bytes, n);
}

static bool is_host(const void *owner, uint32_t ix, const void *key)
{
    const struct host *h = ((const struct sp_trackers *)owner)->hosts.entries[ix];
    const struct host_key *k = key;
    if (h->port != k->port || h->is_udp != k->is_udp || h->named_by_user != k->named_by_user ||
        strlen(h->name) != k->name.len)
        return false;
    for (size_t i = 0; i < k->name.len; i++) {
        if ((uint8_t)h->name[i] != lower(k->name.ptr[i]))
            return false;
    }
    return true;
}

static struct host_key key_of_host(const struct host *h)
{
    return (struct host_key){
        {(const uint8_t *)h->name, strlen(h->name)}, h->port, h->is_udp, h->named_by_user};
}

static uint64_t hash_url(const struct sp_trackers *t, const struct url_key *k)
{
    return sp_hash_bytes(&t->key, k->text.ptr, k->text.len) + k->named_by_user;
}

static bool is_url(const void *owner, uint32_t ix, const void *key)
{
    const struct turl *u = ((const struct sp_trackers *)owner)->urls.entries[ix];
    const struct url_key *k = key;
    return u->named_by_user == k->named_by_user && u->len == k->text.len &&
           memcmp(u->text, k->text.ptr, u->len) == 0;
}

enum sp_err sp_set_table_reserve(struct sp_trackers *t, struct table *table, uint32_t *ret_ix)
{
    while (table->low < table->cap && table->entries[table->low])
        table->low++;
    if (table->low == table->cap) {
        uint32_t cap = table->cap ? table->cap * 2 : 8;
        void **grown = sp_mem_grow(t->cfg.mem, table->entries, table->cap, cap, sizeof(void *));
        if (!grown)
            return SP_ENOMEM;
        table->entries = grown;
        table->cap = cap;
    }
    *ret_ix = table->low;
    return SP_OK;
}

void sp_set_table_put(struct table *table, uint32_t ix, void *entry)
{
    table->entries[ix] = entry;
    table->count++;
}

void sp_set_table_del(struct table *table, uint32_t ix)
{
    table->entries[ix] = NULL;
    table->count--;
    table->low = ix < table->low ? ix : table->low;
}

static void host_put(struct sp_trackers *t, struct host *h)
{
    struct host_key key = key_of_host(h);
    if (--h->refs > 0)
        return;
    sp_map_del(&t->by_host, hash_host(t, &key), h->ix);
    sp_timers_clear(&t->host_timers, &h->timer);
    if (h->is_ready)
        list_del(&t->ready[sp_set_kind(h)], &h->ready);
    if (h->ticket)
        sp_set_ticket_close(t, h->ticket, false);
    sp_set_table_del(&t->hosts, h->ix);
    sp_mem_free(t->cfg.mem, h->name);
    sp_mem_free(t->cfg.mem, h);
}

static struct host *host_make(struct sp_trackers *t, const struct host_key *key)
{
    struct host *h = SP_NEW(t->cfg.mem, struct host);
    if (!h)
        return NULL;
    h->name = SP_NEW_ARRAY(t->cfg.mem, char, key->name.len + 1);
    if (!h->name || sp_set_table_reserve(t, &t->hosts, &h->ix) != SP_OK ||
        sp_timers_reserve(&t->host_timers, t->hosts.count + 1) != SP_OK ||
        sp_map_put(&t->by_host, hash_host(t, key), h->ix) != SP_OK) {
        sp_mem_free(t->cfg.mem, h->name);
        sp_mem_free(t->cfg.mem, h);
        return NULL;
    }
    for (size_t i = 0; i < key->name.len; i++)
        h->name[i] = (char)lower(key->name.ptr[i]);
    h->port = key->port;
    h->is_udp = key->is_udp;
    h->named_by_user = key->named_by_user;
    sp_set_table_put(&t->hosts, h->ix, h);
    return h;
}

static struct host *host_get(struct sp_trackers *t, const struct sp_url *url, bool named_by_user)
{
    struct host_key key = {url->host, url->port, url->scheme == SP_URL_UDP, named_by_user};
    uint32_t ix = sp_map_find(&t->by_host, hash_host(t, &key), &key, is_host, t);
    struct host *h = ix != SP_MAP_NONE ? t->hosts.entries[ix] : host_make(t, &key);
    if (h)
        h->refs++;
    return h;
}

/* Printable ASCII from now on. */
static enum sp_err copy_text(struct sp_trackers *t, struct turl *u, struct sp_slice raw)
{
    struct sp_out o = sp_out_of(NULL, 0);
    sp_url_clean(&o, raw);
    if (raw.len == 0 || raw.len > SP_TRACKER_URL_MAX || o.len == 0 || o.len > SP_TRACKER_URL_MAX)
        return SP_EDATA;
    u->text = SP_NEW_ARRAY(t->cfg.mem, char, o.len + 1);
    if (!u->text)
        return SP_ENOMEM;
    o = sp_out_of((uint8_t *)u->text, o.len);
    sp_url_clean(&o, raw);
    u->len = (uint32_t)o.len;
    return SP_OK;
}

static enum sp_err look_at(struct sp_trackers *t, struct turl *u)
{
    struct sp_url url;
    if (sp_url_parse((struct sp_slice){(const uint8_t *)u->text, u->len}, &url, &u->why) != SP_OK)
        return SP_OK;
    u->why = NULL;
    u->scheme = url.scheme;
    u->target = url.target;
    if (url.scheme == SP_URL_OTHER) {
        u->why = "only http, https and udp trackers are supported";
        return SP_OK;
    }
    u->host = host_get(t, &url, u->named_by_user);
    return u->host ? SP_OK : SP_ENOMEM;
}

static void url_free(struct sp_trackers *t, struct turl *u)
{
    if (u->host)
        host_put(t, u->host);
    sp_mem_free(t->cfg.mem, u->text);
    sp_mem_free(t->cfg.mem, u);
}

enum sp_err sp_set_url_get(struct sp_trackers *t, const struct sp_tracker_url *from,
                           struct turl **ret_url)
{
    struct turl *u = SP_NEW(t->cfg.mem, struct turl);
    enum sp_err err = SP_ENOMEM;
    if (!u)
        return err;
    u->named_by_user = from->named_by_user;
    err = copy_text(t, u, sp_url_trim(from->url));
    if (err != SP_OK)
        goto fail;

    struct url_key key = {{(const uint8_t *)u->text, u->len}, u->named_by_user};
    uint32_t ix = sp_map_find(&t->by_url, hash_url(t, &key), &key, is_url, t);
    if (ix != SP_MAP_NONE) {
        url_free(t, u);
        u = t->urls.entries[ix];
    } else {
        err = look_at(t, u);
        if (err != SP_OK)
            goto fail;
        err = SP_ENOMEM;
        if (sp_set_table_reserve(t, &t->urls, &u->ix) != SP_OK ||
            sp_map_put(&t->by_url, hash_url(t, &key), u->ix) != SP_OK)
            goto fail;
        sp_set_table_put(&t->urls, u->ix, u);
    }
    u->refs++;
    *ret_url = u;
    return SP_OK;
fail:
    url_free(t, u);
    return err;
}

void sp_set_url_put(struct sp_trackers *t, struct turl *u)
{
    struct url_key key = {{(const uint8_t *)u->text, u->len}, u->named_by_user};
    if (--u->refs > 0)
        return;
    sp_map_del(&t->by_url, hash_url(t, &key), u->ix);
    sp_set_table_del(&t->urls, u->ix);
    url_free(t, u);
}

/* -- text from trackers -- */

/* Length of the UTF-8 sequence at s, 0 when it is none. */
static size_t sequence_len(struct sp_slice s, uint32_t *ret_char)
{
    uint8_t c = s.ptr[0];
    size_t n = c < 0x80 ? 1 : c >= 0xf0 && c < 0xf5 ? 4 : c >= 0xe0 ? 3 : c >= 0xc2 ? 2 : 0;
    uint32_t v = n == 1 ? c : n == 2 ? c & 31u : n == 3 ? c & 15u : c & 7u;
    if (n == 0 || c >= 0xf5 || n > s.len)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((s.ptr[i] & 0xc0) != 0x80)
            return 0;
        v = v << 6 | (s.ptr[i] & 63u);
    }
    if ((n == 3 && v < 0x800) || (n == 4 && (v < 0x10000 || v > 0x10ffff)) ||
        (v >= 0xd800 && v < 0xe000))
        return 0;
    *ret_char = v;
    return n;
}

/* Control characters and those that turn the writing direction. */
static bool is_printable(uint32_t c)
{
    return c >= ' ' && !(c >= 0x7f && c < 0xa0) && c != 0x200e && c != 0x200f &&
           !(c >= 0x2028 && c <= 0x202e) && !(c >= 0x2066 && c <= 0x2069) && c != 0xfeff;
}

size_t sp_set_clean_text(struct sp_slice in, char *buf, size_t cap)
{
    size_t len = 0;
    for (size_t at = 0, n; at < in.len; at += n) {
        uint32_t c = 0;
        size_t seq = sequence_len((struct sp_slice){in.ptr + at, in.len - at}, &c);
        bool fine = seq > 0 && is_printable(c);
        n = seq ? seq : 1;
        if (len + (fine ? n : 1) >= cap)
            break;
        if (fine)
            memcpy(buf + len, in.ptr + at, n);
        else
            buf[len] = seq ? ' ' : '?';
        len += fine ? n : 1;
    }
    while (len > 0 && buf[len - 1] == ' ')
        len--;
    buf[len] = '\0';
    return len;
}
