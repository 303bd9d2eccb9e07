#include "io/store/db.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Step n leads from user_version n to n + 1.  Never changed, only added to. */
static const char *const MIGRATIONS[] = {
    "CREATE TABLE torrent ("
    "  info_hash BLOB NOT NULL PRIMARY KEY,"
    "  piece_count INTEGER NOT NULL,"
    "  have BLOB NOT NULL," /* as in a BITFIELD message: what is durable on the disk */
    "  dir TEXT NOT NULL,"
    "  downloaded_bytes INTEGER NOT NULL,"
    "  uploaded_bytes INTEGER NOT NULL,"
    "  active_ns INTEGER NOT NULL,"
    "  seeding_ns INTEGER NOT NULL,"
    "  saved_at INTEGER NOT NULL" /* seconds since 1970 */
    ") STRICT;",
    /* The info dictionary of a magnet, as hashed. */
    "CREATE TABLE info ("
    "  info_hash BLOB NOT NULL PRIMARY KEY,"
    "  info BLOB NOT NULL"
    ") STRICT;",
};

#define COLUMNS                                                                                    \
    "info_hash, piece_count, have, dir, downloaded_bytes, uploaded_bytes, active_ns, seeding_ns, " \
    "saved_at"

/* ---- errors ---- */

static enum sp_err err_of_errno(int number)
{
    switch (number) {
    case ENOSPC:
    case EDQUOT:
        return SP_ENOSPC;
    case EACCES:
    case EPERM:
    case EROFS:
        return SP_EACCES;
    default:
        return SP_EIO;
    }
}

static enum sp_err err_of(sqlite3 *sqlite, int rc)
{
    switch (rc & 0xff) {
    case SQLITE_NOMEM:
        return SP_ENOMEM;
    case SQLITE_FULL:
        return SP_ENOSPC;
    case SQLITE_READONLY:
    case SQLITE_PERM:
        return SP_EACCES;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_ERROR: /* a statement of ours does not suit its schema */
        return SP_EDATA;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
        return err_of_errno(sqlite3_system_errno(sqlite));
    default:
        return SP_EIO;
    }
}

/* "database or disk is full", with the system's reason where there is one. */
static enum sp_err fail(sqlite3 *sqlite, int rc, char why[SP_DB_WHY_LEN])
{
    int number = (rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_CANTOPEN
                     ? sqlite3_system_errno(sqlite)
                     : 0;
    const char *system = number ? strerrordesc_np(number) : NULL;

    snprintf(why, SP_DB_WHY_LEN, "state.db: %.80s%s%.60s",
             sqlite ? sqlite3_errmsg(sqlite) : "out of memory", system ? ": " : "",
             system ? system : "");
    return err_of(sqlite, rc);
}

enum sp_err sp_db_exec(struct sp_db *db, const char *sql, char why[SP_DB_WHY_LEN])
{
    int rc = sqlite3_exec(db->sqlite, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? SP_OK : fail(db->sqlite, rc, why);
}

/* ---- opening ---- */

static enum sp_err ask_number(struct sp_db *db, const char *sql, int *ret_number,
                              char why[SP_DB_WHY_LEN])
{
    sqlite3_stmt *stmt = NULL;
    int rc = sqlite3_prepare_v2(db->sqlite, sql, -1, &stmt, NULL);

    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW)
        *ret_number = sqlite3_column_int(stmt, 0);
    enum sp_err err = rc == SQLITE_ROW ? SP_OK : fail(db->sqlite, rc, why);
    sqlite3_finalize(stmt);
    return err;
}

/* Structure and pages, not the indexes' contents: fast enough for each start. */
static enum sp_err quick_check(struct sp_db *db, char why[SP_DB_WHY_LEN])
{
    sqlite3_stmt *stmt = NULL;
    enum sp_err err = SP_OK;
    int rc = sqlite3_prepare_v2(db->sqlite, "PRAGMA quick_check(1)", -1, &stmt, NULL);

    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    if (rc != SQLITE_ROW) {
        err = fail(db->sqlite, rc, why);
    } else {
        const char *says = (const char *)sqlite3_column_text(stmt, 0);
        if (!says || strcmp(says, "ok") != 0) {
            snprintf(why, SP_DB_WHY_LEN, "state.db: %.120s", says ? says : "unreadable");
            for (char *at = why; *at; at++)
                if (*at == '\n')
                    *at = ' ';
            err = SP_EDATA;
        }
    }
    sqlite3_finalize(stmt);
    return err;
}

static enum sp_err migrate(struct sp_db *db, char why[SP_DB_WHY_LEN])
{
    char set[64];
    int version = 0;
    enum sp_err err = ask_number(db, "PRAGMA user_version", &version, why);

