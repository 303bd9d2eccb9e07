#include <assert.h>

#include "core/metainfo/parse.h"

#include "core/base/out.h"
#include "core/base/sha1.h"
#include "core/base/sha256.h"
#include "core/metainfo/name.h"

void sp_metainfo_limits_init(struct sp_metainfo_limits *limits)
{
    *limits = (struct sp_metainfo_limits){
        .len_max = UINT64_C(256) << 20,
        .tok_max = 1u << 24,
        .depth_max = SP_BEN_DEPTH_DEFAULT,
        .file_max = 1000000,
        .piece_max = 1u << 22,
        .piece_length_max = 1u << 30,
        .path_depth_max = 64,
        .path_len_max = 4000,
        .url_max = 4096,
    };
}

static enum sp_err fail_at(struct sp_diag *diag, enum sp_err err, uint64_t off, const char *text,
                           uint64_t a, uint64_t b)
{
    char line[sizeof(diag->text)];
    struct sp_out o = sp_out_of((uint8_t *)line, sizeof(line) - 1);

    for (; *text; text++) {
        if (*text != '%') {
            sp_out_u8(&o, (uint8_t)*text);
            continue;
        }
        sp_out_dec(&o, a);
        a = b;
    }
    line[o.len < o.cap ? o.len : o.cap] = '\0';
    return sp_diag_set(diag, err, off, line);
}

enum sp_err sp_mi_fail(struct sp_mi_parse *p, enum sp_err err, uint32_t tok, const char *text,
                       uint64_t a, uint64_t b)
{
    uint64_t off = tok < p->ben.count ? p->ben.toks[tok].off : 0;
    return fail_at(p->diag, err, off, text, a, b);
}

/* place: reason, where place has a '%' for a. */
static enum sp_err fail_place(struct sp_mi_parse *p, uint32_t tok, const char *place,
                              const char *reason, uint64_t a)
{
    char text[128];
    struct sp_out o = sp_out_of((uint8_t *)text, sizeof(text) - 1);
    sp_out_str(&o, place);
    sp_out_str(&o, reason);
    text[o.len < o.cap ? o.len : o.cap] = '\0';
    return sp_mi_fail(p, SP_EDATA, tok, text, a, 0);
}

enum sp_err sp_mi_length(struct sp_mi_parse *p, uint32_t dict_ix, uint32_t tok, const char *name,
                         uint64_t a, uint64_t *ret_length)
{
    int64_t value;

    if (tok == SP_BEN_NONE)
        return fail_place(p, dict_ix, name, ": is absent", a);
    if (!sp_ben_is(&p->ben, tok, SP_BEN_INT))
        return fail_place(p, tok, name, ": is no integer", a);
    assert(p->ben.in.ptr);
    if (p->ben.in.ptr[p->ben.toks[tok].off] == '-')
        return fail_place(p, tok, name, ": is negative", a);
    if (!sp_ben_int(&p->ben, tok, 0, INT64_MAX, &value))
        return fail_place(p, tok, name, ": is too large", a);
    *ret_length = (uint64_t)value;
    return SP_OK;
}

/* --- the parts ---------------------------------------------------------------- */

/* A text for people: key.utf-8 where there is one (Custom: seen in many
 * creators of the time before UTF-8), else key. */
static enum sp_err read_text(struct sp_mi_parse *p, uint32_t dict_ix, const char *key,
                             const char *key_utf8, const char *complaint, const char **ret_text)
{
    struct sp_slice s;
    uint32_t tok = sp_ben_find(&p->ben, dict_ix, key);

    if (tok != SP_BEN_NONE && !sp_ben_is(&p->ben, tok, SP_BEN_STR))
        return sp_mi_fail(p, SP_EDATA, tok, complaint, 0, 0);
    if (key_utf8 && sp_ben_str(&p->ben, sp_ben_find(&p->ben, dict_ix, key_utf8), &s) &&
        sp_utf8_is_valid(s))
        tok = sp_ben_find(&p->ben, dict_ix, key_utf8);
    if (!sp_ben_str(&p->ben, tok, &s) || s.len == 0)
        return SP_OK;

    char *text = SP_ARENA_ARRAY(p->arena, char, s.len + 1);
    if (!text)
        return sp_mi_fail(p, SP_ENOMEM, tok, "out of memory", 0, 0);
    (void)sp_text_clean(s, true, text);
    *ret_text = text;
    return SP_OK;
}

