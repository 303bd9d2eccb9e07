/* bentext.h - bencode from text that a person can read and write:
 *
 *   d 'info' d 'length' 5 'name' 'a' 'pieces' *20 e e
 *
 * 'text' is a string ($ in it a NUL byte), a number an integer, *N a string of N
 * bytes 'h', ~N one of N bytes 'x'; d, l and e stand for themselves.
 */
#ifndef SP_TEST_BENTEXT_H
#define SP_TEST_BENTEXT_H

#include <stdlib.h>
#include <string.h>

#include "core/base/out.h"

enum { BENTEXT_CAP = 32768 };

static inline struct sp_slice bentext(const char *text)
{
    static uint8_t buf[BENTEXT_CAP];
    struct sp_out o = sp_out_of(buf, sizeof(buf));

    while (*text) {
        char c = *text++;
        if (c == '\'') {
            const char *end = strchr(text, '\'');
            sp_out_dec(&o, (uint64_t)(end - text));
            sp_out_u8(&o, ':');
            for (; text < end; text++)
                sp_out_u8(&o, *text == '$' ? 0 : (uint8_t)*text);
            text++;
        } else if (c == '*' || c == '~') {
            uint64_t n = 0;
            for (; *text >= '0' && *text <= '9'; text++)
                n = n * 10 + (uint64_t)(*text - '0');
            sp_out_dec(&o, n);
            sp_out_u8(&o, ':');
            while (n-- > 0)
                sp_out_u8(&o, c == '*' ? 'h' : 'x');
        } else if (c == '-' || (c >= '0' && c <= '9')) {
            sp_out_u8(&o, 'i');
            for (text--; *text == '-' || (*text >= '0' && *text <= '9'); text++)
                sp_out_u8(&o, (uint8_t)*text);
            sp_out_u8(&o, 'e');
        } else if (c != ' ') {
            sp_out_u8(&o, (uint8_t)c);
        }
    }
    if (o.len > o.cap)
        abort();
    return (struct sp_slice){.ptr = buf, .len = o.len};
}

#endif
