#include "core/wire/ut_holepunch.h"

#include "core/base/cur.h"
#include "core/base/out.h"

enum { HEAD_LEN = 2, ERROR_LEN = 4 };

enum sp_err sp_holepunch_read(struct sp_slice payload, struct sp_holepunch_msg *ret_msg)
{
    /* BEP-0055: "addr_type (1 byte): 0x00 for ipv4, 0x01 for ipv6" */
    if (payload.len < HEAD_LEN || payload.ptr[0] > SP_HOLEPUNCH_ERROR || payload.ptr[1] > 1)
        return SP_EPROTO;
    enum sp_family family = payload.ptr[1] ? SP_V6 : SP_V4;
    size_t addr_len = family == SP_V4 ? SP_COMPACT4_LEN : SP_COMPACT6_LEN;
    if (payload.len != HEAD_LEN + addr_len + ERROR_LEN)
        return SP_EPROTO;
    *ret_msg = (struct sp_holepunch_msg){
        .kind = (enum sp_holepunch_kind)payload.ptr[0],
        .addr = sp_addr_of_compact(payload.ptr + HEAD_LEN, family),
        .error = sp_be32(payload.ptr + HEAD_LEN + addr_len),
    };
    return SP_OK;
}

size_t sp_holepunch_write(const struct sp_holepunch_msg *msg, uint8_t buf[SP_HOLEPUNCH_LEN_MAX])
{
    buf[0] = (uint8_t)msg->kind;
    buf[1] = msg->addr.family == SP_V6;
    size_t len = HEAD_LEN + sp_addr_compact(&msg->addr, buf + HEAD_LEN);
    sp_put_be32(buf + len, msg->error);
    return len + ERROR_LEN;
}
