#include "apps/transfer.h"
#include "apps/metadata.h"
#include "apps/number.h"
#include "apps/report.h"
#include "apps/signals.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOOK_S      0.1 /* however many events come */
#define STATS_LAG_S 0.6 /* snapshots are at most 250 ms old */

enum {
    TICK_MS = 200,
    STOP_MAX_S = 15, /* the client promises 10 */
};

void transfer_init(struct transfer *t, const struct opts *opts, enum transfer_role role)
{
    *t = (struct transfer){.opts = opts, .role = role, .started_s = cmd_clock()};
}

void transfer_done(struct transfer *t)
{
    report_free(t->report);
    sp_client_free(t->client);
    for (uint32_t i = 0; i < t->count; i++) {
        str_done(&t->torrents[i].name);
        free(t->torrents[i].pieces);
        sp_metainfo_free(t->torrents[i].loaded.mi);
        sp_magnet_free(t->torrents[i].magnet);
    }
    free(t->torrents);
    free(t->state_dir);
    *t = (struct transfer){0};
}

/* --- loading and adding ------------------------------------------------------------- */

bool transfer_is_new(struct transfer *t, const struct transfer_torrent *torrent)
{
    for (uint32_t i = 0; i < t->count; i++)
        if (strcmp(t->torrents[i].hash, torrent->hash) == 0) {
            cmd_error(t->opts, "%s: is the same torrent as %s", torrent->loaded.src,
                      t->torrents[i].loaded.src);
            return false;
        }
    return true;
}

void transfer_append(struct transfer *t, const struct transfer_torrent *torrent)
{
    t->torrents = mem_need(t->torrents, (t->count + 1) * sizeof(*t->torrents));
    t->torrents[t->count++] = *torrent;
}

int transfer_load(struct transfer *t, const char *src)
{
    struct transfer_torrent torrent = {0};
    int code = cmd_load(t->opts, src, signals_flag(), &torrent.loaded);

    if (code != EXIT_DONE)
        return code;
    cmd_hash_text(torrent.hash, torrent.loaded.mi);
    if (!transfer_is_new(t, &torrent)) {
        sp_metainfo_free(torrent.loaded.mi);
        return EXIT_USAGE;
    }
    text_clean(&torrent.name, torrent.loaded.mi->name, strlen(torrent.loaded.mi->name),
               text_style.utf8);
    torrent.pieces = mem_zero((torrent.loaded.mi->piece_count + 7) / 8, 1);
    torrent.stats.piece_count = torrent.loaded.mi->piece_count;
    torrent.stats.total_bytes = torrent.stats.wanted_bytes = torrent.loaded.mi->total_length;
    transfer_append(t, &torrent);
    return EXIT_DONE;
}

/* mkdir -p; false with errno. */
static bool make_dirs(const char *path)
{
    char *copy = text_copy(path);
    bool ok = true;

    for (char *at = copy + 1; ok && *at; at++)
        if (*at == '/') {
            *at = '\0';
            ok = mkdir(copy, 0777) == 0 || errno == EEXIST;
            *at = '/';
        }
    ok = ok && (mkdir(copy, 0777) == 0 || errno == EEXIST);
    free(copy);
    return ok;
}

static enum sp_encryption encryption_of(const struct opts *opts)
{
    const char *text = opts_has(opts, OPT_ENCRYPT) ? opts->value[OPT_ENCRYPT].text : "allow";
    return text[0] == 'o'   ? SP_ENCRYPT_OFF
           : text[0] == 'p' ? SP_ENCRYPT_PREFER
           : text[0] == 'r' ? SP_ENCRYPT_REQUIRE
                            : SP_ENCRYPT_ALLOW;
}

static bool choose_state_dir(struct transfer *t)
{
    if (opts_has(t->opts, OPT_NO_STATE))
        return true;
    t->state_dir = opts_has(t->opts, OPT_STATE) ? text_copy(t->opts->value[OPT_STATE].text)
                                                : cmd_default_state_dir();
    if (t->state_dir && !make_dirs(t->state_dir)) {
        cmd_error(t->opts, "state directory '%s': %s", t->state_dir, strerror(errno));
        return false;
    }
    return true;
}

