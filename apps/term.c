#include "apps/term.h"
#include "apps/number.h"
#include "apps/text.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { COLS_DEFAULT = 80, ROWS_DEFAULT = 24, COLS_MAX = 1000 };

static uint16_t env_columns(void)
{
    const char *text = getenv("COLUMNS");
    uint64_t value;
    return text && number_count(text, &value) && value > 0 && value <= COLS_MAX ? (uint16_t)value
                                                                                : COLS_DEFAULT;
}

bool term_resize(struct term *term)
{
    uint16_t cols = term->cols, rows = term->rows;
    struct winsize size;

    term->cols = env_columns();
    term->rows = ROWS_DEFAULT;
    if (term->is_tty && ioctl(term->fd, TIOCGWINSZ, &size) == 0) {
        if (size.ws_col)
            term->cols = size.ws_col < COLS_MAX ? size.ws_col : COLS_MAX;
        if (size.ws_row)
            term->rows = size.ws_row;
    }
    return term->cols != cols || term->rows != rows;
}

void term_init(struct term *term, int fd)
{
    const char *type = getenv("TERM"), *no_colour = getenv("NO_COLOR");

    *term = (struct term){.fd = fd, .is_tty = isatty(fd), .utf8 = text_style.utf8};
    term->can_move = term->is_tty && type && *type && strcmp(type, "dumb") != 0;
    /* no-color.org: "when present and not an empty string" */
    term->colour = term->can_move && !(no_colour && *no_colour);
    term_resize(term);
}

const char *term_colour(const struct term *term, enum colour colour)
{
    static const char *const codes[] = {
        [COLOUR_OFF] = "\033[0m",   [COLOUR_BOLD] = "\033[1m",   [COLOUR_DIM] = "\033[2m",
        [COLOUR_RED] = "\033[31m",  [COLOUR_GREEN] = "\033[32m", [COLOUR_YELLOW] = "\033[33m",
        [COLOUR_CYAN] = "\033[36m",
    };
    return term->colour ? codes[colour] : "";
}
