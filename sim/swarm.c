/* One run from beginning to end. */
#include "core/base/sha1.h"
#include "sim/world.h"

#define LOOK_NS (SP_SECOND_NS / 2)

/* What may come twice where all goes well: a half and the end game's blocks. */
enum { WASTE_SHARE = 2, WASTE_BYTES = 16 * SP_BLOCK_LEN };

/* ---- the torrent ---- */

static enum sp_err write_torrent(struct sim *sim, const uint8_t *hashes)
{
    const struct sim_plan *plan = sim->plan;
    struct sp_metainfo_spec_file files[8];
    static const char names[][2] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    struct sp_metainfo_spec spec = {.name = SP_LIT("sim"),
                                    .files = files,
                                    .file_count = plan->file_count,
                                    .single_file = plan->file_count == 1,
                                    .piece_length = plan->piece_len,
                                    .pieces = {hashes, (size_t)sim->piece_count * SP_SHA1_LEN},
                                    .creation_date = -1};
    uint64_t left = plan->total_len;
    size_t len;

    for (uint32_t f = 0; f < plan->file_count; f++) {
        uint64_t n = f + 1 == plan->file_count ? left : sim_below(sim, left);
        files[f] =
            (struct sp_metainfo_spec_file){.path = {(const uint8_t *)names[f], 1}, .length = n};
        left -= n;
    }
    if (sp_metainfo_write(&spec, NULL, 0, &len, NULL) != SP_ELIMIT)
        return SP_EINVAL;
    uint8_t *bytes = sim_alloc(sim, len, 1);
    enum sp_err err = sp_metainfo_write(&spec, bytes, len, &len, NULL);
    if (err == SP_OK)
        err = sp_metainfo_parse(sim->mem, (struct sp_slice){bytes, len}, NULL, &sim->mi, NULL);
    sp_mem_free(sim->mem, bytes);
    return err;
}

static enum sp_err make_torrent(struct sim *sim)
{
    const struct sim_plan *plan = sim->plan;

    sim->piece_count = (uint32_t)((plan->total_len - 1) / plan->piece_len + 1);
    sim->piece_blocks = (plan->piece_len + SP_BLOCK_LEN - 1) / SP_BLOCK_LEN;
    sim->truth = sim_alloc(sim, plan->total_len, 1);
    sp_rng_bytes(&sim->rng, sim->truth, plan->total_len);
    uint8_t *hashes = sim_alloc(sim, sim->piece_count, SP_SHA1_LEN);
    for (uint32_t p = 0; p < sim->piece_count; p++) {
        uint64_t off = (uint64_t)p * plan->piece_len, left = plan->total_len - off;
        sp_sha1_of(sim->truth + off, left < plan->piece_len ? (size_t)left : plan->piece_len,
                   hashes + (size_t)p * SP_SHA1_LEN);
    }
    enum sp_err err = write_torrent(sim, hashes);
    sp_mem_free(sim->mem, hashes);
    return err;
}

/* ---- hosts ---- */

static void on_node_start(struct sim *sim, void *ctx, uint64_t arg)
{
    (void)sim;
    (void)arg;
    sim_node_start(ctx);
}

static void make_hosts(struct sim *sim)
{
    const struct sim_plan *plan = sim->plan;

    for (uint32_t i = 0; i < plan->peer_count; i++) {
        struct sim_peer *p = &sim->peers[i];
        *p = (struct sim_peer){
            .sim = sim, .host = plan->node_count + i, .index = i, .plan = &plan->peers[i]};
        sim_peer_start(p);
    }
    for (uint32_t i = 0; i < plan->node_count; i++) {
        struct sim_node *n = &sim->nodes[i];
        *n = (struct sim_node){.sim = sim, .host = i, .plan = &plan->nodes[i]};
        sim_host_mem_init(&n->mem, sim);
        n->disk = sim_alloc(sim, plan->total_len, 1);
        if (n->plan->seed)
            memcpy(n->disk, sim->truth, plan->total_len);
        else
            sim->result->leeches++;
        n->liars = sim_alloc(sim, sim_block_ix(sim, sim->piece_count, 0), sizeof(uint64_t));
        n->failed_by = sim_alloc(sim, sim->piece_count, sizeof(uint64_t));
        if (sp_bits_init(&n->seen, sim->mem, sim->piece_count) != SP_OK)
            assert(false && "the simulator has no memory");
        sim_at(sim, sim_below(sim, 3 * SP_SECOND_NS), on_node_start, n, 0);
    }
}

/* ---- trouble, and its end ---- */

static void on_trouble(struct sim *sim, void *ctx, uint64_t arg)
{
    const struct sim_plan *plan = sim->plan;
    (void)ctx;
    (void)arg;

    if (sim->healed)
        return;
    for (uint32_t i = 0; i < plan->node_count; i++) {
        if (sim_chance(sim, plan->commands))
            sim_node_command(&sim->nodes[i]);
        if (sim_chance(sim, plan->crashes))
            sim_node_crash(&sim->nodes[i]);
    }
    for (struct sim_link *l = sim->links; l; l = l->next) {
        if (l->side[0].open && l->side[1].open && sim_chance(sim, plan->stalls))
            sim_link_hold(l, sim->now + sim_below(sim, 40 * SP_SECOND_NS));
    }
    sim_at(sim, sim->now + SP_SECOND_NS, on_trouble, NULL, 0);
}

