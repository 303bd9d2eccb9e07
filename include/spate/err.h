/* spate/err.h - the one list of outcomes a sp_ function can report.
 *
 * The third column says what the caller is expected to do, so that a call
 * site can be written from this table alone.
 */
#ifndef SPATE_ERR_H
#define SPATE_ERR_H

#include "spate/types.h"

#define SP_ERR_MAP(X)                                                                              \
    X(OK, 0, "success")                                                                            \
    X(AGAIN, -1, "input ends early: call again with more bytes")                                   \
    X(EPROTO, -2, "peer broke the protocol: drop this peer, keep the torrent")                     \
    X(ELIMIT, -3, "a limit was hit: drop this peer or this item")                                  \
    X(ETIMEOUT, -4, "a deadline passed: drop this peer, it may be tried later")                    \
    X(ENOMEM, -5, "out of memory: undo this operation and report upwards")                         \
    X(EIO, -6, "disk or socket failed: stop the torrent, show the message")                        \
    X(EDATA, -7, "malformed data (torrent, magnet, reply, state): refuse the item")                \
    X(ENOSPC, -8, "no room on the disk: pause the torrent, try again once there is room")          \
    X(EACCES, -9, "permission refused: stop the torrent, show the message")                        \
    X(ENOENT, -10, "there is no such file, torrent or peer")                                       \
    X(EEXIST, -11, "it exists already")                                                            \
    X(EINVAL, -12, "an argument is out of range: the caller is at fault")                          \
    X(ECANCELED, -13, "canceled by the caller")                                                    \
    X(ENET, -14, "network failed: try another address, or later")                                  \
    X(EHASH, -15, "the data does not match its hash")

enum sp_err {
#define SP_ERR_ENUM(name, value, what) SP_##name = (value),
    SP_ERR_MAP(SP_ERR_ENUM)
#undef SP_ERR_ENUM
};

/* "EPROTO"; never NULL. */
SP_API const char *sp_err_name(enum sp_err err);
/* "peer broke the protocol: ..."; never NULL. */
SP_API const char *sp_err_text(enum sp_err err);

/* What went wrong, where, for a person to read.  Optional last parameter of
 * functions whose input a person wrote or chose; untouched on success. */
struct sp_diag {
    enum sp_err err;
    uint64_t off;   /* bytes from the start of the input; 0 where that means nothing */
    char text[160]; /* one line, no newline, NUL-terminated: "info.length: is negative" */
};

/* Fills diag (NULL is fine) and gives err back, so that callers can write
 * return sp_diag_set(diag, SP_EDATA, off, "..."). */
SP_API enum sp_err sp_diag_set(struct sp_diag *diag, enum sp_err err, uint64_t off,
                               const char *text);

#endif
