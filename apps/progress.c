#include "apps/progress.h"

#include <stdio.h>
#include <string.h>

enum { WIDTH_MAX = 100, INDENT = 2 };

/* The last column stays free: some terminals wrap once it is written. */
static size_t width_of(const struct term *term)
{
    size_t width = term->cols > 1 ? term->cols - 1U : 1;
    return width < WIDTH_MAX ? width : WIDTH_MAX;
}

const char *progress_state(const struct progress *p)
{
    if (p->is_stopping)
        return "stopping";
    switch (p->stats->state) {
    case SP_TORRENT_CHECKING:
        return "checking";
    case SP_TORRENT_PAUSED:
        return "paused";
    case SP_TORRENT_ERROR:
        return p->stats->err == SP_ENOSPC ? "disk full" : "error";
    case SP_TORRENT_DOWNLOADING:
        if (p->is_seed)
            return p->is_complete ? "seeding" : "seeding a part";
        if (!p->is_complete)
            return p->stats->peers ? "downloading" : "looking for peers";
        return "seeding";
    case SP_TORRENT_SEEDING:
        return "seeding";
    case SP_TORRENT_METADATA:
        return p->stats->peers ? "fetching metadata" : "looking for peers";
    }
    return "";
}

static enum colour state_colour(const struct progress *p)
{
    if (p->stats->state == SP_TORRENT_ERROR)
        return COLOUR_RED;
    if (p->is_stopping || p->stats->state == SP_TORRENT_PAUSED)
        return COLOUR_YELLOW;
    return p->is_complete ? COLOUR_GREEN : COLOUR_CYAN;
}

void progress_bar(struct str *out, const struct term *term, double part, size_t width)
{
    static const char *const eighths[] = {"",
                                          "\xe2\x96\x8f",
                                          "\xe2\x96\x8e",
                                          "\xe2\x96\x8d",
                                          "\xe2\x96\x8c",
                                          "\xe2\x96\x8b",
                                          "\xe2\x96\x8a",
                                          "\xe2\x96\x89"};
    size_t inner, cells, rest = 0;

    if (width < 3)
        return;
    inner = width - 2;
    part = part < 0 ? 0 : part > 1 ? 1 : part;
    cells = (size_t)(part * (double)inner);
    if (term->utf8)
        rest = (size_t)((part * (double)inner - (double)cells) * 8);
    str_puts(out, term->utf8 ? "\xe2\x96\x95" : "[");
    str_puts(out, term_colour(term, part >= 1 ? COLOUR_GREEN : COLOUR_CYAN));
    str_repeat(out, term->utf8 ? "\xe2\x96\x88" : "#", cells);
    if (cells < inner) {
        str_puts(out, eighths[rest]);
        str_repeat(out, term->utf8 ? " " : ".", inner - cells - (rest > 0));
    }
    str_puts(out, term_colour(term, COLOUR_OFF));
    str_puts(out, term->utf8 ? "\xe2\x96\x8f" : "]");
}

/* Bytes of what this state counts: looked at, fetched of the metadata, there. */
static uint64_t have_of(const struct progress *p, uint64_t *ret_all)
{
    const struct sp_torrent_stats *stats = p->stats;
    bool checks = stats->state == SP_TORRENT_CHECKING;
    if (stats->state == SP_TORRENT_METADATA) {
        *ret_all = stats->metadata_bytes;
        return stats->metadata_have_bytes;
    }
    *ret_all = checks ? stats->total_bytes : stats->wanted_bytes;
    return checks ? stats->checked_bytes : p->is_complete ? stats->wanted_bytes : stats->have_bytes;
}

/* How much of what was asked for is there, or has been looked at. */
static double part_of(const struct progress *p)
{
    const struct sp_torrent_stats *stats = p->stats;
    if (p->is_complete)
        return 1;
    uint64_t all, have = have_of(p, &all);
    if (all == 0)
        return stats->state == SP_TORRENT_DOWNLOADING || stats->state == SP_TORRENT_SEEDING;
    return (double)have / (double)all;
}

static const char *percent_of(char text[HUMAN_CAP], const struct progress *p)
{
    const struct sp_torrent_stats *stats = p->stats;
    if (p->is_complete)
        return human_percent(text, 1, 1);
    uint64_t all, have = have_of(p, &all);
    if (all == 0 && (stats->state == SP_TORRENT_CHECKING || stats->state == SP_TORRENT_METADATA))
        all = 1;
    return human_percent(text, have, all);
}

