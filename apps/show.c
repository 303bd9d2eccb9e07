/* spate show FILE|MAGNET... - for people, and with --json for programs. */
#include "apps/cmd.h"
#include "apps/json.h"
#include "apps/term.h"
#include "spate/magnet.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *version_of(bool has_v1, bool has_v2)
{
    return has_v1 && has_v2 ? "hybrid" : has_v2 ? "2" : "1";
}

/* --- for programs --------------------------------------------------------------- */

static void json_hash(struct json *json, const char *key, bool has, const uint8_t *hash, size_t len)
{
    if (has)
        json_hex(json, key, hash, len);
    else
        json_null(json, key);
}

static void json_optional_text(struct json *json, const char *key, const char *text)
{
    if (text)
        json_text(json, key, text);
    else
        json_null(json, key);
}

/* "a/b/c" as ["a","b","c"]. */
static void json_path(struct json *json, const char *key, const char *path)
{
    json_open(json, key, '[');
    while (*path) {
        size_t len = strcspn(path, "/");
        json_bytes(json, NULL, (struct sp_slice){(const uint8_t *)path, len});
        path += len + (path[len] == '/');
    }
    json_close(json, ']');
}

/* Tiers as arrays of URLs. */
static void json_trackers(struct json *json, const struct sp_metainfo_tracker *trackers,
                          uint32_t count)
{
    json_open(json, "trackers", '[');
    for (uint32_t i = 0; i < count; i++) {
        if (i == 0 || trackers[i].tier != trackers[i - 1].tier)
            json_open(json, NULL, '[');
        json_text(json, NULL, trackers[i].url);
        if (i + 1 == count || trackers[i + 1].tier != trackers[i].tier)
            json_close(json, ']');
    }
    json_close(json, ']');
}

static void node_text(struct str *out, const struct sp_metainfo_node *node)
{
    bool is_v6 = strchr(node->host, ':') != NULL;
    str_fmt(out, is_v6 ? "[%s]:%u" : "%s:%u", node->host, node->port);
}

static void json_nodes(struct json *json, const char *key, const struct sp_metainfo_node *nodes,
                       uint32_t count)
{
    struct str text = {0};
    json_open(json, key, '[');
    for (uint32_t i = 0; i < count; i++) {
        str_clear(&text);
        node_text(&text, &nodes[i]);
        json_text(json, NULL, text.ptr);
    }
    json_close(json, ']');
    str_done(&text);
}

/* A path below the torrent's name; of a single file its name. */
static const char *inner_path(const struct sp_metainfo *mi, const char *path)
{
    const char *slash = mi->single_file ? NULL : strchr(path, '/');
    return slash ? slash + 1 : path;
}

static void json_file(struct json *json, const struct sp_metainfo *mi, const struct sp_file *file)
{
    json_open(json, NULL, '{');
    json_path(json, "path", inner_path(mi, file->path));
    json_uint(json, "length", file->length);
    json_uint(json, "offset", file->offset);
    json_bool(json, "pad", file->attr & SP_ATTR_PAD);
    if (file->symlink)
        json_path(json, "symlink", inner_path(mi, file->symlink));
    else
        json_null(json, "symlink");
    json_bool(json, "executable", file->attr & SP_ATTR_EXECUTABLE);
    json_bool(json, "hidden", file->attr & SP_ATTR_HIDDEN);
    json_hash(json, "pieces_root", file->pieces_root, file->pieces_root, SP_SHA256_LEN);
    json_close(json, '}');
}

static void json_torrent(struct json *json, const struct sp_metainfo *mi)
{
    char *magnet = cmd_magnet_of(mi);

    json_open(json, NULL, '{');
    json_text(json, "name", mi->name);
    json_text(json, "version", version_of(mi->has_v1, mi->has_v2));
    json_hash(json, "info_hash_v1", mi->has_v1, mi->info_hash_v1, SP_SHA1_LEN);
    json_hash(json, "info_hash_v2", mi->has_v2, mi->info_hash_v2, SP_SHA256_LEN);
    json_uint(json, "piece_length", mi->piece_length);
    json_uint(json, "pieces", mi->piece_count);
    json_uint(json, "length", mi->total_length);
    json_bool(json, "private", mi->is_private);
    json_trackers(json, mi->trackers, mi->tracker_count);
    json_open(json, "web_seeds", '[');
    for (uint32_t i = 0; i < mi->web_seed_count; i++)
        json_text(json, NULL, mi->web_seeds[i].url);
    json_close(json, ']');
    json_nodes(json, "nodes", mi->nodes, mi->node_count);
    json_optional_text(json, "comment", mi->comment);
    json_optional_text(json, "created_by", mi->created_by);
    if (mi->creation_date >= 0)
        json_int(json, "creation_date", mi->creation_date);
    else
        json_null(json, "creation_date");
    json_optional_text(json, "source", mi->source);
    json_text(json, "magnet", magnet);
    json_open(json, "files", '[');
    for (uint32_t i = 0; i < mi->file_count; i++)
        json_file(json, mi, &mi->files[i]);
    json_close(json, ']');
    json_close(json, '}');
    json_end_line(json);
    free(magnet);
}

