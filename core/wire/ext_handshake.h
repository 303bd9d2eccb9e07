/* ext_handshake.h - what two peers tell each other about extensions.
 *
 * Source: BEP-0010 "handshake message", BEP-0021 (upload_only), BEP-0009
 * (metadata_size).  A dictionary; every key is optional, and a key that was
 * sent with the wrong type or out of range counts as not sent.
 */
#ifndef SP_WIRE_EXT_HANDSHAKE_H
#define SP_WIRE_EXT_HANDSHAKE_H

#include "core/base/addr.h"

/* The extensions we know.  The value is also the id that we announce, so it is
 * what a peer's message arrives under (SP_WIRE_EXTENDED.id). */
enum sp_ext {
    SP_EXT_HANDSHAKE = 0,
    SP_EXT_UT_PEX = 1,       /* BEP-0011 */
    SP_EXT_UT_METADATA = 2,  /* BEP-0009 */
    SP_EXT_UPLOAD_ONLY = 3,  /* Custom: seen in libtorrent, uTorrent; one byte, 0 or 1 */
    SP_EXT_UT_HOLEPUNCH = 4, /* BEP-0055 */
    SP_EXT_LT_DONTHAVE = 5,  /* BEP-0054 */
    SP_EXT_COUNT = 6,
};

enum { SP_EXT_V_CAP = 64 }; /* room for a client's name, NUL included */

/* Zeroed is the empty dictionary. */
struct sp_ext_handshake {
    /* m: read, the id the peer wants each extension under; written, the same of
     * ours (id == enum sp_ext).  An entry counts only where in_m says so: 0 in
     * m switches off, absence changes nothing (BEP-0010: "additive"). */
    uint8_t ids[SP_EXT_COUNT];
    bool in_m[SP_EXT_COUNT];
    bool has_reqq;
    bool has_upload_only;
    bool has_metadata_size;
    bool upload_only;        /* BEP-0021 */
    bool prefers_encryption; /* e, read only: what BEP-0011's flag 0x01 tells of it */
    uint16_t port;           /* p; 0: not sent */
    uint32_t reqq;           /* requests the sender keeps without dropping any */
    uint32_t metadata_size;  /* bytes of the info dictionary, > 0 */
    /* The receiver's address as the sender sees it, and the sender's others.
     * Port 0; family SP_FAMILY_NONE: not sent. */
    struct sp_addr yourip, ipv4, ipv6;
    /* Client name and version; "": not sent.  UTF-8 cut at a whole character;
     * control characters and broken sequences are removed. */
    char v[SP_EXT_V_CAP];
};

/* Announces ext under our id. */
static inline void sp_ext_offer(struct sp_ext_handshake *hs, enum sp_ext ext)
{
    hs->ids[ext] = (uint8_t)ext;
    hs->in_m[ext] = true;
}

/* The payload of an extended message with id 0.
 * SP_EPROTO  no bencoded dictionary, or more than 128 values in it */
SP_MUST_USE enum sp_err sp_ext_handshake_read(struct sp_slice payload,
                                              struct sp_ext_handshake *ret_hs);

/* Room that any written handshake fits into. */
enum { SP_EXT_HANDSHAKE_LEN_MAX = 512 };
/* SP_ELIMIT: cap is too small. */
SP_MUST_USE enum sp_err sp_ext_handshake_write(const struct sp_ext_handshake *hs, uint8_t *buf,
                                               size_t cap, size_t *ret_len);

/* BEP-0010: "the m dictionary is additive. It's enough that it contains the
 * actual CHANGES to the extension list." */
void sp_ext_handshake_merge(const struct sp_ext_handshake *hs, uint8_t ids[SP_EXT_COUNT]);

#endif
