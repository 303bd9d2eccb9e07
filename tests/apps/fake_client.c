/* A client and a creator that follow a script instead of the network: what
 * the command layer is tested against.
 *
 * SPATE_FAKE is a list of key=value, with commas:
 *   ms=1000        how long a download takes       check_ms=100   a check
 *   have=0         percent that is there at first (seed: 100)
 *   error_at=50    at that percent an error        error_ms=500   until it goes away; 0: never
 *   error=nospc    or eio, eacces                  ban_at=30      a peer is banned
 *   tracker_fail=1 a tracker fails                 stop_ms=50     a clean end takes so long
 *   hang=1         stop never ends                 new=enet       sp_client_new fails
 *   at_once=1      complete without any progress   bad=2-3        verify: bad pieces
 *   missing=1      verify: file 1 is not there     work_ms=100    create and verify take so long
 *   state=1        what is saved: 0 nothing, 1 a torrent, 2 another one damaged
 *   create=enoent  sp_create fails                 fetch=FILE     what sp_fetch_url gives
 *   corrupt=1      the copy of the data is not the same
 * Data is not written, but for torrents that another fake client of the
 * process seeds: they are copied.
 */
#include "spate/client.h"
#include "spate/create.h"
#include "spate/metainfo.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

/* --- the script -------------------------------------------------------------- */

static const char *script_text(const char *key, char *value, size_t cap)
{
    const char *at = getenv("SPATE_FAKE");
    size_t key_len = strlen(key);

    for (; at && *at; at += *at == ',') {
        size_t len = strcspn(at, ",");
        if (len > key_len && strncmp(at, key, key_len) == 0 && at[key_len] == '=') {
            snprintf(value, cap, "%.*s", (int)(len - key_len - 1), at + key_len + 1);
            return value;
        }
        at += len;
    }
    return NULL;
}

static double script(const char *key, double other)
{
    char value[64];
    return script_text(key, value, sizeof(value)) ? atof(value) : other;
}

static double now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1000 + (double)now.tv_nsec / 1e6;
}

/* --- the client ---------------------------------------------------------------- */

enum { TORRENT_MAX = 64, EVENT_MAX = 256 };

struct fake_torrent {
    struct sp_torrent_stats stats;
    double added_ms, last_ms, error_since_ms;
    double part; /* 0..1 of what is wanted */
    double rate_part_ms;
    uint8_t hash[SP_SHA1_LEN];
    char dir[1024];
    uint8_t *raw;
    size_t raw_len;
    bool is_checked, is_complete, read_only, had_error, had_ban, is_removed;
};

struct sp_client {
    int fd;
    struct sp_client_cfg cfg;
    struct fake_torrent torrents[TORRENT_MAX];
    uint32_t count;
    struct sp_client_event events[EVENT_MAX];
    uint32_t event_count, event_at;
    double stop_ms; /* 0: running */
    bool is_stopped;
};

static struct sp_client *clients[4];

void sp_client_cfg_init(struct sp_client_cfg *cfg)
{
    *cfg = (struct sp_client_cfg){
        .memory_bytes = 64 << 20, .conn_max = 1000, .torrent_conn_max = 250, .half_open_max = 50};
}

static void emit(struct sp_client *client, enum sp_client_event_kind kind, sp_torrent_id torrent,
                 enum sp_err err, const char *text)
{
    struct sp_client_event *ev = &client->events[client->event_count++ % EVENT_MAX];
    *ev = (struct sp_client_event){.kind = kind, .torrent = torrent, .err = err};
    snprintf(ev->text, sizeof(ev->text), "%s", text);
}

enum sp_err sp_client_new(const struct sp_client_cfg *cfg, struct sp_client **ret_client,
                          struct sp_diag *diag)
{
    struct sp_client *client;
    struct itimerspec tick = {.it_value.tv_nsec = 1000000, .it_interval.tv_nsec = 20000000};
    char value[64];

