/* upnp.h - port mappings by UPnP (miniupnpc), on a thread of their own: its
 * calls block for seconds.
 *
 * The thread finds the router, maps, renews, and removes at the end.  Results
 * are read under a lock; notify tells that they changed.
 */
#ifndef SP_IO_UPNP_H
#define SP_IO_UPNP_H

#include "core/portmap/portmap.h"
#include "spate/client.h"

struct sp_upnp;

struct sp_upnp_cfg {
    const struct sp_portmap_want *wants; /* copied */
    uint32_t want_count;
    /* On the UPnP thread, never after sp_upnp_free. */
    void (*notify)(void *ctx);
    void *ctx;
};

/* SP_ENOMEM */
SP_MUST_USE enum sp_err sp_upnp_start(const struct sp_upnp_cfg *cfg, struct sp_upnp **ret_upnp);

/* The router to ask, and our address on its network; NULL: none, what was
 * mapped is removed.  Only the gateway itself is spoken to: an answer that
 * points elsewhere is passed over. */
void sp_upnp_want(struct sp_upnp *u, const struct sp_addr *gateway, const struct sp_addr *local);

struct sp_upnp_result {
    bool mapped[SP_PORTMAP_WANTS_MAX];
    struct sp_addr external[SP_PORTMAP_WANTS_MAX]; /* the address may be unspecified */
    bool permanent;                                /* the router knows no leases */
    const char *why;                               /* not mapped: static; NULL: not tried yet */
};
void sp_upnp_result(struct sp_upnp *u, struct sp_upnp_result *ret_result);

/* Begins to remove; is_done once that is over. */
void sp_upnp_stop(struct sp_upnp *u);
bool sp_upnp_is_done(struct sp_upnp *u);
/* Does not wait: a thread that is still in a call ends itself after it.  Takes NULL. */
void sp_upnp_free(struct sp_upnp *u);

#endif
