/* A torrent's files, from the shell's side.
 *
 *   WAITING   the same torrent, removed just now, still ends its work there
 *   LOADING_INFO, FETCHING, SAVING_INFO  of a magnet: its info dictionary comes from
 *             the store, or from peers and is saved
 *   LOADING   the state store is asked what it claims
 *   OPENING   files are looked at
 *   CHECKING  pieces are hashed, where nothing trustworthy is claimed
 *   READY     the session runs it; now and then: SYNC, then SAVE
 *   SELECTING  other files are wanted: what the parts file has of them moves
 *   FORGETTING  on removal: claims go first, then the files
 *   CLOSING   on removal, or at the end
 *
 * A piece is claimed in the store only once it is durable: what is had is
 * noted, then synced, then saved.  So a claim never outlives its data,
 * whenever the process or the machine dies.
 *
 * One disk or store job is out at a time; its answer moves the phase on.
 *
 * What the disk refuses (full, read-only, broken, not permitted) puts the
 * torrent into ERROR and is tried again every RETRY_NS.  After a failed SYNC
 * everything is hashed again before it is claimed: the system may have dropped
 * what it could not write.  That state cannot be saved is told once; the
 * torrent goes on.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/reactor/reactor.h"
#include "spate/metainfo.h"

enum phase {
    WAITING,
    LOADING_INFO,
    FETCHING,
    SAVING_INFO,
    LOADING,
    OPENING,
    ALLOCATING,
    CHECKING,
    READY,
    SYNCING,
    SAVING,
    SELECTING,
    FORGETTING,
    CLOSING,
    CLOSED,
};

/* Saved as often as it costs little: at most a twentieth of the time. */
#define SAVE_MIN_NS     (SP_SECOND_NS / 2)
#define SAVE_MAX_NS     (30 * SP_SECOND_NS)
#define SAVE_NUMBERS_NS (60 * SP_SECOND_NS) /* only bytes sent have changed */
#define SAVE_AGAIN_NS   (10 * SP_SECOND_NS) /* after a failure */
#define RETRY_NS        (5 * SP_SECOND_NS)

static void advance(struct sp_reactor *r, struct sp_post *post);

/* ---- jobs ---- */

static void on_disk(struct sp_disk_job *job)
{
    struct sp_held *h = job->ctx;
    sp_reactor_post(h->r, &h->post);
}

static void on_store(struct sp_store_job *job)
{
    struct sp_held *h = job->ctx;
    sp_reactor_post(h->r, &h->post);
}

static struct sp_disk_job *disk_job(struct sp_held *h, enum sp_disk_op op)
{
    memset(&h->disk_job, 0, sizeof(h->disk_job));
    h->disk_job.op = op;
    h->disk_job.st = h->storage;
    h->disk_job.done = on_disk;
    h->disk_job.ctx = h;
    return &h->disk_job;
}

static void submit_disk(struct sp_held *h, enum phase phase)
{
    h->phase = (uint8_t)phase;
    h->busy = true;
    h->post.run = advance;
    sp_disk_submit(h->r->env->disk, &h->disk_job);
}

static void submit_store(struct sp_held *h, enum phase phase, enum sp_store_op op)
{
    h->phase = (uint8_t)phase;
    h->busy = true;
    h->post.run = advance;
    h->store_job.op = op;
    h->store_job.done = on_store;
    h->store_job.ctx = h;
    memcpy(h->store_job.row.info_hash, h->info_hash, SP_SHA1_LEN);
    h->store_job.row.piece_count = h->mi ? h->mi->piece_count : 0;
    sp_store_submit(h->r->env->store, &h->store_job);
}

/* Until the disk does it after all. */
static void give_up(struct sp_held *h, enum sp_err err, const char *why)
{
    h->failed_sync = h->phase == SYNCING;
    h->phase = READY;
    h->has_disk_error = true;
    h->retry_at = sp_reactor_now(h->r) + RETRY_NS;
    sp_torrent_fail(h->r->session, h->id, err, why, sp_reactor_now(h->r));
}

/* ---- making the storage ---- */

static enum sp_err make_storage(struct sp_held *h)
{
    const struct sp_metainfo *mi = h->mi;
    char parts_name[2 + 2 * SP_SHA1_LEN + 8] = ".";
    struct sp_disk_file *files = calloc(mi->file_count, sizeof(*files));
    if (!files)
        return SP_ENOMEM;

