#include <string.h>

#include "core/base/out.h"
#include "spate/bencode.h"

static void bytes(struct sp_ben_writer *w, const void *ptr, size_t len)
{
    struct sp_out o = {.ptr = w->ptr, .cap = w->cap, .len = w->len};
    sp_out_bytes(&o, ptr, len);
    w->len = o.len;
}

static void byte(struct sp_ben_writer *w, char c)
{
    bytes(w, &c, 1);
}

static void decimal(struct sp_ben_writer *w, uint64_t value)
{
    struct sp_out o = {.ptr = w->ptr, .cap = w->cap, .len = w->len};
    sp_out_dec(&o, value);
    w->len = o.len;
}

static void string(struct sp_ben_writer *w, struct sp_slice s)
{
    decimal(w, s.len);
    byte(w, ':');
    bytes(w, s.ptr, s.len);
}

/* May a value stand here?  Takes the waiting key. */
static bool begin_value(struct sp_ben_writer *w)
{
    struct sp_ben_level *in = w->depth ? &w->levels[w->depth - 1] : NULL;

    if (w->whole || (in && in->kind == SP_BEN_DICT && !in->has_key))
        w->misused = true;
    if (w->misused)
        return false;
    if (in)
        in->has_key = false;
    return true;
}

static void end_value(struct sp_ben_writer *w)
{
    w->whole = w->depth == 0;
}

void sp_ben_put_int(struct sp_ben_writer *w, int64_t value)
{
    if (!begin_value(w))
        return;
    bytes(w, "i-", value < 0 ? 2 : 1);
    decimal(w, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
    byte(w, 'e');
    end_value(w);
}

void sp_ben_put_str(struct sp_ben_writer *w, struct sp_slice str)
{
    if (!begin_value(w))
        return;
    string(w, str);
    end_value(w);
}

void sp_ben_put_text(struct sp_ben_writer *w, const char *text)
{
    sp_ben_put_str(w, (struct sp_slice){(const uint8_t *)text, strlen(text)});
}

void sp_ben_put_raw(struct sp_ben_writer *w, struct sp_slice raw)
{
    if (!begin_value(w))
        return;
    bytes(w, raw.ptr, raw.len);
    end_value(w);
}

static void open_level(struct sp_ben_writer *w, enum sp_ben_kind kind, char c)
{
    if (w->depth == SP_BEN_WRITER_DEPTH)
        w->misused = true;
    if (!begin_value(w))
        return;
    byte(w, c);
    w->levels[w->depth++] = (struct sp_ben_level){.kind = (uint8_t)kind};
}

void sp_ben_put_list(struct sp_ben_writer *w)
{
    open_level(w, SP_BEN_LIST, 'l');
}

void sp_ben_put_dict(struct sp_ben_writer *w)
{
    open_level(w, SP_BEN_DICT, 'd');
}

void sp_ben_put_end(struct sp_ben_writer *w)
{
    if (w->depth == 0 || w->levels[w->depth - 1].has_key)
        w->misused = true;
    if (w->misused)
        return;
    byte(w, 'e');
    w->depth--;
    end_value(w);
}

static bool ascends(struct sp_slice a, struct sp_slice b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len ? memcmp(a.ptr, b.ptr, len) : 0;
    return order != 0 ? order < 0 : a.len < b.len;
}

void sp_ben_put_key_str(struct sp_ben_writer *w, struct sp_slice key)
{
    struct sp_ben_level *in = w->depth ? &w->levels[w->depth - 1] : NULL;

    if (!in || in->kind != SP_BEN_DICT || in->has_key || (in->has_any && !ascends(in->key, key)))
        w->misused = true;
    if (w->misused)
        return;
    string(w, key);
    in->key = key;
    in->has_key = in->has_any = true;
}

void sp_ben_put_key(struct sp_ben_writer *w, const char *key)
{
    sp_ben_put_key_str(w, (struct sp_slice){(const uint8_t *)key, strlen(key)});
}

enum sp_err sp_ben_writer_end(const struct sp_ben_writer *w, size_t *ret_len)
{
    if (w->misused || !w->whole)
        return SP_EINVAL;
    *ret_len = w->len;
    return w->len > w->cap ? SP_ELIMIT : SP_OK;
}