    if (script_text("new", value, sizeof(value)))
        return sp_diag_set(diag, SP_ENET, 0, "cannot listen on 0.0.0.0:6881: address in use");
    client = calloc(1, sizeof(*client));
    if (!client)
        return SP_ENOMEM;
    client->cfg = *cfg;
    client->fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    timerfd_settime(client->fd, 0, &tick, NULL);
    emit(client, SP_EV_LISTENING, 0, SP_OK, "127.0.0.1:6881");
    for (size_t i = 0; i < SP_COUNT(clients); i++)
        if (!clients[i]) {
            clients[i] = client;
            break;
        }
    *ret_client = client;
    return SP_OK;
}

void sp_client_free(struct sp_client *client)
{
    if (!client)
        return;
    for (size_t i = 0; i < SP_COUNT(clients); i++)
        if (clients[i] == client)
            clients[i] = NULL;
    for (uint32_t i = 0; i < client->count; i++)
        free(client->torrents[i].raw);
    close(client->fd);
    free(client);
}

uint16_t sp_client_port(const struct sp_client *client)
{
    (void)client;
    return 6881;
}

enum sp_err sp_client_add(struct sp_client *client, const struct sp_client_add *add,
                          sp_torrent_id *ret_torrent, struct sp_diag *diag)
{
    const struct sp_metainfo *mi = add->metainfo;
    struct fake_torrent *t = &client->torrents[client->count];
    char value[64];

    if (!mi)
        return sp_diag_set(diag, SP_EINVAL, 0, "no magnets here");
    if (client->count == TORRENT_MAX)
        return sp_diag_set(diag, SP_ELIMIT, 0, "too many torrents");
    t->stats = (struct sp_torrent_stats){.piece_count = mi->piece_count,
                                         .total_bytes = mi->total_length,
                                         .downloaded_bytes = 1000, /* all of it by earlier runs */
                                         .downloaded_before_bytes = 1000,
                                         .uploaded_bytes = 500,
                                         .uploaded_before_bytes = 500};
    for (uint32_t i = 0; i < mi->file_count; i++)
        if (!add->priorities || add->priorities[i])
            t->stats.wanted_bytes += mi->files[i].length;
    t->part = add->read_only ? 1 : 0;
    if (script_text("have", value, sizeof(value)))
        t->part = atof(value) / 100;
    t->added_ms = t->last_ms = now_ms();
    t->read_only = add->read_only;
    memcpy(t->hash, mi->info_hash_v1, SP_SHA1_LEN);
    snprintf(t->dir, sizeof(t->dir), "%s", add->dir);
    t->raw = malloc(mi->raw.len);
    memcpy(t->raw, mi->raw.ptr, mi->raw.len);
    t->raw_len = mi->raw.len;
    *ret_torrent = ++client->count;
    return SP_OK;
}

static void copy_file(const char *from, const char *to)
{
    static char chunk[1 << 16];
    FILE *in, *out;
    char dir[2048];

    snprintf(dir, sizeof(dir), "%s", to);
    *strrchr(dir, '/') = '\0';
    mkdir(dir, 0777);
    in = fopen(from, "rb");
    out = fopen(to, "wb");
    for (size_t n; in && out && (n = fread(chunk, 1, sizeof(chunk), in)) > 0;) {
        chunk[n / 2] ^= script("corrupt", 0) > 0;
        fwrite(chunk, 1, n, out);
    }
    if (in)
        fclose(in);
    if (out)
        fclose(out);
}

static void *mem_alloc(void *ctx, size_t size)
{
    (void)ctx;
    return calloc(1, size);
}

static void mem_free(void *ctx, void *ptr)
{
    (void)ctx;
    free(ptr);
}