static enum sp_err read_texts(struct sp_mi_parse *p, uint32_t info_ix)
{
    struct sp_metainfo *mi = p->mi;
    uint32_t date = sp_ben_find(&p->ben, 0, "creation date");
    enum sp_err err =
        read_text(p, 0, "comment", "comment.utf-8", "comment: is no string", &mi->comment);
    if (err == SP_OK)
        err = read_text(p, 0, "created by", "created by.utf-8", "created by: is no string",
                        &mi->created_by);
    if (err == SP_OK)
        err = read_text(p, info_ix, "source", NULL, "info.source: is no string", &mi->source);
    if (err == SP_OK && date != SP_BEN_NONE && !sp_ben_is(&p->ben, date, SP_BEN_INT))
        err = sp_mi_fail(p, SP_EDATA, date, "creation date: is no integer", 0, 0);
    mi->creation_date = -1;
    (void)sp_ben_int(&p->ben, date, 0, INT64_MAX, &mi->creation_date);
    return err;
}

static enum sp_err read_name(struct sp_mi_parse *p, uint32_t info_ix)
{
    uint32_t tok = sp_ben_find(&p->ben, info_ix, "name");
    uint32_t utf8 = sp_ben_find(&p->ben, info_ix, "name.utf-8");
    struct sp_slice raw;
    struct sp_name name;

    if (tok == SP_BEN_NONE)
        return sp_mi_fail(p, SP_EDATA, info_ix, "info.name: is absent", 0, 0);
    if (!sp_ben_is(&p->ben, tok, SP_BEN_STR))
        return sp_mi_fail(p, SP_EDATA, tok, "info.name: is no string", 0, 0);
    if (sp_ben_str(&p->ben, utf8, &raw) && sp_utf8_is_valid(raw))
        tok = utf8;
    (void)sp_ben_str(&p->ben, tok, &raw);
    const char *refusal = sp_name_refusal(raw);
    if (refusal)
        return fail_place(p, tok, "info.name: ", refusal, 0);

    sp_name_clean(raw, &name);
    p->mi->raw_name = raw;
    p->mi->name = sp_arena_text(p->arena, (struct sp_slice){(const uint8_t *)name.text, name.len});
    return p->mi->name ? SP_OK : sp_mi_fail(p, SP_ENOMEM, tok, "out of memory", 0, 0);
}

static enum sp_err read_piece_length(struct sp_mi_parse *p, uint32_t info_ix)
{
    uint32_t tok = sp_ben_find(&p->ben, info_ix, "piece length");
    uint64_t length = 0;
    enum sp_err err = sp_mi_length(p, info_ix, tok, "info.piece length", 0, &length);

    if (err != SP_OK)
        return err;
    if (length == 0)
        return sp_mi_fail(p, SP_EDATA, tok, "info.piece length: is zero", 0, 0);
    if (length > p->limits->piece_length_max)
        return sp_mi_fail(p, SP_ELIMIT, tok, "info.piece length: is larger than % bytes",
                          p->limits->piece_length_max, 0);
    p->mi->piece_length = (uint32_t)length;
    return SP_OK;
}

/* BEP-0003: "pieces maps to a string whose length is a multiple of 20. It is
 * to be subdivided into strings of length 20, each of which is the SHA1 hash
 * of the piece at the corresponding index." */
static enum sp_err read_pieces(struct sp_mi_parse *p, uint32_t info_ix)
{
    struct sp_metainfo *mi = p->mi;
    uint32_t tok = sp_ben_find(&p->ben, info_ix, "pieces");
    struct sp_slice s;

    if (tok == SP_BEN_NONE)
        return sp_mi_fail(p, SP_EDATA, info_ix, "info.pieces: is absent", 0, 0);
    if (!sp_ben_str(&p->ben, tok, &s))
        return sp_mi_fail(p, SP_EDATA, tok, "info.pieces: is no string", 0, 0);
    if (s.len % SP_SHA1_LEN != 0)
        return sp_mi_fail(p, SP_EDATA, tok, "info.pieces: % bytes are not a multiple of 20", s.len,
                          0);
    uint64_t want = (mi->total_length - 1) / mi->piece_length + 1;
    if (s.len / SP_SHA1_LEN != want)
        return sp_mi_fail(p, SP_EDATA, tok, "info.pieces: has % hashes where the lengths ask for %",
                          s.len / SP_SHA1_LEN, want);
    if (want > p->limits->piece_max)
        return sp_mi_fail(p, SP_ELIMIT, tok, "info.pieces: has more than % hashes",
                          p->limits->piece_max, 0);
    mi->piece_count = (uint32_t)want;
    mi->pieces = s.ptr;
    return SP_OK;
}

