/* Properties: however the stream is cut, result, bytes taken, bytes said and
 * the ciphers are the same; what is taken stays within the pads' limits; an
 * error sticks; a door says the same as its machine, and never holds more than
 * it may.
 *
 *   byte 0  bits 0-1 methods allowed, 2 RC4 preferred, 3 we dial, 4 the stream
 *           is led up to its ciphered part and enciphered, 5 through a door,
 *           6-7 the policy there
 *   byte 1  seed of the cuts
 *   byte 2  length of the first pad, doubled
 *   then    the stream
 */
#include <stdlib.h>
#include <string.h>

#include "core/base/sha1.h"
#include "core/session/door.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define MUST(cond)                                                                                 \
    do {                                                                                           \
        if (!(cond))                                                                               \
            abort();                                                                               \
    } while (0)

enum { STREAM_MAX = 4096, HEAD_MAX = SP_DH_LEN + 512 + 2 * SP_SHA1_LEN };

static const uint8_t skey[SP_SHA1_LEN] = "the torrent at hand";
static struct sp_mse_dice ours = {.secret = {1, 2, 3}, .pads = 7};
static uint8_t their_y[SP_DH_LEN], shared[SP_DH_LEN];

static void init_keys(void)
{
    const uint8_t theirs[SP_DH_SECRET_LEN] = {9, 9, 9};
    uint8_t our_y[SP_DH_LEN];
    if (shared[0] || shared[1])
        return;
    sp_dh_public(theirs, their_y);
    sp_dh_public(ours.secret, our_y);
    MUST(sp_dh_shared(theirs, our_y, shared));
}

static bool find(void *ctx, const uint8_t req2[SP_SHA1_LEN], uint8_t ret[SP_SHA1_LEN])
{
    uint8_t want[SP_SHA1_LEN];
    (void)ctx;
    sp_mse_req2(skey, want);
    memcpy(ret, skey, sizeof(skey));
    return memcmp(want, req2, sizeof(want)) == 0;
}

static void hash(const char *name, const void *more, size_t len, uint8_t ret[SP_SHA1_LEN])
{
    struct sp_sha1 s;
    sp_sha1_init(&s);
    sp_sha1_add(&s, name, 4);
    sp_sha1_add(&s, shared, sizeof(shared));
    sp_sha1_add(&s, more, len);
    sp_sha1_end(&s, ret);
}

/* The stream as the peer sends it, into bytes; gives its length. */
static size_t lead(const uint8_t *data, struct sp_slice in, uint8_t *bytes)
{
    bool we_dial = data[0] & 8;
    size_t pad = (size_t)data[2] * 2, at = 0;
    uint8_t key[SP_SHA1_LEN], req2[SP_SHA1_LEN];
    struct sp_rc4 r;

    if (!(data[0] & 16)) {
        memcpy(bytes, in.ptr, in.len);
        return in.len;
    }
    memcpy(bytes, their_y, SP_DH_LEN);
    memset(bytes + SP_DH_LEN, 0x5a, pad);
    at = SP_DH_LEN + pad;
    if (!we_dial) {
        hash("req1", "", 0, bytes + at);
        hash("req3", "", 0, bytes + at + SP_SHA1_LEN);
        sp_mse_req2(skey, req2);
        for (int i = 0; i < SP_SHA1_LEN; i++)
            bytes[at + SP_SHA1_LEN + (size_t)i] ^= req2[i];
        at += 2 * SP_SHA1_LEN;
    }
    hash(we_dial ? "keyB" : "keyA", skey, sizeof(skey), key);
    sp_rc4_init(&r, key, sizeof(key));
    sp_rc4_skip(&r, 1024);
    sp_rc4_run(&r, in.ptr, bytes + at, in.len);
    return at + in.len;
}

struct outcome {
    enum sp_err err;
    size_t used, out_len;
    uint8_t out[SP_MSE_OUT_MAX];
    struct sp_rc4 rx, tx;
    uint8_t method;
    uint16_t ia_len;
};

static struct sp_mse begin(const uint8_t *data)
{
    uint8_t allow = data[0] & 3 ? data[0] & 3 : SP_MSE_BOTH;
    struct sp_mse m;
    if (data[0] & 8)
        sp_mse_dial(&m, &ours, allow, skey, (struct sp_slice){skey, sizeof(skey)});
    else
        sp_mse_answer(&m, &ours, allow, data[0] & 4, find, NULL);
    return m;
}