bool transfer_client_cfg(const struct opts *opts, const char *state_dir,
                         struct sp_client_cfg *ret_cfg)
{
    const struct opt_value *listen = &opts->value[OPT_LISTEN];
    struct sp_client_cfg cfg;

    sp_client_cfg_init(&cfg);
    cfg.state_dir = state_dir;
    if (listen->count > SP_LISTEN_MAX) {
        cmd_error(opts, "--listen: at most %d addresses", SP_LISTEN_MAX);
        return false;
    }
    for (uint32_t i = 0; i < listen->count; i++)
        cfg.listen[i] = listen->list[i];
    cfg.listen_count = listen->count;
    if (opts_has(opts, OPT_THREADS))
        cfg.reactor_count = (uint32_t)opts->value[OPT_THREADS].number;
    if (opts_has(opts, OPT_MEMORY))
        cfg.memory_bytes = opts->value[OPT_MEMORY].number;
    if (opts_has(opts, OPT_CONNS)) {
        cfg.conn_max = (uint32_t)opts->value[OPT_CONNS].number;
        if (cfg.torrent_conn_max > cfg.conn_max)
            cfg.torrent_conn_max = cfg.conn_max;
    }
    cfg.down_Bps = opts->value[OPT_DOWN].number;
    cfg.up_Bps = opts->value[OPT_UP].number;
    cfg.ip_filters = opts->value[OPT_IP_FILTER].list;
    cfg.ip_filter_count = opts->value[OPT_IP_FILTER].count;
    cfg.proxy = opts->value[OPT_PROXY].text;
    cfg.interface = opts->value[OPT_INTERFACE].text;
    cfg.no_lsd = opts_has(opts, OPT_NO_LSD);
    cfg.no_portmap = opts_has(opts, OPT_NO_PORTMAP);
    cfg.no_pex = opts_has(opts, OPT_NO_PEX);
    cfg.encryption = encryption_of(opts);
    cfg.no_utp =
        opts_has(opts, OPT_NO_UTP) || (!opts_has(opts, OPT_UTP) && !opts_has(opts, OPT_NO_TCP));
    cfg.no_tcp = opts_has(opts, OPT_NO_TCP);
    *ret_cfg = cfg;
    return true;
}

/* Every --tracker is a tier behind the torrent's own; a comma joins several. */
static struct sp_tracker_arg *tracker_args(const struct opts *opts, const struct sp_metainfo *mi,
                                           uint32_t *ret_count, char **ret_text)
{
    const struct opt_value *option = &opts->value[OPT_TRACKER];
    uint32_t tier = mi && mi->tracker_count ? mi->trackers[mi->tracker_count - 1].tier + 1 : 0;
    struct sp_tracker_arg *args;
    uint32_t count = 0, cap = option->count;
    struct str text = {0};

    for (uint32_t i = 0; i < option->count; i++) {
        for (const char *at = option->list[i]; *at; at++)
            cap += *at == ',';
        str_add(&text, option->list[i], strlen(option->list[i]) + 1);
    }
    args = mem_zero(cap, sizeof(*args));
    *ret_text = text.ptr;
    for (uint32_t i = 0; i < option->count; i++) {
        char *end = *ret_text + strlen(option->list[i]);
        for (char *save, *url = strtok_r(*ret_text, ",", &save); url;
             url = strtok_r(NULL, ",", &save))
            args[count++] = (struct sp_tracker_arg){url, tier + i};
        *ret_text = end + 1;
    }
    *ret_text = text.ptr;
    *ret_count = count;
    return args;
}

/* Which files are wanted; NULL: all. */
static uint8_t *priorities_of(const struct opts *opts, const struct sp_metainfo *mi)
{
    uint8_t *priorities;

    if (!opts_has(opts, OPT_SELECT) || !mi)
        return NULL;
    priorities = mem_zero(mi->file_count, 1);
    for (uint32_t i = 0; i < mi->file_count; i++)
        priorities[i] = number_in_ranges(opts->value[OPT_SELECT].text, i + 1) ? 4 : 0;
    return priorities;
}