/* Which versions of the protocol the info-dict serves. */
static enum sp_err read_version(struct sp_mi_parse *p, uint32_t info_ix)
{
    struct sp_metainfo *mi = p->mi;
    uint32_t tok = sp_ben_find(&p->ben, info_ix, "meta version");
    bool has_tree = sp_ben_find(&p->ben, info_ix, "file tree") != SP_BEN_NONE;
    uint64_t version = 1;
    enum sp_err err = SP_OK;

    /* BEP-0052: "Implementations must check this field first and indicate that
     * a torrent is of a newer version than they can handle before performing
     * other validations which may result in more general messages" */
    if (tok != SP_BEN_NONE)
        err = sp_mi_length(p, info_ix, tok, "info.meta version", 0, &version);
    if (err != SP_OK)
        return err;
    if (version > 2)
        return sp_mi_fail(p, SP_EDATA, tok, "info.meta version: % is newer than what is supported",
                          version, 0);
    if ((version == 2 || has_tree) && sp_ben_find(&p->ben, info_ix, "pieces") == SP_BEN_NONE)
        return sp_mi_fail(p, SP_EDATA, info_ix,
                          "info: BitTorrent v2-only torrents are not supported yet", 0, 0);
    if (version == 2 && !has_tree)
        return sp_mi_fail(p, SP_EDATA, info_ix, "info.file tree: is absent", 0, 0);

    mi->has_v1 = true;
    mi->has_v2 = version == 2;
    sp_sha1_of(mi->info.ptr, mi->info.len, mi->info_hash_v1);
    if (mi->has_v2)
        sp_sha256_of(mi->info.ptr, mi->info.len, mi->info_hash_v2);
    return SP_OK;
}

/* BEP-0027: "private=1".  Any other number but 0 counts as well: taking a
 * public torrent for private harms less than the reverse. */
static enum sp_err read_private(struct sp_mi_parse *p, uint32_t info_ix)
{
    uint32_t tok = sp_ben_find(&p->ben, info_ix, "private");
    int64_t value = 1;

    if (tok != SP_BEN_NONE && !sp_ben_is(&p->ben, tok, SP_BEN_INT))
        return sp_mi_fail(p, SP_EDATA, tok, "info.private: is no integer", 0, 0);
    (void)sp_ben_int(&p->ben, tok, INT64_MIN, INT64_MAX, &value);
    p->mi->is_private = tok != SP_BEN_NONE && value != 0;
    return SP_OK;
}

static enum sp_err read_all(struct sp_mi_parse *p)
{
    uint32_t info_ix = sp_ben_find(&p->ben, 0, "info");

    if (info_ix == SP_BEN_NONE)
        return sp_mi_fail(p, SP_EDATA, 0, "info: is absent", 0, 0);
    if (!sp_ben_is(&p->ben, info_ix, SP_BEN_DICT))
        return sp_mi_fail(p, SP_EDATA, info_ix, "info: is no dictionary", 0, 0);
    (void)sp_ben_raw(&p->ben, info_ix, &p->mi->info);

    enum sp_err (*const parts[])(struct sp_mi_parse *, uint32_t) = {
        read_version, read_name,    read_piece_length, sp_mi_read_files,
        read_pieces,  read_private, read_texts,
    };
    for (size_t i = 0; i < SP_COUNT(parts); i++) {
        enum sp_err err = parts[i](p, info_ix);
        if (err != SP_OK)
            return err;
    }
    enum sp_err err = p->mi->has_v2 ? sp_mi_read_tree(p, info_ix) : SP_OK;
    return err == SP_OK ? sp_mi_read_urls(p) : err;
}

/* --- the whole ------------------------------------------------------------------ */

/* Bencode errors have no name of a value yet: the place is the offset. */
static enum sp_err fail_bencode(struct sp_diag *diag, const struct sp_diag *why)
{
    char text[sizeof(why->text)];
    struct sp_out o = sp_out_of((uint8_t *)text, sizeof(text) - 1);
    sp_out_str(&o, "byte %: ");
    sp_out_str(&o, why->text);
    text[o.len < o.cap ? o.len : o.cap] = '\0';
    enum sp_err err = why->err == SP_AGAIN ? SP_EDATA : why->err;
    return fail_at(diag, err, why->off, text, why->off, 0);
}

