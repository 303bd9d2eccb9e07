#include "apps/options.h"
#include "apps/number.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_LEN = 32 };

/* --- near misses ---------------------------------------------------------- */

/* How many letters must be changed, added, left out or swapped to make b of a;
 * names longer than NAME_MAX_LEN are near nothing. */
static size_t distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t row[3][NAME_MAX_LEN + 1];

    if (a_len > NAME_MAX_LEN || b_len > NAME_MAX_LEN)
        return SIZE_MAX;
    for (size_t j = 0; j <= b_len; j++)
        row[0][j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t *now = row[i % 3], *last = row[(i + 2) % 3], *before = row[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t best = last[j - 1] + (a[i - 1] != b[j - 1]);
            best = last[j] + 1 < best ? last[j] + 1 : best;
            best = now[j - 1] + 1 < best ? now[j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = before[j - 2] + 1 < best ? before[j - 2] + 1 : best;
            now[j] = best;
        }
    }
    return row[a_len % 3][b_len];
}

/* A third of the letters may be wrong, and the beginning of a name is near it. */
static size_t nearness(const char *typed, size_t len, const char *name)
{
    size_t name_len = strlen(name);
    size_t far = distance(typed, len, name, name_len);

    if (far <= (name_len > len ? name_len : len) / 3)
        return far;
    return len >= 2 && len < name_len && memcmp(typed, name, len) == 0 ? name_len : SIZE_MAX;
}

enum cmd_id opts_find_cmd(const char *name)
{
    enum cmd_id cmd = 0;
    while (cmd < CMD_COUNT && strcmp(cmd_table[cmd].name, name) != 0)
        cmd++;
    return cmd;
}

const char *opts_nearest_cmd(const char *name)
{
    const char *best = NULL;
    size_t best_far = SIZE_MAX;

    for (enum cmd_id cmd = 0; cmd < CMD_SHOWN_COUNT; cmd++) {
        size_t far = nearness(name, strlen(name), cmd_table[cmd].name);
        if (far < best_far) {
            best_far = far;
            best = cmd_table[cmd].name;
        }
    }
    return best;
}

static bool has_option(enum cmd_id cmd, enum opt_id id)
{
    return opt_table[id].cmds & 1U << cmd;
}

static const char *nearest_option(enum cmd_id cmd, const char *name, size_t len)
{
    const char *best = NULL;
    size_t best_far = SIZE_MAX;

    for (enum opt_id id = 0; id < OPT_ID_COUNT; id++) {
        if (!has_option(cmd, id) || opt_table[id].is_hidden)
            continue;
        size_t far = nearness(name, len, opt_table[id].name);
        if (far < best_far) {
            best_far = far;
            best = opt_table[id].name;
        }
    }
    return best;
}

/* --- parsing --------------------------------------------------------------- */

struct parser {
    struct opts *opts;
    char **argv;
    int argc, at; /* at is the next word */
    char *message;
    size_t message_cap;
};

SP_PRINTF(2, 3) static bool fail(struct parser *p, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(p->message, p->message_cap, format, args);
    va_end(args);
    return false;
}

static bool one_of(const char *choices, const char *text)
{
    size_t len = strlen(text);
    for (const char *at = choices; at; at = strchr(at, '|')) {
        at += *at == '|';
        if (len && strncmp(at, text, len) == 0 && (at[len] == '|' || !at[len]))
            return true;
    }
    return false;
}

/* What a wrong argument should have been; NULL when it is right. */
static const char *wrong_kind(const struct opt_def *def, const char *text, uint64_t *ret_number)
{
    switch (def->kind) {
    case OPT_NUMBER:
        return number_count(text, ret_number) ? NULL : "a whole number";
    case OPT_BYTES:
        return number_size(text, ret_number) ? NULL : "a size (try 512K or 10M)";
    case OPT_RATE:
        return number_size(text, ret_number) ? NULL : "a rate (try 512K or 10M)";
    case OPT_SECONDS:
        return number_seconds(text, ret_number) ? NULL : "a time (try 90, 30m or 2h)";
    case OPT_RATIO:
        return number_ratio(text, ret_number) ? NULL : "a ratio (try 1.5)";
    case OPT_RANGES:
        return number_ranges(text, ret_number) ? NULL : "a list of file numbers (try 1,3-5)";
    case OPT_HOST_PORT:
        return number_host_port(text, false) ? NULL : "HOST:PORT (IPv6 as [ADDR]:PORT)";
    case OPT_LISTEN_ADDR:
        return number_host_port(text, true) ? NULL : "ADDR:PORT, [V6]:PORT or :PORT";
    case OPT_URL:
        return strstr(text, "://") && text[0] != ':' ? NULL : "a URL";
    case OPT_FILE:
    case OPT_DIRECTORY:
        return *text ? NULL : "a path";
    case OPT_CHOICE:
        return one_of(def->choices, text) ? NULL : def->choices;
    case OPT_FLAG:
    case OPT_TEXT:
        return NULL;
    }
    return NULL;
}

