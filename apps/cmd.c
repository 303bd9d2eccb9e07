#include "apps/cmd.h"
#include "spate/client.h"
#include "spate/magnet.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Larger than any torrent in use; the parser's own limits are finer. */
enum { TORRENT_MAX = 64 << 20 };

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

const struct sp_mem cmd_mem = {mem_alloc, mem_free, NULL};

double cmd_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* --- errors and output ------------------------------------------------------- */

void cmd_error(const struct opts *opts, const char *format, ...)
{
    char message[1024];
    struct str line = {0};
    va_list args;

    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    str_fmt(&line, "spate %s: ", cmd_table[opts->cmd].name);
    text_clean(&line, message, strlen(message), true);
    fprintf(stderr, "%s\n", line.ptr);
    str_done(&line);
}

int cmd_exit_code(enum sp_err err)
{
    switch (err) {
    case SP_OK:
        return EXIT_DONE;
    case SP_EDATA:
    case SP_ELIMIT:
    case SP_AGAIN:
        return EXIT_BAD_INPUT;
    case SP_EINVAL:
        return EXIT_USAGE;
    case SP_EHASH:
        return EXIT_INCOMPLETE;
    case SP_ECANCELED:
        return EXIT_INTERRUPTED;
    case SP_EPROTO:
    case SP_ETIMEOUT:
    case SP_ENOMEM:
    case SP_EIO:
    case SP_ENOSPC:
    case SP_EACCES:
    case SP_ENOENT:
    case SP_EEXIST:
    case SP_ENET:
        return EXIT_FAILED;
    }
    return EXIT_FAILED;
}

int cmd_failed(const struct opts *opts, const char *what, enum sp_err err,
               const struct sp_diag *diag)
{
    const char *reason = diag && diag->text[0] ? diag->text : sp_err_text(err);
    if (what)
        cmd_error(opts, "%s: %s", what, reason);
    else
        cmd_error(opts, "%s", reason);
    return cmd_exit_code(err);
}

int cmd_print(const struct opts *opts, const struct str *text)
{
    const char *at = str_text(text);
    size_t left = text->len;

    while (left) {
        ssize_t n = write(STDOUT_FILENO, at, left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EPIPE)
            return EXIT_DONE;
        if (n < 0) {
            cmd_error(opts, "standard output: %s", strerror(errno));
            return EXIT_FAILED;
        }
        at += n;
        left -= (size_t)n;
    }
    return EXIT_DONE;
}

const char *cmd_dir(const struct opts *opts)
{
    const char *dir = opts_has(opts, OPT_DIR) ? opts->value[OPT_DIR].text : ".";
    struct stat st;

    if (stat(dir, &st) != 0) {
        cmd_error(opts, "--dir: '%s': %s", dir, strerror(errno));
        return NULL;
    }
    if (!S_ISDIR(st.st_mode)) {
        cmd_error(opts, "--dir: '%s': is not a directory", dir);
        return NULL;
    }
    return dir;
}

/* --- torrents ------------------------------------------------------------------ */

/* All of fd, up to TORRENT_MAX; 0 or an errno (EFBIG: more than that). */
static int read_fd(int fd, struct str *ret_bytes)
{
    enum { STEP = 1 << 16 };
    char *step = mem_need(NULL, STEP);
    int error = 0;

    for (;;) {
        ssize_t n = read(fd, step, STEP);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            error = errno;
        if (n <= 0)
            break;
        if (ret_bytes->len + (size_t)n > TORRENT_MAX) {
            error = EFBIG;
            break;
        }
        str_add(ret_bytes, step, (size_t)n);
    }
    free(step);
    return error;
}

