/* Names to addresses, on threads that nobody waits for.
 *
 * A resolver may sleep for half a minute, and nothing wakes it.  Its thread is
 * detached and owns what it works on; an answer that comes after the end is
 * dropped by the thread itself.  So ending never waits for a name server.
 */
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#include "io/reactor/reactor.h"

enum { THREADS_MAX = 4 }; /* of a reactor; sleeping ones hold up the rest, so not one */

struct sp_names {
    pthread_mutex_t lock;
    uint32_t refs; /* the reactor's, and one a thread */
    uint32_t threads;
    struct sp_reactor *r;                        /* NULL: the end has begun */
    struct sp_name_job *asked, **asked_last;     /* wait for a thread */
    struct sp_name_job *answered, **last_answer; /* wait for the reactor */
    struct sp_post post;
    bool posted;
};

static void free_jobs(struct sp_name_job *j)
{
    for (struct sp_name_job *next; j; j = next) {
        next = j->next;
        if (j->list)
            freeaddrinfo(j->list);
        free(j);
    }
}

/* With the lock held; gives it back. */
static void put(struct sp_names *n)
{
    bool last = --n->refs == 0;
    pthread_mutex_unlock(&n->lock);
    if (!last)
        return;
    free_jobs(n->asked);
    free_jobs(n->answered);
    pthread_mutex_destroy(&n->lock);
    free(n);
}

/* On the reactor. */
static void tell(struct sp_reactor *r, struct sp_post *post)
{
    struct sp_names *n = SP_CONTAINER(post, struct sp_names, post);

    pthread_mutex_lock(&n->lock);
    struct sp_name_job *j = n->answered;
    n->answered = NULL;
    n->last_answer = &n->answered;
    n->posted = false;
    pthread_mutex_unlock(&n->lock);
    for (struct sp_name_job *next; j; j = next) {
        next = j->next;
        j->done(r, j);
        if (j->list)
            freeaddrinfo(j->list);
        free(j);
    }
}

/* With the lock held. */
static void answer(struct sp_names *n, struct sp_name_job *j)
{
    *n->last_answer = j;
    n->last_answer = &j->next;
    if (n->r && !n->posted) {
        n->posted = true;
        sp_reactor_post(n->r, &n->post);
    }
}

static void *work(void *arg)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct sp_names *n = arg;

    pthread_mutex_lock(&n->lock);
    while (n->r && n->asked) {
        struct sp_name_job *j = n->asked;
        n->asked = j->next;
        if (!n->asked)
            n->asked_last = &n->asked;
        pthread_mutex_unlock(&n->lock);
        j->next = NULL;
        if (getaddrinfo(j->host, NULL, &hints, &j->list) != 0)
            j->list = NULL;
        pthread_mutex_lock(&n->lock);
        answer(n, j);
    }
    n->threads--;
    put(n);
    return NULL;
}

/* With the lock held.  False: no thread there is, nor could be had. */
static bool has_thread(struct sp_names *n)
{
    pthread_attr_t attr;
    pthread_t thread;
    if (n->threads == THREADS_MAX)
        return true;
    if (pthread_attr_init(&attr) != 0)
        return n->threads > 0;
    bool made = pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED) == 0 &&
                pthread_create(&thread, &attr, work, n) == 0;
    pthread_attr_destroy(&attr);
    n->threads += made;
    n->refs += made;
    return n->threads > 0;
}

bool sp_names_ask(struct sp_names *n, struct sp_name_job *j)
{
    pthread_mutex_lock(&n->lock);
    bool ok = has_thread(n);
    if (ok) {
        j->next = NULL;
        j->list = NULL;
        *n->asked_last = j;
        n->asked_last = &j->next;
    }
    pthread_mutex_unlock(&n->lock);
    if (!ok)
        free(j);
    return ok;
}

enum sp_err sp_names_new(struct sp_reactor *r, struct sp_names **ret_names)
{
    struct sp_names *n = calloc(1, sizeof(*n));
    if (!n || pthread_mutex_init(&n->lock, NULL) != 0) {
        free(n);
        return SP_ENOMEM;
    }
    n->refs = 1;
    n->r = r;
    n->asked_last = &n->asked;
    n->last_answer = &n->answered;
    n->post.run = tell;
    *ret_names = n;
    return SP_OK;
}

void sp_names_end(struct sp_names *n)
{
    if (!n)
        return;
    pthread_mutex_lock(&n->lock);
    n->r = NULL;
    pthread_mutex_unlock(&n->lock);
}

void sp_names_free(struct sp_names *n)
{
    if (!n)
        return;
    sp_names_end(n);
    pthread_mutex_lock(&n->lock);
    put(n);
}