static bool selection_fits(struct transfer *t)
{
    const struct opt_value *select = &t->opts->value[OPT_SELECT];

    if (!select->is_given)
        return true;
    if (t->count > 1) {
        cmd_error(t->opts, "--select: goes with one torrent, not %u", t->count);
        return false;
    }
    if (t->torrents[0].loaded.mi && select->number > t->torrents[0].loaded.mi->file_count) {
        cmd_error(t->opts, "--select: '%s': %s has %u file%s", select->text,
                  t->torrents[0].loaded.src, t->torrents[0].loaded.mi->file_count,
                  t->torrents[0].loaded.mi->file_count == 1 ? "" : "s");
        return false;
    }
    return true;
}

static int add(struct transfer *t, struct transfer_torrent *torrent, const char *dir)
{
    const struct opts *opts = t->opts;
    struct sp_client_add args = {
        .metainfo = torrent->loaded.mi,
        .magnet = torrent->magnet,
        .keeps_metainfo = torrent->loaded.mi != NULL, /* freed after the client */
        .dir = dir,
        .peers = opts->value[OPT_PEER].list,
        .peer_count = opts->value[OPT_PEER].count,
        .web_seeds = opts->value[OPT_WEB_SEED].list,
        .web_seed_count = opts->value[OPT_WEB_SEED].count,
        .read_only = t->role == TRANSFER_SEED,
        .super_seed = opts_has(opts, OPT_SUPER_SEED),
        .sequential = opts_has(opts, OPT_SEQUENTIAL),
        .full_allocation = opts_has(opts, OPT_PREALLOC),
        .force_check = opts_has(opts, OPT_CHECK),
    };
    uint8_t *priorities = priorities_of(opts, torrent->loaded.mi);
    char *tracker_text = NULL;
    struct sp_tracker_arg *trackers =
        tracker_args(opts, torrent->loaded.mi, &args.tracker_count, &tracker_text);
    struct sp_diag diag = {0};
    enum sp_err err;

    struct sp_file_range *ranges = metadata_ranges(opts, &args.range_count);
    args.ranges = ranges;
    args.trackers = trackers;
    args.priorities = priorities;
    err = sp_client_add(t->client, &args, &torrent->id, &diag);
    free(priorities);
    free(ranges);
    free(trackers);
    free(tracker_text);
    if (err != SP_OK)
        return cmd_failed(opts, torrent->loaded.src, err, &diag);
    report_event(t->report, torrent, "added", NULL, NULL);
    return EXIT_DONE;
}

/* Most of what keeps a client from starting is about its state: what helps. */
static int client_failed(const struct transfer *t, enum sp_err err, const struct sp_diag *diag)
{
    if (!t->state_dir || err == SP_ENET || err == SP_EINVAL || err == SP_ENOMEM)
        return cmd_failed(t->opts, NULL, err, diag);
    if (err == SP_EEXIST) /* tells the directory */
        cmd_error(t->opts, "%s; --state DIR uses another, --no-state none", diag->text);
    else
        cmd_error(t->opts, "state directory '%s': %s; --state DIR uses another, --no-state none",
                  t->state_dir, diag->text);
    return cmd_exit_code(err);
}

int transfer_start(struct transfer *t, const char *dir)
{
    struct sp_client_cfg cfg;
    struct sp_diag diag = {0};
    enum sp_err err;
    int code = EXIT_DONE;

    if (!selection_fits(t))
        return EXIT_USAGE;
    if (t->role == TRANSFER_GET && !make_dirs(dir)) {
        cmd_error(t->opts, "--dir: '%s': %s", dir, strerror(errno));
        return EXIT_FAILED;
    }
    if (!choose_state_dir(t))
        return EXIT_FAILED;
    if (!transfer_client_cfg(t->opts, t->state_dir, &cfg))
        return EXIT_USAGE;
    /* A torrent lives on one reactor: more of them than torrents would idle. */
    if (!opts_has(t->opts, OPT_THREADS) && t->count == 1)
        cfg.reactor_count = 1;
    /* What the user allows is for this one; among several none takes all. */
    if (opts_has(t->opts, OPT_CONNS) && t->count == 1)
        cfg.torrent_conn_max = cfg.conn_max;
    err = sp_client_new(&cfg, &t->client, &diag);
    if (err != SP_OK)
        return client_failed(t, err, &diag);
    t->report = report_new(t);
    for (uint32_t i = 0; i < t->count && code == EXIT_DONE; i++)
        code = add(t, &t->torrents[i], dir);
    return code;
}

