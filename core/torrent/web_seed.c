/* Web seeds of a torrent: which there are, when to connect, how many
 * connections at once, and which are not used any more. */
#include "core/base/out.h"
#include "core/torrent/web.h"
#include "core/web/url.h"

/* ---- which ---- */

static char *copy_text(const struct sp_mem *mem, const char *text)
{
    size_t len = strlen(text);
    char *own = sp_mem_alloc(mem, len + 1, 1);
    if (own)
        memcpy(own, text, len);
    return own;
}

static bool is_known(const struct sp_torrent *t, const char *url, uint8_t kind)
{
    for (uint32_t i = 0; i < t->web_count; i++) {
        const char *other = t->webs[i]->url;
        size_t len = strlen(url);
        if (t->webs[i]->kind == kind && strlen(other) == len && memcmp(other, url, len) == 0)
            return true;
    }
    return false;
}

static enum sp_err add(struct sp_torrent *t, const char *url, uint8_t kind, bool named_by_user)
{
    struct sp_hub *h = t->h;

    if (t->web_count == WEB_SEEDS_MAX || !sp_web_takes(url) || is_known(t, url, kind))
        return SP_OK;
    if (!t->webs)
        t->webs = SP_NEW_ARRAY(h->mem, struct sp_web_seed *, WEB_SEEDS_MAX);
    struct sp_web_seed *seed = t->webs ? SP_NEW(h->mem, struct sp_web_seed) : NULL;
    char *own = seed ? copy_text(h->mem, url) : NULL;
    if (!own) {
        sp_mem_free(h->mem, seed);
        return SP_ENOMEM;
    }
    struct sp_slice host = sp_web_host(own);
    *seed = (struct sp_web_seed){
        .url = own,
        .kind = kind,
        .is_local = named_by_user || h->cfg->allow_local_peers,
        .blame_key = sp_hash_bytes(&h->key, own, strlen(own)) | 1,
        .host_key = sp_hash_bytes(&h->key, host.ptr, host.len),
        .conns_want = 1,
    };
    t->webs[t->web_count++] = seed;
    return SP_OK;
}

enum sp_err sp_web_add_named(struct sp_torrent *t, const struct sp_session_add *args)
{
    enum sp_err err = SP_OK;
    for (uint32_t i = 0; err == SP_OK && i < args->web_count; i++)
        err = add(t, args->webs[i].url, SP_WEB_SEED_URL, args->webs[i].named_by_user);
    return err;
}

enum sp_err sp_web_add_own(struct sp_torrent *t)
{
    enum sp_err err = SP_OK;
    for (uint32_t i = 0; err == SP_OK && i < t->mi->web_seed_count; i++)
        err = add(t, t->mi->web_seeds[i].url, (uint8_t)t->mi->web_seeds[i].kind, false);
    return err;
}

void sp_web_done(struct sp_torrent *t)
{
    for (uint32_t i = 0; i < t->web_count; i++) {
        if (t->webs[i]->lost.bytes)
            sp_bits_done(&t->webs[i]->lost, t->h->mem);
        sp_mem_free(t->h->mem, t->webs[i]->url);
        sp_mem_free(t->h->mem, t->webs[i]);
    }
    sp_mem_free(t->h->mem, t->webs);
    t->webs = NULL;
    t->web_count = 0;
}

/* ---- what people hear ---- */

void sp_web_tell(struct sp_torrent *t, const struct sp_web_seed *seed, const char *why,
                 sp_time_ns wait_ns)
{
    char text[SP_CLIENT_TEXT_LEN];
    struct sp_out o = sp_out_of((uint8_t *)text, sizeof(text) - 1);
    struct sp_slice host = sp_web_host(seed->url);

    sp_out_str(&o, "web seed ");
    sp_out_bytes(&o, host.ptr, host.len < 64 ? host.len : 64);
    sp_out_str(&o, ": ");
    sp_out_bytes(&o, why, strlen(why) < 64 ? strlen(why) : 64);
    if (seed->is_gone) {
        sp_out_str(&o, "; not used any more");
    } else if (wait_ns) {
        sp_out_str(&o, "; asked again in ");
        sp_out_dec(&o, (wait_ns + SP_SECOND_NS - 1) / SP_SECOND_NS);
        sp_out_str(&o, " s");
    }
    text[o.len < o.cap ? o.len : o.cap] = '\0';
    sp_hub_event(t->h, SP_EV_WARNING, t->id, SP_ENET, text);
}

