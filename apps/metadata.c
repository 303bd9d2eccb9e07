/* get MAGNET: a torrent that is known by its info-hash, until peers have told
 * the rest. */
#include "apps/metadata.h"
#include "apps/number.h"
#include "apps/report.h"

#include <stdlib.h>
#include <string.h>

static void take_hash(struct transfer_torrent *torrent)
{
    for (size_t i = 0; i < SP_SHA1_LEN; i++)
        snprintf(torrent->hash + 2 * i, 3, "%02x", torrent->magnet->info_hash_v1[i]);
}

int metadata_load(struct transfer *t, const char *src)
{
    struct sp_slice text = {(const uint8_t *)src, strlen(src)};
    struct transfer_torrent torrent = {.loaded.src = src};
    struct sp_diag diag = {0};
    enum sp_err err = sp_magnet_parse(&cmd_mem, text, &torrent.magnet, &diag);

    if (err != SP_OK)
        return cmd_failed(t->opts, src, err, &diag);
    if (!torrent.magnet->has_v1) {
        cmd_error(t->opts,
                  "%s: names a version 2 torrent alone (btmh), which cannot be downloaded yet",
                  src);
        sp_magnet_free(torrent.magnet);
        return EXIT_BAD_INPUT;
    }
    take_hash(&torrent);
    if (!transfer_is_new(t, &torrent)) {
        sp_magnet_free(torrent.magnet);
        return EXIT_USAGE;
    }
    const char *name = torrent.magnet->name ? torrent.magnet->name : torrent.hash;
    text_clean(&torrent.name, name, strlen(name), text_style.utf8);
    transfer_append(t, &torrent);
    return EXIT_DONE;
}

struct sp_file_range *metadata_ranges(const struct opts *opts, uint32_t *ret_count)
{
    const struct opt_value *select = &opts->value[OPT_SELECT];
    struct sp_file_range *ranges;
    uint32_t count = 0, cap = 1;
    uint64_t first, last;

    *ret_count = 0;
    if (!select->is_given)
        return NULL;
    for (const char *at = select->text; *at; at++)
        cap += *at == ',';
    ranges = mem_zero(cap, sizeof(*ranges));
    for (const char *at = select->text; *at && number_next_range(&at, &first, &last);) {
        if (first > UINT32_MAX)
            continue; /* there is no such file */
        ranges[count].first = (uint32_t)(first - 1);
        ranges[count++].last = last > UINT32_MAX ? UINT32_MAX : (uint32_t)(last - 1);
    }
    *ret_count = count;
    return ranges;
}

static bool take_metainfo(struct transfer *t, struct transfer_torrent *torrent)
{
    uint8_t *bytes = NULL;
    size_t len = 0;

    if (torrent->loaded.mi || sp_client_metainfo(t->client, torrent->id, &bytes, &len) != SP_OK)
        return false;
    enum sp_err err =
        sp_metainfo_parse(&cmd_mem, (struct sp_slice){bytes, len}, NULL, &torrent->loaded.mi, NULL);
    sp_bytes_free(bytes);
    return err == SP_OK;
}

void metadata_came(struct transfer *t, struct transfer_torrent *torrent)
{
    const struct sp_metainfo *mi;
    char size[HUMAN_CAP], all[HUMAN_CAP];
    struct str line = {0};

    if (!take_metainfo(t, torrent))
        return;
    mi = torrent->loaded.mi;
    str_clear(&torrent->name);
    text_clean(&torrent->name, mi->name, strlen(mi->name), text_style.utf8);
    torrent->pieces = mem_zero(((size_t)mi->piece_count + 7) / 8, 1);
    str_fmt(&line, "%s: metadata is here (%s): %u file%s, %s", torrent->name.ptr,
            human_bytes(size, mi->info.len), mi->file_count, mi->file_count == 1 ? "" : "s",
            human_bytes(all, mi->total_length));
    report_event(t->report, torrent, "metadata", NULL, line.ptr);
    str_done(&line);
}
