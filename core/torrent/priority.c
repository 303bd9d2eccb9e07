#include "core/torrent/priority.h"

#include <string.h>

#include "core/base/crc32c.h"

static uint32_t of_ports(uint16_t a, uint16_t b)
{
    uint16_t low = a < b ? a : b, high = a < b ? b : a;
    const uint8_t bytes[4] = {(uint8_t)(low >> 8), (uint8_t)low, (uint8_t)(high >> 8),
                              (uint8_t)high};
    return sp_crc32c(bytes, sizeof(bytes));
}

/* BEP-0040: "the mask to be used should be FF.FF.55.55 unless the IP addresses
 * are in the same /16": one byte more is whole for each that is shared. */
static void mask(const uint8_t *ip, size_t whole, size_t len, uint8_t *ret)
{
    for (size_t i = 0; i < len; i++)
        ret[i] = i < whole ? ip[i] : (uint8_t)(ip[i] & 0x55);
}

uint32_t sp_peer_priority(const struct sp_addr *a, const struct sp_addr *b)
{
    size_t len = sp_addr_ip_len(a), whole = a->family == SP_V4 ? 2 : 6;
    uint8_t x[16], y[16], both[32];

    if (a->family != b->family)
        return 0;
    /* BEP-0040: "If the IP addresses are the same, the port numbers (16-bit
     * integers) should be used instead" */
    if (sp_addr_same_ip(a, b))
        return of_ports(a->port, b->port);
    while (whole < len && memcmp(a->ip, b->ip, whole) == 0)
        whole++;
    mask(a->ip, whole, len, x);
    mask(b->ip, whole, len, y);
    /* BEP-0040: "priority = crc32-c(sort(masked_client_ip, masked_peer_ip))" */
    bool sorted = memcmp(x, y, len) <= 0;
    memcpy(both, sorted ? x : y, len);
    memcpy(both + len, sorted ? y : x, len);
    return sp_crc32c(both, 2 * len);
}