/* --- how things stand --------------------------------------------------------------- */

uint64_t transfer_eta(const struct transfer_torrent *torrent)
{
    const struct sp_torrent_stats *stats = &torrent->stats;
    double left = (double)stats->wanted_bytes - (double)stats->have_bytes;

    if (torrent->is_complete || left <= 0)
        return 0;
    if (stats->state != SP_TORRENT_DOWNLOADING || torrent->rate_Bps < 1)
        return UINT64_MAX;
    left /= torrent->rate_Bps;
    return left < 1e9 ? (uint64_t)(left + 0.5) : UINT64_MAX;
}

static void look(struct transfer *t, struct transfer_torrent *torrent)
{
    struct sp_torrent_stats stats;

    if (sp_client_stats(t->client, torrent->id, &stats) != SP_OK)
        return;
    torrent->stats = stats;
    if (torrent->rate_Bps < 1)
        torrent->rate_Bps = (double)stats.down_Bps;
    torrent->rate_Bps += ((double)stats.down_Bps - torrent->rate_Bps) * 0.05;
    if (!torrent->is_complete && torrent->loaded.mi)
        torrent->pieces_len = sp_client_pieces(t->client, torrent->id, torrent->pieces,
                                               ((size_t)torrent->loaded.mi->piece_count + 7) / 8);
}

static struct transfer_torrent *find(struct transfer *t, sp_torrent_id id)
{
    for (uint32_t i = 0; i < t->count; i++)
        if (t->torrents[i].id == id)
            return &t->torrents[i];
    return NULL;
}

/* A line about one torrent, "NAME: ...", to be given to report_x. */
SP_PRINTF(2, 3)
static const char *say(struct str *line, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    str_clear(line);
    str_puts(line, text);
    return line->ptr;
}

/* --- what happens -------------------------------------------------------------------- */

/* Nothing to serve: because it is elsewhere, closed to us, or other data. */
static const char *why_missing(const struct transfer *t, const struct transfer_torrent *torrent)
{
    const struct opt_value *dir = &t->opts->value[OPT_DIR];
    struct str path = {0};
    const char *why = "not found: nothing of its data is there";

    str_fmt(&path, "%s/%s", dir->is_given ? dir->text : ".", torrent->loaded.mi->name);
    if (access(path.ptr, F_OK) == 0)
        why = access(path.ptr, R_OK) == 0 ? "no piece of what is there is right" : "cannot be read";
    str_done(&path);
    return why;
}

static void on_missing(struct transfer *t, struct transfer_torrent *torrent)
{
    const char *why = why_missing(t, torrent);
    struct str line = {0};

    torrent->is_missing = true;
    report_error(t->report, torrent, "error", why, say(&line, "%s: %s", torrent->name.ptr, why));
    sp_client_remove(t->client, torrent->id, false);
    str_done(&line);
}

static void mark_complete(struct transfer *t, struct transfer_torrent *torrent, bool was_complete)
{
    char size[HUMAN_CAP], took[HUMAN_CAP];
    struct str line = {0};

    if (torrent->is_complete)
        return;
    look(t, torrent);
    torrent->is_complete = true;
    if (torrent->completed_s <= 0)
        torrent->completed_s = cmd_clock();
    torrent->was_complete = was_complete;
    human_bytes(size, torrent->stats.wanted_bytes);
    human_took(took, torrent->completed_s - torrent->checked_s);
    if (t->role == TRANSFER_SEED)
        say(&line, "%s: seeding %s", torrent->name.ptr, size);
    else if (torrent->was_complete)
        say(&line, "%s: already complete (%s)", torrent->name.ptr, size);
    else
        say(&line, "%s: complete, %s downloaded in %s", torrent->name.ptr,
            human_bytes(size, torrent->stats.wanted_bytes - torrent->there_bytes), took);
    report_event(t->report, torrent, "complete", torrent->was_complete ? "already complete" : NULL,
                 line.ptr);
    str_done(&line);
}

