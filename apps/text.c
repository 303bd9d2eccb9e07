#include "apps/text.h"

#include <langinfo.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

struct text_style text_style;

/* --- memory and growing text ------------------------------------------------ */

static _Noreturn void out_of_memory(void)
{
    static const char message[] = "spate: out of memory\n";
    ssize_t ignored = write(2, message, sizeof(message) - 1);
    (void)ignored;
    _exit(1);
}

void *mem_need(void *ptr, size_t bytes)
{
    ptr = realloc(ptr, bytes ? bytes : 1);
    if (!ptr)
        out_of_memory();
    return ptr;
}

void *mem_zero(size_t count, size_t bytes)
{
    void *ptr = calloc(count ? count : 1, bytes);
    if (!ptr)
        out_of_memory();
    return ptr;
}

char *text_copy(const char *text)
{
    size_t len = strlen(text) + 1;
    return memcpy(mem_need(NULL, len), text, len);
}

static void reserve(struct str *str, size_t more)
{
    size_t need;
    if (__builtin_add_overflow(str->len, more, &need) || need > SIZE_MAX / 2)
        out_of_memory();
    need++;
    if (need <= str->cap)
        return;
    str->cap = need < 64 ? 64 : need + need / 2;
    str->ptr = mem_need(str->ptr, str->cap);
}

void str_add(struct str *str, const char *bytes, size_t len)
{
    reserve(str, len);
    if (len)
        memcpy(str->ptr + str->len, bytes, len);
    str->len += len;
    str->ptr[str->len] = '\0';
}

void str_puts(struct str *str, const char *text)
{
    str_add(str, text, strlen(text));
}

void str_repeat(struct str *str, const char *text, size_t times)
{
    while (times--)
        str_puts(str, text);
}

void str_fmt(struct str *str, const char *format, ...)
{
    va_list args, again;
    int len;

    va_start(args, format);
    va_copy(again, args);
    len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len > 0) {
        reserve(str, (size_t)len);
        vsnprintf(str->ptr + str->len, (size_t)len + 1, format, again);
        str->len += (size_t)len;
    }
    va_end(again);
}

void str_clear(struct str *str)
{
    str->len = 0;
    if (str->ptr)
        str->ptr[0] = '\0';
}

void str_done(struct str *str)
{
    free(str->ptr);
    *str = (struct str){0};
}

/* --- names ------------------------------------------------------------------ */

void text_init(void)
{
    setlocale(LC_CTYPE, "");
    text_style.utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

uint32_t utf8_decode(const char *bytes, size_t len, size_t *ret_len)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char first = (unsigned char)bytes[0];
    size_t size = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    uint32_t point;

    *ret_len = 1;
    if (size == 1)
        return first;
    if (size == 0 || first > 0xf4 || size > len)
        return UINT32_MAX;
    point = first & (0x7fU >> size);
    for (size_t i = 1; i < size; i++) {
        if (((unsigned char)bytes[i] & 0xc0) != 0x80)
            return UINT32_MAX;
        point = point << 6 | ((unsigned char)bytes[i] & 0x3f);
    }
    if (point < smallest[size] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000))
        return UINT32_MAX;
    *ret_len = size;
    return point;
}

/* What would move the cursor, turn the text around or hide in it. */
static bool is_unsafe(uint32_t point)
{
    return point < 0x20 || (point >= 0x7f && point < 0xa0) || point == 0xad || point == 0x61c ||
           (point >= 0x200b && point <= 0x200f) || (point >= 0x2028 && point <= 0x202e) ||
           (point >= 0x2060 && point <= 0x206f) || point == 0xfeff ||
           (point >= 0xfff0 && point <= 0xfffb) || (point >= 0xe0000 && point <= 0xe0fff) ||
           point > 0x10ffff;
}

void text_clean(struct str *str, const char *bytes, size_t len, bool utf8)
{
    for (size_t i = 0, size; i < len; i += size) {
        uint32_t point = utf8_decode(bytes + i, len - i, &size);
        if (is_unsafe(point))
            str_puts(str, utf8 ? "\xef\xbf\xbd" : "?");
        else if (point >= 0x80 && !utf8)
            str_puts(str, "?");
        else
            str_add(str, bytes + i, size);
    }
    if (!len)
        str_add(str, "", 0);
}

/* Unassigned to this C library is most likely an emoji, two columns wide. */
static size_t columns(uint32_t point)
{
    int width = point < 0x80 ? 1 : wcwidth((wchar_t)point);
    return width >= 0 ? (size_t)width : point >= 0x1f000 && point < 0x20000 ? 2 : 1;
}

