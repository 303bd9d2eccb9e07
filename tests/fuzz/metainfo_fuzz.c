/* Properties of what is accepted: spans inside the input, sums that add up,
 * paths that are clean and distinct; the same result twice; and a torrent
 * written from it again that has the same files and hash count. */
#include <stdlib.h>
#include <string.h>

#include "core/base/mem.h"
#include "core/metainfo/name.h"
#include "spate/magnet.h"
#include "spate/metainfo.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void expect(bool ok)
{
    if (!ok)
        abort();
}

static void *mem_alloc(void *ctx, size_t size)
{
    (void)ctx;
    return calloc(1, size);
}

static void mem_free(void *ctx, void *ptr)
{
    (void)ctx;
    free(ptr);
}

static const struct sp_mem mem = {mem_alloc, mem_free, NULL};

static bool inside(const struct sp_metainfo *mi, struct sp_slice s)
{
    return s.len == 0 || (s.ptr >= mi->raw.ptr && s.ptr + s.len <= mi->raw.ptr + mi->raw.len);
}

static void expect_clean(const char *path, size_t len)
{
    expect(strlen(path) == len && len > 0);
    while (len > 0) {
        const char *slash = memchr(path, '/', len);
        size_t n = slash ? (size_t)(slash - path) : len;
        struct sp_slice part = {(const uint8_t *)path, n};
        expect(n >= 1 && n <= SP_NAME_MAX && !sp_name_refusal(part) && sp_utf8_is_valid(part));
        for (size_t i = 0; i < n; i++)
            expect((uint8_t)path[i] >= 0x20 && path[i] != 0x7f && path[i] != '\\');
        expect(!slash || n + 1 < len);
        path += slash ? n + 1 : n;
        len -= slash ? n + 1 : n;
    }
}

/* Neither the same, but for case, nor one below the other. */
static bool apart(const struct sp_file *a, const struct sp_file *b)
{
    const char *x = a->path, *y = b->path;
    for (;;) {
        size_t n = strcspn(x, "/"), m = strcspn(y, "/");
        struct sp_slice p = {(const uint8_t *)x, n}, q = {(const uint8_t *)y, m};
        if (!sp_name_same(p, q))
            return true;
        if (n != m || memcmp(x, y, n) != 0)
            return false; /* the same directory under two names */
        if (!x[n] || !y[m])
            return false;
        x += n + 1;
        y += m + 1;
    }
}

static void check_files(const struct sp_metainfo *mi)
{
    uint64_t off = 0;
    for (uint32_t i = 0; i < mi->file_count; i++) {
        const struct sp_file *f = &mi->files[i];
        struct sp_slice part;
        expect(f->offset == off);
        off += f->length;
        expect(f->piece_first <= f->piece_end && f->piece_end <= mi->piece_count);
        expect((f->length > 0) == (f->piece_end > f->piece_first));
        expect_clean(f->path, f->path_len);
        expect(strncmp(f->path, mi->name, strlen(mi->name)) == 0);
        expect(!f->symlink == !(f->attr & SP_ATTR_SYMLINK));
        if (f->symlink)
            expect_clean(f->symlink, strlen(f->symlink));
        for (uint32_t k = 0; sp_file_raw_part(f, k, &part); k++)
            expect(inside(mi, part));
        for (uint32_t k = 0; i < 200 && k < i; k++)
            expect((f->attr | mi->files[k].attr) & SP_ATTR_PAD || apart(f, &mi->files[k]));
    }
    expect(off == mi->total_length);
    expect(sp_metainfo_file_at(mi, off - 1) < mi->file_count);
}

static void check_again(const struct sp_metainfo *mi)
{
    struct sp_metainfo *again = NULL;
    expect(sp_metainfo_parse(&mem, mi->raw, NULL, &again, NULL) == SP_OK);
    expect(memcmp(mi->info_hash_v1, again->info_hash_v1, SP_SHA1_LEN) == 0);
    for (uint32_t i = 0; i < mi->file_count; i++)
        expect(strcmp(mi->files[i].path, again->files[i].path) == 0);
    sp_metainfo_free(again);
    expect(sp_metainfo_parse_info(&mem, mi->info, mi->trackers, mi->tracker_count, NULL, &again,
                                  NULL) == SP_OK);
    expect(memcmp(mi->info_hash_v1, again->info_hash_v1, SP_SHA1_LEN) == 0);
    expect(mi->tracker_count == again->tracker_count);
    sp_metainfo_free(again);
}

