#include "core/base/out.h"
#include "core/metainfo/name.h"
#include "core/metainfo/parse.h"
#include "core/metainfo/paths.h"

/* The list of files while it is read. */
struct files {
    struct sp_mi_parse *p;
    struct sp_paths paths;
    struct sp_file *list; /* file_count of them, in the arena */
    uint32_t count;
    uint64_t total;
    bool has_symlinks;
};

static enum sp_err no_memory(struct files *f)
{
    return sp_mi_fail(f->p, SP_ENOMEM, SP_BEN_NONE, "out of memory", 0, 0);
}

/* "info.files[ix].key[part]: reason" */
static enum sp_err fail_part(struct files *f, uint32_t tok, const char *key, uint32_t ix,
                             uint32_t part, const char *reason)
{
    char text[96];
    struct sp_out o = sp_out_of((uint8_t *)text, sizeof(text) - 1);
    sp_out_str(&o, "info.files[%].");
    sp_out_str(&o, key);
    sp_out_str(&o, "[%]: ");
    sp_out_str(&o, reason);
    text[o.len < o.cap ? o.len : o.cap] = '\0';
    return sp_mi_fail(f->p, SP_EDATA, tok, text, ix, part);
}

/* BEP-0047: "the characters each represent a file attribute [...] Characters
 * appear in no particular order and unknown characters should be ignored." */
static uint32_t attr_of(struct sp_slice s)
{
    uint32_t attr = 0;
    for (size_t i = 0; i < s.len; i++) {
        attr |= s.ptr[i] == 'p' ? SP_ATTR_PAD : 0u;
        attr |= s.ptr[i] == 'x' ? SP_ATTR_EXECUTABLE : 0u;
        attr |= s.ptr[i] == 'h' ? SP_ATTR_HIDDEN : 0u;
        attr |= s.ptr[i] == 'l' ? SP_ATTR_SYMLINK : 0u;
    }
    return attr & SP_ATTR_SYMLINK ? attr & ~(uint32_t)SP_ATTR_PAD : attr;
}

static bool all_utf8(const struct sp_ben *b, uint32_t list_ix)
{
    struct sp_slice s;
    uint32_t at = sp_ben_first(b, list_ix);
    bool ok = at != SP_BEN_NONE;
    for (; ok && at != SP_BEN_NONE; at = sp_ben_next(b, list_ix, at))
        ok = sp_ben_str(b, at, &s) && sp_utf8_is_valid(s);
    return ok;
}

/* path.utf-8 when it is usable (Custom: seen in BitComet, uTorrent), else path.
 * BEP-0047: "clients implementing this BEP should not require it to be present
 * on padding files": SP_BEN_NONE then. */
static enum sp_err choose_path(struct files *f, uint32_t dict_ix, uint32_t ix, uint32_t attr,
                               uint32_t *ret_tok)
{
    const struct sp_ben *b = &f->p->ben;
    uint32_t tok = sp_ben_find(b, dict_ix, "path");
    uint32_t utf8 = sp_ben_find(b, dict_ix, "path.utf-8");

    if (sp_ben_is(b, utf8, SP_BEN_LIST) && all_utf8(b, utf8))
        tok = utf8;
    if (tok == SP_BEN_NONE && !(attr & SP_ATTR_PAD))
        return sp_mi_fail(f->p, SP_EDATA, dict_ix, "info.files[%].path: is absent", ix, 0);
    if (tok != SP_BEN_NONE && !sp_ben_is(b, tok, SP_BEN_LIST))
        return sp_mi_fail(f->p, SP_EDATA, tok, "info.files[%].path: is no list", ix, 0);
    if (tok != SP_BEN_NONE && sp_ben_first(b, tok) == SP_BEN_NONE)
        return sp_mi_fail(f->p, SP_EDATA, tok, "info.files[%].path: is empty", ix, 0);
    *ret_tok = tok;
    return SP_OK;
}

/* Every component of a list that is no empty one. */
static enum sp_err check_parts(struct files *f, uint32_t list_ix, const char *key, uint32_t ix)
{
    const struct sp_ben *b = &f->p->ben;
    uint32_t part = 0;

    for (uint32_t at = sp_ben_first(b, list_ix); at != SP_BEN_NONE;
         at = sp_ben_next(b, list_ix, at), part++) {
        struct sp_slice s;
        if (part == f->p->limits->path_depth_max)
            return sp_mi_fail(f->p, SP_ELIMIT, at,
                              "info.files[%]: a path has more than % components", ix, part);
        if (!sp_ben_str(b, at, &s))
            return fail_part(f, at, key, ix, part, "is no string");
        const char *refusal = sp_name_refusal(s);
        if (refusal)
            return fail_part(f, at, key, ix, part, refusal);
    }
    return SP_OK;
}