/* A number as its option is typed, for messages. */
static void print_limit(char *text, size_t cap, enum opt_kind kind, uint64_t n)
{
    static const char units[] = " KMGT";
    size_t unit = 0;
    if (kind == OPT_BYTES)
        for (; n >= 1024 && n % 1024 == 0 && unit < 4; unit++)
            n /= 1024;
    snprintf(text, cap, "%llu%.1s", (unsigned long long)n, unit ? &units[unit] : "");
}

static bool in_limits(struct parser *p, const struct opt_def *def, const char *text, uint64_t n)
{
    char limit[32];

    if (n < def->min) {
        print_limit(limit, sizeof(limit), def->kind, def->min);
        return fail(p, "--%s: '%s' is less than %s", def->name, text, limit);
    }
    if (def->max && n > def->max) {
        print_limit(limit, sizeof(limit), def->kind, def->max);
        return fail(p, "--%s: '%s' is more than %s", def->name, text, limit);
    }
    return true;
}

static bool set(struct parser *p, enum opt_id id, const char *text)
{
    const struct opt_def *def = &opt_table[id];
    struct opt_value *value = &p->opts->value[id];
    uint64_t number = 0;

    if (def->kind != OPT_FLAG) {
        const char *expected = wrong_kind(def, text, &number);
        if (expected)
            return fail(p, "--%s: '%s' is not %s%s", def->name, text,
                        def->kind == OPT_CHOICE ? "one of " : "", expected);
        if (!in_limits(p, def, text, number))
            return false;
    }
    if (value->is_given && def->kind != OPT_FLAG && !def->can_repeat)
        return fail(p, "--%s: given twice", def->name);
    if (def->can_repeat) {
        if (!value->list)
            value->list = calloc((size_t)p->argc, sizeof(*value->list));
        if (!value->list)
            return fail(p, "out of memory");
        value->list[value->count] = text;
    }
    value->count++;
    value->is_given = true;
    value->number = number;
    value->text = text;
    return true;
}

/* The argument in the next word. */
static bool set_next(struct parser *p, enum opt_id id)
{
    const struct opt_def *def = &opt_table[id];
    if (p->at == p->argc)
        return fail(p, "--%s: needs an argument: %s", def->name,
                    def->value ? def->value : def->choices);
    return set(p, id, p->argv[p->at++]);
}

/* "name" or "name=value", behind the two dashes. */
static bool long_option(struct parser *p, const char *word)
{
    const char *equals = strchr(word, '=');
    size_t len = equals ? (size_t)(equals - word) : strlen(word);
    enum cmd_id cmd = p->opts->cmd;
    enum opt_id id = 0;

    while (id < OPT_ID_COUNT && (!has_option(cmd, id) || strlen(opt_table[id].name) != len ||
                                 memcmp(opt_table[id].name, word, len) != 0))
        id++;
    if (id == OPT_ID_COUNT) {
        const char *near = nearest_option(cmd, word, len);
        if (near)
            return fail(p, "--%.*s: no such option; did you mean --%s?", (int)len, word, near);
        return fail(p, "--%.*s: no such option (see spate %s --help)", (int)len, word,
                    cmd_table[cmd].name);
    }
    if (opt_table[id].kind == OPT_FLAG) {
        if (equals)
            return fail(p, "--%s: takes no argument", opt_table[id].name);
        return set(p, id, NULL);
    }
    return equals ? set(p, id, equals + 1) : set_next(p, id);
}

/* "qo FILE", "oFILE", behind the one dash. */
static bool short_options(struct parser *p, const char *word)
{
    for (; *word; word++) {
        enum opt_id id = 0;
        while (id < OPT_ID_COUNT &&
               (!has_option(p->opts->cmd, id) || opt_table[id].letter != *word))
            id++;
        if (id == OPT_ID_COUNT) {
            if ((unsigned char)*word < 0x21 || (unsigned char)*word > 0x7e)
                return fail(p, "no such option (see spate %s --help)",
                            cmd_table[p->opts->cmd].name);
            return fail(p, "-%c: no such option (see spate %s --help)", *word,
                        cmd_table[p->opts->cmd].name);
        }
        if (opt_table[id].kind == OPT_FLAG) {
            if (!set(p, id, NULL))
                return false;
        } else {
            return word[1] ? set(p, id, word + 1) : set_next(p, id);
        }
    }
    return true;
}

static bool operands_fit(struct parser *p)
{
    const struct cmd_def *def = &cmd_table[p->opts->cmd];

    if (p->opts->operand_count < def->operand_min)
        return fail(p, "%s is missing (see spate %s --help)", def->operands, def->name);
    if (p->opts->operand_count > def->operand_max) {
        if (def->operand_max == 0)
            return fail(p, "'%s': takes no operand", p->opts->operands[0]);
        return fail(p, "'%s': one operand too many", p->opts->operands[def->operand_max]);
    }
    return true;
}

