/* Peer connections on TCP.
 *
 * An accepted connection goes through a door first (core/session/door.h): its
 * handshake, plain or enciphered, names the torrent, and so the reactor that
 * owns it: elsewhere the door is handed over with the socket.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core/session/door.h"
#include "io/reactor/reactor.h"

enum {
    ACCEPT_BURST = 64,
    ANONYMOUS_MAX = 512, /* accepted and not yet named, per reactor */
    SEND_LIST = 256,
};

#define NAME_TIMEOUT_NS   (10 * SP_SECOND_NS)
#define PROXY_PATIENCE_NS (10 * SP_SECOND_NS)

_Static_assert(sizeof(struct sp_iov) == sizeof(struct iovec) &&
                   offsetof(struct sp_iov, len) == offsetof(struct iovec, iov_len),
               "sp_iov is handed to readv as it is");
_Static_assert(sizeof(struct sp_slice) == sizeof(struct iovec) &&
                   offsetof(struct sp_slice, len) == offsetof(struct iovec, iov_len),
               "sp_slice is handed to writev as it is");

struct sp_sock {
    struct sp_watch watch;
    struct sp_link link; /* r->socks */
    struct sp_reactor *r;
    struct sp_conn *conn; /* NULL: not named yet, or closed */
    struct sp_addr addr;
    struct sp_passage *passage; /* through the proxy, until it is open */
    bool is_met;                /* the proxy has taken the connection */
    bool connecting, reading, writing;
    struct sp_door *door; /* accepted and without a name: not NULL */
    sp_time_ns since;
};

static void want(struct sp_sock *k)
{
    sp_watch_want(&k->watch, (k->reading ? UV_READABLE : 0) | (k->writing ? UV_WRITABLE : 0));
}

static void on_freed(struct sp_watch *w)
{
    struct sp_sock *k = w->ctx;
    sp_passage_free(k->passage);
    free(k->door);
    free(k);
}

void sp_sock_close(struct sp_sock *k)
{
    if (!k)
        return;
    /* A proxy that does not even take connections is silent for all. */
    if (k->passage && !k->is_met && sp_reactor_now(k->r) - k->since > PROXY_PATIENCE_NS)
        sp_gate_failed(k->r, "does not answer");
    k->conn = NULL;
    sp_list_del(&k->r->socks, &k->link);
    sp_watch_close(&k->watch, on_freed);
}

/* The stream is over: the session hears it, the socket goes. */
static void lost(struct sp_sock *k, const char *why)
{
    struct sp_conn *c = k->conn;
    if (c)
        sp_conn_closed(c, why, sp_reactor_now(k->r));
    sp_sock_close(k);
}

/* ---- reading ---- */

static void read_some(struct sp_sock *k)
{
    struct sp_iov iov[SP_CONN_IOV_MAX];
    sp_time_ns now = sp_reactor_now(k->r);
    uint32_t n = sp_conn_recv_room(k->conn, iov, now);

    if (n == 0) { /* rate limit: sp_sock_resume follows */
        k->reading = false;
        want(k);
        return;
    }
    ssize_t got = readv(k->watch.fd, (const struct iovec *)iov, (int)n);
    if (got > 0)
        sp_conn_received(k->conn, (size_t)got, now);
    else if (got == 0)
        lost(k, "closed the connection");
    else if (errno != EAGAIN && errno != EINTR)
        lost(k, strerror(errno));
}

void sp_sock_resume(struct sp_sock *k)
{
    k->reading = true;
    want(k);
}

/* ---- writing ---- */

void sp_sock_send(struct sp_sock *k)
{
    struct sp_slice list[SEND_LIST];
    size_t len = 0;

    if (k->connecting || k->writing)
        return; /* goes on when the socket is writable */
    sp_time_ns now = sp_reactor_now(k->r);
    uint32_t n = sp_conn_send_list(k->conn, list, SEND_LIST, now);
    if (n == 0)
        return;
    for (uint32_t i = 0; i < n; i++)
        len += list[i].len;
    struct msghdr msg = {.msg_iov = (struct iovec *)list, .msg_iovlen = n};
    ssize_t sent = sendmsg(k->watch.fd, &msg, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        lost(k, strerror(errno));
        return;
    }
    if (sent > 0)
        sp_conn_sent(k->conn, (size_t)sent, now);
    if (sent < (ssize_t)len) {
        k->writing = true;
        want(k);
    }
}

/* ---- accepted connections: which torrent is it about? ---- */

struct handover {
    struct sp_post post;
    int fd;
    struct sp_addr addr;
    struct sp_door *door; /* NAMED */
};

static void on_ready(struct sp_watch *w, int events, int status);

