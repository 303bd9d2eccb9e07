#include "core/base/out.h"
#include "spate/bencode.h"
#include "spate/metainfo.h"

/* The next component of a '/'-joined path, taken off *rest; false at its end. */
static bool next_part(struct sp_slice *rest, struct sp_slice *ret_part)
{
    if (!rest->ptr)
        return false;
    const uint8_t *slash = rest->len ? memchr(rest->ptr, '/', rest->len) : NULL;
    size_t len = slash ? (size_t)(slash - rest->ptr) : rest->len;

    *ret_part = (struct sp_slice){.ptr = rest->ptr, .len = len};
    rest->ptr = slash ? slash + 1 : NULL;
    rest->len = slash ? rest->len - len - 1 : 0;
    return true;
}

static bool is_part(struct sp_slice s)
{
    bool dots = s.len <= 2;
    for (size_t i = 0; i < s.len && dots; i++)
        dots = s.ptr[i] == '.';
    return !dots; /* "", "." and ".." */
}

static bool is_path(struct sp_slice path)
{
    struct sp_slice part;
    if (path.len == 0)
        return false;
    while (next_part(&path, &part))
        if (!is_part(part))
            return false;
    return true;
}

static enum sp_err invalid(struct sp_diag *diag, const char *text)
{
    return sp_diag_set(diag, SP_EINVAL, 0, text);
}

static enum sp_err check_file(const struct sp_metainfo_spec *spec, uint32_t ix,
                              struct sp_diag *diag)
{
    const struct sp_metainfo_spec_file *file = &spec->files[ix];
    const char *why = NULL;

    if (spec->single_file)
        return SP_OK;
    if (!is_path(file->path))
        why = ".path: is empty or has a component that is empty, \".\" or \"..\"";
    else if (file->attr & SP_ATTR_SYMLINK && !is_path(file->symlink))
        why = ".symlink: is empty or has a component that is empty, \".\" or \"..\"";
    else if (file->attr & SP_ATTR_SYMLINK && file->length != 0)
        why = ".length: of a symlink is not zero";
    if (!why)
        return SP_OK;

    char text[128];
    struct sp_out o = sp_out_of((uint8_t *)text, sizeof(text) - 1);
    sp_out_str(&o, "files[");
    sp_out_dec(&o, ix);
    sp_out_str(&o, "]");
    sp_out_str(&o, why);
    text[o.len < o.cap ? o.len : o.cap] = '\0';
    return invalid(diag, text);
}

static enum sp_err check(const struct sp_metainfo_spec *spec, struct sp_diag *diag)
{
    uint64_t total = 0;

    if (!is_part(spec->name) || memchr(spec->name.ptr, '/', spec->name.len))
        return invalid(diag, "name: is no path component");
    if (spec->file_count == 0 || (spec->single_file && spec->file_count != 1))
        return invalid(diag, "file_count: is out of range");
    if (spec->piece_length == 0 || spec->piece_length > 1u << 30)
        return invalid(diag, "piece_length: is out of range");
    for (uint32_t i = 0; i < spec->file_count; i++) {
        enum sp_err err = check_file(spec, i, diag);
        if (err != SP_OK)
            return err;
        if (__builtin_add_overflow(total, spec->files[i].length, &total) || total > INT64_MAX)
            return invalid(diag, "files: the lengths add up to too much");
    }
    if (total == 0)
        return invalid(diag, "files: the lengths add up to zero");
    uint64_t pieces = (total - 1) / spec->piece_length + 1;
    if (spec->pieces.len % SP_SHA1_LEN != 0 || spec->pieces.len / SP_SHA1_LEN != pieces)
        return invalid(diag, "pieces: do not match the lengths");
    for (uint32_t i = 1; i < spec->tracker_count; i++)
        if (spec->trackers[i].tier < spec->trackers[i - 1].tier)
            return invalid(diag, "trackers: tiers do not ascend");
    return SP_OK;
}

static void put_path(struct sp_ben_writer *w, struct sp_slice path)
{
    struct sp_slice part;
    sp_ben_put_list(w);
    while (next_part(&path, &part))
        sp_ben_put_str(w, part);
    sp_ben_put_end(w);
}

static void put_attr(struct sp_ben_writer *w, uint32_t attr)
{
    char text[5];
    size_t len = 0;
    if (attr & SP_ATTR_HIDDEN)
        text[len++] = 'h';
    if (attr & SP_ATTR_SYMLINK)
        text[len++] = 'l';
    if (attr & SP_ATTR_PAD)
        text[len++] = 'p';
    if (attr & SP_ATTR_EXECUTABLE)
        text[len++] = 'x';
    if (len == 0)
        return;
    sp_ben_put_key(w, "attr");
    sp_ben_put_str(w, (struct sp_slice){.ptr = (const uint8_t *)text, .len = len});
}