bool opts_parse(struct opts *opts, enum cmd_id cmd, int argc, char **argv, char *ret_message,
                size_t message_cap)
{
    struct parser p = {opts, argv, argc, 0, ret_message, message_cap};
    bool only_operands = false;

    memset(opts, 0, sizeof(*opts));
    opts->cmd = cmd;
    opts->operands = calloc((size_t)argc + 1, sizeof(*opts->operands));
    if (!opts->operands)
        return fail(&p, "out of memory");
    while (p.at < argc) {
        const char *word = argv[p.at++];
        bool ok = true;
        if (only_operands || word[0] != '-' || !word[1])
            opts->operands[opts->operand_count++] = word;
        else if (strcmp(word, "--") == 0)
            only_operands = true;
        else
            ok = word[1] == '-' ? long_option(&p, word + 2) : short_options(&p, word + 1);
        if (opts_has(opts, OPT_HELP))
            return true;
        if (!ok)
            return false;
    }
    return operands_fit(&p);
}

void opts_done(struct opts *opts)
{
    for (enum opt_id id = 0; id < OPT_ID_COUNT; id++)
        free(opts->value[id].list);
    free(opts->operands);
    memset(opts, 0, sizeof(*opts));
}

/* --- help ------------------------------------------------------------------ */

enum { HELP_COLUMN = 26, HELP_WIDTH = 80 };

/* Words of text up to width, later lines behind indent blanks. */
static void print_wrapped(FILE *out, const char *text, int indent, int width)
{
    int column = indent;

    while (*text) {
        int len = (int)strcspn(text, " \n");
        if (column > indent && column + 1 + len > width) {
            fprintf(out, "\n%*s", indent, "");
            column = indent;
        }
        if (column > indent) {
            fputc(' ', out);
            column++;
        }
        fwrite(text, 1, (size_t)len, out);
        column += len;
        text += len;
        if (strncmp(text, "\n\n", 2) == 0) {
            fprintf(out, "\n\n%*s", indent, "");
            column = indent;
        }
        text += strspn(text, " \n");
    }
    fputc('\n', out);
}

void opts_help(FILE *out)
{
    fprintf(out, "Spate, a BitTorrent client.\n\n"
                 "Usage: spate COMMAND [OPTIONS] [OPERANDS]\n\nCommands:\n");
    for (enum cmd_id cmd = 0; cmd < CMD_SHOWN_COUNT; cmd++)
        fprintf(out, "  %-8s  %s\n", cmd_table[cmd].name, cmd_table[cmd].summary);
    fprintf(out,
            "\nEvery command has --help, --json and --quiet.  Sizes and rates: 512K, 10M, 1.5G\n"
            "(powers of 1024).\n\n"
            "Exit status: 0 done, 1 failed (network, disk), 2 usage, 3 bad input data,\n"
            "4 incomplete or not matching, 130 interrupted with state saved.\n\n"
            "Start with `spate demo`.\n");
}

static void help_option(FILE *out, const struct opt_def *def)
{
    int column;

    if (def->letter)
        column = fprintf(out, "  -%c, --%s", def->letter, def->name);
    else
        column = fprintf(out, "      --%s", def->name);
    if (def->value)
        column += fprintf(out, " %s", def->value);
    if (column + 2 > HELP_COLUMN) {
        fputc('\n', out);
        column = 0;
    }
    fprintf(out, "%*s", HELP_COLUMN - column, "");
    print_wrapped(out, def->help, HELP_COLUMN, HELP_WIDTH);
}

static void help_group(FILE *out, enum cmd_id cmd, enum opt_group group)
{
    bool is_first = true;
    for (enum opt_id id = 0; id < OPT_ID_COUNT; id++) {
        const struct opt_def *def = &opt_table[id];
        if (!has_option(cmd, id) || def->is_hidden || def->group != group)
            continue;
        if (is_first)
            fprintf(out, "\n%s:\n", opt_group_names[group]);
        is_first = false;
        help_option(out, def);
    }
}

static void help_examples(FILE *out, const char *examples)
{
    fprintf(out, "\nExamples:\n");
    for (const char *at = examples; *at; at += *at == '\n') {
        int command = (int)strcspn(at, "\t"), meaning = (int)strcspn(at + command + 1, "\n");
        fprintf(out, "  %.*s\n      %.*s\n", command, at, meaning, at + command + 1);
        at += command + 1 + meaning;
    }
}

void opts_help_cmd(FILE *out, enum cmd_id cmd)
{
    const struct cmd_def *def = &cmd_table[cmd];

    fprintf(out, "Usage: spate %s [OPTIONS]%s%s\n\n", def->name, *def->operands ? " " : "",
            def->operands);
    fputc(def->summary[0] & ~0x20, out);
    fprintf(out, "%s.\n", def->summary + 1);
    if (def->about) {
        fputc('\n', out);
        print_wrapped(out, def->about, 0, HELP_WIDTH);
    }
    for (enum opt_group group = 0; group < GROUP_COUNT; group++)
        help_group(out, cmd, group);
    if (def->examples)
        help_examples(out, def->examples);
}
