/* udp.h - a reactor's datagrams on the port that it listens on.
 *
 * One socket a family on each reactor, all on one port (SO_REUSEPORT); a filter
 * in the kernel gives each datagram to the reactor whose it is (by the id of
 * its uTP connection).  A connection that comes to us may be about a torrent of
 * another reactor: its third packet, which names the torrent, and all later
 * ones are passed on to that one.
 *
 * Runs of datagrams are sent and received in one call where the kernel can
 * (UDP_SEGMENT, UDP_GRO).
 */
#ifndef SP_IO_REACTOR_UDP_H
#define SP_IO_REACTOR_UDP_H

#include "io/loop/loop.h"

struct sp_reactor;
struct sp_moved;

struct sp_udp {
    struct sp_watch v4, v6;
    bool has_v4, has_v6, full; /* full: a socket takes nothing now */
    bool no_gso;               /* the kernel or the way out cannot */
    uint8_t *bytes;            /* one call's worth */
    struct sp_moved *moved;    /* connections of other reactors; NULL: none yet */
    uint32_t passed_on;        /* batches on their way to this reactor; atomic */
};

/* A socket for sp_udp_start; -1 and errno.  a->port 0: any, then filled in.
 * count: reactors that share the port, called in their order. */
int sp_udp_listen(struct sp_addr *a, const char *iface, uint32_t ix, uint32_t count);

/* Takes the descriptors; -1: none of this family. */
void sp_udp_start(struct sp_reactor *r, int fd4, int fd6);
void sp_udp_close(struct sp_reactor *r);
void sp_udp_free(struct sp_reactor *r);
/* Sends what the session has to send. */
void sp_udp_flush(struct sp_reactor *r);

#endif