/* The path's nodes; new ones but for the directories that are there. */
static enum sp_err add_path(struct files *f, uint32_t list_ix, uint32_t ix, uint32_t *ret_node)
{
    const struct sp_ben *b = &f->p->ben;
    uint32_t node = 0;

    for (uint32_t at = sp_ben_first(b, list_ix), next; at != SP_BEN_NONE; at = next) {
        struct sp_slice s;
        (void)sp_ben_str(b, at, &s);
        next = sp_ben_next(b, list_ix, at);

        uint32_t child = sp_paths_find(&f->paths, node, s);
        if (child == SP_MAP_NONE) {
            if (sp_paths_add(&f->paths, node, s, ix, &child) != SP_OK)
                return no_memory(f);
            f->paths.nodes[child].is_file = next == SP_BEN_NONE;
        } else {
            const struct sp_path_node *n = &f->paths.nodes[child];
            if (n->is_file && next == SP_BEN_NONE)
                return sp_mi_fail(f->p, SP_EDATA, list_ix,
                                  "info.files[%].path: is the same as that of files[%]", ix,
                                  n->file_ix);
            if (n->is_file)
                return sp_mi_fail(f->p, SP_EDATA, list_ix,
                                  "info.files[%].path: lies below files[%], which is no directory",
                                  ix, n->file_ix);
            if (next == SP_BEN_NONE)
                return sp_mi_fail(f->p, SP_EDATA, list_ix,
                                  "info.files[%].path: is a directory of files[%]", ix, n->file_ix);
        }
        node = child;
    }
    *ret_node = node;
    return SP_OK;
}

static enum sp_err keep_path(struct files *f, uint32_t tok, uint32_t ix, const char *text,
                             size_t len)
{
    if (!text)
        return no_memory(f);
    if (len > f->p->limits->path_len_max)
        return sp_mi_fail(f->p, SP_ELIMIT, tok, "info.files[%].path: is longer than % bytes", ix,
                          f->p->limits->path_len_max);
    f->list[ix].path = text;
    f->list[ix].path_len = (uint32_t)len;
    return SP_OK;
}

/* Pad files are written nowhere: they take no part in the tree, and may repeat.
 * BEP-0047: "The recommended path is [".pad", "N"] where N is the length". */
static enum sp_err pad_path(struct files *f, uint32_t tok, uint32_t ix)
{
    size_t len;
    struct sp_slice name = SP_LIT(".pad/");
    char *text = sp_paths_text(&f->paths, 0, name.len + 21, &len);

    if (!text)
        return no_memory(f);
    struct sp_out o = sp_out_of((uint8_t *)text + len, name.len + 21);
    sp_out_u8(&o, '/');
    sp_out_bytes(&o, name.ptr, name.len);
    sp_out_dec(&o, f->list[ix].length);
    f->list[ix].renamed = true;
    return keep_path(f, tok, ix, text, len + o.len);
}

static enum sp_err read_path(struct files *f, uint32_t dict_ix, uint32_t ix)
{
    struct sp_file *file = &f->list[ix];
    uint32_t tok = SP_BEN_NONE, node = 0;
    enum sp_err err = choose_path(f, dict_ix, ix, file->attr, &tok);

    if (err == SP_OK)
        err = check_parts(f, tok, "path", ix);
    if (err != SP_OK)
        return err;
    if (sp_ben_raw(&f->p->ben, tok, &file->raw_path))
        file->raw_is_list = true;
    if (file->attr & SP_ATTR_PAD)
        return pad_path(f, tok, ix);

    err = add_path(f, tok, ix, &node);
    if (err != SP_OK)
        return err;
    size_t len = 0;
    const char *text = sp_paths_text(&f->paths, node, 0, &len);
    file->renamed = f->paths.nodes[node].renamed;
    return keep_path(f, tok, ix, text, len);
}

/* The place in the torrent of a file whose length is set. */
static enum sp_err place(struct files *f, uint32_t tok, uint32_t ix)
{
    struct sp_file *file = &f->list[ix];
    uint64_t end, piece_length = f->p->mi->piece_length;

