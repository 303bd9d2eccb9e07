#include "core/wire/handshake.h"

#include <string.h>

enum { OFF_RESERVED = 20, OFF_HASH = 28, OFF_ID = 48 };

/* BEP-0003: "The handshake starts with character ninteen (decimal) followed by
 * the string 'BitTorrent protocol'." */
static const uint8_t protocol[OFF_RESERVED + 1] = "\x13"
                                                  "BitTorrent protocol";

void sp_handshake_write(const struct sp_handshake *hs, uint8_t buf[SP_HANDSHAKE_LEN])
{
    memcpy(buf, protocol, OFF_RESERVED);
    memcpy(buf + OFF_RESERVED, hs->reserved, sizeof(hs->reserved));
    memcpy(buf + OFF_HASH, hs->info_hash, sizeof(hs->info_hash));
    memcpy(buf + OFF_ID, hs->peer_id, sizeof(hs->peer_id));
}

enum sp_err sp_handshake_read(const uint8_t bytes[SP_HANDSHAKE_LEN], struct sp_handshake *ret_hs)
{
    if (memcmp(bytes, protocol, OFF_RESERVED) != 0)
        return SP_EPROTO;
    memcpy(ret_hs->reserved, bytes + OFF_RESERVED, sizeof(ret_hs->reserved));
    memcpy(ret_hs->info_hash, bytes + OFF_HASH, sizeof(ret_hs->info_hash));
    memcpy(ret_hs->peer_id, bytes + OFF_ID, sizeof(ret_hs->peer_id));
    return SP_OK;
}

enum sp_err sp_handshake_peek(struct sp_slice in, uint8_t ret_info_hash[20])
{
    size_t n = in.len < OFF_RESERVED ? in.len : OFF_RESERVED;
    if (n > 0 && memcmp(in.ptr, protocol, n) != 0)
        return SP_EPROTO;
    if (in.len < SP_HANDSHAKE_HEAD_LEN)
        return SP_AGAIN;
    memcpy(ret_info_hash, in.ptr + OFF_HASH, SP_SHA1_LEN);
    return SP_OK;
}
