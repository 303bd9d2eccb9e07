/* blocking.h - "a reactor never blocks", held by the machine.
 *
 * A reactor sets the flag on its own thread; every wrapper of io/ around a call
 * that may sleep on a disk, a resolver or a database says sp_may_block() first.
 * With the build option reactor_checks (SP_REACTOR_CHECKS) a reactor that gets
 * there aborts and names the call; in a release the question costs nothing.
 */
#ifndef SP_IO_BLOCKING_H
#define SP_IO_BLOCKING_H

#include <stdbool.h>

/* True on a reactor's thread, from the start of its loop to the end. */
extern _Thread_local bool sp_reactor_thread;

#ifdef SP_REACTOR_CHECKS
/* what: the name of the call, a literal. */
void sp_may_block(const char *what);
#else
static inline void sp_may_block(const char *what)
{
    (void)what;
}
#endif

#endif
