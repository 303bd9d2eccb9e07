#include "apps/report.h"
#include "apps/json.h"
#include "apps/live.h"
#include "apps/progress.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FLUSH_MS = 2000, COMPACT_ROWS = 1 };

enum report_mode { MODE_LIVE, MODE_PLAIN, MODE_JSON, MODE_QUIET };

struct report {
    const struct transfer *t;
    enum report_mode mode;
    struct term term;
    struct sink *sink; /* NULL: quiet, or no thread could be had */
    struct live live;
    struct str text;
    double next_s; /* when progress is due again */
    double plain_gap_s;
    bool shares_terminal; /* standard error is the terminal that progress is drawn on */
};

static bool same_terminal(void)
{
    return isatty(STDERR_FILENO) && isatty(STDOUT_FILENO);
}

struct report *report_new(const struct transfer *t)
{
    struct report *report = mem_zero(1, sizeof(*report));

    report->t = t;
    term_init(&report->term, STDOUT_FILENO);
    report->mode = opts_has(t->opts, OPT_JSON)    ? MODE_JSON
                   : opts_has(t->opts, OPT_QUIET) ? MODE_QUIET
                   : report->term.can_move        ? MODE_LIVE
                                                  : MODE_PLAIN;
    if (report->mode != MODE_QUIET)
        report->sink = sink_new(STDOUT_FILENO);
    if (!report->sink)
        report->mode = MODE_QUIET;
    report->shares_terminal = report->mode == MODE_LIVE && same_terminal();
    live_init(&report->live, report->sink, &report->term);
    report->plain_gap_s = 5;
    return report;
}

void report_free(struct report *report)
{
    int error = 0;
    if (!report)
        return;
    if (report->mode == MODE_LIVE)
        live_clear(&report->live);
    if (report->sink)
        error = sink_error(report->sink);
    if (error)
        cmd_error(report->t->opts, "standard output: %s", strerror(error));
    sink_free(report->sink, FLUSH_MS);
    live_done(&report->live);
    str_done(&report->text);
    free(report);
}

/* --- events ----------------------------------------------------------------------- */

static void json_torrent(struct json *json, const struct report *report,
                         const struct transfer_torrent *torrent)
{
    const struct sp_torrent_stats *stats = &torrent->stats;
    const struct sp_metainfo *mi = torrent->loaded.mi;
    uint64_t eta = transfer_eta(torrent);
    struct progress p = {.stats = stats,
                         .is_complete = torrent->is_complete,
                         .is_seed = report->t->role == TRANSFER_SEED};

    json_uint(json, "torrent", (uint64_t)(torrent - report->t->torrents));
    json_text(json, "name",
              mi                      ? mi->name
              : torrent->magnet->name ? torrent->magnet->name
                                      : torrent->hash);
    json_text(json, "info_hash", torrent->hash);
    json_text(json, "state", progress_state(&p));
    json_uint(json, "have", torrent->is_complete ? stats->wanted_bytes : stats->have_bytes);
    json_uint(json, "wanted", stats->wanted_bytes);
    json_uint(json, "total", mi ? mi->total_length : 0);
    json_uint(json, "pieces_have", stats->piece_have);
    json_uint(json, "pieces", mi ? mi->piece_count : 0);
    if (torrent->magnet) {
        json_uint(json, "metadata", stats->metadata_bytes);
        json_uint(json, "metadata_have", stats->metadata_have_bytes);
    }
    json_uint(json, "down", stats->down_Bps);
    json_uint(json, "up", stats->up_Bps);
    json_uint(json, "downloaded", transfer_down(torrent));
    json_uint(json, "uploaded", transfer_up(torrent));
    json_uint(json, "wasted", stats->wasted_bytes);
    json_uint(json, "peers", stats->peers);
    json_uint(json, "seeds", stats->seeds);
    if (eta == UINT64_MAX)
        json_null(json, "eta");
    else
        json_uint(json, "eta", eta);
}

static void put_json(struct report *report, const struct transfer_torrent *torrent,
                     const char *event, const char *text)
{
    struct json json;

    str_clear(&report->text);
    json_init(&json, &report->text);
    json_open(&json, NULL, '{');
    json_text(&json, "event", event);
    if (torrent)
        json_torrent(&json, report, torrent);
    if (text)
        json_text(&json, "text", text);
    json_close(&json, '}');
    json_end_line(&json);
    sink_put(report->sink, report->text.ptr, report->text.len);
}

static void put_line(struct report *report, const char *line)
{
    str_clear(&report->text);
    text_clean(&report->text, line, strlen(line), report->term.utf8 || !report->term.is_tty);
    if (report->mode == MODE_LIVE) {
        live_note(&report->live, report->text.ptr);
    } else {
        str_puts(&report->text, "\n");
        sink_put(report->sink, report->text.ptr, report->text.len);
    }
}

void report_event(struct report *report, const struct transfer_torrent *torrent, const char *event,
                  const char *text, const char *line)
{
    if (report->mode == MODE_JSON)
        put_json(report, torrent, event, text);
    else if (report->mode != MODE_QUIET && line)
        put_line(report, line);
}

