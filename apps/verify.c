/* spate verify TORRENT --dir D */
#include "apps/json.h"
#include "apps/meter.h"
#include "apps/signals.h"
#include "apps/term.h"
#include "spate/create.h"

#include <string.h>
#include <unistd.h>

static const char *state_name(uint8_t state)
{
    switch (state) {
    case SP_FILE_OK:
        return "ok";
    case SP_FILE_BAD:
        return "bad";
    case SP_FILE_MISSING:
        return "missing";
    case SP_FILE_SHORT:
        return "wrong size";
    default:
        return "unknown";
    }
}

static bool piece_is_ok(const struct sp_verify_result *result, uint32_t ix)
{
    return result->pieces[ix / 8] >> (7 - ix % 8) & 1;
}

/* The next run of bad pieces at or behind from; false when there is none. */
static bool next_bad(const struct sp_verify_result *result, uint32_t from, uint32_t *ret_first,
                     uint32_t *ret_end)
{
    while (from < result->piece_count && piece_is_ok(result, from))
        from++;
    if (from == result->piece_count)
        return false;
    *ret_first = from;
    while (from < result->piece_count && !piece_is_ok(result, from))
        from++;
    *ret_end = from;
    return true;
}

static bool is_whole(const struct sp_metainfo *mi, const struct sp_verify_result *result)
{
    bool whole = result->piece_ok == result->piece_count;
    for (uint32_t i = 0; i < result->file_count; i++)
        whole = whole && (result->files[i] == SP_FILE_OK || (mi->files[i].attr & SP_ATTR_PAD));
    return whole;
}

static void add_json(struct str *out, const struct sp_metainfo *mi,
                     const struct sp_verify_result *result)
{
    char hash[HASH_TEXT_CAP];
    struct json json;
    uint32_t first, end = 0;

    json_init(&json, out);
    json_open(&json, NULL, '{');
    json_text(&json, "name", mi->name);
    json_text(&json, "info_hash", cmd_hash_text(hash, mi));
    json_bool(&json, "ok", is_whole(mi, result));
    json_uint(&json, "pieces", result->piece_count);
    json_uint(&json, "pieces_ok", result->piece_ok);
    json_uint(&json, "length", mi->total_length);
    json_uint(&json, "bytes_ok", result->bytes_ok);
    json_open(&json, "bad_pieces", '['); /* [first, last] */
    while (next_bad(result, end, &first, &end)) {
        json_open(&json, NULL, '[');
        json_uint(&json, NULL, first);
        json_uint(&json, NULL, end - 1);
        json_close(&json, ']');
    }
    json_close(&json, ']');
    json_open(&json, "bad_files", '[');
    for (uint32_t i = 0; i < result->file_count; i++) {
        if (result->files[i] == SP_FILE_OK || (mi->files[i].attr & SP_ATTR_PAD))
            continue;
        json_open(&json, NULL, '{');
        json_uint(&json, "index", i + 1);
        json_text(&json, "path", mi->files[i].path);
        json_text(&json, "state", state_name(result->files[i]));
        json_close(&json, '}');
    }
    json_close(&json, ']');
    json_close(&json, '}');
    json_end_line(&json);
}

/* "3, 7-9, 12", over as many lines as it takes. */
static void add_bad_pieces(struct str *out, const struct sp_verify_result *result)
{
    enum { WIDTH = 78 };
    uint32_t first, end = 0, bad = result->piece_count - result->piece_ok;
    size_t line = out->len;

    str_fmt(out, "Bad piece%s: ", bad == 1 ? "" : "s");
    for (bool is_first = true; next_bad(result, end, &first, &end); is_first = false) {
        if (!is_first)
            str_puts(out, out->len - line > WIDTH ? ",\n  " : ", ");
        if (out->len > 3 && memcmp(out->ptr + out->len - 3, "\n  ", 3) == 0)
            line = out->len - 2;
        str_fmt(out, end - first > 1 ? "%u-%u" : "%u", first, end - 1);
    }
    str_puts(out, "\n");
}

static void add_text(struct str *out, const struct sp_metainfo *mi,
                     const struct sp_verify_result *result, const struct meter *meter)
{
    bool whole = is_whole(mi, result);
    char ok[HUMAN_CAP], all[HUMAN_CAP], percent[HUMAN_CAP];
    struct term term;

    term_init(&term, STDOUT_FILENO);
    for (uint32_t i = 0; i < result->file_count; i++) {
        if (result->files[i] == SP_FILE_OK || (mi->files[i].attr & SP_ATTR_PAD))
            continue;
        str_fmt(out, "%s%-10s%s  ", term_colour(&term, COLOUR_RED), state_name(result->files[i]),
                term_colour(&term, COLOUR_OFF));
        text_clean(out, mi->files[i].path, mi->files[i].path_len, term.utf8 || !term.is_tty);
        str_puts(out, "\n");
    }
    if (result->piece_ok < result->piece_count)
        add_bad_pieces(out, result);
    text_clean(out, mi->name, strlen(mi->name), term.utf8 || !term.is_tty);
    str_fmt(out, ": %s%s%s: %u of %u pieces are good, %s of %s (%s); checked ",
            term_colour(&term, whole ? COLOUR_GREEN : COLOUR_RED),
            whole ? "matches" : "does not match", term_colour(&term, COLOUR_OFF), result->piece_ok,
            result->piece_count, human_bytes(ok, result->bytes_ok),
            human_bytes(all, mi->total_length),
            human_percent(percent, result->bytes_ok, mi->total_length));
    meter_result(meter, out);
    str_puts(out, "\n");
}

static int check(const struct opts *opts, const char *dir, const struct sp_metainfo *mi)
{
    struct meter meter;
    struct sp_verify_cfg cfg = {.metainfo = mi,
                                .dir = dir,
                                .threads = (uint32_t)opts->value[OPT_THREADS].number,
                                .progress = meter_progress,
                                .ctx = &meter};
    struct sp_verify_result result = {0};
    struct sp_diag diag = {0};
    struct str out = {0};
    enum sp_err err;
    int code;

    meter_init(&meter, opts, "checking");
    err = sp_verify(&cfg, &result, &diag);
    meter_done(&meter);
    if (err == SP_ECANCELED) {
        cmd_error(opts, "interrupted");
        return EXIT_INTERRUPTED;
    }
    if (err != SP_OK)
        return cmd_failed(opts, opts->operands[0], err, &diag);
    if (opts_has(opts, OPT_JSON))
        add_json(&out, mi, &result);
    else if (!opts_has(opts, OPT_QUIET))
        add_text(&out, mi, &result, &meter);
    code = cmd_print(opts, &out);
    if (code == EXIT_DONE && !is_whole(mi, &result))
        code = EXIT_INCOMPLETE;
    str_done(&out);
    sp_verify_done(&result);
    return code;
}

int cmd_verify(const struct opts *opts)
{
    const char *dir = cmd_dir(opts);
    struct loaded torrent = {0};
    int code;

    if (!dir)
        return EXIT_USAGE;
    signals_install();
    code = cmd_load(opts, opts->operands[0], signals_flag(), &torrent);
    if (code != EXIT_DONE)
        return code;
    code = check(opts, dir, torrent.mi);
    sp_metainfo_free(torrent.mi);
    return code;
}
