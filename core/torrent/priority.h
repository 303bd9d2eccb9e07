/* priority.h - in which order peers are dialled, as all peers agree on it (BEP-0040). */
#ifndef SP_TORRENT_PRIORITY_H
#define SP_TORRENT_PRIORITY_H

#include "core/base/addr.h"

/* The higher, the earlier; the same for (a, b) and (b, a).  Of one family, or 0.
 * Both with the port they listen on. */
uint32_t sp_peer_priority(const struct sp_addr *a, const struct sp_addr *b);

#endif