/* The same names; what a magnet cannot know is null. */
static void json_magnet(struct json *json, const struct sp_magnet *magnet, const char *src)
{
    static const char *const unknown[] = {"comment", "created_by", "creation_date", "source"};

    json_open(json, NULL, '{');
    json_optional_text(json, "name", magnet->name);
    json_text(json, "version", version_of(magnet->has_v1, magnet->has_v2));
    json_hash(json, "info_hash_v1", magnet->has_v1, magnet->info_hash_v1, SP_SHA1_LEN);
    json_hash(json, "info_hash_v2", magnet->has_v2, magnet->info_hash_v2, SP_SHA256_LEN);
    json_null(json, "piece_length");
    json_null(json, "pieces");
    if (magnet->length)
        json_uint(json, "length", magnet->length);
    else
        json_null(json, "length");
    json_null(json, "private");
    json_trackers(json, magnet->trackers, magnet->tracker_count);
    json_open(json, "web_seeds", '[');
    for (uint32_t i = 0; i < magnet->web_seed_count; i++)
        json_text(json, NULL, magnet->web_seeds[i]);
    json_close(json, ']');
    json_open(json, "nodes", '[');
    json_close(json, ']');
    for (size_t i = 0; i < SP_COUNT(unknown); i++)
        json_null(json, unknown[i]);
    json_text(json, "magnet", src);
    json_null(json, "files");
    json_nodes(json, "peers", magnet->peers, magnet->peer_count);
    json_close(json, '}');
    json_end_line(json);
}

/* --- for people ------------------------------------------------------------------ */

enum { LABEL_WIDTH = 14 };

struct view {
    struct str *out;
    struct term term;
};

static void label(struct view *view, const char *name)
{
    str_fmt(view->out, "%s%-*s%s", term_colour(&view->term, COLOUR_DIM), LABEL_WIDTH, name,
            term_colour(&view->term, COLOUR_OFF));
}

/* A field of one line; text from outside is cleaned. */
static void field(struct view *view, const char *name, const char *text)
{
    label(view, name);
    text_clean(view->out, text, strlen(text), view->term.utf8 || !view->term.is_tty);
    str_puts(view->out, "\n");
}

/* The same where line ends are meant. */
static void field_lines(struct view *view, const char *name, const char *text)
{
    do {
        size_t len = strcspn(text, "\n");
        label(view, name);
        text_clean(view->out, text, len, view->term.utf8 || !view->term.is_tty);
        str_puts(view->out, "\n");
        text += len + (text[len] == '\n');
        name = "";
    } while (*text);
}

static void field_hash(struct view *view, const char *name, const uint8_t *hash, size_t len)
{
    label(view, name);
    for (size_t i = 0; i < len; i++)
        str_fmt(view->out, "%02x", hash[i]);
    str_puts(view->out, "\n");
}

static void field_date(struct view *view, int64_t date)
{
    char text[64];
    time_t when = (time_t)date;
    struct tm tm;

    if (gmtime_r(&when, &tm) && strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &tm))
        field(view, "Created", text);
}

static void show_trackers(struct view *view, const struct sp_metainfo_tracker *trackers,
                          uint32_t count)
{
    char name[32] = "Trackers";
    for (uint32_t i = 0; i < count; i++) {
        bool is_tier = i == 0 || trackers[i].tier != trackers[i - 1].tier;
        if (i)
            snprintf(name, sizeof(name), "  tier %u", trackers[i].tier + 1);
        field(view, is_tier ? name : "", trackers[i].url);
    }
}