    for (uint32_t i = 0; i < mi->file_count; i++) {
        const struct sp_file *f = &mi->files[i];
        files[i] = (struct sp_disk_file){
            .path = f->path,
            .len = f->length,
            .pad = f->attr & (SP_ATTR_PAD | SP_ATTR_SYMLINK),
            .wanted = !h->priorities || h->priorities[i] > 0,
            .executable = f->attr & SP_ATTR_EXECUTABLE,
        };
    }
    for (int i = 0; i < SP_SHA1_LEN; i++) {
        parts_name[1 + 2 * i] = "0123456789abcdef"[mi->info_hash_v1[i] >> 4];
        parts_name[2 + 2 * i] = "0123456789abcdef"[mi->info_hash_v1[i] & 15];
    }
    memcpy(parts_name + 1 + 2 * SP_SHA1_LEN, ".parts", 7);
    struct sp_storage_cfg cfg = {
        .dir = h->dir,
        .files = files,
        .file_count = mi->file_count,
        .piece_len = mi->piece_length,
        .total_len = mi->total_length,
        .alloc = h->full_allocation ? SP_ALLOC_FULL : SP_ALLOC_SPARSE,
        .read_only = h->read_only,
        .parts_name = parts_name,
    };
    enum sp_err err = sp_storage_new(h->r->env->disk, &cfg, &h->storage);
    free(files);
    return err;
}

/* ---- what the store claims, held against the files ---- */

/* Pieces that a file ends before, or that is not there, are not had. */
static void drop_missing(struct sp_held *h)
{
    uint64_t off = 0;
    for (uint32_t i = 0; i < h->mi->file_count; i++) {
        const struct sp_file *f = &h->mi->files[i];
        const struct sp_disk_stat *st = &h->stats[i];
        bool wanted = !h->priorities || h->priorities[i] > 0;
        uint64_t size = st->kind == SP_FILE_REGULAR ? st->size : 0, begin = off;
        off += f->length;
        if (size >= f->length || (f->attr & SP_ATTR_PAD))
            continue;
        if (!wanted)
            continue; /* its share of border pieces lies in the parts file */
        for (uint32_t p = (uint32_t)((begin + size) / h->mi->piece_length); p < f->piece_end; p++)
            sp_bits_del(&h->have, p);
    }
}

static void told(struct sp_held *h)
{
    h->phase = READY;
    h->next_save_at = 0;
    h->told = true;
    sp_torrent_checked(h->r->session, h->id, &h->have, sp_reactor_now(h->r));
    free(h->check_state);
    free(h->stats);
    h->check_state = NULL;
    h->stats = NULL;
}

static void start_check(struct sp_held *h)
{
    struct sp_disk_job *job = disk_job(h, SP_DISK_CHECK);
    free(h->check_state);
    h->saved_count = UINT32_MAX; /* as many pieces may be other ones */
    h->check_state = calloc(h->mi->piece_count, 1);
    if (!h->check_state) {
        give_up(h, SP_ENOMEM, "out of memory");
        return;
    }
    sp_bits_fill(&h->have, false);
    job->piece_count = h->mi->piece_count;
    memcpy(&job->check.want, &h->mi->pieces, sizeof(job->check.want)); /* an array of hashes */
    job->check.ret_state = h->check_state;
    submit_disk(h, CHECKING);
}

/* A directory, a link or a device where a file belongs: nothing good comes of
 * starting.  Who only reads does without that file. */
static bool is_blocked(struct sp_held *h)
{
    char why[SP_CLIENT_TEXT_LEN];
    for (uint32_t i = 0; i < h->mi->file_count; i++) {
        const struct sp_file *f = &h->mi->files[i];
        bool wanted = !h->priorities || h->priorities[i] > 0;
        if (h->read_only || !wanted || h->stats[i].kind != SP_FILE_ODD)
            continue;
        snprintf(why, sizeof(why), "%.80s/%.70s is in the way: it is no regular file", h->dir,
                 f->path);
        give_up(h, SP_EEXIST, why);
        return true;
    }
    return false;
}

