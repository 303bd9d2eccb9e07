#include "core/wire/ut_pex.h"

#include <string.h>

#include "spate/bencode.h"

enum { TOK_MAX = 64, DEPTH_MAX = 4 };

/* A list of contacts of one family as it lies in the message. */
struct list {
    const uint8_t *at;
    uint32_t count;
    enum sp_family family;
};

static size_t contact_len(enum sp_family family)
{
    return family == SP_V4 ? SP_COMPACT4_LEN : SP_COMPACT6_LEN;
}

static struct sp_addr at(const struct list *l, uint32_t ix)
{
    return sp_addr_of_compact(l->at + ix * contact_len(l->family), l->family);
}

/* False when key is there and no such list; *ret_list is empty without it. */
static bool find_list(const struct sp_ben *doc, const char *key, enum sp_family family,
                      struct list *ret_list, bool *has_any)
{
    uint32_t ix = sp_ben_find(doc, 0, key);
    struct sp_slice bytes;

    *ret_list = (struct list){.family = family};
    if (ix == SP_BEN_NONE)
        return true;
    if (!sp_ben_str(doc, ix, &bytes) || bytes.len % contact_len(family) != 0)
        return false;
    *has_any = true;
    ret_list->at = bytes.ptr;
    ret_list->count = (uint32_t)(bytes.len / contact_len(family));
    return true;
}

/* BEP-0011: "optional, bit-flags, 1 byte per added IPv4 peer" */
static bool find_flags(const struct sp_ben *doc, const char *key, uint32_t count,
                       const uint8_t **ret_flags)
{
    uint32_t ix = sp_ben_find(doc, 0, key);
    struct sp_slice bytes;

    *ret_flags = NULL;
    if (ix == SP_BEN_NONE)
        return true;
    if (!sp_ben_str(doc, ix, &bytes) || bytes.len != count)
        return false;
    *ret_flags = bytes.ptr;
    return true;
}

enum known { NEW, SAME_HOST, SAME };

/* Hosts of a home or a laboratory are told apart by their ports: behind one
 * address of the internet many contacts are more likely an attack on it. */
static enum known known(const struct sp_pex_msg *m, const struct sp_addr *addr)
{
    enum known best = NEW;
    for (uint32_t i = 0; i < m->added_count; i++) {
        if (!sp_addr_same_ip(&m->added[i].addr, addr))
            continue;
        if (m->added[i].addr.port == addr->port)
            return SAME;
        if (sp_addr_scope(addr) == SP_SCOPE_GLOBAL)
            best = SAME_HOST;
    }
    return best;
}

static void take_added(const struct list *l, const uint8_t *flags, struct sp_pex_msg *m)
{
    uint32_t end = m->added_count + SP_PEX_KEEP_MAX;

    m->added_told += l->count;
    for (uint32_t i = 0; i < l->count && m->added_count < end; i++) {
        struct sp_addr addr = at(l, i);
        if (addr.port == 0)
            continue;
        /* BEP-0011: "Duplicate IP addresses (e.g. with different ports) should
         * be ignored." */
        enum known is = known(m, &addr);
        /* BEP-0011: "Added or removed contacts must not contain duplicates." */
        m->contradicts |= is == SAME;
        if (is != NEW)
            continue;
        m->added[m->added_count++] = (struct sp_pex_contact){
            .addr = addr, .flags = flags ? (uint8_t)(flags[i] & SP_PEX_FLAGS) : (uint8_t)0};
    }
}

static void take_dropped(const struct list *l, struct sp_pex_msg *m)
{
    uint32_t end = m->dropped_count + SP_PEX_KEEP_MAX;

    m->dropped_told += l->count;
    for (uint32_t i = 0; i < l->count && m->dropped_count < end; i++)
        m->dropped[m->dropped_count++] = at(l, i);
}

/* BEP-0011: "An added contact must not be dropped in the same message." */
static bool is_crossed(const struct sp_pex_msg *m)
{
    for (uint32_t i = 0; i < m->dropped_count; i++) {
        for (uint32_t k = 0; k < m->added_count; k++) {
            if (sp_addr_eq(&m->dropped[i], &m->added[k].addr))
                return true;
        }
    }
    return false;
}

