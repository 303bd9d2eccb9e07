#include "apps/sink.h"
#include "apps/text.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { QUEUE_MAX = 4 << 20 };

struct sink {
    int fd;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct str queued;  /* waits for the thread */
    struct str writing; /* the thread's own */
    bool is_writing;
    bool is_closing;   /* the thread ends when nothing waits */
    bool is_abandoned; /* it frees the sink itself: nobody waited for it */
    bool is_ended;     /* by the thread */
    bool is_broken;    /* nobody reads any more */
    int error;
};

static void destroy(struct sink *sink)
{
    pthread_mutex_destroy(&sink->lock);
    pthread_cond_destroy(&sink->changed);
    str_done(&sink->queued);
    str_done(&sink->writing);
    free(sink);
}

/* The errno that ended it, or 0. */
static int write_all(int fd, const char *bytes, size_t len)
{
    while (len) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0 && errno == EAGAIN) { /* somebody made it non-blocking */
            nanosleep(&(struct timespec){.tv_nsec = 20 * 1000 * 1000}, NULL);
            continue;
        }
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno;
        bytes += n;
        len -= (size_t)n;
    }
    return 0;
}

static void *run(void *arg)
{
    struct sink *sink = arg;
    bool is_abandoned;

    pthread_mutex_lock(&sink->lock);
    for (;;) {
        struct str swap = sink->queued;
        int error;
        if (!swap.len) {
            if (sink->is_closing)
                break;
            pthread_cond_wait(&sink->changed, &sink->lock);
            continue;
        }
        sink->queued = sink->writing;
        sink->writing = swap;
        str_clear(&sink->queued);
        sink->is_writing = true;
        pthread_mutex_unlock(&sink->lock);
        error = write_all(sink->fd, sink->writing.ptr, sink->writing.len);
        pthread_mutex_lock(&sink->lock);
        sink->is_writing = false;
        if (error) {
            sink->is_broken = true;
            sink->error = error == EPIPE ? 0 : error;
            str_clear(&sink->queued);
        }
    }
    sink->is_ended = true;
    is_abandoned = sink->is_abandoned;
    pthread_cond_broadcast(&sink->changed);
    pthread_mutex_unlock(&sink->lock);
    if (is_abandoned)
        destroy(sink);
    return NULL;
}

struct sink *sink_new(int fd)
{
    struct sink *sink = mem_zero(1, sizeof(*sink));
    pthread_condattr_t attr;
    sigset_t all, before;
    int failed;

    sink->fd = fd;
    pthread_mutex_init(&sink->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&sink->changed, &attr);
    pthread_condattr_destroy(&attr);
    sigfillset(&all); /* signals are for the main thread */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(&sink->thread, NULL, run, sink);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed) {
        destroy(sink);
        return NULL;
    }
    return sink;
}

void sink_free(struct sink *sink, uint32_t timeout_ms)
{
    struct timespec until;

    if (!sink)
        return;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += timeout_ms % 1000 * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    pthread_mutex_lock(&sink->lock);
    sink->is_closing = true;
    pthread_cond_broadcast(&sink->changed);
    while (!sink->is_ended)
        if (pthread_cond_timedwait(&sink->changed, &sink->lock, &until) == ETIMEDOUT)
            break;
    if (sink->is_ended) {
        pthread_mutex_unlock(&sink->lock);
        pthread_join(sink->thread, NULL);
        destroy(sink);
        return;
    }
    sink->is_abandoned = true; /* it hangs in write(2); the process is about to end */
    pthread_detach(sink->thread);
    pthread_mutex_unlock(&sink->lock);
}

bool sink_is_idle(struct sink *sink)
{
    bool is_idle;
    pthread_mutex_lock(&sink->lock);
    is_idle = !sink->is_writing && !sink->queued.len && !sink->is_broken;
    pthread_mutex_unlock(&sink->lock);
    return is_idle;
}

void sink_put(struct sink *sink, const char *bytes, size_t len)
{
    pthread_mutex_lock(&sink->lock);
    if (!sink->is_broken && sink->queued.len + len <= QUEUE_MAX) {
        str_add(&sink->queued, bytes, len);
        pthread_cond_broadcast(&sink->changed);
    }
    pthread_mutex_unlock(&sink->lock);
}

int sink_error(struct sink *sink)
{
    int error;
    pthread_mutex_lock(&sink->lock);
    error = sink->error;
    pthread_mutex_unlock(&sink->lock);
    return error;
}