/* The disk does again what it had refused. */
static void recovered(struct sp_held *h)
{
    h->has_disk_error = h->failed_sync = false;
    h->told = false;
    sp_torrent_recheck(h->r->session, h->id, sp_reactor_now(h->r));
    sp_reactor_event(h->r, SP_EV_RECOVERED, h->id, SP_OK, NULL);
}

static void opened(struct sp_held *h)
{
    const struct sp_disk_job *job = &h->disk_job;
    if (job->err != SP_OK) {
        give_up(h, job->err, job->why);
        return;
    }
    bool present = job->bytes_present > 0;
    if (is_blocked(h))
        return;
    if (h->stopping) {
        h->phase = READY; /* too late to begin */
        return;
    }
    if (h->has_disk_error)
        recovered(h);
    /* Saved before anything was durable, and killed: what is there is looked at. */
    bool trusted = h->loaded && (h->have.set > 0 || !present);
    if (trusted && !h->force_check && !h->recheck) {
        drop_missing(h);
        told(h);
    } else if (present) {
        h->recheck = false;
        start_check(h);
    } else {
        h->recheck = false;
        sp_bits_fill(&h->have, false);
        told(h);
    }
}

static void checked(struct sp_held *h)
{
    if (h->disk_job.err != SP_OK) {
        h->recheck = !h->stopping;
        if (h->disk_job.err != SP_ECANCELED)
            give_up(h, h->disk_job.err, h->disk_job.why);
        else
            h->phase = READY; /* not told: nothing is known, nothing is saved */
        return;
    }
    for (uint32_t p = 0; p < h->mi->piece_count; p++) {
        if (h->check_state[p] == SP_CHECK_GOOD)
            sp_bits_add(&h->have, p);
    }
    told(h);
}

static void look(struct sp_held *h)
{
    (void)disk_job(h, SP_DISK_OPEN);
    if (!h->stats)
        h->stats = calloc(h->mi->file_count, sizeof(*h->stats));
    h->disk_job.stats = h->stats;
    if (h->stats)
        submit_disk(h, OPENING);
    else
        give_up(h, SP_ENOMEM, "out of memory");
}

static void loaded(struct sp_held *h)
{
    struct sp_store_row *row = &h->store_job.row;
    if (h->store_job.err == SP_OK) {
        /* The same data in another place is to be looked at first. */
        bool same = row->dir && strcmp(row->dir, h->dir) == 0;
        if (same && sp_bits_load(&h->have, (struct sp_slice){row->have, row->have_len}) == SP_OK)
            h->loaded = true;
        h->downloaded0 = row->downloaded_bytes;
        h->uploaded0 = row->uploaded_bytes;
        h->active0_ns = row->active_ns;
        h->seeding0_ns = row->seeding_ns;
        h->saved_uploaded = row->uploaded_bytes;
    }
    h->saved_count = h->loaded ? h->have.set : UINT32_MAX;
    free(row->have);
    free(row->dir);
    memset(row, 0, sizeof(*row));
    look(h);
}

/* ---- saving ---- */

static void count_durable(struct sp_held *h)
{
    uint64_t bytes = (uint64_t)h->saving.set * h->mi->piece_length;
    uint32_t last = h->mi->piece_count - 1;
    if (h->saving.set && sp_bits_get(&h->saving, last))
        bytes -= h->mi->piece_length - sp_metainfo_piece_len(h->mi, last);
    h->durable_bytes = bytes;
}

static void save_row(struct sp_held *h)
{
    h->store_job.row.have = h->saving.bytes;
    h->store_job.row.have_len = sp_bits_wire_len(h->saving.count);
    h->store_job.row.dir = h->dir;
    submit_store(h, SAVING, SP_STORE_SAVE);
}

