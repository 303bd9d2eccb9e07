/* db.h - the state database as one connection: opening, putting aside what is
 * damaged, rows in and out.  One thread at a time.
 */
#ifndef SP_IO_STORE_DB_H
#define SP_IO_STORE_DB_H

#include <sqlite3.h>

#include "io/store/store.h"

enum { SP_DB_WHY_LEN = 160, SP_DB_BUSY_MS = 5000 };

struct sp_db {
    sqlite3 *sqlite;
    sqlite3_stmt *load, *save, *del, *load_info, *save_info, *del_info;
};

/* The file and its schema, made or migrated when needed.
 * SP_EDATA  damaged, or not ours    SP_EEXIST  a newer Spate's: leave it alone
 * SP_EIO, SP_EACCES, SP_ENOSPC      why says what happened */
SP_MUST_USE enum sp_err sp_db_open(struct sp_db *db, const char *path, char why[SP_DB_WHY_LEN]);
/* Only to look at, beside the process that owns it; no schema is made.  SP_ENOENT too. */
SP_MUST_USE enum sp_err sp_db_open_to_look(struct sp_db *db, const char *path,
                                           char why[SP_DB_WHY_LEN]);
/* Takes a zeroed or half-open one. */
void sp_db_close(struct sp_db *db);
/* state.db becomes state.db.damaged, its log likewise; the last ones of that
 * name are replaced. */
SP_MUST_USE enum sp_err sp_db_put_aside(const char *path, char why[SP_DB_WHY_LEN]);

SP_MUST_USE enum sp_err sp_db_exec(struct sp_db *db, const char *sql, char why[SP_DB_WHY_LEN]);
/* ret_row's have and dir are GIVEN.  SP_ENOENT   SP_EDATA does not fit piece_count */
SP_MUST_USE enum sp_err sp_db_load(struct sp_db *db, struct sp_store_row *row,
                                   char why[SP_DB_WHY_LEN]);
/* SP_EINVAL  have_len is not that of piece_count, or no dir */
SP_MUST_USE enum sp_err sp_db_save(struct sp_db *db, const struct sp_store_row *row,
                                   char why[SP_DB_WHY_LEN]);
SP_MUST_USE enum sp_err sp_db_delete(struct sp_db *db, const uint8_t info_hash[SP_SHA1_LEN],
                                     char why[SP_DB_WHY_LEN]);
/* ret_info is GIVEN.  SP_ENOENT */
SP_MUST_USE enum sp_err sp_db_load_info(struct sp_db *db, const uint8_t info_hash[SP_SHA1_LEN],
                                        uint8_t **ret_info, size_t *ret_len,
                                        char why[SP_DB_WHY_LEN]);
SP_MUST_USE enum sp_err sp_db_save_info(struct sp_db *db, const uint8_t info_hash[SP_SHA1_LEN],
                                        struct sp_slice info, char why[SP_DB_WHY_LEN]);
/* In order of info-hash; rows that do not fit are passed over and end it with
 * SP_EDATA. */
SP_MUST_USE enum sp_err sp_db_each(struct sp_db *db,
                                   void (*each)(void *ctx, const struct sp_store_row *row),
                                   void *ctx, char why[SP_DB_WHY_LEN]);

#endif
