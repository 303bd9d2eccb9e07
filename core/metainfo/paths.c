#include "core/metainfo/paths.h"

#include "core/base/cur.h"
#include "core/base/out.h"
#include "core/metainfo/name.h"

enum { PLAIN_MARKS = 8 }; /* "~2" to "~9"; after that a hash, so that nobody makes us search */

struct raw_key {
    uint32_t parent;
    struct sp_slice raw;
};

static struct sp_slice name_of(const struct sp_path_node *n)
{
    return (struct sp_slice){.ptr = (const uint8_t *)n->name, .len = n->name_len};
}

static bool is_raw(const void *owner, uint32_t ix, const void *key)
{
    const struct sp_path_node *n = &((const struct sp_paths *)owner)->nodes[ix];
    const struct raw_key *k = key;
    return n->parent == k->parent && n->raw.len == k->raw.len &&
           memcmp(n->raw.ptr, k->raw.ptr, k->raw.len) == 0;
}

static bool is_name(const void *owner, uint32_t ix, const void *key)
{
    const struct sp_path_node *n = &((const struct sp_paths *)owner)->nodes[ix];
    const struct raw_key *k = key;
    return n->parent == k->parent && sp_name_same(name_of(n), k->raw);
}

static uint64_t raw_hash(const struct sp_paths *t, uint32_t parent, struct sp_slice raw)
{
    struct sp_hash_key key = {t->key.k0, t->key.k1 ^ parent};
    return sp_hash_bytes(&key, raw.ptr, raw.len);
}

enum sp_err sp_paths_init(struct sp_paths *t, const struct sp_mem *mem, struct sp_arena *arena,
                          const uint8_t seed[16], struct sp_slice root_raw, const char *root)
{
    *t = (struct sp_paths){.arena = arena,
                           .key = {sp_be64(seed), sp_be64(seed + 8)},
                           .by_raw = sp_map_of(mem),
                           .by_name = sp_map_of(mem),
                           .cap = 16};
    t->nodes = SP_NEW_ARRAY(mem, struct sp_path_node, t->cap);
    if (!t->nodes)
        return SP_ENOMEM;
    size_t len = strlen(root);
    t->nodes[0] = (struct sp_path_node){.raw = root_raw,
                                        .name = root,
                                        .name_len = (uint8_t)len,
                                        .renamed = len != root_raw.len ||
                                                   memcmp(root, root_raw.ptr, len) != 0};
    t->count = 1;
    return SP_OK;
}

void sp_paths_done(struct sp_paths *t)
{
    if (t->by_raw.mem)
        sp_mem_free(t->by_raw.mem, t->nodes);
    sp_map_done(&t->by_raw);
    sp_map_done(&t->by_name);
}

uint32_t sp_paths_find(const struct sp_paths *t, uint32_t parent, struct sp_slice raw)
{
    struct raw_key key = {parent, raw};
    return sp_map_find(&t->by_raw, raw_hash(t, parent, raw), &key, is_raw, t);
}

static bool is_taken(const struct sp_paths *t, uint32_t parent, const struct sp_name *name,
                     uint64_t *ret_hash)
{
    struct raw_key key = {parent, {.ptr = (const uint8_t *)name->text, .len = name->len}};
    *ret_hash = sp_name_hash(&t->key, parent, key.raw);
    return sp_map_find(&t->by_name, *ret_hash, &key, is_name, t) != SP_MAP_NONE;
}

/* The first of name, name~2, ... name~9, name~HASH that no sibling has. */
static void make_distinct(const struct sp_paths *t, uint32_t parent, struct sp_slice raw,
                          struct sp_name *name, uint64_t *ret_hash)
{
    struct sp_name plain = *name;

    for (uint64_t n = 2; is_taken(t, parent, name, ret_hash); n++) {
        char mark[24] = "~";
        struct sp_out o = sp_out_of((uint8_t *)mark + 1, sizeof(mark) - 2);
        if (n < 2 + PLAIN_MARKS)
            sp_out_dec(&o, n);
        else
            sp_out_dec(&o, raw_hash(t, parent, raw) + n);
        sp_name_mark(&plain, mark, name);
    }
}

static enum sp_err reserve(struct sp_paths *t)
{
    if (t->count < t->cap)
        return SP_OK;
    uint32_t cap = t->cap * 2; /* components are bounded by tokens: no overflow */
    struct sp_path_node *nodes = (struct sp_path_node *)sp_mem_grow(
        t->by_raw.mem, t->nodes, t->count, cap, sizeof(nodes[0]));
    if (!nodes)
        return SP_ENOMEM;
    t->nodes = nodes;
    t->cap = cap;
    return SP_OK;
}

enum sp_err sp_paths_add(struct sp_paths *t, uint32_t parent, struct sp_slice raw, uint32_t file_ix,
                         uint32_t *ret_node)
{
    struct sp_name name;
    uint64_t hash;

    if (reserve(t) != SP_OK)
        return SP_ENOMEM;
    sp_name_clean(raw, &name);
    make_distinct(t, parent, raw, &name, &hash);

    struct sp_slice clean = {.ptr = (const uint8_t *)name.text, .len = name.len};
    bool same = raw.len == clean.len && memcmp(raw.ptr, clean.ptr, raw.len) == 0;
    const char *kept = same ? (const char *)raw.ptr : sp_arena_text(t->arena, clean);
    if (!kept)
        return SP_ENOMEM;

    uint32_t ix = t->count;
    t->nodes[ix] = (struct sp_path_node){.raw = raw,
                                         .name = kept,
                                         .parent = parent,
                                         .file_ix = file_ix,
                                         .name_len = (uint8_t)name.len,
                                         .renamed = !same || t->nodes[parent].renamed};
    if (sp_map_put(&t->by_name, hash, ix) != SP_OK ||
        sp_map_put(&t->by_raw, raw_hash(t, parent, raw), ix) != SP_OK)
        return SP_ENOMEM;
    t->count++;
    *ret_node = ix;
    return SP_OK;
}

char *sp_paths_text(struct sp_paths *t, uint32_t node, size_t extra, size_t *ret_len)
{
    size_t len = t->nodes[0].name_len;
    for (uint32_t n = node; n != 0; n = t->nodes[n].parent)
        len += 1u + t->nodes[n].name_len;

    char *text = SP_ARENA_ARRAY(t->arena, char, len + extra + 1);
    if (!text)
        return NULL;
    char *at = text + len;
    for (uint32_t n = node; n != 0; n = t->nodes[n].parent) {
        at -= t->nodes[n].name_len;
        memcpy(at, t->nodes[n].name, t->nodes[n].name_len);
        *--at = '/';
    }
    memcpy(text, t->nodes[0].name, t->nodes[0].name_len);
    *ret_len = len;
    return text;
}