/* Adds a field when it still fits the line that began at start. */
static void add_field(struct str *out, size_t start, size_t width, const char *text)
{
    size_t used = text_width(out->ptr + start);
    size_t gap = used > INDENT ? 3 : 0;
    if (used + gap + text_width(text) > width)
        return;
    str_repeat(out, " ", gap);
    str_puts(out, text);
}

static void line_of_name(struct str *out, const struct term *term, const struct progress *p,
                         size_t width)
{
    const char *state = progress_state(p);
    size_t room = strlen(state) + 1;

    if (room + 8 > width) {
        text_fit(out, p->name, width);
        str_puts(out, "\n");
        return;
    }
    str_puts(out, term_colour(term, COLOUR_BOLD));
    text_fit(out, p->name, width - room);
    str_fmt(out, "%s %s%s%s\n", term_colour(term, COLOUR_OFF), term_colour(term, state_colour(p)),
            state, term_colour(term, COLOUR_OFF));
}

static void line_of_bar(struct str *out, const struct term *term, const struct progress *p,
                        size_t width)
{
    char percent[HUMAN_CAP], have[HUMAN_CAP], all[HUMAN_CAP], eta[HUMAN_CAP];
    struct str tail = {0};
    uint64_t all_bytes, have_bytes = have_of(p, &all_bytes);
    size_t room;

    str_fmt(&tail, " %6s", percent_of(percent, p));
    if (width >= 56)
        str_fmt(&tail, "  %8s of %s", human_bytes(have, have_bytes), human_bytes(all, all_bytes));
    if (!p->is_complete && !p->is_seed && width >= 32)
        str_fmt(&tail, "  ETA %-7s", human_time(eta, p->eta_s));
    room = text_width(tail.ptr) + INDENT;
    str_repeat(out, " ", INDENT);
    if (room + 5 <= width)
        progress_bar(out, term, part_of(p), width - room);
    while (tail.len && tail.ptr[tail.len - 1] == ' ')
        tail.ptr[--tail.len] = '\0';
    str_puts(out, tail.ptr);
    str_puts(out, "\n");
    str_done(&tail);
}

static void line_of_rates(struct str *out, const struct term *term, const struct progress *p,
                          size_t width)
{
    const struct sp_torrent_stats *stats = p->stats;
    const char *down = term->utf8 ? "\xe2\x86\x93" : "down",
               *up = term->utf8 ? "\xe2\x86\x91" : "up";
    char text[128], amount[HUMAN_CAP];
    size_t start = out->len;

    str_repeat(out, " ", INDENT);
    if (!p->is_complete && !p->is_seed) {
        snprintf(text, sizeof(text), "%s %10s", down, human_rate(amount, stats->down_Bps));
        add_field(out, start, width, text);
    }
    snprintf(text, sizeof(text), "%s %10s", up, human_rate(amount, stats->up_Bps));
    add_field(out, start, width, text);
    snprintf(text, sizeof(text), stats->seeds ? "%u peer%s (%u seed%s)" : "%u peer%s", stats->peers,
             stats->peers == 1 ? "" : "s", stats->seeds, stats->seeds == 1 ? "" : "s");
    add_field(out, start, width, text);
    if (p->is_complete || p->is_seed)
        snprintf(text, sizeof(text), "sent %s", human_bytes(amount, p->session_up_bytes));
    else
        snprintf(text, sizeof(text), "pieces %u/%u", stats->piece_have, stats->piece_count);
    add_field(out, start, width, text);
    str_puts(out, "\n");
}

/* How many of the bits [first, end) are set. */
static uint32_t bits_set(const uint8_t *bits, uint32_t first, uint32_t end)
{
    uint32_t count = 0;
    for (uint32_t i = first; i < end; i++) {
        if (i % 8 == 0 && i + 8 <= end) {
            count += (uint32_t)__builtin_popcount(bits[i / 8]);
            i += 7;
        } else {
            count += bits[i / 8] >> (7 - i % 8) & 1;
        }
    }
    return count;
}

