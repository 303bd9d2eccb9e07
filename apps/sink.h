/* sink.h - standard output that cannot hold a transfer up.
 *
 * A thread of its own does the writing.  Text waits in a queue of limited
 * length: what must be seen is kept until that is full, what will be replaced
 * soon anyway (progress) is only taken when nothing waits.  A reader that
 * went away (EPIPE) ends the output and nothing else.
 */
#ifndef SPATE_APPS_SINK_H
#define SPATE_APPS_SINK_H

#include "spate/types.h"

struct sink;

/* Writes to fd; NULL when no thread can be had. */
struct sink *sink_new(int fd);
/* Waits up to timeout_ms for what is queued, then lets go.  Takes NULL. */
void sink_free(struct sink *sink, uint32_t timeout_ms);

/* Nothing waits to be written: progress may be put. */
bool sink_is_idle(struct sink *sink);
/* Copies bytes; drops them when the queue is full or the reader is gone. */
void sink_put(struct sink *sink, const char *bytes, size_t len);
/* 0, or the errno of the write that failed (not EPIPE). */
int sink_error(struct sink *sink);

#endif
