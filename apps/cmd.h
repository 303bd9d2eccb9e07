/* cmd.h - the subcommands, and what they share: errors, torrents from
 * anywhere, results on standard output. */
#ifndef SPATE_APPS_CMD_H
#define SPATE_APPS_CMD_H

#include "apps/options.h"
#include "apps/text.h"
#include "spate/err.h"
#include "spate/mem.h"
#include "spate/metainfo.h"

#ifndef SPATE_VERSION
#define SPATE_VERSION "unknown"
#endif

/* Each gives an enum exit_code; one file apiece. */
int cmd_get(const struct opts *opts);
int cmd_seed(const struct opts *opts);
int cmd_create(const struct opts *opts);
int cmd_show(const struct opts *opts);
int cmd_verify(const struct opts *opts);
int cmd_magnet(const struct opts *opts);
int cmd_bench(const struct opts *opts);
int cmd_demo(const struct opts *opts);
int cmd_state(const struct opts *opts);

/* One line on standard error, "spate COMMAND: ...", made printable. */
SP_PRINTF(2, 3) void cmd_error(const struct opts *opts, const char *format, ...);
/* The exit code that goes with what the library answered. */
int cmd_exit_code(enum sp_err err);
/* "what: reason" of a call that failed; gives the exit code. */
int cmd_failed(const struct opts *opts, const char *what, enum sp_err err,
               const struct sp_diag *diag);

/* Standard output, in one go.  A reader that left early is fine: EXIT_DONE.
 * Anything else that goes wrong is said: EXIT_FAILED. */
int cmd_print(const struct opts *opts, const struct str *text);

/* $XDG_STATE_HOME/spate or ~/.local/state/spate, to be given to free; NULL:
 * neither is known. */
char *cmd_default_state_dir(void);
/* --dir, "." without it; NULL, and said, when that is no directory. */
const char *cmd_dir(const struct opts *opts);

/* Allocator over calloc and free. */
extern const struct sp_mem cmd_mem;

/* A torrent that was read from somewhere. */
struct loaded {
    const char *src; /* as the user wrote it; borrowed */
    struct sp_metainfo *mi;
};

/* Reads and parses src: a file, "-" or an http(s) URL.  Errors are said.
 * cancel: see sp_fetch_url, may be NULL.  Gives an enum exit_code. */
int cmd_load(const struct opts *opts, const char *src, const volatile bool *cancel,
             struct loaded *ret_loaded);
/* "magnet:?...", any case. */
bool cmd_is_magnet(const char *src);
/* The magnet of a torrent; never fails.  To be given to free. */
char *cmd_magnet_of(const struct sp_metainfo *mi);
/* v1 where there is one; gives text. */
enum { HASH_TEXT_CAP = 2 * SP_SHA256_LEN + 1 };
const char *cmd_hash_text(char text[HASH_TEXT_CAP], const struct sp_metainfo *mi);

/* Monotonic seconds. */
double cmd_clock(void);

#endif
