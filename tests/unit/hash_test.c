/* Every way of hashing that this CPU has, against the core's SHA-1 and
 * OpenSSL's. */
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "core/base/rng.h"
#include "core/base/sha1.h"
#include "edge.h"
#include "io/hash/lanes.h"

enum { BYTES = 1 << 18, PARTS_MAX = 64, MSGS_MAX = 40 };

static uint8_t bytes[BYTES];

__attribute__((constructor)) static void fill(void)
{
    for (size_t i = 0; i < BYTES; i++)
        bytes[i] = (uint8_t)(i * 2654435761u >> 13);
}

/* A plan for each kind that is here, then the measured one. */
static uint32_t plans(struct sp_lane_plan ret_plans[SP_LANE_KINDS_MAX + 1],
                      const char *ret_names[SP_LANE_KINDS_MAX + 1])
{
    static struct sp_lane_kind kinds[SP_LANE_KINDS_MAX];
    uint32_t count, n = 0;

    sp_sha1_kinds(kinds, &count);
    for (uint32_t k = 0; k < count; k++)
        if (kinds[k].is_here) {
            ret_names[n] = kinds[k].name;
            ret_plans[n++] = sp_sha1_plan_of(&kinds[k]);
        }
    ret_names[n] = "measured";
    ret_plans[n++] = *sp_sha1_plan();
    return n;
}

/* By the core, from its parts. */
static void want(const struct sp_hash_msg *msg, uint8_t ret_digest[SP_SHA1_LEN])
{
    struct sp_sha1 s;

    sp_sha1_init(&s);
    for (uint32_t p = 0; p < msg->part_count; p++)
        if (msg->parts[p].len)
            sp_sha1_add(&s, msg->parts[p].ptr, msg->parts[p].len);
    sp_sha1_end(&s, ret_digest);
}

/* Under each plan, as an array and as a list in reverse. */
static void agree(struct sp_hash_msg *msgs, uint32_t count, const char *what, uint64_t at)
{
    struct sp_lane_plan all[SP_LANE_KINDS_MAX + 1];
    const char *names[SP_LANE_KINDS_MAX + 1];
    struct sp_hash_msg **list = calloc(count + 1, sizeof(*list));
    uint8_t(*right)[SP_SHA1_LEN] = calloc(count + 1, SP_SHA1_LEN);
    uint32_t n = plans(all, names);

    for (uint32_t i = 0; i < count; i++) {
        list[count - 1 - i] = &msgs[i];
        want(&msgs[i], right[i]);
    }
    for (uint32_t p = 0; p < 2 * n; p++) {
        for (uint32_t i = 0; i < count; i++)
            memset(msgs[i].digest, 0xee, sizeof(msgs[i].digest));
        sp_lanes_run(&all[p / 2], p % 2 ? (struct sp_lane_queue){.list = list, .count = count}
                                        : (struct sp_lane_queue){.array = msgs, .count = count});
        for (uint32_t i = 0; i < count; i++)
            if (memcmp(msgs[i].digest, right[i], SP_SHA1_LEN) != 0) {
                printf("# %s: %s %llu, message %u of %u\n", names[p / 2], what,
                       (unsigned long long)at, i, count);
                CHECK(false);
                break;
            }
    }
    free(list);
    free(right);
}

TEST(core_agrees_with_openssl)
{
    uint8_t a[SP_SHA1_LEN], b[EVP_MAX_MD_SIZE];

    for (size_t len = 0; len <= 300; len++) {
        sp_sha1_of(bytes, len, a);
        CHECK(EVP_Digest(bytes, len, b, NULL, EVP_sha1(), NULL));
        CHECK(memcmp(a, b, SP_SHA1_LEN) == 0);
    }
}

/* All lengths at once: lanes end and are refilled at every step. */
TEST(lengths)
{
    static const size_t edges[] = {64, 16384, 32768, 65536};
    static struct sp_hash_msg msgs[340];
    static struct sp_slice parts[340];
    uint32_t n = 0;

    for (size_t len = 0; len <= 300; len++)
        parts[n++] = (struct sp_slice){bytes + len, len};
    for (size_t e = 0; e < SP_COUNT(edges); e++)
        for (size_t d = 0; d < 9; d++)
            parts[n++] = (struct sp_slice){bytes, edges[e] - 4 + d};
    for (uint32_t i = 0; i < n; i++)
        msgs[i] = (struct sp_hash_msg){.parts = &parts[i], .part_count = 1};
    agree(msgs, n, "all lengths to", n);
    for (uint32_t i = 0; i < n; i += 7)
        agree(msgs + i, 1, "one of length", parts[i].len);
}

TEST(every_count_of_messages)
{
    struct sp_hash_msg msgs[33];
    struct sp_slice parts[33][3];

    for (uint32_t count = 0; count <= 33; count++) {
        for (uint32_t i = 0; i < count; i++) {
            parts[i][0] = (struct sp_slice){bytes + i * 64, 4096};
            parts[i][1] = (struct sp_slice){bytes + 60000 - i * 64, 4096};
            parts[i][2] = (struct sp_slice){bytes + i, i == count / 2 ? 1000 : 512};
            msgs[i] = (struct sp_hash_msg){.parts = parts[i], .part_count = 3};
        }
        agree(msgs, count, "count", count);
    }
}

