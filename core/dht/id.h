/* id.h - node ids: distance, order, and the binding of an id to an address.
 *
 * Source: BEP-0005 "Overview", BEP-0042.
 *
 * An id is 160 bits; how far two are apart is their XOR read as a number.
 */
#ifndef SP_DHT_ID_H
#define SP_DHT_ID_H

#include "core/base/addr.h"
#include "core/base/rng.h"

enum { SP_DHT_ID_LEN = 20, SP_DHT_ID_BITS = 160 };

/* A node id or a key: an info-hash, the target of an item. */
struct sp_dht_id {
    uint8_t b[SP_DHT_ID_LEN];
};

bool sp_dht_id_eq(const struct sp_dht_id *a, const struct sp_dht_id *b);
/* Bits that a and b begin with alike: 0 .. 160. */
uint32_t sp_dht_id_common(const struct sp_dht_id *a, const struct sp_dht_id *b);
/* Below 0, 0, above 0: a is nearer to target than b, as near, farther. */
int sp_dht_id_cmp(const struct sp_dht_id *a, const struct sp_dht_id *b,
                  const struct sp_dht_id *target);
struct sp_dht_id sp_dht_id_random(struct sp_rng *rng);
/* A random id that begins with the first bits of base and differs in the next
 * (bits < 160). */
struct sp_dht_id sp_dht_id_near(const struct sp_dht_id *base, uint32_t bits, struct sp_rng *rng);

/* An id that addr may have: 21 bits of it follow from the address. */
struct sp_dht_id sp_dht_id_for(const struct sp_addr *addr, struct sp_rng *rng);
/* May a node at addr have this id?  Always where the address is none of the
 * internet: there everybody may. */
bool sp_dht_id_fits(const struct sp_dht_id *id, const struct sp_addr *addr);

#endif