/* The data of a torrent that another client of this process seeds. */
static void copy_data(const struct fake_torrent *t)
{
    static const struct sp_mem mem = {mem_alloc, mem_free, NULL};
    struct sp_metainfo *mi = NULL;

    for (size_t c = 0; c < SP_COUNT(clients); c++)
        for (uint32_t i = 0; clients[c] && i < clients[c]->count; i++) {
            const struct fake_torrent *other = &clients[c]->torrents[i];
            if (!other->read_only || memcmp(other->hash, t->hash, SP_SHA1_LEN) != 0)
                continue;
            if (sp_metainfo_parse(&mem, (struct sp_slice){t->raw, t->raw_len}, NULL, &mi, NULL))
                return;
            for (uint32_t f = 0; f < mi->file_count; f++) {
                char from[2048], to[2048];
                snprintf(from, sizeof(from), "%s/%s", other->dir, mi->files[f].path);
                snprintf(to, sizeof(to), "%s/%s", t->dir, mi->files[f].path);
                copy_file(from, to);
            }
            sp_metainfo_free(mi);
            return;
        }
}

static void fill_stats(struct fake_torrent *t, double rate)
{
    struct sp_torrent_stats *s = &t->stats;
    bool moves = s->state == SP_TORRENT_DOWNLOADING;

    s->have_bytes = (uint64_t)(t->part * (double)s->wanted_bytes);
    s->piece_have = (uint32_t)(t->part * s->piece_count);
    s->down_Bps = moves ? (uint64_t)rate : 0;
    s->up_Bps = moves || s->state == SP_TORRENT_SEEDING ? 131072 : 0;
    s->peers = moves || s->state == SP_TORRENT_SEEDING ? 7 : 0;
    s->seeds = moves ? 3 : 0;
}

static void step_error(struct sp_client *client, sp_torrent_id id, struct fake_torrent *t,
                       double now)
{
    char kind[64] = "nospc";
    double lasts = script("error_ms", 500);

    script_text("error", kind, sizeof(kind));
    if (!t->had_error && t->part * 100 >= script("error_at", 1000)) {
        bool is_full = strcmp(kind, "nospc") == 0;
        t->had_error = true;
        t->error_since_ms = now;
        t->stats.state = SP_TORRENT_ERROR;
        t->stats.err = is_full ? SP_ENOSPC : strcmp(kind, "eio") == 0 ? SP_EIO : SP_EACCES;
        emit(client, SP_EV_ERROR, id, t->stats.err,
             is_full ? "write film.mkv: no space left on device"
                     : "write film.mkv: input/output error");
    } else if (t->stats.state == SP_TORRENT_ERROR && lasts > 0 && now - t->error_since_ms > lasts) {
        t->stats.state = SP_TORRENT_DOWNLOADING;
        t->stats.err = SP_OK;
        emit(client, SP_EV_RECOVERED, id, SP_OK, "there is room again");
    }
}

static void step_download(struct sp_client *client, sp_torrent_id id, struct fake_torrent *t,
                          double now)
{
    double ms = script("ms", 1000), limit = (double)client->cfg.down_Bps, rate;
    double done = (now - t->last_ms) / ms;

    if (script("at_once", 0) > 0)
        done = 1;
    rate = (double)t->stats.wanted_bytes / ms * 1000;
    if (limit > 0 && rate > limit) {
        done *= limit / rate;
        rate = limit;
    }
    if (t->part + done > 1)
        done = 1 - t->part;
    t->part += done;
    t->stats.downloaded_bytes += (uint64_t)(done * (double)t->stats.wanted_bytes);
    if (!t->had_ban && t->part * 100 >= script("ban_at", 1000)) {
        t->had_ban = true;
        emit(client, SP_EV_PEER_BANNED, id, SP_EHASH, "10.0.0.66:6881 \x1b[31msent bad data");
    }
    step_error(client, id, t, now);
    fill_stats(t, rate);
    if (t->part >= 1 && t->stats.state == SP_TORRENT_DOWNLOADING) {
        t->stats.state = SP_TORRENT_SEEDING;
        t->is_complete = true;
        copy_data(t);
        fill_stats(t, rate);
        t->stats.piece_have = t->stats.piece_count;
        emit(client, SP_EV_COMPLETE, id, SP_OK, "");
    }
}