enum sp_err sp_pex_read(struct sp_slice payload, struct sp_pex_msg *ret_msg)
{
    struct sp_ben_tok toks[TOK_MAX];
    struct sp_ben_limits limits = {.depth_max = DEPTH_MAX, .tok_max = TOK_MAX};
    struct list added4, added6, dropped4, dropped6;
    const uint8_t *flags4, *flags6;
    bool has_any = false;
    struct sp_ben doc;

    if (sp_ben_read(payload, &limits, toks, &doc, NULL) != SP_OK ||
        !sp_ben_is(&doc, 0, SP_BEN_DICT))
        return SP_EPROTO;
    if (!find_list(&doc, "added", SP_V4, &added4, &has_any) ||
        !find_list(&doc, "added6", SP_V6, &added6, &has_any) ||
        /* BEP-0011, not followed: "dropped: one or more contacts in IPv6 compact
         * format" is a slip of the text: every client sends IPv4 there. */
        !find_list(&doc, "dropped", SP_V4, &dropped4, &has_any) ||
        !find_list(&doc, "dropped6", SP_V6, &dropped6, &has_any) ||
        !find_flags(&doc, "added.f", added4.count, &flags4) ||
        !find_flags(&doc, "added6.f", added6.count, &flags6))
        return SP_EPROTO;
    /* BEP-0011: "Messages must contain at least one of the following fields:
     * added, added6, dropped, dropped6." */
    if (!has_any)
        return SP_EPROTO;

    ret_msg->added_count = ret_msg->dropped_count = 0;
    ret_msg->added_told = ret_msg->dropped_told = 0;
    ret_msg->contradicts = false;
    take_added(&added4, flags4, ret_msg);
    take_added(&added6, flags6, ret_msg);
    take_dropped(&dropped4, ret_msg);
    take_dropped(&dropped6, ret_msg);
    ret_msg->contradicts |= is_crossed(ret_msg);
    return SP_OK;
}

/* ---- writing ---- */

/* One string of all contacts of a family; flags go to theirs. */
struct packed {
    uint8_t bytes[SP_PEX_SEND_MAX * SP_COMPACT6_LEN];
    uint8_t flags[SP_PEX_SEND_MAX];
    size_t len;
    uint32_t count;
};

static void pack(struct packed *p, const struct sp_addr *addr, uint8_t flags)
{
    p->len += sp_addr_compact(addr, p->bytes + p->len);
    p->flags[p->count++] = flags;
}

static void put(struct sp_ben_writer *w, const char *key, const struct packed *p)
{
    if (p->count == 0)
        return;
    sp_ben_put_key(w, key);
    sp_ben_put_str(w, (struct sp_slice){p->bytes, p->len});
}

static void put_flags(struct sp_ben_writer *w, const char *key, const struct packed *p)
{
    if (p->count == 0)
        return;
    sp_ben_put_key(w, key);
    sp_ben_put_str(w, (struct sp_slice){p->flags, p->count});
}

enum sp_err sp_pex_write(const struct sp_pex_msg *msg, uint8_t *buf, size_t cap, size_t *ret_len)
{
    struct packed added[2] = {0}, dropped[2] = {0}; /* v4, v6 */
    struct sp_ben_writer w = sp_ben_writer_of(buf, cap);
    size_t len;

    if (msg->added_count > SP_PEX_SEND_MAX || msg->dropped_count > SP_PEX_SEND_MAX ||
        msg->added_count + msg->dropped_count == 0)
        return SP_EINVAL;
    for (uint32_t i = 0; i < msg->added_count; i++) {
        const struct sp_pex_contact *c = &msg->added[i];
        pack(&added[c->addr.family == SP_V6], &c->addr, c->flags);
    }
    for (uint32_t i = 0; i < msg->dropped_count; i++)
        pack(&dropped[msg->dropped[i].family == SP_V6], &msg->dropped[i], 0);

    sp_ben_put_dict(&w);
    put(&w, "added", &added[0]);
    put_flags(&w, "added.f", &added[0]);
    put(&w, "added6", &added[1]);
    put_flags(&w, "added6.f", &added[1]);
    put(&w, "dropped", &dropped[0]);
    put(&w, "dropped6", &dropped[1]);
    sp_ben_put_end(&w);
    enum sp_err err = sp_ben_writer_end(&w, &len);
    if (err == SP_OK)
        *ret_len = len;
    return err;
}
