#include "spate/bencode.h"

#include <assert.h>
#include <string.h>

#include "core/base/cur.h"

/* BEP-0003 sets no bound on a string; ours is what a token can address. */
#define IN_LEN_MAX (UINT32_MAX - 16u)

struct frame {
    uint32_t tok;              /* index of the LIST or DICT */
    uint32_t key_off, key_len; /* DICT: the last key, for the order */
    uint8_t kind;              /* enum sp_ben_kind */
    bool wants_value;          /* DICT: a key was read, its value was not */
    bool has_key;              /* DICT: there was a key */
};

struct reader {
    struct sp_cur cur;
    const uint8_t *base;
    struct sp_ben_tok *toks; /* NULL: counting only */
    uint32_t tok_count, tok_max;
    uint32_t depth, depth_max;
    bool strict;
    size_t bad_off; /* where the first failure is */
    const char *reason;
    struct frame open[SP_BEN_DEPTH_CAP];
};

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

static void fail(struct reader *r, enum sp_err err, const uint8_t *at, const char *reason)
{
    if (r->cur.err != SP_OK)
        return;
    r->bad_off = (size_t)(at - r->base);
    r->reason = reason;
    sp_cur_fail(&r->cur, err);
}

static void ends_early(struct reader *r)
{
    fail(r, SP_AGAIN, r->cur.end, "ends inside a value");
}

/* "0" or [1-9][0-9]*, then the stop byte; leaves the position after that. */
static struct sp_slice read_digits(struct reader *r, uint8_t stop, const char *reason)
{
    const uint8_t *text = r->cur.pos, *p = text, *end = r->cur.end;

    while (p < end && is_digit(*p))
        p++;
    if (p - text > 1 && *text == '0')
        fail(r, SP_EDATA, text, "number has a leading zero");
    else if (p == end)
        ends_early(r);
    else if (*p != stop || p == text)
        fail(r, SP_EDATA, p, reason);
    if (r->cur.err != SP_OK)
        return (struct sp_slice){0};
    r->cur.pos = p + 1;
    return (struct sp_slice){.ptr = text, .len = (size_t)(p - text)};
}

/* Digits only; false when above max. */
static bool decimal(struct sp_slice digits, uint64_t max, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (size_t i = 0; i < digits.len; i++) {
        uint64_t digit = (uint64_t)(digits.ptr[i] - '0');
        if (value > max / 10 || value * 10 > max - digit)
            return false;
        value = value * 10 + digit;
    }
    *ret_value = value;
    return true;
}

static void push(struct reader *r, enum sp_ben_kind kind, const uint8_t *at, size_t len)
{
    if (r->tok_count == r->tok_max) {
        fail(r, SP_ELIMIT, at, "has too many values");
        return;
    }
    uint32_t ix = r->tok_count++;
    if (r->toks)
        r->toks[ix] = (struct sp_ben_tok){.off = (uint32_t)(at - r->base),
                                          .len = (uint32_t)len,
                                          .next = r->tok_count,
                                          .kind = (uint8_t)kind};
}

static void read_int(struct reader *r)
{
    const uint8_t *text = ++r->cur.pos; /* past the 'i' */
    bool negative = text < r->cur.end && *text == '-';

    if (negative)
        r->cur.pos++;
    struct sp_slice digits = read_digits(r, 'e', "integer has a byte that is no digit");
    if (r->cur.err != SP_OK)
        return;
    /* BEP-0003: "i-0e is invalid." */
    if (negative && digits.ptr[0] == '0')
        fail(r, SP_EDATA, text, "integer is -0");
    else
        push(r, SP_BEN_INT, text, digits.len + negative);
}

static struct sp_slice read_str(struct reader *r)
{
    const uint8_t *start = r->cur.pos;
    struct sp_slice digits = read_digits(r, ':', "string length has a byte that is no digit");
    uint64_t len = 0;

