#include "apps/signals.h"
#include "apps/options.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

static volatile bool came;
static int pipe_fds[2] = {-1, -1};

static void wake(void)
{
    int before = errno;
    ssize_t ignored = write(pipe_fds[1], "", 1); /* a full pipe wakes as well */
    (void)ignored;
    errno = before;
}

static void on_end(int number)
{
    (void)number;
    if (came)
        _exit(EXIT_INTERRUPTED);
    came = true;
    wake();
}

static void on_resize(int number)
{
    (void)number;
    wake();
}

void signals_install(void)
{
    struct sigaction end = {.sa_handler = on_end}, resize = {.sa_handler = on_resize};
    struct sigaction before;

    if (pipe_fds[0] >= 0 || pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) != 0)
        return;
    resize.sa_flags = SA_RESTART;
    sigaction(SIGINT, &end, NULL);
    sigaction(SIGTERM, &end, NULL);
    /* nohup: what is ignored stays ignored. */
    if (sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
        sigaction(SIGHUP, &end, NULL);
    sigaction(SIGWINCH, &resize, NULL);
}

int signals_fd(void)
{
    return pipe_fds[0];
}

bool signals_came(void)
{
    char drained[64];
    while (pipe_fds[0] >= 0 && read(pipe_fds[0], drained, sizeof(drained)) > 0)
        ;
    return came;
}

const volatile bool *signals_flag(void)
{
    return &came;
}
