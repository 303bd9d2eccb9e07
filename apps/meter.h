/* meter.h - progress of one long piece of work, on standard error: a bar on a
 * terminal, a line now and then elsewhere.  It is an sp_progress. */
#ifndef SPATE_APPS_METER_H
#define SPATE_APPS_METER_H

#include "apps/cmd.h"
#include "apps/term.h"

struct meter {
    const char *what; /* "hashing" */
    struct term term;
    bool is_silent;
    bool is_drawn;
    double started_s, next_s;
    uint64_t done_bytes, total_bytes;
};

void meter_init(struct meter *meter, const struct opts *opts, const char *what);
/* ctx is the meter.  False, to cancel, once a signal came. */
bool meter_progress(void *ctx, uint64_t done_bytes, uint64_t total_bytes);
/* Takes the bar away. */
void meter_done(struct meter *meter);
/* "1.24 GiB in 3.2s, 397 MiB/s", added to out. */
void meter_result(const struct meter *meter, struct str *out);

#endif