/* One sign for each run of pieces: nothing, some, half, most, all of them. */
static void line_of_pieces(struct str *out, const struct term *term, const struct progress *p,
                           size_t width)
{
    static const char *const blocks[] = {"\xc2\xb7", "\xe2\x96\x91", "\xe2\x96\x92", "\xe2\x96\x93",
                                         "\xe2\x96\x88"};
    static const char *const ascii[] = {".", "-", "+", "=", "#"};
    uint32_t pieces = p->stats->piece_count;
    size_t cells = width > 2 * INDENT + 1 ? width - INDENT - 1 : 1;

    str_repeat(out, " ", INDENT + 1);
    cells -= 1;
    cells = cells ? cells : 1;
    str_puts(out, term_colour(term, COLOUR_DIM));
    for (size_t i = 0; i < cells; i++) {
        uint32_t first = (uint32_t)((uint64_t)pieces * i / cells);
        uint32_t end = (uint32_t)((uint64_t)pieces * (i + 1) / cells), have;
        end = end > first ? end : first + 1;
        have = bits_set(p->pieces, first, end);
        have = have == end - first ? 4 : have ? 1 + have * 3 / (end - first) : 0;
        str_puts(out, (term->utf8 ? blocks : ascii)[have]);
    }
    str_fmt(out, "%s\n", term_colour(term, COLOUR_OFF));
}

void progress_block(struct str *out, const struct term *term, const struct progress *p)
{
    size_t width = width_of(term);

    line_of_name(out, term, p, width);
    if (!p->is_complete)
        line_of_bar(out, term, p, width);
    if (p->stats->state != SP_TORRENT_CHECKING)
        line_of_rates(out, term, p, width);
    if (!p->is_complete && p->pieces && p->stats->piece_count > 1 &&
        p->stats->state != SP_TORRENT_CHECKING)
        line_of_pieces(out, term, p, width);
}

void progress_line(struct str *out, const struct term *term, const struct progress *p)
{
    size_t width = width_of(term);
    char percent[HUMAN_CAP], rate[HUMAN_CAP], eta[HUMAN_CAP];
    struct str tail = {0};
    size_t bar = width >= 70 ? 18 : 0, room;

    if (p->is_complete || (p->is_seed && p->stats->state == SP_TORRENT_DOWNLOADING))
        str_fmt(&tail, "  up %10s  %s", human_rate(rate, p->stats->up_Bps), progress_state(p));
    else if (p->stats->state == SP_TORRENT_DOWNLOADING)
        str_fmt(&tail, " %6s %10s %8s", percent_of(percent, p),
                human_rate(rate, p->stats->down_Bps), human_time(eta, p->eta_s));
    else
        str_fmt(&tail, " %6s  %s", percent_of(percent, p), progress_state(p));
    room = text_width(tail.ptr) + (p->is_complete ? 0 : bar ? bar + 1 : 0);
    text_fit(out, p->name, room + 4 < width ? width - room : 4);
    if (bar && !p->is_complete) {
        str_puts(out, " ");
        progress_bar(out, term, part_of(p), bar);
    }
    if (room + 4 < width)
        str_puts(out, tail.ptr);
    str_puts(out, "\n");
    str_done(&tail);
}

void progress_plain(struct str *out, const struct progress *p)
{
    const struct sp_torrent_stats *stats = p->stats;
    bool downloads = stats->state == SP_TORRENT_DOWNLOADING && !p->is_seed;
    char a[HUMAN_CAP], b[HUMAN_CAP], c[HUMAN_CAP];
    uint64_t all;

    (void)have_of(p, &all);
    str_fmt(out, "%s: ", p->name);
    if (!downloads)
        str_fmt(out, "%s", progress_state(p));
    if (!p->is_complete)
        str_fmt(out, "%s%s of %s", downloads ? "" : ", ", percent_of(a, p), human_bytes(b, all));
    if (downloads)
        str_fmt(out, ", down %s", human_rate(a, stats->down_Bps));
    if (stats->state != SP_TORRENT_CHECKING)
        str_fmt(out, ", up %s, %u peer%s", human_rate(b, stats->up_Bps), stats->peers,
                stats->peers == 1 ? "" : "s");
    if (downloads && p->eta_s != UINT64_MAX)
        str_fmt(out, ", ETA %s", human_time(c, p->eta_s));
}