    if (r->cur.err != SP_OK)
        return digits;
    if (!decimal(digits, IN_LEN_MAX, &len))
        fail(r, SP_ELIMIT, start, "string length is too large");
    else if (len > sp_cur_left(&r->cur))
        fail(r, SP_AGAIN, start, "string is longer than what is there");
    struct sp_slice text = sp_cur_take(&r->cur, (size_t)len);
    if (r->cur.err == SP_OK)
        push(r, SP_BEN_STR, text.ptr, text.len);
    return text;
}

static void open_container(struct reader *r, enum sp_ben_kind kind)
{
    if (r->depth == r->depth_max) {
        fail(r, SP_ELIMIT, r->cur.pos, "is nested too deep");
        return;
    }
    r->open[r->depth++] = (struct frame){.tok = r->tok_count, .kind = (uint8_t)kind};
    push(r, kind, r->cur.pos++, 0);
}

static void close_container(struct reader *r)
{
    assert(r->depth > 0);
    struct frame *f = &r->open[r->depth - 1];

    if (f->wants_value) {
        fail(r, SP_EDATA, r->cur.pos, "key has no value");
        return;
    }
    r->cur.pos++;
    r->depth--;
    if (r->toks) {
        struct sp_ben_tok *tok = &r->toks[f->tok];
        tok->len = (uint32_t)(r->cur.pos - r->base) - tok->off;
        tok->next = r->tok_count;
    }
}

static int compare(const uint8_t *a, size_t a_len, const uint8_t *b, size_t b_len)
{
    size_t len = a_len < b_len ? a_len : b_len;
    int order = len ? memcmp(a, b, len) : 0;
    return order != 0 ? order : (a_len > b_len) - (a_len < b_len);
}

static void read_key(struct reader *r, struct frame *f)
{
    const uint8_t *start = r->cur.pos;
    if (!is_digit(*start)) {
        fail(r, SP_EDATA, start, "key is no string");
        return;
    }
    struct sp_slice key = read_str(r);
    if (r->cur.err != SP_OK)
        return;
    /* BEP-0003: "Keys must be strings and appear in sorted order (sorted as
     * raw strings, not alphanumerics)." */
    if (r->strict && f->has_key) {
        int order = compare(r->base + f->key_off, f->key_len, key.ptr, key.len);
        if (order >= 0)
            fail(r, SP_EDATA, start, order ? "keys are not in order" : "key is there twice");
    }
    f->key_off = (uint32_t)(key.ptr - r->base);
    f->key_len = (uint32_t)key.len;
    f->has_key = f->wants_value = true;
}

/* One value, key or closing 'e'; all branching on the grammar is here. */
static void read_one(struct reader *r)
{
    struct frame *in = r->depth ? &r->open[r->depth - 1] : NULL;

    if (sp_cur_left(&r->cur) == 0) {
        ends_early(r);
        return;
    }
    uint8_t byte = *r->cur.pos;
    if (byte == 'e' && in) {
        close_container(r);
        return;
    }
    if (in && in->kind == SP_BEN_DICT && !in->wants_value) {
        read_key(r, in);
        return;
    }
    if (in)
        in->wants_value = false;

    if (byte == 'i')
        read_int(r);
    else if (byte == 'l')
        open_container(r, SP_BEN_LIST);
    else if (byte == 'd')
        open_container(r, SP_BEN_DICT);
    else if (is_digit(byte))
        (void)read_str(r);
    else
        fail(r, SP_EDATA, r->cur.pos, "byte begins no value");
}

enum sp_err sp_ben_read(struct sp_slice in, const struct sp_ben_limits *limits,
                        struct sp_ben_tok *toks, struct sp_ben *ret_ben, struct sp_diag *diag)
{
    if (in.len > IN_LEN_MAX)
        return sp_diag_set(diag, SP_ELIMIT, 0, "is 4 GiB or larger");

    struct reader r;
    memset(&r, 0, offsetof(struct reader, open)); /* not the frames: each is set when opened */
    r.cur = sp_cur_of(in);
    r.base = in.ptr;
    r.toks = toks;
    r.tok_max = limits->tok_max;
    r.depth_max = limits->depth_max ? limits->depth_max : SP_BEN_DEPTH_DEFAULT;
    if (r.depth_max > SP_BEN_DEPTH_CAP)
        r.depth_max = SP_BEN_DEPTH_CAP;
    r.strict = limits->strict;

