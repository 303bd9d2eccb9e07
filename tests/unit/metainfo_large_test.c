/* Large and hostile torrents: time and memory in proportion to their size.
 * Bounds are wide: this runs with sanitizers and beside other work. */
#include <stdlib.h>
#include <time.h>

#include "check.h"
#include "core/base/out.h"
#include "spate/bencode.h"
#include "spate/metainfo.h"

enum { SECONDS_MAX = 8 }; /* of CPU; a release build needs less than one */

struct meter {
    size_t now, peak;
};

static void *meter_alloc(void *ctx, size_t size)
{
    struct meter *m = ctx;
    size_t *p = calloc(1, size + 16);
    if (!p)
        return NULL;
    *p = size;
    m->now += size;
    m->peak = m->now > m->peak ? m->now : m->peak;
    return p + 2;
}

static void meter_free(void *ctx, void *ptr)
{
    struct meter *m = ctx;
    size_t *p = ptr;
    if (!p)
        return;
    m->now -= p[-2];
    free(p - 2);
}

/* A torrent whose file i is called by name(i). */
typedef size_t name_fn(uint32_t ix, char *out);

static void write_torrent(struct sp_ben_writer *w, uint32_t files, uint32_t pieces, name_fn *name,
                          uint32_t per_dir, const uint8_t *hashes)
{
    static char dir[8], text[512];
    uint64_t total = (uint64_t)pieces * 16384;

    sp_ben_put_dict(w);
    sp_ben_put_key(w, "info");
    sp_ben_put_dict(w);
    sp_ben_put_key(w, "files");
    sp_ben_put_list(w);
    for (uint32_t i = 0; i < files; i++) {
        struct sp_out o = sp_out_of((uint8_t *)dir, sizeof(dir));
        sp_out_str(&o, "dir");
        sp_out_dec(&o, i / per_dir);
        sp_ben_put_dict(w);
        sp_ben_put_key(w, "length");
        sp_ben_put_int(w, (int64_t)(i ? total / files : total / files + total % files));
        sp_ben_put_key(w, "path");
        sp_ben_put_list(w);
        sp_ben_put_str(w, (struct sp_slice){(uint8_t *)dir, o.len});
        sp_ben_put_str(w, (struct sp_slice){(uint8_t *)text, name(i, text)});
        sp_ben_put_end(w);
        sp_ben_put_end(w);
    }
    sp_ben_put_end(w);
    sp_ben_put_key(w, "name");
    sp_ben_put_text(w, "large");
    sp_ben_put_key(w, "piece length");
    sp_ben_put_int(w, 16384);
    sp_ben_put_key(w, "pieces");
    sp_ben_put_str(w, (struct sp_slice){hashes, (size_t)pieces * SP_SHA1_LEN});
    sp_ben_put_end(w);
    sp_ben_put_end(w);
}

static struct sp_slice make_torrent(uint32_t files, uint32_t pieces, name_fn *name,
                                    uint32_t per_dir)
{
    size_t len = 0;
    uint8_t *hashes = calloc(pieces, SP_SHA1_LEN);
    struct sp_ben_writer w = sp_ben_writer_of(NULL, 0);
    write_torrent(&w, files, pieces, name, per_dir, hashes);
    CHECK_EQ(sp_ben_writer_end(&w, &len), SP_ELIMIT);
    uint8_t *buf = malloc(len);
    w = sp_ben_writer_of(buf, len);
    write_torrent(&w, files, pieces, name, per_dir, hashes);
    CHECK_EQ(sp_ben_writer_end(&w, &len), SP_OK);
    free(hashes);
    return (struct sp_slice){buf, len};
}

/* Parses, tells what it took, and frees. */
static enum sp_err measure(const char *what, struct sp_slice in, struct meter *meter,
                           size_t *ret_kept, struct sp_metainfo **ret_mi)
{
    static struct sp_mem mem;
    struct sp_diag diag = {0};
    clock_t start = clock();

    mem = (struct sp_mem){meter_alloc, meter_free, meter};
    enum sp_err err = sp_metainfo_parse(&mem, in, NULL, ret_mi, &diag);
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    *ret_kept = meter->now;
    printf("# %s: %zu bytes, %.3f s, peak %.2f, kept %.2f of the file's size%s%s\n", what, in.len,
           seconds, (double)meter->peak / (double)in.len, (double)*ret_kept / (double)in.len,
           err == SP_OK ? "" : ": ", diag.text);
    CHECK(seconds < SECONDS_MAX);
    return err;
}

