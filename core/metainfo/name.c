#include "core/metainfo/name.h"

#include <string.h>
#include <utf8proc.h>

#include "core/base/hex.h"
#include "core/base/sha1.h"

enum {
    EXT_MAX = 16, /* bytes of an extension, with its dot, that shortening keeps */
    HEAD_MAX = 512,
    TAIL_MAX = 64,
    FOLD_MAX = 1024, /* code points: 255 bytes fold to at most 3 for each 2 bytes */
};

const char *sp_name_refusal(struct sp_slice raw)
{
    if (raw.len == 0)
        return "is empty";
    if (raw.ptr[0] == '/')
        return "is an absolute path";
    if (raw.ptr[0] == '.' && raw.len == 1)
        return "is \".\"";
    if (raw.len == 2 && memcmp(raw.ptr, "..", 2) == 0)
        return "is \"..\"";
    return NULL;
}

/* One code point; -1 and 1 byte where the UTF-8 is not valid. */
static size_t next_char(struct sp_slice s, size_t at, int32_t *ret_cp)
{
    if (s.ptr[at] < 0x80) {
        *ret_cp = s.ptr[at];
        return 1;
    }
    size_t left = s.len - at < 4 ? s.len - at : 4;
    utf8proc_ssize_t n = utf8proc_iterate(s.ptr + at, (utf8proc_ssize_t)left, ret_cp);
    if (n > 0)
        return (size_t)n;
    *ret_cp = -1;
    return 1;
}

bool sp_utf8_is_valid(struct sp_slice s)
{
    int32_t cp;
    for (size_t at = 0; at < s.len;) {
        at += next_char(s, at, &cp);
        if (cp < 0)
            return false;
    }
    return true;
}

/* What a terminal or a file manager would obey rather than show. */
static bool is_unseen(int32_t cp)
{
    return cp < 0x20 || (cp >= 0x7f && cp <= 0x9f) || cp == 0x061c || cp == 0x200e ||
           cp == 0x200f || (cp >= 0x2028 && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069);
}

size_t sp_text_clean(struct sp_slice raw, bool keep_lines, char *out)
{
    size_t len = 0;
    for (size_t at = 0; at < raw.len;) {
        int32_t cp;
        size_t n = next_char(raw, at, &cp);
        if (cp == '\n' && keep_lines) {
            out[len++] = '\n';
        } else if (is_unseen(cp)) {
            out[len++] = '_';
        } else {
            memcpy(out + len, raw.ptr + at, n);
            len += n;
        }
        at += n;
    }
    return len;
}

static size_t clean_chars(struct sp_slice raw, char *out)
{
    size_t len = sp_text_clean(raw, false, out);
    for (size_t i = 0; i < len; i++)
        if (out[i] == '/' || out[i] == '\\')
            out[i] = '_';
    return len;
}

static bool same_letters(const char *text, size_t len, const char *upper)
{
    if (strlen(upper) != len)
        return false;
    for (size_t i = 0; i < len; i++) {
        char c = text[i] >= 'a' && text[i] <= 'z' ? (char)(text[i] - 32) : text[i];
        if (c != upper[i])
            return false;
    }
    return true;
}

/* Names of devices on Windows, whatever their extension. */
static bool is_reserved(const char *text, size_t len)
{
    static const char names[][8] = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"};
    const char *dot = memchr(text, '.', len);
    size_t base = dot ? (size_t)(dot - text) : len;

    while (base > 0 && text[base - 1] == ' ')
        base--;
    for (size_t i = 0; i < SP_COUNT(names); i++)
        if (same_letters(text, base, names[i]))
            return true;
    if (base < 4 || !(same_letters(text, 3, "COM") || same_letters(text, 3, "LPT")))
        return false;
    if (base == 4)
        return text[3] >= '0' && text[3] <= '9';
    /* U+00B9, U+00B2, U+00B3: superscript digits count, too */
    return base == 5 && text[3] == '\xc2' &&
           (text[4] == '\xb9' || text[4] == '\xb2' || text[4] == '\xb3');
}

/* Bytes of the extension at the end, its dot included; 0: none to keep. */
static size_t ext_len(const char *text, size_t len)
{
    for (size_t n = 1; n <= EXT_MAX && n < len; n++)
        if (text[len - n] == '.')
            return n;
    return 0;
}

