/* live.h - a block of lines redrawn in place at the end of the output, above
 * which other lines scroll away as usual. */
#ifndef SPATE_APPS_LIVE_H
#define SPATE_APPS_LIVE_H

#include "apps/sink.h"
#include "apps/term.h"
#include "apps/text.h"

struct live {
    struct sink *sink;
    const struct term *term;
    struct str block; /* what is on the screen, each line ended by '\n' */
    struct str frame; /* what is put together */
};

void live_init(struct live *live, struct sink *sink, const struct term *term);
void live_done(struct live *live);

/* Lines, each ended by '\n' and narrower than the terminal.  Not drawn when
 * the terminal has not taken the last one yet. */
void live_draw(struct live *live, const struct str *lines);
/* A line, without '\n', that stays, above the block. */
void live_note(struct live *live, const char *line);
/* Takes the block away. */
void live_clear(struct live *live);

/* Columns of a line, colours not counted. */
size_t live_width(const char *line, size_t len);

#endif