static void start_save(struct sp_held *h, sp_time_ns now)
{
    const struct sp_bits *have = sp_torrent_have(h->r->session, h->id);
    struct sp_torrent_stats stats;

    if (!have || sp_held_stats(h, now, &stats) != SP_OK)
        return;
    bool pieces = have->set != h->saved_count;
    bool numbers = stats.uploaded_bytes != h->saved_uploaded &&
                   (h->stopping || now >= h->saved_at + SAVE_NUMBERS_NS);
    if (!pieces && !numbers)
        return;
    h->save_began_at = now;
    /* What is had now; the sync makes all of it durable. */
    memcpy(h->saving.bytes, have->bytes, sp_bits_room(have->count));
    h->saving.set = have->set;
    h->store_job.row.downloaded_bytes = stats.downloaded_bytes;
    h->store_job.row.uploaded_bytes = stats.uploaded_bytes;
    h->store_job.row.active_ns = stats.active_ns;
    h->store_job.row.seeding_ns = stats.seeding_ns;
    if (!pieces) {
        save_row(h);
        return;
    }
    (void)disk_job(h, SP_DISK_SYNC);
    submit_disk(h, SYNCING);
}

static void synced(struct sp_held *h)
{
    if (h->disk_job.err != SP_OK) {
        give_up(h, h->disk_job.err, h->disk_job.why);
        return;
    }
    if (h->has_disk_error) { /* a sync had failed before */
        h->recheck = true;
        recovered(h);
        h->phase = READY;
        return;
    }
    save_row(h);
}

/* ---- other files are wanted ---- */

static void start_select(struct sp_held *h)
{
    uint32_t n = h->mi->file_count;
    if (h->read_only) { /* nothing is moved: there is no parts file */
        free(h->priorities);
        h->priorities = h->select;
        h->select = NULL;
        return;
    }
    if (!h->wanted)
        h->wanted = calloc(n, sizeof(*h->wanted));
    if (!h->wanted) {
        give_up(h, SP_ENOMEM, "out of memory");
        return;
    }
    free(h->priorities);
    h->priorities = h->select;
    h->select = NULL;
    for (uint32_t i = 0; i < n; i++)
        h->wanted[i] = h->priorities[i] > 0;
    disk_job(h, SP_DISK_SELECT)->wanted = h->wanted;
    submit_disk(h, SELECTING);
}

static void selected(struct sp_held *h)
{
    h->phase = READY;
    if (h->disk_job.err != SP_OK) {
        give_up(h, h->disk_job.err, h->disk_job.why);
        /* Once more, after all was looked at again; a newer wish goes before. */
        h->recheck = true;
        if (!h->select && (h->select = malloc(h->mi->file_count)))
            memcpy(h->select, h->priorities, h->mi->file_count);
    }
    sp_jobs_release(h);
}

static void save_failed(struct sp_held *h)
{
    char text[SP_CLIENT_TEXT_LEN];
    if (!h->save_failed) {
        snprintf(text, sizeof(text), "resume state is not saved: %s", h->store_job.why);
        sp_reactor_event(h->r, SP_EV_WARNING, h->id, h->store_job.err, text);
    }
    h->save_failed = true;
}

static void saved(struct sp_held *h)
{
    sp_time_ns now = sp_reactor_now(h->r), pause = (now - h->save_began_at) * 20;

    h->phase = READY;
    if (pause < SAVE_MIN_NS)
        pause = SAVE_MIN_NS;
    if (pause > SAVE_MAX_NS)
        pause = SAVE_MAX_NS;
    if (h->store_job.err == SP_OK) {
        h->saved_count = h->saving.set;
        h->saved_uploaded = h->store_job.row.uploaded_bytes;
        h->saved_at = now;
        h->save_failed = false;
        count_durable(h);
    } else {
        save_failed(h);
        pause = SAVE_AGAIN_NS;
    }
    h->next_save_at = now + pause;
    memset(&h->store_job.row, 0, sizeof(h->store_job.row));
}

/* ---- the phases ---- */

static void next_step(struct sp_held *h);

/* Is the same torrent, removed, still at work on the files? */
static bool has_predecessor(const struct sp_held *h)
{
    for (struct sp_link *l = h->r->held.ends.next; l != &h->link; l = l->next) {
        const struct sp_held *o = SP_CONTAINER(l, struct sp_held, link);
        if (o->removing && o->phase != CLOSED &&
            memcmp(o->info_hash, h->info_hash, SP_SHA1_LEN) == 0)
            return true;
    }
    return false;
}

/* ---- magnets ---- */

static void begin(struct sp_held *h);

/* Peers are asked; sp_held_metadata follows. */
static void fetch(struct sp_held *h)
{
    h->phase = FETCHING;
    sp_torrent_checked(h->r->session, h->id, NULL, sp_reactor_now(h->r));
}

