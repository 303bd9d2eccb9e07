#include "apps/number.h"

#include <string.h>

/* The digits at *at, at least one, moving it behind them. */
static bool digits(const char **at, uint64_t *ret_value)
{
    const char *p = *at;
    uint64_t value = 0;

    if (*p < '0' || *p > '9')
        return false;
    for (; *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value))
            return false;
    *at = p;
    *ret_value = value;
    return true;
}

/* "1.25" times scale, rounded down; at most six digits of the fraction count. */
static bool scaled(uint64_t whole, uint64_t millionths, uint64_t scale, uint64_t *ret_value)
{
    uint64_t value, part;
    if (__builtin_mul_overflow(whole, scale, &value))
        return false;
    /* Split, so that the product of a terabyte and 10^6 has room. */
    part = scale / 1000000 * millionths + scale % 1000000 * millionths / 1000000;
    if (__builtin_add_overflow(value, part, &value))
        return false;
    *ret_value = value;
    return true;
}

/* A decimal number at *at as whole and millionths. */
static bool decimal(const char **at, uint64_t *ret_whole, uint64_t *ret_millionths)
{
    uint64_t whole, millionths = 0;
    const char *p = *at;

    if (!digits(&p, &whole))
        return false;
    if (*p == '.') {
        uint64_t unit = 100000;
        if (p[1] < '0' || p[1] > '9')
            return false;
        for (p++; *p >= '0' && *p <= '9'; p++, unit /= 10)
            millionths += (uint64_t)(*p - '0') * unit;
    }
    *at = p;
    *ret_whole = whole;
    *ret_millionths = millionths;
    return true;
}

bool number_count(const char *text, uint64_t *ret_value)
{
    uint64_t value;
    if (!digits(&text, &value) || *text)
        return false;
    *ret_value = value;
    return true;
}

/* K M G T at *at; 1 when there is none. */
static uint64_t binary_scale(const char **at)
{
    static const char letters[] = "kmgt";
    char lower = (char)(**at | 0x20);
    const char *found = **at ? strchr(letters, lower) : NULL;

    if (!found)
        return 1;
    (*at)++;
    return UINT64_C(1) << (10 * (found - letters + 1));
}

bool number_size(const char *text, uint64_t *ret_bytes)
{
    uint64_t whole, millionths, scale;

    if (!decimal(&text, &whole, &millionths))
        return false;
    scale = binary_scale(&text);
    if (scale == 1 && millionths) /* half a byte */
        return false;
    if (scale > 1 && strcmp(text, "iB") == 0)
        text += 2;
    return !*text && scaled(whole, millionths, scale, ret_bytes);
}

bool number_seconds(const char *text, uint64_t *ret_seconds)
{
    uint64_t whole, millionths, scale = 1;

    if (!decimal(&text, &whole, &millionths))
        return false;
    switch (*text) {
    case 's':
        text++;
        break;
    case 'm':
        scale = 60;
        text++;
        break;
    case 'h':
        scale = 3600;
        text++;
        break;
    case 'd':
        scale = 86400;
        text++;
        break;
    default:
        break;
    }
    return !*text && scaled(whole, millionths, scale, ret_seconds);
}

bool number_ratio(const char *text, uint64_t *ret_milli)
{
    uint64_t whole, millionths, milli;

    if (!decimal(&text, &whole, &millionths) || *text ||
        __builtin_mul_overflow(whole, 1000, &milli) ||
        __builtin_add_overflow(milli, millionths / 1000, &milli))
        return false;
    *ret_milli = milli;
    return true;
}

bool number_next_range(const char **at, uint64_t *ret_first, uint64_t *ret_last)
{
    uint64_t first, last;
    const char *p = *at;

    if (!digits(&p, &first) || first == 0)
        return false;
    last = first;
    if (*p == '-') {
        p++;
        last = UINT64_MAX;
        if (*p && *p != ',' && (!digits(&p, &last) || last < first))
            return false;
    }
    if (*p && *p != ',')
        return false;
    *at = *p ? p + 1 : p;
    *ret_first = first;
    *ret_last = last;
    return true;
}

bool number_ranges(const char *text, uint64_t *ret_largest)
{
    uint64_t largest = 0, first, last;

    for (const char *at = text; *at;) {
        const char *before = at;
        if (!number_next_range(&at, &first, &last))
            return false;
        if (!*at && at[-1] == ',' && at > before) /* "1," */
            return false;
        largest = last != UINT64_MAX && last > largest ? last : first > largest ? first : largest;
    }
    if (largest == 0)
        return false;
    *ret_largest = largest;
    return true;
}

bool number_in_ranges(const char *ranges, uint64_t value)
{
    uint64_t first, last;
    for (const char *at = ranges; *at && number_next_range(&at, &first, &last);)
        if (value >= first && value <= last)
            return true;
    return false;
}

bool number_host_port(const char *text, bool is_listen)
{
    const char *colon = strrchr(text, ':');
    uint64_t port;
    size_t host_len;

    if (!colon || !number_count(colon + 1, &port) || port > 65535 || (port == 0 && !is_listen))
        return false;
    host_len = (size_t)(colon - text);
    if (host_len == 0)
        return is_listen;
    if (text[0] == '[')
        return host_len > 3 && text[host_len - 1] == ']';
    return host_len < 256 && !memchr(text, ':', host_len) && !memchr(text, ' ', host_len);
}
