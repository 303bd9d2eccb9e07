/* Shows what is in a torrent file:  show_torrent FILE */
#include <inttypes.h>
#include <spate/metainfo.h>
#include <stdio.h>

static void show(const struct sp_metainfo *mi)
{
    printf("%s: %" PRIu64 " bytes in %" PRIu32 " pieces, info-hash ", mi->name, mi->total_length,
           mi->piece_count);
    for (int i = 0; i < SP_SHA1_LEN; i++)
        printf("%02x", mi->info_hash_v1[i]);
    printf("\n");
    for (uint32_t i = 0; i < mi->file_count; i++)
        printf("%12" PRIu64 "  %s\n", mi->files[i].length, mi->files[i].path);
    for (uint32_t i = 0; i < mi->tracker_count; i++)
        printf("tracker %" PRIu32 ": %s\n", mi->trackers[i].tier, mi->trackers[i].url);
}

int main(int argc, char **argv)
{
    static uint8_t bytes[16 << 20];
    struct sp_metainfo *mi;
    struct sp_diag diag;

    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    if (!file) {
        fprintf(stderr, "usage: show_torrent FILE\n");
        return 2;
    }
    struct sp_slice in = {.ptr = bytes, .len = fread(bytes, 1, sizeof(bytes), file)};
    fclose(file);
    if (sp_metainfo_parse(sp_mem_libc(), in, NULL, &mi, &diag) != SP_OK) {
        fprintf(stderr, "%s: %s\n", argv[1], diag.text);
        return 3;
    }
    show(mi);
    sp_metainfo_free(mi);
    return 0;
}
