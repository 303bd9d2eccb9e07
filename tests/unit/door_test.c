#include "core/session/door.h"

#include <string.h>

#include "check.h"
#include "core/wire/handshake.h"

static const uint8_t hash[SP_SHA1_LEN] = "a torrent of ours..";
static const struct sp_mse_dice dice_a = {.secret = {3, 1, 4}, .pads = 15};
static const struct sp_mse_dice dice_b = {.secret = {2, 7, 1}, .pads = 82};

static bool find(void *ctx, const uint8_t req2[SP_SHA1_LEN], uint8_t ret[SP_SHA1_LEN])
{
    uint8_t want[SP_SHA1_LEN];
    (void)ctx;
    sp_mse_req2(hash, want);
    memcpy(ret, hash, sizeof(hash));
    return memcmp(want, req2, sizeof(want)) == 0;
}

static struct sp_door new_door(enum sp_encryption policy)
{
    struct sp_door d;
    sp_door_init(&d, policy, &dice_b, find, NULL);
    return d;
}

static void plain_handshake(uint8_t bytes[SP_HANDSHAKE_LEN])
{
    struct sp_handshake hs = {.peer_id = "-XX0000-abcdefghijk"};
    memcpy(hs.info_hash, hash, sizeof(hash));
    sp_handshake_write(&hs, bytes);
}

/* In parts of at most cut bytes. */
static enum sp_door_state feed(struct sp_door *d, const uint8_t *bytes, size_t len, size_t cut,
                               struct sp_purse *purse, sp_time_ns now)
{
    for (size_t at = 0, n; at < len && d->state == SP_DOOR_ASKING; at += n) {
        struct sp_iov room = sp_door_room(d);
        n = len - at < cut ? len - at : cut;
        n = n < room.len ? n : room.len;
        if (n == 0)
            break;
        memcpy(room.ptr, bytes + at, n);
        (void)sp_door_received(d, n, purse, now);
    }
    return (enum sp_door_state)d->state;
}

TEST(plain_handshakes_name_their_torrent_in_every_cut)
{
    uint8_t bytes[SP_HANDSHAKE_LEN];
    plain_handshake(bytes);
    for (size_t cut = 1; cut <= sizeof(bytes); cut++) {
        for (int policy = SP_ENCRYPT_ALLOW; policy <= SP_ENCRYPT_PREFER; policy++) {
            struct sp_purse purse = {{0, 0}};
            struct sp_door d = new_door((enum sp_encryption)policy);
            CHECK_EQ(feed(&d, bytes, sizeof(bytes), cut, &purse, 1), SP_DOOR_NAMED);
            CHECK(memcmp(d.info_hash, hash, sizeof(hash)) == 0);
            CHECK(d.in_len >= SP_HANDSHAKE_HEAD_LEN && memcmp(d.in, bytes, d.in_len) == 0);
            CHECK_EQ(sp_door_out(&d).len, 0);
            CHECK_EQ(purse.spent_to[0], 0);
        }
    }
}

TEST(each_prefix_of_a_plain_handshake_asks_for_more)
{
    uint8_t bytes[SP_HANDSHAKE_LEN];
    plain_handshake(bytes);
    for (size_t len = 0; len < SP_HANDSHAKE_HEAD_LEN; len++) {
        struct sp_purse purse = {{0, 0}};
        struct sp_door d = new_door(SP_ENCRYPT_ALLOW);
        CHECK_EQ(feed(&d, bytes, len, 100, &purse, 1), SP_DOOR_ASKING);
        CHECK(!d.enciphered && !sp_door_waits(&d));
    }
}

/* A whole exchange, both ends in parts of at most cut bytes. */
static enum sp_door_state meet(struct sp_door *d, struct sp_mse *a, size_t cut,
                               struct sp_purse *purse)
{
    size_t used;
    for (int i = 0; i < 5000 && d->state == SP_DOOR_ASKING; i++) {
        struct sp_slice out = sp_mse_out(a);
        size_t n = out.len < cut ? out.len : cut;
        (void)feed(d, out.ptr, n, cut, purse, 1);
        sp_mse_sent(a, n);
        out = sp_door_out(d);
        n = out.len < cut ? out.len : cut;
        if (d->state == SP_DOOR_ASKING && n > 0) {
            CHECK(sp_mse_recv(a, (struct sp_slice){out.ptr, n}, &used) == SP_AGAIN);
            CHECK_EQ(used, n);
            sp_door_sent(d, n);
        }
    }
    return (enum sp_door_state)d->state;
}

