/* hex.h - bytes as hexadecimal text. */
#ifndef SP_BASE_HEX_H
#define SP_BASE_HEX_H

#include "spate/types.h"

/* -1 when c is no hexadecimal digit. */
static inline int sp_hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* 2 * len characters and a NUL into text; gives text. */
static inline const char *sp_hex(const uint8_t *bytes, size_t len, char *text)
{
    for (size_t i = 0; i < len; i++) {
        text[2 * i] = "0123456789abcdef"[bytes[i] >> 4];
        text[2 * i + 1] = "0123456789abcdef"[bytes[i] & 15];
    }
    text[2 * len] = '\0';
    return text;
}

/* Exactly 2 * len digits; false and bytes undefined otherwise. */
static inline bool sp_hex_parse(struct sp_slice text, uint8_t *bytes, size_t len)
{
    if (text.len != 2 * len)
        return false;
    for (size_t i = 0; i < len; i++) {
        int hi = sp_hex_digit(text.ptr[2 * i]), lo = sp_hex_digit(text.ptr[2 * i + 1]);
        if (hi < 0 || lo < 0)
            return false;
        bytes[i] = (uint8_t)(hi << 4 | lo);
    }
    return true;
}

#endif
