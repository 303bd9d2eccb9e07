#include <stdlib.h>
#include <string.h>

#include "io/create/reading.h"
#include "spate/metainfo.h"

void sp_verify_done(struct sp_verify_result *result)
{
    free(result->pieces);
    free(result->files);
    *result = (struct sp_verify_result){0};
}

static enum sp_file_state file_state(const struct sp_file *f, const struct sp_disk_stat *st,
                                     const uint8_t *state)
{
    if (f->attr & (SP_ATTR_PAD | SP_ATTR_SYMLINK))
        return SP_FILE_OK;
    if (st->kind == SP_FILE_ABSENT)
        return SP_FILE_MISSING;
    if (st->kind != SP_FILE_REGULAR || st->size != f->length)
        return SP_FILE_SHORT;
    for (uint32_t p = f->piece_first; p < f->piece_end; p++) {
        if (state[p] != SP_CHECK_GOOD)
            return SP_FILE_BAD;
    }
    return SP_FILE_OK;
}

static void fill(const struct sp_metainfo *mi, const struct sp_disk_stat *stats,
                 const uint8_t *state, struct sp_verify_result *r)
{
    r->piece_count = mi->piece_count;
    r->file_count = mi->file_count;
    for (uint32_t p = 0; p < mi->piece_count; p++) {
        if (state[p] != SP_CHECK_GOOD)
            continue;
        r->pieces[p >> 3] = (uint8_t)(r->pieces[p >> 3] | 0x80u >> (p & 7));
        r->piece_ok++;
        r->bytes_ok += sp_metainfo_piece_len(mi, p);
    }
    for (uint32_t i = 0; i < mi->file_count; i++)
        r->files[i] = (uint8_t)file_state(&mi->files[i], &stats[i], state);
}

enum sp_err sp_verify(const struct sp_verify_cfg *cfg, struct sp_verify_result *ret_result,
                      struct sp_diag *diag)
{
    const struct sp_metainfo *mi = cfg->metainfo;
    struct sp_verify_result r = {.pieces = calloc((mi->piece_count + 7) / 8, 1),
                                 .files = calloc(mi->file_count, 1)};
    struct sp_disk_file *files = calloc(mi->file_count, sizeof(*files));
    struct sp_disk_stat *stats = calloc(mi->file_count, sizeof(*stats));
    uint8_t *state = calloc(mi->piece_count, 1);
    enum sp_err err = SP_ENOMEM;

    if (r.pieces && r.files && files && stats && state) {
        for (uint32_t i = 0; i < mi->file_count; i++) {
            const struct sp_file *f = &mi->files[i];
            files[i] = (struct sp_disk_file){
                .path = f->path,
                .len = f->length,
                .pad = f->attr & (SP_ATTR_PAD | SP_ATTR_SYMLINK),
                .wanted = true,
            };
        }
        struct sp_reading_cfg rc = {
            .dir = cfg->dir,
            .files = files,
            .file_count = mi->file_count,
            .piece_len = mi->piece_length,
            .total_len = mi->total_length,
            .piece_count = mi->piece_count,
            .threads = cfg->threads,
            .want = mi->pieces,
            .ret_state = state,
            .ret_stats = stats,
            .progress = cfg->progress,
            .ctx = cfg->ctx,
        };
        err = sp_reading(&rc, diag);
    } else {
        sp_diag_set(diag, err, 0, sp_err_text(err));
    }
    if (err == SP_OK) {
        fill(mi, stats, state, &r);
        *ret_result = r;
    } else {
        sp_verify_done(&r);
    }
    free(files);
    free(stats);
    free(state);
    return err;
}
