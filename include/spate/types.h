/* spate/types.h - the words every header speaks: bytes, time, slices.
 *
 * Units are the last part of a name: _ns, _bytes, _Bps (bytes a second).
 * _ix is a 0-based index, _count how many there are, _max a limit, _cap the
 * room in a buffer.  ret_x is an output, last, untouched on failure.
 *
 * Ownership is said with four words: a function BORROWS (valid during the
 * call or until said), COPIES, TAKES (callee frees) or GIVES (caller frees).
 * Where nothing is said, it borrows.
 */
#ifndef SPATE_TYPES_H
#define SPATE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A point on the caller's monotonic clock, or a duration, in nanoseconds.
 * The origin is the caller's choice; only differences matter. */
typedef uint64_t sp_time_ns;
#define SP_TIME_NEVER UINT64_MAX

#define SP_MS_NS     UINT64_C(1000000)
#define SP_SECOND_NS UINT64_C(1000000000)

/* Bytes owned by someone else.  Valid as long as the owner says. */
struct sp_slice {
    const uint8_t *ptr; /* may be NULL when len is 0 */
    size_t len;         /* bytes */
};

/* Room owned by someone else; laid out like struct iovec. */
struct sp_iov {
    uint8_t *ptr;
    size_t len; /* bytes */
};

#define SP_LIT(s)   ((struct sp_slice){(const uint8_t *)("" s), sizeof(s) - 1})
#define SP_COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* BEP-0003: requests are for 2^14 bytes, a piece's last block may be shorter. */
enum { SP_BLOCK_LEN = 16384 };

enum { SP_SHA1_LEN = 20, SP_SHA256_LEN = 32 };

/* Marks what the shared library exports. */
#define SP_API          __attribute__((visibility("default")))
#define SP_MUST_USE     __attribute__((warn_unused_result))
#define SP_PRINTF(f, a) __attribute__((format(printf, f, a)))

#endif
