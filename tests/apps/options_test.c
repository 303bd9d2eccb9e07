/* The command line: numbers, the option table, its parser, and the building
 * blocks of the program's output. */
#include "apps/docs.h"
#include "apps/json.h"
#include "apps/number.h"
#include "apps/options.h"
#include "apps/sink.h"
#include "apps/text.h"
#include "tests/unit/check.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void check_text(const char *got, const char *want, int line)
{
    if (strcmp(got, want) != 0) {
        check_failed = 1;
        printf("# %s:%d: is \"%s\", not \"%s\"\n", __FILE__, line, got, want);
    }
}
#define CHECK_TEXT(got, want) check_text(got, want, __LINE__)

/* --- numbers ------------------------------------------------------------------ */

enum { BAD = -1 };

struct number_case {
    const char *text;
    int64_t value; /* BAD: refused */
};

static void run_numbers(const struct number_case *cases, size_t count,
                        bool (*parse)(const char *, uint64_t *))
{
    for (size_t i = 0; i < count; i++) {
        uint64_t value = 77;
        bool ok = parse(cases[i].text, &value);
        if (ok != (cases[i].value != BAD) || (ok && value != (uint64_t)cases[i].value) ||
            (!ok && value != 77)) {
            check_failed = 1;
            printf("# '%s': %d, %" PRIu64 "\n", cases[i].text, ok, value);
        }
    }
}

TEST(sizes)
{
    static const struct number_case cases[] = {
        {"0", 0},
        {"4096", 4096},
        {"512K", 512 << 10},
        {"512k", 512 << 10},
        {"10M", 10 << 20},
        {"16MiB", 16 << 20},
        {"1.5G", 1610612736},
        {"0.5K", 512},
        {"2T", INT64_C(2) << 40},
        {"1.0000001K", 1024},
        {"8388607T", INT64_C(8388607) << 40},
        {"", BAD},
        {"K", BAD},
        {"10X", BAD},
        {"10MB", BAD},
        {"10Mi", BAD},
        {"10iB", BAD},
        {"1.5", BAD},
        {".5K", BAD},
        {"5.K", BAD},
        {"-1", BAD},
        {"+1", BAD},
        {" 1", BAD},
        {"1 ", BAD},
        {"1KK", BAD},
        {"0x10", BAD},
        {"1e3", BAD},
        {"18446744073709551616", BAD},
        {"16777216T", BAD},
    };
    run_numbers(cases, SP_COUNT(cases), number_size);
    uint64_t most = 0;
    CHECK(number_size("18446744073709551615", &most) && most == UINT64_MAX);
}

TEST(counts_times_and_ratios)
{
    static const struct number_case counts[] = {{"1", 1}, {"007", 7}, {"1K", BAD}, {"", BAD}};
    static const struct number_case times[] = {{"90", 90},   {"90s", 90},      {"30m", 1800},
                                               {"2h", 7200}, {"1.5d", 129600}, {"1w", BAD},
                                               {"m", BAD},   {"1hh", BAD},     {"1.5", 1}};
    static const struct number_case ratios[] = {{"2", 2000}, {"1.5", 1500}, {"0.001", 1}, {"0", 0},
                                                {"1.", BAD}, {"1,5", BAD},  {"1.5x", BAD}};
    run_numbers(counts, SP_COUNT(counts), number_count);
    run_numbers(times, SP_COUNT(times), number_seconds);
    run_numbers(ratios, SP_COUNT(ratios), number_ratio);
}

TEST(ranges)
{
    static const struct number_case cases[] = {
        {"1", 1},      {"1,3-5", 5},   {"3-5,1", 5}, {"8-", 8},     {"2-2", 2},   {"", BAD},
        {",", BAD},    {"1,", BAD},    {",1", BAD},  {"0", BAD},    {"0-3", BAD}, {"5-3", BAD},
        {"1--2", BAD}, {"1-2-3", BAD}, {"-3", BAD},  {"1 ,2", BAD}, {"a", BAD},   {"1,,2", BAD}};
    run_numbers(cases, SP_COUNT(cases), number_ranges);
    CHECK(number_in_ranges("1,3-5,9-", 1) && number_in_ranges("1,3-5,9-", 4));
    CHECK(!number_in_ranges("1,3-5,9-", 2) && !number_in_ranges("1,3-5,9-", 6));
    CHECK(number_in_ranges("1,3-5,9-", 9) && number_in_ranges("1,3-5,9-", 1000000));
}

