/* spate COMMAND [OPTIONS] [OPERANDS] */
#include "apps/cmd.h"
#include "apps/json.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

static int print_version(const struct opts *opts)
{
    struct str out = {0};
    int code;
    str_puts(&out, "spate " SPATE_VERSION "\n");
    code = cmd_print(opts, &out);
    str_done(&out);
    return code;
}

/* Help goes to a pipe or a file as any result does: through cmd_print. */
static int print_help(const struct opts *opts, enum cmd_id cmd)
{
    struct str text = {0};
    char *bytes = NULL;
    size_t len = 0;
    FILE *memory = open_memstream(&bytes, &len);
    int code;

    if (!memory)
        return EXIT_FAILED;
    if (cmd == CMD_COUNT)
        opts_help(memory);
    else
        opts_help_cmd(memory, cmd);
    fclose(memory);
    str_add(&text, bytes, len);
    free(bytes);
    code = cmd_print(opts, &text);
    str_done(&text);
    return code;
}

/* Says what is wrong with a name, and what it may have meant. */
static int unknown_command(const char *name)
{
    const char *near = opts_nearest_cmd(name);
    struct str clean = {0};

    text_clean(&clean, name, strlen(name), true);
    if (near)
        fprintf(stderr, "spate: '%s': no such command; did you mean %s?\n", clean.ptr, near);
    else
        fprintf(stderr, "spate: '%s': no such command (see spate --help)\n", clean.ptr);
    str_done(&clean);
    return EXIT_USAGE;
}

static int run_help(const struct opts *opts)
{
    enum cmd_id cmd = CMD_COUNT;
    if (opts->operand_count) {
        cmd = opts_find_cmd(opts->operands[0]);
        if (cmd == CMD_COUNT)
            return unknown_command(opts->operands[0]);
    }
    return print_help(opts, cmd);
}

static int run(const struct opts *opts)
{
    static int (*const commands[CMD_COUNT])(const struct opts *) = {
        [CMD_GET] = cmd_get,           [CMD_SEED] = cmd_seed,     [CMD_CREATE] = cmd_create,
        [CMD_SHOW] = cmd_show,         [CMD_VERIFY] = cmd_verify, [CMD_MAGNET] = cmd_magnet,
        [CMD_BENCH] = cmd_bench,       [CMD_DEMO] = cmd_demo,     [CMD_HELP] = run_help,
        [CMD_VERSION] = print_version, [CMD_STATE] = cmd_state,
    };

    if (opts_has(opts, OPT_HELP))
        return print_help(opts, opts->cmd);
    return commands[opts->cmd](opts);
}

int main(int argc, char **argv)
{
    const struct opts none = {.cmd = CMD_HELP};
    const char *name = argc > 1 ? argv[1] : NULL;
    char message[512];
    struct opts opts;
    enum cmd_id cmd;
    int code;

    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* ulimit -f: an error like a full disk */
    text_init();
    if (!name) {
        opts_help(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return print_help(&none, CMD_COUNT);
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
        return print_version(&none);
    cmd = opts_find_cmd(name);
    if (cmd == CMD_COUNT)
        return unknown_command(name);
    if (!opts_parse(&opts, cmd, argc - 2, argv + 2, message, sizeof(message))) {
        cmd_error(&opts, "%s", message);
        code = EXIT_USAGE;
    } else {
        code = run(&opts);
    }
    opts_done(&opts);
    return code;
}
