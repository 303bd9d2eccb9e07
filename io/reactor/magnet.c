/* A torrent that was added by its info-hash: from the info dictionary to what
 * the shell needs of a torrent. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/reactor/reactor.h"

/* Trackers as a torrent file names them, for its text. */
static struct sp_metainfo_tracker *tracker_list(const struct sp_held *h)
{
    struct sp_metainfo_tracker *list = calloc(h->tracker_count + 1, sizeof(*list));
    for (uint32_t i = 0; list && i < h->tracker_count; i++) {
        list[i].url = (const char *)h->trackers[i].url.ptr; /* ends with a NUL */
        list[i].tier = h->trackers[i].tier;
    }
    return list;
}

/* BEP-0053: "select only", and what the user chose instead.  Files that there
 * are not are passed over, as long as one is left. */
static enum sp_err choose_files(struct sp_held *h, const struct sp_metainfo *mi,
                                uint8_t **ret_priorities, struct sp_diag *diag)
{
    char text[sizeof(diag->text)];
    uint32_t wanted = 0;
    if (h->range_count == 0)
        return SP_OK;
    uint8_t *priorities = calloc(mi->file_count, 1);
    if (!priorities)
        return SP_ENOMEM;
    for (uint32_t r = 0; r < h->range_count; r++) {
        uint32_t last = h->ranges[r].last;
        for (uint32_t f = h->ranges[r].first; f < mi->file_count && f <= last; f++) {
            priorities[f] = 4;
            wanted++;
        }
    }
    if (wanted == 0) {
        free(priorities);
        snprintf(text, sizeof(text), "none of the files selected is there: it has %u",
                 mi->file_count);
        return sp_diag_set(diag, SP_EDATA, 0, text);
    }
    *ret_priorities = priorities;
    return SP_OK;
}

enum sp_err sp_held_make_bits(struct sp_held *h, uint32_t piece_count)
{
    enum sp_err err = sp_bits_init(&h->have, sp_mem_libc(), piece_count);
    if (err == SP_OK)
        err = sp_bits_init(&h->saving, sp_mem_libc(), piece_count);
    if (err == SP_OK)
        err = sp_bits_init(&h->have_out, sp_mem_libc(), piece_count);
    return err;
}

enum sp_err sp_held_build(struct sp_held *h, struct sp_slice info, struct sp_diag *diag)
{
    struct sp_metainfo *mi = NULL;
    uint8_t *priorities = NULL;
    struct sp_metainfo_tracker *trackers = tracker_list(h);
    enum sp_err err = trackers ? sp_metainfo_parse_info(sp_mem_libc(), info, trackers,
                                                        h->tracker_count, NULL, &mi, diag)
                               : SP_ENOMEM;
    free(trackers);
    if (err == SP_OK && memcmp(mi->info_hash_v1, h->info_hash, SP_SHA1_LEN) != 0)
        err = sp_diag_set(diag, SP_EHASH, 0, "is not what the info-hash names");
    if (err == SP_OK)
        err = choose_files(h, mi, &priorities, diag);
    /* Snapshots may be taken on other threads meanwhile. */
    pthread_mutex_lock(&h->lock);
    if (err == SP_OK)
        err = sp_held_make_bits(h, mi->piece_count);
    if (err == SP_OK) {
        h->mi = mi;
        h->priorities = priorities;
    }
    pthread_mutex_unlock(&h->lock);
    if (err != SP_OK) {
        sp_metainfo_free(mi);
        free(priorities);
    }
    return err;
}
