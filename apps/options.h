/* options.h - the one table of commands and options.
 *
 * Parsing, --help, the man pages and the shell completions are all drawn from
 * it, so they cannot disagree.  To add an option: a name in enum opt_id and a
 * row in options_table.c; the command then reads opts->value[OPT_x].
 */
#ifndef SPATE_APPS_OPTIONS_H
#define SPATE_APPS_OPTIONS_H

#include <stdio.h>

#include "spate/types.h"

/* What `spate` answers to the shell. */
enum exit_code {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,        /* network or disk */
    EXIT_USAGE = 2,         /* the command line */
    EXIT_BAD_INPUT = 3,     /* a torrent, magnet or configuration is malformed */
    EXIT_INCOMPLETE = 4,    /* data is missing or does not match */
    EXIT_INTERRUPTED = 130, /* by a signal; state is saved */
};

enum cmd_id {
    CMD_GET,
    CMD_SEED,
    CMD_CREATE,
    CMD_SHOW,
    CMD_VERIFY,
    CMD_MAGNET,
    CMD_BENCH,
    CMD_DEMO,
    CMD_HELP,
    CMD_VERSION,
    CMD_STATE, /* from here on: known, told nowhere */
    CMD_COUNT,
    CMD_SHOWN_COUNT = CMD_STATE,
};

/* In the order of the help. */
enum opt_id {
    OPT_DIR,
    OPT_SELECT,
    OPT_SEQUENTIAL,
    OPT_PREALLOC,
    OPT_CHECK,
    OPT_STATE,
    OPT_NO_STATE,
    OPT_SEED,
    OPT_SEED_RATIO,
    OPT_SEED_TIME,
    OPT_SUPER_SEED,
    OPT_PEER,
    OPT_TRACKER,
    OPT_LISTEN,
    OPT_PROXY,
    OPT_IP_FILTER,
    OPT_INTERFACE,
    OPT_CONNS,
    OPT_DOWN,
    OPT_UP,
    OPT_MEMORY,
    OPT_OUTPUT,
    OPT_FORCE,
    OPT_V1,
    OPT_V2,
    OPT_HYBRID,
    OPT_WEB_SEED,
    OPT_NODE,
    OPT_PIECE_LENGTH,
    OPT_PRIVATE,
    OPT_COMMENT,
    OPT_SOURCE,
    OPT_NO_DATE,
    OPT_SIZE,
    OPT_THREADS,
    OPT_ENCRYPT,
    OPT_NO_DHT,
    OPT_NO_PEX,
    OPT_NO_LSD,
    OPT_UTP,
    OPT_NO_UTP,
    OPT_NO_TCP,
    OPT_NO_PORTMAP,
    OPT_JSON,
    OPT_QUIET,
    OPT_HELP,
    OPT_ID_COUNT,
};

enum opt_kind {
    OPT_FLAG,      /* takes no argument */
    OPT_TEXT,      /* anything */
    OPT_FILE,      /* a path; completed by the shell */
    OPT_DIRECTORY, /* likewise */
    OPT_URL,       /* "SCHEME://..." */
    OPT_HOST_PORT,
    OPT_LISTEN_ADDR,
    OPT_NUMBER,
    OPT_BYTES,
    OPT_RATE,
    OPT_SECONDS,
    OPT_RATIO,
    OPT_RANGES,
    OPT_CHOICE, /* one of choices */
};

enum opt_group { GROUP_DATA, GROUP_NETWORK, GROUP_TORRENT, GROUP_OUTPUT, GROUP_COUNT };

struct opt_def {
    const char *name; /* without the dashes */
    char letter;      /* of the short form; 0: none */
    enum opt_kind kind;
    enum opt_group group;
    bool can_repeat;
    bool is_hidden;      /* taken, told nowhere */
    uint32_t cmds;       /* 1 << enum cmd_id */
    const char *value;   /* what the help calls the argument */
    const char *help;    /* one line */
    const char *choices; /* "a|b|c" */
    uint64_t min, max;   /* of a number; max 0: no limit */
};

struct cmd_def {
    const char *name;
    const char *operands; /* "SRC..." */
    uint32_t operand_min, operand_max;
    const char *complete; /* operands: "torrent", "file" or a "a|b" list; NULL: nothing */
    const char *summary;  /* one line, no full stop */
    const char *about;    /* paragraphs, separated by an empty line */
    const char *examples; /* lines of "command\tmeaning\n" */
};

extern const struct opt_def opt_table[OPT_ID_COUNT];
extern const struct cmd_def cmd_table[CMD_COUNT];
extern const char *const opt_group_names[GROUP_COUNT];

struct opt_value {
    bool is_given;
    uint64_t number;   /* bytes, bytes a second, seconds, thousandths, largest of ranges */
    const char *text;  /* the last one given; borrowed from argv */
    const char **list; /* all given, of those that can repeat */
    uint32_t count;
};

struct opts {
    enum cmd_id cmd;
    struct opt_value value[OPT_ID_COUNT];
    const char **operands;
    uint32_t operand_count;
};

/* The command called name, or CMD_COUNT. */
enum cmd_id opts_find_cmd(const char *name);
/* The nearest command to a mistyped name; NULL when none is near. */
const char *opts_nearest_cmd(const char *name);

/* Parses what follows the command: options anywhere, "--" ends them.  argv is
 * borrowed while opts lives.  False with a one-line message, to be printed
 * behind "spate COMMAND: ".  With --help among them nothing else is demanded.
 * opts is to be given to opts_done in both cases. */
bool opts_parse(struct opts *opts, enum cmd_id cmd, int argc, char **argv, char *ret_message,
                size_t message_cap);
void opts_done(struct opts *opts);

static inline bool opts_has(const struct opts *opts, enum opt_id id)
{
    return opts->value[id].is_given;
}

/* `spate --help` and `spate COMMAND --help`. */
void opts_help(FILE *out);
void opts_help_cmd(FILE *out, enum cmd_id cmd);

#endif
