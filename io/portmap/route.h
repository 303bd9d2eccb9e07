/* route.h - by which gateway, and from which address, we reach the internet.
 *
 * Asked of the kernel (rtnetlink) for one address far away, so that policy
 * routing and a tunnel's routes are obeyed.  Nothing is sent to that address.
 */
#ifndef SP_IO_ROUTE_H
#define SP_IO_ROUTE_H

#include <net/if.h>

#include "core/base/addr.h"

struct sp_route {
    struct sp_addr gateway, local; /* of one family, ports 0 */
    uint32_t device_ix;
    char device[IF_NAMESIZE];
};

/* Up to cap: for IPv4 one, for IPv6 one for each address that peers may
 * connect to.  0 where the internet is not reached by a gateway.
 * iface: device name or local address to keep to, NULL: any. */
uint32_t sp_routes_find(enum sp_family family, const char *iface, struct sp_route *ret_routes,
                        uint32_t cap);

#endif