static struct sp_sock *new_sock(struct sp_reactor *r, int fd, const struct sp_addr *addr)
{
    struct sp_sock *k = calloc(1, sizeof(*k));
    if (!k || sp_watch_init(&k->watch, &r->loop, fd, on_ready, k) != SP_OK) {
        free(k);
        close(fd);
        return NULL;
    }
    k->r = r;
    k->addr = *addr;
    k->since = sp_reactor_now(r);
    sp_list_add(&r->socks, &k->link);
    return k;
}

/* Gives the session the connection and what was read of it. */
static void adopt(struct sp_sock *k)
{
    struct sp_reactor *r = k->r;
    struct sp_door *door = k->door;

    k->door = NULL;
    k->conn = sp_session_enter(r->session, door, &k->addr, k, sp_reactor_now(r));
    free(door);
    if (!k->conn) {
        sp_sock_close(k);
        return;
    }
    k->reading = true;
    want(k);
}

static void run_handover(struct sp_reactor *r, struct sp_post *post)
{
    struct handover *h = (struct handover *)post;
    struct sp_sock *k = r->stopping ? NULL : new_sock(r, h->fd, &h->addr);
    if (r->stopping)
        close(h->fd);
    if (k) {
        k->door = h->door;
        adopt(k);
    } else {
        free(h->door);
    }
    free(h);
}

static void hand_over(struct sp_sock *k, struct sp_reactor *to)
{
    struct handover *h = calloc(1, sizeof(*h));
    if (!h) {
        sp_sock_close(k);
        return;
    }
    h->post.run = run_handover;
    h->addr = k->addr;
    h->door = k->door;
    k->door = NULL;
    sp_list_del(&k->r->socks, &k->link);
    h->fd = sp_watch_release(&k->watch, on_freed);
    sp_reactor_post(to, &h->post);
}

/* Sends what the door says; false when the stream is over. */
static bool answer(struct sp_sock *k)
{
    struct sp_slice out = sp_door_out(k->door);
    ssize_t sent = out.len ? send(k->watch.fd, out.ptr, out.len, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;
    if (sent < 0 && errno != EAGAIN && errno != EINTR)
        return false;
    if (sent > 0)
        sp_door_sent(k->door, (size_t)sent);
    return true;
}

static void after_door(struct sp_sock *k, enum sp_door_state state)
{
    struct sp_reactor_env *env = k->r->env;

    if (state == SP_DOOR_FAILED || !answer(k)) {
        sp_sock_close(k);
        return;
    }
    if (state == SP_DOOR_NAMED) {
        uint32_t to = k->door->info_hash[SP_SHA1_LEN - 1] % env->reactor_count;
        k->writing = false;
        if (env->reactors[to] == k->r)
            adopt(k);
        else
            hand_over(k, env->reactors[to]);
        return;
    }
    k->reading = sp_door_room(k->door).len > 0;
    k->writing = sp_door_out(k->door).len > 0;
    want(k);
}

static void read_door(struct sp_sock *k)
{
    struct sp_iov room = sp_door_room(k->door);
    ssize_t got = room.len ? recv(k->watch.fd, room.ptr, room.len, MSG_DONTWAIT) : 0;
    bool later = got < 0 && (errno == EAGAIN || errno == EINTR);

    if (room.len > 0 && got <= 0 && !later) {
        sp_sock_close(k);
        return;
    }
    sp_time_ns now = sp_reactor_now(k->r);
    if (got > 0)
        after_door(k, sp_door_received(k->door, (size_t)got, &k->r->purse, now));
    else
        after_door(k, sp_door_go_on(k->door, &k->r->purse, now));
}

static void open_door(struct sp_sock *k)
{
    struct sp_reactor *r = k->r;
    struct sp_mse_dice dice;

    k->door = calloc(1, sizeof(*k->door));
    if (!k->door) {
        sp_sock_close(k);
        return;
    }
    sp_session_dice(r->session, &dice);
    sp_door_init(k->door, r->env->encryption, &dice, r->env->find_skey, r->env->ctx);
    k->reading = true;
    want(k);
    read_door(k); /* its handshake is mostly there already */
}

/* Through the proxy, as far as it goes now; true: the peer is reached. */
static bool passed(struct sp_sock *k)
{
    const char *why;
    int events;

    k->is_met = true;
    switch (sp_passage_step(k->passage, k->watch.fd, &events, &why)) {
    case SP_PROXY_TALKING:
        k->reading = events & UV_READABLE;
        k->writing = events & UV_WRITABLE;
        want(k);
        return false;
    case SP_PROXY_FAILED:
        sp_gate_refused(k->r, k->passage);
        lost(k, why);
        return false;
    case SP_PROXY_DONE:
        break;
    }
    sp_passage_free(k->passage);
    k->passage = NULL;
    return true;
}

static void connected(struct sp_sock *k)
{
    int err = k->is_met ? 0 : sp_tcp_connected(k->watch.fd);
    if (err && k->passage)
        sp_gate_failed(k->r, strerror(err));
    if (err) {
        lost(k, strerror(err));
        return;
    }
    if (k->passage && !passed(k))
        return;
    k->connecting = k->writing = false;
    k->reading = true;
    want(k);
    sp_conn_opened(k->conn, sp_reactor_now(k->r));
}

static void on_ready(struct sp_watch *w, int events, int status)
{
    struct sp_sock *k = w->ctx;

    if (k->door) {
        if (status < 0)
            sp_sock_close(k);
        else
            read_door(k);
        return;
    }
    if (k->connecting) {
        connected(k);
        return;
    }
    if (status < 0) {
        lost(k, uv_strerror(status));
        return;
    }
    if (events & UV_WRITABLE) {
        k->writing = false;
        want(k);
        sp_sock_send(k);
    }
    if ((events & UV_READABLE) && k->conn)
        read_some(k);
}

/* ---- listening and dialling ---- */

/* The queue stays readable, and would keep the loop turning: it is looked at
 * again at the next tick. */
static void pause_accepting(struct sp_reactor *r)
{
    r->accept_paused = true;
    for (uint32_t i = 0; i < r->listener_count; i++)
        sp_watch_want(&r->listeners[i], 0);
}

static void resume_accepting(struct sp_reactor *r)
{
    r->accept_paused = false;
    for (uint32_t i = 0; i < r->listener_count; i++)
        sp_watch_want(&r->listeners[i], UV_READABLE);
}

static void on_accept(struct sp_watch *w, int events, int status)
{
    struct sp_reactor *r = w->ctx;
    struct sp_addr from;
    (void)events;

    for (int i = 0; status >= 0 && i < ACCEPT_BURST; i++) {
        int fd = sp_tcp_accept(w->fd, &from);
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                pause_accepting(r);
            if (errno == ECONNABORTED || errno == EINTR)
                continue;
            return;
        }
        struct sp_sock *k = new_sock(r, fd, &from);
        if (k)
            open_door(k);
    }
}

