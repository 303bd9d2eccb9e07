/* spate demo - the newcomer's first run. */
#include "apps/json.h"
#include "apps/lab.h"
#include "apps/signals.h"
#include "apps/transfer.h"

#include <stdarg.h>

enum { SIZE_DEFAULT = 64 << 20, WATCH_S = 4 };

SP_PRINTF(2, 3) static void say(const struct opts *opts, const char *format, ...)
{
    struct str text = {0};
    char line[512];
    va_list args;

    if (opts_has(opts, OPT_QUIET) || opts_has(opts, OPT_JSON))
        return;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    str_puts(&text, line);
    (void)cmd_print(opts, &text);
    str_done(&text);
}

/* The download: what `spate get` does, held to a rate that can be watched. */
static int download(struct lab *lab, uint64_t down_Bps)
{
    struct lab_opts get;
    struct transfer t;
    int code;

    lab_opts_init(&get, lab, down_Bps, false);
    transfer_init(&t, &get.opts, TRANSFER_GET);
    code = transfer_load(&t, lab->torrent);
    if (code == EXIT_DONE)
        code = transfer_start(&t, lab->copy);
    if (code == EXIT_DONE)
        code = transfer_run(&t);
    transfer_done(&t);
    return code;
}

static int make(struct lab *lab, uint64_t size)
{
    char hash[HASH_TEXT_CAP], text[HUMAN_CAP];
    int code;

    say(lab->opts, "1. Making %s of data in %s\n", human_bytes(text, size), lab->dir);
    code = lab_make_data(lab, size);
    if (code != EXIT_DONE)
        return code;
    code = lab_make_torrent(lab);
    if (code != EXIT_DONE)
        return code;
    say(lab->opts, "2. Made a torrent of it: %u files, %u pieces of %s, info-hash\n   %s\n",
        lab->mi->file_count, lab->mi->piece_count, human_bytes(text, lab->mi->piece_length),
        cmd_hash_text(hash, lab->mi));
    code = lab_seed(lab);
    if (code == EXIT_DONE)
        say(lab->opts, "3. A first client seeds it on %s\n", lab->peer);
    return code;
}

static int run(struct lab *lab, uint64_t size)
{
    char text[HUMAN_CAP];
    uint64_t down_Bps = size / WATCH_S;
    int code = make(lab, size);

    if (code != EXIT_DONE)
        return code;
    say(lab->opts, "4. A second one downloads it, held to %s so that you can watch:\n\n",
        human_rate(text, down_Bps));
    code = download(lab, down_Bps);
    if (code != EXIT_DONE)
        return code;
    code = lab_compare(lab);
    if (code == EXIT_DONE)
        say(lab->opts, "\n5. Verified: all %u files are the same, byte by byte\n",
            lab->mi->file_count);
    return code;
}

static void tell_result(const struct opts *opts, int code)
{
    struct str out = {0};
    struct json json;

    if (!opts_has(opts, OPT_JSON))
        return;
    json_init(&json, &out);
    json_open(&json, NULL, '{');
    json_text(&json, "event", "demo");
    json_bool(&json, "verified", code == EXIT_DONE);
    json_close(&json, '}');
    json_end_line(&json);
    (void)cmd_print(opts, &out);
    str_done(&out);
}

int cmd_demo(const struct opts *opts)
{
    uint64_t size = opts_has(opts, OPT_SIZE) ? opts->value[OPT_SIZE].number : SIZE_DEFAULT;
    struct lab lab;
    int code;

    signals_install();
    code = lab_init(&lab, opts, NULL);
    if (code == EXIT_DONE)
        code = run(&lab, size);
    lab_done(&lab);
    tell_result(opts, code);
    if (code == EXIT_DONE)
        say(opts, "6. Cleaned up\n\n"
                  "Try next:\n"
                  "  spate create DIR -o my.torrent   make a torrent of something of yours\n"
                  "  spate seed my.torrent            serve it\n"
                  "  spate get FILE.torrent           download a torrent\n"
                  "  spate help get                   limits, selected files, seeding, ...\n");
    else if (code == EXIT_INTERRUPTED)
        say(opts, "Interrupted; cleaned up\n");
    return code;
}
