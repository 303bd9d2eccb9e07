/* What must hold at a node at any time. */
#include "sim/world.h"

#define TORRENT_ID 7u

void sim_verify_had(struct sim_node *n)
{
    struct sim *sim = n->sim;
    const struct sp_bits *have = sp_torrent_have(n->session, TORRENT_ID);

    if (!have || sim->failed)
        return;
    if (have->set < n->seen.set)
        sp_bits_fill(&n->seen, false); /* it is being checked again */
    for (uint32_t p = sp_bits_next_diff(have, &n->seen, 0); p != SP_BITS_NONE;
         p = sp_bits_next_diff(have, &n->seen, p + 1)) {
        uint64_t off = (uint64_t)p * sim->plan->piece_len;
        if (memcmp(n->disk + off, sim->truth + off, sp_metainfo_piece_len(sim->mi, p)) != 0)
            sim_break(sim, n->host, "a piece counts as had, and is not on the disk");
        sp_bits_add(&n->seen, p);
        n->due |= n->failed_by[p];
        n->failed_by[p] = 0;
    }
}

void sim_verify_complete(struct sim_node *n)
{
    struct sim *sim = n->sim;
    struct sim_result *res = sim->result;
    struct sp_client_totals totals = {0};

    if (n->plan->seed || n->seen.set < sim->piece_count || res->complete_at[n->host])
        return;
    res->complete_at[n->host] = sim->now;
    if (res->first_at)
        return;
    res->first_at = sim->now;
    if (sim->nodes[0].session)
        sp_session_totals(sim->nodes[0].session, sim->now, &totals);
    res->first_sent = sim->nodes[0].payload_out + totals.uploaded_bytes;
}

static void verify_rate(struct sim_node *n, uint64_t limit, uint64_t bytes, const char *why)
{
    sp_time_ns age = n->sim->now - n->born_at;
    if (limit == 0)
        return;
    uint64_t burst = limit / 4 < 32768 ? 32768 : limit / 4;
    uint64_t most = (uint64_t)((unsigned __int128)age * limit / SP_SECOND_NS);
    if (bytes > most + burst + SP_BLOCK_LEN)
        sim_break(n->sim, n->host, why);
}

void sim_verify(struct sim_node *n)
{
    struct sim *sim = n->sim;
    struct sp_client_totals totals;

    if (!n->session || sim->failed)
        return;
    const char *broken = sp_session_broken(n->session);
    if (broken)
        sim_break(sim, n->host, broken);
    sp_session_totals(n->session, sim->now, &totals);
    if (totals.memory_used_bytes > totals.memory_budget_bytes)
        sim_break(sim, n->host, "more blocks are used than the budget has");
    /* A slab takes twice its size, to be aligned. */
    if (n->mem.bytes > 2 * totals.memory_budget_bytes + (16u << 20))
        sim_break(sim, n->host, "the session holds too much memory");
    verify_rate(n, n->limit_up_Bps, totals.uploaded_bytes, "uploads faster than its limit");
    verify_rate(n, n->limit_down_Bps, totals.downloaded_bytes, "downloads faster than its limit");
}
