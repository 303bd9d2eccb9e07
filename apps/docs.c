#include "apps/docs.h"

#include <string.h>

static bool is_shown(enum cmd_id cmd, enum opt_id id)
{
    return opt_table[id].cmds & 1U << cmd && !opt_table[id].is_hidden;
}

/* --- manual pages: scdoc ----------------------------------------------------- */

/* Plain text, with what scdoc would take for markup escaped. */
static void put_scdoc(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (strchr("*_\\#[]|`~", *text))
            fputc('\\', out);
        fputc(*text, out);
    }
}

static const char exit_status[] = "# EXIT STATUS\n\n"
                                  "*0*\n\tDone.\n\n"
                                  "*1*\n\tFailed: network or disk.\n\n"
                                  "*2*\n\tThe command line is wrong.\n\n"
                                  "*3*\n\tBad input data: a torrent or magnet is malformed.\n\n"
                                  "*4*\n\tIncomplete: data is missing or does not match.\n\n"
                                  "*130*\n\tInterrupted by a signal; state is saved.\n\n";

void docs_man(FILE *out)
{
    fprintf(out, "spate(1)\n\n# NAME\n\nspate - BitTorrent client\n\n# SYNOPSIS\n\n"
                 "*spate* _COMMAND_ \\[OPTIONS\\] \\[OPERANDS\\]\n\n# DESCRIPTION\n\n"
                 "Downloads, serves, makes and checks torrents. Each command has a page of its "
                 "own: *spate-get*(1) and so on, and *--help*.\n\n# COMMANDS\n\n");
    for (enum cmd_id cmd = 0; cmd < CMD_SHOWN_COUNT; cmd++) {
        fprintf(out, "*%s* ", cmd_table[cmd].name);
        put_scdoc(out, cmd_table[cmd].operands);
        fprintf(out, "\n\t");
        put_scdoc(out, cmd_table[cmd].summary);
        fprintf(out, "\n\n");
    }
    fprintf(out,
            "# SIZES AND RATES\n\n"
            "Bytes, and bytes a second: 512K, 10M, 1.5G, 2T are powers of 1024.\n\n"
            "# OUTPUT\n\n"
            "Progress is drawn in place on a terminal and written as a line now and then "
            "elsewhere. With *--json* every line of standard output is one object whose "
            "names do not change; errors stay on standard error. A reader that is slow, or "
            "goes away, does not hold a transfer up.\n\n%s"
            "# ENVIRONMENT\n\n"
            "*XDG\\_STATE\\_HOME*\n\tResume state is kept in its directory _spate_; without "
            "it in _~/.local/state/spate_.\n\n"
            "*NO\\_COLOR*\n\tWhen set, no colours are used.\n\n"
            "*TMPDIR*\n\tWhere *spate demo* and *spate bench* put their data.\n\n"
            "*SOURCE\\_DATE\\_EPOCH*\n\tThe date *spate create* writes, in seconds since "
            "1970.\n\n# SEE ALSO\n\n",
            exit_status);
    for (enum cmd_id cmd = 0; cmd < CMD_HELP; cmd++)
        fprintf(out, "%s*spate-%s*(1)", cmd ? ", " : "", cmd_table[cmd].name);
    fputc('\n', out);
}

static void man_options(FILE *out, enum cmd_id cmd)
{
    fprintf(out, "# OPTIONS\n\n");
    for (enum opt_id id = 0; id < OPT_ID_COUNT; id++) {
        const struct opt_def *def = &opt_table[id];
        if (!is_shown(cmd, id))
            continue;
        if (def->letter)
            fprintf(out, "*-%c*, ", def->letter);
        fprintf(out, "*--%s*", def->name);
        if (def->value)
            fprintf(out, " _%s_", def->value);
        fprintf(out, "\n\t");
        for (const char *at = def->help; *at; at++)
            if (*at == '\n')
                fputc(' ', out);
            else
                put_scdoc(out, (char[]){*at, 0});
        fprintf(out, ".%s\n\n", def->can_repeat ? " May be given several times." : "");
    }
}

void docs_man_cmd(FILE *out, enum cmd_id cmd)
{
    const struct cmd_def *def = &cmd_table[cmd];

    fprintf(out, "spate-%s(1)\n\n# NAME\n\nspate-%s - ", def->name, def->name);
    put_scdoc(out, def->summary);
    fprintf(out, "\n\n# SYNOPSIS\n\n*spate %s* \\[OPTIONS\\] ", def->name);
    put_scdoc(out, def->operands);
    fprintf(out, "\n\n# DESCRIPTION\n\n");
    put_scdoc(out, def->about);
    fprintf(out, "\n\n");
    man_options(out, cmd);
    if (def->examples) {
        fprintf(out, "# EXAMPLES\n\n");
        for (const char *at = def->examples; *at; at += *at == '\n') {
            size_t command = strcspn(at, "\t"), meaning = strcspn(at + command + 1, "\n");
            fprintf(out, "```\n%.*s\n```\n\n\t%.*s\n\n", (int)command, at, (int)meaning,
                    at + command + 1);
            at += command + 1 + meaning;
        }
    }
    fprintf(out, "%s# SEE ALSO\n\n*spate*(1)\n", exit_status);
}

