/* Drawing a plan.  Which kinds of trouble there are at all is drawn first
 * (swarm testing): else the rare ones never meet, and the common ones hide
 * them. */
#include "core/base/out.h"
#include "sim/world.h"

static uint64_t below(struct sp_rng *r, uint64_t n)
{
    return sp_rng_below(r, n);
}

static bool maybe(struct sp_rng *r, uint32_t percent)
{
    return below(r, 100) < percent;
}

static uint64_t pick(struct sp_rng *r, const uint64_t *list, uint32_t count)
{
    return list[below(r, count)];
}

#define PICK(r, ...)                                                                               \
    pick((r), (const uint64_t[]){__VA_ARGS__}, SP_COUNT(((const uint64_t[]){__VA_ARGS__})))

static void draw_node(struct sp_rng *r, struct sim_node_plan *n, const struct sim_plan *plan)
{
    uint64_t piece = (plan->piece_len + SP_BLOCK_LEN - 1) / SP_BLOCK_LEN * SP_BLOCK_LEN;
    n->memory_bytes = (uint32_t)PICK(r, 4 * piece, 8 * piece, 2 << 20, 4 << 20, 8 << 20);
    n->link_Bps = PICK(r, 50 << 10, 500 << 10, 5 << 20, 100 << 20);
    n->latency_ns = PICK(r, 1, 5, 20, 100) * SP_MS_NS;
    n->disk_ns = PICK(r, 10, 1000, 5000, 20000) * 1000;
    n->hot_permille = (uint32_t)PICK(r, 0, 500, 1000);
    n->conn_max = (uint32_t)PICK(r, 40, 60);
    n->slots_max = (uint32_t)PICK(r, 0, 0, 1, 4);
    n->sequential = maybe(r, 20);
    if (maybe(r, 15))
        n->up_Bps = PICK(r, 30 << 10, 200 << 10, 1 << 20);
    if (maybe(r, 15))
        n->down_Bps = PICK(r, 30 << 10, 200 << 10, 1 << 20);
}

static void draw_peer(struct sp_rng *r, struct sim_peer_plan *p, uint32_t allowed)
{
    for (uint64_t n = below(r, 4); n > 0; n--)
        p->traits |= (1u << below(r, SIM_TRAITS)) & allowed;
    if (maybe(r, 30))
        p->traits |= SIM_DIALS;
    p->lie_permille = (uint32_t)PICK(r, 20, 200, 1000);
    p->reqq = (uint32_t)PICK(r, 0, 1, 10, 250, 2000);
}

static void draw_torrent(struct sp_rng *r, struct sim_plan *plan)
{
    plan->piece_len = (uint32_t)PICK(r, 16 << 10, 32 << 10, 64 << 10, 256 << 10, 40000, 100001);
    uint64_t pieces = PICK(r, 1, 3, 10, 30, 60);
    while (pieces > 1 && pieces * plan->piece_len > 4 << 20)
        pieces /= 2;
    plan->total_len = pieces * plan->piece_len;
    if (maybe(r, 80))
        plan->total_len -= below(r, plan->piece_len);
    plan->file_count = maybe(r, 50) ? 1 : 2 + (uint32_t)below(r, 4);
    if (plan->total_len < 1000)
        plan->file_count = 1;
}

static void draw_trouble(struct sp_rng *r, struct sim_plan *plan)
{
    if (maybe(r, 30))
        plan->dial_fails = (uint32_t)PICK(r, 50, 300);
    if (maybe(r, 20))
        plan->dial_hangs = (uint32_t)PICK(r, 20, 100);
    if (maybe(r, 30))
        plan->resets = (uint32_t)PICK(r, 100, 800);
    if (maybe(r, 30))
        plan->stalls = (uint32_t)PICK(r, 5, 50);
    if (maybe(r, 20))
        plan->disk_full = (uint32_t)PICK(r, 5, 50);
    if (maybe(r, 20))
        plan->disk_fails = (uint32_t)PICK(r, 5, 100);
    if (maybe(r, 20))
        plan->disk_slow = (uint32_t)PICK(r, 5, 50);
    if (maybe(r, 25))
        plan->crashes = (uint32_t)PICK(r, 5, 50);
    if (maybe(r, 30))
        plan->commands = (uint32_t)PICK(r, 20, 200);
    if (maybe(r, 20))
        plan->alloc_fails = (uint32_t)PICK(r, 10, 1000, 5000);
}

/* Scripted peers speak plain text alone.  Who requires RC4 never meets them,
 * nor those who have none. */
static void draw_encryption(struct sp_rng *r, struct sim_plan *plan)
{
    if (maybe(r, 40))
        return;
    uint64_t extreme = PICK(r, SP_ENCRYPT_ALLOW, SP_ENCRYPT_OFF, SP_ENCRYPT_REQUIRE);
    for (uint32_t i = 0; i < plan->node_count; i++)
        plan->nodes[i].encryption =
            (enum sp_encryption)PICK(r, SP_ENCRYPT_ALLOW, SP_ENCRYPT_PREFER, extreme);
}

