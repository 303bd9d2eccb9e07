/* addr.h - an IP address and port as a value. */
#ifndef SP_BASE_ADDR_H
#define SP_BASE_ADDR_H

#include "core/base/hash.h"
#include "spate/err.h"

enum sp_family {
    SP_FAMILY_NONE = 0,
    SP_V4 = 4,
    SP_V6 = 6,
};

/* Unused bytes are 0, so that equal addresses are equal bytes.  A v4-mapped
 * v6 address is stored as v4. */
struct sp_addr {
    uint8_t ip[16]; /* network order; v4 in the first four */
    uint16_t port;  /* host order */
    uint8_t family; /* enum sp_family */
};

/* What an address may be used for. */
enum sp_scope {
    SP_SCOPE_GLOBAL,
    SP_SCOPE_PRIVATE,  /* RFC 1918, 6598, 4193 */
    SP_SCOPE_LINK,     /* 169.254/16, fe80::/10 */
    SP_SCOPE_LOOPBACK, /* 127/8, ::1 */
    SP_SCOPE_NONE,     /* unspecified, multicast, broadcast, documentation: never dialled */
};

enum { SP_ADDR_TEXT_LEN = 64 }; /* room for any text below, NUL included */
enum { SP_COMPACT4_LEN = 6, SP_COMPACT6_LEN = 18 };

struct sp_addr sp_addr_v4(const uint8_t ip[4], uint16_t port);
struct sp_addr sp_addr_v6(const uint8_t ip[16], uint16_t port);

static inline size_t sp_addr_ip_len(const struct sp_addr *a)
{
    return a->family == SP_V4 ? 4 : 16;
}

bool sp_addr_eq(const struct sp_addr *a, const struct sp_addr *b);
bool sp_addr_same_ip(const struct sp_addr *a, const struct sp_addr *b);
uint64_t sp_addr_hash(const struct sp_hash_key *key, const struct sp_addr *a);
enum sp_scope sp_addr_scope(const struct sp_addr *a);

/* "1.2.3.4:5", "[::1]:5"; the port is required when need_port, else refused.
 * Names are not resolved here.  SP_EDATA */
SP_MUST_USE enum sp_err sp_addr_parse(struct sp_slice text, bool need_port,
                                      struct sp_addr *ret_addr);
/* The same form back, with the port when it is not 0; gives buf. */
const char *sp_addr_text(const struct sp_addr *a, char buf[SP_ADDR_TEXT_LEN]);

/* 6 or 18 bytes, IP and port in network order (BEP-0023, BEP-0007). */
size_t sp_addr_compact(const struct sp_addr *a, uint8_t buf[SP_COMPACT6_LEN]);
struct sp_addr sp_addr_of_compact(const uint8_t *bytes, enum sp_family family);

#endif
