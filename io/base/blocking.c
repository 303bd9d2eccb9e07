#include "io/base/blocking.h"

#include <stdio.h>
#include <stdlib.h>

_Thread_local bool sp_reactor_thread;

#ifdef SP_REACTOR_CHECKS
void sp_may_block(const char *what)
{
    if (!sp_reactor_thread)
        return;
    fprintf(stderr, "spate: %s on a reactor's thread: it may block\n", what);
    abort();
}
#endif
