#include "io/loop/loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct sp_watch *w = poll->data;
    w->ready(w, events, status);
}

enum sp_err sp_watch_init(struct sp_watch *w, uv_loop_t *loop, int fd,
                          void (*ready)(struct sp_watch *, int events, int status), void *ctx)
{
    *w = (struct sp_watch){.fd = fd, .ready = ready, .ctx = ctx};
    if (uv_poll_init_socket(loop, &w->poll, fd) != 0)
        return SP_ENET;
    w->poll.data = w;
    return SP_OK;
}

void sp_watch_want(struct sp_watch *w, int events)
{
    if (events == w->events || uv_is_closing((uv_handle_t *)&w->poll))
        return;
    w->events = events;
    if (events)
        uv_poll_start(&w->poll, events, on_poll);
    else
        uv_poll_stop(&w->poll);
}

static void on_closed(uv_handle_t *handle)
{
    struct sp_watch *w = handle->data;
    if (w->closed)
        w->closed(w);
}

int sp_watch_release(struct sp_watch *w, void (*closed)(struct sp_watch *w))
{
    int fd = w->fd;
    if (uv_is_closing((uv_handle_t *)&w->poll))
        return -1;
    w->closed = closed;
    w->fd = -1;
    uv_poll_stop(&w->poll);
    uv_close((uv_handle_t *)&w->poll, on_closed);
    return fd;
}

void sp_watch_close(struct sp_watch *w, void (*closed)(struct sp_watch *w))
{
    /* Out of the poll set before the descriptor can be given to another. */
    int fd = sp_watch_release(w, closed);
    if (fd >= 0)
        close(fd);
}

/* ---- sockets ---- */

socklen_t sp_sockaddr_of(const struct sp_addr *a, struct sockaddr_storage *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (a->family == SP_V4) {
        struct sockaddr_in *in = (struct sockaddr_in *)ret;
        in->sin_family = AF_INET;
        in->sin_port = htons(a->port);
        memcpy(&in->sin_addr, a->ip, 4);
        return sizeof(*in);
    }
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(a->port);
    memcpy(&in6->sin6_addr, a->ip, 16);
    return sizeof(*in6);
}

struct sp_addr sp_addr_of_sockaddr(const struct sockaddr_storage *ss)
{
    if (ss->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)ss;
        return sp_addr_v4((const uint8_t *)&in->sin_addr, ntohs(in->sin_port));
    }
    if (ss->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)ss;
        return sp_addr_v6((const uint8_t *)&in6->sin6_addr, ntohs(in6->sin6_port));
    }
    return (struct sp_addr){0};
}

static int af(enum sp_family family)
{
    return family == SP_V4 ? AF_INET : AF_INET6;
}

/* Binds to a device, or to the local address that iface spells.  An address
 * of the other family fails: nothing leaves by another way. */
static bool bind_iface(int fd, enum sp_family family, const char *iface)
{
    struct sp_addr local;
    struct sockaddr_storage ss;

    if (!iface)
        return true;
    if (sp_addr_parse((struct sp_slice){(const uint8_t *)iface, strlen(iface)}, false, &local) ==
        SP_OK) {
        if (local.family != family) {
            errno = EADDRNOTAVAIL;
            return false;
        }
        socklen_t len = sp_sockaddr_of(&local, &ss);
        return bind(fd, (struct sockaddr *)&ss, len) == 0;
    }
    return setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, iface, (socklen_t)strlen(iface) + 1) == 0;
}

static int fail(int fd)
{
    int err = errno;
    close(fd);
    errno = err;
    return -1;
}

static int open_socket(enum sp_family family, int type)
{
    int on = 1;
    int fd = socket(af(family), type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    /* v4 and v6 each have their own socket. */
    if (fd >= 0 && family == SP_V6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    return fd;
}

bool sp_tcp_port_is_taken(const struct sp_addr *a)
{
    struct sockaddr_storage ss;
    socklen_t len = sp_sockaddr_of(a, &ss);
    int on = 1, fd = a->port ? open_socket(a->family, SOCK_STREAM) : -1;

    if (fd < 0)
        return false; /* any port, or no such family: listening itself tells */
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    bool taken = bind(fd, (struct sockaddr *)&ss, len) != 0 && errno == EADDRINUSE;
    close(fd);
    if (taken)
        errno = EADDRINUSE;
    return taken;
}

int sp_tcp_listen(const struct sp_addr *a, const char *iface, uint16_t *ret_port)
{
    struct sockaddr_storage ss;
    socklen_t len = sp_sockaddr_of(a, &ss);
    int on = 1, fd = open_socket(a->family, SOCK_STREAM);
    bool is_device = iface && if_nametoindex(iface) != 0;

    if (fd < 0)
        return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    /* Each reactor has a listener of its own on the same port. */
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
    if ((is_device && !bind_iface(fd, a->family, iface)) ||
        bind(fd, (struct sockaddr *)&ss, len) != 0 || listen(fd, 512) != 0)
        return fail(fd);
    len = sizeof(ss);
    if (getsockname(fd, (struct sockaddr *)&ss, &len) != 0)
        return fail(fd);
    *ret_port = sp_addr_of_sockaddr(&ss).port;
    return fd;
}

static void tune(int fd)
{
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

int sp_tcp_connect(const struct sp_addr *to, const char *iface)
{
    struct sockaddr_storage ss;
    socklen_t len = sp_sockaddr_of(to, &ss);
    int fd = open_socket(to->family, SOCK_STREAM);

    if (fd < 0)
        return -1;
    tune(fd);
    if (!bind_iface(fd, to->family, iface))
        return fail(fd);
    if (connect(fd, (struct sockaddr *)&ss, len) != 0 && errno != EINPROGRESS)
        return fail(fd);
    return fd;
}

int sp_tcp_connected(int fd)
{
    int err = 0;
    socklen_t len = sizeof(err);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0)
        return errno;
    return err;
}

int sp_tcp_accept(int listener, struct sp_addr *ret_from)
{
    struct sockaddr_storage ss = {0};
    socklen_t len = sizeof(ss);
    int fd = accept4(listener, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return -1;
    tune(fd);
    *ret_from = sp_addr_of_sockaddr(&ss);
    return fd;
}

int sp_udp_open(enum sp_family family, const char *iface)
{
    int fd = open_socket(family, SOCK_DGRAM);
    if (fd < 0)
        return -1;
    if (!bind_iface(fd, family, iface))
        return fail(fd);
    return fd;
}

int sp_udp_bind(enum sp_family family, const char *iface, const struct sockaddr *to, socklen_t len)
{
    int on = 1, fd = open_socket(family, SOCK_DGRAM);
    bool is_device = iface && if_nametoindex(iface) != 0;

    if (fd < 0)
        return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
    if ((is_device && !bind_iface(fd, family, iface)) || bind(fd, to, len) != 0)
        return fail(fd);
    return fd;
}