    if (err == SP_OK && version < 0)
        err = SP_EDATA;
    if (err == SP_OK && version > (int)SP_COUNT(MIGRATIONS)) {
        snprintf(why, SP_DB_WHY_LEN, "state.db is of a newer version of Spate (%d)", version);
        return SP_EEXIST;
    }
    for (; err == SP_OK && version < (int)SP_COUNT(MIGRATIONS); version++) {
        err = sp_db_exec(db, "BEGIN IMMEDIATE", why);
        if (err == SP_OK)
            err = sp_db_exec(db, MIGRATIONS[version], why);
        snprintf(set, sizeof(set), "PRAGMA user_version = %d; COMMIT", version + 1);
        if (err == SP_OK)
            err = sp_db_exec(db, set, why);
    }
    return err;
}

static enum sp_err prepare(struct sp_db *db, char why[SP_DB_WHY_LEN])
{
    const struct {
        const char *sql;
        sqlite3_stmt **stmt;
    } STATEMENTS[] = {
        {"SELECT " COLUMNS " FROM torrent WHERE info_hash = ?", &db->load},
        {"INSERT OR REPLACE INTO torrent (" COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
         &db->save},
        {"DELETE FROM torrent WHERE info_hash = ?", &db->del},
        {"SELECT info FROM info WHERE info_hash = ?", &db->load_info},
        {"INSERT OR REPLACE INTO info (info_hash, info) VALUES (?, ?)", &db->save_info},
        {"DELETE FROM info WHERE info_hash = ?", &db->del_info},
    };
    for (size_t i = 0; i < SP_COUNT(STATEMENTS); i++) {
        int rc = sqlite3_prepare_v3(db->sqlite, STATEMENTS[i].sql, -1, SQLITE_PREPARE_PERSISTENT,
                                    STATEMENTS[i].stmt, NULL);
        if (rc != SQLITE_OK)
            return fail(db->sqlite, rc, why);
    }
    return SP_OK;
}

static enum sp_err connect_to(struct sp_db *db, const char *path, int flags,
                              char why[SP_DB_WHY_LEN])
{
    *db = (struct sp_db){0};
    int rc = sqlite3_open_v2(path, &db->sqlite, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
                             NULL);
    if (rc != SQLITE_OK)
        return fail(db->sqlite, rc, why);
    sqlite3_busy_timeout(db->sqlite, SP_DB_BUSY_MS);
    /* The file may have been put there by anybody: no code in its schema. */
    sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    return SP_OK;
}

enum sp_err sp_db_open(struct sp_db *db, const char *path, char why[SP_DB_WHY_LEN])
{
    enum sp_err err = connect_to(db, path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, why);