void sp_sock_listen(struct sp_reactor *r, const int *fds, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct sp_watch *w = &r->listeners[r->listener_count];
        if (sp_watch_init(w, &r->loop, fds[i], on_accept, r) != SP_OK) {
            close(fds[i]);
            continue;
        }
        r->listener_count++;
        sp_watch_want(w, UV_READABLE);
    }
}

void sp_sock_dial(struct sp_reactor *r, struct sp_conn *c, const struct sp_addr *addr)
{
    bool proxied = sp_gate_used(r);
    int fd = proxied ? sp_gate_connect(r) : sp_tcp_connect(addr, r->env->interface);
    struct sp_sock *k = fd < 0 ? NULL : new_sock(r, fd, addr);
    if (k && proxied && !(k->passage = sp_passage_new(r, addr))) {
        sp_sock_close(k);
        k = NULL;
    }
    if (!k) {
        sp_conn_closed(c, fd < 0 ? strerror(errno) : "out of memory", sp_reactor_now(r));
        return;
    }
    k->conn = c;
    k->connecting = k->writing = true;
    sp_conn_set_user(c, k);
    want(k);
}

/* ---- time and the end ---- */

void sp_sock_tick(struct sp_reactor *r, sp_time_ns now)
{
    uint32_t anonymous = 0;
    struct sp_link *next;

    if (r->accept_paused)
        resume_accepting(r);
    /* Newest first: of too many without a name, the oldest go. */
    for (struct sp_link *l = r->socks.ends.prev; l != &r->socks.ends; l = next) {
        struct sp_sock *k = SP_CONTAINER(l, struct sp_sock, link);
        next = l->prev;
        if (!k->door)
            continue;
        if (++anonymous > ANONYMOUS_MAX || now - k->since > NAME_TIMEOUT_NS)
            sp_sock_close(k);
        else if (sp_door_waits(k->door))
            after_door(k, sp_door_go_on(k->door, &r->purse, now));
    }
}

void sp_sock_lose_all(struct sp_reactor *r, const char *why)
{
    /* Losing one may close others: each time the first that is left. */
    for (uint32_t left = r->socks.count; left && r->socks.count; left--)
        lost(SP_CONTAINER(r->socks.ends.next, struct sp_sock, link), why);
}

void sp_sock_close_all(struct sp_reactor *r)
{
    for (uint32_t i = 0; i < r->listener_count; i++)
        sp_watch_close(&r->listeners[i], NULL);
    r->listener_count = 0;
    while (r->socks.count)
        sp_sock_close(SP_CONTAINER(r->socks.ends.next, struct sp_sock, link));
}
