/* store.h - what is remembered between runs: SQLite behind one thread.
 *
 * <state dir>/state.db, WAL.  Never on a reactor: jobs go in, done comes on the
 * store's thread.  One transaction takes all jobs that wait.
 */
#ifndef SP_IO_STORE_H
#define SP_IO_STORE_H

#include "spate/err.h"
#include "spate/types.h"

struct sp_store;

/* A torrent's row. */
struct sp_store_row {
    uint8_t info_hash[SP_SHA1_LEN];
    uint32_t piece_count;
    uint8_t *have;   /* one bit a piece as in a BITFIELD message: durable on the disk */
    size_t have_len; /* bytes */
    uint64_t downloaded_bytes, uploaded_bytes;
    uint64_t active_ns, seeding_ns;
    char *dir;        /* absolute path the data lies in */
    int64_t saved_at; /* seconds since 1970 */
};

enum sp_store_op {
    SP_STORE_LOAD,   /* fills row.have and row.dir (both GIVEN, malloc; NULL unless SP_OK) and the
                        numbers; SP_ENOENT none; SP_EDATA its row does not fit piece_count */
    SP_STORE_SAVE,   /* row is borrowed until done; durable when done says SP_OK;
                        SP_EINVAL have does not fit piece_count, or no dir */
    SP_STORE_DELETE, /* also the info dictionary */
    SP_STORE_LOAD_INFO, /* fills info (GIVEN, malloc; NULL unless SP_OK); SP_ENOENT none.  Not
                           looked at: hold it against the info-hash */
    SP_STORE_SAVE_INFO, /* info is borrowed until done */
};

struct sp_store_job {
    struct sp_store_job *next;
    enum sp_store_op op;
    struct sp_store_row row;
    uint8_t *info; /* x_INFO: the info dictionary of row.info_hash */
    size_t info_len;
    enum sp_err err;
    char why[160];
    void (*done)(struct sp_store_job *job); /* on the store's thread */
    void *ctx;
};

/* Makes dir (0700) and the database when absent, migrates it, and puts a
 * damaged one aside (state.db.damaged) to start afresh, which diag tells with
 * SP_OK.  Blocks: call it before reactors run.
 * SP_EIO, SP_EACCES, SP_ENOSPC, SP_ENOMEM  diag    SP_EEXIST another process uses it
 * SP_EDATA  it is of a newer version: left as it is */
SP_MUST_USE enum sp_err sp_store_open(const char *dir, struct sp_store **ret_store,
                                      struct sp_diag *diag);
/* Any thread, never blocks.  Jobs are done in order. */
void sp_store_submit(struct sp_store *s, struct sp_store_job *job);
/* Does what waits, then closes; blocks.  Takes NULL. */
void sp_store_close(struct sp_store *s);

/* All rows by info-hash, for `spate __state`: calls each(ctx, row) on the calling
 * thread.  Works while another process has it open and after one was killed.
 * SP_ENOENT no state   SP_EDATA damaged, another version, or some rows are
 * SP_EIO, SP_EACCES */
SP_MUST_USE enum sp_err sp_store_list(const char *dir,
                                      void (*each)(void *ctx, const struct sp_store_row *row),
                                      void *ctx, struct sp_diag *diag);

#endif
