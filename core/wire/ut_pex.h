/* ut_pex.h - the peers that a peer is connected to, told among peers.
 *
 * Source: BEP-0011.  A dictionary of six strings, each a list of contacts:
 *
 *   added    6 bytes each, IPv4      added.f    a byte of flags for each
 *   added6   18 bytes each, IPv6     added6.f   the same
 *   dropped  6 bytes each            dropped6   18 bytes each
 *
 * A codec: what to tell whom, and whom to believe, is core/torrent/pex.c's.
 */
#ifndef SP_WIRE_UT_PEX_H
#define SP_WIRE_UT_PEX_H

#include "core/base/addr.h"

/* BEP-0011 "Flags"; the others are reserved and kept out of what is read. */
enum sp_pex_flag {
    SP_PEX_ENCRYPTION = 0x01,
    SP_PEX_SEED = 0x02, /* or upload only */
    SP_PEX_UTP = 0x04,
    SP_PEX_HOLEPUNCH = 0x08,
    SP_PEX_REACHABLE = 0x10, /* the sender dialled it */
    SP_PEX_FLAGS = 0x1f,
};

enum {
    SP_PEX_SEND_MAX = 50, /* contacts added, and as many dropped, of one message of ours */
    SP_PEX_KEEP_MAX = 50, /* contacts of each list and family that are kept of a message */
};

struct sp_pex_contact {
    struct sp_addr addr;
    uint8_t flags; /* enum sp_pex_flag, or-ed; 0 where the sender told none */
};

struct sp_pex_msg {
    struct sp_pex_contact added[2 * SP_PEX_KEEP_MAX]; /* v4, then v6 */
    struct sp_addr dropped[2 * SP_PEX_KEEP_MAX];
    uint32_t added_count, dropped_count;
    /* Read: what the message carried, kept or not; never less than the counts. */
    uint32_t added_told, dropped_told;
    /* Read: an address was added twice, or added and dropped at once. */
    bool contradicts;
};

/* Keeps the first SP_PEX_KEEP_MAX of each list.  Left out of them: port 0, and
 * all but the first contact of one address, whatever its port (BEP-0011
 * "Security Considerations"), where the address is one of the internet.
 * SP_EPROTO  no bencoded dictionary; a key with the wrong type; a list that is
 *            no multiple of its contacts' length; flags that are not one for
 *            each; none of the four lists */
SP_MUST_USE enum sp_err sp_pex_read(struct sp_slice payload, struct sp_pex_msg *ret_msg);

/* Room for any message of ours. */
enum { SP_PEX_LEN_MAX = 2 * SP_PEX_SEND_MAX * (SP_COMPACT6_LEN + 1) + 128 };

/* Lists that are empty are not written.
 * SP_EINVAL  nothing to tell, or more than SP_PEX_SEND_MAX of a kind
 * SP_ELIMIT  cap is below what it takes; SP_PEX_LEN_MAX always does */
SP_MUST_USE enum sp_err sp_pex_write(const struct sp_pex_msg *msg, uint8_t *buf, size_t cap,
                                     size_t *ret_len);

#endif