/* Cleaned paths are clean already: written and read they stay. */
static void check_rewrite(const struct sp_metainfo *mi)
{
    enum { FILES_MAX = 64 };
    struct sp_metainfo_spec_file files[FILES_MAX];
    struct sp_metainfo *again = NULL;
    size_t name_len = strlen(mi->name), len = 0;

    if (mi->file_count > FILES_MAX)
        return;
    for (uint32_t i = 0; i < mi->file_count; i++) {
        const struct sp_file *f = &mi->files[i];
        size_t skip = mi->single_file ? 0 : name_len + 1;
        files[i] = (struct sp_metainfo_spec_file){
            .path = {(const uint8_t *)f->path + skip, f->path_len - skip},
            .length = f->length,
            .attr = f->attr};
        if (f->symlink)
            files[i].symlink = (struct sp_slice){(const uint8_t *)f->symlink + name_len + 1,
                                                 strlen(f->symlink) - name_len - 1};
    }
    struct sp_metainfo_spec spec = {
        .name = {(const uint8_t *)mi->name, name_len},
        .files = files,
        .file_count = mi->file_count,
        .single_file = mi->single_file,
        .piece_length = mi->piece_length,
        .pieces = {mi->pieces, (size_t)mi->piece_count * SP_SHA1_LEN},
        .trackers = mi->trackers,
        .tracker_count = mi->tracker_count,
        .web_seeds = mi->web_seeds,
        .web_seed_count = mi->web_seed_count,
        .nodes = mi->nodes,
        .node_count = mi->node_count,
        .is_private = mi->is_private,
        .comment = mi->comment,
        .created_by = mi->created_by,
        .source = mi->source,
        .creation_date = mi->creation_date,
    };
    expect(sp_metainfo_write(&spec, NULL, 0, &len, NULL) == SP_ELIMIT);
    uint8_t *buf = malloc(len);
    expect(buf && sp_metainfo_write(&spec, buf, len, &len, NULL) == SP_OK);
    expect(sp_metainfo_parse(&mem, (struct sp_slice){buf, len}, NULL, &again, NULL) == SP_OK);
    free(buf);
    for (uint32_t i = 0; i < mi->file_count; i++) {
        expect(strcmp(mi->files[i].path, again->files[i].path) == 0 ||
               mi->files[i].attr & SP_ATTR_PAD);
        expect(mi->files[i].attr == again->files[i].attr);
        expect(!mi->files[i].symlink || strcmp(mi->files[i].symlink, again->files[i].symlink) == 0);
    }
    expect(again->tracker_count == mi->tracker_count && again->node_count == mi->node_count);
    expect(again->web_seed_count == mi->web_seed_count && again->is_private == mi->is_private);
    expect(!mi->comment || strcmp(mi->comment, again->comment) == 0);
    sp_metainfo_free(again);
}

static void check_magnet(const struct sp_metainfo *mi)
{
    struct sp_magnet *m = NULL;
    size_t len = 0;
    expect(sp_magnet_of_metainfo(mi, NULL, 0, &len) == SP_ELIMIT);
    char *buf = malloc(len + 1);
    expect(buf && sp_magnet_of_metainfo(mi, buf, len + 1, &len) == SP_OK);
    if (sp_magnet_parse(&mem, (struct sp_slice){(uint8_t *)buf, len}, &m, NULL) == SP_OK) {
        expect(memcmp(m->info_hash_v1, mi->info_hash_v1, SP_SHA1_LEN) == 0);
        expect(strcmp(m->name, mi->name) == 0 && m->length == mi->total_length);
    } else {
        expect(len > SP_MAGNET_LEN_MAX);
    }
    sp_magnet_free(m);
    free(buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct sp_metainfo *mi = NULL;
    struct sp_diag diag = {0};
    struct sp_slice in = {data, len};
    enum sp_err err = sp_metainfo_parse(&mem, in, NULL, &mi, &diag);

    if (err != SP_OK) {
        expect(!mi && diag.err == err && diag.text[0] && !strchr(diag.text, '%') &&
               diag.off <= len);
        return 0;
    }
    expect(inside(mi, mi->info) && inside(mi, mi->raw_name));
    expect(inside(mi, (struct sp_slice){mi->pieces, (size_t)mi->piece_count * SP_SHA1_LEN}));
    expect(mi->total_length > 0 &&
           mi->piece_count == (mi->total_length - 1) / mi->piece_length + 1);
    check_files(mi);
    check_again(mi);
    check_rewrite(mi);
    check_magnet(mi);
    sp_metainfo_free(mi);
    return 0;
}
