#include "apps/live.h"

#include <string.h>

void live_init(struct live *live, struct sink *sink, const struct term *term)
{
    *live = (struct live){.sink = sink, .term = term};
}

void live_done(struct live *live)
{
    str_done(&live->block);
    str_done(&live->frame);
}

size_t live_width(const char *line, size_t len)
{
    struct str plain = {0};
    size_t width;

    for (size_t i = 0; i < len; i++) {
        if (line[i] == '\033') {
            while (i < len && line[i] != 'm')
                i++;
        } else {
            str_add(&plain, &line[i], 1);
        }
    }
    width = text_width(str_text(&plain));
    str_done(&plain);
    return width;
}

/* How many rows the block takes, also after the window became narrower. */
static size_t rows_of(const struct live *live)
{
    size_t rows = 0;
    for (const char *at = str_text(&live->block); *at;) {
        size_t len = strcspn(at, "\n"), width = live_width(at, len);
        rows += width ? (width + live->term->cols - 1) / live->term->cols : 1;
        at += len + 1;
    }
    return rows;
}

static void add_home(struct live *live)
{
    size_t rows = rows_of(live);
    str_puts(&live->frame, "\r");
    if (rows)
        str_fmt(&live->frame, "\033[%zuA", rows);
}

/* In one write and without erasing first, so that nothing flickers. */
static void add_block(struct live *live, const struct str *lines)
{
    for (const char *at = str_text(lines); *at;) {
        size_t len = strcspn(at, "\n");
        str_add(&live->frame, at, len);
        str_puts(&live->frame, "\033[K\n");
        at += len + 1;
    }
    str_puts(&live->frame, "\033[J");
}

void live_draw(struct live *live, const struct str *lines)
{
    if (!sink_is_idle(live->sink))
        return;
    str_clear(&live->frame);
    add_home(live);
    add_block(live, lines);
    sink_put(live->sink, live->frame.ptr, live->frame.len);
    str_clear(&live->block);
    str_add(&live->block, str_text(lines), lines->len);
}

void live_note(struct live *live, const char *line)
{
    str_clear(&live->frame);
    if (live->block.len)
        add_home(live);
    str_puts(&live->frame, line);
    str_puts(&live->frame, live->block.len ? "\033[K\n" : "\n");
    if (live->block.len)
        add_block(live, &live->block);
    sink_put(live->sink, live->frame.ptr, live->frame.len);
}

void live_clear(struct live *live)
{
    if (!live->block.len)
        return;
    str_clear(&live->frame);
    add_home(live);
    str_puts(&live->frame, "\033[J");
    sink_put(live->sink, live->frame.ptr, live->frame.len);
    str_clear(&live->block);
}