TEST(enciphered_handshakes_name_their_torrent)
{
    static const struct {
        enum sp_encryption policy;
        uint8_t offered;
        int method; /* 0: refused */
    } v[] = {
        {SP_ENCRYPT_ALLOW, 3, 1},  {SP_ENCRYPT_ALLOW, 2, 2},   {SP_ENCRYPT_PREFER, 3, 2},
        {SP_ENCRYPT_PREFER, 1, 1}, {SP_ENCRYPT_REQUIRE, 3, 2}, {SP_ENCRYPT_REQUIRE, 1, 0},
        {SP_ENCRYPT_OFF, 3, 0},
    };
    uint8_t ia[SP_HANDSHAKE_LEN];
    plain_handshake(ia);
    for (size_t i = 0; i < SP_COUNT(v); i++) {
        for (size_t cut = 1; cut < 700; cut = cut * 2 + 1) {
            struct sp_purse purse = {{0, 0}};
            struct sp_door d = new_door(v[i].policy);
            struct sp_mse a;
            sp_mse_dial(&a, &dice_a, v[i].offered, hash, (struct sp_slice){ia, sizeof(ia)});
            enum sp_door_state state = meet(&d, &a, cut, &purse);
            CHECK_EQ(state, v[i].method ? SP_DOOR_NAMED : SP_DOOR_FAILED);
            CHECK(state != SP_DOOR_FAILED || d.why[0]);
            CHECK(state != SP_DOOR_NAMED || d.mse.method == v[i].method);
            CHECK(state != SP_DOOR_NAMED || memcmp(d.info_hash, hash, sizeof(hash)) == 0);
        }
    }
}

TEST(who_requires_rc4_takes_no_plain_text)
{
    uint8_t bytes[SP_HANDSHAKE_LEN];
    struct sp_purse purse = {{0, 0}};
    struct sp_door d = new_door(SP_ENCRYPT_REQUIRE);
    plain_handshake(bytes);
    CHECK_EQ(feed(&d, bytes, sizeof(bytes), 7, &purse, 1), SP_DOOR_FAILED);
    CHECK(d.why[0]);
}

/* ---- power ---- */

static const uint8_t noise[600] = {[0 ... 599] = 0x42};

TEST(the_second_power_needs_bytes_after_our_answer)
{
    struct sp_purse purse = {{0, 0}};
    struct sp_door d = new_door(SP_ENCRYPT_ALLOW);
    CHECK_EQ(feed(&d, noise, SP_DH_LEN - 1, 500, &purse, 1), SP_DOOR_ASKING);
    CHECK_EQ(purse.spent_to[0], 0);
    CHECK_EQ(feed(&d, noise, 400, 500, &purse, 1), SP_DOOR_ASKING); /* key and pad at once */
    CHECK(purse.spent_to[0] > 0 && sp_door_out(&d).len >= SP_DH_LEN);
    CHECK(purse.spent_to[1] == 0 && !sp_door_waits(&d));
    CHECK_EQ(feed(&d, noise, 1, 1, &purse, 1), SP_DOOR_ASKING);
    CHECK(purse.spent_to[1] > 0);
}

TEST(a_flood_gets_what_the_purse_has)
{
    enum { DOORS = 5000 };
    struct sp_purse purse = {{0, 0}};
    uint32_t answered = 0, waiting = 0;
    static struct sp_door last;
    for (uint32_t i = 0; i < DOORS; i++) { /* in one second */
        last = new_door(SP_ENCRYPT_ALLOW);
        (void)feed(&last, noise, 200, 500, &purse, 1 + i * (SP_SECOND_NS / DOORS));
        answered += last.answered;
        waiting += sp_door_waits(&last);
    }
    CHECK(answered >= SP_PURSE_PER_S && answered <= SP_PURSE_PER_S + SP_PURSE_BURST + 1);
    CHECK_EQ(answered + waiting, DOORS);
    CHECK_EQ(sp_door_go_on(&last, &purse, 2 * SP_SECOND_NS), SP_DOOR_ASKING);
    CHECK(last.answered && !sp_door_waits(&last));
}

TEST(more_than_a_pad_before_our_answer_costs_no_power)
{
    struct sp_purse purse = {{SP_SECOND_NS * 10, 0}};
    struct sp_door d = new_door(SP_ENCRYPT_ALLOW);
    CHECK_EQ(feed(&d, noise, SP_DH_LEN, 100, &purse, 1), SP_DOOR_ASKING);
    CHECK_EQ(feed(&d, noise, SP_MSE_PAD_MAX, 100, &purse, 1), SP_DOOR_ASKING);
    CHECK(sp_door_waits(&d) && !d.answered);
    CHECK_EQ(feed(&d, noise, 1, 1, &purse, 1), SP_DOOR_FAILED);
    CHECK(d.why[0] && !d.answered);
}

TEST(noise_after_our_answer_is_read_to_its_end)
{
    struct sp_purse purse = {{0, 0}};
    struct sp_door d = new_door(SP_ENCRYPT_ALLOW);
    CHECK_EQ(feed(&d, noise, SP_DH_LEN, 100, &purse, 1), SP_DOOR_ASKING);
    CHECK_EQ(feed(&d, noise, SP_MSE_PAD_MAX + SP_SHA1_LEN - 1, 1, &purse, 1), SP_DOOR_ASKING);
    CHECK_EQ(feed(&d, noise, 1, 1, &purse, 1), SP_DOOR_FAILED);
}

int main(void)
{
    return check_run();
}
