#include "core/utp/packet.h"

#include <string.h>

#include "core/base/cur.h"
#include "core/base/out.h"

/* BEP-0029: "Unknown extensions can be skipped by simply advancing len bytes." */
static enum sp_err parse_exts(struct sp_cur *cur, uint8_t ext, struct sp_utp_packet *p)
{
    while (ext != 0) {
        uint8_t next = sp_cur_u8(cur), len = sp_cur_u8(cur);
        struct sp_slice body = sp_cur_take(cur, len);
        if (cur->err != SP_OK)
            return SP_EPROTO;
        /* BEP-0029, not followed: "must be at least 4, and in multiples of 4".
         * Custom: libtorrent sends as many bytes as it needs. */
        if (ext == SP_UTP_EXT_SACK)
            p->sack = body;
        ext = next;
    }
    return SP_OK;
}

enum sp_err sp_utp_parse(struct sp_slice datagram, struct sp_utp_packet *ret_packet)
{
    struct sp_cur cur = sp_cur_of(datagram);
    struct sp_utp_packet p = {0};
    uint8_t first = sp_cur_u8(&cur), ext = sp_cur_u8(&cur);

    p.type = first >> 4;
    p.id = sp_cur_u16(&cur);
    p.time_us = sp_cur_u32(&cur);
    p.delay_us = sp_cur_u32(&cur);
    p.window_bytes = sp_cur_u32(&cur);
    p.seq = sp_cur_u16(&cur);
    p.ack = sp_cur_u16(&cur);
    /* BEP-0029: "The current version is 1." */
    if (cur.err != SP_OK || (first & 15) != 1 || p.type > SP_UTP_ST_SYN)
        return SP_EPROTO;
    if (parse_exts(&cur, ext, &p) != SP_OK)
        return SP_EPROTO;
    p.payload = sp_cur_take(&cur, sp_cur_left(&cur));
    *ret_packet = p;
    return SP_OK;
}

static void put_be16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

/* BEP-0029: "All fields are in network byte order (big endian)." */
void sp_utp_put_head(uint8_t *ptr, const struct sp_utp_packet *p, uint8_t first_ext)
{
    ptr[0] = (uint8_t)(p->type << 4 | 1);
    ptr[1] = first_ext;
    put_be16(ptr + 2, p->id);
    sp_put_be32(ptr + 4, p->time_us);
    sp_put_be32(ptr + 8, p->delay_us);
    sp_put_be32(ptr + 12, p->window_bytes);
    put_be16(ptr + 16, p->seq);
    put_be16(ptr + 18, p->ack);
}

void sp_utp_put_pad(uint8_t *ptr, size_t len)
{
    while (len > 0) {
        /* What is left after this one has to have room for its own two bytes. */
        size_t n = len <= 257 ? len : len - 257 >= 2 ? 257 : 255;
        ptr[0] = len > n ? SP_UTP_EXT_PAD : 0;
        ptr[1] = (uint8_t)(n - 2);
        memset(ptr + 2, 0, n - 2);
        ptr += n;
        len -= n;
    }
}
