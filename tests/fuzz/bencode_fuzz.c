/* Properties: tokens nest and stay inside; counting and reading agree; strict
 * is a subset of lax; what is read and written again is the same bytes. */
#include <stdlib.h>
#include <string.h>

#include "spate/bencode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { CAP = 4096, OUT_CAP = 1 << 16 };

static void expect(bool ok)
{
    if (!ok)
        abort();
}

/* Writes the value at token ix again, from what the lookups tell. */
static void rewrite(struct sp_ben_writer *w, const struct sp_ben *b, uint32_t ix)
{
    struct sp_slice s;
    int64_t v;
    if (sp_ben_str(b, ix, &s)) {
        sp_ben_put_str(w, s);
    } else if (sp_ben_is(b, ix, SP_BEN_INT)) {
        if (sp_ben_int(b, ix, INT64_MIN, INT64_MAX, &v)) {
            sp_ben_put_int(w, v);
        } else {
            struct sp_slice raw = {b->in.ptr + b->toks[ix].off - 1, b->toks[ix].len + 2u};
            sp_ben_put_raw(w, raw);
        }
    } else if (sp_ben_is(b, ix, SP_BEN_LIST)) {
        sp_ben_put_list(w);
        for (uint32_t i = sp_ben_first(b, ix); i != SP_BEN_NONE; i = sp_ben_next(b, ix, i))
            rewrite(w, b, i);
        sp_ben_put_end(w);
    } else {
        sp_ben_put_dict(w);
        for (uint32_t i = sp_ben_first(b, ix); i != SP_BEN_NONE; i = sp_ben_next(b, ix, i)) {
            expect(sp_ben_str(b, i, &s));
            sp_ben_put_key_str(w, s);
            rewrite(w, b, i + 1);
        }
        sp_ben_put_end(w);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static struct sp_ben_tok toks[CAP];
    static uint8_t out[OUT_CAP];
    struct sp_ben_limits limits = {.depth_max = 40, .tok_max = CAP};
    struct sp_slice in = {.ptr = data, .len = len};
    struct sp_ben ben = {0}, again = {0};
    struct sp_diag diag = {.off = UINT64_MAX};

    enum sp_err err = sp_ben_read(in, &limits, toks, &ben, &diag);
    expect(sp_ben_read(in, &limits, NULL, &again, NULL) == err);
    expect(err == SP_OK || (diag.err == err && diag.off <= len && diag.text[0]));
    limits.strict = true;
    enum sp_err strict = sp_ben_read(in, &limits, NULL, &again, NULL);
    expect(strict != SP_OK || err == SP_OK);
    if (err != SP_OK)
        return 0;

    expect(ben.count > 0 && ben.count <= CAP && ben.end <= len);
    for (uint32_t i = 0; i < ben.count; i++) {
        expect(toks[i].next > i && toks[i].next <= ben.count);
        expect((size_t)toks[i].off + toks[i].len <= ben.end);
    }
    /* A value ends where it ends: cut to its span it reads the same, one byte less does not. */
    in.len = ben.end;
    limits.strict = false;
    expect(sp_ben_read(in, &limits, NULL, &again, NULL) == SP_OK && again.count == ben.count);
    in.len = ben.end - 1;
    expect(sp_ben_read(in, &limits, NULL, &again, NULL) == SP_AGAIN);

    struct sp_ben_writer w = sp_ben_writer_of(out, sizeof(out));
    size_t out_len = 0;
    rewrite(&w, &ben, 0);
    err = sp_ben_writer_end(&w, &out_len);
    expect((err == SP_EINVAL) == (strict != SP_OK));
    if (err == SP_OK)
        expect(out_len == ben.end && memcmp(out, data, out_len) == 0);
    return 0;
}