/* What is on the disk is known. */
static void say_checked(struct transfer *t, struct transfer_torrent *torrent)
{
    const struct sp_torrent_stats *stats = &torrent->stats;
    uint64_t down = transfer_down(torrent), there;
    char percent[HUMAN_CAP];
    struct str line = {0};

    torrent->is_checked = true;
    /* A quick peer may have sent something since. */
    there = stats->have_bytes > down ? stats->have_bytes - down : 0;
    torrent->there_bytes = there < stats->wanted_bytes ? there : stats->wanted_bytes;
    human_percent(percent, there, stats->wanted_bytes);
    if (there > stats->wanted_bytes / 1000 && there < stats->wanted_bytes)
        say(&line,
            t->role == TRANSFER_SEED ? "%s: %s of the data is there; serving that part"
                                     : "%s: %s is there already",
            torrent->name.ptr, percent);
    report_event(t->report, torrent, "checked", NULL, line.ptr);
    if (there >= stats->wanted_bytes)
        mark_complete(t, torrent, true);
    else if (t->role == TRANSFER_SEED && stats->have_bytes == 0)
        on_missing(t, torrent);
    str_done(&line);
}

/* Events come ahead of the snapshot that tells what they are about: they are
 * answered once it is there. */
static void settle(struct transfer *t, struct transfer_torrent *torrent)
{
    if (torrent->checked_s > 0 && !torrent->is_checked) {
        if (torrent->stats.state == SP_TORRENT_CHECKING &&
            cmd_clock() - torrent->checked_s < STATS_LAG_S)
            return;
        say_checked(t, torrent);
    }
    if (torrent->completed_s > 0 && torrent->is_checked && !torrent->is_missing)
        mark_complete(t, torrent, false);
}

static void look_at_all(struct transfer *t)
{
    for (uint32_t i = 0; i < t->count; i++)
        if (!t->torrents[i].is_missing) {
            look(t, &t->torrents[i]);
            settle(t, &t->torrents[i]);
        }
}

/* The client tries again, and may succeed: worth waiting for.  What cannot even
 * begin is most likely a mistake that a person has to mend. */
static bool passes(const struct transfer_torrent *torrent, enum sp_err err)
{
    bool has_begun = torrent->is_checked || torrent->checked_s > 0;
    return err == SP_ENOSPC || err == SP_EIO || (has_begun && err != SP_ENOMEM);
}

static void on_error(struct transfer *t, struct transfer_torrent *torrent,
                     const struct sp_client_event *ev)
{
    struct str line = {0};

    torrent->is_in_error = true;
    if (t->role == TRANSFER_SEED && ev->err == SP_ENOENT && !torrent->is_checked) {
        on_missing(t, torrent);
        return;
    }
    torrent->has_failed = !passes(torrent, ev->err);
    torrent->is_bad = torrent->has_failed && cmd_exit_code(ev->err) == EXIT_BAD_INPUT;
    say(&line, "%s: %s%s", torrent->name.ptr, ev->text[0] ? ev->text : sp_err_text(ev->err),
        torrent->has_failed    ? ""
        : ev->err == SP_ENOSPC ? "; waiting until there is room (Ctrl-C stops)"
                               : "; waiting until the disk does it (Ctrl-C stops)");
    report_error(t->report, torrent, "error", ev->text, line.ptr);
    str_done(&line);
}

static void on_recovered(struct transfer *t, struct transfer_torrent *torrent,
                         const struct sp_client_event *ev)
{
    struct str line = {0};
    torrent->is_in_error = torrent->has_failed = false;
    report_event(t->report, torrent, "recovered", ev->text,
                 say(&line, "%s: goes on", torrent->name.ptr));
    str_done(&line);
}