static enum sp_err learn(struct sp_held *h, struct sp_slice info, struct sp_diag *diag)
{
    enum sp_err err = sp_held_build(h, info, diag);
    if (err == SP_OK)
        err = make_storage(h);
    if (err == SP_OK)
        err = sp_torrent_learn(h->r->session, h->id, h->mi, h->priorities, sp_reactor_now(h->r));
    if (err == SP_OK)
        sp_reactor_tell(h->r, &(struct sp_client_event){.kind = SP_EV_METADATA, .torrent = h->id});
    return err;
}

/* Nothing that waiting could help. */
static void fail_for_good(struct sp_held *h, enum sp_err err, const struct sp_diag *diag)
{
    char text[SP_CLIENT_TEXT_LEN];
    snprintf(text, sizeof(text), "the metadata cannot be used: %s",
             diag->text[0] ? diag->text : sp_err_text(err));
    h->phase = READY;
    h->has_disk_error = true;
    h->retry_at = SP_TIME_NEVER;
    sp_torrent_fail(h->r->session, h->id, err, text, sp_reactor_now(h->r));
}

/* What the store has is held against the info-hash like what a peer sends. */
static void loaded_info(struct sp_held *h)
{
    struct sp_diag diag = {0};
    struct sp_slice info = {h->store_job.info, h->store_job.info_len};
    enum sp_err err = h->store_job.err == SP_OK && !h->removing ? learn(h, info, &diag) : SP_ENOENT;
    free(h->store_job.info);
    h->store_job.info = NULL;
    if (h->removing)
        h->phase = READY;
    else if (err == SP_OK)
        begin(h);
    else if (h->mi || err == SP_EDATA || err == SP_ELIMIT)
        fail_for_good(h, err, &diag);
    else
        fetch(h);
}

static void save_failed(struct sp_held *h);

static void saved_info(struct sp_held *h)
{
    h->store_job.info = NULL; /* the metainfo's */
    if (h->store_job.err != SP_OK)
        save_failed(h);
    if (h->removing)
        h->phase = READY;
    else
        begin(h);
}

void sp_held_metadata(struct sp_reactor *r, sp_torrent_id id, struct sp_slice info)
{
    struct sp_held *h = sp_reactor_find(r, id);
    struct sp_diag diag = {0};
    if (!h || h->removing || h->mi || h->busy)
        return;
    enum sp_err err = learn(h, info, &diag);
    if (err != SP_OK) {
        fail_for_good(h, err, &diag);
        return;
    }
    if (!r->env->store) {
        begin(h);
        return;
    }
    h->store_job.info = (uint8_t *)(uintptr_t)h->mi->info.ptr;
    h->store_job.info_len = h->mi->info.len;
    submit_store(h, SAVING_INFO, SP_STORE_SAVE_INFO);
}

static void begin(struct sp_held *h)
{
    if (h->r->env->store && !h->mi) {
        submit_store(h, LOADING_INFO, SP_STORE_LOAD_INFO);
    } else if (!h->mi) {
        fetch(h);
    } else if (h->r->env->store) {
        submit_store(h, LOADING, SP_STORE_LOAD);
    } else {
        h->store_job.err = SP_ENOENT;
        loaded(h);
    }
}

static void advance(struct sp_reactor *r, struct sp_post *post)
{
    struct sp_held *h = SP_CONTAINER(post, struct sp_held, post);
    (void)r;
    h->busy = false;
    switch ((enum phase)h->phase) {
    case LOADING_INFO:
        loaded_info(h);
        break;
    case SAVING_INFO:
        saved_info(h);
        break;
    case LOADING:
        loaded(h);
        break;
    case OPENING:
        if (h->disk_job.err == SP_OK && h->full_allocation) {
            bool present = h->disk_job.bytes_present > 0;
            (void)disk_job(h, SP_DISK_ALLOCATE);
            h->disk_job.bytes_present = present;
            submit_disk(h, ALLOCATING);
        } else {
            opened(h);
        }
        break;
    case ALLOCATING:
        opened(h);
        break;
    case CHECKING:
        checked(h);
        break;
    case SYNCING:
        synced(h);
        break;
    case SAVING:
        saved(h);
        break;
    case SELECTING:
        selected(h);
        break;
    case FORGETTING:
        h->phase = READY;
        break;
    case CLOSING:
        h->phase = CLOSED;
        break;
    case WAITING:
    case FETCHING:
    case READY:
    case CLOSED:
        break;
    }
    if (!h->busy)
        next_step(h);
}