    /* FULL: a commit is on the disk when it returns, in WAL mode too.  Where
     * WAL cannot be had (network file systems) SQLite keeps its older journal,
     * which is as durable. */
    if (err == SP_OK)
        err = sp_db_exec(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL", why);
    if (err == SP_OK)
        err = quick_check(db, why);
    if (err == SP_OK)
        err = migrate(db, why);
    if (err == SP_OK)
        err = prepare(db, why);
    if (err != SP_OK)
        sp_db_close(db);
    return err;
}

/* Read-write, or the log that a killed process left could not be read; but
 * nothing is written except SQLite's own index of the log. */
enum sp_err sp_db_open_to_look(struct sp_db *db, const char *path, char why[SP_DB_WHY_LEN])
{
    int version = 0;

    *db = (struct sp_db){0};
    if (access(path, F_OK) != 0) {
        snprintf(why, SP_DB_WHY_LEN, "there is no state.db");
        return SP_ENOENT;
    }
    enum sp_err err = connect_to(db, path, SQLITE_OPEN_READWRITE, why);
    if (err == SP_OK) {
        sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
        err = sp_db_exec(db, "PRAGMA query_only = 1", why);
    }
    if (err == SP_OK)
        err = ask_number(db, "PRAGMA user_version", &version, why);
    if (err == SP_OK && version == 0) {
        snprintf(why, SP_DB_WHY_LEN, "state.db is empty");
        err = SP_ENOENT; /* its maker has not come further */
    } else if (err == SP_OK && version != (int)SP_COUNT(MIGRATIONS)) {
        snprintf(why, SP_DB_WHY_LEN, "state.db is of another version of Spate (%d)", version);
        err = SP_EDATA;
    }
    if (err != SP_OK)
        sp_db_close(db);
    return err;
}

void sp_db_close(struct sp_db *db)
{
    sqlite3_finalize(db->load);
    sqlite3_finalize(db->save);
    sqlite3_finalize(db->del);
    sqlite3_finalize(db->load_info);
    sqlite3_finalize(db->save_info);
    sqlite3_finalize(db->del_info);
    sqlite3_close(db->sqlite);
    *db = (struct sp_db){0};
}

static bool with(char to[4096], const char *path, const char *suffix)
{
    return (size_t)snprintf(to, 4096, "%s%s", path, suffix) < 4096;
}

enum sp_err sp_db_put_aside(const char *path, char why[SP_DB_WHY_LEN])
{
    char to[4096], log[4096], log_to[4096], index[4096];

    if (!with(to, path, ".damaged") || !with(log, path, "-wal") ||
        !with(log_to, path, ".damaged-wal") || !with(index, path, "-shm")) {
        snprintf(why, SP_DB_WHY_LEN, "state.db: the path is too long");
        return SP_EIO;
    }
    if (rename(path, to) != 0) {
        int number = errno;
        snprintf(why, SP_DB_WHY_LEN, "state.db: cannot be put aside: %.80s",
                 strerrordesc_np(number));
        return err_of_errno(number);
    }
    (void)unlink(index);
    if (rename(log, log_to) != 0) {
        (void)unlink(log_to);
        (void)unlink(log);
    }
    return SP_OK;
}

/* ---- rows ---- */

static int64_t clamp(uint64_t v)
{
    return v > INT64_MAX ? INT64_MAX : (int64_t)v;
}

static uint64_t column_u64(sqlite3_stmt *stmt, int column)
{
    int64_t v = sqlite3_column_int64(stmt, column);
    return v < 0 ? 0 : (uint64_t)v;
}

static bool have_fits(const uint8_t *have, size_t len, uint32_t piece_count)
{
    if (piece_count == 0 || len != ((size_t)piece_count + 7) / 8 || !have)
        return false;
    return piece_count % 8 == 0 || (have[len - 1] & (0xff >> piece_count % 8)) == 0;
}

/* What stmt shows, borrowed from it. */
static enum sp_err read_row(sqlite3_stmt *stmt, struct sp_store_row *ret_row)
{
    struct sp_store_row row = {0};
    int64_t pieces = sqlite3_column_int64(stmt, 1);
    const void *hash = sqlite3_column_blob(stmt, 0);

