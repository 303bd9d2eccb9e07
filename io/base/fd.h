/* fd.h - file descriptors that close themselves (gcc and clang; io/ and apps/
 * only, the core has no descriptors). */
#ifndef SP_IO_FD_H
#define SP_IO_FD_H

#include <unistd.h>

static inline void sp_fd_close(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

/* Hands the descriptor on: the variable no longer owns it. */
static inline int sp_fd_take(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

#define SP_FD __attribute__((cleanup(sp_fd_close))) int

#endif
