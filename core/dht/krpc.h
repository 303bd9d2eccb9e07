/* krpc.h - the messages of the DHT: one bencoded dictionary a datagram.
 *
 * Source: BEP-0005 "KRPC Protocol", BEP-0032 (want, nodes6), BEP-0033
 * (scrape), BEP-0042 (ip), BEP-0043 (ro), BEP-0044 (get, put), BEP-0051
 * (sample_infohashes).
 *
 * Reading is one pass over at most SP_KRPC_LEN_MAX bytes, into a struct that
 * points into them: nothing is copied or allocated.  What is missing is
 * absent (a length of 0, a has_x of false), what has a wrong type or length
 * counts as missing, so that one struct serves all messages; whether a message
 * has what its method needs is the node's to judge.
 */
#ifndef SP_DHT_KRPC_H
#define SP_DHT_KRPC_H

#include "core/dht/id.h"

enum {
    SP_KRPC_LEN_MAX = 2048,   /* longest datagram looked at */
    SP_KRPC_REPLY_MAX = 1400, /* longest that is sent: fits any path's packets */
    SP_KRPC_TXN_MAX = 16,     /* bytes of a transaction id that are taken */
    SP_KRPC_TOKEN_MAX = 64,
    SP_KRPC_VALUES_MAX = 100, /* peers taken of one reply */
    SP_KRPC_SALT_MAX = 64,
    SP_KRPC_ITEM_MAX = 1000, /* BEP-0044: bytes of v */
    SP_KRPC_KEY_LEN = 32,    /* ed25519 */
    SP_KRPC_SIG_LEN = 64,
    SP_KRPC_BLOOM_LEN = 256, /* BEP-0033 */
};

enum sp_krpc_kind {
    SP_KRPC_QUERY,
    SP_KRPC_REPLY,
    SP_KRPC_ERROR,
};

enum sp_krpc_method {
    SP_KRPC_PING,
    SP_KRPC_FIND_NODE,
    SP_KRPC_GET_PEERS,
    SP_KRPC_ANNOUNCE_PEER,
    SP_KRPC_GET,
    SP_KRPC_PUT,
    SP_KRPC_SAMPLE,
    SP_KRPC_UNKNOWN,
};

/* BEP-0005 "Errors", BEP-0044 "Errors" */
enum sp_krpc_error {
    SP_KRPC_E_GENERIC = 201,
    SP_KRPC_E_SERVER = 202,
    SP_KRPC_E_PROTOCOL = 203,
    SP_KRPC_E_METHOD = 204,
    SP_KRPC_E_TOO_BIG = 205,
    SP_KRPC_E_SIGNATURE = 206,
    SP_KRPC_E_SALT = 207,
    SP_KRPC_E_CAS = 301,
    SP_KRPC_E_SEQ = 302,
};

enum { SP_KRPC_WANT_4 = 1, SP_KRPC_WANT_6 = 2 };

struct sp_krpc {
    enum sp_krpc_kind kind;
    enum sp_krpc_method method; /* QUERY */
    struct sp_slice txn;        /* 1 .. SP_KRPC_TXN_MAX bytes */
    struct sp_slice version;    /* v, for people; may be empty */
    bool read_only;             /* ro */
    struct sp_addr ip;          /* REPLY: our address as the sender sees it; family NONE: none */
    int64_t error;              /* ERROR: its number; 0 when it tells none */
    struct sp_slice error_text;

    /* of a and r alike */
    bool has_id, has_target; /* target: target or info_hash */
    struct sp_dht_id id, target;
    uint8_t want; /* QUERY: SP_KRPC_WANT_x bits; 0: not said */
    struct sp_slice token;
    struct sp_slice nodes;                      /* a multiple of 26 bytes */
    struct sp_slice nodes6;                     /* a multiple of 38 bytes */
    struct sp_slice values[SP_KRPC_VALUES_MAX]; /* each 6 or 18 bytes */
    uint32_t value_count;
    uint16_t port; /* announce_peer; 0: none */
    bool implied_port, seed, no_seed, scrape;
    struct sp_slice bloom_seeds, bloom_peers; /* 256 bytes, or empty */
    struct sp_slice v;                        /* as encoded: 1 .. SP_KRPC_ITEM_MAX bytes */
    bool v_too_big, salt_too_big;
    struct sp_slice key, sig, salt; /* 32, 64, 0 .. 64 bytes */
    bool has_seq, has_cas;
    int64_t seq, cas;
    bool has_samples;
    struct sp_slice samples; /* a multiple of 20 bytes */
    int64_t num, interval;   /* of samples; 0 .. INT32_MAX */
};

/* Everything in ret_msg points into packet.
 * SP_EDATA  no message of the DHT, or one that is broken: never to be answered */
SP_MUST_USE enum sp_err sp_krpc_read(struct sp_slice packet, struct sp_krpc *ret_msg);

/* Writes what is set in msg; the keys in their order.  values are written as
 * they are.  SP_ELIMIT: cap is too small. */
SP_MUST_USE enum sp_err sp_krpc_write(const struct sp_krpc *msg, uint8_t *buf, size_t cap,
                                      size_t *ret_len);

/* "find_node"; "?" for unknown ones. */
const char *sp_krpc_method_name(enum sp_krpc_method method);

/* What an item's signature covers: salt, seq and v.  buf has
 * SP_KRPC_SIGNED_MAX bytes; gives how many.  BEP-0044 "Signature Verification" */
enum { SP_KRPC_SIGNED_MAX = SP_KRPC_ITEM_MAX + SP_KRPC_SALT_MAX + 64 };
size_t sp_krpc_signed(struct sp_slice salt, int64_t seq, struct sp_slice v,
                      uint8_t buf[SP_KRPC_SIGNED_MAX]);

#endif
