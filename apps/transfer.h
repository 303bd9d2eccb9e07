/* transfer.h - one client with some torrents, from adding them to the end:
 * what get, seed, demo and bench have in common.
 *
 *   transfer_init(&t, opts, TRANSFER_GET);
 *   transfer_load(&t, src);            for each
 *   transfer_start(&t, dir);
 *   transfer_run(&t);                  until done, failed or interrupted
 *   transfer_done(&t);
 */
#ifndef SPATE_APPS_TRANSFER_H
#define SPATE_APPS_TRANSFER_H

#include "apps/cmd.h"
#include "spate/client.h"
#include "spate/magnet.h"

enum transfer_role {
    TRANSFER_GET,
    TRANSFER_SEED, /* changes nothing on the disk */
};

/* One torrent and what happened to it. */
struct transfer_torrent {
    struct loaded loaded;     /* mi is NULL until a magnet's metadata is here */
    struct sp_magnet *magnet; /* NULL: it is no magnet */
    struct str name;          /* cleaned */
    char hash[HASH_TEXT_CAP];
    sp_torrent_id id;
    struct sp_torrent_stats stats; /* as of the last look */
    bool is_checked;               /* what was there at the start is known */
    bool is_complete;
    bool was_complete;                     /* at the start */
    bool is_missing;                       /* seed: nothing of it is there */
    bool is_in_error;                      /* said so, and not recovered since */
    bool has_failed;                       /* in_error, and waiting will not help */
    bool is_bad;                           /* failed: the torrent itself is no good */
    bool is_served;                        /* ratio or time is reached */
    uint64_t there_bytes;                  /* at the start, of those wanted */
    char tracker_text[SP_CLIENT_TEXT_LEN]; /* what a tracker said last */
    double checked_s;                      /* on cmd_clock */
    double completed_s;
    double rate_Bps; /* smoothed, for the ETA */
    uint8_t *pieces;
    size_t pieces_len; /* 0: not known yet */
};

struct transfer {
    const struct opts *opts;
    enum transfer_role role;
    struct sp_client *client;
    struct transfer_torrent *torrents;
    uint32_t count;
    char *state_dir;       /* NULL: none */
    struct report *report; /* says what happens */
    double started_s;
    bool is_stopping, is_interrupted;
};

void transfer_init(struct transfer *t, const struct opts *opts, enum transfer_role role);
void transfer_done(struct transfer *t);

/* Both give an enum exit_code and say what went wrong. */
int transfer_load(struct transfer *t, const char *src);
int transfer_start(struct transfer *t, const char *dir);
/* Gives how it all ended, as an enum exit_code. */
int transfer_run(struct transfer *t);

/* For metadata.c: false, and said, when it is there already; TAKES torrent. */
bool transfer_is_new(struct transfer *t, const struct transfer_torrent *torrent);
void transfer_append(struct transfer *t, const struct transfer_torrent *torrent);

/* The client's settings from the options; false, and said, when one is wrong. */
bool transfer_client_cfg(const struct opts *opts, const char *state_dir,
                         struct sp_client_cfg *ret_cfg);

/* Payload of this run. */
static inline uint64_t transfer_down(const struct transfer_torrent *torrent)
{
    return torrent->stats.downloaded_bytes - torrent->stats.downloaded_before_bytes;
}
static inline uint64_t transfer_up(const struct transfer_torrent *torrent)
{
    return torrent->stats.uploaded_bytes - torrent->stats.uploaded_before_bytes;
}
/* Seconds until complete; UINT64_MAX when nobody knows. */
uint64_t transfer_eta(const struct transfer_torrent *torrent);

#endif
