/* spate bench [hash|disk|transfer] - measure this machine. */
#include "apps/json.h"
#include "apps/lab.h"
#include "apps/signals.h"
#include "apps/transfer.h"
#include "spate/create.h"

#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { SIZE_DEFAULT = 512 << 20 };

struct figures {
    const char *name;
    const char *what;
    uint64_t bytes;
    double seconds, cpu_seconds;
};

static double cpu_seconds(void)
{
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
}

static int tell(const struct opts *opts, const struct figures *f)
{
    double gib = (double)f->bytes / (1 << 30);
    uint64_t Bps = f->seconds > 0 ? (uint64_t)((double)f->bytes / f->seconds) : 0;
    uint64_t cpu_milli = gib > 0 ? (uint64_t)(f->cpu_seconds / gib * 1000) : 0;
    char size[HUMAN_CAP], rate[HUMAN_CAP];
    struct str out = {0};
    int code = EXIT_DONE;

    if (opts_has(opts, OPT_JSON)) {
        struct json json;
        json_init(&json, &out);
        json_open(&json, NULL, '{');
        json_text(&json, "bench", f->name);
        json_uint(&json, "bytes", f->bytes);
        json_fixed(&json, "seconds", (uint64_t)(f->seconds * 1000), 3);
        json_uint(&json, "rate", Bps);
        json_fixed(&json, "cpu_s_per_gib", cpu_milli, 3);
        json_close(&json, '}');
        json_end_line(&json);
    } else {
        str_fmt(&out, "%-9s %9s %8.2fs %12s %8llu.%02llu   %s\n", f->name,
                human_bytes(size, f->bytes), f->seconds, human_rate(rate, Bps),
                (unsigned long long)(cpu_milli / 1000), (unsigned long long)(cpu_milli % 1000 / 10),
                f->what);
    }
    if (!opts_has(opts, OPT_QUIET))
        code = cmd_print(opts, &out);
    str_done(&out);
    return code;
}

/* Making a torrent of what the page cache holds: all cores at hashing. */
static int bench_hash(struct lab *lab)
{
    struct figures f = {.name = "hash", .what = "create: read from the page cache and hash"};
    double started, cpu;
    int code = EXIT_DONE;

    for (int i = 0; i < 2 && code == EXIT_DONE; i++) { /* the first warms up */
        sp_metainfo_free(lab->mi);
        lab->mi = NULL;
        started = cmd_clock();
        cpu = cpu_seconds();
        code = lab_make_torrent(lab);
        f.seconds = cmd_clock() - started;
        f.cpu_seconds = cpu_seconds() - cpu;
    }
    if (code != EXIT_DONE)
        return code;
    f.bytes = lab->mi->total_length;
    return tell(lab->opts, &f);
}

static int forget_file(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)at;
    int fd = kind == FTW_F ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return 0;
    /* Only what is on the disk can be forgotten. */
    (void)fdatasync(fd);
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
    return 0;
}

static bool goes_on(void *ctx, uint64_t done_bytes, uint64_t total_bytes)
{
    (void)ctx;
    (void)done_bytes;
    (void)total_bytes;
    return !signals_came();
}

/* Checking data that lies on the disk alone: its reads, or hashing where that
 * is slower.  On tmpfs there is no disk to read. */
static int bench_disk(struct lab *lab)
{
    struct figures f = {.name = "disk", .what = "verify: read from the disk and hash"};
    struct sp_verify_result result = {0};
    struct sp_diag diag = {0};
    int code = lab->mi ? EXIT_DONE : lab_make_torrent(lab);
    if (code != EXIT_DONE)
        return code;
    struct sp_verify_cfg cfg = {.metainfo = lab->mi,
                                .dir = lab->data,
                                .threads = (uint32_t)lab->opts->value[OPT_THREADS].number,
                                .progress = goes_on};
    (void)nftw(lab->data, forget_file, 16, FTW_PHYS);
    double started = cmd_clock(), cpu = cpu_seconds();
    enum sp_err err = sp_verify(&cfg, &result, &diag);
    f.seconds = cmd_clock() - started;
    f.cpu_seconds = cpu_seconds() - cpu;
    f.bytes = lab->mi->total_length;
    if (err == SP_ECANCELED)
        return EXIT_INTERRUPTED;
    if (err != SP_OK)
        return cmd_failed(lab->opts, lab->data, err, &diag);
    bool whole = result.piece_ok == result.piece_count;
    sp_verify_done(&result);
    if (!whole) {
        cmd_error(lab->opts, "%s: does not match what was written", lab->data);
        return EXIT_FAILED;
    }
    return tell(lab->opts, &f);
}

static int bench_transfer(struct lab *lab)
{
    struct figures f = {.name = "transfer", .what = "seed and download over loopback, both sides"};
    struct lab_opts get;
    struct transfer t;
    double cpu = 0;
    int code = EXIT_DONE;

    if (!lab->mi)
        code = lab_make_torrent(lab);
    if (code == EXIT_DONE)
        code = lab_seed(lab);
    if (code != EXIT_DONE)
        return code;
    lab_opts_init(&get, lab, 0, true);
    transfer_init(&t, &get.opts, TRANSFER_GET);
    code = transfer_load(&t, lab->torrent);
    cpu = cpu_seconds();
    if (code == EXIT_DONE)
        code = transfer_start(&t, lab->copy);
    if (code == EXIT_DONE)
        code = transfer_run(&t);
    f.cpu_seconds = cpu_seconds() - cpu;
    f.bytes = lab->mi->total_length;
    if (code == EXIT_DONE)
        f.seconds = t.torrents[0].completed_s - t.torrents[0].checked_s;
    transfer_done(&t);
    return code == EXIT_DONE ? tell(lab->opts, &f) : code;
}

int cmd_bench(const struct opts *opts)
{
    const char *which = opts->operand_count ? opts->operands[0] : NULL;
    bool hash = !which || strcmp(which, "hash") == 0;
    bool disk = !which || strcmp(which, "disk") == 0;
    bool transfer = !which || strcmp(which, "transfer") == 0;
    uint64_t size = opts_has(opts, OPT_SIZE) ? opts->value[OPT_SIZE].number : SIZE_DEFAULT;
    const char *dir = NULL;
    struct str head = {0};
    struct lab lab;
    int code;

    if (!hash && !disk && !transfer) {
        cmd_error(opts, "'%s': no such benchmark: hash, disk or transfer", which);
        return EXIT_USAGE;
    }
    if (opts_has(opts, OPT_DIR) && !(dir = cmd_dir(opts)))
        return EXIT_USAGE;
    signals_install();
    code = lab_init(&lab, opts, dir);
    if (code == EXIT_DONE)
        code = lab_make_data(&lab, size);
    str_fmt(&head, "%-9s %9s %9s %12s %11s\n", "bench", "size", "time", "rate", "CPU s/GiB");
    if (code == EXIT_DONE && !opts_has(opts, OPT_JSON) && !opts_has(opts, OPT_QUIET))
        code = cmd_print(opts, &head);
    if (code == EXIT_DONE && hash)
        code = bench_hash(&lab);
    if (code == EXIT_DONE && disk)
        code = bench_disk(&lab);
    if (code == EXIT_DONE && transfer)
        code = bench_transfer(&lab);
    lab_done(&lab);
    str_done(&head);
    return code;
}