TEST(addresses)
{
    static const struct {
        const char *text;
        bool peer, listen;
    } cases[] = {
        {"host:1", true, true},     {"127.0.0.1:6881", true, true}, {"[::1]:65535", true, true},
        {"host:0", false, true},    {":6881", false, true},         {"[::]:0", false, true},
        {"host", false, false},     {"host:", false, false},        {"host:65536", false, false},
        {"::1:6881", false, false}, {"[::1]", false, false},        {"[]:1", false, false},
        {"a b:1", false, false},    {"host:1x", false, false},      {"", false, false},
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        CHECK_EQ(number_host_port(cases[i].text, false), cases[i].peer);
        CHECK_EQ(number_host_port(cases[i].text, true), cases[i].listen);
    }
}

/* --- the parser ---------------------------------------------------------------- */

static bool parse(struct opts *opts, enum cmd_id cmd, const char *line, char *message, size_t cap)
{
    static char words[512];
    static char *argv[64];
    int argc = 0;

    snprintf(words, sizeof(words), "%s", line);
    for (char *save, *word = strtok_r(words, " ", &save); word; word = strtok_r(NULL, " ", &save))
        argv[argc++] = strcmp(word, "''") == 0 ? word + 2 : word;
    return opts_parse(opts, cmd, argc, argv, message, cap);
}

TEST(parser_says_what_is_wrong)
{
    static const struct {
        enum cmd_id cmd;
        const char *line, *message;
    } cases[] = {
        {CMD_GET, "", "SRC... is missing (see spate get --help)"},
        {CMD_GET, "a --down 10X", "--down: '10X' is not a rate (try 512K or 10M)"},
        {CMD_GET, "a --down=", "--down: '' is not a rate (try 512K or 10M)"},
        {CMD_GET, "a --down", "--down: needs an argument: RATE"},
        {CMD_GET, "a --donw 1", "--donw: no such option; did you mean --down?"},
        {CMD_GET, "a --seqential", "--seqential: no such option; did you mean --sequential?"},
        {CMD_GET, "a --prealoc=1", "--prealoc: no such option; did you mean --prealloc?"},
        {CMD_GET, "a --frobnicate", "--frobnicate: no such option (see spate get --help)"},
        {CMD_GET, "a --sequential=yes", "--sequential: takes no argument"},
        {CMD_GET, "a --dir x --dir y", "--dir: given twice"},
        {CMD_GET, "a --conns 0", "--conns: '0' is less than 1"},
        {CMD_GET, "a --memory 12K", "--memory: '12K' is less than 1M"},
        {CMD_GET, "a --select 3-1", "--select: '3-1' is not a list of file numbers (try 1,3-5)"},
        {CMD_GET, "a --peer x", "--peer: 'x' is not HOST:PORT (IPv6 as [ADDR]:PORT)"},
        {CMD_GET, "a --listen x", "--listen: 'x' is not ADDR:PORT, [V6]:PORT or :PORT"},
        {CMD_GET, "a --tracker x", "--tracker: 'x' is not a URL"},
        {CMD_GET, "a --encrypt on", "--encrypt: 'on' is not one of off|allow|prefer|require"},
        {CMD_GET, "a --encrypt of", "--encrypt: 'of' is not one of off|allow|prefer|require"},
        {CMD_GET, "a --encrypt", "--encrypt: needs an argument: off|allow|prefer|require"},
        {CMD_GET, "a -x", "-x: no such option (see spate get --help)"},
        {CMD_GET, "a --output x", "--output: no such option (see spate get --help)"},
        {CMD_CREATE, "a --piece-length 2G", "--piece-length: '2G' is more than 1G"},
        {CMD_CREATE, "a b", "'b': one operand too many"},
        {CMD_CREATE, "a --comment", "--comment: needs an argument: TEXT"},
        {CMD_DEMO, "a", "'a': takes no operand"},
        {CMD_GET, "a --dir ''", "--dir: '' is not a path"},
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        char message[256] = "(none)";
        struct opts opts;
        CHECK(!parse(&opts, cases[i].cmd, cases[i].line, message, sizeof(message)));
        CHECK_TEXT(message, cases[i].message);
        opts_done(&opts);
    }
}