/* Checks the grammar and fills p->ben with tokens (from p->mem). */
static enum sp_err read_tokens(struct sp_mi_parse *p, struct sp_slice raw,
                               struct sp_ben_tok **ret_toks)
{
    struct sp_diag why;
    struct sp_ben_limits limits = {.depth_max = p->limits->depth_max,
                                   .tok_max = p->limits->tok_max,
                                   .strict = !p->limits->lax_keys};

    if (raw.len == 0)
        return fail_at(p->diag, SP_EDATA, 0, "is empty", 0, 0);
    if (raw.ptr[0] != 'd')
        return fail_at(p->diag, SP_EDATA, 0, "is no torrent: it does not begin with a dictionary",
                       0, 0);
    if (sp_ben_read(raw, &limits, NULL, &p->ben, &why) != SP_OK)
        return fail_bencode(p->diag, &why);
    if (p->ben.end != raw.len)
        return fail_at(p->diag, SP_EDATA, p->ben.end, "byte %: % bytes follow the dictionary",
                       p->ben.end, raw.len - p->ben.end);

    limits.tok_max = p->ben.count; /* memory for what is there, not for what is allowed */
    struct sp_ben_tok *toks = SP_NEW_ARRAY(p->mem, struct sp_ben_tok, limits.tok_max);
    if (!toks)
        return fail_at(p->diag, SP_ENOMEM, 0, "out of memory", 0, 0);
    enum sp_err err = sp_ben_read(raw, &limits, toks, &p->ben, NULL);
    *ret_toks = toks;
    return err;
}

static struct sp_metainfo_impl *new_impl(const struct sp_mem *mem, size_t raw_len,
                                         uint8_t **ret_raw)
{
    struct sp_metainfo_impl *impl = SP_NEW(mem, struct sp_metainfo_impl);
    if (!impl)
        return NULL;
    impl->arena = sp_arena_of(mem);
    *ret_raw = SP_ARENA_ARRAY(&impl->arena, uint8_t, raw_len);
    impl->pub.raw = (struct sp_slice){.ptr = *ret_raw, .len = raw_len};
    if (*ret_raw)
        return impl;
    sp_metainfo_free(&impl->pub);
    return NULL;
}

/* Takes impl, whose raw bytes are in place. */
static enum sp_err parse_raw(struct sp_metainfo_impl *impl, const struct sp_metainfo_limits *limits,
                             struct sp_metainfo **ret_metainfo, struct sp_diag *diag)
{
    struct sp_ben_tok *toks = NULL;
    const struct sp_mem *mem = impl->arena.mem;
    struct sp_mi_parse p = {
        .limits = limits, .mem = mem, .arena = &impl->arena, .mi = &impl->pub, .diag = diag};
    enum sp_err err = read_tokens(&p, impl->pub.raw, &toks);

    if (err == SP_OK)
        err = read_all(&p);
    sp_mem_free(mem, toks);
    if (err != SP_OK)
        sp_metainfo_free(&impl->pub);
    else
        *ret_metainfo = &impl->pub;
    return err;
}

static enum sp_err check_len(uint64_t len, const struct sp_metainfo_limits *limits,
                             struct sp_diag *diag)
{
    if (len == 0)
        return fail_at(diag, SP_EDATA, 0, "is empty", 0, 0);
    if (len > limits->len_max)
        return fail_at(diag, SP_ELIMIT, 0, "is larger than % bytes", limits->len_max, 0);
    return SP_OK;
}

enum sp_err sp_metainfo_parse(const struct sp_mem *mem, struct sp_slice bytes,
                              const struct sp_metainfo_limits *limits,
                              struct sp_metainfo **ret_metainfo, struct sp_diag *diag)
{
    struct sp_metainfo_limits defaults;
    uint8_t *raw;

    sp_metainfo_limits_init(&defaults);
    limits = limits ? limits : &defaults;
    enum sp_err err = check_len(bytes.len, limits, diag);
    if (err != SP_OK)
        return err;
    struct sp_metainfo_impl *impl = new_impl(mem, bytes.len, &raw);
    if (!impl)
        return fail_at(diag, SP_ENOMEM, 0, "out of memory", 0, 0);
    memcpy(raw, bytes.ptr, bytes.len);
    return parse_raw(impl, limits, ret_metainfo, diag);
}

