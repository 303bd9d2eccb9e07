/* Web seeds of the torrent: servers that have all of it, each request slow,
 * failing, cut, corrupt or never answered as the dice say.  Where a connection
 * is and how it is lost is not simulated: that is curl's. */
#include "core/base/out.h"
#include "core/web/url.h"
#include "sim/world.h"

enum { PART_MAX = 16 * 1024 }; /* what curl hands over at once */

struct sim_web {
    struct sim_web *next; /* of the node */
    struct sp_conn *conn;
    uint64_t id;       /* of the request; 0: none */
    uint64_t from, to; /* torrent offsets to come */
    uint64_t cut_at;   /* no byte comes from there on */
    uint32_t file;
    int status;
    bool headed, corrupt, waits;
};

static struct sim_web *find(struct sim_node *n, uint64_t id)
{
    for (struct sim_web *w = n->webs; w; w = w->next)
        if (w->id == id)
            return w;
    return NULL;
}

static void forget(struct sim_node *n, struct sim_web *w)
{
    struct sim_web **at = &n->webs;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    sp_mem_free(n->sim->mem, w);
}

void sim_web_drop(struct sim_node *n)
{
    while (n->webs)
        forget(n, n->webs);
}

static void on_step(struct sim *sim, void *ctx, uint64_t id);

static void later(struct sim_node *n, const struct sim_web *w, sp_time_ns wait)
{
    sim_at(n->sim, n->sim->now + wait, on_step, n, w->id);
}

static void tell_head(struct sim_node *n, struct sim_web *w)
{
    const struct sp_file *file = &n->sim->mi->files[w->file];
    uint8_t text[96];
    struct sp_out o = sp_out_of(text, sizeof(text));

    sp_out_str(&o, "bytes ");
    sp_out_dec(&o, w->from - file->offset);
    sp_out_str(&o, "-");
    sp_out_dec(&o, w->to - file->offset - 1);
    sp_out_str(&o, "/");
    sp_out_dec(&o, file->length);
    struct sp_web_head head = {.status = w->status,
                               .content_range = {text, o.len},
                               .content_len = w->status == 206 ? w->to - w->from : UINT64_MAX,
                               .retry_after_s = w->status == 503 ? 3 : 0};
    w->headed = true;
    sp_web_answered(w->conn, &head, n->sim->now);
}

static void give_some(struct sim_node *n, struct sim_web *w)
{
    struct sim *sim = n->sim;
    uint64_t left = w->cut_at - w->from, len = sim_below(sim, PART_MAX) + 1;

    if (w->status != 206 || left == 0) {
        w->id = 0;
        sp_web_ended(w->conn, w->status == 206 && w->cut_at < w->to ? "cut" : NULL, sim->now);
        return;
    }
    len = len < left ? len : left;
    memcpy(sim->bytes, sim->truth + w->from, len);
    if (w->corrupt) {
        uint32_t piece = (uint32_t)(w->from / sim->plan->piece_len);
        uint32_t off = (uint32_t)(w->from % sim->plan->piece_len);
        sim->bytes[0] ^= 1;
        n->liars[sim_block_ix(sim, piece, off)] |= SIM_WEB_BIT;
        sim->result->lies++;
    }
    if (!sp_web_body(w->conn, (struct sp_slice){sim->bytes, len}, sim->now)) {
        w->waits = true;
        return;
    }
    w->from += len;
    later(n, w, len * SP_SECOND_NS / sim->plan->web_Bps);
}

static void on_step(struct sim *sim, void *ctx, uint64_t id)
{
    struct sim_node *n = ctx;
    struct sim_web *w = id ? find(n, id) : NULL;
    (void)sim;

    if (!n->session || !w)
        return;
    if (w->headed) {
        give_some(n, w);
    } else {
        tell_head(n, w);
        later(n, w, 0);
    }
    sim_node_pump(n);
}

/* The file at this address, which has to be one of ours. */
static uint32_t file_of(struct sim *sim, const char *url)
{
    uint8_t want[512];
    for (uint32_t f = 0; f < sim->mi->file_count; f++) {
        struct sp_out o = sp_out_of(want, sizeof(want));
        sp_web_file_url(&o, SIM_WEB_URL, sim->mi, &sim->mi->files[f]);
        if (strlen(url) == o.len && memcmp(url, want, o.len) == 0)
            return f;
    }
    return UINT32_MAX;
}

static void ask(struct sim_node *n, struct sim_web *w, const struct sp_web_action *a)
{
    struct sim *sim = n->sim;
    const struct sim_plan *plan = sim->plan;

    w->file = file_of(sim, a->url);
    if (w->file == UINT32_MAX || a->from >= a->to || a->to > sim->mi->files[w->file].length) {
        sim_break(sim, n->host, "asks a web seed for what it cannot have");
        return;
    }
    uint64_t base = sim->mi->files[w->file].offset;
    w->id = ++sim->web_serial;
    w->from = base + a->from;
    w->to = w->cut_at = base + a->to;
    w->headed = w->waits = false;
    w->status = sim_trouble(sim, plan->web_fails)  ? 500
                : sim_trouble(sim, plan->web_busy) ? 503
                                                   : 206;
    w->corrupt = sim_trouble(sim, plan->web_corrupts);
    if (sim_trouble(sim, plan->web_cuts))
        w->cut_at = w->from + sim_below(sim, w->to - w->from);
    sim_note(sim, n->host, "web asks", w->from, w->to);
    if (!sim_trouble(sim, plan->web_silent))
        later(n, w, sim_below(sim, 200 * SP_MS_NS));
}

void sim_web_do(struct sim_node *n, const struct sp_effect *fx)
{
    struct sim_web *w = fx->user;

    if (!w && fx->conn) {
        w = sim_alloc(n->sim, 1, sizeof(*w));
        w->conn = fx->conn;
        w->next = n->webs;
        n->webs = w;
        sp_conn_set_user(fx->conn, w);
    }
    if (!w)
        return;
    switch (fx->web.kind) {
    case SP_WEB_GET:
        ask(n, w, &fx->web);
        break;
    case SP_WEB_RESUME:
        if (w->waits && w->id)
            later(n, w, 0);
        w->waits = false;
        break;
    case SP_WEB_STOP:
        w->id = 0;
        break;
    case SP_WEB_CLOSE:
        forget(n, w);
        break;
    }
}