/* --- completions ---------------------------------------------------------------- */

/* "a|b" with blanks between. */
static void put_words(FILE *out, const char *choices)
{
    for (; *choices; choices++)
        fputc(*choices == '|' ? ' ' : *choices, out);
}

static void put_commands(FILE *out)
{
    for (enum cmd_id cmd = 0; cmd < CMD_SHOWN_COUNT; cmd++)
        fprintf(out, "%s%s", cmd ? " " : "", cmd_table[cmd].name);
}

/* The long options of one kind of any command, as a shell pattern. */
static void bash_pattern(FILE *out, enum opt_kind a, enum opt_kind b)
{
    bool is_first = true;
    for (enum opt_id id = 0; id < OPT_ID_COUNT; id++) {
        const struct opt_def *def = &opt_table[id];
        if (def->is_hidden || (def->kind != a && def->kind != b))
            continue;
        fprintf(out, "%s--%s", is_first ? "" : "|", def->name);
        if (def->letter)
            fprintf(out, "|-%c", def->letter);
        is_first = false;
    }
}

static void bash_other_arguments(FILE *out)
{
    for (enum opt_id id = 0; id < OPT_ID_COUNT; id++) {
        const struct opt_def *def = &opt_table[id];
        if (!def->is_hidden && def->kind != OPT_FLAG && def->kind != OPT_FILE &&
            def->kind != OPT_DIRECTORY)
            fprintf(out, "--%s|", def->name);
    }
    fprintf(out, "--)\n        return ;;\n");
}

void docs_bash(FILE *out)
{
    fprintf(out, "# bash completion for spate\n"
                 "_spate() {\n"
                 "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
                 "    local command=${COMP_WORDS[1]} options operands=\n"
                 "    COMPREPLY=()\n"
                 "    if ((COMP_CWORD == 1)); then\n"
                 "        COMPREPLY=($(compgen -W '");
    put_commands(out);
    fprintf(out,
            " --help --version' -- \"$cur\"))\n        return\n    fi\n    case $prev in\n    ");
    bash_pattern(out, OPT_DIRECTORY, OPT_DIRECTORY);
    fprintf(out,
            ")\n        compopt -o filenames\n"
            "        mapfile -t COMPREPLY < <(compgen -d -- \"$cur\")\n        return ;;\n    ");
    bash_pattern(out, OPT_FILE, OPT_FILE);
    fprintf(out,
            ")\n        compopt -o filenames\n"
            "        mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n        return ;;\n    ");
    bash_other_arguments(out);
    fprintf(out, "    esac\n    case $command in\n");
    for (enum cmd_id cmd = 0; cmd < CMD_SHOWN_COUNT; cmd++) {
        const char *complete = cmd_table[cmd].complete;
        fprintf(out, "    %s)\n        options='", cmd_table[cmd].name);
        for (enum opt_id id = 0; id < OPT_ID_COUNT; id++)
            if (is_shown(cmd, id))
                fprintf(out, "--%s ", opt_table[id].name);
        fprintf(out, "'\n        operands='");
        if (complete && strcmp(complete, "command") == 0)
            put_commands(out);
        else if (complete)
            put_words(out, complete);
        fprintf(out, "' ;;\n");
    }
    fprintf(out, "    *)\n        return ;;\n    esac\n"
                 "    if [[ $cur == -* ]]; then\n"
                 "        COMPREPLY=($(compgen -W \"$options\" -- \"$cur\"))\n"
                 "        return\n    fi\n"
                 "    case $operands in\n"
                 "    torrent)\n        compopt -o filenames\n"
                 "        mapfile -t COMPREPLY < <(compgen -f -X '!*.torrent' -- \"$cur\"; "
                 "compgen -d -- \"$cur\") ;;\n"
                 "    file)\n        compopt -o filenames\n"
                 "        mapfile -t COMPREPLY < <(compgen -f -- \"$cur\") ;;\n"
                 "    *)\n        COMPREPLY=($(compgen -W \"$operands\" -- \"$cur\")) ;;\n"
                 "    esac\n}\ncomplete -F _spate spate\n");
}

/* Inside '...' and, for zsh, inside [...]. */
static void put_quoted(FILE *out, const char *text, const char *escaped)
{
    for (; *text; text++) {
        if (*text == '\'')
            fprintf(out, "'\\''");
        else if (*text == '\n')
            fputc(' ', out);
        else
            fprintf(out, "%s%c", strchr(escaped, *text) ? "\\" : "", *text);
    }
}

