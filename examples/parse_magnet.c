/* Takes a magnet link apart:  parse_magnet LINK */
#include <inttypes.h>
#include <spate/magnet.h>
#include <stdio.h>
#include <string.h>

static void show_hash(const char *label, const uint8_t *hash, size_t len)
{
    printf("%s ", label);
    for (size_t i = 0; i < len; i++)
        printf("%02x", hash[i]);
    printf("\n");
}

int main(int argc, char **argv)
{
    struct sp_magnet *m;
    struct sp_diag diag;

    if (argc != 2) {
        fprintf(stderr, "usage: parse_magnet LINK\n");
        return 2;
    }
    struct sp_slice in = {.ptr = (const uint8_t *)argv[1], .len = strlen(argv[1])};
    if (sp_magnet_parse(sp_mem_libc(), in, &m, &diag) != SP_OK) {
        fprintf(stderr, "byte %" PRIu64 ": %s\n", diag.off, diag.text);
        return 3;
    }
    printf("name %s\n", m->name ? m->name : "(not told)");
    if (m->has_v1)
        show_hash("v1", m->info_hash_v1, SP_SHA1_LEN);
    if (m->has_v2)
        show_hash("v2", m->info_hash_v2, SP_SHA256_LEN);
    for (uint32_t i = 0; i < m->tracker_count; i++)
        printf("tracker %s\n", m->trackers[i].url);
    for (uint32_t i = 0; i < m->peer_count; i++)
        printf("peer %s port %" PRIu16 "\n", m->peers[i].host, m->peers[i].port);
    for (uint32_t i = 0; i < m->range_count; i++)
        printf("files %" PRIu32 "-%" PRIu32 "\n", m->ranges[i].first, m->ranges[i].last);
    sp_magnet_free(m);
    return 0;
}
