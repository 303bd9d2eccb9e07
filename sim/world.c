#include "sim/world.h"

#include "core/base/out.h"

enum { AT_ONCE_MAX = 200000 };

void *sim_alloc(struct sim *sim, size_t count, size_t size)
{
    void *ptr = sp_mem_alloc(sim->mem, count, size);
    assert(ptr || count * size == 0);
    return ptr;
}

/* ---- dice ---- */

uint64_t sim_below(struct sim *sim, uint64_t below)
{
    return sp_rng_below(&sim->rng, below);
}

bool sim_chance(struct sim *sim, uint32_t permille)
{
    return permille && sim_below(sim, 1000) < permille;
}

bool sim_trouble(struct sim *sim, uint32_t permille)
{
    return !sim->healed && sim_chance(sim, permille);
}

/* ---- notes and verdicts ---- */

static void mix(struct sim *sim, uint64_t v)
{
    sim->result->trace = (sim->result->trace ^ v) * UINT64_C(0x100000001b3);
    sim->result->trace ^= sim->result->trace >> 29;
}

static void tell(struct sim *sim, const struct sim_note *note)
{
    mix(sim, note->at);
    mix(sim, note->host);
    mix(sim, note->a);
    mix(sim, note->b);
    for (const char *c = note->what; *c; c++)
        mix(sim, (uint8_t)*c);
    if (sim->watch && sim->watch->note)
        sim->watch->note(sim->watch->ctx, note);
}

void sim_note(struct sim *sim, uint32_t host, const char *what, uint64_t a, uint64_t b)
{
    tell(sim, &(struct sim_note){.at = sim->now, .host = host, .what = what, .a = a, .b = b});
}

void sim_note_text(struct sim *sim, uint32_t host, const char *what, const char *text)
{
    tell(sim, &(struct sim_note){.at = sim->now, .host = host, .what = what, .text = text});
}

void sim_break(struct sim *sim, uint32_t host, const char *why)
{
    char *text = sim->result->broken;
    if (sim->failed)
        return;
    sim->failed = true;
    struct sp_out o = sp_out_of((uint8_t *)text, sizeof(sim->result->broken) - 1);
    sp_out_str(&o, sim_is_node(sim, host) ? "node " : "peer ");
    sp_out_dec(&o, host);
    sp_out_str(&o, " at ");
    sp_out_dec(&o, sim->now / SP_MS_NS);
    sp_out_str(&o, " ms: ");
    sp_out_str(&o, why);
    text[o.len < o.cap ? o.len : o.cap] = '\0';
    sim_note_text(sim, host, "BROKEN", why);
}

/* ---- time ---- */

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at != b->at ? a->at < b->at : a->seq < b->seq;
}

void sim_at(struct sim *sim, sp_time_ns at, sim_fn *fn, void *ctx, uint64_t arg)
{
    if (sim->heap_count == sim->heap_cap) {
        uint32_t cap = sim->heap_cap ? sim->heap_cap * 2 : 1024;
        sim->heap = sp_mem_grow(sim->mem, sim->heap, sim->heap_count, cap, sizeof(*sim->heap));
        assert(sim->heap);
        sim->heap_cap = cap;
    }
    struct sim_event e = {
        .at = at < sim->now ? sim->now : at, .seq = sim->seq++, .fn = fn, .ctx = ctx, .arg = arg};
    uint32_t ix = sim->heap_count++;
    while (ix > 0 && before(&e, &sim->heap[(ix - 1) / 2])) {
        sim->heap[ix] = sim->heap[(ix - 1) / 2];
        ix = (ix - 1) / 2;
    }
    sim->heap[ix] = e;
}

static struct sim_event take(struct sim *sim)
{
    struct sim_event first = sim->heap[0], last = sim->heap[--sim->heap_count];
    uint32_t ix = 0, count = sim->heap_count;

    for (;;) {
        uint32_t child = 2 * ix + 1;
        if (child >= count)
            break;
        if (child + 1 < count && before(&sim->heap[child + 1], &sim->heap[child]))
            child++;
        if (!before(&sim->heap[child], &last))
            break;
        sim->heap[ix] = sim->heap[child];
        ix = child;
    }
    sim->heap[ix] = last;
    return first;
}

bool sim_step(struct sim *sim, sp_time_ns end)
{
    if (sim->failed || sim->heap_count == 0 || sim->heap[0].at > end)
        return false;
    struct sim_event e = take(sim);
    sim->at_once = e.at > sim->now ? 0 : sim->at_once + 1;
    sim->now = e.at;
    sim->result->steps++;
    if (sim->at_once > AT_ONCE_MAX) {
        sim_break(sim, 0, "time stands still: something spins");
        return false;
    }
    e.fn(sim, e.ctx, e.arg);
    return true;
}

/* ---- hosts ---- */

struct sp_addr sim_addr(uint32_t host)
{
    uint8_t ip[4] = {5, (uint8_t)(host + 1), (uint8_t)(7 + (host + 1) / 256), 9};
    return sp_addr_v4(ip, (uint16_t)(6881 + host));
}

uint32_t sim_host_of(const struct sim *sim, const struct sp_addr *addr)
{
    uint32_t host = addr->ip[1] + (addr->ip[2] - 7u) * 256 - 1;
    if (addr->family != SP_V4 || addr->ip[0] != 5 || host >= sim_host_count(sim))
        return SIM_HOSTS_MAX;
    return host;
}

/* ---- memory that counts ---- */

struct counted {
    uint64_t size;
    uint64_t pad; /* keeps what follows aligned to 16 */
};

static void *counted_alloc(void *ctx, size_t size)
{
    struct sim_host_mem *m = ctx;
    uint32_t fails = m->flaky && !m->sim->healed ? m->sim->plan->alloc_fails : 0;

    if (fails && sim_below(m->sim, 100000) < fails) {
        m->sim->result->failed_allocs++;
        return NULL;
    }
    struct counted *head = sp_mem_alloc(m->under, 1, size + sizeof(struct counted));
    if (!head)
        return NULL;
    head->size = size;
    m->bytes += size;
    m->live++;
    if (m->bytes > m->peak)
        m->peak = m->bytes;
    return head + 1;
}

static void counted_free(void *ctx, void *ptr)
{
    struct sim_host_mem *m = ctx;
    if (!ptr)
        return;
    struct counted *head = (struct counted *)ptr - 1;
    m->bytes -= head->size;
    m->live--;
    sp_mem_free(m->under, head);
}

void sim_host_mem_init(struct sim_host_mem *m, struct sim *sim)
{
    *m = (struct sim_host_mem){.under = sim->mem, .sim = sim};
    m->mem = (struct sp_mem){.alloc = counted_alloc, .free = counted_free, .ctx = m};
}