/* Nothing is out: what was asked for meanwhile? */
static void next_step(struct sp_held *h)
{
    sp_time_ns now = sp_reactor_now(h->r);
    if (h->phase == CLOSED)
        return;
    if (h->removing && (!h->storage || h->phase == WAITING)) {
        h->phase = CLOSED;
    } else if (h->phase == WAITING) {
        if (!has_predecessor(h))
            begin(h);
    } else if (!h->storage) {
        return; /* it was never made, or what is to be in it is not known */
    } else if (h->removing && h->r->env->store && !h->forgotten) {
        h->forgotten = true;
        submit_store(h, FORGETTING, SP_STORE_DELETE);
    } else if (h->removing) {
        if (sp_torrent_busy(h->r->session, h->id))
            return; /* its reads and writes come back first */
        (void)disk_job(h, h->delete_data ? SP_DISK_DELETE : SP_DISK_CLOSE);
        submit_disk(h, CLOSING);
    } else if (h->has_disk_error && h->phase == READY) {
        if (now < h->retry_at || h->stopping)
            return;
        if (h->failed_sync) {
            (void)disk_job(h, SP_DISK_SYNC);
            submit_disk(h, SYNCING);
        } else {
            look(h);
        }
    } else if (h->select && h->phase == READY && h->told) {
        start_select(h);
    } else if (h->recheck && h->phase == READY && !h->stopping) {
        if (sp_torrent_busy(h->r->session, h->id))
            return; /* an OPEN stands alone */
        look(h);
    } else if (h->phase == READY && h->told && !h->read_only && h->r->env->store &&
               (now >= h->next_save_at || (h->stopping && !h->save_failed))) {
        start_save(h, now);
    }
}

void sp_held_tick(struct sp_held *h, sp_time_ns now)
{
    (void)now;
    if (!h->busy)
        next_step(h);
    if (h->phase == CLOSED && h->removing)
        sp_held_free(h);
}

/* ---- from outside ---- */

void sp_held_add(struct sp_reactor *r, struct sp_held *h)
{
    struct sp_session_add add = {
        .metainfo = h->mi,
        .priorities = h->priorities,
        .trackers = h->trackers,
        .tracker_count = h->tracker_count,
        .webs = h->webs,
        .web_count = h->web_count,
        .down_Bps = h->down_Bps,
        .up_Bps = h->up_Bps,
        .sequential = h->sequential,
        .paused = h->paused,
        .local_peers = h->local_peers,
        .super_seed = h->super_seed,
    };
    sp_time_ns now = sp_reactor_now(r);

    memcpy(add.info_hash, h->info_hash, SP_SHA1_LEN);
    h->r = r;
    sp_list_add(&r->held, &h->link);
    enum sp_err err = sp_reactor_enter(r, h);
    if (err == SP_OK)
        err = sp_session_add(r->session, h->id, &add, now);
    if (err == SP_OK && h->mi)
        err = make_storage(h);
    if (err != SP_OK) {
        sp_reactor_event(r, SP_EV_ERROR, h->id, err, sp_err_text(err));
        h->phase = READY;
        h->has_disk_error = true;
        h->retry_at = SP_TIME_NEVER;
        return;
    }
    sp_torrent_add_peers(r->session, h->id, h->peers, h->peer_count, SP_PEER_USER, now);
    for (uint32_t i = 0; i < h->peer_name_count; i++)
        sp_resolve_peer(r, h->id, h->peer_names[i]);
    next_step(h);
}

void sp_held_remove(struct sp_held *h, bool delete_data)
{
    h->removing = true;
    h->delete_data = delete_data;
    if (h->phase == CHECKING)
        atomic_store(&h->disk_job.cancel, true);
    sp_torrent_remove(h->r->session, h->id, sp_reactor_now(h->r));
    if (!h->busy)
        next_step(h);
}

