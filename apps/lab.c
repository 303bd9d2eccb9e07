#include "apps/lab.h"
#include "apps/signals.h"
#include "spate/create.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 1 << 20, READY_MS = 120000 };

static char *below(const char *dir, const char *name)
{
    struct str path = {0};
    str_fmt(&path, "%s/%s", dir, name);
    return path.ptr;
}

static int fail(const struct lab *lab, const char *path)
{
    cmd_error(lab->opts, "%s: %s", path, strerror(errno));
    return EXIT_FAILED;
}

int lab_init(struct lab *lab, const struct opts *opts, const char *parent)
{
    const char *tmp = getenv("TMPDIR");

    *lab = (struct lab){.opts = opts};
    if (!parent)
        parent = tmp && *tmp ? tmp : "/tmp";
    lab->dir = below(parent, "spate-XXXXXX");
    if (!mkdtemp(lab->dir)) {
        int code = fail(lab, parent);
        free(lab->dir);
        lab->dir = NULL;
        return code;
    }
    lab->data = below(lab->dir, "seed");
    lab->copy = below(lab->dir, "get");
    lab->torrent = below(lab->dir, LAB_NAME ".torrent");
    if (mkdir(lab->data, 0777) != 0 || mkdir(lab->copy, 0777) != 0)
        return fail(lab, lab->dir);
    return EXIT_DONE;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    (void)remove(path);
    return 0;
}