static void show_file(struct view *view, const struct sp_metainfo *mi, uint32_t ix, int digits)
{
    const struct sp_file *file = &mi->files[ix];
    const char *path = inner_path(mi, file->path);
    char size[HUMAN_CAP];

    str_fmt(view->out, "%*u  %10s  ", digits, ix + 1, human_bytes(size, file->length));
    text_clean(view->out, path, strlen(path), view->term.utf8 || !view->term.is_tty);
    if (file->symlink) {
        str_puts(view->out, " -> ");
        path = inner_path(mi, file->symlink);
        text_clean(view->out, path, strlen(path), view->term.utf8 || !view->term.is_tty);
    }
    if (file->attr & SP_ATTR_EXECUTABLE)
        str_puts(view->out, "  (executable)");
    if (file->attr & SP_ATTR_HIDDEN)
        str_puts(view->out, "  (hidden)");
    if (file->renamed)
        str_fmt(view->out, "  %s(name made safe)%s", term_colour(&view->term, COLOUR_YELLOW),
                term_colour(&view->term, COLOUR_OFF));
    str_puts(view->out, "\n");
}

/* Pad files are counted, so that numbers stay those of the torrent, but not shown. */
static void show_files(struct view *view, const struct sp_metainfo *mi)
{
    int digits = snprintf(NULL, 0, "%u", mi->file_count);
    digits = digits < 3 ? 3 : digits;

    str_fmt(view->out, "\n%s%*s  %10s  File%s\n", term_colour(&view->term, COLOUR_BOLD), digits,
            "#", "Size", term_colour(&view->term, COLOUR_OFF));
    for (uint32_t i = 0; i < mi->file_count; i++)
        if (!(mi->files[i].attr & SP_ATTR_PAD))
            show_file(view, mi, i, digits);
}

static void show_size(struct view *view, const struct sp_metainfo *mi)
{
    char size[HUMAN_CAP];
    uint32_t shown = 0;

    for (uint32_t i = 0; i < mi->file_count; i++)
        shown += !(mi->files[i].attr & SP_ATTR_PAD);
    label(view, "Size");
    str_fmt(view->out, "%s", human_bytes(size, mi->total_length));
    if (mi->total_length >= 1024)
        str_fmt(view->out, " (%llu bytes)", (unsigned long long)mi->total_length);
    if (!mi->single_file)
        str_fmt(view->out, " in %u file%s", shown, shown == 1 ? "" : "s");
    str_puts(view->out, "\n");
    label(view, "Pieces");
    str_fmt(view->out, "%u of %s\n", mi->piece_count, human_bytes(size, mi->piece_length));
}

static void show_warnings(struct view *view, const struct sp_metainfo *mi)
{
    uint32_t renamed = 0;
    bool name_differs = strlen(mi->name) != mi->raw_name.len ||
                        memcmp(mi->name, mi->raw_name.ptr, mi->raw_name.len) != 0;

    for (uint32_t i = 0; i < mi->file_count; i++)
        renamed += mi->files[i].renamed && !(mi->files[i].attr & SP_ATTR_PAD);
    if (name_differs)
        field(view, "Warning",
              "the torrent's name is not safe on every system: shown, and "
              "written, as above");
    if (renamed && !mi->single_file) {
        label(view, "Warning");
        str_fmt(view->out,
                "%u file name%s not safe on every system: shown, and written, as below\n", renamed,
                renamed == 1 ? " is" : "s are");
    }
    if (mi->has_v2)
        field(view, "Note", "a hybrid: downloaded through its version 1 half");
}

static void show_torrent(struct view *view, const struct sp_metainfo *mi)
{
    char *magnet = cmd_magnet_of(mi);

    field(view, "Name", mi->name);
    show_size(view, mi);
    field(view, "Version", version_of(mi->has_v1, mi->has_v2));
    if (mi->has_v1)
        field_hash(view, "Info-hash", mi->info_hash_v1, SP_SHA1_LEN);
    if (mi->has_v2)
        field_hash(view, "Info-hash v2", mi->info_hash_v2, SP_SHA256_LEN);
    if (mi->is_private)
        field(view, "Private", "yes: peers come from the trackers alone");
    show_trackers(view, mi->trackers, mi->tracker_count);
    for (uint32_t i = 0; i < mi->web_seed_count; i++)
        field(view, i ? "" : "Web seeds", mi->web_seeds[i].url);
    for (uint32_t i = 0; i < mi->node_count; i++) {
        struct str text = {0};
        node_text(&text, &mi->nodes[i]);
        field(view, i ? "" : "DHT nodes", text.ptr);
        str_done(&text);
    }
    if (mi->comment)
        field_lines(view, "Comment", mi->comment);
    if (mi->source)
        field(view, "Source", mi->source);
    if (mi->created_by)
        field(view, "Created by", mi->created_by);
    if (mi->creation_date >= 0)
        field_date(view, mi->creation_date);
    field(view, "Magnet", magnet);
    show_warnings(view, mi);
    show_files(view, mi);
    free(magnet);
}

