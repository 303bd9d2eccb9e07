/* Whole downloads of a session from scripted web servers, in virtual time: the
 * test is shell, disk and server. */
#include "check.h"
#include "core/base/out.h"
#include "core/base/rng.h"
#include "core/base/sha1.h"
#include "core/session/session.h"
#include "torture.h"

enum { PIECE_LEN = 64 * 1024, FILES = 6, FETCHES = 16, TORRENT = 7 };

/* What a server does wrong, of 1000 requests each. */
struct faults {
    uint32_t fails, busy, cuts, corrupts, silent, whole;
    bool lacks_file; /* the third is 404 */
};

struct fetch {
    struct sp_conn *conn;
    bool used, has_request;
    uint64_t from, to; /* torrent offsets, of what is to come */
    uint32_t file;
    bool headed, corrupt, silent, paused;
    int status;
    uint64_t cut_at; /* the answer breaks there */
};

struct world {
    struct sp_session *s;
    struct sp_metainfo *mi;
    struct sp_rng rng;
    struct faults faults;
    uint8_t *data, *disk;
    uint64_t len;
    struct fetch fetches[FETCHES];
    sp_time_ns now;
    uint32_t requests, warnings, most_at_once;
    bool complete, broken;
    bool by_piece; /* BEP 17 */
};

static struct torture plain = {.until_failure = -1};
static const struct sp_mem MEM = {torture_alloc, torture_free, &plain};

static const uint64_t LENGTHS[FILES] = {70000, 0, 200001, 61071, 16384, 2000000};
static const bool IS_PAD[FILES] = {false, false, false, true, false, false};

static void hash(struct sp_slice bytes, uint8_t digest[SP_SHA1_LEN])
{
    sp_sha1_of(bytes.ptr, bytes.len, digest);
}

static struct sp_metainfo *make(struct world *w, const struct sp_mem *mem)
{
    static uint8_t text[16384];
    static const char *const NAMES[FILES] = {"a b", "empty", "c#", "pad", "d", "e\xc3\xa9"};
    struct sp_out o = sp_out_of(text, sizeof(text));
    uint32_t pieces = (uint32_t)((w->len + PIECE_LEN - 1) / PIECE_LEN);
    struct sp_metainfo *mi = NULL;
    struct sp_diag diag = {0};

    sp_out_str(&o, "d");
    sp_out_str(&o, w->by_piece ? "9:httpseeds18:http://h.test/seed" : "");
    sp_out_str(&o, "4:infod5:filesl");
    for (int i = 0; i < FILES; i++) {
        sp_out_str(&o, IS_PAD[i] ? "d4:attr1:p6:lengthi" : "d6:lengthi");
        sp_out_dec(&o, LENGTHS[i]);
        sp_out_str(&o, "e4:pathl");
        sp_out_dec(&o, strlen(NAMES[i]));
        sp_out_str(&o, ":");
        sp_out_str(&o, NAMES[i]);
        sp_out_str(&o, "ee");
    }
    sp_out_str(&o, "e4:name1:n12:piece lengthi65536e6:pieces");
    sp_out_dec(&o, (uint64_t)pieces * SP_SHA1_LEN);
    sp_out_str(&o, ":");
    for (uint32_t p = 0; p < pieces; p++) {
        uint8_t digest[SP_SHA1_LEN];
        uint64_t off = (uint64_t)p * PIECE_LEN;
        hash((struct sp_slice){w->data + off, w->len - off < PIECE_LEN ? w->len - off : PIECE_LEN},
             digest);
        sp_out_bytes(&o, digest, sizeof(digest));
    }
    sp_out_str(&o, "e");
    sp_out_str(&o, w->by_piece ? "" : "8:url-list14:http://h.test/");
    sp_out_str(&o, "e");
    if (sp_metainfo_parse(mem, (struct sp_slice){text, o.len}, NULL, &mi, &diag) != SP_OK)
        printf("# %s\n", diag.text);
    return mi;
}

/* ---- shell and server ---- */

static bool chance(struct world *w, uint32_t permille)
{
    return sp_rng_below(&w->rng, 1000) < permille;
}

