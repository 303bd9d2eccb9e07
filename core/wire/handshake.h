/* handshake.h - the 68 bytes that open a peer connection.
 *
 * Source: BEP-0003 "peer protocol", BEP-0004 "Reserved Bit Allocations".
 *
 *   off  len  field
 *   0    1    19
 *   1    19   "BitTorrent protocol"
 *   20   8    reserved bits: what the sender speaks besides BEP 3
 *   28   20   info-hash
 *   48   20   peer id; may come later than the rest
 */
#ifndef SP_WIRE_HANDSHAKE_H
#define SP_WIRE_HANDSHAKE_H

#include "spate/err.h"

enum {
    SP_PEER_ID_LEN = 20,
    SP_HANDSHAKE_LEN = 68,
    SP_HANDSHAKE_HEAD_LEN = 48, /* up to and with the info-hash */
};

struct sp_handshake {
    uint8_t reserved[8];
    uint8_t info_hash[20]; /* of a v2 torrent: the first 20 bytes (BEP-0052) */
    uint8_t peer_id[20];
};

void sp_handshake_write(const struct sp_handshake *hs, uint8_t buf[SP_HANDSHAKE_LEN]);

/* Reads a whole handshake. SP_EPROTO: it does not start like one. */
SP_MUST_USE enum sp_err sp_handshake_read(const uint8_t bytes[SP_HANDSHAKE_LEN],
                                          struct sp_handshake *ret_hs);

/* The accepting side's first look, before it knows the torrent.  Consumes
 * nothing: the same bytes go to sp_wire_recv afterwards.
 * SP_AGAIN   fewer than SP_HANDSHAKE_HEAD_LEN bytes, all right so far
 * SP_EPROTO  a byte that cannot belong to a handshake (perhaps MSE) */
SP_MUST_USE enum sp_err sp_handshake_peek(struct sp_slice in, uint8_t ret_info_hash[20]);

/* BEP-0006: "reserved[7] |= 0x04" */
static inline bool sp_handshake_has_fast(const uint8_t reserved[8])
{
    return reserved[7] & 0x04;
}

static inline void sp_handshake_set_fast(uint8_t reserved[8])
{
    reserved[7] |= 0x04;
}

/* BEP-0010: "(reserved_byte[5] & 0x10) is the expression to use for checking" */
static inline bool sp_handshake_has_ext(const uint8_t reserved[8])
{
    return reserved[5] & 0x10;
}

static inline void sp_handshake_set_ext(uint8_t reserved[8])
{
    reserved[5] |= 0x10;
}

/* BEP-0005: "Peers supporting the DHT set the last bit of the 8-byte reserved flags" */
static inline bool sp_handshake_has_dht(const uint8_t reserved[8])
{
    return reserved[7] & 0x01;
}

static inline void sp_handshake_set_dht(uint8_t reserved[8])
{
    reserved[7] |= 0x01;
}

#endif