    /* Each turn consumes at least one byte or fails, so this ends. */
    do
        read_one(&r);
    while (r.cur.err == SP_OK && r.depth > 0);

    if (r.cur.err != SP_OK)
        return sp_diag_set(diag, r.cur.err, r.bad_off, r.reason);
    *ret_ben = (struct sp_ben){
        .in = in, .toks = toks, .count = r.tok_count, .end = (size_t)(r.cur.pos - in.ptr)};
    return SP_OK;
}

bool sp_ben_is(const struct sp_ben *ben, uint32_t ix, enum sp_ben_kind kind)
{
    return ix < ben->count && ben->toks[ix].kind == kind;
}

uint32_t sp_ben_first(const struct sp_ben *ben, uint32_t ix)
{
    bool holds = sp_ben_is(ben, ix, SP_BEN_LIST) || sp_ben_is(ben, ix, SP_BEN_DICT);
    return holds && ben->toks[ix].next > ix + 1 ? ix + 1 : SP_BEN_NONE;
}

uint32_t sp_ben_next(const struct sp_ben *ben, uint32_t ix, uint32_t at)
{
    uint32_t end = ben->toks[ix].next;
    at = ben->toks[at].next;
    if (ben->toks[ix].kind == SP_BEN_DICT && at < end)
        at = ben->toks[at].next; /* the key's value */
    return at < end ? at : SP_BEN_NONE;
}

bool sp_ben_str(const struct sp_ben *ben, uint32_t ix, struct sp_slice *ret_str)
{
    if (!sp_ben_is(ben, ix, SP_BEN_STR))
        return false;
    *ret_str = (struct sp_slice){.ptr = ben->in.ptr + ben->toks[ix].off, .len = ben->toks[ix].len};
    return true;
}

bool sp_ben_str_is(const struct sp_ben *ben, uint32_t ix, const char *text)
{
    struct sp_slice s;
    size_t len = strlen(text);
    return sp_ben_str(ben, ix, &s) && s.len == len && memcmp(s.ptr, text, len) == 0;
}

uint32_t sp_ben_find(const struct sp_ben *ben, uint32_t dict_ix, const char *key)
{
    if (!sp_ben_is(ben, dict_ix, SP_BEN_DICT))
        return SP_BEN_NONE;
    uint32_t at = sp_ben_first(ben, dict_ix);
    while (at != SP_BEN_NONE && !sp_ben_str_is(ben, at, key))
        at = sp_ben_next(ben, dict_ix, at);
    return at == SP_BEN_NONE ? SP_BEN_NONE : at + 1;
}

bool sp_ben_int(const struct sp_ben *ben, uint32_t ix, int64_t min, int64_t max, int64_t *ret_value)
{
    if (!sp_ben_is(ben, ix, SP_BEN_INT))
        return false;

    struct sp_slice digits = {.ptr = ben->in.ptr + ben->toks[ix].off, .len = ben->toks[ix].len};
    bool negative = digits.ptr[0] == '-';
    uint64_t magnitude;

    if (negative)
        digits = (struct sp_slice){.ptr = digits.ptr + 1, .len = digits.len - 1};
    if (!decimal(digits, (uint64_t)INT64_MAX + negative, &magnitude))
        return false;
    /* 0 - magnitude in unsigned arithmetic reaches INT64_MIN. */
    int64_t value = (int64_t)(negative ? 0 - magnitude : magnitude);
    if (value < min || value > max)
        return false;
    *ret_value = value;
    return true;
}

bool sp_ben_raw(const struct sp_ben *ben, uint32_t ix, struct sp_slice *ret_raw)
{
    if (!sp_ben_is(ben, ix, SP_BEN_LIST) && !sp_ben_is(ben, ix, SP_BEN_DICT))
        return false;
    *ret_raw = (struct sp_slice){.ptr = ben->in.ptr + ben->toks[ix].off, .len = ben->toks[ix].len};
    return true;
}