static struct outcome run(const uint8_t *data, struct sp_slice s, size_t part)
{
    struct sp_mse m = begin(data);
    struct sp_rng rng = sp_rng_of(data[1]);
    struct outcome o = {.err = SP_AGAIN};
    size_t used = 0;

    for (size_t end = 0; o.err == SP_AGAIN && end < s.len;) {
        size_t n = part ? 1 + (size_t)sp_rng_below(&rng, part) : s.len;
        end = n < s.len - end ? end + n : s.len;
        for (used = 1; o.err == SP_AGAIN && (used || sp_mse_wants_power(&m));) {
            sp_mse_power(&m);
            o.err = sp_mse_recv(&m, (struct sp_slice){s.ptr + o.used, end - o.used}, &used);
            o.used += used;
        }
        MUST(o.err != SP_AGAIN || o.used == end);
    }
    o.out_len = sp_mse_out(&m).len;
    memcpy(o.out, sp_mse_out(&m).ptr, o.out_len);
    MUST(o.used <= SP_DH_LEN + 2 * SP_MSE_PAD_MAX + 60);
    if (o.err == SP_EPROTO) {
        MUST(sp_mse_why(&m)[0] && sp_mse_recv(&m, s, &used) == SP_EPROTO && used == 0);
    } else if (o.err == SP_OK) {
        MUST(sp_mse_recv(&m, s, &used) == SP_OK && used == 0);
        MUST(m.method == SP_MSE_PLAIN || m.method == SP_MSE_RC4);
        MUST(memcmp(m.skey, skey, sizeof(skey)) == 0);
        o.rx = m.rx;
        o.tx = m.tx;
        o.method = m.method;
        o.ia_len = m.ia_len;
    }
    return o;
}

static bool is_same(const struct outcome *a, const struct outcome *b)
{
    return a->err == b->err && a->used == b->used && a->out_len == b->out_len &&
           memcmp(a->out, b->out, a->out_len) == 0 && a->method == b->method &&
           a->ia_len == b->ia_len && memcmp(&a->rx, &b->rx, sizeof(a->rx)) == 0 &&
           memcmp(&a->tx, &b->tx, sizeof(a->tx)) == 0;
}

/* Time goes on by a second with each part, so that there is always power. */
static void through_door(const uint8_t *data, struct sp_slice s)
{
    static const enum sp_encryption policies[] = {SP_ENCRYPT_ALLOW, SP_ENCRYPT_OFF,
                                                  SP_ENCRYPT_PREFER, SP_ENCRYPT_REQUIRE};
    struct sp_rng rng = sp_rng_of(data[1]);
    struct sp_purse purse = {{0, 0}};
    enum sp_door_state state = SP_DOOR_ASKING;
    struct sp_door d;
    sp_time_ns now = 1;

    sp_door_init(&d, policies[data[0] >> 6], &ours, find, NULL);
    for (size_t at = 0; at < s.len && state == SP_DOOR_ASKING; now += SP_SECOND_NS) {
        struct sp_iov room = sp_door_room(&d);
        size_t n = 1 + (size_t)sp_rng_below(&rng, 700);
        n = n < s.len - at ? n : s.len - at;
        n = n < room.len ? n : room.len;
        MUST(n > 0); /* with power it never fills up */
        memcpy(room.ptr, s.ptr + at, n);
        at += n;
        state = sp_door_received(&d, n, &purse, now);
        MUST(!sp_door_waits(&d));
        MUST(state != SP_DOOR_FAILED || d.why);
        MUST(state != SP_DOOR_NAMED || !d.enciphered ||
             memcmp(d.info_hash, skey, sizeof(skey)) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static uint8_t bytes[STREAM_MAX + HEAD_MAX];
    static const size_t parts[] = {1, 30, 400};

    if (len < 3 || len > STREAM_MAX)
        return 0;
    init_keys();
    struct sp_slice s = {bytes, lead(data, (struct sp_slice){data + 3, len - 3}, bytes)};
    if (data[0] & 32) {
        through_door(data, s);
        return 0;
    }
    struct outcome whole = run(data, s, 0);
    size_t part = parts[data[1] % SP_COUNT(parts)];
    struct outcome cut = run(data, s, part);
    MUST(is_same(&whole, &cut));
    return 0;
}
