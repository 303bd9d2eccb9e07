/* progress.h - how far a torrent is, as lines of text. */
#ifndef SPATE_APPS_PROGRESS_H
#define SPATE_APPS_PROGRESS_H

#include "apps/term.h"
#include "apps/text.h"
#include "spate/client.h"

struct progress {
    const char *name; /* cleaned */
    const struct sp_torrent_stats *stats;
    uint64_t eta_s; /* UINT64_MAX: unknown */
    bool is_complete, is_stopping;
    bool is_seed;          /* nothing is downloaded, complete or not */
    const uint8_t *pieces; /* one bit each; NULL: not known */
    uint64_t session_up_bytes;
};

/* Lines a full block takes. */
enum { PROGRESS_ROWS = 4 };

/* Name and state, bar, rates, and which pieces are there. */
void progress_block(struct str *out, const struct term *term, const struct progress *p);
/* All on one line. */
void progress_line(struct str *out, const struct term *term, const struct progress *p);
/* For a log: "NAME: 47.3% of 1.24 GiB, down ..., up ..., 3 peers, ETA 12s". */
void progress_plain(struct str *out, const struct progress *p);

/* "checking", "downloading", ... */
const char *progress_state(const struct progress *p);
/* A bar of width columns, its ends included. */
void progress_bar(struct str *out, const struct term *term, double part, size_t width);

#endif
