/* packet.h - a uTP packet's head and its selective acknowledgment (BEP-0029). */
#ifndef SP_UTP_PACKET_H
#define SP_UTP_PACKET_H

#include "spate/err.h"

enum sp_utp_type {
    SP_UTP_ST_DATA = 0,
    SP_UTP_ST_FIN = 1,
    SP_UTP_ST_STATE = 2,
    SP_UTP_ST_RESET = 3,
    SP_UTP_ST_SYN = 4,
};

enum {
    SP_UTP_HEAD_LEN = 20,
    SP_UTP_EXT_SACK = 1,
    /* No extension of anybody's: what it holds is passed over, so it makes a
     * packet as long as a probe has to be. */
    SP_UTP_EXT_PAD = 0x7d,
    SP_UTP_SACK_MAX = 252, /* bytes: a multiple of four below 256 */
};

struct sp_utp_packet {
    uint8_t type;      /* enum sp_utp_type */
    uint16_t id;       /* connection_id */
    uint32_t time_us;  /* timestamp_microseconds */
    uint32_t delay_us; /* timestamp_difference_microseconds */
    uint32_t window_bytes;
    uint16_t seq, ack;
    struct sp_slice sack; /* in the datagram; empty: none */
    struct sp_slice payload;
};

/* Borrows from datagram.  SP_EPROTO */
SP_MUST_USE enum sp_err sp_utp_parse(struct sp_slice datagram, struct sp_utp_packet *ret_packet);
/* The head alone: SP_UTP_HEAD_LEN bytes, first_ext the kind of what follows it. */
void sp_utp_put_head(uint8_t *ptr, const struct sp_utp_packet *p, uint8_t first_ext);
/* Extensions of len bytes in all, filled with nothing, the last of a chain.
 * len is 0, or at least 2. */
void sp_utp_put_pad(uint8_t *ptr, size_t len);

/* Bit n of a selective acknowledgment: packet ack + 2 + n came. */
static inline bool sp_utp_sack_bit(struct sp_slice sack, uint32_t n)
{
    return n / 8 < sack.len && (sack.ptr[n / 8] >> n % 8 & 1);
}

#endif