/* A tracker that fails again in the same way is told once. */
static void on_tracker(struct transfer *t, struct transfer_torrent *torrent,
                       const struct sp_client_event *ev)
{
    bool is_news = ev->err != SP_OK && strcmp(torrent->tracker_text, ev->text) != 0;
    struct str line = {0};

    if (is_news)
        say(&line, "%s: tracker: %s", torrent->name.ptr, ev->text);
    report_event(t->report, torrent, "tracker", ev->text, line.ptr);
    snprintf(torrent->tracker_text, sizeof(torrent->tracker_text), "%s", ev->text);
    str_done(&line);
}

static void on_event(struct transfer *t, const struct sp_client_event *ev)
{
    struct transfer_torrent *torrent = find(t, ev->torrent);
    bool about_torrent = ev->kind != SP_EV_LISTENING && ev->kind != SP_EV_STOPPED &&
                         ev->kind != SP_EV_NETWORK && ev->kind != SP_EV_WARNING &&
                         ev->kind != SP_EV_PORTMAP;
    struct str line = {0};

    if (about_torrent && (!torrent || torrent->is_missing))
        return;
    switch (ev->kind) {
    case SP_EV_CHECKED:
    case SP_EV_COMPLETE:
        if (ev->kind == SP_EV_COMPLETE && torrent->completed_s <= 0)
            torrent->completed_s = cmd_clock();
        if (torrent->checked_s <= 0)
            torrent->checked_s = cmd_clock();
        look(t, torrent);
        settle(t, torrent);
        break;
    case SP_EV_METADATA:
        metadata_came(t, torrent);
        break;
    case SP_EV_ERROR:
        on_error(t, torrent, ev);
        break;
    case SP_EV_RECOVERED:
        on_recovered(t, torrent, ev);
        break;
    case SP_EV_PEER_BANNED:
        report_event(t->report, torrent, "banned", ev->text,
                     say(&line, "%s: banned %s", torrent->name.ptr, ev->text));
        break;
    case SP_EV_TRACKER:
        on_tracker(t, torrent, ev);
        break;
    case SP_EV_LISTENING:
        report_event(t->report, NULL, "listening", ev->text,
                     t->role == TRANSFER_SEED ? say(&line, "listening on %s", ev->text) : NULL);
        break;
    case SP_EV_NETWORK:
        if (ev->err != SP_OK)
            report_error(t->report, NULL, "network", ev->text, ev->text);
        else
            report_event(t->report, NULL, "network", ev->text, ev->text);
        break;
    case SP_EV_PORTMAP:
        report_event(t->report, NULL, "portmap", ev->text,
                     t->role == TRANSFER_SEED ? ev->text : NULL);
        break;
    case SP_EV_WARNING:
        report_error(t->report, torrent, "warning", ev->text,
                     torrent ? say(&line, "%s: %s", torrent->name.ptr, ev->text) : ev->text);
        break;
    case SP_EV_STOPPED:
        break;
    }
    str_done(&line);
}

/* --- when it ends ---------------------------------------------------------------------- */

static bool stays(const struct transfer *t)
{
    return t->role == TRANSFER_SEED || opts_has(t->opts, OPT_SEED) ||
           opts_has(t->opts, OPT_SEED_RATIO) || opts_has(t->opts, OPT_SEED_TIME);
}

/* Served as much, or as long, as was asked for: the first of the two counts. */
static bool is_served(const struct transfer *t, const struct transfer_torrent *torrent)
{
    const struct opt_value *ratio = &t->opts->value[OPT_SEED_RATIO];
    const struct opt_value *time = &t->opts->value[OPT_SEED_TIME];
    double since = torrent->is_complete ? torrent->completed_s : torrent->checked_s;

    if (ratio->is_given && (double)torrent->stats.uploaded_bytes * 1000 >=
                               (double)torrent->stats.wanted_bytes * (double)ratio->number)
        return true;
    return time->is_given && cmd_clock() - since >= (double)time->number;
}