    if (__builtin_add_overflow(f->total, file->length, &end) || end > INT64_MAX)
        return sp_mi_fail(f->p, SP_EDATA, tok, "info.files[%].length: the sum is too large", ix, 0);
    /* Checked before the numbers of pieces are trusted to 32 bits. */
    if ((end + piece_length - 1) / piece_length > f->p->limits->piece_max)
        return f->p->mi->single_file
                   ? sp_mi_fail(f->p, SP_ELIMIT, tok, "info.length: asks for more than % pieces",
                                f->p->limits->piece_max, 0)
                   : sp_mi_fail(f->p, SP_ELIMIT, tok,
                                "info.files[%].length: asks for more than % pieces", ix,
                                f->p->limits->piece_max);
    file->offset = f->total;
    file->piece_first = (uint32_t)(f->total / piece_length);
    file->piece_end = file->length ? (uint32_t)((end - 1) / piece_length + 1) : file->piece_first;
    f->total = end;
    return SP_OK;
}

static enum sp_err read_attr(struct files *f, uint32_t dict_ix, const char *complaint, uint32_t ix)
{
    struct sp_slice s = {0};
    uint32_t tok = sp_ben_find(&f->p->ben, dict_ix, "attr");

    if (tok != SP_BEN_NONE && !sp_ben_str(&f->p->ben, tok, &s))
        return sp_mi_fail(f->p, SP_EDATA, tok, complaint, ix, 0);
    f->list[ix].attr = attr_of(s);
    return SP_OK;
}

static enum sp_err read_file(struct files *f, uint32_t dict_ix, uint32_t ix)
{
    struct sp_file *file = &f->list[ix];
    uint32_t tok = sp_ben_find(&f->p->ben, dict_ix, "length");

    if (!sp_ben_is(&f->p->ben, dict_ix, SP_BEN_DICT))
        return sp_mi_fail(f->p, SP_EDATA, dict_ix, "info.files[%]: is no dictionary", ix, 0);
    enum sp_err err = read_attr(f, dict_ix, "info.files[%].attr: is no string", ix);
    if (err != SP_OK)
        return err;
    /* BEP-0047: "The length of a symlink is always zero [...] clients
     * implementing with this BEP should not require their presence" */
    bool is_link = file->attr & SP_ATTR_SYMLINK;
    if (tok != SP_BEN_NONE || !is_link)
        err = sp_mi_length(f->p, dict_ix, tok, "info.files[%].length", ix, &file->length);
    if (err == SP_OK && is_link && file->length != 0)
        err = sp_mi_fail(f->p, SP_EDATA, tok, "info.files[%].length: of a symlink is not zero", ix,
                         0);
    f->has_symlinks |= is_link;
    if (err == SP_OK)
        err = place(f, tok, ix);
    return err == SP_OK ? read_path(f, dict_ix, ix) : err;
}

/* --- symlinks, once all paths are known ---------------------------------------- */

/* BEP-0047: "the symlink path is relative to the torrent root and must not
 * contain .. elements. It should also target another file within the torrent,
 * otherwise a dangling symlink will be created." */
static enum sp_err read_target(struct files *f, uint32_t dict_ix, uint32_t ix)
{
    const struct sp_ben *b = &f->p->ben;
    uint32_t tok = sp_ben_find(b, dict_ix, "symlink path"), node = 0;
    size_t len = 0;

    if (tok == SP_BEN_NONE)
        return sp_mi_fail(f->p, SP_EDATA, dict_ix, "info.files[%].symlink path: is absent", ix, 0);
    if (!sp_ben_is(b, tok, SP_BEN_LIST))
        return sp_mi_fail(f->p, SP_EDATA, tok, "info.files[%].symlink path: is no list", ix, 0);
    if (sp_ben_first(b, tok) == SP_BEN_NONE)
        return sp_mi_fail(f->p, SP_EDATA, tok, "info.files[%].symlink path: is empty", ix, 0);
    enum sp_err err = check_parts(f, tok, "symlink path", ix);
    if (err != SP_OK)
        return err;

    for (uint32_t at = sp_ben_first(b, tok); at != SP_BEN_NONE; at = sp_ben_next(b, tok, at)) {
        struct sp_slice s;
        (void)sp_ben_str(b, at, &s);
        uint32_t child = sp_paths_find(&f->paths, node, s);
        /* A target outside the list gets a node of its own, so that it is cleaned
         * the same way and is nobody else's path. */
        if (child == SP_MAP_NONE && sp_paths_add(&f->paths, node, s, ix, &child) != SP_OK)
            return no_memory(f);
        node = child;
    }
    const char *text = sp_paths_text(&f->paths, node, 0, &len);
    if (!text)
        return no_memory(f);
    if (len > f->p->limits->path_len_max)
        return sp_mi_fail(f->p, SP_ELIMIT, tok,
                          "info.files[%].symlink path: is longer than % bytes", ix,
                          f->p->limits->path_len_max);
    f->list[ix].symlink = text;
    return SP_OK;
}

static enum sp_err read_targets(struct files *f, uint32_t list_ix)
{
    const struct sp_ben *b = &f->p->ben;
    uint32_t ix = 0;
    enum sp_err err = SP_OK;