static void show_magnet(struct view *view, const struct sp_magnet *magnet)
{
    char size[HUMAN_CAP];

    field(view, "Name", magnet->name ? magnet->name : "(not told)");
    if (magnet->length)
        field(view, "Size", human_bytes(size, magnet->length));
    field(view, "Version", version_of(magnet->has_v1, magnet->has_v2));
    if (magnet->has_v1)
        field_hash(view, "Info-hash", magnet->info_hash_v1, SP_SHA1_LEN);
    if (magnet->has_v2)
        field_hash(view, "Info-hash v2", magnet->info_hash_v2, SP_SHA256_LEN);
    for (uint32_t i = 0; i < magnet->tracker_count; i++)
        field(view, i ? "" : "Trackers", magnet->trackers[i].url);
    for (uint32_t i = 0; i < magnet->web_seed_count; i++)
        field(view, i ? "" : "Web seeds", magnet->web_seeds[i]);
    for (uint32_t i = 0; i < magnet->peer_count; i++) {
        struct str text = {0};
        node_text(&text, &magnet->peers[i]);
        field(view, i ? "" : "Peers", text.ptr);
        str_done(&text);
    }
    if (magnet->range_count) {
        label(view, "Files");
        for (uint32_t i = 0; i < magnet->range_count; i++) {
            const struct sp_file_range *range = &magnet->ranges[i];
            str_fmt(view->out, range->first == range->last ? "%s%u" : "%s%u-%u", i ? "," : "",
                    range->first + 1, range->last + 1);
        }
        str_puts(view->out, "\n");
    }
}

/* --- the command ------------------------------------------------------------------- */

static int one_magnet(const struct opts *opts, const char *src, struct view *view)
{
    struct sp_slice text = {(const uint8_t *)src, strlen(src)};
    struct sp_magnet *magnet = NULL;
    struct sp_diag diag = {0};
    enum sp_err err = sp_magnet_parse(&cmd_mem, text, &magnet, &diag);

    if (err != SP_OK)
        return cmd_failed(opts, src, err, &diag);
    if (opts_has(opts, OPT_JSON)) {
        struct json json;
        json_init(&json, view->out);
        json_magnet(&json, magnet, src);
    } else {
        show_magnet(view, magnet);
    }
    sp_magnet_free(magnet);
    return EXIT_DONE;
}

static int one_torrent(const struct opts *opts, const char *src, struct view *view)
{
    struct loaded torrent = {0};
    int code = cmd_load(opts, src, NULL, &torrent);

    if (code != EXIT_DONE)
        return code;
    if (opts_has(opts, OPT_JSON)) {
        struct json json;
        json_init(&json, view->out);
        json_torrent(&json, torrent.mi);
    } else {
        show_torrent(view, torrent.mi);
    }
    sp_metainfo_free(torrent.mi);
    return EXIT_DONE;
}

int cmd_show(const struct opts *opts)
{
    struct str out = {0};
    struct view view = {.out = &out};
    int worst = EXIT_DONE;

    term_init(&view.term, STDOUT_FILENO);
    for (uint32_t i = 0; i < opts->operand_count; i++) {
        const char *src = opts->operands[i];
        int code;
        str_clear(&out);
        if (i && !opts_has(opts, OPT_JSON) && worst == EXIT_DONE)
            str_puts(&out, "\n");
        code = cmd_is_magnet(src) ? one_magnet(opts, src, &view) : one_torrent(opts, src, &view);
        if (code == EXIT_DONE && !opts_has(opts, OPT_QUIET))
            code = cmd_print(opts, &out);
        if (worst == EXIT_DONE)
            worst = code;
    }
    str_done(&out);
    return worst;
}
