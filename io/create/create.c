/* Making a torrent: walk, hash, write down. */
#include "spate/create.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/create/reading.h"
#include "io/create/tree.h"
#include "spate/metainfo.h"
#include "spate/version.h"

enum { PIECE_LEN_MIN = 16 << 10, PIECE_LEN_AUTO_MAX = 16 << 20, PIECE_LEN_MAX = 1 << 30 };

static enum sp_err fail(struct sp_diag *diag, enum sp_err err, const char *what, const char *why)
{
    char text[sizeof(diag->text)];
    snprintf(text, sizeof(text), "%.100s: %.56s", what, why);
    return sp_diag_set(diag, err, 0, text);
}

/* 1,000 to 2,000 pieces, as others choose: fewer make coarse progress, more a
 * large torrent file. */
static uint32_t auto_piece_len(uint64_t total)
{
    uint32_t len = PIECE_LEN_MIN;
    while (len < PIECE_LEN_AUTO_MAX && total / len >= 2048)
        len *= 2;
    return len;
}

/* ---- lists of text ---- */

/* The URLs of a tier are joined by commas. */
static uint32_t count_urls(const struct sp_create_cfg *cfg)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < cfg->tracker_count; i++) {
        n++;
        for (const char *c = cfg->trackers[i]; *c; c++)
            n += *c == ',';
    }
    return n;
}

struct lists {
    struct sp_metainfo_tracker *trackers;
    uint32_t tracker_count;
    struct sp_metainfo_web_seed *web_seeds;
    struct sp_metainfo_node *nodes;
    char **owned; /* texts cut out of arguments */
    uint32_t owned_count;
};

static char *own(struct lists *l, const char *text, size_t len)
{
    char *copy = strndup(text, len);
    if (copy)
        l->owned[l->owned_count++] = copy;
    return copy;
}

static enum sp_err fill_lists(const struct sp_create_cfg *cfg, struct lists *l,
                              struct sp_diag *diag)
{
    uint32_t urls = count_urls(cfg);
    l->trackers = calloc(urls + 1, sizeof(*l->trackers));
    l->web_seeds = calloc(cfg->web_seed_count + 1, sizeof(*l->web_seeds));
    l->nodes = calloc(cfg->node_count + 1, sizeof(*l->nodes));
    l->owned = calloc(urls + cfg->node_count + 1, sizeof(*l->owned));
    if (!l->trackers || !l->web_seeds || !l->nodes || !l->owned)
        return fail(diag, SP_ENOMEM, "create", "out of memory");

    for (uint32_t i = 0; i < cfg->tracker_count; i++) {
        for (const char *at = cfg->trackers[i]; *at;) {
            size_t n = strcspn(at, ",");
            if (n > 0) {
                l->trackers[l->tracker_count].tier = i;
                l->trackers[l->tracker_count].url = own(l, at, n);
                if (!l->trackers[l->tracker_count++].url)
                    return fail(diag, SP_ENOMEM, "create", "out of memory");
            }
            at += n + (at[n] == ',');
        }
    }
    for (uint32_t i = 0; i < cfg->web_seed_count; i++)
        l->web_seeds[i].url = cfg->web_seeds[i];
    for (uint32_t i = 0; i < cfg->node_count; i++) {
        const char *colon = strrchr(cfg->nodes[i], ':');
        long port = colon ? strtol(colon + 1, NULL, 10) : 0;
        if (!colon || colon == cfg->nodes[i] || port < 1 || port > 65535)
            return fail(diag, SP_EINVAL, cfg->nodes[i], "is not HOST:PORT");
        const char *from = cfg->nodes[i];
        size_t n = (size_t)(colon - from);
        if (n > 2 && from[0] == '[' && from[n - 1] == ']') {
            from++;
            n -= 2;
        }
        l->nodes[i].port = (uint16_t)port;
        l->nodes[i].host = own(l, from, n);
        if (!l->nodes[i].host)
            return fail(diag, SP_ENOMEM, "create", "out of memory");
    }
    return SP_OK;
}

static void free_lists(struct lists *l)
{
    for (uint32_t i = 0; i < l->owned_count; i++)
        free(l->owned[i]);
    free(l->owned);
    free(l->trackers);
    free(l->web_seeds);
    free(l->nodes);
}

/* ---- hashing ---- */

/* Bytes that could not be hashed: say which file is to blame. */
static enum sp_err blame_file(const struct sp_tree *t, const struct sp_disk_stat *stats,
                              struct sp_diag *diag)
{
    for (uint32_t i = 0; i < t->count; i++) {
        if (stats[i].kind != SP_FILE_REGULAR || stats[i].size != t->files[i].len)
            return fail(diag, SP_EIO, t->files[i].path, "changed while it was read");
    }
    return fail(diag, SP_EIO, t->name, "a file could not be read, or changed while it was read");
}

static enum sp_err hash_tree(const struct sp_create_cfg *cfg, const struct sp_tree *t,
                             uint32_t piece_len, uint32_t piece_count, uint8_t *pieces,
                             struct sp_diag *diag)
{
    struct sp_disk_file *files = calloc(t->count, sizeof(*files));
    struct sp_disk_stat *stats = calloc(t->count, sizeof(*stats));
    uint8_t *state = calloc(piece_count, 1);
    char *dir = NULL;
    enum sp_err err = SP_ENOMEM;