static void put_files(struct sp_ben_writer *w, const struct sp_metainfo_spec *spec)
{
    sp_ben_put_key(w, "files");
    sp_ben_put_list(w);
    for (uint32_t i = 0; i < spec->file_count; i++) {
        const struct sp_metainfo_spec_file *file = &spec->files[i];
        sp_ben_put_dict(w);
        put_attr(w, file->attr);
        sp_ben_put_key(w, "length");
        sp_ben_put_int(w, (int64_t)file->length);
        sp_ben_put_key(w, "path");
        put_path(w, file->path);
        if (file->attr & SP_ATTR_SYMLINK) {
            sp_ben_put_key(w, "symlink path");
            put_path(w, file->symlink);
        }
        sp_ben_put_end(w);
    }
    sp_ben_put_end(w);
}

static void put_text(struct sp_ben_writer *w, const char *key, const char *text)
{
    if (!text || !*text)
        return;
    sp_ben_put_key(w, key);
    sp_ben_put_text(w, text);
}

static void put_info(struct sp_ben_writer *w, const struct sp_metainfo_spec *spec)
{
    sp_ben_put_key(w, "info");
    sp_ben_put_dict(w);
    if (spec->single_file) {
        put_attr(w, spec->files[0].attr & (SP_ATTR_EXECUTABLE | SP_ATTR_HIDDEN));
        sp_ben_put_key(w, "length");
        sp_ben_put_int(w, (int64_t)spec->files[0].length);
    } else {
        put_files(w, spec);
    }
    sp_ben_put_key(w, "name");
    sp_ben_put_str(w, spec->name);
    sp_ben_put_key(w, "piece length");
    sp_ben_put_int(w, spec->piece_length);
    sp_ben_put_key(w, "pieces");
    sp_ben_put_str(w, spec->pieces);
    if (spec->is_private) {
        sp_ben_put_key(w, "private");
        sp_ben_put_int(w, 1);
    }
    put_text(w, "source", spec->source);
    sp_ben_put_end(w);
}

static void put_trackers(struct sp_ben_writer *w, const struct sp_metainfo_spec *spec)
{
    uint32_t count = spec->tracker_count;

    put_text(w, "announce", count ? spec->trackers[0].url : NULL);
    if (count < 2)
        return;
    sp_ben_put_key(w, "announce-list");
    sp_ben_put_list(w);
    for (uint32_t i = 0; i < count; i++) {
        if (i == 0 || spec->trackers[i].tier != spec->trackers[i - 1].tier)
            sp_ben_put_list(w);
        sp_ben_put_text(w, spec->trackers[i].url);
        if (i + 1 == count || spec->trackers[i].tier != spec->trackers[i + 1].tier)
            sp_ben_put_end(w);
    }
    sp_ben_put_end(w);
}

static void put_web_seeds(struct sp_ben_writer *w, const struct sp_metainfo_spec *spec,
                          enum sp_web_seed_kind kind, const char *key)
{
    bool any = false;
    for (uint32_t i = 0; i < spec->web_seed_count; i++) {
        if (spec->web_seeds[i].kind != kind)
            continue;
        if (!any) {
            sp_ben_put_key(w, key);
            sp_ben_put_list(w);
        }
        any = true;
        sp_ben_put_text(w, spec->web_seeds[i].url);
    }
    if (any)
        sp_ben_put_end(w);
}

static void put_nodes(struct sp_ben_writer *w, const struct sp_metainfo_spec *spec)
{
    if (spec->node_count == 0)
        return;
    sp_ben_put_key(w, "nodes");
    sp_ben_put_list(w);
    for (uint32_t i = 0; i < spec->node_count; i++) {
        sp_ben_put_list(w);
        sp_ben_put_text(w, spec->nodes[i].host);
        sp_ben_put_int(w, spec->nodes[i].port);
        sp_ben_put_end(w);
    }
    sp_ben_put_end(w);
}

enum sp_err sp_metainfo_write(const struct sp_metainfo_spec *spec, uint8_t *buf, size_t cap,
                              size_t *ret_len, struct sp_diag *diag)
{
    enum sp_err err = check(spec, diag);
    if (err != SP_OK)
        return err;

    struct sp_ben_writer w = sp_ben_writer_of(buf, cap);
    sp_ben_put_dict(&w); /* keys in order, here and below: the writer insists */
    put_trackers(&w, spec);
    put_text(&w, "comment", spec->comment);
    put_text(&w, "created by", spec->created_by);
    if (spec->creation_date >= 0) {
        sp_ben_put_key(&w, "creation date");
        sp_ben_put_int(&w, spec->creation_date);
    }
    put_web_seeds(&w, spec, SP_WEB_SEED_HTTP, "httpseeds");
    put_info(&w, spec);
    put_nodes(&w, spec);
    put_web_seeds(&w, spec, SP_WEB_SEED_URL, "url-list");
    sp_ben_put_end(&w);
    err = sp_ben_writer_end(&w, ret_len);
    return err == SP_OK ? SP_OK : sp_diag_set(diag, err, 0, "buffer: is too small");
}