TEST(parser_takes_what_is_right)
{
    char message[256] = "";
    struct opts opts;

    CHECK(parse(&opts, CMD_GET,
                "a --down 10M --peer h:1 b --peer=[::1]:2 -d dir -q --select=1,3- --seed --seed "
                "--seed-ratio 1.5 --seed-time 2h --no-dht --encrypt allow -- --c",
                message, sizeof(message)));
    CHECK_TEXT(message, "");
    CHECK_EQ(opts.operand_count, 3);
    CHECK_TEXT(opts.operands[0], "a");
    CHECK_TEXT(opts.operands[1], "b");
    CHECK_TEXT(opts.operands[2], "--c");
    CHECK_EQ(opts.value[OPT_DOWN].number, 10 << 20);
    CHECK_EQ(opts.value[OPT_PEER].count, 2);
    CHECK_TEXT(opts.value[OPT_PEER].list[1], "[::1]:2");
    CHECK_TEXT(opts.value[OPT_DIR].text, "dir");
    CHECK_TEXT(opts.value[OPT_SELECT].text, "1,3-");
    CHECK_EQ(opts.value[OPT_SEED_RATIO].number, 1500);
    CHECK_EQ(opts.value[OPT_SEED_TIME].number, 7200);
    CHECK(opts_has(&opts, OPT_QUIET) && opts_has(&opts, OPT_NO_DHT) && opts_has(&opts, OPT_SEED));
    CHECK(!opts_has(&opts, OPT_UP) && !opts_has(&opts, OPT_JSON));
    opts_done(&opts);

    CHECK(parse(&opts, CMD_CREATE, "-qfo x.torrent p", message, sizeof(message)));
    CHECK_TEXT(opts.value[OPT_OUTPUT].text, "x.torrent");
    CHECK(opts_has(&opts, OPT_QUIET) && opts_has(&opts, OPT_FORCE));
    opts_done(&opts);
    CHECK(parse(&opts, CMD_CREATE, "-ox.torrent -", message, sizeof(message)));
    CHECK_TEXT(opts.value[OPT_OUTPUT].text, "x.torrent");
    CHECK_TEXT(opts.operands[0], "-");
    opts_done(&opts);
    CHECK(parse(&opts, CMD_GET, "--help --nonsense", message, sizeof(message)));
    CHECK(opts_has(&opts, OPT_HELP));
    opts_done(&opts);
}

TEST(near_commands)
{
    static const struct {
        const char *typed, *near;
    } cases[] = {
        {"gte", "get"},        {"sed", "seed"}, {"crate", "create"},  {"ver", "verify"},
        {"magnets", "magnet"}, {"x", NULL},     {"frobnicate", NULL}, {"", NULL},
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        const char *near = opts_nearest_cmd(cases[i].typed);
        CHECK_TEXT(near ? near : "(none)", cases[i].near ? cases[i].near : "(none)");
    }
}

/* --- the table ------------------------------------------------------------------- */

TEST(table_is_whole)
{
    for (enum opt_id id = 0; id < OPT_ID_COUNT; id++) {
        const struct opt_def *def = &opt_table[id];
        CHECK(def->name && def->cmds);
        CHECK(def->is_hidden || def->help);
        CHECK((def->kind == OPT_FLAG) == !def->value || def->is_hidden);
        for (enum opt_id other = 0; other < id; other++)
            if (opt_table[other].cmds & def->cmds) {
                CHECK(strcmp(opt_table[other].name, def->name) != 0);
                CHECK(!def->letter || opt_table[other].letter != def->letter);
            }
    }
    for (enum cmd_id cmd = 0; cmd < CMD_COUNT; cmd++) {
        CHECK(cmd_table[cmd].name && cmd_table[cmd].summary && cmd_table[cmd].operands);
        CHECK(cmd >= CMD_HELP || cmd_table[cmd].about);
    }
}

