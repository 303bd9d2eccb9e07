/* The "file tree" of a hybrid beside its v1 list (BEP-0052). */
#include "core/metainfo/parse.h"

struct walk {
    struct sp_mi_parse *p;
    struct sp_file *files;
    uint32_t file_ix;                   /* the next one to be met */
    uint32_t depth;                     /* open directories */
    uint32_t dirs[SP_BEN_DEPTH_CAP];    /* their tokens */
    uint32_t entries[SP_BEN_DEPTH_CAP]; /* and where each one is: a key's token */
};

static enum sp_err mismatch(struct walk *w, uint32_t tok)
{
    return sp_mi_fail(w->p, SP_EDATA, tok, "info.file tree: does not match files[%]", w->file_ix,
                      0);
}

/* Do the keys from the root of the tree to here spell the file's path? */
static bool same_path(const struct walk *w, const struct sp_file *file)
{
    struct sp_slice want, key;
    for (uint32_t i = 0; i < w->depth; i++) {
        if (!sp_file_raw_part(file, i, &want) || !sp_ben_str(&w->p->ben, w->entries[i], &key) ||
            want.len != key.len || memcmp(want.ptr, key.ptr, key.len) != 0)
            return false;
    }
    return !sp_file_raw_part(file, w->depth, &want);
}

static enum sp_err read_leaf(struct walk *w, uint32_t dict_ix)
{
    const struct sp_ben *b = &w->p->ben;
    const struct sp_metainfo *mi = w->p->mi;
    struct sp_slice root = {0};
    uint64_t length = 0;

    while (w->file_ix < mi->file_count && (w->files[w->file_ix].attr & SP_ATTR_PAD))
        w->file_ix++;
    struct sp_file *file = &w->files[w->file_ix];
    if (w->file_ix == mi->file_count || !same_path(w, file))
        return mismatch(w, dict_ix);
    uint32_t tok = sp_ben_find(b, dict_ix, "length");
    enum sp_err err = SP_OK;
    if (tok != SP_BEN_NONE || !(file->attr & SP_ATTR_SYMLINK))
        err = sp_mi_length(w->p, dict_ix, tok, "info.file tree: length of files[%]", w->file_ix,
                           &length);
    if (err != SP_OK)
        return err;
    tok = sp_ben_find(b, dict_ix, "pieces root");
    bool has_root = sp_ben_str(b, tok, &root) && root.len == SP_SHA256_LEN;
    /* BEP-0052: "For non-empty files this is the the root hash of a merkle tree" */
    if (length != file->length || (tok == SP_BEN_NONE ? length > 0 : !has_root))
        return mismatch(w, dict_ix);
    file->pieces_root = has_root && length > 0 ? root.ptr : NULL;
    w->file_ix++;
    return SP_OK;
}

/* One entry of the innermost directory, or its end. */
static enum sp_err step(struct walk *w)
{
    const struct sp_ben *b = &w->p->ben;
    uint32_t *entry = &w->entries[w->depth - 1], dir = w->dirs[w->depth - 1];

    *entry = *entry == SP_BEN_NONE ? sp_ben_first(b, dir) : sp_ben_next(b, dir, *entry);
    if (*entry == SP_BEN_NONE) {
        w->depth--;
        return SP_OK;
    }
    uint32_t value = *entry + 1;
    if (!sp_ben_is(b, value, SP_BEN_DICT) || sp_ben_str_is(b, *entry, ""))
        return mismatch(w, value);
    uint32_t leaf = sp_ben_find(b, value, "");
    if (leaf != SP_BEN_NONE)
        return read_leaf(w, leaf);
    w->dirs[w->depth] = value; /* fits: the reader bounds nesting by the same number */
    w->entries[w->depth++] = SP_BEN_NONE;
    return SP_OK;
}

enum sp_err sp_mi_read_tree(struct sp_mi_parse *p, uint32_t info_ix)
{
    uint32_t tree = sp_ben_find(&p->ben, info_ix, "file tree");
    struct walk w = {.p = p, .depth = 1, .dirs = {tree}, .entries = {SP_BEN_NONE}};
    enum sp_err err = SP_OK;

    if (!sp_ben_is(&p->ben, tree, SP_BEN_DICT))
        return sp_mi_fail(p, SP_EDATA, tree, "info.file tree: is no dictionary", 0, 0);
    /* The list was made by sp_mi_read_files and is still ours to fill. */
    w.files = (struct sp_file *)(uintptr_t)p->mi->files;
    while (err == SP_OK && w.depth > 0)
        err = step(&w);
    while (err == SP_OK && w.file_ix < p->mi->file_count && (w.files[w.file_ix].attr & SP_ATTR_PAD))
        w.file_ix++;
    return err == SP_OK && w.file_ix < p->mi->file_count ? mismatch(&w, tree) : err;
}
