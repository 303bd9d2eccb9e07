/* number.h - numbers as people type them on the command line.
 *
 * Each takes a whole NUL-terminated text; false when it is not exactly such a
 * number, or does not fit, and the output is untouched.
 */
#ifndef SPATE_APPS_NUMBER_H
#define SPATE_APPS_NUMBER_H

#include "spate/types.h"

/* "0", "250"; no sign, no blank. */
bool number_count(const char *text, uint64_t *ret_value);
/* Bytes: "4096", "512K", "1.5G", "16MiB"; K M G T are powers of 1024, in either case. */
bool number_size(const char *text, uint64_t *ret_bytes);
/* Seconds: "90", "90s", "30m", "2h", "1.5d". */
bool number_seconds(const char *text, uint64_t *ret_seconds);
/* Thousandths: "2", "1.5"; further digits are dropped. */
bool number_ratio(const char *text, uint64_t *ret_milli);

/* "1,3-5,8-": whole numbers from 1 and ranges of them; an open range ends at
 * the last.  Gives the largest number named. */
bool number_ranges(const char *text, uint64_t *ret_largest);
/* Whether value is among ranges, a text number_ranges takes. */
bool number_in_ranges(const char *ranges, uint64_t value);
/* One of them, "A", "A-B" or "A-", at *at, which moves on; an open end is
 * UINT64_MAX. */
bool number_next_range(const char **at, uint64_t *ret_first, uint64_t *ret_last);

/* "HOST:PORT" or "[V6]:PORT" with a port of 1..65535.  A listening address may
 * leave the host out and have port 0. */
bool number_host_port(const char *text, bool is_listen);

#endif