/* No line of any help is wider than a terminal. */
TEST(help_fits)
{
    for (unsigned cmd = 0; cmd <= CMD_COUNT; cmd++) {
        char *text = NULL;
        size_t len = 0;
        FILE *out = open_memstream(&text, &len);
        if (cmd < CMD_COUNT)
            opts_help_cmd(out, cmd);
        else
            opts_help(out);
        fclose(out);
        for (char *save, *line = strtok_r(text, "\n", &save); line;
             line = strtok_r(NULL, "\n", &save))
            if (strlen(line) > 80 && strncmp(line, "  spate ", 8) != 0) {
                check_failed = 1;
                printf("# too wide: %s\n", line);
            }
        free(text);
    }
}

/* --- text -------------------------------------------------------------------------- */

TEST(names_are_cleaned)
{
    static const struct {
        const char *raw, *utf8, *ascii;
    } cases[] = {
        {"plain.txt", "plain.txt", "plain.txt"},
        {"a\tb\n\x1b[31mc\x7f",
         "a\xef\xbf\xbd"
         "b\xef\xbf\xbd\xef\xbf\xbd[31mc\xef\xbf\xbd",
         "a?b??[31mc?"},
        {"\xc3\xa9t\xc3\xa9", "\xc3\xa9t\xc3\xa9", "?t?"},
        {"\xe2\x80\xae"
         "gpj.exe",
         "\xef\xbf\xbdgpj.exe", "?gpj.exe"}, /* right-to-left override */
        {"\xc2\x9b"
         "2J",
         "\xef\xbf\xbd"
         "2J",
         "?2J"}, /* CSI as one character */
        {"\xff\xc3", "\xef\xbf\xbd\xef\xbf\xbd", "??"},
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd", "???"}, /* a surrogate */
        {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd", "??"},                  /* overlong */
        {"", "", ""},
    };
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        struct str got = {0};
        text_clean(&got, cases[i].raw, strlen(cases[i].raw), true);
        CHECK_TEXT(got.ptr, cases[i].utf8);
        str_clear(&got);
        text_clean(&got, cases[i].raw, strlen(cases[i].raw), false);
        CHECK_TEXT(got.ptr, cases[i].ascii);
        str_done(&got);
    }
}

TEST(names_fit_every_width)
{
    static const char *const names[] = {"debian-12.5.0-amd64-netinst.iso", "",
                                        "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e.mkv",
                                        "e\xcc\x81t\xc3\xa9.txt"};
    for (int utf8 = 0; utf8 < 2; utf8++) {
        text_style.utf8 = utf8;
        for (size_t i = 0; i < SP_COUNT(names); i++)
            for (size_t width = 0; width < 40; width++) {
                struct str got = {0};
                text_fit(&got, names[i], width);
                CHECK_EQ(text_width(str_text(&got)), width);
                str_done(&got);
            }
    }
    text_style.utf8 = true;
    struct str got = {0};
    text_fit(&got, "a-very-long-name-of-a-file.part17.rar", 20);
    CHECK_TEXT(got.ptr, "a-very-long-n\xe2\x80\xa6"
                        "17.rar");
    str_done(&got);
}

TEST(quantities)
{
    char text[HUMAN_CAP];
    static const struct {
        uint64_t bytes;
        const char *text;
    } sizes[] = {
        {0, "0 B"},
        {1, "1 B"},
        {1023, "1023 B"},
        {1024, "1.00 KiB"},
        {10239, "10.0 KiB"},
        {102400, "100 KiB"},
        {1023488, "0.98 MiB"},
        {1048576, "1.00 MiB"},
        {UINT64_C(3) << 40, "3.00 TiB"},
        {UINT64_MAX, "16.0 EiB"},
    };
    for (size_t i = 0; i < SP_COUNT(sizes); i++)
        CHECK_TEXT(human_bytes(text, sizes[i].bytes), sizes[i].text);
    for (uint64_t n = 1; n < UINT64_MAX / 3; n += n / 7 + 1)
        CHECK(strlen(human_bytes(text, n)) <= 8);
    CHECK_TEXT(human_rate(text, 1536), "1.50 KiB/s");
    CHECK_TEXT(human_time(text, 59), "59s");
    CHECK_TEXT(human_time(text, 65), "1m 05s");
    CHECK_TEXT(human_time(text, 7980), "2h 13m");
    CHECK_TEXT(human_time(text, 273600), "3d 04h");
    CHECK_TEXT(human_time(text, UINT64_MAX), "-");
    CHECK_TEXT(human_percent(text, 0, 7), "0.0%");
    CHECK_TEXT(human_percent(text, 9999999, 10000000), "99.9%");
    CHECK_TEXT(human_percent(text, 7, 7), "100.0%");
    CHECK_TEXT(human_percent(text, 0, 0), "100.0%");
    CHECK_TEXT(human_ratio(text, 1509), "1.50");
}