static bool is_continuation(char c)
{
    return ((uint8_t)c & 0xc0) == 0x80;
}

/* head of text (without its extension), mark, extension; at most SP_NAME_MAX. */
static void join(const char *text, size_t len, const char *mark, struct sp_name *ret_name)
{
    size_t ext = ext_len(text, len), mark_len = strlen(mark), head = len - ext;

    if (head > SP_NAME_MAX - mark_len - ext) {
        head = SP_NAME_MAX - mark_len - ext;
        while (head > 0 && is_continuation(text[head]))
            head--;
    }
    struct sp_name n = {.len = head + mark_len + ext};
    memcpy(n.text, text, head);
    memcpy(n.text + head, mark, mark_len);
    memcpy(n.text + head + mark_len, text + len - ext, ext);
    *ret_name = n;
}

void sp_name_mark(const struct sp_name *name, const char *mark, struct sp_name *ret_name)
{
    join(name->text, name->len, mark, ret_name);
}

/* Two long names that are alike at both ends differ in the middle: a hash of
 * all of it stands for what is left out. */
static void shorten(const char *text, size_t len, struct sp_slice raw, struct sp_name *ret_name)
{
    uint8_t digest[SP_SHA1_LEN];
    char mark[10] = "~";

    sp_sha1_of(raw.ptr, raw.len, digest);
    sp_hex(digest, 4, mark + 1);
    join(text, len, mark, ret_name);
}

void sp_name_clean(struct sp_slice raw, struct sp_name *ret_name)
{
    char text[1 + HEAD_MAX + TAIL_MAX];
    struct sp_slice s = raw;
    size_t len = 1;

    while (s.len > 0 && (s.ptr[s.len - 1] == '.' || s.ptr[s.len - 1] == ' '))
        s.len--;
    if (s.len <= HEAD_MAX) {
        len += clean_chars(s, text + 1);
    } else { /* only its ends can matter */
        struct sp_slice tail = {s.ptr + s.len - TAIL_MAX, TAIL_MAX};
        for (int i = 0; i < 3 && is_continuation((char)*tail.ptr); i++)
            tail = (struct sp_slice){tail.ptr + 1, tail.len - 1};
        len += clean_chars((struct sp_slice){s.ptr, HEAD_MAX}, text + 1);
        len += clean_chars(tail, text + len);
    }

    char *start = text + 1;
    len--;
    if (len == 0 || is_reserved(start, len)) {
        start = text; /* the byte kept free for this */
        *start = '_';
        len++;
    }
    if (len > SP_NAME_MAX) {
        shorten(start, len, raw, ret_name);
        return;
    }
    struct sp_name n = {.len = len};
    memcpy(n.text, start, len);
    *ret_name = n;
}

/* Code points of name, decomposed and case-folded. */
static size_t fold(struct sp_slice name, int32_t out[FOLD_MAX])
{
    bool ascii = true;
    for (size_t i = 0; i < name.len && ascii; i++)
        ascii = name.ptr[i] < 0x80;
    for (size_t i = 0; i < name.len && ascii; i++)
        out[i] = name.ptr[i] >= 'A' && name.ptr[i] <= 'Z' ? name.ptr[i] + 32 : name.ptr[i];
    if (ascii)
        return name.len;

    utf8proc_ssize_t n =
        utf8proc_decompose(name.ptr, (utf8proc_ssize_t)name.len, out, FOLD_MAX,
                           UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_CASEFOLD);
    if (n >= 0 && n <= FOLD_MAX)
        return (size_t)n;
    for (size_t i = 0; i < name.len; i++) /* not UTF-8: not one of ours */
        out[i] = name.ptr[i];
    return name.len;
}

uint64_t sp_name_hash(const struct sp_hash_key *key, uint32_t parent, struct sp_slice name)
{
    int32_t cps[1 + FOLD_MAX];
    memcpy(cps, &parent, sizeof(parent));
    return sp_hash_bytes(key, cps, (1 + fold(name, cps + 1)) * sizeof(cps[0]));
}

bool sp_name_same(struct sp_slice a, struct sp_slice b)
{
    int32_t x[FOLD_MAX], y[FOLD_MAX];
    size_t n = fold(a, x);
    return n == fold(b, y) && memcmp(x, y, n * sizeof(x[0])) == 0;
}
