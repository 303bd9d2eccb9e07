/* spate create PATH -o OUT */
#include "spate/create.h"
#include "apps/json.h"
#include "apps/meter.h"
#include "apps/number.h"
#include "apps/signals.h"
#include "spate/client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* --- the file --------------------------------------------------------------------- */

static int write_all(int fd, const uint8_t *bytes, size_t len)
{
    while (len) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        bytes += n;
        len -= (size_t)n;
    }
    return 0;
}

/* The directory's entry is to last as well; where that cannot be asked for,
 * the file is there all the same. */
static void sync_dir_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = text_copy(slash ? path : ".");
    int fd;

    if (slash)
        dir[slash == path ? 1 : slash - path] = '\0';
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
    free(dir);
}

/* From its temporary name to its own; EEXIST where it must not replace. */
static int settle(const char *temporary, const char *path, bool can_replace)
{
    if (can_replace)
        return rename(temporary, path) == 0 ? 0 : errno;
    if (renameat2(AT_FDCWD, temporary, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return errno;
    /* a file system without it, such as NFS */
    if (link(temporary, path) != 0)
        return errno;
    (void)unlink(temporary);
    return 0;
}

/* Whole or not at all; 0 or an errno. */
static int write_file(const char *path, const uint8_t *bytes, size_t len, bool can_replace)
{
    const char *slash = strrchr(path, '/');
    struct str temporary = {0};
    int fd, error;
    mode_t mask = umask(0);

    (void)umask(mask);
    /* a short name of its own: that of the file may be as long as names get */
    str_add(&temporary, path, slash ? (size_t)(slash + 1 - path) : 0);
    str_puts(&temporary, ".spate-XXXXXX");
    fd = mkostemp(temporary.ptr, O_CLOEXEC);
    if (fd < 0) {
        error = errno;
        str_done(&temporary);
        return error;
    }
    error = write_all(fd, bytes, len);
    if (!error && fchmod(fd, 0666 & ~mask) != 0)
        error = errno;
    if (!error && fsync(fd) != 0)
        error = errno;
    if (close(fd) != 0 && !error)
        error = errno;
    if (!error)
        error = settle(temporary.ptr, path, can_replace);
    if (error)
        (void)unlink(temporary.ptr);
    else
        sync_dir_of(path);
    str_done(&temporary);
    return error;
}

/* --- the settings ------------------------------------------------------------------- */

/* NAME.torrent in the current directory, of the last part of path. */
static char *default_output(const char *path)
{
    char *real = realpath(path, NULL); /* "." and "a/.." have names as well */
    const char *slash = real ? strrchr(real, '/') : NULL;
    struct str name = {0};

    str_fmt(&name, "%s.torrent", slash && slash[1] ? slash + 1 : "root");
    free(real);
    return name.ptr;
}

/* Now, SOURCE_DATE_EPOCH where that is set, or none. */
static bool choose_date(const struct opts *opts, int64_t *ret_date)
{
    const char *epoch = getenv("SOURCE_DATE_EPOCH");
    uint64_t value;

    *ret_date = -1;
    if (opts_has(opts, OPT_NO_DATE))
        return true;
    *ret_date = (int64_t)time(NULL);
    if (!epoch || !*epoch)
        return true;
    if (!number_count(epoch, &value) || value > INT64_MAX) {
        cmd_error(opts, "SOURCE_DATE_EPOCH: '%s' is not a number of seconds", epoch);
        return false;
    }
    *ret_date = (int64_t)value;
    return true;
}

static bool settings_fit(const struct opts *opts)
{
    uint64_t piece = opts->value[OPT_PIECE_LENGTH].number;

    if (opts_has(opts, OPT_V2) || opts_has(opts, OPT_HYBRID)) {
        cmd_error(opts, "--%s: not available yet: only version 1 torrents can be made",
                  opts_has(opts, OPT_V2) ? "v2" : "hybrid");
        return false;
    }
    if (opts_has(opts, OPT_PIECE_LENGTH) && (piece & (piece - 1))) {
        cmd_error(opts, "--piece-length: '%s' is not a power of two (try 1M)",
                  opts->value[OPT_PIECE_LENGTH].text);
        return false;
    }
    return true;
}

static struct sp_create_cfg cfg_of(const struct opts *opts, struct meter *meter)
{
    const struct opt_value *value = opts->value;
    return (struct sp_create_cfg){
        .path = opts->operands[0],
        .version = SP_CREATE_V1,
        .piece_length = (uint32_t)value[OPT_PIECE_LENGTH].number,
        .threads = (uint32_t)value[OPT_THREADS].number,
        .trackers = value[OPT_TRACKER].list,
        .tracker_count = value[OPT_TRACKER].count,
        .web_seeds = value[OPT_WEB_SEED].list,
        .web_seed_count = value[OPT_WEB_SEED].count,
        .nodes = value[OPT_NODE].list,
        .node_count = value[OPT_NODE].count,
        .is_private = opts_has(opts, OPT_PRIVATE),
        .comment = value[OPT_COMMENT].text,
        .source = value[OPT_SOURCE].text,
        .progress = meter_progress,
        .ctx = meter,
    };
}

/* --- the command ---------------------------------------------------------------------- */

/* Where the result is told: not among the torrent's own bytes. */
static int tell(const struct opts *opts, const char *output, const struct sp_metainfo *mi,
                const struct meter *meter)
{
    char *magnet = cmd_magnet_of(mi);
    char hash[HASH_TEXT_CAP], size[HUMAN_CAP];
    struct str out = {0};
    int code = EXIT_DONE;

    cmd_hash_text(hash, mi);
    if (opts_has(opts, OPT_JSON)) {
        struct json json;
        json_init(&json, &out);
        json_open(&json, NULL, '{');
        json_text(&json, "file", output);
        json_text(&json, "name", mi->name);
        json_text(&json, "info_hash_v1", hash);
        json_null(&json, "info_hash_v2");
        json_uint(&json, "length", mi->total_length);
        json_uint(&json, "piece_length", mi->piece_length);
        json_uint(&json, "pieces", mi->piece_count);
        json_text(&json, "magnet", magnet);
        json_close(&json, '}');
        json_end_line(&json);
    } else if (!opts_has(opts, OPT_QUIET)) {
        str_puts(&out, "Torrent    ");
        text_clean(&out, output, strlen(output), true);
        str_fmt(&out, "\nContent    %u piece%s of %s; ", mi->piece_count,
                mi->piece_count == 1 ? "" : "s", human_bytes(size, mi->piece_length));
        meter_result(meter, &out);
        str_fmt(&out, "\nInfo-hash  %s\nMagnet     ", hash);
        text_clean(&out, magnet, strlen(magnet), true);
        str_puts(&out, "\n");
    }
    if (strcmp(output, "-") == 0)
        fputs(str_text(&out), stderr);
    else
        code = cmd_print(opts, &out);
    str_done(&out);
    free(magnet);
    return code;
}

static int save(const struct opts *opts, const char *output, const uint8_t *bytes, size_t len)
{
    int error;

    if (strcmp(output, "-") == 0) {
        error = write_all(STDOUT_FILENO, bytes, len);
        output = "standard output";
    } else {
        error = write_file(output, bytes, len, opts_has(opts, OPT_FORCE));
    }
    if (error == EEXIST) {
        cmd_error(opts, "%s: exists already (--force replaces it)", output);
        return EXIT_FAILED;
    }
    if (error) {
        cmd_error(opts, "%s: %s", output, strerror(error));
        return EXIT_FAILED;
    }
    return EXIT_DONE;
}

static int make(const struct opts *opts, const char *output)
{
    struct meter meter;
    struct sp_create_cfg cfg = cfg_of(opts, &meter);
    struct sp_metainfo *mi = NULL;
    struct sp_diag diag = {0};
    uint8_t *bytes = NULL;
    size_t len = 0;
    enum sp_err err;
    int code;

    if (!choose_date(opts, &cfg.creation_date))
        return EXIT_USAGE;
    meter_init(&meter, opts, "hashing");
    err = sp_create(&cfg, &bytes, &len, &diag);
    meter_done(&meter);
    if (err == SP_ECANCELED) {
        cmd_error(opts, "interrupted: nothing was written");
        return EXIT_INTERRUPTED;
    }
    if (err != SP_OK)
        return cmd_failed(opts, diag.text[0] ? NULL : cfg.path, err, &diag);
    /* What was made is read back as anybody else will read it. */
    err = sp_metainfo_parse(&cmd_mem, (struct sp_slice){bytes, len}, NULL, &mi, &diag);
    code = err == SP_OK ? save(opts, output, bytes, len) : cmd_failed(opts, cfg.path, err, &diag);
    if (code == EXIT_DONE)
        code = tell(opts, output, mi, &meter);
    sp_metainfo_free(mi);
    sp_bytes_free(bytes);
    return code;
}

int cmd_create(const struct opts *opts)
{
    const char *path = opts->operands[0];
    char *output;
    struct stat st;
    int code;

    if (!settings_fit(opts))
        return EXIT_USAGE;
    if (stat(path, &st) != 0) {
        cmd_error(opts, "%s: %s", path, strerror(errno));
        return EXIT_FAILED;
    }
    signals_install();
    output =
        opts_has(opts, OPT_OUTPUT) ? text_copy(opts->value[OPT_OUTPUT].text) : default_output(path);
    /* Before the hashing, not after it. */
    if (strcmp(output, "-") == 0 && isatty(STDOUT_FILENO)) {
        cmd_error(opts, "a torrent is no text for a terminal: give -o FILE");
        code = EXIT_USAGE;
    } else if (strcmp(output, "-") != 0 && !opts_has(opts, OPT_FORCE) && lstat(output, &st) == 0) {
        cmd_error(opts, "%s: exists already (--force replaces it)", output);
        code = EXIT_FAILED;
    } else {
        code = make(opts, output);
    }
    free(output);
    return code;
}