TEST(json_is_written)
{
    struct str out = {0};
    struct json json;

    json_init(&json, &out);
    json_open(&json, NULL, '{');
    json_text(&json, "a", "q\" b\\ t\t e\x1b d\x7f \xc3\xa9 x\xff");
    json_text(&json, "none", NULL);
    json_uint(&json, "big", UINT64_MAX);
    json_int(&json, "neg", INT64_MIN);
    json_fixed(&json, "ratio", 1050, 3);
    json_open(&json, "list", '[');
    json_bool(&json, NULL, true);
    json_null(&json, NULL);
    json_open(&json, NULL, '[');
    json_close(&json, ']');
    json_close(&json, ']');
    json_hex(&json, "hex", (const uint8_t *)"\x01\xfe", 2);
    json_bytes(&json, "nul", (struct sp_slice){(const uint8_t *)"a\0b", 3});
    json_close(&json, '}');
    json_end_line(&json);
    CHECK_TEXT(out.ptr, "{\"a\":\"q\\\" b\\\\ t\\u0009 e\\u001b d\\u007f \xc3\xa9 x\xef\xbf\xbd\","
                        "\"none\":null,\"big\":18446744073709551615,\"neg\":-9223372036854775808,"
                        "\"ratio\":1.050,\"list\":[true,null,[]],\"hex\":\"01fe\","
                        "\"nul\":\"a\\u0000b\"}\n");
    str_done(&out);
}

/* --- the sink ------------------------------------------------------------------------ */

TEST(sink_delivers_in_order)
{
    int fds[2];
    char got[7] = "";
    CHECK_EQ(pipe(fds), 0);
    struct sink *sink = sink_new(fds[1]);
    sink_put(sink, "abc", 3);
    sink_put(sink, "def", 3);
    sink_free(sink, 2000);
    CHECK_EQ(read(fds[0], got, 6), 6);
    CHECK_TEXT(got, "abcdef");
    close(fds[0]);
    close(fds[1]);
}

/* A reader that never reads: putting and freeing return all the same. */
TEST(sink_survives_a_reader_that_hangs)
{
    static char block[1 << 16];
    int fds[2];
    CHECK_EQ(pipe(fds), 0);
    struct sink *sink = sink_new(fds[1]);
    memset(block, 'x', sizeof(block));
    for (int i = 0; i < 200; i++)
        sink_put(sink, block, sizeof(block));
    CHECK(!sink_is_idle(sink));
    sink_free(sink, 50);
    close(fds[0]); /* frees the thread */
    usleep(50000);
}

TEST(sink_survives_a_reader_that_left)
{
    int fds[2];
    signal(SIGPIPE, SIG_IGN);
    CHECK_EQ(pipe(fds), 0);
    close(fds[0]);
    struct sink *sink = sink_new(fds[1]);
    sink_put(sink, "abc", 3);
    usleep(50000);
    sink_put(sink, "abc", 3);
    CHECK_EQ(sink_error(sink), 0);
    CHECK(!sink_is_idle(sink));
    sink_free(sink, 1000);
    close(fds[1]);

    int full = open("/dev/full", O_WRONLY);
    sink = sink_new(full);
    sink_put(sink, "abc", 3);
    usleep(50000);
    CHECK(sink_error(sink) != 0);
    sink_free(sink, 1000);
    close(full);
}

int main(void)
{
    text_init();
    setenv("LC_ALL", "C.UTF-8", 1);
    text_init();
    return check_run();
}
