/* Downloads one torrent, then ends:  download FILE.torrent DIR [HOST:PORT] */
#include <inttypes.h>
#include <spate/client.h>
#include <spate/metainfo.h>
#include <stdio.h>

static struct sp_metainfo *load(const char *path, struct sp_diag *diag)
{
    static uint8_t bytes[16 << 20];
    struct sp_metainfo *mi = NULL;
    FILE *file = fopen(path, "rb");
    struct sp_slice in = {bytes, file ? fread(bytes, 1, sizeof(bytes), file) : 0};
    if (file)
        fclose(file);
    return sp_metainfo_parse(sp_mem_libc(), in, NULL, &mi, diag) == SP_OK ? mi : NULL;
}

/* Until it is complete or something fails; then until the clean end. */
static int run(struct sp_client *client, sp_torrent_id torrent)
{
    struct sp_client_event ev;
    struct sp_torrent_stats st;
    int code = 1;
    enum sp_err err;

    while ((err = sp_client_wait(client, 1000, &ev)) != SP_ECANCELED) {
        if (sp_client_stats(client, torrent, &st) == SP_OK)
            printf("%" PRIu64 " of %" PRIu64 " bytes\n", st.have_bytes, st.wanted_bytes);
        if (err != SP_OK || (ev.kind != SP_EV_ERROR && ev.kind != SP_EV_COMPLETE))
            continue;
        code = ev.kind == SP_EV_ERROR;
        sp_client_stop(client);
    }
    return code;
}

int main(int argc, char **argv)
{
    struct sp_diag diag = {.text = "usage: download FILE.torrent DIR [HOST:PORT]"};
    struct sp_metainfo *mi = argc >= 3 ? load(argv[1], &diag) : NULL;
    const char *peers[] = {argc >= 4 ? argv[3] : NULL};
    struct sp_client_add add = {
        .metainfo = mi, .peers = peers, .peer_count = argc >= 4, .dir = argv[argc >= 3 ? 2 : 0]};
    struct sp_client *client = NULL;
    struct sp_client_cfg cfg;
    sp_torrent_id torrent;
    int code = 2;

    sp_client_cfg_init(&cfg);
    if (mi && sp_client_new(&cfg, &client, &diag) == SP_OK &&
        sp_client_add(client, &add, &torrent, &diag) == SP_OK)
        code = run(client, torrent);
    else
        fprintf(stderr, "%s\n", diag.text);
    sp_client_free(client);
    sp_metainfo_free(mi);
    return code;
}
