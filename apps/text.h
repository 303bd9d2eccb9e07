/* text.h - text that grows, names made fit for a terminal, and quantities as
 * people read them.
 *
 * Out of memory ends the program: it holds nothing that would be lost.
 */
#ifndef SPATE_APPS_TEXT_H
#define SPATE_APPS_TEXT_H

#include "spate/types.h"

struct str {
    char *ptr; /* NUL-terminated once something was added; NULL before */
    size_t len, cap;
};

void *mem_need(void *ptr, size_t bytes); /* realloc that does not fail */
void *mem_zero(size_t count, size_t bytes);
char *text_copy(const char *text);

void str_add(struct str *str, const char *bytes, size_t len);
void str_puts(struct str *str, const char *text);
void str_repeat(struct str *str, const char *text, size_t times);
SP_PRINTF(2, 3) void str_fmt(struct str *str, const char *format, ...);
void str_clear(struct str *str); /* keeps the memory */
void str_done(struct str *str);
static inline const char *str_text(const struct str *str)
{
    return str->ptr ? str->ptr : "";
}

/* The code point at the front of bytes and its length in *ret_len (at least
 * 1); UINT32_MAX where the bytes are no UTF-8.  len is not 0. */
uint32_t utf8_decode(const char *bytes, size_t len, size_t *ret_len);

/* How names are shown: set once, by text_init, from the locale. */
struct text_style {
    bool utf8;
};
extern struct text_style text_style;
void text_init(void);

/* Adds bytes as one line: control characters, those that turn the writing
 * direction, line separators and what is no UTF-8 become U+FFFD (or '?'). */
void text_clean(struct str *str, const char *bytes, size_t len, bool utf8);
/* Columns on a terminal of a text that text_clean made. */
size_t text_width(const char *text);
/* Adds text in exactly width columns: filled with blanks, or shortened with
 * an ellipsis in its middle.  text_clean made it. */
void text_fit(struct str *str, const char *text, size_t width);

enum { HUMAN_CAP = 24 };
/* "17 B", "1.24 GiB", at most 8 characters; gives text. */
const char *human_bytes(char text[HUMAN_CAP], uint64_t bytes);
/* "1.24 MiB/s" */
const char *human_rate(char text[HUMAN_CAP], uint64_t Bps);
/* "12s", "1m 05s", "2h 13m", "3d 04h"; "-" for UINT64_MAX. */
const char *human_time(char text[HUMAN_CAP], uint64_t seconds);
/* "3.2s" below ten seconds, then as human_time. */
const char *human_took(char text[HUMAN_CAP], double seconds);
/* "47.3%"; 100 % only when have is all. */
const char *human_percent(char text[HUMAN_CAP], uint64_t have, uint64_t all);
/* "1.50" of thousandths. */
const char *human_ratio(char text[HUMAN_CAP], uint64_t milli);

#endif