static enum sp_err wrap_info(struct sp_slice info, const struct sp_metainfo_tracker *trackers,
                             uint32_t count, uint8_t *buf, size_t cap, size_t *ret_len)
{
    struct sp_ben_writer w = sp_ben_writer_of(buf, cap);

    sp_ben_put_dict(&w);
    if (count > 0) {
        sp_ben_put_key(&w, "announce-list");
        sp_ben_put_list(&w);
        for (uint32_t i = 0; i < count; i++) {
            if (i == 0 || trackers[i].tier != trackers[i - 1].tier)
                sp_ben_put_list(&w);
            sp_ben_put_text(&w, trackers[i].url);
            if (i + 1 == count || trackers[i].tier != trackers[i + 1].tier)
                sp_ben_put_end(&w);
        }
        sp_ben_put_end(&w);
    }
    sp_ben_put_key(&w, "info");
    sp_ben_put_raw(&w, info);
    sp_ben_put_end(&w);
    return sp_ben_writer_end(&w, ret_len);
}

enum sp_err sp_metainfo_parse_info(const struct sp_mem *mem, struct sp_slice info,
                                   const struct sp_metainfo_tracker *trackers,
                                   uint32_t tracker_count, const struct sp_metainfo_limits *limits,
                                   struct sp_metainfo **ret_metainfo, struct sp_diag *diag)
{
    struct sp_metainfo_limits defaults;
    uint8_t *raw;
    size_t len = 0;

    sp_metainfo_limits_init(&defaults);
    limits = limits ? limits : &defaults;
    (void)wrap_info(info, trackers, tracker_count, NULL, 0, &len);
    enum sp_err err = check_len(len, limits, diag);
    if (err != SP_OK)
        return err;
    struct sp_metainfo_impl *impl = new_impl(mem, len, &raw);
    if (!impl)
        return fail_at(diag, SP_ENOMEM, 0, "out of memory", 0, 0);
    err = wrap_info(info, trackers, tracker_count, raw, len, &len);
    if (err != SP_OK) {
        sp_metainfo_free(&impl->pub);
        return fail_at(diag, err, 0, "info cannot be wrapped", 0, 0);
    }
    struct sp_metainfo *mi;
    err = parse_raw(impl, limits, &mi, diag);
    if (err != SP_OK)
        return err;
    /* The bytes could hold more keys behind the dictionary: one value, no more. */
    if (mi->info.len != info.len) {
        sp_metainfo_free(mi);
        return fail_at(diag, SP_EDATA, 0, "is no info dictionary", 0, 0);
    }
    *ret_metainfo = mi;
    return SP_OK;
}

void sp_metainfo_free(struct sp_metainfo *mi)
{
    if (!mi)
        return;
    struct sp_metainfo_impl *impl = SP_CONTAINER(mi, struct sp_metainfo_impl, pub);
    const struct sp_mem *mem = impl->arena.mem;
    sp_arena_done(&impl->arena);
    sp_mem_free(mem, impl);
}

bool sp_file_raw_part(const struct sp_file *file, uint32_t part_ix, struct sp_slice *ret_part)
{
    if (file->raw_path.len == 0)
        return false;
    if (!file->raw_is_list) {
        if (part_ix > 0)
            return false;
        *ret_part = file->raw_path;
        return true;
    }
    /* "l" strings "e", which were checked before */
    const uint8_t *p = file->raw_path.ptr, *end = p + file->raw_path.len;
    for (p++; p < end && *p != 'e'; part_ix--) {
        size_t len = 0;
        for (; *p != ':'; p++)
            len = len * 10 + (size_t)(*p - '0');
        p++;
        if (part_ix == 0) {
            *ret_part = (struct sp_slice){.ptr = p, .len = len};
            return true;
        }
        p += len;
    }
    return false;
}

uint32_t sp_metainfo_file_at(const struct sp_metainfo *mi, uint64_t off)
{
    uint32_t low = 0, high = mi->file_count; /* the last with offset <= off lies in low..high-1 */
    while (high - low > 1) {
        uint32_t mid = low + (high - low) / 2;
        if (mi->files[mid].offset <= off)
            low = mid;
        else
            high = mid;
    }
    /* Empty files in front of a file share its offset: the last one has the byte,
     * unless off is past the end. */
    return low;
}