static void draw_web(struct sp_rng *r, struct sim_plan *plan)
{
    plan->web_Bps = PICK(r, 20 << 10, 500 << 10, 20 << 20);
    if (maybe(r, 40))
        plan->web_fails = (uint32_t)PICK(r, 50, 500);
    if (maybe(r, 30))
        plan->web_busy = (uint32_t)PICK(r, 50, 500);
    if (maybe(r, 40))
        plan->web_cuts = (uint32_t)PICK(r, 50, 500);
    if (maybe(r, 30))
        plan->web_silent = (uint32_t)PICK(r, 20, 200);
    if (maybe(r, 30))
        plan->web_corrupts = (uint32_t)PICK(r, 50, 1000);
}

void sim_draw(uint64_t seed, struct sim_plan *plan)
{
    struct sp_rng rng = sp_rng_of(seed), *r = &rng;

    *plan = (struct sim_plan){.seed = seed};
    draw_torrent(r, plan);
    plan->node_count = 2 + (uint32_t)below(r, maybe(r, 20) ? 10 : 4);
    for (uint32_t i = 0; i < plan->node_count; i++) {
        draw_node(r, &plan->nodes[i], plan);
        plan->nodes[i].seed = i == 0 || maybe(r, 10);
    }
    uint32_t allowed =
        maybe(r, 50) ? UINT32_MAX : (uint32_t)sp_rng_u64(r) & (uint32_t)sp_rng_u64(r);
    plan->peer_count = maybe(r, 70) ? (uint32_t)below(r, 7) : 0;
    for (uint32_t i = 0; i < plan->peer_count; i++)
        draw_peer(r, &plan->peers[i], allowed);
    plan->by_tracker = maybe(r, 50);
    plan->by_pex = maybe(r, 25);
    plan->cut_max = (uint32_t)PICK(r, 300, 1460, 20000, 100000, 400000);
    plan->in_flight = (uint32_t)PICK(r, 4 << 10, 64 << 10, 1 << 20);
    plan->jitter_percent = (uint32_t)PICK(r, 0, 10, 100);
    plan->heal_at = (2 + below(r, 60)) * SP_SECOND_NS;
    plan->patience_ns = 3000 * SP_SECOND_NS;
    plan->check_every = 16;
    if (maybe(r, 80))
        draw_trouble(r, plan);
    plan->frees_early = maybe(r, 10);
    plan->nodes[0].super_seed = maybe(r, 20);
    /* In a line of neighbours one that cannot be dialled would cut it. */
    for (uint32_t i = 1; i < plan->node_count; i++)
        plan->nodes[i].nat = maybe(r, 20) && !plan->by_pex;
    if (maybe(r, 10)) {
        plan->split_host = 1 + (uint32_t)below(r, plan->node_count);
        plan->split_at = below(r, plan->heal_at);
        plan->rejoin_at = plan->heal_at;
    }
    draw_encryption(r, plan);
    if (maybe(r, 25))
        draw_web(r, plan);
}

void sim_draw_swarm(uint64_t seed, uint32_t node_count, uint32_t piece_count, struct sim_plan *plan)
{
    struct sp_rng rng = sp_rng_of(seed), *r = &rng;

    *plan = (struct sim_plan){.seed = seed,
                              .node_count = node_count,
                              .piece_len = SP_BLOCK_LEN,
                              .total_len = (uint64_t)piece_count * SP_BLOCK_LEN,
                              .file_count = 1,
                              .by_tracker = true,
                              .cut_max = 1u << 16,
                              .in_flight = 64 << 10,
                              .jitter_percent = 10,
                              .heal_at = SP_SECOND_NS,
                              .patience_ns = 3600 * SP_SECOND_NS,
                              .check_every = 65536};
    for (uint32_t i = 0; i < node_count; i++)
        plan->nodes[i] = (struct sim_node_plan){
            .seed = i == 0,
            .nat = i > 0 && maybe(r, 30),
            .memory_bytes = 1 << 20,
            .up_Bps = i ? PICK(r, 64 << 10, 256 << 10, 1 << 20) : 1 << 20,
            .link_Bps = PICK(r, 1 << 20, 4 << 20, 16 << 20),
            .latency_ns = PICK(r, 5, 20, 60, 120) * SP_MS_NS,
            .disk_ns = PICK(r, 1, 5) * SP_MS_NS,
            .hot_permille = 1000,
            .conn_max = 24,
        };
}

const char *sim_traits_text(uint32_t traits, char text[256])
{
    static const char names[][10] = {"lies",   "refuses", "rejects", "trickles", "floods",
                                     "breaks", "unasked", "twice",   "shuffles", "haves",
                                     "flaps",  "closes",  "snubs",   "dribbles", "old",
                                     "dials",  "takes",   "partial", "stalls",   "unhaves"};
    struct sp_out o = sp_out_of((uint8_t *)text, 255);

    _Static_assert(SP_COUNT(names) == SIM_TRAITS, "a name for each");
    for (uint32_t i = 0; i < SIM_TRAITS; i++) {
        if (!(traits & 1u << i))
            continue;
        if (o.len)
            sp_out_str(&o, " ");
        sp_out_str(&o, names[i]);
    }
    text[o.len < o.cap ? o.len : o.cap] = '\0';
    return text;
}
