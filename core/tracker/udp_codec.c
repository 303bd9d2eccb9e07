#include "core/tracker/udp_codec.h"

#include <assert.h>

/* BEP-0015: "protocol_id 0x41727101980 // magic constant" */
#define PROTOCOL_ID UINT64_C(0x41727101980)

enum { OPTION_END = 0, OPTION_URL_DATA = 2 };

void sp_udp_put_connect(struct sp_out *o, uint32_t transaction)
{
    sp_out_u64(o, PROTOCOL_ID);
    sp_out_u32(o, SP_UDP_CONNECT);
    sp_out_u32(o, transaction);
}

/* BEP-0041: "This allows clients to send PATH and QUERY strings that are longer than 255
 * bytes, chunked into blocks of no larger than 255 bytes." */
static void put_url_data(struct sp_out *o, struct sp_slice target)
{
    if (target.len == 0)
        return;
    for (size_t at = 0, n; at < target.len; at += n) {
        n = target.len - at < 255 ? target.len - at : 255;
        sp_out_u8(o, OPTION_URL_DATA);
        sp_out_u8(o, (uint8_t)n);
        sp_out_bytes(o, target.ptr + at, n);
    }
    sp_out_u8(o, OPTION_END);
}

void sp_udp_put_announce(struct sp_out *o, uint64_t connection, uint32_t transaction,
                         const struct sp_announce *a, struct sp_slice target)
{
    sp_out_u64(o, connection);
    sp_out_u32(o, SP_UDP_ANNOUNCE);
    sp_out_u32(o, transaction);
    sp_out_bytes(o, a->info_hash, sizeof(a->info_hash));
    sp_out_bytes(o, a->peer_id, sizeof(a->peer_id));
    sp_out_u64(o, a->stats.downloaded);
    sp_out_u64(o, sp_announce_left(a));
    sp_out_u64(o, a->stats.uploaded);
    sp_out_u32(o, a->event <= SP_EVENT_STOPPED ? a->event : SP_EVENT_NONE);
    /* BEP-0015: "this field not usable under IPv6 and thus should always be set to 0." */
    if (a->announce_ip.family == SP_V4)
        sp_out_bytes(o, a->announce_ip.ip, 4);
    else
        sp_out_u32(o, 0);
    sp_out_u32(o, a->key);
    sp_out_u32(o, a->numwant);
    sp_out_u16(o, a->port);
    put_url_data(o, target);
}

void sp_udp_put_scrape(struct sp_out *o, uint64_t connection, uint32_t transaction,
                       const uint8_t *hashes, uint32_t count)
{
    assert(count <= SP_UDP_SCRAPE_MAX);
    sp_out_u64(o, connection);
    sp_out_u32(o, SP_UDP_SCRAPE);
    sp_out_u32(o, transaction);
    sp_out_bytes(o, hashes, (size_t)count * SP_SHA1_LEN);
}

enum sp_err sp_udp_read_connect(struct sp_slice packet, uint64_t *ret_connection)
{
    /* BEP-0015: "Check whether the packet is at least 16 bytes." */
    if (packet.len < 16)
        return SP_EDATA;
    *ret_connection = sp_be64(packet.ptr + 8);
    return SP_OK;
}

enum sp_err sp_udp_read_announce(struct sp_slice packet, enum sp_family family,
                                 struct sp_addr *peers, uint32_t cap,
                                 struct sp_announce_reply *ret_reply)
{
    struct sp_announce_reply r = {.swarm.downloaded = SP_SWARM_UNKNOWN};
    /* BEP-0015: "packets from a v4 address use the v4 format, those from a v6 address use the
     * v6 format." */
    size_t stride = family == SP_V4 ? SP_COMPACT4_LEN : SP_COMPACT6_LEN;

    /* BEP-0015: "Check whether the packet is at least 20 bytes." */
    if (packet.len < 20)
        return SP_EDATA;
    r.interval_s = sp_be32(packet.ptr + 8);
    r.swarm.leechers = sp_be32(packet.ptr + 12);
    r.swarm.seeds = sp_be32(packet.ptr + 16);
    for (size_t at = 20; packet.len - at >= stride && r.peer_count < cap; at += stride) {
        struct sp_addr peer = sp_addr_of_compact(packet.ptr + at, family);
        if (peer.port != 0)
            peers[r.peer_count++] = peer;
    }
    *ret_reply = r;
    return SP_OK;
}

enum sp_err sp_udp_read_scrape(struct sp_slice packet, struct sp_swarm_size *sizes, uint32_t count)
{
    if (packet.len < 8)
        return SP_EDATA;
    for (uint32_t i = 0; i < count; i++) {
        size_t at = 8 + (size_t)i * 12;
        sizes[i] = (struct sp_swarm_size){SP_SWARM_UNKNOWN, SP_SWARM_UNKNOWN, SP_SWARM_UNKNOWN};
        if (packet.len < at + 12)
            continue;
        sizes[i].seeds = sp_be32(packet.ptr + at);
        sizes[i].downloaded = sp_be32(packet.ptr + at + 4);
        sizes[i].leechers = sp_be32(packet.ptr + at + 8);
    }
    return SP_OK;
}

struct sp_slice sp_udp_read_error(struct sp_slice packet)
{
    if (packet.len <= 8)
        return (struct sp_slice){0};
    return (struct sp_slice){.ptr = packet.ptr + 8, .len = packet.len - 8};
}