static void step(struct sp_client *client, sp_torrent_id id, struct fake_torrent *t, double now)
{
    double check_ms = script("check_ms", 100);

    if (!t->is_checked) {
        double part = check_ms > 0 ? (now - t->added_ms) / check_ms : 1;
        t->stats.checked_bytes = (uint64_t)((part < 1 ? part : 1) * (double)t->stats.total_bytes);
        if (part >= 1) {
            t->is_checked = true;
            t->stats.state = t->part >= 1 ? SP_TORRENT_SEEDING : SP_TORRENT_DOWNLOADING;
            t->is_complete = t->part >= 1;
            fill_stats(t, 0);
            if (script("tracker_fail", 0) > 0)
                emit(client, SP_EV_TRACKER, id, SP_ENET, "http://t.example/announce: timed out");
            emit(client, SP_EV_CHECKED, id, SP_OK, "");
            if (t->is_complete)
                emit(client, SP_EV_COMPLETE, id, SP_OK, "");
        }
    } else if (!t->is_complete && !t->read_only) {
        if (t->stats.state == SP_TORRENT_ERROR)
            step_error(client, id, t, now);
        else
            step_download(client, id, t, now);
    } else {
        t->stats.uploaded_bytes += (uint64_t)((now - t->last_ms) / 1000 * 131072);
    }
    t->last_ms = now;
}

static void advance(struct sp_client *client)
{
    double now = now_ms();
    uint64_t ticks;

    (void)!read(client->fd, &ticks, sizeof(ticks));
    if (client->is_stopped)
        return;
    if (client->stop_ms > 0) {
        if (now - client->stop_ms >= script("stop_ms", 50) && script("hang", 0) == 0) {
            emit(client, SP_EV_STOPPED, 0, SP_OK, "");
            client->is_stopped = true;
        }
        return;
    }
    for (uint32_t i = 0; i < client->count; i++)
        if (!client->torrents[i].is_removed)
            step(client, i + 1, &client->torrents[i], now);
}

void sp_client_remove(struct sp_client *client, sp_torrent_id torrent, bool delete_data)
{
    (void)delete_data;
    client->torrents[torrent - 1].is_removed = true;
}

void sp_client_pause(struct sp_client *client, sp_torrent_id torrent)
{
    client->torrents[torrent - 1].stats.state = SP_TORRENT_PAUSED;
}

void sp_client_stop(struct sp_client *client)
{
    if (client->stop_ms <= 0)
        client->stop_ms = now_ms();
}

enum sp_err sp_client_wait(struct sp_client *client, uint32_t timeout_ms,
                           struct sp_client_event *ret_event)
{
    struct pollfd fd = {.fd = client->fd, .events = POLLIN};

    advance(client);
    if (client->event_at == client->event_count && timeout_ms) {
        poll(&fd, 1, (int)timeout_ms);
        advance(client);
    }
    if (client->event_at == client->event_count)
        return client->is_stopped ? SP_ECANCELED : SP_AGAIN;
    *ret_event = client->events[client->event_at++ % EVENT_MAX];
    return SP_OK;
}

int sp_client_fd(const struct sp_client *client)
{
    return client->fd;
}

enum sp_err sp_client_stats(const struct sp_client *client, sp_torrent_id torrent,
                            struct sp_torrent_stats *ret_stats)
{
    if (torrent == 0 || torrent > client->count || client->torrents[torrent - 1].is_removed)
        return SP_ENOENT;
    *ret_stats = client->torrents[torrent - 1].stats;
    return SP_OK;
}

/* Pieces come in two places at once, so that the strip has something to show. */
enum sp_err sp_client_metainfo(const struct sp_client *client, sp_torrent_id torrent,
                               uint8_t **ret_bytes, size_t *ret_len)
{
    (void)client, (void)torrent, (void)ret_bytes, (void)ret_len;
    return SP_AGAIN;
}

