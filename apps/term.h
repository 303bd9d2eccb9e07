/* term.h - what a descriptor is for a person: a terminal, how wide, which
 * signs and colours it takes. */
#ifndef SPATE_APPS_TERM_H
#define SPATE_APPS_TERM_H

#include "spate/types.h"

struct term {
    int fd;
    bool is_tty;
    bool can_move; /* the cursor: no with TERM=dumb */
    bool colour;   /* unless NO_COLOR is set, or TERM=dumb */
    bool utf8;
    uint16_t cols, rows;
};

void term_init(struct term *term, int fd);
/* Looks again how large the window is; true when that changed. */
bool term_resize(struct term *term);

/* The escape sequence, or "" on a terminal without colour. */
enum colour {
    COLOUR_OFF,
    COLOUR_BOLD,
    COLOUR_DIM,
    COLOUR_RED,
    COLOUR_GREEN,
    COLOUR_YELLOW,
    COLOUR_CYAN
};
const char *term_colour(const struct term *term, enum colour colour);

#endif