/* Nothing is left to do for it. */
static bool is_finished(struct transfer *t, struct transfer_torrent *torrent)
{
    bool serves = torrent->is_complete || (t->role == TRANSFER_SEED && torrent->is_checked);

    if (torrent->is_missing || torrent->has_failed || torrent->is_served)
        return true;
    if (!serves)
        return false;
    if (!stays(t))
        return true;
    if (!is_served(t, torrent))
        return false;
    torrent->is_served = true;
    sp_client_pause(t->client, torrent->id);
    return true;
}

static bool all_finished(struct transfer *t)
{
    bool all = true;
    for (uint32_t i = 0; i < t->count; i++)
        all = is_finished(t, &t->torrents[i]) && all;
    return all;
}

static void begin_stop(struct transfer *t, bool is_interrupted)
{
    t->is_stopping = true;
    t->is_interrupted = is_interrupted;
    if (is_interrupted)
        report_event(t->report, NULL, "stopping", NULL,
                     "stopping: telling trackers, saving state (again to quit at once)");
    sp_client_stop(t->client);
}

static int outcome(const struct transfer *t)
{
    bool is_missing = false, has_failed = false, is_bad = false;

    if (t->is_interrupted)
        return EXIT_INTERRUPTED;
    for (uint32_t i = 0; i < t->count; i++) {
        const struct transfer_torrent *torrent = &t->torrents[i];
        is_missing |= torrent->is_missing;
        is_bad |= torrent->is_bad;
        has_failed |= !torrent->is_bad &&
                      (torrent->has_failed || (t->role == TRANSFER_GET && !torrent->is_complete));
    }
    return has_failed   ? EXIT_FAILED
           : is_bad     ? EXIT_BAD_INPUT
           : is_missing ? EXIT_INCOMPLETE
                        : EXIT_DONE;
}

/* True while there may be more to come. */
static bool take_events(struct transfer *t)
{
    struct sp_client_event ev;
    enum sp_err err;

    while ((err = sp_client_wait(t->client, 0, &ev)) == SP_OK)
        on_event(t, &ev);
    return err != SP_ECANCELED;
}

static void wait_for_something(struct transfer *t)
{
    struct pollfd fds[] = {{.fd = sp_client_fd(t->client), .events = POLLIN},
                           {.fd = signals_fd(), .events = POLLIN}};
    poll(fds, SP_COUNT(fds), TICK_MS);
}

static bool anything_moved(const struct transfer *t)
{
    for (uint32_t i = 0; i < t->count; i++)
        if (transfer_down(&t->torrents[i]) || !t->torrents[i].is_complete ||
            (stays(t) && transfer_up(&t->torrents[i])))
            return true;
    return false;
}

static bool all_complete(const struct transfer *t)
{
    for (uint32_t i = 0; i < t->count; i++)
        if (!t->torrents[i].is_complete)
            return false;
    return true;
}

int transfer_run(struct transfer *t)
{
    double stop_s = 0, look_s = 0;

    while (take_events(t)) {
        double now = cmd_clock();
        if (signals_came() && !t->is_interrupted) {
            begin_stop(t, true);
            stop_s = stop_s > 0 ? stop_s : now;
        }
        if (now - look_s >= LOOK_S) {
            look_at_all(t);
            report_progress(t->report);
            look_s = now;
        }
        if (!t->is_stopping && all_finished(t)) {
            begin_stop(t, false);
            stop_s = now;
        }
        if (t->is_stopping && now - stop_s > STOP_MAX_S) {
            report_error(t->report, NULL, "error", "did not stop in time",
                         "did not stop in time: quitting");
            break;
        }
        wait_for_something(t);
    }
    look_at_all(t);
    report_event(t->report, NULL, "stopped", NULL, NULL);
    if (anything_moved(t))
        report_summary(t->report);
    if (t->is_interrupted && t->role == TRANSFER_GET && !all_complete(t))
        report_event(t->report, NULL, "interrupted", NULL,
                     "interrupted: the same command goes on where this one was");
    return outcome(t);
}