size_t sp_client_pieces(const struct sp_client *client, sp_torrent_id torrent, uint8_t *ret_bits,
                        size_t cap)
{
    const struct sp_torrent_stats *s = &client->torrents[torrent - 1].stats;

    memset(ret_bits, 0, cap);
    for (uint32_t i = 0; i < s->piece_have && i / 8 < cap; i++) {
        uint32_t at = i % 3 ? i : s->piece_count - 1 - i;
        if (at / 8 < cap)
            ret_bits[at / 8] |= (uint8_t)(0x80 >> at % 8);
    }
    return ((size_t)s->piece_count + 7) / 8;
}

enum sp_err sp_client_list_state(const char *dir,
                                 void (*each)(void *ctx, const struct sp_client_saved *row),
                                 void *ctx, struct sp_diag *diag)
{
    static const uint8_t pieces[] = {0xf0, 0x80};
    struct sp_client_saved row = {
        .pieces = pieces, .piece_count = 9, .dir = dir, .uploaded_bytes = 7, .saved_at = 1};
    memset(row.info_hash, 0xab, sizeof(row.info_hash));
    if (script("state", 0) < 1)
        return sp_diag_set(diag, SP_ENOENT, 0, "there is no state.db");
    each(ctx, &row);
    return script("state", 0) > 1 ? sp_diag_set(diag, SP_EDATA, 0, "1 row is damaged") : SP_OK;
}

enum sp_err sp_fetch_url(const char *url, size_t max_bytes, const volatile bool *cancel,
                         uint8_t **ret_bytes, size_t *ret_len, struct sp_diag *diag)
{
    char path[1024];
    FILE *file;

    (void)url;
    if (!script_text("fetch", path, sizeof(path)))
        return sp_diag_set(diag, SP_ENET, 0, "HTTP 404");
    if (strcmp(path, "hang") == 0) {
        while (!*cancel)
            poll(NULL, 0, 10);
        return sp_diag_set(diag, SP_ECANCELED, 0, "interrupted");
    }
    file = fopen(path, "rb");
    if (!file)
        return sp_diag_set(diag, SP_ENET, 0, "could not connect");
    *ret_bytes = malloc(max_bytes);
    *ret_len = fread(*ret_bytes, 1, max_bytes, file);
    fclose(file);
    return SP_OK;
}

enum sp_err sp_fetch_url_through(const char *url, const char *proxy, const char *interface,
                                 size_t max_bytes, const volatile bool *cancel, uint8_t **ret_bytes,
                                 size_t *ret_len, struct sp_diag *diag)
{
    (void)proxy;
    (void)interface;
    return sp_fetch_url(url, max_bytes, cancel, ret_bytes, ret_len, diag);
}

void sp_bytes_free(uint8_t *bytes)
{
    free(bytes);
}

/* --- creating and verifying ------------------------------------------------------ */

