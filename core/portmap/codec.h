/* codec.h - the datagrams of PCP and NAT-PMP, as bytes.
 *
 * Source: RFC 6887 sections 7 (headers), 11 (MAP), 14 (ANNOUNCE); RFC 6886
 * section 3.  Both use UDP port 5351 of the gateway; a first byte of 2 is PCP,
 * of 0 NAT-PMP.
 */
#ifndef SP_PORTMAP_CODEC_H
#define SP_PORTMAP_CODEC_H

#include "core/base/addr.h"
#include "core/base/out.h"

enum {
    SP_PCP_VERSION = 2,
    SP_NATPMP_VERSION = 0,
    SP_PCP_NONCE_LEN = 12,
    SP_PCP_MAP_LEN = 60, /* a MAP request, and a reply without options */
    SP_PCP_HEAD_LEN = 24,
    SP_PCP_DATAGRAM_MAX = 1100, /* RFC 6887 7: larger ones are no PCP */
};

enum sp_pcp_opcode { SP_PCP_ANNOUNCE = 0, SP_PCP_MAP = 1 };

/* RFC 6887 7.4; those of NAT-PMP (RFC 6886 3.5) are other numbers. */
enum sp_pcp_result {
    SP_PCP_SUCCESS,
    SP_PCP_UNSUPP_VERSION,
    SP_PCP_NOT_AUTHORIZED,
    SP_PCP_MALFORMED_REQUEST,
    SP_PCP_UNSUPP_OPCODE,
    SP_PCP_UNSUPP_OPTION,
    SP_PCP_MALFORMED_OPTION,
    SP_PCP_NETWORK_FAILURE,
    SP_PCP_NO_RESOURCES,
    SP_PCP_UNSUPP_PROTOCOL,
    SP_PCP_USER_EX_QUOTA,
    SP_PCP_CANNOT_PROVIDE_EXTERNAL,
    SP_PCP_ADDRESS_MISMATCH,
    SP_PCP_EXCESSIVE_REMOTE_PEERS,
};

enum sp_natpmp_result {
    SP_NATPMP_SUCCESS,
    SP_NATPMP_UNSUPP_VERSION,
    SP_NATPMP_REFUSED,
    SP_NATPMP_NETWORK_FAILURE,
    SP_NATPMP_NO_RESOURCES,
    SP_NATPMP_UNSUPP_OPCODE,
};

struct sp_pcp_map {
    uint8_t nonce[SP_PCP_NONCE_LEN];
    uint8_t protocol; /* IANA's: 6 TCP, 17 UDP */
    uint16_t internal_port;
    struct sp_addr external; /* port and address; of a request: what is suggested */
};

/* A MAP request; lifetime 0 deletes. */
void sp_pcp_put_map(struct sp_out *o, const struct sp_addr *client, uint32_t lifetime_s,
                    const struct sp_pcp_map *map);
void sp_pcp_put_announce(struct sp_out *o, const struct sp_addr *client);
/* "What is our external address?" */
void sp_natpmp_put_external(struct sp_out *o);
/* protocol: as above; lifetime 0 deletes. */
void sp_natpmp_put_map(struct sp_out *o, uint8_t protocol, uint16_t internal_port,
                       uint16_t external_port, uint32_t lifetime_s);

enum sp_portmap_reply_kind {
    SP_REPLY_PCP_MAP,
    SP_REPLY_PCP_ANNOUNCE,
    SP_REPLY_PCP_VERSION,     /* "I do not speak this version": version says what */
    SP_REPLY_NATPMP_EXTERNAL, /* external */
    SP_REPLY_NATPMP_MAP,      /* map without nonce; only the protocol when is_short */
    SP_REPLY_NATPMP_VERSION,  /* the same from a gateway that speaks NAT-PMP */
};

struct sp_portmap_reply {
    enum sp_portmap_reply_kind kind;
    uint8_t version;
    uint16_t result;
    uint32_t lifetime_s; /* of the mapping, or of the error (PCP) */
    uint32_t epoch_s;    /* seconds since the gateway lost its mappings */
    bool has_epoch;
    bool is_short; /* an error without the request's fields */
    struct sp_pcp_map map;
};

/* SP_AGAIN  too short   SP_EPROTO  not a reply of either protocol, or of an
 * operation that is never asked for */
SP_MUST_USE enum sp_err sp_portmap_reply_parse(struct sp_slice bytes,
                                               struct sp_portmap_reply *ret_reply);

/* For people. */
const char *sp_pcp_result_text(uint16_t result);
const char *sp_natpmp_result_text(uint16_t result);

#endif
