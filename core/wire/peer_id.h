/* peer_id.h - our peer id, and what a foreign one says of its client.
 *
 * Source: BEP-0020.  A peer id proves nothing: names are for people to read;
 * the v of the extension handshake, where there is one, is better (BEP-0010).
 */
#ifndef SP_WIRE_PEER_ID_H
#define SP_WIRE_PEER_ID_H

#include "core/base/rng.h"
#include "core/wire/handshake.h"

/* "-SP1230-" for version 1.2.3, and twelve random letters and digits.  Each
 * number is 0 to 35 (A is 10). */
void sp_peer_id_make(struct sp_rng *rng, unsigned major, unsigned minor, unsigned patch,
                     uint8_t ret_id[SP_PEER_ID_LEN]);

enum { SP_CLIENT_NAME_CAP = 48 }; /* room for any name below, NUL included */

/* "qBittorrent 4.6.5", "Mainline 7.10.5", "Tribler 5.9.11", "XY 1.2.3.4" for an
 * unknown code, "unknown" where there is no style at all.  Printable ASCII;
 * gives buf. */
const char *sp_peer_id_client(const uint8_t id[SP_PEER_ID_LEN], char buf[SP_CLIENT_NAME_CAP]);

#endif