size_t text_width(const char *text)
{
    size_t width = 0, len = strlen(text);
    for (size_t i = 0, size; i < len; i += size)
        width += columns(utf8_decode(text + i, len - i, &size));
    return width;
}

/* How many bytes at the front fit in width columns; says how many they take. */
static size_t front(const char *text, size_t len, size_t width, size_t *ret_used)
{
    size_t used = 0, i = 0, size;
    while (i < len) {
        size_t more = columns(utf8_decode(text + i, len - i, &size));
        if (used + more > width)
            break;
        used += more;
        i += size;
    }
    *ret_used = used;
    return i;
}

/* Where the last width columns begin. */
static size_t back(const char *text, size_t len, size_t all, size_t width)
{
    size_t i = 0, size;
    while (i < len && all > width) {
        all -= columns(utf8_decode(text + i, len - i, &size));
        i += size;
    }
    return i;
}

void text_fit(struct str *str, const char *text, size_t width)
{
    const char *dots = text_style.utf8 ? "\xe2\x80\xa6" : "...";
    size_t dots_width = text_style.utf8 ? 1 : 3;
    size_t all = text_width(text), len = strlen(text), used, tail;

    if (all <= width) {
        str_add(str, text, len);
        str_repeat(str, " ", width - all);
        return;
    }
    if (width < dots_width + 4) {
        str_add(str, text, front(text, len, width, &used));
        str_repeat(str, " ", width - used);
        return;
    }
    tail = (width - dots_width) / 3; /* endings tell files apart */
    str_add(str, text, front(text, len, width - dots_width - tail, &used));
    str_puts(str, dots);
    len = back(text, len, all, tail);
    tail = text_width(text + len);
    str_puts(str, text + len);
    str_repeat(str, " ", width - used - dots_width - tail);
}

/* --- quantities --------------------------------------------------------------- */

const char *human_bytes(char text[HUMAN_CAP], uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    size_t unit = 0;

    /* 999.5 would be written as 1000: four digits are for plain bytes only. */
    while (unit + 1 < SP_COUNT(units) && value >= (unit ? 999.5 : 1024)) {
        value /= 1024;
        unit++;
    }
    snprintf(text, HUMAN_CAP, "%.*f %s",
             unit == 0 || value >= 99.95 ? 0
             : value >= 9.995            ? 1
                                         : 2,
             value, units[unit]);
    return text;
}

const char *human_rate(char text[HUMAN_CAP], uint64_t Bps)
{
    human_bytes(text, Bps);
    size_t len = strlen(text);
    snprintf(text + len, HUMAN_CAP - len, "/s");
    return text;
}

const char *human_time(char text[HUMAN_CAP], uint64_t seconds)
{
    unsigned long long s = seconds;
    if (seconds == UINT64_MAX)
        snprintf(text, HUMAN_CAP, "-");
    else if (s < 60)
        snprintf(text, HUMAN_CAP, "%llus", s);
    else if (s < 3600)
        snprintf(text, HUMAN_CAP, "%llum %02llus", s / 60, s % 60);
    else if (s < 86400)
        snprintf(text, HUMAN_CAP, "%lluh %02llum", s / 3600, s / 60 % 60);
    else if (s < 86400 * 365ULL)
        snprintf(text, HUMAN_CAP, "%llud %02lluh", s / 86400, s / 3600 % 24);
    else
        snprintf(text, HUMAN_CAP, "> 1 year");
    return text;
}

const char *human_took(char text[HUMAN_CAP], double seconds)
{
    if (seconds >= 9.95)
        return human_time(text, (uint64_t)(seconds + 0.5));
    snprintf(text, HUMAN_CAP, "%.1fs", seconds > 0 ? seconds : 0);
    return text;
}

const char *human_percent(char text[HUMAN_CAP], uint64_t have, uint64_t all)
{
    unsigned tenths = 1000;
    if (have < all) {
        tenths = (unsigned)((double)have / (double)all * 1000);
        tenths = tenths > 999 ? 999 : tenths;
    }
    snprintf(text, HUMAN_CAP, "%u.%u%%", tenths / 10, tenths % 10);
    return text;
}

const char *human_ratio(char text[HUMAN_CAP], uint64_t milli)
{
    snprintf(text, HUMAN_CAP, "%llu.%02llu", (unsigned long long)(milli / 1000),
             (unsigned long long)(milli % 1000 / 10));
    return text;
}