static void zsh_action(FILE *out, const char *complete)
{
    if (!complete)
        return;
    if (strcmp(complete, "torrent") == 0)
        fprintf(out, "_files -g \"*.torrent\"");
    else if (strcmp(complete, "file") == 0)
        fprintf(out, "_files");
    else if (strcmp(complete, "command") == 0) {
        fputc('(', out);
        put_commands(out);
        fputc(')', out);
    } else {
        fputc('(', out);
        put_words(out, complete);
        fputc(')', out);
    }
}

static void zsh_option(FILE *out, const struct opt_def *def)
{
    const char *star = def->can_repeat ? "*" : "";

    if (def->letter && !def->can_repeat)
        fprintf(out, "        '(-%c --%s)'{-%c,--%s}'[", def->letter, def->name, def->letter,
                def->name);
    else
        fprintf(out, "        '%s--%s[", star, def->name);
    put_quoted(out, def->help, "[]:\\");
    fputc(']', out);
    if (def->kind != OPT_FLAG) {
        fputc(':', out);
        put_quoted(out, def->value, ":");
        fputc(':', out);
        if (def->kind == OPT_DIRECTORY)
            fprintf(out, "_files -/");
        else if (def->kind == OPT_FILE)
            fprintf(out, "_files");
    }
    fprintf(out, "' \\\n");
}

void docs_zsh(FILE *out)
{
    fprintf(out, "#compdef spate\n"
                 "_spate() {\n    local -a commands\n    commands=(\n");
    for (enum cmd_id cmd = 0; cmd < CMD_SHOWN_COUNT; cmd++) {
        fprintf(out, "        '%s:", cmd_table[cmd].name);
        put_quoted(out, cmd_table[cmd].summary, "\\");
        fprintf(out, "'\n");
    }
    fprintf(out, "    )\n    if ((CURRENT == 2)); then\n"
                 "        _describe command commands\n        return\n    fi\n"
                 "    shift words\n    ((CURRENT--))\n    case $words[1] in\n");
    for (enum cmd_id cmd = 0; cmd < CMD_SHOWN_COUNT; cmd++) {
        const struct cmd_def *def = &cmd_table[cmd];
        fprintf(out, "    %s)\n        _arguments -s \\\n", def->name);
        for (enum opt_id id = 0; id < OPT_ID_COUNT; id++)
            if (is_shown(cmd, id))
                zsh_option(out, &opt_table[id]);
        if (def->complete) {
            fprintf(out, "        '%s:operand:", def->operand_max == 1 ? "1" : "*");
            zsh_action(out, def->complete);
            fprintf(out, "' \\\n");
        }
        fprintf(out, "        && return ;;\n");
    }
    fprintf(out, "    esac\n}\n_spate \"$@\"\n");
}

static void fish_operands(FILE *out, const struct cmd_def *def)
{
    if (!def->complete)
        return;
    fprintf(out, "complete -c spate -n '__fish_seen_subcommand_from %s' ", def->name);
    if (strcmp(def->complete, "torrent") == 0)
        fprintf(out, "-xa '(__fish_complete_suffix .torrent)'\n");
    else if (strcmp(def->complete, "file") == 0)
        fprintf(out, "-F\n");
    else {
        fprintf(out, "-xa '");
        if (strcmp(def->complete, "command") == 0)
            put_commands(out);
        else
            put_words(out, def->complete);
        fprintf(out, "'\n");
    }
}

void docs_fish(FILE *out)
{
    fprintf(out, "# fish completion for spate\ncomplete -c spate -f\n");
    for (enum cmd_id cmd = 0; cmd < CMD_SHOWN_COUNT; cmd++) {
        const struct cmd_def *def = &cmd_table[cmd];
        fprintf(out, "complete -c spate -n __fish_use_subcommand -a %s -d '", def->name);
        put_quoted(out, def->summary, "\\");
        fprintf(out, "'\n");
        fish_operands(out, def);
        for (enum opt_id id = 0; id < OPT_ID_COUNT; id++) {
            const struct opt_def *opt = &opt_table[id];
            if (!is_shown(cmd, id))
                continue;
            fprintf(out, "complete -c spate -n '__fish_seen_subcommand_from %s' -l %s", def->name,
                    opt->name);
            if (opt->letter)
                fprintf(out, " -s %c", opt->letter);
            if (opt->kind == OPT_DIRECTORY)
                fprintf(out, " -xa '(__fish_complete_directories)'");
            else if (opt->kind != OPT_FLAG)
                fprintf(out, opt->kind == OPT_FILE ? " -rF" : " -x");
            fprintf(out, " -d '");
            put_quoted(out, opt->help, "\\");
            fprintf(out, "'\n");
        }
    }
}