static size_t plain_name(uint32_t ix, char *out)
{
    struct sp_out o = sp_out_of((uint8_t *)out, 512);
    sp_out_str(&o, "some file ");
    sp_out_dec(&o, ix);
    sp_out_str(&o, ".data");
    return o.len;
}

TEST(metainfo_of_a_million_pieces)
{
    struct meter meter = {0};
    struct sp_metainfo *mi = NULL;
    size_t kept;
    struct sp_slice in = make_torrent(100000, 1000000, plain_name, 1000);

    CHECK_EQ(measure("1,000,000 pieces, 100,000 files", in, &meter, &kept, &mi), SP_OK);
    CHECK(meter.peak < in.len * 3);
    CHECK(kept < in.len * 2);
    if (mi) {
        CHECK_EQ(mi->piece_count, 1000000);
        CHECK_EQ(mi->file_count, 100000);
        CHECK_EQ(sp_metainfo_file_at(mi, mi->total_length - 1), 99999);
    }
    sp_metainfo_free(mi);
    CHECK_EQ(meter.now, 0);
    uint8_t *bytes = (uint8_t *)(uintptr_t)in.ptr;
    free(bytes);
}

/* All the same but for case: 2^17 spellings of one name. */
static size_t case_name(uint32_t ix, char *out)
{
    for (uint32_t bit = 0; bit < 17; bit++)
        out[bit] = ix >> bit & 1 ? 'A' : 'a';
    return 17;
}

/* 255 bytes, in pairs that differ by case, with an equal beginning: marks make
 * all of them alike where they are cut. */
static size_t long_name(uint32_t ix, char *out)
{
    memset(out, 'x', 255);
    for (uint32_t i = 0; i < 3; i++)
        out[254 - i] =
            "0123456789bcdefghijklmnopqrstuvwxyz!#%&'()+,-;=@[]^_`{}~"[ix / 2 >> 5 * i & 31];
    out[0] = ix & 1 ? 'X' : 'x';
    return 255;
}

TEST(metainfo_of_names_that_collide)
{
    static const struct {
        const char *what;
        name_fn *name;
    } cases[] = {{"names of one folding", case_name}, {"long pairs", long_name}};

    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        struct meter meter = {0};
        struct sp_metainfo *mi = NULL;
        size_t kept;
        struct sp_slice in = make_torrent(60000, 10, cases[i].name, 60000);
        CHECK_EQ(measure(cases[i].what, in, &meter, &kept, &mi), SP_OK);
        sp_metainfo_free(mi);
        CHECK_EQ(meter.now, 0);
        uint8_t *bytes = (uint8_t *)(uintptr_t)in.ptr;
        free(bytes);
    }
}

/* Goal: what a file claims costs nothing, what it holds costs in proportion. */
TEST(metainfo_of_100_mib_of_noise)
{
    enum { LEN = 100 << 20 };
    static const struct {
        const char *what, *head, *unit;
        enum sp_err err;
        size_t peak_max;
    } cases[] = {
        {"lists", "d2:aal", "le", SP_ELIMIT, LEN + 4096},
        {"nesting", "d1:a", "l", SP_ELIMIT, LEN + 4096},
        {"a long string", "d1:a9999999999:", "x", SP_ELIMIT, LEN + 4096},
        {"digits", "d1:ai", "1", SP_EDATA, LEN + 4096},
        {"zeros", "d", "\0", SP_EDATA, LEN + 4096},
    };
    uint8_t *bytes = malloc(LEN);
    for (size_t i = 0; i < SP_COUNT(cases); i++) {
        struct meter meter = {0};
        struct sp_metainfo *mi = NULL;
        size_t kept, head = strlen(cases[i].head), unit = strlen(cases[i].unit);
        unit = unit ? unit : 1;
        for (size_t k = 0; k + unit <= LEN; k += unit)
            memcpy(bytes + k, cases[i].unit, unit);
        memcpy(bytes, cases[i].head, head);
        CHECK_EQ(measure(cases[i].what, (struct sp_slice){bytes, LEN}, &meter, &kept, &mi),
                 cases[i].err);
        CHECK(meter.peak <= cases[i].peak_max);
        CHECK_EQ(meter.now, 0);
    }
    free(bytes);
}

int main(void)
{
    return check_run();
}