void report_error(struct report *report, const struct transfer_torrent *torrent, const char *event,
                  const char *text, const char *line)
{
    if (report->mode == MODE_JSON)
        put_json(report, torrent, event, text);
    if (!line)
        return;
    if (report->shares_terminal) {
        struct str whole = {0};
        str_fmt(&whole, "spate %s: %s", cmd_table[report->t->opts->cmd].name, line);
        put_line(report, whole.ptr);
        str_done(&whole);
    } else {
        cmd_error(report->t->opts, "%s", line);
    }
}

/* --- progress ------------------------------------------------------------------------ */

static struct progress progress_of(const struct report *report,
                                   const struct transfer_torrent *torrent)
{
    return (struct progress){
        .name = torrent->name.ptr,
        .stats = &torrent->stats,
        .eta_s = transfer_eta(torrent),
        .is_complete = torrent->is_complete,
        .is_stopping = report->t->is_stopping,
        .is_seed = report->t->role == TRANSFER_SEED,
        .pieces = torrent->pieces_len ? torrent->pieces : NULL,
        .session_up_bytes = transfer_up(torrent),
    };
}

static void add_totals(struct report *report, struct str *out, uint32_t hidden)
{
    uint64_t down = 0, up = 0;
    uint32_t complete = 0;
    char a[HUMAN_CAP], b[HUMAN_CAP];
    struct str line = {0};

    for (uint32_t i = 0; i < report->t->count; i++) {
        const struct transfer_torrent *torrent = &report->t->torrents[i];
        down += torrent->stats.down_Bps;
        up += torrent->stats.up_Bps;
        complete += torrent->is_complete;
    }
    if (hidden)
        str_fmt(&line, "and %u more; ", hidden);
    str_fmt(&line, "%u of %u complete, down %s, up %s", complete, report->t->count,
            human_rate(a, down), human_rate(b, up));
    text_fit(out, line.ptr, report->term.cols - 1U);
    str_puts(out, "\n");
    str_done(&line);
}

/* Torrents that still have something to do come first where not all fit. */
static void draw(struct report *report)
{
    struct str lines = {0};
    uint32_t count = report->t->count, rows, shown = 0;
    bool is_full;

    term_resize(&report->term);
    rows = report->term.rows > 2 ? report->term.rows - 2U : 1;
    is_full = (uint64_t)count * PROGRESS_ROWS <= rows;
    for (int is_complete = 0; is_complete < 2; is_complete++)
        for (uint32_t i = 0; i < count && (is_full || shown < rows); i++) {
            struct progress p = progress_of(report, &report->t->torrents[i]);
            if (!is_full && p.is_complete != is_complete)
                continue;
            if (is_full && is_complete)
                break;
            if (is_full)
                progress_block(&lines, &report->term, &p);
            else
                progress_line(&lines, &report->term, &p);
            shown++;
        }
    if (count > 1)
        add_totals(report, &lines, count - shown);
    live_draw(&report->live, &lines);
    str_done(&lines);
}

static void put_plain(struct report *report)
{
    struct str line = {0};

    for (uint32_t i = 0; i < report->t->count; i++) {
        const struct transfer_torrent *torrent = &report->t->torrents[i];
        struct progress p = progress_of(report, torrent);
        if (torrent->is_missing || (report->t->count > 8 && !torrent->stats.peers))
            continue;
        str_clear(&line);
        progress_plain(&line, &p);
        put_line(report, line.ptr);
    }
    str_done(&line);
}

void report_progress(struct report *report)
{
    double now = cmd_clock();

    switch (report->mode) {
    case MODE_LIVE:
        draw(report);
        break;
    case MODE_PLAIN:
        if (now < report->next_s || !sink_is_idle(report->sink))
            break;
        /* The first line comes soon; who runs for long is told less often. */
        if (report->next_s > 0)
            put_plain(report);
        if (now - report->t->started_s > 60)
            report->plain_gap_s = now - report->t->started_s > 3600 ? 300 : 30;
        report->next_s = now + (report->next_s > 0 ? report->plain_gap_s : 2);
        break;
    case MODE_JSON:
        if (now < report->next_s || !sink_is_idle(report->sink))
            break;
        for (uint32_t i = 0; i < report->t->count; i++)
            if (report->t->torrents[i].is_checked && !report->t->torrents[i].is_missing)
                put_json(report, &report->t->torrents[i], "progress", NULL);
        report->next_s = now + 1;
        break;
    case MODE_QUIET:
        break;
    }
}

/* --- the closing table ------------------------------------------------------------------ */

static double seconds_of(const struct transfer *t, const struct transfer_torrent *torrent)
{
    bool is_over = torrent->completed_s > 0 && t->role == TRANSFER_GET;
    double end = is_over ? torrent->completed_s : cmd_clock();
    double took = torrent->checked_s > 0 ? end - torrent->checked_s : 0;
    return took > 0 ? took : 0;
}

