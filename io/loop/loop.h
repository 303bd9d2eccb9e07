/* loop.h - the event loop as reactors see it: a thin face on libuv, so that
 * another back end can stand behind the same calls.
 *
 * One loop per reactor thread; all calls on that thread.
 */
#ifndef SP_IO_LOOP_H
#define SP_IO_LOOP_H

#include <uv.h>

#include "core/base/addr.h"
#include "spate/err.h"

/* Nanoseconds on the monotonic clock, read once a turn. */
static inline sp_time_ns sp_loop_now(uv_loop_t *loop)
{
    (void)loop;
    return uv_hrtime();
}

/* ---- a descriptor that is watched ---- */

struct sp_watch {
    uv_poll_t poll;
    int fd;
    int events; /* UV_READABLE | UV_WRITABLE asked for */
    void (*ready)(struct sp_watch *w, int events, int status);
    void (*closed)(struct sp_watch *w); /* w may be freed in it */
    void *ctx;
};

/* The descriptor stays the caller's until sp_watch_close, which closes it. */
SP_MUST_USE enum sp_err sp_watch_init(struct sp_watch *w, uv_loop_t *loop, int fd,
                                      void (*ready)(struct sp_watch *, int events, int status),
                                      void *ctx);
/* 0: nothing.  Costs a system call only when it changes. */
void sp_watch_want(struct sp_watch *w, int events);
void sp_watch_close(struct sp_watch *w, void (*closed)(struct sp_watch *w));
/* Stops watching without closing: gives the descriptor (to another loop). */
int sp_watch_release(struct sp_watch *w, void (*closed)(struct sp_watch *w));

/* ---- sockets: non-blocking, close-on-exec; -1 and errno on failure ---- */

socklen_t sp_sockaddr_of(const struct sp_addr *a, struct sockaddr_storage *ret);
struct sp_addr sp_addr_of_sockaddr(const struct sockaddr_storage *ss);

/* iface: device name or local address to bind to, NULL: any. */
/* Somebody listens on it.  errno is set: listening shares a port among our own
 * reactors (SO_REUSEPORT), so it would not notice another program of the user. */
bool sp_tcp_port_is_taken(const struct sp_addr *a);
int sp_tcp_listen(const struct sp_addr *a, const char *iface, uint16_t *ret_port);
/* Connecting: watch it for UV_WRITABLE, then ask sp_tcp_connected. */
int sp_tcp_connect(const struct sp_addr *to, const char *iface);
/* 0, or the errno the connecting ended with. */
int sp_tcp_connected(int fd);
int sp_tcp_accept(int listener, struct sp_addr *ret_from);
/* On a port that others of ours may share (SO_REUSEPORT). */
int sp_udp_bind(enum sp_family family, const char *iface, const struct sockaddr *to, socklen_t len);
int sp_udp_open(enum sp_family family, const char *iface);

#endif