    if (asprintf(&dir, "%s%s%s", t->parent, t->single ? "" : "/", t->single ? "" : t->on_disk) < 0)
        dir = NULL;
    if (!files || !stats || !state || !dir) {
        fail(diag, err, "create", "out of memory");
        goto out;
    }
    for (uint32_t i = 0; i < t->count; i++)
        files[i] = (struct sp_disk_file){.path = t->single ? t->on_disk : t->files[i].path,
                                         .len = t->files[i].len,
                                         .wanted = true};
    struct sp_reading_cfg rc = {
        .dir = dir,
        .files = files,
        .file_count = t->count,
        .piece_len = piece_len,
        .total_len = t->total,
        .piece_count = piece_count,
        .threads = cfg->threads,
        .ret_digests = pieces,
        .ret_state = state,
        .ret_stats = stats,
        .progress = cfg->progress,
        .ctx = cfg->ctx,
    };
    err = sp_reading(&rc, diag);
    for (uint32_t p = 0; err == SP_OK && p < piece_count; p++) {
        if (state[p] != SP_CHECK_READ)
            err = blame_file(t, stats, diag);
    }
out:
    free(files);
    free(stats);
    free(state);
    free(dir);
    return err;
}

/* ---- writing ---- */

static enum sp_err write_down(const struct sp_create_cfg *cfg, const struct sp_tree *t,
                              const struct lists *l, uint32_t piece_len, struct sp_slice pieces,
                              uint8_t **ret_bytes, size_t *ret_len, struct sp_diag *diag)
{
    struct sp_metainfo_spec_file *files = calloc(t->count, sizeof(*files));
    uint8_t *bytes = NULL;
    size_t len = 0;

    if (!files)
        return fail(diag, SP_ENOMEM, "create", "out of memory");
    for (uint32_t i = 0; i < t->count; i++) {
        files[i].path =
            (struct sp_slice){(const uint8_t *)t->files[i].path, strlen(t->files[i].path)};
        files[i].length = t->files[i].len;
    }
    struct sp_metainfo_spec spec = {
        .name = {(const uint8_t *)t->name, strlen(t->name)},
        .files = files,
        .file_count = t->count,
        .single_file = t->single,
        .piece_length = piece_len,
        .pieces = pieces,
        .trackers = l->trackers,
        .tracker_count = l->tracker_count,
        .web_seeds = l->web_seeds,
        .web_seed_count = cfg->web_seed_count,
        .nodes = l->nodes,
        .node_count = cfg->node_count,
        .is_private = cfg->is_private,
        .comment = cfg->comment,
        .created_by = !cfg->created_by     ? "Spate/" SP_VERSION
                      : cfg->created_by[0] ? cfg->created_by
                                           : NULL,
        .source = cfg->source,
        .creation_date = cfg->creation_date,
    };
    enum sp_err err = sp_metainfo_write(&spec, NULL, 0, &len, diag);
    if (err == SP_ELIMIT) {
        bytes = malloc(len);
        err = bytes ? sp_metainfo_write(&spec, bytes, len, &len, diag)
                    : fail(diag, SP_ENOMEM, "create", "out of memory");
    }
    free(files);
    if (err != SP_OK) {
        free(bytes);
        return err;
    }
    *ret_bytes = bytes;
    *ret_len = len;
    return SP_OK;
}

static enum sp_err make(const struct sp_create_cfg *cfg, const struct sp_tree *t,
                        const struct lists *l, uint8_t **ret_bytes, size_t *ret_len,
                        struct sp_diag *diag)
{
    if (t->total == 0)
        return fail(diag, SP_EDATA, cfg->path, "there are no bytes to share");
    uint32_t len = cfg->piece_length ? cfg->piece_length : auto_piece_len(t->total);
    if (len < PIECE_LEN_MIN || len > PIECE_LEN_MAX || (len & (len - 1)))
        return fail(diag, SP_EINVAL, "piece length", "is not a power of two from 16K to 1G");
    uint64_t count = (t->total + len - 1) / len;
    if (count > 1u << 22)
        return fail(diag, SP_EINVAL, "piece length", "is too small for that much data");

    uint8_t *pieces = malloc(count * SP_SHA1_LEN);
    if (!pieces)
        return fail(diag, SP_ENOMEM, "create", "out of memory");
    enum sp_err err = hash_tree(cfg, t, len, (uint32_t)count, pieces, diag);
    if (err == SP_OK)
        err = write_down(cfg, t, l, len, (struct sp_slice){pieces, count * SP_SHA1_LEN}, ret_bytes,
                         ret_len, diag);
    free(pieces);
    return err;
}

enum sp_err sp_create(const struct sp_create_cfg *cfg, uint8_t **ret_bytes, size_t *ret_len,
                      struct sp_diag *diag)
{
    struct sp_tree t = {0};
    struct lists l = {0};

    if (cfg->version != SP_CREATE_V1)
        return fail(diag, SP_EINVAL, "version", "only v1 can be made");
    enum sp_err err = fill_lists(cfg, &l, diag);
    if (err == SP_OK)
        err = sp_tree_read(cfg->path, &t, diag);
    if (err == SP_OK)
        err = make(cfg, &t, &l, ret_bytes, ret_len, diag);
    sp_tree_done(&t);
    free_lists(&l);
    return err;
}