static void on_heal(struct sim *sim, void *ctx, uint64_t arg)
{
    (void)ctx;
    (void)arg;
    sim_note(sim, 0, "heals", 0, 0);
    sim->healed = true;
    for (struct sim_link *l = sim->links; l; l = l->next)
        sim_link_hold(l, sim->now);
    for (uint32_t i = 0; i < sim->plan->node_count; i++)
        sim_node_heal(&sim->nodes[i]);
}

static void on_split(struct sim *sim, void *ctx, uint64_t arg)
{
    (void)ctx;
    (void)arg;
    sim_note(sim, 0, "splits", sim->plan->split_host, 0);
    sim_links_split(sim);
}

/* ---- the end ---- */

static bool all_complete(const struct sim *sim)
{
    for (uint32_t i = 0; i < sim->plan->node_count; i++) {
        if (!sim_node_is_complete(&sim->nodes[i]))
            return false;
    }
    return true;
}

static void judge(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->plan->node_count; i++) {
        struct sim_node *n = &sim->nodes[i];
        sim_verify(n);
        if (!sim_node_is_complete(n))
            sim_break(sim, i, "is not complete long after the world healed");
        if ((n->due & ~n->banned) && !sim->plan->alloc_fails)
            sim_break(sim, i, "a proven liar was not banned");
    }
}

/* Nobody does wrong and nothing breaks: then little comes twice. */
static bool is_calm(const struct sim_plan *p)
{
    return p->peer_count == 0 && !(p->dial_fails | p->dial_hangs | p->resets | p->stalls) &&
           !(p->disk_full | p->disk_fails | p->disk_slow | p->crashes | p->commands) &&
           !p->alloc_fails;
}

static void judge_waste(struct sim *sim)
{
    const struct sim_plan *plan = sim->plan;

    for (uint32_t i = 0; i < plan->node_count && is_calm(plan); i++) {
        struct sp_client_totals totals;
        if (!sim->nodes[i].session)
            continue;
        sp_session_totals(sim->nodes[i].session, sim->now, &totals);
        uint64_t most = plan->total_len + plan->total_len / WASTE_SHARE + WASTE_BYTES;
        if (totals.downloaded_bytes > most)
            sim_break(sim, i, "fetches too much twice");
    }
}

static void run(struct sim *sim)
{
    const struct sim_plan *plan = sim->plan;
    sp_time_ns end = plan->heal_at + plan->patience_ns, look = 0;

    while (!sim->failed) {
        if (plan->frees_early && sim->healed)
            return;
        if (sim->now >= look) {
            look = sim->now + LOOK_NS;
            if (sim->healed && all_complete(sim))
                break;
        }
        if (!sim_step(sim, end))
            break;
    }
    if (!plan->frees_early) {
        judge(sim);
        judge_waste(sim);
    }
}

static uint32_t count_pairs(const struct sim *sim)
{
    uint32_t met[32] = {0}, pairs = 0; /* by lower number: bits of the higher */
    uint32_t count = sim->plan->node_count < 32 ? sim->plan->node_count : 32;

    for (const struct sim_link *l = sim->links; l; l = l->next) {
        uint32_t a = l->side[0].host, b = l->side[1].host;
        if (a != b && a < count && b < count)
            met[a < b ? a : b] |= 1u << (a < b ? b : a);
    }
    for (uint32_t i = 0; i < count; i++)
        pairs += (uint32_t)__builtin_popcount(met[i]);
    return pairs;
}

static void free_all(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->plan->node_count; i++)
        sim_node_free(&sim->nodes[i]);
    for (uint32_t i = 0; i < sim->plan->peer_count; i++)
        sim_peer_free(&sim->peers[i]);
    sim_links_free(sim);
    sim_jobs_free(sim);
    sp_metainfo_free(sim->mi);
    sp_mem_free(sim->mem, sim->truth);
    sp_mem_free(sim->mem, sim->bytes);
    sp_mem_free(sim->mem, sim->heap);
}

enum sp_err sim_run(const struct sim_plan *plan, const struct sp_mem *mem,
                    const struct sim_watch *watch, struct sim_result *ret_result)
{
    struct sim *sim = SP_NEW(mem, struct sim);
    if (!sim)
        return SP_ENOMEM;
    *ret_result = (struct sim_result){.size = plan->total_len};
    *sim = (struct sim){.mem = mem, .plan = plan, .watch = watch, .result = ret_result};
    sim->rng = sp_rng_of(plan->seed ^ UINT64_C(0x5eed));
    sim->bytes = sim_alloc(sim, SIM_BYTES_LEN, 1);
    enum sp_err err = make_torrent(sim);
    if (err == SP_OK) {
        make_hosts(sim);
        sim_at(sim, SP_SECOND_NS, on_trouble, NULL, 0);
        sim_at(sim, plan->heal_at, on_heal, NULL, 0);
        if (plan->split_host)
            sim_at(sim, plan->split_at, on_split, NULL, 0);
        run(sim);
        ret_result->end_at = sim->now;
        ret_result->links = sim->link_count;
        ret_result->pairs = count_pairs(sim);
    }
    free_all(sim);
    sp_mem_free(mem, sim);
    return err;
}