static struct fetch *fetch_of(struct world *w, struct sp_effect *fx)
{
    if (fx->user || !fx->conn)
        return fx->user;
    for (int i = 0; i < FETCHES; i++) {
        if (w->fetches[i].used)
            continue;
        w->fetches[i] = (struct fetch){.conn = fx->conn, .used = true};
        sp_conn_set_user(fx->conn, &w->fetches[i]);
        return &w->fetches[i];
    }
    w->broken = true;
    return NULL;
}

static uint64_t number_after(const char *url, const char *key)
{
    const char *at = strstr(url, key);
    return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

/* Which file, and that it is a good question. */
static void ask(struct world *w, struct fetch *f, const struct sp_web_action *a)
{
    static const char *const ENDS[FILES] = {"/n/a%20b", NULL,   "/n/c%23",
                                            NULL,       "/n/d", "/n/e%C3%A9"};

    f->has_request = true;
    f->headed = f->silent = f->paused = false;
    w->requests++;
    if (w->by_piece) {
        uint64_t base = number_after(a->url, "&piece=") * PIECE_LEN;
        const char *dash = strstr(a->url, "&ranges=");
        uint64_t end = base + PIECE_LEN < w->len ? base + PIECE_LEN : w->len;
        f->from = base + number_after(a->url, "&ranges=");
        f->to = dash ? base + number_after(dash, "-") + 1 : end;
        w->broken |= a->has_range || f->from >= f->to || f->to > end;
        f->file = 0;
    } else {
        f->file = FILES;
        for (uint32_t i = 0; i < FILES; i++)
            if (ENDS[i] && strcmp(a->url + strlen("http://h.test"), ENDS[i]) == 0)
                f->file = i;
        if (f->file == FILES || !a->has_range || a->from >= a->to || a->to > LENGTHS[f->file]) {
            printf("# asks for %s %d\n", a->url, (int)f->file);
            w->broken = true;
            f->has_request = false;
            return;
        }
        f->from = w->mi->files[f->file].offset + a->from;
        f->to = w->mi->files[f->file].offset + a->to;
    }
    f->corrupt = chance(w, w->faults.corrupts);
    f->silent = chance(w, w->faults.silent);
    f->cut_at =
        chance(w, w->faults.cuts) ? f->from + sp_rng_below(&w->rng, f->to - f->from) : f->to;
    f->status = chance(w, w->faults.fails)             ? 500
                : chance(w, w->faults.busy)            ? 503
                : w->faults.lacks_file && f->file == 2 ? 404
                : w->by_piece                          ? 200
                                                       : 206;
}

static void do_job(struct world *w, struct sp_job *job)
{
    if (job->kind == SP_JOB_HASH) {
        struct sp_sha1 h;
        sp_sha1_init(&h);
        for (uint32_t i = 0; i < job->iov_count; i++)
            sp_sha1_add(&h, job->iov[i].ptr, job->iov[i].len);
        sp_sha1_end(&h, job->digest);
        for (uint32_t i = 0; job->want_prints && i < job->iov_count; i++)
            job->prints[i] = job->iov[i].ptr[0];
    }
    uint64_t off = job->off;
    for (uint32_t i = 0; job->kind == SP_JOB_WRITE && i < job->iov_count; i++) {
        memcpy(w->disk + off, job->iov[i].ptr, job->iov[i].len);
        off += job->iov[i].len;
    }
    sp_session_job_done(w->s, job, SP_OK, NULL, w->now);
}

static void effect(struct world *w, struct sp_effect *fx)
{
    if (fx->kind == SP_FX_JOB)
        do_job(w, fx->job);
    if (fx->kind == SP_FX_EVENT) {
        w->complete |= fx->event.kind == SP_EV_COMPLETE;
        w->warnings += fx->event.kind == SP_EV_WARNING;
    }
    if (fx->kind != SP_FX_WEB)
        return;
    struct fetch *f = fetch_of(w, fx);
    if (!f)
        return;
    switch (fx->web.kind) {
    case SP_WEB_GET:
        ask(w, f, &fx->web);
        break;
    case SP_WEB_RESUME:
        f->paused = false;
        break;
    case SP_WEB_STOP:
        f->has_request = false;
        break;
    case SP_WEB_CLOSE:
        *f = (struct fetch){0};
        break;
    }
}

static void head(struct world *w, struct fetch *f)
{
    char range[64];
    uint64_t base = w->mi->files[f->file].offset;
    snprintf(range, sizeof(range), "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, f->from - base,
             f->to - 1 - base, LENGTHS[f->file]);
    struct sp_web_head told = {.status = f->status,
                               .content_len = f->status == 206 ? f->to - f->from : UINT64_MAX,
                               .content_range = {(uint8_t *)range, strlen(range)}};
    f->headed = true;
    sp_web_answered(f->conn, &told, w->now);
}

/* One step of one answer. */
static void answer(struct world *w, struct fetch *f)
{
    uint8_t bytes[20000];
    if (!f->has_request || f->silent || f->paused)
        return;
    if (!f->headed) {
        head(w, f);
        return;
    }
    bool good = f->status < 300;
    uint64_t left = f->cut_at - f->from, n = sp_rng_below(&w->rng, sizeof(bytes)) + 1;
    if (n > left)
        n = left;
    if (!good || n == 0) {
        f->has_request = false;
        sp_web_ended(f->conn, f->cut_at < f->to && good ? "cut" : NULL, w->now);
        return;
    }
    memcpy(bytes, w->data + f->from, n);
    if (f->corrupt)
        bytes[0] ^= 1;
    if (sp_web_body(f->conn, (struct sp_slice){bytes, n}, w->now))
        f->from += n;
    else
        f->paused = true;
}

static void pump(struct world *w)
{
    struct sp_effect fx = {0};
    for (int i = 0; i < 100000 && sp_session_next(w->s, &fx, w->now); i++)
        effect(w, &fx);
    const char *why = sp_session_broken(w->s);
    if (why) {
        printf("# %s\n", why);
        w->broken = true;
    }
}

static void step(struct world *w)
{
    uint32_t busy = 0;
    for (int i = 0; i < FETCHES; i++) {
        if (w->fetches[i].used)
            answer(w, &w->fetches[i]);
        pump(w);
        busy += w->fetches[i].used;
    }
    w->most_at_once = busy > w->most_at_once ? busy : w->most_at_once;
    w->now += 5 * SP_MS_NS;
    if (sp_session_deadline(w->s) <= w->now)
        sp_session_tick(w->s, w->now);
    pump(w);
}

/* ---- runs ---- */

struct run {
    const char *what;
    struct faults faults;
    bool by_piece;
    uint64_t down_Bps;
    uint32_t memory;
    uint64_t patience_s;
};

static bool begin(struct world *w, const struct run *run, uint64_t seed, const struct sp_mem *mem)
{
    *w = (struct world){.rng = sp_rng_of(seed), .faults = run->faults, .by_piece = run->by_piece};
    w->now = SP_SECOND_NS;
    for (int i = 0; i < FILES; i++)
        w->len += LENGTHS[i];
    w->data = calloc(1, w->len);
    w->disk = calloc(1, w->len);
    sp_rng_bytes(&w->rng, w->data, w->len);
    memset(w->data + 70000 + 200001, 0, 61071); /* the pad file */
    w->mi = make(w, &MEM);
    struct sp_session_cfg cfg = {.mem = mem,
                                 .seed = seed,
                                 .client_name = "test",
                                 .memory_bytes = run->memory ? run->memory : 8 << 20,
                                 .down_Bps = run->down_Bps,
                                 .conn_max = 100,
                                 .torrent_conn_max = 50,
                                 .half_open_max = 8};
    struct sp_session_add add = {.metainfo = w->mi};
    if (!w->mi || sp_session_new(&cfg, w->now, &w->s) != SP_OK)
        return false;
    if (sp_session_add(w->s, TORRENT, &add, w->now) != SP_OK)
        return false;
    sp_torrent_checked(w->s, TORRENT, NULL, w->now);
    pump(w);
    return true;
}

static void end(struct world *w)
{
    sp_session_free(w->s);
    sp_metainfo_free(w->mi);
    free(w->data);
    free(w->disk);
}

static const struct run runs[] = {
    {.what = "good", .patience_s = 60},
    {.what = "by piece", .by_piece = true, .patience_s = 60},
    {.what = "little memory", .memory = 3 << 20, .patience_s = 60},
    {.what = "limited", .down_Bps = 500000, .patience_s = 60},
    {.what = "fails", .faults = {.fails = 200}, .patience_s = 600},
    {.what = "busy", .faults = {.busy = 200}, .patience_s = 1200},
    {.what = "cut", .faults = {.cuts = 300}, .patience_s = 600},
    {.what = "silent", .faults = {.silent = 100}, .patience_s = 1200},
    {.what = "all of it", .faults = {100, 100, 100, 0, 50, 0, false}, .patience_s = 6000},
    {.what = "by piece, all of it",
     .faults = {50, 20, 50, 0, 20, 0, false},
     .by_piece = true,
     .patience_s = 6000},
};

TEST(downloads_end_whole)
{
    for (size_t r = 0; r < SP_COUNT(runs); r++) {
        for (uint64_t seed = 1; seed <= 8; seed++) {
            struct world w;
            CHECK(begin(&w, &runs[r], seed, &MEM));
            sp_time_ns until = w.now + runs[r].patience_s * SP_SECOND_NS;
            while (!w.complete && !w.broken && w.now < until)
                step(&w);
            CHECK(w.complete && !w.broken && memcmp(w.data, w.disk, w.len) == 0);
            if (!w.complete || w.broken)
                printf("# %s, seed %d\n", runs[r].what, (int)seed);
            CHECK(w.most_at_once <= 4);
            for (int i = 0; i < 300; i++)
                step(&w);
            for (int i = 0; i < FETCHES; i++)
                CHECK(!w.fetches[i].used); /* nothing is kept when nothing is wanted */
            end(&w);
        }
    }
}

TEST(limit_holds)
{
    struct world w;
    CHECK(begin(&w, &runs[3], 3, &MEM));
    sp_time_ns from = w.now;
    while (!w.complete && w.now < from + 60 * SP_SECOND_NS)
        step(&w);
    CHECK((w.now - from) / SP_SECOND_NS >= w.len / 500000 - 2);
    end(&w);
}

TEST(corrupt_seed_is_given_up)
{
    struct run run = {.faults = {.corrupts = 1000}};
    struct world w;
    CHECK(begin(&w, &run, 5, &MEM));
    for (int i = 0; i < 2000; i++)
        step(&w);
    CHECK(!w.complete && !w.broken);
    CHECK_EQ(w.warnings, 1);
    uint32_t asked = w.requests;
    CHECK(asked >= 1 && asked <= 20);
    for (int i = 0; i < 2000; i++)
        step(&w);
    CHECK_EQ(w.requests, asked);
    end(&w);
}

TEST(missing_file_costs_only_its_pieces)
{
    struct run run = {.faults = {.lacks_file = true}};
    struct world w;
    CHECK(begin(&w, &run, 6, &MEM));
    for (int i = 0; i < 4000; i++)
        step(&w);
    CHECK(!w.complete && !w.broken);
    CHECK_EQ(w.warnings, 1);
    const struct sp_file *lost = &w.mi->files[2];
    const struct sp_bits *have = sp_torrent_have(w.s, TORRENT);
    for (uint32_t p = 0; p < w.mi->piece_count; p++)
        CHECK_EQ(sp_bits_get(have, p), p < lost->piece_first || p >= lost->piece_end);
    end(&w);
}

TEST(pause_ends_requests)
{
    struct run run = {0};
    struct world w;
    CHECK(begin(&w, &run, 7, &MEM));
    for (int i = 0; i < 5; i++)
        step(&w);
    sp_torrent_pause(w.s, TORRENT, w.now);
    pump(&w);
    for (int i = 0; i < FETCHES; i++)
        CHECK(!w.fetches[i].used);
    sp_torrent_resume(w.s, TORRENT, w.now);
    for (int i = 0; i < 2000 && !w.complete; i++)
        step(&w);
    CHECK(w.complete && !w.broken);
    end(&w);
}

/* Each allocation fails once: no harm, and the download goes on. */
TEST(allocations_fail)
{
    struct run run = {.faults = {.fails = 50, .lacks_file = false}};
    for (int n = 0; n < 400; n += 7) {
        struct torture t = {.until_failure = -1};
        struct sp_mem mem = {torture_alloc, torture_free, &t};
        struct world w;
        if (begin(&w, &run, 9, &mem)) {
            t.until_failure = n;
            sp_time_ns until = w.now + 600 * SP_SECOND_NS;
            while (!w.complete && !w.broken && w.now < until)
                step(&w);
            CHECK(w.complete && !w.broken);
        }
        end(&w);
        CHECK_EQ(t.live, 0);
    }
}

int main(void)
{
    return check_run();
}