void lab_done(struct lab *lab)
{
    sp_client_free(lab->seeder);
    sp_metainfo_free(lab->mi);
    if (lab->dir)
        nftw(lab->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(lab->dir);
    free(lab->data);
    free(lab->copy);
    free(lab->torrent);
    *lab = (struct lab){0};
}

/* --- data --------------------------------------------------------------------------- */

/* xorshift64*: nothing that a disk or a network could compress. */
static void fill(uint64_t *words, size_t count, uint64_t *state)
{
    uint64_t x = *state;
    for (size_t i = 0; i < count; i++) {
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        words[i] = x * UINT64_C(0x2545f4914f6cdd1d);
    }
    *state = x;
}

static int make_file(const struct lab *lab, const char *dir, const char *name, uint64_t size,
                     uint64_t *state)
{
    char *path = below(dir, name);
    uint64_t *chunk = mem_need(NULL, CHUNK);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    int code = fd < 0 ? fail(lab, path) : EXIT_DONE;

    while (code == EXIT_DONE && size) {
        size_t len = size < CHUNK ? (size_t)size : CHUNK;
        fill(chunk, CHUNK / sizeof(*chunk), state);
        for (size_t done = 0; done < len && code == EXIT_DONE;) {
            ssize_t n = write(fd, (const char *)chunk + done, len - done);
            if (n < 0 && errno != EINTR)
                code = fail(lab, path);
            done += n > 0 ? (size_t)n : 0;
        }
        size -= len;
        if (signals_came())
            code = EXIT_INTERRUPTED;
    }
    if (fd >= 0 && close(fd) != 0 && code == EXIT_DONE)
        code = fail(lab, path);
    free(chunk);
    free(path);
    return code;
}

int lab_make_data(struct lab *lab, uint64_t size)
{
    static const struct {
        const char *name;
        uint64_t size;
    } small[] = {{"readme.txt", 1811}, {"notes.txt", 16384}, {"empty", 0}, {"photo.jpg", 300007}};
    char *dir = below(lab->data, LAB_NAME);
    uint64_t state = UINT64_C(0x9e3779b97f4a7c15);
    int code = mkdir(dir, 0777) == 0 ? EXIT_DONE : fail(lab, dir);

    if (code == EXIT_DONE)
        code = make_file(lab, dir, "film.mkv", size, &state);
    for (size_t i = 0; i < SP_COUNT(small) && code == EXIT_DONE; i++)
        code = make_file(lab, dir, small[i].name, small[i].size, &state);
    free(dir);
    return code;
}

/* --- torrent and seed --------------------------------------------------------------- */

static bool keep_going(void *ctx, uint64_t done_bytes, uint64_t total_bytes)
{
    (void)ctx;
    (void)done_bytes;
    (void)total_bytes;
    return !signals_came();
}

static int save(const struct lab *lab, const uint8_t *bytes, size_t len)
{
    FILE *file = fopen(lab->torrent, "wbe");
    bool ok;

    if (!file)
        return fail(lab, lab->torrent);
    ok = fwrite(bytes, 1, len, file) == len;
    ok = fclose(file) == 0 && ok;
    return ok ? EXIT_DONE : fail(lab, lab->torrent);
}

int lab_make_torrent(struct lab *lab)
{
    char *path = below(lab->data, LAB_NAME);
    struct sp_create_cfg cfg = {.path = path,
                                .version = SP_CREATE_V1,
                                .threads = (uint32_t)lab->opts->value[OPT_THREADS].number,
                                .creation_date = -1,
                                .progress = keep_going};
    struct sp_diag diag = {0};
    uint8_t *bytes = NULL;
    size_t len = 0;
    enum sp_err err = sp_create(&cfg, &bytes, &len, &diag);
    int code;

    free(path);
    if (err == SP_ECANCELED)
        return EXIT_INTERRUPTED;
    if (err == SP_OK)
        err = sp_metainfo_parse(&cmd_mem, (struct sp_slice){bytes, len}, NULL, &lab->mi, &diag);
    code = err == SP_OK ? save(lab, bytes, len) : cmd_failed(lab->opts, NULL, err, &diag);
    sp_bytes_free(bytes);
    return code;
}

/* The seeder is ready once it has checked its data. */
static int wait_ready(struct lab *lab)
{
    struct sp_client_event ev;

    for (int waited_ms = 0; waited_ms < READY_MS; waited_ms += 100) {
        struct pollfd fds[] = {{.fd = sp_client_fd(lab->seeder), .events = POLLIN},
                               {.fd = signals_fd(), .events = POLLIN}};
        poll(fds, SP_COUNT(fds), 100);
        if (signals_came())
            return EXIT_INTERRUPTED;
        while (sp_client_wait(lab->seeder, 0, &ev) == SP_OK) {
            if (ev.kind == SP_EV_ERROR) {
                cmd_error(lab->opts, "seed: %s", ev.text);
                return EXIT_FAILED;
            }
            if (ev.kind == SP_EV_CHECKED)
                return EXIT_DONE;
        }
    }
    cmd_error(lab->opts, "seed: did not get ready");
    return EXIT_FAILED;
}

int lab_seed(struct lab *lab)
{
    struct sp_client_cfg cfg;
    struct sp_client_add add = {.metainfo = lab->mi, .dir = lab->data, .read_only = true};
    struct sp_diag diag = {0};
    sp_torrent_id id;
    enum sp_err err;

    sp_client_cfg_init(&cfg);
    cfg.listen[0] = "127.0.0.1:0";
    cfg.listen_count = 1;
    cfg.reactor_count = 1;
    if (opts_has(lab->opts, OPT_MEMORY))
        cfg.memory_bytes = lab->opts->value[OPT_MEMORY].number;
    err = sp_client_new(&cfg, &lab->seeder, &diag);
    if (err == SP_OK)
        err = sp_client_add(lab->seeder, &add, &id, &diag);
    if (err != SP_OK)
        return cmd_failed(lab->opts, "seed", err, &diag);
    snprintf(lab->peer, sizeof(lab->peer), "127.0.0.1:%u", sp_client_port(lab->seeder));
    return wait_ready(lab);
}

/* --- the other side ------------------------------------------------------------------- */

void lab_opts_init(struct lab_opts *ret_opts, const struct lab *lab, uint64_t down_Bps,
                   bool is_quiet)
{
    struct opt_value *value = ret_opts->opts.value;

    *ret_opts =
        (struct lab_opts){.opts = *lab->opts, .peers = {lab->peer}, .listens = {"127.0.0.1:0"}};
    value[OPT_PEER] = (struct opt_value){.is_given = true, .list = ret_opts->peers, .count = 1};
    value[OPT_LISTEN] = (struct opt_value){.is_given = true, .list = ret_opts->listens, .count = 1};
    value[OPT_NO_STATE].is_given = true;
    value[OPT_DOWN] = (struct opt_value){.is_given = true, .number = down_Bps};
    value[OPT_QUIET].is_given |= is_quiet;
    if (is_quiet)
        value[OPT_JSON].is_given = false;
    value[OPT_THREADS].is_given = false; /* those of hashing */
}

/* 0 equal, 1 different, -1 errno. */
static int compare_files(const char *a, const char *b)
{
    char *one = mem_need(NULL, CHUNK), *two = mem_need(NULL, CHUNK);
    FILE *fa = fopen(a, "rbe"), *fb = fa ? fopen(b, "rbe") : NULL;
    int result = fa && fb ? 0 : -1;

    while (result == 0) {
        size_t n = fread(one, 1, CHUNK, fa), m = fread(two, 1, CHUNK, fb);
        if (ferror(fa) || ferror(fb))
            result = -1;
        else if (n != m || memcmp(one, two, n) != 0)
            result = 1;
        else if (n == 0)
            break;
    }
    if (fa)
        fclose(fa);
    if (fb)
        fclose(fb);
    free(one);
    free(two);
    return result;
}

int lab_compare(struct lab *lab)
{
    int code = EXIT_DONE;

    for (uint32_t i = 0; i < lab->mi->file_count && code == EXIT_DONE; i++) {
        const struct sp_file *file = &lab->mi->files[i];
        char *a = below(lab->data, file->path), *b = below(lab->copy, file->path);
        int result = compare_files(a, b);
        if (result < 0) {
            code = fail(lab, b);
        } else if (result > 0) {
            cmd_error(lab->opts, "%s: differs from the original", b);
            code = EXIT_INCOMPLETE;
        }
        free(a);
        free(b);
        if (signals_came())
            code = EXIT_INTERRUPTED;
    }
    return code;
}