    for (uint32_t at = sp_ben_first(b, list_ix); err == SP_OK && at != SP_BEN_NONE;
         at = sp_ben_next(b, list_ix, at), ix++)
        if (f->list[ix].attr & SP_ATTR_SYMLINK)
            err = read_target(f, at, ix);
    return err;
}

/* --- one file or many ------------------------------------------------------------ */

static enum sp_err read_single(struct files *f, uint32_t info_ix, uint32_t length_tok)
{
    struct sp_file *file = &f->list[0];
    struct sp_metainfo *mi = f->p->mi;
    enum sp_err err = sp_mi_length(f->p, info_ix, length_tok, "info.length", 0, &file->length);

    if (err == SP_OK)
        err = read_attr(f, info_ix, "info.attr: is no string", 0);
    if (err == SP_OK && file->length == 0)
        return sp_mi_fail(f->p, SP_EDATA, length_tok, "info.length: is zero", 0, 0);
    if (err == SP_OK)
        err = place(f, length_tok, 0);
    file->attr &= SP_ATTR_EXECUTABLE | SP_ATTR_HIDDEN;
    file->path = mi->name;
    file->path_len = (uint32_t)strlen(mi->name);
    file->raw_path = mi->raw_name;
    file->renamed = f->paths.nodes[0].renamed;
    return err;
}

static enum sp_err read_many(struct files *f, uint32_t list_ix)
{
    const struct sp_ben *b = &f->p->ben;
    uint32_t ix = 0;
    enum sp_err err = SP_OK;

    for (uint32_t at = sp_ben_first(b, list_ix); err == SP_OK && at != SP_BEN_NONE;
         at = sp_ben_next(b, list_ix, at), ix++)
        err = read_file(f, at, ix);
    /* Custom: libtorrent, too, refuses a torrent without a byte. */
    if (err == SP_OK && f->total == 0)
        err = sp_mi_fail(f->p, SP_EDATA, list_ix, "info.files: the lengths add up to zero", 0, 0);
    return err == SP_OK && f->has_symlinks ? read_targets(f, list_ix) : err;
}

static enum sp_err count_files(struct sp_mi_parse *p, uint32_t list_ix, uint32_t *ret_count)
{
    uint32_t count = 0;

    if (!sp_ben_is(&p->ben, list_ix, SP_BEN_LIST))
        return sp_mi_fail(p, SP_EDATA, list_ix, "info.files: is no list", 0, 0);
    for (uint32_t at = sp_ben_first(&p->ben, list_ix); at != SP_BEN_NONE;
         at = sp_ben_next(&p->ben, list_ix, at))
        count++;
    if (count == 0)
        return sp_mi_fail(p, SP_EDATA, list_ix, "info.files: is empty", 0, 0);
    if (count > p->limits->file_max)
        return sp_mi_fail(p, SP_ELIMIT, list_ix, "info.files: has % entries, more than %", count,
                          p->limits->file_max);
    *ret_count = count;
    return SP_OK;
}

enum sp_err sp_mi_read_files(struct sp_mi_parse *p, uint32_t info_ix)
{
    struct sp_metainfo *mi = p->mi;
    struct files f = {.p = p, .count = 1};
    uint32_t length = sp_ben_find(&p->ben, info_ix, "length");
    uint32_t list = sp_ben_find(&p->ben, info_ix, "files");
    enum sp_err err = SP_OK;

    /* BEP-0003: "There is also a key length or a key files, but not both or
     * neither." */
    if (length != SP_BEN_NONE && list != SP_BEN_NONE)
        return sp_mi_fail(p, SP_EDATA, list, "info: has both length and files", 0, 0);
    if (length == SP_BEN_NONE && list == SP_BEN_NONE)
        return sp_mi_fail(p, SP_EDATA, info_ix, "info: has neither length nor files", 0, 0);
    if (list != SP_BEN_NONE)
        err = count_files(p, list, &f.count);
    if (err != SP_OK)
        return err;

    f.list = SP_ARENA_ARRAY(p->arena, struct sp_file, f.count);
    if (!f.list)
        return no_memory(&f);
    if (sp_paths_init(&f.paths, p->mem, p->arena, mi->info_hash_v1, mi->raw_name, mi->name) !=
        SP_OK)
        return no_memory(&f);
    mi->single_file = list == SP_BEN_NONE;
    err = mi->single_file ? read_single(&f, info_ix, length) : read_many(&f, list);
    sp_paths_done(&f.paths);
    mi->files = f.list;
    mi->file_count = f.count;
    mi->total_length = f.total;
    return err;
}