static uint64_t average_of(const struct transfer *t, const struct transfer_torrent *torrent)
{
    double took = seconds_of(t, torrent);
    return took > 0.001 ? (uint64_t)((double)transfer_down(torrent) / took) : 0;
}

static uint64_t ratio_of(const struct transfer_torrent *torrent)
{
    double size = (double)torrent->stats.wanted_bytes;
    return size > 0 ? (uint64_t)((double)torrent->stats.uploaded_bytes / size * 1000) : 0;
}

static void summary_json(struct report *report)
{
    struct json json;

    for (uint32_t i = 0; i < report->t->count; i++) {
        const struct transfer_torrent *torrent = &report->t->torrents[i];
        str_clear(&report->text);
        json_init(&json, &report->text);
        json_open(&json, NULL, '{');
        json_text(&json, "event", "summary");
        json_torrent(&json, report, torrent);
        json_bool(&json, "complete", torrent->is_complete);
        json_fixed(&json, "seconds", (uint64_t)(seconds_of(report->t, torrent) * 1000), 3);
        json_uint(&json, "average", average_of(report->t, torrent));
        json_fixed(&json, "ratio", ratio_of(torrent), 3);
        json_close(&json, '}');
        json_end_line(&json);
        sink_put(report->sink, report->text.ptr, report->text.len);
    }
}

static void summary_row(struct report *report, const struct transfer_torrent *torrent, size_t width)
{
    char size[HUMAN_CAP], done[HUMAN_CAP], took[HUMAN_CAP], average[HUMAN_CAP], ratio[HUMAN_CAP],
        wasted[HUMAN_CAP];
    bool is_seed = report->t->role == TRANSFER_SEED;

    if (is_seed)
        human_bytes(average, transfer_up(torrent));
    else if (torrent->was_complete)
        snprintf(average, sizeof(average), "-");
    else
        human_rate(average, average_of(report->t, torrent));
    text_fit(&report->text, torrent->name.ptr, width);
    human_took(took, seconds_of(report->t, torrent));
    str_fmt(
        &report->text, " %9s %6s %8s %11s %6s %9s\n",
        human_bytes(size, torrent->stats.wanted_bytes),
        human_percent(
            done, torrent->is_complete ? torrent->stats.wanted_bytes : torrent->stats.have_bytes,
            torrent->stats.wanted_bytes),
        torrent->was_complete && !is_seed ? "-" : took, average,
        human_ratio(ratio, ratio_of(torrent)), human_bytes(wasted, torrent->stats.wasted_bytes));
}

/* Where a table has no room. */
static void summary_narrow(struct report *report)
{
    char size[HUMAN_CAP], took[HUMAN_CAP], average[HUMAN_CAP], ratio[HUMAN_CAP];

    for (uint32_t i = 0; i < report->t->count; i++) {
        const struct transfer_torrent *torrent = &report->t->torrents[i];
        if (torrent->is_missing)
            continue;
        human_took(took, seconds_of(report->t, torrent));
        text_fit(&report->text, torrent->name.ptr, report->term.cols - 1U);
        str_fmt(&report->text, "\n  %s in %s, %s\n  ratio %s\n",
                human_bytes(size, transfer_down(torrent)), took,
                human_rate(average, average_of(report->t, torrent)),
                human_ratio(ratio, ratio_of(torrent)));
    }
    sink_put(report->sink, str_text(&report->text), report->text.len);
}

void report_summary(struct report *report)
{
    enum { FIXED = 56, NAME_MIN = 16 };
    bool has_row = false;
    size_t widest = NAME_MIN, room = report->term.is_tty ? report->term.cols - 1U : 100;

    if (report->mode == MODE_QUIET)
        return;
    if (report->mode == MODE_JSON) {
        summary_json(report);
        return;
    }
    if (report->mode == MODE_LIVE)
        live_clear(&report->live);
    for (uint32_t i = 0; i < report->t->count; i++) {
        size_t width = text_width(report->t->torrents[i].name.ptr);
        has_row = has_row || !report->t->torrents[i].is_missing;
        widest = width > widest ? width : widest;
    }
    if (!has_row)
        return;
    if (widest + FIXED > room)
        widest = room > FIXED + NAME_MIN ? room - FIXED : NAME_MIN;
    str_clear(&report->text);
    if (room < FIXED + NAME_MIN) {
        summary_narrow(report);
        return;
    }
    str_puts(&report->text, term_colour(&report->term, COLOUR_BOLD));
    text_fit(&report->text, "Name", widest);
    str_fmt(&report->text, " %9s %6s %8s %11s %6s %9s%s\n", "Size", "Done", "Time",
            report->t->role == TRANSFER_SEED ? "Sent" : "Average", "Ratio", "Wasted",
            term_colour(&report->term, COLOUR_OFF));
    for (uint32_t i = 0; i < report->t->count; i++)
        if (!report->t->torrents[i].is_missing)
            summary_row(report, &report->t->torrents[i], widest);
    sink_put(report->sink, report->text.ptr, report->text.len);
}