static int read_file(const struct opts *opts, const char *src, struct str *ret_bytes)
{
    bool is_stdin = strcmp(src, "-") == 0;
    int fd = is_stdin ? STDIN_FILENO : open(src, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    int error = fd < 0 ? errno : read_fd(fd, ret_bytes);

    if (fd >= 0 && !is_stdin)
        close(fd);
    if (error == EFBIG) {
        cmd_error(opts, "%s: is larger than %d MiB, which no torrent is", src, TORRENT_MAX >> 20);
        return EXIT_BAD_INPUT;
    }
    if (error) {
        cmd_error(opts, "%s: %s", src, strerror(error));
        return EXIT_FAILED;
    }
    return EXIT_DONE;
}

static bool is_url(const char *src)
{
    return strncasecmp(src, "http://", 7) == 0 || strncasecmp(src, "https://", 8) == 0;
}

static int parse(const struct opts *opts, const char *src, struct sp_slice bytes,
                 struct loaded *ret_loaded)
{
    struct sp_diag diag = {0};
    enum sp_err err;

    if (bytes.len == 0) {
        cmd_error(opts, "%s: is empty, not a torrent", src);
        return EXIT_BAD_INPUT;
    }
    err = sp_metainfo_parse(&cmd_mem, bytes, NULL, &ret_loaded->mi, &diag);
    if (err == SP_EDATA || err == SP_ELIMIT) {
        /* Where there is no name for the place yet, the text begins with the offset. */
        const char *text = diag.text[0] ? diag.text : sp_err_text(err);
        if (strncmp(text, "byte ", 5) == 0)
            cmd_error(opts, "%s: %s", src, text);
        else
            cmd_error(opts, "%s: byte %llu: %s", src, (unsigned long long)diag.off, text);
        return EXIT_BAD_INPUT;
    }
    if (err != SP_OK)
        return cmd_failed(opts, src, err, &diag);
    ret_loaded->src = src;
    return EXIT_DONE;
}

int cmd_load(const struct opts *opts, const char *src, const volatile bool *cancel,
             struct loaded *ret_loaded)
{
    struct str bytes = {0};
    int code;

    if (is_url(src)) {
        struct sp_diag diag = {0};
        uint8_t *fetched = NULL;
        size_t len = 0;
        enum sp_err err =
            sp_fetch_url_through(src, opts->value[OPT_PROXY].text, opts->value[OPT_INTERFACE].text,
                                 TORRENT_MAX, cancel, &fetched, &len, &diag);
        if (err != SP_OK)
            return cmd_failed(opts, src, err, &diag);
        code = parse(opts, src, (struct sp_slice){fetched, len}, ret_loaded);
        sp_bytes_free(fetched);
        return code;
    }
    code = read_file(opts, src, &bytes);
    if (code == EXIT_DONE)
        code =
            parse(opts, src, (struct sp_slice){(const uint8_t *)bytes.ptr, bytes.len}, ret_loaded);
    str_done(&bytes);
    return code;
}

bool cmd_is_magnet(const char *src)
{
    return strncasecmp(src, "magnet:", 7) == 0;
}

char *cmd_magnet_of(const struct sp_metainfo *mi)
{
    size_t len = 0;
    char *text;

    (void)!sp_magnet_of_metainfo(mi, NULL, 0, &len);
    text = mem_zero(len + 1, 1);
    (void)!sp_magnet_of_metainfo(mi, text, len + 1, &len);
    return text;
}

const char *cmd_hash_text(char text[HASH_TEXT_CAP], const struct sp_metainfo *mi)
{
    const uint8_t *hash = mi->has_v1 ? mi->info_hash_v1 : mi->info_hash_v2;
    size_t len = mi->has_v1 ? SP_SHA1_LEN : SP_SHA256_LEN;

    for (size_t i = 0; i < len; i++)
        snprintf(text + 2 * i, 3, "%02x", hash[i]);
    return text;
}

char *cmd_default_state_dir(void)
{
    const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    struct str path = {0};

    if (xdg && xdg[0] == '/')
        str_fmt(&path, "%s/spate", xdg);
    else if (home && home[0] == '/')
        str_fmt(&path, "%s/.local/state/spate", home);
    return path.ptr;
}