TEST(every_alignment)
{
    struct sp_hash_msg msgs[17];
    struct sp_slice parts[17];

    for (size_t shift = 0; shift < 64; shift++) {
        for (uint32_t i = 0; i < 17; i++) {
            parts[i] = (struct sp_slice){bytes + shift + i * (1 + shift), 700};
            msgs[i] = (struct sp_hash_msg){.parts = &parts[i], .part_count = 1};
        }
        agree(msgs, 17, "shift", shift);
    }
}

/* The same message cut at each place, with empty parts about. */
TEST(every_cut)
{
    struct sp_hash_msg msgs[201];
    struct sp_slice parts[201][5];

    for (uint32_t cut = 0; cut <= 200; cut++) {
        parts[cut][0] = (struct sp_slice){NULL, 0};
        parts[cut][1] = (struct sp_slice){bytes, cut};
        parts[cut][2] = (struct sp_slice){bytes, 0};
        parts[cut][3] = (struct sp_slice){bytes + cut, 200 - cut};
        parts[cut][4] = (struct sp_slice){NULL, 0};
        msgs[cut] = (struct sp_hash_msg){.parts = parts[cut], .part_count = 5};
    }
    agree(msgs, 201, "cuts of", 200);
    for (uint32_t i = 1; i < 201; i++)
        CHECK(memcmp(msgs[i].digest, msgs[0].digest, SP_SHA1_LEN) == 0);
}

TEST(random_messages)
{
    static struct sp_slice parts[MSGS_MAX][PARTS_MAX];
    struct sp_hash_msg msgs[MSGS_MAX];
    struct sp_rng rng = sp_rng_of(7);

    for (int round = 0; round < 60; round++) {
        uint32_t count = 1 + (uint32_t)(sp_rng_u64(&rng) % MSGS_MAX);
        for (uint32_t i = 0; i < count; i++) {
            uint32_t n = (uint32_t)(sp_rng_u64(&rng) % PARTS_MAX);
            for (uint32_t p = 0; p < n; p++) {
                uint64_t r = sp_rng_u64(&rng);
                size_t len = r % 4 ? (r >> 8) % 200 : (r >> 8) % 3 * 64;
                parts[i][p] = (struct sp_slice){bytes + (r >> 32) % (BYTES - 16384),
                                                r % 64 == 7 ? 16384 : len};
            }
            msgs[i] = (struct sp_hash_msg){.parts = parts[i], .part_count = n};
        }
        agree(msgs, count, "round", (uint64_t)round);
    }
}

/* One long message keeps going alone after fifteen short ones. */
TEST(one_straggler)
{
    struct sp_hash_msg msgs[16];
    struct sp_slice parts[16];

    for (uint32_t i = 0; i < 16; i++) {
        parts[i] = (struct sp_slice){bytes, i == 3 ? BYTES : 640 * i};
        msgs[i] = (struct sp_hash_msg){.parts = &parts[i], .part_count = 1};
    }
    agree(msgs, 16, "straggler", 3);
}

/* No kernel reads behind a part, nor does an idle lane. */
TEST(ends_at_a_dead_page)
{
    for (size_t len = 0; len <= 1500; len += len < 200 ? 1 : 37) {
        struct sp_slice part = edge(bytes, len);
        struct sp_hash_msg msgs[5];
        for (uint32_t i = 0; i < 5; i++)
            msgs[i] = (struct sp_hash_msg){.parts = &part, .part_count = 1};
        agree(msgs, 5, "edge", len);
    }
}

TEST(a_plan_fits_this_cpu)
{
    uint32_t batch = sp_hash_best_batch();

    CHECK(batch >= 1 && batch <= 16);
    CHECK(strcmp(sp_hash_kernel_name(0), "none") == 0);
    for (uint32_t n = 1; n <= 40; n++)
        CHECK(strlen(sp_hash_kernel_name(n)) > 1);
    for (uint32_t n = 1; n <= 16; n++) {
        const struct sp_lane_plan *plan = sp_sha1_plan();
        CHECK(plan->best[n]->is_here);
        CHECK(!plan->begun[n] || (plan->begun[n]->run && plan->begun[n]->is_here));
        CHECK(plan->begun[n] || !plan->best[n]->run);
    }
}

TEST(streams)
{
    struct sp_hash_stream s = {0};
    uint8_t right[SP_SHA1_LEN], got[SP_SHA1_LEN];

    sp_hash_stream_done(&s);
    CHECK_EQ(sp_hash_stream_init(&s), SP_OK);
    for (int again = 0; again < 2; again++) {
        for (size_t at = 0; at < 5000; at += 100 + (size_t)again * 25)
            sp_hash_stream_add(&s, bytes + at, 100 + (size_t)again * 25);
        sp_hash_stream_add(&s, NULL, 0);
        sp_hash_stream_end(&s, got);
        sp_sha1_of(bytes, 5000, right);
        CHECK(memcmp(got, right, SP_SHA1_LEN) == 0);
    }
    sp_hash_stream_done(&s);
    /* What is used where OpenSSL refuses SHA-1. */
    s = (struct sp_hash_stream){0};
    sp_sha1_init(&s.plain);
    sp_hash_stream_add(&s, bytes, 5000);
    sp_hash_stream_end(&s, got);
    CHECK(memcmp(got, right, SP_SHA1_LEN) == 0);
    sp_hash_sha1((struct sp_slice){bytes, 5000}, got);
    CHECK(memcmp(got, right, SP_SHA1_LEN) == 0);
}

int main(void)
{
    return check_run();
}