/* Half of the work, then the rest; false when canceled. */
static bool work(sp_progress *progress, void *ctx, uint64_t total)
{
    double ms = script("work_ms", 100), began = now_ms();

    for (double at; (at = now_ms() - began) < ms; poll(NULL, 0, 20))
        if (progress && !progress(ctx, (uint64_t)(at / ms * (double)total), total))
            return false;
    return !progress || progress(ctx, total, total);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_plain(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

enum sp_err sp_create(const struct sp_create_cfg *cfg, uint8_t **ret_bytes, size_t *ret_len,
                      struct sp_diag *diag)
{
    struct sp_metainfo_spec_file files[32] = {0};
    struct sp_metainfo_tracker trackers[8];
    struct dirent **entries = NULL;
    const char *slash = strrchr(cfg->path, '/'), *name = slash ? slash + 1 : cfg->path;
    uint32_t piece = cfg->piece_length ? cfg->piece_length : 1 << 20;
    uint64_t total = 0;
    struct stat st;
    char value[64], path[2048];
    struct sp_metainfo_spec spec = {.name = {(const uint8_t *)name, strlen(name)},
                                    .files = files,
                                    .piece_length = piece,
                                    .trackers = trackers,
                                    .is_private = cfg->is_private,
                                    .comment = cfg->comment,
                                    .source = cfg->source,
                                    .created_by = "Spate/test",
                                    .creation_date = cfg->creation_date};
    enum sp_err err;

    if (script_text("create", value, sizeof(value)))
        return sp_diag_set(diag, SP_ENOENT, 0, "gone.txt: no such file");
    if (stat(cfg->path, &st) != 0)
        return sp_diag_set(diag, SP_ENOENT, 0, "no such file");
    if (S_ISDIR(st.st_mode)) {
        int count = scandir(cfg->path, &entries, is_plain, by_name);
        for (int i = 0; i < count && i < (int)SP_COUNT(files); i++) {
            snprintf(path, sizeof(path), "%s/%s", cfg->path, entries[i]->d_name);
            stat(path, &st);
            files[i].path.ptr = (const uint8_t *)entries[i]->d_name;
            files[i].path.len = strlen(entries[i]->d_name);
            files[i].length = (uint64_t)st.st_size;
            total += files[i].length;
            spec.file_count++;
        }
    } else {
        spec.single_file = true;
        spec.file_count = 1;
        total = files[0].length = (uint64_t)st.st_size;
    }
    for (uint32_t i = 0; i < cfg->tracker_count && i < SP_COUNT(trackers);
         i++, spec.tracker_count++)
        trackers[i] = (struct sp_metainfo_tracker){cfg->trackers[i], i};
    spec.pieces.len = (total + piece - 1) / piece * SP_SHA1_LEN;
    spec.pieces.ptr = calloc(1, spec.pieces.len + 1);
    err = work(cfg->progress, cfg->ctx, total) ? sp_metainfo_write(&spec, NULL, 0, ret_len, diag)
                                               : SP_ECANCELED;
    if (err == SP_ELIMIT) {
        *ret_bytes = malloc(*ret_len);
        err = sp_metainfo_write(&spec, *ret_bytes, *ret_len, ret_len, diag);
    }
    free((void *)(uintptr_t)spec.pieces.ptr);
    for (uint32_t i = 0; entries && i < spec.file_count; i++)
        free(entries[i]);
    free(entries);
    return err;
}

enum sp_err sp_verify(const struct sp_verify_cfg *cfg, struct sp_verify_result *ret_result,
                      struct sp_diag *diag)
{
    const struct sp_metainfo *mi = cfg->metainfo;
    struct sp_verify_result r = {.piece_count = mi->piece_count, .file_count = mi->file_count};
    unsigned first = 0, last = 0;
    char value[64];

    (void)diag;
    if (!work(cfg->progress, cfg->ctx, mi->total_length))
        return SP_ECANCELED;
    r.pieces = calloc(1, (size_t)mi->piece_count / 8 + 1);
    r.files = calloc(1, mi->file_count);
    if (!script_text("bad", value, sizeof(value)) || sscanf(value, "%u-%u", &first, &last) != 2)
        first = 1;
    for (uint32_t i = 0; i < mi->piece_count; i++) {
        bool ok = first > last || i < first || i > last;
        r.piece_ok += ok;
        r.bytes_ok += ok ? sp_metainfo_piece_len(mi, i) : 0;
        if (ok)
            r.pieces[i / 8] |= (uint8_t)(0x80 >> i % 8);
        else
            for (uint32_t f = 0; f < mi->file_count; f++)
                if (mi->files[f].piece_first <= i && i < mi->files[f].piece_end)
                    r.files[f] = SP_FILE_BAD;
    }
    if (script("missing", 0) > 0)
        r.files[0] = SP_FILE_MISSING;
    *ret_result = r;
    return SP_OK;
}

void sp_verify_done(struct sp_verify_result *result)
{
    free(result->pieces);
    free(result->files);
}