    if (!hash || sqlite3_column_bytes(stmt, 0) != SP_SHA1_LEN || pieces < 1 || pieces > UINT32_MAX)
        return SP_EDATA;
    memcpy(row.info_hash, hash, SP_SHA1_LEN);
    row.piece_count = (uint32_t)pieces;
    row.have = (uint8_t *)(uintptr_t)sqlite3_column_blob(stmt, 2);
    row.have_len = (size_t)sqlite3_column_bytes(stmt, 2);
    row.dir = (char *)(uintptr_t)sqlite3_column_text(stmt, 3);
    row.downloaded_bytes = column_u64(stmt, 4);
    row.uploaded_bytes = column_u64(stmt, 5);
    row.active_ns = column_u64(stmt, 6);
    row.seeding_ns = column_u64(stmt, 7);
    row.saved_at = sqlite3_column_int64(stmt, 8);
    if (!have_fits(row.have, row.have_len, row.piece_count) || !row.dir)
        return SP_EDATA;
    *ret_row = row;
    return SP_OK;
}

static enum sp_err give_row(sqlite3_stmt *stmt, struct sp_store_row *row, char why[SP_DB_WHY_LEN])
{
    struct sp_store_row seen;

    if (read_row(stmt, &seen) != SP_OK || seen.piece_count != row->piece_count) {
        snprintf(why, SP_DB_WHY_LEN, "state.db: the row does not fit the torrent");
        return SP_EDATA;
    }
    uint8_t *have = malloc(seen.have_len);
    char *dir = strdup(seen.dir);
    if (!have || !dir) {
        free(have);
        free(dir);
        snprintf(why, SP_DB_WHY_LEN, "out of memory");
        return SP_ENOMEM;
    }
    memcpy(have, seen.have, seen.have_len);
    *row = seen;
    row->have = have;
    row->dir = dir;
    return SP_OK;
}

enum sp_err sp_db_load(struct sp_db *db, struct sp_store_row *row, char why[SP_DB_WHY_LEN])
{
    enum sp_err err;
    int rc = sqlite3_bind_blob(db->load, 1, row->info_hash, SP_SHA1_LEN, SQLITE_STATIC);

    if (rc == SQLITE_OK)
        rc = sqlite3_step(db->load);
    if (rc == SQLITE_ROW) {
        err = give_row(db->load, row, why);
    } else if (rc == SQLITE_DONE) {
        snprintf(why, SP_DB_WHY_LEN, "nothing is saved of it");
        err = SP_ENOENT;
    } else {
        err = fail(db->sqlite, rc, why);
    }
    sqlite3_reset(db->load);
    sqlite3_clear_bindings(db->load);
    return err;
}

static enum sp_err run_change(struct sp_db *db, sqlite3_stmt *stmt, int rc, char why[SP_DB_WHY_LEN])
{
    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    enum sp_err err = rc == SQLITE_DONE ? SP_OK : fail(db->sqlite, rc, why);
    sqlite3_reset(stmt);
    sqlite3_clear_bindings(stmt);
    return err;
}

enum sp_err sp_db_save(struct sp_db *db, const struct sp_store_row *row, char why[SP_DB_WHY_LEN])
{
    const int64_t numbers[] = {clamp(row->downloaded_bytes), clamp(row->uploaded_bytes),
                               clamp(row->active_ns), clamp(row->seeding_ns), row->saved_at};
    sqlite3_stmt *stmt = db->save;