void sp_held_recheck(struct sp_held *h)
{
    if (h->phase == CHECKING || h->removing || !h->mi)
        return;
    h->recheck = true;
    h->told = h->has_disk_error = h->failed_sync = false;
    sp_torrent_recheck(h->r->session, h->id, sp_reactor_now(h->r));
    if (!h->busy)
        next_step(h);
}

bool sp_held_is_walled(const struct sp_held *h)
{
    return h->phase == SELECTING;
}

void sp_held_select(struct sp_held *h, const uint8_t *priorities)
{
    uint32_t n = h->mi ? h->mi->file_count : 0;
    if (h->removing || n == 0 || (!h->select && !(h->select = malloc(n))))
        return;
    memcpy(h->select, priorities, n);
    sp_torrent_set_priorities(h->r->session, h->id, priorities, sp_reactor_now(h->r));
    if (!h->busy)
        next_step(h);
}

/* The end is near: save what there is, then close. */
void sp_held_stop(struct sp_held *h)
{
    if (h->stopping)
        return;
    h->stopping = true;
    h->next_save_at = 0;
    if (h->phase == CHECKING)
        atomic_store(&h->disk_job.cancel, true);
    if (!h->busy)
        next_step(h);
}

bool sp_held_is_settled(const struct sp_held *h)
{
    const struct sp_bits *have = sp_torrent_have(h->r->session, h->id);
    if (h->busy || (h->select && h->told && !h->has_disk_error))
        return false;
    return h->read_only || h->has_disk_error || !h->r->env->store || !have || !h->told ||
           h->save_failed || have->set == h->saved_count;
}

enum sp_err sp_held_stats(struct sp_held *h, sp_time_ns now, struct sp_torrent_stats *ret_stats)
{
    enum sp_err err = sp_torrent_stats(h->r->session, h->id, now, ret_stats);
    if (err != SP_OK)
        return err;
    ret_stats->downloaded_before_bytes = h->downloaded0;
    ret_stats->uploaded_before_bytes = h->uploaded0;
    ret_stats->downloaded_bytes += h->downloaded0;
    ret_stats->uploaded_bytes += h->uploaded0;
    ret_stats->active_ns += h->active0_ns;
    ret_stats->seeding_ns += h->seeding0_ns;
    return SP_OK;
}

static void on_closed(struct sp_disk_job *job)
{
    (void)job;
}

void sp_held_close(struct sp_held *h)
{
    bool open = h->storage && h->phase != CLOSED && h->phase > LOADING;
    if (h->busy && h->phase == CHECKING)
        atomic_store(&h->disk_job.cancel, true);
    if (!open || (h->busy && h->phase == CLOSING))
        return;
    h->close_job = (struct sp_disk_job){.op = SP_DISK_CLOSE, .st = h->storage, .done = on_closed};
    sp_disk_submit(h->r->env->disk, &h->close_job);
}

void sp_held_free(struct sp_held *h)
{
    if (h->r) {
        sp_list_del(&h->r->held, &h->link);
        if (h->id < h->r->by_id_cap)
            h->r->by_id[h->id] = NULL;
    }
    if (h->store_job.op == SP_STORE_LOAD) { /* an answer that came too late */
        free(h->store_job.row.have);
        free(h->store_job.row.dir);
    }
    if (h->store_job.op == SP_STORE_LOAD_INFO)
        free(h->store_job.info);
    sp_storage_free(h->storage);
    if (!h->mi_is_borrowed)
        sp_metainfo_free(h->mi);
    for (uint32_t i = 0; i < h->tracker_count; i++)
        free((void *)(uintptr_t)h->trackers[i].url.ptr);
    for (uint32_t i = 0; i < h->peer_name_count; i++)
        free(h->peer_names[i]);
    for (uint32_t i = 0; i < h->web_count; i++)
        free((char *)(uintptr_t)h->webs[i].url);
    free(h->webs);
    free(h->trackers);
    free(h->peer_names);
    free(h->peers);
    free(h->dir);
    free(h->priorities);
    free(h->ranges);
    free(h->select);
    free(h->wanted);
    free(h->have.bytes);
    free(h->saving.bytes);
    free(h->have_out.bytes);
    free(h->stats);
    free(h->check_state);
    free(h->peers_out);
    free(h->trackers_out);
    pthread_mutex_destroy(&h->lock);
    free(h);
}