void sp_web_host_text(const struct sp_conn *c, char ret_text[SP_HOST_TEXT_LEN])
{
    struct sp_slice host = sp_web_host(c->web->seed->url);
    size_t n = host.len < SP_HOST_TEXT_LEN ? host.len : SP_HOST_TEXT_LEN - 1;
    memcpy(ret_text, host.ptr, n);
    ret_text[n] = '\0';
}

/* ---- the end of one ---- */

static void end_conns(struct sp_torrent *t, const struct sp_web_seed *seed, const char *why,
                      sp_time_ns now)
{
    for (uint32_t i = t->conn_top; i-- > 0;) {
        struct sp_conn *c = i < t->conn_top ? t->conns[i] : NULL;
        if (c && c->web && c->web->seed == seed)
            sp_conn_end(c, why, now);
    }
}

void sp_web_give_up(struct sp_torrent *t, struct sp_web_seed *seed, const char *why, sp_time_ns now)
{
    seed->is_gone = true;
    sp_web_tell(t, seed, why, 0);
    end_conns(t, seed, why, now);
}

/* BEP-0019, not followed: "If it successfully downloads a piece from a HTTP/FTP
 * server, but the SHA checksum does not match, the connection must be closed
 * and that URL should be discarded"; closed it is, discarded after
 * WEB_BAD_MAX: one bad sector among many files is not worth a good mirror. */
bool sp_web_blamed(struct sp_torrent *t, uint64_t key, sp_time_ns now)
{
    for (uint32_t i = 0; key && i < t->web_count; i++) {
        struct sp_web_seed *seed = t->webs[i];
        if (seed->blame_key != key)
            continue;
        if (seed->is_gone)
            return true;
        if (++seed->bad_pieces >= WEB_BAD_MAX)
            sp_web_give_up(t, seed, "sends corrupt data", now);
        else
            end_conns(t, seed, "sends corrupt data", now);
        return true;
    }
    return false;
}

/* ---- how many connections ---- */

static uint32_t host_conns(const struct sp_hub *h, uint64_t host_key)
{
    uint32_t n = 0;
    for (struct sp_link *k = h->webs.ends.next; k != &h->webs.ends; k = k->next)
        n += SP_CONTAINER(k, struct sp_web, link)->seed->host_key == host_key;
    return n;
}

/* Another one is tried while each made it faster by a tenth; the first that
 * did not goes again, and for a while it stays like that. */
static void look(struct sp_torrent *t, struct sp_web_seed *seed, sp_time_ns now)
{
    if (now < seed->look_at || seed->conns < seed->conns_want || seed->conns == 0)
        return;
    bool is_first = seed->look_at == 0;
    uint64_t Bps = (uint64_t)((unsigned __int128)(seed->bytes - seed->bytes_then) * SP_SECOND_NS /
                              (now - seed->look_at + WEB_GROW_NS));
    seed->bytes_then = seed->bytes;
    seed->look_at = now + WEB_GROW_NS;
    if (is_first || t->h->down_waiting.count || t->h->starved.count)
        return;
    if (Bps > seed->best_Bps + seed->best_Bps / 10) {
        seed->best_Bps = Bps;
        if (seed->conns_want < WEB_HOST_CONNS_MAX)
            seed->conns_want++;
        return;
    }
    if (seed->conns_want > 1)
        seed->conns_want--;
    seed->best_Bps = Bps; /* measured anew by then */
    seed->look_at = now + WEB_SETTLE_NS;
}

static bool may_open(const struct sp_torrent *t, const struct sp_web_seed *seed, sp_time_ns now)
{
    return !seed->is_gone && now >= seed->retry_at && seed->conns < seed->conns_want &&
           sp_picker_counts(t->picker).wanted_left > 0 && t->h->conn_count < t->h->cfg->conn_max &&
           host_conns(t->h, seed->host_key) < WEB_HOST_CONNS_MAX;
}

void sp_web_run(struct sp_torrent *t, sp_time_ns now)
{
    if (t->state != SP_TORRENT_DOWNLOADING)
        return;
    for (uint32_t i = 0; i < t->web_count; i++) {
        look(t, t->webs[i], now);
        if (may_open(t, t->webs[i], now))
            (void)sp_web_open(t, t->webs[i], now); /* out of memory: at the next tick */
    }
}