    if (!have_fits(row->have, row->have_len, row->piece_count) || !row->dir) {
        snprintf(why, SP_DB_WHY_LEN, "the row to save is not whole");
        return SP_EINVAL;
    }
    int rc = sqlite3_bind_blob(stmt, 1, row->info_hash, SP_SHA1_LEN, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_int64(stmt, 2, row->piece_count);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_blob64(stmt, 3, row->have, row->have_len, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_text(stmt, 4, row->dir, -1, SQLITE_STATIC);
    for (int i = 0; i < (int)SP_COUNT(numbers) && rc == SQLITE_OK; i++)
        rc = sqlite3_bind_int64(stmt, 5 + i, numbers[i]);
    return run_change(db, stmt, rc, why);
}

enum sp_err sp_db_delete(struct sp_db *db, const uint8_t info_hash[SP_SHA1_LEN],
                         char why[SP_DB_WHY_LEN])
{
    int rc = sqlite3_bind_blob(db->del, 1, info_hash, SP_SHA1_LEN, SQLITE_STATIC);
    enum sp_err err = run_change(db, db->del, rc, why);
    if (err != SP_OK)
        return err;
    rc = sqlite3_bind_blob(db->del_info, 1, info_hash, SP_SHA1_LEN, SQLITE_STATIC);
    return run_change(db, db->del_info, rc, why);
}

enum sp_err sp_db_load_info(struct sp_db *db, const uint8_t info_hash[SP_SHA1_LEN],
                            uint8_t **ret_info, size_t *ret_len, char why[SP_DB_WHY_LEN])
{
    sqlite3_stmt *stmt = db->load_info;
    enum sp_err err = SP_OK;
    int rc = sqlite3_bind_blob(stmt, 1, info_hash, SP_SHA1_LEN, SQLITE_STATIC);

    if (rc == SQLITE_OK)
        rc = sqlite3_step(stmt);
    size_t len = rc == SQLITE_ROW ? (size_t)sqlite3_column_bytes(stmt, 0) : 0;
    uint8_t *info = len ? malloc(len) : NULL;
    if (info) {
        memcpy(info, sqlite3_column_blob(stmt, 0), len);
        *ret_info = info;
        *ret_len = len;
    } else if (rc == SQLITE_DONE || rc == SQLITE_ROW) {
        err = len ? SP_ENOMEM : SP_ENOENT;
        snprintf(why, SP_DB_WHY_LEN, "%s", len ? "out of memory" : "nothing is saved of it");
    } else {
        err = fail(db->sqlite, rc, why);
    }
    sqlite3_reset(stmt);
    sqlite3_clear_bindings(stmt);
    return err;
}

enum sp_err sp_db_save_info(struct sp_db *db, const uint8_t info_hash[SP_SHA1_LEN],
                            struct sp_slice info, char why[SP_DB_WHY_LEN])
{
    sqlite3_stmt *stmt = db->save_info;
    int rc = sqlite3_bind_blob(stmt, 1, info_hash, SP_SHA1_LEN, SQLITE_STATIC);
    if (rc == SQLITE_OK)
        rc = sqlite3_bind_blob64(stmt, 2, info.ptr, info.len, SQLITE_STATIC);
    return run_change(db, stmt, rc, why);
}

enum sp_err sp_db_each(struct sp_db *db, void (*each)(void *ctx, const struct sp_store_row *row),
                       void *ctx, char why[SP_DB_WHY_LEN])
{
    sqlite3_stmt *stmt = NULL;
    uint32_t bad = 0;
    int rc = sqlite3_prepare_v2(db->sqlite, "SELECT " COLUMNS " FROM torrent ORDER BY info_hash",
                                -1, &stmt, NULL);

    while (rc == SQLITE_OK || rc == SQLITE_ROW) {
        struct sp_store_row row;
        rc = sqlite3_step(stmt);
        if (rc != SQLITE_ROW)
            break;
        if (read_row(stmt, &row) == SP_OK)
            each(ctx, &row);
        else
            bad++;
    }
    enum sp_err err = rc == SQLITE_DONE ? SP_OK : fail(db->sqlite, rc, why);
    sqlite3_finalize(stmt);
    if (err == SP_OK && bad > 0) {
        snprintf(why, SP_DB_WHY_LEN, "state.db: %u rows are damaged", bad);
        err = SP_EDATA;
    }
    return err;
}
