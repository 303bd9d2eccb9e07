/* portmapper.h - keeps the ports that we listen on reachable from outside.
 *
 * One thread with a core/portmap machine, its sockets and timers, and, where
 * PCP and NAT-PMP got no answer, a second one for UPnP.  It shares nothing
 * with the reactors: what it finds is told by calls made on its thread.
 */
#ifndef SP_IO_PORTMAPPER_H
#define SP_IO_PORTMAPPER_H

#include "core/portmap/portmap.h"
#include "spate/client.h"

struct sp_portmapper;

struct sp_portmapper_cfg {
    const char *interface;         /* as in sp_client_cfg; borrowed until free */
    const struct sp_addr *listens; /* borrowed until start returns */
    uint32_t listen_count;
    uint64_t seed;
    /* On the portmapper's thread. */
    void (*event)(void *ctx, enum sp_err err, const char *text);
    /* Peers reach our TCP port over IPv4 at this one; 0: as it is. */
    void (*outer_port)(void *ctx, uint16_t port);
    /* A gateway told our address there, and it is a global one. */
    void (*outer_address)(void *ctx, const struct sp_addr *addr);
    /* The last call: what was mapped is removed, or had its time. */
    void (*stopped)(void *ctx);
    void *ctx;
};

/* SP_ENOENT  listens has nothing that a gateway could lead to: no thread runs
 * SP_EIO     no descriptor
 * SP_ENOMEM */
SP_MUST_USE enum sp_err sp_portmapper_start(const struct sp_portmapper_cfg *cfg,
                                            struct sp_portmapper **ret_portmapper);
/* Begins to remove what is mapped; stopped() follows within SP_PORTMAPPER_STOP_NS. */
void sp_portmapper_stop(struct sp_portmapper *p);
#define SP_PORTMAPPER_STOP_NS (2 * SP_SECOND_NS)
/* Ends the thread at once.  Takes NULL. */
void sp_portmapper_free(struct sp_portmapper *p);

/* What is mapped now; up to cap. */
uint32_t sp_portmapper_list(struct sp_portmapper *p, struct sp_client_mapping *ret_mappings,
                            uint32_t cap);

#endif
