/* items.h - arbitrary data under a key: what an item is, when it is to be
 * believed, and the store of those that others put here.
 *
 * Source: BEP-0044.
 *
 * Immutable: its key is the SHA-1 of the value.  Mutable: its key is the SHA-1
 * of a public key and a salt, it is signed, and a higher sequence number
 * replaces a lower one.
 *
 * Signatures are the shell's to check (ed25519): a function handed in.
 */
#ifndef SP_DHT_ITEMS_H
#define SP_DHT_ITEMS_H

#include "core/base/map.h"
#include "core/dht/krpc.h"

enum { SP_DHT_ITEMS_MAX = 700 };

/* BEP-0044: "Without re-announcement, these items MAY expire in 2 hours." */
#define SP_DHT_ITEM_NS (2 * 60 * 60 * SP_SECOND_NS)

struct sp_dht_item {
    bool is_mutable;
    uint8_t key[SP_KRPC_KEY_LEN]; /* these four: of mutable ones */
    uint8_t sig[SP_KRPC_SIG_LEN];
    uint8_t salt_len, salt[SP_KRPC_SALT_MAX];
    int64_t seq; /* >= 0 */
    uint16_t v_len;
    uint8_t v[SP_KRPC_ITEM_MAX]; /* bencoded */
};

/* Does sig, made with the secret half of key, cover msg? */
typedef bool sp_dht_verify(void *ctx, const uint8_t key[SP_KRPC_KEY_LEN],
                           const uint8_t sig[SP_KRPC_SIG_LEN], struct sp_slice msg);

struct sp_dht_id sp_dht_item_target(const struct sp_dht_item *item);
/* What a message carries.  False: no value, or a mutable one that lacks something. */
bool sp_dht_item_of(const struct sp_krpc *msg, struct sp_slice salt, struct sp_dht_item *ret_item);
/* Immutable, or signed as it should be. */
bool sp_dht_item_is_signed(const struct sp_dht_item *item, sp_dht_verify *verify, void *ctx);

struct sp_dht_items {
    const struct sp_mem *mem;
    struct sp_rng *rng;
    struct sp_hash_key hash_key;
    struct sp_dht_stored **stored; /* cap places, count in use */
    uint32_t count, cap, expire_at;
    struct sp_map map;
};

struct sp_dht_stored {
    struct sp_dht_id target;
    sp_time_ns put_at;
    struct sp_dht_item item; /* allocated up to the end of its value */
};

void sp_dht_items_init(struct sp_dht_items *s, const struct sp_mem *mem, struct sp_rng *rng,
                       const struct sp_hash_key *key);
void sp_dht_items_done(struct sp_dht_items *s);
/* NULL: there is none.  Until the next call that changes the store. */
const struct sp_dht_item *sp_dht_items_get(const struct sp_dht_items *s,
                                           const struct sp_dht_id *target);
/* The item is signed.  self decides what goes when there are too many.
 * 0: it is stored; else what to answer: SP_KRPC_E_CAS, _SEQ, _SERVER. */
int sp_dht_items_put(struct sp_dht_items *s, const struct sp_dht_id *self,
                     const struct sp_dht_item *item, bool has_cas, int64_t cas, sp_time_ns now);
void sp_dht_items_tick(struct sp_dht_items *s, sp_time_ns now);

#endif
