#include "apps/meter.h"
#include "apps/progress.h"
#include "apps/signals.h"

#include <string.h>
#include <unistd.h>

enum { PLAIN_GAP_S = 5, BAR_MIN = 8, BAR_MAX = 40 };

void meter_init(struct meter *meter, const struct opts *opts, const char *what)
{
    *meter = (struct meter){.what = what, .started_s = cmd_clock()};
    meter->is_silent = opts_has(opts, OPT_QUIET) || opts_has(opts, OPT_JSON);
    meter->next_s = meter->started_s + PLAIN_GAP_S;
    term_init(&meter->term, STDERR_FILENO);
}

static uint64_t rate_of(const struct meter *meter)
{
    double took = cmd_clock() - meter->started_s;
    return took > 0.001 ? (uint64_t)((double)meter->done_bytes / took) : 0;
}

static void draw(struct meter *meter)
{
    char percent[HUMAN_CAP], done[HUMAN_CAP], total[HUMAN_CAP], rate[HUMAN_CAP], eta[HUMAN_CAP];
    uint64_t Bps = rate_of(meter);
    struct str line = {0}, tail = {0};
    size_t width, used;

    term_resize(&meter->term);
    width = meter->term.cols - 1U;
    str_fmt(&tail, " %6s", human_percent(percent, meter->done_bytes, meter->total_bytes));
    if (width >= 60)
        str_fmt(&tail, "  %8s of %s", human_bytes(done, meter->done_bytes),
                human_bytes(total, meter->total_bytes));
    str_fmt(&tail, "  %10s", human_rate(rate, Bps));
    if (width >= 50)
        str_fmt(&tail, "  ETA %s",
                human_time(eta, Bps ? (meter->total_bytes - meter->done_bytes) / Bps : UINT64_MAX));
    str_fmt(&line, "\r%s ", meter->what);
    used = strlen(meter->what) + 1 + text_width(tail.ptr);
    if (used + BAR_MIN <= width)
        progress_bar(&line, &meter->term,
                     meter->total_bytes ? (double)meter->done_bytes / (double)meter->total_bytes
                                        : 1,
                     width - used < BAR_MAX ? width - used : BAR_MAX);
    str_fmt(&line, "%s\033[K", tail.ptr);
    (void)!write(STDERR_FILENO, line.ptr, line.len);
    meter->is_drawn = true;
    str_done(&line);
    str_done(&tail);
}

static void put_plain(struct meter *meter)
{
    char percent[HUMAN_CAP], total[HUMAN_CAP], rate[HUMAN_CAP];

    if (cmd_clock() < meter->next_s)
        return;
    meter->next_s += PLAIN_GAP_S;
    fprintf(stderr, "%s: %s of %s, %s\n", meter->what,
            human_percent(percent, meter->done_bytes, meter->total_bytes),
            human_bytes(total, meter->total_bytes), human_rate(rate, rate_of(meter)));
}

bool meter_progress(void *ctx, uint64_t done_bytes, uint64_t total_bytes)
{
    struct meter *meter = ctx;

    meter->total_bytes = total_bytes;
    meter->done_bytes = done_bytes < total_bytes ? done_bytes : total_bytes;
    if (!meter->is_silent && meter->term.can_move)
        draw(meter);
    else if (!meter->is_silent)
        put_plain(meter);
    return !signals_came();
}

void meter_done(struct meter *meter)
{
    static const char erase[] = "\r\033[K";
    if (meter->is_drawn)
        (void)!write(STDERR_FILENO, erase, sizeof(erase) - 1);
    meter->is_drawn = false;
}

void meter_result(const struct meter *meter, struct str *out)
{
    char done[HUMAN_CAP], rate[HUMAN_CAP];
    double took = cmd_clock() - meter->started_s;

    str_fmt(out, "%s in %.1fs, %s", human_bytes(done, meter->done_bytes), took,
            human_rate(rate, rate_of(meter)));
}
